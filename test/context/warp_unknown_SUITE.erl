%% Messages, calls and handles that Warp's processes do not know harm nobody.
-module(warp_unknown_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include_lib("warp_core/src/base/warp_entity.hrl").

-import(warp_test, [credited/1, incremented/0]).

all() -> warp_test:both_modes().

groups() ->
    warp_test:both_modes([an_entity_ignores_them, counting_is_not_thrown_off, they_do_not_delete,
                          a_process_that_goes_ignores_them, an_owner_ignores_them, a_keeper_ignores_them,
                          forged_handles_are_refused, aggregates_that_are_not_there]).

init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_Mode, _Config) -> ok.
init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

messages() ->
    [hello, {self(), make_ref(), reply}, {warp_stored, none}, {warp_reply, nonsense},
     {warp_reply, {stored, 1}}, {warp_reply, {failed, closed}}, {warp_reply, erased},
     {warp_reply, {stopped, 1, 0, {id_conflict, 1}}}, {warp_reply, {wrong_base, 7}},
     {'DOWN', make_ref(), process, self(), gone}, {make_ref(), late_answer}, {'EXIT', self(), gone},
     {warp_replies, nonsense, []}, {warp_replies, [nonsense, {1, 2, 3}], []}, {warp_replies, [], nonsense},
     {warp_slow_sync, long}, {exit, anything},
     watch, open, {nodedown, node()}].

calls() ->
    [hello, delete, {get, <<"Counter">>}, {decide, <<"Counter">>, fun(_) -> {ok, []} end},
     {append, #{bytes => 1000000}, any}, {saga_step, <<"x">>, delete}].

disturb(Pid) ->
    [?assertEqual({error, {unknown_request, Call}}, gen_server:call(Pid, Call)) || Call <- calls()],
    [ok = gen_server:cast(Pid, Call) || Call <- [{make_ref(), hello} | calls()]],
    [Pid ! Message || Message <- messages()],
    spawn(fun() -> link(Pid), exit(normal) end),
    ok.

counter(Config) ->
    Ctx = warp_test:start(Config),
    Entity = warp_core:entity(Ctx, <<"e">>),
    {ok, 1} = warp_core:append(Entity, incremented()),
    {Ctx, Entity}.

an_entity_ignores_them(Config) ->
    {_, Entity} = counter(Config),
    {ok, Pid} = warp_core:pid(Entity),
    ok = disturb(Pid),
    {ok, 2} = warp_core:append(Entity, incremented()),
    {ok, 2} = warp_core:get(Entity, <<"Counter">>),
    ?assertEqual({ok, Pid}, warp_core:pid(Entity)),
    warp_test:assert_whole(Entity, 2).

%% A request that nobody counted is not taken off.
counting_is_not_thrown_off(Config) ->
    {Ctx, Entity} = counter(Config),
    {ok, Pid} = warp_core:pid(Entity),
    ok = disturb(Pid),
    {ok, 2} = warp_core:append(Entity, incremented()),
    {ok, #{registry := Registry}} = warp_context:find(Ctx),
    [{_, Pid, Pending, _}] = ets:lookup(Registry, <<"e">>),
    ?assertEqual(0, atomics:get(Pending, 1)).

they_do_not_delete(Config) ->
    {_, Entity} = counter(Config),
    {ok, Pid} = warp_core:pid(Entity),
    {error, {unknown_request, delete}} = gen_server:call(Pid, delete),
    warp_test:assert_whole(Entity, 1).

a_process_that_goes_ignores_them(Config) ->
    {_, Entity} = counter(Config),
    {ok, Pid} = warp_core:pid(Entity),
    ok = sys:suspend(Pid),
    [Pid ! Message || Message <- messages()],
    [ok = gen_server:cast(Pid, Call) || Call <- calls()],
    Pid ! passivate,
    ok = sys:resume(Pid),
    warp_test:passivate(Entity),
    {ok, 2} = warp_core:append(Entity, incremented()),
    warp_test:assert_whole(Entity, 2).

an_owner_ignores_them(Config) ->
    {Ctx, Entity} = counter(Config),
    Owners = [Pid || {shard, Pid} <- warp_test:processes(Ctx)],
    [disturb(Pid) || Pid <- Owners],
    spawn(fun() -> [link(Pid) || Pid <- Owners], exit(crash) end),
    timer:sleep(50),
    {ok, 2} = warp_core:append(Entity, incremented()),
    ?assertEqual(Owners, [Pid || {shard, Pid} <- warp_test:processes(Ctx)]).

a_keeper_ignores_them(Config) ->
    {Ctx, Entity} = counter(Config),
    [Keeper] = [Pid || {keeper, Pid} <- warp_test:processes(Ctx)],
    ok = disturb(Keeper),
    {ok, 2} = warp_core:append(Entity, incremented()),
    ?assertEqual([Keeper], [Pid || {keeper, Pid} <- warp_test:processes(Ctx)]).

forged_handles_are_refused(Config) ->
    {Ctx, #warp_entity{shard = N} = Entity} = counter(Config),
    NotOne = {error, {bad_entity_id, not_a_handle}},
    Forged = [Entity#warp_entity{id = Id, shard = Shard}
              || Id <- [other, 7, <<1:3>>, undefined, #{}], Shard <- [0, N]]
          ++ [Entity#warp_entity{shard = Shard} || Shard <- [-1, 2, 99, 1 bsl 70, a, {b}, undefined]]
          ++ [not_a_handle, {warp_entity, 1}, undefined, <<"e">>],
    [?assertEqual({Handle, NotOne}, {Handle, Use(Handle)}) || Handle <- Forged, Use <- uses()],
    Away = Entity#warp_entity{ref = make_ref()},
    [?assertEqual({error, context_stopped}, Use(Handle))
     || Handle <- [Away, Entity#warp_entity{ref = none}], Use <- uses()],
    %% In another shard than its own it would be two.
    Other = (warp_core:entity(Ctx, <<"f">>)),
    Moved = Other#warp_entity{shard = 1 - Other#warp_entity.shard},
    ?assertEqual(NotOne, warp_core:append(Moved, incremented())),
    ?assertEqual({ok, []}, warp_core:history(Moved)),
    %% Warp's own.
    Own = <<"$warp/saga/s">>,
    {ok, OfOwn} = warp_nif:shard_of(Own, 2),
    ?assertEqual({error, {bad_entity_id, reserved}},
                 warp_core:append(Entity#warp_entity{id = Own, shard = OfOwn}, incremented())),
    {ok, 2} = warp_core:append(Entity, incremented()),
    warp_test:assert_whole(Entity, 2).

uses() ->
    [fun(E) -> warp_core:append(E, incremented()) end,
     fun(E) -> warp_core:append_batch(E, [incremented()]) end,
     fun(E) -> warp_core:decide(E, <<"Counter">>, fun(_) -> {ok, []} end) end,
     fun(E) -> warp_core:cast(E, <<"Counter">>, fun(_) -> {ok, []} end) end,
     fun(E) -> warp_core:get(E, <<"Counter">>) end,
     fun(E) -> warp_core:state_at(E, <<"Counter">>, {seq, 1}) end,
     fun warp_core:history/1, fun warp_core:export/1, fun warp_core:delete/1, fun warp_core:pid/1].

%% As from a caller that still has the context as it was before it was started again.
aggregates_that_are_not_there(Config) ->
    {_, Entity} = counter(Config),
    Unknown = {error, {unknown_aggregate, <<"Gone">>}},
    Call = fun(Request) -> warp_entity_call:call(Entity, Request, 0, warp_deadline:from(1000), once) end,
    ?assertEqual(Unknown, Call({get, <<"Gone">>})),
    ?assertEqual(Unknown, Call({decide, <<"Gone">>, fun(_) -> {ok, []} end})),
    {ok, 2} = warp_core:append(Entity, incremented()).
