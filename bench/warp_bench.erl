%% Benchmarks of the engine: make bench, or make bench ARGS="--seconds 5 --only singles,cold".
-module(warp_bench).

-export([main/0]).

-define(BASELINE, "bench/baseline.json").
-define(CASES, [
    {"singles", fun warp_bench_writes:singles/1},
    {"pipelined", fun warp_bench_writes:pipelined/1},
    {"batches", fun warp_bench_writes:batches/1},
    {"read_through", fun warp_bench_writes:read_through/1},
    {"reads", fun warp_bench_reads:resident/1},
    {"cold", fun warp_bench_reads:cold/1},
    {"memory", fun warp_bench_reads:memory/1},
    {"start", fun warp_bench_reads:start/1},
    {"sagas", fun warp_bench_sagas:sagas/1},
    {"projections", fun warp_bench_projections:projections/1},
    {"subscriptions", fun warp_bench_subscriptions:subscriptions/1},
    {"backup", fun warp_bench_backup:backup/1},
    {"cluster", fun warp_bench_cluster:cluster/1},
    {"server", fun warp_bench_server:server/1}
]).

-spec main() -> no_return().
main() ->
    try options(init:get_plain_arguments(), #{seconds => 1, shards => 4, save => false,
                                                    only => [Name || {Name, _} <- ?CASES]}) of
        Options ->
            run(Options),
            halt(0)
    catch
        throw:Message ->
            io:format(standard_error, "~ts~n~ts", [Message, usage()]),
            halt(2)
    end.

run(#{only := Only} = Options) ->
    Dir = filename:join("_build", "bench-data"),
    warp_bench_run:machine(Dir, Options),
    lists:foreach(
        fun({Name, Case}) ->
            case lists:member(Name, Only) of
                true -> Case(Options#{dir => filename:join(Dir, Name)});
                false -> ok
            end
        end,
        ?CASES),
    ok = file:del_dir_r(Dir),
    compare(Options, warp_bench_run:measured()).

compare(#{save := true, shards := Shards}, Measured) ->
    ok = warp_bench_baseline:save(?BASELINE, Shards, Measured),
    io:format("~nWritten to ~ts: ~b figures~n", [?BASELINE, maps:size(Measured)]);
compare(#{shards := Shards}, Measured) ->
    case warp_bench_baseline:load(?BASELINE) of
        {ok, Shards, Baseline} ->
            told(warp_bench_baseline:slower(Baseline, Measured));
        {ok, Other, _} ->
            io:format("~n~ts is of ~b shards, and not compared~n", [?BASELINE, Other]);
        none ->
            io:format("~nThere is no ~ts to compare with~n", [?BASELINE])
    end.

told([]) ->
    io:format("~nNothing is slower by a quarter than in ~ts~n", [?BASELINE]);
told(Slower) ->
    io:format("~nSlower than in ~ts, also by the ratio to the syncs:~n", [?BASELINE]),
    lists:foreach(fun({Name, Share}) -> io:format("  ~3b% of it: ~ts~n", [round(Share * 100), Name]) end, Slower).

options([], Options) ->
    Options;
options(["--seconds", N | Args], Options) ->
    options(Args, Options#{seconds := number(N)});
options(["--shards", N | Args], Options) ->
    options(Args, Options#{shards := number(N)});
options(["--save-baseline" | Args], Options) ->
    options(Args, Options#{save := true});
options(["--only", Names | Args], Options) ->
    Only = string:lexemes(Names, ","),
    _ = [throw(["there is no case ", Name]) || Name <- Only, not lists:keymember(Name, 1, ?CASES)],
    options(Args, Options#{only := Only});
options([Help | _], _) when Help =:= "--help"; Help =:= "-h" ->
    io:put_chars(usage()),
    halt(0);
options([Arg | _], _) ->
    throw(["unknown or incomplete option ", Arg]).

number(Text) ->
    case string:to_integer(Text) of
        {N, ""} when N > 0 -> N;
        _ -> throw(["not a number: ", Text])
    end.

usage() ->
    ["usage: make bench ARGS=\"[--seconds N] [--shards N] [--only CASE,...] [--save-baseline]\"\n"
     "  --seconds N      how long each figure is measured (1)\n"
     "  --shards N       shards of the context (4)\n"
     "  --only CASE,...  some of: ", lists:join(", ", [Name || {Name, _} <- ?CASES]), "\n",
     "  --save-baseline  write the figures to " ?BASELINE ", with which later runs are compared\n"].
