%% Benchmarks of the engine: make bench, or make bench ARGS="--seconds 5 --only singles,cold".
-module(warp_bench).

-export([main/0]).

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
    {"projections", fun warp_bench_projections:projections/1}
]).

-spec main() -> no_return().
main() ->
    try options(init:get_plain_arguments(), #{seconds => 3, shards => 4, only => [Name || {Name, _} <- ?CASES]}) of
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
    ok = file:del_dir_r(Dir).

options([], Options) ->
    Options;
options(["--seconds", N | Args], Options) ->
    options(Args, Options#{seconds := number(N)});
options(["--shards", N | Args], Options) ->
    options(Args, Options#{shards := number(N)});
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
    ["usage: make bench ARGS=\"[--seconds N] [--shards N] [--only CASE,...]\"\n",
     "  --seconds  how long each figure is measured (3)\n",
     "  --shards   shards of the context (4)\n",
     "  --only     some of: ", lists:join(", ", [Name || {Name, _} <- ?CASES]), "\n"].
