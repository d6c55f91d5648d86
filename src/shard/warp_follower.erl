%% @private Following the log of a shard. Any number of processes may follow one: each reads from a
%% position on ({@link warp_nif:follow/5}), as much at a time as it has room for. When it has come to
%% the end it sleeps, and the next commit wakes it. Nothing on the write path waits for a follower; and
%% a commit costs one read of a counter while none sleeps.
-module(warp_follower).

-export([new/1, sleep/2, committed/2]).

-export_type([followers/0]).

%% The table has {{N, Pid}} for each process that sleeps at shard N. Slot N + 1 of the atomics is 1
%% when the table may have rows of the shard.
-opaque followers() :: {ets:table(), atomics:atomics_ref()}.

%% @doc For a context that is starting: the calling process owns the table.
-spec new(Shards :: pos_integer()) -> followers().
new(Shards) ->
    {ets:new(warp_followers, [public, ordered_set, {write_concurrency, true}]), atomics:new(Shards, [])}.

%% @doc Has the next commit to the shard send `{log_grew, N}' to the calling process, once. The
%% caller has to read the log once more after this, and only then may it sleep.
-spec sleep(warp_context:context(), N :: non_neg_integer()) -> ok.
sleep(#{followers := {Table, Sleeping}}, N) ->
    true = ets:insert(Table, {{N, self()}}),
    atomics:put(Sleeping, N + 1, 1).

%% @doc A commit was made to the shard: wakes those that sleep.
-spec committed(warp_context:context(), N :: non_neg_integer()) -> ok.
committed(#{followers := {Table, Sleeping}}, N) ->
    case atomics:get(Sleeping, N + 1) of
        0 ->
            ok;
        _ ->
            %% NOTE: before the table is looked at. Of a process that comes after this look the slot
            %% says so again.
            ok = atomics:put(Sleeping, N + 1, 0),
            lists:foreach(
                fun(Pid) ->
                    true = ets:delete(Table, {N, Pid}),
                    Pid ! {log_grew, N}
                end,
                ets:select(Table, [{{{N, '$1'}}, [], ['$1']}]))
    end.
