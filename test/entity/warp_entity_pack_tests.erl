%% What packing makes of events: the row's text, and the events as `apply' sees them.
-module(warp_entity_pack_tests).

-include_lib("eunit/include/eunit.hrl").

judging() -> warp_nif:rules([{<<"Seen">>, 1, true}, {<<"Other">>, 1, true}], []).
pure() -> warp_nif:rules([{<<"Log">>, 1, false}], []).

%% The events as terms, of which nothing is compact yet, and the binaries that may be parts.
packed(Events) ->
    {ok, _, _, _, _, Terms, Parts} = warp_nif:pack_dirty(judging(), <<"e">>, <<"Seen">>, Events),
    {Terms, Parts}.

event(Payload) -> #{type => <<"T">>, payload => Payload}.

%% A binary that keeps 100 kB in memory.
cut(Bytes) -> binary:part(binary:copy(<<"0123456789">>, 10000), 7, Bytes).

%% Made here and now, on this process's heap, with nothing in common with literals.
own(Term) -> binary_to_term(term_to_binary(Term)).

payloads(Events) -> [Payload || {_, Payload, _, _, _, _} <- Events].

%% Where a payload has an atom as a key, its events are made of what stands in the row.
as_written(Payloads) ->
    {Events, _} = packed([event(#{in => Payload}) || Payload <- Payloads]),
    [Payload || #{<<"in">> := Payload} <- payloads(Events)].

%% The keys of one event stand in the next ones too: as the same terms, as equal ones, and as other ones.
keys_that_repeat_test() ->
    Key = fun(N) -> <<"key \"", (integer_to_binary(N))/binary, "\" é"/utf8>> end,
    Keys = [Key(N) || N <- lists:seq(1, 100)],
    Payloads = [maps:from_list([{lists:nth(1 + (N * I) rem 100, Keys), N} || I <- lists:seq(1, 7)])
                || N <- lists:seq(1, 300)],
    All = Payloads ++ own(Payloads) ++ [#{<<"amount">> => N, <<"of">> => #{<<"amount">> => [N]}} || N <- [1, 2, 3]],
    ?assertEqual(All, as_written(All)).

atoms_that_repeat_test() ->
    Payloads = [#{kind => open, open => [N, kind, null, nil, true], <<"b">> => kind, 'Ж' => N} || N <- [1, 2, 3]],
    Expected = [#{<<"kind">> => <<"open">>, <<"open">> => [N, <<"kind">>, null, null, true], <<"b">> => <<"kind">>,
                  <<"Ж"/utf8>> => N} || N <- [1, 2, 3]],
    ?assertEqual(Expected, as_written(Payloads)).

%% An atom that was a value before is not a type, and neither is a key's text a name that has to be checked.
names_are_checked_though_they_were_keys_before_test() ->
    Long = binary:copy(<<"k">>, 600),
    Refused = fun(Type) ->
        warp_entity_pack:pack_with(pure(), <<"e">>, undefined,
                                   [event(#{k => k, Long => 1, <<>> => 2}), #{type => Type, payload => #{}}])
    end,
    ?assertEqual({error, {bad_event, 2, type, not_a_binary}}, Refused(k)),
    ?assertEqual({error, {bad_event, 2, type, empty}}, Refused(<<>>)),
    ?assertEqual({error, {bad_event, 2, type, {too_long, 600, 512}}}, Refused(Long)).

%% The shortest form of these floats takes more than a MiB, so the payload is written twice, and what was written
%% before behind it is gone.
keys_after_a_payload_that_was_written_again_test() ->
    Wide = #{<<"first">> => lists:duplicate(60000, 1.5e15), <<"last">> => 1},
    {ok, Text} = warp_json:encode_long(Wide),
    ?assert(byte_size(Text) > 1048576),
    All = [#{<<"before">> => 1}, Wide, #{<<"last">> => 2, <<"first">> => 3}, #{<<"before">> => 4}],
    ?assertEqual(All, as_written(All)).

an_atom_and_a_text_are_the_same_key_test_() ->
    Twice = fun(Rules, Aggregate, Payload) ->
        warp_entity_pack:pack_with(Rules, <<"e">>, Aggregate, [event(#{k => 1}), event(Payload)])
    end,
    [?_assertMatch({error, {bad_event, 2, payload, {invalid_json, <<"a key stands twice", _/binary>>}}},
                   Twice(Rules, Aggregate, Payload))
     || {Rules, Aggregate} <- [{judging(), <<"Seen">>}, {pure(), undefined}],
        Payload <- [#{k => 1, <<"k">> => 2}, #{<<"a">> => [#{k => 1, <<"k">> => 2}]}]]
    ++ [?_assertMatch({ok, _}, Twice(pure(), undefined, #{k => 1, <<"l">> => 2}))].

%% Wherever a part of a large binary stands, it is noticed.
cut_parts_are_noticed_test() ->
    Places = fun(Part) ->
        [(event(#{}))#{type => Part},
         (event(#{}))#{id => Part},
         (event(#{}))#{metadata => #{<<"m">> => Part}},
         event(#{<<"k">> => Part}),
         event(#{Part => 1}),
         event(#{<<"k">> => [1, #{<<"l">> => [Part]}]})]
    end,
    %% NOTE: where a binary of at most 64 bytes is cut off, the VM makes a small binary of its own of it.
    [begin
         Part = cut(Bytes),
         ?assertEqual({Bytes, [Part]}, {Bytes, element(2, packed([event(#{}), Event]))})
     end || Bytes <- [65, 200], Event <- Places(cut(Bytes))],
    %% Also a key that was seen before, in a payload of which the terms are made anew.
    Key = cut(65),
    {_, Keys} = packed([event(#{Key => an_atom}), event(#{Key => 1})]),
    ?assertEqual([Key], lists:usort(Keys)).

%% Nobody looks at the events of a pure log.
parts_of_a_pure_log_are_not_noted_test() ->
    ?assertMatch({ok, _, 1, _, false, none, []},
                 warp_nif:pack(pure(), <<"e">>, undefined, [event(#{<<"k">> => cut(200)})])).

%% Only so many are noted, and then all terms are searched.
many_parts_test() ->
    Part = cut(65),
    Events = fun(N) -> [event(#{<<"k">> => lists:duplicate(N, Part)})] end,
    ?assertEqual(10000, length(element(2, packed(Events(10000))))),
    ?assertEqual(many, element(2, packed(Events(10001)))),
    {ok, #{events := [{_, #{<<"k">> := Texts}, _, _, _, _}]}} =
        warp_entity_pack:pack_with(judging(), <<"e">>, <<"Seen">>, Events(10001)),
    ?assert(lists:all(fun(Text) -> binary:referenced_byte_size(Text) =:= 65 end, Texts)).

%% And copied, before anyone keeps it.
cut_parts_are_copied_test() ->
    Key = cut(66),
    Events = [(event(#{Key => [cut(65)]}))#{type => cut(70), id => cut(71), metadata => #{<<"m">> => cut(72)}}],
    {ok, #{events := [Event]}} = warp_entity_pack:pack_with(judging(), <<"e">>, <<"Seen">>, Events),
    {Type, Payload, _, Id, 1, #{<<"m">> := Value}} = Event,
    [{Again, [Text]}] = maps:to_list(Payload),
    [?assert(binary:referenced_byte_size(Part) =< 256) || Part <- [Type, Id, Value, Again, Text]].

%% What stands on a heap by itself is no part. A longer text may be one: only Erlang can tell.
what_stands_by_itself_is_no_part_test_() ->
    Event = (event(#{<<"k">> => <<"v">>, <<"l">> => [<<>>, binary:copy(<<"x">>, 64), 1, 1.5, true]}))
        #{id => <<"i">>, metadata => #{<<"m">> => <<"v">>}, aggregate => <<"Other">>},
    [?_assertMatch({[_, _], []}, packed([Given, maps:remove(id, Given)])) || Given <- [Event, own(Event)]]
    ++ [?_test(begin
            Long = binary:copy(<<"x">>, 65),
            ?assertMatch({_, [Long]}, packed([event(#{<<"k">> => Long})])),
            {ok, #{events := Events}} = warp_entity_pack:pack_with(judging(), <<"e">>, <<"Seen">>,
                                                                   [event(#{<<"k">> => Long})]),
            [#{<<"k">> := Kept}] = payloads(Events),
            ?assert(erts_debug:same(Long, Kept))
        end)].

the_second_id_is_compared_with_the_first_test_() ->
    Pack = fun(Ids) ->
        warp_entity_pack:pack_with(pure(), <<"e">>, undefined, [(event(#{}))#{id => Id} || Id <- Ids])
    end,
    [?_assertEqual({error, {duplicate_event_id, <<"a">>}}, Pack([<<"a">>, <<"a">>])),
     ?_assertEqual({error, {duplicate_event_id, <<"a">>}}, Pack([<<"a">>, <<"b">>, <<"a">>])),
     ?_assertEqual({error, {duplicate_event_id, <<"c">>}}, Pack([<<"a">>, <<"b">>, <<"c">>, <<"c">>])),
     ?_assertMatch({ok, #{has_ids := true}}, Pack([<<"a">>, <<"b">>, <<"c">>]))].
