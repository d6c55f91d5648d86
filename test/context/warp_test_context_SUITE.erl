%% Contexts for tests of users: nothing is left of them.
-module(warp_test_context_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

all() ->
    [a_context_runs_in_a_folder_of_its_own_and_leaves_nothing, several_run_at_the_same_time,
     what_the_function_raises_is_raised_and_nothing_is_left, wrong_options_leave_nothing,
     a_context_of_somebody_else_is_left_alone].

init_per_testcase(_, Config) ->
    Dir = warp_test:new_dir(),
    true = os:putenv("TMPDIR", Dir),
    {ok, _} = application:ensure_all_started(warp_core),
    [{dir, Dir} | Config].

end_per_testcase(_, Config) ->
    true = os:unsetenv("TMPDIR"),
    warp_test:remove_dir(?config(dir, Config)).

a_context_runs_in_a_folder_of_its_own_and_leaves_nothing(Config) ->
    Result = warp_test_context:run(options(), fun(Ctx) ->
        Alice = warp_core:entity(Ctx, <<"alice">>),
        {ok, 1} = warp_core:append(Alice, warp_test:credited(5)),
        ?assertMatch([_], folders(Config)),
        #{shards := Shards} = warp_core:stats(Ctx),
        {length(Shards), warp_core:get(Alice, <<"Account">>)}
    end),
    ?assertMatch({1, {ok, _}}, Result),
    ?assertEqual([], folders(Config)),
    {ok, Ctx} = warp_test_context:start(options()),
    ?assertEqual(ok, warp_test_context:stop(Ctx)),
    ?assertEqual(ok, warp_test_context:stop(Ctx)),
    ?assertEqual([], folders(Config)).

several_run_at_the_same_time(Config) ->
    Seqs = warp_test:parallel(8, fun(_) ->
        warp_test_context:run(options(), fun(Ctx) ->
            warp_core:append(warp_core:entity(Ctx, <<"alice">>), warp_test:credited(5))
        end)
    end),
    ?assertEqual(lists:duplicate(8, {ok, 1}), Seqs),
    ?assertEqual([], folders(Config)).

what_the_function_raises_is_raised_and_nothing_is_left(Config) ->
    ?assertError(broken, warp_test_context:run(options(), fun(_Ctx) -> error(broken) end)),
    ?assertEqual([], folders(Config)).

wrong_options_leave_nothing(Config) ->
    Run = fun(Options) -> warp_test_context:run(Options, fun(_) -> never end) end,
    ?assertEqual({error, {missing_option, aggregates}}, Run(#{})),
    ?assertEqual({error, {bad_option, options, not_a_map}}, Run([])),
    ?assertEqual({error, {unknown_option, data_dir}}, Run((options())#{data_dir => "here"})),
    ?assertEqual([], folders(Config)).

a_context_of_somebody_else_is_left_alone(Config) ->
    {ok, Ctx} = warp_core:start((options())#{context => <<"theirs">>, data_dir => ?config(dir, Config)}),
    ?assertEqual(ok, warp_test_context:stop(Ctx)),
    ?assertEqual({ok, 1}, warp_core:append(warp_core:entity(Ctx, <<"alice">>), warp_test:credited(5))),
    ok = warp_core:stop(Ctx),
    ?assertEqual(["theirs"], folders(Config)).

options() -> #{aggregates => warp_test:aggregates()}.

folders(Config) ->
    {ok, Names} = file:list_dir(?config(dir, Config)),
    Names.
