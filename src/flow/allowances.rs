//! What accounts may send to other hosts: messages a day, and people a day that they had not written to within a year. Whoever
//! has got hold of a password sends far more than its owner ever does, and has this host's name in every blocklist by
//! morning.
//!
//! A day begins with the first message to another host after the last day is over, and lasts 24 hours. What was sent is
//! counted in the commit that takes the message: a crash neither forgets nor doubles it. Of one account's messages one is
//! committed at a time, so that two sessions at once do not pass together.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::{AccountId, Batch, Book, Intent, Prefix, ReadError, Store};
use tokio::sync::OwnedMutexGuard;
use wire::addr::{Address, ForwardPath};
use wire::flag::FlagNames;

use super::dsn::{Allowance, LimitReached, limit_reached};
use super::received::MessageRef;
use super::{Error, House, route};
use crate::{clock, disk};

const DAY: i64 = 24 * 3_600;
const YEAR: i64 = 365 * DAY;
/// Lines looked at in one go.
const PAGE: usize = 1_000;

/// What an account's lines are, in the order in which they follow its number in their keys.
#[derive(Clone, Copy)]
enum Kind {
    /// What it has sent: a [`Spent`].
    Spent = 0,
    /// Limits of its own: a [`Custom`].
    Custom = 1,
    /// When it last wrote to somebody, in seconds since 1970; the address follows.
    Known = 2,
}

fn key(account: AccountId, kind: Kind) -> Vec<u8> {
    let mut key = account.get().to_be_bytes().to_vec();
    key.push(kind as u8);
    key
}

/// The key of somebody written to. An address may be longer than a key; then its hash does.
fn known(account: AccountId, address: &str) -> Vec<u8> {
    const LONGEST: usize = 240;
    let mut key = key(account, Kind::Known);
    if address.len() <= LONGEST {
        key.extend_from_slice(address.as_bytes());
    } else {
        // No address begins with a space.
        key.push(b' ');
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, address.as_bytes());
        key.extend_from_slice(hash.as_ref());
    }
    key
}

/// Whose a line is, by its key.
#[must_use]
pub fn whose(key: &[u8]) -> Option<u32> {
    key.first_chunk().map(|number| u32::from_be_bytes(*number))
}

/// The key of the same line of another account.
#[must_use]
pub fn moved(key: &[u8], to: AccountId) -> Vec<u8> {
    [&to.get().to_be_bytes(), key.get(4..).unwrap_or_default()].concat()
}

fn write(key: Vec<u8>, value: &impl Serialize) -> Intent {
    Intent::Write { book: Book::Allowances, key, value: serde_json::to_vec(value).unwrap_or_default() }
}

fn read<T: DeserializeOwned>(store: &Store, key: &[u8]) -> Result<Option<T>, ReadError> {
    let line = store.line(Book::Allowances, key)?;
    Ok(line.and_then(|line| serde_json::from_slice(&line.value).ok()))
}

/// How much may be sent in a day; 0 is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Daily {
    /// Messages.
    pub messages: u64,
    /// People that were not written to within a year.
    pub new_recipients: u64,
}

/// Limits of an account's own; what is not said is as for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Custom {
    /// Messages a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<u64>,
    /// New recipients a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_recipients: Option<u64>,
}

impl Custom {
    /// An account's.
    ///
    /// # Errors
    /// The index failed.
    pub fn of(store: &Store, account: AccountId) -> Result<Custom, ReadError> {
        Ok(read(store, &key(account, Kind::Custom))?.unwrap_or_default())
    }

    /// Makes them an account's.
    #[must_use]
    pub fn write(&self, account: AccountId) -> Intent {
        let key = key(account, Kind::Custom);
        if *self == Custom::default() {
            Intent::Strike { book: Book::Allowances, key }
        } else {
            write(key, self)
        }
    }
}

/// What an account has sent in its day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// When the day began, in seconds since 1970.
    pub since: i64,
    /// Messages.
    pub messages: u64,
    /// New recipients.
    pub new_recipients: u64,
    /// The administrator has been told that it was too much.
    pub told: bool,
}

impl Spent {
    /// What an account has sent by now.
    ///
    /// # Errors
    /// The index failed.
    pub fn of(store: &Store, account: AccountId, now: i64) -> Result<Spent, ReadError> {
        let spent: Option<Spent> = read(store, &key(account, Kind::Spent))?;
        Ok(spent.unwrap_or_default().at(now))
    }

    fn at(self, now: i64) -> Spent {
        // A clock that was wrong for a while must not make the day longer than one.
        let spent = Spent { since: self.since.min(now), ..self };
        if now < spent.ends() { spent } else { Spent { since: now, ..Spent::default() } }
    }

    fn ends(&self) -> i64 {
        self.since.saturating_add(DAY)
    }
}

/// What all accounts may send unless they have limits of their own, and whose turn it is. Cheap to clone.
#[derive(Clone)]
pub struct Allowances(Arc<Inner>);

struct Inner {
    daily: Daily,
    turns: Mutex<HashMap<u32, Arc<tokio::sync::Mutex<()>>>>,
}

/// An account's turn to send.
pub(super) type Turn = OwnedMutexGuard<()>;

impl Allowances {
    /// With what each account may send.
    #[must_use]
    pub fn new(daily: Daily) -> Allowances {
        Allowances(Arc::new(Inner { daily, turns: Mutex::default() }))
    }

    /// Waits for an account's turn: nobody else counts what it sends meanwhile.
    async fn turn(&self, account: AccountId) -> Turn {
        let turn = {
            let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(account.get()).or_default())
        };
        turn.lock_owned().await
    }
}

/// An account's books when it wants to write to somebody.
struct Look {
    daily: Daily,
    spent: Spent,
    /// Addresses that are new.
    new: BTreeSet<String>,
    /// Addresses whose lines are to be written.
    stale: BTreeSet<String>,
}

impl Look {
    fn allows(&self, new: usize) -> Result<(), Error> {
        let reached = |allowance, limit| Error::LimitReached { allowance, limit, again: self.spent.ends() };
        let Daily { messages, new_recipients } = self.daily;
        let new = u64::try_from(new).unwrap_or(u64::MAX);
        if self.spent.messages >= messages {
            return Err(reached(Allowance::Messages, messages));
        }
        if new > 0 && self.spent.new_recipients.saturating_add(new) > new_recipients {
            return Err(reached(Allowance::NewRecipients, new_recipients));
        }
        Ok(())
    }
}

impl House {
    fn look(&self, account: AccountId, to: &[Address], now: i64) -> Result<Look, Error> {
        let look = || {
            let custom = Custom::of(&self.store, account)?;
            let Daily { messages, new_recipients } = self.allowances.0.daily;
            let daily = Daily {
                messages: custom.messages.unwrap_or(messages),
                new_recipients: custom.new_recipients.unwrap_or(new_recipients),
            };
            let spent = Spent::of(&self.store, account, now)?;
            let mut look = Look { daily, spent, new: BTreeSet::new(), stale: BTreeSet::new() };
            for address in to.iter().map(Address::canonical) {
                let last: Option<i64> = read(&self.store, &known(account, &address))?;
                if last.is_none_or(|last| last < now - YEAR) {
                    look.new.insert(address.clone());
                }
                // Once a day is often enough for what is kept for a year.
                if last.is_none_or(|last| last < now - DAY) {
                    look.stale.insert(address);
                }
            }
            Ok(look)
        };
        disk::blocking(look).map_err(|error: ReadError| {
            tracing::error!(%error, "what an account has sent cannot be read");
            Error::Unavailable
        })
    }

    /// Whether an account may write to these too, in a message that has gone to `new` before. Asked at RCPT; whoever sends
    /// several messages at once may still hear at the end of one that it is one too many.
    ///
    /// # Errors
    /// `LimitReached`, `Unavailable`.
    pub async fn may_send(
        &self,
        account: AccountId,
        new: &mut BTreeSet<String>,
        to: &[Address],
    ) -> Result<(), Error> {
        if to.is_empty() {
            return Ok(());
        }
        let now = clock::wall().seconds;
        let look = self.look(account, to, now)?;
        match look.allows(new.union(&look.new).count()) {
            Ok(()) => new.extend(look.new),
            Err(reached) => {
                if !look.spent.told {
                    let _turn = self.allowances.turn(account).await;
                    self.tell(account, &reached, now).await;
                }
                return Err(reached);
            }
        }
        Ok(())
    }

    /// Counts a message to other hosts in the batch that commits it, or refuses it. Until what comes back is dropped nobody
    /// else is allowed anything in the account's name.
    pub(super) async fn spend(
        &self,
        batch: &mut Batch,
        account: Option<AccountId>,
        to: &[Address],
        now: i64,
    ) -> Result<Option<Turn>, Error> {
        let Some(account) = account.filter(|_| !to.is_empty()) else { return Ok(None) };
        let turn = self.allowances.turn(account).await;
        let look = self.look(account, to, now)?;
        if let Err(reached) = look.allows(look.new.len()) {
            self.tell(account, &reached, now).await;
            return Err(reached);
        }
        let mut spent = look.spent;
        spent.messages += 1;
        spent.new_recipients += u64::try_from(look.new.len()).unwrap_or(u64::MAX);
        batch.push(write(key(account, Kind::Spent), &spent));
        for address in &look.stale {
            batch.push(write(known(account, address), &now));
        }
        Ok(Some(turn))
    }

    /// Tells the administrator that an account wanted to send too much: once in its day. It must be the account's turn.
    async fn tell(&self, account: AccountId, reached: &Error, now: i64) {
        let Error::LimitReached { allowance, limit, .. } = *reached else { return };
        // Who may send nothing at all was told to send nothing by the administrator himself.
        let spent = disk::blocking(|| Spent::of(&self.store, account, now));
        let Some(spent) = spent.ok().filter(|spent| !spent.told && limit > 0) else { return };
        let directory = self.store.directory();
        let login = directory.account(account).map_or("(gone)", |account| account.login.as_str());
        tracing::warn!(account = login, ?allowance, limit, "an account has reached its sending limit");
        let mut batch = Batch::new();
        batch.push(write(key(account, Kind::Spent), &Spent { told: true, ..spent }));
        let to = format!("postmaster@{}", self.hostname);
        let id = format!("{}@{}", MessageRef::new(), self.hostname);
        let notice = LimitReached {
            hostname: &self.hostname,
            id: &id,
            now: clock::Date { unix: now, zone_minutes: 0 },
            to: &to,
            account: login,
            allowance,
            limit,
        };
        let body = batch.body(limit_reached(&notice));
        let keeper = route(&directory, self.postmaster.as_deref(), &ForwardPath::Postmaster, false);
        for keeper in keeper.unwrap_or_default().accounts {
            let Some(inbox) = directory.mailbox_at(keeper, "INBOX") else { continue };
            let octets = format!("Return-Path: <>\r\nDelivered-To: {to}\r\n").into_bytes();
            let (prefix, flags) = (Prefix { octets, replaces: 0 }, FlagNames::default());
            batch.push(Intent::Append { mailbox: inbox.id, body, prefix, flags, date: None });
        }
        // A warning is not refused for a quota.
        batch.accepted();
        if let Err(error) = disk::commit(&self.store, batch).await {
            tracing::warn!(%error, "the administrator could not be told of a sending limit");
        }
    }

    /// Forgets who was not written to within a year, and accounts that are gone.
    pub(super) async fn tidy_allowances(&self, now: i64) {
        let mut from = Vec::new();
        loop {
            let first = disk::blocking(|| self.store.lines(Book::Allowances, &from, None, 1));
            let first = match first {
                Ok(first) => first,
                Err(error) => {
                    tracing::error!(%error, "what accounts have sent cannot be tidied up");
                    return;
                }
            };
            let number = first.first().and_then(|(key, _)| whose(key));
            let Some(number) = number else { return };
            let tidied = match self.store.directory().accounts().find(|account| account.id.get() == number) {
                Some(account) => {
                    let _turn = self.allowances.turn(account.id).await;
                    let old = |value: &[u8]| {
                        serde_json::from_slice::<i64>(value).is_ok_and(|last| last < now - YEAR)
                    };
                    strike(&self.store, number, key(account.id, Kind::Known), old).await
                }
                None => forget(&self.store, number).await,
            };
            let Some(next) = number.checked_add(1).filter(|_| tidied.is_ok()) else { return };
            from = next.to_be_bytes().to_vec();
        }
    }
}

/// Strikes all lines of an account that is gone.
///
/// # Errors
/// The store cannot take it now; tidying does it later.
pub async fn forget(store: &Store, account: u32) -> Result<(), Error> {
    strike(store, account, account.to_be_bytes().to_vec(), |_| true).await
}

/// Strikes lines of an account, from a key on.
async fn strike(
    store: &Store,
    account: u32,
    mut from: Vec<u8>,
    which: impl Fn(&[u8]) -> bool,
) -> Result<(), Error> {
    let to = account.checked_add(1).map(u32::to_be_bytes);
    loop {
        let to = to.as_ref().map(<[u8; 4]>::as_slice);
        let page = disk::blocking(|| store.lines(Book::Allowances, &from, to, PAGE));
        let page = page.map_err(|_| Error::Unavailable)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        from = [&last[..], &[0]].concat();
        let mut batch = Batch::new();
        let mut any = false;
        for (key, _) in page.into_iter().filter(|(_, line)| which(&line.value)) {
            batch.push(Intent::Strike { book: Book::Allowances, key });
            any = true;
        }
        if any {
            disk::commit(store, batch).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_lasts_a_day_whatever_the_clock_does() {
        let spent = Spent { since: 1_000, messages: 7, new_recipients: 3, told: true };
        assert_eq!(spent.at(1_000), spent);
        assert_eq!(spent.at(1_000 + DAY - 1), spent);
        assert_eq!(spent.at(1_000 + DAY), Spent { since: 1_000 + DAY, ..Spent::default() });
        assert_eq!(spent.at(400), Spent { since: 400, ..spent }, "it had been set back by then");
        assert_eq!(Spent::default().at(1_795_486_769).since, 1_795_486_769);
    }

    #[test]
    fn lines_are_json_that_newer_versions_may_add_to() {
        let spent: Spent = serde_json::from_str(r#"{"since":5,"messages":2,"newer":1}"#).unwrap();
        assert_eq!(spent, Spent { since: 5, messages: 2, ..Spent::default() });
        let custom = Custom { messages: Some(0), new_recipients: None };
        assert_eq!(serde_json::to_string(&custom).unwrap(), r#"{"messages":0}"#);
    }
}
