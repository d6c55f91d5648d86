%% Numbers of the stand-in of gleam_stdlib.
-module(gleam_number_standin).

-export([parse_int/1, parse_int/2, parse_float/1, float_to_string/1, to_precision/2, power/2]).

-type result(Value) :: {ok, Value} | {error, nil}.

-spec parse_int(binary()) -> result(integer()).
parse_int(Text) ->
    parse_int(Text, 10).

-spec parse_int(binary(), 2..36) -> result(integer()).
parse_int(Text, Base) ->
    try {ok, binary_to_integer(Text, Base)} catch error:badarg -> {error, nil} end.

-spec parse_float(binary()) -> result(float()).
parse_float(Text) ->
    try {ok, binary_to_float(Text)} catch error:badarg -> {error, nil} end.

-spec float_to_string(float()) -> binary().
float_to_string(Float) ->
    iolist_to_binary(io_lib_format:fwrite_g(Float)).

-spec to_precision(float(), integer()) -> float().
to_precision(Float, Precision) when Precision > 0 ->
    Factor = math:pow(10, Precision),
    round(Float * Factor) / Factor;
to_precision(Float, Precision) ->
    Factor = math:pow(10, -Precision),
    round(Float / Factor) * Factor.

%% The root of a negative number and a division by zero have no value.
-spec power(float(), float()) -> result(float()).
power(Base, Exponent) ->
    case Base < 0 andalso Exponent /= trunc(Exponent) orelse Base == 0 andalso Exponent < 0 of
        true -> {error, nil};
        false -> {ok, math:pow(Base, Exponent)}
    end.
