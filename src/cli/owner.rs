//! Before the data directory is opened by a command: whose it is. Root becomes its owner first, so that the server,
//! which runs as that user, can read what the command wrote.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Gid, Uid};
use rustix::thread;

use super::print::Failure;
use crate::admin::Kind;

/// Makes root the owner of `directory`, for the rest of this process. Others stay who they are.
///
/// Linux keeps credentials for each thread: this must be called while there is only one.
pub(super) fn become_owner(directory: &Path, found: &Metadata) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() || found.uid() == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
    thread::set_thread_groups(&[])
        .and_then(|()| thread::set_thread_res_gid(gid, gid, gid))
        .and_then(|()| thread::set_thread_res_uid(uid, uid, uid))
        .map_err(|e| {
            Failure::new(
                Kind::Unreachable,
                format!("root could not become the owner (uid {uid}) of {}: {e}", directory.display()),
                "run this as that user",
            )
        })
}

/// The data directory is there, but not for us.
pub(super) fn unreadable(directory: &Path, error: &io::Error) -> Failure {
    let what = format!("the data directory {} cannot be opened: {error}", directory.display());
    let next = match error.kind() {
        io::ErrorKind::PermissionDenied => "run this as root (sudo), or as the user that the server runs as",
        _ => "look at `data_dir` in the configuration; --config names another file",
    };
    Failure::new(Kind::Unreachable, what, next)
}
