%% @private A projector: follows one shard's log by position and has the writer write what comes of
%% it, batch by batch. While one batch is being written, the next one is prepared.
%%
%% There is one for each shard and generation of tables: a second one while a rebuild is made.
-module(warp_projector).
-behaviour(gen_server).

-export([start_link/3, await/5, flush/2, mend/3, pause/1, resume/1, prod/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

-include("../warp.hrl").
-include_lib("kernel/include/logger.hrl").

%% How much of the log one batch takes, and one in which a refused command is looked for.
-define(BATCH_BYTES, 512 * 1024).
-define(CAREFUL_BYTES, 8 * 1024).
%% How many entities of a shard may be set aside before it is not followed further.
-define(MAX_ASIDE, 10000).
%% After so many events without a command the checkpoint is moved all the same.
-define(MAX_SKIPPED, 20000).
-define(RETRY_MS, 100).
-define(LOOK_MS, 5000).

-record(batch, {
    from :: non_neg_integer(),
    to :: non_neg_integer(),
    events :: non_neg_integer(),
    %% Events that led to commands.
    projected = [] :: [warp_proj_changes:projected()],
    work = none :: none | {merged, warp_proj_changes:merged()}
                 | {sequence, [warp_proj_changes:step()], warp_proj_changes:needs()},
    aside = #{} :: #{binary() => {warp_core:event(), term()}},
    rows = 0 :: non_neg_integer(),
    %% When the first of its events was recorded.
    oldest = none :: none | warp_core:micros()
}).

-record(state, {
    context :: #context{},
    n :: non_neg_integer(),
    generation :: pos_integer(),
    writer :: pid() | undefined,
    handle :: warp_nif:shard() | undefined,
    fold :: warp_proj_fold:fold(),
    turn = 0 :: non_neg_integer(),
    %% Read up to here, and written up to there.
    position = 0 :: non_neg_integer(),
    committed = 0 :: non_neg_integer(),
    events = 0 :: non_neg_integer(),
    %% Events read since the checkpoint was moved, that led to nothing.
    skipped = 0 :: non_neg_integer(),
    ready = none :: none | #batch{},
    flying = none :: none | {reference(), #batch{} | warp_proj_mend:mend()},
    %% Entities set aside, with the seq of the event; and the last seq seen of them.
    aside = #{} :: #{binary() => warp_core:seq()},
    seen = #{} :: #{binary() => warp_core:seq()},
    %% Up to where, and in how large pieces, a refused command is looked for, and those found.
    careful = none :: none | {non_neg_integer(), pos_integer()},
    blamed = #{} :: #{{binary(), warp_core:seq()} => term()},
    %% Events that an operator left out: should they fail again, they are left out again.
    left_out = #{} :: #{{binary(), warp_core:seq()} => []},
    waiters = [] :: [{non_neg_integer(), integer() | infinity, binary(), gen_server:from()}],
    mends = [] :: [warp_proj_mend:mend()],
    %% Since when the shard is not followed, and why.
    stalled = none :: none | {warp_core:micros(), Why :: atom()},
    asleep = false :: boolean(),
    scheduled = false :: boolean(),
    paused = none :: none | gen_server:from() | yes
}).

-spec start_link(reference(), non_neg_integer(), pos_integer()) -> gen_server:start_ret().
start_link(Ref, N, Generation) ->
    gen_server:start_link(?MODULE, {Ref, N, Generation}, []).

%% @doc Waits until everything up to that position, which was seen in the log with that handle, is
%% written.
-spec await(pid(), binary(), warp_nif:shard(), non_neg_integer(), timeout()) ->
    ok | {error, timeout | interrupted | rebuild_due | {set_aside, warp_core:seq()}}.
await(Pid, Entity, Handle, Position, Timeout) ->
    Until =
        case Timeout of
            infinity -> infinity;
            _ -> erlang:monotonic_time(millisecond) + Timeout
        end,
    try
        gen_server:call(Pid, {await, Entity, Handle, Position, Until}, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> {error, interrupted}
    end.

%% @doc Forgets what was read of an entity that was erased from the log, and not yet handed over.
-spec flush(pid(), binary()) -> ok.
flush(Pid, Entity) ->
    try
        gen_server:call(Pid, {flush, Entity}, infinity)
    catch
        %% Its successor reads the log anew.
        exit:_ -> ok
    end.

%% @doc Projects an entity that was set aside on, from the event itself or the one behind it.
-spec mend(pid(), retry | skip, binary()) -> ok | {error, term()}.
mend(Pid, How, Entity) ->
    try
        gen_server:call(Pid, {mend, How, Entity}, infinity)
    catch
        exit:_ -> {error, interrupted}
    end.

%% @doc Has it hand nothing more over; answers where it stands when what it had is written.
-spec pause(pid()) -> {ok, non_neg_integer()} | {error, interrupted}.
pause(Pid) ->
    try
        gen_server:call(Pid, pause, infinity)
    catch
        exit:_ -> {error, interrupted}
    end.

-spec resume(pid()) -> ok.
resume(Pid) -> gen_server:cast(Pid, resume).

%% @doc What it waited for may have changed.
-spec prod(pid()) -> ok.
prod(Pid) -> gen_server:cast(Pid, prod).

-spec init({reference(), non_neg_integer(), pos_integer()}) ->
    {ok, #state{}, {continue, join}}.
init({Ref, N, Generation}) ->
    {ok, Context} = warp_context:find(Ref),
    ok = warp_proj:put(Context, {projector, N, Generation}, self()),
    {ok, #state{context = Context, n = N, generation = Generation,
                fold = warp_proj_fold:new(Context)}, {continue, join}}.

-spec handle_continue(join, #state{}) -> {noreply, #state{}}.
handle_continue(join, State) ->
    {noreply, join(State)}.

join(#state{context = Context, n = N, generation = Generation} = State) ->
    {ok, Writer} = warp_proj:get(Context, writer),
    Joined =
        case warp_context:shard(Context, N) of
            {ok, Open} -> {warp_proj_writer:join(Writer, N, Generation), Open};
            {error, _} = NotOpen -> NotOpen
        end,
    case Joined of
        {{ok, #{position := Position, run := Run} = Joining}, Handle} ->
            case warp_nif:run_of(Handle, Position) of
                {ok, none} ->
                    stalled(the_log_has_lost_events, State);
                {ok, Found} when Found =:= Run; Run =:= unknown ->
                    schedule(answer(publish(joined(Writer, Handle, Joining, going_on(State)))));
                {ok, _Another} ->
                    stalled(the_log_is_another_one, State);
                {error, Reason} ->
                    trouble(Reason, State#state{handle = undefined})
            end;
        _ ->
            join_later(?RETRY_MS, State)
    end.

%% Nothing is done before.
join_later(Ms, State) ->
    _ = erlang:send_after(Ms, self(), join),
    State#state{handle = undefined}.

%% The tables have events that are not in the log: an older copy of the shard was put in its place,
%% or a power failure took what was not fsynced. Other events have their positions, or will have.
%% So the shard is not followed until the tables are made anew, or its file is the right one again.
stalled(Why, #state{context = #context{name = Name} = Context, n = N} = State0) ->
    #state{generation = Generation, waiters = Waiters, mends = Mends, stalled = Before} = State =
        left(State0#state{handle = undefined, position = 0, committed = 0}),
    _ = [?LOG_ERROR("Warp: the tables of context ~ts have events of shard ~b that are not in its log (~ts); "
                    "nothing more of that shard is projected: warp_projection:rebuild/1 is due",
                    [Name, N, Why]) || Before =:= none],
    Stalled = case Before of {Since, _} -> {Since, Why}; none -> {os:system_time(microsecond), Why} end,
    ok = warp_proj:put(Context, {stalled, N, Generation}, Stalled),
    ok = warp_proj:take(Context, {at, N, Generation}),
    lists:foreach(fun({_, _, _, From}) -> gen_server:reply(From, {error, rebuild_due}) end, Waiters),
    lists:foreach(fun(Mend) -> warp_proj_mend:answer({error, rebuild_due}, Mend) end, Mends),
    _ = erlang:send_after(?LOOK_MS, self(), join),
    %% Who waits for it to be halted need not wait longer.
    schedule(State#state{stalled = Stalled, waiters = [], mends = []}).

going_on(#state{context = Context, n = N, generation = Generation} = State) ->
    ok = warp_proj:take(Context, {stalled, N, Generation}),
    State#state{stalled = none}.

%% What was under way is read anew from the log. Of a mend nobody knows here whether it was done.
left(#state{flying = Flying} = State) ->
    ok = case Flying of
             {_, #batch{}} -> ok;
             {_, Mend} -> warp_proj_mend:answer({error, interrupted}, Mend);
             none -> ok
         end,
    State#state{ready = none, flying = none}.

joined(Writer, Handle, #{turn := Turn, position := Position, events := Events, aside := Aside,
                         skipped := Skipped}, State0) ->
    State = left(State0),
    State#state{writer = Writer, handle = Handle, turn = Turn, position = Position,
                committed = Position, events = Events, aside = Aside, skipped = 0, careful = none,
                blamed = #{}, left_out = Skipped,
                fold = warp_proj_fold:forget_all(State#state.fold)}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({await, _, _, _, _}, _From, #state{stalled = {_, _}} = State) ->
    {reply, {error, rebuild_due}, State};
handle_call({mend, _, _}, _From, #state{stalled = {_, _}} = State) ->
    {reply, {error, rebuild_due}, State};
handle_call({await, Entity, Handle, Position, Until}, From, #state{waiters = Waiters} = State) ->
    Now = erlang:monotonic_time(millisecond),
    %% Those who gave up are not kept.
    Left = [Waiter || {_, Deadline, _, _} = Waiter <- Waiters,
                      Deadline =:= infinity orelse Deadline > Now],
    Waiting = State#state{waiters = [{Position, Until, Entity, From} | Left]},
    case State#state.handle of
        Handle -> {noreply, answer(Waiting)};
        undefined -> {noreply, Waiting};
        %% The shard was opened anew: is it still the log that was followed?
        _Another -> {noreply, join_later(0, Waiting)}
    end;
handle_call({flush, Entity}, _From, #state{aside = Aside, seen = Seen} = State0) ->
    #state{fold = Fold} = State = unread(State0),
    {reply, ok,
     schedule(State#state{fold = warp_proj_fold:forget(Entity, Fold),
                          aside = maps:remove(Entity, Aside), seen = maps:remove(Entity, Seen)})};
handle_call({mend, How, Entity}, From, #state{aside = Aside, mends = Mends} = State) ->
    case Aside of
        #{Entity := Seq} ->
            Mend = warp_proj_mend:new(How, Entity, Seq, From),
            {noreply, schedule(State#state{mends = Mends ++ [Mend]})};
        #{} ->
            {reply, {error, not_set_aside}, State}
    end;
handle_call(pause, From, State) ->
    {noreply, schedule((unread(State))#state{paused = From})}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(resume, State) ->
    {noreply, schedule(State#state{paused = none})};
handle_cast(prod, State) ->
    {noreply, schedule(State)}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(work, State) ->
    {noreply, work(State#state{scheduled = false})};
handle_info(log_grew, State) ->
    {noreply, schedule(State#state{asleep = false})};
handle_info({warp_written, Tag}, #state{flying = {Tag, Flown}} = State) ->
    {noreply, schedule(written(Flown, State#state{flying = none, turn = State#state.turn + 1}))};
handle_info({warp_refused, Tag, Index, Reason}, #state{flying = {Tag, Flown}} = State) ->
    {noreply, schedule(refused(Flown, Index, Reason, State#state{flying = none}))};
handle_info({warp_rejoin, Tag}, #state{flying = {Tag, _}} = State) ->
    {noreply, join(State)};
handle_info(join, State) ->
    {noreply, join(State)};
handle_info(_Stray, State) ->
    {noreply, State}.

%% Messages that wait are looked at between two steps of work.
schedule(#state{scheduled = true} = State) ->
    State;
schedule(State) ->
    self() ! work,
    State#state{scheduled = true}.

work(#state{paused = From, flying = none, committed = Committed} = State) when is_tuple(From) ->
    gen_server:reply(From, {ok, Committed}),
    State#state{paused = yes};
work(#state{paused = Paused} = State) when Paused =/= none ->
    State;
work(#state{handle = undefined} = State) ->
    State;
work(#state{flying = none, ready = none, mends = [Mend | Mends], committed = At, position = At} = State) ->
    mend_on(Mend, State#state{mends = Mends});
work(#state{ready = none, aside = Aside} = State) when map_size(Aside) >= ?MAX_ASIDE ->
    State;
work(#state{ready = none, careful = none} = State) ->
    read(State);
work(#state{ready = none, flying = none} = State) ->
    read(State);
work(#state{ready = #batch{}, flying = none} = State) ->
    submit(State);
work(State) ->
    State.

%% ------------------------------------------------------------------ Reading

read(#state{handle = Handle, position = Position, fold = Fold, careful = Careful} = State) ->
    Bytes = case Careful of none -> ?BATCH_BYTES; {_, Few} -> Few end,
    case warp_nif:follow(Handle, Position, Bytes, warp_proj_fold:names(Fold)) of
        {ok, {[], Position, done}} ->
            doze(State);
        {ok, {Rows, Last, _}} ->
            take(Rows, Last, State);
        {error, Reason} ->
            trouble(Reason, State)
    end.

%% The log ends here. It may have grown before we were seen to sleep, so it is read once more.
doze(#state{asleep = false, context = Context, n = N, generation = Generation} = State) ->
    ok = warp_proj:sleep(Context, N, Generation, true),
    schedule(State#state{asleep = true});
doze(State) ->
    _ = erlang:send_after(?LOOK_MS, self(), log_grew),
    publish(State).

trouble(Reason, #state{context = Context, n = N} = State) ->
    _ = [?LOG_ERROR("Warp: shard ~b of context ~ts cannot be projected further: ~tp",
                    [N, Context#context.name, Reason]) || element(1, {Reason}) =/= closed],
    case Reason of
        closed ->
            join_later(?RETRY_MS, State);
        _ when State#state.handle =:= undefined ->
            join_later(?LOOK_MS, State);
        _ ->
            _ = erlang:send_after(?LOOK_MS, self(), work),
            State
    end.

take(Rows, Last, #state{position = From} = State) ->
    Batch = #batch{from = From, to = Last, events = 0},
    case rows(Rows, Batch, State) of
        {ok, #batch{} = Full, Next} ->
            ready(Full, Next);
        {held, #batch{to = From}, Next} ->
            %% Nothing before it: wait until the deletion is done.
            _ = erlang:send_after(?RETRY_MS, self(), work),
            Next;
        {held, Part, Next} ->
            ready(Part, Next);
        {error, Reason} ->
            trouble(Reason, State#state{fold = warp_proj_fold:forget_all(State#state.fold)})
    end.

rows([], Batch, State) ->
    {ok, Batch, State};
rows([{Position, Entity, First, Last, Events} | Rows], Batch, State) ->
    #state{context = Context, handle = Handle, fold = Fold, aside = Aside, seen = Seen,
           blamed = Blamed, left_out = Skipped} = State,
    case warp_proj:is_held(Context, Entity, {Position, First}) of
        true ->
            {held, Batch#batch{to = max(Batch#batch.from, Position - 1)}, State};
        false when is_map_key(Entity, Aside) ->
            rows(Rows, count(First, Last, Batch), State#state{seen = Seen#{Entity => Last}});
        false ->
            case warp_proj_fold:events(Handle, {Entity, First, Last}, Events, {Blamed, Skipped},
                                       Fold) of
                {error, _} = Error ->
                    Error;
                {Outcomes, NextFold} ->
                    {Done, NextAside} = sort(Outcomes, count(First, Last, Batch), Entity, Aside),
                    NextSeen =
                        case NextAside of
                            #{Entity := _} -> Seen#{Entity => Last};
                            #{} -> Seen
                        end,
                    rows(Rows, since(Events, Done),
                         State#state{fold = NextFold, aside = NextAside, seen = NextSeen})
            end
    end.

count(First, Last, #batch{events = Events, rows = Rows} = Batch) ->
    Batch#batch{events = Events + Last - First + 1, rows = Rows + 1}.

since([#{recorded_at := Time} | _], #batch{oldest = none} = Batch) -> Batch#batch{oldest = Time};
since(_Events, Batch) -> Batch.

sort([], Batch, _Entity, Aside) ->
    {Batch, Aside};
sort([{ok, Projected} | Outcomes], #batch{projected = Before} = Batch, Entity, Aside) ->
    sort(Outcomes, Batch#batch{projected = [Projected | Before]}, Entity, Aside);
sort([{aside, #{seq := Seq} = Event, Reason}], #batch{aside = Noted} = Batch, Entity, Aside) ->
    {Batch#batch{aside = Noted#{Entity => {Event, Reason}}}, Aside#{Entity => Seq}}.

ready(#batch{projected = Reversed, to = To} = Batch, #state{careful = Careful} = State) ->
    Projected = lists:reverse(Reversed),
    Work =
        case Projected of
            [] -> none;
            _ when Careful =/= none -> sequence(Projected);
            _ ->
                case warp_proj_changes:merge(Projected) of
                    {ok, Merged} -> {merged, Merged};
                    shared -> sequence(Projected)
                end
        end,
    schedule(publish(State#state{ready = Batch#batch{projected = Projected, work = Work},
                                 fold = warp_proj_fold:trim(State#state.fold), position = To,
                                 asleep = false})).

sequence(Projected) ->
    {Steps, Needs} = warp_proj_changes:sequence(Projected),
    {sequence, Steps, Needs}.

%% Takes back what was read and not handed over.
unread(#state{ready = none} = State) ->
    State;
unread(#state{ready = #batch{from = From, aside = Noted}, aside = Aside, fold = Fold} = State) ->
    State#state{ready = none, position = From, aside = maps:without(maps:keys(Noted), Aside),
                fold = warp_proj_fold:forget_all(Fold), asleep = false}.

%% ------------------------------------------------------------------ Writing

submit(#state{ready = #batch{work = none, aside = Noted, events = Events, to = To},
              skipped = Skipped} = State)
  when map_size(Noted) =:= 0, Events + Skipped < ?MAX_SKIPPED ->
    %% Nothing to write: where the checkpoint stands matters little.
    schedule(passed(To, State#state{ready = none, committed = To, skipped = Skipped + Events}));
submit(#state{ready = #batch{to = To}, handle = Handle} = State) ->
    case warp_nif:run_of(Handle, To) of
        {ok, Run} when is_integer(Run) -> schedule(submit(Run, State));
        {error, Reason} -> trouble(Reason, State)
    end.

submit(Run, #state{ready = #batch{} = Batch, writer = Writer, turn = Turn, skipped = Skipped} = State) ->
    Tag = make_ref(),
    #batch{to = To, events = Events, work = Work, aside = Noted} = Batch,
    ok = warp_proj_writer:batch(Writer, Tag, #{
        shard => State#state.n, generation => State#state.generation, turn => Turn,
        position => To, run => Run, events => Events + Skipped, work => Work,
        aside => [aside_row(Entity, Event, Reason, To, State)
                  || {Entity, {Event, Reason}} <- maps:to_list(Noted)],
        clear => [], skip => []}),
    publish(State#state{ready = none, skipped = 0,
                        flying = {Tag, Batch#batch{events = Events + Skipped}}}).

aside_row(Entity, #{seq := Seq, aggregate := Aggregate, type := Type}, Reason, Position, State) ->
    [Entity, State#state.n, Position, Seq, Aggregate, Type, warp_proj_mend:reason(Reason),
     os:system_time(microsecond)].

written(#batch{to = To, events = Events, aside = Noted}, #state{n = N, context = Context} = State) ->
    _ = [?LOG_WARNING("Warp: an event of shard ~b of context ~ts could not be projected and is set "
                      "aside, with all behind it of its entity: see warp_projection:set_aside/1",
                      [N, Context#context.name]) || map_size(Noted) > 0],
    passed(To, State#state{committed = To, events = State#state.events + Events});
written(Mend, State) ->
    mend_on(warp_proj_mend:written(Mend), State).

passed(To, #state{careful = {Until, _}} = State) when To >= Until ->
    passed(To, State#state{careful = none, blamed = #{}});
passed(_To, State) ->
    answer(publish(State)).

%% The target took nothing of the batch: it is read again, in smaller pieces and command by command,
%% until it is known whose it was.
refused(#batch{from = From, to = To, aside = Noted} = Batch, Index, Reason, State0) ->
    #state{careful = Careful, blamed = Blamed, aside = Aside, fold = Fold} = State = unread(State0),
    Until = case Careful of none -> To; {Before, _} -> max(To, Before) end,
    Known = is_integer(Index) andalso lists:nth(Index, Batch#batch.projected),
    {Pieces, Guilty} =
        case Known of
            {Entity, Seq, _} -> {?CAREFUL_BYTES, Blamed#{{Entity, Seq} => {refused, Reason}}};
            false when Careful =:= none -> {?CAREFUL_BYTES, Blamed};
            false when Batch#batch.rows > 1 -> {1, Blamed};
            false ->
                [{Entity, Seq, _} | _] = Batch#batch.projected,
                {1, Blamed#{{Entity, Seq} => {refused, Reason}}}
        end,
    State#state{position = From, careful = {Until, Pieces}, blamed = Guilty,
                aside = maps:without(maps:keys(Noted), Aside), skipped = 0,
                fold = warp_proj_fold:forget_all(Fold)};
refused(Mend, Index, Reason, State) ->
    mend_on(warp_proj_mend:refused(Mend, Index, Reason), State).

answer(#state{waiters = Waiters, committed = Committed, aside = Aside} = State) ->
    {Done, Left} = lists:partition(fun({Position, _, _, _}) -> Position =< Committed end, Waiters),
    lists:foreach(
        fun({_, _, Entity, From}) ->
            gen_server:reply(From,
                case Aside of
                    #{Entity := Seq} -> {error, {set_aside, Seq}};
                    #{} -> ok
                end)
        end,
        Done),
    State#state{waiters = Left}.

%% ------------------------------------------------------------------ Mending

%% Nothing is read, ready or under way while an entity is mended.
mend_on(Mend, #state{handle = Handle, fold = Fold, aside = Aside, seen = Seen} = State) ->
    #state{n = N, generation = Generation, turn = Turn, committed = Committed} = State,
    case warp_proj_mend:next(Mend, Handle, Fold, {Committed, Seen, State#state.left_out}) of
        {write, #{work := _} = Changes, Next} ->
            case warp_nif:run_of(Handle, Committed) of
                {ok, Run} when is_integer(Run) ->
                    Tag = make_ref(),
                    Rows = [aside_row(Entity, Event, Reason, Committed, State)
                            || {Entity, Event, Reason} <- maps:get(aside, Changes)],
                    ok = warp_proj_writer:batch(State#state.writer, Tag, Changes#{
                        shard => N, generation => Generation, turn => Turn, position => Committed,
                        run => Run, events => 0, aside := Rows}),
                    State#state{flying = {Tag, Next}};
                {error, closed} ->
                    trouble(closed, State#state{mends = [Mend | State#state.mends]});
                {error, Why} ->
                    ok = warp_proj_mend:answer({error, Why}, Mend),
                    State
            end;
        {later, Next} ->
            %% The log has to be read on before it is known how far to go.
            read(State#state{mends = State#state.mends ++ [Next]});
        {done, Entity, From, Result} ->
            gen_server:reply(From, Result),
            After =
                case Result of
                    ok -> maps:remove(Entity, Aside);
                    {error, {set_aside, Seq}} -> Aside#{Entity := Seq};
                    {error, _} -> Aside
                end,
            NextSeen = case After of #{Entity := _} -> Seen; #{} -> maps:remove(Entity, Seen) end,
            Skipped = maps:merge(State#state.left_out, warp_proj_mend:skipped(Mend)),
            schedule(publish(State#state{aside = After, seen = NextSeen, left_out = Skipped,
                                         fold = warp_proj_fold:forget(Entity, Fold)}))
    end.

%% How far it is, for whoever wants to know.
publish(#state{context = Context, n = N, generation = Generation} = State) ->
    Oldest =
        case State of
            #state{flying = {_, #batch{oldest = Time}}} when is_integer(Time) -> Time;
            #state{ready = #batch{oldest = Time}} when is_integer(Time) -> Time;
            #state{} -> none
        end,
    ok = warp_proj:put(Context, {at, N, Generation},
                       {State#state.committed, State#state.events + State#state.skipped, Oldest,
                        map_size(State#state.aside)}),
    State.
