%% @doc Warp: an entity-native, event-sourced database inside a BEAM application.
%%
%% One entity is one process, one writer and one append-only log. When an append answers `{ok, _}' the event is on
%% disk. Reads come from memory.
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
%% Any process can call all functions. Every error is `{error, Reason}', with the reasons in the types below, whatever
%% the arguments are. The only exception is a term in place of a context's handle that is no such handle, such as the
%% context's name: that raises `{not_a_context, Term}'. {@link warp_error:format_error/1} says what each reason means
%% and what to do.
-module(warp_core).

-export([start/1, start_link/1, child_spec/1, context/1, stop/1, entity/2]).
-export([append/2, append/3, append_batch/2, append_batch/3]).
-export([append_request/2, append_request/3, append_request/5]).
-export([append_batch_request/2, append_batch_request/3, append_batch_request/5]).
-export([receive_response/2, receive_response/3, wait_response/2, wait_response/3]).
-export([check_response/2, check_response/3]).
-export([reqids_new/0, reqids_add/3, reqids_size/1, reqids_to_list/1]).
-export([decide/3, decide/4, cast/3, pid/1, shard_of/1]).
-export([get/2, get/3, state_at/3, state_at/4, history/1, history/2, export/1, export/2, import/2, import/3,
         delete/1, delete/2]).
-export([entities/1, entities/2, events/1, events/2]).
-export([query/3, query/4, await_projection/2]).
-export([wait/3, stats/1, verify/1, verify/2, correct_time/3]).

-include("base/warp_entity.hrl").

-export_type([ctx/0, entity/0, seq/0, micros/0, event/0, new_event/0, json/0, aggregate/0]).
-export_type([request_id/0, request_id_collection/0, response/0, response_timeout/0]).
-export_type([append_options/0, decide_options/0, decision/1, read_options/0, history_options/0]).
-export_type([list_options/0, place/0, events_options/0, positions/0, placed_event/0, list_error/0]).
-export_type([exported_event/0, import_error/0]).
-export_type([query_options/0, query_error/0, start_error/0, delete_error/0, receipt/0, error/0]).
-export_type([write_error/0, read_error/0, verify_error/0]).

%% A started context.
-type ctx() :: warp_context:ctx().
%% A handle of one entity: cheap to make, to copy and to send.
-opaque entity() :: #warp_entity{}.
%% The number of an event in its entity's log, from 1. The seq of an entity without events is 0.
-type seq() :: non_neg_integer().
%% Microseconds since 1970, UTC.
-type micros() :: integer().
-type json() ::
    null | boolean() | number() | binary() | [json()] | #{binary() => json()}.
%% An event to append. Warp takes atoms as strings, also as keys, and `nil' as null. Payload and metadata must be JSON
%% objects of at most 1 MiB each, nested at most 128 deep.
-type new_event() :: #{
    type := binary(),
    %% A map, or JSON text.
    payload := map() | binary(),
    %% Default: the context's only aggregate.
    aggregate => binary(),
    %% Makes the append repeatable: one id stands for one event of the entity. Default: `ENTITY#SEQ'.
    id => binary(),
    %% Default: the version of the aggregate.
    schema_vsn => pos_integer(),
    %% Default: an empty object.
    metadata => map() | binary()
}.
%% An event that was read.
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
%% `initial_state' is the state before the first event, and `apply' gives the state after each event. Without `apply'
%% the aggregate is a pure log. `validate' may refuse an event before it is stored. `migrate' brings an event of an
%% older schema version up to date: Warp calls it with every event and its version, before `validate' and `apply' see
%% the event. `project' gives the commands of an event, see {@link warp_projection}. `aliases' are names that the
%% aggregate had earlier: Warp reads events that were stored under them as its own. Raise `version' (default: 1) when
%% `apply' folds differently: Warp ignores snapshots of other versions.
%%
%% Give functions as `fun M:F/A', or as `fun F/A' of an exported function: these keep working when their module is
%% reloaded. Any other fun cannot be called any more when its module was reloaded twice: `stale_function'.
-type aggregate() :: warp_aggregate:aggregate().
-type append_options() :: #{
    %% What the seq of the entity's last event has to be: another one is an error. `no_stream' means 0. Default: any.
    expected => any | no_stream | seq(),
    %% How long to wait, in milliseconds. Default: 5000.
    timeout => timeout()
}.
%% An append that is under way, see {@link append_request/3}. Only the process that made it can take its response.
-opaque request_id() :: warp_entity_request:request_id().
%% Requests that are under way, each with a label.
-opaque request_id_collection() :: warp_entity_request:collection().
%% The seq of an event, or the first and the last one of a batch.
-type response() :: {ok, seq() | {seq(), seq()}} | {error, write_error()}.
%% Milliseconds, or a point in time in milliseconds of the VM's monotonic time.
-type response_timeout() :: timeout() | {abs, integer()}.
-type decide_options() :: #{
    %% How long to wait, in milliseconds. Default: 5000.
    timeout => timeout()
}.
%% The result of a decision: events to append as a batch, and messages to send, in order, when the events are durable.
%% After an error there are neither.
-type decision(Reason) ::
    {ok, [new_event()]} | {ok, [new_event()], [{pid(), Message :: term()}]} | {error, Reason}.
-type read_options() :: #{
    %% How long to wait, in milliseconds. Default: 5000, of an export `infinity'. A read that takes long stores
    %% snapshots from time to time, and the next read goes on from there.
    timeout => timeout()
}.
-type history_options() :: #{
    %% The seq of the first event in the list. Default: the first event, or the last one backward.
    from => seq(),
    %% How many events to read at most. Default: 1000.
    limit => pos_integer(),
    %% Default: forward.
    direction => forward | backward,
    %% Whether the events are brought up to date, or given as they were stored. Default: true.
    migrate => boolean(),
    %% How long to wait, in milliseconds. Default: 5000.
    timeout => timeout()
}.
-type list_options() :: #{
    %% Only entities whose ids begin with it. Default: all.
    prefix => binary(),
    %% Only entities that have events of this aggregate, under its name or one of its aliases. Default: of any.
    aggregate => binary(),
    %% Where the page before ended: its `next'. Default: the first page.
    'after' => place(),
    %% How many entities at most, up to 10000. Default: 1000.
    limit => pos_integer(),
    %% How long to wait, in milliseconds. Default: 5000.
    timeout => timeout()
}.
%% Where a page of a list of entities ended.
-type place() :: warp_entity_list:place().
-type events_options() :: #{
    %% The number of a shard. Default: all, one after the other.
    shard => all | non_neg_integer(),
    %% Where the page before ended: its `next'. Default: from the beginning.
    'after' => positions(),
    %% How many events, up to 10000. Default: 1000.
    limit => pos_integer(),
    %% How long to wait, in milliseconds. Default: 5000.
    timeout => timeout()
}.
%% By number of the shard: up to which position its log was read.
-type positions() :: warp_entity_list:positions().
%% An event with its entity's id, its shard, and its position: where the append that it came with stands in the shard's
%% log. Events of one append share a position.
-type placed_event() :: #{
    entity := binary(),
    shard := non_neg_integer(),
    position := pos_integer(),
    type := binary(),
    payload := #{binary() => json()},
    aggregate := binary(),
    id := binary(),
    schema_vsn := pos_integer(),
    metadata := #{binary() => json()},
    seq := seq(),
    recorded_at := micros()
}.
-type list_error() ::
    context_stopped
    | {shard_unavailable, non_neg_integer()}
    | {node_unavailable, node()}
    | timeout
    | interrupted
    | {migrate_failed, crash()}
    | {bad_return, migrate, term()}
    | {stale_function, #{aggregate := binary(), function := migrate, module := module(), 'fun' := binary()}}
    | {io_error | corrupt | internal, binary()}
    | warp_check:wrong().
%% Where: the user's own frames of the stack, `{Module, Function, Arity, Location}', the innermost first.
-type crash() :: {error | exit | throw, Reason :: term(), Where :: list()}.
%% The errors of starting a context.
-type start_error() ::
    warp_check:error()
    %% A context of this VM or of another one has the folder open.
    | {data_dir_in_use, Dir :: binary()}
    %% `needed' is the limit of open files that would be enough.
    | {too_few_files, #{limit := non_neg_integer(), needed := pos_integer()}}
    %% The native library is missing, or is one of another system: the words of the VM's loader.
    | {nif_not_loaded, Message :: binary()}
    | {shard_count_mismatch, Stored :: pos_integer(), Given :: pos_integer()}
    | {not_a_shard | not_a_projection | was_projected, Path :: binary()}
    | {wrong_identity, Path :: binary(), Found :: binary()}
    | {newer_format, Path :: binary(), Version :: integer()}
    %% The next four are about the target of the projections.
    | {target_refused, Message :: binary()}
    | {no_certificate_in, File :: file:filename_all()}
    | {cannot_read, File :: file:filename_all(), term()}
    | {no_certificates_of_this_system, term()}
    | {application_not_started, atom(), term()}
    %% Of a subscriber: see `t:warp_subscription:error()'.
    | {bad_cursor, term()}
    %% The next four are about the option `cluster', see {@link warp_cluster}.
    | {already_started, Name :: binary()}
    | {folder_of_cluster | folder_not_empty, Dir :: binary()}
    | {folder_of_node, node()}
    | {cluster_refused, node(), term()}
    | interrupted
    | disk_full
    | {io_error | corrupt | internal, binary()}.
%% The errors of checking files.
-type verify_error() ::
    warp_check:wrong()
    | {nif_not_loaded, Message :: binary()}
    | context_stopped
    | {shard_unavailable, non_neg_integer()}
    | interrupted
    | {data_dir_in_use, Dir :: binary()}
    | {not_a_shard, Path :: binary()}
    | {newer_format, Path :: binary(), Version :: integer()}
    | {io_error | corrupt | internal, binary()}.
%% Errors of any operation on an entity.
-type error() ::
    {bad_entity_id, empty | not_utf8 | not_a_binary | reserved | not_a_handle
                    | {too_long, pos_integer(), pos_integer()}}
    | context_stopped
    | {shard_unavailable, non_neg_integer()}
    %% No answer came in time. An append may still be stored: append again with the same event id.
    | timeout
    %% The entity's process was killed meanwhile. An append may be stored: append again with the same event id.
    | interrupted
    %% Too many requests wait. Nothing was done.
    | overloaded
    %% The node that has the entity's shard cannot be reached. Nothing was done.
    | {node_unavailable, node()}
    %% The connection to that node was lost meanwhile. An append may be stored: append again with the same event id.
    | {unknown_outcome, node()}
    | {io_error | corrupt, binary()}
    %% A bug of Warp.
    | {internal, binary()}.
-type read_error() ::
    error()
    | {unknown_aggregate, term()}
    | {apply_failed | migrate_failed, crash()}
    | {bad_return, migrate, term()}
    %% The module that this function of the aggregate comes from was reloaded since the context was started, and the
    %% function cannot be called any more. Nothing was changed. Restart the context, and give functions as
    %% `fun M:F/A', which keep working.
    | {stale_function, #{aggregate := binary(), function := apply | validate | migrate,
                         module := module(), 'fun' := binary()}}
    | warp_check:wrong().
-type write_error() ::
    read_error()
    %% The number of the event in the append, from 1, its field, and what is wrong with the field.
    | {bad_event, pos_integer(), Field :: term(), Why :: term()}
    %% `validate' refused an event.
    | {rejected, term()}
    | {validate_failed | decide_failed, crash()}
    | {bad_return, validate | decide, term()}
    | {wrong_expected_seq, Actual :: seq()}
    %% The event with this seq has the same id, and another aggregate, type or payload.
    | {id_conflict, seq()}
    %% Ids of the form ENTITY#SEQ belong to events that were appended without an id.
    | {reserved_id, binary()}
    %% Two events of the batch have the same id.
    | {duplicate_event_id, binary()}
    | empty_batch
    | {batch_too_large | batch_too_large_bytes, pos_integer(), Max :: pos_integer()}
    | disk_full.

%% An event as {@link export/1} gives it. What a new event can leave out it can leave out too, and `entity' may say
%% whose it is.
-type exported_event() :: #{
    type := binary(),
    payload := map() | binary(),
    aggregate => binary(),
    id => binary(),
    schema_vsn => pos_integer(),
    metadata => map() | binary(),
    seq := seq(),
    recorded_at := micros(),
    entity => binary()
}.
%% The errors of {@link import/3}.
-type import_error() ::
    read_error()
    %% The entity has events. `differs' is the seq of the first one that is not as it was to be, or that is not there.
    | {entity_not_empty, #{last_seq := seq(), differs := seq()}}
    | {import_too_large | import_too_large_bytes, pos_integer(), Max :: pos_integer()}
    | {bad_event, pos_integer(), Field :: term(), Why :: term()}
    | {reserved_id | duplicate_event_id, binary()}
    | empty_batch
    | disk_full.

%% The errors of {@link delete/2}.
-type delete_error() ::
    error()
    | disk_full
    %% The context was started with a projection that is left untouched.
    | {was_projected, Path :: binary()}
    | {still_to_erase, #{target := embedded | rqlite | backup | none, projections := [binary()], reason := term()}}
    | warp_check:wrong().
%% What a deletion removed, and from where: see {@link delete/2}.
-type receipt() :: #{
    entity := binary(),
    shard := non_neg_integer(),
    %% How many events were erased: 0 for an entity that had none.
    events := non_neg_integer(),
    erased_at := micros(),
    %% The parts of Warp that hold nothing of the entity any more, in the order in which they were cleared. The log
    %% has its snapshots too, and `embedded' or `rqlite' is the database of the projections.
    erased_from := [sagas | log | subscriptions | embedded | rqlite | copies],
    %% The nodes that have done their part, the one with the entity's shard first.
    nodes := [node(), ...],
    %% The backups in which the entity is dead data, each with its last cut: no cut up to that one has anything of it
    %% that can be read, see {@link warp_backup}.
    backups := [#{to := binary(), cut := non_neg_integer()}]
}.

%% See {@link query/4}.
-type query_options() :: #{
    %% More rows are an error. Default: 10000.
    max_rows => pos_integer(),
    %% In milliseconds. Default: 5000.
    timeout => pos_integer(),
    %% The read consistency level of an rqlite.
    level => default | none | weak | linearizable | strong | auto
}.
-type query_error() ::
    context_stopped
    | no_projections
    | read_only
    | {sql_error, binary()}
    | {too_many_rows, Max :: pos_integer()}
    | {result_too_large, MaxBytes :: pos_integer()}
    %% The query needs more memory, such as for sorting, than a query may have.
    | {query_too_large, MaxBytes :: pos_integer()}
    | timeout
    | overloaded
    %% The target is unreachable, or cannot be used now.
    | {target_away, term()}
    %% The number of the parameter, from 1, and what is wrong with it.
    | {bad_param, pos_integer(), term()}
    | {bad_params, term()}
    | {bad_option, term(), term()}
    | {unknown_option, term()}.

%% How long functions without a timeout wait.
-define(TIMEOUT_MS, 5000).
%% How long a deletion waits without a timeout.
-define(DELETE_MS, 10000).
%% How much longer a call may take whose page ends at its timeout.
-define(ROOM_MS, 100).

%% @doc Starts a context, and the application `warp_core' if it is not running.
%%
%% Required options:
%% <ul>
%% <li>`context': the name, a binary of up to 200 letters, digits, `_', `.' and `-'.</li>
%% <li>`data_dir': a folder. The shards are `DATA_DIR/CONTEXT/shard-0000.db' and so on.</li>
%% <li>`aggregates': a list of `t:aggregate()'.</li>
%% </ul>
%% Further options and their defaults:
%% <ul>
%% <li>`shards' (16): how many files the entities are spread over, 1 to 4096. Never change it: the folder keeps the
%% number of its first start.</li>
%% <li>`mode' (`actor'): in `actor' entities stay in memory, in `read_through' each read folds the log.</li>
%% <li>`durability' (`full'): with `full' an event is synced to the disk before it is acknowledged. With `normal' a
%% power failure may lose events that were acknowledged.</li>
%% <li>`file_access' (`owner'): with `owner' only the VM's user can read the files and folders that Warp creates, with
%% `umask' everybody whom the umask lets.</li>
%% <li>`snapshot_every' (1000): after how many events an entity's states are stored as snapshots.</li>
%% <li>`idle_timeout' (60000): after how many milliseconds without a request an entity leaves memory, or
%% `infinity'.</li>
%% <li>`max_pending' (10000): how many requests may wait for one entity; more are `overloaded'.</li>
%% <li>`steps': functions that the steps of sagas name, see {@link warp_saga}.</li>
%% <li>`projections' (`none'): `embedded', `{embedded, Config}' or `{rqlite, Config}', see
%% {@link warp_projection}. `untouched': nothing is projected, and tables that were made before stay as they are, so
%% that deletions are refused with `{was_projected, Path}'; for looking into a context without its functions.</li>
%% <li>`cluster' (`single_node'): `{clustered, Options}', with a map, shares the context with other nodes, see
%% {@link warp_cluster}. `seed_nodes' are names of nodes that the context runs on: this node joins the cluster of the
%% first one that answers. The first seed of the list creates the cluster, when no other seed is a member of one;
%% with `bootstrap => true' (`false') this node does.</li>
%% </ul>
%%
%% Waits without a limit until all shards are open, as long as the disk takes to open and to recover their files. Does
%% not wait for a target of projections that is unreachable.
%%
%% Errors are those of `t:start_error()'. After an error nothing is left running, and files of other programs are
%% unchanged.
-spec start(map()) -> {ok, ctx()} | {error, start_error()}.
start(Options) ->
    case settings(Options) of
        {ok, Settings} -> warp_contexts:start(Settings);
        {error, _} = Error -> Error
    end.

settings(Options) ->
    case warp_nif:loaded() of
        ok -> warp_context_options:start(Options);
        {error, _} = Error -> Error
    end.

%% @doc Starts a context as a child of a supervisor. The context runs as long as the process that this function gives,
%% which is linked to the caller. When a supervisor ends that process, or it is killed, Warp stops the context. When
%% the context ends, that process ends too, and its supervisor restarts both.
%%
%% Options, errors and waiting are those of {@link start/1}. `interrupted': the process was killed before the context
%% had started.
-spec start_link(map()) -> {ok, pid(), ctx()} | {error, start_error()}.
start_link(Options) ->
    case settings(Options) of
        {ok, Settings} -> warp_context_child:start_link(Settings);
        {error, _} = Error -> Error
    end.

%% @doc The child specification of a context for a supervisor (in Elixir `{:warp_core, options}' in a list of
%% children). Options are those of {@link start/1}. {@link context/1} gives the handle of the running context.
-spec child_spec(map()) -> supervisor:child_spec().
child_spec(Options) ->
    Name = case Options of #{context := Given} -> Given; _ -> undefined end,
    %% A context that stops writes the rest of its indexes, which can take long on a slow disk.
    #{id => {?MODULE, Name}, start => {?MODULE, start_link, [Options]}, shutdown => infinity}.

%% @doc The handle of the context of that name that {@link start_link/1} started. A context that was restarted has
%% another handle than before. `context_stopped': no such context is running.
-spec context(binary()) -> {ok, ctx()} | {error, context_stopped}.
context(Name) ->
    warp_context_child:named(Name).

%% @doc Stops a context. Everything that was acknowledged is on disk, and calls under way get an error. Does nothing
%% for a context that is stopped.
%%
%% Waits until each shard has written the rest of its index and closed its file. A shard whose disk does not answer
%% is killed after a minute, and the next start recovers its log.
-spec stop(ctx()) -> ok.
stop(Ctx) ->
    warp_contexts:stop(Ctx).

%% @doc The handle of the entity with an id, which is any UTF-8 binary of 1 to 512 bytes. An entity need not exist for
%% that: it begins with its first event. An operation on a handle with an invalid id gives
%% `{error, {bad_entity_id, Why}}'. Ids that begin with `$warp/' are Warp's own: `reserved'.
-spec entity(ctx(), binary()) -> entity().
entity({warp_context, Ref, _Shards}, <<"$warp/", _/binary>> = Id) when ?IS_REF(Ref) ->
    #warp_entity{ref = Ref, id = Id, shard = {bad_entity_id, reserved}};
entity({warp_context, Ref, Shards}, Id) when is_integer(Shards), ?IS_REF(Ref) ->
    case warp_nif:shard_of(Id, Shards) of
        {ok, N} -> #warp_entity{ref = Ref, id = warp_compact:binary(Id), shard = N};
        {error, Why} -> #warp_entity{ref = Ref, id = Id, shard = {bad_entity_id, Why}}
    end;
entity(Term, _Id) ->
    error({not_a_context, Term}).

%% @equiv append(Entity, Event, #{})
-spec append(entity(), new_event()) -> {ok, seq()} | {error, write_error()}.
append(Entity, Event) ->
    append(Entity, Event, #{}).

%% @doc Appends an event, and answers with its seq when the event is durable.
%%
%% An event whose id the entity already has is not written again: the answer is the seq that the event got the first
%% time, even if the append would be refused now. Options and errors are in `t:append_options()' and
%% `t:write_error()'.
-spec append(entity(), new_event(), append_options()) -> {ok, seq()} | {error, write_error()}.
append(Entity, Event, Options) ->
    at_owner(Entity, append, [Event, Options], once, fun() ->
        warp_entity_request:result(one, write(Entity, [Event], Options))
    end).

%% @equiv append_batch(Entity, Events, #{})
-spec append_batch(entity(), [new_event()]) -> {ok, {seq(), seq()}} | {error, write_error()}.
append_batch(Entity, Events) ->
    append_batch(Entity, Events, #{}).

%% @doc Appends 1 to 10,000 events of 16 MiB in all as one: all of them are stored, or none. Answers with the seqs of
%% the first and the last event when they are durable.
%%
%% Events whose ids the entity already has are not written again. Options and errors are those of {@link append/3}.
-spec append_batch(entity(), [new_event()], append_options()) ->
    {ok, {seq(), seq()}} | {error, write_error()}.
append_batch(Entity, Events, Options) ->
    at_owner(Entity, append_batch, [Events, Options], once, fun() ->
        warp_entity_request:result(batch, write(Entity, Events, Options))
    end).

write(Entity, Events, Options) ->
    case packed(Entity, Events, Options) of
        {ok, Request, #{bytes := Bytes} = Pack, Deadline} ->
            finished(warp_entity_call:call(Entity, Request, Bytes, Deadline, once), Pack);
        {error, _} = Error ->
            Error
    end.

packed(Entity, Events, Options) ->
    case warp_entity_options:append(Options) of
        {ok, #{expected := Expected, timeout := Timeout}} ->
            Deadline = warp_deadline:from(Timeout),
            in_context(Entity, fun(Context, Id) ->
                case warp_entity_pack:pack(Context, Id, undefined, Events) of
                    {ok, Pack} -> {ok, {append, Pack, Expected}, Pack, Deadline};
                    {error, _} = Error -> Error
                end
            end);
        {error, _} = Error ->
            Error
    end.

%% Frees the memory of the events. Not after a timeout, since the entity's process may still store them, and not after
%% the writer has stored them, which frees them itself.
finished({stored, _, _} = Stored, _Pack) ->
    Stored;
finished({error, timeout} = Error, _Pack) ->
    Error;
finished(Answer, Pack) ->
    ok = warp_entity_pack:release(Pack),
    Answer.

%% @equiv append_request(Entity, Event, #{})
-spec append_request(entity(), new_event()) -> request_id().
append_request(Entity, Event) ->
    append_request(Entity, Event, #{}).

%% @doc Appends an event as {@link append/3} does, but does not wait for the answer, so that one process can keep
%% thousands of appends under way. Always gives a request: whatever goes wrong is the response to it, such as
%% `{error, overloaded}'. {@link receive_response/2}, {@link wait_response/2} and {@link check_response/2} take the
%% response. The names and their meaning are those of `gen_server:send_request/2' and its relatives.
%%
%% Requests of one process to one entity are carried out in the order in which they were made. One that fails stores
%% nothing, and later ones may be stored; `expected' makes one depend on another. Warp does not make a request again
%% that it has handed to the entity's process: after `interrupted' the event may be stored or not, as after `timeout',
%% and an append with the same event id makes sure. `interrupted' comes at once when the process is killed.
%%
%% The call waits for nothing while the entity's process is in memory. Where Warp has to start it, it waits for that,
%% usually for some ten microseconds. Where the process is just leaving memory, it waits for its end. The option
%% `timeout' limits these waits, and `{error, timeout}' is the response when it is over. It does not limit how long
%% the append itself takes.
-spec append_request(entity(), new_event(), append_options()) -> request_id().
append_request(Entity, Event, Options) ->
    request(Entity, append_request, [Event, Options], fun() ->
        warp_entity_request:send(one, Entity, packed(Entity, [Event], Options))
    end).

%% @doc Makes a request as {@link append_request/3} does, and gives the collection with the request, under a label.
%% Fails with `badarg' for a term that is no collection.
-spec append_request(entity(), new_event(), append_options(), Label :: term(), request_id_collection()) ->
    request_id_collection().
append_request(Entity, Event, Options, Label, Requests) ->
    _ = reqids_size(Requests),
    reqids_add(append_request(Entity, Event, Options), Label, Requests).

%% @equiv append_batch_request(Entity, Events, #{})
-spec append_batch_request(entity(), [new_event()]) -> request_id().
append_batch_request(Entity, Events) ->
    append_batch_request(Entity, Events, #{}).

%% @doc Appends events as {@link append_batch/3} does, but does not wait for the answer: see {@link append_request/3}.
-spec append_batch_request(entity(), [new_event()], append_options()) -> request_id().
append_batch_request(Entity, Events, Options) ->
    request(Entity, append_batch_request, [Events, Options], fun() ->
        warp_entity_request:send(batch, Entity, packed(Entity, Events, Options))
    end).

%% A request that the owner of the entity's shard makes for the calling process. `Local' makes it on this node.
request(#warp_entity{ref = Ref, shard = N} = Entity, Function, Args, Local) when is_integer(N), N >= 0 ->
    case warp_context:find(Ref) of
        {ok, #{shards := Shards} = Context} when N < Shards ->
            Patience = fun() -> patience(Function, Args) end,
            case warp_cluster_call:reach(Context, N, Patience) of
                here -> Local();
                Reached -> warp_entity_request:forward(Ref, Reached, {?MODULE, Function, [Entity | Args]}, Patience())
            end;
        _ ->
            Local()
    end;
request(_NotAHandle, _Function, _Args, Local) ->
    Local().
%% @doc Makes a request as {@link append_batch_request/3} does, and gives the collection with the request, under a
%% label. Fails with `badarg' for a term that is no collection.
-spec append_batch_request(entity(), [new_event()], append_options(), Label :: term(), request_id_collection()) ->
    request_id_collection().
append_batch_request(Entity, Events, Options, Label, Requests) ->
    _ = reqids_size(Requests),
    reqids_add(append_batch_request(Entity, Events, Options), Label, Requests).

%% @doc Waits for the response to a request that the calling process has made, for a time in milliseconds, until a
%% point in time (`{abs, Milliseconds}', of `erlang:monotonic_time(millisecond)'), or without a limit (`infinity').
%%
%% The response is what {@link append/3} or {@link append_batch/3} would have given. After `timeout' the request is
%% given up: its response never comes into the mailbox, while the append is carried out all the same. A response can
%% be received once.
%%
%% Errors beside the response: `{bad_option, request, not_a_request}' and `{bad_option, timeout, Why}'.
-spec receive_response(request_id(), response_timeout()) -> response() | timeout.
receive_response(Request, Timeout) ->
    warp_entity_request:receive_response(Request, Timeout).

%% @doc Waits for the next response to any request of a collection, and gives it with the label of the request, and
%% with the collection, which has the request no more if `Delete' is true. `no_request': the collection is empty.
%%
%% After `timeout' all requests of the collection are given up. Errors are those of {@link receive_response/2}, and
%% `{bad_option, delete, Why}'.
-spec receive_response(request_id_collection(), response_timeout(), Delete :: boolean()) ->
    {response(), Label :: term(), request_id_collection()} | no_request | timeout
    | {error, {bad_option, request | timeout | delete, term()}}.
receive_response(Requests, Timeout, Delete) ->
    warp_entity_request:receive_response(Requests, Timeout, Delete).

%% @doc Waits for a response as {@link receive_response/2} does, but does not give the request up: after `timeout' the
%% response can still be received.
-spec wait_response(request_id(), response_timeout()) -> response() | timeout.
wait_response(Request, Timeout) ->
    warp_entity_request:wait_response(Request, Timeout).

%% @doc Waits for a response as {@link receive_response/3} does, but gives no request up.
-spec wait_response(request_id_collection(), response_timeout(), Delete :: boolean()) ->
    {response(), Label :: term(), request_id_collection()} | no_request | timeout
    | {error, {bad_option, request | timeout | delete, term()}}.
wait_response(Requests, Timeout, Delete) ->
    warp_entity_request:wait_response(Requests, Timeout, Delete).

%% @doc The response to a request, if a message that the calling process has received is that, and `no_reply' if it is
%% not. For a process with a loop of its own, such as a `gen_server' in its `handle_info'.
-spec check_response(Message :: term(), request_id()) -> response() | no_reply.
check_response(Message, Request) ->
    warp_entity_request:check_response(Message, Request).

%% @doc The response to a request of a collection, if a message is that: see {@link check_response/2} and {@link
%% receive_response/3}.
-spec check_response(Message :: term(), request_id_collection(), Delete :: boolean()) ->
    {response(), Label :: term(), request_id_collection()} | no_request | no_reply
    | {error, {bad_option, request | delete, term()}}.
check_response(Message, Requests, Delete) ->
    warp_entity_request:check_response(Message, Requests, Delete).

%% @doc A collection without requests.
-spec reqids_new() -> request_id_collection().
reqids_new() ->
    warp_entity_request:new().

%% @doc Adds a request to a collection, under a label. Fails with `badarg' when the collection has the request, and
%% for terms that are no request or no collection.
-spec reqids_add(request_id(), Label :: term(), request_id_collection()) -> request_id_collection().
reqids_add(Request, Label, Requests) ->
    warp_entity_request:add(Request, Label, Requests).

%% @doc How many requests a collection has. Fails with `badarg' for a term that is no collection.
-spec reqids_size(request_id_collection()) -> non_neg_integer().
reqids_size(Requests) ->
    warp_entity_request:size(Requests).

%% @doc The requests of a collection with their labels. Fails with `badarg' for a term that is no collection.
-spec reqids_to_list(request_id_collection()) -> [{request_id(), Label :: term()}].
reqids_to_list(Requests) ->
    warp_entity_request:to_list(Requests).

%% @equiv decide(Entity, Aggregate, Fun, #{})
-spec decide(entity(), binary(), fun((State :: term()) -> decision(Reason))) ->
    {ok, [seq()]} | {error, write_error() | Reason}.
decide(Entity, Aggregate, Fun) ->
    decide(Entity, Aggregate, Fun, #{}).

%% @doc Checks and acts without a race: the entity's process runs `Fun(State)' and appends the events that it returns,
%% as a batch. Answers with their seqs when they are durable. If Fun returns `{error, Reason}' the caller gets that.
%%
%% Fun may also return messages, see `t:decision(Reason)'. Warp sends them when the events are durable (without events,
%% when all earlier appends are), and before the answer. A decision that fails sends no messages.
%%
%% Events that name no aggregate belong to the one given. When an earlier commit fails, Fun may run again, on the
%% state of that moment. Fun should have no effects of its own, and must not call its own entity.
%%
%% Errors: those of `t:write_error()', such as `{decide_failed, Crash}' when Fun crashed and `{bad_return, decide,
%% Returned}' when it returned something else; and `{bad_option, decide, Why}' when Fun is no function of one argument.
-spec decide(entity(), binary(), fun((State :: term()) -> decision(Reason)), decide_options()) ->
    {ok, [seq()]} | {error, write_error() | Reason}.
decide(Entity, Aggregate, Fun, Options) when is_function(Fun, 1) ->
    case warp_entity_options:decide(Options) of
        {ok, #{timeout := Timeout}} ->
            Deadline = warp_deadline:from(Timeout),
            at_owner(Entity, decide, [Aggregate, Fun, Options], once, fun() ->
                in_aggregate(Entity, Aggregate, fun(_Context, _Id) ->
                    decided(warp_entity_call:call(Entity, {decide, Aggregate, Fun}, 0, Deadline, once))
                end)
            end);
        {error, _} = Error ->
            Error
    end;
decide(_Entity, _Aggregate, _Fun, _Options) ->
    {error, {bad_option, decide, {not_a_function, 1}}}.

decided({stored, First, Last}) -> {ok, lists:seq(First, Last)};
decided({stored_at, Seqs}) -> {ok, Seqs};
decided({error, _} = Error) -> Error.

%% @doc Decides as {@link decide/4} does, but does not wait for the result. Casts of one process to one entity are
%% carried out in their order.
%%
%% `ok' means that the entity's process has the decision, not that its events are durable: let Fun return a message
%% to learn of that. A decision is lost when the process is killed before it reaches the decision. A decision that
%% fails is logged.
%%
%% Errors are those of {@link decide/4} that come before the decision. `timeout', after five seconds: the process is
%% just leaving memory, or could not be started yet; it may still get the decision.
-spec cast(entity(), binary(), fun((State :: term()) -> decision(term()))) ->
    ok | {error, write_error()}.
cast(Entity, Aggregate, Fun) when is_function(Fun, 1) ->
    at_owner(Entity, cast, [Aggregate, Fun], once, fun() ->
        in_aggregate(Entity, Aggregate, fun(_Context, _Id) ->
            warp_entity_call:cast(Entity, {decide, Aggregate, Fun}, warp_deadline:from(?TIMEOUT_MS))
        end)
    end);
cast(_Entity, _Aggregate, _Fun) ->
    {error, {bad_option, decide, {not_a_function, 1}}}.

%% @doc The number of the shard that the entity lives in, from 0. Its events are in the file `shard-NNNN.db' of the
%% context's folder, with the number in four digits. Waits for nothing.
-spec shard_of(entity()) -> {ok, non_neg_integer()} | {error, {bad_entity_id, term()} | context_stopped}.
shard_of(Entity) ->
    in_context(Entity, fun(Context, Id) -> warp_context:shard_of(Context, Id) end).

%% @doc The entity's process, for `monitor', `sys' and the like. Warp starts it if there is none, and waits up to five
%% seconds for that. An entity that left memory and came back has another process. Use the handle to address the
%% entity.
-spec pid(entity()) -> {ok, pid()} | {error, error()}.
pid(Entity) ->
    at_owner(Entity, pid, [], repeatable, fun() ->
        in_context(Entity, fun(Context, _Id) ->
            case warp_entity_registry:ensure(Context, Entity, warp_deadline:from(?TIMEOUT_MS)) of
                {ok, Pid, _Pending} -> {ok, Pid};
                {error, _} = Error -> Error
            end
        end)
    end).

%% @equiv get(Entity, Aggregate, #{})
-spec get(entity(), binary()) -> {ok, State :: term()} | {error, read_error()}.
get(Entity, Aggregate) ->
    get(Entity, Aggregate, #{}).

%% @doc The state of an aggregate after all events that were acknowledged, or its initial state without events. Options
%% and errors are in `t:read_options()' and `t:read_error()'.
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
    at_owner(Entity, get, [Aggregate, Options], repeatable, fun() -> fetch_here(Entity, Aggregate, Options) end).

fetch_here(Entity, Aggregate, Options) ->
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

%% @doc The state of an aggregate as it was: with all events up to a seq; or, for a time in microseconds since 1970, up
%% to the last event that was recorded by then. `{seq, 0}' gives the initial state. A seq or a time in the future gives
%% the present state.
%%
%% Options and errors are those of {@link get/3}; and `{bad_option, at, not_seq_or_time}'.
-spec state_at(entity(), binary(), {seq, seq()} | {time, micros()}, read_options()) ->
    {ok, State :: term()} | {error, read_error()}.
state_at(Entity, Aggregate, {Kind, At} = Point, Options) when
    Kind =:= seq, is_integer(At), At >= 0; Kind =:= time, is_integer(At)
->
    case warp_entity_options:read(Options) of
        {ok, #{timeout := Timeout}} ->
            at_owner(Entity, state_at, [Aggregate, Point, Options], repeatable, fun() ->
                in_aggregate(Entity, Aggregate, fun(Context, _Id) ->
                    fold_at(Context, Entity, Aggregate, Point, warp_deadline:from(Timeout))
                end)
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

%% @doc Events of an entity, in the order that `direction' asks for, migrated to the current schema. With
%% `migrate => false' they come as they were stored, as {@link export/1} gives them. Options and errors are in
%% `t:history_options()' and `t:read_error()'.
-spec history(entity(), history_options()) -> {ok, [event()]} | {error, read_error()}.
history(Entity, Options) ->
    case warp_entity_options:history(Options) of
        {ok, #{timeout := Timeout} = Range} ->
            at_owner(Entity, history, [Options], repeatable, fun() ->
                in_context(Entity, fun(Context, _Id) ->
                    aside_with_shard(Context, Entity, warp_deadline:from(Timeout), fun(Handle, Id) ->
                        warp_entity_replay:history(Context, Handle, Id, Range)
                    end)
                end)
            end);
        {error, _} = Error ->
            Error
    end.

%% @equiv export(Entity, #{})
-spec export(entity()) -> {ok, [event()]} | {error, error()}.
export(Entity) ->
    export(Entity, #{}).

%% @doc All events of an entity, from the first to the last, as they were stored: an empty list without events. {@link
%% import/3} puts them back, there or elsewhere; an append takes them too, as new events of its own time. Waits without
%% a limit unless `timeout' gives one.
-spec export(entity(), read_options()) -> {ok, [event()]} | {error, error() | warp_check:wrong()}.
export(Entity, Options) ->
    at_owner(Entity, export, [Options], repeatable, fun() -> export_here(Entity, Options) end).

export_here(Entity, Options) ->
    case warp_entity_options:export(Options) of
        {ok, #{timeout := infinity}} ->
            %% The caller reads by itself, so that no other process has to copy the events to it.
            in_context(Entity, fun(Context, Id) ->
                #warp_entity{shard = N} = Entity,
                warp_context:with_shard(Context, N, fun(Handle) -> warp_entity_replay:export(Handle, Id) end)
            end);
        {ok, #{timeout := Timeout}} ->
            in_context(Entity, fun(Context, _Id) ->
                aside_with_shard(Context, Entity, warp_deadline:from(Timeout), fun warp_entity_replay:export/2)
            end);
        {error, _} = Error ->
            Error
    end.

%% @equiv import(Entity, Events, #{})
-spec import(entity(), [exported_event(), ...]) -> {ok, seq()} | {error, import_error()}.
import(Entity, Events) ->
    import(Entity, Events, #{}).

%% @doc Puts the events of an entity back as they were, such as those that {@link export/1} gave of a context that was
%% restored from a backup: with their seqs, ids, types, versions, payloads, metadata and times. Answers with the seq of
%% the last one when all of them are durable.
%%
%% The entity must have no events, and the list all events from the first one on, in order. All are stored or none, and
%% no reader ever sees a part of them. Aggregates fold them, and projections, subscriptions and policies get them as new
%% rows; `validate' is not called, since they are facts. An aggregate that is gone has to be given to start again, and
%% one that was renamed needs its old name among its `aliases'.
%%
%% An import that is made again, as after `timeout' or `interrupted', answers as it did the first time, also if events
%% were appended since. Waits without a limit unless `timeout' gives one.
%%
%% An import may have 100,000 events, and 32 MiB as JSON: they are one commit, and all appends of the context wait for
%% it. A larger entity can only be restored into a context of its own.
%%
%% Errors: `{entity_not_empty, #{last_seq => Seq, differs => Differs}}': the entity has other events, from the seq
%% Differs on. `{import_too_large | import_too_large_bytes, Count, Max}'. `{bad_event, N, Field, Why}': a seq is not the
%% next one, a time is none, or something else is no event; with the field `entity' or `id' also: it is one of another
%% entity. `{apply_failed | migrate_failed, Crash}', `{bad_return, migrate, Returned}': the events cannot be folded, and
%% nothing was stored. `empty_batch', `duplicate_event_id', `reserved_id', `unknown_aggregate', `disk_full', and those
%% of `t:error()'.
-spec import(entity(), [exported_event(), ...], #{timeout => timeout()}) -> {ok, seq()} | {error, import_error()}.
import(Entity, Events, Options) ->
    case warp_entity_options:import(Options) of
        {ok, #{timeout := Timeout}} ->
            Deadline = warp_deadline:from(Timeout),
            at_owner(Entity, import, [Events, Options], idempotent, fun() ->
                in_context(Entity, fun(Context, Id) ->
                    case warp_entity_import:prepare(Context, Id, Events, Deadline) of
                        {ok, Import} -> imported(Context, Entity, Events, Import, Deadline);
                        {error, _} = Error -> Error
                    end
                end)
            end);
        {error, _} = Error ->
            Error
    end.

%% NOTE: after a timeout the entity's process may still store the events.
imported(Context, Entity, Events, #{bytes := Bytes} = Import, Deadline) ->
    case warp_entity_call:call(Entity, {import, Import}, Bytes, Deadline, repeatable) of
        {error, timeout} = Error ->
            Error;
        Answer ->
            ok = warp_entity_import:release(Import),
            case Answer of
                {stored, 1, Last} -> {ok, Last};
                {error, {entity_not_empty, Found}} -> imported_before(Context, Entity, Events, Found, Deadline);
                {error, _} = Error -> Error
            end
    end.

imported_before(Context, #warp_entity{id = Id, shard = N}, Events, Found, Deadline) ->
    Compared = warp_context:with_shard(Context, N, fun(Handle) ->
        warp_entity_import:compare(Context, Handle, Id, Events, Deadline)
    end),
    case Compared of
        same -> {ok, length(Events)};
        {differs, Seq} -> {error, {entity_not_empty, Found#{differs => Seq}}};
        {error, _} = Error -> Error
    end.

%% @equiv entities(Ctx, #{})
-spec entities(ctx()) ->
    {ok, #{entities := [#{id := binary(), seq := seq()}], next := place() | done}} | {error, list_error()}.
entities(Ctx) ->
    entities(Ctx, #{}).

%% @doc A page of the entities that have events, each with its id and the seq of its last event. Their order means
%% nothing. `next' of a page is `after' of the next one, and `done' after the last one. A page may have fewer entities
%% than `limit', or none, before the last: where only few are wanted of very many, it ends after `timeout'.
%%
%% An entity that has events while all pages are read is listed once. One that is deleted, or gets its first event,
%% meanwhile may be listed or not. Warp reads the index for this, and of each entity that may be wanted its id; with
%% `aggregate' only entities that have such events.
%%
%% Options are in `t:list_options()', errors in `t:list_error()'; `{bad_option, 'after', not_a_place}' where `after' is
%% no `next' of a page.
-spec entities(ctx(), list_options()) ->
    {ok, #{entities := [#{id := binary(), seq := seq()}], next := place() | done}} | {error, list_error()}.
entities(Ctx, Options) ->
    case warp_entity_options:entities(Options) of
        {ok, #{timeout := Timeout} = Wanted} ->
            in(Ctx, fun(Context) ->
                Deadline = warp_deadline:from(Timeout),
                List = fun() -> warp_entity_list:entities(Context, Wanted, Deadline) end,
                warp_entity_call:aside(List, with_room(Deadline))
            end);
        {error, _} = Error ->
            Error
    end.

%% @equiv events(Ctx, #{})
-spec events(ctx()) ->
    {ok, #{events := [placed_event()], next := positions(), more := boolean()}} | {error, list_error()}.
events(Ctx) ->
    events(Ctx, #{}).

%% @doc Events of all entities, of one shard or of all shards one after the other, in the order in which each shard
%% stored them, migrated to the current schema. `next' of a page is `after' of the next one. `more' is false when the
%% log ends there; later `next' gives what was stored since.
%%
%% A page ends where an append ends: it has at least `limit' events unless `more' is false or `timeout' has passed, and
%% at most as many more as its last append has. Events of deleted entities are not there. For work that has to be done
%% once for each event, remember `next' together with what was done.
%%
%% Options are in `t:events_options()', errors in `t:list_error()'; `{bad_option, 'after', not_positions}' where `after'
%% is no `next' of a page.
-spec events(ctx(), events_options()) ->
    {ok, #{events := [placed_event()], next := positions(), more := boolean()}} | {error, list_error()}.
events(Ctx, Options) ->
    in(Ctx, fun(#{shards := Shards} = Context) ->
        case warp_entity_options:events(Options, Shards) of
            {ok, #{timeout := Timeout} = Wanted} ->
                Deadline = warp_deadline:from(Timeout),
                Read = fun() -> warp_entity_list:events(Context, Wanted, Deadline) end,
                warp_entity_call:aside(Read, with_room(Deadline));
            {error, _} = Error ->
                Error
        end
    end).

%% At its deadline a read gives what it has by then. One that does not is given up soon after.
with_room(infinity) -> infinity;
with_room(Deadline) -> Deadline + ?ROOM_MS.

in(Ctx, Fun) ->
    case warp_context:of_handle(Ctx) of
        {ok, Context} -> Fun(Context);
        not_found -> {error, context_stopped}
    end.

%% @equiv delete(Entity, #{})
-spec delete(entity()) -> ok | {error, delete_error()}.
delete(Entity) ->
    delete(Entity, #{}).

%% @doc Deletes an entity: from memory, the log, snapshots and ids, and from the bytes of the files. Deleting an entity
%% without events is no error. A new life of the entity may begin afterwards.
%%
%% Warp also clears the entity's payloads from the logs of sagas. Later steps and compensations of a running saga on
%% the entity are refused with `entity_deleted': a step turns the saga back, and a compensation makes it stuck. In a
%% context with projections Warp also erases the entity's rows from all tables. In a cluster all of that happens on
%% every node; one that is down does its part when it is back, before it shows anything of a new life.
%%
%% A deletion is a list of steps on disk, and Warp finishes it by itself when it is interrupted, also after a restart.
%% The answer comes after `timeout' milliseconds at the latest (10000; `infinity' waits for the end).
%%
%% Errors: `timeout': the log may be erased by then or not. `{still_to_erase, #{target, projections, reason}}': the log
%% is erased, but rows may be left in these tables, since the target or a projector did not answer; or something may be
%% left on another node of a cluster, such as with the reason `{node_unavailable, Node}'. After both Warp goes on by
%% itself. After any other error the caller has to delete the entity again.
%%
%% With `receipt => true' (false) the answer is `{ok, Receipt}', which says what was removed from where. Warp keeps no
%% receipt, since it would name the entity. The receipt of a deletion that is asked for again, after an error, has the
%% events that were left.
-spec delete(entity(), #{timeout => timeout(), receipt => boolean()}) ->
    ok | {ok, receipt()} | {error, delete_error()}.
delete(Entity, Options) ->
    case warp_entity_options:delete(Options) of
        {ok, #{timeout := Timeout, receipt := Receipt}} ->
            Deadline = warp_deadline:from(Timeout),
            at_owner(Entity, delete, [Options], idempotent, fun() ->
                in_context(Entity, fun(Context, _Id) ->
                    case deleted(Context, Entity, Deadline) of
                        {ok, _} = Deleted when Receipt -> Deleted;
                        {ok, _} -> ok;
                        {error, _} = Error -> Error
                    end
                end)
            end);
        {error, _} = Error ->
            Error
    end.

%% Backups come last: a target that cannot be reached must not keep the entity's next life from anything.
deleted(Context, Entity, Deadline) ->
    case warp_erasure:delete(Context, Entity, Deadline) of
        {ok, Receipt} ->
            case warp_backup_server:erased(Context, Deadline) of
                {ok, Backups} ->
                    {ok, Receipt#{backups => Backups}};
                {error, interrupted} = Error ->
                    Error;
                {error, Why} ->
                    {error, {still_to_erase, #{target => backup, projections => [], reason => Why}}}
            end;
        {error, _} = Error ->
            Error
    end.

%% @equiv query(Ctx, Sql, Params, #{})
-spec query(ctx(), iodata(), [warp_projection:value()]) ->
    {ok, #{columns := [binary()], rows := [[term()]]}} | {error, query_error()}.
query(Ctx, Sql, Params) ->
    query(Ctx, Sql, Params, #{}).

%% @doc Runs one SQL statement that only reads, on the projection's tables. The statement refers to parameters as `?1',
%% `?2', ... or `?'.
%%
%% Options: `max_rows' (10000; more rows are an error), `timeout' (5000 ms, up to 2^32 - 1) and, for rqlite, `level'
%% (`none', `weak', `linearizable', `strong' or `auto').
%%
%% In the result text is a binary, a number is a number, JSON is its text, and a BLOB, or text that is not UTF-8, is
%% `{blob, Bytes}'. A boolean is true or false where it comes straight from a column that holds booleans.
%%
%% Limits: 1 MiB for the statement, 64 MiB for all parameters, 64 MiB for the result (`{result_too_large, MaxBytes}'),
%% and 16 MiB for any value on the way. On the embedded projection a query may take 256 MiB of memory, such as for
%% sorting (`{query_too_large, MaxBytes}'), and ends at its timeout whatever it is doing. There, 16 queries of a
%% context run at once and 256 wait; further ones are `overloaded'.
%%
%% Errors are those of `t:query_error()'. `{target_away, Why}': the tables cannot be read now; `Why' is
%% `interrupted' when the process that ran the query was killed.
-spec query(ctx(), iodata(), [warp_projection:value()], query_options()) ->
    {ok, #{columns := [binary()], rows := [[term()]]}} | {error, query_error()}.
query(Ctx, Sql, Params, Options) ->
    warp_projection:query(Ctx, Sql, Params, Options).

%% @doc Waits until the projection shows all events that the entity has in its log by now, for `infinity' or up to
%% 2^32 - 1 milliseconds. In a cluster an embedded projection is that of this node.
%%
%% Errors: `timeout'. `{node_unavailable, Node}': the node that has the entity cannot be reached. `{set_aside, Seq}':
%% the entity's events from that seq on could not be projected, see {@link warp_projection:set_aside/1}. `rebuild_due':
%% the tables have events that are not in the log of the entity's shard, as after somebody put an older copy of it back.
%% Then nothing more of that shard is projected before {@link warp_projection:rebuild/1}. `no_projections',
%% `{bad_option, timeout, Why}', and those of `t:error()'.
-spec await_projection(entity(), timeout()) ->
    ok | {error, error() | {set_aside, seq()} | rebuild_due | no_projections | {bad_option, timeout, term()}}.
await_projection(Entity, Timeout) ->
    in_context(Entity, fun(_, _) -> warp_projection:await(Entity, Timeout) end).

%% @doc Waits until an entity has an event: the one with that seq, or the first one for which a function gives true. The
%% function is called with all events of the entity in order, those that are stored already first. Gives the seq. The
%% timeout is `infinity' or up to 2^32 - 1 milliseconds.
%%
%% Errors: `timeout'. `{until_failed, Crash}' and `{bad_return, until, Shape}': the function crashed, or gave neither
%% true nor false. `{bad_option, Key, Why}' with the key `until' or `timeout'; `interrupted'; those of reading.
-spec wait(entity(), seq() | fun((placed_event()) -> boolean()), timeout()) ->
    {ok, seq()}
    | {error, read_error() | {bad_option, until | timeout, term()} | {until_failed, crash()}
              | {bad_return, until, term()}}.
wait(Entity, Until, Timeout) ->
    in_context(Entity, fun(Context, Id) ->
        case {until(Until), warp_check:one(timeout, Timeout, fun warp_check:timeout/1)} of
            {ok, {ok, _}} ->
                #warp_entity{shard = N} = Entity,
                warp_subscription_wait:entity(Context, Id, N, Until, warp_deadline:from(Timeout));
            {{error, _} = Error, _} -> Error;
            {_, {error, _} = Error} -> Error
        end
    end).

until(Seq) when is_integer(Seq), Seq >= 0 -> ok;
until(Fun) when is_function(Fun, 1) -> ok;
until(_) -> {error, {bad_option, until, not_a_seq_or_function}}.

%% @doc Counters of a context since it was started, summed over its shards, and the counters of each shard under
%% `shards': queue depth and limit, commits, appends, events, bytes, and the durations of whole commits (`commit_us')
%% and of their COMMIT with the fsync (`sync_us'), as `[{BelowMicroseconds, Count}]'. Waits for no process of this node.
%% In a cluster it asks the other nodes how far their logs go, and waits for them a second at most.
%%
%% `clock' says how often an entity's last event was more than a minute ahead of the clock (`ahead'), and by how many
%% seconds the last time (`lead_seconds'). `deletions' says how many deletions are under way (`under_way'), and since
%% when the first of them is (`since', in microseconds since 1970, or none).
%%
%% `background' of a shard lists the tasks in the background that failed when the shard last tried them, as
%% `#{task, since, error, meaning}', with `since' in microseconds since 1970. A shard that is not open has
%% `unavailable => true', and under `error' why the last attempt to open it failed, if there was one.
-spec stats(ctx()) -> map() | {error, context_stopped}.
stats(Ctx) ->
    case warp_context:of_handle(Ctx) of
        {ok, Context} -> warp_contexts:stats(Context);
        not_found -> {error, context_stopped}
    end.

%% @equiv verify(CtxOrDir, #{})
-spec verify(ctx() | file:name_all()) -> {ok, warp_verify:report()} | {error, verify_error()}.
verify(CtxOrDir) ->
    verify(CtxOrDir, #{}).

%% @doc Checks all files of a context against their checksums and against each other, and changes none of them: of a
%% running context, which goes on meanwhile; or those in a folder, `DATA_DIR/CONTEXT' or a copy of it, that no VM has
%% open. Reads every page of every shard, every row and all that finds it, every snapshot, and the journal. Takes as
%% long as reading the files twice, and runs in the calling process. Of a running context it checks what was there when
%% the check of each shard began. Projections are not checked: they follow from the log.
%%
%% `progress' (default: nothing) is a function that is called after each piece, a few milliseconds of work, with
%% `#{shard => N, shards => Shards, part => pages | entities | rows | journal, done => Steps, total => Steps}'; `shard'
%% is missing for the journal.
%%
%% The result has the numbers of `shards', `pages' (of 4096 bytes), `entities', `rows', `events', `snapshots' and
%% `records' of the journal.
%%
%% Errors: `{corrupt, Message}': the message says what is damaged, up to 100 places. `{shard_unavailable, N}': the shard
%% was not open for ten seconds. `interrupted': the journal is being opened again. `{data_dir_in_use, Dir}': a VM
%% has the context in the folder open. `{not_a_shard, Path}', `{newer_format, Path, Version}', `{io_error, Message}',
%% `{nif_not_loaded, Message}', `context_stopped', `{unknown_option, Key}', `{bad_option, data_dir | progress | options,
%% Why}'.
-spec verify(ctx() | file:name_all(), #{progress => fun((warp_verify:progress()) -> term())}) ->
    {ok, warp_verify:report()} | {error, verify_error()}.
verify(CtxOrDir, Options) ->
    case warp_check:options(Options, [{progress, fun(_) -> ok end, fun progress/1}]) of
        {ok, #{progress := Tell}} when is_tuple(CtxOrDir) ->
            case warp_context:of_handle(CtxOrDir) of
                {ok, Context} -> warp_verify:context(Context, Tell);
                not_found -> {error, context_stopped}
            end;
        {ok, #{progress := Tell}} ->
            case {warp_nif:loaded(), warp_check:one(data_dir, CtxOrDir, fun warp_context_options:data_dir/1)} of
                {ok, {ok, Dir}} -> warp_verify:folder(Dir, warp_component:kinds(), all, Tell);
                {{error, _} = Error, _} -> Error;
                {ok, {error, _} = Error} -> Error
            end;
        {error, _} = Error ->
            Error
    end.

progress(Tell) when is_function(Tell, 1) -> {ok, Tell};
progress(_) -> {error, {not_a_function, 1}}.

%% @doc Corrects the time of an event that was recorded while the clock was wrong, for an operator. Overwrites
%% `recorded_at' of the event, and of all events that were appended with it as a batch, with a time from 1974 on in
%% microseconds since 1970. Nothing else in the log changes.
%%
%% States and tables that already hold the wrong time keep it. Raise the aggregate's `version' to fold states again,
%% and rebuild the projection to make its tables again.
%%
%% Waits up to five seconds. Errors: `no_event': the entity has no event with this seq. `timeout': the time may still
%% be corrected, and the call can be repeated. `disk_full', `{bad_option, seq | recorded_at, Why}', and those of
%% `t:error()'.
-spec correct_time(entity(), seq(), micros()) ->
    ok | {error, no_event | error() | disk_full | {bad_option, seq | recorded_at, term()}}.
correct_time(Entity, Seq, Micros) ->
    at_owner(Entity, correct_time, [Seq, Micros], idempotent, fun() -> correct_here(Entity, Seq, Micros) end).

correct_here(Entity, Seq, Micros) ->
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
    %% The entity's process has the wrong time in memory, so this ends it. The next process reads the log.
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

%% Runs a function of this module, whose first argument is the entity, on the node that has the entity's shard. `Local'
%% is the same on this node.
at_owner(#warp_entity{ref = Ref, shard = N} = Entity, Function, Args, Safety, Local) when is_integer(N), N >= 0 ->
    case warp_context:find(Ref) of
        {ok, #{shards := Shards} = Context} when N < Shards ->
            Call = {?MODULE, Function, [Entity | Args]},
            warp_cluster_call:run(Context, N, Call, {Safety, fun() -> patience(Function, Args) end}, Local);
        _ ->
            Local()
    end;
at_owner(_NotAHandle, _Function, _Args, _Safety, Local) ->
    Local().

%% By when a call has to end, whose options are not checked yet.
patience(Function, Args) ->
    case lists:reverse(Args) of
        [#{timeout := infinity} | _] -> infinity;
        [#{timeout := Timeout} | _] when is_integer(Timeout), Timeout >= 0 -> warp_deadline:from(Timeout);
        _ when Function =:= export; Function =:= import -> infinity;
        _ when Function =:= delete -> warp_deadline:from(?DELETE_MS);
        _ -> warp_deadline:from(?TIMEOUT_MS)
    end.

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

%% For reads that take long, or that call the user's functions, which may never return.
aside_with_shard(Context, #warp_entity{id = Id, shard = N}, Deadline, Fun) ->
    warp_context:with_shard(Context, N, fun(Handle) ->
        warp_entity_call:aside(fun() -> Fun(Handle, Id) end, Deadline)
    end).
