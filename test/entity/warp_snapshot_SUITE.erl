%% Snapshots: a shortcut to the state that never changes what the state is.
-module(warp_snapshot_SUITE).
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
    [the_state_from_a_snapshot_is_the_fold_of_all_events,
     a_cold_read_starts_from_the_snapshot,
     each_aggregate_of_an_entity_has_its_own_snapshot,
     a_snapshot_of_a_large_state_comes_back,
     a_snapshot_of_another_version_is_thrown_away,
     a_snapshot_that_can_not_be_read_is_thrown_away,
     a_snapshot_whose_bytes_were_changed_is_thrown_away,
     a_snapshot_made_by_hand_makes_no_atoms_and_inflates_nothing,
     time_travel_before_a_snapshot_is_right,
     the_mode_can_be_switched_with_snapshots_on_disk].

the_state_from_a_snapshot_is_the_fold_of_all_events(Config) ->
    Ctx = warp_test:start(Config, #{snapshot_every => 7}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    [begin
         {ok, N} = warp_core:append(Alice, warp_test:saw(#{n => N})),
         N rem 3 =:= 0 andalso warp_test:passivate(Alice),
         {ok, State} = warp_core:get(Alice, <<"Seen">>),
         ?assertEqual(lists:reverse(warp_test:history(Alice)), State)
     end || N <- lists:seq(1, 60)].

a_cold_read_starts_from_the_snapshot(Config) ->
    Applied = counters:new(1, []),
    Ctx = start_counting(Config, Applied, 10),
    Alice = append_until_snapshot(Ctx, 500),
    ReadCold = fun(Entity) ->
        warp_test:passivate(Entity),
        Before = counters:get(Applied, 1),
        ?assertEqual({ok, 500}, warp_core:get(Entity, <<"Counter">>)),
        counters:get(Applied, 1) - Before
    end,
    warp_test:wait_until(fun() -> ReadCold(Alice) < 20 end),
    Restarted = warp_core:entity(warp_test:restart(Ctx), <<"alice">>),
    ?assert(ReadCold(Restarted) < 20).

each_aggregate_of_an_entity_has_its_own_snapshot(Config) ->
    Ctx = warp_test:start(Config, #{snapshot_every => 5}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    [begin
         {ok, _} = warp_core:append(Alice, warp_test:incremented()),
         {ok, _} = warp_core:append_batch(Alice, [warp_test:credited(2), warp_test:added(N)])
     end || N <- lists:seq(1, 50)],
    wait_for_snapshots(Config, 1),
    Again = warp_core:entity(warp_test:restart(Ctx), <<"alice">>),
    ?assertEqual({ok, 50}, warp_core:get(Again, <<"Counter">>)),
    ?assertEqual({ok, 100}, warp_core:get(Again, <<"Account">>)),
    ?assertEqual({ok, lists:seq(1, 50)}, warp_core:get(Again, <<"Todo">>)).

a_snapshot_of_a_large_state_comes_back(Config) ->
    Ctx = warp_test:start(Config, #{snapshot_every => 5}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Titles = [binary:copy(<<N>>, 300000) || N <- lists:seq($a, $k)],
    [{ok, _} = warp_core:append(Alice, warp_test:added(Title)) || Title <- Titles],
    wait_for_snapshots(Config, 1),
    Again = warp_core:entity(warp_test:restart(Ctx), <<"alice">>),
    ?assertEqual({ok, Titles}, warp_core:get(Again, <<"Todo">>)).

a_snapshot_of_another_version_is_thrown_away(Config) ->
    Ctx = warp_test:start(Config, #{snapshot_every => 10}),
    _ = append_until_snapshot(Ctx, 100),
    Tens = (warp_test:counter())#{version => 2, apply => fun(Count, _) -> Count + 10 end},
    Again = warp_test:restart(Ctx, #{aggregates => [Tens]}),
    ?assertEqual({ok, 1000}, warp_core:get(warp_core:entity(Again, <<"alice">>), <<"Counter">>)),
    Back = warp_test:restart(Again, #{aggregates => [warp_test:counter()]}),
    ?assertEqual({ok, 100}, warp_core:get(warp_core:entity(Back, <<"alice">>), <<"Counter">>)).

a_snapshot_that_can_not_be_read_is_thrown_away(Config) ->
    [spoil_and_read(Config, fun(_) -> Value end) || Value <- ["x'00'", "x''", "'text'", "17"]],
    spoil_and_read(Config, fun(Image) -> hex(binary:part(Image, 0, byte_size(Image) div 2)) end).

%% Still a readable term, but not the one that was written.
a_snapshot_whose_bytes_were_changed_is_thrown_away(Config) ->
    spoil_and_read(Config, fun(Image) ->
        [Before, <<Count, After/binary>>] = binary:split(Image, <<"Counter", $a>>),
        hex(<<Before/binary, "Counter", $a, (Count - 1), After/binary>>)
    end).

time_travel_before_a_snapshot_is_right(Config) ->
    Ctx = warp_test:start(Config, #{snapshot_every => 10}),
    Alice = append_until_snapshot(Ctx, 100),
    warp_test:passivate(Alice),
    [?assertEqual({ok, N}, warp_core:state_at(Alice, <<"Counter">>, {seq, N}))
     || N <- [0, 1, 9, 10, 11, 19, 20, 50, 89, 99, 100]],
    [?assertEqual({ok, N}, warp_core:state_at(Alice, <<"Counter">>, {time, At}))
     || #{seq := N, recorded_at := At} <- warp_test:history(Alice), N rem 20 =:= 5].

the_mode_can_be_switched_with_snapshots_on_disk(Config) ->
    Ctx = warp_test:start(Config, #{snapshot_every => 10}),
    _ = append_until_snapshot(Ctx, 100),
    #{mode := Mode} = warp_test:opts(Config),
    [Other] = [actor, read_through] -- [Mode],
    Switched = warp_test:restart(Ctx, #{mode => Other}),
    Alice = warp_core:entity(Switched, <<"alice">>),
    ?assertEqual({ok, 100}, warp_core:get(Alice, <<"Counter">>)),
    {ok, 101} = warp_core:append(Alice, warp_test:incremented()),
    Back = warp_core:entity(warp_test:restart(Switched, #{mode => Mode}), <<"alice">>),
    ?assertEqual({ok, 101}, warp_core:get(Back, <<"Counter">>)).

%% ---------------------------------------------------------------- helpers

start_counting(Config, Applied, SnapshotEvery) ->
    #{apply := Apply} = Counter = warp_test:counter(),
    Counting = fun(State, Event) -> counters:add(Applied, 1, 1), Apply(State, Event) end,
    warp_test:start(Config, #{snapshot_every => SnapshotEvery,
                              aggregates => [Counter#{apply => Counting}]}).

append_until_snapshot(Ctx, Count) ->
    Alice = warp_core:entity(Ctx, <<"alice">>),
    [{ok, _} = warp_core:append(Alice, warp_test:incremented()) || _ <- lists:seq(1, Count)],
    {ok, Count} = warp_core:get(Alice, <<"Counter">>),
    wait_for_snapshots([{dir, filename:dirname(warp_test:context_dir(Ctx))}], 1),
    Alice.

wait_for_snapshots(Config, AtLeast) ->
    warp_test:wait_until(fun() -> length(shell(Config, "select 1 from snapshots")) >= AtLeast end).

%% Spoil gives, as SQL, what is to stand in place of the snapshot's bytes.
spoil_and_read(Config, Spoil) ->
    Opts = #{snapshot_every => 10, aggregates => [warp_test:counter()]},
    Ctx = warp_test:start(Config, Opts),
    _ = append_until_snapshot(Ctx, 100),
    warp_test:stop(Ctx),
    [Hex] = shell(Config, "select hex(image) from snapshots"),
    _ = shell(Config, ["update snapshots set image = ", Spoil(binary:decode_hex(Hex))]),
    Again = warp_core:entity(warp_test:start(Config, Opts), <<"alice">>),
    ?assertEqual({ok, 100}, warp_core:get(Again, <<"Counter">>)),
    ?assertEqual({ok, 101}, warp_core:append(Again, warp_test:incremented())),
    ?assertEqual({ok, 101}, warp_core:get(Again, <<"Counter">>)),
    warp_test:stop_all(),
    warp_test:remove_dir(proplists:get_value(dir, Config)),
    ok = filelib:ensure_path(proplists:get_value(dir, Config)).

hex(Bytes) -> ["x'", binary:encode_hex(Bytes), "'"].

shell(Config, Sql) ->
    [Row || File <- warp_test:shard_files(proplists:get_value(dir, Config)),
            Row <- warp_test:sqlite(File, Sql)].

%% With a right checksum, as somebody makes it who may write the file.
a_snapshot_made_by_hand_makes_no_atoms_and_inflates_nothing(Config) ->
    Ctx = warp_test:start(Config),
    Name = <<"Counter">>,
    Atom = fun(N) -> <<"snapshot_by_hand_", (integer_to_binary(N))/binary>> end,
    Atoms = << <<119, (byte_size(Atom(N))), (Atom(N))/binary>> || N <- lists:seq(1, 5000) >>,
    <<131, Plain/binary>> = term_to_binary({Name, 1000}),
    Images = [<<131, 104, 2, 109, (byte_size(Name)):32, Name/binary, 108, 5000:32, Atoms/binary, 106>>,
              term_to_binary({Name, binary:copy(<<0>>, 300000000)}, [{compressed, 9}]),
              <<131, 80, (byte_size(Plain)):32, (zlib:compress(Plain))/binary>>,
              <<131, 80, 1:32>>, <<131>>, <<>>],
    AtomsBefore = erlang:system_info(atom_count),
    [begin
         Id = <<"alice-", (integer_to_binary(N))/binary>>,
         Alice = warp_core:entity(Ctx, Id),
         [{ok, _} = warp_core:append(Alice, warp_test:incremented()) || _ <- [1, 2, 3]],
         warp_test:passivate(Alice),
         {ok, Context} = warp_context:find(Ctx),
         {ok, Handle} = warp_context:shard(Context, warp_test:shard_of(Alice)),
         {ok, {Incarnation, 3, Time}} = warp_nif:head(Handle, Id),
         ok = warp_nif:save_snapshot(Handle, Id, Incarnation, {Name, 1, 3, Time}, Image),
         warp_test:wait_until(fun() ->
             {ok, {1, 3, Time, Image}} =:= warp_nif:snapshot(Handle, Incarnation, Name)
         end),
         ?assertEqual({ok, 3}, warp_core:get(Alice, Name)),
         ?assertEqual({ok, 3}, warp_core:state_at(Alice, Name, {seq, 3}))
     end || {N, Image} <- lists:zip(lists:seq(1, length(Images)), Images)],
    ?assert(erlang:system_info(atom_count) - AtomsBefore < 1000).
