//! What Erlang can call: one file for each thing that the calls are about.
//!
//! | file | function | scheduler | why |
//! |---|---|---|---|
//! | `events` | `shard_of`, `rules` | normal | a hash; a handful of names |
//! | | `pack` | normal | stops at [`BUDGET`] bytes and asks for `pack_dirty` |
//! | | `release` | normal | frees up to 16 MiB in one piece |
//! | | `ticket`, `tie`, `is_void` | normal | an atomic |
//! | | `pack_dirty`, `keep` | dirty CPU | up to 16 MiB of JSON |
//! | `json` | `json_encode`, `json_decode` | normal | stop at [`BUDGET`] bytes and ask for the dirty one |
//! | | `json_encode_dirty`, `json_decode_dirty` | dirty CPU | as much JSON as the caller allows |
//! | `commands` | `submit`, `submit_clearing`, `replace`, `erase`, `clear`, `correct_time`, `pass` | normal | only queue; at most [`commands::MAX_APPENDS`] rows at once |
//! | `imports` | `import_new`, `import` | normal | shares what was packed |
//! | | `import_add` | normal | stops at [`BUDGET`] bytes and asks for `import_add_dirty` |
//! | | `import_add_dirty`, `import_release` | dirty CPU | up to 16 MiB of JSON; frees up to 100,000 rows |
//! | `snapshots` | `save_snapshot` | normal | only queues; what takes long to copy is copied by a thread of ours |
//! | | `snapshot` | normal | hands over to a thread of ours |
//! | `shards` | `open_journal`, `close_journal`, `open`, `close` | normal | hand over to a thread of ours |
//! | | `own_journal`, `own_shard` | normal | sets a monitor |
//! | | `journal_stats`, `stats` | normal | reads counters |
//! | `files` | `try_lock`, `establish`, `unlock`, `exists`, `file_bytes`, `put_file`, `get_file`, `rename_folder`, `delete_files`, `open_files` | normal | hand over to a thread of ours |
//! | `entities` | `head`, `last_row`, `page`, `check_ids`, `open_entities`, `closed_entities`, `entities`, `entity_count`, `other_aggregates`, `correlations` | normal | hand over to a thread of ours |
//! | `log` | `follow`, `follow_entity`, `position_before`, `run_of` | normal | hand over to a thread of ours |
//! | `verify` | `check_shard`, `check_folder`, `check_file`, `check_next`, `check_journal`, `check_folder_journal`, `uncheck_folder` | normal | hand over to a thread of ours |
//! | `backup` | `make_keys`, `cut`, `hold`, `save_page`, `save_segment`, `restore`, `restore_page`, `_erased`, `_check`, `chain_add` | normal | hand over to a thread of ours |
//! | | `release_hold`, `backup_new`, `_key`, `_object`, `_about_of`, `_open`, `save`, `save_index`, `segment_cut`, `keys_index`, `chain_new`, `_used`, `_breaks` | normal | some kilobytes, or an entry for each segment |
//! | `restoring` | `restore_open`, `_write`, `_finish`, `_close` | normal | hand over to a thread of ours |
//! | `merge` | `merge_add`, `merge_seal` | normal | hand over to a thread of ours |
//! | | `merge_new`, `segment_label` | normal | a label |
//! | `handoff` | `outline`, `pages`, `digest`, `digest_of`, `move_wal`, `leave`, `forget`, `discard`, `adopt`, `create`, `staged_digest`, `stage_open`, `_aim`, `_next`, `_write`, `_missing`, `_sync`, `_seal`, `_close` | normal | hand over to a thread of ours |
//! | `found` | `found` | normal | makes terms of at most [`BUDGET`] bytes of rows |
//! | | `found_dirty` | dirty CPU | makes terms of all that a read has found |
//! | `projections` | `projection_open`, `_execute`, `_read`, `_tidy`, `_trim`, `_close` | normal | hand over to a thread of ours |
//! | | `projection_own` | normal | sets a monitor |
//! | | `projection_execute_batch` | dirty IO | one transaction, of a process that nobody waits for |
//! | `faults` | `fault` | normal | sets a flag |
//!
//! A panic in any of them becomes an Erlang error in the calling process, or an error that it gets
//! as its answer. Nothing on the way of a small append, of its answer, of a read or of a restart
//! needs one of the VM's dirty threads, which any part of an application can occupy.

pub mod backup;
pub mod commands;
pub mod entities;
pub mod events;
pub mod faults;
pub mod files;
pub mod found;
pub mod handoff;
pub mod imports;
pub mod json;
pub mod log;
pub mod merge;
pub mod projections;
pub mod restoring;
pub mod shards;
pub mod snapshots;
pub mod terms;
pub mod verify;

/// How many bytes of JSON, or of rows, a normal scheduler handles at once: well under a millisecond.
const BUDGET: usize = 32 * 1024;
