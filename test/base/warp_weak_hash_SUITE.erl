%% Hashes that are equal: in a VM whose library keeps two bits of each hash, so that ids, entities,
%% aggregates and keys collide all the time, everything is as it is elsewhere.
-module(warp_weak_hash_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 60}}].

all() ->
    [ids_of_one_batch_may_have_one_hash,
     ids_are_told_apart_over_batches_flushes_and_restarts,
     a_log_that_was_not_written_behind_opens_again,
     entities_of_one_hash_live_and_die_apart,
     each_aggregate_has_its_own_snapshot,
     keys_of_an_object_may_have_one_hash,
     all_behaves_like_a_map_of_lists].

init_per_testcase(_, Config) ->
    Vm = warp_fault_vm:start(#{nif => weak}),
    Dir = warp_test:new_dir(),
    ok = warp_fault_vm:run(Vm, fun() -> warp_fault_vm:open(#{data_dir => Dir}) end),
    [{vm, Vm}, {dir, Dir} | Config].

end_per_testcase(_, Config) ->
    %% One that was killed is not there any more.
    catch warp_fault_vm:stop(proplists:get_value(vm, Config)),
    warp_test:remove_dir(proplists:get_value(dir, Config)).

ids_of_one_batch_may_have_one_hash(Config) ->
    in_vm(Config, fun() ->
        Batch = batch(1, 100),
        ?assertEqual({ok, {1, 100}}, warp_core:append_batch(alice(), Batch)),
        ok = warp_fault_vm:reopen(),
        ?assertEqual({ok, {1, 100}}, warp_core:append_batch(alice(), Batch)),
        assert_known(alice(), 100),
        ok = warp_fault_vm:reopen(),
        assert_known(alice(), 100),
        warp_test:assert_whole(alice(), 100),
        ?assertEqual([], warp_fault_vm:warnings())
    end).

ids_are_told_apart_over_batches_flushes_and_restarts(Config) ->
    in_vm(Config, fun() ->
        {ok, {1, 20}} = warp_core:append_batch(alice(), batch(1, 20)),
        [{ok, N} = warp_core:append(alice(), event(N)) || N <- lists:seq(21, 30)],
        write_behind(alice()),
        {ok, {First, _}} = warp_core:append_batch(alice(), batch(31, 40)),
        ?assertEqual({ok, First}, warp_core:append(alice(), event(31))),
        ?assertEqual({ok, {1, First + 4}}, warp_core:append_batch(alice(), batch(1, 35))),
        assert_known(alice(), 30),
        ok = warp_fault_vm:reopen(),
        assert_known(alice(), 30),
        ?assertEqual({ok, {First, First + 9}}, warp_core:append_batch(alice(), batch(31, 40))),
        %% Known and new ones in one batch.
        ?assertMatch({ok, {30, Last}} when Last =:= First + 12, warp_core:append_batch(alice(), batch(30, 43))),
        warp_test:assert_whole(alice(), First + 12)
    end).

%% What was committed by a VM that was killed before it wrote it behind is read again at opening.
a_log_that_was_not_written_behind_opens_again(Config) ->
    Dir = proplists:get_value(dir, Config),
    First = proplists:get_value(vm, Config),
    {ok, {1, 50}} = warp_fault_vm:run(First, fun() ->
        warp_core:append_batch(warp_fault_vm:entity(<<"alice">>), batch(1, 50))
    end),
    warp_fault_vm:kill(First),
    Second = warp_fault_vm:start(#{nif => weak}),
    warp_fault_vm:run(Second, fun() ->
        ok = warp_fault_vm:open(#{data_dir => Dir}),
        assert_known(alice(), 50),
        ok = warp_fault_vm:reopen(),
        assert_known(alice(), 50)
    end),
    warp_fault_vm:stop(Second).

entities_of_one_hash_live_and_die_apart(Config) ->
    in_vm(Config, fun() ->
        Names = [<<"entity ", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 60)],
        Entity = fun(N) -> warp_fault_vm:entity(lists:nth(N, Names)) end,
        Note = fun(N, Text) -> warp_core:append(Entity(N), warp_test:noted(Text, <<"same">>)) end,
        [{ok, 1} = Note(N, lists:nth(N, Names)) || N <- lists:seq(1, 60)],
        Texts = fun() ->
            [case warp_test:history(Entity(N)) of
                 [#{payload := #{<<"text">> := Text}} | _] -> Text;
                 [] -> none
             end || N <- lists:seq(1, 60)]
        end,
        ok = warp_fault_vm:reopen(),
        ?assertEqual(Names, Texts()),
        {Gone, Kept} = lists:partition(fun(N) -> N rem 3 =:= 0 end, lists:seq(1, 60)),
        [ok = warp_core:delete(Entity(N)) || N <- Gone],
        Left = [case lists:member(N, Kept) of true -> Name; false -> none end
                || {N, Name} <- lists:zip(lists:seq(1, 60), Names)],
        ?assertEqual(Left, Texts()),
        ok = warp_fault_vm:reopen(),
        ?assertEqual(Left, Texts()),
        [?assertEqual({ok, 1}, Note(N, <<"reborn">>)) || N <- Gone],
        [?assertEqual({ok, 1}, Note(N, lists:nth(N, Names))) || N <- Kept],
        Reborn = [case Text of none -> <<"reborn">>; _ -> Text end || Text <- Left],
        ?assertEqual(Reborn, Texts()),
        ok = warp_fault_vm:reopen(),
        ?assertEqual(Reborn, Texts())
    end).

each_aggregate_has_its_own_snapshot(Config) ->
    in_vm(Config, fun() ->
        Round = [warp_test:credited(1), warp_test:incremented(2), warp_test:added(<<"tea">>),
                 warp_test:saw(#{<<"n">> => 1})],
        Rounds = 50,
        [{ok, _} = warp_core:append_batch(alice(), Round) || _ <- lists:seq(1, Rounds)],
        Assert = fun() ->
            ?assertEqual({ok, Rounds}, warp_core:get(alice(), <<"Account">>)),
            ?assertEqual({ok, 2 * Rounds}, warp_core:get(alice(), <<"Counter">>)),
            ?assertEqual({ok, lists:duplicate(Rounds, <<"tea">>)}, warp_core:get(alice(), <<"Todo">>)),
            {ok, Seen} = warp_core:get(alice(), <<"Seen">>),
            ?assertEqual(Rounds, length(Seen)),
            ?assertEqual({ok, 20}, warp_core:state_at(alice(), <<"Account">>, {seq, 80}))
        end,
        Assert(),
        ok = warp_fault_vm:reopen(),
        Assert()
    end).

keys_of_an_object_may_have_one_hash(Config) ->
    Payload = maps:from_list([{<<"key ", (integer_to_binary(N))/binary>>, N} || N <- lists:seq(1, 50)]),
    Pairs = [["\"", Key, "\":", integer_to_list(N)] || {Key, N} <- maps:to_list(Payload)],
    Text = iolist_to_binary(["{", lists:join(",", Pairs), "}"]),
    Dir = filename:join(proplists:get_value(dir, Config), "pure"),
    in_vm(Config, fun() ->
        %% Only in a context of pure logs is text checked without being read into terms.
        {ok, Ctx} = warp_core:start(#{context => <<"pure">>, data_dir => Dir, shards => 1,
                                      aggregates => [warp_test:log()]}),
        Alice = warp_core:entity(Ctx, <<"alice">>),
        ?assertEqual({ok, 1}, warp_core:append(Alice, #{type => <<"T">>, payload => Text})),
        ?assertMatch({ok, [#{payload := Payload}]}, warp_core:export(Alice)),
        Twice = <<"{\"a\":1,\"b\":2,\"\\u0061\":3}">>,
        ?assertMatch({error, {bad_event, 1, payload, {invalid_json, _}}},
                     warp_core:append(Alice, #{type => <<"T">>, payload => Twice})),
        ok = warp_core:stop(Ctx)
    end).

all_behaves_like_a_map_of_lists(Config) ->
    Rounds = case os:getenv("WARP_LONG") of false -> 60; _ -> 3000 end,
    Paths = code:get_path(),
    in_vm(Config, fun() ->
        code:add_pathsz(Paths),
        _ = warp_killer:quiet([]),
        ?assertEqual(true, proper:quickcheck(warp_model_statem:property([actor, read_through], 50),
                                             [{numtests, Rounds}, {max_size, 50}, long_result]))
    end).

%% ---------------------------------------------------------------- helpers

in_vm(Config, Fun) ->
    warp_fault_vm:run(proplists:get_value(vm, Config), Fun).

alice() -> warp_fault_vm:entity(<<"alice">>).

event(N) ->
    warp_test:noted(N, <<"id ", (integer_to_binary(N))/binary>>).

batch(From, To) ->
    [event(N) || N <- lists:seq(From, To)].

%% Each of the first events is known by its id, and no other id is taken for it.
assert_known(Entity, Count) ->
    [?assertEqual({ok, N}, warp_core:append(Entity, event(N))) || N <- lists:seq(1, Count)],
    [?assertEqual({error, {id_conflict, N}}, warp_core:append(Entity, (event(N))#{payload => #{n => other}}))
     || N <- [1, Count div 2, Count]].

%% Appends as many rows as it takes until the tail is written behind.
write_behind(Entity) ->
    _ = warp_test:parallel(50, fun(_) ->
        [{ok, _} = warp_core:append(Entity, warp_test:noted(<<"more">>)) || _ <- lists:seq(1, 170)]
    end),
    ok.
