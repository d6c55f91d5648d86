%% @private The runner of one saga: a process that carries out what `warp_saga_core' decides, one action
%% after the other. All that it knows can be read from the saga's log again.
%%
%% A runner is linked to its keeper and ends with `{finished, _}'. It ends with `{read_again, _}' when what
%% it knows of the log may be wrong. When the saga goes on only with another start of the context, the
%% runner sends the message `{waits, Id, Waiting}' to its keeper, so that nobody need wait for its result.
-module(warp_saga_runner).

-export([start_new/2, resume/3, retry/3, resolve/4, cancel/1]).

-include_lib("kernel/include/logger.hrl").

-export_type([home/0, planned/0, finish/0]).

%% A runner ends with an exit.
-dialyzer({no_return, [start_new/2, resume/3, retry/3, resolve/4]}).

%% The shard that the saga lives in, and the keeper of its sagas.
-type home() :: #{
    context := warp_context:context(),
    shard := non_neg_integer(),
    epoch := non_neg_integer(),
    handle := warp_nif:shard(),
    keeper := pid()
}.
%% The plan of a new saga, and the row of it. As a function, so that no crash report shows what is in a
%% message or an argument.
-type planned() :: fun(() -> {warp_saga_plan:plan(), warp_nif:packed()}).
%% What a runner ends with; `known' when the log has that saga already.
-type finish() :: {ok, warp_saga_core:result()} | {error, term()} | known.

-record(state, {
    home :: home(),
    id :: binary(),
    core :: warp_saga_core:core(),
    %% Of the last event in the saga's log.
    seq :: warp_core:seq(),
    time :: warp_core:micros(),
    %% What ties the plan, the steps and the result together while the saga runs ahead of the disk.
    ticket = none :: none | warp_nif:ticket(),
    %% The step that waits, as others were told, and why.
    shown = none :: none | warp_saga_core:failure(),
    %% The last reasons to wait that the log of the system has.
    warned = [] :: [term()]
}).

%% How long to wait before something is recorded again that the disk refused.
-define(FIRST_PAUSE_MS, 20).
-define(LAST_PAUSE_MS, 2000).
-define(MAX_WARNED, 20).

%% @doc Queues a plan and carries it out. The steps go to their entities while the plan is on its way to the disk.
-spec start_new(home(), planned()) -> no_return().
start_new(Home, Planned) ->
    warp_saga_crash:guard(fun() -> store(Home, Planned()) end).

store(Home, {#{id := Id, steps := Steps} = Plan, Packed}) ->
    #{context := Context, shard := N, handle := Handle} = Home,
    Time = warp_clock:stamp(maps:get(clock, Context), Id, 0),
    ok = warp_saga_table:add_new(Context, Id, N, Time),
    Ticket = warp_nif:ticket(),
    ok = warp_nif:tie(Packed, Ticket),
    case warp_nif:submit(Handle, warp_saga_plan:entity_id(Id), 0, [{Packed, Time}], silent) of
        ok ->
            %% NOTE: only once the plan is in the writer's queue. Who deletes an entity finds the saga from then on,
            %% and what it clears comes behind the plan.
            ok = warp_saga_table:set_entities(Context, Id, entities(Plan)),
            run(#state{home = Home, id = Id, time = Time, seq = 1 + 2 * length(Steps), ticket = Ticket,
                       core = warp_saga_core:ahead(warp_saga_core:new(Plan))});
        {error, closed} ->
            finish({error, {shard_unavailable, N}}, Context, Id);
        {error, Reason} ->
            finish({error, Reason}, Context, Id)
    end.

entities(#{steps := Steps}) ->
    [Entity || #{entity := Entity} <- Steps].

%% @doc Goes on with a saga as its log has it.
-spec resume(home(), binary(), warp_saga_log:saga()) -> no_return().
resume(Home, Id, Saga) ->
    warp_saga_crash:guard(fun() -> run(recovered(Home, Id, Saga)) end).

%% @doc Tries the compensations of a stuck saga again.
-spec retry(home(), binary(), warp_saga_log:saga()) -> no_return().
retry(Home, Id, #{core := Core} = Saga) ->
    warp_saga_crash:guard(fun() ->
        run(record([warp_saga_core:retry(Core)], [], recovered(Home, Id, Saga)))
    end).

%% @doc Closes a stuck saga.
-spec resolve(home(), binary(), warp_saga_log:saga(), Note :: binary()) -> no_return().
resolve(Home, Id, Saga, Note) ->
    warp_saga_crash:guard(fun() ->
        run(record([{resolved, Note}], [], state(Home, Id, Saga)))
    end).

%% @doc Has a saga turn back, unless all its steps are applied.
-spec cancel(pid()) -> ok.
cancel(Runner) ->
    Runner ! {?MODULE, cancel},
    ok.

recovered(Home, Id, #{core := Core} = Saga) ->
    state(Home, Id, Saga#{core := warp_saga_core:recovered(Core)}).

%% The keeper has listed the saga.
state(#{context := Context} = Home, Id, #{core := Core, seq := Seq, updated_at := Time}) ->
    ok = warp_saga_table:set_runner(Context, Id, warp_saga_core:phase(Core)),
    #state{home = Home, id = Id, core = Core, seq = Seq, time = Time}.

run(#state{home = #{context := Context} = Home, core = Core0, id = Id} = State0) ->
    State = show(State0#state{core = hear_cancel(Core0, 0)}),
    case warp_saga_core:next(State#state.core, os:system_time(microsecond)) of
        {{wait, Millis}, Core} ->
            run(State#state{core = hear_cancel(Core, Millis)});
        {{forward, Tasks}, Core} ->
            Do = fun(Task) -> warp_saga_step:run(Home, plan(State), forward, Task) end,
            run(each(Do, Tasks, State#state{core = Core}));
        {{ahead, Ns}, Core} ->
            run(ahead(Ns, State#state{core = Core}));
        {{close, Entry}, Core} ->
            run(close(Entry, State#state{core = Core}));
        {settle, Core} ->
            run(settle([], 0, State#state{core = Core}));
        {{probe, Ns}, Core} ->
            Probe = fun({N, again}) -> warp_saga_step:probe(Home, plan(State), forward, N) end,
            run(each(Probe, [{N, again} || N <- Ns], State#state{core = Core}));
        {{reverse, Tasks}, Core} ->
            Do = fun({N, _} = Task) ->
                warp_saga_step:run(Home, plan(State), {reverse, applied_at(N, Core)}, Task)
            end,
            run(each(Do, Tasks, State#state{core = Core}));
        {{record, Entries, Clear}, Core} ->
            run(record(Entries, Clear, State#state{core = Core}));
        {finished, Core} ->
            finish({ok, warp_saga_core:result(Core)}, Context, Id)
    end.

%% Only steps in this node's journal are stored behind the plan. Before the first one that is not, all has to be stored.
ahead(Ns, #state{home = Home, ticket = Ticket} = State) ->
    case warp_saga_step:is_ahead_possible(Home, plan(State), Ns) of
        true ->
            Do = fun({N, ahead}) -> warp_saga_step:ahead(Home, plan(State), Ticket, N) end,
            each(Do, [{N, ahead} || N <- Ns], State);
        false ->
            settle([], 0, State)
    end.

%% Queues how the saga ends behind its steps. When that is stored, everything before it is.
close(Entry, #state{home = #{handle := Handle}, id = Id, seq = Seq, ticket = Ticket, core = Core} = State) ->
    {[_], #{packed := Packed}, Time} = pack([Entry], State),
    ok = warp_nif:tie(Packed, Ticket),
    %% What was queued so far is not answered when it is stored.
    ok = drop_answers(stored),
    case warp_nif:submit(Handle, warp_saga_plan:entity_id(Id), Seq, [{Packed, Time}], none) of
        ok ->
            receive
                {warp_reply, {stored, _}} -> State#state{core = warp_saga_core:replay(Entry, Core)};
                {warp_reply, Answer} -> settle([Answer], 1, State)
            end;
        {error, _} ->
            settle([], 0, State)
    end.

%% Waits until everything that was queued is stored or has failed. The plan too, of which the writer says nothing
%% when it is stored: there is one answer more than were to come when it is not.
settle(Answers, ToCome, #state{home = #{context := Context, handle := Handle}, id = Id} = State) ->
    case warp_nif:pass(Handle) of
        ok ->
            case Answers ++ until_passed() of
                %% The plan may be stored, and only the log can tell: it is read once the shard is open.
                [{failed, Reason} | _] when Reason =:= closed; Reason =:= interrupted -> exit({read_again, Reason});
                All when length(All) =:= ToCome -> settled(State);
                [{wrong_base, _} | _] -> finish(known, Context, Id);
                [{failed, Reason} | _] -> finish({error, Reason}, Context, Id)
            end;
        {error, closed} ->
            exit({read_again, closed});
        {error, _Overloaded} ->
            timer:sleep(?FIRST_PAUSE_MS),
            settle(Answers, ToCome, State)
    end.

settled(#state{core = Core, ticket = Ticket} = State) ->
    How = case warp_nif:is_void(Ticket) of true -> failed; false -> stored end,
    State#state{core = warp_saga_core:settled(How, Core), ticket = none}.

until_passed() ->
    receive
        {warp_reply, passed} -> [];
        {warp_reply, Answer} -> [Answer | until_passed()]
    end.

plan(#state{core = Core}) ->
    warp_saga_core:plan(Core).

planned_step(N, State) ->
    #{steps := Steps} = plan(State),
    lists:nth(N + 1, Steps).

applied_at(N, Core) ->
    #{steps := Steps} = warp_saga_core:describe(Core),
    #{seq := Seq} = lists:nth(N + 1, Steps),
    Seq.

%% Shows in the table which step waits for another start of the context, and why. The keeper, and the log of
%% the system, are told once.
show(#state{core = Core, shown = Shown} = State) ->
    case warp_saga_core:waiting(Core) of
        Shown -> State;
        Waiting -> show(Waiting, State#state{shown = Waiting})
    end.

show(none, #state{home = #{context := Context}, id = Id, core = Core} = State) ->
    ok = warp_saga_table:set_phase(Context, Id, warp_saga_core:phase(Core)),
    State;
show({N, Reason}, #state{home = #{context := Context, keeper := Keeper}, id = Id, core = Core} = State) ->
    #{entity := Entity} = planned_step(N, State),
    Direction = case warp_saga_core:phase(Core) of forward -> forward; compensating -> compensate end,
    Waiting = #{step => N, entity => Entity, direction => Direction, reason => Reason,
                since => os:system_time(microsecond)},
    %% NOTE: the table first. A caller of whom the keeper hears later is told from the table.
    ok = warp_saga_table:set_phase(Context, Id, {waiting, Waiting}),
    Keeper ! {waits, Id, Waiting},
    warn(Direction, N, Reason, State).

warn(Direction, N, Reason, #state{home = #{context := Context}, id = Id, warned = Warned} = State) ->
    case lists:member(Reason, Warned) of
        true ->
            State;
        false ->
            ?LOG_WARNING("Warp: saga ~ts of context ~ts waits: the ~ts action of its step ~b needs what "
                         "the context was started without: ~0tP. Nothing was refused; it goes on once "
                         "the context is started with it.",
                         [Id, maps:get(name, Context), Direction, N, Reason, 20]),
            State#state{warned = lists:sublist([Reason | Warned], ?MAX_WARNED)}
    end.

%% Waits for so long, or until the saga is cancelled. Takes every message, so that the mailbox does not grow.
hear_cancel(Core, 0) ->
    case warp_saga_core:is_ahead(Core) of
        true -> hear_cancel_alone(Core);
        false -> hear_all(Core)
    end;
hear_cancel(Core, Millis) ->
    hear_cancel_until(warp_deadline:from(Millis), Core).

%% The writer's answer for the plan may be among the messages.
hear_cancel_alone(Core) ->
    receive
        {?MODULE, cancel} = Cancel -> heard(Cancel, Core)
    after 0 ->
        Core
    end.

hear_all(Core) ->
    receive
        Message -> hear_all(heard(Message, Core))
    after 0 ->
        Core
    end.

hear_cancel_until(Deadline, Core) ->
    receive
        {?MODULE, cancel} = Cancel -> heard(Cancel, Core);
        Stray -> hear_cancel_until(Deadline, heard(Stray, Core))
    after warp_deadline:left(Deadline) ->
        Core
    end.

heard({?MODULE, cancel}, Core) ->
    warp_saga_core:stop(cancelled, Core);
heard(Stray, Core) ->
    ok = warp_stray:note(?MODULE, message, Stray),
    Core.

%% The outcomes of tasks that are done side by side.
each(Do, [{N, _} = Task], #state{core = Core} = State) ->
    State#state{core = warp_saga_core:outcome(N, Do(Task), Core)};
each(Do, Tasks, #state{core = Core} = State) ->
    Refs = [{N, spawn_task(fun() -> Do(Task) end)} || {N, _} = Task <- Tasks],
    Outcomes = [{N, receive {Ref, Outcome} -> Outcome end} || {N, Ref} <- Refs],
    State#state{core = lists:foldl(
        fun({N, Outcome}, Acc) -> warp_saga_core:outcome(N, Outcome, Acc) end, Core, Outcomes)}.

spawn_task(Fun) ->
    Self = self(),
    Ref = make_ref(),
    _ = spawn_link(fun() -> warp_saga_crash:guard(fun() -> Self ! {Ref, Fun()} end) end),
    Ref.

%% Appends entries to the saga's log, however often the disk refuses.
record(Entries, Clear, State) ->
    record(Entries, Clear, State, ?FIRST_PAUSE_MS).

record(Entries0, Clear, #state{home = Home, id = Id, seq = Seq, core = Core} = State, Pause) ->
    #{context := Context, shard := N, handle := Handle} = Home,
    {Entries, #{packed := Packed, count := Count}, Time} = pack(Entries0, State),
    Seqs = warp_saga_plan:seqs(Clear),
    %% NOTE: before the entries are stored. Who deletes in the meantime empties the WAL once too often.
    _ = [ok = warp_saga_table:set_cleared(Context, N) || Seqs =/= []],
    case submit(Handle, Id, Seq, Packed, Time, Seqs) of
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
            Later = State#state{core = hear_cancel(Core, Pause)},
            record(Entries0, Clear, Later, min(2 * Pause, ?LAST_PAUSE_MS))
    end.

pack(Entries0, #state{home = #{context := #{clock := Clock} = Context}, id = Id, time = Last}) ->
    {Entries, Packed} = warp_saga_log:pack(Context, Id, Entries0),
    {Entries, Packed, warp_clock:stamp(Clock, Id, Last)}.

%% Queues a row and waits for the answer. The answer comes through the owner of the journal; when the owner ends,
%% the supervisor ends the keeper, and so this process.
submit(Handle, Id, Base, Packed, Time, Clear) ->
    Entity = warp_saga_plan:entity_id(Id),
    Rows = [{Packed, Time}],
    %% A message that looks like an answer before anything was queued is none.
    ok = drop_answers(any),
    Submitted =
        case Clear of
            [] -> warp_nif:submit(Handle, Entity, Base, Rows, none);
            _ -> warp_nif:submit_clearing(Handle, Entity, Base, Rows, Clear, warp_saga_plan:cleared_types())
        end,
    case Submitted of
        ok ->
            receive
                {warp_reply, {stored, _}} -> ok;
                {warp_reply, {failed, Reason}} -> {error, Reason};
                {warp_reply, {wrong_base, _} = Wrong} -> {error, Wrong}
            end;
        {error, _} = Error ->
            Error
    end.

drop_answers(Of) ->
    receive
        {warp_reply, Answer} = Stray when Of =:= any; element(1, Answer) =:= Of ->
            ok = warp_stray:note(?MODULE, message, Stray),
            drop_answers(Of)
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
