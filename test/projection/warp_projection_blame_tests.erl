%% Who is to blame when a batch cannot be projected, and in how small pieces the log is read meanwhile.
-module(warp_projection_blame_tests).

-include_lib("eunit/include/eunit.hrl").

-define(EVENTS, [{<<"a">>, 1}, {<<"b">>, 4}, {<<"c">>, 2}]).

pieces(Blame) ->
    #{bytes := Bytes, single := Single} = warp_projection_blame:reading(Blame),
    {Bytes, Single}.

blamed(Blame) -> maps:get(blamed, warp_projection_blame:reading(Blame)).

nobody_at_first_test() ->
    New = warp_projection_blame:new(),
    ?assertNot(warp_projection_blame:is_careful(New)),
    ?assertEqual({512 * 1024, false}, pieces(New)),
    ?assertEqual(#{}, blamed(New)).

%% A target that cannot tell gets smaller and smaller pieces, until one row is left.
found_by_size_test() ->
    Once = warp_projection_blame:refused({30, 3, [hd(?EVENTS)]}, unknown, no, warp_projection_blame:new()),
    ?assertEqual({8 * 1024, true}, pieces(Once)),
    ?assertEqual(#{}, blamed(Once)),
    Twice = warp_projection_blame:refused({20, 3, ?EVENTS}, unknown, no, Once),
    ?assertEqual({1, true}, pieces(Twice)),
    ?assertEqual(#{}, blamed(Twice)),
    Found = warp_projection_blame:refused({11, 1, [{<<"a">>, 1}]}, unknown, no, Twice),
    ?assertEqual(#{{<<"a">>, 1} => {refused, no}}, blamed(Found)),
    %% It is careful up to the end of the first batch.
    ?assert(warp_projection_blame:is_careful(warp_projection_blame:passed(29, Found))),
    ?assertEqual(warp_projection_blame:new(), warp_projection_blame:passed(30, Found)).

found_by_index_test() ->
    Found = warp_projection_blame:refused({30, 3, ?EVENTS}, 2, no, warp_projection_blame:new()),
    ?assertEqual(#{{<<"b">>, 4} => {refused, no}}, blamed(Found)),
    ?assertEqual({8 * 1024, true}, pieces(Found)).

%% A worker that ends by itself is suspected once, and in the same call again it is guilty.
ended_twice_test() ->
    Where = {7, 3, project, 99},
    {suspected, {7, 3, project}, Suspecting} =
        warp_projection_blame:call(Where, none, killed, warp_projection_blame:new()),
    ?assert(warp_projection_blame:is_careful(Suspecting)),
    ?assertMatch({suspected, {8, 1, apply}, _},
                 warp_projection_blame:call({8, 1, apply, 100}, none, killed, Suspecting)),
    ?assertEqual({guilty, {7, 3, project}, {killed, project, warp_projection_worker:max_bytes()}},
                 warp_projection_blame:call({7, 3, project, 101}, none, killed, Suspecting)),
    ?assertMatch({guilty, {7, 3, project}, {died, project, _}},
                 warp_projection_blame:call({7, 3, project, 101}, none, oops, Suspecting)),
    %% The suspicion survives that where to go on is found out again.
    ?assertMatch({guilty, _, _},
                 warp_projection_blame:call(Where, none, killed, warp_projection_blame:forget(Suspecting))).

%% One that was ended for a call is guilty at once; for another call it is not.
ended_for_a_call_test() ->
    Where = {7, 3, project, 99},
    New = warp_projection_blame:new(),
    ?assertEqual({guilty, {7, 3, project}, {timeout, project, 10}},
                 warp_projection_blame:call(Where, Where, killed, New)),
    ?assertMatch({suspected, _, _}, warp_projection_blame:call(Where, {7, 3, project, 98}, killed, New)).

convicted_test() ->
    Guilty = warp_projection_blame:convict({7, 3, apply}, why, warp_projection_blame:new()),
    ?assertEqual(#{{at, 7} => {3, {ended, apply, why}}}, blamed(Guilty)),
    ?assertNot(warp_projection_blame:is_careful(warp_projection_blame:passed(7, Guilty))),
    %% While an entity is tried again no row of the log is to blame.
    ?assertEqual(#{}, blamed(warp_projection_blame:convict({0, 3, apply}, why, warp_projection_blame:new()))).

retreat_test() ->
    ?assertEqual({1, true}, pieces(warp_projection_blame:retreat(7, warp_projection_blame:new()))).
