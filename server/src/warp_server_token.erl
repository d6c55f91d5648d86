%% @private Signed tokens: makes them, and reads the claims of one that the gateway has verified. Pure.
%%
%% A signed token has a part of the permissions of the token that it was made with, for a short time, and ends with it.
-module(warp_server_token).

-export([mint/3, claims/1, base64url/1, from_base64url/1]).

-export_type([claims/0]).

-type claims() :: #{token := binary(), server := binary(), expires := integer(), scopes := [warp_server_scope:scope()]}.

%% @doc The text of a signed token.
-spec mint(claims(), Key :: binary(), Sign :: fun((Key :: binary(), Text :: binary()) -> binary())) -> binary().
mint(#{scopes := Scopes} = Claims, Key, Sign) ->
    Written = Claims#{scopes := [warp_server_scope:to_json(Scope) || Scope <- Scopes]},
    {ok, Json} = warp_json:encode(Written, 1 bsl 20),
    Text = <<"warps_", (base64url(Json))/binary>>,
    <<Text/binary, ".", (base64url(Sign(Key, Text)))/binary>>.

%% @doc The claims in their JSON, which the gateway has verified.
-spec claims(Json :: binary()) -> {ok, claims()} | error.
claims(Json) ->
    case warp_json:decode(Json) of
        {ok, #{<<"token">> := Id, <<"server">> := Server, <<"expires">> := Expires, <<"scopes">> := Given}}
          when is_binary(Id), is_binary(Server), is_integer(Expires), is_list(Given) ->
            Scopes = [warp_server_scope:from_json(Scope) || Scope <- Given],
            case lists:member(error, Scopes) of
                true -> error;
                false -> {ok, #{token => Id, server => Server, expires => Expires,
                                scopes => [Scope || {ok, Scope} <- Scopes]}}
            end;
        _ ->
            error
    end.

%% @doc Bytes as text for a URL, without `=' at the end.
-spec base64url(binary()) -> binary().
base64url(Bytes) ->
    << <<(url_char(Char))>> || <<Char>> <= base64:encode(Bytes), Char =/= $= >>.

url_char($+) -> $-;
url_char($/) -> $_;
url_char(Char) -> Char.

-spec from_base64url(term()) -> {ok, binary()} | error.
from_base64url(Text) when is_binary(Text) ->
    Padding = binary:copy(<<"=">>, (4 - byte_size(Text) rem 4) rem 4),
    try
        {ok, base64:decode(<< <<(plain_char(Char))>> || <<Char>> <= <<Text/binary, Padding/binary>> >>)}
    catch
        error:_ -> error
    end;
from_base64url(_) ->
    error.

plain_char($-) -> $+;
plain_char($_) -> $/;
plain_char(Char) when Char =/= $+, Char =/= $/ -> Char.
