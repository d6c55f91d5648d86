%% The table of the sagas of a context.
-module(warp_saga_table_tests).

-include_lib("eunit/include/eunit.hrl").

a_new_saga_is_found_by_its_entities_once_it_has_them_test() ->
    Context = context(),
    ok = warp_saga_table:add_new(Context, <<"x">>, 3, 17),
    ?assertEqual([{3, <<"x">>, forward, 17}], warp_saga_table:under_way(Context)),
    ?assertEqual([self()], warp_saga_table:runners(Context, 3)),
    ?assertEqual([], warp_saga_table:with_entity(Context, <<"a">>)),
    ok = warp_saga_table:set_entities(Context, <<"x">>, [<<"a">>, <<"b">>, <<"a">>]),
    ?assertEqual([{<<"x">>, [<<"a">>, <<"b">>, <<"a">>]}], warp_saga_table:with_entity(Context, <<"a">>)),
    ?assertEqual([], warp_saga_table:with_entity(Context, <<"c">>)).

what_is_refused_goes_with_its_saga_test() ->
    Context = context(),
    [ok = warp_saga_table:add_found(Context, Id, 0, found(forward)) || Id <- [<<"x">>, <<"y">>]],
    ok = warp_saga_table:doom(Context, <<"a">>),
    Later = found(forward),
    ok = warp_saga_table:add_found(Context, <<"later">>, 0, Later),
    ?assertEqual([true, true, false], [warp_saga_table:is_doomed(Context, Id, <<"a">>)
                                       || Id <- [<<"x">>, <<"y">>, <<"later">>]]),
    ?assertNot(warp_saga_table:is_doomed(Context, <<"x">>, <<"b">>)),
    ok = warp_saga_table:remove(Context, <<"x">>),
    ?assertEqual([false, true], [warp_saga_table:is_doomed(Context, Id, <<"a">>) || Id <- [<<"x">>, <<"y">>]]).

what_is_refused_is_in_no_count_test() ->
    Context = context(),
    ok = warp_saga_table:add_found(Context, <<"x">>, 0, found(forward)),
    Before = warp_saga_table:counts(Context),
    ok = warp_saga_table:doom(Context, <<"a">>),
    ?assertEqual(Before, warp_saga_table:counts(Context)).

a_stuck_saga_is_not_under_way_test() ->
    Context = context(),
    ok = warp_saga_table:add_found(Context, <<"x">>, 0, found(stuck)),
    ok = warp_saga_table:add_found(Context, <<"y">>, 1, found(compensating)),
    ?assertEqual([{0, <<"x">>}], warp_saga_table:stuck(Context)),
    ?assertEqual([{1, <<"y">>, compensating, 5}], warp_saga_table:under_way(Context)),
    ok = warp_saga_table:set_runner(Context, <<"x">>, compensating),
    ok = warp_saga_table:set_stuck(Context, <<"y">>),
    ?assertEqual([{1, <<"y">>}], warp_saga_table:stuck(Context)),
    ?assertEqual({[<<"x">>], [<<"y">>]}, {warp_saga_table:ids(Context, 0), warp_saga_table:ids(Context, 1)}).

a_shard_is_loaded_for_as_long_as_its_keeper_lives_test() ->
    Context = context(),
    ?assertNot(warp_saga_table:is_loaded(Context, 0)),
    {Keeper, Monitor} = spawn_monitor(fun() -> ok = warp_saga_table:set_loaded(Context, 0), receive stop -> ok end end),
    ok = wait_until_loaded(Context),
    Keeper ! stop,
    receive {'DOWN', Monitor, process, Keeper, _} -> ok end,
    ?assertNot(warp_saga_table:is_loaded(Context, 0)).

wait_until_loaded(Context) ->
    warp_test:wait_until(fun() -> warp_saga_table:is_loaded(Context, 0) end).

the_table_is_empty_for_others_once_it_is_gone_test() ->
    Self = self(),
    {_, Monitor} = spawn_monitor(fun() -> Self ! {context, context()} end),
    Context = receive {context, Made} -> Made end,
    receive {'DOWN', Monitor, process, _, _} -> ok end,
    ?assertEqual({[], [], none, false},
                 {warp_saga_table:under_way(Context), warp_saga_table:stuck(Context),
                  warp_saga_table:waiting(Context, <<"x">>), warp_saga_table:is_loaded(Context, 0)}).

found(Phase) ->
    #{entities => [<<"a">>, <<"b">>], phase => Phase, started_at => 5}.

%% The rest of a context is not looked at.
context() ->
    #{sagas => warp_saga_table:new()}.
