%% The program `warp' and backups: making them of contexts that run and that are stopped, looking at them, restoring.
-module(warp_cli_backup_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include_lib("kernel/include/file.hrl").

-import(warp_cli_test, [run/1, run/2, json/2, bank/2, close/1]).
-import(warp_fault_vm, [entity/1]).

suite() -> [{timetrap, {minutes, 2}}].

%% Most of the time they wait for VMs that start.
all() -> [{group, all}].

groups() ->
    [{all, [parallel],
      [a_running_context_is_backed_up_and_restored,
       a_stopped_context_is_backed_up_and_restored,
       backups_start_and_stop,
       old_segments_are_merged,
       each_cut_can_be_restored,
       an_entity_is_exported_and_nothing_stays,
       damage_and_old_keys_have_the_status_1,
       what_cannot_be_opened_has_the_status_3,
       a_key_stays_where_it_is,
       master_keys_are_made,
       a_master_key_is_rotated,
       wrong_usage_has_the_status_2,
       times_are_read,
       progress_is_shown_on_a_terminal]}].

init_per_group(_, Config) -> Config.
end_per_group(_, _) -> ok.

init_per_testcase(_, Config) ->
    Config1 = warp_test:init_case(Config),
    Dir = ?config(dir, Config1),
    ok = file:make_dir(filename:join(Dir, "data")),
    [{data, filename:join(Dir, "data")}, {bank, filename:join(Dir, "data/bank")},
     {to, filename:join(Dir, "backups/bank")}, {key, made_key(Dir, "bank.key")} | Config1].

end_per_testcase(_, Config) -> warp_test:end_case(Config).

made_key(Dir, Name) ->
    Path = filename:join(Dir, Name),
    ok = file:write_file(Path, binary:encode_hex(crypto:strong_rand_bytes(32))),
    ok = file:change_mode(Path, 8#600),
    Path.

filled(Config) ->
    Vm = bank(?config(data, Config), #{}),
    ok = warp_fault_vm:run(Vm, fun() -> ?MODULE:credit(<<"alice">>, 1000) end),
    ok = warp_fault_vm:run(Vm, fun() -> ?MODULE:credit(<<"bob">>, 3) end),
    Vm.

%% Inside the VM.
credit(Id, Times) ->
    {ok, _} = warp_core:append_batch(entity(Id), [warp_test:credited(1) || _ <- lists:seq(1, Times)]),
    ok.

backup(Config) -> backup(Config, []).

backup(Config, More) ->
    run(["backup", "run", ?config(bank, Config), "--to", ?config(to, Config), "--master-key", ?config(key, Config)
         | More]).

restore(Config, Name, More) ->
    Dir = filename:join(?config(dir, Config), Name),
    {Dir, run(["restore", ?config(to, Config), Dir, "--master-key", ?config(key, Config) | More])}.

events(Dir, Id) ->
    {0, Events} = json(["export", filename:join(Dir, "bank"), "--entity", Id], #{}),
    length(Events).

lines(Text) -> binary:split(Text, <<"\n">>, [global, trim]).

matches(Text, Form) -> ?assertMatch({Text, {match, _}}, {Text, re:run(Text, Form, [multiline])}).

a_running_context_is_backed_up_and_restored(Config) ->
    Bank = ?config(bank, Config),
    Vm = filled(Config),
    {0, Made, First} = backup(Config),
    matches(Made, "^Made cut 1 of 20[^ ]+Z: 2 appends with 1,003 events, in 1 segment and [12] key pages?, "
                  "[0-9.]+ K?i?B\\.$"),
    matches(First, "^This is the first run to .*Keep a copy of the master key elsewhere"),
    {0, <<"Nothing has changed since cut 1.\n">>, <<>>} = backup(Config),
    ok = warp_fault_vm:run(Vm, fun() -> ?MODULE:credit(<<"bob">>, 2) end),
    {0, [#{<<"cut">> := 2, <<"events">> := 2}]} =
        json(["backup", "run", Bank, "--to", ?config(to, Config), "--master-key", ?config(key, Config)], #{}),
    {0, Stats, <<>>} = run(["stats", Bank]),
    matches(Stats, ["^backup to +every +cut +made +state\n", ?config(to, Config), " +- +2 +20[^ ]+Z +made$"]),
    {0, Inspected, <<>>} = run(["inspect", Bank, "--quick"]),
    matches(Inspected, "^backups +1, the last cut of 20[^ ]+Z$"),
    {0, [#{<<"backups">> := [#{<<"cut">> := 2, <<"failing">> := null}]}]} = json(["inspect", Bank], #{}),
    {0, Listed, <<>>} = run(["backup", "list", ?config(to, Config)]),
    matches(Listed, "^cut +time +segments +size\n +1 +20[^ ]+Z +1 +[0-9.]+ K?i?B\n +2 +20[^ ]+Z +2 +[0-9.]+ K?i?B\n"),
    {0, [[#{<<"cut">> := 1}, #{<<"cut">> := 2}]]} = json(["backup", "list", ?config(to, Config)], #{}),
    {0, Whole, Unchecked} = run(["backup", "verify", ?config(to, Config)]),
    matches(Whole, "^Nothing is damaged.\n\nsegments +2\ncuts +2\n$"),
    matches(Unchecked, "needs the master key"),
    {0, Opened, <<>>} = run(["backup", "verify", ?config(to, Config), "--master-key", ?config(key, Config)]),
    matches(Opened, "^events +1,005$"),
    {0, Checked, <<>>} = run(["backup", "check", ?config(to, Config)]),
    matches(Checked, "^last cut +2 of 20[^ ]+Z\nkey pages of +20[^ ]+Z\nolder keys +none\n$"),
    {0, Shown, <<>>} = run(["keys", "show", ?config(to, Config)]),
    matches(Shown, "^context +bank\nshards +3\nbegun +20[^ ]+Z\nkey wrapped by +a master key\n$"),
    {Restored, {0, Said, <<>>}} = restore(Config, "restored", []),
    matches(Said, ["^Restored ", Restored, "/bank\\.\n\ncut +2 of 20[^ ]+Z\n(.*\n)*events +1,005$"]),
    ?assertEqual({1000, 5}, {events(Restored, "alice"), events(Restored, "bob")}),
    {1, <<>>, <<"warp: ", _/binary>>} = element(2, restore(Config, "restored", [])),
    close(Vm).

a_stopped_context_is_backed_up_and_restored(Config) ->
    close(filled(Config)),
    {0, Made, Notes} = backup(Config),
    matches(Made, "^Made cut 1 of .*with 1,003 events"),
    matches(Notes, "^No VM has the context open, so this command opens it"),
    {0, Inspected, _} = run(["inspect", ?config(bank, Config)]),
    matches(Inspected, "^backups +1, 1 not started$"),
    %% What is deleted is in the backup until the next run, and the command says so.
    {1, <<>>, Said} = run(["erase", ?config(bank, Config), "--entity", "alice", "--yes"]),
    matches(Said, ["^warp: The entity is gone from the context, but what the backup in ", ?config(to, Config)]),
    {0, _, _} = backup(Config),
    {Restored, {0, Json, <<>>}} = restore(Config, "restored", ["--until", "1", "--json"]),
    ?assertMatch({ok, #{<<"erased">> := 1}}, warp_json:decode(string:trim(Json))),
    ?assertEqual({0, 3}, {events(Restored, "alice"), events(Restored, "bob")}).

old_segments_are_merged(Config) ->
    Bank = ?config(bank, Config),
    To = ?config(to, Config),
    Vm = filled(Config),
    [begin
         ok = warp_fault_vm:run(Vm, fun() -> ?MODULE:credit(<<"bob">>, 1) end),
         {0, _, _} = backup(Config, ["--keep-days", "1"])
     end || _ <- [1, 2, 3]],
    Merge = ["backup", "merge", Bank, "--to", To, "--master-key", ?config(key, Config)],
    {2, <<>>, Said} = run(Merge ++ ["--yes"]),
    matches(Said, "needs --keep-cuts or --keep-days"),
    {2, <<>>, _} = run(Merge ++ ["--keep-cuts", "0", "--yes"]),
    {2, <<>>, _} = run(Merge ++ ["--keep-cuts", "1"]),
    {0, Made, _} = run(Merge ++ ["--keep-cuts", "1", "--yes"]),
    matches(Made, "^Nothing has changed since cut 3\\.\nMerged: 3 old segments\\.$"),
    {0, [[#{<<"cut">> := 3, <<"segments">> := 1}]]} = json(["backup", "list", To], #{}),
    close(Vm),
    %% A stopped context, too.
    {0, [#{<<"merged">> := 0}]} = json(Merge ++ ["--keep-days", "30", "--yes"], #{}),
    {Restored, {0, _, <<>>}} = restore(Config, "restored", []),
    ?assertEqual(6, events(Restored, "bob")).

backups_start_and_stop(Config) ->
    Bank = ?config(bank, Config),
    To = ?config(to, Config),
    Keys = To ++ "-keys",
    Vm = filled(Config),
    Start = ["backup", "start", Bank, "--to", To, "--keys-to", Keys, "--master-key", ?config(key, Config)],
    {0, Made, _} = run(Start ++ ["--every", "1"]),
    matches(Made, "^Made cut 1 of .*\nThe next run is made in 1 second, and so on until the context stops\\.$"),
    {0, Stats, <<>>} = run(["stats", Bank]),
    matches(Stats, [To, " +1\\.0 s +1 +20[^ ]+Z +(running|waits for the next run)$"]),
    ok = warp_fault_vm:run(Vm, fun() -> ?MODULE:credit(<<"bob">>, 1) end),
    warp_test:wait_until(fun() -> {ok, Cuts} = warp_backup:list(To), length(Cuts) =:= 2 end, 20000),
    %% The key pages are elsewhere.
    {1, <<>>, _} = run(["backup", "check", To]),
    {0, [#{<<"older">> := []}]} = json(["backup", "check", To, "--keys-from", Keys], #{}),
    {0, <<"No more runs to ", _/binary>>, <<>>} = run(["backup", "stop", Bank, "--to", To]),
    {2, <<>>, _} = run(["backup", "forget", Bank, "--to", To]),
    warp_test:wait_until(fun() -> element(1, run(["backup", "forget", Bank, "--to", To, "--yes"])) =:= 0 end),
    {0, Inspected, <<>>} = run(["inspect", Bank]),
    matches(Inspected, "^backups +none$"),
    {1, <<>>, <<"warp: ", _/binary>>} = run(["backup", "stop", Bank, "--to", To]),
    close(Vm),
    {3, <<>>, <<"warp: No VM has the context in ", _/binary>>} = run(Start),
    {3, <<>>, <<"warp: No VM has the context in ", _/binary>>} = run(["backup", "stop", Bank, "--to", To]),
    {3, <<>>, <<"warp: No VM has the context in ", _/binary>>} = run(["backup", "forget", Bank, "--to", To, "-y"]).

each_cut_can_be_restored(Config) ->
    Vm = filled(Config),
    {0, _, _} = backup(Config),
    ok = warp_fault_vm:run(Vm, fun() -> ?MODULE:credit(<<"bob">>, 1) end),
    {0, _, _} = backup(Config),
    ok = warp_fault_vm:run(Vm, fun() -> ok = warp_core:delete(entity(<<"alice">>)) end),
    close(Vm),
    %% As a person copies the times.
    {0, Listed, <<>>} = run(["backup", "list", ?config(to, Config)]),
    [_, One, _Two | _] = [string:lexemes(Line, " ") || Line <- lines(Listed)],
    [begin
         {Restored, {0, Json, <<>>}} = restore(Config, Name, ["--until", Until, "--json"]),
         {ok, #{<<"cut">> := Cut}} = warp_json:decode(string:trim(Json)),
         ?assertEqual({Name, 0, Bob}, {Name, events(Restored, "alice"), events(Restored, "bob")})
     end
     || {Name, Until, Cut, Bob} <- [{"1", "1", 1, 3}, {"time", lists:nth(2, One), 1, 3},
                                    {"later", "2999-01-01T00:00+01:00", 3, 4}, {"end", "end", 3, 4}]],
    {1, <<>>, <<"warp: ", _/binary>>} = element(2, restore(Config, "before", ["--until", "2001-01-01T00:00:00Z"])),
    {1, <<>>, <<"warp: ", _/binary>>} = element(2, restore(Config, "none", ["--until", "77"])).

an_entity_is_exported_and_nothing_stays(Config) ->
    close(filled(Config)),
    Dir = ?config(dir, Config),
    {0, _, _} = backup(Config),
    {0, Events, _} = run(["export", ?config(bank, Config), "--entity", "alice"]),
    Temporary = filename:join(Dir, "tmp"),
    ok = file:make_dir(Temporary),
    Before = {lists:sort(filelib:wildcard("*", Dir)), {ok, []}},
    Export = ["restore", ?config(to, Config), "--master-key", ?config(key, Config), "--export", "--entity"],
    Env = #{env => [{"TMPDIR", Temporary}]},
    {0, Events, <<"1,000 events of alice.\n">>} = run(Export ++ ["alice"], Env),
    {0, Events, <<"1,000 events of alice.\n">>} = run(Export ++ ["alice", filename:join(Dir, "not-made")], Env),
    {0, <<>>, <<"0 events of nobody.\n">>} = run(Export ++ ["nobody"], Env),
    {1, <<>>, _} = run(Export ++ ["alice", "--until", "9"], Env),
    ?assertEqual(Before, {lists:sort(filelib:wildcard("*", Dir)), file:list_dir(Temporary)}),
    %% The reader of the events goes away.
    {0, <<"{">>, <<>>} =
        warp_cli_test:sh(["{ warp ", lists:join($\s, Export), " alice 2>/dev/null; } | head -c 1"], Env),
    ?assertEqual(Before, {lists:sort(filelib:wildcard("*", Dir)), file:list_dir(Temporary)}),
    {Restored, {0, _, <<>>}} = restore(Config, "alone", ["--entity", "bob"]),
    ?assertEqual({0, 3}, {events(Restored, "alice"), events(Restored, "bob")}),
    {3, <<>>, <<"warp: A folder in ", _/binary>>} = run(Export ++ ["alice"], #{env => [{"TMPDIR", "/nonexistent"}]}).

damage_and_old_keys_have_the_status_1(Config) ->
    Vm = filled(Config),
    To = ?config(to, Config),
    {0, _, _} = backup(Config),
    Keys = filename:join(To, "keys"),
    "" = os:cmd("cp -a " ++ Keys ++ " " ++ To ++ ".old-keys"),
    ok = warp_fault_vm:run(Vm, fun() -> ?MODULE:credit(<<"carol">>, 1) end),
    {0, _, _} = backup(Config),
    close(Vm),
    "" = os:cmd("mv " ++ Keys ++ " " ++ To ++ ".keys && mv " ++ To ++ ".old-keys " ++ Keys),
    {1, Older, Warning} = run(["backup", "check", To]),
    matches(Older, "^older keys +shard [0-2]$"),
    matches(Warning, "^The key pages are older than the segments"),
    {1, [#{<<"older">> := [_]}]} = json(["backup", "check", To], #{}),
    "" = os:cmd("rm -r " ++ Keys ++ " && mv " ++ To ++ ".keys " ++ Keys),
    {0, _, <<>>} = run(["backup", "check", To]),
    Segment = filename:join(To, "segments/0000000000000001/0000000001"),
    {ok, Bytes} = file:read_file(Segment),
    <<Head:100/binary, Byte, Rest/binary>> = Bytes,
    ok = file:write_file(Segment, [Head, Byte bxor 1, Rest]),
    [begin
         {1, <<>>, Json} = run(Args ++ ["--json"]),
         {ok, #{<<"error">> := #{<<"meaning">> := Meaning}}} = warp_json:decode(string:trim(Json)),
         matches(Meaning, "segment 1")
     end
     || Args <- [["backup", "verify", To], ["backup", "verify", To, "--master-key", ?config(key, Config)],
                 ["restore", To, filename:join(?config(dir, Config), "x"), "--master-key", ?config(key, Config)]]],
    ?assertNot(filelib:is_dir(filename:join(?config(dir, Config), "x/bank"))),
    ok = file:delete(Segment),
    {1, <<>>, Missing} = run(["backup", "verify", To, "--json"]),
    matches(Missing, "segment 1 is missing").

what_cannot_be_opened_has_the_status_3(Config) ->
    close(filled(Config)),
    Dir = ?config(dir, Config),
    {0, _, _} = backup(Config),
    To = ?config(to, Config),
    Other = made_key(Dir, "other.key"),
    None = filename:join(Dir, "none"),
    X = filename:join(Dir, "x"),
    [begin
         {Status, Out, Err} = run(Args ++ ["--json"]),
         ?assertEqual({Args, 3, <<>>}, {Args, Status, Out}),
         ?assertMatch({Args, {ok, #{<<"error">> := #{<<"reason">> := Reason}}}},
                      {Args, warp_json:decode(string:trim(Err))})
     end
     || {Args, Reason} <- [{["backup", "list", None], <<"no_backup">>}, {["backup", "verify", None], <<"no_backup">>},
                           {["backup", "check", None], <<"no_backup">>}, {["keys", "show", None], <<"no_backup">>},
                           {["restore", None, X, "--master-key", Other], <<"no_backup">>},
                           {["restore", To, X, "--master-key", Other], <<"wrong_master_key">>},
                           {["restore", To, X, "--master-key", None], <<"no_master_key">>},
                           {["backup", "run", ?config(bank, Config), "--to", To, "--master-key", Other],
                            <<"wrong_master_key">>},
                           {["backup", "run", None, "--to", To, "--master-key", Other], <<"unreachable">>}]],
    %% Whoever has changed the order of the arguments sees which one was taken for the backup.
    {3, <<>>, Said} = run(["restore", X, To, "--master-key", Other]),
    ?assertMatch({match, _}, re:run(Said, ["There is no backup at ", X, "\\."])),
    Key = ["--master-key", ?config(key, Config)],
    {1, <<>>, NoCut} = run(["restore", To, X, "--until", "99"] ++ Key),
    ?assertMatch({match, _}, re:run(NoCut, ["no such cut.*`warp backup list ", To, "'"])),
    {0, _, NoEvents} = run(["restore", To, filename:join(Dir, "nobody"), "--entity", "nobody"] ++ Key),
    ?assertMatch({match, _}, re:run(NoEvents, "has no events of nobody at this cut")),
    ?assertNot(filelib:is_dir(X)),
    ?assertNot(filelib:is_dir(None)).

%% Where there is a running VM, that one reads it: in its file, or in a variable that it has.
a_key_stays_where_it_is(Config) ->
    {ok, Digits} = file:read_file(?config(key, Config)),
    Vm = filled(Config),
    Run = ["backup", "run", ?config(bank, Config), "--to", ?config(to, Config), "--master-key-env", "WARP_TEST_KEY"],
    Env = #{env => [{"WARP_TEST_KEY", binary_to_list(Digits)}]},
    {3, <<>>, <<"warp: ", _/binary>>} = run(Run, Env),
    true = warp_fault_vm:run(Vm, fun() -> os:putenv("WARP_TEST_KEY", binary_to_list(Digits)) end),
    {0, _, _} = run(Run),
    close(Vm),
    %% A stopped one is opened by the program, which has a variable of its own then.
    {0, <<"Nothing has changed since cut 1.\n">>, _} = run(Run, Env),
    Restore = ["restore", ?config(to, Config), filename:join(?config(dir, Config), "x"),
               "--master-key-env", "WARP_TEST_KEY"],
    {3, <<>>, <<"warp: ", _/binary>>} = run(Restore),
    {0, _, <<>>} = run(Restore, Env),
    %% The key is nowhere but in its own file.
    ?assertEqual([?config(key, Config)], warp_test:files_with(?config(dir, Config), Digits)).

master_keys_are_made(Config) ->
    Dir = ?config(dir, Config),
    {0, <<"Made the master key my.key.\n">>, <<"Keep a copy of it elsewhere", _/binary>>} =
        run(["keys", "new", "my.key"], #{cd => Dir}),
    File = filename:join(Dir, "my.key"),
    {ok, Key} = file:read_file(File),
    ?assertMatch({match, _}, re:run(Key, "^[0-9a-f]{64}\n$")),
    {ok, #file_info{mode = Mode}} = file:read_file_info(File),
    ?assertEqual(8#600, Mode band 8#777),
    {1, <<>>, <<"warp: There is something of the name ", _/binary>>} = run(["keys", "new", File]),
    ?assertEqual({ok, Key}, file:read_file(File)),
    {0, [#{<<"file">> := _}]} = json(["keys", "new", File ++ "2"], #{}),
    ?assertNotEqual({ok, Key}, file:read_file(File ++ "2")),
    {3, <<>>, <<"warp: ", _/binary>>} = run(["keys", "new", Dir]),
    close(filled(Config)),
    {0, _, _} = backup([{key, File} | proplists:delete(key, Config)]),
    {0, _, _} = run(["backup", "verify", ?config(to, Config), "--master-key", File]).

a_master_key_is_rotated(Config) ->
    Vm = filled(Config),
    {0, _, _} = backup(Config),
    New = made_key(?config(dir, Config), "new.key"),
    Rotate = ["keys", "rotate", ?config(to, Config), "--master-key", ?config(key, Config), "--new-master-key"],
    {3, <<>>, <<"warp: The master key cannot be read", _/binary>>} = run(Rotate ++ [New ++ ".not-there"]),
    {0, Rotated, Notes} = run(Rotate ++ [New]),
    matches(Rotated, "^The new master key opens the backup in .* now, and the old one does not\\.$"),
    matches(Notes, "^Give the new one to what backs up"),
    {0, [#{<<"state">> := <<"rotated">>}]} = json(Rotate ++ [New], #{}),
    {3, <<>>, <<"warp: ", _/binary>>} = backup(Config),
    {3, <<>>, <<"warp: ", _/binary>>} = element(2, restore(Config, "old", [])),
    With = [{key, New} | proplists:delete(key, Config)],
    {0, <<"Nothing has changed since cut 1.\n">>, <<>>} = backup(With),
    {0, _, <<>>} = run(["backup", "verify", ?config(to, Config), "--master-key", New]),
    {Restored, {0, _, <<>>}} = restore(With, "new", []),
    ?assertEqual(3, events(Restored, "bob")),
    close(Vm).

wrong_usage_has_the_status_2(_Config) ->
    [begin
         {Status, Out, Err} = run(Args),
         ?assertMatch({Args, 2, <<>>, {match, _}}, {Args, Status, Out, re:run(Err, ["^warp: .*", Said])})
     end
     || {Args, Said} <-
            [{["backup"], "There are `backup run'"}, {["backup", "list"], "needs TARGET"},
             {["backup", "list", ""], "TARGET is empty"}, {["backup", "list", "a", "b"], "no place for"},
             {["backup", "run", "a", "--to", "b"], "needs --master-key FILE"},
             {["backup", "run", "a", "--master-key", "b"], "needs --to TARGET"},
             {["backup", "verify", "a", "--master-key", "b", "--master-key-env", "C"], "either in a file or in a"},
             {["backup", "verify", "a", "--master-key-env", "C D"], "no name of a variable"},
             {["restore", "a"], "needs --master-key FILE"}, {["restore", "a", "--master-key", "b"], "needs DATA_DIR"},
             {["restore", "a", "--master-key", "b", "--export"], "needs --entity ID"},
             {["keys", "new"], "needs FILE"},
             {["restore", "a", "b", "--master-key", "c", "--until", "noon"], "--until is the number of a cut"},
             {["restore", "a", "b", "--master-key", "c", "--until", "0"], "--until is the number of a cut"}]].

%% A time as people write it, and as `warp backup list' does.
times_are_read(_Config) ->
    Noon = 1764331200000000,
    [?assertEqual({Text, {ok, Noon + More}}, {Text, warp_cli_units:of_time(Text)})
     || {Text, More} <- [{<<"2025-11-28T12:00:00Z">>, 0}, {<<"2025-11-28 12:00z">>, 0},
                         {<<"2025-11-28T13:30+01:30">>, 0}, {<<"2025-11-28T11:59:59.5-00:00">>, -500000},
                         {iolist_to_binary(warp_cli_units:exact_time(Noon + 7)), 7}]],
    [?assertEqual({Text, error}, {Text, warp_cli_units:of_time(Text)})
     || Text <- [<<"noon">>, <<"2026-02-30T00:00:00Z">>, <<"2026-02-20T25:00:00Z">>, <<"2026-02-20T00:00:00">>,
                 <<"2026-02-20">>, <<"20260220T000000Z">>, <<"2026-02-20T00:00:00Z\n">>]].

progress_is_shown_on_a_terminal(Config) ->
    Vm = filled(Config),
    On = fun(Args) ->
        {0, Out, <<>>} = warp_cli_test:sh(["script -qec \"", warp_cli_test:program(), $\s, lists:join($\s, Args),
                                           "\" /dev/null"], #{}),
        Out
    end,
    Key = ["--master-key", ?config(key, Config)],
    Run = On(["backup", "run", ?config(bank, Config), "--to", ?config(to, Config) | Key]),
    matches(Run, "\r1,003 events\\e\\[K"),
    matches(On(["backup", "verify", ?config(to, Config)]), "\r1 of 1 segment\\e\\[K\r\\e\\[KNothing is"),
    Dir = filename:join(?config(dir, Config), "x"),
    matches(On(["restore", ?config(to, Config), Dir | Key]), "\r2 of 2 segments, 1,003 events\\e\\[K\r\\e\\[KRestored"),
    close(Vm).
