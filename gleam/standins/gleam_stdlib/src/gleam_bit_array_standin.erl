%% Bits of the stand-in of gleam_stdlib.
-module(gleam_bit_array_standin).

-export([pad_to_bytes/1, slice/3, to_string/1, compare/2, starts_with/2]).
-export([base64_encode/2, base64_decode/1, base16_encode/1, base16_decode/1]).

-type result(Value) :: {ok, Value} | {error, nil}.

-spec pad_to_bytes(bitstring()) -> binary().
pad_to_bytes(Bits) ->
    Missing = (8 - bit_size(Bits) rem 8) rem 8,
    <<Bits/bits, 0:Missing>>.

-spec slice(bitstring(), integer(), integer()) -> result(binary()).
slice(Bits, Position, Length) ->
    try {ok, binary:part(Bits, Position, Length)} catch error:badarg -> {error, nil} end.

-spec to_string(bitstring()) -> result(binary()).
to_string(Bits) when is_binary(Bits) ->
    case unicode:characters_to_binary(Bits) of
        Bits -> {ok, Bits};
        _ -> {error, nil}
    end;
to_string(_) ->
    {error, nil}.

%% Byte by byte. The last bits count as a number as well, and after equal ones the longer is greater.
-spec compare(bitstring(), bitstring()) -> lt | eq | gt.
compare(<<Byte, A/bits>>, <<Byte, B/bits>>) -> compare(A, B);
compare(A, B) ->
    case {first(A), first(B)} of
        {Same, Same} -> eq;
        {OfA, OfB} when OfA < OfB -> lt;
        _ -> gt
    end.

first(Bits) ->
    Size = min(8, bit_size(Bits)),
    <<Value:Size, _/bits>> = Bits,
    {Value, bit_size(Bits)}.

-spec starts_with(bitstring(), bitstring()) -> boolean().
starts_with(Bits, Prefix) ->
    Size = bit_size(Prefix),
    case Bits of
        <<Prefix:Size/bits, _/bits>> -> true;
        _ -> false
    end.

-spec base64_encode(bitstring(), boolean()) -> binary().
base64_encode(Bits, Padding) ->
    Text = base64:encode(pad_to_bytes(Bits)),
    case Padding of
        true -> Text;
        false -> string:trim(Text, trailing, "=")
    end.

%% The padding may be left out.
-spec base64_decode(binary()) -> result(binary()).
base64_decode(Text) ->
    Missing = (4 - byte_size(Text) rem 4) rem 4,
    try
        {ok, base64:decode(<<Text/binary, (binary:copy(<<"=">>, Missing))/binary>>)}
    catch
        error:_ -> {error, nil}
    end.

-spec base16_encode(bitstring()) -> binary().
base16_encode(Bits) ->
    binary:encode_hex(pad_to_bytes(Bits)).

-spec base16_decode(binary()) -> result(binary()).
base16_decode(Text) ->
    try {ok, binary:decode_hex(Text)} catch error:badarg -> {error, nil} end.
