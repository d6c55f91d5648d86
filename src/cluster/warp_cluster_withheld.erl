%% @private Which logs of this node other nodes may not follow yet, since they have to know something first: that a life
%% of an entity is being erased, of which they may have something. No other module knows the shape of this table. In a
%% context of a single node there is none.
%%
%% What a node knows it knows until its context ends, and so each reader says with which start of its context it reads.
-module(warp_cluster_withheld).

-export([new/0, nobody/0, session/1, begun/1, withhold/4, knows/5, forget/4, forget_all_but/4, only/4, anyone/3]).
-export([is_withheld/4, left/4, may_follow/3]).

-export_type([withheld/0, key/0, session/0]).

%% {begun}, once this node knows what to withhold; {{node, Node, N, Key}, Session}; and {{only, N, Entity}, Nodes}.
-opaque withheld() :: ets:table() | none.
%% What has to be known: the entity, and which deletion of it.
-type key() :: {Entity :: binary(), Deletion :: binary()}.
%% Tells one start of a node's context from others.
-type session() :: reference().

%% @doc The table, which the calling process owns. Nobody may follow a log before {@link begun/1}.
-spec new() -> withheld().
new() -> ets:new(warp_withheld, [public, ordered_set, {read_concurrency, true}]).

%% @doc Of a context of a single node.
-spec nobody() -> withheld().
nobody() -> none.

%% @doc What tells this start of the context from others.
-spec session(warp_context:context()) -> session().
session(#{running := Running}) -> Running.

%% @doc From now on the table has all that is withheld.
-spec begun(warp_context:context()) -> ok.
begun(#{withheld := none}) -> ok;
begun(#{withheld := Table}) -> true = ets:insert(Table, {begun}), ok.

%% @doc Withholds the log of shard N from a node until the node knows of that deletion, or it is forgotten.
-spec withhold(warp_context:context(), node(), non_neg_integer(), key()) -> ok.
withhold(#{withheld := Table}, Node, N, Key) ->
    _ = ets:insert_new(Table, {{node, Node, N, Key}, none}),
    ok.

%% @doc A node knows of the deletion, in that start of its context.
-spec knows(warp_context:context(), node(), non_neg_integer(), key(), session()) -> ok.
knows(#{withheld := Table}, Node, N, Key, Session) ->
    _ = ets:update_element(Table, {node, Node, N, Key}, {2, Session}),
    ok.

%% @doc The node need not know of the deletion any more.
-spec forget(warp_context:context(), node(), non_neg_integer(), key()) -> ok.
forget(#{withheld := Table}, Node, N, Key) ->
    true = ets:delete(Table, {node, Node, N, Key}),
    ok.

%% @doc Forgets what is withheld of these shards, or of all, but for this: that a node has to know of those deletions,
%% and that those entities are being deleted.
-spec forget_all_but(warp_context:context(), [non_neg_integer()] | all, [{node(), non_neg_integer(), key()}],
                     [{non_neg_integer(), Entity :: binary()}]) -> ok.
forget_all_but(#{withheld := none}, _Ns, _Nodes, _Entities) ->
    ok;
forget_all_but(#{withheld := Table}, Ns, Nodes, Entities) ->
    Kept = maps:from_keys([{node, Node, N, Key} || {Node, N, Key} <- Nodes]
                          ++ [{only, N, Entity} || {N, Entity} <- Entities], []),
    Found = [{N, Key} || {{node, _, N, _} = Key, _} <- ets:match_object(Table, {{node, '_', '_', '_'}, '_'})]
        ++ [{N, Key} || {{only, N, _} = Key, _} <- ets:match_object(Table, {{only, '_', '_'}, '_'})],
    _ = [true = ets:delete(Table, Key) || {N, Key} <- Found, Ns =:= all orelse lists:member(N, Ns),
                                          not is_map_key(Key, Kept)],
    ok.

%% @doc An entity of shard N is being deleted, and the shard's log is for these nodes alone until {@link anyone/3}: a
%% node that joins meanwhile waits.
-spec only(warp_context:context(), non_neg_integer(), Entity :: binary(), [node()]) -> ok.
only(#{withheld := Table}, N, Entity, Nodes) ->
    true = ets:insert(Table, {{only, N, Entity}, Nodes}),
    ok.

%% @doc Takes {@link only/4} back.
-spec anyone(warp_context:context(), non_neg_integer(), Entity :: binary()) -> ok.
anyone(#{withheld := Table}, N, Entity) ->
    true = ets:delete(Table, {only, N, Entity}),
    ok.

%% @doc Whether a node has to know of a deletion of the entity, and does not.
-spec is_withheld(warp_context:context(), node(), non_neg_integer(), Entity :: binary()) -> boolean().
is_withheld(#{withheld := Table}, Node, N, Entity) ->
    ets:select(Table, [{{{node, Node, N, {Entity, '_'}}, none}, [], [true]}], 1) =/= '$end_of_table'.

%% @doc Deletions of entities of shard N that a node has to know of or knows of: so many at most, and whether these are
%% all.
-spec left(warp_context:context(), node(), non_neg_integer(), pos_integer()) -> {[key()], done | more}.
left(#{withheld := Table}, Node, N, Max) ->
    case ets:select(Table, [{{{node, Node, N, '$1'}, '_'}, [], ['$1']}], Max) of
        '$end_of_table' -> {[], done};
        {Keys, '$end_of_table'} -> {Keys, done};
        {Keys, _} -> {Keys, more}
    end.

%% @doc Whether a node may follow the log of shard N.
-spec may_follow(warp_context:context(), {node(), session()}, non_neg_integer()) -> boolean().
may_follow(#{withheld := Table}, {Node, Session}, N) ->
    ets:member(Table, begun)
        andalso ets:select(Table, [{{{node, Node, N, '_'}, '$1'}, [{'=/=', '$1', Session}], [true]}], 1)
                    =:= '$end_of_table'
        andalso lists:all(fun(Nodes) -> lists:member(Node, Nodes) end,
                          ets:select(Table, [{{{only, N, '_'}, '$1'}, [], ['$1']}])).
