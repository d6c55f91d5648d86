%% @private How the target is, and how far a projection is behind its shards. Waits for no process of this node; other
%% nodes are asked how long their logs are, and have a second to answer.
-module(warp_projection_stats).

-export([context/1, ends/3]).

-define(LOOK_BYTES, 8 * 1024).
-define(PATIENCE_MS, 1000).

%% Where the log of a shard ends, and when the first event behind a position was recorded.
-type log_end() :: {Position :: non_neg_integer(), Oldest :: warp_core:micros() | none}.

%% @doc What `warp_projection:status/1' and `warp_core:stats/1' show.
-spec context(warp_context:context()) -> map().
context(#{projections := #{target := Target}} = Context) ->
    Generation = case warp_projection_table:generation(Context) of {ok, Live} -> Live; none -> none end,
    Known = [{N, position(Context, {N, Generation})} || N <- warp_projection_table:followed(Context)],
    Ends = all_ends(Context, [{N, behind(Of)} || {N, Of} <- Known]),
    Shards = [shard(Context, N, Generation, Of, Ends) || {N, Of} <- Known],
    #{due := Due} = Rebuild = warp_projection_progress:rebuild(Context),
    Sum = fun(Key) -> lists:sum([maps:get(Key, Shard) || Shard <- Shards]) end,
    #{target => Target,
      state => warp_projection_table:target_state(Context),
      behind_positions => Sum(behind_positions),
      behind_seconds => lists:max([0.0 | [maps:get(behind_seconds, Shard) || Shard <- Shards]]),
      set_aside => Sum(set_aside),
      events => Sum(events),
      rebuild_due => Due,
      rebuild => Rebuild,
      shards => Shards}.

position(Context, Key) ->
    case warp_projection_table:position(Context, Key) of
        {ok, Known} -> Known;
        none -> #{position => 0, events => 0, oldest => none, set_aside => 0, log_end => 0}
    end.

%% Its projector knows the oldest event of those that it has read; else the log knows it.
behind(#{oldest := none, position := Position}) -> Position;
behind(_Known) -> none.

shard(Context, N, Generation, Known, Ends) ->
    #{position := Position, events := Events, oldest := Read, set_aside := Aside, log_end := Seen} = Known,
    {Log, InLog} = maps:get(N, Ends, {Seen, none}),
    Oldest = case Read of none -> InLog; _ -> Read end,
    Behind = max(0, Log - Position),
    {State, Since, Why} =
        case warp_projection_table:state(Context, {N, Generation}) of
            {ok, Shown} -> Shown;
            none -> {starting, os:system_time(microsecond), none}
        end,
    Seconds =
        case Behind > 0 andalso Oldest of
            Time when is_integer(Time) -> max(0, os:system_time(microsecond) - Time) / 1000000;
            _ -> 0.0
        end,
    #{shard => N, position => Position, log_position => Log, behind_positions => Behind,
      behind_seconds => Seconds, set_aside => Aside, events => Events, state => State, since => Since, why => Why}.

%% ------------------------------------------------------------------ The ends of logs

%% Those of other nodes with one question for each node, side by side.
all_ends(#{ref := Ref} = Context, Positions) ->
    Names = names(Context),
    Deadline = warp_deadline:from(?PATIENCE_MS),
    Asked = maps:fold(
        fun(Server, Ns, Acc) ->
            Alias = warp_call:alias(),
            Call = {?MODULE, ends, [Ref, Names, Ns]},
            _ = spawn(fun() -> warp_call:answer(Alias, warp_cluster_call:ask(Server, Call, Deadline)) end),
            Acc#{Alias => []}
        end,
        #{}, elsewhere(Context, Positions)),
    answers(Asked, Deadline, maps:from_list(ends(Context, Names, Positions))).

elsewhere(Context, Positions) ->
    maps:groups_from_list(
        fun({Server, _}) -> Server end, fun({_, Of}) -> Of end,
        [{Server, Of} || {N, _} = Of <- Positions, {ok, {remote, Server, _, _, _}} <- [warp_context:log(Context, N)]]).

answers(Asked, _Deadline, Ends) when map_size(Asked) =:= 0 ->
    Ends;
answers(Asked, Deadline, Ends) ->
    case warp_call:await_any(Asked, warp_deadline:left(Deadline)) of
        {Alias, Answer} when is_list(Answer) ->
            answers(maps:remove(Alias, Asked), Deadline, maps:merge(Ends, maps:from_list(Answer)));
        {Alias, {error, _}} ->
            answers(maps:remove(Alias, Asked), Deadline, Ends);
        none ->
            ok = warp_call:give_up(Asked),
            Ends
    end.

names(#{aggregates := Aggregates, aliases := Aliases}) ->
    Projecting = maps:filter(fun(_, Aggregate) -> is_map_key(project, Aggregate) end, Aggregates),
    warp_aggregate:stored_names(maps:keys(Projecting), Aliases).

%% @doc The ends of those logs that can be read on this node, with the first event of these aggregates behind the given
%% positions. Another node calls it with the reference of the context.
-spec ends(warp_context:ref() | warp_context:context(), [binary()], [{N, Behind}]) -> [{N, log_end()}]
    when N :: non_neg_integer(), Behind :: non_neg_integer() | none.
ends(#{} = Context, Names, Positions) ->
    [{N, {warp_shard_stats:log_position(Handle), oldest(Handle, Position, Names)}}
     || {N, Position} <- Positions, {ok, Handle} <- [warp_context:shard(Context, N)]];
ends(Ref, Names, Positions) ->
    case warp_context:find(Ref) of
        {ok, Context} -> ends(Context, Names, Positions);
        not_found -> []
    end.

oldest(_Handle, none, _Names) ->
    none;
oldest(Handle, Position, Names) ->
    case warp_shard_stats:log_position(Handle) > Position
        andalso warp_nif:follow(Handle, Position, ?LOOK_BYTES, users, Names) of
        {ok, {Rows, _, _}} ->
            %% The next events may be of aggregates that are not projected.
            case [Time || {_, _, _, _, [#{recorded_at := Time} | _]} <- Rows] of
                [First | _] -> First;
                [] -> none
            end;
        _ ->
            none
    end.
