%% The target `rqlite' against a real rqlited: one node, and a proxy before it where answers have
%% to get lost.
-module(warp_rqlite_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([a_failed_statement_takes_all_back/1, many_rows_of_every_kind/1, hostile_text/1,
         text_like_blobs_in_queries/1, types_of_a_query/1, empty_results/1, column_names/1,
         queries_cannot_write/1, bad_queries/1, limits_of_a_query/1, every_level/1,
         a_lost_answer_is_away/1, a_silent_node_is_away/1, a_cut_request_is_away/1,
         connections_are_kept/1, the_next_node_is_asked/1, a_killed_node_comes_back/1, a_node_that_reads_its_log/1,
         nobody_there/1, something_else_there/1, large_transactions/1, no_reason_shows_a_password/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(OPTIONS, #{max_rows => 10000, timeout => 10000, level => default}).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [a_failed_statement_takes_all_back, many_rows_of_every_kind, hostile_text,
     text_like_blobs_in_queries, types_of_a_query, empty_results, column_names,
     queries_cannot_write, bad_queries, limits_of_a_query, every_level, a_lost_answer_is_away,
     a_silent_node_is_away, a_cut_request_is_away, connections_are_kept, the_next_node_is_asked,
     a_killed_node_comes_back, a_node_that_reads_its_log, nobody_there, something_else_there, large_transactions,
     no_reason_shows_a_password].

init_per_suite(Config) ->
    case warp_rqlite_server:require(Config) of
        {skip, _} = Skip ->
            Skip;
        Found ->
            Dir = warp_test:new_dir(),
            [{node, warp_rqlite_server:start(filename:join(Dir, "node"))}, {dir, Dir} | Found]
    end.

end_per_suite(Config) ->
    warp_rqlite_server:kill(?config(node, Config)),
    warp_test:remove_dir(?config(dir, Config)).

init_per_testcase(_Case, Config) ->
    Target = open([warp_rqlite_server:url(?config(node, Config))]),
    Tables = rows(Target, <<"SELECT name FROM sqlite_schema WHERE type = 'table'">>, []),
    run(Target, [{<<"DROP TABLE \"", Name/binary, "\"">>, [[]]} || [Name] <- Tables]),
    [{target, Target} | Config].

end_per_testcase(_Case, Config) ->
    warp_rqlite:close(?config(target, Config)).

open(Urls) -> open(Urls, #{}).

open(Urls, Options) ->
    {ok, Config} = warp_rqlite:check(Options#{nodes => Urls}),
    {ok, Target} = warp_rqlite:open(Config, #{context => <<"test">>, dir => <<".">>, durability => full}),
    Target.

run(Target, Statements) -> ?assertEqual(ok, warp_rqlite:execute(Target, Statements)).

query(Target, Sql, Params) -> query(Target, Sql, Params, #{}).

query(Target, Sql, Params, Changed) -> warp_rqlite:query(Target, Sql, Params, maps:merge(?OPTIONS, Changed)).

rows(Target, Sql, Params) ->
    case query(Target, Sql, Params) of
        {ok, #{rows := Rows}} -> Rows;
        Other -> error({Sql, Other})
    end.

create(Config, Columns) ->
    run(?config(target, Config), [{<<"CREATE TABLE t (", Columns/binary, ")">>, [[]]}]),
    ?config(target, Config).

a_failed_statement_takes_all_back(Config) ->
    Target = create(Config, <<"x NOT NULL PRIMARY KEY, y">>),
    Insert = <<"INSERT INTO t VALUES (?1, ?2)">>,
    run(Target, [{Insert, [[1, <<"a">>]]}]),
    ?assertEqual({error, {refused, 3, <<"UNIQUE constraint failed: t.x">>}},
                 warp_rqlite:execute(Target, [{Insert, [[2, null]]}, {Insert, [[3, null], [4, null]]},
                                              {Insert, [[1, null]]}, {Insert, [[5, null]]}])),
    ?assertMatch({error, {refused, 2, _}},
                 warp_rqlite:execute(Target, [{Insert, [[6, null], [7, null]]}, {Insert, [[8, null], [1, null]]}])),
    ?assertMatch({error, {refused, 1, _}}, warp_rqlite:execute(Target, [{<<"CREATE TABLE t (z)">>, [[]]}])),
    ?assertMatch({error, {refused, 1, _}}, warp_rqlite:execute(Target, [{<<"nonsense">>, [[]]}])),
    ?assertEqual([[1, <<"a">>]], rows(Target, <<"SELECT * FROM t">>, [])),
    %% A guard, with which the database refuses a transaction that was carried out before.
    Guard = <<"UPDATE t SET y = 'moved', x = iif(x = ?1, ?2, NULL)">>,
    run(Target, [{Guard, [[1, 2]]}]),
    ?assertMatch({error, {refused, 1, <<"NOT NULL constraint failed: t.x">>}},
                 warp_rqlite:execute(Target, [{Guard, [[1, 2]]}])).

%% As parameters of their own (one row) and in JSON (many), the values come back as they were.
many_rows_of_every_kind(Config) ->
    Target = create(Config, <<"n PRIMARY KEY, v">>),
    Values = values(),
    Insert = <<"INSERT INTO t VALUES (?1, ?2) ON CONFLICT (n) DO UPDATE SET v = excluded.v">>,
    Rows = [[N, V] || {N, V} <- lists:zip(lists:seq(1, length(Values)), Values)],
    Check = fun() ->
        ?assertEqual(Rows, rows(Target, <<"SELECT n, v FROM t ORDER BY n">>, [])),
        run(Target, [{<<"DELETE FROM t">>, [[]]}])
    end,
    run(Target, [{Insert, Rows}]),
    Check(),
    run(Target, [{Insert, [Row]} || Row <- Rows]),
    Check(),
    %% One with a NUL keeps all that go with it out of JSON.
    InJson = [Row || [_, V] = Row <- Rows, not is_binary(V) orelse binary:match(V, <<0>>) =:= nomatch],
    run(Target, [{Insert, InJson}]),
    ?assertEqual(InJson, rows(Target, <<"SELECT n, v FROM t ORDER BY n">>, [])),
    [?assertEqual([[V]], rows(Target, <<"SELECT ?1">>, [V])) || V <- lists:nthtail(1900, Values)].

values() ->
    [0, 1, -1, 1 bsl 53 + 1, (1 bsl 63) - 1, -(1 bsl 63), 1.0, 0.1, -2.5e-7, 1.0e22, 9.3e18,
     123456789012345680.0, 5.489742687642051e19, 5.0e-324, 1.7976931348623157e308, 6966115.511957807,
     -4.371524398561484e207, null]
        ++ [rand_float() || _ <- lists:seq(1, 2000)]
        ++ texts().

rand_float() ->
    case <<(rand:uniform(1 bsl 64) - 1):64>> of
        <<F/float>> -> F;
        _ -> rand_float()
    end.

texts() ->
    [<<>>, <<" ">>, <<"x'6869'">>, <<"X'00'">>, <<" x'' ">>, <<"x'00">>, <<"it's">>, <<"\"q\"">>, <<"`">>,
     <<"[1]">>, <<"a", 0, "b">>, <<0>>, <<"\\u0000">>, <<"\\">>, <<"\r\n\t", 1, 127>>,
     <<"'; DROP TABLE t; --">>, <<"x'41'; DROP TABLE t; --">>, <<"?1">>, <<":a">>, <<"null">>, <<"1">>,
     <<"1.0">>, <<"{\"a\":1}">>, <<"</script>&amp;">>, <<"\x{e2}\x{80}\x{a8}\x{e2}\x{80}\x{a9}">>,
     unicode:characters_to_binary([16#FFFF, 16#FFFD, 16#10FFFF, $e, 16#301]),
     unicode:characters_to_binary(lists:duplicate(20000, 16#1F600))].

hostile_text(Config) ->
    Target = create(Config, <<"id TEXT PRIMARY KEY, v TEXT">>),
    Insert = <<"INSERT INTO t VALUES (?1, ?2)">>,
    Texts = texts(),
    run(Target, [{Insert, [[T, T] || T <- Texts]}]),
    [?assertEqual([[T]], rows(Target, <<"SELECT v FROM t WHERE id = ?1 AND typeof(v) = 'text'">>, [T])) || T <- Texts],
    run(Target, [{<<"DELETE FROM t WHERE id = ?1">>, [[T] || T <- Texts]}]),
    ?assertEqual([], rows(Target, <<"SELECT v FROM t">>, [])).

text_like_blobs_in_queries(Config) ->
    Target = ?config(target, Config),
    Text = <<"x'6869'">>,
    [?assertEqual([[<<"text">>, Text, 7]], rows(Target, Sql, [Text]))
     || Sql <- [<<"SELECT typeof(?), ?1, length(?1)">>, <<"SELECT typeof(:a), :a, length(:a)">>,
                <<"SELECT typeof(?1), ?1, length(?1) -- ?7">>]],
    ?assertEqual([[Text, <<"b">>, <<"X''">>]], rows(Target, <<"SELECT ?, ?, ?">>, [Text, <<"b">>, <<"X''">>])).

types_of_a_query(Config) ->
    Target = create(Config, <<"i INTEGER, r REAL, b BOOL BLOB, f BOOLEAN, d DATETIME, x">>),
    run(Target, [{<<"INSERT INTO t VALUES (?1, ?2, ?3, ?4, ?5, ?6)">>,
                  [[1, 1.0, 1, 0, <<"2024-01-02">>, 1.0],
                   [9007199254740993, 1.0e20, 0, 1, 1700000000, 2],
                   [null, null, 2, null, null, <<"t">>]]}]),
    ?assertEqual([[1, 1.0, true, false, <<"2024-01-02">>, 1.0],
                  [9007199254740993, 1.0e20, false, true, 1700000000, 2],
                  [null, null, 2, null, null, <<"t">>]],
                 rows(Target, <<"SELECT * FROM t ORDER BY rowid">>, [])),
    ?assertEqual([[1, 1.0, 3.0, 6, 4.0, {blob, <<0, 255, "a">>}, {blob, <<>>}]],
                 rows(Target, <<"SELECT 1, 1.0, avg(n), sum(n), max(n) + 0.0, x'00ff61', x'' "
                                "FROM (SELECT 4 AS n UNION SELECT 2)">>, [])).

empty_results(Config) ->
    Target = create(Config, <<"a, b INTEGER">>),
    ?assertEqual({ok, #{columns => [<<"a">>, <<"b">>], rows => []}}, query(Target, <<"SELECT * FROM t">>, [])),
    ?assertEqual([[0, <<>>, null]], rows(Target, <<"SELECT 0, '', NULL">>, [])),
    run(Target, [{<<"DELETE FROM t">>, [[]]}, {<<"UPDATE t SET a = 1">>, [[]]}]),
    ?assertEqual(ok, warp_rqlite:execute(Target, [])),
    run(Target, [{<<"INSERT INTO t VALUES (?1, ?2)">>, []}, {<<"INSERT INTO t VALUES (?1, ?2)">>, [[1, 2]]}]).

column_names(Config) ->
    Target = create(Config, <<"a, \"b:1\", \"q\"\"x\"">>),
    Names = fun(Sql) -> {ok, #{columns := Columns}} = query(Target, Sql, []), Columns end,
    ?assertEqual([<<"a">>, <<"b:1">>, <<"q\"x">>], Names(<<"SELECT * FROM t">>)),
    ?assertEqual([<<"a">>, <<"a">>, <<"a">>], Names(<<"SELECT x.a, y.a, z.a FROM t x, t y, t z">>)),
    ?assertEqual([<<"n">>, <<"count(*)">>], Names(<<"SELECT 1 AS n, count(*) FROM t;  -- all">>)),
    %% The order of the query's rows is kept, and so are its own WITH, LIMIT and UNION.
    ?assertEqual([[3], [2]],
                 rows(Target, <<"WITH w(x) AS (VALUES (1), (3), (2)) "
                                "SELECT x FROM w ORDER BY x DESC LIMIT 2">>, [])),
    ?assertEqual([[1], [2]], rows(Target, <<"SELECT 2 UNION SELECT 1 ORDER BY 1">>, [])),
    ?assertEqual([[1], [2]], rows(Target, <<"VALUES (1), (2)">>, [])),
    %% Columns that came later are seen at once.
    run(Target, [{<<"ALTER TABLE t ADD COLUMN c">>, [[]]}]),
    ?assertEqual([<<"a">>, <<"b:1">>, <<"q\"x">>, <<"c">>], Names(<<"SELECT * FROM t">>)).

queries_cannot_write(Config) ->
    Target = create(Config, <<"a">>),
    run(Target, [{<<"INSERT INTO t VALUES (?1)">>, [[1]]}]),
    Evil = filename:join(?config(dir, Config), "evil.db"),
    Attach = unicode:characters_to_binary(["ATTACH 'file:", Evil, "?mode=rwc' AS evil"]),
    [?assertEqual({error, read_only}, query(Target, Sql, []))
     || Sql <- [<<"DELETE FROM t">>, <<"INSERT INTO t VALUES (2)">>, <<"INSERT INTO t VALUES (2) RETURNING a">>,
                <<"UPDATE t SET a = 2">>, <<"DROP TABLE t">>, <<"CREATE TABLE u (a)">>,
                <<"WITH x AS (SELECT 1) DELETE FROM t">>, Attach, <<"PRAGMA user_version = 7">>, <<"VACUUM">>,
                <<"BEGIN">>, <<"REINDEX">>]],
    [?assertMatch({error, {sql_error, _}}, query(Target, Sql, []))
     || Sql <- [<<"SELECT 1; DELETE FROM t">>, <<"SELECT 1; ", Attach/binary>>,
                <<"SELECT 1) SELECT 1; ", Attach/binary, " --">>, <<"SELECT 1) DELETE FROM t --">>,
                <<"SELECT 1 /*">>, <<"SELECT '1">>, <<"SELECT 1", 0, "; DELETE FROM t">>]],
    ?assertEqual([[1]], rows(Target, <<"SELECT * FROM t">>, [])),
    ?assertEqual([[0]], rows(Target, <<"SELECT user_version FROM pragma_user_version">>, [])),
    ?assertEqual(false, filelib:is_file(Evil)).

bad_queries(Config) ->
    Target = create(Config, <<"a">>),
    ?assertEqual({error, {sql_error, <<"no such table: nope">>}}, query(Target, <<"SELECT * FROM nope">>, [])),
    ?assertEqual({error, {sql_error, <<"no such column: b">>}}, query(Target, <<"SELECT b FROM t">>, [])),
    ?assertMatch({error, {sql_error, <<"near \"SELEKT\"", _/binary>>}}, query(Target, <<"SELEKT 1">>, [])),
    ?assertMatch({error, {sql_error, _}}, query(Target, <<>>, [])),
    ?assertMatch({error, {sql_error, _}}, query(Target, <<"SELECT '", 255, "'">>, [])),
    ?assertMatch({error, {sql_error, _}}, query(Target, <<"SELECT json('{')">>, [])),
    ?assertMatch({error, {sql_error, _}}, query(Target, <<"SELECT 9e999">>, [])),
    ?assertEqual({error, {bad_params, {expected, 2, given, 1}}}, query(Target, <<"SELECT ?, ?">>, [1])),
    ?assertEqual({error, {bad_params, {expected, 0, given, 1}}}, query(Target, <<"SELECT '?'">>, [1])),
    ?assertMatch({error, {bad_params, _}}, query(Target, <<"SELECT ?">>, [<<255>>])).

limits_of_a_query(Config) ->
    Target = ?config(target, Config),
    Numbers = <<"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT ?) SELECT x FROM c">>,
    Limited = fun(N, Max) -> query(Target, Numbers, [N], #{max_rows => Max}) end,
    ?assertMatch({ok, #{rows := [[1], [2], [3]]}}, Limited(3, 3)),
    ?assertEqual({error, {too_many_rows, 3}}, Limited(4, 3)),
    {ok, #{rows := Rows}} = Limited(50000, infinity),
    ?assertEqual(50000, length(Rows)),
    Wide = <<"SELECT hex(zeroblob(40000000))">>,
    ?assertEqual({error, {result_too_large, 64 * 1024 * 1024}}, query(Target, Wide, [], #{timeout => 60000})),
    Began = erlang:monotonic_time(millisecond),
    Endless = <<"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c">>,
    ?assertEqual({error, timeout}, query(Target, Endless, [], #{timeout => 300})),
    ?assert(erlang:monotonic_time(millisecond) - Began < 20000),
    %% The server has given it up too.
    ?assertEqual([[1]], rows(Target, <<"SELECT 1">>, [])).

every_level(Config) ->
    Target = create(Config, <<"a">>),
    run(Target, [{<<"INSERT INTO t VALUES (?1)">>, [[1]]}]),
    [?assertMatch({Level, {ok, #{rows := [[1]]}}},
                  {Level, query(Target, <<"SELECT a FROM t">>, [], #{level => Level})})
     || Level <- [default, none, weak, linearizable, strong, auto]].

%% The server carried a request out, but its answer was lost. When it is sent again, the guard refuses it.
a_lost_answer_is_away(Config) ->
    Direct = create(Config, <<"position INTEGER NOT NULL, n">>),
    run(Direct, [{<<"INSERT INTO t VALUES (0, 0)">>, [[]]}]),
    {Proxy, Target} = through_proxy(Config, #{}),
    Step = [{<<"UPDATE t SET position = iif(position = ?1, ?2, NULL), n = n + 1">>, [[0, 1]]}],
    warp_rqlite_proxy:mode(Proxy, cut_answer),
    ?assertMatch({error, {away, {_, no_answer, _}}}, warp_rqlite:execute(Target, Step)),
    %% Reads are asked again until their time is over.
    ?assertMatch({error, Why} when Why =:= timeout; element(1, Why) =:= away,
                 query(Target, <<"SELECT * FROM t">>, [], #{timeout => 500})),
    warp_rqlite_proxy:mode(Proxy, pass),
    ?assertEqual([[1, 1]], rows(Target, <<"SELECT * FROM t">>, [])),
    ?assertMatch({error, {refused, 1, <<"NOT NULL", _/binary>>}}, warp_rqlite:execute(Target, Step)),
    ?assertEqual([[1, 1]], rows(Target, <<"SELECT * FROM t">>, [])),
    done(Proxy, Target).

a_silent_node_is_away(Config) ->
    {Proxy, Target} = through_proxy(Config, #{timeout => 500}),
    warp_rqlite_proxy:mode(Proxy, swallow),
    Began = erlang:monotonic_time(millisecond),
    ?assertMatch({error, {away, {_, no_answer, timeout}}},
                 warp_rqlite:execute(Target, [{<<"CREATE TABLE u (a)">>, [[]]}])),
    ?assertEqual({error, timeout}, query(Target, <<"SELECT 1">>, [], #{timeout => 500})),
    ?assert(erlang:monotonic_time(millisecond) - Began < 30000),
    %% A late answer does not reach the caller.
    warp_rqlite_proxy:mode(Proxy, pass),
    ?assertEqual([[1]], rows(Target, <<"SELECT 1">>, [])),
    receive Message -> error({stray, Message}) after 0 -> ok end,
    done(Proxy, Target).

a_cut_request_is_away(Config) ->
    {Proxy, Target} = through_proxy(Config, #{}),
    warp_rqlite_proxy:mode(Proxy, cut_request),
    ?assertMatch({error, {away, _}}, warp_rqlite:execute(Target, [{<<"CREATE TABLE u (a)">>, [[]]}])),
    warp_rqlite_proxy:mode(Proxy, pass),
    ?assertEqual([], rows(Target, <<"SELECT name FROM sqlite_schema WHERE name = 'u'">>, [])),
    done(Proxy, Target).

connections_are_kept(Config) ->
    {Proxy, Target} = through_proxy(Config, #{}),
    [?assertEqual([[N]], rows(Target, <<"SELECT ?">>, [N])) || N <- lists:seq(1, 50)],
    ?assertEqual(1, warp_rqlite_proxy:connections(Proxy)),
    %% Requests at the same time do not wait behind each other.
    _ = warp_test:parallel(8, fun(N) -> [rows(Target, <<"SELECT ?">>, [N]) || _ <- lists:seq(1, 20)] end),
    ?assert(warp_rqlite_proxy:connections(Proxy) =< 64),
    done(Proxy, Target).

the_next_node_is_asked(Config) ->
    create(Config, <<"a">>),
    Dead = closed_port_url(),
    Target = open([Dead, warp_rqlite_server:url(?config(node, Config)), Dead]),
    run(Target, [{<<"INSERT INTO t VALUES (?1)">>, [[1]]}]),
    ?assertEqual([[1]], rows(Target, <<"SELECT a FROM t">>, [])),
    warp_rqlite:close(Target).

a_killed_node_comes_back(Config) ->
    Dir = filename:join(?config(dir, Config), "killed"),
    Node = warp_rqlite_server:start(Dir),
    Target = open([warp_rqlite_server:url(Node)]),
    run(Target, [{<<"CREATE TABLE t (a)">>, [[]]}]),
    [begin
         run(Target, [{<<"INSERT INTO t VALUES (?1)">>, [[N]]}]),
         warp_rqlite_server:kill(Node),
         ?assertMatch({error, {away, _}}, warp_rqlite:execute(Target, [{<<"INSERT INTO t VALUES (?1)">>, [[-1]]}])),
         ?assertMatch({error, {away, _}}, query(Target, <<"SELECT 1">>, [], #{timeout => 300})),
         warp_rqlite_server:restart(Node)
     end || N <- [1, 2]],
    %% A node that is just back may answer at other levels before it has read all of its own log.
    ?assertMatch({ok, #{rows := [[1], [2]]}},
                 query(Target, <<"SELECT a FROM t ORDER BY a">>, [], #{level => strong})),
    warp_rqlite:close(Target),
    warp_rqlite_server:kill(Node).

%% A node that has just started answers reads of a lower level before it has read all of its own log. Then it
%% lacks tables, but no strong query may find them missing.
a_node_that_reads_its_log(Config) ->
    Dir = filename:join(?config(dir, Config), "reads"),
    Node = warp_rqlite_server:start(Dir),
    Target = open([warp_rqlite_server:url(Node)]),
    run(Target, [{<<"CREATE TABLE filler (a)">>, [[]]}]),
    [run(Target, [{<<"INSERT INTO filler VALUES (?1)">>, [[N]]}]) || N <- lists:seq(1, 2000)],
    run(Target, [{<<"CREATE TABLE t (a)">>, [[]]}, {<<"INSERT INTO t VALUES (?1)">>, [[1]]}]),
    [begin
         warp_rqlite_server:kill(Node),
         Asking = [spawn_monitor(fun() -> timer:sleep(10 * N), exit(until_answered(Target)) end)
                   || N <- lists:seq(1, 16)],
         warp_rqlite_server:restart(Node),
         [receive {'DOWN', Monitor, process, Pid, Answer} -> ?assertMatch({ok, #{rows := [[1]]}}, Answer) end
          || {Pid, Monitor} <- Asking]
     end || _ <- lists:seq(1, 3)],
    warp_rqlite:close(Target),
    warp_rqlite_server:kill(Node).

until_answered(Target) ->
    case query(Target, <<"SELECT a FROM t">>, [], #{level => strong}) of
        {error, {away, _}} -> until_answered(Target);
        {error, timeout} -> until_answered(Target);
        Answer -> Answer
    end.

nobody_there(_Config) ->
    Dead = closed_port_url(),
    Target = open([Dead], #{timeout => 500}),
    ?assertEqual({error, {away, {list_to_binary(Dead), econnrefused}}},
                 warp_rqlite:execute(Target, [{<<"CREATE TABLE t (a)">>, [[]]}])),
    ?assertEqual({error, {away, {list_to_binary(Dead), econnrefused}}},
                 query(Target, <<"SELECT 1">>, [], #{timeout => 300})),
    warp_rqlite:close(Target),
    Nowhere = open(["http://no.such.host.invalid:4001"]),
    ?assertMatch({error, {away, {_, nxdomain}}}, warp_rqlite:execute(Nowhere, [{<<"CREATE TABLE t (a)">>, [[]]}])),
    warp_rqlite:close(Nowhere).

%% An HTTP server, but not an rqlite's.
something_else_there(Config) ->
    Dir = filename:join(?config(dir, Config), "web"),
    ok = filelib:ensure_path(Dir),
    {ok, Web} = inets:start(httpd, [{port, 0}, {server_name, "test"}, {server_root, Dir}, {document_root, Dir},
                                    {bind_address, {127, 0, 0, 1}}]),
    Port = proplists:get_value(port, httpd:info(Web)),
    Target = open(["http://127.0.0.1:" ++ integer_to_list(Port)]),
    ?assertMatch({error, {away, {_, {http_status, _, _}}}},
                 warp_rqlite:execute(Target, [{<<"CREATE TABLE t (a)">>, [[]]}])),
    ?assertMatch({error, {away, {_, {http_status, _, _}}}},
                 query(Target, <<"SELECT 1">>, [])),
    warp_rqlite:close(Target),
    inets:stop(httpd, Web).

large_transactions(Config) ->
    Target = create(Config, <<"id PRIMARY KEY, v">>),
    Text = binary:copy(<<"wide ">>, 100),
    Insert = <<"INSERT INTO t VALUES (?1, ?2)">>,
    run(Target, [{Insert, [[N, Text] || N <- lists:seq(1, 20000)]}]),
    ?assertEqual([[20000, 20000 * 500]], rows(Target, <<"SELECT count(*), sum(length(v)) FROM t">>, [])),
    ?assertEqual(20000, length(rows_of(Target, <<"SELECT id, v FROM t">>))),
    Each = [{<<"UPDATE t SET v = ?2 WHERE id = ?1">>, [[N, <<"x">>]]} || N <- lists:seq(1, 20000)],
    ?assertMatch({error, {refused, 20001, _}}, warp_rqlite:execute(Target, Each ++ [{<<"nonsense">>, [[]]}])),
    ?assertEqual([[0]], rows(Target, <<"SELECT count(*) FROM t WHERE v = 'x'">>, [])).

rows_of(Target, Sql) ->
    {ok, #{rows := Rows}} = query(Target, Sql, [], #{max_rows => infinity}),
    Rows.

no_reason_shows_a_password(Config) ->
    Target = open([closed_port_url(), warp_rqlite_server:url(?config(node, Config))],
                  #{username => <<"warp">>, password => <<"geheim17">>}),
    Failed = warp_rqlite:execute(Target, [{<<"nonsense">>, [[]]}]),
    Shown = unicode:characters_to_binary(io_lib:format("~0p ~0p", [Target, Failed])),
    [?assertEqual(nomatch, binary:match(Shown, Secret))
     || Secret <- [<<"geheim17">>, base64:encode(<<"warp:geheim17">>)]],
    warp_rqlite:close(Target).

through_proxy(Config, Options) ->
    Proxy = warp_rqlite_proxy:start(?config(node, Config)),
    {Proxy, open([warp_rqlite_proxy:url(Proxy)], Options)}.

done(Proxy, Target) ->
    warp_rqlite:close(Target),
    warp_rqlite_proxy:stop(Proxy).

closed_port_url() ->
    {ok, Socket} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Socket),
    ok = gen_tcp:close(Socket),
    "http://127.0.0.1:" ++ integer_to_list(Port).
