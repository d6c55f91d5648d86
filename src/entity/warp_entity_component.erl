%% @private The component for the entities of a context.
-module(warp_entity_component).
-behaviour(warp_component).

-export([options/0, new/1, shard_children/2, await_started/1, shard_closing/3, stats/1]).

%% @doc The options that concern entities.
-spec options() -> [warp_check:option()].
options() ->
    warp_entity_options:start().

%% @doc The options that concern entities; `aliases', the earlier names of aggregates; `rules', which the NIF checks
%% events by; and `registry' and `states', the tables of {@link warp_entity_registry} and {@link warp_entity_states}.
-spec new(warp_component:settings()) -> #{atom() => term()}.
new(#{aggregates := Aggregates} = Settings) ->
    Own = maps:with([aggregates, mode, snapshot_every, idle_timeout, max_pending], Settings),
    Own#{aliases => warp_aggregate:aliases(Aggregates),
         rules => warp_entity_pack:rules(Aggregates),
         registry => warp_entity_registry:new(),
         states => warp_entity_states:new()}.

%% @doc The supervisor of the entities in shard N.
-spec shard_children(warp_context:membership(), non_neg_integer()) -> [supervisor:child_spec()].
shard_children(Membership, N) ->
    [#{id => entities, start => {warp_entity_sup, start_link, [Membership, N]}, type => supervisor,
       shutdown => infinity}].

%% @doc Waits for nothing: the shards are open. What the log has of other aggregates is told meanwhile.
-spec await_started(warp_context:context()) -> ok.
await_started(Context) ->
    warp_entity_names:warn_of_others(Context).

%% @doc Has all entities of shard N leave memory, when they have carried out what they were asked for.
-spec shard_closing(warp_context:context(), non_neg_integer(), warp_deadline:deadline()) -> ok | {error, timeout}.
shard_closing(Context, N, Deadline) ->
    warp_entity_registry:await_none(Context, N, Deadline).

%% @doc How many entities are in memory, and how many states are published.
-spec stats(warp_context:context()) -> #{atom() => term()}.
stats(#{mode := Mode} = Context) ->
    #{mode => Mode,
      resident_entities => warp_entity_registry:size(Context),
      published_states => warp_entity_states:size(Context)}.
