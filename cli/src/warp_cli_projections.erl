%% @private `warp projections': how the tables of a running context are, and making them again.
-module(warp_cli_projections).
-behaviour(warp_cli_command).

-export([commands/0]).

-import(warp_cli_units, [count/1, seconds/1, text/1, many/2]).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    [#{words => [<<"projections">>, <<"status">>],
       about => <<"Show how far the projection of a running context is">>,
       text => <<"The status is 1 where a projector is stalled, events are set aside, or a rebuild is due.">>,
       examples => [<<"warp projections status data/bank || echo 'somebody has to look'">>],
       run => fun status/1},
     #{words => [<<"projections">>, <<"rebuild">>],
       about => <<"Make all tables of a running context again, from the log">>,
       text => <<"Queries read the tables that are there meanwhile. It goes on when this command is ended.">>,
       asks => true,
       options => [#{name => no_wait, about => <<"do not wait for the end">>}],
       examples => [<<"warp projections rebuild data/bank --yes">>],
       run => fun rebuild/1}].

status(Args) ->
    #{<<"shards">> := Shards} = Status = warp_cli_context:with(Args, refuse, fun(Ask, _Hello) ->
        warp_cli_context:ask(Ask, #{op => projections})
    end),
    ok = warp_cli_result:print(Args, Status, fun shown/1),
    Stalled = [N || #{<<"shard">> := N, <<"state">> := <<"stalled">>} <- Shards],
    case Status of
        #{<<"set_aside">> := 0, <<"rebuild_due">> := false} when Stalled =:= [] -> ok;
        _ -> warp_cli_fail:bad()
    end.

shown(#{<<"target">> := Target, <<"state">> := State, <<"behind_positions">> := Behind,
        <<"behind_seconds">> := Seconds, <<"set_aside">> := Aside, <<"events">> := Events, <<"rebuild_due">> := Due,
        <<"rebuild">> := Rebuild, <<"shards">> := Shards}) ->
    [warp_cli_table:pairs(
        [{"target", [text(Target), ", ", text(State)]}, {"events", count(Events)},
         {"behind", [many(Behind, "append"), ", for ", seconds(Seconds)]}, {"set aside", count(Aside)},
         {"rebuild", rebuilds(Rebuild, Due)}]),
     $\n,
     warp_cli_table:format(
        [{right, "shard"}, {left, "state"}, {right, "position"}, {right, "behind"}, {right, "for"},
         {right, "set aside"}, {left, "why"}],
        [[text(N), text(Is), count(Position), count(BehindHere), seconds(For), count(AsideHere), text(Why)]
         || #{<<"shard">> := N, <<"state">> := Is, <<"position">> := Position, <<"behind_positions">> := BehindHere,
              <<"behind_seconds">> := For, <<"set_aside">> := AsideHere, <<"why">> := Why} <- Shards])].

rebuilds(#{<<"state">> := <<"running">>, <<"done">> := Done, <<"total">> := Total}, _) ->
    ["under way, ", count(Done), " of about ", count(Total), " events"];
rebuilds(_, true) -> "due";
rebuilds(#{<<"state">> := <<"cancelled">>}, _) -> "cancelled";
rebuilds(_, _) -> "not due".

rebuild(Args) ->
    warp_cli_context:with(Args, refuse, fun(Ask, #{<<"context">> := Name}) ->
        #{<<"events">> := Events, <<"target">> := Target} = warp_cli_context:ask(Ask, #{op => projections}),
        ok = warp_cli_terminal:confirm(
            ["All tables of the context ", Name, " in ", Target, " will be made again from the log, of about ",
             many(Events, "event"), ", and then replace those that are there."], Args),
        Wait = not maps:get(no_wait, Args, false),
        Done = warp_cli_context:ask(Ask, #{op => rebuild, wait => Wait}),
        warp_cli_result:print(Args, Done, fun
            (#{<<"state">> := <<"done">>}) -> "The tables were made again.\n";
            (_) -> "The rebuild has begun.\n"
        end)
    end).
