%% Options of a context: each wrong one is named, and nothing is touched.
-module(warp_options_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {seconds, 60}}].
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

all() ->
    [the_required_options_are_enough,
     every_documented_value_is_taken,
     a_missing_option_is_named,
     an_unknown_option_is_named,
     a_wrong_option_is_named,
     a_wrong_aggregate_is_refused,
     a_data_dir_is_made_with_its_parents,
     a_data_dir_may_have_any_name,
     a_data_dir_that_is_a_file_is_an_io_error].

the_required_options_are_enough(Config) ->
    {ok, Ctx} = warp_core:start(required(Config)),
    try
        Alice = warp_core:entity(Ctx, <<"alice">>),
        ?assertEqual({ok, 1}, warp_core:append(Alice, warp_test:incremented())),
        ?assertEqual({ok, 1}, warp_core:get(Alice, <<"Counter">>)),
        ?assertEqual(16, length(warp_test:shard_files(dir(Config))))
    after
        warp_core:stop(Ctx)
    end.

every_documented_value_is_taken(Config) ->
    [begin
         Ctx = warp_test:start((required(Config))#{shards => 1, Key => Value}),
         Alice = warp_core:entity(Ctx, <<"alice">>),
         ?assertMatch({ok, _}, warp_core:append(Alice, warp_test:incremented())),
         warp_test:stop(Ctx)
     end || {Key, Value} <- [{mode, actor}, {mode, read_through},
                             {durability, full}, {durability, normal},
                             {idle_timeout, 1}, {idle_timeout, infinity},
                             {snapshot_every, 1}, {max_pending, 1},
                             {cluster, single_node}, {projections, none}]].

a_missing_option_is_named(Config) ->
    [assert_refused(Config, maps:remove(Key, required(Config)), {missing_option, Key})
     || Key <- [context, data_dir, aggregates]].

an_unknown_option_is_named(Config) ->
    [assert_refused(Config, (required(Config))#{Key => 1}, {unknown_option, Key})
     || Key <- [shard, <<"shards">>, idle_timout]].

a_wrong_option_is_named(Config) ->
    Wrong = [{context, Name} || Name <- [<<>>, test, "test", <<255>>, <<"a/b">>, <<".">>, <<"..">>,
                                         <<"../up">>, <<"a", 0>>, binary:copy(<<"x">>, 300)]]
        ++ [{data_dir, Dir} || Dir <- [<<>>, "", 42, undefined, <<"a", 0, "b">>, {dir}]]
        ++ [{aggregates, Given} || Given <- [none, #{}, [none], <<"Counter">>]]
        ++ [{shards, N} || N <- [0, -1, 1.0, many, 1 bsl 40]]
        ++ [{mode, M} || M <- [actors, <<"actor">>, 1]]
        ++ [{durability, D} || D <- [none, true, <<"full">>]]
        ++ [{snapshot_every, N} || N <- [0, -1, 1.5, never]]
        ++ [{idle_timeout, T} || T <- [-1, 1.5, never]]
        ++ [{max_pending, N} || N <- [0, -1, 1.5, infinity]]
        ++ [{cluster, C} || C <- [nonsense, 1, {clustered, []}, {clustered, #{}}, {clustered, #{seed_nodes => [a]}},
                               {clustered, #{seed_nodes => [<<"a@b">> | c]}}, {clustered, #{bootstrap => 1}}]]
        ++ [{projections, P} || P <- [nonsense, 1]],
    [assert_refused(Config, (required(Config))#{Key => Value}, {bad_option, Key, '_'})
     || {Key, Value} <- Wrong].

a_wrong_aggregate_is_refused(Config) ->
    Good = warp_test:counter(),
    Wrong = [maps:remove(name, Good), maps:remove(initial_state, Good),
             Good#{name => counter}, Good#{name => <<>>}, Good#{name => <<255>>},
             Good#{apply => none}, Good#{apply => fun(_) -> ok end},
             Good#{validate => fun(_) -> ok end}, Good#{migrate => fun() -> ok end},
             Good#{project => fun(_) -> [] end},
             Good#{version => 0}, Good#{version => <<"1">>}, Good#{version => 1.0},
             Good#{aply => fun(S, _) -> S end}],
    [assert_refused(Config, (required(Config))#{aggregates => [warp_test:log(), Bad]},
                    {bad_option, aggregates, '_'}) || Bad <- Wrong],
    assert_refused(Config, (required(Config))#{aggregates => [Good, Good]},
                   {bad_option, aggregates, '_'}).

a_data_dir_is_made_with_its_parents(Config) ->
    Dir = filename:join([dir(Config), "not", "yet", "there"]),
    Ctx = warp_test:start((required(Config))#{data_dir => Dir, shards => 1}),
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"alice">>), warp_test:incremented()),
    ?assert(filelib:is_regular(filename:join([Dir, "test", "shard-0000.db"]))).

a_data_dir_may_have_any_name(Config) ->
    Names = [<<"as binary">>, "as list", <<"Grüße 🦀"/utf8>>, [$G, 252], "quote's \" ?x#y%20"],
    [begin
         Dir = filename:join(dir(Config), Name),
         Opts = (required(Config))#{data_dir => Dir, shards => 1},
         Ctx = warp_test:start(Opts),
         {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"alice">>), warp_test:incremented()),
         Again = warp_test:restart(Ctx),
         ?assertEqual({ok, 1}, warp_core:get(warp_core:entity(Again, <<"alice">>), <<"Counter">>)),
         ?assert(filelib:is_regular(filename:join([Dir, <<"test">>, <<"shard-0000.db">>])))
     end || Name <- Names].

a_data_dir_that_is_a_file_is_an_io_error(Config) ->
    File = filename:join(dir(Config), "file"),
    ok = file:write_file(File, "mine"),
    ?assertMatch({error, {io_error, _}},
                 warp_core:start((required(Config))#{data_dir => File})),
    ?assertEqual({ok, <<"mine">>}, file:read_file(File)).

%% ---------------------------------------------------------------- helpers

dir(Config) -> proplists:get_value(dir, Config).

required(Config) ->
    #{context => <<"test">>, data_dir => dir(Config), aggregates => [warp_test:counter()]}.

assert_refused(Config, Opts, {bad_option, Key, '_'}) ->
    ?assertMatch({_, {error, {bad_option, Key, _}}}, {Opts, warp_core:start(Opts)}),
    assert_untouched(Config);
assert_refused(Config, Opts, Reason) ->
    ?assertEqual({error, Reason}, warp_core:start(Opts)),
    assert_untouched(Config).

assert_untouched(Config) ->
    ?assertEqual({ok, []}, file:list_dir(dir(Config))).
