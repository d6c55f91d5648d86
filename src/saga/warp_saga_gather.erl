%% @private What is known of the sagas of all shards, wherever these are. Each shard is asked for once, on the node that
%% has it; one that moves meanwhile is asked for again where it is then.
-module(warp_saga_gather).

-export([all/3]).
-export([serve/4]).

-export_type([what/0]).

-type what() :: under_way | stuck.
%% What there is of these shards, and which they are. Others are not here.
-type part() :: {ok, {[non_neg_integer()], [term()]}}.

%% How long to wait before it is looked again where a shard is.
-define(LOOK_MS, 50).

%% @doc All sagas that are under way, or stuck ones as their results describe them. Errors: `{node_unavailable, Node}'
%% where a node with shards cannot be reached, `{shard_unavailable, N}' and `timeout' at the deadline,
%% `context_stopped', and those of reading a log.
-spec all(warp_context:context(), what(), warp_deadline:deadline()) -> {ok, [term()]} | {error, term()}.
all(#{ref := Ref, shards := Shards}, What, Deadline) ->
    all(lists:seq(0, Shards - 1), Ref, What, Deadline, []).

all([], _Ref, _What, _Deadline, Found) ->
    {ok, lists:append(Found)};
all([N | _] = Ns, Ref, What, Deadline, Found) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            Where = warp_context_owners:where(Context, N),
            Together = [M || M <- Ns, warp_context_owners:where(Context, M) =:= Where],
            case part(Where, Context, What, Together, Deadline) of
                {ok, {[], []}} ->
                    again(Ns, Context, What, Deadline, Found);
                {ok, {Of, Part}} ->
                    all(Ns -- Of, Ref, What, Deadline, [Part | Found]);
                {error, {unknown_outcome, _}} ->
                    again(Ns, Context, What, Deadline, Found);
                {error, _} = Error ->
                    Error
            end;
        not_found ->
            {error, context_stopped}
    end.

again([N | _] = Ns, #{ref := Ref} = Context, What, Deadline, Found) ->
    case warp_deadline:is_over(Deadline) of
        true ->
            {error, {shard_unavailable, N}};
        false ->
            Where = warp_context_owners:where(Context, N),
            ok = warp_context_owners:await_change(Context, N, Where, {?LOOK_MS, Deadline}),
            all(Ns, Ref, What, Deadline, Found)
    end.

part(here, Context, What, Ns, Deadline) ->
    here(Context, What, Ns, Deadline);
part({at, _}, #{ref := Ref} = Context, What, [N | _] = Ns, Deadline) ->
    case warp_context:log(Context, N) of
        {ok, {remote, Server, _, _, _}} ->
            Call = {?MODULE, serve, [Ref, What, Ns, warp_deadline:left(Deadline)]},
            warp_cluster_call:ask(Server, Call, Deadline);
        {error, {node_unavailable, _}} = Error ->
            Error;
        _ ->
            {ok, {[], []}}
    end;
part(_Where, _Context, _What, _Ns, _Deadline) ->
    {ok, {[], []}}.

%% @doc What there is of those among these shards that are on this node, for another one.
-spec serve(warp_context:ref(), what(), [non_neg_integer()], timeout()) -> part() | {error, term()}.
serve(Ref, What, Ns, Wait) ->
    case warp_context:find(Ref) of
        {ok, Context} -> here(Context, What, Ns, warp_deadline:from(Wait));
        not_found -> {ok, {[], []}}
    end.

here(#{ref := Ref}, What, Ns, Deadline) ->
    case warp_saga_loaded:await(Ref, Ns, Deadline) of
        {ok, Context} ->
            case found(What, Context, maps:from_keys(Ns, []), Deadline) of
                {ok, Found} ->
                    %% NOTE: looked at after the sagas were. Those of a shard that has gone may have gone before.
                    Here = [N || N <- Ns, warp_context_owners:is_here(Context, N)],
                    Of = maps:from_keys(Here, []),
                    {ok, {Here, [Saga || {N, Saga} <- Found, is_map_key(N, Of)]}};
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% Each saga with its shard.
found(under_way, Context, Of, _Deadline) ->
    {ok, [{N, Saga} || {N, Saga} <- warp_saga_stats:under_way(Context), is_map_key(N, Of)]};
found(stuck, Context, Of, Deadline) ->
    Stuck = lists:sort([{Id, N} || {N, Id} <- warp_saga_table:stuck(Context), is_map_key(N, Of)]),
    warp_entity_call:aside(fun() -> described(Stuck, Context) end, Deadline).

described(Stuck, Context) ->
    Read = [{N, warp_saga_log:read(Context, Id)} || {Id, N} <- Stuck],
    case [{N, Error} || {N, {error, Reason} = Error} <- Read, Reason =/= not_found] of
        [] ->
            {ok, [{N, warp_saga_core:describe(Core)} || {N, {ok, #{core := Core}}} <- Read]};
        [{N, {error, {shard_unavailable, N}} = Error} | _] ->
            case warp_context_owners:is_here(Context, N) of
                true -> Error;
                false -> described([Saga || {_, Of} = Saga <- Stuck, Of =/= N], Context)
            end;
        [{_, Error} | _] ->
            Error
    end.
