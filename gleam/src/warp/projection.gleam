//// Projections: tables that are built from events, for what is asked across
//// entities.
////
//// An aggregate's `project` gives commands, which are built here:
////
//// ```gleam
//// import warp/projection as p
////
//// p.upsert("orders")
//// |> p.id(order_id)
//// |> p.set("customer", p.text(customer_id))
//// |> p.set("total", p.int(total))
//// |> p.build
//// ```
////
//// Tables need no definition: they and their columns come into being with the
//// first command. Every row knows the entity that it came from, and goes when
//// that is deleted.

import gleam/dict.{type Dict}
import gleam/dynamic.{type Dynamic}
import gleam/list
import gleam/option.{type Option}
import warp/error.{type Error}
import warp/event.{type Event}
import warp/handle.{type Context, type Entity}
import warp/json

// Commands.

/// What is to be done to a row of a table. See `build`.
///
pub opaque type Command {
  // These are the engine's terms.
  Upsert(table: String, id: RowId, columns: Dict(String, Value))
  Increment(table: String, id: RowId, columns: Dict(String, Value))
  Delete(table: String, id: RowId)
}

/// A command in the making. Without an id it cannot be built, which its
/// parameter sees to.
///
pub opaque type Draft(identified) {
  Draft(kind: Kind, table: String, id: RowId, columns: List(#(String, Value)))
}

/// A draft whose row is named.
///
pub type WithId

/// A draft whose row is still to be named, with `id` or `int_id`.
///
pub type WithoutId

type Kind {
  Upserts
  Increments
  Deletes
}

type RowId

/// What a column holds, or a parameter of a query.
///
pub type Value

/// Writes columns of a row. The row is made if there is none; columns that are
/// not set stay as they are.
///
/// A table's name has letters, digits and `_`, 1 to 60 of them, and does not
/// begin with a digit, `_warp` or `sqlite_`. So does a column's. Columns `id`,
/// `_entity` and `_seq` are Warp's. A command that keeps none of that is set
/// aside with its event: see `set_aside`.
///
pub fn upsert(table: String) -> Draft(WithoutId) {
  draft(Upserts, table)
}

/// Adds to columns of a row, which count from 0.
///
/// ```gleam
/// p.increment("sales") |> p.id(sku) |> p.by("sold", p.int(2)) |> p.build
/// ```
///
pub fn increment(table: String) -> Draft(WithoutId) {
  draft(Increments, table)
}

/// Deletes a row.
///
pub fn delete(table: String) -> Draft(WithoutId) {
  draft(Deletes, table)
}

fn draft(kind: Kind, table: String) -> Draft(WithoutId) {
  Draft(kind:, table:, id: text_id(""), columns: [])
}

/// Names the row, with at most 1024 bytes.
///
pub fn id(draft: Draft(WithoutId), id: String) -> Draft(WithId) {
  named(draft, text_id(id))
}

/// Names the row, with a number of at most 64 bits.
///
pub fn int_id(draft: Draft(WithoutId), id: Int) -> Draft(WithId) {
  named(draft, number_id(id))
}

fn named(draft: Draft(WithoutId), id: RowId) -> Draft(WithId) {
  let Draft(kind:, table:, columns:, ..) = draft
  Draft(kind:, table:, id:, columns:)
}

/// Sets a column. When it is set twice the last one counts.
///
pub fn set(draft: Draft(id), column: String, value: Value) -> Draft(id) {
  Draft(..draft, columns: [#(column, value), ..draft.columns])
}

/// Of an increment: how much is added to a column. A negative amount takes
/// away.
///
pub fn by(draft: Draft(id), column: String, amount: Value) -> Draft(id) {
  set(draft, column, amount)
}

/// The command.
///
pub fn build(draft: Draft(WithId)) -> Command {
  let Draft(kind:, table:, id:, columns:) = draft
  case kind {
    Upserts -> Upsert(table:, id:, columns: to_columns(columns))
    Increments -> Increment(table:, id:, columns: to_columns(columns))
    Deletes -> Delete(table:, id:)
  }
}

fn to_columns(columns: List(#(String, Value))) -> Dict(String, Value) {
  dict.from_list(reverse(columns))
}

// Values.

/// Text.
///
@external(erlang, "warp_ffi", "identity")
pub fn text(value: String) -> Value

/// A whole number of at most 64 bits.
///
@external(erlang, "warp_ffi", "identity")
pub fn int(value: Int) -> Value

/// A number with a fraction.
///
@external(erlang, "warp_ffi", "identity")
pub fn float(value: Float) -> Value

/// True or false.
///
@external(erlang, "warp_ffi", "identity")
pub fn bool(value: Bool) -> Value

/// Nothing.
///
@external(erlang, "warp_ffi", "null")
pub fn null() -> Value

/// JSON, kept as its text.
///
@external(erlang, "warp_projection_ffi", "json")
pub fn json(value: json.Json) -> Value

// Targets.

/// A table of which more is to be said than commands do. See `table`.
///
pub opaque type Table {
  Table(
    name: String,
    columns: List(#(String, ColumnType)),
    indexes: List(List(String)),
    keys: List(List(String)),
  )
}

/// What a column holds.
///
pub type ColumnType {
  /// Text.
  Text
  /// Whole numbers.
  Integer
  /// Numbers.
  Float
  /// True or false, which a query then gives back as such.
  Bool
  /// JSON.
  Json
  /// Whatever comes.
  Any
}

/// A table, to say more of it than commands do. Tables need not be listed to
/// exist.
///
/// ```gleam
/// p.table("orders")
/// |> p.column("total", p.Integer)
/// |> p.index(on: ["customer"])
/// ```
///
pub fn table(name: String) -> Table {
  Table(name:, columns: [], indexes: [], keys: [])
}

/// Says what a column holds.
///
pub fn column(table: Table, name: String, type_: ColumnType) -> Table {
  Table(..table, columns: [#(name, type_), ..table.columns])
}

/// Has an index kept on columns that queries look for.
///
pub fn index(table: Table, on columns: List(String)) -> Table {
  Table(..table, indexes: [columns, ..table.indexes])
}

/// Has an index kept on columns whose values no two rows share.
///
pub fn key(table: Table, on columns: List(String)) -> Table {
  Table(..table, keys: [columns, ..table.keys])
}

/// How rqlite is reached. See `rqlite`.
///
pub opaque type RqliteOptions {
  RqliteOptions(settings: List(Setting), tables: List(Table))
}

/// How fresh what a query on rqlite reads has to be. rqlite's own manual says
/// more of each.
///
pub type Level {
  /// What the node that is asked has.
  None
  /// What a node has that takes itself for the leader. The default.
  Weak
  /// Everything that was acknowledged, without a write to rqlite's log.
  Linearizable
  /// Everything that was acknowledged, with a write to rqlite's log.
  Strong
  /// What rqlite chooses.
  Auto
}

/// An rqlite of one or more nodes, such as `["http://10.0.0.1:4001"]`. Leader
/// changes and restarts are ridden out.
///
pub fn rqlite(nodes: List(String)) -> RqliteOptions {
  RqliteOptions(settings: [Nodes(nodes)], tables: [])
}

/// Gives the user that rqlite knows.
///
pub fn credentials(
  options: RqliteOptions,
  username username: String,
  password password: String,
) -> RqliteOptions {
  options |> set_option(Username(username)) |> set_option(Password(password))
}

/// Trusts the certificates in that file, for nodes with `https`. The system's
/// own are trusted by default.
///
pub fn ca_certificates(options: RqliteOptions, file: String) -> RqliteOptions {
  RqliteOptions(..options, settings: [
    Tls(dict.from_list([#(Cacertfile, file)])),
    ..options.settings
  ])
}

/// Sets how long a request may take, 1 to 600,000 milliseconds. 10,000 by
/// default.
///
pub fn request_timeout(
  options: RqliteOptions,
  milliseconds: Int,
) -> RqliteOptions {
  set_option(options, Timeout(milliseconds))
}

/// Sets how fresh queries are, `Weak` by default.
///
pub fn level(options: RqliteOptions, level: Level) -> RqliteOptions {
  set_option(options, Level(level))
}

/// Says more of tables than commands do.
///
pub fn tables(options: RqliteOptions, tables: List(Table)) -> RqliteOptions {
  RqliteOptions(..options, tables:)
}

fn set_option(options: RqliteOptions, setting: Setting) -> RqliteOptions {
  RqliteOptions(..options, settings: [setting, ..options.settings])
}

// The engine's terms of targets and queries: `Timeout(1)` is `{timeout, 1}`.

type Setting {
  Nodes(List(String))
  Username(String)
  Password(String)
  Tls(Dict(TlsFile, String))
  Timeout(Int)
  Level(Level)
  MaxRows(Int)
  Tables(Dict(String, TableMap))
}

type TlsFile {
  Cacertfile
}

type TableSetting {
  Columns(Dict(String, ColumnType))
  Indexes(List(List(String)))
  Keys(List(List(String)))
}

type TableMap

/// The engine's configuration of a target.
///
@internal
pub type Config

@internal
pub fn embedded_config(tables: List(Table)) -> Config {
  config([Tables(to_map(tables))])
}

@internal
pub fn rqlite_config(options: RqliteOptions) -> Config {
  config([Tables(to_map(options.tables)), ..reverse(options.settings)])
}

fn to_map(tables: List(Table)) -> Dict(String, TableMap) {
  list.map(tables, fn(table) {
    let Table(name:, columns:, indexes:, keys:) = table
    let settings = [
      Columns(dict.from_list(reverse(columns))),
      Indexes(reverse(indexes)),
      Keys(reverse(keys)),
    ]
    #(name, table_map(settings))
  })
  |> dict.from_list
}

// Queries.

/// What a query gives.
///
pub type Rows {
  Rows(
    /// The names of the columns.
    columns: List(String),
    /// The rows, each with one value per column, to be read with decoders:
    /// strings, numbers, bools and null. JSON comes as its text.
    rows: List(List(Dynamic)),
  )
}

/// The options of a query. See `query_options`.
///
pub opaque type QueryOptions {
  QueryOptions(List(Setting))
}

/// The defaults: at most 10,000 rows, in at most 5 seconds, as fresh as the
/// target's own default.
///
pub fn query_options() -> QueryOptions {
  QueryOptions([])
}

/// Sets how many rows the query may have. With more it gives
/// `error.TooManyRows`.
///
pub fn max_rows(options: QueryOptions, rows: Int) -> QueryOptions {
  set_query(options, MaxRows(rows))
}

/// Sets how long the query may take, in milliseconds.
///
pub fn query_timeout(options: QueryOptions, milliseconds: Int) -> QueryOptions {
  set_query(options, Timeout(milliseconds))
}

/// Sets how fresh what the query reads has to be, on rqlite.
///
pub fn query_level(options: QueryOptions, level: Level) -> QueryOptions {
  set_query(options, Level(level))
}

fn set_query(options: QueryOptions, setting: Setting) -> QueryOptions {
  let QueryOptions(settings) = options
  QueryOptions([setting, ..settings])
}

/// Runs SQL that reads, with other limits than those of `warp.query`.
///
pub fn query_with(
  context: Context,
  sql: String,
  parameters: List(Value),
  options: QueryOptions,
) -> Result(Rows, Error(reason)) {
  let QueryOptions(settings) = options
  engine_query(context, sql, parameters, config(reverse(settings)))
}

/// Waits until everything acknowledged of an entity shows in queries, that many
/// milliseconds at most.
///
@external(erlang, "warp_projection_ffi", "await")
pub fn await(
  entity: Entity,
  within milliseconds: Int,
) -> Result(Nil, Error(reason))

// Events that could not be projected.

/// An event that could not be projected, for its `project` crashed or gave
/// commands that cannot be carried out. It waits, with the later events of its
/// entity; other entities go on.
///
pub type SetAside {
  SetAside(
    /// The id of the entity.
    entity: String,
    /// The seq of the event.
    seq: Int,
    /// Its aggregate.
    aggregate: String,
    /// Its type.
    type_: String,
    /// What happened, in words.
    reason: String,
    /// When, in microseconds since 1970, UTC.
    at: Int,
    /// How many later events of the entity wait behind it.
    waiting: Int,
    /// The event itself, unless it can't be read.
    event: Option(Event),
  )
}

/// The events that are set aside, oldest first, at most that many.
///
@external(erlang, "warp_projection_ffi", "set_aside")
pub fn set_aside(
  context: Context,
  limit: Int,
) -> Result(List(SetAside), Error(reason))

/// Projects what is set aside of an entity again, and what waits behind it. If
/// it fails again it gives `error.SetAside`.
///
@external(erlang, "warp_projection_ffi", "retry")
pub fn retry(context: Context, entity: String) -> Result(Nil, Error(reason))

/// Projects everything that is set aside again.
///
@external(erlang, "warp_projection_ffi", "retry_all")
pub fn retry_all(context: Context) -> Result(Nil, Error(reason))

/// Leaves out, for good, the one event of the entity that is set aside, and
/// goes on with those behind it.
///
@external(erlang, "warp_projection_ffi", "skip")
pub fn skip(context: Context, entity: String) -> Result(Nil, Error(reason))

// Rebuilding.

/// How far a rebuild is.
///
pub type Progress {
  Progress(
    /// What it does.
    state: RebuildState,
    /// Whether the tables were built by another version of `project`, so that
    /// a rebuild is due.
    due: Bool,
    /// Events that were read.
    done: Int,
    /// About how many events there are.
    total: Int,
    /// Events per second.
    rate: Float,
    /// About how long it will still take.
    seconds_left: Option(Float),
  )
}

/// What a rebuild does.
///
pub type RebuildState {
  /// There is none.
  Idle
  /// It reads all events, into fresh tables.
  Running
  /// It was cancelled. `rebuild` goes on with it.
  Paused
  /// It puts the fresh tables in the place of the old ones.
  Swapping
}

/// Builds all tables anew, from all events, while the old ones go on being
/// read, and swaps them at the end. Gives its answer when it has begun. One that
/// was cancelled or interrupted goes on where it was.
///
@external(erlang, "warp_projection_ffi", "rebuild")
pub fn rebuild(context: Context) -> Result(Nil, Error(reason))

/// Waits until the rebuild is done, that many milliseconds at most.
///
@external(erlang, "warp_projection_ffi", "await_rebuild")
pub fn await_rebuild(
  context: Context,
  within milliseconds: Int,
) -> Result(Nil, Error(reason))

/// Cancels the rebuild. What it has done is kept for the next `rebuild`.
///
@external(erlang, "warp_projection_ffi", "cancel_rebuild")
pub fn cancel_rebuild(context: Context) -> Result(Nil, Error(reason))

/// How far the rebuild is.
///
@external(erlang, "warp_projection_ffi", "rebuild_progress")
pub fn rebuild_progress(context: Context) -> Result(Progress, Error(reason))

/// How projections are doing.
///
pub type Status {
  Status(
    /// Whether the target can be reached, and if not, why.
    target: TargetState,
    /// How many positions of the log are not projected yet.
    behind_positions: Int,
    /// How old the oldest of these is, in seconds.
    behind_seconds: Float,
    /// How many entities have an event set aside.
    set_aside: Int,
    /// Events that were projected since the context was started.
    events: Int,
    /// Everything that is known, also of each shard, to be read with a decoder:
    /// the map that `warp_projection:status/1` gives.
    all: Dynamic,
  )
}

/// Whether a target can be reached.
///
pub type TargetState {
  /// It can.
  Up
  /// It cannot, and Warp tries again.
  Away(why: String)
}

/// How projections are doing.
///
@external(erlang, "warp_projection_ffi", "status")
pub fn status(context: Context) -> Result(Status, Error(reason))

@external(erlang, "warp_projection_ffi", "query")
fn engine_query(
  context: Context,
  sql: String,
  parameters: List(Value),
  options: Config,
) -> Result(Rows, Error(reason))

@external(erlang, "maps", "from_list")
fn config(settings: List(Setting)) -> Config

@external(erlang, "maps", "from_list")
fn table_map(settings: List(TableSetting)) -> TableMap

@external(erlang, "warp_ffi", "identity")
fn text_id(id: String) -> RowId

@external(erlang, "warp_ffi", "identity")
fn number_id(id: Int) -> RowId

@external(erlang, "lists", "reverse")
fn reverse(list: List(a)) -> List(a)
