%% The handle of an entity. Where the id is not valid, `shard' holds the error instead of a number.
-record(warp_entity, {
    ref :: reference(),
    id :: term(),
    shard :: non_neg_integer() | {bad_entity_id, term()}
}).
