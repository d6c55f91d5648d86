%% @private The process of one saga under way: carries out what `warp_saga_core' decides, one
%% action after the other. It is linked to its keeper and ends with `{finished, _}'; all that it
%% knows can be read from the log again.
%%
%% Its keeper gets the message `{waits, Id, Waiting}' when the saga can go on only with another start of
%% the context, so that nobody need wait for its result.
-module(warp_saga_runner).

-export([begin_new/2, go_on/3, retry/3, resolve/4, cancel/1]).

-include_lib("kernel/include/logger.hrl").

-export_type([home/0, begun/0, finish/0]).

%% A runner ends with an exit.
-dialyzer({no_return, [begin_new/2, go_on/3, retry/3, resolve/4]}).

%% Where the saga lives: its shard, and the process that all runners of the shard are linked to.
-type home() :: #{
    context := warp_context:context(),
    shard := non_neg_integer(),
    handle := warp_nif:shard(),
    keeper := pid()
}.
%% A new saga. As a function, so that no crash report shows what is in a message or an argument.
-type begun() :: fun(() -> {warp_saga_plan:plan(), warp_nif:packed()}).
%% What a runner ends with; `known' when the log has that saga already.
-type finish() :: {ok, warp_saga_core:result()} | {error, term()} | known.

-record(state, {
    context :: warp_context:context(),
    home :: home(),
    id :: binary(),
    core :: warp_saga_core:core(),
    %% Where its log ends.
    seq :: warp_core:seq(),
    time :: warp_core:micros(),
    %% The step that waits, as others are told of it, and why.
    shown = none :: none | warp_saga_core:failure(),
    %% The last reasons to wait that the log of the system has.
    warned = [] :: [term()]
}).

%% How long to wait before something is recorded again that the disk refused.
-define(FIRST_PAUSE_MS, 20).
-define(LAST_PAUSE_MS, 2000).
-define(WARNED, 20).

%% @doc Stores a plan and carries it out.
-spec begin_new(home(), begun()) -> no_return().
begin_new(Home, Begun) ->
    warp_saga_crash:guard(fun() -> store(Home, Begun()) end).

store(Home, {#{id := Id, steps := Steps} = Plan, Packed}) ->
    #{context := Context, shard := N, handle := Handle} = Home,
    Time = warp_clock:stamp(maps:get(clock, Context), Id, 0),
    ok = warp_saga_table:add_new(Context, Id, N, Time),
    case submit(Handle, Id, 0, Packed, Time, [], fun() -> list(Context, Id, Plan) end) of
        ok ->
            State = #state{context = Context, home = Home, id = Id, time = Time,
                           core = warp_saga_core:new(Plan), seq = 1 + 2 * length(Steps)},
            run(State);
        {error, {wrong_base, _}} ->
            finish(known, Context, Id);
        {error, closed} ->
            finish({error, {shard_unavailable, N}}, Context, Id);
        {error, Reason} ->
            finish({error, Reason}, Context, Id)
    end.

%% @doc Carries on with a saga as its log has it.
-spec go_on(home(), binary(), warp_saga_log:saga()) -> no_return().
go_on(Home, Id, #{core := Core} = Saga) ->
    warp_saga_crash:guard(fun() ->
        run(state(Home, Id, Saga#{core := warp_saga_core:recovered(Core)}))
    end).

%% @doc Tries a stuck saga again.
-spec retry(home(), binary(), warp_saga_log:saga()) -> no_return().
retry(Home, Id, #{core := Core} = Saga) ->
    warp_saga_crash:guard(fun() ->
        State = state(Home, Id, Saga#{core := warp_saga_core:recovered(Core)}),
        run(record([warp_saga_core:retry(Core)], [], State))
    end).

%% @doc Closes a stuck saga.
-spec resolve(home(), binary(), warp_saga_log:saga(), binary()) -> no_return().
resolve(Home, Id, Saga, Note) ->
    warp_saga_crash:guard(fun() ->
        run(record([{resolved, Note}], [], state(Home, Id, Saga)))
    end).

%% @doc Has a saga turn back, unless all its steps are applied.
-spec cancel(pid()) -> ok.
cancel(Runner) ->
    Runner ! {?MODULE, cancel},
    ok.

%% The keeper has listed it.
state(#{context := Context} = Home, Id, #{core := Core, seq := Seq, updated_at := Time}) ->
    ok = warp_saga_table:set_runner(Context, Id, warp_saga_core:phase(Core)),
    #state{context = Context, home = Home, id = Id, core = Core, seq = Seq, time = Time}.

%% From here on, who deletes an entity finds the saga; and its plan is in the writer's queue, so
%% that a clearing comes behind it.
list(Context, Id, #{steps := Steps}) ->
    warp_saga_table:set_entities(Context, Id, [Entity || #{entity := Entity} <- Steps]).

run(#state{core = Core0} = State0) ->
    State = #state{context = Context} = show(State0#state{core = stopped(Core0, 0)}),
    case warp_saga_core:next(State#state.core, os:system_time(microsecond)) of
        {{wait, Millis}, Core} ->
            run(State#state{core = stopped(Core, Millis)});
        {{forward, Tasks}, Core} ->
            run(each(fun(Task) -> do(State, forward, Task) end, Tasks, State#state{core = Core}));
        {{probe, Ns}, Core} ->
            Probe = fun({N, again}) -> probe(State, N) end,
            run(each(Probe, [{N, again} || N <- Ns], State#state{core = Core}));
        {{reverse, Tasks}, Core} ->
            Reverse = fun({N, _} = Task) -> do(State, {reverse, applied_at(N, Core)}, Task) end,
            run(each(Reverse, Tasks, State#state{core = Core}));
        {{record, Entries, Clear}, Core} ->
            run(record(Entries, Clear, State#state{core = Core}));
        {finished, Core} ->
            finish({ok, warp_saga_core:result(Core)}, Context, State#state.id)
    end.

applied_at(N, Core) ->
    #{steps := Steps} = warp_saga_core:describe(Core),
    #{seq := Seq} = lists:nth(N + 1, Steps),
    Seq.

%% Says of a saga which step waits for another start of the context, and why, where others look for it:
%% once in the log of the system too, and to those who wait for its result.
show(#state{core = Core, shown = Shown} = State) ->
    case warp_saga_core:waiting(Core) of
        Shown -> State;
        Waiting -> show(Waiting, State#state{shown = Waiting})
    end.

show(none, #state{core = Core} = State) ->
    listed_as(warp_saga_core:phase(Core), State);
show({N, Reason}, #state{home = #{keeper := Keeper}, id = Id, core = Core} = State) ->
    #{steps := Steps} = warp_saga_core:plan(Core),
    #{entity := Entity} = lists:nth(N + 1, Steps),
    Direction = case warp_saga_core:phase(Core) of forward -> forward; compensating -> compensate end,
    Waiting = #{step => N, entity => Entity, direction => Direction, reason => Reason,
                since => os:system_time(microsecond)},
    Listed = listed_as({waiting, Waiting}, State),
    Keeper ! {waits, Id, Waiting},
    warn(Direction, N, Reason, Listed).

listed_as(Phase, #state{context = Context, id = Id} = State) ->
    ok = warp_saga_table:set_phase(Context, Id, Phase),
    State.

warn(Direction, N, Reason, #state{context = Context, id = Id, warned = Warned} = State) ->
    case lists:member(Reason, Warned) of
        true ->
            State;
        false ->
            ?LOG_WARNING("Warp: saga ~ts of context ~ts waits: the ~ts action of its step ~b needs what "
                         "the context was started without: ~0tP. Nothing was refused; it goes on once "
                         "the context is started with it.",
                         [Id, maps:get(name, Context), Direction, N, Reason, 20]),
            State#state{warned = lists:sublist([Reason | Warned], ?WARNED)}
    end.

%% Cancelled in the meantime? What else comes here is of no use, and goes.
stopped(Core, 0) ->
    receive
        Message -> stopped(heard(Message, Core), 0)
    after 0 ->
        Core
    end;
stopped(Core, Millis) ->
    stopped_until(erlang:monotonic_time(millisecond) + Millis, Core).

stopped_until(End, Core) ->
    receive
        {?MODULE, cancel} -> warp_saga_core:stop(cancelled, Core);
        Stray -> stopped_until(End, heard(Stray, Core))
    after max(0, End - erlang:monotonic_time(millisecond)) ->
        Core
    end.

heard({?MODULE, cancel}, Core) ->
    warp_saga_core:stop(cancelled, Core);
heard(Stray, Core) ->
    ok = warp_stray:note(?MODULE, message, Stray),
    Core.

do(#state{context = Context, core = Core}, Direction, Task) ->
    warp_saga_step:run(Context, warp_saga_core:plan(Core), Direction, Task).

probe(#state{context = Context, id = Id, core = Core}, N) ->
    #{steps := Steps} = warp_saga_core:plan(Core),
    warp_saga_step:probe(Context, Id, forward, lists:nth(N + 1, Steps)).

each(Do, [{N, _} = Task], #state{core = Core} = State) ->
    State#state{core = warp_saga_core:outcome(N, Do(Task), Core)};
each(Do, Tasks, #state{core = Core} = State) ->
    Pids = [{N, spawn_task(fun() -> Do(Task) end)} || {N, _} = Task <- Tasks],
    Outcomes = [{N, awaited(Run)} || {N, Run} <- Pids],
    State#state{core = lists:foldl(
        fun({N, Outcome}, Acc) -> warp_saga_core:outcome(N, Outcome, Acc) end, Core, Outcomes)}.

spawn_task(Fun) ->
    Self = self(),
    Ref = make_ref(),
    _ = spawn_link(fun() -> warp_saga_crash:guard(fun() -> Self ! {Ref, Fun()} end) end),
    Ref.

awaited(Ref) ->
    receive {Ref, Outcome} -> Outcome end.

%% Appends entries to the saga's log, however often the disk refuses.
record(Entries, Clear, #state{} = State) ->
    record(Entries, Clear, State, ?FIRST_PAUSE_MS).

record(Entries0, Clear, #state{context = Context, id = Id} = State, Pause) ->
    #state{home = #{shard := N, handle := Handle}, seq = Seq, time = Before, core = Core} = State,
    {Entries, #{packed := Packed, count := Count}} = warp_saga_log:pack(Context, Id, Entries0),
    Time = warp_clock:stamp(maps:get(clock, Context), Id, Before),
    Seqs = warp_saga_plan:seqs(Clear),
    %% Before it is stored: who deletes in the meantime empties the WAL once too often.
    _ = [ok = warp_saga_table:set_cleared(Context, N) || Seqs =/= []],
    case submit(Handle, Id, Seq, Packed, Time, Seqs, fun() -> ok end) of
        ok ->
            Next = lists:foldl(fun warp_saga_core:replay/2, Core, Entries),
            _ = [ok = warp_saga_table:set_phase(Context, Id, compensating)
                 || warp_saga_core:phase(Next) =:= compensating],
            State#state{core = Next, seq = Seq + Count, time = Time};
        {error, Reason} when Reason =:= closed; Reason =:= interrupted;
                             element(1, Reason) =:= wrong_base ->
            %% The log has to be read again: by another runner, once the shard is open.
            exit({read_again, Reason});
        {error, _Refused} ->
            Later = State#state{core = stopped(Core, Pause)},
            record(Entries0, Clear, Later, min(2 * Pause, ?LAST_PAUSE_MS))
    end.

%% Once it is queued, Queued is called; and then the answer awaited, which comes through the
%% shard's owner. Without that there is no keeper, and so not this process.
submit(Handle, Id, Base, Packed, Time, Clear, Queued) ->
    Entity = warp_saga_plan:entity_id(Id),
    Rows = [{Packed, Time}],
    %% Whatever looks like an answer by now is none.
    ok = drop_answers(),
    Submitted =
        case Clear of
            [] -> warp_nif:submit(Handle, Entity, Base, Rows, none);
            _ -> warp_nif:submit_clearing(Handle, Entity, Base, Rows, Clear, warp_saga_plan:cleared_types())
        end,
    case Submitted of
        ok ->
            ok = Queued(),
            receive
                {warp_reply, {stored, _}} -> ok;
                {warp_reply, {failed, Reason}} -> {error, Reason};
                {warp_reply, {wrong_base, _} = Wrong} -> {error, Wrong}
            end;
        {error, _} = Error ->
            Error
    end.

drop_answers() ->
    receive
        {warp_reply, _} = Stray ->
            ok = warp_stray:note(?MODULE, message, Stray),
            drop_answers()
    after 0 ->
        ok
    end.

-spec finish(finish(), warp_context:context(), binary()) -> no_return().
finish({ok, {stuck, Map}} = Finish, Context, Id) when not is_map_key(note, Map) ->
    ok = warp_saga_table:set_stuck(Context, Id),
    exit({finished, Finish});
finish(Finish, Context, Id) ->
    ok = warp_saga_table:remove(Context, Id),
    exit({finished, Finish}).
