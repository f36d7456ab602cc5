//! The contract between a protocol machine, the driver that owns the socket, and the desk that answers.
//!
//! A machine has no side effects and no clock. The driver (`net::drive` in the server) shows it **all unread
//! octets** at each step; the machine says how many of them it has used up and what it wants next. It writes its
//! own protocol text into `out`. A desk answers questions and knows no protocol text beyond wire's encoders.
//!
//! One question is out at a time: while it is, only the desk writes; otherwise only the machine does. Machines
//! never see each other, and must give the same output however the input is cut into pieces.

use std::ops::Range;
use std::time::Duration;

use crate::limits;

/// Time since the connection began. The driver makes it; a machine only compares and adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub Duration);

impl Tick {
    /// The tick `d` later than this one.
    #[must_use]
    pub fn after(self, d: Duration) -> Tick {
        Tick(self.0.saturating_add(d))
    }
}

/// How fast a body comes: something of it must come in time, and on average it must not be too slow
/// (`limits::BODY_WITHIN`, `limits::BODY_RATE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    since: Tick,
    octets: u64,
}

impl Pace {
    /// A body that begins now.
    pub(crate) fn from(now: Tick) -> Pace {
        Pace { since: now, octets: 0 }
    }

    /// So many octets of it have come.
    pub(crate) fn came(&mut self, octets: usize) {
        self.octets = self.octets.saturating_add(octets as u64);
    }

    /// When it is too slow, if nothing more comes.
    pub(crate) fn until(self) -> Tick {
        self.since.after(limits::BODY_WITHIN + Duration::from_secs(self.octets / limits::BODY_RATE))
    }
}

/// What TLS agreed on, told to the machine once the handshake is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// Protocol version in the words of trace headers: `TLS1.3`.
    pub version: String,
    /// Cipher suite name as registered by IANA: `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The name the client asked for (SNI), if it did.
    pub server_name: Option<String>,
    /// What is known of the peer's certificate.
    pub certificate: Certificate,
}

/// What is known of the certificate that a peer has shown. A handshake that asked for more than the peer had is not
/// done, and has no facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Certificate {
    /// None was asked for: we are the server.
    #[default]
    NotAsked,
    /// Nobody whom we trust vouches for it. The connection is only safe from who does no more than listen.
    Untrusted(String),
    /// A public authority vouches that it is this host's.
    Trusted(String),
    /// A TLSA record of the host matches it (RFC 7672).
    Dane,
}

/// What is fixed about a connection when it is accepted.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address.
    pub ip: std::net::IpAddr,
    /// Set when the connection began inside TLS (ports 465, 993, 995).
    pub tls: Option<TlsFacts>,
}

/// Why a session is over before its client wished so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The server shuts down.
    Shutdown,
    /// The password that it logged in with counts no more.
    PasswordChanged,
    /// Its account is gone.
    AccountRemoved,
}

/// Why a client is turned away before it has a session. Each protocol has its words for it: `turned_away` in
/// `smtp::session`, `imap::response` and `pop3::reply`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// There are too many connections, together or from this client.
    TooMany,
    /// The store is still being opened.
    Opening,
}

/// Why the driver calls a machine.
#[derive(Debug)]
pub enum Event<A> {
    /// The connection has just been opened. Always the first event, exactly once.
    Opened,
    /// There are octets not shown before, or the machine asked to look at what is left again.
    Input,
    /// The peer will send no more. What is unread stays shown.
    Ended,
    /// The desk's answer to the question that was out.
    Answer(A),
    /// `Want::Body` has been taken by the desk.
    BodyTaken,
    /// The desk's watch fired (only while `Want::Input { watch: true, .. }`).
    Changed,
    /// `until` has come.
    Elapsed,
    /// The handshake that `Want::Upgrade` asked for is done. What had been pipelined before it is gone.
    Secured(TlsFacts),
    /// The session is to end: say why, and close. When the server shuts down, what is under way may end first;
    /// when the account's sessions are over, nothing more is taken.
    Stopping(Over),
}

/// What a machine wants after a step.
#[derive(Debug)]
pub enum Want<Q> {
    /// More octets than it was shown, or `until`, or (with `watch`) a change in what the desk watches.
    Input {
        /// When to give up waiting; every wait has an end.
        until: Tick,
        /// Wake on the desk's watch as well (IDLE).
        watch: bool,
    },
    /// A question for the desk. No octets are shown until it is answered, and none are read from the socket unless
    /// the desk wants to know whether the peer is still there.
    Ask(Q),
    /// These octets of the input shown belong to a body the desk is taking (a literal, SMTP data). The range
    /// lies within the input shown and its end is at most `Step::used`. Already clean: the machine may give
    /// several ranges in several steps, but never rewrites octets; see `BodyPart`.
    Body(BodyPart),
    /// Upgrade the connection once all output is flushed. Unread input is dropped (RFC 3207 s.4.2, RFC 3501 s.6.2.1).
    Upgrade,
    /// Flush and close.
    Close,
}

/// A piece of a body for the desk: either octets of the input shown, or octets the machine supplies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyPart {
    /// `input[range]`, as received.
    Input(Range<usize>),
    /// Octets that are not in the input as they stand (a mended line ending).
    Own(&'static [u8]),
}

/// The outcome of one step.
#[derive(Debug)]
pub struct Step<Q> {
    /// How many octets from the front of the input shown are used up and never shown again.
    pub used: usize,
    /// What is wanted next.
    pub want: Want<Q>,
}

impl<Q> Step<Q> {
    /// Moves through `input` until something is wanted. Each move is shown what is left, and says how much of it is
    /// used up and what it wants, if anything; a range of the input is counted from where the move began.
    pub(crate) fn through(
        input: &[u8],
        mut advance: impl FnMut(&[u8]) -> (usize, Option<Want<Q>>),
    ) -> Step<Q> {
        let mut used = 0;
        loop {
            let (more, want) = advance(input.get(used..).unwrap_or_default());
            let want = want.map(|want| match want {
                Want::Body(BodyPart::Input(Range { start, end })) => {
                    Want::Body(BodyPart::Input(start + used..end + used))
                }
                want => want,
            });
            used += more;
            if let Some(want) = want {
                return Step { used, want };
            }
        }
    }
}

/// A protocol machine.
pub trait Machine {
    /// What it asks the desk. Typed; no protocol text. A question may own what it carries.
    type Question;
    /// What the desk answers. For SMTP and POP3 small and typed; for IMAP how the command ended.
    type Answer;

    /// One step. `input` is everything unread, `now` the time since the connection began, `out` where the
    /// machine's own protocol text goes.
    ///
    /// After `Want::Input` the next event is `Input`, `Ended`, `Elapsed`, `Changed` or `Stopping`; after `Ask`
    /// it is `Answer`; after `Body`, `BodyTaken`; after `Upgrade`, `Secured`.
    fn step(
        &mut self,
        event: Event<Self::Answer>,
        input: &[u8],
        now: Tick,
        out: &mut Vec<u8>,
    ) -> Step<Self::Question>;
}
