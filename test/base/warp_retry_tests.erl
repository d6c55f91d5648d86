-module(warp_retry_tests).
-include_lib("eunit/include/eunit.hrl").

%% Counts its calls, and gives the number of the call.
try_next() ->
    N = case get(tries) of undefined -> 1; Before -> Before + 1 end,
    _ = put(tries, N),
    N.

tries(Fun) ->
    _ = erase(tries),
    {Micros, Result} = timer:tc(Fun),
    {Result, get(tries), Micros div 1000}.

what_succeeds_is_tried_once_test() ->
    ?assertMatch({1, 1, _}, tries(fun() ->
        warp_retry:while(fun(_) -> false end, {1000, infinity}, infinity, fun try_next/0)
    end)).

it_is_tried_again_after_a_pause_test() ->
    {Result, Tries, Millis} = tries(fun() ->
        warp_retry:while(fun(N) -> N < 4 end, {10, infinity}, infinity, fun try_next/0)
    end),
    ?assertEqual({4, 4}, {Result, Tries}),
    ?assert(Millis >= 30).

%% The last pause is cut short, and the last result is given.
it_ends_at_the_deadline_test() ->
    {Result, Tries, Millis} = tries(fun() ->
        warp_retry:while(fun(_) -> true end, {800, infinity}, warp_deadline:from(1000), fun try_next/0)
    end),
    ?assertEqual(3, Tries),
    ?assertEqual(3, Result),
    ?assert(Millis >= 999),
    ?assert(Millis < 1500).

it_ends_after_so_many_retries_test() ->
    ?assertMatch({4, 4, _}, tries(fun() ->
        warp_retry:while(fun(_) -> true end, {1, 3}, infinity, fun try_next/0)
    end)),
    ?assertMatch({1, 1, _}, tries(fun() ->
        warp_retry:while(fun(_) -> true end, {1000, 0}, infinity, fun try_next/0)
    end)).

without_time_it_is_tried_once_test() ->
    ?assertMatch({1, 1, _}, tries(fun() ->
        warp_retry:while(fun(_) -> true end, {1000, infinity}, warp_deadline:from(0), fun try_next/0)
    end)).
