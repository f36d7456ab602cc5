//! Import and export as the server does its half of them: the store at one end of a socket, the program that reads or
//! writes files at the other.

use std::collections::HashSet;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use store::AccountId;

use super::accounts::find;
use super::{Admin, Answer, Error, Request};
use crate::port::{self, FrameSink, StoreSink};

/// How long an import waits for another into the same account: one whose program was just killed ends soon.
const WAIT: Duration = Duration::from_secs(20);

/// The imports under way.
#[derive(Debug, Default)]
pub(super) struct Imports {
    /// Their accounts. Two at once would not see each other's messages, and so each message twice.
    accounts: Mutex<HashSet<AccountId>>,
    ended: Condvar,
    /// None may go on.
    stopping: AtomicBool,
}

/// An import's hold on its account.
struct Hold {
    imports: Arc<Imports>,
    account: AccountId,
}

impl Hold {
    /// Waits for a while; `None` when another import still runs.
    fn take(imports: &Arc<Imports>, account: AccountId) -> Option<Hold> {
        let held = imports.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut held, _) = imports
            .ended
            .wait_timeout_while(held, WAIT, |held| held.contains(&account))
            .unwrap_or_else(PoisonError::into_inner);
        held.insert(account).then(|| Hold { imports: Arc::clone(imports), account })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.imports.accounts.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.account);
        self.imports.ended.notify_all();
    }
}

impl Admin {
    /// Ends the imports that are under way: each settles what came, and says why it takes no more. Blocks for `most` at
    /// the longest.
    pub fn end_imports(&self, most: Duration) {
        self.imports.stopping.store(true, Ordering::Relaxed);
        let held = self.imports.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.imports.ended.wait_timeout_while(held, most, |held| !held.is_empty()));
    }

    /// Whether a transfer may begin.
    ///
    /// # Errors
    /// As [`Admin::answer`] has them.
    pub fn ready_for(&self, request: &Request) -> Result<(), Error> {
        match request {
            Request::Import { account, .. } | Request::Export { account } => self.ready(account).map(drop),
            _ => Ok(()),
        }
    }

    /// Whether there is such an account.
    pub(super) fn ready(&self, account: &str) -> Result<Answer, Error> {
        let account = find(&self.store.directory(), account)?;
        Ok(Answer::Ready { account: account.login.clone() })
    }

    /// Does the server's half of an import or export, once it was answered that it may begin. Blocks until the other end
    /// is done or gone.
    pub fn transfer(&self, request: &Request, stream: UnixStream) {
        if let Request::Backup(order) = request {
            return self.backup(order, &stream);
        }
        let (Request::Import { account, .. } | Request::Export { account }) = request else { return };
        let Ok(account) = find(&self.store.directory(), account) else { return };
        let result = match request {
            Request::Import { dry_run, .. } => {
                let Some(_hold) = Hold::take(&self.imports, account.id) else {
                    return port::frames::refuse(&stream, &port::Error::Busy);
                };
                tracing::info!(account = account.login, dry_run, "import begins");
                let stopping = || self.imports.stopping.load(Ordering::Relaxed);
                let mut sink = StoreSink::new(self.store.clone(), account.id, *dry_run);
                port::receive_until(&stopping, stream, &mut sink)
            }
            _ => {
                tracing::info!(account = account.login, "export begins");
                FrameSink::new(stream)
                    .and_then(|mut sink| port::read_account(&self.store, account.id, &mut sink))
            }
        };
        match result {
            Ok(()) => tracing::info!(account = account.login, "import or export is done"),
            Err(why) => tracing::warn!(account = account.login, %why, "import or export ended early"),
        }
    }
}
