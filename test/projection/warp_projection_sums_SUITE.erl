%% Counters at the edges of numbers: past 64 bits, past the largest float, and what is left of a sum
%% when an entity is deleted.
-module(warp_projection_sums_SUITE).

-export([all/0, suite/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([past_64_bits/1, any_order_gives_the_same/1, past_the_largest_float/1, what_is_no_number/1,
         set_and_counted/1, refused_by_a_check/1, refused_by_a_key/1, shares_of_an_earlier_version/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_projection_test, [start/2, start/3, rows/2, await/1, await_all/1, dump/1, even/1]).

-define(BIG, (1 bsl 63)).
-define(MAX_FLOAT, 1.7976931348623157e308).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, embedded}, {group, rqlite}].

groups() ->
    warp_projection_test:groups(
        [past_64_bits, any_order_gives_the_same, past_the_largest_float, what_is_no_number, set_and_counted,
         refused_by_a_check, refused_by_a_key, shares_of_an_earlier_version]).

init_per_group(Group, Config) -> warp_projection_test:init_group(Group, Config).
end_per_group(_Group, Config) -> warp_projection_test:end_group(Config).
init_per_testcase(_Case, Config) -> warp_projection_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_projection_test:end_case(Config).

start(Config) -> start(Config, [warp_projection_test:commands()]).

does(Ctx, Id, Commands) ->
    Entity = warp_core:entity(Ctx, Id),
    {ok, _} = warp_core:append(Entity, warp_projection_test:does(Commands)),
    Entity.

adds(Ctx, Id, N) -> does(Ctx, Id, [warp_projection:increment(t, <<"r">>, #{n => N})]).
delete(Ctx, Id) -> ?assertEqual(ok, warp_core:delete(warp_core:entity(Ctx, Id))).

n(Ctx) ->
    case rows(Ctx, "SELECT n FROM t WHERE id = 'r'") of
        [[N]] -> N;
        [] -> none
    end.

rebuilt(Ctx) ->
    ok = warp_projection:rebuild(Ctx),
    ?assert(lists:member(warp_projection:await_rebuild(Ctx, 60000), [ok, {error, not_running}])),
    even(Ctx).

past_64_bits(Config) ->
    Ctx = start(Config),
    Expect = fun(N) ->
        ?assertEqual({ok, []}, warp_projection:set_aside(Ctx)),
        ?assert(N =:= n(Ctx))
    end,
    Steps = [{<<"a">>, ?BIG - 1, ?BIG - 1}, {<<"a">>, 1, float(?BIG)}, {<<"b">>, -1, ?BIG - 1},
             {<<"a">>, ?BIG - 1, float(2 * ?BIG)}, {<<"b">>, -?BIG, ?BIG - 2}, {<<"b">>, -?BIG, -2},
             {<<"b">>, -?BIG, float(-?BIG)}, {<<"c">>, 0.5, float(-?BIG)}, {<<"b">>, ?BIG - 1, -2.5}],
    lists:foreach(
        fun({Id, N, Sum}) ->
            await(adds(Ctx, Id, N)),
            Expect(Sum)
        end,
        Steps),
    rebuilt(Ctx),
    Expect(-2.5),
    %% What is left is exact: a has 2^64 - 1, b has -2^64 - 2.
    delete(Ctx, <<"c">>),
    Expect(-3),
    delete(Ctx, <<"a">>),
    Expect(float(-2 * ?BIG)),
    delete(Ctx, <<"b">>),
    Expect(none).

%% The same shares have the same sum, however increments are merged and whichever entity is deleted.
any_order_gives_the_same(Config) ->
    Ctx = start(Config),
    Edges = [?BIG - 1, -?BIG, 1, -1, 2, 1 bsl 62, -(1 bsl 62), 1 bsl 32, -(1 bsl 32), 4294967295, 7, 0],
    Ids = [<<"e", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 5)],
    Rounds = case ?config(target, Config) of embedded -> 60; rqlite -> 15 end,
    lists:foldl(
        fun(Round, Shares) ->
            {Next, Entities} = lists:mapfoldl(
                fun(_, Es) ->
                    Id = lists:nth(rand:uniform(5), Ids),
                    N = lists:nth(rand:uniform(length(Edges)), Edges),
                    {{Id, N}, [adds(Ctx, Id, N) | Es]}
                end,
                [],
                lists:seq(1, rand:uniform(6))),
            await_all(Entities),
            All = lists:foldl(fun({Id, N}, Acc) -> maps:update_with(Id, fun(S) -> S + N end, N, Acc) end, Shares, Next),
            same(sum(All), n(Ctx)),
            Left =
                case Round rem 4 of
                    0 ->
                        Gone = lists:nth(rand:uniform(5), Ids),
                        delete(Ctx, Gone),
                        maps:remove(Gone, All);
                    _ -> All
                end,
            same(sum(Left), n(Ctx)),
            case Round rem 15 of
                0 ->
                    Before = dump(Ctx),
                    rebuilt(Ctx),
                    ?assertEqual(Before, dump(Ctx));
                _ -> ok
            end,
            Left
        end,
        #{},
        lists:seq(1, Rounds)),
    ?assertEqual({ok, []}, warp_projection:set_aside(Ctx)).

sum(Shares) when map_size(Shares) =:= 0 -> none;
sum(Shares) ->
    case lists:sum(maps:values(Shares)) of
        Sum when Sum >= -?BIG, Sum < ?BIG -> Sum;
        Sum -> float(Sum)
    end.

same(Sum, Found) when is_float(Sum), is_float(Found) -> ?assert(abs(Sum - Found) =< abs(Sum) * 2.3e-16);
same(Sum, Found) -> ?assert(Sum =:= Found).

past_the_largest_float(Config) ->
    Ctx = start(Config),
    %% Two of one entity in one batch, and others by themselves.
    await(does(Ctx, <<"a">>, [warp_projection:increment(t, <<"r">>, #{n => N}) || N <- [1.5e308, 1.5e308]])),
    ?assertEqual(?MAX_FLOAT, n(Ctx)),
    await(adds(Ctx, <<"b">>, 1.5e308)),
    ?assertEqual(?MAX_FLOAT, n(Ctx)),
    await(adds(Ctx, <<"c">>, -1.0e308)),
    ?assertEqual(?MAX_FLOAT, n(Ctx)),
    ?assertEqual([[3]], rows(Ctx, "SELECT count(*) FROM _warp_counts WHERE abs(amount) < 9e999")),
    delete(Ctx, <<"a">>),
    ?assertEqual(0.5e308, n(Ctx)),
    delete(Ctx, <<"b">>),
    ?assertEqual(-1.0e308, n(Ctx)),
    rebuilt(Ctx),
    ?assertEqual(-1.0e308, n(Ctx)),
    %% A value that is set, and counted on in the same batch.
    await(does(Ctx, <<"d">>, [warp_projection:upsert(t, <<"s">>, #{n => 1.5e308}),
                              warp_projection:increment(t, <<"s">>, #{n => 1.5e308})])),
    ?assertEqual([[?MAX_FLOAT]], rows(Ctx, "SELECT n FROM t WHERE id = 's'")),
    ?assertEqual({ok, []}, warp_projection:set_aside(Ctx)).

what_is_no_number(Config) ->
    Ctx = start(Config),
    await(does(Ctx, <<"o">>, [warp_projection:upsert(t, <<"r">>, #{n => <<"12">>})])),
    await(adds(Ctx, <<"a">>, 5)),
    ?assertEqual(5, n(Ctx)),
    delete(Ctx, <<"a">>),
    ?assertEqual(null, n(Ctx)).

set_and_counted(Config) ->
    Ctx = start(Config),
    Set = fun(N) -> warp_projection:upsert(t, <<"r">>, #{n => N}) end,
    Add = fun(N) -> warp_projection:increment(t, <<"r">>, #{n => N}) end,
    Cases = [{[Set(?BIG - 1), Add(1), Add(-1)], ?BIG - 1}, {[Set(?BIG - 1), Add(1)], float(?BIG)},
             {[Set(5), Add(?BIG - 1), Add(-7)], ?BIG - 3}, {[Set(1), Add(?BIG - 1), Set(3), Add(1)], 4},
             {[Add(?BIG - 1), Add(?BIG - 1), Set(7)], 7}, {[Set(-?BIG), Add(-1), Add(2)], 1 - ?BIG}],
    lists:foreach(
        fun({Commands, Sum}) ->
            %% Together, and each by itself.
            await(does(Ctx, <<"o">>, Commands)),
            ?assert(Sum =:= n(Ctx)),
            delete(Ctx, <<"o">>),
            [await(does(Ctx, <<"o">>, [Command])) || Command <- Commands],
            ?assert(Sum =:= n(Ctx)),
            rebuilt(Ctx),
            ?assert(Sum =:= n(Ctx)),
            delete(Ctx, <<"o">>),
            ?assertEqual(none, n(Ctx))
        end,
        Cases).

declared(Config, Table) ->
    start(Config, [warp_projection_test:commands()],
          #{projections => warp_projection_test:projections(Config, #{tables => #{t => Table}})}).

%% What is left without b is no integer of 64 bits any more.
refused_by_a_check(Config) ->
    Ctx = declared(Config, #{columns => #{n => integer, m => integer}}),
    Add = fun(Id, N) -> does(Ctx, Id, [warp_projection:increment(t, <<"r">>, #{n => N, m => 1})]) end,
    [await(Add(Id, N)) || {Id, N} <- [{<<"a">>, ?BIG - 1}, {<<"b">>, -5}, {<<"c">>, 5}]],
    ?assertEqual([[?BIG - 1, 3]], rows(Ctx, "SELECT n, m FROM t")),
    %% Others at the same time, which nothing refuses.
    Others = [does(Ctx, Id, [warp_projection:increment(t, Id, #{n => 1}),
                             warp_projection:increment(t, <<"s">>, #{n => 1})]) || Id <- [<<"x">>, <<"y">>]],
    await_all(Others),
    Gone = [warp_core:entity(Ctx, <<"b">>) | Others],
    ?assertEqual([ok, ok, ok], warp_test:parallel([fun() -> warp_core:delete(E) end || E <- Gone])),
    ?assertEqual([[<<"r">>, null]], rows(Ctx, "SELECT id, n FROM t")),
    ?assertEqual([[0]], rows(Ctx, "SELECT count(*) FROM _warp_counts WHERE entity = 'b'")),
    %% The next increment brings the sum back.
    await(Add(<<"c">>, -6)),
    ?assertEqual([[?BIG - 2, 3]], rows(Ctx, "SELECT n, m FROM t")),
    Before = dump(Ctx),
    rebuilt(Ctx),
    ?assertEqual(Before, dump(Ctx)).

%% Two rows that may not have the same sum would have.
refused_by_a_key(Config) ->
    Ctx = declared(Config, #{columns => #{n => integer, x => text}, keys => [[n]]}),
    Add = fun(Id, Row, N) -> does(Ctx, Id, [warp_projection:increment(t, Row, #{n => N})]) end,
    await(does(Ctx, <<"b">>, [warp_projection:upsert(t, <<"r">>, #{x => <<"secret">>})])),
    [await(Add(Id, Row, N)) || {Id, Row, N} <- [{<<"a">>, <<"r">>, 5}, {<<"b">>, <<"r">>, 1}, {<<"a">>, <<"s">>, 5},
                                               {<<"b">>, <<"v">>, 3}, {<<"a">>, <<"v">>, 4}]],
    delete(Ctx, <<"b">>),
    ?assertEqual([[<<"r">>, <<>>, null, null], [<<"s">>, <<>>, 5, null], [<<"v">>, <<>>, 4, null]],
                 rows(Ctx, "SELECT id, _entity, n, x FROM t ORDER BY id")),
    await(Add(<<"a">>, <<"r">>, 1)),
    ?assertEqual([[6]], rows(Ctx, "SELECT n FROM t WHERE id = 'r'")).

shares_of_an_earlier_version(Config) ->
    Ctx = start(Config),
    await(adds(Ctx, <<"a">>, ?BIG - 1)),
    {ok, Context} = warp_context:find(Ctx),
    {ok, {Module, Target}} = warp_projection_table:target(Context),
    ok = Module:execute(Target, [{<<"ALTER TABLE _warp_counts DROP COLUMN high">>, [[]]}]),
    Again = warp_test:restart(Ctx),
    await(adds(Again, <<"a">>, 2)),
    await(adds(Again, <<"b">>, -3)),
    ?assertEqual(?BIG - 2, n(Again)),
    Once = warp_test:restart(Again),
    delete(Once, <<"b">>),
    ?assertEqual(float(?BIG), n(Once)).
