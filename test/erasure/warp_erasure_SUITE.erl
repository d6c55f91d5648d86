%% A deletion is a list of steps on disk: the VM ends after each of them, and the next start goes on.
-module(warp_erasure_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include_lib("warp_core/src/base/warp_entity.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_crash_after_each_step/1, a_life_that_begins_meanwhile_keeps_its_rows/1,
         an_error_leaves_the_entity_alone/1, a_step_that_nobody_knows_stays/1,
         the_list_is_made_for_the_first_deletion/1, the_time_of_whoever_asks_is_kept/1]).

-define(SECRET, <<"victims-secret">>).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [a_crash_after_each_step,
     a_life_that_begins_meanwhile_keeps_its_rows,
     an_error_leaves_the_entity_alone,
     a_step_that_nobody_knows_stays,
     the_list_is_made_for_the_first_deletion,
     the_time_of_whoever_asks_is_kept].

init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

%% The entity has a log, a step of a saga, and rows in tables.
a_crash_after_each_step(Config) ->
    _ = process_flag(trap_exit, true),
    Dir = filename:join(?config(dir, Config), "data"),
    {ok, Ctx} = warp_test:try_start(opts(Dir)),
    ok = fill(Ctx),
    warp_test:stop(Ctx),
    Seen = crash_after(1, Dir, read_all(Dir), []),
    ct:log("steps left after each commit:~n~tp", [Seen]),
    %% Each list of steps was met: nothing done, the sagas, the log, the subscriptions. The last step goes with the
    %% note: a note without steps was left by a version that had none, and all its steps would be taken again.
    All = [<<"sagas">>, <<"log">>, <<"subscriptions">>, <<"embedded">>],
    Expected = [lists:nthtail(Done, All) || Done <- lists:seq(0, length(All) - 1)],
    ?assertEqual([], Expected -- Seen),
    ?assertNot(lists:member([], Seen)).

crash_after(N, Dir, Files, Seen) ->
    restore(Dir, Files),
    Vm = warp_fault_vm:start(#{nif => fault,
                               under => {"/bin/sh", ["-c", "ulimit -c 0; exec \"$@\"", "sh"]}}),
    Ref = monitor(process, Vm),
    Pid = warp_fault_vm:run(Vm, fun os:getpid/0),
    End =
        try
            warp_fault_vm:run(Vm, fun() ->
                {ok, Ctx} = warp_core:start(opts(Dir)),
                ok = warp_core:await_projection(victim(Ctx), 30000),
                warp_fault_vm:fault({abort_after, N}),
                ok = warp_core:delete(victim(Ctx), #{timeout => infinity}),
                warp_fault_vm:fault(off),
                ok = warp_core:stop(Ctx)
            end),
            warp_fault_vm:stop(Vm),
            survived
        catch
            _:_ -> crashed
        end,
    receive {'DOWN', Ref, process, Vm, _} -> ok end,
    warp_test:wait_until(fun() -> not filelib:is_dir("/proc/" ++ Pid) end),
    case End of
        survived ->
            gone(Dir),
            Seen;
        crashed ->
            Left = left(Dir),
            gone(Dir),
            crash_after(N + 1, Dir, Files, [Left | Seen])
    end.

%% An entity without events is deleted. It gets its first event after that was found, and before it is noted; and
%% then the VM ends. So the event is there, and has to be in the tables.
a_life_that_begins_meanwhile_keeps_its_rows(Config) ->
    Dir = filename:join(?config(dir, Config), "data"),
    {ok, First} = warp_test:try_start(opts(Dir)),
    warp_test:stop(First),
    crashed = warp_fault_vm:crash(fun() ->
        {ok, Ctx} = warp_core:start(opts(Dir)),
        Shell = warp_shell:writes(filename:join([Dir, "erasing", "erasures.db"])),
        _ = spawn(fun() -> warp_core:delete(victim(Ctx)) end),
        timer:sleep(300),
        {ok, 1} = warp_core:append(victim(Ctx), seen(<<"here">>)),
        %% It may be projected by then.
        timer:sleep(500),
        warp_fault_vm:fault({abort_after, 1}),
        warp_shell:release(Shell),
        receive after infinity -> ok end
    end),
    ?assertEqual([<<"sagas">>, <<"log">>, <<"subscriptions">>, <<"embedded">>], left(Dir)),
    {ok, Ctx} = warp_test:try_start(opts(Dir)),
    warp_test:wait_until(fun() -> noted(Dir) =:= 0 end),
    ?assertMatch({ok, [_]}, warp_core:export(victim(Ctx))),
    ?assertEqual(ok, warp_core:await_projection(victim(Ctx), 30000)),
    ?assertEqual([[<<"here">>]], rows(Ctx, "SELECT text FROM seen WHERE id = 'victim'")).

%% Nobody asks for the deletion again.
gone(Dir) ->
    {ok, Ctx} = warp_test:try_start(opts(Dir)),
    ?assertEqual({ok, []}, warp_core:export(victim(Ctx))),
    warp_test:wait_until(fun() -> rows(Ctx, "SELECT count(*) FROM seen WHERE id = 'victim'") =:= [[0]] end),
    warp_test:wait_until(fun() -> noted(Dir) =:= 0 end),
    ?assertEqual([[1]], rows(Ctx, "SELECT count(*) FROM seen WHERE id = 'other'")),
    ?assertMatch({ok, [_, _]}, warp_core:export(warp_core:entity(Ctx, <<"other">>))),
    ?assertMatch({ok, #{state := committed}}, warp_saga:status(Ctx, <<"transfer">>)),
    ?assertNot(has_secret(warp_saga_test:saga_log(Ctx, <<"transfer">>))),
    %% A new life begins at 1, and shows in the tables.
    ?assertEqual({ok, 1}, warp_core:append(victim(Ctx), seen(<<"again">>))),
    ?assertEqual(ok, warp_core:await_projection(victim(Ctx), 30000)),
    ?assertEqual([[<<"again">>]], rows(Ctx, "SELECT text FROM seen WHERE id = 'victim'")),
    warp_test:stop(Ctx),
    ?assertEqual([], warp_test:files_with(Dir, ?SECRET)).

left(Dir) ->
    case steps(Dir, "SELECT coalesce(step, 'none') FROM notes LEFT JOIN steps USING (entity) ORDER BY n") of
        [] -> no_entry;
        [<<"none">>] -> [];
        Steps -> Steps
    end.

noted(Dir) ->
    [Notes] = steps(Dir, "SELECT (SELECT count(*) FROM notes) + (SELECT count(*) FROM steps)"),
    binary_to_integer(Notes).

%% On a copy: looking at the files must not change them.
steps(Dir, Sql) ->
    Copy = filename:join(Dir, "../copy"),
    "" = os:cmd("rm -rf " ++ Copy ++ "; mkdir " ++ Copy ++ "; cp " ++ filename:join([Dir, "erasing", "erasures.db*"])
                ++ " " ++ Copy),
    warp_test:sqlite(filename:join(Copy, "erasures.db"), Sql).

has_secret(Events) ->
    binary:match(term_to_binary(Events), ?SECRET) =/= nomatch.

%% A component that cannot take its step before the log: the deletion ends with its error.
an_error_leaves_the_entity_alone(Config) ->
    Dir = filename:join(?config(dir, Config), "data"),
    {ok, Ctx} = warp_test:try_start(opts(Dir)),
    ok = fill(Ctx),
    {ok, Context} = warp_context:find(Ctx),
    #warp_entity{id = Id, shard = N} = Victim = victim(Ctx),
    {ok, List} = warp_erasure_list:open(iolist_to_binary(filename:join(Dir, "other.db")), owner),
    {ok, Incarnation} = warp_erasure_steps:incarnation(Context, Victim),
    Entry = #{entity => Id, shard => N, incarnation => Incarnation},
    Steps = [<<"sagas">>, <<"log">>, <<"embedded">>],
    ok = warp_erasure_list:add(List, Entry, Steps),
    %% The list cannot be written to while the steps before the log are taken.
    ok = warp_erasure_list:close(List),
    Self = self(),
    Tell = fun(What) -> Self ! What, ok end,
    Pid = spawn(fun() -> warp_erasure_steps:resume(Context, List, Entry, Steps, Tell) end),
    receive {left, #{reason := closed}} -> ok after 10000 -> error(no_answer) end,
    exit(Pid, kill),
    ?assertMatch({ok, [_, _]}, warp_core:export(Victim)),
    ?assertEqual({ok, 3}, warp_core:append(Victim, seen(<<"more">>))),
    ?assertEqual(ok, warp_core:delete(Victim)),
    ?assertEqual({ok, []}, warp_core:export(Victim)).

%% Such as that of a component of a later version: the list keeps it, the steps behind it are taken all the same,
%% and a start is not held up.
a_step_that_nobody_knows_stays(Config) ->
    Dir = filename:join(?config(dir, Config), "data"),
    {ok, Ctx} = warp_test:try_start(opts(Dir)),
    ok = fill(Ctx),
    {ok, Context} = warp_context:find(Ctx),
    warp_test:stop(Ctx),
    #warp_entity{id = Id, shard = N} = Nobody = warp_core:entity(Ctx, <<"nobody">>),
    {ok, List} = warp_erasure_list:open(warp_erasure_list:path(Context), owner),
    ok = warp_erasure_list:add(List, #{entity => Id, shard => N, incarnation => 0},
                                [<<"later">>, <<"log">>, <<"embedded">>]),
    ok = warp_erasure_list:close(List),
    {ok, Again} = warp_test:try_start(opts(Dir)),
    warp_test:wait_until(fun() -> left(Dir) =:= [<<"later">>] end),
    ?assertMatch({error, {still_to_erase, #{reason := {unknown_step, <<"later">>}}}},
                 warp_core:delete(warp_core:entity(Again, Nobody#warp_entity.id), #{timeout => 2000})),
    %% An operator sees that it does not end.
    #{deletions := #{under_way := 1, since := Since}} = warp_core:stats(Again),
    ?assert(os:system_time(microsecond) - Since < 60000000),
    ?assertEqual(ok, warp_core:delete(victim(Again))).

the_list_is_made_for_the_first_deletion(Config) ->
    Dir = filename:join(?config(dir, Config), "data"),
    {ok, Ctx} = warp_test:try_start(maps:remove(projections, opts(Dir))),
    File = filename:join([Dir, "erasing", "erasures.db"]),
    {ok, 1} = warp_core:append(victim(Ctx), seen(?SECRET)),
    ?assertNot(filelib:is_file(File)),
    ?assertEqual(ok, warp_core:delete(victim(Ctx))),
    ?assert(filelib:is_file(File)),
    ?assertMatch(#{deletions := #{under_way := 0, since := none}}, warp_core:stats(Ctx)),
    Again = warp_test:restart(Ctx),
    ?assertEqual({ok, []}, warp_core:export(victim(Again))),
    ?assertEqual(ok, warp_core:delete(victim(Again))),
    warp_test:stop(Again).

%% The entity's process does not come to it in time: and later it does.
the_time_of_whoever_asks_is_kept(Config) ->
    Dir = filename:join(?config(dir, Config), "data"),
    {ok, Ctx} = warp_test:try_start(opts(Dir)),
    ok = fill(Ctx),
    {ok, Pid} = warp_core:pid(victim(Ctx)),
    ok = sys:suspend(Pid),
    {Micros, Answer} = timer:tc(fun() -> warp_core:delete(victim(Ctx), #{timeout => 300}) end),
    ?assertEqual({error, timeout}, Answer),
    ?assert(Micros >= 300000),
    ?assert(Micros < 5000000),
    ?assertMatch({error, {bad_option, timeout, _}}, warp_core:delete(victim(Ctx), #{timeout => -1})),
    ok = sys:resume(Pid),
    warp_test:wait_until(fun() -> warp_core:export(victim(Ctx)) =:= {ok, []} end),
    ?assertEqual(ok, warp_core:delete(victim(Ctx), #{timeout => infinity})).

%% ------------------------------------------------------------------------ Data

opts(Dir) ->
    #{context => <<"erasing">>, data_dir => Dir, shards => 2, aggregates => [aggregate()], projections => embedded}.

aggregate() ->
    #{name => <<"Seen">>, initial_state => none,
      project => fun(Id, _State, #{payload := #{<<"text">> := Text}}) ->
          [warp_projection:upsert(seen, Id, #{text => Text})]
      end}.

seen(Text) -> #{type => <<"Seen">>, payload => #{text => Text}}.

victim(Ctx) -> warp_core:entity(Ctx, <<"victim">>).

fill(Ctx) ->
    {ok, 1} = warp_core:append(victim(Ctx), seen(?SECRET)),
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"other">>), seen(<<"others">>)),
    Step = fun(Id, Text) -> warp_saga_test:step(Id, <<"Seen">>, seen(Text), seen(<<"undone">>)) end,
    Saga = warp_saga_test:saga(<<"transfer">>, [Step(<<"victim">>, ?SECRET), Step(<<"other">>, <<"others">>)]),
    {ok, {committed, _}} = warp_saga:commit(Saga, Ctx),
    warp_core:await_projection(victim(Ctx), 30000).

rows(Ctx, Sql) ->
    {ok, #{rows := Rows}} = warp_core:query(Ctx, Sql, []),
    Rows.

read_all(Dir) ->
    Files = filelib:wildcard(filename:join([Dir, "erasing", "*"])),
    [{File, element(2, {ok, _} = file:read_file(File))} || File <- Files].

restore(Dir, Files) ->
    _ = [ok = file:delete(File) || File <- filelib:wildcard(filename:join([Dir, "erasing", "*"]))],
    lists:foreach(fun({File, Bytes}) -> ok = file:write_file(File, Bytes) end, Files).
