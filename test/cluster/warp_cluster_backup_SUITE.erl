%% Backups of a context whose shards several nodes have, restored into a context of a single node.
-module(warp_cluster_backup_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([what_all_nodes_have_comes_back/1, shards_move_between_runs_and_during_them/1, a_cut_has_sagas_whole/1,
         a_deletion_waits_for_the_backups_of_all_nodes/1, a_node_that_is_away_is_named/1,
         a_node_that_stands_still_holds_nobody_up/1, two_nodes_may_back_up_to_one_target/1,
         who_is_killed_in_a_run_is_followed_by_another/1]).
%% Inside a VM
-export([fill/2, transfers/2]).

-import(warp_cluster_vm, [vms/1, settled/1, ctx/0]).

-define(ACCOUNTS, 12).
-define(FUNDED, 1000).

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [what_all_nodes_have_comes_back, shards_move_between_runs_and_during_them, a_cut_has_sagas_whole,
     a_deletion_waits_for_the_backups_of_all_nodes, a_node_that_is_away_is_named,
     a_node_that_stands_still_holds_nobody_up, two_nodes_may_back_up_to_one_target,
     who_is_killed_in_a_run_is_followed_by_another].

init_per_testcase(_Case, Config) -> warp_cluster_vm:init_case([a, b, c], Config).

end_per_testcase(_Case, Config) ->
    ok = warp_test:stop_all(),
    warp_cluster_vm:end_case(Config).

what_all_nodes_have_comes_back(Config) ->
    [A, B, C] = Vms = vms(Config),
    ok = warp_cluster_vm:open_all(Vms, #{}),
    ok = settled(A),
    ok = on(A, fun() -> ?MODULE:fill(1, 60) end),
    {ok, #{cut := First, rows := 60, events := 120, key_pages := 8}} = backup(B, Config),
    ok = on(B, fun() -> ?MODULE:fill(40, 90) end),
    %% One stream, whoever goes on with it.
    {ok, #{cut := Second, rows := 51}} = backup(C, Config),
    {ok, #{segments := 0, cut := Second}} = backup(A, Config),
    ?assert(Second > First),
    {ok, [#{cut := First}, #{cut := Second}]} = warp_backup:list(target(Config)),
    {ok, #{events := 222}} = warp_backup:verify(target(Config), #{master_key => warp_backup_test:master(Config)}),
    ?assertMatch({ok, #{older := []}}, warp_backup:check(target(Config))),
    Before = logs(A),
    ?assertEqual(Before, restored(Config, "all", #{})),
    Older = restored(Config, "first", #{until => {cut, First}}),
    ?assertEqual(60, maps:size(Older)),
    ?assertEqual(Older, maps:map(fun(Name, Events) -> lists:sublist(maps:get(Name, Before), length(Events)) end,
                                 Older)),
    Options = options(Config, #{to => target(Config), keep => #{cuts => 1}}),
    {ok, #{merged := Merged}} = on(B, fun() -> warp_backup:merge(ctx(), Options) end),
    ?assert(Merged > 1),
    ?assertEqual(Before, restored(Config, "merged", #{})),
    %% What was restored can be a cluster again.
    ok = warp_cluster_vm:close(A),
    {DataDir, _} = warp_backup_test:restore(Config, "again", #{}),
    ok = on(A, fun() ->
        warp_cluster_vm:open_here(warp_cluster_vm:options(DataDir, #{cluster => {clustered, #{bootstrap => true}}}))
    end),
    ?assertEqual(Before, logs(A)).

%% The backup goes on where a shard has gone, and the run that was in the way of a move is made again.
shards_move_between_runs_and_during_them(Config) ->
    [A, B, C] = vms(Config),
    ok = warp_cluster_vm:open_all([A, B], #{}),
    ok = settled(A),
    Load = fun(Vm, Prefix) -> on(Vm, fun() -> warp_cluster_load:start(2, Prefix) end) end,
    ok = Load(A, <<"a">>),
    ok = Load(B, <<"b">>),
    {ok, _} = backup(A, Config),
    {Runs, Monitor} = spawn_monitor(fun() -> backups(A, Config, 0) end),
    ok = warp_cluster_vm:open(C, [A], #{}),
    ok = settled(C),
    {ok, _} = backup(B, Config),
    ok = on(B, fun() -> warp_cluster:leave(ctx(), #{timeout => 60000}) end),
    Runs ! stop,
    receive {'DOWN', Monitor, process, _, {made, Made}} -> ct:pal("~b runs beside the moves", [Made]) end,
    Loads = [{Vm, on(Vm, fun warp_cluster_load:stop/0)} || Vm <- [A, B]],
    [?assertEqual([], Errors) || {_, #{errors := Errors}} <- Loads],
    {ok, _} = backup(C, Config),
    {ok, _} = warp_backup:verify(target(Config), #{master_key => warp_backup_test:master(Config)}),
    Before = logs(A),
    ?assertEqual(Before, restored(Config, "moved", #{})),
    %% Keys are not left where the shards were.
    ?assertEqual([], [File || File <- warp_test:shard_files(warp_cluster_vm:dir_of(B)), filelib:is_regular(File)]).

backups(Vm, Config, Made) ->
    receive
        stop -> exit({made, Made})
    after 0 ->
        {ok, _} = backup(Vm, Config),
        %% The runs of others have to come between.
        ok = timer:sleep(100),
        backups(Vm, Config, Made + 1)
    end.

%% Money is moved between accounts of all nodes meanwhile. Each cut has as much of it as there was, once the sagas that
%% were under way have ended.
a_cut_has_sagas_whole(Config) ->
    [A | _] = Vms = vms(Config),
    ok = warp_cluster_vm:open_all(Vms, #{}),
    ok = settled(A),
    ok = on(A, fun() ->
        lists:foreach(fun(Name) ->
            {ok, 1} = warp_core:append(warp_core:entity(ctx(), Name), warp_test:credited(?FUNDED))
        end, accounts())
    end),
    Callers = [{Vm, on(Vm, fun() -> [spawn(?MODULE, transfers, [ctx(), accounts()]) || _ <- lists:seq(1, 4)] end)}
               || Vm <- Vms],
    Cuts = [begin
                timer:sleep(150),
                {ok, #{cut := Cut}} = backup(lists:nth(1 + N rem 3, Vms), Config),
                Cut
            end || N <- lists:seq(1, 8)],
    [ok = on(Vm, fun() -> lists:foreach(fun(Pid) -> exit(Pid, kill) end, Pids) end) || {Vm, Pids} <- Callers],
    UnderWay = [begin
         {DataDir, Report} = warp_backup_test:restore(Config, integer_to_list(Cut), #{until => {cut, Cut}}),
         Open = length(lists:append([warp_test:sqlite(File, "SELECT 1 FROM open_sagas")
                                     || File <- warp_test:shard_files(DataDir)])),
         Ctx = warp_test:start(warp_backup_test:opts(DataDir, Report)),
         {ok, _} = warp_saga:recover_pending(Ctx),
         ok = warp_test:wait_until(fun() -> warp_saga:pending(Ctx) =:= {ok, []} end),
         ?assertEqual({Cut, ?ACCOUNTS * ?FUNDED}, {Cut, lists:sum(warp_saga_test:balances(Ctx, accounts()))}),
         ok = warp_test:stop(Ctx),
         Open
     end || Cut <- Cuts],
    ct:pal("sagas under way in the cuts: ~w", [UnderWay]),
    ?assert(lists:sum(UnderWay) > 0).

a_deletion_waits_for_the_backups_of_all_nodes(Config) ->
    [A, B, C] = Vms = vms(Config),
    ok = warp_cluster_vm:open_all(Vms, #{}),
    ok = settled(A),
    ok = on(A, fun() -> ?MODULE:fill(1, 30) end),
    Options = options(Config, #{to => target(Config), every => 3600000}),
    {ok, #{cut := First}} = on(C, fun() -> warp_backup:start(ctx(), Options) end),
    Ids = [owned(A, Vm) || Vm <- Vms],
    lists:foreach(fun(Id) ->
        {ok, #{backups := [#{to := To}]}} =
            on(B, fun() -> warp_core:delete(warp_cluster_vm:entity(Id), #{receipt => true, timeout => 30000}) end),
        ?assertEqual(target(Config), unicode:characters_to_list(To))
    end, Ids),
    %% Nobody knows what a node that is away backs up to.
    [Last | _] = [Id || {Id, Node} <- owners(A), Node =:= warp_cluster_vm:node_of(A)],
    Node = warp_cluster_vm:node_of(C),
    ok = warp_cluster_vm:kill(C),
    ?assertMatch({error, {still_to_erase, #{reason := {node_unavailable, Node}}}},
                 on(A, fun() -> warp_core:delete(warp_cluster_vm:entity(Last), #{timeout => 3000}) end)),
    Older = restored(Config, "first", #{until => {cut, First}}),
    ?assertEqual([], [Id || Id <- Ids, is_map_key(Id, Older)]),
    ?assertEqual(27, maps:size(Older)).

a_node_that_is_away_is_named(Config) ->
    [A, B, _] = Vms = vms(Config),
    ok = warp_cluster_vm:open_all(Vms, #{}),
    ok = settled(A),
    ok = on(A, fun() -> ?MODULE:fill(1, 30) end),
    {ok, _} = backup(A, Config),
    ok = on(A, fun() -> ?MODULE:fill(20, 40) end),
    Node = warp_cluster_vm:node_of(B),
    ok = warp_cluster_vm:kill(B),
    ?assertEqual({error, {node_unavailable, Node}}, backup(A, Config)),
    ?assertMatch({ok, [_]}, warp_backup:list(target(Config))).

%% It is asked to make no commit, and neither answers nor goes on.
a_node_that_stands_still_holds_nobody_up(Config) ->
    [A, B, _] = Vms = vms(Config),
    ok = warp_cluster_vm:open_all(Vms, #{}),
    ok = settled(A),
    ok = on(A, fun() -> ?MODULE:fill(1, 30) end),
    Mine = owned(A, A),
    ok = warp_cluster_vm:freeze(B),
    Self = self(),
    Run = spawn_link(fun() -> Self ! {self(), backup(A, Config)} end),
    Longest = on(A, fun() ->
        lists:max([begin
                       {Took, {ok, _}} = timer:tc(fun() ->
                           warp_core:append(warp_cluster_vm:entity(Mine), warp_test:credited(1))
                       end),
                       ok = timer:sleep(10),
                       Took div 1000
                   end || _ <- lists:seq(1, 200)])
    end),
    ct:pal("the longest append took ~b ms", [Longest]),
    ok = warp_cluster_vm:thaw(B),
    receive {Run, Result} -> ok end,
    %% It may have been found away.
    case Result of
        {ok, _} -> ok;
        {error, {node_unavailable, _}} -> ok
    end,
    ok = warp_test:wait_until(fun() -> element(1, backup(A, Config)) =:= ok end),
    Before = logs(A),
    ?assertEqual(Before, restored(Config, "thawed", #{})).

two_nodes_may_back_up_to_one_target(Config) ->
    [A, B, _] = Vms = vms(Config),
    ok = warp_cluster_vm:open_all(Vms, #{}),
    ok = settled(A),
    Self = self(),
    lists:foreach(fun(Round) ->
        ok = on(A, fun() -> ?MODULE:fill(Round * 10, Round * 10 + 15) end),
        Pids = [spawn_link(fun() -> Self ! {self(), backup(Vm, Config)} end) || Vm <- [A, B]],
        [receive {Pid, Result} -> ?assertMatch({ok, _}, Result) end || Pid <- Pids]
    end, lists:seq(1, 5)),
    Before = logs(A),
    ?assertEqual(Before, restored(Config, "both", #{})).

%% Segments are stored, and key pages are not.
who_is_killed_in_a_run_is_followed_by_another(Config) ->
    [A, B, C] = Vms = vms(Config),
    ok = warp_cluster_vm:open_all(Vms, #{}),
    ok = settled(A),
    ok = on(A, fun() -> ?MODULE:fill(1, 30) end),
    {ok, #{cut := First}} = backup(A, Config),
    ok = on(A, fun() -> ?MODULE:fill(20, 60) end),
    Self = self(),
    {Target, Stops} = {target(Config), fun(#{segments := N}) -> [timer:sleep(infinity) || N =:= 3]; (_) -> ok end},
    Options = options(Config, #{progress => Stops}),
    _ = spawn(fun() -> Self ! {ran, catch on(C, fun() -> warp_backup:run(ctx(), Target, Options) end)} end),
    ok = warp_test:wait_until(fun() ->
        length(filelib:wildcard(filename:join([Target, "segments", "*", "??????????"]))) >= First + 3
    end),
    ok = warp_cluster_vm:kill(C),
    receive {ran, {'EXIT', _}} -> ok end,
    Node = warp_cluster_vm:node_of(C),
    ok = warp_test:wait_until(fun() -> backup(B, Config) =:= {error, {node_unavailable, Node}} end, 60000),
    Again = warp_cluster_vm:start(c, warp_cluster_vm:dir(Config)),
    try
        ok = warp_cluster_vm:open(Again, [A], #{}),
        ok = settled(A),
        {ok, #{key_pages := 8}} = backup(B, Config),
        Before = logs(A),
        ?assertEqual(Before, restored(Config, "followed", #{}))
    after
        warp_cluster_vm:kill(Again)
    end.

%% ------------------------------------------------------------------ Helpers

on(Vm, Fun) -> warp_cluster_vm:run(Vm, Fun).

target(Config) -> warp_backup_test:target(Config).

options(Config, More) -> More#{master_key => warp_backup_test:master(Config)}.

backup(Vm, Config) ->
    {Target, Options} = {target(Config), options(Config, #{})},
    on(Vm, fun() -> warp_backup:run(ctx(), Target, Options) end).

%% What each entity's log has.
logs(Vm) ->
    on(Vm, fun() -> warp_backup_test:logs(ctx(), warp_backup_test:names(ctx())) end).

restored(Config, Name, Options) ->
    Ctx = restored_ctx(Config, Name, Options),
    Logs = warp_backup_test:logs(Ctx, warp_backup_test:names(Ctx)),
    {ok, _} = warp_core:verify(Ctx),
    ok = warp_test:stop(Ctx),
    Logs.

restored_ctx(Config, Name, Options) ->
    {Ctx, _} = warp_backup_test:restored(Config, Name, {Options, #{}}),
    Ctx.

owners(Vm) ->
    on(Vm, fun() ->
        [{Id, Node} || Id <- warp_backup_test:names(ctx()),
                       {ok, Node} <- [warp_cluster:owner(warp_core:entity(ctx(), Id))]]
    end).

%% An entity that a node has.
owned(Vm, Of) ->
    [Id | _] = [Id || {Id, Node} <- owners(Vm), Node =:= warp_cluster_vm:node_of(Of)],
    Id.

accounts() -> [<<"account/", (integer_to_binary(N))/binary>> || N <- lists:seq(1, ?ACCOUNTS)].

%% ------------------------------------------------------------------ Inside a VM

fill(From, To) ->
    lists:foreach(fun(N) ->
        {ok, _} = warp_core:append_batch(warp_cluster_vm:entity(<<"entity/", (integer_to_binary(N))/binary>>),
                                         [warp_test:credited(N), warp_test:credited(1)])
    end, lists:seq(From, To)).

transfers(Ctx, Accounts) ->
    [From, To | _] = [Name || {_, Name} <- lists:sort([{rand:uniform(), Name} || Name <- Accounts])],
    Number = integer_to_binary(erlang:unique_integer([positive])),
    Id = <<"t-", (atom_to_binary(node()))/binary, "-", Number/binary>>,
    Saga = warp_saga_test:transfer(Id, From, To, rand:uniform(200)),
    _ = warp_saga:commit(Saga, Ctx),
    transfers(Ctx, Accounts).
