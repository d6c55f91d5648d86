%% @private The end of a rebuild: the projectors of the tables that are queried are halted, those of the new
%% tables go on to where the others stopped, and the tables are exchanged in one transaction. Runs in a
%% process of its own; the halted projectors go on when that ends, or when they are told to.
-module(warp_projection_swap).

-export([is_close/2, run/3]).

%% How close, in positions, the new tables have to be for the others to be halted, and for how long those
%% are halted at most.
-define(CLOSE, 5000).
-define(HALT_MS, 5000).
-define(PAUSE_MS, 5).

%% @doc Whether the new tables have nearly what those of that generation have, and go on. Waits for nobody.
-spec is_close(warp_context:context(), Generation :: pos_integer()) -> boolean().
is_close(#{shards := Shards} = Context, Generation) ->
    Live = warp_projection_table:positions(Context, Generation),
    Building = warp_projection_table:positions(Context, Generation + 1),
    lists:all(
        fun(N) ->
            case Building of
                #{N := #{position := Position}} ->
                    Position + ?CLOSE >= goal(N, Live, Context) andalso not is_stalled(N, Generation + 1, Context);
                #{} ->
                    false
            end
        end,
        lists:seq(0, Shards - 1)).

is_stalled(N, Generation, Context) ->
    case warp_projection_table:state(Context, {N, Generation}) of
        {ok, {stalled, _, _}} -> true;
        _ -> false
    end.

%% How far the new tables have to go. A projector that does not follow its shard does not say; then they have
%% to go to the end of the log.
goal(N, Live, Context) ->
    case Live of
        #{N := #{position := Position}} -> Position;
        #{} -> warp_shard_stats:log_position(Context, N)
    end.

%% @doc Exchanges the tables. `not_reached': a projector could not be halted, or the new tables did not get
%% there in time, or the caller was sent `give_up'.
-spec run(warp_context:context(), Generation :: pos_integer(), Writer :: pid()) ->
    {ok, #{generation := pos_integer()}} | {error, term()} | not_reached.
run(#{shards := Shards} = Context, Generation, Writer) ->
    Deadline = warp_deadline:from(?HALT_MS),
    Followed = warp_projection_table:positions(Context, Generation),
    Halted = halted(warp_projection_table:projectors(Context, Generation), Deadline, []),
    Goals = [{N, case Followed of #{N := _} -> Position; #{} -> goal(N, Followed, Context) end}
             || {N, Position} <- Halted],
    case length(Goals) =:= Shards andalso reached(Context, Generation + 1, Goals, Deadline) of
        true -> warp_projection_writer:rebuild(Writer, swap);
        false -> not_reached
    end.

halted([], _Deadline, Halted) ->
    Halted;
halted([{N, Pid} | Others], Deadline, Halted) ->
    case warp_projection_projector:pause(Pid, Deadline) of
        {ok, Position} -> halted(Others, Deadline, [{N, Position} | Halted]);
        {error, _} -> []
    end.

reached(Context, Generation, Goals, Deadline) ->
    Positions = warp_projection_table:positions(Context, Generation),
    Reached = lists:all(
        fun({N, Goal}) ->
            case Positions of
                #{N := #{position := Position}} -> Position >= Goal;
                #{} -> false
            end
        end,
        Goals),
    case Reached orelse warp_deadline:is_over(Deadline) of
        true -> Reached;
        false -> receive give_up -> false after ?PAUSE_MS -> reached(Context, Generation, Goals, Deadline) end
    end.
