//! What the SMTP client machine asks its desk, and what a desk may answer. No protocol text.
//!
//! The life of a connection, as the desk sees it:
//! `Ready` (after each EHLO, and once logged in) → `Next` → `Body` → `Outcome` → `Next` … until `Quit`. `Refused` stands
//! where STARTTLS or AUTH did not work, and is answered as `Ready` is. Where the connection ends by itself, the last
//! question is `Over`, or an `Outcome` that says so. `Say` may come at any time while logging in.
//!
//! A connection that fails in the driver (a reset, a failed handshake) asks nothing any more: the driver's result
//! tells why, and what the desk was asked last tells how far it had got. Only between the answer to `Body` and the
//! `Outcome` is it in doubt whether the message was taken.

use crate::addr::ReversePath;
use crate::dsn::{EnvId, Ret};
use crate::machine::TlsFacts;
use crate::sasl::client::Login;
use crate::secret::Secret;
use crate::smtp::params::{BodyKind, Recipient};

use super::{Extensions, Reply, Timeouts};

/// What a machine is told when it is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// What EHLO says: our own name, or an address literal (RFC 5321 s.4.1.1.1).
    pub name: String,
    /// How long replies may take.
    pub timeouts: Timeouts,
}

/// What the machine asks.
#[derive(Debug)]
pub enum Question {
    /// The server has introduced itself, or the login worked. Answer `StartTls`, `Authenticate`, `Go` or `Quit`.
    Ready(Ready),
    /// STARTTLS or AUTH did not work; the connection is as it was before. Answered as `Ready`.
    Refused(Refused),
    /// These octets hold a password or what proves one: write them. A machine's own text may be logged, a desk's is
    /// not. Answer `Said`.
    Say(Secret<Vec<u8>>),
    /// A transaction may begin. Answer `Send` or `Quit`, and soon: servers wait five minutes (RFC 5321 s.4.5.3.2.7).
    Next,
    /// The server waits for the message: write it through `dot::Stuffer`, its end as well, and answer `Sent`. Or
    /// `Aborted`, which cuts the connection, so that no server takes the half for the whole; no outcome is told then.
    Body,
    /// What became of the envelope. Answer `Noted`.
    Outcome(Outcome),
    /// The connection is over, outside of a transaction. Answer `Noted`.
    Over(Failure),
}

/// What a desk answers. An answer that does not belong to the question ends the connection.
#[derive(Debug)]
pub enum Answer {
    /// STARTTLS, whether or not it is offered.
    StartTls,
    /// Log in.
    Authenticate(Login),
    /// On to the mail.
    Go,
    /// The octets of `Say` are written.
    Said,
    /// This one next.
    Send(Box<Envelope>),
    /// The message is written, with its final dot.
    Sent,
    /// The message cannot be written to its end.
    Aborted,
    /// Understood.
    Noted,
    /// Nothing more: say goodbye.
    Quit,
}

/// How the connection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// What the server offers; nothing after HELO.
    pub extensions: Extensions,
    /// TLS, once it is on.
    pub tls: Option<TlsFacts>,
    /// Whether we are logged in.
    pub authenticated: bool,
    /// What the server said first.
    pub greeting: Option<Reply>,
}

/// What did not work, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// STARTTLS: 454, or 5yz.
    StartTls(Reply),
    /// AUTH.
    Auth(AuthError),
}

/// Why a login did not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The server says no: 535 and other 5yz for good, 4yz for now.
    #[error("the server refuses the login: {0}")]
    Reply(Reply),
    /// It offers no mechanism that we have; or only such as send the password itself, and `Login` forbids that.
    #[error("the server offers no mechanism that can be used")]
    NoMechanism,
    /// What it said in the exchange is not the mechanism's.
    #[error("the server does not follow the mechanism")]
    Malformed,
}

/// An envelope to send (RFC 5321 s.2.3.1), and what must be said with it.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The reverse-path.
    pub reverse_path: ReversePath,
    /// Whom it goes to. Not empty: an outcome of nothing is told at once.
    pub recipients: Vec<Recipient>,
    /// Octets of the message as they will be sent, the doubled dots not counted (RFC 1870 s.3).
    pub size: u64,
    /// Whether it has octets above 127. `EightBitMime` is only sent to a server that offers 8BITMIME.
    pub body: BodyKind,
    /// It has header fields in UTF-8 (RFC 6531): only sent to a server that offers SMTPUTF8. Addresses outside ASCII want that
    /// by themselves.
    pub smtputf8: bool,
    /// It may only travel under TLS to servers that offer REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// RET, told to a server that offers DSN.
    pub ret: Option<Ret>,
    /// ENVID, likewise.
    pub envid: Option<EnvId>,
}

/// What became of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// A fate for each recipient, in the envelope's order.
    pub fates: Vec<Fate>,
    /// The connection is over: no `Next` follows.
    pub over: bool,
}

/// What became of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The server has taken responsibility (RFC 5321 s.4.2.5): its reply to the message.
    Taken(Reply),
    /// The server said no: for now or for good, as `Reply::class` tells. A reply to MAIL, DATA or the message stands for
    /// all recipients that were not refused before.
    Refused {
        /// To what.
        phase: Phase,
        /// Its reply.
        reply: Reply,
    },
    /// It was not sent: this server does not offer what it needs.
    Unsaid(Unsaid),
    /// The connection failed first.
    Failed(Failure),
}

/// What a server would have to offer to be sent an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsaid {
    /// The message is larger than it takes (RFC 1870).
    #[error("the message is larger than the {limit} octets that the server takes")]
    TooLarge {
        /// The most that it takes.
        limit: u64,
    },
    /// 8BITMIME (RFC 6152).
    #[error("the server takes only messages in ASCII")]
    EightBitMime,
    /// SMTPUTF8 (RFC 6531), for an address: the sender's, which concerns all recipients, or this recipient's.
    #[error("the server takes no addresses outside ASCII")]
    Utf8Address,
    /// SMTPUTF8, for the message's header.
    #[error("the server takes no headers outside ASCII")]
    Utf8Header,
    /// REQUIRETLS, or TLS itself (RFC 8689).
    #[error("the message may travel under TLS only, and the server does not warrant that")]
    RequireTls,
}

/// How far the connection had got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The server's first words.
    Greeting,
    /// EHLO or HELO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// RSET, before a further transaction.
    Reset,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The whole message.
    Message,
}

/// The end of a connection that we did not wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What a reply was waited for to.
    pub phase: Phase,
    /// What came instead.
    pub why: Why,
}

impl Failure {
    /// Whether the server may have taken the message all the same (RFC 5321 s.6.1): to send it again may double it, not to
    /// send it again may lose it.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.phase == Phase::Message
    }
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The server refuses to go on: a greeting or EHLO refused, 421.
    #[error("the server says {0}")]
    Reply(Reply),
    /// The server closed the connection.
    #[error("the connection was lost")]
    Lost,
    /// The reply did not come in time.
    #[error("the reply did not come in time")]
    TimedOut,
    /// What came is no reply: its beginning, printable.
    #[error("not a reply: {0:?}")]
    BadReply(String),
    /// In a login it did not prove that it knows the password (RFC 5802 s.5): it is not the server that was meant.
    #[error("the server does not prove that it knows the password")]
    NotProven,
    /// We shut down.
    #[error("this server is shutting down")]
    Stopping,
}
