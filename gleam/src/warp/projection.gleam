//// Projections: tables that Warp builds from events, for queries across
//// entities.
////
//// The `project` of an aggregate returns commands, which you build like this:
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
//// You need not declare tables: Warp creates tables and columns when a command
//// first names them. Every row belongs to the entity whose event created it, and
//// Warp deletes it when this entity is deleted.

import gleam/dict.{type Dict}
import gleam/dynamic.{type Dynamic}
import gleam/list
import warp/error.{type Error}
import warp/handle.{type Context, type Entity}
import warp/json

// Commands.

/// A command, which writes to one row of a table. See `build`.
///
pub opaque type Command {
  // These are the engine's terms.
  Upsert(table: String, id: RowId, columns: Dict(String, Value))
  Increment(table: String, id: RowId, columns: Dict(String, Value))
  Delete(table: String, id: RowId)
}

/// A command that is being built. Its type parameter says whether it has the id
/// of a row, without which it cannot be built.
///
pub opaque type Draft(identified) {
  Draft(kind: Kind, table: String, id: RowId, columns: List(#(String, Value)))
}

/// A draft that has the id of its row.
///
pub type WithId

/// A draft that needs the id of its row, from `id` or `int_id`.
///
pub type WithoutId

type Kind {
  Upserts
  Increments
  Deletes
}

type RowId

/// The value of a column, or of a parameter of a query.
///
pub type Value

/// Sets columns of a row, which is created if it does not exist. Other columns
/// keep their values. Only the entity that created the row may upsert or delete
/// it.
///
/// The names of tables and columns have 1 to 60 letters, digits and `_`. They do
/// not begin with a digit, `_warp` or `sqlite_`. Warp itself writes the columns
/// `id`, `_entity` and `_seq`. An event whose command breaks these rules is set
/// aside: see `warp/projector`.
///
pub fn upsert(table: String) -> Draft(WithoutId) {
  draft(Upserts, table)
}

/// Adds numbers to columns of a row, which is created if it does not exist. A
/// column without a value counts as 0. Any entity may increment any row.
///
/// ```gleam
/// p.increment("sales") |> p.id(sku) |> p.by("sold", p.int(2)) |> p.build
/// ```
///
pub fn increment(table: String) -> Draft(WithoutId) {
  draft(Increments, table)
}

/// Deletes a row: the columns that the entity set, and the numbers that it added.
///
pub fn delete(table: String) -> Draft(WithoutId) {
  draft(Deletes, table)
}

fn draft(kind: Kind, table: String) -> Draft(WithoutId) {
  Draft(kind:, table:, id: text_id(""), columns: [])
}

/// Names the row by its id, of 1 to 1024 bytes.
///
pub fn id(draft: Draft(WithoutId), id: String) -> Draft(WithId) {
  named(draft, text_id(id))
}

/// Names the row by its id, an integer of at most 64 bits.
///
pub fn int_id(draft: Draft(WithoutId), id: Int) -> Draft(WithId) {
  named(draft, number_id(id))
}

fn named(draft: Draft(WithoutId), id: RowId) -> Draft(WithId) {
  let Draft(kind:, table:, columns:, ..) = draft
  Draft(kind:, table:, id:, columns:)
}

/// Sets a column. The last of two values for the same column counts.
///
pub fn set(draft: Draft(id), column: String, value: Value) -> Draft(id) {
  Draft(..draft, columns: [#(column, value), ..draft.columns])
}

/// Sets the amount that an increment adds to a column, a number. It may be
/// negative.
///
pub fn by(draft: Draft(id), column: String, amount: Value) -> Draft(id) {
  set(draft, column, amount)
}

/// Builds the command.
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

/// Text, of at most 1 MiB.
///
@external(erlang, "warp_ffi", "identity")
pub fn text(value: String) -> Value

/// An integer of at most 64 bits.
///
@external(erlang, "warp_ffi", "identity")
pub fn int(value: Int) -> Value

/// A float.
///
@external(erlang, "warp_ffi", "identity")
pub fn float(value: Float) -> Value

/// A boolean.
///
@external(erlang, "warp_ffi", "identity")
pub fn bool(value: Bool) -> Value

/// SQL's `NULL`.
///
@external(erlang, "warp_ffi", "null")
pub fn null() -> Value

/// JSON, which the table stores as text.
///
@external(erlang, "warp_projection_ffi", "json")
pub fn json(value: json.Json) -> Value

// Targets.

/// A declaration of a table. See `table`.
///
pub opaque type Table {
  Table(
    name: String,
    columns: List(#(String, ColumnType)),
    indexes: List(List(String)),
    keys: List(List(String)),
  )
}

/// The type of a column's values.
///
pub type ColumnType {
  /// Text.
  Text
  /// Integers.
  Integer
  /// Floats.
  Float
  /// Booleans. Queries return them as booleans too.
  Bool
  /// JSON.
  Json
  /// Values of any type.
  Any
}

/// A declaration of a table, which gives it columns with types and indexes.
/// Tables need not be declared.
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

/// Declares the type of a column.
///
pub fn column(table: Table, name: String, type_: ColumnType) -> Table {
  Table(..table, columns: [#(name, type_), ..table.columns])
}

/// Declares an index on columns, for queries that filter by them.
///
pub fn index(table: Table, on columns: List(String)) -> Table {
  Table(..table, indexes: [columns, ..table.indexes])
}

/// Declares a unique index on columns: no two rows have the same values in them.
///
pub fn key(table: Table, on columns: List(String)) -> Table {
  Table(..table, keys: [columns, ..table.keys])
}

/// How to reach an rqlite server. See `rqlite`.
///
pub opaque type RqliteOptions {
  RqliteOptions(settings: List(Setting), tables: List(Table))
}

/// The read consistency of queries on rqlite. rqlite's manual describes each
/// level in detail.
///
pub type Level {
  /// The node answers from its own copy, which may be old.
  None
  /// The node that takes itself for the leader answers. This is the default.
  Weak
  /// The answer has every acknowledged write. The leader asks the other nodes.
  Linearizable
  /// The answer has every acknowledged write. The query goes through rqlite's
  /// log.
  Strong
  /// rqlite chooses a level.
  Auto
}

/// The URLs of the nodes of an rqlite server, such as
/// `["http://10.0.0.1:4001"]`. Warp retries while a node restarts or the leader
/// changes.
///
pub fn rqlite(nodes: List(String)) -> RqliteOptions {
  RqliteOptions(settings: [Nodes(nodes)], tables: [])
}

/// Sets the name and the password of the rqlite user.
///
pub fn credentials(
  options: RqliteOptions,
  username username: String,
  password password: String,
) -> RqliteOptions {
  options |> set_option(Username(username)) |> set_option(Password(password))
}

/// Sets the path of a PEM file with the certificates that Warp trusts, for nodes
/// with `https`. By default Warp trusts the certificates of the system.
///
pub fn ca_certificates(options: RqliteOptions, file: String) -> RqliteOptions {
  RqliteOptions(..options, settings: [
    Tls(dict.from_list([#(Cacertfile, file)])),
    ..options.settings
  ])
}

/// Sets how long a request may take, from 1 to 600,000 milliseconds. The default
/// is 10,000.
///
pub fn request_timeout(
  options: RqliteOptions,
  milliseconds: Int,
) -> RqliteOptions {
  set_option(options, Timeout(milliseconds))
}

/// Sets the read consistency of queries. The default is `Weak`.
///
pub fn level(options: RqliteOptions, level: Level) -> RqliteOptions {
  set_option(options, Level(level))
}

/// Declares tables.
///
pub fn tables(options: RqliteOptions, tables: List(Table)) -> RqliteOptions {
  RqliteOptions(..options, tables:)
}

fn set_option(options: RqliteOptions, setting: Setting) -> RqliteOptions {
  RqliteOptions(..options, settings: [setting, ..options.settings])
}

// The engine's options of targets and queries. The constructors have names that
// make them the engine's terms: `Timeout(1)` is `{timeout, 1}`.

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

/// The engine's map of options of a target.
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

/// The result of a query.
///
pub type Rows {
  Rows(
    /// The names of the result's columns.
    columns: List(String),
    /// The rows, each with one value per column, to be read with decoders:
    /// strings, numbers, booleans and null. JSON is a string with its text.
    rows: List(List(Dynamic)),
  )
}

/// The options of a query. See `query_options`.
///
pub opaque type QueryOptions {
  QueryOptions(List(Setting))
}

/// The defaults: at most 10,000 rows, within 5000 milliseconds, with the read
/// consistency of the target.
///
pub fn query_options() -> QueryOptions {
  QueryOptions([])
}

/// Sets how many rows the result may have, from 1 on. A query with more rows
/// returns `error.TooManyRows`.
///
pub fn max_rows(options: QueryOptions, rows: Int) -> QueryOptions {
  set_query(options, MaxRows(rows))
}

/// Sets how long the query may take, in milliseconds, from 1 to 2^32 - 1. After
/// that it returns `error.Timeout`.
///
pub fn query_timeout(options: QueryOptions, milliseconds: Int) -> QueryOptions {
  set_query(options, Timeout(milliseconds))
}

/// Sets the read consistency of the query, on rqlite.
///
pub fn query_level(options: QueryOptions, level: Level) -> QueryOptions {
  set_query(options, Level(level))
}

fn set_query(options: QueryOptions, setting: Setting) -> QueryOptions {
  let QueryOptions(settings) = options
  QueryOptions([setting, ..settings])
}

/// Runs one SQL statement that reads, as `warp.query` does, with other limits.
///
/// The SQL text may have 1 MiB, the parameters 64 MiB in all, and the result 64
/// MiB: a larger result returns `error.ResultTooLarge`. A query on an embedded
/// projection may use 256 MiB of memory, and returns `error.QueryTooLarge` when
/// it needs more. While too many queries run, it returns `error.Overloaded`.
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

/// Waits until queries show every event of an entity that was acknowledged, for
/// at most so many milliseconds, up to 2^32 - 1.
///
/// Returns `error.Timeout`, `error.SetAside` if an event of the entity could not
/// be projected, `error.RebuildDue` if the tables have to be rebuilt first, and
/// `error.NoProjections`.
///
@external(erlang, "warp_projection_ffi", "await")
pub fn await(
  entity: Entity,
  within milliseconds: Int,
) -> Result(Nil, Error(reason))

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
