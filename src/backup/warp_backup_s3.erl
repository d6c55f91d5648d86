%% @private A bucket of S3-compatible storage that backups are kept in, or the part of one below a prefix. A program
%% speaks to the storage ({@link warp_backup_store}). The keys to the bucket stay in the environment: only the names of
%% their variables are known here.
-module(warp_backup_s3).
-behaviour(warp_backup_target).

-export([check/1, describe/1, open/1, close/1, can_create/1, create/3, replace/3, read/2, read/4, list/2, delete/2]).

-export_type([given/0, config/0]).

-type variable() :: {env, unicode:chardata()}.
%% The same as a text is `s3://BUCKET/PREFIX', behind which options can stand as `?endpoint=...&region=...'; those of
%% variables are then `access_key_id_env', `secret_access_key_env' and `session_token_env'.
-type given() :: #{
    %% The bucket, which has to be there.
    s3 := unicode:chardata(),
    %% What the names of all objects begin with, before a `/'. Default: nothing.
    prefix => unicode:chardata(),
    %% The address of the storage, such as `http://127.0.0.1:9000'. Default: `AWS_ENDPOINT_URL_S3' or
    %% `AWS_ENDPOINT_URL' of the environment; else that of AWS in the region.
    endpoint => unicode:chardata(),
    %% Default: `AWS_REGION' or `AWS_DEFAULT_REGION' of the environment; else `us-east-1'.
    region => unicode:chardata(),
    %% The variables that have the keys. Defaults: `AWS_ACCESS_KEY_ID', `AWS_SECRET_ACCESS_KEY', and, with these, where
    %% it is set, `AWS_SESSION_TOKEN'.
    access_key_id => variable(),
    secret_access_key => variable(),
    session_token => variable(),
    %% How many milliseconds a request to the storage may take. Default: 120000.
    timeout => pos_integer()
}.
-type config() :: #{
    bucket := binary(),
    prefix := binary(),
    %% Empty: that of AWS.
    endpoint := binary(),
    region := binary(),
    %% Names of variables.
    access_key_id := binary(),
    secret_access_key := binary(),
    session_token := none | {required | optional, binary()},
    timeout := pos_integer()
}.

-define(TIMEOUT_MS, 120000).
-define(MAX_PREFIX, 512).
%% The object with which a target shows that it keeps what is there.
-define(ONLY_ONCE, <<"only-once">>).

-record(open, {store :: pid(), config :: config()}).

%% @doc Checks what the user gave. `{not_s3, Field}' names what is wrong, missing or unknown, without its value.
-spec check(term()) -> {ok, config()} | {error, {not_s3, Field :: atom() | binary()}}.
check(#{} = Given) ->
    try
        {ok, config(Given)}
    catch
        throw:{wrong, Field} -> {error, {not_s3, Field}}
    end;
check(Text) ->
    try unicode:characters_to_binary(Text) of
        <<"s3://", Rest/binary>> -> of_text(Rest);
        _ -> {error, {not_s3, s3}}
    catch
        error:_ -> {error, {not_s3, s3}}
    end.

of_text(Text) ->
    {Place, Query} = case binary:split(Text, <<"?">>) of [P, Q] -> {P, Q}; [P] -> {P, <<>>} end,
    {Bucket, Prefix} = case binary:split(Place, <<"/">>) of [B, Below] -> {B, Below}; [B] -> {B, <<>>} end,
    try
        Options = case uri_string:dissect_query(Query) of
            [_ | _] = Pairs -> maps:from_list([option(Key, Value) || {Key, Value} <- Pairs]);
            [] -> #{};
            {error, _, _} -> throw({wrong, options})
        end,
        check(Options#{s3 => Bucket, prefix => Prefix})
    catch
        throw:{wrong, Field} -> {error, {not_s3, Field}}
    end.

option(<<"endpoint">>, Value) -> {endpoint, Value};
option(<<"region">>, Value) -> {region, Value};
option(<<"access_key_id_env">>, Name) -> {access_key_id, {env, Name}};
option(<<"secret_access_key_env">>, Name) -> {secret_access_key, {env, Name}};
option(<<"session_token_env">>, Name) -> {session_token, {env, Name}};
option(<<"timeout">>, Digits) ->
    try {timeout, binary_to_integer(Digits)} catch error:_ -> throw({wrong, timeout}) end;
option(Other, _Value) ->
    throw({wrong, Other}).

config(Given) ->
    Known = [s3, prefix, endpoint, region, access_key_id, secret_access_key, session_token, timeout],
    _ = [throw({wrong, Unknown}) || Unknown <- maps:keys(maps:without(Known, Given))],
    OwnKeys = is_map_key(access_key_id, Given) orelse is_map_key(secret_access_key, Given),
    #{
        bucket => text(s3, Given, "", "^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$"),
        prefix => prefix(text(prefix, Given, "", "^[A-Za-z0-9._=/-]*$")),
        endpoint => endpoint(text(endpoint, Given, variable(["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"], ""), "^")),
        region => text(region, Given, variable(["AWS_REGION", "AWS_DEFAULT_REGION"], "us-east-1"), "^[A-Za-z0-9-]+$"),
        access_key_id => name(access_key_id, Given, <<"AWS_ACCESS_KEY_ID">>),
        secret_access_key => name(secret_access_key, Given, <<"AWS_SECRET_ACCESS_KEY">>),
        session_token => case Given of
            #{session_token := _} -> {required, name(session_token, Given, <<>>)};
            %% It belongs to the keys beside which it stands.
            #{} when OwnKeys -> none;
            #{} -> {optional, <<"AWS_SESSION_TOKEN">>}
        end,
        timeout => case maps:get(timeout, Given, ?TIMEOUT_MS) of
            Millis when is_integer(Millis), Millis >= 100, Millis =< 3600000 -> Millis;
            _ -> throw({wrong, timeout})
        end
    }.

text(Field, Given, Default, Pattern) ->
    try unicode:characters_to_binary(maps:get(Field, Given, Default)) of
        <<Text/binary>> ->
            case re:run(Text, Pattern, [dollar_endonly]) of
                {match, _} -> Text;
                nomatch -> throw({wrong, Field})
            end;
        _ ->
            throw({wrong, Field})
    catch
        error:_ -> throw({wrong, Field})
    end.

prefix(Text) ->
    Parts = binary:split(string:trim(Text, both, "/"), <<"/">>, [global]),
    case Parts of
        [<<>>] ->
            <<>>;
        _ ->
            _ = [throw({wrong, prefix}) || Part <- [<<>>, <<".">>, <<"..">>], lists:member(Part, Parts)],
            _ = [throw({wrong, prefix}) || byte_size(Text) > ?MAX_PREFIX],
            iolist_to_binary(lists:join("/", Parts))
    end.

%% NOTE: without the name and password of a user, which would be shown.
endpoint(<<>>) ->
    <<>>;
endpoint(Text) ->
    case uri_string:normalize(string:trim(Text, trailing, "/"), [return_map]) of
        #{scheme := Scheme, host := Host} = Uri
          when Scheme =:= <<"http">> orelse Scheme =:= <<"https">>, Host =/= <<>>,
               not is_map_key(userinfo, Uri), not is_map_key(query, Uri), not is_map_key(fragment, Uri) ->
            string:trim(uri_string:recompose(Uri), trailing, "/");
        _ ->
            throw({wrong, endpoint})
    end.

variable([], Default) -> Default;
variable([Name | Names], Default) ->
    case os:getenv(Name) of
        Empty when Empty =:= false; Empty =:= "" -> variable(Names, Default);
        Text -> Text
    end.

name(Field, Given, Default) ->
    case Given of
        #{Field := {env, Name}} -> text(Field, #{Field => Name}, "", "^[A-Za-z_][A-Za-z0-9_]*$");
        #{Field := _} -> throw({wrong, Field});
        #{} -> Default
    end.

%% @doc Bucket and prefix, and the address of the storage where that is not AWS. The same place has the same text.
-spec describe(config()) -> binary().
describe(#{bucket := Bucket, prefix := Prefix, endpoint := Endpoint}) ->
    iolist_to_binary(["s3://", Bucket, [["/", Prefix] || Prefix =/= <<>>],
                      [["?endpoint=", Endpoint] || Endpoint =/= <<>>]]).

%% @doc Starts the program for this target. Nothing is asked of the storage yet. Errors: `{no_store_program, Message}';
%% `{storage_refused, Message}' names a variable that is not there; `{unreachable, interrupted}'.
-spec open(config()) -> {ok, #open{}} | {error, warp_backup_target:error()}.
open(Config) ->
    case warp_backup_store:start(Config) of
        {ok, Store} -> {ok, #open{store = Store, config = Config}};
        {error, Why} -> {error, placed(Why, Config)}
    end.

%% @doc Ends the program.
-spec close(#open{}) -> ok.
close(#open{store = Store}) -> warp_backup_store:stop(Store).

%% @doc Looks whether the storage keeps an object that is there when it is to be created. Storage that knows no
%% `If-None-Match' would write over it, and two writers would not notice each other.
-spec can_create(#open{}) -> ok | {error, warp_backup_target:error()}.
can_create(Open) ->
    Text = <<"Shows that this storage writes an object only where there is none.\n">>,
    case create(Open, ?ONLY_ONCE, Text) of
        ok ->
            case create(Open, ?ONLY_ONCE, Text) of
                exists -> ok;
                ok -> {error, placed({storage_refused, writes_over()}, Open#open.config)};
                {error, _} = Error -> Error
            end;
        exists -> ok;
        {error, _} = Error -> Error
    end.

writes_over() ->
    <<"the storage writes over an object that is to be created only where there is none, since it does not know "
      "If-None-Match; a backup needs that">>.

%% @doc Writes an object that is not there. The storage itself sees to that.
-spec create(#open{}, warp_backup_target:name(), binary()) -> ok | exists | {error, warp_backup_target:error()}.
create(Open, Name, Bytes) -> done(ask(Open, {create, Name, Bytes})).

%% @doc Writes an object, in place of the one that is there.
-spec replace(#open{}, warp_backup_target:name(), binary()) -> ok | {error, warp_backup_target:error()}.
replace(Open, Name, Bytes) -> done(ask(Open, {replace, Name, Bytes})).

-spec read(#open{}, warp_backup_target:name()) -> {ok, binary()} | not_found | {error, warp_backup_target:error()}.
read(Open, Name) -> ask(Open, {read, Name}).

-spec read(#open{}, warp_backup_target:name(), non_neg_integer(), pos_integer()) ->
    {ok, binary()} | not_found | {error, warp_backup_target:error()}.
read(Open, Name, Offset, Length) -> ask(Open, {read, Name, Offset, Length}).

%% @doc The objects whose names begin so. What has another name than an object of a backup is none.
-spec list(#open{}, Prefix :: warp_backup_target:name()) ->
    {ok, [{warp_backup_target:name(), non_neg_integer()}]} | {error, warp_backup_target:error()}.
list(Open, Prefix) ->
    case ask(Open, {list, Prefix}) of
        {ok, Found} ->
            {ok, lists:sort([Of || {Name, _} = Of <- Found, re:run(Name, "^[a-z0-9/-]+$") =/= nomatch])};
        {error, _} = Error ->
            Error
    end.

-spec delete(#open{}, warp_backup_target:name()) -> ok | {error, warp_backup_target:error()}.
delete(Open, Name) -> done(ask(Open, {delete, Name})).

done({ok, <<>>}) -> ok;
done(Other) -> Other.

ask(#open{store = Store, config = Config}, Request) ->
    case warp_backup_store:ask(Store, Request) of
        {error, Why} -> {error, placed(Why, Config)};
        Answer -> Answer
    end.

%% Which storage has said so.
placed({storage_refused, Why}, Config) ->
    {storage_refused, unicode:characters_to_binary([describe(Config), ": ", Why])};
placed(Why, _Config) ->
    Why.
