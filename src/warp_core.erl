%% @doc Warp: an entity-native, event-sourced database inside a BEAM application.
%%
%% One entity is one process, one writer and one append-only log. What an append answers `{ok, _}'
%% to is on disk; reads come from memory.
%%
%% ```
%% {ok, Ctx} = warp_core:start(#{context => <<"bank">>, data_dir => "data",
%%     aggregates => [#{name => <<"Account">>, initial_state => 0,
%%         apply => fun(Balance, #{type := <<"Credited">>, payload := #{<<"amount">> := N}}) ->
%%                          Balance + N
%%                  end}]}),
%% Alice = warp_core:entity(Ctx, <<"alice">>),
%% {ok, 1} = warp_core:append(Alice, #{type => <<"Credited">>, payload => #{amount => 5000}}),
%% {ok, 5000} = warp_core:get(Alice, <<"Account">>).
%% '''
%%
%% All functions can be called from any process. Every error is `{error, Reason}', with the
%% reasons in the types below: whatever the arguments are, but for the handle of a context or an
%% entity. What is no handle at all is a `function_clause' in the caller.
-module(warp_core).

-export([start/1, start_link/1, child_spec/1, context/1, stop/1, entity/2]).
-export([append/2, append/3, append_batch/2, append_batch/3]).
-export([decide/3, decide/4, cast/3, pid/1]).
-export([get/2, get/3, state_at/3, state_at/4, history/1, history/2, export/1, export/2, delete/1, delete/2]).
-export([query/3, query/4, await_projection/2]).
-export([stats/1, correct_time/3]).

-include("base/warp_entity.hrl").

-export_type([ctx/0, entity/0, seq/0, micros/0, event/0, new_event/0, json/0, aggregate/0]).
-export_type([append_options/0, decide_options/0, decision/1, read_options/0, history_options/0]).
-export_type([query_options/0, query_error/0, start_error/0, delete_error/0, error/0]).
-export_type([write_error/0, read_error/0]).

%% A started context.
-type ctx() :: warp_context:ctx().
%% A handle of one entity: cheap to make, to copy and to send.
-opaque entity() :: #warp_entity{}.
%% A place in an entity's log: 1 is its first event.
-type seq() :: non_neg_integer().
%% Microseconds since 1970, UTC.
-type micros() :: integer().
-type json() ::
    null | boolean() | number() | binary() | [json()] | #{binary() => json()}.
%% An event going in. Atoms are taken as strings, as keys too; `nil' as null. Payload and
%% metadata must be JSON objects of at most 1 MiB, nested at most 128 deep.
-type new_event() :: #{
    type := binary(),
    %% A map, or JSON text.
    payload := map() | binary(),
    %% Not needed when the context has only one.
    aggregate => binary(),
    %% For idempotency: one id stands for one event of the entity.
    id => binary(),
    %% By default the version of the aggregate.
    schema_vsn => pos_integer(),
    metadata => map() | binary()
}.
%% An event coming out.
-type event() :: #{
    type := binary(),
    payload := #{binary() => json()},
    aggregate := binary(),
    id := binary(),
    schema_vsn := pos_integer(),
    metadata := #{binary() => json()},
    seq := seq(),
    recorded_at := micros()
}.
%% `initial_state' is the state before the first event, and `apply' gives the state after each.
%% Without `apply' the aggregate is a pure log. `validate' may refuse an event before it is
%% stored. `migrate' brings an event that was stored with an older schema version up to date: it
%% is called with every event and its version, before `validate' and `apply' see it. Raise
%% `version' when `apply' folds differently: snapshots of older versions are thrown away.
%%
%% Give functions as `fun M:F/A', or `fun F/A' of an exported one: these go on when their module is
%% reloaded. Any other fun is gone once its module was reloaded twice: `stale_function'.
-type aggregate() :: warp_aggregate:aggregate().
-type append_options() :: #{
    %% What the log must end at, for the append to be made. Default: any.
    expected => any | no_stream | seq(),
    %% How long to wait, in milliseconds. Default: 5000.
    timeout => timeout()
}.
-type decide_options() :: #{
    %% How long to wait, in milliseconds. Default: 5000.
    timeout => timeout()
}.
%% What a decision comes to: events to append, as a batch, and messages to send, in order, once
%% they are durable; or nothing of it.
-type decision(Reason) ::
    {ok, [new_event()]} | {ok, [new_event()], [{pid(), Message :: term()}]} | {error, Reason}.
-type read_options() :: #{
    %% How long to wait, in milliseconds. Default: 5000, of an export infinity. What a read has folded
    %% by then is kept now and then, so the next one goes on from there.
    timeout => timeout()
}.
-type history_options() :: #{
    %% The first event wanted. Default: the first, or the last going backward.
    from => seq(),
    %% Default: 1000.
    limit => pos_integer(),
    %% Default: forward.
    direction => forward | backward,
    %% How long to wait, in milliseconds. Default: 5000.
    timeout => timeout()
}.
-type crash() :: {error | exit | throw, term(), list()}.
%% What each reason means, and what to do: {@link warp_error:format_error/1}.
-type start_error() ::
    warp_check:error()
    %% Another context, of this VM or of another one, has the folder open.
    | {data_dir_in_use, Dir :: binary()}
    %% `needed' is the limit of open files that would be enough.
    | {too_few_files, #{limit := non_neg_integer(), needed := pos_integer()}}
    | {shard_count_mismatch, Stored :: pos_integer(), Given :: pos_integer()}
    | {not_a_shard | not_a_projection | was_projected, Path :: binary()}
    | {wrong_identity, Path :: binary(), Found :: binary()}
    | {newer_format, Path :: binary(), Version :: integer()}
    %% Of the target of the projections.
    | {target_refused, Message :: binary()}
    | {no_certificate_in, File :: file:filename_all()}
    | {cannot_read, File :: file:filename_all(), term()}
    | {no_certificates_of_this_system, term()}
    | {application_not_started, atom(), term()}
    | interrupted
    | disk_full
    | {io_error | corrupt | internal, binary()}.
%% Errors of any operation on an entity.
-type error() ::
    {bad_entity_id, empty | not_utf8 | not_a_binary | reserved | not_a_handle
                    | {too_long, pos_integer(), pos_integer()}}
    | context_stopped
    | {shard_unavailable, non_neg_integer()}
    %% No answer in time. An append may still be stored: append again with the same event id.
    | timeout
    %% The entity's process went down meanwhile. Likewise.
    | interrupted
    | overloaded
    | {io_error | corrupt, binary()}
    %% A bug of Warp's own.
    | {internal, binary()}.
-type read_error() ::
    error()
    | {unknown_aggregate, term()}
    | {apply_failed | migrate_failed, crash()}
    | {bad_return, migrate, term()}
    %% The module that this function of the aggregate comes from was reloaded since the context was
    %% started, and the function is not there any more; nothing was changed. Give `start' functions
    %% as `fun M:F/A', which outlast that, or start the context again.
    | {stale_function, #{aggregate := binary(), function := apply | validate | migrate,
                         module := module(), 'fun' := binary()}}
    | warp_check:wrong().
-type write_error() ::
    read_error()
    %% The Nth event of the append, from 1, and the field of it.
    | {bad_event, pos_integer(), Field :: term(), Why :: term()}
    | {rejected, term()}
    | {validate_failed | decide_failed, crash()}
    | {bad_return, validate | decide, term()}
    | {wrong_expected_seq, Actual :: seq()}
    %% The id belongs to an event with another type or payload.
    | {id_conflict, seq()}
    %% Ids of the form ENTITY#SEQ belong to events that were given none.
    | {reserved_id, binary()}
    | {duplicate_event_id, binary()}
    | empty_batch
    | {batch_too_large | batch_too_large_bytes, pos_integer(), Max :: pos_integer()}
    | disk_full.

-type delete_error() ::
    error()
    | disk_full
    | {still_to_erase, #{target := embedded | rqlite | none, projections := [binary()], reason := term()}}
    | warp_check:wrong().

-type query_options() :: #{
    max_rows => pos_integer(),
    timeout => pos_integer(),
    level => default | none | weak | linearizable | strong | auto
}.
-type query_error() ::
    context_stopped
    | no_projections
    | read_only
    | {sql_error, binary()}
    | {too_many_rows, Max :: pos_integer()}
    | {result_too_large, MaxBytes :: pos_integer()}
    %% It needs more memory, such as for sorting, than a query may have.
    | {query_too_large, MaxBytes :: pos_integer()}
    | timeout
    | overloaded
    | {target_away, term()}
    | {bad_param, pos_integer(), term()}
    | {bad_params, term()}
    | {bad_option, term(), term()}
    | {unknown_option, term()}.

%% How long functions wait that take no timeout.
-define(TIMEOUT_MS, 5000).

%% @doc Starts a context, and the application `warp_core' if need be.
%%
%% Required are `context' (its name: letters, digits, `_', `.', `-'), `data_dir' (its shards are
%% `DATA_DIR/CONTEXT/shard-0000.db' and so on) and `aggregates'. Options and their defaults:
%% `shards' (16, for good: it is stored), `mode' (`actor': entities stay in memory;
%% `read_through': reads fold the log), `durability' (`full': fsynced before it is acknowledged;
%% `normal': may be lost in a power failure), `file_access' (`owner': files and folders that are
%% made can be read by the VM's user alone; `umask': by whoever that lets), `snapshot_every' (1000
%% events), `idle_timeout' (60000 ms, after which an entity leaves memory), `max_pending' (10000 requests per entity,
%% beyond which callers are told `overloaded'), `steps' (functions that steps of sagas name, see
%% `warp_saga'), `cluster' (`single_node'), `projections' (`none'; `embedded', `{embedded, Config}'
%% or `{rqlite, Config}', see `warp_projection').
%%
%% Waits until all shards are open, which takes as long as the disk takes to open and to recover their files:
%% there is no limit. A target of projections that is unreachable is not waited for.
%%
%% Errors are those of `t:start_error()'; {@link warp_error:format_error/1} says what each means. After an error
%% nothing is left running, and files of other programs are as they were.
-spec start(map()) -> {ok, ctx()} | {error, start_error()}.
start(Options) ->
    case warp_context_options:start(Options) of
        {ok, Settings} -> warp_contexts:start(Settings);
        {error, _} = Error -> Error
    end.

%% @doc Starts a context as a child of a supervisor: the context runs for as long as the process that
%% this gives, which is linked to the caller. When that process ends, by its supervisor or killed, the
%% context is stopped; should the context go, that process goes too, and its supervisor starts both
%% again. Options, errors and how long it waits are those of {@link start/1}; `interrupted' when it was
%% killed before the context had started.
-spec start_link(map()) -> {ok, pid(), ctx()} | {error, start_error()}.
start_link(Options) ->
    case warp_context_options:start(Options) of
        {ok, Settings} -> warp_context_child:start_link(Settings);
        {error, _} = Error -> Error
    end.

%% @doc The child specification of a context, for a supervisor (in Elixir `{:warp_core, options}' in a
%% list of children). Options are those of {@link start/1}; {@link context/1} gives the handle.
-spec child_spec(map()) -> supervisor:child_spec().
child_spec(Options) ->
    Name = case Options of #{context := Given} -> Given; _ -> undefined end,
    %% A context writes what is left when it is stopped, which a slow disk may take its time for.
    #{id => {?MODULE, Name}, start => {?MODULE, start_link, [Options]}, shutdown => infinity}.

%% @doc The context of that name that was started with {@link start_link/1}, by a supervisor or
%% another process: also after it was restarted, when it has another handle.
-spec context(binary()) -> {ok, ctx()} | {error, context_stopped}.
context(Name) ->
    warp_context_child:named(Name).

%% @doc Stops a context. What was acknowledged is on disk; calls under way get an error.
%%
%% Waits until each shard has written what is left and has closed its file. A shard whose disk does not answer
%% is given up after a minute: the next start recovers its log.
-spec stop(ctx()) -> ok.
stop(Ctx) ->
    warp_contexts:stop(Ctx).

%% @doc The entity with that id: any UTF-8 binary of 1 to 512 bytes. It need not exist; one comes
%% into being with its first event. With an invalid id each operation gives
%% `{error, {bad_entity_id, Why}}'. Ids that begin with `$warp/' are Warp's own: `reserved'.
-spec entity(ctx(), binary()) -> entity().
entity({warp_context, Ref, _Shards}, <<"$warp/", _/binary>> = Id) ->
    #warp_entity{ref = Ref, id = Id, shard = {bad_entity_id, reserved}};
entity({warp_context, Ref, Shards}, Id) ->
    case warp_nif:shard_of(Id, Shards) of
        {ok, N} -> #warp_entity{ref = Ref, id = warp_compact:binary(Id), shard = N};
        {error, Why} -> #warp_entity{ref = Ref, id = Id, shard = {bad_entity_id, Why}}
    end.

%% @equiv append(Entity, Event, #{})
-spec append(entity(), new_event()) -> {ok, seq()} | {error, write_error()}.
append(Entity, Event) ->
    append(Entity, Event, #{}).

%% @doc Appends an event, and answers when it is durable.
%%
%% An event whose id the entity already has is not written again: the answer is the seq of the
%% first one, even if by now it would be refused.
-spec append(entity(), new_event(), append_options()) -> {ok, seq()} | {error, write_error()}.
append(Entity, Event, Options) ->
    case write(Entity, [Event], Options) of
        {stored, Seq, Seq} -> {ok, Seq};
        {stored_at, [Seq]} -> {ok, Seq};
        {error, _} = Error -> Error
    end.

%% @equiv append_batch(Entity, Events, #{})
-spec append_batch(entity(), [new_event()]) -> {ok, {seq(), seq()}} | {error, write_error()}.
append_batch(Entity, Events) ->
    append_batch(Entity, Events, #{}).

%% @doc Appends events as one: all of them are stored, or none. At most 10,000 of them, and
%% 16 MiB. Answers the seqs of the first and the last.
%%
%% Those of them that the entity already has are not written again.
-spec append_batch(entity(), [new_event()], append_options()) ->
    {ok, {seq(), seq()}} | {error, write_error()}.
append_batch(Entity, Events, Options) ->
    case write(Entity, Events, Options) of
        {stored, First, Last} -> {ok, {First, Last}};
        {stored_at, [First | _] = Seqs} -> {ok, {First, lists:last(Seqs)}};
        {error, _} = Error -> Error
    end.

write(Entity, Events, Options) ->
    case warp_entity_options:append(Options) of
        {ok, #{expected := Expected, timeout := Timeout}} ->
            Deadline = warp_deadline:from(Timeout),
            in_context(Entity, fun(Context, Id) ->
                case warp_entity_pack:pack(Context, Id, undefined, Events) of
                    {ok, #{bytes := Bytes} = Pack} ->
                        Request = {append, Pack, Expected},
                        finished(warp_entity_call:call(Entity, Request, Bytes, Deadline, once), Pack);
                    {error, _} = Error ->
                        Error
                end
            end);
        {error, _} = Error ->
            Error
    end.

%% After a timeout the entity's process may still have it.
finished({stored, _, _} = Stored, _Pack) ->
    Stored;
finished({error, timeout} = Error, _Pack) ->
    Error;
finished(Answer, Pack) ->
    ok = warp_entity_pack:release(Pack),
    Answer.

%% @equiv decide(Entity, Aggregate, Fun, #{})
-spec decide(entity(), binary(), fun((State :: term()) -> decision(Reason))) ->
    {ok, [seq()]} | {error, write_error() | Reason}.
decide(Entity, Aggregate, Fun) ->
    decide(Entity, Aggregate, Fun, #{}).

%% @doc Checks and acts without a race: runs `Fun(State)' inside the entity's process and appends
%% the events that it returns, as a batch. `{error, Reason}' from it comes back as it is.
%%
%% Messages that it returns beside events are sent when the events are durable (if there are none,
%% when everything before them is), and before the answer. Of a decision that fails none is sent.
%%
%% Events that name no aggregate belong to the one given. The function may run again, on the
%% state of then, when a commit before it failed; it should have no effects of its own, and must
%% not call its own entity.
-spec decide(entity(), binary(), fun((State :: term()) -> decision(Reason)), decide_options()) ->
    {ok, [seq()]} | {error, write_error() | Reason}.
decide(Entity, Aggregate, Fun, Options) when is_function(Fun, 1) ->
    case warp_entity_options:decide(Options) of
        {ok, #{timeout := Timeout}} ->
            Deadline = warp_deadline:from(Timeout),
            in_aggregate(Entity, Aggregate, fun(_Context, _Id) ->
                case warp_entity_call:call(Entity, {decide, Aggregate, Fun}, 0, Deadline, once) of
                    {stored, First, Last} -> {ok, lists:seq(First, Last)};
                    {stored_at, Seqs} -> {ok, Seqs};
                    {error, _} = Error -> Error
                end
            end);
        {error, _} = Error ->
            Error
    end;
decide(_Entity, _Aggregate, _Fun, _Options) ->
    {error, {bad_option, decide, {not_a_function, 1}}}.

%% @doc Decides as `decide/4' does, and does not wait for it. Casts of one process to one entity
%% are carried out in the order they were made.
%%
%% `ok' means that the entity's process has it, not that it is durable: have a message sent for
%% that. It is lost when the process is killed before it has come to it. What fails is logged. `timeout', after
%% five seconds: the process is just leaving memory and takes long, or cannot be started; it may still get it.
-spec cast(entity(), binary(), fun((State :: term()) -> decision(term()))) ->
    ok | {error, write_error()}.
cast(Entity, Aggregate, Fun) when is_function(Fun, 1) ->
    in_aggregate(Entity, Aggregate, fun(_Context, _Id) ->
        warp_entity_call:cast(Entity, {decide, Aggregate, Fun}, warp_deadline:from(?TIMEOUT_MS))
    end);
cast(_Entity, _Aggregate, _Fun) ->
    {error, {bad_option, decide, {not_a_function, 1}}}.

%% @doc The entity's process, started if there is none: for `monitor', `sys' and the like. It is
%% another one after the entity has left memory and comes back; the entity itself is its handle. Waits for
%% five seconds at most.
-spec pid(entity()) -> {ok, pid()} | {error, error()}.
pid(Entity) ->
    in_context(Entity, fun(Context, _Id) ->
        case warp_entity_registry:ensure(Context, Entity, warp_deadline:from(?TIMEOUT_MS)) of
            {ok, Pid, _Pending} -> {ok, Pid};
            {error, _} = Error -> Error
        end
    end).

%% @equiv get(Entity, Aggregate, #{})
-spec get(entity(), binary()) -> {ok, State :: term()} | {error, read_error()}.
get(Entity, Aggregate) ->
    get(Entity, Aggregate, #{}).

%% @doc The state of an aggregate, with everything acknowledged in it. Its initial state when
%% there are no events.
-spec get(entity(), binary(), read_options()) -> {ok, State :: term()} | {error, read_error()}.
get(#warp_entity{ref = Ref, id = Id} = Entity, Aggregate, Options) ->
    case warp_context:find(Ref) of
        {ok, #{mode := actor} = Context} when Options =:= #{} ->
            case warp_entity_states:read(Context, Id, Aggregate) of
                {ok, State, Pending} ->
                    ok = warp_entity_pending:use(Pending),
                    {ok, State};
                none ->
                    fetch(Entity, Aggregate, Options)
            end;
        {ok, #{}} ->
            fetch(Entity, Aggregate, Options);
        not_found ->
            {error, context_stopped}
    end;
get(NotAHandle, Aggregate, Options) ->
    fetch(NotAHandle, Aggregate, Options).

fetch(Entity, Aggregate, Options) ->
    case warp_entity_options:read(Options) of
        {ok, #{timeout := Timeout}} ->
            Deadline = warp_deadline:from(Timeout),
            in_aggregate(Entity, Aggregate, fun
                (#{mode := actor}, _Id) ->
                    warp_entity_call:call(Entity, {get, Aggregate}, 0, Deadline, repeatable);
                (#{mode := read_through} = Context, _Id) ->
                    fold_at(Context, Entity, Aggregate, {seq, infinity}, Deadline)
            end);
        {error, _} = Error ->
            Error
    end.

%% @equiv state_at(Entity, Aggregate, Point, #{})
-spec state_at(entity(), binary(), {seq, seq()} | {time, micros()}) ->
    {ok, State :: term()} | {error, read_error()}.
state_at(Entity, Aggregate, Point) ->
    state_at(Entity, Aggregate, Point, #{}).

%% @doc The state of an aggregate as it was: with all events up to that seq; or, of a time, up to the
%% last event that was recorded by then. `{seq, 0}' is the initial state; a seq or a time to come is
%% the present.
-spec state_at(entity(), binary(), {seq, seq()} | {time, micros()}, read_options()) ->
    {ok, State :: term()} | {error, read_error()}.
state_at(Entity, Aggregate, {Kind, At} = Point, Options) when
    Kind =:= seq, is_integer(At), At >= 0; Kind =:= time, is_integer(At)
->
    case warp_entity_options:read(Options) of
        {ok, #{timeout := Timeout}} ->
            in_aggregate(Entity, Aggregate, fun(Context, _Id) ->
                fold_at(Context, Entity, Aggregate, Point, warp_deadline:from(Timeout))
            end);
        {error, _} = Error ->
            Error
    end;
state_at(_Entity, _Aggregate, _Point, _Options) ->
    {error, {bad_option, at, not_seq_or_time}}.

fold_at(Context, Entity, Aggregate, Point, Deadline) ->
    aside_with_shard(Context, Entity, Deadline, fun(Handle, Id) ->
        warp_entity_replay:state_at(Context, Handle, Id, Aggregate, Point)
    end).

%% @equiv history(Entity, #{})
-spec history(entity()) -> {ok, [event()]} | {error, read_error()}.
history(Entity) ->
    history(Entity, #{}).

%% @doc Events of an entity, in the order asked for, migrated to the current schema.
-spec history(entity(), history_options()) -> {ok, [event()]} | {error, read_error()}.
history(Entity, Options) ->
    case warp_entity_options:history(Options) of
        {ok, #{timeout := Timeout} = Range} ->
            in_context(Entity, fun(Context, _Id) ->
                aside_with_shard(Context, Entity, warp_deadline:from(Timeout), fun(Handle, Id) ->
                    warp_entity_replay:history(Context, Handle, Id, Range)
                end)
            end);
        {error, _} = Error ->
            Error
    end.

%% @equiv export(Entity, #{})
-spec export(entity()) -> {ok, [event()]} | {error, error()}.
export(Entity) ->
    export(Entity, #{}).

%% @doc Every event of an entity, first to last, as it was stored; none for one without events.
%% They can be appended, as they are, to an empty entity of the same name elsewhere.
-spec export(entity(), read_options()) -> {ok, [event()]} | {error, error() | warp_check:wrong()}.
export(Entity, Options) ->
    case warp_entity_options:export(Options) of
        {ok, #{timeout := infinity}} ->
            %% Here, so that nothing of it is copied.
            in_context(Entity, fun(Context, Id) ->
                with_shard(Context, Entity, fun(Handle) -> warp_entity_replay:export(Handle, Id) end)
            end);
        {ok, #{timeout := Timeout}} ->
            in_context(Entity, fun(Context, _Id) ->
                aside_with_shard(Context, Entity, warp_deadline:from(Timeout), fun warp_entity_replay:export/2)
            end);
        {error, _} = Error ->
            Error
    end.

%% @equiv delete(Entity, #{})
-spec delete(entity()) -> ok | {error, delete_error()}.
delete(Entity) ->
    delete(Entity, #{}).

%% @doc Deletes an entity: from memory, the log, snapshots and ids, and from the bytes of the files.
%% Deleting one without events is fine. A new life of the entity may begin after it.
%%
%% Its payloads are cleared from the logs of sagas too. What a saga under way still asks of it is
%% refused with `entity_deleted': a step that was to come turns the saga back, a compensation makes
%% it stuck. In a context with projections its rows are gone from all tables too.
%%
%% A deletion is a list of steps on disk: what is interrupted goes on by itself, also after a restart.
%% The answer comes after `timeout' milliseconds at the latest (10000; `infinity' waits for the end).
%% `timeout': the log may be erased by then or not. `{still_to_erase, #{target, projections, reason}}': the
%% log is erased, but rows may be left in these tables, since the target, or a projector, did not
%% answer. After both Warp goes on by itself. After any other error the entity has to be deleted again.
-spec delete(entity(), #{timeout => timeout()}) -> ok | {error, delete_error()}.
delete(Entity, Options) ->
    case warp_entity_options:delete(Options) of
        {ok, #{timeout := Timeout}} ->
            Deadline = warp_deadline:from(Timeout),
            in_context(Entity, fun(Context, _Id) -> warp_erasure:delete(Context, Entity, Deadline) end);
        {error, _} = Error ->
            Error
    end.

%% @equiv query(Ctx, Sql, Params, #{})
-spec query(ctx(), iodata(), [warp_projection:value()]) ->
    {ok, #{columns := [binary()], rows := [[term()]]}} | {error, query_error()}.
query(Ctx, Sql, Params) ->
    query(Ctx, Sql, Params, #{}).

%% @doc Runs one SQL statement that only reads, on the projection's tables. Parameters are `?1',
%% `?2', ... or `?'.
%%
%% Options: `max_rows' (10000: more is an error), `timeout' (5000 ms, up to 2^32 - 1) and, for rqlite, `level'
%% (`none', `weak', `linearizable', `strong' or `auto'). Text comes as binaries, numbers as numbers,
%% booleans as true and false where they come straight from a column that holds booleans, JSON as
%% its text, a BLOB, and text that is not UTF-8, as `{blob, Bytes}'.
%%
%% The text may have 1 MiB, the parameters 64 MiB in all, the result 64 MiB (`{result_too_large,
%% MaxBytes}'), and any value on the way 16 MiB. On the embedded projection a query may take 256 MiB
%% of memory, such as for sorting (`{query_too_large, MaxBytes}'), and ends at its timeout whatever it
%% is doing. 16 queries of a context run at once there and 256 wait; past that it is `overloaded'.
%% `{target_away, Why}': the tables could not be read now; Why is `interrupted' when the process that ran the
%% query was killed.
-spec query(ctx(), iodata(), [warp_projection:value()], query_options()) ->
    {ok, #{columns := [binary()], rows := [[term()]]}} | {error, query_error()}.
query(Ctx, Sql, Params, Options) ->
    warp_projection:query(Ctx, Sql, Params, Options).

%% @doc Waits until everything that the entity has in its log by now shows in the projection, for
%% `infinity' or up to 2^32 - 1 milliseconds.
%%
%% Errors of its own: `timeout'; `{set_aside, Seq}', when the entity's events from that seq on could
%% not be projected (see {@link warp_projection:set_aside/1}); `rebuild_due', when the tables have
%% events that are not in the log of the entity's shard, as after an older copy of it was put back:
%% nothing more of that shard is projected before {@link warp_projection:rebuild/1}; `no_projections'.
-spec await_projection(entity(), timeout()) ->
    ok | {error, error() | {set_aside, seq()} | rebuild_due | no_projections | {bad_option, timeout, term()}}.
await_projection(Entity, Timeout) ->
    in_context(Entity, fun(_, _) -> warp_projection:await(Entity, Timeout) end).

%% @doc Counters of a context since it was started, and of each shard under `shards': queue depth
%% and limit, commits, appends, events, bytes, and how long commits took (`commit_us') and how
%% long of that their COMMIT, with the fsync (`sync_us'), as `[{BelowMicroseconds, Count}]'.
%% `clock' says how often an entity's last event was found more than a minute ahead of the clock
%% (`ahead'), and by how many seconds the last time (`lead_seconds').
%%
%% `background' of a shard lists the tasks that nobody waits for and that failed when they were last
%% tried, as `#{task, since, error, meaning}', with `since' in microseconds since 1970. A shard that is not
%% open has `unavailable => true', and `error' when it was tried to open it again.
-spec stats(ctx()) -> map() | {error, context_stopped}.
stats(Ctx) ->
    case warp_context:find(Ctx) of
        {ok, Context} -> warp_contexts:stats(Context);
        not_found -> {error, context_stopped}
    end.

%% @doc Overwrites the `recorded_at' of an event that was recorded while the clock was wrong, and of
%% all events that were appended with it as a batch: microseconds since 1970, from 1974 on. For an
%% operator; nothing else of the log is changed.
%%
%% What `apply', `project' or a reader made of the wrong time stays as it is: states that hold it are
%% folded anew when the aggregate's `version' is raised, tables when the projection is rebuilt. Waits for five
%% seconds at most; after `timeout' it may still be done, and can be repeated.
-spec correct_time(entity(), seq(), micros()) ->
    ok | {error, no_event | error() | disk_full | {bad_option, seq | recorded_at, term()}}.
correct_time(Entity, Seq, Micros) ->
    case warp_entity_options:correction(Seq, Micros) of
        ok ->
            Correct = fun(Handle, Id) ->
                case warp_nif:correct_time(Handle, Id, Seq, Micros) of
                    ok -> receive {warp_reply, Answer} -> Answer end;
                    {error, _} = Error -> Error
                end
            end,
            Corrected = in_context(Entity, fun(Context, _Id) ->
                aside_with_shard(Context, Entity, warp_deadline:from(?TIMEOUT_MS), Correct)
            end),
            corrected(Corrected, Entity);
        {error, _} = Error ->
            Error
    end.

corrected(corrected, Entity) ->
    %% Its process knows the time of the last event. The next one reads it.
    _ = [Pid ! passivate || {ok, Pid} <- [warp_entity_registry:lookup(Entity)]],
    ok;
corrected(no_event, _Entity) ->
    {error, no_event};
corrected({failed, closed}, #warp_entity{shard = N}) ->
    {error, {shard_unavailable, N}};
corrected({failed, Reason}, _Entity) ->
    {error, Reason};
corrected({error, _} = Error, _Entity) ->
    Error.

in_aggregate(Entity, Aggregate, Fun) ->
    in_context(Entity, fun(#{aggregates := Aggregates} = Context, Id) ->
        case is_map_key(Aggregate, Aggregates) of
            true -> Fun(Context, Id);
            false -> {error, {unknown_aggregate, Aggregate}}
        end
    end).

in_context(#warp_entity{ref = Ref, id = Id, shard = Shard}, Fun) ->
    case warp_context:find(Ref) of
        {ok, #{shards := Shards} = Context} when
            is_binary(Id), is_integer(Shard), Shard >= 0, Shard < Shards
        ->
            Fun(Context, Id);
        {ok, _} ->
            {error, not_an_id(Shard)};
        not_found ->
            {error, context_stopped}
    end;
in_context(_NotAHandle, _Fun) ->
    {error, {bad_entity_id, not_a_handle}}.

not_an_id({bad_entity_id, _} = Why) -> Why;
not_an_id(_) -> {bad_entity_id, not_a_handle}.

with_shard(Context, #warp_entity{shard = N}, Fun) ->
    case warp_context:shard(Context, N) of
        {ok, Handle} ->
            case Fun(Handle) of
                {error, closed} -> {error, {shard_unavailable, N}};
                Result -> Result
            end;
        {error, _} = Error ->
            Error
    end.

%% For reads that take long, or call the user's functions, which may take for ever.
aside_with_shard(Context, #warp_entity{id = Id} = Entity, Deadline, Fun) ->
    with_shard(Context, Entity, fun(Handle) ->
        warp_entity_call:aside(fun() -> Fun(Handle, Id) end, Deadline)
    end).
