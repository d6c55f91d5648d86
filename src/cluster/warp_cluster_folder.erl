%% @private Tells the folder of a member of a cluster from a copy of it, also from one that was put back in its place.
%%
%% When a member begins to serve it writes the time into the file `seen', and never touches that file again. The
%% operating system keeps with the file when it was last changed, by the same clock, and no program can set that time.
%% So the two times differ once somebody has written the file again. The file `lock' has another number in a copy, too.
%% A snapshot of a whole disk cannot be told this way, and is told by what other members remember.
-module(warp_cluster_folder).

-export([id/1, mark/1, is_original/2]).

-include_lib("kernel/include/file.hrl").

%% By how many seconds the two times may differ.
-define(TOLERANCE, 2).
%% How often it is written, on a disk that is so slow that they do.
-define(ATTEMPTS, 5).

%% @doc Which file `lock' is in the folder.
-spec id(warp_context:context()) -> binary().
id(#{dir := Dir}) ->
    case file:read_file_info(filename:join(Dir, <<"lock">>), [raw, {time, posix}]) of
        {ok, #file_info{major_device = Device, inode = Inode}} ->
            iolist_to_binary(io_lib:format("~b-~b", [Device, Inode]));
        {error, _} ->
            <<>>
    end.

%% @doc Marks the folder as the one that is in use.
-spec mark(warp_context:context()) -> ok | {error, {io_error, binary()}}.
mark(#{dir := Dir}) ->
    mark(filename:join(Dir, <<"seen">>), ?ATTEMPTS).

%% NOTE: renamed, so that neither a kill nor a loss of power leaves it without the time. The file counts as changed when
%% it is renamed, and on a slow disk that is later than the time in it.
mark(Path, Left) ->
    New = <<Path/binary, ".new">>,
    case file:write_file(New, [integer_to_binary(os:system_time(second)), "\n"], [raw, sync]) of
        ok ->
            case file:rename(New, Path) of
                ok -> marked(is_marked(Path), Path, Left);
                {error, _} = Error -> failed(Path, Error)
            end;
        {error, _} = Error ->
            failed(Path, Error)
    end.

marked(false, Path, Left) when Left > 1 -> mark(Path, Left - 1);
marked(_, _Path, _Left) -> ok.

failed(Path, {error, Why}) ->
    {error, {io_error, iolist_to_binary([Path, ": ", file:format_error(Why)])}}.

%% @doc Whether the folder is the one that was marked, with that id of its file `lock'.
-spec is_original(warp_context:context(), Id :: binary()) -> boolean().
is_original(#{dir := Dir} = Context, Id) ->
    id(Context) =:= Id andalso is_marked(filename:join(Dir, <<"seen">>)).

is_marked(Path) ->
    case {file:read_file_info(Path, [raw, {time, posix}]), file:read_file(Path)} of
        {{ok, #file_info{ctime = Changed}}, {ok, Text}} ->
            try binary_to_integer(string:trim(Text)) of
                Marked -> abs(Changed - Marked) =< ?TOLERANCE
            catch
                error:_ -> false
            end;
        _ ->
            false
    end.
