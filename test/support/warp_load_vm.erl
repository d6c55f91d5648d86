%% A VM in which a load runs on a context with a read model, to be killed at any moment.
-module(warp_load_vm).

-export([start/2, kill/1]).
%% Inside the VM
-export([open/0]).

%% Runs Load:main() in a VM of its own, until it is killed. Opts: those of warp_core:start, and
%% `from', the number of the first event.
start(Load, Opts) ->
    Text = base64:encode_to_string(term_to_binary(Opts)),
    Port = open_port({spawn_executable, filename:join([code:root_dir(), "bin", "erl"])},
                     [{args, ["-noshell", "-noinput", "-boot", "start_clean" | warp_fault_vm:path()]
                             ++ ["-s", atom_to_list(Load), "main", "-extra", Text]},
                      binary, exit_status, stderr_to_stdout]),
    receive {Port, {data, <<"ready\n", _/binary>>}} -> Port
    after 60000 -> error({not_ready, receive {Port, Message} -> Message after 0 -> nothing end})
    end.

kill(Port) ->
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

%% The context, and the number of the first event.
open() ->
    [Text] = init:get_plain_arguments(),
    #{from := From} = Opts = binary_to_term(base64:decode(Text)),
    {ok, Ctx} = warp_core:start((maps:remove(from, Opts))#{aggregates => [warp_read_model:aggregate()]}),
    io:format("ready~n"),
    {Ctx, From}.
