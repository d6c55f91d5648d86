%% @private Wakes the followers of a shard's log. Any number of processes may follow a log: each reads from a
%% position on ({@link warp_nif:follow/5}), as much at a time as it has room for. At the end of the log a follower
%% sleeps, and the next commit wakes it. No commit waits for a follower, and while no follower sleeps a commit
%% costs one read of a counter. The log may be that of a shard on another node.
-module(warp_follower).

-export([new/1, sleep/2, committed/2]).

-export_type([followers/0]).

%% The table has a row {{N, Pid}} for each process that sleeps at shard N. Slot N + 1 of the atomics is 1
%% when the table may have rows of shard N.
-opaque followers() :: {ets:table(), atomics:atomics_ref()}.

%% @doc The table for a context that is starting. The calling process owns it.
-spec new(Shards :: pos_integer()) -> followers().
new(Shards) ->
    {ets:new(warp_followers, [public, ordered_set, {write_concurrency, true}]), atomics:new(Shards, [])}.

%% @doc Has the next commit to shard N send `{log_grew, N}' to the calling process, once.
%%
%% NOTE: a commit may have come since the caller last read the log. The caller has to read once more after this
%% call, and may sleep only if it is still at the end.
-spec sleep(warp_context:context(), N :: non_neg_integer()) -> ok.
sleep(#{followers := {Table, Sleeping}} = Context, N) ->
    %% A process that ended asleep leaves its row until the next commit, which may not come for long.
    _ = [ets:delete(Table, {N, Pid}) || atomics:get(Sleeping, N + 1) =:= 1, Pid <- sleepers(Table, N),
                                        not is_process_alive(Pid)],
    true = ets:insert(Table, {{N, self()}}),
    case atomics:exchange(Sleeping, N + 1, 1) of
        0 -> arm(Context, N);
        _ -> ok
    end.

%% The node that has the shard has to say when its log grows.
arm(Context, N) ->
    case warp_context_owners:where(Context, N) of
        {at, _} ->
            _ = [Pid ! {warp_arm, N} || {ok, Pid} <- [warp_context:registered(Context, {cluster_server, N})]],
            ok;
        _ ->
            ok
    end.

%% @doc Wakes the processes that sleep at shard N, after a commit to it.
-spec committed(warp_context:context(), N :: non_neg_integer()) -> ok.
committed(#{followers := {Table, Sleeping}}, N) ->
    case atomics:get(Sleeping, N + 1) of
        0 ->
            ok;
        _ ->
            %% NOTE: the slot becomes 0 before this process reads the table. A process that adds its row after
            %% that read sets the slot to 1 again, for the next commit.
            ok = atomics:put(Sleeping, N + 1, 0),
            lists:foreach(
                fun(Pid) ->
                    true = ets:delete(Table, {N, Pid}),
                    Pid ! {log_grew, N}
                end,
                sleepers(Table, N))
    end.

sleepers(Table, N) ->
    ets:select(Table, [{{{N, '$1'}}, [], ['$1']}]).
