%% A loss of power at any moment: from each state that the disk may be in, the context opens, and everything that
%% was acknowledged is there.
-module(warp_power_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([what_was_acknowledged_outlives_a_loss_of_power/1, a_recorder_that_forgets_syncs_is_noticed/1]).
-export([work/3]).

-define(CALLERS, 8).
-define(ROUNDS, 25).
%% How many states are looked at side by side.
-define(AT_ONCE, 4).
-define(STATES, case os:getenv("WARP_LONG") of false -> 500; _ -> 20000 end).

suite() -> [{timetrap, {hours, 2}}].

all() -> [what_was_acknowledged_outlives_a_loss_of_power, a_recorder_that_forgets_syncs_is_noticed].

init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

what_was_acknowledged_outlives_a_loss_of_power(Config) ->
    {Dir, Records} = recorded(Config),
    Lost = check_all(Dir, Records, ?STATES),
    ct:log("~b records, ~b states", [length(Records), ?STATES]),
    ?assertEqual([], Lost).

%% Without syncs nothing is sure: the check has to find that.
a_recorder_that_forgets_syncs_is_noticed(Config) ->
    {Dir, Records} = recorded(Config),
    ?assertNotEqual([], check_all(Dir, [Record || {Op, _, _, _} = Record <- Records, Op =/= $S], 40)).

recorded(Config) ->
    Dir = filename:join(?config(dir, Config), "recorded"),
    ok = filelib:ensure_path(Dir),
    Log = filename:join(?config(dir, Config), "log"),
    Vm = warp_fault_vm:start(#{env => [{"LD_PRELOAD", warp_power:recorder(?config(dir, Config))},
                                       {"WARP_RECORD", Log}, {"WARP_RECORD_DIR", Dir}]}),
    ok = warp_fault_vm:run(Vm, fun() -> run(Dir) end),
    warp_fault_vm:stop(Vm),
    {unicode:characters_to_binary(Dir), warp_power:records(Log)}.

opts(Dir) ->
    #{context => <<"power">>, data_dir => Dir, shards => 2, snapshot_every => 10, aggregates => [counter()]}.

%% The Nth event of an entity holds N.
counter() ->
    #{name => <<"Counter">>, initial_state => 0, apply => fun(_, #{payload := #{<<"n">> := N}}) -> N end}.

event(N) -> #{type => <<"Counted">>, payload => #{n => N, filler => binary:copy(<<"x">>, rand:uniform(900))}}.

run(Dir) ->
    {ok, Ctx} = warp_core:start(opts(Dir)),
    Callers = [spawn_monitor(?MODULE, work, [Ctx, Dir, N]) || N <- lists:seq(1, ?CALLERS)],
    [receive {'DOWN', Ref, process, Pid, Why} -> normal = Why end || {Pid, Ref} <- Callers],
    warp_core:stop(Ctx).

%% Singles and batches of one entity, whose time is corrected now and then, and another one that is deleted.
work(Ctx, Dir, Caller) ->
    {ok, Said} = file:open(filename:join(Dir, "said"), [append, raw, binary]),
    work(lists:seq(1, ?ROUNDS), 0, Ctx, Said, integer_to_binary(Caller)).

work([], _N, _Ctx, _Said, _Name) ->
    ok;
work([Round | Rounds], N, Ctx, Said, Name) ->
    Entity = warp_core:entity(Ctx, <<"kept-", Name/binary>>),
    {ok, Seq} = warp_core:append(Entity, event(N + 1)),
    ok = say(Said, [<<"kept ">>, Name, $\s, integer_to_binary(Seq)]),
    {ok, {_, Last}} = warp_core:append_batch(Entity, [event(N + 1 + I) || I <- lists:seq(1, 4)]),
    ok = say(Said, [<<"kept ">>, Name, $\s, integer_to_binary(Last)]),
    _ = [ok = warp_core:correct_time(Entity, Last, erlang:system_time(microsecond)) || Round rem 3 =:= 0],
    Gone = <<"gone-", Name/binary, $-, (integer_to_binary(Round div 5))/binary>>,
    {ok, _} = warp_core:append(warp_core:entity(Ctx, Gone), event(1)),
    _ = [begin
             ok = warp_core:delete(warp_core:entity(Ctx, Gone)),
             ok = say(Said, [<<"gone ">>, Gone])
         end || Round rem 5 =:= 4],
    work(Rounds, Last, Ctx, Said, Name).

say(Said, Line) -> file:write(Said, [Line, $\n]).

%% --------------------------------------------------------------------- Checking

check_all(Dir, Records, Count) ->
    Lost = ets:new(lost, [public, bag]),
    Said = <<Dir/binary, "/said">>,
    ok = warp_power:states(Records, Said, Count, fun(N, State) ->
        _ = [wait_for_one() || N > ?AT_ONCE],
        spawn_monitor(fun() -> [ets:insert(Lost, {N, Why}) || Why <- look(N, Dir, State)] end)
    end),
    _ = [wait_for_one() || _ <- lists:seq(1, ?AT_ONCE)],
    ets:tab2list(Lost).

wait_for_one() ->
    receive {'DOWN', _, process, _, Why} -> ?assertEqual(normal, Why) end.

look(N, Dir, State) ->
    To = filename:join(filename:dirname(Dir), "state-" ++ integer_to_list(N)),
    ok = filelib:ensure_path(To),
    ok = warp_power:write(State, {Dir, To}),
    Wrong = check(To, warp_power:said(State, " ")),
    ok = file:del_dir_r(To),
    Wrong.

check(Dir, Said) ->
    case warp_core:start(opts(Dir)) of
        {ok, Ctx} ->
            Kept = lists:foldl(fun([<<"kept">>, Name, Seq], Acc) -> Acc#{Name => binary_to_integer(Seq)};
                                  (_, Acc) -> Acc
                               end, #{}, Said),
            Wrong = [Why || {Name, Seq} <- maps:to_list(Kept), Why <- kept(Ctx, Name, Seq)]
                ++ [{not_gone, Name} || [<<"gone">>, Name] <- Said,
                                        warp_core:export(warp_core:entity(Ctx, Name)) =/= {ok, []}],
            ok = warp_core:stop(Ctx),
            Wrong;
        {error, Reason} ->
            [{not_opened, Reason}]
    end.

%% More may be there than was acknowledged: whole rounds of it.
kept(Ctx, Name, Seq) ->
    Entity = warp_core:entity(Ctx, <<"kept-", Name/binary>>),
    case warp_core:export(Entity) of
        {ok, Events} ->
            Ns = [N || #{payload := #{<<"n">> := N}} <- Events],
            Last = length(Ns),
            [{lost, Name, Seq, Last} || Last < Seq] ++ [{other_events, Name, Ns} || Ns =/= lists:seq(1, Last)]
                ++ [{half_a_batch, Name, Last} || Last rem 5 > 1]
                ++ [{wrong_state, Name} || warp_core:get(Entity, <<"Counter">>) =/= {ok, Last}];
        {error, Reason} ->
            [{unreadable, Name, Reason}]
    end.
