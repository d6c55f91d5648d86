%% @private The list of unfinished deletions on disk, `erasures.db' in the context's folder.
%%
%% The process of a deletion notes it with all its steps before it takes the first step, strikes each step out when it
%% is done, and erases the deletion from the file when nothing of the entity is left. So the next start knows what a
%% crash has interrupted.
%%
%% What is left on other nodes of a cluster stands in a table of its own: it may take days, and several lives of an
%% entity can be deleted meanwhile. The list of the node that has the entity's shard has it, and moves with the shard.
-module(warp_erasure_list).

-export([path/1, exists/1, open/2, close/1]).
-export([all/1, add/3, add/4, done/3, done/4, replace/3, remove/2]).
-export([elsewhere/1, erased/4, add_elsewhere/2, noted/2, drop/2, kept/2]).
-export([give/2, take/3, adopt/4, given/2, taken/1]).
-export([target/1, set_target/2]).

-export_type([open_list/0, step/0, entry/0, elsewhere/0]).

-opaque open_list() :: warp_own_file:file().
%% The name of a step. Files hold it, so no version of Warp changes it.
-type step() :: binary().
%% The incarnation tells which life of the entity is deleted, and is 0 for an entity without events.
-type entry() :: #{entity := binary(), shard := non_neg_integer(), incarnation := non_neg_integer()}.

%% What is left of a deletion on another node.
-type elsewhere() :: #{
    %% A random number that tells one deletion from others.
    deletion := binary(),
    %% `node:NAME': that node's part; or a step of a component, such as `sagas:...'.
    step := step(),
    entity := binary(),
    shard := non_neg_integer(),
    incarnation := non_neg_integer(),
    %% `open': the log may still be there. `erased'. `kept': the deletion failed, and the other node forgets it.
    state := open | erased | kept,
    %% Whether that node has refused its sagas under way all that they do to the entity, and cleared them.
    noted := boolean()
}.

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
        <<"CREATE TABLE IF NOT EXISTS target (one INTEGER PRIMARY KEY, name TEXT NOT NULL)">>,
        <<"CREATE TABLE IF NOT EXISTS elsewhere (n INTEGER PRIMARY KEY, deletion TEXT NOT NULL, step TEXT NOT NULL, "
          "entity TEXT NOT NULL, shard INTEGER NOT NULL, incarnation INTEGER NOT NULL, state TEXT NOT NULL, "
          "noted INTEGER NOT NULL, UNIQUE (deletion, step))">>,
        <<"CREATE TABLE IF NOT EXISTS taken (shard INTEGER PRIMARY KEY, given TEXT NOT NULL)">>
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
add(List, Entry, Steps) -> add(List, Entry, Steps, []).

%% @doc Likewise, with what is to be done on other nodes.
-spec add(open_list(), entry(), [step()], [elsewhere()]) -> ok | {error, term()}.
add(List, Entry, Steps, Elsewhere) ->
    warp_own_file:execute(List, adding(Entry, Steps) ++ added(Elsewhere)).

adding(#{entity := Entity, shard := Shard, incarnation := Incarnation}, Steps) ->
    [{<<"INSERT INTO steps SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM notes WHERE entity = ?1)">>,
      numbered(Entity, Steps)},
     {<<"INSERT INTO notes VALUES (?1, ?2, ?3) ON CONFLICT (entity) DO NOTHING">>,
      [[Entity, Shard, Incarnation]]}].

added(Elsewhere) ->
    [{<<"INSERT INTO elsewhere (deletion, step, entity, shard, incarnation, state, noted) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING">>,
      [[Deletion, Step, Entity, N, Incarnation, atom_to_binary(State), integer(Noted)]
       || #{deletion := Deletion, step := Step, entity := Entity, shard := N, incarnation := Incarnation,
            state := State, noted := Noted} <- Elsewhere]}].

integer(true) -> 1;
integer(false) -> 0.

%% @doc Strikes out a step.
-spec done(open_list(), Entity :: binary(), step()) -> ok | {error, term()}.
done(List, Entity, Step) -> done(List, Entity, Step, []).

%% @doc Strikes out a step, and notes what it has left to do on other nodes.
-spec done(open_list(), Entity :: binary(), step(), [elsewhere()]) -> ok | {error, term()}.
done(List, Entity, Step, Elsewhere) ->
    warp_own_file:execute(List, [striking(Entity, [Step]) | added(Elsewhere)]).

striking(Entity, Steps) ->
    {<<"DELETE FROM steps WHERE entity = ?1 AND step = ?2">>, [[Entity, Step] || Step <- Steps]}.

%% @doc Replaces the steps of a deletion that are left by others.
-spec replace(open_list(), Entity :: binary(), [step()]) -> ok | {error, term()}.
replace(List, Entity, Steps) ->
    warp_own_file:execute(List, [{<<"DELETE FROM steps WHERE entity = ?1">>, [[Entity]]},
                   {<<"INSERT INTO steps VALUES (?1, ?2, ?3)">>, numbered(Entity, Steps)}]).

%% @doc Removes a deletion from the list, and its bytes from the file.
-spec remove(open_list(), Entity :: binary()) -> ok | {error, term()}.
remove(List, Entity) ->
    tidied(List, warp_own_file:execute(List, removing(Entity))).

removing(Entity) ->
    [{<<"DELETE FROM steps WHERE entity = ?1">>, [[Entity]]}, {<<"DELETE FROM notes WHERE entity = ?1">>, [[Entity]]}].

tidied(List, ok) -> warp_own_file:tidy(List);
tidied(_List, {error, _} = Error) -> Error.

%% @doc All that is left on other nodes, in the order in which it was noted.
-spec elsewhere(open_list()) -> {ok, [elsewhere()]} | {error, term()}.
elsewhere(List) -> elsewhere(List, <<"1 = 1">>, []).

elsewhere(List, Where, Params) ->
    Sql = <<"SELECT deletion, step, entity, shard, incarnation, state, noted FROM elsewhere WHERE ", Where/binary,
            " ORDER BY n">>,
    case warp_own_file:read(List, Sql, Params) of
        {ok, Rows} ->
            {ok, [#{deletion => Deletion, step => Step, entity => Entity, shard => N, incarnation => Incarnation,
                    state => state(State), noted => Noted =:= 1}
                  || [Deletion, Step, Entity, N, Incarnation, State, Noted] <- Rows]};
        {error, _} = Error ->
            Error
    end.

state(<<"open">>) -> open;
state(<<"erased">>) -> erased;
state(<<"kept">>) -> kept.

%% @doc The log is erased: strikes out these steps, and notes how what is to be done on other nodes is now. What the
%% list does not have yet it gets.
-spec erased(open_list(), Entity :: binary(), [step()], [elsewhere()]) -> ok | {error, term()}.
erased(List, Entity, Steps, Elsewhere) ->
    warp_own_file:execute(List, [striking(Entity, Steps) | added(Elsewhere)] ++ changed(Elsewhere)).

changed(Elsewhere) ->
    [{<<"UPDATE elsewhere SET state = ?3, noted = max(noted, ?4) WHERE deletion = ?1 AND step = ?2">>,
      [[Deletion, Step, atom_to_binary(State), integer(Noted)]
       || #{deletion := Deletion, step := Step, state := State, noted := Noted} <- Elsewhere]}].

%% @doc Notes more that is to be done on other nodes.
-spec add_elsewhere(open_list(), [elsewhere()]) -> ok | {error, term()}.
add_elsewhere(List, Elsewhere) -> warp_own_file:execute(List, added(Elsewhere)).

%% @doc Notes that nodes have refused and cleared their sagas.
-spec noted(open_list(), [elsewhere()]) -> ok | {error, term()}.
noted(List, Elsewhere) ->
    warp_own_file:execute(List, [{<<"UPDATE elsewhere SET noted = 1 WHERE deletion = ?1 AND step = ?2">>,
                                  [[Deletion, Step] || #{deletion := Deletion, step := Step} <- Elsewhere]}]).

%% @doc Removes what is done on other nodes, and its bytes from the file.
-spec drop(open_list(), [elsewhere()]) -> ok | {error, term()}.
drop(List, Elsewhere) ->
    tidied(List, warp_own_file:execute(List, [
        {<<"DELETE FROM elsewhere WHERE deletion = ?1 AND step = ?2">>,
         [[Deletion, Step] || #{deletion := Deletion, step := Step} <- Elsewhere]}])).

%% @doc The entity is kept, and the other nodes are to forget its deletion: removes that, and what else there was to do.
-spec kept(open_list(), Entity :: binary()) -> ok | {error, term()}.
kept(List, Entity) ->
    tidied(List, warp_own_file:execute(List, [
        {<<"DELETE FROM elsewhere WHERE entity = ?1 AND state = 'open' AND substr(step, 1, 5) <> 'node:'">>,
         [[Entity]]},
        {<<"UPDATE elsewhere SET state = 'kept' WHERE entity = ?1 AND state = 'open'">>, [[Entity]]}
        | removing(Entity)])).

%% @doc All that the list has of shard N.
-spec give(open_list(), non_neg_integer()) -> {ok, {[{entry(), [step()]}], [elsewhere()]}} | {error, term()}.
give(List, N) ->
    case {all(List), elsewhere(List, <<"shard = ?1">>, [N])} of
        {{ok, All}, {ok, Elsewhere}} -> {ok, {[Of || {#{shard := At}, _} = Of <- All, At =:= N], Elsewhere}};
        {{error, _} = Error, _} -> Error;
        {_, {error, _} = Error} -> Error
    end.

%% @doc Keeps what another node gave with shard N, until {@link adopt/4}.
-spec take(open_list(), non_neg_integer(), Given :: term()) -> ok | {error, term()}.
take(List, N, Given) ->
    warp_own_file:execute(List, [{<<"INSERT OR REPLACE INTO taken VALUES (?1, ?2)">>,
                                  [[N, base64:encode(warp_term:to_bytes(Given))]]}]).

%% @doc What was given with shards that are not here yet, by shard.
-spec taken(open_list()) -> {ok, #{non_neg_integer() => term()}} | {error, term()}.
taken(List) ->
    case warp_own_file:read(List, <<"SELECT shard, given FROM taken">>, []) of
        {ok, Rows} ->
            {ok, maps:from_list([{N, binary_to_term(base64:decode(Given), [safe])} || [N, Given] <- Rows])};
        {error, _} = Error ->
            Error
    end.

%% @doc Shard N is here: puts what was given with it, in that form, into the list.
-spec adopt(open_list(), non_neg_integer(), [{entry(), [step()]}], [elsewhere()]) -> ok | {error, term()}.
adopt(List, N, Entries, Elsewhere) ->
    warp_own_file:execute(List, removing_shard(N) ++ lists:append([adding(Entry, Steps) || {Entry, Steps} <- Entries])
                                ++ added(Elsewhere)).

%% @doc Shard N is another node's: removes all that the list has of it.
-spec given(open_list(), non_neg_integer()) -> ok | {error, term()}.
given(List, N) ->
    tidied(List, warp_own_file:execute(List, removing_shard(N))).

removing_shard(N) ->
    [{Sql, [[N]]} || Sql <- [<<"DELETE FROM steps WHERE entity IN (SELECT entity FROM notes WHERE shard = ?1)">>,
                             <<"DELETE FROM notes WHERE shard = ?1">>,
                             <<"DELETE FROM elsewhere WHERE shard = ?1">>,
                             <<"DELETE FROM taken WHERE shard = ?1">>]].

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
