//! Iterators, compared with the model's contents.

use super::handle::checked;
use super::ops::Scan;
use super::reader::{Reader, Select};
use super::{Items, KEYS, ModelItem, Place, World};

/// A collection to be scanned, and the items that it should have.
struct Scanned<'a> {
    reader: &'a Reader,
    items: &'a Items,
    collection: usize,
}

impl World {
    pub(super) fn scan(&mut self, collection: usize, how: Scan) {
        let reader = self.handles[collection].now();
        let live = self.model.live_of(&self.model.state);
        let outcome = scan(&reader, &live, collection, how);
        self.note("scan", outcome);
    }
}

/// Compares what a scan gives with the items that it should; says which kind of outcome it was.
pub(super) fn scan(reader: &Reader, items: &Items, collection: usize, how: Scan) -> &'static str {
    let scanned = Scanned { reader, items, collection };
    match how {
        Scan::All => scanned.items(&Select::All, || false),
        Scan::Reverse => scanned.items(&Select::All, || true),
        Scan::BothEnds => {
            let mut end = false;
            let alternate = move || {
                end = !end;
                end
            };
            scanned.items(&Select::All, alternate)
        }
        Scan::Prefix(n) => {
            let prefixes: [&[u8]; 5] = [b"", b"a", b"\xff", b"\xff\xff\xff", b"c"];
            let prefix = prefixes[usize::from(n) % prefixes.len()];
            scanned.items(&Select::Prefix(prefix), || n % 2 == 0)
        }
        Scan::Range(from, to, inclusive) => {
            let key = |n: u8| KEYS[usize::from(n) % KEYS.len()];
            scanned.items(&Select::Between(key(from), key(to), inclusive), || to % 2 == 0)
        }
        Scan::Keys => {
            let keys = reader.keys().expect("keys are read");
            let expected = scanned.expected(|_| true);
            assert!(keys.iter().map(Vec::as_slice).eq(expected.iter().map(|(key, _)| *key)));
            "keys"
        }
        Scan::Len => {
            let count = scanned.expected(|_| true).len() as u64;
            assert_eq!(reader.len().expect("items are counted"), (count, count == 0));
            "len"
        }
    }
}

impl Scanned<'_> {
    fn expected(&self, selected: impl Fn(&[u8]) -> bool) -> Vec<(&'static [u8], ModelItem)> {
        let own = self.items.iter().filter(|(place, _)| place.collection == self.collection);
        let own = own.map(|(place, item)| (KEYS[place.key], item.clone()));
        own.filter(|(key, _)| selected(key)).collect()
    }

    fn items(&self, select: &Select<'_>, from_the_end: impl FnMut() -> bool) -> &'static str {
        let collection = self.collection;
        let read = self.reader.scan(select, from_the_end).expect("a scan succeeds");
        let expected = self.expected(|key| match select {
            Select::All => true,
            Select::Prefix(prefix) => key.starts_with(prefix),
            Select::Between(from, to, inclusive) => {
                key >= *from && (key < *to || (*inclusive && key == *to))
            }
        });
        assert_eq!(read.len(), expected.len(), "a scan of {collection} has too few or many items");
        for (item, (name, expected)) in read.iter().zip(&expected) {
            let key = KEYS.iter().position(|key| key == name).expect("a key of the model's");
            assert_eq!(checked(item, Place { collection, key }), *expected);
        }
        if read.is_empty() { "nothing" } else { "items" }
    }
}
