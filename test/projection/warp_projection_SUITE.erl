%% Projections, each case against each target.
-module(warp_projection_SUITE).

-export([all/0, suite/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([rows_follow_events/1, every_type_is_kept/1, columns_appear/1, names_are_checked/1,
         bad_commands_are_named/1, hostile_text/1, many_commands_to_one_row/1,
         what_is_written_shows_after_await/1, nothing_is_repeated_or_skipped/1,
         killed_processes_come_back/1, killed_while_it_writes/1, a_crash_is_set_aside/1,
         retry_goes_on/1, skip_goes_on/1, set_aside_is_remembered/1, rows_of_others_are_refused/1,
         others_may_count/1, no_text_among_counts/1, a_refused_command_is_found_in_a_crowd/1,
         queries_only_read/1, queries_have_limits/1, bad_parameters/1, declared_tables/1,
         bad_declarations/1, no_projections/1, another_context_is_refused/1, stats_show_the_lag/1,
         reserved_entities_are_not_seen/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_projection_test, [start/2, start/3, rows/2, rows/3, await/1, await_all/1, dump/1, even/1]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, embedded}, {group, rqlite}].

groups() ->
    warp_projection_test:groups(
        [rows_follow_events, every_type_is_kept, columns_appear, names_are_checked,
         bad_commands_are_named, hostile_text, many_commands_to_one_row,
         what_is_written_shows_after_await, nothing_is_repeated_or_skipped,
         killed_processes_come_back, killed_while_it_writes, a_crash_is_set_aside, retry_goes_on,
         skip_goes_on, set_aside_is_remembered, rows_of_others_are_refused, others_may_count,
         no_text_among_counts, a_refused_command_is_found_in_a_crowd, queries_only_read,
         queries_have_limits, bad_parameters, declared_tables, bad_declarations, no_projections,
         another_context_is_refused, stats_show_the_lag, reserved_entities_are_not_seen]).

init_per_group(Group, Config) -> warp_projection_test:init_group(Group, Config).
end_per_group(_Group, Config) -> warp_projection_test:end_group(Config).
init_per_testcase(_Case, Config) -> warp_projection_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_projection_test:end_case(Config).

shop(Config) -> start(Config, [warp_projection_test:shop()]).
doing(Config) -> start(Config, [warp_projection_test:commands()]).

append(Entity, Event) -> {ok, _} = warp_core:append(Entity, Event).
does(Ctx, Id, Commands) ->
    Entity = warp_core:entity(Ctx, Id),
    append(Entity, warp_projection_test:does(Commands)),
    Entity.

rows_follow_events(Config) ->
    Ctx = shop(Config),
    [A, B, C] = [warp_core:entity(Ctx, Id) || Id <- [<<"a">>, <<"b">>, <<"c">>]],
    append(A, warp_projection_test:placed(10)),
    append(A, warp_projection_test:placed(5)),
    {ok, _} = warp_core:append_batch(B, [warp_projection_test:placed(<<"bob">>, N) || N <- [1, 2, 3]]),
    append(C, warp_projection_test:placed(100)),
    append(C, warp_projection_test:event(<<"Cancelled">>, #{})),
    await_all([A, B, C]),
    ?assertEqual([[<<"a">>, <<"ann">>, 15], [<<"b">>, <<"bob">>, 6]],
                 rows(Ctx, "SELECT id, customer, total FROM orders ORDER BY id")),
    ?assertEqual([[<<"ann">>, 3, 115], [<<"bob">>, 3, 6]],
                 rows(Ctx, "SELECT id, orders, spent FROM customers ORDER BY id")).

every_type_is_kept(Config) ->
    Ctx = doing(Config),
    Columns = #{text => <<"12">>, int => 12, big => 1 bsl 63 - 1, low => -(1 bsl 63), real => 12.0,
                tiny => 5.0e-324, huge => 1.7976931348623157e308, third => 1 / 3, yes => true,
                no => false, void => null, json => {json, #{a => [1, 2.5, null]}}, num => {json, 7},
                empty => <<>>},
    await(does(Ctx, <<"e">>, [warp_projection:upsert(types, <<"r">>, Columns)])),
    ?assertEqual([[<<"12">>, 12, 1 bsl 63 - 1, -(1 bsl 63), 12.0, 5.0e-324, 1.7976931348623157e308, 1 / 3,
                   true, false, null, <<"{\"a\":[1,2.5,null]}">>, <<"7">>, <<>>]],
                 rows(Ctx, "SELECT text, int, big, low, real, tiny, huge, third, yes, no, void, json, num, "
                           "empty FROM types")),
    ?assertEqual([[<<"text">>, <<"integer">>, <<"real">>]],
                 rows(Ctx, "SELECT typeof(text), typeof(int), typeof(real) FROM types")),
    %% Ids too.
    await(does(Ctx, <<"e">>, [warp_projection:upsert(types, 1, #{int => 1}),
                              warp_projection:upsert(types, <<"1">>, #{int => 2})])),
    ?assertEqual([[1, 1], [<<"1">>, 2]],
                 rows(Ctx, "SELECT id, int FROM types WHERE id IN (1, '1') ORDER BY int")).

columns_appear(Config) ->
    Ctx = doing(Config),
    await(does(Ctx, <<"e">>, [warp_projection:upsert(t, <<"r1">>, #{a => 1})])),
    await(does(Ctx, <<"e">>, [warp_projection:upsert(t, <<"r2">>, #{<<"B">> => 2})])),
    await(does(Ctx, <<"e">>, [warp_projection:increment(t, <<"r1">>, #{c => 3})])),
    await(does(Ctx, <<"e">>, [warp_projection:upsert(<<"T">>, <<"r1">>, #{<<"b">> => 4})])),
    await(does(Ctx, <<"e">>, [warp_projection:upsert(bare, <<"only">>, #{})])),
    await(does(Ctx, <<"e">>, [warp_projection:delete(never_seen, <<"x">>)])),
    ?assertEqual([[<<"r1">>, 1, 4, 3], [<<"r2">>, null, 2, null]],
                 rows(Ctx, "SELECT id, a, b, c FROM t ORDER BY id")),
    ?assertEqual([[<<"only">>]], rows(Ctx, "SELECT id FROM bare")),
    ?assertEqual([], rows(Ctx, "SELECT id FROM never_seen")),
    %% Words of SQL are fine: names are quoted.
    await(does(Ctx, <<"e">>, [warp_projection:upsert('order', <<"x">>, #{select => 1, 'group' => 2})])),
    ?assertEqual([[1, 2]], rows(Ctx, "SELECT \"select\", \"group\" FROM \"order\"")).

names_are_checked(Config) ->
    Ctx = doing(Config),
    Bad = [<<"orders; DROP TABLE x">>, <<"o\"">>, <<"o'">>, <<"1st">>, <<>>, <<"a b">>, <<"é"/utf8>>, <<"a", 0>>,
           <<"_warp_meta">>, <<"sqlite_schema">>, binary:copy(<<"a">>, 61), 7, <<"a-b">>, <<"[a]">>],
    lists:foreach(
        fun({N, Name}) ->
            Table = <<"t", (integer_to_binary(N))/binary>>,
            Entity = does(Ctx, Table, [warp_projection:upsert(Name, <<"r">>, #{a => 1})]),
            ?assertEqual({error, {set_aside, 1}}, warp_core:await_projection(Entity, 60000)),
            Column = <<"c", (integer_to_binary(N))/binary>>,
            Other = does(Ctx, Column, [warp_projection:upsert(t, <<"r">>, #{Name => 1})]),
            ?assertEqual({error, {set_aside, 1}}, warp_core:await_projection(Other, 60000))
        end,
        lists:zip(lists:seq(1, length(Bad)), Bad)),
    {ok, Entries} = warp_projection:set_aside(Ctx),
    ?assertEqual(2 * length(Bad), length(Entries)),
    [Reason] = [R || #{entity := <<"t1">>, reason := R} <- Entries],
    ?assertNotEqual(nomatch, binary:match(Reason, <<"bad_table">>)),
    ?assertNotEqual(nomatch, binary:match(Reason, <<"orders; DROP TABLE x">>)),
    ?assertEqual(#{}, dump(Ctx)).

bad_commands_are_named(Config) ->
    Ctx = doing(Config),
    Upsert = fun(Id, Columns) -> [warp_projection:upsert(t, Id, Columns)] end,
    Cases =
        [{not_a_list, <<"not_a_list">>}, {[nonsense], <<"bad_command">>},
         {[{upsert, t}], <<"bad_command">>}, {Upsert(<<>>, #{}), <<"bad_row_id">>},
         {Upsert(binary:copy(<<"x">>, 1025), #{}), <<"too_long">>}, {Upsert(1.5, #{}), <<"bad_row_id">>},
         {Upsert(<<255>>, #{}), <<"not_utf8">>}, {Upsert(<<"r">>, #{a => <<255>>}), <<"not_utf8">>},
         {Upsert(<<"r">>, #{a => {1, 2}}), <<"not_a_value">>}, {Upsert(<<"r">>, #{a => 1 bsl 64}), <<"too_large">>},
         {Upsert(<<"r">>, #{a => {json, {1}}}), <<"not_json">>}, {Upsert(<<"r">>, #{id => 1}), <<"reserved">>},
         {Upsert(<<"r">>, #{'_entity' => 1}), <<"reserved">>},
         {Upsert(<<"r">>, #{a => 1, <<"A">> => 2}), <<"twice">>},
         {[warp_projection:increment(t, <<"r">>, #{a => <<"1">>})], <<"not_a_number">>},
         {[warp_projection:upsert(t, <<"r">>, #{a => 1}) | oops], <<"not_a_list">>}],
    lists:foreach(
        fun({N, {Commands, Word}}) ->
            Id = <<"e", (integer_to_binary(N))/binary>>,
            Entity = does(Ctx, Id, Commands),
            ?assertEqual({error, {set_aside, 1}}, warp_core:await_projection(Entity, 60000)),
            {ok, Entries} = warp_projection:set_aside(Ctx),
            [Reason] = [R || #{entity := E, reason := R} <- Entries, E =:= Id],
            ?assertNotEqual({Word, nomatch}, {Word, binary:match(Reason, Word)})
        end,
        lists:zip(lists:seq(1, length(Cases)), Cases)),
    ?assertEqual(#{}, dump(Ctx)).

hostile_text(Config) ->
    Ctx = doing(Config),
    Texts = [<<"'">>, <<"\"">>, <<"''; DROP TABLE t; --">>, <<"x'6869'">>, <<"X'00'">>, <<"x''">>, <<0>>,
             <<"a", 0, "b">>, <<"\\">>, <<"%s%n">>, <<"?1">>, <<":a">>, <<"null">>, <<"NULL">>, <<"1e999">>,
             <<"Infinity">>, <<"é漢😀"/utf8>>, <<16#202e/utf8, "rtl">>, <<"\r\n\t", 27>>, <<"[1,2]">>, <<"{}">>,
             unicode:characters_to_binary(lists:duplicate(2000, 16#1F600)),
             binary:copy(<<"x'00'">>, 20000)],
    Numbered = lists:zip(lists:seq(1, length(Texts)), Texts),
    Entities = [warp_core:entity(Ctx, shortened(Text, N, 512)) || {N, Text} <- Numbered],
    lists:foreach(
        fun({Entity, {N, Text}}) ->
            append(Entity, warp_projection_test:does(
                [warp_projection:upsert(t, shortened(Text, N, 1024), #{n => N, text => Text, j => {json, [Text]}}),
                 warp_projection:increment(counts, shortened(Text, N, 1024), #{n => N})]))
        end,
        lists:zip(Entities, Numbered)),
    await_all(Entities),
    ?assertEqual([[N, Text, <<"text">>] || {N, Text} <- Numbered],
                 rows(Ctx, "SELECT n, text, typeof(text) FROM t ORDER BY n")),
    lists:foreach(
        fun({N, Text}) ->
            Id = shortened(Text, N, 1024),
            ?assertEqual([[N]], rows(Ctx, "SELECT n FROM t WHERE id = ?1", [Id])),
            ?assertEqual([[N]], rows(Ctx, "SELECT n FROM t WHERE text = ?", [Text])),
            ?assertEqual([[N]], rows(Ctx, "SELECT n FROM counts WHERE id = ?1", [Id])),
            {ok, [Decoded]} = decoded(rows(Ctx, "SELECT j FROM t WHERE n = ?", [N])),
            ?assertEqual(Text, Decoded)
        end,
        Numbered),
    lists:foreach(fun(Entity) -> ?assertEqual(ok, warp_core:delete(Entity)) end, Entities),
    ?assertEqual(#{<<"t">> => [], <<"counts">> => []}, dump(Ctx)).

decoded([[Json]]) ->
    {ok, #{<<"j">> := List}} = warp_json:decode(<<"{\"j\":", Json/binary, "}">>),
    {ok, List}.

%% Ids are shorter than texts.
shortened(Text, _N, Max) when byte_size(Text) =< Max -> Text;
shortened(_Text, N, _Max) -> <<"long-", (integer_to_binary(N))/binary>>.

many_commands_to_one_row(Config) ->
    Ctx = doing(Config),
    Up = fun(Columns) -> warp_projection:upsert(t, <<"r">>, Columns) end,
    Add = fun(N) -> warp_projection:increment(t, <<"r">>, #{n => N}) end,
    Gone = warp_projection:delete(t, <<"r">>),
    Cases =
        [{[Up(#{n => 1}), Add(2), Add(3)], 6}, {[Add(2), Up(#{n => 1})], 1}, {[Up(#{n => 5}), Gone, Add(1)], 1},
         {[Add(1), Gone], none}, {[Up(#{n => 5}), Gone, Up(#{m => 1}), Add(2)], 2},
         {[Up(#{n => null}), Add(4)], 4}, {[Up(#{n => 1.5}), Add(1)], 2.5}, {[Add(1), Up(#{n => null})], null},
         {[Gone, Gone, Up(#{n => 9})], 9}],
    Expected = [case V of none -> []; _ -> [[V]] end || {_, V} <- Cases],
    %% All in one event, one event each, and each seen before the next.
    lists:foreach(
        fun(How) ->
            Found = [begin
                         Entity = warp_core:entity(Ctx, <<"e">>),
                         ?assertEqual(ok, warp_core:delete(Entity)),
                         play(How, Entity, Commands),
                         await(Entity),
                         rows(Ctx, "SELECT n FROM t")
                     end || {Commands, _} <- Cases],
            ?assertEqual({How, Expected}, {How, Found})
        end,
        [at_once, in_a_batch, one_by_one]).

play(at_once, Entity, Commands) -> append(Entity, warp_projection_test:does(Commands));
play(in_a_batch, Entity, Commands) ->
    {ok, _} = warp_core:append_batch(Entity, [warp_projection_test:does([C]) || C <- Commands]);
play(one_by_one, Entity, Commands) ->
    lists:foreach(fun(C) -> append(Entity, warp_projection_test:does([C])), await(Entity) end, Commands).

what_is_written_shows_after_await(Config) ->
    Ctx = shop(Config),
    ok = warp_core:await_projection(warp_core:entity(Ctx, <<"nobody">>), 1000),
    Count = case ?config(target, Config) of embedded -> 100; rqlite -> 20 end,
    warp_test:parallel(8, fun(P) ->
        Id = <<"o", (integer_to_binary(P))/binary>>,
        Entity = warp_core:entity(Ctx, Id),
        [begin
             append(Entity, warp_projection_test:placed(1)),
             await(Entity),
             ?assertEqual([[N]], rows(Ctx, "SELECT total FROM orders WHERE id = ?", [Id]))
         end || N <- lists:seq(1, Count)]
    end),
    ?assertMatch({error, {bad_entity_id, empty}}, warp_core:await_projection(warp_core:entity(Ctx, <<>>), 10)).

nothing_is_repeated_or_skipped(Config) ->
    Ctx0 = shop(Config),
    Ids = [<<"o", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 50)],
    Last = lists:foldl(
        fun(_, Ctx) ->
            [append(warp_core:entity(Ctx, Id), warp_projection_test:placed(1)) || Id <- Ids],
            %% Nobody waits for the projection, so it is stopped wherever it is.
            warp_test:restart(Ctx)
        end,
        Ctx0,
        lists:seq(1, 5)),
    even(Last),
    ?assertEqual([[<<"ann">>, 250, 250]], rows(Last, "SELECT id, orders, spent FROM customers")),
    ?assertEqual([[50, 5, 5]], rows(Last, "SELECT count(*), min(total), max(total) FROM orders")).

killed_processes_come_back(Config) ->
    Ctx = shop(Config),
    Parts = [writer, erasure, projector, manager, projection_sup, projectors_sup, shard],
    Load = spawn_link(fun() -> load(Ctx, 0) end),
    lists:foreach(
        fun(Part) ->
            %% Projectors start once the target was reached.
            Pids = fun() -> [Pid || {P, Pid} <- warp_test:processes(Ctx), P =:= Part] end,
            warp_test:wait_until(fun() -> Pids() =/= [] end, 10000),
            [exit(Pid, kill) || Pid <- Pids()],
            timer:sleep(100)
        end,
        Parts ++ Parts),
    Load ! {stop, self()},
    Appended = receive {appended, N} -> N end,
    even(Ctx),
    ?assertEqual([[Appended, Appended]], rows(Ctx, "SELECT orders, spent FROM customers")),
    await(warp_core:entity(Ctx, <<"o1">>)).

load(Ctx, N) ->
    receive
        {stop, From} -> From ! {appended, N}
    after 0 ->
        Id = <<"o", (integer_to_binary(N rem 20))/binary>>,
        Event = (warp_projection_test:placed(1))#{id => <<"n", (integer_to_binary(N))/binary>>},
        ok = until_appended(warp_core:entity(Ctx, Id), Event),
        load(Ctx, N + 1)
    end.

%% An append that was answered with an error may be in the log all the same, so it is counted only when
%% the answer is known.
until_appended(Entity, Event) ->
    case warp_core:append(Entity, Event) of
        {ok, _} -> ok;
        {error, _} -> timer:sleep(5), until_appended(Entity, Event)
    end.

%% The transaction of a killed writer may still be carried out after the next writer has started.
killed_while_it_writes(Config) ->
    Ctx = start(Config, [warp_projection_test:shop()], #{shards => 1}),
    A = warp_core:entity(Ctx, <<"a">>),
    append(A, warp_projection_test:placed(1)),
    await(A),
    lists:foreach(
        fun(Round) ->
            Held = warp_projection_test:hold(Ctx, Config),
            append(A, warp_projection_test:placed(1)),
            timer:sleep(100),
            exit(hd([Pid || {writer, Pid} <- warp_test:processes(Ctx)]), kill),
            append(A, warp_projection_test:placed(1)),
            timer:sleep(200),
            warp_projection_test:release(Held),
            await(A),
            even(Ctx),
            Count = 1 + 2 * Round,
            ?assertEqual([[Count, Count]], rows(Ctx, "SELECT orders, spent FROM customers")),
            ?assertEqual([[Count]], rows(Ctx, "SELECT total FROM orders"))
        end,
        lists:seq(1, 5)).

a_crash_is_set_aside(Config) ->
    Ctx = start(Config, [warp_projection_test:shop()], #{shards => 1}),
    [A, B] = [warp_core:entity(Ctx, Id) || Id <- [<<"a">>, <<"b">>]],
    append(A, warp_projection_test:placed(1)),
    append(A, warp_projection_test:event(<<"Crash">>, #{})),
    append(A, warp_projection_test:placed(2)),
    append(B, warp_projection_test:placed(10)),
    await(B),
    ?assertEqual({error, {set_aside, 2}}, warp_core:await_projection(A, 60000)),
    ?assertEqual([[<<"a">>, 1], [<<"b">>, 10]], rows(Ctx, "SELECT id, total FROM orders ORDER BY id")),
    {ok, [Entry]} = warp_projection:set_aside(Ctx),
    ?assertMatch(#{entity := <<"a">>, seq := 2, aggregate := <<"Order">>, type := <<"Crash">>, waiting := 1,
                   event := #{seq := 2, type := <<"Crash">>}}, Entry),
    ?assertNotEqual(nomatch, binary:match(maps:get(reason, Entry), <<"no_idea">>)),
    ?assertMatch({ok, #{set_aside := 1, behind_positions := 0}}, warp_projection:status(Ctx)).

retry_goes_on(Config) ->
    Ctx = shop(Config),
    A = warp_core:entity(Ctx, <<"a">>),
    append(A, warp_projection_test:event(<<"Crash">>, #{})),
    {ok, _} = warp_core:append_batch(A, [warp_projection_test:placed(1) || _ <- lists:seq(1, 1000)]),
    {error, {set_aside, 1}} = warp_core:await_projection(A, 60000),
    ?assertEqual({error, {set_aside, 1}}, warp_projection:retry(Ctx, <<"a">>)),
    ?assertEqual({error, not_set_aside}, warp_projection:retry(Ctx, <<"b">>)),
    ?assertMatch({ok, [#{waiting := 1000}]}, warp_projection:set_aside(Ctx)),
    %% The function is fixed, and the context started again.
    Shop = warp_projection_test:shop(),
    Mended = warp_test:restart(Ctx, #{aggregates => [Shop#{project := fun
        (_, _, #{type := <<"Crash">>}) -> [];
        (Id, State, Event) -> (maps:get(project, Shop))(Id, State, Event)
    end}]}),
    A2 = warp_core:entity(Mended, <<"a">>),
    ?assertEqual({error, {set_aside, 1}}, warp_core:await_projection(A2, 60000)),
    ?assertEqual(ok, warp_projection:retry(Mended, all)),
    ?assertEqual({ok, []}, warp_projection:set_aside(Mended)),
    ?assertEqual([[1000]], rows(Mended, "SELECT total FROM orders")),
    ?assertEqual([[1000]], rows(Mended, "SELECT orders FROM customers")),
    append(A2, warp_projection_test:placed(1)),
    await(A2),
    ?assertEqual([[1001]], rows(Mended, "SELECT total FROM orders")).

skip_goes_on(Config) ->
    Ctx = shop(Config),
    A = warp_core:entity(Ctx, <<"a">>),
    Crash = warp_projection_test:event(<<"Crash">>, #{}),
    [append(A, E) || E <- [warp_projection_test:placed(1), Crash, warp_projection_test:placed(2), Crash,
                           warp_projection_test:placed(4)]],
    {error, {set_aside, 2}} = warp_core:await_projection(A, 60000),
    ?assertEqual({error, {set_aside, 4}}, warp_projection:skip(Ctx, <<"a">>)),
    ?assertEqual([[3]], rows(Ctx, "SELECT total FROM orders")),
    ?assertEqual(ok, warp_projection:skip(Ctx, <<"a">>)),
    ?assertEqual({error, not_set_aside}, warp_projection:skip(Ctx, <<"a">>)),
    ?assertEqual([[7]], rows(Ctx, "SELECT total FROM orders")),
    %% A rebuild leaves them out as well.
    ok = warp_projection:rebuild(Ctx),
    ok = warp_projection:await_rebuild(Ctx, 60000),
    ?assertEqual([[7]], rows(Ctx, "SELECT total FROM orders")),
    ?assertEqual({ok, []}, warp_projection:set_aside(Ctx)).

set_aside_is_remembered(Config) ->
    Ctx = shop(Config),
    Entities = [warp_core:entity(Ctx, <<"e", (integer_to_binary(N))/binary>>) || N <- lists:seq(1, 20)],
    [append(E, warp_projection_test:event(<<"Crash">>, #{})) || E <- Entities],
    even(Ctx),
    Again = warp_test:restart(Ctx),
    even(Again),
    {ok, Twenty} = warp_projection:set_aside(Again),
    ?assertEqual(20, length(Twenty)),
    ?assertMatch({ok, [_, _]}, warp_projection:set_aside(Again, 2)),
    %% A deleted entity is no longer set aside.
    ok = warp_core:delete(warp_core:entity(Again, <<"e1">>)),
    {ok, Left} = warp_projection:set_aside(Again),
    ?assertEqual(19, length(Left)),
    ?assertNot(lists:any(fun(#{entity := E}) -> E =:= <<"e1">> end, Left)).

rows_of_others_are_refused(Config) ->
    Ctx = doing(Config),
    await(does(Ctx, <<"mine">>, [warp_projection:upsert(t, <<"r">>, #{a => 1})])),
    lists:foreach(
        fun({Id, Command}) ->
            Entity = does(Ctx, Id, [Command]),
            ?assertEqual({error, {set_aside, 1}}, warp_core:await_projection(Entity, 60000))
        end,
        [{<<"sets">>, warp_projection:upsert(t, <<"r">>, #{a => 2})},
         {<<"deletes">>, warp_projection:delete(t, <<"r">>)}]),
    {ok, Entries} = warp_projection:set_aside(Ctx),
    [?assertNotEqual(nomatch, binary:match(R, <<"table t belongs to another entity">>))
     || #{reason := R} <- Entries],
    ?assertEqual([[1]], rows(Ctx, "SELECT a FROM t")),
    %% After its owner has deleted the row, another entity may own it.
    await(does(Ctx, <<"mine">>, [warp_projection:delete(t, <<"r">>)])),
    ?assertEqual(ok, warp_projection:retry(Ctx, <<"sets">>)),
    ?assertEqual([[2, <<"sets">>]], rows(Ctx, "SELECT a, _entity FROM t")).

others_may_count(Config) ->
    Ctx = doing(Config),
    Add = fun(N) -> [warp_projection:increment(t, <<"r">>, #{n => N})] end,
    await(does(Ctx, <<"a">>, Add(1))),
    await(does(Ctx, <<"owner">>, [warp_projection:upsert(t, <<"r">>, #{name => <<"R">>, n => 10})])),
    await(does(Ctx, <<"b">>, Add(2))),
    await(does(Ctx, <<"a">>, Add(4))),
    ?assertEqual([[<<"R">>, 17]], rows(Ctx, "SELECT name, n FROM t")),
    await(does(Ctx, <<"owner">>, [warp_projection:upsert(t, <<"r">>, #{n => 20})])),
    ?assertEqual([[<<"R">>, 27]], rows(Ctx, "SELECT name, n FROM t")),
    Before = dump(Ctx),
    ok = warp_projection:rebuild(Ctx),
    ok = warp_projection:await_rebuild(Ctx, 60000),
    ?assertEqual(Before, dump(Ctx)),
    %% Each entity takes out its own part.
    ok = warp_core:delete(warp_core:entity(Ctx, <<"a">>)),
    ?assertEqual([[<<"R">>, 22]], rows(Ctx, "SELECT name, n FROM t")),
    ok = warp_core:delete(warp_core:entity(Ctx, <<"owner">>)),
    ?assertEqual([[null, 2]], rows(Ctx, "SELECT name, n FROM t")),
    await(does(Ctx, <<"b">>, [warp_projection:delete(t, <<"r">>)])),
    ?assertEqual([], rows(Ctx, "SELECT * FROM t")).

no_text_among_counts(Config) ->
    Ctx = doing(Config),
    await(does(Ctx, <<"a">>, [warp_projection:increment(t, <<"r">>, #{n => 1})])),
    Entities = warp_test:parallel(20, fun(N) ->
        Id = <<"e", (integer_to_binary(N))/binary>>,
        Value = case N of 7 -> <<"text">>; _ -> N end,
        does(Ctx, Id, [warp_projection:upsert(t, Id, #{n => Value})])
    end),
    Results = [warp_core:await_projection(E, 60000) || E <- Entities],
    ?assertEqual({error, {set_aside, 1}}, lists:nth(7, Results)),
    ?assertEqual(19, length([ok || ok <- Results])),
    {ok, [#{reason := Reason}]} = warp_projection:set_aside(Ctx),
    ?assertNotEqual(nomatch, binary:match(Reason, <<"counted_column">>)),
    ?assertEqual([[1 + 210 - 7]], rows(Ctx, "SELECT sum(n) FROM t")).

%% In one batch of many entities, some commands are refused: just those, and all of them.
a_refused_command_is_found_in_a_crowd(Config) ->
    Ctx = start(Config, [warp_projection_test:commands()], #{shards => 1}),
    await(does(Ctx, <<"owner">>, [warp_projection:upsert(t, <<"taken">>, #{a => 0})])),
    Commands = fun(N) when N rem 10 =:= 0 -> [warp_projection:upsert(t, N, #{a => N}),
                                              warp_projection:upsert(t, <<"taken">>, #{a => N})];
                  (N) -> [warp_projection:upsert(t, N, #{a => N})]
               end,
    %% So that all of it is one batch.
    Pid = hd([P || {writer, P} <- warp_test:processes(Ctx)]),
    ok = sys:suspend(Pid),
    Entities = warp_test:parallel([fun() -> does(Ctx, <<"e", (integer_to_binary(N))/binary>>, Commands(N)) end
                                   || N <- lists:seq(1, 100)]),
    ok = sys:resume(Pid),
    even(Ctx),
    Results = [warp_core:await_projection(E, 60000) || E <- Entities],
    ?assertEqual(90, length([ok || ok <- Results])),
    ?assertEqual(10, length([no || {error, {set_aside, 1}} <- Results])),
    ?assertEqual([[90, 0]], rows(Ctx, "SELECT count(*), sum(id % 10 = 0) FROM t WHERE id <> 'taken'")),
    ?assertEqual([[0]], rows(Ctx, "SELECT a FROM t WHERE id = 'taken'")).

queries_only_read(Config) ->
    Ctx = shop(Config),
    A = warp_core:entity(Ctx, <<"a">>),
    append(A, warp_projection_test:placed(1)),
    await(A),
    Before = dump(Ctx),
    lists:foreach(
        fun(Sql) ->
            Result = warp_core:query(Ctx, Sql, []),
            ?assertMatch({_, {error, _}}, {Sql, Result})
        end,
        ["DELETE FROM orders", "UPDATE orders SET total = 0", "INSERT INTO orders (id) VALUES (1)",
         "DROP TABLE orders", "CREATE TABLE x (a)", "ALTER TABLE orders ADD COLUMN x", "VACUUM",
         "ATTACH '/tmp/warp-attached.db' AS x", "PRAGMA journal_mode = DELETE", "PRAGMA user_version = 9",
         "BEGIN", "COMMIT", "SELECT 1; DELETE FROM orders", "WITH x AS (SELECT 1) DELETE FROM orders",
         "DELETE FROM orders RETURNING id", "REPLACE INTO orders (id) VALUES (1)", "REINDEX",
         "CREATE TEMP TABLE x (a)", "SELECT load_extension('x')", "", "-- nothing", "SELEC", "SELECT FROM"]),
    ?assertNot(filelib:is_file("/tmp/warp-attached.db")),
    ?assertEqual(Before, dump(Ctx)),
    ?assertEqual({error, read_only}, warp_core:query(Ctx, "DELETE FROM orders", [])),
    ?assertMatch({error, {sql_error, _}}, warp_core:query(Ctx, "SELECT nothing FROM nowhere", [])),
    ?assertMatch({ok, #{columns := [<<"one">>, <<"1+1">>], rows := [[1, 2]]}},
                 warp_core:query(Ctx, "SELECT 1 AS one, 1+1", [])),
    ?assertEqual([[{blob, <<0, 255>>}]], rows(Ctx, "SELECT x'00ff'")).

queries_have_limits(Config) ->
    Ctx = shop(Config),
    Numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?) SELECT i FROM n",
    {ok, #{rows := Ten}} = warp_core:query(Ctx, Numbers, [10], #{max_rows => 10}),
    ?assertEqual(10, length(Ten)),
    ?assertEqual({error, {too_many_rows, 10}}, warp_core:query(Ctx, Numbers, [11], #{max_rows => 10})),
    ?assertEqual({error, {too_many_rows, 10000}}, warp_core:query(Ctx, Numbers, [20000])),
    Endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
    ?assertEqual({error, timeout}, warp_core:query(Ctx, Endless, [], #{timeout => 200})),
    ?assertEqual({error, {unknown_option, rows}}, warp_core:query(Ctx, "SELECT 1", [], #{rows => 1})),
    ?assertMatch({error, {bad_option, max_rows, _}}, warp_core:query(Ctx, "SELECT 1", [], #{max_rows => 0})),
    ?assertMatch({error, {bad_option, timeout, _}}, warp_core:query(Ctx, "SELECT 1", [], #{timeout => soon})),
    ?assertMatch({error, {bad_option, level, _}}, warp_core:query(Ctx, "SELECT 1", [], #{level => high})),
    %% All of it is still there.
    ?assertEqual([[1]], rows(Ctx, "SELECT 1")).

bad_parameters(Config) ->
    Ctx = shop(Config),
    ?assertEqual({error, {bad_param, 2, not_a_value}}, warp_core:query(Ctx, "SELECT ?, ?", [1, {2}])),
    ?assertMatch({error, {bad_params, _}}, warp_core:query(Ctx, "SELECT ?, ?", [1])),
    ?assertMatch({error, {bad_params, _}}, warp_core:query(Ctx, "SELECT ?", [1, 2])),
    ?assertMatch({error, {bad_params, _}}, warp_core:query(Ctx, "SELECT ?", nonsense)),
    ?assertMatch({error, {sql_error, _}}, warp_core:query(Ctx, <<255>>, [])),
    ?assertEqual([[1, <<"x">>, 2.5, null, 1]], rows(Ctx, "SELECT ?, ?, ?, ?, ?", [1, <<"x">>, 2.5, null, true])).

declared_tables(Config) ->
    Tables = #{people => #{columns => #{name => text, age => integer, height => float, vip => bool,
                                        more => json, what => any, email => text},
                           indexes => [[age, name]], keys => [[email]]}},
    Ctx = start(Config, [warp_projection_test:commands()],
                #{projections => warp_projection_test:projections(Config, #{tables => Tables})}),
    ?assertEqual([[0]], rows(Ctx, "SELECT count(*) FROM people")),
    Good = #{name => <<"Ann">>, age => 30, height => 1.7, vip => true, more => {json, []}, what => 7,
             email => <<"ann@example.org">>},
    await(does(Ctx, <<"ann">>, [warp_projection:upsert(people, <<"ann">>, Good)])),
    %% The one with Ann's address, p7, is in her shard, so that a rebuild projects it after her, too.
    Wrong = [#{name => 1}, #{age => <<"30">>}, #{age => 1.5}, #{height => <<"tall">>}, #{vip => 2}, #{more => 7},
             #{email => <<"ann@example.org">>}, #{age => 3.0}, #{age => {json, 3}}, #{height => <<"1.7">>},
             #{height => {json, 2}}],
    lists:foreach(
        fun({N, Columns}) ->
            Id = <<"p", (integer_to_binary(N))/binary>>,
            Entity = does(Ctx, Id, [warp_projection:upsert(people, Id, Columns)]),
            ?assertEqual({Columns, {error, {set_aside, 1}}}, {Columns, warp_core:await_projection(Entity, 60000)})
        end,
        lists:zip(lists:seq(1, length(Wrong)), Wrong)),
    ?assertEqual([[<<"ann">>, 30, 1.7, true]], rows(Ctx, "SELECT id, age, height, vip FROM people")),
    ?assertEqual([[0, <<"age">>], [1, <<"name">>]],
                 rows(Ctx, "SELECT i.seqno, i.name FROM sqlite_schema s, pragma_index_info(s.name) i "
                           "WHERE s.tbl_name = 'people' AND s.name = '_warp_1_people_1' ORDER BY i.seqno")),
    %% Columns of numbers compare themselves with the number of a text, as a client that keeps large numbers as text
    %% gives them.
    ?assertEqual([[<<"ann">>]], rows(Ctx, "SELECT id FROM people WHERE age > ?", [<<"9">>])),
    ?assertEqual([], rows(Ctx, "SELECT id FROM people WHERE age > ?", [<<"100">>])),
    ?assertEqual([[<<"ann">>]],
                 rows(Ctx, "SELECT id FROM people WHERE height < ? AND age = ?", [<<"10.5">>, <<"30">>])),
    await(does(Ctx, <<"ann">>, [warp_projection:upsert(people, <<"ann">>, #{height => 2})])),
    ?assertEqual([[2.0]], rows(Ctx, "SELECT height FROM people")),
    Counted = does(Ctx, <<"ben">>, [warp_projection:increment(people, <<"ann">>, #{age => 1.0})]),
    ?assertEqual({error, {set_aside, 1}}, warp_core:await_projection(Counted, 60000)),
    %% A column that was not declared is made when a command uses it.
    await(does(Ctx, <<"ann">>, [warp_projection:upsert(people, <<"ann">>, #{shoe => 39})])),
    ok = warp_projection:rebuild(Ctx),
    ok = warp_projection:await_rebuild(Ctx, 60000),
    ?assertEqual([[<<"ann">>, true, 39]], rows(Ctx, "SELECT id, vip, shoe FROM people")),
    %% After a change of the declaration a rebuild is due.
    Changed = Tables#{more => #{}},
    Again = warp_test:restart(Ctx, #{projections => warp_projection_test:projections(Config, #{tables => Changed})}),
    ?assertEqual([[0]], rows(Again, "SELECT count(*) FROM more")),
    ?assertMatch({ok, #{rebuild_due := true}}, warp_projection:status(Again)).

bad_declarations(Config) ->
    Try = fun(Projections) ->
        warp_test:try_start((warp_test:opts(Config))#{aggregates => [warp_projection_test:shop()],
                                                      projections => Projections})
    end,
    Bad = fun(Tables) -> Try(warp_projection_test:projections(Config, #{tables => Tables})) end,
    ?assertMatch({error, {bad_option, projections, {not_one_of, _}}}, Try(some)),
    ?assertMatch({error, {bad_option, projections, _}}, Try({embedded, #{file => "x"}})),
    ?assertMatch({error, {bad_option, projections, {tables, not_a_map}}}, Bad([])),
    ?assertMatch({error, {bad_option, projections, {table, <<"a b">>, _}}}, Bad(#{<<"a b">> => #{}})),
    ?assertMatch({error, {bad_option, projections, {column, <<"id">>, reserved}}},
                 Bad(#{t => #{columns => #{id => text}}})),
    ?assertMatch({error, {bad_option, projections, {column, a, {unknown_type, string}}}},
                 Bad(#{t => #{columns => #{a => string}}})),
    ?assertMatch({error, {bad_option, projections, {index, <<"b">>, not_declared}}},
                 Bad(#{t => #{columns => #{a => text}, indexes => [[b]]}})),
    ?assertMatch({error, {bad_option, projections, {tables, t, {unknown_key, column}}}},
                 Bad(#{t => #{column => #{}}})).

no_projections(Config) ->
    Ctx = warp_test:start(Config, #{aggregates => [warp_projection_test:shop()]}),
    A = warp_core:entity(Ctx, <<"a">>),
    append(A, warp_projection_test:placed(1)),
    ?assertEqual({error, no_projections}, warp_core:query(Ctx, "SELECT 1", [])),
    ?assertEqual({error, no_projections}, warp_core:await_projection(A, 100)),
    ?assertEqual({error, no_projections}, warp_projection:rebuild(Ctx)),
    ?assertEqual({error, no_projections}, warp_projection:set_aside(Ctx)),
    ?assertEqual([], [P || {P, _} <- warp_test:processes(Ctx), P =:= writer orelse P =:= projector]),
    ?assertEqual([], filelib:wildcard(filename:join(warp_test:context_dir(Ctx), "{projections,erasures}*"))),
    %% A projection that is added later begins at the first event.
    With = warp_test:restart(Ctx, #{projections => warp_projection_test:projections(Config)}),
    await(warp_core:entity(With, <<"a">>)),
    ?assertEqual([[1]], rows(With, "SELECT total FROM orders")),
    ok = warp_core:stop(With),
    %% From then on the context cannot be started without it or with another target, where nobody would erase
    %% deleted entities.
    Other = case ?config(target, Config) of
        embedded -> {rqlite, #{nodes => ["http://127.0.0.1:1"]}};
        rqlite -> embedded
    end,
    [?assertMatch({error, {was_projected, _}},
                  warp_test:try_start((warp_test:opts(Config))#{aggregates => [warp_projection_test:shop()],
                                                                projections => Projections}))
     || Projections <- [none, Other]],
    %% Left untouched it can, where nothing is projected or deleted.
    Looked = warp_test:start(Config, #{aggregates => [warp_test:log()], projections => untouched}),
    ?assertMatch({ok, [_]}, warp_core:export(warp_core:entity(Looked, <<"a">>))),
    ?assertMatch({error, {was_projected, _}}, warp_core:delete(warp_core:entity(Looked, <<"a">>))),
    ?assertEqual({error, no_projections}, warp_projection:status(Looked)),
    ?assertMatch({ok, [_]}, warp_core:export(warp_core:entity(Looked, <<"a">>))),
    ok = warp_core:stop(Looked),
    Again = shop(Config),
    ?assertEqual([[1]], rows(Again, "SELECT total FROM orders")),
    ok = warp_core:delete(warp_core:entity(Again, <<"a">>)),
    ?assertEqual([], rows(Again, "SELECT total FROM orders")),
    ok = warp_core:stop(Again),
    ?assertEqual({error, context_stopped}, warp_core:query(With, "SELECT 1", [])),
    ?assertEqual({error, context_stopped}, warp_projection:rebuild(With)).

another_context_is_refused(Config) ->
    Ctx = shop(Config),
    Options = (warp_test:opts(Config))#{aggregates => [warp_projection_test:shop()], context => <<"other">>,
                                        projections => warp_projection_test:projections(Config)},
    case ?config(target, Config) of
        rqlite ->
            {error, Reason} = warp_test:try_start(Options),
            ?assertMatch({wrong_identity, _, <<"that of context test with 2 shards">>}, Reason);
        embedded ->
            Dir = warp_test:context_dir(Ctx),
            warp_test:stop(Ctx),
            {ok, Other} = warp_test:try_start(Options),
            To = filename:join(warp_test:context_dir(Other), "projections.db"),
            warp_test:stop(Other),
            {ok, _} = file:copy(filename:join(Dir, "projections.db"), To),
            ?assertMatch({error, {wrong_identity, _, <<"that of context test with 2 shards">>}},
                         warp_test:try_start(Options)),
            ok = file:write_file(To, <<"something else that is long enough to be looked at, ", 0:800>>),
            ?assertMatch({error, {not_a_projection, _}}, warp_test:try_start(Options)),
            ?assertMatch({ok, <<"something", _/binary>>}, file:read_file(To))
    end.

stats_show_the_lag(Config) ->
    Ctx = shop(Config),
    A = warp_core:entity(Ctx, <<"a">>),
    append(A, warp_projection_test:placed(1)),
    await(A),
    Target = ?config(target, Config),
    ?assertMatch(#{projections := #{target := Target, state := up, behind_positions := 0, set_aside := 0}},
                 warp_core:stats(Ctx)),
    %% Entities are written to while nothing is written to the target.
    Pid = hd([P || {writer, P} <- warp_test:processes(Ctx)]),
    ok = sys:suspend(Pid),
    [append(A, warp_projection_test:placed(1)) || _ <- lists:seq(1, 10)],
    ?assertEqual({error, timeout}, warp_core:await_projection(A, 300)),
    {ok, #{behind_positions := Behind, behind_seconds := Seconds}} = warp_projection:status(Ctx),
    ?assertEqual(10, Behind),
    ?assert(Seconds > 0.2),
    ok = sys:resume(Pid),
    await(A),
    ?assertMatch({ok, #{behind_positions := 0, behind_seconds := +0.0}}, warp_projection:status(Ctx)).

reserved_entities_are_not_seen(Config) ->
    Ctx = shop(Config),
    %% Appended as Warp itself does it, whatever a user's handle may do.
    A = warp_core:entity(Ctx, <<"a">>),
    append(A, warp_projection_test:placed(1)),
    case warp_core:append(warp_core:entity(Ctx, <<"$warp/x">>), warp_projection_test:placed(100)) of
        {ok, _} -> ok;
        {error, {bad_entity_id, reserved}} -> ok
    end,
    even(Ctx),
    ?assertEqual([[<<"a">>]], rows(Ctx, "SELECT id FROM orders")).
