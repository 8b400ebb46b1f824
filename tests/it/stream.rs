//! Watching as an async stream.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use ifmatch::simulation::{Fault, FaultPlan, Operation, Simulation};
use ifmatch::{Change, Cursor, Durability, Error, Options, Precondition, Store, WatchStream};

use crate::feed::all;

async fn next<T>(stream: &mut WatchStream<T>) -> Option<Result<Change<T>, Error>> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

fn poll<T>(stream: &mut WatchStream<T>, waker: &Waker) -> Poll<Option<Result<Change<T>, Error>>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(waker))
}

/// Polls until there is a change or the task has to wait, as an executor does that is woken.
fn settle<T>(stream: &mut WatchStream<T>, counter: &Arc<Counter>) -> Option<Change<T>> {
    let waker = Waker::from(Arc::clone(counter));
    loop {
        let before = counter.count();
        match poll(stream, &waker) {
            Poll::Ready(change) => return Some(change.unwrap().unwrap()),
            Poll::Pending if counter.count() == before => return None,
            Poll::Pending => {}
        }
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Counter(AtomicU64);

impl Counter {
    fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn value(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.to_le_bytes())
}

#[tokio::test]
async fn tasks_receive_what_threads_write() {
    const WRITES: u64 = 100;
    let store = Store::in_memory();
    let writers: Vec<_> = (0..4)
        .map(|writer: u64| {
            let blobs = store.raw("blobs").unwrap();
            std::thread::spawn(move || {
                for n in 0..WRITES {
                    blobs.upsert(writer.to_string(), &value(n), Precondition::Always).unwrap();
                }
            })
        })
        .collect();
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = store.watch(Cursor::START).unwrap().into_stream();
            tokio::spawn(async move {
                let mut received = Vec::new();
                while received.len() < 400 {
                    let change = tokio::time::timeout(Duration::from_secs(60), next(&mut stream));
                    received.push(change.await.expect("it comes in time").unwrap().unwrap());
                }
                (received, stream.cursor())
            })
        })
        .collect();
    for task in tasks {
        let (received, cursor) = task.await.unwrap();
        assert_eq!(received, all(&store, Cursor::START));
        assert_eq!(cursor, store.cursor().unwrap());
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

#[tokio::test]
async fn a_closed_store_ends_the_stream() {
    let store = Store::in_memory();
    let notes = store.collection::<u64>("notes").unwrap();
    notes.create("a", &1).unwrap();
    let mut stream = notes.watch(Cursor::START).unwrap().into_stream();
    let task = tokio::spawn(async move {
        let first = next(&mut stream).await.unwrap().unwrap();
        assert_eq!(first.value(), Some(&1));
        let closed = next(&mut stream).await;
        assert!(matches!(closed, Some(Err(Error::Closed))));
        next(&mut stream).await.is_none()
    });
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    drop(notes);
    store.close().unwrap();
    assert!(task.await.unwrap());
}

#[test]
fn a_task_is_woken_by_a_commit_a_failure_and_a_close() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new().durability(Durability::Eventual)).unwrap();
    let blobs = store.raw("blobs").unwrap();
    let [mut one, mut two] = [(); 2].map(|()| store.watch(Cursor::START).unwrap().into_stream());
    let counter = Arc::new(Counter::default());
    assert!(settle(&mut one, &counter).is_none() && settle(&mut two, &counter).is_none());

    let before = counter.count();
    blobs.create("a", &value(1)).unwrap();
    // Not durable yet.
    assert_eq!(counter.count(), before);
    store.sync().unwrap();
    assert_eq!(counter.count(), before + 2);
    assert!(settle(&mut one, &counter).is_some() && settle(&mut two, &counter).is_some());
    assert!(settle(&mut one, &counter).is_none() && settle(&mut two, &counter).is_none());

    blobs.create("b", &value(1)).unwrap();
    let before = counter.count();
    sim.disk().inject(FaultPlan::after(0, Fault::Eio).only(Operation::Sync));
    assert!(store.sync().is_err());
    assert_eq!(counter.count(), before + 2);
    let waker = Waker::from(Arc::clone(&counter));
    assert!(matches!(poll(&mut one, &waker), Poll::Ready(Some(Err(Error::Poisoned { .. })))));
    assert!(matches!(poll(&mut one, &waker), Poll::Ready(None)));

    let store = Store::in_memory();
    let mut stream = store.watch(Cursor::START).unwrap().into_stream();
    assert!(settle(&mut stream, &counter).is_none());
    let before = counter.count();
    drop(store);
    assert_eq!(counter.count(), before + 1);
    assert!(matches!(poll(&mut stream, &waker), Poll::Ready(Some(Err(Error::Closed)))));
}

#[test]
fn a_dropped_stream_leaves_no_waker_behind() {
    let store = Store::in_memory();
    let counter = Arc::new(Counter::default());
    let mut stream = store.watch(Cursor::START).unwrap().into_stream();
    for _ in 0..3 {
        assert!(settle(&mut stream, &counter).is_none());
        // Whichever task polled last is woken, and it alone.
        assert_eq!(Arc::strong_count(&counter), 2);
    }
    drop(stream);
    assert_eq!(Arc::strong_count(&counter), 1);
    let before = counter.count();
    store.raw("blobs").unwrap().create("a", &value(1)).unwrap();
    assert_eq!(counter.count(), before);
}

/// Runs its task right in the call that wakes it.
struct Inline {
    store: Store,
    stream: Mutex<Option<WatchStream>>,
    seen: AtomicU64,
}

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        // Taken out, so that the task is not locked while it uses the store.
        let Some(mut stream) = self.stream.lock().unwrap().take() else { return };
        let waker = Waker::from(Arc::clone(&self));
        loop {
            match poll(&mut stream, &waker) {
                Poll::Ready(Some(Ok(_))) => {
                    let seen = self.seen.fetch_add(1, Ordering::SeqCst);
                    if seen < 5 {
                        let blobs = self.store.raw("blobs").unwrap();
                        blobs.upsert("answer", &value(seen), Precondition::Always).unwrap();
                    }
                }
                Poll::Ready(Some(Err(_)) | None) => return,
                Poll::Pending => break,
            }
        }
        *self.stream.lock().unwrap() = Some(stream);
    }
}

#[test]
fn a_task_that_runs_where_it_is_woken_may_use_the_store() {
    let store = Store::in_memory();
    let stream = Mutex::new(Some(store.watch(Cursor::START).unwrap().into_stream()));
    let task = Arc::new(Inline { store: store.clone(), stream, seen: AtomicU64::new(0) });
    Arc::clone(&task).wake();
    store.raw("blobs").unwrap().create("a", &value(0)).unwrap();
    assert_eq!(task.seen.load(Ordering::SeqCst), 6);
    // What closes the store may be the very task that its own closing wakes.
    store.clone().close().unwrap();
    assert!(task.stream.lock().unwrap().is_none());
}

/// Compacts in the call that wakes it, and tells when that is done.
struct Compactor(Store, Mutex<mpsc::Sender<()>>);

impl Wake for Compactor {
    fn wake(self: Arc<Self>) {
        self.0.compact().unwrap();
        self.1.lock().unwrap().send(()).unwrap();
    }
}

#[test]
fn a_task_that_compaction_wakes_may_compact() {
    let options = Options::new().durability(Durability::Eventual);
    let store = Simulation::new(1).open(&options).unwrap();
    let mut stream = store.watch(Cursor::START).unwrap().into_stream();
    let (sender, done) = mpsc::channel();
    let waker = Waker::from(Arc::new(Compactor(store.clone(), Mutex::new(sender))));
    store.raw("blobs").unwrap().create("a", &value(0)).unwrap();
    assert!(poll(&mut stream, &waker).is_pending(), "what is not durable is told");
    // Compacting makes it durable.
    let compaction = std::thread::spawn(move || store.compact().unwrap());
    // Where it would wait for itself this ends the test instead.
    done.recv_timeout(Duration::from_secs(60)).expect("the task waits for who wakes it");
    compaction.join().unwrap();
    assert!(poll(&mut stream, &waker).is_ready());
}

#[test]
fn the_last_waker_may_hold_the_stream_itself() {
    struct Holder(Mutex<Option<WatchStream>>);
    impl Wake for Holder {
        fn wake(self: Arc<Self>) {}
    }
    for closes in [true, false] {
        let store = Store::in_memory();
        let mut stream = store.watch(Cursor::START).unwrap().into_stream();
        let holder = Arc::new(Holder(Mutex::new(None)));
        let waker = Waker::from(Arc::clone(&holder));
        assert!(poll(&mut stream, &waker).is_pending());
        *holder.0.lock().unwrap() = Some(stream);
        drop((holder, waker));
        // Forgetting the waker drops the stream, which forgets its waker.
        if closes {
            store.close().unwrap();
        } else {
            store.raw("blobs").unwrap().create("a", &value(0)).unwrap();
        }
    }
}
