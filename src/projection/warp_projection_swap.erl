%% @private The end of a rebuild: the projectors of the tables that are queried are halted, those of the new
%% tables go on to where the others stopped, and the tables are exchanged in one transaction. Runs in a
%% process of its own; the halted projectors go on when that ends, or when they are told to.
%%
%% Where nodes share the target, that one process halts the projectors of all of them. A node that cannot be reached
%% keeps the tables from being exchanged.
-module(warp_projection_swap).

-export([is_close/2, run/3]).
%% Other nodes call these.
-export([are_close/2, halt/4, reached/3]).

%% How close, in positions, the new tables have to be for the others to be halted, and for how long those
%% are halted at most.
-define(CLOSE, 5000).
-define(HALT_MS, 5000).
-define(PAUSE_MS, 5).

%% @doc Whether the new tables have nearly what those of that generation have, and go on. Waits for nobody.
-spec is_close(warp_context:context(), Generation :: pos_integer()) -> boolean().
is_close(Context, Generation) ->
    Live = warp_projection_table:positions(Context, Generation),
    Building = warp_projection_table:positions(Context, Generation + 1),
    lists:all(
        fun(N) ->
            case Building of
                #{N := #{position := Position} = Known} ->
                    Position + ?CLOSE >= goal(N, Live, Known, Context)
                        andalso not is_stalled(N, Generation + 1, Context);
                #{} ->
                    false
            end
        end,
        warp_projection_table:followed(Context)).

%% @doc The same, for another node.
-spec are_close(warp_context:ref(), pos_integer()) -> boolean().
are_close(Ref, Generation) ->
    case warp_context:find(Ref) of
        {ok, Context} -> is_close(Context, Generation);
        not_found -> false
    end.

is_stalled(N, Generation, Context) ->
    case warp_projection_table:state(Context, {N, Generation}) of
        {ok, {stalled, _, _}} -> true;
        _ -> false
    end.

%% How far the new tables have to go. A projector that does not follow its shard does not say; then they have
%% to go to the end of the log.
goal(N, Live, Building, Context) ->
    case Live of
        #{N := #{position := Position}} -> Position;
        #{} -> warp_projection_progress:log_end(Context, N, Building)
    end.

%% @doc Exchanges the tables. `not_reached': a projector could not be halted, or the new tables did not get
%% there in time, or the caller was sent `give_up'. `not_close': it is early, as another node says.
-spec run(warp_context:context(), Generation :: pos_integer(), Writer :: pid()) ->
    {ok, #{generation := pos_integer()}} | {error, term()} | not_reached | not_close.
run(#{ref := Ref, shards := Shards} = Context, Generation, Writer) ->
    Deadline = warp_deadline:from(?HALT_MS),
    Places = [{N, place(N, Context)} || N <- lists:seq(0, Shards - 1)],
    Servers = lists:usort([Server || {_, {at, Server}} <- Places]),
    Closes = [true || Server <- Servers, ask(Server, are_close, [Ref, Generation], Deadline) =:= true],
    case length(Closes) =:= length(Servers) orelse not_close of
        true -> swapped(halted(Places, Context, Generation, Deadline, []), Context, Generation, Writer, Deadline);
        not_close -> not_close
    end.

swapped(Halted, Context, Generation, Writer, Deadline) ->
    case Halted of
        false ->
            not_reached;
        Goals ->
            case all_reached(Goals, Context, Generation + 1, Deadline) of
                true -> warp_projection_writer:rebuild(Writer, swap);
                false -> not_reached
            end
    end.

%% Which node projects a shard: this one, or that of a process that takes requests there.
place(N, Context) ->
    case lists:member(N, warp_projection_table:followed(Context)) orelse warp_context:log(Context, N) of
        true -> here;
        {ok, {remote, Server, _, _, _}} -> {at, Server};
        _ -> unknown
    end.

ask(Server, Function, Args, Deadline) ->
    warp_cluster_call:ask(Server, {?MODULE, Function, Args}, Deadline).

halted([], _Context, _Generation, _Deadline, Goals) ->
    Goals;
halted([{N, Place} | Others], #{ref := Ref} = Context, Generation, Deadline, Goals) ->
    Args = [Ref, {N, Generation}, self(), warp_deadline:left(Deadline)],
    Halted =
        case Place of
            here -> apply(fun halt/4, Args);
            {at, Server} -> ask(Server, halt, Args, Deadline);
            unknown -> {error, unknown}
        end,
    case Halted of
        {ok, Goal} -> halted(Others, Context, Generation, Deadline, [{Place, {N, Goal}} | Goals]);
        {error, _} -> false
    end.

%% @doc Halts a projector for as long as a process lives. Gives how far the new tables have to go.
-spec halt(warp_context:ref(), warp_projection_table:key(), pid(), timeout()) ->
    {ok, non_neg_integer()} | {error, term()}.
halt(Ref, {N, Generation} = Key, For, Millis) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            Followed = warp_projection_table:position(Context, Key),
            Building = warp_projection_table:position(Context, {N, Generation + 1}),
            case {warp_projection_table:projector(Context, Key), Building} of
                {{ok, Pid}, {ok, Known}} ->
                    case {warp_projection_projector:pause(Pid, For, warp_deadline:from(Millis)), Followed} of
                        {{ok, Position}, {ok, _}} -> {ok, Position};
                        {{ok, _}, none} -> {ok, warp_projection_progress:log_end(Context, N, Known)};
                        {{error, _} = Error, _} -> Error
                    end;
                _ ->
                    {error, interrupted}
            end;
        not_found ->
            {error, context_stopped}
    end.

all_reached(Goals, #{ref := Ref} = Context, Generation, Deadline) ->
    Each = maps:groups_from_list(fun({Place, _}) -> Place end, fun({_, Goal}) -> Goal end, Goals),
    Reached = lists:all(
        fun({here, Of}) -> reached(Ref, Generation, Of);
           ({{at, Server}, Of}) -> ask(Server, reached, [Ref, Generation, Of], Deadline) =:= true
        end,
        maps:to_list(Each)),
    case Reached orelse warp_deadline:is_over(Deadline) of
        true -> Reached;
        false -> receive give_up -> false after ?PAUSE_MS -> all_reached(Goals, Context, Generation, Deadline) end
    end.

%% @doc Whether the projectors of a generation are as far as they have to be, each with its shard.
-spec reached(warp_context:ref(), pos_integer(), [{non_neg_integer(), Goal :: non_neg_integer()}]) -> boolean().
reached(Ref, Generation, Goals) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            Positions = warp_projection_table:positions(Context, Generation),
            lists:all(
                fun({N, Goal}) ->
                    case Positions of
                        #{N := #{position := Position}} -> Position >= Goal;
                        #{} -> false
                    end
                end,
                Goals);
        not_found ->
            false
    end.
