%% JSON values keep their value: given, folded live, replayed cold, and on disk.
-module(warp_json_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {seconds, 60}}].
all() -> warp_test:both_modes().
groups() -> warp_test:both_modes(cases()).
init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_, _) -> ok.
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

cases() ->
    [integers_of_any_size_keep_their_value,
     integers_as_json_text_keep_their_value,
     integers_of_more_than_308_digits_are_refused,
     floats_keep_every_bit,
     floats_as_json_text_keep_their_value,
     random_numbers_keep_their_value,
     strings_keep_every_character,
     escapes_in_json_text_are_read,
     keys_are_strings_like_any_other,
     null_and_booleans_are_atoms_and_other_atoms_strings,
     json_text_and_a_map_of_the_same_value_are_the_same,
     a_key_given_twice_is_seen_the_same_everywhere,
     metadata_keeps_its_values_too,
     types_and_ids_may_be_any_text].

integers_of_any_size_keep_their_value(Config) ->
    assert_kept(Config, integers()).

integers_as_json_text_keep_their_value(Config) ->
    assert_text_kept(Config, [{integer_to_binary(N), N} || N <- integers()]).

integers_of_more_than_308_digits_are_refused(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Smallest = binary_to_integer(<<"1", (binary:copy(<<"0">>, 308))/binary>>),
    [begin
         Text = iolist_to_binary(["{\"v\":[", integer_to_binary(N), "]}"]),
         ?assertMatch({error, {bad_event, 1, payload, {not_json, _}}},
                      warp_core:append(Alice, warp_test:saw(#{v => [N]}))),
         ?assertMatch({error, {bad_event, 1, payload, {not_json, _}}},
                      warp_core:append(Alice, warp_test:noted(#{<<"v">> => N}))),
         ?assertMatch({error, {bad_event, 1, payload, {invalid_json, _}}},
                      warp_core:append(Alice, warp_test:saw(Text)))
     end || N <- [Smallest, -Smallest, Smallest + 7, 1 bsl 4000]],
    warp_test:assert_whole(Alice, 0).

integers() ->
    Near = [1 bsl 31, 1 bsl 53, 1 bsl 59, 1 bsl 60, 1 bsl 63, 1 bsl 64, 1 bsl 128, 1 bsl 200,
            1 bsl 1023 - 1],
    Largest = binary_to_integer(binary:copy(<<"9">>, 308)),
    [0, 1, -1, 123456789012345678901234567890, Largest, -Largest]
        ++ [Sign * (N + D) || N <- Near, D <- [-1, 0, 1], Sign <- [1, -1]].

floats_keep_every_bit(Config) ->
    assert_kept(Config, floats()).

floats() ->
    [0.0, -0.0, 1.0, -1.0, 1.5, 0.1, 1 / 3, 1.0e-7, 1.0e7, 1.0e15, 1.0e16, 1.0e17, 1.0e21,
     1.0e22, 1.0e23, 5.0e-324, 2.2250738585072014e-308, 1.7976931348623157e308,
     9007199254740993.0, 123456789.123456789, 8.41e21, 2.0e-308].

floats_as_json_text_keep_their_value(Config) ->
    assert_text_kept(Config,
        [{<<"1.0">>, 1.0}, {<<"1e2">>, 100.0}, {<<"1E+2">>, 100.0}, {<<"-0.0">>, -0.0},
         {<<"0.1e1">>, 1.0}, {<<"5e-324">>, 5.0e-324},
         {<<"1.7976931348623157e308">>, 1.7976931348623157e308},
         {<<"9007199254740993.0">>, 9007199254740992.0},
         {<<"3.141592653589793238462643383279">>, 3.141592653589793}]).

random_numbers_keep_their_value(Config) ->
    _ = rand:seed(exsss, 2013),
    Floats = [F || _ <- lists:seq(1, 2000),
                   <<F:64/float>> <- [<<(rand:uniform(1 bsl 64) - 1):64>>]],
    Integers = [rand:uniform(1 bsl rand:uniform(150)) - (1 bsl 75) || _ <- lists:seq(1, 2000)],
    Written = [io_lib:format(Format, [F]) || F <- lists:sublist(Floats, 500),
                                             Format <- ["~.17e", "~.20e", "~w"]],
    Text = iolist_to_binary(["{\"v\":[", lists:join(",", Written), "]}"]),
    Same = [F || F <- lists:sublist(Floats, 500), _ <- [17, 20, shortest]],
    assert_comes_out(Config, [#{<<"v">> => Floats ++ Integers}, Text],
                     [#{<<"v">> => Floats ++ Integers}, #{<<"v">> => Same}]).

strings_keep_every_character(Config) ->
    assert_kept(Config,
        [<<>>, <<" ">>, <<"a", 0, "b">>, <<0>>, list_to_binary(lists:seq(0, 127)),
         <<"\"quoted\" \\ / \b\f\n\r\t">>, <<"'; drop table log; --">>,
         <<"Grüße, 世界, مرحبا, 🦀👩‍👩‍👧"/utf8>>, <<"e\x{301}"/utf8>>,
         <<16#2028/utf8, 16#2029/utf8>>,
         <<16#FFFF/utf8, 16#FFFE/utf8, 16#10FFFF/utf8>>, <<"\\u0041">>, <<"null">>, <<"{}">>,
         binary:copy(<<"long ">>, 10000)]).

escapes_in_json_text_are_read(Config) ->
    assert_text_kept(Config,
        [{<<"\"\\u0000\"">>, <<0>>}, {<<"\"\\u00e9\\u00E9\"">>, <<"éé"/utf8>>},
         {<<"\"\\ud83e\\udd80\"">>, <<"🦀"/utf8>>}, {<<"\"\\/\\\\\\\"\\n\"">>, <<"/\\\"\n">>},
         {<<" [ 1 , \n {\"a\" : [ ] } ] ">>, [1, #{<<"a">> => []}]}]).

keys_are_strings_like_any_other(Config) ->
    assert_kept(Config,
        [#{}, #{<<>> => 1}, #{<<>> => #{<<>> => <<>>}}, #{<<0>> => 1}, #{<<"a\"b\\c\n">> => 1},
         #{<<"🦀"/utf8>> => 1}, #{<<"a">> => 1, <<"A">> => 2, <<"a ">> => 3},
         maps:from_list([{integer_to_binary(N), N} || N <- lists:seq(1, 1000)])]).

null_and_booleans_are_atoms_and_other_atoms_strings(Config) ->
    Given = #{null => null, nil => nil, true => true, false => false,
              atom => hello, undefined => undefined, 'é' => ['Grüße', [nil, ok]]},
    assert_comes_out(Config, [Given],
        [#{<<"null">> => null, <<"nil">> => null, <<"true">> => true, <<"false">> => false,
           <<"atom">> => <<"hello">>, <<"undefined">> => <<"undefined">>,
           <<"é"/utf8>> => [<<"Grüße"/utf8>>, [null, <<"ok">>]]}]).

json_text_and_a_map_of_the_same_value_are_the_same(Config) ->
    Value = #{<<"a">> => [1, 1.0, -0.5, null, true, <<"é"/utf8>>, #{}, []], <<"b">> => 1 bsl 70},
    Text = <<"{\"a\":[1,1.0,-0.5,null,true,\"\\u00e9\",{},[]],\"b\":1180591620717411303424}">>,
    assert_comes_out(Config, [Value, Text], [Value, Value]).

%% JSON leaves open which value counts; whichever it is, all must agree on it.
a_key_given_twice_is_seen_the_same_everywhere(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Twice = [<<"{\"a\":1,\"a\":2}">>, <<"{\"x\":{\"a\":1,\"b\":0,\"\\u0061\":2}}">>,
             #{a => 1, <<"a">> => 2}],
    Taken = length([ok || Payload <- Twice,
                          {ok, _} <- [warp_core:append(Alice, warp_test:saw(Payload))]]),
    Live = payloads(warp_core:get(Alice, <<"Seen">>)),
    Again = warp_core:entity(warp_test:restart(Ctx), <<"alice">>),
    ?assertEqual(Live, payloads(warp_core:get(Again, <<"Seen">>))),
    ?assertEqual(Taken, length(Live)),
    Shell = [Row || File <- warp_test:shard_files(proplists:get_value(dir, Config)),
                    Row <- warp_test:sqlite(File, "select payload from events order by seq")],
    [?assertEqual(nomatch, re:run(Row, "\"a\".*\"a\"")) || Row <- Shell].

metadata_keeps_its_values_too(Config) ->
    Metadata = #{<<"n">> => 1 bsl 70, <<"f">> => 1.0, <<"s">> => <<"a", 0, "🦀"/utf8>>,
                 <<>> => null, <<"l">> => [true, #{<<"deep">> => []}]},
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, 1} = warp_core:append(Alice, (warp_test:saw(#{}))#{metadata => Metadata}),
    {ok, {2, 3}} = warp_core:append_batch(Alice, [(warp_test:saw(#{}))#{metadata => #{by => bob}},
                                                  warp_test:saw(#{})]),
    Expected = [Metadata, #{<<"by">> => <<"bob">>}, #{}],
    Again = warp_core:entity(warp_test:restart(Ctx), <<"alice">>),
    ?assertEqual(Expected, [M || #{metadata := M} <- warp_test:history(Again)]),
    {ok, State} = warp_core:get(Again, <<"Seen">>),
    ?assertEqual(Expected, [M || #{metadata := M} <- lists:reverse(State)]).

types_and_ids_may_be_any_text(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Texts = [<<"it's \"quoted\"">>, <<"a\nb\t\\">>, <<"a", 0, "b">>, <<"🦀é"/utf8>>, <<" ">>],
    Events = [(warp_test:saw(#{}))#{type => Text, id => Text} || Text <- Texts],
    {ok, {1, 5}} = warp_core:append_batch(Alice, Events),
    [?assertEqual({ok, N}, warp_core:append(Alice, Event))
     || {N, Event} <- lists:zip(lists:seq(1, 5), Events)],
    Again = warp_core:entity(warp_test:restart(Ctx), <<"alice">>),
    ?assertEqual([{Text, Text} || Text <- Texts],
                 [{Type, Id} || #{type := Type, id := Id} <- warp_test:history(Again)]),
    ?assertEqual({ok, 3}, warp_core:append(Again, lists:nth(3, Events))).

%% ---------------------------------------------------------------- helpers

assert_kept(Config, Values) ->
    Payload = #{<<"v">> => Values},
    One = [#{<<"v">> => Value} || Value <- lists:sublist(Values, 100)],
    assert_comes_out(Config, [Payload | One], [Payload | One]).

assert_text_kept(Config, Pairs) ->
    assert_comes_out(Config, [<<"{\"v\":", Text/binary, "}">> || {Text, _} <- Pairs],
                     [#{<<"v">> => Value} || {_, Value} <- Pairs]).

%% As single appends and as a batch; seen by apply live and on replay.
assert_comes_out(Config, Given, Expected) ->
    Ctx = warp_test:start(Config),
    Events = [warp_test:saw(Payload) || Payload <- Given],
    [Single, Batch] = [warp_core:entity(Ctx, Id) || Id <- [<<"single">>, <<"batch">>]],
    [{ok, _} = warp_core:append(Single, Event) || Event <- Events],
    {ok, _} = warp_core:append_batch(Batch, Events),
    assert_seen([Single, Batch], Expected),
    Again = warp_test:restart(Ctx),
    assert_seen([warp_core:entity(Again, Id) || Id <- [<<"single">>, <<"batch">>]], Expected).

assert_seen(Entities, Expected) ->
    [begin
         assert_same(Expected, payloads(warp_core:get(Entity, <<"Seen">>))),
         assert_same(Expected, [P || #{payload := P} <- warp_test:history(Entity)])
     end || Entity <- Entities].

%% Compared as external terms too, because -0.0 matches 0.0 otherwise.
assert_same(Expected, Actual) ->
    ?assertEqual(Expected, Actual),
    ?assertEqual([external(E) || E <- Expected], [external(A) || A <- Actual]).

external(Term) ->
    term_to_binary(Term, [deterministic]).

payloads({ok, Events}) ->
    [Payload || #{payload := Payload} <- lists:reverse(Events)].
