//! Domains, accounts, addresses, aliases and mailboxes' names, as one published snapshot.
//!
//! A [`Directory`] never changes: a commit that touches it publishes another one, which shares what stayed the same.
//! It is small (a few hundred octets a mailbox), always in memory, and looked at without any lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use wire::flag::SpecialUse;
use wire::ids::UidValidity;

use super::usage::Quota;
use crate::id::{AccountId, MailboxId, UnixTime};

/// What an address leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An account's INBOX, or where its rules say.
    Account(AccountId),
    /// Other addresses.
    Alias(Vec<String>),
}

/// Someone who has mail here.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Which.
    pub id: AccountId,
    /// The login name, lower case.
    pub login: String,
    /// The password's hash (PHC string). Not printed.
    pub password: String,
    /// Rises with each password change.
    pub credentials: u64,
    /// What it may hold.
    pub quota: Quota,
    /// When it was made.
    pub created: UnixTime,
    /// Its addresses, the first one made first.
    pub addresses: Vec<String>,
    /// Its mailboxes, oldest first.
    pub mailboxes: Vec<MailboxId>,
    /// Subscribed names; a mailbox of the name need not exist.
    pub subscriptions: BTreeSet<String>,
    pub(crate) by_path: BTreeMap<String, MailboxId>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("id", &self.id)
            .field("login", &self.login)
            .field("password", &"***")
            .field("credentials", &self.credentials)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// A mailbox's name and what does not change with its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxInfo {
    /// Which.
    pub id: MailboxId,
    /// Whose.
    pub account: AccountId,
    /// Its name: UTF-8, levels separated by `/`, `INBOX` in capitals.
    pub path: String,
    /// RFC 3501 s.2.3.1.1.
    pub uid_validity: UidValidity,
    /// RFC 6154.
    pub special_use: Option<SpecialUse>,
}

/// A name in an account's hierarchy, as LIST shows it.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// The name.
    pub path: &'a str,
    /// The mailbox; `None` if only its children exist (`\Noselect`, RFC 3501 s.7.2.2).
    pub mailbox: Option<&'a MailboxInfo>,
    /// Whether it has children (RFC 3348).
    pub has_children: bool,
}

/// Everything that has a name.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    pub(crate) domains: BTreeSet<String>,
    pub(crate) accounts: BTreeMap<AccountId, Arc<Account>>,
    pub(crate) logins: HashMap<String, AccountId>,
    pub(crate) targets: BTreeMap<String, Arc<Target>>,
    pub(crate) mailboxes: HashMap<MailboxId, Arc<MailboxInfo>>,
    /// The segment in which each account's password lies.
    pub(crate) secrets: BTreeMap<AccountId, u32>,
    /// Segments in which lies a password that is good no longer: compaction takes them first.
    pub(crate) spent: BTreeSet<u32>,
}

/// A mailbox's name as the store keeps it: the first level `INBOX` in capitals, whatever case it came in.
#[must_use]
pub fn canonical(path: &str) -> String {
    let (first, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
    if first.eq_ignore_ascii_case("INBOX") { format!("INBOX{rest}") } else { path.to_owned() }
}

impl Directory {
    /// Our domains, sorted.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.iter().map(String::as_str)
    }

    /// Whether a domain (lower case) is ours.
    #[must_use]
    pub fn has_domain(&self, name: &str) -> bool {
        self.domains.contains(name)
    }

    /// Accounts, oldest first.
    pub fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts.values()
    }

    /// An account by its id.
    #[must_use]
    pub fn account(&self, id: AccountId) -> Option<&Arc<Account>> {
        self.accounts.get(&id)
    }

    /// An account by its login name (lower case).
    #[must_use]
    pub fn login(&self, login: &str) -> Option<&Arc<Account>> {
        self.accounts.get(self.logins.get(login)?)
    }

    /// What an address (lower case) leads to.
    #[must_use]
    pub fn resolve(&self, address: &str) -> Option<&Target> {
        self.targets.get(address).map(|t| &**t)
    }

    /// Every address with what it leads to, sorted.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &Target)> {
        self.targets.iter().map(|(a, t)| (a.as_str(), &**t))
    }

    /// The aliases, sorted: address, and what it stands for.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.targets().filter_map(|(a, t)| match t {
            Target::Alias(to) => Some((a, to.as_slice())),
            Target::Account(_) => None,
        })
    }

    /// A mailbox by its id.
    #[must_use]
    pub fn mailbox(&self, id: MailboxId) -> Option<&Arc<MailboxInfo>> {
        self.mailboxes.get(&id)
    }

    /// A mailbox by its name; `INBOX` in any case.
    #[must_use]
    pub fn mailbox_at(&self, account: AccountId, path: &str) -> Option<&Arc<MailboxInfo>> {
        self.mailbox(*self.accounts.get(&account)?.by_path.get(&canonical(path))?)
    }

    /// The mailbox of an account with a special use.
    #[must_use]
    pub fn special(&self, account: AccountId, special_use: SpecialUse) -> Option<&Arc<MailboxInfo>> {
        self.mailboxes_of(account).find(|m| m.special_use == Some(special_use))
    }

    /// An account's mailboxes in the order of their names.
    pub fn mailboxes_of(&self, account: AccountId) -> impl Iterator<Item = &Arc<MailboxInfo>> {
        self.accounts
            .get(&account)
            .into_iter()
            .flat_map(|a| a.by_path.values())
            .filter_map(|&id| self.mailbox(id))
    }

    /// Whether a name has mailboxes below it.
    #[must_use]
    pub fn has_children(&self, account: AccountId, path: &str) -> bool {
        let below = format!("{}/", canonical(path));
        self.accounts
            .get(&account)
            .and_then(|a| a.by_path.range(below.clone()..).next())
            .is_some_and(|(p, _)| p.starts_with(&below))
    }

    /// Every name of an account for LIST, in the order of names, those included that exist only by their children.
    #[must_use]
    pub fn names(&self, account: AccountId) -> Vec<Name<'_>> {
        let Some(account) = self.accounts.get(&account) else { return Vec::new() };
        let mut names: BTreeMap<&str, Name<'_>> = BTreeMap::new();
        for (path, &id) in &account.by_path {
            let mailbox = self.mailbox(id).map(|m| &**m);
            names.entry(path).or_insert(Name { path, mailbox: None, has_children: false }).mailbox = mailbox;
            for (at, _) in path.match_indices('/') {
                let parent = &path[..at];
                names
                    .entry(parent)
                    .or_insert(Name { path: parent, mailbox: None, has_children: true })
                    .has_children = true;
            }
        }
        names.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbox_is_inbox_in_any_case_at_the_first_level_only() {
        for (from, to) in [
            ("inbox", "INBOX"),
            ("iNbox/a", "INBOX/a"),
            ("a/inbox", "a/inbox"),
            ("inboxes", "inboxes"),
            ("", ""),
        ] {
            assert_eq!(canonical(from), to);
        }
    }
}
