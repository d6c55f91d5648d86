%% A saga runs ahead of the disk: its plan and its steps are on their way there together. Whatever of that
%% fails to arrive, no step is stored without its plan or without a step before it, and the saga ends rightly.
-module(warp_saga_ahead_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_fault_vm, [ctx/0, fault/1, entity/1]).
-import(warp_saga_test, [saga/2, step/3, step/4, action/2, balances/2, fund/3, ids/2, types/2, transfer/4, context/1]).

suite() -> [{timetrap, {minutes, 5}}].
all() -> [each_sync_may_fail_once,
          each_sync_of_a_saga_that_turns_back_may_fail_once,
          no_step_is_stored_without_those_before_it,
          a_saga_of_an_id_that_was_used_stores_no_step,
          whoever_is_killed_while_a_saga_is_on_its_way_to_the_disk,
          a_function_is_not_called_before_the_plan_is_stored,
          an_answer_waits_for_its_record,
          a_deletion_comes_before_the_record,
          a_message_is_not_taken_for_the_answer_to_the_result].
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

-define(NAMES, [<<"alice">>, <<"bob">>, <<"carl">>]).

%% The plan, three steps, the result: each as a commit of its own, or as they come.
each_sync_may_fail_once(Config) ->
    in_vm(Config, fun() ->
        [begin
             {Id, Names} = accounts(N, Rows),
             Result = commit_with(Rows, [{fail_at, N}], forward(Id, Names)),
             _ = [?assertMatch({ok, {committed, _}}, Result) || element(1, Result) =/= error],
             _ = [?assertMatch({error, {io_error, _}}, Result) || Rows =:= 1, N =:= 1],
             _ = [?assertMatch({ok, _}, Result) || Rows =:= 1, N > 1],
             whole_after(Result, Id, Names)
         end || Rows <- [1, 0], N <- lists:seq(1, 6)],
        ok
    end).

each_sync_of_a_saga_that_turns_back_may_fail_once(Config) ->
    in_vm(Config, fun() ->
        [begin
             {Id, [A, B, C] = Names} = accounts(N, Rows),
             Saga = saga(Id, [step(A, <<"Debited">>, 30), step(B, <<"Credited">>, 20), step(C, <<"Debited">>, 10)]),
             case commit_with(Rows, [{fail_at, N}], Saga) of
                 {ok, {compensated, #{failed := Failed}}} ->
                     ?assertMatch(#{step := 2, reason := {rejected, _}}, Failed);
                 Result ->
                     ?assertMatch({error, {io_error, _}}, Result)
             end,
             ?assertEqual([100, 0, 0], balances(ctx(), Names)),
             {ok, {compensated, _}} = warp_saga:commit(Saga, ctx()),
             ?assertEqual([100, 0, 0], balances(ctx(), Names))
         end || Rows <- [1, 0], N <- lists:seq(1, 8)],
        ok
    end).

%% No second attempt hides what became of the first one.
no_step_is_stored_without_those_before_it(Config) ->
    in_vm(Config, fun() ->
        [begin
             {Id, Names} = accounts(N, Rows),
             Result = commit_with(Rows, [{fail_at, N}], forward(Id, Names), #{retries => 0}),
             Stored = [[Of || Of <- ids(ctx(), Name), Of =/= <<"funds">>] || Name <- Names],
             Forward = [lists:member(<<Id/binary, "/fwd/", (integer_to_binary(Step))/binary>>, Of)
                        || {Step, Of} <- lists:zip([0, 1, 2], Stored)],
             %% Those that were stored are the first ones.
             ?assertEqual(lists:reverse(lists:sort(Forward)), Forward),
             case Result of
                 {error, {io_error, _}} -> ?assertEqual([[], [], []], Stored);
                 {ok, {committed, _}} -> ?assertEqual([70, 20, 10], balances(ctx(), Names));
                 {ok, {compensated, _}} -> ?assertEqual([100, 0, 0], balances(ctx(), Names))
             end
         end || Rows <- [1, 2, 0], N <- lists:seq(1, 5)],
        ok
    end).

%% Its plan is refused by the writer, when its steps are behind it already.
a_saga_of_an_id_that_was_used_stores_no_step(Config) ->
    Ctx = warp_test:start(Config),
    fund(Ctx, <<"alice">>, 100),
    Saga = transfer(<<"x">>, <<"alice">>, <<"bob">>, 60),
    {ok, {committed, _}} = Result = warp_saga:commit(Saga, Ctx),
    %% The last step of this one would be refused now, and so its entity finds the event without the writer.
    Back = saga(<<"y">>, [step(<<"bob">>, <<"Credited">>, 25), step(<<"alice">>, <<"Debited">>, 25)]),
    {ok, {committed, _}} = BackResult = warp_saga:commit(Back, Ctx),
    Other = saga(<<"x">>, [step(<<"carl">>, <<"Credited">>, 10), step(<<"dora">>, <<"Credited">>, 10),
                           step(<<"carl">>, <<"Credited">>, 10)]),
    [begin
         ?assertEqual({error, {saga_conflict, <<"x">>}}, warp_saga:commit(Other, Ctx)),
         %% The debit would be refused now.
         ?assertEqual(Result, warp_saga:commit(Saga, Ctx)),
         ?assertEqual(BackResult, warp_saga:commit(Back, Ctx))
     end || _ <- lists:seq(1, 20)],
    ?assertEqual([[], []], [ids(Ctx, Name) || Name <- [<<"carl">>, <<"dora">>]]),
    ?assertEqual([15, 85], balances(Ctx, [<<"alice">>, <<"bob">>])),
    ?assertEqual({2, 6}, {length(ids(Ctx, <<"bob">>)), length(types(Ctx, <<"x">>))}),
    %% The entities go on, with what was queued beside those steps too.
    ?assertEqual({ok, 1}, warp_core:append(warp_core:entity(Ctx, <<"carl">>), warp_test:credited(1))).

whoever_is_killed_while_a_saga_is_on_its_way_to_the_disk(Config) ->
    in_vm(Config, fun() ->
        [begin
             {Id, [A, B | _] = Names} = accounts(Who, Rows),
             Self = self(),
             fault({rows_at_once, Rows}),
             fault({stall, 10000}),
             spawn_link(fun() -> Self ! {Id, warp_saga:commit(forward(Id, Names), ctx())} end),
             %% The plan is being written, and all steps are behind it, or in the same commit.
             warp_test:wait_until(fun() ->
                 #{journal := #{busy_ms := Busy}, queue_depth := Depth} = warp_core:stats(ctx()),
                 Busy > 0 andalso (Rows =:= 0 orelse Depth >= 3) orelse {Id, Busy, Depth}
             end),
             timer:sleep(20),
             kill(Who, Id, A, B),
             fault(off),
             ?assertMatch({ok, {committed, _}}, receive {Id, Result} -> Result end),
             ?assertEqual([70, 20, 10], balances(ctx(), Names)),
             ?assertEqual([<<Id/binary, "/fwd/1">>], ids(ctx(), B)),
             ?assertMatch({ok, #{state := committed}}, warp_saga:status(ctx(), Id))
         end || Who <- [first, second, runner, keeper, journal, shard], Rows <- [1, 0]],
        ?assertEqual({ok, []}, warp_saga:pending(ctx())),
        ok
    end).

kill(first, _Id, A, _B) -> warp_test:kill_entity(entity(A));
kill(second, _Id, _A, B) -> warp_test:kill_entity(entity(B));
kill(runner, Id, _A, _B) -> exit(warp_saga_test:runner(ctx(), Id), kill);
kill(keeper, Id, _A, _B) -> exit(registered(saga_keeper, Id), kill);
kill(shard, Id, _A, _B) -> exit(registered(owner, Id), kill);
kill(journal, _Id, _A, _B) ->
    {ok, Owner} = warp_context:registered(context(ctx()), journal_owner),
    exit(Owner, kill).

registered(What, Id) ->
    {ok, N} = warp_context:shard_of(context(ctx()), warp_saga_plan:entity_id(Id)),
    {ok, Pid} = warp_context:registered(context(ctx()), {What, N}),
    Pid.

%% What it does elsewhere must not be done for a saga that never was.
a_function_is_not_called_before_the_plan_is_stored(Config) ->
    Opts = #{steps => #{<<"call">> => fun(_Balance, _) ->
                            warp_called ! {called, self()},
                            {ok, action(<<"Credited">>, 10)}
                        end}},
    in_vm(Config, Opts, fun() ->
        register(warp_called, self()),
        Calls = fun(Id, Before) ->
            saga(Id, Before ++ [step(<<"carl-", Id/binary>>, #{run => <<"call">>}, action(<<"Debited">>, 10))])
        end,
        ?assertMatch({error, {io_error, _}}, commit_with(1, [{fail_at, 1}], Calls(<<"x">>, []))),
        Before = step(<<"bob">>, <<"Credited">>, 20),
        ?assertMatch({error, {io_error, _}}, commit_with(1, [{fail_at, 1}], Calls(<<"y">>, [Before]))),
        ?assertEqual(none, receive {called, _} -> called after 0 -> none end),
        ?assertMatch({ok, {compensated, #{steps := [_, #{status := not_run}]}}},
                     commit_with(1, [{fail_at, 2}], Calls(<<"z">>, [Before]), #{retries => 0})),
        ?assertEqual(none, receive {called, _} -> called after 0 -> none end),
        ?assertMatch({ok, {committed, _}}, warp_saga:commit(Calls(<<"x">>, [Before]), ctx())),
        ?assertMatch(called, receive {called, _} -> called after 0 -> none end),
        ok
    end).

%% The commit that would store it fails once.
an_answer_waits_for_its_record(Config) ->
    Vm = start(Config, #{}),
    {Id, Names, Result} = warp_fault_vm:run(Vm, fun() ->
        {Id, Names} = accounts(1, 1),
        fault({rows_at_once, 1}),
        fault({fail_at, 5}),
        {Id, Names, warp_saga:commit(forward(Id, Names), ctx())}
    end),
    warp_fault_vm:kill(Vm),
    in_vm(Config, fun() ->
        {ok, Counts} = warp_saga:recover_pending(ctx()),
        ?assertEqual([0], lists:usort(maps:values(Counts))),
        ?assertMatch({ok, {committed, _}}, Result),
        ?assertEqual(Result, warp_saga:commit(forward(Id, Names), ctx())),
        ?assertEqual([70, 20, 10], balances(ctx(), Names)),
        ok
    end).

%% The deletion takes away an event that would tell that the saga has ended. Nobody was told that it has.
a_deletion_comes_before_the_record(Config) ->
    Vm = start(Config, #{}),
    Id = warp_fault_vm:run(Vm, fun() ->
        {Id, [A, _, C] = Names} = accounts(1, 1),
        Last = pid(C),
        ok = sys:suspend(Last),
        spawn(fun() -> warp_saga:commit(forward(Id, Names), ctx()) end),
        warp_test:wait_until(fun() -> [length(ids(ctx(), Name)) || Name <- Names] =:= [2, 1, 0] end),
        ok = hold(warp_saga_test:runner(ctx(), Id)),
        ok = sys:resume(Last),
        warp_test:wait_until(fun() -> length(ids(ctx(), C)) =:= 1 end),
        ok = warp_core:delete(entity(A)),
        Id
    end),
    warp_fault_vm:kill(Vm),
    in_vm(Config, fun() ->
        {ok, _} = warp_saga:recover_pending(ctx()),
        {ok, #{state := compensated, failed := Failed}} = warp_saga:status(ctx(), Id),
        ?assertMatch(#{step := 0, reason := entity_deleted}, Failed),
        Names = [<<Id/binary, $-, Name/binary>> || Name <- ?NAMES],
        ?assertEqual([0, 0, 0], balances(ctx(), Names)),
        ?assertEqual([0, 2, 2], [length(ids(ctx(), Name)) || Name <- Names]),
        ok
    end).

%% All steps are on their way, and the plan is not answered when it is stored.
a_message_is_not_taken_for_the_answer_to_the_result(Config) ->
    in_vm(Config, fun() ->
        {Id, [_, _, C] = Names} = accounts(1, 1),
        Self = self(),
        Last = pid(C),
        ok = sys:suspend(Last),
        spawn_link(fun() -> Self ! {Id, warp_saga:commit(forward(Id, Names), ctx())} end),
        warp_test:wait_until(fun() -> [length(ids(ctx(), Name)) || Name <- Names] =:= [2, 1, 0] end),
        warp_saga_test:runner(ctx(), Id) ! {warp_reply, {stored, 1}},
        fault({stall, 10000}),
        ok = sys:resume(Last),
        ?assertEqual(none, receive {Id, _} -> told after 300 -> none end),
        fault(off),
        ?assertMatch({ok, {committed, _}}, receive {Id, Result} -> Result end),
        ?assertEqual([70, 20, 10], balances(ctx(), Names)),
        ok
    end).

%% ---------------------------------------------------------------------------- Helpers

%% Suspends a process for good. It would go on when the one that suspended it ends.
hold(Pid) ->
    Self = self(),
    _ = spawn(fun() -> Self ! {held, erlang:suspend_process(Pid)}, timer:sleep(infinity) end),
    receive {held, true} -> ok end.

%% The process of an entity.
pid(Name) ->
    {ok, _} = warp_core:get(entity(Name), <<"Account">>),
    {ok, Pid} = warp_entity_registry:lookup(entity(Name)),
    Pid.

start(Config, Opts) ->
    Vm = warp_fault_vm:start(#{nif => fault}),
    Dir = ?config(dir, Config),
    ok = warp_fault_vm:run(Vm, fun() ->
        warp_fault_vm:open(Opts#{data_dir => Dir, shards => 2, aggregates => [warp_test:account()]})
    end),
    Vm.

in_vm(Config, Fun) ->
    in_vm(Config, #{}, Fun).

in_vm(Config, Opts, Fun) ->
    Vm = start(Config, Opts),
    ok = warp_fault_vm:run(Vm, fun() -> ok = Fun(), warp_fault_vm:close() end),
    warp_fault_vm:stop(Vm).

%% The id of a saga, and its three accounts, of which the first has 100.
accounts(A, B) ->
    Id = iolist_to_binary(io_lib:format("s-~p-~p", [A, B])),
    [Alice | _] = Names = [<<Id/binary, $-, Name/binary>> || Name <- ?NAMES],
    {ok, 1} = warp_core:append(entity(Alice), (warp_test:credited(100))#{id => <<"funds">>}),
    %% The writer has nothing else to do from here on.
    {ok, []} = warp_saga:pending(ctx()),
    {Id, Names}.

forward(Id, [A, B, C]) ->
    saga(Id, [step(A, <<"Debited">>, 30), step(B, <<"Credited">>, 20), step(C, <<"Credited">>, 10)]).

commit_with(Rows, Faults, Saga) ->
    commit_with(Rows, Faults, Saga, #{}).

commit_with(Rows, Faults, Saga, Opts) ->
    fault({rows_at_once, Rows}),
    lists:foreach(fun warp_fault_vm:fault/1, Faults),
    Result = warp_saga:commit(Saga, ctx(), Opts),
    {ok, []} = warp_saga:pending(ctx()),
    fault(off),
    Result.

%% What a caller was told is so, and the saga can be committed once more.
whole_after(Result, Id, [A | _] = Names) ->
    case Result of
        {error, _} -> ?assertEqual([100, 0, 0], balances(ctx(), Names));
        {ok, {committed, _}} -> ?assertEqual([70, 20, 10], balances(ctx(), Names))
    end,
    {ok, {committed, _}} = Again = warp_saga:commit(forward(Id, Names), ctx()),
    _ = [?assertEqual(Result, Again) || element(1, Result) =:= ok],
    ?assertEqual([70, 20, 10], balances(ctx(), Names)),
    ?assertEqual([<<"funds">>, <<Id/binary, "/fwd/0">>], ids(ctx(), A)),
    ?assertEqual(<<"Committed">>, lists:last(types(ctx(), Id))).
