%% Nodes whose disk is full: what they cannot write they hear again, and shards come to them once there is room.
-module(warp_cluster_full_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([what_could_not_be_written_is_heard_again/1, a_node_that_joins_is_heard_of_again/1,
         a_node_without_room_is_not_asked_again_and_again/1]).
%% Inside a VM
-export([log/2]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [what_could_not_be_written_is_heard_again, a_node_that_joins_is_heard_of_again,
     a_node_without_room_is_not_asked_again_and_again].

init_per_testcase(_Case, Config) ->
    Dir = warp_test:new_dir(),
    case warp_small_disk:mount(filename:join(Dir, "b"), 32) of
        {ok, Disk} ->
            Vms = [warp_cluster_vm:start(Name, Dir) || Name <- [a, b, c]],
            [{disk, Disk}, {vms, Vms}, {dir, Dir} | Config];
        {error, Why} -> {skip, lists:flatten(io_lib:format("no small disk: ~ts", [Why]))}
    end.

end_per_testcase(_Case, Config) ->
    _ = [catch warp_cluster_vm:kill(Vm) || Vm <- vms(Config)],
    ok = warp_small_disk:unmount(proplists:get_value(disk, Config)),
    warp_test:remove_dir(proplists:get_value(dir, Config)).

vms(Config) -> proplists:get_value(vms, Config).

what_could_not_be_written_is_heard_again(Config) ->
    [A, B, C] = vms(Config),
    Disk = proplists:get_value(disk, Config),
    ok = warp_cluster_vm:open_all([A, B, C], #{}),
    ok = warp_cluster_vm:run(A, fun() -> warp_cluster:migrate(warp_cluster_vm:ctx(), #{timeout => 20000}) end),
    ok = warp_small_disk:fill(Disk),
    _ = warp_cluster_vm:run(C, fun() -> warp_cluster:leave(warp_cluster_vm:ctx(), #{timeout => 2000}) end),
    Node = warp_cluster_vm:node_of(C),
    IsUp = fun() -> lists:keymember(Node, 1, [{Of, up} || {Of, up} <- members(B)]) end,
    ?assert(IsUp()),
    ok = warp_small_disk:make_room(Disk),
    ok = warp_test:wait_until(fun() -> not IsUp() end).

a_node_that_joins_is_heard_of_again(Config) ->
    [A, B, C] = vms(Config),
    Disk = proplists:get_value(disk, Config),
    ok = warp_cluster_vm:open_all([A, B], #{}),
    ok = warp_small_disk:fill(Disk),
    ok = warp_cluster_vm:open(C, [A], #{}),
    timer:sleep(2000),
    IsKnown = fun() -> lists:keymember(warp_cluster_vm:node_of(C), 1, members(B)) end,
    ?assertNot(IsKnown()),
    ok = warp_small_disk:make_room(Disk),
    ok = warp_test:wait_until(IsKnown).

members(Vm) ->
    warp_cluster_vm:run(Vm, fun() ->
        {ok, Members} = warp_cluster:members(warp_cluster_vm:ctx()),
        [{Node, State} || #{node := Node, state := State} <- Members]
    end).

a_node_without_room_is_not_asked_again_and_again(Config) ->
    [A, B, _] = vms(Config),
    Disk = proplists:get_value(disk, Config),
    ok = warp_cluster_vm:open(A, [A], #{}),
    ok = warp_cluster_vm:run(A, fun() -> warp_cluster:pause(warp_cluster_vm:ctx()) end),
    ok = warp_cluster_vm:open(B, [A], #{}),
    ok = warp_small_disk:fill(Disk),
    Given = warp_cluster_vm:run(A, fun() ->
        Counter = counters:new(1, []),
        ok = logger:add_handler(?MODULE, ?MODULE, #{level => notice, counter => Counter}),
        ok = warp_cluster:resume(warp_cluster_vm:ctx()),
        timer:sleep(3000),
        counters:get(Counter, 1)
    end),
    ?assert(Given > 0),
    ?assert(Given < 20),
    ok = warp_small_disk:make_room(Disk),
    ok = warp_cluster_vm:run(A, fun() -> warp_cluster:migrate(warp_cluster_vm:ctx(), #{timeout => 20000}) end).

%% Counts the hand-offs that were given up.
log(#{msg := {Format, _}}, #{counter := Counter}) when is_list(Format) ->
    case string:find(Format, "did not take it") of
        nomatch -> ok;
        _ -> counters:add(Counter, 1, 1)
    end;
log(_Event, _Config) ->
    ok.
