%% @private `warp cluster': the nodes that share a context, as the running node in whose folder this is knows them.
-module(warp_cli_cluster).
-behaviour(warp_cli_command).

-export([commands/0]).

-import(warp_cli_units, [count/1, text/1, many/2]).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    [#{words => [<<"cluster">>, <<"status">>],
       about => <<"Show the cluster as a node knows it, and what is moving">>,
       text => <<"The status is 1 where a node cannot be reached, a hand-off stands still, or this node is in doubt.">>,
       examples => [<<"warp cluster status data/bank || echo 'somebody has to look'">>],
       run => fun status/1},
     #{words => [<<"cluster">>, <<"members">>],
       about => <<"List the nodes of the cluster">>,
       examples => [<<"warp cluster members data/bank --json">>],
       run => fun members/1},
     #{words => [<<"cluster">>, <<"leave">>],
       about => <<"Give all shards of this node to the others, so that it can be stopped for good">>,
       text => <<"Waits for the end. When this command is ended before, the node goes on giving its shards away: give "
                 "the\ncommand again.">>,
       asks => true,
       examples => [<<"warp cluster leave data/bank --yes">>],
       run => fun leave/1},
     #{words => [<<"cluster">>, <<"forget">>],
       about => <<"Forget nodes that are lost for good, with their disks">>,
       text => <<"What only their disks had is lost. It cannot be taken back: docs/cluster.md.">>,
       asks => true,
       options => [#{name => node, value => <<"NODE">>, required => true, many => true,
                     about => <<"the node; may be given several times, for nodes that are lost together">>}],
       examples => [<<"warp cluster forget data/bank --node warp@10.0.0.3 --yes">>],
       run => fun forget/1},
     #{words => [<<"cluster">>, <<"adopt">>],
       about => <<"Take the folder of a node that is in doubt for the right one">>,
       text => <<"See first that no other copy of the folder is in use, and that this is the newest one.">>,
       asks => true,
       examples => [<<"warp cluster adopt data/bank --yes">>],
       run => fun adopt/1}].

status(Args) ->
    Status = ask(Args, #{op => cluster}),
    ok = warp_cli_result:print(Args, Status, fun shown/1),
    Away = [Node || #{<<"is_linked">> := false, <<"state">> := State, <<"node">> := Node} <- of_key(members, Status),
                    not lists:member(State, [<<"left">>, <<"forgotten">>])],
    case Status of
        #{<<"phase">> := <<"member">>, <<"moving">> := #{<<"alarms">> := [], <<"unreachable">> := []}}
          when Away =:= [] -> ok;
        _ -> warp_cli_fail:bad()
    end.

ask(Args, Request) ->
    warp_cli_context:with(Args, refuse, fun(Ask, _Hello) -> warp_cli_context:ask(Ask, Request) end).

of_key(Key, Map) -> maps:get(atom_to_binary(Key), Map).

shown(#{<<"node">> := Node, <<"phase">> := Phase, <<"why">> := Why, <<"moving">> := Moving} = Status) ->
    [warp_cli_table:pairs([{"this node", Node}, {"phase", Phase} | [{"why", text(Why)} || Why =/= null]]),
     $\n,
     table(of_key(members, Status)),
     $\n,
     case Moving of
         #{<<"text">> := Text} -> [Text, $\n];
         #{<<"error">> := Error} -> ["What is moving is not known: ", text(Error), $\n]
     end].

members(Args) ->
    #{<<"members">> := Members} = ask(Args, #{op => members}),
    warp_cli_result:print(Args, Members, fun table/1).

table(Members) ->
    warp_cli_table:format(
        [{left, "node"}, {left, "state"}, {left, "reached"}, {right, "shards"}, {right, "starts"}],
        [[Node, State, case Linked of true -> "yes"; false -> "no" end, count(Shards), count(Starts)]
         || #{<<"node">> := Node, <<"state">> := State, <<"is_linked">> := Linked, <<"shards">> := Shards,
              <<"incarnation">> := Starts} <- Members]).

leave(Args) ->
    warp_cli_context:with(Args, refuse, fun(Ask, #{<<"context">> := Name, <<"node">> := Node}) ->
        #{<<"shards">> := Shards} = warp_cli_context:ask(Ask, #{op => cluster}),
        ok = warp_cli_terminal:confirm(
            ["The node ", Node, " will give its ", many(length(maps:get(Node, Shards, [])), "shard"),
             " of the context ", Name, " to other nodes, and be none of the cluster any more."], Args),
        _ = warp_cli_context:ask(Ask, #{op => leave}),
        warp_cli_result:print(Args, #{node => Node, state => left},
                              fun(_) -> ["The node ", Node, " has left, and can be stopped.\n"] end)
    end).

forget(#{node := Nodes} = Args) ->
    warp_cli_context:with(Args, refuse, fun(Ask, #{<<"context">> := Name}) ->
        #{<<"members">> := Members} = warp_cli_context:ask(Ask, #{op => members}),
        Lost = lists:sum([N || #{<<"node">> := Node, <<"shards">> := N} <- Members, lists:member(Node, Nodes)]),
        ok = warp_cli_terminal:confirm(
            ["The context ", Name, " will forget ", lists:join(", ", Nodes), ". Other nodes take over ",
             many(Lost, "shard"), ", and what only the disks of those nodes had is lost for good. Be sure that none of "
             "them runs or will run again."], Args),
        _ = warp_cli_context:ask(Ask, #{op => forget, nodes => Nodes}),
        warp_cli_result:print(Args, #{forgotten => Nodes},
                              fun(_) -> ["Forgotten: ", lists:join(", ", Nodes), ".\n"] end)
    end).

adopt(Args) ->
    warp_cli_context:with(Args, refuse, fun(Ask, #{<<"context">> := Name, <<"node">> := Node}) ->
        #{<<"why">> := Why} = warp_cli_context:ask(Ask, #{op => cluster}),
        ok = warp_cli_terminal:confirm(
            [[[text(Why), $\s] || Why =/= null], "The folder of the node ", Node, " will be taken for the right one of "
             "the context ", Name, ". Where another copy of it is in use, or was later, the two differ for good."],
            Args),
        _ = warp_cli_context:ask(Ask, #{op => adopt}),
        warp_cli_result:print(Args, #{node => Node, state => adopted},
                              fun(_) -> ["The node ", Node, " serves its shards.\n"] end)
    end).
