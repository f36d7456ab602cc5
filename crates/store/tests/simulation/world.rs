//! What the store must hold: a small model of it, which applies the same intents in the plainest way.
//!
//! The same types hold what a store really shows ([`World::of`]). What the model cannot know (ids, and the numbers of
//! commits that nobody was told) is `None` in it, and is learned from the store after everything else has matched.

#[path = "world/shows.rs"]
mod shows;

pub use shows::Shows;

use crate::books::{Books, books_of};
use crate::kept::{Kept, kept_by};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::{
    AccountId, Derive, FlagChange, Intent, InternalDate, MailboxId, Octets, Outcome, Prefix, Quota, Refused,
    Target,
};
use wire::flag::{FlagNames, SpecialUse, SystemFlag};
use wire::ids::{ModSeq, Runs};

/// A message in a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub modseq: Option<u64>,
    pub flags: BTreeSet<String>,
    pub octets: Arc<Vec<u8>>,
    pub date: Option<InternalDate>,
    /// POP3's name for it, which never changes.
    pub unique: Option<String>,
}

/// A digest that a wrong message would not have.
#[derive(Clone, Copy, Debug)]
pub struct Sum;

impl Sum {
    fn of(octets: &[u8]) -> Vec<u8> {
        // FNV-1a: enough to tell one test message from another.
        let step = |sum: u64, octet: &u8| (sum ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
        octets.iter().fold(0xcbf2_9ce4_8422_2325, step).to_be_bytes().to_vec()
    }
}

impl Derive for Sum {
    fn version(&self) -> u32 {
        1
    }

    fn derive(&self, message: &mut dyn Octets) -> Vec<u8> {
        let mut octets = vec![0; usize::try_from(message.len()).expect("small")];
        let mut done = 0;
        while let Ok(read @ 1..) = message.read_at(done as u64, &mut octets[done..]) {
            done += read;
        }
        octets.truncate(done);
        Sum::of(&octets)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    pub id: Option<MailboxId>,
    pub validity: Option<u32>,
    pub special: Option<SpecialUse>,
    pub uid_next: u32,
    pub rows: BTreeMap<u32, Message>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: Option<AccountId>,
    pub password: String,
    pub quota: Quota,
    pub addresses: Vec<String>,
    pub subscriptions: BTreeSet<String>,
    /// By path.
    pub mailboxes: BTreeMap<String, Mailbox>,
}

/// When a batch was committed, as far as that is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct When {
    pub commit: Option<u64>,
    /// In seconds.
    pub time: Option<u64>,
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    pub domains: BTreeSet<String>,
    pub aliases: BTreeMap<String, Vec<String>>,
    /// By login.
    pub accounts: BTreeMap<String, Account>,
    /// What was expunged and can be brought back, oldest first.
    pub kept: Vec<Kept>,
    pub books: Books,
    /// Counts batches, in the order of what is kept.
    pub ops: u64,
    /// What was expunged before this may have been given up.
    pub forgettable: u64,
    /// Something may have been given up in the second in which it went: what went later in that second is still there.
    pub at_once: bool,
}

/// A batch as the model sees it.
#[derive(Clone, Debug, Default)]
pub struct Op {
    pub intents: Vec<Intent>,
    pub bodies: Vec<Arc<Vec<u8>>>,
    /// Which body each append places, whatever its own reference says.
    pub places: Vec<usize>,
    /// No quota refuses it.
    pub accepted: bool,
}

impl Mailbox {
    fn new(special: Option<SpecialUse>) -> Mailbox {
        Mailbox { id: None, validity: None, special, uid_next: 1, rows: BTreeMap::new() }
    }
}

/// Flags as a set of names; keywords compare without case.
pub fn names(flags: &FlagNames) -> BTreeSet<String> {
    let system = SystemFlag::ALL.into_iter().filter(|f| flags.system.has(*f)).map(|f| format!("{f:?}"));
    system.chain(flags.keywords.iter().map(|k| k.as_str().to_ascii_lowercase())).collect()
}

impl World {
    /// What a store shows, every octet of every message read.
    pub fn of(store: &impl Shows) -> Result<World, String> {
        let directory = store.directory();
        let mut world = World {
            domains: directory.domains().map(str::to_owned).collect(),
            aliases: directory.aliases().map(|(from, to)| (from.to_owned(), to.to_vec())).collect(),
            kept: kept_by(store)?,
            books: books_of(store)?,
            ..World::default()
        };
        world.ops = world.kept.last().map_or(0, |kept| kept.order);
        for account in directory.accounts() {
            let mut mailboxes = BTreeMap::new();
            for info in directory.mailboxes_of(account.id) {
                let mailbox = Mailbox { special: info.special_use, ..mailbox_of(store, info.id)? };
                if mailbox.validity != Some(info.uid_validity.get()) {
                    return Err(format!("head and directory differ on the UIDVALIDITY of {}", info.path));
                }
                mailboxes.insert(info.path.clone(), mailbox);
            }
            for address in &account.addresses {
                if directory.resolve(address) != Some(&Target::Account(account.id)) {
                    return Err(format!("{address} does not lead to its account"));
                }
            }
            if directory.login(&account.login).map(|a| a.id) != Some(account.id) {
                return Err(format!("{} is not found by its login", account.login));
            }
            let mailboxes = mailboxes;
            let (is, sum) = (store.usage(account.id), held(&mailboxes));
            if (is.storage, is.messages) != sum {
                return Err(format!("{} holds {sum:?}, and the store says {is:?}", account.login));
            }
            world.accounts.insert(
                account.login.clone(),
                Account {
                    id: Some(account.id),
                    password: account.password.clone(),
                    quota: account.quota,
                    addresses: account.addresses.clone(),
                    subscriptions: account.subscriptions.clone(),
                    mailboxes,
                },
            );
        }
        Ok(world)
    }

    /// The first difference between what must be (`self`, unknowns being `None`) and what is.
    pub fn differs(&self, is: &World) -> Option<String> {
        if self.domains != is.domains {
            return Some(format!("domains {:?}, not {:?}", is.domains, self.domains));
        }
        if self.aliases != is.aliases {
            return Some(format!("aliases {:?}, not {:?}", is.aliases, self.aliases));
        }
        if !self.accounts.keys().eq(is.accounts.keys()) {
            return Some(format!("accounts {:?}, not {:?}", is.accounts.keys(), self.accounts.keys()));
        }
        let account = self.accounts.iter().find_map(|(login, account)| {
            let there = &is.accounts[login];
            account.differs(there).map(|what| format!("account {login}: {what}"))
        });
        account.or_else(|| self.kept_differs(is)).or_else(|| self.books_differ(is))
    }

    /// A new epoch begins: every mailbox gets a new UIDVALIDITY.
    pub fn renew(&mut self) {
        for mailbox in self.accounts.values_mut().flat_map(|a| a.mailboxes.values_mut()) {
            mailbox.validity = None;
        }
    }

    /// The mailbox of this id.
    pub fn mailbox(&self, id: MailboxId) -> Option<&Mailbox> {
        self.mailboxes().find(|m| m.id == Some(id))
    }

    /// All of them.
    pub fn mailboxes(&self) -> impl Iterator<Item = &Mailbox> {
        self.accounts.values().flat_map(|a| a.mailboxes.values())
    }

    pub fn mailbox_mut(&mut self, id: MailboxId) -> Result<&mut Mailbox, Refused> {
        self.accounts
            .values_mut()
            .flat_map(|a| a.mailboxes.values_mut())
            .find(|m| m.id == Some(id))
            .ok_or(Refused::NoSuchMailbox)
    }

    pub fn account_mut(&mut self, id: AccountId) -> Result<&mut Account, Refused> {
        self.accounts.values_mut().find(|a| a.id == Some(id)).ok_or(Refused::NoSuchAccount)
    }

    /// Whose mailbox it is, and its path.
    pub fn place_of(&self, id: MailboxId) -> Result<(String, String), Refused> {
        for (login, account) in &self.accounts {
            for (path, mailbox) in &account.mailboxes {
                if mailbox.id == Some(id) {
                    return Ok((login.clone(), path.clone()));
                }
            }
        }
        Err(Refused::NoSuchMailbox)
    }

    fn address_taken(&self, address: &str) -> bool {
        self.aliases.contains_key(address)
            || self.accounts.values().any(|a| a.addresses.iter().any(|own| own == address))
    }

    fn domain_of(&self, address: &str) -> Result<(), Refused> {
        let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
        if self.domains.contains(domain) { Ok(()) } else { Err(Refused::NoSuchDomain(domain.into())) }
    }

    /// All of a batch, or a refusal and nothing of it.
    pub fn apply(&mut self, op: &Op, when: When) -> Result<Vec<Expect>, Refused> {
        let mut next = self.clone();
        next.ops += 1;
        let mut bodies = op.places.iter().map(|at| &op.bodies[*at]);
        let expected = op
            .intents
            .iter()
            .map(|i| next.one(i, &mut bodies, when, op.accepted))
            .collect::<Result<_, _>>()?;
        *self = next;
        Ok(expected)
    }

    fn one(
        &mut self,
        intent: &Intent,
        bodies: &mut dyn Iterator<Item = &Arc<Vec<u8>>>,
        when: When,
        accepted: bool,
    ) -> Result<Expect, Refused> {
        let at = when.commit;
        match intent {
            Intent::Append { mailbox, prefix, flags, date, .. } => {
                let octets = Arc::new(served(prefix, bodies));
                if !accepted {
                    self.within_quota(*mailbox, std::iter::once(octets.len()))?;
                }
                let uid = self.mailbox_mut(*mailbox)?.add(Message {
                    modseq: at,
                    flags: names(flags),
                    octets,
                    date: *date,
                    unique: None,
                });
                Ok(Expect::Placed(uid))
            }
            Intent::Flags { mailbox, uids, change, unchanged_since } => {
                self.mailbox_mut(*mailbox).map(|m| m.store(uids, change, *unchanged_since, at))
            }
            Intent::Expunge { mailbox, uids, only_deleted } => {
                let there = self.mailbox_mut(*mailbox)?;
                let gone = there.existing(uids, |m| !only_deleted || m.flags.contains("Deleted"));
                self.expunge(*mailbox, &gone, when)?;
                Ok(Expect::Expunged(gone))
            }
            Intent::Copy { from, uids, to } => self.copy(*from, uids, *to, when, false),
            Intent::Move { from, uids, to } => self.copy(*from, uids, *to, when, true),
            Intent::Undelete { from, uids, to } => self.undelete(*from, uids, to, when),
            Intent::Keep { book, key, prefix, value, .. } => {
                let octets = served(prefix, bodies);
                self.keep_line((*book, key.clone()), octets, value)
            }
            Intent::Write { book, key, value } => {
                self.write_line((*book, key.clone()), value);
                Ok(Expect::Done)
            }
            Intent::Strike { book, key } => {
                self.books.remove(&(*book, key.clone()));
                Ok(Expect::Done)
            }
            Intent::CreateMailbox { account, path, special_use, subscribe } => {
                let account = self.account_mut(*account)?;
                if account.mailboxes.contains_key(path) {
                    return Err(Refused::AlreadyExists);
                }
                let special = *special_use;
                if special.is_some() && account.mailboxes.values().any(|m| m.special == special) {
                    return Err(Refused::SpecialUseTaken);
                }
                account.make(path, special, *subscribe);
                Ok(Expect::Created)
            }
            Intent::DeleteMailbox { mailbox } => {
                let (login, path) = self.place_of(*mailbox)?;
                if path == "INBOX" {
                    return Err(Refused::InboxCannot);
                }
                let rows = self.mailbox(*mailbox).expect("just found").rows.clone();
                self.keep((&login, &path), rows, true, when);
                self.accounts.get_mut(&login).expect("just found").mailboxes.remove(&path);
                Ok(Expect::Done)
            }
            Intent::RenameMailbox { mailbox, to } => {
                let (login, path) = self.place_of(*mailbox)?;
                self.accounts.get_mut(&login).expect("just found").rename(&path, to)?;
                Ok(Expect::Done)
            }
            Intent::Subscribe { account, path, on } => {
                let account = self.account_mut(*account)?;
                if *on {
                    account.subscriptions.insert(path.clone());
                } else {
                    account.subscriptions.remove(path);
                }
                Ok(Expect::Done)
            }
            other => self.administer(other, when),
        }
    }

    fn administer(&mut self, intent: &Intent, when: When) -> Result<Expect, Refused> {
        match intent {
            Intent::AddDomain { name } => {
                if self.domains.insert(name.clone()) {
                    Ok(Expect::Done)
                } else {
                    Err(Refused::AlreadyExists)
                }
            }
            Intent::AddAccount { login, password, addresses } => {
                if self.accounts.contains_key(login) {
                    return Err(Refused::LoginTaken(login.clone()));
                }
                for address in addresses {
                    self.domain_of(address)?;
                    if self.address_taken(address) {
                        return Err(Refused::AddressTaken(address.clone()));
                    }
                }
                let mut account = Account {
                    id: None,
                    password: password.clone(),
                    quota: Quota::default(),
                    addresses: addresses.clone(),
                    subscriptions: BTreeSet::new(),
                    mailboxes: BTreeMap::new(),
                };
                account.make("INBOX", None, true);
                for special in SpecialUse::ALL {
                    account.make(special.default_name(), Some(special), true);
                }
                self.accounts.insert(login.clone(), account);
                Ok(Expect::Account)
            }
            Intent::SetPassword { account, password } => {
                self.account_mut(*account)?.password.clone_from(password);
                Ok(Expect::Done)
            }
            Intent::SetQuota { account, quota } => {
                self.account_mut(*account)?.quota = *quota;
                Ok(Expect::Done)
            }
            Intent::RemoveAccount { account } => {
                self.account_mut(*account)?;
                let (login, going) = self
                    .accounts
                    .iter()
                    .find(|(_, a)| a.id == Some(*account))
                    .map(|(login, a)| (login.clone(), a.mailboxes.clone()))
                    .expect("just found");
                for (path, mailbox) in going {
                    self.keep((&login, &path), mailbox.rows, true, when);
                }
                self.accounts.retain(|_, a| a.id != Some(*account));
                Ok(Expect::Done)
            }
            Intent::AddAddress { account, address } => {
                self.account_mut(*account)?;
                self.domain_of(address)?;
                if self.address_taken(address) {
                    return Err(Refused::AddressTaken(address.clone()));
                }
                self.account_mut(*account)?.addresses.push(address.clone());
                Ok(Expect::Done)
            }
            Intent::AddAlias { address, to } => {
                self.domain_of(address)?;
                if self.address_taken(address) {
                    return Err(Refused::AddressTaken(address.clone()));
                }
                self.aliases.insert(address.clone(), to.clone());
                Ok(Expect::Done)
            }
            Intent::RemoveAlias { address } => match self.aliases.remove(address) {
                Some(_) => Ok(Expect::Done),
                None => Err(Refused::NoSuchAddress(address.clone())),
            },
            other => unreachable!("the workload has no {other:?}"),
        }
    }

    fn copy(
        &mut self,
        from: MailboxId,
        uids: &Runs,
        to: MailboxId,
        when: When,
        and_remove: bool,
    ) -> Result<Expect, Refused> {
        self.mailbox_mut(to)?;
        let source = self.mailbox_mut(from)?;
        let there = source.existing(uids, |_| true);
        let messages: Vec<Message> = there.iter().map(|uid| source.rows[&uid].clone()).collect();
        if !and_remove || self.place_of(from)?.0 != self.place_of(to)?.0 {
            self.within_quota(to, messages.iter().map(|m| m.octets.len()))?;
        }
        if and_remove {
            self.expunge(from, &there, when)?;
        }
        let target = self.mailbox_mut(to)?;
        let new = messages
            .into_iter()
            .map(|m| target.add(Message { modseq: when.commit, unique: None, ..m }))
            .collect();
        Ok(Expect::Copied(there, new))
    }

    /// Whether the mailbox's account may hold messages of these sizes too.
    pub fn within_quota(
        &mut self,
        mailbox: MailboxId,
        sizes: impl Iterator<Item = usize>,
    ) -> Result<(), Refused> {
        let (login, _) = self.place_of(mailbox)?;
        self.accounts[&login].within_quota(sizes)
    }

    fn expunge(&mut self, mailbox: MailboxId, uids: &Runs, when: When) -> Result<(), Refused> {
        let (login, path) = self.place_of(mailbox)?;
        let there = self.mailbox_mut(mailbox)?;
        let rows = uids.iter().filter_map(|uid| there.rows.remove(&uid).map(|m| (uid, m))).collect();
        self.keep((&login, &path), rows, false, when);
        Ok(())
    }
}

/// What a body is served as.
fn served(prefix: &Prefix, bodies: &mut dyn Iterator<Item = &Arc<Vec<u8>>>) -> Vec<u8> {
    let body = bodies.next().expect("one for each that is placed");
    let mut octets = prefix.octets.clone();
    octets.extend_from_slice(&body[prefix.replaces as usize..]);
    octets
}

/// Octets and messages of some mailboxes.
fn held(mailboxes: &BTreeMap<String, Mailbox>) -> (u64, u64) {
    let rows = || mailboxes.values().flat_map(|m| m.rows.values());
    (rows().map(|m| m.octets.len() as u64).sum(), rows().count() as u64)
}

impl Account {
    pub fn within_quota(&self, sizes: impl Iterator<Item = usize>) -> Result<(), Refused> {
        let (mut octets, mut messages) = held(&self.mailboxes);
        let before = messages;
        for size in sizes {
            octets += size as u64;
            messages += 1;
        }
        let over = |limit: Option<u64>, sum: u64| limit.is_some_and(|limit| sum > limit);
        if messages > before && (over(self.quota.storage, octets) || over(self.quota.messages, messages)) {
            return Err(Refused::OverQuota);
        }
        Ok(())
    }

    fn has_children(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.mailboxes.keys().any(|p| p.starts_with(&below))
    }

    pub fn make(&mut self, path: &str, special: Option<SpecialUse>, subscribe: bool) {
        for (at, _) in path.match_indices('/') {
            let above = &path[..at];
            if !self.mailboxes.contains_key(above) && !self.has_children(above) {
                self.make_one(above, None, subscribe);
            }
        }
        self.make_one(path, special, subscribe);
    }

    fn make_one(&mut self, path: &str, special: Option<SpecialUse>, subscribe: bool) {
        self.mailboxes.insert(path.to_owned(), Mailbox::new(special));
        if subscribe {
            self.subscriptions.insert(path.to_owned());
        }
    }

    fn rename(&mut self, path: &str, to: &str) -> Result<(), Refused> {
        if self.mailboxes.contains_key(to) {
            return Err(Refused::AlreadyExists);
        }
        let below = format!("{path}/");
        let inbox = path == "INBOX";
        if to.starts_with(&below) && !inbox {
            return Err(Refused::IntoItself);
        }
        let mut moves = vec![(path.to_owned(), to.to_owned())];
        for child in self.mailboxes.keys().filter(|p| !inbox && p.starts_with(&below)) {
            let new = format!("{to}/{}", &child[below.len()..]);
            if self.mailboxes.contains_key(&new) {
                return Err(Refused::AlreadyExists);
            }
            moves.push((child.clone(), new));
        }
        let subscribed = self.subscriptions.clone();
        // Made, with what is missing above it, and taken over by the mailbox that moves.
        self.make(to, None, inbox || subscribed.contains(path));
        for (old, new) in moves {
            let mailbox = self.mailboxes.remove(&old).expect("just listed");
            self.mailboxes.insert(new.clone(), mailbox);
            if subscribed.contains(&old) {
                self.subscriptions.insert(new);
            }
        }
        if inbox {
            self.make_one("INBOX", None, true);
        }
        Ok(())
    }

    fn differs(&self, is: &Account) -> Option<String> {
        if self.id.is_some() && self.id != is.id {
            return Some(format!("id {:?}, not {:?}", is.id, self.id));
        }
        if self.password != is.password {
            return Some(format!("password {}, not {}", is.password, self.password));
        }
        if self.quota != is.quota {
            return Some(format!("quota {:?}, not {:?}", is.quota, self.quota));
        }
        if self.addresses != is.addresses {
            return Some(format!("addresses {:?}, not {:?}", is.addresses, self.addresses));
        }
        if self.subscriptions != is.subscriptions {
            return Some(format!("subscriptions {:?}, not {:?}", is.subscriptions, self.subscriptions));
        }
        if !self.mailboxes.keys().eq(is.mailboxes.keys()) {
            return Some(format!("mailboxes {:?}, not {:?}", is.mailboxes.keys(), self.mailboxes.keys()));
        }
        self.mailboxes.iter().find_map(|(path, mailbox)| {
            mailbox.differs(&is.mailboxes[path]).map(|what| format!("{path}: {what}"))
        })
    }
}

impl Mailbox {
    pub fn add(&mut self, message: Message) -> u32 {
        let uid = self.uid_next;
        self.uid_next += 1;
        self.rows.insert(uid, message);
        uid
    }

    fn existing(&self, uids: &Runs, which: impl Fn(&Message) -> bool) -> Runs {
        self.rows.iter().filter(|(uid, m)| uids.contains(**uid) && which(m)).map(|(uid, _)| *uid).collect()
    }

    fn store(
        &mut self,
        uids: &Runs,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
        at: Option<u64>,
    ) -> Expect {
        // A number that nobody was told is newer than any that a client could name.
        let newer = |m: &Message| unchanged_since.is_some_and(|since| m.modseq.is_none_or(|n| n > since.0));
        let modified = self.existing(uids, newer);
        let mut changed = Runs::default();
        for uid in self.existing(uids, |m| !newer(m)).iter() {
            let message = self.rows.get_mut(&uid).expect("it exists");
            let flags = match change {
                FlagChange::Add(flags) => message.flags.union(&names(flags)).cloned().collect(),
                FlagChange::Remove(flags) => message.flags.difference(&names(flags)).cloned().collect(),
                FlagChange::Set(flags) => names(flags),
            };
            if flags != message.flags {
                message.flags = flags;
                message.modseq = at;
                changed.insert(uid);
            }
        }
        Expect::Flagged { changed, modified }
    }

    fn differs(&self, is: &Mailbox) -> Option<String> {
        let known = |must: Option<String>, is: Option<String>| must.is_some() && must != is;
        if known(self.id.map(|id| id.to_string()), is.id.map(|id| id.to_string())) {
            return Some(format!("id {:?}, not {:?}", is.id, self.id));
        }
        if self.validity.is_some() && self.validity != is.validity {
            return Some(format!("UIDVALIDITY {:?}, not {:?}", is.validity, self.validity));
        }
        if self.special != is.special {
            return Some(format!("special use {:?}, not {:?}", is.special, self.special));
        }
        if !self.rows.keys().eq(is.rows.keys()) {
            return Some(format!("UIDs {:?}, not {:?}", is.rows.keys(), self.rows.keys()));
        }
        if self.uid_next != is.uid_next {
            return Some(format!("UIDNEXT {}, not {}", is.uid_next, self.uid_next));
        }
        self.rows.iter().find_map(|(uid, message)| {
            message.differs(&is.rows[uid]).map(|what| format!("message {uid}: {what}"))
        })
    }
}

impl Message {
    pub fn differs(&self, is: &Message) -> Option<String> {
        if self.flags != is.flags {
            return Some(format!("flags {:?}, not {:?}", is.flags, self.flags));
        }
        if self.octets != is.octets {
            return Some(format!("other octets ({}, not {})", is.octets.len(), self.octets.len()));
        }
        if self.modseq.is_some() && self.modseq != is.modseq {
            return Some(format!("mod-sequence {:?}, not {:?}", is.modseq, self.modseq));
        }
        if self.unique.is_some() && self.unique != is.unique {
            return Some(format!("unique id {:?}, not {:?}", is.unique, self.unique));
        }
        if self.date.is_some() && self.date != is.date {
            return Some(format!("INTERNALDATE {:?}, not {:?}", is.date, self.date));
        }
        None
    }
}

/// A mailbox as the store shows it; its head must agree with its rows.
fn mailbox_of(store: &impl Shows, id: MailboxId) -> Result<Mailbox, String> {
    let view = store.view(id).map_err(|e| format!("view of {id}: {e}"))?;
    let head = store.head(id).ok_or_else(|| format!("{id} has no head"))?;
    let mut rows = BTreeMap::new();
    for row in view.rows() {
        let octets = store
            .message(&row)
            .and_then(|message| message.to_vec())
            .map_err(|e| format!("mailbox {id}, message {}: {e}", row.uid))?;
        if octets.len() as u64 != u64::from(row.size) {
            return Err(format!(
                "mailbox {id}, message {}: {} octets, RFC822.SIZE {}",
                row.uid,
                octets.len(),
                row.size
            ));
        }
        let flags = FlagNames { system: row.flags, keywords: view.keywords_of(&row).cloned().collect() };
        let message = Message {
            modseq: Some(row.modseq.0),
            flags: names(&flags),
            octets: Arc::new(octets),
            date: Some(row.date),
            unique: Some(store.unique_id(id, &row)),
        };
        let digest =
            store.digest(&row).map_err(|e| format!("mailbox {id}, message {}: digest: {e}", row.uid))?;
        if digest.is_some_and(|digest| *digest != *Sum::of(&message.octets)) {
            return Err(format!("mailbox {id}, message {}: another message's digest", row.uid));
        }
        rows.insert(row.uid.get(), message);
    }
    let count = |which: &dyn Fn(&Message) -> bool| rows.values().filter(|m| which(m)).count() as u32;
    let counted =
        (count(&|_| true), count(&|m| !m.flags.contains("Seen")), count(&|m| m.flags.contains("Deleted")));
    if counted != (head.exists, head.unseen, head.deleted) {
        return Err(format!("mailbox {id}: head {head:?} and rows {counted:?} differ"));
    }
    if rows.values().any(|m| m.modseq > Some(head.highest_modseq.0)) {
        return Err(format!("mailbox {id}: a row is newer than HIGHESTMODSEQ {}", head.highest_modseq));
    }
    Ok(Mailbox {
        id: Some(id),
        validity: Some(head.uid_validity.get()),
        special: None,
        uid_next: head.uid_next.map_or(0, |uid| uid.get()),
        rows,
    })
}

/// What an intent must have come to.
#[derive(Clone, Debug)]
pub enum Expect {
    Placed(u32),
    Flagged {
        changed: Runs,
        modified: Runs,
    },
    Expunged(Runs),
    Copied(Runs, Runs),
    Undeleted(Runs, Runs),
    /// So many octets.
    Kept(usize),
    Created,
    Account,
    Done,
}

impl Expect {
    /// Whether this is what the store said.
    pub fn is(&self, said: &Outcome) -> bool {
        match (self, said) {
            (Expect::Placed(uid), Outcome::Placed { uid: said, .. }) => *uid == said.get(),
            (Expect::Flagged { changed, modified }, Outcome::Flagged { changed: c, modified: m, .. }) => {
                changed == c && modified == m
            }
            (Expect::Expunged(uids), Outcome::Expunged(said)) => uids == said,
            (Expect::Copied(from, to), Outcome::Copied { from: f, to: t, .. }) => from == f && to == t,
            (Expect::Undeleted(from, to), Outcome::Undeleted { from: f, to: t, .. }) => from == f && to == t,
            (Expect::Kept(octets), Outcome::Kept(said)) => *octets == said.size as usize,
            (Expect::Created, Outcome::Created(_))
            | (Expect::Account, Outcome::Account(_))
            | (Expect::Done, Outcome::Done) => true,
            _ => false,
        }
    }
}
