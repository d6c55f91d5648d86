%% Arguments of projections at their limits and beyond, and values that no result can hold.
-module(warp_projection_limits_SUITE).

-export([all/0, suite/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([timeouts/1, others/1, who_gives_up_is_not_kept/1, infinite_values/1,
         payloads_of_many_keys/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_projection_test, [start/2, await/1]).

-define(MAX_MS, 16#FFFFFFFF).
-define(BAD, [-1, ?MAX_MS + 1, 1 bsl 33, 1 bsl 64, 1.0, soon, <<"5">>, undefined]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [{group, embedded}, {group, rqlite}].

groups() -> warp_projection_test:groups([timeouts, others, who_gives_up_is_not_kept, infinite_values,
                                   payloads_of_many_keys]).

init_per_group(Group, Config) -> warp_projection_test:init_group(Group, Config).
end_per_group(_Group, Config) -> warp_projection_test:end_group(Config).
init_per_testcase(_Case, Config) -> warp_projection_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_projection_test:end_case(Config).

shop(Config) ->
    Ctx = start(Config, [warp_projection_test:shop()]),
    Entity = warp_core:entity(Ctx, <<"o">>),
    {ok, _} = warp_core:append(Entity, warp_projection_test:placed(1)),
    await(Entity),
    {Ctx, Entity}.

timeouts(Config) ->
    {Ctx, Entity} = shop(Config),
    Query = fun(Ms) -> warp_core:query(Ctx, "SELECT id FROM orders", [], #{timeout => Ms}) end,
    Refused = {error, {bad_option, timeout, {not_an_integer_between, 0, ?MAX_MS}}},
    [begin
         ?assertEqual(Refused, warp_core:await_projection(Entity, Bad)),
         ?assertEqual(Refused, warp_projection:await_rebuild(Ctx, Bad)),
         ?assertEqual({error, {bad_option, timeout, {not_an_integer_between, 1, ?MAX_MS}}}, Query(Bad))
     end || Bad <- ?BAD],
    ?assertMatch({error, {bad_option, timeout, _}}, Query(0)),
    ?assertMatch({error, {bad_option, timeout, _}}, Query(infinity)),
    [begin
         ?assertEqual(ok, warp_core:await_projection(Entity, Good)),
         ?assertEqual({error, not_running}, warp_projection:await_rebuild(Ctx, Good))
     end || Good <- [infinity, ?MAX_MS, ?MAX_MS - 1, 10000]],
    [?assertEqual({ok, #{columns => [<<"id">>], rows => [[<<"o">>]]}}, Query(Good))
     || Good <- [?MAX_MS, ?MAX_MS - 400, ?MAX_MS - 1000, ?MAX_MS - 6000, 5000]],
    ?assert(lists:member(warp_core:await_projection(Entity, 0), [ok, {error, timeout}])),
    ?assert(lists:member(warp_projection:await_rebuild(Ctx, 0), [{error, not_running}, {error, timeout}])).

others(Config) ->
    {Ctx, _} = shop(Config),
    [?assertMatch({error, {bad_option, limit, {not_an_integer_between, 1, _}}}, warp_projection:set_aside(Ctx, Bad))
     || Bad <- [0, -1, 1 bsl 62, 1 bsl 70, 1.0, all]],
    [?assertEqual({ok, []}, warp_projection:set_aside(Ctx, Good)) || Good <- [1, 1 bsl 62 - 1]],
    [?assertMatch({error, {bad_option, max_rows, {not_an_integer_between, 1, _}}},
                  warp_core:query(Ctx, "SELECT 1", [], #{max_rows => Bad})) || Bad <- [0, 1 bsl 62, infinity]],
    ?assertMatch({ok, _}, warp_core:query(Ctx, "SELECT 1", [], #{max_rows => 1 bsl 62 - 1})).

%% Callers that waited for a rebuild for a moment leave nothing behind.
who_gives_up_is_not_kept(Config) ->
    Gate = atomics:new(1, []),
    Held = #{name => <<"Held">>, initial_state => none, project => fun(_, _, _) -> held(Gate) end},
    Ctx = warp_projection_test:start(Config, [Held], #{shards => 1}),
    %% So many that the second set of tables is not close while it gets nowhere.
    Entities = warp_test:parallel(8, fun(N) ->
        Entity = warp_core:entity(Ctx, <<"e", (integer_to_binary(N))/binary>>),
        [{ok, _} = warp_core:append(Entity, #{type => <<"T">>, payload => #{}}) || _ <- lists:seq(1, 700)],
        Entity
    end),
    warp_projection_test:await_all(Entities),
    ok = atomics:put(Gate, 1, 1),
    ok = warp_projection:rebuild(Ctx),
    {ok, Context} = warp_context:find(Ctx),
    {ok, Manager} = warp_projection_table:process(Context, manager),
    GiveUp = fun() ->
        [?assertEqual({error, timeout}, warp_projection:await_rebuild(Ctx, 1)) || _ <- lists:seq(1, 100)],
        erts_debug:flat_size(sys:get_state(Manager))
    end,
    Words = GiveUp(),
    ?assert(GiveUp() < Words + 500),
    ok = atomics:put(Gate, 1, 0),
    ?assertEqual(ok, warp_projection:await_rebuild(Ctx, 60000)).

held(Gate) ->
    case atomics:get(Gate, 1) of
        0 -> [];
        _ -> timer:sleep(10), held(Gate)
    end.

infinite_values(Config) ->
    {Ctx, _} = shop(Config),
    [begin
         {error, {sql_error, Message}} = warp_core:query(Ctx, Sql, []),
         [?assertNotEqual({Word, nomatch}, {Word, binary:match(Message, Word)})
          || Word <- [<<"(", Column/binary, ")">>, <<" is infinite, which no Erlang float can be">>]]
     end
     || {Sql, Column} <- [{"SELECT 1e999", <<"1e999">>}, {"SELECT 1 AS a, 2.5 AS b, -9e999 AS c", <<"c">>},
                          {"SELECT id AS i, 1e308 * 10 AS x FROM orders", <<"x">>},
                          {"SELECT 1.5 AS v UNION ALL SELECT 9e999", <<"v">>}]],
    ?assertEqual({ok, #{columns => [<<"a">>, <<"b">>, <<"c">>], rows => [[1.7976931348623157e308, <<"~">>, null]]}},
                 warp_core:query(Ctx, "SELECT 1.7976931348623157e308 AS a, '~' AS b, 9e999 - 9e999 AS c", [])).

%% OTP makes a map of more than 32 keys in another way than a small one.
payloads_of_many_keys(Config) ->
    {Ctx, Entity} = shop(Config),
    Event = #{payload := Payload} = warp_projection_test:placed(2),
    [begin
         Many = maps:merge(Payload, maps:from_keys([integer_to_binary(N) || N <- lists:seq(1, Keys)], 1)),
         {ok, Seq} = warp_core:append(Entity, Event#{payload => Many}),
         await(Entity),
         Total = 1 + 2 * (Seq - 1),
         ?assertEqual({Keys, {ok, #{columns => [<<"total">>], rows => [[Total]]}}},
                      {Keys, warp_core:query(Ctx, "SELECT total FROM orders", [])}),
         ok = warp_test:passivate(Entity),
         {ok, [#{payload := Read}]} = warp_core:history(Entity, #{direction => backward, limit => 1}),
         ?assertEqual(Keys + 2, map_size(Read))
     end || Keys <- [31, 33, 1000, 20000]].
