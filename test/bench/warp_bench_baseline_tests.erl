%% What the benchmarks make of their figures, and what is slower than before.
-module(warp_bench_baseline_tests).
-include_lib("eunit/include/eunit.hrl").

%% More is better, whatever is measured.
measured_test() ->
    ?assertEqual({100000, 20.0}, warp_bench_baseline:measured({per_second, 100000}, 5000)),
    ?assertEqual({500.0, 0.1}, warp_bench_baseline:measured({micros, 2000}, 5000)),
    ?assertEqual(none, warp_bench_baseline:measured({bytes, 2000}, 5000)),
    ?assertEqual(none, warp_bench_baseline:measured({single, 2000}, 5000)),
    ?assertEqual({1.0e6, 200.0}, warp_bench_baseline:measured({micros, 0}, 5000)).

text_test() ->
    ?assertEqual(["1852", "14.6", "1.92", "0.0385"],
                 [warp_bench_baseline:text(Ratio) || Ratio <- [1852.3, 14.6, 1.92, 0.0385]]).

%% A quarter less is noise, more than that is told, and what only one of them has is not compared.
slower_test() ->
    Baseline = #{<<"a">> => {100, 10.0}, <<"b">> => {100, 10.0}, <<"c">> => {100, 10.0}, <<"gone">> => {1, 1}},
    Better = #{<<"a">> => {76, 7.6}, <<"b">> => {300, 30}, <<"new">> => {1, 1}},
    ?assertEqual([], warp_bench_baseline:slower(Baseline, Better)),
    Worse = #{<<"a">> => {100, 10}, <<"b">> => {50, 5}, <<"c">> => {60, 7.4}},
    ?assertEqual([{<<"b">>, 0.5}, {<<"c">>, 0.74}], warp_bench_baseline:slower(Baseline, Worse)).

%% With half the syncs of a slower disk, or twice those of a faster one.
another_disk_is_no_loss_test() ->
    Baseline = #{<<"waits">> => {100, 10}, <<"does not">> => {100, 10}},
    ?assertEqual([], warp_bench_baseline:slower(Baseline, #{<<"waits">> => {50, 10}, <<"does not">> => {100, 20}})),
    ?assertEqual([], warp_bench_baseline:slower(Baseline, #{<<"waits">> => {200, 10}, <<"does not">> => {100, 5}})).

%% What a run of some cases did not measure stays; figures for other shards do not.
file_test() ->
    File = filename:join("_build", "baseline-test-" ++ os:getpid() ++ ".json"),
    ?assertEqual(none, warp_bench_baseline:load(File)),
    try
        One = <<"one, \"a\"">>,
        ok = warp_bench_baseline:save(File, 4, #{One => {12.345, 1}, <<"two">> => {0.000451, 2}}),
        ?assertEqual({ok, 4, #{One => {12.3, 1.0}, <<"two">> => {0.000451, 2.0}}}, warp_bench_baseline:load(File)),
        ok = warp_bench_baseline:save(File, 4, #{<<"two">> => {1234.5, 3}}),
        ?assertEqual({ok, 4, #{One => {12.3, 1.0}, <<"two">> => {1.23e3, 3.0}}}, warp_bench_baseline:load(File)),
        ok = warp_bench_baseline:save(File, 16, #{<<"two">> => {1.0, 1.0}}),
        ?assertEqual({ok, 16, #{<<"two">> => {1.0, 1.0}}}, warp_bench_baseline:load(File))
    after
        ok = file:delete(File)
    end.

%% The committed one is of the default number of shards.
committed_test() ->
    [Root, _] = string:split(filename:absname(code:which(?MODULE)), "/_build/"),
    {ok, 4, Figures} = warp_bench_baseline:load(filename:join(Root, "bench/baseline.json")),
    ?assert(maps:size(Figures) > 20),
    ?assertEqual([], [Figure || {Rate, Ratio} = Figure <- maps:values(Figures), Rate =< 0 orelse Ratio =< 0]).
