%% @private Reads the counters of the shards of a context, and sums them up.
-module(warp_shard_stats).

-export([read/1, log_position/2, log_position/1]).

%% @doc The sums over all open shards, the counters of each shard under `shards', and those of the journal under
%% `journal'. Waits for no process.
-spec read(warp_context:context()) -> #{atom() => term()}.
read(#{shards := Shards} = Context) ->
    Each = [shard(Context, N) || N <- lists:seq(0, Shards - 1)],
    Open = [Counters || #{commits := _} = Counters <- Each],
    Sums = lists:foldl(
        fun(Counters, Acc) ->
            maps:merge_with(fun sum/3, maps:without([shard, background], Counters), Acc)
        end,
        #{},
        Open),
    Sums#{shards => Each, journal => journal(Context)}.

journal(Context) ->
    case warp_context:registered(Context, journal) of
        {ok, Handle} ->
            #{background := Failing} = Counters = warp_nif:journal_stats(Handle),
            Counters#{background := warp_shard_background:describe(Failing)};
        none ->
            #{unavailable => true}
    end.

shard(Context, N) ->
    case warp_context:shard(Context, N) of
        {ok, Handle} ->
            #{background := Failing} = Counters = warp_nif:stats(Handle),
            Counters#{shard => N, background := warp_shard_background:describe(Failing)};
        {error, _} ->
            (unavailable(warp_shard:failure(Context, N)))#{shard => N, unavailable => true}
    end.

unavailable({ok, Reason}) -> #{error => Reason};
unavailable(none) -> #{}.

%% Positions of different shards do not add up: the sum shows the largest.
sum(position, A, B) -> max(A, B);
sum(_Key, A, B) when is_integer(A) -> A + B;
sum(_Key, A, B) -> merge(A, B).

%% Adds two histograms, which are sorted by their bounds.
merge([{Bound, N} | A], [{Bound, M} | B]) -> [{Bound, N + M} | merge(A, B)];
merge([{Lower, _} = First | A], [{Higher, _} | _] = B) when Lower < Higher -> [First | merge(A, B)];
merge([_ | _] = A, [First | B]) -> [First | merge(A, B)];
merge([], B) -> B;
merge(A, []) -> A.

%% @doc The last position of a shard's log; 0 while it is not open.
-spec log_position(warp_context:context(), non_neg_integer()) -> non_neg_integer().
log_position(Context, N) ->
    case warp_context:shard(Context, N) of
        {ok, Handle} -> log_position(Handle);
        {error, _} -> 0
    end.

%% @doc Likewise of an open shard.
-spec log_position(warp_nif:shard()) -> non_neg_integer().
log_position(Handle) ->
    maps:get(position, warp_nif:stats(Handle)).
