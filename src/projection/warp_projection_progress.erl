%% @private How far the projectors of a context are, and with them a rebuild. Reads what the processes of
%% the projection show in their table, and waits for none of them.
-module(warp_projection_progress).

-export([rebuild/1, has_forked/2, events/1, log_end/3]).

-export_type([progress/0]).

-type progress() :: #{
    state := none | running | cancelled,
    due := boolean(),
    done := non_neg_integer(),
    total := non_neg_integer(),
    rate := float(),
    seconds_left := float() | unknown
}.

%% @doc How far a rebuild is: events done and in all, which is an estimate, and events per second.
-spec rebuild(warp_context:context()) -> progress().
rebuild(Context) ->
    #{state := State, due := Due, began := Began, generation := Generation} = warp_projection_table:rebuild(Context),
    None = #{state => State, due => Due, done => 0, total => 0, rate => 0.0, seconds_left => unknown},
    case Generation of
        none ->
            None;
        _ ->
            Known = None#{due := Due orelse has_forked(Context, Generation), total := total(Context, Generation)},
            case State of
                running -> running(Known, Began, events(warp_projection_table:positions(Context, Generation + 1)));
                _ -> Known
            end
    end.

running(#{total := Estimate} = Progress, Began, Done) ->
    Total = max(Done, Estimate),
    Rate =
        case Began of
            {Since, Before} ->
                max(0, Done - Before) * 1000 / max(1, erlang:monotonic_time(millisecond) - Since);
            none ->
                0.0
        end,
    Left = case Rate > 0 of true -> (Total - Done) / Rate; false -> unknown end,
    Progress#{done := Done, total := Total, rate := Rate, seconds_left := Left}.

%% @doc Whether tables of a generation have events that are not in the log: another log was put in the place
%% of one, or one has lost its last events.
-spec has_forked(warp_context:context(), pos_integer()) -> boolean().
has_forked(Context, Generation) ->
    [] =/= [forked || {stalled, _, {rebuild_due, _}} <- warp_projection_table:states(Context, Generation)].

%% @doc How many events were projected.
-spec events(#{N :: non_neg_integer() => warp_projection_table:position()}) -> non_neg_integer().
events(Positions) ->
    lists:sum([Events || #{events := Events} <- maps:values(Positions)]).

%% How many events the log has, about: those that were projected, and as many per position beyond.
total(Context, Generation) ->
    lists:sum(
        [case log_end(Context, N, Known) of
             Log when Position > 0 -> round(Events * max(Log, Position) / Position);
             Log -> Log
         end
         || {N, #{position := Position, events := Events} = Known}
                <- maps:to_list(warp_projection_table:positions(Context, Generation))]).

%% @doc Where the log of a shard ends. Of a shard that is not open here, where a projector last saw it end.
-spec log_end(warp_context:context(), non_neg_integer(), warp_projection_table:position()) -> non_neg_integer().
log_end(Context, N, #{log_end := Seen}) ->
    case warp_context:shard(Context, N) of
        {ok, Handle} -> warp_shard_stats:log_position(Handle);
        {error, _} -> Seen
    end.
