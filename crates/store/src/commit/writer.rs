//! The end of the log: the segment being written, its roll-over, and what is done when a write fails.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::group::{self, BORDER};
use crate::id::UnixTime;
use crate::segment::{self, DIR, Known, Opened, TMP, main_path};
use crate::shared::Shared;
use crate::side::write_slices;
use crate::state::world::Position;
use crate::vfs::{File, Open, write_full};

use super::builder::{BodyKey, Builder};

/// Segments made ahead of need, so that no commit waits for one.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    pub(crate) next: Option<(String, Arc<dyn File>, u64)>,
    /// Takes flags, expunges and the like when the disk is full.
    pub(crate) emergency: Option<(String, Arc<dyn File>, u64)>,
}

/// What a group's end is followed by, now and then: see [`Tuning::ahead`](crate::Tuning::ahead).
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// Octets of the segment for a full disk.
pub(crate) const EMERGENCY: u64 = 4 << 20;

/// The one who writes the log.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) file: Arc<dyn File>,
    pub(crate) segment: u32,
    /// Octets that the segment has room for.
    pub(crate) capacity: u64,
    /// Below this the file's blocks have been written, if only with zeros.
    pub(crate) written: u64,
    pub(crate) position: Position,
}

/// Why there is no new segment.
#[derive(Debug)]
pub(crate) enum RollError {
    /// Nothing has changed: the old one can go on.
    Before(io::Error),
    /// The new one may have its name or not: the old one must not go on.
    InDoubt(io::Error),
}

impl RollError {
    pub(crate) fn into_inner(self) -> io::Error {
        match self {
            RollError::Before(error) | RollError::InDoubt(error) => error,
        }
    }
}

/// Makes a file with room, synced, its name too.
pub(crate) fn preallocate(
    shared: &Shared,
    name: &str,
    octets: u64,
) -> io::Result<(String, Arc<dyn File>, u64)> {
    // A name of its own: the one made before may be on its way into the log just now.
    let path = format!("{TMP}/{}-{name}", shared.prepared_names.fetch_add(1, Ordering::Relaxed));
    let file = shared.vfs.open(&path, Open::CreateNew)?;
    let made = file.preallocate(octets).and_then(|()| file.sync_all());
    if let Err(error) = made {
        // A file that is too short is of no use to anybody.
        let _ = shared.vfs.remove_file(&path);
        return Err(error);
    }
    Ok((path, file, octets))
}

impl Writer {
    /// Octets left in the segment.
    pub(crate) fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.position.end)
    }

    /// A segment that is wide enough for `wanted` octets of groups.
    fn obtain(&self, wanted: u64) -> io::Result<(String, Arc<dyn File>, u64)> {
        let capacity = self.shared.tuning.segment.max(wanted.saturating_add(BORDER)).next_multiple_of(BORDER);
        let mut prepared = self.shared.prepared();
        if prepared.next.as_ref().is_some_and(|(_, _, room)| *room >= capacity)
            && let Some(next) = prepared.next.take()
        {
            return Ok(next);
        }
        match preallocate(&self.shared, "now.seg", capacity) {
            Err(e) if out_of_space(&e) => {
                let fits = |(_, _, room): &(String, Arc<dyn File>, u64)| wanted + BORDER <= *room;
                match prepared.emergency.take_if(|e| fits(e)) {
                    Some(emergency) => Ok(emergency),
                    None => Err(e),
                }
            }
            other => other,
        }
    }

    /// Goes on in a new segment, at the first place in it. What lies beyond the last good group in the old one is nobody's from now on.
    pub(crate) fn roll(&mut self, wanted: u64, now: UnixTime) -> Result<(), RollError> {
        let (path, number, file, capacity) = self.new_segment(wanted, now).map_err(RollError::Before)?;
        // From the rename on the new segment may say where the old one ends: no further group may follow there.
        let renamed = self.shared.vfs.rename(&path, &main_path(number));
        renamed.and_then(|()| self.shared.vfs.sync_dir(DIR)).map_err(RollError::InDoubt)?;
        let known = Known { tag: self.shared.epoch.tag, generation: 1 };
        self.shared.files.add_main(number, known, Some(Opened::written(file.clone())));
        self.file = file;
        self.segment = number;
        self.capacity = capacity;
        self.written = BORDER;
        self.position.segment = number;
        self.position.offset = BORDER;
        self.position.end = BORDER;
        self.shared.wake_applier();
        Ok(())
    }

    /// A synced file with its first page, not yet under its name.
    fn new_segment(&self, wanted: u64, now: UnixTime) -> io::Result<(String, u32, Arc<dyn File>, u64)> {
        let (path, file, capacity) = self.obtain(wanted)?;
        let number = self.shared.files.next_number()?;
        let header = segment::Header {
            store: self.shared.store,
            epoch: self.shared.epoch,
            number,
            previous: self.segment,
            previous_end: self.position.end,
            seq: self.position.seq + 1,
            chain: self.position.chain,
            time: now,
        };
        write_full(&*file, &header.encode(), 0)?;
        file.sync_data()?;
        Ok((path, number, file, capacity))
    }

    /// How far the file is to be written for a group that ends at `end`. The zeros behind it change nothing of what the
    /// file holds, but from then on writing there changes only octets, and nothing of the file system's own.
    fn ahead(&self, end: u64, alone: bool) -> u64 {
        let tuning = &self.shared.tuning;
        if !alone || end <= self.written || self.shared.low_space.load(Ordering::Relaxed) {
            return end;
        }
        let most = (ZEROS.len() as u64).min(tuning.ahead);
        (end + most).min(self.capacity).max(end)
    }

    /// Writes and syncs a group; `self.position` moves only if both succeed. Says how many octets it took. `alone`: its
    /// fdatasync answers one commit only, so that its cost counts.
    pub(crate) fn write<'a>(
        &mut self,
        builder: &mut Builder,
        now: UnixTime,
        first_commit: u64,
        alone: bool,
        body: impl Fn(BodyKey) -> &'a [u8] + Copy,
    ) -> io::Result<u64> {
        let header = group::Header {
            secret: self.shared.epoch.secret,
            segment: self.segment,
            offset: self.position.end,
            seq: self.position.seq + 1,
            time: now,
            first_commit,
            length: builder.length(),
            previous: self.position.chain,
        };
        let encoded = header.encode();
        builder.set_header(&encoded);
        let chain = {
            let slices = builder.slices(body);
            // The header is the beginning of the first slice.
            let records =
                slices.iter().enumerate().map(|(i, s)| if i == 0 { &s[group::HEADER..] } else { s });
            group::chain(&self.shared.epoch.secret, &encoded, records)
        };
        let total = builder.total();
        builder.finish(chain);
        let end = header.offset + total;
        let ahead = self.ahead(end, alone);
        let mut slices = builder.slices(body);
        slices.extend(ZEROS.get(..(ahead - end) as usize).filter(|zeros| !zeros.is_empty()));
        write_slices(&*self.file, &slices, header.offset)?;
        let sabotage = self.shared.tuning.sabotage;
        if !sabotage.no_sync() && !sabotage.ack_before_sync() {
            self.file.sync_data()?;
        }
        self.position.seq = header.seq;
        self.position.chain = chain;
        self.position.segment = self.segment;
        self.position.offset = header.offset;
        self.position.end = end;
        self.written = self.written.max(ahead);
        self.position.time = now;
        Ok(total)
    }
}

/// Whether an error says that the disk is full.
pub(crate) fn out_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
