%% What the modules of one context share. Kept as a persistent term: reading it copies nothing.
-record(context, {
    ref :: reference(),
    name :: binary(),
    dir :: binary(),
    lock :: warp_nif:lock(),
    shards :: pos_integer(),
    mode :: actor | read_through,
    durability :: full | normal,
    file_access :: warp_nif:access(),
    snapshot_every :: pos_integer(),
    idle_timeout :: timeout(),
    max_pending :: pos_integer(),
    %% How often the clock was found to be behind.
    clock :: warp_clock:clock(),
    aggregates :: #{binary() => warp_aggregate:aggregate()},
    %% What the NIF checks events against.
    rules :: warp_nif:rules(),
    %% {Id, Pid, Pending, Shard}: the resident entities.
    registry :: ets:table(),
    %% {{Id, Aggregate}, State, Pending}: published states.
    states :: ets:table(),
    %% {{shard, N} | {entity_sup, N}, Handle | Pid}: what runs of each shard.
    running :: ets:table(),
    %% Step functions, by name.
    steps :: #{binary() => fun()},
    %% What the NIF checks the events of sagas against.
    saga_rules :: warp_nif:rules(),
    %% {{saga, Id}, Shard, Pid | starting | stuck, [Entity], Phase | {waiting, Why}, StartedAt}: the
    %% sagas under way;
    %% {{doomed, SagaId, Entity}}: an entity of one that was deleted.
    sagas :: ets:table(),
    saga_counts :: counters:counters_ref(),
    %% As `warp_projection_options' gives it, and where its projectors say that they sleep.
    projections = none :: none | #{target := embedded | rqlite, config := map(),
                                   tables := map(), wake := atomics:atomics_ref()}
}).

%% The handle of an entity. `shard` is why not, where the id is not a valid one.
-record(warp_entity, {
    ref :: reference(),
    id :: term(),
    shard :: non_neg_integer() | {bad_entity_id, term()}
}).
