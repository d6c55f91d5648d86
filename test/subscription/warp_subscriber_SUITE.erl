%% Subscribers that Warp runs, of real contexts: retries, what is parked, restarts, and policies.
-module(warp_subscriber_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(warp_test, [credited/1, incremented/0, noted/1]).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [it_handles_everything_and_goes_on_after_a_restart, an_event_that_fails_holds_up_its_entity_alone,
     a_parked_event_waits_until_it_is_retried, a_parked_event_is_skipped, what_waits_outlives_a_restart,
     an_erased_entity_waits_no_more, erasures_are_handled_until_it_works,
     a_new_life_waits_although_the_erasure_is_on_its_way, it_says_why_it_does_not_start,
     it_is_restarted, a_few_wrong_answers_are_failures, words_are_shown_as_they_are, it_stops_when_too_much_waits,
     consumers_split_the_shards, a_subscriber_of_a_users_supervisor, a_policy_acts_once, a_policy_starts_sagas,
     effects_begin_at_a_time, what_waits_has_no_effects_either, a_cursor_of_something_else_is_named,
     a_policy_says_what_failed, tests_wait_for_subscribers, wrong_subscribers_are_named].

init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

-define(NAME, <<"mail">>).

it_handles_everything_and_goes_on_after_a_restart(Config) ->
    Ctx = start(Config, #{}),
    All = fill(Ctx, 100),
    ?assertEqual(lists:sort(All), lists:sort(handled(100))),
    receive caught_up -> ok after 5000 -> error(not_caught_up) end,
    ok = warp_test_context:await_subscribers(Ctx, 5000),
    Now = warp_test:restart(Ctx),
    {ok, _} = warp_core:append(warp_core:entity(Now, <<"x">>), noted(<<"later">>)),
    ?assertMatch([#{type := <<"Noted">>}], handled(1)).

%% ------------------------------------------------------------------ What fails

an_event_that_fails_holds_up_its_entity_alone(Config) ->
    Broken = counters:new(1, []),
    ok = counters:put(Broken, 1, 2),
    Ctx = start(Config, #{event => failing(fun(#{entity := Id, seq := Seq}) ->
        Id =:= <<"1">> andalso Seq =:= 2 andalso counters:get(Broken, 1) > 0 andalso counters:sub(Broken, 1, 1) =:= ok
    end)}),
    All = fill(Ctx, 70),
    Events = handled(70),
    ?assertEqual(lists:sort(All), lists:sort(Events)),
    in_order(Events),
    %% All others were there first.
    {Others, _} = lists:split(61, Events),
    ?assertEqual([#{entity => <<"1">>, seq => 1}], [maps:with([entity, seq], E) || #{entity := <<"1">>} = E <- Others]),
    ok = warp_test_context:await_subscribers(Ctx, 5000),
    ?assertEqual({ok, []}, warp_subscription:parked(Ctx, ?NAME)).

a_parked_event_waits_until_it_is_retried(Config) ->
    Is = atomics:new(1, []),
    Ctx = start(Config, #{event => failing(fun(#{entity := Id}) ->
        Id =:= <<"1">> andalso atomics:get(Is, 1) =:= 0
    end)}),
    All = fill(Ctx, 14),
    ok = await_parked(Ctx, 1),
    ?assertMatch({ok, [#{entity := <<"1">>, seq := 1, tries := 3, state := parked, why := <<"refused">>, shard := _,
                         since := _}]}, warp_subscription:parked(Ctx, ?NAME)),
    ?assertMatch([#{parked := 1, retrying := 0, state := live}], subscriptions(Ctx)),
    ?assertMatch({error, {behind, [?NAME]}}, warp_test_context:await_subscribers(Ctx, 50)),
    %% In vain.
    ok = warp_subscription:retry(Ctx, ?NAME, <<"1">>),
    ok = await_parked(Ctx, 1),
    ok = atomics:put(Is, 1, 1),
    timer:sleep(300),
    Before = handled(12),
    {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"1">>), noted(<<"last">>)),
    ok = warp_subscription:retry(Ctx, ?NAME, <<"1">>),
    After = handled(3),
    ?assertMatch([#{seq := 1}, #{seq := 2}, #{seq := 3, type := <<"Noted">>}], After),
    ?assertEqual(lists:sort(All), lists:sort(Before ++ lists:sublist(After, 2))),
    ok = warp_test_context:await_subscribers(Ctx, 5000).

a_parked_event_is_skipped(Config) ->
    Ctx = start(Config, #{event => failing(fun(#{entity := Id, seq := Seq}) -> Id =:= <<"1">> andalso Seq < 3 end)}),
    All = fill(Ctx, 35),
    ok = await_parked(Ctx, 1),
    ok = warp_subscription:skip(Ctx, ?NAME, <<"1">>),
    ok = warp_test:wait_until(fun() ->
        {ok, Waiting} = warp_subscription:parked(Ctx, ?NAME),
        [2] =:= [Seq || #{seq := Seq, state := parked} <- Waiting]
    end),
    ok = warp_subscription:skip(Ctx, ?NAME, <<"1">>),
    Events = handled(33),
    in_order(Events),
    ?assertEqual(lists:sort([E || #{entity := Id, seq := Seq} = E <- All, not (Id =:= <<"1">> andalso Seq < 3)]),
                 lists:sort(Events)),
    ok = warp_test_context:await_subscribers(Ctx, 5000).

what_waits_outlives_a_restart(Config) ->
    Is = atomics:new(1, []),
    Ctx = start(Config, #{event => failing(fun(#{entity := Id}) ->
        lists:member(Id, [<<"1">>, <<"2">>]) andalso atomics:get(Is, 1) =:= 0
    end)}),
    fill(Ctx, 21),
    ok = await_parked(Ctx, 2),
    First = handled(15),
    Now = warp_test:restart(Ctx),
    ok = await_parked(Now, 2),
    {ok, _} = warp_core:append(warp_core:entity(Now, <<"1">>), noted(<<"while it waits">>)),
    ok = atomics:put(Is, 1, 1),
    ok = warp_subscription:retry(Now, ?NAME, <<"1">>),
    ?assertMatch([#{seq := 1}, #{seq := 2}, #{seq := 3}, #{seq := 4}], handled(4)),
    %% Also while no process is there to be told.
    ok = warp_test:stop(Now),
    Alone = warp_test:start(Config, #{shards => 2, context => <<"test">>}),
    ok = warp_subscription:skip(Alone, ?NAME, <<"2">>),
    ok = warp_test:stop(Alone),
    Again = start(Config, #{}),
    ?assertMatch([#{entity := <<"2">>, seq := 2}, #{seq := 3}], handled(2)),
    ok = warp_test_context:await_subscribers(Again, 5000),
    in_order(First).

an_erased_entity_waits_no_more(Config) ->
    Ctx = start(Config, #{event => failing(fun(#{entity := Id, type := Type}) ->
        Id =:= <<"1">> andalso Type =:= <<"Incremented">>
    end)}),
    fill(Ctx, 14),
    ok = await_parked(Ctx, 1),
    _ = handled(12),
    ok = warp_core:delete(warp_core:entity(Ctx, <<"1">>)),
    receive {erased, <<"1">>} -> ok after 5000 -> error(not_told) end,
    ?assertEqual({ok, []}, warp_subscription:parked(Ctx, ?NAME)),
    %% A new life is handled, and can wait too.
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"1">>), noted(<<"again">>)),
    ?assertMatch([#{seq := 1, type := <<"Noted">>}], handled(1)),
    {ok, 2} = warp_core:append(warp_core:entity(Ctx, <<"1">>), incremented()),
    ok = await_parked(Ctx, 1).

erasures_are_handled_until_it_works(Config) ->
    Fails = counters:new(1, []),
    ok = counters:put(Fails, 1, 3),
    Self = self(),
    Ctx = start(Config, #{erased => fun(Id) ->
        case counters:get(Fails, 1) of
            0 -> Self ! {erased, Id}, ok;
            _ -> counters:sub(Fails, 1, 1), {error, down}
        end
    end}),
    fill(Ctx, 7),
    _ = handled(7),
    ok = warp_core:delete(warp_core:entity(Ctx, <<"1">>)),
    ok = warp_test:wait_until(fun() ->
        [{handle_erased_failed, down}] =:= [Why || #{why := Why, state := stalled} <- subscriptions(Ctx)]
    end),
    receive {erased, <<"1">>} -> ok after 5000 -> error(not_told) end,
    ok = warp_test:wait_until(fun() -> [none] =:= [Why || #{why := Why} <- subscriptions(Ctx)] end),
    %% It was acknowledged.
    ok = warp_test_context:await_subscribers(Ctx, 5000),
    _ = warp_test:restart(Ctx),
    receive {erased, _} -> error(told_again) after 200 -> ok end.

%% The subscription does not know yet that the erasure was taken.
a_new_life_waits_although_the_erasure_is_on_its_way(Config) ->
    Self = self(),
    Ctx = start(Config, #{event => failing(fun(#{type := Type}) -> Type =:= <<"Incremented">> end),
                          erased => fun(_) -> Self ! {erasing, self()}, receive go_on -> ok end end}, #{tries => 1}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, 1} = warp_core:append(Alice, noted(<<"x">>)),
    [_] = handled(1),
    ok = warp_core:delete(Alice),
    Subscriber = receive {erasing, Pid} -> Pid after 5000 -> error(not_told) end,
    {ok, 1} = warp_core:append(Alice, incremented()),
    ok = warp_test:wait_until(fun() -> {message_queue_len, 0} =/= process_info(Subscriber, message_queue_len) end),
    timer:sleep(200),
    [Sub] = [P || #{pid := P} <- subscriptions(Ctx)],
    ok = sys:suspend(Sub),
    Subscriber ! go_on,
    timer:sleep(300),
    ok = sys:resume(Sub),
    ok = await_parked(Ctx, 1).

a_few_wrong_answers_are_failures(Config) ->
    Wrong = atomics:new(1, []),
    Ctx = start(Config, #{event => fun(_) -> case atomics:add_get(Wrong, 1, 1) of
        1 -> error(no_mail); 2 -> throw(x); 3 -> exit(y); 4 -> wrong; _ -> ok
    end end}, #{tries => 4}),
    {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"a">>), incremented()),
    ok = await_parked(Ctx, 1),
    ?assertMatch({ok, [#{why := <<"{bad_return,wrong}">>, tries := 4}]}, warp_subscription:parked(Ctx, ?NAME)).

words_are_shown_as_they_are(Config) ->
    Ctx = start(Config, #{event => fun(#{payload := #{<<"text">> := <<"words">>}}) -> {error, <<"äöü"/utf8>>};
                                      (_) -> {error, <<1, 255>>} end}, #{tries => 1}),
    {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"a">>), noted(<<"words">>)),
    {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"b">>), noted(<<"bytes">>)),
    ok = await_parked(Ctx, 2),
    {ok, Parked} = warp_subscription:parked(Ctx, ?NAME),
    ?assertEqual([<<"<<1,255>>">>, <<"äöü"/utf8>>], lists:sort([Why || #{why := Why} <- Parked])).

it_stops_when_too_much_waits(Config) ->
    Is = atomics:new(1, []),
    Ctx = start(Config, #{event => failing(fun(_) -> atomics:get(Is, 1) =:= 0 end)}, #{tries => 1}),
    [{ok, _} = warp_core:append_batch(warp_core:entity(Ctx, integer_to_binary(I)), [incremented(), incremented()])
     || I <- lists:seq(1, 1100)],
    ok = warp_test:wait_until(fun() ->
        [{stalled, {so_many_entities_wait, 1000}, 1000}]
            =:= [{S, Why, P} || #{state := S, why := Why, parked := P} <- subscriptions(Ctx)]
    end, 60000),
    ok = atomics:put(Is, 1, 1),
    {ok, Parked} = warp_subscription:parked(Ctx, ?NAME),
    [ok = warp_subscription:retry(Ctx, ?NAME, Id) || #{entity := Id} <- Parked],
    Events = handled(2200),
    in_order(Events),
    ok = warp_test_context:await_subscribers(Ctx, 20000),
    ?assertMatch([#{state := live, why := none, parked := 0, retrying := 0}], subscriptions(Ctx)).

%% ------------------------------------------------------------------ Processes

it_says_why_it_does_not_start(Config) ->
    Is = atomics:new(1, []),
    Ctx = start(Config, #{init => fun(_) -> case atomics:get(Is, 1) of 0 -> {error, no_server}; _ -> ok end end}),
    fill(Ctx, 7),
    {ok, _} = warp_subscription:subscribe(Ctx, #{}),
    ok = warp_test:wait_until(fun() -> [{init_failed, no_server}] =:= why_of_why(Ctx) end),
    ok = atomics:put(Is, 1, 1),
    ok = warp_test:wait_until(fun() -> [] =:= why_of_why(Ctx) end),
    {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"a">>), incremented()),
    _ = handled(8).

why_of_why(Ctx) -> [Why || #{why := Why} <- subscriptions(Ctx), Why =/= none].

it_is_restarted(Config) ->
    Ctx = start(Config, #{}),
    fill(Ctx, 10),
    _ = handled(10),
    ok = warp_test_context:await_subscribers(Ctx, 5000),
    [begin
         ok = warp_test:wait_until(fun() -> [] =/= [S || #{subscriber := S} <- subscriptions(Ctx), is_pid(S)] end),
         [Pid] = [case Whom of subscriber -> S; subscription -> P end
                  || #{subscriber := S, pid := P} <- subscriptions(Ctx), is_pid(S)],
         true = exit(Pid, kill),
         {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"a">>), noted(atom_to_binary(Whom))),
         ?assertMatch([#{type := <<"Noted">>}], handled(1)),
         ok = warp_test_context:await_subscribers(Ctx, 5000)
     end || Whom <- [subscriber, subscription, subscriber, subscription]],
    %% Shards that are restarted.
    [true = exit(Pid, kill) || {owner, Pid} <- warp_test:processes(Ctx)],
    ok = warp_test:wait_until(fun() ->
        ok =:= element(1, warp_core:append(warp_core:entity(Ctx, <<"b">>), noted(<<"x">>)))
    end),
    receive {event, #{entity := <<"b">>}} -> ok after 10000 -> error(not_handled) end.

consumers_split_the_shards(Config) ->
    Self = self(),
    Ctx = start(Config, #{event => fun(Event) -> Self ! {event, Event#{by => self()}}, ok end}, #{consumers => 3}),
    All = fill(Ctx, 70),
    Events = handled(70),
    ?assertEqual(lists:sort(All), lists:sort([maps:remove(by, E) || E <- Events])),
    %% There are two shards.
    ?assertEqual(2, length(lists:usort([{N, By} || #{shard := N, by := By} <- Events]))),
    ?assertEqual(2, length(lists:usort([By || #{by := By} <- Events]))),
    ?assertMatch([_, _], subscriptions(Ctx)).

a_subscriber_of_a_users_supervisor(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Subscriber = warp_test_subscriber:new(?NAME, warp_test_subscriber:reporting(self())),
    {ok, Supervisor} = supervisor:start_link(?MODULE, [warp_subscriber:child_spec({Ctx, Subscriber})]),
    [{{warp_subscriber, ?NAME}, Pid, worker, _}] = supervisor:which_children(Supervisor),
    All = fill(Ctx, 14),
    ?assertEqual(lists:sort(All), lists:sort(handled(14))),
    ok = warp_test_context:await_subscribers(Ctx, 5000),
    true = exit(Pid, kill),
    {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"a">>), noted(<<"x">>)),
    ?assertMatch([#{type := <<"Noted">>}], handled(1)),
    %% It goes on when the tables of the context are others.
    [true = exit(Keeper, kill) || {keeper, Keeper} <- warp_test:processes(Ctx)],
    ok = warp_test:wait_until(fun() ->
        ok =:= element(1, warp_core:append(warp_core:entity(Ctx, <<"a">>), (noted(<<"y">>))#{id => <<"y">>}))
    end),
    receive {event, #{id := <<"y">>}} -> ok after 10000 -> error(not_handled) end,
    %% It ends with its context, and is not restarted then.
    ok = warp_test:stop(Ctx),
    ok = warp_test:wait_until(fun() ->
        [undefined] =:= [P || {_, P, _, _} <- supervisor:which_children(Supervisor)]
    end),
    ?assertEqual({error, context_stopped}, warp_subscriber:start_link(Ctx, Subscriber)),
    ?assertEqual({error, {bad_option, subscriber, {not_a_subscriber, x}}}, warp_subscriber:start_link(Ctx, x)),
    ?assertError({not_a_subscriber, x}, warp_subscriber:child_spec({Ctx, x})).

init(Children) -> {ok, {#{strategy => one_for_one, intensity => 3, period => 1}, Children}}.

%% ------------------------------------------------------------------ Policies

a_policy_acts_once(Config) ->
    React = fun(#{entity := Id, payload := #{<<"amount">> := Amount}}) ->
        [{append, <<"audit/", Id/binary>>, [noted(Id), noted(<<"twice">>)]}, {append, <<"sum">>, credited(Amount)}]
    end,
    Filter = #{prefix => <<"acc/">>, types => [<<"Credited">>]},
    Policy = warp_subscription:policy(<<"audit">>, Filter, React),
    Ctx = warp_test:start(Config, #{shards => 3, subscribers => [Policy]}),
    [{ok, _} = warp_core:append(warp_core:entity(Ctx, <<"acc/", (integer_to_binary(I rem 5))/binary>>), credited(1))
     || I <- lists:seq(1, 100)],
    ok = warp_test_context:await_subscribers(Ctx, 10000),
    Right = fun(At) ->
        ?assertEqual({ok, 100}, warp_core:get(warp_core:entity(At, <<"sum">>), <<"Account">>)),
        {ok, Audit} = warp_core:history(warp_core:entity(At, <<"audit/acc/1">>)),
        ?assertEqual(40, length(Audit))
    end,
    Right(Ctx),
    %% From the beginning again, and with a kill at any time.
    ok = warp_test:stop(Ctx),
    Plain = warp_test:start(Config, #{shards => 3}),
    ok = warp_subscription:forget(Plain, <<"audit">>),
    ok = warp_test:stop(Plain),
    Again = warp_subscription:policy(<<"audit">>, Filter#{from => beginning}, React),
    Now = warp_test:start(Config, #{shards => 3, subscribers => [Again]}),
    [begin
         _ = [exit(Pid, kill) || #{subscriber := Pid} <- subscriptions(Now), is_pid(Pid)],
         timer:sleep(20)
     end || _ <- lists:seq(1, 5)],
    ok = warp_test_context:await_subscribers(Now, 20000),
    Right(Now).

a_policy_starts_sagas(Config) ->
    React = fun(#{entity := Id, seq := Seq}, Ctx) ->
        {ok, 0} = warp_core:get(warp_core:entity(Ctx, <<"nobody">>), <<"Account">>),
        Saga = warp_saga:new(<<"bonus/", Id/binary, "/", (integer_to_binary(Seq))/binary>>),
        [{saga, warp_saga:step(Saga, #{entity => <<"bonus">>, aggregate => <<"Account">>,
                                       forward => action(<<"Credited">>), compensate => action(<<"Debited">>)})}]
    end,
    Policy = warp_subscription:policy(<<"bonus">>, #{prefix => <<"user/">>}, React),
    Ctx = warp_test:start(Config, #{shards => 2, subscribers => [Policy]}),
    [{ok, _} = warp_core:append(warp_core:entity(Ctx, <<"user/1">>), incremented()) || _ <- lists:seq(1, 5)],
    ok = warp_test_context:await_subscribers(Ctx, 10000),
    ?assertEqual({ok, 35}, warp_core:get(warp_core:entity(Ctx, <<"bonus">>), <<"Account">>)).

action(Type) -> #{type => Type, payload => #{amount => 7}}.

effects_begin_at_a_time(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    User = fun(At) -> warp_core:entity(At, <<"user/1">>) end,
    [{ok, _} = warp_core:append(User(Ctx), incremented()) || _ <- lists:seq(1, 5)],
    timer:sleep(5),
    Time = os:system_time(microsecond),
    timer:sleep(5),
    [{ok, _} = warp_core:append(User(Ctx), incremented()) || _ <- lists:seq(1, 3)],
    %% Also behind a cursor, within a batch.
    {ok, {9, 12}} = warp_core:append_batch(User(Ctx), lists:duplicate(4, incremented())),
    {ok, Sub} = warp_subscription:subscribe(Ctx, #{from => beginning}),
    Events = receive {warp_subscription, Sub, {events, [_, _, _, _, _, _, _, _, _, _, _, _] = All}} -> All end,
    ok = warp_subscription:ack(Sub, lists:nth(10, Events)),
    {ok, Cursor} = warp_subscription:cursor(Sub),
    Policy = fun(Name, From) ->
        warp_subscription:policy(Name, #{prefix => <<"user/">>, from => beginning, effects_from => From},
                                 fun(#{seq := Seq}) -> [{append, <<"of/", Name/binary>>, credited(Seq)}] end)
    end,
    Subscriber = warp_test_subscriber:new(?NAME, warp_test_subscriber:reporting(self()),
                                          #{prefix => <<"user/">>, effects_from => {cursor, Cursor}}),
    Now = warp_test:restart(Ctx, #{subscribers => [Policy(<<"a">>, {time, Time}), Policy(<<"b">>, {cursor, Cursor}),
                                                   Subscriber]}),
    ?assertMatch([#{seq := 11}, #{seq := 12}], handled(2)),
    ok = warp_test_context:await_subscribers(Now, 10000),
    [?assertEqual({Id, {ok, lists:sum(Seqs)}}, {Id, warp_core:get(warp_core:entity(Now, Id), <<"Account">>)})
     || {Id, Seqs} <- [{<<"of/a">>, lists:seq(6, 12)}, {<<"of/b">>, [11, 12]}]].

what_waits_has_no_effects_either(Config) ->
    Ctx = start(Config, #{event => failing(fun(#{seq := Seq}) -> Seq =:= 2 end)}, #{tries => 1}),
    [{ok, _} = warp_core:append(warp_core:entity(Ctx, <<"a">>), incremented()) || _ <- lists:seq(1, 3)],
    ?assertMatch([#{seq := 1}], handled(1)),
    ok = await_parked(Ctx, 1),
    timer:sleep(5),
    Time = os:system_time(microsecond),
    timer:sleep(5),
    {ok, 4} = warp_core:append(warp_core:entity(Ctx, <<"a">>), incremented()),
    Later = warp_test_subscriber:new(?NAME, warp_test_subscriber:reporting(self()), #{effects_from => {time, Time}}),
    Now = warp_test:restart(Ctx, #{subscribers => [Later]}),
    ok = warp_subscription:retry(Now, ?NAME, <<"a">>),
    ?assertMatch([#{seq := 4}], handled(1)),
    ok = warp_test_context:await_subscribers(Now, 5000).

a_cursor_of_something_else_is_named(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    {ok, Sub} = warp_subscription:subscribe(warp_core:entity(Ctx, <<"a">>), #{}),
    {ok, OfAnEntity} = warp_subscription:cursor(Sub),
    Subscriber = warp_test_subscriber:new(?NAME, warp_test_subscriber:reporting(self()),
                                          #{effects_from => {cursor, OfAnEntity}}),
    {ok, Pid} = warp_subscriber:start_link(Ctx, Subscriber),
    ok = warp_test:wait_until(fun() -> [{Pid, {?NAME, {bad_cursor, of_an_entity}}}] =:= why(Ctx) end),
    %% It ends with the context, and so would whoever is linked to it.
    true = unlink(Pid),
    ok = warp_test:stop(Ctx),
    ?assertEqual({error, {bad_cursor, of_an_entity}},
                 warp_test:try_start((warp_test:opts(Config))#{shards => 2, subscribers => [Subscriber]})).

why(Ctx) ->
    {ok, Context} = warp_context:of_handle(Ctx),
    [{Pid, {Name, Why}} || {Pid, {Name, Why, _}} <- warp_subscription_table:why(Context)].

a_policy_says_what_failed(Config) ->
    Commands = [{append, <<"x">>, incremented()}, {append, <<"x">>, #{type => <<"Credited">>, payload => #{}}}],
    Answers = [{<<"{command_failed,2,{bad_event,1,aggregate,required}}">>, Commands},
               {<<"{bad_command,wrong}">>, [wrong]},
               {<<"{bad_command,{append,<<\"x\">>,[]}}">>, [{append, <<"x">>, []}]},
               {<<"{bad_command,nothing}">>, nothing}, {<<"not_now">>, {error, not_now}}],
    [begin
         Name = integer_to_binary(I),
         Policy = warp_subscription:policy(Name, #{prefix => <<"user/">>, tries => 1}, fun(_) -> Given end),
         Ctx = warp_test:start(Config, #{context => Name, subscribers => [Policy]}),
         {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"user/1">>), incremented()),
         ok = await_parked(Ctx, Name, 1),
         {ok, [#{why := Why}]} = warp_subscription:parked(Ctx, Name),
         ?assertMatch({I, {0, _}}, {I, binary:match(Why, Begin)}),
         [?assertEqual({error, {bad_option, Key, Wrong}}, warp_subscription:transaction(Ctx, Of, Event, []))
          || {Key, Wrong, Of, Event} <- [{name, not_utf8, <<255>>, #{shard => 0, position => 1, seq => 1}},
                                         {event, not_a_placed_event, Name, #{seq => 1}}]],
         ok = warp_test:stop(Ctx)
     end || {I, {Begin, Given}} <- lists:zip(lists:seq(1, length(Answers)), Answers)].

%% ------------------------------------------------------------------ Tests of users, and options

tests_wait_for_subscribers(Config) ->
    Ctx = start(Config, #{event => fun(_) -> timer:sleep(20), ok end}),
    ok = warp_test_context:await_subscribers(Ctx, 5000),
    fill(Ctx, 21),
    ?assertEqual({error, {behind, [?NAME]}}, warp_test_context:await_subscribers(Ctx, 0)),
    ok = warp_test_context:await_subscribers(Ctx, infinity),
    ok = warp_test:stop(Ctx),
    ?assertEqual({error, context_stopped}, warp_test_context:await_subscribers(Ctx, 0)).

wrong_subscribers_are_named(Config) ->
    Wrong = fun(Given) ->
        {error, Why} = warp_test:try_start((warp_test:opts(Config))#{subscribers => Given}),
        Why
    end,
    New = fun(Name, Module, Options) -> [warp_subscriber:new(Name, Module, x, Options)] end,
    [?assertEqual({bad_option, subscribers, Why}, Wrong(Given))
     || {Why, Given} <- [{not_a_list, x}, {{not_a_subscriber, x}, [x]},
                         {{<<>>, name, empty}, New(<<>>, warp_test_subscriber, #{})},
                         {{<<"a">>, module, no_such_module}, New(<<"a">>, no_such_module, #{})},
                         {{<<"a">>, module, not_a_module}, New(<<"a">>, <<"b">>, #{})},
                         {{<<"a">>, module, {not_exported, init, 2}}, New(<<"a">>, lists, #{})},
                         {{<<"a">>, policy, {not_a_function, 1, 2}}, [warp_subscription:policy(<<"a">>, #{}, x)]},
                         {{<<"a">>, effects_from, neither_time_nor_cursor},
                          [warp_subscription:policy(<<"a">>, #{effects_from => now}, fun(_) -> [] end)]},
                         {{<<"a">>, credit, unknown_key}, New(<<"a">>, warp_test_subscriber, #{credit => 1})},
                         {{<<"a">>, tries, {not_an_integer_between, 1, 1000000}},
                          New(<<"a">>, warp_test_subscriber, #{tries => 0})},
                         {{duplicate_name, <<"a">>},
                          lists:append([New(<<"a">>, warp_test_subscriber, #{}) || _ <- [1, 2]])}]].

%% ------------------------------------------------------------------ Helpers

%% A context with a subscriber that reports to the test what it handles.
start(Config, Funs) -> start(Config, Funs, #{}).

start(Config, Funs, Options) ->
    All = maps:merge(warp_test_subscriber:reporting(self()), Funs),
    Subscriber = warp_test_subscriber:new(?NAME, All, maps:merge(#{tries => 3}, Options)),
    warp_test:start(Config, #{shards => 2, subscribers => [Subscriber]}).

%% Handles what is not to fail.
failing(IsFailing) ->
    Self = self(),
    fun(Event) ->
        case IsFailing(Event) of
            true -> {error, refused};
            false -> Self ! {event, Event}, ok
        end
    end.

await_parked(Ctx, Count) -> await_parked(Ctx, ?NAME, Count).

await_parked(Ctx, Name, Count) ->
    warp_test:wait_until(fun() ->
        case warp_subscription:parked(Ctx, Name) of
            {ok, Waiting} -> Count =:= length([x || #{state := parked} <- Waiting]);
            {error, unknown_subscription} -> false
        end
    end).

%% The next events that were handled, and no more of them for a moment.
handled(Count) ->
    Events = [receive {event, Event} -> Event after 10000 -> error({missing, Count, I}) end
              || I <- lists:seq(1, Count)],
    receive {event, More} -> error({not_expected, More}) after 20 -> Events end.

in_order(Events) ->
    _ = lists:foldl(fun(#{entity := Id, seq := Seq}, Last) ->
        ?assert(Seq > maps:get(Id, Last, 0)),
        Last#{Id => Seq}
    end, #{}, Events),
    ok.

subscriptions(Ctx) -> [S || #{name := Name} = S <- maps:get(subscriptions, warp_core:stats(Ctx)), Name =/= none].

fill(Ctx, Count) ->
    [{ok, _} = warp_core:append(warp_core:entity(Ctx, integer_to_binary(I rem 7)), incremented())
     || I <- lists:seq(1, Count)],
    {ok, #{events := All}} = warp_core:events(Ctx, #{limit => 10000}),
    All.
