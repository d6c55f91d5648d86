%% What is moving, put together from what the members say.
-module(warp_cluster_progress_tests).
-include_lib("eunit/include/eunit.hrl").

-define(NOW, 10000000).

member(Fields) ->
    maps:merge(#{is_paused => false, to_give => 0, given => 0, got => 0, entities => 0, bytes => 0, pauses_ms => [],
                 under_way => [], alarms => #{}}, Fields).

entry(Fields) ->
    maps:merge(#{shard => 3, phase => offered, direction => gives, node => b, since => ?NOW - 2000000, entities => 0,
                 bytes => 0, of_bytes => 0}, Fields).

sum(Known) -> warp_cluster_progress:sum(Known, [], ?NOW).

nothing_moves_test() ->
    Sum = sum([{a, member(#{got => 1, entities => 10, bytes => 4096})},
               {b, member(#{got => 2, entities => 20, bytes => 4096})}]),
    ?assertMatch(#{to_move := 0, entities_to_move := 0, moved := 3, entities := 30, bytes := 8192,
                   bytes_per_second := 0, entities_per_second := 0, seconds_left := 0, under_way := []}, Sum),
    ?assertEqual(<<"Every shard is where it should be. 3 were moved since the start, with about 30 entities and "
                   "8 KiB.">>,
                 maps:get(text, Sum)).

%% A quarter is copied in two seconds. Two shards wait, which are taken to be like the one under way.
rates_test() ->
    Gets = entry(#{direction => gets, phase => copying, node => a, entities => 4000, bytes => 1048576,
                   of_bytes => 4194304}),
    Sum = sum([{a, member(#{to_give => 3, under_way => [entry(#{})]})}, {b, member(#{under_way => [Gets]})}]),
    ?assertMatch(#{to_move := 3, entities_to_move := 12000, copied_bytes := 1048576, of_bytes := 4194304,
                   bytes_per_second := 524288, entities_per_second := 500, seconds_left := 22,
                   under_way := [#{shard := 3, from := a, to := b, phase := offered, entities := 4000,
                                   bytes := 1048576, of_bytes := 4194304}]}, Sum),
    ?assertEqual(<<"3 shards with about 12000 entities to move, 1 of them now: 1.0 MiB of 4.0 MiB copied, 512 KiB/s, "
                   "500 entities/s, 22 s left.\n  shard    3  a -> b  offered, about 4000 entities">>,
                 maps:get(text, Sum)).

%% Nothing is guessed before a hand-off begins.
unknown_test() ->
    ?assertMatch(#{to_move := 2, entities_to_move := unknown, seconds_left := unknown,
                   text := <<"2 shards with an unknown number of entities to move, 0 of them now", _/binary>>},
                 sum([{a, member(#{to_give => 2})}])),
    Gives = entry(#{}),
    ?assertMatch(#{entities_to_move := unknown, under_way := [#{entities := 0, of_bytes := 0}]},
                 sum([{a, member(#{to_give => 1, under_way => [Gives]})}, {b, member(#{})}])).
