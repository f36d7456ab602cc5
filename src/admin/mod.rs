//! What a command or a page does, one function each: used by the command line, the control socket and later the
//! web page, so that all three do and say the same.
//!
//! It knows the store and has passwords hashed; it prints nothing, asks nobody and opens no network sockets. Each
//! change is one commit of the store: it is done as a whole, or not at all; but an import is many.

mod accounts;
pub mod address;
mod aliases;
mod backup;
pub mod control;
mod dkim;
mod domains;
mod error;
pub mod policy;
mod queue;
mod request;
mod status;
mod transfer;
mod undelete;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use store::{Batch, CommitError, Committed, Refused, Store};
use tokio::sync::Mutex;
use wire::secret::Secret;

use crate::flow::dkim::Keyring;
use crate::flow::queue::Queue;
use crate::login::Door;

pub use accounts::find as find_account;
pub use backup::{BackupOrder, BackupReport, BackupTold};
pub use error::{Error, Kind};
pub use request::*;

/// What only a running server knows, asked when it is wanted.
pub type Facts = Arc<dyn Fn() -> ServerStatus + Send + Sync>;

/// Does what is asked.
#[derive(Clone)]
pub struct Admin {
    store: Store,
    directory: PathBuf,
    door: Door,
    keyring: Keyring,
    queue: Option<Queue>,
    server: Option<Facts>,
    /// Held while something is looked at and then changed: two commands at once must not, between them, leave an
    /// alias leading nowhere.
    changing: Arc<Mutex<()>>,
    imports: Arc<transfer::Imports>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Admin {
    /// On an open store, whose data directory is `directory`; `door` is where logins are looked at, `keyring` what
    /// signs with the keys that are changed here. Without `server`, no server runs.
    #[must_use]
    pub fn new(
        store: Store,
        directory: PathBuf,
        door: Door,
        keyring: Keyring,
        server: Option<Facts>,
    ) -> Admin {
        let (changing, imports) = (Arc::default(), Arc::default());
        Admin { store, directory, door, keyring, queue: None, server, changing, imports }
    }

    /// ... whose queue is at work.
    #[must_use]
    pub fn with_queue(self, queue: Queue) -> Admin {
        Admin { queue: Some(queue), ..self }
    }

    /// Does what is asked. On an error nothing has changed.
    ///
    /// # Errors
    /// Whatever the function asked for refuses.
    pub async fn answer(&self, request: Request) -> Result<Answer, Error> {
        match request {
            Request::DomainAdd { name } => self.domain_add(&name).await,
            Request::DomainList => Ok(self.domain_list()),
            Request::DomainRemove { name } => self.domain_remove(&name).await,
            Request::AccountAdd { address, password } => self.account_add(&address, &password).await,
            Request::AccountList => self.account_list(),
            Request::AccountPassword { address, password } => {
                self.account_password(&address, &password).await
            }
            Request::AccountQuota { address, storage, messages } => {
                self.account_quota(&address, storage, messages).await
            }
            Request::AccountLimit { address, messages, new_recipients } => {
                self.account_limit(&address, messages, new_recipients).await
            }
            Request::AccountRemove { address } => self.account_remove(&address).await,
            Request::AddressAdd { account, address } => self.address_add(&account, &address).await,
            Request::AddressRemove { account, address } => self.address_remove(&account, &address).await,
            Request::AliasAdd { address, to } => self.alias_add(&address, &to).await,
            Request::AliasList => Ok(self.alias_list()),
            Request::AliasRemove { address } => self.alias_remove(&address).await,
            Request::DkimShow { domain } => self.dkim_show(domain.as_deref()),
            Request::DkimRotate { domain, activate } => self.dkim_rotate(&domain, activate).await,
            Request::QueueList { which, after, most } => {
                self.queue_list(which, after.as_deref(), usize::try_from(most).unwrap_or(usize::MAX))
            }
            Request::QueueShow { id } => self.queue_show(&id),
            Request::QueueChange { which, change } => self.queue_change(which, change).await,
            Request::Trace { what } => self.trace(&what),
            Request::DeletedList { which } => self.deleted_list(which).await,
            Request::DeletedRestore { ids, which, to } => self.deleted_restore(ids, which, to).await,
            Request::Status => Ok(self.status()),
            Request::ClockAccept => {
                let was_frozen = self.store.accept_clock();
                tracing::warn!(was_frozen, "the clock is taken to be right, as an administrator said");
                Ok(Answer::ClockAccepted { was_frozen })
            }
            Request::Import { account, .. } | Request::Export { account } => self.ready(&account),
            Request::Backup(_) => Ok(Answer::Begun),
        }
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        self.store.commit(batch).await.map_err(Error::from)
    }

    /// The hash of a password that a person may choose.
    async fn hash(&self, password: &Password) -> Result<String, Error> {
        policy::check(password)?;
        let password = Secret::new(password.reveal().to_owned());
        match self.door.passwords().hash(&password).await {
            Ok(hash) => Ok(hash.expose().clone()),
            Err(why) => Err(Error::Hash { why: why.to_string() }),
        }
    }
}

/// Most of these were looked at before the commit; they come when another command was quicker.
impl From<CommitError> for Error {
    fn from(error: CommitError) -> Error {
        match error {
            CommitError::Full => Error::Full,
            CommitError::Broken => Error::Broken,
            CommitError::Closed => Error::Stopping,
            CommitError::Refused(Refused::NoSuchDomain(name)) => Error::NoSuchDomain { name },
            CommitError::Refused(Refused::AddressTaken(address) | Refused::LoginTaken(address)) => {
                Error::AddressTaken { address, by: "somebody has it".into() }
            }
            CommitError::Refused(Refused::NoSuchAddress(address)) => Error::NoSuchAlias { address },
            CommitError::Refused(Refused::OverQuota) => Error::OverQuota,
            CommitError::Refused(other) => Error::Refused { why: other.to_string() },
        }
    }
}
