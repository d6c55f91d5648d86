%% Sagas in a context that was started without what their steps need: nothing is taken for a refusal, no
%% step is skipped, and a start that has it again goes on.
-module(warp_saga_waiting_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_saga_test, [gated/1, at_gate/0, saga/2, step/3, step/4, action/2, balance/2, balances/2,
                         fund/3, ids/2]).

-define(LACKING, {unknown_aggregate, <<"Account">>}).

suite() -> [{timetrap, {minutes, 2}}].
all() -> warp_test:both_modes().
groups() -> warp_test:both_modes(cases()).
init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_, _) -> ok.
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

cases() ->
    [forward_it_waits_for_the_aggregate,
     forward_it_waits_for_an_aggregate_that_was_renamed,
     forward_it_goes_on_with_an_aggregate_that_has_an_alias,
     forward_it_waits_for_the_step_function,
     what_was_applied_needs_no_aggregate_to_be_found,
     a_compensation_waits_for_the_aggregate,
     a_compensation_waits_for_the_step_function,
     steps_side_by_side_wait_beside_those_that_are_done,
     a_waiting_saga_that_is_cancelled_turns_back,
     a_waiting_saga_turns_back_past_its_deadline,
     nobody_waits_for_a_saga_that_waits,
     it_is_said_once_in_the_log,
     a_step_function_whose_module_was_reloaded_twice_is_waited_for,
     a_refusal_by_a_step_function_is_one_whatever_it_says,
     an_entity_asked_about_an_unknown_aggregate_says_so].

%% --------------------------------------------------------------------------- Forward

forward_it_waits_for_the_aggregate(Config) ->
    Ctx = at_the_gate(Config, transfer()),
    Lacking = without_account(Ctx, #{steps => passing()}),
    {ok, [#{id := <<"x">>, state := waiting, started_at := _, waiting := Waiting}]} = waits(Lacking),
    ?assertMatch(#{step := 2, entity := <<"bob">>, direction := forward, reason := ?LACKING}, Waiting),
    ?assert(maps:get(since, Waiting) > os:system_time(microsecond) - 60000000),
    ?assertMatch({ok, #{state := waiting, waiting := Waiting,
                        steps := [#{status := not_run}, _, _]}}, warp_saga:status(Lacking, <<"x">>)),
    ?assertMatch(#{sagas := #{running := 1, waiting := 1, stuck := 0}}, warp_core:stats(Lacking)),
    goes_on(Lacking, committed, [700, 300]).

forward_it_waits_for_an_aggregate_that_was_renamed(Config) ->
    Ctx = at_the_gate(Config, transfer()),
    Renamed = (warp_test:account())#{name => <<"Konto">>},
    Other = warp_test:restart(Ctx, #{aggregates => [Renamed, warp_test:log()], steps => passing()}),
    {ok, [#{waiting := #{step := 2, reason := ?LACKING}}]} = waits(Other),
    goes_on(Other, committed, [700, 300]).

%% The first step may have been applied with the earlier name.
forward_it_goes_on_with_an_aggregate_that_has_an_alias(Config) ->
    Ctx = at_the_gate(Config, transfer()),
    Renamed = (warp_test:account())#{name => <<"Konto">>, aliases => [<<"Account">>]},
    Other = warp_test:restart(Ctx, #{aggregates => [Renamed, warp_test:log()], steps => passing()}),
    {ok, _} = warp_saga:recover_pending(Other),
    ?assertMatch({ok, #{state := committed}}, warp_saga:status(Other, <<"x">>)),
    ?assertEqual([{ok, 700}, {ok, 300}],
                 [warp_core:get(warp_core:entity(Other, Id), <<"Konto">>) || Id <- [<<"alice">>, <<"bob">>]]).

forward_it_waits_for_the_step_function(Config) ->
    Ctx = at_the_gate(Config, transfer()),
    Lacking = warp_test:restart(Ctx, #{steps => #{}}),
    {ok, [#{waiting := #{step := 1, reason := {unknown_step, <<"wait">>}}}]} = waits(Lacking),
    Arity = warp_test:restart(Lacking, #{steps => #{<<"wait">> => fun(_, _, _) -> {error, no} end}}),
    {ok, [#{waiting := #{step := 1, reason := {step_arity, <<"wait">>, 3, [2]}}}]} = waits(Arity),
    Gone = warp_test:restart(Arity, #{steps => #{<<"wait">> => fun ?MODULE:no_such_function/2}}),
    {ok, [#{waiting := #{step := 1, reason := {step_not_exported, <<"wait">>, _}}}]} = waits(Gone),
    goes_on(Gone, committed, [700, 300]).

%% The first step is in its entity's log: it is found there, by a start that could not append it.
what_was_applied_needs_no_aggregate_to_be_found(Config) ->
    Ctx = at_the_gate(Config, saga(<<"x">>, [step(<<"alice">>, <<"Debited">>, 300), gate(<<"g">>)])),
    Lacking = without_account(Ctx, #{steps => passing()}),
    {ok, #{committed := Now}} = warp_saga:recover_pending(Lacking),
    ?assert(lists:member(Now, [0, 1])),
    ?assertMatch({ok, #{state := committed, steps := [#{status := applied, seq := 2}, _]}},
                 warp_saga:status(Lacking, <<"x">>)),
    ?assertEqual(700, balance(whole(Lacking), <<"alice">>)).

%% --------------------------------------------------------------------- Compensations

a_compensation_waits_for_the_aggregate(Config) ->
    Ctx = gated(Config),
    fund(Ctx, <<"alice">>, 1000),
    begun(Ctx, saga(<<"x">>, [step(<<"alice">>, <<"Debited">>, 300),
                              step(<<"g">>, <<"Log">>, noted(), #{run => <<"wait">>}),
                              step(<<"bob">>, <<"Debited">>, 1)])),
    Lacking = without_account(Ctx, #{steps => passing()}),
    {ok, [#{state := waiting, waiting := Waiting}]} = waits(Lacking),
    ?assertMatch(#{step := 0, entity := <<"alice">>, direction := compensate, reason := ?LACKING}, Waiting),
    %% A cancellation changes nothing: it is on its way back.
    ?assertMatch({error, {saga_waits, #{step := 0}}}, warp_saga:cancel(Lacking, <<"x">>)),
    ?assertEqual({error, {not_stuck, running}}, warp_saga:retry(Lacking, <<"x">>)),
    ?assertEqual({ok, []}, warp_saga:stuck(Lacking)),
    Whole = goes_on(Lacking, compensated, [1000, 0]),
    ?assertEqual([<<"alice#1">>, <<"x/fwd/0">>, <<"x/comp/0">>], ids(Whole, <<"alice">>)).

a_compensation_waits_for_the_step_function(Config) ->
    Ctx = gated(Config),
    fund(Ctx, <<"alice">>, 1000),
    begun(Ctx, saga(<<"x">>, [step(<<"alice">>, <<"Debited">>, 300),
                              step(<<"g">>, <<"Log">>, noted(), #{run => <<"wait">>}),
                              step(<<"bob">>, <<"Debited">>, 1)])),
    Lacking = warp_test:restart(Ctx, #{steps => #{}}),
    {ok, [#{waiting := #{step := 1, direction := compensate, reason := {unknown_step, <<"wait">>}}}]} =
        waits(Lacking),
    ?assertEqual(700, balance(Lacking, <<"alice">>)),
    Whole = goes_on(Lacking, compensated, [1000, 0]),
    ?assertEqual([<<"x/fwd/1">>, <<"x/comp/1">>], ids(Whole, <<"g">>)).

%% ---------------------------------------------------------------------------- Groups

steps_side_by_side_wait_beside_those_that_are_done(Config) ->
    Ctx = gated(Config),
    fund(Ctx, <<"alice">>, 1000),
    Group = [step(<<"bob">>, <<"Credited">>, 300), gate(<<"g">>), step(<<"h">>, <<"Log">>, noted(), noted())],
    Debit = warp_saga:step(warp_saga:new(<<"x">>), step(<<"alice">>, <<"Debited">>, 300)),
    begun(Ctx, warp_saga:parallel(Debit, Group)),
    %% bob may have got it before.
    Lacking = warp_test:restart(Ctx, #{steps => #{}}),
    {ok, [#{waiting := #{step := 2, reason := {unknown_step, _}}}]} = waits(Lacking),
    goes_on(Lacking, committed, [700, 300]).

%% ------------------------------------------------------------- Deadline, cancellation

a_waiting_saga_that_is_cancelled_turns_back(Config) ->
    Ctx = at_the_gate(Config, transfer()),
    Lacking = warp_test:restart(Ctx, #{steps => #{}}),
    {ok, _} = waits(Lacking),
    ?assertMatch({ok, {compensated, #{failed := #{step := none, reason := cancelled},
                                      steps := [#{status := reversed}, #{status := not_run},
                                                #{status := not_run}]}}},
                 warp_saga:cancel(Lacking, <<"x">>)),
    ?assertEqual([1000, 0], balances(Lacking, [<<"alice">>, <<"bob">>])),
    ?assertEqual({ok, []}, warp_saga:pending(Lacking)),
    ?assertMatch(#{sagas := #{running := 0, waiting := 0}}, warp_core:stats(Lacking)),
    %% It is over, also for a start that could do the step.
    Whole = whole(Lacking),
    ?assertMatch({ok, {compensated, _}}, warp_saga:commit(transfer(), Whole)),
    ?assertEqual([1000, 0], balances(Whole, [<<"alice">>, <<"bob">>])).

a_waiting_saga_turns_back_past_its_deadline(Config) ->
    Ctx = gated(Config),
    fund(Ctx, <<"alice">>, 1000),
    begun(Ctx, transfer(), #{timeout => 12000}),
    Lacking = warp_test:restart(Ctx, #{steps => #{}}),
    {ok, _} = waits(Lacking),
    warp_test:wait_until(fun() ->
        case warp_saga:status(Lacking, <<"x">>) of
            {ok, #{state := compensated, failed := #{step := none, reason := timeout}}} -> true;
            Other -> Other
        end
    end, 20000),
    ?assertEqual([1000, 0], balances(Lacking, [<<"alice">>, <<"bob">>])).

nobody_waits_for_a_saga_that_waits(Config) ->
    Ctx = at_the_gate(Config, transfer()),
    Lacking = without_account(Ctx, #{steps => passing()}),
    ?assertEqual({ok, #{committed => 0, compensated => 0, stuck => 0, waiting => 1}},
                 warp_saga:recover_pending(Lacking)),
    ?assertEqual({ok, #{committed => 0, compensated => 0, stuck => 0, waiting => 1}},
                 warp_saga:recover_pending(Lacking)),
    %% Nor begins one that could not go on.
    ?assertMatch({error, {bad_step, 0, {aggregate, ?LACKING}}}, warp_saga:commit(transfer(), Lacking)),
    ?assertMatch({ok, [_]}, warp_saga:pending(Lacking)).

it_is_said_once_in_the_log(Config) ->
    Ctx = gated(Config),
    fund(Ctx, <<"alice">>, 1000),
    begun(Ctx, saga(<<"x">>, [step(<<"alice">>, <<"Debited">>, 300),
                              step(<<"g">>, <<"Log">>, noted(), #{run => <<"wait">>}),
                              step(<<"bob">>, <<"Debited">>, 1)])),
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{to => self()}}),
    try
        Lacking = warp_test:restart(Ctx, #{steps => #{}}),
        {ok, _} = waits(Lacking),
        %% Each has it tried again at once.
        [{error, {saga_waits, _}} = warp_saga:cancel(Lacking, <<"x">>) || _ <- lists:seq(1, 20)],
        timer:sleep(6000),
        ?assertMatch([_], [Text || Text <- logged(), string:find(Text, "saga x") =/= nomatch])
    after
        ok = logger:remove_handler(?MODULE)
    end.

logged() ->
    receive {logged, Text} -> [Text | logged()] after 0 -> [] end.

log(#{level := warning, msg := {Format, Args}}, #{config := #{to := To}}) ->
    To ! {logged, unicode:characters_to_list(io_lib:format(Format, Args))};
log(_Event, _Config) ->
    ok.

%% -------------------------------------------------------------------- Step functions

a_step_function_whose_module_was_reloaded_twice_is_waited_for(Config) ->
    Load = fun(Extra) ->
        Code = ["-module(warp_saga_reloaded).", "-export([f/0]).",
                "f() -> " ++ Extra ++ " fun(_, _) -> {ok, #{type => <<\"Noted\">>, payload => #{}}} end."],
        Forms = [begin {ok, Tokens, _} = erl_scan:string(Line), {ok, Form} = erl_parse:parse_form(Tokens),
                       Form end || Line <- Code],
        {ok, Module, Binary} = compile:forms(Forms),
        {module, Module} = code:load_binary(Module, "warp_saga_reloaded.erl", Binary),
        _ = code:purge(Module),
        fun() -> Module:f() end
    end,
    Steps = #{<<"wait">> => (Load(""))()},
    Ctx = warp_test:start(Config, #{steps => Steps}),
    fund(Ctx, <<"alice">>, 1000),
    _ = Load("_ = fun() -> 1 end,"),
    ?assertMatch({error, {saga_waits, #{step := 1, reason := {stale_function, _}}}},
                 warp_saga:commit(transfer(), Ctx)),
    ?assertEqual([700, 0], balances(Ctx, [<<"alice">>, <<"bob">>])),
    ?assertMatch({error, {saga_waits, _}}, warp_saga:commit(transfer(), Ctx)),
    goes_on(Ctx, committed, [700, 300]).

%% Its reasons are the user's own.
a_refusal_by_a_step_function_is_one_whatever_it_says(Config) ->
    Reasons = [timeout, {unknown_aggregate, <<"x">>}, {stale_function, x}, overloaded, {unknown_step, <<"y">>}],
    Numbered = lists:zip(lists:seq(1, length(Reasons)), Reasons),
    Refuse = fun(_, #{<<"n">> := N}) -> {error, proplists:get_value(N, Numbered)} end,
    Ctx = warp_test:start(Config, #{steps => #{<<"refuse">> => Refuse}}),
    [begin
         Run = #{run => <<"refuse">>, args => #{n => N}},
         Saga = saga(integer_to_binary(N), [step(<<"g">>, <<"Log">>, Run, noted())]),
         ?assertMatch({ok, {compensated, #{failed := #{step := 0, reason := Reason}}}},
                      warp_saga:commit(Saga, Ctx))
     end || {N, Reason} <- Numbered].

an_entity_asked_about_an_unknown_aggregate_says_so(Config) ->
    Ctx = warp_test:start(Config),
    fund(Ctx, <<"alice">>, 5),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Ask = fun(Request) -> warp_entity_call:call(Alice, Request, 0, warp_deadline:from(5000), once) end,
    {ok, 5} = warp_core:get(Alice, <<"Account">>),
    Before = warp_entity_registry:lookup(Alice),
    ?assertEqual({error, {unknown_aggregate, <<"No">>}}, Ask({decide, <<"No">>, fun(_) -> {ok, []} end})),
    ?assertEqual({error, {unknown_aggregate, <<"No">>}}, Ask({get, <<"No">>})),
    ?assertEqual(Before, warp_entity_registry:lookup(Alice)).

%% --------------------------------------------------------------------------- Helpers

transfer() ->
    saga(<<"x">>, [step(<<"alice">>, <<"Debited">>, 300), gate(<<"g">>),
                   step(<<"bob">>, <<"Credited">>, 300)]).

gate(Name) ->
    step(Name, <<"Log">>, #{run => <<"wait">>}, noted()).

noted() -> #{type => <<"Noted">>, payload => #{}}.

passing() -> #{<<"wait">> => fun(_, _) -> {ok, noted()} end}.

%% A context in which alice has 1000 and a saga of hers waits at the gate.
at_the_gate(Config, Saga) ->
    Ctx = gated(Config),
    fund(Ctx, <<"alice">>, 1000),
    begun(Ctx, Saga),
    Ctx.

begun(Ctx, Saga) ->
    begun(Ctx, Saga, #{}).

%% Where the saga is, the context is stopped: as by a crash, the step never comes to its end.
begun(Ctx, Saga, Options) ->
    _ = spawn(fun() -> warp_saga:commit(Saga, Ctx, Options) end),
    exit(at_gate(), kill),
    at_gate().

without_account(Ctx, Changes) ->
    warp_test:restart(Ctx, Changes#{aggregates => [warp_test:log()]}).

whole(Ctx) ->
    warp_test:restart(Ctx, #{aggregates => warp_test:aggregates(), steps => passing()}).

waits(Ctx) ->
    warp_test:wait_until(fun() ->
        case warp_saga:pending(Ctx) of
            {ok, [#{state := waiting}]} -> true;
            Other -> Other
        end
    end),
    warp_saga:pending(Ctx).

%% A start that has all ends the saga so, and nothing was done twice.
goes_on(Ctx, How, Balances) ->
    Whole = whole(Ctx),
    {ok, _} = warp_saga:recover_pending(Whole),
    ?assertMatch({ok, #{state := How}}, warp_saga:status(Whole, <<"x">>)),
    ?assertEqual(Balances, balances(Whole, [<<"alice">>, <<"bob">>])),
    [begin
         Ids = ids(Whole, Name),
         ?assertEqual(length(Ids), length(lists:usort(Ids)))
     end || Name <- [<<"alice">>, <<"bob">>, <<"g">>]],
    ?assertEqual({ok, []}, warp_saga:pending(Whole)),
    Whole.
