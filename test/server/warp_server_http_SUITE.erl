%% Every operation of the server by HTTP.
-module(warp_server_http_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [health_needs_no_token, the_description_is_made_once, events_are_appended_and_read, a_batch_is_appended_at_once,
     states_are_read, a_state_without_json_is_an_error, entities_and_events_are_listed_page_by_page,
     commands_are_decided, a_request_ends_with_its_client, an_entity_is_deleted,
     an_entity_is_deleted_from_backups, sql_is_queried,
     sagas_run_and_are_described, statistics_are_json, names_of_subscriptions, tokens_are_signed].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(inets),
    {ok, _} = application:ensure_all_started(warp_server),
    Config.

end_per_suite(_) -> ok.

init_per_testcase(_, Config0) ->
    Config = warp_test:init_case(Config0),
    Server = warp_server_test:start(Config, #{}),
    [{server, Server} | Config].

end_per_testcase(_, Config) ->
    ok = warp_server_test:stop(?config(server, Config)),
    warp_test:end_case(Config).

health_needs_no_token(Config) ->
    Server = ?config(server, Config),
    ?assertMatch({200, _, #{<<"status">> := <<"ok">>}}, warp_server_test:request(Server, get, "/health", none, none)),
    ?assertMatch({200, _, #{<<"openapi">> := _, <<"paths">> := #{<<"/health">> := _}}},
                 warp_server_test:request(Server, get, "/v1/openapi.json", none, none)),
    ?assertMatch({401, _, _}, warp_server_test:request(Server, get, "/v1/contexts/bank/stats", none, none)),
    ?assertMatch({401, _, _}, warp_server_test:request(Server, get, "/v1/contexts/bank/stats", "wrong", none)).

the_description_is_made_once(Config) ->
    Server = ?config(server, Config),
    Made = warp_server_test:decoded(warp_server_openapi:json()),
    {module, _} = code:ensure_loaded(warp_server_openapi),
    Count = erlang:trace_pattern({warp_server_openapi, '_', '_'}, true, [local]),
    ?assert(Count > 5),
    _ = erlang:trace(new_processes, true, [call]),
    _ = [?assertMatch({200, _, Made}, warp_server_test:request(Server, get, "/v1/openapi.json", none, none))
         || _ <- [1, 2]],
    _ = erlang:trace(new_processes, false, [call]),
    _ = erlang:trace_pattern({warp_server_openapi, '_', '_'}, false, [local]),
    receive {trace, _, call, Call} -> error({made_again, Call}) after 100 -> ok end.

events_are_appended_and_read(Config) ->
    Server = ?config(server, Config),
    Events = "/v1/contexts/bank/entities/user%2Falice/events",
    Event = #{type => <<"Paid">>, aggregate => <<"Account">>, payload => #{amount => 5, text => <<"ä"/utf8>>},
              metadata => #{by => <<"me">>}, id => <<"p1">>},
    ?assertEqual({200, #{<<"seq">> => 1}}, warp_server_test:post(Server, Events, Event)),
    ?assertEqual({200, #{<<"seq">> => 1}}, warp_server_test:post(Server, Events, Event)),
    ?assertEqual({200, #{<<"seq">> => 2}},
                 warp_server_test:post(Server, Events, (paid(7))#{expected => 1, timeout => 900})),
    {409, Conflict} = warp_server_test:post(Server, Events, (paid(7))#{expected => 1}),
    ?assertMatch(#{<<"code">> := <<"wrong_expected_seq">>, <<"parameters">> := #{<<"actual">> := 2},
                   <<"type">> := <<"urn:warp:problem:wrong_expected_seq">>, <<"retryable">> := false,
                   <<"title">> := <<"Wrong expected seq">>, <<"status">> := 409, <<"detail">> := _, <<"advice">> := _},
                 Conflict),
    {200, #{<<"events">> := [First, Second], <<"next">> := null}} = warp_server_test:get(Server, Events),
    ?assertMatch(#{<<"type">> := <<"Paid">>, <<"seq">> := 1, <<"id">> := <<"p1">>, <<"schema_vsn">> := 1,
                   <<"payload">> := #{<<"amount">> := 5, <<"text">> := <<"ä"/utf8>>},
                   <<"metadata">> := #{<<"by">> := <<"me">>}, <<"recorded_at">> := _}, First),
    ?assertEqual({200, #{<<"events">> => [First], <<"next">> => 2}},
                 warp_server_test:get(Server, Events ++ "?limit=1")),
    ?assertEqual({200, #{<<"events">> => [Second], <<"next">> => null}},
                 warp_server_test:get(Server, Events ++ "?from=2")),
    ?assertEqual({200, #{<<"events">> => [Second], <<"next">> => 1}},
                 warp_server_test:get(Server, Events ++ "?direction=backward&limit=1")),
    {422, Refused} = warp_server_test:post(Server, Events, paid(-100)),
    ?assertMatch(#{<<"code">> := <<"rejected">>}, Refused).

a_batch_is_appended_at_once(Config) ->
    Server = ?config(server, Config),
    Events = "/v1/contexts/bank/entities/alice/events",
    Many = #{events => [paid(N) || N <- lists:seq(1, 3000)]},
    ?assertEqual({200, #{<<"first">> => 1, <<"last">> => 3000}}, warp_server_test:post(Server, Events, Many)),
    {200, #{<<"events">> := Page, <<"next">> := 1001}} = warp_server_test:get(Server, Events),
    ?assertEqual(lists:seq(1, 1000), [Seq || #{<<"seq">> := Seq} <- Page]),
    {200, #{<<"events">> := Rest, <<"next">> := null}} =
        warp_server_test:get(Server, Events ++ "?from=1001&limit=5000"),
    ?assertEqual(lists:seq(1001, 3000), [Seq || #{<<"seq">> := Seq} <- Rest]),
    {200, Lines} = warp_server_test:get(Server, "/v1/contexts/bank/entities/alice/export"),
    Exported = [warp_server_test:decoded(Line) || Line <- binary:split(Lines, <<"\n">>, [global, trim])],
    ?assertEqual(Page ++ Rest, Exported),
    %% A page has no more than some MiB, whatever the limit is.
    Large = #{events => [(paid(1))#{metadata => #{text => binary:copy(<<"x">>, 500000)}} || _ <- lists:seq(1, 20)]},
    {200, _} = warp_server_test:post(Server, Events, Large),
    {200, #{<<"events">> := Some, <<"next">> := Next}} = warp_server_test:get(Server, Events ++ "?from=3001&limit=20"),
    ?assert(length(Some) < 20 orelse Next =:= null),
    {200, All} = warp_server_test:get(Server, "/v1/contexts/bank/entities/alice/export?from=3001"),
    ?assertEqual(20, length(binary:split(All, <<"\n">>, [global, trim]))).

states_are_read(Config) ->
    Server = ?config(server, Config),
    [{200, _} = warp_server_test:post(Server, "/v1/contexts/bank/entities/bob/events", paid(N)) || N <- [1, 2, 3]],
    State = "/v1/contexts/bank/entities/bob/states/Account",
    ?assertEqual({200, #{<<"state">> => 6}}, warp_server_test:get(Server, State)),
    ?assertEqual({200, #{<<"state">> => 3}}, warp_server_test:get(Server, State ++ "?seq=2")),
    ?assertEqual({200, #{<<"state">> => 0}}, warp_server_test:get(Server, State ++ "?time=5")),
    ?assertMatch({400, #{<<"code">> := <<"bad_request">>}}, warp_server_test:get(Server, State ++ "?time=5&seq=1")),
    ?assertMatch({404, #{<<"code">> := <<"unknown_aggregate">>, <<"status">> := 404}},
                 warp_server_test:get(Server, "/v1/contexts/bank/entities/bob/states/Other")).

a_state_without_json_is_an_error(Config) ->
    Server = ?config(server, Config),
    ?assertEqual({200, #{<<"state">> => #{<<"count">> => 0, <<"last">> => <<"none">>}}},
                 warp_server_test:get(Server, "/v1/contexts/bank/entities/bob/states/Pair")),
    ?assertMatch({500, #{<<"code">> := <<"state_not_json">>}},
                 warp_server_test:get(Server, "/v1/contexts/bank/entities/bob/states/Raw")).

entities_and_events_are_listed_page_by_page(Config) ->
    Server = ?config(server, Config),
    Ids = [<<"a/", (integer_to_binary(N))/binary>> || N <- lists:seq(10, 29)],
    [{200, _} = warp_server_test:post(Server, ["/v1/contexts/bank/entities/", uri_string:quote(Id), "/events"], paid(1))
     || Id <- [<<"other">> | Ids]],
    Entities = pages(Server, "/v1/contexts/bank/entities?prefix=a/&limit=7", <<"entities">>, []),
    ?assertEqual(Ids, lists:sort([Id || #{<<"id">> := Id, <<"seq">> := 1} <- Entities])),
    {200, #{<<"events">> := All, <<"more">> := false}} = warp_server_test:get(Server, "/v1/contexts/bank/events"),
    ?assertEqual(21, length(All)),
    {200, #{<<"events">> := Some, <<"next">> := Next, <<"more">> := true}} =
        warp_server_test:get(Server, "/v1/contexts/bank/events?limit=8"),
    {200, #{<<"events">> := Others, <<"more">> := false}} =
        warp_server_test:get(Server, ["/v1/contexts/bank/events?after=", Next]),
    ?assertEqual(All, Some ++ Others),
    [?assertMatch({400, #{<<"code">> := <<"bad_option">>}}, warp_server_test:get(Server, ["/v1/contexts/bank/", Bad]))
     || Bad <- ["events?after=%3F", "entities?after=AA", "events?shard=9", "events?limit=0", "entities?limit=x"]].

pages(Server, Path, Key, Found) ->
    {200, #{Key := Page, <<"next">> := Next}} =
        warp_server_test:get(Server, [Path, [["&after=", After] || After <- Found]]),
    case Next of
        null -> Page;
        _ -> Page ++ pages(Server, Path, Key, [Next])
    end.

%% It would wait for a minute, and nobody counts it any more.
a_request_ends_with_its_client(Config) ->
    Server = ?config(server, Config),
    {ok, Ctx} = warp_core:context(<<"bank">>),
    {200, _} = warp_server_test:post(Server, "/v1/contexts/bank/entities/held/events", paid(1)),
    {ok, Pid} = warp_core:pid(warp_core:entity(Ctx, <<"held">>)),
    true = erlang:suspend_process(Pid),
    {links, Before} = process_info(warp_server_sup:link(Server), links),
    Body = warp_server_test:json((paid(1))#{timeout => 60000}),
    {ok, Tcp} = gen_tcp:connect("127.0.0.1", warp_server_test:port(Server), [binary]),
    ok = gen_tcp:send(Tcp, ["POST /v1/contexts/bank/entities/held/events HTTP/1.1\r\nHost: localhost\r\n"
                            "Authorization: Bearer admin-token\r\nContent-Type: application/json\r\nContent-Length: ",
                            integer_to_list(byte_size(Body)), "\r\n\r\n", Body]),
    Waiting = fun() ->
        {links, Now} = process_info(warp_server_sup:link(Server), links),
        [Link || Link <- Now -- Before, is_pid(Link)]
    end,
    ok = warp_test:wait_until(fun() -> length(Waiting()) =:= 1 end),
    ok = gen_tcp:close(Tcp),
    ok = warp_test:wait_until(fun() -> Waiting() =:= [] end),
    true = erlang:resume_process(Pid),
    %% What it had asked for is done.
    ok = warp_test:wait_until(fun() ->
        {200, #{<<"state">> := State}} = warp_server_test:get(Server, "/v1/contexts/bank/entities/held/states/Account"),
        State =:= 2
    end).

commands_are_decided(Config) ->
    Server = ?config(server, Config),
    {200, _} = warp_server_test:post(Server, "/v1/contexts/bank/entities/eve/events", paid(10)),
    Command = fun(Name, Input) ->
        warp_server_test:post(Server, "/v1/contexts/bank/entities/eve/commands/" ++ Name, #{input => Input})
    end,
    ?assertEqual({200, #{<<"seqs">> => [2]}}, Command("withdraw", #{amount => 4})),
    ?assertMatch({422, #{<<"code">> := <<"rejected">>, <<"detail">> := <<"The command refused.">>,
                         <<"parameters">> := #{<<"refusal">> := [<<"insufficient">>, 6]}}},
                 Command("withdraw", #{amount => 40})),
    %% What looks like a reason of Warp's own is none, when a command gives it.
    ?assertMatch({422, #{<<"parameters">> := #{<<"refusal">> := #{<<"a">> := 1}}}}, Command("secret", #{a => 1})),
    ?assertMatch({404, #{<<"code">> := <<"unknown_command">>}}, Command("other", #{})),
    {500, Crashed} = Command("crash", #{a => <<"top secret">>}),
    ?assertMatch(#{<<"code">> := <<"decide_failed">>, <<"parameters">> := None} when None =:= #{}, Crashed),
    ?assertEqual(nomatch, binary:match(warp_server_test:json(Crashed), <<"top secret">>)).

an_entity_is_deleted(Config) ->
    Server = ?config(server, Config),
    {200, _} = warp_server_test:post(Server, "/v1/contexts/bank/entities/eve/events", paid(10)),
    ?assertMatch({200, _, #{<<"entity">> := <<"eve">>, <<"deleted">> := true, <<"events">> := 1, <<"shard">> := _,
                            <<"erased_at">> := _, <<"erased_from">> := [<<"sagas">>, <<"log">> | _],
                            <<"nodes">> := [<<"nonode@nohost">>], <<"backups">> := []}},
                 warp_server_test:request(Server, delete, "/v1/contexts/bank/entities/eve", "admin-token", none)),
    ?assertEqual({200, #{<<"events">> => [], <<"next">> => null}},
                 warp_server_test:get(Server, "/v1/contexts/bank/entities/eve/events")).

%% Who deletes sees the cuts of backups, and not where they are kept.
an_entity_is_deleted_from_backups(Config) ->
    Server = ?config(server, Config),
    {ok, Bank} = warp_core:context(<<"bank">>),
    Folder = filename:join(?config(priv_dir, Config), "receipts"),
    Key = binary:encode_hex(crypto:strong_rand_bytes(32)),
    true = os:putenv("WARP_TEST_SERVER_KEY", binary_to_list(Key)),
    {200, _} = warp_server_test:post(Server, "/v1/contexts/bank/entities/eve/events", paid(10)),
    {ok, #{cut := 1}} = warp_backup:run(Bank, Folder, #{master_key => {env, "WARP_TEST_SERVER_KEY"}}),
    Delete = fun() ->
        warp_server_test:request(Server, delete, "/v1/contexts/bank/entities/eve", "admin-token", none)
    end,
    ?assertMatch({200, _, #{<<"events">> := 1, <<"backups">> := [2]}}, Delete()),
    {200, _} = warp_server_test:post(Server, "/v1/contexts/bank/entities/eve/events", paid(10)),
    ok = file:rename(Folder, Folder ++ ".away"),
    ok = file:write_file(Folder, "in its way"),
    {503, _, #{<<"code">> := <<"still_to_erase">>, <<"parameters">> := None} = Problem} = Delete(),
    ?assertEqual(#{}, None),
    ?assertEqual(nomatch, binary:match(warp_server_test:json(Problem), <<"receipts">>)),
    warp_test:wait_until(fun() -> warp_backup:forget(Bank, Folder) =:= ok end).

sql_is_queried(Config) ->
    Server = ?config(server, Config),
    Query = fun(Body) -> warp_server_test:post(Server, "/v1/contexts/bank/query", Body) end,
    ?assertEqual({200, #{<<"columns">> => [<<"a">>, <<"b">>, <<"c">>, <<"d">>],
                         <<"rows">> => [[1, <<"x">>, null, #{<<"blob">> => <<"/w==">>}]]}},
                 Query(#{sql => <<"SELECT ?1 AS a, ?2 AS b, ?3 AS c, x'ff' AS d">>, params => [1, <<"x">>, null]})),
    ?assertMatch({400, #{<<"code">> := <<"sql_error">>}}, Query(#{sql => <<"SELEKT">>})),
    ?assertMatch({400, #{<<"code">> := <<"bad_params">>}}, Query(#{sql => <<"SELECT 1">>, params => 1})),
    ?assertMatch({400, #{<<"code">> := <<"bad_option">>}}, Query(#{})).

sagas_run_and_are_described(Config) ->
    Server = ?config(server, Config),
    {200, _} = warp_server_test:post(Server, "/v1/contexts/bank/entities/a/events", paid(10)),
    Saga = fun(Id, Amount) ->
        Steps = [step(<<"a">>, -Amount), [step(<<"b">>, Amount), step(<<"c">>, 1)]],
        warp_server_test:post(Server, "/v1/contexts/bank/sagas", #{saga => Id, steps => Steps})
    end,
    ?assertMatch({200, #{<<"result">> := <<"COMMITTED">>, <<"id">> := <<"s1">>,
                         <<"steps">> := [#{<<"entity">> := <<"a">>, <<"status">> := <<"applied">>, <<"seq">> := 2}, _,
                                         _]}},
                 Saga(<<"s1">>, 4)),
    ?assertMatch({200, #{<<"result">> := <<"COMPENSATED">>,
                         <<"failed">> := #{<<"step">> := 0, <<"reason">> := #{<<"code">> := <<"rejected">>}}}},
                 Saga(<<"s2">>, 400)),
    ?assertMatch({200, #{<<"result">> := <<"COMMITTED">>}}, warp_server_test:get(Server, "/v1/contexts/bank/sagas/s1")),
    ?assertMatch({404, #{<<"code">> := <<"not_found">>}}, warp_server_test:get(Server, "/v1/contexts/bank/sagas/none")),
    ?assertEqual({200, #{<<"sagas">> => []}}, warp_server_test:get(Server, "/v1/contexts/bank/sagas?state=stuck")),
    ?assertEqual({200, #{<<"sagas">> => []}}, warp_server_test:get(Server, "/v1/contexts/bank/sagas?state=pending")),
    ?assertMatch({409, #{<<"code">> := <<"not_stuck">>}},
                 warp_server_test:post(Server, "/v1/contexts/bank/sagas/s1/retry", none)),
    ?assertMatch({409, #{<<"code">> := <<"not_stuck">>}},
                 warp_server_test:post(Server, "/v1/contexts/bank/sagas/s1/resolve", #{note => <<"so be it">>})),
    ?assertMatch({200, #{<<"result">> := <<"COMMITTED">>}},
                 warp_server_test:post(Server, "/v1/contexts/bank/sagas/s1/cancel", none)),
    ?assertMatch({400, #{<<"code">> := <<"bad_step">>}},
                 warp_server_test:post(Server, "/v1/contexts/bank/sagas", #{saga => <<"s3">>, steps => [#{}]})),
    ?assertMatch({400, #{<<"code">> := <<"bad_option">>}},
                 warp_server_test:post(Server, "/v1/contexts/bank/sagas", #{saga => <<"s3">>, steps => 1})).

step(Entity, Amount) ->
    #{entity => Entity, aggregate => <<"Account">>, forward => #{type => <<"Moved">>, payload => #{amount => Amount}},
      compensate => #{type => <<"Moved">>, payload => #{amount => -Amount}}}.

statistics_are_json(Config) ->
    Server = ?config(server, Config),
    {200, _} = warp_server_test:post(Server, "/v1/contexts/bank/entities/a/events", paid(10)),
    ?assertMatch({200, #{<<"appends">> := _, <<"shards">> := [_, _]}},
                 warp_server_test:get(Server, "/v1/contexts/bank/stats")).

names_of_subscriptions(Config) ->
    Server = ?config(server, Config),
    Name = "/v1/contexts/bank/subscriptions/mail",
    ?assertMatch({404, #{<<"code">> := <<"unknown_subscription">>}}, warp_server_test:get(Server, Name ++ "/parked")),
    {ok, Ctx} = warp_core:context(<<"bank">>),
    {ok, Sub} = warp_subscription:subscribe(Ctx, #{name => <<"mail">>}),
    ?assertEqual({200, #{<<"parked">> => []}}, warp_server_test:get(Server, Name ++ "/parked")),
    ?assertMatch({404, #{<<"code">> := <<"not_waiting">>}},
                 warp_server_test:post(Server, Name ++ "/skip", #{entity => <<"a">>})),
    ?assertMatch({404, #{<<"code">> := <<"not_waiting">>}},
                 warp_server_test:post(Server, Name ++ "/retry", #{entity => <<"a">>})),
    ?assertMatch({409, _, #{<<"code">> := <<"in_use">>}},
                 warp_server_test:request(Server, delete, Name, "admin-token", none)),
    ok = warp_subscription:unsubscribe(Sub),
    ?assertMatch({200, _, _}, warp_server_test:request(Server, delete, Name, "admin-token", none)).

tokens_are_signed(Config) ->
    Server = ?config(server, Config),
    Mint = fun(Body, Token) -> warp_server_test:post(Server, "/v1/tokens", Body, Token) end,
    Scope = #{operations => [read], context => <<"bank">>, prefix => <<"user/alice/">>, aggregates => [<<"Account">>]},
    {200, #{<<"token">> := Signed, <<"expires">> := Expires}} =
        Mint(#{seconds => 100, scopes => [Scope]}, "alice-token"),
    ?assert(abs(Expires - os:system_time(second) - 100) < 5),
    Token = binary_to_list(Signed),
    State = fun(Id, By) -> warp_server_test:get(Server, ["/v1/contexts/bank/entities/", Id, "/states/Account"], By) end,
    ?assertMatch({200, _}, State("user%2Falice%2F1", Token)),
    ?assertMatch({403, _}, State("user%2Falice", Token)),
    ?assertMatch({200, _}, State("user%2Falice", "alice-token")),
    %% None may have more than the one that it is made with, nor last longer.
    ?assertMatch({403, #{<<"code">> := <<"forbidden">>}},
                 Mint(#{scopes => [Scope#{prefix => <<"user/">>}]}, "alice-token")),
    ?assertMatch({403, _}, Mint(#{scopes => [maps:remove(aggregates, Scope)]}, Token)),
    {200, #{<<"token">> := Short, <<"expires">> := Soon}} = Mint(#{seconds => 3000}, Token),
    ?assertEqual(Expires, Soon),
    ?assertMatch({200, _}, State("user%2Falice%2F1", binary_to_list(Short))),
    ?assertMatch({403, _}, State("user%2Falice", binary_to_list(Short))),
    ?assertMatch({400, #{<<"code">> := <<"bad_option">>}}, Mint(#{seconds => 100000}, "alice-token")),
    %% It loses what the other one loses.
    Tokens = [Each || #{id := Id} = Each <- warp_server_test:tokens(), Id =/= <<"alice">>],
    Alice = #{id => <<"alice">>, sha256 => warp_server_test:hash("alice-token"), scopes => [#{operations => [append]}]},
    ok = warp_server:configure(Server, #{tokens => [Alice | Tokens]}),
    ?assertMatch({403, _}, State("user%2Falice%2F1", Token)),
    ok = warp_server:configure(Server, #{tokens => Tokens}),
    ?assertMatch({_, _}, State("user%2Falice%2F1", "reader-token")),
    {Status, _, _} = warp_server_test:request(Server, get, "/v1/contexts/bank/entities/user%2Falice%2F1/states/Account",
                                              Token, none),
    ?assert(lists:member(Status, [401, 403])).

paid(Amount) -> #{type => <<"Paid">>, aggregate => <<"Account">>, payload => #{amount => Amount}}.
