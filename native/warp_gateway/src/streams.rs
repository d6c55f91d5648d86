//! The tasks that answer streams of HTTP/2. One whose client takes nothing waits inside hyper, where it sees nothing
//! but its client: to be ended it is dropped, which resets the stream.

use hyper::rt::Executor;
use std::sync::Arc;
use tokio::sync::Notify;

tokio::task_local! {
    /// What ends the task.
    static END: Arc<Notify>;
}

/// Runs each stream in a task of its own.
#[derive(Clone, Copy, Debug)]
pub struct Streams;

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let end = Arc::new(Notify::new());
        tokio::spawn(END.scope(Arc::clone(&end), async move {
            tokio::select! {
                () = stream => {}
                () = end.notified() => {}
            }
        }));
    }
}

/// What ends the task that this is called in, if it is a stream's.
pub fn end() -> Option<Arc<Notify>> {
    END.try_with(Arc::clone).ok()
}
