%% Any process of a context may be killed at any time: it heals within seconds
%% and no acknowledged event is lost.
-module(warp_supervision_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-define(HEALS_WITHIN, 10000).

suite() -> [{timetrap, {seconds, 120}}].
all() -> warp_test:both_modes().
groups() -> warp_test:both_modes(cases()).
init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_, _) -> ok.
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

cases() ->
    [a_context_names_its_processes,
     a_killed_entity_keeps_its_log_and_state,
     an_entity_that_was_killed_takes_appends_at_once,
     callers_of_a_killed_entity_are_answered,
     no_entity_outlives_its_supervisor,
     each_process_may_be_killed_in_turn,
     each_process_may_be_killed_under_load,
     entities_may_be_killed_under_load,
     all_processes_may_be_killed_at_once,
     one_process_may_be_killed_again_and_again,
     those_above_a_killed_process_may_be_killed_next,
     a_context_stops_and_starts_after_kills,
     kills_in_one_context_do_not_touch_another].

a_context_names_its_processes(Config) ->
    Ctx = warp_test:start(Config),
    Processes = warp_test:processes(Ctx),
    ?assertMatch([_, _ | _], Processes),
    [?assert(is_atom(Role) andalso is_process_alive(Pid)) || {Role, Pid} <- Processes].

a_killed_entity_keeps_its_log_and_state(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    [begin
         {ok, N} = warp_core:append(Alice, warp_test:incremented()),
         _ = warp_test:kill_entity(Alice),
         ?assertEqual({ok, N}, warp_core:get(Alice, <<"Counter">>))
     end || N <- lists:seq(1, 30)],
    warp_test:assert_whole(Alice, 30).

an_entity_that_was_killed_takes_appends_at_once(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    [begin
         ?assertEqual({ok, N}, warp_core:append(Alice, warp_test:incremented())),
         warp_test:kill_entity(Alice)
     end || N <- lists:seq(1, 30)],
    warp_test:assert_whole(Alice, 30).

%% A supervisor that is killed tells its children one by one that it has ended. One that lives on meanwhile would
%% publish its state after its successor has looked for what is left of it.
no_entity_outlives_its_supervisor(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    {ok, Context} = warp_context:find(Ctx),
    Self = self(),
    %% The process of an entity that was not told yet.
    {Left, OfLeft} = spawn_monitor(fun() ->
        first = warp_entity_registry:register(Context, <<"left">>, 0, warp_entity_pending:new()),
        Self ! registered,
        receive never -> ok end
    end),
    receive registered -> ok end,
    {ok, Supervisor} = warp_context:registered(Context, {entity_sup, 0}),
    true = exit(Supervisor, kill),
    warp_test:wait_until(fun() -> {ok, Supervisor} =/= warp_context:registered(Context, {entity_sup, 0}) end),
    ?assertNot(is_process_alive(Left)),
    receive {'DOWN', OfLeft, process, Left, killed} -> ok end,
    ?assertEqual({ok, 1}, warp_core:append(warp_core:entity(Ctx, <<"left">>), warp_test:incremented())).

callers_of_a_killed_entity_are_answered(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Killer = spawn_link(fun() -> kill_for_ever(fun() -> warp_test:kill_entity(Alice) end, 3) end),
    Results = warp_test:parallel(20, fun(_) ->
        [warp_core:append(Alice, warp_test:incremented()) || _ <- lists:seq(1, 50)]
    end),
    stop_killer(Killer),
    Acked = [Seq || {ok, Seq} <- lists:append(Results)],
    ?assertEqual([], [Error || {error, Why} = Error <- lists:append(Results), Why =/= interrupted]),
    ?assertEqual(length(Acked), length(lists:usort(Acked))),
    Seqs = warp_test:seqs(Alice),
    ?assertEqual(lists:seq(1, length(Seqs)), Seqs),
    ?assertEqual([], Acked -- Seqs).

each_process_may_be_killed_in_turn(Config) ->
    Ctx = warp_test:start(Config),
    Entities = probe_until_all_work(Ctx),
    [begin
         {Role, Pid} = lists:nth(I, processes(Ctx)),
         exit(Pid, kill),
         ct:pal("killed ~p ~p", [Role, Pid]),
         Entities = probe_until_all_work(Ctx)
     end || I <- lists:seq(1, length(processes(Ctx)))],
    [assert_gapless(Entity) || Entity <- Entities].

each_process_may_be_killed_under_load(Config) ->
    Ctx = warp_test:start(Config),
    under_load(Ctx, fun() ->
        [begin
             {_, Pid} = lists:nth(I, processes(Ctx)),
             exit(Pid, kill),
             _ = probe_until_all_work(Ctx)
         end || I <- lists:seq(1, length(processes(Ctx)))]
    end).

entities_may_be_killed_under_load(Config) ->
    Ctx = warp_test:start(Config),
    under_load(Ctx, fun() ->
        [begin
             _ = warp_test:kill_entity(warp_core:entity(Ctx, load_id(rand:uniform(8)))),
             timer:sleep(5)
         end || _ <- lists:seq(1, 200)]
    end).

all_processes_may_be_killed_at_once(Config) ->
    Ctx = warp_test:start(Config),
    under_load(Ctx, fun() ->
        [begin
             [exit(Pid, kill) || {_, Pid} <- Order],
             _ = probe_until_all_work(Ctx)
         end || Burst <- [1, 2, 3, 4],
                Order <- [case Burst rem 2 of
                              0 -> processes(Ctx);
                              1 -> lists:reverse(processes(Ctx))
                          end]]
    end).

one_process_may_be_killed_again_and_again(Config) ->
    Ctx = warp_test:start(Config),
    under_load(Ctx, fun() ->
        [begin
             [kill_role(Ctx, Role) || _ <- lists:seq(1, 10)],
             _ = probe_until_all_work(Ctx)
         end || Role <- lists:usort([Role || {Role, _} <- processes(Ctx)])]
    end).

%% A supervisor starts again what was killed below it, though it has lost its place itself.
those_above_a_killed_process_may_be_killed_next(Config) ->
    Ctx = warp_test:start(Config),
    [begin
         Processes = processes(Ctx),
         [exit(proplists:get_value(Role, Processes), kill) || Role <- [Below, Above]],
         _ = probe_until_all_work(Ctx)
     end || _ <- lists:seq(1, 10),
            Below <- [shard, entity_sup, saga_keeper, shard_sup],
            Above <- [shard_sup, shards_sup, keeper, context_sup]],
    ok.

a_context_stops_and_starts_after_kills(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, 1} = warp_core:append(Alice, warp_test:incremented()),
    [exit(Pid, kill) || {_, Pid} <- processes(Ctx)],
    Again = warp_core:entity(warp_test:restart(Ctx), <<"alice">>),
    ?assertEqual({error, context_stopped}, warp_core:get(Alice, <<"Counter">>)),
    ?assertEqual({ok, 1}, warp_core:get(Again, <<"Counter">>)),
    ?assertEqual({ok, 2}, warp_core:append(Again, warp_test:incremented())).

kills_in_one_context_do_not_touch_another(Config) ->
    Ctx = warp_test:start(Config),
    Other = warp_core:entity(warp_test:start(Config, #{context => <<"other">>}), <<"alice">>),
    Appends = spawn_monitor(fun() ->
        exit([warp_core:append(Other, warp_test:incremented()) || _ <- lists:seq(1, 1000)])
    end),
    [begin
         [exit(Pid, kill) || {_, Pid} <- processes(Ctx)],
         _ = probe_until_all_work(Ctx)
     end || _ <- [1, 2, 3]],
    {Pid, Ref} = Appends,
    receive
        {'DOWN', Ref, process, Pid, Results} ->
            ?assertEqual([{ok, N} || N <- lists:seq(1, 1000)], Results)
    end.

%% ---------------------------------------------------------------- helpers

processes(Ctx) ->
    warp_test:wait_until(fun() -> catch is_list(warp_test:processes(Ctx)) end, ?HEALS_WITHIN),
    warp_test:processes(Ctx).

kill_role(Ctx, Role) ->
    case lists:keyfind(Role, 1, processes(Ctx)) of
        {Role, Pid} -> exit(Pid, kill);
        false -> ok
    end,
    timer:sleep(10).

kill_for_ever(Kill, Millis) ->
    Kill(),
    timer:sleep(Millis),
    kill_for_ever(Kill, Millis).

stop_killer(Killer) ->
    unlink(Killer),
    exit(Killer, kill).

%% Entities of every shard take appends again, all of them, within seconds.
probe_until_all_work(Ctx) ->
    Entities = [warp_core:entity(Ctx, <<"probe ", N>>) || N <- lists:seq($a, $h)],
    Shards = lists:usort([warp_test:shard_of(Entity) || Entity <- Entities]),
    ?assertMatch([_, _ | _], Shards),
    warp_test:wait_until(fun() ->
        Results = [warp_core:append(E, warp_test:incremented(), #{timeout => 500}) || E <- Entities],
        case [Error || {error, _} = Error <- Results] of
            [] -> true;
            Errors -> Errors
        end
    end, ?HEALS_WITHIN),
    Entities.

%% Runs Fun while callers append to eight entities, then checks each of them.
under_load(Ctx, Fun) ->
    Stop = atomics:new(1, []),
    Self = self(),
    Callers = [spawn_link(fun() ->
                   Entity = warp_core:entity(Ctx, load_id(1 + Caller rem 8)),
                   Self ! {self(), Entity, append_until(Stop, Entity, Caller, 1, [])}
               end) || Caller <- lists:seq(1, 16)],
    Fun(),
    atomics:put(Stop, 1, 1),
    [receive {Caller, Entity, Acked} -> assert_acked(Entity, Acked) end || Caller <- Callers],
    ok.

load_id(N) -> <<"load ", ($0 + N)>>.

append_until(Stop, Entity, Caller, N, Acked) ->
    case atomics:get(Stop, 1) of
        1 ->
            Acked;
        0 ->
            Told = [Caller, N],
            case warp_core:append(Entity, warp_test:noted(Told), #{timeout => 2000}) of
                {ok, Seq} ->
                    append_until(Stop, Entity, Caller, N + 1, [{Seq, Told} | Acked]);
                {error, Why} ->
                    assert_passing(Why),
                    timer:sleep(2),
                    append_until(Stop, Entity, Caller, N + 1, Acked)
            end
    end.

%% What a caller may be told while a process of the context is down.
assert_passing(interrupted) -> ok;
assert_passing(timeout) -> ok;
assert_passing(overloaded) -> ok;
assert_passing({shard_unavailable, Shard}) when is_integer(Shard) -> ok.

assert_acked(Entity, Acked) ->
    ?assertMatch([_ | _], Acked),
    assert_gapless(Entity),
    Stored = maps:from_list([{Seq, Told} || #{seq := Seq, payload := #{<<"text">> := Told}}
                                                <- warp_test:history(Entity)]),
    [?assertEqual({Seq, Told}, {Seq, maps:get(Seq, Stored, lost)}) || {Seq, Told} <- Acked].

assert_gapless(Entity) ->
    Seqs = warp_test:seqs(Entity),
    ?assertEqual(lists:seq(1, length(Seqs)), Seqs).
