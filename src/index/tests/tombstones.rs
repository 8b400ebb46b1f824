//! Leaves that hold tombstones only.

use super::*;

/// Counts the pairs that are read.
#[derive(Debug)]
struct Counting {
    pairs: Arc<dyn Backing>,
    reads: AtomicU64,
}

impl Backing for Counting {
    fn get(&self, key: &[u8]) -> Result<Option<Box<[u8]>>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.pairs.get(key)
    }
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.pairs.insert(key, value)
    }
    fn remove(&self, key: &[u8]) -> Result<()> {
        self.pairs.remove(key)
    }
    fn scan(
        &self,
        after: Option<&[u8]>,
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        self.pairs.scan(after, limit, visit)
    }
    fn flush(&self) -> Result<()> {
        self.pairs.flush()
    }
    fn size_on_disk_bytes(&self) -> Result<u64> {
        self.pairs.size_on_disk_bytes()
    }
}

/// The first item of now or of a snapshot, or the last one, and how many cells were shown until then.
fn first_item(index: &Index, reverse: bool, at: u64) -> (Option<Vec<u8>>, usize) {
    let (mut found, mut shown) = (None, 0);
    let all = (Bound::Unbounded, Bound::Unbounded);
    index
        .scan("alpha", all, reverse, Shown::ItemsAt(at), |key, head, _| {
            shown += 1;
            if head.deleted {
                return ControlFlow::Continue(());
            }
            found = Some(key.to_vec());
            ControlFlow::Break(())
        })
        .unwrap();
    (found, shown)
}

/// A regression: in a queue, to whose end is written and from whose beginning is taken, finding the
/// first item cost a look at every tombstone of thirty days.
#[test]
fn b8_leaves_that_hold_tombstones_only_are_passed_over_and_not_loaded() {
    let pairs = MemoryBackings::new().open(1).unwrap();
    let counting = Arc::new(Counting { pairs, reads: AtomicU64::new(0) });
    let backing: Arc<dyn Backing> = counting.clone();
    let index = Index::new(SMALL);
    index.attach(Arc::clone(&backing));
    // 3 000 tombstones, an item, 3 000 tombstones.
    for n in 0..6_001 {
        put(&index, &key(0, n), if n == 3_000 { 1 } else { 7 }, None);
    }
    let item = Some(key(0, 3_000).key_bytes().to_vec());
    let check = |index: &Index, most_reads: u64| {
        // Of now, and of a snapshot that is as old as the tombstones.
        for (reverse, at) in [(false, u64::MAX), (true, u64::MAX), (false, 14), (true, 14)] {
            evict_all(index);
            let before = counting.reads.load(Ordering::Relaxed);
            let (found, shown) = first_item(index, reverse, at);
            let reads = counting.reads.load(Ordering::Relaxed) - before;
            assert_eq!(found, item);
            assert!(shown <= 128, "{shown} cells were shown");
            assert!(reads <= most_reads, "{reads} leaves were loaded");
        }
    };
    check(&index, 0);
    index.write_back(&mut |_| Ok(())).unwrap();
    check(&index, 1);

    // An open knows nothing of the leaves, and learns it once.
    let index = reopened(index, &backing, 6_001);
    check(&index, 200);
    check(&index, 1);

    // What comes back is found, and is passed over when it is gone again.
    for n in [5, 5_995] {
        put(&index, &key(0, n), 8, None);
        index.write_back(&mut |_| Ok(())).unwrap();
        evict_all(&index);
        let (found, _) = first_item(&index, n > 3_000, u64::MAX);
        assert_eq!(found, Some(key(0, n).key_bytes().to_vec()));
        put(&index, &key(0, n), 14, None);
        index.write_back(&mut |_| Ok(())).unwrap();
    }
    check(&index, 1);
    // An older snapshot sees through tombstones what was there.
    assert!(first_item(&index, false, 6).1 >= 3_000);
}
