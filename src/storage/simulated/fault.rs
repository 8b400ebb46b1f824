//! Which calls of a simulated disk fail, and how.

use std::collections::BTreeMap;
use std::io;

/// The kinds of calls that a simulated disk counts and can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Opening or creating a file.
    Open,
    /// Reading bytes, or the length of a file.
    Read,
    /// Writing bytes.
    Write,
    /// Cutting or growing a file.
    SetLen,
    /// Making the contents of a file durable.
    Sync,
    /// Moving a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Making the names in a directory durable.
    SyncDir,
    /// Listing a directory, or asking whether a name exists.
    List,
    /// Making directories.
    CreateDir,
    /// Taking a lock file.
    Lock,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The call does nothing and returns an error of this kind.
    Error(io::ErrorKind),
    /// The call does nothing and returns `EIO`.
    Eio,
    /// A read or write handles half of the buffer, at least a byte, and reports that. Other calls
    /// pass.
    Short,
    /// A read or write does nothing and returns `Interrupted`, once even if the plan persists.
    /// Other calls pass, since the standard library repeats those itself.
    Interrupted,
    /// A write puts half of the buffer, at least a byte, into the file and returns `EIO`. Other
    /// calls do nothing and return `EIO`.
    Torn,
}

impl Fault {
    /// The error that a call of this kind returns without doing anything; `None` if it does
    /// something.
    pub(super) fn refusal(self, operation: Operation) -> Option<io::Error> {
        match self {
            Self::Error(kind) => Some(kind.into()),
            Self::Eio => Some(eio()),
            Self::Torn => (operation != Operation::Write).then(eio),
            Self::Interrupted => matches!(operation, Operation::Read | Operation::Write)
                .then(|| io::ErrorKind::Interrupted.into()),
            Self::Short => None,
        }
    }
}

/// The system's code for a device that failed. On Windows 5 means a missing permission.
const DEVICE_FAILED: i32 = if cfg!(windows) { 1117 } else { 5 };

pub(super) fn eio() -> io::Error {
    io::Error::from_raw_os_error(DEVICE_FAILED)
}

/// Which call fails: the one after a number of calls that pass, of one kind or of any.
#[derive(Debug, Clone)]
pub struct FaultPlan {
    fault: Fault,
    passing: u64,
    only: Option<Operation>,
    persistent: bool,
}

impl FaultPlan {
    /// Lets this many calls pass, counted from when the plan is set, and fails the next one.
    #[must_use]
    pub fn after(passing: u64, fault: Fault) -> Self {
        Self { fault, passing, only: None, persistent: false }
    }

    /// Counts and fails only calls of this kind.
    #[must_use]
    pub fn only(self, operation: Operation) -> Self {
        Self { only: Some(operation), ..self }
    }

    /// Fails every call from then on, not only one.
    #[must_use]
    pub fn persistent(self) -> Self {
        Self { persistent: true, ..self }
    }

    /// Counts a call; returns how it fails, and whether that uses up the plan.
    fn meet(&mut self, operation: Operation) -> Option<(Fault, bool)> {
        if self.only.is_some_and(|only| only != operation) {
            return None;
        }
        if self.passing > 0 {
            self.passing -= 1;
            return None;
        }
        let spent = !self.persistent || self.fault == Fault::Interrupted;
        Some((self.fault, spent))
    }
}

/// The counts of a disk's calls, and its plans.
#[derive(Debug, Default)]
pub(super) struct Faults {
    plans: Vec<FaultPlan>,
    calls: BTreeMap<Operation, u64>,
    struck: u64,
}

impl Faults {
    pub(super) fn add(&mut self, plan: FaultPlan) {
        self.plans.push(plan);
    }

    pub(super) fn clear(&mut self) {
        self.plans.clear();
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.values().sum()
    }

    pub(super) fn calls_of(&self, operation: Operation) -> u64 {
        self.calls.get(&operation).copied().unwrap_or_default()
    }

    pub(super) fn struck(&self) -> u64 {
        self.struck
    }

    /// Counts a call; returns how it fails, if it does. The first plan that is due decides.
    pub(super) fn meet(&mut self, operation: Operation) -> Option<Fault> {
        *self.calls.entry(operation).or_default() += 1;
        let mut struck = None;
        self.plans.retain_mut(|plan| match plan.meet(operation) {
            Some((fault, spent)) if struck.is_none() => {
                struck = Some(fault);
                !spent
            }
            _ => true,
        });
        self.struck += u64::from(struck.is_some());
        struck
    }
}
