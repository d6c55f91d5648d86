%% @private The component for the deletions of a context.
-module(warp_erasure_component).
-behaviour(warp_component).

-export([new/1, files/1, children/2, await_started/1, stats/1]).
-export([shard_opened/2, shard_closing/3, give/2, take/3, given/2]).

%% The file of the list, and the files that SQLite has open beside it.
-define(FILES, 4).

%% @doc The table of holds, and that of what is left on other nodes.
-spec new(warp_component:settings()) -> #{holds := ets:table(), elsewhere := ets:table()}.
new(_Settings) ->
    #{holds => warp_erasure_holds:new(), elsewhere => warp_erasure_elsewhere:new()}.

%% @doc How many files the list has open at most.
-spec files(warp_component:settings()) -> non_neg_integer().
files(_Settings) ->
    ?FILES.

%% @doc The process that deletes entities; and, in a cluster, what does this node's part of other deletions, and what
%% has other nodes do their part.
-spec children(warp_context:ref(), warp_component:settings()) -> [supervisor:child_spec()].
children(Ref, #{cluster := Cluster}) ->
    Erasure = #{id => erasure, start => {warp_erasure, start_link, [Ref]}, shutdown => 60000},
    case Cluster of
        single_node ->
            [Erasure];
        _ ->
            [#{id => erasure_part, start => {warp_erasure_part, start_link, [Ref]}, shutdown => brutal_kill},
             Erasure,
             #{id => erasure_courier, start => {warp_erasure_courier, start_link, [Ref]}, shutdown => brutal_kill}]
    end.

%% @doc Waits until the logs of all resumed deletions are erased, so that nobody appends to an entity that is deleted
%% right after. See {@link warp_erasure:await_left/1}.
-spec await_started(warp_context:context()) -> ok | {error, term()}.
await_started(Context) ->
    warp_erasure:await_left(Context).

%% @doc How many deletions are under way, and since when the first of them is; and how many wait for each other node, or
%% for sagas of other nodes.
-spec stats(warp_context:context()) ->
    #{deletions := #{under_way := non_neg_integer(), since := warp_core:micros() | none,
                     elsewhere := #{node() | binary() => pos_integer()}}}.
stats(Context) ->
    {UnderWay, Since} = warp_erasure_holds:count(Context),
    First = [At || At <- [Since, warp_erasure_elsewhere:since(Context)], At =/= none],
    #{deletions => #{under_way => UnderWay,
                     since => case First of [] -> none; _ -> lists:min(First) end,
                     elsewhere => warp_erasure_elsewhere:count(Context)}}.

%% @doc The shard's deletions go on.
-spec shard_opened(warp_context:context(), non_neg_integer()) -> ok.
shard_opened(Context, N) -> warp_erasure:shard_opened(Context, N).

%% @doc The shard's deletions stop where they are.
-spec shard_closing(warp_context:context(), non_neg_integer(), warp_deadline:deadline()) -> ok | {error, timeout}.
shard_closing(Context, N, Deadline) -> warp_erasure:shard_closing(Context, N, Deadline).

%% @doc The shard's deletions.
-spec give(warp_context:context(), non_neg_integer()) -> {ok, term()} | {error, term()}.
give(Context, N) -> warp_erasure:give(Context, N).

-spec take(warp_context:context(), non_neg_integer(), term()) -> ok | {error, term()}.
take(Context, N, Given) -> warp_erasure:take(Context, N, Given).

-spec given(warp_context:context(), non_neg_integer()) -> ok | {error, term()}.
given(Context, N) -> warp_erasure:given(Context, N).
