%% Random terms and texts, most of them such as nobody should send.
-module(warp_hostile).

-export([seed/0, one_of/1, term/0, json/1, text_of/1, mutated/1]).

%% The seed is shown, so that a failure can be had again: WARP_SEED=N.
seed() ->
    Seed = case os:getenv("WARP_SEED") of
               false -> erlang:unique_integer([positive]) + erlang:system_time(second);
               Given -> list_to_integer(Given)
           end,
    ct:pal("WARP_SEED=~b", [Seed]),
    _ = rand:seed(exsss, Seed),
    ok.

one_of(List) -> lists:nth(rand:uniform(length(List)), List).

%% ------------------------------------------------------------------ Any terms

%% Something of any kind, odd more often than not.
term() -> term(2).

term(0) -> odd();
term(Depth) ->
    Inner = fun() -> term(Depth - 1) end,
    case rand:uniform(12) of
        1 -> [Inner()];
        2 -> [Inner() | Inner()];
        3 -> {Inner(), Inner()};
        4 -> #{Inner() => Inner()};
        N when N < 8 -> json(3);
        _ -> odd()
    end.

odd() ->
    case rand:uniform(15) of
        1 -> nested_list(10000, []);
        2 -> nested_map(5000, #{});
        3 -> binary:copy(<<1>>, 2000000);
        _ -> small()
    end.

small() ->
    one_of([<<1:3>>, <<"x", 1:1>>, <<255>>, <<>>, <<0>>, <<"$warp/x">>, binary:copy(<<1>>, 600),
            [a | b], [1, 2 | 3], [<<"x">> | tail], "text", [1114112],
            0, -1, 1 bsl 62, 1 bsl 64, -(1 bsl 64), 1 bsl 5000, -(1 bsl 70000), 1.0e308, -0.0,
            infinity, undefined, '', nil, null, true, 'é', 'Ж', any, no_stream, forward,
            self(), make_ref(), fun() -> ok end, fun(_) -> error(hostile) end, fun(_, _) -> ok end,
            fun erlang:exit/1, hd(erlang:ports()), {}, {seq, 1 bsl 100}, {seq, -1}, {seq, a},
            {time, 1 bsl 100}, {time, -(1 bsl 100)}, {time, 1.5}, #{}, #{1.5 => 2}, #{self() => x},
            #{<<1:3>> => 1}, [#{} | #{}],
            [[[[]]] | [[[]]]]]).

nested_list(0, List) -> List;
nested_list(N, List) -> nested_list(N - 1, [List]).

nested_map(0, Map) -> Map;
nested_map(N, Map) -> nested_map(N - 1, #{<<"a">> => Map}).

%% --------------------------------------------------- Terms that JSON may say

%% A term so deep, most often one that JSON has a form for.
json(Depth) when Depth > 0 ->
    case rand:uniform(10) of
        N when N =< 3 -> [json(Depth - 1) || _ <- lists:seq(1, rand:uniform(4) - 1)];
        N when N =< 6 -> maps:from_list([{key(), json(Depth - 1)} || _ <- lists:seq(1, rand:uniform(4) - 1)]);
        _ -> json(0)
    end;
json(_) ->
    case rand:uniform(60) of
        1 -> one_of([self(), make_ref(), {a}, [1 | 2], <<1:3>>, fun() -> ok end, [[] | a]]);
        2 -> #{one_of([1, {a}, [], <<1:3>>, self()]) => 1};
        3 -> list_to_binary([rand:uniform(256) - 1 || _ <- lists:seq(1, 6)]);
        4 -> one_of([1, -1]) * (rand:uniform(9) * pow10(rand:uniform(20) + 297));
        N when N =< 15 -> integer();
        N when N =< 30 -> float();
        N when N =< 40 -> one_of([null, nil, true, false, atom, 'é', 'Ж', '', undefined, 'a"b']);
        _ -> string()
    end.

key() ->
    case rand:uniform(20) of
        1 -> <<"a", 255>>;
        N when N < 8 -> one_of([a, b, null, true, 'é', 'Ж', 'a b']);
        N when N < 14 -> one_of([<<"a">>, <<"b">>, <<"null">>, <<"é"/utf8>>, <<>>,
                                 <<"$serde_json::private::RawValue">>,
                                 <<"$serde_json::private::Number">>]);
        _ -> string()
    end.

integer() ->
    Near = one_of([0, 10, 1 bsl 31, 1 bsl 53, 1 bsl 60, 1 bsl 63, 1 bsl 64, 1 bsl 200]),
    one_of([1, -1]) * (Near + rand:uniform(5) - 3).

float() ->
    case <<(rand:uniform(1 bsl 64) - 1):64>> of
        <<F:64/float>> when F < 0; F >= 0 -> one_of([F, rand:uniform() * 1.0e6, one_of([0.0, -0.0, 1.0, 1.0e15,
                                                                    1.0e22, 5.0e-324, 0.1, 100.0])]);
        _ -> 1.5
    end.

string() ->
    Chars = [one_of([rand:uniform(32) - 1, 31 + rand:uniform(96), $", $\\, 127, 16#E9, 16#2028,
                     16#1F980, 16#FFFF, 16#10FFFF]) || _ <- lists:seq(1, rand:uniform(8) - 1)],
    unicode:characters_to_binary(Chars).

pow10(0) -> 1;
pow10(N) -> 10 * pow10(N - 1).

%% ---------------------------------------------------------------- JSON texts

%% What the term is as JSON text, in one of many forms: `none' where there is none. Text that is not
%% JSON comes of terms that are not either.
text_of(Term) ->
    try iolist_to_binary(text(Term))
    catch throw:none -> none
    end.

text(N) when is_integer(N) -> integer_to_list(N);
text(F) when is_float(F) -> one_of([float_to_list(F, [{scientific, 20}]), io_lib:format("~w", [F])]);
text(true) -> "true";
text(false) -> "false";
text(Null) when Null =:= null; Null =:= nil -> "null";
text(Atom) when is_atom(Atom) -> text(atom_to_binary(Atom));
text(Text) when is_binary(Text) -> [$", escaped(Text), $"];
text(List) when is_list(List) ->
    try length(List) of
        _ -> [$[, blank(), lists:join($,, [text(Item) || Item <- List]), $]]
    catch error:badarg -> throw(none)
    end;
text(Map) when is_map(Map) ->
    [${, lists:join($,, [[blank(), text_key(Key), $:, text(Value)] || {Key, Value} <- maps:to_list(Map)]), $}];
text(_) ->
    throw(none).

text_key(Key) when is_binary(Key) -> text(Key);
text_key(Key) when is_atom(Key) -> text(atom_to_binary(Key));
text_key(_) -> throw(none).

blank() -> one_of(["", "", " ", "\n\t"]).

escaped(<<C/utf8, Rest/binary>>) when C < 32; C =:= $"; C =:= $\\ ->
    [io_lib:format("\\u~4.16.0b", [C]) | escaped(Rest)];
escaped(<<C/utf8, Rest/binary>>) when C < 16#D800 ->
    [one_of([<<C/utf8>>, io_lib:format("\\u~4.16.0B", [C])]) | escaped(Rest)];
escaped(<<C/utf8, Rest/binary>>) -> [<<C/utf8>> | escaped(Rest)];
escaped(<<Byte, Rest/binary>>) -> [Byte | escaped(Rest)];
escaped(<<>>) -> [];
escaped(_Bits) -> throw(none).

%% The text, damaged in a place or two.
mutated(Text) ->
    lists:foldl(fun(_, Now) -> damaged(Now) end, Text, lists:seq(1, rand:uniform(3))).

damaged(<<>>) -> one_of([<<"{">>, <<"{}">>]);
damaged(Text) ->
    At = rand:uniform(byte_size(Text)) - 1,
    <<Before:At/binary, Byte, After/binary>> = Text,
    case rand:uniform(4) of
        1 -> <<Before/binary, After/binary>>;
        2 -> <<Before/binary, (rand:uniform(256) - 1), After/binary>>;
        3 -> <<Before/binary, Byte, (one_of([<<"0">>, <<"-">>, <<"e5">>, <<"1e999">>, <<"[">>, <<"}">>, <<",">>,
                                             <<"\"a\":1,">>, <<"null">>, <<"-0">>, <<"\\ud800">>,
                                             <<"36893488147419103232">>, <<" ">>, <<"\"">>]))/binary,
               After/binary>>;
        4 -> <<Before/binary, Byte, Byte, After/binary>>
    end.
