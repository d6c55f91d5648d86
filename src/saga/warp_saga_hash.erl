%% @private What tells whether two sagas of one id have the same steps, also when their payloads are
%% cleared from the log: SHA-256 of the steps in an encoding of its own, which is the same for a payload
%% in whatever form it was given, and in every release of Erlang.
-module(warp_saga_hash).

-export([of_steps/3, is_same/3]).

%% More than a payload may have, and the lists around it.
-define(MAX_DEPTH, 1000).

%% @doc The hash of a saga, as its log has it: hexadecimal digits. It does not depend on the versions
%% of the aggregates, which may be raised between two commits of the same saga.
-spec of_steps(binary(), [warp_saga_plan:step()], [[non_neg_integer(), ...]]) -> binary().
of_steps(Id, Steps, Groups) ->
    Each = [[Entity, Name, action(Forward), action(Reverse)]
            || #{entity := Entity, aggregate := Name, forward := Forward, compensate := Reverse}
                   <- Steps],
    binary:encode_hex(crypto:hash(sha256, value([<<"warp saga 1">>, Id, Groups, Each]))).

action({event, Type, Payload}) -> [<<"event">>, Type, Payload];
action({run, Name, Args}) -> [<<"run">>, Name, Args];
action(cleared) -> [].

%% Every value says what it is and where it ends, so no two have the same encoding. What is no JSON, or
%% deeper than any payload may be, will be refused.
value(Value) -> value(Value, ?MAX_DEPTH).

value(Text, _) when is_binary(Text) -> text($s, Text);
value(true, _) -> <<"t">>;
value(false, _) -> <<"f">>;
value(null, _) -> <<"n">>;
value(Atom, _) when is_atom(Atom) -> text($s, atom_to_binary(Atom));
value(Int, _) when is_integer(Int) -> text($i, integer_to_binary(Int));
value(Float, _) when is_float(Float), Float == 0 -> <<$d, 0.0/float>>;
value(Float, _) when is_float(Float) -> <<$d, Float/float>>;
value(List, Depth) when is_list(List), Depth > 0 -> list(List, Depth - 1, 0, []);
value(Map, Depth) when is_map(Map), Depth > 0 ->
    Members = lists:keysort(1, [{key(Key), Value} || {Key, Value} <- maps:to_list(Map)]),
    [<<$m, (map_size(Map)):32>>, [[text($s, Key), value(Value, Depth - 1)] || {Key, Value} <- Members]];
value(_Other, _) -> <<"x">>.

list([Value | Values], Depth, Count, Encoded) ->
    list(Values, Depth, Count + 1, [value(Value, Depth) | Encoded]);
list(_End, _Depth, Count, Encoded) ->
    [<<$l, Count:32>>, lists:reverse(Encoded)].

key(Key) when is_binary(Key) -> Key;
key(Key) when is_atom(Key) -> atom_to_binary(Key);
key(_Other) -> <<>>.

text(Tag, Text) -> [<<Tag, (byte_size(Text)):32>>, Text].

%% @doc Whether a stored hash is that of a plan, whose own is given too. Logs that were written before
%% have a number of 32 bits.
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
