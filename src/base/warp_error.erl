%% @doc All reasons that `{error, Reason}' of Warp's public functions can have, and what to do about each.
%%
%% ```
%% case warp_core:append(Alice, Event) of
%%     {ok, Seq} -> Seq;
%%     {error, Reason} -> io:format("~ts~n", [warp_error:format_error(Reason)])
%% end
%% '''
%%
%% The shape of a reason is part of the interface; its text is for people, and may change.
-module(warp_error).

-export([format_error/1, format_error/2, describe/1, catalogue/0, problems/0]).

-export_type([entry/0, area/0, problem/0, description/0]).

%% One kind of reason.
-type entry() :: #{
    %% As a term with variables, such as `<<"{shard_unavailable, N}">>'.
    reason := binary(),
    %% Which functions give it.
    areas := [area(), ...],
    %% What happened. Names in braces stand for the variables.
    meaning := binary(),
    to_do := binary()
}.
%% `start': starting a context. `entity': appending to an entity, reading and deleting it. `query': SQL.
%% `projection': the functions of `warp_projection', and waiting for a projection. `saga': the functions of
%% `warp_saga'. `subscription': those of `warp_subscription', and waiting for subscribers. `cluster': those of
%% `warp_cluster'. `step': no error of a function, but why a step of a saga was refused or waits, in its result.
%% `verify': checking files. `backup': the functions of `warp_backup'.
-type area() :: start | entity | query | projection | saga | subscription | cluster | step | verify | backup.
%% What can stand as `Why' in a reason, which says what is wrong with a value.
-type problem() :: #{why := binary(), meaning := binary()}.

%% A reason for programs that hand it on to others, such as over a network.
-type description() :: #{
    %% What its shape begins with, such as `shard_unavailable'.
    reason := atom(),
    %% What happened, and what to do, as `format_error/1' says them together.
    meaning := binary(),
    to_do := binary(),
    %% By their names in the shape, such as `<<"N">>', the values that this reason has.
    values := #{binary() => term()}
}.

%% How deep a term is printed.
-define(DEPTH, 12).
%% From how many bytes on a printed text is shortened.
-define(MAX_BYTES, 4096).

%% @doc What a reason means and what to do about it, as text of a sentence or two. Takes any term: if it
%% is no reason of Warp, such as that of a caller's own `decide', the text shows the term.
-spec format_error(Reason :: term()) -> binary().
format_error(Reason) ->
    try text(Reason) of
        Text -> unicode:characters_to_binary(Text)
    catch
        %% The term has the shape of a reason of Warp, but other values inside.
        error:_ -> unknown(Reason)
    end.

%% @doc For exceptions whose `error_info' names this module, as EEP 54 has it: code that raises a reason as
%% `error(Reason, none, [{error_info, #{module => warp_error}}])' makes the shell print its text.
-spec format_error(Reason :: term(), Stack :: list()) -> #{reason := binary()}.
format_error(Reason, _Stack) ->
    #{reason => format_error(Reason)}.

%% @doc What a reason means and what to do about it, apart from each other and with its values. `unknown' for a term
%% that is no reason of Warp, such as that of a caller's own `decide'.
-spec describe(Reason :: term()) -> {ok, description()} | unknown.
describe(Reason) ->
    try find(Reason, reasons()) of
        {{Shape, _Areas, Meaning, ToDo}, Values} ->
            {ok, #{reason => name(Shape), meaning => unicode:characters_to_binary(fill(Meaning, Values)),
                   to_do => unicode:characters_to_binary(fill(ToDo, Values)), values => Values}};
        none ->
            unknown
    catch
        %% As in `format_error/1'.
        error:_ -> unknown
    end.

name(Shape) when is_atom(Shape) -> Shape;
name(Shape) -> element(1, Shape).

%% @doc Every reason, in no particular order.
-spec catalogue() -> [entry(), ...].
catalogue() ->
    [#{reason => printed(Shape), areas => Areas, meaning => Meaning, to_do => ToDo}
     || {Shape, Areas, Meaning, ToDo} <- reasons()].

%% @doc Everything that can be wrong with a value, as the end of a sentence.
-spec problems() -> [problem(), ...].
problems() ->
    [#{why => printed(Shape), meaning => Meaning} || {Shape, Meaning} <- whys()].

%% The one table: the shape, with variables as atoms that begin with a capital; the areas; what it means; and
%% what to do.
reasons() ->
    start_reasons() ++ event_reasons() ++ function_reasons() ++ system_reasons() ++ projection_reasons()
        ++ saga_reasons() ++ subscription_reasons() ++ cluster_reasons() ++ backup_reasons().

cluster_reasons() ->
    [{{node_unavailable, 'Node'}, [entity, projection, saga, subscription, cluster],
      <<"Node {Node} cannot be reached, and nothing can be done without it.">>,
      <<"Try again when the node is back. If its disk is lost, see docs/cluster.md.">>},
     {{unknown_outcome, 'Node'}, [entity, projection, saga, subscription],
      <<"The connection to node {Node} was lost after the request was sent. It may be carried out or not.">>,
      <<"Append again with the same event id: what was stored is not stored twice.">>},
     {{already_started, 'Name'}, [start],
      <<"A clustered context {Name} runs in this VM already.">>,
      <<"Stop it first. Two contexts of one cluster need two nodes.">>},
     {{folder_of_cluster, 'Dir'}, [start],
      <<"The folder {Dir} belongs to a node of a cluster.">>,
      <<"Start the context with the option `cluster => {{clustered, #{{seed_nodes => [...]}}}}'. With `[node()]' a "
        "node that is alone goes on as before; there is no way back to `single_node'.">>},
     {{folder_of_node, 'Node'}, [start],
      <<"The folder belongs to node {Node} of the cluster, and this node has another name.">>,
      <<"Start the VM with that name, or give this node a folder of its own.">>},
     {{folder_not_empty, 'Dir'}, [start],
      <<"The folder {Dir} has a context already, and a node that joins a cluster brings none.">>,
      <<"Give the node an empty folder. To make a cluster of that context start its node first, with "
        "`bootstrap => true'.">>},
     {{cluster_refused, 'Node', 'Why'}, [start],
      <<"Node {Node} does not take this node into its cluster: {Why}.">>,
      <<"Start the context with the same name and number of shards as the cluster has; a node that was forgotten, or "
        "whose folder was lost, joins after `warp_cluster:forget/2'.">>},
     {{in_doubt, 'Why'}, [cluster],
      <<"This node's folder may be a copy, or an old one: it {Why}. So that no shard has two owners, the node does not "
        "serve its shards.">>,
      <<"See that no other copy of the folder is in use, and that this is the newest one. Then say so with "
        "`warp_cluster:adopt/1'.">>},
     {not_in_doubt, [cluster],
      <<"This node's folder is not in doubt.">>, <<"There is nothing to adopt.">>},
     {forgotten, [cluster],
      <<"The cluster has forgotten this node, and other nodes have its shards by now.">>,
      <<"Keep the folder aside for what it has, and start the node with an empty one: it joins as a new node.">>},
     {{not_a_member, 'Node'}, [cluster],
      <<"{Node} is no member of this cluster.">>, <<"`warp_cluster:members/1' lists the members.">>},
     {{node_up, 'Node'}, [cluster],
      <<"Node {Node} can be reached from a member of the cluster, so it is not lost.">>,
      <<"Have it leave with `warp_cluster:leave/1'; or stop it for good, and try again.">>},
     {last_member, [cluster],
      <<"No other member of the cluster takes this node's shards.">>,
      <<"Start another node first, or stop this one: its folder keeps the shards.">>},
     {not_clustered, [cluster],
      <<"The context runs on a single node.">>,
      <<"Start it with the option `cluster => {{clustered, #{{seed_nodes => [...]}}}}'.">>}].

backup_reasons() ->
    [{no_backup, [backup],
      <<"There is no backup at that place.">>,
      <<"Check the path, and whether what should be mounted there is mounted.">>},
     {no_keys, [backup],
      <<"The key pages of the backup are not there, and without them nothing of it can be read.">>,
      <<"Give the place that keys_to named as keys_from, and see that it is mounted.">>},
     {not_started, [backup],
      <<"This start of the context does not back up to that target.">>,
      <<"Begin with warp_backup:start/2; or, when the target is gone for good, say so with warp_backup:forget/2.">>},
     {running, [backup],
      <<"A run to that target is under way.">>, <<"Try again when it has ended: warp_core:stats/1 shows it.">>},
     {target_in_use, [backup],
      <<"Something else writes to that target.">>,
      <<"See that no copy of this context backs up to it, and give each context a target of its own.">>},
     {merged_meanwhile, [backup],
      <<"Segments of the backup were merged while they were read.">>,
      <<"Call it again: a restore goes on where it was.">>},
     {wrong_master_key, [backup],
      <<"The backup was begun with another master key.">>,
      <<"Give that one: without it nothing of the backup can be restored.">>},
     {{no_master_key, 'Message'}, [backup],
      <<"The master key cannot be read: {Message}.">>, <<"See to the file or the variable that has it.">>},
     {{master_key_refused, 'Reason'}, [backup],
      <<"The functions of the master key did not wrap or unwrap the backup's key: {Reason}.">>,
      <<"See to the service that they ask.">>},
     {{other_backup, #{context => 'Context', shards => 'Shards'}}, [backup],
      <<"The target has a backup of a context {Context} with {Shards} shards.">>,
      <<"Give each context a target of its own.">>},
     {{forked, #{shard => 'N', position => 'Position'}}, [backup],
      <<"The context was put back to an older state, and is not what the backup goes on from: shard {N} has something "
        "else at position {Position}. Nothing was stored.">>,
      <<"Begin a new backup in another target. The one that is there can be restored as before.">>},
     {{no_such_cut, 'Until'}, [backup],
      <<"The backup has no such cut: {Until}.">>, <<"warp_backup:list/1 gives the cuts.">>},
     {{not_empty, 'Path'}, [backup],
      <<"There is something at {Path} already, and a restore overwrites nothing.">>,
      <<"Restore into another data_dir, or move that folder away.">>},
     {{other_restore, 'Path'}, [backup],
      <<"A restore of another cut, or of another backup, was interrupted in {Path}.">>,
      <<"Remove that folder, and try again; or restore that cut.">>},
     {{backup_damaged, 'Message'}, [backup],
      <<"The backup is damaged: {Message}. Nothing is restored of it.">>,
      <<"Put what is named back from a copy of the backup. While the context is whole, begin a new backup in another "
        "target.">>},
     {{key_unknown, 'Message'}, [backup],
      <<"The key pages do not have every key that the segments need: {Message}.">>,
      <<"Give the newest key pages that there are: they may be older than the segments, or incomplete.">>},
     {{unreachable, 'Reason'}, [backup],
      <<"The target cannot be reached: {Reason}.">>,
      <<"Try again when it can. Backups that were started go on by themselves.">>},
     {{storage_refused, 'Message'}, [backup],
      <<"The storage of the backup refuses what Warp asks for: {Message}.">>,
      <<"See to the bucket, the keys to it and what they allow, as docs/backups.md says.">>},
     {{no_store_program, 'Message'}, [backup],
      <<"Warp cannot speak to S3-compatible storage: {Message}.">>,
      <<"Run make store in Warp's folder, which needs Rust.">>}].

start_reasons() ->
    [{{missing_option, 'Key'}, [start, backup],
      <<"The option {Key} is missing.">>, <<"Add it to the options.">>},
     {{unknown_option, 'Key'}, [start, entity, query, saga, subscription, cluster, verify, backup],
      <<"There is no option {Key}.">>, <<"Remove it, or correct its name.">>},
     {{bad_option, 'Key', 'Why'}, [start, entity, query, projection, saga, subscription, cluster, verify, backup],
      <<"The option or argument {Key} {Why}.">>, <<"Give another value.">>},
     {{data_dir_in_use, 'Dir'}, [start, verify, backup],
      <<"Another context, of this VM or of another one, has the folder {Dir} open.">>,
      <<"Stop that context, or give another data_dir.">>},
     {{too_few_files, #{limit => 'Limit', needed => 'Needed'}}, [start],
      <<"The process may have {Limit} files open, and this context needs a limit of {Needed}: 7 files for each "
        "shard, 20 for the journal and 128 for readers, beside those that are open now.">>,
      <<"Raise the limit (ulimit -n, or LimitNOFILE), or give a new context fewer shards.">>},
     {{nif_not_loaded, 'Message'}, [start, verify],
      <<"Warp's native library was not loaded: {Message}.">>,
      <<"Build it with make nif in Warp's folder, which needs Rust and Erlang, and start the VM again. In a Mix "
        "project mix deps.compile warp_core --force builds it as well.">>},
     {{shard_count_mismatch, 'Stored', 'Given'}, [start],
      <<"The context was created with {Stored} shards, and {Given} were given.">>,
      <<"Give shards => {Stored}.">>},
     {{not_a_shard, 'Path'}, [start, verify],
      <<"The file {Path} is another program's. Warp did not touch it.">>,
      <<"Move the file away, or give another data_dir.">>},
     {{wrong_identity, 'Path', 'Found'}, [start],
      <<"{Path} is {Found}. Warp did not touch it.">>,
      <<"Put each file where it belongs; give each context its own rqlite.">>},
     {{newer_format, 'Path', 'Version'}, [start, verify, backup],
      <<"{Path} has format {Version}, which a newer version of Warp wrote. This version did not touch it.">>,
      <<"Use the newer version of Warp.">>},
     {{not_a_projection, 'Path'}, [start],
      <<"The file {Path}, where the projection should be, is another program's. Warp did not touch it.">>,
      <<"Move the file away, or give another data_dir.">>},
     {{was_projected, 'Path'}, [start, entity],
      <<"The context has a projection, in which deleted entities would stay.">>,
      <<"Give the same projections as before; or remove the projection's tables and the file {Path} to give the "
        "projection up.">>},
     {{target_refused, 'Message'}, [start, projection],
      <<"The target of the projections refused Warp's own tables, or a step of a rebuild: {Message}.">>,
      <<"Give the projections a database that nobody else writes to.">>},
     {{no_certificate_in, 'File'}, [start],
      <<"The file {File} has no certificate in it.">>, <<"Give a PEM file of certificates as cacertfile.">>},
     {{cannot_read, 'File', 'Reason'}, [start],
      <<"The file {File} cannot be read: {Reason}.">>, <<"Correct its path, or its access rights.">>},
     {{no_certificates_of_this_system, 'Reason'}, [start],
      <<"This system has no certificates that say whom to trust.">>,
      <<"Install them (the package ca-certificates), or give cacertfile.">>},
     {{application_not_started, 'App', 'Reason'}, [start],
      <<"The application {App} could not be started: {Reason}.">>,
      <<"Make sure that warp_core and the applications it needs are part of the release.">>}].

event_reasons() ->
    [{{bad_entity_id, 'Why'}, [entity, projection, subscription, cluster],
      <<"The entity's id {Why}.">>,
      <<"An id is UTF-8 of 1 to 512 bytes and does not begin with $warp/. Make the handle with warp_core:entity/2 "
        "of this context.">>},
     {{bad_event, 'N', 'Field', 'Why'}, [entity],
      <<"Event {N} (counted from 1) cannot be stored: {Field} {Why}.">>, <<"Correct it, and append again.">>},
     {{unknown_aggregate, 'Name'}, [entity, step],
      <<"The context was started without the aggregate {Name}.">>,
      <<"Give it to start, or name it in the aliases of the aggregate that it is now.">>},
     {{rejected, 'Refusal'}, [entity],
      <<"The aggregate's validate refused the event: {Refusal}.">>, <<"Decide what that means to you.">>},
     {{wrong_expected_seq, 'Actual'}, [entity],
      <<"The log ends at seq {Actual}, not where it was expected to.">>, <<"Read again, and decide again.">>},
     {{id_conflict, 'Seq'}, [entity],
      <<"The event's id belongs to event {Seq} of the entity, which has another type or payload.">>,
      <<"Choose another id.">>},
     {{duplicate_event_id, 'Id'}, [entity],
      <<"Two events of the batch have the id {Id}.">>, <<"Give each event its own id.">>},
     {{reserved_id, 'Id'}, [entity],
      <<"The id {Id} has the form ENTITY#SEQ, which belongs to events that were given none.">>,
      <<"Choose another id.">>},
     {empty_batch, [entity],
      <<"The batch has no events.">>, <<"Append at least one event.">>},
     {{batch_too_large, 'Events', 'Max'}, [entity],
      <<"The batch has {Events} events, and may have {Max}.">>, <<"Make several batches of it.">>},
     {{batch_too_large_bytes, 'Bytes', 'Max'}, [entity, saga],
      <<"The batch, or the saga's plan, has {Bytes} bytes of JSON, and may have {Max}.">>,
      <<"Make several of it.">>},
     {{entity_not_empty, #{last_seq => 'Seq', differs => 'Differs'}}, [entity],
      <<"The entity has {Seq} events already, and from seq {Differs} on not those of the import. Nothing was stored.">>,
      <<"Delete the entity first, or put the events back in another context.">>},
     {{import_too_large, 'Events', 'Max'}, [entity],
      <<"The import has {Events} events, and may have {Max}, since all are stored in one commit.">>,
      <<"Restore the entity into a context of its own, see docs/backups.md.">>},
     {{import_too_large_bytes, 'Bytes', 'Max'}, [entity],
      <<"The import has {Bytes} bytes of JSON, and may have {Max}, since all are stored in one commit.">>,
      <<"Restore the entity into a context of its own, see docs/backups.md.">>},
     {no_event, [entity],
      <<"The entity has no event with that seq.">>, <<"Look for the seq with warp_core:history/2.">>}].

function_reasons() ->
    [{{validate_failed, 'Crash'}, [entity],
      <<"The aggregate's validate crashed: {Crash}. Nothing was stored.">>, <<"Fix validate.">>},
     {{apply_failed, 'Crash'}, [entity],
      <<"The aggregate's apply crashed: {Crash}. A new event was not stored; an event of the log cannot be read "
        "until apply takes it.">>,
      <<"Fix apply, and start the context again.">>},
     {{migrate_failed, 'Crash'}, [entity],
      <<"The aggregate's migrate crashed: {Crash}.">>, <<"Fix migrate, and start the context again.">>},
     {{decide_failed, 'Crash'}, [entity],
      <<"The function that decides crashed: {Crash}. Nothing was stored.">>, <<"Fix that function.">>},
     {{bad_return, 'Function', 'Value'}, [entity, step],
      <<"The function {Function} returned {Value}, which means nothing to Warp.">>, <<"Fix that function.">>},
     {{stale_function, 'Details'}, [entity, step],
      <<"A function of the aggregate, or of a step, is gone, since its module was reloaded twice while the context "
        "ran: {Details}. Nothing was changed.">>,
      <<"Start the context again; give start functions as fun M:F/A, which outlast that.">>}].

system_reasons() ->
    [{overloaded, [entity, query, projection, saga, subscription],
      <<"Too many requests wait. Nothing was stored.">>, <<"Try again later, and slower.">>},
     {timeout, [entity, query, projection, saga, subscription, cluster],
      <<"No answer came in time. What was asked for may still be done.">>,
      <<"Ask again: an append with an event id is stored once, and a saga with the same id runs once.">>},
     {interrupted, [start, entity, projection, saga, subscription, cluster, verify, backup],
      <<"The process that was asked ended before it answered. What was asked for may have been done.">>,
      <<"Ask again: an append with an event id is stored once, and a saga with the same id runs once.">>},
     {{shard_unavailable, 'N'}, [entity, projection, saga, subscription, verify, backup],
      <<"Shard {N} is being opened again. Nothing was done.">>,
      <<"Try again. If it stays so, stats and the log say why the shard cannot be opened.">>},
     {context_stopped, [entity, query, projection, saga, subscription, cluster, verify, backup],
      <<"The context is not running.">>, <<"Start it.">>},
     {disk_full, [start, entity, saga, subscription, cluster, backup],
      <<"The disk is full. Nothing was stored.">>, <<"Make room; the shard goes on by itself.">>},
     {{io_error, 'Message'}, [start, entity, projection, saga, subscription, cluster, verify, backup],
      <<"The operating system or SQLite refused: {Message}. Nothing was stored.">>,
      <<"See to the disk, and to the file that the message names: another program may have removed, renamed or "
        "replaced it, or it is a symbolic link, which Warp does not follow.">>},
     {{corrupt, 'Message'}, [start, entity, projection, saga, subscription, verify, backup],
      <<"A file contradicts itself, and Warp reads no further: {Message}.">>, <<"Restore it from a backup.">>},
     {{internal, 'Message'}, [start, entity, projection, saga, subscription, verify, backup],
      <<"This is a bug of Warp: {Message}. The files are not to blame.">>,
      <<"Report it with this message and the log.">>},
     %% Of a backup, which is the last of all.
     {{still_to_erase, #{target => backup, reason => {'To', 'Reason'}}}, [entity],
      <<"The entity is gone from the context, but what the backup in {To} has of it may still be restored: {Reason}.">>,
      <<"Warp goes on trying by itself once backups to that target are started; see warp_core:stats/1 under backups. "
        "Delete again to wait again. When the target is gone for good, say so with warp_backup:forget/2.">>},
     {{still_to_erase, #{target => 'Target', projections => 'Tables', reason => 'Reason'}}, [entity],
      <<"The entity is gone from the log, but rows of it may still stand in the tables {Tables} of the target "
        "{Target}, or another node may still have something of it: {Reason}.">>,
      <<"Warp goes on trying by itself, also after a restart. Delete again to wait again.">>}].

projection_reasons() ->
    [{no_projections, [query, projection],
      <<"The context was started without projections.">>, <<"Give projections to start.">>},
     {read_only, [query],
      <<"The SQL would write, and a query may only read.">>, <<"Change tables through the aggregates' project.">>},
     {{sql_error, 'Message'}, [query],
      <<"The database does not take the SQL: {Message}.">>, <<"Correct the SQL.">>},
     {{too_many_rows, 'Max'}, [query],
      <<"The query has more than {Max} rows.">>, <<"Ask for fewer, or raise max_rows.">>},
     {{result_too_large, 'MaxBytes'}, [query],
      <<"The result has more than {MaxBytes} bytes.">>, <<"Ask for less at once.">>},
     {{query_too_large, 'MaxBytes'}, [query],
      <<"The query needs more than {MaxBytes} bytes of memory, such as for sorting.">>,
      <<"Add an index or a condition, or ask for less at once.">>},
     {{bad_param, 'N', 'Why'}, [query],
      <<"Parameter {N} (counted from 1) {Why}.">>, <<"Correct it.">>},
     {{bad_params, 'Why'}, [query],
      <<"The list of parameters {Why}.">>, <<"Correct it.">>},
     {{target_away, 'Reason'}, [query, projection],
      <<"The target of the projections cannot be used now: {Reason}.">>,
      <<"Try again: Warp goes on by itself once it can. warp_projection:status/1 shows the target.">>},
     {{set_aside, 'Seq'}, [projection],
      <<"Event {Seq} of the entity could not be projected, and waits with those behind it.">>,
      <<"Look at warp_projection:set_aside/1; fix project, and call retry/2; or leave the event out with skip/2.">>},
     {rebuild_due, [projection],
      <<"The tables have events that are not in the log, as after an older copy of a shard was put back.">>,
      <<"Call warp_projection:rebuild/1, or put the right files back.">>},
     {{stalled, 'Reason'}, [projection],
      <<"The shard is not projected now: {Reason}.">>, <<"See warp_projection:status/1.">>},
     {not_set_aside, [projection],
      <<"No event of the entity is set aside.">>, <<"There is nothing to do.">>},
     {already_running, [projection],
      <<"A rebuild is under way.">>, <<"Wait for it with warp_projection:await_rebuild/2.">>},
     {not_running, [projection],
      <<"No rebuild is under way.">>, <<"Begin one with warp_projection:rebuild/1.">>},
     {cancelled, [projection, step],
      <<"The rebuild, or the saga, was cancelled.">>,
      <<"warp_projection:rebuild/1 goes on with a rebuild. A saga stays cancelled: run another one.">>}].

saga_reasons() ->
    [{{bad_saga_id, 'Why'}, [saga],
      <<"The saga's id {Why}.">>, <<"An id is UTF-8 of 1 to 500 bytes. Build sagas with warp_saga:new/1.">>},
     {{bad_saga, 'Why'}, [saga],
      <<"The saga as a whole {Why}.">>, <<"Correct it.">>},
     {empty_saga, [saga],
      <<"The saga has no steps.">>, <<"Add at least one step.">>},
     {{too_many_steps, 'Steps', 'Max'}, [saga],
      <<"The saga has {Steps} steps, and may have {Max}.">>, <<"Make several sagas of it.">>},
     {{bad_step, 'N', {'Field', 'Why'}}, [saga],
      <<"Step {N} (counted from 0) cannot be taken: {Field} {Why}.">>, <<"Correct that step.">>},
     {{saga_conflict, 'Id'}, [saga],
      <<"There is a saga {Id} already, with other steps.">>, <<"Choose another id.">>},
     {{saga_waits, #{step => 'Step', entity => 'Entity', reason => 'Reason'}}, [saga],
      <<"The saga waits at step {Step}, of entity {Entity}, since this start of the context lacks what that step "
        "needs: {Reason}. Nothing was refused.">>,
      <<"Start the context with it: the saga goes on by itself.">>},
     {not_found, [saga],
      <<"There is no saga with that id.">>, <<"Check the id.">>},
     {{not_stuck, 'State'}, [saga],
      <<"The saga is not stuck: it is {State}.">>, <<"There is nothing to retry or resolve.">>},
     {{bad_note, 'Why'}, [saga],
      <<"The note {Why}.">>, <<"A note is UTF-8 of 1 to 4096 bytes.">>},
     {entity_deleted, [step],
      <<"The entity of the step was deleted while the saga was under way.">>, <<"There is nothing to do.">>},
     {{unknown_step, 'Name'}, [step],
      <<"The context was started without the step function {Name}.">>, <<"Give it to start, in steps.">>},
     {{step_not_exported, 'Name', 'Mfa'}, [step],
      <<"The step function {Name} is {Mfa}, which does not exist or is not exported.">>,
      <<"Export it, or give start another function.">>},
     {{step_arity, 'Name', 'Arity', 'Wanted'}, [step],
      <<"The step function {Name} takes {Arity} arguments, and its step calls it with one of {Wanted}.">>,
      <<"Give start a function with 2 arguments, or 3 to compensate.">>},
     {{shortened, 'Text'}, [step],
      <<"The reason was too long to be kept with the saga. It began: {Text}.">>,
      <<"Refuse with a shorter reason.">>}].

subscription_reasons() ->
    [{{others_say, 'N'}, [subscription],
      <<"Other subscribers of that name said that {N} split its shards.">>,
      <<"Give all of them the same number as consumers, or end the others first.">>},
     {unknown_subscription, [subscription],
      <<"Nobody has subscribed with that name.">>, <<"Check the name. warp_core:stats/1 lists the names.">>},
     {not_waiting, [subscription],
      <<"The entity does not wait: no event of it failed.">>, <<"See what waits with warp_subscription:parked/2.">>},
     {{in_use, 'Pid'}, [subscription],
      <<"The name has a subscriber, to which the subscription {Pid} belongs.">>, <<"End that one first.">>},
     {{behind, 'Names'}, [subscription],
      <<"These subscriptions have not handled everything, or hold an event that their subscribers failed with: "
        "{Names}.">>,
      <<"Wait longer; see what waits with warp_subscription:parked/2.">>},
     {{bad_command, 'Term'}, [subscription],
      <<"That is no command: {Term}.">>,
      <<"Give a list of {{append, EntityId, Event}}, {{append, EntityId, [Event]}} and {{saga, Saga}}.">>},
     {{command_failed, 'N', 'Reason'}, [subscription],
      <<"Command {N} failed: {Reason}. Those before it were carried out.">>,
      <<"Once the cause is gone, call the function again for the same event: nothing is done twice.">>},
     {{until_failed, 'Crash'}, [entity],
      <<"The function that says what to wait for crashed: {Crash}.">>,
      <<"Correct it: it is called with every event of the entity.">>},
     {{bad_cursor, 'Why'}, [start, subscription],
      <<"The cursor {Why}.">>, <<"Give a cursor of this entity or context, or begin anew.">>},
     {subscription_ended, [subscription],
      <<"The subscription has ended.">>, <<"Subscribe again, from the last cursor.">>}].

%% All that can be wrong with a value, as the end of a sentence that begins with the value.
whys() ->
    [{missing, <<"is missing">>},
     {required, <<"has to be given, since there is more than one to choose from">>},
     {unknown_field, <<"does not exist">>},
     {unknown_key, <<"does not exist">>},
     {empty, <<"is empty">>},
     {{too_long, 'Bytes', 'Max'}, <<"has {Bytes} bytes, and may have {Max}">>},
     {{too_large, 'Bytes', 'Max'}, <<"has at least {Bytes} bytes, and may have {Max}">>},
     {{too_large, 'Max'}, <<"is too large: there may be {Max} bytes in all">>},
     {{too_many, 'Max'}, <<"is too long: there may be {Max}">>},
     {{too_deep, 'Max'}, <<"is nested deeper than {Max}">>},
     {{invalid_json, 'Message'}, <<"is not JSON: {Message}">>},
     {{not_json, 'What'}, <<"has no form in JSON: {What}">>},
     {not_an_object, <<"is not a JSON object">>},
     {not_a_binary, <<"is not a binary">>},
     {not_utf8, <<"is not UTF-8">>},
     {not_a_list, <<"is not a list">>},
     {not_a_map, <<"is not a map">>},
     {{not_a_function, 'Arity'}, <<"is not a function with {Arity} arguments">>},
     {{not_a_function, 'Arity', 'Other'}, <<"is not a function with {Arity} or {Other} arguments">>},
     {not_a_positive_integer, <<"is not an integer from 1 on">>},
     {{not_an_integer_from, 'Min'}, <<"is not an integer from {Min} on">>},
     {{not_an_integer_between, 'Min', 'Max'}, <<"is not an integer from {Min} to {Max}">>},
     {{not_one_of, 'Values'}, <<"is not one of {Values}">>},
     {{of_other_entity, 'Entity'}, <<"is that of an event of the entity {Entity}">>},
     {not_a_cluster, <<"is neither single_node nor {{clustered, #{{seed_nodes => Nodes}}}}">>},
     {no_seed_nodes, <<"has no seed nodes">>},
     {node_without_name, <<"needs a VM with a name, such as `erl -name warp@10.0.0.1'">>},
     {not_a_list_of_nodes, <<"is not a list of node names such as warp@10.0.0.1">>},
     {only_letters_digits_underscore_dot_dash,
      <<"may have only letters, digits, _, . and -, and may not begin with . or -">>},
     {only_letters_digits_underscore, <<"may have only letters, digits and _, and may not begin with a digit">>},
     {not_a_path, <<"is not a path">>},
     {{not_s3, 'Key'},
      <<"has a wrong or unknown {Key} for S3-compatible storage; docs/backups.md says what there is, and keys are "
        "given as names of variables only">>},
     {not_a_place, <<"is not what `next' of a page of entities was">>},
     {not_an_offset, <<"is no offset of a stream">>},
     {not_positions, <<"is not what `next' of a page of events was">>},
     {not_a_beginning, <<"is neither beginning nor now, {{cursor, Cursor}} or {{time, Micros}}">>},
     {not_what_to_keep, <<"is neither all nor a map with cuts, age (in milliseconds) or both, each at least 1">>},
     {not_a_cut, <<"is neither 'end' nor {{cut, Number}} nor {{time, Micros}}">>},
     {not_a_master_key, <<"is neither {{file, Path}} nor {{env, Name}} nor #{{name, wrap, unwrap}}">>},
     {neither_time_nor_cursor, <<"is neither {{time, Micros}} nor {{cursor, Cursor}}">>},
     {not_a_list_of_names, <<"is not a list of names">>},
     {not_a_cursor, <<"is none">>},
     {not_with_a_name, <<"cannot be given together with a name">>},
     {of_an_entity, <<"is that of an entity">>},
     {of_another_entity, <<"is that of another entity">>},
     {of_a_context, <<"is that of a context">>},
     {{of_so_many_shards, 'N'}, <<"is that of a context with {N} shards">>},
     {{ahead_of_log, 'N'},
      <<"is ahead of the log of shard {N}: an older copy of the file was put in its place">>},
     {copied, <<"was copied, or put back">>},
     {{old_incarnation, 'Count'}, <<"is not that of start {Count} of this node, of which others know">>},
     {{other_owner, 'Shards'}, <<"does not say of shards {Shards} what others know of their owners">>},
     {forgotten, <<"is that of a node that the others have forgotten">>},
     {not_seq_or_time, <<"is neither {{seq, Seq}} nor {{time, Micros}}">>},
     {not_any_no_stream_or_a_seq, <<"is neither any nor no_stream nor a seq">>},
     {reserved, <<"is Warp's own">>},
     {{duplicate_name, 'Name'}, <<"has the name {Name} twice">>},
     {{not_a_subscriber, 'Term'}, <<"has {Term}, which is no subscriber">>},
     {not_a_placed_event, <<"is no event that a subscription has sent">>},
     {no_such_module, <<"is no module that can be loaded">>},
     {not_a_module, <<"is not the name of a module">>},
     {{not_exported, 'Function', 'Arity'}, <<"does not export {Function}/{Arity}">>},
     {not_a_seq_or_function, <<"is neither a seq nor a function with 1 argument">>},
     {not_a_handle, <<"is no handle that warp_core:entity/2 made for this context">>},
     {not_a_saga, <<"is no saga that warp_saga:new/1 made">>},
     {not_an_aggregate, <<"is no module with use Warp.Aggregate in it">>},
     {not_an_event, <<"is no module with use Warp.Event in it">>},
     {neither_type_nor_run, <<"has neither a type nor a step function to run">>},
     {{unknown_aggregate, 'Name'}, <<"names the aggregate {Name}, which the context was started without">>},
     {{unknown_step, 'Name'}, <<"names the step function {Name}, which the context was started without">>},
     {{step_not_exported, 'Name', 'Mfa'},
      <<"names the step function {Name}, which is {Mfa} and does not exist or is not exported">>},
     {{step_arity, 'Name', 'Arity', 'Wanted'},
      <<"names the step function {Name}, which takes {Arity} arguments in place of one of {Wanted}">>},
     {{expected, 'Expected', given, 'Given'}, <<"has {Given} values, and the SQL has {Expected} parameters">>},
     {{not_a_value, 'Atom'}, <<"is {Atom}, which no table can hold">>},
     {not_a_value, <<"is nothing that a table can hold">>},
     {not_a_number, <<"is not a number">>}].

%% ------------------------------------------------------------------ Text

text(Reason) ->
    case find(Reason, reasons()) of
        {{_Shape, _Areas, Meaning, ToDo}, Values} -> [fill(Meaning, Values), " ", fill(ToDo, Values)];
        none -> unknown(Reason)
    end.

unknown(Reason) ->
    warp_text:format("Warp has no text for the reason ~0tP.", [Reason, ?DEPTH]).

%% A nested reason inside a sentence.
nested(Reason) ->
    case find(Reason, reasons()) of
        {{_Shape, _Areas, Meaning, _ToDo}, Values} -> without_stop(fill(Meaning, Values));
        none -> value(Reason)
    end.

%% A reason that is not in the table says where in the value the fault is, outermost first, and then what it is.
why(Why) ->
    case path(Why) of
        {[], Last} -> last(Last);
        {Where, Last} -> ["is wrong at ", lists:join(", ", [value(Part) || Part <- Where]), ": it ", last(Last)]
    end.

path(Why) when tuple_size(Why) > 1 ->
    case find(Why, whys()) of
        none ->
            {Where, [Rest]} = lists:split(tuple_size(Why) - 1, tuple_to_list(Why)),
            {Inside, Last} = path(Rest),
            {Where ++ Inside, Last};
        _Known ->
            {[], Why}
    end;
path(Why) ->
    {[], Why}.

last(Why) ->
    case find(Why, whys()) of
        {{_Shape, Meaning}, Values} -> fill(Meaning, Values);
        none when is_atom(Why) -> ["is wrong: ", string:replace(atom_to_binary(Why), "_", " ", all)];
        none -> ["is wrong: ", value(Why)]
    end.

%% The first entry whose shape the term has, and the values of its variables.
find(Term, [Entry | Entries]) ->
    case match(element(1, Entry), Term, #{}) of
        no -> find(Term, Entries);
        Values -> {Entry, Values}
    end;
find(_Term, []) ->
    none.

match(Term, Term, Values) ->
    Values;
match(Shape, Term, Values) when is_atom(Shape) ->
    case is_variable(Shape) of
        true -> Values#{atom_to_binary(Shape) => Term};
        false -> no
    end;
match(Shape, Term, Values) when tuple_size(Shape) =:= tuple_size(Term) ->
    match_all(lists:zip(tuple_to_list(Shape), tuple_to_list(Term)), Values);
match(Shape, Term, Values) when is_map(Shape), is_map(Term) ->
    Keys = maps:keys(Shape),
    case lists:all(fun(Key) -> is_map_key(Key, Term) end, Keys) of
        true -> match_all([{maps:get(Key, Shape), maps:get(Key, Term)} || Key <- Keys], Values);
        false -> no
    end;
match(_Shape, _Term, _Values) ->
    no.

match_all(Pairs, Values) ->
    lists:foldl(
        fun
            (_Pair, no) -> no;
            ({Shape, Term}, Found) -> match(Shape, Term, Found)
        end,
        Values,
        Pairs).

is_variable(Atom) ->
    <<First, _/binary>> = atom_to_binary(Atom),
    First >= $A andalso First =< $Z.

%% The text with the values in place of the names in braces; `{{' and `}}' are braces.
fill(Text, Values) ->
    [part(Part, Values) || Part <- re:split(Text, "({{|}}|{[A-Z][A-Za-z]*})", [unicode, {return, binary}])].

part(<<"{{">>, _Values) -> "{";
part(<<"}}">>, _Values) -> "}";
part(<<"{", Rest/binary>>, Values) ->
    Name = binary:part(Rest, 0, byte_size(Rest) - 1),
    named(Name, maps:get(Name, Values));
part(Text, _Values) -> Text.

named(<<"Why">>, Why) -> why(Why);
named(<<"Reason">>, Reason) -> nested(Reason);
named(<<"Crash">>, {Class, Reason, Stack}) -> crash(Class, Reason, Stack);
named(<<"Field">>, undefined) -> "it";
named(<<"Field">>, Field) -> ["its ", value(Field)];
named(<<"File">>, File) -> file(File);
named(<<"Mfa">>, {M, F, A}) -> io_lib:format("~tp:~tp/~tp", [M, F, A]);
named(<<"Details">>, #{'fun' := Printed}) -> value(Printed);
named(<<"Message">>, Message) -> without_stop(value(Message));
named(<<"Text">>, Text) -> value(Text);
%% Not of an improper list, which has no length.
named(Name, Values) when (Name =:= <<"Values">> orelse Name =:= <<"Tables">> orelse Name =:= <<"Wanted">>
                          orelse Name =:= <<"Names">>), length(Values) >= 0 -> listed(Values);
named(_Name, Value) -> value(Value).

file(File) when is_list(File) ->
    try unicode:characters_to_binary(File) of
        Path -> value(Path)
    catch
        error:badarg -> value(File)
    end;
file(File) ->
    value(File).

listed([]) -> "none";
listed(Values) ->
    Shown = [value(Value) || Value <- lists:sublist(Values, ?DEPTH)],
    lists:join(", ", Shown ++ ["..." || length(Values) > ?DEPTH]).

%% The sentence has its own full stop.
without_stop(Text) -> string:trim(unicode:characters_to_binary(Text), trailing, ".").

crash(Class, Reason, Stack) ->
    [io_lib:format("~tp ~0tP", [Class, Reason, ?DEPTH]) | where(Stack)].

where([{Module, Function, Arguments, Location} | _]) ->
    Arity = case Arguments of _ when length(Arguments) >= 0 -> length(Arguments); _ -> Arguments end,
    Line = case is_list(Location) andalso lists:keyfind(line, 1, Location) of
               {line, N} -> io_lib:format(", line ~b", [N]);
               false -> ""
           end,
    io_lib:format(" in ~tp:~tp/~tp~ts", [Module, Function, Arity, Line]);
where(_NoStack) ->
    "".

%% Text as it is, and any other term as Erlang prints it. Long text is shortened.
value(Text) when is_binary(Text) ->
    case warp_text:is_utf8(Text) of
        true when byte_size(Text) =< ?MAX_BYTES -> Text;
        true -> [string:slice(Text, 0, ?MAX_BYTES div 4), "..."];
        false -> io_lib:format("~0tP", [Text, ?DEPTH])
    end;
value(Term) ->
    io_lib:format("~0tP", [Term, ?DEPTH]).

%% ------------------------------------------------------------------ Shapes

%% A shape as text: a term, with variables that are not quoted.
printed(Shape) -> iolist_to_binary(print(Shape)).

print(Shape) when is_tuple(Shape) ->
    ["{", lists:join(", ", [print(Part) || Part <- tuple_to_list(Shape)]), "}"];
print(Shape) when is_map(Shape) ->
    Pairs = [[print(Key), " := ", print(Part)] || {Key, Part} <- lists:sort(maps:to_list(Shape))],
    ["#{", lists:join(", ", Pairs), "}"];
print(Shape) when is_atom(Shape) ->
    atom_to_binary(Shape).
