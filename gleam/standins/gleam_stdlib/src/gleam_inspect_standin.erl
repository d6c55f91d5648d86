%% Terms as Gleam code, for the stand-in of gleam_stdlib.
-module(gleam_inspect_standin).

-export([inspect/1, bit_array/1]).

%% A term as Gleam code that makes it.
-spec inspect(term()) -> binary().
inspect(Term) ->
    unicode:characters_to_binary(code(Term)).

code(true) -> "True";
code(false) -> "False";
code(nil) -> "Nil";
code(Atom) when is_atom(Atom) ->
    case constructor(Atom) of
        {ok, Name} -> Name;
        error -> ["atom.create(\"", atom_to_binary(Atom), "\")"]
    end;
code(Integer) when is_integer(Integer) -> integer_to_list(Integer);
code(Float) when is_float(Float) -> io_lib_format:fwrite_g(Float);
code(Binary) when is_binary(Binary) ->
    case unicode:characters_to_list(Binary) of
        Text when is_list(Text) -> [$", lists:map(fun escape/1, Text), $"];
        _ -> bits_code(Binary)
    end;
code(Bits) when is_bitstring(Bits) -> bits_code(Bits);
code([]) -> "[]";
code(List) when is_list(List) -> list_code(List);
code(Tuple) when is_tuple(Tuple) -> tuple_code(tuple_to_list(Tuple));
code(Map) when is_map(Map) ->
    Pairs = [["#(", code(Key), ", ", code(Value), ")"] || {Key, Value} <- maps:to_list(Map)],
    ["dict.from_list([", commas(Pairs), "])"];
code(Fun) when is_function(Fun) ->
    {arity, Arity} = erlang:fun_info(Fun, arity),
    ["//fn(", commas([[Letter] || Letter <- lists:seq($a, $a + Arity - 1)]), ") { ... }"];
code(Other) ->
    ["//erl(", io_lib:format("~p", [Other]), ")"].

tuple_code([Tag | Fields] = All) ->
    case is_atom(Tag) andalso not lists:member(Tag, [true, false, nil]) andalso constructor(Tag) of
        {ok, Name} -> [Name, "(", commas(lists:map(fun code/1, Fields)), ")"];
        _ -> ["#(", commas(lists:map(fun code/1, All)), ")"]
    end;
tuple_code([]) ->
    "#()".

list_code(List) ->
    Printable = fun(Char) -> is_integer(Char) andalso Char >= 32 andalso Char =< 126 end,
    case improper_tail(List) of
        [] ->
            case lists:all(Printable, List) of
                true -> ["charlist.from_string(\"", List, "\")"];
                false -> ["[", commas(lists:map(fun code/1, List)), "]"]
            end;
        Tail ->
            ["//erl([", commas(lists:map(fun code/1, items(List))), " | ", code(Tail), "])"]
    end.

items([Item | Rest]) -> [Item | items(Rest)];
items(_) -> [].

improper_tail([_ | Rest]) -> improper_tail(Rest);
improper_tail(Tail) -> Tail.

%% Bits as Gleam code, also where they are text.
-spec bit_array(bitstring()) -> binary().
bit_array(Bits) ->
    iolist_to_binary(bits_code(Bits)).

bits_code(Bits) ->
    ["<<", commas([integer_to_list(Byte) || <<Byte>> <= Bits] ++ rest_code(Bits)), ">>"].

rest_code(Bits) ->
    Skip = bit_size(Bits) - bit_size(Bits) rem 8,
    case Bits of
        <<_:Skip/bits>> ->
            [];
        <<_:Skip/bits, Rest/bits>> ->
            Size = bit_size(Rest),
            <<Value:Size>> = Rest,
            [io_lib:format("~b:size(~b)", [Value, Size])]
    end.

%% my_variant is MyVariant.
constructor(Atom) ->
    Name = atom_to_list(Atom),
    case re:run(Name, "^[a-z][a-z0-9]*(_[a-z0-9]+)*$", [dollar_endonly]) of
        {match, _} -> {ok, [[string:to_upper(First) | Rest] || [First | Rest] <- string:lexemes(Name, "_")]};
        nomatch -> error
    end.

escape($") -> "\\\"";
escape($\\) -> "\\\\";
escape($\r) -> "\\r";
escape($\n) -> "\\n";
escape($\t) -> "\\t";
escape($\f) -> "\\f";
escape(Char) when Char < 32; Char > 126, Char < 160 -> io_lib:format("\\u{~4.16.0B}", [Char]);
escape(Char) -> Char.

commas(Parts) ->
    lists:join(", ", Parts).
