%% @private The entities of a context, as a component.
-module(warp_entity_component).
-behaviour(warp_component).

-export([options/0, new/1, shard_children/2, stats/1]).

-spec options() -> [warp_check:option()].
options() ->
    warp_entity_options:start().

%% @doc `rules' is what the NIF checks events against, `registry' and `states' are the tables of
%% `warp_entity_registry' and `warp_entity_states'; the others are options.
-spec new(warp_component:settings()) -> #{atom() => term()}.
new(#{aggregates := Aggregates} = Settings) ->
    Rules = [
        {Name, warp_aggregate:version(Aggregate), warp_aggregate:judges(Aggregate)}
     || {Name, Aggregate} <- maps:to_list(Aggregates)
    ],
    Own = maps:with([aggregates, mode, snapshot_every, idle_timeout, max_pending], Settings),
    Own#{rules => warp_nif:rules(Rules),
         registry => warp_entity_registry:new(),
         states => warp_entity_states:new()}.

-spec shard_children(warp_context:membership(), non_neg_integer()) -> [supervisor:child_spec()].
shard_children(Membership, N) ->
    [#{id => entities, start => {warp_entity_sup, start_link, [Membership, N]}, type => supervisor,
       shutdown => infinity}].

-spec stats(warp_context:context()) -> #{atom() => term()}.
stats(#{mode := Mode} = Context) ->
    #{mode => Mode,
      resident_entities => warp_entity_registry:size(Context),
      published_states => warp_entity_states:size(Context)}.
