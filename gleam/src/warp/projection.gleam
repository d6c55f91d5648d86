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
import warp/error.{type Error}
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
/// aside with its event: see `warp/projector`.
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
