//! Who does what was asked: the running server, over its control socket; or, when none runs, this process itself,
//! on the data directory and under its lock. Both run the same functions of `admin`.

use std::io;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use super::owner;
use super::print::Failure;
use crate::admin::control::{self, Asked};
use crate::admin::{Answer, Error, Kind, QueuePage, Request, address};
use crate::config::Config;
use crate::run;

/// Asks on behalf of the commands.
#[derive(Debug)]
pub(super) struct Asker {
    config: Config,
}

/// An import or export that has begun.
#[derive(Debug)]
pub(super) struct Transfer {
    /// Where the store's half talks.
    pub(super) stream: UnixStream,
    /// What does that half, if it is this process.
    thread: Option<JoinHandle<()>>,
}

impl Transfer {
    /// Takes the stream, and later waits until the store is closed.
    pub(super) fn begin(self) -> (UnixStream, impl FnOnce()) {
        let Transfer { stream, thread } = self;
        (stream, move || {
            if let Some(thread) = thread {
                // Whatever happened to it, the stream has told.
                let _ = thread.join();
            }
        })
    }
}

impl Asker {
    /// For the server of this configuration.
    pub(super) fn new(config: Config) -> Asker {
        Asker { config }
    }

    /// Has a request done, by whoever can.
    pub(super) fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        match self.running(request)? {
            Some(answer) => Ok(answer),
            None => self.in_process(request),
        }
    }

    /// Has a request done by the running server, or not at all.
    pub(super) fn ask_running(&self, request: &Request) -> Result<Answer, Failure> {
        self.running(request)?.ok_or_else(|| {
            Failure::new(
                Kind::Unreachable,
                "no server runs, so there is nothing that this could change",
                "`penfold serve` (or `systemctl start penfold`), then this again",
            )
        })
    }

    /// Has a request done by the running server; `None` when none runs.
    fn running(&self, request: &Request) -> Result<Option<Answer>, Failure> {
        self.heard(control::ask(&self.config.control, request))
    }

    fn heard(&self, asked: Asked) -> Result<Option<Answer>, Failure> {
        let socket = self.config.control.display();
        match asked {
            Asked::Answered(Ok(answer)) => Ok(Some(answer)),
            Asked::Answered(Err(error)) => Err(error.into()),
            Asked::NobodyThere => Ok(None),
            Asked::NoAnswer(why) if why.kind() == io::ErrorKind::PermissionDenied => Err(Failure::new(
                Kind::Unreachable,
                format!("the control socket {socket} is for root and the server's own user only"),
                "run this as root (sudo), or as the user that the server runs as",
            )),
            Asked::NoAnswer(why) => Err(Failure::new(
                Kind::Unreachable,
                format!("the server does not answer on its control socket {socket}: {why}"),
                "look at its log (`journalctl -u penfold`), and start it again if it hangs",
            )),
        }
    }

    /// Begins an import or export, with whoever can do the store's half of it.
    pub(super) fn transfer(&self, request: &Request) -> Result<Transfer, Failure> {
        if let Some(stream) = self.running_transfer(request)? {
            return Ok(Transfer { stream, thread: None });
        }
        let directory = self.config.data_dir.clone();
        if !directory.exists() {
            nothing_yet(request, self)?;
        }
        // Only the thread that opens the store becomes its owner: files are read and written as whoever called us.
        let first = move || {
            let found = std::fs::metadata(&directory).map_err(|e| owner::unreadable(&directory, &e))?;
            owner::become_owner(&directory, &found)
        };
        match run::transfer(&self.config, request.clone(), first) {
            Ok(Ok(t)) => Ok(Transfer { stream: t.stream, thread: Some(t.thread) }),
            // A server may have come up just now, and hold the lock.
            Ok(Err(failure)) if failure.kind == Kind::Unreachable => match self.running_transfer(request) {
                Ok(Some(stream)) => Ok(Transfer { stream, thread: None }),
                _ => Err(failure),
            },
            Ok(Err(failure)) => Err(failure),
            Err(error) => Err(error.into()),
        }
    }

    fn running_transfer(&self, request: &Request) -> Result<Option<UnixStream>, Failure> {
        let (asked, stream) = control::open(&self.config.control, request);
        Ok(self.heard(asked)?.and(stream))
    }

    fn in_process(&self, request: &Request) -> Result<Answer, Failure> {
        let directory = &self.config.data_dir;
        let makes = matches!(request, Request::DomainAdd { .. });
        match std::fs::metadata(directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && !makes => return nothing_yet(request, self),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(owner::unreadable(directory, &e)),
            Ok(found) => owner::become_owner(directory, &found)?,
        }
        match run::in_process(&self.config, request.clone()) {
            Ok(result) => result.map_err(Failure::from),
            // A server may have come up just now, and hold the lock.
            Err(run::Error::Locked { .. }) if let Ok(Some(answer)) = self.running(request) => Ok(answer),
            Err(error) => Err(error.into()),
        }
    }
}

/// What there is to say when there is no data directory: reading does not make one.
fn nothing_yet(request: &Request, asker: &Asker) -> Result<Answer, Failure> {
    let nothing: Error = match request {
        Request::DomainList => return Ok(Answer::Domains(Vec::new())),
        Request::AccountList => return Ok(Answer::Accounts(Vec::new())),
        Request::AliasList => return Ok(Answer::Aliases(Vec::new())),
        Request::DeletedList { .. } => {
            return Ok(Answer::Deleted { rows: Vec::new(), messages: 0, more: false });
        }
        Request::DeletedRestore { .. } => Error::NothingDeleted { what: "what you describe".into() },
        Request::QueueList { .. } => return Ok(Answer::Queue(QueuePage::default())),
        Request::QueueShow { id } => Error::NotQueued { id: id.clone() },
        Request::QueueChange { which, .. } if !which.ids.is_empty() => {
            Error::NotQueued { id: which.ids.concat() }
        }
        Request::QueueChange { .. } => return Ok(Answer::QueueChanged { recipients: 0, busy: 0 }),
        Request::Trace { .. } => {
            return Ok(Answer::Traced { fates: Vec::new(), more: false, waits: Vec::new() });
        }
        Request::DkimShow { domain: None } => return Ok(Answer::Dkim(Vec::new())),
        Request::DkimShow { domain: Some(name) } | Request::DkimRotate { domain: name, .. } => {
            Error::NoSuchDomain { name: address::domain(name)? }
        }
        Request::DomainRemove { name } => Error::NoSuchDomain { name: address::domain(name)? },
        Request::AccountPassword { address, .. }
        | Request::AccountQuota { address, .. }
        | Request::AccountLimit { address, .. }
        | Request::AccountRemove { address }
        | Request::AddressAdd { account: address, .. }
        | Request::AddressRemove { account: address, .. }
        | Request::Import { account: address, .. }
        | Request::Export { account: address } => {
            Error::NoSuchAccount { address: address::address(address)?.0 }
        }
        Request::AliasRemove { address } => Error::NoSuchAlias { address: address::address(address)?.0 },
        Request::AccountAdd { address, .. } | Request::AliasAdd { address, .. } => {
            Error::NoSuchDomain { name: address::address(address)?.1 }
        }
        Request::Status | Request::ClockAccept | Request::DomainAdd { .. } | Request::Backup(_) => {
            return Err(Failure::new(
                Kind::Unreachable,
                format!("no server runs, and there is no data directory {}", asker.config.data_dir.display()),
                "`penfold domain add example.org` makes it, `penfold serve` too",
            ));
        }
    };
    Err(nothing.into())
}
