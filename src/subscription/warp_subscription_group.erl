%% @private Who consumes the events of a name. Pure.
%%
%% The consumers of a name split its shards between them: each has a slot, and with it every shard whose number leaves
%% that rest. Who joins when all slots are taken is a standby, and gets the first slot that becomes free. The nodes of a
%% cluster have as many slots each as others have, within one, if their consumers are that many: a standby on a node
%% with fewer slots comes first, and a consumer on a node with more yields its slot.
-module(warp_subscription_group).

-export([new/0, join/3, leave/2, yield/1, slot_of/2, active/1, is_empty/1, consumers/1, shards/3]).

-export_type([group/0, slot/0]).

-type slot() :: non_neg_integer().

-record(group, {
    %% How many slots there are, while there are consumers.
    consumers = 1 :: pos_integer(),
    active = #{} :: #{slot() => pid()},
    %% The one that waits longest first.
    standby = [] :: [pid()],
    %% Those that are active and were asked to leave.
    yielding = [] :: [pid()]
}).

-opaque group() :: #group{}.

%% @doc A group without consumers.
-spec new() -> group().
new() -> #group{}.

%% @doc A consumer joins, who says how many split the shards. Those that are there must have said the same:
%% `{others_say, N}'.
-spec join(pid(), Consumers :: pos_integer(), group()) ->
    {{active, slot()} | standby, group()} | {error, {others_say, pos_integer()}}.
join(Pid, Consumers, #group{active = Active, standby = Standby, consumers = Said} = Group) ->
    case is_empty(Group) orelse Said =:= Consumers of
        false ->
            {error, {others_say, Said}};
        true ->
            case [Slot || Slot <- lists:seq(0, Consumers - 1), not is_map_key(Slot, Active)] of
                [Slot | _] -> {{active, Slot}, Group#group{consumers = Consumers, active = Active#{Slot => Pid}}};
                [] -> {standby, Group#group{standby = Standby ++ [Pid]}}
            end
    end.

%% @doc A consumer is gone. Says who gets its slot.
-spec leave(pid(), group()) -> {none | {pid(), slot()}, group()}.
leave(Pid, #group{active = Active, standby = Standby, yielding = Yielding} = Group) ->
    case {slot_of(Pid, Group), Standby} of
        {none, _} ->
            {none, Group#group{standby = lists:delete(Pid, Standby)}};
        {Slot, []} ->
            {none, Group#group{active = maps:remove(Slot, Active), yielding = lists:delete(Pid, Yielding)}};
        {Slot, _} ->
            Others = [Of || Of <- maps:values(Active), Of =/= Pid],
            Next = first(Standby, counts(Others -- Yielding)),
            {{Next, Slot}, Group#group{active = Active#{Slot := Next}, standby = lists:delete(Next, Standby),
                                       yielding = lists:delete(Pid, Yielding)}}
    end.

%% @doc Consumers that are to leave, since others that wait are on nodes with fewer slots.
-spec yield(group()) -> {[pid()], group()}.
yield(#group{active = Active, standby = Standby, yielding = Yielding} = Group) ->
    Staying = maps:values(Active) -- Yielding,
    {Counts, Waiting} = taken_over(length(Yielding), Standby, counts(Staying)),
    More = yielding(Staying, Waiting, Counts),
    {More, Group#group{yielding = Yielding ++ More}}.

%% How many slots each node has when those that yield have left, and who waits then.
taken_over(0, Standby, Counts) ->
    {Counts, Standby};
taken_over(_Left, [], Counts) ->
    {Counts, []};
taken_over(Left, Standby, Counts) ->
    Next = first(Standby, Counts),
    taken_over(Left - 1, lists:delete(Next, Standby), added(node(Next), 1, Counts)).

yielding(_Staying, [], _Counts) ->
    [];
yielding([], _Standby, _Counts) ->
    [];
yielding(Staying, Standby, Counts) ->
    Next = first(Standby, Counts),
    {Most, Node} = lists:max([{maps:get(Of, Counts), Of} || Of <- lists:usort(lists:map(fun erlang:node/1, Staying))]),
    case Most >= maps:get(node(Next), Counts, 0) + 2 of
        true ->
            Pid = lists:last([Of || Of <- Staying, node(Of) =:= Node]),
            Moved = added(node(Next), 1, added(Node, -1, Counts)),
            [Pid | yielding(lists:delete(Pid, Staying), lists:delete(Next, Standby), Moved)];
        false ->
            []
    end.

%% Who gets a slot: of those on nodes with the fewest the one that waits longest.
first(Standby, Counts) ->
    Fewest = lists:min([maps:get(node(Pid), Counts, 0) || Pid <- Standby]),
    hd([Pid || Pid <- Standby, maps:get(node(Pid), Counts, 0) =:= Fewest]).

counts(Pids) -> lists:foldl(fun(Pid, Acc) -> added(node(Pid), 1, Acc) end, #{}, Pids).

added(Node, Count, Counts) -> maps:update_with(Node, fun(Before) -> Before + Count end, Count, Counts).

%% @doc The slot of a consumer, `none' for a standby and for who is none.
-spec slot_of(pid(), group()) -> slot() | none.
slot_of(Pid, #group{active = Active}) ->
    case [Slot || {Slot, Of} <- maps:to_list(Active), Of =:= Pid] of
        [Slot] -> Slot;
        [] -> none
    end.

%% @doc Who is active, by slot.
-spec active(group()) -> #{slot() => pid()}.
active(#group{active = Active}) -> Active.

-spec is_empty(group()) -> boolean().
is_empty(#group{active = Active, standby = Standby}) -> map_size(Active) =:= 0 andalso Standby =:= [].

%% @doc How many slots there are.
-spec consumers(group()) -> pos_integer().
consumers(#group{consumers = Consumers}) -> Consumers.

%% @doc The shards of a slot, of so many in all.
-spec shards(slot(), Shards :: pos_integer(), group()) -> [non_neg_integer()].
shards(Slot, Shards, #group{consumers = Consumers}) ->
    [N || N <- lists:seq(0, Shards - 1), N rem Consumers =:= Slot].
