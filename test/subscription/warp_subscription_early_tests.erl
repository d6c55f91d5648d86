%% A name is told of an erasure once, and not behind events of the entity's next life.
-module(warp_subscription_early_tests).

-include_lib("eunit/include/eunit.hrl").

names() ->
    #{<<"behind">> => #{prefix => <<>>, marks => #{0 => 9}, held => #{}},
      <<"half">> => #{prefix => <<>>, marks => #{0 => {10, 1}}, held => #{}},
      <<"past">> => #{prefix => <<"a">>, marks => #{0 => 12}, held => #{}},
      <<"other">> => #{prefix => <<"b">>, marks => #{0 => 0}, held => #{}}}.

told(Erasure, Early) ->
    [{_, _, _, Names}] = warp_subscription_early:to_tell([Erasure], names(), Early),
    lists:sort(Names).

who_has_had_events_of_the_next_life_is_not_told_test() ->
    New = warp_subscription_early:new(),
    ?assertEqual([<<"behind">>], told({<<"alice">>, 0, 3, 10}, New)),
    ?assertEqual([<<"behind">>, <<"half">>, <<"past">>], told({<<"alice">>, 0, 3, none}, New)),
    ?assertEqual([<<"behind">>, <<"half">>, <<"other">>], told({<<"bob">>, 1, 3, 10}, New)).

what_was_noted_early_is_noted_once_test() ->
    Early = warp_subscription_early:noted([{<<"alice">>, 0, 3, [<<"behind">>]}], warp_subscription_early:new()),
    ?assertEqual([<<"half">>, <<"past">>], told({<<"alice">>, 0, 3, none}, Early)),
    ?assertEqual([<<"behind">>, <<"half">>, <<"past">>], told({<<"alice">>, 0, 4, none}, Early)),
    ?assertEqual([<<"behind">>, <<"half">>, <<"past">>], told({<<"anna">>, 0, 3, none}, Early)),
    Done = warp_subscription_early:done(<<"alice">>, Early),
    ?assertEqual([<<"behind">>, <<"half">>, <<"past">>], told({<<"alice">>, 0, 3, none}, Done)).

it_is_full_beyond_a_bound_test() ->
    Noted = [{integer_to_binary(I), 0, 1, [<<"behind">>]} || I <- lists:seq(1, 10000)],
    Most = warp_subscription_early:noted(Noted, warp_subscription_early:new()),
    ?assertNot(warp_subscription_early:is_full(Most)),
    ?assert(warp_subscription_early:is_full(warp_subscription_early:noted([{<<"x">>, 0, 1, [<<"behind">>]}], Most))).
