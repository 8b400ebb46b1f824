//! A table that can be replaced by a fresh copy of itself while it is in use.
//!
//! The engine's file grows under overwrites to some multiple of what it holds, and never shrinks
//! again. So now and then its rows are copied into a new table: from the beginning of the copy on
//! every change goes to both, and each row is copied under the lock that its writers take. When
//! all rows are there, the new table takes over.

use std::ops::Bound;
use std::sync::Arc;

use super::Table;
use crate::seams::sync::{AtomicBool, Ordering, RwLock};
use crate::values::error::Result;

/// A table, and while it is being copied the copy.
#[derive(Debug)]
pub(crate) struct RenewableTable {
    tables: RwLock<Both>,
    /// Whether the copy has missed a change.
    copy_failed: AtomicBool,
}

#[derive(Debug)]
struct Both {
    current: Arc<dyn Table>,
    copy: Option<Arc<dyn Table>>,
}

impl RenewableTable {
    pub(crate) fn new(current: Arc<dyn Table>) -> Self {
        let tables = RwLock::new(Both { current, copy: None });
        Self { tables, copy_failed: AtomicBool::new(false) }
    }

    /// From here on changes go to this table as well.
    pub(crate) fn begin_copy(&self, copy: Arc<dyn Table>) {
        self.copy_failed.store(false, Ordering::Release);
        self.tables.write().copy = Some(copy);
    }

    /// Copies one row; the caller holds the lock that its writers take.
    pub(crate) fn copy_row(&self, key: &[u8]) -> Result<()> {
        let tables = self.tables.read();
        match (&tables.copy, tables.current.get(key)?) {
            (Some(copy), Some(value)) => copy.insert(key, &value),
            _ => Ok(()),
        }
    }

    /// Lets the copy take over and gives the table that it replaces; without one when the copy has
    /// missed a change, and then it is given up.
    pub(crate) fn end_copy(&self) -> Option<Arc<dyn Table>> {
        let mut tables = self.tables.write();
        let copy = tables.copy.take()?;
        let whole = !self.copy_failed.load(Ordering::Acquire);
        whole.then(|| std::mem::replace(&mut tables.current, copy))
    }

    /// Gives the copy up; whether there was one.
    pub(crate) fn abandon_copy(&self) -> bool {
        self.tables.write().copy.take().is_some()
    }

    /// Makes a change to the table, and to the copy, whose failure is no failure of the change.
    fn change(&self, change: impl Fn(&dyn Table) -> Result<()>) -> Result<()> {
        let tables = self.tables.read();
        change(&*tables.current)?;
        if let Some(copy) = &tables.copy
            && let Err(error) = change(&**copy)
            && !self.copy_failed.swap(true, Ordering::AcqRel)
        {
            log::warn!("the renewal of the table is given up and will begin anew: {error}");
        }
        Ok(())
    }

    fn current(&self) -> Arc<dyn Table> {
        Arc::clone(&self.tables.read().current)
    }
}

impl Table for RenewableTable {
    fn get(&self, key: &[u8]) -> Result<Option<Box<[u8]>>> {
        self.tables.read().current.get(key)
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.change(|table| table.insert(key, value))
    }

    fn remove(&self, key: &[u8]) -> Result<()> {
        self.change(|table| table.remove(key))
    }

    fn scan(
        &self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        reverse: bool,
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        self.current().scan(lower, upper, reverse, limit, visit)
    }

    fn flush(&self) -> Result<()> {
        self.current().flush()
    }

    fn size_on_disk_bytes(&self) -> Result<u64> {
        self.tables.read().current.size_on_disk_bytes()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::index::{MemoryTables, Tables};

    #[test]
    fn a_copy_that_missed_a_change_is_given_up_and_the_table_stays_in_use() {
        let (tables, failing) = (MemoryTables::new(), MemoryTables::simulated());
        let table = RenewableTable::new(tables.open(1).unwrap());
        table.insert(b"a", b"1").unwrap();
        table.begin_copy(failing.open(2).unwrap());
        failing.fail_after(1);
        table.copy_row(b"a").unwrap();
        table.insert(b"b", b"2").unwrap();
        assert!(table.copy_row(b"b").is_err());
        assert!(table.end_copy().is_none());
        assert_eq!(table.get(b"b").unwrap().as_deref(), Some(&b"2"[..]));
        table.insert(b"c", b"3").unwrap();
        // The next copy begins afresh.
        table.begin_copy(tables.open(3).unwrap());
        for key in [b"a", b"b", b"c"] {
            table.copy_row(key).unwrap();
        }
        assert!(table.end_copy().is_some());
        assert_eq!(table.get(b"c").unwrap().as_deref(), Some(&b"3"[..]));
    }
}
