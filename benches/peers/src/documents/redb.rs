//! redb: an index is a table that the program keeps by hand, in the transaction of each write.

use std::path::Path;

use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};

use super::{Documents, Note, PAGE, Query};
use crate::engine::Outcome;

struct Redb {
    db: Database,
    indexes: usize,
}

const NOTES: TableDefinition<'_, u64, &str> = TableDefinition::new("notes");
/// By what they are sorted by, the number of the note behind it.
const INDEXES: [TableDefinition<'_, &[u8], ()>; 3] = [
    TableDefinition::new("by tag"),
    TableDefinition::new("by price"),
    TableDefinition::new("by sku"),
];

pub fn open(dir: &Path, indexes: usize, cache_bytes: u64) -> Outcome<Box<dyn Documents>> {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes as usize);
    let db = builder.create(dir.join("notes"))?;
    Ok(Box::new(Redb { db, indexes }))
}

/// The note's entries in the three indexes.
fn entries(n: u64, note: &Note) -> [Vec<u8>; 3] {
    let n = n.to_be_bytes();
    [
        [note.tag.as_bytes(), &(!note.modified).to_be_bytes(), &n].concat(),
        [&note.price.to_be_bytes()[..], &n].concat(),
        [note.sku.as_bytes(), &n].concat(),
    ]
}

/// Keeps the first so many indexes; entries that stay as they are cost nothing.
fn keep(
    transaction: &WriteTransaction,
    indexes: usize,
    n: u64,
    old: Option<&Note>,
    new: &Note,
) -> Outcome {
    let old = old.map(|note| entries(n, note));
    for (index, entry) in entries(n, new).iter().enumerate().take(indexes) {
        let old = old.as_ref().map(|old| &old[index]);
        if old == Some(entry) {
            continue;
        }
        let mut table = transaction.open_table(INDEXES[index])?;
        if let Some(old) = old {
            table.remove(&old[..])?;
        }
        table.insert(&entry[..], ())?;
    }
    Ok(())
}

impl Documents for Redb {
    fn load(&mut self, first: u64, notes: &[Note]) -> Outcome {
        let transaction = self.db.begin_write()?;
        for (n, note) in (first..).zip(notes) {
            let text = serde_json::to_string(note)?;
            transaction.open_table(NOTES)?.insert(n, &*text)?;
            keep(&transaction, self.indexes, n, None, note)?;
        }
        Ok(transaction.commit()?)
    }

    fn find(&mut self, query: &Query) -> Outcome<usize> {
        let (index, from, prefix) = match query {
            Query::NewestOf(tag) => (0, tag.as_bytes().to_vec(), tag.as_bytes()),
            Query::PriceFrom(price) => (1, price.to_be_bytes().to_vec(), &[][..]),
            Query::Sku(sku) => (2, sku.as_bytes().to_vec(), sku.as_bytes()),
        };
        let transaction = self.db.begin_read()?;
        let (table, notes) =
            (transaction.open_table(INDEXES[index])?, transaction.open_table(NOTES)?);
        let mut found = 0;
        for entry in table.range(&from[..]..)? {
            let (entry, _) = entry?;
            let entry = entry.value();
            if !entry.starts_with(prefix) || found == PAGE {
                break;
            }
            let n: [u8; 8] = entry[entry.len() - 8..].try_into()?;
            let text = notes.get(u64::from_be_bytes(n))?.ok_or("missing")?;
            let note: Note = serde_json::from_str(text.value())?;
            std::hint::black_box(note.text.len());
            found += 1;
        }
        Ok(found)
    }

    fn replace(&mut self, n: u64, change: &dyn Fn(&mut Note)) -> Outcome {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(Durability::None)?;
        let old: Note = {
            let notes = transaction.open_table(NOTES)?;
            let text = notes.get(n)?.ok_or("missing")?;
            serde_json::from_str(text.value())?
        };
        let mut new = old.clone();
        change(&mut new);
        let text = serde_json::to_string(&new)?;
        transaction.open_table(NOTES)?.insert(n, &*text)?;
        keep(&transaction, self.indexes, n, Some(&old), &new)?;
        Ok(transaction.commit()?)
    }
}
