%% Reads what pgbench prints.
-module(warp_peers_pgbench).

-export([rate/3, latency/1]).

%% Transactions per second, and how many seconds of them there are: those after the first so many and after as many
%% transactions. The text has a line for each second or so:
%% "progress: 3.0 s, 20312.1 tps, lat 0.785 ms stddev 0.354, 0 failed".
-spec rate(string(), number(), number()) -> {PerSecond :: float(), Seconds :: float()}.
rate(Text, WarmSeconds, WarmTransactions) ->
    case re:run(Text, "^progress: ([0-9.]+) s, ([0-9.]+) tps", [multiline, global, {capture, all_but_first, list}]) of
        {match, Lines} ->
            Spans = spans([{list_to_float(At), list_to_float(Tps)} || [At, Tps] <- Lines], 0.0, 0.0),
            Counted = [{Seconds, Done} || {Before, DoneBefore, Seconds, Done} <- Spans,
                                          Before >= WarmSeconds - 0.5, DoneBefore >= WarmTransactions],
            {All, Took} = {lists:sum([Done || {_, Done} <- Counted]), lists:sum([Seconds || {Seconds, _} <- Counted])},
            {All / max(Took, 0.001), float(Took)};
        nomatch ->
            throw(["pgbench printed no progress\n", Text])
    end.

%% When each began and what was done before; how long it is and what was done in it.
spans([], _, _) ->
    [];
spans([{At, Tps} | Points], Before, DoneBefore) ->
    Done = Tps * (At - Before),
    [{Before, DoneBefore, At - Before, Done} | spans(Points, At, DoneBefore + Done)].

%% Milliseconds for each transaction.
-spec latency(string()) -> float().
latency(Text) ->
    case re:run(Text, "^latency average = ([0-9.]+) ms", [multiline, {capture, all_but_first, list}]) of
        {match, [Ms]} -> list_to_float(Ms);
        nomatch -> throw(["pgbench printed no latency\n", Text])
    end.
