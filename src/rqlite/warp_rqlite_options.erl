%% @private The options of the target `rqlite', checked, and with the password out of sight. Pure.
-module(warp_rqlite_options).

-export([check/1]).

-export_type([config/0, level/0]).

-type level() :: none | weak | linearizable | strong | auto.
-type config() :: #{
    %% `http(s)://HOST:PORT', without a slash at the end.
    nodes := [string(), ...],
    %% The header that authenticates a request, in a fun, so that no report shows the password.
    auth := none | fun(() -> string()),
    tls := #{cacertfile => file:filename_all(), certfile => file:filename_all(),
             keyfile => file:filename_all()},
    %% How long one request may take, in milliseconds.
    timeout := pos_integer(),
    level := level()
}.

-define(KEYS, [nodes, username, password, tls, timeout, level]).
-define(FILES, [cacertfile, certfile, keyfile]).
-define(LEVELS, [none, weak, linearizable, strong, auto]).
-define(TIMEOUT_MS, 10000).
-define(MAX_TIMEOUT_MS, 600000).

%% @doc The checked options. An error names the key and what is wrong, and never contains a password.
-spec check(map()) -> {ok, config()} | {error, {Key :: term(), Why :: term()}}.
check(Given) ->
    try
        _ = [throw({Key, unknown_key}) || Key <- maps:keys(maps:without(?KEYS, Given))],
        {ok, #{
            nodes => node_urls(maps:get(nodes, Given, missing)),
            auth => auth(maps:get(username, Given, none), maps:get(password, Given, none)),
            tls => tls(maps:get(tls, Given, #{})),
            timeout => timeout(maps:get(timeout, Given, ?TIMEOUT_MS)),
            level => level(maps:get(level, Given, weak))
        }}
    catch
        throw:{Key1, Why} -> {error, {Key1, Why}}
    end.

node_urls(missing) -> throw({nodes, missing});
node_urls([_ | _] = Urls) when is_list(Urls) -> [node_url(Url) || Url <- Urls];
node_urls(_) -> throw({nodes, not_a_list_of_urls}).

node_url(Url) ->
    Text = text(Url, nodes, not_a_list_of_urls),
    case uri_string:parse(Text) of
        %% The error does not repeat the text, which has a password in it.
        #{userinfo := _} -> throw({nodes, username_and_password_are_options_of_their_own});
        #{scheme := Scheme, host := Host, path := Path} = Uri
          when Host =/= <<>>, Path =:= <<>> orelse Path =:= <<"/">>,
               not is_map_key('query', Uri), not is_map_key(fragment, Uri) ->
            lists:member(Scheme, [<<"http">>, <<"https">>])
                orelse throw({nodes, {not_http_or_https, Text}}),
            base(Uri);
        _ -> throw({nodes, {not_a_url_like, <<"http://10.0.0.1:4001">>, Text}})
    end.

base(Uri) ->
    unicode:characters_to_list(uri_string:recompose(Uri#{path => <<>>})).

auth(none, none) -> none;
auth(none, _) -> throw({username, missing});
auth(_, none) -> throw({password, missing});
auth(Username, Password) ->
    User = text(Username, username, not_text),
    _ = [throw({username, has_a_colon}) || binary:match(User, <<":">>) =/= nomatch],
    Header = "Basic " ++ base64:encode_to_string(
        <<User/binary, ":", (text(Password, password, not_text))/binary>>),
    fun() -> Header end.

tls(Given) when is_map(Given) ->
    _ = [throw({tls, {Key, unknown_key}}) || Key <- maps:keys(maps:without(?FILES, Given))],
    _ = [throw({tls, {Key, not_a_path}}) || {Key, Path} <- maps:to_list(Given), not is_path(Path)],
    _ = [throw({tls, {keyfile, missing}})
         || is_map_key(certfile, Given), not is_map_key(keyfile, Given)],
    _ = [throw({tls, {certfile, missing}})
         || is_map_key(keyfile, Given), not is_map_key(certfile, Given)],
    Given;
tls(_) ->
    throw({tls, not_a_map}).

is_path(Path) when is_binary(Path) -> Path =/= <<>>;
is_path(Path) -> Path =/= "" andalso io_lib:char_list(Path).

timeout(Ms) when is_integer(Ms), Ms >= 1, Ms =< ?MAX_TIMEOUT_MS -> Ms;
timeout(_) -> throw({timeout, {not_an_integer_between, 1, ?MAX_TIMEOUT_MS}}).

level(Level) ->
    lists:member(Level, ?LEVELS) orelse throw({level, {not_one_of, ?LEVELS}}),
    Level.

text(Given, Key, Why) ->
    try unicode:characters_to_binary(Given) of
        Text when is_binary(Text) -> Text;
        _ -> throw({Key, Why})
    catch
        error:badarg -> throw({Key, Why})
    end.
