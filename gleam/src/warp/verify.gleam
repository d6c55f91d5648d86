//// Checks all files of a context against their checksums and against each
//// other, and changes none of them.
////
//// ```gleam
//// let assert Ok(report) = verify.folder("backup/bank", fn(_) { Nil })
//// io.println(int.to_string(report.events) <> " events, nothing is damaged")
//// ```
////
//// Reads every page of every shard, every row of the log and all that finds
//// it, every snapshot, and the journal: so it takes as long as reading the files
//// twice. The calling process does it, and waits for it. Projections are not
//// checked, since they follow from the log.

import gleam/option.{type Option}
import warp/error.{type Error}
import warp/handle.{type Context}

/// How much was checked.
///
pub type Report {
  Report(
    shards: Int,
    /// Pages of 4096 bytes.
    pages: Int,
    entities: Int,
    /// Rows of the log: what was appended at once is one.
    rows: Int,
    events: Int,
    snapshots: Int,
    /// Records of the journal, of which a context that was stopped has none.
    records: Int,
  )
}

/// How far a check is.
///
pub type Progress {
  Progress(
    /// The shard, from 0. `None` for the journal, which comes last.
    shard: Option(Int),
    shards: Int,
    part: Part,
    /// How many of the shard's steps are done. A step is a page of the file, and
    /// each row of the log takes two.
    done: Int,
    total: Int,
  )
}

/// What is checked.
///
pub type Part {
  Pages
  Entities
  Rows
  Journal
}

/// Checks a context that is running, and goes on running meanwhile: what was
/// there when the check of each shard began. `progress` is called after each
/// piece, which takes a few milliseconds.
///
/// Returns `error.Corrupt` with a message that says what is damaged, up to 100
/// places; `error.ShardUnavailable` if a shard was not open for ten seconds,
/// `error.Interrupted` if the journal is being opened again,
/// `error.ContextStopped`, or `error.IoError`.
///
@external(erlang, "warp_verify_ffi", "context")
pub fn context(
  context: Context,
  progress: fn(Progress) -> Nil,
) -> Result(Report, Error(reason))

/// Checks the files in a folder, the one of a context (`DATA_DIR/CONTEXT`) or a
/// copy of it. No VM may have it open, and none can open it meanwhile.
///
/// Returns `error.Corrupt` as `context` does, `error.DataDirInUse` if a VM has the
/// context open, `error.NotAShard`, `error.NewerFormat`, or `error.IoError`.
///
@external(erlang, "warp_verify_ffi", "folder")
pub fn folder(
  path: String,
  progress: fn(Progress) -> Nil,
) -> Result(Report, Error(reason))
