%% What the suites of the program `warp' share: running it, as its users do, and contexts for it in VMs of their own.
-module(warp_cli_test).

-export([run/1, run/2, sh/2, json/2, program/0, is_there/1]).
-export([bank/2, bank/3, close/1]).
%% Inside the VM
-export([open/1, stuck/1, project/3]).

-include_lib("stdlib/include/assert.hrl").

%% The status of the program, and what it wrote to the standard output and the standard error.
run(Args) ->
    run(Args, #{}).

%% `cd': the folder that it runs in. `stdin': what it is given as input. `under': what stands before the program.
run(Args, Options) ->
    Quoted = lists:join($\s, [quoted(Arg) || Arg <- [program() | Args]]),
    sh([maps:get(under, Options, ""), $\s, Quoted], Options).

quoted(Arg) ->
    Text = unicode:characters_to_list(Arg),
    ["'", string:replace(Text, "'", "'\\''", all), "'"].

program() ->
    filename:join(warp_fault_vm:root(), "bin/warp").

%% A line of a shell, to which the program is known as `warp'.
sh(Line, Options) ->
    Scratch = warp_test:new_dir(),
    Script = filename:join(Scratch, "script"),
    ok = file:write_file(Script, unicode:characters_to_binary([Line, $\n])),
    ok = file:write_file(filename:join(Scratch, "in"), maps:get(stdin, Options, "")),
    Lib = filename:dirname(code:lib_dir(warp_core)),
    Path = filename:dirname(program()) ++ ":" ++ os:getenv("PATH"),
    Port = open_port({spawn_executable, "/bin/sh"},
                     [{args, ["-c", "exec sh \"$0/script\" <\"$0/in\" >\"$0/out\" 2>\"$0/err\"", Scratch]},
                      {cd, maps:get(cd, Options, "/")}, exit_status,
                      {env, [{"WARP_LIB", Lib}, {"PATH", Path}, {"WARP_DIR", false} | maps:get(env, Options, [])]}]),
    Status = receive {Port, {exit_status, Is}} -> Is end,
    [{ok, Out}, {ok, Err}] = [file:read_file(filename:join(Scratch, Name)) || Name <- ["out", "err"]],
    warp_test:remove_dir(Scratch),
    ?assertEqual({none, Err}, {is_erlang(Err), Err}),
    {Status, Out, Err}.

%% No term of Erlang reaches a user.
is_erlang(Text) ->
    case re:run(Text, "A bug of this|\\{badmatch|\\{error,|<<\"|#Ref<|init terminating|Crash dump|CRASH REPORT") of
        nomatch -> none;
        {match, _} -> found
    end.

%% The status, and what the program prints with --json: its lines.
json(Args, Options) ->
    {Status, Out, _} = run(Args ++ ["--json"], Options),
    Lines = binary:split(Out, <<"\n">>, [global, trim]),
    {Status, [begin {ok, #{<<"v">> := Value}} = warp_json:decode(<<"{\"v\":", Line/binary, "}">>), Value end
              || Line <- Lines]}.

%% Whether there is anything of that name, a socket too.
is_there(Path) ->
    element(1, file:read_link_info(Path)) =:= ok.

%% ------------------------------------------------------------------ Contexts

%% A VM with the context `bank' in a folder, which it has just begun or goes on with.
bank(DataDir, Options) ->
    bank(DataDir, Options, #{}).

bank(DataDir, Options, Vm) ->
    Started = warp_fault_vm:start(Vm),
    ok = warp_fault_vm:run(Started, fun() -> ?MODULE:open(Options#{data_dir => DataDir}) end),
    Started.

%% The context is stopped, and the VM ends.
close(Vm) ->
    ok = warp_fault_vm:run(Vm, fun warp_fault_vm:close/0),
    warp_fault_vm:stop(Vm).

open(Options) ->
    Account = (warp_test:account())#{project => fun ?MODULE:project/3},
    warp_fault_vm:open(maps:merge(#{context => <<"bank">>, shards => 3, aggregates => [Account, warp_test:log()]},
                                  Options)).

project(Id, Balance, _Event) ->
    [warp_projection:upsert(balances, Id, #{amount => Balance})].

%% A saga that is stuck: what it gave to bob cannot be taken back, since he has less by now.
stuck(Id) ->
    Ctx = warp_fault_vm:ctx(),
    Saga0 = warp_saga:step(warp_saga:new(Id), warp_saga_test:step(<<"bob">>, warp_saga_test:action(<<"Credited">>, 1),
                                                                 warp_saga_test:action(<<"Debited">>, 1000000))),
    Saga = warp_saga:step(Saga0, warp_saga_test:step(<<"carol">>, <<"Debited">>, 1000000)),
    {ok, {stuck, _}} = warp_saga:commit(Saga, Ctx),
    ok.
