%% A context as a child of somebody's supervisor.
-module(warp_context_child_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-behaviour(supervisor).

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([it_runs_under_a_supervisor/1, a_killed_child_comes_back/1, a_context_that_goes_takes_its_child/1,
         a_killed_guard_leaves_nothing_running/1, a_supervisor_that_is_killed_stops_it/1, what_cannot_start/1,
         it_is_stopped_with_whoever_started_it/1, elixir_supervises_it/1, what_it_does_not_know/1]).
-export([init/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [it_runs_under_a_supervisor,
     a_killed_child_comes_back,
     a_context_that_goes_takes_its_child,
     a_killed_guard_leaves_nothing_running,
     a_supervisor_that_is_killed_stops_it,
     what_cannot_start,
     it_is_stopped_with_whoever_started_it,
     elixir_supervises_it,
     what_it_does_not_know].

init_per_testcase(_Case, Config) ->
    _ = process_flag(trap_exit, true),
    warp_test:init_case(Config).

end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

%% The supervisor of the cases.
init(Children) -> {ok, {#{intensity => 10, period => 1}, Children}}.

supervised(Config) ->
    {ok, Supervisor} = supervisor:start_link(?MODULE, [warp_core:child_spec(opts(Config))]),
    Supervisor.

opts(Config) ->
    #{context => <<"child">>, data_dir => ?config(dir, Config), shards => 2, aggregates => warp_test:aggregates()}.

append(Seq) ->
    {ok, Ctx} = warp_core:context(<<"child">>),
    ?assertEqual({ok, Seq}, warp_core:append(warp_core:entity(Ctx, <<"alice">>), warp_test:incremented())),
    Ctx.

child(Supervisor) ->
    [{{warp_core, <<"child">>}, Pid, worker, [warp_core]}] = supervisor:which_children(Supervisor),
    Pid.

%% Another start gets the lock: nothing of the context is left.
is_free(Config) ->
    case warp_core:start(opts(Config)) of
        {ok, Ctx} -> warp_core:stop(Ctx) =:= ok;
        {error, {data_dir_in_use, _}} -> false
    end.

it_runs_under_a_supervisor(Config) ->
    Supervisor = supervised(Config),
    Ctx = append(1),
    ?assertEqual({error, context_stopped}, warp_core:context(<<"another">>)),
    true = exit(Supervisor, shutdown),
    receive {'EXIT', Supervisor, shutdown} -> ok end,
    %% A supervisor waits until it is stopped.
    ?assertEqual({error, context_stopped}, warp_core:context(<<"child">>)),
    ?assertEqual({error, context_stopped}, warp_core:stats(Ctx)),
    ?assert(is_free(Config)).

a_killed_child_comes_back(Config) ->
    Supervisor = supervised(Config),
    _ = append(1),
    Killed = child(Supervisor),
    true = exit(Killed, kill),
    warp_test:wait_until(fun() -> is_pid(catch child(Supervisor)) andalso child(Supervisor) =/= Killed end),
    _ = append(2),
    true = unlink(Supervisor),
    ok = gen_server:stop(Supervisor).

a_context_that_goes_takes_its_child(Config) ->
    Supervisor = supervised(Config),
    Ctx = append(1),
    Before = child(Supervisor),
    ok = warp_core:stop(Ctx),
    warp_test:wait_until(fun() -> is_pid(catch child(Supervisor)) andalso child(Supervisor) =/= Before end),
    Again = append(2),
    ?assertNotEqual(Ctx, Again),
    ok = gen_server:stop(Supervisor).

a_killed_guard_leaves_nothing_running(Config) ->
    Supervisor = supervised(Config),
    _ = append(1),
    Before = child(Supervisor),
    {monitors, [{process, Guard}]} = process_info(Before, monitors),
    true = exit(Guard, kill),
    warp_test:wait_until(fun() -> is_pid(catch child(Supervisor)) andalso child(Supervisor) =/= Before end),
    _ = append(2),
    ok = gen_server:stop(Supervisor),
    ?assert(is_free(Config)).

a_supervisor_that_is_killed_stops_it(Config) ->
    Supervisor = supervised(Config),
    _ = append(1),
    true = exit(Supervisor, kill),
    receive {'EXIT', Supervisor, killed} -> ok end,
    warp_test:wait_until(fun() -> is_free(Config) end).

what_cannot_start(Config) ->
    Opts = opts(Config),
    ?assertEqual({error, {missing_option, aggregates}}, warp_core:start_link(maps:remove(aggregates, Opts))),
    ?assertMatch({error, {bad_option, options, not_a_map}}, warp_core:start_link(no_options)),
    {ok, Ctx} = warp_core:start(Opts),
    ?assertMatch({error, {data_dir_in_use, _}}, warp_core:start_link(Opts)),
    ?assertEqual({error, context_stopped}, warp_core:context(<<"child">>)),
    ok = warp_core:stop(Ctx),
    ?assertMatch({error, {shutdown, {failed_to_start_child, {warp_core, undefined}, {missing_option, context}}}},
                 supervisor:start_link(?MODULE, [warp_core:child_spec(#{})])).

it_is_stopped_with_whoever_started_it(Config) ->
    Self = self(),
    Opts = opts(Config),
    Starter = spawn(fun() ->
        {ok, Pid, Ctx} = warp_core:start_link(Opts),
        {ok, Ctx} = warp_core:context(<<"child">>),
        Self ! {started, Pid},
        receive stop -> ok end
    end),
    receive {started, Pid} -> ?assert(is_process_alive(Pid)) end,
    true = exit(Starter, kill),
    warp_test:wait_until(fun() -> is_free(Config) end).

%% As an Elixir application has it in its list of children.
elixir_supervises_it(Config) ->
    case os:find_executable("elixir") of
        false ->
            {skip, "there is no elixir"};
        Elixir ->
            Script = "options = %{context: \"child\", data_dir: hd(System.argv()),\n"
                     "  aggregates: [%{name: \"Log\", initial_state: nil}]}\n"
                     "{:ok, _} = Supervisor.start_link([{:warp_core, options}], strategy: :one_for_one)\n"
                     "{:ok, ctx} = :warp_core.context(\"child\")\n"
                     "event = %{type: \"Noted\", payload: %{}}\n"
                     "{:ok, 1} = :warp_core.append(:warp_core.entity(ctx, \"alice\"), event)\n"
                     "IO.write(\"appended\")\n",
            Arguments = ["-pa", filename:dirname(code:which(warp_core)), "-e", Script, "--", ?config(dir, Config)],
            Port = open_port({spawn_executable, Elixir}, [{args, Arguments}, binary, exit_status, stderr_to_stdout]),
            ?assertEqual({0, <<"appended">>}, output(Port, <<>>))
    end.

output(Port, Output) ->
    receive
        {Port, {data, More}} -> output(Port, <<Output/binary, More/binary>>);
        {Port, {exit_status, Status}} -> {Status, Output}
    end.

what_it_does_not_know(Config) ->
    {ok, Pid, _Ctx} = warp_core:start_link(opts(Config)),
    ?assertEqual({error, {unknown_request, hello}}, gen_server:call(Pid, hello)),
    ok = gen_server:cast(Pid, hello),
    Pid ! hello,
    _ = append(1),
    ok = gen_server:stop(Pid),
    receive {'EXIT', Pid, normal} -> ok end,
    ?assert(is_free(Config)).
