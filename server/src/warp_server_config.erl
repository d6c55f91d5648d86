%% @private The configuration that the gateway gets, as JSON. Pure.
-module(warp_server_config).

-export([json/1, sign/2]).

%% @doc What the gateway has to know of the settings.
-spec json(warp_server_options:settings()) -> binary().
json(#{listeners := Listeners, hosts := Hosts, origins := Origins, tokens := Tokens, keys := Keys, server := Server,
       limits := Limits}) ->
    warp_server_json:encode(
      #{listeners => [listener(Listener) || Listener <- Listeners], hosts => Hosts, origins => Origins,
        tokens => [token(Token) || Token <- maps:values(Tokens)], keys => Keys, server => Server,
        public => [[<<"health">>], [<<"v1">>, <<"openapi.json">>]], limits => Limits}).

listener(#{tls := none} = Listener) -> Listener#{tls := null};
listener(#{tls := Files} = Listener) -> Listener#{tls := maps:map(fun(_, File) -> path(File) end, Files)}.

path(File) -> unicode:characters_to_binary(filename:absname(File)).

token(#{expires := Expires} = Token) ->
    Known = maps:with([id, sha256, connections, in_flight], Token),
    Known#{expires => case Expires of none -> null; _ -> Expires end}.

%% @doc The signature of a signed token, by a key of the settings.
-spec sign(Key :: binary(), Text :: binary()) -> binary().
sign(Key, Text) -> crypto:mac(hmac, sha256, binary:decode_hex(Key), Text).
