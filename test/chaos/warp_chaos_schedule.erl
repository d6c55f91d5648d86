%% Which faults happen to a cluster, and when: a schedule follows from a seed. Pure.
-module(warp_chaos_schedule).

-export([from/2, text/1]).

-export_type([schedule/0, fault/0]).

%% What begins after so many milliseconds, and is undone after so many more.
-type schedule() :: [{After :: non_neg_integer(), For :: pos_integer(), fault()}].
-type fault() ::
    %% Nothing gets from the first of each pair to the second.
    {cut, Shape :: atom(), [{atom(), atom()}]}
    %% It takes so many milliseconds.
    | {delay, [{atom(), atom()}], pos_integer()}
    %% SIGKILL, and a start.
    | {kill, atom()}
    %% SIGSTOP and SIGCONT.
    | {freeze, atom()}
    %% Begins no hand-offs meanwhile.
    | {pause, atom()}
    %% Leaves, and joins as a new node, with the folder that it had or with an empty one.
    | {leave, atom(), same_folder | empty_folder}
    %% Its disk is full.
    | {full, atom()}
    %% Is started with an older copy of its folder. The newest is put back.
    | {old_folder, atom()}
    %% Is cut off, and a copy of it, with its name and its folder, is started in its place.
    | {twin, atom()}.

%% The schedule of a seed, for nodes with these names.
-spec from(integer(), [atom(), ...]) -> schedule().
from(Seed, Nodes) ->
    _ = rand:seed(exsss, Seed),
    case rand:uniform(8) of
        1 -> alone(one_of(Nodes), Nodes);
        _ -> lists:sort(together(rand:uniform(3), Nodes, Nodes))
    end.

%% These say who may serve: so nothing else happens to a node beside them.
alone(Node, Nodes) ->
    Fault = one_of([{old_folder, Node}, {twin, Node}]),
    [{rand:uniform(1000), 2000 + rand:uniform(7000), Fault}
     | [{0, 4000, delay(Nodes)} || one_of([true, false])]].

%% At most one fault of each node, and any of the network.
together(0, _Free, _Nodes) -> [];
together(Left, Free, Nodes) ->
    Node = one_of(Free),
    {Fault, Rest} =
        case rand:uniform(20) of
            N when N =< 8 -> {cut(Nodes), Free};
            N when N =< 10 -> {delay(Nodes), Free};
            N when N =< 13 -> {{kill, Node}, Free -- [Node]};
            N when N =< 15 -> {{freeze, Node}, Free -- [Node]};
            N when N =< 18 -> {{leave, Node, one_of([same_folder, empty_folder])}, Free -- [Node]};
            19 -> {{full, Node}, Free -- [Node]};
            20 -> {{pause, Node}, Free -- [Node]}
        end,
    [{rand:uniform(2000), millis(Fault), Fault} | together(min(Left - 1, length(Rest) - 1), Rest, Nodes)].

%% Nodes notice silence after five seconds: shorter than that, and longer.
millis({kill, _}) -> rand:uniform(1500);
millis({leave, _, _}) -> rand:uniform(500);
millis(_) ->
    case rand:uniform(4) of
        1 -> 5500 + rand:uniform(1500);
        _ -> 200 + rand:uniform(2500)
    end.

delay(Nodes) -> {delay, some(pairs(Nodes, Nodes)), 10 + rand:uniform(300)}.

%% Of every shape: two sides; one node alone; one direction; some pairs; and all but one node, which sees all others.
cut(Nodes) ->
    [First | Others] = shuffled(Nodes),
    {Side, Rest} = lists:split(rand:uniform(length(Nodes) - 1), [First | Others]),
    case rand:uniform(5) of
        1 -> {cut, sides, both(Side, Rest)};
        2 -> {cut, alone, both([First], Others)};
        3 -> {cut, one_way, pairs(Side, Rest)};
        4 -> {cut, some, some(pairs(Nodes, Nodes))};
        5 -> {cut, bridge, pairs(Others, Others)}
    end.

pairs(Some, Others) -> [{A, B} || A <- Some, B <- Others, A =/= B].

both(Some, Others) -> pairs(Some, Others) ++ pairs(Others, Some).

some(List) ->
    {Some, _} = lists:split(rand:uniform(length(List)), shuffled(List)),
    lists:sort(Some).

one_of(List) -> lists:nth(rand:uniform(length(List)), List).

shuffled(List) -> [X || {_, X} <- lists:sort([{rand:uniform(), X} || X <- List])].

%% A line for each fault.
-spec text(schedule()) -> iolist().
text(Schedule) ->
    [io_lib:format("    at ~b ms for ~b ms: ~ts~n", [After, For, say(Fault)]) || {After, For, Fault} <- Schedule].

say({cut, Shape, Pairs}) -> ["cut (", atom_to_list(Shape), "): ", pairs_text(Pairs)];
say({delay, Pairs, Millis}) -> ["late by ", integer_to_list(Millis), " ms: ", pairs_text(Pairs)];
say({Kind, Node}) -> [atom_to_list(Kind), " ", atom_to_list(Node)];
say({Kind, Node, How}) -> [say({Kind, Node}), ", ", atom_to_list(How)].

pairs_text(Pairs) -> lists:join(" ", [[atom_to_list(A), ">", atom_to_list(B)] || {A, B} <- Pairs]).
