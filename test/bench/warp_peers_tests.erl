%% The pure parts of the comparison with other databases: nothing is measured here.
-module(warp_peers_tests).
-include_lib("eunit/include/eunit.hrl").

%% ------------------------------------------------------------------------------------------------------- Figures

median_test() ->
    ?assertEqual(2, warp_peers_figures:median([3, 1, 2])),
    ?assertEqual(2.5, warp_peers_figures:median([4, 1, 3, 2])),
    ?assertEqual(7, warp_peers_figures:median([7])).

%% One round that failed is not made good by two others.
median_of_what_is_no_number_test() ->
    ?assertEqual(blank, warp_peers_figures:median([blank, blank])),
    ?assertEqual(failed, warp_peers_figures:median([3, failed, 2])).

times_better_test() ->
    ?assertEqual(4.0, warp_peers_figures:times_better(per_second, 200, 50)),
    ?assertEqual(0.25, warp_peers_figures:times_better(ms, 200, 50)),
    ?assertEqual(2.0, warp_peers_figures:times_better(bytes, 50, 100)),
    ?assertEqual(blank, warp_peers_figures:times_better(per_second, 200, blank)),
    ?assertEqual(blank, warp_peers_figures:times_better(per_second, 200, 0.0)),
    ?assertEqual(blank, warp_peers_figures:times_better(ms, failed, 1)).

text_test() ->
    ?assertEqual(["", "failed", "0.0010 ms", "1.50 ms", "12.3 ms", "1234 ms"],
                 [warp_peers_figures:text(ms, V) || V <- [blank, failed, 0.001, 1.5, 12.34, 1234]]),
    ?assertEqual(["100 /s", "99.9 /s", "1.00 k/s", "181 k/s", "2.42 M/s"],
                 [warp_peers_figures:text(per_second, V) || V <- [99.96, 99.94, 1000, 181234, 2.42e6]]),
    ?assertEqual(["82.6 B", "52.9 MB"], [warp_peers_figures:text(bytes, V) || V <- [82.6, 52.9e6]]),
    ?assertEqual(["", "1.40x", "91.6x", "0.090x", "0.0023x"],
                 [warp_peers_figures:times_text(V) || V <- [blank, 1.4, 91.6, 0.0895, 0.0023]]).

%% ------------------------------------------------------------------------------------------------------- Options

options_test() ->
    {ok, Default} = warp_peers_options:parse([]),
    ?assertMatch(#{rounds := 3, publish := false, shards := 4}, Default),
    ?assertNot(lists:member(mnesia_unsynced, maps:get(peers, Default))),
    {ok, Given} = warp_peers_options:parse(["--only", "mix,singles", "--rounds", "5", "--seconds", "1", "--full",
                                            "--peers", "redis,warp", "--json", "x.json", "--publish"]),
    ?assertMatch(#{only := ["singles", "mix"], peers := [warp, redis], rounds := 5, seconds := 1, publish := true,
                   events := 10000000, stored := 50000000, json := "x.json"}, Given),
    ?assertEqual(help, warp_peers_options:parse(["--rounds", "2", "--help"])).

wrong_options_test_() ->
    [{lists:flatten(lists:join(" ", Args)), fun() ->
          {error, Why} = warp_peers_options:parse(Args),
          ?assertNotEqual(nomatch, string:find(lists:flatten(Why), Says))
      end}
     || {Args, Says} <- [{["--round", "3"], "--round"}, {["--rounds"], "--rounds"}, {["--rounds", "0"], "positive"},
                         {["--rounds", "2x"], "2x"}, {["--only", "sngles"], "sngles"}, {["--only", ""], "singles"},
                         {["--peers", "oracle"], "oracle"}, {["--stored", "501"], "multiple of 500"},
                         {["--events", "500"], "multiple of 10000"}]].

%% ---------------------------------------------------------------------------------------------------------- Work

every_work_has_cases_test_() ->
    {ok, Options} = warp_peers_options:parse([]),
    [{Work, fun() ->
          [#{subjects := [First | _]} | _] = Cases = warp_peers_work:cases(Work, Options),
          ?assertEqual({warp, 4}, First),
          ?assertEqual(length(Cases), length(lists:usort([Name || #{'case' := Name} <- Cases]))),
          ?assert(length(warp_peers_work:title(Work)) > 0)
      end} || Work <- warp_peers_work:names()].

peers_that_were_not_asked_for_are_left_out_test() ->
    {ok, Options} = warp_peers_options:parse(["--peers", "redis"]),
    All = [Case || Work <- warp_peers_work:names(), Case <- warp_peers_work:cases(Work, Options)],
    ?assertEqual([redis], lists:usort(lists:append([Subjects || #{subjects := Subjects} <- All]))).

each_round_has_a_victim_of_its_own_test() ->
    {ok, Options} = warp_peers_options:parse(["--rounds", "3", "--events", "20000"]),
    [#{op := Op, store := Store}] = warp_peers_work:cases("delete", Options),
    ?assertEqual({victims, 20000, 10000, 3}, Store),
    ?assertEqual([{delete, 1}, {delete, 2}, {delete, 3}], [Op(Round) || Round <- [1, 2, 3]]).

%% Callers meet in no entity, use nearly all of them, and come back to each.
turns_test_() ->
    [fun() ->
         Slice = warp_peers_load:entities() div Callers,
         All = [warp_peers_load:turn(Caller, Round, Callers) || Caller <- lists:seq(1, Callers),
                                                                Round <- lists:seq(1, Slice)],
         ?assertEqual(Callers * Slice, length(lists:usort(All))),
         ?assert(lists:min(All) >= 1 andalso lists:max(All) =< warp_peers_load:entities()),
         ?assertEqual(warp_peers_load:turn(1, 1, Callers), warp_peers_load:turn(1, 1 + Slice, Callers))
     end || Callers <- [1, 16, 64, 256, 1000]].

%% The first of 10,000 is drawn about once in ten times, and twice as often as the second.
zipf_test() ->
    Drawn = tuple_to_list(warp_peers_load:zipf()),
    Share = fun(N) -> length([D || D <- Drawn, D =:= N]) / length(Drawn) end,
    ?assert(abs(Share(1) - 0.102) < 0.02),
    ?assert(abs(Share(2) - 0.051) < 0.015),
    ?assert(lists:min(Drawn) >= 1 andalso lists:max(Drawn) =< 10000).

%% -------------------------------------------------------------------------------------------------- What is shown

figure(Case, Subject, Median) ->
    #{work => "mix", 'case' => Case, unit => per_second, chart => Case =:= "16 callers", subject => Subject,
      values => [Median], median => Median}.

figures() ->
    [figure("16 callers", {warp, 4}, 3000), figure("16 callers", redis, 1500), figure("16 callers", sqlite, blank),
     figure("64 callers", {warp, 4}, 1000), figure("64 callers", redis, 4000), figure("64 callers", sqlite, failed)].

table_test() ->
    ?assertEqual("Title\n"
                 "                              16 callers         64 callers\n"
                 "  Warp, 4 shards        3.00 k/s           1.00 k/s\n"
                 "  Redis                 1.50 k/s   2.00x   4.00 k/s   0.25x\n"
                 "  SQLite                                     failed\n",
                 lists:flatten(warp_peers_table:text("Title", figures()))).

markdown_test() ->
    ?assertEqual("| | 16 callers | 64 callers |\n"
                 "|---|---|---|\n"
                 "| Warp, 4 shards | 3.00 k/s | 1.00 k/s |\n"
                 "| Redis | 1.50 k/s, 2.00x | 4.00 k/s, 0.25x |\n"
                 "| SQLite |  | failed |\n",
                 lists:flatten(warp_peers_table:markdown(figures()))).

%% Well-formed, with bars as long as the figures, and only of what is a figure of a case that has to be shown.
chart_test() ->
    Svg = lists:flatten(warp_peers_chart:svg("A < B & C", figures())),
    {Root, []} = xmerl_scan:string(Svg),
    ?assertEqual(svg, element(2, Root)),
    {match, Widths} = re:run(Svg, "<rect x=\"[0-9]+\" y=\"[0-9]+\" width=\"([0-9]+)\"",
                             [global, {capture, all_but_first, list}]),
    [Warp, Redis] = [list_to_integer(Width) || [Width] <- Widths],
    ?assertEqual(Warp, 2 * Redis),
    ?assertNotEqual(nomatch, string:find(Svg, "A &lt; B &amp; C")).

json_test() ->
    Text = iolist_to_binary(warp_peers_json:text([{cores, 2}, {otp, <<"25">>}], figures())),
    {ok, #{<<"machine">> := Machine, <<"figures">> := Figures}} = warp_json:decode(Text),
    ?assertEqual(#{<<"cores">> => 2, <<"otp">> => <<"25">>}, Machine),
    ?assertEqual([3000, 1500, null, 1000, 4000, null], [Median || #{<<"median">> := Median} <- Figures]),
    ?assertMatch(#{<<"subject">> := <<"Warp, 4 shards">>, <<"unit">> := <<"per_second">>}, hd(Figures)).

%% Publishing twice replaces what was published before, and nothing else.
publish_test() ->
    {ok, Page} = file:read_file(filename:join(root(), "docs/performance.md")),
    Once = warp_peers_publish:between(Page, "figures\n"),
    ?assertNotEqual(nomatch, binary:match(Once, <<"\nfigures\n">>)),
    ?assertEqual(Once, warp_peers_publish:between(warp_peers_publish:between(Page, "others\n"), "figures\n")),
    ?assertThrow(_, warp_peers_publish:between(<<"no mark">>, "figures\n")).

%% ------------------------------------------------------------------------------------------------------ What is run

%% A program ends with whoever started it, when it is told to, and by itself; none leaves its note behind.
programs_test_() ->
    {setup,
     fun() ->
         Dir = filename:join([root(), "_build", "peers-test-" ++ os:getpid()]),
         ok = filelib:ensure_path(filename:join(Dir, "running")),
         true = os:putenv("WARP_PEERS_DIR", Dir),
         Dir
     end,
     fun(Dir) -> true = os:unsetenv("WARP_PEERS_DIR"), ok = file:del_dir_r(Dir) end,
     fun(Dir) ->
         Env = #{root => root()},
         [{"with whoever started it", fun() ->
               Port = warp_peers_os:serve(Env, "TERM", ["sleep", "600"]),
               Pid = until(fun() -> running(Dir) end),
               ?assert(alive(Pid)),
               true = port_close(Port),
               until(fun() -> running(Dir) =:= false end),
               ?assertNot(alive(Pid))
           end},
          {"when told to", fun() ->
               Port = warp_peers_os:serve(Env, "TERM", ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]),
               Pid = until(fun() -> running(Dir) end),
               ok = warp_peers_os:stop(Port),
               ?assertNot(alive(Pid)),
               ?assertNot(running(Dir))
           end},
          {"by itself", fun() ->
               ?assertEqual("12.5\n", warp_peers_os:run(Env, ["echo", "12.5"])),
               ?assertEqual(12.5, warp_peers_os:number(Env, ["echo", "12.5"])),
               ?assertThrow(_, warp_peers_os:number(Env, ["echo", "no number"])),
               ?assertThrow(_, warp_peers_os:run(Env, ["false"])),
               ?assertNot(running(Dir))
           end},
          {"before it answers", fun() ->
               Port = warp_peers_os:serve(Env, "TERM", ["sh", "-c", "echo what is wrong; exit 3"]),
               Said = try warp_peers_os:until(Port, fun() -> false end) catch throw:Why -> lists:flatten(Why) end,
               ?assertNotEqual(nomatch, string:find(Said, "status 3")),
               ?assertNotEqual(nomatch, string:find(Said, "what is wrong"))
           end}]
     end}.

running(Dir) ->
    case filelib:wildcard(filename:join([Dir, "running", "*"])) of
        [Note] -> filename:basename(Note);
        [] -> false
    end.

alive(Pid) ->
    os:cmd("kill -0 " ++ Pid ++ " 2>&1; echo $?") =:= "0\n".

until(Fun) ->
    until(Fun, 100).

until(Fun, N) when N > 0 ->
    case Fun() of
        false -> timer:sleep(50), until(Fun, N - 1);
        Found -> Found
    end.

root() ->
    case string:split(filename:absname(code:which(?MODULE)), "/_build/") of
        [Root, _] -> Root
    end.

%% --------------------------------------------------------------------------------------------------- What is read

pgbench_test() ->
    Text = "pgbench (15.18)\n"
           "progress: 1.0 s, 100.0 tps, lat 0.785 ms stddev 0.354, 0 failed\n"
           "progress: 2.0 s, 300.0 tps, lat 0.785 ms stddev 0.354, 0 failed\n"
           "progress: 4.0 s, 600.0 tps, lat 0.785 ms stddev 0.354, 0 failed\n"
           "latency average = 0.785 ms\n"
           "tps = 400.0 (without initial connection time)\n",
    ?assertEqual({500.0, 3.0}, warp_peers_pgbench:rate(Text, 1, 100)),
    ?assertEqual({600.0, 2.0}, warp_peers_pgbench:rate(Text, 2, 0)),
    ?assertEqual({600.0, 2.0}, warp_peers_pgbench:rate(Text, 0, 101)),
    ?assertEqual({0.0, 0.0}, warp_peers_pgbench:rate(Text, 9, 0)),
    ?assertEqual(0.785, warp_peers_pgbench:latency(Text)),
    ?assertThrow(_, warp_peers_pgbench:rate("nothing", 1, 1)),
    ?assertThrow(_, warp_peers_pgbench:latency("nothing")).
