//! A new store made of what is salvaged: domains, accounts with their passwords, aliases, mailboxes, mail.
//!
//! It is another store, not the old one mended: its mailboxes have other UIDVALIDITYs, and mail programs fetch everything
//! again. What nobody's account can hold goes into files beside it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use store::salvage::{Folder, Lost, People, Person, Salvaged, Sink};
use store::{
    AccountId, Batch, Commit, CommitError, Committed, Intent, MailboxId, Outcome, Prefix, Quota, Store,
};
use wire::flag::FlagNames;

use super::{Files, Format, Report, free_name};

/// Commits under way: so many share an fdatasync.
const AHEAD: usize = 128;
/// A password's hash that no password has.
const NO_PASSWORD: &str = "!";

/// Fills a new, open store.
#[derive(Debug)]
pub struct Rebuild {
    store: Store,
    directory: PathBuf,
    report: Report,
    accounts: BTreeMap<String, (AccountId, BTreeSet<String>)>,
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
        let mut spool = self.store.spool();
        let spoilt = |error: store::SpoolError| io::Error::other(error.to_string());
        message.each_piece(&mut |piece| spool.push(piece).map_err(spoilt))?;
        let mut batch = Batch::new();
        let body = batch.body(spool.finish().map_err(spoilt)?);
        let mut flags = FlagNames { system: message.flags, keywords: Vec::new() };
        message.keywords.iter().for_each(|keyword| flags.add_keyword(keyword.clone()));
        batch.push(Intent::Append { mailbox, body, prefix: Prefix::default(), flags, date: message.date });
        self.waiting.push_back(self.store.commit(batch));
        if self.waiting.len() > AHEAD
            && let Some(first) = self.waiting.pop_front()
        {
            first.wait().map_err(|e| failed(&e))?;
        }
        self.report.count(message.account.unwrap_or_default(), &path);
        Ok(())
    }

    fn lost(&mut self, lost: &Lost) -> io::Result<()> {
        self.report.lost(lost)
    }

    fn note(&mut self, text: &str) -> io::Result<()> {
        self.report.note(text);
        Ok(())
    }
}
