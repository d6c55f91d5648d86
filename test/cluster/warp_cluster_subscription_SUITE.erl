%% Subscriptions to the events of shards on other nodes, and names that other nodes keep.
-module(warp_cluster_subscription_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_name_is_used_from_every_node/1, names_move_with_their_shards/1, slots_are_spread_over_nodes/1,
         a_name_is_told_of_an_erasure_once/1, an_erasure_reaches_a_name_that_has_moved/1,
         a_name_waits_for_the_node_that_keeps_it/1, what_waits_is_seen_from_every_node/1,
         a_policy_of_all_nodes_acts_once/1]).
%% Inside a VM
-export([policy/0, failing/0]).
-export([events_of_another_node_come_once_and_in_order/1, a_subscription_goes_on_when_the_node_is_back/1,
         entities_of_another_node_are_followed_and_waited_for/1, a_node_that_does_not_answer_holds_up_no_other/1,
         who_sleeps_at_a_node_without_the_shard_looks_again/1]).

-import(warp_cluster_vm, [vms/1, settled/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [events_of_another_node_come_once_and_in_order, a_subscription_goes_on_when_the_node_is_back,
     entities_of_another_node_are_followed_and_waited_for, a_node_that_does_not_answer_holds_up_no_other,
     who_sleeps_at_a_node_without_the_shard_looks_again,
     a_name_is_used_from_every_node, names_move_with_their_shards, slots_are_spread_over_nodes,
     a_name_is_told_of_an_erasure_once, an_erasure_reaches_a_name_that_has_moved,
     a_name_waits_for_the_node_that_keeps_it, what_waits_is_seen_from_every_node, a_policy_of_all_nodes_acts_once].

init_per_testcase(Case, Config) ->
    With = warp_cluster_vm:init_case([a, b], Config),
    Opts =
        case Case of
            a_policy_of_all_nodes_acts_once -> #{subscribers => [policy()]};
            _ -> #{}
        end,
    ok = warp_cluster_vm:open_all(vms(With), Opts),
    With.

end_per_testcase(_Case, Config) -> warp_cluster_vm:end_case(Config).

%% ------------------------------------------------------------------ Without a name

events_of_another_node_come_once_and_in_order(Config) ->
    [A, B] = vms(Config),
    ok = fill(A, 1, 200),
    ok = warp_cluster_follower:start(B, all, #{from => beginning, credit => 100}),
    ok = fill(A, 201, 400),
    ok = fill(B, 401, 500),
    ok = warp_cluster_follower:await(B, all, 500),
    ?assertEqual(#{}, warp_cluster_follower:wrong(B, all)),
    %% A cursor is valid on every node.
    {ok, Cursor} = warp_cluster_follower:cursor(B, all),
    ok = fill(B, 501, 510),
    ok = warp_cluster_follower:start(A, later, #{from => {cursor, Cursor}}),
    ok = warp_cluster_follower:await(A, later, 10),
    %% Without subscriptions nobody reads, once all have been woken a last time.
    ok = settled(A),
    ok = warp_cluster_follower:stop(B, all),
    ok = fill(A, 511, 600),
    %% What was begun before may still be under way.
    ok = warp_test:wait_until(fun() ->
        Now = work(B),
        timer:sleep(300),
        Now =:= work(B)
    end, 20000),
    Before = work(B),
    ok = fill(A, 601, 700),
    ?assertEqual(Before, work(B)).

%% How much the processes that read the ends of the logs have worked.
work(Vm) ->
    warp_cluster_vm:run(Vm, fun() ->
        {ok, Context} = warp_context:of_handle(warp_cluster_vm:ctx()),
        Live = [Pid || N <- lists:seq(0, 7), {ok, Pid} <- [warp_context:registered(Context, {live, N})]],
        [process_info(Pid, reductions) || Pid <- Live]
    end).

a_subscription_goes_on_when_the_node_is_back(Config) ->
    [A, B] = vms(Config),
    ok = warp_cluster_follower:start(B, all, #{from => now}),
    ok = fill(A, 1, 100),
    ok = warp_cluster_follower:await(B, all, 100),
    ok = warp_cluster_vm:kill(A),
    Away = {node_unavailable, warp_cluster_vm:node_of(A)},
    ok = await_state(B, {stalled, Away}),
    %% A cursor needs no node to begin with.
    {ok, Cursor} = warp_cluster_follower:cursor(B, all),
    ok = warp_cluster_follower:start(B, later, #{from => {cursor, Cursor}}),
    ?assertEqual({error, Away}, warp_cluster_follower:start(B, never, #{from => now})),
    Again = warp_cluster_vm:start(a, proplists:get_value(dir, Config)),
    ok = warp_cluster_vm:open(Again, [Again], #{}),
    ok = fill(Again, 101, 200),
    ok = warp_cluster_follower:await(B, all, 200),
    ok = warp_cluster_follower:await(B, later, 100),
    ok = await_state(B, {live, none}),
    ?assertEqual(#{}, warp_cluster_follower:wrong(B, all)),
    ok = warp_cluster_vm:kill(Again).

entities_of_another_node_are_followed_and_waited_for(Config) ->
    [A, B] = vms(Config),
    ok = warp_cluster_follower:start(B, {entity, <<"alice">>}, #{from => beginning}),
    Waits = warp_cluster_vm:run(B, fun() ->
        Alice = warp_cluster_vm:entity(<<"alice">>),
        spawn(fun() -> persistent_term:put(waited, warp_core:wait(Alice, 3, 20000)) end)
    end),
    ?assert(is_pid(Waits)),
    ok = warp_cluster_vm:run(A, fun() ->
        Alice = warp_cluster_vm:entity(<<"alice">>),
        [{ok, N} = warp_core:append(Alice, warp_test:credited(N)) || N <- [1, 2, 3]],
        ok
    end),
    ok = warp_cluster_follower:await(B, {entity, <<"alice">>}, 3),
    ok = warp_test:wait_until(fun() ->
        warp_cluster_vm:run(B, fun() -> persistent_term:get(waited, none) end) =:= {ok, 3}
    end),
    ?assertEqual({error, timeout},
                 warp_cluster_vm:run(B, fun() -> warp_core:wait(warp_cluster_vm:entity(<<"alice">>), 4, 100) end)).

%% As while the shard is handed over: the node may get it, or keep it, and nobody would wake the follower.
who_sleeps_at_a_node_without_the_shard_looks_again(Config) ->
    [A, _] = vms(Config),
    ok = settled(A),
    Woken = on(A, fun(Ctx) ->
        {ok, Context} = warp_context:of_handle(Ctx),
        [N | _] = lists:seq(0, 7) -- warp_context_owners:here(Context),
        {ok, Server} = warp_context:registered(Context, {cluster_server, N}),
        Server ! {warp_sleep, N, self()},
        receive {warp_log_grew, N} -> true after 5000 -> false end
    end),
    ?assert(Woken).

%% The process of a subscription answers while it waits for a log.
a_node_that_does_not_answer_holds_up_no_other(Config) ->
    [A, B] = vms(Config),
    ok = fill(A, 1, 50),
    ok = warp_cluster_vm:freeze(A),
    ok = warp_cluster_follower:start(B, all, #{from => beginning}),
    {Micros, {ok, _}} = timer:tc(fun() -> warp_cluster_follower:cursor(B, all) end),
    ?assert(Micros < 1000000),
    {Waited, [_]} = timer:tc(fun() -> subscriptions(B) end),
    ?assert(Waited < 3000000),
    ok = await_state(B, {stalled, {node_unavailable, warp_cluster_vm:node_of(A)}}),
    ok = warp_cluster_vm:thaw(A),
    ok = warp_cluster_follower:await(B, all, 50).

%% ------------------------------------------------------------------ With a name

a_name_is_used_from_every_node(Config) ->
    [A, B] = vms(Config),
    ok = settled(A),
    ok = fill(A, 1, 100),
    [OfA, OfB] = [kept_by(Vm) || Vm <- [A, B]],
    lists:foreach(
        fun({Name, Vm, Other}) ->
            Options = #{name => Name, from => beginning},
            ok = warp_cluster_follower:start(Vm, {first, Name}, Options),
            ok = warp_cluster_follower:start(Other, {second, Name}, Options),
            ok = warp_cluster_follower:await(Vm, {first, Name}, 100),
            ?assertEqual(#{}, warp_cluster_follower:wrong(Vm, {first, Name})),
            {ok, Cursor} = warp_cluster_follower:cursor(Vm, {first, Name}),
            ?assertEqual({ok, Cursor}, warp_cluster_follower:cursor(Other, {second, Name})),
            [begin
                 ?assertEqual({ok, []}, on(Any, fun(Ctx) -> warp_subscription:parked(Ctx, Name) end)),
                 ?assertMatch({error, {in_use, _}}, on(Any, fun(Ctx) -> warp_subscription:forget(Ctx, Name) end)),
                 ?assertEqual({error, not_waiting},
                              on(Any, fun(Ctx) -> warp_subscription:retry(Ctx, Name, <<"1">>) end)),
                 Two = #{name => Name, consumers => 2},
                 ?assertMatch({error, {others_say, 1}},
                              on(Any, fun(Ctx) -> warp_subscription:subscribe(Ctx, Two) end)),
                 ?assertEqual(ok, on(Any, fun(Ctx) -> warp_test_context:await_subscribers(Ctx, 5000) end))
             end || Any <- [A, B]],
            %% The other one takes over, and gets nothing again.
            ok = warp_cluster_follower:stop(Vm, {first, Name}),
            ok = fill(Vm, 101, 120),
            ok = warp_cluster_follower:await(Other, {second, Name}, 20),
            ?assertEqual(20, length(warp_cluster_follower:got(Other, {second, Name}))),
            ok = warp_cluster_follower:stop(Other, {second, Name}),
            ?assertEqual(ok, on(Vm, fun(Ctx) -> warp_subscription:forget(Ctx, Name) end)),
            ?assertEqual({error, unknown_subscription}, on(Other, fun(Ctx) -> warp_subscription:parked(Ctx, Name) end))
        end,
        [{OfA, B, A}]),
    ok = warp_cluster_follower:start(A, {first, OfB}, #{name => OfB, from => beginning}),
    ok = warp_cluster_follower:await(A, {first, OfB}, 120).

names_move_with_their_shards(Config) ->
    [A, B] = vms(Config),
    Names = [<<"name ", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 12)],
    ok = warp_cluster_vm:run(B, fun() -> warp_cluster:pause(warp_cluster_vm:ctx()) end),
    [ok = warp_cluster_follower:start(Vm, Name, #{name => Name, from => beginning, credit => 20})
     || {Vm, Name} <- lists:zip(lists:flatten(lists:duplicate(6, [A, B])), Names)],
    [ok = warp_cluster_follower:start(Vm, all, #{from => beginning}) || Vm <- [A, B]],
    ok = fill(A, 1, 100),
    ok = settled(A),
    ok = fill(B, 101, 200),
    %% Everything goes to B, and its consumers on A go on.
    ok = on(A, fun(Ctx) -> warp_cluster:leave(Ctx, #{timeout => 60000}) end),
    ok = fill(B, 201, 300),
    Missing = fun() ->
        [{Name, length(Got)} || {Vm, Name} <- lists:zip(lists:flatten(lists:duplicate(6, [A, B])), Names),
                                Got <- [lists:usort(warp_cluster_follower:got(Vm, Name))], length(Got) < 300]
    end,
    ok = until_equal([], Missing),
    %% Without a name nothing comes again.
    [ok = warp_cluster_follower:await(Vm, all, 300) || Vm <- [A, B]],
    [?assertEqual({300, #{}}, {length(warp_cluster_follower:got(Vm, all)), warp_cluster_follower:wrong(Vm, all)})
     || Vm <- [A, B]],
    %% What came again came in order.
    [?assertEqual(#{}, warp_cluster_follower:skipped(Vm, Name))
     || {Vm, Name} <- lists:zip(lists:flatten(lists:duplicate(6, [A, B])), Names)],
    ?assertEqual(ok, on(B, fun(Ctx) -> warp_test_context:await_subscribers(Ctx, 10000) end)),
    ?assertEqual([], [Name || #{state := no_consumer, name := Name} <- subscriptions(B)]),
    ?assertEqual([], warp_test:files_with(warp_cluster_vm:dir_of(A), <<"name 1">>)).

slots_are_spread_over_nodes(Config) ->
    [A, B] = vms(Config),
    ok = settled(A),
    Name = kept_by(A),
    Options = #{name => Name, from => now, consumers => 4},
    [ok = warp_cluster_follower:start(A, {a, N}, Options) || N <- [1, 2, 3, 4]],
    [ok = warp_cluster_follower:start(B, {b, N}, Options) || N <- [1, 2, 3, 4]],
    Active = fun(Vm) -> [{State, Why} || #{state := State, why := Why} <- subscriptions(Vm), State =/= standby] end,
    Two = [{live, none}, {live, none}],
    ok = until_equal([Two, Two], fun() -> [Active(Vm) || Vm <- [A, B]] end),
    ok = fill(B, 1, 50),
    ok = until_equal(50, fun() ->
        lists:sum([length(warp_cluster_follower:got(Vm, {Is, N})) || {Is, Vm} <- [{a, A}, {b, B}], N <- [1, 2, 3, 4]])
    end),
    %% A node that is lost has no slots.
    ok = warp_cluster_vm:freeze(B),
    ok = until_equal(4, fun() ->
        length([x || #{name := Of, state := State} <- subscriptions(A), Of =:= Name, State =/= standby])
    end),
    ok = warp_cluster_vm:thaw(B),
    ok = until_equal([Two, Two], fun() -> [Active(Vm) || Vm <- [A, B]] end).

%% Each node takes its step of a deletion. Which one is first says nothing.
a_name_is_told_of_an_erasure_once(Config) ->
    [A, B] = vms(Config),
    ok = settled(A),
    Name = kept_by(A),
    ok = warp_cluster_follower:start(B, Name, #{name => Name, from => beginning}),
    ok = fill(A, 1, 22),
    ok = warp_cluster_follower:await(B, Name, 22),
    Taken = fun(Entity) ->
        ok = until_equal([Entity], fun() -> erased(B, Name, Entity) end),
        {ok, _} = warp_cluster_follower:cursor(B, Name)
    end,
    ok = step(A, <<"1">>, 1),
    ok = step(B, <<"1">>, 1),
    {ok, _} = Taken(<<"1">>),
    ok = step(B, <<"2">>, 2),
    {ok, _} = Taken(<<"2">>),
    ok = step(A, <<"2">>, 2),
    ok = warp_cluster_follower:stop(B, Name),
    %% What was taken is not told again; what nobody was there for is.
    ok = step(A, <<"3">>, 3),
    ok = step(B, <<"3">>, 3),
    ok = warp_cluster_follower:start(B, later, #{name => Name}),
    ok = until_equal([<<"3">>], fun() -> [Entity || {erased, Entity, _} <- warp_cluster_follower:got(B, later)] end).

an_erasure_reaches_a_name_that_has_moved(Config) ->
    [A, B] = vms(Config),
    ok = settled(A),
    Name = kept_by(A),
    ok = warp_cluster_follower:start(B, Name, #{name => Name, from => beginning}),
    ok = warp_cluster_follower:stop(B, Name),
    %% B has taken its step, and A has not, when the name leaves A.
    ok = warp_cluster_vm:run(A, fun() -> warp_erasure_holds:hold_for_another(context(), <<"1">>, 1) end),
    ok = step(B, <<"1">>, 1),
    ok = on(A, fun(Ctx) -> warp_cluster:leave(Ctx, #{timeout => 60000}) end),
    ok = step(A, <<"1">>, 1),
    ok = warp_cluster_follower:start(B, later, #{name => Name}),
    ok = until_equal([<<"1">>], fun() -> [Entity || {erased, Entity, _} <- warp_cluster_follower:got(B, later)] end).

a_name_waits_for_the_node_that_keeps_it(Config) ->
    [A, B] = vms(Config),
    ok = settled(A),
    Name = kept_by(A),
    ok = warp_cluster_follower:start(B, Name, #{name => Name, from => beginning}),
    ok = fill(B, 1, 50),
    ok = warp_cluster_follower:await(B, Name, 50),
    Away = {node_unavailable, warp_cluster_vm:node_of(A)},
    ok = warp_cluster_vm:kill(A),
    ok = await_state(B, {stalled, Away}),
    ?assertEqual({error, Away}, on(B, fun(Ctx) -> warp_subscription:parked(Ctx, Name) end)),
    Again = warp_cluster_vm:start(a, proplists:get_value(dir, Config)),
    ok = warp_cluster_vm:open(Again, [Again], #{}),
    ok = fill(B, 51, 100),
    ok = until_equal(100, fun() -> length(lists:usort(warp_cluster_follower:got(B, Name))) end),
    ?assertEqual(#{}, warp_cluster_follower:skipped(B, Name)),
    ok = await_state(B, {live, none}),
    ok = warp_cluster_vm:kill(Again).

%% ------------------------------------------------------------------ Subscribers

what_waits_is_seen_from_every_node(Config) ->
    [A, B] = vms(Config),
    ok = settled(A),
    Name = kept_by(A),
    {ok, _} = warp_cluster_vm:run(B, fun() ->
        persistent_term:put(fails, true),
        Subscriber = warp_test_subscriber:new(Name, ?MODULE:failing(), #{tries => 2}),
        Self = self(),
        spawn(fun() ->
            Self ! {self(), warp_subscriber:start_link(warp_cluster_vm:ctx(), Subscriber)},
            receive stop -> ok end
        end),
        receive {_, Started} -> Started end
    end),
    ok = fill(A, 1, 33),
    Parked = fun(Vm) ->
        {ok, All} = on(Vm, fun(Ctx) -> warp_subscription:parked(Ctx, Name) end),
        [{Entity, Seq, State} || #{entity := Entity, seq := Seq, state := State} <- All]
    end,
    ok = until_equal([[{<<"5">>, 1, parked}], [{<<"5">>, 1, parked}]], fun() -> [Parked(Vm) || Vm <- [A, B]] end),
    ok = until_equal([1], fun() -> [Count || #{name := Of, parked := Count} <- subscriptions(B), Of =:= Name] end),
    %% What waits goes with the name, and its subscriber is told by the next node.
    ok = on(A, fun(Ctx) -> warp_cluster:leave(Ctx, #{timeout => 60000}) end),
    ok = until_equal([{<<"5">>, 1, parked}], fun() -> Parked(A) end),
    ok = warp_cluster_vm:run(B, fun() -> persistent_term:put(fails, false) end),
    ok = on(A, fun(Ctx) -> warp_subscription:retry(Ctx, Name, <<"5">>) end),
    ok = until_equal([], fun() -> Parked(A) end),
    ok = on(A, fun(Ctx) -> warp_test_context:await_subscribers(Ctx, 5000) end),
    Handled = warp_cluster_vm:run(B, fun() -> persistent_term:get(handled) end),
    ?assertEqual([1, 2, 3], lists:usort([Seq || {<<"5">>, Seq} <- Handled])),
    ?assertEqual(33, length(lists:usort(Handled))).

failing() ->
    #{event => fun(#{entity := Entity, seq := Seq}) ->
        case Entity =:= <<"5">> andalso persistent_term:get(fails) of
            true -> {error, not_now};
            false -> persistent_term:put(handled, [{Entity, Seq} | persistent_term:get(handled, [])])
        end
    end}.

policy() ->
    warp_subscription:policy(<<"points">>, #{from => beginning, consumers => 3},
                             fun(#{entity := <<"points/", _/binary>>}) -> [];
                                (#{entity := Id, payload := #{<<"amount">> := N}}) ->
                                     [{append, <<"points/", Id/binary>>, warp_test:credited(N)}]
                             end).

a_policy_of_all_nodes_acts_once(Config) ->
    [A, B] = vms(Config),
    ok = fill(A, 1, 150),
    ok = settled(A),
    ok = fill(B, 151, 300),
    ok = warp_cluster_vm:kill(A),
    Again = warp_cluster_vm:start(a, proplists:get_value(dir, Config)),
    ok = warp_cluster_vm:open(Again, [Again], #{subscribers => [policy()]}),
    ok = fill(Again, 301, 400),
    ok = on(Again, fun(Ctx) -> warp_cluster:leave(Ctx, #{timeout => 60000}) end),
    ?assertEqual(ok, on(B, fun(Ctx) -> warp_test_context:await_subscribers(Ctx, 20000) end)),
    ?assertEqual(ok, on(Again, fun(Ctx) -> warp_test_context:await_subscribers(Ctx, 5000) end)),
    Points = on(B, fun(Ctx) ->
        Of = fun(I) -> warp_core:entity(Ctx, <<"points/", (integer_to_binary(I))/binary>>) end,
        [N || I <- lists:seq(0, 10),
              #{payload := #{<<"amount">> := N}} <- element(2, {ok, _} = warp_core:history(Of(I)))]
    end),
    ?assertEqual(lists:seq(1, 400), lists:sort(Points)),
    ok = warp_cluster_vm:kill(Again).

%% ------------------------------------------------------------------

%% A name that a node keeps.
kept_by(Vm) ->
    warp_cluster_vm:run(Vm, fun() ->
        hd([Name || N <- lists:seq(1, 100), Name <- [<<"mail ", (integer_to_binary(N))/binary>>],
                    warp_cluster:owner(warp_cluster_vm:entity(Name)) =:= {ok, node()}])
    end).

on(Vm, Fun) -> warp_cluster_vm:run(Vm, fun() -> Fun(warp_cluster_vm:ctx()) end).

context() ->
    {ok, Context} = warp_context:of_handle(warp_cluster_vm:ctx()),
    Context.

step(Vm, Entity, Life) ->
    warp_cluster_vm:run(Vm, fun() ->
        Context = context(),
        {ok, N} = warp_context:shard_of(Context, Entity),
        Deletion = #{entity => Entity, shard => N, incarnation => Life},
        warp_subscription_component:erase(<<"subscriptions">>, Context, Deletion)
    end).

erased(Vm, Of, Entity) -> [Entity || {erased, Is, _} <- warp_cluster_follower:got(Vm, Of), Is =:= Entity].

subscriptions(Vm) ->
    #{subscriptions := Subs} = on(Vm, fun warp_core:stats/1),
    Subs.

until_equal(Expected, Fun) ->
    try
        warp_test:wait_until(fun() -> Fun() =:= Expected end)
    catch
        _:_ -> ?assertEqual(Expected, Fun())
    end,
    ok.

%% Appends these numbers, in order, to eleven entities.
fill(Vm, From, To) ->
    warp_cluster_vm:run(Vm, fun() ->
        lists:foreach(
            fun(N) ->
                Id = integer_to_binary(N rem 11),
                {ok, _} = append(warp_cluster_vm:entity(Id), N)
            end,
            lists:seq(From, To))
    end).

append(Entity, N) ->
    case warp_core:append(Entity, (warp_test:credited(N))#{id => integer_to_binary(N)}) of
        {error, {Why, _}} when Why =:= node_unavailable; Why =:= unknown_outcome ->
            timer:sleep(50),
            append(Entity, N);
        Answer ->
            Answer
    end.

await_state(Vm, Is) ->
    warp_test:wait_until(fun() ->
        lists:all(fun(#{state := State, why := Why}) -> {State, Why} =:= Is end, subscriptions(Vm))
    end).
