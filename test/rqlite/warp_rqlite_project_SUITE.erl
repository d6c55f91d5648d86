%% Projections on a real rqlite, with everything between: log, projectors, writer, HTTP. After
%% whatever happened, the read model is the fold of the log.
-module(warp_rqlite_project_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([one_node/1, the_node_is_killed/1, the_vm_is_killed/1, answers_get_lost/1,
         a_cluster_loses_nodes/1, all_nodes_are_away/1, rqlite_comes_later/1, rebuilt_while_killed/1,
         the_database_is_lost/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

%% The machine may stall for long; nothing here waits that long when all is well.
-define(PATIENCE_MS, 180000).

suite() -> [{timetrap, {minutes, 30}}].

all() ->
    [one_node, the_node_is_killed, the_vm_is_killed, answers_get_lost, a_cluster_loses_nodes,
     all_nodes_are_away, rqlite_comes_later, rebuilt_while_killed, the_database_is_lost].

init_per_suite(Config) -> warp_rqlite_server:require(Config).

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) ->
    [{servers, ets:new(servers, [public])} | warp_test:init_case(Config)].

end_per_testcase(_Case, Config) ->
    warp_test:stop_all(),
    [warp_rqlite_server:kill(Server) || {Server} <- ets:tab2list(?config(servers, Config))],
    warp_test:end_case(Config).

rounds(Default) ->
    case os:getenv("WARP_LONG") of
        false -> Default;
        _ -> 20
    end.

one_node(Config) ->
    Ctx = start(Config, [one(Config)]),
    warp_read_model:load(Ctx, 1, 2000),
    same(Ctx),
    ok = warp_core:delete(warp_core:entity(Ctx, warp_read_model:entity(1))),
    same(Ctx),
    same(warp_test:restart(Ctx)).

the_node_is_killed(Config) ->
    Node = one(Config),
    Ctx = start(Config, [Node]),
    lists:foreach(fun(Round) ->
        {Load, Ref} = loading(Ctx, Round),
        timer:sleep(rand:uniform(1500)),
        warp_rqlite_server:kill(Node),
        timer:sleep(rand:uniform(500)),
        warp_rqlite_server:restart(Node),
        loaded(Load, Ref),
        same(Ctx)
    end, lists:seq(1, rounds(6))).

the_vm_is_killed(Config) ->
    Node = one(Config),
    Opts = opts(Config, [Node]),
    lists:foreach(fun(Round) ->
        Vm = warp_load_vm:start(warp_rqlite_load, maps:remove(aggregates, Opts#{from => Round * 1000000})),
        timer:sleep(rand:uniform(2500)),
        warp_load_vm:kill(Vm),
        Ctx = warp_test:start(Opts),
        same(Ctx),
        warp_test:stop(Ctx)
    end, lists:seq(1, rounds(6))),
    [[Turns]] = warp_rqlite_server:sql(Node, "SELECT sum(events) FROM _warp_checkpoints"),
    ?assert(Turns > 100).

%% Any write may have been carried out although its answer was lost.
answers_get_lost(Config) ->
    Proxy = warp_rqlite_proxy:start(one(Config)),
    Ctx = warp_test:start((opts(Config, []))#{
        projections => {rqlite, #{nodes => [warp_rqlite_proxy:url(Proxy)], timeout => 1000}}}),
    warp_read_model:append(Ctx, warp_read_model:entity(1), 1),
    same(Ctx),
    lists:foreach(fun(Round) ->
        {Load, Ref} = loading(Ctx, Round),
        [begin
             timer:sleep(rand:uniform(200)),
             warp_rqlite_proxy:mode(Proxy, Mode),
             timer:sleep(100 + rand:uniform(200)),
             warp_rqlite_proxy:mode(Proxy, pass)
         end || Mode <- [cut_answer, cut_request, cut_answer, swallow, cut_answer]],
        loaded(Load, Ref),
        same(Ctx)
    end, lists:seq(1, rounds(2))),
    ?assert(warp_rqlite_proxy:lost(Proxy) > 0),
    warp_test:stop(Ctx),
    warp_rqlite_proxy:stop(Proxy).

a_cluster_loses_nodes(Config) ->
    Nodes = warp_rqlite_server:start_cluster(filename:join(?config(dir, Config), "cluster"), 3),
    [ets:insert(?config(servers, Config), {Node}) || Node <- Nodes],
    Ctx = start(Config, Nodes),
    warp_read_model:load(Ctx, 1, 100),
    same(Ctx),
    Steps = [fun leader_killed/2, fun leader_paused/2, fun follower_killed/2, fun leader_stopped/2],
    lists:foreach(fun(Round) ->
        {Load, Ref} = loading(Ctx, Round),
        timer:sleep(rand:uniform(500)),
        (lists:nth(1 + Round rem length(Steps), Steps))(Nodes, Ctx),
        loaded(Load, Ref),
        same(Ctx)
    end, lists:seq(0, rounds(4) - 1)),
    %% What the nodes have is the same: a restarted one has caught up, or is asked until it has.
    [warp_test:wait_until(fun() -> count(Node) =:= count(hd(Nodes)) end, ?PATIENCE_MS) || Node <- Nodes].

count(Node) ->
    warp_rqlite_server:sql(Node, "SELECT count(*), sum(weight) FROM moves").

%% A query meets the election, and is answered all the same.
leader_killed(Nodes, Ctx) ->
    Leader = warp_rqlite_server:await_leader(Nodes),
    warp_rqlite_server:kill(Leader),
    ?assertMatch({ok, #{rows := [[_]]}},
                 warp_core:query(Ctx, <<"SELECT count(*) FROM moves">>, [], #{timeout => ?PATIENCE_MS})),
    warp_rqlite_server:restart(Leader).

%% Steps down, and lets the others elect another one.
leader_stopped(Nodes, _Ctx) ->
    Leader = warp_rqlite_server:await_leader(Nodes),
    warp_rqlite_server:stop(Leader),
    _ = warp_rqlite_server:await_leader(Nodes),
    warp_rqlite_server:restart(Leader).

%% The others take it for dead, and it thinks for a moment that it still leads.
leader_paused(Nodes, _Ctx) ->
    Leader = warp_rqlite_server:await_leader(Nodes),
    warp_rqlite_server:pause(Leader),
    try warp_rqlite_server:await_leader(Nodes -- [Leader])
    after warp_rqlite_server:resume(Leader)
    end.

follower_killed(Nodes, _Ctx) ->
    Leader = warp_rqlite_server:await_leader(Nodes),
    Follower = hd(Nodes -- [Leader]),
    warp_rqlite_server:kill(Follower),
    timer:sleep(rand:uniform(500)),
    warp_rqlite_server:restart(Follower).

%% Entities are written to as before, and the status shows how far the projection is behind.
all_nodes_are_away(Config) ->
    Nodes = warp_rqlite_server:start_cluster(filename:join(?config(dir, Config), "cluster"), 3),
    [ets:insert(?config(servers, Config), {Node}) || Node <- Nodes],
    Ctx = start(Config, Nodes),
    warp_read_model:load(Ctx, 1, 100),
    same(Ctx),
    [warp_rqlite_server:kill(Node) || Node <- Nodes],
    Began = erlang:monotonic_time(millisecond),
    warp_read_model:load(Ctx, 101, 1000),
    warp_test:wait_until(fun() ->
        {ok, #{state := State}} = warp_projection:status(Ctx),
        is_tuple(State) andalso element(1, State) =:= away
    end, ?PATIENCE_MS),
    {ok, #{behind_positions := Behind, behind_seconds := Seconds}} = warp_projection:status(Ctx),
    ?assert(Behind > 100),
    ?assert(Seconds > 0),
    ?assertMatch(#{projections := #{behind_positions := _}}, warp_core:stats(Ctx)),
    ?assertMatch({error, {target_away, _}}, warp_core:query(Ctx, <<"SELECT 1">>, [], #{timeout => 300})),
    ?assertEqual({error, timeout},
                 warp_core:await_projection(warp_core:entity(Ctx, warp_read_model:entity(2)), 100)),
    Away = case os:getenv("WARP_LONG") of false -> 3000; _ -> 60000 end,
    timer:sleep(max(0, Away - (erlang:monotonic_time(millisecond) - Began))),
    warp_read_model:load(Ctx, 1001, 1100),
    _ = warp_test:parallel([fun() -> warp_rqlite_server:restart(Node) end || Node <- Nodes]),
    same(Ctx),
    {ok, #{state := up}} = warp_projection:status(Ctx).

rqlite_comes_later(Config) ->
    Node = one(Config),
    warp_rqlite_server:kill(Node),
    Ctx = start(Config, [Node]),
    warp_read_model:load(Ctx, 1, 200),
    warp_rqlite_server:restart(Node),
    same(Ctx).

rebuilt_while_killed(Config) ->
    Node = one(Config),
    Ctx = start(Config, [Node]),
    warp_read_model:load(Ctx, 1, 3000),
    same(Ctx),
    {Load, Ref} = loading(Ctx, 1),
    ok = warp_projection:rebuild(Ctx),
    timer:sleep(rand:uniform(100)),
    warp_rqlite_server:kill(Node),
    warp_rqlite_server:restart(Node),
    loaded(Load, Ref),
    %% It may be done by now.
    ?assert(lists:member(warp_projection:await_rebuild(Ctx, ?PATIENCE_MS), [ok, {error, not_running}])),
    ?assertEqual([[2]], warp_rqlite_server:sql(Node, "SELECT value FROM _warp_meta WHERE name = 'generation'")),
    same(Ctx).

%% All of it, or all but a node that was left behind: it is made again from the log.
the_database_is_lost(Config) ->
    Node = one(Config),
    Ctx = start(Config, [Node]),
    lists:foreach(fun(Round) ->
        warp_read_model:load(Ctx, 100 * Round, 100 * Round + 99),
        same(Ctx),
        warp_rqlite_server:kill(Node),
        warp_rqlite_server:wipe(Node),
        %% The first time nothing is under way, and nobody may notice that the node was unreachable.
        _ = [warp_read_model:load(Ctx, 1000, 1010) || Round =:= 2],
        warp_rqlite_server:restart(Node)
    end, [1, 2]),
    warp_read_model:load(Ctx, 2000, 2010),
    same(Ctx),
    warp_rqlite_server:kill(Node),
    warp_test:stop(Ctx),
    warp_rqlite_server:wipe(Node),
    warp_rqlite_server:restart(Node),
    same(start(Config, [Node])).

%% ---------------------------------------------------------------------------

one(Config) ->
    Node = warp_rqlite_server:start(filename:join(?config(dir, Config), "node")),
    ets:insert(?config(servers, Config), {Node}),
    Node.

start(Config, Nodes) -> warp_test:start(opts(Config, Nodes)).

opts(Config, Nodes) ->
    #{context => <<"test">>, data_dir => ?config(dir, Config), shards => 3, aggregates => [warp_read_model:aggregate()],
      projections => {rqlite, #{nodes => [warp_rqlite_server:url(Node) || Node <- Nodes]}}}.

%% Appends for about two seconds.
loading(Ctx, Round) ->
    spawn_monitor(fun() ->
        [begin
             warp_read_model:load(Ctx, Round * 10000 + N * 40, Round * 10000 + N * 40 + 39),
             timer:sleep(40)
         end || N <- lists:seq(1, 40)]
    end).

loaded(Load, Ref) ->
    receive {'DOWN', Ref, process, Load, Why} -> ?assertEqual(normal, Why) end.

same(Ctx) -> warp_read_model:assert_equal(Ctx, ?PATIENCE_MS).
