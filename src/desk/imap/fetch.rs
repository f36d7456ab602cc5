//! FETCH and UID FETCH (RFC 3501 s.6.4.5, s.7.4.2).
//!
//! Rows are taken in pieces, the octets of a piece are read in one step of about 1 MiB (neighbours together), and
//! only then written, at the client's pace. A large message is read as it is written; and so is one of any size while
//! other clients hold all that may be read ahead, for whoever takes nothing would hold it for as long as it likes.

use std::collections::VecDeque;
use std::sync::Arc;

use store::{Batch, FlagChange, Intent, Message, Messages as Reading, ReadError, Row, Store, View};
use wire::flag::{FlagNames, Keyword, SystemFlag, SystemFlags};
use wire::ids::{Runs, SeqNum, Uid};
use wire::imap::command::Messages;
use wire::imap::date::DateTime;
use wire::imap::fetch::{FetchItem, SectionText};
use wire::imap::response::Fetch;
use wire::imap::session::Ended;

use super::recents::lower_bound;
use super::section::{self, Source};
use super::selected::{keywords_of, write};
use super::{FULL, ImapDesk, Outcome, SMALL_STEP, STEP, error};
use crate::disk;
use crate::mime::{self, Digest};
use crate::net::Out;

/// Messages of one piece.
const PIECE: usize = 256;

/// What the items asked for need besides the row.
struct Needs {
    message: bool,
    digest: bool,
    /// Where the header ends. A message that is not in memory is not read for that: its digest knows.
    header: bool,
    sets_seen: bool,
}

impl Needs {
    fn of(items: &[FetchItem]) -> Needs {
        let digest = |item: &FetchItem| match item {
            FetchItem::Envelope | FetchItem::Body | FetchItem::BodyStructure => true,
            FetchItem::Section(s) => !s.section.part.is_empty(),
            _ => false,
        };
        let header = |item: &FetchItem| match item {
            FetchItem::Section(s) => s.section.part.is_empty() && s.section.text != SectionText::All,
            _ => false,
        };
        Needs {
            header: items.iter().any(header),
            message: items.iter().any(|item| matches!(item, FetchItem::Section(_))),
            digest: items.iter().any(digest),
            sets_seen: items.iter().any(FetchItem::sets_seen),
        }
    }
}

/// A message to be told.
struct Loaded {
    seq: SeqNum,
    row: Row,
    recent: bool,
    /// `\Seen` has just been set.
    seen: bool,
    message: Option<Octets>,
    digest: Option<Arc<[u8]>>,
}

/// Where a message's octets are.
pub(super) enum Octets {
    /// In memory, or in a file that is open.
    Here(Message),
    /// In the store. It is asked for each step of what is written.
    Store,
}

/// Why a message's answer could not be given.
pub(super) enum Failed {
    /// Nothing of it has been written.
    Before(ReadError),
    /// Something of it has: the connection cannot go on.
    Within,
}

impl ImapDesk {
    pub(super) async fn fetch(&mut self, messages: &Messages, items: &[FetchItem], out: &Out) -> Outcome {
        let uids = self.selected()?.uids(messages)?;
        let needs = Needs::of(items);
        let now = self.now_to_tell(out)?;
        if !needs.message && !needs.digest {
            self.fetch_rows(&uids, items, &now, out).await?;
            return Ok(Ended::ok("Fetched"));
        }
        let told = self.selected()?.told().clone();
        let mut rows = Rows::new(&told, &now, &uids);
        let mut failed = None;
        loop {
            let mut held = self.ahead.take(3 * STEP + 4 * FULL as u64);
            let small = held.is_none();
            let step = if small { SMALL_STEP } else { STEP };
            let mut piece = VecDeque::new();
            let mut octets = 0;
            while piece.len() < PIECE && octets < step {
                let Some((seq, row)) = rows.next() else { break };
                octets += if needs.message { u64::from(row.size) } else { 0 };
                let recent = self.selected()?.is_recent(&row);
                piece.push_back(Loaded { seq, row, recent, seen: false, message: None, digest: None });
            }
            if piece.is_empty() {
                break;
            }
            if let Some(held) = &mut held {
                // Digests are loaded up to a STEP; a message beyond that is not in memory. The output has two buffers.
                let digests = if needs.digest { STEP } else { 0 };
                held.keep(octets.min(2 * STEP) + digests + 4 * FULL as u64);
            }
            if needs.sets_seen && !self.selected()?.read_only {
                self.set_seen(&mut piece, &now).await;
            }
            while !piece.is_empty() {
                let store = &self.store;
                let (loaded, read) = disk::blocking(|| load(store, piece.make_contiguous(), &needs, step));
                failed = failed.or(read.err().map(|e| error::read(&e)));
                for loaded in piece.drain(..loaded) {
                    match tell(store, &loaded, items, &needs, now.keywords(), small, out).await {
                        Ok(()) => {}
                        Err(Failed::Before(e)) => failed = Some(error::read(&e)),
                        // Ended here it would pass for all of the message: the client must see that it is not.
                        Err(Failed::Within) => {
                            self.broken_off = true;
                            return Ok(Ended::bad("Broken off"));
                        }
                    }
                }
            }
        }
        match failed {
            Some(refused) => Err(refused),
            None => Ok(Ended::ok("Fetched")),
        }
    }

    /// FETCH of what is in the rows: no octets are read, nothing is gathered.
    async fn fetch_rows(&self, uids: &Runs, items: &[FetchItem], now: &View, out: &Out) -> Result<(), Ended> {
        let selected = self.selected()?;
        let told = selected.told().clone();
        let mut rows = Rows::new(&told, now, uids);
        let keywords = now.keywords();
        loop {
            out.room().await;
            let more = out.with(|buf| {
                while buf.len() < FULL {
                    let Some((seq, row)) = rows.next() else { return false };
                    let mut fetch = Fetch::begin(seq, buf);
                    for item in items {
                        tell_row_item(&mut fetch, item, &row, selected.is_recent(&row), keywords, buf);
                    }
                    fetch.end(buf);
                }
                true
            });
            if !more {
                return Ok(());
            }
            // A long answer to a fast client shall not keep the thread to itself.
            tokio::task::yield_now().await;
        }
    }

    /// Sets `\Seen` where it is not, in one commit. A store that cannot write keeps nobody from reading.
    async fn set_seen(&mut self, piece: &mut VecDeque<Loaded>, now: &View) {
        let unseen =
            piece.iter().filter(|l| !l.row.flags.has(SystemFlag::Seen) && now.row(l.row.uid).is_some());
        let uids: Runs = unseen.map(|l| l.row.uid.get()).collect();
        if uids.is_empty() {
            return;
        }
        let seen = FlagNames { system: SystemFlags::NONE.with(SystemFlag::Seen), keywords: Vec::new() };
        let intent = Intent::Flags {
            mailbox: now.id(),
            uids: uids.clone(),
            change: FlagChange::Add(seen),
            unchanged_since: None,
        };
        match disk::commit(&self.store, Batch::of(intent)).await {
            Ok(committed) => {
                if let Some(selected) = &mut self.selected {
                    selected.did(committed.at);
                }
                for loaded in piece.iter_mut().filter(|l| uids.contains(l.row.uid.get())) {
                    loaded.row.flags = loaded.row.flags.with(SystemFlag::Seen);
                    loaded.seen = true;
                }
            }
            Err(error) => tracing::warn!(%error, "messages could not be marked as seen"),
        }
    }
}

/// The messages of a set of UIDs that the client knows, with their numbers: as they are now, or as they were if they
/// are gone.
struct Rows<'a> {
    told: &'a View,
    now: &'a View,
    same: bool,
    runs: std::slice::Iter<'a, (u32, u32)>,
    at: u32,
    to: u32,
}

impl<'a> Rows<'a> {
    fn new(told: &'a View, now: &'a View, uids: &'a Runs) -> Rows<'a> {
        let same = told.highest_modseq() == now.highest_modseq();
        Rows { told, now, same, runs: uids.as_slice().iter(), at: 0, to: 0 }
    }
}

impl Iterator for Rows<'_> {
    type Item = (SeqNum, Row);

    fn next(&mut self) -> Option<(SeqNum, Row)> {
        while self.at >= self.to {
            let &(from, to) = self.runs.next()?;
            let exact = |uid: u32| Uid::new(uid).and_then(|uid| self.told.position(uid));
            self.at = exact(from).unwrap_or_else(|| lower_bound(self.told, |row| row.uid.get() < from));
            self.to = match exact(to) {
                Some(at) => at + 1,
                None => lower_bound(self.told, |row| row.uid.get() <= to),
            };
        }
        let told = self.told.at(self.at)?;
        self.at += 1;
        let row = if self.same { told } else { self.now.row(told.uid).unwrap_or(told) };
        Some((SeqNum::new(self.at)?, row))
    }
}

/// Reads what the items need of the first messages, as many as may be held at once; tells how many. Messages that
/// cannot be read are left out; the first reason is told.
fn load(store: &Store, piece: &mut [Loaded], needs: &Needs, step: u64) -> (usize, Result<(), ReadError>) {
    let rows: Vec<Row> = piece.iter().map(|l| l.row).collect();
    let mut messages = store.messages(&rows);
    let mut result = Ok(());
    let (mut done, mut held) = (0, 0);
    for loaded in piece {
        if held >= step {
            break;
        }
        done += 1;
        match load_one(store, loaded, needs, step, &mut messages) {
            Ok(()) => held += loaded.digest.as_ref().map_or(0, |digest| digest.len() as u64),
            Err(e) => {
                loaded.message = None;
                result = result.and(Err(e));
            }
        }
    }
    (done, result)
}

fn load_one(
    store: &Store,
    loaded: &mut Loaded,
    needs: &Needs,
    step: u64,
    messages: &mut Reading<'_>,
) -> Result<(), ReadError> {
    let mut large = false;
    if needs.message {
        let Some((_, message)) = messages.next() else { return Ok(()) };
        let message = message?;
        large = message.whole().is_none();
        let fits = large || message.len() <= step;
        loaded.message = Some(if fits { Octets::Here(message) } else { Octets::Store });
    }
    if needs.digest || needs.header && large {
        loaded.digest = Some(digest(store, &loaded.row)?);
    }
    Ok(())
}

/// A message's digest; made anew when the one that is kept cannot be read.
pub(super) fn digest(store: &Store, row: &Row) -> Result<Arc<[u8]>, ReadError> {
    let kept = store.digest(row)?;
    if Digest::read(&kept).is_some() {
        return Ok(kept);
    }
    tracing::warn!(uid = %row.uid, "a digest is not what it should be");
    Ok(mime::derive(&mut store.message(row)?)?.into())
}

fn tell_row_item(
    fetch: &mut Fetch,
    item: &FetchItem,
    row: &Row,
    recent: bool,
    keywords: &[Keyword],
    buf: &mut Vec<u8>,
) {
    match item {
        FetchItem::Uid => fetch.uid(row.uid, buf),
        FetchItem::Flags => fetch.flags(row.flags, recent, keywords_of(row, keywords), buf),
        FetchItem::InternalDate => {
            fetch.internal_date(DateTime { unix: row.date.unix, zone_minutes: row.date.zone_minutes }, buf);
        }
        FetchItem::Size => fetch.size(row.size, buf),
        _ => {}
    }
}

/// Writes one message's answer.
async fn tell(
    store: &Store,
    loaded: &Loaded,
    items: &[FetchItem],
    needs: &Needs,
    keywords: &[Keyword],
    small: bool,
    out: &Out,
) -> Result<(), Failed> {
    // What could not be read has been reported by `load`.
    if needs.message && loaded.message.is_none() || needs.digest && loaded.digest.is_none() {
        return Ok(());
    }
    let digest = loaded.digest.as_deref().and_then(Digest::read);
    // All that can fail comes before the first octet, but for the rest of what is not in memory.
    let mut found = Vec::new();
    let mut header = None;
    for item in items {
        if let (FetchItem::Section(item), Some(octets)) = (item, &loaded.message) {
            let source = Source { store, row: &loaded.row, octets, digest: digest.as_ref(), small };
            found.push(source.find(item, &mut header).map_err(Failed::Before)?);
        }
    }
    let mut found = found.into_iter();
    let row = &loaded.row;
    let mut fetch = out.with(|buf| Fetch::begin(loaded.seq, buf));
    for item in items {
        match item {
            FetchItem::Section(item) => {
                let (Some(octets), Some(found)) = (&loaded.message, found.next()) else { continue };
                let source = Source { store, row, octets, digest: digest.as_ref(), small };
                section::tell(&mut fetch, &source, item, found, out).await?;
            }
            FetchItem::Envelope => {
                let envelope = digest.as_ref().and_then(|d| d.root()?.envelope()).unwrap_or_default();
                write(out, |buf| fetch.envelope(&envelope, buf)).await;
            }
            FetchItem::Body | FetchItem::BodyStructure => {
                let Some(structure) = digest.as_ref().and_then(|d| d.structure(0)) else { continue };
                let extensible = *item == FetchItem::BodyStructure;
                let tell = if extensible { Fetch::body_structure } else { Fetch::body };
                write(out, |buf| tell(&mut fetch, &structure, buf)).await;
            }
            _ => out.with(|buf| tell_row_item(&mut fetch, item, row, loaded.recent, keywords, buf)),
        }
    }
    let flags_too = loaded.seen && !items.contains(&FetchItem::Flags);
    write(out, |buf| {
        if flags_too {
            // RFC 3501 s.6.4.5: the client hears that it has been marked.
            tell_row_item(&mut fetch, &FetchItem::Flags, row, loaded.recent, keywords, buf);
        }
        fetch.end(buf);
    })
    .await;
    Ok(())
}
