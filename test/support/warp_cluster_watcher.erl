%% A subscriber in a VM of a cluster, which keeps what it is sent, and acknowledges it.
-module(warp_cluster_watcher).

-export([start/2, seen/1, stop/1]).

%% Subscribes in a process of its own, registered under that name.
start(Name, Options) ->
    Self = self(),
    Pid = spawn(fun() ->
        true = register(Name, self()),
        Sub = subscribed(Options, 100),
        Self ! {self(), ready},
        loop(Sub, [])
    end),
    receive {Pid, ready} -> ok after 20000 -> error(not_subscribed) end.

%% A node that was just started may not reach the others yet.
subscribed(Options, Tries) ->
    case warp_subscription:subscribe(warp_cluster_vm:ctx(), Options) of
        {ok, Sub} -> Sub;
        {error, _} when Tries > 0 -> timer:sleep(100), subscribed(Options, Tries - 1)
    end.

loop(Sub, Seen) ->
    receive
        {warp_subscription, Sub, {events, Events}} ->
            ok = warp_subscription:ack(Sub, Events),
            loop(Sub, lists:reverse([{Id, Seq, Text} || #{entity := Id, seq := Seq, payload := #{<<"text">> := Text}}
                                                            <- Events]) ++ Seen);
        {warp_subscription, Sub, {erased, Id}} ->
            ok = warp_subscription:ack(Sub, {erased, Id}),
            loop(Sub, [{Id, erased} | Seen]);
        {seen, From} ->
            From ! {self(), lists:reverse(Seen)},
            loop(Sub, Seen);
        {stop, From} ->
            {ok, _} = warp_subscription:cursor(Sub),
            ok = warp_subscription:unsubscribe(Sub),
            From ! {self(), stopped};
        _ ->
            loop(Sub, Seen)
    end.

%% {Id, Seq, Text} and {Id, erased}, in their order.
seen(Name) ->
    Pid = whereis(Name),
    Pid ! {seen, self()},
    receive {Pid, Seen} -> Seen after 10000 -> error(no_answer) end.

%% Ends it, once what it has acknowledged is on disk.
stop(Name) ->
    Pid = whereis(Name),
    Pid ! {stop, self()},
    receive {Pid, stopped} -> ok after 10000 -> error(no_answer) end.
