%% Bad input is refused before it is stored, by name, and leaves the log as it was.
-module(warp_input_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-define(MAX_PAYLOAD, 1048576).
-define(MAX_BATCH_BYTES, 16777216).

suite() -> [{timetrap, {seconds, 60}}].
all() -> warp_test:both_modes().
groups() -> warp_test:both_modes(cases()).
init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_, _) -> ok.
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

cases() ->
    [a_bad_entity_id_is_refused_by_every_operation,
     an_entity_id_of_512_bytes_is_taken,
     text_that_is_not_json_is_refused,
     json_that_is_not_an_object_is_refused,
     terms_that_json_can_not_say_are_refused,
     what_json_can_not_say_is_named_with_the_place_where_it_stands,
     metadata_is_checked_like_the_payload,
     nesting_is_taken_to_128_levels_and_no_deeper,
     a_payload_of_a_mebibyte_is_taken_and_no_larger,
     each_field_is_checked_by_name,
     an_unknown_field_is_refused_by_name,
     a_bad_event_in_a_batch_is_counted_from_one_and_refuses_all,
     batches_have_limits,
     an_unknown_aggregate_is_refused,
     append_options_are_checked_by_name,
     decide_checks_what_the_fun_returns].

a_bad_entity_id_is_refused_by_every_operation(Config) ->
    Ctx = warp_test:start(Config),
    Bad = [{<<>>, empty},
           {<<255>>, not_utf8}, {<<"ab", 16#C3>>, not_utf8}, {<<16#ED, 16#A0, 16#80>>, not_utf8},
           {alice, not_a_binary}, {"alice", not_a_binary}, {<<1:3>>, not_a_binary},
           {binary:copy(<<"x">>, 513), {too_long, 513, 512}},
           {binary:copy(<<"é"/utf8>>, 257), {too_long, 514, 512}}],
    Operations =
        [fun(E) -> warp_core:append(E, warp_test:credited(1)) end,
         fun(E) -> warp_core:append_batch(E, [warp_test:credited(1)]) end,
         fun(E) -> warp_core:decide(E, <<"Account">>, fun(_) -> {ok, []} end) end,
         fun(E) -> warp_core:get(E, <<"Account">>) end,
         fun(E) -> warp_core:state_at(E, <<"Account">>, {seq, 1}) end,
         fun(E) -> warp_core:history(E) end,
         fun(E) -> warp_core:history(E, #{}) end,
         fun(E) -> warp_core:export(E) end,
         fun(E) -> warp_core:delete(E) end],
    [?assertEqual({Id, {error, {bad_entity_id, Why}}},
                  {Id, Operation(warp_core:entity(Ctx, Id))})
     || {Id, Why} <- Bad, Operation <- Operations].

an_entity_id_of_512_bytes_is_taken(Config) ->
    Ctx = warp_test:start(Config),
    Entity = warp_core:entity(Ctx, binary:copy(<<"é"/utf8>>, 256)),
    ?assertEqual({ok, 1}, warp_core:append(Entity, warp_test:credited(1))),
    warp_test:passivate(Entity),
    ?assertEqual({ok, 1}, warp_core:get(Entity, <<"Account">>)).

text_that_is_not_json_is_refused(Config) ->
    with_untouched_log(Config, fun(Alice) ->
        [?assertMatch({Text, {error, {bad_event, 1, payload, {invalid_json, _}}}},
                      {Text, append_payload(Alice, Text)})
         || Text <- [<<>>, <<" ">>, <<"{">>, <<"}">>, <<"{}x">>, <<"{} {}">>, <<"{a:1}">>,
                     <<"{'a':1}">>, <<"{\"a\":1,}">>, <<"{\"a\" 1}">>, <<"{\"a\":}">>,
                     <<"{\"a\":01}">>, <<"{\"a\":+1}">>, <<"{\"a\":.5}">>, <<"{\"a\":1.}">>,
                     <<"{\"a\":NaN}">>, <<"{\"a\":Infinity}">>, <<"{\"a\":nul}">>,
                     <<"{\"a\":1e400}">>, <<"{\"a\":-1e400}">>, <<"{\"a\":[1.5E999]}">>,
                     <<"{\"a\":\"\\ud800\"}">>, <<"{\"a\":\"\\udc00\\ud800\"}">>,
                     <<"{\"\\ud800x\":1}">>, <<"{\"a\":\"\\x41\"}">>, <<"{\"a\":\"\\u12\"}">>,
                     <<"{\"a\":\"", 255, "\"}">>, <<"{\"a\":\"", 10, "\"}">>,
                     <<"{\"a\":\"", 0, "\"}">>, <<"{\"a\":1}", 0>>, <<16#EF, 16#BB, 16#BF, "{}">>,
                     <<"// comment\n{}">>, <<"{\"a\":[1,2}">>, <<"{\"a\":\"open}">>]]
    end).

json_that_is_not_an_object_is_refused(Config) ->
    with_untouched_log(Config, fun(Alice) ->
        [?assertEqual({error, {bad_event, 1, payload, not_an_object}},
                      append_payload(Alice, Text))
         || Text <- [<<"[]">>, <<"[{}]">>, <<"1">>, <<"\"text\"">>, <<"null">>, <<" true ">>]]
    end).

terms_that_json_can_not_say_are_refused(Config) ->
    Nothing = [self(), make_ref(), fun() -> ok end, {a, tuple}, [1 | 2], <<255>>, <<1:3>>,
               #{{a, tuple} => 1}, #{[a] => 1}, #{<<255>> => 1}, [[#{k => {}}]]],
    with_untouched_log(Config, fun(Alice) ->
        [?assertMatch({Term, {error, {bad_event, 1, payload, {not_json, _}}}},
                      {Term, append_payload(Alice, #{a => Term})}) || Term <- Nothing],
        [?assertMatch({error, {bad_event, 1, payload, _}}, append_payload(Alice, NotAMap))
         || NotAMap <- [[], [1], 1, 1.5, null, text, {a, b}, self()]]
    end).

what_json_can_not_say_is_named_with_the_place_where_it_stands(Config) ->
    Date = #{'__struct__' => 'Elixir.Date', year => 2026, month => 11, day => 27},
    Cases = [{#{order => #{<<"items">> => [1, #{price => {12, 50}}]}}, <<"tuple at order.items[1].price">>},
             {#{<<"the date">> => [Date]}, <<"struct 'Elixir.Date' at [\"the date\"][0]">>},
             {Date, <<"struct 'Elixir.Date'">>},
             {#{a => #{[b] => 1}}, <<"object key list at a">>},
             {#{a => [[1 | 2]]}, <<"improper list list at a[0]">>},
             {#{<<"1">> => <<255>>}, <<"binary that is not UTF-8 at 1">>}],
    with_untouched_log(Config, fun(Alice) ->
        [?assertEqual({error, {bad_event, 1, payload, {not_json, What}}}, append_payload(Alice, Payload))
         || {Payload, What} <- Cases]
    end).

metadata_is_checked_like_the_payload(Config) ->
    Deep = nested(129),
    Large = #{t => binary:copy(<<"x">>, ?MAX_PAYLOAD)},
    with_untouched_log(Config, fun(Alice) ->
        [?assertMatch({error, {bad_event, 1, metadata, _}},
                      warp_core:append(Alice, (warp_test:noted(<<"x">>))#{metadata => Bad}))
         || Bad <- [#{a => self()}, #{a => <<255>>}, Deep, Large, [], 1, <<"[]">>, <<"{">>]]
    end).

nesting_is_taken_to_128_levels_and_no_deeper(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Deepest = [nested(128), nested_text(128), #{a => nested_list(127)}],
    TooDeep = [nested(129), nested_text(129), #{a => nested_list(128)},
               nested_text(1000), nested_text(100000), nested(100000)],
    [?assertMatch({ok, _}, append_payload(Alice, Payload)) || Payload <- Deepest],
    [?assertEqual({error, {bad_event, 1, payload, {too_deep, 128}}},
                  append_payload(Alice, Payload)) || Payload <- TooDeep],
    warp_test:passivate(Alice),
    ?assertEqual([nested(128), nested(128), #{<<"a">> => nested_list(127)}],
                 [Payload || #{payload := Payload} <- warp_test:history(Alice)]).

a_payload_of_a_mebibyte_is_taken_and_no_larger(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Text = fun(Bytes) -> <<"{\"t\":\"", (binary:copy(<<"x">>, Bytes - 8))/binary, "\"}">> end,
    Map = fun(Bytes) -> #{t => binary:copy(<<"x">>, Bytes - 8)} end,
    [begin
         ?assertMatch({ok, _}, append_payload(Alice, Of(?MAX_PAYLOAD))),
         ?assertEqual({error, {bad_event, 1, payload, {too_large, ?MAX_PAYLOAD + 1, ?MAX_PAYLOAD}}},
                      append_payload(Alice, Of(?MAX_PAYLOAD + 1)))
     end || Of <- [Text, Map]],
    warp_test:passivate(Alice),
    [?assertEqual(?MAX_PAYLOAD - 8, byte_size(T))
     || #{payload := #{<<"t">> := T}} <- warp_test:history(Alice)],
    warp_test:assert_whole(Alice, 2).

each_field_is_checked_by_name(Config) ->
    with_untouched_log(Config, fun(Alice) ->
        Event = warp_test:noted(<<"x">>),
        Wrong = [{type, noted}, {type, "Noted"}, {type, <<255>>}, {type, <<>>},
                 {id, 1}, {id, <<>>}, {id, <<255>>}, {id, note},
                 {schema_vsn, 0}, {schema_vsn, -1}, {schema_vsn, 1.0}, {schema_vsn, <<"1">>},
                 {schema_vsn, 1 bsl 80},
                 {aggregate, log}, {aggregate, 1}],
        [?assertMatch({Key, Bad, {error, {bad_event, 1, Key, _}}},
                      {Key, Bad, warp_core:append(Alice, Event#{Key => Bad})})
         || {Key, Bad} <- Wrong],
        [?assertMatch({error, {bad_event, 1, Key, _}},
                      warp_core:append(Alice, maps:remove(Key, Event)))
         || Key <- [type, payload, aggregate]],
        [?assertMatch({error, {bad_event, 1, _, _}}, warp_core:append(Alice, NotAMap))
         || NotAMap <- [<<"text">>, [], {a, b}, noted]]
    end).

an_unknown_field_is_refused_by_name(Config) ->
    with_untouched_log(Config, fun(Alice) ->
        [?assertMatch({error, {bad_event, 1, Key, _}},
                      warp_core:append(Alice, (warp_test:noted(<<"x">>))#{Key => 1}))
         || Key <- [paylod, sequence, <<"type">>]]
    end).

a_bad_event_in_a_batch_is_counted_from_one_and_refuses_all(Config) ->
    with_untouched_log(Config, fun(Alice) ->
        Good = warp_test:noted(<<"x">>),
        Batch = [Good, Good, Good#{payload => <<"{">>}, Good#{type => 1}],
        ?assertMatch({error, {bad_event, 3, payload, {invalid_json, _}}},
                     warp_core:append_batch(Alice, Batch))
    end).

batches_have_limits(Config) ->
    with_untouched_log(Config, fun(Alice) ->
        Good = warp_test:noted(<<"x">>),
        ?assertEqual({error, empty_batch}, warp_core:append_batch(Alice, [])),
        ?assertEqual({error, {batch_too_large, 10001, 10000}},
                     warp_core:append_batch(Alice, lists:duplicate(10001, Good))),
        Large = warp_test:noted(binary:copy(<<"x">>, 1000000)),
        ?assertMatch({error, {batch_too_large_bytes, Bytes, ?MAX_BATCH_BYTES}}
                         when Bytes > ?MAX_BATCH_BYTES andalso Bytes < 17100000,
                     warp_core:append_batch(Alice, lists:duplicate(17, Large)))
    end).

an_unknown_aggregate_is_refused(Config) ->
    with_untouched_log(Config, fun(Alice) ->
        Unknown = {error, {unknown_aggregate, <<"Nope">>}},
        Event = (warp_test:noted(<<"x">>))#{aggregate => <<"Nope">>},
        ?assertEqual(Unknown, warp_core:append(Alice, Event)),
        ?assertEqual(Unknown, warp_core:append_batch(Alice, [warp_test:noted(<<"x">>), Event])),
        ?assertEqual(Unknown, warp_core:decide(Alice, <<"Nope">>, fun(_) -> {ok, []} end)),
        ?assertEqual(Unknown, warp_core:get(Alice, <<"Nope">>)),
        ?assertEqual(Unknown, warp_core:state_at(Alice, <<"Nope">>, {seq, 1}))
    end).

append_options_are_checked_by_name(Config) ->
    with_untouched_log(Config, fun(Alice) ->
        Note = warp_test:noted(<<"x">>),
        Wrong = [{expected, -1}, {expected, none}, {expected, <<"1">>}, {expected, 1.0},
                 {timeout, -1}, {timeout, soon}, {timeout, 1.5}],
        [begin
             ?assertMatch({error, {bad_option, Key, _}}, warp_core:append(Alice, Note, #{Key => Bad})),
             ?assertMatch({error, {bad_option, Key, _}},
                          warp_core:append_batch(Alice, [Note], #{Key => Bad}))
         end || {Key, Bad} <- Wrong],
        ?assertEqual({error, {unknown_option, expect}}, warp_core:append(Alice, Note, #{expect => 1}))
    end).

decide_checks_what_the_fun_returns(Config) ->
    with_untouched_log(Config, fun(Alice) ->
        Decide = fun(Return) -> warp_core:decide(Alice, <<"Account">>, fun(_) -> Return end) end,
        [?assertEqual({error, {bad_return, decide, Nonsense}}, Decide(Nonsense))
         || Nonsense <- [ok, {ok, not_a_list}, {ok, 1, 2}, [], error]],
        Good = warp_test:credited(1),
        ?assertMatch({error, {bad_event, 2, payload, {invalid_json, _}}},
                     Decide({ok, [Good, Good#{payload => <<"{">>}]})),
        ?assertEqual({error, {rejected, {overdraft, 1, 5}}}, Decide({ok, [Good, warp_test:debited(5)]})),
        ?assertEqual({error, {unknown_aggregate, <<"Nope">>}},
                     Decide({ok, [Good#{aggregate => <<"Nope">>}]}))
    end).

%% ---------------------------------------------------------------- helpers

%% Whatever Try is refused, the log stays as it was and takes the next event.
with_untouched_log(Config, Try) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Try(Alice),
    ?assertEqual([], warp_test:history(Alice)),
    {ok, 1} = warp_core:append(Alice, warp_test:noted(<<"good">>)),
    Log = warp_test:history(Alice),
    Try(Alice),
    ?assertEqual(Log, warp_test:history(Alice)),
    ?assertEqual({ok, 0}, warp_core:get(Alice, <<"Account">>)),
    Again = warp_core:entity(warp_test:restart(Ctx), <<"alice">>),
    ?assertEqual(Log, warp_test:history(Again)),
    ?assertEqual({ok, 2}, warp_core:append(Again, warp_test:noted(<<"good">>))).

append_payload(Entity, Payload) ->
    warp_core:append(Entity, #{aggregate => <<"Log">>, type => <<"T">>, payload => Payload}).

nested(1) -> #{};
nested(N) -> #{<<"a">> => nested(N - 1)}.

nested_list(1) -> [];
nested_list(N) -> [nested_list(N - 1)].

nested_text(N) ->
    iolist_to_binary([lists:duplicate(N - 1, "{\"a\":"), "{}", lists:duplicate(N - 1, "}")]).
