//! What each record does to the state: the same at its commit and at every replay.

use std::sync::Arc;

use wire::ids::{ModSeq, Uid, UidValidity};

use super::block::{BLOCK_ROWS, Row};
use super::book::Line;
use super::directory::{Account, Directory, MailboxInfo, Target};
use super::draft::Draft;
use super::mailbox::Mailbox;
use super::usage::Quota;
use super::world::Side;
use crate::id::{AccountId, Location, MailboxId, UnixTime};
use crate::index::IndexError;
use crate::record::Record;

/// Octets that a new block costs the index, roughly.
const BLOCK_COST: usize = 1_500;

impl Draft<'_> {
    /// Does what a record of a commit says; `at` is where the record lies.
    pub(crate) fn apply(&mut self, record: &Record, commit: ModSeq, at: Location) -> Result<(), IndexError> {
        match record {
            Record::Commit { .. } => {}
            Record::Delivery(d) => {
                self.mend(d.mailbox, d.account, &d.path, commit)?;
                self.place(d.mailbox, &[d.row(at, commit)], commit)?;
                if d.body.segment != at.segment {
                    self.name_side(d.body.segment, at);
                }
            }
            Record::Placed { account, mailbox, path, rows } => {
                self.mend(*mailbox, *account, path, commit)?;
                let rows: Vec<Row> = rows.iter().map(|row| Row { modseq: commit, ..*row }).collect();
                self.place(*mailbox, &rows, commit)?;
            }
            Record::Flags { mailbox, sets } => {
                let mut blocks = 0;
                match self.mailbox_mut(*mailbox)? {
                    Some(m) => {
                        for (flags, keywords, uids) in sets {
                            blocks += m.set_flags(*flags, *keywords, uids, commit);
                        }
                    }
                    None => self.orphans += 1,
                }
                self.cost(128 + blocks * BLOCK_COST);
            }
            Record::Expunged { mailbox, uids } => {
                let mut cost = 128 + uids.as_slice().len() * 16;
                match self.mailbox_mut(*mailbox)? {
                    Some(m) => {
                        let (blocks, taken) = m.expunge(uids, commit);
                        cost += (blocks + taken.rows.len() as usize / BLOCK_ROWS) * BLOCK_COST;
                        self.retain(*mailbox, taken, commit, false);
                    }
                    None => self.orphans += 1,
                }
                self.cost(cost);
            }
            Record::Undeleted { from, uids } => self.undelete(from, uids)?,
            Record::Forgotten { before } => self.forget(*before),
            Record::MailboxGone { id } => {
                self.take_away(*id, commit)?;
                if let Some(account) = self.directory_mut().remove_mailbox(*id) {
                    self.touch(account);
                }
            }
            Record::AccountGone { id } => {
                let mailboxes = self.directory().account(*id).map(|a| a.mailboxes.clone());
                for mailbox in mailboxes.unwrap_or_default() {
                    self.take_away(mailbox, commit)?;
                }
                self.directory_mut().remove_account(*id);
                self.touch(*id);
            }
            Record::Keyword { mailbox, bit, keyword } => match self.mailbox_mut(*mailbox)? {
                Some(m) => m.name_keyword(*bit, keyword.clone()),
                None => self.orphans += 1,
            },
            Record::Side { number, octets } => {
                self.set_side(*number, Some(Side { octets: *octets, named: None }));
            }
            Record::SideGone { number } => self.set_side(*number, None),
            Record::Kept(kept) => {
                if kept.body.segment != at.segment {
                    self.name_side(kept.body.segment, at);
                }
            }
            Record::Line { name, content, value } => {
                let line = Line { content: *content, value: value.clone() };
                self.set_line(name.clone(), Some(Arc::new(line)));
            }
            Record::LineGone { name } => self.set_line(name.clone(), None),
            Record::Epoch { counters, mailboxes, .. } => {
                *self.counters_mut() = *counters;
                for &(id, uid_validity, uid_next) in mailboxes {
                    self.renew(id, uid_validity, uid_next, commit)?;
                }
            }
            other => {
                self.apply_directory(other, commit);
                self.keep_secret(other, at);
            }
        }
        Ok(())
    }

    /// Messages arrive in a mailbox whose making was lost to rot: it is made again, under a name that is free. Never at
    /// a commit, which checks that the mailbox is there.
    fn mend(
        &mut self,
        id: MailboxId,
        account: AccountId,
        path: &str,
        commit: ModSeq,
    ) -> Result<(), IndexError> {
        if !self.after_rot || self.directory().account(account).is_none() || self.mailbox(id)?.is_some() {
            return Ok(());
        }
        let taken = |path: &str| self.directory().mailbox_at(account, path).is_some();
        let mut path = path.to_owned();
        while taken(&path) {
            path.push_str(" (recovered)");
        }
        let next = self.counters().uid_validity.saturating_add(1);
        let Some(uid_validity) = UidValidity::new(next) else { return Ok(()) };
        self.apply_directory(&Record::Mailbox { id, account, path, uid_validity, special_use: None }, commit);
        Ok(())
    }

    /// A mailbox is another one for its clients from here on.
    fn renew(
        &mut self,
        id: MailboxId,
        uid_validity: UidValidity,
        uid_next: u32,
        commit: ModSeq,
    ) -> Result<(), IndexError> {
        let Some(mailbox) = self.mailbox_mut(id)? else { return Ok(()) };
        mailbox.renew(uid_validity, Uid::new(uid_next), commit);
        if let Some(account) = self.directory_mut().renew_mailbox(id, uid_validity) {
            self.touch(account);
        }
        self.cost(256);
        Ok(())
    }

    fn place(&mut self, id: MailboxId, rows: &[Row], commit: ModSeq) -> Result<(), IndexError> {
        match self.mailbox_mut(id)? {
            Some(m) => m.append(rows, commit),
            None => self.orphans += 1,
        }
        self.cost(128 + (1 + rows.len() / 32) * BLOCK_COST);
        Ok(())
    }

    /// A mailbox goes; what is in it is kept for a while.
    fn take_away(&mut self, id: MailboxId, commit: ModSeq) -> Result<(), IndexError> {
        if let Some(mailbox) = self.mailbox(id)? {
            let taken = mailbox.into_taken();
            self.cost(taken.rows.len() as usize / BLOCK_ROWS * BLOCK_COST);
            self.retain(id, taken, commit, true);
        }
        self.set_mailbox(id, None);
        Ok(())
    }

    fn apply_directory(&mut self, record: &Record, commit: ModSeq) {
        match record {
            Record::Mailbox { id, account, path, uid_validity, special_use } => {
                let counters = self.counters_mut();
                counters.mailbox = counters.mailbox.max(id.0);
                counters.uid_validity = counters.uid_validity.max(uid_validity.get());
                self.set_mailbox(*id, Some(Mailbox::new(*id, *uid_validity, commit)));
                let info = MailboxInfo {
                    id: *id,
                    account: *account,
                    path: path.clone(),
                    uid_validity: *uid_validity,
                    special_use: *special_use,
                };
                self.directory_mut().add_mailbox(info);
                self.touch(*account);
            }
            Record::MailboxPath { id, path } => {
                if let Some(account) = self.directory_mut().rename_mailbox(*id, path) {
                    self.touch(account);
                }
            }
            Record::Account { id, login, password, created } => {
                let counters = self.counters_mut();
                counters.account = counters.account.max(id.0);
                self.directory_mut().add_account(*id, login, password, *created);
                self.touch(*id);
            }
            Record::Domain { name } => {
                self.directory_mut().domains.insert(name.clone());
            }
            Record::DomainGone { name } => {
                self.directory_mut().domains.remove(name);
            }
            Record::Alias { address, to } => {
                self.directory_mut().targets.insert(address.clone(), Arc::new(Target::Alias(to.clone())));
            }
            Record::AliasGone { address } => {
                self.directory_mut().targets.remove(address);
            }
            other => self.apply_account(other),
        }
    }

    /// Where passwords lie, and where those lie that are good no longer.
    fn keep_secret(&mut self, record: &Record, at: Location) {
        let old = match record {
            Record::Account { id, .. } | Record::Password { id, .. } => {
                self.directory_mut().secrets.insert(*id, at.segment)
            }
            Record::AccountGone { id } => self.directory_mut().secrets.remove(id),
            _ => None,
        };
        if let Some(segment) = old {
            self.directory_mut().spent.insert(segment);
        }
    }

    fn apply_account(&mut self, record: &Record) {
        let id = match record {
            Record::Subscribed { account, path, on } => {
                self.directory_mut().edit(*account, |a| {
                    if *on {
                        a.subscriptions.insert(path.clone());
                    } else {
                        a.subscriptions.remove(path);
                    }
                });
                *account
            }
            Record::Password { id, password, credentials } => {
                self.directory_mut().edit(*id, |a| {
                    a.password.clone_from(password);
                    a.credentials = *credentials;
                });
                *id
            }
            Record::Quota { account, quota } => {
                self.directory_mut().edit(*account, |a| a.quota = *quota);
                *account
            }
            Record::Address { account, address } => {
                let directory = self.directory_mut();
                directory.targets.insert(address.clone(), Arc::new(Target::Account(*account)));
                directory.edit(*account, |a| a.addresses.push(address.clone()));
                *account
            }
            Record::AddressGone { account, address } => {
                let directory = self.directory_mut();
                directory.targets.remove(address);
                directory.edit(*account, |a| a.addresses.retain(|x| x != address));
                *account
            }
            _ => return,
        };
        self.touch(id);
    }
}

impl Directory {
    fn edit(&mut self, id: AccountId, change: impl FnOnce(&mut Account)) {
        if let Some(account) = self.accounts.get_mut(&id) {
            change(Arc::make_mut(account));
        }
    }

    pub(crate) fn add_account(&mut self, id: AccountId, login: &str, password: &str, created: i64) {
        self.logins.insert(login.to_owned(), id);
        let account = Account {
            id,
            login: login.to_owned(),
            password: password.to_owned(),
            credentials: 1,
            quota: Quota::default(),
            created: UnixTime { secs: created, nanos: 0 },
            addresses: Vec::new(),
            mailboxes: Vec::new(),
            subscriptions: Default::default(),
            by_path: Default::default(),
        };
        self.accounts.insert(id, Arc::new(account));
    }

    fn remove_account(&mut self, id: AccountId) {
        let Some(account) = self.accounts.remove(&id) else { return };
        self.logins.remove(&account.login);
        for address in &account.addresses {
            self.targets.remove(address);
        }
        for mailbox in &account.mailboxes {
            self.mailboxes.remove(mailbox);
        }
    }

    pub(crate) fn add_mailbox(&mut self, info: MailboxInfo) {
        self.edit(info.account, |a| {
            a.mailboxes.push(info.id);
            a.by_path.insert(info.path.clone(), info.id);
        });
        self.mailboxes.insert(info.id, Arc::new(info));
    }

    fn remove_mailbox(&mut self, id: MailboxId) -> Option<AccountId> {
        let info = self.mailboxes.remove(&id)?;
        self.edit(info.account, |a| {
            a.mailboxes.retain(|&m| m != id);
            if a.by_path.get(&info.path) == Some(&id) {
                a.by_path.remove(&info.path);
            }
        });
        Some(info.account)
    }

    fn renew_mailbox(&mut self, id: MailboxId, uid_validity: UidValidity) -> Option<AccountId> {
        let info = Arc::make_mut(self.mailboxes.get_mut(&id)?);
        info.uid_validity = uid_validity;
        Some(info.account)
    }

    fn rename_mailbox(&mut self, id: MailboxId, path: &str) -> Option<AccountId> {
        let info = Arc::make_mut(self.mailboxes.get_mut(&id)?);
        let old = std::mem::replace(&mut info.path, path.to_owned());
        let account = info.account;
        self.edit(account, |a| {
            if a.by_path.get(&old) == Some(&id) {
                a.by_path.remove(&old);
            }
            a.by_path.insert(path.to_owned(), id);
        });
        Some(account)
    }
}
