%% @private Supervises what makes a node a member of a cluster.
-module(warp_cluster_sup).
-behaviour(supervisor).

-export([start_link/1]).
-export([init/1]).

%% How many processes take calls of other nodes.
-define(SERVERS, 8).

%% @doc Starts the processes.
-spec start_link(warp_context:ref()) -> supervisor:startlink_ret().
start_link(Ref) ->
    supervisor:start_link(?MODULE, Ref).

-spec init(warp_context:ref()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Ref) ->
    {ok, Context} = warp_context:find(Ref),
    ok = warp_context:register(Context, cluster_server_count, ?SERVERS),
    Servers = [#{id => {server, Nth}, start => {warp_cluster_server, start_link, [Ref, Nth]}, shutdown => brutal_kill}
               || Nth <- lists:seq(1, ?SERVERS)],
    Member = #{id => member, start => {warp_cluster_member, start_link, [Ref]}, shutdown => 60000},
    %% The others are told of the servers when a link begins, and so a link ends with them.
    Mover = #{id => mover, start => {warp_cluster_mover, start_link, [Ref]}},
    {ok, {#{strategy => one_for_all, intensity => 1000, period => 1}, Servers ++ [Member, Mover]}}.
