-module(warp_compact_tests).

-include_lib("eunit/include/eunit.hrl").

-define(BUDGET, 100000).

parent() ->
    binary:copy(<<"0123456789">>, 1000).

cut(From, Size) ->
    binary:part(parent(), From, Size).

kept(Binary) ->
    binary:referenced_byte_size(Binary).

%% Every binary in a term, however deep.
binaries(B) when is_binary(B) -> [B];
binaries([H | T]) -> binaries(H) ++ binaries(T);
binaries(T) when is_tuple(T) -> binaries(tuple_to_list(T));
binaries(M) when is_map(M) -> binaries(maps:to_list(M));
binaries(_) -> [].

a_cut_binary_is_copied_test() ->
    Cut = cut(3, 100),
    ?assert(kept(Cut) >= 10000),
    Copy = warp_compact:binary(Cut),
    ?assertEqual(Cut, Copy),
    ?assertEqual(100, kept(Copy)).

most_of_its_parent_is_left_alone_test() ->
    Cut = cut(0, 6000),
    ?assert(erts_debug:same(Cut, warp_compact:binary(Cut))).

copies_reach_every_place_of_a_term_test() ->
    Term = #{cut(0, 80) => [1, {cut(1, 10), cut(2, 90)} | cut(3, 100)],
             list => [cut(4, 100), #{deep => cut(5, 100)}], whole => parent(), f => fun kept/1},
    Copy = warp_compact:term(Term, ?BUDGET),
    ?assertEqual(Term, Copy),
    [?assert(kept(B) =< max(256, 2 * byte_size(B))) || B <- binaries(Copy)].

large_maps_too_test() ->
    Term = maps:from_list([{cut(N, 100 + N), cut(N, 100)} || N <- lists:seq(1, 500)]),
    Copy = warp_compact:term(Term, ?BUDGET),
    ?assertEqual(Term, Copy),
    [?assert(kept(B) =< max(256, 2 * byte_size(B))) || B <- binaries(Copy)].

nothing_to_copy_gives_the_same_term_test() ->
    Term = {[a, <<"b">>, #{c => 1.0}], parent()},
    ?assert(erts_debug:same(Term, warp_compact:term(Term, ?BUDGET))).

what_has_no_cut_stays_shared_test() ->
    Large = lists:seq(1, 1000),
    {Same, _, Same2} = warp_compact:term({Large, cut(0, 100), Large}, ?BUDGET),
    ?assert(erts_debug:same(Large, Same)),
    ?assert(erts_debug:same(Large, Same2)).

%% 2 to the power of 60 leaves.
shared_parts_do_not_explode_test_() ->
    {timeout, 10, fun() ->
        Shared = lists:foldl(fun(_, Acc) -> {Acc, Acc} end, cut(0, 100), lists:seq(1, 60)),
        _ = warp_compact:term(Shared, ?BUDGET),
        Clean = lists:foldl(fun(_, Acc) -> [Acc | Acc] end, 1, lists:seq(1, 60)),
        _ = warp_compact:term(Clean, ?BUDGET)
    end}.

%% The same small part a million times is not copied a million times.
what_is_copied_is_bounded_test() ->
    Part = cut(0, 4000),
    Copy = warp_compact:term(lists:duplicate(1000000, Part), 10000),
    Copied = [B || B <- Copy, kept(B) < 10000],
    ?assert(length(Copied) < 30).

any_term_stays_equal_test_() ->
    {timeout, 60, fun() ->
        _ = rand:seed(exsss, {1, 2, 3}),
        [begin
             Term = random(6),
             ?assert(warp_compact:term(Term, ?BUDGET) =:= Term),
             ?assert(warp_compact:term(Term, rand:uniform(20)) =:= Term)
         end || _ <- lists:seq(1, 2000)]
    end}.

random(0) ->
    case rand:uniform(3) of
        1 -> rand:uniform(1000);
        2 -> binary:copy(<<"x">>, rand:uniform(300));
        3 -> cut(rand:uniform(900), rand:uniform(900))
    end;
random(Depth) ->
    Some = [random(rand:uniform(Depth) - 1) || _ <- lists:seq(1, rand:uniform(4))],
    case rand:uniform(5) of
        1 -> Some;
        2 -> list_to_tuple(Some);
        3 -> maps:from_list([{Key, random(0)} || Key <- Some]);
        4 -> [random(0) | random(0)];
        5 -> random(0)
    end.
