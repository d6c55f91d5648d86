%% A loss of power at any moment: from each state that the disk may be in, the context opens, and everything that
%% was acknowledged is there; also when power is lost once more while it recovers.
-module(warp_power_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([what_was_acknowledged_outlives_a_loss_of_power/1, it_outlives_a_second_one_during_recovery/1,
         a_recorder_that_forgets_syncs_is_noticed/1]).

%% What is done and looked at, each by so many callers.
-define(PARTS, [{warp_power_logs, 8}, {warp_power_sagas, 8}, {warp_power_tables, 3}, {warp_power_keys, 2}]).
%% How many states are looked at side by side.
-define(AT_ONCE, 4).
-define(STATES, long(500, 20000)).
%% How many states are recovered to be lost again, and how many states are looked at of each.
-define(RECOVERED, long(6, 200)).
-define(LOST_AGAIN, 15).

suite() -> [{timetrap, {hours, 4}}].

all() ->
    [what_was_acknowledged_outlives_a_loss_of_power, it_outlives_a_second_one_during_recovery,
     a_recorder_that_forgets_syncs_is_noticed].

init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

what_was_acknowledged_outlives_a_loss_of_power(Config) ->
    {First, Dir, Records} = worked(Config),
    ct:log("~b records, ~b states", [length(Records), ?STATES]),
    ?assertEqual([], check_all(First, Dir, Records, ?STATES, ?config(priv_dir, Config))).

it_outlives_a_second_one_during_recovery(Config) ->
    {First, Dir, Records} = worked(Config),
    Self = self(),
    ok = warp_power:states(First, Records, said(Dir), ?RECOVERED, fun(N, State) -> Self ! {lost, N, State} end),
    ?assertEqual([], lists:append([again(Config, N, Dir, State) || N <- lists:seq(1, ?RECOVERED),
                                                                   State <- [receive {lost, N, S} -> S end]])).

again(Config, N, Dir, State) ->
    To = dir(Config, "recovered-" ++ integer_to_list(N)),
    Moved = warp_power:moved(State, {Dir, To}),
    {[], Records} = recorded(Config, Moved, To, fun() -> check(N, To, []) end),
    [{N, Wrong} || Wrong <- check_all(Moved, To, Records, ?LOST_AGAIN, ?config(priv_dir, Config))].

%% Without syncs nothing is sure: the check has to find that, in logs, of sagas and of keys.
a_recorder_that_forgets_syncs_is_noticed(Config) ->
    {First, Dir, Records} = worked(Config),
    Unsynced = [Record || {Op, _, _, _} = Record <- Records, Op =/= $S],
    Check = fun() -> check_all(First, Dir, Unsynced, 10, none) end,
    ?assertEqual([], unnoticed([lost, saga_lost, key_lost], 50, Check)).

%% Which kinds of loss none of so many rounds has found. How many states show one depends on which writes were lost.
unnoticed(Kinds, Rounds, Check) when Kinds =/= [], Rounds > 0 ->
    unnoticed(Kinds -- [element(1, Why) || {_, Why} <- Check()], Rounds - 1, Check);
unnoticed(Kinds, _Rounds, _Check) ->
    Kinds.

long(Short, Long) ->
    case os:getenv("WARP_LONG") of
        false -> Short;
        _ -> Long
    end.

%% ------------------------------------------------------------------------------------------------- What is recorded

worked(Config) ->
    Dir = dir(Config, "recorded"),
    {Removed, Records} = recorded(Config, warp_power:nothing(), Dir, fun() -> work(Dir) end),
    ?assert(Removed > 0),
    {warp_power:nothing(), Dir, Records}.

%% What the fun does to a folder that looks like the state, in a VM of its own: its result, and the records.
recorded(Config, State, Dir, Fun) ->
    Log = <<Dir/binary, ".log">>,
    ok = filelib:ensure_path(Dir),
    ok = warp_power:write(State),
    Recorder = warp_power:recorder(?config(dir, Config)),
    Vm = warp_fault_vm:start(#{env => [{"LD_PRELOAD", Recorder}, {"WARP_RECORD", binary_to_list(Log)},
                                       {"WARP_RECORD_DIR", binary_to_list(Dir)}]}),
    Result = warp_fault_vm:run(Vm, Fun),
    warp_fault_vm:stop(Vm),
    {Result, warp_power:records(Log)}.

dir(Config, Name) -> unicode:characters_to_binary(filename:join(?config(dir, Config), Name)).

said(Dir) -> <<Dir/binary, "/said">>.

opts(Dir) ->
    #{context => <<"power">>, data_dir => Dir, shards => 2, snapshot_every => 10, projections => embedded,
      aggregates => lists:append([Part:aggregates() || {Part, _} <- ?PARTS])}.

%% How many logs of sagas were removed meanwhile.
work(Dir) ->
    {ok, Ctx} = warp_core:start((opts(Dir))#{keep_sagas => 0}),
    Say = fun(Words) -> say(Dir, Words) end,
    ok = warp_power_sagas:fund(Ctx, Say),
    _ = warp_test:parallel(8, fun(N) -> warp_power_logs:fill(Ctx, Say, integer_to_binary(N)) end),
    _ = warp_test:parallel([fun() -> Part:work(Ctx, Say, integer_to_binary(N)) end
                            || {Part, Count} <- ?PARTS, N <- lists:seq(1, Count)]),
    #{sagas := #{removed := Removed}} = warp_core:stats(Ctx),
    ok = warp_core:stop(Ctx),
    Removed.

%% One write for each line.
say(Dir, Words) ->
    {ok, Said} = file:open(said(Dir), [append, raw, binary]),
    ok = file:write(Said, iolist_to_binary([lists:join($\s, Words), $\n])),
    file:close(Said).

%% ----------------------------------------------------------------------------------------------------- Checking it

%% No two runs meet the same states: one that is wrong is kept in that folder.
check_all(First, Dir, Records, Count, Keep) ->
    Lost = ets:new(lost, [public, bag]),
    ok = warp_power:states(First, Records, said(Dir), Count, fun(N, State) ->
        _ = [wait_for_one() || N > ?AT_ONCE],
        spawn_monitor(fun() -> [ets:insert(Lost, {N, Why}) || Why <- look(N, Dir, State, Keep)] end)
    end),
    _ = [wait_for_one() || _ <- lists:seq(1, min(?AT_ONCE, Count))],
    ets:tab2list(Lost).

wait_for_one() ->
    receive {'DOWN', _, process, _, Why} -> ?assertEqual(normal, Why) end.

look(N, Dir, State, Keep) ->
    To = <<Dir/binary, "-", (integer_to_binary(N))/binary>>,
    ok = filelib:ensure_path(To),
    ok = warp_power:write(warp_power:moved(State, {Dir, To})),
    Wrong =
        try
            check(N, To, warp_power:said(State))
        catch
            Class:Reason:Stack -> [{crashed, Class, Reason, Stack}]
        end,
    ok = file:del_dir_r(To),
    _ = [warp_power:write(warp_power:moved(State, {Dir, filename:join(list_to_binary(Keep), filename:basename(To))}))
         || Wrong =/= [], Keep =/= none],
    Wrong.

%% The logs of sagas that have ended are removed meanwhile, or stay as they are. It opens a second time too: what is
%% wrong after the first one may only show then.
check(N, Dir, Said) ->
    Keep = lists:nth(1 + N rem 2, [0, infinity]),
    case warp_core:start((opts(Dir))#{keep_sagas => Keep}) of
        {ok, Ctx} ->
            Wrong = lists:append([Part:wrong(Ctx, Said) || {Part, _} <- ?PARTS]),
            Verified = warp_core:verify(Ctx),
            ok = warp_core:stop(Ctx),
            Wrong ++ [{not_verified, Why} || {error, Why} <- [Verified]] ++ check_again(Dir);
        {error, Reason} ->
            [{not_opened, Reason}]
    end.

check_again(Dir) ->
    case warp_core:start(opts(Dir)) of
        {ok, Ctx} ->
            Verified = warp_core:verify(Ctx),
            ok = warp_core:stop(Ctx),
            [{not_verified_again, Why} || {error, Why} <- [Verified]];
        {error, Reason} ->
            [{not_opened_again, Reason}]
    end.
