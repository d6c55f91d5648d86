%% The functions of the stand-in of gleam_stdlib that are written in Erlang.
-module(gleam_stdlib_standin).

-export([identity/1, println/1, println_error/1]).
-export([parse_int/1, float_to_string/1]).
-export([contains/2, starts_with/2, replace/3, split/2, join/2, inspect/1]).
-export([map_get/2, map_put/3, map_remove/2, map_fold/3]).
-export([classify/1, decode_string/1, decode_int/1, decode_float/1, decode_bool/1, list_items/1,
         map_of/1, is_null/1, index/2]).

-type result(Value, Error) :: {ok, Value} | {error, Error}.

-spec identity(Term) -> Term.
identity(Term) ->
    Term.

-spec println(binary()) -> nil.
println(Text) ->
    io:put_chars([Text, $\n]),
    nil.

-spec println_error(binary()) -> nil.
println_error(Text) ->
    io:put_chars(standard_error, [Text, $\n]),
    nil.

%% Numbers

-spec parse_int(binary()) -> result(integer(), nil).
parse_int(Text) ->
    try {ok, binary_to_integer(Text)} catch error:badarg -> {error, nil} end.

-spec float_to_string(float()) -> binary().
float_to_string(Float) ->
    iolist_to_binary(io_lib_format:fwrite_g(Float)).

%% Strings

-spec contains(binary(), binary()) -> boolean().
contains(Text, Part) ->
    string:find(Text, Part) =/= nomatch.

-spec starts_with(binary(), binary()) -> boolean().
starts_with(Text, Prefix) ->
    binary:longest_common_prefix([Text, Prefix]) =:= byte_size(Prefix).

-spec replace(binary(), binary(), binary()) -> binary().
replace(Text, Pattern, With) ->
    unicode:characters_to_binary(string:replace(Text, Pattern, With, all)).

-spec split(binary(), binary()) -> [binary()].
split(Text, <<>>) -> graphemes(Text);
split(Text, On) -> string:split(Text, On, all).

-spec join([binary()], binary()) -> binary().
join(Texts, Between) ->
    iolist_to_binary(lists:join(Between, Texts)).

-spec graphemes(binary()) -> [binary()].
graphemes(Text) ->
    [unicode:characters_to_binary([Cluster]) || Cluster <- string:to_graphemes(Text)].

-spec bit_array_to_string(bitstring()) -> result(binary(), nil).
bit_array_to_string(Bits) when is_binary(Bits) ->
    case unicode:characters_to_list(Bits) of
        Text when is_list(Text) -> {ok, Bits};
        _ -> {error, nil}
    end;
bit_array_to_string(_) ->
    {error, nil}.

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
            ["//erl([", commas(lists:map(fun code/1, list_items_of(List))), " | ", code(Tail), "])"]
    end.

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

%% Dicts

-spec map_get(map(), term()) -> result(term(), nil).
map_get(Map, Key) ->
    case Map of
        #{Key := Value} -> {ok, Value};
        _ -> {error, nil}
    end.

-spec map_put(map(), term(), term()) -> map().
map_put(Map, Key, Value) -> Map#{Key => Value}.

-spec map_remove(map(), term()) -> map().
map_remove(Map, Key) -> maps:remove(Key, Map).

-spec map_fold(map(), Acc, fun((Acc, term(), term()) -> Acc)) -> Acc.
map_fold(Map, Initial, Fun) ->
    maps:fold(fun(Key, Value, Acc) -> Fun(Acc, Key, Value) end, Initial, Map).

%% Dynamic data

-spec classify(term()) -> binary().
classify(Null) when Null =:= nil; Null =:= null; Null =:= undefined -> <<"Nil">>;
classify(Term) when is_boolean(Term) -> <<"Bool">>;
classify(Term) when is_atom(Term) -> <<"Atom">>;
classify(Term) when is_binary(Term) -> <<"String">>;
classify(Term) when is_bitstring(Term) -> <<"BitArray">>;
classify(Term) when is_integer(Term) -> <<"Int">>;
classify(Term) when is_float(Term) -> <<"Float">>;
classify(Term) when is_list(Term) -> <<"List">>;
classify(Term) when is_map(Term) -> <<"Dict">>;
classify(Term) when is_tuple(Term) -> <<"Array">>;
classify(Term) when is_reference(Term) -> <<"Reference">>;
classify(Term) when is_pid(Term) -> <<"Pid">>;
classify(Term) when is_port(Term) -> <<"Port">>;
classify(Term) when is_function(Term) -> <<"Function">>.

-spec decode_string(term()) -> result(binary(), binary()).
decode_string(Term) when is_bitstring(Term) ->
    case bit_array_to_string(Term) of
        {ok, Text} -> {ok, Text};
        {error, nil} -> {error, <<>>}
    end;
decode_string(_) ->
    {error, <<>>}.

-spec decode_int(term()) -> result(integer(), integer()).
decode_int(Integer) when is_integer(Integer) -> {ok, Integer};
decode_int(_) -> {error, 0}.

-spec decode_float(term()) -> result(float(), float()).
decode_float(Float) when is_float(Float) -> {ok, Float};
decode_float(_) -> {error, 0.0}.

-spec decode_bool(term()) -> result(boolean(), boolean()).
decode_bool(Boolean) when is_boolean(Boolean) -> {ok, Boolean};
decode_bool(_) -> {error, false}.

-spec list_items(term()) -> result(list(), nil).
list_items(List) when is_list(List) -> {ok, list_items_of(List)};
list_items(Tuple) when is_tuple(Tuple) -> {ok, tuple_to_list(Tuple)};
list_items(_) -> {error, nil}.

list_items_of([Item | Rest]) -> [Item | list_items_of(Rest)];
list_items_of(_) -> [].

improper_tail([_ | Rest]) -> improper_tail(Rest);
improper_tail(Tail) -> Tail.

-spec map_of(term()) -> result(map(), nil).
map_of(Map) when is_map(Map) -> {ok, Map};
map_of(_) -> {error, nil}.

-spec is_null(term()) -> boolean().
is_null(Term) ->
    classify(Term) =:= <<"Nil">>.

%% Of a list, the first eight items can be had by their index.
-spec index(term(), term()) -> result({some, term()} | none, binary()).
index(List, Index) when is_list(List), is_integer(Index), Index >= 0, Index < 8 ->
    case lists:sublist(list_items_of(List), Index + 1, 1) of
        [Item] -> {ok, {some, Item}};
        [] -> {error, <<"Indexable">>}
    end;
index(Tuple, Index) when is_tuple(Tuple), is_integer(Index) ->
    case Index >= 0 andalso Index < tuple_size(Tuple) of
        true -> {ok, {some, element(Index + 1, Tuple)}};
        false -> {ok, none}
    end;
index(Map, Key) when is_map(Map) ->
    case Map of
        #{Key := Value} -> {ok, {some, Value}};
        _ -> {ok, none}
    end;
index(_, Index) when is_integer(Index) ->
    {error, <<"Indexable">>};
index(_, _) ->
    {error, <<"Dict">>}.
