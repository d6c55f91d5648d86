%% @private A folder that backups are kept in, also one of another machine that is mounted. Objects are files.
-module(warp_backup_folder).
-behaviour(warp_backup_target).

-include_lib("kernel/include/file.hrl").

-export([check/1, describe/1, open/1, close/1, can_create/1, create/3, replace/3, read/2, read/4, list/2, delete/2]).

%% @doc Takes the path of a folder, which need not be there.
-spec check(term()) -> {ok, binary()} | {error, not_a_path}.
check(Given) -> warp_context_options:data_dir(Given).

%% @doc The path.
-spec describe(binary()) -> binary().
describe(Dir) -> Dir.

%% @doc The folder is made with the first object.
-spec open(binary()) -> {ok, binary()}.
open(Dir) -> {ok, Dir}.

-spec close(binary()) -> ok.
close(_Dir) -> ok.

%% @doc Every file system can.
-spec can_create(binary()) -> ok.
can_create(_Dir) -> ok.

%% @doc Writes a file that is not there, durably.
-spec create(binary(), warp_backup_target:name(), binary()) -> ok | exists | {error, warp_backup_target:error()}.
create(Dir, Name, Bytes) -> warp_nif:put_file(path(Dir, Name), Bytes, owner, create).

%% @doc Writes a file, durably, in place of the one that is there.
-spec replace(binary(), warp_backup_target:name(), binary()) -> ok | {error, warp_backup_target:error()}.
replace(Dir, Name, Bytes) -> warp_nif:put_file(path(Dir, Name), Bytes, owner, replace).

-spec read(binary(), warp_backup_target:name()) -> {ok, binary()} | not_found | {error, warp_backup_target:error()}.
read(Dir, Name) ->
    Path = path(Dir, Name),
    found(file:read_file(Path), Path).

-spec read(binary(), warp_backup_target:name(), non_neg_integer(), pos_integer()) ->
    {ok, binary()} | not_found | {error, warp_backup_target:error()}.
read(Dir, Name, Offset, Length) ->
    Path = path(Dir, Name),
    case file:open(Path, [read, raw, binary]) of
        {ok, File} ->
            try
                case file:pread(File, Offset, Length) of
                    eof -> {ok, <<>>};
                    Read -> found(Read, Path)
                end
            after
                ok = file:close(File)
            end;
        {error, _} = Error ->
            found(Error, Path)
    end.

found({ok, Bytes}, _Path) -> {ok, Bytes};
found({error, enoent}, _Path) -> not_found;
found({error, Reason}, Path) -> failed(Reason, Path).

failed(enospc, _Path) -> {error, disk_full};
failed(Reason, Path) ->
    {error, {io_error, unicode:characters_to_binary([Path, ": ", file:format_error(Reason)])}}.

%% @doc The files below the folder whose names begin so. What is half written has another name, and is no object.
-spec list(binary(), Prefix :: warp_backup_target:name()) ->
    {ok, [{warp_backup_target:name(), non_neg_integer()}]} | {error, warp_backup_target:error()}.
list(Dir, Prefix) ->
    %% The folder that all of them are in.
    Above = case filename:dirname(<<Prefix/binary, "x">>) of <<".">> -> <<>>; Folder -> <<Folder/binary, "/">> end,
    case below(Dir, Above) of
        {ok, Found} ->
            Size = byte_size(Prefix),
            {ok, lists:sort([Of || {<<Begin:Size/binary, _/binary>>, _} = Of <- Found, Begin =:= Prefix])};
        {error, _} = Error ->
            Error
    end.

below(Dir, Above) ->
    Path = path(Dir, Above),
    case file:list_dir(Path) of
        {ok, Names} -> each([<<Above/binary, (name(Name))/binary>> || Name <- Names], Dir, []);
        {error, enoent} -> {ok, []};
        {error, Reason} -> failed(Reason, Path)
    end.

name(Name) -> unicode:characters_to_binary(Name).

each([], _Dir, Found) ->
    {ok, Found};
each([Name | Names], Dir, Found) ->
    Path = path(Dir, Name),
    case {is_object(Name), file:read_link_info(Path, [raw])} of
        {false, _} ->
            each(Names, Dir, Found);
        {true, {ok, Info}} when Info#file_info.type =:= regular ->
            each(Names, Dir, [{Name, Info#file_info.size} | Found]);
        {true, {ok, Info}} when Info#file_info.type =:= directory ->
            case below(Dir, <<Name/binary, "/">>) of
                {ok, More} -> each(Names, Dir, More ++ Found);
                {error, _} = Error -> Error
            end;
        {true, {ok, _}} ->
            each(Names, Dir, Found);
        %% Deleted meanwhile.
        {true, {error, enoent}} ->
            each(Names, Dir, Found);
        {true, {error, Reason}} ->
            failed(Reason, Path)
    end.

is_object(Name) -> re:run(Name, "^[a-z0-9/-]+$") =/= nomatch.

-spec delete(binary(), warp_backup_target:name()) -> ok | {error, warp_backup_target:error()}.
delete(Dir, Name) ->
    Path = path(Dir, Name),
    %% What a killed VM had half written.
    _ = file:delete(<<Path/binary, ".new">>),
    case file:delete(Path) of
        ok -> ok;
        {error, enoent} -> ok;
        {error, Reason} -> failed(Reason, Path)
    end.

path(Dir, Name) -> <<Dir/binary, "/", Name/binary>>.
