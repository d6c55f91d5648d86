%% What a projector knows. Only warp_projection_core and warp_projection_core_state include this.

%% How long a projector waits before it asks the writer again, and until it looks again by itself.
-define(RETRY_MS, 100).
-define(LOOK_MS, 5000).

-record(batch, {
    from :: non_neg_integer(),
    to :: non_neg_integer(),
    events :: non_neg_integer(),
    %% Events that led to commands, as the worker gives them.
    projected = [] :: [{binary(), warp_core:seq()}],
    work = none :: warp_projection_merge:work(),
    aside = #{} :: #{binary() => warp_projection_aside:note()},
    %% The run that wrote the last row of it.
    run :: non_neg_integer(),
    rows = 0 :: non_neg_integer(),
    %% When the first of its events was recorded.
    oldest = none :: none | warp_core:micros()
}).

-record(core, {
    n :: non_neg_integer(),
    generation :: pos_integer(),
    handle = none :: none | warp_cluster_log:log(),
    %% What the writer said of where to go on, and the log that has to have that checkpoint.
    checking = none :: none | {warp_projection_core:joining(), warp_cluster_log:log()},
    %% What the worker does; `void' when nobody wants the result any more. Entities that were erased since
    %% it was asked.
    job = none :: none | {pos_integer(), read | check | void | {retry, warp_projection_retry:retry()}},
    erased = [] :: [binary()],
    %% What the worker knows of what is set aside, and what it has to forget.
    told = none :: none | warp_projection_worker:told(),
    forget = [] :: [binary()],
    %% The worker was told to end, because of that call or of none.
    ended = no :: no | {warp_projection_user_code:where() | none},
    watch = warp_projection_watch:new() :: warp_projection_watch:watch(),
    ticking = false :: boolean(),
    %% As the status shows it.
    shown = {starting, none} :: shown(),
    %% Whether the writer was asked where to go on.
    joining = none :: none | pos_integer(),
    turn = 0 :: non_neg_integer(),
    %% The log is read up to here, and written up to there.
    position = 0 :: non_neg_integer(),
    committed = 0 :: non_neg_integer(),
    %% The run that wrote the row at that position.
    run = 0 :: non_neg_integer(),
    events = 0 :: non_neg_integer(),
    %% Where the log was last seen to end.
    log_end = 0 :: non_neg_integer(),
    %% Events read since the checkpoint was moved, that led to nothing.
    skipped = 0 :: non_neg_integer(),
    ready = none :: none | #batch{},
    %% What the writer has, by its tag.
    flying = none :: none | {pos_integer(), #batch{} | {retry, warp_projection_retry:retry()}},
    %% Entities set aside, with the seq of the event; and the last seq seen of them.
    aside = #{} :: #{binary() => warp_core:seq()},
    seen = #{} :: #{binary() => warp_core:seq()},
    blame = warp_projection_blame:new() :: warp_projection_blame:blame(),
    %% Events that an operator left out: should they fail again, they are left out again.
    left_out = #{} :: #{{binary(), warp_core:seq()} => []},
    waiters = warp_projection_waiters:new() :: warp_projection_waiters:waiters(),
    %% Entities to be tried again: those that wait, with the deadline of who asked, and one that was begun.
    retries = [] :: [{new, request()} | {begun, warp_projection_retry:retry()}],
    %% The next commit wakes the process.
    asleep = false :: boolean(),
    scheduled = false :: boolean(),
    %% Who asked for it, and the monitor of that process.
    paused = none :: none | {gen_server:from() | answered, reference()},
    %% Numbers jobs and batches.
    count = 0 :: non_neg_integer(),
    %% What is to be done, the last first.
    effects = [] :: [effect()]
}).

-type shown() :: {starting | live | catching_up | stalled, Why :: term()}.
-type request() :: {retry | skip, Entity :: binary(), Deadline :: integer(), gen_server:from()}.
