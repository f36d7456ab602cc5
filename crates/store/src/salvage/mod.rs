//! What is left of a data directory, whatever has happened to it: every message that can be read, with its account, its
//! mailbox and its flags as far as anything says them. Nothing in the directory is changed.
//!
//! It stops at nothing: where the disk fails there are zeros (`vfs::Patient`), what is damaged is passed over and said,
//! what is missing is missed. `gather` puts what snapshots and segments say on a pile, `give` looks for each message's
//! octets and hands it to a [`Sink`]; `walk` goes through a damaged segment, and says what may be believed there.
//!
//! A message is given once for each mailbox that it is in. One that was expunged and can still be read, or of which
//! nobody knows any more where it was, goes to [`Folder::Recovered`], unless the account has it anyway. What the newest
//! good snapshot does not hold, or the log says was given up, is gone on purpose.
//!
//! What is in no mailbox is in the [`Books`]: the sink is given them to read, for it knows what their lines mean and which
//! of their messages anybody still waits for.

mod books;
mod content;
mod gather;
mod give;
mod ledger;
mod pile;
mod shelf;
pub(crate) mod walk;
pub(crate) mod window;

use std::io;
use std::sync::{Arc, PoisonError};

use wire::flag::{Keyword, SpecialUse, SystemFlags};

use crate::id::{AccountId, InternalDate};
use crate::state::usage::Quota;
use crate::vfs::{BadSectors, Patient, ReadOnly, Vfs};
use content::Content;

pub use books::{Books, FoundLine, FoundMessage, FoundOctets, LooseMessage, Taken};

/// How far a salvage has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Segments read of so many.
    Reading {
        /// So many.
        done: u64,
        /// Of these.
        total: u64,
    },
    /// Messages given.
    Giving {
        /// So many.
        messages: u64,
    },
}

/// An account, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Its number in the ruined store, which lines of books may have.
    pub id: AccountId,
    /// Its login name; one of ours if it is lost.
    pub login: String,
    /// Whether the login name is its own.
    pub known: bool,
    /// The password's hash, if it is known.
    pub password: Option<String>,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// How much it may hold.
    pub quota: Quota,
    /// Names that it subscribed.
    pub subscriptions: Vec<String>,
    /// Its mailboxes.
    pub mailboxes: Vec<(String, Option<SpecialUse>)>,
}

/// Everything that has a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    /// Domains.
    pub domains: Vec<String>,
    /// Accounts, those left out that were removed.
    pub accounts: Vec<Person>,
    /// Aliases with what they lead to.
    pub aliases: Vec<(String, Vec<String>)>,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder<'a> {
    /// A mailbox that it is in.
    Mailbox(&'a str),
    /// It was expunged, or nobody knows where it was.
    Recovered,
    /// Some of its octets are not what was written.
    Damaged,
}

/// A message that can be read.
#[derive(Debug)]
pub struct Salvaged<'a> {
    /// Whose it is, by login name; `None` if nobody knows, or the account was removed.
    pub account: Option<&'a str>,
    /// Where it goes.
    pub folder: Folder<'a>,
    /// Its UID there, or where it was.
    pub uid: Option<u32>,
    /// Its flags.
    pub flags: SystemFlags,
    /// Its keywords.
    pub keywords: Vec<Keyword>,
    /// INTERNALDATE.
    pub date: Option<InternalDate>,
    content: &'a Content,
}

impl Salvaged<'_> {
    /// How many octets it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.content.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads it from the beginning, up to 64 KiB at a time.
    ///
    /// # Errors
    /// Those of `each`; a disk that fails gives zeros.
    pub fn each_piece(&self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.content.each_piece(each)
    }
}

/// A message that was there and cannot be read, or not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Whose, by login name.
    pub account: Option<String>,
    /// In which mailbox.
    pub mailbox: String,
    /// Its UID.
    pub uid: u32,
    /// Its octets.
    pub size: u32,
    /// What is wrong.
    pub why: String,
}

/// What takes what is salvaged. An error of its own ends the salvage: there is nowhere to put anything.
pub trait Sink {
    /// First: everything that has a name.
    ///
    /// # Errors
    /// Its own.
    fn people(&mut self, people: &People) -> io::Result<()>;
    /// Then each message.
    ///
    /// # Errors
    /// Its own.
    fn message(&mut self, message: &Salvaged<'_>) -> io::Result<()>;
    /// ...and each that is lost.
    ///
    /// # Errors
    /// Its own.
    fn lost(&mut self, lost: &Lost) -> io::Result<()>;
    /// After all mailboxes: the books. Says what it took of their messages.
    ///
    /// # Errors
    /// Its own.
    fn books(&mut self, books: &mut Books<'_>) -> io::Result<Taken>;
    /// At any time: what was found amiss.
    ///
    /// # Errors
    /// Its own.
    fn note(&mut self, text: &str) -> io::Result<()>;
}

/// Marks a store that was made of what was salvaged: its first opening begins a new epoch, so that no mail program takes
/// its numbers for those of the old one.
///
/// # Errors
/// Those of the disk.
pub fn mark_rebuilt(disk: &dyn Vfs) -> io::Result<()> {
    disk.replace(crate::open::RESTORED, b"made of what was salvaged\n")
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages in mailboxes.
    pub messages: u64,
    /// Messages that were expunged, or of which nobody knows where they were.
    pub recovered: u64,
    /// Messages some of whose octets are damaged.
    pub damaged: u64,
    /// Messages that are lost.
    pub lost: u64,
    /// Messages in no mailbox that somebody still waits for, as the sink counts them.
    pub waiting: u64,
    /// Such messages that cannot be read.
    pub waiting_lost: u64,
    /// All that was written since the snapshot that is believed is there, undamaged. Otherwise some of `waiting` may have
    /// been sent, and others may be missing without a trace.
    pub whole: bool,
    /// Octets of all that was given.
    pub octets: u64,
    /// Sectors of 512 octets that the disk did not give.
    pub bad_sectors: u64,
}

/// A salvage at work.
pub(crate) struct Salvage<'a> {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) progress: &'a (dyn Fn(Pace) + Sync),
    pub(crate) sink: &'a mut dyn Sink,
}

impl Salvage<'_> {
    pub(crate) fn note(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        self.sink.note(text.as_ref())
    }
}

/// Reads all that is left of a data directory and gives it to `sink`. No lock is taken: no server must run on it.
///
/// # Errors
/// Only what `sink` returns.
pub fn salvage(
    disk: Arc<dyn Vfs>,
    progress: &(dyn Fn(Pace) + Sync),
    sink: &mut dyn Sink,
) -> io::Result<Tally> {
    let bad = BadSectors::default();
    let vfs: Arc<dyn Vfs> = Arc::new(ReadOnly(Patient::new(disk, bad.clone())));
    let mut notes = Vec::new();
    let mut shelf = shelf::Shelf::look(vfs.clone(), &mut |note| notes.push(note));
    let mut work = Salvage { vfs, progress, sink };
    notes.into_iter().try_for_each(|note| work.note(note))?;
    let gathered = gather::gather(&mut work, &mut shelf)?;
    let mut tally = give::give(&mut work, &mut shelf, gathered)?;
    let bad = bad.lock().unwrap_or_else(PoisonError::into_inner);
    for (path, sectors) in bad.iter() {
        tally.bad_sectors += sectors.len() as u64;
        work.note(format!("{path}: the disk does not give {} sectors of 512 octets", sectors.len()))?;
    }
    Ok(tally)
}
