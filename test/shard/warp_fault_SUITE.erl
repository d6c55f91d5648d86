%% A writer that panics, that cannot sync or that stands still; callers that die or
%% give up meanwhile. The hooks in the writer are those of the fault NIF, in a VM
%% of its own.
-module(warp_fault_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_group/2, end_per_group/2,
         init_per_testcase/2, end_per_testcase/2]).
-export([a_writer_that_panics_answers_its_callers_and_comes_back/1,
         a_writer_that_panics_again_and_again_comes_back_in_the_end/1,
         a_commit_that_cannot_sync_fails_for_all_its_callers_and_leaves_nothing/1,
         what_could_not_be_synced_is_not_there_after_a_kill_either/1,
         a_caller_that_dies_while_it_waits_leaves_one_event_or_none/1,
         a_caller_that_gave_up_finds_out_with_the_same_id/1,
         appends_wait_in_order_behind_a_stalled_commit/1,
         a_shard_that_is_opened_while_the_journal_closes_is_opened_again/1]).

-import(warp_fault_vm, [run/2, open/1, entity/1, entity_on/1, fault/1]).
-import(warp_test, [noted/1, noted/2]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> warp_test:both_modes().

groups() ->
    warp_test:both_modes(
      [a_writer_that_panics_answers_its_callers_and_comes_back,
       a_writer_that_panics_again_and_again_comes_back_in_the_end,
       a_commit_that_cannot_sync_fails_for_all_its_callers_and_leaves_nothing,
       what_could_not_be_synced_is_not_there_after_a_kill_either,
       a_caller_that_dies_while_it_waits_leaves_one_event_or_none,
       a_caller_that_gave_up_finds_out_with_the_same_id,
       appends_wait_in_order_behind_a_stalled_commit,
       a_shard_that_is_opened_while_the_journal_closes_is_opened_again]).

init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_Mode, _Config) -> ok.

init_per_testcase(_Case, Config) ->
    Vm = warp_fault_vm:start(#{nif => fault}),
    [{vm, Vm} | warp_test:init_case(Config)].

end_per_testcase(_Case, Config) ->
    catch warp_fault_vm:stop(?config(vm, Config)),
    warp_test:end_case(Config).

a_writer_that_panics_answers_its_callers_and_comes_back(Config) ->
    Opts = opts(Config),
    run(?config(vm, Config), fun() ->
        ok = open(Opts),
        [Hit, Other] = [entity_on(0), entity_on(1)],
        {ok, {1, 10}} = warp_core:append_batch(Hit, [noted(<<"before">>) || _ <- lists:seq(1, 10)]),
        {ok, 1} = warp_core:append(Other, noted(<<"before">>)),
        fault({panic, 1}),
        Answers = append_from_callers(Hit, 20),
        ?assertEqual([], [A || A <- Answers, not is_ok_or_broken_off(A)]),
        ?assertMatch([_ | _], [A || A = {_, {error, _}} <- Answers]),
        %% All shards have one writer, so the other shard's entity may meet its restart.
        [assert_heals(Entity) || Entity <- [Other, Hit]],
        assert_log(Other, []),
        assert_log(Hit, Answers),
        warp_fault_vm:reopen(),
        assert_log(entity_on(0), Answers)
    end).

a_writer_that_panics_again_and_again_comes_back_in_the_end(Config) ->
    Opts = opts(Config),
    run(?config(vm, Config), fun() ->
        ok = open(Opts),
        Hit = entity_on(0),
        {ok, 1} = warp_core:append(Hit, noted(<<"before">>)),
        fault({panic, 5}),
        Answers = append_from_callers(Hit, 5),
        assert_heals(Hit),
        assert_log(Hit, Answers),
        ?assert(length(seqs(Hit)) >= 2)
    end).

a_commit_that_cannot_sync_fails_for_all_its_callers_and_leaves_nothing(Config) ->
    Opts = opts(Config),
    run(?config(vm, Config), fun() ->
        ok = open(Opts),
        Entities = [entity(Name) || Name <- [<<"a">>, <<"b">>, <<"c">>, <<"d">>]],
        [{ok, 1} = warp_core:append(E, noted(<<"before">>)) || E <- Entities],
        fail_appends(Entities),
        ?assertEqual([[1], [1], [1], [1]], [seqs(E) || E <- Entities]),
        ?assertEqual([{ok, 2}, {ok, 2}, {ok, 2}, {ok, 2}],
                     [warp_core:append(E, noted(<<"after">>)) || E <- Entities]),
        warp_fault_vm:reopen(),
        [?assertEqual([<<"before">>, <<"after">>], texts(entity(Name)))
         || Name <- [<<"a">>, <<"b">>, <<"c">>, <<"d">>]]
    end).

%% A commit that failed in its sync has been written: the frames are in the WAL.
what_could_not_be_synced_is_not_there_after_a_kill_either(Config) ->
    Opts = opts(Config),
    Names = [<<"a">>, <<"b">>, <<"c">>, <<"d">>],
    run(?config(vm, Config), fun() ->
        ok = open(Opts),
        [{ok, 1} = warp_core:append(entity(Name), noted(<<"before">>)) || Name <- Names],
        fail_appends([entity(Name) || Name <- Names])
    end),
    warp_fault_vm:kill(?config(vm, Config)),
    Ctx = warp_test:start(Config, Opts),
    [?assertEqual([<<"before">>], texts(warp_core:entity(Ctx, Name))) || Name <- Names],
    [?assertEqual({ok, 2}, warp_core:append(warp_core:entity(Ctx, Name), noted(<<"after">>)))
     || Name <- Names].

a_caller_that_dies_while_it_waits_leaves_one_event_or_none(Config) ->
    Opts = opts(Config),
    run(?config(vm, Config), fun() ->
        ok = open(Opts),
        Entity = entity_on(0),
        {ok, 1} = warp_core:append(Entity, noted(<<"before">>)),
        fault({stall, 500}),
        Callers = [spawn(fun() -> warp_core:append(Entity, noted(<<"waiting">>)) end)
                   || _ <- lists:seq(1, 10)],
        timer:sleep(100),
        [exit(Caller, kill) || Caller <- Callers],
        {ok, Seq} = warp_core:append(Entity, noted(<<"after">>)),
        ?assert(Seq =< 12),
        ?assertEqual(lists:seq(1, Seq), seqs(Entity)),
        ?assertEqual({ok, Seq + 1}, warp_core:append(Entity, noted(<<"after">>)))
    end).

a_caller_that_gave_up_finds_out_with_the_same_id(Config) ->
    Opts = opts(Config),
    run(?config(vm, Config), fun() ->
        ok = open(Opts),
        Entity = entity_on(0),
        {ok, 1} = warp_core:append(Entity, noted(<<"before">>)),
        fault({stall, 600}),
        Event = noted(<<"impatient">>, <<"id-1">>),
        {Micros, Answer} = timer:tc(fun() -> warp_core:append(Entity, Event, #{timeout => 100}) end),
        ?assertEqual({error, timeout}, Answer),
        ?assert(Micros < 400_000, Micros),
        ?assertEqual({ok, 2}, warp_core:append(Entity, Event)),
        ?assertEqual([<<"before">>, <<"impatient">>], texts(Entity)),
        ?assertEqual([], flush(), "the late answer came as a message")
    end).

appends_wait_in_order_behind_a_stalled_commit(Config) ->
    Opts = opts(Config),
    run(?config(vm, Config), fun() ->
        ok = open(Opts),
        [Stalled, Other] = [entity_on(0), entity_on(1)],
        [{ok, 1} = warp_core:append(E, noted(<<"before">>)) || E <- [Stalled, Other]],
        fault({stall, 500}),
        Started = now_ms(),
        Self = self(),
        [begin
             spawn_link(fun() ->
                 Self ! {N, warp_core:append(Stalled, noted(integer_to_binary(N)))}
             end),
             timer:sleep(5)
         end || N <- lists:seq(2, 20)],
        ?assertMatch({ok, [#{seq := 1}]}, warp_core:history(Stalled, #{})),
        %% All shards have one writer.
        ?assertEqual({ok, 2}, warp_core:append(Other, noted(<<"meanwhile">>))),
        ?assert(now_ms() - Started >= 450, "no stall"),
        [receive {N, Answer} -> ?assertEqual({ok, N}, Answer) end || N <- lists:seq(2, 20)],
        ?assertEqual([integer_to_binary(N) || N <- lists:seq(2, 20)], tl(texts(Stalled)))
    end).

%% Its file is closed at once, since the threads of that journal look after nothing any more.
a_shard_that_is_opened_while_the_journal_closes_is_opened_again(Config) ->
    Opts = opts(Config),
    run(?config(vm, Config), fun() ->
        ok = open(Opts),
        Entity = entity_on(0),
        {ok, 1} = warp_core:append(Entity, noted(<<"before">>)),
        fault({slow_open, 500}),
        ok = kill(shard),
        timer:sleep(100),
        ok = kill(journal),
        warp_killer:settle(fun() -> warp_core:append(Entity, noted(<<"after">>)) end),
        ok = warp_fault_vm:close()
    end).

%% -------------------------------------------------------------------- Helpers

%% Kills the processes with that part in the context.
kill(Part) ->
    Processes = warp_test:processes(warp_fault_vm:ctx()),
    Pids = [Pid || {P, Pid} <- Processes, P =:= Part],
    ?assertMatch([_ | _], Pids, Processes),
    lists:foreach(fun(Pid) -> exit(Pid, kill) end, Pids).

opts(Config) ->
    (warp_test:opts(Config))#{context => <<"fault">>}.

%% Each with an id of its own: what each was answered.
append_from_callers(Entity, Count) ->
    warp_test:parallel(Count, fun(N) ->
        Id = <<"call-", (integer_to_binary(N))/binary>>,
        {Id, warp_core:append(Entity, noted(<<"during">>, Id))}
    end).

is_ok_or_broken_off({_Id, {ok, _Seq}}) -> true;
is_ok_or_broken_off({_Id, {error, Reason}}) -> warp_killer:is_transient(Reason).

assert_heals(Entity) ->
    warp_killer:settle(fun() -> warp_core:append(Entity, noted(<<"healed">>)) end).

%% Gapless; what was acknowledged is in its place, and nothing is there twice.
assert_log(Entity, Answers) ->
    {ok, Log} = warp_core:export(Entity),
    ?assertEqual(lists:seq(1, length(Log)), [Seq || #{seq := Seq} <- Log]),
    Ids = [Id || #{id := Id} <- Log],
    ?assertEqual(length(Ids), length(lists:usort(Ids))),
    [?assertEqual(Id, lists:nth(Seq, Ids)) || {Id, {ok, Seq}} <- Answers].

%% Singles and batches to all of the entities at once, while no sync works.
fail_appends(Entities) ->
    fault({fsync_fails, 1000000}),
    Answers = warp_test:parallel(
                [fun() -> warp_core:append(E, noted(<<"failed">>)) end || E <- Entities] ++
                [fun() -> warp_core:append_batch(E, [noted(<<"failed">>), noted(<<"failed">>)]) end
                 || E <- Entities]),
    [?assertMatch({error, {io_error, _}}, Answer) || Answer <- Answers],
    fault(off).

texts(Entity) ->
    {ok, Events} = warp_core:export(Entity),
    [Text || #{payload := #{<<"text">> := Text}} <- Events].

seqs(Entity) ->
    {ok, Events} = warp_core:export(Entity),
    [Seq || #{seq := Seq} <- Events].

now_ms() -> erlang:monotonic_time(millisecond).

flush() ->
    receive Message -> [Message | flush()] after 0 -> [] end.
