//! A file of a simulated disk: its calls, with what faults and a limit of space make of them.

use std::fmt;
use std::io;

use super::SimulatedDisk;
use super::fault::{Fault, Operation, eio};
use super::media::Opened;
use crate::storage::DiskFile;

pub(super) struct SimulatedFile {
    pub(super) disk: SimulatedDisk,
    pub(super) opened: Opened,
}

impl fmt::Debug for SimulatedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedFile").field("id", &self.opened.id).finish_non_exhaustive()
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let (state, fault) = self.disk.partial_call(Operation::Read)?;
        let wanted = if fault == Some(Fault::Short) { half(buf.len()) } else { buf.len() };
        let buf = buf.get_mut(..wanted).unwrap_or_default();
        Ok(state.media.inode(self.opened.id)?.current.read_at(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let (mut state, fault) = self.disk.partial_call(Operation::Write)?;
        let is_part = matches!(fault, Some(Fault::Short | Fault::Torn));
        let wanted = if is_part { half(buf.len()) } else { buf.len() };
        let count = state.fitting(&self.opened, wanted, offset)?;
        let bytes = buf.get(..count).unwrap_or_default();
        state.media.write(self.opened.id, bytes, offset)?;
        if fault == Some(Fault::Torn) { Err(eio()) } else { Ok(count) }
    }

    fn len(&self) -> io::Result<u64> {
        let state = match self.disk.call(Operation::Read) {
            // Asking for a length is not interrupted.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.disk.state(),
            called => called?,
        };
        Ok(state.media.inode(self.opened.id)?.current.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.call(Operation::SetLen)?;
        let file_len = state.media.inode(self.opened.id)?.current.len();
        let room = state.capacity.map(|limit| limit.saturating_sub(state.media.total_len()));
        if room.is_some_and(|room| len.saturating_sub(file_len) > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.media.set_len(self.opened.id, len)
    }

    /// One call, as the system has it: no zeros are written, and the length is changed at once.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let (mut state, fault) = match self.disk.partial_call(Operation::Write) {
            // As on the real disk it is called again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (self.disk.state(), None),
            called => called?,
        };
        let file_len = state.media.inode(self.opened.id)?.current.len();
        let wanted = offset.saturating_add(len).max(file_len);
        let room = state.capacity.map(|limit| limit.saturating_sub(state.media.total_len()));
        let full = room.is_some_and(|room| wanted - file_len > room);
        let part = room.filter(|_| full && state.fills_up).map(|room| file_len + room);
        if let Some(len) = if full { part } else { Some(wanted) } {
            state.media.set_len(self.opened.id, len)?;
        }
        match fault {
            _ if full => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Torn) => Err(eio()),
            _ => Ok(()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state_of_process()?;
        let fault = state.faults.meet(Operation::Sync);
        match fault.and_then(|fault| fault.refusal(Operation::Sync)) {
            None => state.media.sync(self.opened.id),
            Some(error) => {
                state.media.fail_sync(self.opened.id)?;
                Err(error)
            }
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}

fn half(len: usize) -> usize {
    len.div_ceil(2)
}
