%% @private `warp export': all events of an entity, for other programs.
-module(warp_cli_export).
-behaviour(warp_cli_command).

-export([commands/0]).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    [#{words => [<<"export">>],
       about => <<"Write all events of an entity, one JSON object a line">>,
       text => <<"As they were stored, from the first one on; they can be appended to an empty entity elsewhere. What "
                 "was\nwritten is complete if the status is 0.">>,
       opens => true,
       options => [warp_cli_events:entity()],
       examples => [<<"warp export data/bank --entity alice > alice.jsonl">>],
       run => fun run/1}].

run(#{entity := Entity} = Args) ->
    warp_cli_context:with(Args, open, fun(Ask, _Hello) ->
        #{<<"events">> := Count} = Ask(#{op => events, entity => Entity},
                                       fun(Json) -> warp_cli_terminal:print([Json, $\n]) end),
        warp_cli_terminal:note([warp_cli_units:many(Count, "event"), " of ", Entity, "."])
    end).
