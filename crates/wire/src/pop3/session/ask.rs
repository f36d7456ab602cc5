//! What the POP3 machine asks its desk, and what a desk may answer.
//!
//! For `List(None)`, `Uidl(None)`, `Retr` and `Top` the desk writes the whole reply, first line to final dot, with
//! the encoders of `pop3::reply`, and then answers `Done`. A refusal is decided before the first octet. When the
//! connection goes away without QUIT nothing is asked: the desk is dropped, and removes nothing.

use std::num::NonZeroU32;

use crate::sasl::Credentials;

/// What a machine is told when it is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name that the greeting gives.
    pub hostname: String,
    /// Whether the driver can upgrade to TLS; STLS is offered while the connection is not under TLS.
    pub starttls: bool,
    /// Whether logins are taken without TLS: only the demo on loopback says so.
    pub auth_in_plain: bool,
    /// What IMPLEMENTATION tells (RFC 2449 s.6.9); no spaces are needed in it.
    pub implementation: String,
}

/// What the machine asks. Message numbers are those of the maildrop as it was at login; the desk says whether one
/// exists and is not marked as deleted.
#[derive(Debug)]
pub enum Question {
    /// The connection is open and nothing has been said. A failure is the greeting, and ends it.
    Connected,
    /// Log in and open the maildrop, exclusively: `Stat`, or a failure.
    Login(Credentials),
    /// How many messages and octets there are: `Stat`.
    Stat,
    /// One message: `Listed`. All of them: streamed, `Done`.
    List(Option<NonZeroU32>),
    /// One message: `Uid`. All of them: streamed, `Done`.
    Uidl(Option<NonZeroU32>),
    /// A whole message, streamed: `Done`.
    Retr(NonZeroU32),
    /// Its header, the empty line, and so many lines of its body, streamed: `Done`.
    Top {
        /// Which message.
        number: NonZeroU32,
        /// Lines of the body; may be more than there are.
        lines: u64,
    },
    /// Mark as deleted: `Done`.
    Dele(NonZeroU32),
    /// Unmark all: `Stat`, as it is then.
    Rset,
    /// Remove what is marked (the UPDATE state), and close the maildrop. The connection ends whatever the answer.
    Quit,
}

/// What a desk answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done. After a streamed reply everything has been said.
    Done,
    /// To `Login`: the maildrop is open. To `Stat` and `Rset`: as it stands.
    Stat {
        /// Messages not marked as deleted.
        count: u64,
        /// Their octets.
        octets: u64,
    },
    /// To `List(Some(_))`: octets of the message.
    Listed(u64),
    /// To `Uidl(Some(_))`: its unique id, 1 to 70 characters from 0x21 to 0x7e (RFC 1939 s.7).
    Uid(String),
    /// No.
    Failed(Failure),
}

/// Why not. The machine has the words and the response code (RFC 2449 s.8, RFC 3206).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No such message, or it is marked as deleted.
    NoSuchMessage,
    /// Wrong user or password: `[AUTH]`; counted.
    Denied,
    /// Another session holds the maildrop: `[IN-USE]`.
    InUse,
    /// Too many failed logins: `[SYS/TEMP]`. Not `[LOGIN-DELAY]`, which says that somebody has just logged in.
    TooOften,
    /// Trouble here that goes by itself: `[SYS/TEMP]`.
    Temporary,
    /// Trouble here that somebody has to mend: `[SYS/PERM]`.
    Permanent,
    /// No service for this client; the connection is closed.
    Refused,
}
