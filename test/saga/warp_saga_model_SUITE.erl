%% Sagas at random, committed, retried and resolved, between kills and restarts, against a model of
%% a few balances.
-module(warp_saga_model_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(NAMES, [<<"a">>, <<"b">>, <<"c">>, <<"d">>]).

suite() -> [{timetrap, {minutes, 60}}].
all() -> [sagas_do_what_their_model_says].
init_per_suite(Config) -> warp_killer:quiet(Config).
end_per_suite(Config) -> warp_killer:loud(Config).

sagas_do_what_their_model_says(_Config) ->
    Tests = case os:getenv("WARP_LONG") of false -> 60; _ -> 3000 end,
    Calls = proper_types:resize(60, proper_types:list(call())),
    Property = proper:forall(Calls, fun run/1),
    case proper:quickcheck(Property, [{numtests, Tests}, long_result]) of
        true -> ok;
        Counterexample -> ct:fail({counterexample, Counterexample})
    end.

%% --------------------------------------------------------------------------- Generators

call() ->
    Id = proper_types:range(1, 12),
    proper_types:frequency(
        [{10, {commit, Id, proper_types:non_empty(proper_types:resize(3, proper_types:list(group())))}},
         {4, {commit, Id, likely_stuck()}},
         {3, {again, Id}},
         {2, {other, Id}},
         {3, {retry, Id}},
         {1, {resolve, Id}},
         {2, {retry_without_accounts, Id}},
         {2, {fund, name(), proper_types:range(1, 60)}},
         {2, {kill, name()}},
         {1, kill_keepers},
         {1, restart}]).

%% Steps side by side are of different accounts, so that their order does not matter.
group() ->
    Steps = proper_types:non_empty(proper_types:resize(3, proper_types:list(step()))),
    proper_types:bind(Steps, fun(Of) -> proper_types:exactly(lists:ukeysort(1, Of)) end, false).

%% What is credited can only be taken back if it is still there. What is spent does not come back: so a
%% credit before it, of the same account, makes the saga stuck.
step() ->
    {name(), proper_types:elements([<<"Credited">>, <<"Debited">>, <<"Spent">>]), proper_types:range(1, 40)}.

likely_stuck() ->
    proper_types:bind({name(), proper_types:range(1, 40)}, fun({Name, Amount}) ->
        proper_types:exactly([[{Name, Type, N}] || {Type, N} <- [{<<"Credited">>, Amount}, {<<"Spent">>, Amount},
                                                                 {<<"Debited">>, 100000}]])
    end, false).

name() -> proper_types:elements(?NAMES).

%% ------------------------------------------------------------------------------ The run

run(Calls) ->
    Dir = warp_test:new_dir(),
    Opts = #{context => <<"model">>, data_dir => Dir, shards => 2, aggregates => [warp_test:account()]},
    Ctx = warp_test:start(Opts),
    Model = #{balances => maps:from_list([{Name, 0} || Name <- ?NAMES]), sagas => #{}},
    try
        {Last, End} = lists:foldl(fun step/2, {Ctx, Model}, Calls),
        check(Last, End),
        true
    after
        warp_test:stop_all(),
        warp_test:remove_dir(Dir)
    end.

step({commit, Id, Groups}, {Ctx, #{sagas := Sagas} = Model}) ->
    case Sagas of
        #{Id := _} ->
            {Ctx, Model};
        #{} ->
            {Result, Next} = model(Groups, Model),
            ?assertEqual(Result, said(warp_saga:commit(saga(Id, Groups), Ctx))),
            {Ctx, Next#{sagas := Sagas#{Id => {Groups, Result}}}}
    end;
step({again, Id}, {Ctx, #{sagas := Sagas} = Model}) ->
    case Sagas of
        #{Id := {Groups, {resolved, Each}}} ->
            ?assertEqual({stuck, Each}, said(warp_saga:commit(saga(Id, Groups), Ctx)));
        #{Id := {Groups, Result}} ->
            ?assertEqual(Result, said(warp_saga:commit(saga(Id, Groups), Ctx)));
        #{} ->
            ?assertEqual({error, not_found}, warp_saga:status(Ctx, id(Id)))
    end,
    {Ctx, Model};
step({other, Id}, {Ctx, #{sagas := Sagas} = Model}) ->
    _ = [?assertEqual({error, {saga_conflict, id(Id)}},
                      warp_saga:commit(saga(Id, Groups ++ [[{<<"a">>, <<"Credited">>, 1}]]), Ctx))
         || #{Id := {Groups, _}} <- [Sagas]],
    {Ctx, Model};
step({retry, Id}, {Ctx, #{sagas := Sagas} = Model}) ->
    case Sagas of
        #{Id := {Groups, {stuck, Each}}} ->
            {Result, Next} = back(Groups, lists:zip(lists:append(Groups), Each), Model),
            ?assertEqual(Result, said(warp_saga:retry(Ctx, id(Id)))),
            {Ctx, Next#{sagas := Sagas#{Id := {Groups, Result}}}};
        #{Id := {_, {How, _}}} ->
            ?assertEqual({error, {not_stuck, How}}, warp_saga:retry(Ctx, id(Id))),
            {Ctx, Model};
        #{} ->
            ?assertEqual({error, not_found}, warp_saga:retry(Ctx, id(Id))),
            {Ctx, Model}
    end;
%% It waits in a context that was started without them, and goes on in the next one, by itself.
step({retry_without_accounts, N}, {Ctx, #{sagas := Sagas} = Model}) ->
    case [Saga || {_, {_, {stuck, _}}} = Saga <- lists:sort(maps:to_list(Sagas))] of
        [] ->
            {Ctx, Model};
        Stuck ->
            {Id, {Groups, {stuck, Each}}} = lists:nth(1 + N rem length(Stuck), Stuck),
            Lacking = warp_test:restart(Ctx, #{aggregates => [warp_test:log()]}),
            ?assertMatch({error, {saga_waits, #{reason := {unknown_aggregate, <<"Account">>}}}},
                         warp_saga:retry(Lacking, id(Id))),
            ?assertMatch({ok, [#{state := waiting}]}, warp_saga:pending(Lacking)),
            Whole = warp_test:restart(Lacking, #{aggregates => [warp_test:account()]}),
            {ok, #{waiting := 0}} = warp_saga:recover_pending(Whole),
            {Result, Next} = back(Groups, lists:zip(lists:append(Groups), Each), Model),
            {Whole, Next#{sagas := Sagas#{Id := {Groups, Result}}}}
    end;
step({resolve, Id}, {Ctx, #{sagas := Sagas} = Model}) ->
    case Sagas of
        #{Id := {Groups, {stuck, Each}}} ->
            ?assertMatch({ok, {stuck, #{note := <<"so be it">>}}},
                         warp_saga:resolve(Ctx, id(Id), <<"so be it">>)),
            {Ctx, Model#{sagas := Sagas#{Id := {Groups, {resolved, Each}}}}};
        #{} ->
            ?assertMatch({error, _}, warp_saga:resolve(Ctx, id(Id), <<"so be it">>)),
            {Ctx, Model}
    end;
step({fund, Name, Amount}, {Ctx, #{balances := Balances} = Model}) ->
    _ = warp_saga_test:fund(Ctx, Name, Amount),
    {Ctx, Model#{balances := maps:update_with(Name, fun(N) -> N + Amount end, Balances)}};
step({kill, Name}, {Ctx, Model}) ->
    _ = warp_test:kill_entity(warp_core:entity(Ctx, Name)),
    {Ctx, Model};
step(kill_keepers, {Ctx, Model}) ->
    _ = [exit(Pid, kill) || {saga_keeper, Pid} <- warp_test:processes(Ctx)],
    {Ctx, Model};
step(restart, {Ctx, Model}) ->
    check(Ctx, Model),
    Again = warp_test:restart(Ctx),
    check(Again, Model),
    {Again, Model}.

check(Ctx, #{balances := Balances, sagas := Sagas}) ->
    ?assertEqual(Balances, maps:from_list([{Name, warp_saga_test:balance(Ctx, Name)} || Name <- ?NAMES])),
    {ok, Stuck} = warp_saga:stuck(Ctx),
    ?assertEqual(lists:sort([id(Id) || {Id, {_, {stuck, _}}} <- maps:to_list(Sagas)]),
                 lists:sort([Id || #{id := Id} <- Stuck])),
    ?assertEqual({ok, []}, warp_saga:pending(Ctx)),
    maps:foreach(
        fun(Id, {_, {How, Each}}) ->
            {ok, #{state := State, steps := Steps}} = warp_saga:status(Ctx, id(Id)),
            ?assertEqual({How, Each}, {State, [Status || #{status := Status} <- Steps]})
        end, Sagas).

id(Id) -> integer_to_binary(Id).

saga(Id, Groups) ->
    lists:foldl(
        fun([Step], Saga) -> warp_saga:step(Saga, of_account(Step));
           (Steps, Saga) -> warp_saga:parallel(Saga, [of_account(Step) || Step <- Steps])
        end, warp_saga:new(id(Id)), Groups).

of_account({Name, <<"Spent">>, Amount}) ->
    warp_saga_test:step(Name, warp_saga_test:action(<<"Debited">>, Amount),
                        warp_saga_test:action(<<"Credited">>, 0));
of_account({Name, Type, Amount}) -> warp_saga_test:step(Name, Type, Amount).

said({ok, {How, #{steps := Steps}}}) -> {How, [Status || #{status := Status} <- Steps]}.

%% ---------------------------------------------------------------------------- The model

model(Groups, Model) ->
    {Done, Next} = forward(Groups, Model, []),
    case [Step || {Step, Status} <- Done, Status =/= applied] of
        [] -> {{committed, [applied || _ <- Done]}, Next};
        _ -> back(Groups, Done, Next)
    end.

forward([], Model, Done) ->
    {lists:append(lists:reverse(Done)), Model};
forward([Group | Groups], Model0, Done) ->
    {Each, Model} = lists:mapfoldl(
        fun({Name, Type, Amount} = Step, Acc) ->
            case change(Name, Type, Amount, Acc) of
                refused -> {{Step, refused}, Acc};
                Changed -> {{Step, applied}, Changed}
            end
        end, Model0, Group),
    case lists:keymember(refused, 2, Each) of
        true ->
            NotRun = [{Step, not_run} || Step <- lists:append(Groups)],
            {lists:append(lists:reverse([NotRun, Each | Done])), Model};
        false ->
            forward(Groups, Model, [Each | Done])
    end.

%% Group by group, the last first, until something cannot be taken back.
back(Groups, Done0, Model) ->
    Done = [{Step, case Status of not_reversed -> applied; _ -> Status end} || {Step, Status} <- Done0],
    {Split, []} = lists:mapfoldl(fun(Group, Rest) -> lists:split(length(Group), Rest) end, Done, Groups),
    back_groups(lists:reverse(Split), Model, []).

back_groups([], Model, Done) ->
    {{compensated, statuses(Done)}, Model};
back_groups([Group | Groups], Model0, Done) ->
    {Each, Model} = lists:mapfoldl(
        fun({{Name, Type, Amount} = Step, applied}, Acc) ->
               {Opposite, Back} = opposite(Type, Amount),
               case change(Name, Opposite, Back, Acc) of
                   refused -> {{Step, applied}, Acc};
                   Changed -> {{Step, reversed}, Changed}
               end;
           (Other, Acc) ->
               {Other, Acc}
        end, Model0, Group),
    case lists:keymember(applied, 2, Each) of
        true ->
            All = statuses(lists:reverse(Groups) ++ [Each | Done]),
            {{stuck, [case Status of applied -> not_reversed; _ -> Status end || Status <- All]}, Model};
        false ->
            back_groups(Groups, Model, [Each | Done])
    end.

statuses(Groups) ->
    [Status || {_, Status} <- lists:append(Groups)].

opposite(<<"Credited">>, Amount) -> {<<"Debited">>, Amount};
opposite(<<"Debited">>, Amount) -> {<<"Credited">>, Amount};
opposite(<<"Spent">>, _Amount) -> {<<"Credited">>, 0}.

change(Name, Type, Amount, #{balances := Balances} = Model) ->
    #{Name := Balance} = Balances,
    case Type of
        _ when Type =/= <<"Credited">>, Amount > Balance -> refused;
        _ when Type =/= <<"Credited">> -> Model#{balances := Balances#{Name := Balance - Amount}};
        <<"Credited">> -> Model#{balances := Balances#{Name := Balance + Amount}}
    end.
