//! What the files of a shard are called, that of its database given: `shard-0000.db`.

use std::path::{Path, PathBuf};

use crate::files::beside;
use crate::sqlite::sums::header;

/// The copy that is being made, or is complete and not adopted yet: `shard-0000.staged`.
pub fn staged(path: &Path) -> PathBuf {
    path.with_extension("staged")
}

/// The sums of that copy, once it is complete: `shard-0000.staged-sums`.
pub fn staged_sums(path: &Path) -> PathBuf {
    path.with_extension("staged-sums")
}

/// An empty shard that is being made: `shard-0000.new`. Its sums have their name at once.
pub fn new(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// All files of such a shard, while there is none at `path`.
pub fn of_new(path: &Path) -> Vec<PathBuf> {
    let (new, sums) = (new(path), header::path_of(path));
    let mut all = besides(&new);
    all.extend([new, beside(&sums, ".new"), sums]);
    all
}

/// What SQLite keeps beside the database.
pub fn besides(path: &Path) -> Vec<PathBuf> {
    let suffixes = ["-wal", "-shm", "-journal"];
    suffixes.iter().map(|suffix| beside(path, suffix)).collect()
}

/// All of them. Those come first that say of another one that it is complete.
pub fn all(path: &Path) -> Vec<PathBuf> {
    let staged_sums = staged_sums(path);
    let mut all = vec![beside(&staged_sums, ".new"), staged_sums, staged(path)];
    all.extend(of_new(path));
    all.extend(besides(path));
    all.push(path.to_owned());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_ends_as_one() {
        let path = Path::new("data/bank/shard-0007.db");
        let all = all(path);
        let ends = |path: &&PathBuf| path.extension().is_some_and(|end| end == "db");
        assert_eq!(all.iter().filter(ends).count(), 1);
        assert!(all.contains(&"data/bank/shard-0007.staged-sums".into()));
        assert!(all.contains(&"data/bank/shard-0007.db-wal".into()));
    }
}
