%% Backups in a bucket of a real S3 server, also while that, or the program that speaks to it, ends or hangs.
-module(warp_backup_s3_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [addresses_are_told_apart, an_address_may_come_from_the_environment, what_is_wrong_with_an_address_is_named,
     a_context_comes_back_from_a_bucket, a_deleted_entity_is_in_no_older_backup, keys_can_be_in_another_place,
     an_object_is_created_once, of_many_who_create_one_does, a_list_has_pages, a_large_object_is_whole,
     a_program_that_is_killed_is_told_and_made_up_for, a_program_that_stands_still_is_told,
     a_program_ends_with_who_has_opened_it, a_server_that_ends_in_a_run_is_caught_up_with,
     a_server_that_hangs_is_told, wrong_keys_and_buckets_are_named, two_writers_notice_each_other,
     storage_that_writes_over_is_refused, no_secret_is_shown, the_command_line_takes_buckets,
     without_its_program_it_says_how_to_get_it].

init_per_suite(Config) ->
    Missing = [File || File <- ["_build/s3/bin/moto_server", "priv/warp_store"],
                       not filelib:is_file(filename:join(warp_s3_test:root(), File))],
    case {Missing, os:type()} of
        {[], _} ->
            [{server, warp_s3_test:start({"WARP_S3", []})} | Config];
        {_, {unix, linux}} ->
            ct:fail("~p: scripts/setup s3 and scripts/build-store make these", [Missing]);
        _ ->
            {skip, "scripts/setup s3 could not install the server"}
    end.

end_per_suite(Config) -> warp_s3_test:stop(?config(server, Config)).

init_per_testcase(Case, Config) ->
    Door = warp_s3_test:door(?config(server, Config)),
    warp_test:init_case([{door, Door}, {prefix, "of/" ++ atom_to_list(Case)} | Config]).

end_per_testcase(_, Config) ->
    ok = warp_s3_test:resume(?config(server, Config)),
    ok = warp_s3_test:leave(?config(door, Config)),
    ok = warp_test:end_case(Config),
    ok = warp_test:wait_until(fun() -> warp_s3_test:programs() =:= [] end).

%% ------------------------------------------------------------------ Addresses

addresses_are_told_apart(_Config) ->
    Same = [#{s3 => <<"bank">>, prefix => "/a/b/", endpoint => "HTTP://Storage:9000/"},
            #{s3 => "bank", prefix => "a/b", endpoint => <<"http://storage:9000">>, region => "eu-central-1"},
            #{s3 => "bank", prefix => "a/b", endpoint => "http://storage:9000", access_key_id => {env, <<"ID">>}},
            <<"s3://bank/a/b?endpoint=http://storage:9000&region=local&timeout=5000">>,
            "s3://bank/a/b/?endpoint=http%3A%2F%2Fstorage%3A9000&secret_access_key_env=KEY"],
    [?assertEqual(<<"s3://bank/a/b?endpoint=http://storage:9000">>, described(Given)) || Given <- Same],
    ?assertEqual(<<"s3://bank">>, described("s3://bank")),
    %% What one says of itself can be given again.
    ?assertEqual(described(hd(Same)), described(described(hd(Same)))),
    ?assertEqual(<<"/s3/x">>, described("/s3/x")).

an_address_may_come_from_the_environment(_Config) ->
    Set = [{"AWS_ENDPOINT_URL", "http://from-env:1"}, {"AWS_DEFAULT_REGION", "moon"}],
    [true = os:putenv(Name, Value) || {Name, Value} <- Set],
    try
        ?assertEqual(<<"s3://bank?endpoint=http://from-env:1">>, described("s3://bank")),
        ?assertEqual(<<"s3://bank?endpoint=http://given:2">>, described("s3://bank?endpoint=http://given:2")),
        ?assertMatch({ok, #{region := <<"moon">>, access_key_id := <<"AWS_ACCESS_KEY_ID">>,
                            session_token := {optional, <<"AWS_SESSION_TOKEN">>}}},
                     warp_backup_s3:check("s3://bank")),
        %% A token belongs to the keys beside which it stands.
        ?assertMatch({ok, #{session_token := none}},
                     warp_backup_s3:check(#{s3 => "bank", access_key_id => {env, "MINE"}}))
    after
        [true = os:unsetenv(Name) || {Name, _} <- Set]
    end.

what_is_wrong_with_an_address_is_named(Config) ->
    Wrong = [{s3, #{s3 => ""}}, {s3, #{s3 => "a/b"}}, {s3, #{s3 => none}}, {s3, "s3://"}, {s3, "s3://-x"},
             {prefix, #{s3 => "bank", prefix => "a/../b"}}, {prefix, "s3://bank/a//b"},
             {prefix, #{s3 => "bank", prefix => lists:duplicate(600, $a)}},
             {endpoint, #{s3 => "bank", endpoint => "ftp://x"}}, {endpoint, #{s3 => "bank", endpoint => "x:9000"}},
             {endpoint, "s3://bank?endpoint=http://user:secret@x"}, {endpoint, "s3://bank?endpoint=http://x?y=z"},
             {region, #{s3 => "bank", region => "eu/1"}}, {timeout, #{s3 => "bank", timeout => 0}},
             {timeout, "s3://bank?timeout=soon"}, {<<"access_key_id">>, "s3://bank?access_key_id=AKIA"},
             {access_key_id, #{s3 => "bank", access_key_id => <<"AKIA">>}},
             {secret_access_key, #{s3 => "bank", secret_access_key => {env, "A=B"}}},
             {bukket, #{s3 => "bank", bukket => 1}}],
    [?assertEqual({error, {bad_option, from, {not_s3, Field}}}, warp_backup:list(From)) || {Field, From} <- Wrong],
    Ctx = warp_test:start(Config),
    Given = #{to => "x", master_key => {env, "X"}},
    [?assertEqual({error, {bad_option, Option, {not_s3, prefix}}},
                  warp_backup:run(Ctx, Given#{Option => "s3://bank//a/.."}))
     || Option <- [to, keys_to]],
    Text = warp_error:format_error({bad_option, from, {not_s3, endpoint}}),
    ?assertMatch({_, _}, binary:match(Text, <<"wrong or unknown endpoint">>)).

described(Given) ->
    {ok, Target} = warp_backup_target:check(Given),
    warp_backup_target:describe(Target).

%% ------------------------------------------------------------------ Backups

a_context_comes_back_from_a_bucket(Config) ->
    Ctx = warp_test:start(Config, #{shards => 3}),
    ok = fill(Ctx, 1, 100),
    Before = warp_backup_test:logs(Ctx, warp_backup_test:names(Ctx)),
    {ok, #{cut := 1, segments := 1, rows := 100}} = backup(Ctx, Config),
    ok = fill(Ctx, 101, 150),
    {ok, #{cut := 2}} = backup(Ctx, Config),
    {ok, #{cut := 2, segments := 0}} = backup(Ctx, Config),
    From = target(Config),
    {ok, [#{cut := 1}, #{cut := 2, segments := 2}]} = warp_backup:list(From),
    {ok, #{context := <<"test">>, shards := 3, wrapped_by := master_key}} = warp_backup:about(From),
    {ok, #{segments := 2, cuts := 2}} = warp_backup:verify(From),
    {ok, #{events := 150}} = warp_backup:verify(From, #{master_key => master(Config)}),
    {ok, #{cut := 2, older := []}} = warp_backup:check(From),
    ?assertEqual(Before, restored(Config, #{until => {cut, 1}})),
    {ok, #{context := <<"test">>}} =
        warp_backup:restore(filename:join(?config(dir, Config), "new"), From, #{master_key => master(Config)}),
    Other = #{s3 => "bank", prefix => "nothing/here"},
    ?assertEqual({error, no_backup}, warp_backup:list(maps:merge(From, Other))).

%% The address of a target is remembered as a folder's is.
a_deleted_entity_is_in_no_older_backup(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 20),
    To = described(target(Config)),
    {ok, #{cut := 1}} = start(Ctx, Config, #{every => 60000}),
    ?assertMatch(#{backups := [#{to := To, cut := 1, failing := none}]}, warp_core:stats(Ctx)),
    {ok, #{backups := [#{to := To, cut := 2}]}} =
        warp_core:delete(warp_core:entity(Ctx, name(7)), #{receipt => true}),
    Again = warp_test:restart(Ctx),
    ?assertMatch(#{backups := [#{to := To, every := not_started}]}, warp_core:stats(Again)),
    ?assertMatch({error, {still_to_erase, #{reason := {To, not_started}}}},
                 warp_core:delete(warp_core:entity(Again, name(8)))),
    {ok, #{cut := 3}} = start(Again, Config, #{every => 60000}),
    ok = warp_backup:stop(Again, target(Config)),
    ok = warp_core:delete(warp_core:entity(Again, name(8))),
    Left = restored(Config, #{until => {cut, 1}}),
    ?assertEqual(lists:sort([name(N) || N <- lists:seq(1, 20), N =/= 7, N =/= 8]), lists:sort(maps:keys(Left))),
    Third = warp_test:start(Config, #{shards => 2}),
    ok = warp_backup:forget(Third, To),
    ?assertMatch(#{backups := []}, warp_core:stats(Third)).

keys_can_be_in_another_place(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 20),
    Keys = (target(Config))#{prefix => "keys/" ++ ?config(prefix, Config)},
    {ok, _} = warp_backup:run(Ctx, target(Config), #{master_key => master(Config), keys_to => Keys}),
    Folder = filename:join(?config(dir, Config), "keys"),
    {ok, _} = warp_backup:run(Ctx, target(Config), #{master_key => master(Config), keys_to => Folder}),
    Verify = fun(More) -> warp_backup:verify(target(Config), maps:merge(#{master_key => master(Config)}, More)) end,
    ?assertEqual({error, no_keys}, Verify(#{})),
    ?assertMatch({ok, #{events := 20}}, Verify(#{keys_from => Keys})).

an_object_is_created_once(Config) ->
    in_bucket(Config, fun(Open) ->
        ok = warp_backup_s3:can_create(Open),
        ok = warp_backup_s3:can_create(Open),
        not_found = warp_backup_s3:read(Open, <<"a/1">>),
        ok = warp_backup_s3:create(Open, <<"a/1">>, <<"first">>),
        exists = warp_backup_s3:create(Open, <<"a/1">>, <<"second">>),
        {ok, <<"first">>} = warp_backup_s3:read(Open, <<"a/1">>),
        ok = warp_backup_s3:replace(Open, <<"a/1">>, <<"replaced">>),
        ok = warp_backup_s3:replace(Open, <<"b">>, <<>>),
        [?assertEqual({ok, Part}, warp_backup_s3:read(Open, <<"a/1">>, Offset, Length))
         || {Part, Offset, Length} <- [{<<"rep">>, 0, 3}, {<<"ced">>, 5, 100}, {<<>>, 8, 1}, {<<>>, 100, 10}]],
        not_found = warp_backup_s3:read(Open, <<"none">>, 0, 10),
        {ok, <<>>} = warp_backup_s3:read(Open, <<"b">>),
        {ok, [{<<"a/1">>, 8}]} = warp_backup_s3:list(Open, <<"a/">>),
        {ok, [{<<"a/1">>, 8}, {<<"b">>, 0}, {<<"only-once">>, _}]} = warp_backup_s3:list(Open, <<>>),
        {ok, [{<<"only-once">>, _}]} = warp_backup_s3:list(Open, <<"on">>),
        {ok, []} = warp_backup_s3:list(Open, <<"none/">>),
        ok = warp_backup_s3:delete(Open, <<"b">>),
        ok = warp_backup_s3:delete(Open, <<"b">>),
        not_found = warp_backup_s3:read(Open, <<"b">>)
    end).

of_many_who_create_one_does(Config) ->
    Created = warp_test:parallel(8, fun(N) ->
        in_bucket(Config, fun(Open) ->
            [warp_backup_s3:create(Open, <<"o", (integer_to_binary(Object))/binary>>, <<N>>)
             || Object <- lists:seq(1, 10)]
        end)
    end),
    ?assertEqual(10, length([ok || ok <- lists:append(Created)])),
    ?assertEqual(70, length([exists || exists <- lists:append(Created)])).

a_list_has_pages(Config) ->
    Names = [iolist_to_binary(io_lib:format("many/~5..0b", [N])) || N <- lists:seq(1, 50)],
    in_bucket(Config, fun(Open) ->
        [ok = warp_backup_s3:replace(Open, Name, <<"x">>) || Name <- Names],
        ?assertEqual({ok, [{Name, 1} || Name <- Names]}, warp_backup_s3:list(Open, <<"many/">>))
    end).

a_large_object_is_whole(Config) ->
    Bytes = crypto:strong_rand_bytes(40 * 1024 * 1024),
    in_bucket(Config, fun(Open) ->
        ok = warp_backup_s3:create(Open, <<"large">>, Bytes),
        {ok, Bytes} = warp_backup_s3:read(Open, <<"large">>),
        %% Larger than any of a backup.
        ok = warp_backup_s3:replace(Open, <<"large">>, <<Bytes/binary, Bytes:(30 * 1024 * 1024)/binary>>),
        {error, {storage_refused, Why}} = warp_backup_s3:read(Open, <<"large">>),
        ?assertMatch({_, _}, binary:match(Why, <<"larger">>))
    end).

%% ------------------------------------------------------------------ Trouble

a_program_that_is_killed_is_told_and_made_up_for(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 20),
    Kill = once(fun() -> [[] = os:cmd("kill -KILL " ++ integer_to_list(Pid)) || Pid <- warp_s3_test:programs()] end),
    ?assertEqual({error, {unreachable, interrupted}}, backup(Ctx, Config, #{progress => Kill})),
    {ok, #{cut := 1}} = backup(Ctx, Config),
    {ok, #{events := 20}} = warp_backup:verify(target(Config), #{master_key => master(Config)}),
    in_bucket(Config, fun(Open) ->
        [[] = os:cmd("kill -KILL " ++ integer_to_list(Pid)) || Pid <- warp_s3_test:programs()],
        %% A large request, which is cut within.
        ?assertEqual({error, {unreachable, interrupted}},
                     warp_backup_s3:create(Open, <<"x">>, binary:copy(<<0>>, 40 * 1024 * 1024))),
        ?assertEqual({error, {unreachable, interrupted}}, warp_backup_s3:read(Open, <<"x">>))
    end).

a_program_that_stands_still_is_told(Config) ->
    in_bucket(Config, #{timeout => 300}, fun(Open) ->
        [Pid] = warp_s3_test:programs(),
        [] = os:cmd("kill -STOP " ++ integer_to_list(Pid)),
        ?assertEqual({error, {unreachable, timeout}},
                     warp_backup_s3:create(Open, <<"x">>, binary:copy(<<0>>, 10 * 1024 * 1024))),
        ok = warp_test:wait_until(fun() -> os:cmd("kill -0 " ++ integer_to_list(Pid)) =/= [] end)
    end).

a_program_ends_with_who_has_opened_it(Config) ->
    Self = self(),
    Pid = spawn(fun() -> in_bucket(Config, fun(_) -> Self ! opened, receive never -> ok end end) end),
    receive opened -> ok end,
    [OsPid] = warp_s3_test:programs(),
    exit(Pid, kill),
    ok = warp_test:wait_until(fun() -> os:cmd("kill -0 " ++ integer_to_list(OsPid)) =/= [] end).

a_server_that_ends_in_a_run_is_caught_up_with(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 20),
    Door = ?config(door, Config),
    Shut = once(fun() -> ok = warp_s3_test:shut(Door) end),
    {error, {unreachable, Why}} = backup(Ctx, Config, #{progress => Shut}),
    ?assertMatch({_, _}, binary:match(Why, <<"refused">>)),
    Opened = warp_s3_test:open(Door),
    {ok, #{cut := 1}} = start(Ctx, Config, #{every => 1000}),
    ok = warp_s3_test:shut(Opened),
    ok = fill(Ctx, 21, 40),
    To = described(target(Config)),
    ?assertMatch({error, {still_to_erase, #{target := backup, reason := {To, {unreachable, _}}}}},
                 warp_core:delete(warp_core:entity(Ctx, name(3)))),
    ?assertMatch(#{backups := [#{failing := #{why := {unreachable, _}}}]}, warp_core:stats(Ctx)),
    Last = warp_s3_test:open(Door),
    ok = warp_test:wait_until(fun() ->
        #{backups := [#{failing := Failing}]} = warp_core:stats(Ctx),
        Failing =:= none
    end, 30000),
    ok = warp_core:delete(warp_core:entity(Ctx, name(3))),
    Left = warp_backup_test:logs(Ctx, warp_backup_test:names(Ctx)),
    ?assertEqual(Left, restored(Config, #{})),
    ok = warp_s3_test:leave(Last).

a_server_that_hangs_is_told(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 20),
    Hang = once(fun() -> warp_s3_test:pause(?config(server, Config)) end),
    To = (target(Config))#{timeout => 700},
    {Micros, Hung} = timer:tc(fun() -> warp_backup:run(Ctx, To, #{master_key => master(Config), progress => Hang}) end),
    ?assertEqual({error, {unreachable, timeout}}, Hung),
    ?assert(Micros < 5000000),
    ok = warp_s3_test:resume(?config(server, Config)),
    {ok, #{cut := 1}} = warp_backup:run(Ctx, To, #{master_key => master(Config)}),
    ok = warp_s3_test:pause(?config(server, Config)),
    ?assertEqual({error, {unreachable, timeout}}, warp_backup:list(To)).

wrong_keys_and_buckets_are_named(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 5),
    true = os:putenv("WARP_S3_WRONG", "wrong-secret"),
    Target = target(Config),
    Cases = [{<<"SignatureDoesNotMatch">>, Target#{secret_access_key => {env, "WARP_S3_WRONG"}}},
             {<<"InvalidAccessKeyId">>, Target#{access_key_id => {env, "WARP_S3_WRONG"}}},
             {<<"no variable WARP_S3_NONE">>, Target#{access_key_id => {env, "WARP_S3_NONE"}}},
             {<<"no variable WARP_S3_NONE">>, Target#{session_token => {env, "WARP_S3_NONE"}}},
             {<<"NoSuchBucket">>, Target#{s3 => "no-such-bank"}}],
    [begin
         {error, {storage_refused, Run}} = warp_backup:run(Ctx, Given, #{master_key => master(Config)}),
         {error, {storage_refused, List}} = warp_backup:list(Given),
         [begin
              ?assertMatch({{_, _}, _}, {binary:match(Text, [Expected]), Text}),
              ?assertMatch({{0, _}, _}, {binary:match(Text, [described(Given)]), Text}),
              ?assertMatch({nomatch, _}, {binary:match(Text, secrets()), Text})
          end || Text <- [Run, List]]
     end || {Expected, Given} <- Cases],
    ?assertMatch(#{backups := []}, warp_core:stats(Ctx)).

%% The second one makes its first run while the first one is within it.
%%
%% NOTE: not both at once. This server looks whether an object is there and writes it in two steps.
two_writers_notice_each_other(Config) ->
    One = warp_test:start(Config, #{shards => 2}),
    Two = warp_test:start(Config, #{shards => 2, data_dir => filename:join(?config(dir, Config), "two")}),
    ok = fill(One, 1, 10),
    ok = fill(Two, 11, 15),
    Run = once(fun() -> {error, {forked, _}} = backup(Two, Config) end),
    {ok, #{cut := 1, segments := 1}} = backup(One, Config, #{progress => Run}),
    ?assertMatch({error, {forked, _}}, backup(Two, Config)),
    {ok, #{cut := 1, segments := 0}} = backup(One, Config),
    Before = warp_backup_test:logs(One, warp_backup_test:names(One)),
    ?assertEqual(Before, restored(Config, #{})).

storage_that_writes_over_is_refused(Config) ->
    Server = warp_s3_test:start({"WARP_S3_OVER", ["unconditional"]}),
    try
        Ctx = warp_test:start(Config, #{shards => 2}),
        ok = fill(Ctx, 1, 5),
        To = #{s3 => "bank", endpoint => warp_s3_test:address(Server),
               access_key_id => {env, "WARP_S3_OVER_ID"}, secret_access_key => {env, "WARP_S3_OVER_SECRET"}},
        {error, {storage_refused, Why}} = warp_backup:run(Ctx, To, #{master_key => master(Config)}),
        ?assertMatch({_, _}, binary:match(Why, <<"If-None-Match">>)),
        %% Nothing of a backup was stored.
        ?assertEqual({error, no_backup}, warp_backup:list(To))
    after
        warp_s3_test:stop(Server)
    end.

%% Not in what is logged while a run, its program, and the process that has it are killed; nor in what an operator sees.
no_secret_is_shown(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 20),
    Self = self(),
    #{level := Level} = logger:get_primary_config(),
    ok = logger:add_handler(?FUNCTION_NAME, ?MODULE, #{config => Self}),
    ok = logger:set_primary_config(level, debug),
    try
        {ok, _} = start(Ctx, Config, #{every => 60000}),
        [begin
             Spoil = once(fun() -> Self ! {self(), in_run}, receive spoilt -> ok end end),
             Asker = spawn(fun() -> Self ! {result, backup(Ctx, Config, #{progress => Spoil})} end),
             receive {Run, in_run} -> ok end,
             [Program] = warp_s3_test:programs(),
             Shown = [os:cmd("ps -o args= -p " ++ integer_to_list(Program)),
                      [io_lib:format("~p", [sys:get_status(Store)]) || Store <- stores()]],
             ?assertMatch({_, _}, binary:match(unicode:characters_to_binary(Shown), <<"warp_store">>)),
             nothing_secret(Shown),
             Do(Run, Program),
             Run ! spoilt,
             receive {result, {error, _}} -> ok end,
             exit(Asker, kill)
         end || Do <- [fun(_, Program) -> [] = os:cmd("kill -KILL " ++ integer_to_list(Program)) end,
                       fun(Run, _) -> exit(Run, kill) end,
                       fun(_, _) -> [exit(Store, kill) || Store <- stores()] end,
                       fun(_, _) -> [Store ! {'EXIT', none, none} || Store <- stores()],
                                    [gen_server:cast(Store, stray) || Store <- stores()],
                                    [sys:replace_state(Store, fun(_) -> broken end) || Store <- stores()] end],
                N <- [warp_test:credited(1)], {ok, _} <- [warp_core:append(warp_core:entity(Ctx, name(1)), N)]],
        nothing_secret(io_lib:format("~p", [warp_core:stats(Ctx)])),
        {ok, Remembered} = file:read_file(filename:join(warp_test:context_dir(Ctx), "backups")),
        nothing_secret(Remembered)
    after
        ok = logger:set_primary_config(level, Level),
        ok = logger:remove_handler(?FUNCTION_NAME)
    end,
    Logged = logged([]),
    ?assert(length(Logged) > 0),
    nothing_secret(Logged).

log(Event, #{config := Suite}) ->
    Suite ! {logged, logger_formatter:format(Event, #{max_size => unlimited, chars_limit => unlimited}),
             io_lib:format("~p", [Event])}.

logged(Sofar) ->
    receive {logged, Text, Event} -> logged([[Text, Event] | Sofar]) after 500 -> Sofar end.

stores() ->
    [Pid || Pid <- processes(), {dictionary, Words} <- [erlang:process_info(Pid, dictionary)],
            lists:keyfind('$initial_call', 1, Words) =:= {'$initial_call', {warp_backup_store, init, 1}}].

nothing_secret(Text) ->
    ?assertEqual(nomatch, binary:match(unicode:characters_to_binary(Text), secrets())).

secrets() ->
    [list_to_binary(os:getenv("WARP_S3_SECRET")), <<"wrong-secret">>].

the_command_line_takes_buckets(Config) ->
    Dir = ?config(dir, Config),
    {file, Key} = master(Config),
    Vm = warp_cli_test:bank(Dir, #{shards => 2}),
    To = iolist_to_binary(["s3://bank/", ?config(prefix, Config), "?endpoint=",
                           warp_s3_test:door_address(?config(door, Config)),
                           "&access_key_id_env=WARP_S3_ID&secret_access_key_env=WARP_S3_SECRET"]),
    Bank = filename:join(Dir, "bank"),
    {0, Made, _} = warp_cli_test:run(["backup", "run", Bank, "--to", To, "--master-key", Key]),
    ?assertMatch({match, _}, re:run(Made, "^Made cut 1 ")),
    {0, _, _} = warp_cli_test:run(["backup", "start", Bank, "--to", To, "--master-key", Key, "--keys-to", To]),
    {0, <<"No more runs", _/binary>>, _} = warp_cli_test:run(["backup", "stop", Bank, "--to", To]),
    {0, _, _} = warp_cli_test:run(["backup", "forget", Bank, "--to", To, "--yes"]),
    ok = warp_cli_test:close(Vm),
    {0, [[#{<<"cut">> := 1}]]} = warp_cli_test:json(["backup", "list", To], #{}),
    {0, _, _} = warp_cli_test:run(["backup", "verify", To, "--master-key", Key]),
    {0, _, _} = warp_cli_test:run(["backup", "check", To]),
    {0, _, _} = warp_cli_test:run(["restore", To, filename:join(Dir, "restored"), "--master-key", Key]),
    ?assert(filelib:is_dir(filename:join(Dir, "restored/bank"))),
    {3, <<>>, Refused} = warp_cli_test:run(["backup", "list", "s3://no-such-bank?endpoint="
                                            ++ warp_s3_test:door_address(?config(door, Config))],
                                           #{env => [{"AWS_ACCESS_KEY_ID", os:getenv("WARP_S3_ID")},
                                                     {"AWS_SECRET_ACCESS_KEY", os:getenv("WARP_S3_SECRET")}]}),
    ?assertMatch({match, _}, re:run(Refused, "NoSuchBucket")).

%% In a VM whose copy of the application has no programs.
without_its_program_it_says_how_to_get_it(Config) ->
    App = filename:join(?config(dir, Config), "warp_core"),
    ok = filelib:ensure_dir(filename:join(App, "x")),
    ok = file:make_symlink(filename:dirname(code:which(warp_backup_s3)), filename:join(App, "ebin")),
    Said = os:cmd("erl -noinput -pa " ++ filename:join(App, "ebin")
                  ++ " -eval '{error, Why} = warp_backup:list(\"s3://bank\"), "
                     "io:format(\"~ts\", [warp_error:format_error(Why)]), halt().'"),
    ?assertMatch({{match, _}, _}, {re:run(Said, "priv/warp_store is missing.*make store"), Said}).

%% ------------------------------------------------------------------ Helpers

target(Config) ->
    #{s3 => "bank", prefix => ?config(prefix, Config), endpoint => warp_s3_test:door_address(?config(door, Config)),
      access_key_id => {env, "WARP_S3_ID"}, secret_access_key => {env, <<"WARP_S3_SECRET">>}}.

master(Config) -> warp_backup_test:master(Config).

backup(Ctx, Config) -> backup(Ctx, Config, #{}).

backup(Ctx, Config, More) -> warp_backup:run(Ctx, target(Config), More#{master_key => master(Config)}).

start(Ctx, Config, More) -> warp_backup:start(Ctx, More#{to => target(Config), master_key => master(Config)}).

in_bucket(Config, Fun) -> in_bucket(Config, #{}, Fun).

in_bucket(Config, More, Fun) ->
    {ok, Checked} = warp_backup_s3:check(maps:merge(target(Config), More)),
    {ok, Open} = warp_backup_s3:open(Checked),
    Result = Fun(Open),
    ok = warp_backup_s3:close(Open),
    Result.

%% A function for `progress' that does something with the first object that was stored.
once(Do) ->
    Flag = atomics:new(1, []),
    fun(_) -> case atomics:add_get(Flag, 1, 1) of 1 -> Do(); _ -> ok end end.

fill(Ctx, From, To) ->
    lists:foreach(fun(N) -> {ok, _} = warp_core:append(warp_core:entity(Ctx, name(N)), warp_test:credited(N)) end,
                  lists:seq(From, To)).

name(N) -> <<"entity/", (integer_to_binary(N))/binary>>.

%% The logs of all that a restore gives. The contexts of the case are stopped.
restored(Config, Options) ->
    ok = warp_test:stop_all(),
    DataDir = filename:join(?config(dir, Config), "restored" ++ integer_to_list(erlang:unique_integer([positive]))),
    {ok, Report} = warp_backup:restore(DataDir, target(Config), Options#{master_key => master(Config)}),
    Ctx = warp_test:start(warp_backup_test:opts(DataDir, Report)),
    Logs = warp_backup_test:logs(Ctx, warp_backup_test:names(Ctx)),
    ok = warp_test:stop(Ctx),
    Logs.
