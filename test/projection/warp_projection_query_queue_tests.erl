-module(warp_projection_query_queue_tests).

-include_lib("eunit/include/eunit.hrl").

-define(MIB, (1024 * 1024)).

fill(Items) ->
    lists:foldl(
        fun({Bytes, Query}, {Refs, Queue}) ->
            Ref = make_ref(),
            {ok, Longer} = warp_projection_query_queue:in(Ref, Bytes, Query, Queue),
            {Refs ++ [Ref], Longer}
        end,
        {[], warp_projection_query_queue:new()},
        Items).

first_come_first_served_test() ->
    {[A, B, C], Queue} = fill([{1, a}, {2, b}, {3, c}]),
    {ok, b, Without} = warp_projection_query_queue:take(B, Queue),
    ?assertEqual(none, warp_projection_query_queue:take(B, Without)),
    {ok, A, a, Last} = warp_projection_query_queue:out(Without),
    ?assertEqual(1, warp_projection_query_queue:size(Last)),
    {ok, C, c, None} = warp_projection_query_queue:out(Last),
    ?assertEqual(empty, warp_projection_query_queue:out(None)),
    ?assertEqual(0, warp_projection_query_queue:size(None)).

no_more_than_256_wait_test() ->
    {[First | _], Queue} = fill([{0, x} || _ <- lists:seq(1, 256)]),
    ?assertEqual(overloaded, warp_projection_query_queue:in(make_ref(), 0, x, Queue)),
    {ok, x, Less} = warp_projection_query_queue:take(First, Queue),
    ?assertMatch({ok, _}, warp_projection_query_queue:in(make_ref(), 0, x, Less)).

no_more_than_64_mib_wait_but_one_always_may_test() ->
    {[Large], Queue} = fill([{65 * ?MIB, x}]),
    ?assertEqual(overloaded, warp_projection_query_queue:in(make_ref(), 1, x, Queue)),
    {ok, x, None} = warp_projection_query_queue:take(Large, Queue),
    ?assertMatch({ok, _}, warp_projection_query_queue:in(make_ref(), 1, x, None)),
    {_, Half} = fill([{32 * ?MIB, x}, {31 * ?MIB, x}]),
    ?assertMatch({ok, _}, warp_projection_query_queue:in(make_ref(), ?MIB, x, Half)),
    ?assertEqual(overloaded, warp_projection_query_queue:in(make_ref(), ?MIB + 1, x, Half)).
