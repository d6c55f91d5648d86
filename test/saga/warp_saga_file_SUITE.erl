%% What may stand in the logs of sagas: those of earlier versions, and what was made by hand.
-module(warp_saga_file_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").
-include_lib("common_test/include/ct.hrl").

-import(warp_saga_test, [saga/2, step/3, step/4, action/2, balances/2, fund/3, saga_log/2, transfer/4]).

-define(OPEN, <<"$warp/saga">>).
-define(CLOSED, <<"$warp/saga/end">>).

suite() -> [{timetrap, {minutes, 2}}].
all() ->
    [other_steps_of_the_same_number_are_a_conflict,
     the_hash_is_that_of_the_payload_in_whatever_form_it_was_given,
     a_finished_saga_with_a_number_is_recognised,
     an_unfinished_saga_with_a_number_goes_on_and_is_recognised,
     a_reason_made_by_hand_is_its_text,
     a_log_that_is_none_of_a_saga_is_an_error].
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

%% ---------------------------------------------------------------------- The hash

%% Two plans whose 32-bit hash is the same are found within seconds.
other_steps_of_the_same_number_are_a_conflict(Config) ->
    {One, Other} = same_number(1, #{}),
    ct:log("amounts ~b and ~b", [One, Other]),
    Ctx = warp_test:start(Config),
    fund(Ctx, <<"alice">>, One + Other),
    {ok, {committed, _}} = warp_saga:commit(transfer(<<"x">>, <<"alice">>, <<"bob">>, One), Ctx),
    ?assertEqual({error, {saga_conflict, <<"x">>}},
                 warp_saga:commit(transfer(<<"x">>, <<"alice">>, <<"bob">>, Other), Ctx)),
    ?assertEqual([Other, One], balances(Ctx, [<<"alice">>, <<"bob">>])),
    ?assertMatch([#{payload := #{<<"hash">> := <<_:64/binary>>}} | _], saga_log(Ctx, <<"x">>)).

same_number(N, _Seen) when N > 2000000 -> ct:fail(no_two);
same_number(N, Seen) ->
    Number = number(N),
    case Seen of
        #{Number := Before} -> {Before, N};
        #{} -> same_number(N + 1, Seen#{Number => N})
    end.

%% The hash of earlier versions, of `transfer' from alice to bob.
number(Amount) ->
    Action = fun(Type) -> {event, Type, #{<<"amount">> => Amount}} end,
    Debit = Action(<<"Debited">>),
    Credit = Action(<<"Credited">>),
    erlang:phash2({<<"x">>, [[0], [1]], [{<<"alice">>, <<"Account">>, Debit, Credit},
                                         {<<"bob">>, <<"Account">>, Credit, Debit}]}, 1 bsl 32).

the_hash_is_that_of_the_payload_in_whatever_form_it_was_given(Config) ->
    Ctx = warp_test:start(Config),
    Saga = fun(Payload) ->
        Action = #{type => <<"Noted">>, payload => Payload},
        saga(<<"x">>, [step(<<"a">>, <<"Log">>, Action, Action)])
    end,
    Given = #{b => [1, 2.5, true, null, <<"t">>, #{}], a => #{<<"deep">> => [[], [<<>>]]}},
    {ok, {committed, _}} = warp_saga:commit(Saga(Given), Ctx),
    [#{payload := #{<<"hash">> := Hash}} | _] = saga_log(Ctx, <<"x">>),
    %% Written down, since files have it: it is the same for ever.
    ?assertEqual(<<"F87146419FD5CBCAB38534ABED6F997B715190D23F4EAB42D15BEF46582659EC">>, Hash),
    [?assertMatch({ok, {committed, _}}, warp_saga:commit(Saga(Same), Ctx))
     || Same <- [Given, #{<<"a">> => #{deep => [[], [<<>>]]}, <<"b">> => [1, 2.5, true, null, <<"t">>, #{}]},
                 <<"{\"b\":[1,2.50,true,null,\"t\",{}],\"a\":{\"deep\":[[],[\"\"]]}}">>]],
    [?assertEqual({error, {saga_conflict, <<"x">>}}, warp_saga:commit(Saga(Other), Ctx))
     || Other <- [#{}, Given#{c => 1}, Given#{b := [1.0, 2.5, true, null, <<"t">>, #{}]},
                  Given#{b := [1, 2.5, <<"true">>, null, <<"t">>, #{}]},
                  Given#{b := [1, 2.5, true, null, <<"t">>, []]},
                  Given#{a := #{<<"deep">> => [[[], <<>>]]}}]].

%% ------------------------------------------------------------ Logs of earlier versions

a_finished_saga_with_a_number_is_recognised(Config) ->
    Ctx = warp_test:start(Config),
    fund(Ctx, <<"alice">>, 10),
    {ok, {committed, _}} = Result = warp_saga:commit(transfer(<<"x">>, <<"alice">>, <<"bob">>, 3), Ctx),
    {Plan, [Committed]} = lists:split(5, saga_log(Ctx, <<"x">>)),
    Old = warp_test:start(Config, #{context => <<"old">>}),
    store(Old, <<"x">>, [{?OPEN, numbered(Plan, number(3))}, {?CLOSED, [Committed]}]),
    ?assertEqual(Result, warp_saga:commit(transfer(<<"x">>, <<"alice">>, <<"bob">>, 3), Old)),
    ?assertEqual({error, {saga_conflict, <<"x">>}},
                 warp_saga:commit(transfer(<<"x">>, <<"alice">>, <<"bob">>, 4), Old)).

an_unfinished_saga_with_a_number_goes_on_and_is_recognised(Config) ->
    Ctx = warp_test:start(Config),
    fund(Ctx, <<"alice">>, 10),
    {ok, {committed, _}} = warp_saga:commit(transfer(<<"x">>, <<"alice">>, <<"bob">>, 3), Ctx),
    {Plan, _} = lists:split(5, saga_log(Ctx, <<"x">>)),
    Old = warp_test:start(Config, #{context => <<"old">>}),
    fund(Old, <<"alice">>, 10),
    store(Old, <<"x">>, [{?OPEN, numbered(Plan, number(3))}]),
    Again = warp_test:restart(Old),
    [?assertEqual({error, {saga_conflict, <<"x">>}},
                  warp_saga:commit(transfer(<<"x">>, <<"alice">>, <<"bob">>, 4), Again)) || _ <- [1, 2]],
    ?assertMatch({ok, {committed, _}},
                 warp_saga:commit(transfer(<<"x">>, <<"alice">>, <<"bob">>, 3), Again)),
    ?assertEqual([7, 3], balances(Again, [<<"alice">>, <<"bob">>])).

numbered([#{payload := Header} = Planned | Payloads], Number) ->
    [Planned#{payload := Header#{<<"hash">> := Number}} | Payloads].

%% ------------------------------------------------------------------------ By hand

a_reason_made_by_hand_is_its_text(Config) ->
    Ctx = warp_test:start(Config),
    {ok, {compensated, _}} = warp_saga:commit(transfer(<<"x">>, <<"alice">>, <<"bob">>, 3), Ctx),
    {Plan, [#{payload := Why} = Compensating, Compensated]} = lists:split(5, saga_log(Ctx, <<"x">>)),
    Name = fun(N) -> <<"by_hand_", (integer_to_binary(N))/binary>> end,
    Atoms = << <<119, (byte_size(Name(N))), (Name(N))/binary>> || N <- lists:seq(1, 5000) >>,
    Terms = [base64:encode(<<131, 108, 5000:32, Atoms/binary, 106>>),
             base64:encode(term_to_binary(binary:copy(<<0>>, 100000000), [{compressed, 9}])),
             base64:encode(<<131, 104, 2>>), <<"no base64 %">>, 7, null],
    Atoms0 = erlang:system_info(atom_count),
    [begin
         Reason = #{<<"reason">> => <<"what it was">>, <<"term">> => Term},
         Old = warp_test:start(Config, #{context => <<"old-", (integer_to_binary(N))/binary>>}),
         Payload = maps:merge(Why, Reason#{<<"steps">> => [Reason, null]}),
         store(Old, <<"x">>, [{?OPEN, Plan},
                              {?CLOSED, [Compensating#{payload := Payload}, Compensated]}]),
         ?assertMatch({ok, #{state := compensated, failed := #{step := 0, reason := <<"what it was">>},
                             steps := [#{status := refused, reason := <<"what it was">>}, _]}},
                      warp_saga:status(Old, <<"x">>)),
         warp_test:stop(Old)
     end || {N, Term} <- lists:zip(lists:seq(1, length(Terms)), Terms)],
    ?assert(erlang:system_info(atom_count) - Atoms0 < 1000).

a_log_that_is_none_of_a_saga_is_an_error(Config) ->
    Ctx = warp_test:start(Config),
    Event = fun(Type, Payload) -> #{type => Type, payload => Payload} end,
    Logs = #{<<"a">> => [Event(<<"Nonsense">>, #{})],
             <<"b">> => [Event(<<"Planned">>, #{})],
             <<"c">> => [Event(<<"Planned">>, #{<<"steps">> => [#{}], <<"retries">> => 1, <<"hash">> => 1})]},
    maps:foreach(fun(Id, Events) -> store(Ctx, Id, [{?OPEN, Events}]) end, Logs),
    Again = warp_test:restart(Ctx),
    fund(Again, <<"alice">>, 10),
    {ok, {committed, _}} = warp_saga:commit(transfer(<<"x">>, <<"alice">>, <<"bob">>, 3), Again),
    [?assertMatch({error, {corrupt, _}}, Result)
     || Id <- maps:keys(Logs),
        Result <- [warp_saga:status(Again, Id),
                   warp_saga:commit(transfer(Id, <<"alice">>, <<"bob">>, 3), Again)]],
    ?assertEqual([7, 3], balances(Again, [<<"alice">>, <<"bob">>])).

%% Rows in the log of a saga, past all that makes them right.
store(Ctx, Id, Rows) ->
    Entity = <<"$warp/saga/", Id/binary>>,
    {warp_context, _, Shards} = Ctx,
    {ok, N} = warp_nif:shard_of(Entity, Shards),
    {ok, Context} = warp_context:find(Ctx),
    {ok, Handle} = warp_context:shard(Context, N),
    %% A keeper that reads the shard's open sagas only after the first row is there would go on with the saga.
    ok = warp_saga_loaded:await(Context),
    lists:foldl(
        fun({Aggregate, Events}, Base) ->
            Each = [maps:with([type, payload], Event) || Event <- Events],
            {ok, #{packed := Packed, count := Count}} =
                warp_entity_pack:pack_with(warp_saga_plan:rules(), Entity, Aggregate, Each),
            ok = warp_nif:submit(Handle, Entity, Base, [{Packed, os:system_time(microsecond)}], none),
            receive
                {warp_reply, {stored, _}} -> Base + Count;
                {warp_reply, Other} -> error({not_stored, Other})
            after 30000 ->
                error({no_answer, catch warp_nif:stats(Handle), process_info(self(), messages)})
            end
        end, 0, Rows).
