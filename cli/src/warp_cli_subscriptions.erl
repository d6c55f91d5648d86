%% @private `warp subscriptions': who follows a context, and how far behind.
-module(warp_cli_subscriptions).
-behaviour(warp_cli_command).

-export([commands/0]).

-import(warp_cli_units, [count/1, seconds/1, text/1]).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    [#{words => [<<"subscriptions">>],
       about => <<"List subscriptions, with how far they are behind and what waits">>,
       text => <<"Of a stopped context those with names, which are on disk.">>,
       opens => true,
       examples => [<<"warp subscriptions data/bank">>, <<"warp subscriptions data/bank --json">>],
       run => fun run/1}].

run(Args) ->
    #{<<"subscriptions">> := All} = warp_cli_context:with(Args, open, fun(Ask, _Hello) ->
        warp_cli_context:ask(Ask, #{op => subscriptions})
    end),
    warp_cli_result:print(Args, All, fun shown/1).

shown(All) ->
    warp_cli_table:format(
        [{left, "name"}, {left, "of entity"}, {left, "state"}, {right, "behind"}, {right, "for"}, {right, "retrying"},
         {right, "parked"}, {left, "why"}],
        [[text(maps:get(<<"name">>, Of, null)), text(maps:get(<<"of_entity">>, Of, null)), text(State),
          count(maps:get(<<"behind_positions">>, Of, null)), seconds(maps:get(<<"behind_seconds">>, Of, null)),
          count(maps:get(<<"retrying">>, Of, null)), count(maps:get(<<"parked">>, Of, null)),
          text(maps:get(<<"why">>, Of, null))] || #{<<"state">> := State} = Of <- All]).
