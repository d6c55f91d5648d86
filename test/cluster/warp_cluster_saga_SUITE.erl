%% Sagas whose shards and entities are on several nodes.
-module(warp_cluster_saga_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([every_function_works_from_every_node/1, the_same_id_from_two_nodes_runs_once/1,
         steps_run_where_their_entities_are/1, sagas_move_while_they_run/1, callers_wait_while_their_saga_moves/1,
         a_saga_waits_for_a_node_that_is_down/1, a_saga_turns_back_once_it_knows/1,
         a_caller_is_told_that_a_node_was_lost/1,
         a_killed_node_loses_no_money/1, a_frozen_node_loses_no_money/1, attempts_run_in_order/1]).
%% Step functions, inside a VM.
-export([gate/2, where/2, undo/3]).

-import(warp_cluster_vm, [vms/1, settled/1, run/2, ctx/0, node_of/1]).
-import(warp_saga_test, [transfer/4, saga/2, step/3, step/4]).

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [every_function_works_from_every_node, the_same_id_from_two_nodes_runs_once, steps_run_where_their_entities_are,
     sagas_move_while_they_run, callers_wait_while_their_saga_moves, a_saga_waits_for_a_node_that_is_down,
     a_saga_turns_back_once_it_knows, a_caller_is_told_that_a_node_was_lost, a_killed_node_loses_no_money,
     a_frozen_node_loses_no_money, attempts_run_in_order].

init_per_testcase(_Case, Config) -> warp_cluster_vm:init_case([a, b], Config).

end_per_testcase(_Case, Config) -> warp_cluster_vm:end_case(Config).

options() ->
    #{steps => #{<<"gate">> => fun ?MODULE:gate/2, <<"where">> => fun ?MODULE:where/2,
                 <<"undo">> => fun ?MODULE:undo/3}}.

%% Two nodes with half of the shards each.
spread(Config) ->
    [A, _] = Vms = vms(Config),
    ok = warp_cluster_vm:open_all(Vms, options()),
    ok = settled(A),
    Vms.

%% ------------------------------------------------------------------ Inside a VM

%% Waits until the gate of this VM is open.
gate(State, Args) ->
    case persistent_term:get({?MODULE, gate}, closed) of
        open -> {ok, #{type => <<"Noted">>, payload => #{}}};
        closed -> ok = timer:sleep(10), gate(State, Args)
    end.

%% Opens and closes the gates of all nodes.
gates(How) ->
    _ = [ok = erpc:call(Node, persistent_term, put, [{?MODULE, gate}, How]) || Node <- [node() | nodes(visible)]],
    ok.

where(_State, _Args) ->
    {ok, #{type => <<"Noted">>, payload => #{at => atom_to_binary(node())}}}.

undo(_State, _Args, #{payload := #{<<"at">> := At}}) ->
    {ok, #{type => <<"Undone">>, payload => #{was => At, at => atom_to_binary(node())}}}.

%% Names of entities that are on that node, as many as wanted, beginning with Prefix.
names_at(Node, Prefix, Count) ->
    Names = [<<Prefix/binary, (integer_to_binary(N))/binary>> || N <- lists:seq(1, 1000)],
    lists:sublist([Name || Name <- Names, {ok, Node} =:= warp_cluster:owner(warp_core:entity(ctx(), Name))], Count).

%% Ids of sagas that are on that node.
ids_at(Node, Prefix, Count) ->
    {ok, #{shards := #{Node := Ns}}} = warp_cluster:status(ctx()),
    {ok, #{shards := Shards}} = warp_context:find(ctx()),
    Ids = [<<Prefix/binary, (integer_to_binary(N))/binary>> || N <- lists:seq(1, 1000)],
    IsAt = fun(Id) -> {ok, N} = warp_nif:shard_of(warp_saga_plan:entity_id(Id), Shards), lists:member(N, Ns) end,
    lists:sublist([Id || Id <- Ids, IsAt(Id)], Count).

ids_of(Name) ->
    {ok, Events} = warp_core:export(warp_core:entity(ctx(), Name)),
    [Id || #{id := Id} <- Events].

noted() -> #{type => <<"Noted">>, payload => #{n => 0}}.

function(Name) -> #{run => Name}.

%% ------------------------------------------------------------------ The cases

every_function_works_from_every_node(Config) ->
    [A, B] = spread(Config),
    [NodeA, NodeB] = [node_of(Vm) || Vm <- [A, B]],
    lists:foreach(
        fun({Vm, Prefix}) ->
            run(Vm, fun() ->
                Ctx = ctx(),
                [Here, There] = [hd(names_at(Node, Prefix, 1)) || Node <- [NodeA, NodeB]],
                [{ok, _} = warp_core:append(warp_core:entity(Ctx, Name), warp_test:credited(1000))
                 || Name <- [Here, There]],
                lists:foreach(fun(Id) -> all_functions(Ctx, Id, Here, There) end,
                              [hd(ids_at(Node, Prefix, 1)) || Node <- [NodeA, NodeB]])
            end)
        end,
        [{A, <<"a">>}, {B, <<"b">>}]).

all_functions(Ctx, Id, Here, There) ->
    Of = fun(What) -> <<Id/binary, "-", What/binary>> end,
    %% A result, and the same one again.
    Transfer = transfer(Of(<<"t">>), Here, There, 100),
    {ok, {committed, #{steps := [#{status := applied}, #{status := applied}]}}} = Result =
        warp_saga:commit(Transfer, Ctx),
    Result = warp_saga:commit(Transfer, Ctx),
    {ok, #{state := committed}} = warp_saga:status(Ctx, Of(<<"t">>)),
    Result = warp_saga:cancel(Ctx, Of(<<"t">>)),
    {error, {saga_conflict, _}} = warp_saga:commit(transfer(Of(<<"t">>), There, Here, 1), Ctx),
    %% One that turns back.
    {ok, {compensated, #{failed := #{step := 1, reason := {rejected, {overdraft, _, 100000}}}}}} =
        warp_saga:commit(saga(Of(<<"c">>), [step(There, <<"Credited">>, 5), step(Here, <<"Debited">>, 100000)]), Ctx),
    %% One that is stuck, is tried again, and is closed.
    Stuck = [step(There, warp_saga_test:action(<<"Credited">>, 5), warp_saga_test:action(<<"Debited">>, 1000000)),
             step(Here, <<"Debited">>, 100000)],
    {ok, {stuck, #{blocked := #{step := 0}}}} = warp_saga:commit(saga(Of(<<"s">>), Stuck), Ctx),
    {ok, [#{id := StuckId}]} = warp_saga:stuck(Ctx),
    StuckId = Of(<<"s">>),
    {error, {not_stuck, committed}} = warp_saga:retry(Ctx, Of(<<"t">>)),
    {ok, {stuck, _}} = warp_saga:retry(Ctx, StuckId),
    {error, {bad_note, empty}} = warp_saga:resolve(Ctx, StuckId, <<>>),
    {ok, {stuck, #{note := <<"by hand">>}}} = warp_saga:resolve(Ctx, StuckId, <<"by hand">>),
    {error, {not_stuck, resolved}} = warp_saga:resolve(Ctx, StuckId, <<"by hand">>),
    {ok, []} = warp_saga:stuck(Ctx),
    %% Those under way.
    Waiting = saga(Of(<<"w">>), [step(There, <<"Debited">>, 1),
                                 step(Of(<<"w">>), <<"Log">>, function(<<"gate">>), noted()),
                                 step(Here, <<"Credited">>, 1)]),
    {error, timeout} = warp_saga:commit(Waiting, Ctx, #{wait => 200}),
    {ok, [#{id := WaitingId, state := running}]} = warp_saga:pending(Ctx),
    WaitingId = Of(<<"w">>),
    {error, timeout} = warp_saga:recover_pending(Ctx, #{wait => 100}),
    {error, timeout} = warp_saga:cancel(Ctx, WaitingId, #{wait => 0}),
    Self = self(),
    _ = spawn_link(fun() -> Self ! {recovered, warp_saga:recover_pending(Ctx)} end),
    ok = timer:sleep(200),
    ok = gates(open),
    {ok, {compensated, #{failed := #{reason := cancelled}}}} = warp_saga:cancel(Ctx, WaitingId),
    {ok, #{compensated := 1, committed := 0}} = receive {recovered, Recovered} -> Recovered end,
    {ok, []} = warp_saga:pending(Ctx),
    ok = gates(closed),
    %% Errors.
    {error, not_found} = warp_saga:status(Ctx, Of(<<"nobody">>)),
    {error, not_found} = warp_saga:cancel(Ctx, Of(<<"nobody">>)),
    {error, not_found} = warp_saga:retry(Ctx, Of(<<"nobody">>)),
    {error, {bad_saga_id, empty}} = warp_saga:status(Ctx, <<>>),
    {error, {bad_saga_id, not_a_saga}} = warp_saga:commit(x, Ctx),
    {error, empty_saga} = warp_saga:commit(warp_saga:new(Of(<<"e">>)), Ctx),
    {error, {bad_option, wait, _}} = warp_saga:commit(Transfer, Ctx, #{wait => x}),
    {error, {bad_step, 0, {aggregate, {unknown_aggregate, <<"Nobody">>}}}} =
        warp_saga:commit(saga(Of(<<"u">>), [step(Here, <<"Nobody">>, noted(), noted())]), Ctx).

the_same_id_from_two_nodes_runs_once(Config) ->
    [A, B] = Vms = spread(Config),
    [NodeA, NodeB] = [node_of(Vm) || Vm <- Vms],
    Commit = fun() ->
        [Alice] = names_at(NodeA, <<"alice">>, 1),
        [Bob] = names_at(NodeB, <<"bob">>, 1),
        [warp_saga:commit(transfer(integer_to_binary(N), Bob, Alice, 1), ctx()) || N <- lists:seq(1, 100)]
    end,
    run(A, fun() ->
        {ok, 1} = warp_core:append(warp_core:entity(ctx(), hd(names_at(NodeB, <<"bob">>, 1))), warp_test:credited(1000))
    end),
    Self = self(),
    _ = [spawn_link(fun() -> Self ! {Vm, run(Vm, Commit)} end) || Vm <- Vms],
    [Results, Others] = [receive {Vm, Of} -> Of end || Vm <- Vms],
    ?assertEqual(Results, Others),
    ?assertEqual([committed], lists:usort([How || {ok, {How, _}} <- Results])),
    ?assertEqual([900, 100], run(B, fun() ->
        warp_saga_test:balances(ctx(), [hd(names_at(NodeB, <<"bob">>, 1)), hd(names_at(NodeA, <<"alice">>, 1))])
    end)).

%% Also a function that takes the event that is to be reversed.
steps_run_where_their_entities_are(Config) ->
    [A, B] = spread(Config),
    [NodeA, NodeB] = Nodes = [node_of(Vm) || Vm <- [A, B]],
    run(A, fun() ->
        Ctx = ctx(),
        [Id | _] = ids_at(NodeA, <<"s">>, 1),
        [Here, There] = [hd(names_at(Node, <<"log">>, 1)) || Node <- Nodes],
        Steps = [step(Name, <<"Log">>, function(<<"where">>), function(<<"undo">>)) || Name <- [There, Here]],
        {ok, {compensated, _}} = warp_saga:commit(saga(Id, Steps ++ [step(Here, <<"Debited">>, 1)]), Ctx),
        [{ok, [#{type := <<"Noted">>, payload := #{<<"at">> := At}},
               #{type := <<"Undone">>, payload := #{<<"was">> := At, <<"at">> := At}}]} =
             warp_core:history(warp_core:entity(Ctx, Name))
         || {Name, Node} <- [{Here, NodeA}, {There, NodeB}], At <- [atom_to_binary(Node)]]
    end).

%% Transfers from both nodes while shards go to a third one, and come back.
sagas_move_while_they_run(Config) ->
    [A, B] = spread(Config),
    C = warp_cluster_vm:start(c, proplists:get_value(dir, Config)),
    try
        ok = fund(A),
        ok = begin_transfers([A, B]),
        ok = warp_cluster_vm:open(C, [A], options()),
        ok = settled(A),
        ok = settled(B),
        ok = run(A, fun() -> warp_cluster:leave(ctx(), #{timeout => 60000}) end),
        Done = end_transfers([A, B]),
        ct:pal("~p", [counts(Done)]),
        ?assertEqual([], [Error || {_, {error, _} = Error} <- Done]),
        ?assert(length(Done) > 100),
        ok = money_is_conserved(C, Done),
        %% Each keeper makes its calls in the epoch that its shard has.
        ?assertEqual([], run(C, fun() ->
            {ok, Context} = warp_context:find(ctx()),
            [N || N <- warp_context_owners:here(Context),
                  {ok, Keeper} <- [warp_context:registered(Context, {saga_keeper, N})],
                  element(8, sys:get_state(Keeper)) =/= warp_context_owners:epoch(Context, N)]
        end))
    after
        catch warp_cluster_vm:kill(C)
    end.

%% The step waits on the node that stays, and its saga goes there.
callers_wait_while_their_saga_moves(Config) ->
    [A, B] = Vms = spread(Config),
    [NodeA, NodeB] = [node_of(Vm) || Vm <- Vms],
    {[Goes, Cancelled], There, Log} = run(A, fun() ->
        {ids_at(NodeA, <<"s">>, 2), hd(names_at(NodeB, <<"x">>, 1)), hd(names_at(NodeB, <<"log">>, 1))}
    end),
    Gate = step(Log, <<"Log">>, function(<<"gate">>), noted()),
    Credit = step(There, <<"Credited">>, 5),
    Saga = saga(Goes, [Credit, Gate, Credit]),
    Other = saga(Cancelled, [Credit, Gate, Credit]),
    Self = self(),
    Call = fun(Tag, Vm, Fun) -> _ = spawn_link(fun() -> Self ! {Tag, run(Vm, Fun)} end), ok end,
    _ = [ok = Call(goes, Vm, fun() -> warp_saga:commit(Saga, ctx()) end) || Vm <- Vms],
    ok = Call(cancelled, A, fun() -> warp_saga:commit(Other, ctx()) end),
    ok = warp_test:wait_until(fun() ->
        {ok, Pending} = run(B, fun() -> warp_saga:pending(ctx()) end),
        length(Pending) =:= 2 andalso length(run(B, fun() -> ids_of(There) end)) =:= 2
    end),
    _ = [ok = Call(cancelled, Vm, fun() -> warp_saga:cancel(ctx(), Cancelled) end) || Vm <- Vms],
    ok = Call(recovered, A, fun() -> warp_saga:recover_pending(ctx()) end),
    ok = run(A, fun() -> warp_cluster:leave(ctx(), #{timeout => 60000}) end),
    ?assertMatch({ok, [_, _]}, run(A, fun() -> warp_saga:pending(ctx()) end)),
    ?assertEqual([], run(A, fun() -> {ok, Context} = warp_context:find(ctx()), warp_saga_stats:under_way(Context) end)),
    ok = run(B, fun() -> gates(open) end),
    Answers = [receive {Tag, Answer} -> {Tag, Answer} end || Tag <- [goes, goes, cancelled, cancelled, cancelled]],
    ?assertMatch([_, _], lists:usort(Answers)),
    ?assertMatch([{cancelled, {ok, {compensated, #{failed := #{reason := cancelled}}}}}, {goes, {ok, {committed, _}}}],
                 lists:usort(Answers)),
    receive {recovered, Recovered} -> ?assertMatch({ok, #{committed := 1, compensated := 1}}, Recovered) end,
    ?assertEqual([<<Of/binary, "/fwd/0">> || Of <- [Goes]],
                 run(A, fun() -> [Id || Id <- ids_of(There), Id =:= <<Goes/binary, "/fwd/0">>] end)).

a_saga_waits_for_a_node_that_is_down(Config) ->
    [A, B] = spread(Config),
    [NodeA, NodeB] = [node_of(Vm) || Vm <- [A, B]],
    {Id, Here, There} = run(A, fun() ->
        [Id] = ids_at(NodeA, <<"s">>, 1),
        {Id, hd(names_at(NodeA, <<"x">>, 1)), hd(names_at(NodeB, <<"x">>, 1))}
    end),
    ok = warp_cluster_vm:kill(B),
    Saga = saga(Id, [step(Here, <<"Credited">>, 5), step(There, <<"Credited">>, 7)]),
    %% However few retries it has.
    Commit = fun() -> warp_saga:commit(Saga, ctx(), #{wait => 3000, retries => 0}) end,
    ?assertEqual({error, timeout}, run(A, Commit)),
    ?assertEqual({error, {node_unavailable, NodeB}}, run(A, fun() -> warp_saga:pending(ctx()) end)),
    ?assertEqual({error, {node_unavailable, NodeB}}, run(A, fun() -> warp_saga:stuck(ctx()) end)),
    ?assertEqual({error, {node_unavailable, NodeB}}, run(A, fun() -> warp_saga:recover_pending(ctx()) end)),
    ?assertEqual({error, {node_unavailable, NodeB}},
                 run(A, fun() -> warp_saga:status(ctx(), hd(ids_at(NodeB, <<"s">>, 1))) end)),
    %% One that has a deadline turns back at once then, since nothing was sent to that node.
    Short = saga(<<Id/binary, "-short">>, [step(There, <<"Credited">>, 7)]),
    [ShortId] = run(A, fun() -> ids_at(NodeA, <<"short">>, 1) end),
    ?assertMatch({ok, {compensated, #{failed := #{reason := timeout}, steps := [#{status := not_run}]}}},
                 run(A, fun() -> warp_saga:commit(setelement(2, Short, ShortId), ctx(), #{timeout => 1000}) end)),
    Again = warp_cluster_vm:start(b, proplists:get_value(dir, Config)),
    ok = warp_cluster_vm:open(Again, [A], options()),
    ?assertMatch({ok, {committed, _}}, run(A, fun() -> warp_saga:commit(Saga, ctx()) end)),
    ?assertEqual([5, 7], run(Again, fun() -> warp_saga_test:balances(ctx(), [Here, There]) end)),
    warp_cluster_vm:kill(Again).

%% The node is lost when it may have carried out the step.
a_saga_turns_back_once_it_knows(Config) ->
    [A, B] = spread(Config),
    [NodeA, NodeB] = [node_of(Vm) || Vm <- [A, B]],
    {Id, Here, There} = run(A, fun() ->
        [Id] = ids_at(NodeA, <<"s">>, 1),
        {Id, hd(names_at(NodeA, <<"x">>, 1)), hd(names_at(NodeB, <<"x">>, 1))}
    end),
    Saga = saga(Id, [step(Here, <<"Credited">>, 5), step(There, <<"Log">>, function(<<"gate">>), noted())]),
    Self = self(),
    Committing = spawn_link(fun() ->
        Self ! {committed, run(A, fun() -> warp_saga:commit(Saga, ctx(), #{timeout => 2000}) end)}
    end),
    ok = warp_test:wait_until(fun() -> run(A, fun() -> ids_of(Here) =:= [<<Id/binary, "/fwd/0">>] end) end),
    ok = timer:sleep(500),
    ok = warp_cluster_vm:freeze(B),
    %% Past its deadline it does not know yet.
    ok = timer:sleep(4000),
    ?assertMatch({ok, #{state := running}}, run(A, fun() -> warp_saga:status(ctx(), Id) end)),
    ok = warp_cluster_vm:thaw(B),
    ok = run(B, fun() -> gates(open) end),
    receive
        {committed, {ok, {How, _}}} ->
            Expected = case How of committed -> {5, 1}; compensated -> {0, 0} end,
            ?assertEqual(Expected, run(B, fun() ->
                {warp_saga_test:balance(ctx(), Here),
                 length([I || I <- ids_of(There), I =:= <<Id/binary, "/fwd/1">>]) -
                     length([I || I <- ids_of(There), I =:= <<Id/binary, "/comp/1">>])}
            end))
    end,
    unlink(Committing).

a_caller_is_told_that_a_node_was_lost(Config) ->
    [A, B] = spread(Config),
    NodeB = node_of(B),
    {Id, Log} = run(A, fun() -> {hd(ids_at(NodeB, <<"s">>, 1)), hd(names_at(NodeB, <<"log">>, 1))} end),
    Saga = saga(Id, [step(Log, <<"Log">>, function(<<"gate">>), noted())]),
    Calls = [fun() -> warp_saga:commit(Saga, ctx()) end, fun() -> warp_saga:cancel(ctx(), Id) end,
             fun() -> warp_saga:recover_pending(ctx()) end],
    Self = self(),
    _ = [begin
             spawn_link(fun() -> Self ! {N, run(A, Call)} end),
             timer:sleep(500)
         end || {N, Call} <- lists:zip([1, 2, 3], Calls)],
    ok = warp_cluster_vm:kill(B),
    Lost = {error, {unknown_outcome, NodeB}},
    Unavailable = {error, {node_unavailable, NodeB}},
    ?assertEqual([Lost, Lost, Unavailable], [receive {N, Answer} -> Answer end || N <- [1, 2, 3]]),
    ?assertEqual([Unavailable, Unavailable, Unavailable], [run(A, Call) || Call <- Calls]).

a_killed_node_loses_no_money(Config) ->
    [A, B] = spread(Config),
    ok = fund(A),
    Kept = lists:foldl(
        fun(_, {Killed, Done}) ->
            ok = begin_transfers([A]),
            ok = timer:sleep(300 + rand:uniform(500)),
            ok = warp_cluster_vm:kill(Killed),
            ok = timer:sleep(rand:uniform(1000)),
            Again = warp_cluster_vm:start(b, proplists:get_value(dir, Config)),
            ok = warp_cluster_vm:open(Again, [A], options()),
            {Again, Done ++ end_transfers([A])}
        end, {B, []}, lists:seq(1, rounds())),
    {Last, Done} = Kept,
    ct:pal("~p", [counts(Done)]),
    Node = node_of(B),
    ?assertEqual([], [Error || {_, {error, Error}} <- Done, not is_of_nodes(Error, [Node])]),
    ok = money_is_conserved(A, Done),
    warp_cluster_vm:kill(Last).

a_frozen_node_loses_no_money(Config) ->
    [A, B] = spread(Config),
    ok = fund(A),
    ok = begin_transfers([A, B]),
    lists:foreach(
        fun({Vm, Millis}) ->
            ok = timer:sleep(500),
            ok = warp_cluster_vm:freeze(Vm),
            ok = timer:sleep(Millis),
            ok = warp_cluster_vm:thaw(Vm)
        end,
        [{A, 1000}, {B, 8000}, {A, 8000}]),
    ok = timer:sleep(500),
    Done = end_transfers([A, B]),
    ct:pal("~p", [counts(Done)]),
    Nodes = [node_of(Vm) || Vm <- [A, B]],
    ?assertEqual([], [Error || {_, {error, Error}} <- Done, not is_of_nodes(Error, Nodes)]),
    money_is_conserved(B, Done).

%% What was sent for a step before is done, or has failed, before the next attempt at it begins; what an earlier owner
%% of the saga sends is refused.
attempts_run_in_order(Config) ->
    [A, B] = spread(Config),
    NodeB = node_of(B),
    run(A, fun() ->
        [Name, Other] = names_at(NodeB, <<"x">>, 2),
        Entity = warp_core:entity(ctx(), Name),
        {ok, Context} = warp_context:find(ctx()),
        {ok, N} = warp_context:shard_of(Context, Name),
        {ok, {remote, Server, _, _, _}} = warp_context:log(Context, N),
        Self = self(),
        Ask = fun(Tag, Call) ->
            spawn_link(fun() -> Self ! {Tag, warp_cluster_call:ask(Server, Call, infinity)} end)
        end,
        Append = {warp_core, append, [Entity, warp_test:credited(1), #{}]},
        Ordered = fun({M, F, Args}, Key, Epoch) -> {M, F, Args, {Key, 3, Epoch}} end,
        _ = Ask(first, Ordered(looks_later(Name, Other), <<"s/fwd/0">>, 1000)),
        ok = timer:sleep(200),
        _ = Ask(second, Ordered(Append, <<"s/fwd/0">>, 1000)),
        {error, not_there} = receive {first, First} -> First end,
        {ok, 1} = receive {second, Second} -> Second end,
        {error, {old_epoch, 3}} = warp_cluster_call:ask(Server, Ordered(Append, <<"t/fwd/0">>, 999), infinity),
        {error, {unknown_request, {lists, seq, 2}}} =
            warp_cluster_call:ask(Server, Ordered({lists, seq, [1, 2]}, <<"t/fwd/0">>, 1000), infinity),
        {ok, 1} = warp_core:wait(Entity, 1, 1000),
        {error, timeout} = warp_core:wait(Entity, 2, 0)
    end),
    %% The node itself waits for what another one has sent, as the saga may have come to it.
    Waits = fun(Context) ->
        [Name, Other] = names_at(NodeB, <<"y">>, 2),
        {ok, N} = warp_context:shard_of(Context, Name),
        {M, F, Args} = looks_later(Name, Other),
        {N, warp_core:entity(ctx(), Name), {M, F, Args, {<<"u/fwd/0">>, 3, 1000}}}
    end,
    Self = self(),
    _ = spawn_link(fun() ->
        Self ! {waited, run(A, fun() ->
            {ok, Context} = warp_context:find(ctx()),
            {N, _, Wait} = Waits(Context),
            {ok, {remote, Server, _, _, _}} = warp_context:log(Context, N),
            warp_cluster_call:ask(Server, Wait, infinity)
        end)}
    end),
    ok = timer:sleep(500),
    ?assertEqual({ok, 1}, run(B, fun() ->
        {ok, Context} = warp_context:find(ctx()),
        {N, Entity, {M, _, _, Order}} = Waits(Context),
        Append = [Entity, warp_test:credited(1), #{}],
        warp_cluster_call:run(Context, N, {M, append, Append, Order}, {once, fun() -> infinity end},
                              fun() -> apply(M, append, Append) end)
    end)),
    receive {waited, Waited} -> ?assertEqual({error, not_there}, Waited) end.

%% A call that takes two seconds, in a process of another entity, and looks then whether the entity has an event.
looks_later(Name, Other) ->
    {warp_core, decide, [warp_core:entity(ctx(), Other), <<"Account">>,
                         fun(_) ->
                             ok = timer:sleep(2000),
                             {ok, Events} = warp_core:history(warp_core:entity(ctx(), Name)),
                             {error, case Events of [] -> not_there; _ -> there end}
                         end,
                         #{}]}.

%% ------------------------------------------------------------------ Transfers

-define(ACCOUNTS, 20).
-define(FUNDED, 1000).

rounds() ->
    case os:getenv("WARP_LONG") of false -> 2; _ -> 50 end.

account(N) -> <<"account-", (integer_to_binary(N))/binary>>.

accounts() -> [account(N) || N <- lists:seq(1, ?ACCOUNTS)].

fund(Vm) ->
    run(Vm, fun() ->
        lists:foreach(fun(Name) ->
            {ok, 1} = warp_core:append(warp_core:entity(ctx(), Name), warp_test:credited(?FUNDED))
        end, accounts())
    end).

begin_transfers(Vms) ->
    lists:foreach(fun(Vm) ->
        run(Vm, fun() ->
            Pids = [spawn(fun() -> transfers(ctx(), []) end) || _ <- lists:seq(1, 4)],
            persistent_term:put({?MODULE, transfers}, Pids)
        end)
    end, Vms).

%% One transfer after the other; of some nobody knows what became of them, and they are committed again.
transfers(Ctx, Done) ->
    receive
        {stop, From} -> From ! {self(), Done}
    after 0 ->
        Number = integer_to_binary(erlang:unique_integer([positive])),
        Id = <<"t-", (atom_to_binary(node()))/binary, "-", Number/binary>>,
        [From, To | _] = [account(N) || {_, N} <- lists:sort([{rand:uniform(), N} || N <- lists:seq(1, ?ACCOUNTS)])],
        Saga = transfer(Id, From, To, rand:uniform(200)),
        Result = warp_saga:commit(Saga, Ctx),
        _ = [timer:sleep(50) || element(1, Result) =:= error],
        transfers(Ctx, [{Id, Result} | Done])
    end.

end_transfers(Vms) ->
    lists:append([run(Vm, fun() ->
        Pids = persistent_term:get({?MODULE, transfers}),
        _ = [Pid ! {stop, self()} || Pid <- Pids],
        lists:append([receive {Pid, Done} -> Done end || Pid <- Pids])
    end) || Vm <- Vms]).

counts(Done) ->
    lists:foldl(fun({_, Result}, Acc) ->
                    Kind = case Result of {ok, {How, _}} -> How; {error, Reason} -> Reason end,
                    maps:update_with(Kind, fun(N) -> N + 1 end, 1, Acc)
                end, #{}, Done).

%% All sagas come to their end, each as its caller was told, with all of its steps or none; and no money is made or
%% lost.
money_is_conserved(Vm, Done) ->
    run(Vm, fun() ->
        {ok, _} = recovered(ctx(), 100),
        Ended = [{Id, Result, warp_saga:status(ctx(), Id)} || {Id, Result} <- Done],
        [] = [Of || {_, {ok, {How, _}}, Status} = Of <- Ended, not is_in_state(How, Status)],
        Events = maps:from_list([{Id, []} || Name <- accounts(), Id <- ids_of(Name)]),
        [] = [Of || {Id, _, {ok, #{state := committed}}} = Of <- Ended,
                    [] =/= [N || N <- [<<"0">>, <<"1">>], not is_map_key(<<Id/binary, "/fwd/", N/binary>>, Events)]],
        [] = [Of || {Id, _, {ok, #{state := compensated}}} = Of <- Ended, N <- [<<"0">>, <<"1">>],
                    is_map_key(<<Id/binary, "/fwd/", N/binary>>, Events) =/=
                        is_map_key(<<Id/binary, "/comp/", N/binary>>, Events)],
        Total = lists:sum(warp_saga_test:balances(ctx(), accounts())),
        {?ACCOUNTS * ?FUNDED} = {Total},
        ok
    end).

is_of_nodes({Why, Node}, Nodes) when Why =:= node_unavailable; Why =:= unknown_outcome -> lists:member(Node, Nodes);
is_of_nodes(_Why, _Nodes) -> false.

is_in_state(How, {ok, #{state := How}}) -> true;
is_in_state(_How, _Status) -> false.

%% Nodes may just be coming back.
recovered(Ctx, Left) ->
    case warp_saga:recover_pending(Ctx) of
        {ok, _} = Recovered -> Recovered;
        {error, {Why, _}} when Left > 0, Why =:= node_unavailable -> timer:sleep(100), recovered(Ctx, Left - 1);
        {error, _} = Error -> Error
    end.
