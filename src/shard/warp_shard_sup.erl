%% @private Supervises one shard: the owner of its file, and behind it the components' processes of this shard. Of a
%% shard on another node only those that follow its log.
-module(warp_shard_sup).
-behaviour(supervisor).

-export([start_link/2]).
-export([init/1]).

%% @doc Starts the processes of shard N.
-spec start_link(warp_context:membership(), non_neg_integer()) -> supervisor:startlink_ret().
start_link(Membership, N) ->
    supervisor:start_link(?MODULE, {Membership, N}).

-spec init({warp_context:membership(), non_neg_integer()}) ->
    {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({Given, N}) ->
    Membership = warp_context:within(Given),
    Children =
        case warp_context_owners:has(warp_context:mine(Given), N) of
            true -> of_owner(Membership, N);
            false -> warp_component:follower_children(Membership, N)
        end,
    %% Entities and sagas hold the handle of their shard, so they end with the shard's owner.
    {ok, {#{strategy => rest_for_one, intensity => 1000, period => 1}, Children}}.

of_owner(Membership, N) ->
    Shard = #{
        id => shard,
        start => {warp_shard, start_link, [Membership, N]},
        %% An owner that closes its file writes the rest of the index, which can take long on a slow disk.
        shutdown => 60000
    },
    [Shard | warp_component:shard_children(Membership, N)].
