%% Who consumes a name, without processes.
-module(warp_subscription_group_tests).
-include_lib("eunit/include/eunit.hrl").

-define(ROUNDS, case os:getenv("WARP_LONG") of false -> 500; _ -> 20000 end).

%% After any joins and leaves: each slot has the one that has waited longest, and nobody has two.
each_slot_has_one_consumer_test_() ->
    {timeout, 300, fun() ->
        Steps = proper_types:list(proper_types:oneof([{join, proper_types:integer(1, 9)},
                                                      {leave, proper_types:integer(1, 9)}])),
        Property = proper:forall(proper_types:tuple([proper_types:integer(1, 4), Steps]), fun({Consumers, Taken}) ->
            run(Taken, Consumers, warp_subscription_group:new(), [])
        end),
        ?assert(proper:quickcheck(Property, [quiet, {numtests, ?ROUNDS}]))
    end}.

%% After any joins and leaves, and when those that were asked to have left and joined again: a node has at most one slot
%% more than another one on which somebody waits.
slots_are_spread_over_nodes_test_() ->
    {timeout, 300, fun() ->
        Pid = proper_types:tuple([proper_types:oneof([a, b, c]), proper_types:integer(1, 5)]),
        Steps = proper_types:list(proper_types:tuple([proper_types:oneof([join, leave]), Pid])),
        Property = proper:forall(proper_types:tuple([proper_types:integer(1, 9), Steps]), fun({Consumers, Taken}) ->
            {Group, Here} = lists:foldl(fun(Step, Acc) -> on_nodes(Step, Consumers, Acc) end,
                                        {warp_subscription_group:new(), []}, Taken),
            is_spread(Group, Here)
        end),
        ?assert(proper:quickcheck(Property, [quiet, {numtests, ?ROUNDS}]))
    end}.

on_nodes({join, {Node, N}}, Consumers, {Group, Here}) ->
    case lists:member(pid(Node, N), Here) of
        true -> {Group, Here};
        false ->
            {_, Joined} = warp_subscription_group:join(pid(Node, N), Consumers, Group),
            yielded(Consumers, warp_subscription_group:yield(Joined), [pid(Node, N) | Here])
    end;
on_nodes({leave, {Node, N}}, Consumers, {Group, Here}) ->
    {_, Left} = warp_subscription_group:leave(pid(Node, N), Group),
    yielded(Consumers, warp_subscription_group:yield(Left), lists:delete(pid(Node, N), Here)).

%% Those that yield leave, and are standbys then.
yielded(_Consumers, {[], Group}, Here) ->
    {Group, Here};
yielded(Consumers, {Pids, Group}, Here) ->
    Again = lists:foldl(fun(Pid, Acc) ->
        {{Next, _}, Left} = warp_subscription_group:leave(Pid, Acc),
        true = Next =/= Pid,
        {standby, Joined} = warp_subscription_group:join(Pid, Consumers, Left),
        Joined
    end, Group, Pids),
    yielded(Consumers, warp_subscription_group:yield(Again), Here).

is_spread(Group, Here) ->
    Active = maps:values(warp_subscription_group:active(Group)),
    Count = fun(Node) -> length([Pid || Pid <- Active, node(Pid) =:= Node]) end,
    Counts = [Count(node(Pid)) || Pid <- Here -- Active],
    Counts =:= [] orelse lists:max([Count(node(Pid)) || Pid <- Active]) =< lists:min(Counts) + 1.

%% A process of another node, as the external term format has it.
pid(Node, N) ->
    Name = atom_to_binary(Node),
    binary_to_term(<<131, 88, 119, (byte_size(Name) + 2), Name/binary, "@h", N:32, 0:32, 1:32>>).

%% Here: those that are there, in the order in which they came, each with its slot or none.
run([], _Consumers, _Group, _Here) ->
    true;
run([Step | Steps], Consumers, Group, Here) ->
    {Now, Is} = step(Step, Consumers, Group, Here),
    Slots = lists:sort([Slot || {_, Slot} <- Is, Slot =/= none]),
    Right = lists:all(fun({Pid, Slot}) -> warp_subscription_group:slot_of(Pid, Now) =:= Slot end, Is)
        andalso Slots =:= lists:usort(Slots)
        andalso (length(Slots) =:= Consumers orelse length(Slots) =:= length(Is))
        andalso warp_subscription_group:is_empty(Now) =:= (Is =:= []),
    Right andalso run(Steps, Consumers, Now, Is).

step({join, N}, Consumers, Group, Here) ->
    case lists:keymember(pid(N), 1, Here) of
        true ->
            {Group, Here};
        false ->
            {Place, Joined} = warp_subscription_group:join(pid(N), Consumers, Group),
            {Joined, Here ++ [{pid(N), case Place of {active, Slot} -> Slot; standby -> none end}]}
    end;
step({leave, N}, _Consumers, Group, Here) ->
    {Next, Left} = warp_subscription_group:leave(pid(N), Group),
    Without = lists:keydelete(pid(N), 1, Here),
    First = [Pid || {Pid, none} <- Without],
    case {lists:keyfind(pid(N), 1, Here), First, Next} of
        {{_, Slot}, [Pid | _], {Pid, Slot}} when Slot =/= none ->
            {Left, lists:keyreplace(Pid, 1, Without, {Pid, Slot})};
        {{_, Slot}, [], none} when Slot =/= none -> {Left, Without};
        {_, _, none} -> {Left, Without}
    end.

pid(N) -> list_to_pid("<0." ++ integer_to_list(N) ++ ".0>").

consumers_say_the_same_number_test() ->
    {{active, 0}, One} = warp_subscription_group:join(pid(1), 2, warp_subscription_group:new()),
    ?assertEqual({error, {others_say, 2}}, warp_subscription_group:join(pid(2), 3, One)),
    {none, None} = warp_subscription_group:leave(pid(1), One),
    ?assertMatch({{active, 0}, _}, warp_subscription_group:join(pid(2), 3, None)).

slots_split_the_shards_test() ->
    {_, Group} = warp_subscription_group:join(pid(1), 3, warp_subscription_group:new()),
    ?assertEqual([[0, 3, 6], [1, 4], [2, 5]], [warp_subscription_group:shards(Slot, 7, Group) || Slot <- [0, 1, 2]]).
