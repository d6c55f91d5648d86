%% @private Published states, which readers find without asking the entity's process. No other module knows the shape
%% of this table.
-module(warp_entity_states).

-export([new/0, read/3, publish/5, withdraw/3, size/1]).

%% @doc The table, which the calling process owns: {{Entity, Aggregate}, State, Pending}.
-spec new() -> ets:table().
new() ->
    ets:new(warp_states, [public, set, {read_concurrency, true}, {write_concurrency, true}]).

%% @doc The published state of an aggregate, and the counters of the entity's process. `none' also while the keeper of
%% the table is being restarted.
-spec read(warp_context:context(), Entity :: binary(), Aggregate :: binary()) ->
    {ok, State :: term(), warp_entity_pending:pending()} | none.
read(#{states := States}, Entity, Aggregate) ->
    try ets:lookup(States, {Entity, Aggregate}) of
        [{_, State, Pending}] -> {ok, State, Pending};
        [] -> none
    catch
        error:badarg -> none
    end.

%% @doc Publishes the state of an aggregate, with the counters of the entity's process.
-spec publish(warp_context:context(), Entity :: binary(), Aggregate :: binary(), State :: term(),
              warp_entity_pending:pending()) -> ok.
publish(#{states := States}, Entity, Aggregate, State, Pending) ->
    true = ets:insert(States, {{Entity, Aggregate}, State, Pending}),
    ok.

%% @doc Takes the states of these aggregates out again.
-spec withdraw(warp_context:context(), Entity :: binary(), Aggregates :: [binary()]) -> ok.
withdraw(#{states := States}, Entity, Aggregates) ->
    lists:foreach(fun(Aggregate) -> true = ets:delete(States, {Entity, Aggregate}) end, Aggregates).

%% @doc How many states are published. 0 while the keeper of the table is being restarted.
-spec size(warp_context:context()) -> non_neg_integer().
size(#{states := States}) ->
    case ets:info(States, size) of
        undefined -> 0;
        Size -> Size
    end.
