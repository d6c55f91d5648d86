%% @private The process of an entity: its one writer. It carries out what `warp_entity_core'
%% decides: hands appends to the shard's writer, answers callers, publishes states for readers,
%% keeps snapshots, and goes when it has been idle for long enough.
-module(warp_entity).
-behaviour(gen_server).

-export([start_link/3]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

-include("warp.hrl").

-record(state, {
    context :: #context{},
    n :: non_neg_integer(),
    id :: binary(),
    %% Requests admitted and not yet answered, and their bytes: see `warp_client'.
    pending :: atomics:atomics_ref(),
    handle :: warp_nif:shard() | undefined,
    core :: warp_entity_core:core(),
    incarnation = 0 :: non_neg_integer(),
    snapshot_seq = 0 :: warp_core:seq(),
    %% Aggregates whose state readers find in ETS.
    published = [] :: [binary()],
    passivation :: reference() | undefined
}).

%% After that long without a message the process hibernates, and the idle timeout runs.
-define(DOZE_MS, 1000).

-spec start_link(reference(), non_neg_integer(), binary()) -> gen_server:start_ret() | ignore.
start_link(Ref, N, Id) ->
    gen_server:start_link(?MODULE, {Ref, N, Id}, []).

-spec init({reference(), non_neg_integer(), binary()}) ->
    {ok, #state{}, {continue, load}} | ignore.
init({Ref, N, Id}) ->
    {ok, Context} = warp_context:find(Ref),
    Pending = atomics:new(2, []),
    case warp_registry:register(Context, Id, N, Pending) of
        true ->
            State = #state{context = Context, n = N, id = Id, pending = Pending,
                           core = warp_entity_core:new(Context, Id)},
            {ok, State, {continue, load}};
        false ->
            ignore
    end.

-spec handle_continue(load, #state{}) ->
    {noreply, #state{}, timeout()} | {stop, {shutdown, {warp, term()}}, #state{}}.
handle_continue(load, #state{context = Context, n = N, id = Id} = State) ->
    %% One killed before us may have left states published.
    Names = maps:keys(Context#context.aggregates),
    Clean = unpublish(State#state{published = Names}),
    case warp_context:shard(Context, N) of
        {ok, Handle} ->
            case load(Clean#state{handle = Handle}) of
                {ok, Loaded} -> noreply(Loaded);
                {error, Reason} -> give_up(Reason, Clean)
            end;
        {error, Reason} ->
            ok = warp_registry:unregister(Context, Id, State#state.pending),
            {stop, {shutdown, {warp, Reason}}, Clean}
    end.

load(#state{context = Context, id = Id, handle = Handle, core = Core} = State) ->
    case warp_replay:load(Context, Handle, Id) of
        {ok, #{incarnation := Incarnation, snapshot_seq := SnapshotSeq} = Loaded} ->
            Next = State#state{core = warp_entity_core:reset(Loaded, Core),
                               incarnation = Incarnation, snapshot_seq = SnapshotSeq},
            {ok, snapshot(Next)};
        {error, _} = Error ->
            Error
    end.

%% Requests in the mailbox are answered by the exit reason.
give_up(Reason, #state{context = Context, id = Id, pending = Pending} = State) ->
    ok = warp_registry:unregister(Context, Id, Pending),
    {stop, {shutdown, {warp, reason(Reason, State)}}, State}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {noreply, #state{}, timeout()} | {reply, term(), #state{}, timeout()}.
handle_call({get, Name}, _From, #state{core = Core} = State0) ->
    State = awake(State0),
    answered(0, State),
    Result = warp_entity_core:read(Name, Core),
    {reply, Result, publish(Name, Result, State), wait(State)};
handle_call(delete, From, #state{core = Core} = State) ->
    noreply(advance(awake(State#state{core = warp_entity_core:deletion(From, Core)})));
handle_call(Request, From, #state{core = Core} = State) ->
    noreply(advance(awake(State#state{core = warp_entity_core:request(Request, From, Core)}))).

-spec handle_cast(term(), #state{}) -> {noreply, #state{}, timeout()}.
handle_cast(_Message, State) ->
    noreply(State).

-spec handle_info(term(), #state{}) ->
    {noreply, #state{}, timeout() | hibernate} | {stop, term(), #state{}}.
handle_info({warp_reply, {wrong_base, _}}, State) ->
    %% Another process of this entity wrote, while this one was being killed with its
    %% supervisor: the writer let only one of them through.
    reload(State);
handle_info({warp_reply, Answer}, #state{core = Core} = State) ->
    Erasing = warp_entity_core:is_erasing(Core),
    {Settled, Next} = warp_entity_core:settle(Answer, Core),
    Known = answer(Settled, incarnation(Answer, State#state{core = Next})),
    case Answer of
        {failed, Reason} when Erasing; Reason =:= closed; Reason =:= interrupted ->
            %% What is left of the entity can only be told by reading it again.
            go(Known);
        _ ->
            noreply(advance(snapshot(Known)))
    end;
handle_info(timeout, #state{context = #context{mode = read_through}} = State) ->
    go(State);
handle_info(timeout, #state{context = #context{idle_timeout = Idle}, core = Core} = State) ->
    case warp_entity_core:base(Core) of
        0 ->
            go(State);
        _ when Idle =:= infinity ->
            {noreply, State, hibernate};
        _ when Idle =< ?DOZE_MS ->
            go(State);
        _ ->
            Timer = erlang:send_after(Idle - ?DOZE_MS, self(), passivate),
            {noreply, State#state{passivation = Timer}, hibernate}
    end;
handle_info(passivate, #state{core = Core} = State) ->
    case warp_entity_core:is_quiet(Core) of
        true -> go(State);
        false -> noreply(State)
    end;
handle_info(_Stray, State) ->
    noreply(State).

%% Callers whose requests are still in the mailbox see that it was not taken, and ask again.
go(#state{context = Context, id = Id, pending = Pending} = State) ->
    ok = warp_registry:unregister(Context, Id, Pending),
    {stop, normal, unpublish(State)}.

reload(State) ->
    case load(State) of
        {ok, Loaded} ->
            noreply(advance(Loaded));
        {error, Reason} ->
            {Settled, Core} = warp_entity_core:settle({failed, Reason}, State#state.core),
            go(answer(Settled, State#state{core = Core}))
    end.

%% Does what can be done now.
advance(#state{core = Core0, handle = Handle, id = Id} = State) ->
    case warp_entity_core:take(Core0) of
        {append, Rows, Core} ->
            Ready = unpublish(State#state{core = Core}),
            Base = warp_entity_core:base(Core),
            queued(warp_nif:submit(Handle, Id, Base, Rows), Ready);
        {erase, Core} ->
            queued(warp_nif:erase(Handle, Id), unpublish(State#state{core = Core}));
        {refuse, Settled, Core} ->
            advance(answer([Settled], State#state{core = Core}));
        {nothing, Core} ->
            State#state{core = Core}
    end.

queued(ok, State) ->
    State;
queued({error, Reason}, #state{core = Core} = State) ->
    {Settled, Next} = warp_entity_core:settle({failed, Reason}, Core),
    answer(Settled, State#state{core = Next}).

incarnation({stored, Incarnation}, State) ->
    State#state{incarnation = Incarnation};
incarnation({stopped, Incarnation, _, _}, State) ->
    State#state{incarnation = Incarnation};
incarnation(erased, State) ->
    State#state{incarnation = 0, snapshot_seq = 0};
incarnation({failed, _}, State) ->
    State.

answer(Settled, State) ->
    lists:foreach(fun(Each) -> answer_one(Each, State) end, Settled),
    State.

answer_one({answer, From, Request, Result}, State) ->
    answered(bytes(Request), State),
    gen_server:reply(From, result(Result, State));
answer_one({look_up, From, {append, Pack, _} = Request, Refused}, State) ->
    #state{handle = Handle, id = Id} = State,
    #{packed := Packed, count := Count} = Pack,
    %% An append that was carried out before is answered as it was then, even if by now it
    %% would be refused.
    Result =
        case warp_nif:check_ids(Handle, Id, Packed) of
            {ok, {duplicates, Found}} when length(Found) =:= Count ->
                {stored_at, [Seq || {_, Seq} <- Found]};
            _ ->
                Refused
        end,
    answer_one({answer, From, Request, Result}, State).

bytes({append, #{bytes := Bytes}, _}) -> Bytes;
bytes(_Request) -> 0.

answered(Bytes, #state{pending = Pending}) ->
    ok = atomics:sub(Pending, 1, 1),
    ok = atomics:sub(Pending, 2, Bytes).

result({error, Reason}, State) -> {error, reason(Reason, State)};
result(Result, _State) -> Result.

reason(closed, #state{n = N}) -> {shard_unavailable, N};
reason(Reason, _State) -> Reason.

%% Published is what cannot change before this process lets it: while nothing is under way.
publish(Name, {ok, Value}, #state{context = #context{mode = actor} = Context} = State) ->
    #state{id = Id, core = Core, published = Published} = State,
    case warp_entity_core:is_quiet(Core) andalso not lists:member(Name, Published) of
        true ->
            true = ets:insert(Context#context.states, {{Id, Name}, Value}),
            State#state{published = [Name | Published]};
        false ->
            State
    end;
publish(_Name, _Result, State) ->
    State.

unpublish(#state{published = []} = State) ->
    State;
unpublish(#state{context = #context{states = States}, id = Id, published = Names} = State) ->
    _ = [true = ets:delete(States, {Id, Name}) || Name <- Names],
    State#state{published = []}.

%% Keeps the states when enough events came since they were last kept.
snapshot(#state{context = Context, core = Core, snapshot_seq = Last} = State) ->
    {Seq, Time, States} = warp_entity_core:committed(Core),
    case Seq - Last >= Context#context.snapshot_every of
        true ->
            maps:foreach(
                fun(Name, Aggregate) -> snapshot(Name, Aggregate, Seq, Time, States, State) end,
                Context#context.aggregates),
            State#state{snapshot_seq = Seq};
        false ->
            State
    end.

snapshot(Name, #{apply := _} = Aggregate, Seq, Time, States, State) ->
    #state{handle = Handle, id = Id, incarnation = Incarnation} = State,
    case States of
        #{Name := {ok, Value}} ->
            Of = {Name, warp_aggregate:version(Aggregate), Seq, Time},
            %% A writer that has no room for it now gets one again later.
            _ = warp_nif:save_snapshot(Handle, Id, Incarnation, Of,
                                       term_to_binary({Name, Value})),
            ok;
        #{} ->
            ok
    end;
snapshot(_Name, _PureLog, _Seq, _Time, _States, _State) ->
    ok.

awake(#state{passivation = undefined} = State) ->
    State;
awake(#state{passivation = Timer} = State) ->
    _ = erlang:cancel_timer(Timer, [{async, true}, {info, false}]),
    State#state{passivation = undefined}.

noreply(State) ->
    {noreply, State, wait(State)}.

wait(#state{context = #context{mode = Mode, idle_timeout = Idle}, core = Core}) ->
    case warp_entity_core:is_quiet(Core) of
        false -> infinity;
        true when Mode =:= read_through -> 0;
        true -> min(Idle, ?DOZE_MS)
    end.
