%% Lists of entities, and the events of a context by position, against what was appended.
-module(warp_list_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(warp_test, [credited/1, incremented/0, noted/1]).

suite() -> [{timetrap, {seconds, 60}}].
all() -> warp_test:both_modes().
groups() -> warp_test:both_modes(cases()).
init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_, _) -> ok.
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

cases() ->
    [every_entity_is_listed_once, entities_are_listed_by_prefix_and_aggregate, a_list_goes_on_over_a_restart,
     a_page_ends_at_its_timeout, events_come_in_the_order_of_each_shard, events_of_a_batch_stay_together,
     new_events_come_behind_the_last_position, events_are_migrated, wrong_options_are_named].

%% ------------------------------------------------------------------ Entities

every_entity_is_listed_once(Config) ->
    Ctx = warp_test:start(Config, #{shards => 3}),
    Ids = [<<"entity ", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 2500)],
    Append = fun(Id) -> {ok, _} = warp_core:append(warp_core:entity(Ctx, Id), incremented()) end,
    _ = warp_test:parallel([fun() -> lists:foreach(Append, Part) end || Part <- parts(Ids, 20)]),
    ?assertEqual(lists:sort(Ids), lists:sort(ids(all_entities(Ctx, #{limit => 7000})))),
    ?assertEqual(lists:sort(Ids), lists:sort(ids(all_entities(Ctx, #{limit => 333})))),
    %% Not applied yet, or just.
    Gone = lists:sublist(Ids, 20),
    [ok = warp_core:delete(warp_core:entity(Ctx, Id)) || Id <- Gone],
    Append(hd(Gone)),
    Append(lists:last(Ids)),
    Listed = all_entities(Ctx, #{}),
    ?assertEqual(lists:sort(Ids -- tl(Gone)), lists:sort(ids(Listed))),
    Seqs = maps:from_list([{Id, Seq} || #{id := Id, seq := Seq} <- Listed]),
    ?assertEqual({1, 2}, {map_get(hd(Gone), Seqs), map_get(lists:last(Ids), Seqs)}).

entities_are_listed_by_prefix_and_aggregate(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Append = fun(Id, Events) -> {ok, _} = warp_core:append_batch(warp_core:entity(Ctx, Id), Events) end,
    Append(<<"user/1">>, [credited(1)]),
    Append(<<"user/2">>, [incremented(), credited(5)]),
    Append(<<"order/1">>, [incremented()]),
    Append(<<"order/2">>, [noted(<<"x">>)]),
    {ok, _} = warp_saga:commit(
        warp_saga:step(warp_saga:new(<<"s">>),
                       #{entity => <<"user/1">>, aggregate => <<"Account">>,
                         forward => #{type => <<"Credited">>, payload => #{amount => 1}},
                         compensate => #{type => <<"Debited">>, payload => #{amount => 1}}}),
        Ctx),
    Check = fun(Now) ->
        List = fun(Options) -> lists:sort(ids(all_entities(Now, Options))) end,
        ?assertEqual([<<"order/1">>, <<"order/2">>, <<"user/1">>, <<"user/2">>], List(#{})),
        ?assertEqual([<<"user/1">>, <<"user/2">>], List(#{prefix => <<"user/">>})),
        ?assertEqual([<<"user/1">>, <<"user/2">>], List(#{aggregate => <<"Account">>, limit => 1})),
        ?assertEqual([<<"order/1">>, <<"user/2">>], List(#{aggregate => <<"Counter">>})),
        ?assertEqual([<<"order/1">>], List(#{aggregate => <<"Counter">>, prefix => <<"order/">>})),
        ?assertEqual([], List(#{aggregate => <<"Nobody's">>}))
    end,
    Check(Ctx),
    Check(warp_test:restart(Ctx)).

a_list_goes_on_over_a_restart(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Ids = [integer_to_binary(N) || N <- lists:seq(1, 50)],
    [{ok, _} = warp_core:append(warp_core:entity(Ctx, Id), incremented()) || Id <- Ids],
    {ok, #{entities := First, next := Next}} = warp_core:entities(Ctx, #{limit => 30}),
    Rest = all_entities(warp_test:restart(Ctx), #{'after' => Next, limit => 3}),
    ?assertEqual(lists:sort(Ids), lists:sort(ids(First ++ Rest))).

%% Nothing is lost by it: the next page goes on.
a_page_ends_at_its_timeout(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    [{ok, _} = warp_core:append(warp_core:entity(Ctx, integer_to_binary(N)), incremented()) || N <- lists:seq(1, 3000)],
    {ok, #{entities := Found, next := Next}} =
        warp_core:entities(Ctx, #{prefix => <<"none">>, timeout => 0, limit => 10}),
    ?assertEqual([], Found),
    ?assertNotEqual(done, Next),
    ?assertEqual([], all_entities(Ctx, #{prefix => <<"none">>, timeout => 0, limit => 10})).

%% ------------------------------------------------------------------ Events

events_come_in_the_order_of_each_shard(Config) ->
    Ctx = warp_test:start(Config, #{shards => 3}),
    Entities = [warp_core:entity(Ctx, integer_to_binary(N)) || N <- lists:seq(1, 20)],
    [{ok, _} = warp_core:append(Entity, incremented()) || _ <- lists:seq(1, 10), Entity <- Entities],
    ok = warp_core:delete(hd(Entities)),
    All = all_events(Ctx, #{limit => 7}),
    ?assertEqual(190, length(All)),
    ?assertEqual(All, all_events(Ctx, #{})),
    [begin
         Of = [{Position, Event} || #{shard := Shard, position := Position} = Event <- All, Shard =:= N],
         ?assertEqual(Of, lists:keysort(1, Of)),
         ?assertEqual([Event || {_, Event} <- Of], all_events(Ctx, #{shard => N, limit => 3}))
     end || N <- [0, 1, 2]],
    [begin
         {ok, History} = warp_core:history(warp_core:entity(Ctx, Id)),
         ?assertEqual(History, [maps:without([entity, shard, position], Event)
                                || #{entity := Entity} = Event <- All, Entity =:= Id])
     end || Id <- lists:usort([Id || #{entity := Id} <- All])].

events_of_a_batch_stay_together(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Entity = warp_core:entity(Ctx, <<"a">>),
    [{ok, _} = warp_core:append_batch(Entity, [incremented() || _ <- lists:seq(1, 10)]) || _ <- lists:seq(1, 5)],
    {ok, #{events := First, next := Next, more := true}} = warp_core:events(Ctx, #{limit => 11}),
    ?assertEqual(lists:seq(1, 20), [Seq || #{seq := Seq} <- First]),
    ?assertEqual(2, length(lists:usort([Position || #{position := Position} <- First]))),
    {ok, #{events := Rest, more := false}} = warp_core:events(Ctx, #{'after' => Next}),
    ?assertEqual(lists:seq(21, 50), [Seq || #{seq := Seq} <- Rest]).

new_events_come_behind_the_last_position(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    {ok, #{events := [], next := Begin, more := false}} = warp_core:events(Ctx, #{}),
    [{ok, _} = warp_core:append(warp_core:entity(Ctx, integer_to_binary(N)), incremented()) || N <- lists:seq(1, 9)],
    {ok, #{events := Nine, next := Next, more := false}} = warp_core:events(Ctx, #{'after' => Begin}),
    ?assertEqual(9, length(Nine)),
    ?assertMatch({ok, #{events := [], next := Next, more := false}}, warp_core:events(Ctx, #{'after' => Next})),
    Again = warp_test:restart(Ctx),
    ?assertMatch({ok, #{events := [], more := false}}, warp_core:events(Again, #{'after' => Next})),
    {ok, 1} = warp_core:append(warp_core:entity(Again, <<"new">>), incremented()),
    ?assertMatch({ok, #{events := [#{entity := <<"new">>}], more := false}},
                 warp_core:events(Again, #{'after' => Next})).

events_are_migrated(Config) ->
    Migrate = fun(Event, 1) -> Event#{type := <<"Migrated">>}; (_, 2) -> error(no) end,
    Counter = (warp_test:counter())#{migrate => Migrate, apply => fun(State, _) -> State end},
    Ctx = warp_test:start(Config, #{shards => 1, aggregates => [Counter]}),
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"a">>), incremented()),
    ?assertMatch({ok, #{events := [#{type := <<"Migrated">>}]}}, warp_core:events(Ctx)),
    _ = warp_core:append(warp_core:entity(Ctx, <<"a">>), (incremented())#{schema_vsn => 2}),
    ?assertMatch({ok, #{events := [#{type := <<"Migrated">>}]}}, warp_core:events(Ctx)),
    Again = warp_test:restart(Ctx, #{aggregates => [Counter#{migrate => fun(_, _) -> error(no) end}]}),
    ?assertMatch({error, {migrate_failed, {error, no, _}}}, warp_core:events(Again)).

%% ------------------------------------------------------------------ Options

wrong_options_are_named(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    [?assertMatch({error, {bad_option, Key, _}}, warp_core:entities(Ctx, #{Key => Wrong}))
     || {Key, Wrong} <- [{limit, 0}, {limit, 10001}, {prefix, user}, {prefix, <<255>>}, {aggregate, <<>>},
                         {aggregate, 'Account'}, {'after', done}, {'after', {0, {a, 1}}}, {'after', {-1, first}},
                         {'after', {0, {1 bsl 63, 0}}}, {timeout, soon}]],
    [?assertMatch({error, {bad_option, Key, _}}, warp_core:events(Ctx, #{Key => Wrong}))
     || {Key, Wrong} <- [{limit, 0}, {limit, 10001}, {shard, 2}, {shard, -1}, {'after', 0}, {'after', #{0 => -1}},
                         {'after', #{a => 1}}, {'after', #{0 => 1 bsl 62}}, {timeout, soon}]],
    ?assertEqual({error, {unknown_option, from}}, warp_core:entities(Ctx, #{from => 1})),
    ?assertEqual({error, {unknown_option, from}}, warp_core:events(Ctx, #{from => 1})),
    ?assertEqual({ok, #{entities => [], next => done}}, warp_core:entities(Ctx, #{'after' => {7, first}})),
    ok = warp_test:stop(Ctx),
    ?assertEqual({error, context_stopped}, warp_core:entities(Ctx)),
    ?assertEqual({error, context_stopped}, warp_core:events(Ctx)).

%% ------------------------------------------------------------------ Pages

all_entities(Ctx, Options) ->
    case warp_core:entities(Ctx, Options) of
        {ok, #{entities := Entities, next := done}} -> Entities;
        {ok, #{entities := Entities, next := Next}} -> Entities ++ all_entities(Ctx, Options#{'after' => Next})
    end.

all_events(Ctx, Options) ->
    case warp_core:events(Ctx, Options) of
        {ok, #{events := Events, more := false}} -> Events;
        {ok, #{events := Events, next := Next, more := true}} -> Events ++ all_events(Ctx, Options#{'after' => Next})
    end.

ids(Entities) -> [Id || #{id := Id} <- Entities].

parts(List, Size) when length(List) =< Size -> [List];
parts(List, Size) ->
    {Part, Rest} = lists:split(Size, List),
    [Part | parts(Rest, Size)].
