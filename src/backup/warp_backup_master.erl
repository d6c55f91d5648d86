%% @private The master key of a backup: 32 bytes that wrap the backup's own key. It is read when a backup is opened, and
%% never kept.
-module(warp_backup_master).

-include_lib("kernel/include/file.hrl").

-export([check/1, new/1, wrap/3, open/2, rewrap/3, wrapped_by/1]).

-export_type([given/0, master/0]).

%% `{file, Path}': a file of 32 bytes, or of 64 hexadecimal digits, that nobody but its owner may read. `{env, Name}': a
%% variable of the environment with 64 hexadecimal digits. Or functions that have another service wrap and unwrap the
%% backup's key, with a name for them that stands in the backup.
-type given() ::
    {file, file:name_all()}
    | {env, unicode:chardata()}
    | #{name := binary(),
        wrap := fun((Key :: binary()) -> {ok, Wrapped :: binary()} | {error, term()}),
        unwrap := fun((Wrapped :: binary()) -> {ok, Key :: binary()} | {error, term()})}.
-opaque master() :: given().

%% What a backup says of a key that this module has wrapped itself.
-define(OWN, <<"master">>).

%% @doc Checks what the user gave, without reading the key.
-spec check(term()) -> {ok, master()} | {error, Why :: term()}.
check({file, Path}) ->
    case warp_context_options:data_dir(Path) of
        {ok, File} -> {ok, {file, File}};
        {error, _} = Error -> Error
    end;
check({env, Given}) ->
    try unicode:characters_to_list(Given) of
        [_ | _] = Name ->
            case lists:any(fun(C) -> C =:= 0 orelse C =:= $= end, Name) of
                true -> {error, not_a_master_key};
                false -> {ok, {env, Name}}
            end;
        _ ->
            {error, not_a_master_key}
    catch
        error:_ -> {error, not_a_master_key}
    end;
check(#{name := Name, wrap := Wrap, unwrap := Unwrap} = Given)
  when is_binary(Name), byte_size(Name) =< 100, is_function(Wrap, 1), is_function(Unwrap, 1), map_size(Given) =:= 3,
       Name =/= <<>>, Name =/= ?OWN ->
    {ok, Given};
check(_Given) -> {error, not_a_master_key}.

%% @doc Makes a key in a file that is not there. Errors: those of the file.
-spec new(Path :: binary()) -> ok | exists | {error, term()}.
new(Path) ->
    Digits = string:lowercase(binary:encode_hex(crypto:strong_rand_bytes(32))),
    warp_nif:put_file(Path, <<Digits/binary, "\n">>, owner, create).

%% @doc What has wrapped a key, by what the backup says of it: a master key, or functions with this name.
-spec wrapped_by(Wrapping :: binary()) -> master_key | binary().
wrapped_by(?OWN) -> master_key;
wrapped_by(Name) -> Name.

%% @doc The object `backup' of a new backup of a context, with its key wrapped.
%%
%% Errors: `{no_master_key, Why}', where Why is a sentence; `{master_key_refused, Why}', of a function of the user.
-spec wrap(master(), warp_nif:backup(), About :: {Context :: binary(), Shards :: pos_integer(), warp_core:micros()}) ->
    {ok, binary()} | {error, term()}.
wrap(#{name := Name, wrap := Wrap}, Backup, About) ->
    case called(Wrap, warp_nif:backup_key(Backup)) of
        {ok, Wrapped} when is_binary(Wrapped) -> warp_nif:backup_object(Backup, About, {Name, Wrapped});
        Other -> refused(Other)
    end;
wrap(Master, Backup, About) ->
    case key(Master) of
        {ok, Key} -> warp_nif:backup_object(Backup, About, {?OWN, Key});
        {error, _} = Error -> Error
    end.

%% @doc Opens a backup by its object `backup'.
%%
%% Errors: as for {@link wrap/3}; `wrong_master_key'; and what is wrong with the object.
-spec open(master(), Object :: binary()) -> {ok, warp_nif:backup()} | {error, term()}.
open(#{unwrap := Unwrap}, Object) ->
    case warp_nif:backup_about(Object) of
        {ok, #{wrapping := ?OWN}} ->
            {error, wrong_master_key};
        {ok, #{wrapped := Wrapped}} ->
            case called(Unwrap, Wrapped) of
                {ok, <<_:32/binary>> = Key} -> warp_nif:backup_open(Object, {key, Key});
                Other -> refused(Other)
            end;
        {error, _} = Error ->
            Error
    end;
open(Master, Object) ->
    case key(Master) of
        {ok, Key} -> warp_nif:backup_open(Object, {master, Key});
        {error, _} = Error -> Error
    end.

%% @doc The object `backup' with the key wrapped by another master key. `unchanged': that one opens it already, and the
%% first one does not. Errors: as for {@link wrap/3} and {@link open/2}.
-spec rewrap(Old :: master(), New :: master(), Object :: binary()) -> {ok, binary() | unchanged} | {error, term()}.
rewrap(Old, New, Object) ->
    case {open(Old, Object), warp_nif:backup_about(Object)} of
        {{ok, Backup}, {ok, #{context := Context, shards := Shards, created := Created}}} ->
            wrap(New, Backup, {Context, Shards, Created});
        {{error, wrong_master_key} = Error, _} ->
            case open(New, Object) of {ok, _} -> {ok, unchanged}; {error, _} -> Error end;
        {{error, _} = Error, _} ->
            Error
    end.

called(Fun, Argument) ->
    %% NOTE: what it fails with may have the key in it.
    try Fun(Argument) catch _:_ -> crashed end.

refused({error, Why}) -> {error, {master_key_refused, Why}};
refused(crashed) -> {error, {master_key_refused, crashed}};
refused(_Other) -> {error, {master_key_refused, bad_return}}.

key({env, Name}) ->
    case os:getenv(Name) of
        false -> no_key("the environment has no variable ~ts", [Name]);
        Text -> of_text(unicode:characters_to_binary(Text), ["the variable ", Name])
    end;
key({file, Path}) ->
    case {file:read_file_info(Path), file:read_file(Path)} of
        {{ok, #file_info{mode = Mode}}, {ok, _}} when Mode band 8#077 =/= 0 ->
            no_key("others than its owner may read or write ~ts: chmod 600 it", [Path]);
        {{ok, _}, {ok, <<Key:32/binary>>}} ->
            {ok, Key};
        {{ok, _}, {ok, Text}} ->
            of_text(Text, Path);
        {_, {error, Reason}} ->
            no_key("~ts: ~ts", [Path, file:format_error(Reason)]);
        {{error, Reason}, _} ->
            no_key("~ts: ~ts", [Path, file:format_error(Reason)])
    end.

of_text(Text, Where) ->
    %% NOTE: what is no key may be a part of one, and must not be in an error.
    try binary:decode_hex(string:trim(Text)) of
        <<Key:32/binary>> -> {ok, Key};
        _ -> no_digits(Where)
    catch
        error:_ -> no_digits(Where)
    end.

no_digits(Where) -> no_key("~ts has no 64 hexadecimal digits. Make a key: openssl rand -hex 32", [Where]).

no_key(Format, Values) ->
    {error, {no_master_key, unicode:characters_to_binary(io_lib:format(Format, Values))}}.
