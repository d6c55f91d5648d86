%% @private The subscriptions of a context, as a component.
%%
%% The modules of this room (their names have the prefix `warp_subscription_'): `process' is one subscription, for which
%% `core' decides; `reader' reads files for it, and `live' sends it what commits add, one for each shard. `filter' and
%% `cursor' say what it gets and where it stands, `table' is what all share, and `erase' is their step of a deletion.
-module(warp_subscription_component).
-behaviour(warp_component).

-export([new/1, children/2, shard_children/2, stats/1, erase_steps/1, erase/3]).

%% @doc The table of the subscriptions.
-spec new(warp_component:settings()) -> #{subscriptions := ets:table()}.
new(_Settings) ->
    #{subscriptions => warp_subscription_table:new()}.

%% @doc The supervisor of the subscriptions.
-spec children(reference(), warp_component:settings()) -> [supervisor:child_spec()].
children(Ref, _Settings) ->
    [#{id => subscriptions, start => {warp_subscription_sup, start_link, [Ref]}, type => supervisor,
       shutdown => infinity}].

%% @doc What sends live events of shard N.
-spec shard_children(warp_context:membership(), non_neg_integer()) -> [supervisor:child_spec()].
shard_children(Membership, N) ->
    [#{id => live, start => {warp_subscription_live, start_link, [Membership, N]}, shutdown => brutal_kill}].

%% @doc How each subscription is, see {@link warp_subscription_stats:read/1}.
-spec stats(warp_context:context()) -> #{subscriptions := [map()]}.
stats(Context) ->
    #{subscriptions => warp_subscription_stats:read(Context)}.

%% @doc One step, right after the log was erased.
-spec erase_steps(warp_context:context()) -> [warp_component:erase_step()].
erase_steps(_Context) ->
    [{after_log, <<"subscriptions">>}].

-spec erase(warp_erasure_list:step(), warp_context:context(), warp_component:deletion()) -> ok | {error, term()}.
erase(<<"subscriptions">>, Context, Deletion) ->
    warp_subscription_erase:tell(Context, Deletion).
