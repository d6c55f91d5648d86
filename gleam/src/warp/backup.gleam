//// Backups of a context, in which a deleted entity is dead data: each life of an
//// entity is sealed with a key of its own, and deleting the entity destroys that
//// key, also in the backups that were made before.
////
//// ```gleam
//// let backup =
////   backup.at("/mnt/backup/bank")
////   |> backup.master_key(backup.File("/etc/warp/master.key"))
//// // In the application, once the context is started:
//// let assert Ok(_) = backup.start(bank, backup |> backup.every(60_000))
//// // After a loss:
//// let assert Ok(_) = backup.restore(backup, into: "data")
//// ```
////
//// A backup is made of segments, which never change, and of key pages, which each
//// run replaces. Each run adds a cut: the state of the whole context between two
//// commits. Who loses the master key, or the key pages, can restore nothing.
////
//// In a cluster one node makes the run for all. Only that node needs the folder
//// and the master key.
////
//// `docs/backups.md` says how to set backups up, and how to restore.

import gleam/option.{type Option, None, Some}
import warp/context.{type FileAccess, Owner}
import warp/error.{type Error}
import warp/handle.{type Context}

// Where a backup is, and how it is used.

/// A backup: its folder, its keys, and what the functions of this module do with
/// it. Each function uses what concerns it. See `at`.
///
pub opaque type Backup {
  Backup(
    folder: String,
    keys: Option(String),
    master_key: Option(MasterKey),
    every: Int,
    keep: Keep,
    until: Until,
    file_access: FileAccess,
    stored: fn(Report) -> Nil,
    progress: fn(Progress) -> Nil,
  )
}

/// The master key, which wraps the key of a backup. Warp reads it when it needs
/// it, and does not keep it.
///
pub type MasterKey {
  /// A file with 64 hexadecimal digits, such as `openssl rand -hex 32` prints,
  /// that only its owner may read.
  File(path: String)
  /// A variable of the environment with 64 hexadecimal digits.
  Env(name: String)
  /// Functions that have a service for keys wrap and unwrap the key of the backup,
  /// which has 32 bytes. The name stands in the backup, and has 1 to 100 bytes.
  /// `run` and the others return what they fail with as `error.MasterKeyRefused`.
  Service(
    name: String,
    wrap: fn(BitArray) -> Result(BitArray, String),
    unwrap: fn(BitArray) -> Result(BitArray, String),
  )
}

/// Which cuts of a backup are kept. Segments up to the oldest of them may be merged.
///
pub type Keep {
  /// For `run` what `start` was called with, and for `start` all of them.
  AsBefore
  KeepAll
  /// The last so many.
  LastCuts(count: Int)
  /// All that are needed to restore any time of the last so many milliseconds.
  Age(milliseconds: Int)
  /// What either of them keeps.
  LastCutsAndAge(count: Int, milliseconds: Int)
}

/// Which cut of a backup is restored.
///
pub type Until {
  /// The last one.
  End
  /// The one with this number.
  Cut(number: Int)
  /// The last one that was made at this time or before it, in microseconds since
  /// 1970, UTC.
  Time(microseconds: Int)
}

/// The backup in this folder, which may be one of another machine that is mounted.
/// The folder need not exist: it is made with the first object in it. Each context
/// has a folder of its own.
///
/// A text such as `s3://BUCKET/PREFIX?endpoint=http://127.0.0.1:9000&region=local`
/// is a bucket of S3-compatible storage, which has to exist. What stands behind the
/// `?` may be left out: the storage is that of AWS then, or what the usual variables
/// of the environment say. The keys to it are in `AWS_ACCESS_KEY_ID` and
/// `AWS_SECRET_ACCESS_KEY`, or in the variables that `access_key_id_env=NAME` and
/// `secret_access_key_env=NAME` name.
///
pub fn at(folder: String) -> Backup {
  Backup(
    folder:,
    keys: None,
    master_key: None,
    every: 60_000,
    keep: AsBefore,
    until: End,
    file_access: Owner,
    stored: fn(_) { Nil },
    progress: fn(_) { Nil },
  )
}

/// Sets the master key. Without one `run`, `start` and `restore` return
/// `error.MissingOption`, and `verify` looks at less.
///
pub fn master_key(backup: Backup, key: MasterKey) -> Backup {
  Backup(..backup, master_key: Some(key))
}

/// Keeps the key pages in this folder or bucket, and not with the segments: who has
/// only one of the two can read nothing.
///
pub fn keys_at(backup: Backup, folder: String) -> Backup {
  Backup(..backup, keys: Some(folder))
}

/// Sets how many milliseconds `start` waits from one run to the next, from 1000 on.
/// The default is 60,000.
///
pub fn every(backup: Backup, milliseconds: Int) -> Backup {
  Backup(..backup, every: milliseconds)
}

/// Sets which cuts are kept, so that `run`, `start` and `merge` may merge the older
/// segments. `merge` needs it. The default is `AsBefore`.
///
pub fn keep(backup: Backup, keep: Keep) -> Backup {
  Backup(..backup, keep:)
}

/// Sets which cut `restore` restores, and up to which `verify` opens the backup.
/// The default is `End`.
///
pub fn until(backup: Backup, cut: Until) -> Backup {
  Backup(..backup, until: cut)
}

/// Sets who may read the files that `restore` makes. The default is
/// `context.Owner`.
///
pub fn file_access(backup: Backup, access: FileAccess) -> Backup {
  Backup(..backup, file_access: access)
}

/// Sets a function that `run` and `start` call after each object that was stored,
/// with the report so far, in a process of Warp's.
///
pub fn on_stored(backup: Backup, tell: fn(Report) -> Nil) -> Backup {
  Backup(..backup, stored: tell)
}

/// Sets a function that `verify` and `restore` call after each segment.
///
pub fn on_progress(backup: Backup, tell: fn(Progress) -> Nil) -> Backup {
  Backup(..backup, progress: tell)
}

// Backing up.

/// What a run has stored: nothing where nothing has changed since the last cut.
///
pub type Report {
  Report(
    /// The number of the cut that was made, or of the last one.
    cut: Int,
    /// Up to when the backup has everything, in microseconds since 1970, UTC.
    at: Int,
    segments: Int,
    key_pages: Int,
    /// Rows of the log: what was appended at once is one.
    rows: Int,
    events: Int,
    bytes: Int,
    /// How many older segments were merged into others.
    merged: Int,
  )
}

/// Backs the context up once. Only what is new since the last run is read and
/// stored. A run that was interrupted is made again.
///
/// Errors: `error.BadOption`, `error.MissingOption`; `error.NoMasterKey`,
/// `error.WrongMasterKey`, `error.MasterKeyRefused`; `error.OtherBackup` if the
/// folder has a backup of another context; `error.TargetInUse`; `error.Forked` if
/// the context was put back to an older state, and has gone on;
/// `error.ShardUnavailable`; `error.NodeUnavailable` in a cluster; `error.BackupDamaged`, `error.Unreachable`,
/// `error.DiskFull`, `error.IoError` and `error.ContextStopped`; with a bucket also
/// `error.StorageRefused` and `error.NoStoreProgram`, as from all that use one.
///
@external(erlang, "warp_backup_ffi", "run")
pub fn run(context: Context, backup: Backup) -> Result(Report, Error(reason))

/// Backs the context up again and again, from now on until the context stops or
/// `stop` is called, and at once when an entity is deleted. Waits for the first
/// run, and returns its report. Called again for the same folder it changes how.
///
/// What fails later is in the log and in `warp.stats`, and is tried again. Errors:
/// those of `run`, with nothing begun.
///
@external(erlang, "warp_backup_ffi", "start")
pub fn start(context: Context, backup: Backup) -> Result(Report, Error(reason))

/// Makes a run, and then goes through all segments up to the oldest cut that is
/// kept: merges those that fit into one, and leaves out what was deleted. Older cuts
/// cannot be restored any more. Errors: those of `run`; `error.MissingOption`
/// without `keep`.
///
@external(erlang, "warp_backup_ffi", "merge")
pub fn merge(context: Context, backup: Backup) -> Result(Report, Error(reason))

/// Ends the backups that `start` has begun, after a run that is under way.
/// Deletions still wait until their entities are dead data in the backup. Errors:
/// `error.NotStarted`, `error.BadOption`, `error.ContextStopped`.
///
pub fn stop(context: Context, backup: Backup) -> Result(Nil, Error(reason)) {
  engine_stop(context, backup.folder)
}

/// Says that the backup is gone for good: deletions wait for it no more. Errors:
/// `error.Running` while a run is under way, and those of `stop`.
///
pub fn forget(context: Context, backup: Backup) -> Result(Nil, Error(reason)) {
  engine_forget(context, backup.folder)
}

// Looking at a backup, and restoring it.

/// A cut of a backup.
///
pub type Point {
  Point(
    cut: Int,
    /// When it was made, in microseconds since 1970, UTC.
    at: Int,
    /// How many segments there are up to it.
    segments: Int,
    /// How many bytes these have.
    bytes: Int,
  )
}

/// The cuts of a backup, the oldest first. Needs no key. Errors: `error.NoBackup`,
/// `error.BackupDamaged`, `error.Unreachable`, `error.IoError`.
///
@external(erlang, "warp_backup_ffi", "list")
pub fn list(backup: Backup) -> Result(List(Point), Error(reason))

/// How far `verify` or `restore` is.
///
pub type Progress {
  Progress(
    /// How many steps are done. Each is a segment that was looked at, or opened.
    done: Int,
    of: Int,
    /// How many events were restored or opened.
    events: Int,
  )
}

/// What was looked at.
///
pub type Verified {
  Verified(
    segments: Int,
    cuts: Int,
    /// What was opened with the master key. `None` without one.
    opened: Option(Opened),
  )
}

/// What segments have in them.
///
pub type Opened {
  Opened(
    /// Rows of the log: what was appended at once is one.
    rows: Int,
    events: Int,
    /// Parts of entities whose keys were erased, so that nobody can open them.
    erased: Int,
    /// Rows of which events were cleared, since what they were about was deleted.
    cleared: Int,
  )
}

/// Looks at a backup: without a master key that all segments are there and as they
/// were written, and with one also that everything in them can be opened and is
/// whole.
///
/// Errors: `error.BackupDamaged`, which names each segment that is damaged, missing
/// or exchanged; others are those of `restore`.
///
@external(erlang, "warp_backup_ffi", "verify")
pub fn verify(backup: Backup) -> Result(Verified, Error(reason))

/// Whether the key pages are as new as the segments.
///
pub type Checked {
  Checked(
    /// The last cut.
    cut: Int,
    /// When it was made, in microseconds since 1970, UTC.
    at: Int,
    /// When the key pages were written.
    keys_at: Int,
    /// The shards whose keys are older than their segments: none, if all is well.
    older: List(Int),
  )
}

/// Looks whether the key pages are as new as the segments. Where they are older,
/// what is newer cannot be read, and a key that was erased may still be there.
/// Needs no key. Errors: `error.NoBackup`, `error.NoKeys`, `error.BackupDamaged`,
/// `error.Unreachable`, `error.IoError`.
///
@external(erlang, "warp_backup_ffi", "check")
pub fn check(backup: Backup) -> Result(Checked, Error(reason))

/// What was restored.
///
pub type Restored {
  Restored(
    /// The name of the context.
    context: String,
    /// With how many shards it has to be started.
    shards: Int,
    cut: Int,
    /// When the cut was made, in microseconds since 1970, UTC.
    at: Int,
    /// The newest cut, if it could not be taken since its keys are not stored: a run
    /// that has not ended yet stores them last.
    left_out: Option(Int),
    segments: Int,
    contents: Opened,
  )
}

/// Restores a context into `DATA_DIR/CONTEXT`, where there must be none, as it was
/// at a cut, without what was deleted since. Start it then as any other. A restore
/// that was interrupted goes on when it is called again. Sagas that were under way
/// at the cut go on when the context starts.
///
/// Errors: `error.BadOption`, `error.MissingOption`; `error.NoBackup`,
/// `error.NoKeys`, `error.NoSuchCut`; `error.NotEmpty` if there is a context, or
/// something else; `error.OtherRestore` if a restore of another cut was interrupted
/// there; `error.BackupDamaged` and `error.KeyUnknown`, with nothing restored;
/// `error.NoMasterKey`, `error.WrongMasterKey`, `error.MasterKeyRefused`;
/// `error.DataDirInUse`, `error.Unreachable`, `error.DiskFull`, `error.IoError`;
/// `error.MergedMeanwhile` if segments were merged meanwhile: call it again.
///
pub fn restore(
  backup: Backup,
  into data_dir: String,
) -> Result(Restored, Error(reason)) {
  engine_restore(data_dir, backup)
}

/// Restores one entity alone, into a context that has no other, such as to look at
/// what it was, or to export it. Errors: those of `restore`.
///
pub fn restore_entity(
  backup: Backup,
  entity id: String,
  into data_dir: String,
) -> Result(Restored, Error(reason)) {
  engine_restore_entity(data_dir, id, backup)
}

@external(erlang, "warp_backup_ffi", "restore_entity")
fn engine_restore_entity(
  data_dir: String,
  id: String,
  backup: Backup,
) -> Result(Restored, Error(reason))

@external(erlang, "warp_backup_ffi", "stop")
fn engine_stop(context: Context, folder: String) -> Result(Nil, Error(reason))

@external(erlang, "warp_backup_ffi", "forget")
fn engine_forget(
  context: Context,
  folder: String,
) -> Result(Nil, Error(reason))

@external(erlang, "warp_backup_ffi", "restore")
fn engine_restore(
  data_dir: String,
  backup: Backup,
) -> Result(Restored, Error(reason))
