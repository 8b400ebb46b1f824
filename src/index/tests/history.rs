//! Any sequence of writes, evictions, write-backs, losses and opens, against a map.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u16),
    PutMany(u8, u16, u16),
    Remove(u8, u16, u16),
    Get(u8, u16),
    Clear(u8),
    WriteBack,
    Evict,
    Scan(u8, u16, u16, bool),
    Replace,
    Reopen,
}

fn any_step() -> impl Strategy<Value = Step> {
    let (c, n) = (0_u8..3, 0_u16..3_000);
    prop_oneof![
        4 => (c.clone(), n.clone()).prop_map(|(c, n)| Step::Put(c, n)),
        3 => (c.clone(), n.clone(), 1_u16..900).prop_map(|(c, n, m)| Step::PutMany(c, n, m)),
        3 => (c.clone(), n.clone(), 1_u16..900).prop_map(|(c, n, m)| Step::Remove(c, n, m)),
        2 => (c.clone(), n.clone()).prop_map(|(c, n)| Step::Get(c, n)),
        1 => c.clone().prop_map(Step::Clear),
        2 => Just(Step::WriteBack),
        2 => Just(Step::Evict),
        2 => (c, n.clone(), n, any::<bool>()).prop_map(|(c, a, b, r)| Step::Scan(c, a, b, r)),
        1 => Just(Step::Replace),
        1 => Just(Step::Reopen),
    ]
}

fn scan(index: &Index, c: u8, a: u16, b: u16, reverse: bool) -> Vec<Vec<u8>> {
    scan_for(Shown::All, index, c, a, b, reverse)
}

fn scan_for(shown: Shown, index: &Index, c: u8, a: u16, b: u16, reverse: bool) -> Vec<Vec<u8>> {
    let (lower, upper) = (key(c, a), key(c, b));
    let bounds = (Bound::Included(lower.key_bytes()), Bound::Excluded(upper.key_bytes()));
    let mut keys = Vec::new();
    index
        .scan(lower.collection(), bounds, reverse, shown, |key, head, _| {
            if shown == Shown::All || !head.deleted {
                keys.push(key.to_vec());
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    keys
}

/// A scan shows what the map has in the range, and one for items leaves out tombstones.
fn check_scan(
    index: &Index,
    map: &BTreeMap<Vec<u8>, u64>,
    c: u8,
    (a, b): (u16, u16),
    reverse: bool,
) -> Result<(), TestCaseError> {
    let mut found = scan(index, c, a, b, reverse);
    if reverse {
        found.reverse();
    }
    let (lower, upper) = (key(c, a), key(c, b));
    let range = (lower.as_bytes().to_vec(), upper.as_bytes().to_vec());
    let expected: Vec<Vec<u8>> = if a < b {
        let prefix = lower.collection().len() + 1;
        map.range(range.0..range.1).map(|(key, _)| key[prefix..].to_vec()).collect()
    } else {
        Vec::new()
    };
    prop_assert_eq!(&found, &expected);
    let prefix = [lower.collection().as_bytes(), b"\0"].concat();
    let is_item = |key: &Vec<u8>| !map[&[&*prefix, key].concat()].is_multiple_of(7);
    let mut expected: Vec<_> = expected.into_iter().filter(is_item).collect();
    if reverse {
        expected.reverse();
    }
    let shown = Shown::ItemsAt(u64::MAX);
    prop_assert_eq!(scan_for(shown, index, c, a, b, reverse), expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: thinned(16, 48), failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_history_reads_like_a_map(steps in prop::collection::vec(any_step(), 1..60)) {
        let backings = MemoryBackings::new();
        let (mut generation, mut backing) = (1, backings.open(1).unwrap());
        let mut index = Index::new(SMALL);
        index.attach(Arc::clone(&backing));
        let mut map: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        let mut revision = 0;
        for step in steps {
            match step {
                Step::Put(c, n) => {
                    revision += 1;
                    put(&index, &key(c, n), revision, Some(value(n)));
                    map.insert(key(c, n).as_bytes().to_vec(), revision);
                }
                Step::PutMany(c, n, more) => for n in n..n + more {
                    revision += 1;
                    put(&index, &key(c, n), revision, None);
                    map.insert(key(c, n).as_bytes().to_vec(), revision);
                },
                Step::Remove(c, n, more) => for n in n..n + more {
                    let key = key(c, n);
                    let pin = index.pin();
                    index.make_resident(&key, &pin).unwrap();
                    index.remove_if(&key, &pin, &|_| true);
                    map.remove(key.as_bytes());
                },
                Step::Get(c, n) => {
                    let found = index.cell(&key(c, n)).unwrap();
                    let expected = map.get(key(c, n).as_bytes()).map(|revision| head(*revision));
                    prop_assert_eq!(found.as_ref().map(|cell| cell.head), expected);
                    if let Some(value) = found.and_then(|cell| cell.value) {
                        prop_assert_eq!(&*value.bytes, &[n as u8; 500][..]);
                    }
                }
                Step::Clear(c) => {
                    revision += 1;
                    clear(&index, c, revision);
                    let of = ItemKey::of_collection(key(c, 0).collection());
                    map.retain(|key, _| !key.starts_with(of.as_bytes()));
                    map.insert(of.as_bytes().to_vec(), revision);
                }
                Step::WriteBack => index.write_back(&mut |_| Ok(())).unwrap(),
                Step::Evict => evict_all(&index),
                Step::Scan(c, a, b, reverse) => check_scan(&index, &map, c, (a, b), reverse)?,
                Step::Replace => {
                    index.detach();
                    let mut entries: Vec<(Vec<u8>, u64)> = map.clone().into_iter().collect();
                    entries.sort_unstable_by_key(|(_, revision)| *revision);
                    index.restore(|take| {
                        for (joined, revision) in &entries {
                            let (collection, low) = split_pair_key(joined).unwrap();
                            let key = ItemKey::of_parts(collection, low, &[]).unwrap();
                            take(&key, &head(*revision));
                        }
                        Ok(())
                    }).unwrap();
                    prop_assert!(!index.is_lost());
                    generation += 1;
                    backing = backings.open(generation).unwrap();
                    index.attach(Arc::clone(&backing));
                }
                Step::Reopen => index = reopened(index, &backing, map.len()),
            }
            check_memory(&index);
        }
        prop_assert_eq!(cells(&index), map);
    }
}
