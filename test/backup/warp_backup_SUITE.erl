%% Backups: what a restore gives is what was there at the cut, without what was deleted since.
-module(warp_backup_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-include_lib("kernel/include/file.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [a_context_comes_back_as_it_was, each_cut_can_be_restored, a_deleted_entity_is_in_no_older_backup,
     a_deletion_waits_for_its_backups, a_target_that_is_away_is_said_and_caught_up,
     a_target_is_remembered_until_it_is_forgotten, a_restored_context_goes_on_in_its_backup,
     an_older_folder_that_has_gone_on_is_refused, wrong_keys_and_wrong_targets_are_told,
     nothing_is_restored_over_a_context, damage_is_named_and_nothing_is_restored, old_keys_do_not_help,
     a_large_context_takes_several_segments, keys_that_are_older_are_told, one_entity_can_be_restored_alone,
     keys_that_were_not_stored_are_caught_up, lost_keys_are_stored_again, of_two_contexts_at_once_one_has_a_backup,
     an_empty_context_has_a_backup, a_master_key_is_made_once, a_backup_says_what_it_is,
     a_plan_is_adopted_once_it_has_worked, a_run_keeps_how_often_others_are_made, a_stop_ends_what_has_begun,
     callers_with_other_plans_get_their_own_answers, a_plan_outlives_a_crash_while_its_target_is_away,
     a_plan_outlives_all_processes_of_its_context,
     a_deletion_right_after_a_crash_knows_the_targets, a_crash_forgets_no_target,
     a_list_of_targets_that_cannot_be_read_stops_the_start,
     another_master_key_takes_over, one_of_two_master_keys_works_after_an_interruption].

init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

a_context_comes_back_as_it_was(Config) ->
    Ctx = warp_test:start(Config, #{shards => 4}),
    ok = fill(Ctx, 1, 200),
    Before = all_of(Ctx),
    {ok, #{cut := 1, segments := 1, rows := 200, events := 400}} = backup(Ctx, Config),
    ok = fill(Ctx, 150, 300),
    {ok, [#{cut := 1, segments := 1}]} = warp_backup:list(target(Config)),
    {Restored, #{events := 400, erased := 0}} = restored(Config, "one", #{}),
    ?assertEqual(Before, all_of(Restored)),
    {ok, _} = warp_core:verify(Restored).

each_cut_can_be_restored(Config) ->
    Ctx = warp_test:start(Config, #{shards => 3}),
    States = [begin
                  ok = fill(Ctx, 1, 20 * N),
                  {ok, #{cut := N}} = backup(Ctx, Config),
                  {N, all_of(Ctx)}
              end || N <- lists:seq(1, 4)],
    %% Nothing has changed.
    {ok, #{cut := 4, segments := 0, bytes := 0}} = backup(Ctx, Config),
    [begin
         {Restored, #{cut := N}} = restored(Config, integer_to_list(N), #{until => {cut, N}}),
         ?assertEqual(All, all_of(Restored)),
         ok = warp_test:stop(Restored)
     end || {N, All} <- States],
    {ok, #{segments := 4, cuts := 4, events := _}} =
        warp_backup:verify(target(Config), #{master_key => master(Config)}),
    {ok, #{segments := 4, cuts := 4}} = warp_backup:verify(target(Config)).

a_deleted_entity_is_in_no_older_backup(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 50),
    {ok, _} = backup(Ctx, Config),
    Id = name(7),
    ok = warp_core:delete(warp_core:entity(Ctx, Id)),
    Left = all_of(Ctx),
    {ok, #{cut := 2}} = backup(Ctx, Config),
    {Restored, #{erased := 1}} = restored(Config, "older", #{until => {cut, 1}}),
    ?assertEqual(Left, all_of(Restored)),
    ?assertEqual([], warp_test:files_with(filename:join(dir(Config), "older"), Id)).

%% Nobody has to make a run: with the answer the key is gone from the target.
a_deletion_waits_for_its_backups(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 50),
    To = unicode:characters_to_binary(target(Config)),
    {ok, #{cut := 1}} = warp_backup:start(Ctx, #{to => To, every => 60000, master_key => master(Config)}),
    ?assertMatch(#{backups := [#{to := To, every := 60000, cut := 1, failing := none}]}, warp_core:stats(Ctx)),
    {ok, #{events := 2, backups := [#{to := To, cut := 2}]}} =
        warp_core:delete(warp_core:entity(Ctx, name(7)), #{receipt => true}),
    Left = all_of(Ctx),
    {Restored, #{erased := 1}} = restored(Config, "older", #{until => {cut, 1}}),
    ?assertEqual(Left, all_of(Restored)).

a_target_that_is_away_is_said_and_caught_up(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 20),
    To = unicode:characters_to_binary(target(Config)),
    {ok, _} = warp_backup:start(Ctx, #{to => To, every => 1000, master_key => master(Config)}),
    ok = file:rename(To, <<To/binary, ".away">>),
    ok = file:write_file(To, "in its way"),
    Alice = warp_core:entity(Ctx, name(7)),
    {error, {still_to_erase, #{target := backup, reason := {To, {io_error, _}}}}} = warp_core:delete(Alice, #{}),
    ?assertEqual({ok, []}, warp_core:export(Alice)),
    ?assertMatch(#{backups := [#{failing := #{why := {io_error, _}, since := _}}]}, warp_core:stats(Ctx)),
    ok = file:delete(To),
    ok = file:rename(<<To/binary, ".away">>, To),
    ok = warp_test:wait_until(fun() ->
        #{backups := [#{failing := Failing}]} = warp_core:stats(Ctx),
        Failing =:= none
    end, 20000),
    ?assertEqual(ok, warp_core:delete(Alice)),
    Left = all_of(Ctx),
    {Restored, #{erased := 1}} = restored(Config, "older", #{until => {cut, 1}}),
    ?assertEqual(Left, all_of(Restored)).

a_target_is_remembered_until_it_is_forgotten(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 20),
    %% Nothing was stored by a run that could not begin.
    {error, {no_master_key, _}} = warp_backup:run(Ctx, target(Config), #{master_key => {file, "/none"}}),
    ?assertEqual(ok, warp_core:delete(warp_core:entity(Ctx, name(1)))),
    {ok, _} = backup(Ctx, Config),
    Again = warp_test:restart(Ctx),
    To = unicode:characters_to_binary(target(Config)),
    ?assertMatch(#{backups := [#{to := To, every := not_started}]}, warp_core:stats(Again)),
    Delete = fun(N) -> warp_core:delete(warp_core:entity(Again, name(N))) end,
    ?assertMatch({error, {still_to_erase, #{reason := {To, not_started}}}}, Delete(2)),
    {ok, #{cut := 2}} = backup(Again, Config),
    ?assertEqual(ok, Delete(3)),
    Third = warp_test:restart(Again),
    ok = warp_backup:forget(Third, To),
    ?assertEqual({error, not_started}, warp_backup:forget(Third, To)),
    ?assertEqual(ok, warp_core:delete(warp_core:entity(Third, name(4)))),
    Fourth = warp_test:restart(Third),
    ?assertMatch(#{backups := []}, warp_core:stats(Fourth)),
    %% Any path; and a function of the user that crashes ends no run.
    Odd = unicode:characters_to_binary(filename:join(dir(Config), "two\nlines \x{20ac}%")),
    {ok, _} = warp_backup:run(Fourth, Odd, #{master_key => master(Config), progress => fun(_) -> error(no) end}),
    ?assertMatch(#{backups := [#{to := Odd}]}, warp_core:stats(warp_test:restart(Fourth))).

a_restored_context_goes_on_in_its_backup(Config) ->
    Ctx = warp_test:start(Config, #{shards => 3}),
    ok = fill(Ctx, 1, 100),
    {ok, #{cut := 1}} = backup(Ctx, Config),
    {Restored, _} = restored(Config, "second", #{}),
    ok = fill(Restored, 50, 150),
    ok = warp_core:delete(warp_core:entity(Restored, name(60))),
    {ok, #{cut := 2, rows := Rows}} = backup(Restored, Config),
    ?assert(Rows =< 101),
    All = all_of(Restored),
    {Third, #{erased := 1}} = restored(Config, "third", #{}),
    ?assertEqual(All, all_of(Third)),
    {ok, _} = warp_core:verify(Third).

an_older_folder_that_has_gone_on_is_refused(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    ok = fill(Ctx, 1, 20),
    {ok, #{cut := 1}} = backup(Ctx, Config),
    ok = fill(Ctx, 21, 40),
    {ok, #{cut := 2}} = backup(Ctx, Config),
    {Older, _} = restored(Config, "older", #{until => {cut, 1}}),
    ?assertMatch({error, {forked, #{shard := 0, position := 40}}}, backup(Older, Config)),
    ok = fill(Older, 41, 80),
    ?assertMatch({error, {forked, #{shard := 0, position := 40}}}, backup(Older, Config)),
    {ok, #{cut := 1}} = warp_backup:run(Older, target(Config) ++ "-2", #{master_key => master(Config)}),
    ok.

wrong_keys_and_wrong_targets_are_told(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 20),
    {ok, _} = backup(Ctx, Config),
    Other = filename:join(dir(Config), "other-key"),
    ok = file:write_file(Other, [binary:encode_hex(crypto:strong_rand_bytes(32)), "\n"]),
    ok = file:change_mode(Other, 8#600),
    To = target(Config),
    ?assertEqual({error, wrong_master_key}, warp_backup:run(Ctx, To, #{master_key => {file, Other}})),
    ?assertEqual({error, wrong_master_key},
                 warp_backup:restore(filename:join(dir(Config), "x"), To, #{master_key => {file, Other}})),
    ok = file:change_mode(Other, 8#644),
    ?assertMatch({error, {no_master_key, _}}, warp_backup:run(Ctx, To, #{master_key => {file, Other}})),
    ?assertMatch({error, {no_master_key, _}}, warp_backup:run(Ctx, To, #{master_key => {env, "WARP_NO_SUCH_KEY"}})),
    ?assertEqual({error, {missing_option, master_key}}, warp_backup:run(Ctx, To, #{})),
    ?assertMatch({error, {bad_option, to, _}}, warp_backup:run(Ctx, "", #{master_key => {file, Other}})),
    [?assertMatch({error, {bad_option, to, _}}, warp_backup:run(Ctx, #{to => Given, master_key => {env, "X"}}))
     || Given <- [#{s3 => "x"}, #{s3 => "bank", key => "x"}, #{}, "s3://"]],
    ?assertEqual({error, {missing_option, to}}, warp_backup:run(Ctx, #{master_key => {env, "X"}})),
    ?assertEqual({error, {missing_option, from}}, warp_backup:restore("x", #{master_key => {env, "X"}})),
    [?assertMatch({error, {bad_option, _, _}}, Call(none))
     || Call <- [fun(No) -> warp_backup:run(Ctx, No) end, fun(No) -> warp_backup:run(Ctx, To, No) end,
                 fun(No) -> warp_backup:start(Ctx, No) end, fun(No) -> warp_backup:verify(To, No) end,
                 fun(No) -> warp_backup:restore("x", To, No) end, fun(No) -> warp_backup:check(To, No) end]],
    [?assertMatch({error, {bad_option, master_key, _}}, warp_backup:run(Ctx, To, #{master_key => Key}))
     || Key <- [{env, "A=B"}, {env, [a]}, {env, ""}, {file, ""}, none, #{name => <<"x">>}]],
    %% What is in a variable is never shown.
    true = os:putenv("WARP_TEST_KEY", [16#20ac | "secret"]),
    {error, {no_master_key, Shown}} = warp_backup:run(Ctx, To, #{master_key => {env, <<"WARP_TEST_KEY">>}}),
    ?assertEqual(nomatch, binary:match(Shown, <<"secret">>)),
    ?assertEqual({error, no_backup}, warp_backup:list(filename:join(dir(Config), "none"))),
    Another = warp_test:start(#{context => <<"another">>, data_dir => dir(Config), shards => 2}),
    ?assertMatch({error, {other_backup, #{context := <<"test">>, shards := 2}}}, backup(Another, Config)),
    %% A service wraps the key.
    Secret = crypto:strong_rand_bytes(32),
    Wrap = fun(<<Key:32/binary>>) -> {ok, crypto:exor(Key, Secret)} end,
    Service = #{name => <<"service">>, wrap => Wrap, unwrap => Wrap},
    {ok, _} = warp_backup:run(Another, To ++ "-2", #{master_key => Service}),
    ?assertEqual({error, wrong_master_key}, warp_backup:run(Another, To ++ "-2", #{master_key => master(Config)})),
    {ok, #{events := 0}} = warp_backup:restore(filename:join(dir(Config), "y"), To ++ "-2", #{master_key => Service}),
    Refuses = Service#{unwrap := fun(_) -> {error, locked} end},
    ?assertEqual({error, {master_key_refused, locked}}, warp_backup:run(Another, To ++ "-2", #{master_key => Refuses})).

nothing_is_restored_over_a_context(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 20),
    {ok, _} = backup(Ctx, Config),
    ok = warp_test:stop(Ctx),
    ?assertMatch({error, {not_empty, _}},
                 warp_backup:restore(dir(Config), target(Config), #{master_key => master(Config)})),
    ?assertMatch({error, {no_such_cut, {cut, 9}}},
                 warp_backup:restore(filename:join(dir(Config), "x"), target(Config),
                                     #{master_key => master(Config), until => {cut, 9}})).

damage_is_named_and_nothing_is_restored(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    [begin ok = fill(Ctx, 20 * N, 20 * N + 19), {ok, _} = backup(Ctx, Config) end || N <- lists:seq(1, 4)],
    To = target(Config),
    Name = fun(N) -> filename:join([To, "segments", "0000000000000001", io_lib:format("~10..0b", [N])]) end,
    Restore = fun(Dir) ->
        Result = warp_backup:restore(filename:join(dir(Config), Dir), To, #{master_key => master(Config)}),
        ?assertNot(filelib:is_dir(filename:join([dir(Config), Dir, "test"]))),
        Result
    end,
    Both = fun(Dir, Words) ->
        {error, {backup_damaged, Said}} = warp_backup:verify(To),
        ?assertMatch({match, _}, re:run(Said, Words), Said),
        {error, {backup_damaged, Again}} = Restore(Dir),
        ?assertMatch({match, _}, re:run(Again, Words), Again)
    end,
    {ok, Two} = file:read_file(Name(2)),
    {ok, Three} = file:read_file(Name(3)),
    [begin
         At = rand:uniform(byte_size(Two)) - 1,
         <<Before:At/binary, Byte, Behind/binary>> = Two,
         ok = file:write_file(Name(2), [Before, Byte bxor (1 bsl (rand:uniform(8) - 1)), Behind]),
         Both("flipped", "segment 2")
     end || _ <- lists:seq(1, 10)],
    ok = file:write_file(Name(2), binary:part(Two, 0, byte_size(Two) - 1)),
    Both("cut off", "segment 2"),
    ok = file:delete(Name(2)),
    Both("missing", "segment 2 is missing"),
    ok = file:write_file(Name(2), Three),
    ok = file:write_file(Name(3), Two),
    Both("swapped", "segment 2"),
    ok = file:write_file(Name(2), Two),
    ok = file:write_file(Name(3), Three),
    {ok, _} = warp_backup:verify(To),
    {ok, #{events := 160}} =
        warp_backup:restore(filename:join(dir(Config), "whole"), To, #{master_key => master(Config)}).

%% Someone kept a copy of the key pages from before the deletion.
old_keys_do_not_help(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 50),
    {ok, _} = backup(Ctx, Config),
    Keys = filename:join(target(Config), "keys"),
    Old = filename:join(dir(Config), "old-keys"),
    "" = os:cmd("cp -a " ++ Keys ++ " " ++ Old),
    ok = warp_core:delete(warp_core:entity(Ctx, name(7))),
    Left = all_of(Ctx),
    "" = os:cmd("rm -r " ++ Keys ++ " && cp -a " ++ Old ++ " " ++ Keys),
    {Restored, #{erased := 1}} = restored(Config, "older", #{until => {cut, 1}}),
    ?assertEqual(Left, all_of(Restored)),
    "" = os:cmd("rm -r " ++ Keys),
    warp_test:stop_all(),
    ?assertEqual({error, no_keys},
                 warp_backup:restore(filename:join(dir(Config), "z"), target(Config), #{master_key => master(Config)})).

a_large_context_takes_several_segments(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Large = fun(N) ->
        Text = binary:encode_hex(crypto:strong_rand_bytes(400 * 1024)),
        Event = (warp_test:credited(1))#{metadata => #{text => Text}},
        {ok, _} = warp_core:append(warp_core:entity(Ctx, name(N)), Event)
    end,
    lists:foreach(Large, lists:seq(1, 50)),
    {ok, #{cut := 2, segments := 2, events := 50}} = backup(Ctx, Config),
    lists:foreach(Large, lists:seq(51, 60)),
    {ok, #{cut := 3, segments := 1}} = backup(Ctx, Config),
    ?assertMatch({ok, [#{cut := 2, segments := 2}, #{cut := 3}]}, warp_backup:list(target(Config))),
    {ok, _} = warp_backup:verify(target(Config)),
    Before = all_of(Ctx),
    {Restored, #{events := 60, cut := 3}} = restored(Config, "large", #{}),
    ?assertEqual(Before, all_of(Restored)).

keys_that_are_older_are_told(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Keys = filename:join(dir(Config), "keys-elsewhere"),
    Run = fun() -> warp_backup:run(Ctx, target(Config), #{master_key => master(Config), keys_to => Keys}) end,
    ok = fill(Ctx, 1, 50),
    {ok, #{key_pages := 2}} = Run(),
    "" = os:cmd("cp -a " ++ Keys ++ " " ++ Keys ++ "-old"),
    ok = fill(Ctx, 51, 100),
    {ok, _} = Run(),
    ?assertEqual({error, no_keys}, warp_backup:check(target(Config))),
    ?assertMatch({ok, #{cut := 2, older := []}}, warp_backup:check(target(Config), #{keys_from => Keys})),
    ?assertMatch({ok, #{cut := 2, older := [0, 1]}}, warp_backup:check(target(Config), #{keys_from => Keys ++ "-old"})),
    Restore = fun(Dir, From) ->
        warp_backup:restore(filename:join(dir(Config), Dir), target(Config),
                            #{master_key => master(Config), keys_from => From})
    end,
    ?assertMatch({ok, #{cut := 1, left_out := 2, events := 100}}, Restore("a", Keys ++ "-old")),
    ?assertMatch({ok, #{cut := 2, left_out := none, events := 200}}, Restore("b", Keys)),
    ok = fill(Ctx, 101, 150),
    {ok, _} = Run(),
    ?assertMatch({error, {key_unknown, _}}, Restore("c", Keys ++ "-old")).

%% Segments are stored first: a run that ends before the keys are there leaves a cut that cannot be restored yet.
keys_that_were_not_stored_are_caught_up(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Keys = filename:join(dir(Config), "keys-elsewhere"),
    Options = #{master_key => master(Config), keys_to => Keys},
    Run = fun() -> warp_backup:run(Ctx, target(Config), Options) end,
    ok = fill(Ctx, 1, 50),
    {ok, #{cut := 1}} = Run(),
    Time = os:system_time(microsecond),
    ok = fill(Ctx, 40, 100),
    Before = all_of(Ctx),
    %% No page can take the place of a folder.
    Page = filename:join(Keys, "keys/0000/0000000000"),
    ok = file:rename(Page, Page ++ "-away"),
    ok = file:make_dir(Page),
    {error, {io_error, _}} = Run(),
    ok = file:del_dir(Page),
    ok = file:rename(Page ++ "-away", Page),
    Restore = fun(Dir, Until) ->
        warp_backup:restore(filename:join(dir(Config), Dir), target(Config),
                            #{master_key => master(Config), keys_from => Keys, until => Until})
    end,
    ?assertMatch({ok, #{cut := 1, left_out := 2, events := 100}}, Restore("a", 'end')),
    ?assertMatch({ok, #{cut := 1, left_out := 2}}, Restore("b", {time, os:system_time(microsecond)})),
    ?assertMatch({ok, #{cut := 1}}, Restore("c", {time, Time})),
    ?assertMatch({error, {key_unknown, _}}, Restore("d", {cut, 2})),
    ?assertMatch({ok, #{older := [0, 1]}}, warp_backup:check(target(Config), #{keys_from => Keys})),
    %% Nothing has changed since but what is stored.
    {ok, #{cut := 2, segments := 0, key_pages := 2}} = Run(),
    {ok, #{cut := 2, segments := 0, key_pages := 0}} = Run(),
    ?assertMatch({ok, #{older := []}}, warp_backup:check(target(Config), #{keys_from => Keys})),
    {Restored, #{cut := 2, left_out := none}} = restored(Config, "e", #{keys_from => Keys}),
    ?assertEqual(Before, all_of(Restored)).

lost_keys_are_stored_again(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 50),
    {ok, #{key_pages := 2}} = backup(Ctx, Config),
    ok = fill(Ctx, 51, 60),
    {ok, _} = backup(Ctx, Config),
    Before = all_of(Ctx),
    ok = file:del_dir_r(filename:join(target(Config), "keys")),
    ?assertEqual({error, no_keys}, warp_backup:check(target(Config))),
    {ok, #{cut := 2, segments := 0, key_pages := 2}} = backup(Ctx, Config),
    {Restored, #{cut := 2}} = restored(Config, "again", #{}),
    ?assertEqual(Before, all_of(Restored)).

%% Two contexts of one name that begin to back up to one place: whoever comes second leaves the other's backup whole.
of_two_contexts_at_once_one_has_a_backup(Config) ->
    Ctxs = [begin
                Ctx = warp_test:start(Config, #{shards => 2, data_dir => filename:join(dir(Config), Name)}),
                ok = fill(Ctx, From, From + 40),
                {Name, Ctx}
            end || {Name, From} <- [{"one", 1}, {"two", 100}]],
    Options = #{master_key => master(Config)},
    Won = [begin
               Target = filename:join(dir(Config), "race-" ++ integer_to_list(Round)),
               Self = self(),
               Runs = [spawn_monitor(fun() ->
                           receive go -> Self ! {ran, Name, warp_backup:run(Ctx, Target, Options)} end
                       end) || {Name, Ctx} <- Ctxs],
               [Pid ! go || {Pid, _} <- Runs],
               Results = [receive {ran, Name, Result} -> {Name, Result} end || {Name, _} <- Ctxs],
               [receive {'DOWN', Ref, process, _, normal} -> ok end || {_, Ref} <- Runs],
               [{Winner, _}] = [Of || {_, {ok, _}} = Of <- Results],
               [Why] = [Why || {_, {error, Why}} <- Results],
               {Target, Winner, case Why of {forked, _} -> later; target_in_use -> at_once end}
           end || Round <- lists:seq(1, 20)],
    ?assert(lists:keymember(at_once, 3, Won)),
    Contents = [{Name, all_of(Ctx)} || {Name, Ctx} <- Ctxs],
    [begin
         {Restored, #{left_out := none}} = restored_from(Target, Config, "of-" ++ filename:basename(Target), #{}),
         ?assertEqual(proplists:get_value(Winner, Contents), all_of(Restored))
     end || {Target, Winner, _} <- Won].

one_entity_can_be_restored_alone(Config) ->
    Ctx = warp_test:start(Config, #{shards => 3}),
    [begin ok = fill(Ctx, 1, 50), {ok, _} = backup(Ctx, Config) end || _ <- lists:seq(1, 3)],
    {ok, Events} = warp_core:export(warp_core:entity(Ctx, name(7))),
    {Restored, #{events := 6}} = restored(Config, "one", #{entity => name(7)}),
    ?assertEqual({ok, Events}, warp_core:export(warp_core:entity(Restored, name(7)))),
    ?assertEqual(6, length(all_of(Restored))),
    {_, #{events := 0}} = restored(Config, "none", #{entity => <<"nobody">>}),
    ?assertMatch({error, {bad_option, entity, _}},
                 warp_backup:restore(dir(Config), target(Config), #{master_key => master(Config), entity => alice})).

an_empty_context_has_a_backup(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    {ok, #{cut := 1, rows := 0}} = backup(Ctx, Config),
    {ok, #{cut := 1, segments := 0}} = backup(Ctx, Config),
    {Restored, #{cut := 1, events := 0}} = restored(Config, "empty", #{}),
    ok = fill(Restored, 1, 10),
    ?assertEqual(20, length(all_of(Restored))).

a_master_key_is_made_once(Config) ->
    Path = filename:join(dir(Config), "made"),
    ok = warp_backup:new_master_key(Path),
    {ok, Key} = file:read_file(Path),
    ?assertMatch({match, _}, re:run(Key, "^[0-9a-f]{64}\n$")),
    {ok, #file_info{mode = Mode}} = file:read_file_info(Path),
    ?assertEqual(8#600, Mode band 8#777),
    ?assertEqual(exists, warp_backup:new_master_key(Path)),
    ?assertEqual({ok, Key}, file:read_file(Path)),
    ok = warp_backup:new_master_key(Path ++ "-2"),
    ?assertNotEqual({ok, Key}, file:read_file(Path ++ "-2")),
    ?assertEqual({error, {bad_option, file, not_a_path}}, warp_backup:new_master_key("")),
    Ctx = warp_test:start(Config, #{shards => 1}),
    {ok, _} = warp_backup:run(Ctx, target(Config), #{master_key => {file, Path}}).

a_backup_says_what_it_is(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ?assertEqual({error, no_backup}, warp_backup:about(target(Config))),
    Before = os:system_time(microsecond),
    {ok, _} = backup(Ctx, Config),
    {ok, #{created := Created} = About} = warp_backup:about(target(Config)),
    ?assertEqual(#{context => <<"test">>, shards => 2, created => Created, wrapped_by => master_key}, About),
    ?assert(Created >= Before andalso Created =< os:system_time(microsecond)),
    Same = fun(Key) -> {ok, Key} end,
    Service = #{name => <<"service">>, wrap => Same, unwrap => Same},
    {ok, _} = warp_backup:run(Ctx, target(Config) ++ "-2", #{master_key => Service}),
    ?assertMatch({ok, #{wrapped_by := <<"service">>}}, warp_backup:about(target(Config) ++ "-2")).

%% What did not work changes nothing, and what worked goes on.
a_plan_is_adopted_once_it_has_worked(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 20),
    Good = #{to => target(Config), every => 60000, master_key => master(Config)},
    {ok, #{cut := 1}} = warp_backup:start(Ctx, Good),
    Bad = {file, filename:join(dir(Config), "other")},
    ok = warp_backup:new_master_key(element(2, Bad)),
    ?assertEqual({error, wrong_master_key}, warp_backup:start(Ctx, Good#{master_key => Bad, every => 1000})),
    ?assertEqual({error, wrong_master_key}, warp_backup:run(Ctx, target(Config), #{master_key => Bad})),
    ?assertMatch(#{backups := [#{every := 60000, failing := none}]}, warp_core:stats(Ctx)),
    ?assertEqual(ok, warp_core:delete(warp_core:entity(Ctx, name(1)))),
    {ok, _} = warp_backup:start(Ctx, Good#{every => 1000}),
    ?assertMatch(#{backups := [#{every := 1000}]}, warp_core:stats(Ctx)).

a_run_keeps_how_often_others_are_made(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 20),
    {ok, _} = backup(Ctx, Config),
    ?assertMatch(#{backups := [#{every := once}]}, warp_core:stats(Ctx)),
    {ok, _} = warp_backup:start(Ctx, #{to => target(Config), every => 1000, master_key => master(Config)}),
    {ok, _} = backup(Ctx, Config),
    ?assertMatch(#{backups := [#{every := 1000}]}, warp_core:stats(Ctx)),
    ok = fill(Ctx, 21, 40),
    ok = warp_test:wait_until(fun() ->
        #{backups := [#{cut := Cut}]} = warp_core:stats(Ctx),
        Cut =:= 2
    end, 20000).

a_stop_ends_what_has_begun(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 20),
    Waits = started(Ctx, Config),
    Run = in_a_run(),
    ok = warp_backup:stop(Ctx, target(Config)),
    Run ! go,
    ?assertMatch({ok, #{cut := 1}}, answer(Waits)),
    ?assertMatch(#{backups := [#{every := once}]}, warp_core:stats(Ctx)).

callers_with_other_plans_get_their_own_answers(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 20),
    Bad = {file, filename:join(dir(Config), "other")},
    ok = warp_backup:new_master_key(element(2, Bad)),
    First = started(Ctx, Config),
    Run = in_a_run(),
    Others = [asking(fun() -> warp_backup:run(Ctx, target(Config), #{master_key => Key}) end)
              || Key <- [Bad, master(Config), Bad, master(Config)]],
    Deletes = asking(fun() -> warp_core:delete(warp_core:entity(Ctx, name(7)), #{receipt => true}) end),
    ok = warp_test:wait_until(fun() ->
        [Pid] = pids(Ctx, backup),
        {state, _, _, Backups} = sys:get_state(Pid),
        [5] =:= [length(element(4, Backup)) || Backup <- maps:values(Backups)]
    end),
    Run ! go,
    ?assertMatch({ok, #{cut := 1}}, answer(First)),
    ?assertMatch([{error, wrong_master_key}, {ok, _}, {error, wrong_master_key}, {ok, _}],
                 [answer(Other) || Other <- Others]),
    ?assertMatch({ok, #{backups := [#{cut := 2}]}}, answer(Deletes)),
    ?assertMatch(#{backups := [#{every := 60000}]}, warp_core:stats(Ctx)).

a_plan_outlives_a_crash_while_its_target_is_away(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 20),
    {ok, #{cut := 1}} = warp_backup:start(Ctx, #{to => target(Config), every => 1000, master_key => master(Config)}),
    Away = target(Config) ++ ".away",
    ok = file:rename(target(Config), Away),
    ok = file:write_file(target(Config), "in its way"),
    kill(Ctx, backup),
    ok = fill(Ctx, 21, 40),
    ok = warp_test:wait_until(fun() ->
        #{backups := [#{failing := Failing, every := 1000}]} = warp_core:stats(Ctx),
        Failing =/= none
    end, 20000),
    ok = file:delete(target(Config)),
    ok = file:rename(Away, target(Config)),
    ok = warp_test:wait_until(fun() ->
        #{backups := [#{cut := Cut}]} = warp_core:stats(Ctx),
        Cut =:= 2
    end, 20000).

a_plan_outlives_all_processes_of_its_context(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 20),
    Plan = #{to => target(Config), every => 1000, master_key => master(Config)},
    {ok, #{cut := 1}} = warp_backup:start(Ctx, Plan),
    {ok, _} = warp_backup:run(Ctx, target(Config) ++ "-once", maps:without([to, every], Plan)),
    kill(Ctx, keeper),
    ok = warp_test:wait_until(fun() -> appended(Ctx) =:= ok end),
    ok = warp_test:wait_until(fun() -> lists:member({1000, 2}, plans(Ctx)) end, 20000),
    ?assertMatch([{1000, 2}, {once, _}], plans(Ctx)),
    ok = warp_core:delete(warp_core:entity(Ctx, name(3))),
    ok = warp_backup:stop(Ctx, target(Config)),
    %% What was forgotten stays so.
    ok = warp_backup:forget(Ctx, target(Config)),
    kill(Ctx, keeper),
    ok = warp_test:wait_until(fun() -> [once] =:= [Every || {Every, _} <- plans(Ctx)] end).

plans(Ctx) -> lists:sort([{Every, Cut} || #{every := Every, cut := Cut} <- maps:get(backups, warp_core:stats(Ctx))]).

appended(Ctx) -> element(1, warp_core:append(warp_core:entity(Ctx, name(21)), warp_test:credited(1))).

a_deletion_right_after_a_crash_knows_the_targets(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1, 40),
    {ok, _} = backup(Ctx, Config),
    [begin
         kill(Ctx, Part),
         deleted_after_a_crash(warp_core:entity(Ctx, name(N)))
     end || {N, Part} <- lists:zip(lists:seq(1, 20), lists:append(lists:duplicate(10, [backup, keeper])))].

deleted_after_a_crash(Entity) ->
    case warp_core:delete(Entity, #{receipt => true}) of
        {ok, #{backups := [_]}} -> ok;
        {error, {still_to_erase, #{target := backup}}} -> ok;
        {error, Why} when Why =/= timeout -> deleted_after_a_crash(Entity)
    end.

a_crash_forgets_no_target(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Run = fun(On, N) ->
        {ok, _} = warp_backup:run(On, target(Config) ++ integer_to_list(N), #{master_key => master(Config)})
    end,
    [Run(Ctx, N) || N <- [1, 2, 3]],
    Again = warp_test:restart(Ctx),
    Run(Again, 2),
    [Before] = pids(Again, backup),
    kill(Again, backup),
    ok = warp_test:wait_until(fun() -> [Before] =/= pids(Again, backup) end),
    ?assertMatch(#{backups := [#{every := not_started}, #{every := once}, #{every := not_started}]},
                 warp_core:stats(Again)),
    ?assertMatch(#{backups := [_, _, _]}, warp_core:stats(warp_test:restart(Again))).

a_list_of_targets_that_cannot_be_read_stops_the_start(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = warp_test:stop(Ctx),
    Path = filename:join([dir(Config), "test", "backups"]),
    ok = file:make_dir(Path),
    Start = fun() -> warp_core:start(#{context => <<"test">>, data_dir => dir(Config), shards => 2,
                                       aggregates => warp_test:aggregates()}) end,
    ?assertMatch({error, {io_error, _}}, Start()),
    ok = file:del_dir(Path),
    {ok, Again} = Start(),
    ok = warp_core:stop(Again).

another_master_key_takes_over(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Keys = filename:join(dir(Config), "keys-elsewhere"),
    Run = fun(Master) -> warp_backup:run(Ctx, target(Config), #{master_key => Master, keys_to => Keys}) end,
    Old = master(Config),
    New = {file, filename:join(dir(Config), "new")},
    ok = warp_backup:new_master_key(element(2, New)),
    Options = #{master_key => Old, new_master_key => New},
    ?assertEqual({error, no_backup}, warp_backup:rewrap(target(Config), Options)),
    ok = fill(Ctx, 1, 50),
    {ok, #{cut := 1}} = Run(Old),
    {ok, About} = warp_backup:about(target(Config)),
    Before = objects(Config),
    ?assertEqual({error, {missing_option, new_master_key}},
                 warp_backup:rewrap(target(Config), maps:remove(new_master_key, Options))),
    ?assertEqual({error, wrong_master_key},
                 warp_backup:rewrap(target(Config), Options#{master_key => New, new_master_key => New})),
    ok = warp_backup:rewrap(target(Config), Options),
    %% One object is another one.
    ?assertEqual(["backup"], [Name || {Name, Bytes} <- objects(Config), not lists:member({Name, Bytes}, Before)]),
    ?assertEqual({ok, About}, warp_backup:about(target(Config))),
    %% The old key opens nothing.
    Read = fun(Fun, Args, Master) -> apply(warp_backup, Fun, Args ++ [#{master_key => Master, keys_from => Keys}]) end,
    Dir = filename:join(dir(Config), "x"),
    ?assertEqual({error, wrong_master_key}, Run(Old)),
    ?assertEqual({error, wrong_master_key}, Read(verify, [target(Config)], Old)),
    ?assertEqual({error, wrong_master_key}, Read(restore, [Dir, target(Config)], Old)),
    %% The new one opens what was stored before and since.
    ok = fill(Ctx, 51, 60),
    {ok, #{cut := 2}} = Run(New),
    {ok, #{events := 120}} = Read(verify, [target(Config)], New),
    {ok, #{events := 120}} = Read(restore, [Dir, target(Config)], New),
    All = all_of(Ctx),
    ok = warp_test:stop(Ctx),
    ?assertEqual(All, all_of(warp_test:start(#{context => <<"test">>, data_dir => Dir, shards => 2}))),
    %% A service takes over, and gives it back.
    Secret = crypto:strong_rand_bytes(32),
    Wrap = fun(<<Key:32/binary>>) -> {ok, crypto:exor(Key, Secret)} end,
    Service = #{name => <<"service">>, wrap => Wrap, unwrap => Wrap},
    ok = warp_backup:rewrap(target(Config), #{master_key => New, new_master_key => Service}),
    {ok, #{wrapped_by := <<"service">>}} = warp_backup:about(target(Config)),
    ?assertEqual({error, wrong_master_key}, Read(verify, [target(Config)], New)),
    ?assertMatch({error, {master_key_refused, _}},
                 warp_backup:rewrap(target(Config), #{master_key => Service, new_master_key =>
                     Service#{wrap := fun(_) -> {error, locked} end}})),
    ok = warp_backup:rewrap(target(Config), #{master_key => Service, new_master_key => Old}),
    {ok, #{events := 120}} = Read(verify, [target(Config)], Old).

%% A VM that is killed while it does nothing else has replaced the object or not.
one_of_two_master_keys_works_after_an_interruption(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    ok = fill(Ctx, 1, 10),
    {ok, _} = backup(Ctx, Config),
    Old = master(Config),
    New = {file, filename:join(dir(Config), "new")},
    ok = warp_backup:new_master_key(element(2, New)),
    To = target(Config),
    Opens = fun(Master) -> element(1, warp_backup:verify(To, #{master_key => Master})) =:= ok end,
    [begin
         Vm = warp_fault_vm:start(),
         ok = warp_fault_vm:run(Vm, fun() -> _ = spawn(fun() -> ?MODULE:rewrap_on(To, Old, New) end), ok end),
         timer:sleep(20 + rand:uniform(50)),
         warp_fault_vm:kill(Vm),
         ?assertMatch([_], [Of || Of <- [Old, New], Opens(Of)]),
         ok = warp_backup:rewrap(To, #{master_key => Old, new_master_key => New}),
         ?assertEqual([New], [Of || Of <- [Old, New], Opens(Of)]),
         %% It is done already.
         ok = warp_backup:rewrap(To, #{master_key => Old, new_master_key => New}),
         ?assertEqual([New], [Of || Of <- [Old, New], Opens(Of)])
     end || _ <- lists:seq(1, 3)],
    ok.

%% Inside the VM.
rewrap_on(To, A, B) ->
    ok = warp_backup:rewrap(To, #{master_key => A, new_master_key => B}),
    rewrap_on(To, B, A).

%% ------------------------------------------------------------------ Helpers

%% Begins backups, of which the first run waits until it may go on.
started(Ctx, Config) ->
    Self = self(),
    Waits = fun(_) ->
        case put(has_waited, true) of
            undefined ->
                Self ! {in_a_run, self()},
                receive go -> ok end;
            true -> ok
        end
    end,
    asking(fun() ->
        warp_backup:start(Ctx, #{to => target(Config), every => 60000, master_key => master(Config), progress => Waits})
    end).

in_a_run() ->
    receive {in_a_run, Run} -> Run end.

pids(Ctx, Part) -> [Pid || {Of, Pid} <- warp_test:processes(Ctx), Of =:= Part].

kill(Ctx, Part) ->
    [Pid] = pids(Ctx, Part),
    exit(Pid, kill).

asking(Fun) ->
    Self = self(),
    Tag = make_ref(),
    _ = spawn_link(fun() -> Self ! {Tag, Fun()} end),
    Tag.

answer(Tag) ->
    receive {Tag, Answer} -> Answer end.

%% What is in the target.
objects(Config) ->
    Files = [File || File <- filelib:wildcard("**", target(Config)),
                     filelib:is_regular(filename:join(target(Config), File))],
    [{File, element(2, file:read_file(filename:join(target(Config), File)))} || File <- Files].

fill(Ctx, From, To) ->
    lists:foreach(
        fun(N) -> {ok, _} = warp_core:append_batch(warp_core:entity(Ctx, name(N)),
                                                  [warp_test:credited(N), warp_test:credited(1)]) end,
        lists:seq(From, To)).

name(N) -> <<"entity/", (integer_to_binary(N))/binary>>.

all_of(Ctx) -> all_of(Ctx, #{}, []).

all_of(Ctx, After, Sofar) ->
    case warp_core:events(Ctx, #{'after' => After, limit => 1000}) of
        {ok, #{events := Events, more := false}} -> lists:sort(Events ++ Sofar);
        {ok, #{events := Events, next := Next}} -> all_of(Ctx, Next, Events ++ Sofar)
    end.

dir(Config) -> proplists:get_value(dir, Config).

target(Config) -> filename:join(dir(Config), "backup").

master(Config) ->
    Path = filename:join(dir(Config), "master"),
    case filelib:is_file(Path) of
        true -> ok;
        false ->
            ok = file:write_file(Path, binary:encode_hex(crypto:strong_rand_bytes(32))),
            ok = file:change_mode(Path, 8#600)
    end,
    {file, Path}.

backup(Ctx, Config) ->
    warp_backup:run(Ctx, target(Config), #{master_key => master(Config)}).

%% A context of what was restored, under a data directory of its own.
restored(Config, Name, Options) -> restored_from(target(Config), Config, Name, Options).

restored_from(Target, Config, Name, Options) ->
    warp_test:stop_all(),
    DataDir = filename:join(dir(Config), Name),
    {ok, #{context := Context, shards := Shards} = Report} =
        warp_backup:restore(DataDir, Target, Options#{master_key => master(Config)}),
    {warp_test:start(#{context => Context, data_dir => DataDir, shards => Shards}), Report}.
