%% @private `warp import': puts exported events back into an entity.
-module(warp_cli_import).
-behaviour(warp_cli_command).

-export([commands/0]).

-import(warp_cli_units, [many/2]).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    [#{words => [<<"import">>],
       about => <<"Put exported events back into an entity that has none">>,
       text => <<"FILE is what `warp export' or `warp restore --export' wrote. The events keep their seqs, ids and\n"
                 "times, and are stored all or not at all. The VM that has the context open reads the file, and its\n"
                 "aggregates fold them. Given again, the command finds that they are there.">>,
       asks => true,
       places => [#{name => dir, shown => <<"DIR">>, is => folder},
                  #{name => file, shown => <<"FILE">>, is => file}],
       options => [warp_cli_events:entity()],
       examples => [<<"warp import data/bank --entity alice alice.jsonl --yes">>],
       run => fun run/1}].

run(#{entity := Entity, file := Given} = Args) ->
    warp_cli_context:with(Args, refuse, fun(Ask, #{<<"context">> := Name}) ->
        File = warp_cli_target:path(Given),
        #{<<"events">> := Found} = warp_cli_context:ask(Ask, #{op => last, entity => Entity}),
        ok = warp_cli_terminal:confirm(
            ["The entity ", Entity, " of the context ", Name, " has ", many(Found, "event"), ". Those in ", File,
             " will be stored as its events, as they were."], Args),
        #{<<"events">> := Count} = warp_cli_context:ask(Ask, #{op => import, entity => Entity, file => File}),
        warp_cli_result:print(Args, #{entity => Entity, events => Count}, fun(_) ->
            ["The entity ", Entity, " has the ", many(Count, "event"), ".\n"]
        end)
    end).
