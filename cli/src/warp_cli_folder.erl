%% @private Looks at the files of a context, before anything is done with them.
-module(warp_cli_folder).

-export([context/1, formats/1, newest/0, foreign_owner/1]).

-include_lib("kernel/include/file.hrl").

%% The format of shards that this version of Warp writes, and brings earlier ones to; one that was backed up has 4. A
%% test compares this with what it writes.
-define(FORMAT, 3).
-define(APPLICATION_ID, "WARP").

%% @doc The folder of a context as a whole path. Ends the program where there is none.
-spec context(Given :: binary()) -> binary().
context(Given) ->
    Dir = filename:absname(string:trim(Given, trailing, "/")),
    case file:list_dir(Dir) of
        {ok, Names} ->
            case warp_control:is_context(Dir) of
                true -> Dir;
                false -> no_context(Dir, Names)
            end;
        {error, enoent} ->
            warp_cli_fail:unreachable(["There is no folder ", Dir, "."],
                                      "Give the folder of a context, DATA_DIR/CONTEXT.");
        {error, enotdir} ->
            warp_cli_fail:unreachable([Dir, " is no folder."], "Give the folder of a context, DATA_DIR/CONTEXT.");
        {error, Why} ->
            warp_cli_fail:unreachable(["The folder ", Dir, " cannot be read: ", file:format_error(Why), "."],
                                      "Run this as the user whose the folder is, such as with sudo -u USER.")
    end.

-spec no_context(Dir :: binary(), Names :: [file:filename_all()]) -> no_return().
no_context(Dir, Names) ->
    Below = [Name || Name <- lists:sort(Names), warp_control:is_context(filename:join(Dir, Name))],
    warp_cli_fail:unreachable(
        ["In the folder ", Dir, " is no context."],
        case Below of
            [] -> "Give the folder of a context, DATA_DIR/CONTEXT, which has files such as shard-0000.db.";
            _ -> ["Did you mean ", lists:join(" or ", [filename:join(Dir, Name) || Name <- Below]), "?"]
        end).

%% @doc The formats of the shards of a folder, by number, as the heads of their files say; `none' of a file that is no
%% shard. NOTE: not to be called while this VM has the context open: closing a file may give up locks on it.
-spec formats(Dir :: binary()) -> #{non_neg_integer() => pos_integer() | none}.
formats(Dir) ->
    Files = filelib:wildcard("shard-*.db", unicode:characters_to_list(Dir)),
    maps:from_list([{N, format(filename:join(Dir, File))} || File <- Files, N <- number(File)]).

number(File) ->
    try
        [list_to_integer(filename:basename(File, ".db") -- "shard-")]
    catch
        error:badarg -> []
    end.

format(File) ->
    Head = case file:open(File, [read, raw, binary]) of
        {ok, Device} ->
            Read = file:pread(Device, 0, 100),
            ok = file:close(Device),
            Read;
        {error, _} = Error -> Error
    end,
    case Head of
        {ok, <<"SQLite format 3", 0, _:44/binary, Version:32, _:4/binary, ?APPLICATION_ID, _/binary>>} -> Version;
        _ -> none
    end.

%% @doc The format that this version of Warp writes.
-spec newest() -> pos_integer().
newest() -> ?FORMAT.

%% @doc The user whose the folder is, if that is another one than who runs this program: files that were made by this
%% one could not be opened by the other. `no' also where there is no folder.
-spec foreign_owner(Dir :: binary()) -> {yes, non_neg_integer()} | no.
foreign_owner(Dir) ->
    case {file:read_file_info(Dir), os:getenv("WARP_UID", "")} of
        {{ok, #file_info{uid = Owner}}, [_ | _] = Uid} ->
            case integer_to_list(Owner) of
                Uid -> no;
                _ -> {yes, Owner}
            end;
        _ -> no
    end.
