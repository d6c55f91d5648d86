%% Users' queries on the embedded projection: their limits bind whatever SQLite is doing, and nothing
%% of a query outlives it. Looked at from the operating system, where their programs are.
-module(warp_projection_query_SUITE).

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_step_of_hours_ends_in_time/1, forty_steps_of_hours/1, sorting_stays_within_memory/1,
         a_killed_program_harms_its_query_only/1, a_halted_program_ends_in_time/1,
         a_killed_vm_leaves_no_program/1, stopping_ends_queries/1, a_hundred_at_once/1,
         too_many_at_once/1, a_caller_that_dies/1, the_pool_comes_back/1, values_keep_their_types/1,
         values_that_no_term_can_be/1, large_results/1, large_requests/1, the_log_stays_bounded/1,
         a_reader_from_outside_delays_nothing/1, without_the_program/1, strangers_are_ignored/1,
         no_report_shows_a_query/1]).
%% Inside VMs of their own
-export([main/0, missing/0]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(MIB, (1024 * 1024)).
%% One step of SQLite's machine that takes days.
-define(HOURS, "SELECT instr(hex(zeroblob(4000000)), hex(zeroblob(2000000)) || '1')").
-define(ENDLESS, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n").

suite() -> [{timetrap, {minutes, 10}}].

all() ->
    [a_step_of_hours_ends_in_time, forty_steps_of_hours, sorting_stays_within_memory,
     a_killed_program_harms_its_query_only, a_halted_program_ends_in_time,
     a_killed_vm_leaves_no_program, stopping_ends_queries, a_hundred_at_once,
     too_many_at_once, a_caller_that_dies, the_pool_comes_back, values_keep_their_types,
     values_that_no_term_can_be, large_results, large_requests, the_log_stays_bounded,
     a_reader_from_outside_delays_nothing, without_the_program, strangers_are_ignored,
     no_report_shows_a_query].

init_per_testcase(_Case, Config) -> warp_test:init_case(Config).

end_per_testcase(_Case, Config) ->
    %% One that a case halted goes on, also when the case failed. Any of them may end meanwhile.
    _ = [os:cmd("kill -CONT " ++ Program) || Program <- programs(Config)],
    warp_test:stop_all(),
    Left = programs(Config),
    warp_test:end_case(Config),
    %% Asked of every case: nothing outlives its context.
    case Left of [] -> ok; _ -> {fail, {programs_left, Left}} end.

%% ---------------------------------------------------------------- What they share

start(Config) ->
    Ctx = warp_test:start(Config, #{aggregates => [warp_projection_test:commands()], projections => embedded}),
    Entity = warp_core:entity(Ctx, <<"first">>),
    {ok, _} = warp_core:append(Entity, warp_projection_test:does([warp_projection:upsert(t, 1, #{a => 1})])),
    ok = warp_core:await_projection(Entity, 60000),
    Ctx.

query(Ctx, Sql) -> query(Ctx, Sql, 5000).
query(Ctx, Sql, Timeout) -> warp_core:query(Ctx, Sql, [], #{timeout => Timeout, max_rows => 1000000}).

works(Ctx) -> ?assertMatch({ok, #{columns := [<<"a">>], rows := [[1]]}}, query(Ctx, "SELECT a FROM t", 60000)).

%% The milliseconds that it takes.
timed(Fun) ->
    {Micros, Result} = timer:tc(Fun),
    {Micros div 1000, Result}.

%% The operating system's numbers of the programs that have this case's file.
programs(Config) ->
    Dir = ?config(dir, Config),
    [hd(string:lexemes(Line, " ")) || Line <- string:lexemes(os:cmd("ps -A -o pid= -o args="), "\n"),
                                      string:find(Line, "warp_query") =/= nomatch,
                                      string:find(Line, Dir) =/= nomatch].

signal(Name, Pids) -> "" = os:cmd(lists:flatten(lists:join(" ", ["kill", "-" ++ Name | Pids]))).

%% In a process of its own: the answer comes as {answer, Result}.
ask(Ctx, Sql, Timeout) ->
    Self = self(),
    spawn(fun() -> Self ! {answer, query(Ctx, Sql, Timeout)} end).

answer() -> receive {answer, Result} -> Result after 60000 -> error(no_answer) end.

none() -> receive {answer, Result} -> error(Result) after 0 -> ok end.

running(Ctx) -> running(Ctx, 1).
running(Ctx, Count) ->
    warp_test:wait_until(fun() -> maps:get(busy, status(Ctx)) >= Count end, 60000).

pool(Ctx) -> hd([Pid || {queries, Pid} <- warp_test:processes(Ctx)]).

%% What sys:get_status shows of the pool's state.
status(Ctx) ->
    {status, _, _, [_, _, _, _, Shown]} = sys:get_status(pool(Ctx)),
    [State] = [State || {data, [{"State", State}]} <- Shown],
    State.

%% ---------------------------------------------------------------- Time

a_step_of_hours_ends_in_time(Config) ->
    Ctx = start(Config),
    works(Ctx),
    {Took, Result} = timed(fun() -> query(Ctx, ?HOURS, 200) end),
    ?assertEqual({error, timeout}, Result),
    ct:pal("timeout 200 ms, answered after ~b ms", [Took]),
    ?assert(Took >= 200),
    ?assert(Took < 1000),
    %% Its program had to be ended.
    warp_test:wait_until(fun() -> programs(Config) =:= [] end),
    works(Ctx),
    %% One that can be interrupted from within ends as well, if sooner.
    ?assertEqual({error, timeout}, query(Ctx, ?ENDLESS, 100)),
    works(Ctx).

forty_steps_of_hours(Config) ->
    Ctx = start(Config),
    Threads = threads(),
    [?assertEqual({error, timeout}, query(Ctx, ?HOURS, 50)) || _ <- lists:seq(1, 40)],
    works(Ctx),
    %% Side by side, and more than there are programs.
    Results = warp_test:parallel([fun() -> query(Ctx, ?HOURS, 300) end || _ <- lists:seq(1, 40)]),
    ?assertEqual([{error, timeout}], lists:usort(Results)),
    works(Ctx),
    warp_test:wait_until(fun() -> length(programs(Config)) =< 4 end),
    ?assert(threads() =< Threads + 2).

%% Of this VM, where they can be counted.
threads() ->
    case file:list_dir("/proc/self/task") of
        {ok, Threads} -> length(Threads);
        {error, enoent} -> 0
    end.

%% It does nothing any more, and so does not end itself.
a_halted_program_ends_in_time(Config) ->
    Ctx = start(Config),
    ask(Ctx, ?ENDLESS, 500),
    running(Ctx),
    [Program] = programs(Config),
    signal("STOP", [Program]),
    {Took, Result} = timed(fun answer/0),
    ?assertEqual({error, timeout}, Result),
    ?assert(Took < 2000),
    works(Ctx),
    signal("CONT", [Program]),
    warp_test:wait_until(fun() -> not lists:member(Program, programs(Config)) end).

%% ---------------------------------------------------------------- Memory

sorting_stays_within_memory(Config) ->
    Ctx = start(Config),
    Sort = fun(Rows) ->
        ["WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ", integer_to_list(Rows), ") "
         "SELECT length(s) FROM (SELECT hex(zeroblob(500000)) || i AS s FROM n ORDER BY s LIMIT -1)"]
    end,
    works(Ctx),
    [Program] = programs(Config),
    ask(Ctx, Sort(5000), 60000),
    Most = most_memory(Program, 0),
    ct:pal("at most ~b MiB in the program", [Most div ?MIB]),
    ?assert(Most < 512 * ?MIB),
    %% What it had taken is given back: another one takes its place.
    works(Ctx),
    warp_test:wait_until(fun() -> not lists:member(Program, programs(Config)) end),
    %% One that fits; and one that never ends, whose memory is seen.
    {ok, #{rows := Sorted}} = query(Ctx, Sort(50), 60000),
    ?assertEqual(50, length(Sorted)),
    ask(Ctx, [Sort(150), " WHERE (WITH RECURSIVE e(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM e) "
                         "SELECT count(*) FROM e WHERE x > length(s)) = 0"], 5000),
    warp_test:wait_until(fun() ->
        lists:any(fun(One) -> memory(One) > 100 * ?MIB end, programs(Config)) orelse not filelib:is_dir("/proc/self")
    end, 5000),
    ?assertEqual({error, timeout}, answer()),
    Wide = "SELECT group_concat(hex(zeroblob(1000000))) FROM json_each(?)",
    ?assertMatch({error, {sql_error, _}},
                 warp_core:query(Ctx, Wide, [{json, lists:seq(1, 100)}], #{timeout => 60000})).

most_memory(Program, Most) ->
    receive
        {answer, Result} ->
            ?assertEqual({error, {query_too_large, 256 * ?MIB}}, Result),
            Most
    after 1 ->
        most_memory(Program, max(Most, memory(Program)))
    end.

%% The most bytes that the program had in memory so far; 0 where there is no /proc, or when it has ended.
memory(Program) ->
    case file:read_file("/proc/" ++ Program ++ "/status") of
        {ok, Status} ->
            case re:run(Status, "VmHWM:\\s+(\\d+) kB", [{capture, [1], binary}]) of
                {match, [KiB]} -> binary_to_integer(KiB) * 1024;
                nomatch -> 0
            end;
        {error, _} ->
            0
    end.

%% ---------------------------------------------------------------- Ends

a_killed_program_harms_its_query_only(Config) ->
    Ctx = start(Config),
    ask(Ctx, ?ENDLESS, 60000),
    running(Ctx, 1),
    [First] = programs(Config),
    ask(Ctx, ?HOURS, 60000),
    running(Ctx, 2),
    signal("9", [First]),
    ?assertEqual({error, {target_away, interrupted}}, answer()),
    none(),
    works(Ctx),
    signal("9", programs(Config)),
    ?assertEqual({error, {target_away, interrupted}}, answer()),
    %% The pool would give a query to an idle program that it does not know to be dead yet.
    warp_test:wait_until(fun() -> maps:with([idle, busy], status(Ctx)) =:= #{idle => 0, busy => 0} end),
    works(Ctx).

a_caller_that_dies(Config) ->
    Ctx = start(Config),
    Asking = [ask(Ctx, ?HOURS, 60000) || _ <- lists:seq(1, 20)],
    running(Ctx, 16),
    [exit(Pid, kill) || Pid <- Asking],
    %% Those that waited are not begun any more.
    warp_test:wait_until(fun() -> programs(Config) =:= [] end),
    ?assertMatch(#{busy := 0, waiting := 0}, status(Ctx)),
    works(Ctx),
    none().

a_killed_vm_leaves_no_program(Config) ->
    Opts = #{context => <<"test">>, data_dir => ?config(dir, Config), shards => 1, projections => embedded},
    Vm = warp_load_vm:start(?MODULE, Opts),
    warp_test:wait_until(fun() -> length(programs(Config)) =:= 8 end, 30000),
    warp_load_vm:kill(Vm),
    warp_test:wait_until(fun() -> programs(Config) =:= [] end).

%% Queries of both kinds, with programs to spare.
main() ->
    [Text] = init:get_plain_arguments(),
    Options = binary_to_term(base64:decode(Text)),
    {ok, Ctx} = warp_core:start(Options#{aggregates => [warp_projection_test:commands()]}),
    {ok, _} = query(Ctx, "SELECT 1"),
    [ask(Ctx, Sql, 600000) || Sql <- [?HOURS, ?ENDLESS], _ <- lists:seq(1, 4)],
    running(Ctx, 8),
    io:format("ready~n").

stopping_ends_queries(Config) ->
    Ctx = start(Config),
    [ask(Ctx, Sql, 60000) || Sql <- [?HOURS, ?ENDLESS], _ <- lists:seq(1, 12)],
    running(Ctx, 16),
    {Took, ok} = timed(fun() -> warp_test:stop(Ctx) end),
    ct:pal("stopped after ~b ms", [Took]),
    ?assert(Took < 5000),
    ?assertEqual([], programs(Config)),
    Results = [answer() || _ <- lists:seq(1, 24)],
    ?assertEqual([], Results -- lists:append([[{error, {target_away, interrupted}}, {error, context_stopped}]
                                              || _ <- Results])),
    %% Nothing had the file open any more.
    ?assertEqual([], filelib:wildcard(filename:join(?config(dir, Config), "**/projections.db-*"))).

the_pool_comes_back(Config) ->
    Ctx = start(Config),
    ask(Ctx, ?HOURS, 60000),
    running(Ctx),
    Before = programs(Config),
    exit(pool(Ctx), kill),
    ?assertEqual({error, {target_away, interrupted}}, answer()),
    warp_test:wait_until(fun() -> match =:= try works(Ctx), match catch error:_ -> again end end),
    warp_test:wait_until(fun() -> programs(Config) -- Before =:= programs(Config) end),
    %% The pool restarts with the writer, which has the file open.
    exit(hd([Pid || {writer, Pid} <- warp_test:processes(Ctx)]), kill),
    warp_test:wait_until(fun() -> match =:= try works(Ctx), match catch error:_ -> again end end).

%% ---------------------------------------------------------------- Many at once

a_hundred_at_once(Config) ->
    Ctx = start(Config),
    Sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000) SELECT i, ? FROM n",
    Ask = fun(N) ->
        fun() ->
            {ok, #{rows := Rows}} = warp_core:query(Ctx, Sql, [N], #{timeout => 60000}),
            ?assertEqual([[I, N] || I <- lists:seq(1, 2000)], Rows)
        end
    end,
    _ = warp_test:parallel([Ask(N) || N <- lists:seq(1, 100)]),
    warp_test:wait_until(fun() -> length(programs(Config)) =< 4 end).

too_many_at_once(Config) ->
    Ctx = start(Config),
    [ask(Ctx, ?HOURS, 60000) || _ <- lists:seq(1, 16)],
    running(Ctx, 16),
    Waiting = [ask(Ctx, "SELECT 1", 60000) || _ <- lists:seq(1, 256)],
    warp_test:wait_until(fun() -> maps:get(waiting, status(Ctx)) =:= 256 end, 30000),
    ?assertEqual({error, overloaded}, query(Ctx, "SELECT 1")),
    %% One that waits is told at its timeout.
    exit(hd(Waiting), kill),
    warp_test:wait_until(fun() -> maps:get(waiting, status(Ctx)) =:= 255 end),
    {Took, Result} = timed(fun() -> query(Ctx, "SELECT 1", 300) end),
    ?assertEqual({error, timeout}, Result),
    %% Deadlines are in whole milliseconds.
    ?assert(Took >= 299),
    ?assert(Took < 2000),
    signal("9", programs(Config)),
    Results = [answer() || _ <- lists:seq(1, 16 + 255)],
    ?assertEqual(255, length([ok || {ok, #{rows := [[1]]}} <- Results])),
    works(Ctx).

%% ---------------------------------------------------------------- Values

values_keep_their_types(Config) ->
    Ctx = start(Config),
    Values = [0, 1, -1, 255, 256, -256, 1 bsl 31 - 1, 1 bsl 31, -(1 bsl 31), -(1 bsl 31) - 1, 1 bsl 63 - 1,
              -(1 bsl 63), 0.0, -1.5, 1.0e308, 5.0e-324, <<>>, <<"text">>, <<"é€𝄞"/utf8>>, <<"a", 0, "b">>, null,
              binary:copy(<<"x">>, ?MIB)],
    Sql = ["SELECT ", lists:join(",", [["?", integer_to_list(N)] || N <- lists:seq(1, length(Values))])],
    ?assertMatch({ok, #{rows := [Values]}}, warp_core:query(Ctx, Sql, Values)),
    ?assertMatch({ok, #{rows := [[1, 0, <<"{\"a\":1}">>]]}},
                 warp_core:query(Ctx, "SELECT ?, ?, ?", [true, false, {json, #{a => 1}}])),
    ?assertMatch({ok, #{rows := [[{blob, <<0, 255>>}, {blob, <<>>}]]}}, query(Ctx, "SELECT x'00ff', x''")),
    ?assertMatch({ok, #{columns := [<<"é"/utf8>>], rows := []}}, query(Ctx, <<"SELECT 1 AS 'é' WHERE 0"/utf8>>)),
    ?assertMatch({error, {bad_param, 1, _}}, warp_core:query(Ctx, "SELECT ?", [1 bsl 63])),
    ?assertMatch({error, {bad_param, 2, _}}, warp_core:query(Ctx, "SELECT ?, ?", [1, <<255>>])),
    ?assertMatch({error, {bad_params, _}}, warp_core:query(Ctx, "SELECT ?", [1 | 2])).

values_that_no_term_can_be(Config) ->
    Ctx = start(Config),
    [?assertEqual({Sql, {error, {sql_error, <<"column 2 (x) is infinite, which no Erlang float can be">>}}},
                  {Sql, query(Ctx, Sql)})
     || Sql <- ["SELECT 1, 1e999 AS x", "SELECT 1, -1e999 AS x", "SELECT 1, sum(1e308 * 10) AS x"]],
    %% Behind rows that are on their way already.
    Later = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 30000) "
            "SELECT hex(zeroblob(100)), iif(i = 30000, 9e999, i) AS x FROM n",
    ?assertMatch({error, {sql_error, <<"column 2 (x)", _/binary>>}}, query(Ctx, Later)),
    %% SQLite has null for what is no number.
    ?assertMatch({ok, #{rows := [[null]]}}, query(Ctx, "SELECT 1e999 - 1e999")),
    %% Text that is not UTF-8 is not called text.
    ?assertMatch({ok, #{rows := [[{blob, <<255, $a>>}]]}}, query(Ctx, "SELECT CAST(x'ff61' AS TEXT)")),
    %% SQL that goes on behind what SQLite takes for its end.
    ?assertMatch({error, _}, query(Ctx, <<"SELECT 1", 0, "; DELETE FROM t">>)),
    %% In Warp's own reads, too: nothing ends the VM.
    {ok, Context} = warp_context:find(Ctx),
    {ok, {_, Projection}} = warp_projection_table:target(Context),
    ?assertMatch({error, {sql_error, <<"column 1 (x) is infinite", _/binary>>}},
                 warp_nif:projection_read(Projection, <<"SELECT 1e999 AS x">>, [], 1000)),
    ?assertMatch({ok, {_, [[{blob, <<255>>}]]}},
                 warp_nif:projection_read(Projection, <<"SELECT CAST(x'ff' AS TEXT)">>, [], 1000)),
    [?assertMatch({Params, {error, {sql_error, _}}},
                  {Params, warp_nif:projection_read(Projection, <<"SELECT ?">>, Params, 1000)})
     || Params <- [[], [1, 2], [1 | 2], [1 bsl 64], [<<255>>], [other], [{1}], not_a_list]],
    [?assertMatch({Statements, {error, {refused, _, _}}},
                  {Statements, warp_nif:projection_execute(Projection, Statements)})
     || Statements <- [[{<<"SELECT ?">>, [[1] | 2]}], [{<<"SELECT ?">>, [[1 | 2]]}], [{<<"SELECT 1">>, x}], [x],
                       [{<<"SELECT 1">>, [[]]} | x], x, [{<<"SELECT ?">>, [[1 bsl 64]]}], [{<<255>>, [[]]}]]],
    ?assertEqual(ok, warp_nif:projection_execute(Projection, [{<<"SELECT 1">>, [[]]}])),
    works(Ctx).

%% ---------------------------------------------------------------- Size

large_results(Config) ->
    Ctx = start(Config),
    Rows = fun(Count, Bytes) ->
        Sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?) "
              "SELECT i, CAST(zeroblob(?) AS TEXT) FROM n",
        warp_core:query(Ctx, Sql, [Count, Bytes], #{timeout => 60000, max_rows => 1000000})
    end,
    lists:foreach(
        fun({Count, Bytes}) ->
            {ok, #{columns := [_, _], rows := Found}} = Rows(Count, Bytes),
            Text = binary:copy(<<0>>, Bytes),
            ?assertEqual(Count, length(Found)),
            ?assert(lists:all(fun({I, Row}) -> Row =:= [I, Text] end, lists:zip(lists:seq(1, Count), Found)))
        end,
        [{0, 1}, {1, 16000000}, {63, ?MIB}, {300000, 10}]),
    ?assertEqual({error, {result_too_large, 64 * ?MIB}}, Rows(64, ?MIB)),
    ?assertEqual({error, {result_too_large, 64 * ?MIB}}, Rows(1000000, 60)),
    works(Ctx),
    %% Nothing of it stays in the pool.
    warp_test:wait_until(fun() ->
        {binary, Held} = process_info(pool(Ctx), binary),
        lists:sum([Size || {_, Size, _} <- Held]) < ?MIB
    end).

large_requests(Config) ->
    Ctx = start(Config),
    Text = fun(Bytes) -> ["SELECT 1 -- ", binary:copy(<<"x">>, Bytes - 12)] end,
    ?assertMatch({ok, #{rows := [[1]]}}, query(Ctx, Text(?MIB))),
    ?assertMatch({error, {sql_error, <<"more than 1 MiB", _/binary>>}}, query(Ctx, Text(?MIB + 1))),
    ?assertMatch({error, {sql_error, _}}, query(Ctx, binary_to_list(iolist_to_binary(Text(?MIB + 1))))),
    %% More on disk than in the list.
    ?assertMatch({error, {sql_error, _}}, query(Ctx, "SELECT 1 -- " ++ lists:duplicate(600000, $é))),
    ?assertMatch({ok, #{rows := [[1]]}}, query(Ctx, "SELECT 1 -- " ++ lists:duplicate(100000, $€))),
    [?assertMatch({error, {sql_error, _}}, query(Ctx, Sql)) || Sql <- [["SELECT" | 1.0], [a], {}, [<<255>>]]],
    Large = binary:copy(<<"x">>, ?MIB - 16),
    Sum = fun(Count) -> ["SELECT ", lists:join("+", lists:duplicate(Count, "length(?)"))] end,
    Bytes = 63 * byte_size(Large),
    ?assertMatch({ok, #{rows := [[Bytes]]}},
                 warp_core:query(Ctx, Sum(63), lists:duplicate(63, Large), #{timeout => 60000})),
    ?assertEqual({error, {bad_params, {too_large, 64 * ?MIB}}},
                 warp_core:query(Ctx, Sum(65), lists:duplicate(65, Large))),
    ?assertEqual({error, {bad_params, {too_many, 32766}}},
                 warp_core:query(Ctx, "SELECT 1", lists:duplicate(5000000, 1))),
    works(Ctx).

%% Without a pause between queries, SQLite could never restart the write-ahead log.
the_log_stays_bounded(Config) ->
    Ctx = start(Config),
    Slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) "
           "SELECT count(*), (SELECT count(*) FROM t) FROM n",
    Self = self(),
    Until = erlang:monotonic_time(millisecond) + 10000,
    Readers = [spawn_link(fun() -> repeat(Until, fun() -> {ok, _} = query(Ctx, Slow, 60000) end, Self) end)
               || _ <- lists:seq(1, 4)],
    {ok, Context} = warp_context:find(Ctx),
    {ok, {_, Projection}} = warp_projection_table:target(Context),
    Row = {<<"INSERT INTO load VALUES (zeroblob(?))">>, [[500000] || _ <- lists:seq(1, 4)]},
    ok = warp_nif:projection_execute(Projection, [{<<"CREATE TABLE load (a)">>, [[]]}]),
    Write = fun() ->
        ok = warp_nif:projection_execute(Projection, [Row, {<<"DELETE FROM load WHERE rowid < (SELECT max(rowid) "
                                                              "FROM load) - 20">>, [[]]}]),
        timer:sleep(10)
    end,
    Writer = spawn_link(fun() -> repeat(Until, Write, Self) end),
    Wal = filename:join(warp_test:context_dir(Ctx), "projections.db-wal"),
    Sizes = sizes(Wal, Until),
    Done = [receive {Pid, Count} -> Count end || Pid <- [Writer | Readers]],
    ct:pal("~b transactions of 2 MB, ~w queries, at most ~b MiB of log",
           [hd(Done), tl(Done), lists:max(Sizes) div ?MIB]),
    %% More was written than that by far.
    ?assert(hd(Done) > 100),
    ?assert(lists:min(tl(Done)) > 3),
    ?assert(lists:max(Sizes) > 64 * ?MIB),
    ?assert(lists:max(Sizes) < 160 * ?MIB),
    works(Ctx).

repeat(Until, Fun, Parent) -> repeat(Until, Fun, Parent, 0).
repeat(Until, Fun, Parent, Count) ->
    case erlang:monotonic_time(millisecond) < Until of
        true -> Fun(), repeat(Until, Fun, Parent, Count + 1);
        false -> Parent ! {self(), Count}
    end.

sizes(File, Until) ->
    case erlang:monotonic_time(millisecond) < Until of
        true -> Size = filelib:file_size(File), timer:sleep(20), [Size | sizes(File, Until)];
        false -> []
    end.

%% It keeps the log from being emptied: that is said, and queries go on.
a_reader_from_outside_delays_nothing(Config) ->
    Ctx = start(Config),
    File = filename:join(warp_test:context_dir(Ctx), "projections.db"),
    Shell = warp_shell:reads(File),
    {ok, Context} = warp_context:find(Ctx),
    {ok, {_, Projection}} = warp_projection_table:target(Context),
    Insert = {<<"INSERT INTO load VALUES (zeroblob(?))">>, [[1000000] || _ <- lists:seq(1, 10)]},
    ok = warp_nif:projection_execute(Projection, [{<<"CREATE TABLE load (a)">>, [[]]}]),
    [ok = warp_nif:projection_execute(Projection, [Insert]) || _ <- lists:seq(1, 8)],
    Wal = filelib:file_size(File ++ "-wal"),
    ?assert(Wal > 64 * ?MIB),
    [?assertMatch({_, {ok, _}}, {N, query(Ctx, "SELECT a FROM t", 3000)})
     || N <- lists:seq(1, 20), ok =:= timer:sleep(10)],
    ?assertEqual(Wal, filelib:file_size(File ++ "-wal")),
    warp_shell:release(Shell),
    warp_test:wait_until(fun() -> works(Ctx), filelib:file_size(File ++ "-wal") < Wal end, 20000).

%% ---------------------------------------------------------------- The pool

%% The error says what builds it.
without_the_program(Config) ->
    App = filename:join(?config(dir, Config), "warp_core"),
    Ebin = filename:dirname(code:which(warp_core)),
    ok = filelib:ensure_path(filename:join(App, "priv")),
    [{ok, _} = file:copy(File, filename:join([App, Part, filename:basename(File)]))
     || {Part, Files} <- [{"ebin", filelib:wildcard(filename:join(Ebin, "*"))},
                          {"priv", [filename:join(code:priv_dir(warp_core), "warp_nif.so")]}],
        ok =:= filelib:ensure_path(filename:join(App, Part)),
        File <- Files],
    Path = filename:dirname(code:which(warp_test)),
    Said = os:cmd(lists:flatten(
        [filename:join([code:root_dir(), "bin", "erl"]), " -noinput -boot start_clean -pz ", Path, " -pa ", App,
         "/ebin -s ", ?MODULE_STRING, " missing -extra ", ?config(dir, Config)])),
    ?assertMatch({match, _}, re:run(Said, "no_query_program")),
    ?assertMatch({match, _}, re:run(Said, "scripts/build-nif builds it")),
    %% Everything else works.
    ?assertMatch({match, _}, re:run(Said, "up")).

missing() ->
    [Dir] = init:get_plain_arguments(),
    {ok, Ctx} = warp_core:start(#{context => <<"x">>, data_dir => Dir, projections => embedded,
                                  aggregates => [warp_projection_test:commands()]}),
    io:format("~p ~p~n", [query(Ctx, "SELECT 1"), warp_projection:status(Ctx)]),
    halt().

strangers_are_ignored(Config) ->
    Ctx = start(Config),
    Pool = pool(Ctx),
    Port = open_port({spawn_executable, os:find_executable("cat")}, [{packet, 4}, binary]),
    Strangers = [stray, {make_ref(), <<1, 1>>}, {'EXIT', self(), kill}, {'DOWN', make_ref(), process, self(), x},
                 {Port, {data, <<0, 0>>}}, {Port, {exit_status, 1}}, {'EXIT', Port, normal},
                 {timeout, make_ref(), {deadline, make_ref()}}, {timeout, make_ref(), {close, Port}},
                 {'$gen_cast', stray}, {'$gen_call', {self(), make_ref()}, stray}],
    [Pool ! Stranger || Stranger <- Strangers],
    works(Ctx),
    ?assertEqual(Pool, pool(Ctx)),
    port_close(Port).

no_report_shows_a_query(Config) ->
    Ctx = start(Config),
    Secret = <<"very secret">>,
    [spawn(fun() -> warp_core:query(Ctx, [?HOURS, ", ?"], [Secret], #{timeout => 60000}) end)
     || _ <- lists:seq(1, 20)],
    running(Ctx, 16),
    Seen = [sys:get_status(pool(Ctx)), sys:get_state(pool(Ctx)), process_info(pool(Ctx), [messages, dictionary])],
    Shown = unicode:characters_to_binary(io_lib:format("~0p ~0tp", [Seen, Seen])),
    ?assertEqual(nomatch, binary:match(Shown, [<<"secret">>, <<"instr">>])).
