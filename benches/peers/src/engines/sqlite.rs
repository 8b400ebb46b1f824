//! SQLite in WAL mode: one connection that writes, behind a mutex, and one to each reader.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::{Connection, MAIN_DB, TransactionBehavior, params};

use crate::engine::{
    Column, Engine, Item, Key, Mode, Op, Outcome, Session, Setup, TAG_BYTES, absent, document,
    touch,
};

pub const NAME: &str = "sqlite";

pub const COLUMN: Column = Column {
    name: NAME,
    package: "rusqlite",
    peer: true,
    survives_kill: true,
    checks_reads: false,
    setup: "WAL, synchronous=FULL; =NORMAL, where only a checkpoint syncs; cache_size of each \
            connection, and its file mapped beside that",
    open,
    restore: None,
};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS items
        (k BLOB PRIMARY KEY, etag BLOB NOT NULL, v BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS documents
        (k INTEGER PRIMARY KEY, etag BLOB NOT NULL, doc TEXT NOT NULL);";
const FILE: &str = "sqlite";

struct Sqlite {
    path: PathBuf,
    writer: Mutex<Connection>,
    cache_bytes: u64,
}

fn open(dir: &Path, setup: Setup) -> Outcome<Box<dyn Engine>> {
    let path = dir.join(FILE);
    let writer = connect(&path, setup.cache_bytes)?;
    let level = if setup.mode == Mode::Durable { "FULL" } else { "NORMAL" };
    writer.pragma_update(None, "synchronous", level)?;
    writer.execute_batch(SCHEMA)?;
    Ok(Box::new(Sqlite { path, writer: Mutex::new(writer), cache_bytes: setup.cache_bytes }))
}

fn connect(path: &Path, cache_bytes: u64) -> Outcome<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "cache_size", -((cache_bytes >> 10) as i64))?;
    connection.pragma_update(None, "mmap_size", 1_i64 << 30)?;
    Ok(connection)
}

impl Sqlite {
    /// Runs `work` in a write transaction.
    fn write(&self, work: impl FnOnce(&Connection) -> Outcome) -> Outcome {
        let mut writer = self.writer.lock().map_err(|_| "a writer panicked")?;
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        work(&transaction)?;
        Ok(transaction.commit()?)
    }

    fn replace<'a>(&self, items: impl Iterator<Item = (&'a Key, &'a [u8])>) -> Outcome {
        self.write(|connection| {
            let mut read = connection.prepare_cached("SELECT etag, v FROM items WHERE k = ?")?;
            let sql = "UPDATE items SET etag = ?, v = ? WHERE k = ? AND etag = ?";
            let mut replace = connection.prepare_cached(sql)?;
            for (key, item) in items {
                let seen: [u8; TAG_BYTES] = read.query_row([key], |row| {
                    std::hint::black_box(touch(row.get_ref(1)?.as_blob()?));
                    row.get(0)
                })?;
                let (tag, value) = item.split_at(TAG_BYTES);
                replace.execute(params![tag, value, key, seen])?;
            }
            Ok(())
        })
    }
}

impl Engine for Sqlite {
    fn settle(&self) -> Outcome {
        let writer = self.writer.lock().map_err(|_| "a writer panicked")?;
        Ok(writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        let connection = connect(&self.path, self.cache_bytes)?;
        Ok(Box::new(Reader { sqlite: self, connection, tags: Vec::new() }))
    }

    fn backup(&self, to: &Path) -> Outcome {
        let reader = connect(&self.path, self.cache_bytes)?;
        let progress = None::<fn(rusqlite::backup::Progress)>;
        Ok(reader.backup(MAIN_DB, to.join(FILE), progress)?)
    }
}

struct Reader<'a> {
    sqlite: &'a Sqlite,
    connection: Connection,
    tags: Vec<u128>,
}

impl Session for Reader<'_> {
    fn prepare(&mut self, op: Op, count: u64) -> Outcome {
        match op {
            Op::GetNotModified => absent("has no conditional get"),
            Op::Patch => {
                self.tags = vec![0; count as usize];
                self.sqlite.write(|connection| {
                    let sql = "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)";
                    for n in 0..count {
                        let text = document(n).to_string();
                        let tag = 0_u128.to_ne_bytes();
                        connection.prepare_cached(sql)?.execute(params![n as i64, tag, text])?;
                    }
                    Ok(())
                })
            }
            _ => Ok(()),
        }
    }

    fn load(&mut self, items: &[(Key, Item)]) -> Outcome {
        self.sqlite.write(|connection| {
            let mut insert = connection.prepare_cached("INSERT INTO items VALUES (?, ?, ?)")?;
            for (key, item) in items {
                let (tag, value) = item.split_at(TAG_BYTES);
                insert.execute(params![key, tag, value])?;
            }
            Ok(())
        })
    }

    fn replace(&mut self, key: &Key, item: &[u8]) -> Outcome {
        self.sqlite.replace([(key, item)].into_iter())
    }

    fn replace_many(&mut self, items: &[(Key, Item)]) -> Outcome {
        self.sqlite.replace(items.iter().map(|(key, item)| (key, &item[..])))
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
        let (old, new) = (seen.to_ne_bytes(), (*seen + 1).to_ne_bytes());
        let writer = self.sqlite.writer.lock().map_err(|_| "a writer panicked")?;
        let sql = "UPDATE documents SET doc = json_set(doc, '$.stock', ?), etag = ?
                   WHERE k = ? AND etag = ?";
        let changed =
            writer.prepare_cached(sql)?.execute(params![number as i64, new, n as i64, old])?;
        if changed != 1 {
            return Err("the tag of a document did not match".into());
        }
        *seen += 1;
        Ok(())
    }
}
