%% @private Who consumes the names that are kept on this node: the processes of subscriptions, with the group of each
%% name. Decides who gets a slot and who is to leave; {@link warp_subscription_keeper} tells them.
-module(warp_subscription_consumers).

-export([new/0, add/2, remove/2, check/2, join/2, has_joined/2, leave/3]).
-export([all/1, consumer/2, is_monitor/3, subscriber/3, in_order/2, group/2, since/2, say/2]).

-export_type([consumers/0, effect/0]).

-type consumer() :: warp_subscription_names:consumer().
%% `assign': it has got a slot. `yield': it is to leave, since another one waits on a node with fewer slots.
-type effect() :: {assign | yield, consumer()}.

-record(consumers, {
    processes = #{} :: #{pid() => {consumer(), Monitor :: reference()}},
    %% By name, and since when one of its consumers is missing.
    groups = #{} :: #{binary() => {warp_subscription_group:group(), Since :: warp_core:micros()}}
}).

-opaque consumers() :: #consumers{}.

-spec new() -> consumers().
new() -> #consumers{}.

%% @doc A name is kept here, which nobody consumes unless it was known before.
-spec add(Name :: binary(), consumers()) -> consumers().
add(Name, #consumers{groups = Groups} = All) ->
    New = {warp_subscription_group:new(), os:system_time(microsecond)},
    All#consumers{groups = maps:merge(#{Name => New}, Groups)}.

%% @doc A name is kept here no more.
-spec remove(Name :: binary(), consumers()) -> consumers().
remove(Name, #consumers{groups = Groups} = All) -> All#consumers{groups = maps:remove(Name, Groups)}.

%% ------------------------------------------------------------------ Joining and leaving

%% @doc Whether a consumer can join: `{others_say, N}' if it says that another number of consumers split the shards.
-spec check(consumer(), consumers()) -> ok | {error, {others_say, pos_integer()}}.
check(#{name := Name, pid := Pid, consumers := Count}, All) ->
    case warp_subscription_group:join(Pid, Count, group(Name, All)) of
        {error, _} = Error -> Error;
        {_Place, _Group} -> ok
    end.

%% @doc A consumer joins, which can. The calling process monitors it.
-spec join(consumer(), consumers()) -> {[effect()], consumers()}.
join(#{name := Name, pid := Pid, consumers := Count} = Consumer, #consumers{processes = Processes} = All) ->
    {Place, Group} = warp_subscription_group:join(Pid, Count, group(Name, All)),
    Joined = put_group(Name, Group, All#consumers{processes = Processes#{Pid => {Consumer, monitor(process, Pid)}}}),
    {Yielding, Next} = yielding(Name, Joined),
    {[{assign, Consumer} || Place =/= standby] ++ Yielding, Next}.

%% Consumers that are to leave for others on nodes with fewer slots.
yielding(Name, All) ->
    {Pids, Group} = warp_subscription_group:yield(group(Name, All)),
    {[{yield, consumer(Pid, All)} || Pid <- Pids], put_group(Name, Group, All)}.

%% @doc Whether a process has joined: for that name with that tag, or otherwise.
-spec has_joined(#{name := binary(), pid := pid(), tag := reference(), _ => _}, consumers()) -> same | otherwise | no.
has_joined(#{name := Name, pid := Pid, tag := Tag}, #consumers{processes = Processes}) ->
    case Processes of
        #{Pid := {#{name := Name, tag := Tag}, _}} -> same;
        #{Pid := _} -> otherwise;
        #{} -> no
    end.

%% @doc A consumer is gone. Unless its name is kept here, nobody is told that it gets the slot.
-spec leave(pid(), IsHere :: boolean(), consumers()) -> {[effect()], consumers()}.
leave(Pid, IsHere, #consumers{processes = Processes, groups = Groups} = All) ->
    {{#{name := Name}, Monitor}, Others} = maps:take(Pid, Processes),
    true = demonitor(Monitor, [flush]),
    Without = All#consumers{processes = Others},
    case Groups of
        #{Name := {Group, _}} ->
            {Next, Left} = warp_subscription_group:leave(Pid, Group),
            Now = Without#consumers{groups = Groups#{Name := {Left, os:system_time(microsecond)}}},
            case Next of
                {Successor, _Slot} when IsHere ->
                    {Yielding, Then} = yielding(Name, Now),
                    {[{assign, consumer(Successor, Then)} | Yielding], Then};
                _ ->
                    {[], Now}
            end;
        #{} ->
            {[], Without}
    end.

put_group(Name, Group, #consumers{groups = Groups} = All) ->
    #{Name := {_, Since}} = Groups,
    All#consumers{groups = Groups#{Name := {Group, Since}}}.

%% ------------------------------------------------------------------ Who is there

-spec all(consumers()) -> [consumer()].
all(#consumers{processes = Processes}) -> [Consumer || {Consumer, _} <- maps:values(Processes)].

-spec consumer(pid(), consumers()) -> consumer().
consumer(Pid, #consumers{processes = Processes}) -> element(1, maps:get(Pid, Processes)).

%% @doc Whether that is the monitor of a consumer.
-spec is_monitor(Monitor :: reference(), pid(), consumers()) -> boolean().
is_monitor(Monitor, Pid, #consumers{processes = Processes}) ->
    case Processes of
        #{Pid := {_, Monitor}} -> true;
        #{} -> false
    end.

%% @doc The subscriber of the consumer of a name that has shard N.
-spec subscriber(Name :: binary(), non_neg_integer(), consumers()) -> pid() | none.
subscriber(Name, N, All) ->
    Group = group(Name, All),
    Slot = N rem warp_subscription_group:consumers(Group),
    case warp_subscription_group:active(Group) of
        #{Slot := Pid} -> maps:get(subscriber, consumer(Pid, All));
        #{} -> none
    end.

%% @doc Consumers in the order in which they are to leave: those that wait go first, so that none of them is given a
%% slot.
-spec in_order([consumer()], consumers()) -> [consumer()].
in_order(Some, #consumers{groups = Groups}) ->
    HasSlot = fun(#{name := Name, pid := Pid}) ->
        case Groups of
            #{Name := {Group, _}} -> warp_subscription_group:slot_of(Pid, Group) =/= none;
            #{} -> false
        end
    end,
    {Active, Standby} = lists:partition(HasSlot, Some),
    Standby ++ Active.

-spec group(Name :: binary(), consumers()) -> warp_subscription_group:group().
group(Name, #consumers{groups = Groups}) -> element(1, maps:get(Name, Groups)).

%% @doc Since when a name is without one of its consumers.
-spec since(Name :: binary(), consumers()) -> warp_core:micros().
since(Name, #consumers{groups = Groups}) -> element(2, maps:get(Name, Groups)).

%% @doc Sends a message to a consumer. False: its node takes no messages just now. Nothing is sent to one that is lost.
-spec say(consumer(), warp_subscription_names:message()) -> boolean().
say(#{pid := Pid, tag := Tag}, Message) ->
    erlang:send(Pid, {warp_subscription_name, Tag, Message}, [noconnect, nosuspend]) =/= nosuspend.
