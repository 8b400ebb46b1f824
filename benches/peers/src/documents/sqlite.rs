//! SQLite: JSON text with indexes on expressions, as its documentation of JSON advises.

use std::path::Path;

use rusqlite::{Connection, Row, TransactionBehavior, params};

use super::{Documents, Note, PAGE, Query};
use crate::engine::Outcome;

struct Sqlite(Connection);

const INDEXES: [&str; 3] = [
    "CREATE INDEX by_tag ON notes (json_extract(doc, '$.tag'), json_extract(doc, '$.modified') DESC)",
    "CREATE INDEX by_price ON notes (json_extract(doc, '$.price'))",
    "CREATE INDEX by_sku ON notes (json_extract(doc, '$.sku'))",
];

pub fn open(dir: &Path, indexes: usize, cache_bytes: u64) -> Outcome<Box<dyn Documents>> {
    let connection = Connection::open(dir.join("notes"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "cache_size", -((cache_bytes >> 10) as i64))?;
    connection.pragma_update(None, "mmap_size", 1_i64 << 30)?;
    connection.execute_batch(
        "CREATE TABLE notes (k INTEGER PRIMARY KEY, etag INTEGER NOT NULL, doc TEXT NOT NULL)",
    )?;
    for index in INDEXES.iter().take(indexes) {
        connection.execute_batch(index)?;
    }
    Ok(Box::new(Sqlite(connection)))
}

fn decode(row: &Row<'_>) -> Outcome<Note> {
    Ok(serde_json::from_str(row.get_ref(0)?.as_str()?)?)
}

impl Documents for Sqlite {
    fn load(&mut self, first: u64, notes: &[Note]) -> Outcome {
        self.0.pragma_update(None, "synchronous", "FULL")?;
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO notes VALUES (?, 0, ?)")?;
            for (n, note) in (first..).zip(notes) {
                insert.execute(params![n as i64, serde_json::to_string(note)?])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn find(&mut self, query: &Query) -> Outcome<usize> {
        let sql = match query {
            Query::Sku(_) => "SELECT doc FROM notes WHERE json_extract(doc, '$.sku') = ?",
            Query::PriceFrom(_) => {
                "SELECT doc FROM notes WHERE json_extract(doc, '$.price') >= ?
                 ORDER BY json_extract(doc, '$.price')"
            }
            Query::NewestOf(_) => {
                "SELECT doc FROM notes WHERE json_extract(doc, '$.tag') = ?
                 ORDER BY json_extract(doc, '$.modified') DESC"
            }
        };
        let mut select = self.0.prepare_cached(&format!("{sql} LIMIT {PAGE}"))?;
        let mut rows = match query {
            Query::Sku(text) | Query::NewestOf(text) => select.query([text])?,
            Query::PriceFrom(price) => select.query([*price as i64])?,
        };
        let mut found = 0;
        while let Some(row) = rows.next()? {
            std::hint::black_box(decode(row)?.text.len());
            found += 1;
        }
        Ok(found)
    }

    fn replace(&mut self, n: u64, change: &dyn Fn(&mut Note)) -> Outcome {
        self.0.pragma_update(None, "synchronous", "NORMAL")?;
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql = "SELECT doc, etag FROM notes WHERE k = ?";
        let (mut note, seen) = transaction
            .prepare_cached(sql)?
            .query_row([n as i64], |row| Ok((decode(row), row.get::<_, i64>(1)?)))?;
        let note = note.as_mut().map_err(|error| error.to_string())?;
        change(note);
        transaction
            .prepare_cached("UPDATE notes SET doc = ?, etag = ? WHERE k = ? AND etag = ?")?
            .execute(params![serde_json::to_string(note)?, seen + 1, n as i64, seen])?;
        Ok(transaction.commit()?)
    }
}
