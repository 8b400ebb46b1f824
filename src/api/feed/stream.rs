//! The feed, awaited.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;

use crate::api::feed::change::Change;
use crate::api::feed::cursor::Cursor;
use crate::api::feed::watch::{Step, Watch};
use crate::journal::notify::TaskId;
use crate::values::error::Result;

/// A [`Watch`] as an async stream, made by [`Watch::into_stream`]. It works with any runtime.
///
/// A poll may read up to 1 MiB from the journal's files, or one commit if it is larger. The first
/// read in a file begins at the start of the file. If that blocks a task for too long, receive from
/// the watch on a thread.
///
/// The stream ends after its first error that is not about a single document; see [`Watch::recv`]
/// for the errors.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::future::poll_fn;
/// use std::pin::Pin;
/// use futures_core::Stream;
///
/// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// runtime.block_on(async {
///     let store = ifmatch::Store::in_memory();
///     let notes = store.collection::<String>("notes")?;
///     let mut stream = notes.watch(store.cursor()?)?.into_stream();
///     notes.create("a", &"one".to_owned())?;
///     // With futures' or tokio's StreamExt: stream.next().await
///     let change = poll_fn(|task| Pin::new(&mut stream).poll_next(task)).await.transpose()?;
///     assert_eq!(change.map(|change| change.cursor()), Some(stream.cursor()));
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct WatchStream<T = Bytes> {
    watch: Watch<T>,
    task: TaskId,
}

impl<T> Watch<T> {
    /// Turns the watch into an async stream, which continues from the watch's place.
    ///
    /// The stream is a separate type, because a type that is both an iterator and a stream has two
    /// methods `next`.
    ///
    /// See [`WatchStream`] for an example.
    #[must_use]
    pub fn into_stream(self) -> WatchStream<T> {
        let task = self.notifier.task_id();
        WatchStream { watch: self, task }
    }
}

impl<T> WatchStream<T> {
    /// The place after every change that was received, or passed over because it is of another
    /// collection.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.watch.cursor()
    }
}

impl<T> Stream for WatchStream<T> {
    type Item = Result<Change<T>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { watch, task } = self.get_mut();
        if watch.has_ended() {
            return Poll::Ready(None);
        }
        let more = match watch.step() {
            Ok(Step::Change(change)) => return Poll::Ready(Some(change)),
            Ok(Step::More) => true,
            // There may be news since the look.
            Ok(Step::Wait(seen)) => !watch.notifier.register(*task, seen, context.waker()),
            Err(error) => return Poll::Ready(Some(watch.end(error))),
        };
        if more {
            // Looked at in the task's next turn, so that others have theirs.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<T> Drop for WatchStream<T> {
    fn drop(&mut self) {
        self.watch.notifier.unregister(self.task);
    }
}
