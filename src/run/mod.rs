//! The only wiring: a store, a certificate, listeners with their machines and desks, the control socket, signals,
//! and the way down. Everything else in the program is handed what it needs from here.
//!
//! It decides nothing about mail and prints nothing; what an operator should read it gives to `cli`, or logs.

mod care;
pub mod demo;
mod desks;
mod limits;
mod local;
mod outbound;
mod server;
mod signals;
mod storage;

use std::io;
use std::path::PathBuf;

pub use care::{Into, is_served, repair, salvage, verify};
pub use local::{Transfer, in_process, transfer};
pub use server::{Listener, Protocol, Running, Server};
pub use signals::Hangup;
pub use storage::{has_room, wait_for_room};

use crate::admin::{self, Kind, control};
use crate::net;
use crate::password::Passwords;

/// Why the server, or a command in its place, does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds the data directory.
    #[error("the data directory {} is in use{}", directory.display(), by(*holder))]
    Locked {
        /// The data directory.
        directory: PathBuf,
        /// Who holds it, if it says so.
        holder: Option<u32>,
    },
    /// The store does not open.
    #[error("the store in {} cannot be opened: {why}", directory.display())]
    Store {
        /// The data directory.
        directory: PathBuf,
        /// In the store's words.
        why: store::OpenError,
    },
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] net::BindError),
    /// The control socket cannot be made.
    #[error(transparent)]
    Control(#[from] control::BindError),
    /// There is no usable certificate.
    #[error(transparent)]
    Tls(#[from] crate::tls::Error),
    /// What a start needs to write could not be.
    #[error(transparent)]
    Admin(#[from] admin::Error),
    /// A signal ended it before it served.
    #[error("stopped before it served")]
    Interrupted,
    /// The system refused something else.
    #[error("{what}: {why}")]
    Io {
        /// What was wanted.
        what: String,
        /// What the system said.
        why: io::Error,
    },
}

fn passwords() -> Result<Passwords, Error> {
    Passwords::new()
        .map_err(|why| Error::Io { what: "passwords cannot be hashed".into(), why: io::Error::other(why) })
}

fn by(holder: Option<u32>) -> String {
    holder.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}

impl Error {
    /// What a caller does with it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Error::Locked { .. } => Kind::Unreachable,
            Error::Store { .. }
            | Error::Bind(_)
            | Error::Control(_)
            | Error::Tls(_)
            | Error::Interrupted
            | Error::Io { .. } => Kind::Failed,
            Error::Admin(error) => error.kind(),
        }
    }

    /// What to do next, where the text does not say it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        Some(match self {
            Error::Locked { holder, .. } => {
                let who = holder.map_or_else(|| "it".to_owned(), |pid| format!("`ps -p {pid}`"));
                format!(
                    "the process holding it does not answer on this configuration's control socket: wait until it \
                     has ended, or stop it ({who})"
                )
            }
            Error::Store { why, directory } => match why {
                store::OpenError::Io { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                    "run this as root (sudo), or as the user that owns the directory".into()
                }
                store::OpenError::Newer(_) => "install the newer version again; nothing was changed".into(),
                store::OpenError::Missing(_) => {
                    format!("restore {} from a backup; nothing was changed", directory.display())
                }
                store::OpenError::NotAStore(_) => "look at `data_dir` in the configuration; nothing was changed".into(),
                store::OpenError::NoBase(_) | store::OpenError::Unreadable { .. } => {
                    "`penfold verify` says what is wrong; look at the disk and at the log of the system (`dmesg`)".into()
                }
                _ => "look at the disk and at the log of the system (`dmesg`)".into(),
            },
            Error::Control(control::BindError::Taken { .. }) => {
                "`penfold status` shows it; give each server its own `control` in its configuration".into()
            }
            Error::Control(_) => {
                "the server's user must be able to write there (systemd's RuntimeDirectory= sees to it); `control` in \
                 the configuration names another place"
                    .into()
            }
            Error::Admin(error) => return error.advice(),
            Error::Bind(_) | Error::Tls(_) | Error::Interrupted | Error::Io { .. } => return None,
        })
    }
}
