%% @private The statements of the steps of a rebuild. Pure.
-module(warp_projection_sql_rebuild).

-export([statements/3]).

-export_type([step/0]).

%% `start' goes on with the tables of a rebuild that was cancelled or cut short, if the same version of the
%% aggregates made them; `restart' drops them. `swap' puts them in the place of those that are queried.
-type step() :: start | restart | cancel | swap.

%% @doc The first statement refuses all of them if the tables were changed meanwhile.
-spec statements(step(), warp_projection_setup:settings(), warp_projection_catalog:catalog()) ->
    [warp_projection_target:statement()].
statements(Step, Settings, Catalog) ->
    [warp_projection_sql_own:change_layout(warp_projection_catalog:layout(Catalog)) | step(Step, Settings, Catalog)].

step(start, #{version := Version} = Settings, Catalog) ->
    case {warp_projection_catalog:is_building(Catalog), warp_projection_catalog:version(Catalog)} of
        {true, #{building := Version}} -> [state(<<"running">>)];
        _ -> step(restart, Settings, Catalog)
    end;
step(restart, #{version := Version, declared := Declared, context := #{shards := Shards}}, Catalog) ->
    Generation = warp_projection_catalog:generation(Catalog) + 1,
    Old = warp_projection_schema:tables(warp_projection_catalog:schema(building, Catalog)),
    {Changes, _} = warp_projection_schema:declared(Declared),
    warp_projection_sql_tables:drop(building, Old)
        ++ warp_projection_sql_own:drop_building()
        ++ warp_projection_sql_own:begin_building(Generation, Shards)
        ++ warp_projection_sql_tables:statements(building, Generation, Changes)
        ++ [warp_projection_sql_own:set_meta(<<"building_version">>, Version), state(<<"running">>)];
step(cancel, _Settings, _Catalog) ->
    [state(<<"cancelled">>)];
step(swap, _Settings, Catalog) ->
    Tables = fun(Set) -> warp_projection_schema:tables(warp_projection_catalog:schema(Set, Catalog)) end,
    {First, Last} = warp_projection_sql_own:swap(warp_projection_catalog:generation(Catalog)),
    First
        ++ warp_projection_sql_tables:drop(live, Tables(live))
        ++ warp_projection_sql_tables:put_live(Tables(building))
        ++ Last.

state(State) -> warp_projection_sql_own:set_meta(<<"rebuild">>, State).
