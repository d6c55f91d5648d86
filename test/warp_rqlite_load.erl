%% A load of appends in a VM that is killed at any moment, with its read model in an rqlite.
-module(warp_rqlite_load).

-export([main/0, start_vm/1, kill_vm/1]).

%% Opts: those of warp_core:start, and `from', the number of the first event.
start_vm(Opts) ->
    Text = base64:encode_to_string(term_to_binary(Opts)),
    Path = lists:append([["-pa", filename:dirname(code:which(Module))] || Module <- [warp_core, ?MODULE]]),
    Port = open_port({spawn_executable, filename:join([code:root_dir(), "bin", "erl"])},
                     [{args, ["-noshell", "-noinput", "-boot", "start_clean" | Path]
                             ++ ["-s", ?MODULE_STRING, "main", "-extra", Text]},
                      binary, exit_status, stderr_to_stdout]),
    receive {Port, {data, <<"ready\n", _/binary>>}} -> Port
    after 60000 -> error({not_ready, receive {Port, Message} -> Message after 0 -> nothing end})
    end.

kill_vm(Port) ->
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    "" = os:cmd("kill -9 " ++ integer_to_list(Pid)),
    ended(Port).

ended(Port) ->
    receive
        {Port, {exit_status, 137}} -> ok;
        {Port, {exit_status, Status}} -> error({ended, Status});
        {Port, {data, _}} -> ended(Port)
    after 30000 -> error(still_alive)
    end.

main() ->
    [Text] = init:get_plain_arguments(),
    #{from := From} = Opts = binary_to_term(base64:decode(Text)),
    {ok, Ctx} = warp_core:start((maps:remove(from, Opts))#{aggregates => [warp_read_model:aggregate()]}),
    io:format("ready~n"),
    [spawn_link(fun() -> loop(Ctx, From + Lane, 4) end) || Lane <- [0, 1, 2, 3]].

loop(Ctx, N, Step) ->
    warp_read_model:append(Ctx, warp_read_model:entity(1 + rand:uniform(20) - 1), N),
    timer:sleep(rand:uniform(3) - 1),
    loop(Ctx, N + Step, Step).
