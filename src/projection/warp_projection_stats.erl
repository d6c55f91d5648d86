%% @private How the target is, and how far a projection is behind its shards. Waits for no process.
-module(warp_projection_stats).

-export([context/1]).

-define(LOOK_BYTES, 8 * 1024).

%% @doc What `warp_projection:status/1' and `warp_core:stats/1' show.
-spec context(warp_context:context()) -> map().
context(#{projections := #{target := Target}} = Context) ->
    Generation = case warp_projection_table:generation(Context) of {ok, Known} -> Known; none -> none end,
    Shards = [shard(Context, N, Generation) || N <- lists:seq(0, maps:get(shards, Context) - 1)],
    #{due := Due} = Rebuild = warp_projection_progress:rebuild(Context),
    Sum = fun(Key) -> lists:sum([maps:get(Key, Shard) || Shard <- Shards]) end,
    #{target => Target,
      state => warp_projection_table:target_state(Context),
      behind_positions => Sum(behind_positions),
      behind_seconds => lists:max([maps:get(behind_seconds, Shard) || Shard <- Shards]),
      set_aside => Sum(set_aside),
      events => Sum(events),
      rebuild_due => Due,
      rebuild => Rebuild,
      shards => Shards}.

shard(Context, N, Generation) ->
    Log = warp_shard_stats:log_position(Context, N),
    #{position := Position, events := Events, oldest := Oldest, set_aside := Aside} =
        case warp_projection_table:position(Context, {N, Generation}) of
            {ok, Known} -> Known;
            none -> #{position => 0, events => 0, oldest => none, set_aside => 0}
        end,
    Behind = max(0, Log - Position),
    {State, Since, Why} =
        case warp_projection_table:state(Context, {N, Generation}) of
            {ok, Shown} -> Shown;
            none -> {starting, os:system_time(microsecond), none}
        end,
    Seconds =
        case Behind > 0 andalso oldest(Oldest, Context, N, Position) of
            Time when is_integer(Time) -> max(0, os:system_time(microsecond) - Time) / 1000000;
            _ -> 0.0
        end,
    #{shard => N, position => Position, log_position => Log, behind_positions => Behind,
      behind_seconds => Seconds, set_aside => Aside, events => Events, state => State, since => Since, why => Why}.

%% When the first event that is not projected was recorded: its projector knows that of an event that it has
%% read, else the log does. The next events of the log may be of aggregates that are not projected.
oldest(Time, _Context, _N, _Position) when is_integer(Time) ->
    Time;
oldest(none, #{aggregates := Aggregates, aliases := Aliases} = Context, N, Position) ->
    Projecting = maps:filter(fun(_, Aggregate) -> is_map_key(project, Aggregate) end, Aggregates),
    Names = warp_aggregate:stored_names(maps:keys(Projecting), Aliases),
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
