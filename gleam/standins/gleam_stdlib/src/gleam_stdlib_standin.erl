%% Printing, dicts and dynamic data of the stand-in of gleam_stdlib.
-module(gleam_stdlib_standin).

-export([identity/1, print/1, print_error/1]).
-export([map_get/2, map_has/2, map_put/3, map_remove/2, map_fold/3]).
-export([classify/1, decode_string/1, decode_bits/1, decode_int/1, decode_float/1, decode_bool/1,
         list_items/1, map_of/1, is_null/1, index/2]).

-type result(Value, Error) :: {ok, Value} | {error, Error}.

-spec identity(Term) -> Term.
identity(Term) ->
    Term.

-spec print(binary()) -> nil.
print(Text) ->
    io:put_chars(Text),
    nil.

-spec print_error(binary()) -> nil.
print_error(Text) ->
    io:put_chars(standard_error, Text),
    nil.

%% Dicts

-spec map_get(map(), term()) -> result(term(), nil).
map_get(Map, Key) ->
    case Map of
        #{Key := Value} -> {ok, Value};
        _ -> {error, nil}
    end.

-spec map_has(map(), term()) -> boolean().
map_has(Map, Key) -> is_map_key(Key, Map).

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
    case gleam_bit_array_standin:to_string(Term) of
        {ok, Text} -> {ok, Text};
        {error, nil} -> {error, <<>>}
    end;
decode_string(_) ->
    {error, <<>>}.

-spec decode_bits(term()) -> result(bitstring(), bitstring()).
decode_bits(Bits) when is_bitstring(Bits) -> {ok, Bits};
decode_bits(_) -> {error, <<>>}.

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
