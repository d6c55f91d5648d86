%% Which calls of other nodes wait for which, and which come too late.
-module(warp_cluster_order_tests).

-include_lib("eunit/include/eunit.hrl").

calls_with_one_key_wait_for_the_one_before_test() ->
    [A, B, C] = [spawn(fun() -> ok end) || _ <- [a, b, c]],
    New = warp_cluster_order:new(),
    ?assertEqual({ok, none}, warp_cluster_order:next({x, 3, 1}, 1, New)),
    First = warp_cluster_order:began({x, 3, 1}, A, New),
    ?assertEqual({ok, A}, warp_cluster_order:next({x, 3, 1}, 1, First)),
    ?assertEqual({ok, none}, warp_cluster_order:next({y, 3, 1}, 1, First)),
    Second = warp_cluster_order:began({x, 3, 1}, B, warp_cluster_order:began({y, 3, 1}, C, First)),
    %% The first one has ended, and the last one has not.
    ?assertEqual({ok, B}, warp_cluster_order:next({x, 3, 1}, 1, warp_cluster_order:ended(A, Second))),
    Ended = lists:foldl(fun warp_cluster_order:ended/2, Second, [A, B, C, self()]),
    ?assertEqual([{ok, none}, {ok, none}], [warp_cluster_order:next({Key, 3, 1}, 1, Ended) || Key <- [x, y]]).

calls_of_an_earlier_owner_come_too_late_test() ->
    Order = warp_cluster_order:began({x, 3, 2}, self(), warp_cluster_order:new()),
    ?assertEqual({error, {old_epoch, 3}}, warp_cluster_order:next({y, 3, 1}, 1, Order)),
    ?assertEqual({ok, self()}, warp_cluster_order:next({x, 3, 2}, 1, Order)),
    ?assertEqual({ok, none}, warp_cluster_order:next({y, 4, 1}, 1, Order)),
    %% Also when this node has heard of the next owner, which has called nobody yet.
    ?assertEqual({error, {old_epoch, 3}}, warp_cluster_order:next({x, 3, 2}, 3, Order)),
    %% What an owner has called stays known when its calls have ended.
    Ended = warp_cluster_order:ended(self(), Order),
    ?assertEqual({error, {old_epoch, 3}}, warp_cluster_order:next({x, 3, 1}, 1, Ended)).
