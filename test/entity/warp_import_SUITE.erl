%% What was exported comes back as it was: with its seqs, ids and times, all of it or none, whoever else wants something
%% of the entity and whatever is killed meanwhile.
-module(warp_import_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_test, [noted/1, noted/2, incremented/0, incremented/1, saw/1]).

suite() -> [{timetrap, {minutes, 10}}].

all() -> [{group, actor}, {group, read_through} | once()].

groups() ->
    warp_test:both_modes(
      [events_come_back_as_they_were,
       ids_keep_their_meaning,
       an_import_that_is_made_again_is_told_from_another,
       what_is_no_export_is_refused_by_name,
       what_cannot_be_folded_is_not_stored,
       an_import_waits_for_what_was_asked_before,
       of_many_imports_and_appends_at_once_one_begins_the_entity,
       a_killed_process_leaves_all_or_nothing,
       random_histories_come_back]).

once() ->
    [events_of_another_time_and_place_come_back,
     old_names_and_versions_stay,
     batches_stay_together_and_large_ones_are_cut,
     limits_are_named,
     a_reader_sees_all_or_nothing,
     followers_see_new_rows,
     a_subscription_from_a_time_takes_the_time_of_the_import,
     an_entity_that_was_deleted_comes_back_from_a_backup,
     a_kept_life_goes_through_a_backup,
     a_commit_that_fails_leaves_nothing,
     a_vm_that_ends_leaves_all_or_nothing].

init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_Mode, _Config) -> ok.
init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

%% ---------------------------------------------------------------- As it was

events_come_back_as_they_were(Config) ->
    Ctx = warp_test:start(Config, #{snapshot_every => 5}),
    Alice = warp_core:entity(Ctx, <<"zażółć"/utf8>>),
    {ok, {1, 3}} = warp_core:append_batch(Alice, [
        (saw(#{text => <<"ż"/utf8>>, n => 1 bsl 80, f => -0.0}))#{metadata => #{correlation_id => <<"c">>}},
        (incremented(2))#{id => <<"given">>, schema_vsn => 7},
        noted(<<"\n\"">>)]),
    [{ok, _} = warp_core:append(Alice, Event) || Event <- [incremented(3), saw(<<"{ \"a\" : [1.10, null] }">>)]],
    {ok, Events} = warp_core:export(Alice),
    States = states(Alice),
    ok = warp_core:delete(Alice),
    ?assertEqual({ok, 5}, warp_core:import(Alice, Events)),
    assert_same(Events, Alice),
    ?assertEqual(States, states(Alice)),
    warp_test:passivate(Alice),
    ?assertEqual(States, states(Alice)),
    %% What comes next is later than what came back.
    ?assertEqual({ok, 6}, warp_core:append(Alice, incremented(1))),
    {ok, [#{recorded_at := Before}, #{recorded_at := Now}]} = warp_core:history(Alice, #{from => 5}),
    ?assert(Now > Before),
    Again = warp_test:restart(Ctx),
    ?assertMatch({ok, _}, warp_core:verify(Again)),
    {ok, Six} = warp_core:export(warp_core:entity(Again, <<"zażółć"/utf8>>)),
    ?assertEqual(bytes(Events), bytes(lists:sublist(Six, 5))).

%% Also times of long ago, that go back, and of days to come.
events_of_another_time_and_place_come_back(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Now = os:system_time(microsecond),
    Times = [1 bsl 47, Now - 5000000, Now - 9000000, Now - 9000000, Now + 3600000000, (1 bsl 62) - 1],
    Events = [(exported(N))#{recorded_at => Time, entity => <<"alice">>}
              || {N, Time} <- lists:zip(lists:seq(1, 6), Times)],
    ?assertEqual({ok, 6}, warp_core:import(Alice, Events)),
    {ok, Stored} = warp_core:export(Alice),
    ?assertEqual(Times, [Time || #{recorded_at := Time} <- Stored]),
    ?assertEqual([<<"alice#", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 6)], [Id || #{id := Id} <- Stored]),
    ?assertEqual({ok, 4}, warp_core:state_at(Alice, <<"Counter">>, {time, Now})),
    ?assertEqual({ok, 1}, warp_core:state_at(Alice, <<"Counter">>, {time, Now - 20000000})),
    %% The clock is believed from here on.
    {ok, 7} = warp_core:append(Alice, incremented()),
    ?assertMatch({ok, [#{recorded_at := At}]} when At < Now + 60000000, warp_core:history(Alice, #{from => 7})),
    ?assertEqual(ok, warp_core:correct_time(Alice, 6, Now)),
    ?assertMatch({ok, [#{recorded_at := Now}]}, warp_core:history(Alice, #{from => 6, limit => 1})),
    ?assertEqual({ok, 6}, warp_core:import(warp_core:entity(Ctx, <<"bob">>), lists:map(fun no_entity/1, Events))),
    ?assertMatch({ok, _}, warp_core:verify(Ctx)).

no_entity(Event) -> maps:remove(entity, Event).

ids_keep_their_meaning(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, {1, 2}} = warp_core:append_batch(Alice, [noted(<<"a">>, <<"k1">>), noted(<<"b">>)]),
    {ok, 3} = warp_core:append(Alice, noted(<<"c">>, <<"k3">>)),
    {ok, Events} = warp_core:export(Alice),
    ok = warp_core:delete(Alice),
    {ok, 3} = warp_core:import(Alice, Events),
    [begin
         ?assertEqual({ok, 1}, warp_core:append(Alice, noted(<<"a">>, <<"k1">>))),
         ?assertEqual({ok, 3}, warp_core:append(Alice, noted(<<"c">>, <<"k3">>))),
         ?assertEqual({ok, 2}, warp_core:append(Alice, noted(<<"b">>, <<"alice#2">>))),
         ?assertEqual({error, {id_conflict, 3}}, warp_core:append(Alice, noted(<<"x">>, <<"k3">>))),
         warp_test:passivate(Alice),
         warp_test:await_applied(Ctx)
     end || _ <- [in_memory, in_the_file]],
    warp_test:assert_whole(Alice, 3),
    %% Ids belong to one entity.
    ?assertEqual({ok, 1}, warp_core:append(warp_core:entity(Ctx, <<"bob">>), noted(<<"a">>, <<"k1">>))).

an_import_that_is_made_again_is_told_from_another(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, {1, 4}} = warp_core:append_batch(Alice, [(saw(#{n => 1}))#{metadata => #{by => x}}, noted(<<"a">>, <<"k">>),
                                                  saw(#{n => 1.0}), saw(#{n => 0})]),
    {ok, Events} = warp_core:export(Alice),
    ?assertEqual({ok, 4}, warp_core:import(Alice, Events)),
    {ok, 5} = warp_core:append(Alice, noted(<<"later">>)),
    ?assertEqual({ok, 4}, warp_core:import(Alice, Events)),
    {ok, Five} = warp_core:export(Alice),
    [First, Second, Third, Fourth, Fifth] = Five,
    [?assertEqual({What, {error, {entity_not_empty, #{last_seq => 5, differs => Seq}}}},
                  {What, warp_core:import(Alice, Other)})
     || {What, Seq, Other} <- [
        {type, 1, [First#{type => <<"Other">>}, Second, Third]},
        {payload, 2, [First, Second#{payload => #{text => <<"b">>}}, Third]},
        {number, 3, [First, Second, Third#{payload => #{<<"n">> => 1}}]},
        {metadata, 1, [First#{metadata => #{}}, Second]},
        {id, 2, [First, maps:remove(id, Second), Third]},
        {version, 4, [First, Second, Third, Fourth#{schema_vsn => 2}]},
        {time, 5, [First, Second, Third, Fourth, Fifth#{recorded_at => maps:get(recorded_at, Fifth) + 1}]},
        {aggregate, 2, [First, Second#{aggregate => <<"Seen">>}]},
        {longer, 6, Five ++ [Fifth#{seq => 6, id => <<"alice#6">>}]}]],
    assert_same(Five, Alice).

what_is_no_export_is_refused_by_name(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    One = exported(1),
    Two = exported(2),
    [?assertEqual({Given, {error, Why}}, {Given, warp_core:import(Alice, Given)})
     || {Given, Why} <- [
        {[], empty_batch},
        {no_list, {bad_event, 1, undefined, not_a_list}},
        {[One | Two], {bad_event, 1, undefined, not_a_list}},
        {[One, two], {bad_event, 2, undefined, not_a_map}},
        {[Two], {bad_event, 1, seq, {not_one_of, [1]}}},
        {[One, exported(3)], {bad_event, 2, seq, {not_one_of, [2]}}},
        {[maps:remove(seq, One)], {bad_event, 1, seq, missing}},
        {[One, maps:remove(recorded_at, Two)], {bad_event, 2, recorded_at, missing}},
        {[One#{recorded_at := 0}],
         {bad_event, 1, recorded_at, {not_an_integer_between, 1 bsl 47, (1 bsl 62) - 1}}},
        {[One, Two#{entity => <<"bob">>}], {bad_event, 2, entity, {not_one_of, [<<"alice">>]}}},
        {[One#{id => <<"bob#1">>}, Two#{id => <<"bob#2">>}], {bad_event, 1, id, {of_other_entity, <<"bob">>}}},
        {[One#{id => <<"k">>}, Two#{id => <<"k">>}], {duplicate_event_id, <<"k">>}},
        {[One#{id => <<"alice#2">>}, Two], {reserved_id, <<"alice#2">>}},
        {[One#{id => <<>>}], {bad_event, 1, id, empty}},
        {[One, Two#{id => 7}], {bad_event, 2, id, not_a_binary}},
        {[One, Two#{aggregate => <<"Gone">>}], {unknown_aggregate, <<"Gone">>}},
        {[One, maps:remove(aggregate, Two)], {bad_event, 2, aggregate, required}},
        {[One, Two#{payload => <<"[]">>}], {bad_event, 2, payload, not_an_object}},
        {[One, Two#{metadata => 1}], {bad_event, 2, metadata, not_an_object}},
        {[One, Two#{other => 1}], {bad_event, 2, other, unknown_field}}]],
    ?assertEqual({error, {unknown_option, expected}}, warp_core:import(Alice, [One], #{expected => 0})),
    ?assertMatch({error, {bad_option, timeout, _}}, warp_core:import(Alice, [One], #{timeout => x})),
    ?assertEqual({error, timeout}, warp_core:import(Alice, [One], #{timeout => 0})),
    ?assertEqual({error, {bad_entity_id, not_a_handle}}, warp_core:import(alice, [One])),
    ?assertEqual({error, {bad_entity_id, reserved}},
                 warp_core:import(warp_core:entity(Ctx, <<"$warp/saga/x">>), [One])),
    ?assertEqual({ok, []}, warp_core:export(Alice)),
    %% Ids that look like those of another entity, and are not.
    ?assertEqual({ok, 2}, warp_core:import(Alice, [One#{id => <<"bob#1">>}, Two#{id => <<"bob#3">>}])),
    Carol = warp_core:entity(Ctx, <<"carol">>),
    ?assertEqual({ok, 1}, warp_core:import(Carol, [One#{id => <<"bob#1">>, entity => <<"carol">>}])),
    warp_test:stop(Ctx),
    ?assertEqual({error, context_stopped}, warp_core:import(Alice, [One])).

what_cannot_be_folded_is_not_stored(Config) ->
    Strict = #{name => <<"Strict">>, initial_state => 0, apply => fun(N, #{payload := #{<<"by">> := By}}) -> N + By end,
               validate => fun(_, _) -> {error, no} end,
               migrate => fun(#{payload := #{<<"old">> := By}} = Event, 1) -> Event#{payload := #{<<"by">> => By}};
                             (#{type := <<"Bad">>}, _) -> none;
                             (Event, _) -> Event end},
    Ctx = warp_test:start(Config, #{aggregates => [Strict]}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Event = fun(N, Payload) -> (exported(N))#{aggregate => <<"Strict">>, payload => Payload} end,
    ?assertMatch({error, {apply_failed, {error, function_clause, _}}},
                 warp_core:import(Alice, [Event(1, #{by => 1}), Event(2, #{no => 1})])),
    ?assertEqual({error, {bad_return, migrate, none}},
                 warp_core:import(Alice, [(Event(1, #{by => 1}))#{type => <<"Bad">>}])),
    ?assertEqual({ok, []}, warp_core:export(Alice)),
    %% Facts are not asked whether they may be, and are stored as they were.
    Facts = [Event(1, #{<<"by">> => 1}), Event(2, #{<<"old">> => 2})],
    ?assertEqual({ok, 2}, warp_core:import(Alice, Facts)),
    ?assertEqual({ok, 3}, warp_core:get(Alice, <<"Strict">>)),
    ?assertMatch({ok, [_, #{payload := #{<<"old">> := 2}}]}, warp_core:export(Alice)),
    ?assertEqual({error, {rejected, no}}, warp_core:append(Alice, #{type => <<"T">>, payload => #{by => 1}})).

old_names_and_versions_stay(Config) ->
    Old = (seen())#{name => <<"Old">>},
    Before = warp_test:start(Config, #{aggregates => [Old, warp_test:log()]}),
    Alice = warp_core:entity(Before, <<"alice">>),
    {ok, {1, 2}} = warp_core:append_batch(Alice, [(saw(#{n => 1}))#{aggregate => <<"Old">>}, noted(<<"x">>)]),
    {ok, 3} = warp_core:append(Alice, (saw(#{n => 2}))#{aggregate => <<"Old">>, schema_vsn => 3}),
    {ok, Events} = warp_core:export(Alice),
    New = (seen())#{version => 9, aliases => [<<"Old">>]},
    Ctx = warp_test:restart(Before, #{aggregates => [New, warp_test:log()]}),
    Again = warp_core:entity(Ctx, <<"alice">>),
    {ok, States} = warp_core:get(Again, <<"Seen">>),
    ok = warp_core:delete(Again),
    ?assertEqual({ok, 3}, warp_core:import(Again, Events)),
    ?assertEqual({ok, States}, warp_core:get(Again, <<"Seen">>)),
    ?assertEqual({ok, 3}, warp_core:import(Again, Events)),
    assert_same(Events, Again),
    ?assertMatch({ok, #{entities := [#{seq := 3}]}}, warp_core:entities(Ctx, #{aggregate => <<"Seen">>})).

%% A batch is one row, as it was.
batches_stay_together_and_large_ones_are_cut(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    %% Written anew, these numbers take more bytes, and together more than a row may have.
    Text = iolist_to_binary(["{\"a\":[", lists:join($,, lists:duplicate(100000, "1e5")), "]}"]),
    Wide = (saw(Text))#{aggregate => <<"Log">>},
    Patient = #{timeout => 60000},
    {ok, {1, 30}} = warp_core:append_batch(Alice, lists:duplicate(30, Wide), Patient),
    {ok, {31, 10030}} = warp_core:append_batch(Alice, lists:duplicate(10000, noted(<<"x">>)), Patient),
    {ok, 10031} = warp_core:append(Alice, noted(<<"y">>)),
    {ok, Events} = warp_core:export(Alice),
    ok = warp_core:delete(Alice, Patient),
    ?assertEqual({ok, 10031}, warp_core:import(Alice, Events)),
    assert_same(Events, Alice),
    N = warp_test:shard_of(Alice),
    {ok, #{events := Placed}} = warp_core:events(Ctx, #{shard => N, limit => 10000, timeout => 60000}),
    {ok, #{events := Last}} = warp_core:events(Ctx, #{shard => N, limit => 10000, timeout => 60000,
                                              'after' => #{N => last(Placed)}}),
    Positions = fun(First, To) ->
        length(lists:usort([At || #{seq := Seq, position := At} <- Placed ++ Last, Seq >= First, Seq =< To]))
    end,
    ?assertEqual({2, 1, 1}, {Positions(1, 30), Positions(31, 10030), Positions(10031, 10031)}),
    ?assertMatch({ok, _}, warp_core:verify(Ctx)).

last(Placed) -> maps:get(position, lists:last(Placed)).

limits_are_named(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Many = [exported(N) || N <- lists:seq(1, 100001)],
    ?assertEqual({error, {import_too_large, 100001, 100000}}, warp_core:import(Alice, Many)),
    Wide = binary:copy(<<"x">>, 1000000),
    ?assertMatch({error, {import_too_large_bytes, Bytes, 33554432}} when Bytes > 33554432,
                 warp_core:import(Alice, [(exported(N))#{aggregate => <<"Log">>, payload => #{text => Wide}}
                                          || N <- lists:seq(1, 34)])),
    ?assertEqual({ok, []}, warp_core:export(Alice)),
    ?assertEqual({ok, 100000}, warp_core:import(Alice, lists:droplast(Many))),
    ?assertEqual({ok, 100000}, warp_core:get(Alice, <<"Counter">>, #{timeout => 60000})),
    ?assertEqual({ok, 100001}, warp_core:append(Alice, incremented())).

%% ---------------------------------------------------------------- Beside others

an_import_waits_for_what_was_asked_before(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, 1} = warp_core:append(Alice, incremented()),
    {ok, Events} = warp_core:export(Alice),
    Self = self(),
    %% The process is held up, and everything else queues there in order.
    Holder = spawn_link(fun() ->
        warp_core:decide(Alice, <<"Counter">>, fun(_) -> Self ! held, receive go -> {ok, []} end end)
    end),
    receive held -> ok end,
    {ok, Process} = warp_core:pid(Alice),
    Calls = [{delete, fun() -> warp_core:delete(Alice) end},
             {import, fun() -> warp_core:import(Alice, [(hd(Events))#{payload => #{by => 5}}, exported(2)]) end},
             {append, fun() -> warp_core:append(Alice, incremented()) end},
             {other, fun() -> warp_core:import(Alice, Events) end}],
    Waiting = [begin
         Before = queued(Process),
         Pid = spawn_monitor(fun() -> exit({Name, Call()}) end),
         warp_test:wait_until(fun() -> queued(Process) > Before end),
         Pid
     end || {Name, Call} <- Calls],
    Process ! go,
    ?assertEqual([{delete, ok}, {import, {ok, 2}}, {append, {ok, 3}},
                  {other, {error, {entity_not_empty, #{last_seq => 3, differs => 1}}}}],
                 [receive {'DOWN', Ref, process, Pid, Result} -> Result end || {Pid, Ref} <- Waiting]),
    ?assertEqual({ok, 7}, warp_core:get(Alice, <<"Counter">>)),
    ?assertNot(is_process_alive(Holder)).

queued(Pid) ->
    {messages, Messages} = process_info(Pid, messages),
    length([Request || {'$gen_call', _, Request} <- Messages]).

of_many_imports_and_appends_at_once_one_begins_the_entity(Config) ->
    Ctx = warp_test:start(Config),
    [begin
         Entity = warp_core:entity(Ctx, <<"entity ", (integer_to_binary(Round))/binary>>),
         Lists = [[(exported(N))#{payload => #{<<"by">> => Who}} || N <- lists:seq(1, 20)] || Who <- [1, 2, 3]],
         Answers = warp_test:parallel(
             [fun() -> {import, List, warp_core:import(Entity, List)} end || List <- Lists]
             ++ [fun() -> {append, warp_core:append(Entity, incremented(1000))} end]
             ++ [fun() -> {delete, warp_core:delete(Entity)} end || Round rem 2 =:= 0]),
         {ok, Log} = warp_core:export(Entity),
         [check_answer(Answer) || Answer <- Answers],
         Contents = [[maps:with([seq, payload], Event) || Event <- Events] || Events <- [Log]],
         ?assertEqual([lists:seq(1, length(Log))], [[Seq || #{seq := Seq} <- C] || C <- Contents]),
         ?assert(lists:member(shape(Log), [[], [1000], imported(1), imported(2), imported(3)]
                              ++ [imported(Who) ++ [1000] || Who <- [1, 2, 3]]))
     end || Round <- lists:seq(1, 40)].

shape(Log) -> [By || #{payload := #{<<"by">> := By}} <- Log].
imported(Who) -> lists:duplicate(20, Who).

check_answer({import, _, {ok, 20}}) -> ok;
check_answer({import, _, {error, {entity_not_empty, #{last_seq := N}}}}) -> ?assert(lists:member(N, [1, 20, 21]));
check_answer({append, {ok, N}}) -> ?assert(N =:= 1 orelse N =:= 21);
check_answer({delete, ok}) -> ok.

a_reader_sees_all_or_nothing(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Events = [exported(N) || N <- lists:seq(1, 30000)],
    Self = self(),
    Looks = [fun() -> case warp_core:export(Alice) of {ok, All} -> length(All) end end,
             fun() -> {ok, N} = warp_core:get(Alice, <<"Counter">>), N end,
             fun() ->
                 {ok, N} = warp_core:state_at(Alice, <<"Counter">>, {seq, 1 bsl 40}, #{timeout => infinity}),
                 N
             end,
             fun() ->
                 case warp_core:history(Alice, #{direction => backward, limit => 1}) of
                     {ok, [#{seq := Seq}]} -> Seq;
                     {ok, []} -> 0
                 end
             end],
    Readers = [spawn_link(fun() -> look(Look, Self, []) end) || Look <- Looks],
    [begin
         {ok, 30000} = warp_core:import(Alice, Events),
         ok = warp_core:delete(Alice)
     end || _ <- lists:seq(1, 5)],
    Seen = lists:append([begin Reader ! stop, receive {Reader, Found} -> Found end end || Reader <- Readers]),
    ?assertEqual([0, 30000], lists:usort(Seen)).

look(Look, To, Found) ->
    receive stop -> To ! {self(), Found}
    after 0 -> look(Look, To, lists:usort([Look() | Found]))
    end.

followers_see_new_rows(Config) ->
    Project = #{name => <<"Shop">>, initial_state => 0, apply => fun(N, _) -> N + 1 end,
                project => fun(Id, N, _) -> [warp_projection:upsert(shops, Id, #{n => N})] end},
    Ctx = warp_test:start(Config, #{aggregates => [Project], projections => embedded}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, {1, 3}} = warp_core:append_batch(Alice, lists:duplicate(3, #{type => <<"Sold">>, payload => #{}})),
    {ok, Events} = warp_core:export(Alice),
    {ok, Sub} = warp_subscription:subscribe(Ctx, #{from => now}),
    ok = warp_core:delete(Alice),
    {ok, 3} = warp_core:import(Alice, Events),
    ?assertEqual([1, 2, 3], sent(Sub, 3)),
    ?assertEqual({ok, 3}, warp_core:wait(Alice, 3, 5000)),
    ok = warp_core:await_projection(Alice, 10000),
    ?assertEqual({ok, #{columns => [<<"id">>, <<"n">>], rows => [[<<"alice">>, 3]]}},
                 warp_core:query(Ctx, "SELECT id, n FROM shops", [])),
    {ok, #{events := Placed}} = warp_core:events(Ctx),
    ?assertMatch([#{position := First}, _, _] when First > 1, Placed),
    {ok, 4} = warp_core:append(Alice, #{type => <<"Sold">>, payload => #{}}),
    ?assertEqual([4], sent(Sub, 1)).

%% In the log what came back stands behind what was stored until then, and nothing of that may be left out.
a_subscription_from_a_time_takes_the_time_of_the_import(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    [Alice, Bob] = [warp_core:entity(Ctx, Id) || Id <- [<<"alice">>, <<"bob">>]],
    Long = os:system_time(microsecond) - 86400000000,
    {ok, 1} = warp_core:append(Bob, incremented()),
    Before = later(),
    {ok, 2} = warp_core:append(Bob, incremented()),
    {ok, 3} = warp_core:import(Alice, [(exported(N))#{recorded_at => Long + N} || N <- [1, 2, 3]]),
    After = later(),
    {ok, 3} = warp_core:append(Bob, incremented()),
    [begin
         ?assertEqual([{<<"bob">>, 2}, {<<"alice">>, 1}, {<<"alice">>, 2}, {<<"alice">>, 3}, {<<"bob">>, 3}],
                      from(Ctx, {time, Before}, 5)),
         ?assertEqual([{<<"bob">>, 3}], from(Ctx, {time, After}, 1)),
         ?assertEqual([{<<"alice">>, 2}, {<<"alice">>, 3}], from(Alice, {time, Long + 2}, 2)),
         warp_test:await_applied(Ctx)
     end || _ <- [in_memory, in_the_file]].

later() ->
    timer:sleep(2),
    Time = os:system_time(microsecond),
    timer:sleep(2),
    Time.

from(Of, From, Count) ->
    {ok, Sub} = warp_subscription:subscribe(Of, #{from => From, tag => make_ref()}),
    Events = events(Sub, Count, []),
    ok = warp_subscription:unsubscribe(Sub),
    [{Entity, Seq} || #{entity := Entity, seq := Seq} <- Events].

sent(Sub, Count) -> [Seq || #{seq := Seq} <- events(Sub, Count, [])].

events(Sub, Count, Got) when length(Got) < Count ->
    receive {_, Sub, {events, Events}} ->
        ok = warp_subscription:ack(Sub, Events),
        events(Sub, Count, Got ++ Events)
    after 5000 -> error({missing, Count, Got})
    end;
events(_Sub, _Count, Got) ->
    Got.

%% ---------------------------------------------------------------- Backups

an_entity_that_was_deleted_comes_back_from_a_backup(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, {1, 2}} = warp_core:append_batch(Alice, [noted(<<"a">>, <<"k">>), incremented()]),
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"bob">>), incremented()),
    {ok, _} = warp_backup_test:run(Ctx, Config),
    {ok, Events} = warp_core:export(Alice),
    {Alone, #{events := 2}} = warp_backup_test:restored(Config, "alone", {#{entity => <<"alice">>},
                                                                          #{aggregates => warp_test:aggregates()}}),
    {ok, Restored} = warp_core:export(warp_core:entity(Alone, <<"alice">>)),
    ?assertEqual(bytes(Events), bytes(Restored)),
    %% Somebody has overwritten what was there.
    ok = warp_core:delete(Alice),
    {ok, 1} = warp_core:append(Alice, noted(<<"wrong">>)),
    ?assertMatch({error, {entity_not_empty, _}}, warp_core:import(Alice, Restored)),
    ok = warp_core:delete(Alice),
    ?assertEqual({ok, 2}, warp_core:import(Alice, Restored)),
    assert_same(Events, Alice).

a_kept_life_goes_through_a_backup(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, 3} = warp_core:import(Alice, [exported(N) || N <- [1, 2, 3]]),
    {ok, Events} = warp_core:export(Alice),
    {ok, #{events := 3}} = warp_backup_test:run(Ctx, Config),
    {There, _} = warp_backup_test:restored(Config, "there", {#{}, #{aggregates => warp_test:aggregates()}}),
    assert_same(Events, warp_core:entity(There, <<"alice">>)),
    ?assertMatch({ok, _}, warp_core:verify(There)).

%% ---------------------------------------------------------------- Kills

a_killed_process_leaves_all_or_nothing(Config) ->
    Kept = warp_killer:quiet(Config),
    Ctx = warp_test:start(Config, #{shards => 1}),
    Entities = [warp_core:entity(Ctx, Id) || Id <- [<<"a">>, <<"b">>, <<"c">>]],
    Events = [exported(N) || N <- lists:seq(1, 2000)],
    Until = erlang:monotonic_time(millisecond) + case os:getenv("WARP_LONG") of false -> 4000; _ -> 60000 end,
    Killer = warp_killer:start(Ctx, Entities),
    Rounds = warp_test:parallel([fun() -> rounds(Entity, Events, Until, 0) end || Entity <- Entities]),
    Killed = warp_killer:stop(Killer),
    ct:pal("~b imports, killed: ~p", [lists:sum(Rounds), Killed]),
    warp_killer:loud(Kept),
    ?assert(lists:min(Rounds) > 0).

rounds(Entity, Events, Until, Done) ->
    ok = again(fun() -> warp_core:delete(Entity, #{timeout => infinity}) end),
    Answer = warp_core:import(Entity, Events),
    {ok, Log} = again(fun() -> warp_core:export(Entity) end),
    case Answer of
        {ok, 2000} ->
            ?assertEqual(2000, length(Log));
        {error, Why} ->
            ?assert(warp_killer:is_transient(Why), Why),
            ?assert(lists:member(length(Log), [0, 2000]), length(Log)),
            {ok, 2000} = again(fun() -> warp_core:import(Entity, Events) end)
    end,
    {ok, 2000} = again(fun() -> warp_core:get(Entity, <<"Counter">>) end),
    case erlang:monotonic_time(millisecond) > Until of
        true -> Done + 1;
        false -> rounds(Entity, Events, Until, Done + 1)
    end.

again(Fun) ->
    case Fun() of
        {error, Why} = Error ->
            warp_killer:is_transient(Why) orelse error(Error),
            timer:sleep(5),
            again(Fun);
        Result ->
            Result
    end.

a_commit_that_fails_leaves_nothing(Config) ->
    Vm = warp_fault_vm:start(#{nif => fault}),
    Opts = warp_test:opts(Config),
    Events = [exported(N) || N <- lists:seq(1, 500)],
    warp_fault_vm:run(Vm, fun() ->
        ok = warp_fault_vm:open(Opts),
        Entity = warp_fault_vm:entity(<<"alice">>),
        warp_fault_vm:fault({fsync_fails, 1}),
        ?assertMatch({error, {io_error, _}}, warp_core:import(Entity, Events)),
        ?assertEqual({ok, []}, warp_core:export(Entity)),
        warp_fault_vm:fault({panic, 1}),
        case warp_core:import(Entity, Events) of
            {error, Why} -> ?assert(warp_killer:is_transient(Why));
            {ok, 500} -> ok
        end,
        ?assertEqual({ok, 500}, again(fun() -> warp_core:import(Entity, Events) end)),
        ok = warp_fault_vm:reopen(),
        ?assertEqual({ok, 500}, warp_core:get(warp_fault_vm:entity(<<"alice">>), <<"Counter">>))
    end),
    warp_fault_vm:stop(Vm).

%% Right behind the commit, and while the VM is anywhere in it.
a_vm_that_ends_leaves_all_or_nothing(Config) ->
    Opts = warp_test:opts(Config),
    Events = [exported(N) || N <- lists:seq(1, 20000)],
    Open = fun() ->
        case warp_fault_vm:open(Opts) of ok -> ok; {error, {data_dir_in_use, _}} -> retry end
    end,
    crashed = warp_fault_vm:crash(fun() ->
        ok = Open(),
        warp_fault_vm:fault({abort_after, 1}),
        warp_core:import(warp_fault_vm:entity(<<"alice">>), Events)
    end),
    Ctx = warp_test:start(Config, #{context => <<"fault">>}),
    ?assertEqual({ok, 20000}, warp_core:get(warp_core:entity(Ctx, <<"alice">>), <<"Counter">>)),
    ?assertEqual({ok, 20000}, warp_core:import(warp_core:entity(Ctx, <<"alice">>), Events)),
    warp_test:stop(Ctx),
    Lengths = [begin
         Vm = warp_fault_vm:start(#{}),
         Id = <<"entity ", (integer_to_binary(Round))/binary>>,
         warp_fault_vm:run(Vm, fun() ->
             ok = Open(),
             {ok, _} = warp_core:pid(warp_fault_vm:entity(Id)),
             spawn(fun() -> warp_core:import(warp_fault_vm:entity(Id), Events) end),
             timer:sleep(20 * Round)
         end),
         warp_fault_vm:kill(Vm),
         After = warp_test:start(Config, #{context => <<"fault">>}),
         Entity = warp_core:entity(After, Id),
         {ok, Log} = warp_core:export(Entity),
         {ok, 20000} = warp_core:import(Entity, Events),
         {ok, _} = warp_core:verify(After),
         warp_test:stop(After),
         length(Log)
     end || Round <- lists:seq(0, case os:getenv("WARP_LONG") of false -> 10; _ -> 60 end)],
    ct:pal("~p", [Lengths]),
    ?assertEqual([], lists:usort(Lengths) -- [0, 20000]).

%% ---------------------------------------------------------------- A model

%% Against a list of events for each entity: what was exported comes back to the bit where the entity has no events, and
%% is told from everything else where it has.
random_histories_come_back(Config) ->
    warp_hostile:seed(),
    Ctx = warp_test:start(Config, #{snapshot_every => 7}),
    Runs = case os:getenv("WARP_LONG") of false -> 40; _ -> 2000 end,
    Holds = proper:quickcheck(proper:forall(commands(), fun(Commands) -> run(Commands, Ctx) end),
                              [{numtests, Runs}, {on_output, fun ct:pal/2}, noshrink]),
    ?assertEqual(true, Holds),
    ?assertMatch({ok, _}, warp_core:verify(Ctx)).

commands() ->
    Kind = proper_types:oneof([<<"saw">>, <<"given">>, <<"noted">>, <<"big">>]),
    Kinds = proper_types:non_empty(proper_types:list(Kind)),
    Command = proper_types:frequency(
        [{5, {append, Kinds}}, {2, export}, {2, delete}, {4, import}, {1, passivate},
         {1, {import_part, proper_types:range(1, 20)}}]),
    [{append, [<<"saw">>]}, proper_types:list(Command), export, delete, import].

run(Commands, Ctx) ->
    Entity = warp_core:entity(Ctx, <<"ż "/utf8, (integer_to_binary(erlang:unique_integer([positive])))/binary>>),
    lists:foldl(fun(Command, Model) -> step(Command, Entity, Model) end, {[], []}, flat(Commands)),
    ok = warp_core:delete(Entity),
    true.

flat(Commands) ->
    lists:append([case Command of [_ | _] -> Command; [] -> []; _ -> [Command] end || Command <- Commands]).

step({append, Kinds}, Entity, {Log, Saved}) ->
    Events = [new(Kind) || Kind <- Kinds],
    Last = length(Log) + length(Events),
    case warp_core:append_batch(Entity, Events) of
        {ok, {_, Last}} ->
            {ok, Now} = warp_core:export(Entity),
            ?assertEqual(bytes(Log), bytes(lists:sublist(Now, length(Log)))),
            {Now, Saved};
        %% Random values may have no form in JSON.
        {error, {bad_event, _, payload, _}} ->
            {Log, Saved}
    end;
step(export, Entity, {Log, _Saved}) ->
    assert_same(Log, Entity),
    {Log, Log};
step(delete, Entity, {_Log, Saved}) ->
    ok = warp_core:delete(Entity),
    assert_same([], Entity),
    {[], Saved};
step(passivate, Entity, Model) ->
    warp_test:passivate(Entity),
    Model;
step({import_part, N}, Entity, {Log, Saved}) ->
    {Now, _} = step(import, Entity, {Log, lists:sublist(Saved, N)}),
    {Now, Saved};
step(import, Entity, {Log, Saved}) ->
    Answer = warp_core:import(Entity, Saved),
    Same = length(lists:takewhile(fun({A, B}) -> bytes([A]) =:= bytes([B]) end, pairs(Log, Saved))),
    case Saved of
        [] -> ?assertEqual({error, empty_batch}, Answer);
        _ when Log =:= []; Same =:= length(Saved) -> ?assertEqual({ok, length(Saved)}, Answer);
        _ -> ?assertEqual({error, {entity_not_empty, #{last_seq => length(Log), differs => Same + 1}}}, Answer)
    end,
    Now = case Log of [] -> Saved; _ -> Log end,
    assert_same(Now, Entity),
    ?assertEqual({ok, seen(Now)}, warp_core:get(Entity, <<"Seen">>)),
    {Now, Saved}.

pairs([A | As], [B | Bs]) -> [{A, B} | pairs(As, Bs)];
pairs(_, _) -> [].

%% The state of the aggregate `Seen'.
seen(Log) -> [Event || #{aggregate := <<"Seen">>} = Event <- lists:reverse(Log)].

new(<<"saw">>) -> (saw(value()))#{metadata => #{<<"causation_id">> => <<"żółw"/utf8>>, <<"n">> => rand:uniform()}};
new(<<"given">>) -> (saw(value()))#{id => integer_to_binary(rand:uniform(1 bsl 60)), schema_vsn => rand:uniform(9)};
new(<<"noted">>) -> noted(<<"żó"/utf8>>);
new(<<"big">>) -> saw(#{<<"big">> => binary:copy(<<"ż"/utf8>>, rand:uniform(100000))}).

value() ->
    Value = #{<<"v">> => warp_hostile:json(3)},
    case warp_hostile:text_of(Value) of
        none -> Value;
        Text -> warp_hostile:one_of([Value, Text])
    end.

%% ---------------------------------------------------------------- helpers

seen() ->
    [Seen] = [Aggregate || #{name := <<"Seen">>} = Aggregate <- warp_test:aggregates()],
    Seen.

exported(N) -> (incremented(1))#{seq => N, recorded_at => 1795178321547399 + N}.

states(Entity) ->
    [{Name, warp_core:get(Entity, Name)} || Name <- [<<"Seen">>, <<"Counter">>, <<"Log">>]].

assert_same(Events, Entity) ->
    {ok, Stored} = warp_core:export(Entity),
    ?assertEqual(bytes(Events), bytes(Stored)).

bytes(Events) -> [term_to_binary(Event, [deterministic]) || Event <- Events].
