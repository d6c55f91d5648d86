%% @private The process of one subscription: reads for it and sends its subscriber what there is. This is the process;
%% what it does next is decided in {@link warp_subscription_core}.
-module(warp_subscription_process).
-behaviour(gen_server).

-export([start_link/2, erased/3]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-export_type([settings/0]).

-type settings() ::
    #{subscriber := pid(),
      filter := warp_subscription_filter:filter(),
      core := warp_subscription_core:settings(),
      %% The name, and how many consumers split its shards.
      named := none | {Name :: binary(), Consumers :: pos_integer()},
      %% Gives what the subscriber is sent in place of an event.
      convert := none | fun((warp_core:placed_event()) -> term())}.

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
    %% The process that reads a log of another node, which may take long.
    reading = none :: none | {Monitor :: reference(), N :: non_neg_integer()},
    %% By shard, the monitor of the process that sends live events, which marks its messages with it.
    live = #{} :: #{non_neg_integer() => reference()},
    shown :: {warp_subscription_core:state(), warp_core:micros()},
    timer = none :: none | reference(),
    named = none :: none | warp_subscription_name:name(),
    %% Of whose erasures it is told: those whose events it may have had, with a name also before its filter changed.
    told_of :: warp_subscription_filter:route(),
    %% The timer for passing on what was acknowledged, to the process that keeps the name.
    passing = none :: none | reference(),
    %% The process that has another node, which keeps the name, note the erasures that it has not come to; and shards of
    %% which that could not be done, and which are not read before it is.
    catching_up = none :: none | reference(),
    uncaught = #{} :: #{non_neg_integer() => []},
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
%% How many messages its subscriber may leave unread and still be told of an erasure, which needs no credit; and how
%% many erasures one with a name may be told of and not take. The next one is told of them from the file, in pieces.
-define(UNREAD, 100000).
-define(UNTAKEN, 10000).
%% How long a deletion waits for one subscription.
-define(ERASE_MS, 15000).

%% @doc Starts the process of a subscription, which begins when it is called with `{begin, Handle}'.
-spec start_link(warp_context:membership(), settings()) -> gen_server:start_ret().
start_link(Membership, Settings) ->
    gen_server:start_link(?MODULE, {Membership, Settings}, [{hibernate_after, 5000}]).

%% @doc A life of an entity was erased, and the next one, if there is one yet, begins at a position. When this returns
%% the subscription hands nothing of that life over any more. It may be told again.
-spec erased(pid(), warp_subscription_names:erasure(), Until :: non_neg_integer()) -> ok.
erased(Pid, Erasure, Until) ->
    case warp_call:call(Pid, {erased, Erasure, Until}, warp_deadline:from(?ERASE_MS)) of
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
    {ToldOf, Of} =
        case {Named, warp_subscription_filter:route(Filter)} of
            {none, Route} -> {Route, none};
            {_, {prefix, Prefix}} -> {{prefix, <<>>}, warp_subscription_name:new(Context, Named, Prefix, Subscriber)}
        end,
    State = #state{context = Context, core = warp_subscription_core:new(Settings), subscriber = Subscriber,
                   source = Source, reader = warp_subscription_reader:new(Context, Filter), named = Of,
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
%% As `cursor', and also of what was passed over since it was last told.
handle_call(look, _From, #state{context = Context, core = Core} = State) ->
    Shards = maps:keys(warp_subscription_core:marks(Core)),
    ok = lists:foreach(fun(N) -> warp_subscription_live:tell(Context, N) end, Shards),
    {Answer, Saved} = save(State),
    {reply, Answer, Saved};
handle_call({erased, {Entity, N, Life, Next}, Until}, _From, #state{told_of = ToldOf, core = Core} = State) ->
    %% NOTE: of shards that it gets later it is told by the keeper of its name. And it reads the next life only when it
    %% was told of this one, or began after it.
    case warp_subscription_filter:concerns(Entity, ToldOf) andalso follows(N, State)
             andalso not warp_subscription_core:has_read(N, Next, Core) of
        true -> {reply, ok, noted({Entity, N, Life, Until}, State)};
        false -> {reply, ok, State}
    end;
handle_call(stop, _From, #state{named = none} = State) ->
    {stop, normal, ok, State};
handle_call(stop, _From, #state{named = Of, core = Core} = State) ->
    %% NOTE: whoever ended it may forget the name right after that.
    ok = warp_subscription_name:leave(warp_subscription_core:marks(Core), Of),
    {stop, normal, ok, State};
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

join(#state{named = none} = State) ->
    {ok, State};
join(#state{named = Of} = State) ->
    case warp_subscription_name:join(Of, warp_deadline:from(?SAVE_MS)) of
        {ok, Prefix, Joined} -> {ok, joined(Prefix, Joined, State)};
        {error, _} = Error -> Error
    end.

%% NOTE: it may be assigned shards before it knows that it has joined.
joined(Prefix, Of, #state{told_of = Before, context = Context} = State) ->
    Joined = State#state{told_of = {prefix, Prefix}, named = Of},
    ok = show(Joined),
    _ = [ok = warp_subscription_table:remove(Context, Before) || {prefix, Prefix} =/= Before],
    Joined.

follows(N, #state{core = Core, notices = Notices}) ->
    is_map_key(N, warp_subscription_core:marks(Core))
        orelse Notices =/= none andalso is_map_key(N, element(2, Notices)).

%% NOTE: the subscriber is told what the keeper of its name has noted, so that it is told again if it does not take it.
noted(Erased, #state{named = none} = State) ->
    erased(Erased, State);
noted({Entity, N, Life, _} = Erased, #state{named = Of} = State) ->
    %% A step of a deletion may be taken again.
    case warp_subscription_name:is_told({Entity, Life}, Of) orelse warp_subscription_name:erase(Entity, N, Life, Of) of
        true -> State;
        ok -> tell(Erased, State);
        %% It tells nothing, and whoever gets the shard next is told of it first.
        {error, _} -> left(State)
    end.

tell({Entity, _, Life, _} = Erased, #state{named = Of} = State) ->
    Told = warp_subscription_name:erased([{Entity, Life}], Of),
    _ = warp_subscription_name:count(Told) > ?UNTAKEN andalso ended(erasures_not_taken),
    erased(Erased, State#state{named = Told}).

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
handle_info({read, Tag, N, Place}, #state{reader = Reader, context = Context, uncaught = Uncaught} = State) ->
    Read = fun() -> warp_subscription_reader:piece(Reader, N, Place) end,
    case {tag(State), is_map_key(N, Uncaught), warp_context_owners:is_here(Context, N)} of
        {Tag, false, true} ->
            has_read(Read(), N, State);
        {Tag, false, false} ->
            {noreply, read_aside(Read, N, State)};
        {Tag, true, _} ->
            #state{named = Of} = State,
            {noreply, read_aside(fun() -> caught_up(N, Read, Of) end, N, State)};
        %% It has lost its shards since.
        _ ->
            {noreply, State}
    end;
handle_info({'DOWN', Monitor, process, _, Reason}, #state{catching_up = Monitor} = State) ->
    case Reason of
        {done, Not} ->
            await_told(State#state{catching_up = none, uncaught = maps:from_list([{N, []} || {N, _} <- Not])});
        _ -> {noreply, left(State)}
    end;
handle_info({'DOWN', Monitor, process, _, Reason}, #state{reading = {Monitor, N}} = State) ->
    Read = case Reason of {done, Of} -> Of; _ -> {error, interrupted} end,
    has_read(Read, N, State#state{reading = none});
handle_info({again, Tag, N}, State) ->
    case tag(State) of
        Tag -> next(fun(Core) -> warp_subscription_core:again(N, Core) end, State);
        _ -> {noreply, State}
    end;
%% A node that could not be reached is back.
handle_info({log_grew, N}, State) ->
    next(fun(Core) -> warp_subscription_core:again(N, Core) end, State);
handle_info({warp_subscription_name, Tag, Message}, State) ->
    case tag(State) of
        Tag -> of_keeper(Message, State);
        _ -> {noreply, State}
    end;
handle_info(join, #state{named = Of} = State) ->
    {noreply, State#state{named = warp_subscription_name:join_again(Of)}};
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
handle_info({'DOWN', Monitor, process, _, Reason} = Message, State) ->
    case shard_of(Monitor, State) of
        none -> down(Monitor, Reason, Message, State);
        N -> lost(N, State)
    end;
handle_info({'EXIT', _, Reason}, State) ->
    {stop, Reason, State};
handle_info(Message, State) ->
    stray(Message, State).

stray(Message, State) ->
    ok = warp_stray:note(?MODULE, message, Message),
    {noreply, State}.

down(_Monitor, _Reason, Message, #state{named = none} = State) ->
    stray(Message, State);
down(Monitor, Reason, Message, #state{named = Of} = State) ->
    case {warp_subscription_name:is_keeper(Monitor, Of), warp_subscription_name:has_joined(Monitor, Reason, Of)} of
        {true, _} ->
            {noreply, left(State)};
        {false, {ok, Prefix, Joined}} ->
            {noreply, pass_on_soon(shown(joined(Prefix, Joined, State)))};
        {false, {again_in, _, _} = Again} ->
            {noreply, again_in(Again, State)};
        {false, {stop, Why}} ->
            ended(Why);
        {false, no} ->
            stray(Message, State)
    end.

%% What it has sent to itself is marked with this. It changes when a subscription with a name loses its shards.
tag(#state{named = none}) -> none;
tag(#state{named = Of}) -> warp_subscription_name:tag(Of).

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

read_aside(Read, N, State) ->
    State#state{reading = {warp_subscription_aside:start(Read), N}}.

%% NOTE: what was read from the log is given behind what the notices say now.
has_read({caught_up, Read}, N, #state{uncaught = Uncaught} = State) ->
    case tell_more(<<>>, N, State) of
        {ok, Told} -> has_read(Read, N, Told#state{uncaught = maps:remove(N, Uncaught)});
        {error, Why} -> {noreply, stepped_back(Why, State)}
    end;
has_read({error, {node_unavailable, _}} = Read, N, #state{context = Context} = State) ->
    %% NOTE: should the node come back before this, the pause ends the waiting.
    ok = warp_follower:sleep(Context, N),
    next(read(Read, N), State);
has_read(Read, N, State) ->
    next(read(Read, N), State).

read({ok, Read}, N) -> fun(Core) -> warp_subscription_core:read(N, Read, Core) end;
read({stopped, Read, Why}, N) -> fun(Core) -> warp_subscription_core:not_read(N, Read, Why, Core) end;
read({error, Why}, N) -> fun(Core) -> warp_subscription_core:not_read(N, none, Why, Core) end.

%% ------------------------------------------------------------------ Of a name

%% NOTE: from now on it takes erasures in these shards. Those before that are with the keeper, or on the list of what
%% its node has left to do: in this order it misses none.
of_keeper({assigned, #{prefix := Prefix, marks := Marks} = With}, #state{named = Before} = State) ->
    Of = warp_subscription_name:assigned(With, Before),
    Assigned = joined(Prefix, Of, State#state{notices = {#{}, Marks, <<>>}}),
    case warp_subscription_name:is_remote(Of) of
        true ->
            CatchUp = fun() -> warp_subscription_name:catch_up(maps:keys(Marks), Of) end,
            {noreply, shown(Assigned#state{catching_up = warp_subscription_aside:start(CatchUp)})};
        false ->
            await_told(Assigned)
    end;
of_keeper(yield, #state{named = Of, core = Core} = State) ->
    ok = warp_subscription_name:yield(warp_subscription_core:marks(Core), Of),
    {noreply, left(State)};
of_keeper(lost, State) ->
    {noreply, left(State)};
of_keeper({waits, Retrying, Parked}, #state{named = Of} = State) ->
    Next = State#state{named = warp_subscription_name:waits({Retrying, Parked}, Of)},
    ok = show(Next),
    {noreply, Next}.

%% Reads a shard, once the node that keeps the name has noted the erasures in it.
caught_up(N, Read, Of) ->
    case warp_subscription_name:catch_up([N], Of) of
        [] -> {caught_up, Read()};
        [{N, Why}] -> {error, Why}
    end.

%% It has no shards any more, and joins again. What was not acknowledged comes to whoever gets them.
left(State) ->
    #state{named = Of} = Left = unassigned(State),
    shown(Left#state{named = warp_subscription_name:join_again(Of)}).

%% Likewise, after a pause.
stepped_back(Why, State) ->
    #state{named = Of} = Left = unassigned(State),
    again_in(warp_subscription_name:step_back(Why, Of), Left).

again_in({again_in, Millis, Of}, State) ->
    _ = erlang:send_after(Millis, self(), join),
    shown(State#state{named = Of}).

unassigned(#state{core = Core, context = Context, live = Live, reading = Reading, catching_up = CatchingUp} = State) ->
    {Effects, Without} = warp_subscription_core:unassign(Core),
    lists:foreach(
        fun({N, Monitor}) ->
            true = erlang:demonitor(Monitor, [flush]),
            ok = warp_subscription_live:leave(Context, N)
        end,
        maps:to_list(Live)),
    _ = [erlang:demonitor(Monitor, [flush]) || {Monitor, _} <- [Reading]],
    _ = [erlang:demonitor(CatchingUp, [flush]) || CatchingUp =/= none],
    Left = State#state{core = Without, live = #{}, reading = none, notices = none, catching_up = none, uncaught = #{}},
    lists:foldl(fun perform/2, Left, Effects).

%% The subscriber is told of many erased entities in pieces, and of the last one with the first events.
assigned(Marks, Noted, Then, #state{named = Of} = State) ->
    Erased = [Erasure || Erasure <- Noted, not warp_subscription_name:is_told(Erasure, Of)],
    Entities = [Entity || {Entity, _} <- Erased],
    Owed = State#state{named = warp_subscription_name:erased(Erased, Of)},
    case Then of
        done ->
            next(fun(Core) -> warp_subscription_core:assign(Marks, Entities, Core) end, Owed#state{notices = none});
        {more, After} ->
            Told = lists:foldl(fun(Entity, Acc) -> perform({send, {erased, Entity}}, Acc) end, Owed, Entities),
            await_told(Told#state{notices = {maps:from_keys(Entities, []), Marks, After}})
    end.

told(_Entity, #state{named = none} = State) ->
    State;
told(Entity, #state{named = Of, notices = Notices} = State) ->
    Taken = pass_on_soon(State#state{named = warp_subscription_name:taken(Entity, Of)}),
    case Notices of
        none ->
            Taken;
        {Waiting, Marks, After} ->
            {noreply, Next} = await_told(Taken#state{notices = {maps:remove(Entity, Waiting), Marks, After}}),
            Next
    end.

await_told(#state{notices = {Waiting, _, _}, catching_up = CatchingUp} = State)
  when map_size(Waiting) > 0; CatchingUp =/= none ->
    {noreply, shown(State)};
await_told(State) ->
    #state{notices = {_, Marks, After}, named = Of} = Shown = shown(State),
    case warp_subscription_name:notices(After, Of) of
        {ok, Erased, Then} -> assigned(Marks, Erased, Then, Shown);
        %% Whoever gets the shards next is told from the beginning.
        {error, Why} -> {noreply, stepped_back(Why, Shown)}
    end.

%% Tells the subscriber of all that is noted of shard N, and was not told.
tell_more(After, N, #state{named = Of, context = Context} = State) ->
    case warp_subscription_name:notices(After, Of) of
        {ok, Noted, Then} ->
            Told = lists:foldl(fun({Entity, Life}, Acc) -> tell({Entity, N, Life, 0}, Acc) end, State,
                               [Erasure || {Entity, _} = Erasure <- Noted,
                                           warp_context:shard_of(Context, Entity) =:= {ok, N},
                                           not warp_subscription_name:is_told(Erasure, Of)]),
            case Then of
                {more, Last} -> tell_more(Last, N, Told);
                done -> {ok, Told}
            end;
        {error, _} = Error ->
            Error
    end.

pass_on_soon(#state{named = none} = State) ->
    State;
pass_on_soon(#state{passing = none, core = Core, named = Of} = State) ->
    case warp_subscription_name:has_passed(warp_subscription_core:marks(Core), Of) of
        true -> State;
        false -> State#state{passing = erlang:send_after(?PASS_ON_MS, self(), pass_on)}
    end;
pass_on_soon(State) ->
    State.

passed_on(#state{named = Of, core = Core} = State) ->
    case warp_subscription_name:pass_on(warp_subscription_core:marks(Core), Of) of
        {true, Passed} -> State#state{named = Passed};
        %% The other node takes no messages just now.
        {false, _} -> pass_on_soon(State)
    end.

%% Waits until everything that was acknowledged is on disk. Gives the cursor of the name.
save(#state{named = Of, core = Core} = State) ->
    {Answer, Saved} = warp_subscription_name:save(warp_subscription_core:marks(Core), Of),
    {Answer, State#state{named = Saved}}.

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
perform({send, {What, _Cursor}}, #state{named = Named} = State)
  when Named =/= none, What =:= checkpoint; Named =/= none, What =:= caught_up ->
    {_, #state{named = Of} = Saved} = save(State),
    sent({What, warp_subscription_name:stored(Of)}, Saved);
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
    self() ! {read, tag(State), N, Place},
    State;
perform({again_in, N, Millis}, State) ->
    _ = erlang:send_after(Millis, self(), {again, tag(State), N}),
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

state_of(#state{notices = {Waiting, _, _}}) ->
    case map_size(Waiting) of 0 -> catching_up; _ -> waiting_for_credit end;
state_of(#state{notices = none, core = Core, named = Named}) ->
    case {warp_subscription_core:state(Core), Named =/= none andalso warp_subscription_name:why(Named)} of
        {standby, Why} when Why =/= none, Why =/= false -> {stalled, Why};
        {Is, _} -> Is
    end.

show(#state{context = Context, core = Core, told_of = ToldOf, source = Source, subscriber = Subscriber,
            named = Named, shown = {Is, Since}, notices = Notices}) ->
    Info = #{source => Source, subscriber => Subscriber, state => Is, since => Since,
             name => case Named of none -> none; _ -> warp_subscription_name:name(Named) end,
             waiting => case Named of none -> {0, 0}; _ -> warp_subscription_name:waits(Named) end,
             positions => case Notices of
                              none -> warp_subscription_core:positions(Core);
                              {_, Marks, _} -> warp_subscription_core:positions_of(Marks)
                          end},
    warp_subscription_table:put(Context, ToldOf, Info).

tick_soon(#state{timer = none} = State) ->
    State#state{timer = erlang:send_after(?TICK_MS, self(), tick)};
tick_soon(State) ->
    State.
