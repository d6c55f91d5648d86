%% Decisions with messages, casts, and the entity's process as others see it.
-module(warp_decide_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_group/2, end_per_group/2,
         init_per_testcase/2, end_per_testcase/2]).
-export([messages_are_sent_in_order_and_before_the_answer/1,
         who_is_answered_late_is_stored_once/1,
         a_failed_commit_sends_nothing/1,
         without_events_messages_wait_for_what_was_before/1,
         what_is_refused_sends_nothing/1,
         a_repeated_decision_sends_its_messages_again/1,
         a_repeated_decision_that_would_be_refused_now_was_carried_out/1,
         messages_that_are_none_are_refused/1,
         decide_waits_as_long_as_it_is_told/1,
         casts_are_carried_out_in_order/1,
         casts_keep_their_order_while_the_process_comes_and_goes/1,
         an_entity_casts_to_itself/1,
         a_cast_that_fails_is_logged/1,
         a_cast_to_what_is_not_there_says_so/1,
         a_cast_is_turned_away_when_too_many_wait/1,
         the_process_can_be_monitored_and_looked_into/1,
         bad_arguments_are_named/1]).
%% logger handler
-export([log/2]).

-import(warp_test, [credited/1, debited/1, noted/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> warp_test:both_modes().

groups() ->
    warp_test:both_modes(
      [messages_are_sent_in_order_and_before_the_answer,
       who_is_answered_late_is_stored_once,
       a_failed_commit_sends_nothing,
       without_events_messages_wait_for_what_was_before,
       what_is_refused_sends_nothing,
       a_repeated_decision_sends_its_messages_again,
       a_repeated_decision_that_would_be_refused_now_was_carried_out,
       messages_that_are_none_are_refused,
       decide_waits_as_long_as_it_is_told,
       casts_are_carried_out_in_order,
       casts_keep_their_order_while_the_process_comes_and_goes,
       an_entity_casts_to_itself,
       a_cast_that_fails_is_logged,
       a_cast_to_what_is_not_there_says_so,
       a_cast_is_turned_away_when_too_many_wait,
       the_process_can_be_monitored_and_looked_into,
       bad_arguments_are_named]).

init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_Mode, _Config) -> ok.

init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

alice(Ctx) -> warp_core:entity(Ctx, <<"alice">>).

messages_are_sent_in_order_and_before_the_answer(Config) ->
    Alice = alice(warp_test:start(Config)),
    Me = self(),
    Fun = fun(0) -> {ok, [credited(5), credited(6)], [{Me, first}, {Me, {second, 11}}]} end,
    ?assertEqual({ok, [1, 2]}, warp_core:decide(Alice, <<"Account">>, Fun)),
    ?assertEqual([first, {second, 11}], flushed()).

%% The owner of the journal is held up after it noted that the events are stored, and before it answers. The process of
%% the entity would leave memory meanwhile, and the caller takes that for a process that has not got the request.
who_is_answered_late_is_stored_once(Config) ->
    Ctx = warp_test:start(Config, #{idle_timeout => 50}),
    [Owner] = [Pid || {journal, Pid} <- warp_test:processes(Ctx)],
    Alice = alice(Ctx),
    %% The first append of an entity is answered by the process itself.
    {ok, 1} = warp_core:append(Alice, credited(1)),
    Me = self(),
    Nobody = spawn(fun() -> ok end),
    Messages = [{Me, answering} | lists:duplicate(300000, {Nobody, none})],
    _ = spawn_link(fun() ->
        Me ! {answer, warp_core:decide(Alice, <<"Account">>, fun(_) -> {ok, [credited(2)], Messages} end)}
    end),
    receive answering -> ok after 10000 -> error(no_message) end,
    true = erlang:suspend_process(Owner),
    timer:sleep(500),
    true = erlang:resume_process(Owner),
    ?assertEqual({ok, [2]}, receive {answer, Answer} -> Answer after 10000 -> no_answer end),
    ?assertEqual([1, 2], [Seq || #{seq := Seq} <- warp_test:history(Alice)]),
    %% And it leaves memory afterwards.
    warp_test:wait_until(fun() -> warp_entity_registry:lookup(Alice) =:= none end).

a_failed_commit_sends_nothing(Config) ->
    Vm = warp_fault_vm:start(#{nif => fault}),
    Opts = warp_test:opts(Config),
    warp_fault_vm:run(Vm, fun() ->
        ok = warp_fault_vm:open(Opts),
        Alice = warp_fault_vm:entity(<<"alice">>),
        Me = self(),
        Decide = fun(Message) ->
            warp_core:decide(Alice, <<"Account">>, fun(_) -> {ok, [credited(1)], [{Me, Message}]} end)
        end,
        ?assertEqual({ok, [1]}, Decide(before)),
        warp_fault_vm:fault({fsync_fails, 1}),
        ?assertMatch({error, {io_error, _}}, Decide(failed)),
        warp_fault_vm:fault(off),
        ?assertEqual({ok, [2]}, Decide(healed)),
        ?assertEqual([before, healed], flushed())
    end),
    warp_fault_vm:stop(Vm).

%% The message about what a decision saw must not overtake what it saw.
without_events_messages_wait_for_what_was_before(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Alice = alice(Ctx),
    Me = self(),
    [begin
         ok = warp_core:cast(Alice, <<"Account">>, fun(_) -> {ok, [credited(1)]} end),
         ok = warp_core:cast(Alice, <<"Account">>, fun(Sum) -> {ok, [], [{Me, {sum, Sum}}]} end),
         receive {sum, Sum} -> ?assertEqual(N, Sum) end,
         %% What is exported is stored.
         {ok, Events} = warp_core:export(Alice),
         ?assertEqual(N, length(Events))
     end || N <- lists:seq(1, 10)].

what_is_refused_sends_nothing(Config) ->
    Alice = alice(warp_test:start(Config)),
    Me = self(),
    Decide = fun(Fun) -> warp_core:decide(Alice, <<"Account">>, Fun) end,
    ?assertEqual({error, {rejected, {overdraft, 0, 1}}},
                 Decide(fun(_) -> {ok, [debited(1)], [{Me, stray}]} end)),
    ?assertMatch({error, {bad_event, 1, type, missing}},
                 Decide(fun(_) -> {ok, [#{payload => #{}}], [{Me, stray}]} end)),
    ?assertEqual({error, no}, Decide(fun(_) -> {error, no} end)),
    ?assertEqual([], flushed()),
    warp_test:assert_whole(Alice, 0).

a_repeated_decision_sends_its_messages_again(Config) ->
    Alice = alice(warp_test:start(Config)),
    Me = self(),
    One = (credited(1))#{id => <<"one">>},
    Two = (credited(2))#{id => <<"two">>},
    Decide = fun(Events) ->
        warp_core:decide(Alice, <<"Account">>, fun(_) -> {ok, Events, [{Me, done}]} end)
    end,
    ?assertEqual({ok, [1]}, Decide([One])),
    ?assertEqual({ok, [1]}, Decide([One])),
    ?assertEqual({ok, [1, 2]}, Decide([One, Two])),
    ?assertEqual([done, done, done], flushed()),
    warp_test:assert_whole(Alice, 2).

a_repeated_decision_that_would_be_refused_now_was_carried_out(Config) ->
    Alice = alice(warp_test:start(Config)),
    Me = self(),
    [One, Two] = [(Event)#{id => Id} || {Event, Id} <- [{credited(5), <<"one">>}, {debited(4), <<"two">>}]],
    Decide = fun(Events) ->
        warp_core:decide(Alice, <<"Account">>, fun(_) -> {ok, Events, [{Me, done}]} end)
    end,
    ?assertEqual({ok, [1]}, Decide([One])),
    ?assertEqual({ok, [2]}, Decide([Two])),
    ?assertEqual({ok, [2]}, Decide([Two])),
    ?assertEqual([done, done, done], flushed()),
    %% What is there already is no reason, and counts only once.
    ?assertEqual({ok, [1, 2, 3]}, Decide([One, Two, debited(1)])),
    ?assertEqual({error, {rejected, {overdraft, 0, 3}}}, Decide([One, Two, debited(3)])),
    ?assertEqual({error, {rejected, {overdraft, 0, 3}}}, Decide([(debited(3))#{id => <<"three">>}])),
    ?assertEqual({error, {id_conflict, 1}}, Decide([(debited(9))#{id => <<"one">>}])),
    ?assertEqual([done], flushed()),
    warp_test:assert_whole(Alice, 3).

messages_that_are_none_are_refused(Config) ->
    Alice = alice(warp_test:start(Config)),
    [begin
         Decision = {ok, Events, Messages},
         ?assertEqual({error, {bad_return, decide, Decision}},
                      warp_core:decide(Alice, <<"Account">>, fun(_) -> Decision end))
     end || Events <- [[], [credited(1)]],
            Messages <- [nobody, [nobody], [{a_name, hello}], [{self(), hello} | improper]]],
    warp_test:assert_whole(Alice, 0).

decide_waits_as_long_as_it_is_told(Config) ->
    Alice = alice(warp_test:start(Config)),
    Slow = fun(_) -> timer:sleep(300), {ok, [credited(1)]} end,
    ?assertEqual({error, timeout}, warp_core:decide(Alice, <<"Account">>, Slow, #{timeout => 10})),
    ?assertEqual({ok, [2]}, warp_core:decide(Alice, <<"Account">>, Slow, #{timeout => infinity})).

casts_are_carried_out_in_order(Config) ->
    Alice = alice(warp_test:start(Config)),
    Count = 500,
    [ok = warp_core:cast(Alice, <<"Log">>, fun(_) -> {ok, [noted(integer_to_binary(N))]} end)
     || N <- lists:seq(1, Count)],
    %% A call comes behind them.
    ?assertEqual({ok, [Count + 1]},
                 warp_core:decide(Alice, <<"Log">>, fun(_) -> {ok, [noted(<<"last">>)]} end)),
    Texts = [T || #{payload := #{<<"text">> := T}} <- warp_test:history(Alice)],
    ?assertEqual([integer_to_binary(N) || N <- lists:seq(1, Count)] ++ [<<"last">>], Texts).

casts_keep_their_order_while_the_process_comes_and_goes(Config) ->
    Ctx = warp_test:start(Config, #{idle_timeout => 1}),
    Me = self(),
    Senders = 4,
    Each = 300,
    Leaver = spawn_link(fun() -> send_away(alice(Ctx)) end),
    _ = warp_test:parallel(Senders, fun(Sender) ->
        [begin
             Event = noted(<<(integer_to_binary(Sender))/binary, $/, (integer_to_binary(N))/binary>>),
             ok = warp_core:cast(alice(Ctx), <<"Log">>, fun(_) -> {ok, [Event], [{Me, N}]} end),
             _ = [timer:sleep(1) || N rem 7 =:= 0]
         end || N <- lists:seq(1, Each)]
    end),
    [receive N when is_integer(N) -> ok end || _ <- lists:seq(1, Senders * Each)],
    true = unlink(Leaver),
    true = exit(Leaver, kill),
    Noted = [binary:split(T, <<"/">>) || #{payload := #{<<"text">> := T}} <- warp_test:history(alice(Ctx))],
    [?assertEqual(lists:seq(1, Each),
                  [binary_to_integer(N) || [By, N] <- Noted, By =:= integer_to_binary(Sender)])
     || Sender <- lists:seq(1, Senders)].

send_away(Entity) ->
    case warp_entity_registry:lookup(Entity) of
        {ok, Pid} -> Pid ! passivate, rest_if_busy(process_info(Pid, message_queue_len));
        none -> ok
    end,
    send_away(Entity).

%% A flood of these would keep the process from everything else.
rest_if_busy({message_queue_len, Len}) when Len > 3 -> timer:sleep(1);
rest_if_busy(_) -> erlang:yield().

an_entity_casts_to_itself(Config) ->
    Alice = alice(warp_test:start(Config)),
    Me = self(),
    Second = fun(Sum) -> {ok, [credited(1)], [{Me, {seen, Sum}}]} end,
    First = fun(_) -> ok = warp_core:cast(Alice, <<"Account">>, Second), {ok, [credited(5)]} end,
    ?assertEqual({ok, [1]}, warp_core:decide(Alice, <<"Account">>, First)),
    receive {seen, Sum} -> ?assertEqual(5, Sum) end.

a_cast_that_fails_is_logged(Config) ->
    Alice = alice(warp_test:start(Config)),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => warning, config => self()}),
    try
        ok = warp_core:cast(Alice, <<"Account">>, fun(_) -> {ok, [debited(7)]} end),
        ?assertMatch({match, _}, re:run(logged(), "alice was not carried out: .*overdraft,integer,integer")),
        ok = warp_core:cast(Alice, <<"Account">>, fun(_) -> error(oops) end),
        ?assertMatch({match, _}, re:run(logged(), "alice was not carried out: .*decide_failed.*oops")),
        ?assertEqual({ok, 1}, warp_core:append(Alice, credited(1)))
    after
        logger:remove_handler(?MODULE)
    end.

log(Event, #{config := Pid}) ->
    Text = logger_formatter:format(Event, #{single_line => true}),
    Pid ! {logged, unicode:characters_to_binary(Text)}.

logged() ->
    receive {logged, Text} -> Text end.

a_cast_to_what_is_not_there_says_so(Config) ->
    Ctx = warp_test:start(Config),
    Nothing = fun(_) -> {ok, []} end,
    ?assertEqual({error, {unknown_aggregate, <<"Nope">>}}, warp_core:cast(alice(Ctx), <<"Nope">>, Nothing)),
    Bad = warp_core:entity(Ctx, <<>>),
    ?assertEqual({error, {bad_entity_id, empty}}, warp_core:cast(Bad, <<"Log">>, Nothing)),
    ?assertEqual({error, {bad_entity_id, empty}}, warp_core:pid(Bad)),
    warp_test:stop(Ctx),
    ?assertEqual({error, context_stopped}, warp_core:cast(alice(Ctx), <<"Log">>, Nothing)),
    ?assertEqual({error, context_stopped}, warp_core:pid(alice(Ctx))).

a_cast_is_turned_away_when_too_many_wait(Config) ->
    Alice = alice(warp_test:start(Config, #{max_pending => 10})),
    Me = self(),
    Wait = fun(_) -> Me ! {waiting, self()}, receive go_on -> {ok, [noted(<<"first">>)]} end end,
    ok = warp_core:cast(Alice, <<"Log">>, Wait),
    Pid = receive {waiting, Found} -> Found end,
    Note = fun(_) -> {ok, [noted(<<"more">>)]} end,
    Answers = [warp_core:cast(Alice, <<"Log">>, Note) || _ <- lists:seq(1, 20)],
    ?assertEqual(lists:duplicate(9, ok) ++ lists:duplicate(11, {error, overloaded}), Answers),
    Pid ! go_on,
    ok = warp_test:wait_until(fun() -> warp_test:seqs(Alice) =:= lists:seq(1, 10) end).

the_process_can_be_monitored_and_looked_into(Config) ->
    Alice = alice(warp_test:start(Config)),
    {ok, 1} = warp_core:append(Alice, credited(1)),
    {ok, Pid} = warp_core:pid(Alice),
    Monitor = monitor(process, Pid),
    ok = sys:suspend(Pid),
    ?assertEqual({error, timeout}, warp_core:append(Alice, credited(2), #{timeout => 50})),
    ok = sys:resume(Pid),
    ?assertMatch({status, Pid, {module, gen_server}, _}, sys:get_status(Pid)),
    true = exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, killed} -> ok end,
    {ok, Other} = warp_core:pid(Alice),
    ?assertNotEqual(Pid, Other),
    ?assertEqual({ok, [3]}, warp_core:decide(Alice, <<"Account">>, fun(3) -> {ok, [credited(1)]} end)).

bad_arguments_are_named(Config) ->
    Alice = alice(warp_test:start(Config)),
    Nothing = fun(_) -> {ok, []} end,
    NoFunction = {error, {bad_option, decide, {not_a_function, 1}}},
    ?assertEqual(NoFunction, warp_core:decide(Alice, <<"Log">>, no_function, #{})),
    ?assertEqual(NoFunction, warp_core:cast(Alice, <<"Log">>, fun() -> ok end)),
    ?assertEqual({error, {unknown_option, expected}},
                 warp_core:decide(Alice, <<"Log">>, Nothing, #{expected => 1})),
    ?assertMatch({error, {bad_option, timeout, _}},
                 warp_core:decide(Alice, <<"Log">>, Nothing, #{timeout => soon})).

flushed() ->
    receive Message -> [Message | flushed()]
    after 0 -> []
    end.
