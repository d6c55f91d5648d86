%% Nodes of a cluster for suites: VMs of their own, with names, which hold one context each.
%%
%% The VM of the suite is no node: it controls each VM over its standard input and output.
-module(warp_cluster_vm).

%% From the suite
-export([init_case/2, end_case/1, vms/1, dir/1, settled/1]).
-export([start/2, start/3, start/4, release/1, bind/1, stop/1, kill/1, freeze/1, thaw/1, run/2, node_of/1, dir_of/1]).
-export([open/3, open_all/2, close/1]).
%% Inside a VM
-export([open_here/1, close_here/0, ctx/0, entity/1, options/2]).

-record(vm, {pid :: pid(), node :: node(), os :: string(), dir :: string()}).

-define(CONTEXT, {?MODULE, context}).
-define(COOKIE, "warp_cluster_test").

%% For init_per_testcase: VMs with these names, in a folder of the case.
init_case(Names, Config) ->
    Dir = warp_test:new_dir(),
    [{vms, [start(Name, Dir) || Name <- Names]}, {dir, Dir} | Config].

%% For end_per_testcase.
end_case(Config) ->
    _ = [catch kill(Vm) || Vm <- vms(Config)],
    warp_test:remove_dir(dir(Config)).

vms(Config) -> proplists:get_value(vms, Config).

dir(Config) -> proplists:get_value(dir, Config).

%% Until all shards are where they should be.
settled(Vm) ->
    case run(Vm, fun() -> warp_cluster:migrate(ctx(), #{timeout => 60000}) end) of
        ok -> ok;
        Error -> error({Error, run(Vm, fun() -> {warp_cluster:progress(ctx()), warp_cluster:status(ctx())} end)})
    end.

%% A VM whose context lives in a folder of its own below Dir.
start(Name, Dir) -> start(Name, Dir, []).

start(Name, Dir, Args) ->
    start(Name, Dir, Args, #{}).

%% Options are those of `peer', such as another host, or a program that runs `erl'.
start(Name, Dir, Args, Options) ->
    %% Names differ between suites that run side by side.
    Full = atom_to_list(Name) ++ "_" ++ os:getpid() ++ "_" ++ integer_to_list(erlang:phash2(Dir)),
    Distribution = ["-setcookie", ?COOKIE, "-kernel", "logger_level", "notice",
                    "-kernel", "prevent_overlapping_partitions", "false"],
    Usual = #{name => list_to_atom(Full), host => "127.0.0.1", longnames => true, connection => standard_io,
              wait_boot => 30000, args => warp_fault_vm:path() ++ Distribution ++ Args},
    {ok, Pid, Node} = peer:start_link(maps:merge(Usual, Options)),
    Own = filename:join(Dir, atom_to_list(Name)),
    ok = filelib:ensure_dir(filename:join(Own, "x")),
    #vm{pid = Pid, node = Node, os = peer:call(Pid, os, getpid, []), dir = Own}.

%% The VM goes on when the process that has started it ends.
release(#vm{pid = Pid}) ->
    true = unlink(Pid),
    ok.

%% The VM ends with the process that calls this.
bind(#vm{pid = Pid}) ->
    true = link(Pid),
    ok.

%% The VM ends as it does by init:stop/0, after its context was stopped.
stop(#vm{pid = Pid} = Vm) ->
    ok = close(Vm),
    peer:stop(Pid).

%% SIGKILL, and only back when the operating system has cleaned up behind it.
kill(#vm{pid = Pid, os = Os}) ->
    unlink(Pid),
    Ref = monitor(process, Pid),
    "" = os:cmd("kill -9 " ++ Os),
    receive {'DOWN', Ref, process, Pid, _} -> ok end,
    warp_test:wait_until(fun() -> not filelib:is_dir("/proc/" ++ Os) end).

%% SIGSTOP and SIGCONT.
freeze(#vm{os = Os}) -> "" = os:cmd("kill -STOP " ++ Os), ok.
thaw(#vm{os = Os}) -> "" = os:cmd("kill -CONT " ++ Os), ok.

%% Runs the fun in the VM, for as long as the case may take; an exception there is one here.
run(#vm{pid = Pid}, Fun) ->
    peer:call(Pid, erlang, apply, [Fun, []], infinity).

node_of(#vm{node = Node}) -> Node.

dir_of(#vm{dir = Dir}) -> Dir.

%% Starts the context in a VM; the seeds are these VMs.
open(#vm{dir = Dir} = Vm, Seeds, Opts) ->
    Nodes = [Node || #vm{node = Node} <- Seeds],
    run(Vm, fun() -> ?MODULE:open_here(options(Dir, Opts#{cluster => {clustered, #{seed_nodes => Nodes}}})) end).

%% Starts the context in all of them, one after the other; the first one creates the cluster.
open_all([First | _] = Vms, Opts) ->
    lists:foreach(fun(Vm) -> ok = open(Vm, [First], Opts) end, Vms).

close(Vm) ->
    run(Vm, fun ?MODULE:close_here/0).

%% ------------------------------------------------------------------ Inside a VM

options(Dir, Opts) ->
    maps:merge(#{context => <<"bank">>, data_dir => Dir, shards => 8, aggregates => warp_test:aggregates()}, Opts).

open_here(Options) ->
    case warp_core:start(Options) of
        {ok, Ctx} -> persistent_term:put(?CONTEXT, Ctx);
        {error, _} = Error -> Error
    end.

close_here() ->
    case persistent_term:get(?CONTEXT, none) of
        none -> ok;
        Ctx ->
            true = persistent_term:erase(?CONTEXT),
            warp_core:stop(Ctx)
    end.

ctx() -> persistent_term:get(?CONTEXT).

entity(Id) -> warp_core:entity(ctx(), Id).
