//! Mailbox names as the rest of the server knows them: UTF-8, levels parted by `/`, INBOX in capitals.
//!
//! RFC 3501 s.5.1. The only way to have a [`MailboxName`] is to parse one.

use std::fmt;
use std::sync::Arc;

use super::utf7;
use crate::limits;

/// What parts the levels of a name.
pub const DELIMITER: char = '/';

/// The mailbox where mail arrives; its name is the same in any case (RFC 3501 s.5.1).
pub const INBOX: &str = "INBOX";

/// A mailbox's whole name: not empty, no empty level, no control characters, within `limits`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxName(Arc<str>);

/// Why a text is no mailbox name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not modified UTF-7, and not UTF-8.
    #[error("mailbox name is not modified UTF-7")]
    Encoding,
    /// Empty, or a level of it is.
    #[error("mailbox name has an empty level")]
    EmptyLevel,
    /// A control character in it.
    #[error("mailbox name has a control character")]
    Control,
    /// Over `limits::MAILBOX_NAME` octets or `limits::MAILBOX_DEPTH` levels.
    #[error("mailbox name is too long")]
    TooLong,
}

impl MailboxName {
    /// The mailbox where mail arrives.
    #[must_use]
    pub fn inbox() -> MailboxName {
        MailboxName(INBOX.into())
    }

    /// From UTF-8.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn parse(name: &str) -> Result<MailboxName, NameError> {
        if name.len() > limits::MAILBOX_NAME || name.split(DELIMITER).count() > limits::MAILBOX_DEPTH {
            return Err(NameError::TooLong);
        }
        if name.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        if name.split(DELIMITER).any(str::is_empty) {
            return Err(NameError::EmptyLevel);
        }
        Ok(MailboxName(with_inbox(name).into()))
    }

    /// From what a client sent: modified UTF-7, or raw UTF-8.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn decode(octets: &[u8]) -> Result<MailboxName, NameError> {
        // Each UTF-8 octet takes at most 4 in modified UTF-7; what is longer need not be decoded.
        if octets.len() > limits::MAILBOX_NAME * 4 {
            return Err(NameError::TooLong);
        }
        MailboxName::parse(&utf7::decode(octets).ok_or(NameError::Encoding)?)
    }

    /// The name in UTF-8.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is INBOX itself.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        &*self.0 == INBOX
    }
}

/// `name` with a first level of `inbox`, in any case, in capitals. Meant for patterns too.
#[must_use]
pub fn with_inbox(name: &str) -> String {
    let first = name.split(DELIMITER).next().unwrap_or_default();
    if first.eq_ignore_ascii_case(INBOX) {
        format!("{INBOX}{}", &name[first.len()..])
    } else {
        name.to_owned()
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "x".repeat(limits::MAILBOX_NAME + 1);
        let deep = vec!["a"; limits::MAILBOX_DEPTH + 1].join("/");
        let rows: [(&str, Result<&str, NameError>); 11] = [
            ("inBox", Ok("INBOX")),
            ("inbox/Lists", Ok("INBOX/Lists")),
            ("inboxes", Ok("inboxes")),
            ("Entw&APw-rfe", Ok("Entwürfe")),
            ("", Err(NameError::EmptyLevel)),
            ("/a", Err(NameError::EmptyLevel)),
            ("a//b", Err(NameError::EmptyLevel)),
            ("a\tb", Err(NameError::Control)),
            ("a&b", Err(NameError::Encoding)),
            (&long, Err(NameError::TooLong)),
            (&deep, Err(NameError::TooLong)),
        ];
        for (wire, want) in rows {
            let got = MailboxName::decode(wire.as_bytes());
            assert_eq!(got.as_ref().map(MailboxName::as_str).map_err(|e| *e), want, "{wire:?}");
        }
        assert!(MailboxName::decode(b"INBOX").is_ok_and(|n| n.is_inbox()));
    }
}
