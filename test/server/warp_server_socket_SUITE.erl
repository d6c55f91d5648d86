%% The server by WebSocket: calls, which run side by side, and subscriptions.
-module(warp_server_socket_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [every_operation_is_a_call, appends_of_one_entity_are_carried_out_in_order, answers_come_together,
     appends_that_take_too_long_are_answered, what_is_no_call_closes_the_socket, a_context_may_be_left_out,
     a_subscription_has_credit, a_subscription_goes_on_behind_its_cursor, a_name_keeps_the_place,
     an_erasure_is_told, a_subscription_ends, a_subscription_ends_with_its_scope, subscriptions_are_counted,
     a_crash_is_one_answer, a_slow_reader_costs_no_memory, calls_end_with_their_socket, a_socket_that_sleeps_is_small,
     permissions_of_a_socket].

init_per_suite(Config) -> warp_server_http_SUITE:init_per_suite(Config).
end_per_suite(_) -> ok.
init_per_testcase(_, Config) -> warp_server_http_SUITE:init_per_testcase(any, Config).
end_per_testcase(_, Config) -> warp_server_http_SUITE:end_per_testcase(any, Config).

open(Config) -> open(Config, "admin-token").

open(Config, Token) ->
    {ok, Socket} = warp_websocket:open(warp_server_test:port(?config(server, Config)), Token),
    Socket.

paid(Amount) -> #{type => <<"Paid">>, aggregate => <<"Account">>, payload => #{amount => Amount}}.

call(Socket, Call) ->
    warp_websocket:call(Socket, maps:merge(#{id => erlang:unique_integer([positive]), context => <<"bank">>}, Call)).

every_operation_is_a_call(Config) ->
    Socket = open(Config),
    Call = fun(Op, Args) -> call(Socket, Args#{op => Op}) end,
    Alice = #{entity => <<"alice">>},
    ?assertEqual({ok, #{<<"seq">> => 1}}, Call(append, Alice#{event => paid(5)})),
    ?assertEqual({ok, #{<<"first">> => 2, <<"last">> => 3}}, Call(append_batch, Alice#{events => [paid(1), paid(2)]})),
    ?assertEqual({ok, #{<<"state">> => 8}}, Call(get, Alice#{aggregate => <<"Account">>})),
    ?assertEqual({ok, #{<<"state">> => 6}}, Call(get, Alice#{aggregate => <<"Account">>, seq => 2})),
    {ok, #{<<"events">> := [_, _, _] = Events}} = Call(history, Alice),
    ?assertEqual({ok, #{<<"events">> => Events, <<"next">> => null}}, Call(export, Alice)),
    ?assertEqual({ok, #{<<"seqs">> => [4]}}, Call(command, Alice#{name => <<"withdraw">>, input => #{amount => 8}})),
    ?assertEqual({ok, #{<<"entities">> => [#{<<"id">> => <<"alice">>, <<"seq">> => 4}], <<"next">> => null}},
                 Call(entities, #{})),
    ?assertMatch({ok, #{<<"events">> := [#{<<"entity">> := <<"alice">>, <<"shard">> := _, <<"position">> := _} | _]}},
                 Call(events, #{limit => 2})),
    ?assertEqual({ok, #{<<"columns">> => [<<"a">>], <<"rows">> => [[1]]}}, Call(query, #{sql => <<"SELECT 1 AS a">>})),
    Step =
        #{entity => <<"bob">>, aggregate => <<"Account">>, forward => #{type => <<"Paid">>, payload => #{amount => 1}},
             compensate => #{type => <<"Paid">>, payload => #{amount => -1}}},
    ?assertMatch({ok, #{<<"result">> := <<"COMMITTED">>}}, Call(saga, #{saga => <<"s">>, steps => [Step]})),
    ?assertMatch({ok, #{<<"result">> := <<"COMMITTED">>}}, Call(saga_status, #{saga => <<"s">>})),
    ?assertEqual({ok, #{<<"sagas">> => []}}, Call(sagas, #{})),
    ?assertEqual({ok, #{}}, Call(wait, Alice#{seq => 4, projection => true})),
    ?assertMatch({error, #{<<"code">> := <<"timeout">>, <<"retryable">> := true}},
                 Call(wait, Alice#{seq => 5, timeout => 10})),
    ?assertMatch({ok, #{<<"context">> := <<"bank">>}}, Call(stats, #{})),
    ?assertMatch({ok, #{<<"token">> := _}}, warp_websocket:call(Socket, #{id => 7, op => token})),
    ?assertMatch({ok, #{<<"entity">> := <<"alice">>, <<"deleted">> := true, <<"events">> := _}}, Call(delete, Alice)),
    ?assertMatch({error, #{<<"code">> := <<"unknown_field">>}}, Call(append, Alice#{event => paid(5), evnt => 1})),
    ?assertMatch({error, #{<<"code">> := <<"bad_event">>}}, Call(append, Alice#{event => 1})),
    ?assertMatch({error, #{<<"code">> := <<"bad_event">>}}, Call(append_batch, Alice#{events => 1})),
    ?assertMatch({error, #{<<"code">> := <<"bad_event">>, <<"parameters">> := #{<<"field">> := <<"tpe">>}}},
                 Call(append, Alice#{event => (paid(1))#{tpe => 1}})),
    ?assertMatch({error, #{<<"code">> := <<"bad_entity_id">>}},
                 Call(append, #{entity => <<"$warp/x">>, event => paid(1)})),
    ?assertMatch({error, #{<<"code">> := <<"unknown_context">>, <<"status">> := 404}},
                 Call(stats, #{context => <<"no">>})),
    [?assertMatch({error, #{<<"code">> := <<"bad_request">>}}, Call(Op, #{}))
     || Op <- [<<"nothing">>, <<"erlang">>, <<"health">>, <<"arguments that are no atom">>]].

appends_of_one_entity_are_carried_out_in_order(Config) ->
    Socket = open(Config),
    Calls = [#{id => N, op => append, context => <<"bank">>, entity => <<"alice">>, event => paid(N)}
             || N <- lists:seq(1, 2000)],
    ok = warp_websocket:send(Socket, warp_server_test:json(Calls)),
    ?assertEqual([{N, N} || N <- lists:seq(1, 2000)],
                 lists:sort([{Id, Seq}
                             || #{<<"id">> := Id, <<"ok">> := #{<<"seq">> := Seq}} <- messages(Socket, 2000)])).

%% As many elements of messages.
messages(_, Count) when Count =< 0 -> [];
messages(Socket, Count) ->
    case warp_websocket:recv(Socket) of
        List when is_list(List) -> List ++ messages(Socket, Count - length(List));
        #{} = One -> [One | messages(Socket, Count - 1)];
        Other -> [Other]
    end.

answers_come_together(Config) ->
    Socket = open(Config),
    Calls = [#{id => N, op => append, context => <<"bank">>, entity => <<"a">>, event => paid(1)}
             || N <- lists:seq(1, 100)],
    ok = warp_websocket:send(Socket, warp_server_test:json(Calls)),
    ?assert(length(received(Socket, 100)) < 50).

received(_, Count) when Count =< 0 -> [];
received(Socket, Count) ->
    Message = warp_websocket:recv(Socket),
    [Message | received(Socket, Count - case Message of #{} -> 1; _ -> length(Message) end)].

appends_that_take_too_long_are_answered(Config) ->
    Socket = open(Config),
    ?assertEqual({ok, #{<<"seq">> => 1}}, call(Socket, #{op => append, entity => <<"slow">>, event => paid(1)})),
    {ok, Ctx} = warp_core:context(<<"bank">>),
    {ok, Pid} = warp_core:pid(warp_core:entity(Ctx, <<"slow">>)),
    true = erlang:suspend_process(Pid),
    ?assertMatch({error, #{<<"code">> := <<"timeout">>, <<"status">> := 504}},
                 call(Socket, #{op => append, entity => <<"slow">>, event => paid(1), timeout => 100})),
    true = erlang:resume_process(Pid),
    ?assertMatch({ok, #{<<"seq">> := _}}, call(Socket, #{op => append, entity => <<"slow">>, event => paid(1)})).

what_is_no_call_closes_the_socket(Config) ->
    [begin
         Socket = open(Config),
         ok = warp_websocket:send(Socket, Json),
         ?assertMatch({Json, {close, Code, _}}, {Json, warp_websocket:recv(Socket)})
     end || {Code, Jsons} <- [{1007, [<<"{">>]},
                              {4400, [<<"1">>, <<"[1]">>, <<"{}">>, <<"{\"id\":0,\"op\":\"stats\"}">>,
                                      <<"{\"id\":1}">>, <<"{\"op\":\"stats\"}">>, <<"{\"id\":1,\"op\":7}">>,
                                      <<"{\"id\":\"1\",\"op\":\"stats\"}">>, <<"{\"op\":\"ack\"}">>]}],
            Json <- Jsons].

a_context_may_be_left_out(Config) ->
    Socket = open(Config, "alice-token"),
    ?assertEqual({ok, #{<<"seq">> => 1}},
                 warp_websocket:call(Socket, #{id => 1, op => append, entity => <<"user/alice">>, event => paid(1)})),
    %% A token for all contexts, of a server that has one.
    Admin = open(Config),
    ?assertMatch({ok, #{<<"context">> := <<"bank">>}}, warp_websocket:call(Admin, #{id => 1, op => stats})).

subscribe(Socket, Args) -> call(Socket, Args#{op => subscribe}).

a_subscription_has_credit(Config) ->
    Socket = open(Config),
    {ok, _} = call(Socket, #{op => append_batch, entity => <<"alice">>, events => [paid(N) || N <- lists:seq(1, 30)]}),
    {ok, #{<<"cursor">> := Cursor}} =
        subscribe(Socket, #{id => 5, from => beginning, credit => 10, prefix => <<"al">>}),
    ?assert(is_binary(Cursor)),
    First = events(Socket, 5, 10),
    ?assertEqual(lists:seq(1, 10), [Seq || #{<<"seq">> := Seq} <- First]),
    ?assertMatch(#{<<"entity">> := <<"alice">>, <<"payload">> := #{<<"amount">> := 1}, <<"type">> := <<"Paid">>,
                   <<"recorded_at">> := _, <<"metadata">> := _, <<"id">> := <<"alice#1">>}, hd(First)),
    ?assertEqual(timeout, warp_websocket:recv(Socket, 300)),
    ok = ack(Socket, 5, First),
    Second = events(Socket, 5, 10),
    ?assertEqual(lists:seq(11, 20), [Seq || #{<<"seq">> := Seq} <- Second]),
    ok = ack(Socket, 5, [lists:last(Second)]),
    Third = events(Socket, 5, 10),
    ok = ack(Socket, 5, Third),
    {ok, _} = call(Socket, #{op => append, entity => <<"bob">>, event => paid(1)}),
    {ok, _} = call(Socket, #{op => append, entity => <<"al">>, event => paid(1)}),
    ?assertMatch([#{<<"entity">> := <<"al">>}], events(Socket, 5, 1)),
    ?assertEqual({ok, #{}}, call(Socket, #{op => unsubscribe, subscription => 5})),
    {ok, _} = call(Socket, #{op => append, entity => <<"al">>, event => paid(1)}),
    ?assertEqual(timeout, warp_websocket:recv(Socket, 200)),
    ?assertEqual({ok, #{}}, call(Socket, #{op => unsubscribe, subscription => 5})).

events(_, _, 0) -> [];
events(Socket, Id, Count) ->
    Messages = case warp_websocket:recv(Socket) of List when is_list(List) -> List; One -> [One] end,
    [?assertNotEqual(timeout, Message) || Message <- Messages],
    Events = lists:append([Events || #{<<"subscription">> := Of, <<"events">> := Events} <- Messages, Of =:= Id]),
    Events ++ events(Socket, Id, Count - length(Events)).

ack(Socket, Id, Events) ->
    Places = [[maps:get(Key, Event) || Key <- [<<"shard">>, <<"position">>, <<"seq">>]] || Event <- Events],
    warp_websocket:send(Socket, warp_server_test:json(#{op => ack, subscription => Id, events => Places})).

a_subscription_goes_on_behind_its_cursor(Config) ->
    Socket = open(Config),
    {ok, _} = call(Socket, #{op => append_batch, entity => <<"alice">>, events => [paid(N) || N <- lists:seq(1, 5)]}),
    {ok, _} = subscribe(Socket, #{id => 5, from => beginning, entity => <<"alice">>}),
    ok = ack(Socket, 5, events(Socket, 5, 5)),
    #{<<"checkpoint">> := Cursor} = message_with(<<"checkpoint">>, Socket),
    ok = warp_websocket:close(Socket),
    Again = open(Config),
    {ok, _} = call(Again, #{op => append, entity => <<"alice">>, event => paid(6)}),
    {ok, _} = subscribe(Again, #{id => 1, from => #{cursor => Cursor}, entity => <<"alice">>}),
    ?assertMatch([#{<<"seq">> := 6}], events(Again, 1, 1)),
    ?assertMatch({error, #{<<"code">> := <<"bad_cursor">>, <<"status">> := 400}},
                 subscribe(Again, #{from => #{cursor => <<"no">>}, entity => <<"alice">>})).

a_name_keeps_the_place(Config) ->
    Socket = open(Config),
    {ok, _} = call(Socket, #{op => append, entity => <<"alice">>, event => paid(1)}),
    {ok, _} = subscribe(Socket, #{id => 5, from => beginning, name => <<"mail">>}),
    Messages = messages(Socket, 2),
    ?assertMatch([#{<<"subscription">> := 5, <<"active">> := [0, 1]} | _], Messages),
    [Event] = lists:append([Events || #{<<"events">> := Events} <- Messages]),
    ok = ack(Socket, 5, [Event]),
    _ = message_with(<<"checkpoint">>, Socket),
    ok = warp_websocket:close(Socket),
    Again = open(Config),
    {ok, _} = call(Again, #{op => append, entity => <<"bob">>, event => paid(1)}),
    {ok, _} = subscribe(Again, #{id => 2, name => <<"mail">>}),
    ?assertMatch([#{<<"entity">> := <<"bob">>}], events(Again, 2, 1)).

an_erasure_is_told(Config) ->
    Socket = open(Config),
    {ok, _} = call(Socket, #{op => append, entity => <<"alice">>, event => paid(1)}),
    {ok, _} = subscribe(Socket, #{id => 5, from => beginning}),
    ok = ack(Socket, 5, events(Socket, 5, 1)),
    Call = #{id => 6, op => delete, context => <<"bank">>, entity => <<"alice">>},
    ok = warp_websocket:send(Socket, warp_server_test:json(Call)),
    ?assertEqual(#{<<"subscription">> => 5, <<"erased">> => <<"alice">>}, message_with(<<"erased">>, Socket)).

a_subscription_ends_with_its_scope(Config) ->
    Configure = fun(Prefix) ->
        Token = #{id => <<"some">>, sha256 => warp_server_test:hash("some-token"), subscriptions => 2,
                  scopes => [#{operations => [append]}, #{operations => [subscribe], prefix => Prefix}]},
        ok = warp_server:configure(?config(server, Config), #{tokens => [Token | warp_server_test:tokens()]})
    end,
    ok = Configure(<<>>),
    Socket = open(Config, "some-token"),
    [{ok, _} = subscribe(Socket, #{id => Id, entity => Entity}) || {Id, Entity} <- [{5, <<"alice">>}, {6, <<"bob">>}]],
    ok = Configure(<<"al">>),
    ?assertMatch(#{<<"subscription">> := 6, <<"ended">> := #{<<"code">> := <<"forbidden">>}},
                 message_with(<<"ended">>, Socket)),
    {ok, Ctx} = warp_core:context(<<"bank">>),
    #{subscriptions := Subs} = warp_core:stats(Ctx),
    ?assertMatch([_], Subs),
    [{ok, 1} = warp_core:append(warp_core:entity(Ctx, Id), paid(1)) || Id <- [<<"bob">>, <<"alice">>]],
    ?assertMatch([#{<<"entity">> := <<"alice">>}], events(Socket, 5, 1)),
    %% What ended counts no more, and the socket goes on.
    {error, #{<<"code">> := <<"forbidden">>}} = subscribe(Socket, #{entity => <<"bob">>}),
    {ok, _} = subscribe(Socket, #{id => 7, entity => <<"albert">>}).

message_with(Key, Socket) ->
    case [Message || #{Key := _} = Message <- messages(Socket, 1)] of
        [Message | _] -> Message;
        [] -> message_with(Key, Socket)
    end.

a_subscription_ends(Config) ->
    Socket = open(Config),
    {ok, _} = subscribe(Socket, #{id => 5}),
    ?assertMatch(#{<<"subscription">> := 5}, message_with(<<"caught_up">>, Socket)),
    {ok, Ctx} = warp_core:context(<<"bank">>),
    ok = warp_core:stop(Ctx),
    ?assertMatch(#{<<"subscription">> := 5, <<"ended">> := #{<<"code">> := <<"subscription_ended">>}},
                 message_with(<<"ended">>, Socket)).

subscriptions_are_counted(Config) ->
    Server = ?config(server, Config),
    [Admin | Others] = warp_server_test:tokens(),
    ok = warp_server:configure(Server, #{tokens => [Admin#{subscriptions => 3} | Others]}),
    [First, Second] = [open(Config), open(Config)],
    [{ok, _} = subscribe(First, #{id => Id}) || Id <- [1, 2]],
    {ok, _} = subscribe(Second, #{id => 1}),
    ?assertMatch({error, #{<<"code">> := <<"too_many_requests">>, <<"status">> := 429}}, subscribe(Second, #{id => 2})),
    {ok, _} = call(First, #{op => unsubscribe, subscription => 1}),
    {ok, _} = subscribe(Second, #{id => 2}),
    %% A socket that ends gives back what it has.
    ok = warp_websocket:close(First),
    ok = warp_test:wait_until(fun() -> element(1, subscribe(Second, #{id => 9})) =:= ok end),
    {close, 4400, _} = subscribe(Second, #{id => 9}).

a_crash_is_one_answer(Config) ->
    Socket = open(Config),
    ?assertMatch({error, #{<<"code">> := <<"decide_failed">>}},
                 call(Socket, #{op => command, entity => <<"a">>, name => <<"crash">>, input => #{x => <<"secret">>}})),
    {error, Problem} = call(Socket, #{op => append, entity => <<"a">>, event => (paid(1))#{type => <<"Crash">>}}),
    ?assertMatch(#{<<"code">> := <<"validate_failed">>, <<"status">> := 500}, Problem),
    ?assertEqual(nomatch, binary:match(warp_server_test:json(Problem), <<"secret">>)),
    ?assertEqual({ok, #{<<"seq">> => 1}}, call(Socket, #{op => append, entity => <<"a">>, event => paid(1)})).

%% Answers that a client does not read wait in the file, with the gateway up to some hundred KiB, or not at all.
a_slow_reader_costs_no_memory(Config) ->
    Socket = open(Config),
    Text = binary:copy(<<"x">>, 10000),
    [{ok, _} = call(Socket, #{op => append_batch, entity => <<"alice">>,
                              events => [(paid(1))#{metadata => #{text => Text}} || _ <- lists:seq(1, 100)]})
     || _ <- lists:seq(1, 20)],
    Slow = open(Config),
    ok = warp_websocket:send(Slow,
                             warp_server_test:json(#{id => 1, op => subscribe, context => <<"bank">>, from => beginning,
                                                           credit => 1000})),
    timer:sleep(1000),
    [Pid] = sockets(?config(server, Config)) -- [hd(sockets(?config(server, Config)))],
    {binary, Binaries} = process_info(Pid, binary),
    Bytes = lists:sum([Size || {_, Size, _} <- Binaries]),
    ct:pal("~b bytes of binaries in a socket whose client does not read", [Bytes]),
    ?assert(Bytes < 2000000),
    {ok, _} = call(Socket, #{op => stats}).

%% The processes of sockets, the first ones first.
sockets(Server) ->
    Link = warp_server_sup:link(Server),
    {links, Links} = process_info(Link, links),
    lists:sort([Pid || Pid <- Links, is_pid(Pid), is_socket(Pid)]).

is_socket(Pid) ->
    case process_info(Pid, current_function) of
        {_, {warp_server_socket, _, _}} -> true;
        {_, {erlang, hibernate, 3}} -> true;
        _ -> false
    end.

calls_end_with_their_socket(Config) ->
    Socket = open(Config),
    Wait = #{op => wait, context => <<"bank">>, entity => <<"a">>, seq => 100, timeout => 60000},
    ok = warp_websocket:send(Socket, warp_server_test:json([Wait#{id => N} || N <- lists:seq(1, 50)])),
    ok = warp_test:wait_until(fun() -> length(warp_server_test:workers()) =:= 50 end),
    ok = warp_websocket:close(Socket),
    ok = warp_test:wait_until(fun() -> warp_server_test:workers() =:= [] end).

a_socket_that_sleeps_is_small(Config) ->
    Socket = open(Config),
    {ok, _} = subscribe(Socket, #{id => 1}),
    timer:sleep(1500),
    %% On a busy machine it goes to sleep later.
    ok = warp_test:wait_until(fun() -> length(sockets(?config(server, Config))) =:= 1 end, 10000),
    [Pid] = sockets(?config(server, Config)),
    {memory, Bytes} = process_info(Pid, memory),
    ct:pal("a socket with a subscription has ~b bytes", [Bytes]),
    ?assert(Bytes < 6000),
    {ok, _} = call(Socket, #{op => append, entity => <<"a">>, event => paid(1)}).

permissions_of_a_socket(Config) ->
    Alice = open(Config, "alice-token"),
    Is = fun(Status, Call) ->
        case {Status, call(Alice, Call)} of
            {ok, Answer} -> ?assertMatch({Call, {ok, _}}, {Call, Answer});
            {forbidden, Answer} ->
                ?assertMatch({Call, {error, #{<<"code">> := <<"forbidden">>, <<"status">> := 403}}}, {Call, Answer})
        end
    end,
    Mine = #{entity => <<"user/alice/1">>},
    Is(ok, Mine#{op => append, event => paid(1)}),
    Is(forbidden, Mine#{op => append, event => maps:remove(aggregate, paid(1))}),
    Is(forbidden, Mine#{op => append, event => (paid(1))#{aggregate => <<"Pair">>}}),
    Is(forbidden, Mine#{op => append_batch, events => [paid(1), (paid(1))#{aggregate => <<"Pair">>}]}),
    Is(ok, Mine#{op => append_batch, events => [paid(1), paid(2)]}),
    Is(forbidden, #{op => append, entity => <<"user/bob">>, event => paid(1)}),
    Is(ok, Mine#{op => get, aggregate => <<"Account">>}),
    Is(forbidden, Mine#{op => get, aggregate => <<"Pair">>}),
    Is(ok, Mine#{op => wait, seq => 1}),
    [Is(forbidden, Mine#{op => Op}) || Op <- [history, export, delete]],
    Is(forbidden, Mine#{op => command, name => <<"withdraw">>}),
    [Is(forbidden, #{op => Op}) || Op <- [entities, events, stats, sagas]],
    Is(forbidden, #{op => query, sql => <<"SELECT 1">>}),
    Is(forbidden, #{op => saga, saga => <<"s">>, steps => []}),
    Is(ok, #{op => subscribe, prefix => <<"user/alice/">>, aggregates => [<<"Account">>]}),
    Is(ok, Mine#{op => subscribe, aggregates => [<<"Account">>]}),
    Is(forbidden, #{op => subscribe, prefix => <<"user/">>, aggregates => [<<"Account">>]}),
    Is(forbidden, #{op => subscribe, prefix => <<"user/alice/">>}),
    Is(forbidden, #{op => subscribe, prefix => <<"user/alice/">>, aggregates => [<<"Account">>], name => <<"n">>}),
    Is(forbidden, #{op => forget, name => <<"n">>}),
    Is(forbidden, #{op => stats, context => <<"other">>}),
    Reader = open(Config, "reader-token"),
    {ok, _} = call(Reader, #{op => entities}),
    {ok, _} = call(Reader, Mine#{op => history}),
    {error, #{<<"code">> := <<"forbidden">>}} = call(Reader, Mine#{op => append, event => paid(1)}).
