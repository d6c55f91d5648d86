%% Deleting reaches every node: also one that is down, or that was killed in the middle.
-module(warp_cluster_delete_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([nothing_is_left_on_any_node/1, a_node_that_is_down_does_its_part_later/1, lives_never_mix/1,
         a_node_that_stands_still_shows_nothing_new/1, who_begins_hears_of_what_the_names_node_has_missed/1,
         who_begins_without_the_owner_hears_of_it_later/1, who_was_told_early_is_not_told_again/1,
         a_name_that_moves_knows_what_its_node_has_missed/1,
         the_owner_is_killed_after_each_commit/1, a_node_is_killed_in_the_middle/1, deletions_move_with_their_shard/1,
         an_entity_that_is_kept_is_shown/1, sagas_of_all_nodes_are_cleared/1,
         sagas_of_a_node_that_is_down_are_cleared_later/1, sagas_under_way_do_nothing_more/1]).
%% Inside a VM
-export([rows/0, gate/2]).

-define(SECRET, <<"victims-secret">>).

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [nothing_is_left_on_any_node, a_node_that_is_down_does_its_part_later, lives_never_mix,
     a_node_that_stands_still_shows_nothing_new, who_begins_hears_of_what_the_names_node_has_missed,
     who_begins_without_the_owner_hears_of_it_later, who_was_told_early_is_not_told_again,
     a_name_that_moves_knows_what_its_node_has_missed,
     the_owner_is_killed_after_each_commit, a_node_is_killed_in_the_middle,
     deletions_move_with_their_shard, an_entity_that_is_kept_is_shown, sagas_of_all_nodes_are_cleared,
     sagas_of_a_node_that_is_down_are_cleared_later, sagas_under_way_do_nothing_more].

init_per_testcase(_Case, Config) ->
    [{dir, warp_test:new_dir()} | Config].

end_per_testcase(_Case, Config) ->
    _ = [catch warp_cluster_vm:kill(Vm) || Vm <- erase_vms()],
    warp_test:remove_dir(dir(Config)).

dir(Config) -> proplists:get_value(dir, Config).

%% ------------------------------------------------------------------ Cases

%% An entity of each node, with events, rows and subscribers on all of them, is deleted from each other node.
nothing_is_left_on_any_node(Config) ->
    [A, B, C] = Vms = cluster([a, b, c], Config),
    Victims = [victim(Vm, A) || Vm <- Vms],
    ok = watch(Vms),
    _ = [append(Vm, Id, ?SECRET) || Vm <- [A, B, C], Id <- Victims],
    ok = append(A, <<"other">>, <<"kept">>),
    lists:foreach(fun(Id) -> ok = until_shown(Vms, Id, 3) end, Victims),
    ?assertMatch([_ | _], [File || Vm <- Vms, File <- files(Vm)]),
    Receipts = [warp_cluster_vm:run(Vm, fun() ->
                    warp_core:delete(warp_cluster_vm:entity(Id), #{timeout => 20000, receipt => true})
                end) || {Vm, Id} <- lists:zip([B, C, A], Victims)],
    Nodes = [warp_cluster_vm:node_of(Vm) || Vm <- Vms],
    [begin
         {ok, #{entity := Id, events := Events, nodes := [First | Others]} = Receipt} = Answer,
         ?assertEqual({3, [sagas, log, subscriptions, embedded, copies]}, {Events, maps:get(erased_from, Receipt)}),
         ?assertEqual({Owner, lists:sort(Nodes -- [Owner])}, {First, lists:sort(Others)})
     end || {Answer, Id, Owner} <- lists:zip3(Receipts, Victims, Nodes)],
    ?assertEqual([], [File || Vm <- Vms, File <- files(Vm)]),
    [?assertEqual([{<<"other">>, <<"kept">>}], warp_cluster_vm:run(Vm, fun ?MODULE:rows/0)) || Vm <- Vms],
    [?assertEqual([{Id, 1, ?SECRET}, {Id, 2, ?SECRET}, {Id, 3, ?SECRET}, {Id, erased}], seen(Vm, Name, Id))
     || Vm <- Vms, Id <- Victims, Name <- [plain, named]],
    ok = until_idle(Vms),
    %% A new life begins at 1, and shows everywhere.
    _ = [append(C, Id, <<"again">>) || Id <- Victims],
    lists:foreach(fun(Id) -> ok = until_shown(Vms, Id, 1) end, Victims),
    [?assertEqual({Id, 1, <<"again">>}, lists:last(seen(Vm, plain, Id))) || Vm <- Vms, Id <- Victims].

%% It comes back with what it had. It must not read on before it knows: it would show the new life, and then erase it.
a_node_that_is_down_does_its_part_later(Config) ->
    [A, B] = cluster([a, b], Config),
    Id = victim(A, A),
    Other = victim(A, A, [Id]),
    _ = [append(A, Of, ?SECRET) || Of <- [Id, Other]],
    _ = [ok = until_shown([B], Of, 1) || Of <- [Id, Other]],
    Node = warp_cluster_vm:node_of(B),
    ok = kill(B),
    ?assertMatch({error, {still_to_erase, #{reason := {node_unavailable, Node}}}}, delete(A, Id, 1500)),
    ?assertMatch(#{elsewhere := #{Node := 1}, under_way := 0}, deletions(A)),
    ?assertEqual([], [Row || {Of, _} = Row <- warp_cluster_vm:run(A, fun ?MODULE:rows/0), Of =:= Id]),
    %% Nobody waits for that node: another life is lived, and deleted.
    ok = append(A, Id, <<"second-secret">>),
    ?assertMatch({error, {still_to_erase, #{reason := {node_unavailable, Node}}}}, delete(A, Id, 1500)),
    ?assertEqual({ok, []}, warp_cluster_vm:run(A, fun() -> warp_core:export(warp_cluster_vm:entity(Id)) end)),
    ok = append(A, Id, <<"third">>),
    ok = append(A, Other, <<"more">>),
    %% Both sides forget what is in memory.
    Restarted = restart(a, A, [A], Config),
    ?assertMatch(#{elsewhere := #{Node := 2}}, deletions(Restarted)),
    Back = restart(b, B, [Restarted], Config),
    ok = warp_cluster_vm:run(Back, fun() -> warp_cluster_watcher:start(plain, #{from => beginning}) end),
    ok = until_idle([Restarted, Back]),
    ok = until_shown([Restarted, Back], Other, 2),
    ok = until_shown([Restarted, Back], Id, 1),
    ?assertEqual([{Id, 1, <<"third">>}], [Of || Of <- seen(Back, plain, Id), Of =/= {Id, erased}]),
    %% What was erased is gone from the files, and what was not is there.
    [?assertEqual([], warp_test:files_with(warp_cluster_vm:dir_of(Vm), <<"second-secret">>))
     || Vm <- [Restarted, Back]],
    ?assertEqual(ok, delete(Back, Other, 20000)),
    ?assertEqual([], [File || Vm <- [Restarted, Back], File <- files(Vm)]).

%% Many short lives, each of which begins as soon as the log of the one before is erased, while other nodes are not done
%% with that one yet.
lives_never_mix(Config) ->
    [A, B] = Vms = cluster([a, b], Config),
    Ids = [victim(A, A), victim(B, A)],
    ok = watch(Vms),
    Live = fun(Id) ->
        fun() ->
            lists:foreach(fun(Life) ->
                Entity = warp_cluster_vm:entity(Id),
                ok = begin_life(Entity, event(integer_to_binary(Life)), 10000),
                _ = [timer:sleep(rand:uniform(30)) || Life rem 2 =:= 0],
                {Pid, Monitor} = spawn_monitor(fun() -> ok = warp_core:delete(Entity, #{timeout => 60000}) end),
                _ = [receive {'DOWN', Monitor, process, Pid, normal} -> ok end || Life rem 10 =:= 0]
            end, lists:seq(1, 60))
        end
    end,
    [ok = Done || Done <- warp_test:parallel([fun() -> warp_cluster_vm:run(Vm, Live(Id)) end
                                              || {Vm, Id} <- [{B, hd(Ids)}, {A, lists:last(Ids)}]])],
    _ = [append(A, Id, <<"last">>) || Id <- Ids],
    lists:foreach(fun(Id) -> ok = until_shown(Vms, Id, 1) end, Ids),
    ok = until_idle(Vms),
    [?assertEqual([], mixed(seen(Vm, Name, Id))) || Vm <- Vms, Name <- [plain, named], Id <- Ids],
    [?assertEqual({Id, 1, <<"last">>}, lists:last(seen(Vm, plain, Id))) || Vm <- Vms, Id <- Ids],
    [?assertEqual([{Id, <<"last">>} || Id <- lists:sort(Ids)], lists:sort(warp_cluster_vm:run(Vm, fun ?MODULE:rows/0)))
     || Vm <- Vms].

%% Appends until the life before is over.
begin_life(Entity, Event, Tries) when Tries > 0 ->
    case warp_core:append(Entity, Event, #{expected => no_stream}) of
        {ok, 1} -> ok;
        {error, {wrong_expected_seq, _}} -> begin_life(Entity, Event, Tries - 1)
    end.

%% An event of a life comes only after each earlier one was erased, and no life comes again.
mixed(Seen) -> mixed(Seen, 0, none, []).

mixed([], _Last, _Shown, Wrong) -> Wrong;
mixed([{_, erased} | Seen], Last, _Shown, Wrong) -> mixed(Seen, Last, none, Wrong);
mixed([{_, 1, <<"last">>}], _Last, none, Wrong) -> Wrong;
mixed([{_, 1, Text} | Seen], Last, Shown, Wrong) ->
    Life = try binary_to_integer(Text) catch error:badarg -> last end,
    case Shown =:= none andalso Life > Last of
        true -> mixed(Seen, Life, Life, Wrong);
        false -> mixed(Seen, Last, Shown, [{Last, Shown, Text} | Wrong])
    end.

%% Its link is there for a while yet, but it does not answer.
a_node_that_stands_still_shows_nothing_new(Config) ->
    [A, B] = Vms = cluster([a, b], Config),
    Id = victim(A, A),
    ok = watch(Vms),
    %% The node that stands still keeps the name of this one.
    ok = watch(A, kept_there, #{name => victim(B, A)}),
    ok = append(A, Id, ?SECRET),
    ok = until_shown(Vms, Id, 1),
    ok = wait(fun() -> alive(seen(A, kept_there, Id)) =:= 1 end),
    ok = warp_cluster_vm:freeze(B),
    ?assertMatch({error, {still_to_erase, #{reason := {node_unavailable, _}}}}, delete(A, Id, 15000)),
    ok = append(A, Id, <<"again">>),
    ok = warp_cluster_vm:thaw(B),
    ok = until_idle(Vms),
    ok = until_shown(Vms, Id, 1),
    %% What it showed before it stood still is erased before it shows anything new, also when it lost its place.
    ok = wait(fun() -> lists:last(seen(B, plain, Id)) =:= {Id, 1, <<"again">>} end),
    ?assertEqual([], [Wrong || {_, 1, <<"again">>} = Wrong <- lists:droplast(seen(B, plain, Id))]),
    ?assert(lists:member({Id, erased}, seen(B, plain, Id))),
    ok = wait(fun() -> length(seen(A, kept_there, Id)) >= 3 end),
    ?assertEqual([{Id, 1, ?SECRET}, {Id, erased}, {Id, 1, <<"again">>}], seen(A, kept_there, Id)),
    ?assertEqual([], [File || Vm <- Vms, File <- files(Vm)]).

%% The node that keeps a name can be reached, and has not come to a deletion. A subscriber on another node that begins
%% then is told of it before the new life, once, and so are those that come when that node has done its part.
who_begins_hears_of_what_the_names_node_has_missed(Config) ->
    [A, B] = Vms = cluster([a, b], Config),
    Id = victim(A, A),
    Options = #{name => victim(B, A)},
    ok = watch(A, first, Options),
    ok = append(A, Id, ?SECRET),
    ok = wait(fun() -> seen(A, first, Id) =:= [{Id, 1, ?SECRET}] end),
    ok = ended(A, first),
    ok = lives_again_without(B, A, Id),
    ok = watch(A, second, Options),
    ok = wait(fun() -> alive(seen(A, second, Id)) =:= 1 end),
    ?assertEqual([{Id, erased}, {Id, 1, <<"again">>}], seen(A, second, Id)),
    ok = ended(A, second),
    ok = append(A, Id, <<"more">>),
    ok = watch(A, third, Options),
    ok = wait(fun() -> seen(A, third, Id) =/= [] end),
    ?assertEqual([{Id, 2, <<"more">>}], seen(A, third, Id)),
    ok = ended(A, third),
    ok = warp_cluster_vm:run(B, fun() -> sys:resume(part()) end),
    ok = until_idle(Vms),
    ok = append(A, Id, <<"last">>),
    ok = watch(A, fourth, Options),
    ok = wait(fun() -> seen(A, fourth, Id) =/= [] end),
    ?assertEqual([{Id, 3, <<"last">>}], seen(A, fourth, Id)).

%% When it begins the node that has the entity is down. It gets the events of the other nodes meanwhile.
who_begins_without_the_owner_hears_of_it_later(Config) ->
    [A, B, C] = cluster([a, b, c], Config),
    Id = victim(C, A),
    Other = victim(A, A),
    Options = #{name => victim(B, A)},
    ok = watch(A, first, Options),
    ok = append(A, Id, ?SECRET),
    ok = wait(fun() -> seen(A, first, Id) =/= [] end),
    ok = ended(A, first),
    ok = lives_again_without(B, A, Id),
    ok = kill(C),
    ok = append(A, Other, <<"other">>),
    ok = watch(A, second, Options),
    ok = wait(fun() -> seen(A, second, Other) =/= [] end),
    %% The events of the other nodes don't wait until its node has noticed that.
    ok = wait(fun() -> is_stalled(states(A, second)) end),
    Back = restart(c, C, [A], Config),
    ok = wait(fun() -> alive(seen(A, second, Id)) =:= 1 end),
    ?assertEqual([{Id, erased}, {Id, 1, <<"again">>}], seen(A, second, Id)),
    %% Nothing came twice.
    ?assertEqual([{Other, 1, <<"other">>}], seen(A, second, Other)),
    ok = warp_cluster_vm:run(B, fun() -> sys:resume(part()) end),
    ok = until_idle([A, B, Back]).

is_stalled([{stalled, {node_unavailable, _}}]) -> true;
is_stalled(_) -> false.

states(Vm, As) ->
    warp_cluster_vm:run(Vm, fun() ->
        #{subscriptions := All} = warp_core:stats(warp_cluster_vm:ctx()),
        [{State, Why} || #{subscriber := Pid, state := State, why := Why} <- All, Pid =:= whereis(As)]
    end).

%% The node of the name has noted an erasure before its own part, and what it knows of that is lost.
who_was_told_early_is_not_told_again(Config) ->
    [A, B] = Vms = cluster([a, b], Config),
    Id = victim(A, A),
    Options = #{name => victim(B, A)},
    ok = watch(A, first, Options),
    ok = append(A, Id, ?SECRET),
    ok = wait(fun() -> seen(A, first, Id) =/= [] end),
    ok = lives_again_without(B, A, Id),
    ok = wait(fun() -> length(seen(A, first, Id)) =:= 3 end),
    ok = warp_cluster_vm:run(A, fun() -> warp_test_context:await_subscribers(warp_cluster_vm:ctx(), 10000) end),
    true = warp_cluster_vm:run(B, fun() ->
        {ok, Keeper} = warp_context:registered(context(), subscription_names),
        exit(Keeper, kill)
    end),
    ok = append(A, Id, <<"more">>),
    ok = wait(fun() -> lists:last(seen(A, first, Id)) =:= {Id, 2, <<"more">>} end),
    ok = warp_cluster_vm:run(B, fun() -> sys:resume(part()) end),
    ok = until_idle(Vms),
    Seen = seen(A, first, Id),
    ?assertEqual([{Id, 1, ?SECRET}, {Id, erased}, {Id, 1, <<"again">>}], lists:sublist(Seen, 3)),
    ?assertNot(lists:member({Id, erased}, lists:nthtail(3, Seen))),
    ok = ended(A, first),
    ok = append(A, Id, <<"last">>),
    ok = watch(A, second, Options),
    ok = wait(fun() -> seen(A, second, Id) =/= [] end),
    ?assertEqual([{Id, 3, <<"last">>}], seen(A, second, Id)).

%% The node that keeps a name leaves before it has come to a deletion.
a_name_that_moves_knows_what_its_node_has_missed(Config) ->
    [A, B] = cluster([a, b], Config),
    Id = victim(A, A),
    Options = #{name => victim(B, A)},
    ok = watch(A, first, Options),
    ok = append(A, Id, ?SECRET),
    ok = wait(fun() -> seen(A, first, Id) =/= [] end),
    ok = ended(A, first),
    ok = lives_again_without(B, A, Id),
    ok = warp_cluster_vm:run(B, fun() -> warp_cluster:leave(warp_cluster_vm:ctx(), #{timeout => 60000}) end),
    ok = watch(A, second, Options),
    ok = wait(fun() -> alive(seen(A, second, Id)) =:= 1 end),
    ?assertEqual([{Id, erased}, {Id, 1, <<"again">>}], seen(A, second, Id)).

context() ->
    {ok, Context} = warp_context:find(warp_cluster_vm:ctx()),
    Context.

%% Deletes an entity, and begins another life. That node cannot come to its part.
lives_again_without(Node, Vm, Id) ->
    ok = warp_cluster_vm:run(Node, fun() -> sys:suspend(part()) end),
    _ = warp_cluster_vm:run(Vm, fun() -> spawn(fun() -> warp_core:delete(warp_cluster_vm:entity(Id)) end) end),
    ok = append_when_gone(Vm, Id, <<"again">>),
    wait(fun() -> maps:get(under_way, deletions(Vm)) =:= 0 end).

%% What does a node's part of deletions of other nodes.
part() ->
    {ok, Part} = warp_context:registered(context(), erasure_part),
    Part.

%% The VM that has the entity ends after the first, the second, ... write of the deletion.
the_owner_is_killed_after_each_commit(Config) ->
    [A, B] = cluster([a, b], Config, fault()),
    Commits = killed_after(1, {A, B}, Config),
    ?assert(Commits >= 4).

killed_after(N, {A, B}, Config) ->
    Id = victim(A, A, [<<"v", (integer_to_binary(Of))/binary>> || Of <- lists:seq(1, 20 * N)]),
    ok = append(A, Id, ?SECRET),
    ok = until_shown([A, B], Id, 1),
    ok = warp_cluster_vm:run(B, fun() -> warp_cluster_watcher:start(plain, #{from => beginning}) end),
    ok = wait(fun() -> seen(B, plain, Id) =/= [] end),
    End =
        try
            ok = warp_cluster_vm:run(A, fun() ->
                warp_nif:fault({abort_after, N}),
                ok = warp_core:delete(warp_cluster_vm:entity(Id), #{timeout => infinity}),
                warp_nif:fault(off)
            end),
            survived
        catch
            _:_ -> crashed
        end,
    Again =
        case End of
            survived -> A;
            crashed -> restart(a, A, [B], Config, fault())
        end,
    %% Where nothing was noted yet the entity is what it was, and its callers ask again.
    ok = wait(fun() -> delete(B, Id, 10000) =:= ok end),
    ok = until_idle([Again, B]),
    ?assertEqual([], [File || Vm <- [Again, B], File <- files(Vm)]),
    ok = append(B, Id, <<"again">>),
    ok = until_shown([Again, B], Id, 1),
    ok = wait(fun() -> lists:last(seen(B, plain, Id)) =:= {Id, 1, <<"again">>} end),
    ?assertMatch([{Id, 1, ?SECRET}, {Id, erased} | _], seen(B, plain, Id)),
    ok = delete(B, Id, 20000),
    true = warp_cluster_vm:run(B, fun() -> exit(whereis(plain), kill) end),
    case End of
        survived -> N - 1;
        crashed -> killed_after(N + 1, {Again, B}, Config)
    end.

fault() -> ["-env", "WARP_NIF", filename:join([warp_fault_vm:root(), "_build", "fault", "warp_nif"])].

a_node_is_killed_in_the_middle(Config) ->
    [A, B0] = cluster([a, b], Config),
    lists:foldl(
        fun(Round, B) ->
            Id = victim(A, A, [<<"v", (integer_to_binary(Of))/binary>> || Of <- lists:seq(1, 20 * Round)]),
            ok = append(A, Id, ?SECRET),
            ok = until_shown([A, B], Id, 1),
            Self = self(),
            _ = spawn_link(fun() -> Self ! {deleted, delete(A, Id, 60000)} end),
            timer:sleep(rand:uniform(40)),
            ok = kill(B),
            ok = append_when_gone(A, Id, <<"again">>),
            Again = restart(b, B, [A], Config),
            receive {deleted, Deleted} -> ?assertEqual(ok, Deleted) end,
            ok = until_idle([A, Again]),
            ok = until_shown([A, Again], Id, 1),
            ?assertEqual([], [File || Vm <- [A, Again], File <- files(Vm)]),
            ?assertEqual([{Id, <<"again">>}],
                         [Row || {Of, _} = Row <- warp_cluster_vm:run(Again, fun ?MODULE:rows/0), Of =:= Id]),
            ok = delete(Again, Id, 20000),
            Again
        end,
        B0, lists:seq(1, 6)).

append_when_gone(Vm, Id, Text) ->
    Export = fun() -> warp_core:export(warp_cluster_vm:entity(Id)) end,
    ok = wait(fun() -> warp_cluster_vm:run(Vm, Export) =:= {ok, []} end),
    append(Vm, Id, Text).

%% A third node joins and gets shards, and with them what the node that is down has to do.
deletions_move_with_their_shard(Config) ->
    [A, B] = cluster([a, b], Config),
    Ids = each_shard(A),
    _ = [append(A, Id, ?SECRET) || Id <- Ids],
    lists:foreach(fun(Id) -> ok = until_shown([A, B], Id, 1) end, Ids),
    Node = warp_cluster_vm:node_of(B),
    ok = kill(B),
    %% Before it has noticed that, it waits for an answer, and says so.
    ok = wait(fun() -> not lists:member(Node, warp_cluster_vm:run(A, fun erlang:nodes/0)) end),
    _ = [?assertMatch({error, {still_to_erase, #{reason := {node_unavailable, Node}}}}, delete(A, Id, 500))
         || Id <- Ids],
    _ = [append(A, Id, <<"again">>) || Id <- Ids],
    C = start(c, Config, []),
    ok = warp_cluster_vm:open(C, [A], opts()),
    ok = wait(fun() -> each_shard(C) =/= [] end),
    ok = wait(fun() -> map_size(maps:get(elsewhere, deletions(C))) =:= 1 end),
    Count = length(Ids),
    ok = wait(fun() ->
        Counts = [maps:get(Node, maps:get(elsewhere, deletions(Vm)), 0) || Vm <- [A, C]],
        lists:sum(Counts) =:= Count andalso lists:min(Counts) > 0
    end),
    Again = restart(c, C, [A], Config),
    Back = restart(b, B, [A], Config),
    ok = until_idle([A, Again, Back]),
    lists:foreach(fun(Id) -> ok = until_shown([A, Again, Back], Id, 1) end, Ids),
    [?assertEqual([{Id, <<"again">>} || Id <- lists:sort(Ids)], lists:sort(warp_cluster_vm:run(Vm, fun ?MODULE:rows/0)))
     || Vm <- [A, Again, Back]],
    ?assertEqual([], [File || Vm <- [A, Again, Back], File <- files(Vm)]).

%% An entity in each shard of a node.
each_shard(Vm) ->
    Node = warp_cluster_vm:node_of(Vm),
    warp_cluster_vm:run(Vm, fun() ->
        Own = [{warp_test:shard_of(Entity), Id}
               || N <- lists:seq(1, 100), Id <- [<<"v", (integer_to_binary(N))/binary>>],
                  Entity <- [warp_cluster_vm:entity(Id)], warp_cluster:owner(Entity) =:= {ok, Node}],
        maps:values(maps:from_list(lists:reverse(Own)))
    end).

%% The deletion fails before the log is erased: the other node shows what comes then.
an_entity_that_is_kept_is_shown(Config) ->
    [A, B] = Vms = cluster([a, b], Config),
    Id = victim(A, A),
    ok = append(A, Id, <<"kept">>),
    ok = until_shown(Vms, Id, 1),
    ok = warp_cluster_vm:run(A, fun() ->
        {ok, Context} = warp_context:find(warp_cluster_vm:ctx()),
        {ok, List} = warp_context:registered(Context, erasure_list),
        {ok, N} = warp_context:shard_of(Context, Id),
        Deletion = #{entity => Id, shard => N, incarnation => 7},
        {ok, Rows} = warp_erasure_elsewhere:begin_with(Context, Deletion),
        ok = warp_erasure_list:add(List, Deletion, [<<"unless kept">>], Rows),
        ok = warp_erasure_elsewhere:begun(Context, Rows),
        ok = warp_erasure_courier:tell_of(Context, List, Deletion)
    end),
    #{under_way := 1} = deletions(B),
    ok = warp_cluster_vm:run(A, fun() ->
        {ok, Context} = warp_context:find(warp_cluster_vm:ctx()),
        {ok, List} = warp_context:registered(Context, erasure_list),
        {ok, N} = warp_context:shard_of(Context, Id),
        warp_erasure_elsewhere:kept(Context, List, #{entity => Id, shard => N, incarnation => 7})
    end),
    ok = wait(fun() -> maps:get(under_way, deletions(B)) =:= 0 end),
    ok = append(A, Id, <<"more">>),
    ok = until_shown(Vms, Id, 2),
    ?assertEqual(ok, delete(B, Id, 20000)).

%% Sagas in the shards of all nodes, committed by each node.
sagas_of_all_nodes_are_cleared(Config) ->
    [A, B] = Vms = cluster([a, b], Config),
    [Victim, Other] = [victim(A, A), victim(B, A)],
    _ = [commit(Vm, saga(Nth, Tag, [step(Victim, ?SECRET), step(Other, <<"others-text">>)]))
         || {Vm, Tag} <- [{A, <<"a">>}, {B, <<"b">>}], Nth <- lists:seq(1, 12)],
    ?assertMatch([_ | _], files(A)),
    ?assertMatch([_ | _], files(B)),
    ?assertEqual(ok, delete(B, Victim, 20000)),
    ?assertEqual([], [File || Vm <- Vms, File <- files(Vm)]),
    [?assertMatch([_ | _], warp_test:files_with(warp_cluster_vm:dir_of(Vm), <<"others-text">>)) || Vm <- Vms],
    ?assertMatch({ok, #{state := committed}},
                 warp_cluster_vm:run(B, fun() -> warp_saga:status(warp_cluster_vm:ctx(), <<"a1">>) end)).

sagas_of_a_node_that_is_down_are_cleared_later(Config) ->
    [A, B] = cluster([a, b], Config),
    [Victim, Other] = [victim(A, A), victim(B, A)],
    _ = [commit(A, saga(Nth, <<"a">>, [step(Victim, ?SECRET), step(Other, <<"others-text">>)]))
         || Nth <- lists:seq(1, 12)],
    ok = kill(B),
    ?assertMatch({error, {still_to_erase, #{reason := {node_unavailable, _}}}}, delete(A, Victim, 8000)),
    ?assertMatch(#{elsewhere := #{<<"sagas">> := _}}, deletions(A)),
    ?assertEqual([], files(A)),
    Restarted = restart(a, A, [A], Config),
    ok = append(Restarted, Victim, <<"again">>),
    Back = restart(b, B, [Restarted], Config),
    ok = until_idle([Restarted, Back]),
    ?assertEqual([], [File || Vm <- [Restarted, Back], File <- files(Vm)]),
    ok = until_shown([Restarted, Back], Victim, 1).

%% A saga waits at a step of its own while an entity that it has done something to, or will, is deleted on another node.
%% Whatever its process has in memory, nothing of it comes to the entity's new life.
sagas_under_way_do_nothing_more(Config) ->
    [A, B] = Vms = cluster([a, b], Config),
    [V1, V2] = [victim(A, A), victim(B, A)],
    lists:foreach(
        fun({Victim, Home}) ->
            Gate = victim(Home, A, [V1, V2]),
            Name = id_of(Victim, Home),
            _ = [warp_cluster_vm:run(Vm, fun() -> persistent_term:put(gate, closed) end) || Vm <- Vms],
            To = saga_at(Home, Name, <<"to">>, [step(Gate, <<"before">>), gate(Gate), step(Victim, ?SECRET)]),
            Back = saga_at(Home, Name, <<"back">>, [step(Victim, ?SECRET), gate(<<Gate/binary, "x">>), refused(Gate)]),
            Self = self(),
            _ = [spawn_link(fun() -> Self ! {Tag, commit_here(Home, Saga)} end)
                 || {Tag, Saga} <- [{to, To}, {back, Back}]],
            ok = wait(fun() -> warp_cluster_vm:run(A, fun() ->
                {ok, Events} = warp_core:export(warp_cluster_vm:entity(Victim)), length(Events) end) =:= 1 end),
            ok = wait(fun() ->
                {ok, Pending} = warp_cluster_vm:run(A, fun() -> warp_saga:pending(warp_cluster_vm:ctx()) end),
                length(Pending) =:= 2
            end),
            ?assertEqual(ok, delete(A, Victim, 20000)),
            ?assertEqual([], [File || Vm <- Vms, File <- files(Vm)]),
            ok = append(B, Victim, <<"again">>),
            _ = [warp_cluster_vm:run(Vm, fun() -> persistent_term:put(gate, open) end) || Vm <- Vms],
            ?assertMatch({ok, {compensated, #{failed := #{step := 2, reason := entity_deleted}}}},
                         receive {to, Result} -> Result end),
            ?assertMatch({ok, {stuck, #{blocked := #{step := 0, reason := entity_deleted}}}},
                         receive {back, Result} -> Result end),
            ?assertMatch({ok, [#{payload := #{<<"text">> := <<"again">>}}]},
                         warp_cluster_vm:run(A, fun() -> warp_core:export(warp_cluster_vm:entity(Victim)) end)),
            ?assertEqual([], [File || Vm <- Vms, File <- files(Vm)])
        end,
        [{V1, B}, {V2, A}, {V1, A}]).

id_of(Victim, Home) -> <<Victim/binary, (atom_to_binary(warp_cluster_vm:node_of(Home)))/binary>>.

%% A saga that lives on that node.
saga_at(Home, Name, Tag, Steps) ->
    Id = warp_cluster_vm:run(Home, fun() ->
        {ok, Context} = warp_context:find(warp_cluster_vm:ctx()),
        hd([Id || Nth <- lists:seq(1, 1000), Id <- [<<Name/binary, Tag/binary, (integer_to_binary(Nth))/binary>>],
                  {ok, N} <- [warp_context:shard_of(Context, warp_saga_plan:entity_id(Id))],
                  warp_context_owners:is_here(Context, N)])
    end),
    warp_saga_test:saga(Id, Steps).

saga(Nth, Tag, Steps) -> warp_saga_test:saga(<<Tag/binary, (integer_to_binary(Nth))/binary>>, Steps).

step(Id, Text) -> warp_saga_test:step(Id, <<"Seen">>, event(Text), event(Text)).

gate(Id) -> warp_saga_test:step(Id, <<"Seen">>, #{run => <<"gate">>}, event(<<"undone">>)).

refused(Id) -> warp_saga_test:step(Id, <<"Seen">>, event(<<"refused">>), event(<<"undone">>)).

commit(Vm, Saga) ->
    {ok, {committed, _}} = commit_here(Vm, Saga).

commit_here(Vm, Saga) ->
    warp_cluster_vm:run(Vm, fun() -> warp_saga:commit(Saga, warp_cluster_vm:ctx()) end).

%% ------------------------------------------------------------------ Nodes

cluster(Names, Config) -> cluster(Names, Config, []).

cluster(Names, Config, Args) ->
    Vms = [start(Name, Config, Args) || Name <- Names],
    ok = warp_cluster_vm:open_all(Vms, opts()),
    ok = warp_cluster_vm:run(hd(Vms), fun() -> warp_cluster:migrate(warp_cluster_vm:ctx(), #{timeout => 60000}) end),
    Vms.

start(Name, Config, Args) ->
    Vm = warp_cluster_vm:start(Name, dir(Config), Args),
    put(vms, [Vm | erase_vms()]),
    Vm.

erase_vms() ->
    case erase(vms) of undefined -> []; Vms -> Vms end.

kill(Vm) -> warp_cluster_vm:kill(Vm).

restart(Name, Vm, Seeds, Config) -> restart(Name, Vm, Seeds, Config, []).

restart(Name, Vm, Seeds, Config, Args) ->
    _ = (catch warp_cluster_vm:kill(Vm)),
    Again = start(Name, Config, Args),
    ok = warp_cluster_vm:open(Again, [case Seed of Vm -> Again; _ -> Seed end || Seed <- Seeds], opts()),
    Again.

opts() ->
    #{shards => 6, aggregates => [aggregate()], projections => embedded, steps => #{<<"gate">> => fun ?MODULE:gate/2}}.

aggregate() ->
    #{name => <<"Seen">>, initial_state => none,
      validate => fun(_, #{payload := #{<<"text">> := <<"refused">>}}) -> {error, refused}; (_, _) -> ok end,
      project => fun(Id, _State, #{seq := Seq, payload := #{<<"text">> := Text}}) ->
          Row = <<Id/binary, $-, (integer_to_binary(Seq))/binary>>,
          [warp_projection:upsert(seen, Row, #{whose => Id, text => Text})]
      end}.

event(Text) -> #{type => <<"Seen">>, payload => #{text => Text}}.

%% An entity of that node's, as the other node knows.
victim(Of, Asked) -> victim(Of, Asked, []).

victim(Of, Asked, But) ->
    Node = warp_cluster_vm:node_of(Of),
    warp_cluster_vm:run(Asked, fun() ->
        hd([Id || N <- lists:seq(1, 1000), Id <- [<<"v", (integer_to_binary(N))/binary>>],
                  not lists:member(Id, But), warp_cluster:owner(warp_cluster_vm:entity(Id)) =:= {ok, Node}])
    end).

append(Vm, Id, Text) ->
    warp_cluster_vm:run(Vm, fun() -> {ok, _} = warp_core:append(warp_cluster_vm:entity(Id), event(Text)), ok end).

delete(Vm, Id, Timeout) ->
    warp_cluster_vm:run(Vm, fun() -> warp_core:delete(warp_cluster_vm:entity(Id), #{timeout => Timeout}) end).

deletions(Vm) ->
    warp_cluster_vm:run(Vm, fun() -> maps:get(deletions, warp_core:stats(warp_cluster_vm:ctx())) end).

files(Vm) -> warp_test:files_with(warp_cluster_vm:dir_of(Vm), ?SECRET).

%% A subscriber without a name, and one with a name of that node's, on each.
watch(Vms) ->
    lists:foreach(
        fun(Vm) ->
            Name = atom_to_binary(warp_cluster_vm:node_of(Vm)),
            ok = watch(Vm, plain, #{}),
            ok = watch(Vm, named, #{name => Name})
        end,
        Vms).

watch(Vm, As, Options) ->
    warp_cluster_vm:run(Vm, fun() -> warp_cluster_watcher:start(As, Options#{from => beginning}) end).

%% Ends a subscriber, once what it has acknowledged is on disk.
ended(Vm, As) ->
    warp_cluster_vm:run(Vm, fun() -> warp_cluster_watcher:stop(As) end).

seen(Vm, Name, Id) ->
    [Of || Of <- warp_cluster_vm:run(Vm, fun() -> warp_cluster_watcher:seen(Name) end), element(1, Of) =:= Id].

%% Until the tables, and the subscribers, of all nodes have so many events of the entity.
until_shown(Vms, Id, Count) ->
    wait(fun() ->
        Rows = [length([x || {Of, _} <- warp_cluster_vm:run(Vm, fun ?MODULE:rows/0), Of =:= Id]) || Vm <- Vms],
        Watched = [{Vm, Name} || Vm <- Vms, Name <- [plain, named],
                                 warp_cluster_vm:run(Vm, fun() -> whereis(Name) =/= undefined end)],
        Rows =:= [Count || _ <- Vms]
            andalso lists:all(fun({Vm, Name}) -> alive(seen(Vm, Name, Id)) =:= Count end, Watched)
    end).

%% The events of the life that is shown last.
alive(Seen) ->
    length(lists:takewhile(fun(Of) -> element(2, Of) =/= erased end, lists:reverse(Seen))).

until_idle(Vms) ->
    wait(fun() ->
        [] =:= [Left || Vm <- Vms, #{under_way := U, elsewhere := E} = Left <- [deletions(Vm)], U > 0 orelse E =/= #{}]
    end).

wait(Fun) -> warp_test:wait_until(Fun, 60000).

%% ------------------------------------------------------------------ Inside a VM

%% A step that waits until the test opens the gate.
gate(State, Args) ->
    case persistent_term:get(gate) of
        open -> {ok, event(<<"gate">>)};
        closed -> timer:sleep(20), gate(State, Args)
    end.

rows() ->
    case warp_core:query(warp_cluster_vm:ctx(), "SELECT whose, text FROM seen", []) of
        {ok, #{rows := Rows}} -> [{Id, Text} || [Id, Text] <- Rows];
        %% Nothing was projected yet.
        {error, {sql_error, _}} -> []
    end.
