%% @private The hash of a saga's steps, which tells whether two sagas of one id have the same steps, also when
%% payloads are cleared from the log. It is SHA-256 of the steps in an encoding of their own. That encoding is
%% the same in whatever form a payload was given, and in every release of Erlang.
-module(warp_saga_hash).

-export([encode/3, of_encoded/1, is_same/3]).

-export_type([encoded/0]).

-opaque encoded() :: binary().

%% Deeper than any payload may be, with the lists around it.
-define(MAX_DEPTH, 1000).

%% @doc The encoding of a saga. It does not depend on the versions of the aggregates, which may be raised
%% between two commits of the same saga.
-spec encode(binary(), [warp_saga_plan:step()], [[non_neg_integer(), ...]]) -> encoded().
encode(Id, Steps, Groups) ->
    Each = [[Entity, Name, action(Forward), action(Reverse)]
            || #{entity := Entity, aggregate := Name, forward := Forward, compensate := Reverse}
                   <- Steps],
    value([<<"warp saga 1">>, Id, Groups, Each], ?MAX_DEPTH, <<>>).

%% @doc The hash of an encoded saga, as the saga's log has it: 64 hexadecimal digits.
-spec of_encoded(encoded()) -> binary().
of_encoded(Encoded) ->
    binary:encode_hex(crypto:hash(sha256, Encoded)).

action({event, Type, Payload}) -> [<<"event">>, Type, Payload];
action({run, Name, Args}) -> [<<"run">>, Name, Args];
action(cleared) -> [].

%% Every value says what it is and where it ends, so no two values have the same encoding. The engine refuses
%% later what is no JSON or too deep.
value(Text, _, To) when is_binary(Text) -> text($s, Text, To);
value(true, _, To) -> <<To/binary, $t>>;
value(false, _, To) -> <<To/binary, $f>>;
value(null, _, To) -> <<To/binary, $n>>;
value(Atom, _, To) when is_atom(Atom) -> text($s, atom_to_binary(Atom), To);
value(Int, _, To) when is_integer(Int) -> text($i, integer_to_binary(Int), To);
value(Float, _, To) when is_float(Float), Float == 0 -> <<To/binary, $d, 0.0/float>>;
value(Float, _, To) when is_float(Float) -> <<To/binary, $d, Float/float>>;
value(List, Depth, To) when is_list(List), Depth > 0 ->
    list(List, Depth - 1, <<To/binary, $l, (count(List, 0)):32>>);
value(Map, Depth, To) when is_map(Map), Depth > 0 ->
    Members = lists:keysort(1, [{key(Key), Value} || {Key, Value} <- maps:to_list(Map)]),
    members(Members, Depth - 1, <<To/binary, $m, (map_size(Map)):32>>);
value(_Other, _, To) -> <<To/binary, $x>>.

list([Value | Values], Depth, To) -> list(Values, Depth, value(Value, Depth, To));
list(_End, _Depth, To) -> To.

count([_ | Values], Count) -> count(Values, Count + 1);
count(_End, Count) -> Count.

members([], _Depth, To) -> To;
members([{Key, Value} | Members], Depth, To) ->
    members(Members, Depth, value(Value, Depth, text($s, Key, To))).

key(Key) when is_binary(Key) -> Key;
key(Key) when is_atom(Key) -> atom_to_binary(Key);
key(_Other) -> <<>>.

text(Tag, Text, To) -> <<To/binary, Tag, (byte_size(Text)):32, Text/binary>>.

%% @doc Whether a stored hash is that of a plan, whose own hash is given too. Logs of earlier versions have a
%% number of 32 bits in place of the hash.
-spec is_same(warp_saga_plan:hash(), warp_saga_plan:hash(), fun(() -> warp_saga_plan:plan())) ->
    boolean().
is_same(Hash, Hash, _Plan) -> true;
is_same(Stored, _Hash, Plan) when is_integer(Stored) -> Stored =:= number(Plan());
is_same(_Stored, _Hash, _Plan) -> false.

number(#{id := Id, groups := Groups, steps := Steps}) ->
    Each = [{Entity, Name, Forward, Reverse}
            || #{entity := Entity, aggregate := Name, forward := Forward, compensate := Reverse}
                   <- Steps],
    erlang:phash2({Id, Groups, Each}, 1 bsl 32).
