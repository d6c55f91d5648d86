%% @private The end of one shard's log, for all subscriptions that are there: reads what commits add once, and sends
%% each subscription the events that its filter lets through.
%%
%% While most subscriptions still have pieces to hand over, it does not read on: the processors are busy, and
%% larger pieces cost less. A subscription that leaves pieces lying for long, or too many of them, is let go, and
%% reads the file by itself: so nobody waits for it, and nothing piles up. Without subscriptions this process reads
%% nothing, and commits do not wake it.
-module(warp_subscription_live).
-behaviour(gen_server).

-export([start_link/2, join/5, leave/2, settle/3, tell/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-export_type([taken/0]).

%% How many pieces a subscription has not handed over yet.
-type taken() :: counters:counters_ref().

-type member() ::
    {warp_subscription_filter:filter(), taken(), Tag :: reference(), Monitor :: reference()}.

-record(state, {
    context :: warp_context:context(),
    n :: non_neg_integer(),
    reader :: warp_subscription_reader:reader(),
    %% Up to where the log was read.
    at = 0 :: non_neg_integer(),
    is_reading = false :: boolean(),
    %% Since when it does not read on.
    paused = none :: none | Millis :: integer(),
    %% By process of a subscription.
    joined = #{} :: #{pid() => member()},
    %% The same by route: of all entities, and of one. Subscriptions with one filter are one group.
    wide = #{} :: #{warp_subscription_filter:filter() => [pid()]},
    narrow = #{} :: #{binary() => #{warp_subscription_filter:filter() => [pid()]}},
    timer = none :: none | reference()
}).

%% How many pieces a subscription may leave lying, and with how many it is as quick as it can be.
-define(PIECES, 8).
-define(FEW, 1).
%% How long reading waits for most subscriptions, and how often it looks.
-define(PATIENCE_MS, 200).
-define(LOOK_MS, 1).
%% How often subscriptions are told how far the log was read, when there was nothing for them.
-define(TELL_MS, 1000).
-define(PAUSE_MS, 20).

-spec start_link(warp_context:membership(), non_neg_integer()) -> gen_server:start_ret().
start_link(Membership, N) ->
    gen_server:start_link(?MODULE, {Membership, N}, []).

%% @doc Asks the process of a shard to send the calling process what comes behind a position: `{warp_live, Tag, {joined,
%% From}}', where From may be another position, and then `{warp_live, Tag, {events, Events, To}}', until `{warp_live,
%% Tag, left}'. A process that has joined before joins anew.
-spec join(pid(), Tag :: reference(), warp_subscription_filter:filter(), taken(), Position :: non_neg_integer()) -> ok.
join(Pid, Tag, Filter, Taken, Position) ->
    gen_server:cast(Pid, {join, self(), Tag, Filter, Taken, Position}).

%% @doc The calling process is sent nothing of shard N any more, but for what is on its way.
-spec leave(warp_context:context(), non_neg_integer()) -> ok.
leave(Context, N) ->
    case warp_context:registered(Context, {live, N}) of
        {ok, Pid} -> gen_server:cast(Pid, {leave, self()});
        none -> ok
    end.

%% @doc Waits until everything that was read of shard N was sent on.
-spec settle(warp_context:context(), non_neg_integer(), warp_deadline:deadline()) -> ok | {error, timeout}.
settle(Context, N, Deadline) ->
    case warp_context:registered(Context, {live, N}) of
        {ok, Pid} ->
            case warp_call:call(Pid, settle, Deadline) of
                {error, timeout} = Error -> Error;
                %% What it had is gone with it.
                _ -> ok
            end;
        none ->
            ok
    end.

%% @doc Has all subscriptions of shard N told how far its log was read.
-spec tell(warp_context:context(), non_neg_integer()) -> ok.
tell(Context, N) ->
    case warp_context:registered(Context, {live, N}) of
        {ok, Pid} -> Pid ! tell, ok;
        none -> ok
    end.

-spec init({warp_context:membership(), non_neg_integer()}) -> {ok, #state{}}.
init({Membership, N}) ->
    Context = warp_context:mine(Membership),
    ok = warp_context:register(Context, {live, N}, self()),
    {ok, #state{context = Context, n = N,
                reader = warp_subscription_reader:new(Context, warp_subscription_filter:everything())}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(settle, _From, State) ->
    {reply, ok, State};
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({join, Pid, Tag, Filter, Taken, Position}, #state{joined = Joined} = State) ->
    #state{at = At} = Ready = case map_size(Joined) of 0 -> State#state{at = Position}; _ -> State end,
    Pid ! {warp_live, Tag, {joined, At}},
    {noreply, read_soon(put(Pid, Tag, Filter, Taken, Ready))};
handle_cast({leave, Pid}, State) ->
    {noreply, remove(Pid, State)};
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({log_grew, N}, #state{n = N} = State) ->
    {noreply, read_soon(State)};
handle_info(read, State) ->
    {noreply, read(State#state{is_reading = false})};
handle_info(tell, #state{at = At, wide = Wide} = State) ->
    Pids = lists:append(maps:values(Wide)),
    {noreply, lists:foldl(fun(Pid, Acc) -> hand(Pid, [], At, Acc) end, State#state{timer = none}, Pids)};
handle_info({'DOWN', _, process, Pid, _}, #state{joined = Joined} = State) when is_map_key(Pid, Joined) ->
    {noreply, remove(Pid, State)};
handle_info(Stray, State) ->
    ok = warp_stray:note(?MODULE, message, Stray),
    {noreply, State}.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{n = N, at = At, joined = Joined}} = Status) ->
    warp_redact:status(Status, #{shard => N, position => At, subscriptions => map_size(Joined)});
format_status(Status) ->
    warp_redact:status(Status, #{}).

%% ------------------------------------------------------------------ Reading

read_soon(#state{is_reading = true} = State) ->
    State;
read_soon(State) ->
    self() ! read,
    State#state{is_reading = true}.

read(State) ->
    case pause(State) of
        {go_on, Ready} ->
            read_on(Ready);
        {wait, Paused} ->
            _ = erlang:send_after(?LOOK_MS, self(), read),
            Paused#state{is_reading = true}
    end.

%% Those that have pieces lying when the patience is over are let go. Subscriptions to single entities do not count:
%% there may be many, and each gets little.
pause(#state{wide = Wide, joined = Joined, paused = Since} = State) ->
    Pids = lists:append(maps:values(Wide)),
    Busy = [Pid || Pid <- Pids, #{Pid := {_, Taken, _, _}} <- [Joined], counters:get(Taken, 1) > ?FEW],
    Now = erlang:monotonic_time(millisecond),
    case 2 * length(Busy) > length(Pids) of
        false -> {go_on, State#state{paused = none}};
        true when Since =:= none -> {wait, State#state{paused = Now}};
        true when Now - Since < ?PATIENCE_MS -> {wait, State};
        true -> {go_on, lists:foldl(fun let_go/2, State#state{paused = none}, Busy)}
    end.

read_on(#state{joined = Joined} = State) when map_size(Joined) =:= 0 ->
    State;
read_on(#state{context = Context, n = N, reader = Reader, at = At} = State) ->
    %% NOTE: before the log is read, so that no commit comes between its end and the sleep.
    ok = warp_follower:sleep(Context, N),
    case warp_subscription_reader:piece(Reader, N, At) of
        {ok, {Events, To, Then}} ->
            Sent = send(Events, To, State),
            case Then of
                done -> Sent;
                more -> read_soon(Sent)
            end;
        {stopped, {Events, To}, being_deleted} ->
            _ = erlang:send_after(?PAUSE_MS, self(), read),
            (send(Events, To, State))#state{is_reading = true};
        {stopped, {Events, To}, _Why} ->
            let_all_go(send(Events, To, State));
        {error, _Why} ->
            let_all_go(State)
    end.

%% Each subscription meets by itself what cannot be read.
let_all_go(#state{joined = Joined} = State) ->
    lists:foldl(fun let_go/2, State, maps:keys(Joined)).

%% ------------------------------------------------------------------ Sending

send(_Events, At, #state{at = At} = State) ->
    State;
send(Events, To, #state{wide = Wide, narrow = Narrow} = State) ->
    Widely = maps:fold(
        fun(Filter, Pids, Acc) -> send_to(Pids, warp_subscription_filter:select(Events, Filter), To, Acc) end,
        told_soon(State#state{at = To}), Wide),
    maps:fold(
        fun(Entity, Own, Acc) ->
            maps:fold(fun(Filter, Pids, Acc1) ->
                          send_to(Pids, warp_subscription_filter:select(Own, Filter), To, Acc1)
                      end,
                      Acc, maps:get(Entity, Narrow))
        end,
        Widely, by_entity(Events, Narrow)).

by_entity(_Events, Narrow) when map_size(Narrow) =:= 0 ->
    #{};
by_entity(Events, Narrow) ->
    lists:foldr(
        fun(#{entity := Entity} = Event, Acc) when is_map_key(Entity, Narrow) ->
                Acc#{Entity => [Event | maps:get(Entity, Acc, [])]};
           (_Event, Acc) ->
                Acc
        end,
        #{}, Events).

send_to(_Pids, [], _To, State) -> State;
send_to(Pids, Events, To, State) -> lists:foldl(fun(Pid, Acc) -> hand(Pid, Events, To, Acc) end, State, Pids).

hand(Pid, Events, To, #state{joined = Joined} = State) ->
    #{Pid := {_, Taken, Tag, _}} = Joined,
    case counters:get(Taken, 1) < ?PIECES of
        true ->
            ok = counters:add(Taken, 1, 1),
            Pid ! {warp_live, Tag, {events, Events, To}},
            State;
        false ->
            let_go(Pid, State)
    end.

let_go(Pid, #state{joined = Joined} = State) ->
    #{Pid := {_, _, Tag, _}} = Joined,
    Pid ! {warp_live, Tag, left},
    remove(Pid, State).

told_soon(#state{timer = none, wide = Wide} = State) when map_size(Wide) > 0 ->
    State#state{timer = erlang:send_after(?TELL_MS, self(), tell)};
told_soon(State) ->
    State.

%% ------------------------------------------------------------------ Who is there

put(Pid, Tag, Filter, Taken, State0) ->
    #state{joined = Joined} = State = remove(Pid, State0),
    Monitor = erlang:monitor(process, Pid),
    grouped(fun(Pids) -> [Pid | Pids] end, Filter, State#state{joined = Joined#{Pid => {Filter, Taken, Tag, Monitor}}}).

remove(Pid, #state{joined = Joined} = State) ->
    case Joined of
        #{Pid := {Filter, _, _, Monitor}} ->
            true = erlang:demonitor(Monitor, [flush]),
            grouped(fun(Pids) -> lists:delete(Pid, Pids) end, Filter, State#state{joined = maps:remove(Pid, Joined)});
        #{} ->
            State
    end.

grouped(Change, Filter, #state{wide = Wide, narrow = Narrow} = State) ->
    case warp_subscription_filter:route(Filter) of
        {prefix, _} -> State#state{wide = changed(Change, Filter, Wide)};
        {entity, Id} ->
            case changed(Change, Filter, maps:get(Id, Narrow, #{})) of
                Groups when map_size(Groups) =:= 0 -> State#state{narrow = maps:remove(Id, Narrow)};
                Groups -> State#state{narrow = Narrow#{Id => Groups}}
            end
    end.

changed(Change, Filter, Groups) ->
    case Change(maps:get(Filter, Groups, [])) of
        [] -> maps:remove(Filter, Groups);
        Pids -> Groups#{Filter => Pids}
    end.
