%% @private What a context counts of its sagas, and those under way as users see them.
-module(warp_saga_stats).

-export([read/1, under_way/1]).

-export_type([under_way/0]).

-type under_way() :: #{
    id := binary(),
    state := running | compensating | waiting,
    %% Where the state is `waiting'.
    waiting => warp_saga_table:waiting(),
    started_at := warp_core:micros()
}.

%% @doc Of the sagas of this node: the counts of {@link warp_saga_table}, and how many sagas are running, how many of
%% these wait, and how many are stuck.
-spec read(warp_context:context()) -> #{atom() => non_neg_integer()}.
read(Context) ->
    UnderWay = [Saga || {_N, Saga} <- under_way(Context)],
    (warp_saga_table:counts(Context))#{
        running => length(UnderWay),
        waiting => length([Id || #{id := Id, state := waiting} <- UnderWay]),
        stuck => length(warp_saga_table:stuck(Context))}.

%% @doc The sagas of this node that are neither finished nor stuck, each with its shard.
-spec under_way(warp_context:context()) -> [{non_neg_integer(), under_way()}].
under_way(Context) ->
    [{N, (state(Phase))#{id => Id, started_at => Started}}
     || {N, Id, Phase, Started} <- warp_saga_table:under_way(Context)].

state(compensating) -> #{state => compensating};
state({waiting, Waiting}) -> #{state => waiting, waiting => Waiting};
state(_) -> #{state => running}.
