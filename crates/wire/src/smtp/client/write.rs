//! What the client says: each command stands here, once.

use std::fmt::{self, Display};

use super::{Envelope, Extensions, Recipient, Unsaid};
use crate::limits;
use crate::smtp::params::BodyKind;

/// A command without arguments, or with the one given.
pub(super) fn command(text: impl Display, out: &mut Vec<u8>) {
    out.extend_from_slice(text.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// What the server would have to offer for this envelope, whoever its recipients are, and does not.
pub(super) fn unsaid(envelope: &Envelope, offered: &Extensions, tls: bool) -> Option<Unsaid> {
    // RFC 8689 s.4.2.1.
    if envelope.require_tls && !(tls && offered.require_tls) {
        return Some(Unsaid::RequireTls);
    }
    // RFC 6531 s.3.2.
    if !envelope.reverse_path.is_ascii() && !offered.smtputf8 {
        return Some(Unsaid::Utf8Address);
    }
    if envelope.smtputf8 && !offered.smtputf8 {
        return Some(Unsaid::Utf8Header);
    }
    if envelope.body == BodyKind::EightBitMime && !offered.eight_bit_mime {
        return Some(Unsaid::EightBitMime);
    }
    // RFC 1870 s.6.1: it would be refused.
    offered.size.flatten().filter(|&limit| envelope.size > limit).map(|limit| Unsaid::TooLarge { limit })
}

/// The same, for one of its recipients.
pub(super) fn unsaid_to(recipient: &Recipient, offered: &Extensions) -> Option<Unsaid> {
    (!recipient.path.is_ascii() && !offered.smtputf8).then_some(Unsaid::Utf8Address)
}

/// Whether SMTPUTF8 is said. What needs it is not sent to a server that does not offer it; what does not, does without
/// (RFC 6531 s.3.4).
fn smtputf8(envelope: &Envelope, offered: &Extensions) -> bool {
    let wanted = || {
        let ascii = |recipient: &Recipient| recipient.path.is_ascii();
        envelope.smtputf8 || !envelope.reverse_path.is_ascii() || !envelope.recipients.iter().all(ascii)
    };
    offered.smtputf8 && wanted()
}

/// MAIL, with what the server understands.
pub(super) struct Mail<'a>(pub &'a Envelope, pub &'a Extensions);

impl Display for Mail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mail(envelope, offered) = self;
        write!(f, "MAIL FROM:{}", envelope.reverse_path)?;
        if offered.size.is_some() {
            write!(f, " SIZE={}", envelope.size)?;
        }
        if envelope.body == BodyKind::EightBitMime {
            f.write_str(" BODY=8BITMIME")?;
        }
        if smtputf8(envelope, offered) {
            f.write_str(" SMTPUTF8")?;
        }
        if envelope.require_tls {
            f.write_str(" REQUIRETLS")?;
        }
        if let Some(ret) = envelope.ret.filter(|_| offered.dsn) {
            write!(f, " RET={ret}")?;
        }
        match &envelope.envid {
            Some(envid) if offered.dsn => write!(f, " ENVID={envid}"),
            _ => Ok(()),
        }
    }
}

/// RCPT, likewise, of an envelope.
pub(super) struct Rcpt<'a>(pub &'a Recipient, pub &'a Envelope, pub &'a Extensions);

impl Display for Rcpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rcpt(recipient, envelope, offered) = self;
        write!(f, "RCPT TO:{}", recipient.path)?;
        if let Some(notify) = recipient.notify.filter(|_| offered.dsn) {
            write!(f, " NOTIFY={notify}")?;
        }
        match &recipient.orcpt {
            Some(orcpt) if offered.dsn => {
                // RFC 6533 s.3.
                let utf8 = smtputf8(envelope, offered);
                let told = if utf8 { orcpt.to_string() } else { orcpt.to_ascii() };
                // What has grown too long is left out rather than refused (RFC 3461 s.5.4 (c)).
                if told.len() <= limits::DSN_ORCPT { write!(f, " ORCPT={told}") } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}
