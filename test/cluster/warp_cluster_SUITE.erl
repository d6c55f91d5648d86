%% Nodes that join, and calls that concern entities of other nodes.
-module(warp_cluster_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_node_joins_by_a_seed/1, every_node_is_asked_about_every_entity/1, a_node_that_stopped_is_unavailable/1,
         calls_wait_for_a_shard_that_comes/1, what_a_lost_node_may_have_done_is_unknown/1]).

-import(warp_cluster_vm, [vms/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [a_node_joins_by_a_seed, every_node_is_asked_about_every_entity, a_node_that_stopped_is_unavailable,
     calls_wait_for_a_shard_that_comes, what_a_lost_node_may_have_done_is_unknown].

init_per_testcase(_Case, Config) -> warp_cluster_vm:init_case([a, b], Config).

end_per_testcase(_Case, Config) -> warp_cluster_vm:end_case(Config).

%% All shards stay on the first node.
open_and_stay(A, B) ->
    ok = warp_cluster_vm:open(A, [A], #{}),
    ok = warp_cluster_vm:run(A, fun() -> warp_cluster:pause(warp_cluster_vm:ctx()) end),
    warp_cluster_vm:open(B, [A], #{}).

a_node_joins_by_a_seed(Config) ->
    [A, B] = Vms = vms(Config),
    ok = warp_cluster_vm:open_all(Vms, #{}),
    [NodeA, NodeB] = [warp_cluster_vm:node_of(Vm) || Vm <- Vms],
    Members = fun() -> {ok, Of} = warp_cluster:members(warp_cluster_vm:ctx()), Of end,
    %% The one that joined before has heard of the other by then.
    [?assertMatch([#{node := NodeA, state := up, is_linked := true}, #{node := NodeB, state := up, is_linked := true}],
                  warp_cluster_vm:run(Vm, Members)) || Vm <- [A, B]].

every_node_is_asked_about_every_entity(Config) ->
    [A, B] = vms(Config),
    ok = open_and_stay(A, B),
    Alice = fun() -> warp_cluster_vm:entity(<<"alice">>) end,
    ?assertEqual(warp_cluster_vm:run(A, Alice), warp_cluster_vm:run(B, Alice)),
    Use = fun() ->
        E = Alice(),
        {ok, 1} = warp_core:append(E, warp_test:credited(5)),
        {ok, {2, 3}} = warp_core:append_batch(E, [warp_test:credited(1), warp_test:credited(2)]),
        {error, {wrong_expected_seq, 3}} = warp_core:append(E, warp_test:credited(5), #{expected => 1}),
        {error, {bad_event, 1, typ, unknown_field}} = warp_core:append(E, #{typ => <<"x">>, payload => #{}}),
        {error, {bad_option, expected, _}} = warp_core:append(E, warp_test:credited(5), #{expected => x}),
        {ok, State} = warp_core:get(E, <<"Account">>),
        {ok, State} = warp_core:state_at(E, <<"Account">>, {seq, 3}),
        {error, {unknown_aggregate, <<"Nobody">>}} = warp_core:get(E, <<"Nobody">>),
        {ok, [#{seq := 2}]} = warp_core:history(E, #{from => 2, limit => 1}),
        {ok, [_, _, _]} = warp_core:export(E),
        {ok, [4]} = warp_core:decide(E, <<"Account">>, fun(_) -> {ok, [warp_test:credited(1)]} end),
        {ok, 4} = warp_core:wait(E, 4, 5000),
        {ok, #{entities := [#{id := <<"alice">>, seq := 4}]}} = warp_core:entities(warp_cluster_vm:ctx()),
        {ok, #{events := [_, _, _, _]}} = warp_core:events(warp_cluster_vm:ctx()),
        {ok, Pid} = warp_core:pid(E),
        {ok, Events} = warp_core:export(E),
        ok = warp_core:delete(E),
        {ok, 4} = warp_core:import(E, Events),
        {ok, 4} = warp_core:import(E, Events),
        Other = [hd(Events), (hd(Events))#{seq := 2, id := <<"k">>}],
        {error, {entity_not_empty, #{differs := 2}}} = warp_core:import(E, Other),
        {ok, Events} = warp_core:export(E),
        ok = warp_core:delete(E),
        {ok, []} = warp_core:history(E),
        node(Pid)
    end,
    Node = warp_cluster_vm:node_of(A),
    ?assertEqual(Node, warp_cluster_vm:run(A, Use)),
    ?assertEqual(Node, warp_cluster_vm:run(B, Use)),
    ?assertEqual({ok, Node}, warp_cluster_vm:run(B, fun() -> warp_cluster:owner(Alice()) end)).

a_node_that_stopped_is_unavailable(Config) ->
    [A, B] = vms(Config),
    ok = open_and_stay(A, B),
    Append = fun() -> warp_core:append(warp_cluster_vm:entity(<<"alice">>), warp_test:credited(1)) end,
    ?assertEqual({ok, 1}, warp_cluster_vm:run(B, Append)),
    ok = warp_cluster_vm:close(A),
    ?assertEqual({error, {node_unavailable, warp_cluster_vm:node_of(A)}}, warp_cluster_vm:run(B, Append)),
    ok = warp_cluster_vm:open(A, [A], #{}),
    ok = warp_test:wait_until(fun() -> warp_cluster_vm:run(B, Append) =:= {ok, 2} end, 20000),
    %% Also a node that was killed comes back as what it was.
    ok = warp_cluster_vm:kill(A).

%% A call of another node is answered when the shard is served, and not when its node looks again. Where the shard is on
%% another node, or does not come, that is said.
calls_wait_for_a_shard_that_comes(Config) ->
    [A, _] = vms(Config),
    ok = warp_cluster_vm:open(A, [A], #{}),
    %% At the start tasks of the mover, which are linked to it, see to it that all shards are served.
    warp_cluster_vm:run(A, fun() ->
        {ok, _} = warp_cluster:progress(warp_cluster_vm:ctx()),
        {ok, Context} = warp_context:of_handle(warp_cluster_vm:ctx()),
        {ok, Mover} = warp_context:registered(Context, mover),
        warp_test:wait_until(fun() -> {links, Links} = process_info(Mover, links), length(Links) =:= 1 end)
    end),
    Served = fun(Before, After) ->
        Alice = warp_cluster_vm:entity(<<"alice">>),
        {ok, N} = warp_core:shard_of(Alice),
        {ok, Context} = warp_context:of_handle(warp_cluster_vm:ctx()),
        Set = fun(Where) -> ok = warp_context_owners:set(Context, N, 1, Where) end,
        ok = Set(Before),
        Self = self(),
        Pid = spawn_link(fun() ->
            Self ! {self(), warp_cluster_call:serving({warp_core, append, [Alice, warp_test:credited(1)]})}
        end),
        Early = receive {Pid, Answer} -> Answer after 100 -> waits end,
        ok = Set(After),
        Late = case Early of waits -> receive {Pid, Later} -> Later after 10000 -> none end; _ -> none end,
        ok = Set(here),
        {Early, Late}
    end,
    NotHere = {error, {not_here, warp_cluster_vm:node_of(A)}},
    Run = fun(Before, After) -> warp_cluster_vm:run(A, fun() -> Served(Before, After) end) end,
    ?assertMatch({waits, {ok, _}}, Run(frozen, here)),
    ?assertMatch({waits, {ok, _}}, Run(unknown, here)),
    ?assertEqual({waits, {error, {not_here, other}}}, Run(frozen, {at, other})),
    ?assertEqual({{error, {not_here, other}}, none}, Run({at, other}, here)),
    ?assertEqual({waits, NotHere}, Run(unknown, unknown)).

%% A deletion is asked for again when the connection is lost, and when it cannot be, the first one may go on.
what_a_lost_node_may_have_done_is_unknown(Config) ->
    [A, B] = vms(Config),
    ok = open_and_stay(A, B),
    Self = self(),
    ok = warp_cluster_vm:run(A, fun() ->
        {ok, Pid} = warp_core:pid(warp_cluster_vm:entity(<<"alice">>)),
        sys:suspend(Pid)
    end),
    Ask = fun(Safety) -> spawn_link(fun() ->
        Self ! {Safety, warp_cluster_vm:run(B, fun() ->
            {ok, Context} = warp_context:of_handle(warp_cluster_vm:ctx()),
            Entity = warp_cluster_vm:entity(<<"alice">>),
            Call = {warp_core, append, [Entity, warp_test:credited(1), #{timeout => 60000}]},
            How = {Safety, fun() -> warp_deadline:from(60000) end},
            warp_cluster_call:run(Context, warp_test:shard_of(Entity), Call, How, fun() -> here end)
        end)}
    end) end,
    _ = [Ask(Safety) || Safety <- [repeatable, idempotent]],
    timer:sleep(1000),
    ok = warp_cluster_vm:kill(A),
    Node = warp_cluster_vm:node_of(A),
    ?assertEqual({error, {node_unavailable, Node}}, receive {repeatable, Read} -> Read end),
    ?assertEqual({error, {unknown_outcome, Node}}, receive {idempotent, Changed} -> Changed end).
