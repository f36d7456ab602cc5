//! A data directory that is only looked at: no lock, no index, nothing changed.
//!
//! A snapshot and what follows it in the log, or the whole log, is replayed into memory. So a backup can be read as if
//! it were a store (whatever can answer `vfs::Tree` will do), and what a store holds can be held against its own log.
//! A directory that another process serves can be read, too: what it writes meanwhile is not seen, and a group that is
//! just being written looks like a torn end.

use std::sync::Arc;

use wire::ids::ModSeq;

use crate::books;
use crate::id::{AccountId, Location, MailboxId, UnixTime};
use crate::open::base::{self, beginning};
use crate::open::found::{Found, look};
use crate::open::replay::{How, Replay, Tail};
use crate::open::{OpenError, Rot};
use crate::options::{Progress, Sabotage};
use crate::read::{self, Message, Messages, ReadError};
use crate::retained::RetainedMessage;
use crate::segment::{self, Files, main_path};
use crate::snapshot::BadSnapshot;
use crate::state::block::Row;
use crate::state::book::{Content, Line};
use crate::state::directory::Directory;
use crate::state::mailbox::Head;
use crate::state::retained::Change;
use crate::state::usage::Usage;
use crate::state::view::{Changes, View};
use crate::state::world::{Position, Published, World};
use crate::vfs::{Open, ReadOnly, Vfs};

/// What a reader begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The newest good snapshot; the beginning of the log if there is none.
    #[default]
    Snapshot,
    /// The beginning of the log, though there be snapshots: to hold one against the other.
    Beginning,
}

/// How far a log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The last whole group.
    pub seq: u64,
    /// Its time.
    pub time: UnixTime,
    /// The last commit.
    pub commit: ModSeq,
    /// The main segment that the group is in...
    pub segment: u32,
    /// ... and where in it the next one would begin.
    pub end: u64,
}

/// What was found amiss.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Damage within the log.
    pub rot: Vec<Rot>,
    /// A group at the end of the log that is not whole.
    pub torn: Option<Rot>,
    /// Snapshots that are of no use.
    pub bad_snapshots: Vec<BadSnapshot>,
    /// Adopted bodies whose files are missing.
    pub missing_bodies: Vec<String>,
    /// Records about mailboxes that are not there.
    pub orphans: u64,
}

impl Damage {
    /// Whether anything that was acknowledged may be missing: a torn end never was.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        !self.rot.is_empty() || !self.missing_bodies.is_empty() || self.orphans > 0
    }
}

/// A store's contents as they were when it was opened. Nothing is ever written through it.
#[derive(Debug)]
pub struct Reader {
    files: Files,
    state: Published,
    reached: Reached,
    snapshot: Option<String>,
    groups: u64,
    damage: Damage,
}

impl Reader {
    /// Reads the log of a data directory. Blocks; bodies are not read.
    ///
    /// # Errors
    /// What [`crate::Store::open`] would refuse for, too.
    pub fn open(
        vfs: Arc<dyn Vfs>,
        start: Start,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Reader, OpenError> {
        // Whatever it is that we were given: through this nothing can be changed.
        let vfs: Arc<dyn Vfs> = Arc::new(ReadOnly(vfs));
        let found = look(&*vfs, Open::Read)?;
        if found.mains.is_empty() {
            return Err(OpenError::NotAStore("there is no log".into()));
        }
        let mut snapshots = base::look(&*vfs, &found)?;
        let from = match start {
            Start::Snapshot => snapshots.choose(&*vfs, &found, Sabotage::None)?,
            Start::Beginning => Published {
                position: beginning(&found).ok_or_else(|| OpenError::NoBase("none was tried".into()))?,
                ..Published::default()
            },
        };
        let position = from.position;
        let world = World::default();
        *world.write() = from;
        let how = How { progress, sabotage: Sabotage::None };
        let mut replay = Replay::new(how, &world, &found, position, snapshots.witness().seq);
        let end = replay.run()?;
        let (position, groups, orphans) = (replay.position, replay.groups, replay.orphans);
        let rot = std::mem::take(&mut replay.rot);
        let state = std::mem::take(&mut *world.write());
        let damage = Damage {
            rot,
            torn: torn(&found, &position, &end),
            bad_snapshots: snapshots.bad,
            missing_bodies: missing(&found, &state),
            orphans,
        };
        let files = Files::new(vfs, Sabotage::None, Arc::default());
        for main in &found.mains {
            files.add_main(main.header.number, main.known(), None);
        }
        let Position { seq, time, commit, segment, end, .. } = position;
        let reached = Reached { seq, time, commit, segment, end };
        Ok(Reader { files, state, reached, snapshot: snapshots.used, groups, damage })
    }

    /// Domains, accounts, addresses, mailboxes' names.
    #[must_use]
    pub fn directory(&self) -> &Arc<Directory> {
        &self.state.directory
    }

    /// A mailbox's counts and numbers.
    #[must_use]
    pub fn head(&self, id: MailboxId) -> Option<Head> {
        self.state.mailboxes.get(&id).map(|m| m.head)
    }

    /// A mailbox.
    #[must_use]
    pub fn view(&self, id: MailboxId) -> Option<View> {
        self.state.mailboxes.get(&id).map(|m| View::of(m))
    }

    /// What happened to a mailbox after a mod-sequence.
    #[must_use]
    pub fn changes_since(&self, id: MailboxId, since: ModSeq) -> Option<Changes> {
        self.view(id).map(|view| view.changes_since(since))
    }

    /// A message's octets. Reads the disk, as [`crate::Store::message`] does.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn message(&self, row: &Row) -> Result<Message, ReadError> {
        read::read(&self.files, row)
    }

    /// Several messages' octets, in the order given; neighbours in the log are read together.
    #[must_use]
    pub fn messages<'a>(&'a self, rows: &'a [Row]) -> Messages<'a> {
        Messages::new(&self.files, rows)
    }

    /// The string that names a mailbox's message for ever, as [`crate::Store::unique_id`] has it.
    #[must_use]
    pub fn unique_id(&self, mailbox: MailboxId, row: &Row) -> String {
        self.files.unique_id(mailbox, row)
    }

    /// What an account holds in all its mailboxes.
    #[must_use]
    pub fn usage(&self, id: AccountId) -> Usage {
        self.state.totals.get(id)
    }

    /// What was expunged and can be brought back, the oldest first.
    pub fn retained(&self) -> impl Iterator<Item = RetainedMessage> {
        let entries = self.state.dirty.retained.entries.values().filter_map(Change::now);
        entries.flat_map(|from| from.rows().map(|row| RetainedMessage { from: from.clone(), row }))
    }

    /// Every line of every book with its name: the book's number and its key.
    pub fn lines(&self) -> impl Iterator<Item = (&[u8], &Line)> {
        let lines = self.state.dirty.lines.changed.iter();
        lines.filter_map(|(name, line)| Some((name.as_slice(), &**line.as_ref()?)))
    }

    /// The octets of a message that a line names.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn content(&self, content: Content) -> Result<Message, ReadError> {
        books::of(&self.files, content)
    }

    /// How far the log goes.
    #[must_use]
    pub fn reached(&self) -> Reached {
        self.reached
    }

    /// The snapshot that was begun with, if one was: its file.
    #[must_use]
    pub fn snapshot(&self) -> Option<&str> {
        self.snapshot.as_deref()
    }

    /// Groups replayed.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.groups
    }

    /// What was found amiss.
    #[must_use]
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// Everything, for those who hold it against something else.
    pub(crate) fn state(&self) -> &Published {
        &self.state
    }

    /// Where a message's body is.
    pub(crate) fn body_location(&self, row: &Row) -> Option<Location> {
        read::body_location(&self.files, row)
    }

    /// A segment's path.
    pub(crate) fn path(&self, number: u32) -> String {
        self.files.path(number)
    }

    /// Adopted side segments: the files of large bodies, with the octets of each body.
    pub fn large_bodies(&self) -> impl Iterator<Item = (String, u64)> {
        self.state.sides.iter().map(|(&number, side)| (segment::side_path(number), side.octets))
    }
}

fn torn(found: &Found, position: &Position, end: &Tail) -> Option<Rot> {
    let Tail::Torn { end } = end else { return None };
    let file = main_path(found.mains.last()?.header.number);
    let what = "a group at the end of the log is not whole".to_owned();
    Some(Rot { file, offset: position.end, octets: end.saturating_sub(position.end), what })
}

fn missing(found: &Found, state: &Published) -> Vec<String> {
    let is_missing = |number: &&u32| found.sides.binary_search(number).is_err();
    state.sides.keys().filter(is_missing).map(|&n| segment::side_path(n)).collect()
}
