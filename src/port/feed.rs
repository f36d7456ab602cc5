//! What stands between a source and a sink: names become mailboxes, fates are counted, and what did not come over is
//! remembered with its reason.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;

use serde::Serialize;
use store::InternalDate;
use wire::flag::{FlagNames, SpecialUse};

use super::names::Placing;
use super::store_sink::too_large;
use super::{Error, Fate, Item, Look, Place, Sink, Spot, fields};

/// Refusals that are told one by one; more are counted.
const TOLD: usize = 1_000;

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Messages whose fate is known.
    pub messages: u64,
    /// Octets of the source that have been read...
    pub read: u64,
    /// ...out of so many; 0 if nobody knows.
    pub total: u64,
}

/// What became of a mailbox's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// They are there now.
    pub placed: u64,
    /// They were there already.
    pub duplicates: u64,
    /// They are not there.
    pub refused: u64,
    /// They are there without some of their keywords: the mailbox has no room for more names of keywords.
    #[serde(skip_serializing_if = "is_none")]
    pub keywords_left_out: u64,
    /// Whether the mailbox is new.
    pub made: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_none(n: &u64) -> bool {
    *n == 0
}

/// By how much what would come over is too much for the account's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OverQuota {
    /// Messages too many.
    pub messages: u64,
    /// Octets too many.
    pub octets: u64,
}

/// Something that did not come over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Which message or file.
    pub what: String,
    /// In words.
    pub why: String,
}

/// What came of an import or export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing was changed, but only looked at.
    pub dry_run: bool,
    /// Messages that are there now, whatever the number of their mailboxes.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// Messages that were there already, in all of their mailboxes.
    pub duplicates: u64,
    /// Messages that did not come over.
    pub refused: u64,
    /// Files that are no mail.
    pub not_mail: u64,
    /// Messages that were deleted at the source and only not yet purged from the file.
    pub deleted: u64,
    /// By mailbox.
    pub mailboxes: BTreeMap<String, Count>,
    /// Mailboxes whose names had to be changed: from, to.
    pub renamed: Vec<(String, String)>,
    /// What did not come over, with reasons: the first thousand.
    pub refusals: Vec<Refusal>,
    /// After a dry run: what the account has no room for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over_quota: Option<OverQuota>,
    /// What mailboxes hold more, a message in two of them counted twice: messages...
    #[serde(skip)]
    pub copies: u64,
    /// ...and octets.
    #[serde(skip)]
    pub storage: u64,
}

impl Report {
    /// Whether everything came over.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.refused == 0 && self.not_mail == 0 && self.refusals.is_empty() && self.over_quota.is_none()
    }

    pub(super) fn tell(&mut self, what: impl fmt::Display, why: impl fmt::Display) {
        if self.refusals.len() < TOLD {
            // Both may quote what came from outside.
            let short = |text: String| text.chars().filter(|c| !c.is_control()).take(300).collect();
            self.refusals.push(Refusal { what: short(what.to_string()), why: short(why.to_string()) });
        }
    }
}

/// Which message of a source.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// A file.
    File(Rc<str>),
    /// A message of a file or mailbox, by its number or UID.
    Number(Rc<str>, u64),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(name) => f.write_str(name),
            Origin::Number(name, number) => write!(f, "{name}, message {number}"),
        }
    }
}

/// A message of a source, with everything but its octets.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub origin: Origin,
    pub to: Vec<Spot>,
    pub flags: FlagNames,
    /// `None`: what its own header says.
    pub date: Option<InternalDate>,
}

struct Waiting {
    origin: Origin,
    to: Vec<Spot>,
    octets: u64,
}

/// Gives a source's messages to a sink.
pub struct Feed<'a> {
    sink: &'a mut dyn Sink,
    watch: &'a mut dyn FnMut(&Progress),
    pub(super) placing: Placing,
    report: Report,
    progress: Progress,
    /// By the place's name: its mailbox, or none if it cannot be had.
    spots: HashMap<(String, bool), Option<Spot>>,
    paths: HashMap<Spot, String>,
    waiting: VecDeque<Waiting>,
}

impl<'a> Feed<'a> {
    /// For a sink; `watch` is told now and then how far it is. Everything goes below the mailbox `into`, if it is given.
    pub fn new(
        sink: &'a mut dyn Sink,
        into: Option<String>,
        dry_run: bool,
        watch: &'a mut dyn FnMut(&Progress),
    ) -> Feed<'a> {
        Feed {
            sink,
            watch,
            placing: Placing { into },
            report: Report { dry_run, ..Report::default() },
            progress: Progress::default(),
            spots: HashMap::new(),
            paths: HashMap::new(),
            waiting: VecDeque::new(),
        }
    }

    /// The source has so many octets.
    pub(super) fn total(&mut self, octets: u64) {
        self.progress.total = octets;
        (self.watch)(&self.progress);
    }

    /// So many more octets of the source have been read.
    pub(super) fn read(&mut self, octets: u64) {
        self.progress.read = self.progress.read.saturating_add(octets);
        (self.watch)(&self.progress);
    }

    /// The mailbox for a mailbox of the source.
    pub(super) fn mailbox(
        &mut self,
        levels: &[String],
        special_use: Option<SpecialUse>,
    ) -> Result<Option<Spot>, Error> {
        let (place, mended) = self.placing.place(levels, special_use);
        self.open(place, mended)
    }

    /// The mailbox for a source that is one mailbox.
    pub(super) fn only_mailbox(&mut self, name: &str) -> Result<Option<Spot>, Error> {
        let (place, mended) = self.placing.only(name);
        self.open(place, mended)
    }

    /// A mailbox of this very name.
    pub(super) fn open(&mut self, place: Place, mended: Option<String>) -> Result<Option<Spot>, Error> {
        let key = (place.name.clone(), place.by_use);
        if let Some(spot) = self.spots.get(&key) {
            return Ok(*spot);
        }
        let spot = match self.sink.mailbox(&place) {
            Ok(opened) => {
                let count = self.report.mailboxes.entry(opened.path.clone()).or_default();
                count.made |= opened.made;
                if let Some(from) = mended {
                    self.report.renamed.push((from, opened.path.clone()));
                }
                self.paths.insert(opened.spot, opened.path);
                Some(opened.spot)
            }
            Err(error @ Error::NoMailbox { .. }) => {
                self.report.tell(format_args!("the mailbox {}", place.name), error);
                None
            }
            Err(error) => return Err(error),
        };
        self.spots.insert(key, spot);
        Ok(spot)
    }

    /// Which of these the mailbox has already.
    pub(super) fn known(&mut self, spot: Spot, looks: &[Look]) -> Result<Vec<bool>, Error> {
        self.sink.known(spot, looks)
    }

    /// A message that is there already, and did not have to be read.
    pub(super) fn was_there(&mut self, spot: Spot) {
        self.progress.messages += 1;
        self.report.duplicates += 1;
        self.count(spot).duplicates += 1;
    }

    /// A message that would come over, in a dry run that need not read it.
    pub(super) fn would_come(&mut self, spot: Spot, octets: u64) {
        self.progress.messages += 1;
        self.report.messages += 1;
        self.report.octets += octets;
        self.report.copies += 1;
        self.report.storage += octets;
        self.count(spot).placed += 1;
    }

    fn count(&mut self, spot: Spot) -> &mut Count {
        let path = self.paths.get(&spot).cloned().unwrap_or_default();
        self.report.mailboxes.entry(path).or_default()
    }

    /// Takes a message.
    pub(super) fn put(&mut self, message: Message, octets: &[u8]) -> Result<(), Error> {
        let Message { origin, to, flags, date } = message;
        let length = octets.len() as u64;
        if length > wire::limits::STORED_MESSAGE {
            self.refuse(origin, too_large());
            return Ok(());
        }
        if to.is_empty() {
            self.refuse(origin, "its mailbox cannot be had");
            return Ok(());
        }
        let date = date.or_else(|| fields::date_of(octets));
        let item = Item { to, flags, date, length };
        let mut rest = octets;
        self.sink.put(&item, &mut rest)?;
        self.waiting.push_back(Waiting { origin, to: item.to, octets: length });
        self.hear()
    }

    /// Hears what became of messages.
    fn hear(&mut self) -> Result<(), Error> {
        for fates in self.sink.fates() {
            let Some(waiting) = self.waiting.pop_front() else {
                return Err(Error::Talk("a fate of no message".into()));
            };
            let (mut placed, mut refused) = (0, None);
            for (spot, fate) in waiting.to.iter().zip(&fates) {
                let count = self.count(*spot);
                match fate {
                    Fate::Placed | Fate::PlacedWithout(_) => {
                        placed += 1;
                        count.placed += 1;
                        count.keywords_left_out += u64::from(*fate != Fate::Placed);
                    }
                    Fate::Duplicate => count.duplicates += 1,
                    Fate::Refused(why) => {
                        count.refused += 1;
                        refused = Some(why.clone());
                    }
                }
            }
            self.progress.messages += 1;
            self.report.copies += placed;
            self.report.storage += placed * waiting.octets;
            if let Some(why) = refused {
                self.report.refused += 1;
                self.report.tell(&waiting.origin, why);
            } else if placed > 0 {
                self.report.messages += 1;
                self.report.octets += waiting.octets;
            } else {
                self.report.duplicates += 1;
            }
        }
        Ok(())
    }

    /// A message that cannot come over.
    pub(super) fn refuse(&mut self, what: impl fmt::Display, why: impl fmt::Display) {
        self.progress.messages += 1;
        self.report.refused += 1;
        self.report.tell(what, why);
    }

    /// A file that is no mail.
    pub(super) fn not_mail(&mut self, what: impl fmt::Display, why: impl fmt::Display) {
        self.report.not_mail += 1;
        self.report.tell(what, why);
    }

    /// A message that was deleted at the source.
    pub(super) fn deleted(&mut self) {
        self.report.deleted += 1;
    }

    /// Whether nothing is to be changed.
    pub(super) fn is_dry(&self) -> bool {
        self.report.dry_run
    }

    /// The end: waits until every fate is known. The report tells what came over even when something ended the run.
    pub fn finish(mut self, ran: Result<(), Error>) -> (Report, Result<(), Error>) {
        let result = ran.and_then(|()| self.sink.finish());
        let heard = self.hear();
        for left in std::mem::take(&mut self.waiting) {
            self.report.refused += 1;
            self.report.tell(&left.origin, "the run ended before it was known to be there");
        }
        (self.watch)(&self.progress);
        (self.report, result.and(heard))
    }
}
