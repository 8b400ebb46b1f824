//! ifmatch: declared indexes, and `find`.

use std::path::Path;

use ifmatch::{Collection, Durability, Filter, Index, Options, Store};

use super::{Documents, Note, PAGE, Query};
use crate::engine::{Outcome, key};

struct Ours {
    store: Store,
    notes: Collection<Note>,
}

pub fn open(dir: &Path, indexes: usize, cache_bytes: u64) -> Outcome<Box<dyn Documents>> {
    let options = Options::new().durability(Durability::Eventual).cache_bytes(cache_bytes);
    let store = options.open(dir.join("notes.ifm"))?;
    let notes = store.collection::<Note>("notes")?;
    let all = [Index::on("/tag").then_desc("/modified"), Index::on("/price"), Index::on("/sku")];
    for index in all.into_iter().take(indexes) {
        notes.ensure_index(index)?;
    }
    Ok(Box::new(Ours { store, notes }))
}

impl Documents for Ours {
    fn load(&mut self, first: u64, notes: &[Note]) -> Outcome {
        let mut batch = self.store.batch();
        for (n, note) in (first..).zip(notes) {
            batch = batch.create(&self.notes, key(n), note);
        }
        batch.commit()?;
        Ok(self.store.sync()?)
    }

    fn find(&mut self, query: &Query) -> Outcome<usize> {
        let find = match query {
            Query::Sku(sku) => self.notes.find(Filter::eq("/sku", sku)),
            Query::PriceFrom(price) => self.notes.find(Filter::ge("/price", price)).sort("/price"),
            Query::NewestOf(tag) => self.notes.find(Filter::eq("/tag", tag)).sort_desc("/modified"),
        };
        let mut found = 0;
        for note in find.limit(PAGE as u64).iter()? {
            std::hint::black_box(note?.value.text.len());
            found += 1;
        }
        Ok(found)
    }

    fn replace(&mut self, n: u64, change: &dyn Fn(&mut Note)) -> Outcome {
        let mut note = self.notes.get(key(n))?.ok_or("missing")?;
        change(&mut note.value);
        self.notes.save(&mut note)?;
        Ok(())
    }
}
