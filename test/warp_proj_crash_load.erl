%% Appends, deletions and rebuilds in a VM that is killed at any moment.
-module(warp_proj_crash_load).

-export([main/0, start_vm/1]).

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

main() ->
    [Text] = init:get_plain_arguments(),
    #{from := From} = Opts = binary_to_term(base64:decode(Text)),
    {ok, Ctx} = warp_core:start((maps:remove(from, Opts))#{aggregates => [warp_read_model:aggregate()]}),
    io:format("ready~n"),
    _ = [spawn_link(fun() -> append_on(Ctx, From + Lane) end) || Lane <- lists:seq(0, 7)],
    spawn_link(fun() -> delete_on(Ctx) end),
    spawn_link(fun() -> rebuild_on(Ctx) end).

append_on(Ctx, N) ->
    warp_read_model:append(Ctx, warp_read_model:entity(rand:uniform(20)), N),
    append_on(Ctx, N + 8).

delete_on(Ctx) ->
    timer:sleep(rand:uniform(40)),
    ok = warp_core:delete(warp_core:entity(Ctx, warp_read_model:entity(rand:uniform(20)))),
    delete_on(Ctx).

rebuild_on(Ctx) ->
    timer:sleep(rand:uniform(300)),
    ok = warp_projection:rebuild(Ctx),
    _ = warp_projection:await_rebuild(Ctx, infinity),
    rebuild_on(Ctx).
