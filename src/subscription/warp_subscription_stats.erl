%% @private How the subscriptions of a context are. Waits for no process of this node.
-module(warp_subscription_stats).

-export([read/1]).

%% How long the other nodes may take to say how far their logs go. What is not known then shows as not behind.
-define(PATIENCE_MS, 1000).

%% @doc What `warp_core:stats/1' shows: each subscription, and each slot of a name that nobody consumes.
-spec read(warp_context:context()) -> [map()].
read(Context) ->
    Infos = warp_subscription_table:all(Context),
    Names = warp_subscription_table:names(Context),
    Why = maps:from_list(warp_subscription_table:why(Context)),
    Slots = maps:from_list([{Pid, {Of, Slot}}
                            || {_, #{active := Active} = Of} <- Names, {Slot, Pid} <- maps:to_list(Active)]),
    Free = [{Name, Of, Slot} || {Name, #{active := Active, slots := All} = Of} <- Names,
                                Slot <- lists:seq(0, length(All) - 1), not is_map_key(Slot, Active)],
    Positions = [Each || {_, #{positions := Each}} <- Infos] ++ [positions(Of, Slot) || {_, Of, Slot} <- Free],
    Lags = lags(lists:usort(lists:append([maps:to_list(Each) || Each <- Positions])), Context),
    [with_why(shown(Pid, Info, Lags), Info, Why, maps:get(Pid, Slots, none)) || {Pid, Info} <- Infos]
        ++ [not_consumed(Name, Of, Slot, [Because || {For, Because, _} <- maps:values(Why), For =:= Name], Lags)
            || {Name, Of, Slot} <- Free].

shown(Pid, #{source := Source, subscriber := Subscriber, state := Is, since := Since, positions := Positions,
             name := Name, waiting := {Retrying, Parked}}, Lags) ->
    {State, Why} = case Is of {stalled, Reason} -> {stalled, Reason}; _ -> {Is, none} end,
    {Behind, Seconds} = behind(Positions, Lags),
    #{pid => Pid, subscriber => Subscriber, name => Name, of_entity => entity(Source), state => State, since => Since,
      why => Why, behind_positions => Behind, behind_seconds => Seconds, retrying => Retrying,
      parked => Parked}.

%% A subscriber that Warp runs knows why it does not go on.
with_why(Shown, #{subscriber := Subscriber}, Why, Slot) ->
    Counted = case Slot of none -> Shown; _ -> maps:merge(Shown, waiting(Slot)) end,
    case Why of
        #{Subscriber := {_Name, Because, Since}} -> Counted#{state := stalled, why := Because, since := Since};
        #{} -> Counted
    end.

not_consumed(Name, #{since := Since} = Of, Slot, Why, Lags) ->
    {Behind, Seconds} = behind(positions(Of, Slot), Lags),
    maps:merge(#{pid => none, subscriber => none, name => Name, of_entity => none, state => no_consumer, since => Since,
                 why => case Why of [Because | _] -> Because; [] -> none end,
                 behind_positions => Behind, behind_seconds => Seconds}, waiting({Of, Slot})).

waiting({#{held := Held, slots := Slots}, Slot}) ->
    Shards = lists:nth(Slot + 1, Slots),
    Count = fun(States) -> length([x || #{shard := N, state := Is} <- Held, lists:member(N, Shards),
                                        lists:member(Is, States)]) end,
    #{retrying => Count([retrying, skipping]), parked => Count([parked])}.

%% Up to where the shards of a slot were acknowledged.
positions(#{marks := Marks, slots := Slots}, Slot) ->
    warp_subscription_core:positions_of(maps:with(lists:nth(Slot + 1, Slots), Marks)).

%% How many appends are not acknowledged, and for how long the first of them has not been.
behind(Positions, Lags) ->
    Each = [maps:get(Place, Lags, {0, 0.0}) || Place <- maps:to_list(Positions)],
    {lists:sum([Count || {Count, _} <- Each]), lists:max([0.0 | [Seconds || {_, Seconds} <- Each]])}.

%% The same of each place. All other nodes are asked at the same time.
lags(Places, Context) ->
    {Here, There} = lists:partition(fun({N, _}) -> warp_context_owners:is_here(Context, N) end, Places),
    Asked = maps:from_list([{warp_subscription_aside:start(fun() -> lag(Place, Context) end), Place}
                            || Place <- There]),
    Own = maps:from_list([{Place, lag(Place, Context)} || Place <- Here]),
    told(Asked, warp_deadline:from(?PATIENCE_MS), Own).

told(Asked, _Deadline, Lags) when map_size(Asked) =:= 0 ->
    Lags;
told(Asked, Deadline, Lags) ->
    receive
        {'DOWN', Monitor, process, _, Reason} when is_map_key(Monitor, Asked) ->
            {Place, Left} = maps:take(Monitor, Asked),
            told(Left, Deadline, case Reason of {done, Lag} -> Lags#{Place => Lag}; _ -> Lags end)
    after warp_deadline:left(Deadline) ->
        _ = [erlang:demonitor(Monitor, [flush]) || Monitor <- maps:keys(Asked)],
        Lags
    end.

lag({N, Position}, Context) ->
    case warp_cluster_log:position(Context, N) - Position of
        Count when Count > 0 -> {Count, warp_subscription_reader:age(Context, N, Position)};
        _ -> {0, 0.0}
    end.

entity({entity, Id}) -> Id;
entity({shards, _}) -> none.
