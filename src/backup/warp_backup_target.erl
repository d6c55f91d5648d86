%% @private Where a backup is kept: a folder, or a service that keeps objects. A target has objects by name, each of
%% which is written whole, and is there whole or not at all.
%%
%% A name is a path of small letters, digits and `-', such as `segments/0f3a/0000000012'. One context writes to a
%% target, and anybody reads.
-module(warp_backup_target).

-export([check/1, describe/1, open/1, close/1, can_create/1, create/3, replace/3, read/2, read/4, list/2, delete/2]).

-export_type([given/0, target/0, open/0, name/0, error/0]).

%% What a user gives: the path of a folder; or a bucket of S3-compatible storage, as a map or as a text that begins
%% with `s3://'.
-type given() :: file:name_all() | warp_backup_s3:given().
%% A checked target.
-opaque target() :: {module(), config()}.
-opaque open() :: {module(), term()}.
-type config() :: term().
-type name() :: binary().
%% `{unreachable, Why}': the target does not answer now. `{storage_refused, Message}': it answers that it will not do
%% it. `{no_store_program, Message}': the program that speaks to it was not built. `disk_full'; `{io_error, Message}'.
-type error() ::
    {unreachable, term()} | {storage_refused | no_store_program, binary()} | disk_full | {io_error, binary()}.

%% Checks what the user gave. Reads nothing but variables of the environment.
-callback check(given()) -> {ok, config()} | {error, Why :: term()}.
%% Where it is, for people, without secrets.
-callback describe(config()) -> binary().
-callback open(config()) -> {ok, term()} | {error, error()}.
-callback close(term()) -> ok.
%% Whether `create' keeps what is there, of two at the same time too: called before the first object is created.
-callback can_create(term()) -> ok | {error, error()}.
%% Writes an object that is not there. `exists': it is, and stays as it is.
-callback create(term(), name(), binary()) -> ok | exists | {error, error()}.
%% Writes an object, in place of the one that is there.
-callback replace(term(), name(), binary()) -> ok | {error, error()}.
-callback read(term(), name()) -> {ok, binary()} | not_found | {error, error()}.
%% So many bytes from an offset on, fewer at the end of the object.
-callback read(term(), name(), Offset :: non_neg_integer(), Length :: pos_integer()) ->
    {ok, binary()} | not_found | {error, error()}.
%% The objects whose names begin so, in the order of their names, with their sizes in bytes.
-callback list(term(), Prefix :: name()) -> {ok, [{name(), non_neg_integer()}]} | {error, error()}.
%% Deletes an object. One that is not there is no error.
-callback delete(term(), name()) -> ok | {error, error()}.

%% @doc Checks what the user gave. `Why' of an error says what is wrong with it.
-spec check(term()) -> {ok, target()} | {error, Why :: term()}.
check(Given) ->
    Module = module(Given),
    case Module:check(Given) of
        {ok, Config} -> {ok, {Module, Config}};
        {error, _} = Error -> Error
    end.

module(#{s3 := _}) -> warp_backup_s3;
module(<<"s3://", _/binary>>) -> warp_backup_s3;
module("s3://" ++ _) -> warp_backup_s3;
module(_) -> warp_backup_folder.

%% @doc Where the target is, for people, without secrets.
-spec describe(target()) -> binary().
describe({Module, Config}) -> Module:describe(Config).

%% @doc Opens a target for the calling process.
-spec open(target()) -> {ok, open()} | {error, error()}.
open({Module, Config}) ->
    case Module:open(Config) of
        {ok, Open} -> {ok, {Module, Open}};
        {error, _} = Error -> Error
    end.

%% @doc Closes a target.
-spec close(open()) -> ok.
close({Module, Open}) -> Module:close(Open).

%% @doc Looks whether {@link create/3} keeps its promise here. To be called before it.
-spec can_create(open()) -> ok | {error, error()}.
can_create({Module, Open}) -> Module:can_create(Open).

%% @doc Writes an object that is not there, durably. `exists': it is, and stays as it is.
-spec create(open(), name(), binary()) -> ok | exists | {error, error()}.
create({Module, Open}, Name, Bytes) -> Module:create(Open, Name, Bytes).

%% @doc Writes an object, durably, in place of the one that is there, if one is.
-spec replace(open(), name(), binary()) -> ok | {error, error()}.
replace({Module, Open}, Name, Bytes) -> Module:replace(Open, Name, Bytes).

%% @doc A whole object.
-spec read(open(), name()) -> {ok, binary()} | not_found | {error, error()}.
read({Module, Open}, Name) -> Module:read(Open, Name).

%% @doc So many bytes of an object from an offset on; fewer at its end.
-spec read(open(), name(), Offset :: non_neg_integer(), Length :: pos_integer()) ->
    {ok, binary()} | not_found | {error, error()}.
read({Module, Open}, Name, Offset, Length) -> Module:read(Open, Name, Offset, Length).

%% @doc The objects whose names begin so, in order, with their sizes in bytes.
-spec list(open(), Prefix :: name()) -> {ok, [{name(), non_neg_integer()}]} | {error, error()}.
list({Module, Open}, Prefix) -> Module:list(Open, Prefix).

%% @doc Deletes an object. One that is not there is no error.
-spec delete(open(), name()) -> ok | {error, error()}.
delete({Module, Open}, Name) -> Module:delete(Open, Name).
