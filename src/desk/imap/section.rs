//! `BODY[..]` and its older names: where a section is in the message, and its octets at the client's pace
//! (RFC 3501 s.6.4.5).

use store::{Message, ReadError};
use wire::imap::fetch::{FieldName, SectionItem, SectionText};
use wire::imap::response::Fetch;

use super::fetch::Failed;
use crate::disk;
use crate::mime::{self, Digest, What};
use crate::net::Out;

/// Octets of a message that are read and written at a time when it is not in memory.
const PART: u64 = 256 * 1024;
/// Octets of a header in which fields are looked for. A header beyond that is served whole, but not sifted.
const HEADER: usize = 4 * wire::limits::HEADER;

/// What a section is, once it has been found.
pub(super) enum Found {
    None,
    Range(u64, u64),
    Octets(Vec<u8>),
}

/// Where a section is. `header` is the length of the message's header, once it has been looked for.
pub(super) fn find(
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
    message: &Message,
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
    match found {
        Found::None => out.with(|buf| fetch.nil(item, buf)),
        Found::Octets(octets) => {
            let (from, to) = cut(0, octets.len() as u64);
            let range = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
            out.with(|buf| fetch.literal(item, to - from, buf));
            out.stream(octets.get(range).unwrap_or_default()).await;
        }
        Found::Range(from, to) => {
            let (from, to) = cut(from, to);
            out.with(|buf| fetch.literal(item, to - from, buf));
            stream(message, from, to, out).await?;
        }
    }
    Ok(())
}

async fn stream(message: &Message, from: u64, to: u64, out: &Out) -> Result<(), Failed> {
    if let Some(pieces) = message.whole() {
        let mut start = 0;
        for piece in pieces {
            let end = start + piece.len() as u64;
            let (a, b) = (from.clamp(start, end) - start, to.clamp(start, end) - start);
            let range = usize::try_from(a).unwrap_or(0)..usize::try_from(b).unwrap_or(0);
            out.stream(piece.get(range).unwrap_or_default()).await;
            start = end;
        }
        return Ok(());
    }
    let mut at = from;
    while at < to {
        let want = usize::try_from((to - at).min(PART)).unwrap_or(0);
        let octets = disk::blocking(|| read(message, at, want)).map_err(|e| {
            tracing::error!(error = %e, "a message cannot be read to its end");
            Failed::Within
        })?;
        if octets.len() < want {
            tracing::error!("a message is shorter than its row says");
            return Err(Failed::Within);
        }
        at += octets.len() as u64;
        out.stream(&octets).await;
    }
    Ok(())
}
