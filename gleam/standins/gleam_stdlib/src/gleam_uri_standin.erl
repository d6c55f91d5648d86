%% Addresses of the stand-in of gleam_stdlib.
-module(gleam_uri_standin).

-export([parse/1, percent_encode/1, percent_decode/1]).

%% The expression of RFC 3986, appendix B: scheme, authority, path, query and fragment.
-define(URI, "^(([A-Za-z][^:/?#]*):)?(//([^/?#]*))?([^?#]*)(\\?([^#]*))?(#(.*))?$").
%% User, host, which may be an IPv6 address in brackets, and port.
-define(AUTHORITY, "^(([^@]*)@)?(\\[[0-9A-Fa-f:.]+\\]|[^:\\[\\]@]*)(:([0-9]*))?$").
-define(IS_PLAIN(C), (C >= $a andalso C =< $z orelse C >= $A andalso C =< $Z orelse C >= $0 andalso C =< $9
                      orelse C =:= $- orelse C =:= $_ orelse C =:= $. orelse C =:= $~ orelse C =:= $!
                      orelse C =:= $* orelse C =:= $' orelse C =:= $( orelse C =:= $) orelse C =:= $+)).

-spec parse(binary()) -> {ok, tuple()} | {error, nil}.
parse(Text) ->
    {match, Groups} = re:run(Text, ?URI, [{capture, all_but_first, index}, dotall]),
    [Scheme, Authority, Path, Query, Fragment] = [part(Text, Groups, N) || N <- [2, 4, 5, 7, 9]],
    case authority(Authority) of
        {UserInfo, Host, Port} ->
            {ok, {uri, lowercase(Scheme), UserInfo, Host, Port, text(Path), Query, Fragment}};
        error ->
            {error, nil}
    end.

%% The group with that number, which may have taken no part in the match.
part(Text, Groups, Number) when Number =< length(Groups) ->
    case lists:nth(Number, Groups) of
        {-1, 0} -> none;
        Part -> {some, binary:part(Text, Part)}
    end;
part(_Text, _Groups, _Number) ->
    none.

text({some, Text}) -> Text;
text(none) -> <<>>.

lowercase({some, Text}) -> {some, string:lowercase(Text)};
lowercase(none) -> none.

authority(none) ->
    {none, none, none};
authority({some, Text}) ->
    case re:run(Text, ?AUTHORITY, [{capture, all_but_first, index}]) of
        {match, Groups} ->
            [UserInfo, Host, Port] = [part(Text, Groups, N) || N <- [2, 3, 5]],
            {UserInfo, Host, port(Port)};
        nomatch ->
            error
    end.

port({some, <<_, _/binary>> = Digits}) -> {some, binary_to_integer(Digits)};
port(_) -> none.

-spec percent_encode(binary()) -> binary().
percent_encode(Text) ->
    << <<(encode(Byte))/binary>> || <<Byte>> <= Text >>.

encode(Byte) when ?IS_PLAIN(Byte) -> <<Byte>>;
encode(Byte) -> <<$%, (binary:encode_hex(<<Byte>>))/binary>>.

-spec percent_decode(binary()) -> {ok, binary()} | {error, nil}.
percent_decode(Text) ->
    try gleam_bit_array_standin:to_string(decode(Text)) catch error:_ -> {error, nil} end.

decode(<<$%, Hex:2/binary, Rest/binary>>) -> <<(binary:decode_hex(Hex))/binary, (decode(Rest))/binary>>;
decode(<<Byte, Rest/binary>>) when Byte =/= $% -> <<Byte, (decode(Rest))/binary>>;
decode(<<>>) -> <<>>.
