%% Timeouts and counts that are given with a call.
-module(warp_limits_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_test, [incremented/0]).

all() -> warp_test:both_modes() ++ [of_projections].

groups() ->
    warp_test:both_modes([timeouts_are_checked, timeouts_are_kept, a_deadline_covers_all_attempts]).

init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_Mode, _Config) -> ok.
init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

counted(Config) ->
    Ctx = warp_test:start(Config),
    Entity = warp_core:entity(Ctx, <<"e">>),
    {ok, 1} = warp_core:append(Entity, incremented()),
    Entity.

%% Everything that takes a timeout among its options.
calls() ->
    [fun(E, O) -> warp_core:append(E, incremented(), O) end,
     fun(E, O) -> warp_core:append_batch(E, [incremented()], O) end,
     fun(E, O) -> warp_core:decide(E, <<"Counter">>, fun(_) -> {ok, []} end, O) end,
     fun(E, O) -> warp_core:get(E, <<"Counter">>, O) end,
     fun(E, O) -> warp_core:state_at(E, <<"Counter">>, {seq, 1}, O) end,
     fun(E, O) -> warp_core:state_at(E, <<"Counter">>, {time, 1}, O) end,
     fun warp_core:history/2, fun warp_core:export/2].

timeouts_are_checked(Config) ->
    Entity = counted(Config),
    [?assertMatch({N, Timeout, {error, {bad_option, timeout, _}}}, {N, Timeout, Call(Entity, #{timeout => Timeout})})
     || {N, Call} <- numbered(),
        Timeout <- [-1, 1.5, 1 bsl 32, 1 bsl 33, 1 bsl 100, forever, <<"5000">>, undefined]],
    [?assertMatch({N, {error, {unknown_option, colour}}}, {N, Call(Entity, #{colour => red})})
     || {N, Call} <- numbered()],
    [?assertMatch({N, {error, {bad_option, options, not_a_map}}}, {N, Call(Entity, [])})
     || {N, Call} <- numbered()],
    [?assertMatch({N, Timeout, {ok, _}}, {N, Timeout, Call(Entity, #{timeout => Timeout})})
     || {N, Call} <- numbered(), Timeout <- [1 bsl 32 - 1, infinity, 5000]],
    [?assertMatch({Limit, {error, {bad_option, limit, _}}}, {Limit, warp_core:history(Entity, #{limit => Limit})})
     || Limit <- [0, -1, a, 1.0]],
    {ok, [_ | _]} = warp_core:history(Entity, #{limit => 1 bsl 100, from => 1}),
    {ok, _} = warp_core:state_at(Entity, <<"Counter">>, {seq, 1 bsl 100}),
    {ok, _} = warp_core:state_at(Entity, <<"Counter">>, {time, 1 bsl 100}),
    {ok, 0} = warp_core:state_at(Entity, <<"Counter">>, {time, -(1 bsl 100)}).

%% With an entity whose process does not answer.
timeouts_are_kept(Config) ->
    Entity = counted(Config),
    {ok, Pid} = warp_core:pid(Entity),
    ok = sys:suspend(Pid),
    [begin
         Before = erlang:monotonic_time(millisecond),
         ?assertEqual({error, timeout}, Call(Entity, #{timeout => 100})),
         Took = erlang:monotonic_time(millisecond) - Before,
         ?assert(Took >= 100 andalso Took < 1000)
     end || Call <- lists:sublist(calls(), 3)].

%% Its process goes again and again, just when it was asked.
a_deadline_covers_all_attempts(Config) ->
    Entity = counted(Config),
    Self = self(),
    Killer = spawn_link(fun() -> Self ! ready, kill(Entity) end),
    receive ready -> ok end,
    Before = erlang:monotonic_time(millisecond),
    Results = [warp_core:get(Entity, <<"Counter">>, #{timeout => 150}) || _ <- lists:seq(1, 5)],
    Took = erlang:monotonic_time(millisecond) - Before,
    unlink(Killer),
    exit(Killer, kill),
    ct:pal("~p ms: ~p", [Took, Results]),
    ?assert(Took < 5 * 150 + 500).

kill(Entity) ->
    case warp_entity_registry:lookup(Entity) of
        {ok, Pid} -> exit(Pid, kill);
        none -> ok
    end,
    timer:sleep(1),
    kill(Entity).

of_projections(Config) ->
    Ctx = warp_test:start(Config, #{
        projections => embedded,
        aggregates => [(warp_test:counter())#{project => fun(_, _, _) -> [] end}]}),
    Entity = warp_core:entity(Ctx, <<"e">>),
    {ok, 1} = warp_core:append(Entity, incremented()),
    [?assertMatch({Timeout, {error, {bad_option, timeout, _}}}, {Timeout, warp_core:await_projection(Entity, Timeout)})
     || Timeout <- [-1, 1 bsl 33, forever]],
    ok = warp_core:await_projection(Entity, infinity),
    [?assertMatch({Given, {error, {bad_option, _, _}}}, {Given, warp_core:query(Ctx, "SELECT 1", [], Given)})
     || Given <- [#{timeout => 1 bsl 33}, #{timeout => 0}, #{timeout => a}, #{max_rows => 0}, #{max_rows => 1.5}]],
    {ok, #{rows := [[1]]}} = warp_core:query(Ctx, "SELECT 1", [], #{timeout => 1 bsl 32 - 1}).

numbered() ->
    lists:zip(lists:seq(1, length(calls())), calls()).
