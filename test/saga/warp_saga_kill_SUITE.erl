%% Money is neither made nor lost: transfers at random between accounts that are not overdrawn,
%% while processes are killed at random and the whole VM now and then.
-module(warp_saga_kill_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(FUNDS, 20000).

suite() -> [{timetrap, {minutes, 60}}].
all() -> [each_transfer_is_wholly_there_or_wholly_reversed_after_kills].
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

each_transfer_is_wholly_there_or_wholly_reversed_after_kills(Config) ->
    SideDir = filename:join(?config(dir, Config), "side"),
    DataDir = filename:join(?config(dir, Config), "data"),
    ok = file:make_dir(SideDir),
    Rounds = case os:getenv("WARP_LONG") of false -> 4; _ -> 60 end,
    Counts = [round(Round, DataDir, SideDir) || Round <- lists:seq(1, Rounds)],
    Sum = lists:foldl(fun(Count, Acc) -> maps:merge_with(fun(_, A, B) -> A + B end, Count, Acc) end,
                      #{}, Counts),
    ct:log("~p", [Sum]),
    #{committed := Committed, compensated := Compensated, unanswered := Unanswered} = Sum,
    ?assert(Committed > 100 * Rounds),
    ?assert(Compensated > 20 * Rounds),
    ?assert(Unanswered > Rounds).

round(Round, DataDir, SideDir) ->
    Opts = #{context => <<"bank">>, data_dir => DataDir, shards => 3, snapshot_every => 50,
             mode => lists:nth(1 + Round rem 2, [actor, read_through])},
    run_and_kill(Round, Opts#{side_dir => SideDir, callers => lists:nth(1 + Round rem 3, [8, 32, 100])}),
    Ctx = warp_test:start(Opts#{aggregates => [warp_saga_load:aggregate()]}),
    {ok, Recovered} = warp_saga:recover_pending(Ctx),
    ct:log("round ~b: ~p, ~p", [Round, Recovered, maps:get(sagas, warp_core:stats(Ctx))]),
    Logs = logs(Ctx),
    ?assertEqual(?FUNDS, lists:sum([balance(Ctx, Name) || Name <- warp_saga_load:names()])),
    ids_are_unique(Logs),
    Answers = warp_saga_load:answers(SideDir, Round),
    BySaga = by_saga(Logs),
    Ends = [ended(Ctx, BySaga, Transfer, Answer) || {Transfer, Answer} <- Answers],
    ?assertEqual({ok, []}, warp_saga:pending(Ctx)),
    %% Committing them again has changed nothing but what was not begun before.
    Begun = [Id || {Id, begun, _} <- Ends],
    ?assertEqual(without([], Logs), without(Begun, logs(Ctx))),
    warp_test:stop(Ctx),
    lists:foldl(fun(End, Acc) -> maps:update_with(End, fun(N) -> N + 1 end, 1, Acc) end,
                #{committed => 0, compensated => 0, unanswered => 0}, [End || {_, _, End} <- Ends]).

run_and_kill(Round, Opts) ->
    Erl = filename:join([code:root_dir(), "bin", "erl"]),
    Port = open_port({spawn_executable, Erl},
                     [{args, warp_fault_vm:path() ++ warp_saga_load:args(Round, Opts)},
                      binary, exit_status, stderr_to_stdout]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    receive {Port, {data, <<"ready\n">>}} -> ok
    after 60000 -> ct:fail(not_ready)
    end,
    timer:sleep(700 + rand:uniform(1500)),
    "" = os:cmd("kill -9 " ++ integer_to_list(Pid)),
    receive
        {Port, {exit_status, Status}} -> ?assertEqual(137, Status);
        {Port, {data, Text}} -> ct:fail({said, Text})
    after 60000 -> ct:fail(still_alive)
    end.

balance(Ctx, Name) ->
    {ok, Balance} = warp_core:get(warp_core:entity(Ctx, Name), <<"Account">>),
    Balance.

logs(Ctx) ->
    maps:from_list([begin
        {ok, Events} = warp_core:export(warp_core:entity(Ctx, Name)),
        {Name, Events}
    end || Name <- warp_saga_load:names()]).

ids_are_unique(Logs) ->
    maps:foreach(
        fun(_, Events) ->
            Ids = [Id || #{id := Id} <- Events],
            ?assertEqual(length(Ids), length(lists:usort(Ids)))
        end, Logs).

%% What each saga left: `{Id, Entity, Type, Amount}' of its events.
by_saga(Logs) ->
    maps:fold(
        fun(Name, Events, Acc) ->
            lists:foldl(
                fun(#{metadata := #{<<"correlation">> := Saga}, id := Id, type := Type,
                      payload := #{<<"amount">> := Amount}}, Found) ->
                        Event = {Id, Name, Type, Amount},
                        maps:update_with(Saga, fun(Of) -> [Event | Of] end, [Event], Found);
                   (_, Found) -> Found
                end, Acc, Events)
        end, #{}, Logs).

%% What a caller was told is so, and what is so can be told to a caller that heard nothing.
ended(Ctx, BySaga, {Id, From, To, Amount, Order} = Transfer, Answer) ->
    There = lists:sort([{Event, Name, Type, N}
                        || {Event, Name, Type, N} <- maps:get(Id, BySaga, [])]),
    {ok, {How, Map}} = warp_saga:commit(warp_saga_load:transfer(Transfer), Ctx),
    _ = [?assertEqual({ok, {How, Map}}, Answer) || Answer =/= unanswered],
    {Credit, Debit} = case Order of 1 -> {0, 1}; _ -> {1, 0} end,
    Wholly = lists:sort([{event(Id, "fwd", Debit), From, <<"Debited">>, Amount},
                         {event(Id, "fwd", Credit), To, <<"Credited">>, Amount}]),
    %% A credit that was accepted may get lost with its entity's process before the debit is refused.
    Undone = case Order of
        1 when How =:= compensated, map_get(status, hd(map_get(steps, Map))) =:= reversed ->
            lists:sort([{event(Id, "fwd", 0), To, <<"Credited">>, Amount},
                         {event(Id, "comp", 0), To, <<"TakenBack">>, Amount}]);
        _ ->
            []
    end,
    Begun =
        case {Answer, There} of
            {unanswered, []} -> begun;
            _ -> ?assertEqual(case How of committed -> Wholly; compensated -> Undone end, There), before
        end,
    {Id, Begun, case Answer of unanswered -> unanswered; _ -> How end}.

event(Id, Kind, N) ->
    iolist_to_binary([Id, $/, Kind, $/, integer_to_list(N)]).

without(Sagas, Logs) ->
    maps:map(
        fun(_, Events) ->
            [Event || #{metadata := Metadata} = Event <- Events,
                      not lists:member(maps:get(<<"correlation">>, Metadata, none), Sagas)]
        end, Logs).
