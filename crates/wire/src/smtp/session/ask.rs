//! What the SMTP machine asks its desk, and what a desk may answer. No protocol text.
//!
//! The life of a transaction, as the desk sees it:
//! `Mail` → `Rcpt` … → `DataBegin` → body parts → `DataEnd` (or `DataAborted`). `Reset` may come between any two of
//! them before `DataBegin`, and after a begun BDAT; it ends the transaction. A transaction also ends when its
//! `DataEnd` or `DataAborted` is answered, whatever the answer. When the connection goes away in mid
//! transaction nothing is asked: the desk is dropped, and takes what it began with it.

use std::fmt;

use crate::addr::ReversePath;
use crate::civil;
use crate::dsn::{EnvId, Ret};
use crate::machine::TlsFacts;
use crate::sasl::Credentials;
use crate::smtp::params::{BodyKind, Hold, Recipient};
use crate::smtp::reply::Reply;

/// Which of the two services a listener offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Port 25: mail from other hosts. No AUTH; bare CR or LF refused.
    Mx,
    /// Ports 465 and 587 (RFC 6409): mail from our users. AUTH before MAIL; bare CR or LF mended.
    Submission,
}

/// What a machine is told when it is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name that the greeting and the replies to HELO and EHLO give.
    pub hostname: String,
    /// The service.
    pub role: Role,
    /// Whether the driver can upgrade to TLS; STARTTLS is offered while the connection is not under TLS.
    pub starttls: bool,
    /// Whether AUTH is offered without TLS: only the demo on loopback says so.
    pub auth_in_plain: bool,
    /// Octets of a message, told with SIZE.
    pub max_message: u64,
    /// Recipients of one transaction.
    pub max_recipients: usize,
    /// What is offered beyond what always is.
    pub offers: Offers,
}

/// Extensions that are offered only where what follows heeds them. None by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// REQUIRETLS (RFC 8689), under TLS.
    pub require_tls: bool,
    /// FUTURERELEASE (RFC 4865), on submission.
    pub future_release: Option<FutureRelease>,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
}

/// How long a message may be held (RFC 4865 s.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FutureRelease {
    /// Seconds; at most 999,999,999 can be told.
    pub max_interval: u32,
    /// When the connection began, in seconds since 1970-01-01 UTC: the latest moment counts from it.
    pub opened: i64,
}

impl FutureRelease {
    /// Whether a message may be held so long.
    #[must_use]
    pub fn allows(&self, hold: Hold) -> bool {
        match hold {
            Hold::For(seconds) => seconds <= self.max_interval,
            Hold::Until(moment) => moment <= self.latest(),
        }
    }

    fn latest(&self) -> i64 {
        self.opened.saturating_add(self.max_interval.into())
    }
}

/// As it is told with EHLO.
impl fmt::Display for FutureRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.max_interval, civil::print_moment(self.latest()))
    }
}

/// How the client introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What it calls itself: printable ASCII as sent, not checked against anything.
    pub name: String,
    /// EHLO rather than HELO: ESMTP in trace headers (RFC 5321 s.4.4).
    pub extended: bool,
}

/// MAIL with all that a desk needs to judge it and to write a trace header.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The reverse-path.
    pub path: ReversePath,
    /// SIZE, where given (RFC 1870); at most `Config::max_message`.
    pub size: Option<u64>,
    /// BODY.
    pub body: BodyKind,
    /// RET and ENVID, where given (RFC 3461).
    pub ret: Option<Ret>,
    /// See `ret`.
    pub envid: Option<EnvId>,
    /// When the message is to be sent on, where that was said; at most what `Config` allows (RFC 4865).
    pub hold: Option<Hold>,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// SMTPUTF8 (RFC 6531): the envelope or the header may have UTF-8.
    pub smtputf8: bool,
    /// How the client introduced itself.
    pub hello: Hello,
    /// TLS as it stands now.
    pub tls: Option<TlsFacts>,
}

/// Why a body that was begun does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aborted {
    /// It went over `Config::max_message`.
    TooLarge,
    /// A CR or LF of its own on port 25.
    BareLineEnd,
    /// The client gave it up in the midst of BDAT: RSET, EHLO, QUIT or an error.
    GivenUp,
}

/// What the machine asks.
#[derive(Debug)]
pub enum Question {
    /// The connection is open and nothing has been said. A refusal (421, 554) is the greeting, and ends it.
    Connected,
    /// Somebody wants to log in. `Accepted`, `Denied`, or a `Reply` (454 when it cannot be found out now).
    Login(Credentials),
    /// A transaction begins.
    Mail(Mail),
    /// One more recipient. Only after an accepted `Mail`.
    Rcpt(Recipient),
    /// A body begins; at least one recipient was accepted. After `Accepted` come body parts; after a refusal none.
    DataBegin,
    /// The body is whole. The answer is the final reply: 250 means on disk. A desk that could not take a part
    /// of it (no space) swallows the rest, and says so here.
    DataEnd {
        /// Octets given in parts.
        octets: u64,
    },
    /// The body will not be whole; the machine knows what to say. Answer `Accepted`.
    DataAborted(Aborted),
    /// The transaction is given up: RSET, or HELO or EHLO in the midst of it. Answer `Accepted`.
    Reset,
    /// QUIT. Answer `Accepted`.
    Quit,
}

/// What a desk answers.
#[derive(Debug)]
pub enum Answer {
    /// Yes, in the machine's words.
    Accepted,
    /// Yes or no in the desk's words: `Reply::is_positive` tells which. A 421 closes the connection.
    Reply(Reply),
    /// Only to `Login`: wrong user or password. Said as 535 5.7.8, and counted.
    Denied,
}
