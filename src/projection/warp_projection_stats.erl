%% @private How far a projection is behind its shards.
-module(warp_projection_stats).

-export([context/1, log_position/2]).

-define(LOOK_BYTES, 8 * 1024).

%% @doc The figures of all shards.
-spec context(warp_context:context()) -> map().
context(#{projections := #{target := Target}} = Context) ->
    Generation = case warp_projection_table:get(Context, generation) of {ok, G} -> G; none -> none end,
    Shards = [shard(Context, N, Generation) || N <- lists:seq(0, maps:get(shards, Context) - 1)],
    #{due := Due} = Rebuild = warp_projection_rebuild:progress(Context),
    Sum = fun(Key) -> lists:sum([maps:get(Key, Shard) || Shard <- Shards]) end,
    #{target => Target,
      state => case warp_projection_table:get(Context, is) of {ok, Is} -> Is; none -> {away, starting} end,
      behind_positions => Sum(behind_positions),
      behind_seconds => lists:max([maps:get(behind_seconds, Shard) || Shard <- Shards]),
      set_aside => Sum(set_aside),
      events => Sum(events),
      rebuild_due => Due,
      rebuild => Rebuild,
      shards => Shards}.

shard(Context, N, Generation) ->
    Log = log_position(Context, N),
    {Position, Events, Oldest, Aside} =
        case warp_projection_table:get(Context, {at, N, Generation}) of
            {ok, At} -> At;
            none -> {0, 0, none, 0}
        end,
    Behind = max(0, Log - Position),
    {Is, Since, Why} =
        case warp_projection_table:get(Context, {is, N, Generation}) of
            {ok, Known} -> Known;
            none -> {starting, os:system_time(microsecond), none}
        end,
    Seconds =
        case Behind > 0 andalso oldest(Oldest, Context, N, Position) of
            Time when is_integer(Time) -> max(0, os:system_time(microsecond) - Time) / 1000000;
            _ -> 0.0
        end,
    #{shard => N, position => Position, log_position => Log, behind_positions => Behind,
      behind_seconds => Seconds, set_aside => Aside, events => Events, state => Is, since => Since, why => Why}.

%% When the first event that is not projected was recorded: its projector knows when it has it, else the
%% log does. What begins the log from there on may be nobody's to project.
oldest(Time, _Context, _N, _Position) when is_integer(Time) ->
    Time;
oldest(none, #{aggregates := Aggregates} = Context, N, Position) ->
    Names = [Name || {Name, #{project := _}} <- maps:to_list(Aggregates)],
    case warp_context:shard(Context, N) of
        {ok, Handle} ->
            case warp_nif:follow(Handle, Position, ?LOOK_BYTES, users, Names) of
                {ok, {Rows, _, _}} ->
                    case [Time || {_, _, _, _, [#{recorded_at := Time} | _]} <- Rows] of
                        [First | _] -> First;
                        [] -> none
                    end;
                {error, _} ->
                    none
            end;
        {error, _} ->
            none
    end.

%% @doc The last position of a shard's log; 0 while it is not open.
-spec log_position(warp_context:context(), non_neg_integer()) -> non_neg_integer().
log_position(Context, N) ->
    case warp_context:shard(Context, N) of
        {ok, Handle} -> maps:get(position, warp_nif:stats(Handle));
        {error, _} -> 0
    end.
