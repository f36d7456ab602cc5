//! What is known of accounts, mailboxes and messages, put together from pieces in any state.
//!
//! Unlike `crate::state` it refuses nothing and forgets nothing: a mailbox that was never made has a name all the same if
//! any message says it, and what is gone is kept as gone. Between two things that are known of a message, the one with
//! the higher mod-sequence counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::flag::{Keyword, SpecialUse, SystemFlags};
use wire::ids::{ModSeq, Runs};

use super::content::Spot;
use crate::id::{AccountId, Location, MailboxId};
use crate::record::Record;
use crate::state::block::Row;
use crate::state::retained::Retained;
use crate::state::usage::Quota;

/// An account, as far as anything says it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    pub(crate) login: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) addresses: BTreeSet<String>,
    pub(crate) subscriptions: BTreeSet<String>,
    pub(crate) quota: Quota,
    pub(crate) gone: bool,
}

/// A mailbox, likewise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mailbox {
    pub(crate) account: Option<AccountId>,
    pub(crate) path: Option<String>,
    /// Where a delivery went by name: it may have been renamed since.
    pub(crate) hint: Option<String>,
    pub(crate) special_use: Option<SpecialUse>,
    pub(crate) keywords: BTreeMap<u8, Keyword>,
    pub(crate) gone: bool,
}

/// A message in a mailbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) row: Row,
    /// When it was expunged, in seconds since 1970, if it was.
    pub(crate) gone: Option<u64>,
}

/// A message of which nobody knows in which mailbox it is now.
#[derive(Clone, Debug)]
pub(crate) struct Stray {
    pub(crate) account: AccountId,
    pub(crate) row: Row,
    pub(crate) keywords: Arc<Vec<Keyword>>,
    /// Where it lies, if not where its row says.
    pub(crate) spot: Option<Spot>,
}

#[derive(Debug, Default)]
pub(crate) struct Pile {
    pub(crate) domains: BTreeSet<String>,
    pub(crate) aliases: BTreeMap<String, Vec<String>>,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) mailboxes: BTreeMap<MailboxId, Mailbox>,
    pub(crate) rows: BTreeMap<(MailboxId, u32), Known>,
    /// Expunged, by a snapshot that holds what can be brought back; or another message has its number.
    pub(crate) strays: Vec<Stray>,
    /// Side segments that somebody adopted, with their octets; `None` once they are given up.
    pub(crate) sides: BTreeMap<u32, Option<u64>>,
    /// What was expunged before this was given up on purpose.
    pub(crate) forgotten: u64,
}

impl Pile {
    pub(crate) fn account(&mut self, id: AccountId) -> &mut Account {
        self.accounts.entry(id).or_default()
    }

    pub(crate) fn mailbox(&mut self, id: MailboxId) -> &mut Mailbox {
        self.mailboxes.entry(id).or_default()
    }

    /// A delivery says where it went.
    pub(crate) fn hint(&mut self, id: MailboxId, account: AccountId, path: &str) {
        self.account(account);
        let mailbox = self.mailbox(id);
        mailbox.account.get_or_insert(account);
        if !path.is_empty() {
            mailbox.hint = Some(path.to_owned());
        }
    }

    /// A message is in a mailbox.
    pub(crate) fn place(&mut self, id: MailboxId, row: Row) {
        let key = (id, row.uid.get());
        let other = match self.rows.get_mut(&key) {
            None => {
                self.rows.insert(key, Known { row, gone: None });
                return;
            }
            Some(there) if there.row.content == row.content => {
                if there.row.modseq < row.modseq {
                    there.row = row;
                }
                return;
            }
            // A number was given out twice: groups had been lost in between. The newer one has it.
            Some(there) if there.row.modseq < row.modseq => {
                std::mem::replace(there, Known { row, gone: None }).row
            }
            Some(_) => row,
        };
        if let Some(account) = self.mailbox(id).account {
            self.stray(id, account, other, None);
        }
    }

    /// A message is somewhere, and perhaps in no mailbox.
    pub(crate) fn stray(&mut self, id: MailboxId, account: AccountId, row: Row, spot: Option<Spot>) {
        self.account(account);
        let keywords = Arc::new(self.words(id));
        self.strays.push(Stray { account, row, keywords, spot });
    }

    /// A mailbox's keywords by bit; those whose names are lost have names of ours.
    pub(crate) fn words(&self, id: MailboxId) -> Vec<Keyword> {
        let Some(mailbox) = self.mailboxes.get(&id) else { return Vec::new() };
        let last = mailbox.keywords.keys().next_back().map_or(0, |&bit| usize::from(bit) + 1);
        let lost = |bit: u8| Keyword::parse(format!("$Lost{bit}").as_bytes());
        (0..last)
            .filter_map(|bit| u8::try_from(bit).ok())
            .filter_map(|bit| mailbox.keywords.get(&bit).cloned().or_else(|| lost(bit)))
            .collect()
    }

    fn each(&mut self, id: MailboxId, uids: &Runs, mut change: impl FnMut(&mut Known)) {
        for &(from, to) in uids.as_slice() {
            self.rows.range_mut((id, from)..=(id, to)).for_each(|(_, known)| change(known));
        }
    }

    fn set_flags(&mut self, id: MailboxId, flags: SystemFlags, keywords: u128, uids: &Runs, at: ModSeq) {
        self.each(id, uids, |known| {
            if known.row.modseq <= at {
                known.row = Row { flags, keywords, modseq: at, ..known.row };
            }
        });
    }

    /// What a snapshot holds of something that was expunged.
    pub(crate) fn retained(&mut self, entry: &Retained) {
        for row in entry.rows() {
            let keywords = entry.keywords.clone();
            self.strays.push(Stray { account: entry.account, row, keywords, spot: None });
        }
    }

    /// Does what a record says, as far as that makes sense.
    pub(crate) fn apply(&mut self, record: Record, commit: ModSeq, at: Location, time: u64) {
        match record {
            Record::Delivery(d) => {
                self.hint(d.mailbox, d.account, &d.path);
                self.place(d.mailbox, d.row(at, commit));
            }
            Record::Placed { account, mailbox, path, rows } => {
                self.hint(mailbox, account, &path);
                for row in rows {
                    // Those of a note, of no commit, have their own.
                    let modseq = if commit.0 == 0 { row.modseq } else { commit };
                    self.place(mailbox, Row { modseq, ..row });
                }
            }
            Record::Flags { mailbox, sets } => {
                for (flags, keywords, uids) in sets {
                    self.set_flags(mailbox, flags, keywords, &uids, commit);
                }
            }
            Record::Expunged { mailbox, uids } => {
                self.each(mailbox, &uids, |known| {
                    // One with a higher number is another message: the number was given out twice.
                    if known.row.modseq <= commit {
                        known.gone.get_or_insert(time);
                    }
                });
            }
            Record::Keyword { mailbox, bit, keyword } => {
                self.mailbox(mailbox).keywords.insert(bit, keyword);
            }
            Record::Side { number, octets } => drop(self.sides.insert(number, Some(octets))),
            Record::SideGone { number } => drop(self.sides.insert(number, None)),
            Record::Forgotten { before } => self.forgotten = self.forgotten.max(before),
            Record::Commit { .. } | Record::Epoch { .. } | Record::Undeleted { .. } => {}
            // Not what anybody has in a mailbox: see `ledger`.
            Record::Kept(_) | Record::Line { .. } | Record::LineGone { .. } => {}
            other => self.name(other),
        }
    }

    fn name(&mut self, record: Record) {
        match record {
            Record::Mailbox { id, account, path, special_use, .. } => {
                self.account(account);
                let mailbox = self.mailbox(id);
                mailbox.account = Some(account);
                mailbox.path = Some(path);
                mailbox.special_use = special_use;
            }
            Record::MailboxGone { id } => self.mailbox(id).gone = true,
            Record::MailboxPath { id, path } => self.mailbox(id).path = Some(path),
            Record::Subscribed { account, path, on } => {
                let account = self.account(account);
                if on {
                    account.subscriptions.insert(path);
                } else {
                    account.subscriptions.remove(&path);
                }
            }
            Record::Domain { name } => drop(self.domains.insert(name)),
            Record::DomainGone { name } => drop(self.domains.remove(&name)),
            Record::Account { id, login, password, .. } => {
                let account = self.account(id);
                account.login = Some(login);
                account.password.get_or_insert(password);
            }
            Record::AccountGone { id } => self.account(id).gone = true,
            Record::Quota { account, quota } => self.account(account).quota = quota,
            Record::Password { id, password, .. } => self.account(id).password = Some(password),
            Record::Address { account, address } => {
                self.account(account).addresses.insert(address);
            }
            Record::AddressGone { account, address } => {
                self.account(account).addresses.remove(&address);
            }
            Record::Alias { address, to } => drop(self.aliases.insert(address, to)),
            Record::AliasGone { address } => drop(self.aliases.remove(&address)),
            _ => {}
        }
    }

    /// Whether what a known message was in is there no more, or it was expunged itself; `None` if it was given up on
    /// purpose.
    pub(crate) fn is_gone(&self, id: MailboxId, known: &Known) -> Option<bool> {
        match known.gone {
            Some(when) if when < self.forgotten => None,
            Some(_) => Some(true),
            None => Some(self.mailboxes.get(&id).is_none_or(|m| m.gone || m.account.is_none())),
        }
    }
}
