//! What a [`Writer`] does beyond writing, at random: time passes, items expire and are swept,
//! snapshots are kept, the feed is followed, history is read, everything is verified.

use std::cell::RefCell;

use ifmatch::simulation::Simulation;
use ifmatch::{Error, Snapshot};

use crate::expected_commits::{Ledger, State};
use crate::writer::Writer;

pub(crate) struct Wide {
    sim: Simulation,
    snapshot: RefCell<Option<(Snapshot, State)>>,
}

impl Wide {
    pub(crate) fn new(sim: &Simulation) -> Self {
        Self { sim: sim.clone(), snapshot: RefCell::default() }
    }

    pub(crate) fn step(
        &self,
        writer: &Writer,
        rng: &mut fastrand::Rng,
        ledger: &mut Ledger,
    ) -> Result<(), Error> {
        match rng.u8(0..16) {
            0..4 => self.pass_time(rng, ledger),
            4..6 => drop(Simulation::sweep(writer.store())?),
            6..8 => self.take_snapshot(writer, ledger),
            8..10 => self.look_at_snapshot(writer, ledger)?,
            10..12 => self.follow(writer, ledger)?,
            12 => ledger.follower.follow(writer, rng.usize(0..8))?,
            13 => writer.look_at_history(ledger)?,
            14 => self.set_clock_back(writer, rng, ledger)?,
            _ => drop(writer.store().verify()?),
        }
        Ok(())
    }

    fn pass_time(&self, rng: &mut fastrand::Rng, ledger: &mut Ledger) {
        let most_ms = if rng.bool() { 50 } else { 3_000 };
        ledger.pass(rng.u64(0..most_ms));
        self.sim.set_now_ms(ledger.now_ms());
    }

    /// The clock of the store does not follow.
    fn set_clock_back(
        &self,
        writer: &Writer,
        rng: &mut fastrand::Rng,
        ledger: &Ledger,
    ) -> Result<(), Error> {
        // Else the store need not have seen how late it is.
        Simulation::clock_ms(writer.store())?;
        self.sim.set_now_ms(ledger.now_ms() - rng.u64(0..100_000));
        let state = writer.read();
        self.sim.set_now_ms(ledger.now_ms());
        ledger.check_now(&state?);
        Ok(())
    }

    pub(crate) fn take_snapshot(&self, writer: &Writer, ledger: &Ledger) {
        let snapshot = writer.store().snapshot();
        *self.snapshot.borrow_mut() = Some((snapshot, ledger.now().clone()));
    }

    pub(crate) fn look_at_snapshot(&self, writer: &Writer, ledger: &Ledger) -> Result<(), Error> {
        let mut kept = self.snapshot.borrow_mut();
        let Some((snapshot, state)) = &*kept else { return Ok(()) };
        match writer.read_snapshot(snapshot) {
            Ok(found) => {
                let mut expected = Ledger::default();
                expected.start_from(state.clone());
                expected.pass(ledger.now_ms() - expected.now_ms());
                expected.check_now(&found);
            }
            Err(Error::SnapshotTooOld) => *kept = None,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub(crate) fn follow(&self, writer: &Writer, ledger: &mut Ledger) -> Result<(), Error> {
        writer.store().sync()?;
        ledger.all_durable();
        ledger.follower.follow(writer, usize::MAX)?;
        ledger.follower.check(ledger.now(), ledger.now_ms());
        Ok(())
    }
}
