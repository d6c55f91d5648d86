%% @private `warp inspect': what is in a context.
-module(warp_cli_inspect).
-behaviour(warp_cli_command).

-export([commands/0]).

-import(warp_cli_units, [count/1, bytes/1, seconds/1, text/1, many/2]).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    [#{words => [<<"inspect">>],
       about => <<"Show what is in a context: shards, entities, events, sizes, sagas, lag">>,
       text => <<"Counting entities and events reads the whole index of the context.">>,
       opens => true,
       options => [#{name => quick, about => <<"do not count entities and events">>}],
       examples => [<<"warp inspect data/bank">>, <<"warp inspect data/bank --quick --json">>],
       run => fun run/1}].

run(#{dir := Given} = Args) ->
    %% NOTE: before anything is opened here.
    Formats = warp_cli_folder:formats(warp_cli_folder:context(Given)),
    IsQuick = maps:get(quick, Args, false),
    warp_cli_context:with(Args, open, fun(Ask, Hello) ->
        #{<<"shards">> := Shards} = Found = warp_cli_context:ask(Ask, #{op => inspect, count => not IsQuick}),
        Whole = Found#{<<"state">> => case Hello of #{opened := true} -> <<"stopped">>; _ -> <<"running">> end,
                       <<"shards">> => [with_format(Shard, Formats) || Shard <- Shards]},
        warp_cli_result:print(Args, Whole, fun shown/1)
    end).

with_format(#{<<"shard">> := N} = Shard, Formats) ->
    Shard#{<<"format">> => case Formats of #{N := Format} when is_integer(Format) -> Format; _ -> null end}.

shown(#{<<"context">> := Name, <<"shards">> := Shards, <<"warp">> := Warp, <<"durability">> := Durability} = Found) ->
    Sum = fun(Key) -> case [Value || #{Key := Value} <- Shards] of [] -> null; Values -> lists:sum(Values) end end,
    Formats = lists:usort([Format || #{<<"format">> := Format} <- Shards, is_integer(Format)]),
    [warp_cli_table:pairs(
        [{"context", Name}, {"state", state(Found)},
         {"versions", ["Warp ", Warp, ", format ", lists:join(", ", [integer_to_list(F) || F <- Formats])]},
         {"durability", case Found of #{<<"state">> := <<"running">>} -> Durability; _ -> "-" end},
         {"shards", [count(length(Shards))
                     | [[", ", count(N), " of them not open here"] || N <- [closed(Shards)], N > 0]]},
         {"entities", count(Sum(<<"entities">>))}, {"events", count(Sum(<<"events">>))},
         {"size", on_disk(Found)}, {"sagas", sagas(Found)}, {"deletions", deletions(Found)},
         {"projection", projection(Found)}, {"subscriptions", subscriptions(Found)},
         {"backups", warp_cli_backup:summary(maps:get(<<"backups">>, Found, []))}, {"cluster", cluster(Found)}]),
     $\n,
     warp_cli_table:format(
        [{right, "shard"}, {right, "entities"}, {right, "events"}, {right, "position"}, {right, "size"},
         {right, "format"}, {left, "state"}],
        [[integer_to_list(N), count(maps:get(<<"entities">>, Shard, null)), count(maps:get(<<"events">>, Shard, null)),
          count(maps:get(<<"position">>, Shard, null)), bytes(maps:get(<<"file_bytes">>, Shard, null)),
          text(maps:get(<<"format">>, Shard)), shard_state(Shard)] || #{<<"shard">> := N} = Shard <- Shards])].

state(#{<<"state">> := <<"running">>, <<"os_pid">> := Pid, <<"node">> := Node}) ->
    ["running, in the VM with the process number ", Pid | [[", node ", Node] || Node =/= <<"nonode@nohost">>]];
state(_) -> "stopped; opened for this command".

closed(Shards) -> length([N || #{<<"shard">> := N, <<"unavailable">> := true} <- Shards]).

shard_state(#{<<"error">> := Error}) -> ["not open: ", text(Error)];
shard_state(#{<<"unavailable">> := true}) -> "not open here";
shard_state(_) -> "open".

on_disk(Found) ->
    #{<<"journal">> := Journal} = Found,
    [bytes(maps:get(<<"file_bytes">>, Found, 0)), " of shards, ", bytes(maps:get(<<"file_bytes">>, Journal, 0)),
     " of journal"].

sagas(#{<<"sagas">> := #{<<"running">> := Running, <<"waiting">> := Waiting, <<"stuck">> := Stuck}}) ->
    [count(Running), " under way, ", count(Waiting), " of them waiting; ", count(Stuck), " stuck"].

deletions(#{<<"deletions">> := #{<<"under_way">> := UnderWay}}) -> [count(UnderWay), " under way"].

projection(#{<<"projections">> := null, <<"state">> := <<"stopped">>}) -> "not opened";
projection(#{<<"projections">> := null}) -> "none";
projection(#{<<"projections">> := #{<<"target">> := Target, <<"behind_positions">> := Behind,
                                    <<"behind_seconds">> := Seconds, <<"set_aside">> := Aside,
                                    <<"rebuild_due">> := Due}}) ->
    [Target, ", ", lag(Behind, Seconds), ", ", many(Aside, "event"), " set aside"
     | [", a rebuild is due" || Due =:= true]].

lag(0, _) -> "not behind";
lag(Behind, Seconds) -> [many(Behind, "append"), " behind (", seconds(Seconds), ")"].

subscriptions(#{<<"subscriptions">> := []}) -> "none";
subscriptions(#{<<"subscriptions">> := All}) ->
    Parked = lists:sum([N || #{<<"parked">> := N} <- All]),
    Behind = lists:max([N || #{<<"behind_positions">> := N} <- All]),
    [count(length(All)), ", ", many(Behind, "append"), " behind at most, ", many(Parked, "event"), " parked"].

cluster(#{<<"cluster">> := null}) -> "none";
cluster(#{<<"cluster">> := #{<<"phase">> := Phase, <<"members">> := Members}}) ->
    [Phase, ", ", many(Members, "member")].
