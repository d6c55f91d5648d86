%% @private The subscriptions of a context, as a component.
%%
%% The modules of this room (their names have the prefix `warp_subscription_'): `process' is one subscription, for which
%% `core' decides; `reader' reads files for it, and `live' sends it what commits add, one for each shard. `filter' and
%% `cursor' say what it gets and where it stands, `table' is what all share, and `erase' is their step of a deletion.
%% `names' keeps those with names: `store' is their file, and `group' says who consumes them. `subscribers_sup' starts
%% the subscribers that are callback modules, which keep `holds' on entities of which an event failed, and for which
%% `effects' says where their effects begin.
-module(warp_subscription_component).
-behaviour(warp_component).

-export([options/0, new/1, files/1, children/2, shard_children/2, await_started/1, stats/1, erase_steps/1, erase/3]).

%% The file of the names, and the files that SQLite has open beside it.
-define(FILES, 4).

-spec options() -> [warp_check:option()].
options() ->
    [{subscribers, [], fun warp_subscription_options:subscribers/1}].

%% @doc The table of the subscriptions, and the subscribers.
-spec new(warp_component:settings()) ->
    #{subscriptions := ets:table(), subscribers := [warp_subscription_options:subscriber()]}.
new(#{subscribers := Subscribers}) ->
    #{subscriptions => warp_subscription_table:new(), subscribers => Subscribers}.

%% @doc How many files the names have open at most.
-spec files(warp_component:settings()) -> non_neg_integer().
files(_Settings) ->
    ?FILES.

%% @doc What keeps the names, and the supervisors of the subscriptions and of the subscribers. The names end last, and
%% write what the others acknowledged.
-spec children(reference(), warp_component:settings()) -> [supervisor:child_spec()].
children(Ref, #{shards := Shards, subscribers := Subscribers}) ->
    [#{id => subscription_names, start => {warp_subscription_names, start_link, [Ref]}, shutdown => 60000},
     #{id => subscriptions, start => {warp_subscription_sup, start_link, [Ref]}, type => supervisor,
       shutdown => infinity}
     | [#{id => subscribers, start => {warp_subscription_subscribers_sup, start_link, [Ref, Shards, Subscribers]},
          type => supervisor, shutdown => infinity} || Subscribers =/= []]].

%% @doc What sends live events of shard N.
-spec shard_children(warp_context:membership(), non_neg_integer()) -> [supervisor:child_spec()].
shard_children(Membership, N) ->
    [#{id => live, start => {warp_subscription_live, start_link, [Membership, N]}, shutdown => brutal_kill}].

%% @doc Has the names of the subscribers begin: one that is new and begins `now' gets all that is appended after the
%% start.
-spec await_started(warp_context:context()) -> ok | {error, term()}.
await_started(#{subscribers := Subscribers} = Context) ->
    warp_subscription_start:begin_names(Context, Subscribers).

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
