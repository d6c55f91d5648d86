%% Names that are consumed by plain HTTP: as server-sent events and by single requests.
-module(warp_server_consume_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(NAME, "/v1/contexts/bank/subscriptions/mail").

suite() -> [{timetrap, {seconds, 90}}].

all() ->
    [an_answer_holds_the_name, an_answer_has_what_fits, a_request_waits_for_an_event, events_come_and_are_acknowledged,
     ids_that_are_wrong_change_nothing, ids_are_of_one_token, others_wait_and_take_over, consumers_split_the_shards,
     a_name_that_moves_comes_again, who_acknowledges_nothing_loses_the_name, no_more_than_the_limit_is_on_its_way,
     nothing_is_lost_or_doubled, a_client_that_takes_nothing_costs_no_memory, a_client_that_leaves_leaves_nothing,
     erasures_are_acknowledged, options_are_those_of_subscriptions, what_waits_shows_signs_of_life,
     scopes_and_tokens_end_it, a_token_has_so_many, a_gateway_is_killed, a_vm_is_killed, the_context_stops,
     it_works_by_http2].

init_per_suite(Config) -> warp_server_http_SUITE:init_per_suite(Config).
end_per_suite(_) -> ok.

init_per_testcase(Case, Config0) ->
    Config = warp_test:init_case(Config0),
    Changes = case Case of
                  what_waits_shows_signs_of_life -> #{live => #{heartbeat_ms => 300}};
                  _ -> #{}
              end,
    [{server, warp_server_test:start(Config, Changes)} | Config].

end_per_testcase(_, Config) -> warp_server_http_SUITE:end_per_testcase(any, Config).

%% ------------------------------------------------------------------------------------------------------- Helpers

paid(Amount) -> #{type => <<"Paid">>, aggregate => <<"Account">>, payload => #{amount => Amount}}.

append(Config, Id, Events) ->
    Path = ["/v1/contexts/bank/entities/", uri_string:quote(Id), "/events"],
    {200, _} = warp_server_test:post(?config(server, Config), Path, #{events => Events}),
    ok.

append_one(Config, Id, Amount) -> append(Config, Id, [paid(Amount)]).

delete(Config, Id) ->
    {200, _, _} = warp_server_test:request(?config(server, Config), delete,
                                           ["/v1/contexts/bank/entities/", Id], "admin-token", none),
    ok.

%% What one request gives: the messages, and whether the name was free.
poll(Config, Query) ->
    {200, #{<<"messages">> := Messages, <<"active">> := IsActive}} = get(Config, Query),
    {IsActive, Messages}.

given(Config, Query) ->
    {true, Messages} = poll(Config, Query),
    Messages.

get(Config, Query) -> get(Config, Query, "admin-token").
get(Config, Query, Token) -> warp_server_test:get(?config(server, Config), [?NAME, "/events", Query], Token).

ack(Config, Id) -> ack(Config, Id, "admin-token").
ack(Config, Id, Token) -> warp_server_test:post(?config(server, Config), [?NAME, "/ack"], #{id => Id}, Token).

acked(Config, #{<<"id">> := Id}) -> acked(Config, Id);
acked(Config, Id) -> {200, Done} = ack(Config, Id), ?assertEqual(#{}, Done), ok.

amounts(Messages) -> [Amount || #{<<"event">> := #{<<"payload">> := #{<<"amount">> := Amount}}} <- Messages].

events(Config, Query) -> events(Config, Query, "admin-token").
events(Config, Query, Token) ->
    {200, #{<<"content-type">> := <<"text/event-stream">>}, Tcp} =
        warp_server_test:events(?config(server, Config), [?NAME, "/events?live=sse", Query], Token),
    Tcp.

%% The next events of a stream, as `{Id, Amount}', past all else.
next(Tcp, 0) when is_port(Tcp) -> [];
next(Tcp, Count) ->
    case warp_server_test:next_message(Tcp) of
        {event, Id, #{<<"payload">> := #{<<"amount">> := Amount}}} -> [{Id, Amount} | next(Tcp, Count - 1)];
        {Other, none, _} when Other =:= active; Other =:= caught_up -> next(Tcp, Count)
    end.

is_silent(Tcp) -> warp_server_test:next_message(Tcp, 500) =:= timeout.

aside(Fun) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit({done, Fun()}) end),
    fun() -> receive {'DOWN', Monitor, process, Pid, {done, Result}} -> Result after 20000 -> error(timeout) end end.

subscriptions() ->
    {ok, Ctx} = warp_core:context(<<"bank">>),
    #{subscriptions := Subs} = warp_core:stats(Ctx),
    Subs.

states() -> lists:sort([State || #{state := State, name := <<"mail">>} <- subscriptions()]).

%% --------------------------------------------------------------------------------------------------- One answer

an_answer_holds_the_name(Config) ->
    ok = append(Config, <<"alice">>, [paid(N) || N <- [1, 2, 3, 4, 5]]),
    [First, Second] = given(Config, "?from=beginning&limit=2"),
    ?assertMatch(#{<<"id">> := _, <<"event">> := #{<<"entity">> := <<"alice">>, <<"seq">> := 1, <<"shard">> := _,
                                                   <<"position">> := _, <<"type">> := <<"Paid">>}}, First),
    ?assertEqual([1, 2], amounts([First, Second])),
    %% It is held while something is not acknowledged.
    {Micros, {false, []}} = timer:tc(fun() -> poll(Config, "?limit=2") end),
    ?assert(Micros < 3000000),
    ok = acked(Config, First),
    {false, []} = poll(Config, "?limit=2"),
    ok = acked(Config, Second),
    %% `from' counted once.
    Third = given(Config, "?from=beginning&limit=1"),
    ?assertEqual([3], amounts(Third)),
    ok = acked(Config, lists:last(Third)),
    Rest = given(Config, ""),
    ?assertEqual([4, 5], amounts(Rest)),
    ok = acked(Config, lists:last(Rest)),
    {Quick, []} = timer:tc(fun() -> given(Config, "") end),
    ?assert(Quick < 1000000).

an_answer_has_what_fits(Config) ->
    Text = binary:copy(<<"x">>, 200000),
    Of = fun(Id, Count) ->
        [ok = append(Config, Id, [(paid(N))#{metadata => #{text => Text}}]) || N <- lists:seq(1, Count)]
    end,
    Of(<<"alice">>, 10),
    Of(<<"bob">>, 10),
    Answers = drained(Config, "?limit=1000&from=beginning"),
    ?assert(length(Answers) >= 4),
    ?assertEqual(lists:seq(1, 10), amounts([One || #{<<"event">> := #{<<"entity">> := <<"bob">>}} = One
                                                       <- lists:append(Answers)])),
    ?assertEqual(20, length(lists:append(Answers))).

%% All that there is, acknowledged answer by answer.
drained(Config, Query) ->
    case given(Config, Query) of
        [] -> [];
        Messages ->
            ok = acked(Config, lists:last(Messages)),
            [Messages | drained(Config, Query)]
    end.

a_request_waits_for_an_event(Config) ->
    [] = given(Config, "?from=beginning"),
    Waiting = aside(fun() -> timer:tc(fun() -> given(Config, "?wait=10000") end) end),
    timer:sleep(500),
    ok = append_one(Config, <<"alice">>, 7),
    {Micros, [One]} = Waiting(),
    ?assert(Micros < 4000000),
    ?assertEqual([7], amounts([One])),
    ok = acked(Config, One),
    {Long, []} = timer:tc(fun() -> given(Config, "?wait=1500") end),
    ?assert(Long > 1400000 andalso Long < 4000000).

%% --------------------------------------------------------------------------------------------- Server-sent events

events_come_and_are_acknowledged(Config) ->
    Text = <<"a\nb\r\n\n\nevent: x\ndata: {}\n\n">>,
    ok = append(Config, <<"alice">>, [#{type => <<"Paid">>, aggregate => <<"Account">>,
                                        payload => #{amount => 1, text => Text}}, paid(2)]),
    Tcp = events(Config, "&from=beginning"),
    ?assertMatch({active, none, #{<<"shards">> := [0, 1]}}, warp_server_test:next_message(Tcp)),
    {event, First, #{<<"payload">> := #{<<"text">> := Text}}} = warp_server_test:next_message(Tcp),
    {event, Second, _} = warp_server_test:next_message(Tcp),
    ?assertEqual({caught_up, none, #{}}, warp_server_test:next_message(Tcp)),
    ?assert(First =/= Second),
    ok = acked(Config, First),
    ok = gen_tcp:close(Tcp),
    Again = events(Config, ""),
    [{_, 2}] = next(Again, 1),
    ok = append_one(Config, <<"bob">>, 3),
    [{Third, 3}] = next(Again, 1),
    ok = acked(Config, Third),
    ok = gen_tcp:close(Again),
    ok = append_one(Config, <<"alice">>, 4),
    ?assertEqual([4], amounts(given(Config, "?wait=3000"))).

ids_that_are_wrong_change_nothing(Config) ->
    ok = append(Config, <<"alice">>, [paid(N) || N <- [1, 2, 3]]),
    Tcp = events(Config, "&from=beginning&limit=2"),
    [{First, 1}, {Second, 2}] = next(Tcp, 2),
    [Hold, <<"1">>] = binary:split(First, <<".">>),
    Bad = fun(Id) -> {400, #{<<"code">> := <<"bad_option">>}} = ack(Config, Id), ok end,
    [ok = Bad(Id) || Id <- [<<"x">>, Hold, <<Hold/binary, ".">>, <<Hold/binary, ".0">>, <<Hold/binary, ".-1">>,
                            <<Hold/binary, ".1x">>, <<Hold/binary, ".99999999999999999999">>,
                            %% What was never given.
                            <<Hold/binary, ".3">>]],
    ?assertMatch({400, #{<<"code">> := <<"bad_option">>}}, ack(Config, 1)),
    ?assertMatch({400, #{<<"code">> := <<"bad_option">>}},
                 warp_server_test:post(?config(server, Config), [?NAME, "/ack"], #{})),
    ?assertMatch({400, #{<<"code">> := <<"unknown_field">>}},
                 warp_server_test:post(?config(server, Config), [?NAME, "/ack"], #{id => First, x => 1})),
    ?assertMatch({409, #{<<"code">> := <<"not_held">>, <<"retryable">> := false}},
                 ack(Config, <<(binary:copy(<<"A">>, 22))/binary, ".1">>)),
    ?assertMatch({409, #{<<"code">> := <<"not_held">>}},
                 warp_server_test:post(?config(server, Config), "/v1/contexts/bank/subscriptions/other/ack",
                                       #{id => First})),
    ?assert(is_silent(Tcp) orelse is_silent(Tcp)),
    ok = acked(Config, Second),
    %% Twice, and what stands before it.
    ok = acked(Config, Second),
    ok = acked(Config, First),
    [{Third, 3}] = next(Tcp, 1),
    ok = gen_tcp:close(Tcp),
    ok = warp_test:wait_until(fun() -> states() =:= [no_consumer] end),
    ?assertMatch({409, #{<<"code">> := <<"not_held">>}}, ack(Config, Third)),
    ?assertEqual([3], amounts(given(Config, ""))).

ids_are_of_one_token(Config) ->
    Server = ?config(server, Config),
    Other = #{id => <<"other">>, sha256 => warp_server_test:hash("other-token"), scopes => [#{}]},
    ok = warp_server:configure(Server, #{tokens => [Other | warp_server_test:tokens()]}),
    ok = append(Config, <<"alice">>, [paid(1), paid(2)]),
    [First, Second] = given(Config, "?from=beginning"),
    #{<<"id">> := Id} = First,
    ?assertMatch({409, #{<<"code">> := <<"not_held">>}}, ack(Config, Id, "other-token")),
    ?assertMatch({403, #{<<"code">> := <<"forbidden">>}}, ack(Config, Id, "alice-token")),
    ?assertMatch({401, _}, ack(Config, Id, "no-token")),
    ok = acked(Config, Second),
    ?assertEqual([], given(Config, "")).

others_wait_and_take_over(Config) ->
    ok = append(Config, <<"alice">>, [paid(1), paid(2)]),
    First = events(Config, "&from=beginning"),
    [{Id, 1}, {_, 2}] = next(First, 2),
    Second = events(Config, ""),
    ok = warp_test:wait_until(fun() -> states() =:= [live, standby] end),
    Third = aside(fun() -> poll(Config, "?wait=500") end),
    ?assertEqual({false, []}, Third()),
    ?assert(is_silent(Second)),
    ok = acked(Config, Id),
    ok = gen_tcp:close(First),
    %% It gets what was not acknowledged, and a request that waits gets it after that.
    [{Again, 2}] = next(Second, 1),
    Waiting = aside(fun() -> poll(Config, "?wait=10000") end),
    ok = warp_test:wait_until(fun() -> states() =:= [live, standby] end),
    ok = gen_tcp:close(Second),
    {true, [#{<<"id">> := Last}]} = Waiting(),
    ?assertMatch({409, _}, ack(Config, Again)),
    ok = acked(Config, Last),
    ?assertEqual([], given(Config, "")).

consumers_split_the_shards(Config) ->
    {ok, Ctx} = warp_core:context(<<"bank">>),
    Ids = [<<"e", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 20)],
    [ok = append_one(Config, Id, 1) || Id <- Ids],
    Streams = [events(Config, "&from=beginning&consumers=2") || _ <- [1, 2]],
    Shards = [begin
                  {active, none, #{<<"shards">> := [Shard]}} = warp_server_test:next_message(Tcp),
                  Of = [Id || Id <- Ids, {ok, Shard} =:= warp_core:shard_of(warp_core:entity(Ctx, Id))],
                  ?assertEqual(length(Of), length(next(Tcp, length(Of)))),
                  Shard
              end || Tcp <- Streams],
    ?assertEqual([0, 1], lists:sort(Shards)),
    ?assertMatch({409, #{<<"code">> := <<"others_say">>}}, get(Config, "?consumers=1")).

%% As when another node gets to keep the name: the subscription has no shards for a while.
a_name_that_moves_comes_again(Config) ->
    ok = append(Config, <<"alice">>, [paid(N) || N <- lists:seq(1, 8)]),
    Tcp = events(Config, "&from=beginning&limit=3"),
    [{First, 1}, {Second, 2}, {_, 3}] = next(Tcp, 3),
    ok = acked(Config, First),
    [{_, 4}] = next(Tcp, 1),
    ok = moved(),
    {active, none, #{<<"shards">> := [0, 1]}} = warp_server_test:next_message(Tcp),
    %% What was not acknowledged has other ids, and an old one stands for nothing of it.
    [{Again, 2}, {_, 3}, {_, 4}] = next(Tcp, 3),
    ?assert(is_silent(Tcp)),
    ok = acked(Config, Second),
    ?assert(is_silent(Tcp)),
    ok = acked(Config, Again),
    [{Fifth, 5}] = next(Tcp, 1),
    ok = acked(Config, Fifth),
    ok = gen_tcp:close(Tcp),
    ok = warp_test:wait_until(fun() -> states() =:= [no_consumer] end),
    %% Whoever holds an answer then has lost the name.
    [#{<<"id">> := Lost} | _] = Held = given(Config, "?limit=2"),
    ?assertEqual([6, 7], amounts(Held)),
    ok = moved(),
    ok = warp_test:wait_until(fun() -> states() =:= [no_consumer] end),
    ?assertMatch({409, #{<<"code">> := <<"not_held">>}}, ack(Config, Lost)),
    ?assertEqual([6, 7, 8], amounts(given(Config, ""))).

moved() ->
    [Pid] = [Pid || #{pid := Pid, name := <<"mail">>} <- subscriptions()],
    [Tag] = [Tag || #{consumer := #{tag := Tag}} <- tuple_to_list(sys:get_state(Pid))],
    Pid ! {warp_subscription_name, Tag, yield},
    ok.

who_acknowledges_nothing_loses_the_name(Config) ->
    ok = append(Config, <<"alice">>, [paid(1), paid(2)]),
    [One, _] = given(Config, "?from=beginning&hold=4000"),
    timer:sleep(2500),
    %% What is acknowledged gives it the time again.
    ok = acked(Config, One),
    timer:sleep(2000),
    ?assertEqual({false, []}, poll(Config, "?wait=1")),
    [Two] = given(Config, "?wait=5000&hold=400"),
    ?assertEqual([2], amounts([Two])),
    timer:sleep(800),
    ?assertMatch({409, #{<<"code">> := <<"not_held">>}}, ack(Config, maps:get(<<"id">>, Two))),
    Tcp = events(Config, "&hold=3000"),
    [{Again, 2}] = next(Tcp, 1),
    ?assertMatch({caught_up, none, _}, warp_server_test:next_message(Tcp)),
    ok = acked(Config, Again),
    %% Who has nothing to acknowledge may wait.
    timer:sleep(3500),
    ok = append(Config, <<"alice">>, [paid(3), paid(4)]),
    [{Third, 3}, {_, 4}] = next(Tcp, 2),
    timer:sleep(2000),
    ok = acked(Config, Third),
    timer:sleep(2000),
    %% The same again acknowledges nothing.
    ok = acked(Config, Third),
    ?assertMatch({ended, none, #{<<"code">> := <<"not_held">>}}, warp_server_test:next_message(Tcp, 2000)),
    ?assertEqual(ended, warp_server_test:next_message(Tcp)),
    ?assertEqual([4], amounts(given(Config, "?wait=1000"))).

no_more_than_the_limit_is_on_its_way(Config) ->
    ok = append(Config, <<"alice">>, [paid(N) || N <- lists:seq(1, 10)]),
    Tcp = events(Config, "&from=beginning&limit=3"),
    [{_, 1}, {Second, 2}, {_, 3}] = next(Tcp, 3),
    ?assert(is_silent(Tcp)),
    ok = acked(Config, Second),
    [{_, 4}, {Fifth, 5}] = next(Tcp, 2),
    ?assert(is_silent(Tcp)),
    ok = acked(Config, Fifth),
    [{_, 6}, {_, 7}, {_, 8}] = next(Tcp, 3),
    ?assert(is_silent(Tcp)),
    ?assertMatch({400, #{<<"code">> := <<"bad_option">>}}, get(Config, "?limit=1001")),
    ?assertMatch({400, #{<<"code">> := <<"bad_option">>}}, get(Config, "?limit=0")).

%% Clients come and go, some as streams and some by requests, while others append. Every event is acknowledged once, and
%% none comes again after that.
nothing_is_lost_or_doubled(Config) ->
    Ids = [<<"e", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 8)],
    Writer = aside(fun() ->
        [ok = append(Config, Id, [paid(N), paid(N + 1)]) || N <- lists:seq(1, 99, 2), Id <- Ids], ok
    end),
    Acked = consumed(Config, 800, []),
    ok = Writer(),
    ?assertEqual(lists:sort([{Id, N} || Id <- Ids, N <- lists:seq(1, 100)]), lists:sort(Acked)),
    %% Those of an entity in their order.
    [?assertEqual(lists:seq(1, 100), [Seq || {Of, Seq} <- Acked, Of =:= Id]) || Id <- Ids],
    ?assertEqual([], given(Config, "")).

consumed(_, 0, Acked) -> lists:append(lists:reverse(Acked));
consumed(Config, Left, Acked) ->
    Wanted = min(Left, rand:uniform(60)),
    Took = case rand:uniform(3) of
               1 -> by_request(Config, Wanted);
               _ -> by_stream(Config, Wanted)
           end,
    consumed(Config, Left - length(Took), [Took | Acked]).

by_request(Config, Wanted) ->
    case poll(Config, ["?from=beginning&wait=2000&hold=300&limit=", integer_to_list(Wanted)]) of
        {true, [_ | _] = Messages} ->
            some(Config, [{Id, key(Event)} || #{<<"id">> := Id, <<"event">> := Event} <- Messages]);
        _ ->
            []
    end.

by_stream(Config, Wanted) ->
    Tcp = events(Config, "&from=beginning&limit=20"),
    Took = taken(Config, Tcp, Wanted, []),
    ok = gen_tcp:close(Tcp),
    Took.

taken(Config, Tcp, Wanted, Open) ->
    case warp_server_test:next_message(Tcp, 3000) of
        {event, Id, Event} when length(Open) < 9, Wanted > 1 ->
            taken(Config, Tcp, Wanted - 1, Open ++ [{Id, key(Event)}]);
        {event, Id, Event} ->
            Some = some(Config, Open ++ [{Id, key(Event)}]),
            case Wanted > 10 andalso length(Some) =:= length(Open) + 1 of
                true -> Some ++ taken(Config, Tcp, Wanted - 1, []);
                false -> Some
            end;
        {_, none, _} -> taken(Config, Tcp, Wanted, Open);
        _ -> []
    end.

%% Acknowledges a part of what was given.
some(Config, Given) ->
    Part = lists:sublist(Given, rand:uniform(length(Given))),
    {Id, _} = lists:last(Part),
    ok = acked(Config, Id),
    [Key || {_, Key} <- Part].

key(#{<<"entity">> := Id, <<"seq">> := Seq}) -> {Id, Seq}.

a_client_that_takes_nothing_costs_no_memory(Config) ->
    Text = binary:copy(<<"x">>, 10000),
    [ok = append(Config, <<"alice">>, [(paid(1))#{metadata => #{text => Text}} || _ <- lists:seq(1, 100)])
     || _ <- lists:seq(1, 30)],
    Tcp = events(Config, "&from=beginning&limit=1000"),
    timer:sleep(1500),
    [Pid] = [Pid || #{subscriber := Pid} <- subscriptions()],
    true = erlang:garbage_collect(Pid),
    {binary, Binaries} = process_info(Pid, binary),
    Bytes = lists:sum([Size || {_, Size, _} <- Binaries]),
    ct:pal("~b bytes of binaries for a client that does not read", [Bytes]),
    ?assert(Bytes < 3000000),
    %% It can acknowledge what it has read, and nothing is missing when it reads on.
    [{First, _} | _] = Read = next(Tcp, 10),
    ok = acked(Config, First),
    ok = acked(Config, element(1, lists:last(Read))),
    ?assertEqual(2990, length(read_and_acked(Config, Tcp, 2990))).

read_and_acked(_, _, 0) -> [];
read_and_acked(Config, Tcp, Left) ->
    Some = next(Tcp, min(500, Left)),
    {Last, _} = lists:last(Some),
    ok = acked(Config, Last),
    Some ++ read_and_acked(Config, Tcp, Left - length(Some)).

a_client_that_leaves_leaves_nothing(Config) ->
    [] = given(Config, "?from=beginning"),
    Streams = [events(Config, "") || _ <- lists:seq(1, 5)],
    _ = [spawn(fun() -> poll(Config, "?wait=20000") end) || _ <- lists:seq(1, 5)],
    ok = warp_test:wait_until(fun() -> length(subscriptions()) =:= 10 end),
    [ok = gen_tcp:close(Tcp) || Tcp <- Streams],
    ok = warp_test:wait_until(fun() -> length(subscriptions()) =:= 5 end),
    {Pid, Monitor} = spawn_monitor(fun() ->
        {ok, Tcp} = gen_tcp:connect("127.0.0.1", warp_server_test:port(?config(server, Config)), [binary]),
        ok = gen_tcp:send(Tcp, ["GET ", ?NAME, "/events?wait=30000 HTTP/1.1\r\nHost: localhost\r\n"
                                "Authorization: Bearer admin-token\r\n\r\n"]),
        receive go -> ok end
    end),
    ok = warp_test:wait_until(fun() -> length(subscriptions()) =:= 6 end),
    Pid ! go,
    receive {'DOWN', Monitor, process, _, _} -> ok end,
    ok = warp_test:wait_until(fun() -> length(subscriptions()) =:= 5 end).

%% ------------------------------------------------------------------------------------------------------- Erasures

erasures_are_acknowledged(Config) ->
    ok = append(Config, <<"alice">>, [paid(1), paid(2)]),
    ok = append_one(Config, <<"bob">>, 3),
    Tcp = events(Config, "&from=beginning"),
    _ = next(Tcp, 3),
    ok = delete(Config, "alice"),
    {Erased, Id} = erased(Tcp),
    ?assertEqual(<<"alice">>, Erased),
    ok = append_one(Config, <<"alice">>, 4),
    [{_, 4}] = next(Tcp, 1),
    ok = gen_tcp:close(Tcp),
    ok = warp_test:wait_until(fun() -> states() =:= [no_consumer] end),
    ?assertMatch({409, _}, ack(Config, Id)),
    %% It comes again until it is acknowledged, and nothing of the first life comes.
    Messages = given(Config, ""),
    ?assertMatch([#{<<"erased">> := <<"alice">>} | _], Messages),
    ?assertEqual([3, 4], lists:sort(amounts(Messages))),
    #{<<"id">> := First} = hd(Messages),
    ok = acked(Config, First),
    ?assertEqual({false, []}, poll(Config, "")),
    ok = acked(Config, lists:last(Messages)),
    ?assertEqual([], given(Config, "")),
    %% What was deleted while nobody had the name.
    ok = delete(Config, "bob"),
    [#{<<"erased">> := <<"bob">>} = Bob] = given(Config, "?wait=2000"),
    ok = acked(Config, Bob),
    ?assertEqual([], given(Config, "")).

erased(Tcp) ->
    case warp_server_test:next_message(Tcp) of
        {erased, Id, #{<<"entity">> := Entity}} -> {Entity, Id};
        {_, none, _} -> erased(Tcp)
    end.

%% -------------------------------------------------------------------------------------------------------- Options

options_are_those_of_subscriptions(Config) ->
    Server = ?config(server, Config),
    ok = append(Config, <<"user/a">>, [paid(1), (paid(2))#{type => <<"Got">>}]),
    ok = append(Config, <<"x">>, [paid(3), #{type => <<"Made">>, aggregate => <<"Pair">>, payload => #{amount => 4}}]),
    Of = fun(Name, Query) ->
        {200, #{<<"messages">> := Messages}} =
            warp_server_test:get(Server, ["/v1/contexts/bank/subscriptions/", Name, "/events", Query]),
        lists:sort(amounts(Messages))
    end,
    ?assertEqual([1, 2, 3, 4], Of("all", "?from=beginning")),
    ?assertEqual([1, 2], Of("prefix", "?from=beginning&prefix=user%2F")),
    ?assertEqual([4], Of("aggregate", "?from=beginning&aggregates=Pair")),
    ?assertEqual([1, 2, 3, 4], Of("aggregates", "?from=beginning&aggregates=Pair&aggregates=Account")),
    ?assertEqual([2, 4], Of("types", "?from=beginning&types=Got&types=Made")),
    ?assertEqual([], Of("now", "?from=now")),
    ?assertEqual([], Of("new", "")),
    ?assertEqual([1, 2, 3, 4], Of("time", "?time=0")),
    ?assertEqual([], Of("later", ["?time=", integer_to_list(os:system_time(microsecond) + 60000000)])),
    {ok, Ctx} = warp_core:context(<<"bank">>),
    {ok, Sub} = warp_subscription:subscribe(Ctx, #{from => now}),
    {ok, Cursor} = warp_subscription:cursor(Sub),
    ok = warp_subscription:unsubscribe(Sub),
    ok = append_one(Config, <<"x">>, 5),
    ?assertEqual([5], Of("cursor", ["?cursor=", Cursor])),
    [?assertMatch({Query, {400, #{<<"code">> := Code}}}, {Query, get(Config, Query)})
     || {Query, Code} <- [{"?cursor=no", <<"bad_cursor">>}, {"?from=never", <<"bad_option">>},
                          {"?from=now&time=1", <<"bad_request">>}, {"?limit=1&limit=2", <<"bad_request">>},
                          {"?shard=0", <<"unknown_field">>}, {"?name=x", <<"unknown_field">>},
                          {"?live=long-poll", <<"bad_option">>}, {"?consumers=3", <<"bad_option">>},
                          {"?hold=0", <<"bad_option">>}, {"?wait=x", <<"bad_option">>}]],
    ?assertMatch({400, _, #{<<"code">> := <<"bad_cursor">>}},
                 warp_server_test:request(Server, get, [?NAME, "/events?live=sse&cursor=no"], "admin-token", none)),
    ?assertMatch({400, _}, warp_server_test:get(Server, ["/v1/contexts/bank/subscriptions/",
                                                         lists:duplicate(201, $n), "/events"])),
    ?assertMatch({404, _}, warp_server_test:get(Server, "/v1/contexts/no/subscriptions/mail/events")),
    ?assertMatch({405, _}, warp_server_test:post(Server, [?NAME, "/events"], #{})),
    ?assertMatch({405, _}, warp_server_test:get(Server, [?NAME, "/ack"])),
    %% Whoever sees nothing of an answer holds nothing.
    ?assertMatch({200, _, <<>>}, warp_server_test:request(Server, head, [?NAME, "/events"], "admin-token", none)),
    ?assertEqual([], states()).

what_waits_shows_signs_of_life(Config) ->
    Tcp = events(Config, ""),
    {active, none, _} = warp_server_test:next_message(Tcp),
    {caught_up, none, _} = warp_server_test:next_message(Tcp),
    {Micros, [comment, comment]} = timer:tc(fun() -> [warp_server_test:next_message(Tcp) || _ <- [1, 2]] end),
    ?assert(Micros > 400000 andalso Micros < 3000000),
    %% Also who waits for the name.
    Second = events(Config, ""),
    ?assertEqual(comment, warp_server_test:next_message(Second)),
    {200, #{<<"subscriptions">> := Subs}} =
        warp_server_test:get(?config(server, Config), "/v1/contexts/bank/stats"),
    ?assertEqual([<<"live">>, <<"standby">>],
                 lists:sort([State || #{<<"name">> := <<"mail">>, <<"state">> := State} <- Subs])).

%% ---------------------------------------------------------------------------------------------------------- Tokens

scopes_and_tokens_end_it(Config) ->
    Server = ?config(server, Config),
    Token = fun(Scope) ->
        #{id => <<"worker">>, sha256 => warp_server_test:hash("worker-token"), scopes => [Scope]}
    end,
    Configure = fun(Tokens) -> ok = warp_server:configure(Server, #{tokens => Tokens ++ warp_server_test:tokens()}) end,
    Configure([Token(#{operations => [subscribe]})]),
    [?assertMatch({403, #{<<"code">> := <<"forbidden">>}}, get(Config, "", Other))
     || Other <- ["alice-token", "reader-token"]],
    ?assertMatch({401, _, _}, warp_server_test:request(Server, get, [?NAME, "/events"], none, none)),
    ok = append(Config, <<"user/alice">>, [paid(1)]),
    Tcp = events(Config, "&from=beginning", "worker-token"),
    [{Id, 1}] = next(Tcp, 1),
    {caught_up, none, _} = warp_server_test:next_message(Tcp),
    Waiting = aside(fun() -> get(Config, "?wait=3000", "worker-token") end),
    ok = warp_test:wait_until(fun() -> states() =:= [live, standby] end),
    %% A change that leaves it what it needs changes nothing.
    Configure([Token(#{operations => [subscribe, list]})]),
    ?assert(is_silent(Tcp)),
    Configure([Token(#{operations => [subscribe], prefix => <<"user/">>})]),
    ?assertMatch({ended, none, #{<<"code">> := <<"forbidden">>}}, warp_server_test:next_message(Tcp, 2000)),
    ?assertEqual(ended, warp_server_test:next_message(Tcp, 1000)),
    ?assertMatch({403, _}, ack(Config, Id, "worker-token")),
    %% What it would have been given comes to somebody else.
    ?assertMatch({403, #{<<"code">> := <<"forbidden">>}}, Waiting()),
    Configure([Token(#{})]),
    Again = events(Config, "", "worker-token"),
    [{_, 1}] = next(Again, 1),
    {caught_up, none, _} = warp_server_test:next_message(Again),
    Configure([]),
    %% The gateway cuts it off, or the VM is faster.
    Ended = warp_server_test:next_message(Again, 2000),
    ?assert(Ended =:= cut orelse map_get(<<"code">>, element(3, Ended)) =:= <<"unauthorized">>),
    ?assertEqual([1], amounts(given(Config, "?wait=2000"))).

a_token_has_so_many(Config) ->
    Server = ?config(server, Config),
    Token = #{id => <<"few">>, sha256 => warp_server_test:hash("few-token"), scopes => [#{}], subscriptions => 2},
    ok = warp_server:configure(Server, #{tokens => [Token | warp_server_test:tokens()]}),
    ok = append_one(Config, <<"alice">>, 1),
    Tcp = events(Config, "&from=beginning", "few-token"),
    [{_, 1}] = next(Tcp, 1),
    Other = events(Config, "", "few-token"),
    ?assertMatch({429, #{<<"code">> := <<"too_many_requests">>}}, get(Config, "", "few-token")),
    ?assertMatch({429, _, _}, warp_server_test:request(Server, get, [?NAME, "/events?live=sse"], "few-token", none)),
    ok = gen_tcp:close(Tcp),
    [{Id, 1}] = next(Other, 1),
    ok = gen_tcp:close(Other),
    ok = warp_test:wait_until(fun() -> states() =:= [no_consumer] end),
    {200, #{<<"messages">> := [#{<<"id">> := Last}]}} = get(Config, "", "few-token"),
    ?assertMatch({409, _}, ack(Config, Id, "few-token")),
    ?assertMatch({200, _}, ack(Config, Last, "few-token")),
    %% Those that have ended count no more.
    [{200, _} = get(Config, "", "few-token") || _ <- [1, 2, 3, 4]].

%% ------------------------------------------------------------------------------------------------- What is killed

a_gateway_is_killed(Config) ->
    Server = ?config(server, Config),
    ok = append(Config, <<"alice">>, [paid(N) || N <- [1, 2, 3]]),
    Tcp = events(Config, "&from=beginning&limit=2"),
    [{First, 1}, {_, 2}] = next(Tcp, 2),
    ok = acked(Config, First),
    ok = killed(Server),
    %% What was not acknowledged comes again.
    ?assertEqual(cut, cut(Tcp)),
    [Second, Third] = again(fun() -> given(Config, "?wait=3000") end),
    ?assertEqual([2, 3], amounts([Second, Third])),
    %% An answer outlasts the gateway.
    ok = acked(Config, Second),
    ok = killed(Server),
    ok = again(fun() -> acked(Config, Third) end),
    ?assertEqual([], given(Config, "")).

cut(Tcp) ->
    case warp_server_test:next_message(Tcp) of
        {_, _, _} -> cut(Tcp);
        End -> End
    end.

killed(Server) ->
    Link = warp_server_sup:link(Server),
    [] = os:cmd("kill -KILL " ++ integer_to_list(warp_server_test:os_pid(Server))),
    warp_test:wait_until(fun() -> not lists:member(warp_server_sup:link(Server), [Link, none]) end).

%% Until the gateway is there again.
again(Fun) -> again(Fun, 50).

again(Fun, Left) ->
    try
        Fun()
    catch
        error:{badmatch, {error, Why}} when Left > 0, Why =:= econnrefused orelse Why =:= closed ->
            timer:sleep(100),
            again(Fun, Left - 1)
    end.

%% Whatever an answer has said stays.
a_vm_is_killed(Config) ->
    ok = warp_server_test:stop(?config(server, Config)),
    Dir = ?config(dir, Config),
    Port = fun(Vm) ->
        warp_fault_vm:run(Vm, fun() ->
            {ok, _} = application:ensure_all_started(warp_server),
            Self = self(),
            Keeper = spawn(fun() ->
                Self ! {server, warp_server_test:start([{dir, Dir}], #{})},
                receive stop -> ok end
            end),
            receive {server, Server} -> {Keeper, warp_server_test:port(Server)} end
        end)
    end,
    First = warp_fault_vm:start(),
    {_, FirstPort} = Port(First),
    At = fun(Number) -> [{server, {port, Number}} | proplists:delete(server, Config)] end,
    ok = append(At(FirstPort), <<"alice">>, [paid(N) || N <- lists:seq(1, 6)]),
    [_, Two, _] = given(At(FirstPort), "?from=beginning&limit=3"),
    ok = acked(At(FirstPort), Two),
    ok = warp_fault_vm:kill(First),
    Second = warp_fault_vm:start(),
    {_, SecondPort} = Port(Second),
    Tcp = events(At(SecondPort), ""),
    [{_, 3}, {Fourth, 4}, {_, 5}, {_, 6}] = next(Tcp, 4),
    ok = acked(At(SecondPort), Fourth),
    ok = warp_fault_vm:kill(Second),
    Third = warp_fault_vm:start(),
    {_, ThirdPort} = Port(Third),
    ?assertMatch({409, #{<<"code">> := <<"not_held">>}}, ack(At(ThirdPort), Fourth)),
    ?assertEqual([5, 6], amounts(given(At(ThirdPort), ""))),
    ok = warp_fault_vm:kill(Third),
    {save_config, []}.

the_context_stops(Config) ->
    ok = append_one(Config, <<"alice">>, 1),
    Tcp = events(Config, "&from=beginning"),
    [{Id, 1}] = next(Tcp, 1),
    {caught_up, none, _} = warp_server_test:next_message(Tcp),
    {ok, Ctx} = warp_core:context(<<"bank">>),
    ok = warp_core:stop(Ctx),
    ?assertMatch({ended, none, #{<<"code">> := <<"subscription_ended">>}}, warp_server_test:next_message(Tcp, 3000)),
    ?assertEqual(ended, warp_server_test:next_message(Tcp)),
    {Status, #{<<"code">> := Code}} = ack(Config, Id),
    ?assert(lists:member({Status, Code}, [{409, <<"not_held">>}, {503, <<"context_stopped">>}])).

it_works_by_http2(Config) ->
    ok = append(Config, <<"alice">>, [paid(1), paid(2)]),
    Url = ["http://127.0.0.1:", integer_to_list(warp_server_test:port(?config(server, Config))), ?NAME],
    Curl = fun(More) ->
        Command = ["curl -s --http2-prior-knowledge -H 'Authorization: Bearer admin-token' ", More],
        unicode:characters_to_binary(os:cmd(binary_to_list(iolist_to_binary(Command))))
    end,
    Text = Curl(["-N -m 2 '", Url, "/events?live=sse&from=beginning'"]),
    [<<"event: active", _/binary>>, First, _, <<"event: caught_up\ndata: {}">>, <<>>] =
        binary:split(Text, <<"\n\n">>, [global]),
    ?assertMatch({match, _}, re:run(First, "^event: event\nid: [A-Za-z0-9_-]{22}[.]1\ndata: {")),
    #{<<"messages">> := [_, #{<<"id">> := Id}]} =
        warp_server_test:decoded(Curl(["'", Url, "/events?wait=1000'"])),
    ?assertEqual(<<"{}">>, Curl(["-H 'Content-Type: application/json' -d '{\"id\": \"", Id, "\"}' '", Url, "/ack'"])).
