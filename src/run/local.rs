//! A request done by this process itself, on the data directory and under its lock: for commands, when no server runs.

use std::sync::Arc;
use std::time::Duration;

use super::{Error, storage};
use crate::admin::{self, Admin, Answer, Request};
use crate::config::Config;
use crate::login::Door;

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
    let admin = Admin::new(store.clone(), config.data_dir.clone(), door, None);
    let result = runtime.block_on(admin.answer(request));
    if let Err(error) = store.close() {
        // What was answered is on disk; the next opening is slower.
        tracing::warn!(%error, "the store did not close cleanly");
    }
    Ok(result)
}
