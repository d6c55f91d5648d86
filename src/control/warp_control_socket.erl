%% @private The socket `ctl' in the folder of a context: making it, connecting to it, and removing it.
%%
%% A path of a socket has some 100 bytes at most. A folder with a longer one is reached through a symbolic link of a
%% short name, which is there for that moment only.
-module(warp_control_socket).

-export([listen/1, connect/2, remove/1, state/1]).

-include_lib("kernel/include/file.hrl").

-define(NAME, <<"ctl">>).
%% The folder in which a socket is made.
-define(NEW, <<"ctl.new">>).
%% 104 bytes on macOS, 108 on Linux, with a zero at the end, and the longest name below the folder.
-define(MAX_BYTES, (103 - 12)).
-define(BACKLOG, 16).
-define(SEND_MS, 30000).

%% @doc Makes the socket, in place of one that a killed VM left. The caller has the folder's lock. `eexist': there is a
%% file of that name that is no socket.
%%
%% NOTE: the socket is made in a folder that only its user can enter, and moved when it has its mode, so that at no
%% moment anybody else can connect.
-spec listen(Dir :: binary()) -> {ok, gen_tcp:socket()} | {error, term()}.
listen(Dir) ->
    case state(Dir) of
        other -> {error, eexist};
        {error, _} = Error -> Error;
        _ -> through(Dir, fun listen_in/1)
    end.

listen_in(Dir) ->
    New = filename:join(Dir, ?NEW),
    Made = filename:join(New, ?NAME),
    _ = file:delete(Made),
    _ = file:del_dir(New),
    Private = until_error([fun() -> file:make_dir(New) end, fun() -> file:change_mode(New, 8#700) end]),
    Result = case Private of
        ok -> moved(gen_tcp:listen(0, [{ifaddr, {local, Made}}, {backlog, ?BACKLOG} | options()]), Made, Dir);
        {error, _} = Error -> Error
    end,
    _ = file:delete(Made),
    _ = file:del_dir(New),
    Result.

moved({ok, Socket}, Made, Dir) ->
    case until_error([fun() -> file:change_mode(Made, 8#600) end,
                      fun() -> file:rename(Made, filename:join(Dir, ?NAME)) end]) of
        ok ->
            {ok, Socket};
        {error, _} = Error ->
            ok = gen_tcp:close(Socket),
            Error
    end;
moved({error, _} = Error, _Made, _Dir) ->
    Error.

until_error([]) -> ok;
until_error([Do | More]) ->
    case Do() of
        ok -> until_error(More);
        {error, _} = Error -> Error
    end.

options() ->
    [local, binary, {packet, raw}, {active, false}, {send_timeout, ?SEND_MS}, {send_timeout_close, true}].

%% @doc Connects to the socket in a folder. `econnrefused': nobody listens there any more; `enoent': there is none.
-spec connect(Dir :: binary(), timeout()) -> {ok, gen_tcp:socket()} | {error, term()}.
connect(Dir, Timeout) ->
    through(Dir, fun(Short) ->
        gen_tcp:connect({local, filename:join(Short, ?NAME)}, 0, options(), Timeout)
    end).

%% @doc Removes the socket. The caller has the folder's lock.
-spec remove(Dir :: binary()) -> ok.
remove(Dir) ->
    _ = [file:delete(filename:join(Dir, ?NAME), [raw]) || state(Dir) =:= socket],
    ok.

%% @doc What `ctl' is in a folder; `other': no socket.
-spec state(Dir :: binary()) -> none | socket | other | {error, file:posix() | badarg}.
state(Dir) ->
    case file:read_link_info(filename:join(Dir, ?NAME), [raw]) of
        {ok, #file_info{type = other}} -> socket;
        {ok, _} -> other;
        {error, enoent} -> none;
        {error, _} = Error -> Error
    end.

%% Calls Use with a short path to the folder.
through(Dir, Use) when byte_size(Dir) =< ?MAX_BYTES ->
    Use(Dir);
through(Dir, Use) ->
    Name = [<<"warp-">>, string:lowercase(binary:encode_hex(crypto:strong_rand_bytes(12)))],
    linked([filename:join(Tmp, iolist_to_binary(Name)) || Tmp <- tmp()], Dir, Use).

tmp() ->
    [Tmp || Tmp <- [unicode:characters_to_binary(os:getenv("TMPDIR", "/tmp")), <<"/tmp">>],
            is_binary(Tmp), byte_size(Tmp) < ?MAX_BYTES - 30].

linked([Link | Links], Dir, Use) ->
    case file:make_symlink(Dir, Link) of
        ok ->
            try
                Use(Link)
            after
                file:delete(Link)
            end;
        {error, _} when Links =/= [] -> linked(Links, Dir, Use);
        {error, _} = Error -> Error
    end.
