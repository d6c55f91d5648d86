%% @private Checks text that users give: ids, names, notes. Pure.
-module(warp_text).

-export([is_utf8/1, check/2, format/2]).

-export_type([problem/0]).

-type problem() ::
    empty | not_utf8 | not_a_binary | {too_long, Bytes :: pos_integer(), Max :: pos_integer()}.

%% @doc Whether a binary is UTF-8. Copies nothing.
-spec is_utf8(binary()) -> boolean().
%% Most text is ASCII, so the first clause takes eight bytes at a time.
is_utf8(<<A, B, C, D, E, F, G, H, Rest/binary>>) when A bor B bor C bor D bor E bor F bor G bor H < 128 ->
    is_utf8(Rest);
is_utf8(<<_/utf8, Rest/binary>>) ->
    is_utf8(Rest);
is_utf8(Rest) ->
    Rest =:= <<>>.

%% @doc Whether a term is text of 1 to `MaxBytes' bytes of UTF-8; else what is wrong with it.
-spec check(term(), MaxBytes :: pos_integer()) -> ok | {error, problem()}.
check(<<>>, _MaxBytes) ->
    {error, empty};
check(Text, MaxBytes) when is_binary(Text), byte_size(Text) > MaxBytes ->
    {error, {too_long, byte_size(Text), MaxBytes}};
check(Text, _MaxBytes) when is_binary(Text) ->
    case is_utf8(Text) of
        true -> ok;
        false -> {error, not_utf8}
    end;
check(_Term, _MaxBytes) ->
    {error, not_a_binary}.

%% @doc As `io_lib:format/2', but gives a binary.
-spec format(io:format(), [term()]) -> binary().
format(Format, Arguments) ->
    unicode:characters_to_binary(io_lib:format(Format, Arguments)).
