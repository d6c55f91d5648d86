%% Subscriptions with names, of real contexts: what is stored, who consumes, and what is told of deletions.
-module(warp_subscription_name_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(warp_test, [incremented/0, noted/1]).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [it_goes_on_behind_what_was_acknowledged, a_consumer_that_dies_has_its_events_sent_again,
     one_consumes_and_the_next_takes_over, acknowledgements_of_a_previous_consumer_are_refused,
     consumers_split_the_shards, a_cursor_stands_for_all_consumers, an_erasure_is_told_until_it_is_acknowledged,
     an_erasure_is_told_although_the_filter_has_changed,
     erasures_are_told_in_pieces, an_entity_that_is_deleted_again_is_told_again,
     erasures_that_nobody_takes_are_bounded, what_a_previous_consumer_holds_counts_no_more,
     nothing_of_an_erased_entity_is_left, what_waits_of_the_next_life_stays,
     nothing_comes_or_happens_again_after_a_kill,
     names_without_a_consumer_are_shown, a_name_is_forgotten, it_outlives_what_keeps_the_names,
     a_file_that_cannot_be_read_is_named, a_log_that_was_replaced_is_named, wrong_arguments_are_named].

init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

-define(NAME, <<"mail">>).

%% ------------------------------------------------------------------ What is stored

it_goes_on_behind_what_was_acknowledged(Config) ->
    Ctx = warp_test:start(Config, #{shards => 3}),
    All = fill(Ctx, 60),
    Sub = subscribe(Ctx, #{from => beginning}),
    ?assertEqual([0, 1, 2], active(Sub)),
    {First, Rest} = lists:split(20, events(Sub, 60)),
    ack(Sub, First),
    {ok, Cursor} = warp_subscription:cursor(Sub),
    ok = warp_subscription:unsubscribe(Sub),
    %% `from' does not count any more.
    Again = subscribe(Ctx, #{from => now}),
    ?assertEqual(lists:sort(Rest), lists:sort(events(Again, length(Rest)))),
    ?assertEqual({ok, Cursor}, warp_subscription:cursor(Again)),
    ack(Again, Rest),
    {ok, End} = warp_subscription:cursor(Again),
    Now = warp_test:restart(Ctx),
    Later = subscribe(Now, #{}),
    receive {warp_subscription, Later, {caught_up, End}} -> ok after 5000 -> error(not_caught_up) end,
    silent(Later),
    ?assertEqual(lists:sort(All), lists:sort(First ++ Rest)).

a_consumer_that_dies_has_its_events_sent_again(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    All = fill(Ctx, 30),
    Taken = consumer(Ctx, #{from => beginning, credit => 10}, fun(Sub, Events) ->
        ack(Sub, lists:sublist(Events, 4)),
        exit(normal)
    end),
    ?assertEqual(lists:sublist(All, 10), Taken),
    %% What it acknowledged right before it died counts.
    Sub = subscribe(Ctx, #{}),
    ?assertEqual(lists:nthtail(4, All), events(Sub, 26)).

one_consumes_and_the_next_takes_over(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Self = self(),
    Consumers = [spawn_link(fun() -> turns(Self, subscribe(Ctx, #{from => beginning, credit => 5})) end)
                 || _ <- lists:seq(1, 5)],
    All = fill(Ctx, 100),
    Got = taken_over(Consumers, []),
    %% Each dies with a few events that it has not acknowledged.
    ?assertEqual(lists:sort(All), lists:usort(Got)),
    ?assert(length(Got) > length(All)),
    ?assertMatch([#{state := live}], subscriptions(Ctx)).

%% A consumer that dies after some messages, without acknowledging the last one.
turns(Parent, Sub) ->
    _ = active(Sub),
    turns(Parent, Sub, 5).

turns(Parent, Sub, Left) ->
    receive
        {warp_subscription, Sub, {events, Events}} ->
            Parent ! {got, self(), Events},
            receive
                last -> ack(Sub, Events), turns(Parent, Sub, 1000);
                go_on when Left =:= 0 -> ok;
                go_on -> ack(Sub, Events), turns(Parent, Sub, Left - 1)
            end;
        {warp_subscription, Sub, _} ->
            turns(Parent, Sub, Left)
    end.

%% Only one of them gets events at a time.
taken_over(Left, Got) ->
    receive
        {got, Pid, Events} ->
            true = lists:member(Pid, Left),
            Pid ! case Left of [Pid] -> last; _ -> go_on end,
            taken_over([Of || Of <- Left, is_process_alive(Of)], Got ++ Events)
    after 1000 ->
        Got
    end.

acknowledgements_of_a_previous_consumer_are_refused(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    All = fill(Ctx, 20),
    Self = self(),
    Taken = consumer(Ctx, #{from => beginning}, fun(Sub, Events) ->
        Self ! {handed_on, Sub, Events},
        exit(normal)
    end),
    ?assertEqual(All, Taken),
    Next = subscribe(Ctx, #{credit => 5}),
    First = events(Next, 5),
    receive {handed_on, Sub, Events} -> ack(Sub, Events) end,
    ?assertEqual(lists:sublist(All, 5), First),
    {ok, Cursor} = warp_subscription:cursor(Next),
    ?assertEqual({error, subscription_ended}, warp_subscription:cursor(Sub)),
    ok = warp_subscription:unsubscribe(Next),
    Third = subscribe(Ctx, #{}),
    ?assertEqual({ok, Cursor}, warp_subscription:cursor(Third)),
    ?assertEqual(All, events(Third, 20)).

consumers_split_the_shards(Config) ->
    Ctx = warp_test:start(Config, #{shards => 5}),
    All = fill(Ctx, 100),
    Options = #{from => beginning, consumers => 2},
    [A, B, C] = [subscribe(Ctx, Options) || _ <- [1, 2, 3]],
    ?assertEqual([[0, 2, 4], [1, 3]], [active(A), active(B)]),
    ?assertEqual({error, {others_say, 2}}, warp_subscription:subscribe(Ctx, #{name => ?NAME, consumers => 3})),
    ok = await_states(Ctx, [live, live, standby]),
    Of = fun(Shards) -> [Event || #{shard := N} = Event <- All, lists:member(N, Shards)] end,
    ?assertEqual(lists:sort(Of([0, 2, 4])), lists:sort(events(A, length(Of([0, 2, 4]))))),
    ofB = ack(B, events(B, length(Of([1, 3]))), ofB),
    ok = warp_subscription:unsubscribe(B),
    ?assertEqual([1, 3], active(C)),
    silent(C),
    %% A slot that nobody has is shown, with how far behind it is.
    ok = warp_subscription:unsubscribe(C),
    More = [E || #{shard := N} = E <- fill(Ctx, 100), lists:member(N, [1, 3])],
    [#{behind_positions := Behind, behind_seconds := Seconds, pid := none, name := ?NAME}] =
        [Info || #{state := no_consumer} = Info <- subscriptions(Ctx)],
    ?assertEqual(length(More) - length(Of([1, 3])), Behind),
    ?assert(Seconds > 0.0 andalso Seconds < 60.0).

await_states(Ctx, States) ->
    warp_test:wait_until(fun() -> lists:sort([S || #{state := S} <- subscriptions(Ctx)]) =:= States end).

a_cursor_stands_for_all_consumers(Config) ->
    Ctx = warp_test:start(Config, #{shards => 4}),
    All = fill(Ctx, 40),
    Options = #{from => beginning, consumers => 2},
    [A, B] = [subscribe(Ctx, Options) || _ <- [1, 2]],
    Count = length([x || #{shard := N} <- All, N rem 2 =:= 0]),
    ack(A, events(A, Count)),
    {ok, Half} = warp_subscription:cursor(A),
    ?assertEqual({ok, Half}, warp_subscription:cursor(B)),
    {ok, Plain} = warp_subscription:subscribe(Ctx, #{from => {cursor, Half}}),
    Rest = events(Plain, 40 - Count),
    ?assertEqual([], [x || #{shard := N} <- Rest, N rem 2 =:= 0]).

nothing_comes_or_happens_again_after_a_kill(Config) ->
    Opts = #{context => <<"killed">>, data_dir => proplists:get_value(dir, Config), shards => 3,
             subscribers => [warp_subscription_load:policy()]},
    Rounds = case os:getenv("WARP_LONG") of false -> 4; _ -> 40 end,
    Upto = lists:foldl(fun(Round, Before) ->
        Port = warp_load_vm:start(warp_subscription_load, Opts#{from => Round}),
        timer:sleep(200 + rand:uniform(600)),
        Said = warp_subscription_load:kill(Port),
        ?assertEqual({Round, []}, {Round, [Again || {got, Again} <- Said, Again =< Before]}),
        lists:foldl(fun({stored, Seqs}, _) -> Seqs; (_, Acc) -> Acc end, Before, Said)
    end, {0, 0}, lists:seq(1, Rounds)),
    ?assert(Upto > {0, 0}),
    %% Everything that is in the log and was not acknowledged still comes, in order.
    Ctx = warp_test:start(Config, Opts#{aggregates => [warp_read_model:aggregate()]}),
    {ok, All} = warp_core:history(warp_core:entity(Ctx, <<"counted">>), #{limit => 1000000}),
    Sub = subscribe(Ctx, #{prefix => <<"counted">>}),
    Rest = [Seq || #{seq := Seq} <- until_caught_up(Sub)],
    ?assertEqual(lists:seq(length(All) - length(Rest) + 1, length(All)), Rest),
    ?assert(length(All) - length(Rest) >= element(2, Upto)),
    %% And what follows from it in Warp happened once, in order.
    ok = warp_test_context:await_subscribers(Ctx, 10000),
    {ok, Tally} = warp_core:history(warp_core:entity(Ctx, <<"tally">>), #{limit => 1000000}),
    ?assertEqual(lists:seq(1, length(All)), [Seq || #{payload := #{<<"weight">> := Seq}} <- Tally]).

%% ------------------------------------------------------------------ Deletions

an_erasure_is_told_until_it_is_acknowledged(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, _} = warp_core:append(Alice, incremented()),
    Sub = subscribe(Ctx, #{from => beginning, prefix => <<"a">>}),
    ack(Sub, events(Sub, 1)),
    ok = warp_core:delete(Alice),
    erased(Sub, <<"alice">>),
    ok = warp_subscription:unsubscribe(Sub),
    %% Also of entities that were deleted while nobody had subscribed, and before anything of their new lives.
    {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"anna">>), incremented()),
    ok = warp_core:delete(warp_core:entity(Ctx, <<"anna">>)),
    {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"bob">>), incremented()),
    ok = warp_core:delete(warp_core:entity(Ctx, <<"bob">>)),
    {ok, _} = warp_core:append(Alice, noted(<<"again">>)),
    Now = warp_test:restart(Ctx),
    Again = subscribe(Now, #{prefix => <<"a">>}),
    [0, 1] = active(Again),
    Messages = [receive {warp_subscription, Again, Message} -> Message after 5000 -> nothing end || _ <- [1, 2, 3]],
    ?assertMatch([{erased, <<"alice">>}, {erased, <<"anna">>}, {events, [#{entity := <<"alice">>, seq := 1}]}],
                 Messages),
    [ok = warp_subscription:ack(Again, {erased, Id}) || Id <- [<<"alice">>, <<"anna">>]],
    {ok, _} = warp_subscription:cursor(Again),
    ok = warp_subscription:unsubscribe(Again),
    Third = subscribe(Now, #{prefix => <<"a">>}),
    ?assertMatch([#{entity := <<"alice">>}], events(Third, 1)),
    receive {warp_subscription, Third, {erased, _}} -> error(told_again) after 100 -> ok end.

%% Its subscriber may have made something of what another filter let through.
an_erasure_is_told_although_the_filter_has_changed(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Entity = fun(Id) -> warp_core:entity(Ctx, Id) end,
    Ids = [<<"a">>, <<"b\303\244">>, <<"b\303\266">>, <<"c">>],
    _ = [{ok, 1} = warp_core:append(Entity(Id), incremented()) || Id <- Ids],
    Wide = subscribe(Ctx, #{from => beginning}),
    ack(Wide, events(Wide, 4)),
    {ok, _} = warp_subscription:cursor(Wide),
    ok = warp_subscription:unsubscribe(Wide),
    Narrow = subscribe(Ctx, #{prefix => <<"b">>}),
    ok = warp_core:delete(Entity(<<"a">>)),
    erased(Narrow, <<"a">>),
    ok = warp_subscription:unsubscribe(Narrow),
    ok = warp_core:delete(Entity(<<"c">>)),
    Again = subscribe(Ctx, #{prefix => <<"b">>}),
    [<<"a">>, <<"c">>] = [erased(Again), erased(Again)],
    _ = [ok = warp_subscription:ack(Again, {erased, Id}) || Id <- [<<"a">>, <<"c">>]],
    {ok, 1} = warp_core:append(Entity(<<"c">>), incremented()),
    silent(Again),
    ok = warp_subscription:unsubscribe(Again),
    %% One that never had others is not told of others, and letters are not cut.
    Other = element(2, {ok, _} = warp_subscription:subscribe(Ctx, #{name => <<"other">>, prefix => <<"b\303\244">>})),
    ok = warp_subscription:unsubscribe(Other),
    Last = element(2, {ok, _} = warp_subscription:subscribe(Ctx, #{name => <<"other">>, prefix => <<"b\303\266">>})),
    _ = [ok = warp_core:delete(Entity(Id)) || Id <- [<<"c">>, <<"b\303\244">>]],
    erased(Last, <<"b\303\244">>),
    receive {warp_subscription, Last, {erased, _}} -> error(told) after 100 -> ok end,
    Restarted = warp_test:restart(Ctx),
    Once = element(2, {ok, _} = warp_subscription:subscribe(Restarted, #{name => <<"other">>, prefix => <<"b">>})),
    erased(Once, <<"b\303\244">>).

erasures_are_told_in_pieces(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2, durability => normal}),
    Sub = subscribe(Ctx, #{from => beginning}),
    ok = warp_subscription:unsubscribe(Sub),
    %% As if these had been deleted.
    {ok, Context} = warp_context:of_handle(Ctx),
    Ids = [list_to_binary(io_lib:format("gone-~5..0b", [I])) || I <- lists:seq(1, 2500)],
    ok = told_later(Context, Ids),
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"alice">>), incremented()),
    Again = subscribe(Ctx, #{}),
    First = [erased(Again) || _ <- lists:seq(1, 1000)],
    %% The others, and events, come when these are acknowledged.
    silent(Again),
    ?assertMatch([#{state := waiting_for_credit}], [S || #{pid := P} = S <- subscriptions(Ctx), P =/= none]),
    [ok = warp_subscription:ack(Again, {erased, Id}) || Id <- First],
    Second = [erased(Again) || _ <- lists:seq(1, 1000)],
    ok = warp_core:delete(warp_core:entity(Ctx, <<"alice">>)),
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"alice">>), noted(<<"again">>)),
    ?assertEqual(<<"alice">>, erased(Again)),
    [ok = warp_subscription:ack(Again, {erased, Id}) || Id <- [<<"alice">> | Second]],
    Third = [erased(Again) || _ <- lists:seq(1, 500)],
    ?assertMatch([#{entity := <<"alice">>, type := <<"Noted">>}], events(Again, 1)),
    ?assertEqual(Ids, First ++ Second ++ Third).

an_entity_that_is_deleted_again_is_told_again(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Live = fun() ->
        {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"alice">>), incremented()),
        ok = warp_core:delete(warp_core:entity(Ctx, <<"alice">>))
    end,
    Sub = subscribe(Ctx, #{}),
    Live(),
    <<"alice">> = erased(Sub),
    %% Right after the life before was taken.
    ok = warp_subscription:ack(Sub, {erased, <<"alice">>}),
    Live(),
    <<"alice">> = erased(Sub),
    leave(Sub),
    Again = subscribe(Ctx, #{}),
    <<"alice">> = erased(Again),
    %% While the life before is not taken: that counts for this life alone.
    Live(),
    <<"alice">> = erased(Again),
    ok = warp_subscription:ack(Again, {erased, <<"alice">>}),
    leave(Again),
    Third = subscribe(Ctx, #{}),
    <<"alice">> = erased(Third),
    ok = warp_subscription:ack(Third, {erased, <<"alice">>}),
    leave(Third),
    _ = active(subscribe(Ctx, #{})),
    receive {warp_subscription, _, {erased, _}} -> error(told_again) after 100 -> ok end.

%% What was acknowledged is on disk.
leave(Sub) ->
    {ok, _} = warp_subscription:cursor(Sub),
    ok = warp_subscription:unsubscribe(Sub).

%% A subscriber that takes no erasures is told of a limited number of them.
erasures_that_nobody_takes_are_bounded(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2, durability => normal}),
    Sub = subscribe(Ctx, #{}),
    _ = active(Sub),
    {ok, Context} = warp_context:of_handle(Ctx),
    [First | _] = Ids = [list_to_binary(io_lib:format("gone-~5..0b", [I])) || I <- lists:seq(1, 10001)],
    ok = told_later(Context, Ids),
    Monitor = warp_subscription:monitor_of(Sub),
    receive {'DOWN', Monitor, process, _, {shutdown, erasures_not_taken}} -> ok after 5000 -> error(not_ended) end,
    %% The next one is told of them, from the file.
    Again = subscribe(Ctx, #{}),
    ?assertEqual(First, erased(Again)).

told_later(Context, Ids) ->
    Erasures = [{Id, N, 0, none} || Id <- Ids, {ok, N} <- [warp_context:shard_of(Context, Id)]],
    ok = warp_subscription_names:erase_of(Context, ?NAME, Erasures, infinity),
    [ok = warp_subscription_process:erased(Pid, {Id, N, 0, none}, 0)
     || {Id, N, _, _} <- Erasures, Pid <- warp_subscription_table:concerned(Context, Id)],
    ok.

%% Somebody else decides by now.
what_a_previous_consumer_holds_counts_no_more(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    {ok, Context} = warp_context:of_handle(Ctx),
    Held = #{entity => <<"alice">>, shard => 0, life => 1, seq => 1, tries => 1, state => retrying, why => <<"why">>,
             since => 1},
    Sub = subscribe(Ctx, #{}),
    _ = active(Sub),
    ok = warp_subscription_names:hold(Context, ?NAME, Held, infinity),
    Other = aside(fun() ->
        [warp_subscription_names:hold(Context, ?NAME, Held#{seq := 7}, infinity),
         warp_subscription_names:release(Context, ?NAME, <<"alice">>, infinity)]
    end),
    ?assertEqual([{error, not_the_consumer}, {error, not_the_consumer}], Other),
    ?assertMatch({ok, [#{seq := 1}]}, warp_subscription:parked(Ctx, ?NAME)),
    ok = warp_subscription:unsubscribe(Sub),
    ?assertEqual({error, not_the_consumer}, warp_subscription_names:release(Context, ?NAME, <<"alice">>, infinity)).

aside(Fun) ->
    {_, Monitor} = spawn_monitor(fun() -> exit({done, Fun()}) end),
    receive {'DOWN', Monitor, process, _, {done, Result}} -> Result end.

nothing_of_an_erased_entity_is_left(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Secret = <<"secret-9137">>,
    Of = warp_core:entity(Ctx, Secret),
    {ok, 1} = warp_core:append(Of, noted(<<"text">>)),
    Sub = subscribe(Ctx, #{from => beginning}),
    ack(Sub, events(Sub, 1)),
    {ok, Context} = warp_context:of_handle(Ctx),
    Held = #{entity => Secret, shard => 0, life => 1, seq => 1, tries => 1, state => parked, why => <<"why">>,
             since => 1},
    ok = warp_subscription_names:hold(Context, ?NAME, Held, infinity),
    ?assertMatch({ok, [#{entity := Secret, tries := 1, state := parked}]}, warp_subscription:parked(Ctx, ?NAME)),
    ok = warp_core:delete(Of),
    ?assertEqual({ok, []}, warp_subscription:parked(Ctx, ?NAME)),
    %% It is not held any more, whoever says so.
    ?assertEqual({error, erased}, warp_subscription_names:hold(Context, ?NAME, Held, infinity)),
    erased(Sub, Secret),
    ok = warp_subscription:ack(Sub, {erased, Secret}),
    ok = warp_test:wait_until(fun() -> warp_test:files_with(warp_test:context_dir(Ctx), Secret) =:= [] end).

%% The erasure of a life may come late, when the next life has begun.
what_waits_of_the_next_life_stays(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    _ = active(subscribe(Ctx, #{})),
    {ok, Context} = warp_context:of_handle(Ctx),
    Held = #{entity => <<"alice">>, shard => 0, life => 5, seq => 1, tries => 1, state => parked, why => <<"why">>,
             since => 1},
    ok = warp_subscription_names:hold(Context, ?NAME, Held, infinity),
    Parked = fun(Of) -> {ok, All} = warp_subscription:parked(Of, ?NAME), length(All) end,
    ok = warp_subscription_names:erase(Context, {<<"alice">>, 0, 3, 5}, infinity),
    ?assertEqual(1, Parked(Ctx)),
    Now = warp_test:restart(Ctx),
    ?assertEqual(1, Parked(Now)),
    {ok, Again} = warp_context:of_handle(Now),
    ok = warp_subscription_names:erase(Again, {<<"alice">>, 0, 5, none}, infinity),
    ?assertEqual(0, Parked(Now)).

%% ------------------------------------------------------------------ Names

names_without_a_consumer_are_shown(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    ok = warp_subscription:unsubscribe(subscribe(Ctx, #{})),
    fill(Ctx, 10),
    Shown = #{name => ?NAME, pid => none, subscriber => none, of_entity => none, state => no_consumer, why => none,
              behind_positions => 10, retrying => 0, parked => 0},
    ?assertMatch([Shown], [maps:without([since, behind_seconds], S) || S <- subscriptions(Ctx)]),
    Now = warp_test:restart(Ctx),
    ?assertMatch([Shown], [maps:without([since, behind_seconds], S) || S <- subscriptions(Now)]),
    Sub = subscribe(Now, #{}),
    [#{state := State, behind_positions := 10, name := ?NAME}] =
        [S || #{subscriber := P} = S <- subscriptions(Now), P =:= self()],
    ?assert(lists:member(State, [catching_up, live, waiting_for_credit])),
    ack(Sub, events(Sub, 10)),
    %% One that is live, and does not acknowledge what it got.
    fill(Now, 3),
    More = events(Sub, 3),
    Self = self(),
    Behind = fun() ->
        [{S, B} || #{subscriber := P, state := S, behind_positions := B} <- subscriptions(Now), P =:= Self]
    end,
    ok = warp_test:wait_until(fun() -> Behind() =:= [{live, 3}] end),
    ack(Sub, More),
    ok = warp_test:wait_until(fun() -> Behind() =:= [{live, 0}] end),
    %% One that has left has acknowledged that.
    ok = warp_subscription:unsubscribe(Sub),
    ok = warp_test:wait_until(fun() ->
        [{no_consumer, 0}] =:= [{S, B} || #{state := S, behind_positions := B} <- subscriptions(Now)]
    end),
    %% Events of others leave nobody behind.
    Entity = fun(Id) -> warp_core:entity(Now, Id) end,
    [Of, Other | _] = [Entity(<<I>>) || I <- lists:seq($a, $z), warp_core:shard_of(Entity(<<I>>)) =:= {ok, 0}],
    {ok, One} = warp_subscription:subscribe(Of, #{}),
    receive {warp_subscription, One, {caught_up, _}} -> ok after 5000 -> error(not_caught_up) end,
    [{ok, _} = warp_core:append(Other, incremented()) || _ <- lists:seq(1, 20)],
    timer:sleep(1200),
    ?assertEqual([{live, 0}], Behind()).

a_name_is_forgotten(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    All = fill(Ctx, 10),
    Sub = subscribe(Ctx, #{from => beginning}),
    ack(Sub, events(Sub, 10)),
    ?assertMatch({error, {in_use, _}}, warp_subscription:forget(Ctx, ?NAME)),
    ok = warp_subscription:unsubscribe(Sub),
    ok = warp_subscription:forget(Ctx, ?NAME),
    ?assertEqual([], subscriptions(Ctx)),
    ?assertEqual({error, unknown_subscription}, warp_subscription:forget(Ctx, ?NAME)),
    %% Also right after its subscription was ended, whose process takes a while to end.
    [begin
         Brief = subscribe(Ctx, #{}),
         [#{pid := Pid}] = subscriptions(Ctx),
         Self = self(),
         Watcher = spawn(fun() ->
             [erlang:monitor(process, Pid) || _ <- lists:seq(1, 20000)],
             Self ! watched,
             receive stop -> ok end
         end),
         receive watched -> ok end,
         ok = warp_subscription:unsubscribe(Brief),
         ?assertEqual({N, ok}, {N, warp_subscription:forget(Ctx, ?NAME)}),
         exit(Watcher, kill)
     end || N <- lists:seq(1, 20)],
    Now = warp_test:restart(Ctx),
    ?assertEqual([], subscriptions(Now)),
    ?assertEqual(lists:sort(All), lists:sort(events(subscribe(Now, #{from => beginning}), 10))).

it_outlives_what_keeps_the_names(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    All = fill(Ctx, 20),
    Sub = subscribe(Ctx, #{from => beginning, credit => 10}),
    First = events(Sub, 10),
    ack(Sub, First),
    {ok, _} = warp_subscription:cursor(Sub),
    Monitor = warp_subscription:monitor_of(Sub),
    [Pid] = [P || {subscription_names, P} <- warp_test:processes(Ctx)],
    true = exit(Pid, kill),
    receive {'DOWN', Monitor, process, _, _} -> ok after 5000 -> error(not_ended) end,
    ok = warp_test:wait_until(fun() -> [] =/= subscriptions(Ctx) end),
    Again = subscribe(Ctx, #{}),
    ?assertEqual(lists:sort(All), lists:sort(First ++ lists:filter(fun(E) -> not lists:member(E, First) end,
                                                                   until_caught_up(Again)))).

a_file_that_cannot_be_read_is_named(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    ok = warp_subscription:unsubscribe(subscribe(Ctx, #{})),
    File = filename:join(warp_test:context_dir(Ctx), "subscriptions.db"),
    ok = warp_test:stop(Ctx),
    {ok, Whole} = file:read_file(File),
    ok = file:write_file(File, <<"no database">>),
    Now = warp_test:start(Config, #{shards => 1}),
    ?assertMatch({error, {io_error, <<"the names of subscriptions cannot be opened: ", _/binary>>}},
                 warp_subscription:subscribe(Now, #{name => ?NAME})),
    %% A context with subscribers says so at its start.
    ok = warp_test:stop(Now),
    Subscriber = warp_test_subscriber:new(?NAME, #{}),
    ?assertMatch({error, {io_error, _}},
                 warp_test:try_start((warp_test:opts(Config))#{shards => 1, subscribers => [Subscriber]})),
    Then = warp_test:start(Config, #{shards => 1}),
    %% Whoever asks, it is tried again once a second.
    {ok, Context} = warp_context:of_handle(Then),
    {ok, Keeper} = warp_context:registered(Context, subscription_names),
    [{error, _} = warp_subscription:subscribe(Then, #{name => ?NAME}) || _ <- lists:seq(1, 20)],
    1 = erlang:trace(Keeper, true, ['receive']),
    timer:sleep(1500),
    1 = erlang:trace(Keeper, false, ['receive']),
    Opens = fun Count(N) -> receive {trace, Keeper, 'receive', open} -> Count(N + 1) after 0 -> N end end,
    ?assert(lists:member(Opens(0), [1, 2])),
    %% Only names need the file.
    {ok, _} = warp_subscription:subscribe(Then, #{}),
    ok = file:write_file(File, Whole),
    _ = subscribe(Then, #{}),
    ok.

a_log_that_was_replaced_is_named(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    fill(Ctx, 10),
    Sub = subscribe(Ctx, #{from => beginning}),
    ack(Sub, events(Sub, 10)),
    File = filename:join(warp_test:context_dir(Ctx), "subscriptions.db"),
    ok = warp_test:stop(Ctx),
    {ok, Ahead} = file:read_file(File),
    Other = warp_test:start(Config, #{context => <<"other">>, shards => 1}),
    ok = file:write_file(filename:join(warp_test:context_dir(Other), "subscriptions.db"), Ahead),
    ?assertEqual({error, {bad_cursor, {ahead_of_log, 0}}},
                 warp_subscription:subscribe(warp_test:restart(Other), #{name => ?NAME})).

wrong_arguments_are_named(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Wrong = fun(Options) -> {error, Why} = warp_subscription:subscribe(Ctx, Options), Why end,
    ?assertEqual({bad_option, name, empty}, Wrong(#{name => <<>>})),
    ?assertEqual({bad_option, name, not_a_binary}, Wrong(#{name => mail})),
    ?assertEqual({bad_option, name, {too_long, 201, 200}}, Wrong(#{name => binary:copy(<<"x">>, 201)})),
    ?assertEqual({bad_option, consumers, {not_an_integer_between, 1, 2}}, Wrong(#{name => ?NAME, consumers => 3})),
    ?assertEqual({error, {unknown_option, name}},
                 warp_subscription:subscribe(warp_core:entity(Ctx, <<"alice">>), #{name => ?NAME})),
    [?assertEqual({error, unknown_subscription}, Answer)
     || Answer <- [warp_subscription:parked(Ctx, ?NAME), warp_subscription:retry(Ctx, ?NAME, <<"alice">>),
                   warp_subscription:skip(Ctx, ?NAME, <<"alice">>), warp_subscription:forget(Ctx, ?NAME)]],
    _ = subscribe(Ctx, #{}),
    ?assertEqual({error, not_waiting}, warp_subscription:retry(Ctx, ?NAME, <<"alice">>)),
    ok = warp_test:stop(Ctx),
    ?assertEqual({error, context_stopped}, warp_subscription:parked(Ctx, ?NAME)).

%% ------------------------------------------------------------------ Helpers

subscribe(Ctx, Options) ->
    {ok, Sub} = warp_subscription:subscribe(Ctx, Options#{name => ?NAME}),
    Sub.

active(Sub) ->
    receive {warp_subscription, Sub, {active, Shards}} -> Shards after 5000 -> error(not_active) end.

%% The next events: exactly so many.
events(_Sub, 0) ->
    [];
events(Sub, Count) ->
    receive
        {warp_subscription, Sub, {events, Events}} ->
            ?assert(length(Events) =< Count),
            Events ++ events(Sub, Count - length(Events))
    after 10000 ->
        error({missing, Count})
    end.

until_caught_up(Sub) ->
    receive
        {warp_subscription, Sub, {events, Events}} -> ack(Sub, Events), Events ++ until_caught_up(Sub);
        {warp_subscription, Sub, {caught_up, _}} -> []
    after 10000 ->
        error(not_caught_up)
    end.

silent(Sub) ->
    receive {warp_subscription, Sub, {events, Events}} -> error({not_expected, Events}) after 100 -> ok end.

erased(Sub) ->
    receive {warp_subscription, Sub, {erased, Id}} -> Id after 5000 -> error(not_told) end.

erased(Sub, Id) ->
    receive {warp_subscription, Sub, {erased, Id}} -> ok after 5000 -> error({not_told, Id}) end.

ack(Sub, Events) -> [ok = warp_subscription:ack(Sub, Event) || Event <- Events].
ack(Sub, Events, Then) -> ack(Sub, Events), Then.

%% What a process got first that subscribes, and does that with it.
consumer(Ctx, Options, Fun) ->
    Self = self(),
    {Pid, Monitor} = spawn_monitor(fun() ->
        Sub = subscribe(Ctx, Options),
        receive
            {warp_subscription, Sub, {events, Events}} ->
                Self ! {taken, self(), Events},
                Fun(Sub, Events)
        end
    end),
    receive {'DOWN', Monitor, process, Pid, _} -> receive {taken, Pid, Events} -> Events end end.

subscriptions(Ctx) -> maps:get(subscriptions, warp_core:stats(Ctx)).

%% Appends so many events to some entities. Gives all events that there are.
fill(Ctx, Count) ->
    [{ok, _} = warp_core:append(warp_core:entity(Ctx, integer_to_binary(I rem 7)), incremented())
     || I <- lists:seq(1, Count)],
    {ok, #{events := All}} = warp_core:events(Ctx, #{limit => 10000}),
    All.
