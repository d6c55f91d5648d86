%% What must not give a shard two owners: folders that are copied and put back, nodes that stand still and wake up.
-module(warp_cluster_safety_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_copied_folder_waits_for_an_operator/1, a_copy_that_waits_is_not_remembered/1,
         an_old_copy_does_not_serve/1, an_old_copy_in_the_same_place_does_not_serve/1,
         an_old_copy_does_not_serve_alone/1, adopting_yields/1,
         a_node_that_stands_still_is_unavailable/1, a_folder_belongs_to_its_node/1,
         a_node_that_joins_brings_nothing/1]).

-import(warp_cluster_vm, [vms/1, settled/1]).

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [a_copied_folder_waits_for_an_operator, a_copy_that_waits_is_not_remembered, an_old_copy_does_not_serve,
     an_old_copy_in_the_same_place_does_not_serve, an_old_copy_does_not_serve_alone, adopting_yields,
     a_node_that_stands_still_is_unavailable, a_folder_belongs_to_its_node, a_node_that_joins_brings_nothing].

init_per_testcase(_Case, Config) ->
    With = warp_cluster_vm:init_case([a, b], Config),
    ok = warp_cluster_vm:open_all(vms(With), #{}),
    ok = settled(hd(vms(With))),
    With.

end_per_testcase(_Case, Config) -> warp_cluster_vm:end_case(Config).

%% An entity of each of the two nodes.
entity_at(Node) ->
    hd([Id || N <- lists:seq(1, 1000), Id <- [integer_to_binary(N)],
              warp_cluster:owner(warp_cluster_vm:entity(Id)) =:= {ok, Node}]).

append(Vm, Id) ->
    warp_cluster_vm:run(Vm, fun() -> warp_core:append(warp_cluster_vm:entity(Id), warp_test:credited(1)) end).

%% Starts the context of a node in the background, since it may wait: whether it has started within so many
%% milliseconds.
opens_within(Vm, Seeds, Millis) ->
    Self = self(),
    {Pid, Ref} = spawn_monitor(fun() -> Self ! {self(), warp_cluster_vm:open(Vm, Seeds, #{})} end),
    receive
        {Pid, Result} -> Result;
        {'DOWN', Ref, process, Pid, Why} -> error(Why)
    after Millis -> {waits, Pid}
    end.

copy(From, To) ->
    "" = os:cmd("cp -a " ++ From ++ " " ++ To),
    ok.

a_copied_folder_waits_for_an_operator(Config) ->
    [A, B] = vms(Config),
    Id = warp_cluster_vm:run(A, fun() -> entity_at(warp_cluster_vm:node_of(B)) end),
    {ok, 1} = append(A, Id),
    ok = warp_cluster_vm:close(B),
    Dir = warp_cluster_vm:dir_of(B),
    ok = copy(Dir, Dir ++ ".copy"),
    ok = file:del_dir_r(Dir),
    ok = file:rename(Dir ++ ".copy", Dir),
    {waits, Opening} = opens_within(B, [A], 5000),
    ?assertMatch({error, _}, append(A, Id)),
    ok = warp_cluster_vm:run(B, fun() -> warp_cluster:adopt(<<"bank">>) end),
    receive {Opening, Opened} -> ?assertEqual(ok, Opened) end,
    ?assertEqual({ok, 2}, append(B, Id)).

%% The node whose folder was copied goes on when it is back.
a_copy_that_waits_is_not_remembered(Config) ->
    [A, B] = vms(Config),
    Dir = warp_cluster_vm:dir_of(B),
    ok = warp_cluster_vm:close(B),
    ok = file:rename(Dir, Dir ++ ".original"),
    ok = copy(Dir ++ ".original", Dir),
    ?assertMatch({waits, _}, opens_within(B, [A], 5000)),
    %% The others have heard of it, and do not take it for the node.
    NodeA = warp_cluster_vm:node_of(A),
    ?assertEqual([NodeA], warp_cluster_vm:run(B, fun() ->
        {ok, Context} = warp_context:find({clustered, <<"bank">>}),
        #{phase := doubt, linked := Linked} = warp_cluster_member:info(Context),
        Linked
    end)),
    ?assertEqual([true, false], warp_cluster_vm:run(A, fun() ->
        {ok, Members} = warp_cluster:members(warp_cluster_vm:ctx()),
        [Is || #{is_linked := Is} <- Members]
    end)),
    ok = warp_cluster_vm:kill(B),
    ok = file:del_dir_r(Dir),
    Again = warp_cluster_vm:start(b, proplists:get_value(dir, Config)),
    ok = file:del_dir_r(Dir),
    ok = file:rename(Dir ++ ".original", Dir),
    ?assertEqual(ok, opens_within(Again, [A], 20000)),
    ok = warp_cluster_vm:kill(Again).

%% The copy was made before the node was started once more.
an_old_copy_does_not_serve(Config) ->
    [A, B] = vms(Config),
    ok = old_copy(B, A, fun(Dir, Copy) -> ok = file:del_dir_r(Dir), file:rename(Copy, Dir) end),
    ?assertMatch({waits, _}, opens_within(B, [A], 5000)),
    Id = warp_cluster_vm:run(A, fun() -> entity_at(warp_cluster_vm:node_of(B)) end),
    ?assertMatch({error, _}, append(A, Id)).

an_old_copy_in_the_same_place_does_not_serve(Config) ->
    [A, B] = vms(Config),
    ok = old_copy(B, A, fun(Dir, Copy) -> "" = os:cmd("cp -r " ++ Copy ++ "/. " ++ Dir), ok end),
    ?assertMatch({waits, _}, opens_within(B, [A], 5000)).

%% Nobody is there who could say that it is old.
an_old_copy_does_not_serve_alone(Config) ->
    [A, B] = vms(Config),
    ok = old_copy(B, A, fun(Dir, Copy) -> "" = os:cmd("cp -r " ++ Copy ++ "/. " ++ Dir), ok end),
    ok = warp_cluster_vm:kill(A),
    ?assertMatch({waits, _}, opens_within(B, [A], 5000)).

old_copy(Vm, Other, Put) ->
    Dir = warp_cluster_vm:dir_of(Vm),
    ok = warp_cluster_vm:close(Vm),
    ok = copy(Dir, Dir ++ ".copy"),
    %% A copy is older than what is in its place by more than the clock of files can tell.
    timer:sleep(3000),
    ok = warp_cluster_vm:open(Vm, [Other], #{}),
    ok = warp_cluster_vm:close(Vm),
    Put(Dir, Dir ++ ".copy").

%% What the other one got meanwhile it keeps.
adopting_yields(Config) ->
    [A, B] = vms(Config),
    Node = warp_cluster_vm:node_of(B),
    Dir = warp_cluster_vm:dir_of(B),
    Id = warp_cluster_vm:run(A, fun() -> entity_at(Node) end),
    {ok, 1} = append(A, Id),
    ok = warp_cluster_vm:close(B),
    ok = copy(Dir, Dir ++ ".copy"),
    ok = warp_cluster_vm:open(B, [A], #{}),
    {ok, 2} = append(B, Id),
    ok = warp_cluster_vm:run(B, fun() -> warp_cluster:leave(warp_cluster_vm:ctx(), #{timeout => 60000}) end),
    {ok, 3} = append(A, Id),
    ok = warp_cluster_vm:close(B),
    ok = file:del_dir_r(Dir),
    ok = file:rename(Dir ++ ".copy", Dir),
    {waits, Opening} = opens_within(B, [A], 3000),
    ok = warp_cluster_vm:run(B, fun() -> warp_cluster:adopt(<<"bank">>) end),
    receive {Opening, Opened} -> ?assertEqual(ok, Opened) end,
    ?assertEqual({ok, 4}, append(B, Id)),
    ?assertEqual({ok, 5}, append(A, Id)),
    ?assertEqual({ok, warp_cluster_vm:node_of(A)},
                 warp_cluster_vm:run(B, fun() -> warp_cluster:owner(warp_cluster_vm:entity(Id)) end)).

a_node_that_stands_still_is_unavailable(Config) ->
    [A, B] = vms(Config),
    Node = warp_cluster_vm:node_of(B),
    Id = warp_cluster_vm:run(A, fun() -> entity_at(Node) end),
    Own = warp_cluster_vm:run(A, fun() -> entity_at(node()) end),
    {ok, 1} = append(A, Id),
    ok = warp_cluster_vm:freeze(B),
    try
        ok = warp_test:wait_until(fun() -> append(A, Id) =:= {error, {node_unavailable, Node}} end, 20000),
        ?assertMatch({ok, _}, append(A, Own))
    after
        ok = warp_cluster_vm:thaw(B)
    end,
    ok = warp_test:wait_until(fun() -> element(1, append(A, Id)) =:= ok end, 20000).

a_folder_belongs_to_its_node(Config) ->
    [A, B] = vms(Config),
    Dir = warp_cluster_vm:dir_of(B),
    ok = warp_cluster_vm:stop(B),
    Other = warp_cluster_vm:start(c, proplists:get_value(dir, Config)),
    ok = file:del_dir_r(warp_cluster_vm:dir_of(Other)),
    ok = copy(Dir, warp_cluster_vm:dir_of(Other)),
    Node = warp_cluster_vm:node_of(B),
    ?assertEqual({error, {folder_of_node, Node}}, warp_cluster_vm:open(Other, [A], #{})),
    Single = warp_cluster_vm:run(Other, fun() -> warp_core:start(warp_cluster_vm:options(Dir, #{})) end),
    ?assertMatch({error, {folder_of_cluster, _}}, Single),
    ok = warp_cluster_vm:kill(Other).

%% A context of a single node becomes a cluster when its node creates one, and cannot join another.
a_node_that_joins_brings_nothing(Config) ->
    [A, _] = vms(Config),
    Other = warp_cluster_vm:start(c, proplists:get_value(dir, Config)),
    Dir = warp_cluster_vm:dir_of(Other),
    {ok, 1} = warp_cluster_vm:run(Other, fun() ->
        {ok, Ctx} = warp_core:start(warp_cluster_vm:options(Dir, #{})),
        {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"single">>), warp_test:credited(1)),
        ok = warp_core:stop(Ctx),
        {ok, 1}
    end),
    ?assertMatch({error, {folder_not_empty, _}}, warp_cluster_vm:open(Other, [A], #{})),
    ?assertMatch({ok, [_, _]}, warp_cluster_vm:run(A, fun() -> warp_cluster:members(warp_cluster_vm:ctx()) end)),
    ?assertEqual(ok, warp_cluster_vm:open(Other, [Other], #{})),
    ?assertEqual({ok, 2}, append(Other, <<"single">>)),
    ok = warp_cluster_vm:kill(Other).
