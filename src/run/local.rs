//! A request done by this process itself, on the data directory and under its lock: for commands, when no server runs.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Error, storage};
use crate::admin::{self, Admin, Answer, Request};
use crate::config::Config;
use crate::flow::dkim::Keyring;
use crate::login::Door;
use store::Store;

/// How long a command waits for the lock: a server that is going down needs a moment.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Opens the store, does what is asked, and closes it.
///
/// # Errors
/// When the store does not open; within, what the function of `admin` refuses.
pub fn in_process(config: &Config, request: Request) -> Result<Result<Answer, admin::Error>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| Error::Io { what: "this process cannot wait for anything".into(), why })?;
    let passwords = super::passwords()?;
    // A failed index is rebuilt at the next opening; the log has what this command did.
    let (store, _) = storage::open(&config.data_dir, config.undelete_days, LOCK_WAIT, Arc::new(|_| {}))?;
    let door = Door::new(store.clone(), passwords, config.limits.failed_logins);
    let admin = Admin::new(store.clone(), config.data_dir.clone(), door, Keyring::new(store.clone()), None);
    let result = runtime.block_on(admin.answer(request));
    if let Err(error) = store.close() {
        // What was answered is on disk; the next opening is slower.
        tracing::warn!(%error, "the store did not close cleanly");
    }
    Ok(result)
}

/// An import or export whose half on the store is done by a thread of this process.
#[derive(Debug)]
pub struct Transfer {
    /// Where the other half talks to it.
    pub stream: UnixStream,
    /// Ends when the store is closed.
    pub thread: JoinHandle<()>,
}

/// Begins an import or export on the data directory itself. `first` is called on the thread that opens the store, before
/// it does: whom that makes the owner of the directory, the rest of the process need not become, so that it still reads
/// and writes files as whoever it is.
///
/// # Errors
/// When the store does not open; within, what `first` or `admin` refuse.
pub fn transfer<E, F>(config: &Config, request: Request, first: F) -> Result<Result<Transfer, E>, Error>
where
    E: From<admin::Error> + From<Error> + Send + 'static,
    F: FnOnce() -> Result<(), E> + Send + 'static,
{
    let failed = |what: &str| {
        let what = what.to_owned();
        move |why| Error::Io { what, why }
    };
    let (stream, inner) = UnixStream::pair().map_err(failed("no sockets can be had"))?;
    let (tell, hear) = std::sync::mpsc::channel();
    let config = config.clone();
    let serve = move || {
        let begin = || -> Result<(Store, Admin), E> {
            first()?;
            let passwords = super::passwords()?;
            let (store, _) =
                storage::open(&config.data_dir, config.undelete_days, LOCK_WAIT, Arc::new(|_| {}))?;
            let door = Door::new(store.clone(), passwords, config.limits.failed_logins);
            let admin =
                Admin::new(store.clone(), config.data_dir.clone(), door, Keyring::new(store.clone()), None);
            Ok((store, admin))
        };
        let (store, admin) = match begin() {
            Ok(both) => both,
            Err(error) => return drop(tell.send(Err(error))),
        };
        // Nobody listens any more when the other half gave up; then the socket tells.
        match admin.ready_for(&request) {
            Ok(()) => {
                let _ = tell.send(Ok(()));
                admin.transfer(&request, inner);
            }
            Err(error) => drop(tell.send(Err(error.into()))),
        }
        if let Err(error) = store.close() {
            tracing::warn!(%error, "the store did not close cleanly");
        }
    };
    let thread = std::thread::Builder::new()
        .name("transfer".into())
        .spawn(serve)
        .map_err(failed("no thread can be had"))?;
    Ok(match hear.recv() {
        Ok(Ok(())) => Ok(Transfer { stream, thread }),
        Ok(Err(error)) => {
            let _ = thread.join();
            Err(error)
        }
        Err(_) => {
            return Err(failed("the store was given up")(std::io::Error::other("a defect of this program")));
        }
    })
}
