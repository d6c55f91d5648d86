%% Every public function ends by a time that its caller knows, whatever the processes of the context do.
-module(warp_limits_of_time_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-import(warp_test, [incremented/0]).

%% By how much a call may be late on a busy machine.
-define(GRACE_MS, 1500).

%% What waits for ever is noticed.
suite() -> [{timetrap, {seconds, 90}}].

all() ->
    [no_process_answers, every_function_is_listed, a_shard_that_is_restarted_again_and_again,
     an_entity_that_does_not_answer, a_supervisor_that_does_not_answer, sagas_that_are_not_known_yet,
     a_saga_that_goes_on, an_event_that_cannot_be_read, a_cluster_that_does_not_answer].

init_per_suite(Config) -> warp_killer:quiet(Config).
end_per_suite(Config) -> warp_killer:loud(Config).
init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

%% ---------------------------------------------------------------- All of them

%% The functions that only make a value.
made() ->
    [{warp_core, entity, 2}, {warp_core, child_spec, 1}, {warp_core, context, 1}, {warp_saga, new, 1},
     {warp_saga, step, 2}, {warp_saga, parallel, 2}, {warp_projection, upsert, 3}, {warp_projection, increment, 3},
     {warp_projection, delete, 2}, {warp_core, check_response, 2}, {warp_core, check_response, 3},
     {warp_core, reqids_new, 0}, {warp_core, reqids_add, 3}, {warp_core, reqids_size, 1},
     {warp_core, reqids_to_list, 1}, {warp_core, shard_of, 1}, {warp_subscription, ack, 2},
     {warp_subscription, cursor_at, 2}, {warp_subscription, more, 2}, {warp_subscription, monitor_of, 1},
     {warp_subscription, place, 2}, {warp_subscription, policy, 3},
     {warp_cluster, owner, 1}].

%% Those that wait for as long as it takes, and say so: each but for the first three, and those of backups, has a
%% variant with a limit.
%% What `warp_projection' does for `warp_core' is called through that.
without_a_limit() ->
    [{warp_core, start, 1}, {warp_core, start_link, 1}, {warp_core, stop, 1}, {warp_core, export, 1},
     {warp_core, import, 2}, {warp_core, verify, 1}, {warp_core, verify, 2},
     {warp_saga, commit, 2}, {warp_saga, cancel, 2}, {warp_saga, retry, 2}, {warp_saga, resolve, 3},
     {warp_saga, recover_pending, 1}, {warp_projection, query, 4}, {warp_projection, await, 2},
     %% That is each of its commands for as long as it takes.
     {warp_subscription, transaction, 4},
     {warp_cluster, migrate, 1}, {warp_cluster, leave, 1}, {warp_cluster, forget, 2},
     %% As long as reading and writing the targets takes, and no longer than a run that is under way.
     {warp_backup, run, 2}, {warp_backup, run, 3}, {warp_backup, start, 2}, {warp_backup, merge, 2},
     {warp_backup, stop, 2}, {warp_backup, forget, 2}, {warp_backup, list, 1}, {warp_backup, list, 2},
     {warp_backup, verify, 1}, {warp_backup, verify, 2}, {warp_backup, check, 1}, {warp_backup, check, 2},
     {warp_backup, restore, 2}, {warp_backup, restore, 3}, {warp_backup, about, 1}, {warp_backup, new_master_key, 1},
     {warp_backup, rewrap, 2}].

%% Each function with its limit in milliseconds, the given one or the one that it documents. The entity Hot has a
%% process, Cold has none, and the event of Aside is set aside.
calls(Ctx, Hot, Cold, Aside, {Sub, Ended}) ->
    Brief = #{timeout => 300},
    Wait = #{wait => 300},
    Nothing = fun(_) -> {ok, []} end,
    Again = [(incremented())#{seq => 1, recorded_at => 1}],
    Requests = fun(Request) -> warp_core:reqids_add(Request, one, warp_core:reqids_new()) end,
    Saga = warp_saga_test:saga(<<"new">>, [warp_saga_test:waits_for_gate(<<"hot">>)]),
    [{{warp_core, append, 2}, 5000, fun() -> warp_core:append(Hot, incremented()) end},
     {{warp_core, append, 3}, 300, fun() -> warp_core:append(Hot, incremented(), Brief) end},
     {{warp_core, append, 3}, 300, fun() -> warp_core:append(Cold, incremented(), Brief) end},
     {{warp_core, append_batch, 2}, 5000, fun() -> warp_core:append_batch(Cold, [incremented()]) end},
     {{warp_core, append_batch, 3}, 300, fun() -> warp_core:append_batch(Hot, [incremented()], Brief) end},
     {{warp_core, append_request, 2}, 5000, fun() -> warp_core:append_request(Cold, incremented()) end},
     {{warp_core, append_request, 3}, 0, fun() -> warp_core:append_request(Hot, incremented(), Brief) end},
     {{warp_core, append_request, 3}, 300,
      fun() -> warp_core:receive_response(warp_core:append_request(Cold, incremented(), Brief), 0) end},
     {{warp_core, append_request, 5}, 300,
      fun() -> warp_core:append_request(Cold, incremented(), Brief, one, warp_core:reqids_new()) end},
     {{warp_core, append_batch_request, 2}, 5000, fun() -> warp_core:append_batch_request(Cold, [incremented()]) end},
     {{warp_core, append_batch_request, 3}, 300,
      fun() -> warp_core:append_batch_request(Cold, [incremented()], Brief) end},
     {{warp_core, append_batch_request, 5}, 0,
      fun() -> warp_core:append_batch_request(Hot, [incremented()], Brief, one, warp_core:reqids_new()) end},
     {{warp_core, receive_response, 2}, 300,
      fun() -> warp_core:receive_response(warp_core:append_request(Hot, incremented()), 300) end},
     {{warp_core, receive_response, 3}, 300,
      fun() -> warp_core:receive_response(Requests(warp_core:append_request(Hot, incremented())), 300, true) end},
     {{warp_core, wait_response, 2}, 300,
      fun() -> warp_core:wait_response(warp_core:append_request(Hot, incremented()), 300) end},
     {{warp_core, wait_response, 3}, 300,
      fun() -> warp_core:wait_response(Requests(warp_core:append_request(Hot, incremented())), 300, true) end},
     {{warp_core, decide, 3}, 5000, fun() -> warp_core:decide(Hot, <<"Counter">>, Nothing) end},
     {{warp_core, decide, 4}, 300, fun() -> warp_core:decide(Hot, <<"Counter">>, Nothing, Brief) end},
     {{warp_core, cast, 3}, 5000, fun() -> warp_core:cast(Cold, <<"Counter">>, Nothing) end},
     {{warp_core, pid, 1}, 5000, fun() -> warp_core:pid(Cold) end},
     {{warp_core, get, 2}, 5000, fun() -> warp_core:get(Hot, <<"Counter">>) end},
     {{warp_core, get, 3}, 300, fun() -> warp_core:get(Cold, <<"Counter">>, Brief) end},
     {{warp_core, state_at, 3}, 5000, fun() -> warp_core:state_at(Hot, <<"Counter">>, {seq, 1}) end},
     {{warp_core, state_at, 4}, 300, fun() -> warp_core:state_at(Hot, <<"Counter">>, {seq, 1}, Brief) end},
     {{warp_core, history, 1}, 5000, fun() -> warp_core:history(Hot) end},
     {{warp_core, history, 2}, 300, fun() -> warp_core:history(Hot, Brief) end},
     {{warp_core, export, 2}, 300, fun() -> warp_core:export(Hot, Brief) end},
     {{warp_core, import, 3}, 300, fun() -> warp_core:import(Hot, Again, Brief) end},
     {{warp_core, entities, 1}, 5000, fun() -> warp_core:entities(Ctx) end},
     {{warp_core, entities, 2}, 300, fun() -> warp_core:entities(Ctx, Brief) end},
     {{warp_core, events, 1}, 5000, fun() -> warp_core:events(Ctx) end},
     {{warp_core, events, 2}, 300, fun() -> warp_core:events(Ctx, Brief) end},
     {{warp_core, delete, 1}, 10000, fun() -> warp_core:delete(Hot) end},
     {{warp_core, delete, 2}, 300, fun() -> warp_core:delete(Hot, Brief) end},
     {{warp_core, query, 3}, 5000, fun() -> warp_core:query(Ctx, "SELECT 1", []) end},
     {{warp_core, query, 4}, 300, fun() -> warp_core:query(Ctx, "SELECT 1", [], Brief) end},
     {{warp_core, await_projection, 2}, 300, fun() -> warp_core:await_projection(Hot, 300) end},
     {{warp_core, stats, 1}, 0, fun() -> warp_core:stats(Ctx) end},
     {{warp_core, correct_time, 3}, 5000, fun() -> warp_core:correct_time(Hot, 1, 1 bsl 50) end},
     {{warp_saga, commit, 3}, 300, fun() -> warp_saga:commit(Saga, Ctx, Wait) end},
     {{warp_saga, status, 2}, 5000, fun() -> warp_saga:status(Ctx, <<"waits">>) end},
     {{warp_saga, pending, 1}, 10000, fun() -> warp_saga:pending(Ctx) end},
     {{warp_saga, stuck, 1}, 10000, fun() -> warp_saga:stuck(Ctx) end},
     {{warp_saga, cancel, 3}, 300, fun() -> warp_saga:cancel(Ctx, <<"waits">>, Wait) end},
     {{warp_saga, retry, 3}, 300, fun() -> warp_saga:retry(Ctx, <<"waits">>, Wait) end},
     {{warp_saga, resolve, 4}, 300, fun() -> warp_saga:resolve(Ctx, <<"waits">>, <<"so">>, Wait) end},
     {{warp_saga, recover_pending, 2}, 300, fun() -> warp_saga:recover_pending(Ctx, Wait) end},
     {{warp_projection, set_aside, 1}, 30000, fun() -> warp_projection:set_aside(Ctx) end},
     {{warp_projection, set_aside, 2}, 30000, fun() -> warp_projection:set_aside(Ctx, 1) end},
     {{warp_projection, retry, 2}, 30000, fun() -> warp_projection:retry(Ctx, all) end},
     {{warp_projection, skip, 2}, 30000, fun() -> warp_projection:skip(Ctx, Aside) end},
     {{warp_projection, rebuild, 1}, 30000, fun() -> warp_projection:rebuild(Ctx) end},
     {{warp_projection, await_rebuild, 2}, 300, fun() -> warp_projection:await_rebuild(Ctx, 300) end},
     {{warp_projection, cancel_rebuild, 1}, 30000, fun() -> warp_projection:cancel_rebuild(Ctx) end},
     {{warp_projection, rebuild_progress, 1}, 0, fun() -> warp_projection:rebuild_progress(Ctx) end},
     {{warp_projection, status, 1}, 0, fun() -> warp_projection:status(Ctx) end},
     {{warp_subscription, subscribe, 2}, 5000, fun() -> warp_subscription:subscribe(Hot, #{}) end},
     {{warp_subscription, parked, 2}, 5000, fun() -> warp_subscription:parked(Ctx, <<"name">>) end},
     {{warp_subscription, retry, 3}, 5000, fun() -> warp_subscription:retry(Ctx, <<"name">>, <<"cold">>) end},
     {{warp_subscription, skip, 3}, 5000, fun() -> warp_subscription:skip(Ctx, <<"name">>, <<"cold">>) end},
     {{warp_subscription, forget, 2}, 5000, fun() -> warp_subscription:forget(Ctx, <<"name">>) end},
     {{warp_core, wait, 3}, 300, fun() -> warp_core:wait(Cold, 7, 300) end},
     {{warp_subscription, cursor, 1}, 5000, fun() -> warp_subscription:cursor(Sub) end},
     {{warp_subscription, unsubscribe, 1}, 5000, fun() -> warp_subscription:unsubscribe(Ended) end}].

%% The slow ones are tried in the long run.
no_process_answers(Config) ->
    Longest = case os:getenv("WARP_LONG") of false -> 5000; _ -> 30000 end,
    {Ctx, Aside} = projected(Config),
    Hot = warp_core:entity(Ctx, <<"hot">>),
    {ok, 1} = warp_core:append(Hot, incremented()),
    Cold = warp_core:entity(Ctx, <<"cold">>),
    {ok, Pid} = warp_core:pid(Hot),
    %% NOTE: one that does not end in time is killed, and so another one is asked for its cursor.
    [{ok, Sub}, {ok, Ended}] = [warp_subscription:subscribe(Hot, #{}) || _ <- [1, 2]],
    #{subscriptions := [_, _] = Subs} = warp_core:stats(Ctx),
    Processes = [Pid | [OfSub || #{pid := OfSub} <- Subs]] ++ [Each || {_Part, Each} <- warp_test:processes(Ctx)],
    ok = lists:foreach(fun sys:suspend/1, Processes),
    try
        Calls = [Call || {_, Limit, _} = Call <- calls(Ctx, Hot, Cold, Aside, {Sub, Ended}), Limit =< Longest],
        Took = warp_test:parallel([fun() -> {Of, Limit, took(Fun)} end || {Of, Limit, Fun} <- Calls]),
        ct:pal("~p", [Took]),
        ?assertEqual([], [Each || {_, Limit, {Millis, _}} = Each <- Took, Millis > Limit + ?GRACE_MS]),
        %% They were held up indeed.
        Answers = maps:from_list([{Of, Answer} || {Of, _, {_, Answer}} <- Took]),
        [?assertEqual({Of, timeout}, {Of, maps:get({warp_core, Of, Arity}, Answers)})
         || Of <- [receive_response, wait_response], Arity <- [2, 3]],
        [?assertEqual({Of, {error, timeout}}, {Of, maps:get(Of, Answers)})
         || Of <- [{warp_core, append, 3}, {warp_core, decide, 4}, {warp_core, get, 3}, {warp_core, cast, 3},
                   {warp_core, pid, 1}, {warp_core, delete, 2}, {warp_core, correct_time, 3}, {warp_saga, commit, 3},
                   {warp_saga, cancel, 3}, {warp_saga, recover_pending, 2}, {warp_core, await_projection, 2},
                   {warp_subscription, subscribe, 2}, {warp_subscription, cursor, 1}]]
    after
        lists:foreach(fun sys:resume/1, lists:filter(fun is_process_alive/1, lists:reverse(Processes)))
    end.

%% A context with a projection, a saga that waits in its step, and an entity whose event is set aside.
projected(Config) ->
    Gate = self(),
    Wait = fun(_State, _Args) ->
        Gate ! {at_gate, self()},
        receive go -> {ok, #{type => <<"Noted">>, payload => #{}}} end
    end,
    Never = #{name => <<"Never">>, initial_state => none, project => fun(_, _, _) -> error(never) end},
    Ctx = warp_test:start(Config, #{aggregates => [Never | warp_test:aggregates()], projections => embedded,
                                    steps => #{<<"wait">> => Wait}}),
    Aside = warp_core:entity(Ctx, <<"aside">>),
    {ok, 1} = warp_core:append(Aside, #{type => <<"Done">>, aggregate => <<"Never">>, payload => #{}}),
    {error, {set_aside, 1}} = warp_core:await_projection(Aside, 10000),
    Saga = warp_saga_test:saga(<<"waits">>, [warp_saga_test:waits_for_gate(<<"held">>)]),
    {error, timeout} = warp_saga:commit(Saga, Ctx, #{wait => 100}),
    _ = warp_saga_test:at_gate(),
    {Ctx, <<"aside">>}.

took(Fun) ->
    {Micros, Answer} = timer:tc(Fun),
    {Micros div 1000, Answer}.

%% Those of a clustered context. They are called in a VM of their own.
cluster_calls(Ctx) ->
    Brief = #{timeout => 300},
    [{{warp_cluster, members, 1}, 5000, fun() -> warp_cluster:members(Ctx) end},
     {{warp_cluster, status, 1}, 5000, fun() -> warp_cluster:status(Ctx) end},
     {{warp_cluster, ring, 1}, 5000, fun() -> warp_cluster:ring(Ctx) end},
     {{warp_cluster, progress, 1}, 5000, fun() -> warp_cluster:progress(Ctx) end},
     {{warp_cluster, migrate, 2}, 300, fun() -> warp_cluster:migrate(Ctx, Brief) end},
     {{warp_cluster, pause, 1}, 5000, fun() -> warp_cluster:pause(Ctx) end},
     {{warp_cluster, resume, 1}, 5000, fun() -> warp_cluster:resume(Ctx) end},
     {{warp_cluster, leave, 2}, 300, fun() -> warp_cluster:leave(Ctx, Brief) end},
     {{warp_cluster, forget, 3}, 300, fun() -> warp_cluster:forget(Ctx, ['x@127.0.0.1'], Brief) end},
     {{warp_cluster, adopt, 1}, 5000, fun() -> warp_cluster:adopt(Ctx) end}].

a_cluster_that_does_not_answer(Config) ->
    Vm = warp_cluster_vm:start(a, proplists:get_value(dir, Config)),
    ok = warp_cluster_vm:open(Vm, [Vm], #{}),
    Took = warp_cluster_vm:run(Vm, fun() ->
        Ctx = warp_cluster_vm:ctx(),
        ok = lists:foreach(fun({_Part, Pid}) -> sys:suspend(Pid) end, warp_test:processes(Ctx)),
        warp_test:parallel([fun() -> {Of, Limit, took(Fun)} end || {Of, Limit, Fun} <- cluster_calls(Ctx)])
    end),
    ok = warp_cluster_vm:kill(Vm),
    ?assertEqual([], [Each || {_, Limit, {Millis, _}} = Each <- Took, Millis > Limit + ?GRACE_MS]),
    ?assertEqual([], [Each || {_, _, {_, Answer}} = Each <- Took, Answer =/= {error, timeout}]).

%% A new function has to say how long it waits.
every_function_is_listed(_Config) ->
    Listed = made() ++ without_a_limit()
             ++ [Of || {Of, _, _} <- calls(none, none, none, none, {none, none}) ++ cluster_calls(none)],
    Exported = [{Module, Name, Arity} || Module <- [warp_core, warp_saga, warp_projection, warp_subscription,
                                                    warp_cluster, warp_backup],
                                         {Name, Arity} <- Module:module_info(exports), Name =/= module_info],
    ?assertEqual({not_listed, []}, {not_listed, Exported -- lists:usort(Listed)}),
    ?assertEqual({not_there, []}, {not_there, lists:usort(Listed) -- Exported}).

%% ------------------------------------------------------------------- One by one

%% Retries come to an end with the time that the caller gave, pauses and all.
a_shard_that_is_restarted_again_and_again(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Entity = warp_core:entity(Ctx, <<"e">>),
    {ok, 1} = warp_core:append(Entity, incremented()),
    Kills = counters:new(1, []),
    Killer = spawn_link(fun() -> kill_owners(Ctx, Kills) end),
    Brief = #{timeout => 300},
    Saga = warp_saga_test:transfer(<<"s">>, <<"a">>, <<"b">>, 1),
    Calls = [fun() -> warp_core:append(Entity, incremented(), Brief) end,
             fun() -> warp_core:decide(Entity, <<"Counter">>, fun(_) -> {ok, [incremented()]} end, Brief) end,
             fun() -> warp_core:get(Entity, <<"Counter">>, Brief) end,
             fun() -> warp_core:state_at(Entity, <<"Counter">>, {seq, 1}, Brief) end,
             fun() -> warp_core:history(Entity, Brief) end,
             fun() -> warp_core:delete(Entity, Brief) end,
             fun() -> warp_saga:commit(Saga, Ctx, #{wait => 300}) end,
             fun() -> warp_saga:cancel(Ctx, <<"s">>, #{wait => 300}) end,
             fun() -> warp_saga:recover_pending(Ctx, #{wait => 300}) end],
    Took = [took(Call) || _ <- lists:seq(1, 4), Call <- Calls],
    true = unlink(Killer),
    true = exit(Killer, kill),
    ct:pal("at most ~b ms of 300: ~p", [lists:max([Millis || {Millis, _} <- Took]), Took]),
    ?assertEqual([], [Each || {Millis, _} = Each <- Took, Millis > 300 + 700]),
    %% They were held up indeed.
    ?assert(counters:get(Kills, 1) > 5).

kill_owners(Ctx, Kills) ->
    {ok, Context} = warp_context:find(Ctx),
    _ = [begin
             true = exit(Owner, kill),
             ok = counters:add(Kills, 1, 1)
         end || {ok, Owner} <- [warp_context:registered(Context, {owner, 0})]],
    timer:sleep(5),
    kill_owners(Ctx, Kills).

an_entity_that_does_not_answer(Config) ->
    Ctx = warp_test:start(Config),
    Entity = warp_core:entity(Ctx, <<"e">>),
    {ok, Pid} = warp_core:pid(Entity),
    ok = sys:suspend(Pid),
    {Millis, {error, timeout}} = took(fun() -> warp_core:append(Entity, incremented(), #{timeout => 300}) end),
    ?assert(Millis >= 299 andalso Millis < 1000),
    ok = sys:resume(Pid),
    %% It was carried out all the same.
    warp_test:wait_until(fun() -> warp_core:get(Entity, <<"Counter">>) =:= {ok, 1} end).

%% It starts the entity's process: `supervisor:start_child' would wait for ever.
a_supervisor_that_does_not_answer(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Entity = warp_core:entity(Ctx, <<"e">>),
    [Supervisor] = [Pid || {entity_sup, Pid} <- warp_test:processes(Ctx)],
    ok = sys:suspend(Supervisor),
    {Millis, {error, timeout}} = took(fun() -> warp_core:append(Entity, incremented(), #{timeout => 300}) end),
    ?assert(Millis >= 299 andalso Millis < 1000),
    ok = sys:resume(Supervisor),
    {ok, 1} = warp_core:append(Entity, incremented()).

sagas_that_are_not_known_yet(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    {ok, #{}} = warp_saga:recover_pending(Ctx),
    {ok, Context} = warp_context:find(Ctx),
    ok = warp_saga_table:unset_loaded(Context, 0),
    {Millis, {error, {shard_unavailable, 0}}} = took(fun() -> warp_saga:recover_pending(Ctx, #{wait => 300}) end),
    ?assert(Millis >= 299 andalso Millis < 1000).

%% Whoever does not wait any longer ends nothing.
a_saga_that_goes_on(Config) ->
    Ctx = warp_saga_test:gated(Config),
    Saga = warp_saga_test:saga(<<"s">>, [warp_saga_test:waits_for_gate(<<"e">>)]),
    {error, timeout} = warp_saga:commit(Saga, Ctx, #{wait => 100}),
    Pid = warp_saga_test:at_gate(),
    {error, timeout} = warp_saga:recover_pending(Ctx, #{wait => 100}),
    {error, timeout} = warp_saga:cancel(Ctx, <<"s">>, #{wait => 100}),
    {error, {bad_option, wait, _}} = warp_saga:cancel(Ctx, <<"s">>, #{wait => -1}),
    {error, {unknown_option, timeout}} = warp_saga:retry(Ctx, <<"s">>, #{timeout => 100}),
    Pid ! go,
    %% The cancellation came before the step had answered, which was the last one.
    {ok, {committed, _}} = warp_saga:commit(Saga, Ctx, #{wait => 5000}).

%% The event of an entry is read with the aggregate's `migrate', which may never return.
an_event_that_cannot_be_read(Config) ->
    Hangs = atomics:new(1, []),
    Migrate = fun(Event, _Vsn) -> _ = [timer:sleep(infinity) || atomics:get(Hangs, 1) =:= 1], Event end,
    Never = #{name => <<"Never">>, initial_state => none, migrate => Migrate,
              project => fun(_, _, _) -> error(never) end},
    Ctx = warp_test:start(Config, #{aggregates => [Never], projections => embedded}),
    Entity = warp_core:entity(Ctx, <<"e">>),
    {ok, 1} = warp_core:append(Entity, #{type => <<"Done">>, payload => #{}}),
    {error, {set_aside, 1}} = warp_core:await_projection(Entity, 10000),
    ok = atomics:put(Hangs, 1, 1),
    {Millis, Answer} = took(fun() -> warp_projection:set_aside(Ctx) end),
    ?assertMatch({ok, [#{entity := <<"e">>, event := undefined}]}, Answer),
    ?assert(Millis < 5000 + ?GRACE_MS).
