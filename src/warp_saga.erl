%% @doc Sagas: operations over several entities. Each step appends an event to its entity; when
%% one is refused, those before it are compensated, the last one first.
%%
%% ```
%% Saga0 = warp_saga:new(<<"xfr-001">>),
%% Saga1 = warp_saga:step(Saga0, #{entity => <<"alice">>, aggregate => <<"Account">>,
%%     forward => #{type => <<"Debited">>, payload => #{amount => 500}},
%%     compensate => #{type => <<"Credited">>, payload => #{amount => 500}}}),
%% Saga2 = warp_saga:step(Saga1, #{entity => <<"bob">>, aggregate => <<"Account">>,
%%     forward => #{type => <<"Credited">>, payload => #{amount => 500}},
%%     compensate => #{type => <<"Debited">>, payload => #{amount => 500}}}),
%% {ok, {committed, #{steps := [#{seq := 2}, #{seq := 1}]}}} = warp_saga:commit(Saga2, Ctx).
%% '''
%%
%% The plan is on disk before the first step runs, and the result before the caller has it. From then on a
%% saga depends neither on its caller nor on the VM: the next start finishes what a crash leaves unfinished.
%% Committing the same saga again runs nothing twice: the caller joins the saga that is under way, or gets
%% the recorded result.
%%
%% A saga needs the aggregates and step functions that its steps name. When the context is started without
%% one of them, the saga stays as it is: it is `waiting', and goes on once the context is started with them.
%%
%% All functions can be called from any process, and in a cluster on any node.
-module(warp_saga).

-export([new/1, step/2, parallel/2, commit/2, commit/3]).
-export([status/2, pending/1, stuck/1]).
-export([cancel/2, cancel/3, retry/2, retry/3, resolve/3, resolve/4, recover_pending/1, recover_pending/2]).

-export_type([saga/0, step/0, action/0, options/0, wait_options/0, result/0, recovered/0]).
-export_type([description/0, waiting/0, error/0, step_error/0, commit_error/0]).

%% A saga that is being built.
-opaque saga() :: warp_saga_builder:saga().
-type step() :: #{
    entity := binary(),
    aggregate := binary(),
    %% By default the version of the aggregate.
    schema_vsn => pos_integer(),
    forward := action(),
    compensate := action()
}.
-type action() ::
    %% A map, or JSON text of an object, as with `warp_core:append/2'.
    #{type := binary(), payload := map() | binary()}
    %% A step function of the context: it is called in the entity's process with the aggregate's
    %% state and these arguments (with binary keys), and gives the event or refuses. One for
    %% `compensate' may have a third argument, the event that the step appended.
    | #{run := binary(), args => map() | binary()}.
-type options() :: #{
    %% Milliseconds from now until the saga turns back, if it is not done. Default: infinity.
    timeout => timeout(),
    %% How often a step is tried again after a transient failure (`overloaded', `timeout',
    %% `{shard_unavailable, _}', ...), with pauses from 10 ms to 1 s. Default: 10. While the node of its entity cannot
    %% be reached a step is tried until the timeout.
    retries => non_neg_integer(),
    %% Milliseconds that the caller waits. The saga goes on all the same. Default: infinity.
    wait => timeout()
}.
-type wait_options() :: #{
    %% Milliseconds that the caller waits. What was asked for goes on all the same. Default: infinity.
    wait => timeout()
}.
-type result() :: {committed | compensated | stuck, description()}.
%% How many sagas are now what, of those that were under way.
-type recovered() :: #{committed := non_neg_integer(), compensated := non_neg_integer(),
                       stuck := non_neg_integer(), waiting := non_neg_integer()}.
-type description() :: #{
    id := binary(),
    steps := [step_description()],
    %% Why the saga turned back: the step that failed, or none for the deadline, a cancellation, and a saga whose log
    %% was removed (`keep_sagas').
    failed => failure(),
    %% The compensation that was refused.
    blocked => failure(),
    %% Why an operator closed it.
    note => binary(),
    state => running | compensating | waiting | stuck | committed | compensated | resolved,
    %% Where the state is `waiting'.
    waiting => waiting(),
    started_at => warp_core:micros(),
    updated_at => warp_core:micros()
}.
%% What a saga waits for: the step that cannot be done (forward) or reversed (compensate) because of
%% `{unknown_aggregate, Name}', `{unknown_step, Name}', `{step_arity, Name, Arity, Wanted}',
%% `{step_not_exported, Name, MFA}' or `{stale_function, _}'; and since when, in this start.
-type waiting() :: warp_saga_table:waiting().
-type step_description() :: #{
    step := non_neg_integer(),
    entity := binary(),
    aggregate := binary(),
    status := applied | reversed | refused | not_run | not_reversed,
    %% Of the event in the entity's log, where there is one; and of the event that reversed it.
    seq => warp_core:seq(),
    compensation_seq => warp_core:seq(),
    reason => term()
}.
-type failure() :: #{
    step := non_neg_integer() | none,
    entity := binary() | none,
    %% `timeout' and `cancelled' are why the whole saga turned back.
    reason := timeout | step_error() | warp_core:write_error() | (Refused :: term())
}.
%% Why a step was refused, or waits, apart from what an append is refused for and from what the user's own
%% functions refuse with.
-type step_error() ::
    cancelled
    | entity_deleted
    | {unknown_aggregate, Name :: binary()}
    | {unknown_step, Name :: binary()}
    | {step_not_exported, Name :: binary(), mfa()}
    %% It takes so many arguments, in place of one of those numbers.
    | {step_arity, Name :: binary(), arity(), [arity()]}
    | {stale_function, #{module := module(), 'fun' := binary(), atom() => term()}}
    | {bad_return, Name :: binary(), term()}
    %% A reason too long for the saga's log, which keeps how it begins as text.
    | {shortened, binary()}.
-type error() ::
    {bad_saga_id, empty | not_utf8 | not_a_binary | not_a_saga
                  | {too_long, pos_integer(), pos_integer()}}
    | context_stopped
    | {shard_unavailable, non_neg_integer()}
    %% The next three are of clusters. The node that has the saga, or one of those that are asked, cannot be reached;
    %% it was lost after it was asked, and what was asked for may have begun; it takes no messages just now.
    | {node_unavailable, node()}
    | {unknown_outcome, node()}
    | overloaded
    | interrupted
    %% The caller's time is over; what was asked for goes on.
    | timeout
    %% It goes no further in this start of the context, and nobody need wait for it.
    | {saga_waits, waiting()}
    | {io_error | corrupt | internal, binary()}.
-type commit_error() ::
    error()
    | empty_saga
    | {too_many_steps, pos_integer(), Max :: pos_integer()}
    %% The step, from 0, the field of it, and why. An aggregate or a step function that the context
    %% was started without is `{unknown_aggregate, Name}' or `{unknown_step, Name}' here.
    | {bad_step, non_neg_integer(), {atom(), term()}}
    | {bad_saga, term()}
    | {batch_too_large_bytes, pos_integer(), Max :: pos_integer()}
    %% There is a saga of that id, with other steps.
    | {saga_conflict, binary()}
    | disk_full
    | warp_check:wrong().

%% How long a read waits for the disk, and how long for all open sagas to be known.
-define(READ_MS, 5000).
-define(LOADED_MS, 10000).
-define(MAX_NOTE_BYTES, 4096).

%% @doc A saga without steps. Its id is UTF-8 of 1 to 500 bytes, and names this saga for ever. When the id or
%% a step is wrong, `commit/3' says so.
-spec new(binary()) -> saga().
new(Id) ->
    warp_saga_builder:new(Id).

%% @doc The saga with one more step, which runs when all steps before it are applied. Steps are numbered from
%% 0. A saga has 1000 steps at most.
-spec step(saga(), step()) -> saga().
step(Saga, Step) ->
    warp_saga_builder:step(Saga, Step).

%% @doc The saga with more steps, which run side by side when all steps before them are applied.
-spec parallel(saga(), [step()]) -> saga().
parallel(Saga, Steps) ->
    warp_saga_builder:parallel(Saga, Steps).

%% @equiv commit(Saga, Ctx, #{})
-spec commit(saga(), warp_core:ctx()) -> {ok, result()} | {error, commit_error()}.
commit(Saga, Ctx) ->
    commit(Saga, Ctx, #{}).

%% @doc Runs a saga to its end, or gives the recorded result of one that was run before.
%%
%% `committed': all steps are applied. `compensated': a step failed, the deadline passed or the saga was
%% cancelled, and all steps that were applied are reversed. `stuck': a compensation was refused, so that some
%% steps are not reversed; see `stuck/1'. A step fails when the engine, the aggregate's `validate' or the step
%% function refuses it; Warp tries again after transient failures first. Nothing is compensated before Warp
%% knows of each step whether it was applied.
%%
%% After an error the saga was not started, with these exceptions. `timeout', `interrupted' and
%% `{unknown_outcome, Node}': it may have been; commit it again. `{saga_waits, Map}': it was, and cannot go on for now;
%% see `t:waiting()'.
-spec commit(saga(), warp_core:ctx(), options()) -> {ok, result()} | {error, commit_error()}.
commit(Saga, Ctx, Options0) ->
    with_context(Ctx, fun(Context) ->
        case {warp_saga_options:commit(Options0), warp_saga_builder:check_id(Saga)} of
            {{ok, #{wait := Wait} = Options}, {ok, Id}} ->
                warp_saga_call:run(Context, Id, {commit, Saga, Options}, warp_deadline:from(Wait));
            {{error, _} = Error, _} ->
                Error;
            {_, {error, _} = Error} ->
                Error
        end
    end).

%% @doc Describes a saga as its result does, with `state' (`running', `compensating', `waiting', `stuck',
%% `committed', `compensated', `resolved'), `started_at' and `updated_at' besides. In a saga under way, steps
%% whose outcome is not recorded yet are `not_run'. In one that waits, `waiting' says for what. Error:
%% `not_found'. Waits for five seconds at most.
-spec status(warp_core:ctx(), binary()) -> {ok, description()} | {error, not_found | error()}.
status(Ctx, Id) ->
    with_saga(Ctx, Id, fun(Context) -> warp_saga_call:run(Context, Id, status, warp_deadline:from(?READ_MS)) end).

%% @doc The sagas under way, in no order. Where the state is `waiting', the key `waiting' says which step can
%% neither be done nor reversed in this start of the context, why, and since when. Waits for ten seconds at
%% most until all sagas that the files have open are known; else `{shard_unavailable, N}'.
-spec pending(warp_core:ctx()) -> {ok, [warp_saga_stats:under_way()]} | {error, error()}.
pending(Ctx) ->
    with_context(Ctx, fun(Context) -> warp_saga_gather:all(Context, under_way, warp_deadline:from(?LOADED_MS)) end).

%% @doc The sagas that wait for an operator, because a compensation was refused. `retry/2' tries it
%% again; `resolve/3' closes the saga as it is. Waits for ten seconds at most, as `pending/1' does.
-spec stuck(warp_core:ctx()) -> {ok, [description()]} | {error, error()}.
stuck(Ctx) ->
    with_context(Ctx, fun(Context) ->
        case warp_saga_gather:all(Context, stuck, warp_deadline:from(?LOADED_MS)) of
            {ok, Stuck} -> {ok, lists:sort(fun(#{id := A}, #{id := B}) -> A =< B end, Stuck)};
            {error, _} = Error -> Error
        end
    end).

%% @equiv cancel(Ctx, Id, #{})
-spec cancel(warp_core:ctx(), binary()) -> {ok, result()} | {error, not_found | error()}.
cancel(Ctx, Id) ->
    cancel(Ctx, Id, #{}).

%% @doc Turns a saga back, unless all its steps are applied, and waits for its result. A saga that waits to go
%% forward turns back too; one whose compensation waits gives `{saga_waits, Map}'. A saga that has come to its
%% end gives its result.
-spec cancel(warp_core:ctx(), binary(), wait_options()) ->
    {ok, result()} | {error, not_found | error() | warp_check:wrong()}.
cancel(Ctx, Id, Options) ->
    waiting(Ctx, Id, Options, fun(Context, Deadline) -> warp_saga_call:run(Context, Id, cancel, Deadline) end).

%% @equiv retry(Ctx, Id, #{})
-spec retry(warp_core:ctx(), binary()) ->
    {ok, result()} | {error, not_found | {not_stuck, atom()} | error()}.
retry(Ctx, Id) ->
    retry(Ctx, Id, #{}).

%% @doc Tries those compensations of a stuck saga again that are not done, and waits for the result.
-spec retry(warp_core:ctx(), binary(), wait_options()) ->
    {ok, result()} | {error, not_found | {not_stuck, atom()} | error() | warp_check:wrong()}.
retry(Ctx, Id, Options) ->
    waiting(Ctx, Id, Options, fun(Context, Deadline) -> warp_saga_call:decide(Context, Id, retry, Deadline) end).

%% @equiv resolve(Ctx, Id, Note, #{})
-spec resolve(warp_core:ctx(), binary(), binary()) ->
    {ok, result()} | {error, not_found | {not_stuck, atom()} | {bad_note, term()} | error()}.
resolve(Ctx, Id, Note) ->
    resolve(Ctx, Id, Note, #{}).

%% @doc Closes a stuck saga as it is. The note, UTF-8 of 1 to 4096 bytes, says why. The saga's log and its
%% result keep it.
-spec resolve(warp_core:ctx(), binary(), binary(), wait_options()) ->
    {ok, result()}
    | {error, not_found | {not_stuck, atom()} | {bad_note, term()} | error() | warp_check:wrong()}.
resolve(Ctx, Id, Note, Options) ->
    waiting(Ctx, Id, Options, fun(Context, Deadline) ->
        case warp_text:check(Note, ?MAX_NOTE_BYTES) of
            ok -> warp_saga_call:decide(Context, Id, {resolve, Note}, Deadline);
            {error, Why} -> {error, {bad_note, Why}}
        end
    end).

%% @equiv recover_pending(Ctx, #{})
-spec recover_pending(warp_core:ctx()) -> {ok, recovered()} | {error, error()}.
recover_pending(Ctx) ->
    recover_pending(Ctx, #{}).

%% @doc Waits until all sagas that are under way now, with those that a crash left, have come to an end or wait
%% for another start of the context. Gives how many of them are now in which state. Warp finishes sagas by
%% itself: this only waits.
-spec recover_pending(warp_core:ctx(), wait_options()) ->
    {ok, recovered()} | {error, error() | warp_check:wrong()}.
recover_pending(Ctx, Options) ->
    case warp_saga_options:wait(Options) of
        {ok, #{wait := Wait}} ->
            Deadline = warp_deadline:from(Wait),
            Loaded = warp_deadline:earlier(Deadline, warp_deadline:from(?LOADED_MS)),
            with_context(Ctx, fun(Context) ->
                case warp_saga_gather:all(Context, under_way, Loaded) of
                    {ok, Sagas} ->
                        Counts = #{committed => 0, compensated => 0, stuck => 0, waiting => 0},
                        finished([Id || #{id := Id} <- Sagas], Ctx, Deadline, Counts);
                    {error, _} = Error ->
                        Error
                end
            end);
        {error, _} = Error ->
            Error
    end.

finished([], _Ctx, _Deadline, Counts) ->
    {ok, Counts};
finished([Id | Ids], Ctx, Deadline, Counts) ->
    case with_context(Ctx, fun(Context) -> warp_saga_call:run(Context, Id, join, Deadline) end) of
        {ok, {How, _}} ->
            finished(Ids, Ctx, Deadline, maps:update_with(How, fun(N) -> N + 1 end, Counts));
        {error, {saga_waits, _}} ->
            finished(Ids, Ctx, Deadline, maps:update_with(waiting, fun(N) -> N + 1 end, Counts));
        %% Its plan was not stored after all.
        {error, not_found} ->
            finished(Ids, Ctx, Deadline, Counts);
        {error, _} = Error ->
            Error
    end.

with_context(Ctx, Fun) ->
    case warp_context:of_handle(Ctx) of
        {ok, Context} -> Fun(Context);
        not_found -> {error, context_stopped}
    end.

with_saga(Ctx, Id, Fun) ->
    case warp_saga_plan:check_id(Id) of
        ok -> with_context(Ctx, Fun);
        {error, _} = Error -> Error
    end.

%% Calls a function that waits for a saga's result with its deadline.
waiting(Ctx, Id, Options, Fun) ->
    case warp_saga_options:wait(Options) of
        {ok, #{wait := Wait}} ->
            Deadline = warp_deadline:from(Wait),
            with_saga(Ctx, Id, fun(Context) -> Fun(Context, Deadline) end);
        {error, _} = Error ->
            Error
    end.
