%% What a batch comes to, and what the writer knows of the target before and after it.
-module(warp_projection_batch_tests).

-include_lib("eunit/include/eunit.hrl").

%% Two shards, the second at turn 7, with a table `t' that has a column `a'; and perhaps a rebuild.
catalog(Building) ->
    warp_projection_catalog:new(
        #{<<"generation">> => 3, <<"version">> => <<"A=1">>, <<"building_version">> => <<"A=2">>,
          <<"rebuild">> => case Building of [] -> <<"none">>; _ -> <<"running">> end, <<"layout">> => 8},
        [[0, 0, 0, 0, 0, 0], [0, 1, 100, 7, 55, 90]] ++ Building,
        [[0, 1, 2]],
        [[0, 0, 0], [1, 4, 2]],
        #{live => [[<<"t">>, <<"id">>, <<"any">>, 0], [<<"t">>, <<"a">>, <<"text">>, 0]], building => []}).

catalog() -> catalog([]).

batch(Changes) ->
    maps:merge(#{shard => 1, epoch => 4, generation => 3, turn => 7, position => 120, run => 2, events => 5,
                 work => none, aside => [], clear => [], skip => [], mark => 66}, Changes).

sequence(Ops) ->
    #{work => warp_projection_merge:work(one_by_one, [{<<"e">>, 3, [Op]} || Op <- Ops])}.

upsert(Table) -> {upsert, Table, <<"r">>, #{<<"a">> => {text, <<"x">>}}}.

origins(Statements) -> [Origin || {Origin, _} <- Statements].

the_guards_come_first_test() ->
    {ok, [{guard, {First, [[1, 4, 8]]}}, {guard, {Sql, [[1, 7, 66, 120, 5]]}}], After} =
        warp_projection_batch:statements(batch(#{}), catalog()),
    ?assertMatch({0, _}, binary:match(First, <<"UPDATE _warp_writers">>)),
    ?assertMatch({0, _}, binary:match(Sql, <<"UPDATE _warp_checkpoints">>)),
    ?assertEqual({ok, #{turn => 8, mark => 66, position => 120, run => 2, events => 95}},
                 warp_projection_catalog:checkpoint(live, 1, After)),
    %% Of the other shard nothing changes.
    ?assertEqual(warp_projection_catalog:checkpoint(live, 0, catalog()),
                 warp_projection_catalog:checkpoint(live, 0, After)).

another_run_is_noted_test() ->
    {ok, Statements, _} = warp_projection_batch:statements(batch(#{run => 3}), catalog()),
    ?assertMatch([{guard, _}, {guard, _}, {unknown, {_, [[1, 3]]}}], Statements).

each_statement_knows_its_event_test() ->
    {ok, Statements, After} =
        warp_projection_batch:statements(batch(sequence([upsert(<<"t">>), upsert(<<"new">>)])), catalog()),
    %% One statement notes the change, and four make the table and its column, and note both.
    ?assertEqual([guard, guard] ++ lists:duplicate(6, unknown) ++ [1, 2], origins(Statements)),
    ?assertEqual([<<"new">>, <<"t">>], warp_projection_catalog:tables(After)),
    ?assertEqual([guard, unknown, 1, 2, unknown],
                 [warp_projection_batch:origin(N, Statements) || N <- [2, 3, 9, 10, 0]]),
    %% The table is there now.
    {ok, Again, _} = warp_projection_batch:statements(batch((sequence([upsert(<<"new">>)]))#{turn => 8}), After),
    ?assertEqual([guard, guard, 1], origins(Again)).

notes_come_last_test() ->
    Aside = [<<"e">>, 1, 120, 3, <<"A">>, <<"T">>, <<"why">>, 0],
    Changes = (sequence([upsert(<<"t">>)]))#{aside => [Aside], clear => [{<<"f">>, done}], skip => [{<<"g">>, 4}]},
    {ok, Statements, _} = warp_projection_batch:statements(batch(Changes), catalog()),
    ?assertMatch([{guard, _}, {guard, _}, {1, _}, {unknown, {_, [Aside]}}, {unknown, {_, [[<<"f">>]]}},
                  {unknown, {_, [[<<"g">>, 4, 1]]}}], Statements).

the_impossible_is_an_event_s_test() ->
    Counting = {increment, <<"t">>, <<"r">>, #{<<"n">> => 1}},
    Text = {upsert, <<"t">>, <<"r">>, #{<<"n">> => {text, <<"x">>}}},
    ?assertEqual({impossible, 2, {counted_column, <<"t">>, <<"n">>, not_a_number}},
                 warp_projection_batch:statements(batch(sequence([Counting, Text])), catalog())).

whose_turn_it_is_test() ->
    Turn = fun(Changes, Catalog) -> warp_projection_catalog:turn(batch(Changes), Catalog) end,
    {ok, _, After} = warp_projection_batch:statements(batch(#{}), catalog()),
    ?assertEqual(next, Turn(#{}, catalog())),
    ?assertEqual(written, Turn(#{}, After)),
    %% Another one has had the same turn.
    ?assertEqual(stale, Turn(#{mark => 67}, After)),
    ?assertEqual(stale, Turn(#{turn => 6}, catalog())),
    ?assertEqual([stale, stale], [Turn(#{generation => G}, catalog()) || G <- [2, 4]]).

both_sets_of_tables_test() ->
    Both = catalog([[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]]),
    ?assertEqual([live, building], warp_projection_catalog:sets(Both)),
    ?assertEqual([{ok, live}, {ok, building}, stale, stale],
                 [warp_projection_catalog:set(G, Both) || G <- [3, 4, 5, 2]]),
    {ok, [{guard, _}, {guard, _}, {unknown, _}, {unknown, _} | Statements], After} =
        warp_projection_batch:statements(batch((sequence([upsert(<<"t">>)]))#{generation => 4, turn => 0}), Both),
    %% The table is made for the rebuild, beside the one that is queried.
    ?assertMatch([{unknown, {<<"CREATE TABLE \"_warp_new_t\"", _/binary>>, [[]]}} | _], Statements),
    ?assertMatch({ok, #{turn := 7}}, warp_projection_catalog:checkpoint(live, 1, After)),
    ?assertMatch({ok, #{turn := 1}}, warp_projection_catalog:checkpoint(building, 1, After)).

%% A node that had the shard before writes no more, and the first write at an epoch says so.
epochs_test() ->
    ?assertEqual([next, next, stale],
                 [warp_projection_catalog:turn(batch(#{epoch => E}), catalog()) || E <- [5, 4, 3]]),
    {ok, Statements, After} = warp_projection_batch:statements(batch(#{epoch => 5}), catalog()),
    ?assertMatch([{guard, {<<"UPDATE _warp_writers", _/binary>>, [[1, 5, 8]]}}, {guard, _}], Statements),
    ?assertEqual({0, 5}, {warp_projection_catalog:epoch(0, After), warp_projection_catalog:epoch(1, After)}),
    %% What was written is written, whoever has written since.
    ?assertEqual(written, warp_projection_catalog:turn(batch(#{}), After)).

%% Who changes tables says so, and what is written next knows it.
layout_test() ->
    {ok, _, After} = warp_projection_batch:statements(batch(sequence([upsert(<<"u">>)])), catalog()),
    ?assertEqual(9, warp_projection_catalog:layout(After)),
    {ok, [{guard, {_, [[1, 4, 9]]}} | _], Then} =
        warp_projection_batch:statements(batch((sequence([upsert(<<"u">>)]))#{turn => 8}), After),
    ?assertEqual(9, warp_projection_catalog:layout(Then)).

%% A rebuild goes on with its tables when the same version of the aggregates made them.
rebuild_steps_test() ->
    Settings = fun(Version) -> #{context => #{shards => 2}, declared => #{}, version => Version} end,
    Running = catalog([[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]]),
    Steps = fun(Step, Version, Catalog) -> warp_projection_sql_rebuild:statements(Step, Settings(Version), Catalog) end,
    ?assertMatch([{_, [[8]]}, {_, [[<<"rebuild">>, <<"running">>]]}], Steps(start, <<"A=2">>, Running)),
    ?assertEqual(Steps(restart, <<"A=3">>, Running), Steps(start, <<"A=3">>, Running)),
    ?assertEqual(Steps(restart, <<"A=2">>, catalog()), Steps(start, <<"A=2">>, catalog())),
    ?assertMatch([{_, [[8]]}, {_, [[<<"rebuild">>, <<"cancelled">>]]}], Steps(cancel, <<"A=2">>, Running)),
    ?assertMatch([{_, [[8]]}, {_, [[3]]}, {<<"DROP TABLE \"t\"">>, [[]]} | _], Steps(swap, <<"A=2">>, Running)).
