%% The context of a single node is made a cluster's: with all that it has, and with what is under way.
-module(warp_cluster_single_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([all_that_it_has_is_the_clusters/1, a_crash_while_it_becomes_one/1, a_crash_while_it_joins/1,
         a_cluster_of_one_node_goes_on/1,
         a_folder_that_did_not_join_stays_what_it_was/1]).
%% Inside a VM
-export([gate/2, refused/1, shown/0]).

-define(SECRET, <<"victims-secret">>).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [{group, embedded}, {group, rqlite}, a_crash_while_it_becomes_one, a_crash_while_it_joins,
     a_cluster_of_one_node_goes_on,
     a_folder_that_did_not_join_stays_what_it_was].

groups() -> [{Target, [all_that_it_has_is_the_clusters]} || Target <- [embedded, rqlite]].

init_per_group(Group, Config) -> warp_projection_test:init_group(Group, Config).

end_per_group(_Group, Config) -> warp_projection_test:end_group(Config).

init_per_testcase(_Case, Config) ->
    [{dir, warp_test:new_dir()} | Config].

end_per_testcase(_Case, Config) ->
    _ = [catch warp_cluster_vm:kill(Vm) || Vm <- erase_vms()],
    warp_test:remove_dir(?config(dir, Config)).

%% ------------------------------------------------------------------ Cases

all_that_it_has_is_the_clusters(Config) ->
    Options = options(Config),
    A = start(a, Config),
    ok = single(A, Options),
    ok = fill(A, 1, 100),
    %% A name that has seen some of the events.
    ok = warp_cluster_follower:start(A, before, #{name => <<"name">>, from => beginning}),
    ok = warp_cluster_follower:await(A, before, 100),
    ok = warp_cluster_follower:stop(A, before),
    ok = fill(A, 101, 200),
    %% A subscriber that has set an event aside.
    ok = subscriber(A),
    ok = wait(fun() -> parked(A) =:= [{<<"5">>, 5}] end),
    %% A saga between two steps.
    {error, timeout} = on(A, fun(Ctx) -> warp_saga:commit(transfer(), Ctx, #{wait => 500}) end),
    ok = wait(fun() -> length(shown(A)) =:= 201 end),
    %% A deletion of which the node knows that it has begun, when it ends.
    {ok, 1} = append(A, <<"victim">>, ?SECRET),
    ok = wait(fun() -> length(shown(A)) =:= 202 end),
    crashed = crash(A, 2, fun() -> warp_core:delete(warp_cluster_vm:entity(<<"victim">>)) end),
    ?assertEqual([<<"victim">>], under_way(A)),
    Again = start(a, Config),
    ok = clustered(Again, Options, ?config(target, Config)),
    ok = wait(fun() -> under_way(Again) =:= [] end),
    ?assertEqual([], warp_test:files_with(warp_cluster_vm:dir_of(Again), ?SECRET)),
    ok = same(Again),
    ?assertMatch({ok, [#{id := <<"transfer">>}]}, on(Again, fun(Ctx) -> warp_saga:pending(Ctx) end)),
    ok = warp_cluster_vm:run(Again, fun() -> persistent_term:put(gate, open) end),
    {ok, {committed, #{steps := [_, _, _]}}} = on(Again, fun(Ctx) -> warp_saga:commit(transfer(), Ctx) end),
    ok = subscriber(Again),
    ?assertEqual([{<<"5">>, 5}], parked(Again)),
    %% Another node joins, and has its share of everything.
    B = start(b, Config),
    ok = warp_cluster_vm:open(B, [Again], Options),
    ok = settled(B),
    {ok, #{shards := Shards}} = on(B, fun(Ctx) -> warp_cluster:status(Ctx) end),
    ?assertEqual([3, 3], [length(Ns) || Ns <- maps:values(Shards)]),
    ok = same(B),
    ?assertMatch({ok, {committed, _}}, on(B, fun(Ctx) -> warp_saga:commit(transfer(), Ctx) end)),
    ?assertEqual([{<<"5">>, 5}], parked(B)),
    ok = on(B, fun(Ctx) -> warp_subscription:retry(Ctx, <<"refuses">>, <<"5">>) end),
    ok = fill(B, 201, 300),
    ok = warp_cluster_follower:start(B, behind, #{name => <<"name">>}),
    Rest = lists:sort([{integer_to_binary(N rem 10), (N - 1) div 10 + 1} || N <- lists:seq(101, 300)]),
    ok = wait(fun() -> length(rest(B, behind)) >= 200 end),
    %% Each entity in its order.
    ?assertEqual(Rest, lists:keysort(1, rest(B, behind))),
    ok = wait(fun() -> length(shown(B)) =:= 303 end),
    %% What is new is deleted as ever.
    {ok, 1} = append(B, <<"victim">>, ?SECRET),
    ok = on(Again, fun(Ctx) -> warp_core:delete(warp_core:entity(Ctx, <<"victim">>)) end),
    ?assertEqual([], [File || Vm <- [Again, B], File <- warp_test:files_with(warp_cluster_vm:dir_of(Vm), ?SECRET)]).

%% The VM ends after the first, the second, ... write of the start as a cluster.
a_crash_while_it_becomes_one(Config) ->
    A = start(a, Config),
    ok = single(A, options(Config)),
    ok = fill(A, 1, 100),
    ok = warp_cluster_vm:kill(A),
    Commits = crashed_after(1, Config),
    ?assert(Commits >= 4).

%% The others know of a start that ended before the node knew that it was a member.
a_crash_while_it_joins(Config) ->
    A = start(a, Config),
    ok = warp_cluster_vm:open(A, [A], options(Config)),
    Joining = (options(Config))#{cluster => {clustered, #{seed_nodes => [warp_cluster_vm:node_of(A)]}}},
    ok = warp_cluster_vm:run(A, fun() -> warp_cluster:pause(warp_cluster_vm:ctx()) end),
    Ends = [crashed_at(Name, N, Joining, Config) || {N, Name} <- lists:enumerate([b, c, d, e, f])],
    ?assert(length([crashed || crashed <- Ends]) >= 3).

crashed_at(Name, N, Joining, Config) ->
    Vm = start(Name, Config),
    Result = crash(Vm, N, opening(Vm, Joining)),
    _ = [ok = warp_cluster_vm:kill(Vm) || Result =:= ok],
    Again = start(Name, Config),
    ?assertEqual(ok, warp_cluster_vm:run(Again, opening(Again, Joining))),
    ok = warp_cluster_vm:kill(Again),
    Result.

crashed_after(N, Config) ->
    A = start(a, Config),
    Node = warp_cluster_vm:node_of(A),
    Clustered = (options(Config))#{cluster => {clustered, #{seed_nodes => [Node]}}},
    case crash(A, N, opening(A, Clustered)) of
        crashed ->
            crashed_after(N + 1, Config);
        ok ->
            ok = warp_cluster_vm:bind(A),
            ?assertEqual(lists:duplicate(10, lists:seq(1, 10)), logs(A)),
            ok = fill(A, 101, 110),
            ?assertEqual(lists:duplicate(10, lists:seq(1, 11)), logs(A)),
            N - 1
    end.

%% The VM ends after so many writes of what the fun does, unless there are fewer.
crash(Vm, Writes, Fun) ->
    %% NOTE: what writes to a VM that has just ended crashes, and whoever is linked with it too.
    ok = warp_cluster_vm:release(Vm),
    try
        warp_cluster_vm:run(Vm, fun() ->
            warp_nif:fault({abort_after, Writes}),
            Result = Fun(),
            warp_nif:fault(off),
            Result
        end)
    catch
        _:_ -> crashed
    end.

logs(Vm) ->
    on(Vm, fun(Ctx) ->
        [[Seq || #{seq := Seq} <- element(2, {ok, _} = warp_core:history(warp_core:entity(Ctx, integer_to_binary(N))))]
         || N <- lists:seq(0, 9)]
    end).

%% There is no way back to `single_node', and no need for one.
a_cluster_of_one_node_goes_on(Config) ->
    [A, B] = [start(Name, Config) || Name <- [a, b]],
    ok = warp_cluster_vm:open_all([A, B], options(Config)),
    ok = fill(B, 1, 100),
    ok = settled(B),
    ok = on(B, fun(Ctx) -> warp_cluster:leave(Ctx, #{timeout => 60000}) end),
    ok = warp_cluster_vm:stop(B),
    ok = warp_cluster_vm:close(A),
    Refused = single(A, options(Config)),
    ?assertMatch({error, {folder_of_cluster, _}}, Refused),
    {error, Why} = Refused,
    ?assertMatch({match, _}, re:run(warp_error:format_error(Why), "node\\(\\)")),
    ok = clustered(A, options(Config), embedded),
    ?assertEqual(lists:duplicate(10, lists:seq(1, 10)), logs(A)),
    ok = fill(A, 101, 110).

%% By mistake a node with a context is pointed at a cluster.
a_folder_that_did_not_join_stays_what_it_was(Config) ->
    [A, B] = [start(Name, Config) || Name <- [a, b]],
    ok = warp_cluster_vm:open(A, [A], options(Config)),
    ok = single(B, options(Config)),
    ok = fill(B, 1, 100),
    ok = warp_cluster_vm:close(B),
    ?assertMatch({error, {folder_not_empty, _}}, warp_cluster_vm:open(B, [A], options(Config))),
    ok = single(B, options(Config)),
    ?assertEqual(lists:duplicate(10, lists:seq(1, 10)), logs(B)),
    ok = warp_cluster_vm:close(B),
    %% Also by a VM of another name.
    ok = warp_cluster_vm:stop(B),
    C = start(c, Config),
    ok = file:del_dir_r(warp_cluster_vm:dir_of(C)),
    ok = file:rename(warp_cluster_vm:dir_of(B), warp_cluster_vm:dir_of(C)),
    ok = clustered(C, options(Config), embedded),
    ?assertEqual(lists:duplicate(10, lists:seq(1, 10)), logs(C)).

%% ------------------------------------------------------------------ Nodes

start(Name, Config) ->
    Fault = ["-env", "WARP_NIF", filename:join([warp_fault_vm:root(), "_build", "fault", "warp_nif"])],
    Vm = warp_cluster_vm:start(Name, ?config(dir, Config), Fault),
    ok = warp_cluster_vm:run(Vm, fun() -> persistent_term:put(gate, closed) end),
    put(vms, [Vm | erase_vms()]),
    Vm.

erase_vms() ->
    case erase(vms) of undefined -> []; Vms -> Vms end.

options(Config) ->
    Projections =
        case ?config(target, Config) of
            undefined -> embedded;
            _ -> warp_projection_test:projections(Config)
        end,
    #{shards => 6, aggregates => [aggregate()], projections => Projections,
      steps => #{<<"gate">> => fun ?MODULE:gate/2}}.

single(Vm, Options) ->
    warp_cluster_vm:run(Vm, opening(Vm, Options)).

opening(Vm, Options) ->
    Dir = warp_cluster_vm:dir_of(Vm),
    fun() -> warp_cluster_vm:open_here(warp_cluster_vm:options(Dir, Options)) end.

%% In one of the two ways.
clustered(Vm, Options, embedded) ->
    warp_cluster_vm:open(Vm, [Vm], Options);
clustered(Vm, Options, rqlite) ->
    single(Vm, Options#{cluster => {clustered, #{bootstrap => true}}}).

aggregate() ->
    #{name => <<"Seen">>, initial_state => 0,
      apply => fun(Count, _) -> Count + 1 end,
      project => fun(Id, _State, #{seq := Seq, payload := #{text := Text}}) -> row(Id, Seq, Text);
                    (Id, _State, #{seq := Seq, payload := #{<<"text">> := Text}}) -> row(Id, Seq, Text) end}.

row(Id, Seq, Text) ->
    [warp_projection:upsert(seen, <<Id/binary, $-, (integer_to_binary(Seq))/binary>>, #{whose => Id, text => Text})].

event(Text) -> #{type => <<"Seen">>, payload => #{text => Text}}.

on(Vm, Fun) -> warp_cluster_vm:run(Vm, fun() -> Fun(warp_cluster_vm:ctx()) end).

settled(Vm) ->
    case on(Vm, fun(Ctx) -> warp_cluster:migrate(Ctx, #{timeout => 30000}) end) of
        ok -> ok;
        Error -> error({Error, on(Vm, fun(Ctx) -> {warp_cluster:progress(Ctx), warp_cluster:status(Ctx)} end)})
    end.

append(Vm, Id, Text) -> on(Vm, fun(Ctx) -> warp_core:append(warp_core:entity(Ctx, Id), event(Text)) end).

%% Events of ten entities: the Nth one is of N rem 10.
fill(Vm, From, To) ->
    on(Vm, fun(Ctx) ->
        lists:foreach(
            fun(N) ->
                {ok, _} = warp_core:append(warp_core:entity(Ctx, integer_to_binary(N rem 10)), event(<<"text">>))
            end,
            lists:seq(From, To))
    end).

%% What `fill' has stored, of that which a subscriber got.
rest(Vm, Of) -> [{Id, Seq} || {Id, Seq, #{<<"text">> := <<"text">>}} <- warp_cluster_follower:got(Vm, Of)].

%% Debits one, waits at the gate, and credits another one.
transfer() ->
    Step = fun(Id, Action) -> warp_saga_test:step(Id, <<"Seen">>, Action, event(<<"undone">>)) end,
    warp_saga_test:saga(<<"transfer">>, [Step(<<"from">>, event(<<"saga">>)), Step(<<"gate">>, #{run => <<"gate">>}),
                                         Step(<<"to">>, event(<<"saga">>))]).

%% The states, and the rows of the projection, after 200 events, but for those of the saga.
same(Vm) ->
    Ids = [integer_to_binary(N) || N <- lists:seq(0, 9)],
    States = on(Vm, fun(Ctx) ->
        [warp_core:get(warp_core:entity(Ctx, Id), <<"Seen">>) || Id <- [<<"victim">>, <<"from">> | Ids]]
    end),
    ?assertEqual([{ok, 0}, {ok, 1} | lists:duplicate(10, {ok, 20})], States),
    wait(fun() ->
        Rows = shown(Vm),
        length([Id || Id <- Rows, lists:member(Id, Ids)]) =:= 200 andalso not lists:member(<<"victim">>, Rows)
    end).

shown(Vm) -> warp_cluster_vm:run(Vm, fun ?MODULE:shown/0).

%% A subscriber that refuses one of the events.
subscriber(Vm) ->
    on(Vm, fun(Ctx) ->
        Subscriber = warp_test_subscriber:new(<<"refuses">>, #{event => fun ?MODULE:refused/1}, #{tries => 1}),
        Self = self(),
        spawn(fun() ->
            Self ! {self(), warp_subscriber:start_link(Ctx, Subscriber)},
            receive stop -> ok end
        end),
        receive {_, {ok, _}} -> ok end
    end).

parked(Vm) ->
    case on(Vm, fun(Ctx) -> warp_subscription:parked(Ctx, <<"refuses">>) end) of
        {ok, All} -> [{Entity, Seq} || #{entity := Entity, seq := Seq} <- All];
        %% It has not begun yet.
        {error, unknown_subscription} -> none
    end.

%% The entities in the list of unfinished deletions.
under_way(Vm) ->
    [List] = filelib:wildcard("**/erasures.db", warp_cluster_vm:dir_of(Vm)),
    warp_test:sqlite(filename:join(warp_cluster_vm:dir_of(Vm), List), "SELECT entity FROM notes").

wait(Fun) -> warp_test:wait_until(Fun, 30000).

%% ------------------------------------------------------------------ Inside a VM

gate(State, Args) ->
    case persistent_term:get(gate) of
        open -> {ok, event(<<"gate">>)};
        closed -> timer:sleep(20), gate(State, Args)
    end.

refused(#{entity := <<"5">>, seq := 5}) -> {error, not_now};
refused(_) -> ok.

%% Of each row whose it is.
shown() ->
    case warp_core:query(warp_cluster_vm:ctx(), "SELECT whose FROM seen", []) of
        {ok, #{rows := Rows}} -> [Id || [Id] <- Rows];
        %% Nothing was projected yet.
        {error, {sql_error, _}} -> []
    end.
