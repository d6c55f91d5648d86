-module(warp_check_tests).
-include_lib("eunit/include/eunit.hrl").

check(Given) ->
    warp_check:options(Given, [
        {name, required, fun(Name) -> warp_check:one_of(Name, [a, b]) end},
        {size, 16, fun(N) -> warp_check:integer(N, 1, 4096) end},
        {timeout, 5000, fun warp_check:timeout/1}
    ]).

defaults_are_filled_in_test() ->
    ?assertEqual({ok, #{name => a, size => 16, timeout => 5000}}, check(#{name => a})),
    All = #{name => b, size => 1, timeout => infinity},
    ?assertEqual({ok, All}, check(All)).

what_is_wrong_is_said_by_name_test() ->
    ?assertEqual({error, {missing_option, name}}, check(#{})),
    ?assertEqual({error, {unknown_option, sice}}, check(#{name => a, sice => 1})),
    ?assertEqual({error, {bad_option, name, {not_one_of, [a, b]}}}, check(#{name => c})),
    ?assertEqual({error, {bad_option, size, {not_an_integer_between, 1, 4096}}}, check(#{name => a, size => 0})),
    ?assertEqual({error, {bad_option, size, {not_an_integer_between, 1, 4096}}}, check(#{name => a, size => 1.0})),
    ?assertEqual({error, {bad_option, timeout, {not_an_integer_between, 0, 16#ffffffff}}},
                 check(#{name => a, timeout => 1 bsl 32})),
    ?assertEqual([{error, {bad_option, options, not_a_map}}],
                 lists:usort([check(Given) || Given <- [[], [{name, a}], none]])).

an_integer_may_have_no_end_test() ->
    ?assertEqual({ok, 1 bsl 70}, warp_check:integer(1 bsl 70, 1, infinity)),
    ?assertEqual({error, {not_an_integer_from, 1}}, warp_check:integer(0, 1, infinity)),
    ?assertEqual({error, {not_an_integer_from, 1}}, warp_check:integer(infinity, 1, infinity)).

one_argument_is_checked_alike_test() ->
    ?assertEqual({ok, 5}, warp_check:one(wait, 5, fun warp_check:timeout/1)),
    ?assertEqual({error, {bad_option, wait, {not_an_integer_between, 0, 16#ffffffff}}},
                 warp_check:one(wait, -1, fun warp_check:timeout/1)).
