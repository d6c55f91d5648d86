%% scripts/build-docs, which rebar3 calls: what h/2 in erl and h in iex show of the modules of users.
-module(warp_docs_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(MODULES, [warp_core, warp_saga, warp_projection, warp_subscription, warp_cluster, warp_backup, warp_error,
                  warp_json, warp_test_aggregate, warp_test_context]).

all() ->
    [erl_shows_a_function, iex_shows_a_function, every_public_function_has_its_text, a_type_has_the_comment_before_it,
     only_what_changed_is_made_again, without_edoc_it_says_so_once, what_edoc_refuses_stops_no_build].

init_per_suite(Config) ->
    case code:lib_dir(edoc) of
        {error, bad_name} -> {skip, "edoc is not installed"};
        _ -> Config
    end.

end_per_suite(_) -> ok.

init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

erl_shows_a_function(_) ->
    {ok, Docs} = code:get_doc(warp_core),
    Shown = unicode:characters_to_binary(shell_docs:render(warp_core, append, Docs)),
    [?assertMatch({match, _}, re:run(Shown, Part))
     || Part <- ["append\\(Entity :: entity\\(\\)", "Appends an event, and answers with its seq"]].

iex_shows_a_function(_) ->
    case os:find_executable("elixir") of
        false ->
            {skip, "there is no elixir"};
        Elixir ->
            {Status, Shown} = run(Elixir, ["-pa", filename:dirname(code:which(warp_core)), "-e",
                                           "require IEx.Helpers; IEx.Helpers.h(:warp_core.append)"], []),
            ?assertMatch({0, {match, _}}, {Status, re:run(Shown, "Appends an event, and answers with its seq")})
    end.

every_public_function_has_its_text(_) ->
    ?assertEqual([], [{Module, Name, Arity} || Module <- ?MODULES, {Name, Arity} <- Module:module_info(exports),
                                               Name =/= module_info,
                                               is_without_text(docs({function, Name, Arity}, Module))]).

%% `hidden' is what @private makes of it.
is_without_text(hidden) -> false;
is_without_text(#{<<"en">> := Text}) -> string:is_empty(plain(Text));
is_without_text(_) -> true.

a_type_has_the_comment_before_it(_) ->
    Text = fun(Type) -> lists:flatten(plain(maps:get(<<"en">>, docs({type, Type, 0}, warp_core)))) end,
    ?assertEqual("A started context.", Text(ctx)),
    ?assertEqual("Microseconds since 1970, UTC.", Text(micros)),
    %% What is within the type is shown as it stands in the source, since the shell leaves its comments out.
    ?assertEqual([{true, true}, {true, true}],
                 [{lists:prefix(First, Text(Type)), string:find(Text(Type), Within) =/= nomatch}
                  || {Type, First, Within} <- [{new_event, "An event to append.", "%% A map, or JSON text.\n"},
                                               {write_error, "  -type write_error() ::\n", "| {rejected, term()}\n"}]]).

only_what_changed_is_made_again(Config) ->
    ?assertEqual({0, <<>>}, build(Config, [])),
    Chunks = [atom_to_list(Module) ++ ".chunk" || Module <- lists:sort(?MODULES)],
    ?assertEqual(Chunks, chunks(Config)),
    In = fun(Year) -> {{Year, 1, 1}, {0, 0, 0}} end,
    Path = fun(Chunk) -> filename:join([folder(Config), "doc/chunks", Chunk]) end,
    [ok = file:change_time(Path(Chunk), In(2021)) || Chunk <- Chunks],
    Made = fun() -> [Chunk || Chunk <- Chunks, filelib:last_modified(Path(Chunk)) =/= In(2021)] end,
    ?assertEqual({0, <<>>}, build(Config, [])),
    ?assertEqual([], Made()),
    ok = file:change_time(filename:join(folder(Config), "src/warp_saga.erl"), In(2022)),
    ?assertEqual({0, <<>>}, build(Config, [])),
    ?assertEqual(["warp_saga.chunk"], Made()),
    [ok = file:change_time(Path(Chunk), In(2021)) || Chunk <- Chunks],
    ok = file:change_time(filename:join(folder(Config), "scripts/build-docs"), In(2022)),
    ?assertEqual({0, <<>>}, build(Config, [])),
    ?assertEqual(Chunks, Made()).

without_edoc_it_says_so_once(Config) ->
    Without = [{"ERL_AFLAGS", "-eval code:del_path(edoc)"}],
    {0, Said} = build(Config, Without),
    ?assertMatch({match, _}, re:run(Said, "^warp_core has no documentation.*apt-get install erlang-edoc.\n$")),
    ?assertEqual({0, <<>>}, build(Config, Without)),
    ?assertEqual([], chunks(Config)),
    %% When it is there, the documentation is made.
    ?assertEqual({0, <<>>}, build(Config, [])),
    ?assertEqual(length(?MODULES), length(chunks(Config))).

what_edoc_refuses_stops_no_build(Config) ->
    Source = filename:join(folder(Config), "src/warp_saga.erl"),
    ok = file:write_file(Source, "%% @doc <b>not closed\n-module(warp_saga).\n"),
    {0, Said} = build(Config, []),
    ?assertMatch({match, _}, re:run(Said, "warp_core has no new documentation in the shell")),
    ?assertEqual([], chunks(Config)).

%% ------------------------------------------------------------------------------------------------------- Helpers

docs(Key, Module) ->
    {ok, {docs_v1, _, erlang, _, _, _, Docs}} = code:get_doc(Module),
    {Key, _, _, Text, _} = lists:keyfind(Key, 1, Docs),
    Text.

%% The text of what is otherwise paragraphs, links and so on.
plain(Text) when is_binary(Text) -> unicode:characters_to_list(Text);
plain({_, _, Inner}) -> plain(Inner);
plain(List) when is_list(List) -> lists:append([plain(Part) || Part <- List]).

%% A copy of the script and of the sources, and a place to make documentation for.
folder(Config) ->
    Folder = filename:join(?config(dir, Config), "warp"),
    Root = warp_fault_vm:root(),
    filelib:is_dir(Folder) orelse
        begin
            ok = filelib:ensure_path(filename:join(Folder, "ebin")),
            [begin
                 ok = filelib:ensure_dir(filename:join(Folder, File)),
                 {ok, _} = file:copy(filename:join(Root, File), filename:join(Folder, File)),
                 ok = file:change_time(filename:join(Folder, File), {{2020, 1, 1}, {0, 0, 0}})
             end
             || File <- ["scripts/build-docs", "src/base/warp_entity.hrl", "src/base/warp_error.erl",
                         "src/base/warp_json.erl"]
                        ++ ["src/" ++ atom_to_list(Module) ++ ".erl" || Module <- ?MODULES -- [warp_error, warp_json]]]
        end,
    Folder.

build(Config, Environment) ->
    Folder = folder(Config),
    run(filename:join([code:root_dir(), "bin", "escript"]),
        [filename:join(Folder, "scripts/build-docs"), Folder], Environment).

chunks(Config) -> lists:sort(filelib:wildcard("*", filename:join(folder(Config), "doc/chunks"))).

run(Program, Arguments, Environment) ->
    Port = open_port({spawn_executable, Program},
                     [{args, Arguments}, {env, Environment}, binary, exit_status, stderr_to_stdout]),
    said(Port, <<>>).

said(Port, Said) ->
    receive
        {Port, {data, More}} -> said(Port, <<Said/binary, More/binary>>);
        {Port, {exit_status, Status}} -> {Status, Said}
    end.
