%% Appends whose callers do not wait: each request has one response, whatever happens meanwhile, in order, and
%% nothing is left over.
-module(warp_request_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(warp_test, [noted/1, noted/2]).

suite() -> [{timetrap, {seconds, 60}}].
all() -> warp_test:both_modes().
groups() -> warp_test:both_modes(cases()).
init_per_suite(Config) -> warp_killer:quiet(Config).
end_per_suite(Config) -> warp_killer:loud(Config).
init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_, _) -> ok.
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

cases() ->
    [a_response_is_what_an_append_gives,
     whatever_is_wrong_is_the_response,
     requests_to_one_entity_keep_their_order,
     requests_and_appends_keep_their_order,
     an_entity_that_leaves_memory_loses_no_request,
     a_process_that_is_leaving_is_waited_for,
     past_a_limit_each_request_is_overloaded,
     events_that_wait_are_limited_by_bytes,
     a_request_that_is_given_up_leaves_no_message,
     a_request_that_is_waited_for_can_still_be_received,
     a_time_can_be_a_point_in_time,
     a_message_is_checked,
     a_collection_is_a_map_of_labels,
     a_collection_gives_responses_as_they_come,
     a_collection_that_is_given_up_leaves_no_message,
     bad_arguments_are_named_and_store_nothing,
     a_killed_entity_interrupts_its_requests_at_once,
     a_killed_entity_interrupts_those_who_check,
     a_killed_watcher_is_replaced,
     a_stopped_context_ends_its_requests,
     an_unavailable_shard_is_named_at_once,
     a_deletion_comes_between_requests,
     an_event_id_makes_a_request_repeatable,
     callers_that_die_leave_nothing,
     a_process_that_does_not_start_is_waited_for_until_the_timeout,
     whatever_happens_each_request_has_one_true_response].

%% ------------------------------------------------------------------ Responses

a_response_is_what_an_append_gives(Config) ->
    Alice = alice(Config),
    One = warp_core:append_request(Alice, noted(<<"a">>)),
    Batch = warp_core:append_batch_request(Alice, [noted(<<"b">>), noted(<<"c">>)]),
    Expecting = warp_core:append_request(Alice, noted(<<"d">>), #{expected => 3}),
    Wrong = warp_core:append_request(Alice, noted(<<"e">>), #{expected => 3}),
    BatchOfOne = warp_core:append_batch_request(Alice, [noted(<<"f">>)], #{expected => 4}),
    ?assertEqual([{ok, 1}, {ok, {2, 3}}, {ok, 4}, {error, {wrong_expected_seq, 4}}, {ok, {5, 5}}],
                 [received(Request) || Request <- [One, Batch, Expecting, Wrong, BatchOfOne]]),
    ?assertEqual([<<"a">>, <<"b">>, <<"c">>, <<"d">>, <<"f">>], texts(Alice)),
    assert_nothing_left().

%% As `append' says it, and never an exception.
whatever_is_wrong_is_the_response(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Bad = [{Alice, #{}, #{}}, {Alice, not_a_map, #{}}, {Alice, (noted(<<"x">>))#{aggregate => <<"None">>}, #{}},
           {Alice, noted(<<"x">>), #{timeout => soon}}, {Alice, noted(<<"x">>), #{wait => 1}},
           {Alice, noted(<<"x">>), none}, {warp_core:entity(Ctx, <<>>), noted(<<"x">>), #{}},
           {not_a_handle, noted(<<"x">>), #{}}, {Alice, warp_test:debited(1), #{}},
           {Alice, noted(<<"x">>), #{expected => 7}}],
    [?assertEqual({Options, warp_core:append(Entity, Event, Options)},
                  {Options, received(warp_core:append_request(Entity, Event, Options))})
     || {Entity, Event, Options} <- Bad],
    ?assertEqual({error, empty_batch}, received(warp_core:append_batch_request(Alice, []))),
    ?assertEqual({error, {batch_too_large, 10001, 10000}},
                 received(warp_core:append_batch_request(Alice, lists:duplicate(10001, noted(<<"x">>))))),
    ?assertEqual({ok, []}, warp_core:history(Alice)),
    assert_nothing_left().

%% ---------------------------------------------------------------------- Order

requests_to_one_entity_keep_their_order(Config) ->
    Alice = alice(Config),
    Requests = [warp_core:append_request(Alice, noted(integer_to_binary(N))) || N <- lists:seq(1, 5000)],
    ?assertEqual([{ok, N} || N <- lists:seq(1, 5000)], [received(Request) || Request <- Requests]),
    ?assertEqual([integer_to_binary(N) || N <- lists:seq(1, 5000)], texts(Alice)),
    assert_nothing_left().

requests_and_appends_keep_their_order(Config) ->
    Alice = alice(Config),
    Of = fun(N) when N rem 7 =:= 0 -> {done, warp_core:append(Alice, noted(N))};
            (N) -> warp_core:append_request(Alice, noted(N))
         end,
    Made = [Of(N) || N <- lists:seq(1, 700)],
    ?assertEqual([{ok, N} || N <- lists:seq(1, 700)],
                 [case Each of {done, Answer} -> Answer; Request -> received(Request) end || Each <- Made]),
    ?assertEqual(lists:seq(1, 700), texts(Alice)).

%% It takes all that is in its mailbox, and a later request finds its successor.
an_entity_that_leaves_memory_loses_no_request(Config) ->
    Alice = alice(Config),
    Leaver = spawn_link(fun() -> leave_again_and_again(Alice) end),
    Requests = lists:append([begin
                                 N rem 10 =:= 0 andalso timer:sleep(1),
                                 [warp_core:append_request(Alice, noted(3 * N + I)) || I <- [1, 2, 3]]
                             end || N <- lists:seq(0, 999)]),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 3000)], [received(Request) || Request <- Requests]),
    stop(Leaver),
    ?assertEqual(lists:seq(1, 3000), texts(Alice)),
    assert_nothing_left().

leave_again_and_again(Entity) ->
    ok = ask_to_leave(Entity),
    leave_again_and_again(Entity).

%% A process that was asked looks through its mailbox, so that it is not asked again at once.
ask_to_leave(Entity) ->
    case warp_entity_registry:lookup(Entity) of
        {ok, Pid} ->
            Monitor = monitor(process, Pid),
            Pid ! passivate,
            receive {'DOWN', Monitor, process, Pid, _} -> ok after 2 -> true = demonitor(Monitor, [flush]), ok end;
        none ->
            timer:sleep(1)
    end.

%% Its counters are closed by then. It ends, or it stays, or that takes too long.
a_process_that_is_leaving_is_waited_for(Config) ->
    Ctx = warp_test:start(Config, #{idle_timeout => infinity}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, 1} = warp_core:append(Alice, noted(1)),
    {Pid, _} = leaving(Ctx),
    ok = sys:suspend(Pid),
    Ends = waiting(Alice, noted(2), #{}),
    exit(Pid, kill),
    ?assertEqual({ok, 2}, answer(Ends)),
    {Other, Again} = leaving(Ctx),
    ok = sys:suspend(Other),
    Stays = waiting(Alice, noted(3), #{}),
    ok = warp_entity_pending:reopen(Again),
    ok = sys:resume(Other),
    ?assertEqual({ok, 3}, answer(Stays)),
    {Other, Again} = leaving(Ctx),
    ok = sys:suspend(Other),
    ?assertEqual({error, timeout}, answer(waiting(Alice, noted(4), #{timeout => 100}))),
    ok = warp_entity_pending:reopen(Again),
    ok = sys:resume(Other),
    %% It was carried out all the same.
    ?assertEqual({ok, 5}, warp_core:append(Alice, noted(5))).

%% The process of alice, as if it had closed its counters.
leaving(Ctx) ->
    {ok, #{registry := Registry}} = warp_context:find(Ctx),
    ok = warp_test:wait_until(fun() -> ets:lookup(Registry, <<"alice">>) =/= [] end),
    [{_, Pid, Pending, _}] = ets:lookup(Registry, <<"alice">>),
    ok = warp_entity_pending:close(Pending),
    {Pid, Pending}.

%% A caller that cannot make its request yet.
waiting(Entity, Event, Options) ->
    Self = self(),
    Pid = spawn_link(fun() ->
        Request = warp_core:append_request(Entity, Event, Options),
        Self ! {made, self()},
        Self ! {self(), received(Request)},
        ok = assert_nothing_left()
    end),
    receive {made, Pid} -> error(made_at_once) after 50 -> Pid end.

answer(Pid) ->
    receive {Pid, Answer} -> Answer end.

%% --------------------------------------------------------------- Backpressure

past_a_limit_each_request_is_overloaded(Config) ->
    {Gate, Alice, _} = gated(Config, #{max_pending => 10}),
    Requests = [warp_core:append_request(Alice, gated_event(N)) || N <- lists:seq(1, 30)],
    {Waiting, Refused} = lists:split(10, Requests),
    ?assertEqual(lists:duplicate(20, {error, overloaded}), [warp_core:receive_response(R, 0) || R <- Refused]),
    ?assertEqual(lists:duplicate(10, timeout), [warp_core:wait_response(R, 0) || R <- Waiting]),
    open(Gate),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 10)], [received(R) || R <- Waiting]),
    ?assertEqual({ok, 11}, received(warp_core:append_request(Alice, gated_event(11)))),
    assert_nothing_left().

events_that_wait_are_limited_by_bytes(Config) ->
    {Gate, Alice, _} = gated(Config, #{}),
    Event = (gated_event(1))#{payload => #{text => binary:copy(<<"x">>, 1000000)}},
    Requests = [warp_core:append_request(Alice, Event) || _ <- lists:seq(1, 100)],
    Refused = [R || R <- Requests, warp_core:wait_response(R, 0) =:= {error, overloaded}],
    ?assert(length(Refused) > 30 andalso length(Refused) < 40),
    open(Gate),
    Stored = [R || R <- Requests -- Refused, {ok, _} <- [received(R)]],
    ?assertEqual(100, length(Refused) + length(Stored)),
    assert_nothing_left().

%% ------------------------------------------------------------------- Patience

a_request_that_is_given_up_leaves_no_message(Config) ->
    {Gate, Alice, _} = gated(Config, #{}),
    Requests = [warp_core:append_request(Alice, gated_event(N)) || N <- lists:seq(1, 20)],
    ?assertEqual(lists:duplicate(20, timeout), [warp_core:receive_response(R, 0) || R <- Requests]),
    ok = assert_nothing_left(),
    open(Gate),
    %% They were carried out all the same.
    ?assertEqual({ok, 21}, warp_core:append(Alice, gated_event(21))),
    %% Those that just arrive while they are given up are dropped too.
    Close = [warp_core:append_request(Alice, gated_event(N)) || N <- lists:seq(1, 2000)],
    Taken = [warp_core:receive_response(R, 0) || R <- Close],
    ct:pal("~b of 2000 had come", [length([ok || {ok, _} <- Taken])]),
    ?assertEqual({ok, 2022}, warp_core:append(Alice, gated_event(22))),
    assert_nothing_left().

a_request_that_is_waited_for_can_still_be_received(Config) ->
    {Gate, Alice, _} = gated(Config, #{}),
    Request = warp_core:append_request(Alice, gated_event(1)),
    {Micros, timeout} = timer:tc(fun() -> warp_core:wait_response(Request, 50) end),
    ?assert(Micros >= 50000),
    open(Gate),
    ?assertEqual({ok, 1}, warp_core:wait_response(Request, infinity)),
    ?assertEqual(timeout, warp_core:receive_response(Request, 0)),
    assert_nothing_left().

a_time_can_be_a_point_in_time(Config) ->
    {Gate, Alice, _} = gated(Config, #{}),
    Request = warp_core:append_request(Alice, gated_event(1)),
    Now = erlang:monotonic_time(millisecond),
    ?assertEqual(timeout, warp_core:wait_response(Request, {abs, Now + 30})),
    ?assert(erlang:monotonic_time(millisecond) >= Now + 30),
    ?assertEqual(timeout, warp_core:wait_response(Request, {abs, Now - 1000000})),
    open(Gate),
    ?assertEqual({ok, 1}, warp_core:receive_response(Request, {abs, Now + 20000})).

a_message_is_checked(Config) ->
    Alice = alice(Config),
    Request = warp_core:append_request(Alice, noted(<<"x">>)),
    Other = warp_core:append_request(Alice, noted(<<"y">>)),
    [?assertEqual(no_reply, warp_core:check_response(Foreign, Request))
     || Foreign <- [hello, {make_ref(), {ok, 1}}, {[alias | make_ref()], {ok, 1}}, {[alias | x], 1},
                    {'DOWN', make_ref(), process, self(), killed}]],
    First = receive A -> A end,
    Second = receive B -> B end,
    ?assertEqual([{ok, 1}, no_reply], [warp_core:check_response(M, Request) || M <- [First, Second]]),
    ?assertEqual([no_reply, {ok, 2}], [warp_core:check_response(M, Other) || M <- [First, Second]]),
    assert_nothing_left().

%% ---------------------------------------------------------------- Collections

a_collection_is_a_map_of_labels(Config) ->
    Alice = alice(Config),
    Empty = warp_core:reqids_new(),
    ?assertEqual({0, []}, {warp_core:reqids_size(Empty), warp_core:reqids_to_list(Empty)}),
    Request = warp_core:append_request(Alice, noted(<<"x">>)),
    One = warp_core:reqids_add(Request, first, Empty),
    ?assertEqual({1, [{Request, first}]}, {warp_core:reqids_size(One), warp_core:reqids_to_list(One)}),
    ?assertError(badarg, warp_core:reqids_add(Request, again, One)),
    [?assertError(badarg, Wrong())
     || Wrong <- [fun() -> warp_core:reqids_add(not_a_request, x, Empty) end,
                  fun() -> warp_core:reqids_add(Request, x, not_a_collection) end,
                  fun() -> warp_core:reqids_size(not_a_collection) end,
                  fun() -> warp_core:reqids_to_list(not_a_collection) end]],
    ?assertEqual(no_request, warp_core:receive_response(Empty, 0, true)),
    ?assertEqual(no_request, warp_core:wait_response(Empty, infinity, false)),
    ?assertEqual(no_request, warp_core:check_response(hello, Empty, true)),
    ?assertEqual({{ok, 1}, first, Empty}, warp_core:receive_response(One, infinity, true)).

a_collection_gives_responses_as_they_come(Config) ->
    {Gate, Alice, Ctx} = gated(Config, #{}),
    Bob = warp_core:entity(Ctx, <<"bob">>),
    Held = warp_core:append_request(Alice, gated_event(1), #{}, held, warp_core:reqids_new()),
    Both = warp_core:append_batch_request(Bob, [noted(1), noted(2)], #{}, free, Held),
    ?assertEqual({{ok, {1, 2}}, free, Held}, warp_core:receive_response(Both, 5000, true)),
    ?assertEqual(timeout, warp_core:wait_response(Held, 10, true)),
    open(Gate),
    %% A collection that keeps its requests.
    ?assertEqual({{ok, 1}, held, Held}, warp_core:wait_response(Held, 5000, false)),
    Checked = warp_core:append_request(Bob, noted(3), #{}, checked, Held),
    ?assertEqual(no_reply, warp_core:check_response(hello, Checked, true)),
    Message = receive M -> M end,
    ?assertEqual({{ok, 3}, checked, Checked}, warp_core:check_response(Message, Checked, false)),
    ?assertEqual({{ok, 3}, checked, Held}, warp_core:check_response(Message, Checked, true)),
    assert_nothing_left().

a_collection_that_is_given_up_leaves_no_message(Config) ->
    {Gate, Alice, Ctx} = gated(Config, #{}),
    Bob = warp_core:entity(Ctx, <<"bob">>),
    Add = fun(N, Requests) ->
        warp_core:append_request(case N rem 2 of 0 -> Alice; 1 -> Bob end, gated_event(N), #{}, N, Requests)
    end,
    Requests = lists:foldl(Add, warp_core:reqids_new(), lists:seq(1, 200)),
    self() ! {another, message},
    ?assertEqual(timeout, warp_core:receive_response(Requests, 0, true)),
    open(Gate),
    [{ok, 101} = warp_core:append(Entity, gated_event(0)) || Entity <- [Alice, Bob]],
    ?assertEqual({messages, [{another, message}]}, process_info(self(), messages)),
    %% Half of them had come.
    Late = lists:foldl(Add, warp_core:reqids_new(), lists:seq(1, 200)),
    {ok, 202} = warp_core:append(Alice, gated_event(0)),
    ok = warp_test:wait_until(fun() -> element(2, process_info(self(), message_queue_len)) =:= 201 end),
    {{ok, _}, _, Rest} = warp_core:receive_response(Late, 0, true),
    _ = [warp_core:receive_response(R, 0) || {R, N} <- warp_core:reqids_to_list(Rest), N < 100],
    Left = lists:foldl(fun({R, N}, Acc) -> warp_core:reqids_add(R, N, Acc) end, warp_core:reqids_new(),
                       [Each || {_, N} = Each <- warp_core:reqids_to_list(Rest), N >= 100]),
    ok = warp_entity_request_abandoned(Left),
    ?assertEqual({messages, [{another, message}]}, process_info(self(), messages)).

%% Gives a collection up whose responses are in the mailbox already: one comes, and nothing is in time for the others.
warp_entity_request_abandoned(Requests) ->
    case warp_core:receive_response(Requests, 0, true) of
        {{ok, _}, _, Rest} -> warp_entity_request_abandoned(Rest);
        no_request -> ok
    end.

bad_arguments_are_named_and_store_nothing(Config) ->
    Alice = alice(Config),
    Request = warp_core:append_request(Alice, noted(<<"x">>)),
    Requests = warp_core:reqids_add(Request, x, warp_core:reqids_new()),
    NotOne = {error, {bad_option, request, not_a_request}},
    [?assertEqual(NotOne, Answer)
     || Answer <- [warp_core:receive_response(x, 0), warp_core:wait_response(x, 0), warp_core:check_response(x, x),
                   warp_core:receive_response(x, 0, true), warp_core:wait_response(x, 0, true),
                   warp_core:check_response(x, x, true)]],
    [?assertMatch({error, {bad_option, timeout, _}}, Answer)
     || Answer <- [warp_core:receive_response(Request, -1), warp_core:wait_response(Request, {abs, x}),
                   warp_core:receive_response(Requests, soon, true),
                   warp_core:wait_response(Requests, 1 bsl 32, true)]],
    [?assertMatch({error, {bad_option, delete, _}}, Answer)
     || Answer <- [warp_core:receive_response(Requests, 0, x), warp_core:wait_response(Requests, 0, x),
                   warp_core:check_response(x, Requests, x)]],
    ?assertError(badarg, warp_core:append_request(Alice, noted(<<"y">>), #{}, label, not_a_collection)),
    ?assertError(badarg, warp_core:append_batch_request(Alice, [noted(<<"y">>)], #{}, label, not_a_collection)),
    ?assertEqual({ok, 1}, received(Request)),
    ?assertEqual([<<"x">>], texts(Alice)).

%% ------------------------------------------------------------------- Failures

a_killed_entity_interrupts_its_requests_at_once(Config) ->
    {Gate, Alice, Ctx} = gated(Config, #{}),
    Bob = warp_core:entity(Ctx, <<"bob">>),
    {ok, 1} = warp_core:append(Bob, noted(1)),
    Requests = [warp_core:append_request(Alice, gated_event(N)) || N <- lists:seq(1, 500)],
    Others = [warp_core:append_request(Bob, noted(N)) || N <- lists:seq(2, 100)],
    killed = warp_test:kill_entity(Alice),
    Start = erlang:monotonic_time(millisecond),
    ?assertEqual([{error, interrupted}], lists:usort([received(R) || R <- Requests])),
    ?assert(erlang:monotonic_time(millisecond) - Start < 100),
    ?assertEqual([{ok, N} || N <- lists:seq(2, 100)], [received(R) || R <- Others]),
    open(Gate),
    %% Its successor takes requests.
    {ok, Seq} = received(warp_core:append_request(Alice, gated_event(0))),
    warp_test:assert_whole(Alice, Seq),
    assert_nothing_left().

%% Those who look at their messages only, and wait without a limit.
a_killed_entity_interrupts_those_who_check(Config) ->
    {_Gate, Alice, _} = gated(Config, #{}),
    Self = self(),
    Pids = [spawn_link(fun() ->
                Add = fun(N, Acc) -> warp_core:append_request(Alice, gated_event(N), #{}, N, Acc) end,
                Requests = lists:foldl(Add, warp_core:reqids_new(), lists:seq(1, 50)),
                Self ! {ready, self()},
                Self ! {self(), checked(Requests, [])}
            end) || _ <- lists:seq(1, 5)],
    _ = [receive {ready, Pid} -> ok end || Pid <- Pids],
    killed = warp_test:kill_entity(Alice),
    Start = erlang:monotonic_time(millisecond),
    [receive {Pid, Answers} -> ?assertEqual([{N, {error, interrupted}} || N <- lists:seq(1, 50)], Answers) end
     || Pid <- Pids],
    ?assert(erlang:monotonic_time(millisecond) - Start < 100).

checked(Requests, Answers) ->
    Message = receive M -> M end,
    case warp_core:check_response(Message, Requests, true) of
        {Answer, Label, Rest} ->
            case warp_core:reqids_size(Rest) of
                0 -> lists:sort([{Label, Answer} | Answers]);
                _ -> checked(Rest, [{Label, Answer} | Answers])
            end
    end.

a_killed_watcher_is_replaced(Config) ->
    {_Gate, Alice, Ctx} = gated(Config, #{}),
    Bob = warp_core:entity(Ctx, <<"bob">>),
    Before = warp_core:append_request(Alice, gated_event(1)),
    First = warp_core:append_request(Bob, gated_event(1)),
    Old = whereis(warp_requests),
    exit(Old, kill),
    %% Also one that is made while there is none.
    Meanwhile = warp_core:append_request(Bob, gated_event(2)),
    ok = warp_test:wait_until(fun() -> is_pid(whereis(warp_requests)) andalso whereis(warp_requests) =/= Old end),
    After = warp_core:append_request(Alice, gated_event(2)),
    ?assertEqual([timeout], lists:usort([warp_core:wait_response(R, 10) || R <- [Before, First, Meanwhile, After]])),
    killed = warp_test:kill_entity(Alice),
    ?assertEqual([{error, interrupted}], lists:usort([warp_core:receive_response(R, 1000) || R <- [Before, After]])),
    killed = warp_test:kill_entity(Bob),
    ?assertEqual([{error, interrupted}],
                 lists:usort([warp_core:receive_response(R, 1000) || R <- [First, Meanwhile]])),
    assert_nothing_left().

a_stopped_context_ends_its_requests(Config) ->
    {_Gate, Alice, Ctx} = gated(Config, #{}),
    Requests = [warp_core:append_request(Alice, gated_event(N)) || N <- lists:seq(1, 100)],
    ok = warp_test:stop(Ctx),
    ?assertEqual([{error, context_stopped}], lists:usort([warp_core:receive_response(R, 1000) || R <- Requests])),
    ?assertEqual({error, context_stopped}, received(warp_core:append_request(Alice, gated_event(1)))),
    assert_nothing_left().

an_unavailable_shard_is_named_at_once(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    {ok, Context} = warp_context:find(Ctx),
    {ok, Handle} = warp_context:shard(Context, 0),
    ok = warp_context:unregister(Context, {shard, 0}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {Micros, Answer} = timer:tc(fun() -> received(warp_core:append_request(Alice, noted(1))) end),
    ?assertEqual({error, {shard_unavailable, 0}}, Answer),
    ?assert(Micros < 500000),
    ok = warp_context:register(Context, {shard, 0}, Handle),
    ?assertEqual({ok, 1}, received(warp_core:append_request(Alice, noted(1)))),
    %% The owner of the file is restarted, with its entities.
    Requests = [warp_core:append_request(Alice, noted(N)) || N <- lists:seq(2, 200)],
    {ok, Owner} = warp_context:registered(Context, {owner, 0}),
    exit(Owner, kill),
    Answers = [warp_core:receive_response(R, 5000) || R <- Requests],
    ?assertEqual([], lists:usort([Why || {error, Why} <- Answers]) -- [interrupted, {shard_unavailable, 0}]),
    ?assertNot(lists:member(timeout, Answers)),
    %% The next ones may meet the restart too.
    ok = warp_test:wait_until(fun() -> element(1, warp_core:append(Alice, noted(<<"next">>))) =:= ok end),
    {ok, Last} = warp_core:append(Alice, noted(<<"last">>)),
    warp_test:assert_whole(Alice, Last),
    assert_nothing_left().

a_deletion_comes_between_requests(Config) ->
    Alice = alice(Config),
    {ok, 1} = warp_core:append(Alice, noted(0)),
    Before = [warp_core:append_request(Alice, noted(N)) || N <- lists:seq(1, 100)],
    Self = self(),
    spawn_link(fun() -> Self ! {deleted, warp_core:delete(Alice)} end),
    During = [begin erlang:yield(), warp_core:append_request(Alice, noted(N)) end || N <- lists:seq(101, 200)],
    receive {deleted, Deleted} -> ?assertEqual(ok, Deleted) end,
    After = [warp_core:append_request(Alice, noted(N)) || N <- lists:seq(201, 300)],
    Seqs = [Seq || R <- Before ++ During ++ After, {ok, Seq} <- [received(R)]],
    ?assertEqual(300, length(Seqs)),
    %% The seqs begin anew once, and what was stored since is what is there.
    {Old, New} = lists:split(length(Seqs) - lists:last(Seqs), Seqs),
    ?assertEqual({lists:seq(2, 1 + length(Old)), lists:seq(1, length(New))}, {Old, New}),
    ?assertEqual(lists:seq(301 - length(New), 300), texts(Alice)),
    assert_nothing_left().

an_event_id_makes_a_request_repeatable(Config) ->
    Alice = alice(Config),
    Requests = [warp_core:append_request(Alice, noted(N, integer_to_binary(N)))
                || _ <- [1, 2, 3], N <- lists:seq(1, 20)],
    ?assertEqual(lists:append(lists:duplicate(3, [{ok, N} || N <- lists:seq(1, 20)])), [received(R) || R <- Requests]),
    warp_test:assert_whole(Alice, 20),
    Conflict = warp_core:append_request(Alice, noted(<<"other">>, <<"3">>)),
    ?assertEqual({error, {id_conflict, 3}}, received(Conflict)).

callers_that_die_leave_nothing(Config) ->
    {Gate, Alice, _} = gated(Config, #{max_pending => 60}),
    Self = self(),
    Pids = [spawn(fun() ->
                _ = [warp_core:append_request(Alice, gated_event(N)) || N <- lists:seq(1, 10)],
                Self ! {ready, self()},
                receive never -> ok end
            end) || _ <- lists:seq(1, 5)],
    _ = [receive {ready, Pid} -> exit(Pid, kill) end || Pid <- Pids],
    Own = warp_core:append_request(Alice, gated_event(1)),
    Callers = fun() -> [C || {_, _, C} <- ets:tab2list(warp_requests), lists:member(C, [Self | Pids])] end,
    ?assertEqual(51, length(Callers())),
    whereis(warp_requests) ! sweep,
    _ = sys:get_status(warp_requests),
    ?assertEqual([Self], Callers()),
    open(Gate),
    ?assertEqual({ok, 51}, received(Own)),
    warp_test:assert_whole(Alice, 51).

a_process_that_does_not_start_is_waited_for_until_the_timeout(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    [Supervisor] = [Pid || {entity_sup, Pid} <- warp_test:processes(Ctx)],
    ok = sys:suspend(Supervisor),
    {Micros, Request} = timer:tc(fun() -> warp_core:append_request(Alice, noted(1), #{timeout => 200}) end),
    ?assert(Micros >= 200000 andalso Micros < 1000000),
    ?assertEqual({error, timeout}, received(Request)),
    ok = sys:resume(Supervisor),
    ?assertEqual({ok, 1}, received(warp_core:append_request(Alice, noted(1), #{timeout => 200}))),
    assert_nothing_left().

%% ------------------------------------------------------------------ All of it

%% Callers make requests, wait, give up and append, while entities are killed and leave memory. What was answered
%% `ok' stands in the log at its seq, once; what was refused does not; and the events of a caller stand in the order
%% of its requests.
whatever_happens_each_request_has_one_true_response(Config) ->
    warp_hostile:seed(),
    Ctx = warp_test:start(Config, #{max_pending => 5}),
    Entities = [warp_core:entity(Ctx, integer_to_binary(N)) || N <- lists:seq(1, 4)],
    Disturber = spawn_link(fun() -> disturb(Entities) end),
    Made = lists:append(warp_test:parallel(6, fun(Caller) -> caller(Caller, Entities, 400) end)),
    stop(Disturber),
    Outcomes = [case Answer of {ok, _} -> ok; {error, Why} -> Why; timeout -> given_up end || {_, _, Answer} <- Made],
    ct:pal("~p", [[{Kind, length([x || Outcome <- Outcomes, Outcome =:= Kind])} || Kind <- lists:usort(Outcomes)]]),
    ?assertEqual([], lists:usort(Outcomes) -- [ok, overloaded, interrupted, given_up]),
    [begin
         Logged = [{Caller, N} || #{payload := #{<<"text">> := [Caller, N]}} <- warp_test:history(Entity)],
         warp_test:assert_whole(Entity, length(Logged)),
         [?assertEqual(Key, lists:nth(Seq, Logged)) || {Key, To, {ok, Seq}} <- Made, To =:= Entity],
         [?assertNot(lists:member(Key, Logged)) || {Key, To, {error, overloaded}} <- Made, To =:= Entity],
         ?assertEqual(length(Logged), length(lists:usort(Logged))),
         [begin
              Own = [N || {C, N} <- Logged, C =:= Caller],
              ?assertEqual(lists:sort(Own), Own)
          end || Caller <- lists:seq(1, 6)]
     end || Entity <- Entities].

caller(Caller, Entities, Count) ->
    _ = rand:seed(exsss, {Caller, erlang:unique_integer(), 1}),
    Done = caller(Caller, Entities, 1, Count, warp_core:reqids_new(), []),
    ok = assert_nothing_left(),
    Done.

caller(Caller, Entities, N, Count, Requests, Done) when N =< Count ->
    case rand:uniform(20) of
        1 ->
            Entity = warp_hostile:one_of(Entities),
            Answer = warp_core:append(Entity, noted([Caller, N])),
            caller(Caller, Entities, N + 1, Count, Requests, [{{Caller, N}, Entity, Answer} | Done]);
        Draw when Draw < 14 ->
            Entity = warp_hostile:one_of(Entities),
            Made = warp_core:append_request(Entity, noted([Caller, N]), #{}, {{Caller, N}, Entity}, Requests),
            caller(Caller, Entities, N + 1, Count, Made, Done);
        14 ->
            timer:sleep(1),
            caller(Caller, Entities, N, Count, Requests, Done);
        15 ->
            Labels = [Label || {_, Label} <- warp_core:reqids_to_list(Requests)],
            case warp_core:receive_response(Requests, 0, true) of
                timeout ->
                    Given = [{Key, Entity, timeout} || {Key, Entity} <- Labels],
                    caller(Caller, Entities, N, Count, warp_core:reqids_new(), Given ++ Done);
                no_request ->
                    caller(Caller, Entities, N, Count, Requests, Done);
                {Answer, {Key, Entity}, Rest} ->
                    caller(Caller, Entities, N, Count, Rest, [{Key, Entity, Answer} | Done])
            end;
        _ ->
            case warp_core:wait_response(Requests, rand:uniform(3), true) of
                {Answer, {Key, Entity}, Rest} ->
                    caller(Caller, Entities, N, Count, Rest, [{Key, Entity, Answer} | Done]);
                Nothing when Nothing =:= timeout; Nothing =:= no_request ->
                    caller(Caller, Entities, N, Count, Requests, Done)
            end
    end;
caller(Caller, Entities, N, Count, Requests, Done) ->
    case warp_core:receive_response(Requests, 10000, true) of
        no_request -> Done;
        {Answer, {Key, Entity}, Rest} -> caller(Caller, Entities, N, Count, Rest, [{Key, Entity, Answer} | Done])
    end.

disturb(Entities) ->
    Entity = warp_hostile:one_of(Entities),
    case rand:uniform(30) of
        1 -> warp_test:kill_entity(Entity);
        _ -> ask_to_leave(Entity)
    end,
    disturb(Entities).

%% -------------------------------------------------------------------- Helpers

alice(Config) ->
    warp_core:entity(warp_test:start(Config), <<"alice">>).

received(Request) ->
    warp_core:receive_response(Request, 10000).

texts(Entity) ->
    [Text || #{payload := #{<<"text">> := Text}} <- warp_test:history(Entity)].

%% No message, and no row for a request of this process.
assert_nothing_left() ->
    ?assertEqual({messages, []}, process_info(self(), messages)),
    ?assertEqual([], [Row || {_, _, Caller} = Row <- ets:tab2list(warp_requests), Caller =:= self()]).

stop(Pid) ->
    true = unlink(Pid),
    exit(Pid, kill).

%% An entity whose appends wait in `validate' until the gate opens.
gated(Config, Options) ->
    Gate = atomics:new(1, []),
    Wait = fun(_, _) -> warp_test:wait_until(fun() -> atomics:get(Gate, 1) =:= 1 end, 50000) end,
    Gated = #{name => <<"Gated">>, initial_state => 0, apply => fun(Count, _) -> Count + 1 end, validate => Wait},
    Ctx = warp_test:start(Config, Options#{aggregates => [Gated | warp_test:aggregates()]}),
    {Gate, warp_core:entity(Ctx, <<"alice">>), Ctx}.

open(Gate) -> atomics:put(Gate, 1, 1).

gated_event(N) -> #{type => <<"T">>, aggregate => <<"Gated">>, payload => #{n => N}}.
