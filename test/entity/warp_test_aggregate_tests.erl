%% Aggregates without a database.
-module(warp_test_aggregate_tests).

-include_lib("eunit/include/eunit.hrl").

account() ->
    #{name => <<"Account">>, initial_state => 0,
      apply => fun(Balance, #{payload := #{<<"amount">> := Amount}}) -> Balance + Amount end,
      validate => fun(Balance, #{payload := #{<<"amount">> := Amount}}) when Balance + Amount < 0 ->
                          {error, {missing, -(Balance + Amount)}};
                     (_, #{type := <<"Broken">>}) -> error(broken);
                     (_, _) -> ok
                  end}.

paid(Amount) -> #{type => <<"Paid">>, payload => #{amount => Amount}}.

given(Amounts) -> warp_test_aggregate:given(account(), [paid(Amount) || Amount <- Amounts]).

state(Entity) -> warp_test_aggregate:state(Entity).

what_is_given_is_folded_and_not_validated_test() ->
    ?assertEqual(0, state(given([]))),
    ?assertEqual(-7, state(given([1, -8]))).

an_event_is_appended_or_refused_test() ->
    Given = given([5]),
    ?assertEqual({error, {rejected, {missing, 4}}}, warp_test_aggregate:append(Given, paid(-9))),
    {ok, Then} = warp_test_aggregate:append(Given, paid(-2)),
    ?assertEqual({5, 3}, {state(Given), state(Then)}),
    {ok, Last} = warp_test_aggregate:append(Then, [paid(-3), paid(10)]),
    ?assertEqual(10, state(Last)).

a_batch_is_refused_whole_test() ->
    ?assertMatch({error, {rejected, _}}, warp_test_aggregate:append(given([5]), [paid(1), paid(-7)])),
    ?assertEqual({error, empty_batch}, warp_test_aggregate:append(given([5]), [])),
    ?assertMatch({error, {bad_event, 1, type, missing}}, warp_test_aggregate:append(given([]), #{payload => #{}})),
    ?assertMatch({error, {validate_failed, {error, broken, [_ | _]}}},
                 warp_test_aggregate:append(given([5]), (paid(1))#{type => <<"Broken">>})).

a_function_decides_test() ->
    Half = fun(Balance) -> {ok, [paid(-(Balance div 2))], [{self(), half}]} end,
    {ok, {[Event], Messages}, Then} = warp_test_aggregate:decide(given([10]), Half),
    ?assertEqual({paid(-5), [{self(), half}], 5}, {Event, Messages, state(Then)}),
    ?assertEqual(none, receive half -> got after 0 -> none end),
    ?assertEqual({error, no}, warp_test_aggregate:decide(Then, fun(5) -> {error, no} end)),
    {ok, {[], []}, Same} = warp_test_aggregate:decide(Then, fun(_) -> {ok, []} end),
    ?assertEqual(5, state(Same)),
    ?assertEqual({error, {rejected, {missing, 1}}}, warp_test_aggregate:decide(Then, fun(_) -> {ok, [paid(-6)]} end)),
    ?assertMatch({error, {decide_failed, {error, function_clause, _}}},
                 warp_test_aggregate:decide(Then, fun(6) -> {ok, []} end)).

events_have_ids_seqs_and_times_as_in_a_log_test() ->
    Log = #{name => <<"Log">>, initial_state => [], apply => fun(Events, Event) -> [Event | Events] end},
    {ok, Then} = warp_test_aggregate:append(warp_test_aggregate:given(Log, [paid(1)]), (paid(2))#{id => <<"own">>}),
    [#{id := <<"own">>, seq := 2, recorded_at := Later}, First] = state(Then),
    #{id := <<"test#1">>, seq := 1, recorded_at := Time} = First,
    ?assert(Later >= Time),
    ?assertMatch(#{type := <<"Paid">>, payload := #{<<"amount">> := 1}, schema_vsn := 1, aggregate := <<"Log">>},
                 First).

a_wrong_definition_is_raised_test() ->
    ?assertError({bad_option, aggregates, {<<"A">>, initial_state, missing}},
                 warp_test_aggregate:given(#{name => <<"A">>}, [])),
    ?assertError({bad_event, 1, payload, missing}, warp_test_aggregate:given(account(), [#{type => <<"Paid">>}])).
