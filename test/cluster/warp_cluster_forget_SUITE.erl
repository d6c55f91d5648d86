%% A node that is lost with its disk is forgotten, and others take its shards over.
-module(warp_cluster_forget_SUITE).

-include_lib("stdlib/include/assert.hrl").

-import(warp_cluster_vm, [vms/1, settled/1]).

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([its_shards_are_taken_over/1, its_name_can_join_again/1, it_serves_no_more/1,
         an_older_folder_of_its_name_serves_no_more/1, who_can_be_reached_stays/1,
         all_others_have_to_run/1, nodes_are_forgotten_together/1, several_forget_at_once/1,
         followers_go_on/1, a_deletion_ends/1, what_another_has_of_it_stays/1,
         what_was_just_given_comes_back/1, a_hand_off_to_it_ends/1, it_goes_on_after_a_crash/1]).

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [its_shards_are_taken_over, its_name_can_join_again, it_serves_no_more,
     an_older_folder_of_its_name_serves_no_more, who_can_be_reached_stays,
     all_others_have_to_run, nodes_are_forgotten_together, several_forget_at_once,
     followers_go_on, a_deletion_ends, what_another_has_of_it_stays,
     what_was_just_given_comes_back, a_hand_off_to_it_ends, it_goes_on_after_a_crash].

init_per_testcase(_Case, Config) ->
    Begun = warp_cluster_vm:init_case([a, b, c], Config),
    ok = warp_cluster_vm:open_all(vms(Begun), #{projections => embedded}),
    ok = settled(hd(vms(Begun))),
    Begun.

end_per_testcase(_Case, Config) -> warp_cluster_vm:end_case(Config).

node_of(Vm) -> warp_cluster_vm:node_of(Vm).

forget(Vm, Nodes) -> forget(Vm, Nodes, #{timeout => 60000}).

forget(Vm, Nodes, Options) ->
    warp_cluster_vm:run(Vm, fun() -> warp_cluster:forget(warp_cluster_vm:ctx(), Nodes, Options) end).

append(Vm, Id) ->
    warp_cluster_vm:run(Vm, fun() -> warp_core:append(warp_cluster_vm:entity(Id), warp_test:credited(1)) end).

ids() -> [integer_to_binary(N) || N <- lists:seq(1, 40)].

%% The entities whose shards are on a node.
ids_at(Node, Vm) ->
    warp_cluster_vm:run(Vm, fun() ->
        [Id || Id <- ids(), warp_cluster:owner(warp_cluster_vm:entity(Id)) =:= {ok, Node}]
    end).

states(Vm) ->
    warp_cluster_vm:run(Vm, fun() ->
        {ok, Members} = warp_cluster:members(warp_cluster_vm:ctx()),
        [State || #{state := State} <- Members]
    end).

%% What all of these nodes know, once they agree.
await_states(Vms, States) ->
    [ok = warp_test:wait_until(fun() -> states(Vm) =:= States end, 10000) || Vm <- Vms],
    ok.

%% Forgetting works once the others have noticed that the node is gone.
forget_lost(Vm, Nodes) ->
    ok = warp_test:wait_until(fun() ->
        case forget(Vm, Nodes) of
            ok -> true;
            {error, {node_up, _}} -> false
        end
    end, 20000).

its_shards_are_taken_over(Config) ->
    [A, B, C] = vms(Config),
    [{ok, 1} = append(A, Id) || Id <- ids()],
    Lost = ids_at(node_of(C), A),
    [_ | _] = Lost,
    ok = warp_cluster_vm:kill(C),
    ok = forget_lost(A, node_of(C)),
    ok = await_states([A, B], [up, up, forgotten]),
    %% What was lost begins again, and all else goes on.
    [?assertEqual({Id, {ok, case lists:member(Id, Lost) of true -> 1; false -> 2 end}}, {Id, append(Vm, Id)})
     || {Id, Vm} <- lists:zip(ids(), lists:append(lists:duplicate(20, [A, B])))],
    [?assertEqual({ok, []}, warp_cluster_vm:run(Vm, fun() ->
        {ok, #{shards := Shards}} = warp_cluster:status(warp_cluster_vm:ctx()),
        {ok, maps:get(node_of(C), Shards, [])}
    end)) || Vm <- [A, B]],
    %% Also when the others are started again.
    [ok = warp_cluster_vm:close(Vm) || Vm <- [A, B]],
    ok = warp_cluster_vm:open(A, [A], #{projections => embedded}),
    ok = warp_cluster_vm:open(B, [A], #{projections => embedded}),
    [ok = warp_test:wait_until(fun() -> element(1, append(B, Id)) =:= ok end, 20000) || Id <- ids()],
    ?assertEqual(ok, forget(A, [node_of(C)])).

its_name_can_join_again(Config) ->
    [A, _, C] = vms(Config),
    Node = node_of(C),
    ok = warp_cluster_vm:close(C),
    ok = file:del_dir_r(warp_cluster_vm:dir_of(C)),
    %% Its shards may be somewhere still.
    ?assertMatch({error, {cluster_refused, _, {lost_folder, _}}}, warp_cluster_vm:open(C, [A], #{})),
    ok = forget_lost(A, Node),
    ok = warp_cluster_vm:open(C, [A], #{projections => embedded}),
    ok = settled(A),
    ?assertEqual([up, up, up], states(A)),
    [?assertEqual({Id, ok}, {Id, element(1, append(C, Id))}) || Id <- ids()],
    [_ | _] = ids_at(Node, A).

%% Nor where a node with the same name has joined since.
an_older_folder_of_its_name_serves_no_more(Config) ->
    [A, B, C] = vms(Config),
    [{ok, 1} = append(A, Id) || Id <- ids()],
    Dir = warp_cluster_vm:dir_of(C),
    ok = warp_cluster_vm:close(C),
    ok = file:rename(Dir, Dir ++ ".old"),
    ok = forget_lost(A, node_of(C)),
    ok = warp_cluster_vm:open(C, [A], #{projections => embedded}),
    ok = settled(A),
    ok = warp_cluster_vm:close(C),
    ok = file:rename(Dir, Dir ++ ".new"),
    ok = file:rename(Dir ++ ".old", Dir),
    _ = spawn(fun() -> warp_cluster_vm:open(C, [A], #{projections => embedded}) end),
    ok = warp_test:wait_until(fun() ->
        warp_cluster_vm:run(C, fun() -> warp_cluster:adopt(<<"bank">>) end) =:= {error, forgotten}
    end, 20000),
    %% The others have not lost the node that has joined.
    ?assertEqual([up, up, up], states(B)),
    %% Where the lost shards are now depends on the names of the nodes.
    [?assertMatch({Id, {ok, _}}, {Id, append(A, Id)}) || Id <- ids() -- ids_at(node_of(C), A)].

it_serves_no_more(Config) ->
    [A, B, C] = vms(Config),
    [{ok, 1} = append(A, Id) || Id <- ids()],
    Lost = ids_at(node_of(C), A),
    ok = warp_cluster_vm:close(C),
    ok = forget_lost(A, node_of(C)),
    [{ok, 1} = append(B, Id) || Id <- Lost],
    %% Its folder is not the newest any more, although nobody has changed it.
    _ = spawn(fun() -> warp_cluster_vm:open(C, [A], #{projections => embedded}) end),
    ok = warp_test:wait_until(fun() ->
        warp_cluster_vm:run(C, fun() -> warp_cluster:adopt(<<"bank">>) end) =:= {error, forgotten}
    end, 20000),
    [?assertEqual({Id, {ok, 2}}, {Id, append(A, Id)}) || Id <- Lost],
    %% It knows that from the beginning when it is started again, also alone.
    ok = warp_cluster_vm:kill(C),
    [ok = warp_cluster_vm:kill(Vm) || Vm <- [A, B]],
    Again = warp_cluster_vm:start(c, warp_cluster_vm:dir(Config)),
    try
        _ = spawn(fun() -> warp_cluster_vm:open(Again, [A], #{projections => embedded}) end),
        ok = warp_test:wait_until(fun() ->
            warp_cluster_vm:run(Again, fun() -> warp_cluster:adopt(<<"bank">>) end) =:= {error, forgotten}
        end, 20000)
    after
        warp_cluster_vm:kill(Again)
    end.

who_can_be_reached_stays(Config) ->
    [A, B, C] = vms(Config),
    ?assertEqual({error, {node_up, node_of(B)}}, forget(A, [node_of(B)])),
    ?assertEqual({error, {node_up, node_of(A)}}, forget(A, node_of(A))),
    ?assertEqual({error, {not_a_member, 'x@127.0.0.1'}}, forget(A, 'x@127.0.0.1')),
    ?assertEqual({error, {not_a_member, <<"y@127.0.0.1">>}}, forget(A, [<<"y@127.0.0.1">>])),
    ?assertEqual({error, {not_a_member, 7}}, forget(A, 7)),
    ?assertMatch({error, {unknown_option, _}}, forget(A, [node_of(C)], #{timeot => 1})),
    ?assertEqual([up, up, up], states(A)),
    [?assertEqual({ok, 1}, append(A, Id)) || Id <- ids()].

all_others_have_to_run(Config) ->
    [A, B, C] = vms(Config),
    ok = warp_cluster_vm:kill(C),
    ok = warp_cluster_vm:close(B),
    ok = warp_test:wait_until(fun() -> forget(A, [node_of(C)]) =:= {error, {node_unavailable, node_of(B)}} end, 20000),
    %% Nothing has changed.
    ?assertEqual([up, up, up], states(A)),
    ok = warp_cluster_vm:open(B, [A], #{projections => embedded}),
    ok = forget_lost(A, [node_of(C)]),
    ok = await_states([A, B], [up, up, forgotten]).

nodes_are_forgotten_together(Config) ->
    [A, B, C] = vms(Config),
    [{ok, 1} = append(A, Id) || Id <- ids()],
    Mine = ids_at(node_of(A), A),
    ok = warp_cluster_vm:kill(B),
    ok = warp_cluster_vm:kill(C),
    ok = forget_lost(A, [node_of(B), atom_to_binary(node_of(C))]),
    ?assertEqual([up, forgotten, forgotten], states(A)),
    [?assertEqual({Id, {ok, case lists:member(Id, Mine) of true -> 2; false -> 1 end}}, {Id, append(A, Id)})
     || Id <- ids()].

several_forget_at_once(Config) ->
    [A, B, C] = vms(Config),
    ok = warp_cluster_vm:kill(C),
    Node = node_of(C),
    ok = warp_test:wait_until(fun() -> forget(A, Node, #{timeout => 0}) =/= {error, {node_up, Node}} end, 20000),
    ok = warp_test:wait_until(fun() -> forget(B, Node, #{timeout => 0}) =/= {error, {node_up, Node}} end, 20000),
    Each = warp_test:parallel([fun() -> forget(Vm, Node) end || Vm <- [A, B, A, B]]),
    ?assertEqual([ok, ok, ok, ok], Each),
    [?assertEqual({ok, 1}, append(A, Id)) || Id <- ids()],
    [?assertEqual({ok, 2}, append(B, Id)) || Id <- ids()].

%% Positions are never given twice: who follows the log reads on.
followers_go_on(Config) ->
    [A, B, C] = vms(Config),
    [{ok, 1} = append(A, Id) || Id <- ids()],
    Lost = ids_at(node_of(C), A),
    Caught = fun() ->
        [ok = warp_core:await_projection(warp_cluster_vm:entity(Id), 20000) || Id <- ids()],
        ok
    end,
    [ok = warp_cluster_vm:run(Vm, Caught) || Vm <- [A, B]],
    Cursor = warp_cluster_vm:run(A, fun() ->
        {ok, Sub} = warp_subscription:subscribe(warp_cluster_vm:ctx(), #{from => now}),
        {ok, Of} = warp_subscription:cursor(Sub),
        Of
    end),
    ok = warp_cluster_vm:kill(C),
    ok = forget_lost(B, node_of(C)),
    [{ok, 1} = append(B, Id) || Id <- Lost],
    [ok = warp_cluster_vm:run(Vm, Caught) || Vm <- [A, B]],
    Got = warp_cluster_vm:run(A, fun() ->
        {ok, Sub} = warp_subscription:subscribe(warp_cluster_vm:ctx(), #{from => {cursor, Cursor}}),
        got(Sub, length(Lost), [])
    end),
    ?assertEqual(lists:sort(Lost), lists:sort(Got)).

got(_Sub, 0, Got) -> Got;
got(Sub, Left, Got) ->
    receive
        {warp_subscription, Sub, {events, Events}} ->
            got(Sub, Left - length(Events), [Id || #{entity := Id} <- Events] ++ Got);
        {warp_subscription, Sub, _} ->
            got(Sub, Left, Got)
    after 20000 -> error({missing, Left, Got})
    end.

%% What the node had beside its log is gone with it.
a_deletion_ends(Config) ->
    [A, _, C] = vms(Config),
    [{ok, 1} = append(A, Id) || Id <- ids()],
    Id = hd(ids_at(node_of(A), A)),
    Delete = fun(Timeout) ->
        warp_cluster_vm:run(A, fun() -> warp_core:delete(warp_cluster_vm:entity(Id), #{timeout => Timeout}) end)
    end,
    ok = warp_cluster_vm:kill(C),
    ok = warp_test:wait_until(fun() ->
        case Delete(1500) of {error, {still_to_erase, #{reason := {node_unavailable, _}}}} -> true; _ -> false end
    end, 20000),
    ok = forget_lost(A, node_of(C)),
    ?assertEqual(ok, Delete(20000)),
    ?assertEqual({ok, 1}, append(A, Id)).

%% A shard that was about to move: its copy is whole, and its owner may have given it or not.
what_another_has_of_it_stays(Config) ->
    [A, B, C] = vms(Config),
    [{ok, 1} = append(A, Id) || Id <- ids()],
    %% C gives its shards away, and stops before it commits one of them.
    ok = leave(C),
    N = warp_cluster_vm:run(C, fun() -> stopped_when(frozen) end),
    Staged = fun(Vm) ->
        warp_cluster_vm:run(Vm, fun() ->
            {ok, Context} = warp_context:of_handle(warp_cluster_vm:ctx()),
            #{under_way := UnderWay} = warp_cluster_mover:progress(Context, infinity),
            [Of || #{phase := staged, shard := Of} <- UnderWay]
        end)
    end,
    ok = warp_test:wait_until(fun() -> Staged(A) ++ Staged(B) =:= [N] end, 20000),
    ok = warp_cluster_vm:kill(C),
    Lost = ids_at(node_of(C), A),
    [_ | _] = Kept = in_shard(N, Lost, A),
    ok = forget_lost(A, node_of(C)),
    [?assertEqual({Id, {ok, case lists:member(Id, Kept) of true -> 2; false -> 1 end}}, {Id, append(B, Id)})
     || Id <- Lost].

%% C ends before it has heard that a shard is its own by now. A has the file still.
what_was_just_given_comes_back(Config) ->
    [A, B, C] = vms(Config),
    [{ok, 1} = append(A, Id) || Id <- ids()],
    Lost = ids_at(node_of(C), A),
    ok = leave(A),
    N = warp_cluster_vm:run(C, fun() -> stopped_when(staged) end),
    ok = warp_test:wait_until(fun() -> in_shard(N, ids_at(node_of(C), A), A) =/= [] end, 20000),
    ok = warp_cluster_vm:kill(C),
    ok = forget_lost(B, node_of(C)),
    [?assertEqual({Id, {ok, case lists:member(Id, Lost) of true -> 1; false -> 2 end}}, {Id, append(B, Id)})
     || Id <- ids(), lists:member(Id, in_shard(N, ids(), A) ++ Lost)].

%% The owner would wait for half a minute, and another time.
a_hand_off_to_it_ends(Config) ->
    [A, _, C] = vms(Config),
    ok = warp_cluster_vm:run(C, fun() ->
        {ok, Context} = warp_context:of_handle(warp_cluster_vm:ctx()),
        {ok, Mover} = warp_context:registered(Context, mover),
        sys:suspend(Mover)
    end),
    ok = leave(A),
    Offered = fun() ->
        warp_cluster_vm:run(A, fun() ->
            {ok, Context} = warp_context:of_handle(warp_cluster_vm:ctx()),
            #{under_way := UnderWay} = warp_cluster_mover:progress(Context, infinity),
            [offered || #{phase := offered, node := To} <- UnderWay, To =:= node_of(C)]
        end)
    end,
    ok = warp_test:wait_until(fun() -> Offered() =/= [] end, 20000),
    ok = warp_cluster_vm:kill(C),
    ok = forget_lost(A, node_of(C)),
    ok = warp_test:wait_until(fun() -> ids_at(node_of(A), A) =:= [] end, 15000).

%% NOTE: in a VM that is killed then.
stopped_when(Phase) ->
    {ok, Context} = warp_context:of_handle(warp_cluster_vm:ctx()),
    {ok, Mover} = warp_context:registered(Context, mover),
    stopped_when(Phase, Mover).

stopped_when(Phase, Mover) ->
    ok = sys:suspend(Mover),
    Handoffs = element(3, sys:get_state(Mover)),
    case [N || {N, Handoff} <- maps:to_list(Handoffs), {Is, _} <- [warp_cluster_handoff:info(Handoff)], Is =:= Phase] of
        [N | _] ->
            N;
        [] ->
            ok = sys:resume(Mover),
            stopped_when(Phase, Mover)
    end.

leave(Vm) ->
    warp_cluster_vm:run(Vm, fun() ->
        {ok, Context} = warp_context:of_handle(warp_cluster_vm:ctx()),
        warp_cluster_member:set_state(Context, leaving, infinity)
    end).

%% The entities of a shard, of these.
in_shard(N, Ids, Vm) ->
    warp_cluster_vm:run(Vm, fun() ->
        [Id || Id <- Ids, warp_core:shard_of(warp_cluster_vm:entity(Id)) =:= {ok, N}]
    end).

%% Whoever forgets it ends in between, again and again; also a node that has said yes.
it_goes_on_after_a_crash(Config) ->
    [A, B, C] = vms(Config),
    [{ok, 1} = append(A, Id) || Id <- ids()],
    Lost = ids_at(node_of(C), A),
    Node = node_of(C),
    ok = warp_cluster_vm:kill(C),
    ok = warp_test:wait_until(fun() -> forget(A, Node, #{timeout => 0}) =/= {error, {node_up, Node}} end, 20000),
    [warp_cluster_vm:run(Vm, fun() ->
        {Pid, Ref} = spawn_monitor(fun() -> warp_cluster:forget(warp_cluster_vm:ctx(), Node) end),
        ok = timer:sleep(Millis),
        true = exit(Pid, kill),
        receive {'DOWN', Ref, process, Pid, _} -> ok end
     end) || {Vm, Millis} <- [{A, 0}, {B, 1}, {A, 3}, {B, 5}, {A, 10}]],
    ok = warp_cluster_vm:kill(B),
    B2 = warp_cluster_vm:start(b, warp_cluster_vm:dir(Config)),
    try
        ok = warp_cluster_vm:open(B2, [A], #{projections => embedded}),
        ok = warp_test:wait_until(fun() -> forget(A, Node) =:= ok end, 20000),
        ok = await_states([A, B2], [up, up, forgotten]),
        [?assertEqual({Id, {ok, case lists:member(Id, Lost) of true -> 1; false -> 2 end}}, {Id, append(A, Id)})
         || Id <- ids()]
    after
        warp_cluster_vm:kill(B2)
    end.
