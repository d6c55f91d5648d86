//! Has what was written go to the disk meanwhile.
//!
//! The system would keep it in memory until it has to be durable, and whoever asks for that would wait for all of it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::error::{Error, Result};

/// A thread that is there while there is something to do. It ends before this does.
#[derive(Default)]
pub struct Flusher(Option<JoinHandle<Result<()>>>);

impl Flusher {
    /// Has what these files have by now go to the disk, unless it is still at it. Errors: of the time before: `Io`,
    /// `DiskFull`; `Internal` without a thread.
    pub fn begin(&mut self, files: Vec<(PathBuf, Arc<File>)>) -> Result<()> {
        let is_at_it = |thread: &JoinHandle<_>| !thread.is_finished();
        if self.0.as_ref().is_some_and(is_at_it) {
            return Ok(());
        }
        self.wait()?;
        let flush = move || {
            files.iter().try_for_each(|(path, file)| {
                let flushed = file.sync_data();
                flushed.map_err(|error| Error::io(path, error))
            })
        };
        let thread = thread::Builder::new()
            .name("warp-flush".to_owned())
            .spawn(flush)
            .map_err(|error| Error::internal(format!("no thread: {error}")))?;
        self.0 = Some(thread);
        Ok(())
    }

    /// Waits until what was begun is done. Errors: `Io`, `DiskFull`.
    pub fn wait(&mut self) -> Result<()> {
        let Some(thread) = self.0.take() else {
            return Ok(());
        };
        let crashed = |_| Err(Error::internal("the thread that flushes has crashed"));
        thread.join().unwrap_or_else(crashed)
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        // What has failed here fails where it is made durable, too.
        let _ = self.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_told_and_files_that_are_there_go_to_the_disk() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("f");
        std::fs::write(&path, "bytes").expect("written");
        let open = |path: PathBuf| (path.clone(), Arc::new(File::open(path).expect("opened")));
        let mut flusher = Flusher::default();
        flusher.wait().expect("nothing was begun");
        for _ in 0..3 {
            flusher.begin(vec![open(path.clone())]).expect("begins");
        }
        flusher.wait().expect("flushed");
        // Nothing that could be flushed.
        let null = || vec![open("/dev/null".into())];
        flusher.begin(null()).expect("begins");
        assert!(matches!(flusher.wait(), Err(Error::Io(_))));
        flusher.begin(null()).expect("begins");
        while flusher
            .0
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
        {}
        assert!(flusher.begin(null()).is_err());
    }
}
