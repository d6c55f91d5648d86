%% scripts/setup, on a machine that has only some programs: it asks for those that the target calls, and for no others.
-module(warp_setup_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

%% What the script itself calls, and the one that starts Erlang.
-define(OF_THE_SCRIPT, ["bash", "env", "dirname", "basename", "mkdir", "cat", "sed", "xargs", "echo"]).

all() ->
    [the_library_needs_rust_c_and_erlang, a_target_names_what_it_lacks_and_nothing_else,
     without_rust_it_says_how_to_get_it, what_was_found_is_looked_for_again_when_it_is_gone,
     an_unknown_target_is_refused].

init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

the_library_needs_rust_c_and_erlang(Config) ->
    ?assertEqual({0, <<>>}, setup(Config, "nif", ["cargo", "rustc", "cc", "erl"])).

a_target_names_what_it_lacks_and_nothing_else(Config) ->
    Has = ["cargo", "rustc", "cc", "erl", "erlc"],
    ?assertEqual([<<"rebar3">>], lacks(Config, "build", Has)),
    ?assertEqual([], lacks(Config, "gleam", Has)),
    ?assertEqual([<<"dialyzer">>, <<"elixir">>], lacks(Config, "check", ["rebar3" | Has])),
    ?assertEqual([<<"pip">>, <<"sqlite3">>], lacks(Config, "demo", ["rebar3", "unzip", "python3" | Has])),
    ?assertEqual([<<"npm">>], lacks(Config, "node", ["cargo", "rustc", "node"])),
    ?assertEqual([<<"chromium">>, <<"npm">>, <<"pip">>],
                 lacks(Config, "typescript", ["rebar3", "unzip", "sqlite3", "python3", "node" | Has])),
    ?assertEqual([<<"pip">>, <<"python3">>], lacks(Config, "openapi", ["rebar3" | Has])),
    ?assertEqual([<<"pip">>, <<"python3">>], lacks(Config, "s3", ["rebar3" | Has])),
    ?assertEqual([<<"chromium">>, <<"elixir">>, <<"pip">>, <<"unzip">>],
                 lacks(Config, "test", ["rebar3", "curl", "dialyzer", "sqlite3", "python3", "node", "npm" | Has])),
    %% Once, however many of the target's parts need it.
    ?assertEqual([<<"cc">>, <<"erlc">>],
                 lacks(Config, "check", ["cargo", "rustc", "erl", "rebar3", "dialyzer", "elixir"])).

without_rust_it_says_how_to_get_it(Config) ->
    {1, Said} = setup(Config, "nif", ["cc", "erl"]),
    ?assertMatch({match, _}, re:run(Said, "^Rust is missing.*1[.]89", [dotall])).

what_was_found_is_looked_for_again_when_it_is_gone(Config) ->
    {0, <<>>} = setup(Config, "build", ["cargo", "rustc", "cc", "erl", "erlc", "rebar3"]),
    {0, <<>>} = setup(Config, "nif", ["cargo", "rustc", "cc", "erl"]),
    ?assertEqual([<<"rebar3">>], lacks(Config, "build", ["cargo", "rustc", "cc", "erl", "erlc"])).

an_unknown_target_is_refused(Config) ->
    {2, Said} = setup(Config, "everything", ["cargo", "rustc", "cc", "erl"]),
    ?assertMatch({match, _}, re:run(Said, "scripts/setup \\[nif")).

lacks(Config, Target, Has) ->
    case setup(Config, Target, Has) of
        {0, <<>>} ->
            [];
        {1, Said} ->
            {match, [Names]} = re:run(Said, "^Missing: (.*)$", [multiline, {capture, [1], binary}]),
            lists:sort(binary:split(Names, <<" ">>, [global]))
    end.

%% The exit status and what was said, on a machine with these programs. Python has no pip there.
setup(Config, Target, Has) ->
    Dir = ?config(dir, Config),
    Bin = filename:join(Dir, "bin"),
    _ = file:del_dir_r(Bin),
    ok = filelib:ensure_path(Bin),
    ok = filelib:ensure_path(filename:join(Dir, "scripts")),
    Script = filename:join([Dir, "scripts", "setup"]),
    {ok, _} = file:copy(filename:join([warp_fault_vm:root(), "scripts", "setup"]), Script),
    ok = file:change_mode(Script, 8#755),
    _ = [ok = file:make_symlink(os:find_executable(Name), filename:join(Bin, Name)) || Name <- ?OF_THE_SCRIPT],
    _ = [ok = case Name of
                  %% By a link, not every erl finds what it belongs to.
                  "erl" -> script(filename:join(Bin, Name), ["exec '", os:find_executable(Name), "' \"$@\""]);
                  _ -> script(filename:join(Bin, Name), "exit 1")
              end || Name <- Has],
    Port = open_port({spawn_executable, os:find_executable("env")},
                     [{args, ["PATH=" ++ Bin, Script, Target]}, {cd, Dir}, binary, exit_status, stderr_to_stdout]),
    said(Port, <<>>).

script(Path, Command) ->
    ok = file:write_file(Path, ["#!/bin/sh\n", Command, "\n"]),
    file:change_mode(Path, 8#755).

said(Port, Said) ->
    receive
        {Port, {data, More}} -> said(Port, <<Said/binary, More/binary>>);
        {Port, {exit_status, Status}} -> {Status, Said}
    end.
