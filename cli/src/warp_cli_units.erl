%% @private Numbers, sizes and times as people read them. Pure.
-module(warp_cli_units).

-export([count/1, bytes/1, seconds/1, time/1, exact_time/1, of_time/1, text/1, many/2]).

%% @doc A number with its thousands apart; null is a dash.
-spec count(integer() | null) -> iodata().
count(null) -> "-";
count(N) when N < 0 -> [$-, count(-N)];
count(N) -> lists:reverse(apart(lists:reverse(integer_to_list(N)))).

apart([A, B, C, D | More]) -> [A, B, C, $, | apart([D | More])];
apart(Digits) -> Digits.

%% @doc A size.
-spec bytes(non_neg_integer() | null) -> iodata().
bytes(null) -> "-";
bytes(N) when N < 1024 -> io_lib:format("~b B", [N]);
bytes(N) -> bytes(N / 1024, ["KiB", "MiB", "GiB", "TiB", "PiB"]).

bytes(N, [_, Larger | Units]) when N >= 1024 -> bytes(N / 1024, [Larger | Units]);
bytes(N, [Unit | _]) -> io_lib:format("~.1f ~s", [float(N), Unit]).

%% @doc A duration.
-spec seconds(number() | null) -> iodata().
seconds(null) -> "-";
seconds(S) when S < 0.001 -> "0 s";
seconds(S) when S < 1 -> io_lib:format("~b ms", [round(S * 1000)]);
seconds(S) when S < 120 -> io_lib:format("~.1f s", [float(S)]);
seconds(S) when S < 7200 -> io_lib:format("~b min", [round(S) div 60]);
seconds(S) when S < 172800 -> io_lib:format("~b h", [round(S) div 3600]);
seconds(S) -> io_lib:format("~b days", [round(S) div 86400]).

%% @doc A point in time, in microseconds since 1970, to the second.
-spec time(integer() | null) -> iodata().
time(null) -> "-";
time(Micros) ->
    try
        calendar:system_time_to_rfc3339(Micros div 1000000, [{offset, "Z"}])
    catch
        error:_ -> integer_to_list(Micros)
    end.

%% @doc A point in time to the microsecond, as {@link of_time/1} reads it.
-spec exact_time(integer()) -> iodata().
exact_time(Micros) ->
    calendar:system_time_to_rfc3339(Micros, [{offset, "Z"}, {unit, microsecond}]).

%% @doc The point in time that a text in ISO 8601 says, in microseconds since 1970: a date, a time to the minute or more
%% exactly, and a zone.
-spec of_time(binary()) -> {ok, integer()} | error.
of_time(Text) ->
    Form = "^(\\d{4}-\\d\\d-\\d\\d)[Tt ]([01]\\d|2[0-3])(:[0-5]\\d)(:[0-5]\\d)?(\\.\\d{1,6})?"
           "([Zz]|[+-][01]\\d:[0-5]\\d)$",
    case re:run(Text, Form, [dollar_endonly, {capture, all_but_first, list}]) of
        {match, [Date, Hour, Minute, Second, Fraction, Zone]} ->
            Whole = case Second of "" -> ":00"; _ -> Second end,
            Exact = [Date, $T, Hour, Minute, Whole, Fraction, string:uppercase(Zone)],
            try
                {ok, calendar:rfc3339_to_system_time(lists:flatten(Exact), [{unit, microsecond}])}
            catch
                error:_ -> error
            end;
        nomatch ->
            error
    end.

%% @doc Any value of JSON as text.
-spec text(term()) -> iodata().
text(null) -> "-";
text(Text) when is_binary(Text) -> Text;
text(Number) when is_integer(Number) -> integer_to_list(Number);
text(Other) ->
    {ok, Json} = warp_json:encode(Other, 1 bsl 30),
    Json.

%% @doc A number of things, such as `1 shard' and `2 shards'.
-spec many(integer(), string()) -> iodata().
many(1, Thing) -> ["1 ", Thing];
many(N, Thing) ->
    Things = case lists:reverse(Thing) of
        "y" ++ Rest -> lists:reverse(Rest, "ies");
        _ -> Thing ++ "s"
    end,
    [count(N), $\s, Things].
