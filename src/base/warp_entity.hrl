%% The handle of an entity. `shard' is why not, where the id is not a valid one.
-record(warp_entity, {
    ref :: reference(),
    id :: term(),
    shard :: non_neg_integer() | {bad_entity_id, term()}
}).
