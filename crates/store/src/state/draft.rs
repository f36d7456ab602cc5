//! A group in the making: what published state would be if its fdatasync succeeds.
//!
//! Two layers lie over the published state: the group's accepted batches, and the batch at hand, which is taken or
//! thrown away whole. Nothing here is visible to any reader.

use std::sync::Arc;

use wire::ids::{ModSeq, Runs};

use super::book::Line;
use super::directory::Directory;
use super::mailbox::{Mailbox, Taken};
use super::retained::{Known, Retained, RetainedId, seconds};
use super::usage::Usage;
use super::world::{Changed, Counters, Side, World};
use crate::id::{AccountId, Location, MailboxId, UnixTime};
use crate::index::IndexError;

#[derive(Debug)]
pub(crate) struct Draft<'w> {
    world: &'w World,
    /// The group's.
    time: UnixTime,
    directory: Arc<Directory>,
    counters: Counters,
    group: Changed,
    batch: Changed,
    /// Part of the log was lost before: what a record needs may be missing.
    pub(crate) after_rot: bool,
    /// Records about things that are not there: only a damaged log has them.
    pub(crate) orphans: u64,
}

impl<'w> Draft<'w> {
    pub(crate) fn new(world: &'w World, time: UnixTime) -> Draft<'w> {
        let (directory, counters) = {
            let published = world.read();
            (published.directory.clone(), published.counters)
        };
        Draft {
            world,
            time,
            directory,
            counters,
            group: Changed::default(),
            batch: Changed::default(),
            after_rot: false,
            orphans: 0,
        }
    }

    /// The batch at hand is part of the group.
    pub(crate) fn accept(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.group.mailboxes.extend(batch.mailboxes);
        self.group.accounts.extend(batch.accounts);
        self.group.sides.extend(batch.sides);
        self.group.retained.lay(batch.retained);
        self.group.forgotten += batch.forgotten + self.group.lines.lay(batch.lines);
        self.group.cost += batch.cost;
        if batch.directory.is_some() {
            self.group.directory = batch.directory;
        }
        if batch.counters.is_some() {
            self.group.counters = batch.counters;
        }
    }

    /// The batch at hand never happened.
    pub(crate) fn reject(&mut self) {
        self.batch = Changed::default();
    }

    /// What the accepted batches change.
    pub(crate) fn finish(self) -> Changed {
        self.group
    }

    pub(crate) fn directory(&self) -> &Directory {
        self.batch.directory.as_ref().or(self.group.directory.as_ref()).unwrap_or(&self.directory)
    }

    pub(crate) fn directory_mut(&mut self) -> &mut Directory {
        let (group, base) = (&self.group.directory, &self.directory);
        self.batch.cost += 256;
        self.batch.directory.get_or_insert_with(|| group.clone().unwrap_or_else(|| (**base).clone()))
    }

    pub(crate) fn counters(&self) -> Counters {
        self.batch.counters.or(self.group.counters).unwrap_or(self.counters)
    }

    pub(crate) fn counters_mut(&mut self) -> &mut Counters {
        let now = self.counters();
        self.batch.counters.get_or_insert(now)
    }

    /// An account's watchers are to be told.
    pub(crate) fn touch(&mut self, account: AccountId) {
        self.batch.accounts.insert(account);
    }

    /// A side segment is adopted, or given up.
    pub(crate) fn set_side(&mut self, number: u32, side: Option<Side>) {
        self.batch.sides.insert(number, side);
    }

    /// A delivery names this segment as that of its body, which is not its own: a side segment.
    pub(crate) fn name_side(&mut self, number: u32, by: Location) {
        let changed = self.batch.sides.get(&number).or_else(|| self.group.sides.get(&number)).copied();
        let known = changed.unwrap_or_else(|| self.world.read().sides.get(&number).copied());
        if let Some(side) = known {
            let named = side.named.map_or((by, by), |(first, last)| (first.min(by), last.max(by)));
            self.set_side(number, Some(Side { named: Some(named), ..side }));
        }
    }

    /// A line of a book, as it is now.
    pub(crate) fn line(&self, name: &[u8]) -> Result<Option<Line>, IndexError> {
        let line = match self.batch.lines.get(name).or_else(|| self.group.lines.get(name)) {
            Some(line) => line,
            None => self.world.line(name)?,
        };
        Ok(line.map(|line| Line::clone(&line)))
    }

    /// Sets a line of a book, or takes it away.
    pub(crate) fn set_line(&mut self, name: Vec<u8>, line: Option<Arc<Line>>) {
        self.batch.cost += self.batch.lines.set(name, line);
    }

    pub(crate) fn cost(&mut self, octets: usize) {
        self.batch.cost += octets;
    }

    /// A mailbox with its rows, as it is now; changing the copy changes nothing.
    pub(crate) fn mailbox(&self, id: MailboxId) -> Result<Option<Mailbox>, IndexError> {
        if let Some(m) = self.batch.mailboxes.get(&id).or_else(|| self.group.mailboxes.get(&id)) {
            return Ok(m.clone());
        }
        Ok(self.world.resident(id)?.map(|m| (*m).clone()))
    }

    /// A mailbox, to be changed.
    pub(crate) fn mailbox_mut(&mut self, id: MailboxId) -> Result<Option<&mut Mailbox>, IndexError> {
        if !self.batch.mailboxes.contains_key(&id) {
            let Some(mailbox) = self.mailbox(id)? else { return Ok(None) };
            self.batch.mailboxes.insert(id, Some(mailbox));
        }
        Ok(self.batch.mailboxes.get_mut(&id).and_then(Option::as_mut))
    }

    /// Puts a mailbox in its place, or takes it away.
    pub(crate) fn set_mailbox(&mut self, id: MailboxId, mailbox: Option<Mailbox>) {
        self.batch.cost += 128;
        self.batch.mailboxes.insert(id, mailbox);
    }

    /// What an account holds now.
    pub(crate) fn usage(&self, account: AccountId) -> Usage {
        let published = self.world.read();
        let mut usage = published.totals.get(account);
        let earlier = self.group.mailboxes.iter().filter(|(id, _)| !self.batch.mailboxes.contains_key(id));
        for (id, mailbox) in self.batch.mailboxes.iter().chain(earlier) {
            let info = self.directory().mailbox(*id).or_else(|| self.directory.mailbox(*id));
            if info.is_some_and(|info| info.account == account) {
                let before = published.mailboxes.get(id).map(|m| &m.head);
                usage.change(before, mailbox.as_ref().map(|m| &m.head));
            }
        }
        usage
    }

    // ---- what was expunged ---------------------------------------------------------------------------------------

    /// Keeps what a commit takes away from a mailbox; `gone` if the mailbox goes too. Nothing is kept of a mailbox that
    /// has no name: only a damaged log knows such.
    pub(crate) fn retain(&mut self, id: MailboxId, taken: Taken, commit: ModSeq, gone: bool) {
        let Some(info) = self.directory().mailbox(id).filter(|_| taken.rows.len() > 0) else { return };
        let entry = Retained {
            id: RetainedId { time: seconds(self.time), commit, mailbox: id },
            account: info.account,
            path: info.path.clone(),
            mailbox_gone: gone,
            special_use: info.special_use.filter(|_| gone),
            keywords: taken.keywords,
            rows: taken.rows,
        };
        self.batch.retained.add(entry);
    }

    /// What is left of an expunge.
    pub(crate) fn retained(&self, id: &RetainedId) -> Result<Option<Arc<Retained>>, IndexError> {
        for layer in [&self.batch.retained, &self.group.retained] {
            if let Known::Now(entry) = layer.get(id) {
                return Ok(entry);
            }
        }
        self.world.retained(id)
    }

    /// Messages were brought back.
    pub(crate) fn undelete(&mut self, id: &RetainedId, uids: &Runs) -> Result<(), IndexError> {
        match self.retained(id)? {
            Some(entry) => {
                let mut entry = Arc::unwrap_or_clone(entry);
                entry.take(uids);
                self.batch.retained.change(entry);
            }
            None => self.orphans += 1,
        }
        Ok(())
    }

    /// What was expunged before a time can no longer be brought back.
    pub(crate) fn forget(&mut self, before: u64) {
        self.batch.retained.forget(before);
    }
}
