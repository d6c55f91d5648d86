%% Reads what pgbench prints.
-module(warp_peers_pgbench).

-export([rate/2, latency/1]).

%% Transactions per second, of the seconds after the first so many. The text has a line for each second or so:
%% "progress: 3.0 s, 20312.1 tps, lat 0.785 ms stddev 0.354, 0 failed".
-spec rate(string(), number()) -> float().
rate(Text, Warm) ->
    case re:run(Text, "^progress: ([0-9.]+) s, ([0-9.]+) tps", [multiline, global, {capture, all_but_first, list}]) of
        {match, Lines} ->
            Points = [{list_to_float(At), list_to_float(Tps)} || [At, Tps] <- Lines],
            {Seconds, Done, _} = lists:foldl(fun
                ({At, Tps}, {Seconds, Done, Before}) when Before >= Warm - 0.5 ->
                    {Seconds + At - Before, Done + Tps * (At - Before), At};
                ({At, _}, {Seconds, Done, _}) ->
                    {Seconds, Done, At}
            end, {0.0, 0.0, 0.0}, Points),
            Seconds > 0 orelse throw(["pgbench said too little\n", Text]),
            Done / Seconds;
        nomatch ->
            throw(["pgbench printed no progress\n", Text])
    end.

%% Milliseconds for each transaction.
-spec latency(string()) -> float().
latency(Text) ->
    case re:run(Text, "^latency average = ([0-9.]+) ms", [multiline, {capture, all_but_first, list}]) of
        {match, [Ms]} -> list_to_float(Ms);
        nomatch -> throw(["pgbench printed no latency\n", Text])
    end.
