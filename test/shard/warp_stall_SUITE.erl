%% A shard that stands still: callers past the limits are turned away at once,
%% memory stays flat, the rest of the context goes on, and an operator is told.
-module(warp_stall_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_group/2, end_per_group/2,
         init_per_testcase/2, end_per_testcase/2]).
-export([an_entity_takes_only_so_many_callers/1,
         callers_that_give_up_do_not_pile_up/1,
         a_shard_takes_only_so_many_appends/1,
         an_operator_is_told_of_a_shard_that_stalls_and_of_nothing_else/1]).

-import(warp_fault_vm, [run/2, open/1, entity/1, entity_on/1, fault/1]).
-import(warp_test, [noted/1, noted/2]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> warp_test:both_modes().

groups() ->
    warp_test:both_modes(
      [an_entity_takes_only_so_many_callers,
       callers_that_give_up_do_not_pile_up,
       a_shard_takes_only_so_many_appends,
       an_operator_is_told_of_a_shard_that_stalls_and_of_nothing_else]).

init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_Mode, _Config) -> ok.

init_per_testcase(_Case, Config) ->
    Vm = warp_fault_vm:start(#{nif => fault}),
    [{vm, Vm} | warp_test:init_case(Config)].

end_per_testcase(_Case, Config) ->
    catch warp_fault_vm:stop(?config(vm, Config)),
    warp_test:end_case(Config).

an_entity_takes_only_so_many_callers(Config) ->
    Opts = (warp_test:opts(Config))#{max_pending => 50},
    run(?config(vm, Config), fun() ->
        ok = open(Opts),
        Entity = entity_on(0),
        {ok, 1} = warp_core:append(Entity, noted(<<"before">>)),
        fault({stall, 1000}),
        Answers = warp_test:parallel(300, fun(_) ->
            timer:tc(fun() -> warp_core:append(Entity, noted(<<"crowd">>)) end)
        end),
        TurnedAway = [Micros || {Micros, {error, overloaded}} <- Answers],
        Taken = [Seq || {_, {ok, Seq}} <- Answers],
        ?assertEqual(300, length(TurnedAway) + length(Taken)),
        ?assert(length(Taken) >= 50 andalso length(Taken) =< 110, length(Taken)),
        ?assert(lists:max(TurnedAway) < 500_000, lists:max(TurnedAway)),
        ?assertEqual(lists:seq(2, length(Taken) + 1), lists:sort(Taken)),
        ?assertEqual({ok, length(Taken) + 2}, warp_core:append(Entity, noted(<<"after">>)))
    end).

%% Each waits a millisecond and leaves, and the next one comes: for a whole second
%% nothing may be kept for them beyond the limit.
callers_that_give_up_do_not_pile_up(Config) ->
    Opts = (warp_test:opts(Config))#{max_pending => 50},
    run(?config(vm, Config), fun() ->
        ok = open(Opts),
        Entity = entity_on(0),
        {ok, 1} = warp_core:append(Entity, noted(<<"before">>)),
        Event = noted(binary:copy(<<"x">>, 10_000)),
        fault({stall, 2500}),
        crowd(Entity, Event, 500),
        Before = warp_fault_vm:resident_bytes(),
        Answers = crowd(Entity, Event, 1500),
        Grown = warp_fault_vm:resident_bytes() - Before,
        ?assert(maps:get(overloaded, Answers, 0) > 500, Answers),
        ?assertEqual([], maps:keys(Answers) -- [overloaded, timeout]),
        ?assert(Grown < 20_000_000, Grown),
        %% The stall may last a little longer than the crowd.
        warp_test:wait_until(fun() -> is_taken(Entity) end),
        {ok, Log} = warp_core:export(Entity),
        ?assert(length(Log) =< 110, length(Log)),
        ?assertEqual([], flush())
    end).

is_taken(Entity) ->
    case warp_core:append(Entity, noted(<<"after">>), #{timeout => 20000}) of
        {ok, _} -> true;
        {error, overloaded} -> false
    end.

crowd(Entity, Event, Millis) ->
    Until = now_ms() + Millis,
    lists:foldl(fun(Counts, Sum) -> maps:merge_with(fun(_, A, B) -> A + B end, Counts, Sum) end,
                #{}, warp_test:parallel(8, fun(_) -> give_up_until(Until, Entity, Event, #{}) end)).

give_up_until(Until, Entity, Event, Counts) ->
    case now_ms() > Until of
        true ->
            Counts;
        false ->
            {error, Reason} = warp_core:append(Entity, Event, #{timeout => 1}),
            give_up_until(Until, Entity, Event, maps:update_with(Reason, fun(N) -> N + 1 end, 1, Counts))
    end.

%% Each append to an entity of its own, until the shard turns some away; then more and
%% more of them: 100 MB a wave. An entity that was turned away may keep what it was
%% given until it is idle.
a_shard_takes_only_so_many_appends(Config) ->
    Opts = (warp_test:opts(Config))#{shards => 1},
    run(?config(vm, Config), fun() ->
        ok = open(Opts),
        {ok, 1} = warp_core:append(entity(<<"probe">>), noted(<<"before">>)),
        Event = noted(binary:copy(<<"x">>, 100_000)),
        %% Until it is turned off: a busy machine takes its time for what follows.
        fault({stall, 60000}),
        spawn(fun() -> warp_core:append(entity(<<"probe">>), noted(<<"stalls">>)) end),
        timer:sleep(50),
        Waves = until_turned_away(Event, 1),
        ?assertEqual([1000, 1000], [wave(Waves + N, Event) || N <- [1, 2]]),
        Before = idle_bytes(),
        ?assertEqual([1000, 1000, 1000], [wave(Waves + N, Event) || N <- [3, 4, 5]]),
        Grown = idle_bytes() - Before,
        ?assert(Grown < 100_000_000, Grown),
        ?assertMatch({ok, [_]}, warp_core:export(entity(<<"probe">>))),
        fault(off),
        warp_test:wait_until(fun() -> is_taken(entity(<<"probe">>)) end)
    end).

idle_bytes() ->
    timer:sleep(1500),
    warp_fault_vm:resident_bytes().

until_turned_away(Event, N) ->
    case wave(N, Event) of
        0 when N < 20 -> until_turned_away(Event, N + 1);
        TurnedAway when TurnedAway > 0 -> N
    end.

%% A thousand callers: how many of them were turned away, until none has been for a second.
wave(Wave, Event) ->
    Self = self(),
    Answer = make_ref(),
    [spawn(fun() ->
         Name = iolist_to_binary(io_lib:format("wave-~b-~b", [Wave, N])),
         Self ! {Answer, warp_core:append(entity(Name), Event, #{timeout => 30000})}
     end) || N <- lists:seq(1, 1000)],
    count_overloaded(Answer, 0).

count_overloaded(_Answer, 1000) -> 1000;
count_overloaded(Answer, Count) ->
    receive {Answer, {error, overloaded}} -> count_overloaded(Answer, Count + 1)
    after 1000 -> Count
    end.

an_operator_is_told_of_a_shard_that_stalls_and_of_nothing_else(Config) ->
    Opts = warp_test:opts(Config),
    run(?config(vm, Config), fun() ->
        ok = open(Opts),
        Entity = entity_on(1),
        [{ok, N} = warp_core:append(Entity, noted(<<"quick">>)) || N <- lists:seq(1, 100)],
        ?assertEqual([], warp_fault_vm:warnings()),
        fault({stall, 4500}),
        {ok, 101} = warp_core:append(Entity, noted(<<"slow">>), #{timeout => 30000}),
        Warnings = warp_fault_vm:warnings(),
        ?assertMatch([_ | _], Warnings),
        ?assert(length(Warnings) =< 5, Warnings),
        [?assertMatch({match, _}, re:run(W, "shard", [caseless])) || W <- Warnings],
        ?assertMatch([_ | _], [W || W <- Warnings, re:run(W, "stall", [caseless]) =/= nomatch])
    end).

now_ms() -> erlang:monotonic_time(millisecond).

flush() ->
    receive Message -> [Message | flush()] after 0 -> [] end.
