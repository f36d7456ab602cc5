//! The SMTP client machine: one connection to a server, and any number of transactions over it.

mod ask;
mod extensions;
mod reply;

pub use ask::{
    Answer, AuthError, Config, Envelope, Failure, Fate, Outcome, Phase, Question, Ready, Recipient, Refused,
    Unsaid, Why,
};
pub use extensions::Extensions;
pub use reply::{Class, Found, Replies, Reply};

use std::time::Duration;

use crate::limits;

/// How long replies may take (RFC 5321 s.4.5.3.2). `Default` is what the RFC asks for at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The greeting, and replies to all commands but those below.
    pub command: Duration,
    /// The reply to DATA.
    pub data: Duration,
    /// The reply to a whole message.
    pub message: Duration,
    /// The reply to QUIT, for which nobody has to wait.
    pub quit: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            command: limits::SMTP_REPLY_WITHIN,
            data: limits::SMTP_DATA_WITHIN,
            message: limits::SMTP_MESSAGE_WITHIN,
            quit: limits::SMTP_QUIT_WITHIN,
        }
    }
}
