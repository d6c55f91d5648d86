%% @private How the subscriptions of a context are. Waits for no process.
-module(warp_subscription_stats).

-export([read/1]).

%% @doc What `warp_core:stats/1' shows of each subscription.
-spec read(warp_context:context()) -> [map()].
read(Context) ->
    Infos = warp_subscription_table:all(Context),
    Ends = case Infos of [] -> #{}; _ -> ends(Context) end,
    [shown(Pid, Info, Ends) || {Pid, Info} <- Infos].

ends(#{shards := Shards} = Context) ->
    maps:from_list([{N, warp_shard_stats:log_position(Context, N)} || N <- lists:seq(0, Shards - 1)]).

shown(Pid, #{source := Source, subscriber := Subscriber, state := Is, since := Since, positions := Positions}, Ends) ->
    {State, Why} = case Is of {stalled, Reason} -> {stalled, Reason}; _ -> {Is, none} end,
    Behind =
        case State of
            live -> 0;
            _ -> lists:sum([max(0, maps:get(N, Ends) - Position) || {N, Position} <- maps:to_list(Positions)])
        end,
    #{pid => Pid, subscriber => Subscriber, of_entity => entity(Source), state => State, since => Since, why => Why,
      behind_positions => Behind}.

entity({entity, Id}) -> Id;
entity({shards, _}) -> none.
