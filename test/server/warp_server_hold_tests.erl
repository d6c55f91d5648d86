%% What is acknowledged with a number, and numbers as text.
-module(warp_server_hold_tests).
-include_lib("eunit/include/eunit.hrl").

event(Seq) -> {event, #{shard => 0, position => Seq, seq => Seq}}.

given(All) ->
    lists:foldl(fun(One, {Numbers, Hold}) ->
                    {N, Next} = warp_server_hold:give(One, Hold),
                    {Numbers ++ [N], Next}
                end, {[], warp_server_hold:new()}, All).

a_number_stands_for_all_before_it_test() ->
    {[1, 2, 3], Hold} = given([event(1), {erased, <<"a">>}, event(2)]),
    ?assertNot(warp_server_hold:is_done(Hold)),
    ?assertEqual({error, not_given}, warp_server_hold:ack(4, Hold)),
    {ok, Acked, Left} = warp_server_hold:ack(2, Hold),
    ?assertEqual([event(1), {erased, <<"a">>}], Acked),
    ?assertMatch({ok, [], Left}, warp_server_hold:ack(1, Left)),
    ?assertMatch({ok, [], Left}, warp_server_hold:ack(2, Left)),
    {ok, Last, Done} = warp_server_hold:ack(3, Left),
    ?assertEqual([event(2)], Last),
    ?assert(warp_server_hold:is_done(Done)),
    ?assertEqual({error, not_given}, warp_server_hold:ack(1, warp_server_hold:new())).

what_comes_again_has_other_numbers_test() ->
    {_, Hold} = given([event(1), event(2)]),
    Again = warp_server_hold:again(Hold),
    ?assert(warp_server_hold:is_done(Again)),
    %% The client may have done what comes again, but nothing was acknowledged by that.
    ?assertMatch({ok, [], _}, warp_server_hold:ack(2, Again)),
    {3, Third} = warp_server_hold:give(event(1), Again),
    ?assertMatch({ok, [], _}, warp_server_hold:ack(2, Third)),
    Expected = event(1),
    ?assertMatch({ok, [Expected], _}, warp_server_hold:ack(3, Third)).

numbers_are_text_test() ->
    Id = warp_server_token:base64url(crypto:strong_rand_bytes(16)),
    [?assertEqual({ok, Id, N}, warp_server_hold:read_id(warp_server_hold:id(Id, N))) || N <- [1, 10, 999999999999999]],
    [?assertEqual(error, warp_server_hold:read_id(Text))
     || Text <- [<<>>, Id, <<Id/binary, ".">>, <<Id/binary, ".0">>, <<Id/binary, ".x">>, <<"x", Id/binary, ".1">>,
                 <<Id/binary, ".1.1">>, <<Id/binary, ".1000000000000000">>]].
