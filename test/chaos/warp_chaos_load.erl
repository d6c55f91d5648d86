%% The load on a cluster, inside each VM: workers that append to entities which all nodes share, read them, move money
%% between accounts, and delete entities of their own; and subscribers. Each records what it does.
-module(warp_chaos_load).

%% Inside a VM
-export([start/1, stop/0, reached/1, aggregates/0, fold/2, entities/1, accounts/1, funds/0]).

-define(LOAD, {?MODULE, load}).
-define(CTX, {?MODULE, ctx}).
%% How long a call may take, and how long a worker that was asked to end goes on with the call it makes.
-define(TIMEOUT_MS, 3000).
-define(PATIENCE_MS, 20000).
-define(FUNDS, 1000).

-type options() :: #{
    %% What the ids of all entities begin with; where to record; the name of this VM and which of its starts this is.
    prefix := binary(), dir := file:filename(), vm := atom(), boot := pos_integer(), seed := integer(),
    %% The subscriptions: without a name, and with one.
    watch := [unnamed | named]
}.

%% A state says which events it has, and in which order.
aggregates() ->
    [#{name => <<"Chain">>, initial_state => {0, 0},
       apply => fun(State, #{payload := #{<<"id">> := Id}}) -> fold(Id, State) end},
     warp_test:account()].

%% The state behind one more event.
fold(Id, {Count, Hash}) -> {Count + 1, erlang:phash2({Hash, Id})}.

entities(Prefix) -> names(Prefix, <<"log-">>, 10).
accounts(Prefix) -> names(Prefix, <<"account-">>, 5).

names(Prefix, Kind, Count) ->
    [<<Prefix/binary, Kind/binary, (integer_to_binary(N))/binary>> || N <- lists:seq(1, Count)].

%% What each account has at first.
funds() -> ?FUNDS.

-spec start(options()) -> ok.
start(#{watch := Watch} = Options) ->
    %% Also while the context is closed and opened again.
    ok = persistent_term:put(?CTX, warp_cluster_vm:ctx()),
    Workers = [{writer, fun writer/3}, {reader, fun reader/3}, {mover, fun mover/3}, {gardener, fun gardener/3}],
    Pids = [begun(Options, Name, Fun) || {Name, Fun} <- Workers],
    Watchers = [begun_watcher(Options, Kind) || Kind <- Watch],
    persistent_term:put(?LOAD, {Pids, Watchers}).

%% Ends the workers, and not the subscribers, after the calls that they make.
-spec stop() -> ok.
stop() ->
    {Pids, Watchers} = persistent_term:get(?LOAD, {[], []}),
    persistent_term:put(?LOAD, {[], Watchers}),
    Monitors = [monitor(process, Pid) || Pid <- Pids],
    _ = [Pid ! stop || Pid <- Pids],
    lists:foreach(fun(Monitor) ->
        receive {'DOWN', Monitor, process, _, Why} when Why =:= normal; Why =:= noproc -> ok
        after ?PATIENCE_MS -> error(a_worker_goes_on)
        end
    end, Monitors).

%% Ends the subscribers once they have the last event of each entity, or after so many milliseconds.
-spec reached({#{Entity :: binary() => non_neg_integer()}, Millis :: non_neg_integer()}) -> ok.
reached({Lasts, Millis}) ->
    {_, Watchers} = persistent_term:get(?LOAD, {[], []}),
    _ = persistent_term:erase(?LOAD),
    Monitors = [monitor(process, Pid) || Pid <- Watchers],
    _ = [Pid ! {until, Lasts, erlang:monotonic_time(millisecond) + Millis} || Pid <- Watchers],
    lists:foreach(fun(Monitor) ->
        receive {'DOWN', Monitor, process, _, _} -> ok after Millis + ?PATIENCE_MS -> error(a_subscriber_goes_on) end
    end, Monitors).

begun(#{dir := Dir, seed := Seed, vm := Vm, boot := Boot} = Options, Name, Fun) ->
    Worker = worker(Vm, Boot, Name),
    spawn(fun() ->
        _ = rand:seed(exsss, erlang:phash2({Seed, Worker})),
        Fun(Options#{worker => list_to_binary(Worker)}, warp_chaos_record:open(Dir, Worker), 1)
    end).

%% Their names stand in the order of the starts.
worker(Vm, Boot, Name) -> lists:flatten(io_lib:format("~s-~3..0b-~s", [Vm, Boot, Name])).

%% Goes on after a pause, unless the worker is to end.
next(Fun, Options, Record, N) ->
    receive stop -> ok after rand:uniform(15) -> Fun(Options, Record, N + 1) end.

ctx() -> persistent_term:get(?CTX).

entity(Id) -> warp_core:entity(ctx(), Id).

one_of(List) -> lists:nth(rand:uniform(length(List)), List).

%% ------------------------------------------------------------------ Appends

writer(#{prefix := Prefix} = Options, Record, N) ->
    Entity = one_of(entities(Prefix)),
    Count = case rand:uniform(5) of 1 -> 1 + rand:uniform(4); _ -> 1 end,
    append(Entity, ids(Options, N, Count), Record),
    next(fun writer/3, Options, Record, N).

ids(#{worker := Worker}, N, Count) ->
    [<<Worker/binary, "-", (integer_to_binary(N))/binary, "-", (integer_to_binary(Nth))/binary>>
     || Nth <- lists:seq(1, Count)].

%% Again with the same ids while nobody knows what became of it; and sometimes also when nothing was stored.
append(Entity, Ids, Record) ->
    Events = [#{aggregate => <<"Chain">>, type => <<"Noted">>, id => Id, payload => #{id => Id}} || Id <- Ids],
    Result = warp_chaos_record:call(Record, {append, Entity, Ids}, fun() ->
        case Events of
            [Event] -> warp_core:append(entity(Entity), Event, #{timeout => ?TIMEOUT_MS});
            _ -> warp_core:append_batch(entity(Entity), Events, #{timeout => ?TIMEOUT_MS})
        end
    end),
    case Result of
        {error, Why} ->
            case warp_chaos_checker:is_refused(Why) andalso rand:uniform(2) =:= 1 of
                true -> Result;
                false -> receive stop -> self() ! stop, Result after 20 -> append(Entity, Ids, Record) end
            end;
        {ok, _} ->
            Result
    end.

%% ------------------------------------------------------------------ Reads

reader(#{prefix := Prefix} = Options, Record, N) ->
    Entity = one_of(entities(Prefix)),
    _ = case rand:uniform(2) of
            1 -> get(Entity, Record);
            2 -> history(Entity, Record)
        end,
    next(fun reader/3, Options, Record, N).

get(Entity, Record) ->
    warp_chaos_record:call(Record, {get, Entity}, fun() ->
        warp_core:get(entity(Entity), <<"Chain">>, #{timeout => ?TIMEOUT_MS})
    end).

history(Entity, Record) ->
    warp_chaos_record:call(Record, {history, Entity}, fun() ->
        warp_core:history(entity(Entity), #{limit => 1000000, timeout => ?TIMEOUT_MS})
    end).

%% ------------------------------------------------------------------ Money

mover(#{prefix := Prefix, worker := Worker} = Options, Record, N) ->
    From = one_of(accounts(Prefix)),
    To = one_of(accounts(Prefix) -- [From]),
    Id = <<Prefix/binary, Worker/binary, "-", (integer_to_binary(N))/binary>>,
    _ = commit({Id, From, To, rand:uniform(400)}, Record, 3),
    next(fun mover/3, Options, Record, N).

commit({Id, From, To, Amount} = Transfer, Record, Tries) ->
    Result = warp_chaos_record:call(Record, {commit, Id, From, To, Amount}, fun() ->
        case warp_saga:commit(warp_saga_test:transfer(Id, From, To, Amount), ctx(), #{wait => ?TIMEOUT_MS}) of
            {ok, {How, _}} -> {ok, How};
            {error, _} = Error -> Error
        end
    end),
    case Result of
        {error, _} when Tries > 1 ->
            receive stop -> self() ! stop, Result after 20 -> commit(Transfer, Record, Tries - 1) end;
        _ ->
            Result
    end.

%% ------------------------------------------------------------------ Entities that end

%% Nobody else has to do with these.
gardener(#{prefix := Prefix, vm := Vm} = Options, Record, N) ->
    Entity = one_of(names(Prefix, <<"mortal-", (atom_to_binary(Vm))/binary, "-">>, 2)),
    _ = case rand:uniform(10) of
            1 -> delete(Entity, Record);
            2 -> history(Entity, Record);
            _ -> append(Entity, ids(Options, N, 1), Record)
        end,
    next(fun gardener/3, Options, Record, N).

delete(Entity, Record) ->
    warp_chaos_record:call(Record, {delete, Entity}, fun() ->
        warp_core:delete(entity(Entity))
    end).

%% ------------------------------------------------------------------ Subscribers

begun_watcher(#{dir := Dir, prefix := Prefix, vm := Vm, boot := Boot}, Kind) ->
    Worker = worker(Vm, Boot, Kind),
    {_, Before} = warp_chaos_record:read(Dir),
    Seen = warp_chaos_checker:place(lists:append([What || {Watcher, What} <- maps:to_list(Before), Kind =:= named,
                                                          lists:suffix("-named", Watcher)])),
    Options = maps:merge(#{from => beginning, prefix => Prefix, credit => 100},
                         case Kind of named -> #{name => Prefix}; unnamed -> #{} end),
    spawn(fun() -> watch(warp_chaos_record:open(Dir, Worker), Options, Seen, never) end).

%% Subscribes again when the subscription has ended: one without a name begins at the beginning again.
watch(Record, Options, Seen, Until) ->
    case warp_subscription:subscribe(ctx(), Options) of
        {ok, Sub} ->
            ok = warp_chaos_record:seen(Record, subscribed),
            Fresh = case Options of #{name := _} -> Seen; #{} -> #{} end,
            watching(Sub, warp_subscription:monitor_of(Sub), Record, Options, Fresh, Until);
        {error, _} ->
            case is_over(Seen, Until) of
                true -> ok;
                false -> receive {until, _, _} = Now -> watch(Record, Options, Seen, Now)
                         after 100 -> watch(Record, Options, Seen, Until)
                         end
            end
    end.

watching(Sub, Monitor, Record, Options, Seen, Until) ->
    case is_over(Seen, Until) of
        true ->
            warp_subscription:unsubscribe(Sub);
        false ->
            receive
                {warp_subscription, Sub, {events, Events}} ->
                    _ = [ok = warp_chaos_record:seen(Record, {event, Entity, Seq, Id})
                         || #{entity := Entity, seq := Seq, id := Id} <- Events],
                    _ = warp_subscription:ack(Sub, Events),
                    Come = maps:from_list([{Entity, Seq} || #{entity := Entity, seq := Seq} <- Events]),
                    watching(Sub, Monitor, Record, Options, maps:merge(Seen, Come), Until);
                {warp_subscription, Sub, {erased, Entity}} ->
                    ok = warp_chaos_record:seen(Record, {erased, Entity}),
                    _ = warp_subscription:ack(Sub, {erased, Entity}),
                    watching(Sub, Monitor, Record, Options, maps:remove(Entity, Seen), Until);
                {warp_subscription, Sub, _} ->
                    watching(Sub, Monitor, Record, Options, Seen, Until);
                {'DOWN', Monitor, process, _, _} ->
                    watch(Record, Options, Seen, Until);
                {until, _, _} = Now ->
                    watching(Sub, Monitor, Record, Options, Seen, Now)
            after 100 ->
                watching(Sub, Monitor, Record, Options, Seen, Until)
            end
    end.

is_over(_Seen, never) -> false;
is_over(Seen, {until, Lasts, Deadline}) ->
    maps:filter(fun(Entity, Last) -> maps:get(Entity, Seen, 0) =/= Last end, Lasts) =:= #{}
        orelse erlang:monotonic_time(millisecond) > Deadline.
