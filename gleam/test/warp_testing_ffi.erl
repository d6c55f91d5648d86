%% Functions for the tests of this package that cannot be written in Gleam.
-module(warp_testing_ffi).

-export([passivate/1, write_file/2, read_file/1, rename/2, remove/1, overwrite/3, with_small_disk/1]).
-export([with_rqlite/1, shutdown/1, children/1, fill/1, is_waiting/1, messages/0, term/1, shard_owners/1]).
-export([write_private_file/2, set_variable/2]).
-export([panic_of/1, failures/1, set_failures/2, fails/1, with_server/2]).

%% The message with which a function panics.
panic_of(Run) ->
    try Run() of
        _ -> <<"it did not panic">>
    catch
        error:#{gleam_error := panic, message := Message} -> Message
    end.

passivate(Entity) ->
    {ok, Pid} = warp_core:pid(Entity),
    testkit_ffi:wait_until(fun() -> Pid ! passivate, not is_process_alive(Pid) end).

write_file(Path, Bytes) -> ok = file:write_file(Path, Bytes), nil.
write_private_file(Path, Bytes) ->
    nil = write_file(Path, Bytes),
    ok = file:change_mode(Path, 8#600),
    nil.

set_variable(Name, Value) ->
    true = os:putenv(unicode:characters_to_list(Name), unicode:characters_to_list(Value)),
    nil.

read_file(Path) -> {ok, Bytes} = file:read_file(Path), Bytes.
rename(Path, To) -> ok = file:rename(Path, To), nil.
remove(Path) -> _ = file:del_dir_r(Path), nil.

overwrite(Path, From, To) when byte_size(From) =:= byte_size(To) ->
    {ok, Bytes} = file:read_file(Path),
    ok = file:write_file(Path, binary:replace(Bytes, From, To, [global])),
    length(binary:matches(Bytes, From)).

%% Runs a function with a small tmpfs. Where none can be mounted, it prints why and runs nothing.
with_small_disk(Run) ->
    testkit_ffi:with_dir(fun(Dir) ->
        Disk = <<Dir/binary, "/disk">>,
        ok = filelib:ensure_path(Disk),
        case sh(["mount -t tmpfs -o size=4m tmpfs ", Disk, " 2>&1"]) of
            "" ->
                try Run(Disk) after sh(["umount ", Disk, " || umount -l ", Disk]) end;
            Why ->
                io:format("no small file system can be mounted here: ~ts", [Why])
        end,
        nil
    end).

%% Runs a function with the URL of an rqlited of its own. Where there is no rqlited, it prints that and runs
%% nothing.
with_rqlite(Run) ->
    Script = filename:absname("../scripts/rqlited"),
    case string:trim(os:cmd(Script ++ " 2>/dev/null")) of
        "" ->
            io:format("no rqlited here, see scripts/rqlited~n"),
            nil;
        Binary ->
            testkit_ffi:with_dir(fun(Dir) -> with_rqlite(Binary, binary_to_list(Dir), Run) end)
    end.

with_rqlite(Binary, Dir, Run) ->
    [Http, Raft] = ["127.0.0.1:" ++ integer_to_list(free_port()) || _ <- [http, raft]],
    %% The shell's input ends with the port, and so with the VM.
    Script = "\"$@\" >/dev/null 2>&1 </dev/null & read -r gone; kill -9 $!",
    Arguments = ["-c", Script, "sh", Binary, "-http-addr", Http, "-raft-addr", Raft, Dir ++ "/data"],
    Port = open_port({spawn_executable, "/bin/sh"}, [{args, Arguments}, exit_status]),
    try
        {ok, _} = application:ensure_all_started(inets),
        _ = testkit_ffi:wait_until(fun() ->
            case httpc:request("http://" ++ Http ++ "/readyz") of
                {ok, {{_, 200, _}, _, _}} -> true;
                _ -> false
            end
        end),
        Run(list_to_binary("http://" ++ Http))
    after
        true = port_command(Port, "gone\n"),
        receive {Port, {exit_status, _}} -> ok end
    end.

%% A port below those that systems give to connections.
free_port() ->
    Port = 20000 + rand:uniform(12000),
    case gen_tcp:listen(Port, [{ip, {127, 0, 0, 1}}]) of
        {ok, Socket} -> ok = gen_tcp:close(Socket), Port;
        {error, _} -> free_port()
    end.

sh(Command) ->
    os:cmd(binary_to_list(iolist_to_binary(Command))).

fill(Path) ->
    {ok, File} = file:open(Path, [raw, write, append]),
    ok = fill(File, 65536),
    ok = file:close(File),
    nil.

fill(File, Size) ->
    case file:write(File, binary:copy(<<1>>, Size)) of
        ok -> fill(File, Size);
        {error, enospc} when Size > 1 -> fill(File, Size div 16);
        {error, enospc} -> ok
    end.

shutdown(Pid) ->
    exit(Pid, shutdown),
    nil.

children(Supervisor) ->
    [Pid || {_, Pid, _, _} <- supervisor:which_children(Supervisor), is_pid(Pid)].

is_waiting(Pid) ->
    process_info(Pid, status) =:= {status, waiting}.

messages() ->
    {message_queue_len, Count} = process_info(self(), message_queue_len),
    Count.

%% An Erlang term from its text.
term(Text) ->
    {ok, Tokens, _} = erl_scan:string(binary_to_list(Text) ++ "."),
    {ok, Term} = erl_parse:parse_term(Tokens),
    Term.

%% The processes that own the shards.
shard_owners(Ctx) ->
    [Pid || {shard, Pid} <- warp_contexts:processes(Ctx)].

%% How often something fails still.
failures(Times) ->
    Failures = atomics:new(1, []),
    set_failures(Failures, Times),
    Failures.

set_failures(Failures, Times) -> ok = atomics:put(Failures, 1, Times), nil.

fails(Failures) -> atomics:sub_get(Failures, 1, 1) >= 0.

%% The server is what the project's build has made.
with_server(Module, Run) ->
    testkit_ffi:with_dir(fun(Dir) ->
        true = code:add_pathz(filename:absname("../_build/default/lib/warp_server/ebin")),
        {ok, _} = application:ensure_all_started(inets),
        Token = warp_server:new_token(),
        {ok, Server} = warp_server:start_link(
            #{contexts => [#{name => <<"bank">>, data_dir => Dir, module => binary_to_existing_atom(Module)}],
              listeners => [#{port => 0}],
              tokens => [#{id => <<"test">>, scopes => [#{}],
                           sha256 => string:lowercase(binary:encode_hex(crypto:hash(sha256, Token)))}]}),
        try
            [{Address, Port}] = warp_server:addresses(Server),
            Base = io_lib:format("http://~ts:~b/v1/contexts/bank/entities/", [Address, Port]),
            Run(fun(Method, Path, Body) -> ask(Method, lists:flatten([Base, binary_to_list(Path)]), Token, Body) end)
        after
            warp_server:stop(Server)
        end
    end).

ask(Method, Url, Token, Body) ->
    Headers = [{"authorization", "Bearer " ++ binary_to_list(Token)}],
    {ok, {{_, Status, _}, _, Answer}} = case Method of
        <<"GET">> -> httpc:request(get, {Url, Headers}, [], [{body_format, binary}]);
        <<"POST">> -> httpc:request(post, {Url, Headers, "application/json", Body}, [], [{body_format, binary}])
    end,
    {Status, Answer}.
