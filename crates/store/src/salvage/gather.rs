//! Everything that snapshots and segments say, in the order in which it happened, put on one pile.
//!
//! The newest good snapshot is exact: what it does not hold was given up, and only what lies behind its position is read.
//! Without one, damaged snapshots are used for what can be read in them, and the whole log is walked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use wire::ids::ModSeq;

use super::content::{Placement, Spot};
use super::ledger::{Ledger, Place, near};
use super::pile::Pile;
use super::shelf::{Main, Shelf};
use super::walk::{self, Around, Found, Seen};
use super::window::Window;
use super::{Pace, Salvage};
use crate::compact::format::{self, RECORDS};
use crate::group::{self, BORDER, HEADER};
use crate::id::{AccountId, Location};
use crate::index::state;
use crate::keys;
use crate::record::{Bad, Delivery, Kept, Record, kind};
use crate::segment::{Header, TMP};
use crate::shared::INDEX;
use crate::snapshot::format::Item;
use crate::snapshot::{self, load, read};
use crate::state::retained::seconds;
use crate::state::world::{Position, Published};
use crate::vfs::{File, read_full};

/// What copies of one delivery have in common: account, size, INTERNALDATE.
type Alike = (AccountId, u32, i64, i16);

/// What was gathered.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) pile: Pile,
    pub(crate) ledger: Ledger,
    /// All that was written since the good snapshot, or ever, is there and undamaged.
    pub(crate) whole: bool,
    /// Deliveries that are not found by their location.
    pub(crate) spots: HashMap<Location, Spot>,
    /// Side segments that a message names.
    pub(crate) named: BTreeSet<u32>,
    /// Side segments that the good snapshot knows.
    pub(crate) settled: BTreeSet<u32>,
}

/// Of the group at hand: bodies that a delivery may name which was found by searching. They lie in the stretch that was
/// searched, or right before it, and no other delivery has named them: so nobody gets another's octets.
#[derive(Debug, Default)]
struct Stretch {
    start: u64,
    bodies: BTreeSet<u32>,
    /// The last body that was followed, as long as no delivery has named it.
    unclaimed: Option<u32>,
}

impl Stretch {
    fn body(&mut self, ordinal: u32, found: &Found<'_>) {
        let is_body = found.header.kind == kind::BODY;
        if found.searched {
            self.bodies.extend(self.unclaimed.take());
            self.bodies.extend(is_body.then_some(ordinal));
        } else if is_body {
            self.unclaimed = Some(ordinal);
        }
    }
}

pub(crate) struct Gather<'a, 'b> {
    to: &'a mut Salvage<'b>,
    shelf: &'a mut Shelf,
    out: Gathered,
    headers: BTreeMap<u32, Header>,
    secrets: Vec<[u8; 16]>,
    /// The position of the good snapshot.
    base: Option<Position>,
    /// Damaged snapshots that are still to come, the oldest last.
    pieces: Vec<(u64, String)>,
    commit: ModSeq,
    time: u64,
    /// The last group that was read, or that the good snapshot stands for.
    seq: u64,
}

/// Gathers everything.
pub(crate) fn gather(to: &mut Salvage<'_>, shelf: &mut Shelf) -> io::Result<Gathered> {
    let mut gather = Gather {
        to,
        shelf,
        out: Gathered { whole: true, ..Gathered::default() },
        headers: BTreeMap::new(),
        secrets: Vec::new(),
        base: None,
        pieces: Vec::new(),
        commit: ModSeq(0),
        time: 0,
        seq: 0,
    };
    gather.first_pages()?;
    gather.snapshots()?;
    let newest = gather.pieces.iter().map(|(seq, _)| *seq).max().unwrap_or(0);
    gather.segments()?;
    gather.pieces_up_to(u64::MAX)?;
    gather.up_to(newest.max(gather.witness()));
    for path in gather.shelf.torn.clone() {
        gather.torn(&path)?;
    }
    Ok(gather.out)
}

impl Gather<'_, '_> {
    /// Something is missing, or may be other than it was written.
    fn broken(&mut self) {
        self.out.whole = false;
    }

    /// The log came to this group, at least.
    fn up_to(&mut self, seq: u64) {
        if self.seq < seq {
            self.broken();
        }
    }

    /// How far the log had come, as the index knew.
    fn witness(&self) -> u64 {
        let store = self.headers.values().next_back().map(|h| h.store);
        let known = state::read(&*self.to.vfs, INDEX).ok();
        known.filter(|known| store == Some(known.store)).map_or(0, |known| known.witness.seq)
    }

    /// First pages, and the secrets of all epochs.
    fn first_pages(&mut self) -> io::Result<()> {
        let numbers: Vec<u32> = self.shelf.mains.keys().copied().collect();
        for &number in &numbers {
            match self.shelf.header(number) {
                Some(header) => drop(self.headers.insert(number, header)),
                None => self.to.note(format!("segment {number}: its first page cannot be read"))?,
            }
        }
        let mut last = 0;
        for &number in &numbers {
            let previous = self.headers.get(&number).map_or(last, |h| h.previous);
            if previous != last && !numbers.contains(&previous) {
                self.to.note(format!("segment {previous} is missing"))?;
            }
            last = number;
        }
        let mut secrets: BTreeSet<[u8; 16]> = self.headers.values().map(|h| h.epoch.secret).collect();
        for &number in numbers.iter().filter(|n| !self.headers.contains_key(n)) {
            // Only we write where a segment's first group begins.
            let Ok(main) = self.shelf.main(number, 1) else { continue };
            let mut front = [0; HEADER];
            let read = read_full(&*main.file, &mut front, BORDER).unwrap_or(0);
            let first = group::Header::decode(&front[..read]);
            secrets.extend(first.filter(|h| (h.segment, h.offset) == (number, BORDER)).map(|h| h.secret));
        }
        self.secrets = secrets.into_iter().collect();
        Ok(())
    }

    /// The newest good snapshot goes on the pile; the newer, damaged ones come when it is their time.
    fn snapshots(&mut self) -> io::Result<()> {
        let vfs = self.to.vfs.clone();
        let store = self.headers.values().next_back().map(|h| h.store);
        let mut all: Vec<(u64, String, bool)> = Vec::new();
        match snapshot::list(&*vfs) {
            Ok(list) => all.extend(list.into_iter().map(|seq| (seq, snapshot::path_of(seq), true))),
            Err(error) => self.to.note(format!("snapshot: cannot be listed: {error}"))?,
        }
        for name in vfs.list(TMP).unwrap_or_default() {
            if let Some(seq) = name.strip_prefix("lost-").and_then(snapshot::parse_name) {
                all.push((seq, format!("{TMP}/{name}"), false));
            }
        }
        all.sort_unstable();
        while let Some((seq, path, ours)) = all.pop() {
            let good = load::verify(&*vfs, &path);
            match good {
                Ok(first) if ours && store.is_none_or(|store| store == first.store) => {
                    self.to.note(format!("{path} is good: everything up to group {seq} is as it says"))?;
                    self.exact(&path)?;
                    self.base = Some(first.position);
                    self.commit = first.position.commit;
                    self.seq = first.position.seq;
                    break;
                }
                Ok(_) if ours => self.to.note(format!("{path} belongs to another store: not used"))?,
                Ok(_) => self.pieces.push((seq, path)),
                Err(flaw) => {
                    self.to.note(format!("{path} is damaged: {flaw}"))?;
                    self.pieces.push((seq, path));
                }
            }
        }
        Ok(())
    }

    /// A good snapshot.
    fn exact(&mut self, path: &str) -> io::Result<()> {
        let mut plain = keys::Plain::default();
        let vfs = self.to.vfs.clone();
        let out = &mut self.out;
        let done = read::read(&*vfs, path, false, &mut |item| {
            match item {
                // Lines stay where they lie.
                Item::Entry { key, .. } if key.first() == Some(&keys::LINE) => {}
                Item::Entry { key, value } => drop(plain.take(&key, &value, true)),
                item => put(&mut out.pile, item),
            }
            Ok(())
        });
        done.map_err(|flaw| io::Error::other(flaw.to_string()))?;
        each_item(&self.shelf.file(path)?, path, &mut |item, place| {
            if let Item::Entry { key, value } = item
                && let Some((name, line)) = keys::line(&key, &value)
            {
                out.ledger.exact(name, line.content, place);
            }
        })?;
        let mut published = Published::default();
        if plain.put(&mut published).is_some() {
            for entry in published.dirty.retained.entries.values().filter_map(|change| change.now()) {
                out.pile.retained(entry);
            }
            out.settled.extend(published.sides.keys());
        }
        Ok(())
    }

    /// What can be read of the damaged snapshots up to a group.
    fn pieces_up_to(&mut self, seq: u64) -> io::Result<()> {
        while let Some((at, path)) = self.pieces.pop_if(|(at, _)| *at <= seq) {
            if let Err(error) = self.piece(&path) {
                self.to.note(format!("{path}: nothing more can be read from group {at} on: {error}"))?;
            }
        }
        Ok(())
    }

    fn piece(&mut self, path: &str) -> io::Result<()> {
        let file = self.shelf.file(path)?;
        let (mut items, mut end) = (0, None);
        each_item(&file, path, &mut |item, _| match item {
            Item::End(last) => end = Some(last.items),
            _ => items += 1,
        })?;
        let Gathered { pile, ledger, .. } = &mut self.out;
        // Every record of it is there, whatever its first page is like: a line that it has not was struck.
        let all = end == Some(items) && !path.starts_with(TMP);
        if all {
            ledger.clear();
        }
        each_item(&file, path, &mut |item, place| match item {
            Item::Entry { key, value } => match keys::line(&key, &value) {
                Some((name, line)) if all => ledger.exact(name, line.content, place),
                Some((name, line)) => ledger.line(name, line.content, place),
                None => entry(pile, &key, &value),
            },
            item => put(pile, item),
        })
    }

    fn segments(&mut self) -> io::Result<()> {
        let all: Vec<(u32, Vec<u32>)> = self.shelf.mains.iter().map(|(&n, g)| (n, g.clone())).collect();
        let total = all.len() as u64;
        for (done, (number, generations)) in (0..).zip(all) {
            (self.to.progress)(Pace::Reading { done, total });
            if self.base.is_some_and(|base| number < base.segment) && !self.is_broken(number, &generations) {
                continue;
            }
            for generation in generations.into_iter().rev() {
                let read = match self.shelf.main(number, generation) {
                    Ok(main) if generation == 1 => self.written(number, &main),
                    Ok(main) => self.compacted(number, &main),
                    Err(error) => Err(error),
                };
                if let Err(error) = read {
                    self.broken();
                    self.to.note(format!("segment {number}, generation {generation}: {error}"))?;
                }
            }
        }
        Ok(())
    }

    /// Whether a segment that a good snapshot stands for must be walked all the same: its records are not found by their
    /// locations.
    fn is_broken(&mut self, number: u32, generations: &[u32]) -> bool {
        generations.iter().any(|&generation| {
            generation > 1
                && self
                    .shelf
                    .main(number, generation)
                    .is_ok_and(|main| !matches!(format::open(&*main.file, number), Ok(Ok(_))))
        })
    }

    /// A segment as it was written.
    fn written(&mut self, number: u32, main: &Main) -> io::Result<()> {
        let next = self.headers.range(number + 1..).next().map(|(_, h)| h);
        let end = next.filter(|h| h.previous == number).map(|h| h.previous_end);
        let secrets = self.secrets.clone();
        let mut window = Window::new(main.file.clone())?;
        if end.is_some_and(|end| end > window.len) {
            self.to.note(format!("{}: its end is missing", main.path))?;
        }
        let mut stretch = Stretch::default();
        let path: Arc<str> = main.path.as_str().into();
        walk::segment(&mut window, walk::Known { number, secrets: &secrets, end }, &mut |seen| match seen {
            Seen::Damage { from, to, what } => {
                if !self.is_settled(number, from) {
                    self.broken();
                }
                self.to.note(format!("{path}: {what} (octets {from} to {to})"))
            }
            Seen::Gap => {
                self.out.ledger.flaw();
                Ok(())
            }
            Seen::Record(found) => {
                if stretch.start != found.around.start {
                    stretch = Stretch { start: found.around.start, ..Stretch::default() };
                    self.enter(number, &found.around)?;
                }
                self.record(number, &path, found, &mut stretch);
                Ok(())
            }
        })
    }

    /// Whether the good snapshot stands for what lies here.
    fn is_settled(&self, number: u32, start: u64) -> bool {
        self.base.is_some_and(|b| (number, start) < (b.segment, b.end))
    }

    /// A group begins.
    fn enter(&mut self, number: u32, around: &Around) -> io::Result<()> {
        if let Some(group) = around.group {
            self.pieces_up_to(group.seq.saturating_sub(1))?;
            self.commit = ModSeq(group.first_commit);
            if !self.is_settled(number, around.start) {
                self.up_to(group.seq.saturating_sub(1));
                self.seq = group.seq;
            }
        }
        self.time = around.time().map_or(self.time, seconds);
        self.out.ledger.commit();
        Ok(())
    }

    fn record(&mut self, number: u32, path: &Arc<str>, found: Found<'_>, stretch: &mut Stretch) {
        let Ok(ordinal) = u32::try_from(found.at / 8) else { return };
        let at = Location { segment: number, ordinal };
        let settled = self.is_settled(number, found.around.start);
        stretch.body(ordinal, &found);
        let record = match found.meta.map(|meta| Record::decode(&found.header, meta)) {
            Some(Ok(Some(record))) => record,
            Some(Ok(None)) => return,
            None | Some(Err(Bad::Damaged | Bad::Newer(..))) => {
                // A damaged body hides no other record.
                if found.header.kind != kind::BODY {
                    self.out.ledger.flaw();
                }
                return;
            }
        };
        if let Some(body) = body_of(&record) {
            self.name_side(number, body);
            if !found.searched {
                stretch.unclaimed.take_if(|claimed| *claimed == body.ordinal);
            }
        }
        if settled {
            return;
        }
        if !found.searched {
            return self.follow(record, at, Place { path: path.clone(), at: found.at });
        }
        // It may be what a sender wrote. So it may only be a message whose octets lie with it, and of what it says of a
        // mailbox, or a line, nothing is believed.
        let lies_here = |body: Location| body.segment == number && stretch.bodies.contains(&body.ordinal);
        match record {
            Record::Delivery(d) if lies_here(d.body) => {
                self.out.pile.stray(d.mailbox, d.account, d.row(at, ModSeq(0)), None);
            }
            Record::Kept(kept) if lies_here(kept.body) => {
                let spot = Spot { path: path.clone(), delivery: found.at, body: None };
                self.out.ledger.loose(*kept, spot);
            }
            _ => {}
        }
    }

    /// A record that is one of ours.
    fn follow(&mut self, record: Record, at: Location, place: Place) {
        let ledger = &mut self.out.ledger;
        match record {
            Record::Kept(kept) => ledger.kept(*kept, at),
            Record::Line { name, content, .. } => ledger.line(name, content, place),
            Record::LineGone { name } => ledger.gone(&name),
            record => {
                if let Record::Commit { number } = record {
                    ledger.commit();
                    self.commit = number;
                }
                self.out.pile.apply(record, self.commit, at, self.time);
            }
        }
    }

    fn name_side(&mut self, number: u32, body: Location) {
        if body.segment != number {
            self.out.named.insert(body.segment);
        }
    }

    /// A compacted segment: what its notes say, then what survived in it.
    fn compacted(&mut self, number: u32, main: &Main) -> io::Result<()> {
        let opened = format::open(&*main.file, number)?.ok();
        let front = opened.as_ref().map(|compacted| compacted.front);
        if front.is_none() {
            self.to.note(format!("{}: its first pages or its table are damaged", main.path))?;
        }
        let settled = self.base.is_some_and(|base| match front {
            Some(front) => front.last_seq <= base.seq,
            None => number < base.segment,
        });
        if !settled {
            // What its commits changed is only in snapshots.
            self.broken();
            self.seq = self.seq.max(front.map_or(0, |front| front.last_seq));
        }
        let mut window = Window::new(main.file.clone())?;
        let ordinals: HashMap<u64, u32> =
            main.places.iter().flat_map(|places| places.iter()).map(|(&o, &place)| (place, o)).collect();
        let (from, until) = (RECORDS, front.map_or(window.len, |f| f.notes_end));
        let around = Around { group: None, start: RECORDS };
        let path: Arc<str> = main.path.as_str().into();
        let mut survivors: Vec<(Delivery, Spot, Option<u32>, bool)> = Vec::new();
        let mut kept: Vec<(Kept, Spot, Option<u32>, bool)> = Vec::new();
        let mut last_body = None;
        walk::records(&mut window, around, from, until, &mut |seen| {
            let Seen::Record(Found { at, header, meta, searched, .. }) = seen else { return Ok(()) };
            let ordinal = ordinals.get(&at).copied();
            // What the table leads to is no invention.
            let searched = searched && ordinal.is_none();
            if header.kind == kind::BODY {
                last_body = Some((at, u64::from(header.data_len), searched));
                return Ok(());
            }
            match meta.map(|meta| Record::decode(&header, meta)) {
                Some(Ok(Some(Record::Delivery(delivery)))) => {
                    let body = near(last_body, &Placement::from(&*delivery), searched);
                    let spot = Spot { path: path.clone(), delivery: at, body };
                    survivors.push((*delivery, spot, ordinal, searched));
                }
                Some(Ok(Some(Record::Kept(found)))) => {
                    let body = near(last_body, &Placement::from(&*found), searched);
                    let spot = Spot { path: path.clone(), delivery: at, body };
                    kept.push((*found, spot, ordinal, searched));
                }
                Some(Ok(Some(record))) if !settled && !searched => {
                    let nowhere = Location { segment: number, ordinal: 0 };
                    self.note_of_segment(record, nowhere);
                }
                _ => {}
            }
            Ok(())
        })?;
        let mut rest = Vec::new();
        for (delivery, spot, ordinal, searched) in survivors {
            self.name_side(number, delivery.body);
            rest.extend(self.survivor(number, delivery, spot, ordinal, searched, settled));
        }
        for (found, spot, ordinal, searched) in kept {
            self.name_side(number, found.body);
            let ledger = &mut self.out.ledger;
            match searched {
                true if settled || spot.body.is_none() => {}
                true => ledger.loose(found, spot),
                false if settled => ledger.found(found, spot),
                false => {
                    let at = ordinal.map(|ordinal| Location { segment: number, ordinal });
                    ledger.survivor(&found, at, spot);
                }
            }
        }
        let known: BTreeSet<u32> = ordinals.into_values().collect();
        self.by_order(number, rest, &known, settled);
        Ok(())
    }

    /// What a compacted segment's notes say: an account's login, keywords, and rows.
    fn note_of_segment(&mut self, record: Record, at: Location) {
        match record {
            Record::Address { account, address } => {
                self.out.pile.account(account).login.get_or_insert(address);
            }
            record @ (Record::Keyword { .. } | Record::Placed { .. }) => {
                self.out.pile.apply(record, ModSeq(0), at, 0);
            }
            _ => {}
        }
    }

    /// One that survived. Given back if nobody knows which ordinal it had.
    fn survivor(
        &mut self,
        number: u32,
        delivery: Delivery,
        spot: Spot,
        ordinal: Option<u32>,
        searched: bool,
        settled: bool,
    ) -> Option<(Delivery, Spot)> {
        let pile = &mut self.out.pile;
        let key = (delivery.mailbox, delivery.uid.get());
        let there = pile.rows.get(&key).map(|known| known.row.content).filter(|at| at.segment == number);
        // Without the table, its own row tells which ordinal it had.
        let known = ordinal.map(|ordinal| Location { segment: number, ordinal }).or(there);
        match known {
            Some(at) if !searched => drop(self.out.spots.entry(at).or_insert_with(|| spot.clone())),
            None if !searched => return Some((delivery, spot)),
            _ => {}
        }
        if settled || (there.is_some() && there == known) {
            return None;
        }
        // No row names it: it was expunged, or what named it is lost.
        if ordinal.is_some() {
            let at = known.unwrap_or(Location { segment: number, ordinal: 0 });
            self.lone(delivery, at, None);
        } else if spot.body.is_some() {
            self.lone(delivery, Location { segment: number, ordinal: 0 }, Some(spot));
        }
        None
    }

    /// A delivery of which no row is known.
    fn lone(&mut self, delivery: Delivery, at: Location, spot: Option<Spot>) {
        let pile = &mut self.out.pile;
        pile.hint(delivery.mailbox, delivery.account, &delivery.path);
        pile.stray(delivery.mailbox, delivery.account, delivery.row(at, ModSeq(0)), spot);
    }

    /// Deliveries of a segment that has lost its table, in the order that they always had. Rows that name ordinals of this
    /// segment (copies: the row that a delivery itself made is gone) are of the same account, size and date; where there
    /// are as many of both, their order says which is which.
    fn by_order(&mut self, number: u32, found: Vec<(Delivery, Spot)>, known: &BTreeSet<u32>, settled: bool) {
        if found.is_empty() {
            return;
        }
        let pile = &self.out.pile;
        let mut wanted: BTreeMap<Alike, BTreeSet<u32>> = BTreeMap::new();
        let of_rows = pile
            .rows
            .iter()
            .filter_map(|((id, _), known)| Some((pile.mailboxes.get(id)?.account?, known.row)));
        let of_strays = pile.strays.iter().filter(|s| s.spot.is_none()).map(|s| (s.account, s.row));
        for (account, row) in of_rows.chain(of_strays).filter(|(_, row)| row.content.segment == number) {
            if !known.contains(&row.content.ordinal) && !self.out.spots.contains_key(&row.content) {
                let alike = (account, row.size, row.date.unix, row.date.zone_minutes);
                wanted.entry(alike).or_default().insert(row.content.ordinal);
            }
        }
        let mut groups: BTreeMap<Alike, Vec<(Delivery, Spot)>> = BTreeMap::new();
        for (d, spot) in found {
            let alike = (d.account, d.size, d.date.unix, d.date.zone_minutes);
            groups.entry(alike).or_default().push((d, spot));
        }
        for (alike, found) in groups {
            let ordinals = wanted.remove(&alike).unwrap_or_default();
            if ordinals.len() == found.len() {
                for (ordinal, (_, spot)) in ordinals.into_iter().zip(found) {
                    self.out.spots.insert(Location { segment: number, ordinal }, spot);
                }
            } else if !settled || !ordinals.is_empty() {
                let nowhere = Location { segment: number, ordinal: 0 };
                found.into_iter().for_each(|(delivery, spot)| self.lone(delivery, nowhere, Some(spot)));
            }
        }
    }

    /// A torn end: nobody was told that it is kept, but it may be whole in parts.
    fn torn(&mut self, path: &str) -> io::Result<()> {
        let file: Arc<dyn File> = match self.shelf.file(path) {
            Ok(file) => file,
            Err(error) => return self.to.note(format!("{path}: {error}")),
        };
        let mut window = Window::new(file)?;
        let (until, around) = (window.len, Around { group: None, start: 0 });
        let name: Arc<str> = path.into();
        let mut last_body = None;
        walk::records(&mut window, around, HEADER as u64, until, &mut |seen| {
            let Seen::Record(Found { at, header, meta, searched, .. }) = seen else { return Ok(()) };
            if header.kind == kind::BODY {
                last_body = Some((at, u64::from(header.data_len), searched));
            }
            match meta.map(|meta| Record::decode(&header, meta)) {
                Some(Ok(Some(Record::Delivery(d)))) => {
                    let body = near(last_body, &Placement::from(&*d), searched);
                    if body.is_some() || self.shelf.sides.contains_key(&d.body.segment) && !searched {
                        self.out.named.insert(d.body.segment);
                        let row = d.row(Location { segment: 0, ordinal: 0 }, ModSeq(0));
                        let spot = Spot { path: name.clone(), delivery: at, body };
                        self.out.pile.stray(d.mailbox, d.account, row, Some(spot));
                    }
                }
                Some(Ok(Some(Record::Kept(kept)))) => {
                    let body = near(last_body, &Placement::from(&*kept), searched);
                    if body.is_some() || self.shelf.sides.contains_key(&kept.body.segment) && !searched {
                        self.out.named.insert(kept.body.segment);
                        let spot = Spot { path: name.clone(), delivery: at, body };
                        self.out.ledger.loose(*kept, spot);
                    }
                }
                _ => {}
            }
            Ok(())
        })
    }
}

/// The body of a message that a record is about.
fn body_of(record: &Record) -> Option<Location> {
    match record {
        Record::Delivery(delivery) => Some(delivery.body),
        Record::Kept(kept) => Some(kept.body),
        _ => None,
    }
}

/// Everything that can be read in a snapshot, with where it lies.
fn each_item(file: &Arc<dyn File>, path: &str, each: &mut dyn FnMut(Item, Place)) -> io::Result<()> {
    let mut window = Window::new(file.clone())?;
    let (until, around) = (window.len, Around { group: None, start: 0 });
    let path: Arc<str> = path.into();
    // Nothing that a sender wrote is in a snapshot as it came: what is searched for is as good as what is followed.
    walk::records(&mut window, around, snapshot::format::PAGE as u64, until, &mut |seen| {
        if let Seen::Record(Found { at, header, meta: Some(meta), .. }) = seen
            && let Ok(Some(item)) = Item::decode(&header, meta)
        {
            each(item, Place { path: path.clone(), at });
        }
        Ok(())
    })
}

/// What a snapshot's record says.
fn put(pile: &mut Pile, item: Item) {
    match item {
        Item::Said(record) => pile.apply(record, ModSeq(0), Location { segment: 0, ordinal: 0 }, 0),
        Item::Rows { mailbox, blocks } => {
            blocks.iter().flat_map(|b| b.rows()).for_each(|row| pile.place(mailbox, row));
        }
        Item::Entry { .. } | Item::Head { .. } | Item::Vanished { .. } | Item::End(_) => {}
    }
}

/// What an entry of a damaged snapshot says: as much as stands for itself.
fn entry(pile: &mut Pile, key: &[u8], value: &[u8]) {
    if let Some((number, side)) = keys::side(key, value) {
        pile.sides.entry(number).or_insert(Some(side.octets));
    } else if let Some(block) = keys::retained_block(key, value)
        && let Some(id) = keys::retained_from(key)
        && let Some(account) = pile.mailbox(id).account
    {
        block.rows().for_each(|row| pile.stray(id, account, row, None));
    }
}
