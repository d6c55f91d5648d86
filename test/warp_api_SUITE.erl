%% Appending, deciding and reading: one entity's log as its callers see it.
-module(warp_api_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {seconds, 60}}].
all() -> warp_test:both_modes().
groups() -> warp_test:both_modes(cases()).
init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_, _) -> ok.
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

cases() ->
    [appends_are_numbered_from_one_without_a_gap,
     a_batch_answers_with_its_first_and_last_seq,
     the_largest_batch_is_taken_whole,
     an_event_comes_out_with_every_field,
     fields_that_are_not_given_get_defaults,
     a_context_with_one_aggregate_needs_no_name_for_it,
     an_unknown_entity_has_the_initial_state_and_no_events,
     get_is_the_fold_of_all_events_resident_and_cold,
     one_entity_holds_several_aggregates,
     entities_do_not_mix,
     an_entity_is_in_the_file_of_its_shard,
     a_pure_log_keeps_its_initial_state,
     expected_any_and_the_right_seq_are_taken,
     a_wrong_expected_seq_is_refused_with_the_actual_one,
     of_many_appends_expecting_the_same_seq_one_wins,
     decide_appends_what_the_fun_returns,
     decide_that_returns_no_events_writes_nothing,
     decide_passes_an_error_through_as_it_is,
     decide_checks_and_acts_without_a_race,
     fifty_callers_to_one_entity_keep_their_own_order,
     every_process_reads_what_was_acknowledged,
     calls_leave_no_messages_behind,
     a_restart_keeps_everything,
     a_stopped_context_answers_context_stopped, what_is_no_context_is_named].

appends_are_numbered_from_one_without_a_gap(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    [?assertEqual({ok, N}, warp_core:append(Alice, warp_test:noted(<<"x">>)))
     || N <- lists:seq(1, 20)],
    warp_test:assert_whole(Alice, 20).

a_batch_answers_with_its_first_and_last_seq(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Note = warp_test:noted(<<"x">>),
    ?assertEqual({ok, {1, 3}}, warp_core:append_batch(Alice, [Note, Note, Note])),
    ?assertEqual({ok, 4}, warp_core:append(Alice, Note)),
    ?assertEqual({ok, {5, 5}}, warp_core:append_batch(Alice, [Note])),
    warp_test:assert_whole(Alice, 5).

the_largest_batch_is_taken_whole(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Batch = [warp_test:incremented(N) || N <- lists:seq(1, 10000)],
    ?assertEqual({ok, {1, 10000}}, warp_core:append_batch(Alice, Batch)),
    ?assertEqual({ok, lists:sum(lists:seq(1, 10000))}, warp_core:get(Alice, <<"Counter">>)),
    warp_test:assert_whole(Alice, 10000).

an_event_comes_out_with_every_field(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Given = #{type => <<"Noted">>, aggregate => <<"Log">>, id => <<"note-1">>,
              schema_vsn => 7, payload => #{<<"text">> => <<"hello">>},
              metadata => #{<<"correlation_id">> => <<"c1">>, <<"n">> => 1}},
    Before = os:system_time(microsecond),
    {ok, 1} = warp_core:append(Alice, Given),
    After = os:system_time(microsecond),
    {ok, [#{recorded_at := RecordedAt} = Event]} = warp_core:history(Alice, #{}),
    ?assertEqual(Given#{seq => 1, recorded_at => RecordedAt}, Event),
    ?assert(is_integer(RecordedAt)),
    ?assert(Before =< RecordedAt andalso RecordedAt =< After),
    ?assertEqual({ok, [Event]}, warp_core:history(Alice)).

fields_that_are_not_given_get_defaults(Config) ->
    Versioned = (warp_test:counter())#{version => 3},
    Ctx = warp_test:start(Config, #{aggregates => [Versioned, warp_test:log()]}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, {1, 2}} = warp_core:append_batch(Alice, [warp_test:incremented(),
                                                  warp_test:noted(<<"x">>)]),
    ?assertMatch([#{id := <<"alice#1">>, schema_vsn := 3, metadata := M},
                  #{id := <<"alice#2">>, schema_vsn := 1, metadata := M}]
                     when M =:= #{}, warp_test:history(Alice)).

a_context_with_one_aggregate_needs_no_name_for_it(Config) ->
    Ctx = warp_test:start(Config, #{aggregates => [warp_test:counter()]}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, 1} = warp_core:append(Alice, maps:remove(aggregate, warp_test:incremented())),
    ?assertMatch([#{aggregate := <<"Counter">>}], warp_test:history(Alice)),
    ?assertEqual({ok, 1}, warp_core:get(Alice, <<"Counter">>)).

an_unknown_entity_has_the_initial_state_and_no_events(Config) ->
    Nobody = warp_core:entity(warp_test:start(Config), <<"nobody">>),
    ?assertEqual({ok, 0}, warp_core:get(Nobody, <<"Account">>)),
    ?assertEqual({ok, 0}, warp_core:state_at(Nobody, <<"Account">>, {seq, 10})),
    ?assertEqual({ok, []}, warp_core:history(Nobody, #{})),
    ?assertEqual({ok, []}, warp_core:history(Nobody, #{direction => backward})),
    ?assertEqual({ok, []}, warp_core:export(Nobody)).

get_is_the_fold_of_all_events_resident_and_cold(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    {ok, _} = warp_core:append(Alice, warp_test:credited(100)),
    {ok, _} = warp_core:append_batch(Alice, [warp_test:debited(30), warp_test:credited(5)]),
    ?assertEqual({ok, 75}, warp_core:get(Alice, <<"Account">>)),
    ?assertEqual({ok, 75}, warp_core:get(Alice, <<"Account">>)),
    {ok, _} = warp_core:append(Alice, warp_test:debited(25)),
    ?assertEqual({ok, 50}, warp_core:get(Alice, <<"Account">>)),
    warp_test:passivate(Alice),
    ?assertEqual({ok, 50}, warp_core:get(Alice, <<"Account">>)),
    {ok, 5} = warp_core:append(Alice, warp_test:debited(50)),
    ?assertEqual({ok, 0}, warp_core:get(Alice, <<"Account">>)).

one_entity_holds_several_aggregates(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Batch = [warp_test:credited(10), warp_test:added(<<"milk">>), warp_test:incremented(),
             warp_test:added(<<"tea">>), warp_test:done(<<"milk">>)],
    {ok, {1, 5}} = warp_core:append_batch(Alice, Batch),
    AllThree = fun() -> [warp_core:get(Alice, A)
                         || A <- [<<"Account">>, <<"Todo">>, <<"Counter">>]] end,
    ?assertEqual([{ok, 10}, {ok, [<<"tea">>]}, {ok, 1}], AllThree()),
    warp_test:passivate(Alice),
    ?assertEqual([{ok, 10}, {ok, [<<"tea">>]}, {ok, 1}], AllThree()).

%% Ids that differ only in case, a trailing byte or their Unicode normal form.
entities_do_not_mix(Config) ->
    Ctx = warp_test:start(Config),
    Ids = [<<"a">>, <<"A">>, <<"a ">>, <<"a", 0>>, <<"a", 0, "b">>, <<"a\n">>, <<"a'">>,
           <<"a\"">>, <<"a#1">>, <<"aa">>, <<"%">>, <<"_">>, <<"é"/utf8>>,
           <<"e\x{301}"/utf8>>, <<"🦀"/utf8>>],
    Named = [{warp_core:entity(Ctx, Id), Id} || Id <- Ids],
    [{ok, 1} = warp_core:append(Entity, warp_test:added(Id)) || {Entity, Id} <- Named],
    [begin
         warp_test:passivate(Entity),
         ?assertEqual({ok, [Id]}, warp_core:get(Entity, <<"Todo">>)),
         DerivedId = <<Id/binary, "#1">>,
         ?assertMatch([#{seq := 1, id := DerivedId}], warp_test:history(Entity))
     end || {Entity, Id} <- Named].

an_entity_is_in_the_file_of_its_shard(Config) ->
    Ctx = warp_test:start(Config, #{shards => 4}),
    Ids = [<<"entity ", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 20)],
    Shards = [begin
                  Entity = warp_core:entity(Ctx, Id),
                  {ok, 1} = warp_core:append(Entity, warp_test:noted(<<"x">>)),
                  {ok, N} = warp_core:shard_of(Entity),
                  {Id, N}
              end || Id <- Ids],
    ok = warp_core:stop(Ctx),
    ?assertEqual([0, 1, 2, 3], lists:usort([N || {_, N} <- Shards])),
    [begin
         File = filename:join([?config(dir, Config), "test", io_lib:format("shard-~4..0b.db", [N])]),
         Query = ["SELECT count(*) FROM events WHERE entity = '", Id, "'"],
         Command = unicode:characters_to_list(["sqlite3 -readonly ", File, " \"", Query, "\""]),
         ?assertEqual("1\n", os:cmd(Command))
     end || {Id, N} <- Shards],
    ?assertEqual({error, context_stopped}, warp_core:shard_of(warp_core:entity(Ctx, <<"a">>))),
    ?assertEqual({error, {bad_entity_id, not_a_handle}}, warp_core:shard_of(alice)).

a_pure_log_keeps_its_initial_state(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    {ok, 1} = warp_core:append(Alice, warp_test:noted(<<"x">>)),
    ?assertEqual({ok, empty}, warp_core:get(Alice, <<"Log">>)),
    ?assertEqual({ok, empty}, warp_core:state_at(Alice, <<"Log">>, {seq, 1})).

expected_any_and_the_right_seq_are_taken(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Note = warp_test:noted(<<"x">>),
    ?assertEqual({ok, 1}, warp_core:append(Alice, Note, #{expected => no_stream})),
    ?assertEqual({ok, 2}, warp_core:append(Alice, Note, #{expected => 1})),
    ?assertEqual({ok, {3, 4}}, warp_core:append_batch(Alice, [Note, Note], #{expected => 2})),
    warp_test:passivate(Alice),
    ?assertEqual({ok, 5}, warp_core:append(Alice, Note, #{expected => 4})),
    ?assertEqual({ok, 6}, warp_core:append(Alice, Note, #{expected => any})).

a_wrong_expected_seq_is_refused_with_the_actual_one(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Note = warp_test:noted(<<"x">>),
    ?assertEqual({error, {wrong_expected_seq, 0}},
                 warp_core:append(Alice, Note, #{expected => 1})),
    {ok, {1, 3}} = warp_core:append_batch(Alice, [Note, Note, Note]),
    [?assertEqual({error, {wrong_expected_seq, 3}},
                  warp_core:append(Alice, Note, #{expected => Expected}))
     || Expected <- [no_stream, 1, 2, 4]],
    ?assertEqual({error, {wrong_expected_seq, 3}},
                 warp_core:append_batch(Alice, [Note, Note], #{expected => 2})),
    warp_test:assert_whole(Alice, 3).

of_many_appends_expecting_the_same_seq_one_wins(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Results = warp_test:parallel(50, fun(_) ->
        warp_core:append(Alice, warp_test:noted(<<"x">>), #{expected => no_stream})
    end),
    {Won, Lost} = lists:partition(fun(R) -> R =:= {ok, 1} end, Results),
    ?assertEqual(1, length(Won)),
    ?assertEqual(lists:duplicate(49, {error, {wrong_expected_seq, 1}}), Lost),
    warp_test:assert_whole(Alice, 1).

decide_appends_what_the_fun_returns(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    {ok, 1} = warp_core:append(Alice, warp_test:credited(70)),
    Empty = fun(Balance) -> {ok, [warp_test:debited(Balance), warp_test:noted(<<"out">>)]} end,
    ?assertEqual({ok, [2, 3]}, warp_core:decide(Alice, <<"Account">>, Empty)),
    ?assertEqual({ok, 0}, warp_core:get(Alice, <<"Account">>)),
    ?assertMatch([#{seq := 2, payload := #{<<"amount">> := 70}}, #{type := <<"Noted">>}],
                 tl(warp_test:history(Alice))).

decide_that_returns_no_events_writes_nothing(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    ?assertEqual({ok, []}, warp_core:decide(Alice, <<"Account">>, fun(0) -> {ok, []} end)),
    warp_test:assert_whole(Alice, 0).

decide_passes_an_error_through_as_it_is(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Refuse = fun(Balance) -> {error, #{why => [too_poor, Balance]}} end,
    ?assertEqual({error, #{why => [too_poor, 0]}},
                 warp_core:decide(Alice, <<"Account">>, Refuse)),
    warp_test:assert_whole(Alice, 0).

decide_checks_and_acts_without_a_race(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    {ok, 1} = warp_core:append(Alice, warp_test:credited(100)),
    TakeTen = fun(Balance) when Balance >= 10 -> {ok, [warp_test:debited(10)]};
                 (_) -> {error, too_poor}
              end,
    Results = warp_test:parallel(50, fun(_) ->
        warp_core:decide(Alice, <<"Account">>, TakeTen)
    end),
    ?assertEqual([{ok, [Seq]} || Seq <- lists:seq(2, 11)], lists:sort([R || {ok, _} = R <- Results])),
    ?assertEqual(lists:duplicate(40, {error, too_poor}), [R || {error, _} = R <- Results]),
    ?assertEqual({ok, 0}, warp_core:get(Alice, <<"Account">>)),
    warp_test:assert_whole(Alice, 11).

fifty_callers_to_one_entity_keep_their_own_order(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Appended = warp_test:parallel(50, fun(Caller) ->
        [begin
             {ok, Seq} = warp_core:append(Alice, warp_test:noted([Caller, N])),
             {Seq, [Caller, N]}
         end || N <- lists:seq(1, 40)]
    end),
    [?assertEqual(lists:sort(One), One) || One <- Appended],
    ?assertEqual(lists:sort(lists:append(Appended)),
                 [{Seq, Text} || #{seq := Seq, payload := #{<<"text">> := Text}}
                                     <- warp_test:history(Alice)]),
    warp_test:assert_whole(Alice, 2000).

every_process_reads_what_was_acknowledged(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    ReadElsewhere = fun() ->
        hd(warp_test:parallel(1, fun(_) ->
            {ok, State} = warp_core:get(Alice, <<"Counter">>),
            {ok, [#{seq := Last}]} = warp_core:history(Alice, #{direction => backward, limit => 1}),
            {State, Last}
        end))
    end,
    [begin
         {ok, N} = warp_core:append(Alice, warp_test:incremented()),
         ?assertEqual({N, N}, ReadElsewhere())
     end || N <- lists:seq(1, 100)].

%% Not even in a process that traps exits.
calls_leave_no_messages_behind(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    _ = process_flag(trap_exit, true),
    {ok, 1} = warp_core:append(Alice, warp_test:credited(5)),
    {ok, [2]} = warp_core:decide(Alice, <<"Account">>, fun(_) -> {ok, [warp_test:credited(5)]} end),
    {ok, 10} = warp_core:get(Alice, <<"Account">>),
    {ok, 5} = warp_core:state_at(Alice, <<"Account">>, {seq, 1}),
    {ok, [_, _]} = warp_core:history(Alice),
    {ok, [_, _]} = warp_core:export(Alice),
    ok = warp_core:delete(Alice),
    ?assertEqual({messages, []}, process_info(self(), messages)).

a_restart_keeps_everything(Config) ->
    Ctx = warp_test:start(Config),
    Ids = [<<"entity-", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 30)],
    [{ok, 1} = warp_core:append(warp_core:entity(Ctx, Id), warp_test:added(Id)) || Id <- Ids],
    Logs = [warp_test:history(warp_core:entity(Ctx, Id)) || Id <- Ids],
    Again = warp_test:restart(Ctx),
    ?assertEqual(Logs, [warp_test:history(warp_core:entity(Again, Id)) || Id <- Ids]),
    [begin
         Entity = warp_core:entity(Again, Id),
         ?assertEqual({ok, [Id]}, warp_core:get(Entity, <<"Todo">>)),
         ?assertEqual({ok, 2}, warp_core:append(Entity, warp_test:done(Id)))
     end || Id <- Ids].

a_stopped_context_answers_context_stopped(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, 1} = warp_core:append(Alice, warp_test:credited(1)),
    {ok, 1} = warp_core:get(Alice, <<"Account">>),
    ok = warp_core:stop(Ctx),
    Stopped = {error, context_stopped},
    ?assertEqual(Stopped, warp_core:append(Alice, warp_test:credited(1))),
    ?assertEqual(Stopped, warp_core:append_batch(Alice, [warp_test:credited(1)])),
    ?assertEqual(Stopped, warp_core:decide(Alice, <<"Account">>, fun(_) -> {ok, []} end)),
    ?assertEqual(Stopped, warp_core:get(Alice, <<"Account">>)),
    ?assertEqual(Stopped, warp_core:state_at(Alice, <<"Account">>, {seq, 1})),
    ?assertEqual(Stopped, warp_core:history(Alice, #{})),
    ?assertEqual(Stopped, warp_core:export(Alice)),
    ?assertEqual(Stopped, warp_core:delete(Alice)),
    ?assertEqual(Stopped, warp_core:append(warp_core:entity(Ctx, <<"bob">>), warp_test:credited(1))).

%% Such as the name of the context, or arguments in another order.
what_is_no_context_is_named(Config) ->
    Ctx = warp_test:start(Config),
    Saga = warp_saga:new(<<"s">>),
    [?assertError({not_a_context, Term}, Call(Term))
     || Term <- ["test", <<"test">>, test, Saga, {warp_context, none, 1}, {warp_context, make_ref()}],
        Call <- [fun(T) -> warp_core:stop(T) end,
                 fun(T) -> warp_core:stats(T) end,
                 fun(T) -> warp_core:entities(T) end,
                 fun(T) -> warp_core:events(T) end,
                 fun(T) -> warp_core:entity(T, <<"a">>) end,
                 fun(T) -> warp_core:query(T, "SELECT 1", []) end,
                 fun(T) -> warp_projection:rebuild(T) end,
                 fun(T) -> warp_projection:status(T) end,
                 fun(T) -> warp_saga:commit(Saga, T) end,
                 fun(T) -> warp_saga:status(T, <<"s">>) end,
                 fun(T) -> warp_saga:pending(T) end]],
    ?assertMatch({error, {bad_saga_id, not_a_saga}}, warp_saga:commit(Ctx, Ctx)).
