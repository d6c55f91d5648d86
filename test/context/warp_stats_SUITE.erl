%% Stats tell an operator what a context has done and what waits.
-module(warp_stats_SUITE).
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
    [a_new_context_has_done_nothing,
     appends_and_events_are_counted,
     what_is_refused_or_repeated_is_not_counted,
     each_commit_is_in_both_histograms,
     the_sums_are_those_of_the_shards,
     resident_entities_are_counted,
     deletes_are_counted,
     a_stopped_context_has_no_stats].

a_new_context_has_done_nothing(Config) ->
    Ctx = warp_test:start(Config),
    %% What a start asks the writers for is done.
    warp_test:wait_until(fun() -> maps:get(queue_depth, warp_core:stats(Ctx)) =:= 0 end),
    Stats = warp_core:stats(Ctx),
    [?assertEqual({Key, 0}, {Key, maps:get(Key, Stats)})
     || Key <- [queue_depth, queued_bytes, commits, failed_commits, appends, events, bytes,
                erased_entities, resident_entities, published_states]],
    [?assertEqual({Key, []}, {Key, maps:get(Key, Stats)}) || Key <- [sync_us, commit_us]],
    #{mode := Mode} = warp_test:opts(Config),
    ?assertMatch(#{context := <<"test">>, mode := Mode, durability := full,
                   shards := [#{shard := 0}, #{shard := 1}]}, Stats).

appends_and_events_are_counted(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Note = warp_test:noted(binary:copy(<<"x">>, 1000)),
    [{ok, _} = warp_core:append(Alice, Note) || _ <- lists:seq(1, 10)],
    {ok, _} = warp_core:append_batch(Alice, lists:duplicate(500, Note)),
    warp_test:wait_until(fun() -> maps:get(file_bytes, warp_core:stats(Ctx)) > 510 * 1000 end),
    #{queue_limit := Limit, bytes := Bytes, file_bytes := FileBytes} = Stats = warp_core:stats(Ctx),
    ?assertMatch(#{appends := 11, events := 510, commits := 11, queue_depth := 0,
                   queued_bytes := 0, failed_commits := 0}, Stats),
    ?assert(Bytes > 510 * 1000 andalso Bytes < 510 * 1100),
    ?assert(FileBytes > Bytes),
    ?assert(Limit > 0).

what_is_refused_or_repeated_is_not_counted(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, 1} = warp_core:append(Alice, (warp_test:credited(5))#{id => <<"pay">>}),
    {ok, 1} = warp_core:append(Alice, (warp_test:credited(5))#{id => <<"pay">>}),
    {error, {rejected, _}} = warp_core:append(Alice, warp_test:debited(6)),
    {error, {bad_event, 1, payload, _}} = warp_core:append(Alice, warp_test:saw(<<"{">>)),
    ?assertMatch(#{appends := 1, events := 1}, warp_core:stats(Ctx)).

each_commit_is_in_both_histograms(Config) ->
    Ctx = warp_test:start(Config),
    _ = warp_test:parallel(20, fun(N) ->
        Entity = warp_core:entity(Ctx, <<"entity ", N>>),
        [{ok, _} = warp_core:append(Entity, warp_test:incremented()) || _ <- lists:seq(1, 20)]
    end),
    #{commits := Commits, sync_us := Sync, commit_us := Commit} = Stats = warp_core:stats(Ctx),
    ?assertMatch(#{appends := 400, events := 400}, Stats),
    ?assert(Commits >= 20 andalso Commits =< 400),
    [begin
         {Below, Counts} = lists:unzip(Histogram),
         ?assertEqual(Commits, lists:sum(Counts)),
         ?assertEqual(lists:usort(Below), Below)
     end || Histogram <- [Sync, Commit]].

the_sums_are_those_of_the_shards(Config) ->
    Ctx = warp_test:start(Config, #{shards => 3}),
    [{ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"entity ", N>>), warp_test:incremented())
     || N <- lists:seq($a, $z)],
    #{shards := Shards} = Stats = warp_core:stats(Ctx),
    ?assertEqual([0, 1, 2], [N || #{shard := N} <- Shards]),
    [?assertEqual({Key, maps:get(Key, Stats)}, {Key, lists:sum([maps:get(Key, S) || S <- Shards])})
     || Key <- [appends, events, bytes, commits, file_bytes]],
    ?assertEqual(26, maps:get(events, Stats)).

resident_entities_are_counted(Config) ->
    Ctx = warp_test:start(Config),
    Entities = [warp_core:entity(Ctx, <<"entity ", N>>) || N <- lists:seq($a, $j)],
    [begin
         {ok, 1} = warp_core:append(Entity, warp_test:incremented()),
         {ok, 1} = warp_core:get(Entity, <<"Counter">>)
     end || Entity <- Entities],
    Counted = fun() -> maps:with([resident_entities, published_states], warp_core:stats(Ctx)) end,
    #{mode := Mode} = warp_test:opts(Config),
    Resident = maps:get(Mode, #{actor => 10, read_through => 0}),
    warp_test:wait_until(fun() ->
        Counted() =:= #{resident_entities => Resident, published_states => Resident}
    end),
    lists:foreach(fun warp_test:passivate/1, Entities),
    ?assertEqual(#{resident_entities => 0, published_states => 0}, Counted()).

deletes_are_counted(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, 1} = warp_core:append(Alice, warp_test:incremented()),
    [ok = warp_core:delete(Alice) || _ <- [once, twice]],
    ?assertMatch(#{erased_entities := 1}, warp_core:stats(Ctx)).

a_stopped_context_has_no_stats(Config) ->
    Ctx = warp_test:start(Config),
    warp_test:stop(Ctx),
    ?assertEqual({error, context_stopped}, warp_core:stats(Ctx)).
