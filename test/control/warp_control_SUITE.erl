%% The socket in a context's folder, through which the program `warp' works with a context that runs.
-module(warp_control_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [a_request_is_answered_in_lines,
     the_socket_is_the_users_alone,
     the_socket_goes_with_the_context,
     a_long_path_is_reached_too,
     what_is_no_request_is_refused,
     no_request_makes_an_atom,
     a_silent_client_is_cut_off,
     there_are_eight_clients_at_most,
     a_client_that_goes_away_leaves_nothing_behind,
     a_client_that_reads_nothing_holds_up_nobody_else,
     a_killed_process_has_a_successor,
     a_socket_that_a_killed_vm_left_is_replaced,
     a_file_of_that_name_stays,
     a_copy_with_a_socket_is_checked_and_started].

init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

a_request_is_answered_in_lines(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, {1, 600}} = warp_core:append_batch(Alice, [warp_test:incremented() || _ <- lists:seq(1, 600)]),
    {ok, 601} = warp_core:append(Alice, warp_test:noted(<<"last">>)),
    Dir = warp_test:context_dir(Ctx),
    Pid = list_to_binary(os:getpid()),
    ?assertMatch([#{<<"ok">> := #{<<"context">> := <<"test">>, <<"os_pid">> := Pid}}], call(Dir, #{op => hello})),
    Events = call(Dir, #{op => events, entity => <<"alice">>}),
    ?assertEqual(lists:seq(1, 601), [Seq || #{<<"item">> := #{<<"seq">> := Seq}} <- Events]),
    ?assertMatch(#{<<"ok">> := #{<<"events">> := 601}}, lists:last(Events)),
    ?assertMatch([#{<<"item">> := #{<<"seq">> := 601, <<"payload">> := #{<<"text">> := <<"last">>}}},
                  #{<<"item">> := #{<<"seq">> := 600}}, #{<<"ok">> := #{<<"events">> := 2}}],
                 call(Dir, #{op => events, entity => <<"alice">>, backward => true, limit => 2})),
    ?assertEqual(300, length(call(Dir, #{op => events, entity => <<"alice">>, from => 2, limit => 299}))),
    ok = warp_test:await_applied(Ctx),
    Verified = call(Dir, #{op => verify}),
    ?assertMatch([#{<<"progress">> := #{<<"shard">> := 0, <<"part">> := _}} | _], Verified),
    ?assertMatch(#{<<"ok">> := #{<<"events">> := 601}}, lists:last(Verified)),
    ?assertMatch([#{<<"error">> := #{<<"reason">> := <<"not_found">>, <<"to_do">> := <<"Check the id.">>}}],
                 call(Dir, #{op => saga, saga => <<"none">>})).

the_socket_is_the_users_alone(Config) ->
    Ctx = warp_test:start(Config, #{file_access => umask}),
    Socket = socket(Ctx),
    ?assertMatch({ok, #file_info{type = other}}, file:read_file_info(Socket)),
    {ok, #file_info{mode = Mode}} = file:read_file_info(Socket),
    ?assertEqual(8#600, Mode band 8#777),
    ?assertNot(warp_cli_test:is_there(Socket ++ ".new")).

the_socket_goes_with_the_context(Config) ->
    Ctx = warp_test:start(Config),
    Socket = socket(Ctx),
    warp_test:stop(Ctx),
    ?assertNot(warp_cli_test:is_there(Socket)),
    ?assertEqual({error, no_socket}, warp_control:call(filename:dirname(Socket), #{op => hello}, fun(_) -> ok end)),
    ?assertEqual({error, no_socket}, warp_control:call("/none/at/all", #{op => hello}, fun(_) -> ok end)).

%% Sockets have paths of 107 bytes at most.
a_long_path_is_reached_too(Config) ->
    Tmp = filename:join(?config(dir, Config), "tmp"),
    ok = file:make_dir(Tmp),
    Before = os:getenv("TMPDIR"),
    true = os:putenv("TMPDIR", Tmp),
    try
        Long = filename:join([?config(dir, Config) | lists:duplicate(4, lists:duplicate(60, $d))]),
        Ctx = warp_test:start(Config, #{data_dir => Long}),
        Dir = warp_test:context_dir(Ctx),
        _ = socket(Ctx),
        ?assertMatch([#{<<"ok">> := _}], call(Dir, #{op => hello})),
        %% The link that made the path short is gone.
        ?assertEqual({ok, []}, file:list_dir(Tmp)),
        warp_test:stop(Ctx),
        ?assertNot(warp_cli_test:is_there(filename:join(Dir, "ctl")))
    after
        case Before of false -> os:unsetenv("TMPDIR"); _ -> os:putenv("TMPDIR", Before) end
    end.

what_is_no_request_is_refused(Config) ->
    Ctx = warp_test:start(Config),
    Dir = filename:dirname(socket(Ctx)),
    [?assertMatch({Given, #{<<"error">> := #{<<"reason">> := <<"bad_request">>}}}, {Given, send(Dir, Given)})
     || Given <- [<<>>, <<"{">>, <<"[]">>, <<"7">>, <<"{}">>, <<"{\"op\":null}">>, <<"{\"op\":\"fly\"}">>, <<255, 254>>,
                  <<"{\"op\":\"events\"}">>, binary:copy(<<"x">>, 100000), <<"{\"op\":\"", 0:800, "\"}">>,
                  <<"{\"op\":\"", (binary:copy(<<"x">>, 200))/binary, "\"}">>]],
    %% Arguments of any kind give an error of some kind.
    [?assertMatch({Op, Value, [#{<<"error">> := #{<<"reason">> := _}}]},
                  {Op, Value, call(Dir, #{op => Op, entity => Value, saga => Value, note => Value, nodes => Value})})
     || Op <- [events, last, erase, saga, saga_retry, saga_resolve, forget],
        Value <- [null, 1.5, <<>>, [], #{}, <<"$warp/saga/x">>, [[]]]],
    ?assertMatch([#{<<"error">> := _}], call(Dir, #{op => events, entity => <<"a">>, limit => <<"many">>})),
    ?assertMatch([#{<<"error">> := _}], call(Dir, #{op => events, entity => <<"a">>, from => -1})),
    ?assertMatch([#{<<"ok">> := _}], call(Dir, #{op => hello})).

no_request_makes_an_atom(Config) ->
    Ctx = warp_test:start(Config),
    Dir = filename:dirname(socket(Ctx)),
    Ask = fun(N) ->
        Name = iolist_to_binary(io_lib:format("never_seen_~b", [N])),
        send(Dir, <<"{\"op\":\"", Name/binary, "\",\"", Name/binary, "x\":\"", Name/binary, "y\"}">>),
        call(Dir, #{op => forget, nodes => [<<Name/binary, "@nowhere">>]})
    end,
    _ = Ask(0),
    Before = erlang:system_info(atom_count),
    _ = [Ask(N) || N <- lists:seq(1, 50)],
    ?assert(erlang:system_info(atom_count) - Before < 25).

a_silent_client_is_cut_off(Config) ->
    Ctx = warp_test:start(Config),
    {ok, Client} = connect(filename:dirname(socket(Ctx))),
    ok = gen_tcp:send(Client, <<"{\"op\":">>),
    ?assertEqual({error, timeout}, gen_tcp:recv(Client, 0, 5000)),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, 10000)).

there_are_eight_clients_at_most(Config) ->
    Ctx = warp_test:start(Config),
    Dir = filename:dirname(socket(Ctx)),
    [First | _] = Clients = [begin {ok, Client} = connect(Dir), Client end || _ <- lists:seq(1, 8)],
    {ok, Ninth} = connect(Dir),
    ok = gen_tcp:send(Ninth, <<"{\"op\":\"hello\"}\n">>),
    ?assertEqual({error, timeout}, gen_tcp:recv(Ninth, 0, 500)),
    ok = gen_tcp:close(First),
    ?assertMatch({ok, <<"{\"ok\":", _/binary>>}, gen_tcp:recv(Ninth, 0, 5000)),
    lists:foreach(fun gen_tcp:close/1, Clients).

a_client_that_goes_away_leaves_nothing_behind(Config) ->
    Ctx = warp_test:start(Config),
    Dir = filename:dirname(socket(Ctx)),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Batch = [warp_test:noted(binary:copy(<<"x">>, 10000)) || _ <- lists:seq(1, 500)],
    _ = [{ok, _} = warp_core:append_batch(Alice, Batch) || _ <- lists:seq(1, 4)],
    _ = call(Dir, #{op => hello}),
    Before = erlang:system_info(process_count),
    _ = [begin
             {ok, Client} = connect(Dir),
             ok = gen_tcp:send(Client, <<"{\"op\":\"events\",\"entity\":\"alice\"}\n">>),
             {ok, _} = gen_tcp:recv(Client, 0, 5000),
             ok = gen_tcp:close(Client)
         end || _ <- lists:seq(1, 30)],
    warp_test:wait_until(fun() -> erlang:system_info(process_count) =< Before end).

a_client_that_reads_nothing_holds_up_nobody_else(Config) ->
    Ctx = warp_test:start(Config),
    Dir = filename:dirname(socket(Ctx)),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, _} = warp_core:append_batch(Alice, [warp_test:noted(binary:copy(<<"x">>, 10000)) || _ <- lists:seq(1, 1000)]),
    Clients = [begin
                   {ok, Client} = connect(Dir),
                   ok = gen_tcp:send(Client, <<"{\"op\":\"events\",\"entity\":\"alice\"}\n">>),
                   Client
               end || _ <- lists:seq(1, 7)],
    ?assertMatch([#{<<"ok">> := _}], call(Dir, #{op => hello})),
    ?assertEqual({ok, 1001}, warp_core:append(Alice, warp_test:noted(<<"y">>))),
    {Micros, ok} = timer:tc(fun() -> warp_test:stop(Ctx), ok end),
    ?assert(Micros < 5000000),
    ?assertNot(warp_cli_test:is_there(filename:join(Dir, "ctl"))),
    lists:foreach(fun gen_tcp:close/1, Clients).

a_killed_process_has_a_successor(Config) ->
    Ctx = warp_test:start(Config),
    Dir = filename:dirname(socket(Ctx)),
    {_, Pid} = lists:keyfind(control, 1, warp_test:processes(Ctx)),
    true = exit(Pid, kill),
    warp_test:wait_until(fun() -> warp_control:call(Dir, #{op => hello}, fun(_) -> ok end) =:= ok end).

a_socket_that_a_killed_vm_left_is_replaced(Config) ->
    Ctx = warp_test:start(Config),
    Socket = socket(Ctx),
    warp_test:stop(Ctx),
    ok = leave_socket(Socket),
    ok = file:make_dir(Socket ++ ".new"),
    ok = leave_socket(filename:join(Socket ++ ".new", "ctl")),
    ?assertEqual({error, no_socket}, warp_control:call(filename:dirname(Socket), #{op => hello}, fun(_) -> ok end)),
    Again = warp_test:start(Config),
    warp_test:wait_until(fun() ->
        warp_control:call(warp_test:context_dir(Again), #{op => hello}, fun(_) -> ok end) =:= ok
    end),
    ?assertNot(warp_cli_test:is_there(Socket ++ ".new")).

a_file_of_that_name_stays(Config) ->
    Ctx = warp_test:start(Config),
    Socket = socket(Ctx),
    warp_test:stop(Ctx),
    ok = file:write_file(Socket, "somebody's notes"),
    Again = warp_test:start(Config),
    {ok, 1} = warp_core:append(warp_core:entity(Again, <<"alice">>), warp_test:incremented()),
    warp_test:stop(Again),
    ?assertMatch({ok, #{events := 1}}, warp_core:verify(filename:dirname(Socket))),
    ?assertEqual({ok, <<"somebody's notes">>}, file:read_file(Socket)).

a_copy_with_a_socket_is_checked_and_started(Config) ->
    Ctx = warp_test:start(Config),
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"alice">>), warp_test:incremented()),
    Socket = socket(Ctx),
    Dir = filename:dirname(Socket),
    warp_test:stop(Ctx),
    ok = leave_socket(Socket),
    Copy = filename:join(?config(dir, Config), "copy"),
    ok = file:make_dir(Copy),
    "" = os:cmd("cp -a " ++ Dir ++ " " ++ Copy),
    Copied = filename:join(Copy, filename:basename(Dir)),
    ?assertMatch({ok, #file_info{type = other}}, file:read_file_info(filename:join(Copied, "ctl"))),
    ?assertMatch({ok, #{events := 1}}, warp_core:verify(Copied)),
    Again = warp_test:start(Config, #{data_dir => Copy}),
    warp_test:wait_until(fun() -> warp_control:call(Copied, #{op => hello}, fun(_) -> ok end) =:= ok end),
    ?assertEqual({ok, 1}, warp_core:get(warp_core:entity(Again, <<"alice">>), <<"Counter">>)).

%% ------------------------------------------------------------------

%% A file such as a VM leaves that is killed.
leave_socket(Path) ->
    {ok, Listening} = gen_tcp:listen(0, [{ifaddr, {local, Path}}, local]),
    ok = gen_tcp:close(Listening).

%% The path of the socket, when it is there.
socket(Ctx) ->
    Socket = filename:join(warp_test:context_dir(Ctx), "ctl"),
    warp_test:wait_until(fun() -> warp_cli_test:is_there(Socket) end),
    Socket.

call(Dir, Request) ->
    Self = self(),
    ok = warp_control:call(Dir, Request, fun(Line) -> Self ! {line, Line} end),
    told().

told() ->
    receive {line, Line} -> {ok, Map} = warp_json:decode(Line), [Map | told()] after 0 -> [] end.

connect(Dir) ->
    gen_tcp:connect({local, filename:join(Dir, "ctl")}, 0, [local, binary, {active, false}, {packet, raw}], 5000).

%% Bytes that are no request, and what is answered.
send(Dir, Bytes) ->
    {ok, Client} = connect(Dir),
    _ = gen_tcp:send(Client, [Bytes, $\n]),
    {ok, Line} = gen_tcp:recv(Client, 0, 5000),
    ok = gen_tcp:close(Client),
    {ok, Answer} = warp_json:decode(string:trim(Line)),
    Answer.
