//! A message's octets, as far as they can be read: what its delivery says, and the body that it names, each piece held
//! against its checksum.

use std::hash::Hasher as _;
use std::io;
use std::sync::Arc;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::shelf::Shelf;
use super::window::Window;
use crate::codec::pad8;
use crate::id::Location;
use crate::record::{self, Delivery, HEADER, Kept, PIECE, Record, kind};
use crate::side::{self, DATA_AT};
use crate::vfs::{File, read_full};

/// Why there is nothing to be had of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Why(pub(crate) String);

fn why<T>(text: impl Into<String>) -> Result<T, Why> {
    Err(Why(text.into()))
}

impl From<io::Error> for Why {
    fn from(error: io::Error) -> Why {
        Why(error.to_string())
    }
}

/// Where the records of a message are that is not found by its location: it lies in a file of no segment, or in one that
/// has lost its table.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub(crate) path: Arc<str>,
    pub(crate) delivery: u64,
    /// The body's record, if it is in the same file.
    pub(crate) body: Option<u64>,
}

/// A message's octets.
#[derive(Debug)]
pub(crate) struct Content {
    prefix: Vec<u8>,
    replaces: u64,
    file: Arc<dyn File>,
    data: u64,
    octets: u64,
    /// One for each piece; `None` if they are lost.
    crcs: Option<Vec<u32>>,
}

/// What comes of reading all of it.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Names the octets: equal for equal messages.
    pub(crate) sum: u128,
    /// Octets of the message that are not what was written, or of which nobody knows.
    pub(crate) spoilt: u64,
}

impl Content {
    pub(crate) fn len(&self) -> u64 {
        self.prefix.len() as u64 + self.octets.saturating_sub(self.replaces)
    }

    /// Tells of all octets in order, a piece at a time, with whether each is as it was written.
    fn pieces(&self, each: &mut dyn FnMut(&[u8], bool) -> io::Result<()>) -> io::Result<()> {
        each(&self.prefix, true)?;
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        for n in 0.. {
            if at >= self.octets {
                break;
            }
            let length = usize::try_from(self.octets - at).unwrap_or(PIECE).min(PIECE);
            let read = read_full(&*self.file, &mut piece[..length], self.data + at)?;
            let crc = self.crcs.as_ref().and_then(|crcs| crcs.get(n)).copied();
            let sound = read == length && crc == Some(crc32c::crc32c(&piece[..length]));
            let skip = self.replaces.saturating_sub(at).min(read as u64) as usize;
            each(&piece[skip..read], sound)?;
            at += length as u64;
        }
        Ok(())
    }

    /// All octets in order.
    pub(crate) fn each_piece(&self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.pieces(&mut |piece, _| each(piece))
    }

    pub(crate) fn check(&self) -> io::Result<Checked> {
        let mut hasher = SipHasher24::new();
        let (mut spoilt, mut read) = (0, 0);
        self.pieces(&mut |piece, sound| {
            hasher.write(piece);
            read += piece.len() as u64;
            if !sound {
                spoilt += piece.len() as u64;
            }
            Ok(())
        })?;
        spoilt += self.len().saturating_sub(read);
        Ok(Checked { sum: hasher.finish128().as_u128(), spoilt })
    }
}

/// Which octets a message is, as its own record says.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    pub(crate) body: Location,
    pub(crate) replaces: u32,
    pub(crate) size: u32,
    pub(crate) prefix: Vec<u8>,
}

impl Placement {
    /// How long its body is.
    pub(crate) fn expected(&self) -> Option<u64> {
        let rest = u64::from(self.size).checked_sub(self.prefix.len() as u64)?;
        Some(rest + u64::from(self.replaces))
    }
}

impl From<&Delivery> for Placement {
    fn from(d: &Delivery) -> Placement {
        Placement { body: d.body, replaces: d.replaces, size: d.size, prefix: d.prefix.clone() }
    }
}

impl From<&Kept> for Placement {
    fn from(k: &Kept) -> Placement {
        Placement { body: k.body, replaces: k.replaces, size: k.size, prefix: k.prefix.clone() }
    }
}

fn delivery(record: Record) -> Option<Delivery> {
    if let Record::Delivery(delivery) = record { Some(*delivery) } else { None }
}

fn kept(record: Record) -> Option<Kept> {
    if let Record::Kept(kept) = record { Some(*kept) } else { None }
}

/// The delivery that a location names, read from the first generation that has it whole.
pub(crate) fn delivery_at(shelf: &mut Shelf, at: Location) -> Result<Delivery, Why> {
    record_at(shelf, at, delivery)
}

/// The delivery whose record lies here.
pub(crate) fn delivery_in(file: &Arc<dyn File>, place: u64) -> Result<Delivery, Why> {
    record_in(file, place, delivery)
}

/// The message in no mailbox that a location names, likewise.
pub(crate) fn kept_at(shelf: &mut Shelf, at: Location) -> Result<Kept, Why> {
    record_at(shelf, at, kept)
}

/// The message in no mailbox whose record lies here.
pub(crate) fn kept_in(file: &Arc<dyn File>, place: u64) -> Result<Kept, Why> {
    record_in(file, place, kept)
}

fn record_at<T>(shelf: &mut Shelf, at: Location, wanted: fn(Record) -> Option<T>) -> Result<T, Why> {
    let generations = shelf.mains.get(&at.segment).cloned().unwrap_or_default();
    if generations.is_empty() {
        return why(format!("segment {} is missing", at.segment));
    }
    let mut last = Why("its record is not in the segment any more".into());
    for generation in generations {
        let main = match shelf.main(at.segment, generation) {
            Ok(main) => main,
            Err(error) => {
                last = error.into();
                continue;
            }
        };
        let Some(place) = main.place(at.ordinal) else { continue };
        match record_in(&main.file, place, wanted) {
            Ok(found) => return Ok(found),
            Err(error) => last = Why(format!("{error} in {} at {place}", main.path, error = error.0)),
        }
    }
    Err(last)
}

fn record_in<T>(file: &Arc<dyn File>, place: u64, wanted: fn(Record) -> Option<T>) -> Result<T, Why> {
    let mut window = Window::small(file.clone())?;
    let Some(header) = window.header(place)? else { return why("its record is damaged") };
    let meta = window.meta(place, &header)?;
    match meta.map(|meta| Record::decode(&header, meta)) {
        Some(Ok(Some(record))) => wanted(record).ok_or(Why("another record stands in its place".into())),
        Some(Ok(None)) => why("another record stands in its place"),
        Some(Err(record::Bad::Newer(..))) => why("a newer version wrote it"),
        _ => why("its record is damaged"),
    }
}

/// A message's octets: its body is looked for where it says. `near` is where its body's record is, if that is known.
pub(crate) fn open(
    shelf: &mut Shelf,
    placed: Placement,
    near: Option<(&Arc<dyn File>, u64)>,
) -> Result<Content, Why> {
    let Some(octets) = placed.expected() else { return why("its record contradicts itself") };
    let body = placed.body;
    let (prefix, replaces) = (placed.prefix, u64::from(placed.replaces));
    let (file, data, crcs) = if let Some((file, at)) = near {
        let (data, crcs) = in_main(file, at, octets)?;
        (file.clone(), data, crcs)
    } else if let Some(generations) = shelf.mains.get(&body.segment).cloned() {
        let mut found = why("its body is not in the segment any more");
        for generation in generations {
            let Ok(main) = shelf.main(body.segment, generation) else { continue };
            let Some(place) = main.place(body.ordinal) else { continue };
            found = in_main(&main.file, place, octets).map(|(data, crcs)| (main.file.clone(), data, crcs));
            if let Ok((_, _, Some(_))) = &found {
                break;
            }
        }
        found?
    } else if let Some(path) = shelf.sides.get(&body.segment).cloned() {
        let file = shelf.file(&path)?;
        let crcs = side_crcs(&file, body.segment, octets)?;
        (file, DATA_AT, crcs)
    } else {
        return why(format!("the file with its body is missing (number {})", body.segment));
    };
    Ok(Content { prefix, replaces, file, data, octets, crcs })
}

/// Where a body's octets begin that must be so many, and their CRCs if those can be read.
fn in_main(file: &Arc<dyn File>, at: u64, octets: u64) -> Result<(u64, Option<Vec<u32>>), Why> {
    let mut window = Window::small(file.clone())?;
    let pieces = octets.div_ceil(PIECE as u64);
    let Some(header) = window.header(at)? else { return why("its body's record is damaged") };
    if header.kind != kind::BODY || u64::from(header.data_len) != octets {
        return why("another record stands in its body's place");
    }
    let crcs = window.meta(at, &header)?.and_then(|meta| record::body_crcs(meta, octets));
    Ok((at + HEADER as u64 + pad8(pieces * 4), crcs))
}

/// A side segment's CRCs. Its first page only repeats what its delivery says.
fn side_crcs(file: &Arc<dyn File>, number: u32, octets: u64) -> Result<Option<Vec<u32>>, Why> {
    match side::open(&**file, number) {
        Ok(Some((there, crcs))) if there == octets => return Ok(Some(crcs)),
        Ok(Some(_)) => return why("the file with its body holds another one"),
        _ => {}
    }
    let mut window = Window::small(file.clone())?;
    let table = window.at(DATA_AT + pad8(octets), octets.div_ceil(PIECE as u64) * 4)?;
    Ok(table.and_then(|table| record::body_crcs(table, octets)))
}

/// A side segment as a message of its own: nothing but its body is known.
pub(crate) fn orphan(shelf: &Shelf, number: u32, path: &str) -> Result<Content, Why> {
    let file = shelf.file(path)?;
    match side::open(&*file, number)? {
        Some((octets, crcs)) => {
            Ok(Content { prefix: Vec::new(), replaces: 0, file, data: DATA_AT, octets, crcs: Some(crcs) })
        }
        None => why("its first page is damaged, and nothing names it"),
    }
}
