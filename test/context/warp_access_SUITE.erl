%% The files that a context makes and opens: who may read them, what is not followed, and how many
%% a VM can have open.
-module(warp_access_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([what_is_made_is_the_owners_alone/1,
         with_the_umask_others_may_read/1,
         what_was_there_keeps_its_modes/1,
         a_link_or_a_pipe_in_place_of_a_file_is_refused/1,
         a_context_that_needs_too_many_files_is_refused/1,
         unused_connections_are_few_over_all_shards/1]).

-import(warp_fault_vm, [run/2, open/1, entity_on/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [what_is_made_is_the_owners_alone,
     with_the_umask_others_may_read,
     what_was_there_keeps_its_modes,
     a_link_or_a_pipe_in_place_of_a_file_is_refused,
     a_context_that_needs_too_many_files_is_refused,
     unused_connections_are_few_over_all_shards].

init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

what_is_made_is_the_owners_alone(Config) ->
    {Dirs, Files} = modes(Config, #{}),
    ?assertMatch([_, _, _ | _], Dirs),
    ?assertEqual([], [Dir || {_, Mode} = Dir <- Dirs, Mode =/= 8#700]),
    ?assertEqual([], [File || {_, Mode} = File <- Files, Mode =/= 8#600]).

with_the_umask_others_may_read(Config) ->
    {Dirs, Files} = modes(Config, #{file_access => umask}),
    ?assertEqual([], [Dir || {_, Mode} = Dir <- Dirs, Mode =/= 8#755]),
    %% Whoever may connect to the socket may do everything.
    ?assertEqual([], [File || {Name, Mode} = File <- Files,
                              Mode =/= case filename:basename(Name) of "ctl" -> 8#600; _ -> 8#644 end]).

%% Of all that is below the case's own folder while a context is open there.
modes(Config, Opts) ->
    Top = ?config(dir, Config),
    {ok, Found} = file:list_dir(Top),
    Ctx = warp_test:start(maps:merge(projected(filename:join(Top, "some/where")), Opts)),
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"a">>), warp_test:incremented()),
    ok = warp_core:await_projection(warp_core:entity(Ctx, <<"a">>), 5000),
    Below = filelib:wildcard(filename:join(Top, "**")) -- [filename:join(Top, Name) || Name <- Found],
    Names = [filename:basename(File) || File <- Below],
    [?assert(lists:member(Name, Names), Name)
     || Name <- ["lock", "projections.db", "projections.db-wal", "projections.db-shm",
                 "erasures.db", "erasures.db-wal"]
            ++ ["shard-000" ++ N ++ ".db" ++ Of || N <- ["0", "1"], Of <- ["", "-wal", "-shm"]]],
    Modes = [{File, Mode band 8#777} || File <- Below,
                                         {ok, #file_info{mode = Mode}} <- [file:read_file_info(File)]],
    lists:partition(fun({File, _}) -> filelib:is_dir(File) end, Modes).

what_was_there_keeps_its_modes(Config) ->
    Ctx = warp_test:start(Config),
    Dir = warp_test:context_dir(Ctx),
    warp_test:stop(Ctx),
    Shard = filename:join(Dir, "shard-0000.db"),
    ok = file:change_mode(Dir, 8#750),
    ok = file:change_mode(Shard, 8#640),
    _ = warp_test:start(Config),
    [?assertMatch({File, {ok, Mode}}, {File, mode(File)})
     || {File, Mode} <- [{Dir, 8#750}, {Shard, 8#640}, {Shard ++ "-wal", 8#640}]].

mode(File) ->
    {ok, #file_info{mode = Mode}} = file:read_file_info(File),
    {ok, Mode band 8#777}.

a_link_or_a_pipe_in_place_of_a_file_is_refused(Config) ->
    Opts = projected(?config(dir, Config)),
    Ctx = warp_test:start(Opts),
    Dir = warp_test:context_dir(Ctx),
    warp_test:stop(Ctx),
    Elsewhere = filename:join(?config(dir, Config), "elsewhere"),
    lists:foreach(fun(Name) ->
        File = filename:join(Dir, Name),
        _ = [ok = file:rename(File, Elsewhere) || filelib:is_file(File)],
        lists:foreach(fun({Put, Says}) ->
            "" = os:cmd(Put),
            {error, {io_error, Why}} = warp_test:try_start(Opts),
            ?assertMatch({match, _}, re:run(Why, [Name, ": ", Says])),
            "" = os:cmd(["rm ", File])
        end,
        [{["ln -s ", Elsewhere, " ", File], "a symbolic link"}, {["mkfifo ", File], "not a file"}]),
        _ = [ok = file:rename(Elsewhere, File) || filelib:is_file(Elsewhere)]
    end,
    ["lock", "shard-0000.db", "shard-0001.db", "shard-0001.db-wal", "projections.db", "erasures.db"]),
    _ = warp_test:start(Opts).

%% --------------------------------------------------------------------- Open files

a_context_that_needs_too_many_files_is_refused(Config) ->
    Dir = filename:join(?config(dir, Config), "data"),
    Vm = warp_fault_vm:start(#{under => {"/bin/sh", ["-c", "ulimit -n 256; exec \"$@\"", "sh"]}}),
    try
        run(Vm, fun() ->
            {error, {too_few_files, #{limit := 256, needed := Needed}}} =
                open(#{data_dir => Dir, shards => 200}),
            ?assert(Needed > 3 * 200 andalso Needed < 7 * 200 + 256, Needed),
            ?assertNot(filelib:is_file(Dir)),
            %% What is let in works, also when all of it is read at once.
            ok = open(#{data_dir => Dir, shards => 8, mode => read_through, idle_timeout => 50}),
            Entities = [entity_on(N) || N <- lists:seq(0, 7)],
            [{ok, 1} = warp_core:append(Entity, warp_test:incremented()) || Entity <- Entities],
            _ = warp_test:parallel(32, fun(_) ->
                [{ok, 1} = warp_core:get(Entity, <<"Counter">>) || Entity <- Entities]
            end),
            ?assertEqual([], warp_fault_vm:warnings()),
            ok
        end)
    after
        warp_fault_vm:stop(Vm)
    end.

unused_connections_are_few_over_all_shards(Config) ->
    Vm = warp_fault_vm:start(),
    try
        run(Vm, fun() ->
            ok = open(#{data_dir => ?config(dir, Config), shards => 100, mode => read_through}),
            _ = [{ok, 0} = warp_core:get(entity_on(N), <<"Counter">>) || N <- lists:seq(0, 99)],
            %% Of each connection the log; SQLite keeps the file itself open for the next one.
            few(files("-wal")),
            ?assert(files("shard-") =< 5 * 100 + 64),
            ok = warp_fault_vm:close(),
            ?assertEqual(0, files("shard-")),
            %% The connections that were closed are not counted on.
            ok = open(#{data_dir => ?config(dir, Config), shards => 100, mode => read_through}),
            _ = [{ok, 0} = warp_core:get(entity_on(N), <<"Counter">>) || N <- lists:seq(0, 99)],
            few(files("-wal"))
        end)
    after
        warp_fault_vm:stop(Vm)
    end.

%% Those of the writers, and of up to 64 readers: a few may be in use just now.
few(Files) -> ?assert(Files =< 100 + 64 andalso Files > 100 + 32, Files).

%% How many of the VM's open files have that in their name.
files(Part) ->
    Links = [file:read_link(Fd) || Fd <- filelib:wildcard("/proc/" ++ os:getpid() ++ "/fd/*")],
    length([File || {ok, File} <- Links, string:find(File, Part) =/= nomatch]).

projected(Dir) ->
    Counter = (warp_test:counter())#{project => fun(Id, _State, #{seq := Seq}) ->
        [warp_projection:upsert(<<"counts">>, Id, #{n => Seq})]
    end},
    #{data_dir => Dir, aggregates => [Counter], projections => embedded}.
