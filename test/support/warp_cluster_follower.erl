%% Subscribers inside the VMs of a cluster: each takes all events of its subscription, and keeps what it got.
-module(warp_cluster_follower).

%% From the suite
-export([start/3, stop/2, await/3, wrong/2, skipped/2, cursor/2, got/2]).
%% Inside a VM
-export([start_here/2, ask_here/2, follow/2]).

%% Subscribes in a VM. `Of' is its name here: `{entity, Id}' follows that entity, anything else the context.
start(Vm, Of, Options) ->
    warp_cluster_vm:run(Vm, fun() -> ?MODULE:start_here(Of, Options) end).

stop(Vm, Of) -> ask(Vm, Of, stop).

%% Waits until it got so many events.
await(Vm, Of, Count) ->
    try
        warp_test:wait_until(fun() -> length(got(Vm, Of)) >= Count end)
    catch
        _:_ -> error({got, length(got(Vm, Of)), of_so_many, Count})
    end.

%% What came twice, and what was out of order, by entity.
wrong(Vm, Of) ->
    Seqs = lists:foldl(fun({Entity, Seq, _}, Acc) ->
                           maps:update_with(Entity, fun(Before) -> [Seq | Before] end, [Seq], Acc)
                       end, #{}, got(Vm, Of)),
    maps:filter(fun(_, Of1) -> lists:reverse(Of1) =/= lists:seq(lists:last(Of1), lists:last(Of1) + length(Of1) - 1) end,
                Seqs).

%% What came before what stands in front of it, by entity, where what came before may come again.
skipped(Vm, Of) ->
    {_, Skipped} = lists:foldl(fun({Entity, Seq, _}, {Lasts, Acc}) ->
        case maps:get(Entity, Lasts, 0) of
            Last when Seq > Last + 1 -> {Lasts, maps:update_with(Entity, fun(Of1) -> [Seq | Of1] end, [Seq], Acc)};
            Last -> {Lasts#{Entity => max(Seq, Last)}, Acc}
        end
    end, {#{}, #{}}, got(Vm, Of)),
    Skipped.

cursor(Vm, Of) -> ask(Vm, Of, cursor).

%% All that it got, in order, as {Entity, Seq, Payload}.
got(Vm, Of) -> ask(Vm, Of, got).

ask(Vm, Of, What) ->
    warp_cluster_vm:run(Vm, fun() -> ?MODULE:ask_here(Of, What) end).

%% ------------------------------------------------------------------ Inside a VM

start_here(Of, Options) ->
    Self = self(),
    {Pid, Monitor} = spawn_monitor(fun() ->
        Source = case Of of {entity, Id} -> warp_cluster_vm:entity(Id); _ -> warp_cluster_vm:ctx() end,
        Begun = warp_subscription:subscribe(Source, Options),
        Self ! {self(), Begun},
        case Begun of
            {ok, Sub} -> ?MODULE:follow(Sub, []);
            {error, _} -> ok
        end
    end),
    receive
        {Pid, {ok, _}} -> true = demonitor(Monitor, [flush]), persistent_term:put({?MODULE, Of}, Pid);
        {Pid, {error, _} = Error} -> true = demonitor(Monitor, [flush]), Error;
        {'DOWN', Monitor, process, Pid, Why} -> {error, Why}
    end.

ask_here(Of, What) ->
    Pid = persistent_term:get({?MODULE, Of}),
    Monitor = monitor(process, Pid),
    Pid ! {What, self()},
    receive
        {Pid, Answer} -> true = demonitor(Monitor, [flush]), Answer;
        {'DOWN', Monitor, process, Pid, Why} -> error({ended, Why})
    end.

follow(Sub, Got) ->
    Down = warp_subscription:monitor_of(Sub),
    receive
        {warp_subscription, Sub, {events, Events}} ->
            ok = warp_subscription:ack(Sub, Events),
            New = [{Entity, Seq, Payload} || #{entity := Entity, seq := Seq, payload := Payload} <- Events],
            follow(Sub, lists:reverse(New, Got));
        {warp_subscription, Sub, {erased, Entity} = Erased} ->
            ok = warp_subscription:ack(Sub, Erased),
            follow(Sub, [{erased, Entity, none} | Got]);
        {warp_subscription, Sub, _} ->
            follow(Sub, Got);
        {'DOWN', Down, process, _, Why} ->
            exit({subscription_ended, Why});
        {got, From} ->
            From ! {self(), lists:reverse(Got)},
            follow(Sub, Got);
        {cursor, From} ->
            From ! {self(), warp_subscription:cursor(Sub)},
            follow(Sub, Got);
        {stop, From} ->
            From ! {self(), warp_subscription:unsubscribe(Sub)}
    end.
