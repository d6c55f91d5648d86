%% @private Finds or makes Warp's own tables and the declared ones in a target, and reads what the target has.
%% Runs in the projection's writer.
-module(warp_projection_setup).

-export([connect/2, load/2]).

-export_type([settings/0]).

-type settings() :: #{
    context := warp_context:context(),
    declared := warp_projection_schema:declared(),
    %% Of the aggregates and the declared tables.
    version := binary()
}.
-type failure() :: {refused, non_neg_integer(), Message :: binary()} | {away, term()}
                 | {newer_format, Target :: binary(), Version :: pos_integer()}
                 | {wrong_identity, Target :: binary(), Found :: binary()}.

%% What stands in errors in the place of a file's path.
-define(TARGET, <<"the target of the projections">>).

%% @doc What the target has. Warp's own tables are made where there are none.
-spec connect(warp_projection_target:open(), settings()) ->
    {ok, warp_projection_catalog:catalog()} | {error, failure()}.
connect(Target, #{context := #{name := Name, shards := Shards}, version := Version} = Settings) ->
    Found = <<"SELECT count(*) FROM sqlite_master WHERE name = '_warp_meta'">>,
    Made =
        case warp_projection_target:read(Target, Found, []) of
            {ok, [[0]]} ->
                warp_projection_target:execute(Target, warp_projection_sql_own:setup(Name, Shards, Version));
            {ok, _} ->
                ok;
            {error, _} = Error ->
                Error
        end,
    case Made of
        ok -> load(Target, Settings);
        {error, Why} -> {error, Why}
    end.

%% @doc Reads what the target has, and makes the declared tables that are missing.
-spec load(warp_projection_target:open(), settings()) ->
    {ok, warp_projection_catalog:catalog()} | {error, failure()}.
load(Target, #{context := Context} = Settings) ->
    try
        ok = identify(meta(Target), Context),
        ok = upgrade(Target),
        %% NOTE: first the layout, so that what is read of tables is not older than what it says.
        Meta = meta(Target),
        Catalog = warp_projection_catalog:new(
            Meta,
            read(Target, warp_projection_sql_own:read_checkpoints()),
            read(Target, warp_projection_sql_own:read_runs()),
            read(Target, warp_projection_sql_own:read_writers()),
            maps:from_list([{Set, read(Target, warp_projection_sql_own:read_columns(Set))}
                            || Set <- [live, building]])),
        {ok, declare(Target, Settings, Catalog)}
    catch
        throw:{failed, Why} -> {error, Why}
    end.

meta(Target) ->
    maps:from_list([{Name, Value} || [Name, Value] <- read(Target, warp_projection_sql_own:read_meta())]).

identify(#{<<"format">> := Format}, _Context) when Format > 1 ->
    throw({failed, {newer_format, ?TARGET, Format}});
identify(#{<<"context">> := Name, <<"shards">> := Shards}, #{name := Name, shards := Shards}) ->
    ok;
identify(#{<<"context">> := Name, <<"shards">> := Shards}, _Context) ->
    throw({failed, {wrong_identity, ?TARGET,
                    warp_text:format("that of context ~ts with ~b shards", [Name, Shards])}}).

%% An earlier version of Warp made its own tables without what came later.
upgrade(Target) ->
    case read(Target, warp_projection_sql_own:lacking()) of
        [] -> ok;
        Rows -> execute(Target, warp_projection_sql_own:added(lists:append(Rows)))
    end.

declare(Target, #{declared := Declared}, Catalog) ->
    Schema = warp_projection_catalog:schema(live, Catalog),
    case maps:without(warp_projection_schema:tables(Schema), Declared) of
        None when map_size(None) =:= 0 ->
            Catalog;
        Missing ->
            {Changes, New} = warp_projection_schema:declared(Missing),
            Generation = warp_projection_catalog:generation(Catalog),
            Change = warp_projection_sql_own:change_layout(warp_projection_catalog:layout(Catalog)),
            ok = execute(Target, [Change | warp_projection_sql_tables:statements(live, Generation, Changes)]),
            warp_projection_catalog:put_schema(live, warp_projection_schema:merge(Schema, New),
                                               warp_projection_catalog:layout_changed(Catalog))
    end.

read(Target, Sql) ->
    case warp_projection_target:read(Target, Sql, []) of
        {ok, Rows} -> Rows;
        {error, Why} -> throw({failed, Why})
    end.

execute(Target, Statements) ->
    case warp_projection_target:execute(Target, Statements) of
        ok -> ok;
        %% Another node has changed the tables: they are read again.
        {error, {refused, 1, _}} -> throw({failed, {away, out_of_turn}});
        {error, Why} -> throw({failed, Why})
    end.
