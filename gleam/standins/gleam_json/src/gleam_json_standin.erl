%% JSON text of the stand-in of gleam_json: OTP reads and writes JSON only since 27.
-module(gleam_json_standin).

-export([identity/1, string/1, float/1, read/1]).

-spec identity(Term) -> Term.
identity(Term) ->
    Term.

-spec float(float()) -> iodata().
float(Float) ->
    io_lib_format:fwrite_g(Float).

-spec string(binary()) -> iodata().
string(Text) ->
    [$", [escape(Char) || <<Char/utf8>> <= Text], $"].

escape($") -> <<"\\\"">>;
escape($\\) -> <<"\\\\">>;
escape($\b) -> <<"\\b">>;
escape($\f) -> <<"\\f">>;
escape($\n) -> <<"\\n">>;
escape($\r) -> <<"\\r">>;
escape($\t) -> <<"\\t">>;
escape(Char) when Char < 32; Char =:= 127 -> io_lib:format("\\u~4.16.0B", [Char]);
escape(Char) -> <<Char/utf8>>.

%% The value of a whole text, with null as Gleam's Nil.
-spec read(bitstring()) -> {ok, term()} | {error, unexpected_end_of_input | {atom(), binary()}}.
read(Bits) ->
    try
        {Value, Rest} = value(blank(Bits)),
        <<>> = expect_end(blank(Rest)),
        {ok, Value}
    catch
        throw:Error -> {error, Error}
    end.

expect_end(<<>>) -> <<>>;
expect_end(Rest) -> unexpected(Rest).

-spec unexpected(bitstring()) -> no_return().
unexpected(<<>>) -> throw(unexpected_end_of_input);
unexpected(<<Byte, _/bits>>) -> throw({unexpected_byte, iolist_to_binary(["0x", integer_to_list(Byte, 16)])}).

blank(<<Char, Rest/bits>>) when Char =:= $\s; Char =:= $\t; Char =:= $\n; Char =:= $\r -> blank(Rest);
blank(Rest) -> Rest.

value(<<"null", Rest/bits>>) -> {nil, Rest};
value(<<"true", Rest/bits>>) -> {true, Rest};
value(<<"false", Rest/bits>>) -> {false, Rest};
value(<<$", Rest/bits>>) -> text(Rest, <<>>);
value(<<$[, Rest/bits>>) -> array(blank(Rest));
value(<<${, Rest/bits>>) -> object(blank(Rest));
value(<<Char, _/bits>> = Text) when Char =:= $-; Char >= $0, Char =< $9 -> number(Text);
value(<<Char, Rest/bits>>) when Char =:= $n -> word(Rest, <<"ull">>);
value(<<Char, Rest/bits>>) when Char =:= $t -> word(Rest, <<"rue">>);
value(<<Char, Rest/bits>>) when Char =:= $f -> word(Rest, <<"alse">>);
value(Text) -> unexpected(Text).

%% The word is not whole: the first byte that differs from it is what is unexpected.
word(<<Char, Rest/bits>>, <<Char, Expected/binary>>) -> word(Rest, Expected);
word(Rest, _Expected) -> unexpected(Rest).

array(<<$], Rest/bits>>) -> {[], Rest};
array(Text) -> items(Text, []).

items(Text, Items) ->
    {Item, Rest} = value(Text),
    case blank(Rest) of
        <<$,, More/bits>> -> items(blank(More), [Item | Items]);
        <<$], More/bits>> -> {lists:reverse(Items, [Item]), More};
        Other -> unexpected(Other)
    end.

object(<<$}, Rest/bits>>) -> {#{}, Rest};
object(Text) -> fields(Text, #{}).

fields(<<$", Text/bits>>, Fields) ->
    {Key, AfterKey} = text(Text, <<>>),
    case blank(AfterKey) of
        <<$:, Rest/bits>> ->
            {Value, AfterValue} = value(blank(Rest)),
            next_field(blank(AfterValue), Fields#{Key => Value});
        Other ->
            unexpected(Other)
    end;
fields(Text, _Fields) ->
    unexpected(Text).

next_field(<<$,, Rest/bits>>, Fields) -> fields(blank(Rest), Fields);
next_field(<<$}, Rest/bits>>, Fields) -> {Fields, Rest};
next_field(Other, _Fields) -> unexpected(Other).

text(<<$", Rest/bits>>, Text) -> {Text, Rest};
text(<<$\\, Rest/bits>>, Text) -> escaped(Rest, Text);
text(<<Char/utf8, Rest/bits>>, Text) when Char >= 32 -> text(Rest, <<Text/binary, Char/utf8>>);
text(Other, _Text) -> unexpected(Other).

escaped(<<$u, Hex:4/binary, Rest/bits>>, Text) ->
    {Char, After} = unicode(hex(Hex), Hex, Rest),
    text(After, <<Text/binary, Char/utf8>>);
escaped(<<$u, _/bits>>, _Text) ->
    unexpected(<<>>);
escaped(<<Char, Rest/bits>>, Text) ->
    case lists:keyfind(Char, 1, [{$b, $\b}, {$f, $\f}, {$n, $\n}, {$r, $\r}, {$t, $\t}]) of
        {Char, Meant} -> text(Rest, <<Text/binary, Meant>>);
        false when Char =:= $"; Char =:= $\\; Char =:= $/ -> text(Rest, <<Text/binary, Char>>);
        false -> unexpected(<<Char>>)
    end;
escaped(<<>>, _Text) ->
    unexpected(<<>>).

%% A character beyond 16 bits is written as two surrogates.
unicode(High, Hex, <<"\\u", More:4/binary, Rest/bits>>) when High >= 16#D800, High =< 16#DBFF ->
    case hex(More) of
        Low when Low >= 16#DC00, Low =< 16#DFFF ->
            {16#10000 + ((High - 16#D800) bsl 10) + Low - 16#DC00, Rest};
        _ ->
            unexpected_sequence(<<"\\u", Hex/binary, "\\u", More/binary>>)
    end;
unicode(Char, Hex, _Rest) when Char >= 16#D800, Char =< 16#DFFF ->
    unexpected_sequence(<<"\\u", Hex/binary>>);
unicode(Char, _Hex, Rest) ->
    {Char, Rest}.

hex(Hex) ->
    try binary_to_integer(Hex, 16) catch error:badarg -> unexpected_sequence(<<"\\u", Hex/binary>>) end.

-spec unexpected_sequence(binary()) -> no_return().
unexpected_sequence(Text) -> throw({unexpected_sequence, Text}).

number(Text) ->
    {match, [{0, Length} | Groups]} = re:run(Text, "^-?(?:0|[1-9][0-9]*)?(\\.[0-9]+)?([eE][-+]?[0-9]+)?"),
    <<Number:Length/binary, Rest/bits>> = Text,
    case Number of
        <<"-">> -> unexpected(Rest);
        _ -> {number(Number, Groups), after_number(Rest)}
    end.

number(Integer, []) -> binary_to_integer(Integer);
number(Number, [_Fraction]) -> binary_to_float(Number);
number(Number, [{-1, 0}, {At, _}]) ->
    <<Integer:At/binary, Exponent/binary>> = Number,
    binary_to_float(<<Integer/binary, ".0", Exponent/binary>>);
number(Number, [_Fraction, _Exponent]) -> binary_to_float(Number).

%% A point or an exponent that is left has no digits, and the expression did not take it.
after_number(<<Char, Rest/bits>>) when Char =:= $.; Char =:= $e; Char =:= $E -> unexpected(Rest);
after_number(Rest) -> Rest.
