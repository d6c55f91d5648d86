%% A VM all of whose dirty I/O threads are taken by other parts of the application: slow opens of
%% files. Warp does not wait for them.
-module(warp_occupied_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_group/2, end_per_group/2,
         init_per_testcase/2, end_per_testcase/2]).
-export([appends_reads_and_deletions_are_answered/1,
         shards_are_opened_again_after_kills/1,
         contexts_start_and_stop/1]).

-import(warp_fault_vm, [run/2, open/1, entity_on/1, ctx/0]).
-import(warp_test, [incremented/0, incremented/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> warp_test:both_modes().

groups() ->
    warp_test:both_modes(
      [appends_reads_and_deletions_are_answered,
       shards_are_opened_again_after_kills,
       contexts_start_and_stop]).

init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_Mode, _Config) -> ok.

init_per_testcase(_Case, Config) ->
    [{vm, warp_fault_vm:start()} | warp_test:init_case(Config)].

end_per_testcase(_Case, Config) ->
    catch warp_fault_vm:stop(?config(vm, Config)),
    warp_test:end_case(Config).

appends_reads_and_deletions_are_answered(Config) ->
    occupied(Config, fun(Entities) ->
        [begin
             ?assertEqual({ok, 2}, warp_core:append(E, incremented(2))),
             ?assertEqual({ok, 3}, warp_core:get(E, <<"Counter">>)),
             %% Cold: everything is read from the file.
             ok = warp_test:passivate(E),
             ?assertEqual({ok, 3}, warp_core:get(E, <<"Counter">>)),
             ?assertEqual({ok, 1}, warp_core:state_at(E, <<"Counter">>, {seq, 1})),
             ?assertMatch({ok, [#{seq := 2}, #{seq := 1}]},
                          warp_core:history(E, #{direction => backward})),
             ?assertMatch({ok, [_, _]}, warp_core:export(E)),
             %% A refused append with an id is looked up.
             Id = (incremented())#{id => <<"once">>},
             ?assertEqual({ok, 3}, warp_core:append(E, Id)),
             ?assertEqual({ok, 3}, warp_core:append(E, Id, #{expected => 0})),
             ?assertEqual(ok, warp_core:delete(E)),
             ?assertEqual({ok, 0}, warp_core:get(E, <<"Counter">>))
         end || E <- Entities],
        %% As often as the shards' owners look after their writers, and more.
        [begin
             [{ok, _} = warp_core:append(E, incremented(), #{timeout => 2000}) || E <- Entities],
             timer:sleep(100)
         end || _ <- lists:seq(1, 25)]
    end).

shards_are_opened_again_after_kills(Config) ->
    occupied(Config, fun(Entities) ->
        [begin
             [exit(Pid, kill) || {Role, Pid} <- warp_test:processes(ctx()), Role =:= Killed],
             [warp_test:wait_until(fun() ->
                  is_ok(warp_core:append(E, incremented(), #{timeout => 1000}))
              end) || E <- Entities]
         end || Killed <- [shard, shard_sup, entity_sup, keeper, shards_sup],
                _ <- lists:seq(1, 20)]
    end).

is_ok({ok, _}) -> true;
is_ok({error, Why}) -> Why.

contexts_start_and_stop(Config) ->
    Opts = warp_test:opts(Config),
    occupied(Config, fun(_Entities) ->
        Again = Opts#{context => <<"another">>, shards => 4, projections => embedded,
                      aggregates => warp_test:aggregates()},
        [begin
             {ok, Ctx} = warp_core:start(Again),
             ?assertEqual({ok, N}, warp_core:append(warp_core:entity(Ctx, <<"e">>), incremented())),
             ?assertMatch(#{appends := 1}, warp_core:stats(Ctx)),
             ok = warp_core:stop(Ctx)
         end || N <- lists:seq(1, 10)]
    end).

%% Two entities, one on each shard; Fun runs while no dirty I/O thread is free.
occupied(Config, Fun) ->
    Opts = warp_test:opts(Config),
    Fifo = filename:join(?config(dir, Config), "fifo"),
    "" = os:cmd("mkfifo '" ++ Fifo ++ "'"),
    run(?config(vm, Config), fun() ->
        ok = open(Opts),
        Entities = [entity_on(0), entity_on(1)],
        [{ok, 1} = warp_core:append(E, incremented()) || E <- Entities],
        %% From here on no code can be loaded.
        Loaded = [Module || App <- [kernel, stdlib, warp_core],
                            {ok, Modules} <- [application:get_key(App, modules)], Module <- Modules],
        _ = code:ensure_modules_loaded([warp_test, ?MODULE | Loaded]),
        Threads = erlang:system_info(dirty_io_schedulers),
        Held = [spawn(fun() -> file:open(Fifo, [read, raw]) end) || _ <- lists:seq(1, Threads)],
        timer:sleep(200),
        %% It is true: another file cannot be opened.
        Another = spawn_monitor(fun() -> file:read_file_info("/") end),
        receive {'DOWN', _, process, _, _} -> error(a_thread_is_free) after 300 -> ok end,
        Fun(Entities),
        %% Let them all go, for the VM to stop.
        {_, Monitor} = Another,
        Writer = open_port({spawn, "sh -c 'exec sleep 60 <> \"" ++ Fifo ++ "\"'"}, []),
        receive {'DOWN', Monitor, process, _, _} -> ok after 10000 -> error(still_held) end,
        [exit(Pid, kill) || Pid <- Held],
        port_close(Writer),
        ok = warp_fault_vm:close()
    end).
