%% @private The names of subscriptions on disk, `subscriptions.db' in the context's folder: how far each is, which
%% entities were erased and its subscribers not told of yet, and which entities wait because an event of theirs failed.
%%
%% When a function that writes returns `ok', what it wrote is on disk.
-module(warp_subscription_store).

-export([exists/1, open/1, close/1, names/1, create/4, prefix/3, remove/2, save/3]).
-export([erase/2, notices/4]).
-export([hold/3, held/1, release/3]).
-export([rows/2, put_rows/3, gone/1, set_gone/3, clear_gone/1]).

-export_type([store/0, held/0, rows/0]).

-opaque store() :: warp_own_file:file().
%% An entity of which an event failed: that event is the one at `seq', and what comes later waits.
-type held() :: #{
    entity := binary(),
    shard := non_neg_integer(),
    %% The life of the entity, named by the position of its first row.
    life := pos_integer(),
    seq := warp_core:seq(),
    %% How often it failed.
    tries := non_neg_integer(),
    %% `retrying': it is tried again by itself. `parked': when somebody says so. `skipping': it is passed over.
    state := retrying | parked | skipping,
    why := binary(),
    since := warp_core:micros()
}.

%% All that there is of names, as another node stores it.
-type rows() :: [{Table :: binary(), [[term()]]}].

path(#{dir := Dir}) ->
    filename:join(Dir, <<"subscriptions.db">>).

%% @doc Whether a context has the file. The first subscription with a name creates it.
-spec exists(warp_context:context()) -> boolean() | {error, term()}.
exists(Context) ->
    warp_nif:exists(path(Context)).

%% @doc Opens the file for the calling process, and creates it if there is none.
-spec open(warp_context:context()) -> {ok, store()} | {error, term()}.
open(#{file_access := Access} = Context) ->
    warp_own_file:open(path(Context), [
        <<"CREATE TABLE IF NOT EXISTS names (name TEXT NOT NULL PRIMARY KEY, cursor TEXT NOT NULL, "
          "prefix TEXT NOT NULL) WITHOUT ROWID">>,
        <<"CREATE TABLE IF NOT EXISTS notices (name TEXT NOT NULL, entity TEXT NOT NULL, shard INTEGER NOT NULL, "
          "life INTEGER NOT NULL, PRIMARY KEY (name, entity)) WITHOUT ROWID">>,
        <<"CREATE TABLE IF NOT EXISTS held (name TEXT NOT NULL, entity TEXT NOT NULL, shard INTEGER NOT NULL, "
          "life INTEGER NOT NULL, seq INTEGER NOT NULL, tries INTEGER NOT NULL, state TEXT NOT NULL, "
          "why TEXT NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (name, entity)) WITHOUT ROWID">>,
        <<"CREATE TABLE IF NOT EXISTS gone (shard INTEGER PRIMARY KEY)">>
    ], Access).

%% @doc Closes the file.
-spec close(store()) -> ok.
close(Store) ->
    warp_own_file:close(Store).

%% @doc All names, each with its cursor, and what the ids of the entities begin with that its subscriber asked for last.
-spec names(store()) ->
    {ok, [{Name :: binary(), warp_subscription_cursor:cursor(), Prefix :: binary()}]} | {error, term()}.
names(Store) ->
    case warp_own_file:read(Store, <<"SELECT name, cursor, prefix FROM names ORDER BY name">>, []) of
        {ok, Rows} -> {ok, [{Name, Cursor, binary:decode_hex(Prefix)} || [Name, Cursor, Prefix] <- Rows]};
        {error, _} = Error -> Error
    end.

%% @doc Adds a name.
-spec create(store(), Name :: binary(), warp_subscription_cursor:cursor(), Prefix :: binary()) -> ok | {error, term()}.
create(Store, Name, Cursor, Prefix) ->
    warp_own_file:execute(Store, [{<<"INSERT INTO names VALUES (?1, ?2, ?3)">>,
                                   [[Name, Cursor, binary:encode_hex(Prefix)]]}]).

%% @doc Changes what the ids of the entities begin with.
-spec prefix(store(), Name :: binary(), Prefix :: binary()) -> ok | {error, term()}.
prefix(Store, Name, Prefix) ->
    warp_own_file:execute(Store, [{<<"UPDATE names SET prefix = ?2 WHERE name = ?1">>,
                                   [[Name, binary:encode_hex(Prefix)]]}]).

%% @doc Removes names and everything that belongs to them.
-spec remove(store(), Names :: [binary()]) -> ok | {error, term()}.
remove(Store, Names) ->
    tidied(warp_own_file:execute(Store, removed(Names)), Store).

removed(Names) ->
    [{<<"DELETE FROM ", Table/binary, " WHERE name = ?1">>, [[Name] || Name <- Names]} || Table <- tables()].

tables() -> [<<"notices">>, <<"held">>, <<"names">>].

%% @doc Writes how far names are, and of which erased lives of entities subscribers were told.
-spec save(store(), [{Name :: binary(), warp_subscription_cursor:cursor()}],
           Told :: [{Name :: binary(), Entity :: binary(), Life :: non_neg_integer()}]) -> ok | {error, term()}.
save(Store, Cursors, Told) ->
    Saved = warp_own_file:execute(Store, [
        {<<"UPDATE names SET cursor = ?2 WHERE name = ?1">>, [[Name, Cursor] || {Name, Cursor} <- Cursors]},
        {<<"DELETE FROM notices WHERE name = ?1 AND entity = ?2 AND life <= ?3">>,
         [[Name, Entity, Life] || {Name, Entity, Life} <- Told]}]),
    case Told of
        [] -> Saved;
        _ -> tidied(Saved, Store)
    end.

%% ------------------------------------------------------------------ Deletions

%% @doc Erases what there is of entities, of which these lives were deleted, and notes that these names have to be told.
-spec erase(store(), [{Entity :: binary(), N :: non_neg_integer(), Life :: non_neg_integer(), Names :: [binary()]}]) ->
    ok | {error, term()}.
erase(Store, Erased) ->
    tidied(warp_own_file:execute(Store, [
        {<<"DELETE FROM held WHERE entity = ?1 AND life <= ?2">>, [[Entity, Life] || {Entity, _, Life, _} <- Erased]},
        {<<"INSERT INTO notices VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET life = max(life, excluded.life)">>,
         [[Name, Entity, N, Life] || {Entity, N, Life, Names} <- Erased, Name <- Names]}]), Store).

%% @doc Entities that were erased, of which a name was not told yet, with the life that was erased last: so many at
%% most, behind one in the order of ids.
-spec notices(store(), Name :: binary(), After :: binary(), Limit :: pos_integer()) ->
    {ok, [{Entity :: binary(), N :: non_neg_integer(), Life :: non_neg_integer()}]} | {error, term()}.
notices(Store, Name, After, Limit) ->
    Sql = <<"SELECT entity, shard, life FROM notices WHERE name = ?1 AND entity > ?2 ORDER BY entity LIMIT ?3">>,
    case warp_own_file:read(Store, Sql, [Name, After, Limit]) of
        {ok, Rows} -> {ok, [{Entity, N, Life} || [Entity, N, Life] <- Rows]};
        {error, _} = Error -> Error
    end.

%% ------------------------------------------------------------------ Entities that wait

%% @doc Notes that an entity waits, or how. `erased': it was erased, and the name is not told of that yet.
-spec hold(store(), Name :: binary(), held()) -> ok | {error, erased | term()}.
hold(Store, Name, #{entity := Entity} = Held) ->
    case warp_own_file:read(Store, <<"SELECT 1 FROM notices WHERE name = ?1 AND entity = ?2">>, [Name, Entity]) of
        {ok, []} -> held(Store, Name, Held);
        {ok, [_]} -> {error, erased};
        {error, _} = Error -> Error
    end.

held(Store, Name, #{entity := Entity, shard := N, life := Life, seq := Seq, tries := Tries, state := State, why := Why,
                    since := Since}) ->
    warp_own_file:execute(Store, [{<<"INSERT OR REPLACE INTO held VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)">>,
                     [[Name, Entity, N, Life, Seq, Tries, atom_to_binary(State), Why, Since]]}]).

%% @doc All entities that wait, each with the name that it waits for.
-spec held(store()) -> {ok, [{Name :: binary(), held()}]} | {error, term()}.
held(Store) ->
    Sql = <<"SELECT name, entity, shard, life, seq, tries, state, why, since FROM held">>,
    case warp_own_file:read(Store, Sql, []) of
        {ok, Rows} -> {ok, [row(Row) || Row <- Rows]};
        {error, _} = Error -> Error
    end.

row([Name, Entity, N, Life, Seq, Tries, State, Why, Since]) ->
    {Name, #{entity => Entity, shard => N, life => Life, seq => Seq, tries => Tries, state => state(State), why => Why,
             since => Since}}.

state(<<"retrying">>) -> retrying;
state(<<"skipping">>) -> skipping;
state(_) -> parked.

%% @doc An entity does not wait any more.
-spec release(store(), Name :: binary(), Entity :: binary()) -> ok | {error, term()}.
release(Store, Name, Entity) ->
    warp_own_file:execute(Store, [{<<"DELETE FROM held WHERE name = ?1 AND entity = ?2">>, [[Name, Entity]]}]).

%% ------------------------------------------------------------------ When a shard moves

%% @doc All that there is of these names.
-spec rows(store(), Names :: [binary()]) -> {ok, rows()} | {error, term()}.
rows(Store, Names) ->
    Read = [{Table, [warp_own_file:read(Store, <<"SELECT * FROM ", Table/binary, " WHERE name = ?1">>, [Name])
                     || Name <- Names]} || Table <- tables()],
    case [Error || {_, Results} <- Read, {error, _} = Error <- Results] of
        [] -> {ok, [{Table, lists:append([Rows || {ok, Rows} <- Results])} || {Table, Results} <- Read]};
        [Error | _] -> Error
    end.

%% @doc Writes what another node had of names, in place of all that there is of these others.
-spec put_rows(store(), Names :: [binary()], rows()) -> ok | {error, term()}.
put_rows(Store, Names, Given) ->
    warp_own_file:execute(Store, removed(Names) ++ [
        {<<"INSERT INTO ", Table/binary, " VALUES (", (places(Rows))/binary, ")">>, Rows}
        || Table <- tables(), {Of, [_ | _] = Rows} <- Given, Of =:= Table]).

places([Row | _]) ->
    list_to_binary(lists:join(", ", ["?" ++ integer_to_list(N) || N <- lists:seq(1, length(Row))])).

%% @doc The shards that were given away with names while a deletion was under way here.
-spec gone(store()) -> {ok, [non_neg_integer()]} | {error, term()}.
gone(Store) ->
    case warp_own_file:read(Store, <<"SELECT shard FROM gone">>, []) of
        {ok, Rows} -> {ok, lists:append(Rows)};
        {error, _} = Error -> Error
    end.

%% @doc Notes that a shard was given away with these names, which are removed.
-spec set_gone(store(), non_neg_integer(), Names :: [binary()]) -> ok | {error, term()}.
set_gone(Store, N, Names) ->
    Gone = {<<"INSERT OR REPLACE INTO gone VALUES (?1)">>, [[N]]},
    tidied(warp_own_file:execute(Store, [Gone | removed(Names)]), Store).

%% @doc No deletion is under way any more.
-spec clear_gone(store()) -> ok | {error, term()}.
clear_gone(Store) ->
    warp_own_file:execute(Store, [{<<"DELETE FROM gone">>, [[]]}]).

%% ------------------------------------------------------------------

tidied(ok, Store) -> warp_own_file:tidy(Store);
tidied({error, _} = Error, _Store) -> Error.
