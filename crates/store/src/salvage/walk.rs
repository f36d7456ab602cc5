//! A main segment's groups and records, however damaged it is.
//!
//! A group begins on a border with a header that holds the epoch's secret: no message can pass for one. From a group's
//! beginning its records are *followed*, one after another: each says how long it is, so what a body holds is never
//! looked at. That goes on when the group's own header is lost, since a group begins where the one before ends.
//!
//! Behind a record whose header is damaged nobody knows where the next begins. From there to the next group's beginning
//! records are *searched* for, on borders of 8 octets. The chain does not help: it says whether a whole group is as it
//! was, nothing about its parts, and whoever wrote the message of which the header is lost knows what he wrote. So a
//! record that was found by searching may be a sender's invention, and is used for nothing but a message of that very
//! stretch (`gather` sees to that): never for flags, accounts, or octets of somebody else.

use std::io;

use super::window::Window;
use crate::group::{self, BORDER, HEADER};
use crate::id::UnixTime;
use crate::record::{self, Header};

/// The group that records are in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    /// Its header, if that can be read.
    pub(crate) group: Option<group::Header>,
    /// Where it begins: what was searched for belongs together only within it.
    pub(crate) start: u64,
}

impl Around {
    pub(crate) fn time(&self) -> Option<UnixTime> {
        self.group.map(|g| g.time)
    }
}

/// A record that was found.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) around: Around,
    /// Where in the file it begins.
    pub(crate) at: u64,
    pub(crate) header: Header,
    /// `None` if it is damaged.
    pub(crate) meta: Option<&'a [u8]>,
    /// Whether it was searched for, not followed.
    pub(crate) searched: bool,
}

/// What a walk comes by.
#[derive(Debug)]
pub(crate) enum Seen<'a> {
    Record(Found<'a>),
    /// A stretch that is not what was written.
    Damage {
        from: u64,
        to: u64,
        what: &'static str,
    },
    /// Records may be missing between the one before and the next.
    Gap,
}

pub(crate) type Tell<'a> = &'a mut dyn FnMut(Seen<'_>) -> io::Result<()>;

/// What is known of a segment before it is walked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    pub(crate) number: u32,
    pub(crate) secrets: &'a [[u8; 16]],
    /// Where the next segment says that this one ends.
    pub(crate) end: Option<u64>,
}

/// Walks all of a segment as it was written.
pub(crate) fn segment(window: &mut Window, known: Known<'_>, tell: Tell<'_>) -> io::Result<()> {
    let end = known.end.unwrap_or(window.len).min(window.len);
    let mut offset = BORDER;
    while offset < end {
        if let Some(header) = group_at(window, offset, known)? {
            let after = header.total().and_then(|n| offset.checked_add(n)).unwrap_or(end).min(end);
            let whole = group::check_file(&header, &*window.file)?.is_some();
            if !whole {
                tell(Seen::Damage { from: offset, to: after, what: "a group is damaged" })?;
            }
            let records = offset + HEADER as u64;
            let until = records.saturating_add(header.length).min(end);
            let around = Around { group: Some(header), start: offset };
            self::records(window, around, records, until, tell)?;
            offset = after;
            continue;
        }
        let next = next_group(window, offset + BORDER, end, known)?.unwrap_or(end);
        if first_octet(window, offset, next)?.is_none() {
            // Nothing was written here yet, or it was wiped out: either way there is nothing to be had.
            offset = next;
            continue;
        }
        tell(Seen::Damage { from: offset, to: next, what: "a group's header is damaged" })?;
        let around = Around { group: None, start: offset };
        records(window, around, offset + HEADER as u64, next, tell)?;
        offset = next;
    }
    Ok(())
}

/// Whether a group of this segment begins here.
pub(crate) fn group_at(
    window: &mut Window,
    offset: u64,
    known: Known<'_>,
) -> io::Result<Option<group::Header>> {
    let header = window.at(offset, HEADER as u64)?.and_then(group::Header::decode);
    Ok(header
        .filter(|h| known.secrets.contains(&h.secret) && (h.segment, h.offset) == (known.number, offset)))
}

/// Where the next group begins.
pub(crate) fn next_group(
    window: &mut Window,
    from: u64,
    end: u64,
    known: Known<'_>,
) -> io::Result<Option<u64>> {
    let mut offset = from;
    while offset < end {
        let Some(data) = window.file.data_after(offset)? else { return Ok(None) };
        offset = offset.max(data / BORDER * BORDER);
        if offset < end && group_at(window, offset, known)?.is_some() {
            return Ok(Some(offset));
        }
        offset += BORDER;
    }
    Ok(None)
}

/// The first octet in a stretch that is not zero.
pub(crate) fn first_octet(window: &mut Window, from: u64, to: u64) -> io::Result<Option<u64>> {
    let mut offset = from;
    while offset < to {
        let Some(data) = window.file.data_after(offset)? else { return Ok(None) };
        offset = offset.max(data);
        let length = to.saturating_sub(offset).min(64 << 10);
        let Some(octets) = window.at(offset, length)? else { return Ok(None) };
        if let Some(n) = octets.iter().position(|&b| b != 0) {
            return Ok(Some(offset + n as u64));
        }
        offset += length.max(1);
    }
    Ok(None)
}

/// Follows records from a place where one is known to begin; behind a damaged one, searches.
pub(crate) fn records(
    window: &mut Window,
    around: Around,
    from: u64,
    until: u64,
    tell: Tell<'_>,
) -> io::Result<()> {
    let (mut at, mut searched) = (from, false);
    while at + record::HEADER as u64 <= until {
        let header = match window.header(at)? {
            Some(header) => header,
            None => {
                tell(Seen::Gap)?;
                let Some(found) = search(window, at + 8, until)? else { return Ok(()) };
                (at, searched) = (found, true);
                continue;
            }
        };
        let meta = window.meta(at, &header)?;
        tell(Seen::Record(Found { around, at, header, meta, searched }))?;
        match at.checked_add(header.total()).filter(|&next| next <= until) {
            Some(next) => at = next,
            // It says that it is longer than what it is in.
            None => return tell(Seen::Gap),
        }
    }
    Ok(())
}

/// The next place where a record may begin.
fn search(window: &mut Window, from: u64, until: u64) -> io::Result<Option<u64>> {
    let mut at = from.next_multiple_of(8);
    while at + record::HEADER as u64 <= until {
        if let Some(header) = window.header(at)?
            && at.checked_add(header.total()).is_some_and(|end| end <= until)
            && window.meta(at, &header)?.is_some()
        {
            return Ok(Some(at));
        }
        at += 8;
    }
    Ok(None)
}
