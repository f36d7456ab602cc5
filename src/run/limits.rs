//! The system's limits on this process: each connection is an open file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files beside the connections: the store's segments and index, sockets, commands, the log.
const OTHERS: u64 = 512;

/// Raises the limit of open files as far as this process may, and says so in the log when that is too little for
/// `connections`.
pub(super) fn raise_open_files(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        if let Err(error) = raised {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    if let Some(files) = getrlimit(Resource::Nofile).current.filter(|&files| files < wanted) {
        tracing::warn!(
            files,
            connections,
            "fewer open files are allowed than there may be connections: raise LimitNOFILE= of the unit (`ulimit -n`)"
        );
    }
}
