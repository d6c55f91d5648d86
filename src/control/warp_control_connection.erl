%% @private Serves the clients of a control socket, one after the other. A client sends one request, a line of JSON, and
%% gets lines until the one with the answer: see {@link warp_control}.
%%
%% A process of its own carries the request out, and ends with the connection. It waits while the client does not take
%% what it is sent.
-module(warp_control_connection).

-export([start_link/2]).

%% A request is short.
-define(MAX_BYTES, 64 * 1024).
-define(REQUEST_MS, 10000).
%% How often a client hears that its request is still under way.
-define(ALIVE_MS, 1000).
%% The pause when the VM can open no more files.
-define(PAUSE_MS, 200).

%% @doc Starts a process that serves clients of a socket, linked to the caller.
-spec start_link(gen_tcp:socket(), warp_core:ctx()) -> pid().
start_link(Listening, Ctx) ->
    spawn_link(fun() -> accept(Listening, Ctx) end).

-spec accept(gen_tcp:socket(), warp_core:ctx()) -> no_return().
accept(Listening, Ctx) ->
    case gen_tcp:accept(Listening) of
        {ok, Socket} ->
            ok = serve(Socket, Ctx),
            ok = gen_tcp:close(Socket),
            accept(Listening, Ctx);
        {error, _} ->
            timer:sleep(?PAUSE_MS),
            accept(Listening, Ctx)
    end.

serve(Socket, Ctx) ->
    case request(Socket, <<>>, warp_deadline:from(?REQUEST_MS)) of
        {ok, Line} -> run(Socket, Line, Ctx);
        too_long -> send(Socket, warp_control_json:error({bad_request, <<"The request is too long.">>}));
        gone -> ok
    end.

request(Socket, Read, Deadline) ->
    case gen_tcp:recv(Socket, 0, warp_deadline:left(Deadline)) of
        {ok, Bytes} ->
            case binary:split(<<Read/binary, Bytes/binary>>, <<"\n">>) of
                [Line, _] when byte_size(Line) =< ?MAX_BYTES -> {ok, Line};
                [Part] when byte_size(Part) =< ?MAX_BYTES -> request(Socket, Part, Deadline);
                _ -> too_long
            end;
        {error, _} ->
            gone
    end.

run(Socket, Line, Ctx) ->
    Self = self(),
    Tag = make_ref(),
    Tell = fun(Text) ->
        Self ! {Tag, self(), Text},
        receive {Tag, go_on} -> ok end
    end,
    Worker = spawn_link(fun() ->
        Answer = warp_control:run(Ctx, Line, Tell),
        Self ! {Tag, answer, Answer}
    end),
    ok = watch(Socket),
    wait(Socket, Worker, Tag).

%% The client says nothing any more. When it is gone, nobody needs the answer.
watch(Socket) ->
    _ = inet:setopts(Socket, [{active, once}]),
    ok.

wait(Socket, Worker, Tag) ->
    receive
        {Tag, answer, Answer} ->
            _ = send(Socket, Answer),
            ok;
        {Tag, Worker, Text} ->
            case send(Socket, Text) of
                ok ->
                    Worker ! {Tag, go_on},
                    wait(Socket, Worker, Tag);
                gone ->
                    give_up(Worker, Tag)
            end;
        {tcp, Socket, _} -> give_up(Worker, Tag);
        {tcp_closed, Socket} -> give_up(Worker, Tag);
        {tcp_error, Socket, _} -> give_up(Worker, Tag)
    after ?ALIVE_MS ->
        case send(Socket, warp_control_json:progress(#{})) of
            ok -> wait(Socket, Worker, Tag);
            gone -> give_up(Worker, Tag)
        end
    end.

give_up(Worker, Tag) ->
    true = unlink(Worker),
    Monitor = erlang:monitor(process, Worker),
    true = exit(Worker, kill),
    receive {'DOWN', Monitor, process, Worker, _} -> flush(Tag) end.

flush(Tag) ->
    receive
        {Tag, _, _} -> flush(Tag);
        {tcp, _, _} -> flush(Tag);
        {tcp_closed, _} -> flush(Tag);
        {tcp_error, _, _} -> flush(Tag)
    after 0 -> ok
    end.

send(Socket, Text) ->
    case gen_tcp:send(Socket, [Text, $\n]) of
        ok -> ok;
        {error, _} -> gone
    end.
