//! A snapshot's records put together into the state that they are, or only held against each other.

use wire::flag::Keyword;
use wire::ids::ModSeq;

use std::sync::Arc;

use super::format::{First, Item};
use super::read::{self, Flaw};
use crate::id::{Location, MailboxId, UnixTime};
use crate::keys;
use crate::options::Sabotage;
use crate::record::Record;
use crate::state::block::Block;
use crate::state::directory::Directory;
use crate::state::draft::Draft;
use crate::state::mailbox::{Head, Mailbox, Rows, Tally};
use crate::state::table::Table;
use crate::state::vanished::Vanished;
use crate::state::world::{Published, World};
use crate::vfs::Vfs;

/// Reads a snapshot into memory: everything that is true right after its position.
pub(crate) fn load(vfs: &dyn Vfs, path: &str, sabotage: Sabotage) -> Result<(First, Published), Flaw> {
    gather(vfs, path, true, sabotage.snapshot_not_verified())
}

/// Reads a snapshot as one does who relies on it, and keeps nothing of it.
pub(crate) fn verify(vfs: &dyn Vfs, path: &str) -> Result<First, Flaw> {
    gather(vfs, path, false, false).map(|(first, _)| first)
}

fn gather(vfs: &dyn Vfs, path: &str, keep: bool, trusting: bool) -> Result<(First, Published), Flaw> {
    let mut gather = Gather { keep, ..Gather::default() };
    let first = read::read(vfs, path, trusting, &mut |item| gather.take(item))?;
    let ended = gather.end_mailbox().and_then(|()| gather.complete(&first));
    match ended {
        Err(what) if !trusting => Err(Flaw::Damaged { at: 0, what }),
        _ => Ok((first, gather.published(&first))),
    }
}

/// The mailbox whose records are being read.
struct Open {
    id: MailboxId,
    tally: Tally,
    head: Head,
    keywords: Vec<Keyword>,
    vanished: Vanished,
    blocks: Vec<Arc<Block>>,
}

#[derive(Default)]
struct Gather {
    /// Whether rows are wanted, or only checked.
    keep: bool,
    said: Vec<Record>,
    open: Option<Open>,
    state: Published,
    mailboxes: u32,
    plain: keys::Plain,
    last_key: Vec<u8>,
}

type Checked = Result<(), &'static str>;

impl Gather {
    fn take(&mut self, item: Item) -> Checked {
        match item {
            Item::Said(Record::Keyword { mailbox, bit, keyword }) => {
                let open = self.inside(mailbox)?;
                if usize::from(bit) != open.keywords.len() {
                    return Err("a keyword is not the next");
                }
                open.keywords.push(keyword);
            }
            Item::Said(record) => self.say(record)?,
            Item::Head { mailbox, head } => self.begin(mailbox, head)?,
            Item::Vanished { mailbox, vanished } => self.inside(mailbox)?.vanished = vanished,
            Item::Rows { mailbox, blocks } => {
                let keep = self.keep;
                let open = self.inside(mailbox)?;
                blocks.iter().flat_map(|b| b.rows()).for_each(|row| open.tally.add(&row));
                if keep {
                    open.blocks.extend(blocks);
                }
            }
            Item::Entry { key, value } => {
                if key <= self.last_key {
                    return Err("an entry is out of order");
                }
                self.plain.take(&key, &value, self.keep).ok_or("an entry is not what any version wrote")?;
                self.last_key = key;
            }
            Item::End(_) => {}
        }
        Ok(())
    }

    /// Names come first, each in the log's words.
    fn say(&mut self, record: Record) -> Checked {
        let of_names = matches!(
            record,
            Record::Domain { .. }
                | Record::Account { .. }
                | Record::Password { .. }
                | Record::Quota { .. }
                | Record::Address { .. }
                | Record::Subscribed { .. }
                | Record::Alias { .. }
                | Record::Mailbox { .. }
        );
        if !of_names || self.mailboxes > 0 {
            return Err("a record is out of place");
        }
        self.said.push(record);
        Ok(())
    }

    fn begin(&mut self, id: MailboxId, head: Head) -> Checked {
        self.end_mailbox()?;
        if self.mailboxes == 0 {
            self.state.directory = Arc::new(directory(std::mem::take(&mut self.said))?);
        }
        self.mailboxes = self.mailboxes.saturating_add(1);
        let named = self.state.directory.mailbox(id).is_some_and(|m| m.uid_validity == head.uid_validity);
        if !named || self.state.mailboxes.contains_key(&id) {
            return Err("a mailbox has no name, or comes twice");
        }
        let (keywords, blocks) = (Vec::new(), Vec::new());
        let tally = Tally::new(&head);
        self.open = Some(Open { id, tally, head, keywords, vanished: Vanished::default(), blocks });
        Ok(())
    }

    fn inside(&mut self, id: MailboxId) -> Result<&mut Open, &'static str> {
        self.open.as_mut().filter(|open| open.id == id).ok_or("a record belongs to another mailbox")
    }

    fn end_mailbox(&mut self) -> Checked {
        let Some(open) = self.open.take() else { return Ok(()) };
        let (id, head) = (open.id, open.head);
        let rows = Rows {
            table: Table::from_blocks(open.blocks),
            keywords: Arc::new(open.keywords),
            vanished: open.vanished,
            used: Arc::default(),
        };
        let rows = if self.keep { rows } else { Rows::default() };
        self.state.mailboxes.insert(id, Arc::new(Mailbox { id, head, rows: Some(rows) }));
        if open.tally.agrees() { Ok(()) } else { Err("a mailbox's rows do not add up to its head") }
    }

    /// All mailboxes that have a name were there, and no other.
    fn complete(&mut self, first: &First) -> Checked {
        if self.mailboxes == 0 {
            self.state.directory = Arc::new(directory(std::mem::take(&mut self.said))?);
        }
        let names = self.state.directory.mailboxes.len();
        let rows: u64 = self.state.mailboxes.values().map(|m| u64::from(m.head.exists)).sum();
        for mailbox in self.state.mailboxes.values() {
            let account = self.state.directory.mailbox(mailbox.id).map(|info| info.account);
            account.into_iter().for_each(|a| self.state.totals.change(a, None, Some(&mailbox.head)));
        }
        std::mem::take(&mut self.plain).put(&mut self.state).ok_or("what was expunged does not add up")?;
        let all = self.state.mailboxes.len() == names && names == first.mailboxes as usize;
        if all && rows == first.rows { Ok(()) } else { Err("a mailbox is missing") }
    }

    fn published(self, first: &First) -> Published {
        Published { position: first.position, counters: first.counters, ..self.state }
    }
}

/// The directory that the log's words make.
fn directory(said: Vec<Record>) -> Result<Directory, &'static str> {
    let world = World::default();
    let mut draft = Draft::new(&world, UnixTime::default());
    for record in said {
        let nowhere = Location { segment: 0, ordinal: 0 };
        draft.apply(&record, ModSeq(0), nowhere).map_err(|_| "a name cannot be read")?;
    }
    draft.accept();
    Ok(draft.finish().directory.unwrap_or_default())
}
