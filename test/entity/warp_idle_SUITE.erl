%% How long an entity stays in memory.
-module(warp_idle_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_test, [incremented/0]).

all() -> [reads_keep_it, reads_keep_one_with_a_long_timeout, reads_keep_one_without_events, appends_keep_it].

init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

start(Config, Idle) ->
    warp_core:entity(warp_test:start(Config, #{idle_timeout => Idle}), <<"e">>).

%% Its process stays the same for as long as Use is called, and goes then.
stays(Entity, Millis, Use) ->
    Use(),
    {ok, Pid} = warp_entity_registry:lookup(Entity),
    Until = erlang:monotonic_time(millisecond) + Millis,
    ok = use(Use, Until),
    ?assertEqual({ok, Pid}, warp_entity_registry:lookup(Entity)),
    warp_test:wait_until(fun() -> not is_process_alive(Pid) end).

use(Use, Until) ->
    case erlang:monotonic_time(millisecond) < Until of
        true -> Use(), timer:sleep(5), use(Use, Until);
        false -> ok
    end.

get(Entity, Count) ->
    fun() -> {ok, Count} = warp_core:get(Entity, <<"Counter">>) end.

reads_keep_it(Config) ->
    Entity = start(Config, 200),
    {ok, 1} = warp_core:append(Entity, incremented()),
    stays(Entity, 1500, get(Entity, 1)).

reads_keep_one_with_a_long_timeout(Config) ->
    Entity = start(Config, 2100),
    {ok, 1} = warp_core:append(Entity, incremented()),
    stays(Entity, 5000, get(Entity, 1)).

reads_keep_one_without_events(Config) ->
    Entity = start(Config, 200),
    stays(Entity, 1500, get(Entity, 0)).

appends_keep_it(Config) ->
    Entity = start(Config, 200),
    stays(Entity, 1500, fun() -> {ok, _} = warp_core:append(Entity, incremented()) end).
