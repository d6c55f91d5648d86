%% Deleting an entity that is too large for one transaction: a crash after each of its commits,
%% a new life meanwhile, reads that go on, and others who do not wait for it.
-module(warp_erase_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_crash_after_each_commit_of_a_large_deletion/1,
         reads_during_a_large_deletion_see_all_or_nothing/1,
         a_repeated_delete_waits_for_the_first/1,
         nobody_waits_while_another_program_keeps_the_bytes/1,
         a_disk_that_fails_in_between_is_an_error_and_it_is_finished_later/1]).

-import(warp_test, [noted/1, noted/2]).

-define(ROWS, 9000).
%% Beside other suites the disk may be busy for longer than a caller waits.
-define(PATIENT, #{timeout => infinity}).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [a_crash_after_each_commit_of_a_large_deletion,
     reads_during_a_large_deletion_see_all_or_nothing,
     a_repeated_delete_waits_for_the_first,
     nobody_waits_while_another_program_keeps_the_bytes,
     a_disk_that_fails_in_between_is_an_error_and_it_is_finished_later].

init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

%% ---------------------------------------------------------------------- Crashes

a_crash_after_each_commit_of_a_large_deletion(Config) ->
    Dir = filename:join(?config(dir, Config), "data"),
    Ctx = warp_test:start(opts(Dir)),
    fill(Ctx),
    warp_test:stop(Ctx),
    Stopped = read_all(Dir),
    Crashes = crash_after(1, Dir, Stopped),
    ct:log("~b crashes", [Crashes]),
    ?assert(Crashes >= 5, Crashes).

%% Every other time with rows that were not written behind.
crash_after(N, Dir, Stopped) ->
    restore(Stopped),
    End = warp_fault_vm:crash(fun() ->
        ok = warp_fault_vm:open(opts(Dir)),
        Victim = victim(warp_fault_vm:ctx()),
        _ = [{ok, _} = warp_core:append(Victim, noted(<<"victim-late">>))
             || N rem 2 =:= 0, _ <- lists:seq(1, 20)],
        warp_fault_vm:fault({abort_after, N}),
        ok = warp_core:delete(Victim, ?PATIENT),
        warp_fault_vm:fault(off),
        ok = warp_fault_vm:close()
    end),
    case End of
        survived ->
            ?assertEqual([], warp_test:files_with(Dir, <<"victim">>)),
            N - 1;
        crashed ->
            warp_test:stop(after_crash(N, Dir, warp_test:start(opts(Dir)))),
            crash_after(N + 1, Dir, Stopped)
    end.

%% The start has gone on with the deletion. The entity is deleted again; or begins a new life, with ids
%% that it had, before the old one is all erased, and is then deleted again or not.
after_crash(1, Dir, Ctx) ->
    %% The first commit makes the list of deletions: nothing was begun.
    ?assertEqual({ok, ?ROWS div 3}, warp_core:get(victim(Ctx), <<"Counter">>)),
    delete_and_look(Dir, Ctx);
after_crash(N, Dir, Ctx) when N rem 3 =:= 0 ->
    assert_empty(victim(Ctx)),
    delete_and_look(Dir, Ctx);
after_crash(N, Dir, Ctx) ->
    assert_empty(victim(Ctx)),
    [?assertEqual({ok, 1}, warp_core:append(victim(Ctx), noted(<<"reborn">>, <<"id-7">>), ?PATIENT))
     || _ <- [once, twice]],
    case N rem 3 of
        1 ->
            warp_test:wait_until(fun() -> warp_test:files_with(Dir, <<"victim-payload">>) =:= [] end),
            ?assertEqual([<<"reborn">>], texts(victim(Ctx))),
            Again = warp_test:restart(Ctx),
            ?assertEqual([<<"reborn">>], texts(victim(Again))),
            assert_others(Again),
            Again;
        2 ->
            delete_and_look(Dir, Ctx)
    end.

delete_and_look(Dir, Ctx) ->
    ?assertEqual(ok, warp_core:delete(victim(Ctx), ?PATIENT)),
    ?assertEqual([], warp_test:files_with(Dir, <<"victim">>)),
    assert_empty(victim(Ctx)),
    assert_others(Ctx),
    Ctx.

%% ------------------------------------------------------------------- Meanwhile

%% Also prints how long others wait for a deletion.
reads_during_a_large_deletion_see_all_or_nothing(Config) ->
    Ctx = warp_test:start(opts(?config(dir, Config))),
    fill(Ctx),
    Victim = victim(Ctx),
    All = lists:seq(1, ?ROWS),
    Read = fun(Answer) -> [Seq || #{seq := Seq} <- element(2, Answer)] end,
    Reads = [fun() -> Read(warp_core:export(Victim)) end,
             fun() -> Read(warp_core:history(Victim, #{limit => 2 * ?ROWS})) end,
             fun() -> lists:reverse(Read(warp_core:history(Victim, #{limit => 2 * ?ROWS,
                                                                     direction => backward}))) end],
    Readers = [fun() -> until_empty(One, All) end || One <- Reads],
    Self = self(),
    Other = warp_core:entity(Ctx, <<"other">>),
    Appender = spawn_link(fun() -> longest(Other, 0, Self) end),
    Deleter = fun() -> ok = timer:sleep(100), warp_core:delete(Victim) end,
    ?assertEqual([ok, ok, ok, ok], warp_test:parallel([Deleter | Readers])),
    Appender ! stop,
    receive {longest, Micros} -> ct:log("others waited for ~b us at most", [Micros]) end,
    assert_empty(Victim),
    assert_others(Ctx).

until_empty(Read, All) ->
    case Read() of
        [] -> [] = Read(), ok;
        All -> until_empty(Read, All)
    end.

longest(Entity, Longest, To) ->
    receive
        stop -> To ! {longest, Longest}
    after 0 ->
        {Micros, {ok, _}} = timer:tc(fun() -> warp_core:append(Entity, noted(<<"other">>)) end),
        longest(Entity, max(Micros, Longest), To)
    end.

%% The process that waited for the first is gone: the writer knows what is still to be done.
a_repeated_delete_waits_for_the_first(Config) ->
    Dir = ?config(dir, Config),
    Ctx = warp_test:start(opts(Dir)),
    fill(Ctx),
    Victim = victim(Ctx),
    _ = spawn(fun() -> warp_core:delete(Victim) end),
    warp_test:wait_until(fun() -> warp_core:history(Victim, #{limit => 1}) =:= {ok, []} end),
    killed = warp_test:kill_entity(Victim),
    ?assertEqual(ok, warp_core:delete(Victim)),
    ?assertEqual([], warp_test:files_with(Dir, <<"victim">>)),
    assert_others(Ctx).

nobody_waits_while_another_program_keeps_the_bytes(Config) ->
    Dir = ?config(dir, Config),
    Ctx = warp_test:start(opts(Dir)),
    Victim = victim(Ctx),
    Other = warp_core:entity(Ctx, <<"other">>),
    [{ok, 1} = warp_core:append(E, noted(<<"victim">>)) || E <- [Victim, Other]],
    [File] = warp_test:shard_files(Dir),
    Shell = warp_shell:reads(File),
    Self = self(),
    _ = spawn_link(fun() -> Self ! {deleted, warp_core:delete(Victim)} end),
    warp_test:wait_until(fun() -> warp_core:history(Victim, #{limit => 1}) =:= {ok, []} end),
    [{ok, _} = warp_core:append(Other, noted(<<"meanwhile">>)) || _ <- lists:seq(1, 3)],
    receive {deleted, Early} -> ct:fail({"appends waited as long as the deletion", Early})
    after 0 -> ok
    end,
    receive {deleted, Answer} -> ?assertMatch({error, {io_error, _}}, Answer) end,
    warp_shell:release(Shell),
    ?assertEqual(ok, warp_core:delete(Victim)).

a_disk_that_fails_in_between_is_an_error_and_it_is_finished_later(Config) ->
    Dir = ?config(dir, Config),
    Vm = warp_fault_vm:start(#{nif => fault}),
    warp_fault_vm:run(Vm, fun() ->
        ok = warp_fault_vm:open(opts(Dir)),
        Ctx = warp_fault_vm:ctx(),
        fill(Ctx),
        Victim = victim(Ctx),
        %% The logs of sagas come first, then the transaction that makes it invisible.
        warp_fault_vm:fault({fail_at, 4}),
        ?assertMatch({error, {io_error, _}}, warp_core:delete(Victim)),
        assert_empty(Victim),
        ?assertNotEqual([], warp_test:files_with(Dir, <<"victim-payload">>)),
        warp_test:wait_until(fun() -> warp_test:files_with(Dir, <<"victim-payload">>) =:= [] end),
        ?assertEqual(ok, warp_core:delete(Victim)),
        ?assertEqual([], warp_test:files_with(Dir, <<"victim">>)),
        assert_others(Ctx)
    end),
    warp_fault_vm:stop(Vm).

%% -------------------------------------------------------------------- Helpers

opts(Dir) ->
    #{context => <<"fault">>, data_dir => Dir, shards => 1, snapshot_every => 100,
      aggregates => warp_test:aggregates()}.

victim(Ctx) -> warp_core:entity(Ctx, <<"victim-entity">>).

%% Some of its rows have ids, and it has a snapshot; others stand between them.
fill(Ctx) ->
    Parts = 100,
    _ = warp_test:parallel(Parts, fun(Part) ->
        [{ok, _} = warp_core:append(victim(Ctx), victim_event(N))
         || N <- lists:seq(Part, ?ROWS, Parts)],
        {ok, _} = warp_core:append_batch(warp_core:entity(Ctx, <<"neighbour-", Part>>),
                                         [warp_test:incremented(), noted(<<"n">>, <<"id-7">>)])
    end),
    ok.

victim_event(N) when N rem 3 =:= 0 -> noted(<<"victim-payload">>, <<"id-", (integer_to_binary(N))/binary>>);
victim_event(N) when N rem 3 =:= 1 -> warp_test:incremented();
victim_event(_) -> noted(<<"victim-payload">>).

assert_empty(Victim) ->
    ?assertEqual({ok, 0}, warp_core:get(Victim, <<"Counter">>)),
    ?assertEqual({ok, 0}, warp_core:state_at(Victim, <<"Counter">>, {seq, 500})),
    ?assertEqual({ok, []}, warp_core:history(Victim)),
    ?assertEqual({ok, []}, warp_core:history(Victim, #{direction => backward})),
    ?assertEqual({ok, []}, warp_core:export(Victim)).

assert_others(Ctx) ->
    [begin
         Entity = warp_core:entity(Ctx, <<"neighbour-", Part>>),
         ?assertEqual({ok, 1}, warp_core:get(Entity, <<"Counter">>)),
         ?assertEqual({ok, 2}, warp_core:append(Entity, noted(<<"n">>, <<"id-7">>)))
     end || Part <- lists:seq(1, 100)].

texts(Entity) ->
    {ok, Events} = warp_core:export(Entity),
    [Text || #{payload := #{<<"text">> := Text}} <- Events].

read_all(Dir) ->
    [{File, element(2, {ok, _} = file:read_file(File))}
     || File <- filelib:wildcard(filename:join([Dir, "**", "*"])), filelib:is_regular(File)].

restore(Files) ->
    Dir = filename:dirname(element(1, hd(Files))),
    [ok = file:delete(File) || File <- filelib:wildcard(filename:join(Dir, "*"))],
    [ok = file:write_file(File, Bytes) || {File, Bytes} <- Files].
