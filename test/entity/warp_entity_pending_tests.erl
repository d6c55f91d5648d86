%% The counters that an entity shares with its callers.
-module(warp_entity_pending_tests).

-include_lib("eunit/include/eunit.hrl").

-define(MIB, 1024 * 1024).

requests_are_admitted_up_to_the_limit_test() ->
    Pending = warp_entity_pending:new(),
    ?assertEqual([true, true, false, false], [warp_entity_pending:admit(Pending, 10, 2) || _ <- "1234"]),
    ok = warp_entity_pending:answered(Pending, 1, 10),
    ?assert(warp_entity_pending:admit(Pending, 10, 2)),
    ?assertNot(warp_entity_pending:admit(Pending, 10, 2)).

bytes_are_limited_too_but_for_one_alone_test() ->
    Pending = warp_entity_pending:new(),
    ?assert(warp_entity_pending:admit(Pending, 65 * ?MIB, 100)),
    ?assertNot(warp_entity_pending:admit(Pending, 1, 100)),
    ok = warp_entity_pending:answered(Pending, 1, 65 * ?MIB),
    ?assert(warp_entity_pending:admit(Pending, 40 * ?MIB, 100)),
    ?assert(warp_entity_pending:admit(Pending, 20 * ?MIB, 100)),
    ?assertNot(warp_entity_pending:admit(Pending, 20 * ?MIB, 100)).

a_receipt_answers_and_wakes_only_who_asked_for_it_test() ->
    Pending = warp_entity_pending:new(),
    true = warp_entity_pending:admit(Pending, 10, 1),
    ?assertNot(warp_entity_pending:want(Pending, 1)),
    ok = warp_entity_pending:hand_out(warp_entity_pending:receipt(Pending, 1, [{{self(), tag}, done}], 10)),
    ?assertEqual(done, receive {tag, Reply} -> Reply after 0 -> none end),
    ?assertEqual(1, receive {warp_stored, Number} -> Number after 0 -> none end),
    ?assert(warp_entity_pending:is_stored(Pending, 1)),
    %% What was answered no longer counts.
    ?assert(warp_entity_pending:admit(Pending, 10, 1)),
    ok = warp_entity_pending:hand_out(warp_entity_pending:receipt(Pending, 2, [], 0)),
    ?assertEqual(none, receive {warp_stored, 2} -> woken after 0 -> none end),
    ?assert(warp_entity_pending:want(Pending, 2)).
