%% Those who wait for the result of a saga.
-module(warp_saga_callers_tests).

-include_lib("eunit/include/eunit.hrl").

all_get_the_answer_test() ->
    Callers = add([caller(result, 1, infinity), caller(cancel, 2, infinity)]),
    ok = warp_saga_callers:answer(done, Callers),
    ?assertEqual([{1, done}, {2, done}], answers()).

who_cancels_is_not_told_of_a_saga_that_can_turn_back_test() ->
    Callers = add([caller(result, 1, infinity), caller(cancel, 2, infinity)]),
    Forward = #{direction => forward},
    Left = warp_saga_callers:tell_waiting(Forward, Callers),
    ?assertEqual([{1, {error, {saga_waits, Forward}}}], answers()),
    ?assert(warp_saga_callers:is_any_cancelling(Left)),
    Back = #{direction => compensate},
    None = warp_saga_callers:tell_waiting(Back, Left),
    ?assertEqual([{2, {error, {saga_waits, Back}}}], answers()),
    ?assertNot(warp_saga_callers:is_any_cancelling(None)),
    ok = warp_saga_callers:answer(done, None),
    ?assertEqual([], answers()).

those_who_gave_up_are_dropped_and_the_others_are_not_test() ->
    Past = erlang:monotonic_time(millisecond) - 1,
    {Dead, Monitor} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Monitor, process, Dead, _} -> ok end,
    Gone = [caller(result, N, Past) || N <- lists:seq(1, 1000)]
           ++ [{result, {Dead, 0}, infinity} || _ <- lists:seq(1, 1000)],
    Patient = [caller(result, N, infinity) || N <- lists:seq(2001, 2100)],
    Callers = add(Patient ++ Gone),
    ok = warp_saga_callers:answer(done, Callers),
    Answered = [N || {N, done} <- answers()],
    ?assertEqual([N || {result, {_, N}, _} <- Patient], [N || N <- Answered, N > 2000]),
    ?assert(length(Answered) < 300).

caller(Asked, N, Until) ->
    {Asked, {self(), N}, Until}.

add(Callers) ->
    lists:foldl(fun warp_saga_callers:add/2, warp_saga_callers:new(), Callers).

answers() ->
    lists:sort(received()).

received() ->
    receive {N, Answer} when is_integer(N) -> [{N, Answer} | received()] after 0 -> [] end.
