%% @private What is known of the content of a target: which generation of tables is queried, which tables and
%% columns there are, and where the checkpoint of each shard stands. Pure; the projection's writer keeps it.
%%
%% A checkpoint has a turn, which each transaction of the shard moves on by one, and a mark, which tells
%% whose transaction that was.
-module(warp_projection_catalog).

-export([new/5, generation/1, version/1, rebuild/1, is_building/1, layout/1, layout_changed/1]).
-export([set/2, sets/1, schema/2, put_schema/3, tables/1]).
-export([checkpoint/3, move/4, turn/2]).
-export([epoch/2, claim/3, erasures/2, erased/2]).

-export_type([catalog/0, checkpoint/0]).

-type key() :: {warp_projection_schema:set(), Shard :: non_neg_integer()}.
-type checkpoint() :: #{
    turn := non_neg_integer(),
    mark := non_neg_integer(),
    position := non_neg_integer(),
    %% The run of the shard's writer that wrote the row at that position.
    run := unknown | non_neg_integer(),
    %% How many events were projected.
    events := non_neg_integer()
}.

-record(catalog, {
    %% What stands in `_warp_meta', by name.
    meta :: #{binary() => term()},
    schemas :: #{warp_projection_schema:set() => warp_projection_schema:schema()},
    checkpoints :: #{key() => checkpoint()},
    %% Of each shard the highest epoch of those that have written, and how many transactions have erased entities.
    writers :: #{Shard :: non_neg_integer() => {Epoch :: non_neg_integer(), Erasures :: non_neg_integer()}}
}).

-opaque catalog() :: #catalog{}.

%% @doc From the rows of Warp's own tables.
-spec new(Meta :: #{binary() => term()}, Checkpoints :: [[integer()]], Runs :: [[integer()]], Writers :: [[integer()]],
          Columns :: #{warp_projection_schema:set() => [[term()]]}) -> catalog().
new(Meta, Checkpoints, Runs, Writers, Columns) ->
    RunOf = maps:from_list([{{Building, Shard}, Run} || [Building, Shard, Run] <- Runs]),
    #catalog{
        meta = Meta,
        writers = maps:from_list([{Shard, {Epoch, Erasures}} || [Shard, Epoch, Erasures] <- Writers]),
        schemas = maps:map(fun(_, Rows) -> warp_projection_schema:from_rows(Rows) end, Columns),
        checkpoints = maps:from_list(
            [{{built(Building), Shard},
              #{position => Position, turn => Turn, mark => Mark, events => Events,
                run => maps:get({Building, Shard}, RunOf, unknown)}}
             || [Building, Shard, Position, Turn, Mark, Events] <- Checkpoints])}.

built(0) -> live;
built(1) -> building.

%% @doc The generation of the tables that are queried.
-spec generation(catalog()) -> pos_integer().
generation(Catalog) -> meta(<<"generation">>, Catalog).

%% @doc Which version of the aggregates made the tables that are queried, and those of a rebuild.
-spec version(catalog()) -> #{warp_projection_schema:set() => binary()}.
version(Catalog) ->
    #{live => meta(<<"version">>, Catalog), building => meta(<<"building_version">>, Catalog)}.

-spec rebuild(catalog()) -> none | running | cancelled.
rebuild(Catalog) ->
    case meta(<<"rebuild">>, Catalog) of
        <<"none">> -> none;
        <<"running">> -> running;
        <<"cancelled">> -> cancelled
    end.

%% @doc Whether there are tables of a rebuild.
-spec is_building(catalog()) -> boolean().
is_building(#catalog{checkpoints = Checkpoints}) -> is_map_key({building, 0}, Checkpoints).

%% @doc How often tables were changed.
-spec layout(catalog()) -> pos_integer().
layout(Catalog) -> meta(<<"layout">>, Catalog).

%% @doc The catalog after a transaction that changes tables.
-spec layout_changed(catalog()) -> catalog().
layout_changed(#catalog{meta = Meta} = Catalog) ->
    Catalog#catalog{meta = Meta#{<<"layout">> := layout(Catalog) + 1}}.

meta(Name, #catalog{meta = Meta}) -> maps:get(Name, Meta).

%% ------------------------------------------------------------------ Tables

%% @doc The set of tables that a generation fills.
-spec set(pos_integer(), catalog()) -> {ok, warp_projection_schema:set()} | stale.
set(Generation, Catalog) ->
    case generation(Catalog) of
        Generation -> {ok, live};
        Live when Live + 1 =:= Generation ->
            case is_building(Catalog) of
                true -> {ok, building};
                false -> stale
            end;
        _ -> stale
    end.

%% @doc The sets of tables that there are.
-spec sets(catalog()) -> [warp_projection_schema:set()].
sets(Catalog) -> [live | [building || is_building(Catalog)]].

-spec schema(warp_projection_schema:set(), catalog()) -> warp_projection_schema:schema().
schema(Set, #catalog{schemas = Schemas}) -> maps:get(Set, Schemas).

-spec put_schema(warp_projection_schema:set(), warp_projection_schema:schema(), catalog()) -> catalog().
put_schema(Set, Schema, #catalog{schemas = Schemas} = Catalog) ->
    Catalog#catalog{schemas = Schemas#{Set := Schema}}.

%% @doc The tables that are queried.
-spec tables(catalog()) -> [binary()].
tables(Catalog) -> warp_projection_schema:tables(schema(live, Catalog)).

%% ------------------------------------------------------------------ Checkpoints

-spec checkpoint(warp_projection_schema:set(), Shard :: non_neg_integer(), catalog()) -> {ok, checkpoint()} | none.
checkpoint(Set, Shard, #catalog{checkpoints = Checkpoints}) ->
    case Checkpoints of
        #{{Set, Shard} := Checkpoint} -> {ok, Checkpoint};
        #{} -> none
    end.

-spec move(warp_projection_schema:set(), Shard :: non_neg_integer(), checkpoint(), catalog()) -> catalog().
move(Set, Shard, Checkpoint, #catalog{checkpoints = Checkpoints} = Catalog) ->
    Catalog#catalog{checkpoints = Checkpoints#{{Set, Shard} := Checkpoint}}.

%% @doc What has become of a batch: it is the next one of its shard, or it was `written', or the checkpoint
%% stands elsewhere, or a later owner of the shard has written (`stale').
-spec turn(warp_projection_batch:batch(), catalog()) -> next | written | stale.
turn(#{generation := Generation, shard := Shard, epoch := Epoch, turn := Turn, mark := Mark}, Catalog) ->
    IsOld = Epoch < epoch(Shard, Catalog),
    case set(Generation, Catalog) of
        {ok, Set} ->
            case checkpoint(Set, Shard, Catalog) of
                {ok, #{turn := After, mark := Mark}} when After =:= Turn + 1 -> written;
                {ok, #{turn := Turn}} when not IsOld -> next;
                _ -> stale
            end;
        stale ->
            stale
    end.

%% ------------------------------------------------------------------ Who writes

%% @doc The highest epoch of those that have written of a shard.
-spec epoch(Shard :: non_neg_integer(), catalog()) -> non_neg_integer().
epoch(Shard, #catalog{writers = Writers}) -> element(1, maps:get(Shard, Writers)).

-spec claim(Shard :: non_neg_integer(), Epoch :: non_neg_integer(), catalog()) -> catalog().
claim(Shard, Epoch, #catalog{writers = Writers} = Catalog) ->
    #{Shard := {_, Erasures}} = Writers,
    Catalog#catalog{writers = Writers#{Shard := {Epoch, Erasures}}}.

%% @doc How many transactions have erased entities of a shard.
-spec erasures(Shard :: non_neg_integer(), catalog()) -> non_neg_integer().
erasures(Shard, #catalog{writers = Writers}) -> element(2, maps:get(Shard, Writers)).

%% @doc The catalog after one more of them, in these shards at these epochs.
-spec erased([{Shard :: non_neg_integer(), Epoch :: non_neg_integer()}], catalog()) -> catalog().
erased(Shards, #catalog{writers = Writers} = Catalog) ->
    Catalog#catalog{writers = lists:foldl(
        fun({Shard, Epoch}, Acc) -> Acc#{Shard := {Epoch, erasures(Shard, Catalog) + 1}} end, Writers, Shards)}.
