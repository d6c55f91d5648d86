%% @private How the subscriptions of a context are. Waits for no process.
-module(warp_subscription_stats).

-export([read/1]).

%% @doc What `warp_core:stats/1' shows: each subscription, and each slot of a name that nobody consumes.
-spec read(warp_context:context()) -> [map()].
read(Context) ->
    Infos = warp_subscription_table:all(Context),
    Names = warp_subscription_table:names(Context),
    Why = maps:from_list(warp_subscription_table:why(Context)),
    Slots = maps:from_list([{Pid, {Of, Slot}}
                            || {_, #{active := Active} = Of} <- Names, {Slot, Pid} <- maps:to_list(Active)]),
    [with_why(shown(Pid, Info, Context), Info, Why, maps:get(Pid, Slots, none)) || {Pid, Info} <- Infos]
        ++ [not_consumed(Name, Of, Slot, [Because || {For, Because, _} <- maps:values(Why), For =:= Name], Context)
            || {Name, #{active := Active, slots := All} = Of} <- Names, Slot <- lists:seq(0, length(All) - 1),
               not is_map_key(Slot, Active)].

shown(Pid, #{source := Source, subscriber := Subscriber, state := Is, since := Since, positions := Positions,
             name := Name}, Context) ->
    {State, Why} = case Is of {stalled, Reason} -> {stalled, Reason}; _ -> {Is, none} end,
    {Behind, Seconds} = behind(Positions, Context),
    #{pid => Pid, subscriber => Subscriber, name => Name, of_entity => entity(Source), state => State, since => Since,
      why => Why, behind_positions => Behind, behind_seconds => Seconds, retrying => 0, parked => 0}.

%% A subscriber that Warp runs knows why it does not go on.
with_why(Shown, _Info, _Why, none) ->
    Shown;
with_why(Shown, #{subscriber := Subscriber}, Why, Slot) ->
    Counted = maps:merge(Shown, waiting(Slot)),
    case Why of
        #{Subscriber := {_Name, Because, Since}} -> Counted#{state := stalled, why := Because, since := Since};
        #{} -> Counted
    end.

not_consumed(Name, #{marks := Marks, slots := Slots, since := Since} = Of, Slot, Why, Context) ->
    Mine = maps:with(lists:nth(Slot + 1, Slots), Marks),
    {Behind, Seconds} = behind(warp_subscription_core:positions_of(Mine), Context),
    maps:merge(#{pid => none, subscriber => none, name => Name, of_entity => none, state => no_consumer, since => Since,
                 why => case Why of [Because | _] -> Because; [] -> none end,
                 behind_positions => Behind, behind_seconds => Seconds}, waiting({Of, Slot})).

waiting({#{held := Held, slots := Slots}, Slot}) ->
    Shards = lists:nth(Slot + 1, Slots),
    Count = fun(States) -> length([x || #{shard := N, state := Is} <- Held, lists:member(N, Shards),
                                        lists:member(Is, States)]) end,
    #{retrying => Count([retrying, skipping]), parked => Count([parked])}.

%% How many appends are not acknowledged, and for how long the first of them has not been.
behind(Positions, Context) ->
    Each = [behind(N, Position, Context) || {N, Position} <- maps:to_list(Positions)],
    {lists:sum([Count || {Count, _} <- Each]), lists:max([0.0 | [Seconds || {_, Seconds} <- Each]])}.

behind(N, Position, Context) ->
    case warp_shard_stats:log_position(Context, N) - Position of
        Count when Count > 0 -> {Count, warp_subscription_reader:age(Context, N, Position)};
        _ -> {0, 0.0}
    end.

entity({entity, Id}) -> Id;
entity({shards, _}) -> none.
