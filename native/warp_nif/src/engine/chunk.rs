//! What one commit takes of what waits.

use std::sync::Arc;

use crate::shard::shared::Shared;
use crate::writer::command::Command;
use crate::writer::queue::{Batch, size, taken_up};

/// How many rows one commit takes at most.
const MAX_ROWS: usize = 4096;
/// How many bytes one commit takes at most, but for a single larger command.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// What the next commit carries out.
pub fn take(batch: &mut Batch) -> Vec<(Arc<Shared>, Command)> {
    let (mut chunk, mut rows, mut bytes) = (Vec::new(), 0, 0);
    while rows < max_rows()
        && bytes < MAX_BYTES
        && let Some((shared, command)) = batch.commands.pop_front()
    {
        taken_up(&shared, &command);
        bytes += size(&command);
        rows += match &command {
            Command::Append(submission) => submission.appends.len(),
            Command::Import { rows, .. } => rows.len(),
            Command::Clear { events, .. } => events.len().max(1),
            _ => 1,
        };
        chunk.push((shared, command));
    }
    chunk
}

fn max_rows() -> usize {
    #[cfg(feature = "fault")]
    if let Some(rows) = crate::fault::rows_at_once() {
        return rows;
    }
    MAX_ROWS
}
