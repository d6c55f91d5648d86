%% @private What a node of a cluster knows on disk, `cluster.db' in the context's folder: who it is, the members, and
%% for each shard whether the node owns it.
%%
%% When a function that writes returns `ok', what it wrote is on disk.
-module(warp_cluster_store).

-export([is_members/1, open/1, close/1, load/1, set_self/2, put_members/2, put_records/2, put_owners/2]).

-export_type([store/0, self/0, member/0, loaded/0]).

-opaque store() :: warp_own_file:file().
%% Who this node is.
-type self() :: #{
    %% The cluster's random number; `none' until the node has joined one.
    cluster := binary() | none,
    %% The member's own random number.
    member := binary(),
    %% How often the member was started.
    incarnation := pos_integer(),
    node := node(),
    %% The forgetting of a member that this node has said yes to last: {@link warp_cluster_forget}.
    promised := warp_cluster_forget:ballot(),
    %% Which file `lock' of the folder is: a copy of the folder has another one.
    folder := binary()
}.
-type member() :: #{
    node := node(),
    member := binary(),
    incarnation := non_neg_integer(),
    %% A random number of the start with that incarnation: a copy of the folder that is started has another one.
    start := binary(),
    state := up | leaving | left | forgetting | forgotten,
    %% Of two things that are said of a member the one with the higher version holds.
    version := pos_integer()
}.
%% `owners' are those that this node has heard of last, of shards that are not its own.
-type loaded() :: #{
    self := self() | none,
    members := [member()],
    records := #{non_neg_integer() => warp_cluster_record:record()},
    owners := warp_cluster_view:owners()
}.

path(#{dir := Dir}) ->
    filename:join(Dir, <<"cluster.db">>).

%% @doc Whether a folder is that of a member of a cluster, or of one that was. The file of a node that has only waited
%% for its cluster is removed.
-spec is_members(#{dir := binary(), file_access := warp_nif:access(), atom() => term()}) ->
    boolean() | {error, term()}.
is_members(#{dir := Dir} = Context) ->
    case warp_nif:exists(path(Context)) andalso loaded(Context) of
        {ok, #{self := Self, members := [], records := Records}}
          when map_size(Records) =:= 0, Self =:= none orelse map_get(cluster, Self) =:= none ->
            _ = warp_nif:delete_files(Dir, <<"cluster.db">>),
            false;
        {ok, _} -> true;
        Other -> Other
    end.

loaded(Context) ->
    case open(Context) of
        {ok, Store} ->
            Loaded = load(Store),
            ok = close(Store),
            Loaded;
        {error, _} = Error ->
            Error
    end.

%% @doc Opens the file for the calling process, and creates it if there is none.
-spec open(warp_context:context()) -> {ok, store()} | {error, term()}.
open(#{file_access := Access} = Context) ->
    warp_own_file:open(path(Context), [
        <<"CREATE TABLE IF NOT EXISTS self (one INTEGER PRIMARY KEY, cluster TEXT, member TEXT NOT NULL, "
          "incarnation INTEGER NOT NULL, node TEXT NOT NULL, folder TEXT NOT NULL, generation INTEGER NOT NULL, "
          "ballot TEXT NOT NULL)">>,
        <<"CREATE TABLE IF NOT EXISTS members (node TEXT NOT NULL PRIMARY KEY, member TEXT NOT NULL, "
          "incarnation INTEGER NOT NULL, start TEXT NOT NULL, state TEXT NOT NULL, version INTEGER NOT NULL) "
          "WITHOUT ROWID">>,
        <<"CREATE TABLE IF NOT EXISTS held (shard INTEGER PRIMARY KEY, state TEXT NOT NULL, epoch INTEGER NOT NULL, "
          "node TEXT NOT NULL, attempt TEXT NOT NULL, digest TEXT NOT NULL)">>,
        <<"CREATE TABLE IF NOT EXISTS staged (shard INTEGER PRIMARY KEY, state TEXT NOT NULL, epoch INTEGER NOT NULL, "
          "node TEXT NOT NULL, attempt TEXT NOT NULL, digest TEXT NOT NULL)">>,
        <<"CREATE TABLE IF NOT EXISTS owners (shard INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, node TEXT NOT NULL)">>
    ], Access).

%% @doc Closes the file.
-spec close(store()) -> ok.
close(Store) ->
    warp_own_file:close(Store).

%% @doc All that the file has. Makes atoms of the names of nodes in it.
-spec load(store()) -> {ok, loaded()} | {error, term()}.
load(Store) ->
    Read = [warp_own_file:read(Store, Sql, [])
            || Sql <- [<<"SELECT cluster, member, incarnation, node, folder, generation, ballot FROM self">>,
                       <<"SELECT node, member, incarnation, start, state, version FROM members ORDER BY node">>,
                       <<"SELECT shard, state, epoch, node, attempt, digest FROM held">>,
                       <<"SELECT shard, state, epoch, node, attempt, digest FROM staged">>,
                       <<"SELECT shard, epoch, node FROM owners">>]],
    case Read of
        [{ok, Self}, {ok, Members}, {ok, Held}, {ok, Staged}, {ok, Owners}] ->
            {ok, #{self => self_of(Self),
                   members => lists:map(fun member/1, Members),
                   records => records(maps:from_list(lists:map(fun held/1, Held)),
                                      maps:from_list(lists:map(fun staged/1, Staged))),
                   owners => maps:from_list([{N, {Epoch, binary_to_atom(Node)}} || [N, Epoch, Node] <- Owners])}};
        _ ->
            [Error | _] = [Error || {error, _} = Error <- Read],
            Error
    end.

self_of([]) ->
    none;
self_of([[Cluster, Member, Incarnation, Node, Folder, Generation, Ballot]]) ->
    Known = case Cluster of null -> none; _ -> Cluster end,
    #{cluster => Known, member => Member, incarnation => Incarnation, node => binary_to_atom(Node), folder => Folder,
      promised => {Generation, Ballot}}.

member([Node, Member, Incarnation, Start, State, Version]) ->
    #{node => binary_to_atom(Node), member => Member, incarnation => Incarnation, start => Start,
      state => state(State), version => Version}.

state(<<"up">>) -> up;
state(<<"leaving">>) -> leaving;
state(<<"left">>) -> left;
state(<<"forgetting">>) -> forgetting;
state(<<"forgotten">>) -> forgotten.

held([N, <<"own">>, Epoch, _, _, _]) ->
    {N, {own, Epoch}};
held([N, State, Epoch, Node, Attempt, Digest]) ->
    IsCleaned = case State of <<"cleaned">> -> true; <<"given">> -> false end,
    {N, {given, Epoch, binary_to_atom(Node), binary:decode_hex(Attempt), binary:decode_hex(Digest), IsCleaned}}.

staged([N, <<"empty">>, Epoch, _, _, Position]) ->
    {N, {empty, Epoch, binary_to_integer(Position)}};
staged([N, State, Epoch, Node, Attempt, Digest]) ->
    Is = case State of <<"staged">> -> staged; <<"taken">> -> taken end,
    {N, {Is, Epoch, binary_to_atom(Node), binary:decode_hex(Attempt), binary:decode_hex(Digest)}}.

records(Held, Staged) ->
    Ns = lists:usort(maps:keys(Held) ++ maps:keys(Staged)),
    maps:from_list([{N, #{held => maps:get(N, Held, none), stage => maps:get(N, Staged, none)}} || N <- Ns]).

%% @doc Writes who this node is.
-spec set_self(store(), self()) -> ok | {error, term()}.
set_self(Store, #{cluster := Cluster, member := Member, incarnation := Incarnation, node := Node, folder := Folder,
                  promised := {Generation, Ballot}}) ->
    Known = case Cluster of none -> null; _ -> Cluster end,
    warp_own_file:execute(Store, [{<<"INSERT OR REPLACE INTO self VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7)">>,
                                   [[Known, Member, Incarnation, atom_to_binary(Node), Folder, Generation,
                                     Ballot]]}]).

%% @doc Writes what is known of members.
-spec put_members(store(), [member()]) -> ok | {error, term()}.
put_members(Store, Members) ->
    warp_own_file:execute(Store, [
        {<<"INSERT OR REPLACE INTO members VALUES (?1, ?2, ?3, ?4, ?5, ?6)">>,
         [[atom_to_binary(Node), Member, Incarnation, Start, atom_to_binary(State), Version]
          || #{node := Node, member := Member, incarnation := Incarnation, start := Start, state := State,
               version := Version} <- Members]}]).

%% @doc Writes the records of shards, all or none.
-spec put_records(store(), #{non_neg_integer() => warp_cluster_record:record()}) -> ok | {error, term()}.
put_records(Store, Records) ->
    Held = [[N | row(Held)] || {N, #{held := Held}} <- maps:to_list(Records), Held =/= none],
    Staged = [[N | row(Stage)] || {N, #{stage := Stage}} <- maps:to_list(Records), Stage =/= none],
    warp_own_file:execute(Store, [
        {<<"INSERT OR REPLACE INTO held VALUES (?1, ?2, ?3, ?4, ?5, ?6)">>, Held},
        {<<"DELETE FROM held WHERE shard = ?1">>, [[N] || {N, #{held := none}} <- maps:to_list(Records)]},
        {<<"INSERT OR REPLACE INTO staged VALUES (?1, ?2, ?3, ?4, ?5, ?6)">>, Staged},
        {<<"DELETE FROM staged WHERE shard = ?1">>, [[N] || {N, #{stage := none}} <- maps:to_list(Records)]}]).

row({own, Epoch}) ->
    [<<"own">>, Epoch, <<>>, <<>>, <<>>];
row({given, Epoch, Node, Attempt, Digest, IsCleaned}) ->
    State = case IsCleaned of true -> <<"cleaned">>; false -> <<"given">> end,
    [State, Epoch, atom_to_binary(Node), binary:encode_hex(Attempt), binary:encode_hex(Digest)];
row({empty, Epoch, Position}) ->
    [<<"empty">>, Epoch, <<>>, <<>>, integer_to_binary(Position)];
row({Is, Epoch, Node, Attempt, Digest}) ->
    [atom_to_binary(Is), Epoch, atom_to_binary(Node), binary:encode_hex(Attempt), binary:encode_hex(Digest)].

%% @doc Writes who owns shards, as others have said.
-spec put_owners(store(), warp_cluster_view:owners()) -> ok | {error, term()}.
put_owners(Store, Owners) ->
    warp_own_file:execute(Store, [
        {<<"INSERT OR REPLACE INTO owners VALUES (?1, ?2, ?3)">>,
         [[N, Epoch, atom_to_binary(Node)] || {N, {Epoch, Node}} <- maps:to_list(Owners)]}]).
