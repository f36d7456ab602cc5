//! The third stage: each recipient through domains, addresses, aliases and subaddresses to local mailboxes.
//!
//! RFC 5321 s.4.5.1 and RFC 2142 (postmaster and abuse are always somebody), RFC 5233 (`user+detail@` is `user@`).
//! The same function answers at RCPT and at the end of the data, so that nothing taken there bounces later.

use std::collections::HashSet;

use store::{AccountId, Directory, MailboxId, Target};
use wire::addr::{Address, ForwardPath};
use wire::dsn::Notify;

use super::{Error, House, Judged, Recipient};

/// A message with the mailboxes it goes to.
#[derive(Debug)]
pub struct Routed {
    /// The message.
    pub judged: Judged,
    /// One for each mailbox, however many recipients lead there.
    pub deliveries: Vec<Delivery>,
    /// Addresses elsewhere, each once.
    pub remote: Vec<Remote>,
    /// Recipients with mailboxes here, whose sender wants to hear of it that it is there.
    pub tell: Vec<Recipient>,
}

/// An address elsewhere that a message goes to.
#[derive(Debug)]
pub struct Remote {
    /// The address.
    pub address: Address,
    /// The recipient that led there, with what is to be reported of it.
    pub recipient: Recipient,
}

/// Where a recipient leads: never nowhere.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Accounts here.
    pub accounts: Vec<AccountId>,
    /// Addresses elsewhere.
    pub remote: Vec<Address>,
}

/// One local mailbox that a message goes to.
#[derive(Debug)]
pub struct Delivery {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub mailbox: MailboxId,
    /// The first recipient that led here.
    pub recipient: String,
}

/// Whether somebody wants to hear of it that a message is in a mailbox.
fn wants_success(recipient: &Recipient) -> bool {
    recipient.notify.is_some_and(|notify| notify.wants(Notify::SUCCESS))
}

/// Where mail for a recipient goes. `submitted`: whoever sends it may send to other hosts.
///
/// # Errors
/// `NotLocal`, `NoSuchUser`.
pub fn route(
    directory: &Directory,
    postmaster: Option<&str>,
    path: &ForwardPath,
    submitted: bool,
) -> Result<Route, Error> {
    let here = |account: AccountId| Route { accounts: vec![account], remote: Vec::new() };
    let address = match path {
        ForwardPath::Postmaster => return responsible(directory, postmaster).map(here),
        ForwardPath::Path(address) => address,
    };
    if !address.domain.name().is_some_and(|domain| directory.has_domain(domain)) {
        let remote = vec![address.clone()];
        return if submitted { Ok(Route { accounts: Vec::new(), remote }) } else { Err(Error::NotLocal) };
    }
    let route = expand(directory, &address.canonical());
    if route != Route::default() {
        return Ok(route);
    }
    let local = address.local.as_str();
    if local.eq_ignore_ascii_case("postmaster") || local.eq_ignore_ascii_case("abuse") {
        return responsible(directory, postmaster).map(here);
    }
    Err(Error::NoSuchUser)
}

/// The account that an address belongs to, by itself or by its subaddress. An alias whose mail all goes to one
/// account is that account's; one that leads to several is nobody's.
#[must_use]
pub fn owner(directory: &Directory, canonical: &str) -> Option<AccountId> {
    match expand(directory, canonical) {
        Route { accounts, remote } if remote.is_empty() => match accounts.as_slice() {
            [account] => Some(*account),
            _ => None,
        },
        _ => None,
    }
}

/// The address itself, else without its detail (RFC 5233 s.4: what follows the first `+`).
fn look_up<'a>(directory: &'a Directory, canonical: &str) -> Option<&'a Target> {
    directory.resolve(canonical).or_else(|| {
        let (local, domain) = canonical.rsplit_once('@')?;
        let (user, _detail) = local.split_once('+')?;
        directory.resolve(&format!("{user}@{domain}"))
    })
}

/// Where an address leads, each account and address once, in the order in which aliases name them. Each alias is opened
/// once, so that circles end, however wide they are.
fn expand(directory: &Directory, canonical: &str) -> Route {
    let Route { mut accounts, mut remote } = Route::default();
    let mut opened: HashSet<*const Target> = HashSet::new();
    let mut left = vec![canonical];
    while let Some(address) = left.pop() {
        // What an alias leads to elsewhere stands as it was given, and its domain may have become ours since.
        let found = look_up(directory, address).or_else(|| {
            let canonical = Address::parse(address.as_bytes()).ok()?.canonical();
            if canonical == address { None } else { look_up(directory, &canonical) }
        });
        match found {
            Some(Target::Account(account)) if !accounts.contains(account) => accounts.push(*account),
            Some(alias @ Target::Alias(to)) if opened.insert(alias) => {
                left.extend(to.iter().rev().map(String::as_str));
            }
            Some(_) => {}
            None => remote.extend(outside(directory, address).filter(|a| !remote.contains(a))),
        }
    }
    Route { accounts, remote }
}

/// An alias's target in somebody else's domain.
fn outside(directory: &Directory, address: &str) -> Option<Address> {
    let address = Address::parse(address.as_bytes()).ok()?;
    let ours = address.domain.name().is_some_and(|domain| directory.has_domain(domain));
    (!ours).then_some(address)
}

/// Who answers for this host: the account that the configuration names, else the first.
fn responsible(directory: &Directory, postmaster: Option<&str>) -> Result<AccountId, Error> {
    let named = postmaster.and_then(|name| {
        let name = name.to_ascii_lowercase();
        let by_address = Address::parse(name.as_bytes()).ok().and_then(|a| owner(directory, &a.canonical()));
        by_address.or_else(|| directory.login(&name).map(|account| account.id))
    });
    named.or_else(|| directory.accounts().next().map(|account| account.id)).ok_or(Error::NoSuchUser)
}

impl Judged {
    /// Finds the mailboxes that the message goes to.
    ///
    /// # Errors
    /// `Unavailable` when a recipient accepted at RCPT is gone since: the next try learns it there.
    pub fn routed(self, house: &House) -> Result<Routed, Error> {
        let directory = house.store.directory();
        let submitted = self.received.origin.account.is_some();
        let mut deliveries: Vec<Delivery> = Vec::new();
        let mut remote: Vec<Remote> = Vec::new();
        let mut tell = Vec::new();
        for recipient in &self.received.envelope.recipients {
            let path = &recipient.path;
            let route = route(&directory, house.postmaster.as_deref(), path, submitted)
                .map_err(|_| Error::Unavailable)?;
            for address in route.remote {
                if remote.iter().all(|r| r.address != address) {
                    remote.push(Remote { address, recipient: recipient.clone() });
                }
            }
            if !route.accounts.is_empty() && wants_success(recipient) {
                tell.push(recipient.clone());
            }
            for account in route.accounts {
                if deliveries.iter().all(|d| d.account != account) {
                    let mailbox = directory.mailbox_at(account, "INBOX").ok_or(Error::Unavailable)?.id;
                    let recipient = match path {
                        ForwardPath::Postmaster => format!("postmaster@{}", house.hostname),
                        ForwardPath::Path(address) => address.to_string(),
                    };
                    deliveries.push(Delivery { account, mailbox, recipient });
                }
            }
        }
        Ok(Routed { judged: self, deliveries, remote, tell })
    }
}
