%% @private The subscriptions of a context, as a component.
%%
%% The modules of this room (their names have the prefix `warp_subscription_'): `process' is one subscription, for which
%% `core' decides; `reader' reads files for it, and `live' sends it what commits add, one for each shard. `filter' and
%% `cursor' say what it gets and where it stands, `table' is what all share, and `erase' is their step of a deletion.
%% `names' asks about those with names, which `keeper' keeps: `book' is what it knows of them, in its file `store';
%% `consumers' are those that are there, of which `group' says who consumes a name; and `early' says which names are to
%% be told of an erasure.
%% `name' is what the process of a subscription with a name knows of that, and `aside' asks other nodes for it.
%% `subscribers_sup' starts the subscribers that are callback modules, which keep `holds' on entities of which an event
%% failed, and for which `effects' says where their effects begin.
-module(warp_subscription_component).
-behaviour(warp_component).

-export([options/0, new/1, files/1, children/2, shard_children/2, follower_children/2, await_started/1, stats/1]).
-export([shard_opened/2, shard_closing/3, give/2, take/3, given/2, erase_steps/1, erase/3, deleted/2]).

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
-spec children(warp_context:ref(), warp_component:settings()) -> [supervisor:child_spec()].
children(Ref, #{shards := Shards, subscribers := Subscribers}) ->
    [#{id => subscription_names, start => {warp_subscription_keeper, start_link, [Ref]}, shutdown => 60000},
     #{id => subscriptions, start => {warp_subscription_sup, start_link, [Ref]}, type => supervisor,
       shutdown => infinity}
     | [#{id => subscribers, start => {warp_subscription_subscribers_sup, start_link, [Ref, Shards, Subscribers]},
          type => supervisor, shutdown => infinity} || Subscribers =/= []]].

%% @doc What sends live events of shard N.
-spec shard_children(warp_context:membership(), non_neg_integer()) -> [supervisor:child_spec()].
shard_children(Membership, N) ->
    [#{id => live, start => {warp_subscription_live, start_link, [Membership, N]}, shutdown => brutal_kill}].

%% @doc Likewise of a shard that is on another node.
-spec follower_children(warp_context:membership(), non_neg_integer()) -> [supervisor:child_spec()].
follower_children(Membership, N) ->
    shard_children(Membership, N).

%% @doc Has the names of the subscribers begin: one that is new and begins `now' gets all that is appended after the
%% start.
-spec await_started(warp_context:context()) -> ok | {error, term()}.
await_started(#{subscribers := Subscribers} = Context) ->
    warp_subscription_start:begin_names(Context, Subscribers).

%% @doc How each subscription is, see {@link warp_subscription_stats:read/1}.
-spec stats(warp_context:context()) -> #{subscriptions := [map()]}.
stats(Context) ->
    #{subscriptions => warp_subscription_stats:read(Context)}.

%% @doc The names of shard N are kept here from now on.
-spec shard_opened(warp_context:context(), non_neg_integer()) -> ok.
shard_opened(Context, N) ->
    warp_subscription_names:opened(Context, N).

%% @doc Writes how far the names of shard N are, and ends the slots of their consumers.
-spec shard_closing(warp_context:context(), non_neg_integer(), warp_deadline:deadline()) -> ok.
shard_closing(Context, N, Deadline) ->
    warp_subscription_names:closing(Context, N, Deadline).

%% @doc The names of shard N.
-spec give(warp_context:context(), non_neg_integer()) -> {ok, term()} | {error, term()}.
give(Context, N) ->
    warp_subscription_names:give(Context, N).

-spec take(warp_context:context(), non_neg_integer(), term()) -> ok | {error, term()}.
take(Context, N, Names) ->
    warp_subscription_names:take(Context, N, Names).

-spec given(warp_context:context(), non_neg_integer()) -> ok | {error, term()}.
given(Context, N) ->
    warp_subscription_names:given(Context, N).

%% @doc One step, right after the log was erased.
-spec erase_steps(warp_context:context()) -> [warp_component:erase_step()].
erase_steps(_Context) ->
    [{after_log, <<"subscriptions">>}].

-spec erase(warp_erasure_list:step(), warp_context:context(), warp_component:deletion()) -> ok | {error, term()}.
erase(<<"subscriptions">>, Context, Deletion) ->
    warp_subscription_erase:tell(Context, Deletion).

-spec deleted(warp_context:context(), warp_component:deletion()) -> ok.
deleted(Context, _Deletion) ->
    warp_subscription_names:deleted(Context).
