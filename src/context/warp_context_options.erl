%% @private Checks the options of `warp_core:start/1': the context's own, and the options of its components.
-module(warp_context_options).

-export([start/1, data_dir/1]).

-export_type([settings/0]).

%% The settings also hold the options of each component.
-type settings() :: #{
    context := binary(),
    data_dir := binary(),
    shards := pos_integer(),
    durability := full | normal,
    file_access := owner | umask,
    cluster := single_node | {clustered, map()},
    atom() => term()
}.

-define(MAX_SHARDS, 4096).
-define(MAX_NAME_BYTES, 200).

%% @doc Checks the options of a context and fills in defaults. Errors are those of {@link warp_check:options/2}.
-spec start(term()) -> {ok, settings()} | {error, warp_check:error()}.
start(Given) ->
    warp_check:options(Given, [
        {context, required, fun context/1},
        {data_dir, required, fun data_dir/1},
        {shards, 16, fun(N) -> warp_check:integer(N, 1, ?MAX_SHARDS) end},
        {durability, full, fun(D) -> warp_check:one_of(D, [full, normal]) end},
        {file_access, owner, fun(A) -> warp_check:one_of(A, [owner, umask]) end}
    ] ++ warp_component:options()).

%% The name becomes the name of a folder. It has to be valid on every system, and must not be a path.
context(Name) ->
    case is_binary(Name) andalso re:run(Name, "^[A-Za-z0-9_][A-Za-z0-9_.-]*$", [dollar_endonly]) of
        {match, _} when byte_size(Name) =< ?MAX_NAME_BYTES -> {ok, Name};
        {match, _} -> {error, {too_long, byte_size(Name), ?MAX_NAME_BYTES}};
        nomatch -> {error, only_letters_digits_underscore_dot_dash};
        false -> {error, not_a_binary}
    end.

%% @doc A check: a path. A binary is one in the encoding of the file system already. The result is one too, and
%% absolute.
-spec data_dir(term()) -> {ok, binary()} | {error, not_a_path}.
data_dir(Dir) when Dir =:= ""; Dir =:= <<>>; not is_list(Dir), not is_binary(Dir) ->
    {error, not_a_path};
data_dir(Dir) ->
    try encoded(absolute(Dir)) of
        Path when is_binary(Path) ->
            case binary:match(Path, <<0>>) of
                nomatch -> {ok, Path};
                _ -> {error, not_a_path}
            end;
        _ ->
            {error, not_a_path}
    catch
        error:_ -> {error, not_a_path}
    end.

%% An absolute path needs no working directory. The VM's file server tells that directory, and slow files
%% elsewhere can hold that server up.
absolute(Dir) ->
    case filename:pathtype(Dir) of
        absolute -> filename:join([Dir]);
        _ -> filename:absname(Dir)
    end.

encoded(Path) when is_binary(Path) -> Path;
encoded(Path) -> unicode:characters_to_binary(Path, unicode, file:native_name_encoding()).

