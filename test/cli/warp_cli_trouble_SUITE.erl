%% The program `warp' where something is wrong: with the folder, with the VM that has it open, or with who runs it.
-module(warp_cli_trouble_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_cli_test, [run/1, run/2, json/2, bank/2, bank/3, close/1]).
-import(warp_fault_vm, [entity/1]).

suite() -> [{timetrap, {minutes, 2}}].

%% Most of the time they wait for VMs that start.
all() -> [{group, all}].

groups() ->
    [{all, [parallel],
      [a_folder_without_a_context,
       a_vm_that_was_killed,
       a_vm_that_says_nothing,
       a_vm_that_has_no_socket,
       a_vm_that_starts_meanwhile,
       a_context_that_is_stopped_meanwhile,
       a_copy_of_a_running_folder,
       a_damaged_folder,
       a_folder_of_another_format,
       a_folder_of_another_user,
       a_context_of_another_name]}].

init_per_group(_, Config) -> Config.
end_per_group(_, _) -> ok.

init_per_testcase(_, Config) ->
    Config1 = warp_test:init_case(Config),
    Data = filename:join(?config(dir, Config1), "data"),
    ok = file:make_dir(Data),
    [{data, Data}, {bank, filename:join(Data, "bank")} | Config1].

end_per_testcase(_, Config) -> warp_test:end_case(Config).

%% What each command says of a folder.
each(Dir, Check) ->
    [Check(Args, run(Args))
     || Args <- [["inspect", Dir], ["verify", Dir], ["events", Dir, "--entity", "a"], ["export", Dir, "--entity", "a"],
                 ["stats", Dir], ["sagas", "list", Dir], ["erase", Dir, "--entity", "a", "--yes"],
                 ["subscriptions", Dir], ["projections", "status", Dir], ["cluster", "status", Dir]]].

a_folder_without_a_context(Config) ->
    close(filled(Config)),
    File = filename:join(?config(dir, Config), "file"),
    ok = file:write_file(File, "x"),
    Empty = filename:join(?config(dir, Config), "empty"),
    ok = file:make_dir(Empty),
    [each(Dir, fun(Args, {Status, Out, Err}) ->
         ?assertMatch({Args, 3, <<>>, {match, _}}, {Args, Status, Out, re:run(Err, Said)})
     end)
     || {Dir, Said} <- [{filename:join(Empty, "none"), "^warp: There is no folder"}, {File, "^warp: .* is no folder"},
                        {Empty, "^warp: In the folder .* is no context. Give"}, {"", "^warp: "},
                        {?config(data, Config), "is no context. Did you mean .*/data/bank\\?"}], Dir =/= ""],
    %% Nothing was made there.
    ?assertEqual({ok, []}, file:list_dir(Empty)).

filled(Config) ->
    Vm = bank(?config(data, Config), #{}),
    ok = warp_fault_vm:run(Vm, fun ?MODULE:fill/0),
    Vm.

fill() ->
    [{ok, 1} = warp_core:append(entity(<<"e", N>>), warp_test:credited(7)) || N <- lists:seq($0, $9)],
    {ok, {1, 300}} = warp_core:append_batch(entity(<<"alice">>), [warp_test:credited(1) || _ <- lists:seq(1, 300)]),
    ok.

%% Its socket is there, and nobody listens.
a_vm_that_was_killed(Config) ->
    Bank = ?config(bank, Config),
    warp_fault_vm:kill(filled(Config)),
    ?assert(warp_cli_test:is_there(filename:join(Bank, "ctl"))),
    {3, <<>>, <<"warp: No VM has", _/binary>>} = run(["stats", Bank]),
    {0, _, <<>>} = run(["verify", Bank]),
    ?assert(warp_cli_test:is_there(filename:join(Bank, "ctl"))),
    {0, [#{<<"state">> := <<"stopped">>, <<"shards">> := Shards}]} = json(["inspect", Bank], #{}),
    ?assertEqual(310, lists:sum([N || #{<<"events">> := N} <- Shards])),
    ?assertNot(warp_cli_test:is_there(filename:join(Bank, "ctl"))),
    %% And again, with a VM that finds the socket.
    warp_fault_vm:kill(bank(?config(data, Config), #{})),
    Vm = bank(?config(data, Config), #{}),
    warp_test:wait_until(fun() -> element(1, run(["stats", Bank])) =:= 0 end),
    {0, [#{<<"state">> := <<"running">>}]} = json(["inspect", Bank], #{}),
    close(Vm).

a_vm_that_says_nothing(Config) ->
    Vm = filled(Config),
    Os = warp_fault_vm:run(Vm, fun os:getpid/0),
    "" = os:cmd("kill -STOP " ++ Os),
    {Micros, {3, <<>>, Said}} = timer:tc(fun() -> run(["inspect", ?config(bank, Config)]) end),
    ?assertMatch({match, _}, re:run(Said, "^warp: The VM that has the context in .* open says nothing")),
    ?assert(Micros < 20000000),
    "" = os:cmd("kill -CONT " ++ Os),
    ?assertMatch({0, _, <<>>}, run(["inspect", ?config(bank, Config)])),
    close(Vm).

%% As one of an earlier version.
a_vm_that_has_no_socket(Config) ->
    Bank = ?config(bank, Config),
    Vm = filled(Config),
    warp_test:wait_until(fun() -> warp_cli_test:is_there(filename:join(Bank, "ctl")) end),
    ok = file:delete(filename:join(Bank, "ctl")),
    {3, <<>>, Said} = run(["inspect", Bank]),
    ?assertMatch({match, _}, re:run(Said, "^warp: A VM has the context in .* open, and does not answer")),
    {3, <<>>, InUse} = run(["verify", Bank]),
    ?assertMatch({match, _}, re:run(InUse, "^warp: ")),
    close(Vm).

a_vm_that_starts_meanwhile(Config) ->
    Bank = ?config(bank, Config),
    close(filled(Config)),
    Self = self(),
    _ = spawn_link(fun() -> Self ! {ran, [run(["inspect", Bank]) || _ <- lists:seq(1, 4)]} end),
    Vms = [begin
               Vm = opened(?config(data, Config)),
               timer:sleep(200),
               close(Vm)
           end || _ <- lists:seq(1, 3)],
    ?assertEqual(3, length(Vms)),
    receive {ran, Ran} ->
        %% Each one got an answer, or a clear word that the context was stopped just then.
        [?assertMatch({_, {match, _}}, {Is, re:run([Out, Err], "events +310|stopped it, or ended")})
         || {_, Out, Err} = Is <- Ran]
    end.

%% The command may have the folder for a moment.
opened(Data) ->
    Vm = warp_fault_vm:start(),
    Open = fun() -> warp_fault_vm:run(Vm, fun() -> warp_cli_test:open(#{data_dir => Data}) end) end,
    warp_test:wait_until(fun() -> Open() =:= ok end),
    Vm.

a_context_that_is_stopped_meanwhile(Config) ->
    Bank = ?config(bank, Config),
    Vm = bank(?config(data, Config), #{}),
    warp_fault_vm:run(Vm, fun() ->
        Large = warp_test:noted(binary:copy(<<"x">>, 100000)),
        [{ok, _} = warp_core:append_batch(entity(<<"alice">>), [Large || _ <- lists:seq(1, 100)])
         || _ <- lists:seq(1, 5)],
        ok
    end),
    Self = self(),
    Begun = filename:join(?config(dir, Config), "begun"),
    _ = spawn_link(fun() ->
        %% It reads slowly, so that the socket is full.
        Self ! {ran, warp_cli_test:sh(["{ warp export ", Bank, " --entity alice; echo status $? >&2; } | "
                                       "{ head -c 1 >", Begun, "; sleep 3; wc -l; }"], #{})}
    end),
    warp_test:wait_until(fun() -> filelib:file_size(Begun) =:= 1 end),
    close(Vm),
    receive {ran, {0, _, Err}} -> ?assertMatch({match, _}, re:run(Err, "stopped it, or ended.*\nstatus 3\n")) end.

%% As a file system's snapshot, or an administrator who knows no better, makes it.
a_copy_of_a_running_folder(Config) ->
    Bank = ?config(bank, Config),
    Vm = filled(Config),
    warp_test:wait_until(fun() -> warp_cli_test:is_there(filename:join(Bank, "ctl")) end),
    timer:sleep(500),
    Copy = filename:join(?config(dir, Config), "copy"),
    "" = os:cmd("cp -a " ++ ?config(data, Config) ++ " " ++ Copy),
    Copied = filename:join(Copy, "bank"),
    ?assert(warp_cli_test:is_there(filename:join(Copied, "ctl"))),
    {0, _, <<>>} = run(["verify", Copied]),
    {0, [#{<<"state">> := <<"stopped">>}]} = json(["inspect", Copied], #{}),
    close(Vm).

a_damaged_folder(Config) ->
    Bank = ?config(bank, Config),
    close(filled(Config)),
    Shard = filename:join(Bank, "shard-0001.db"),
    {ok, Bytes} = file:read_file(Shard),
    {Head, <<Byte, Rest/binary>>} = split_binary(Bytes, byte_size(Bytes) - 3000),
    ok = file:write_file(Shard, [Head, Byte bxor 255, Rest]),
    {1, <<>>, Damage} = run(["verify", Bank]),
    ?assertMatch({match, _}, re:run(Damage, "^warp: .*shard-0001.db")),
    {1, <<>>, Json} = run(["verify", Bank, "--json"]),
    ?assertMatch({ok, #{<<"error">> := #{<<"reason">> := <<"corrupt">>}}}, warp_json:decode(string:trim(Json))),
    each(Bank, fun(Args, {Status, _, Err}) ->
        ?assertMatch({Args, Status, Err, true}, {Args, Status, Err, lists:member(Status, [0, 1, 3])})
    end),
    %% A running context says the same.
    ok = file:write_file(Shard, Bytes),
    ok = file:write_file(filename:join(Bank, "shard-0002.db"), binary:copy(<<"x">>, 8192)),
    {Status, <<>>, <<"warp: ", _/binary>>} = run(["verify", Bank]),
    ?assert(Status =:= 1 orelse Status =:= 3),
    {Opened, <<>>, <<"warp: ", _/binary>>} = run(["inspect", Bank]),
    ?assert(Opened =:= 1 orelse Opened =:= 3).

a_folder_of_another_format(Config) ->
    Old = filename:join(?config(dir, Config), "old"),
    ok = warp_fixture:copy(warp_fixture:dir("v2"), Old, "closed"),
    Dir = filename:join(Old, "closed"),
    {3, <<>>, Older} = run(["inspect", Dir]),
    ?assertMatch({match, _}, re:run(Older, "^warp: The folder .* has format 2. Opening it brings it to format")),
    {0, _, <<>>} = run(["verify", Dir]),
    {0, [#{<<"shards">> := _}]} = json(["inspect", Dir, "--upgrade"], #{}),
    {0, [#{<<"shards">> := Shards}]} = json(["inspect", Dir], #{}),
    ?assertEqual([warp_cli_folder:newest()], lists:usort([Format || #{<<"format">> := Format} <- Shards])),
    %% One of a later version.
    Bank = ?config(bank, Config),
    close(filled(Config)),
    Shard = filename:join(Bank, "shard-0000.db"),
    {ok, Device} = file:open(Shard, [read, write, raw, binary]),
    ok = file:pwrite(Device, 60, <<99:32>>),
    ok = file:close(Device),
    [begin
         {3, <<>>, Newer} = run([Command, Bank]),
         ?assertMatch({Command, {match, _}}, {Command, re:run(Newer, "^warp: .*has format 99, which a newer version")})
     end || Command <- ["inspect", "verify"]].

%% As root everybody's folders can be read, and files that root made cannot be opened by the program afterwards.
a_folder_of_another_user(Config) ->
    Bank = ?config(bank, Config),
    close(filled(Config)),
    case os:getenv("USER") =:= "root" orelse string:trim(os:cmd("id -u")) =:= "0" of
        false ->
            ok = file:change_mode(Bank, 0),
            {3, <<>>, <<"warp: The folder ", _/binary>>} = run(["inspect", Bank]),
            ok = file:change_mode(Bank, 8#700);
        true ->
            "" = os:cmd("chmod 755 " ++ ?config(dir, Config) ++ "; chown -R 65533 " ++ ?config(data, Config)),
            {3, <<>>, Foreign} = run(["inspect", Bank]),
            ?assertMatch({match, _}, re:run(Foreign, "is that of the user with the number 65533")),
            {0, _, <<>>} = run(["verify", Bank]),
            As = fun(User, Args) -> run(Args, #{under => "setpriv --clear-groups --reuid " ++ User}) end,
            case As("65533", ["version"]) of
                {0, _, <<>>} ->
                    {0, _, _} = As("65533", ["inspect", Bank]),
                    {3, <<>>, Denied} = As("65532", ["inspect", Bank]),
                    ?assertMatch({match, _}, re:run(Denied, "^warp: The folder .* cannot be read: permission denied")),
                    Vm = bank(?config(data, Config), #{},
                              #{under => {"/usr/bin/setpriv", ["--clear-groups", "--reuid", "65533"]}}),
                    "" = os:cmd("chmod 755 " ++ ?config(data, Config) ++ " " ++ Bank),
                    {3, <<>>, Others} = As("65532", ["stats", Bank]),
                    ?assertMatch({match, _}, re:run(Others, "^warp: The socket .* is another user's")),
                    {0, _, <<>>} = As("65533", ["stats", Bank]),
                    close(Vm);
                _ ->
                    {comment, "the project's folder is closed to other users"}
            end
    end.

a_context_of_another_name(Config) ->
    Bank = ?config(bank, Config),
    close(filled(Config)),
    Other = filename:join(?config(data, Config), "other"),
    ok = file:rename(Bank, Other),
    {0, _, <<>>} = run(["verify", Other]),
    {1, <<>>, <<"warp: ", Said/binary>>} = run(["inspect", Other]),
    ?assertMatch({match, _}, re:run(Said, "bank")).
