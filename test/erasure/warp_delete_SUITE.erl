%% Delete means gone: from every read, and from the bytes of every file.
-module(warp_delete_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {seconds, 60}}].
all() -> warp_test:both_modes().
groups() -> warp_test:both_modes(cases()).
init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_, _) -> ok.
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

cases() ->
    [a_deleted_entity_is_gone_from_every_read,
     a_deleted_entity_starts_again_at_seq_one,
     deleting_what_is_not_there_is_ok,
     a_receipt_says_what_was_erased,
     deleting_one_leaves_the_others_alone,
     no_byte_of_single_appends_is_left,
     no_byte_of_large_batches_is_left,
     no_byte_is_left_of_a_cold_entity,
     no_byte_is_left_of_a_snapshot,
     no_byte_is_left_when_deleted_after_a_restart,
     no_byte_is_left_of_neighbours_deleted_at_random,
     no_byte_is_left_of_an_entity_that_lived_many_times,
     no_delete_is_acknowledged_while_a_reader_holds_the_bytes,
     the_room_of_what_was_deleted_is_given_back,
     deletes_among_appends_lose_nothing_else,
     an_append_after_a_delete_sees_nothing_of_before].

a_deleted_entity_is_gone_from_every_read(Config) ->
    Ctx = warp_test:start(Config, #{snapshot_every => 5}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    [{ok, _} = warp_core:append(Alice, warp_test:incremented()) || _ <- lists:seq(1, 20)],
    {ok, 20} = warp_core:get(Alice, <<"Counter">>),
    ?assertEqual(ok, warp_core:delete(Alice)),
    assert_empty(Alice),
    warp_test:passivate(Alice),
    assert_empty(Alice),
    assert_empty(warp_core:entity(warp_test:restart(Ctx), <<"alice">>)).

a_deleted_entity_starts_again_at_seq_one(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Pay = (warp_test:credited(10))#{id => <<"pay-1">>},
    [begin
         ?assertEqual({ok, 1}, warp_core:append(Alice, Pay, #{expected => no_stream})),
         ?assertEqual({ok, {2, 3}}, warp_core:append_batch(Alice, [Pay#{id => <<"pay-2">>},
                                                                   warp_test:debited(15)])),
         ?assertEqual({ok, 2}, warp_core:append(Alice, Pay#{id => <<"pay-2">>})),
         ?assertEqual({ok, 5}, warp_core:get(Alice, <<"Account">>)),
         warp_test:assert_whole(Alice, 3),
         ?assertEqual(ok, warp_core:delete(Alice))
     end || _Life <- lists:seq(1, 3)],
    {ok, 1} = warp_core:append(Alice, Pay#{payload => #{amount => 77}}),
    Again = warp_core:entity(warp_test:restart(Ctx), <<"alice">>),
    ?assertEqual({ok, 77}, warp_core:get(Again, <<"Account">>)),
    ?assertEqual({ok, 2}, warp_core:append(Again, Pay#{id => <<"pay-2">>})),
    warp_test:assert_whole(Again, 2).

deleting_what_is_not_there_is_ok(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    ?assertEqual(ok, warp_core:delete(Alice)),
    {ok, 1} = warp_core:append(Alice, warp_test:incremented()),
    [?assertEqual(ok, warp_core:delete(Alice)) || _ <- [once, twice]],
    assert_empty(Alice).

a_receipt_says_what_was_erased(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, _} = warp_core:append_batch(Alice, [warp_test:incremented() || _ <- lists:seq(1, 7)]),
    {ok, 8} = warp_core:append(Alice, warp_test:incremented()),
    Before = os:system_time(microsecond),
    {ok, Receipt} = warp_core:delete(Alice, #{receipt => true}),
    ?assertMatch(#{entity := <<"alice">>, events := 8, erased_from := [sagas, log, subscriptions],
                   nodes := [nonode@nohost]}, Receipt),
    #{shards := Shards} = warp_core:stats(Ctx),
    ?assertEqual([maps:get(shard, Receipt)], [N || #{shard := N, erased_entities := 1} <- Shards]),
    ?assert(maps:get(erased_at, Receipt) >= Before andalso maps:get(erased_at, Receipt) =< os:system_time(microsecond)),
    %% There is nothing more; a new life has a receipt of its own, also when it is not in memory.
    ?assertMatch({ok, #{events := 0}}, warp_core:delete(Alice, #{receipt => true})),
    {ok, 1} = warp_core:append(Alice, warp_test:incremented()),
    Again = warp_core:entity(warp_test:restart(Ctx), <<"alice">>),
    ?assertMatch({ok, #{events := 1}}, warp_core:delete(Again, #{receipt => true})),
    ?assertEqual(ok, warp_core:delete(Again, #{receipt => false})),
    ?assertEqual({error, {bad_option, receipt, {not_one_of, [true, false]}}},
                 warp_core:delete(Again, #{receipt => yes})).

deleting_one_leaves_the_others_alone(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Names = [<<"ann">>, <<"anna">>, <<"an">>, <<"ANN">>, <<"ann ">>, <<"ann", 0>>, <<"ann%">>],
    Entities = [Ann | Others] = [warp_core:entity(Ctx, Name) || Name <- Names],
    WithId = (warp_test:incremented())#{id => <<"i">>},
    [{ok, _} = warp_core:append_batch(E, [warp_test:incremented(), WithId]) || E <- Entities],
    Logs = [warp_test:history(E) || E <- Others],
    ok = warp_core:delete(Ann),
    assert_empty(Ann),
    ?assertEqual(Logs, [warp_test:history(E) || E <- Others]),
    [?assertEqual({ok, 2}, warp_core:append(E, WithId)) || E <- Others].

no_byte_of_single_appends_is_left(Config) ->
    Ctx = warp_test:start(Config),
    Victim = warp_core:entity(Ctx, <<"victim-entity">>),
    [{ok, N} = warp_core:append(Victim, victim_event(N, 20)) || N <- lists:seq(1, 300)],
    delete_and_search(Ctx, Victim).

no_byte_of_large_batches_is_left(Config) ->
    Ctx = warp_test:start(Config),
    Victim = warp_core:entity(Ctx, <<"victim-entity">>),
    [{ok, _} = warp_core:append_batch(Victim, [victim_event(Batch * 1000 + N, 200)
                                               || N <- lists:seq(1, 500)])
     || Batch <- [1, 2, 3]],
    {ok, 1501} = warp_core:append(Victim, victim_event(9999, 500000)),
    delete_and_search(Ctx, Victim).

no_byte_is_left_of_a_cold_entity(Config) ->
    Ctx = warp_test:start(Config),
    Victim = warp_core:entity(Ctx, <<"victim-entity">>),
    [{ok, N} = warp_core:append(Victim, victim_event(N, 20)) || N <- lists:seq(1, 100)],
    warp_test:passivate(Victim),
    delete_and_search(Ctx, Victim).

no_byte_is_left_of_a_snapshot(Config) ->
    Ctx = warp_test:start(Config, #{snapshot_every => 5}),
    Victim = warp_core:entity(Ctx, <<"victim-entity">>),
    [{ok, _} = warp_core:append(Victim, warp_test:added(<<"victim-title">>)) || _ <- lists:seq(1, 100)],
    {ok, [_ | _]} = warp_core:get(Victim, <<"Todo">>),
    Files = warp_test:shard_files(warp_test:context_dir(Ctx)),
    warp_test:wait_until(fun() ->
        lists:append([warp_test:sqlite(F, "select 1 from snapshots") || F <- Files]) =/= []
    end),
    delete_and_search(Ctx, Victim).

no_byte_is_left_when_deleted_after_a_restart(Config) ->
    Ctx = warp_test:start(Config),
    Victim = warp_core:entity(Ctx, <<"victim-entity">>),
    [{ok, N} = warp_core:append(Victim, victim_event(N, 20)) || N <- lists:seq(1, 100)],
    Again = warp_test:restart(Ctx),
    delete_and_search(Again, warp_core:entity(Again, <<"victim-entity">>)).

%% Rows of very different size, interleaved on the same pages; whatever pages
%% are merged, split or freed by one delete must not keep copies of the next.
no_byte_is_left_of_neighbours_deleted_at_random(Config) ->
    _ = rand:seed(exsss, {2013, 1, 1}),
    Ctx = warp_test:start(Config, #{shards => 1, snapshot_every => 10}),
    Markers = [marker(N) || N <- lists:seq(1, 120)],
    [append_marked(warp_core:entity(Ctx, Marker), Marker)
     || _Round <- lists:seq(1, 12), Marker <- shuffle(Markers)],
    {Deleted, Kept} = lists:split(60, shuffle(Markers)),
    Logs = [warp_test:history(warp_core:entity(Ctx, Marker)) || Marker <- Kept],
    [begin
         ?assertEqual(ok, warp_core:delete(warp_core:entity(Ctx, Marker))),
         append_marked(warp_core:entity(Ctx, <<"bystander">>), <<"bystander">>)
     end || Marker <- Deleted],
    Dir = warp_test:context_dir(Ctx),
    ?assertEqual([], found(Dir, Deleted)),
    ?assertEqual(lists:sort(Kept), found(Dir, Kept)),
    Again = warp_test:restart(Ctx),
    ?assertEqual([], found(Dir, Deleted)),
    ?assertEqual(Logs, [warp_test:history(warp_core:entity(Again, Marker)) || Marker <- Kept]),
    [assert_empty(warp_core:entity(Again, Marker)) || Marker <- Deleted],
    [File] = warp_test:shard_files(Dir),
    ?assertEqual([<<"ok">>], warp_test:sqlite(File, "pragma integrity_check")).

no_byte_is_left_of_an_entity_that_lived_many_times(Config) ->
    Ctx = warp_test:start(Config),
    Victim = warp_core:entity(Ctx, <<"victim-entity">>),
    Neighbour = warp_core:entity(Ctx, <<"neighbour">>),
    [begin
         [{ok, _} = warp_core:append(E, victim_or_neighbour(E, Victim, N))
          || N <- lists:seq(1, 30), E <- [Victim, Neighbour]],
         ok = warp_core:delete(Victim)
     end || _Life <- lists:seq(1, 10)],
    ?assertEqual([], found(warp_test:context_dir(Ctx), [<<"victim">>])),
    warp_test:assert_whole(Neighbour, 300).

%% A shell that reads on keeps the WAL from being emptied.
no_delete_is_acknowledged_while_a_reader_holds_the_bytes(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Victim = warp_core:entity(Ctx, <<"victim-entity">>),
    [{ok, N} = warp_core:append(Victim, victim_event(N, 20)) || N <- lists:seq(1, 20)],
    [File] = warp_test:shard_files(warp_test:context_dir(Ctx)),
    Shell = warp_shell:reads(File),
    {Deleter, Ref} = spawn_monitor(fun() -> exit({deleted, warp_core:delete(Victim)}) end),
    receive
        {'DOWN', Ref, process, Deleter, {deleted, Early}} ->
            ?assertMatch({error, _}, Early)
    after 1000 -> ok
    end,
    warp_shell:release(Shell),
    warp_test:wait_until(fun() -> warp_core:delete(Victim) =:= ok end),
    ?assertEqual([], found(warp_test:context_dir(Ctx), [<<"victim">>])),
    assert_empty(Victim).

%% The deleted entity wrote last, and still its positions are not given again.
the_room_of_what_was_deleted_is_given_back(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1, snapshot_every => 10}),
    [Kept, Victim] = [warp_core:entity(Ctx, Id) || Id <- [<<"kept">>, <<"victim-entity">>]],
    [begin
         {ok, N} = warp_core:append(Kept, (warp_test:added(N))#{id => <<"id", N>>}),
         {ok, N} = warp_core:append(Victim, victim_event(N, 50000))
     end || N <- lists:seq(1, 100)],
    Log = warp_test:history(Kept),
    Dir = warp_test:context_dir(Ctx),
    [File] = warp_test:shard_files(Dir),
    ok = warp_core:delete(Victim),
    Large = filelib:file_size(File),
    Again = warp_test:restart(Ctx),
    ?assert(filelib:file_size(File) < Large div 10),
    ?assertEqual([], found(Dir, [<<"victim">>])),
    KeptAgain = warp_core:entity(Again, <<"kept">>),
    ?assertEqual(Log, warp_test:history(KeptAgain)),
    ?assertEqual({ok, lists:seq(1, 100)}, warp_core:get(KeptAgain, <<"Todo">>)),
    ?assertEqual({ok, 77}, warp_core:append(KeptAgain, (warp_test:added(77))#{id => <<"id", 77>>})),
    {ok, 101} = warp_core:append(KeptAgain, warp_test:added(101)),
    ok = warp_test:await_applied(Again),
    %% The deletion took a position as well.
    ?assertEqual([<<"202">>], warp_test:sqlite(File, "select max(position) from events")).

deletes_among_appends_lose_nothing_else(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Writers = [fun() ->
                   Entity = warp_core:entity(Ctx, <<"writer ", W>>),
                   [{ok, N} = warp_core:append(Entity, warp_test:incremented()) || N <- lists:seq(1, 200)],
                   {W, length(warp_test:history(Entity))}
               end || W <- lists:seq($a, $h)],
    Deleters = [fun() ->
                    Entity = warp_core:entity(Ctx, <<"short-lived ", D>>),
                    [begin
                         {ok, 1} = warp_core:append(Entity, warp_test:noted(<<"victim">>)),
                         ok = warp_core:delete(Entity)
                     end || _ <- lists:seq(1, 20)],
                    {D, length(warp_test:history(Entity))}
                end || D <- [1, 2]],
    Results = warp_test:parallel(Deleters ++ Writers),
    ?assertEqual([{1, 0}, {2, 0}] ++ [{W, 200} || W <- lists:seq($a, $h)], Results),
    ?assertEqual([], found(warp_test:context_dir(Ctx), [<<"victim">>, <<"short-lived">>])),
    Again = warp_test:restart(Ctx),
    [?assertEqual({ok, 200}, warp_core:get(warp_core:entity(Again, <<"writer ", W>>), <<"Counter">>))
     || W <- lists:seq($a, $h)].

%% Callers append while the entity is deleted under them: whatever is left is
%% one whole log from seq 1, and the state is the fold of that log alone.
an_append_after_a_delete_sees_nothing_of_before(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Append = fun() ->
        [{ok, _} = warp_core:append(Alice, warp_test:incremented()) || _ <- lists:seq(1, 100)]
    end,
    Delete = fun() -> [ok = warp_core:delete(Alice) || _ <- lists:seq(1, 10)] end,
    _ = warp_test:parallel([Append || _ <- lists:seq(1, 10)] ++ [Delete]),
    {ok, Count} = warp_core:get(Alice, <<"Counter">>),
    warp_test:assert_whole(Alice, Count),
    Again = warp_core:entity(warp_test:restart(Ctx), <<"alice">>),
    ?assertEqual({ok, Count}, warp_core:get(Again, <<"Counter">>)),
    warp_test:assert_whole(Again, Count).

%% ---------------------------------------------------------------- helpers

assert_empty(Entity) ->
    ?assertEqual({ok, 0}, warp_core:get(Entity, <<"Counter">>)),
    ?assertEqual({ok, []}, warp_core:get(Entity, <<"Todo">>)),
    ?assertEqual({ok, 0}, warp_core:state_at(Entity, <<"Counter">>, {seq, 5})),
    ?assertEqual({ok, []}, warp_core:history(Entity)),
    ?assertEqual({ok, []}, warp_core:history(Entity, #{direction => backward})),
    ?assertEqual({ok, []}, warp_core:export(Entity)).

victim_event(N, Bytes) ->
    Number = integer_to_binary(N),
    (warp_test:noted([<<"victim-payload">>, binary:copy(<<"v">>, Bytes)]))
        #{id => <<"victim-id-", Number/binary>>, type => <<"victim-type">>,
          metadata => #{<<"victim-meta">> => N}}.

victim_or_neighbour(Victim, Victim, N) -> victim_event(N, N);
victim_or_neighbour(_, _, _) -> warp_test:incremented().

%% A neighbour before and after keeps the victim's pages in use.
delete_and_search(Ctx, Victim) ->
    Dir = warp_test:context_dir(Ctx),
    Neighbours = [warp_core:entity(Ctx, <<"neighbour ", N>>) || N <- lists:seq($a, $j)],
    [{ok, _} = warp_core:append(E, warp_test:incremented()) || E <- Neighbours],
    ?assertNotEqual([], found(Dir, [<<"victim">>])),
    ?assertEqual(ok, warp_core:delete(Victim)),
    ?assertEqual([], found(Dir, [<<"victim">>])),
    assert_empty(Victim),
    ?assertEqual([], found(Dir, [<<"victim">>])),
    [?assertEqual({ok, 2}, warp_core:append(E, warp_test:incremented())) || E <- Neighbours],
    warp_test:stop(Ctx),
    ?assertEqual([], found(Dir, [<<"victim">>])).

%% Those of the needles that the bytes of any file below Dir contain.
found(Dir, Needles) ->
    Bytes = filelib:fold_files(Dir, ".", true, fun(File, All) ->
        {ok, Content} = file:read_file(File),
        [Content | All]
    end, []),
    lists:usort([binary:part(Content, Match) || Content <- Bytes,
                                                Match <- binary:matches(Content, Needles)]).

marker(N) ->
    iolist_to_binary(io_lib:format("marker-~4..0b-~8.36.0b", [N, rand:uniform(1 bsl 40)])).

append_marked(Entity, Marker) ->
    Note = warp_test:added([Marker, binary:copy(<<"x">>, size_of_note(rand:uniform(20)))]),
    Event = case rand:uniform(3) of
                1 -> Note#{id => iolist_to_binary([Marker, "-", integer_to_list(rand:uniform(1 bsl 40))])};
                _ -> Note
            end,
    Batch = [Event | [warp_test:added(Marker) || _ <- lists:seq(1, rand:uniform(4))]],
    {ok, _} = warp_core:append_batch(Entity, Batch).

size_of_note(1) -> 100000;
size_of_note(N) when N < 5 -> rand:uniform(6000);
size_of_note(_) -> rand:uniform(200).

shuffle(List) ->
    [E || {_, E} <- lists:sort([{rand:uniform(), E} || E <- List])].
