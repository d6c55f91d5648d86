%% Where shards should be: balanced, with as few moves as there can be, and the same for ever.
-module(warp_cluster_ring_tests).

-include_lib("eunit/include/eunit.hrl").

-define(NAMES, [<<"a">>, <<"b">>, <<"c">>, <<"d">>, <<"e">>, <<"f">>, <<"g">>]).

%% ------------------------------------------------------------------ Any owners, any members

any_plan_test_() ->
    {timeout, 600, fun() ->
        ?assert(proper:quickcheck(proper:forall(
            {members(), owners(), proper_types:range(1, 40), seed()},
            fun({Members, Owners, Shards, Seed}) ->
                Plan = warp_cluster_ring:plan(Members, Owners, Shards),
                lists:sort(maps:keys(Plan)) =:= lists:seq(0, Shards - 1)
                    andalso is_balanced(Members, Plan, Shards)
                    andalso moved(Owners, Plan, Shards) =:= fewest(Members, Owners, Shards)
                    andalso moves(Members, Owners, Shards) =:= moved_of(Owners, Plan)
                    andalso warp_cluster_ring:plan(shuffled(Members, Seed), Owners, Shards) =:= Plan
                    andalso is_kept(shuffled(moves(Members, Owners, Shards), Seed), Members, Owners, Plan, Shards)
            end), [{numtests, tests()}, {to_file, user}]))
    end}.

tests() ->
    case os:getenv("WARP_LONG") of false -> 3000; _ -> 100000 end.

%% Nodes that joined and left one after the other, each of which was planned anew when the moves were done.
joins_and_leaves_test_() ->
    {timeout, 600, fun() ->
        ?assert(proper:quickcheck(proper:forall(
            {members(), proper_types:range(1, 40), proper_types:list(proper_types:oneof(?NAMES))},
            fun({Some, Shards, Changes}) ->
                Members = lists:usort(Some),
                {_, _, Right} = lists:foldl(fun change/2,
                                            {Members, warp_cluster_ring:plan(Members, #{}, Shards), true}, Changes),
                Right
            end), [{numtests, tests()}, {to_file, user}]))
    end}.

change(Name, {[Name], Owners, Right}) ->
    {[Name], Owners, Right};
change(Name, {Members, Owners, Right}) ->
    Shards = map_size(Owners),
    case lists:member(Name, Members) of
        true ->
            Left = lists:delete(Name, Members),
            Moves = warp_cluster_ring:moves(Left, Owners, Shards),
            Own = lists:sort([N || {N, Owner} <- maps:to_list(Owners), Owner =:= Name]),
            {Left, done(Moves, Owners), Right andalso [N || {N, _, _} <- Moves] =:= Own};
        false ->
            More = [Name | Members],
            Moves = warp_cluster_ring:moves(More, Owners, Shards),
            Share = length(Moves),
            {More, done(Moves, Owners),
             Right andalso lists:all(fun({_, _, To}) -> To =:= Name end, Moves)
                 andalso (Share =:= Shards div length(More) orelse Share =:= -(-Shards div length(More)))}
    end.

done(Moves, Owners) ->
    lists:foldl(fun({N, From, To}, Acc) -> #{N := From} = Acc, Acc#{N := To} end, Owners, Moves).

members() ->
    proper_types:non_empty(proper_types:list(proper_types:oneof(?NAMES))).

%% Some shards have no owner, some have one that is no member, and some do not exist. Often a few have most of them.
owners() ->
    Few = lists:sublist(?NAMES, 2),
    proper_types:oneof([owners(?NAMES), owners(Few)]).

owners(Names) ->
    Pairs = proper_types:list({proper_types:range(0, 45), proper_types:oneof(Names)}),
    proper_types:bind(Pairs, fun maps:from_list/1, false).

seed() -> proper_types:range(1, 1000000).

shuffled(List, Seed) ->
    [E || {_, E} <- lists:sort([{erlang:phash2({Seed, E}), E} || E <- List])].

is_balanced(Members, Plan, Shards) ->
    Names = lists:usort(Members),
    Floor = Shards div length(Names),
    Counts = [length([N || {N, Name} <- maps:to_list(Plan), Name =:= Each]) || Each <- Names],
    lists:sum(Counts) =:= Shards
        andalso lists:all(fun(Count) -> Count =:= Floor orelse Count =:= Floor + 1 end, Counts).

moved(Owners, Plan, Shards) ->
    length([N || N <- lists:seq(0, Shards - 1), is_map_key(N, Owners), maps:get(N, Owners) =/= maps:get(N, Plan)]).

moved_of(Owners, Plan) ->
    lists:sort([{N, maps:get(N, Owners), To} || {N, To} <- maps:to_list(Plan), is_map_key(N, Owners),
                                                maps:get(N, Owners) =/= To]).

moves(Members, Owners, Shards) -> warp_cluster_ring:moves(Members, Owners, Shards).

%% The members with most shards may keep most; what is above that has to move, and all of those that leave.
fewest(Members, Owners, Shards) ->
    Names = lists:usort(Members),
    Here = [Owner || {N, Owner} <- maps:to_list(Owners), N < Shards],
    Counts = lists:reverse(lists:sort([length([1 || Owner <- Here, Owner =:= Name]) || Name <- Names])),
    Floor = Shards div length(Names),
    More = Shards rem length(Names),
    Quotas = lists:duplicate(More, Floor + 1) ++ lists:duplicate(length(Names) - More, Floor),
    length([1 || Owner <- Here, not lists:member(Owner, Names)])
        + lists:sum([max(0, Count - Quota) || {Count, Quota} <- lists:zip(Counts, Quotas)]).

%% Whichever of the moves are done, and in whatever order, the plan for the rest stays as it was.
is_kept([], Members, Owners, _Plan, Shards) ->
    moves(Members, Owners, Shards) =:= [];
is_kept([{N, _, To} | Rest], Members, Owners, Plan, Shards) ->
    Next = Owners#{N := To},
    moves(Members, Next, Shards) =:= lists:sort(Rest)
        andalso warp_cluster_ring:plan(Members, Next, Shards) =:= Plan
        andalso is_kept(Rest, Members, Next, Plan, Shards).

%% ------------------------------------------------------------------ Single cases

without_members_nothing_is_planned_test() ->
    ?assertEqual(#{}, warp_cluster_ring:plan([], #{0 => a}, 3)),
    ?assertEqual([], warp_cluster_ring:moves([], #{0 => a}, 3)).

a_shard_without_an_owner_is_in_no_move_test() ->
    ?assertMatch(#{0 := _, 1 := _}, warp_cluster_ring:plan([a, b], #{}, 2)),
    ?assertEqual([], warp_cluster_ring:moves([a, b], #{}, 2)).

an_atom_is_the_same_member_as_its_text_test() ->
    Atoms = warp_cluster_ring:plan([a, b, c], #{0 => <<"a">>, 1 => gone}, 16),
    Texts = warp_cluster_ring:plan([<<"c">>, <<"b">>, <<"a">>], #{0 => a, 1 => <<"gone">>}, 16),
    ?assertEqual(Texts, maps:map(fun(_, Member) -> atom_to_binary(Member) end, Atoms)).

%% A member that is named twice has no second share.
a_member_counts_once_test() ->
    ?assertEqual(warp_cluster_ring:plan([a, b], #{}, 8), warp_cluster_ring:plan([b, a, b, a], #{}, 8)).

many_shards_on_many_nodes_are_planned_soon_test() ->
    Members = [<<"node-", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 50)],
    {Micros, Plan} = timer:tc(fun() -> warp_cluster_ring:plan(Members, #{}, 4096) end),
    ?assert(is_balanced(Members, Plan, 4096)),
    ?assert(Micros < 3000000, Micros).

%% ------------------------------------------------------------------ Results that may never change

%% Nodes of two versions must not plan differently. Each plan follows from the one before it.
kept_plans_test_() ->
    [{File, fun() ->
         {ok, Plans} = file:consult(filename:join([warp_fault_vm:root(), "test/fixtures/ring", File])),
         ?assertEqual([3, 4, 5, 4], [length(Nodes) || {Nodes, _} <- Plans]),
         lists:foldl(
             fun({Nodes, Plan}, Owners) ->
                 ?assertEqual(Plan, lists:sort(maps:to_list(warp_cluster_ring:plan(Nodes, Owners, Shards)))),
                 maps:from_list(Plan)
             end, #{}, Plans)
     end} || {File, Shards} <- [{"16.term", 16}, {"128.term", 128}]].
