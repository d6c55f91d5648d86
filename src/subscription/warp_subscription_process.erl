%% @private The process of one subscription: reads for it and sends its subscriber what there is. This is the process;
%% what it does next is decided in {@link warp_subscription_core}.
-module(warp_subscription_process).
-behaviour(gen_server).

-export([start_link/2, erased/5]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-export_type([settings/0]).

-type settings() ::
    #{subscriber := pid(),
      filter := warp_subscription_filter:filter(),
      core := warp_subscription_core:settings(),
      named := none | named(),
      %% Gives what the subscriber is sent in place of an event.
      convert := none | fun((warp_core:placed_event()) -> term())}.
%% The name, and how many consumers split its shards.
-type named() :: {Name :: binary(), Consumers :: pos_integer()}.

-record(state, {
    context :: warp_context:context(),
    core :: warp_subscription_core:core(),
    reader :: warp_subscription_reader:reader(),
    subscriber :: pid(),
    source :: warp_subscription_cursor:source(),
    convert :: none | fun((warp_core:placed_event()) -> term()),
    %% What messages to the subscriber are marked with.
    handle = none :: none | {Tag :: term(), Sub :: term()},
    taken = counters:new(1, []) :: warp_subscription_live:taken(),
    %% By shard, the monitor of the process that sends live events, which marks its messages with it.
    live = #{} :: #{non_neg_integer() => reference()},
    shown :: {warp_subscription_core:state(), warp_core:micros()},
    timer = none :: none | reference(),
    named = none :: none | named(),
    %% Of whose erasures it is told: those whose events it may have had, with a name also before its filter changed.
    told_of :: warp_subscription_filter:route(),
    %% The cursor of the name, as it was on disk last.
    stored = none :: none | warp_subscription_cursor:cursor(),
    %% What was acknowledged, as it was passed on last, and the timer for doing so again.
    passed_on = #{} :: warp_subscription_names:marks(),
    passing = none :: none | reference(),
    %% Entities whose erasure the subscriber has to take before it gets events, where these follow, and behind which
    %% entity others were erased.
    notices = none :: none | {#{binary() => []}, warp_subscription_names:marks(), After :: binary()}
}).

%% How often the subscriber is told of the cursor, and the table of how far it is.
-define(TICK_MS, 1000).
%% How long it waits to begin: whoever started it may have given up waiting for it.
-define(BEGIN_MS, 10000).
%% How long acknowledgements wait for others before they are passed on, and how long one waits until they are on disk.
-define(PASS_ON_MS, 50).
-define(SAVE_MS, 5000).
%% How many messages its subscriber may leave unread and still be told of an erasure, which needs no credit.
-define(UNREAD, 100000).
%% How long a deletion waits for one subscription.
-define(ERASE_MS, 15000).

%% @doc Starts the process of a subscription, which begins when it is called with `{begin, Handle}'.
-spec start_link(warp_context:membership(), settings()) -> gen_server:start_ret().
start_link(Membership, Settings) ->
    gen_server:start_link(?MODULE, {Membership, Settings}, [{hibernate_after, 5000}]).

%% @doc A life of an entity was erased. When this returns the subscription hands nothing of it over any more.
-spec erased(pid(), binary(), non_neg_integer(), Life :: non_neg_integer(), Until :: non_neg_integer()) -> ok.
erased(Pid, Entity, N, Life, Until) ->
    case warp_call:call(Pid, {erased, Entity, N, Life, Until}, warp_deadline:from(?ERASE_MS)) of
        ok ->
            ok;
        {error, interrupted} ->
            ok;
        {error, timeout} ->
            %% What it holds goes with it, and its subscriber is told that it ended.
            true = exit(Pid, kill),
            ok
    end.

-spec init({warp_context:membership(), settings()}) -> {ok, #state{}}.
init({Membership, #{subscriber := Subscriber, filter := Filter, core := #{source := Source} = Settings, named := Named,
                    convert := Convert}}) ->
    _ = process_flag(trap_exit, true),
    Context = warp_context:mine(Membership),
    _ = erlang:monitor(process, Subscriber),
    %% NOTE: of all, until the name says of which ones.
    ToldOf = case Named of none -> warp_subscription_filter:route(Filter); _ -> {prefix, <<>>} end,
    State = #state{context = Context, core = warp_subscription_core:new(Settings), subscriber = Subscriber,
                   source = Source, reader = warp_subscription_reader:new(Context, Filter), named = Named,
                   told_of = ToldOf, convert = Convert,
                   shown = {catching_up, os:system_time(microsecond)}},
    _ = erlang:send_after(?BEGIN_MS, self(), unbegun),
    {ok, State}.

-spec handle_continue(start, #state{}) -> {noreply, #state{}}.
handle_continue(start, #state{named = none} = State) ->
    next(fun warp_subscription_core:start/1, State);
%% It waits for a slot.
handle_continue(start, State) ->
    {noreply, shown(State)}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {reply, ok, #state{}, {continue, start}} | {stop, normal, term(), #state{}}.
handle_call({'begin', Handle}, _From, State) ->
    Begun = State#state{handle = Handle},
    %% NOTE: not before. A deletion finds it in the table, and its subscriber would get a message without the handle.
    ok = show(Begun),
    case join(Begun) of
        {ok, Joined} -> {reply, ok, Joined, {continue, start}};
        {error, _} = Error -> {stop, normal, Error, Begun}
    end;
handle_call(cursor, _From, #state{core = Core, named = none} = State) ->
    {reply, {ok, warp_subscription_core:cursor(Core)}, State};
handle_call(cursor, _From, State) ->
    {Answer, Saved} = save(State),
    {reply, Answer, Saved};
handle_call({erased, Entity, N, Life, Until}, _From, #state{told_of = ToldOf} = State) ->
    case warp_subscription_filter:concerns(Entity, ToldOf) of
        true -> {reply, ok, erased({Entity, N, Life, Until}, State)};
        false -> {reply, ok, State}
    end;
handle_call(stop, _From, #state{named = none} = State) ->
    {stop, normal, ok, State};
handle_call(stop, _From, #state{named = {Name, _}, context = Context} = State) ->
    Passed = passed_on(State),
    %% NOTE: whoever ended it may forget the name right after that.
    _ = warp_subscription_names:leave(Context, Name, warp_deadline:from(?SAVE_MS)),
    {stop, normal, ok, Passed};
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

join(#state{named = none} = State) ->
    {ok, State};
join(#state{named = {Name, Consumers}, context = Context, reader = Reader, told_of = All} = State) ->
    {prefix, Own} = warp_subscription_filter:route(warp_subscription_reader:filter(Reader)),
    case warp_subscription_names:join(Context, Name, Consumers, Own, warp_deadline:from(?SAVE_MS)) of
        {ok, Prefix} ->
            Joined = State#state{told_of = {prefix, Prefix}},
            ok = show(Joined),
            _ = [ok = warp_subscription_table:remove(Context, All) || {prefix, Prefix} =/= All],
            {ok, Joined};
        {error, _} = Error ->
            Error
    end.

erased({Entity, N, _Life, _Until}, #state{notices = {Waiting, Marks, After}} = State) when is_map_key(N, Marks) ->
    Told = perform({send, {erased, Entity}}, State),
    Told#state{notices = {Waiting#{Entity => []}, Marks, After}};
erased({Entity, N, Life, Until}, State) ->
    {noreply, Next} = next(fun(Core) -> warp_subscription_core:erased(Entity, {N, Life, Until}, Core) end, State),
    Next.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({ack, {erased, Entity}}, State) ->
    {noreply, told(Entity, State)};
handle_cast({ack, Event}, State) ->
    next(fun(Core) -> warp_subscription_core:ack(Event, Core) end, State);
handle_cast({more, Count}, State) ->
    next(fun(Core) -> warp_subscription_core:more(Count, Core) end, State);
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_info({warp_live, Tag, What}, State) ->
    live(What, shard_of(Tag, State), State);
handle_info({read, N, Place}, #state{reader = Reader} = State) ->
    next(read(warp_subscription_reader:piece(Reader, N, Place), N), State);
handle_info({again, N}, State) ->
    next(fun(Core) -> warp_subscription_core:again(N, Core) end, State);
handle_info({warp_subscription_assigned, Stored, Marks, Erased, Then}, State) ->
    assigned(Marks, Erased, Then, State#state{passed_on = Marks, stored = Stored});
handle_info(pass_on, State) ->
    {noreply, passed_on(State#state{passing = none})};
handle_info(tick, #state{core = Core} = State) ->
    {Effects, Next} = warp_subscription_core:tick(Core),
    Told = lists:foldl(fun perform/2, State#state{core = Next, timer = none}, Effects),
    ok = show(Told),
    {noreply, Told};
handle_info(unbegun, #state{handle = none} = State) ->
    {stop, normal, State};
handle_info(unbegun, State) ->
    {noreply, State};
handle_info({'DOWN', _, process, Subscriber, _}, #state{subscriber = Subscriber} = State) ->
    {stop, normal, State};
handle_info({'DOWN', Monitor, process, _, _} = Message, State) ->
    case shard_of(Monitor, State) of
        none -> stray(Message, State);
        N -> lost(N, State)
    end;
handle_info({'EXIT', _, Reason}, State) ->
    {stop, Reason, State};
handle_info(Message, State) ->
    stray(Message, State).

stray(Message, State) ->
    ok = warp_stray:note(?MODULE, message, Message),
    {noreply, State}.

shard_of(Tag, #state{live = Live}) ->
    case [N || {N, Of} <- maps:to_list(Live), Of =:= Tag] of
        [N] -> N;
        [] -> none
    end.

live({joined, From}, N, State) when N =/= none ->
    next(fun(Core) -> warp_subscription_core:joined(N, From, Core) end, State);
live({events, Events, To}, N, State) when N =/= none ->
    next(fun(Core) -> warp_subscription_core:live(N, Events, To, Core) end, State);
live(left, N, #state{live = Live} = State) when N =/= none ->
    true = erlang:demonitor(maps:get(N, Live), [flush]),
    lost(N, State);
%% The shard was joined anew since.
live({events, _, _}, none, State) ->
    {noreply, perform({taken, 1}, State)};
live(_, none, State) ->
    {noreply, State}.

lost(N, #state{live = Live} = State) ->
    next(fun(Core) -> warp_subscription_core:lost(N, Core) end, State#state{live = maps:remove(N, Live)}).

read({ok, Read}, N) -> fun(Core) -> warp_subscription_core:read(N, Read, Core) end;
read({stopped, Read, Why}, N) -> fun(Core) -> warp_subscription_core:not_read(N, Read, Why, Core) end;
read({error, Why}, N) -> fun(Core) -> warp_subscription_core:not_read(N, none, Why, Core) end.

%% ------------------------------------------------------------------ Of a name

%% The subscriber is told of many erased entities in pieces, and of the last one with the first events.
assigned(Marks, Erased, done, State) ->
    next(fun(Core) -> warp_subscription_core:assign(Marks, Erased, Core) end, State#state{notices = none});
assigned(Marks, Erased, {more, After}, State) ->
    Told = lists:foldl(fun(Entity, Acc) -> perform({send, {erased, Entity}}, Acc) end, State, Erased),
    await_told(Told#state{notices = {maps:from_list([{Entity, []} || Entity <- Erased]), Marks, After}}).

told(_Entity, #state{named = none} = State) ->
    State;
told(Entity, #state{named = {Name, _}, context = Context, notices = Notices} = State) ->
    ok = warp_subscription_names:told(Context, Name, Entity),
    case Notices of
        none ->
            State;
        {Waiting, Marks, After} ->
            {noreply, Next} = await_told(State#state{notices = {maps:remove(Entity, Waiting), Marks, After}}),
            Next
    end.

await_told(#state{notices = {Waiting, _, _}} = State) when map_size(Waiting) > 0 ->
    {noreply, shown(State)};
await_told(#state{notices = {_, Marks, After}, named = {Name, _}, context = Context} = State) ->
    case warp_subscription_names:notices(Context, Name, After, warp_deadline:from(?SAVE_MS)) of
        {ok, Erased, Then} -> assigned(Marks, Erased, Then, State);
        %% Its subscriber is told that it ended, and subscribes again.
        {error, Why} -> exit({shutdown, Why})
    end.

pass_on_soon(#state{named = none} = State) ->
    State;
pass_on_soon(#state{passing = none, core = Core, passed_on = Before} = State) ->
    case warp_subscription_core:marks(Core) of
        Before -> State;
        _ -> State#state{passing = erlang:send_after(?PASS_ON_MS, self(), pass_on)}
    end;
pass_on_soon(State) ->
    State.

passed_on(#state{named = {Name, _}, context = Context, core = Core, passed_on = Before} = State) ->
    case warp_subscription_core:marks(Core) of
        Before ->
            State;
        Marks ->
            ok = warp_subscription_names:acked(Context, Name, Marks),
            State#state{passed_on = Marks}
    end.

%% Waits until everything that was acknowledged is on disk. Gives the cursor of the name.
save(#state{named = {Name, _}, context = Context, core = Core} = State) ->
    Marks = warp_subscription_core:marks(Core),
    case warp_subscription_names:save(Context, Name, Marks, warp_deadline:from(?SAVE_MS)) of
        {ok, Stored} = Saved -> {Saved, State#state{passed_on = Marks, stored = Stored}};
        {error, _} = Error -> {Error, State}
    end.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{context = Context, told_of = ToldOf, named = Named} = State) ->
    _ = [passed_on(State) || Named =/= none],
    ok = warp_subscription_table:remove(Context, ToldOf),
    warp_redact:empty_mailbox().

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{shown = Shown}} = Status) ->
    warp_redact:status(Status, #{state => Shown});
format_status(Status) ->
    warp_redact:status(Status, #{}).

%% ------------------------------------------------------------------ Carrying out

next(Decide, #state{core = Core} = State) ->
    {Effects, Decided} = Decide(Core),
    Done = lists:foldl(fun perform/2, State#state{core = Decided}, Effects),
    {noreply, pass_on_soon(tick_soon(shown(Done)))}.

%% The cursor of a name is one of all its consumers, and of what is on disk.
perform({send, {What, _Cursor}}, #state{named = {_, _}} = State) when What =:= checkpoint; What =:= caught_up ->
    {_, #state{stored = Stored} = Saved} = save(State),
    sent({What, Stored}, Saved);
perform({send, {events, Events}}, #state{convert = Convert} = State) when Convert =/= none ->
    sent({events, lists:map(Convert, Events)}, State);
perform({send, {erased, _} = Message}, #state{subscriber = Subscriber} = State) ->
    case process_info(Subscriber, message_queue_len) of
        {message_queue_len, Unread} when Unread > ?UNREAD -> ended(erasures_not_taken);
        _ -> sent(Message, State)
    end;
perform({send, Message}, State) ->
    sent(Message, State);
perform({stop, Why}, _State) ->
    ended(Why);
perform({taken, Count}, #state{taken = Taken} = State) ->
    ok = counters:sub(Taken, 1, Count),
    State;
perform({read, N, Place}, State) ->
    %% NOTE: by a message, so that acknowledgements that are there are seen first.
    self() ! {read, N, Place},
    State;
perform({again_in, N, Millis}, State) ->
    _ = erlang:send_after(Millis, self(), {again, N}),
    State;
perform({join, N, Position}, #state{context = Context, reader = Reader, taken = Taken, live = Live} = State) ->
    case warp_context:registered(Context, {live, N}) of
        {ok, Pid} ->
            _ = [erlang:demonitor(Before, [flush]) || #{N := Before} <- [Live]],
            Tag = erlang:monitor(process, Pid),
            ok = warp_subscription_live:join(Pid, Tag, warp_subscription_reader:filter(Reader), Taken, Position),
            State#state{live = Live#{N => Tag}};
        none ->
            #state{core = Core} = State,
            {Effects, Next} = warp_subscription_core:not_read(N, none, {shard_unavailable, N}, Core),
            lists:foldl(fun perform/2, State#state{core = Next}, Effects)
    end.

%% Its subscriber is told that it ended.
-spec ended(term()) -> no_return().
ended(Why) -> exit({shutdown, Why}).

sent(Message, #state{subscriber = Subscriber, handle = {Tag, Sub}} = State) ->
    Subscriber ! {Tag, Sub, Message},
    State.

shown(#state{shown = {Before, _}} = State) ->
    case state_of(State) of
        Before ->
            State;
        Now ->
            Shown = State#state{shown = {Now, os:system_time(microsecond)}},
            ok = show(Shown),
            Shown
    end.

state_of(#state{notices = none, core = Core}) -> warp_subscription_core:state(Core);
state_of(#state{}) -> waiting_for_credit.

show(#state{context = Context, core = Core, told_of = ToldOf, source = Source, subscriber = Subscriber,
            named = Named, shown = {Is, Since}}) ->
    Info = #{source => Source, subscriber => Subscriber, state => Is, since => Since,
             name => case Named of {Name, _} -> Name; none -> none end,
             positions => warp_subscription_core:positions(Core)},
    warp_subscription_table:put(Context, ToldOf, Info).

tick_soon(#state{timer = none} = State) ->
    State#state{timer = erlang:send_after(?TICK_MS, self(), tick)};
tick_soon(State) ->
    State.
