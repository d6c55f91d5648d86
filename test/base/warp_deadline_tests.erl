-module(warp_deadline_tests).
-include_lib("eunit/include/eunit.hrl").

a_deadline_comes_nearer_test() ->
    Deadline = warp_deadline:from(10000),
    Left = warp_deadline:left(Deadline),
    ?assert(Left =< 10000 andalso Left > 9000),
    timer:sleep(3),
    ?assert(warp_deadline:left(Deadline) < Left).

what_is_over_has_nothing_left_test() ->
    Deadline = warp_deadline:from(0),
    ?assertEqual(0, warp_deadline:left(Deadline)),
    timer:sleep(3),
    ?assertEqual(0, warp_deadline:left(Deadline)).

infinity_never_ends_test() ->
    ?assertEqual(infinity, warp_deadline:from(infinity)),
    ?assertEqual(infinity, warp_deadline:left(infinity)),
    ?assertEqual(infinity, warp_deadline:later(infinity, 7)).

%% A receive takes any answer of left/1.
no_more_is_left_than_the_vm_can_wait_test() ->
    Left = warp_deadline:left(warp_deadline:from(1 bsl 40)),
    ?assertEqual(warp_deadline:longest(), Left),
    self() ! here,
    ?assertEqual(here, receive here -> here after Left -> late end),
    ?assertError(timeout_value, receive never -> never after Left + 1 -> late end).

a_deadline_can_be_put_off_test() ->
    ?assertEqual(12, warp_deadline:later(5, 7)).

the_earlier_one_counts_test() ->
    ?assertEqual(5, warp_deadline:earlier(5, 7)),
    ?assertEqual(5, warp_deadline:earlier(7, 5)),
    ?assertEqual(5, warp_deadline:earlier(infinity, 5)),
    ?assertEqual(5, warp_deadline:earlier(5, infinity)),
    ?assertEqual(-7, warp_deadline:earlier(infinity, -7)),
    ?assertEqual(infinity, warp_deadline:earlier(infinity, infinity)).
