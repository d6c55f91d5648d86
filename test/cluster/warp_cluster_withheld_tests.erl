-module(warp_cluster_withheld_tests).

-include_lib("eunit/include/eunit.hrl").

-define(KEY, {<<"e">>, <<"deletion">>}).

context() -> #{withheld => warp_cluster_withheld:new(), running => ets:new(running, [])}.

may(Context, Node, Session) -> warp_cluster_withheld:may_follow(Context, {Node, Session}, 3).

nobody_may_before_the_list_was_read_test() ->
    Context = context(),
    ?assertNot(may(Context, b, make_ref())),
    ok = warp_cluster_withheld:begun(Context),
    ?assert(may(Context, b, make_ref())).

a_node_may_once_it_knows_and_until_its_context_ends_test() ->
    Context = context(),
    ok = warp_cluster_withheld:begun(Context),
    [Session, Next] = [make_ref(), make_ref()],
    ok = warp_cluster_withheld:withhold(Context, b, 3, ?KEY),
    ?assertNot(may(Context, b, Session)),
    ?assert(may(Context, c, Session)),
    ?assert(warp_cluster_withheld:may_follow(Context, {b, Session}, 4)),
    ?assert(warp_cluster_withheld:is_withheld(Context, b, 3, <<"e">>)),
    ok = warp_cluster_withheld:knows(Context, b, 3, ?KEY, Session),
    ?assert(may(Context, b, Session)),
    ?assertNot(warp_cluster_withheld:is_withheld(Context, b, 3, <<"e">>)),
    ?assertNot(may(Context, b, Next)),
    %% It does not forget what it knows when the list is read again.
    ok = warp_cluster_withheld:withhold(Context, b, 3, ?KEY),
    ?assert(may(Context, b, Session)),
    ok = warp_cluster_withheld:withhold(Context, b, 3, {<<"e">>, <<"another">>}),
    ?assertNot(may(Context, b, Session)),
    ok = warp_cluster_withheld:forget(Context, b, 3, {<<"e">>, <<"another">>}),
    ok = warp_cluster_withheld:forget(Context, b, 3, ?KEY),
    ?assert(may(Context, b, Next)).

a_node_that_joins_meanwhile_waits_test() ->
    Context = context(),
    ok = warp_cluster_withheld:begun(Context),
    ok = warp_cluster_withheld:only(Context, 3, <<"e">>, [b]),
    ?assert(may(Context, b, make_ref())),
    ?assertNot(may(Context, c, make_ref())),
    ok = warp_cluster_withheld:anyone(Context, 3, <<"e">>),
    ?assert(may(Context, c, make_ref())).

a_shard_that_has_gone_test() ->
    Context = context(),
    ok = warp_cluster_withheld:begun(Context),
    ok = warp_cluster_withheld:withhold(Context, b, 3, ?KEY),
    ok = warp_cluster_withheld:only(Context, 3, <<"e">>, []),
    ok = warp_cluster_withheld:withhold(Context, b, 4, ?KEY),
    ok = warp_cluster_withheld:forget_all_but(Context, [3], [{b, 3, ?KEY}], []),
    ?assertNot(may(Context, b, make_ref())),
    ?assert(may(Context, c, make_ref())),
    ok = warp_cluster_withheld:forget_all_but(Context, [3], [], []),
    ?assert(may(Context, b, make_ref())),
    ?assertNot(warp_cluster_withheld:may_follow(Context, {b, make_ref()}, 4)),
    ok = warp_cluster_withheld:forget_all_but(Context, all, [], []),
    ?assert(warp_cluster_withheld:may_follow(Context, {b, make_ref()}, 4)).
