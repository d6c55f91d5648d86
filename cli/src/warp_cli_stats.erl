%% @private `warp stats': what a running context counts.
-module(warp_cli_stats).
-behaviour(warp_cli_command).

-export([commands/0]).

-import(warp_cli_units, [count/1, bytes/1, text/1]).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    [#{words => [<<"stats">>],
       about => <<"Show what a running context has counted since its start">>,
       text => <<"--json prints all that warp_core:stats/1 gives: docs/operations.md says what it is.">>,
       examples => [<<"warp stats data/bank">>, <<"warp stats data/bank --json">>],
       run => fun run/1}].

run(Args) ->
    warp_cli_context:with(Args, refuse, fun(Ask, _Hello) ->
        warp_cli_result:print(Args, warp_cli_context:ask(Ask, #{op => stats}), fun shown/1)
    end).

shown(#{<<"shards">> := Shards, <<"journal">> := Journal} = Stats) ->
    Get = fun(Key) -> maps:get(Key, Stats, null) end,
    Failing = [[Where, $\s, maps:get(<<"task">>, Task), ": ", text(maps:get(<<"meaning">>, Task, null))]
               || {Where, #{<<"background">> := Tasks}} <- [{"journal", Journal}
                                                            | [{["shard ", integer_to_list(N)], Shard}
                                                               || #{<<"shard">> := N} = Shard <- Shards]],
                  Task <- Tasks],
    Closed = [[integer_to_list(N), ": ", text(maps:get(<<"error">>, Shard, null))]
              || #{<<"shard">> := N, <<"unavailable">> := true} = Shard <- Shards],
    [warp_cli_table:pairs(
        [{"appends", count(Get(<<"appends">>))}, {"events", count(Get(<<"events">>))},
         {"bytes of events", bytes(Get(<<"bytes">>))},
         {"commits", [count(Get(<<"commits">>)), ", ", count(Get(<<"failed_commits">>)), " failed"]},
         {"commit time", [percentile(Get(<<"commit_us">>), 0.5), " median, ", percentile(Get(<<"commit_us">>), 0.99),
                          " of 99 %"]},
         {"sync time", [percentile(Get(<<"sync_us">>), 0.5), " median, ", percentile(Get(<<"sync_us">>), 0.99),
                        " of 99 %"]},
         {"queue", [count(Get(<<"queue_depth">>)), " of ", count(Get(<<"queue_limit">>))]},
         {"not yet in shards", [count(Get(<<"unflushed_rows">>)), " appends"]},
         {"entities in memory", count(Get(<<"resident_entities">>))},
         {"entities deleted", count(Get(<<"erased_entities">>))},
         {"files", bytes(Get(<<"file_bytes">>))}]),
     [[$\n, warp_cli_backup:table(Backups)] || #{<<"backups">> := [_ | _] = Backups} <- [Stats]],
     [[$\n, "Not open: shard ", Shard] || Shard <- Closed], [$\n || Closed =/= []],
     [["\nFailing in the background, ", Task] || Task <- Failing], [$\n || Failing =/= []]].

%% The bound below which that part of all durations is.
percentile(null, _Part) -> "-";
percentile([], _Part) -> "-";
percentile(Histogram, Part) ->
    Wanted = Part * lists:sum([N || [_, N] <- Histogram]),
    ["below ", below(Histogram, Wanted)].

below([[Bound, N] | _], Wanted) when N >= Wanted; not is_integer(Bound) -> duration(Bound);
below([[Bound, _]], _Wanted) -> duration(Bound);
below([[_, N] | More], Wanted) -> below(More, Wanted - N).

duration(Micros) when is_integer(Micros), Micros < 1000 -> io_lib:format("~b us", [Micros]);
duration(Micros) when is_integer(Micros) -> warp_cli_units:seconds(Micros / 1000000);
duration(Other) -> text(Other).
