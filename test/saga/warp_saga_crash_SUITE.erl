%% A saga whose VM ends right after the first, the second, ... durable write of it, forward and on
%% the way back: what is started again finishes it, and rightly.
-module(warp_saga_crash_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_saga_test, [saga/2, step/3, step/4, action/2, balances/2, fund/3, ids/2, types/2]).

suite() -> [{timetrap, {minutes, 10}}].
all() -> [a_committed_saga_survives_a_crash_after_every_write,
          a_compensated_saga_survives_a_crash_after_every_write,
          a_stuck_saga_survives_a_crash_after_every_write,
          a_parallel_saga_survives_a_crash_after_every_write,
          sagas_survive_a_crash_after_every_commit,
          a_step_that_was_refused_may_be_accepted_after_a_crash,
          a_step_that_was_accepted_is_not_refused_after_a_crash,
          a_step_function_is_not_called_again_for_what_is_applied].
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

-define(NAMES, [<<"alice">>, <<"bob">>, <<"carl">>]).

a_committed_saga_survives_a_crash_after_every_write(Config) ->
    Saga = saga(<<"x">>, [step(<<"alice">>, <<"Debited">>, 30), step(<<"bob">>, <<"Credited">>, 20),
                          step(<<"carl">>, <<"Credited">>, 10)]),
    %% The plan, three steps, the result.
    Results = crash_after_each_write(Config, Saga, accept, accept, 5),
    [?assertEqual({committed, [70, 20, 10]}, Result) || {_, Result} <- Results].

a_compensated_saga_survives_a_crash_after_every_write(Config) ->
    Saga = saga(<<"x">>, [step(<<"alice">>, <<"Debited">>, 30), step(<<"bob">>, <<"Credited">>, 20),
                          step(<<"carl">>, <<"Debited">>, 10)]),
    %% The plan, two steps, that it turns back, two compensations, the result.
    Results = crash_after_each_write(Config, Saga, accept, accept, 7),
    [?assertEqual({compensated, [100, 0, 0]}, Result) || {_, Result} <- Results].

a_stuck_saga_survives_a_crash_after_every_write(Config) ->
    Saga = saga(<<"x">>, [step(<<"alice">>, <<"Debited">>, 30),
                          step(<<"bob">>, action(<<"Credited">>, 20), action(<<"Debited">>, 25)),
                          step(<<"alice">>, action(<<"Credited">>, 5), action(<<"Debited">>, 5)),
                          step(<<"carl">>, <<"Debited">>, 10)]),
    %% The plan, three steps, that it turns back, one compensation, that it is stuck.
    Results = crash_after_each_write(Config, Saga, accept, accept, 7),
    [?assertEqual({stuck, [70, 20, 0]}, Result) || {_, Result} <- Results].

a_parallel_saga_survives_a_crash_after_every_write(Config) ->
    Group = [step(<<"bob">>, <<"Credited">>, 20), step(<<"carl">>, <<"Credited">>, 10)],
    Forward = warp_saga:parallel(saga(<<"x">>, [step(<<"alice">>, <<"Debited">>, 30)]), Group),
    Back = warp_saga:step(Forward, step(<<"dora">>, <<"Debited">>, 1)),
    %% Two steps of a group may be one write, or two.
    [?assertEqual({committed, [70, 20, 10]}, Result)
     || {_, Result} <- crash_after_each_write(Config, Forward, accept, accept, 4)],
    [?assertEqual({compensated, [100, 0, 0]}, Result)
     || {_, Result} <- crash_after_each_write(Config, Back, accept, accept, 5)].

%% The same, with whatever was queued side by side in one commit.
sagas_survive_a_crash_after_every_commit(Config) ->
    [begin
         Saga = saga(<<"x">>, [step(<<"alice">>, <<"Debited">>, 30), step(<<"bob">>, <<"Credited">>, 20),
                               step(<<"carl">>, Last, 10)]),
         %% All of a saga that goes forward can be in one commit, and its result in another.
         Crashed = crash_until_it_survives(Config, Saga, accept, 0, 1),
         ?assert(length(Crashed) >= 2),
         [?assertEqual(End, recovered(N, Dir, Saga, accept)) || {N, Dir} <- Crashed]
     end || {Last, End} <- [{<<"Credited">>, {committed, [70, 20, 10]}}, {<<"Debited">>, {compensated, [100, 0, 0]}}]].

%% Until it is recorded that the saga turns back, nothing was reversed: it may as well go on.
a_step_that_was_refused_may_be_accepted_after_a_crash(Config) ->
    Results = crash_after_each_write(Config, gated(), refuse, accept, 5),
    [?assertEqual(case N =< 2 of
                      true -> {committed, [70, 30, 0]};
                      false -> {compensated, [100, 0, 0]}
                  end, Result) || {N, Result} <- Results].

a_step_that_was_accepted_is_not_refused_after_a_crash(Config) ->
    Results = crash_after_each_write(Config, gated(), accept, refuse, 5),
    [?assertEqual(case N =< 2 of
                      true -> {compensated, [100, 0, 0]};
                      false -> {committed, [70, 30, 0]}
                  end, Result) || {N, Result} <- Results].

gated() ->
    Event = #{type => <<"Passed">>, payload => #{}},
    saga(<<"x">>, [step(<<"alice">>, <<"Debited">>, 30), step(<<"gate">>, <<"Gate">>, Event, Event),
                   step(<<"bob">>, <<"Credited">>, 30)]).

%% The function takes half of what there is: called again, it would take half of the rest.
a_step_function_is_not_called_again_for_what_is_applied(Config) ->
    Half = fun(Run) -> #{run => Run} end,
    Saga = fun(Last) ->
        saga(<<"x">>, [step(<<"alice">>, Half(<<"half">>), Half(<<"back">>)),
                       step(<<"bob">>, Last, 10)])
    end,
    [?assertEqual({committed, [50, 10, 0]}, Result)
     || {_, Result} <- crash_after_each_write(Config, Saga(<<"Credited">>), accept, accept, 4)],
    [?assertEqual({compensated, [100, 0, 0]}, Result)
     || {_, Result} <- crash_after_each_write(Config, Saga(<<"Debited">>), accept, accept, 5)].

%% -------------------------------------------------------------------------- The crash

%% Gives {N, {How, Balances}} for a crash after each of the saga's writes, which have to be at least
%% so many. Gate says whether the aggregate of that name accepts, before the crash and after it.
crash_after_each_write(Config, Saga, Gate, GateAfter, Writes) ->
    Crashed = crash_until_it_survives(Config, Saga, Gate, 1, 1),
    ?assert(length(Crashed) >= Writes),
    [{N, recovered(N, Dir, Saga, GateAfter)} || {N, Dir} <- Crashed].

%% A few VMs at a time. A commit takes Rows at most, or as many as there are for 0.
crash_until_it_survives(Config, Saga, Gate, Rows, From) ->
    Points = [{N, filename:join(?config(dir, Config),
                                integer_to_list(erlang:unique_integer([positive])))}
              || N <- lists:seq(From, From + 3)],
    Ends = warp_test:parallel([fun() -> crash(Dir, Saga, Gate, Rows, N) end || {N, Dir} <- Points]),
    Crashed = [Point || {Point, crashed} <- lists:zip(Points, Ends)],
    case lists:member(survived, Ends) of
        true -> Crashed;
        false -> Crashed ++ crash_until_it_survives(Config, Saga, Gate, Rows, From + 4)
    end.

crash(Dir, Saga, Gate, Rows, N) ->
    warp_fault_vm:crash(fun() ->
        ok = warp_fault_vm:open(opts(Dir, Gate)),
        fund(warp_fault_vm:ctx(), <<"alice">>, 100),
        %% The shard's writer has nothing else to do from here on.
        {ok, []} = warp_saga:pending(warp_fault_vm:ctx()),
        warp_fault_vm:fault({rows_at_once, Rows}),
        warp_fault_vm:fault({abort_after, N}),
        {ok, _} = warp_saga:commit(Saga, warp_fault_vm:ctx()),
        warp_fault_vm:fault(off)
    end).

opts(Dir, Gate) ->
    #{context => <<"crash">>, data_dir => Dir, shards => 1, steps => steps(),
      aggregates => [warp_test:account(), gate(Gate)]}.

gate(accept) ->
    #{name => <<"Gate">>, initial_state => none};
gate(refuse) ->
    #{name => <<"Gate">>, initial_state => none, validate => fun(_, _) -> {error, closed} end}.

steps() ->
    #{<<"half">> => fun(Balance, _) ->
          {ok, #{type => <<"Debited">>, payload => #{amount => Balance div 2}}}
      end,
      <<"back">> => fun(_Balance, _, #{payload := Payload}) ->
          {ok, #{type => <<"Credited">>, payload => Payload}}
      end}.

%% ---------------------------------------------------------------- What is found after it

recovered(N, Dir, Saga, Gate) ->
    Ctx = warp_test:start(opts(Dir, Gate)),
    {ok, _} = warp_saga:recover_pending(Ctx),
    {ok, #{state := State}} = warp_saga:status(Ctx, <<"x">>),
    ct:log("after write ~b: ~p", [N, types(Ctx, <<"x">>)]),
    ?assertEqual({ok, []}, warp_saga:pending(Ctx)),
    Names = [<<"alice">>, <<"bob">>, <<"carl">>, <<"gate">>, <<"dora">>],
    Ids = [ids(Ctx, Name) || Name <- Names],
    [?assertEqual(length(Of), length(lists:usort(Of))) || Of <- Ids],
    %% What its caller would have got, it gets now; and nothing runs for it.
    {ok, {How, _}} = warp_saga:commit(Saga, Ctx),
    ?assertEqual(State, How),
    ?assertEqual(Ids, [ids(Ctx, Name) || Name <- Names]),
    Balances = balances(Ctx, ?NAMES),
    warp_test:stop(Ctx),
    [File] = warp_test:shard_files(Dir),
    ?assertEqual(length([1 || How =:= stuck]), length(warp_test:sqlite(File, "SELECT * FROM open_sagas"))),
    {How, Balances}.
