%% The keys of lives, which backups seal with: made when they are asked for, and gone with the entity.
-module(warp_keys_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_context_without_backups_has_none/1, a_deleted_entity_has_no_key_in_any_file/1,
         payloads_in_sagas_have_keys_of_their_own/1, keys_are_made_beside_appends/1,
         another_program_that_reads_is_an_error_for_now/1, a_crash_after_each_commit/1,
         a_shard_that_is_closed_says_so/1]).

-import(warp_test, [noted/1]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [a_context_without_backups_has_none, a_deleted_entity_has_no_key_in_any_file,
     payloads_in_sagas_have_keys_of_their_own, keys_are_made_beside_appends,
     another_program_that_reads_is_an_error_for_now, a_crash_after_each_commit, a_shard_that_is_closed_says_so].

init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

opts(Config) ->
    #{context => <<"keys">>, data_dir => dir(Config), shards => 2, aggregates => warp_test:aggregates()}.

dir(Config) -> filename:join(?config(dir, Config), "data").

%% In all shards.
keys(Config) ->
    [Key || File <- warp_test:shard_files(dir(Config)), Key <- maps:values(warp_test_keys:read(File))].

key(Config, Ctx, Id) ->
    {N, Incarnation} = warp_test_keys:life(Ctx, Id),
    maps:get(Incarnation, warp_test_keys:read(lists:nth(1 + N, warp_test:shard_files(dir(Config))))).

append(Ctx, Id) ->
    {ok, _} = warp_core:append(warp_core:entity(Ctx, Id), noted(<<"text">>)).

formats(Config) ->
    [Format || File <- warp_test:shard_files(dir(Config)), Format <- warp_test:sqlite(File, "PRAGMA user_version")].

%% -----------------------------------------------------------------------------------------------------------------

a_context_without_backups_has_none(Config) ->
    Ctx = warp_test:start(opts(Config)),
    [append(Ctx, Id) || Id <- [<<"alice">>, <<"bob">>, <<"carl">>, <<"dora">>]],
    ok = warp_core:delete(warp_core:entity(Ctx, <<"bob">>)),
    warp_test:stop(Ctx),
    warp_test:stop(warp_test:start(opts(Config))),
    ?assertEqual([], keys(Config)),
    ?assertEqual([<<"3">>, <<"3">>], formats(Config)).

a_deleted_entity_has_no_key_in_any_file(Config) ->
    Ctx = warp_test:start(opts(Config)),
    Ids = [<<"entity-", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 50)],
    [append(Ctx, Id) || Id <- Ids, _ <- [once, twice]],
    ok = warp_test_keys:make(Ctx),
    Keys = [{Id, key(Config, Ctx, Id)} || Id <- Ids],
    ?assertEqual(52, length(lists:usort(keys(Config)))),
    Deleted = [Id || {N, Id} <- lists:enumerate(Ids), N rem 3 =:= 0],
    [ok = warp_core:delete(warp_core:entity(Ctx, Id)) || Id <- Deleted],
    Look = fun() ->
        [?assertEqual({Id, lists:member(Id, Deleted)}, {Id, warp_test:files_with(dir(Config), Key) =:= []})
         || {Id, Key} <- Keys]
    end,
    Look(),
    [append(Ctx, Id) || Id <- Deleted],
    ok = warp_test_keys:make(Ctx),
    ?assertEqual([], [Id || Id <- Deleted, key(Config, Ctx, Id) =:= proplists:get_value(Id, Keys)]),
    ?assertMatch({ok, _}, warp_core:verify(Ctx)),
    warp_test:stop(Ctx),
    Look(),
    ?assertEqual([<<"4">>, <<"4">>], formats(Config)),
    ?assertEqual(length(Deleted), length(lists:append([warp_test_keys:edits(File)
                                                       || File <- warp_test:shard_files(dir(Config))]))),
    ?assertMatch({ok, _}, warp_core:verify(filename:join(dir(Config), "keys"))),
    Again = warp_test:start(opts(Config)),
    ?assertEqual([{Id, Key} || {Id, Key} <- Keys, not lists:member(Id, Deleted)],
                 [{Id, key(Config, Again, Id)} || Id <- Ids, not lists:member(Id, Deleted)]),
    warp_test:stop(Again).

%% What is left of a saga that was removed has no key of its own.
payloads_in_sagas_have_keys_of_their_own(Config) ->
    Ctx = warp_test:start((opts(Config))#{keep_sagas => infinity}),
    Step = fun(Id) -> warp_saga_test:step(Id, <<"Account">>, credited(), credited()) end,
    Saga = warp_saga_test:saga(<<"s">>, [Step(Id) || Id <- [<<"alice">>, <<"bob">>, <<"carl">>]]),
    {ok, {committed, _}} = warp_saga:commit(Saga, Ctx),
    ok = warp_test_keys:make(Ctx),
    Before = key(Config, Ctx, <<"$warp/saga/s">>),
    <<Own:32/binary, Alice:32/binary, Bob:32/binary, Carl:32/binary>> = Before,
    ok = warp_core:delete(warp_core:entity(Ctx, <<"bob">>)),
    ?assertEqual(<<Own/binary, Alice/binary, 0:256, Carl/binary>>, key(Config, Ctx, <<"$warp/saga/s">>)),
    ?assertEqual([], warp_test:files_with(dir(Config), Bob)),
    ?assertMatch({ok, _}, warp_core:verify(Ctx)),
    warp_test:stop(Ctx),
    Removing = warp_test:start((opts(Config))#{keep_sagas => 0}),
    warp_test:wait_until(fun() ->
        #{sagas := #{removed := Removed}} = warp_core:stats(Removing),
        Removed =:= 1
    end),
    IsThere = fun(Key) -> warp_test:files_with(dir(Config), Key) =/= [] end,
    warp_test:wait_until(fun() -> not lists:any(IsThere, [Own, Alice, Carl]) end),
    ok = warp_test_keys:make(Removing),
    {N, Incarnation} = warp_test_keys:life(Removing, <<"$warp/saga/s">>),
    ?assertNot(is_map_key(Incarnation, warp_test_keys:read(lists:nth(1 + N, warp_test:shard_files(dir(Config)))))),
    ?assertMatch({ok, _}, warp_core:verify(Removing)),
    warp_test:stop(Removing).

credited() -> #{type => <<"Credited">>, payload => #{amount => 1}}.

keys_are_made_beside_appends(Config) ->
    Ctx = warp_test:start((opts(Config))#{durability => normal}),
    Fill = fun(N) -> [append(Ctx, <<(integer_to_binary(N))/binary, $-, (integer_to_binary(M))/binary>>)
                      || M <- lists:seq(1, 1000)] end,
    _ = warp_test:parallel(8, Fill),
    Self = self(),
    _ = spawn_link(fun() -> _ = warp_test:parallel(8, fun(N) -> Fill(N + 8) end), Self ! done end),
    _ = [ok = warp_test_keys:make(Ctx) || _ <- lists:seq(1, 20)],
    receive done -> ok end,
    ok = warp_test_keys:make(Ctx),
    ?assertEqual(16002, length(lists:usort(keys(Config)))),
    ?assertMatch({ok, _}, warp_core:verify(Ctx)),
    warp_test:stop(Ctx).

another_program_that_reads_is_an_error_for_now(Config) ->
    Ctx = warp_test:start(opts(Config)),
    append(Ctx, <<"alice">>),
    ok = warp_test:await_applied(Ctx),
    {N, _} = warp_test_keys:life(Ctx, <<"alice">>),
    Shell = warp_shell:reads(lists:nth(1 + N, warp_test:shard_files(dir(Config)))),
    ?assertMatch({error, {io_error, <<"the keys of a backup", _/binary>>}}, warp_test_keys:make(Ctx, N)),
    %% Nobody else waits for that.
    append(Ctx, <<"bob">>),
    Key = key(Config, Ctx, <<"alice">>),
    ok = warp_shell:release(Shell),
    ok = warp_test_keys:make(Ctx, N),
    ?assertEqual(Key, key(Config, Ctx, <<"alice">>)),
    warp_test:stop(Ctx).

a_crash_after_each_commit(Config) ->
    Ctx = warp_test:start((opts(Config))#{durability => normal}),
    [append(Ctx, <<"entity-", (integer_to_binary(N))/binary>>) || N <- lists:seq(1, 3000)],
    warp_test:stop(Ctx),
    ?assert(crash_after(1, Config) >= 2).

%% How often it ended. Each life keeps the key that it has.
crash_after(Commits, Config) ->
    Before = [warp_test_keys:read(File) || File <- warp_test:shard_files(dir(Config))],
    End = warp_fault_vm:crash(fun() ->
        ok = warp_fault_vm:open(opts(Config)),
        warp_fault_vm:fault({abort_after, Commits}),
        ok = warp_test_keys:make(warp_fault_vm:ctx()),
        warp_fault_vm:fault(off),
        ok = warp_fault_vm:close()
    end),
    Again = warp_test:start(opts(Config)),
    ?assertMatch({ok, _}, warp_core:verify(Again)),
    warp_test:stop(Again),
    After = [warp_test_keys:read(File) || File <- warp_test:shard_files(dir(Config))],
    [?assertEqual(Old, maps:with(maps:keys(Old), New)) || {Old, New} <- lists:zip(Before, After)],
    case End of
        crashed -> crash_after(Commits + 1, Config);
        survived -> Commits - 1
    end.

a_shard_that_is_closed_says_so(Config) ->
    Ctx = warp_test:start(opts(Config)),
    {ok, Context} = warp_context:find(Ctx),
    {ok, Handle} = warp_context:shard(Context, 0),
    warp_test:stop(Ctx),
    ?assertEqual({error, closed}, warp_nif:make_keys(Handle, 1)).
