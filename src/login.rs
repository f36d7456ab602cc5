//! Who may come in: one way to log in for all protocols, and how a session ends when the password changes.
//!
//! Desks share it, so that slowing down guesses, caching and the log line are the same everywhere. A wrong password
//! and an unknown user are one and the same answer, and take the same time.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::{AccountId, Store, Watch};
use wire::addr::Address;
use wire::machine::Over;
use wire::secret::Secret;

use crate::clock;
use crate::config::Network;
use crate::password::{self, Passwords};
use crate::rate::{Logins, Verdict};

/// Why a login is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Wrong user or password.
    Wrong,
    /// Too many failures from this address for now; nothing was looked at.
    TooMany,
    /// It cannot be found out now.
    Unavailable,
}

/// The way in. Clones are the same door.
#[derive(Clone)]
pub struct Door(Arc<Inner>);

struct Inner {
    store: Store,
    passwords: Passwords,
    failures: Mutex<Logins>,
}

impl Door {
    /// A door that allows so many failed logins a minute from one address before it slows them down.
    #[must_use]
    pub fn new(store: Store, passwords: Passwords, failures_a_minute: u32) -> Door {
        Door(Arc::new(Inner { store, passwords, failures: Mutex::new(Logins::new(failures_a_minute)) }))
    }

    /// Where passwords are hashed and remembered.
    #[must_use]
    pub fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    fn failures(&self) -> MutexGuard<'_, Logins> {
        self.0.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs in. `user` is a login name or an address of the account, in any case.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn enter(
        &self,
        peer: IpAddr,
        user: &str,
        password: &Secret<String>,
    ) -> Result<Session, Refused> {
        let from = Network::of(peer);
        let verdict = self.failures().verdict(from, clock::monotonic());
        match verdict {
            Verdict::Go => {}
            Verdict::Wait(time) => tokio::time::sleep(time).await,
            Verdict::Refuse(time) => {
                tracing::info!(user, again_in = time.as_secs(), "login refused: too many failures");
                return Err(Refused::TooMany);
            }
        }
        let store = &self.0.store;
        let name = user.trim().to_ascii_lowercase();
        let account = find(store, &name);
        // The watch is taken before the password is looked at, so that no change falls between.
        let watch = account.as_ref().map(|a| store.watch_account(a.id));
        let known = account.as_ref().map(|a| password::Account {
            id: a.id.get(),
            epoch: a.credentials,
            phc: &a.password,
        });
        let right = self.0.passwords.verify(known, password, clock::monotonic()).await.map_err(|e| {
            tracing::warn!(user, error = %e, "login could not be looked at");
            Refused::Unavailable
        })?;
        match (account, watch) {
            (Some(account), Some(watch)) if right => {
                self.failures().succeeded(from, clock::monotonic());
                tracing::info!(account = %account.login, "logged in");
                Ok(Session {
                    store: store.clone(),
                    account: account.id,
                    login: account.login.clone(),
                    credentials: account.credentials,
                    watch,
                })
            }
            _ => {
                let mark = self.0.passwords.mark(&name, password);
                self.failures().failed(from, mark, clock::monotonic());
                tracing::info!(user, "login failed");
                Err(Refused::Wrong)
            }
        }
    }
}

/// The account with this login name, or with this address: as typed, or in the form in which addresses are kept
/// (A-labels, no needless quotes).
fn find(store: &Store, name: &str) -> Option<Arc<store::Account>> {
    let directory = store.directory();
    let known = |name: &str| {
        directory.login(name).or_else(|| match directory.resolve(name)? {
            store::Target::Account(id) => directory.account(*id),
            store::Target::Alias(_) => None,
        })
    };
    let canonical = || Some(Address::parse(name.as_bytes()).ok()?.canonical());
    known(name).or_else(|| known(&canonical()?)).cloned()
}

/// A session of an account. It ends when the account's password changes or the account goes.
pub struct Session {
    store: Store,
    account: AccountId,
    login: String,
    credentials: u64,
    watch: Watch,
}

impl Session {
    /// Whose.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The account's login name.
    #[must_use]
    pub fn login(&self) -> &str {
        &self.login
    }

    /// Why it must end, if it must. Cheap.
    #[must_use]
    pub fn over(&self) -> Option<Over> {
        match self.store.directory().account(self.account) {
            None => Some(Over::AccountRemoved),
            Some(account) if account.credentials != self.credentials => Some(Over::PasswordChanged),
            Some(_) => None,
        }
    }

    /// Completes when it must end. May be dropped and called again.
    pub async fn ends(&mut self) {
        while self.over().is_none() {
            self.watch.changed().await;
        }
    }
}
