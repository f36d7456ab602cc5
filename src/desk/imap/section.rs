//! `BODY[..]` and its older names: where a section is in the message, and its octets at the client's pace
//! (RFC 3501 s.6.4.5).

use store::{Message, ReadError, Row, Store};
use wire::imap::fetch::{FieldName, SectionItem, SectionText};
use wire::imap::response::Fetch;

use super::fetch::{Failed, Octets};
use crate::disk;
use crate::mime::{self, Digest, What};
use crate::net::{LOW_WATER, Out};

/// Octets of a large message that are read and written at a time.
const PART: u64 = 64 * 1024;
/// Octets of a header in which fields are looked for. A header beyond that is served whole, but not sifted.
const HEADER: usize = 4 * wire::limits::HEADER;

/// Octets of them that are written at a time when nothing may be held meanwhile.
const SMALL_PART: usize = crate::net::LOW_WATER;

/// What a section is, once it has been found.
pub(super) enum Found {
    None,
    Range(u64, u64),
    Octets(Vec<u8>),
    /// So many octets, to be made anew for each step of what is written.
    Long(u64),
}

/// A message, and what is known of it.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) store: &'a Store,
    pub(super) row: &'a Row,
    pub(super) octets: &'a Octets,
    pub(super) digest: Option<&'a Digest<'a>>,
    /// Whether others hold all that may be read ahead.
    pub(super) small: bool,
}

impl Source<'_> {
    /// Reads something of the message.
    fn with<T>(self, read: impl FnOnce(&Message) -> Result<T, ReadError>) -> Result<T, ReadError> {
        match self.octets {
            Octets::Here(message) if message.whole().is_some() => read(message),
            // Of what is not in memory, even the header has to be looked for on disk.
            Octets::Here(message) => disk::blocking(|| read(message)),
            Octets::Store => disk::blocking(|| read(&self.store.message(self.row)?)),
        }
    }

    /// Where a section is. `header` is the length of the message's header, once it has been looked for.
    pub(super) fn find(self, item: &SectionItem, header: &mut Option<u64>) -> Result<Found, ReadError> {
        Ok(match self.with(|message| find(message, self.digest, item, header))? {
            Found::Octets(octets) if matches!(self.octets, Octets::Store) && octets.len() > SMALL_PART => {
                Found::Long(octets.len() as u64)
            }
            found => found,
        })
    }
}

fn find(
    message: &Message,
    digest: Option<&Digest<'_>>,
    item: &SectionItem,
    header: &mut Option<u64>,
) -> Result<Found, ReadError> {
    let section = &item.section;
    let header_only = |from: u64, to: u64| -> Result<Found, ReadError> {
        let (names, not) = match &section.text {
            SectionText::HeaderFields(names) => (names, false),
            SectionText::HeaderFieldsNot(names) => (names, true),
            _ => return Ok(Found::Range(from, to)),
        };
        // A header without end is looked into as far as the digest does: its fields behind that are not found.
        let most = usize::try_from(to - from).unwrap_or(usize::MAX);
        let mut octets = read(message, from, most.min(HEADER))?;
        if most > HEADER {
            octets.truncate(memchr::memrchr(b'\n', &octets).map_or(0, |lf| lf + 1));
            octets.extend_from_slice(b"\r\n");
        }
        let names: Vec<&str> = names.iter().map(FieldName::as_str).collect();
        Ok(Found::Octets(mime::header_fields(&octets, &names, not)))
    };
    if section.part.is_empty() {
        match &section.text {
            SectionText::All => return Ok(Found::Range(0, message.len())),
            SectionText::Mime => return Ok(Found::None),
            _ => {}
        }
        let header = match (digest.and_then(Digest::root), *header) {
            (Some(root), _) => root.header.end,
            (None, Some(known)) => known,
            (None, None) => *header.insert(message.header_len()?),
        };
        return match &section.text {
            SectionText::Text => Ok(Found::Range(header, message.len())),
            _ => header_only(0, header),
        };
    }
    let what = match &section.text {
        SectionText::All => What::Whole,
        SectionText::Text => What::Text,
        SectionText::Mime => What::Mime,
        SectionText::Header | SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_) => What::Header,
    };
    let path: Vec<u32> = section.part.iter().map(|n| n.get()).collect();
    match digest.and_then(|d| mime::locate(d, &path, what)) {
        Some(range) => header_only(range.start, range.end),
        None => Ok(Found::None),
    }
}

fn read(message: &Message, from: u64, most: usize) -> Result<Vec<u8>, ReadError> {
    let len = usize::try_from(message.len().saturating_sub(from)).unwrap_or(usize::MAX).min(most);
    let mut octets = vec![0; len];
    let mut done = 0;
    while let Some(room) = octets.get_mut(done..).filter(|room| !room.is_empty()) {
        match message.read_at(from + done as u64, room)? {
            0 => break,
            read => done += read,
        }
    }
    octets.truncate(done);
    Ok(octets)
}

/// Writes one section, or the part of it that was asked for.
pub(super) async fn tell(
    fetch: &mut Fetch,
    source: &Source<'_>,
    item: &SectionItem,
    found: Found,
    out: &Out,
) -> Result<(), Failed> {
    // `<first.count>` cuts what there is; beyond the end is empty (RFC 3501 s.6.4.5).
    let cut = |from: u64, to: u64| match item.partial {
        Some(partial) => {
            let from = from.saturating_add(partial.first.into()).min(to);
            (from, from.saturating_add(partial.count.get().into()).min(to))
        }
        None => (from, to),
    };
    let (from, to) = match &found {
        Found::None => {
            out.with(|buf| fetch.nil(item, buf));
            return Ok(());
        }
        Found::Octets(octets) => cut(0, octets.len() as u64),
        Found::Long(octets) => cut(0, *octets),
        Found::Range(from, to) => cut(*from, *to),
    };
    out.with(|buf| fetch.literal(item, to - from, buf));
    match (found, source.octets) {
        (Found::Octets(octets), _) => {
            out.stream(slice(&octets, from, to)).await;
            Ok(())
        }
        (Found::Long(_), _) => {
            // Only what is served as it is found is a range; the rest is found again.
            let sift = |message: &Message, at, _| match find(message, source.digest, item, &mut None)? {
                Found::Octets(octets) => {
                    Ok(slice(&octets, at, to).iter().copied().take(SMALL_PART).collect())
                }
                _ => Ok(Vec::new()),
            };
            step_by_step(*source, from, to, sift, out).await
        }
        (_, Octets::Store) => step_by_step(*source, from, to, read, out).await,
        (_, Octets::Here(message)) if source.small && message.whole().is_none() => {
            step_by_step(*source, from, to, read, out).await
        }
        (_, Octets::Here(message)) => stream(message, from, to, out).await,
    }
}

fn slice(octets: &[u8], from: u64, to: u64) -> &[u8] {
    let range = usize::try_from(from).unwrap_or(usize::MAX)..usize::try_from(to).unwrap_or(usize::MAX);
    octets.get(range).unwrap_or_default()
}

/// Writes octets of a message of which little is held: it is read again whenever the client has taken what was written.
async fn step_by_step(
    source: Source<'_>,
    from: u64,
    to: u64,
    take: impl Fn(&Message, u64, usize) -> Result<Vec<u8>, ReadError>,
    out: &Out,
) -> Result<(), Failed> {
    let mut at = from;
    while at < to {
        out.room_below(LOW_WATER).await;
        let want = usize::try_from(to - at).unwrap_or(SMALL_PART).min(SMALL_PART);
        let octets = source.with(|message| take(message, at, want)).map_err(|e| within(&e))?;
        if octets.is_empty() {
            return Err(too_short());
        }
        at += octets.len() as u64;
        out.with(|buf| buf.extend_from_slice(&octets));
    }
    Ok(())
}

async fn stream(message: &Message, from: u64, to: u64, out: &Out) -> Result<(), Failed> {
    if let Some(pieces) = message.whole() {
        let mut start = 0;
        for piece in pieces {
            let end = start + piece.len() as u64;
            let (a, b) = (from.clamp(start, end) - start, to.clamp(start, end) - start);
            out.stream(slice(piece, a, b)).await;
            start = end;
        }
        return Ok(());
    }
    let mut at = from;
    while at < to {
        out.room().await;
        let want = usize::try_from((to - at).min(PART)).unwrap_or(0);
        let octets = disk::blocking(|| read(message, at, want)).map_err(|e| within(&e))?;
        if octets.len() < want {
            return Err(too_short());
        }
        at += octets.len() as u64;
        out.with(|buf| buf.extend_from_slice(&octets));
    }
    Ok(())
}

fn within(error: &ReadError) -> Failed {
    tracing::error!(%error, "a message cannot be read to its end");
    Failed::Within
}

fn too_short() -> Failed {
    tracing::error!("a message is shorter than its row says");
    Failed::Within
}
