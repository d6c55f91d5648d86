-module(warp_text_tests).
-include_lib("eunit/include/eunit.hrl").

%% The same as unicode:characters_to_list/1 says, at each place of a text and at its end.
utf8_is_told_from_other_bytes_test() ->
    Parts = [<<"abc">>, <<"ä"/utf8>>, <<"€"/utf8>>, <<"😀"/utf8>>, <<0>>, <<127>>, <<128>>, <<255>>, <<192, 128>>,
             <<237, 160, 128>>, <<244, 144, 128, 128>>, <<226, 130>>, <<240, 159, 152>>],
    Texts = [<<Before/binary, Part/binary, After/binary>>
             || Part <- Parts, Before <- [<<>>, <<"1234567">>, <<"12345678">>, <<"ä2345678"/utf8>>],
                After <- [<<>>, <<"x">>, <<"12345678901">>]],
    lists:foreach(
        fun(Text) ->
            ?assertEqual({Text, is_list(unicode:characters_to_list(Text))}, {Text, warp_text:is_utf8(Text)})
        end,
        Texts).

random_bytes_too_test() ->
    lists:foreach(
        fun(N) ->
            Bytes = << <<(element(rand:uniform(6), {97, 195, 164, 226, 130, 172}))>> || _ <- lists:seq(1, N rem 20) >>,
            ?assertEqual({Bytes, is_list(unicode:characters_to_list(Bytes))}, {Bytes, warp_text:is_utf8(Bytes)})
        end,
        lists:seq(1, 5000)).

what_is_wrong_with_text_is_said_test() ->
    ?assertEqual(ok, warp_text:check(<<"ä"/utf8>>, 2)),
    ?assertEqual({error, {too_long, 2, 1}}, warp_text:check(<<"ä"/utf8>>, 1)),
    ?assertEqual({error, empty}, warp_text:check(<<>>, 1)),
    ?assertEqual({error, not_utf8}, warp_text:check(<<255>>, 1)),
    ?assertEqual([{error, not_a_binary}], lists:usort([warp_text:check(Term, 9) || Term <- [a, "a", 1, <<1:3>>, nil]])).

a_format_becomes_a_binary_test() ->
    ?assertEqual(<<"7 ä"/utf8>>, warp_text:format("~b ~ts", [7, <<"ä"/utf8>>])).
