%% @private Takes deleted entities out of all tables of a target. Runs in the projection's writer.
-module(warp_projection_erase_rows).

-export([erase/4]).

-include_lib("kernel/include/logger.hrl").

-export_type([result/0, erased/0]).

%% An entity, its shard, and the epoch at which this node has the shard (0 for a target of its own).
-type erased() :: {binary(), Shard :: non_neg_integer(), Epoch :: non_neg_integer()}.
%% Why some were not reached: the target became unreachable, or its tables or who may write are not as the catalog has
%% it; entities that are gone from the target, with their bytes; and those that the database refused to erase.
-type result() :: {ok | {away, term()} | out_of_turn, Erased :: [erased()],
                   Refused :: [{erased(), Message :: binary()}],
                   warp_projection_catalog:catalog()}.

%% @doc Erases entities: all in one transaction, and when the database refuses that, each by itself.
-spec erase([erased()], warp_context:context(), warp_projection_target:open(), warp_projection_catalog:catalog()) ->
    result().
erase([Entity], Context, Target, Catalog) ->
    alone(Entity, Context, Target, Catalog);
erase(Entities, Context, Target, Catalog) ->
    case transaction(Entities, exact, Target, Catalog) of
        {refused, _} -> each(Entities, Context, Target, {ok, [], [], Catalog});
        Result -> Result
    end.

each([Entity | Entities], Context, Target, {ok, Erased, Refused, Catalog}) ->
    {Then, More, Failed, Next} = alone(Entity, Context, Target, Catalog),
    each(Entities, Context, Target, {Then, More ++ Erased, Failed ++ Refused, Next});
each(_Entities, _Context, _Target, Result) ->
    Result.

alone(Entity, #{name := Name}, Target, Catalog) ->
    case transaction([Entity], exact, Target, Catalog) of
        {refused, Message} ->
            ?LOG_WARNING("Warp: while an entity was erased from the projection of context ~ts, the database "
                         "refused what is left of a sum; such sums are null until they are counted on: ~ts",
                         [Name, Message]),
            case transaction([Entity], lenient, Target, Catalog) of
                {refused, Again} -> {ok, [], [{Entity, Again}], Catalog};
                Result -> Result
            end;
        Result ->
            Result
    end.

transaction(Entities, How, Target, Catalog) ->
    case warp_projection_target:execute(Target, statements(Entities, How, Catalog)) of
        ok ->
            tidy(Entities, Target, warp_projection_catalog:erased(shards(Entities), Catalog));
        {error, {refused, 1, _}} ->
            {out_of_turn, [], [], Catalog};
        {error, {refused, _, Message}} ->
            {refused, Message};
        {error, {away, _} = Away} ->
            {Away, [], [], Catalog}
    end.

%% The shards of entities, each with its highest epoch.
shards(Entities) ->
    maps:to_list(maps:from_list(lists:sort([{N, Epoch} || {_, N, Epoch} <- Entities]))).

%% NOTE: the first statement counts erasures. It refuses a transaction that was sent again after the same
%% one was carried out unnoticed.
statements(Entities, How, Catalog) ->
    Rows = [[Entity] || {Entity, _, _} <- Entities],
    Shards = [[N, Epoch, warp_projection_catalog:erasures(N, Catalog)] || {N, Epoch} <- shards(Entities)],
    [warp_projection_sql_own:tally_erasures(warp_projection_catalog:layout(Catalog), Shards)
     | warp_projection_sql_own:erase_aside(Rows)]
        ++ [{Sql, [Row]}
            || Set <- warp_projection_catalog:sets(Catalog),
               Schema <- [warp_projection_catalog:schema(Set, Catalog)],
               Table <- warp_projection_schema:tables(Schema),
               Row <- Rows,
               Sql <- warp_projection_sql_rows:erase(Set, Table, How, Schema)].

tidy(Entities, Target, Catalog) ->
    case warp_projection_target:tidy(Target) of
        ok -> {ok, Entities, [], Catalog};
        {error, {away, _} = Away} -> {Away, [], [], Catalog}
    end.
