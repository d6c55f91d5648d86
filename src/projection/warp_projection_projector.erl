%% @private A projector: follows one shard's log by position and has the writer write what comes of
%% it, batch by batch. While one batch is being written, the next one is prepared.
%%
%% It calls no code of the user, and waits for nobody, so that it can always answer: its worker
%% ({@link warp_projection_worker}) reads and projects. A call of the user's code that does not return is
%% ended with the worker, and its event set aside.
%%
%% There is one for each shard and generation of tables: a second one while a rebuild is made.
-module(warp_projection_projector).
-behaviour(gen_server).

-export([start_link/3, await/5, flush/2, mend/4, pause/2, resume/1, prod/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

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
%% How often it looks what its worker and the writer are at; how many times the same call of the
%% user's code is found before it is ended; and after how many looks it is said that it stands still.
-define(TICK_MS, 1000).
-define(CALL_TICKS, 10).
-define(STILL_TICKS, 3).
%% How many entities that were erased the worker has not been told of.
-define(MAX_FORGET, 1000).

-record(batch, {
    from :: non_neg_integer(),
    to :: non_neg_integer(),
    events :: non_neg_integer(),
    %% Events that led to commands, as the worker gives them.
    projected = [] :: [{binary(), warp_core:seq()}],
    work = none :: none | {merged, warp_projection_merge:merged()}
                 | {sequence, [warp_projection_merge:step()], warp_projection_merge:needs()},
    aside = #{} :: #{binary() => warp_projection_retry:note()},
    %% The run that wrote the last row of it.
    run :: non_neg_integer(),
    rows = 0 :: non_neg_integer(),
    %% When the first of its events was recorded.
    oldest = none :: none | warp_core:micros()
}).

-record(state, {
    context :: warp_context:context(),
    n :: non_neg_integer(),
    generation :: pos_integer(),
    writer :: pid() | undefined,
    handle :: warp_nif:shard() | undefined,
    worker :: pid(),
    at :: warp_projection_user_code:at(),
    %% What the worker is at; `void' when nobody wants to know any more. Entities that were erased
    %% since it began.
    job = none :: none | {reference(), read | void | {mend, warp_projection_retry:mend()}},
    erased = [] :: [binary()],
    %% What the worker knows of what is set aside, and what it has to forget.
    told = none :: none | warp_projection_worker:told(),
    forget = [] :: [binary()],
    %% What was found at the last look, and how often; the call that the worker was ended for; the call
    %% in which one went away by itself.
    watched = none :: none | {term(), non_neg_integer()},
    ticking = false :: boolean(),
    ended = none :: none | {warp_projection_user_code:where() | none},
    suspect = none :: none | term(),
    %% How it is, and since when, as the status shows it.
    is = {starting, none} :: is(),
    joining = none :: none | gen_server:request_id(),
    turn = 0 :: non_neg_integer(),
    %% Read up to here, and written up to there.
    position = 0 :: non_neg_integer(),
    committed = 0 :: non_neg_integer(),
    %% The run that wrote the row at that position.
    run = 0 :: non_neg_integer(),
    events = 0 :: non_neg_integer(),
    %% Events read since the checkpoint was moved, that led to nothing.
    skipped = 0 :: non_neg_integer(),
    ready = none :: none | #batch{},
    flying = none :: none | {reference(), #batch{} | warp_projection_retry:mend()},
    %% Entities set aside, with the seq of the event; and the last seq seen of them.
    aside = #{} :: #{binary() => warp_core:seq()},
    seen = #{} :: #{binary() => warp_core:seq()},
    %% Up to where, and in how large pieces, a refused command is looked for, and those found.
    careful = none :: none | {non_neg_integer(), pos_integer()},
    blamed = #{} :: warp_projection_fold:blamed(),
    %% Events that an operator left out: should they fail again, they are left out again.
    left_out = #{} :: #{{binary(), warp_core:seq()} => []},
    waiters = [] :: [{non_neg_integer(), integer() | infinity, binary(), gen_server:from()}],
    %% Those that are to begin, with the deadline of who asked, and one that is under way.
    mends = [] :: [{new, retry | skip, binary(), integer(), gen_server:from()}
                   | {on, warp_projection_retry:mend()}],
    asleep = false :: boolean(),
    scheduled = false :: boolean(),
    looking = none :: none | reference(),
    %% Who asked for it; it ends with that process.
    paused = none :: none | {gen_server:from() | answered, reference()}
}).

%% `live': at the end of the log. `catching_up': behind, and going on. `stalled': not going on, and why.
-type is() :: {starting | live | catching_up | stalled, Why :: term()}.
-export_type([is/0]).

-spec start_link(warp_context:membership(), non_neg_integer(), pos_integer()) -> gen_server:start_ret().
start_link(Membership, N, Generation) ->
    gen_server:start_link(?MODULE, {Membership, N, Generation}, []).

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

%% @doc Projects an entity that was set aside on, from the event itself or the one behind it. At the
%% timeout, in milliseconds, it may be under way; then it goes on.
-spec mend(pid(), retry | skip, binary(), timeout()) -> ok | {error, term()}.
mend(Pid, How, Entity, Timeout) ->
    Until = erlang:monotonic_time(millisecond) + Timeout,
    call(Pid, {mend, How, Entity, Until}, Timeout).

%% @doc Has it hand nothing more over, for as long as the caller lives or until {@link resume/1};
%% answers where it stands when what it had is written.
-spec pause(pid(), timeout()) -> {ok, non_neg_integer()} | {error, interrupted | timeout}.
pause(Pid, Timeout) ->
    call(Pid, {pause, self()}, Timeout).

call(Pid, Request, Timeout) ->
    try
        gen_server:call(Pid, Request, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> {error, interrupted}
    end.

-spec resume(pid()) -> ok.
resume(Pid) -> gen_server:cast(Pid, resume).

%% @doc What it waited for may have changed.
-spec prod(pid()) -> ok.
prod(Pid) -> gen_server:cast(Pid, prod).

-spec init({warp_context:membership(), non_neg_integer(), pos_integer()}) ->
    {ok, #state{}, {continue, join}}.
init({Membership, N, Generation}) ->
    _ = process_flag(trap_exit, true),
    Context = warp_context:mine(Membership),
    ok = warp_projection_table:put_projector(Context, {N, Generation}, self()),
    {Worker, At} = warp_projection_worker:start_link(Context, N, Generation),
    State = #state{context = Context, n = N, generation = Generation, worker = Worker, at = At},
    ok = show(State),
    {ok, State, {continue, join}}.

-spec handle_continue(join, #state{}) -> {noreply, #state{}}.
handle_continue(join, State) ->
    {noreply, join(State)}.

%% Asks the writer, which may be busy with the target, where to go on.
join(#state{joining = none, context = Context, n = N, generation = Generation} = State) ->
    case warp_projection_table:process(Context, writer) of
        {ok, Writer} ->
            Request = warp_projection_writer:join(Writer, N, Generation),
            tick_on(State#state{joining = Request, writer = Writer});
        none ->
            join({error, no_writer}, State)
    end;
join(State) ->
    State.

join(Answer, #state{context = Context, n = N, writer = Writer} = State0) ->
    State = State0#state{joining = none},
    case {Answer, warp_context:shard(Context, N)} of
        {{ok, #{position := Position, run := Run} = Joining}, {ok, Handle}} ->
            case warp_nif:run_of(Handle, Position) of
                {ok, none} ->
                    forked(the_log_has_lost_events, State);
                {ok, Found} when Found =:= Run; Run =:= unknown ->
                    Joined = joined(Writer, Handle, Joining, State),
                    schedule(answer(publish(Joined#state{run = Found})));
                {ok, _Another} ->
                    forked(the_log_is_another_one, State);
                {error, Reason} ->
                    trouble(Reason, State#state{handle = undefined})
            end;
        {_, {error, Why}} ->
            join_later(?RETRY_MS, is({stalled, Why}, State));
        {{error, Why}, _} ->
            join_later(?RETRY_MS, is({stalled, away(Why)}, State))
    end.

%% Nothing is done before.
join_later(Millis, State) ->
    _ = erlang:send_after(Millis, self(), join),
    State#state{handle = undefined}.

%% The tables have events that are not in the log: an older copy of the shard was put in its place,
%% or a power failure took what was not fsynced. Other events have their positions, or will have.
%% So the shard is not followed until the tables are made anew, or its file is the right one again.
forked(Why, #state{context = #{name := Name} = Context, n = N, is = Is} = State0) ->
    #state{generation = Generation, waiters = Waiters, mends = Mends} = State = void(State0),
    _ = [?LOG_ERROR("Warp: the tables of context ~ts have events of shard ~b that are not in its log (~ts); "
                    "nothing more of that shard is projected: warp_projection:rebuild/1 is due",
                    [Name, N, Why]) || not is_forked(Is)],
    ok = warp_projection_table:take_position(Context, {N, Generation}),
    lists:foreach(fun({_, _, _, From}) -> gen_server:reply(From, {error, rebuild_due}) end, Waiters),
    lists:foreach(fun(Mend) -> gen_server:reply(asked(Mend), {error, rebuild_due}) end, Mends),
    lists:foreach(fun(Mend) -> gen_server:reply(warp_projection_retry:from(Mend), {error, interrupted}) end,
                  flown(State)),
    %% Who waits for it to be halted need not wait longer.
    schedule(join_later(?LOOK_MS, is({stalled, {rebuild_due, Why}},
                                     State#state{position = 0, committed = 0, ready = none, flying = none,
                                                 waiters = [], mends = []}))).

is_forked({stalled, {rebuild_due, _}}) -> true;
is_forked(_) -> false.

asked({new, _, _, _, From}) -> From;
asked({on, Mend}) -> warp_projection_retry:from(Mend).

away({away, _} = Away) -> Away;
away(Why) -> {away, Why}.

joined(Writer, Handle, #{turn := Turn, position := Position, events := Events, aside := Aside,
                         skipped := Skipped}, State0) ->
    #state{mends = Mends} = State = void(State0),
    %% What one of them wrote last is not known: who asked may ask again.
    lists:foreach(fun(Mend) -> gen_server:reply(warp_projection_retry:from(Mend), {error, interrupted}) end,
                  [Mend || {on, Mend} <- Mends] ++ flown(State)),
    is({catching_up, none},
       State#state{writer = Writer, handle = Handle, turn = Turn, position = Position,
                   committed = Position, events = Events, aside = Aside, skipped = 0, ready = none,
                   flying = none, careful = none, blamed = #{}, left_out = Skipped,
                   mends = [Mend || Mend <- Mends, element(1, Mend) =:= new]}).

flown(#state{flying = {_, #batch{}}}) -> [];
flown(#state{flying = {_, Mend}}) -> [Mend];
flown(#state{flying = none}) -> [].

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({await, _, _, _, _}, _From, #state{is = {stalled, {rebuild_due, _}}} = State) ->
    {reply, {error, rebuild_due}, State};
handle_call({mend, _, _, _}, _From, #state{is = {stalled, {rebuild_due, _}}} = State) ->
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
handle_call({flush, Entity}, _From, State0) ->
    #state{aside = Aside, seen = Seen, forget = Forget, erased = Erased} = State = unread(Entity, State0),
    {reply, ok,
     schedule(forgetful(State#state{forget = lists:usort([Entity | Forget]),
                                    erased = lists:usort([Entity | Erased]),
                                    aside = maps:remove(Entity, Aside),
                                    seen = maps:remove(Entity, Seen)}))};
handle_call({mend, _How, _Entity, _Until}, _From, #state{handle = undefined, is = {_, Why}} = State) ->
    {reply, {error, {stalled, Why}}, State};
handle_call({mend, How, Entity, Until}, From, #state{aside = Aside, mends = Mends} = State) ->
    case Aside of
        #{Entity := _} ->
            Now = erlang:monotonic_time(millisecond),
            %% Those who gave up are not begun.
            Left = [Mend || Mend <- Mends, element(1, Mend) =:= on orelse element(4, Mend) > Now],
            {noreply, schedule(State#state{mends = Left ++ [{new, How, Entity, Until, From}]})};
        #{} ->
            {reply, {error, not_set_aside}, State}
    end;
handle_call({pause, Pid}, From, State0) ->
    State = go_on(unread(State0)),
    {noreply, schedule(tick_on(State#state{paused = {From, erlang:monitor(process, Pid)}}))};
handle_call(Request, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Request),
    {reply, {error, {unknown_request, Request}}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(resume, State) ->
    {noreply, schedule(go_on(State))};
handle_cast(prod, State) ->
    {noreply, schedule(State)};
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

go_on(#state{paused = none} = State) ->
    State;
go_on(#state{paused = {_, Monitor}} = State) ->
    true = erlang:demonitor(Monitor, [flush]),
    moved(State#state{paused = none}).

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(work, State) ->
    {noreply, work(State#state{scheduled = false})};
handle_info({log_grew, N}, #state{n = N} = State) ->
    {noreply, schedule(State#state{asleep = false})};
handle_info(look, State) ->
    {noreply, schedule(State#state{asleep = false, scheduled = false, looking = none})};
handle_info({warp_written, Tag}, #state{flying = {Tag, Flown}} = State) ->
    {noreply, schedule(written(Flown, State#state{flying = none, turn = State#state.turn + 1}))};
handle_info({warp_refused, Tag, Index, Reason}, #state{flying = {Tag, Flown}} = State) ->
    {noreply, schedule(refused(Flown, Index, Reason, State#state{flying = none}))};
handle_info({warp_rejoin, Tag}, #state{flying = {Tag, _}} = State) ->
    {noreply, join(State)};
handle_info({warp_job, Reference, Result}, #state{job = {Reference, What}} = State) ->
    {noreply, done(What, Result, moved(State#state{job = none}))};
handle_info(tick, State) ->
    {noreply, tick(State)};
handle_info(join, State) ->
    {noreply, join(State)};
handle_info({'EXIT', Worker, Reason}, #state{worker = Worker} = State) ->
    {noreply, schedule(worker_gone(Reason, State))};
handle_info({'DOWN', Monitor, process, _, _}, #state{paused = {_, Monitor}} = State) ->
    {noreply, schedule(go_on(State))};
%% Answers that are late, to what began anew.
handle_info({Late, _}, State) when Late =:= warp_written; Late =:= warp_rejoin ->
    {noreply, State};
handle_info({warp_refused, _, _, _}, State) ->
    {noreply, State};
handle_info({warp_job, _, _}, State) ->
    {noreply, State};
handle_info(Message, #state{joining = Request} = State) when Request =/= none ->
    case gen_server:check_response(Message, Request) of
        {reply, Answer} -> {noreply, join(Answer, State)};
        {error, {_, _}} -> {noreply, join({error, no_writer}, State)};
        no_reply -> {noreply, stray(Message, State)}
    end;
handle_info(Message, State) ->
    {noreply, stray(Message, State)}.

stray(Message, State) ->
    ok = warp_stray:note(?MODULE, message, Message),
    State.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{worker = Worker, context = Context, n = N, generation = Generation}) ->
    true = exit(Worker, kill),
    receive {'EXIT', Worker, _} -> ok after ?TICK_MS -> ok end,
    ok = warp_projection_states:clean(Context, N, Generation),
    warp_redact:empty_mailbox().

%% @private
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{} = S} = Status) ->
    warp_redact:status(Status, #{
        shard => S#state.n, generation => S#state.generation, is => element(1, S#state.is),
        position => S#state.position, committed => S#state.committed, set_aside => map_size(S#state.aside),
        waiters => length(S#state.waiters), mends => length(S#state.mends)});
format_status(Status) ->
    warp_redact:status(Status, #{}).

%% Messages that wait are looked at between two steps of work.
schedule(#state{scheduled = true} = State) ->
    State;
schedule(State) ->
    self() ! work,
    State#state{scheduled = true}.

work(#state{paused = {From, Monitor}, flying = none, committed = Committed} = State) when From =/= answered ->
    gen_server:reply(From, {ok, Committed}),
    State#state{paused = {answered, Monitor}};
work(#state{paused = Paused} = State) when Paused =/= none ->
    State;
work(#state{handle = undefined} = State) ->
    State;
work(#state{ended = {_}} = State) ->
    State;
work(#state{job = {_, _}} = State) ->
    State;
work(#state{flying = none, ready = none, mends = [Mend | Mends], committed = At, position = At} = State) ->
    begin_mend(Mend, State#state{mends = Mends});
%% One that waits is not kept waiting by a log that has much more.
work(#state{flying = {_, _}, ready = none, mends = [_ | _]} = State) ->
    State;
work(#state{ready = none, aside = Aside} = State) when map_size(Aside) >= ?MAX_ASIDE ->
    is({stalled, {set_aside, ?MAX_ASIDE}}, State);
work(#state{ready = none, careful = none} = State) ->
    read(State);
work(#state{ready = none, flying = none} = State) ->
    read(State);
work(#state{ready = #batch{}, flying = none} = State) ->
    submit(State);
work(State) ->
    State.

%% ------------------------------------------------------------------ The worker

ask(What, Kind, Job, #state{worker = Worker, handle = Handle, forget = Forget} = State) ->
    Reference = warp_projection_worker:ask(Worker, {Kind, Job#{handle => Handle, forget => Forget}}),
    tick_on(State#state{job = {Reference, What}, forget = [], erased = []}).

read(#state{position = Position, careful = Careful, aside = Aside, left_out = LeftOut, told = Told} = State) ->
    {Bytes, Single} =
        case Careful of
            none -> {?BATCH_BYTES, false};
            {_, Few} -> {Few, true}
        end,
    Now = {Aside, LeftOut},
    Job = #{position => Position, bytes => Bytes, single => Single, blamed => State#state.blamed,
            told => case Told of Now -> same; _ -> Now end},
    ask(read, read, Job, State#state{told = Now}).

done(void, _Result, State) ->
    schedule(State#state{told = none});
done(read, {part, Part}, #state{erased = Erased} = State) ->
    case lists:any(fun(Entity) -> mentions(Entity, Part) end, Erased) of
        true -> schedule(State#state{told = none});
        false -> took(Part, State)
    end;
done(read, {error, Reason}, State) ->
    trouble(Reason, State);
done({mend, Mend}, Decision, State) ->
    mend_on(Mend, Decision, State).

took(#{to := From, then := Then}, #state{position = From} = State) ->
    case Then of
        done ->
            doze(State);
        held ->
            %% Wait until the deletion is done.
            look_in(?RETRY_MS, State);
        {error, Reason} ->
            trouble(Reason, State);
        more ->
            schedule(State)
    end;
took(#{to := To, then := Then, aside := Notes, seen := NewlySeen} = Part, State) ->
    #state{position = From, aside = Before, seen = Seen, left_out = LeftOut} = State,
    #{events := Events, projected := Projected, work := Work, rows := Rows, oldest := Oldest} = Part,
    Aside = maps:merge(Before, maps:map(fun(_, {Seq, _, _, _}) -> Seq end, Notes)),
    Batch = #batch{from = From, to = To, events = Events, projected = Projected, work = Work,
                   run = maps:get(run, Part), aside = Notes, rows = Rows, oldest = Oldest},
    Next = State#state{ready = Batch, position = To, asleep = false, aside = Aside,
                       seen = maps:merge(Seen, NewlySeen), told = {Aside, LeftOut}},
    schedule(publish(case Then of
                         done -> going(Next);
                         _ -> is({catching_up, none}, Next)
                     end)).

%% It goes on after it stood still; one that is at the end of the log now and then stays `live'.
going(#state{is = {live, _}} = State) -> State;
going(State) -> is({catching_up, none}, State).

%% Whether it has something of the entity.
mentions(Entity, #{work := Work, aside := Aside, seen := Seen}) ->
    is_map_key(Entity, Aside) orelse is_map_key(Entity, Seen) orelse in_work(Entity, Work).

in_work(_Entity, none) ->
    false;
in_work(Entity, {sequence, Steps, _}) ->
    lists:keymember(Entity, 2, Steps);
in_work(Entity, {merged, #{deletes := Deletes, upserts := Upserts, counts := Counts}}) ->
    lists:any(fun(Rows) -> lists:keymember(Entity, 2, Rows) end, maps:values(Deletes))
        orelse lists:any(fun(Rows) -> lists:any(fun([_, Owner | _]) -> Owner =:= Entity end, Rows) end,
                         maps:values(Upserts))
        orelse lists:any(fun([_, _, _, Who, _]) -> Who =:= Entity end, Counts).

%% The worker is told with its next job. Where that does not come for long, a new one knows nothing.
forgetful(#state{forget = Forget, job = none, ended = none, worker = Worker} = State)
  when length(Forget) > ?MAX_FORGET ->
    true = exit(Worker, kill),
    State#state{ended = {none}};
forgetful(State) ->
    State.

tick_on(#state{ticking = true} = State) ->
    State;
tick_on(State) ->
    _ = erlang:send_after(?TICK_MS, self(), tick),
    State#state{ticking = true}.

%% What it waits for, and for how long already. The first look at something is not counted.
tick(#state{watched = Watched} = State) ->
    case waits_for(State) of
        nothing ->
            State#state{ticking = false, watched = none};
        What ->
            Ticks = case Watched of {What, Before} -> Before + 1; _ -> 0 end,
            still(What, Ticks, tick_on(State#state{ticking = false, watched = {What, Ticks}}))
    end.

waits_for(#state{job = {Reference, _}, at = At}) ->
    case warp_projection_user_code:where(At) of
        none -> {reading, Reference};
        Where -> {calling, Where}
    end;
waits_for(#state{joining = Request}) when Request =/= none -> {joining, Request};
waits_for(#state{flying = {Tag, _}}) -> {writing, Tag};
waits_for(#state{paused = {_, Monitor}}) -> {paused, Monitor};
waits_for(_State) -> nothing.

still({calling, {Position, Seq, Kind, _} = Where}, Ticks, #state{worker = Worker, ended = none} = State)
  when Ticks >= ?CALL_TICKS ->
    #state{context = Context, n = N} = State,
    ?LOG_WARNING("Warp: a call of ~ts has not returned for ~b seconds, and is ended: shard ~b of context ~ts, "
                 "position ~b, seq ~b", [Kind, ?CALL_TICKS, N, maps:get(name, Context), Position, Seq]),
    true = exit(Worker, kill),
    State#state{ended = {Where}};
still({calling, {Position, Seq, Kind, _}}, Ticks, State) when Ticks >= ?STILL_TICKS ->
    is({stalled, {calling, Kind, #{position => Position, seq => Seq}}}, State);
still({What, _}, Ticks, State) when Ticks >= ?STILL_TICKS ->
    is({stalled, What}, State);
still(_What, _Ticks, State) ->
    State.

%% What it waited for is there.
moved(#state{is = {stalled, Why}} = State) when Why =:= reading; Why =:= writing; Why =:= paused;
                                                element(1, Why) =:= calling ->
    is({catching_up, none}, State);
moved(State) ->
    State.

%% It is known in which call of the user's code, if in any. Who ended it for one that did not return
%% knows the culprit; one that went away by itself did so for that call if it happens twice.
worker_gone(Reason, #state{context = Context, n = N, generation = Generation, at = At, job = Job} = State0) ->
    #state{ended = Ended, suspect = Suspect} = State0,
    {Worker, NewAt} = warp_projection_worker:start_link(Context, N, Generation),
    State = (void(State0))#state{worker = Worker, at = NewAt, told = none, forget = [], ended = none,
                                 watched = none, job = none},
    case Job =/= none andalso warp_projection_user_code:where(At) of
        false ->
            State;
        none ->
            failed(Reason, State);
        {Position, Seq, Kind, _} = Where when Ended =:= {Where} ->
            blame({Position, Seq, Kind}, {timeout, Kind, ?CALL_TICKS}, State);
        {Position, Seq, Kind, _} when Suspect =:= {Position, Seq, Kind} ->
            Why = case Reason of
                      killed -> {killed, Kind, warp_projection_worker:max_bytes()};
                      _ -> {died, Kind, warp_stray:shape(Reason)}
                  end,
            blame(Suspect, Why, State);
        {Position, Seq, Kind, _} ->
            ?LOG_WARNING("Warp: the process that called ~ts went away (~ts), and the event is tried once more: "
                         "shard ~b of context ~ts, position ~b, seq ~b",
                         [Kind, warp_stray:shape(Reason), N, maps:get(name, Context), Position, Seq]),
            (carefully(Position, ?CAREFUL_BYTES, State))#state{suspect = {Position, Seq, Kind}}
    end.

%% Perhaps the piece was too large for it.
failed(Reason, #state{context = #{name := Name}, n = N, position = Position} = State) ->
    ?LOG_ERROR("Warp: what projects shard ~b of context ~ts went away, and is started again: ~ts",
               [N, Name, warp_stray:shape(Reason)]),
    Waiting = look_in(?LOOK_MS, State#state{scheduled = true}),
    is({stalled, worker_failed}, carefully(Position + 1, 1, Waiting)).

blame({0, Seq, Kind}, Why, #state{mends = [{on, Mend} | Mends]} = State) ->
    State#state{suspect = none, mends = [{on, warp_projection_retry:ended(Mend, Seq, Kind, Why)} | Mends]};
blame({Position, Seq, Kind}, Why, #state{blamed = Blamed} = State) ->
    Next = carefully(Position, ?CAREFUL_BYTES, State),
    Next#state{suspect = none, blamed = Blamed#{{at, Position} => {Seq, {ended, Kind, Why}}}}.

carefully(Position, Bytes, #state{careful = Careful} = State) ->
    Until = case Careful of none -> Position; {Before, _} -> max(Before, Position) end,
    State#state{careful = {Until, Bytes}}.

%% The log ends here. It may have grown before we were seen to sleep, so it is read once more.
doze(#state{asleep = false, context = Context, n = N} = State) ->
    ok = warp_follower:sleep(Context, N),
    schedule(State#state{asleep = true});
doze(State) ->
    look_in(?LOOK_MS, is({live, none}, publish(State))).

%% Looks again after so long, or before.
look_in(Millis, #state{looking = none} = State) ->
    State#state{looking = erlang:send_after(Millis, self(), look)};
look_in(Millis, #state{looking = Timer} = State) ->
    case erlang:read_timer(Timer) of
        Left when is_integer(Left), Left > Millis ->
            _ = erlang:cancel_timer(Timer),
            State#state{looking = erlang:send_after(Millis, self(), look)};
        _ ->
            State
    end.

%% Said once for each reason.
trouble(Reason, #state{context = Context, n = N, is = Is} = State) ->
    Why = {stalled, why(Reason)},
    _ = [?LOG_ERROR("Warp: shard ~b of context ~ts cannot be projected further: ~0tp",
                    [N, maps:get(name, Context), why(Reason)])
         || element(1, {Reason}) =/= closed, Is =/= Why],
    Stalled = is(Why, State),
    case Reason of
        %% Opened again it may be another log: that is looked at first.
        closed -> join_later(?RETRY_MS, Stalled);
        _ when Stalled#state.handle =:= undefined -> join_later(?LOOK_MS, Stalled);
        _ -> look_in(?LOOK_MS, Stalled)
    end.

why(closed) -> {log, closed};
why({stale_function, _} = Stale) -> Stale;
why(Reason) -> {log, Reason}.

%% Takes back what was read and not handed over.
unread(State) ->
    take_back(void(State)).

%% The same, where it has something of an entity.
unread(Entity, #state{job = {Reference, {mend, Mend}}, mends = Mends} = State) ->
    case warp_projection_retry:entity(Mend) of
        Entity -> State#state{job = {Reference, void}, mends = [{on, Mend} | Mends]};
        _ -> State
    end;
unread(Entity, #state{ready = #batch{work = Work, aside = Noted}, seen = Seen} = State) ->
    case mentions(Entity, #{work => Work, aside => Noted, seen => Seen}) of
        true -> take_back(State);
        false -> State
    end;
unread(_Entity, State) ->
    State.

void(#state{job = {Reference, {mend, Mend}}, mends = Mends} = State) ->
    State#state{job = {Reference, void}, mends = [{on, Mend} | Mends]};
void(#state{job = {Reference, _}} = State) ->
    State#state{job = {Reference, void}};
void(State) ->
    State.

take_back(#state{ready = none} = State) ->
    State;
take_back(#state{ready = #batch{from = From, aside = Noted}, aside = Aside} = State) ->
    State#state{ready = none, position = From, aside = maps:without(maps:keys(Noted), Aside),
                told = none, asleep = false}.

%% ------------------------------------------------------------------ Writing

submit(#state{ready = #batch{work = none, aside = Noted, events = Events, to = To, run = Run},
              skipped = Skipped} = State)
  when map_size(Noted) =:= 0, Events + Skipped < ?MAX_SKIPPED ->
    %% Nothing to write: where the checkpoint stands matters little.
    schedule(passed(To, State#state{ready = none, committed = To, run = Run, skipped = Skipped + Events}));
submit(#state{ready = #batch{to = To}, handle = Handle} = State) ->
    case warp_nif:run_of(Handle, To) of
        {ok, Run} when is_integer(Run) -> schedule(submit(Run, State));
        {error, Reason} -> trouble(Reason, State)
    end.

submit(Run, #state{ready = #batch{} = Batch, writer = Writer, turn = Turn, skipped = Skipped} = State) ->
    Tag = make_ref(),
    #batch{to = To, run = Run, events = Events, work = Work, aside = Noted} = Batch,
    ok = warp_projection_writer:batch(Writer, Tag, #{
        shard => State#state.n, generation => State#state.generation, turn => Turn,
        position => To, run => Run, events => Events + Skipped, work => Work,
        aside => [aside_row(Entity, Note, To, State) || {Entity, Note} <- maps:to_list(Noted)],
        clear => [], skip => []}),
    tick_on(publish(State#state{ready = none, skipped = 0,
                                flying = {Tag, Batch#batch{events = Events + Skipped, work = none}}})).

aside_row(Entity, {Seq, Aggregate, Type, Reason}, Position, State) ->
    [Entity, State#state.n, Position, Seq, Aggregate, Type, Reason, os:system_time(microsecond)].

written(#batch{to = To, run = Run, events = Events, aside = Noted}, #state{n = N, context = Context} = State) ->
    _ = [?LOG_WARNING("Warp: an event of shard ~b of context ~ts could not be projected and is set "
                      "aside, with all behind it of its entity: see warp_projection:set_aside/1",
                      [N, maps:get(name, Context)]) || map_size(Noted) > 0],
    passed(To, moved(State#state{committed = To, run = Run, events = State#state.events + Events}));
written(Mend, State) ->
    next_piece(warp_projection_retry:written(Mend), moved(State)).

passed(To, #state{careful = {Until, _}} = State) when To >= Until ->
    passed(To, State#state{careful = none, blamed = #{}, suspect = none});
passed(_To, State) ->
    answer(publish(State)).

%% The target took nothing of the batch: it is read again, in smaller pieces and command by command,
%% until it is known whose it was.
refused(#batch{from = From, to = To, aside = Noted} = Batch, Index, Reason, State0) ->
    #state{careful = Careful, blamed = Blamed, aside = Aside} = State = unread(State0),
    Until = case Careful of none -> To; {Before, _} -> max(To, Before) end,
    Known = is_integer(Index) andalso lists:nth(Index, Batch#batch.projected),
    {Pieces, Guilty} =
        case Known of
            {Entity, Seq} -> {?CAREFUL_BYTES, Blamed#{{Entity, Seq} => {refused, Reason}}};
            false when Careful =:= none -> {?CAREFUL_BYTES, Blamed};
            false when Batch#batch.rows > 1 -> {1, Blamed};
            false ->
                [{Entity, Seq} | _] = Batch#batch.projected,
                {1, Blamed#{{Entity, Seq} => {refused, Reason}}}
        end,
    State#state{position = From, careful = {Until, Pieces}, blamed = Guilty,
                aside = maps:without(maps:keys(Noted), Aside), skipped = 0, told = none};
refused(Mend, Index, Reason, State) ->
    next_piece(warp_projection_retry:refused(Mend, Index, Reason), State).

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
begin_mend({on, Mend}, State) ->
    next_piece(Mend, State);
begin_mend({new, How, Entity, Until, From}, #state{aside = Aside} = State) ->
    case {Until > erlang:monotonic_time(millisecond), Aside} of
        {true, #{Entity := Seq}} ->
            next_piece(warp_projection_retry:new(How, Entity, Seq, From), State);
        {true, #{}} ->
            %% Someone else's went before.
            gen_server:reply(From, {error, not_set_aside}),
            schedule(State);
        {false, _} ->
            schedule(State)
    end.

next_piece(Mend, #state{committed = Committed, seen = Seen, left_out = LeftOut} = State) ->
    At = {Committed, maps:with([warp_projection_retry:entity(Mend)], Seen), LeftOut},
    ask({mend, Mend}, mend, #{mend => Mend, at => At}, State).

mend_on(Mend, Decision, #state{aside = Aside, seen = Seen} = State) ->
    #state{n = N, generation = Generation, turn = Turn, committed = Committed} = State,
    case Decision of
        {write, #{work := _} = Changes, Next} ->
            Tag = make_ref(),
            Rows = [aside_row(Entity, Note, Committed, State) || {Entity, Note} <- maps:get(aside, Changes)],
            ok = warp_projection_writer:batch(State#state.writer, Tag, Changes#{
                shard => N, generation => Generation, turn => Turn, position => Committed,
                run => State#state.run, events => 0, aside := Rows}),
            tick_on(State#state{flying = {Tag, Next}});
        {later, Next} ->
            %% The log has to be read on before it is known how far to go.
            read(State#state{mends = State#state.mends ++ [{on, Next}]});
        {done, Entity, From, Result} ->
            gen_server:reply(From, Result),
            After =
                case Result of
                    ok -> maps:remove(Entity, Aside);
                    {error, {set_aside, Seq}} when is_map_key(Entity, Aside) -> Aside#{Entity := Seq};
                    {error, _} -> Aside
                end,
            NextSeen = case After of #{Entity := _} -> Seen; #{} -> maps:remove(Entity, Seen) end,
            LeftOut = maps:merge(State#state.left_out, warp_projection_retry:skipped(Mend)),
            schedule(publish(State#state{aside = After, seen = NextSeen, left_out = LeftOut}))
    end.

%% How far it is, for whoever wants to know.
publish(#state{context = Context, n = N, generation = Generation} = State) ->
    Oldest =
        case State of
            #state{flying = {_, #batch{oldest = Time}}} when is_integer(Time) -> Time;
            #state{ready = #batch{oldest = Time}} when is_integer(Time) -> Time;
            #state{} -> none
        end,
    ok = warp_projection_table:put_position(Context, {N, Generation}, #{
        position => State#state.committed, events => State#state.events + State#state.skipped,
        oldest => Oldest, set_aside => map_size(State#state.aside)}),
    State.

%% How it is: shown when it changes.
is(Is, #state{is = Is} = State) ->
    State;
is(Is, State) ->
    Changed = State#state{is = Is},
    ok = show(Changed),
    Changed.

show(#state{context = Context, n = N, generation = Generation, is = {Is, Why}}) ->
    warp_projection_table:put_state(Context, {N, Generation}, {Is, os:system_time(microsecond), Why}).
