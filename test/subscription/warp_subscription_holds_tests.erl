%% What a subscriber does with an event that it failed with, without processes.
-module(warp_subscription_holds_tests).
-include_lib("eunit/include/eunit.hrl").

-import(warp_subscription_holds, [new/0, fail/5, fail_again/6, advance/4, of_entity/2, due/2, next_due/1]).

-define(WHY, <<"why">>).

pauses_double_and_then_it_is_parked_test() ->
    First = fail(event(5), 1, ?WHY, {4, 0}, 1000),
    Again = fun(_, {_, _, Due} = Hold) -> {Due - 1000, fail_again(5, ?WHY, 4, 1000, 0, Hold)} end,
    {Pauses, Last} = lists:mapfoldl(Again, First, [1, 2, 3]),
    ?assertEqual([100, 200, 400], Pauses),
    ?assertMatch({#{state := parked, tries := 4, seq := 5, since := 0}, {7, 5}, never}, Last),
    ?assertEqual(none, due(1 bsl 60, of_entity(Last, new()))),
    ?assertEqual(never, next_due(of_entity(Last, new()))),
    {_, _, Longest} = lists:foldl(fun(_, Hold) -> fail_again(5, ?WHY, 1000, 0, 0, Hold) end, First, lists:seq(1, 100)),
    ?assertEqual(60000, Longest).

a_later_event_begins_to_count_anew_test() ->
    First = fail(event(5), 1, ?WHY, {3, 0}, 0),
    Next = advance(6, 70, 10, fail_again(5, ?WHY, 3, 0, 0, First)),
    ?assertMatch({#{state := retrying, tries := 0, seq := 6, since := 70}, {7, 5}, 10}, Next),
    ?assertMatch({#{state := retrying, tries := 1, seq := 6, since := 70}, _, 120},
                 fail_again(6, ?WHY, 3, 20, 80, Next)),
    ?assertMatch({#{tries := 1, seq := 8, since := 80}, _, 120}, fail_again(8, ?WHY, 3, 20, 80, Next)).

what_is_loaded_comes_up_to_the_cursor_test() ->
    Held = fun(Entity, N, Is) ->
        #{entity => Entity, shard => N, life => 1, seq => 2, tries => 1, state => Is, why => ?WHY, since => 0}
    end,
    All = [Held(<<"a">>, 0, retrying), Held(<<"b">>, 1, parked), Held(<<"c">>, 2, parked)],
    Holds = warp_subscription_holds:load(All, [0, 1], #{0 => 10, 1 => {20, 3}}, 1000),
    ?assertEqual(2, warp_subscription_holds:size(Holds)),
    ?assertMatch({ok, {#{entity := <<"a">>}, {10, all}, 1000}}, due(1000, Holds)),
    %% What is behind the cursor comes again, and is no more than what is known.
    Passed = warp_subscription_holds:passed((event(3))#{entity := <<"b">>, position := 20}, Holds),
    Retried = warp_subscription_holds:replace(Held(<<"b">>, 1, skipping), 900, Passed),
    ?assertMatch({ok, {#{entity := <<"b">>, state := skipping}, {20, 3}, 900}}, due(1000, Retried)),
    Later = warp_subscription_holds:passed((event(4))#{entity := <<"b">>, position := 21}, Retried),
    ?assertMatch({ok, {_, {21, 4}, _}}, due(1000, Later)),
    ?assertNot(warp_subscription_holds:is_held(<<"c">>, Later)),
    ?assertEqual(Later, warp_subscription_holds:replace(Held(<<"c">>, 2, retrying), 0, Later)),
    %% Somebody means an event that was handled meanwhile.
    ?assertEqual(Later, warp_subscription_holds:replace((Held(<<"b">>, 1, skipping))#{seq := 1}, 0, Later)).

event(Seq) -> #{entity => <<"e">>, shard => 0, position => 7, seq => Seq}.
