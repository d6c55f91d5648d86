%% Subscriptions of real contexts: what a subscriber gets, against what was appended.
-module(warp_subscription_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(warp_test, [credited/1, incremented/0, noted/1]).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [all_events_come_once_and_in_order, only_what_is_wanted_comes, it_begins_where_it_is_told_to,
     it_goes_on_behind_a_cursor, one_shard_is_followed_alone, a_cursor_says_where_it_stands,
     events_are_migrated_before_they_are_chosen,
     events_are_converted_before_they_are_sent, no_more_comes_than_there_is_credit_for,
     events_of_several_shards_are_acknowledged_at_once, whoever_asks_gets_that_many,
     a_slow_subscriber_holds_nobody_up, most_that_stand_still_hold_nobody_up, what_was_erased_comes_no_more,
     a_deletion_is_told_once_whatever_lies_in_between,
     a_step_that_is_taken_again_tells_nothing_of_a_new_life, a_deletion_that_lasts_holds_nothing_up,
     no_row_of_a_new_life_comes_before_it_was_told, whoever_reads_no_messages_is_not_told_for_ever,
     it_outlives_what_it_reads_from, it_ends_with_what_it_depends_on,
     nothing_is_left_of_one_that_was_ended, a_filter_that_lets_nothing_through_moves_on,
     a_subscriber_that_is_busy_is_told_how_far_it_is,
     many_subscribe_at_once_while_events_come, single_entities_by_the_thousand, what_cannot_be_read_is_shown,
     wrong_arguments_are_named].

init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

%% ------------------------------------------------------------------ What comes

all_events_come_once_and_in_order(Config) ->
    Ctx = warp_test:start(Config, #{shards => 4}),
    _ = warp_test:parallel(4, fun(N) -> fill(Ctx, N, 500) end),
    Early = subscriber(Ctx, #{from => beginning, credit => 7}),
    Whole = subscriber(Ctx, #{from => beginning}),
    _ = warp_test:parallel(4, fun(N) -> fill(Ctx, N, 1000) end),
    Late = subscriber(Ctx, #{from => beginning, credit => 100000}),
    {ok, #{events := All}} = warp_core:events(Ctx, #{limit => 10000}),
    6000 = length(All),
    [begin
         Events = got(Subscriber, 6000),
         ?assertEqual(by_shard(All), by_shard(Events)),
         ?assertEqual(6000, length(lists:usort(Events)))
     end || Subscriber <- [Early, Whole, Late]].

only_what_is_wanted_comes(Config) ->
    Ctx = warp_test:start(Config, #{shards => 3}),
    Entity = fun(Id) -> warp_core:entity(Ctx, Id) end,
    Append = fun(Id, Events) -> {ok, _} = warp_core:append_batch(Entity(Id), Events) end,
    Wanted = [{#{}, 12}, {#{aggregates => [<<"Account">>]}, 6}, {#{types => [<<"Noted">>, <<"Incremented">>]}, 6},
              {#{prefix => <<"user/">>}, 6}, {#{prefix => <<"user/1">>, aggregates => [<<"Account">>]}, 2},
              {#{aggregates => [<<"Account">>], types => [<<"Noted">>]}, 0}],
    Some = fun() ->
        [Append(Id, [incremented(), credited(1), credited(2)]) || Id <- [<<"user/1">>, <<"order/1">>]],
        Append(<<"user/2">>, [noted(<<"x">>)]),
        Append(<<"user/2">>, [noted(<<"y">>), credited(3)]),
        Append(<<"order/2">>, [incremented(), noted(<<"z">>), credited(4)])
    end,
    Before = [{subscriber(Ctx, Filter#{from => now}), Filter} || {Filter, _} <- Wanted],
    One = subscriber(Entity(<<"user/1">>), #{from => now, types => [<<"Credited">>]}),
    Some(),
    Behind = [{subscriber(Ctx, Filter#{from => beginning}), Filter} || {Filter, _} <- Wanted],
    {ok, #{events := All}} = warp_core:events(Ctx),
    [begin
         Right = lists:sort([Event || Event <- All, is_wanted(Event, Filter)]),
         ?assertEqual({Filter, Right}, {Filter, lists:sort(got(Subscriber, length(Right)))})
     end || {Subscriber, Filter} <- Before ++ Behind],
    ?assertMatch([#{seq := 2}, #{seq := 3}], got(One, 2)).

is_wanted(#{entity := Entity, aggregate := Aggregate, type := Type}, Filter) ->
    string:prefix(Entity, maps:get(prefix, Filter, <<>>)) =/= nomatch
        andalso lists:member(Aggregate, maps:get(aggregates, Filter, [Aggregate]))
        andalso lists:member(Type, maps:get(types, Filter, [Type])).

it_begins_where_it_is_told_to(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    [{ok, _} = warp_core:append(Alice, incremented()) || _ <- lists:seq(1, 700)],
    timer:sleep(5),
    Time = os:system_time(microsecond),
    timer:sleep(5),
    [{ok, _} = warp_core:append(Alice, incremented()) || _ <- lists:seq(701, 705)],
    Begin = fun(Of) ->
        Each = [{First, subscriber(Of, #{from => From})}
                || {From, First} <- [{beginning, 1}, {now, 706}, {{time, Time}, 701}, {{time, 0}, 1},
                                     {{time, Time + 3600000000}, 706}]],
        {ok, Last} = warp_core:append(Alice, incremented()),
        [?assertEqual(lists:seq(case First of 706 -> Last; _ -> First end, Last),
                      [Seq || #{seq := Seq} <- got(Subscriber, Last - case First of 706 -> Last; _ -> First end + 1)])
         || {First, Subscriber} <- Each]
    end,
    Begin(Ctx),
    Begin(Alice),
    %% Also when nothing is in memory any more.
    warp_test:await_applied(Ctx),
    Again = subscriber(Ctx, #{from => {time, Time}}),
    ?assertMatch([#{seq := 701} | _], got(Again, 7)).

it_goes_on_behind_a_cursor(Config) ->
    Ctx = warp_test:start(Config, #{shards => 3}),
    {ok, _} = warp_core:append_batch(warp_core:entity(Ctx, <<"batch">>), lists:duplicate(5, incremented())),
    fill(Ctx, 1, 50),
    {ok, #{events := All}} = warp_core:events(Ctx),
    %% One by one: a cursor behind each event, also within a batch.
    ?assertEqual(lists:sort(All), lists:sort(one_by_one(Ctx, #{from => beginning, credit => 1}, length(All)))),
    ?assertEqual(lists:seq(1, 5), [Seq || #{seq := Seq} <- one_by_one(warp_core:entity(Ctx, <<"batch">>),
                                                                    #{from => beginning, credit => demand}, 5)]),
    %% Over a restart.
    {ok, Sub} = warp_subscription:subscribe(Ctx, #{from => beginning}),
    Cursor = receive {warp_subscription, Sub, {events, Events}} -> acked(Sub, Events) end,
    Then = warp_test:restart(Ctx),
    Rest = got(subscriber(Then, #{from => {cursor, Cursor}}), length(All) - length(Events)),
    ?assertEqual(lists:sort(All), lists:sort(Events ++ Rest)).

one_shard_is_followed_alone(Config) ->
    Ctx = warp_test:start(Config, #{shards => 3}),
    fill(Ctx, 1, 50),
    {ok, #{events := All, next := Next}} = warp_core:events(Ctx, #{shard => 1}),
    One = subscriber(Ctx, #{from => beginning, shard => 1}),
    Late = subscriber(Ctx, #{from => now, shard => 1}),
    fill(Ctx, 2, 50),
    {ok, #{events := More}} = warp_core:events(Ctx, #{shard => 1, 'after' => Next}),
    ?assertEqual(All ++ More, got(One, length(All ++ More))),
    ?assertEqual(More, got(Late, length(More))),
    {ok, Cursor} = warp_subscription:cursor_at(Ctx, Next),
    ?assertEqual(More, got(subscriber(Ctx, #{from => {cursor, Cursor}, shard => 1}), length(More))).

a_cursor_says_where_it_stands(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Now = fun(Of) ->
        {ok, Sub} = warp_subscription:subscribe(Of, #{}),
        {ok, Cursor} = warp_subscription:cursor(Sub),
        ok = warp_subscription:unsubscribe(Sub),
        {ok, Place} = warp_subscription:place(Of, Cursor),
        ?assertEqual({ok, Cursor}, warp_subscription:cursor_at(Of, Place)),
        Place
    end,
    ?assertEqual({0, 0}, Now(Alice)),
    ?assertEqual(#{}, Now(Ctx)),
    {ok, _} = warp_core:append_batch(warp_core:entity(Ctx, <<"bob">>), lists:duplicate(5, incremented())),
    {ok, _} = warp_core:append_batch(Alice, lists:duplicate(3, incremented())),
    {ok, #{events := Events, next := Next}} = warp_core:events(Ctx),
    [#{position := First} | _] = [Event || #{entity := <<"alice">>} = Event <- Events],
    ?assertEqual({First, 3}, Now(Alice)),
    ?assertEqual(Next, Now(Ctx)),
    %% In the middle of an append.
    {ok, Middle} = warp_subscription:cursor_at(Ctx, #{0 => {First, 2}}),
    ?assertMatch([#{entity := <<"alice">>, seq := 3}], got(subscriber(Ctx, #{from => {cursor, Middle}}), 1)),
    {ok, OfAlice} = warp_subscription:cursor_at(Alice, {First, 2}),
    ?assertMatch([#{seq := 3}], got(subscriber(Alice, #{from => {cursor, OfAlice}}), 1)),
    ok = warp_core:delete(Alice),
    {ok, 1} = warp_core:append(Alice, incremented()),
    ?assertMatch({Life, 1} when Life > First, Now(Alice)),
    ?assertEqual({error, {bad_cursor, of_an_entity}}, warp_subscription:place(Ctx, OfAlice)),
    ?assertEqual({error, {bad_cursor, not_a_cursor}}, warp_subscription:place(Ctx, <<"x">>)),
    ok = warp_core:stop(Ctx),
    ?assertEqual({error, context_stopped}, warp_subscription:place(Ctx, OfAlice)).

acked(Sub, Events) ->
    ok = warp_subscription:ack(Sub, Events),
    {ok, Cursor} = warp_subscription:cursor(Sub),
    Cursor.

one_by_one(_Of, _Options, 0) ->
    [];
one_by_one(Of, Options, Left) ->
    {ok, Sub} = warp_subscription:subscribe(Of, Options),
    ok = warp_subscription:more(Sub, 1),
    receive
        {warp_subscription, Sub, {events, [Event | _]}} ->
            ok = warp_subscription:ack(Sub, Event),
            {ok, Cursor} = warp_subscription:cursor(Sub),
            ok = warp_subscription:unsubscribe(Sub),
            [Event | one_by_one(Of, Options#{from => {cursor, Cursor}}, Left - 1)]
    after 5000 ->
        error({nothing_comes, Left})
    end.

events_are_migrated_before_they_are_chosen(Config) ->
    Ctx = warp_test:start(Config, #{aggregates => [old()]}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    [{ok, _} = warp_core:append(Alice, #{type => <<"Old">>, payload => #{n => N}}) || N <- [1, 2]],
    New = (old())#{name => <<"New">>, aliases => [<<"Aggregate">>], version => 2, migrate => fun ?MODULE:renamed/2},
    Now = warp_test:restart(Ctx, #{aggregates => [New]}),
    Filter = #{from => beginning, aggregates => [<<"New">>], types => [<<"Renamed">>]},
    Subscribers = [subscriber(Of, Filter) || Of <- [Now, warp_core:entity(Now, <<"alice">>)]],
    {ok, _} = warp_core:append(warp_core:entity(Now, <<"alice">>), #{type => <<"Renamed">>, payload => #{n => 3}}),
    [?assertMatch([#{payload := #{<<"n">> := 1}, aggregate := <<"New">>, type := <<"Renamed">>}, _,
                   #{payload := #{<<"n">> := 3}}], got(Subscriber, 3)) || Subscriber <- Subscribers].

old() -> #{name => <<"Aggregate">>, initial_state => none}.

renamed(#{type := <<"Old">>} = Event, 1) -> Event#{type := <<"Renamed">>};
renamed(Event, _Version) -> Event.

events_are_converted_before_they_are_sent(Config) ->
    Ctx = warp_test:start(Config),
    {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"alice">>), noted(<<"stored">>)),
    {ok, Sub} = warp_subscription:subscribe(Ctx, #{from => beginning, convert => fun text/1}),
    receive {warp_subscription, Sub, {events, Stored}} -> ?assertEqual([<<"stored">>], Stored) end,
    receive {warp_subscription, Sub, {caught_up, _}} -> ok end,
    {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"alice">>), noted(<<"live">>)),
    receive {warp_subscription, Sub, {events, Live}} -> ?assertEqual([<<"live">>], Live) end.

text(#{payload := #{<<"text">> := Text}}) -> Text.

%% ------------------------------------------------------------------ Credit

no_more_comes_than_there_is_credit_for(Config) ->
    Ctx = warp_test:start(Config),
    fill(Ctx, 1, 300),
    {ok, Sub} = warp_subscription:subscribe(Ctx, #{from => beginning, credit => 10}),
    First = sent(Sub, 10),
    silent(Sub),
    ?assertMatch([#{state := waiting_for_credit}], subscriptions(Ctx)),
    %% The last one of a shard acknowledges all of it, and a second time nothing.
    Last = lists:last(First),
    [ok = warp_subscription:ack(Sub, Event) || Event <- [Last, Last]],
    #{shard := N} = Last,
    Freed = length([Event || #{shard := Of} = Event <- First, Of =:= N]),
    Second = sent(Sub, Freed),
    silent(Sub),
    %% One that was not sent is not acknowledged.
    ok = warp_subscription:ack(Sub, (lists:last(Second))#{position := 1000000}),
    ok = warp_subscription:more(Sub, 3),
    _ = sent(Sub, 3),
    silent(Sub).

events_of_several_shards_are_acknowledged_at_once(Config) ->
    Ctx = warp_test:start(Config, #{shards => 3}),
    fill(Ctx, 1, 50),
    {ok, Sub} = warp_subscription:subscribe(Ctx, #{from => beginning}),
    Events = sent(Sub, 50),
    ?assertEqual([0, 1, 2], lists:usort([N || #{shard := N} <- Events])),
    Cursor = acked(Sub, Events),
    ok = warp_subscription:ack(Sub, []),
    {ok, Then} = warp_subscription:subscribe(Ctx, #{from => {cursor, Cursor}}),
    receive {warp_subscription, Then, Message} -> ?assertMatch({caught_up, _}, Message) end.

whoever_asks_gets_that_many(Config) ->
    Ctx = warp_test:start(Config),
    fill(Ctx, 1, 100),
    {ok, Sub} = warp_subscription:subscribe(Ctx, #{from => beginning, credit => demand}),
    silent(Sub),
    [begin
         ok = warp_subscription:more(Sub, Count),
         Events = sent(Sub, Count),
         ok = warp_subscription:ack(Sub, lists:last(Events)),
         silent(Sub)
     end || Count <- [1, 2, 30, 67]],
    ok = warp_subscription:more(Sub, 5),
    receive {warp_subscription, Sub, {caught_up, _}} -> ok after 5000 -> error(not_caught_up) end,
    fill(Ctx, 1, 10),
    _ = sent(Sub, 5),
    silent(Sub).

a_slow_subscriber_holds_nobody_up(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    {ok, Slow} = warp_subscription:subscribe(Ctx, #{from => now, credit => 1}),
    receive {warp_subscription, Slow, {caught_up, _}} -> ok end,
    Quick = subscriber(Ctx, #{from => now}),
    [#{pid := Pid}] = [Shown || #{subscriber := Subscriber} = Shown <- subscriptions(Ctx), Subscriber =:= self()],
    Big = binary:copy(<<"x">>, 10000),
    _ = warp_test:parallel(8, fun(N) ->
        Entity = warp_core:entity(Ctx, integer_to_binary(N)),
        [{ok, _} = warp_core:append(Entity, (noted(Big))#{metadata => #{big => Big}}) || _ <- lists:seq(1, 500)]
    end),
    4000 = length(got(Quick, 4000)),
    {memory, Memory} = process_info(Pid, memory),
    {message_queue_len, Queue} = process_info(Pid, message_queue_len),
    ct:pal("memory ~b KiB, ~b messages", [Memory div 1024, Queue]),
    ?assert(Memory < 20 * 1024 * 1024),
    %% It misses nothing, and is told when it has caught up again.
    ok = warp_subscription:more(Slow, 100000),
    ?assertEqual(4000, length(sent(Slow, 4000))),
    receive {warp_subscription, Slow, {caught_up, _}} -> ok after 5000 -> error(not_caught_up) end.

%% Reading the end of the log waits for most subscriptions, but not for long.
most_that_stand_still_hold_nobody_up(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Still = [subscriber(Ctx, #{from => now}) || _ <- [1, 2]],
    Quick = subscriber(Ctx, #{from => now}),
    ok = warp_test:wait_until(fun() -> [live, live, live] =:= [State || #{state := State} <- subscriptions(Ctx)] end),
    Pids = [Pid || #{pid := Pid, subscriber := Subscriber} <- subscriptions(Ctx),
                   lists:keymember(Subscriber, 1, Still)],
    ok = lists:foreach(fun sys:suspend/1, Pids),
    Entity = warp_core:entity(Ctx, <<"1">>),
    [begin
         {ok, N} = warp_core:append(Entity, noted(<<"x">>)),
         N = length(got(Quick, N))
     end || N <- lists:seq(1, 20)],
    [?assertMatch({message_queue_len, Few} when Few < 10, process_info(Pid, message_queue_len)) || Pid <- Pids],
    ok = lists:foreach(fun sys:resume/1, Pids),
    [20 = length(got(Subscriber, 20)) || Subscriber <- Still].

%% ------------------------------------------------------------------ Erasing

what_was_erased_comes_no_more(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    [{ok, _} = warp_core:append(Alice, noted(<<"secret">>)) || _ <- lists:seq(1, 20)],
    {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"bob">>), noted(<<"kept">>)),
    Subs = [{Of, element(2, {ok, _} = warp_subscription:subscribe(Of, #{from => beginning, credit => 5}))}
            || Of <- [Ctx, Alice]],
    Before = [{Of, Sub, sent(Sub, 5)} || {Of, Sub} <- Subs],
    ok = warp_core:delete(Alice),
    %% 15 events were read, or on their way.
    [begin
         [ok = warp_subscription:ack(Sub, Event) || Event <- Events],
         receive {warp_subscription, Sub, {erased, <<"alice">>}} -> ok after 5000 -> error({not_told, Of}) end,
         Left = case [Event || #{entity := <<"bob">>} = Event <- Events] of [] when Of =:= Ctx -> 1; _ -> 0 end,
         ?assertEqual([], [E || #{entity := <<"alice">>} = E <- sent(Sub, Left)])
     end || {Of, Sub, Events} <- Before],
    {ok, 1} = warp_core:append(Alice, noted(<<"anew">>)),
    [?assertMatch([#{seq := 1, payload := #{<<"text">> := <<"anew">>}}], sent(Sub, 1)) || {_, Sub} <- Subs],
    [silent(Sub) || {_, Sub} <- Subs],
    %% A subscription that was away learns from its cursor that it was another life.
    {ok, Then} = warp_subscription:subscribe(Alice, #{from => beginning}),
    Cursor = acked(Then, sent(Then, 1)),
    ok = warp_subscription:unsubscribe(Then),
    ok = warp_core:delete(Alice),
    {ok, Again} = warp_subscription:subscribe(Alice, #{from => {cursor, Cursor}}),
    receive {warp_subscription, Again, {erased, <<"alice">>}} -> ok after 5000 -> error(not_told) end.

%% Deletions and new lives while subscriptions read from the file and live, fast and slowly.
a_deletion_is_told_once_whatever_lies_in_between(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Ids = [integer_to_binary(N) || N <- lists:seq(1, 6)],
    Subscribers = [subscriber(Of, Options)
                   || Options <- [#{from => now, credit => 3}, #{from => now}, #{from => beginning, credit => demand}],
                      Of <- [Ctx, warp_core:entity(Ctx, <<"1">>)]],
    Lives = warp_test:parallel([fun() -> {Id, [life(Ctx, Id, N) || N <- lists:seq(1, 15)]} end || Id <- Ids]),
    [begin
         {Told, Last} = erased_and_last(Subscriber, Ctx, Ids),
         Own = case Of of context -> Ids; _ -> [<<"1">>] end,
         ?assertEqual(lists:sort([{Id, 15} || Id <- Own]), lists:sort(Told)),
         ?assertEqual([], Last)
     end || {Subscriber, Of} <- lists:zip(Subscribers, [context, entity, context, entity, context, entity])],
    ?assertEqual(6, length(Lives)).

%% Appends some events and deletes the entity.
life(Ctx, Id, N) ->
    Entity = warp_core:entity(Ctx, Id),
    [{ok, _} = warp_core:append(Entity, noted(integer_to_binary(N))) || _ <- lists:seq(1, rand:uniform(20))],
    ok = warp_core:delete(Entity).

%% How often an entity was told to be erased; and events that came although their life was over.
erased_and_last({Pid, _}, Ctx, Ids) ->
    {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"1">>), noted(<<"end">>)),
    Pid ! {all, self()},
    All = receive {all, Pid, Got} -> Got after 30000 -> error(no_end) end,
    Told = [Id || {erased, Id} <- All],
    {[{Id, length([I || I <- Told, I =:= Id])} || Id <- lists:usort(Told)],
     lists:append([late([Item || Item <- All, is_of(Id, Item)], 1) || Id <- Ids])}.

is_of(Id, {erased, Id}) -> true;
is_of(Id, #{entity := Id}) -> true;
is_of(_, _) -> false.

%% The Nth life of an entity says N.
late([], _N) -> [];
late([{erased, _} | Items], N) -> late(Items, N + 1);
late([#{payload := #{<<"text">> := <<"end">>}} | Items], N) -> late(Items, N);
late([#{payload := #{<<"text">> := Of}} = Event | Items], N) ->
    [Event || binary_to_integer(Of) =/= N] ++ late(Items, N).

%% The tables are unreachable, also after the next start, and the deletion is not done for as long.
%% The subscribers have the next life by then.
a_step_that_is_taken_again_tells_nothing_of_a_new_life(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    {ok, Context} = warp_context:of_handle(Ctx),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Subs = [element(2, {ok, _} = warp_subscription:subscribe(Of, #{})) || Of <- [Ctx, Alice]],
    Next = fun(Sub) ->
        receive
            {warp_subscription, Sub, {events, [#{seq := Seq}] = Events}} ->
                ok = warp_subscription:ack(Sub, Events),
                Seq;
            {warp_subscription, Sub, {erased, _}} -> erased
        after 5000 -> nothing
        end
    end,
    {ok, 1} = warp_core:append(Alice, credited(1)),
    [?assertEqual(1, Next(Sub)) || Sub <- Subs],
    ok = warp_core:delete(Alice),
    [?assertEqual(erased, Next(Sub)) || Sub <- Subs],
    {ok, 1} = warp_core:append(Alice, credited(1)),
    [?assertEqual(1, Next(Sub)) || Sub <- Subs],
    ok = warp_subscription_erase:tell(Context, #{entity => <<"alice">>, shard => 0, incarnation => 1}),
    {ok, 2} = warp_core:append(Alice, credited(1)),
    [?assertEqual(2, Next(Sub)) || Sub <- Subs].

a_deletion_that_lasts_holds_nothing_up(Config) ->
    Ctx = warp_test:start(Config, #{projections => {rqlite, #{nodes => ["http://127.0.0.1:1"]}}, shards => 1}),
    Append = fun(Now, Id, Text) -> {ok, _} = warp_core:append(warp_core:entity(Now, Id), noted(Text)) end,
    Append(Ctx, <<"alice">>, <<"first">>),
    {ok, Sub} = warp_subscription:subscribe(Ctx, #{from => beginning}),
    [_] = sent(Sub, 1),
    {error, {still_to_erase, _}} = warp_core:delete(warp_core:entity(Ctx, <<"alice">>), #{timeout => 500}),
    receive {warp_subscription, Sub, {erased, <<"alice">>}} -> ok after 5000 -> error(not_told) end,
    Append(Ctx, <<"alice">>, <<"anew">>),
    Append(Ctx, <<"bob">>, <<"behind it">>),
    ?assertMatch([#{entity := <<"alice">>, seq := 1}, #{entity := <<"bob">>}], sent(Sub, 2)),
    Now = warp_test:restart(Ctx),
    #{deletions := #{under_way := 1}} = warp_core:stats(Now),
    {ok, Again} = warp_subscription:subscribe(Now, #{from => beginning}),
    ?assertMatch([#{entity := <<"alice">>, seq := 1}, #{entity := <<"bob">>}], sent(Again, 2)).

%% Its first row has no event that the filter lets through.
no_row_of_a_new_life_comes_before_it_was_told(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, 1} = warp_core:append(Alice, incremented()),
    {ok, 2} = warp_core:append(Alice, credited(1)),
    {ok, Context} = warp_context:find(Ctx),
    Piece = fun() ->
        {ok, Checked} = warp_subscription_options:subscribe({shards, 1}, #{aggregates => [<<"Account">>]}),
        Filter = warp_subscription_filter:new({shards, 1}, Checked),
        warp_subscription_reader:piece(warp_subscription_reader:new(Context, Filter), 0, 0)
    end,
    %% An earlier life is being deleted.
    ok = warp_erasure_holds:hold(Context, <<"alice">>, 1000),
    ?assertEqual({stopped, {[], 0}, being_deleted}, Piece()),
    ok = warp_erasure_holds:left(Context, <<"alice">>, [<<"subscriptions">>, <<"embedded">>]),
    ?assertEqual({stopped, {[], 0}, being_deleted}, Piece()),
    ok = warp_erasure_holds:left(Context, <<"alice">>, [<<"embedded">>]),
    ?assertMatch({ok, {[#{seq := 2}], 2, done}}, Piece()).

whoever_reads_no_messages_is_not_told_for_ever(Config) ->
    Ctx = warp_test:start(Config),
    [{ok, 1} = warp_core:append(warp_core:entity(Ctx, Id), incremented()) || Id <- [<<"a">>, <<"b">>]],
    {ok, Sub} = warp_subscription:subscribe(Ctx, #{from => now}),
    [self() ! unread || _ <- lists:seq(1, 99990)],
    ok = warp_core:delete(warp_core:entity(Ctx, <<"a">>)),
    receive {warp_subscription, Sub, {erased, <<"a">>}} -> ok after 5000 -> error(not_told) end,
    [self() ! unread || _ <- lists:seq(1, 20)],
    ok = warp_core:delete(warp_core:entity(Ctx, <<"b">>)),
    Monitor = warp_subscription:monitor_of(Sub),
    receive {'DOWN', Monitor, process, _, {shutdown, erasures_not_taken}} -> ok after 5000 -> error(not_ended) end,
    receive {warp_subscription, Sub, {erased, <<"b">>}} -> error(told) after 0 -> ok end.

%% ------------------------------------------------------------------ What ends

it_outlives_what_it_reads_from(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Subscribers = [subscriber(Ctx, #{from => now, credit => Credit}) || Credit <- [3, 1000]],
    Killer = spawn_link(fun() -> kill_for_ever(Ctx) end),
    _ = warp_test:parallel(4, fun(N) ->
        Entity = warp_core:entity(Ctx, integer_to_binary(N)),
        [until_ok(Entity, (incremented())#{id => integer_to_binary(I)}) || I <- lists:seq(1, 500)]
    end),
    true = unlink(Killer),
    true = exit(Killer, kill),
    %% The last kill may be just now.
    ok = warp_test:wait_until(fun() -> element(1, warp_core:events(Ctx)) =:= ok end),
    {ok, #{events := All}} = warp_core:events(Ctx, #{limit => 10000}),
    [?assertEqual(by_shard(All), by_shard(got(Subscriber, length(All)))) || Subscriber <- Subscribers].

until_ok(Entity, Event) ->
    case warp_core:append(Entity, Event) of
        {ok, _} -> ok;
        {error, _} -> timer:sleep(5), until_ok(Entity, Event)
    end.

kill_for_ever(Ctx) ->
    {ok, Context} = warp_context:find(Ctx),
    _ = [exit(Pid, kill) || Key <- [{live, 0}, {live, 1}, {owner, rand:uniform(2) - 1}],
                            rand:uniform(3) =:= 1 orelse element(1, Key) =:= live,
                            {ok, Pid} <- [warp_context:registered(Context, Key)]],
    timer:sleep(100),
    kill_for_ever(Ctx).

it_ends_with_what_it_depends_on(Config) ->
    Ctx = warp_test:start(Config),
    {ok, Sub} = warp_subscription:subscribe(Ctx, #{}),
    Monitor = warp_subscription:monitor_of(Sub),
    [#{pid := Pid}] = subscriptions(Ctx),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, _, killed} -> ok end,
    ?assertEqual({error, subscription_ended}, warp_subscription:cursor(Sub)),
    ok = warp_subscription:ack(Sub, #{shard => 0, position => 1, seq => 1}),
    {Gone, OfGone} = spawn_monitor(fun() -> {ok, _} = warp_subscription:subscribe(Ctx, #{}) end),
    receive {'DOWN', OfGone, process, Gone, _} -> ok end,
    warp_test:wait_until(fun() -> [] =:= [S || #{subscriber := S} <- subscriptions(Ctx), S =:= Gone] end),
    {ok, Last} = warp_subscription:subscribe(Ctx, #{}),
    OfLast = warp_subscription:monitor_of(Last),
    warp_test:stop(Ctx),
    receive {'DOWN', OfLast, process, _, _} -> ok end,
    ?assertEqual({error, context_stopped}, warp_subscription:subscribe(Ctx, #{})).

nothing_is_left_of_one_that_was_ended(Config) ->
    Ctx = warp_test:start(Config),
    fill(Ctx, 1, 100),
    [nothing_is_left(Ctx, Tag, Stored) || {Tag, Stored} <- [{warp_subscription, 100}, {make_ref(), 110}]].

nothing_is_left(Ctx, Tag, Stored) ->
    {ok, Sub} = warp_subscription:subscribe(Ctx, #{from => beginning, tag => Tag}),
    {ok, Other} = warp_subscription:subscribe(Ctx, #{from => beginning}),
    _ = sent(Other, Stored),
    receive {Tag, Sub, {events, First}} -> ?assertMatch([_ | _], First) after 5000 -> error(nothing_comes) end,
    ok = warp_subscription:unsubscribe(Sub),
    fill(Ctx, 1, 10),
    _ = sent(Other, 10),
    receive {_, Sub, _} = Left -> error({left, Left}) after 50 -> ok end,
    ?assertMatch([_], subscriptions(Ctx)),
    ok = warp_subscription:unsubscribe(Other).

%% ------------------------------------------------------------------ Many

a_filter_that_lets_nothing_through_moves_on(Config) ->
    Ctx = warp_test:start(Config),
    Batch = lists:duplicate(1000, incremented()),
    Append = fun(Count) ->
        _ = warp_test:parallel(2, fun(N) ->
            Entity = warp_core:entity(Ctx, integer_to_binary(N)),
            [{ok, _} = warp_core:append_batch(Entity, Batch) || _ <- lists:seq(1, Count)]
        end)
    end,
    Append(long(20, 500)),
    {ok, Sub} = warp_subscription:subscribe(Ctx, #{from => beginning, types => [<<"Nothing">>]}),
    First = receive {warp_subscription, Sub, {caught_up, At}} -> At after 60000 -> error(not_caught_up) end,
    Append(long(5, 100)),
    Second = last_checkpoint(Sub, receive {warp_subscription, Sub, {checkpoint, C}} -> C after 5000 -> none end),
    ?assertNotEqual(First, Second),
    ok = warp_subscription:unsubscribe(Sub),
    {ok, Again} = warp_subscription:subscribe(Ctx, #{from => {cursor, Second}}),
    silent(Again).

%% There is one a second for as long as events come.
last_checkpoint(Sub, Last) ->
    receive {warp_subscription, Sub, {checkpoint, Cursor}} -> last_checkpoint(Sub, Cursor) after 3000 -> Last end.

%% Of a subscriber that always has an event which it has not acknowledged, and never catches up.
a_subscriber_that_is_busy_is_told_how_far_it_is(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    fill(Ctx, 1, 1000),
    {ok, Sub} = warp_subscription:subscribe(Ctx, #{from => beginning, credit => 2}),
    {Count, Cursor} = busy(Sub, none, 0),
    ok = warp_subscription:unsubscribe(Sub),
    ?assert(Count < 1000),
    {ok, Again} = warp_subscription:subscribe(Ctx, #{from => {cursor, Cursor}}),
    Left = sent_until_caught_up(Again),
    %% All that it had not acknowledged, and not all again.
    ?assert(Left >= 1000 - Count),
    ?assert(Left < 1000).

busy(Sub, Open, Count) ->
    receive
        {warp_subscription, Sub, {events, Events}} ->
            _ = [warp_subscription:ack(Sub, Open) || Open =/= none],
            timer:sleep(5),
            {Done, [Last]} = lists:split(length(Events) - 1, Events),
            _ = [warp_subscription:ack(Sub, Event) || Event <- Done],
            busy(Sub, Last, Count + length(Events));
        {warp_subscription, Sub, {checkpoint, Cursor}} when Count > 10 ->
            {Count, Cursor};
        {warp_subscription, Sub, {checkpoint, _}} ->
            busy(Sub, Open, Count)
    after 3000 ->
        error({no_checkpoint, Count})
    end.

sent_until_caught_up(Sub) ->
    receive
        {warp_subscription, Sub, {events, Events}} -> length(Events) + sent_until_caught_up(Sub);
        {warp_subscription, Sub, {caught_up, _}} -> 0
    after 10000 ->
        error(not_caught_up)
    end.

many_subscribe_at_once_while_events_come(Config) ->
    Ctx = warp_test:start(Config, #{shards => 4}),
    fill(Ctx, 1, 2000),
    Self = self(),
    Appending = spawn_link(fun() ->
        [fill(Ctx, N, 20) || N <- lists:seq(2, 50)],
        Self ! appended,
        receive stop -> ok end
    end),
    Subscribers = [subscriber(Ctx, #{from => beginning, credit => rand:uniform(2000)}) || _ <- lists:seq(1, 40)],
    receive appended -> Appending ! stop end,
    {ok, #{events := All}} = warp_core:events(Ctx, #{limit => 10000}),
    [?assertEqual(by_shard(All), by_shard(got(Subscriber, length(All)))) || Subscriber <- Subscribers].

single_entities_by_the_thousand(Config) ->
    Count = long(2000, 10000),
    Ctx = warp_test:start(Config, #{shards => 4}),
    Entity = fun(N) -> warp_core:entity(Ctx, integer_to_binary(N)) end,
    [{ok, 1} = warp_core:append(Entity(N), incremented()) || N <- lists:seq(1, Count, 2)],
    Subs = maps:from_list(
        [{Sub, N} || N <- lists:seq(1, Count),
                     {ok, Sub} <- [warp_subscription:subscribe(Entity(N), #{from => beginning})]]),
    Count = map_size(Subs),
    [{ok, _} = warp_core:append(Entity(N), incremented()) || N <- lists:seq(1, Count)],
    Got = each_got(Subs, #{}, Count + (Count + 1) div 2),
    [?assertEqual({N, case N rem 2 of 1 -> [1, 2]; 0 -> [1] end}, {N, maps:get(N, Got)}) || N <- lists:seq(1, Count)].

each_got(_Subs, Got, 0) ->
    Got;
each_got(Subs, Got, Left) ->
    receive
        {warp_subscription, Sub, {events, Events}} ->
            #{Sub := N} = Subs,
            [?assertEqual(integer_to_binary(N), Entity) || #{entity := Entity} <- Events],
            each_got(Subs, Got#{N => maps:get(N, Got, []) ++ [Seq || #{seq := Seq} <- Events]}, Left - length(Events));
        {warp_subscription, _, _} ->
            each_got(Subs, Got, Left)
    after 20000 ->
        error({missing, Left})
    end.

%% ------------------------------------------------------------------ What is shown

what_cannot_be_read_is_shown(Config) ->
    Aggregate = (old())#{migrate => fun ?MODULE:picky/2, version => 2},
    Ctx = warp_test:start(Config, #{aggregates => [old(), (old())#{name => <<"Other">>}], shards => 1}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    [{ok, _} = warp_core:append(Alice, #{aggregate => <<"Aggregate">>, type => Type, payload => #{}})
     || Type <- [<<"Good">>, <<"Bad">>, <<"Good">>]],
    Now = warp_test:restart(Ctx, #{aggregates => [Aggregate, (old())#{name => <<"Other">>}]}),
    {ok, Sub} = warp_subscription:subscribe(Now, #{from => beginning}),
    Other = subscriber(Now, #{from => beginning, aggregates => [<<"Other">>]}),
    ?assertMatch([#{seq := 1}], sent(Sub, 1)),
    Mine = fun() -> hd([Shown || #{subscriber := S} = Shown <- subscriptions(Now), S =:= self()]) end,
    warp_test:wait_until(fun() -> maps:get(state, Mine()) =:= stalled end),
    #{why := Why, since := Since, behind_positions := 3} = Mine(),
    ?assertMatch({migrate_failed, {error, picky, _}}, Why),
    ?assert(abs(os:system_time(microsecond) - Since) < 60000000),
    %% It concerns nobody else.
    Bob = warp_core:entity(Now, <<"bob">>),
    {ok, _} = warp_core:append(Bob, #{aggregate => <<"Other">>, type => <<"T">>, payload => #{}}),
    ?assertMatch([#{entity := <<"bob">>}], got(Other, 1)).

picky(#{type := <<"Bad">>}, _Version) -> error(picky);
picky(Event, _Version) -> Event.

wrong_arguments_are_named(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Wrong = fun(Of, Options) -> {error, Why} = warp_subscription:subscribe(Of, Options), Why end,
    ?assertEqual({unknown_option, frm}, Wrong(Ctx, #{frm => now})),
    ?assertEqual({unknown_option, prefix}, Wrong(Alice, #{prefix => <<"a">>})),
    ?assertEqual({unknown_option, shard}, Wrong(Alice, #{shard => 0})),
    [?assertEqual({bad_option, shard, {not_an_integer_between, 0, 1}}, Wrong(Ctx, #{shard => N})) || N <- [2, -1, x]],
    ?assertEqual({bad_option, shard, not_with_a_name}, Wrong(Ctx, #{shard => 1, name => <<"x">>})),
    ?assertEqual({bad_option, options, not_a_map}, Wrong(Ctx, [])),
    [?assertMatch({bad_option, from, not_a_beginning}, Wrong(Ctx, #{from => From}))
     || From <- [later, {time, x}, 0, []]],
    [?assertMatch({bad_option, credit, _}, Wrong(Ctx, #{credit => Credit})) || Credit <- [0, -1, 100001, none, 1.5]],
    ?assertEqual({bad_option, convert, {not_a_function, 1}}, Wrong(Ctx, #{convert => fun all/0})),
    [?assertMatch({bad_option, Key, not_a_list_of_names}, Wrong(Ctx, #{Key => Names}))
     || Key <- [aggregates, types], Names <- [[], <<"A">>, ["A"], [<<>>], [<<"A">> | <<"B">>]]],
    ?assertEqual({bad_option, prefix, not_a_binary}, Wrong(Ctx, #{prefix => "a"})),
    ?assertEqual({bad_cursor, not_a_cursor}, Wrong(Ctx, #{from => {cursor, <<"w1abc">>}})),
    {ok, Sub} = warp_subscription:subscribe(Alice, #{}),
    {ok, OfAlice} = warp_subscription:cursor(Sub),
    ?assertEqual({bad_cursor, of_an_entity}, Wrong(Ctx, #{from => {cursor, OfAlice}})),
    Bob = warp_core:entity(Ctx, <<"bob">>),
    ?assertEqual({bad_cursor, of_another_entity}, Wrong(Bob, #{from => {cursor, OfAlice}})),
    Ahead = warp_subscription_cursor:encode({shards, 2}, #{1 => 1000}),
    ?assertEqual({bad_cursor, {ahead_of_log, 1}}, Wrong(Ctx, #{from => {cursor, Ahead}})),
    [?assertEqual({bad_entity_id, Why}, Wrong(warp_core:entity(Ctx, Id), #{}))
     || {Id, Why} <- [{<<>>, empty}, {<<"$warp/saga/x">>, reserved}, {alice, not_a_binary}]],
    ?assertError({not_a_context, <<"test">>}, warp_subscription:subscribe(<<"test">>, #{})),
    {ok, 1} = warp_core:append(Alice, incremented()),
    [Event] = sent(Sub, 1),
    [?assertEqual({What, {error, {bad_option, event, not_a_placed_event}}}, {What, warp_subscription:ack(Sub, What)})
     || What <- [alice, maps:remove(shard, Event), Event#{seq := one}, [Event, x], [Event | Event], {erased, alice}]],
    %% Nothing was acknowledged.
    ?assertEqual({ok, OfAlice}, warp_subscription:cursor(Sub)),
    [?assertEqual({error, {bad_option, count, {not_an_integer_from, 1}}}, warp_subscription:more(Sub, Count))
     || Count <- [0, -1, 1.5, x]],
    [?assertError({not_a_subscription, sub}, Call(sub))
     || Call <- [fun(S) -> warp_subscription:ack(S, []) end, fun(S) -> warp_subscription:more(S, 1) end,
                 fun warp_subscription:cursor/1, fun warp_subscription:unsubscribe/1,
                 fun warp_subscription:monitor_of/1]].

%% ------------------------------------------------------------------ Subscribers

%% A process that subscribes and acknowledges at once, now one by one, now a message at once.
subscriber(Of, Options) ->
    Self = self(),
    Pid = spawn_link(fun() ->
        {ok, Sub} = warp_subscription:subscribe(Of, Options),
        _ = [ok = warp_subscription:more(Sub, 50) || #{credit := demand} <- [Options]],
        Self ! {subscribed, self()},
        collect(Sub, maps:get(credit, Options, 1000), [])
    end),
    receive {subscribed, Pid} -> ok end,
    {Pid, Options}.

collect(Sub, Credit, Got) ->
    receive
        {warp_subscription, Sub, {events, Events}} ->
            true = length(Events) =< 1000,
            _ = [ok = warp_subscription:more(Sub, length(Events)) || Credit =:= demand],
            case length(Got) rem 2 of
                0 -> [ok = warp_subscription:ack(Sub, Event) || Event <- Events];
                1 -> ok = warp_subscription:ack(Sub, Events)
            end,
            collect(Sub, Credit, lists:reverse(Events, Got));
        {warp_subscription, Sub, {erased, _} = Erased} ->
            collect(Sub, Credit, [Erased | Got]);
        {warp_subscription, Sub, _} ->
            collect(Sub, Credit, Got);
        {got, Count, From} when length(Got) >= Count ->
            From ! {got, self(), lists:reverse(Got)},
            collect(Sub, Credit, Got);
        {all, From} when hd(Got) =/= none ->
            case hd(Got) of
                #{payload := #{<<"text">> := <<"end">>}} -> From ! {all, self(), lists:reverse(Got)};
                _ -> self() ! {all, From}
            end,
            collect(Sub, Credit, Got)
    end.

%% What a subscriber got, once that are so many. Nothing more comes a little later.
got({Pid, _}, Count) ->
    Pid ! {got, Count, self()},
    receive {got, Pid, Got} -> ?assertEqual(Count, length(Got)), Got after 60000 -> error({too_few, Count}) end.

%% The next events that the calling process is sent: exactly so many.
sent(_Sub, 0) ->
    [];
sent(Sub, Count) ->
    receive
        {warp_subscription, Sub, {events, Events}} ->
            ?assert(length(Events) =< Count),
            Events ++ sent(Sub, Count - length(Events))
    after 10000 ->
        error({missing, Count})
    end.

silent(Sub) ->
    receive {warp_subscription, Sub, {events, Events}} -> error({not_expected, Events}) after 100 -> ok end.

by_shard(Events) ->
    lists:foldr(fun(#{shard := N} = Event, Acc) -> Acc#{N => [Event | maps:get(N, Acc, [])]} end, #{}, Events).

subscriptions(Ctx) -> maps:get(subscriptions, warp_core:stats(Ctx)).

fill(Ctx, N, Count) ->
    [{ok, _} = warp_core:append(warp_core:entity(Ctx, integer_to_binary(N * 1000 + I rem 7)), incremented())
     || I <- lists:seq(1, Count)],
    ok.

long(Short, Long) ->
    case os:getenv("WARP_LONG") of false -> Short; _ -> Long end.
