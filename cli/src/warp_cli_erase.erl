%% @private `warp erase': deletes an entity.
-module(warp_cli_erase).
-behaviour(warp_cli_command).

-export([commands/0]).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    [#{words => [<<"erase">>],
       about => <<"Delete an entity, for good">>,
       text => <<"Its events, snapshots, payloads in sagas and rows in projections are overwritten. docs/operations.md "
                 "says which\ntraces remain. A stopped context that has projections has to be started for it.">>,
       opens => true,
       asks => true,
       options => [warp_cli_events:entity()],
       examples => [<<"warp erase data/bank --entity bob --yes">>],
       run => fun run/1}].

run(#{entity := Entity} = Args) ->
    warp_cli_context:with(Args, open, fun(Ask, #{<<"context">> := Name}) ->
        #{<<"events">> := Events} = Last = warp_cli_context:ask(Ask, #{op => last, entity => Entity}),
        ok = warp_cli_terminal:confirm(
            ["The entity ", Entity, " of the context ", Name, " has ", warp_cli_units:many(Events, "event"),
             case Last of
                 #{<<"recorded_at">> := At} -> [", the last one of ", warp_cli_units:time(At)];
                 _ -> []
             end,
             ". They will be erased, and nothing can bring them back."], Args),
        _ = warp_cli_context:ask(Ask, #{op => erase, entity => Entity}),
        warp_cli_result:print(Args, #{entity => Entity, events => Events}, fun(_) ->
            ["Erased ", Entity, " with ", warp_cli_units:many(Events, "event"), ".\n"]
        end)
    end).
