%% Which segments may be merged, and which are worth it.
-module(warp_backup_keep_tests).
-include_lib("eunit/include/eunit.hrl").

what_is_kept_is_checked_test() ->
    [?assertEqual({ok, Keep}, warp_backup_keep:check(Keep))
     || Keep <- [all, #{cuts => 1}, #{age => 1000}, #{cuts => 7, age => 5}]],
    [?assertEqual({error, not_what_to_keep}, warp_backup_keep:check(Keep))
     || Keep <- [none, #{}, #{cuts => 0}, #{age => -1}, #{cuts => 1.5}, #{days => 3}, #{cuts => 1, days => 3}, 5]].

%% Each segment of a list has a cut but those whose time is none.
oldest(Times, Keep, Now) ->
    Segments = [{Number, 100} || Number <- lists:seq(1, length(Times))],
    CutOf = fun({Number, _}) -> lists:nth(Number, Times) end,
    warp_backup_keep:oldest(Segments, Keep, Now, CutOf).

the_oldest_cut_by_count_test() ->
    ?assertEqual(none, oldest([], #{cuts => 1}, 0)),
    ?assertEqual(none, oldest([1, 2], #{cuts => 3}, 0)),
    ?assertEqual(1, oldest([1, 2, 3], #{cuts => 3}, 0)),
    ?assertEqual(3, oldest([1, 2, 3], #{cuts => 1}, 0)),
    ?assertEqual(2, oldest([1, 2, none, none, 3, none], #{cuts => 2}, 0)),
    ?assertEqual(none, oldest([1, 2, 3], all, 0)).

%% The one before the time is kept, too: it is the state at that time.
the_oldest_cut_by_age_is_the_last_one_before_test() ->
    Times = [1000, 2000, none, 3000, none, 4000],
    [?assertEqual(Oldest, oldest(Times, #{age => 1}, Limit + 1000), Limit)
     || {Limit, Oldest} <- [{0, none}, {999, none}, {1000, 1}, {1999, 1}, {2000, 2}, {2999, 2}, {3000, 4}, {3999, 4},
                            {4000, 6}, {9000, 6}]].

both_keep_what_either_keeps_test() ->
    Times = [1000, 2000, 3000, 4000],
    ?assertEqual(2, oldest(Times, #{cuts => 1, age => 1}, 3500)),
    ?assertEqual(1, oldest(Times, #{cuts => 4, age => 1}, 3500)),
    ?assertEqual(none, oldest(Times, #{cuts => 5, age => 1}, 9000)).

%% Where it looks by halves it looks at few.
age_is_found_with_few_looks_test() ->
    Segments = [{Number, 100} || Number <- lists:seq(1, 100000)],
    put(looks, 0),
    CutOf = fun({Number, _}) -> put(looks, get(looks) + 1), Number * 1000 end,
    ?assertEqual(40000, warp_backup_keep:oldest(Segments, #{age => 1}, 40001000, CutOf)),
    ?assert(get(looks) =< 20).

neighbours_of_a_size_are_merged_test() ->
    Of = fun(Sizes) -> lists:zip(lists:seq(1, length(Sizes)), Sizes) end,
    Groups = fun(Sizes, Settled) -> [[N || {N, _} <- Group] || Group <- warp_backup_keep:some(Of(Sizes), Settled)] end,
    Eight = lists:duplicate(8, 1000),
    Mega = 1024 * 1024,
    ?assertEqual([], Groups([], 0)),
    ?assertEqual([], Groups(tl(Eight), 0)),
    ?assertEqual([lists:seq(1, 8)], Groups(Eight, 0)),
    ?assertEqual([], Groups(Eight, 1)),
    ?assertEqual([lists:seq(2, 9)], Groups([5 * Mega | Eight], 0)),
    ?assertEqual([lists:seq(1, 9)], Groups([16000 | Eight], 0)),
    ?assertEqual([lists:seq(2, 9)], Groups([16001 | Eight], 0)),
    ?assertEqual([lists:seq(1, 8), lists:seq(10, 17)], Groups(Eight ++ [5 * Mega] ++ Eight, 0)),
    %% What is merged at once is bounded.
    ?assertEqual([lists:seq(1, 8), lists:seq(9, 16)], Groups(lists:duplicate(16, Mega), 0)).

%% However long runs go on, there are few small segments, and no row is written again often.
a_backup_stays_small_for_little_work_test() ->
    Size = 1000,
    Step = fun(Number, {Segments, Written}) ->
        Now = Segments ++ [{Number, Size}],
        case warp_backup_keep:some(Now, 0) of
            [] -> {Now, Written};
            [Group | _] ->
                {Last, _} = lists:last(Group),
                Bytes = lists:sum([Of || {_, Of} <- Group]),
                {Before, [_ | _] = Behind} = lists:splitwith(fun({N, _}) -> N < element(1, hd(Group)) end, Now),
                {Before ++ [{Last, Bytes} | lists:nthtail(length(Group), Behind)], Written + Bytes}
        end
    end,
    Count = 20000,
    {Segments, Written} = lists:foldl(Step, {[], 0}, lists:seq(1, Count)),
    ?assertEqual(Count * Size, lists:sum([Bytes || {_, Bytes} <- Segments])),
    ?assert(length(Segments) < 50),
    ?assert(Written < 8 * Count * Size).

nothing_is_a_candidate_where_all_is_kept_test() ->
    Segments = [{N, 1} || N <- [1, 2, 3]],
    ?assertEqual([], warp_backup_keep:candidates(Segments, all)),
    ?assertEqual([{1, 1}, {2, 1}], warp_backup_keep:candidates(Segments, #{cuts => 2})),
    ?assertEqual(Segments, warp_backup_keep:candidates(Segments, #{age => 5})),
    ?assertEqual([], warp_backup_keep:candidates(Segments, #{cuts => 9})).
