%% Whether a term is what tells a context from others, `warp_context:ref()'.
-define(IS_REF(Ref), (is_reference(Ref) orelse (tuple_size(Ref) =:= 2 andalso element(1, Ref) =:= clustered))).

%% The handle of an entity. Where the id is not valid, `shard' holds the error instead of a number.
-record(warp_entity, {
    ref :: warp_context:ref(),
    id :: term(),
    shard :: non_neg_integer() | {bad_entity_id, term()}
}).
