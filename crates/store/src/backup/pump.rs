//! Reading and writing at once: while one step is written and synced, the next is read and summed.

use std::sync::mpsc::sync_channel;

use super::{BackupError, writing};
use crate::vfs::{File, write_full};

/// Octets read, summed and written at a time.
pub(super) const STEP: usize = 1 << 20;
/// Steps that are under way.
const UNDER_WAY: usize = 4;

/// Fills a buffer from its front with what lies at an offset, and says how much that was.
pub(super) type Fill<'a> = &'a mut dyn FnMut(&mut [u8], u64) -> Result<usize, BackupError>;

/// Writes `octets` octets to a new file, a step at a time, and makes them durable. `fill` gives the steps. `due` says, after so many octets that are not synced, whether
/// they are to be now; then it rests a little.
pub(super) fn pump(
    (target, path): (&dyn File, &str),
    octets: u64,
    due: &(dyn Fn(u64) -> bool + Sync),
    rest: &(dyn Fn() + Sync),
    fill: Fill<'_>,
) -> Result<(), BackupError> {
    let most = |at: u64| STEP.min(usize::try_from(octets - at).unwrap_or(STEP));
    if octets <= STEP as u64 {
        let mut step = vec![0; most(0)];
        let mut at = 0;
        while at < octets {
            let read = fill(&mut step[..most(at)], at)?;
            write_full(target, &step[..read], at).map_err(writing(path))?;
            at += read as u64;
        }
        return target.sync_all().map_err(writing(path));
    }
    let (full, filled) = sync_channel::<(Vec<u8>, usize)>(UNDER_WAY);
    let (empty, emptied) = sync_channel::<Vec<u8>>(UNDER_WAY);
    let write = move || -> Result<(), BackupError> {
        let (mut at, mut synced) = (0, 0);
        for (step, read) in filled {
            write_full(target, &step[..read], at).map_err(writing(path))?;
            at += read as u64;
            if due(at - synced) {
                target.sync_data().map_err(writing(path))?;
                synced = at;
                rest();
            }
            // Nobody wants it any more at the end.
            let _ = empty.try_send(step);
        }
        target.sync_all().map_err(writing(path))
    };
    std::thread::scope(|scope| {
        let writer = scope.spawn(write);
        let mut read_all = || -> Result<(), BackupError> {
            let mut steps = (0..UNDER_WAY).map(|_| vec![0; STEP]).collect::<Vec<_>>();
            let mut at = 0;
            while at < octets {
                let Some(mut step) = steps.pop().or_else(|| emptied.recv().ok()) else { return Ok(()) };
                let read = fill(&mut step[..most(at)], at)?;
                at += read as u64;
                if full.send((step, read)).is_err() {
                    // The writer has failed, and says why.
                    return Ok(());
                }
            }
            Ok(())
        };
        let read = read_all();
        drop(full);
        let written = writer.join().unwrap_or(Err(BackupError::Stopped));
        read.and(written)
    })
}
