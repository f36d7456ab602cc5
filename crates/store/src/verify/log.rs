//! Every octet of the log that means something: groups, their chains, records, bodies; compacted and side segments too.

use std::io;
use std::sync::Arc;

use super::{Mend, Pace, Problem, Verified};
use crate::compact::format::{self, RECORDS};
use crate::group::{self, BORDER, HEADER};
use crate::open::found::{Found, Main};
use crate::reader::Reader;
use crate::record::{self, Bad, PIECE, Record, kind};
use crate::salvage::walk::{self, Around, Known, Seen};
use crate::salvage::window::Window;
use crate::segment::{generation_path, main_path, side_path};
use crate::side::{self, DATA_AT};
use crate::vfs::{File, Open, Vfs, read_full};

pub(super) struct Log<'a> {
    pub(super) vfs: &'a dyn Vfs,
    pub(super) found: &'a Found,
    pub(super) out: &'a mut Verified,
    pub(super) running: bool,
    pub(super) progress: Pace<'a>,
    pub(super) done: u64,
}

/// Octets between two tellings of progress.
const TELL: u64 = 16 << 20;

impl Log<'_> {
    pub(super) fn check(&mut self, reader: Option<&Reader>) -> io::Result<()> {
        let found = self.found;
        let sides = found.sides.iter().map(|&n| self.vfs.len(&side_path(n)).unwrap_or(0)).sum::<u64>();
        let total = found.mains.iter().map(|m| m.len).sum::<u64>() + sides;
        self.out.figures.octets = total;
        let mut before: Option<(u64, u128)> = None;
        for (n, main) in found.mains.iter().enumerate() {
            self.out.figures.segments += 1;
            let next = found.mains.get(n + 1);
            let read = match main.compacted {
                Some(_) => {
                    self.out.figures.compacted += 1;
                    before = None;
                    self.compacted(main)
                }
                None => self.written(main, next, before).map(|end| before = end),
            };
            if let Err(error) = read {
                let path = generation_path(main.header.number, main.known().generation);
                self.out.problems.push(Problem::new(
                    path,
                    format!("it cannot be read: {error}"),
                    Mend::Restore,
                ));
                before = None;
            }
            self.tell(main.len, total);
        }
        let Some(reader) = reader else { return Ok(()) };
        for (number, wanted) in reader.state().sides.iter().map(|(&n, side)| (n, side.octets)) {
            self.out.figures.sides += 1;
            self.side(number, wanted);
            self.tell(wanted, total);
        }
        let unadopted = found.sides.iter().filter(|n| !reader.state().sides.contains_key(n)).count();
        if unadopted > 0 && !self.running {
            self.out.notes.push(format!(
                "{unadopted} large bodies were received and never made part of the log; the next start removes them"
            ));
        }
        Ok(())
    }

    fn tell(&mut self, octets: u64, total: u64) {
        let before = self.done / TELL;
        self.done += octets;
        if self.done / TELL != before {
            (self.progress)(self.done.min(total), total);
        }
    }

    fn rotten(&mut self, file: &str, from: u64, octets: u64, what: &str) {
        self.out.problems.push(Problem::new(file, what, Mend::Restore).at(from, octets));
    }

    /// A segment as it was written. Says with which group it ends.
    fn written(
        &mut self,
        main: &Main,
        next: Option<&Main>,
        before: Option<(u64, u128)>,
    ) -> io::Result<Option<(u64, u128)>> {
        let path = main_path(main.header.number);
        let mut last = Some((main.header.seq.saturating_sub(1), main.header.chain));
        if before.is_some_and(|(_, chain)| chain != main.header.chain) {
            self.rotten(&path, 0, BORDER, "it does not go on where the segment before it ends");
        }
        let secrets = [main.header.epoch.secret];
        let limit = next.map(|next| next.header.previous_end);
        let known = Known { number: main.header.number, secrets: &secrets, end: limit };
        let mut window = Window::new(main.file.clone())?;
        let end = limit.unwrap_or(window.len);
        let mut offset = BORDER;
        while offset < end {
            let header = walk::group_at(&mut window, offset, known)?;
            let goes_on =
                |h: &group::Header| last.is_none_or(|(seq, chain)| h.seq > seq && h.previous == chain);
            let whole = match &header {
                Some(header) if goes_on(header) => group::check_file(header, &*main.file)?,
                _ => None,
            };
            if let (Some(header), Some(chain)) = (header, whole) {
                self.out.figures.groups += 1;
                last = Some((header.seq, chain));
                self.records(&path, &mut window, offset + HEADER as u64, header.length)?;
                offset += header.total().unwrap_or(BORDER);
                continue;
            }
            let after = walk::next_group(&mut window, offset + BORDER, end, known)?;
            let to = after.unwrap_or(end);
            if after.is_none() && limit.is_none() {
                // The end of the log: the replay says what it is.
                break;
            }
            let what = if header.is_some() { "a group is damaged" } else { "a group's header is damaged" };
            self.rotten(&path, offset, to - offset, what);
            last = None;
            offset = to;
        }
        Ok(last)
    }

    /// The records of a whole group.
    fn records(&mut self, path: &str, window: &mut Window, from: u64, length: u64) -> io::Result<()> {
        let until = from + length;
        let mut end = from;
        let file = window.file.clone();
        let around = Around { group: None, start: from };
        walk::records(window, around, from, until, &mut |seen| {
            let Seen::Record(found) = seen else { return Ok(()) };
            self.out.figures.records += 1;
            let total = found.header.total();
            if found.at != end {
                self.rotten(path, end, found.at - end, "a record is damaged");
            }
            end = found.at + total;
            self.record(path, &file, found.at, &found.header, found.meta)
        })?;
        if end != until {
            self.rotten(path, end, until.saturating_sub(end), "a group is not made of whole records");
        }
        Ok(())
    }

    fn record(
        &mut self,
        path: &str,
        file: &Arc<dyn File>,
        at: u64,
        header: &record::Header,
        meta: Option<&[u8]>,
    ) -> io::Result<()> {
        let Some(meta) = meta else {
            self.rotten(path, at, header.total(), "a record is damaged");
            return Ok(());
        };
        if header.kind == kind::BODY {
            self.out.figures.bodies += 1;
            let octets = u64::from(header.data_len);
            let sound = match record::body_crcs(meta, octets) {
                Some(crcs) => pieces(&**file, at + header.data_at(), octets, &crcs)?,
                None => false,
            };
            if !sound {
                self.rotten(path, at, header.total(), "a message's octets are damaged");
            }
            return Ok(());
        }
        match Record::decode(header, meta) {
            Ok(_) => {}
            Err(Bad::Damaged) => {
                self.rotten(path, at, header.total(), "a record is not what any version wrote")
            }
            Err(Bad::Newer(kind, version)) => {
                let what = format!("a record of kind {kind}, version {version}: a newer version wrote it");
                self.out.problems.push(Problem::new(path, what, Mend::Newer).at(at, header.total()));
            }
        }
        Ok(())
    }

    fn compacted(&mut self, main: &Main) -> io::Result<()> {
        let path = generation_path(main.header.number, main.known().generation);
        let Ok(opened) = format::open(&*main.file, main.header.number)? else {
            self.rotten(&path, 0, main.len, "its first pages or its table are damaged");
            return Ok(());
        };
        let mut window = Window::new(main.file.clone())?;
        let front = opened.front;
        let mut named: std::collections::BTreeSet<u64> =
            opened.places.iter().map(|(_, place)| place).collect();
        let around = Around { group: None, start: RECORDS };
        let file = main.file.clone();
        let mut end = RECORDS;
        walk::records(&mut window, around, RECORDS, front.notes_end, &mut |seen| {
            let Seen::Record(found) = seen else { return Ok(()) };
            if found.at != end {
                self.rotten(&path, end, found.at - end, "a record is damaged");
            }
            end = found.at + found.header.total();
            self.out.figures.records += 1;
            named.remove(&found.at);
            self.record(&path, &file, found.at, &found.header, found.meta)
        })?;
        if end != front.notes_end {
            self.rotten(&path, end, front.notes_end.saturating_sub(end), "a record is damaged");
        }
        for place in named {
            self.rotten(&path, place, 8, "its table names a record that is not there");
        }
        Ok(())
    }

    fn side(&mut self, number: u32, wanted: u64) {
        let path = side_path(number);
        let file = match self.vfs.open(&path, Open::Read) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return self.out.problems.push(Problem::new(path, "it is missing", Mend::Restore));
            }
            Err(e) => {
                let what = format!("it cannot be opened: {e}");
                return self.out.problems.push(Problem::new(path, what, Mend::Restore));
            }
        };
        let checked = side::open(&*file, number).and_then(|opened| match opened {
            Some((octets, crcs)) if octets == wanted => pieces(&*file, DATA_AT, octets, &crcs),
            _ => Ok(false),
        });
        match checked {
            Ok(true) => self.out.figures.bodies += 1,
            Ok(false) => {
                let problem = Problem::new(path, "a message's octets are damaged", Mend::Restore);
                self.out.problems.push(problem);
            }
            Err(e) => {
                let what = format!("it cannot be read: {e}");
                self.out.problems.push(Problem::new(path, what, Mend::Restore));
            }
        }
    }
}

/// Whether each piece of a body is what its CRC says.
fn pieces(file: &dyn File, data: u64, octets: u64, crcs: &[u32]) -> io::Result<bool> {
    let mut piece = vec![0; PIECE];
    for (n, crc) in (0u64..).zip(crcs) {
        let at = n * PIECE as u64;
        let length = usize::try_from(octets - at).unwrap_or(PIECE).min(PIECE);
        let read = read_full(file, &mut piece[..length], data + at)?;
        if read < length || crc32c::crc32c(&piece[..length]) != *crc {
            return Ok(false);
        }
    }
    Ok(true)
}
