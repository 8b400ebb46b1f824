//! Iterators, compared with the model's contents.

use super::handle::{Select, checked};
use super::ops::Scan;
use super::{KEYS, ModelItem, Place, World};

impl World {
    pub(super) fn scan(&mut self, collection: usize, how: Scan) {
        match how {
            Scan::All => self.scan_items(collection, &Select::All, || false),
            Scan::Reverse => self.scan_items(collection, &Select::All, || true),
            Scan::BothEnds => {
                let mut end = false;
                let alternate = move || {
                    end = !end;
                    end
                };
                self.scan_items(collection, &Select::All, alternate);
            }
            Scan::Prefix(n) => {
                let prefixes: [&[u8]; 5] = [b"", b"a", b"\xff", b"\xff\xff\xff", b"c"];
                let prefix = prefixes[usize::from(n) % prefixes.len()];
                self.scan_items(collection, &Select::Prefix(prefix), || n % 2 == 0);
            }
            Scan::Range(from, to, inclusive) => {
                let key = |n: u8| KEYS[usize::from(n) % KEYS.len()];
                let select = Select::Between(key(from), key(to), inclusive);
                self.scan_items(collection, &select, || to % 2 == 0);
            }
            Scan::Keys => {
                let keys = self.handles[collection].keys().expect("keys are read");
                let expected = self.expected(collection, |_| true);
                assert!(keys.iter().map(Vec::as_slice).eq(expected.iter().map(|(key, _)| *key)));
                self.note("scan", "keys");
            }
            Scan::Len => {
                let count = self.expected(collection, |_| true).len() as u64;
                let len = self.handles[collection].len().expect("items are counted");
                assert_eq!(len, (count, count == 0));
                self.note("scan", "len");
            }
        }
    }

    fn expected(
        &self,
        collection: usize,
        selected: impl Fn(&[u8]) -> bool,
    ) -> Vec<(&'static [u8], ModelItem)> {
        let places = (0..KEYS.len()).map(|key| Place { collection, key });
        let own =
            places.filter_map(|place| Some((KEYS[place.key], self.model.live(place)?.clone())));
        own.filter(|(key, _)| selected(key)).collect()
    }

    fn scan_items(
        &mut self,
        collection: usize,
        select: &Select<'_>,
        from_the_end: impl FnMut() -> bool,
    ) {
        let read = self.handles[collection].scan(select, from_the_end).expect("a scan succeeds");
        let expected = self.expected(collection, |key| match select {
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
        let any = if read.is_empty() { "nothing" } else { "items" };
        self.note("scan", any);
    }
}
