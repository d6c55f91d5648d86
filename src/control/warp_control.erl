%% @doc Works with a context from outside of its VM, as the program `warp' does: a running context has a socket, the
%% file `ctl' in its folder, which only the VM's user can use. `docs/command-line.md' describes the program.
%%
%% A client sends one line of JSON, `{"op": OPERATION, ...}', and gets lines until the one with the answer:
%% <ul>
%% <li>`{"progress": {...}}', each second at least: how far the request is, where that can be said.</li>
%% <li>`{"item": {...}}': one of many things that the answer has, such as an event.</li>
%% <li>`{"ok": {...}}': the answer, or what is left of it behind its items; or `{"error": {"reason", "meaning",
%% "to_do"}}', with the name of the reason in {@link warp_error:catalogue/0}, and texts for people.</li>
%% </ul>
%% A client that goes away ends its request, as the end of a caller does.
-module(warp_control).

-export([call/3, run/3, is_context/1]).

-export_type([line/0]).

%% A line of the answer, without its end.
-type line() :: binary().

-define(CONNECT_MS, 5000).
%% A VM says each second that it is still at it.
-define(SILENCE_MS, 10000).

%% @doc Sends a request to the VM that has the context in a folder open, and calls a function with each line of the
%% answer.
%%
%% Errors: `no_socket': no VM has the context open, or one that has just begun to. `no_answer': the VM has said nothing
%% for 10 seconds. `closed': it closed the connection before the answer, since the context was stopped or the VM killed;
%% the request may be carried out or not. `{cannot_connect, Posix}', such as `eacces': the socket is another user's.
-spec call(Dir :: file:name_all(), Request :: map(), fun((line()) -> term())) ->
    ok | {error, no_socket | no_answer | closed | {cannot_connect, term()}}.
call(Dir, Request, Tell) ->
    case warp_control_socket:connect(path(Dir), ?CONNECT_MS) of
        {ok, Socket} ->
            {ok, Json} = warp_json:encode(Request, 1 bsl 20),
            Answered = case gen_tcp:send(Socket, [Json, $\n]) of
                ok -> lines(Socket, [], Tell);
                {error, _} -> {error, closed}
            end,
            ok = gen_tcp:close(Socket),
            Answered;
        {error, timeout} -> {error, no_answer};
        %% A VM that was killed leaves the file behind.
        {error, Why} when Why =:= enoent; Why =:= econnrefused; Why =:= enotdir -> {error, no_socket};
        {error, Why} -> {error, {cannot_connect, Why}}
    end.

path(Dir) when is_binary(Dir) -> Dir;
path(Dir) -> unicode:characters_to_binary(Dir, unicode, file:native_name_encoding()).

%% Parts of a line come in reverse.
lines(Socket, Parts, Tell) ->
    case gen_tcp:recv(Socket, 0, ?SILENCE_MS) of
        {ok, Bytes} ->
            case binary:split(Bytes, <<"\n">>, [global]) of
                [Part] ->
                    lines(Socket, [Part | Parts], Tell);
                [Rest | More] ->
                    Whole = [iolist_to_binary(lists:reverse(Parts, [Rest])) | lists:droplast(More)],
                    told(Whole, Socket, lists:last(More), Tell)
            end;
        {error, timeout} -> {error, no_answer};
        {error, _} -> {error, closed}
    end.

told([Line | Lines], Socket, Rest, Tell) ->
    _ = Tell(Line),
    case Line of
        <<"{\"ok\":", _/binary>> -> ok;
        <<"{\"error\":", _/binary>> -> ok;
        _ -> told(Lines, Socket, Rest, Tell)
    end;
told([], Socket, Rest, Tell) ->
    lines(Socket, [Rest], Tell).

%% @doc Carries out a request on a context of this VM, in the calling process. Calls a function with the lines before
%% the last one, one or several at a time, and gives the last one. Whatever the request is, the answer is a line.
-spec run(warp_core:ctx(), Request :: binary(), fun((iodata()) -> ok)) -> iodata().
run(Ctx, Request, Tell) ->
    try warp_json:decode(Request) of
        {ok, #{<<"op">> := Operation} = Args} ->
            case warp_control_operations:run(Operation, Args, Ctx, Tell) of
                {ok, Answer} -> warp_control_json:ok(Answer);
                {error, Why} -> warp_control_json:error(Why)
            end;
        {ok, _} -> warp_control_json:error({bad_request, <<"The request has no member op.">>});
        {error, _} -> warp_control_json:error({bad_request, <<"The request is no JSON object.">>})
    catch
        %% NOTE: nothing of the stack is shown, which can hold what a user stored.
        Class:Reason:Stack ->
            warp_control_json:error({internal, iolist_to_binary(warp_redact:crash(Class, Reason, Stack))})
    end.

%% @doc Whether a folder looks like that of a context, whose files it has.
-spec is_context(Dir :: file:name_all()) -> boolean().
is_context(Dir) ->
    lists:any(fun(Name) -> filelib:is_regular(filename:join(Dir, Name)) end, ["lock", "shard-0000.db"]).
