%% @private What a context counts of its sagas, and the lists of those under way.
-module(warp_saga_stats).

-export([new/0, add/2, is_any_doomed/1, read/1, under_way/1, stuck/1]).

-include("../warp.hrl").

-type counted() :: committed | compensated | became_stuck | resolved | recovered | doomed.

-spec new() -> counters:counters_ref().
new() ->
    counters:new(6, []).

-spec add(counted(), counters:counters_ref()) -> ok.
add(What, Counts) ->
    counters:add(Counts, index(What), 1).

%% Came to their end since the context was started, or became stuck (again, after a retry too),
%% or were found unfinished.
index(committed) -> 1;
index(compensated) -> 2;
index(became_stuck) -> 3;
index(resolved) -> 4;
index(recovered) -> 5;
%% Steps of sagas whose entity was deleted meanwhile.
index(doomed) -> 6.

%% @doc Whether an entity of a saga under way was ever deleted.
-spec is_any_doomed(warp_context:context()) -> boolean().
is_any_doomed(#context{saga_counts = Counts}) ->
    counters:get(Counts, index(doomed)) > 0.

-spec read(warp_context:context()) -> map().
read(#context{saga_counts = Counts} = Context) ->
    Kinds = [committed, compensated, became_stuck, resolved, recovered],
    maps:merge(#{running => length(under_way(Context)), stuck => length(stuck(Context))},
               maps:from_list([{Kind, counters:get(Counts, index(Kind))} || Kind <- Kinds])).

%% @doc The sagas that are neither finished nor stuck.
-spec under_way(warp_context:context()) ->
    [#{id := binary(), state := running | compensating, started_at := warp_core:micros()}].
under_way(#context{sagas = Sagas}) ->
    Pattern = {{saga, '$1'}, '_', '$2', '_', '$3', '$4'},
    [#{id => Id, state => state(Phase), started_at => Started}
     || [Id, Phase, Started] <- select(Sagas, {Pattern, [{'=/=', '$2', stuck}], [['$1', '$3', '$4']]})].

state(compensating) -> compensating;
state(_) -> running.

%% @doc The ids of those that are stuck.
-spec stuck(warp_context:context()) -> [binary()].
stuck(#context{sagas = Sagas}) ->
    select(Sagas, {{{saga, '$1'}, '_', stuck, '_', '_', '_'}, [], ['$1']}).

select(Table, Match) ->
    try
        ets:select(Table, [Match])
    catch
        %% The keeper of the table is being restarted.
        error:badarg -> []
    end.
