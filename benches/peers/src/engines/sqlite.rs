//! SQLite in WAL mode: one connection that writes, behind a mutex, and one to each reader.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::{Connection, TransactionBehavior, params};

use crate::engine::{Column, Engine, Key, Mode, Op, Outcome, Session, Tag, Value};
use crate::engine::{document, touch};

pub const COLUMN: Column = Column {
    name: "sqlite",
    peer: true,
    eventual_survives_kill: true,
    setup: "WAL, synchronous=FULL; =NORMAL, where only a checkpoint syncs",
    open,
};

const SCHEMA: &str = "
    CREATE TABLE items (k BLOB PRIMARY KEY, etag BLOB NOT NULL, v BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE documents (k INTEGER PRIMARY KEY, etag BLOB NOT NULL, doc TEXT NOT NULL);";

struct Sqlite {
    path: PathBuf,
    writer: Mutex<Connection>,
    documents: u64,
}

fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Engine>> {
    let path = dir.join("sqlite");
    let writer = connect(&path)?;
    writer.execute_batch(SCHEMA)?;
    let level = if mode == Mode::Durable { "FULL" } else { "NORMAL" };
    writer.pragma_update(None, "synchronous", level)?;
    Ok(Box::new(Sqlite { path, writer: Mutex::new(writer), documents: 0 }))
}

fn connect(path: &Path) -> Outcome<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "cache_size", -(256 << 10))?;
    connection.pragma_update(None, "mmap_size", 1_i64 << 30)?;
    Ok(connection)
}

impl Sqlite {
    fn write(&self, keys: &[Key], value: &Value, tag: Tag) -> Outcome {
        let mut writer = self.writer.lock().map_err(|_| "a writer panicked")?;
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut read = transaction.prepare_cached("SELECT etag, v FROM items WHERE k = ?")?;
            let sql = "UPDATE items SET etag = ?, v = ? WHERE k = ? AND etag = ?";
            let mut replace = transaction.prepare_cached(sql)?;
            for key in keys {
                let seen: Tag = read.query_row([key], |row| {
                    std::hint::black_box(touch(row.get_ref(1)?.as_blob()?));
                    row.get(0)
                })?;
                replace.execute(params![tag, value, key, seen])?;
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Engine for Sqlite {
    fn can(&self, op: Op) -> bool {
        op != Op::GetNotModified
    }

    fn settle(&mut self, documents: u64) -> Outcome {
        let mut writer = self.writer.lock().map_err(|_| "a writer panicked")?;
        let transaction = writer.transaction()?;
        for n in 0..documents {
            let sql = "INSERT INTO documents VALUES (?, ?, ?)";
            transaction.execute(sql, params![n as i64, [0_u8; 16], document(n).to_string()])?;
        }
        transaction.commit()?;
        writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        drop(writer);
        self.documents = documents;
        Ok(())
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        let tags = vec![[0; 16]; self.documents as usize];
        Ok(Box::new(Reader { sqlite: self, connection: connect(&self.path)?, tags }))
    }
}

struct Reader<'a> {
    sqlite: &'a Sqlite,
    connection: Connection,
    tags: Vec<Tag>,
}

impl Session for Reader<'_> {
    fn load(&mut self, keys: &[Key], value: &Value) -> Outcome {
        let mut writer = self.sqlite.writer.lock().map_err(|_| "a writer panicked")?;
        let transaction = writer.transaction()?;
        for key in keys {
            let mut insert = transaction.prepare_cached("INSERT INTO items VALUES (?, ?, ?)")?;
            insert.execute(params![key, [0_u8; 16], value])?;
        }
        Ok(transaction.commit()?)
    }

    fn replace(&mut self, key: &Key, value: &Value, tag: Tag) -> Outcome {
        self.sqlite.write(&[*key], value, tag)
    }

    fn replace_many(&mut self, keys: &[Key], value: &Value, tag: Tag) -> Outcome {
        self.sqlite.write(keys, value, tag)
    }

    fn get(&mut self, key: &Key) -> Outcome<u64> {
        let mut read = self.connection.prepare_cached("SELECT v FROM items WHERE k = ?")?;
        Ok(read.query_row([key], |row| Ok(touch(row.get_ref(0)?.as_blob()?)))?)
    }

    fn scan(&mut self, values: bool) -> Outcome<u64> {
        let column = if values { "v" } else { "k" };
        let sql = format!("SELECT {column} FROM items ORDER BY k");
        let mut read = self.connection.prepare_cached(&sql)?;
        let mut rows = read.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            std::hint::black_box(touch(row.get_ref(0)?.as_blob()?));
            count += 1;
        }
        Ok(count)
    }

    fn patch(&mut self, n: u64, number: u64) -> Outcome {
        let seen = self.tags.get_mut(n as usize).ok_or("no such document")?;
        let new = (u128::from_ne_bytes(*seen) + 1).to_ne_bytes();
        let writer = self.sqlite.writer.lock().map_err(|_| "a writer panicked")?;
        let sql = "UPDATE documents SET doc = json_set(doc, '$.stock', ?), etag = ?
                   WHERE k = ? AND etag = ?";
        let changed =
            writer.prepare_cached(sql)?.execute(params![number as i64, new, n as i64, *seen])?;
        if changed != 1 {
            return Err("the tag of a document did not match".into());
        }
        *seen = new;
        Ok(())
    }
}
