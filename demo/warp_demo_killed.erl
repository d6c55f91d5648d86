%% The first load: in a VM of its own, which kills itself with SIGKILL in the middle of it.
-module(warp_demo_killed).

-export([run/1, main/0]).

-define(ACKNOWLEDGED, "acknowledged").

%% Answers how many events had been acknowledged when the VM was about to die, in how many
%% seconds, and when it was dead, in microseconds.
-spec run(warp_demo_job:job()) ->
          #{acknowledged := non_neg_integer(), seconds := float(), at := integer()}.
run(#{dir := Dir} = Job) ->
    Paths = lists:append([["-pa", filename:dirname(code:which(Module))]
                          || Module <- [?MODULE, warp_core]]),
    Port = open_port({spawn_executable, os:find_executable("erl")},
                     [{args, ["-noinput", "+Bd" | Paths]
                           ++ ["-s", atom_to_list(?MODULE), "main",
                               "-extra", base64:encode(term_to_binary(Job))]},
                      nouse_stdio, exit_status]),
    Status = receive {Port, {exit_status, Ended}} -> Ended end,
    At = os:system_time(microsecond),
    ok = warp_demo_progress:end_line(),
    case {Status, file:consult(filename:join(Dir, ?ACKNOWLEDGED))} of
        {137, {ok, [{Acknowledged, Seconds}]}} ->
            #{acknowledged => Acknowledged, seconds => Seconds, at => At};
        _ ->
            throw({stop, io_lib:format("the loading VM should have been killed (status 137), but "
                                       "ended with status ~b", [Status])})
    end.

-spec main() -> no_return().
main() ->
    _ = spawn(fun end_with_the_driver/0),
    [Encoded] = init:get_plain_arguments(),
    #{dir := Dir} = Job = binary_to_term(base64:decode(Encoded)),
    {Ctx, _} = warp_demo_job:open(Job),
    Began = erlang:monotonic_time(millisecond),
    Die = fun(Acknowledged) ->
              Seconds = (erlang:monotonic_time(millisecond) - Began) / 1000,
              ok = file:write_file(filename:join(Dir, ?ACKNOWLEDGED),
                                   io_lib:format("~p.~n", [{Acknowledged, Seconds}])),
              os:cmd("kill -9 " ++ os:getpid())
          end,
    Result = warp_demo_load:run(Job, Ctx, "load      ", Die),
    io:format(standard_error, "demo: the load ended before its VM was killed: ~tp~n", [Result]),
    halt(1).

%% Port and program talk over these two, which close when the VM that started this one goes.
-spec end_with_the_driver() -> no_return().
end_with_the_driver() ->
    Port = open_port({fd, 3, 4}, [eof, binary]),
    receive {Port, eof} -> halt(1) end.
