//! Bringing expunged messages back, and giving them up.

use wire::flag::{SystemFlag, SystemFlags};
use wire::ids::Runs;

use super::check::{Arrived, Check, Stop};
use crate::id::MailboxId;
use crate::intent::{BackTo, Outcome, Refused};
use crate::record::Record;
use crate::state::block::Row;
use crate::state::retained::{Retained, RetainedId, seconds};
use crate::state::usage::Usage;

impl Check<'_, '_> {
    pub(super) fn undelete(&mut self, from: RetainedId, uids: &Runs, to: &BackTo) -> Result<Outcome, Stop> {
        let entry = self.draft.retained(&from)?.ok_or(Refused::NotRetained)?;
        let rows: Vec<Row> = entry.rows_in(uids).collect();
        if rows.is_empty() {
            return Err(Refused::NotRetained.into());
        }
        let to = self.undelete_to(&entry, to)?;
        let (target, there) = self.mailbox(to)?;
        let (account, path) = self.whereabouts(to)?;
        self.within_quota(account, Usage::of(rows.iter().map(|row| row.size)))?;
        let Arrived { mut placed, old, new } = self.arrive(&rows, &entry.keywords, to, &target, &there)?;
        for row in &mut placed {
            // Or the next client that expunges would take it away again.
            row.flags = row.flags.without(SystemFlags::NONE.with(SystemFlag::Deleted));
        }
        self.emit(&Record::Placed { account, mailbox: to, path, rows: placed })?;
        self.emit(&Record::Undeleted { from, uids: old.clone() })?;
        Ok(Outcome::Undeleted { mailbox: to, uid_validity: target.head.uid_validity, from: old, to: new })
    }

    /// The mailbox that messages come back to.
    fn undelete_to(&mut self, entry: &Retained, to: &BackTo) -> Result<MailboxId, Stop> {
        let directory = self.draft.directory();
        let (account, path) = match to {
            BackTo::Mailbox(id) => {
                return directory.mailbox(*id).map(|info| info.id).ok_or(Refused::NoSuchMailbox.into());
            }
            BackTo::Home => {
                if let Some(info) = directory.mailbox(entry.id.mailbox) {
                    return Ok(info.id);
                }
                (entry.account, &entry.path)
            }
            BackTo::Path { account, path } => (*account, path),
        };
        self.account(account)?;
        if let Some(info) = directory.mailbox_at(account, path) {
            return Ok(info.id);
        }
        let special_use = entry.special_use.filter(|&s| directory.special(account, s).is_none());
        self.create_mailbox(account, path, special_use, true)
    }

    /// Gives up what was expunged before a time: nothing from this second on, whatever was asked for, so that nothing is
    /// forgotten that is yet to be expunged.
    pub(crate) fn forget(&mut self, before: u64) -> Result<Outcome, Stop> {
        if self.frozen {
            return Err(Refused::TimeFrozen.into());
        }
        let before = before.min(seconds(self.now).saturating_add(1));
        self.emit(&Record::Forgotten { before })?;
        Ok(Outcome::Done)
    }
}
