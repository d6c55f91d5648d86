%% The decisions of a saga against a world of logs, with refusals, transient failures and crashes
%% at any point: whatever happens, no step stands half.
-module(warp_saga_core_tests).

-include_lib("eunit/include/eunit.hrl").

-define(FUEL, 2000).

every_saga_ends_whole_or_reversed_test_() ->
    {timeout, 120, ?_assert(proper:quickcheck(prop_whole_or_reversed(), [{numtests, 10000}, {to_file, user}]))}.

%% One of a group cannot be reversed, and of another, beside it, the answer got lost.
what_is_in_doubt_is_settled_before_a_saga_is_stuck_test() ->
    World = world([3], 0, [99, 30, 40, 30, 40, 10, 30, 30, 15]),
    ?assertMatch(#{ended := stuck}, World),
    ?assert(is_right(World)).

%% A step that waits is neither a try nor a failure, whatever else goes on beside it.
a_step_that_waits_is_tried_until_it_can_be_done_test() ->
    Core0 = warp_saga_core:new(plan([2], 0)),
    {{forward, [{0, first}, {1, first}]}, Core1} = warp_saga_core:next(Core0, 0),
    Core2 = warp_saga_core:outcome(1, {applied, 7}, warp_saga_core:outcome(0, {waiting, lacking}, Core1)),
    ?assertEqual({0, lacking}, warp_saga_core:waiting(Core2)),
    Core3 = lists:foldl(
        fun(_, Core) ->
            {{wait, 2}, Waited} = warp_saga_core:next(Core, 0),
            {{forward, [{0, first}]}, Next} = warp_saga_core:next(Waited, 0),
            warp_saga_core:outcome(0, {waiting, lacking}, Next)
        end, Core2, lists:seq(1, 100)),
    %% Past the deadline it turns back, since nothing of the step is anywhere.
    {{record, [{compensating, {none, timeout}, [not_run, {applied, 7}]} = Entry], [0]}, Core4} =
        warp_saga_core:next(Core3, 2000),
    ?assertMatch({{reverse, [{1, first}]}, _}, warp_saga_core:next(warp_saga_core:replay(Entry, Core4), 0)).

%% A compensation that waits is not blocked, and leaves nothing in doubt.
a_compensation_that_waits_keeps_waiting_test() ->
    Core0 = lists:foldl(fun warp_saga_core:replay/2, warp_saga_core:new(plan([1, 1], 0)),
                        [{compensating, {1, no}, [{applied, 3}, {refused, no}]}]),
    Core = lists:foldl(
        fun(Time, Acc0) ->
            {{reverse, [{0, Time}]}, Acc} = warp_saga_core:next(Acc0, 0),
            {{wait, 5000}, Waited} = warp_saga_core:next(warp_saga_core:outcome(0, {waiting, lacking}, Acc), 0),
            Waited
        end, warp_saga_core:recovered(Core0), [again | lists:duplicate(100, first)]),
    ?assertEqual({0, lacking}, warp_saga_core:waiting(Core)),
    Reversed = warp_saga_core:outcome(0, {applied, 4}, Core),
    ?assertMatch({{record, [{compensated, [{0, 4}]}], []}, _}, warp_saga_core:next(Reversed, 0)),
    ?assertEqual(none, warp_saga_core:waiting(Reversed)).

%% A step whose node cannot be reached is tried until the deadline, however few retries there are. Where nothing was
%% ever sent of it, nobody has to be asked what became of it.
a_step_that_cannot_be_sent_is_tried_until_the_deadline_test() ->
    Core0 = warp_saga_core:new((plan([1, 1], 0))#{deadline := 1000000}),
    {{forward, [{0, first}]}, Core1} = warp_saga_core:next(Core0, 0),
    {{forward, [{1, first}]}, Core2} = warp_saga_core:next(warp_saga_core:outcome(0, {applied, 7}, Core1), 0),
    {Core3, Pauses} = not_sent(1, forward, first, 20, Core2),
    ?assertEqual({10, 1000}, {hd(Pauses), lists:last(Pauses)}),
    {{record, [{compensating, {none, timeout}, [{applied, 7}, not_run]} = Entry], [1]}, Core4} =
        warp_saga_core:next(Core3, 2000000),
    %% The compensation waits for its node, and nothing makes it stuck.
    {{reverse, [{0, first}]}, Core5} = warp_saga_core:next(warp_saga_core:replay(Entry, Core4), 0),
    {Core6, _} = not_sent(0, reverse, first, 20, Core5),
    ?assertMatch({{record, [{compensated, [{0, 8}]}], []}, _},
                 warp_saga_core:next(warp_saga_core:outcome(0, {applied, 8}, Core6), 2000000)).

%% Something was sent, and then the node was lost: the saga turns back only when it knows what became of that.
what_was_sent_to_a_lost_node_is_looked_for_until_it_is_known_test() ->
    Plan = (plan([1], 3))#{deadline := 1000000},
    {{forward, [{0, first}]}, Core0} = warp_saga_core:next(warp_saga_core:new(Plan), 0),
    Lost = warp_saga_core:outcome(0, {transient, {unknown_outcome, n}}, Core0),
    {{wait, 10}, Core1} = warp_saga_core:next(Lost, 0),
    {{forward, [{0, again}]}, Core2} = warp_saga_core:next(Core1, 0),
    {Core3, _} = not_sent(0, forward, again, 20, Core2),
    {{probe, [0]}, Core4} = warp_saga_core:next(Core3, 2000000),
    Core5 = lists:foldl(
        fun(_, Core) ->
            {{wait, 1000}, Waited} = warp_saga_core:next(warp_saga_core:outcome(0, {not_sent, n}, Core), 2000000),
            {{probe, [0]}, Next} = warp_saga_core:next(Waited, 2000000),
            Next
        end, Core4, lists:seq(1, 20)),
    ?assertMatch({{record, [{committed, [5]}], []}, _},
                 warp_saga_core:next(warp_saga_core:outcome(0, {applied, 5}, Core5), 2000000)),
    ?assertMatch({{record, [{compensating, {none, timeout}, [not_run]}, _], [0]}, _},
                 warp_saga_core:next(warp_saga_core:outcome(0, absent, Core5), 2000000)).

%% So many attempts at a step that were not sent: where the saga stands then, without a pause to come, and the pauses.
not_sent(N, Kind, Time, Count, Core0) ->
    lists:foldl(
        fun(_, {Core, Pauses}) ->
            {{wait, Pause}, Waited} = warp_saga_core:next(warp_saga_core:outcome(N, {not_sent, n}, Core), 0),
            {{Kind, [{N, Time}]}, Next} = warp_saga_core:next(Waited, 0),
            {Next, Pauses ++ [Pause]}
        end, {Core0, []}, lists:seq(1, Count)).

%% Only the result is waited for, and no function runs ahead of the plan.
a_new_saga_runs_ahead_until_something_is_wrong_test() ->
    Core0 = warp_saga_core:ahead(warp_saga_core:new(plan([1, 2, 1], 0))),
    {{ahead, [0]}, Core1} = warp_saga_core:next(Core0, 0),
    {{ahead, [1, 2]}, Core2} = warp_saga_core:next(warp_saga_core:outcome(0, {accepted, 5}, Core1), 0),
    Core3 = warp_saga_core:outcome(2, {accepted, 7}, warp_saga_core:outcome(1, {accepted, 6}, Core2)),
    {{ahead, [3]}, Core4} = warp_saga_core:next(Core3, 0),
    {{close, {committed, [5, 6, 7, 8]} = Entry}, Core5} =
        warp_saga_core:next(warp_saga_core:outcome(3, {accepted, 8}, Core4), 0),
    ?assertMatch({finished, _}, warp_saga_core:next(warp_saga_core:replay(Entry, Core5), 0)),
    ?assertMatch({{record, [Entry], []}, _}, warp_saga_core:next(warp_saga_core:settled(stored, Core5), 0)),
    ?assertMatch({{wait, _}, _}, warp_saga_core:next(warp_saga_core:settled(failed, Core5), 0)),
    ?assertMatch({settle, _}, warp_saga_core:next(warp_saga_core:stop(cancelled, Core5), 0)),
    [?assertMatch({settle, _}, warp_saga_core:next(Core, Now))
     || {Core, Now} <- [{warp_saga_core:outcome(3, {refused, no}, Core4), 0},
                        {warp_saga_core:outcome(3, {transient, interrupted}, Core4), 0},
                        {warp_saga_core:outcome(3, {waiting, lacking}, Core4), 0},
                        {warp_saga_core:outcome(3, {not_sent, n}, Core4), 0},
                        {warp_saga_core:stop(cancelled, Core4), 0}, {Core4, 1000}]],
    #{steps := [#{forward := Event} = First | Steps]} = Plan = plan([1, 1], 0),
    Calls = Plan#{steps := [First#{forward := setelement(1, Event, run)} | Steps]},
    ?assertMatch({settle, _}, warp_saga_core:next(warp_saga_core:ahead(warp_saga_core:new(Calls)), 0)).

%% ------------------------------------------------------------------------ The property

%% The dice decide what becomes of each attempt, and where the process is killed.
prop_whole_or_reversed() ->
    Sizes = proper_types:non_empty(proper_types:list(proper_types:range(1, 3))),
    Dice = proper_types:list(proper_types:range(0, 99)),
    proper:forall({Sizes, proper_types:range(0, 3), Dice}, fun({Of, Retries, Rolls}) ->
        World = world(Of, Retries, Rolls),
        proper:whenfail(fun() -> io:format("~p~n", [World]) end, fun() -> is_right(World) end)
    end).

world(Sizes, Retries, Rolls) ->
    Plan = plan(Sizes, Retries),
    {Die, Start} = roll(#{plan => Plan, log => [], events => [], dice => Rolls, begun => [], is_void => false}),
    New = warp_saga_core:new(Plan),
    run(case Die < 70 of true -> warp_saga_core:ahead(New); false -> New end, Start, ?FUEL).

plan(Sizes, Retries) ->
    {Groups, Count} = lists:mapfoldl(
        fun(Size, N) -> {lists:seq(N, N + Size - 1), N + Size} end, 0, Sizes),
    Action = {event, <<"A">>, #{}},
    #{id => <<"s">>, groups => Groups, deadline => 1000, retries => Retries, hash => 0,
      steps => [#{n => N, entity => <<"e">>, aggregate => <<"A">>, schema_vsn => 1,
                  forward => Action, compensate => Action} || N <- lists:seq(0, Count - 1)]}.

run(_Core, World, 0) ->
    World#{ended => never};
run(Core0, World0, Fuel) ->
    {Die, World} = roll(World0),
    %% The deadline comes by and by; a cancellation now and then.
    Core = case Die of 99 -> warp_saga_core:stop(cancelled, Core0); _ -> Core0 end,
    Now = case Die of 98 -> 2000; _ -> 0 end,
    case warp_saga_core:next(Core, Now) of
        {finished, Done} ->
            World#{ended => warp_saga_core:phase(Done), core => Done};
        _ when Die < 10 ->
            %% Killed: what was sent may still come through, and all that is known is in the log.
            run(again(World), World, Fuel - 1);
        {{wait, _}, Next} ->
            run(Next, World, Fuel - 1);
        {{record, Entries, _Clear}, Next} ->
            record(Entries, Die, Next, World, Fuel);
        {{forward, Tasks}, Next} ->
            each(forward, Tasks, Die, Next, World, Fuel);
        {{ahead, Ns}, Next} ->
            each(ahead, [{N, first} || N <- Ns], Die, Next, World, Fuel);
        {{close, _}, Next} when Die < 40, Die >= 20; map_get(is_void, World) ->
            run(warp_saga_core:settled(failed, Next), World, Fuel - 1);
        {{close, Entry}, Next} ->
            record([Entry], Die, Next, World, Fuel);
        {settle, Next} ->
            How = case World of #{is_void := true} -> failed; #{} -> stored end,
            run(warp_saga_core:settled(How, Next), World, Fuel - 1);
        {{probe, Ns}, Next} ->
            each(probe, [{N, again} || N <- Ns], Die, Next, World, Fuel);
        {{reverse, Tasks}, Next} ->
            each(reverse, Tasks, Die, Next, World, Fuel)
    end.

roll(#{dice := []} = World) -> {50, World};
roll(#{dice := [Die | Dice]} = World) -> {Die, World#{dice := Dice}}.

again(#{plan := Plan, log := Log}) ->
    Core = lists:foldl(fun warp_saga_core:replay/2, warp_saga_core:new(Plan), Log),
    warp_saga_core:recovered(Core).

%% Stored, and then killed, or not.
record(Entries, Die, Core, #{log := Log} = World0, Fuel) ->
    World = World0#{log := Log ++ Entries},
    ok = nothing_is_unknown(Entries, World),
    case Die < 20 of
        true -> run(again(World), World, Fuel - 1);
        false -> run(lists:foldl(fun warp_saga_core:replay/2, Core, Entries), World, Fuel - 1)
    end.

%% What is recorded of the steps is so.
nothing_is_unknown([{compensating, _, Each} | _], #{events := Events}) ->
    _ = [?assertEqual(is_tuple(Of) andalso element(1, Of) =:= applied, lists:member({forward, N}, Events))
         || {N, Of} <- lists:zip(lists:seq(0, length(Each) - 1), Each)],
    ok;
nothing_is_unknown(_, _) ->
    ok.

each(_Kind, [], _Die, Core, World, Fuel) ->
    run(Core, World, Fuel - 1);
each(Kind, [{N, Time} | Tasks], Die, Core, World0, Fuel) ->
    {Roll, World1} = roll(World0),
    {Outcome, World} = attempt(Kind, N, Time, Roll, World1),
    case Die < 30 of
        %% Killed in the midst of it.
        true -> run(again(World), World, Fuel - 1);
        false -> each(Kind, Tasks, Die, warp_saga_core:outcome(N, Outcome, Core), World, Fuel)
    end.

%% An entity: it has an event of each id at most once, and refuses what it has not, sometimes.
attempt(probe, N, _, Roll, #{events := Events} = World) ->
    case lists:member({forward, N}, Events) of
        _ when Roll < 15 -> {{transient, timeout}, World};
        _ when Roll < 25 -> {{not_sent, away}, World};
        true -> {{applied, seq(forward, N)}, World};
        false -> {absent, World}
    end;
%% An entity says of what it has handed to the writer that it is accepted, whatever becomes of it. The writer takes
%% nothing behind what was not stored.
attempt(ahead, N, _, Roll, #{events := Events, begun := Begun, is_void := IsVoid} = World0) ->
    ?assertNot(lists:member({forward, N}, Begun)),
    World = World0#{begun := [{forward, N} | Begun]},
    Stored = World#{events := Events ++ [{forward, N}]},
    if
        Roll < 10 -> {{transient, overloaded}, World};
        Roll < 20 -> {{refused, no}, World};
        Roll < 22 -> {{waiting, lacking}, World0};
        Roll < 25 -> {{not_sent, away}, World0};
        %% Accepted, and nobody hears of it.
        Roll < 30, not IsVoid -> {{transient, interrupted}, Stored};
        Roll < 40; IsVoid -> {{accepted, seq(forward, N)}, World#{is_void := true}};
        true -> {{accepted, seq(forward, N)}, Stored}
    end;
attempt(Kind, N, Time, Roll, #{events := Events, begun := Begun} = World0) ->
    %% `first' means that it was never sent, or found absent since.
    _ = [?assertNot(lists:member({Kind, N}, Begun)) || Time =:= first],
    World = World0#{begun := [{Kind, N} | Begun]},
    case lists:member({Kind, N}, Events) of
        %% The node cannot be reached: what was sent before may be there.
        _ when Roll >= 70, Roll < 80 -> {{not_sent, away}, World0};
        %% Nothing was sent, and what had been is not in the log: it was looked for.
        false when Roll >= 60, Roll < 70 ->
            {{waiting, lacking}, World0#{begun := [Of || Of <- Begun, Of =/= {Kind, N}]}};
        true when Roll < 20 -> {{transient, timeout}, World};
        true -> {{applied, seq(Kind, N)}, World};
        false when Roll < 15 -> {{transient, overloaded}, World};
        %% Stored, but nobody hears of it.
        false when Roll < 30 -> {{transient, interrupted}, World#{events := Events ++ [{Kind, N}]}};
        false when Roll < 40, Kind =:= forward -> {{refused, no}, World};
        false when Roll < 33 -> {{refused, no}, World};
        false -> {{applied, seq(Kind, N)}, World#{events := Events ++ [{Kind, N}]}}
    end.

seq(forward, N) -> 2 * N + 1;
seq(reverse, N) -> 2 * N + 2.

%% -------------------------------------------------------------------- What has to hold

is_right(#{ended := Ended, events := Events, plan := #{steps := Steps, groups := Groups}} = World) ->
    Forward = [N || {forward, N} <- Events],
    Reverse = [N || {reverse, N} <- Events],
    All = [N || #{n := N} <- Steps],
    length(Events) =:= length(lists:usort(Events))
        andalso in_order(Forward, Groups)
        andalso in_order(Reverse, lists:reverse(Groups))
        andalso Reverse -- Forward =:= []
        andalso case Ended of
            committed -> lists:sort(Forward) =:= All andalso Reverse =:= [];
            compensated -> lists:sort(Forward) =:= lists:sort(Reverse);
            stuck -> lists:sort(Forward) =/= lists:sort(Reverse);
            never -> false
        end
        andalso tells_the_truth(World, Forward, Reverse).

%% Steps of a later group come after those of an earlier one.
in_order(Ns, Groups) ->
    Ranks = [rank(N, Groups, 0) || N <- Ns],
    Ranks =:= lists:sort(Ranks).

rank(N, [Group | Groups], Rank) ->
    case lists:member(N, Group) of
        true -> Rank;
        false -> rank(N, Groups, Rank + 1)
    end.

tells_the_truth(#{core := Core} = World, Forward, Reverse) ->
    {_, #{steps := Steps} = Map} = Result = warp_saga_core:result(Core),
    Told = fun(Statuses) -> [N || #{step := N, status := Status} <- Steps, lists:member(Status, Statuses)] end,
    lists:sort(Forward) =:= Told([applied, reversed, not_reversed])
        andalso lists:sort(Reverse) =:= Told([reversed])
        %% What a start lacks is nobody's refusal.
        andalso [] =:= [Why || #{reason := lacking} = Why <- Steps ++ maps:values(Map)]
        %% As it will be told after a restart.
        andalso Result =:= warp_saga_core:result(replayed(World)).

replayed(#{plan := Plan, log := Log}) ->
    lists:foldl(fun warp_saga_core:replay/2, warp_saga_core:new(Plan), Log).
