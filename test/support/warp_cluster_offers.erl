%% Counts, inside a VM of a cluster, the offers of shards that it makes to other nodes.
-module(warp_cluster_offers).

-export([count/0, counted/0]).

count() ->
    Self = self(),
    Pid = spawn(fun() ->
        _ = erlang:trace(all, true, [call]),
        1 = erlang:trace_pattern({warp_cluster_member, tell, 3}, true, [global]),
        Self ! {self(), counts},
        loop(0)
    end),
    true = register(?MODULE, Pid),
    receive {Pid, counts} -> ok after 10000 -> error(no_trace) end.

loop(Count) ->
    receive
        {trace, _, call, {_, tell, [_, _, {_, {offer, _, _}}]}} -> loop(Count + 1);
        {trace, _, call, _} -> loop(Count);
        {counted, From} -> From ! {?MODULE, Count}
    end.

counted() ->
    ?MODULE ! {counted, self()},
    receive {?MODULE, Count} -> Count after 10000 -> error(no_answer) end.
