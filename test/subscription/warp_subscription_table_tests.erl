%% The table of subscriptions, of subscribers that outlast it or that the table outlasts.
-module(warp_subscription_table_tests).
-include_lib("eunit/include/eunit.hrl").

a_subscriber_may_outlast_the_table_test() ->
    Table = warp_subscription_table:new(),
    Context = #{subscriptions => Table},
    ok = warp_subscription_table:put_why(Context, <<"mail">>, {down, 1}),
    ?assertEqual([{self(), {<<"mail">>, down, 1}}], warp_subscription_table:why(Context)),
    true = ets:delete(Table),
    ?assertEqual(ok, warp_subscription_table:put_why(Context, <<"mail">>, {down, 1})),
    ?assertEqual(ok, warp_subscription_table:put_why(Context, <<"mail">>, none)).

one_that_was_killed_leaves_nothing_test() ->
    Context = #{subscriptions := Table} = #{subscriptions => warp_subscription_table:new()},
    {Pid, Monitor} = spawn_monitor(fun() -> ok = warp_subscription_table:put_why(Context, <<"mail">>, {down, 1}) end),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end,
    ?assertEqual([], warp_subscription_table:why(Context)),
    ?assertEqual(0, ets:info(Table, size)).
