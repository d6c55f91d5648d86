%% @private Which node each shard of a context is on, as this node knows it. No other module knows the shape of this
%% table. In a context of a single node there is none, and all shards are here.
-module(warp_context_owners).

-export([new/1, all_here/0, is_single/1, here/1, where/2, is_here/2, has/2, epoch/2, set/4, await_change/4]).

-export_type([owners/0, where/0]).

%% {N, Epoch, Where}; and {{N, Alias}} for each process that waits until the owner of shard N changes.
-opaque owners() :: ets:table() | none.
%% `frozen': the shard is here, and nothing may begin, since it is being handed over. `unknown': this node has not heard
%% where it is.
-type where() :: here | frozen | {at, node()} | unknown.

%% @doc The table, which the calling process owns, for a context with so many shards, of which none is here yet.
-spec new(pos_integer()) -> owners().
new(Shards) ->
    Table = ets:new(warp_owners, [public, ordered_set, {read_concurrency, true}]),
    true = ets:insert(Table, [{N, 0, unknown} || N <- lists:seq(0, Shards - 1)]),
    Table.

%% @doc Of a context of a single node.
-spec all_here() -> owners().
all_here() -> none.

%% @doc Whether this is a context of a single node.
-spec is_single(owners()) -> boolean().
is_single(Owners) -> Owners =:= none.

%% @doc The shards that are here, also those that are frozen, in order.
-spec here(warp_context:context()) -> [non_neg_integer()].
here(#{owners := none, shards := Shards}) -> lists:seq(0, Shards - 1);
here(#{owners := Table}) -> ets:select(Table, [{{'$1', '_', Where}, [], ['$1']} || Where <- [here, frozen]]).

%% @doc Where a shard is.
-spec where(warp_context:context(), non_neg_integer()) -> where().
where(#{owners := none}, _N) ->
    here;
where(#{owners := Table}, N) ->
    try
        ets:lookup_element(Table, N, 3)
    catch
        %% The keeper of the table is being restarted.
        error:badarg -> unknown
    end.

%% @doc Whether a shard is here, and may be used.
-spec is_here(warp_context:context(), non_neg_integer()) -> boolean().
is_here(Context, N) -> where(Context, N) =:= here.

%% @doc Whether a shard is here, frozen or not.
-spec has(warp_context:context(), non_neg_integer()) -> boolean().
has(Context, N) -> lists:member(where(Context, N), [here, frozen]).

%% @doc The epoch of a shard: how often it was handed over, from 1 on; 0 where this node has not heard of it.
-spec epoch(warp_context:context(), non_neg_integer()) -> non_neg_integer().
epoch(#{owners := none}, _N) -> 1;
epoch(#{owners := Table}, N) -> ets:lookup_element(Table, N, 2).

%% @doc Notes where a shard is, and wakes who waits for that.
-spec set(warp_context:context(), non_neg_integer(), Epoch :: non_neg_integer(), where()) -> ok.
set(#{owners := Table}, N, Epoch, Where) when Table =/= none ->
    true = ets:insert(Table, {N, Epoch, Where}),
    Waiting = ets:select(Table, [{{{N, '$1'}}, [], ['$1']}]),
    lists:foreach(
        fun(Alias) ->
            true = ets:delete(Table, {N, Alias}),
            Alias ! {Alias, changed}
        end,
        Waiting).

%% @doc Waits until a shard is somewhere else than it was seen, for `Millis' at most, or until the deadline. The caller
%% looks again in any case.
-spec await_change(warp_context:context(), non_neg_integer(), where(), {pos_integer(), warp_deadline:deadline()}) -> ok.
await_change(#{owners := Table} = Context, N, Seen, {Millis, Deadline}) ->
    Alias = erlang:alias([reply]),
    try ets:insert(Table, {{N, Alias}}) of
        true ->
            %% NOTE: looked at after the row is there, so that no change comes between.
            case where(Context, N) of
                Seen -> receive {Alias, changed} -> ok after min(Millis, warp_deadline:left(Deadline)) -> ok end;
                _ -> ok
            end,
            true = ets:delete(Table, {N, Alias})
    catch
        error:badarg -> timer:sleep(min(20, warp_deadline:left(Deadline)))
    end,
    _ = erlang:unalias(Alias),
    receive {Alias, changed} -> ok after 0 -> ok end.
