//! What can be wrong with a backup, by name: which object, and which part of it.

use std::error::Error as StdError;
use std::fmt::{self, Display, Formatter};
use std::io;

/// An object of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// The segment of this number.
    Segment(u64),
    /// The key page of this shard and number.
    KeyPage(u16, u64),
    /// The object `keys/index`.
    KeyIndex,
    /// The object `backup`.
    Backup,
}

/// Which rows a block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// The shard.
    pub shard: u16,
    /// The incarnation of the life; 0 for the rows that have the shard's own key.
    pub incarnation: i64,
    /// Which key of the life it has.
    pub part: u16,
    /// The position of its first row.
    pub first: i64,
    /// The position of its last row.
    pub last: i64,
}

/// A part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// What it begins with.
    Label,
    /// A block.
    Block(BlockPlace),
    /// The list of erased keys.
    Erased,
    /// The list of changed rows.
    Changed,
    /// The list of runs.
    Runs,
    /// The index of the blocks.
    Index,
    /// What it ends with.
    Trailer,
    /// All of it: no part can be told.
    Whole,
}

/// What is wrong with a backup, or with what was to become a part of it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// It could not be written.
    Io(io::Error),
    /// The operating system gives no random numbers, or zstd does not do its work.
    System(&'static str),
    /// The caller did what it must not.
    Misuse(&'static str),
    /// It does not begin as such an object.
    NotOurs(Object),
    /// It has a format that this Warp does not know.
    UnknownFormat(Object, u32),
    /// It is shorter than its label says.
    Truncated {
        /// Which one.
        object: Object,
        /// How many bytes it had.
        bytes: u64,
        /// How many there are.
        found: u64,
    },
    /// It is of another backup, with this id.
    Foreign(Object, u64),
    /// Another object stands in its place, which is this one.
    Swapped(Object, Object),
    /// It is not as it was written.
    Damaged {
        /// Which one.
        object: Object,
        /// Which part of it.
        place: Place,
        /// What does not fit.
        why: &'static str,
    },
    /// It is as it was written, but the key does not open it.
    WrongKey(Object, Place),
    /// It is as it was written, but not by someone who had the backup key.
    Unsigned(Object),
    /// There is no such key, and nothing says that it was erased.
    KeyUnknown(Object, BlockPlace),
    /// Segments that do not follow each other.
    Gap {
        /// The number of the second.
        number: u64,
        /// What does not follow.
        why: &'static str,
    },
}

/// The result of an operation on a backup.
pub type Result<T> = std::result::Result<T, Error>;

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl Display for Object {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(number) => write!(f, "segment {number}"),
            Self::KeyPage(shard, page) => write!(f, "key page {page} of shard {shard}"),
            Self::KeyIndex => write!(f, "the index of the key pages"),
            Self::Backup => write!(f, "the object 'backup'"),
        }
    }
}

impl Display for BlockPlace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            shard,
            incarnation,
            part,
            first,
            last,
        } = self;
        write!(
            f,
            "the block of shard {shard}, incarnation {incarnation}, part {part}, positions {first} to {last}"
        )
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label => write!(f, "its label"),
            Self::Block(block) => write!(f, "{block}"),
            Self::Erased => write!(f, "its list of erased keys"),
            Self::Changed => write!(f, "its list of changed rows"),
            Self::Runs => write!(f, "its list of runs"),
            Self::Index => write!(f, "its index"),
            Self::Trailer => write!(f, "its trailer"),
            Self::Whole => write!(f, "some part of it"),
        }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the backup cannot be written: {error}"),
            Self::System(what) => write!(f, "{what}"),
            Self::Misuse(what) => write!(f, "a bug in Warp: {what}"),
            Self::NotOurs(object) => write!(f, "{object} is no such object of a backup"),
            Self::UnknownFormat(object, format) => {
                write!(f, "{object} has the unknown format {format}")
            }
            Self::Truncated {
                object,
                bytes,
                found,
            } => write!(f, "{object} is cut off: {found} of {bytes} bytes are there"),
            Self::Foreign(object, backup) => {
                write!(f, "{object} is of another backup, {backup:016x}")
            }
            Self::Swapped(object, found) => write!(f, "{found} stands in the place of {object}"),
            Self::Damaged { object, place, why } => {
                write!(f, "{object}: {place} is damaged: {why}")
            }
            Self::WrongKey(object, place) => write!(f, "{object}: the key does not open {place}"),
            Self::Unsigned(object) => {
                write!(f, "{object} was made by someone without the backup key")
            }
            Self::KeyUnknown(object, block) => write!(f, "{object}: there is no key of {block}"),
            Self::Gap { number, why } => write!(f, "segment {number} does not follow: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_object_and_the_part_of_it() {
        let block = BlockPlace {
            shard: 3,
            incarnation: 40,
            part: 1,
            first: 41,
            last: 49,
        };
        let error = Error::Damaged {
            object: Object::Segment(12),
            place: Place::Block(block),
            why: "its checksum does not fit",
        };
        assert_eq!(
            error.to_string(),
            "segment 12: the block of shard 3, incarnation 40, part 1, positions 41 to 49 is damaged: \
             its checksum does not fit"
        );
        let full = Error::from(io::Error::from(io::ErrorKind::StorageFull));
        assert!(full.source().is_some());
        assert!(Error::Misuse("x").source().is_none());
    }
}
