%% @private What a context counts of its sagas, and the lists of those under way.
-module(warp_saga_stats).

-export([new/0, add/2, is_any_doomed/1, read/1, under_way/1, waiting/2, stuck/1]).

-export_type([waiting/0, under_way/0]).

%% The step that cannot be done, or reversed, before the context is started with what it lacks now.
-type waiting() :: #{
    step := non_neg_integer(),
    entity := binary(),
    direction := forward | compensate,
    reason := term(),
    since := warp_core:micros()
}.
-type under_way() :: #{
    id := binary(),
    state := running | compensating | waiting,
    %% Where the state is `waiting'.
    waiting => waiting(),
    started_at := warp_core:micros()
}.
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
is_any_doomed(#{saga_counts := Counts}) ->
    counters:get(Counts, index(doomed)) > 0.

-spec read(warp_context:context()) -> map().
read(#{saga_counts := Counts} = Context) ->
    Kinds = [committed, compensated, became_stuck, resolved, recovered],
    UnderWay = under_way(Context),
    maps:merge(#{running => length(UnderWay), stuck => length(stuck(Context)),
                 %% Of those that are running.
                 waiting => length([Id || #{id := Id, state := waiting} <- UnderWay])},
               maps:from_list([{Kind, counters:get(Counts, index(Kind))} || Kind <- Kinds])).

%% @doc The sagas that are neither finished nor stuck.
-spec under_way(warp_context:context()) -> [under_way()].
under_way(#{sagas := Sagas}) ->
    Pattern = {{saga, '$1'}, '_', '$2', '_', '$3', '$4'},
    [(state(Phase))#{id => Id, started_at => Started}
     || [Id, Phase, Started] <- select(Sagas, {Pattern, [{'=/=', '$2', stuck}], [['$1', '$3', '$4']]})].

state(compensating) -> #{state => compensating};
state({waiting, Waiting}) -> #{state => waiting, waiting => Waiting};
state(_) -> #{state => running}.

%% @doc What a saga waits for, if it does.
-spec waiting(warp_context:context(), binary()) -> {ok, waiting()} | none.
waiting(#{sagas := Sagas}, Id) ->
    try ets:lookup_element(Sagas, {saga, Id}, 5) of
        {waiting, Waiting} -> {ok, Waiting};
        _ -> none
    catch
        error:badarg -> none
    end.

%% @doc The ids of those that are stuck.
-spec stuck(warp_context:context()) -> [binary()].
stuck(#{sagas := Sagas}) ->
    select(Sagas, {{{saga, '$1'}, '_', stuck, '_', '_', '_'}, [], ['$1']}).

select(Table, Match) ->
    try
        ets:select(Table, [Match])
    catch
        %% The keeper of the table is being restarted.
        error:badarg -> []
    end.
