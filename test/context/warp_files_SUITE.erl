%% Other programs at the files of a running context: the `sqlite3` shell, `rm`, and a library in
%% the same VM that opens and closes a file.
-module(warp_files_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_file_read_within_the_vm_keeps_its_locks/1,
         a_shell_beside_a_context_reads_and_takes_a_backup/1,
         two_programs_exclude_each_other/1,
         what_was_removed_beside_a_shard_is_noticed_and_nothing_is_lost/1,
         what_was_removed_during_a_commit_is_noticed_before_the_answer/1,
         what_was_removed_from_an_idle_context_is_noticed/1,
         what_was_removed_right_before_a_context_stops_is_saved_and_said/1,
         a_shard_that_was_moved_away_is_refused_until_it_is_back/1,
         a_folder_that_was_removed_takes_no_appends/1,
         a_lock_that_was_removed_takes_no_appends/1,
         a_projection_that_was_removed_is_made_again/1,
         notes_of_deletions_that_were_removed_are_noted_again/1]).

-import(warp_fault_vm, [run/2, open/1, entity_on/1]).
-import(warp_test, [noted/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [a_file_read_within_the_vm_keeps_its_locks,
     a_shell_beside_a_context_reads_and_takes_a_backup,
     two_programs_exclude_each_other,
     what_was_removed_beside_a_shard_is_noticed_and_nothing_is_lost,
     what_was_removed_during_a_commit_is_noticed_before_the_answer,
     what_was_removed_from_an_idle_context_is_noticed,
     what_was_removed_right_before_a_context_stops_is_saved_and_said,
     a_shard_that_was_moved_away_is_refused_until_it_is_back,
     a_folder_that_was_removed_takes_no_appends,
     a_lock_that_was_removed_takes_no_appends,
     a_projection_that_was_removed_is_made_again,
     notes_of_deletions_that_were_removed_are_noted_again].

init_per_testcase(_Case, Config) ->
    [{vm, warp_fault_vm:start(#{nif => fault})} | warp_test:init_case(Config)].

end_per_testcase(_Case, Config) ->
    catch warp_fault_vm:stop(?config(vm, Config)),
    warp_test:end_case(Config).

%% ------------------------------------------------------- Another part of the same VM

%% Without locks that stay, the shell would take itself for the last user, and remove the WAL.
a_file_read_within_the_vm_keeps_its_locks(Config) ->
    File = file(Config, "shard-0000.db"),
    Copy = filename:join(?config(dir, Config), "copy.db"),
    in_vm(Config, fun() ->
        ok = open(opts(Config)),
        {ok, 1} = warp_core:append(entity_on(0), noted(<<"before">>)),
        [{ok, _} = file:read_file(File ++ Of) || Of <- ["", "-wal", "-shm"]]
    end),
    Before = inodes(File),
    [] = warp_test:sqlite(File, "VACUUM INTO '" ++ Copy ++ "'"),
    case os:type() of
        {unix, linux} -> ?assertEqual(Before, inodes(File));
        _ -> ok
    end,
    in_vm(Config, fun() -> acknowledged(lists:seq(2, 11)) end),
    after_a_kill(Config, lists:seq(1, 11)).

%% ------------------------------------------------------------------ Another program

a_shell_beside_a_context_reads_and_takes_a_backup(Config) ->
    File = file(Config, "shard-0000.db"),
    Copy = filename:join(?config(dir, Config), "copy.db"),
    in_vm(Config, fun() ->
        ok = open(opts(Config)),
        acknowledged(lists:seq(1, 5)),
        {ok, [_ | _]} = warp_core:history(entity_on(0))
    end),
    warp_test:wait_until(fun() -> warp_test:sqlite(File, "SELECT count(*) FROM events") =:= [<<"5">>] end),
    [] = warp_test:sqlite(File, "VACUUM INTO '" ++ Copy ++ "'"),
    ?assertEqual([<<"5">>], warp_test:sqlite(Copy, "SELECT count(*) FROM events")),
    in_vm(Config, fun() ->
        acknowledged(lists:seq(6, 10)),
        {ok, [_ | _]} = warp_core:history(entity_on(0)),
        ok = warp_fault_vm:close()
    end),
    %% Whoever closes last moves all that is in the WAL into the file, and removes it.
    ?assertEqual([], [Left || Of <- ["-wal", "-shm"], Left <- [File ++ Of], filelib:is_file(Left)]),
    ?assertEqual([<<"10">>], warp_test:sqlite(File, "SELECT count(*) FROM events")).

two_programs_exclude_each_other(Config) ->
    File = file(Config, "shard-0000.db"),
    in_vm(Config, fun() ->
        ok = open(opts(Config)),
        acknowledged([1])
    end),
    %% While a shell writes, what is appended is in the journal alone, which is said.
    Shell = warp_shell:writes(File),
    in_vm(Config, fun() -> acknowledged([2]) end),
    warp_test:wait_until(fun() ->
        Warnings = in_vm(Config, fun warp_fault_vm:warnings/0),
        [] =/= [W || W <- Warnings, re:run(W, "write_behind.*database is locked") =/= nomatch]
    end, 20000),
    in_vm(Config, fun() -> acknowledged([3]) end),
    warp_shell:release(Shell),
    warp_test:wait_until(fun() -> warp_test:sqlite(File, "SELECT count(*) FROM events") =:= [<<"3">>] end, 20000),
    after_a_kill(Config, lists:seq(1, 3)).

%% ------------------------------------------------------------------ Files that go away

what_was_removed_beside_a_shard_is_noticed_and_nothing_is_lost(Config) ->
    File = file(Config, "shard-0000.db"),
    in_vm(Config, fun() ->
        ok = open(opts(Config)),
        acknowledged(lists:seq(1, 10))
    end),
    Removals = [["rm ", File, "-wal"], ["rm ", File, "-shm"], ["rm ", File, "-wal ", File, "-shm"],
                ["rm ", File, "-wal && touch ", File, "-wal"]],
    Last = lists:foldl(fun({Nth, Remove}, Before) ->
        "" = os:cmd(["sleep 0.01; " | Remove]),
        in_vm(Config, fun() ->
            Now = Before + stored_or_refused(),
            warp_test:wait_until(fun() -> length(rescued()) =:= Nth end),
            works_again(),
            %% What was refused is not there, and all else is.
            ?assertEqual(lists:seq(1, Now), warp_test:seqs(entity_on(0))),
            acknowledged(lists:seq(Now + 1, Now + 10)),
            Now + 10
        end)
    end, 10, lists:zip(lists:seq(1, 4), Removals)),
    after_a_kill(Config, lists:seq(1, Last)).

rescued() ->
    [W || W <- warp_fault_vm:warnings(), binary:match(W, <<"All that was committed is in the">>) =/= nomatch].

%% The journal takes what comes before the file is missed.
stored_or_refused() ->
    case warp_core:append(entity_on(0), noted(<<"meanwhile">>)) of
        {ok, _} -> 1;
        Refused -> is_refused(Refused), 0
    end.

%% As if the check before the commit had come a moment too early.
what_was_removed_during_a_commit_is_noticed_before_the_answer(Config) ->
    Journal = file(Config, "journal-*"),
    in_vm(Config, fun() ->
        ok = open(opts(Config)),
        acknowledged(lists:seq(1, 10)),
        ok = warp_test:await_applied(warp_fault_vm:ctx()),
        warp_fault_vm:fault({stall, 500}),
        Appending = spawn_monitor(fun() -> exit(warp_core:append(entity_on(0), noted(<<"11">>))) end),
        timer:sleep(200),
        "" = os:cmd(["rm ", Journal]),
        {_, Ref} = Appending,
        receive {'DOWN', Ref, process, _, Answer} -> ?assertEqual({error, interrupted}, Answer) end,
        works_again(),
        ?assertEqual(lists:seq(1, 10), warp_test:seqs(entity_on(0))),
        acknowledged(lists:seq(11, 20))
    end),
    after_a_kill(Config, lists:seq(1, 20)).

what_was_removed_from_an_idle_context_is_noticed(Config) ->
    File = file(Config, "shard-0000.db"),
    in_vm(Config, fun() ->
        ok = open(opts(Config)),
        acknowledged(lists:seq(1, 10)),
        "" = os:cmd(["rm ", File, "-wal ", File, "-shm"])
    end),
    warp_test:wait_until(fun() ->
        in_vm(Config, fun warp_fault_vm:warnings/0) =/= [] andalso filelib:is_file(File ++ "-wal")
    end),
    after_a_kill(Config, lists:seq(1, 10)).

what_was_removed_right_before_a_context_stops_is_saved_and_said(Config) ->
    File = file(Config, "shard-0000.db"),
    in_vm(Config, fun() ->
        ok = open(opts(Config)),
        acknowledged(lists:seq(1, 10)),
        [ok = file:delete(File ++ Of) || Of <- ["-wal", "-shm"]],
        ok = warp_fault_vm:close(),
        ?assertMatch([_], [W || W <- warp_fault_vm:warnings(), binary:match(W, <<"was closed: ">>) =/= nomatch])
    end),
    after_a_kill(Config, lists:seq(1, 10)).

a_shard_that_was_moved_away_is_refused_until_it_is_back(Config) ->
    File = file(Config, "shard-0000.db"),
    in_vm(Config, fun() ->
        ok = open(opts(Config)),
        acknowledged(lists:seq(1, 10)),
        renamed(File, File ++ ".away"),
        Now = 10 + stored_or_refused(),
        %% The other shard goes on.
        ?assertEqual({ok, 1}, warp_core:append(entity_on(1), noted(<<"other">>))),
        warp_test:wait_until(fun() ->
            #{shards := [Shard | _]} = warp_core:stats(warp_fault_vm:ctx()),
            case Shard of
                #{unavailable := true, error := {corrupt, Why}} ->
                    binary:match(Why, <<"shard-0000.db: this shard">>) =/= nomatch;
                _ -> false
            end
        end),
        ok = file:rename(File ++ ".away", File),
        works_again(),
        ?assertEqual(lists:seq(1, Now), warp_test:seqs(entity_on(0))),
        acknowledged(lists:seq(Now + 1, 20))
    end),
    after_a_kill(Config, lists:seq(1, 20)).

a_folder_that_was_removed_takes_no_appends(Config) ->
    in_vm(Config, fun() ->
        ok = open(opts(Config)),
        [{ok, 1} = warp_core:append(entity_on(N), noted(<<"before">>)) || N <- [0, 1]],
        "" = os:cmd(["rm -r ", file(Config, "")]),
        [is_refused(warp_core:append(entity_on(N), noted(<<"refused">>)))
         || N <- [0, 1, 0, 1], _ <- lists:seq(1, 3)],
        warp_test:wait_until(fun() ->
            Warnings = warp_fault_vm:warnings(),
            [] =/= [W || W <- Warnings, binary:match(W, <<"removed or renamed">>) =/= nomatch]
        end),
        warp_test:wait_until(fun() ->
            #{shards := Shards} = warp_core:stats(warp_fault_vm:ctx()),
            lists:all(fun(Shard) -> is_map_key(error, Shard) end, Shards)
        end),
        ok = warp_fault_vm:close(),
        ok = open(opts(Config)),
        ?assertEqual({ok, 1}, warp_core:append(entity_on(0), noted(<<"a new context">>)))
    end).

%% Another VM could take the folder.
a_lock_that_was_removed_takes_no_appends(Config) ->
    Lock = file(Config, "lock"),
    in_vm(Config, fun() ->
        ok = open(opts(Config)),
        acknowledged(lists:seq(1, 10)),
        renamed(Lock, Lock ++ ".away"),
        [is_refused(warp_core:append(entity_on(0), noted(<<"refused">>))) || _ <- lists:seq(1, 10)],
        ok = file:rename(Lock ++ ".away", Lock),
        works_again(),
        acknowledged(lists:seq(11, 20))
    end),
    after_a_kill(Config, lists:seq(1, 20)).

%% ------------------------------------------------------------------ Projections

a_projection_that_was_removed_is_made_again(Config) ->
    in_vm(Config, fun() ->
        ok = open(projected(Config)),
        count(1, 10),
        lists:foreach(fun({Remove, Until}) ->
            "" = os:cmd(Remove),
            %% Whoever asks next finds it.
            _ = warp_core:query(warp_fault_vm:ctx(), "SELECT 1", []),
            shows(Until - 1),
            count(Until, Until),
            shows(Until)
        end,
        [{["rm ", file(Config, "projections.db-wal")], 11},
         {["rm ", file(Config, "projections.db*")], 12},
         {["mv ", file(Config, "projections.db"), " ", file(Config, "away")], 13}])
    end).

notes_of_deletions_that_were_removed_are_noted_again(Config) ->
    in_vm(Config, fun() ->
        ok = open(projected(Config)),
        count(1, 10),
        lists:foreach(fun(Remove) ->
            "" = os:cmd(Remove),
            Entity = warp_fault_vm:entity(<<"gone">>),
            {ok, 1} = warp_core:append(Entity, warp_test:incremented()),
            shows(11),
            %% The first one may find it out.
            _ = warp_core:delete(Entity),
            ok = warp_core:delete(Entity),
            shows(10)
        end,
        [["rm ", file(Config, "erasures.db-wal")], ["rm ", file(Config, "erasures.db*")]])
    end).

projected(Config) ->
    Counter = (warp_test:counter())#{project => fun(Id, _State, #{seq := Seq}) ->
        [warp_projection:upsert(<<"counts">>, Id, #{n => Seq})]
    end},
    (opts(Config))#{aggregates => [Counter], projections => embedded}.

%% An event each of entities by number.
count(From, To) ->
    [{ok, 1} = warp_core:append(warp_fault_vm:entity(<<"e", (integer_to_binary(N))/binary>>),
                                warp_test:incremented())
     || N <- lists:seq(From, To)],
    shows(To).

shows(Count) ->
    warp_test:wait_until(fun() ->
        case warp_core:query(warp_fault_vm:ctx(), "SELECT count(*) AS n FROM counts", []) of
            {ok, #{rows := [[Count]]}} -> true;
            Other -> Other
        end
    end).

%% -------------------------------------------------------------------------- Helpers

%% In a word to the caller, who knows which file it was; or the shard is being opened again.
is_refused({error, {io_error, Why}}) ->
    ?assertMatch({match, _}, re:run(Why, "/fault/.*: another program has .*nothing was written",
                                    [caseless]));
is_refused({error, {shard_unavailable, _}}) -> ok;
is_refused(Other) -> ?assertMatch({error, refused}, Other).

%% Not right behind a commit: there it would be found only after the next one.
renamed(From, To) ->
    ok = timer:sleep(10),
    ok = file:rename(From, To).

works_again() ->
    warp_test:wait_until(fun() ->
        case warp_core:append(warp_fault_vm:entity_on(0, 1000), noted(<<"probe">>)) of
            {ok, _} -> true;
            {error, _} = Error -> Error
        end
    end).

opts(Config) -> #{data_dir => ?config(dir, Config)}.

in_vm(Config, Fun) -> run(?config(vm, Config), Fun).

file(Config, Name) -> filename:join([?config(dir, Config), "fault", Name]).

inodes(File) ->
    os:cmd(lists:concat(["stat -c %i ", File, " ", File, "-wal ", File, "-shm 2>&1"])).

acknowledged(Seqs) ->
    [?assertEqual({ok, Seq}, warp_core:append(entity_on(0), noted(integer_to_binary(Seq))))
     || Seq <- Seqs],
    ok.

after_a_kill(Config, Seqs) ->
    warp_fault_vm:kill(?config(vm, Config)),
    Vm = warp_fault_vm:start(),
    try
        ?assertEqual(Seqs, run(Vm, fun() ->
            ok = open(opts(Config)),
            warp_test:seqs(entity_on(0))
        end))
    after
        warp_fault_vm:stop(Vm)
    end.
