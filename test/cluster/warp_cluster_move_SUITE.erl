%% Shards that move while they are used.
-module(warp_cluster_move_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([nodes_join_and_leave_under_load/1, progress_says_how_much_was_moved/1, requests_keep_their_order/1,
         a_busy_node_is_not_asked_all_the_time/1, a_giver_that_is_killed_goes_on/1,
         a_receiver_that_is_killed_goes_on/1, nothing_is_left_with_the_giver/1,
         a_shard_that_stays_holds_up_no_other/1]).

-import(warp_cluster_vm, [vms/1, settled/1]).

suite() -> [{timetrap, {minutes, case is_long() of true -> 60; false -> 4 end}}].

all() ->
    [nodes_join_and_leave_under_load, progress_says_how_much_was_moved, requests_keep_their_order,
     a_busy_node_is_not_asked_all_the_time, a_giver_that_is_killed_goes_on, a_receiver_that_is_killed_goes_on,
     nothing_is_left_with_the_giver, a_shard_that_stays_holds_up_no_other].

init_per_testcase(_Case, Config) -> warp_cluster_vm:init_case([a, b, c], Config).

end_per_testcase(_Case, Config) -> warp_cluster_vm:end_case(Config).

%% How many shards each node has, the largest number first.
spread(Vm) ->
    {ok, #{shards := Shards}} = warp_cluster_vm:run(Vm, fun() -> warp_cluster:status(warp_cluster_vm:ctx()) end),
    lists:reverse(lists:sort([length(Ns) || Ns <- maps:values(Shards)])).

nodes_join_and_leave_under_load(Config) ->
    [A, B, C] = vms(Config),
    Start = fun(Vm, Prefix) -> warp_cluster_vm:run(Vm, fun() -> warp_cluster_load:start(4, Prefix) end) end,
    ok = warp_cluster_vm:open(A, [A], #{}),
    ok = Start(A, <<"a">>),
    ok = warp_cluster_vm:open(B, [A], #{}),
    ok = Start(B, <<"b">>),
    ok = settled(A),
    ?assertEqual([4, 4], spread(A)),
    ok = warp_cluster_vm:open(C, [B], #{}),
    ok = settled(B),
    ?assertEqual([3, 3, 2], spread(C)),
    ok = warp_cluster_vm:run(A, fun() -> warp_cluster:leave(warp_cluster_vm:ctx(), #{timeout => 60000}) end),
    ?assertEqual([4, 4], spread(B)),
    lists:foreach(
        fun(Vm) ->
            Load = warp_cluster_vm:run(Vm, fun warp_cluster_load:stop/0),
            #{acknowledged := Acknowledged, errors := Errors, longest := Longest} = Load,
            ct:pal("~b acknowledged, the longest call took ~b ms", [Acknowledged, Longest]),
            ?assertEqual([], Errors),
            ?assert(Acknowledged > 100),
            ?assertEqual([], warp_cluster_vm:run(C, fun() -> warp_cluster_load:check(Load) end))
        end,
        [A, B]).

progress_says_how_much_was_moved(Config) ->
    [A, B, _] = vms(Config),
    ok = warp_cluster_vm:open(A, [A], #{}),
    ok = fill(A),
    ok = warp_cluster_vm:open(B, [A], #{}),
    ok = settled(A),
    Names = [<<"f", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 100)],
    {{ok, Progress}, Owners} = warp_cluster_vm:run(A, fun() ->
        {warp_cluster:progress(warp_cluster_vm:ctx()),
         [warp_cluster:owner(warp_cluster_vm:entity(Name)) || Name <- Names]}
    end),
    Moved = length([here || {ok, Node} <- Owners, Node =:= warp_cluster_vm:node_of(B)]),
    ?assertMatch(#{to_move := 0, entities_to_move := 0, moved := 4, entities := Moved, entities_per_second := 0},
                 Progress),
    ?assert(Moved > 0).

%% Two nodes give to a third one, which takes one shard at a time.
a_busy_node_is_not_asked_all_the_time(Config) ->
    [A, B, C] = vms(Config),
    ok = warp_cluster_vm:open_all([A, B], #{}),
    ok = settled(A),
    ok = fill(A),
    [ok = warp_cluster_vm:run(Vm, fun() -> warp_cluster_offers:count() end) || Vm <- [A, B]],
    Began = erlang:monotonic_time(millisecond),
    ok = warp_cluster_vm:open(C, [A], #{}),
    ok = settled(A),
    Took = erlang:monotonic_time(millisecond) - Began,
    Offers = [warp_cluster_vm:run(Vm, fun() -> warp_cluster_offers:counted() end) || Vm <- [A, B]],
    ct:pal("offers ~p in ~b ms", [Offers, Took]),
    %% Two shards go to the third node. Each of the others asks every 50 ms, and with each of its plans.
    ?assert(lists:sum(Offers) >= 2),
    ?assertEqual([], [Count || Count <- Offers, Count > 3 + Took * 25 div 1000]).

%% Requests of one process to one entity are stored in the order in which they were made, wherever the entity is.
requests_keep_their_order(Config) ->
    [A, B, _] = vms(Config),
    ok = warp_cluster_vm:open(A, [A], #{}),
    Requests = fun() ->
        Ctx = warp_cluster_vm:ctx(),
        Entities = [warp_core:entity(Ctx, <<"r", (integer_to_binary(N))/binary>>) || N <- lists:seq(1, 20)],
        Made = [{E, N, warp_core:append_request(E, warp_test:credited(N))} || N <- lists:seq(1, 200), E <- Entities],
        Bad = [R || {_, N, Request} <- Made, R <- [warp_core:receive_response(Request, 20000)], R =/= {ok, N}],
        Amounts = fun({ok, Events}) -> [N || #{payload := #{<<"amount">> := N}} <- Events] end,
        Logs = [Amounts(warp_core:export(E)) || E <- Entities],
        {Bad, lists:usort(Logs)}
    end,
    Self = self(),
    ok = warp_cluster_vm:open(B, [A], #{}),
    _ = spawn_link(fun() -> Self ! {made, warp_cluster_vm:run(B, Requests)} end),
    ok = settled(A),
    receive {made, Made} -> ?assertEqual({[], [lists:seq(1, 200)]}, Made) end.

a_giver_that_is_killed_goes_on(Config) ->
    killed(a, Config).

a_receiver_that_is_killed_goes_on(Config) ->
    killed(b, Config).

%% Kills a node again and again while shards move between two, at moments of the hand-offs that differ.
killed(Which, Config) ->
    [A0, B0, _] = vms(Config),
    Dir = proplists:get_value(dir, Config),
    ok = warp_cluster_vm:open(A0, [A0], #{}),
    ok = fill(A0),
    ok = warp_cluster_vm:open(B0, [A0], #{}),
    Other = case Which of a -> b; b -> a end,
    Vms = lists:foldl(
        fun(Round, #{Which := Killed, Other := Stays} = Vms) ->
            Load = fun() -> warp_cluster_load:start(2, <<"k", (integer_to_binary(Round))/binary, "-">>) end,
            ok = warp_cluster_vm:run(Stays, Load),
            timer:sleep(rand:uniform(1200)),
            ok = warp_cluster_vm:kill(Killed),
            Again = warp_cluster_vm:start(Which, Dir),
            ok = warp_cluster_vm:open(Again, [Stays], #{}),
            ok = settled(Stays),
            #{errors := Errors} = Said = warp_cluster_vm:run(Stays, fun warp_cluster_load:stop/0),
            Node = warp_cluster_vm:node_of(Killed),
            %% Nobody is told of anything else than of the node that was killed.
            ?assertEqual([], [E || E <- Errors, E =/= {node_unavailable, Node}, E =/= {unknown_outcome, Node}]),
            ?assertEqual([], warp_cluster_vm:run(Again, fun() -> warp_cluster_load:check(Said) end)),
            ?assertEqual([4, 4], spread(Again)),
            %% All go to the other one, and half of them come back.
            leave_and_return(Other, Vms#{Which := Again}, Dir)
        end,
        #{a => A0, b => B0}, lists:seq(1, rounds())),
    _ = [warp_cluster_vm:kill(Vm) || Vm <- maps:values(Vms)],
    ok.

rounds() ->
    case is_long() of true -> 100; false -> 3 end.

is_long() -> os:getenv("WARP_LONG") =/= false.

%% A node that has left, and joins again as a new one.
leave_and_return(Name, Vms, Dir) ->
    #{Name := Vm} = Vms,
    [Stays] = maps:values(maps:remove(Name, Vms)),
    ok = warp_cluster_vm:run(Vm, fun() -> warp_cluster:leave(warp_cluster_vm:ctx(), #{timeout => 60000}) end),
    ok = warp_cluster_vm:stop(Vm),
    Again = warp_cluster_vm:start(Name, Dir),
    ok = warp_cluster_vm:open(Again, [Stays], #{}),
    Vms#{Name := Again}.

fill(Vm) ->
    warp_cluster_vm:run(Vm, fun() ->
        Ctx = warp_cluster_vm:ctx(),
        Batch = [warp_test:credited(N) || N <- lists:seq(1, 500)],
        lists:foreach(fun(N) ->
            {ok, _} = warp_core:append_batch(warp_core:entity(Ctx, <<"f", (integer_to_binary(N))/binary>>), Batch)
        end, lists:seq(1, 100))
    end).

nothing_is_left_with_the_giver(Config) ->
    [A, B, _] = vms(Config),
    ok = warp_cluster_vm:open(A, [A], #{}),
    Put = fun() ->
        {ok, _} = warp_core:append(warp_cluster_vm:entity(<<"somebody">>),
                                   #{type => <<"Credited">>, aggregate => <<"Account">>,
                                     payload => #{amount => 1, note => <<"needle-in-a-haystack">>}})
    end,
    {ok, 1} = warp_cluster_vm:run(A, Put),
    ok = warp_cluster_vm:open(B, [A], #{}),
    ok = settled(A),
    ok = warp_cluster_vm:run(A, fun() -> warp_cluster:leave(warp_cluster_vm:ctx(), #{timeout => 60000}) end),
    ?assertMatch([_ | _], warp_test:files_with(warp_cluster_vm:dir_of(B), <<"needle-in-a-haystack">>)),
    ?assertEqual([], warp_test:files_with(warp_cluster_vm:dir_of(A), <<"needle-in-a-haystack">>)).

%% A shard is not given while a function of a user runs in it.
a_shard_that_stays_holds_up_no_other(Config) ->
    [A, B, _] = vms(Config),
    ok = warp_cluster_vm:open(A, [A], #{}),
    ok = warp_cluster_vm:run(A, fun() -> warp_cluster:pause(warp_cluster_vm:ctx()) end),
    ok = warp_cluster_vm:open(B, [A], #{}),
    NodeB = warp_cluster_vm:node_of(B),
    {ok, Ring} = warp_cluster_vm:run(A, fun() -> warp_cluster:ring(warp_cluster_vm:ctx()) end),
    [First, _, _, _] = lists:sort([N || {N, Node} <- maps:to_list(Ring), Node =:= NodeB]),
    ok = warp_cluster_vm:run(A, fun() ->
        Entity = hd([E || N <- lists:seq(1, 1000), E <- [warp_cluster_vm:entity(integer_to_binary(N))],
                          warp_test:shard_of(E) =:= First]),
        ok = persistent_term:put(stays, true),
        _ = spawn(fun() -> again_and_again(Entity) end),
        ok
    end),
    ok = warp_cluster_vm:run(A, fun() -> warp_cluster:resume(warp_cluster_vm:ctx()) end),
    ok = warp_test:wait_until(fun() -> spread(A) =:= [5, 3] end, 30000),
    {ok, #{shards := #{NodeB := Given}}} =
        warp_cluster_vm:run(A, fun() -> warp_cluster:status(warp_cluster_vm:ctx()) end),
    ?assertNot(lists:member(First, Given)),
    ok = warp_cluster_vm:run(A, fun() -> persistent_term:put(stays, false) end),
    ok = settled(A),
    ?assertEqual([4, 4], spread(A)).

%% The function is ended when an attempt to give the shard is given up, and called again as a saga would.
again_and_again(Entity) ->
    Stays = fun Stays(_) ->
        case persistent_term:get(stays) of
            true -> timer:sleep(20), Stays(again);
            false -> {ok, [warp_test:credited(1)]}
        end
    end,
    case warp_core:decide(Entity, <<"Account">>, Stays, #{timeout => infinity}) of
        {ok, _} -> ok;
        {error, _} -> again_and_again(Entity)
    end.
