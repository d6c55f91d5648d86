%% A native library that is missing, and one that is there when its module is loaded again. Each in a VM of its own.
-module(warp_nif_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [a_missing_library_is_an_error_that_says_what_to_do,
     a_module_that_is_loaded_again_keeps_its_library].

init_per_testcase(Case, Config) ->
    Env = case Case of
              a_missing_library_is_an_error_that_says_what_to_do -> [{"WARP_NIF", "/nowhere/warp_nif"}];
              _ -> []
          end,
    [{vm, warp_fault_vm:start(#{env => Env})}, {dir, warp_test:new_dir()} | Config].

end_per_testcase(_Case, Config) ->
    warp_fault_vm:stop(proplists:get_value(vm, Config)),
    warp_test:remove_dir(proplists:get_value(dir, Config)).

a_missing_library_is_an_error_that_says_what_to_do(Config) ->
    Dir = proplists:get_value(dir, Config),
    Options = #{context => <<"bank">>, data_dir => Dir, aggregates => warp_test:aggregates()},
    in_vm(Config, fun() ->
        Said = [warp_core:start(Options), warp_core:start_link(Options), warp_core:verify(Dir)],
        [begin
             ?assertMatch({error, {nif_not_loaded, <<_/binary>>}}, Error),
             {error, Reason} = Error,
             Text = warp_error:format_error(Reason),
             ?assertNotEqual(nomatch, string:find(Text, "/nowhere/warp_nif")),
             ?assertNotEqual(nomatch, string:find(Text, "make nif"))
         end || Error <- Said]
    end),
    ?assertNot(filelib:is_file(filename:join(Dir, "bank"))).

a_module_that_is_loaded_again_keeps_its_library(Config) ->
    Dir = proplists:get_value(dir, Config),
    in_vm(Config, fun() ->
        ok = warp_fault_vm:open(#{data_dir => Dir}),
        Alice = warp_fault_vm:entity(<<"alice">>),
        {ok, 1} = warp_core:append(Alice, warp_test:noted(<<"before">>)),
        true = os:putenv("WARP_NIF", "/nowhere/warp_nif"),
        _ = code:purge(warp_nif),
        ?assertEqual({error, on_load_failure}, code:load_file(warp_nif)),
        ?assertEqual({ok, 2}, warp_core:append(Alice, warp_test:noted(<<"after">>))),
        ?assertEqual(ok, warp_nif:loaded())
    end).

in_vm(Config, Fun) -> warp_fault_vm:run(proplists:get_value(vm, Config), Fun).
