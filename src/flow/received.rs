//! The first stage: octets taken as they come, and what is known of where they came from.

use std::net::IpAddr;

use store::{AccountId, Spool, SpoolError, Spooled};
use wire::addr::{ForwardPath, ReversePath};
use wire::dsn::{EnvId, Notify, OriginalRecipient, Ret};
use wire::machine::TlsFacts;

use super::dkim::{Hash, Reading};
use super::header::{Catcher, Header};
use super::{Error, House};
use crate::clock;
use crate::mime::Headers;

/// Where a message came from: what trace headers and the log tell of it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The peer's address.
    pub peer: IpAddr,
    /// What it called itself.
    pub helo: String,
    /// Whether it said EHLO.
    pub extended: bool,
    /// What TLS agreed on, if it was used.
    pub tls: Option<TlsFacts>,
    /// The account that submits it; `None` for mail from elsewhere.
    pub account: Option<AccountId>,
}

impl Origin {
    /// The `with` keyword of RFC 3848: ESMTP, then S inside TLS, then A when authenticated; of RFC 6531 s.4.3 where
    /// SMTPUTF8 was said.
    #[must_use]
    pub fn with(&self, smtputf8: bool) -> &'static str {
        match (self.extended || smtputf8, self.tls.is_some(), self.account.is_some()) {
            (_, false, false) if smtputf8 => "UTF8SMTP",
            (_, true, false) if smtputf8 => "UTF8SMTPS",
            (_, false, true) if smtputf8 => "UTF8SMTPA",
            (_, true, true) if smtputf8 => "UTF8SMTPSA",
            (false, _, _) => "SMTP",
            (true, false, false) => "ESMTP",
            (true, true, false) => "ESMTPS",
            (true, false, true) => "ESMTPA",
            (true, true, true) => "ESMTPSA",
        }
    }
}

/// A recipient, and what its sender wants to be told of it.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// The forward-path.
    pub path: ForwardPath,
    /// NOTIFY (RFC 3461 s.4.1).
    pub notify: Option<Notify>,
    /// ORCPT (RFC 3461 s.4.2).
    pub orcpt: Option<OriginalRecipient>,
}

impl From<ForwardPath> for Recipient {
    fn from(path: ForwardPath) -> Recipient {
        Recipient { path, notify: None, orcpt: None }
    }
}

/// What an envelope says beside its recipients.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The reverse-path.
    pub reverse_path: ReversePath,
    /// The forward-paths; each was accepted by [`super::route`].
    pub recipients: Vec<Recipient>,
    /// RET (RFC 3461 s.4.3).
    pub ret: Option<Ret>,
    /// ENVID (RFC 3461 s.4.4).
    pub envid: Option<EnvId>,
    /// Not before this, in seconds since 1970 (RFC 4865).
    pub hold_until: Option<i64>,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// SMTPUTF8 was said (RFC 6531), whether or not anything needs it.
    pub smtputf8: bool,
}

impl Envelope {
    /// One that says no more than who sends to whom.
    #[must_use]
    pub fn plain(reverse_path: ReversePath, recipients: Vec<ForwardPath>) -> Envelope {
        let recipients = recipients.into_iter().map(Recipient::from).collect();
        Envelope {
            reverse_path,
            recipients,
            ret: None,
            envid: None,
            hold_until: None,
            require_tls: false,
            smtputf8: false,
        }
    }
}

/// A message that is being taken.
pub struct Intake {
    spool: Spool,
    catcher: Catcher,
    /// Of what is submitted: it may be signed.
    reading: Option<Reading>,
    /// Of what came with SMTPUTF8: whether it needs that further on.
    headers: Option<Headers>,
    eight_bit: bool,
    failed: Option<Error>,
}

impl Intake {
    /// Nothing taken yet. `submitted`: by one of our own; `smtputf8`: as its envelope says.
    #[must_use]
    pub fn new(house: &House, submitted: bool, smtputf8: bool) -> Intake {
        let reading = submitted.then(Reading::default);
        Intake {
            spool: house.store.spool(),
            catcher: Catcher::default(),
            reading,
            headers: smtputf8.then(Headers::default),
            eight_bit: false,
            failed: None,
        }
    }

    /// Takes the next octets. After a failure the rest is dropped; [`Intake::finish`] tells why.
    pub fn push(&mut self, octets: &[u8]) {
        if self.failed.is_none() {
            self.catcher.push(octets);
            self.eight_bit |= !octets.is_ascii();
            if let Some(reading) = &mut self.reading {
                reading.push(octets);
            }
            if let Some(headers) = &mut self.headers {
                headers.push(octets);
            }
            if let Err(e) = self.spool.push(octets) {
                self.failed = Some(spool_error(&e));
            }
        }
    }

    /// How many octets would be in memory or on disk now; a large message is synced when it is finished.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.spool.is_large()
    }

    /// The whole message. Waits for the disk when it is large: call it where that is allowed.
    ///
    /// # Errors
    /// `Full`, `Unavailable`, `HeaderTooLong`.
    pub fn finish(self, origin: Origin, envelope: Envelope) -> Result<Received, Error> {
        if let Some(e) = self.failed {
            return Err(e);
        }
        let header = self.catcher.finish().ok_or(Error::HeaderTooLong)?;
        let body = self.spool.finish().map_err(|e| spool_error(&e))?;
        let body_hash = self.reading.and_then(Reading::finish).map(|(_, hash)| hash);
        Ok(Received {
            id: MessageRef::new(),
            origin,
            envelope,
            header,
            utf8_header: self.eight_bit && self.headers.is_some_and(|headers| !headers.are_ascii()),
            eight_bit: self.eight_bit,
            body_hash,
            body,
        })
    }
}

fn spool_error(e: &SpoolError) -> Error {
    match e {
        SpoolError::Full => Error::Full,
        SpoolError::TooLarge | SpoolError::Io(_) => Error::Unavailable,
    }
}

/// Our own name for a message: in its `Received` field, in the 250, in every line of the log about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRef(String);

impl MessageRef {
    /// A new one: the time, then chance; no two are the same.
    pub(super) fn new() -> MessageRef {
        let mut chance = [0; 5];
        // Names need not be secret: without randomness the time in nanoseconds has to do.
        let _ = aws_lc_rs::rand::fill(&mut chance);
        let wall = clock::wall();
        let chance = chance.iter().fold(0u64, |n, &b| n << 8 | u64::from(b));
        // An atom (RFC 5322 s.3.2.3), as the ID clause of a trace header wants it (RFC 5321 s.4.4): no dots.
        MessageRef(format!("{:x}{:05x}-{chance:010x}", wall.seconds, wall.nanos / 1_000))
    }
}

impl std::fmt::Display for MessageRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A whole message as it came, with its envelope.
#[derive(Debug)]
pub struct Received {
    /// Our own name for it.
    pub id: MessageRef,
    /// Where it came from.
    pub origin: Origin,
    /// Its envelope.
    pub envelope: Envelope,
    /// Its header.
    pub header: Header,
    /// It came with SMTPUTF8, and header fields of it, or of a part of it, have octets above 127.
    pub utf8_header: bool,
    /// Whether it has octets above 127.
    pub eight_bit: bool,
    /// The hash of its body for signatures, of what was submitted.
    pub body_hash: Option<Hash>,
    /// Its octets, header included.
    pub body: Spooled,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_with_keyword_tells_tls_and_authentication() {
        let mut o = Origin {
            peer: IpAddr::from([127, 0, 0, 1]),
            helo: "x".into(),
            extended: true,
            tls: None,
            account: None,
        };
        assert_eq!((o.with(false), o.with(true)), ("ESMTP", "UTF8SMTP"));
        o.tls = Some(TlsFacts::default());
        assert_eq!((o.with(false), o.with(true)), ("ESMTPS", "UTF8SMTPS"));
        o.extended = false;
        assert_eq!((o.with(false), o.with(true)), ("SMTP", "UTF8SMTPS"));
    }

    #[test]
    fn no_two_names_are_the_same() {
        assert_ne!(MessageRef::new(), MessageRef::new());
    }
}
