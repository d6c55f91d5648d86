%% @private The counters of a context, summed over its shards.
-module(warp_context_stats).

-export([context/1]).

-include("../base/warp.hrl").

-spec context(warp_context:context()) -> map().
context(#context{registry = Registry, states = States, shards = Shards} = Context) ->
    Each = [shard(Context, N) || N <- lists:seq(0, Shards - 1)],
    Open = [Counters || #{commits := _} = Counters <- Each],
    Sums = lists:foldl(
        fun(Counters, Acc) ->
            maps:merge_with(fun sum/3, maps:without([shard, background], Counters), Acc)
        end,
        #{},
        Open),
    maps:merge(maps:merge(Sums, projections(Context)), #{
        context => Context#context.name,
        mode => Context#context.mode,
        durability => Context#context.durability,
        resident_entities => rows(Registry),
        published_states => rows(States),
        clock => warp_clock:read(Context#context.clock),
        sagas => warp_saga_stats:read(Context),
        shards => Each
    }).

projections(#context{projections = none}) -> #{};
projections(Context) -> #{projections => warp_projection_stats:context(Context)}.

shard(Context, N) ->
    case warp_context:shard(Context, N) of
        {ok, Handle} ->
            #{background := Failing} = Counters = warp_nif:stats(Handle),
            Counters#{shard => N, background := warp_shard_background:describe(Failing)};
        {error, _} -> (unavailable(Context, N))#{shard => N, unavailable => true}
    end.

%% Why it could not be opened again, where that was tried.
unavailable(#context{running = Running}, N) ->
    try ets:lookup(Running, {unavailable, N}) of
        [{_, Reason}] -> #{error => Reason};
        [] -> #{}
    catch
        error:badarg -> #{}
    end.

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

rows(Table) ->
    case ets:info(Table, size) of
        undefined -> 0;
        Rows -> Rows
    end.
