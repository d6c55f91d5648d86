%% Text for people: numbers with separators, sizes, tables.
-module(warp_demo_text).

-export([count/1, decimal/2, bytes/1, short/2, table/1, say/1, say_over/1, root/0, is_terminal/0]).

-spec count(integer()) -> string().
count(Number) when Number < 0 -> [$- | count(-Number)];
count(Number) when Number < 1000 -> integer_to_list(Number);
count(Number) ->
    count(Number div 1000) ++ [$, | string:pad(integer_to_list(Number rem 1000), 3, leading, $0)].

-spec decimal(number(), pos_integer()) -> string().
decimal(Number, Digits) ->
    [Whole, Fraction] = string:split(float_to_list(float(Number), [{decimals, Digits}]), "."),
    case Whole of
        [$- | Positive] -> [$- | count(list_to_integer(Positive))] ++ [$. | Fraction];
        _ -> count(list_to_integer(Whole)) ++ [$. | Fraction]
    end.

-spec bytes(non_neg_integer()) -> string().
bytes(Bytes) when Bytes < 10000 -> count(Bytes) ++ " bytes";
bytes(Bytes) -> decimal(Bytes / 1000000, 1) ++ " MB".

%% On one line, and no longer than that many characters.
-spec short(iodata(), pos_integer()) -> unicode:chardata().
short(Text, Most) ->
    case unicode:characters_to_list(Text) of
        Chars when is_list(Chars), length(Chars) > Most -> lists:sublist(Chars, Most) ++ "...";
        Chars when is_list(Chars) -> Chars;
        _ -> io_lib:format("~p", [Text])
    end.

%% Rows of a label, a value that is aligned to the right, and a remark.
-spec table([{iodata(), iodata(), iodata()}]) -> iodata().
table(Rows) ->
    Width = fun(Place) -> lists:max([string:length(element(Place, Row)) || Row <- Rows]) end,
    [["  ", string:pad(Label, Width(1)), "  ", string:pad(Value, Width(2), leading),
      case Remark of "" -> ""; _ -> ["   ", Remark] end, $\n]
     || {Label, Value, Remark} <- Rows].

-spec say(unicode:chardata()) -> ok.
say(Text) ->
    io:put_chars(device(), [Text, $\n]).

%% Over what stands on the terminal's line.
-spec say_over(unicode:chardata()) -> ok.
say_over(Text) ->
    io:put_chars(device(), ["\r", Text, "\e[K"]).

%% Standard output is kept for the summary alone where a program reads it.
device() ->
    case os:getenv("WARP_DEMO_JSON") of
        "1" -> standard_error;
        _ -> standard_io
    end.

-spec is_terminal() -> boolean().
is_terminal() ->
    os:getenv("WARP_DEMO_TERMINAL") =:= "1".

%% The project's folder: this module lies in its _build/demo.
-spec root() -> file:filename().
root() ->
    filename:dirname(filename:dirname(filename:dirname(filename:absname(code:which(?MODULE))))).
