%% Projections of contexts that several nodes share.
-module(warp_cluster_projection_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([each_node_has_all_events/1, shards_move_while_they_are_projected/1, what_was_stored_is_awaited_anywhere/1,
         a_node_that_is_frozen_holds_nobody_up/1, a_node_that_was_killed_is_followed_again/1,
         each_node_sets_aside_and_retries_by_itself/1, each_node_rebuilds_by_itself/1]).
-export([each_node_brings_its_shards/1, shards_move_while_an_rqlite_is_fed/1, nodes_make_tables_side_by_side/1,
         who_had_the_shard_brings_nothing_back/1, retried_and_skipped_from_any_node/1, rebuilt_by_all_nodes/1,
         a_rebuild_waits_for_all_nodes/1, a_rebuild_is_cancelled_anywhere/1]).
-define(PATIENCE_MS, 60000).

-import(warp_cluster_vm, [settled/1]).

suite() -> [{timetrap, {minutes, 4}}].

all() -> [{group, embedded}, {group, rqlite}].

groups() ->
    [{embedded, [],
      [each_node_has_all_events, shards_move_while_they_are_projected, what_was_stored_is_awaited_anywhere,
       a_node_that_is_frozen_holds_nobody_up, a_node_that_was_killed_is_followed_again,
       each_node_sets_aside_and_retries_by_itself, each_node_rebuilds_by_itself]},
     {rqlite, [],
      [each_node_brings_its_shards, shards_move_while_an_rqlite_is_fed, nodes_make_tables_side_by_side,
       who_had_the_shard_brings_nothing_back, retried_and_skipped_from_any_node, rebuilt_by_all_nodes,
       a_rebuild_waits_for_all_nodes, a_rebuild_is_cancelled_anywhere]}].

init_per_group(Group, Config) -> warp_projection_test:init_group(Group, Config).

end_per_group(_Group, Config) -> warp_projection_test:end_group(Config).

init_per_testcase(_Case, Config) ->
    ok = warp_projection_test:emptied(Config),
    warp_cluster_vm:init_case([a, b, c], Config).

end_per_testcase(_Case, Config) -> warp_cluster_vm:end_case(Config).

%% ------------------------------------------------------------------ In a file of each node

each_node_has_all_events(Config) ->
    [A, B, C] = Vms = ?config(vms, Config),
    ok = warp_cluster_vm:open_all([A, B], embedded()),
    ok = load(A, 1, 200),
    ok = warp_cluster_vm:open(C, [A], embedded()),
    ok = settled(A),
    ok = load(C, 201, 400),
    ok = each(Vms, fun same/1),
    %% Each node says how long each log is, wherever the shard is.
    Logs = fun() -> [{N, P} || #{shard := N, log_position := P} <- shards()] end,
    [First | Others] = [warp_cluster_vm:run(Vm, Logs) || Vm <- Vms],
    ?assertEqual([First, First], Others),
    ?assert(lists:sum([P || {_, P} <- First]) > 0),
    ok = each(Vms, fun caught_up/1).

%% Until the projection has everything that is in the logs.
caught_up(Vm) ->
    warp_test:wait_until(fun() ->
        #{behind_positions := Behind} = warp_cluster_vm:run(Vm, fun status/0),
        Behind =:= 0
    end).

shards_move_while_they_are_projected(Config) ->
    [A, B, C] = ?config(vms, Config),
    ok = warp_cluster_vm:open(A, [A], embedded()),
    Loading = loading(A),
    ok = warp_cluster_vm:open(B, [A], embedded()),
    ok = settled(A),
    ok = warp_cluster_vm:open(C, [A], embedded()),
    ok = settled(A),
    ok = stop_loading(A, Loading),
    ok = each([A, B, C], fun same/1),
    ok = leave(A),
    ok = load(B, 100001, 100200),
    ok = each([B, C], fun same/1).

what_was_stored_is_awaited_anywhere(Config) ->
    [A, B, C] = Vms = ?config(vms, Config),
    ok = warp_cluster_vm:open_all([A, B], embedded()),
    Loading = loading(A),
    ok = warp_cluster_vm:open(C, [A], embedded()),
    ok = linked(Vms),
    %% Also while shards move.
    ok = lists:foreach(
        fun(N) ->
            Id = <<"awaited-", (integer_to_binary(N rem 8))/binary>>,
            Writer = lists:nth(1 + N rem 2, [A, B]),
            {ok, _} = warp_cluster_vm:run(Writer, fun() ->
                warp_core:append(warp_cluster_vm:entity(Id), moved(1), #{timeout => ?PATIENCE_MS})
            end),
            ok = each([Vm || Vm <- Vms, Vm =/= Writer], fun(Vm) ->
                ?assertEqual({ok, [[1 + N div 8]]}, warp_cluster_vm:run(Vm, fun() ->
                    ok = warp_core:await_projection(warp_cluster_vm:entity(Id), ?PATIENCE_MS),
                    query("SELECT \"count\" FROM parcels WHERE id = ?1", [Id])
                end))
            end)
        end,
        lists:seq(0, 119)),
    stop_loading(A, Loading).

a_node_that_is_frozen_holds_nobody_up(Config) ->
    [A, B, _] = ?config(vms, Config),
    ok = warp_cluster_vm:open_all([A, B], embedded()),
    ok = settled(A),
    ok = load(A, 1, 100),
    ok = same(A),
    NodeB = warp_cluster_vm:node_of(B),
    Of = shards_of(A, NodeB),
    ?assertMatch([_, _, _, _], Of),
    Before = os:system_time(microsecond),
    ok = warp_cluster_vm:freeze(B),
    %% A status waits a second for it, and a projector can be asked all the time.
    ?assert(element(1, timer:tc(fun() -> warp_cluster_vm:run(A, fun status/0) end)) < 3000000),
    ok = warp_test:wait_until(fun() -> stalled_for(A, {node_unavailable, NodeB}) =:= Of end, ?PATIENCE_MS),
    ?assertEqual([], [N || #{shard := N, since := Since} <- warp_cluster_vm:run(A, fun shards/0),
                           lists:member(N, Of), Since < Before]),
    Since = [At || #{since := At} <- warp_cluster_vm:run(A, fun shards/0)],
    %% The others go on.
    ok = load_here(A, Of),
    ?assertEqual(Since, [At || #{since := At} <- warp_cluster_vm:run(A, fun shards/0)]),
    [Id | _] = ids(A, Of),
    ?assertEqual({error, {node_unavailable, NodeB}}, warp_cluster_vm:run(A, fun() ->
        warp_core:await_projection(warp_cluster_vm:entity(Id), 1000)
    end)),
    ok = warp_cluster_vm:thaw(B),
    ok = warp_test:wait_until(fun() -> stalled_for(A, {node_unavailable, NodeB}) =:= [] end, ?PATIENCE_MS),
    ok = load(A, 101, 200),
    ok = each([A, B], fun same/1).

a_node_that_was_killed_is_followed_again(Config) ->
    [A, B, _] = ?config(vms, Config),
    ok = warp_cluster_vm:open_all([A, B], embedded()),
    ok = settled(A),
    ok = load(A, 1, 100),
    ok = warp_cluster_vm:kill(B),
    NodeB = warp_cluster_vm:node_of(B),
    ok = warp_test:wait_until(fun() -> length(stalled_for(A, {node_unavailable, NodeB})) =:= 4 end, ?PATIENCE_MS),
    %% What it has not read before the kill is read when the node is back.
    Again = warp_cluster_vm:start(b, ?config(dir, Config)),
    ok = warp_cluster_vm:open(Again, [A], embedded()),
    ok = warp_test:wait_until(fun() -> stalled_for(A, {node_unavailable, NodeB}) =:= [] end, ?PATIENCE_MS),
    ok = each([A, Again], fun same/1),
    ok = load(A, 101, 200),
    ok = each([A, Again], fun same/1),
    warp_cluster_vm:kill(Again).

each_node_sets_aside_and_retries_by_itself(Config) ->
    [A, B, _] = ?config(vms, Config),
    Options = (embedded())#{aggregates => [flaky()]},
    ok = warp_cluster_vm:open_all([A, B], Options),
    {Ids, Aside, All} = set_aside([A, B]),
    %% Each node has tables of its own.
    true = warp_cluster_vm:run(A, fun() -> persistent_term:erase(?MODULE) end),
    ok = warp_cluster_vm:run(A, fun() -> warp_projection:retry(warp_cluster_vm:ctx(), all) end),
    ?assertEqual({[], All}, {warp_cluster_vm:run(A, Aside), warp_cluster_vm:run(B, Aside)}),
    Count = fun() -> query("SELECT count(*), sum(n) FROM flaky", []) end,
    ?assertEqual({ok, [[16, 48]]}, warp_cluster_vm:run(A, Count)),
    ok = warp_cluster_vm:run(B, fun() ->
        lists:foreach(fun(Id) -> ok = warp_projection:skip(warp_cluster_vm:ctx(), Id) end, Ids)
    end),
    ?assertEqual({[], {ok, [[16, 32]]}}, {warp_cluster_vm:run(B, Aside), warp_cluster_vm:run(B, Count)}).

each_node_rebuilds_by_itself(Config) ->
    [A, B, C] = ?config(vms, Config),
    ok = warp_cluster_vm:open_all([A, B], embedded()),
    ok = settled(A),
    ok = load(A, 1, 300),
    Loading = loading(A),
    %% While shards move.
    ok = warp_cluster_vm:open(C, [A], embedded()),
    ok = warp_cluster_vm:run(B, fun() -> warp_projection:rebuild(warp_cluster_vm:ctx()) end),
    ?assertEqual(ok, warp_cluster_vm:run(B, fun await_rebuild/0)),
    ok = stop_loading(A, Loading),
    ok = linked([A, B, C]),
    ok = each([A, B, C], fun same/1).

%% ------------------------------------------------------------------ In an rqlite

each_node_brings_its_shards(Config) ->
    [A, B, C] = Vms = ?config(vms, Config),
    ok = warp_cluster_vm:open_all([A, B], rqlite(Config)),
    ok = load(A, 1, 200),
    ok = warp_cluster_vm:open(C, [A], rqlite(Config)),
    ok = settled(A),
    ok = load(C, 201, 400),
    ok = each(Vms, fun same/1),
    Of = fun(Vm) -> warp_cluster_vm:run(Vm, fun() -> [N || #{shard := N} <- shards()] end) end,
    ?assertEqual([shards_of(A, warp_cluster_vm:node_of(Vm)) || Vm <- Vms], [Of(Vm) || Vm <- Vms]),
    ok = each(Vms, fun caught_up/1).

shards_move_while_an_rqlite_is_fed(Config) ->
    [A, B, C] = ?config(vms, Config),
    ok = warp_cluster_vm:open(A, [A], rqlite(Config)),
    Loading = loading(A),
    ok = warp_cluster_vm:open(B, [A], rqlite(Config)),
    ok = settled(A),
    ok = warp_cluster_vm:open(C, [A], rqlite(Config)),
    ok = settled(A),
    ok = stop_loading(A, Loading),
    ok = each([A, B, C], fun same/1),
    ok = leave(A),
    ok = load(B, 100001, 100200),
    ok = each([B, C], fun same/1),
    %% No projector is left where no shard is.
    ?assertEqual([], warp_cluster_vm:run(A, fun() ->
        {ok, Context} = warp_context:find(warp_cluster_vm:ctx()),
        lists:append([warp_projection_table:projectors_of(Context, N) || N <- lists:seq(0, 7)])
    end)),
    %% What a node has not written before it is killed it writes when it is back.
    ok = load(C, 200001, 200100),
    ok = warp_cluster_vm:kill(B),
    Back = warp_cluster_vm:start(b, ?config(dir, Config)),
    ok = warp_cluster_vm:open(Back, [C], rqlite(Config)),
    ok = each([C, Back], fun same/1),
    warp_cluster_vm:kill(Back).

%% Each node meets tables and columns, also counted ones, that another one has made a moment ago.
nodes_make_tables_side_by_side(Config) ->
    [A, B, C] = Vms = ?config(vms, Config),
    Options = (rqlite(Config))#{aggregates => [warp_projection_test:commands()]},
    ok = warp_cluster_vm:open_all(Vms, Options),
    ok = settled(A),
    Columns = [<<"c", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 12)],
    Self = self(),
    Makes = fun(Vm, Name) ->
        spawn_link(fun() -> Self ! {made, warp_cluster_vm:run(Vm, fun() -> make(Name, Columns) end)} end)
    end,
    _ = [Makes(Vm, Name) || {Vm, Name} <- [{A, <<"a">>}, {B, <<"b">>}, {C, <<"c">>}]],
    _ = [receive {made, ok} -> ok end || _ <- Vms],
    [begin
         ?assertEqual({ok, []}, warp_cluster_vm:run(Vm, fun() -> warp_projection:set_aside(warp_cluster_vm:ctx()) end)),
         %% 3 nodes with 8 entities, each of which has counted once, and has set the same column of its own row before.
         ?assertEqual({ok, [[24]]}, warp_cluster_vm:run(Vm, fun() ->
             query(["SELECT ", Column, " FROM \"table_", Column, "\" WHERE id = 'all'"], [])
         end)),
         ?assertEqual({ok, [[24, 24 * 7]]}, warp_cluster_vm:run(Vm, fun() ->
             query(["SELECT count(*), sum(", Column, ") FROM \"table_", Column, "\" WHERE id <> 'all'"], [])
         end))
     end || Column <- Columns, Vm <- Vms].

%% A batch of a node that had the shard is still on its way when the entity is deleted on the next node.
who_had_the_shard_brings_nothing_back(Config) ->
    [A, B, _] = ?config(vms, Config),
    Options = (rqlite(Config))#{aggregates => [gated()]},
    ok = warp_cluster_vm:open_all([A, B], Options),
    ok = settled(A),
    Id = warp_cluster_vm:run(A, fun() ->
        hd([Id || N <- lists:seq(1, 100), Id <- [<<"x", (integer_to_binary(N))/binary>>],
                  warp_cluster:owner(warp_cluster_vm:entity(Id)) =:= {ok, node()}])
    end),
    Put = fun() ->
        warp_core:append(warp_cluster_vm:entity(Id), #{aggregate => <<"Gated">>, type => <<"Done">>, payload => #{}})
    end,
    Await = fun() -> warp_core:await_projection(warp_cluster_vm:entity(Id), ?PATIENCE_MS) end,
    {ok, 1} = warp_cluster_vm:run(A, Put),
    ok = warp_cluster_vm:run(A, Await),
    Rows = fun() -> query("SELECT n FROM gated WHERE id = ?1", [Id]) end,
    ?assertEqual({ok, [[1]]}, warp_cluster_vm:run(B, Rows)),
    Writer = warp_cluster_vm:run(A, fun() ->
        {ok, Context} = warp_context:find(warp_cluster_vm:ctx()),
        {ok, Pid} = warp_projection_table:process(Context, writer),
        ok = sys:suspend(Pid),
        Pid
    end),
    {ok, 2} = warp_cluster_vm:run(A, Put),
    HasBatch = fun() ->
        {messages, Messages} = process_info(Writer, messages),
        [] =/= [batch || {'$gen_cast', {batch, _, _, _}} <- Messages]
    end,
    ok = warp_test:wait_until(fun() -> warp_cluster_vm:run(A, HasBatch) end),
    %% The next owner has not written of the shard when it erases.
    ok = warp_cluster_vm:run(B, fun() -> persistent_term:put(?MODULE, closed) end),
    ok = leave(A),
    ?assertEqual(ok, warp_cluster_vm:run(B, fun() -> warp_core:delete(warp_cluster_vm:entity(Id)) end)),
    ?assertEqual({ok, []}, warp_cluster_vm:run(B, Rows)),
    ok = warp_cluster_vm:run(A, fun() -> sys:resume(Writer) end),
    %% It has taken the batch by when it answers.
    ok = warp_cluster_vm:run(A, fun() -> warp_projection_writer:status(Writer) end),
    ?assertEqual({ok, []}, warp_cluster_vm:run(B, Rows)),
    true = warp_cluster_vm:run(B, fun() -> persistent_term:erase(?MODULE) end),
    {ok, 1} = warp_cluster_vm:run(B, Put),
    ok = warp_cluster_vm:run(A, Await),
    ?assertEqual({ok, [[1]]}, warp_cluster_vm:run(A, Rows)).

retried_and_skipped_from_any_node(Config) ->
    [A, B, _] = ?config(vms, Config),
    ok = warp_cluster_vm:open_all([A, B], (rqlite(Config))#{aggregates => [flaky()]}),
    {Ids, Aside, _All} = set_aside([A, B]),
    {Skipped, Retried} = lists:split(8, Ids),
    Do = fun(Vm, How, Some) ->
        warp_cluster_vm:run(Vm, fun() ->
            [warp_projection:How(warp_cluster_vm:ctx(), Id) || Id <- Some]
        end)
    end,
    ?assertEqual([{error, {set_aside, 1}} || _ <- Ids], Do(B, retry, Ids)),
    ?assertEqual([{error, {set_aside, 1}} || _ <- Ids], [
        warp_cluster_vm:run(A, fun() -> warp_core:await_projection(warp_cluster_vm:entity(Id), ?PATIENCE_MS) end)
        || Id <- Ids]),
    ?assertEqual([ok || _ <- Skipped], Do(A, skip, Skipped)),
    true = warp_cluster_vm:run(A, fun() -> persistent_term:erase(?MODULE) end),
    true = warp_cluster_vm:run(B, fun() -> persistent_term:erase(?MODULE) end),
    ?assertEqual(ok, warp_cluster_vm:run(B, fun() -> warp_projection:retry(warp_cluster_vm:ctx(), all) end)),
    ?assertEqual([{error, not_set_aside} || _ <- Retried], Do(A, retry, Retried)),
    ?assertEqual({[], {ok, [[16, 40]]}}, {warp_cluster_vm:run(A, Aside), warp_cluster_vm:run(B, fun() ->
        query("SELECT count(*), sum(n) FROM flaky", [])
    end)}).

rebuilt_by_all_nodes(Config) ->
    [A, B, C] = Vms = ?config(vms, Config),
    ok = warp_cluster_vm:open_all(Vms, rqlite(Config)),
    ok = settled(A),
    ok = load(A, 1, 300),
    Loading = loading(A),
    ok = warp_cluster_vm:run(C, fun() -> warp_projection:rebuild(warp_cluster_vm:ctx()) end),
    ?assertEqual({error, already_running},
                 warp_cluster_vm:run(B, fun() -> warp_projection:rebuild(warp_cluster_vm:ctx()) end)),
    ?assertEqual(ok, warp_cluster_vm:run(C, fun await_rebuild/0)),
    Generation = fun() ->
        warp_rqlite_server:sql(?config(server, Config), "SELECT value FROM _warp_meta WHERE name = 'generation'")
    end,
    ?assertEqual([[2]], Generation()),
    ok = stop_loading(A, Loading),
    ok = each(Vms, fun same/1),
    ok = each(Vms, fun(Vm) ->
        ?assertMatch(#{state := up, rebuild := #{state := none}}, warp_cluster_vm:run(Vm, fun status/0)),
        warp_test:wait_until(fun() ->
            [live] =:= lists:usort([Is || #{state := Is} <- warp_cluster_vm:run(Vm, fun shards/0)])
        end)
    end),
    %% The next one begins where the first one ended, and shards move.
    ok = warp_cluster_vm:run(B, fun() -> warp_projection:rebuild(warp_cluster_vm:ctx()) end),
    ok = leave(C),
    ok = warp_test:wait_until(fun() -> Generation() =:= [[3]] end, ?PATIENCE_MS),
    ok = load(A, 100001, 100100),
    ok = each([A, B], fun same/1).

%% One that is down, and one whose aggregates have another version.
a_rebuild_waits_for_all_nodes(Config) ->
    [A, B, _] = ?config(vms, Config),
    ok = warp_cluster_vm:open_all([A, B], rqlite(Config)),
    ok = settled(A),
    ok = load(A, 1, 200),
    ok = warp_cluster_vm:kill(B),
    ok = warp_cluster_vm:close(A),
    Newer = (rqlite(Config))#{aggregates => [(warp_read_model:aggregate())#{version => 2}]},
    ok = warp_cluster_vm:open(A, [A], Newer),
    ?assertMatch(#{rebuild_due := true}, warp_cluster_vm:run(A, fun status/0)),
    ok = warp_cluster_vm:run(A, fun() -> warp_projection:rebuild(warp_cluster_vm:ctx()) end),
    Waits = fun() -> warp_projection:await_rebuild(warp_cluster_vm:ctx(), 2000) end,
    ?assertEqual({error, timeout}, warp_cluster_vm:run(A, Waits)),
    Older = warp_cluster_vm:start(b, ?config(dir, Config)),
    ok = warp_cluster_vm:open(Older, [A], rqlite(Config)),
    ?assertEqual({error, timeout}, warp_cluster_vm:run(A, Waits)),
    %% Meanwhile the tables that are queried go on.
    ok = load(A, 201, 300),
    ok = each([A, Older], fun same/1),
    ok = warp_cluster_vm:close(Older),
    ok = warp_cluster_vm:open(Older, [A], Newer),
    ?assertEqual(ok, warp_cluster_vm:run(A, fun await_rebuild/0)),
    ok = each([A, Older], fun same/1),
    ?assertMatch(#{rebuild_due := false}, warp_cluster_vm:run(A, fun status/0)),
    warp_cluster_vm:kill(Older).

a_rebuild_is_cancelled_anywhere(Config) ->
    [A, B, C] = ?config(vms, Config),
    ok = warp_cluster_vm:open_all([A, B, C], rqlite(Config)),
    ok = settled(A),
    ok = load(A, 1, 100),
    %% With a node that is down it does not end.
    ok = warp_cluster_vm:kill(C),
    ok = warp_cluster_vm:run(A, fun() -> warp_projection:rebuild(warp_cluster_vm:ctx()) end),
    ok = warp_test:wait_until(fun() ->
        warp_cluster_vm:run(B, fun() -> warp_projection:cancel_rebuild(warp_cluster_vm:ctx()) end) =:= ok
    end),
    ok = warp_test:wait_until(fun() ->
        warp_cluster_vm:run(A, fun await_rebuild/0) =:= {error, cancelled}
    end),
    ?assertEqual({error, not_running},
                 warp_cluster_vm:run(A, fun() -> warp_projection:cancel_rebuild(warp_cluster_vm:ctx()) end)),
    ok = each([A, B], fun(Vm) ->
        ?assertMatch(#{rebuild := #{state := cancelled}}, warp_cluster_vm:run(Vm, fun status/0))
    end).

%% ------------------------------------------------------------------ Aggregates and loads

rqlite(Config) ->
    (embedded())#{projections => {rqlite, #{nodes => [warp_rqlite_server:url(?config(server, Config))]}}}.

%% Its projection stands still where the gate is closed.
gated() ->
    #{name => <<"Gated">>,
      initial_state => 0,
      apply => fun(N, _) -> N + 1 end,
      project => fun(Id, N, _) ->
          ok = wait_at_gate(),
          [warp_projection:upsert(<<"gated">>, Id, #{n => N})]
      end}.

wait_at_gate() ->
    case persistent_term:get(?MODULE, open) of
        open -> ok;
        closed -> timer:sleep(10), wait_at_gate()
    end.

%% Each column is made in a table of its own, set by each entity, and then counted.
make(Name, Columns) ->
    Ids = [<<Name/binary, (integer_to_binary(N))/binary>> || N <- lists:seq(1, 8)],
    _ = [{ok, _} = warp_core:append(warp_cluster_vm:entity(Id), warp_projection_test:does([Command]))
         || Column <- Columns, Id <- Ids, Command <- commands(Column, Id)],
    lists:foreach(fun(Id) -> ok = warp_core:await_projection(warp_cluster_vm:entity(Id), ?PATIENCE_MS) end, Ids).

commands(Column, Id) ->
    Table = <<"table_", Column/binary>>,
    [warp_projection:upsert(Table, Id, #{Column => 7}), warp_projection:increment(Table, <<"all">>, #{Column => 1})].

embedded() ->
    #{projections => embedded, aggregates => [warp_read_model:aggregate()]}.

%% Has each of 16 entities one event set aside on all nodes, with two behind it: their ids, what looks at a node's, and
%% what that finds.
set_aside([A | _] = Vms) ->
    ok = settled(A),
    Ids = [<<"f", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 16)],
    ok = each(Vms, fun(Vm) -> warp_cluster_vm:run(Vm, fun() -> persistent_term:put(?MODULE, crash) end) end),
    ok = warp_cluster_vm:run(A, fun() -> lists:foreach(fun done_thrice/1, Ids) end),
    Aside = fun() ->
        {ok, Entries} = warp_projection:set_aside(warp_cluster_vm:ctx()),
        lists:sort([{Id, Seq, Waiting, maps:get(type, Event)}
                    || #{entity := Id, seq := Seq, waiting := Waiting, event := Event} <- Entries])
    end,
    All = lists:sort([{Id, 1, 2, <<"Done">>} || Id <- Ids]),
    ok = each(Vms, fun(Vm) -> warp_test:wait_until(fun() -> warp_cluster_vm:run(Vm, Aside) =:= All end) end),
    {Ids, Aside, All}.

flaky() ->
    #{name => <<"Flaky">>,
      initial_state => 0,
      apply => fun(N, _) -> N + 1 end,
      project => fun(Id, _, #{seq := Seq}) ->
          _ = [error(no_idea) || Seq =:= 1, persistent_term:get(?MODULE, none) =:= crash],
          [warp_projection:increment(<<"flaky">>, Id, #{n => 1})]
      end}.

done_thrice(Id) ->
    Event = #{aggregate => <<"Flaky">>, type => <<"Done">>, payload => #{}},
    {ok, {1, 3}} = warp_core:append_batch(warp_cluster_vm:entity(Id), [Event, Event, Event]).

moved(Weight) ->
    #{aggregate => <<"Parcel">>, type => <<"Moved">>, payload => #{weight => Weight, text => <<"t">>}}.

load(Vm, From, To) ->
    warp_cluster_vm:run(Vm, fun() -> warp_read_model:load(warp_cluster_vm:ctx(), From, To) end).

%% Appends until it is told to stop.
loading(Vm) ->
    warp_cluster_vm:run(Vm, fun() -> spawn(fun() -> loading_from(1000) end) end).

loading_from(N) ->
    ok = warp_read_model:append(warp_cluster_vm:ctx(), warp_read_model:entity(1 + rand:uniform(20) - 1), N),
    receive {stop, From} -> From ! {self(), stopped} after rand:uniform(3) -> loading_from(N + 1) end.

stop_loading(Vm, Pid) ->
    warp_cluster_vm:run(Vm, fun() ->
        Monitor = monitor(process, Pid),
        Pid ! {stop, self()},
        receive
            {Pid, stopped} -> ok;
            {'DOWN', Monitor, process, _, Why} -> error({load_ended, Why})
        end
    end).

%% Appends to entities of the model that are not in these shards.
load_here(Vm, Others) ->
    warp_cluster_vm:run(Vm, fun() ->
        Ctx = warp_cluster_vm:ctx(),
        Ids = [warp_read_model:entity(N) || N <- lists:seq(1, 20)],
        Here = [Id || Id <- Ids, {ok, Shard} <- [warp_core:shard_of(warp_core:entity(Ctx, Id))],
                not lists:member(Shard, Others)],
        lists:foreach(fun(Id) ->
            ok = warp_read_model:append(Ctx, Id, 77),
            ok = warp_core:await_projection(warp_core:entity(Ctx, Id), 2000)
        end, Here)
    end).

ids(Vm, Shards) ->
    warp_cluster_vm:run(Vm, fun() ->
        [Id || N <- lists:seq(1, 20), Id <- [warp_read_model:entity(N)],
               {ok, Shard} <- [warp_core:shard_of(warp_cluster_vm:entity(Id))], lists:member(Shard, Shards)]
    end).

%% ------------------------------------------------------------------ What nodes have

each(Vms, Fun) -> lists:foreach(Fun, Vms).

same(Vm) ->
    warp_cluster_vm:run(Vm, fun() -> warp_read_model:assert_equal(warp_cluster_vm:ctx(), ?PATIENCE_MS) end).

%% A node that has just joined may have heard of an owner that it is not linked to yet.
linked(Vms) ->
    each(Vms, fun(Vm) ->
        warp_test:wait_until(fun() ->
            {ok, Members} = warp_cluster_vm:run(Vm, fun() -> warp_cluster:members(warp_cluster_vm:ctx()) end),
            length(Members) =:= length(Vms) andalso lists:all(fun(#{is_linked := Is}) -> Is end, Members)
        end, ?PATIENCE_MS)
    end).

leave(Vm) ->
    warp_cluster_vm:run(Vm, fun() -> warp_cluster:leave(warp_cluster_vm:ctx(), #{timeout => ?PATIENCE_MS}) end).

shards_of(Vm, Node) ->
    {ok, #{shards := #{Node := Ns}}} = warp_cluster_vm:run(Vm, fun() -> warp_cluster:status(warp_cluster_vm:ctx()) end),
    Ns.

stalled_for(Vm, Why) ->
    [N || #{shard := N, state := stalled, why := Is} <- warp_cluster_vm:run(Vm, fun shards/0), Is =:= Why].

%% Inside a VM.
status() -> {ok, Status} = warp_projection:status(warp_cluster_vm:ctx()), Status.

shards() -> #{shards := Shards} = status(), Shards.

await_rebuild() -> warp_projection:await_rebuild(warp_cluster_vm:ctx(), ?PATIENCE_MS).

query(Sql, Params) ->
    case warp_core:query(warp_cluster_vm:ctx(), Sql, Params, #{level => strong, timeout => ?PATIENCE_MS}) of
        {ok, #{rows := Rows}} -> {ok, Rows};
        {error, _} = Error -> Error
    end.
