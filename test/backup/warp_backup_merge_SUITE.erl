%% Merging of old segments: the cuts that are kept give what they gave before, whatever happens in between.
-module(warp_backup_merge_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_backup_test, [target/1, master/1, restored/3, restore/3, rows/1]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [cuts_that_are_kept_come_back_as_they_were, a_time_that_is_kept_comes_back, what_was_erased_is_left_out,
     what_no_run_knows_to_be_erased_stays,
     steps_of_sagas_that_were_cleared_are_left_out, the_last_segment_may_be_merged_too,
     segments_that_an_interruption_left_do_no_harm, a_merge_that_is_killed_loses_nothing,
     a_damaged_segment_is_not_merged, another_writer_is_noticed, a_restore_beside_merges_ends,
     an_interrupted_restore_goes_on_with_merged_segments, an_interrupted_restore_brings_nothing_deleted_back,
     a_large_context_stays_in_several_segments,
     only_a_start_says_what_later_runs_keep, what_to_keep_is_checked].

init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

cuts_that_are_kept_come_back_as_they_were(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    {Reports, States} = lists:unzip([begin
        ok = fill(Ctx, N),
        {ok, #{cut := N} = Report} = run(Ctx, Config, #{cuts => 3}),
        {Report, {N, rows_of(Ctx)}}
    end || N <- lists:seq(1, 40)]),
    ?assert(lists:sum([Merged || #{merged := Merged} <- Reports]) >= 24),
    {ok, Cuts} = warp_backup:list(target(Config)),
    ?assert(length(Cuts) =< 20),
    ?assertEqual([38, 39, 40], [Cut || #{cut := Cut} <- lists:nthtail(length(Cuts) - 3, Cuts)]),
    ok = whole(Config),
    %% All that are left, also those that need not be.
    [came_back(Config, Cut, States) || #{cut := Cut} <- Cuts],
    ?assertEqual({error, {no_such_cut, {cut, 2}}},
                 warp_backup:restore(filename:join(dir(Config), "x"), target(Config),
                                     #{master_key => master(Config), until => {cut, 2}})).

a_time_that_is_kept_comes_back(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Keep = #{age => 1000},
    States = [begin
        ok = fill(Ctx, N),
        {ok, #{cut := N, merged := 0}} = run(Ctx, Config, Keep),
        {N, rows_of(Ctx)}
    end || N <- lists:seq(1, 9)],
    timer:sleep(1100),
    Then = os:system_time(microsecond),
    ok = fill(Ctx, 10),
    {ok, #{cut := 10, merged := 9}} = run(Ctx, Config, Keep),
    ?assertMatch({ok, [#{cut := 9, segments := 1}, #{cut := 10}]}, warp_backup:list(target(Config))),
    came_back(Config, {time, Then}, [{{time, Then}, proplists:get_value(9, States)}]),
    ok = whole(Config).

%% Bytes of what was erased go with the next merge, and no key of it was there before already.
what_was_erased_is_left_out(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Text = binary:encode_hex(crypto:strong_rand_bytes(20000)),
    Large = fun(N) ->
        {ok, _} = warp_core:append(warp_core:entity(Ctx, name(N)), (warp_test:credited(1))#{metadata => #{t => Text}})
    end,
    [begin Large(N), {ok, _} = run(Ctx, Config, all) end || N <- lists:seq(1, 8)],
    Before = bytes(Config),
    [ok = warp_core:delete(warp_core:entity(Ctx, name(N))) || N <- lists:seq(1, 7)],
    ok = fill(Ctx, 20),
    {ok, #{merged := Merged}} = merge(Ctx, Config, #{cuts => 1}),
    ?assert(Merged >= 9),
    ?assert(bytes(Config) < Before div 4),
    ok = whole(Config),
    {ok, #{erased := 0}} = warp_backup:verify(target(Config), #{master_key => master(Config)}),
    came_back(Config, 'end', [{'end', rows_of(Ctx)}]),
    %% One segment, of which more than a quarter is erased, is written again.
    {ok, #{merged := 0}} = merge(Ctx, Config, #{cuts => 1}),
    ok = warp_core:delete(warp_core:entity(Ctx, name(8))),
    {ok, #{merged := 2}} = merge(Ctx, Config, #{cuts => 1}),
    ?assert(bytes(Config) < 20000),
    came_back(Config, 'end', [{'end', rows_of(Ctx)}]).

%% A deletion between a run and its merge: the key pages have its keys, and the segment that is kept has rows of it.
what_no_run_knows_to_be_erased_stays(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    [begin ok = fill(Ctx, N), {ok, _} = run(Ctx, Config, all) end || N <- lists:seq(1, 8)],
    _ = [{ok, _} = warp_core:append(warp_core:entity(Ctx, name(N)), warp_test:credited(1)) || N <- [1, 2]],
    {ok, #{cut := 9}} = run(Ctx, Config, all),
    All = rows_of(Ctx),
    %% Its deletion makes no run.
    ok = warp_backup:forget(Ctx, target(Config)),
    ok = warp_core:delete(warp_core:entity(Ctx, name(1))),
    {ok, To} = warp_backup_target:check(target(Config)),
    {ok, Master} = warp_backup_master:check(master(Config)),
    {ok, Context} = warp_context:of_handle(Ctx),
    {ok, #{merged := 8}} = warp_backup_places:with(To, none, fun(Open) ->
        warp_backup_merge:run(Context, Open#{master => Master}, #{cuts => 2}, all, fun() -> ok end)
    end),
    came_back(Config, 'end', [{'end', All}]),
    ok = whole(Config),
    %% The next run says that it was deleted.
    {ok, #{cut := 10}} = merge(Ctx, Config, #{cuts => 1}),
    came_back(Config, 'end', [{'end', rows_of(Ctx)}]).

steps_of_sagas_that_were_cleared_are_left_out(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = fill(Ctx, 1),
    ok = fill(Ctx, 2),
    {ok, {committed, _}} = warp_saga:commit(warp_saga_test:transfer(<<"transfer">>, name(1), name(2), 1), Ctx),
    {ok, _} = run(Ctx, Config, all),
    [begin ok = fill(Ctx, N), {ok, _} = run(Ctx, Config, all) end || N <- lists:seq(3, 9)],
    ok = warp_core:delete(warp_core:entity(Ctx, name(1))),
    {ok, #{erased := 1, cleared := 1}} =
        warp_backup:verify(target(Config), #{master_key => master(Config), until => {cut, 8}}),
    {ok, _} = merge(Ctx, Config, #{cuts => 1}),
    ok = whole(Config),
    came_back(Config, 'end', [{'end', rows_of(Ctx)}]),
    {ok, #{erased := 0}} = warp_backup:verify(target(Config), #{master_key => master(Config)}).

the_last_segment_may_be_merged_too(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    [begin ok = fill(Ctx, N), {ok, #{cut := N}} = run(Ctx, Config, #{cuts => 1}) end || N <- lists:seq(1, 30)],
    {ok, Cuts} = warp_backup:list(target(Config)),
    ?assert(length(Cuts) < 16),
    ok = whole(Config),
    {ok, #{cut := 30, older := []}} = warp_backup:check(target(Config)),
    All = rows_of(Ctx),
    came_back(Config, 'end', [{'end', All}]),
    {ok, #{cut := 30, merged := Merged}} = merge(Ctx, Config, #{cuts => 1}),
    ?assert(Merged > 1),
    ?assertMatch({ok, [#{cut := 30, segments := 1}]}, warp_backup:list(target(Config))),
    ok = fill(Ctx, 31),
    {ok, #{cut := 31}} = run(Ctx, Config, #{cuts => 1}),
    ok = whole(Config),
    %% A restored context goes on in it as well.
    {Restored, _} = restored(Config, "on", {#{}, #{}}),
    ok = fill(Restored, 32),
    {ok, #{cut := 32}} = run(Restored, Config, #{cuts => 1}),
    ok = whole(Config).

%% Written, and none or some of the others deleted.
segments_that_an_interruption_left_do_no_harm(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    States = [begin ok = fill(Ctx, N), {ok, _} = run(Ctx, Config, all), {N, rows_of(Ctx)} end || N <- lists:seq(1, 12)],
    Files = [{File, element(2, file:read_file(File))} || File <- segments(Config)],
    {ok, #{merged := 10}} = merge(Ctx, Config, #{cuts => 3}),
    [Merged | _] = segments(Config),
    [begin
         [ok = file:write_file(File, Bytes) || {File, Bytes} <- Left],
         ok = whole(Config),
         [came_back(Config, Cut, States) || Cut <- [10, 11, 12]],
         {ok, #{merged := Count}} = merge(Ctx, Config, #{cuts => 3}),
         ?assertEqual(length(Left), Count),
         ?assertEqual(Merged, hd(segments(Config))),
         [came_back(Config, Cut, States) || Cut <- [10, 12]]
     end || Left <- [lists:sublist(Files, 9), lists:sublist(Files, 4, 6), lists:sublist(Files, 9, 1)]].

%% Each VM merges what the one before had begun.
a_merge_that_is_killed_loses_nothing(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    [begin ok = fill(Ctx, N), {ok, _} = run(Ctx, Config, all) end || N <- lists:seq(1, 60)],
    State = rows_of(Ctx),
    Opts = #{context => <<"test">>, data_dir => dir(Config), shards => 2},
    ok = warp_test:stop(Ctx),
    {Target, Master} = {target(Config), master(Config)},
    Before = length(segments(Config)),
    Rounds = case os:getenv("WARP_LONG") of false -> 8; _ -> 100 end,
    Kill = fun(Round) ->
        Vm = warp_fault_vm:start(),
        Keep = #{cuts => 1 + (Rounds - Round) rem 20},
        ok = warp_fault_vm:run(Vm, fun() -> ?MODULE:merging(Opts, Target, Master, Keep) end),
        timer:sleep(rand:uniform(30)),
        warp_fault_vm:kill(Vm),
        ok = whole(Config),
        came_back(Config, 'end', [{'end', State}])
    end,
    lists:foreach(Kill, lists:seq(1, Rounds)),
    ?assert(length(segments(Config)) < Before),
    Again = warp_test:start(Opts),
    {ok, _} = merge(Again, Config, #{cuts => 1}),
    ?assertEqual(1, length(segments(Config))),
    ok = whole(Config).

%% Inside the VM.
merging(Opts, Target, Master, Keep) ->
    {ok, _} = application:ensure_all_started(warp_core),
    {ok, Ctx} = warp_core:start(Opts#{aggregates => warp_test:aggregates()}),
    Self = self(),
    Options = #{to => Target, master_key => Master, keep => Keep, progress => fun(_) -> Self ! has_read end},
    _ = spawn(fun() -> Self ! {merged, warp_backup:merge(Ctx, Options)} end),
    %% It has begun, or has nothing to do.
    receive has_read -> ok; {merged, {ok, _}} -> ok end.

%% Runs go on beside it, and it is told once.
a_damaged_segment_is_not_merged(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    [begin ok = fill(Ctx, N), {ok, _} = run(Ctx, Config, all) end || N <- lists:seq(1, 10)],
    [_, _, Third | _] = All = segments(Config),
    {ok, Bytes} = file:read_file(Third),
    At = byte_size(Bytes) div 2,
    <<Head:At/binary, Byte, Rest/binary>> = Bytes,
    ok = file:write_file(Third, [Head, Byte bxor 1, Rest]),
    ok = fill(Ctx, 11),
    {ok, #{cut := 11, merged := 0}} = run(Ctx, Config, #{cuts => 1}),
    ?assertMatch(#{backups := [#{failing := none, unmerged := #{why := {backup_damaged, _}}}]}, warp_core:stats(Ctx)),
    {error, {backup_damaged, Said}} = merge(Ctx, Config, #{cuts => 1}),
    ?assertMatch({match, _}, re:run(Said, "segment 3")),
    ?assertEqual(All, lists:sublist(segments(Config), 10)),
    ok = file:write_file(Third, Bytes),
    {ok, #{merged := 11}} = run(Ctx, Config, #{cuts => 1}),
    ?assertMatch(#{backups := [#{failing := none, unmerged := none}]}, warp_core:stats(Ctx)),
    ok = whole(Config).

%% Somebody else has merged segments of the group while it was read.
another_writer_is_noticed(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    [begin ok = fill(Ctx, N), {ok, _} = run(Ctx, Config, all) end || N <- lists:seq(1, 12)],
    Files = [{File, element(2, file:read_file(File))} || File <- segments(Config)],
    {ok, #{merged := 10}} = merge(Ctx, Config, #{cuts => 3}),
    [{Merged, Other} | _] = [{File, element(2, file:read_file(File))} || File <- segments(Config)],
    [ok = file:write_file(File, Bytes) || {File, Bytes} <- Files],
    %% Once all of them were read.
    Swaps = fun(_) ->
        put(count, case get(count) of undefined -> 1; Count -> Count + 1 end),
        [ok = file:write_file(Merged, Other) || get(count) =:= 12]
    end,
    ?assertEqual({error, target_in_use},
                 warp_backup:merge(Ctx, #{to => target(Config), master_key => master(Config), keep => #{cuts => 1},
                                          progress => Swaps})),
    ok = whole(Config).

a_restore_beside_merges_ends(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Options = #{to => target(Config), every => 1000, keep => #{cuts => 2}, master_key => master(Config)},
    {ok, _} = warp_backup:start(Ctx, Options),
    Until = erlang:monotonic_time(millisecond) + 6000,
    Runs = spawn_link(fun() -> runs_on(Ctx, Config, Until, 1) end),
    Watch = monitor(process, Runs),
    Results = restores(Config, 1),
    receive {'DOWN', Watch, process, Runs, normal} -> ok end,
    ?assert(length([ok || {ok, _} <- Results]) > 3),
    ?assertEqual([], [Result || {error, Why} = Result <- Results, Why =/= merged_meanwhile]),
    ok = whole(Config),
    came_back(Config, 'end', [{'end', rows_of(Ctx)}]).

runs_on(Ctx, Config, Until, N) ->
    ok = fill(Ctx, N),
    {ok, _} = run(Ctx, Config, #{cuts => 2}),
    case erlang:monotonic_time(millisecond) < Until of
        true -> runs_on(Ctx, Config, Until, N + 1);
        false -> ok
    end.

restores(_Config, N) when N > 25 -> [];
restores(Config, N) ->
    Dir = filename:join(dir(Config), "beside-" ++ integer_to_list(N)),
    [warp_backup:restore(Dir, target(Config), #{master_key => master(Config)}) | restores(Config, N + 1)].

an_interrupted_restore_goes_on_with_merged_segments(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    [begin ok = fill(Ctx, N), {ok, _} = run(Ctx, Config, all) end || N <- lists:seq(1, 12)],
    State = rows_of(Ctx),
    Dir = filename:join(dir(Config), "halfway"),
    interrupted(Dir, Config, 18, #{}),
    {ok, #{merged := 12}} = merge(Ctx, Config, #{cuts => 1}),
    {ok, #{events := 24, segments := 1}} = warp_backup:restore(Dir, target(Config), #{master_key => master(Config)}),
    ?assertEqual(State, rows(filename:join(Dir, "test"))),
    {ok, _} = warp_core:verify(filename:join(Dir, "test")).

%% Whose rows the interrupted one has written, and who was deleted before the next call.
an_interrupted_restore_brings_nothing_deleted_back(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    [begin ok = fill(Ctx, N), {ok, _} = run(Ctx, Config, all) end || N <- lists:seq(1, 12)],
    Dir = filename:join(dir(Config), "halfway"),
    Until = #{until => {cut, 12}},
    interrupted(Dir, Config, 20, Until),
    ?assertNotEqual([], warp_test:files_with(Dir, name(2))),
    ok = warp_core:delete(warp_core:entity(Ctx, name(2))),
    {ok, #{events := 22, erased := 1}} =
        warp_backup:restore(Dir, target(Config), Until#{master_key => master(Config)}),
    ?assertEqual([], warp_test:files_with(Dir, name(2))),
    ?assertEqual(rows_of(Ctx), rows(filename:join(Dir, "test"))),
    {ok, _} = warp_core:verify(filename:join(Dir, "test")).

a_large_context_stays_in_several_segments(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Large = fun(N) ->
        Text = binary:encode_hex(crypto:strong_rand_bytes(400 * 1024)),
        {ok, _} = warp_core:append(warp_core:entity(Ctx, name(N)), (warp_test:credited(1))#{metadata => #{t => Text}})
    end,
    [begin [Large(10 * Run + N) || N <- lists:seq(1, 6)], {ok, _} = run(Ctx, Config, #{cuts => 1}) end
     || Run <- lists:seq(1, 12)],
    {ok, _} = merge(Ctx, Config, #{cuts => 1}),
    Segments = length(segments(Config)),
    ?assert(Segments >= 2 andalso Segments =< 4),
    ok = whole(Config),
    {ok, #{merged := 0}} = merge(Ctx, Config, #{cuts => 1}),
    came_back(Config, 'end', [{'end', rows_of(Ctx)}]).

only_a_start_says_what_later_runs_keep(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    [begin ok = fill(Ctx, N), {ok, #{merged := 0}} = run(Ctx, Config, as_given) end || N <- lists:seq(1, 20)],
    {ok, #{merged := 20}} = run(Ctx, Config, #{cuts => 1}),
    [begin ok = fill(Ctx, N), {ok, #{merged := 0}} = run(Ctx, Config, as_given) end || N <- lists:seq(21, 40)],
    {ok, #{merged := 21}} =
        warp_backup:start(Ctx, #{to => target(Config), every => 60000, master_key => master(Config),
                                 keep => #{cuts => 1}}),
    Counts = [begin
        ok = fill(Ctx, N),
        {ok, #{merged := Merged}} = run(Ctx, Config, as_given),
        Merged
    end || N <- lists:seq(41, 60)],
    ?assert(lists:sum(Counts) >= 8),
    ok = whole(Config).

what_to_keep_is_checked(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Options = #{to => target(Config), master_key => master(Config)},
    [?assertEqual({error, {bad_option, keep, not_what_to_keep}}, Call(Ctx, Options#{keep => Keep}))
     || Call <- [fun warp_backup:run/2, fun warp_backup:start/2, fun warp_backup:merge/2],
        Keep <- [#{}, none, #{cuts => 0}, #{days => 1}, 5, <<"all">>]],
    ?assertEqual({error, {missing_option, keep}}, warp_backup:merge(Ctx, Options)),
    ?assertEqual({error, no_backup}, warp_backup:list(target(Config))).

%% ------------------------------------------------------------------ Helpers

%% A restore that ends after so many steps.
interrupted(Dir, Config, Steps, Options) ->
    Stops = fun(#{done := Done}) when Done =:= Steps -> exit(interrupted); (_) -> ok end,
    {_, Watch} = spawn_monitor(fun() ->
        warp_backup:restore(Dir, target(Config), Options#{master_key => master(Config), progress => Stops})
    end),
    receive {'DOWN', Watch, process, _, Reason} -> ?assertEqual(interrupted, Reason) end.

fill(Ctx, N) ->
    {ok, _} = warp_core:append_batch(warp_core:entity(Ctx, name(N)), [warp_test:credited(N), warp_test:credited(1)]),
    ok.

name(N) -> <<"entity/", (integer_to_binary(N))/binary>>.

dir(Config) -> ?config(dir, Config).

run(Ctx, Config, as_given) ->
    warp_backup:run(Ctx, #{to => target(Config), master_key => master(Config)});
run(Ctx, Config, Keep) ->
    warp_backup:run(Ctx, #{to => target(Config), master_key => master(Config), keep => Keep}).

merge(Ctx, Config, Keep) ->
    warp_backup:merge(Ctx, #{to => target(Config), master_key => master(Config), keep => Keep}).

whole(Config) ->
    {ok, _} = warp_backup:verify(target(Config)),
    {ok, _} = warp_backup:verify(target(Config), #{master_key => master(Config)}),
    ok.

%% Without what a killed VM has left half written.
segments(Config) ->
    Files = filelib:wildcard(filename:join([target(Config), "segments", "*", "*"])),
    [File || File <- lists:sort(Files), re:run(filename:basename(File), "^[0-9]{10}$") =/= nomatch].

bytes(Config) -> lists:sum([filelib:file_size(File) || File <- segments(Config)]).

rows_of(Ctx) ->
    warp_test:await_applied(Ctx),
    rows(warp_test:context_dir(Ctx)).

%% A restore of a cut has the rows that there were.
came_back(Config, Until, States) ->
    Of = case Until of N when is_integer(N) -> {cut, N}; _ -> Until end,
    Name = "back-" ++ integer_to_list(erlang:unique_integer([positive])),
    {DataDir, _} = restore(Config, Name, #{until => Of}),
    Dir = filename:join(DataDir, "test"),
    {Until, State} = lists:keyfind(Until, 1, States),
    ?assertEqual(State, rows(Dir)),
    {ok, _} = warp_core:verify(Dir),
    ok = file:del_dir_r(DataDir).
