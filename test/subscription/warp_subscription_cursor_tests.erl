%% Cursors: what they say comes back, and nothing else is taken for one.
-module(warp_subscription_cursor_tests).

-include_lib("eunit/include/eunit.hrl").

a_cursor_comes_back_and_no_other_test_() ->
    {timeout, 60, fun() -> ?assert(proper:quickcheck(prop(), [{numtests, 2000}, {to_file, user}])) end}.

prop() ->
    Position = proper_types:oneof([proper_types:range(1, 300), proper_types:range(1, 1 bsl 62)]),
    Mark = proper_types:oneof([Position, {Position, Position}]),
    Marks = proper_types:list({proper_types:range(0, 4095), Mark}),
    proper:forall({Marks, Position, Position, proper_types:binary(), proper_types:non_neg_integer()},
                  fun({List, Life, Seq, Id, Change}) ->
        Places = maps:from_list(List),
        comes_back({shards, 4096}, Places, Change) andalso comes_back({entity, Id}, {Life, Seq}, Change)
    end).

comes_back(Source, Places, Change) ->
    Cursor = warp_subscription_cursor:encode(Source, Places),
    At = Change rem byte_size(Cursor),
    <<Before:At/binary, Byte, Behind/binary>> = Cursor,
    Other = <<Before/binary, (other(Byte)), Behind/binary>>,
    {ok, Places} =:= warp_subscription_cursor:decode(Source, Cursor)
        andalso nomatch =:= re:run(Cursor, "[^A-Za-z0-9_-]")
        andalso {error, not_a_cursor} =:= warp_subscription_cursor:decode(Source, Other)
        andalso {error, not_a_cursor} =:= warp_subscription_cursor:decode(Source, binary:part(Cursor, 0, At)).

%% Another letter whose six bits are others.
other($A) -> $Q;
other(_) -> $A.

a_cursor_is_short_test() ->
    Full = maps:from_list([{N, 1000000000 + N} || N <- lists:seq(0, 15)]),
    ?assert(byte_size(warp_subscription_cursor:encode({shards, 16}, Full)) < 150),
    ?assert(byte_size(warp_subscription_cursor:encode({entity, <<"alice">>}, {123456, 70000})) < 32).

what_is_no_cursor_of_this_is_named_test() ->
    OfContext = warp_subscription_cursor:encode({shards, 16}, #{3 => 7}),
    OfAlice = warp_subscription_cursor:encode({entity, <<"alice">>}, {4, 7}),
    Decode = fun warp_subscription_cursor:decode/2,
    ?assertEqual({ok, #{3 => 7}}, Decode({shards, 16}, OfContext)),
    ?assertEqual({error, {of_so_many_shards, 16}}, Decode({shards, 4}, OfContext)),
    ?assertEqual({error, of_an_entity}, Decode({shards, 16}, OfAlice)),
    ?assertEqual({error, of_a_context}, Decode({entity, <<"alice">>}, OfContext)),
    ?assertEqual({error, of_another_entity}, Decode({entity, <<"bob">>}, OfAlice)),
    [?assertEqual({Term, {error, not_a_cursor}}, {Term, Decode({shards, 16}, Term)})
     || Term <- [<<>>, <<"w1">>, <<"w1A">>, <<"w1AAAA">>, <<"w1====">>, "w1", none, #{}, <<"w1", 0:4096>>, <<1:3>>]].
