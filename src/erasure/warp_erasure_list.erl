%% @private The list of unfinished deletions on disk, `erasures.db' in the context's folder.
%%
%% The process of a deletion notes it with all its steps before it takes the first step, strikes each step out when it
%% is done, and erases the deletion from the file when nothing of the entity is left. So the next start knows what a
%% crash has interrupted.
-module(warp_erasure_list).

-export([path/1, exists/1, open/2, close/1]).
-export([all/1, add/3, done/3, replace/3, remove/2]).
-export([target/1, set_target/2]).

-export_type([open_list/0, step/0, entry/0]).

-opaque open_list() :: warp_own_file:file().
%% The name of a step. Files hold it, so no version of Warp changes it.
-type step() :: binary().
%% The incarnation tells which life of the entity is deleted, and is 0 for an entity without events.
-type entry() :: #{entity := binary(), shard := non_neg_integer(), incarnation := non_neg_integer()}.

%% @doc The path of a context's list.
-spec path(warp_context:context()) -> binary().
path(#{dir := Dir}) ->
    filename:join(Dir, <<"erasures.db">>).

%% @doc Whether a context has a list. The first deletion creates it, or a projection.
-spec exists(warp_context:context()) -> boolean() | {error, term()}.
exists(Context) ->
    warp_nif:exists(path(Context)).

%% @doc Opens the list for the calling process, and creates it if there is none.
-spec open(binary(), warp_nif:access()) -> {ok, open_list()} | {error, term()}.
open(Path, Access) ->
    warp_own_file:open(Path, [
        <<"CREATE TABLE IF NOT EXISTS notes (entity TEXT NOT NULL PRIMARY KEY, "
          "shard INTEGER NOT NULL, incarnation INTEGER NOT NULL) WITHOUT ROWID">>,
        <<"CREATE TABLE IF NOT EXISTS steps (entity TEXT NOT NULL, n INTEGER NOT NULL, "
          "step TEXT NOT NULL, PRIMARY KEY (entity, n)) WITHOUT ROWID">>,
        <<"CREATE TABLE IF NOT EXISTS target (one INTEGER PRIMARY KEY, name TEXT NOT NULL)">>
    ], Access).

%% @doc Closes the list, and waits until its file is closed.
-spec close(open_list()) -> ok.
close(List) ->
    warp_own_file:close(List).

%% @doc All deletions, each with the steps that are left, in order. A deletion without steps was noted by a version
%% that had no steps in the list, and may have been interrupted anywhere.
-spec all(open_list()) -> {ok, [{entry(), [step()]}]} | {error, term()}.
all(List) ->
    Sql = <<"SELECT entity, shard, incarnation, step FROM notes LEFT JOIN steps USING (entity) "
            "ORDER BY entity, n">>,
    case warp_own_file:read(List, Sql, []) of
        {ok, Rows} -> {ok, grouped(Rows)};
        {error, _} = Error -> Error
    end.

grouped([]) ->
    [];
grouped([[Entity, Shard, Incarnation, _] | _] = Rows) ->
    {Own, Others} = lists:splitwith(fun([Of | _]) -> Of =:= Entity end, Rows),
    Entry = #{entity => Entity, shard => Shard, incarnation => Incarnation},
    [{Entry, [Step || [_, _, _, Step] <- Own, is_binary(Step)]} | grouped(Others)].

%% @doc Notes a deletion with its steps. If the list has a deletion of the entity already, of an earlier life, that one
%% stays.
-spec add(open_list(), entry(), [step()]) -> ok | {error, term()}.
add(List, #{entity := Entity, shard := Shard, incarnation := Incarnation}, Steps) ->
    warp_own_file:execute(List, [
        {<<"INSERT INTO steps SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM notes WHERE entity = ?1)">>,
         numbered(Entity, Steps)},
        {<<"INSERT INTO notes VALUES (?1, ?2, ?3) ON CONFLICT (entity) DO NOTHING">>,
         [[Entity, Shard, Incarnation]]}]).

%% @doc Strikes out a step.
-spec done(open_list(), Entity :: binary(), step()) -> ok | {error, term()}.
done(List, Entity, Step) ->
    warp_own_file:execute(List, [{<<"DELETE FROM steps WHERE entity = ?1 AND step = ?2">>, [[Entity, Step]]}]).

%% @doc Replaces the steps of a deletion that are left by others.
-spec replace(open_list(), Entity :: binary(), [step()]) -> ok | {error, term()}.
replace(List, Entity, Steps) ->
    warp_own_file:execute(List, [{<<"DELETE FROM steps WHERE entity = ?1">>, [[Entity]]},
                   {<<"INSERT INTO steps VALUES (?1, ?2, ?3)">>, numbered(Entity, Steps)}]).

%% @doc Removes a deletion from the list, and its bytes from the file.
-spec remove(open_list(), Entity :: binary()) -> ok | {error, term()}.
remove(List, Entity) ->
    Removed = warp_own_file:execute(List, [{<<"DELETE FROM steps WHERE entity = ?1">>, [[Entity]]},
                             {<<"DELETE FROM notes WHERE entity = ?1">>, [[Entity]]}]),
    case Removed of
        ok -> warp_own_file:tidy(List);
        {error, _} = Error -> Error
    end.

%% @doc The target that the context is projected to, `none' if the list has none.
-spec target(open_list()) -> {ok, binary() | none} | {error, term()}.
target(List) ->
    case warp_own_file:read(List, <<"SELECT name FROM target">>, []) of
        {ok, [[Name]]} -> {ok, Name};
        {ok, []} -> {ok, none};
        {error, _} = Error -> Error
    end.

%% @doc Notes the target that the context is projected to, unless the list has one.
-spec set_target(open_list(), binary()) -> ok | {error, term()}.
set_target(List, Name) ->
    warp_own_file:execute(List, [{<<"INSERT INTO target VALUES (1, ?1) ON CONFLICT DO NOTHING">>, [[Name]]}]).

numbered(Entity, Steps) ->
    [[Entity, N, Step] || {N, Step} <- lists:zip(lists:seq(1, length(Steps)), Steps)].
