%% A target that takes requests and gives no answers, or late ones: nobody who asks Warp something
%% waits for it longer than was said.
-module(warp_rqlite_silent_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([figures_are_there/1, timeouts_hold/1, a_context_starts/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

%% For what waits for nothing, on a busy machine.
-define(AT_ONCE_MS, 1500).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [figures_are_there, timeouts_hold, a_context_starts].

init_per_suite(Config) -> warp_rqlite_server:require(Config).

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config0) ->
    Config = warp_test:init_case(Config0),
    Node = warp_rqlite_server:start(filename:join(?config(dir, Config), "node")),
    [{node, Node}, {proxy, warp_rqlite_proxy:start(Node)} | Config].

end_per_testcase(_Case, Config) ->
    warp_rqlite_proxy:mode(?config(proxy, Config), pass),
    warp_test:stop_all(),
    warp_rqlite_proxy:stop(?config(proxy, Config)),
    warp_rqlite_server:kill(?config(node, Config)),
    warp_test:end_case(Config).

start(Config) ->
    warp_test:start(Config, #{
        aggregates => [warp_projection_test:shop()],
        projections => {rqlite, #{nodes => [warp_rqlite_proxy:url(?config(proxy, Config))], timeout => 3000}}}).

%% An entity whose next event the writer cannot get rid of.
silenced(Config) ->
    Ctx = start(Config),
    Entity = warp_core:entity(Ctx, <<"o">>),
    {ok, 1} = warp_core:append(Entity, warp_projection_test:placed(1)),
    warp_projection_test:await(Entity),
    warp_rqlite_proxy:mode(?config(proxy, Config), swallow),
    {ok, 2} = warp_core:append(Entity, warp_projection_test:placed(1)),
    {Ctx, Entity}.

%% The writer waits for the target, and the request for a rebuild waits for the writer.
figures_are_there(Config) ->
    {Ctx, Entity} = silenced(Config),
    Self = self(),
    _ = spawn_link(fun() -> Self ! {rebuild, warp_projection:rebuild(Ctx)} end),
    Until = erlang:monotonic_time(millisecond) + 4000,
    Rounds = figures(Ctx, Until, 0),
    ?assert(Rounds > 20),
    ?assertMatch({ok, #{state := {away, _}, behind_positions := 1}}, warp_projection:status(Ctx)),
    warp_rqlite_proxy:mode(?config(proxy, Config), pass),
    receive
        {rebuild, ok} -> ok;
        {rebuild, {error, {target_away, _}}} -> ok
    end,
    warp_projection_test:await(Entity).

figures(Ctx, Until, Rounds) ->
    _ = [at_once(Name, Fun) || {Name, Fun} <- [
            {stats, fun() -> #{projections := #{behind_positions := 1}} = warp_core:stats(Ctx) end},
            {status, fun() -> {ok, #{shards := [_ | _]}} = warp_projection:status(Ctx) end},
            {progress, fun() -> {ok, #{done := _}} = warp_projection:rebuild_progress(Ctx) end}]],
    case erlang:monotonic_time(millisecond) < Until of
        true -> timer:sleep(20), figures(Ctx, Until, Rounds + 1);
        false -> Rounds
    end.

at_once(Name, Fun) -> within(Name, ?AT_ONCE_MS, Fun).

%% In a process of its own: what never returns is a failure too.
within(Name, Limit, Fun) ->
    Began = erlang:monotonic_time(millisecond),
    {Pid, Monitor} = spawn_monitor(fun() -> exit({result, Fun()}) end),
    receive
        {'DOWN', Monitor, process, Pid, {result, Result}} -> Result;
        {'DOWN', Monitor, process, Pid, Crash} -> error({Name, Crash})
    after Limit ->
        exit(Pid, kill),
        error({Name, has_not_returned_after, erlang:monotonic_time(millisecond) - Began})
    end.

timeouts_hold(Config) ->
    {Ctx, Entity} = silenced(Config),
    ?assertEqual({error, timeout}, within(await, 300 + ?AT_ONCE_MS, fun() ->
        warp_core:await_projection(Entity, 300) end)),
    ?assertEqual({error, timeout}, within(query, 300 + ?AT_ONCE_MS, fun() ->
        warp_core:query(Ctx, "SELECT id FROM orders", [], #{timeout => 300}) end)),
    ?assertMatch({error, Why} when Why =:= timeout; Why =:= not_running,
                 within(await_rebuild, 300 + ?AT_ONCE_MS, fun() -> warp_projection:await_rebuild(Ctx, 300) end)),
    %% The limit of a request is that of the target, which is 3 seconds here.
    ?assertMatch({error, {target_away, _}},
                 within(rebuild, 15000, fun() -> warp_projection:rebuild(Ctx) end)),
    %% Who writes is not concerned.
    ?assertEqual({ok, 3}, at_once(append, fun() -> warp_core:append(Entity, warp_projection_test:placed(1)) end)).

%% Each answer comes late, and there are many before it is known how the target is.
a_context_starts(Config) ->
    warp_rqlite_proxy:mode(?config(proxy, Config), slow),
    Ctx = within(start, 15000, fun() -> start(Config) end),
    Entity = warp_core:entity(Ctx, <<"o">>),
    {ok, 1} = at_once(append, fun() -> warp_core:append(Entity, warp_projection_test:placed(1)) end),
    warp_rqlite_proxy:mode(?config(proxy, Config), pass),
    warp_projection_test:await(Entity).
