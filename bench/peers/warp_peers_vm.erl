%% A VM of its own for what runs inside one, so that each starts with nothing.
-module(warp_peers_vm).

-export([open/1, close/1, call/4, memory/1, loaded/1]).

-type vm() :: #{peer := pid(), pid := string(), note := file:filename()}.
-export_type([vm/0]).

-spec open(warp_peer:env()) -> vm().
open(#{dir := Dir}) ->
    Paths = [filename:absname(filename:dirname(code:which(Module))) || Module <- [warp_core, ?MODULE]],
    {ok, Peer, _} = peer:start(#{connection => standard_io, args => ["+Bd", "-pa" | Paths]}),
    Pid = peer:call(Peer, os, getpid, []),
    %% Says that something is running below the folder; see bench/peers/run.
    Note = filename:join([Dir, "running", Pid]),
    ok = file:write_file(Note, ""),
    #{peer => Peer, pid => Pid, note => Note}.

-spec close(vm()) -> ok.
close(#{peer := Peer, note := Note}) ->
    ok = peer:stop(Peer),
    ok = file:delete(Note).

-spec call(vm(), module(), atom(), [term()]) -> term().
call(#{peer := Peer}, Module, Function, Args) ->
    peer:call(Peer, Module, Function, Args, infinity).

-spec memory(vm()) -> number() | blank.
memory(#{pid := Pid}) ->
    warp_peers_os:memory(Pid).

%% Called in such a VM: loads an application's modules, which a release has loaded from the start.
-spec loaded(atom()) -> ok.
loaded(Application) ->
    {ok, Modules} = application:get_key(Application, modules),
    code:ensure_modules_loaded(Modules).
