//! What the tests of a shard share.

use std::path::Path;
use std::sync::Arc;

use super::Durability;
use super::clearing::Clearing;
use super::command::{Answer, Append, Command, Submission};
use super::kinds::{Kind, Kinds};
use super::rows::Row;
use super::schema::{self, Identity};
use super::shared::Shared;
use super::store::Store;
use crate::error::Result;
use crate::event::Packed;
use crate::files::Access;

/// The identity of every shard of a test.
pub fn identity() -> Identity {
    Identity {
        context: "test".into(),
        shard: 0,
        shards: 1,
    }
}

/// What the ids of the one kind begin with.
pub const KIND: &str = "$warp/saga/";
/// The aggregate that closes an entity of it.
pub const CLOSING: &str = "$warp/saga/end";

fn kinds() -> Kinds {
    let kind = Kind {
        prefix: KIND.into(),
        closing: CLOSING.into(),
    };
    Kinds::new(vec![kind]).expect("one kind")
}

/// Opens the shard at `path`, creating it where there is none, without a writer thread.
pub fn open(path: &Path) -> Result<(Store, Shared)> {
    let connection = schema::open(path, &identity(), Durability::Normal, Some(Access::Owner))?;
    let (store, tail) = Store::recover(connection, &kinds())?;
    Ok((store, Shared::new(path.to_owned(), kinds(), tail, 16)))
}

/// Carries one command out in a transaction of its own.
pub fn commit(store: &mut Store, shared: &Shared, command: Command) -> Result<Option<Answer>> {
    let committed = store.commit(shared, &[command])?;
    Ok(committed.answers.into_iter().next().flatten())
}

/// The command that appends one row behind `base`.
pub fn append(entity: &str, base: u64, packed: Packed) -> Command {
    Command::Append(Submission {
        entity: entity.into(),
        from: None,
        base,
        appends: vec![Append {
            packed: Arc::new(packed),
            handle: None,
            recorded_at: 1_700_000_000_000_000,
        }],
        clear: Clearing::default(),
        receipt: None,
    })
}

/// A row of three events, as it stands in the log.
pub fn row(data: &str) -> Row {
    Row {
        position: 1,
        entity: "e".into(),
        aggregate: "A".into(),
        seq: 1,
        count: 3,
        recorded_at: 0,
        prev: 0,
        data: data.into(),
    }
}
