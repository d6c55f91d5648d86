%% @private The process of an entity, and its one writer. The process carries out what {@link warp_entity_core}
%% decides: it hands appends to the shard's writer, answers callers, publishes states for readers, stores
%% snapshots, and ends when it has been idle for long enough.
%%
%% Waking a process costs more than any other part of an append. Therefore the shard's owner answers the callers,
%% from a receipt that goes with the appends. This process sees in its counters that they were stored, when it gets
%% its next request. Only if requests wait behind these appends does it ask the owner to wake it.
-module(warp_entity).
-behaviour(gen_server).

-export([start_link/3]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-include_lib("kernel/include/logger.hrl").

-record(state, {
    context :: warp_context:context(),
    n :: non_neg_integer(),
    id :: binary(),
    %% See `warp_entity_pending'.
    pending :: atomics:atomics_ref(),
    handle :: warp_nif:shard() | undefined,
    core :: warp_entity_core:core(),
    incarnation = 0 :: non_neg_integer(),
    snapshot_seq = 0 :: warp_core:seq(),
    %% The number of the submission in flight, if it went with a receipt.
    receipt = none :: none | pos_integer(),
    submissions = 0 :: non_neg_integer(),
    %% The number of the last submission that is known to be stored from its receipt.
    stored = 0 :: non_neg_integer(),
    %% Aggregates whose state readers find in ETS.
    published = [] :: [binary()],
    %% Whether requests came since the last tick: `busy' or `idle', or `off' when no tick is due. With ticks a
    %% request sets no timer.
    tick = off :: off | busy | idle,
    passivation :: reference() | undefined,
    %% The process that takes the steps of a deletion before the log is erased, and its monitor.
    preparing = none :: none | {pid(), reference()}
}).

%% After one to two ticks without a request the process hibernates.
-define(TICK_MS, 1000).
-define(BURST_MS, 50).
%% When a process that would end looks again whether its callers have got their answers.
-define(ANSWERING_MS, 1).

%% @doc Starts the process of an entity in shard N. `ignore' when another process of the entity is alive.
-spec start_link(warp_context:membership(), non_neg_integer(), binary()) -> gen_server:start_ret() | ignore.
start_link(Membership, N, Id) ->
    gen_server:start_link(?MODULE, {Membership, N, Id}, []).

-spec init({warp_context:membership(), non_neg_integer(), binary()}) ->
    {ok, #state{}, {continue, load | load_behind}} | ignore.
init({Membership, N, Id}) ->
    Context = warp_context:mine(Membership),
    Pending = warp_entity_pending:new(),
    State = #state{context = Context, n = N, id = Id, pending = Pending,
                   core = warp_entity_core:new(Context, Id)},
    case warp_entity_registry:register(Context, Id, N, Pending) of
        first -> {ok, State, {continue, load}};
        successor -> {ok, State, {continue, load_behind}};
        taken -> ignore
    end.

%% OTP's report of a crash would show the state and the mailbox, which hold data of users. So the process logs the
%% crash itself, and stops.
-type stop() :: {stop, normal | {shutdown, crashed}, #state{}}.

-spec handle_continue(load | load_behind, #state{}) -> {noreply, #state{}} | stop().
handle_continue(Load, State) ->
    try
        start(Load, State)
    catch
        Class:Reason:Stack -> crashed(Class, Reason, Stack, State)
    end.

crashed(Class, Reason, Stack, #state{id = Id, context = #{name := Name}} = State) ->
    ?LOG_ERROR("Warp: the process of entity ~ts of context ~ts crashed, and the next request starts another one. This "
               "is a bug of Warp, please report it: ~ts",
               [Id, Name, warp_redact:crash(Class, Reason, Stack)]),
    {stop, {shutdown, crashed}, State}.

start(load_behind, #state{context = Context, n = N} = State) ->
    %% NOTE: appends that the previous process of this entity handed to the writer before it was killed may still be
    %% in the queue.
    ok = warp_shard:await_queue(Context, N),
    start(load, State);
start(load, #state{context = Context, n = N} = State) ->
    %% A process of this entity that was killed may have left published states.
    Names = maps:keys(maps:get(aggregates, Context)),
    Clean = unpublish(State#state{published = Names}),
    case warp_context:shard(Context, N) of
        {ok, Handle} ->
            case load(Clean#state{handle = Handle}) of
                {ok, Loaded} -> {noreply, awake(Loaded)};
                {error, Reason} -> give_up(Reason, Clean)
            end;
        {error, Reason} ->
            give_up(Reason, Clean)
    end.

load(#state{context = Context, id = Id, handle = Handle, core = Core} = State) ->
    case warp_entity_replay:load(Context, Handle, Id) of
        {ok, #{incarnation := Incarnation, snapshot_seq := SnapshotSeq, states := States} = Loaded} ->
            ok = warp_entity_names:warn_of_failures(Context, States),
            Next = State#state{core = warp_entity_core:reset(Loaded, Core),
                               incarnation = Incarnation, snapshot_seq = SnapshotSeq},
            ok = stay_briefly_if_stale(Next),
            {ok, snapshot(Next)};
        {error, _} = Error ->
            Error
    end.

%% A function that cannot be called now may work again later. So this process ends soon, and the process for a
%% later request reads the log again.
stay_briefly_if_stale(#state{core = Core}) ->
    {_, _, States} = warp_entity_core:committed(Core),
    _ = [self() ! passivate || {error, {stale_function, _}} <- maps:values(States)],
    ok.

give_up(Reason, State) ->
    Error = {error, reason(Reason, State)},
    ok = drop_casts(Error, State),
    leave(Error, State),
    {stop, normal, State}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {noreply, #state{}} | {reply, term(), #state{}} | stop().
handle_call({warp_request, Request}, From, State) ->
    try
        request(Request, From, State)
    catch
        Class:Reason:Stack -> crashed(Class, Reason, Stack, State)
    end;
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(entity, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

%% The caller has counted each request before it sent it: see `warp_entity_pending:admit/3'.
request({get, Name}, _From, State0) ->
    #state{core = Core0, pending = Pending} = State = awake(State0),
    ok = warp_entity_pending:answered(Pending, 1, 0),
    %% Publishing copies the whole state into ETS, so compacting it first costs little more.
    Core = warp_entity_core:compact(Core0),
    Result = warp_entity_core:read(Name, Core),
    {reply, Result, publish(Name, Result, State#state{core = Core})};
%% `Module:check(Context, Id, Argument)' decides whether the request may be judged now.
request({checked, {Module, Argument}, Request}, From, #state{context = Context, id = Id} = State) ->
    case Module:check(Context, Id, Argument) of
        ok ->
            request(Request, From, State);
        {error, _} = Refused ->
            ok = warp_entity_pending:answered(State#state.pending, 1, warp_entity_core:bytes(Request)),
            {reply, Refused, awake(State)}
    end;
%% The caller of an `early' append is answered when the append is handed to the writer, and not told when it is stored.
request({early, Request}, From, State) ->
    request(Request, {early, From}, State);
%% This process calls `Module:arrived(Context, Id)' before it takes any later request. When all earlier requests are
%% carried out, a process of its own calls `Module:prepare(Context, Id, Argument)', while nothing is appended. If
%% the result is ok, the writer erases the log.
request({delete, {Module, _Argument} = Erasure}, From, State0) ->
    #state{core = Core, context = Context, id = Id} = State = awake(State0),
    ok = Module:arrived(Context, Id),
    {noreply, advance(State#state{core = warp_entity_core:deletion(Erasure, From, Core)})};
request(Request, From, State0) ->
    #state{core = Core} = State = awake(State0),
    {noreply, advance(State#state{core = warp_entity_core:request(Request, From, Core)})}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}} | stop().
handle_cast({Kind, _, _} = Cast, State) when Kind =:= warp_request; Kind =:= warp_append ->
    try
        {noreply, cast(Cast, State)}
    catch
        Class:Reason:Stack -> crashed(Class, Reason, Stack, State)
    end;
handle_cast(Stray, State) ->
    ok = warp_stray:note(entity, cast, Stray),
    {noreply, State}.

cast({warp_request, Taken, Request}, #state{id = Id} = State0) ->
    #state{core = Core} = State = awake(State0),
    ok = warp_entity_reply:taken(Taken),
    advance(State#state{core = warp_entity_core:request(Request, {cast, Id}, Core)});
%% The caller does not wait for the answer yet.
cast({warp_append, From, Request}, State0) ->
    #state{core = Core} = State = awake(State0),
    advance(State#state{core = warp_entity_core:request(Request, From, Core)}).

-spec handle_info(term(), #state{}) ->
    {noreply, #state{}} | {noreply, #state{}, hibernate} | stop().
handle_info(Message, State) ->
    try
        message(Message, State)
    catch
        Class:Reason:Stack -> crashed(Class, Reason, Stack, State)
    end.

message({warp_stored, _Number}, State) ->
    {noreply, advance(catch_up(State))};
message({warp_reply, Answer} = Reply, #state{core = Core} = State) ->
    case warp_entity_core:expects(Answer, Core) of
        true ->
            answered(Answer, State);
        false when Answer =:= passed ->
            %% This answer comes late, from the queue of a shard that has closed meanwhile.
            {noreply, State};
        false ->
            stray(Reply, State)
    end;
message({warp_prepared, Pid, Result}, #state{preparing = {Pid, Monitor}} = State) ->
    true = erlang:demonitor(Monitor, [flush]),
    {noreply, prepared(Result, State#state{preparing = none})};
message({'DOWN', Monitor, process, _, _Reason}, #state{preparing = {_, Monitor}} = State) ->
    {noreply, prepared({error, interrupted}, State#state{preparing = none})};
message(tick, #state{tick = busy} = State) ->
    {noreply, start_tick(compact(State#state{tick = idle}))};
message(tick, State) ->
    doze(compact(catch_up(State#state{tick = off})));
message(idle_timeout, #state{pending = Pending, context = Context} = State) ->
    case warp_entity_pending:take_used(Pending) of
        true -> {noreply, wait_idle(maps:get(idle_timeout, Context), State), hibernate};
        false -> message(passivate, State)
    end;
message(passivate, State0) ->
    #state{core = Core} = State = catch_up(State0),
    case warp_entity_core:is_quiet(Core) of
        true -> retire(State);
        false -> {noreply, State}
    end;
message(Stray, State) ->
    stray(Stray, State).

stray(Stray, State) ->
    ok = warp_stray:note(entity, message, Stray),
    {noreply, State}.

answered({wrong_base, Seq}, State) ->
    %% NOTE: another process of this entity has appended, while this one was being killed with its supervisor. The
    %% writer stored only the appends of one of them.
    reload(Seq, State#state{receipt = none});
answered(Answer, #state{core = Core} = State0) ->
    State = State0#state{receipt = none},
    Erasing = warp_entity_core:is_erasing(Core),
    {Settled, Next} = warp_entity_core:settle(Answer, Core),
    Known = answer(Settled, incarnation(Answer, State#state{core = Next})),
    case Answer of
        {failed, Reason} when Erasing; Reason =:= closed; Reason =:= interrupted ->
            %% Only the log can tell now what is left of the entity, and another process reads it.
            stop(Known);
        _ ->
            {noreply, advance(snapshot(Known))}
    end.

%% Nobody who looks at the process, and no log, gets to see states, events or requests.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{} = State} = Status) ->
    #state{context = Context, n = N, id = Id, core = Core, tick = Tick, published = Published} = State,
    warp_redact:status(Status, #{context => maps:get(name, Context), shard => N, entity => Id,
                                 seq => warp_entity_core:base(Core), tick => Tick,
                                 quiet => warp_entity_core:is_quiet(Core),
                                 published => length(Published)});
format_status(Status) ->
    warp_redact:status(Status, #{}).

doze(#state{context = #{mode := Mode, idle_timeout := Idle}, core = Core} = State) ->
    case warp_entity_core:is_quiet(Core) andalso warp_entity_core:base(Core) of
        false ->
            {noreply, start_tick(State#state{tick = idle})};
        _ when Mode =:= read_through ->
            retire(State);
        Seq when Seq =:= 0; Idle =< 2 * ?TICK_MS ->
            %% Readers of published states send no request, but set a flag.
            case warp_entity_pending:take_used(State#state.pending) of
                true -> {noreply, start_tick(State#state{tick = idle})};
                false -> retire(State)
            end;
        _ when Idle =:= infinity ->
            {noreply, State, hibernate};
        _ ->
            {noreply, wait_idle(Idle - 2 * ?TICK_MS, State), hibernate}
    end.

wait_idle(Millis, State) ->
    State#state{passivation = erlang:send_after(Millis, self(), idle_timeout)}.

%% In mode `read_through' the process stays for a burst of writes only.
interval(#{mode := read_through}) -> ?BURST_MS;
interval(#{idle_timeout := infinity}) -> ?TICK_MS;
interval(#{idle_timeout := Idle}) -> min(?TICK_MS, Idle div 2).

start_tick(#state{context = Context} = State) ->
    _ = erlang:send_after(interval(Context), self(), tick),
    State.

compact(#state{core = Core} = State) ->
    State#state{core = warp_entity_core:compact(Core)}.

%% Stops, unless there is a cast to carry out, or an append whose caller does not wait. The process does not leave
%% them to its successor, since later ones could overtake them.
%%
%% NOTE: the process closes its counters before it looks for casts. The sender of a cast that comes later finds them
%% closed, and waits until the process has taken the cast or has ended.
%%
%% NOTE: it does not close them before the owner has answered all callers whose appends were stored. A caller that
%% finds them closed, and no answer, takes its append for one that was not carried out, and makes it again.
retire(#state{pending = Pending, stored = Stored} = State) ->
    case warp_entity_pending:is_answered(Pending, Stored) of
        true ->
            ok = warp_entity_pending:close(Pending),
            retire_unless_asked(State);
        false ->
            _ = erlang:send_after(?ANSWERING_MS, self(), passivate),
            {noreply, State}
    end.

retire_unless_asked(#state{pending = Pending} = State) ->
    case casts() of
        [] ->
            depart(State);
        Casts ->
            ok = warp_entity_pending:reopen(Pending),
            {noreply, lists:foldl(fun cast/2, State, Casts)}
    end.

%% Stops, also when there are casts, which are lost.
stop(State) ->
    ok = drop_casts({error, interrupted}, State),
    depart(State).

%% Callers whose requests are still in the mailbox are told to ask again, which starts another process.
depart(State) ->
    leave(again, State),
    {stop, normal, unpublish(State)}.

drop_casts(Error, #state{id = Id, pending = Pending}) ->
    ok = warp_entity_pending:close(Pending),
    lists:foreach(
        fun
            ({warp_request, Taken, _Request}) ->
                ok = warp_entity_reply:taken(Taken),
                ok = warp_entity_reply:reply({cast, Id}, Error);
            ({warp_append, From, _Request}) ->
                ok = warp_entity_reply:reply(From, Error)
        end,
        casts()).

casts() ->
    case warp_call:next_cast(#{warp_request => [], warp_append => []}) of
        {cast, Cast} -> [Cast | casts()];
        none -> []
    end.

%% Callers whose requests are still in the mailbox get Reply in place of an answer.
leave(Reply, #state{context = Context, id = Id, pending = Pending}) ->
    ok = warp_entity_pending:close(Pending),
    ok = warp_entity_registry:unregister(Context, Id, Pending),
    turn_away(Reply).

turn_away(Reply) ->
    case warp_call:next_request(warp_request) of
        {From, _Request} ->
            gen_server:reply(From, Reply),
            turn_away(Reply);
        none ->
            ok
    end.

reload(Seq, #state{core = Previous} = State) ->
    case load(State) of
        {ok, #state{core = Core} = Loaded} ->
            Judged = warp_entity_core:base(Previous),
            case warp_entity_core:base(Core) of
                Base when Base =/= Seq, Base =:= Judged ->
                    %% The writer knows another end of the log than the file shows.
                    give_up_on({corrupt, <<"the log ends elsewhere than it should">>}, State);
                _ ->
                    {noreply, advance(Loaded)}
            end;
        {error, Reason} ->
            give_up_on(Reason, State)
    end.

give_up_on(Reason, #state{core = Core0} = State) ->
    {Settled, Core} = warp_entity_core:settle({failed, Reason}, Core0),
    stop(answer(Settled, State#state{core = Core})).

%% Carries out what can be done now.
advance(#state{core = Core0, handle = Handle, id = Id} = State) ->
    case warp_entity_core:take(Core0) of
        {append, Rows, Core} ->
            {Receipt, Ready} = receipt(unpublish(State#state{core = Core})),
            Base = warp_entity_core:base(Core),
            %% A submission takes a limited number of appends, so more may wait behind it.
            wanting(submitted(warp_nif:submit(Handle, Id, Base, Rows, Receipt), Ready));
        {import, Import, Core} ->
            queued(warp_nif:import(Handle, Id, Import), unpublish(State#state{core = Core}));
        {erase, Erasure, Core} ->
            unpublish(prepare(Erasure, State#state{core = Core}));
        {refuse, Settled, Core} ->
            advance(answer([Settled], State#state{core = Core}));
        {nothing, Core} ->
            wanting(State#state{core = Core})
    end.

prepare({Module, Argument}, #state{context = #{ref := Ref}, id = Id} = State) ->
    Entity = self(),
    Preparing = spawn_monitor(fun() ->
        Prepared =
            case warp_context:find(Ref) of
                {ok, Context} -> Module:prepare(Context, Id, Argument);
                not_found -> {error, interrupted}
            end,
        Entity ! {warp_prepared, self(), Prepared}
    end),
    State#state{preparing = Preparing}.

prepared(ok, #state{handle = Handle, id = Id} = State) ->
    queued(warp_nif:erase(Handle, Id), State);
prepared({error, _} = Error, State) ->
    advance(queued(Error, State)).

%% The first append of a new entity goes without a receipt, since its answer tells this process the incarnation.
receipt(#state{incarnation = 0} = State) ->
    {none, State};
receipt(#state{core = Core, pending = Pending, submissions = Submissions} = State) ->
    Number = Submissions + 1,
    case warp_entity_core:replies(Core) of
        {ok, Replies, Bytes} ->
            {warp_entity_pending:receipt(Pending, Number, Replies, Bytes),
             State#state{receipt = Number, submissions = Number}};
        unknown ->
            {none, State}
    end.

%% If requests wait for the submission in flight, asks the owner to wake this process, unless the submission is
%% stored already.
wanting(#state{receipt = none} = State) ->
    State;
wanting(#state{receipt = Number, pending = Pending, core = Core} = State) ->
    case warp_entity_core:is_waiting(Core) andalso warp_entity_pending:want(Pending, Number) of
        true -> advance(catch_up(State));
        false -> State
    end.

%% Notes that the submission in flight was stored, and its callers answered, if that is so.
catch_up(#state{receipt = none} = State) ->
    State;
catch_up(#state{receipt = Number, pending = Pending, core = Core} = State) ->
    case warp_entity_pending:is_stored(Pending, Number) of
        true ->
            snapshot(State#state{core = warp_entity_core:stored(Core), receipt = none, stored = Number});
        false ->
            State
    end.

%% NOTE: whoever is told here may submit something else next, and the writer takes that after this submission.
submitted(ok, #state{core = Core} = State) ->
    ok = lists:foreach(fun({From, Accepted}) -> gen_server:reply(From, Accepted) end, warp_entity_core:accepted(Core)),
    State;
submitted(Error, State) ->
    queued(Error, State).

queued(ok, State) ->
    State;
queued({error, Reason}, #state{core = Core} = State) ->
    {Settled, Next} = warp_entity_core:settle({failed, Reason}, Core),
    %% A process whose shard is closed is of no use any more. When the queue is full, the entities that could not
    %% get in leave memory.
    self() ! passivate,
    answer(Settled, State#state{core = Next, receipt = none}).

incarnation({stored, Incarnation}, State) ->
    State#state{incarnation = Incarnation};
incarnation({stopped, Incarnation, _, _}, State) ->
    State#state{incarnation = Incarnation};
incarnation(erased, State) ->
    State#state{incarnation = 0, snapshot_seq = 0};
incarnation({failed, _}, State) ->
    State.

answer(Settled, State) ->
    lists:foldl(fun answer_one/2, State, Settled).

answer_one({answer, From, Request, Result}, #state{pending = Pending} = State) ->
    ok = warp_entity_pending:answered(Pending, 1, warp_entity_core:bytes(Request)),
    ok = warp_entity_reply:reply(From, result(Result, State)),
    %% The caller frees the memory of its events when it gets the answer, but may have stopped waiting.
    _ = [warp_entity_pack:release(element(2, Request)) || is_tuple(Request), is_map(element(2, Request))],
    State;
answer_one({look_up, From, Request, Refused}, State) ->
    #state{handle = Handle, id = Id, core = Core0} = State,
    #{packed := Packed} = element(2, Request),
    {Settled, Core} =
        case warp_nif:check_ids(Handle, Id, Packed) of
            {ok, Stop} -> warp_entity_core:look_up(Stop, {From, Request}, Refused, Core0);
            %% The log may have these events already, so the caller gets this error and not the refusal.
            {error, _} = Error -> {[{answer, From, Request, Error}], Core0}
        end,
    answer(Settled, State#state{core = Core}).

result({error, Reason}, State) -> {error, reason(Reason, State)};
result(Result, _State) -> Result.

reason(closed, #state{n = N}) -> {shard_unavailable, N};
reason(Reason, _State) -> Reason.

%% Publishes a state only while nothing is under way. It cannot change before this process takes it out again.
publish(Name, {ok, Value}, #state{context = #{mode := actor} = Context} = State) ->
    #state{id = Id, core = Core, published = Published} = State,
    case warp_entity_core:is_quiet(Core) andalso not lists:member(Name, Published) of
        true ->
            %% This is the context's copy of the name. The caller's may be cut from a larger binary.
            #{Name := #{name := Own}} = maps:get(aggregates, Context),
            ok = warp_entity_states:publish(Context, Id, Own, Value, State#state.pending),
            State#state{published = [Own | Published]};
        false ->
            State
    end;
publish(_Name, _Result, State) ->
    State.

unpublish(#state{published = []} = State) ->
    State;
unpublish(#state{context = Context, id = Id, published = Names} = State) ->
    ok = warp_entity_states:withdraw(Context, Id, Names),
    State#state{published = []}.

%% Stores snapshots when enough events came since the last ones.
snapshot(#state{context = Context, core = Core, snapshot_seq = Last} = State) ->
    {Seq, _Time, _States} = Committed = warp_entity_core:committed(Core),
    case Seq - Last >= maps:get(snapshot_every, Context) of
        true ->
            #state{handle = Handle, id = Id, incarnation = Incarnation} = State,
            ok = warp_entity_snapshot:save_all(Context, Handle, Id, Incarnation, Committed),
            State#state{snapshot_seq = Seq};
        false ->
            State
    end.

%% Called for each request.
awake(#state{tick = busy} = State) ->
    catch_up(State);
awake(#state{tick = idle} = State) ->
    catch_up(State#state{tick = busy});
awake(#state{tick = off, passivation = Timer} = State) ->
    _ = [erlang:cancel_timer(Timer, [{async, true}, {info, false}]) || Timer =/= undefined],
    catch_up(start_tick(State#state{tick = busy, passivation = undefined})).
