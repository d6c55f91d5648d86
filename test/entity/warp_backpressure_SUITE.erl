%% Nothing is unbounded: past its limit an entity answers overloaded at once,
%% and callers that give up or die leave neither a gap nor a used-up place.
-module(warp_backpressure_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {seconds, 60}}].
all() -> warp_test:both_modes().
groups() -> warp_test:both_modes(cases()).
init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_, _) -> ok.
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

cases() ->
    [past_max_pending_callers_are_overloaded_at_once,
     an_overloaded_entity_does_not_slow_another,
     under_steady_overload_every_acknowledged_event_is_there,
     memory_stays_flat_under_overload,
     callers_killed_while_waiting_give_their_places_back,
     callers_that_time_out_give_their_places_back,
     a_late_answer_does_not_reach_the_caller,
     a_timeout_of_infinity_waits,
     more_than_one_submission_takes_are_answered].

past_max_pending_callers_are_overloaded_at_once(Config) ->
    {Gate, Alice} = start_gated(Config, 10),
    Callers = start_callers(Alice, 200, #{}),
    Overloaded = await_overloaded(Callers, 180),
    open(Gate),
    Late = [await(Caller) || Caller <- Callers -- Overloaded],
    Seqs = lists:sort([Seq || {ok, Seq} <- Late]),
    ?assertEqual(lists:seq(1, length(Seqs)), Seqs),
    ?assert(length(Seqs) >= 10 andalso length(Seqs) =< 20),
    ?assertEqual([], [Other || Other <- Late, Other =/= {error, overloaded}, element(1, Other) =/= ok]),
    warp_test:assert_whole(Alice, length(Seqs)),
    assert_places(Alice, 10).

an_overloaded_entity_does_not_slow_another(Config) ->
    {Gate, Alice, Ctx} = start_gated_context(Config, 5),
    Callers = start_callers(Alice, 100, #{}),
    Overloaded = await_overloaded(Callers, 90),
    Bob = warp_core:entity(Ctx, <<"bob">>),
    [?assertEqual({ok, N}, warp_core:append(Bob, warp_test:incremented())) || N <- lists:seq(1, 20)],
    ?assertEqual({ok, 20}, warp_core:get(Bob, <<"Counter">>)),
    open(Gate),
    [await(Caller) || Caller <- Callers -- Overloaded].

under_steady_overload_every_acknowledged_event_is_there(Config) ->
    Alice = warp_core:entity(warp_test:start(Config, #{max_pending => 3}), <<"alice">>),
    Results = lists:append(warp_test:parallel(60, fun(Caller) ->
        [{warp_core:append(Alice, warp_test:noted([Caller, N])), [Caller, N]} || N <- lists:seq(1, 50)]
    end)),
    Acked = lists:sort([{Seq, Told} || {{ok, Seq}, Told} <- Results]),
    ?assertEqual([], lists:usort([Why || {{error, Why}, _} <- Results]) -- [overloaded]),
    ?assertEqual(Acked, [{Seq, Told} || #{seq := Seq, payload := #{<<"text">> := Told}}
                                            <- warp_test:history(Alice)]),
    warp_test:assert_whole(Alice, length(Acked)).

%% A gigabyte is offered to an entity that takes nothing.
memory_stays_flat_under_overload(Config) ->
    {Gate, Alice} = start_gated(Config, 10),
    Waiting = start_callers(Alice, 10, #{}),
    warp_test:wait_until(fun() -> probe(Alice) =:= {error, overloaded} end),
    Before = {erlang:memory(total), resident_bytes()},
    _ = warp_test:parallel(20, fun(_) ->
        [?assertEqual({error, overloaded}, warp_core:append(Alice, large_event()))
         || _ <- lists:seq(1, 500)],
        erlang:garbage_collect()
    end),
    After = {erlang:memory(total), resident_bytes()},
    ?assert(element(1, After) - element(1, Before) < 50 bsl 20),
    ?assert(element(2, After) - element(2, Before) < 200 bsl 20),
    open(Gate),
    [await(Caller) || Caller <- Waiting].

callers_killed_while_waiting_give_their_places_back(Config) ->
    {Gate, Alice} = start_gated(Config, 10),
    Callers = start_callers(Alice, 30, #{}),
    _ = await_overloaded(Callers, 15),
    [exit(Pid, kill) || {Pid, _} <- Callers],
    open(Gate),
    assert_places(Alice, 10).

callers_that_time_out_give_their_places_back(Config) ->
    {Gate, Alice} = start_gated(Config, 10),
    Callers = start_callers(Alice, 30, #{timeout => 50}),
    Results = [await(Caller) || Caller <- Callers],
    ?assertEqual([{error, overloaded}, {error, timeout}], lists:usort(Results)),
    open(Gate),
    assert_places(Alice, 10),
    Stored = [N || #{payload := #{<<"caller">> := N}} <- warp_test:history(Alice)],
    ?assertEqual(lists:usort(Stored), lists:sort(Stored)),
    ?assert(length(Stored) =< length([timeout || {error, timeout} <- Results])).

a_late_answer_does_not_reach_the_caller(Config) ->
    {Gate, Alice} = start_gated(Config, 10),
    ?assertEqual({error, timeout}, warp_core:append(Alice, gated_event(), #{timeout => 50})),
    open(Gate),
    {ok, Last} = warp_core:append(Alice, gated_event()),
    warp_test:assert_whole(Alice, Last),
    ?assertEqual({messages, []}, process_info(self(), messages)).

a_timeout_of_infinity_waits(Config) ->
    {Gate, Alice} = start_gated(Config, 10),
    [Waiting] = start_callers(Alice, 1, #{timeout => infinity}),
    ?assertEqual({error, timeout}, warp_core:append(Alice, gated_event(), #{timeout => 100})),
    open(Gate),
    ?assertMatch({ok, _}, await(Waiting)).

%% ---------------------------------------------------------------- helpers

%% An entity whose appends wait in validate until the gate opens.
start_gated(Config, MaxPending) ->
    {Gate, Alice, _Ctx} = start_gated_context(Config, MaxPending),
    {Gate, Alice}.

start_gated_context(Config, MaxPending) ->
    Gate = atomics:new(1, []),
    Gated = #{name => <<"Gated">>, initial_state => 0,
              apply => fun(Count, _) -> Count + 1 end,
              validate => fun(_, _) -> wait_for(Gate) end},
    Ctx = warp_test:start(Config, #{max_pending => MaxPending,
                                    aggregates => [Gated, warp_test:counter()]}),
    {Gate, warp_core:entity(Ctx, <<"alice">>), Ctx}.

wait_for(Gate) ->
    warp_test:wait_until(fun() -> atomics:get(Gate, 1) =:= 1 end, 50000).

open(Gate) -> atomics:put(Gate, 1, 1).

gated_event() -> #{type => <<"T">>, aggregate => <<"Gated">>, payload => #{}}.
gated_event(Caller) -> (gated_event())#{payload => #{caller => Caller}}.
large_event() -> (gated_event())#{payload => #{t => binary:copy(<<"x">>, 100000)}}.

start_callers(Entity, Count, Opts) ->
    [spawn_monitor(fun() -> exit({answer, warp_core:append(Entity, gated_event(N), Opts)}) end)
     || N <- lists:seq(1, Count)].

await({Pid, Ref}) ->
    receive {'DOWN', Ref, process, Pid, {answer, Answer}} -> Answer end.

%% The first AtLeast callers to be answered, all of them with overloaded.
await_overloaded(_Callers, 0) ->
    [];
await_overloaded(Callers, AtLeast) ->
    receive
        {'DOWN', Ref, process, Pid, {answer, Answer}} ->
            ?assertEqual({error, overloaded}, Answer),
            [{Pid, Ref} | await_overloaded(Callers, AtLeast - 1)]
    after 3000 ->
        error({still_to_be_overloaded, AtLeast})
    end.

probe(Entity) ->
    warp_core:append(Entity, gated_event(), #{timeout => 20}).

%% Once what waits is through, Places callers at a time are never overloaded,
%% and the log has no gap.
assert_places(Entity, Places) ->
    warp_test:wait_until(fun() -> element(1, probe(Entity)) =:= ok end),
    Answers = warp_test:parallel(Places, fun(_) -> warp_core:append(Entity, gated_event()) end),
    ?assertEqual([], [Error || {error, _} = Error <- Answers]),
    {ok, Count} = warp_core:get(Entity, <<"Gated">>),
    warp_test:assert_whole(Entity, Count).

resident_bytes() ->
    {ok, Statm} = file:read_file("/proc/self/statm"),
    [_, Pages | _] = binary:split(Statm, <<" ">>, [global]),
    binary_to_integer(Pages) * 4096.

%% What is left over is not forgotten when nothing comes after it.
more_than_one_submission_takes_are_answered(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Rounds = 15,
    [begin
         Answers = warp_test:parallel(1100, fun(_) ->
             warp_core:append(Alice, warp_test:incremented(), #{timeout => infinity})
         end),
         ?assertEqual([], [Other || Other <- Answers, element(1, Other) =/= ok])
     end || _ <- lists:seq(1, Rounds)],
    warp_test:assert_whole(Alice, Rounds * 1100).
