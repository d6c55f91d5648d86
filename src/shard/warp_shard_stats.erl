%% @private The counters of the shards of a context, each and summed.
-module(warp_shard_stats).

-export([read/1]).

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
    Sums#{shards => Each}.

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

%% Positions are of a shard; of a context the busiest one says more than a sum.
sum(position, A, B) -> max(A, B);
sum(busy_ms, A, B) -> max(A, B);
sum(_Key, A, B) when is_integer(A) -> A + B;
sum(_Key, A, B) -> merge(A, B).

%% Two histograms, sorted by their bounds.
merge([{Bound, N} | A], [{Bound, M} | B]) -> [{Bound, N + M} | merge(A, B)];
merge([{Lower, _} = First | A], [{Higher, _} | _] = B) when Lower < Higher -> [First | merge(A, B)];
merge([_ | _] = A, [First | B]) -> [First | merge(A, B)];
merge([], B) -> B;
merge(A, []) -> A.
