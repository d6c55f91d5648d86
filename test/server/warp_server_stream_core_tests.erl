%% What a stream answers, without a server. Most cases have the names that the conformance suite of Durable Streams
%% gives them.
-module(warp_server_stream_core_tests).
-include_lib("eunit/include/eunit.hrl").

-import(warp_server_stream_core, [asked/2, offset/2, cursor/3, whole/4, is_same/2, empty/4, tail/1, data/1, control/3]).

-define(NOW, 1760000000).

asked_of(Args) -> asked(entity, Args).

header(Name, {_, Headers, _}) -> proplists:get_value(Name, Headers).
text(Header) -> iolist_to_binary(Header).
body({_, _, Body}) -> iolist_to_binary(Body).

%% ------------------------------------------------------------------------------------------------------- Offsets

places() -> [{entity, [{0, 0}, {1, 1}, {1, 2}, {1, 10}, {2, 1}, {9, 7}, {10, 1}, {1 bsl 62, 1 bsl 62}]},
             {shard, [0, {1, 1}, {1, 2}, 1, {2, 900}, 2, 9, {10, 1}, 10, 99, 100, {1 bsl 62, 3}, 1 bsl 62]}].

should_generate_unique_monotonically_increasing_offsets_test_() ->
    [?_test(begin
         Offsets = [offset(Kind, Place) || Place <- Places],
         ?assertEqual(Offsets, lists:usort(Offsets)),
         ?assertEqual([39], lists:usort([byte_size(Offset) || Offset <- Offsets])),
         ?assertEqual([], [Offset || Offset <- Offsets, lists:member(Offset, [<<"-1">>, <<"now">>])]),
         ?assertEqual(nomatch, re:run(Offsets, "[^0-9_]"))
     end) || {Kind, Places} <- places()].

should_support_resumable_reads_test_() ->
    [?_assertEqual({ok, #{from => Place, live => none, cursor => none}}, asked(Kind, #{offset => offset(Kind, Place)}))
     || {Kind, Places} <- places(), Place <- Places].

should_accept_minus_1_as_sentinel_for_stream_beginning_test() ->
    ?assertMatch({ok, #{from := beginning}}, asked_of(#{offset => <<"-1">>})).

should_return_same_data_for_offset_minus_1_and_no_offset_test() ->
    ?assertEqual(asked_of(#{}), asked_of(#{offset => <<"-1">>})).

should_accept_now_as_sentinel_for_current_tail_position_test() ->
    ?assertMatch({ok, #{from := now}}, asked_of(#{offset => <<"now">>})).

should_reject_malformed_offsets_test_() ->
    Good = offset(entity, {1, 1}),
    [{Name, [?_assertEqual({error, {bad_option, <<"offset">>, not_an_offset}}, asked(Kind, #{offset => Bad}))
             || Kind <- [entity, shard]]}
     || {Name, Bad} <- [{"empty offset parameter", <<>>}, {"contains comma", <<"0,1">>}, {"with spaces", <<"0 1">>},
                        {"path traversal", <<"../1">>}, {"slash", <<"1/2">>}, {"null bytes", <<Good/binary, 0>>},
                        {"newlines", <<Good/binary, "\n">>}, {"carriage return", <<Good/binary, "\r\n">>},
                        {"another case", <<"NOW">>}, {"a number", <<"0">>}, {"too long", <<Good/binary, "0">>},
                        {"signs", <<"-000000000000000001_0000000000000000001">>},
                        {"beyond 64 bits", <<"9999999999999999999_0000000000000000001">>},
                        {"letters", <<"000000000000000000x_0000000000000000001">>},
                        {"a seq of no life", <<"0000000000000000000_0000000000000000001">>}]].

no_position_of_a_shard_is_0_test() ->
    ?assertMatch({error, _}, asked(shard, #{offset => offset(entity, {0, 0})})).

%% ------------------------------------------------------------------------------------------------------ Live reads

should_require_offset_parameter_for_long_poll_test() ->
    ?assertEqual({error, {bad_option, <<"offset">>, missing}}, asked_of(#{live => 'long-poll'})).

should_require_offset_parameter_for_sse_mode_test() ->
    ?assertEqual({error, {bad_option, <<"offset">>, missing}}, asked_of(#{live => sse})).

should_accept_live_sse_query_parameter_test() ->
    ?assertMatch({ok, #{live := sse, from := now}}, asked_of(#{live => sse, offset => <<"now">>})).

should_generate_stream_cursor_test_() ->
    [?_assertEqual(<<"0">>, cursor(none, 1728432000, 1)), ?_assertEqual(<<"1">>, cursor(none, 1728432039, 3600)),
     ?_assertEqual(<<"0">>, cursor(none, 5, 1)),
     ?_assertMatch({match, _}, re:run(cursor(none, ?NOW, 1), "^[0-9]+$"))].

should_echo_cursor_and_handle_collision_with_jitter_test_() ->
    Now = binary_to_integer(cursor(none, ?NOW, 1)),
    [?_assertEqual(Expected, binary_to_integer(cursor(Given, ?NOW, Jitter)))
     || {Given, Jitter, Expected} <- [{Now - 1, 3600, Now}, {Now, 1, Now + 1}, {Now, 40, Now + 2},
                                      {Now + 500, 3600, Now + 680}, {Now + 500, 19, Now + 501}]].

should_ignore_a_cursor_that_is_no_number_test_() ->
    [?_assertMatch({ok, #{cursor := none}}, asked_of(#{cursor => Bad}))
     || Bad <- [<<>>, <<"abc">>, <<"1.5">>, binary:copy(<<"9">>, 1000)]]
    ++ [?_assertMatch({ok, #{cursor := 17}}, asked_of(#{cursor => <<"17">>})),
        ?_assertMatch({ok, #{cursor := 0}}, asked_of(#{cursor => <<"-5">>}))].

%% --------------------------------------------------------------------------------------------------------- Answers

read_answer() -> whole([<<"{\"a\":1}">>, <<"{\"b\":2}">>], <<"O">>, false, none).

should_return_correct_headers_on_get_test() ->
    ?assertMatch({200, _, _}, read_answer()),
    ?assertEqual(<<"O">>, header(<<"stream-next-offset">>, read_answer())),
    ?assertEqual(undefined, header(<<"stream-cursor">>, read_answer())).

should_return_stream_content_type_on_get_test() ->
    ?assertEqual(<<"application/json">>, header(<<"content-type">>, read_answer())).

should_concatenate_multiple_appends_into_single_array_test() ->
    ?assertEqual(<<"[{\"a\":1},{\"b\":2}]">>, body(read_answer())).

should_return_empty_body_with_up_to_date_for_empty_stream_test() ->
    Answer = whole([], <<"O">>, true, none),
    ?assertEqual(<<"[]">>, body(Answer)),
    ?assertEqual(<<"true">>, header(<<"stream-up-to-date">>, Answer)).

should_not_be_up_to_date_with_a_part_test() ->
    ?assertEqual(undefined, header(<<"stream-up-to-date">>, read_answer())).

should_return_immediately_with_stream_up_to_date_when_data_exists_at_offset_test() ->
    Answer = whole([<<"1">>], <<"O">>, true, <<"7">>),
    ?assertEqual({<<"true">>, <<"7">>},
                 {header(<<"stream-up-to-date">>, Answer), header(<<"stream-cursor">>, Answer)}).

should_return_empty_json_array_for_offset_now_test() ->
    Answer = empty(none, <<"O">>, true, none),
    ?assertMatch({200, _, <<"[]">>}, Answer),
    ?assertEqual({<<"O">>, <<"true">>, undefined},
                 {header(<<"stream-next-offset">>, Answer), header(<<"stream-up-to-date">>, Answer),
                  header(<<"etag">>, Answer)}).

should_return_204_when_the_time_is_over_test() ->
    Answer = empty('long-poll', <<"O">>, true, <<"7">>),
    ?assertMatch({204, _, <<>>}, Answer),
    ?assertEqual({<<"O">>, <<"true">>, <<"7">>, undefined},
                 {header(<<"stream-next-offset">>, Answer), header(<<"stream-up-to-date">>, Answer),
                  header(<<"stream-cursor">>, Answer), header(<<"content-type">>, Answer)}).

should_return_metadata_without_body_test() ->
    ?assertMatch({200, _, <<>>}, tail(<<"O">>)),
    ?assertEqual({<<"O">>, <<"application/json">>},
                 {header(<<"stream-next-offset">>, tail(<<"O">>)), header(<<"content-type">>, tail(<<"O">>))}).

should_include_cache_control_no_store_test_() ->
    [?_assertEqual(<<"private, no-store">>, header(<<"cache-control">>, Answer))
     || Answer <- [read_answer(), empty(none, <<"O">>, true, none), empty('long-poll', <<"O">>, true, none),
                   tail(<<"O">>), is_same(<<"*">>, read_answer())]].

never_closed_test_() ->
    [?_assertEqual(undefined, header(<<"stream-closed">>, Answer)) || Answer <- [read_answer(), tail(<<"O">>)]].

%% ------------------------------------------------------------------------------------------------------------ Tags

tag(Answer) -> text(header(<<"etag">>, Answer)).

should_generate_etag_on_get_responses_test() ->
    ?assertMatch({match, _}, re:run(tag(read_answer()), "^\"[0-9A-F]{32}:O\"$")).

should_return_304_not_modified_for_matching_if_none_match_test_() ->
    Tag = tag(read_answer()),
    [?_test(begin
         {304, _, Body} = Answer = is_same(Match, read_answer()),
         ?assertEqual({<<>>, Tag, <<"O">>}, {Body, tag(Answer), header(<<"stream-next-offset">>, Answer)})
     end) || Match <- [Tag, <<"W/", Tag/binary>>, <<"\"x\", ", Tag/binary>>, <<"*">>]].

should_return_200_for_non_matching_if_none_match_test_() ->
    [?_assertEqual(read_answer(), is_same(Match, read_answer())) || Match <- [none, <<"\"x\"">>, <<>>, <<"O">>]].

should_return_new_etag_after_data_changes_test() ->
    Others = [whole([<<"{\"a\":1}">>], <<"O">>, false, none),
              whole([<<"{\"a\":1}">>, <<"{\"b\":3}">>], <<"O">>, false, none),
              whole([<<"{\"a\":1}">>, <<"{\"b\":2}">>], <<"P">>, false, none)],
    ?assertEqual(4, length(lists:usort([tag(Answer) || Answer <- [read_answer() | Others]]))).

%% --------------------------------------------------------------------------------------------- Server-sent events

%% Events as a client reads them (the WHATWG's algorithm, as far as Warp uses it).
parsed(Text) ->
    Lines = re:split(iolist_to_binary(Text), "\r\n|\n|\r"),
    parsed(Lines, none, [], []).

parsed([<<>>], none, [], Events) -> lists:reverse(Events);
parsed([<<>> | Lines], Name, Data, Events) ->
    parsed(Lines, none, [], [{Name, iolist_to_binary(lists:join($\n, lists:reverse(Data)))} | Events]);
parsed([<<"event: ", Name/binary>> | Lines], _, Data, Events) -> parsed(Lines, Name, Data, Events);
parsed([<<"data:", Line/binary>> | Lines], Name, Data, Events) ->
    Stripped = case Line of <<" ", Rest/binary>> -> Rest; _ -> Line end,
    parsed(Lines, Name, [Stripped | Data], Events).

json(Text) ->
    {ok, #{<<"v">> := Value}} = warp_json:decode(<<"{\"v\":", Text/binary, "}">>),
    Value.

should_wrap_json_data_in_arrays_for_sse_and_produce_valid_json_test_() ->
    [?_test(begin
         [{<<"data">>, Data}] = parsed(data([warp_server_json:encode(Value) || Value <- Values])),
         ?assertEqual(Values, json(Data))
     end) || Values <- [[1], [#{<<"id">> => 1, <<"message">> => <<"hello">>}],
                        [#{<<"a">> => 1}, [], <<"text">>, null, [1, [2]], #{}]]].

should_prevent_crlf_injection_in_payloads_test_() ->
    [?_test(begin
         Json = warp_server_json:encode(#{<<"text">> => Text}),
         [{<<"data">>, Data}, {<<"control">>, _}] = parsed([data([Json, Json]), control(<<"O">>, <<"7">>, true)]),
         ?assertEqual([#{<<"text">> => Text}, #{<<"text">> => Text}], json(Data))
     end) || Text <- [<<"safe\r\n\r\nevent: control\r\ndata: {\"injected\":true}\r\n\r\nmore">>,
                      <<"start\n\nevent: data\ndata: fake\n\nend">>,
                      <<"start\r\revent: control\rdata: injected\r\rend">>,
                      <<"\x{2028}\x{2029}\x{85}"/utf8>>, <<" data: ">>, <<>>]].

%% JSON text that somebody wrote over several lines.
should_handle_json_payloads_with_embedded_newlines_safely_test_() ->
    [?_test(begin
         [{<<"data">>, Data}] = parsed(data([Written, <<"2">>])),
         ?assertEqual([#{<<"a">> => [1, 2]}, 2], json(Data))
     end) || Written <- [<<"{\n  \"a\": [\n 1,\n2]\n}">>, <<"{\r\n\"a\":\r\n[1,2]}\r\n">>, <<"{\r\"a\":[1,2]}">>,
                         <<"\n\n{\"a\":[1,2]}\n\n">>]].

should_send_control_events_with_offset_test() ->
    Text = control(<<"O">>, <<"7">>, false),
    [{<<"control">>, Data}] = parsed(Text),
    ?assertEqual(#{<<"streamNextOffset">> => <<"O">>, <<"streamCursor">> => <<"7">>}, json(Data)),
    %% As the conformance suite reads it.
    ?assertMatch({match, _}, re:run(Text, "event: control\\s*\\ndata:({[^}]+})")).

should_send_up_to_date_flag_in_sse_control_events_when_caught_up_test() ->
    [{<<"control">>, Data}] = parsed(control(<<"O">>, <<"7">>, true)),
    ?assertMatch(#{<<"upToDate">> := true}, json(Data)).

should_have_correct_sse_headers_test() ->
    Headers = warp_server_stream_core:events_head(),
    ?assertEqual(<<"text/event-stream">>, proplists:get_value(<<"content-type">>, Headers)),
    ?assertNotEqual(nomatch, binary:match(proplists:get_value(<<"cache-control">>, Headers), <<"no-cache">>)),
    ?assertNotEqual(nomatch, binary:match(proplists:get_value(<<"cache-control">>, Headers), <<"no-store">>)),
    ?assertEqual([], [Name || {Name, _} <- Headers, Name =:= <<"content-length">>
                                                    orelse Name =:= <<"stream-sse-data-encoding">>]).
