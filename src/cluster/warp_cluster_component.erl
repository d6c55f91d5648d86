%% @private The component for contexts that several nodes share. It is the first in the list, since it says which shards
%% are here.
%%
%% The modules of this room (their names have the prefix `warp_cluster_'): `member' is this node as a member, `store'
%% its file, and `view' what it makes of what others say. `call' runs what concerns a shard where that is, and `server'
%% is its other side. `log' reads logs of other nodes, and `withheld' says which of these they may not follow yet.
%% `ring' says which node each shard should be on; a hand-off is decided by `giver' and `receiver'.
-module(warp_cluster_component).
-behaviour(warp_component).

-export([options/0, check_folder/2, new/1, files/1, children/2, await_started/1, started/1]).
-export([erase_steps/1, erase/3]).

%% The file of the cluster, and the files that SQLite has open beside it.
-define(FILES, 4).
-define(MAX_SEEDS, 100).

-spec options() -> [warp_check:option()].
options() ->
    [{cluster, single_node, fun cluster/1}].

cluster(single_node) ->
    {ok, single_node};
cluster({clustered, Options}) ->
    case warp_check:options(Options, [{seed_nodes, [], fun seeds/1},
                                      {bootstrap, false, fun(Is) -> warp_check:one_of(Is, [true, false]) end}]) of
        {ok, #{seed_nodes := Seeds, bootstrap := Bootstrap} = Checked} ->
            case node() of
                nonode@nohost -> {error, node_without_name};
                _ when Seeds =:= [], not Bootstrap -> {error, no_seed_nodes};
                _ -> {ok, {clustered, Checked}}
            end;
        {error, {bad_option, options, Why}} -> {error, Why};
        {error, {bad_option, Key, Why}} -> {error, {Key, Why}};
        {error, {unknown_option, Key}} -> {error, {Key, unknown_key}}
    end;
cluster(_) ->
    {error, not_a_cluster}.

seeds(Seeds) when is_list(Seeds) ->
    try length(Seeds) =< ?MAX_SEEDS andalso [seed(Seed) || Seed <- Seeds] of
        false -> {error, {too_many, ?MAX_SEEDS}};
        Nodes -> {ok, Nodes}
    catch
        error:_ -> {error, not_a_list_of_nodes}
    end;
seeds(_) ->
    {error, not_a_list_of_nodes}.

seed(Seed) when is_binary(Seed) -> seed(binary_to_atom(Seed));
seed(Seed) when is_atom(Seed) ->
    [_, _] = string:split(atom_to_list(Seed), "@"),
    Seed.

%% @doc A context of a single node must not run in the folder of a member of a cluster.
-spec check_folder(warp_component:settings(), Dir :: binary()) -> ok | {error, term()}.
check_folder(#{cluster := single_node, file_access := Access}, Dir) ->
    case warp_cluster_store:is_members(#{dir => Dir, file_access => Access}) of
        true -> {error, {folder_of_cluster, Dir}};
        false -> ok;
        {error, _} = Error -> Error
    end;
check_folder(_Settings, _Dir) ->
    ok.

%% @doc Which node each shard is on, all are here in a context of a single node; and what other nodes may not follow
%% yet.
-spec new(warp_component:settings()) ->
    #{cluster := term(), owners := warp_context_owners:owners(), withheld := warp_cluster_withheld:withheld()}.
new(#{cluster := single_node}) ->
    #{cluster => single_node, owners => warp_context_owners:all_here(), withheld => warp_cluster_withheld:nobody()};
new(#{cluster := Cluster, shards := Shards}) ->
    #{cluster => Cluster, owners => warp_context_owners:new(Shards), withheld => warp_cluster_withheld:new()}.

%% @doc How many files the component has open at most.
-spec files(warp_component:settings()) -> non_neg_integer().
files(#{cluster := single_node}) -> 0;
files(_Settings) -> ?FILES.

%% @doc The supervisor of what makes this node a member.
-spec children(warp_context:ref(), warp_component:settings()) -> [supervisor:child_spec()].
children(_Ref, #{cluster := single_node}) ->
    [];
children(Ref, _Settings) ->
    [#{id => cluster, start => {warp_cluster_sup, start_link, [Ref]}, type => supervisor, shutdown => infinity}].

%% @doc Waits until this node is a member.
-spec await_started(warp_context:context()) -> ok | {error, term()}.
await_started(#{cluster := single_node}) ->
    ok;
await_started(Context) ->
    warp_cluster_member:await_started(Context).

%% @doc From now on shards may come to this node.
-spec started(warp_context:context()) -> ok.
started(#{cluster := single_node}) -> ok;
started(Context) ->
    ok = warp_cluster_member:started(Context),
    warp_cluster_mover:started(Context).

%% @doc A copy of the shard that another node is making has the entity too.
-spec erase_steps(warp_context:context()) -> [warp_component:erase_step()].
erase_steps(#{cluster := single_node}) -> [];
erase_steps(_Context) -> [{after_log_at_owner, <<"copies">>}].

-spec erase(warp_erasure_list:step(), warp_context:context(), warp_component:deletion()) -> ok | {error, term()}.
erase(<<"copies">>, Context, #{shard := N}) ->
    warp_cluster_mover:settle_copy(Context, N).
