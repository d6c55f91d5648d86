%% A VM of its own to break things in: with fault hooks in its NIF, with a library
%% in front of the C library, or as another user. It holds one context.
-module(warp_fault_vm).

%% From the suite
-export([start/0, start/1, run/2, crash/1, stop/1, kill/1, assert_alive/1, path/0, root/0, shim/1]).
%% Inside the VM
-export([open/1, reopen/0, close/0, ctx/0, entity/1, entity_on/1, entity_on/2, fault/1, warnings/0]).
-export([resident_bytes/0, log/2]).

-define(CONTEXT, {?MODULE, context}).
-define(WARNINGS, warp_fault_warnings).

%% -------------------------------------------------------------- From the suite

start() -> start(#{}).

%% nif: fault for the one with hooks, weak for the one with weak hashes. env: variables of its environment.
%% under: a program that runs the VM, with its first arguments.
start(Opts) ->
    Env = case Opts of
              #{nif := Built} -> [{"WARP_NIF", nif(Built)}];
              #{} -> []
          end,
    Erl = filename:join([code:root_dir(), "bin", "erl"]),
    {ok, Vm, _Node} =
        peer:start_link(#{connection => standard_io, wait_boot => 30000,
                          exec => case Opts of
                                      #{under := {Program, Args}} -> {Program, Args ++ [Erl]};
                                      #{} -> Erl
                                  end,
                          args => path() ++ ["-kernel", "logger_level", "notice"],
                          env => Env ++ maps:get(env, Opts, [])}),
    run(Vm, fun collect_warnings/0),
    Vm.

%% Runs the fun in the VM, in a process of its own, for as long as the case may take; an
%% exception there is one here.
run(Vm, Fun) ->
    peer:call(Vm, erlang, apply, [Fun, []], infinity).

%% Runs the fun in a VM with fault hooks, in which it asks for a fault that ends the VM: `crashed' when it
%% did, and `survived' when the fun returned first. Nothing of the VM is left then.
crash(Fun) ->
    Trap = process_flag(trap_exit, true),
    %% No core file.
    Vm = start(#{nif => fault, under => {"/bin/sh", ["-c", "ulimit -c 0; exec \"$@\"", "sh"]}}),
    Ref = monitor(process, Vm),
    Pid = run(Vm, fun os:getpid/0),
    End =
        try
            _ = run(Vm, Fun),
            ok = stop(Vm),
            receive {'DOWN', Ref, process, Vm, _} -> survived end
        catch
            Class:Reason:Stack ->
                receive {'DOWN', Ref, process, Vm, _} -> crashed
                after 30000 -> erlang:raise(Class, Reason, Stack)
                end
        end,
    warp_test:wait_until(fun() -> not filelib:is_dir("/proc/" ++ Pid) end),
    unlink(Vm),
    receive {'EXIT', Vm, _} -> ok after 0 -> ok end,
    process_flag(trap_exit, Trap),
    End.

stop(Vm) ->
    peer:stop(Vm).

%% SIGKILL, and only back when the operating system has cleaned up behind it.
kill(Vm) ->
    unlink(Vm),
    Ref = monitor(process, Vm),
    Pid = run(Vm, fun os:getpid/0),
    "" = os:cmd("kill -9 " ++ Pid),
    receive {'DOWN', Ref, process, Vm, _} -> ok end,
    warp_test:wait_until(fun() -> not filelib:is_dir("/proc/" ++ Pid) end).

assert_alive(Vm) ->
    2 = run(Vm, fun() -> 1 + 1 end),
    ok.

nif(Built) ->
    Nif = filename:join([root(), "_build", atom_to_list(Built), "warp_nif"]),
    Make = "make nif-" ++ atom_to_list(Built),
    filelib:is_regular(Nif ++ ".so") orelse error({missing, Nif ++ ".so", Make}),
    Nif.

%% The arguments of `erl' by which it finds Warp, and all modules of the tests.
path() ->
    lists:append([["-pa", filename:dirname(code:which(Module))] || Module <- [warp_core, warp_server, ?MODULE]]).

%% The folder of the project.
root() ->
    [Root, _] = string:split(code:lib_dir(warp_core), "/_build/"),
    Root.

%% A library for LD_PRELOAD, built into that folder, by which system calls of a VM fail or are slow.
shim(Dir) ->
    Shim = filename:join(Dir, "warp_shim.so"),
    Source = filename:join([root(), "test", "support", "warp_shim.c"]),
    "" = os:cmd(lists:concat(["cc -Wall -Werror -shared -fPIC -O1 -o ", Shim, " ", Source, " -ldl"])),
    Shim.

%% --------------------------------------------------------------- Inside the VM

open(Given) ->
    Opts = maps:merge(#{context => <<"fault">>, shards => 2, snapshot_every => 20,
                        aggregates => warp_test:aggregates()}, Given),
    case warp_core:start(Opts) of
        {ok, Ctx} -> persistent_term:put(?CONTEXT, {Ctx, Opts});
        {error, _} = Error -> Error
    end.

reopen() ->
    {_, Opts} = persistent_term:get(?CONTEXT),
    ok = close(),
    ok = open(Opts).

close() -> warp_core:stop(ctx()).

ctx() ->
    {Ctx, _} = persistent_term:get(?CONTEXT),
    Ctx.

entity(Name) -> warp_core:entity(ctx(), Name).

%% An entity that lives on that shard.
entity_on(Shard) -> entity_on(Shard, 1).

entity_on(Shard, N) ->
    Entity = entity(<<"on-", (integer_to_binary(N))/binary>>),
    case warp_test:shard_of(Entity) of
        Shard -> Entity;
        _ -> entity_on(Shard, N + 1)
    end.

fault(Kind) -> ok = warp_nif:fault(Kind).

resident_bytes() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [KiB]} = re:run(Status, "VmRSS:\\s+(\\d+) kB", [{capture, [1], binary}]),
    binary_to_integer(KiB) * 1024.

%% ------------------------------------------------------ What an operator is told

%% The texts of all warnings and worse so far, oldest first.
warnings() ->
    [Text || {_, Text} <- lists:sort(ets:tab2list(?WARNINGS))].

collect_warnings() ->
    Self = self(),
    Holder = spawn(fun() ->
        ?WARNINGS = ets:new(?WARNINGS, [named_table, public]),
        Self ! {self(), ready},
        receive after infinity -> ok end
    end),
    receive {Holder, ready} -> ok end,
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => warning}).

log(Event, _Config) ->
    Text = unicode:characters_to_binary(logger_formatter:format(Event, #{single_line => true})),
    ets:insert(?WARNINGS, {erlang:unique_integer([monotonic]), Text}).
