%% @private One shard: the owner of its file, and behind it what the components have living in it.
-module(warp_shard_sup).
-behaviour(supervisor).

-export([start_link/2]).
-export([init/1]).

-spec start_link(warp_context:membership(), non_neg_integer()) -> supervisor:startlink_ret().
start_link(Membership, N) ->
    supervisor:start_link(?MODULE, {Membership, N}).

-spec init({warp_context:membership(), non_neg_integer()}) ->
    {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({Given, N}) ->
    Membership = warp_context:within(Given),
    Shard = #{
        id => shard,
        start => {warp_shard, start_link, [Membership, N]},
        %% Closing writes behind what is left, which a slow disk may take its time for.
        shutdown => 60000
    },
    %% An entity holds the handle of its shard, so it does not outlive the shard's owner; nor does a
    %% saga.
    {ok, {#{strategy => rest_for_one, intensity => 1000, period => 1},
          [Shard | warp_component:shard_children(Membership, N)]}}.
