%% @private `warp verify': whether the files of a context are whole.
-module(warp_cli_verify).
-behaviour(warp_cli_command).

-export([commands/0]).

-import(warp_cli_units, [count/1, bytes/1]).

-define(PAGE_BYTES, 4096).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    [#{words => [<<"verify">>],
       about => <<"Check all files of a context, or of a copy of one">>,
       text => <<"Reads each file about twice and changes none. What runs goes on meanwhile. A folder of a node of a\n"
                 "cluster, and a copy under any name, can be checked too.">>,
       examples => [<<"warp verify data/bank">>, <<"warp verify data/bank --json">>],
       run => fun run/1}].

run(Args) ->
    Report = warp_cli_context:with(Args, fun folder/1, fun(Ask, _Hello) ->
        warp_cli_context:ask(Ask, #{op => verify})
    end),
    warp_cli_result:print(Args, Report, fun shown/1).

folder(Dir) ->
    Tell = fun(Progress) -> warp_cli_terminal:progress(warp_cli_context:progress(named(Progress))) end,
    case warp_core:verify(Dir, #{progress => Tell}) of
        {ok, Report} -> named(Report);
        {error, Why} -> warp_cli_fail:answer(Why)
    end.

named(Map) ->
    maps:fold(fun(Key, Value, Named) ->
        Named#{atom_to_binary(Key) => case is_atom(Value) of true -> atom_to_binary(Value); false -> Value end}
    end, #{}, Map).

shown(#{<<"shards">> := Shards, <<"pages">> := Pages, <<"entities">> := Entities, <<"rows">> := Rows,
        <<"events">> := Events, <<"snapshots">> := Snapshots, <<"records">> := Records}) ->
    ["Nothing is damaged.\n\n",
     warp_cli_table:pairs([{"shards", count(Shards)},
                           {"pages", [count(Pages), " (", bytes(Pages * ?PAGE_BYTES), ")"]},
                           {"entities", count(Entities)}, {"appends", count(Rows)}, {"events", count(Events)},
                           {"snapshots", count(Snapshots)}, {"records of the journal", count(Records)}])].
