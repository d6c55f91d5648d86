//! Work on all cores.

use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::{Error, Result};

/// Does each piece of work on one of as many threads as there are cores: what came of them, in their order. Error: that
/// of the first piece that has one. Pieces that were not begun by then are left.
pub fn each<W: Send, T: Send>(
    work: Vec<W>,
    does: impl Fn(W) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(work.len());
    if threads < 2 {
        return work.into_iter().map(does).collect();
    }
    let left = Mutex::new(work.into_iter().enumerate());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let some = || {
        let mut done = Vec::new();
        while let Some((at, piece)) = next() {
            let result = does(piece);
            let is_over = result.is_err();
            done.push((at, result));
            if is_over {
                // Those behind it are of no use any more, and those before it were begun.
                while next().is_some() {}
            }
        }
        done
    };
    let mut done = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        let joined = running.into_iter().map(|thread| {
            let crashed = |_| Error::internal("a thread that restores has crashed");
            thread.join().map_err(crashed)
        });
        joined.collect::<Result<Vec<_>>>()
    })?
    .into_iter()
    .flatten()
    .collect::<Vec<_>>();
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_the_first_error_counts() {
        let done = each((0..1000).collect(), |n: u32| Ok(n * 2)).expect("done");
        assert_eq!(done, (0..1000).map(|n| n * 2).collect::<Vec<_>>());
        assert!(each(Vec::new(), |n: u32| Ok(n)).is_ok_and(|done| done.is_empty()));
        let failed = each((0..1000).collect(), |n: u32| {
            if n < 500 {
                Ok(n)
            } else {
                Err(Error::internal(format!("piece {n}")))
            }
        });
        assert!(failed.is_err_and(|error| format!("{error:?}").contains("piece 500")));
        let crashed = each(vec![1, 2, 3], |n: u32| {
            assert!(n < 3, "asked for");
            Ok(n)
        });
        assert!(matches!(crashed, Err(Error::Internal(_))));
    }
}
