%% The program `warp', as its users run it: each command on contexts that run, in VMs of their own, and on those that
%% are stopped; and the texts that come with it.
-module(warp_cli_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_cli_test, [run/1, run/2, json/2, sh/2, bank/2, close/1]).
-import(warp_fault_vm, [entity/1]).

suite() -> [{timetrap, {minutes, 2}}].

%% Most of the time they wait for VMs that start.
all() -> [{group, all}].

groups() ->
    [{all, [parallel],
      [what_is_said_of_the_program,
       it_uses_public_modules_only,
       wrong_usage_has_the_status_2,
       no_argument_crashes_it,
       a_running_context_is_looked_at,
       a_running_context_is_worked_with,
       exported_events_are_put_back,
       a_stopped_context_is_looked_at,
       a_stopped_context_is_worked_with,
       a_stopped_context_with_a_projection_keeps_it,
       only_a_running_context_can_do_some_things,
       dangerous_commands_ask,
       progress_is_shown_on_a_terminal,
       what_is_printed_can_be_cut_off,
       the_examples_run,
       the_examples_of_clusters_run,
       a_node_in_doubt_is_adopted,
       shells_complete_commands]}].

init_per_group(_, Config) -> Config.
end_per_group(_, _) -> ok.

init_per_testcase(_, Config) ->
    Config1 = warp_test:init_case(Config),
    Data = filename:join(?config(dir, Config1), "data"),
    ok = file:make_dir(Data),
    [{data, Data}, {bank, filename:join(Data, "bank")} | Config1].

end_per_testcase(_, Config) -> warp_test:end_case(Config).

what_is_said_of_the_program(_Config) ->
    {0, Help, <<>>} = run(["--help"]),
    {0, Help, <<>>} = run(["help"]),
    Commands = warp_cli_command:all(),
    ?assert(length(Commands) > 15),
    lists:foreach(
        fun(#{words := Words, about := About, examples := Examples} = Command) ->
            Name = iolist_to_binary(warp_cli_command:name(Command)),
            ?assertNotEqual(nomatch, binary:match(Help, [<<"  ", Name/binary>>])),
            {0, Of, <<>>} = run(Words ++ ["--help"]),
            [?assertNotEqual({Text, nomatch}, {Text, binary:match(Of, Text)})
             || Text <- [<<"Usage: warp ", Name/binary>>, About, <<"--json">>, <<"Status: 0">> | Examples]]
        end,
        Commands),
    {0, Of, <<>>} = run(["help", "sagas", "retry"]),
    ?assertMatch({0, Of, <<>>}, run(["sagas", "retry", "--help"])),
    _ = application:load(warp_core),
    {ok, Vsn} = application:get_key(warp_core, vsn),
    Version = list_to_binary(Vsn),
    {0, <<"warp ", _/binary>>, <<>>} = run(["version"]),
    {0, <<"warp ", _/binary>>, <<>>} = run(["--version"]),
    ?assertMatch({0, [#{<<"warp">> := Version}]}, json(["version"], #{})),
    %% No line is too long for a terminal.
    Long = [Line || Line <- binary:split(Help, <<"\n">>, [global]), string:length(Line) > 120],
    ?assertEqual([], Long).

it_uses_public_modules_only(_Config) ->
    Beams = filelib:wildcard(filename:join(filename:dirname(code:lib_dir(warp_core)), "warp_cli/ebin/*.beam")),
    ?assert(length(Beams) > 15),
    Called = lists:usort([Module || Beam <- Beams,
                                    {ok, {_, [{imports, Imports}]}} <- [beam_lib:chunks(Beam, [imports])],
                                    {Module, _, _} <- Imports,
                                    lists:prefix("warp_", atom_to_list(Module)),
                                    not lists:prefix("warp_cli", atom_to_list(Module))]),
    ?assertEqual([warp_backup, warp_control, warp_core, warp_error, warp_json], Called).

wrong_usage_has_the_status_2(Config) ->
    Bank = ?config(bank, Config),
    [begin
         {Status, Out, Err} = run(Args),
         ?assertMatch({Args, 2, <<>>, <<"warp: ", _/binary>>}, {Args, Status, Out, Err}),
         ?assertMatch({Args, {match, _}}, {Args, re:run(Err, Said)}),
         {2, <<>>, Json} = run(Args ++ ["--json"]),
         ?assertMatch({ok, #{<<"error">> := #{<<"reason">> := <<"usage">>}}}, warp_json:decode(string:trim(Json)))
     end
     || {Args, Said} <-
            [{[], "No command"}, {["inspekt"], "Did you mean inspect\\?"}, {["fly"], "There is no command `fly'"},
             {["sagas"], "`sagas retry'"}, {["sagas", "list"], "DATA_DIR/CONTEXT"}, {["inspect"], "WARP_DIR"},
             {["inspect", Bank, Bank], "no place for .* Call it as `warp inspect DIR \\[OPTION"},
             {["inspect", Bank, "--quik"], "Did you mean --quick\\?"},
             {["inspect", Bank, "--quick=yes"], "takes no value"}, {["events", Bank], "needs --entity ID"},
             {["events", Bank, "--entity"], "value is missing"}, {["events", Bank, "--entity="], "is empty"},
             {["events", Bank, "--entity", "a", "--entity", "b"], "given twice"},
             {["events", Bank, "--entity", "a", "--limit", "0"], "number from 1 on"},
             {["events", Bank, "--entity", "a", "--from", "x"], "number from 1 on"},
             {["inspect", Bank, "-xv"], "two dashes"}, {["completion"], "bash, zsh, fish"},
             {["completion", "tcsh"], "bash, zsh, fish"}, {["version", "x"], "no place for"},
             {["stats", Bank, "--yes"], "no option --yes"}, {["", Bank], "no command"}]],
    {2, <<>>, Err} = run(["events", "--", "--x", "y"]),
    ?assertMatch({match, _}, re:run(Err, "no place")).

%% Also bytes that are no text.
no_argument_crashes_it(_Config) ->
    Bytes = fun(N) -> [Byte || <<Byte>> <= rand:bytes(N), Byte =/= 0, Byte =/= $'] end,
    [begin
         Args = [["'", Bytes(rand:uniform(20)), "'"] || _ <- lists:seq(1, rand:uniform(3))],
         {Status, <<>>, <<"warp: ", _/binary>>} = raw(["warp ", lists:join($\s, [Before | Args])]),
         ?assertMatch({Args, Status}, {Args, Status}),
         ?assert(Status =:= 2 orelse Status =:= 3)
     end || Before <- ["", "inspect", "events /tmp --entity", "sagas", "completion", "cluster forget"],
            _ <- [1, 2]].

raw(Line) ->
    Script = filename:join("/tmp", "warp-raw-" ++ os:getpid()),
    ok = file:write_file(Script, [Line, " 2>&1 >/dev/null\n"]),
    {Status, Out, <<>>} = sh(["sh ", Script], #{}),
    ok = file:delete(Script),
    {Status, <<>>, Out}.

%% ------------------------------------------------------------------ A context that runs

a_running_context_is_looked_at(Config) ->
    Bank = ?config(bank, Config),
    Vm = filled(Config, #{projections => embedded}),
    {0, Shown, <<>>} = run(["inspect", Bank]),
    [?assertMatch({Line, {match, _}}, {Line, re:run(Shown, Line, [multiline])})
     || Line <- ["^context +bank$", "^state +running, in the VM with the process number \\d+$", "^shards +3$",
                 "^entities +1,503$", "^events +2,503$", "^sagas +0 under way, 0 of them waiting; 1 stuck$",
                 "^projection +embedded, ", "^subscriptions +1, ",
                 "^shard +entities +events +position +size +format +state$",
                 "^ +0 +[0-9,]+ +[0-9,]+ +[0-9,]+ +[0-9.]+ [KM]iB +3 +open$"]],
    {0, [#{<<"state">> := <<"running">>, <<"shards">> := Shards, <<"sagas">> := #{<<"stuck">> := 1}}]} =
        json(["inspect", Bank], #{}),
    ?assertEqual({1503, 2503}, {sum(<<"entities">>, Shards), sum(<<"events">>, Shards)}),
    ?assertEqual([warp_cli_folder:newest()], lists:usort([Format || #{<<"format">> := Format} <- Shards])),
    {0, [#{<<"shards">> := [Quick | _]}]} = json(["inspect", Bank, "--quick"], #{}),
    ?assertNot(is_map_key(<<"entities">>, Quick)),
    ?assertMatch({0, _, <<>>}, run(["inspect", Bank, "--quick"])),
    {0, Stats, <<>>} = run(["stats", Bank]),
    ?assertMatch({match, _}, re:run(Stats, "^events +2,5\\d\\d$", [multiline])),
    {0, [#{<<"appends">> := Appends, <<"journal">> := #{}, <<"commit_us">> := [[_, _] | _]}]} =
        json(["stats", Bank], #{}),
    ?assert(Appends > 1500),
    %% Through the variable, and a path that is relative.
    ?assertMatch({0, _, <<>>}, run(["stats"], #{env => [{"WARP_DIR", Bank}]})),
    ?assertMatch({0, _, <<>>}, run(["stats", "data/bank/"], #{cd => ?config(dir, Config)})),
    {0, Verified, <<>>} = run(["verify", Bank]),
    ?assertMatch({match, _}, re:run(Verified, "^Nothing is damaged.\n\nshards +3\n")),
    ?assertMatch({0, [#{<<"events">> := N}]} when N >= 2503, json(["verify", Bank], #{})),
    {0, Events, <<>>} = run(["events", Bank, "--entity", "alice"]),
    ?assertMatch([<<"    1000  20", _/binary>>, <<"     999  ", _/binary>> | _], lines(Events)),
    ?assertEqual(100, length(lines(Events))),
    {0, Page} = json(["events", Bank, "--entity=alice", "--from", "7", "--limit", "2"], #{}),
    ?assertMatch([#{<<"seq">> := 7, <<"type">> := <<"Credited">>, <<"payload">> := #{<<"amount">> := 1}},
                  #{<<"seq">> := 8}], Page),
    {0, Exported, <<"1,000 events of alice.\n">>} = run(["export", Bank, "--entity", "alice"]),
    ?assertEqual(1000, length(lines(Exported))),
    {0, <<>>, <<"The entity nobody has no events.\n">>} = run(["events", Bank, "--entity", "nobody"]),
    {1, <<>>, _} = run(["events", Bank, "--entity", "$warp/saga/x"]),
    {0, Sagas, <<>>} = run(["sagas", "list", Bank]),
    ?assertMatch({match, _}, re:run(Sagas, "^xfr-001 +stuck +20[^ ]+Z +step 0 on bob: .*overdraft", [multiline])),
    {1, Stuck, <<>>} = run(["sagas", "stuck", Bank]),
    ?assertMatch({match, _}, re:run(Stuck, "^ +0 +bob +Account +not_reversed +\\d+ ", [multiline])),
    {1, [[#{<<"id">> := <<"xfr-001">>, <<"steps">> := [_, _]}]]} = json(["sagas", "stuck", Bank], #{}),
    {0, [[#{<<"id">> := <<"xfr-001">>, <<"state">> := <<"stuck">>}]]} = json(["sagas", "list", Bank], #{}),
    {0, Subscriptions, <<>>} = run(["subscriptions", Bank]),
    ?assertMatch({match, _}, re:run(Subscriptions, "^mail +- +no_consumer +[0-9,]+ ", [multiline])),
    {0, [[#{<<"name">> := <<"mail">>, <<"behind_positions">> := Behind}]]} = json(["subscriptions", Bank], #{}),
    ?assert(Behind > 1000),
    {0, Projections, <<>>} = run(["projections", "status", Bank]),
    ?assertMatch({match, _}, re:run(Projections, "^target +embedded, .*\nevents +2,503\nbehind +0 appends")),
    ?assertMatch({0, [#{<<"target">> := <<"embedded">>, <<"shards">> := [_, _, _]}]},
                 json(["projections", "status", Bank], #{})),
    {3, <<>>, <<"warp: The context runs on a single node.", _/binary>>} = run(["cluster", "status", Bank]),
    close(Vm),
    ?assertNot(warp_cli_test:is_there(filename:join(Bank, "ctl"))).

sum(Key, Shards) -> lists:sum([maps:get(Key, Shard) || Shard <- Shards]).

lines(Text) -> binary:split(Text, <<"\n">>, [global, trim]).

%% A VM with 1500 entities of one event, alice with 1000 events, a saga that is stuck, and the name of a subscription.
filled(Config, Options) ->
    Vm = bank(?config(data, Config), Options),
    warp_fault_vm:run(Vm, fun ?MODULE:fill/0),
    Vm.

fill() ->
    {ok, {1, 1000}} = warp_core:append_batch(entity(<<"alice">>), [warp_test:credited(1) || _ <- lists:seq(1, 1000)]),
    _ = warp_test:parallel(50, fun(N) ->
        [{ok, 1} = warp_core:append(entity(iolist_to_binary(io_lib:format("e-~b-~b", [N, I]))), warp_test:credited(5))
         || I <- lists:seq(1, 30)]
    end),
    {ok, 1} = warp_core:append(entity(<<"bob">>), warp_test:credited(1)),
    {ok, Sub} = warp_subscription:subscribe(warp_fault_vm:ctx(), #{name => <<"mail">>, from => beginning}),
    ok = warp_subscription:unsubscribe(Sub),
    ok = warp_cli_test:stuck(<<"xfr-001">>),
    %% What carol has begun to give was refused.
    {ok, 1} = warp_core:append(entity(<<"carol">>), warp_test:credited(1)),
    case warp_projection:status(warp_fault_vm:ctx()) of
        {ok, _} -> [ok = warp_core:await_projection(entity(Id), 30000) || Id <- [<<"alice">>, <<"bob">>, <<"carol">>]];
        {error, no_projections} -> ok
    end,
    warp_test:wait_until(fun() ->
        case warp_projection:status(warp_fault_vm:ctx()) of
            {ok, #{behind_positions := Behind}} -> Behind =:= 0;
            {error, no_projections} -> true
        end
    end).

a_running_context_is_worked_with(Config) ->
    Bank = ?config(bank, Config),
    Vm = filled(Config, #{projections => embedded}),
    {0, <<"Erased bob with 2 events.\n">>, <<"The entity bob of the context bank has 2 events", _/binary>>} =
        run(["erase", Bank, "--entity", "bob", "--yes"]),
    ?assertEqual({ok, []}, warp_fault_vm:run(Vm, fun() -> warp_core:export(entity(<<"bob">>)) end)),
    {0, [#{<<"events">> := 1000}]} = json(["erase", Bank, "--entity", "alice", "-y"], #{}),
    {0, [#{<<"events">> := 0}]} = json(["erase", Bank, "--entity", "alice", "--yes"], #{}),
    %% The compensation is refused once more, now since its entity was deleted.
    {1, Retried, <<>>} = run(["sagas", "retry", Bank, "--saga", "xfr-001"]),
    ?assertMatch({match, _}, re:run(Retried, "^state +stuck$", [multiline])),
    {1, [#{<<"state">> := <<"stuck">>}]} = json(["sagas", "retry", Bank, "--saga", "xfr-001"], #{}),
    {0, Resolved, _} = run(["sagas", "resolve", Bank, "--saga", "xfr-001", "--note", "it's done", "--yes"]),
    ?assertMatch({match, _}, re:run(Resolved, "^state +resolved$", [multiline])),
    {0, <<"No saga is stuck.\n">>, <<>>} = run(["sagas", "stuck", Bank]),
    {1, <<>>, <<"warp: ", _/binary>>} = run(["sagas", "retry", Bank, "--saga", "xfr-001"]),
    {1, <<>>, <<"warp: There is no saga", _/binary>>} = run(["sagas", "retry", Bank, "--saga", "xfr-009"]),
    {0, <<"The tables were made again.\n">>, <<"All tables of the context bank in embedded", _/binary>>} =
        run(["projections", "rebuild", Bank, "--yes"]),
    ?assertMatch({0, [#{<<"state">> := _}]}, json(["projections", "rebuild", Bank, "--yes", "--no-wait"], #{})),
    close(Vm).

exported_events_are_put_back(Config) ->
    Bank = ?config(bank, Config),
    Vm = filled(Config, #{}),
    {0, Exported, _} = run(["export", Bank, "--entity", "alice"]),
    [File, Restored, Damaged] = [filename:join(?config(dir, Config), Name)
                                 || Name <- ["zażółć.jsonl", "restored.jsonl", "damaged.jsonl"]],
    ok = file:write_file(File, Exported),
    Import = ["import", Bank, "--entity", "alice", File],
    {2, <<>>, Asked} = run(Import, #{stdin => "yes\n"}),
    ?assertMatch({match, _}, re:run(Asked, "has 1,000 events.*Nothing was done", [dotall])),
    %% They are all there.
    {0, <<"The entity alice has the 1,000 events.\n">>, _} = run(Import ++ ["--yes"]),
    %% A backup has them as well.
    Target = filename:join(?config(dir, Config), "backup"),
    Key = filename:join(?config(dir, Config), "key"),
    {0, _, _} = run(["keys", "new", Key]),
    {0, _, _} = run(["backup", "run", Bank, "--to", Target, "--master-key", Key]),
    {0, Then, _} = run(["restore", Target, "--master-key", Key, "--entity", "alice", "--export"]),
    ?assertEqual(Exported, Then),
    ok = file:write_file(Restored, Then),
    {0, _, _} = run(["erase", Bank, "--entity", "alice", "--yes"]),
    {0, [#{<<"entity">> := <<"alice">>, <<"events">> := 1000}]} =
        json(["import", Bank, "--entity", "alice", Restored, "--yes"], #{}),
    {0, Exported, _} = run(["export", Bank, "--entity", "alice"]),
    ?assertEqual({ok, 1000}, warp_fault_vm:run(Vm, fun() -> warp_core:get(entity(<<"alice">>), <<"Account">>) end)),
    %% What is in the way, or no export, changes nothing.
    {1, <<>>, Other} = run(["import", Bank, "--entity", "bob", File, "--yes"]),
    ?assertMatch({match, _}, re:run(Other, "id is that of an event of the entity alice")),
    {0, Bob, _} = run(["export", Bank, "--entity", "bob"]),
    ok = file:write_file(Damaged, [Bob, "{\"seq\":"]),
    {1, <<>>, Unread} = run(["import", Bank, "--entity", "new", Damaged, "--yes"]),
    ?assertMatch({match, _}, re:run(Unread, "Event 3 .counted from 1. cannot be stored")),
    {1, <<>>, Missing} = run(["import", Bank, "--entity", "new", File ++ ".gone", "--yes"]),
    ?assertMatch({match, _}, re:run(Missing, "cannot be read: enoent")),
    {1, <<>>, Folder} = run(["import", Bank, "--entity", "new", Bank, "--yes", "--json"]),
    ?assertMatch({ok, #{<<"error">> := #{<<"reason">> := <<"cannot_read">>}}},
                 warp_json:decode(lists:last(lines(Folder)))),
    ok = file:write_file(Damaged, binary:replace(Exported, <<"\"amount\":1">>, <<"\"amount\":2">>)),
    {1, <<>>, InTheWay} = run(["import", Bank, "--entity", "alice", Damaged, "--yes"]),
    ?assertMatch({match, _}, re:run(InTheWay, "has 1000 events already, and from seq 1 on not those")),
    close(Vm).

%% ------------------------------------------------------------------ A context that is stopped

a_stopped_context_is_looked_at(Config) ->
    Bank = ?config(bank, Config),
    close(filled(Config, #{})),
    {0, Shown, <<"No VM has the context open, so this command opens it", _/binary>>} = run(["inspect", Bank]),
    [?assertMatch({Line, {match, _}}, {Line, re:run(Shown, Line, [multiline])})
     || Line <- ["^state +stopped; opened for this command$", "^entities +1,503$", "^events +2,503$",
                 "^sagas +0 under way, 0 of them waiting; 1 stuck$"]],
    {0, [#{<<"state">> := <<"stopped">>, <<"shards">> := Shards}]} = json(["inspect", Bank], #{}),
    ?assertEqual({1503, 2503}, {sum(<<"entities">>, Shards), sum(<<"events">>, Shards)}),
    {0, _, <<>>} = run(["verify", Bank]),
    ?assertMatch({0, [#{<<"shards">> := 3}]}, json(["verify", Bank], #{})),
    {0, Exported, _} = run(["export", Bank, "--entity", "alice"]),
    ?assertEqual(1000, length(lines(Exported))),
    {0, [#{<<"seq">> := 1000}]} = json(["events", Bank, "--entity", "alice", "--limit", "1"], #{}),
    {1, [[#{<<"id">> := <<"xfr-001">>}]]} = json(["sagas", "stuck", Bank], #{}),
    {0, [[#{<<"name">> := <<"mail">>, <<"state">> := <<"no_consumer">>}]]} = json(["subscriptions", Bank], #{}),
    %% It is as it was: nothing is left that only this program needed.
    Names = lists:sort(filelib:wildcard("*", Bank)),
    ?assertEqual([], [Name || Name <- Names, string:find(Name, "ctl") =/= nomatch
                                               orelse string:find(Name, "journal") =/= nomatch
                                               orelse string:find(Name, "-wal") =/= nomatch]),
    Vm = bank(?config(data, Config), #{}),
    ?assertEqual({ok, 1000}, warp_fault_vm:run(Vm, fun() -> warp_core:get(entity(<<"alice">>), <<"Account">>) end)),
    close(Vm).

a_stopped_context_is_worked_with(Config) ->
    Bank = ?config(bank, Config),
    close(filled(Config, #{})),
    {0, <<"Erased alice with 1,000 events.\n">>, _} = run(["erase", Bank, "--entity", "alice", "--yes"]),
    {0, _, _} = run(["sagas", "resolve", Bank, "--saga", "xfr-001", "--note", "by hand", "--yes"]),
    {0, <<"No saga is stuck.\n">>, _} = run(["sagas", "stuck", Bank]),
    %% The subscriber is yet to be told of it.
    ?assertEqual(["subscriptions.db"], [filename:basename(File) || File <- warp_test:files_with(Bank, <<"alice">>)]),
    Vm = bank(?config(data, Config), #{}),
    ?assertEqual({ok, []}, warp_fault_vm:run(Vm, fun() -> warp_core:export(entity(<<"alice">>)) end)),
    ?assertMatch({ok, #{state := resolved, note := <<"by hand">>}},
                 warp_fault_vm:run(Vm, fun() -> warp_saga:status(warp_fault_vm:ctx(), <<"xfr-001">>) end)),
    close(Vm).

%% Opened without the functions of its aggregates nothing of it is projected, or taken for projected.
a_stopped_context_with_a_projection_keeps_it(Config) ->
    Bank = ?config(bank, Config),
    close(filled(Config, #{projections => embedded})),
    {0, Shown, _} = run(["inspect", Bank]),
    ?assertMatch({match, _}, re:run(Shown, "^projection +not opened$", [multiline])),
    {1, <<>>, Refused} = run(["erase", Bank, "--entity", "alice", "--yes"]),
    ?assertMatch({match, _}, re:run(Refused, "\nwarp: The context has a projection")),
    Vm = bank(?config(data, Config), #{projections => embedded}),
    {ok, #{rows := [[1000]]}} = warp_fault_vm:run(Vm, fun() ->
        warp_core:query(warp_fault_vm:ctx(), <<"SELECT amount FROM balances WHERE id = 'alice'">>, [])
    end),
    {ok, #{rebuild_due := false}} =
        warp_fault_vm:run(Vm, fun() -> warp_projection:status(warp_fault_vm:ctx()) end),
    close(Vm).

only_a_running_context_can_do_some_things(Config) ->
    Bank = ?config(bank, Config),
    close(bank(?config(data, Config), #{})),
    [begin
         ?assertMatch({Args, {3, <<>>, <<"warp: No VM has the context in ", _/binary>>}}, {Args, run(Args)}),
         {3, <<>>, Json} = run(Args ++ ["--json"]),
         ?assertMatch({ok, #{<<"error">> := #{<<"reason">> := <<"not_running">>}}}, warp_json:decode(string:trim(Json)))
     end
     || Args <- [["stats", Bank], ["import", Bank, "--entity", "alice", "x", "--yes"],
                 ["sagas", "retry", Bank, "--saga", "x"], ["projections", "status", Bank],
                 ["projections", "rebuild", Bank, "--yes"], ["cluster", "status", Bank], ["cluster", "members", Bank],
                 ["cluster", "leave", Bank, "--yes"], ["cluster", "forget", Bank, "--node", "a@b", "--yes"],
                 ["cluster", "adopt", Bank, "--yes"]]].

%% ------------------------------------------------------------------ Asking

dangerous_commands_ask(Config) ->
    Bank = ?config(bank, Config),
    Vm = filled(Config, #{projections => embedded}),
    %% Nobody can be asked.
    [begin
         {2, <<>>, Said} = run(Args, #{stdin => "yes\n"}),
         ?assertMatch({Args, {match, _}}, {Args, re:run(Said, "Nothing was done: there is no terminal")})
     end
     || Args <- [["erase", Bank, "--entity", "alice"], ["projections", "rebuild", Bank],
                 ["sagas", "resolve", Bank, "--saga", "xfr-001", "--note", "x"]]],
    ?assertMatch({1, [[_]]}, json(["sagas", "stuck", Bank], #{})),
    {0, [#{<<"seq">> := 1000}]} = json(["events", Bank, "--entity", "alice", "--limit", "1"], #{}),
    Erase = fun(Answer) -> on_terminal(["erase ", Bank, " --entity alice"], Answer) end,
    {2, No} = Erase("no\n"),
    ?assertMatch({match, _},
                 re:run(No, "1,000 events.*They will be erased.*Type yes to go on:.*Nothing was done", [dotall])),
    ?assertMatch({2, _}, Erase("\n")),
    {0, Yes} = Erase("yes\n"),
    ?assertMatch({match, _}, re:run(Yes, "Erased alice")),
    close(Vm).

progress_is_shown_on_a_terminal(Config) ->
    Bank = ?config(bank, Config),
    Vm = filled(Config, #{}),
    {0, Out} = on_terminal(["verify ", Bank], ""),
    ?assertMatch({match, _}, re:run(Out, "\rshard 3 of 3, [a-z]+: \\d+ %\\e\\[K.*\r\\e\\[KNothing is damaged")),
    close(Vm),
    {0, Stopped} = on_terminal(["verify ", Bank], ""),
    ?assertMatch({match, _}, re:run(Stopped, "\rshard 3 of 3, [a-z]+: \\d+ %\\e\\[K")).

%% The program with a terminal, as script(1) of Linux makes one.
on_terminal(Command, Input) ->
    Line = ["script -qec \"", warp_cli_test:program(), $\s, Command, "\" /dev/null"],
    {Status, Out, <<>>} = sh(Line, #{stdin => Input}),
    {Status, Out}.

what_is_printed_can_be_cut_off(Config) ->
    Bank = ?config(bank, Config),
    Vm = filled(Config, #{}),
    {0, Two, <<>>} = sh(["warp events ", Bank, " --entity alice --limit 1000 | head -n 2"], #{}),
    ?assertEqual(2, length(lines(Two))),
    {0, <<"{">>, _} = sh(["warp export ", Bank, " --entity alice | head -c 1"], #{}),
    close(Vm).

%% ------------------------------------------------------------------ The texts

the_examples_run(Config) ->
    Vm = filled(Config, #{projections => embedded}),
    Examples = [Example || #{words := [First | _], examples := All} <- warp_cli_command:all(), First =/= <<"cluster">>,
                           Example <- All],
    ?assert(length(Examples) > 15),
    [begin
         {Status, _, Err} = sh(Example, #{cd => ?config(dir, Config)}),
         ?assertEqual({Example, 0, Err}, {Example, Status, Err})
     end || Example <- Examples],
    ?assertEqual(1000, length(lines(element(2, file:read_file(filename:join(?config(dir, Config), "alice.jsonl")))))),
    close(Vm).

the_examples_of_clusters_run(Config) ->
    Cluster = warp_cluster_vm:init_case([one, two], []),
    [One, Two] = warp_cluster_vm:vms(Cluster),
    ok = warp_cluster_vm:open_all([One, Two], #{shards => 4}),
    ok = warp_cluster_vm:settled(One),
    ok = file:del_dir(?config(data, Config)),
    ok = file:make_symlink(warp_cluster_vm:dir_of(One), ?config(data, Config)),
    In = #{cd => ?config(dir, Config)},
    {0, Status, <<>>} = run(["cluster", "status", "data/bank"], In),
    ?assertMatch({match, _},
                 re:run(Status, "\nnode +state +reached +shards +starts\none_\\S+ +up +yes +2 +1\n")),
    {0, [#{<<"members">> := [_, _], <<"moving">> := #{<<"to_move">> := 0}}]} =
        json(["cluster", "status", "data/bank"], In),
    {0, [[#{<<"state">> := <<"up">>}, #{}]]} = json(["cluster", "members", "data/bank"], In),
    {0, [#{<<"cluster">> := #{<<"members">> := 2}, <<"shards">> := Shards}]} =
        json(["inspect", "data/bank"], In),
    ?assertMatch([_, _], [N || #{<<"shard">> := N, <<"unavailable">> := true} <- Shards]),
    {2, <<>>, _} = run(["cluster", "leave", "data/bank"], In),
    Expected = #{<<"forget">> => {1, "is no member"}, <<"adopt">> => {1, "not in doubt"}},
    %% Leaving comes last, since a node that has left can do nothing else.
    Commands = [Of || #{words := [<<"cluster">>, _]} = Of <- warp_cli_command:all()],
    {Leave, Others} = lists:partition(fun(#{words := [_, Is]}) -> Is =:= <<"leave">> end, Commands),
    [begin
         {Wanted, Said} = maps:get(Is, Expected, {0, ""}),
         {Ended, _, Err} = sh(Example, In),
         ?assertEqual({Example, Wanted, Err}, {Example, Ended, Err}),
         ?assertMatch({Example, Err, {match, _}}, {Example, Err, re:run(Err, Said)})
     end || #{words := [_, Is], examples := Examples} <- Others ++ Leave, Example <- Examples],
    ?assertMatch({ok, [#{state := left}, #{shards := 4}]},
                 warp_cluster_vm:run(Two, fun() -> warp_cluster:members(warp_cluster_vm:ctx()) end)),
    %% The folder of a node that is stopped can be checked, and not opened as a single node's.
    ok = warp_cluster_vm:stop(Two),
    Folder = filename:join(warp_cluster_vm:dir_of(Two), "bank"),
    {0, _, <<>>} = run(["verify", Folder]),
    {1, <<>>, <<"warp: The folder ", _/binary>>} = run(["inspect", Folder]),
    warp_cluster_vm:end_case([{vms, [One]} | proplists:delete(vms, Cluster)]),
    ok = file:delete(?config(data, Config)).

%% Its context waits in its start.
a_node_in_doubt_is_adopted(_Config) ->
    Cluster = warp_cluster_vm:init_case([one, two], []),
    [One, Two] = warp_cluster_vm:vms(Cluster),
    ok = warp_cluster_vm:open_all([One, Two], #{shards => 4}),
    ok = warp_cluster_vm:settled(One),
    ok = warp_cluster_vm:close(Two),
    Folder = filename:join(warp_cluster_vm:dir_of(Two), "bank"),
    ok = file:write_file(filename:join(Folder, "seen"), "1700000000\n"),
    Self = self(),
    _ = spawn_link(fun() -> Self ! {opened, warp_cluster_vm:open(Two, [One], #{shards => 4})} end),
    warp_test:wait_until(fun() ->
        {_, Out, _} = run(["cluster", "status", Folder]),
        re:run(Out, "^phase +doubt\nwhy ", [multiline]) =/= nomatch
    end, 30000),
    {1, [#{<<"phase">> := <<"doubt">>}]} = json(["cluster", "status", Folder], #{}),
    {0, _, <<>>} = run(["stats", Folder]),
    {2, <<>>, _} = run(["cluster", "adopt", Folder]),
    {0, [#{<<"state">> := <<"adopted">>}]} = json(["cluster", "adopt", Folder, "--yes"], #{}),
    receive {opened, ok} -> ok end,
    warp_test:wait_until(fun() -> element(1, run(["cluster", "status", Folder])) =:= 0 end, 30000),
    warp_cluster_vm:end_case(Cluster).

shells_complete_commands(Config) ->
    Dir = ?config(dir, Config),
    Script = filename:join(Dir, "warp.bash"),
    {0, Bash, <<>>} = run(["completion", "bash"]),
    ok = file:write_file(Script, Bash),
    {0, <<>>, <<>>} = sh(["bash -n ", Script], #{}),
    Complete = fun(Words) ->
        Line = ["bash -c 'source ", Script, "; cd ", Dir, "; COMP_WORDS=(", lists:join($\s, Words),
                "); COMP_CWORD=", integer_to_list(length(Words) - 1), "; _warp; echo \"${COMPREPLY[@]}\"'"],
        {0, Out, <<>>} = sh(Line, #{}),
        lists:sort(string:lexemes(string:trim(Out), " "))
    end,
    ?assertEqual([<<"inspect">>], Complete(["warp", "insp"])),
    ?assertEqual([<<"stats">>, <<"subscriptions">>], Complete(["warp", "s"]) -- [<<"sagas">>]),
    ?assertEqual([<<"list">>, <<"resolve">>, <<"retry">>, <<"stuck">>], Complete(["warp", "sagas", "\"\""])),
    ?assertEqual([<<"--saga">>], Complete(["warp", "sagas", "retry", "data/bank", "--s"])),
    ?assertEqual([<<"--yes">>], Complete(["warp", "cluster", "forget", "--y"])),
    ?assertEqual([<<"data">>], Complete(["warp", "inspect", "da"])),
    ?assertEqual([<<"fish">>], Complete(["warp", "completion", "f"])),
    ok = file:write_file(filename:join(Dir, "bank.key"), "x"),
    ?assertEqual([<<"bank.key">>], Complete(["warp", "backup", "verify", "--master-key", "ba"])),
    ?assertEqual([<<"--master-key">>, <<"--master-key-env">>], Complete(["warp", "restore", "--mas"])),
    {0, Zsh, <<>>} = run(["completion", "zsh"]),
    ?assertMatch({match, _}, re:run(Zsh, "bashcompinit")),
    {0, Fish, <<>>} = run(["completion", "fish"]),
    [?assertNotEqual({Word, nomatch}, {Word, binary:match(Fish, Word)})
     || #{words := Words} <- warp_cli_command:all(), Word <- Words],
    [{0, _, <<>>} = sh([Shell, " -n ", File], #{})
     || {Shell, Text, Name} <- [{"zsh", Zsh, "warp.zsh"}, {"fish", Fish, "warp.fish"}],
        os:find_executable(Shell) =/= false,
        File <- [filename:join(Dir, Name)], ok <- [file:write_file(File, Text)]].
