%% The server and its gateway: starting, stopping, changing, and what happens when the gateway is killed or is silent.
-module(warp_server_link_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {seconds, 120}}].

all() ->
    [a_start_that_fails_says_why, a_server_under_a_supervisor, a_killed_gateway_comes_back_under_load,
     a_silent_gateway_is_killed, a_program_that_is_no_gateway, a_channel_that_is_killed_is_one_answer,
     tokens_change_while_it_runs, a_certificate_is_changed, a_stop_finishes_what_is_under_way,
     a_stopped_context_is_an_answer,
     contexts_that_run_elsewhere, refused_calls_and_exports_are_audited, nothing_secret_is_logged,
     a_deletion_during_an_export_aborts_it, many_sockets, the_settings_survive_their_process].

init_per_suite(Config) -> warp_server_http_SUITE:init_per_suite(Config).
end_per_suite(_) -> ok.

init_per_testcase(_, Config) ->
    process_flag(trap_exit, true),
    warp_test:init_case(Config).

end_per_testcase(_, Config) ->
    _ = [warp_server:stop(Server) || Server <- started()],
    warp_test:end_case(Config).

%% Whatever servers a case has left.
started() ->
    [Pid || Pid <- processes(), {_, Values} <- [process_info(Pid, dictionary)],
            proplists:get_value('$initial_call', Values) =:= {supervisor, warp_server_sup, 1},
            lists:keymember(link, 1, supervisor:which_children(Pid))].

paid(Amount) -> #{type => <<"Paid">>, aggregate => <<"Account">>, payload => #{amount => Amount}}.

a_start_that_fails_says_why(Config) ->
    Options = fun(Changes) -> warp_server_test:options(Config, Changes) end,
    ?assertEqual({error, {missing_option, contexts}}, warp_server:start_link(#{})),
    {ok, Taken} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Taken),
    ?assertMatch({error, {gateway, <<_, _/binary>>}},
                 warp_server:start_link(Options(#{listeners => [#{port => Port}]}))),
    ?assertMatch({error, {gateway, _}},
                 warp_server:start_link(Options(#{gateway => #{program => "/no/such/program"}}))),
    ?assertMatch({error, {gateway, _}},
                 warp_server:start_link(Options(#{listeners => [#{port => 0,
                                                                  tls => #{certificate => "/no", key => "/no"}}]}))),
    Bad = [#{name => <<"bank">>, data_dir => ?config(dir, Config), options => #{aggregates => []}}],
    ?assertEqual({error, {context, <<"bank">>, {bad_option, aggregates, empty}}},
                 warp_server:start_link(Options(#{contexts => Bad}))),
    %% Nothing is left: the same folder can be used.
    Server = warp_server_test:start(Config, #{}),
    ?assertMatch([{<<"127.0.0.1">>, _}], warp_server:addresses(Server)).

a_server_under_a_supervisor(Config) ->
    Child = warp_server:child_spec(warp_server_test:options(Config, #{})),
    {ok, Sup} = supervisor:start_link(?MODULE, Child),
    [{warp_server, Server, supervisor, _}] = supervisor:which_children(Sup),
    ?assertMatch({200, _}, warp_server_test:get(Server, "/health")),
    ok = supervisor:terminate_child(Sup, warp_server),
    ?assertEqual({error, context_stopped}, warp_core:context(<<"bank">>)),
    {ok, Again} = supervisor:restart_child(Sup, warp_server),
    ?assertMatch({200, _}, warp_server_test:get(Again, "/health")),
    ok = warp_server:stop(Again),
    ok = warp_server:stop(Again),
    exit(Sup, kill),
    receive {'EXIT', Sup, killed} -> ok end.

init(Child) -> {ok, {#{}, [Child#{restart => transient}]}}.

%% Appends with ids, which a client makes again until they are answered, are stored once.
a_killed_gateway_comes_back_under_load(Config) ->
    Server = warp_server_test:start(Config, #{}),
    Port = warp_server_test:port(Server),
    Self = self(),
    Clients = [spawn_link(fun() -> Self ! {self(), client(Port, <<"c", (integer_to_binary(N))/binary>>, 1, 0)} end)
               || N <- lists:seq(1, 4)],
    _ = [begin
             timer:sleep(400),
             [] = os:cmd("kill -KILL " ++ integer_to_list(warp_server_test:os_pid(Server))),
             ok = warp_test:wait_until(fun() -> is_up(Server) end, 10000)
         end || _ <- [1, 2, 3]],
    ?assertEqual(Port, warp_server_test:port(Server)),
    Broken = [receive {Client, Count} -> Count end || Client <- Clients],
    ct:pal("the connections broke ~p times", [Broken]),
    ?assert(lists:sum(Broken) >= 4),
    {ok, Ctx} = warp_core:context(<<"bank">>),
    [begin
         {ok, Events} =
             warp_core:history(warp_core:entity(Ctx, <<"c", (integer_to_binary(N))/binary>>), #{limit => 10000}),
         Ids = [Id || #{id := Id} <- Events],
         ?assertEqual([integer_to_binary(Id) || Id <- lists:seq(1, 600)], lists:sort(fun by_number/2, Ids))
     end || N <- lists:seq(1, 4)].

by_number(A, B) -> binary_to_integer(A) =< binary_to_integer(B).

is_up(Server) ->
    try warp_server_test:get(Server, "/health") of {200, _} -> true catch error:_ -> false end.

client(_, _, 601, Broken) -> Broken;
client(Port, Entity, N, Broken) ->
    try warp_websocket:open(Port, "admin-token") of
        {ok, Socket} ->
            Next = appends(Socket, Entity, N),
            _ = warp_websocket:close(Socket),
            client(Port, Entity, Next, case Next of 601 -> Broken; _ -> Broken + 1 end)
    catch
        error:_ -> timer:sleep(20), client(Port, Entity, N, Broken)
    end.

appends(_, _, 601) -> 601;
appends(Socket, Entity, N) ->
    Call = #{id => N, op => append, context => <<"bank">>, entity => Entity,
             event => (paid(1))#{id => integer_to_binary(N)}},
    try warp_websocket:call(Socket, Call) of
        {ok, #{<<"seq">> := _}} -> timer:sleep(2), appends(Socket, Entity, N + 1);
        _ -> N
    catch
        error:_ -> N
    end.

a_silent_gateway_is_killed(Config) ->
    Gateway = #{ping_ms => 100, silent_ms => 500},
    Server = warp_server_test:start(Config, #{gateway => Gateway}),
    OsPid = warp_server_test:os_pid(Server),
    timer:sleep(1000),
    ?assertEqual(OsPid, warp_server_test:os_pid(Server)),
    [] = os:cmd("kill -STOP " ++ integer_to_list(OsPid)),
    ok =
        warp_test:wait_until(fun() -> warp_server_sup:link(Server) =/= none andalso is_other(Server, OsPid) end, 20000),
    ok = warp_test:wait_until(fun() -> is_up(Server) end, 10000),
    ?assertNotEqual([], os:cmd("kill -0 " ++ integer_to_list(OsPid))).

is_other(Server, OsPid) ->
    try warp_server_test:os_pid(Server) =/= OsPid catch error:_ -> false end.

%% What says something else is killed, and what says nothing is given up.
a_program_that_is_no_gateway(Config) ->
    Says = fun(Text) ->
        Path = filename:join(?config(dir, Config), "program"),
        ok = file:write_file(Path, ["#!/bin/sh\n", Text, "\n"]),
        ok = file:change_mode(Path, 8#755),
        warp_server:start_link(warp_server_test:options(Config, #{gateway => #{program => Path}}))
    end,
    ?assertEqual({error, {gateway, <<"it has ended">>}}, Says("exit 1")),
    ?assertMatch({error, {gateway, _}}, Says("printf '\\000\\000\\000\\003abc'; sleep 100")),
    %% It is ready, and its addresses are the atom a.
    Ready = "\\000\\000\\000\\000\\000\\000\\000\\000\\001\\203d\\000\\001a",
    ?assertEqual({error, {gateway, <<"it does not say where it listens">>}},
                 Says("printf '\\000\\000\\000\\016" ++ Ready ++ "'; sleep 100")).

a_channel_that_is_killed_is_one_answer(Config) ->
    Server = warp_server_test:start(Config, #{}),
    {ok, Socket} = warp_websocket:open(warp_server_test:port(Server), "admin-token"),
    {ok, Other} = warp_websocket:open(warp_server_test:port(Server), "admin-token"),
    {ok, _} = warp_websocket:call(Socket, #{id => 1, op => stats, context => <<"bank">>}),
    {ok, _} = warp_websocket:call(Other, #{id => 1, op => stats, context => <<"bank">>}),
    [First | _] = warp_server_socket_SUITE:sockets(Server),
    true = exit(First, kill),
    Messages = [warp_websocket:recv(Each, 300) || Each <- [Socket, Other]],
    ?assertEqual([timeout, {close, 1011, <<"internal">>}], lists:sort(Messages)),
    %% A request whose process is killed.
    {ok, Ctx} = warp_core:context(<<"bank">>),
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"a">>), paid(1)),
    {ok, Pid} = warp_core:pid(warp_core:entity(Ctx, <<"a">>)),
    true = erlang:suspend_process(Pid),
    Self = self(),
    Link = warp_server_sup:link(Server),
    Before = links(Link),
    _ = spawn_link(fun() ->
        Path = "/v1/contexts/bank/entities/a/events",
        Self ! {answer, catch warp_server_test:post(Server, Path, paid(1))}
    end),
    ok = warp_test:wait_until(fun() -> links(Link) -- Before =/= [] end),
    [true = exit(Request, kill) || Request <- links(Link) -- Before],
    receive {answer, Answer} -> ?assertNotMatch({200, _}, Answer) end,
    true = erlang:resume_process(Pid),
    ?assertMatch({200, _}, warp_server_test:get(Server, "/health")).

links(Pid) ->
    {links, Links} = process_info(Pid, links),
    [Each || Each <- Links, is_pid(Each)].

tokens_change_while_it_runs(Config) ->
    Server = warp_server_test:start(Config, #{}),
    {ok, Socket} = warp_websocket:open(warp_server_test:port(Server), "alice-token"),
    [Admin, _, Reader] = warp_server_test:tokens(),
    New = Reader#{id => <<"new">>, sha256 => warp_server_test:hash("new-token")},
    ?assertMatch({401, _}, warp_server_test:get(Server, "/v1/contexts/bank/entities", "new-token")),
    ok = warp_server:configure(Server, #{tokens => [Admin, New]}),
    ?assertMatch({200, _}, warp_server_test:get(Server, "/v1/contexts/bank/entities", "new-token")),
    ?assertMatch({close, 4401, _}, warp_websocket:recv(Socket)),
    ?assertMatch({401, _}, warp_server_test:get(Server, "/v1/contexts/bank/entities", "alice-token")),
    ?assertMatch({error, {bad_option, tokens, _}}, warp_server:configure(Server, #{tokens => [1]})),
    ?assertEqual({error, {bad_option, listeners, addresses_cannot_change}},
                 warp_server:configure(Server, #{listeners => [#{port => 1}]})),
    ?assertEqual({error, {bad_option, listeners, addresses_cannot_change}},
                 warp_server:configure(Server,
                                       #{listeners => [#{port => 0, tls => #{certificate => "a", key => "b"}}]})),
    ok = warp_server:configure(Server, #{listeners => [#{port => 0}]}).

a_certificate_is_changed(Config) ->
    Good = certificate(Config, "good"),
    Server = warp_server_test:start(Config, #{listeners => [#{port => 0, tls => Good}]}),
    First = shown(Server),
    ?assertEqual(First, shown(Server)),
    [Admin | _] = warp_server_test:tokens(),
    %% What the gateway cannot read changes nothing else either.
    None = [#{port => 0, tls => Good#{key => "/no"}}],
    ?assertMatch({error, {gateway, _}}, warp_server:configure(Server, #{tokens => [Admin], listeners => None})),
    ?assertMatch(#{<<"alice">> := _}, maps:get(tokens, warp_server_settings:read(Server))),
    ?assertEqual(First, shown(Server)),
    ok = warp_server:configure(Server, #{listeners => [#{port => 0, tls => certificate(Config, "other")}]}),
    ?assertNotEqual(First, shown(Server)).

certificate(Config, Name) ->
    Files = #{certificate => filename:join(?config(dir, Config), Name ++ ".pem"),
              key => filename:join(?config(dir, Config), Name ++ ".key")},
    #{certificate := Certificate, key := Key} = Files,
    _ = os:cmd("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
               "-addext subjectAltName=DNS:localhost -out " ++ Certificate ++ " -keyout " ++ Key),
    Files.

%% The certificate that a client sees.
shown(Server) ->
    {ok, Tls} = ssl:connect("127.0.0.1", warp_server_test:port(Server), [{verify, verify_none}], 5000),
    {ok, Certificate} = ssl:peercert(Tls),
    ok = ssl:close(Tls),
    Certificate.

a_stop_finishes_what_is_under_way(Config) ->
    Server = warp_server_test:start(Config, #{}),
    {ok, Ctx} = warp_core:context(<<"bank">>),
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"a">>), paid(1)),
    {ok, Pid} = warp_core:pid(warp_core:entity(Ctx, <<"a">>)),
    true = erlang:suspend_process(Pid),
    Self = self(),
    Post = fun() ->
        Self ! {answer, catch warp_server_test:post(Server, "/v1/contexts/bank/entities/a/events", paid(1))} end,
    Before = links(warp_server_sup:link(Server)),
    _ = spawn_link(Post),
    ok = warp_test:wait_until(fun() -> links(warp_server_sup:link(Server)) -- Before =/= [] end),
    {ok, Socket} = warp_websocket:open(warp_server_test:port(Server), "admin-token"),
    Stopping = spawn_link(fun() -> ok = warp_server:stop(Server) end),
    ?assertMatch({close, 1001, _}, warp_websocket:recv(Socket)),
    true = erlang:resume_process(Pid),
    receive {answer, Answer} -> ?assertEqual({200, #{<<"seq">> => 2}}, Answer) end,
    receive {'EXIT', Stopping, Why} -> ?assertEqual(normal, Why) end.

a_stopped_context_is_an_answer(Config) ->
    Server = warp_server_test:start(Config, #{contexts => [{running, <<"elsewhere">>}]}),
    ?assertMatch({503, #{<<"code">> := <<"context_stopped">>, <<"retryable">> := true}},
                 warp_server_test:get(Server, "/v1/contexts/elsewhere/stats")),
    ?assertMatch({404, #{<<"code">> := <<"unknown_context">>}},
                 warp_server_test:get(Server, "/v1/contexts/bank/stats")).

contexts_that_run_elsewhere(Config) ->
    Options = maps:without([commands, views], warp_server_test:context(<<"shop">>)),
    {ok, Child, _Ctx} = warp_core:start_link(Options#{context => <<"shop">>, data_dir => ?config(dir, Config)}),
    Server = warp_server_test:start(Config, #{contexts => [{running, <<"shop">>, warp_server_test}]}),
    ?assertMatch({200, #{<<"seq">> := 1}},
                 warp_server_test:post(Server, "/v1/contexts/shop/entities/a/events", paid(5))),
    ?assertMatch({200, #{<<"seqs">> := [2]}},
                 warp_server_test:post(Server, "/v1/contexts/shop/entities/a/commands/withdraw",
                                       #{input => #{amount => 1}})),
    ok = warp_server:stop(Server),
    ?assertMatch({ok, _}, warp_core:context(<<"shop">>)),
    unlink(Child),
    exit(Child, shutdown),
    ok = warp_test:wait_until(fun() -> warp_core:context(<<"shop">>) =:= {error, context_stopped} end, 10000).

%% ------------------------------------------------------------------------------------------------------ The log

with_log(Fun) ->
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => self(), level => all}),
    try Fun() after logger:remove_handler(?MODULE) end.

log(#{msg := Msg, level := Level} = Event, #{config := Pid}) ->
    Domain = maps:get(domain, maps:get(meta, Event), []),
    %% All that a formatter could show.
    Text = [logger_formatter:format(Event, #{}), io_lib:format("~0tp", [Msg])],
    Pid ! {log, Domain, Level, Msg, unicode:characters_to_binary(Text)},
    ok.

logged() ->
    receive {log, Domain, _, Msg, Text} -> [{Domain, Msg, Text} | logged()] after 300 -> [] end.

refused_calls_and_exports_are_audited(Config) ->
    Server = warp_server_test:start(Config, #{}),
    Logged = with_log(fun() ->
        {403, _} = warp_server_test:get(Server, "/v1/contexts/bank/stats", "alice-token"),
        {403, _} = warp_server_test:get(Server, "/v1/contexts/bank/entities/user%2Falice/export", "alice-token"),
        {200, _} = warp_server_test:get(Server, "/v1/contexts/bank/entities/x/export"),
        {200, _, _} = warp_server_test:request(Server, delete, "/v1/contexts/bank/entities/x", "admin-token", none),
        {401, _} = warp_server_test:get(Server, "/v1/contexts/bank/stats", "unknown-token"),
        timer:sleep(1500),
        logged()
    end),
    Audit = [Report || {[warp, audit], {report, Report}, _} <- Logged],
    ?assertMatch([#{what := refused, operation := stats, token := <<"alice">>, context := <<"bank">>, entity := none},
                  #{what := refused, operation := export, entity := <<"user/alice">>, peer := <<"127.0.0.1:",
                    _/binary>>},
                  #{what := done, operation := export, token := <<"admin">>, entity := <<"x">>},
                  #{what := done, operation := delete, entity := <<"x">>},
                  #{what := refused, why := _, count := 1}], Audit),
    ?assertEqual([], [Text || {_, _, Text} <- Logged, binary:match(Text, <<"-token">>) =/= nomatch]).

nothing_secret_is_logged(Config) ->
    Server = warp_server_test:start(Config, #{}),
    Logged = with_log(fun() ->
        Input = #{input => #{word => <<"abracadabra">>}},
        {500, _} = warp_server_test:post(Server, "/v1/contexts/bank/entities/a/commands/crash", Input),
        Event =
            #{type => <<"Crash">>, aggregate => <<"Account">>, payload => #{amount => 1, word => <<"abracadabra">>}},
        {500, _} = warp_server_test:post(Server, "/v1/contexts/bank/entities/a/events", Event),
        {ok, Socket} = warp_websocket:open(warp_server_test:port(Server), "admin-token"),
        {error, _} = warp_websocket:call(Socket, #{id => 1, op => append, context => <<"bank">>, entity => <<"a">>,
                                                   event => Event}),
        %% Reports of supervisors show the arguments of what they start again.
        {settings, Pid, _, _} = lists:keyfind(settings, 1, supervisor:which_children(Server)),
        true = exit(Pid, kill),
        ok = warp_test:wait_until(fun() -> warp_server_sup:link(Server) =/= none andalso is_up(Server) end, 10000),
        logged()
    end),
    #{keys := [Key]} = warp_server_settings:read(Server),
    ?assertEqual([], [Text || {_, _, Text} <- Logged, binary:match(Text, Key) =/= nomatch]),
    ?assertMatch([_ | _], [Text || {_, _, Text} <- Logged, binary:match(Text, <<"warp_server_settings">>) =/= nomatch]),
    ?assertNotEqual([], [Text || {[warp, server], _, Text} <- Logged]),
    ?assertEqual([], [Text || {_, _, Text} <- Logged, binary:match(Text, <<"abracadabra">>) =/= nomatch]).

a_deletion_during_an_export_aborts_it(Config) ->
    _ = warp_server_test:start(Config, #{}),
    {ok, Ctx} = warp_core:context(<<"bank">>),
    Entity = warp_core:entity(Ctx, <<"a">>),
    {ok, _} = warp_core:append_batch(Entity, [paid(N) || N <- lists:seq(1, 600)]),
    {ok, Lines, Export} = warp_server_export:first(Entity, #{}),
    {ok, More, Last} = warp_server_export:next(Export),
    {ok, Rest, done} = warp_server_export:next(Last),
    ?assertEqual(600, length(binary:split(iolist_to_binary([Lines, More, Rest]), <<"\n">>, [global, trim]))),
    ok = warp_core:delete(Entity),
    ?assertEqual({error, changed}, warp_server_export:next(Export)),
    {ok, _} = warp_core:append_batch(Entity, [paid(N) || N <- lists:seq(1, 600)]),
    ?assertEqual({error, changed}, warp_server_export:next(Export)),
    {ok, Some, done} = warp_server_export:first(Entity, #{from => 599, limit => 5}),
    ?assertEqual(2, length(Some)).

many_sockets(Config) ->
    Server = warp_server_test:start(Config, #{}),
    Port = warp_server_test:port(Server),
    Sockets = [begin {ok, Socket} = warp_websocket:open(Port, "admin-token"), Socket end || _ <- lists:seq(1, 1000)],
    Subscribe = warp_server_test:json(#{id => 1, op => subscribe, context => <<"bank">>}),
    [ok = warp_websocket:send(Socket, Subscribe) || Socket <- Sockets],
    [?assertMatch(#{<<"id">> := 1}, first(warp_websocket:recv(Socket))) || Socket <- Sockets],
    {200, _} = warp_server_test:post(Server, "/v1/contexts/bank/entities/a/events", paid(7)),
    [?assertMatch([#{<<"entity">> := <<"a">>}], event(Socket)) || Socket <- Sockets],
    [ok = warp_websocket:close(Socket) || Socket <- Sockets],
    ok = warp_test:wait_until(fun() -> warp_server_socket_SUITE:sockets(Server) =:= [] end, 10000).

first([First | _]) -> First;
first(One) -> One.

event(Socket) ->
    Messages = case warp_websocket:recv(Socket) of List when is_list(List) -> List; One -> [One] end,
    case [Events || #{<<"events">> := Events} <- Messages] of
        [] -> event(Socket);
        [Events] -> Events
    end.

the_settings_survive_their_process(Config) ->
    Server = warp_server_test:start(Config, #{}),
    [Admin | _] = warp_server_test:tokens(),
    ok = warp_server:configure(Server, #{tokens => [Admin]}),
    Port = warp_server_test:port(Server),
    {settings, Pid, _, _} = lists:keyfind(settings, 1, supervisor:which_children(Server)),
    true = exit(Pid, kill),
    IsOther = fun() -> lists:keyfind(settings, 1, supervisor:which_children(Server)) =/= {settings, Pid, worker,
                                                                                          [warp_server_settings]} end,
    ok = warp_test:wait_until(fun() -> IsOther() andalso is_up(Server) end, 10000),
    ?assertEqual(Port, warp_server_test:port(Server)),
    ?assertMatch({401, _}, warp_server_test:get(Server, "/v1/contexts/bank/entities", "reader-token")),
    ?assertMatch({200, _}, warp_server_test:get(Server, "/v1/contexts/bank/entities")).
