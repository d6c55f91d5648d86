%% Deleting an entity: no payload of it stays in the logs of sagas, nor in the bytes of the files;
%% ids and results do. And what it means for sagas that are not finished.
-module(warp_saga_delete_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_saga_test, [gated/1, waits_for_gate/1, at_gate/0]).
-import(warp_saga_test, [saga/2, step/3, step/4, balance/2, fund/3, ids/2, saga_log/2, types/2]).

-define(SECRET, <<"Q7-secret-of-alice">>).
-define(OTHER, <<"Q8-secret-of-bob">>).

suite() -> [{timetrap, {minutes, 5}}].
all() ->
    [{group, actor}, {group, read_through}, a_deletion_that_a_crash_cut_short_is_finished_when_called_again].
groups() ->
    warp_test:both_modes(
        [payloads_in_the_log_of_a_committed_saga_are_cleared,
         payloads_of_a_refused_step_are_gone_too,
         events_that_look_like_those_of_steps_clear_nothing,
         the_result_of_a_cleared_saga_stays,
         a_step_that_was_to_come_is_refused,
         a_compensation_that_was_to_come_makes_the_saga_stuck,
         a_stuck_saga_stays_stuck_after_a_restart,
         an_unfinished_saga_is_cleared_across_a_restart,
         a_deleted_entity_begins_anew_for_new_sagas,
         deletions_and_sagas_at_once_leave_nothing_behind,
         while_another_program_reads_a_deletion_says_so]).
init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_, _) -> ok.
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

payloads_in_the_log_of_a_committed_saga_are_cleared(Config) ->
    Ctx = warp_test:start(Config),
    Sagas = [saga(id(N), [noted(<<"alice">>, ?SECRET), noted(<<"bob">>, ?OTHER)]) || N <- lists:seq(1, 20)],
    [{ok, {committed, _}} = warp_saga:commit(Saga, Ctx) || Saga <- Sagas],
    ?assertNotEqual([], files_with(Config, ?SECRET)),
    delete(Ctx, <<"alice">>),
    ?assertEqual([], files_with(Config, ?SECRET)),
    ?assertNotEqual([], files_with(Config, ?OTHER)),
    [?assertEqual([<<"Planned">>, <<"Cleared">>, <<"Cleared">>, <<"Forward">>, <<"Reverse">>, <<"Committed">>],
                  types(Ctx, id(N))) || N <- lists:seq(1, 20)],
    [#{payload := #{}}] = [Event || #{seq := 2, payload := Payload} = Event <- saga_log(Ctx, id(1)),
                                    Payload =:= #{}],
    delete(Ctx, <<"bob">>),
    ?assertEqual([], files_with(Config, ?OTHER)).

%% It left nothing in its entity's log that would tell of the saga.
payloads_of_a_refused_step_are_gone_too(Config) ->
    Ctx = warp_test:start(Config),
    Refused = step(<<"alice">>, note(?SECRET, #{type => <<"Debited">>, amount => 5}),
                   note(?SECRET, #{type => <<"Credited">>, amount => 5})),
    {ok, {compensated, _}} = warp_saga:commit(saga(<<"x">>, [noted(<<"bob">>, ?OTHER), Refused,
                                                             noted(<<"alice">>, ?SECRET)]), Ctx),
    {ok, {compensated, _}} = warp_saga:commit(saga(<<"y">>, [Refused]), Ctx),
    ?assertEqual([], ids(Ctx, <<"alice">>)),
    delete(Ctx, <<"alice">>),
    ?assertEqual([], files_with(Config, ?SECRET)),
    ?assertNotEqual([], files_with(Config, ?OTHER)).

%% Ids and metadata of events are the user's to choose.
events_that_look_like_those_of_steps_clear_nothing(Config) ->
    Ctx = warp_test:start(Config),
    Saga = saga(<<"x">>, [noted(<<"alice">>, ?SECRET), noted(<<"bob">>, ?OTHER)]),
    {ok, {committed, _}} = warp_saga:commit(Saga, Ctx),
    Log = saga_log(Ctx, <<"x">>),
    Event = warp_test:noted(<<"mine">>),
    Metadata = #{correlation => <<"x">>},
    [{ok, _} = warp_core:append(warp_core:entity(Ctx, <<"carol">>), Event#{id => Id, metadata => Metadata})
     || Id <- [<<"x/fwd/0">>, <<"x/comp/1">>, <<"x/fwd/7">>]],
    %% Of no saga; and of what cannot be one's id.
    [{ok, _} = warp_core:append(warp_core:entity(Ctx, <<"carol">>),
                                Event#{id => <<Other/binary, "/fwd/0">>, metadata => #{correlation => Other}})
     || Other <- [<<"none">>, <<>>, binary:copy(<<"x">>, 506)]],
    delete(Ctx, <<"carol">>),
    ?assertEqual(Log, saga_log(Ctx, <<"x">>)),
    ?assertEqual({error, not_found}, warp_saga:status(Ctx, <<"none">>)),
    %% The entity of a step clears its own.
    {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"bob">>), Event#{id => <<"x/comp/0">>, metadata => Metadata}),
    delete(Ctx, <<"bob">>),
    ?assertEqual([<<"Planned">>, <<"Forward">>, <<"Reverse">>, <<"Cleared">>, <<"Cleared">>, <<"Committed">>],
                 types(Ctx, <<"x">>)).

the_result_of_a_cleared_saga_stays(Config) ->
    Ctx = warp_test:start(Config),
    Saga = saga(<<"x">>, [noted(<<"alice">>, ?SECRET), noted(<<"bob">>, ?OTHER)]),
    {ok, {committed, _}} = Result = warp_saga:commit(Saga, Ctx),
    delete(Ctx, <<"alice">>),
    Again = warp_test:restart(Ctx),
    ?assertEqual(Result, warp_saga:commit(Saga, Again)),
    ?assertEqual({error, {saga_conflict, <<"x">>}},
                 warp_saga:commit(saga(<<"x">>, [noted(<<"alice">>, <<"other">>), noted(<<"bob">>, ?OTHER)]),
                                  Again)),
    ?assertEqual([], ids(Again, <<"alice">>)).

a_step_that_was_to_come_is_refused(Config) ->
    Ctx = gated(Config),
    Saga = saga(<<"x">>, [noted(<<"bob">>, ?OTHER), waits_for_gate(<<"gate">>), noted(<<"alice">>, ?SECRET)]),
    Self = self(),
    spawn_link(fun() -> Self ! {result, warp_saga:commit(Saga, Ctx)} end),
    Waiting = at_gate(),
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"alice">>), warp_test:noted(?SECRET)),
    delete(Ctx, <<"alice">>),
    ?assertEqual([], files_with(Config, ?SECRET)),
    Waiting ! go,
    {ok, {compensated, Map}} = receive {result, Result} -> Result end,
    ?assertMatch(#{failed := #{step := 2, entity := <<"alice">>, reason := entity_deleted},
                   steps := [#{status := reversed}, #{status := reversed}, #{status := refused}]}, Map),
    ?assertEqual([], ids(Ctx, <<"alice">>)),
    ?assertEqual([], files_with(Config, ?SECRET)).

a_compensation_that_was_to_come_makes_the_saga_stuck(Config) ->
    Ctx = gated(Config),
    Saga = saga(<<"x">>, [noted(<<"bob">>, ?OTHER), noted(<<"alice">>, ?SECRET), waits_for_gate(<<"gate">>),
                          step(<<"carl">>, <<"Debited">>, 1)]),
    Self = self(),
    spawn_link(fun() -> Self ! {result, warp_saga:commit(Saga, Ctx)} end),
    Waiting = at_gate(),
    delete(Ctx, <<"alice">>),
    ?assertEqual([], files_with(Config, ?SECRET)),
    Waiting ! go,
    {ok, {stuck, Map}} = receive {result, Result} -> Result end,
    ?assertMatch(#{failed := #{step := 3},
                   blocked := #{step := 1, entity := <<"alice">>, reason := entity_deleted},
                   steps := [#{status := not_reversed}, #{status := not_reversed, reason := entity_deleted},
                             #{status := reversed}, #{status := refused}]}, Map),
    ?assertEqual([], ids(Ctx, <<"alice">>)),
    ?assertMatch({ok, {stuck, #{blocked := #{reason := entity_deleted}}}}, warp_saga:retry(Ctx, <<"x">>)),
    ?assertMatch({ok, {stuck, #{note := <<"gone">>}}}, warp_saga:resolve(Ctx, <<"x">>, <<"gone">>)),
    ?assertEqual([], files_with(Config, ?SECRET)).

a_stuck_saga_stays_stuck_after_a_restart(Config) ->
    Ctx = warp_test:start(Config),
    Sticky = step(<<"bob">>, #{type => <<"Credited">>, payload => #{amount => 1}},
                  #{type => <<"Debited">>, payload => #{amount => 2}}),
    Saga = saga(<<"x">>, [noted(<<"alice">>, ?SECRET), Sticky, step(<<"carl">>, <<"Debited">>, 1)]),
    {ok, {stuck, _}} = warp_saga:commit(Saga, Ctx),
    delete(Ctx, <<"alice">>),
    ?assertEqual([], files_with(Config, ?SECRET)),
    Again = warp_test:restart(Ctx),
    fund(Again, <<"bob">>, 1),
    ?assertMatch({ok, {stuck, #{blocked := #{step := 0, reason := entity_deleted},
                                steps := [_, #{status := reversed}, _]}}},
                 warp_saga:retry(Again, <<"x">>)),
    ?assertEqual([], ids(Again, <<"alice">>)).

an_unfinished_saga_is_cleared_across_a_restart(Config) ->
    Ctx = gated(Config),
    Saga = saga(<<"x">>, [noted(<<"bob">>, ?OTHER), waits_for_gate(<<"gate">>), noted(<<"alice">>, ?SECRET)]),
    {error, timeout} = warp_saga:commit(Saga, Ctx, #{wait => 0}),
    _ = at_gate(),
    Again = warp_test:restart(Ctx),
    %% It waits at the gate again, and its step on alice is not sent yet.
    Waiting = at_gate(),
    delete(Again, <<"alice">>),
    ?assertEqual([], files_with(Config, ?SECRET)),
    Last = warp_test:restart(Again),
    at_gate() ! go,
    _ = Waiting,
    ?assertMatch({ok, {compensated, #{failed := #{reason := entity_deleted}}}}, warp_saga:commit(Saga, Last)),
    ?assertEqual([], ids(Last, <<"alice">>)).

a_deleted_entity_begins_anew_for_new_sagas(Config) ->
    Ctx = warp_test:start(Config),
    [begin
         {ok, {committed, #{steps := [#{seq := 1}]}}} =
             warp_saga:commit(saga(id(N), [noted(<<"alice">>, ?SECRET)]), Ctx),
         delete(Ctx, <<"alice">>)
     end || N <- lists:seq(1, 5)],
    ?assertEqual([], files_with(Config, ?SECRET)).

%% Whatever the order, a deletion that was answered leaves nothing of what was there before it.
deletions_and_sagas_at_once_leave_nothing_behind(Config) ->
    Ctx = warp_test:start(Config),
    Stop = atomics:new(1, []),
    Self = self(),
    Callers = [spawn_link(fun() -> Self ! {self(), transfers(Ctx, Stop, Caller, 1, [])} end)
               || Caller <- lists:seq(1, 8)],
    [begin timer:sleep(20), delete(Ctx, <<"alice">>) end || _ <- lists:seq(1, 10)],
    ok = atomics:put(Stop, 1, 1),
    Results = lists:append([receive {Caller, Of} -> Of end || Caller <- Callers]),
    ?assert(length(Results) > 50),
    ?assertEqual([], [Result || Result <- Results, not is_expected(Result)]),
    {ok, []} = warp_saga:pending(Ctx),
    delete(Ctx, <<"alice">>),
    ?assertEqual([], files_with(Config, ?SECRET)),
    ?assertNotEqual([], files_with(Config, ?OTHER)).

transfers(Ctx, Stop, Caller, N, Results) ->
    case atomics:get(Stop, 1) of
        1 ->
            Results;
        0 ->
            Last = case N rem 3 of 0 -> [step(<<"carl">>, <<"Debited">>, 1)]; _ -> [] end,
            Saga = saga(<<(id(Caller))/binary, $-, (id(N))/binary>>,
                        [noted(<<"bob">>, ?OTHER), noted(<<"alice">>, ?SECRET) | Last]),
            transfers(Ctx, Stop, Caller, N + 1, [warp_saga:commit(Saga, Ctx) | Results])
    end.

is_expected({ok, {committed, _}}) -> true;
is_expected({ok, {compensated, _}}) -> true;
is_expected({ok, {stuck, #{blocked := #{reason := entity_deleted}}}}) -> true;
is_expected(_) -> false.

while_another_program_reads_a_deletion_says_so(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    {ok, {committed, _}} = warp_saga:commit(saga(<<"x">>, [noted(<<"alice">>, ?SECRET)]), Ctx),
    [File] = warp_test:shard_files(?config(dir, Config)),
    Shell = warp_shell:reads(File),
    ?assertMatch({error, {io_error, _}}, warp_core:delete(warp_core:entity(Ctx, <<"alice">>))),
    warp_shell:release(Shell),
    warp_test:wait_until(fun() -> warp_core:delete(warp_core:entity(Ctx, <<"alice">>)) =:= ok end),
    ?assertEqual([], files_with(Config, ?SECRET)).

%% The VM ends after the first, the second, ... write of the deletion.
a_deletion_that_a_crash_cut_short_is_finished_when_called_again(Config) ->
    Sagas = [saga(id(N), [noted(<<"alice">>, ?SECRET), noted(<<"bob">>, ?OTHER)]) || N <- lists:seq(1, 3)],
    Points = crashed(Config, Sagas, 1),
    ?assert(Points >= 2).

crashed(Config, Sagas, N) ->
    Dir = filename:join(?config(dir, Config), integer_to_list(N)),
    End = warp_fault_vm:crash(fun() ->
        ok = warp_fault_vm:open(opts(Dir)),
        [{ok, {committed, _}} = warp_saga:commit(Saga, warp_fault_vm:ctx()) || Saga <- Sagas],
        {ok, []} = warp_saga:pending(warp_fault_vm:ctx()),
        warp_fault_vm:fault({abort_after, N}),
        ok = warp_core:delete(warp_fault_vm:entity(<<"alice">>)),
        warp_fault_vm:fault(off)
    end),
    Ctx = warp_test:start(opts(Dir)),
    _ = [delete(Ctx, <<"alice">>) || End =:= crashed],
    ?assertEqual([], warp_test:files_with(Dir, ?SECRET)),
    [?assertMatch({ok, #{state := committed, steps := [#{seq := _}, #{seq := _}]}},
                  warp_saga:status(Ctx, id(Saga))) || Saga <- [1, 2, 3]],
    warp_test:stop(Ctx),
    case End of
        survived -> N - 1;
        crashed -> crashed(Config, Sagas, N + 1)
    end.

opts(Dir) ->
    #{context => <<"fault">>, data_dir => Dir, shards => 1, aggregates => warp_test:aggregates()}.

%% -------------------------------------------------------------------- Helpers

id(N) -> integer_to_binary(N).

delete(Ctx, Name) ->
    ?assertEqual(ok, warp_core:delete(warp_core:entity(Ctx, Name))).

files_with(Config, Needle) ->
    warp_test:files_with(?config(dir, Config), Needle).

noted(Name, Text) ->
    step(Name, <<"Log">>, note(Text, #{type => <<"Noted">>}), note(Text, #{type => <<"Unnoted">>})).

note(Text, #{type := Type} = More) ->
    #{type => Type, payload => maps:merge(#{name => Text}, maps:remove(type, More))}.
