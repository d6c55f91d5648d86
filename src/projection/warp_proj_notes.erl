%% @private What is still to be erased from a projection, noted on disk: `erasures.db' in the
%% context's folder. A note is made before the log is erased, and is itself erased when nothing of
%% its entity is left; so what a crash leaves is known at the next start.
-module(warp_proj_notes).

-export([open/1, all/1, add/4, remove/2, close/1]).

-type note() :: {Entity :: binary(), Shard :: non_neg_integer(), Incarnation :: non_neg_integer()}.

-define(QUERY, #{max_rows => infinity, timeout => 30000, level => default}).

-spec open(binary()) -> {ok, warp_nif:projection()} | {error, term()}.
open(Dir) ->
    case warp_nif:projection_open(filename:join(Dir, <<"erasures.db">>), true) of
        {ok, Notes} ->
            Create = <<"CREATE TABLE IF NOT EXISTS notes (entity TEXT NOT NULL PRIMARY KEY, "
                       "shard INTEGER NOT NULL, incarnation INTEGER NOT NULL) WITHOUT ROWID">>,
            case warp_nif:projection_execute(Notes, [{Create, [[]]}]) of
                ok -> {ok, Notes};
                {error, {_, Why}} -> {error, Why};
                {error, {refused, _, Message}} -> {error, {corrupt, Message}}
            end;
        {error, _} = Error ->
            Error
    end.

-spec all(warp_nif:projection()) -> {ok, [note()]} | {error, term()}.
all(Notes) ->
    Sql = <<"SELECT entity, shard, incarnation FROM notes">>,
    case warp_proj_embedded:query(Notes, Sql, [], ?QUERY) of
        {ok, #{rows := Rows}} -> {ok, [list_to_tuple(Row) || Row <- Rows]};
        {error, _} = Error -> Error
    end.

%% @doc Notes an entity, durably. An older note of it, which is of a life before, is kept.
-spec add(warp_nif:projection(), binary(), non_neg_integer(), non_neg_integer()) ->
    ok | {error, term()}.
add(Notes, Entity, Shard, Incarnation) ->
    Sql = <<"INSERT INTO notes VALUES (?1, ?2, ?3) ON CONFLICT (entity) DO NOTHING">>,
    case warp_nif:projection_execute(Notes, [{Sql, [[Entity, Shard, Incarnation]]}]) of
        ok -> ok;
        {error, {away, Why}} -> {error, Why};
        {error, {refused, _, Message}} -> {error, {io_error, Message}}
    end.

%% @doc Removes a note, and its bytes.
-spec remove(warp_nif:projection(), binary()) -> ok | {error, term()}.
remove(Notes, Entity) ->
    Sql = <<"DELETE FROM notes WHERE entity = ?1">>,
    case warp_nif:projection_execute(Notes, [{Sql, [[Entity]]}]) of
        ok -> warp_nif:projection_tidy(Notes);
        {error, {away, Why}} -> {error, Why};
        {error, {refused, _, Message}} -> {error, {io_error, Message}}
    end.

-spec close(warp_nif:projection()) -> ok.
close(Notes) ->
    warp_nif:projection_close(Notes).
