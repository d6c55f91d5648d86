%% @private Takes deleted entities out of all tables of a target. Runs in the projection's writer.
-module(warp_projection_erase_rows).

-export([erase/4]).

-include_lib("kernel/include/logger.hrl").

-export_type([result/0]).

%% Entities that are gone from the target, with their bytes; those that the database refused to erase; and
%% `{away, Why}' when the target became unreachable before the others were reached.
-type result() :: {ok | {away, term()}, Erased :: [binary()], Refused :: [{binary(), Message :: binary()}],
                   warp_projection_catalog:catalog()}.

%% @doc Erases entities: all in one transaction, and when the database refuses that, each by itself.
-spec erase([binary()], warp_context:context(), warp_projection_target:open(), warp_projection_catalog:catalog()) ->
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
            tidy(Entities, Target, warp_projection_catalog:erased(Catalog));
        {error, {refused, 1, _}} ->
            {{away, out_of_turn}, [], [], Catalog};
        {error, {refused, _, Message}} ->
            {refused, Message};
        {error, {away, _} = Away} ->
            {Away, [], [], Catalog}
    end.

%% NOTE: the first statement counts erasures. It refuses a transaction that was sent again after the same
%% one was carried out unnoticed.
statements(Entities, How, Catalog) ->
    Rows = [[Entity] || Entity <- Entities],
    [warp_projection_sql_own:tally_erasure(warp_projection_catalog:erasures(Catalog))
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
