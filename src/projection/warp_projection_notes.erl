%% @private What is still to be erased from a projection, noted on disk: `erasures.db' in the
%% context's folder. A note is made before the log is erased, and is itself erased when nothing of
%% its entity is left; so what a crash leaves is known at the next start.
-module(warp_projection_notes).

-export([open/3, was_projected/1, all/1, add/4, remove/2, close/1]).

-type note() :: {Entity :: binary(), Shard :: non_neg_integer(), Incarnation :: non_neg_integer()}.

-define(QUERY, #{max_rows => infinity, timeout => 30000, level => default}).

%% @doc Opens the notes of a context that is projected to that target. `{was_projected,
%% Path}': it was projected to another one, where deletions would not be carried out any more.
-spec open(binary(), embedded | rqlite, warp_nif:access()) -> {ok, warp_nif:projection()} | {error, term()}.
open(Dir, Target, Access) ->
    case warp_nif:projection_open(file(Dir), true, Access) of
        {ok, Notes} ->
            Name = atom_to_binary(Target),
            case prepare(Notes, Name) of
                {ok, [[Name]]} ->
                    {ok, Notes};
                {ok, [[_Other]]} ->
                    ok = close(Notes),
                    {error, {was_projected, file(Dir)}};
                {error, _} = Error ->
                    ok = close(Notes),
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

prepare(Notes, Target) ->
    Statements =
        [{<<"CREATE TABLE IF NOT EXISTS notes (entity TEXT NOT NULL PRIMARY KEY, "
            "shard INTEGER NOT NULL, incarnation INTEGER NOT NULL) WITHOUT ROWID">>, [[]]},
         {<<"CREATE TABLE IF NOT EXISTS target (one INTEGER PRIMARY KEY, name TEXT NOT NULL)">>, [[]]},
         {<<"INSERT INTO target VALUES (1, ?1) ON CONFLICT DO NOTHING">>, [[Target]]}],
    case done(warp_nif:projection_execute(Notes, Statements)) of
        ok ->
            case warp_projection_embedded:query(Notes, <<"SELECT name FROM target">>, [], ?QUERY) of
                {ok, #{rows := Rows}} -> {ok, Rows};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

done(ok) -> ok;
done({error, {away, Why}}) -> {error, Why};
done({error, {refused, _, Message}}) -> {error, {io_error, Message}};
done({error, _} = NotTried) -> NotTried.

file(Dir) -> filename:join(Dir, <<"erasures.db">>).

%% @doc Whether a context that is to have no projection had one: nothing would be erased from it.
-spec was_projected(binary()) -> ok | {error, {was_projected, Path :: binary()} | term()}.
was_projected(Dir) ->
    case warp_nif:exists(file(Dir)) of
        true -> {error, {was_projected, file(Dir)}};
        false -> ok;
        {error, _} = Error -> Error
    end.

-spec all(warp_nif:projection()) -> {ok, [note()]} | {error, term()}.
all(Notes) ->
    Sql = <<"SELECT entity, shard, incarnation FROM notes">>,
    case warp_projection_embedded:query(Notes, Sql, [], ?QUERY) of
        {ok, #{rows := Rows}} -> {ok, [list_to_tuple(Row) || Row <- Rows]};
        {error, _} = Error -> Error
    end.

%% @doc Notes an entity, durably. An older note of it, which is of a life before, is kept.
-spec add(warp_nif:projection(), binary(), non_neg_integer(), non_neg_integer()) ->
    ok | {error, term()}.
add(Notes, Entity, Shard, Incarnation) ->
    Sql = <<"INSERT INTO notes VALUES (?1, ?2, ?3) ON CONFLICT (entity) DO NOTHING">>,
    done(warp_nif:projection_execute(Notes, [{Sql, [[Entity, Shard, Incarnation]]}])).

%% @doc Removes a note, and its bytes.
-spec remove(warp_nif:projection(), binary()) -> ok | {error, term()}.
remove(Notes, Entity) ->
    Sql = <<"DELETE FROM notes WHERE entity = ?1">>,
    case done(warp_nif:projection_execute(Notes, [{Sql, [[Entity]]}])) of
        ok -> warp_nif:projection_tidy(Notes);
        {error, _} = Error -> Error
    end.

-spec close(warp_nif:projection()) -> ok.
close(Notes) ->
    warp_nif:projection_close(Notes).
