%% Reading the log: history, time travel and export, against plain lists.
-module(warp_history_SUITE).
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
    [history_of_single_appends_is_a_slice_of_the_log,
     history_of_batches_is_a_slice_of_the_log,
     history_of_interleaved_entities_is_their_own,
     history_gives_a_thousand_events_unless_told,
     history_after_a_restart_is_the_same,
     history_options_that_are_wrong_are_named,
     huge_numbers_are_only_far_away,
     state_at_a_seq_is_the_fold_up_to_it,
     state_at_a_time_is_the_fold_up_to_it,
     state_at_does_not_disturb_the_state_now,
     export_is_every_event_first_to_last,
     recorded_times_never_go_back].

%% More rows than one mark covers, and one that ends a mark exactly.
history_of_single_appends_is_a_slice_of_the_log(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    append_singles(Alice, 64),
    assert_slices(Alice, 64),
    append_singles(Alice, 300),
    assert_slices(Alice, 364).

history_of_batches_is_a_slice_of_the_log(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    append_batches(Alice, [1, 7, 500, 1, 1, 64, 2, 63, 130]),
    append_singles(Alice, 70),
    append_batches(Alice, [200]),
    assert_slices(Alice, 769 + 70 + 200).

history_of_interleaved_entities_is_their_own(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Entities = [warp_core:entity(Ctx, <<"entity ", N>>) || N <- lists:seq($a, $t)],
    [append_singles(Entity, 1) || _ <- lists:seq(1, 30), Entity <- Entities],
    [append_batches(Entity, [3, 1, 100]) || Entity <- Entities],
    [append_singles(Entity, 1) || _ <- lists:seq(1, 70), Entity <- Entities],
    [assert_slices(Entity, 204) || Entity <- Entities].

history_gives_a_thousand_events_unless_told(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    append_batches(Alice, [600, 600]),
    Default = fun(Opts) -> {ok, Events} = warp_core:history(Alice, Opts), seqs(Events) end,
    ?assertEqual(lists:seq(1, 1000), Default(#{})),
    ?assertEqual(lists:seq(1200, 201, -1), Default(#{direction => backward})),
    ?assertEqual(lists:seq(900, 1200), Default(#{from => 900})),
    {ok, Short} = warp_core:history(Alice),
    ?assertEqual(lists:seq(1, 1000), seqs(Short)).

history_after_a_restart_is_the_same(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    append_singles(Alice, 150),
    append_batches(Alice, [150]),
    Log = warp_test:history(Alice),
    Once = warp_core:entity(warp_test:restart(Ctx), <<"alice">>),
    ?assertEqual(Log, warp_test:history(Once)),
    append_singles(Once, 100),
    assert_slices(Once, 400),
    ?assertEqual(Log, lists:sublist(warp_test:history(Once), 300)).

history_options_that_are_wrong_are_named(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    append_singles(Alice, 1),
    [?assertMatch({error, {bad_option, Key, _}}, warp_core:history(Alice, #{Key => Wrong}))
     || {Key, Wrong} <- [{limit, 0}, {limit, -1}, {limit, all}, {from, first}, {from, -1},
                         {direction, up}]],
    ?assertEqual({error, {unknown_option, form}}, warp_core:history(Alice, #{form => 3})).

huge_numbers_are_only_far_away(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    append_singles(Alice, 3),
    [begin
         ?assertEqual({ok, []}, warp_core:history(Alice, #{from => Huge})),
         {ok, Backward} = warp_core:history(Alice, #{from => Huge, direction => backward}),
         ?assertEqual([3, 2, 1], seqs(Backward)),
         {ok, All} = warp_core:history(Alice, #{limit => Huge}),
         ?assertEqual([1, 2, 3], seqs(All)),
         ?assertEqual({ok, 6}, warp_core:state_at(Alice, <<"Counter">>, {seq, Huge})),
         ?assertEqual({ok, 6}, warp_core:state_at(Alice, <<"Counter">>, {time, Huge})),
         ?assertEqual({ok, 0}, warp_core:state_at(Alice, <<"Counter">>, {time, -Huge})),
         ?assertEqual({error, {wrong_expected_seq, 3}},
                      warp_core:append(Alice, warp_test:incremented(), #{expected => Huge}))
     end || Huge <- [1 bsl 62, 1 bsl 63, 1 bsl 64, 1 bsl 100]].

state_at_a_seq_is_the_fold_up_to_it(Config) ->
    Ctx = warp_test:start(Config, #{snapshot_every => 50}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    append_singles(Alice, 70),
    append_batches(Alice, [30, 100]),
    Expected = [{N, {ok, N * (N + 1) div 2}}
                || N <- [0, 1, 2, 49, 50, 51, 70, 71, 100, 101, 199, 200]],
    At = fun(Entity) -> [{N, warp_core:state_at(Entity, <<"Counter">>, {seq, N})}
                         || {N, _} <- Expected] end,
    ?assertEqual(Expected, At(Alice)),
    ?assertEqual({ok, 20100}, warp_core:state_at(Alice, <<"Counter">>, {seq, 1000})),
    warp_test:passivate(Alice),
    ?assertEqual(Expected, At(Alice)),
    ?assertEqual(Expected, At(warp_core:entity(warp_test:restart(Ctx), <<"alice">>))).

state_at_a_time_is_the_fold_up_to_it(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    append_singles(Alice, 1),
    timer:sleep(2),
    append_batches(Alice, [2]),
    timer:sleep(2),
    append_singles(Alice, 1),
    [T1, T2, T2, T4] = [T || #{recorded_at := T} <- warp_test:history(Alice)],
    At = fun(Time) -> warp_core:state_at(Alice, <<"Counter">>, {time, Time}) end,
    ?assertEqual([{ok, 0}, {ok, 0}], [At(0), At(T1 - 1)]),
    ?assertEqual([{ok, 1}, {ok, 1}], [At(T1), At(T2 - 1)]),
    ?assertEqual([{ok, 6}, {ok, 6}], [At(T2), At(T4 - 1)]),
    ?assertEqual([{ok, 10}, {ok, 10}], [At(T4), At(T4 + 1000000000000)]).

state_at_does_not_disturb_the_state_now(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    append_singles(Alice, 4),
    {ok, 10} = warp_core:get(Alice, <<"Counter">>),
    {ok, 3} = warp_core:state_at(Alice, <<"Counter">>, {seq, 2}),
    ?assertEqual({ok, 10}, warp_core:get(Alice, <<"Counter">>)),
    append_singles(Alice, 1),
    ?assertEqual({ok, 15}, warp_core:get(Alice, <<"Counter">>)).

export_is_every_event_first_to_last(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    append_batches(Alice, [1500]),
    append_singles(Alice, 100),
    {ok, Export} = warp_core:export(Alice),
    ?assertEqual(lists:seq(1, 1600), seqs(Export)),
    ?assertEqual(warp_test:history(Alice), Export).

recorded_times_never_go_back(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    _ = warp_test:parallel(20, fun(_) -> append_singles_any(Alice, 20) end),
    Times = [T || #{recorded_at := T} <- warp_test:history(Alice)],
    ?assertEqual(lists:sort(Times), Times).

%% ---------------------------------------------------------------- the lists

%% Event N of an entity adds N, so that its own payload says where it belongs.
append_singles(Entity, Count) ->
    Last = last_seq(Entity),
    [{ok, N} = warp_core:append(Entity, warp_test:incremented(N))
     || N <- lists:seq(Last + 1, Last + Count)].

append_batches(Entity, Counts) ->
    lists:foldl(fun(Count, Last) ->
        Batch = [warp_test:incremented(N) || N <- lists:seq(Last + 1, Last + Count)],
        {ok, {First, _}} = warp_core:append_batch(Entity, Batch),
        ?assertEqual(Last + 1, First),
        Last + Count
    end, last_seq(Entity), Counts).

append_singles_any(Entity, Count) ->
    [{ok, _} = warp_core:append(Entity, warp_test:incremented()) || _ <- lists:seq(1, Count)].

last_seq(Entity) ->
    case warp_core:history(Entity, #{direction => backward, limit => 1}) of
        {ok, []} -> 0;
        {ok, [#{seq := Seq}]} -> Seq
    end.

seqs(Events) ->
    [begin ?assertEqual(#{<<"by">> => Seq}, Payload), Seq end
     || #{seq := Seq, payload := Payload} <- Events].

assert_slices(Entity, Count) ->
    Froms = [1, 2, 63, 64, 65, 100, 128, 129, Count - 1, Count, Count + 1, Count + 1000],
    Limits = [1, 2, 63, 64, 65, 200, 100000],
    [begin
         Opts = #{from => From, limit => Limit, direction => Direction},
         {ok, Events} = warp_core:history(Entity, Opts),
         ?assertEqual({Opts, slice(Count, From, Limit, Direction)}, {Opts, seqs(Events)})
     end || From <- Froms, Limit <- Limits, Direction <- [forward, backward]],
    {ok, Tail} = warp_core:history(Entity, #{direction => backward, limit => 5}),
    ?assertEqual(slice(Count, Count, 5, backward), seqs(Tail)).

slice(Count, From, Limit, forward) when From =< Count ->
    lists:seq(From, min(Count, From + Limit - 1));
slice(_, _, _, forward) ->
    [];
slice(Count, From, Limit, backward) ->
    Start = min(Count, From),
    lists:seq(Start, max(1, Start - Limit + 1), -1).
