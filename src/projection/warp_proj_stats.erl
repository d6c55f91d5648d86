%% @private How far a projection is behind its shards.
-module(warp_proj_stats).

-export([context/1, log_position/2]).

-include("../warp.hrl").

%% @doc The figures of all shards.
-spec context(warp_context:context()) -> map().
context(#context{projections = #{target := Target}} = Context) ->
    Generation = case warp_proj:get(Context, generation) of {ok, G} -> G; none -> none end,
    Shards = [shard(Context, N, Generation) || N <- lists:seq(0, Context#context.shards - 1)],
    Rebuild =
        case warp_proj:get(Context, manager) of
            {ok, Manager} ->
                case warp_proj_manager:progress(Manager) of
                    {ok, Progress} -> Progress;
                    {error, _} -> #{state => none, due => false}
                end;
            none ->
                #{state => none, due => false}
        end,
    Sum = fun(Key) -> lists:sum([maps:get(Key, Shard) || Shard <- Shards]) end,
    #{target => Target,
      state => case warp_proj:get(Context, is) of {ok, Is} -> Is; none -> {away, starting} end,
      behind_positions => Sum(behind_positions),
      behind_seconds => lists:max([maps:get(behind_seconds, Shard) || Shard <- Shards]),
      set_aside => Sum(set_aside),
      events => Sum(events),
      rebuild_due => maps:get(due, Rebuild),
      rebuild => Rebuild,
      shards => Shards}.

shard(Context, N, Generation) ->
    Log = log_position(Context, N),
    {Position, Events, Oldest, Aside} =
        case warp_proj:get(Context, {at, N, Generation}) of
            {ok, At} -> At;
            none -> {0, 0, none, 0}
        end,
    Behind = max(0, Log - Position),
    Seconds =
        case Oldest of
            Time when is_integer(Time), Behind > 0 ->
                max(0, os:system_time(microsecond) - Time) / 1000000;
            _ ->
                0.0
        end,
    Stalled =
        case warp_proj:get(Context, {stalled, N, Generation}) of
            {ok, {Since, Why}} -> #{since => Since, reason => Why};
            none -> none
        end,
    #{shard => N, stalled => Stalled, position => Position, log_position => Log, behind_positions => Behind,
      behind_seconds => Seconds, set_aside => Aside, events => Events}.

%% @doc The last position of a shard's log; 0 while it is not open.
-spec log_position(warp_context:context(), non_neg_integer()) -> non_neg_integer().
log_position(Context, N) ->
    case warp_context:shard(Context, N) of
        {ok, Handle} -> maps:get(position, warp_nif:stats(Handle));
        {error, _} -> 0
    end.
