%% @private Reads the log of a shard, wherever the shard is. The functions are those of {@link warp_nif} with the same
%% names, for the handle of an open shard as well as for a shard on another node: see {@link warp_context:log/2}.
%%
%% Errors beside theirs, of a shard on another node: `{node_unavailable, Node}', and `closed' when the shard is not
%% there any more, as when it was closed here. A log that this node may not follow yet ({@link warp_cluster_withheld})
%% is that of a node that is unavailable.
-module(warp_cluster_log).

-export([follow/5, follow_entity/6, head/2, page/6, snapshot/3, position_before/2, run_of/2, last_row/2, entities/5]).
-export([position/1, position/2, with_moving/3]).
-export([serve/5]).

-export_type([log/0]).

-type log() :: warp_nif:shard() | warp_context:remote().
-type error() :: {error, warp_nif:reason() | {node_unavailable, node()}}.

%% How long another node may take for one read. It reads pieces of bounded size.
-define(PATIENCE_MS, 30000).
%% What another node may read.
-define(READS, [follow, follow_entity, head, page, snapshot, position_before, run_of, last_row, entities, position]).
%% How long to wait before looking again at a shard that is being handed over.
-define(LOOK_MS, 50).

%% @doc See {@link warp_nif:follow/5}.
-spec follow(log(), non_neg_integer(), pos_integer(), warp_nif:followed(), [binary()] | all) -> {ok, term()} | error().
follow(Log, After, MaxBytes, Followed, Aggregates) ->
    call(Log, follow, [After, MaxBytes, Followed, Aggregates]).

%% @doc See {@link warp_nif:follow_entity/6}.
-spec follow_entity(log(), binary(), warp_nif:incarnation(), warp_core:seq(), pos_integer(), [binary()] | all) ->
    {ok, term()} | error().
follow_entity(Log, Entity, Incarnation, From, Limit, Aggregates) ->
    call(Log, follow_entity, [Entity, Incarnation, From, Limit, Aggregates]).

%% @doc See {@link warp_nif:head/2}.
-spec head(log(), binary()) ->
    {ok, {warp_nif:incarnation(), warp_core:seq(), warp_core:micros()} | none} | error().
head(Log, Entity) ->
    call(Log, head, [Entity]).

%% @doc See {@link warp_nif:page/6}.
-spec page(log(), binary(), warp_nif:incarnation(), warp_core:seq(), pos_integer(), forward | backward) ->
    {ok, {warp_nif:incarnation(), [warp_core:event()], warp_core:seq() | done}} | error().
page(Log, Entity, Incarnation, From, Limit, Direction) ->
    call(Log, page, [Entity, Incarnation, From, Limit, Direction]).

%% @doc See {@link warp_nif:snapshot/3}.
-spec snapshot(log(), warp_nif:incarnation(), binary()) ->
    {ok, {pos_integer(), warp_core:seq(), warp_core:micros(), binary()} | none} | error().
snapshot(Log, Incarnation, Aggregate) ->
    call(Log, snapshot, [Incarnation, Aggregate]).

%% @doc See {@link warp_nif:position_before/2}.
-spec position_before(log(), warp_core:micros()) -> {ok, non_neg_integer()} | error().
position_before(Log, Time) ->
    call(Log, position_before, [Time]).

%% @doc See {@link warp_nif:run_of/2}.
-spec run_of(log(), non_neg_integer()) -> {ok, non_neg_integer() | none} | error().
run_of(Log, Position) ->
    call(Log, run_of, [Position]).

%% @doc See {@link warp_nif:last_row/2}.
-spec last_row(log(), binary()) ->
    {ok, {warp_nif:incarnation(), warp_core:seq(), pos_integer()} | none} | error().
last_row(Log, Entity) ->
    call(Log, last_row, [Entity]).

%% @doc See {@link warp_nif:entities/5}.
-spec entities(log(), first | warp_nif:place(), binary(), [binary()] | undefined, pos_integer()) ->
    {ok, {[{binary(), warp_core:seq()}], warp_nif:place() | done}} | error().
entities(Log, After, Prefix, Aggregates, Limit) ->
    call(Log, entities, [After, Prefix, Aggregates, Limit]).

%% @doc The last position of the log.
-spec position(log()) -> {ok, non_neg_integer()} | error().
position(Log) ->
    call(Log, position, []).

%% @doc The last position of the log of shard N; 0 while it cannot be read.
-spec position(warp_context:context(), non_neg_integer()) -> non_neg_integer().
position(Context, N) ->
    case warp_context:log(Context, N) of
        {ok, Log} ->
            case position(Log) of
                {ok, Position} -> Position;
                {error, _} -> 0
            end;
        {error, _} -> 0
    end.

%% @doc As {@link warp_context:with_log/3}, and waits while the shard is being handed to another node, however long that
%% takes: the caller is a process that somebody ends in time.
-spec with_moving(warp_context:context(), non_neg_integer(), fun((log()) -> Result)) ->
    Result | {error, warp_context:unavailable()}.
with_moving(Context, N, Fun) ->
    Where = warp_context_owners:where(Context, N),
    case warp_context:with_log(Context, N, Fun) of
        {error, {shard_unavailable, N}} when Where =/= here ->
            ok = warp_context_owners:await_change(Context, N, Where, {?LOOK_MS, infinity}),
            with_moving(Context, N, Fun);
        Result ->
            Result
    end.

call({remote, Server, Ref, N, _Epoch}, Function, Args) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            Reader = {node(), warp_cluster_withheld:session(Context)},
            Call = {?MODULE, serve, [Ref, Reader, N, Function, Args]},
            case warp_cluster_call:ask(Server, Call, warp_deadline:from(?PATIENCE_MS)) of
                {error, {unknown_outcome, Node}} -> {error, {node_unavailable, Node}};
                Result -> Result
            end;
        not_found ->
            {error, closed}
    end;
call(Handle, position, []) ->
    {ok, warp_shard_stats:log_position(Handle)};
call(Handle, Function, Args) ->
    apply(warp_nif, Function, [Handle | Args]).

%% @doc Reads for another node, where the shard is on this one.
-spec serve(warp_context:ref(), {node(), warp_cluster_withheld:session()}, non_neg_integer(), Function :: atom(),
            Args :: [term()]) -> term().
serve(Ref, Reader, N, Function, Args) ->
    true = lists:member(Function, ?READS),
    case warp_context:find(Ref) of
        {ok, Context} ->
            case warp_context:shard(Context, N) of
                {ok, Handle} -> call_for(Reader, Context, N, Handle, Function, Args);
                {error, _} -> {error, closed}
            end;
        not_found ->
            {error, closed}
    end.

%% NOTE: looked at after the log is read. A deletion may have been noted meanwhile, and a new life have begun.
call_for(Reader, Context, N, Handle, Function, Args) when Function =:= follow; Function =:= follow_entity ->
    Read = call(Handle, Function, Args),
    case warp_cluster_withheld:may_follow(Context, Reader, N) of
        true -> Read;
        false -> {error, {node_unavailable, node()}}
    end;
call_for(_Reader, _Context, _N, Handle, Function, Args) ->
    call(Handle, Function, Args).
