//! Which machine and which desk serve a port.

use std::sync::Arc;

use store::Store;

use super::Protocol;
use crate::config::Config;
use crate::login::Door;
use crate::net::{Bound, Listening, Service};

/// What desks are made with.
pub(super) struct Kit;

impl Kit {
    pub(super) fn new(config: &Arc<Config>, store: &Store, door: &Door) -> Kit {
        let _ = (config, store, door);
        Kit
    }

    /// Serves a port, if its machine is built.
    pub(super) fn serve(&self, protocol: Protocol, bound: Bound, service: Service) -> Option<Listening> {
        let _ = (protocol, bound, service);
        None
    }
}

/// What a client is told that may not come in. The words of each protocol.
pub(super) fn refusal(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Smtp | Protocol::Submission | Protocol::Submissions => {
            b"421 4.7.0 too many connections, try again later\r\n"
        }
        Protocol::Imap | Protocol::Imaps => b"* BYE [UNAVAILABLE] too many connections, try again later\r\n",
        Protocol::Pop3 | Protocol::Pop3s => b"-ERR [SYS/TEMP] too many connections, try again later\r\n",
    }
}
