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

%% @doc Which file `lock' is in the folder.
-spec id(warp_context:context()) -> binary().
id(#{dir := Dir}) ->
    case info(Dir, <<"lock">>) of
        {ok, #file_info{major_device = Device, inode = Inode}} ->
            iolist_to_binary(io_lib:format("~b-~b", [Device, Inode]));
        {error, _} ->
            <<>>
    end.

%% @doc Marks the folder as the one that is in use.
-spec mark(warp_context:context()) -> ok | {error, {io_error, binary()}}.
mark(#{dir := Dir}) ->
    Path = filename:join(Dir, <<"seen">>),
    Seconds = integer_to_binary(os:system_time(second)),
    %% NOTE: a loss of power may lose it. Then the others have to say that the folder is the right one.
    case file:write_file(Path, [Seconds, "\n"], [raw, sync]) of
        ok -> ok;
        {error, Why} -> {error, {io_error, iolist_to_binary([Path, ": ", file:format_error(Why)])}}
    end.

%% @doc Whether the folder is the one that was marked, with that id of its file `lock'.
-spec is_original(warp_context:context(), Id :: binary()) -> boolean().
is_original(#{dir := Dir} = Context, Id) ->
    case {id(Context), info(Dir, <<"seen">>), file:read_file(filename:join(Dir, <<"seen">>))} of
        {Id, {ok, #file_info{ctime = Changed}}, {ok, Text}} ->
            try binary_to_integer(string:trim(Text)) of
                Marked -> abs(Changed - Marked) =< ?TOLERANCE
            catch
                error:_ -> false
            end;
        _ ->
            false
    end.

info(Dir, File) ->
    file:read_file_info(filename:join(Dir, File), [raw, {time, posix}]).
