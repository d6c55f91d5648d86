%% Event ids: what makes appending the same event again harmless.
-module(warp_ids_SUITE).
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
    [a_repeat_answers_with_the_first_seq_and_writes_nothing,
     a_repeat_is_known_cold_and_after_a_restart,
     fifty_callers_with_one_id_write_one_event,
     the_same_payload_written_differently_is_a_repeat,
     another_payload_or_type_is_a_conflict,
     a_repeat_is_taken_where_validate_would_refuse_now,
     a_repeat_is_taken_where_expected_would_refuse_now,
     decide_with_a_known_id_answers_with_its_seq,
     of_a_batch_partly_there_the_missing_events_are_appended,
     what_is_there_already_is_not_judged_again,
     a_conflict_is_told_before_what_validate_would_say,
     overlapping_batches_of_many_callers_write_each_event_once,
     a_batch_with_a_conflict_is_refused_whole,
     an_id_twice_in_one_batch_is_refused,
     ids_belong_to_their_entity,
     a_derived_id_can_be_given_where_it_is_its_own,
     a_derived_id_of_another_seq_is_reserved,
     an_id_that_only_looks_derived_is_free,
     ten_thousand_ids_are_all_remembered,
     an_export_is_imported_elsewhere_and_onto_itself].

a_repeat_answers_with_the_first_seq_and_writes_nothing(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Pay = (warp_test:credited(10))#{id => <<"pay-1">>},
    {ok, 1} = warp_core:append(Alice, warp_test:credited(1)),
    {ok, 2} = warp_core:append(Alice, Pay),
    {ok, 3} = warp_core:append(Alice, warp_test:credited(1)),
    Log = warp_test:history(Alice),
    ?assertEqual({ok, 2}, warp_core:append(Alice, Pay)),
    ?assertEqual({ok, {2, 2}}, warp_core:append_batch(Alice, [Pay])),
    ?assertEqual({ok, 12}, warp_core:get(Alice, <<"Account">>)),
    ?assertEqual(Log, warp_test:history(Alice)).

a_repeat_is_known_cold_and_after_a_restart(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Batch = [warp_test:noted(<<"x">>, Id) || Id <- [<<"a">>, <<"b">>, <<"c">>]],
    {ok, {1, 3}} = warp_core:append_batch(Alice, Batch),
    warp_test:passivate(Alice),
    ?assertEqual({ok, 2}, warp_core:append(Alice, warp_test:noted(<<"x">>, <<"b">>))),
    Again = warp_core:entity(warp_test:restart(Ctx), <<"alice">>),
    ?assertEqual({ok, 3}, warp_core:append(Again, warp_test:noted(<<"x">>, <<"c">>))),
    ?assertEqual({ok, {1, 3}}, warp_core:append_batch(Again, Batch)),
    warp_test:assert_whole(Again, 3).

fifty_callers_with_one_id_write_one_event(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Results = warp_test:parallel(50, fun(_) ->
        warp_core:append(Alice, warp_test:noted(<<"x">>, <<"only">>))
    end),
    ?assertEqual(lists:duplicate(50, {ok, 1}), Results),
    warp_test:assert_whole(Alice, 1).

the_same_payload_written_differently_is_a_repeat(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Event = #{aggregate => <<"Log">>, type => <<"T">>, id => <<"one">>},
    {ok, 1} = warp_core:append(Alice, Event#{payload => #{a => 1, b => [ok, null, <<"é"/utf8>>]}}),
    [?assertEqual({ok, 1}, warp_core:append(Alice, Event#{payload => Same}))
     || Same <- [#{<<"b">> => [<<"ok">>, nil, <<"é"/utf8>>], <<"a">> => 1},
                 <<" {\"b\" : [\"ok\", null, \"\\u00e9\"],\n \"a\":1} ">>]],
    warp_test:assert_whole(Alice, 1).

another_payload_or_type_is_a_conflict(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Event = (warp_test:credited(10))#{id => <<"pay-1">>},
    {ok, 1} = warp_core:append(Alice, warp_test:credited(1)),
    {ok, 2} = warp_core:append(Alice, Event),
    Others = [Event#{payload => #{amount => 11}},
              Event#{payload => #{amount => 10.0}},
              Event#{payload => #{amount => 10, more => null}},
              Event#{type => <<"Debited">>}],
    Conflicts = fun() ->
        [?assertEqual({error, {id_conflict, 2}}, warp_core:append(Alice, Other))
         || Other <- Others]
    end,
    Conflicts(),
    warp_test:passivate(Alice),
    Conflicts(),
    warp_test:assert_whole(Alice, 2).

a_repeat_is_taken_where_validate_would_refuse_now(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    TakeAll = (warp_test:debited(10))#{id => <<"take-all">>},
    {ok, 1} = warp_core:append(Alice, warp_test:credited(10)),
    {ok, 2} = warp_core:append(Alice, TakeAll),
    ?assertEqual({ok, 2}, warp_core:append(Alice, TakeAll)),
    ?assertEqual({error, {rejected, {overdraft, 0, 10}}},
                 warp_core:append(Alice, TakeAll#{id => <<"another">>})),
    ?assertEqual({ok, 0}, warp_core:get(Alice, <<"Account">>)).

a_repeat_is_taken_where_expected_would_refuse_now(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    First = warp_test:noted(<<"x">>, <<"first">>),
    {ok, 1} = warp_core:append(Alice, First, #{expected => no_stream}),
    {ok, 2} = warp_core:append(Alice, warp_test:noted(<<"y">>)),
    ?assertEqual({ok, 1}, warp_core:append(Alice, First, #{expected => no_stream})),
    ?assertEqual({ok, {1, 1}}, warp_core:append_batch(Alice, [First], #{expected => 17})),
    warp_test:assert_whole(Alice, 2).

decide_with_a_known_id_answers_with_its_seq(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Pay = fun(_) -> {ok, [(warp_test:credited(10))#{id => <<"pay-1">>}]} end,
    ?assertEqual({ok, [1]}, warp_core:decide(Alice, <<"Account">>, Pay)),
    ?assertEqual({ok, [1]}, warp_core:decide(Alice, <<"Account">>, Pay)),
    More = fun(Balance) -> {ok, Known} = Pay(Balance), {ok, [warp_test:credited(1)] ++ Known} end,
    ?assertEqual({ok, [2, 1]}, warp_core:decide(Alice, <<"Account">>, More)),
    ?assertEqual({ok, 11}, warp_core:get(Alice, <<"Account">>)).

of_a_batch_partly_there_the_missing_events_are_appended(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Ids = [<<"a">>, <<"b">>, <<"c">>, <<"d">>],
    [A, B, C, D] = [(warp_test:added(Id))#{id => Id} || Id <- Ids],
    {ok, {1, 2}} = warp_core:append_batch(Alice, [A, B]),
    ?assertEqual({ok, {1, 3}}, warp_core:append_batch(Alice, [A, B, C])),
    ?assertEqual({ok, {4, 1}}, warp_core:append_batch(Alice, [D, C, A])),
    ?assertEqual({ok, {1, 4}}, warp_core:append_batch(Alice, [A, B, C, D])),
    ?assertEqual({ok, Ids}, warp_core:get(Alice, <<"Todo">>)),
    warp_test:assert_whole(Alice, 4).

%% The debit was fine when it came first; only the credit is new, and is judged.
what_is_there_already_is_not_judged_again(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    TakeAll = (warp_test:debited(10))#{id => <<"take-all">>},
    {ok, {1, 2}} = warp_core:append_batch(Alice, [warp_test:credited(10), TakeAll]),
    Credit = (warp_test:credited(1))#{id => <<"credit">>},
    ?assertEqual({ok, {2, 3}}, warp_core:append_batch(Alice, [TakeAll, Credit])),
    ?assertEqual({error, {rejected, {overdraft, 1, 5}}},
                 warp_core:append_batch(Alice, [TakeAll, warp_test:debited(5)])),
    ?assertEqual({ok, 1}, warp_core:get(Alice, <<"Account">>)),
    warp_test:assert_whole(Alice, 3).

a_conflict_is_told_before_what_validate_would_say(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    TakeAll = (warp_test:debited(10))#{id => <<"take-all">>},
    {ok, {1, 2}} = warp_core:append_batch(Alice, [warp_test:credited(10), TakeAll]),
    Other = TakeAll#{payload => #{amount => 11}},
    ?assertEqual({error, {id_conflict, 2}}, warp_core:append(Alice, Other)),
    warp_test:assert_whole(Alice, 2).

overlapping_batches_of_many_callers_write_each_event_once(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Event = fun(N) -> warp_test:noted(N, <<"id ", (integer_to_binary(N))/binary>>) end,
    Batch = fun(Caller, Round) ->
        First = 1 + (7 * Caller + 11 * Round) rem 90,
        [Event(N) || N <- lists:seq(First, First + (Caller + Round) rem 10)]
    end,
    Answers = warp_test:parallel(30, fun(Caller) ->
        [{Batch(Caller, Round), warp_core:append_batch(Alice, Batch(Caller, Round))}
         || Round <- lists:seq(1, 20)]
    end),
    SeqOf = maps:from_list([{Id, Seq} || #{id := Id, seq := Seq} <- warp_test:history(Alice)]),
    Count = map_size(SeqOf),
    warp_test:assert_whole(Alice, Count),
    [?assertEqual({ok, {maps:get(First, SeqOf), maps:get(Last, SeqOf)}}, Answer)
     || {[#{id := First} | _] = Events, Answer} <- lists:append(Answers),
        #{id := Last} <- [lists:last(Events)]].

a_batch_with_a_conflict_is_refused_whole(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    {ok, 1} = warp_core:append(Alice, warp_test:noted(<<"x">>, <<"a">>)),
    Batch = [warp_test:noted(<<"new">>), warp_test:noted(<<"other text">>, <<"a">>)],
    ?assertEqual({error, {id_conflict, 1}}, warp_core:append_batch(Alice, Batch)),
    warp_test:assert_whole(Alice, 1).

an_id_twice_in_one_batch_is_refused(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Twice = [warp_test:noted(<<"x">>, Id) || Id <- [<<"a">>, <<"b">>, <<"a">>]],
    ?assertEqual({error, {duplicate_event_id, <<"a">>}}, warp_core:append_batch(Alice, Twice)),
    warp_test:assert_whole(Alice, 0).

ids_belong_to_their_entity(Config) ->
    Ctx = warp_test:start(Config),
    [?assertEqual({ok, 1}, warp_core:append(warp_core:entity(Ctx, Name),
                                            warp_test:noted(Name, <<"same id">>)))
     || Name <- [<<"alice">>, <<"bob">>, <<"carol">>, <<"dave">>]].

a_derived_id_can_be_given_where_it_is_its_own(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    {ok, 1} = warp_core:append(Alice, warp_test:noted(<<"x">>)),
    ?assertEqual({ok, 1}, warp_core:append(Alice, warp_test:noted(<<"x">>, <<"alice#1">>))),
    ?assertEqual({error, {id_conflict, 1}},
                 warp_core:append(Alice, warp_test:noted(<<"y">>, <<"alice#1">>))),
    ?assertEqual({ok, 2}, warp_core:append(Alice, warp_test:noted(<<"x">>, <<"alice#2">>))),
    ?assertEqual({ok, {3, 4}},
                 warp_core:append_batch(Alice, [warp_test:noted(<<"x">>),
                                                warp_test:noted(<<"x">>, <<"alice#4">>)])),
    warp_test:passivate(Alice),
    ?assertEqual({ok, 3}, warp_core:append(Alice, warp_test:noted(<<"x">>, <<"alice#3">>))),
    warp_test:assert_whole(Alice, 4).

a_derived_id_of_another_seq_is_reserved(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Future = warp_test:noted(<<"x">>, <<"alice#2">>),
    Reserved = {error, {reserved_id, <<"alice#2">>}},
    ?assertEqual(Reserved, warp_core:append(Alice, Future)),
    ?assertEqual(Reserved, warp_core:append_batch(Alice, [Future, warp_test:noted(<<"y">>)])),
    warp_test:assert_whole(Alice, 0).

an_id_that_only_looks_derived_is_free(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Ids = [<<"alice#">>, <<"alice#x">>, <<"alice#7x">>, <<"bob#7">>, <<"#7">>, <<"alice">>],
    [?assertEqual({ok, N}, warp_core:append(Alice, warp_test:noted(<<"x">>, Id)))
     || _Repeat <- [first, second], {N, Id} <- lists:zip(lists:seq(1, 6), Ids)],
    ?assertEqual(Ids, [Id || #{id := Id} <- warp_test:history(Alice)]).

ten_thousand_ids_are_all_remembered(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Batches = [[warp_test:noted(N, integer_to_binary(N)) || N <- lists:seq(From, From + 99)]
               || From <- lists:seq(1, 9901, 100)],
    Append = fun(Entity) -> [warp_core:append_batch(Entity, Batch) || Batch <- Batches] end,
    Acked = Append(Alice),
    ?assertEqual({ok, {9901, 10000}}, lists:last(Acked)),
    ?assertEqual(Acked, Append(Alice)),
    Again = warp_core:entity(warp_test:restart(Ctx), <<"alice">>),
    ?assertEqual(Acked, Append(Again)),
    warp_test:assert_whole(Again, 10000).

an_export_is_imported_elsewhere_and_onto_itself(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, 1} = warp_core:append(Alice, (warp_test:credited(10))#{metadata => #{<<"by">> => <<"x">>}}),
    {ok, {2, 4}} = warp_core:append_batch(Alice, [(warp_test:credited(5))#{id => <<"pay">>},
                                                  warp_test:added(<<"tea">>),
                                                  warp_test:debited(7)]),
    {ok, Export} = warp_core:export(Alice),
    ?assertEqual({ok, {1, 4}}, warp_core:append_batch(Alice, Export)),
    ?assertEqual({ok, Export}, warp_core:export(Alice)),

    Elsewhere = warp_test:start(Config, #{context => <<"elsewhere">>}),
    Copy = warp_core:entity(Elsewhere, <<"alice">>),
    ?assertEqual({ok, {1, 4}}, warp_core:append_batch(Copy, Export)),
    {ok, Copied} = warp_core:export(Copy),
    Timeless = fun(Events) -> [maps:remove(recorded_at, Event) || Event <- Events] end,
    ?assertEqual(Timeless(Export), Timeless(Copied)),
    ?assertEqual({ok, 8}, warp_core:get(Copy, <<"Account">>)).
