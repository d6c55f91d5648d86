//// Everything that can go wrong, with one variant per cause.
////
//// A refused append stores nothing. `to_string` says what happened and what to
//// do about it.

import gleam/dynamic.{type Dynamic}
import gleam/dynamic/decode.{type DecodeError, DecodeError}
import gleam/erlang/process.{type Pid}
import gleam/int
import gleam/list
import gleam/string

/// Why an operation failed.
///
/// `reason` is the type of your own refusals: of the errors that the `validate`
/// of a typed aggregate, or a function given to `decide`, returns. Operations
/// that call neither never return `Refused`, so their errors fit any type.
///
pub type Error(reason) {
  // Your own code refused.
  /// Your own function refused: the `validate` of a typed aggregate, the
  /// function given to `decide`, or the `on_command` of an actor.
  Refused(reason: reason)
  /// The `validate` of an aggregate refused, and this call does not know the
  /// type of its reasons.
  Rejected(reason: Dynamic)

  // The log is not as the caller expected.
  /// The entity's log ends at `actual`, not at the seq that was expected. Read
  /// the state again and decide again.
  WrongExpectedSeq(actual: Int)
  /// The entity has another event with this id, at `seq`: its type or payload
  /// differs.
  IdConflict(seq: Int)
  /// Two events of one batch have the same id.
  DuplicateEventId(id: String)
  /// The id has the form `ENTITY#SEQ`, which Warp gives to events without an
  /// id of their own.
  ReservedId(id: String)
  /// The entity has events already, the last one with the seq `last_seq`, and
  /// from the seq `differs` on they are not those of the import.
  EntityNotEmpty(last_seq: Int, differs: Int)
  /// The import has more than `max` events.
  ImportTooLarge(events: Int, max: Int)
  /// The import has more than `max` bytes of JSON.
  ImportTooLargeBytes(bytes: Int, max: Int)
  /// The entity has no event with this seq.
  NoEvent

  // The arguments are wrong.
  /// No entity can have this id.
  BadEntityId(problem: Problem)
  /// The event with this number, counted from 1, cannot be stored. `field` is
  /// `""` when the problem concerns the whole event.
  BadEvent(number: Int, field: String, problem: Problem)
  /// The context was started without this aggregate.
  UnknownAggregate(name: String)
  /// The batch has no events.
  EmptyBatch
  /// The batch has more than `max` events.
  BatchTooLarge(events: Int, max: Int)
  /// The batch has more than `max` bytes of JSON.
  BatchTooLargeBytes(bytes: Int, max: Int)

  // Your functions failed.
  /// The decoder of a typed aggregate failed on an event of this type.
  UndecodableEvent(type_: String, errors: List(DecodeError))
  /// The decoder given to a read failed on the state.
  UndecodableState(errors: List(DecodeError))
  /// The decoder of a step function failed on the step's arguments.
  UndecodableArguments(errors: List(DecodeError))
  /// The encoder of a typed aggregate crashed.
  EncodeFailed(crash: String)
  /// The `apply` of the aggregate crashed. If it crashed on an event of the
  /// log, the entity can be neither read nor appended to until `apply` is
  /// fixed.
  ApplyFailed(crash: String)
  /// The `validate` of the aggregate crashed.
  ValidateFailed(crash: String)
  /// The `migrate` of the aggregate crashed.
  MigrateFailed(crash: String)
  /// The function given to `decide`, or the `on_command` of an actor, crashed.
  DecideFailed(crash: String)
  /// The aggregate's function no longer exists: its module was reloaded while
  /// the context was running. Nothing was changed. Start the context again.
  StaleFunction(function: String)
  /// A function written in another language returned a value of the wrong
  /// type.
  BadReturn(function: String, value: Dynamic)

  // The system failed.
  /// Too many requests are waiting. Nothing was stored. Try again later, and
  /// more slowly.
  Overloaded
  /// The answer did not come in time. An append may or may not have been
  /// stored. Append again with the same event id: the event is stored once.
  Timeout
  /// The process that carried out the request died. An append may or may not
  /// have been stored, as after `Timeout`.
  Interrupted
  /// Warp is opening this shard again, after a failure. Try again.
  ShardUnavailable(shard: Int)
  /// The disk is full. The shard continues by itself once there is room.
  DiskFull
  /// The operating system or SQLite reported an error.
  IoError(message: String)
  /// A file contradicts itself, and Warp does not read it any further.
  Corrupt(message: String)
  /// Warp has a bug. The files are not damaged.
  Internal(message: String)
  /// The context is not running.
  ContextStopped

  // The context cannot start.
  /// The option is required, and was not given.
  MissingOption(option: String)
  /// There is no such option.
  UnknownOption(option: String)
  /// The value of the option is wrong.
  BadOption(option: String, problem: Problem)
  /// The definition of the aggregate is wrong. `name` is `""` when the name
  /// itself is.
  BadAggregate(name: String, field: String, problem: Problem)
  /// Two aggregates of the context have the same name.
  DuplicateAggregate(name: String)
  /// Another context, in this VM or in another one, has the folder open.
  DataDirInUse(dir: String)
  /// The process may not open as many files as the context needs. Raise its
  /// limit (`ulimit -n`) to `needed`, or start the context with fewer shards.
  TooFewFiles(limit: Int, needed: Int)
  /// Warp's native library is missing, or was built for another system. Build
  /// it with `make nif` in Warp's folder. `message` has the words of the VM.
  NifNotLoaded(message: String)
  /// The context was created with another number of shards.
  ShardCountMismatch(stored: Int, given: Int)
  /// The file at this path is not a shard.
  NotAShard(path: String)
  /// The file is a shard of another context, or another shard of this one.
  WrongIdentity(path: String, found: String)
  /// A newer version of Warp wrote the file.
  NewerFormat(path: String, version: Int)
  /// The file at this path, where the projection should be, is not a
  /// projection.
  NotAProjection(path: String)
  /// The context has a projection, which the options do not name, and in which
  /// deleted entities would stay. Set the option `projections` as before, or
  /// remove the tables of the projection and the file at this path.
  WasProjected(path: String)
  /// The target of the projections rejected Warp's own tables.
  TargetRefused(message: String)
  /// The file with the certificates to trust has no certificate in it.
  NoCertificateIn(file: String)
  /// The file, which an option names, cannot be read.
  CannotRead(file: String, why: String)
  /// The system has no certificates to trust.
  NoCertificatesOfThisSystem(why: String)
  /// The OTP application `warp_core` could not start.
  ApplicationNotStarted(reason: String)
  /// A clustered context of this name runs in this VM already. Two contexts of
  /// one cluster need two nodes.
  AlreadyStarted(context: String)
  /// The folder belongs to a node of a cluster, and the option `cluster` is
  /// `SingleNode`.
  FolderOfCluster(dir: String)
  /// The folder belongs to this node of the cluster, and the VM has another
  /// name. Start the VM with that name, or give this node a folder of its own.
  FolderOfNode(node: String)
  /// The folder has a context already, and a node that joins a cluster brings
  /// none. To make a cluster of that context, start its node first, with
  /// `context.Bootstrap`.
  FolderNotEmpty(dir: String)
  /// This node does not take the other one into its cluster: the number of
  /// shards differs, or the folder that the node had in the cluster is lost.
  ClusterRefused(node: String, why: String)

  // Projections.
  /// The context was started without projections.
  NoProjections
  /// The query would write. A query may only read.
  ReadOnly
  /// SQLite or rqlite rejected the query.
  SqlError(message: String)
  /// The result of the query has more than `max` rows.
  TooManyRows(max: Int)
  /// The result of the query has more than `max_bytes` bytes.
  ResultTooLarge(max_bytes: Int)
  /// The query needs more than `max_bytes` bytes of memory, such as for
  /// sorting.
  QueryTooLarge(max_bytes: Int)
  /// The parameter with this number, counted from 1, cannot be passed to a
  /// query.
  BadParameter(number: Int, problem: Problem)
  /// The list of parameters does not fit the query: for example, their number
  /// is wrong.
  BadParameters(problem: Problem)
  /// The target of the projections, SQLite or rqlite, cannot be reached.
  TargetAway(why: String)
  /// The projector of the entity's shard is stalled. `projector.status` shows
  /// since when.
  Stalled(why: String)
  /// The entity's event with this seq could not be projected. Warp has set it
  /// aside, with the entity's later events: see `projector.set_aside`.
  SetAside(seq: Int)
  /// The tables have events that the log does not have, as after an operator
  /// restored an older copy of a shard: see `projector.rebuild`.
  RebuildDue
  /// No event of the entity is set aside.
  NotSetAside
  /// A rebuild is already running.
  AlreadyRunning
  /// No rebuild is running.
  NotRunning
  /// The rebuild was cancelled.
  Cancelled
  /// The entity is erased from the log. Warp could not erase its rows from
  /// these tables yet, and goes on trying by itself.
  StillToErase(tables: List(String), why: String)

  // Sagas.
  /// No saga can have this id.
  BadSagaId(problem: Problem)
  /// The saga as a whole cannot be stored.
  BadSaga(problem: Problem)
  /// The saga has no steps.
  EmptySaga
  /// The saga has more than `max` steps.
  TooManySteps(steps: Int, max: Int)
  /// The step with this number, counted from 0, is wrong.
  BadStep(number: Int, field: String, problem: Problem)
  /// Another saga has this id: its steps differ.
  SagaConflict(id: String)
  /// No saga has this id.
  SagaNotFound
  /// The saga waits, because the context was started without an aggregate or a
  /// step function that this step needs. No step was refused. The saga
  /// continues once the context is started with it. See `saga.Waiting`.
  SagaWaits(step: Int, entity: String, why: Error(reason))
  /// The saga is not stuck: it is in this state.
  NotStuck(state: String)
  /// The note cannot be stored.
  BadNote(problem: Problem)
  /// The entity was deleted while the saga was running.
  EntityDeleted
  /// The context was started without this step function.
  UnknownStep(name: String)
  /// The step cannot call the step function with this name, which takes
  /// `arguments` arguments: a compensation cannot run forward.
  StepArity(name: String, arguments: Int)
  /// The step function with this name is no longer exported from its module.
  StepNotExported(name: String, function: String)
  /// A reason that was too long to be stored with a saga, shortened.
  Shortened(text: String)

  // Subscriptions.
  /// The cursor is none, belongs to something else, or is ahead of the log.
  BadCursor(problem: Problem)
  /// The subscription has ended.
  SubscriptionEnded
  /// Other subscribers of this name said that so many `consumers` split its
  /// shards.
  OthersSay(consumers: Int)
  /// Nobody has subscribed with this name.
  UnknownSubscription
  /// The entity does not wait: no event of it failed.
  NotWaiting
  /// The name has a subscriber, to which the subscription with this pid belongs.
  InUse(subscription: Pid)
  /// In the time of `testing.await_subscribers` these subscriptions have not handled
  /// everything, or hold an event that their subscribers failed with.
  Behind(names: List(String))
  /// The command is none: for example, it appends a batch without events.
  BadCommand(command: Dynamic)
  /// The command with this number, counted from 1, failed. Those before it were
  /// carried out.
  CommandFailed(number: Int, reason: Error(reason))
  /// The function that says which event to wait for crashed.
  UntilFailed(crash: String)

  // Clusters.
  /// The node that has the entity's shard cannot be reached. Nothing was done.
  NodeUnavailable(node: String)
  /// The connection to this node was lost after the request was sent. An append
  /// may or may not have been stored, as after `Timeout`.
  UnknownOutcome(node: String)
  /// This node's folder may be an old copy, and so it does not serve its shards:
  /// see `cluster.adopt`.
  InDoubt(why: String)
  /// This node's folder is not in doubt, and there is nothing to adopt.
  NotInDoubt
  /// The cluster has forgotten this node: see `cluster.forget`. Other nodes have
  /// its shards by now.
  Forgotten
  /// No member of the cluster has this name.
  NotAMember(node: String)
  /// The node can be reached from a member of the cluster, so it is not lost.
  NodeUp(node: String)
  /// No other member of the cluster takes this node's shards.
  LastMember
  /// The context runs on a single node.
  NotClustered

  // Backups.
  /// There is no backup at this place.
  NoBackup
  /// The key pages of the backup are not there. Without them nothing of it can be
  /// read: see `backup.keys_at`.
  NoKeys
  /// This start of the context does not back up to the target: see
  /// `backup.start` and `backup.forget`.
  NotStarted
  /// A run to the target is under way. Try again when it has ended.
  Running
  /// Something else writes to the target: give each context a target of its own.
  TargetInUse
  /// Segments of the backup were merged while they were read. Call it again: a
  /// restore goes on where it was.
  MergedMeanwhile
  /// The backup was begun with another master key. Without that one nothing of it
  /// can be restored.
  WrongMasterKey
  /// The master key cannot be read.
  NoMasterKey(message: String)
  /// The functions of `backup.Service` did not wrap or unwrap the backup's key.
  MasterKeyRefused(why: String)
  /// The target has a backup of this other context.
  OtherBackup(context: String, shards: Int)
  /// The context was put back to an older state, and is not what the backup goes
  /// on from: begin a new backup in another target.
  Forked(shard: Int, position: Int)
  /// The backup has no such cut: see `backup.list`.
  NoSuchCut(cut: String)
  /// There is a context, or something else, where the restored one would be.
  NotEmpty(path: String)
  /// A restore of another cut, or of another backup, was interrupted in this
  /// folder. Remove the folder, or restore that cut.
  OtherRestore(path: String)
  /// Parts of the backup are damaged, missing or exchanged. Nothing is restored.
  BackupDamaged(message: String)
  /// The key pages do not have every key that the segments need: give the newest
  /// ones.
  KeyUnknown(message: String)
  /// The target of the backups cannot be reached.
  Unreachable(why: String)
  /// The storage of the backup was reached, and refuses what Warp asks for.
  StorageRefused(message: String)
  /// The program that speaks to S3-compatible storage was not built: `make store`
  /// builds it.
  NoStoreProgram(message: String)
  /// The entity is gone from the context. What this backup has of it may still be
  /// restored. Warp goes on trying by itself where it backs up to that target.
  BackupStillToErase(to: String, why: Error(reason))

  /// A reason that this version of the package does not know: a newer
  /// `warp_core` returned it.
  Unknown(reason: Dynamic)
}

/// What is wrong with a value.
///
pub type Problem {
  /// It is required, and was not given.
  Missing
  /// It is required, because the context has more than one aggregate.
  Required
  /// There is no such field.
  UnknownField
  /// It has no characters, or no items.
  Empty
  /// It has more than `max` bytes.
  TooLong(bytes: Int, max: Int)
  /// It has more than `max` bytes of JSON.
  TooLarge(bytes: Int, max: Int)
  /// It is nested more than `max` levels deep.
  TooDeep(max: Int)
  /// It is not JSON text. The message names the line and the column.
  InvalidJson(message: String)
  /// It contains a value that JSON cannot express.
  NotJson(what: String)
  /// It is JSON, but not an object.
  NotAnObject
  /// It is not a string.
  NotABinary
  /// It is not UTF-8.
  NotUtf8
  /// It is not a list.
  NotAList
  /// It is not a map.
  NotAMap
  /// It is not a function with this number of arguments.
  NotAFunction(arguments: Int)
  /// It is not an integer from 1 on.
  NotAPositiveInteger
  /// It is not an integer from `min` on.
  NotAnIntegerFrom(min: Int)
  /// It is not an integer from `min` to `max`.
  NotAnIntegerBetween(min: Int, max: Int)
  /// It is none of these values.
  NotOneOf(values: List(String))
  /// It has characters other than letters, digits, `_`, `.` and `-`, or it
  /// begins with `.` or `-`.
  NotAName
  /// It is not a path.
  NotAPath
  /// Warp keeps this name for itself.
  Reserved
  /// It is not the handle of an entity.
  NotAHandle
  /// It is not a saga.
  NotASaga
  /// The context was started without a step function of this name.
  NoSuchFunction(name: String)
  /// Another problem, described in words.
  Because(text: String)
}

/// What happened and what to do about it, in one or two sentences for people.
///
/// ```gleam
/// error.to_string(error.Overloaded)
/// // -> "Too many requests are waiting. Nothing was stored. Try again later,
/// // and more slowly."
/// ```
///
pub fn to_string(error: Error(reason)) -> String {
  case error {
    Refused(reason) -> "Refused: " <> string.inspect(reason) <> "."
    Rejected(reason) ->
      "The aggregate's validate refused: " <> string.inspect(reason) <> "."

    WrongExpectedSeq(actual) ->
      "The log ends at seq "
      <> int.to_string(actual)
      <> ", not where it was expected to end. Read again and decide again."
    IdConflict(seq) ->
      "The event's id belongs to event "
      <> int.to_string(seq)
      <> ", which differs. Choose another id."
    DuplicateEventId(id) ->
      "Two events of the batch have the id " <> quote(id) <> "."
    ReservedId(id) ->
      "The id "
      <> quote(id)
      <> " has the form ENTITY#SEQ, which Warp gives to events without an id. "
      <> "Choose another id."
    EntityNotEmpty(last_seq, differs) ->
      "The entity has "
      <> int.to_string(last_seq)
      <> " events already, and from seq "
      <> int.to_string(differs)
      <> " on not those of the import. Delete the entity first."
    ImportTooLarge(events, max) ->
      "The import has "
      <> int.to_string(events)
      <> " events, and may have "
      <> int.to_string(max)
      <> ". Restore the entity into a context of its own."
    ImportTooLargeBytes(bytes, max) ->
      "The import has "
      <> int.to_string(bytes)
      <> " bytes of JSON, and may have "
      <> int.to_string(max)
      <> ". Restore the entity into a context of its own."
    NoEvent -> "The entity has no event with this seq."

    BadEntityId(problem) -> "The entity's id " <> problem_to_string(problem)
    BadEvent(number, "", problem) ->
      "Event " <> int.to_string(number) <> " " <> problem_to_string(problem)
    BadEvent(number, field, problem) ->
      "The "
      <> field
      <> " of event "
      <> int.to_string(number)
      <> " "
      <> problem_to_string(problem)
    UnknownAggregate(name) ->
      "The context has no aggregate "
      <> quote(name)
      <> ". Add it to the option aggregates."
    EmptyBatch -> "The batch has no events."
    BatchTooLarge(events, max) ->
      "The batch has "
      <> int.to_string(events)
      <> " events. At most "
      <> int.to_string(max)
      <> " are allowed: split it into smaller batches."
    BatchTooLargeBytes(bytes, max) ->
      "The batch has "
      <> int.to_string(bytes)
      <> " bytes of JSON. At most "
      <> int.to_string(max)
      <> " are allowed: split it into smaller batches."

    UndecodableEvent(type_, errors) ->
      "The aggregate's decoder failed on an event of type "
      <> quote(type_)
      <> ": "
      <> decode_errors(errors)
    UndecodableState(errors) ->
      "The decoder failed on the state: " <> decode_errors(errors)
    UndecodableArguments(errors) ->
      "The step function's decoder failed on the arguments: "
      <> decode_errors(errors)
    EncodeFailed(crash) -> "The aggregate's encoder crashed: " <> crash
    ApplyFailed(crash) ->
      "The aggregate's apply crashed: "
      <> crash
      <> ". If it crashed on an event of the log, fix apply and start the context "
      <> "again."
    ValidateFailed(crash) -> "The aggregate's validate crashed: " <> crash
    MigrateFailed(crash) -> "The aggregate's migrate crashed: " <> crash
    DecideFailed(crash) ->
      "The function given to decide, or an actor's on_command, crashed: "
      <> crash
    StaleFunction(function) ->
      "The function "
      <> function
      <> " no longer exists, because its module was reloaded. Nothing was "
      <> "changed. Start the context again."
    BadReturn(function, value) ->
      "The function "
      <> function
      <> " returned a value of the wrong type: "
      <> string.inspect(value)

    Overloaded ->
      "Too many requests are waiting. Nothing was stored. Try again later, "
      <> "and more slowly."
    Timeout ->
      "The answer did not come in time. The request may still be carried out. "
      <> "Repeat an append with its event id: the event is stored once."
    Interrupted ->
      "The process that carried out the request died. The request may have "
      <> "been carried out. Repeat an append with its event id: the event is "
      <> "stored once."
    ShardUnavailable(shard) ->
      "Warp is opening shard "
      <> int.to_string(shard)
      <> " again, after a failure. Try again."
    DiskFull -> "The disk is full. Make room: the shard continues by itself."
    IoError(message) ->
      "The operating system or SQLite reported an error: "
      <> message
      <> ". Check the disk."
    Corrupt(message) ->
      "A file contradicts itself: " <> message <> ". Restore it from a backup."
    Internal(message) ->
      "Warp has a bug: "
      <> message
      <> ". The files are not damaged. Report the bug, with the log."
    ContextStopped -> "The context is not running. Start it."

    MissingOption(option) -> "The option " <> option <> " is required."
    UnknownOption(option) -> "There is no option " <> option <> "."
    BadOption(option, problem) ->
      "The option " <> option <> " " <> problem_to_string(problem)
    BadAggregate("", field, problem) ->
      "The " <> field <> " of an aggregate " <> problem_to_string(problem)
    BadAggregate(name, field, problem) ->
      "The "
      <> field
      <> " of aggregate "
      <> quote(name)
      <> " "
      <> problem_to_string(problem)
    DuplicateAggregate(name) ->
      "Two aggregates have the name " <> quote(name) <> "."
    DataDirInUse(dir) ->
      dir
      <> " is open in another context, in this VM or in another one. Stop that "
      <> "context, or use another data_dir."
    TooFewFiles(limit, needed) ->
      "The VM may have "
      <> int.to_string(limit)
      <> " files open, and the context needs "
      <> int.to_string(needed)
      <> ". Raise the limit, for example with ulimit -n, or use fewer shards."
    NifNotLoaded(message) ->
      "Warp's native library was not loaded: "
      <> message
      <> ". Build it with make nif in Warp's folder, which needs Rust and "
      <> "Erlang, and start the VM again."
    ShardCountMismatch(stored, given) ->
      "The context was created with "
      <> int.to_string(stored)
      <> " shards, not "
      <> int.to_string(given)
      <> ". Set shards to "
      <> int.to_string(stored)
      <> "."
    NotAShard(path) ->
      path
      <> " is not a shard. Move the file away, or use another data_dir."
    WrongIdentity(path, found) ->
      path <> " is " <> found <> ". Move each shard's file to its own name."
    NewerFormat(path, version) ->
      path
      <> " has format "
      <> int.to_string(version)
      <> ", which a newer version of Warp wrote. Use that version."
    NotAProjection(path) ->
      path
      <> " is not a projection. Move the file away, or use another data_dir."
    WasProjected(path) ->
      "The context has a projection, in which deleted entities would stay. Set "
      <> "projections as before, or remove the projection's tables and "
      <> path
      <> "."
    TargetRefused(message) ->
      "The target of the projections rejected Warp's own tables: "
      <> message
      <> ". Use a database that no other program writes to."
    NoCertificateIn(file) -> file <> " has no certificate in it."
    CannotRead(file, why) -> file <> " cannot be read: " <> why <> "."
    NoCertificatesOfThisSystem(why) ->
      "The system has no certificates to trust: "
      <> why
      <> ". Install them, or name a file with projection.ca_certificates."
    ApplicationNotStarted(reason) ->
      "The application warp_core could not start: " <> reason
    AlreadyStarted(name) ->
      "A clustered context "
      <> quote(name)
      <> " runs in this VM already. Stop it first."
    FolderOfCluster(dir) ->
      dir
      <> " belongs to a node of a cluster. Set the option cluster to Clustered."
    FolderOfNode(node) ->
      "The folder belongs to node "
      <> node
      <> ". Start the VM with that name, or give this node another folder."
    FolderNotEmpty(dir) ->
      dir
      <> " has a context already, and a node that joins a cluster brings none. "
      <> "Give the node an empty folder. To make a cluster of that context, start "
      <> "its node first, with Bootstrap."
    ClusterRefused(node, why) ->
      "Node "
      <> node
      <> " does not take this node into its cluster: "
      <> why
      <> ". Start the context with the cluster's number of shards, and with the "
      <> "folder that the node had."

    NoProjections ->
      "The context has no projections. Start it with Embedded or Rqlite."
    ReadOnly -> "A query may only read."
    SqlError(message) -> "The database rejected the query: " <> message <> "."
    TooManyRows(max) ->
      "The query has more than "
      <> int.to_string(max)
      <> " rows. Narrow the query, or raise max_rows."
    ResultTooLarge(max) ->
      "The result of the query has more than "
      <> int.to_string(max)
      <> " bytes. Narrow the query."
    QueryTooLarge(max) ->
      "The query needs more than "
      <> int.to_string(max)
      <> " bytes of memory. Narrow the query, or add an index."
    BadParameter(number, problem) ->
      "Parameter " <> int.to_string(number) <> " " <> problem_to_string(problem)
    BadParameters(problem) ->
      "The list of parameters " <> problem_to_string(problem)
    TargetAway(why) ->
      "The target of the projections cannot be reached: "
      <> why
      <> ". Warp continues by itself once it can be reached."
    Stalled(why) ->
      "The projector of the entity's shard is stalled: "
      <> why
      <> ". projector.status shows since when."
    SetAside(seq) ->
      "Event "
      <> int.to_string(seq)
      <> " of the entity could not be projected. It is set aside, with the "
      <> "entity's later events. Fix project, then retry, or skip the event."
    RebuildDue ->
      "The tables have events that the log does not have. Rebuild the tables, "
      <> "or restore the newer files of the shard."
    NotSetAside -> "No event of the entity is set aside."
    AlreadyRunning -> "A rebuild is already running."
    NotRunning -> "No rebuild is running."
    Cancelled -> "The rebuild was cancelled. Call rebuild to continue it."
    StillToErase(tables, why) ->
      "The entity is erased from the log, but not yet from "
      <> string.join(tables, ", ")
      <> ": "
      <> why
      <> ". Warp goes on trying by itself."

    BadSagaId(problem) -> "The saga's id " <> problem_to_string(problem)
    BadSaga(problem) -> "The saga " <> problem_to_string(problem)
    EmptySaga -> "The saga has no steps."
    TooManySteps(steps, max) ->
      "The saga has "
      <> int.to_string(steps)
      <> " steps. At most "
      <> int.to_string(max)
      <> " are allowed."
    BadStep(number, field, problem) ->
      "The "
      <> field
      <> " of step "
      <> int.to_string(number)
      <> " "
      <> problem_to_string(problem)
    SagaConflict(id) ->
      "There is a saga "
      <> quote(id)
      <> " with other steps. Use another id."
    SagaNotFound -> "No saga has this id."
    SagaWaits(step, entity, why) ->
      "The saga waits at step "
      <> int.to_string(step)
      <> ", of "
      <> quote(entity)
      <> ", until the context is started with what the step needs. "
      <> to_string(why)
    NotStuck(state) -> "The saga is not stuck: it is " <> state <> "."
    BadNote(problem) -> "The note " <> problem_to_string(problem)
    EntityDeleted -> "The entity was deleted while the saga was running."
    UnknownStep(name) ->
      "The context has no step function "
      <> quote(name)
      <> ". Add it to the option steps."
    StepArity(name, arguments) ->
      "The step function "
      <> quote(name)
      <> " takes "
      <> int.to_string(arguments)
      <> " arguments, and the step cannot call it. Add one that fits to the "
      <> "option steps."
    StepNotExported(name, function) ->
      "The step function "
      <> quote(name)
      <> " is "
      <> function
      <> ", which its module does not export. Export it, or start the context "
      <> "with another function."
    Shortened(text) -> text

    BadCursor(problem) -> "The cursor " <> problem_to_string(problem)
    SubscriptionEnded ->
      "The subscription has ended. Subscribe again, from the last cursor."
    OthersSay(consumers) ->
      "Other subscribers of this name said that "
      <> int.to_string(consumers)
      <> " consumers split its shards. Give all of them the same number, or end "
      <> "the others first."
    UnknownSubscription ->
      "Nobody has subscribed with this name. Check the name."
    NotWaiting ->
      "The entity does not wait: no event of it failed. subscription.parked "
      <> "shows which entities wait."
    InUse(subscription) ->
      "The name has a subscriber, to which the subscription "
      <> string.inspect(subscription)
      <> " belongs. End that one first."
    Behind(names) ->
      "These subscriptions have not handled everything, or hold an event that "
      <> "their subscribers failed with: "
      <> string.join(names, ", ")
      <> ". subscription.parked shows what waits."
    BadCommand(command) ->
      "That is no command: " <> string.inspect(command) <> "."
    CommandFailed(number, reason) ->
      "Command "
      <> int.to_string(number)
      <> " failed, and those before it were carried out. Once the cause is gone, "
      <> "carry out all of them again: nothing is done twice. "
      <> to_string(reason)
    UntilFailed(crash) ->
      "The function that says which event to wait for crashed: " <> crash

    NodeUnavailable(node) ->
      "Node "
      <> node
      <> ", which has the entity's shard, cannot be reached. Nothing was done. "
      <> "Try again when the node is back."
    UnknownOutcome(node) ->
      "The connection to node "
      <> node
      <> " was lost after the request was sent. The request may have been "
      <> "carried out. Repeat an append with its event id: the event is stored "
      <> "once."
    InDoubt(why) ->
      "This node's folder may be an old copy: "
      <> why
      <> ". Start all other members, which say whether it is the right one, or "
      <> "say so with cluster.adopt."
    NotInDoubt -> "This node's folder is not in doubt."
    Forgotten ->
      "The cluster has forgotten this node. Keep its folder aside, and start it "
      <> "with an empty one: it joins as a new node."
    NotAMember(node) -> node <> " is no member of this cluster."
    NodeUp(node) ->
      "Node "
      <> node
      <> " can be reached from a member of the cluster, so it is not lost. Have it "
      <> "leave, or stop it for good."
    LastMember ->
      "No other member of the cluster takes this node's shards. Start another "
      <> "node first."
    NotClustered ->
      "The context runs on a single node. Start it with the option cluster set "
      <> "to Clustered."

    NoBackup ->
      "There is no backup at that place. Check the path, and whether what should "
      <> "be mounted there is mounted."
    NoKeys ->
      "The key pages of the backup are not there, and without them nothing of it "
      <> "can be read. Name their place with backup.keys_at."
    NotStarted ->
      "This start of the context does not back up to that target. Call "
      <> "backup.start; or, when the target is gone for good, backup.forget."
    Running -> "A run to that target is under way. Try again when it has ended."
    TargetInUse ->
      "Something else writes to that target. Give each context a target of its "
      <> "own."
    MergedMeanwhile ->
      "Segments of the backup were merged while they were read. Call it again: a "
      <> "restore goes on where it was."
    WrongMasterKey ->
      "The backup was begun with another master key. Use that one: without it "
      <> "nothing of the backup can be restored."
    NoMasterKey(message) -> "The master key cannot be read: " <> message <> "."
    MasterKeyRefused(why) ->
      "The functions of the master key did not wrap or unwrap the backup's key: "
      <> why
      <> "."
    OtherBackup(context, shards) ->
      "The target has a backup of a context "
      <> quote(context)
      <> " with "
      <> int.to_string(shards)
      <> " shards. Give each context a target of its own."
    Forked(shard, position) ->
      "The context was put back to an older state: shard "
      <> int.to_string(shard)
      <> " has something else than the backup at position "
      <> int.to_string(position)
      <> ". Begin a new backup in another target."
    NoSuchCut(cut) ->
      "The backup has no such cut: " <> cut <> ". backup.list shows the cuts."
    NotEmpty(path) ->
      "There is something at "
      <> path
      <> " already. Restore into another data_dir, or move that folder away."
    OtherRestore(path) ->
      "A restore of another cut, or of another backup, was interrupted in "
      <> path
      <> ". Remove that folder, or restore that cut."
    BackupDamaged(message) ->
      "The backup is damaged, and nothing is restored: "
      <> message
      <> ". Put back what is named from a copy."
    KeyUnknown(message) ->
      "The key pages do not have every key that the segments need: "
      <> message
      <> ". Use the newest key pages that there are."
    Unreachable(why) ->
      "The target of the backups cannot be reached: "
      <> why
      <> ". Backups that were started go on by themselves."
    StorageRefused(message) ->
      "The storage of the backup refuses what Warp asks for: " <> message <> "."
    NoStoreProgram(message) ->
      "Warp cannot speak to S3-compatible storage: " <> message <> "."
    BackupStillToErase(to, why) ->
      "The entity is gone from the context, but what the backup in "
      <> to
      <> " has of it may still be restored. "
      <> to_string(why)

    Unknown(reason) ->
      "warp_core returned a reason that this version of the package does not "
      <> "know: "
      <> string.inspect(reason)
  }
}

/// What is wrong, as the end of a sentence.
///
fn problem_to_string(problem: Problem) -> String {
  case problem {
    Missing -> "is required."
    Required -> "is required, because the context has more than one."
    UnknownField -> "does not exist."
    Empty -> "is empty."
    TooLong(bytes, max) | TooLarge(bytes, max) ->
      "has "
      <> int.to_string(bytes)
      <> " bytes. At most "
      <> int.to_string(max)
      <> " are allowed."
    TooDeep(max) ->
      "is nested more than " <> int.to_string(max) <> " levels deep."
    InvalidJson(message) -> "is not JSON: " <> message <> "."
    NotJson(what) ->
      "contains a value that JSON cannot express: " <> what <> "."
    NotAnObject -> "is not a JSON object."
    NotABinary -> "is not a string."
    NotUtf8 -> "is not UTF-8."
    NotAList -> "is not a list."
    NotAMap -> "is not a map."
    NotAFunction(arguments) ->
      "is not a function of " <> int.to_string(arguments) <> " arguments."
    NotAPositiveInteger -> "is not an integer from 1 on."
    NotAnIntegerFrom(min) ->
      "is not an integer from " <> int.to_string(min) <> " on."
    NotAnIntegerBetween(min, max) ->
      "is not an integer from "
      <> int.to_string(min)
      <> " to "
      <> int.to_string(max)
      <> "."
    NotOneOf(values) -> "has to be one of: " <> string.join(values, ", ") <> "."
    NotAName ->
      "may have only letters, digits, _, . and -, and may not begin with . or "
      <> "-."
    NotAPath -> "is not a path."
    Reserved -> "is reserved for Warp itself."
    NotAHandle -> "is not the handle of an entity."
    NotASaga -> "is not a saga."
    NoSuchFunction(name) ->
      "runs the step function "
      <> quote(name)
      <> ", which the context does not have. Add it to the option steps."
    Because(text) -> "is not accepted: " <> text <> "."
  }
}

fn decode_errors(errors: List(DecodeError)) -> String {
  list.map(errors, fn(error) {
    let DecodeError(expected:, found:, path:) = error
    let at = case path {
      [] -> ""
      _ -> " at " <> string.join(path, ".")
    }
    "expected " <> expected <> ", found " <> found <> at
  })
  |> string.join("; ")
}

fn quote(text: String) -> String {
  "\"" <> text <> "\""
}
