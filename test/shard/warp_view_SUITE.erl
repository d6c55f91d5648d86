%% The file is the user's: any sqlite3 shell reads the events.
-module(warp_view_SUITE).
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
    [the_view_has_a_row_for_each_event,
     the_view_shows_every_field,
     the_view_keeps_numbers_and_text_as_they_were_given,
     the_view_is_read_while_callers_append,
     the_files_are_sound].

the_view_has_a_row_for_each_event(Config) ->
    Ctx = warp_test:start(Config),
    Names = [<<"alice">>, <<"bob">>, <<"carol">>, <<"dave">>],
    [begin
         Entity = warp_core:entity(Ctx, Name),
         {ok, 1} = warp_core:append(Entity, warp_test:incremented()),
         {ok, _} = warp_core:append_batch(Entity, [warp_test:incremented() || _ <- lists:seq(2, 100)]),
         {ok, 101} = warp_core:append(Entity, warp_test:incremented())
     end || Name <- Names],
    Expected = [iolist_to_binary([Name, "|", integer_to_list(Seq)])
                || Name <- Names, Seq <- lists:seq(1, 101)],
    ok = warp_test:await_applied(Ctx),
    Rows = fun() -> lists:sort(shell(Config, "select entity, seq from events")) end,
    ?assertEqual(lists:sort(Expected), Rows()),
    [begin
         Rowwise = warp_test:sqlite(File, "select position from events"),
         Positions = [binary_to_integer(Position) || Position <- Rowwise],
         ?assertEqual(lists:sort(Positions), Positions)
     end || File <- files(Config)],
    warp_test:stop(Ctx),
    ?assertEqual(lists:sort(Expected), Rows()).

the_view_shows_every_field(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, 1} = warp_core:append(Alice, warp_test:credited(5)),
    Full = #{id => <<"full">>, schema_vsn => 3, metadata => #{<<"by">> => <<"bob">>}},
    {ok, {2, 3}} = warp_core:append_batch(Alice, [warp_test:noted(<<"hi">>),
                                                  maps:merge(warp_test:credited(6), Full)]),
    Expected = [<<"alice|1|alice#1|Account|Credited|1|5|">>,
                <<"alice|2|alice#2|Log|Noted|1||">>,
                <<"alice|3|full|Account|Credited|3|6|bob">>],
    ok = warp_test:await_applied(Ctx),
    Query = "select entity, seq, id, aggregate, type, schema_vsn, json_extract(payload, '$.amount'),"
            " json_extract(metadata, '$.by') from events order by seq",
    ?assertEqual(Expected, shell(Config, Query)),
    Times = [calendar:rfc3339_to_system_time(binary_to_list(Iso), [{unit, microsecond}])
             || Iso <- shell(Config, "select recorded_at from events order by seq")],
    ?assertEqual([T || #{recorded_at := T} <- warp_test:history(Alice)], Times),
    ?assertEqual([<<"position">>, <<"entity">>, <<"seq">>, <<"id">>, <<"aggregate">>, <<"type">>,
                  <<"schema_vsn">>, <<"payload">>, <<"metadata">>, <<"recorded_at">>],
                 shell(Config, "select name from pragma_table_info('events')")).

the_view_keeps_numbers_and_text_as_they_were_given(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Alice = warp_core:entity(Ctx, <<"alice \"quoted\" 🦀"/utf8>>),
    Texts = [<<"{\"v\":36893488147419103233}">>, <<"{\"v\":1.0}">>, <<"{\"v\":\"it's 🦀\"}"/utf8>>,
             <<"{\"v\":[null,true,{\"\":\"\"}]}">>],
    Events = [#{type => <<"T's \"type\"">>, aggregate => <<"Log">>, payload => Text} || Text <- Texts],
    {ok, {1, 4}} = warp_core:append_batch(Alice, Events),
    [{ok, _} = warp_core:append(Alice, Event) || Event <- Events],
    ok = warp_test:await_applied(Ctx),
    ?assertEqual(Texts ++ Texts, shell(Config, "select payload from events order by seq")),
    ?assertEqual([<<"alice \"quoted\" 🦀"/utf8>>], shell(Config, "select distinct entity from events")),
    ?assertEqual([<<"T's \"type\"">>], shell(Config, "select distinct type from events")).

the_view_is_read_while_callers_append(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Write = fun() ->
        [{ok, _} = warp_core:append(Alice, warp_test:incremented()) || _ <- lists:seq(1, 500)]
    end,
    Read = fun() ->
        lists:append([shell(Config, "select count(*) - coalesce(max(seq), 0) from events")
                      || _ <- lists:seq(1, 10)])
    end,
    [_, _, Read1, Read2] = warp_test:parallel([Write, Write, Read, Read]),
    ?assertEqual([<<"0">>], lists:usort(Read1 ++ Read2)),
    warp_test:assert_whole(Alice, 1000).

the_files_are_sound(Config) ->
    Ctx = warp_test:start(Config, #{snapshot_every => 10}),
    [begin
         Entity = warp_core:entity(Ctx, <<"entity ", N>>),
         [{ok, _} = warp_core:append(Entity, (warp_test:incremented())#{id => <<"id ", M>>})
          || M <- lists:seq(1, 30)],
         N rem 3 =:= 0 andalso warp_core:delete(Entity)
     end || N <- lists:seq($a, $z)],
    Sound = fun() -> shell(Config, "pragma integrity_check") end,
    ?assertEqual([<<"ok">>, <<"ok">>], Sound()),
    warp_test:stop(Ctx),
    ?assertEqual([<<"ok">>, <<"ok">>], Sound()).

%% ---------------------------------------------------------------- helpers

files(Config) ->
    warp_test:shard_files(proplists:get_value(dir, Config)).

shell(Config, Sql) ->
    [Row || File <- files(Config), Row <- warp_test:sqlite(File, Sql)].
