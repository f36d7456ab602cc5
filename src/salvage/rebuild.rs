//! A new store made of what is salvaged: domains, accounts with their passwords, aliases, mailboxes, mail, and the books:
//! what waits to be sent, what became of messages, DKIM keys, policies, what accounts may send.
//!
//! It is another store, not the old one mended: its mailboxes have other UIDVALIDITYs, and mail programs fetch everything
//! again. All that waits is held, for some of it may have been sent. What nobody's account can hold goes into files beside
//! it, and so does what waited if it is damaged, or nobody knows any more to whom it goes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use store::salvage::{Books, Folder, Lost, People, Person, Salvaged, Sink, Taken};
use store::{
    AccountId, Batch, Book, Commit, CommitError, Committed, Intent, MailboxId, Outcome, Prefix, Quota, Spool,
    SpoolError, Spooled, Store,
};
use wire::flag::FlagNames;

use super::waiting::{self, Waiting};
use super::{Files, Format, Pieces, Report, free_name};
use crate::flow::allowances;
use crate::flow::dkim::Key;
use crate::flow::queue::{Entry, Recipient};

/// Commits under way: so many share an fdatasync.
const AHEAD: usize = 128;
/// Lines of one commit.
const LINES: usize = 500;
/// A password's hash that no password has.
const NO_PASSWORD: &str = "!";

/// A line's key and value.
type Said = (Vec<u8>, Vec<u8>);
/// What a line says in the new store, if anything.
type Change = dyn FnMut(&mut Rebuild, Vec<u8>, Vec<u8>) -> Option<Said>;

/// Fills a new, open store.
#[derive(Debug)]
pub struct Rebuild {
    store: Store,
    directory: PathBuf,
    report: Report,
    accounts: BTreeMap<String, (AccountId, BTreeSet<String>)>,
    /// Accounts' numbers there, and here.
    moved: BTreeMap<u32, AccountId>,
    mailboxes: BTreeMap<(AccountId, String), MailboxId>,
    waiting: VecDeque<Commit>,
    /// Set at the end: what is there must not be refused.
    quotas: Vec<(AccountId, Quota)>,
    /// For what belongs to nobody.
    beside: Option<Files>,
}

fn failed(error: &CommitError) -> io::Error {
    io::Error::other(format!("the new store does not take it: {error}"))
}

impl Rebuild {
    /// Into an open, empty store in `directory`.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn new(store: Store, directory: &Path) -> io::Result<Rebuild> {
        Ok(Rebuild {
            store,
            directory: directory.to_owned(),
            report: Report::new(directory)?,
            accounts: BTreeMap::new(),
            moved: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            waiting: VecDeque::new(),
            quotas: Vec::new(),
            beside: None,
        })
    }

    /// Waits until everything is durable.
    ///
    /// # Errors
    /// A message could not be written.
    pub fn finish(mut self) -> io::Result<Report> {
        while let Some(commit) = self.waiting.pop_front() {
            commit.wait().map_err(|e| failed(&e))?;
        }
        for (account, quota) in std::mem::take(&mut self.quotas) {
            self.try_to("a quota", Intent::SetQuota { account, quota });
        }
        if let Some(beside) = self.beside {
            beside.finish()?;
        }
        Ok(self.report)
    }

    fn ask(&self, intent: Intent) -> Result<Committed, CommitError> {
        self.store.commit(Batch::of(intent)).wait()
    }

    /// Does what may be refused: then it is said.
    fn try_to(&mut self, what: &str, intent: Intent) -> Option<Committed> {
        match self.ask(intent) {
            Ok(done) => Some(done),
            Err(error) => {
                self.report.note(&format!("{what}: not made in the new store: {error}"));
                None
            }
        }
    }

    fn domain(&mut self, name: &str) {
        if !self.store.directory().has_domain(name) {
            self.try_to(&format!("domain {name}"), Intent::AddDomain { name: name.to_owned() });
        }
    }

    fn domain_of(&mut self, address: &str) {
        if let Some((_, domain)) = address.rsplit_once('@') {
            self.domain(domain);
        }
    }

    fn person(&mut self, person: &Person) {
        let login = &person.login;
        let password = person.password.clone().unwrap_or_else(|| {
            self.report.note(&format!("{login}: its password is lost: `penfold account password {login}`"));
            NO_PASSWORD.to_owned()
        });
        let add = Intent::AddAccount { login: login.clone(), password, addresses: Vec::new() };
        let done = self.try_to(&format!("account {login}"), add);
        let id = done.and_then(|done| match done.outcomes.first() {
            Some(Outcome::Account(id)) => Some(*id),
            _ => None,
        });
        let Some(account) = id else { return };
        let mut addresses = person.addresses.clone();
        if addresses.is_empty() && login.contains('@') {
            addresses.push(login.clone());
        }
        for address in addresses {
            self.domain_of(&address);
            self.try_to(
                &format!("address {address}"),
                Intent::AddAddress { account, address: address.clone() },
            );
        }
        if !person.quota.is_none() {
            self.quotas.push((account, person.quota));
        }
        let mut names = BTreeSet::new();
        for (path, special_use) in &person.mailboxes {
            names.insert(path.clone());
            let directory = self.store.directory();
            if directory.mailbox_at(account, path).is_some() {
                continue;
            }
            // An account has a mailbox for each use from the start: it may have had another name.
            let own = special_use.and_then(|s| directory.special(account, s).map(|m| m.id));
            let intent = match own {
                Some(mailbox) => Intent::RenameMailbox { mailbox, to: path.clone() },
                None => {
                    Intent::CreateMailbox { account, path: path.clone(), special_use: None, subscribe: false }
                }
            };
            self.try_to(&format!("{login}, mailbox {path}"), intent);
        }
        for path in &person.subscriptions {
            let on = Intent::Subscribe { account, path: path.clone(), on: true };
            self.try_to(&format!("{login}, subscription {path}"), on);
        }
        self.moved.insert(person.id.get(), account);
        self.accounts.insert(login.clone(), (account, names));
    }

    /// A mailbox, made if it is not there.
    fn mailbox(&mut self, account: AccountId, path: &str) -> io::Result<MailboxId> {
        let key = (account, path.to_owned());
        if let Some(&id) = self.mailboxes.get(&key) {
            return Ok(id);
        }
        let there = self.store.directory().mailbox_at(account, path).map(|m| m.id);
        let id = match there {
            Some(id) => id,
            None => {
                let path = path.to_owned();
                let make = Intent::CreateMailbox { account, path, special_use: None, subscribe: true };
                match self.ask(make).map_err(|e| failed(&e))?.outcomes.pop() {
                    Some(Outcome::Created(id)) => id,
                    _ => return Err(io::Error::other("the new store made no mailbox")),
                }
            }
        };
        self.mailboxes.insert(key, id);
        Ok(id)
    }

    fn beside(&mut self) -> io::Result<&mut Files> {
        if self.beside.is_none() {
            let directory = self.directory.join("unattributed");
            std::fs::create_dir(&directory)?;
            self.beside = Some(Files::new(&directory, Format::Maildir)?);
        }
        self.beside.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Commits while earlier ones are under way.
    fn commit(&mut self, batch: Batch) -> io::Result<()> {
        self.waiting.push_back(self.store.commit(batch));
        if self.waiting.len() > AHEAD
            && let Some(first) = self.waiting.pop_front()
        {
            first.wait().map_err(|e| failed(&e))?;
        }
        Ok(())
    }

    /// A book that means nothing but itself: each line as `change` says, or not at all.
    fn copy(&mut self, books: &mut Books<'_>, book: Book, change: &mut Change) -> io::Result<()> {
        let (mut from, mut unread) = (Vec::new(), 0u64);
        loop {
            let page = books.lines(book, &from, None, LINES);
            let Some(last) = page.last() else { break };
            from = [&last.key[..], &[0]].concat();
            let mut batch = Batch::new();
            for found in page {
                let Some(value) = found.value else {
                    unread += 1;
                    continue;
                };
                if let Some((key, value)) = change(self, found.key, value) {
                    batch.push(Intent::Write { book, key, value });
                }
            }
            if !batch.is_empty() {
                self.store.commit(batch).wait().map_err(|e| failed(&e))?;
            }
        }
        if unread > 0 {
            self.report.note(&format!("{book:?}: {unread} lines of this book cannot be read"));
        }
        Ok(())
    }

    /// Everything but what waits.
    fn small_books(&mut self, books: &mut Books<'_>) -> io::Result<()> {
        let as_it_is = &mut |_: &mut Self, key, value| Some((key, value));
        self.copy(books, Book::Fates, as_it_is)?;
        self.copy(books, Book::Policies, as_it_is)?;
        self.copy(books, Book::Keys, &mut |to, key, value| {
            // Without its domain a key goes at the first start.
            if let Ok(key) = Key::read(&key, &value)
                && !to.store.directory().has_domain(&key.domain)
            {
                let domain = &key.domain;
                to.report.note(&format!("domain {domain}: nothing but its DKIM keys says that it was here"));
                to.domain(domain);
            }
            Some((key, value))
        })?;
        self.copy(books, Book::Allowances, &mut |to, key, value| {
            let account = to.moved.get(&allowances::whose(&key)?)?;
            Some((allowances::moved(&key, *account), value))
        })
    }

    /// A message that waited: held in the queue, or in a file if it cannot be sent as it is.
    fn queue(&mut self, message: &Waiting) -> io::Result<()> {
        let (Ok(octets), Some(id), Some(entry)) = (&message.octets, &message.id, &message.entry) else {
            return self.waiting_beside(message);
        };
        if !message.is_sound() {
            return self.waiting_beside(message);
        }
        let mut batch = Batch::new();
        let body = batch.body(spooled(self.store.spool(), &|each| octets.each_piece(each))?);
        let account = entry.account.and_then(|account| self.moved.get(&account)).map(|id| id.get());
        batch.push(Entry { account, ..entry.clone() }.keep(id, body, Prefix::default()));
        for (number, recipient) in &message.recipients {
            let of = self.moved.get(&recipient.of).map_or(0, |id| id.get());
            batch.push(Recipient { held: true, of, ..recipient.clone() }.write(id, *number));
        }
        if message.others {
            let to = "others may have waited for it, too, whose lines are lost";
            self.report.note(&format!("{id}, in the queue: {to}"));
        }
        self.report.count("(for other hosts)", "the queue, held");
        self.commit(batch)
    }

    fn waiting_beside(&mut self, message: &Waiting) -> io::Result<()> {
        if message.octets.is_ok() {
            self.report.count("(for other hosts)", &format!("unattributed/{}", waiting::NAME));
            self.beside()?.waiting(message)?;
        }
        self.report.waiting(message)
    }
}

/// Takes a message's octets into the store.
fn spooled(mut spool: Spool, pieces: Pieces<'_>) -> io::Result<Spooled> {
    let spoilt = |error: SpoolError| io::Error::other(error.to_string());
    pieces(&mut |piece| spool.push(piece).map_err(spoilt))?;
    spool.finish().map_err(spoilt)
}

impl Sink for Rebuild {
    fn people(&mut self, people: &People) -> io::Result<()> {
        people.domains.iter().for_each(|name| self.domain(name));
        people.accounts.iter().for_each(|person| self.person(person));
        for (address, to) in &people.aliases {
            self.domain_of(address);
            let alias = Intent::AddAlias { address: address.clone(), to: to.clone() };
            self.try_to(&format!("alias {address}"), alias);
        }
        Ok(())
    }

    fn message(&mut self, message: &Salvaged<'_>) -> io::Result<()> {
        let known = message.account.and_then(|login| self.accounts.get(login));
        let Some((account, names)) = known else {
            self.report.count(message.account.unwrap_or("(nobody knows whose)"), "unattributed/");
            return self.beside()?.message(message);
        };
        let (account, path) = match message.folder {
            Folder::Mailbox(path) => (*account, path.to_owned()),
            Folder::Recovered => (*account, free_name("Recovered", names)),
            Folder::Damaged => (*account, free_name("Damaged", names)),
        };
        // One that a name cannot have any more is taken in all the same.
        let mailbox = match self.mailbox(account, &path) {
            Ok(mailbox) => mailbox,
            Err(_) => self.mailbox(account, "Recovered")?,
        };
        let mut batch = Batch::new();
        let body = batch.body(spooled(self.store.spool(), &|each| message.each_piece(each))?);
        let mut flags = FlagNames { system: message.flags, keywords: Vec::new() };
        message.keywords.iter().for_each(|keyword| flags.add_keyword(keyword.clone()));
        batch.push(Intent::Append { mailbox, body, prefix: Prefix::default(), flags, date: message.date });
        self.commit(batch)?;
        self.report.count(message.account.unwrap_or_default(), &path);
        Ok(())
    }

    fn lost(&mut self, lost: &Lost) -> io::Result<()> {
        self.report.lost(lost)
    }

    fn books(&mut self, books: &mut Books<'_>) -> io::Result<Taken> {
        self.small_books(books)?;
        let mut taken = Taken::default();
        waiting::each(books, &mut |message| {
            match &message.octets {
                Ok(octets) => {
                    taken.waiting += 1;
                    taken.octets += octets.len();
                }
                Err(_) => taken.lost += 1,
            }
            self.queue(&message)
        })?;
        Ok(taken)
    }

    fn note(&mut self, text: &str) -> io::Result<()> {
        self.report.note(text);
        Ok(())
    }
}
