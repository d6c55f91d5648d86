%% Sagas: what their callers get, what stands in the logs, and that nothing runs twice.
-module(warp_saga_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_saga_test, [gated/1, waits_for_gate/1, at_gate/0]).
-import(warp_saga_test, [saga/2, transfer/4, step/3, step/4, action/2, balance/2, balances/2, fund/3,
                         ids/2, saga_log/2, types/2]).

suite() -> [{timetrap, {seconds, 60}}].
init_per_suite(Config) -> warp_killer:quiet(Config).
end_per_suite(Config) -> warp_killer:loud(Config).
all() -> warp_test:both_modes().
groups() -> warp_test:both_modes(cases()).
init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_, _) -> ok.
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

cases() ->
    [a_saga_whose_steps_are_all_applied_is_committed,
     a_refused_step_reverses_those_before_it,
     the_last_step_is_reversed_first,
     a_saga_refused_at_once_leaves_no_event,
     a_saga_committed_again_runs_nothing_and_gives_the_recorded_result,
     a_payload_given_as_text_is_the_same_saga,
     the_same_id_with_other_steps_is_an_error,
     callers_of_the_same_saga_share_one_run,
     a_caller_that_dies_does_not_stop_its_saga,
     steps_have_ids_and_metadata_of_their_saga,
     a_refused_compensation_makes_the_saga_stuck,
     a_stuck_saga_is_found_again_after_a_restart,
     a_retried_saga_goes_on_where_it_was_stuck,
     an_operator_closes_a_stuck_saga_with_a_note,
     a_step_function_decides_on_the_state,
     a_compensation_function_gets_the_event_that_it_reverses,
     a_step_function_that_crashes_or_answers_nonsense_is_a_refusal,
     parallel_steps_run_side_by_side,
     a_failed_group_is_reversed_as_a_whole,
     past_its_deadline_a_saga_is_reversed,
     a_cancelled_saga_is_reversed,
     cancelling_a_finished_saga_gives_its_result,
     a_caller_that_gives_up_leaves_the_saga_going,
     bad_input_is_named_and_begins_nothing,
     what_is_reserved_is_refused,
     sagas_are_counted_and_listed,
     an_unfinished_saga_can_be_waited_for,
     a_transient_failure_is_tried_again_so_often_and_then_reverses,
     an_unreachable_entity_is_tried_again,
     files_of_a_version_without_sagas_open].

%% ------------------------------------------------------------------ Forward, and back

a_saga_whose_steps_are_all_applied_is_committed(Config) ->
    Ctx = warp_test:start(Config),
    fund(Ctx, <<"alice">>, 1000),
    ?assertEqual(
        {ok, {committed, #{id => <<"x">>,
                           steps => [#{step => 0, entity => <<"alice">>, aggregate => <<"Account">>,
                                       status => applied, seq => 2},
                                     #{step => 1, entity => <<"bob">>, aggregate => <<"Account">>,
                                       status => applied, seq => 1}]}}},
        warp_saga:commit(transfer(<<"x">>, <<"alice">>, <<"bob">>, 300), Ctx)),
    ?assertEqual([700, 300], balances(Ctx, [<<"alice">>, <<"bob">>])),
    ?assertEqual([<<"Planned">>, <<"Forward">>, <<"Reverse">>, <<"Forward">>, <<"Reverse">>,
                  <<"Committed">>], types(Ctx, <<"x">>)).

a_refused_step_reverses_those_before_it(Config) ->
    Ctx = warp_test:start(Config),
    fund(Ctx, <<"alice">>, 1000),
    Saga = saga(<<"x">>, [step(<<"alice">>, <<"Debited">>, 300),
                          step(<<"bob">>, <<"Debited">>, 50),
                          step(<<"carl">>, <<"Credited">>, 350)]),
    {ok, {compensated, Map}} = warp_saga:commit(Saga, Ctx),
    Refusal = {rejected, {overdraft, 0, 50}},
    ?assertEqual(#{step => 1, entity => <<"bob">>, reason => Refusal}, maps:get(failed, Map)),
    ?assertMatch([#{status := reversed, seq := 2, compensation_seq := 3},
                  #{status := refused, reason := Refusal},
                  #{status := not_run, entity := <<"carl">>}], maps:get(steps, Map)),
    ?assertEqual([1000, 0, 0], balances(Ctx, [<<"alice">>, <<"bob">>, <<"carl">>])).

the_last_step_is_reversed_first(Config) ->
    Ctx = warp_test:start(Config),
    Steps = [step(<<"log">>, <<"Log">>, noted(N), noted(-N)) || N <- [1, 2, 3]],
    Refused = step(<<"bob">>, <<"Debited">>, 1),
    {ok, {compensated, _}} = warp_saga:commit(saga(<<"x">>, Steps ++ [Refused]), Ctx),
    {ok, Events} = warp_core:export(warp_core:entity(Ctx, <<"log">>)),
    ?assertEqual([1, 2, 3, -3, -2, -1], [N || #{payload := #{<<"n">> := N}} <- Events]).

a_saga_refused_at_once_leaves_no_event(Config) ->
    Ctx = warp_test:start(Config),
    ?assertMatch({ok, {compensated, #{failed := #{step := 0}}}},
                 warp_saga:commit(transfer(<<"x">>, <<"alice">>, <<"bob">>, 1), Ctx)),
    ?assertEqual([[], []], [ids(Ctx, Name) || Name <- [<<"alice">>, <<"bob">>]]).

%% ------------------------------------------------------------------------ Once only

a_saga_committed_again_runs_nothing_and_gives_the_recorded_result(Config) ->
    Ctx = warp_test:start(Config),
    fund(Ctx, <<"alice">>, 1000),
    Committed = transfer(<<"c">>, <<"alice">>, <<"bob">>, 300),
    Refused = saga(<<"r">>, [step(<<"alice">>, <<"Debited">>, 10), step(<<"carl">>, <<"Debited">>, 10)]),
    Results = [warp_saga:commit(Saga, Ctx) || Saga <- [Committed, Refused]],
    Logs = [ids(Ctx, Name) || Name <- [<<"alice">>, <<"bob">>, <<"carl">>]],
    %% What was refused would be accepted now.
    fund(Ctx, <<"carl">>, 50),
    ?assertEqual(Results, [warp_saga:commit(Saga, Ctx) || Saga <- [Committed, Refused]]),
    Again = warp_test:restart(Ctx),
    ?assertEqual(Results, [warp_saga:commit(Saga, Again) || Saga <- [Committed, Refused]]),
    [Alice, Bob, Carl] = Logs,
    ?assertEqual([Alice, Bob, Carl ++ [<<"carl#1">>]],
                 [ids(Again, Name) || Name <- [<<"alice">>, <<"bob">>, <<"carl">>]]).

a_payload_given_as_text_is_the_same_saga(Config) ->
    Ctx = warp_test:start(Config),
    Saga = fun(Payload) ->
        Action = #{type => <<"Credited">>, payload => Payload},
        saga(<<"x">>, [step(<<"bob">>, Action, Action)])
    end,
    {ok, _} = Result = warp_saga:commit(Saga(<<" {\"amount\" : 5, \"by\": [1.50, null]} ">>), Ctx),
    ?assertEqual(Result, warp_saga:commit(Saga(#{amount => 5, by => [1.5, null]}), Ctx)),
    ?assertEqual({error, {saga_conflict, <<"x">>}},
                 warp_saga:commit(Saga(#{amount => 5, by => [1.5, false]}), Ctx)).

the_same_id_with_other_steps_is_an_error(Config) ->
    Ctx = warp_test:start(Config),
    fund(Ctx, <<"alice">>, 10),
    {ok, {committed, _}} = warp_saga:commit(transfer(<<"x">>, <<"alice">>, <<"bob">>, 3), Ctx),
    %% All payloads of this one are cleared.
    {ok, {compensated, _}} = warp_saga:commit(transfer(<<"y">>, <<"carl">>, <<"bob">>, 3), Ctx),
    [?assertEqual({error, {saga_conflict, Id}}, warp_saga:commit(transfer(Id, From, To, N), Ctx))
     || {Id, From, To, N} <- [{<<"x">>, <<"alice">>, <<"bob">>, 4},
                              {<<"x">>, <<"alice">>, <<"carl">>, 3},
                              {<<"y">>, <<"carl">>, <<"bob">>, 4},
                              {<<"y">>, <<"alice">>, <<"bob">>, 3}]],
    ?assertEqual([7, 3, 0], balances(Ctx, [<<"alice">>, <<"bob">>, <<"carl">>])).

callers_of_the_same_saga_share_one_run(Config) ->
    Ctx = warp_test:start(Config),
    fund(Ctx, <<"alice">>, 1000),
    Sagas = [transfer(<<"x", (integer_to_binary(N))/binary>>, <<"alice">>, <<"bob">>, 1)
             || N <- lists:seq(1, 20)],
    Results = warp_test:parallel(40, fun(_) -> [warp_saga:commit(Saga, Ctx) || Saga <- Sagas] end),
    ?assertMatch([_], lists:usort(Results)),
    ?assertMatch([{ok, {committed, _}} | _], hd(Results)),
    ?assertEqual([980, 20], balances(Ctx, [<<"alice">>, <<"bob">>])).

a_caller_that_dies_does_not_stop_its_saga(Config) ->
    Ctx = gated(Config),
    fund(Ctx, <<"alice">>, 10),
    Saga = saga(<<"x">>, [step(<<"alice">>, <<"Debited">>, 3), waits_for_gate(<<"bob">>)]),
    Caller = spawn(fun() -> warp_saga:commit(Saga, Ctx) end),
    Waiting = at_gate(),
    exit(Caller, kill),
    Waiting ! go,
    warp_test:wait_until(fun() ->
        case warp_saga:status(Ctx, <<"x">>) of
            {ok, #{state := committed}} -> true;
            Other -> Other
        end
    end),
    ?assertEqual(7, balance(Ctx, <<"alice">>)).

steps_have_ids_and_metadata_of_their_saga(Config) ->
    Ctx = warp_test:start(Config),
    fund(Ctx, <<"alice">>, 10),
    Saga = saga(<<"x/1">>, [(step(<<"alice">>, <<"Debited">>, 3))#{schema_vsn => 7},
                            step(<<"bob">>, <<"Debited">>, 3)]),
    {ok, {compensated, _}} = warp_saga:commit(Saga, Ctx),
    {ok, [_, Forward, Reverse]} = warp_core:export(warp_core:entity(Ctx, <<"alice">>)),
    ?assertMatch(#{id := <<"x/1/fwd/0">>, type := <<"Debited">>, schema_vsn := 7,
                   payload := #{<<"amount">> := 3},
                   metadata := #{<<"correlation">> := <<"x/1">>, <<"causation">> := <<"x/1/step/0">>}},
                 Forward),
    ?assertMatch(#{id := <<"x/1/comp/0">>, type := <<"Credited">>, schema_vsn := 7,
                   metadata := #{<<"correlation">> := <<"x/1">>, <<"causation">> := <<"x/1/step/0">>}},
                 Reverse).

%% ---------------------------------------------------------------------------- Stuck

a_refused_compensation_makes_the_saga_stuck(Config) ->
    Ctx = warp_test:start(Config),
    {ok, {stuck, Map}} = warp_saga:commit(sticky(Ctx), Ctx),
    ?assertMatch(#{failed := #{step := 3, entity := <<"carl">>, reason := {rejected, _}},
                   blocked := #{step := 1, entity := <<"bob">>,
                                reason := {rejected, {overdraft, 0, 5}}}}, Map),
    ?assertMatch([#{status := not_reversed, seq := 2},
                  #{status := not_reversed, reason := {rejected, {overdraft, 0, 5}}},
                  #{status := reversed},
                  #{status := refused}], maps:get(steps, Map)),
    ?assertEqual({ok, [Map]}, warp_saga:stuck(Ctx)),
    ?assertEqual({ok, {stuck, Map}}, warp_saga:commit(sticky(), Ctx)),
    ?assertEqual({ok, []}, warp_saga:pending(Ctx)).

a_stuck_saga_is_found_again_after_a_restart(Config) ->
    Ctx = warp_test:start(Config),
    {ok, {stuck, Map}} = warp_saga:commit(sticky(Ctx), Ctx),
    Again = warp_test:restart(Ctx),
    ?assertEqual({ok, [Map]}, warp_saga:stuck(Again)),
    ?assertEqual({ok, {stuck, Map}}, warp_saga:commit(sticky(), Again)),
    ?assertMatch({ok, #{state := stuck}}, warp_saga:status(Again, <<"s">>)),
    ?assertEqual({ok, #{committed => 0, compensated => 0, stuck => 0, waiting => 0}},
                 warp_saga:recover_pending(Again)),
    ?assertMatch(#{sagas := #{stuck := 1, running := 0}}, warp_core:stats(Again)).

a_retried_saga_goes_on_where_it_was_stuck(Config) ->
    Ctx = warp_test:start(Config),
    {ok, {stuck, Map}} = warp_saga:commit(sticky(Ctx), Ctx),
    ?assertEqual({ok, {stuck, Map}}, warp_saga:retry(Ctx, <<"s">>)),
    fund(Ctx, <<"bob">>, 5),
    {ok, {compensated, Done}} = warp_saga:retry(Ctx, <<"s">>),
    ?assertMatch([#{status := reversed}, #{status := reversed}, #{status := reversed},
                  #{status := refused}], maps:get(steps, Done)),
    ?assertEqual({error, {not_stuck, compensated}}, warp_saga:retry(Ctx, <<"s">>)),
    ?assertEqual({error, not_found}, warp_saga:retry(Ctx, <<"other">>)),
    ?assertEqual({ok, {compensated, Done}}, warp_saga:commit(sticky(), Ctx)),
    ?assertEqual([100, 0], balances(Ctx, [<<"alice">>, <<"bob">>])),
    ?assertEqual({ok, []}, warp_saga:stuck(Ctx)).

an_operator_closes_a_stuck_saga_with_a_note(Config) ->
    Ctx = warp_test:start(Config),
    {ok, {stuck, Map}} = warp_saga:commit(sticky(Ctx), Ctx),
    Note = <<"paid back by hand, żółw"/utf8>>,
    [?assertEqual({error, {bad_note, Why}}, warp_saga:resolve(Ctx, <<"s">>, Bad))
     || {Bad, Why} <- [{<<>>, empty}, {<<255>>, not_utf8}, {note, not_a_binary},
                       {binary:copy(<<"x">>, 4097), {too_long, 4097, 4096}}]],
    Resolved = {ok, {stuck, Map#{note => Note}}},
    ?assertEqual(Resolved, warp_saga:resolve(Ctx, <<"s">>, Note)),
    ?assertEqual({error, {not_stuck, resolved}}, warp_saga:resolve(Ctx, <<"s">>, Note)),
    Again = warp_test:restart(Ctx),
    ?assertEqual({ok, []}, warp_saga:stuck(Again)),
    ?assertEqual(Resolved, warp_saga:commit(sticky(), Again)),
    ?assertMatch({ok, #{state := resolved, note := Note}}, warp_saga:status(Again, <<"s">>)),
    ?assertMatch(#{type := <<"Resolved">>, payload := #{<<"note">> := Note}},
                 lists:last(saga_log(Again, <<"s">>))).

%% Bob's credit cannot be taken back: step 2 spends it for good.
sticky(Ctx) ->
    fund(Ctx, <<"alice">>, 100),
    sticky().

sticky() ->
    saga(<<"s">>, [step(<<"alice">>, <<"Debited">>, 5),
                   step(<<"bob">>, <<"Credited">>, 5),
                   step(<<"bob">>, action(<<"Debited">>, 5), action(<<"Credited">>, 0)),
                   step(<<"carl">>, <<"Debited">>, 1)]).

%% ------------------------------------------------------------------- Step functions

a_step_function_decides_on_the_state(Config) ->
    Ctx = warp_test:start(Config, #{steps => #{<<"sweep">> => fun sweep/2}}),
    fund(Ctx, <<"alice">>, 40),
    Saga = fun(Id, Keep) ->
        Sweep = #{run => <<"sweep">>, args => #{keep => Keep}},
        saga(Id, [step(<<"alice">>, Sweep, action(<<"Credited">>, 30))])
    end,
    ?assertMatch({ok, {committed, _}}, warp_saga:commit(Saga(<<"x">>, 10), Ctx)),
    ?assertMatch({ok, {committed, _}}, warp_saga:commit(Saga(<<"x">>, 10), Ctx)),
    ?assertMatch({ok, {compensated, #{failed := #{reason := {only, 10}}}}},
                 warp_saga:commit(Saga(<<"y">>, 11), Ctx)),
    ?assertEqual(10, balance(Ctx, <<"alice">>)).

sweep(Balance, #{<<"keep">> := Keep}) when Balance >= Keep ->
    {ok, #{type => <<"Debited">>, payload => #{amount => Balance - Keep}}};
sweep(Balance, _) ->
    {error, {only, Balance}}.

a_compensation_function_gets_the_event_that_it_reverses(Config) ->
    Back = fun(_Balance, #{}, #{payload := Payload, seq := 2}) ->
        {ok, #{type => <<"Credited">>, payload => Payload}}
    end,
    Ctx = warp_test:start(Config, #{steps => #{<<"sweep">> => fun sweep/2, <<"back">> => Back}}),
    fund(Ctx, <<"alice">>, 40),
    Saga = saga(<<"x">>, [step(<<"alice">>, #{run => <<"sweep">>, args => <<"{\"keep\": 15}">>},
                               #{run => <<"back">>}),
                          step(<<"bob">>, <<"Debited">>, 1)]),
    ?assertMatch({ok, {compensated, _}}, warp_saga:commit(Saga, Ctx)),
    ?assertEqual(40, balance(Ctx, <<"alice">>)),
    ?assertEqual([<<"alice#1">>, <<"x/fwd/0">>, <<"x/comp/0">>], ids(Ctx, <<"alice">>)).

a_step_function_that_crashes_or_answers_nonsense_is_a_refusal(Config) ->
    Steps = #{<<"crash">> => fun(_, _) -> error(broken) end,
              <<"nonsense">> => fun(_, _) -> nonsense end,
              <<"bad_event">> => fun(_, _) -> {ok, #{type => <<>>, payload => #{}}} end},
    Ctx = warp_test:start(Config, #{steps => Steps}),
    Reason = fun(Name) ->
        Saga = saga(Name, [step(<<"a">>, #{run => Name}, action(<<"Credited">>, 1))]),
        {ok, {compensated, #{failed := #{reason := Why}}}} = warp_saga:commit(Saga, Ctx),
        Why
    end,
    ?assertMatch({decide_failed, {error, broken, _}}, Reason(<<"crash">>)),
    ?assertMatch({bad_return, <<"nonsense">>, nonsense}, Reason(<<"nonsense">>)),
    ?assertMatch({bad_event, 1, type, empty}, Reason(<<"bad_event">>)).

%% --------------------------------------------------------------------------- Groups

parallel_steps_run_side_by_side(Config) ->
    Ctx = gated(Config),
    Names = [<<"a">>, <<"b">>, <<"c">>],
    Saga0 = warp_saga:step(warp_saga:new(<<"x">>), step(<<"first">>, <<"Credited">>, 1)),
    Saga1 = warp_saga:parallel(Saga0, [waits_for_gate(Name) || Name <- Names]),
    Saga = warp_saga:step(Saga1, step(<<"last">>, <<"Credited">>, 1)),
    Self = self(),
    spawn_link(fun() -> Self ! {result, warp_saga:commit(Saga, Ctx)} end),
    %% All are there before any may go on.
    Waiting = [at_gate() || _ <- Names],
    ?assertEqual([], ids(Ctx, <<"last">>)),
    [Pid ! go || Pid <- Waiting],
    receive
        {result, Result} ->
            ?assertMatch({ok, {committed, #{steps := [_, #{step := 1}, _, _, #{step := 4}]}}}, Result)
    end.

a_failed_group_is_reversed_as_a_whole(Config) ->
    Ctx = warp_test:start(Config),
    Saga0 = warp_saga:step(warp_saga:new(<<"x">>), step(<<"first">>, <<"Credited">>, 1)),
    Group = [step(<<"a">>, <<"Credited">>, 1), step(<<"b">>, <<"Debited">>, 1),
             step(<<"c">>, <<"Credited">>, 1), step(<<"d">>, <<"Debited">>, 1)],
    {ok, {compensated, Map}} = warp_saga:commit(warp_saga:parallel(Saga0, Group), Ctx),
    ?assertEqual([reversed, reversed, refused, reversed, refused],
                 [Status || #{status := Status} <- maps:get(steps, Map)]),
    ?assertMatch(#{failed := #{step := 2}}, Map),
    Again = warp_test:restart(Ctx),
    ?assertEqual({ok, {compensated, Map}}, warp_saga:commit(warp_saga:parallel(Saga0, Group), Again)).

%% ------------------------------------------------------------- Deadline and cancellation

past_its_deadline_a_saga_is_reversed(Config) ->
    Ctx = gated(Config),
    fund(Ctx, <<"alice">>, 10),
    Saga = saga(<<"x">>, [step(<<"alice">>, <<"Debited">>, 3), waits_for_gate(<<"gate">>),
                          step(<<"bob">>, <<"Credited">>, 3)]),
    Self = self(),
    spawn_link(fun() -> Self ! {result, warp_saga:commit(Saga, Ctx, #{timeout => 300})} end),
    Waiting = at_gate(),
    %% Whether its step will be applied is not known before the gate is open.
    receive {result, Early} -> ct:fail({too_early, Early}) after 1000 -> ok end,
    Waiting ! go,
    {ok, {compensated, Map}} = receive {result, Result} -> Result end,
    ?assertMatch(#{failed := #{step := none, entity := none, reason := timeout},
                   steps := [#{status := reversed}, #{status := reversed}, #{status := not_run}]}, Map),
    ?assertEqual([10, 0], balances(Ctx, [<<"alice">>, <<"bob">>])).

a_cancelled_saga_is_reversed(Config) ->
    Ctx = gated(Config),
    fund(Ctx, <<"alice">>, 10),
    Saga = saga(<<"x">>, [step(<<"alice">>, <<"Debited">>, 3), waits_for_gate(<<"gate">>),
                          step(<<"bob">>, <<"Credited">>, 3)]),
    Self = self(),
    [spawn_link(fun() -> Self ! {result, Call()} end)
     || Call <- [fun() -> warp_saga:commit(Saga, Ctx) end]],
    Waiting = at_gate(),
    spawn_link(fun() -> Self ! {result, warp_saga:cancel(Ctx, <<"x">>)} end),
    warp_test:wait_until(fun() -> has_joined(Ctx) end),
    Waiting ! go,
    [One, Other] = [receive {result, Result} -> Result end || _ <- [1, 2]],
    ?assertEqual(One, Other),
    ?assertMatch({ok, {compensated, #{failed := #{step := none, reason := cancelled},
                                      steps := [#{status := reversed}, #{status := reversed},
                                                #{status := not_run}]}}}, One),
    ?assertEqual([10, 0], balances(Ctx, [<<"alice">>, <<"bob">>])).

%% Whether the cancellation has reached its saga: two callers wait.
has_joined(Ctx) ->
    warp_saga_test:callers(Ctx) =:= 2.

cancelling_a_finished_saga_gives_its_result(Config) ->
    Ctx = warp_test:start(Config),
    {ok, _} = Result = warp_saga:commit(transfer(<<"x">>, <<"a">>, <<"b">>, 0), Ctx),
    ?assertEqual(Result, warp_saga:cancel(Ctx, <<"x">>)),
    ?assertEqual({error, not_found}, warp_saga:cancel(Ctx, <<"y">>)).

a_caller_that_gives_up_leaves_the_saga_going(Config) ->
    Ctx = gated(Config),
    Saga = saga(<<"x">>, [waits_for_gate(<<"gate">>)]),
    ?assertEqual({error, timeout}, warp_saga:commit(Saga, Ctx, #{wait => 50})),
    at_gate() ! go,
    ?assertMatch({ok, {committed, _}}, warp_saga:commit(Saga, Ctx)),
    ?assertEqual([<<"x/fwd/0">>], ids(Ctx, <<"gate">>)).

noted(N) ->
    #{type => <<"Noted">>, payload => #{n => N}}.

%% ----------------------------------------------------------------------------- Input

bad_input_is_named_and_begins_nothing(Config) ->
    Ctx = warp_test:start(Config, #{steps => #{<<"three">> => fun(_, _, _) -> ok end,
                                               <<"gone">> => fun ?MODULE:no_such_function/2}}),
    Good = step(<<"a">>, <<"Credited">>, 1),
    Bad = fun(Change) -> maps:merge(Good, Change) end,
    Long = binary:copy(<<"x">>, 501),
    Cases = [
        {warp_saga:new(<<>>), {bad_saga_id, empty}},
        {warp_saga:new(<<255>>), {bad_saga_id, not_utf8}},
        {warp_saga:new(x), {bad_saga_id, not_a_binary}},
        {warp_saga:new(Long), {bad_saga_id, {too_long, 501, 500}}},
        {not_a_saga, {bad_saga_id, not_a_saga}},
        {warp_saga:new(<<"x">>), empty_saga},
        {saga(<<"x">>, lists:duplicate(1001, Good)), {too_many_steps, 1001, 1000}},
        {saga(<<"x">>, [Good, nonsense]), {bad_step, 1, {step, not_a_map}}},
        {saga(<<"x">>, [Good, maps:remove(compensate, Good)]), {bad_step, 1, {compensate, missing}}},
        {saga(<<"x">>, [Bad(#{extra => 1})]), {bad_step, 0, {extra, unknown_field}}},
        {saga(<<"x">>, [Bad(#{entity => <<>>})]), {bad_step, 0, {entity, empty}}},
        {saga(<<"x">>, [Bad(#{entity => <<255>>})]), {bad_step, 0, {entity, not_utf8}}},
        {saga(<<"x">>, [Bad(#{entity => <<"$warp/saga/x">>})]), {bad_step, 0, {entity, reserved}}},
        {saga(<<"x">>, [Bad(#{aggregate => a})]), {bad_step, 0, {aggregate, not_a_binary}}},
        {saga(<<"x">>, [Bad(#{schema_vsn => 0})]), {bad_step, 0, {schema_vsn, not_a_positive_integer}}},
        {saga(<<"x">>, [Bad(#{forward => #{}})]), {bad_step, 0, {forward, neither_type_nor_run}}},
        {saga(<<"x">>, [Bad(#{forward => #{type => <<"A">>}})]), {bad_step, 0, {forward, {payload, missing}}}},
        {saga(<<"x">>, [Bad(#{compensate => #{type => <<>>, payload => #{}}})]),
         {bad_step, 0, {compensate, {type, empty}}}},
        {saga(<<"x">>, [Good, Bad(#{compensate => #{type => <<"A">>, payload => 7}})]),
         {bad_step, 1, {compensate, {payload, not_an_object}}}},
        {saga(<<"x">>, [Bad(#{forward => #{run => <<"none">>}})]),
         {bad_step, 0, {forward, {unknown_step, <<"none">>}}}},
        {saga(<<"x">>, [Bad(#{forward => #{run => <<"three">>}})]),
         {bad_step, 0, {forward, {step_arity, <<"three">>, 3, [2]}}}},
        {saga(<<"x">>, [Bad(#{forward => #{run => <<"gone">>}})]),
         {bad_step, 0, {forward, {step_not_exported, <<"gone">>, {?MODULE, no_such_function, 2}}}}},
        {saga(<<"x">>, [Good, Bad(#{aggregate => <<"Nothing">>})]),
         {bad_step, 1, {aggregate, {unknown_aggregate, <<"Nothing">>}}}},
        {warp_saga:parallel(warp_saga:new(<<"x">>), nonsense), {bad_step, 0, {parallel, not_a_list}}},
        {warp_saga:parallel(warp_saga:new(<<"x">>), [a | nonsense]), {bad_step, 0, {parallel, not_a_list}}}
    ],
    [?assertEqual({error, Reason}, warp_saga:commit(Saga, Ctx)) || {Saga, Reason} <- Cases],
    ?assertMatch({error, {bad_step, 0, {forward, {payload, {invalid_json, _}}}}},
                 warp_saga:commit(saga(<<"x">>, [Bad(#{forward => #{type => <<"A">>, payload => <<"{">>}})]),
                                  Ctx)),
    [?assertEqual({error, Reason}, warp_saga:commit(saga(<<"x">>, [Good]), Ctx, Options))
     || {Options, Reason} <- [{#{timeout => soon}, {bad_option, timeout, {not_an_integer_between, 0, 4294967295}}},
                              {#{retries => -1}, {bad_option, retries, {not_an_integer_between, 0, 1000000}}},
                              {#{patience => 1}, {unknown_option, patience}}]],
    ?assertEqual({error, not_found}, warp_saga:status(Ctx, <<"x">>)),
    ?assertEqual([], ids(Ctx, <<"a">>)),
    ok = warp_core:stop(Ctx),
    ?assertEqual({error, context_stopped}, warp_saga:commit(saga(<<"x">>, [Good]), Ctx)).

what_is_reserved_is_refused(Config) ->
    Ctx = warp_test:start(Config),
    {ok, _} = warp_saga:commit(transfer(<<"x">>, <<"a">>, <<"b">>, 0), Ctx),
    Saga = warp_core:entity(Ctx, <<"$warp/saga/x">>),
    [?assertEqual({error, {bad_entity_id, reserved}}, Result)
     || Result <- [warp_core:append(Saga, warp_test:credited(1)), warp_core:get(Saga, <<"Account">>),
                   warp_core:export(Saga), warp_core:history(Saga), warp_core:delete(Saga)]],
    ?assertEqual({error, {bad_option, aggregates, {<<"$warp/x">>, name, reserved}}},
                 warp_core:start(#{context => <<"other">>, data_dir => ?config(dir, Config),
                                   aggregates => [#{name => <<"$warp/x">>, initial_state => 0}]})),
    [?assertMatch({error, {bad_option, steps, _}},
                  warp_core:start(#{context => <<"other">>, data_dir => ?config(dir, Config),
                                    aggregates => [warp_test:log()], steps => Steps}))
     || Steps <- [[], #{<<>> => fun sweep/2}, #{name => fun sweep/2}, #{<<"a">> => fun noted/1}]].

%% --------------------------------------------------------------------- Introspection

sagas_are_counted_and_listed(Config) ->
    Ctx = gated(Config),
    Before = os:system_time(microsecond),
    {ok, {committed, _}} = warp_saga:commit(transfer(<<"c">>, <<"a">>, <<"b">>, 0), Ctx),
    {ok, {compensated, _}} = warp_saga:commit(transfer(<<"r">>, <<"a">>, <<"b">>, 1), Ctx),
    {ok, {stuck, _}} = warp_saga:commit(sticky(Ctx), Ctx),
    Self = self(),
    spawn_link(fun() -> Self ! warp_saga:commit(saga(<<"w">>, [waits_for_gate(<<"g">>)]), Ctx) end),
    Waiting = at_gate(),
    {ok, [#{id := <<"w">>, state := running, started_at := At}]} = warp_saga:pending(Ctx),
    ?assert(At >= Before),
    ?assertEqual(#{running => 1, stuck => 1, committed => 1, compensated => 1, became_stuck => 1,
                   resolved => 0, removed => 0, recovered => 0, waiting => 0}, maps:get(sagas, warp_core:stats(Ctx))),
    {ok, #{state := running, steps := [#{status := not_run}]}} = warp_saga:status(Ctx, <<"w">>),
    {ok, #{state := compensated, started_at := Started, updated_at := Updated}} =
        warp_saga:status(Ctx, <<"r">>),
    ?assert(Before =< Started andalso Started =< Updated),
    Waiting ! go,
    receive {ok, {committed, _}} -> ok end,
    ?assertEqual({ok, []}, warp_saga:pending(Ctx)).

an_unfinished_saga_can_be_waited_for(Config) ->
    Ctx = gated(Config),
    {error, timeout} = warp_saga:commit(saga(<<"w">>, [waits_for_gate(<<"g">>)]), Ctx, #{wait => 0}),
    Waiting = at_gate(),
    Self = self(),
    spawn_link(fun() -> Self ! {recovered, warp_saga:recover_pending(Ctx)} end),
    receive {recovered, _} -> ct:fail(too_early) after 100 -> ok end,
    Waiting ! go,
    receive {recovered, Counts} ->
        ?assertEqual({ok, #{committed => 1, compensated => 0, stuck => 0, waiting => 0}}, Counts)
    end.

%% ------------------------------------------------------------------ Transient failures

%% Nobody gets through to an entity whose process is busy: there may be one request at a time.
a_transient_failure_is_tried_again_so_often_and_then_reverses(Config) ->
    Gate = self(),
    Wait = fun(_, _) -> Gate ! {at_gate, self()}, receive go -> {error, gone} end end,
    Ctx = warp_test:start(Config, #{max_pending => 1, steps => #{<<"wait">> => Wait}}),
    fund(Ctx, <<"alice">>, 10),
    spawn_link(fun() -> warp_saga:commit(saga(<<"w">>, [waits_for_gate(<<"bob">>)]), Ctx) end),
    Busy = at_gate(),
    Saga = fun(Id) -> saga(Id, [step(<<"alice">>, <<"Debited">>, 3), step(<<"bob">>, <<"Credited">>, 3)]) end,
    Self = self(),
    spawn_link(fun() -> Self ! {once, warp_saga:commit(Saga(<<"once">>), Ctx, #{retries => 0})} end),
    %% It turns back only when it knows that bob has not got it; and that bob cannot say yet.
    receive {once, Early} -> ct:fail({too_early, Early}) after 300 -> ok end,
    ?assertMatch({ok, [_, _]}, warp_saga:pending(Ctx)),
    spawn_link(fun() -> Self ! {often, warp_saga:commit(Saga(<<"often">>), Ctx, #{retries => 1000})} end),
    Busy ! go,
    ?assertMatch({ok, {compensated, #{failed := #{step := 1, reason := overloaded},
                                      steps := [#{status := reversed}, #{status := refused}]}}},
                 receive {once, Once} -> Once end),
    ?assertMatch({ok, {committed, _}}, receive {often, Often} -> Often end),
    ?assertEqual([7, 3], balances(Ctx, [<<"alice">>, <<"bob">>])).

an_unreachable_entity_is_tried_again(Config) ->
    Ctx = warp_test:start(Config),
    fund(Ctx, <<"alice">>, 1000),
    %% They live in different shards.
    Entities = [warp_core:entity(Ctx, Name) || Name <- [<<"alice">>, <<"bob">>]],
    Works = fun(Entity) -> warp_core:append(Entity, warp_test:noted(<<"works">>), #{timeout => 30000}) end,
    Killer = spawn_link(fun Kill() ->
        _ = [exit(Pid, kill) || {Role, Pid} <- warp_test:processes(Ctx),
                                Role =:= shard orelse Role =:= saga_keeper],
        %% On a busy machine nothing would ever come to an end otherwise.
        [warp_killer:settle(fun() -> Works(Entity) end) || Entity <- Entities],
        timer:sleep(50),
        Kill()
    end),
    Results = warp_test:parallel(10, fun(N) ->
        [warp_saga:commit(transfer(<<(integer_to_binary(N))/binary, $-, (integer_to_binary(I))/binary>>,
                                   <<"alice">>, <<"bob">>, 1), Ctx, #{retries => 1000})
         || I <- lists:seq(1, 10)]
    end),
    unlink(Killer),
    exit(Killer, kill),
    ?assertEqual([], [Other || Other <- lists:append(Results), not is_committed(Other)]),
    _ = [warp_test:wait_until(fun() ->
             {Answer, _} = warp_core:get(warp_core:entity(Ctx, Name), <<"Account">>), Answer =:= ok
         end) || Name <- [<<"alice">>, <<"bob">>]],
    ?assertEqual([900, 100], balances(Ctx, [<<"alice">>, <<"bob">>])).

is_committed({ok, {committed, _}}) -> true;
is_committed(_) -> false.

%% ------------------------------------------------------------------------------ Files

files_of_a_version_without_sagas_open(Config) ->
    Ctx = warp_test:start(Config),
    fund(Ctx, <<"alice">>, 10),
    warp_test:stop(Ctx),
    %% As format 1 was before there were sagas.
    [begin
         [] = warp_test:sqlite(File, "DROP TABLE open_sagas; DELETE FROM meta WHERE name IN ('journal', 'last_row');"
                                     "DROP TABLE aggregates; ALTER TABLE entities DROP COLUMN aggregates;"
                                     "PRAGMA user_version = 1"),
         ok = file:delete(filename:rootname(File) ++ ".sums")
     end || File <- warp_test:shard_files(?config(dir, Config))],
    Again = warp_test:start(Config),
    ?assertMatch({ok, {committed, _}}, warp_saga:commit(transfer(<<"x">>, <<"alice">>, <<"bob">>, 3), Again)),
    ?assertEqual([7, 3], balances(Again, [<<"alice">>, <<"bob">>])).
