//! What a sender asks about reports of delivery (RFC 3461), and xtext, in which it is written. Parsed once into types
//! that cannot be wrong; kept decoded, and of the sizes that RFC 3461 s.5.4 names.

use std::fmt;

use crate::abnf;
use crate::limits;

/// Why a value is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DsnError {
    /// Not the grammar's.
    #[error("not well-formed")]
    Syntax,
    /// Longer than RFC 3461 s.5.4 has it.
    #[error("too long")]
    TooLong,
}

/// NOTIFY (RFC 3461 s.4.1): when a report about a recipient is wanted. Nothing but `NEVER` has no bit set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Notify(u8);

impl Notify {
    /// No report at all.
    pub const NEVER: Notify = Notify(0);
    /// Once it is delivered.
    pub const SUCCESS: Notify = Notify(1);
    /// Once it is known that it will not be.
    pub const FAILURE: Notify = Notify(2);
    /// When it takes long.
    pub const DELAY: Notify = Notify(4);

    const NAMES: [(Notify, &'static str); 3] =
        [(Notify::SUCCESS, "SUCCESS"), (Notify::FAILURE, "FAILURE"), (Notify::DELAY, "DELAY")];

    /// Both.
    #[must_use]
    pub const fn and(self, other: Notify) -> Notify {
        Notify(self.0 | other.0)
    }

    /// Whether a report is wanted in any of these cases.
    #[must_use]
    pub const fn wants(self, when: Notify) -> bool {
        self.0 & when.0 != 0
    }

    /// As a number below 8, for keeping.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From such a number; what is above is dropped.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Notify {
        Notify(bits & 7)
    }

    /// Parses `"NEVER" / 1#("SUCCESS" / "FAILURE" / "DELAY")`, in any case.
    ///
    /// # Errors
    /// `Syntax` for anything else; `TooLong` past 28 octets, which all of them together have not.
    pub fn parse(value: &[u8]) -> Result<Notify, DsnError> {
        if value.len() > limits::DSN_NOTIFY {
            return Err(DsnError::TooLong);
        }
        if value.eq_ignore_ascii_case(b"NEVER") {
            return Ok(Notify::NEVER);
        }
        value.split(|&b| b == b',').try_fold(Notify::NEVER, |all, word| {
            let known = Notify::NAMES.iter().find(|(_, name)| word.eq_ignore_ascii_case(name.as_bytes()));
            known.map(|(bit, _)| all.and(*bit)).ok_or(DsnError::Syntax)
        })
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Notify::NEVER {
            return f.write_str("NEVER");
        }
        let names: Vec<_> = Notify::NAMES.iter().filter(|(bit, _)| self.wants(*bit)).map(|n| n.1).collect();
        f.write_str(&names.join(","))
    }
}

/// RET (RFC 3461 s.4.3): how much of the message a report of failure brings back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// All of it.
    Full,
    /// Its header.
    Hdrs,
}

impl Ret {
    /// Parses `FULL` or `HDRS`, in any case.
    ///
    /// # Errors
    /// `Syntax` for anything else.
    pub fn parse(value: &[u8]) -> Result<Ret, DsnError> {
        match value {
            v if v.eq_ignore_ascii_case(b"FULL") => Ok(Ret::Full),
            v if v.eq_ignore_ascii_case(b"HDRS") => Ok(Ret::Hdrs),
            _ => Err(DsnError::Syntax),
        }
    }
}

impl fmt::Display for Ret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ret::Full => "FULL",
            Ret::Hdrs => "HDRS",
        })
    }
}

/// ENVID (RFC 3461 s.4.4): the sender's own mark of a message: printable ASCII, not empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnvId(Box<str>);

impl EnvId {
    /// Parses it as sent, in xtext.
    ///
    /// # Errors
    /// `TooLong` past 100 octets, `Syntax` if it is no xtext of printable ASCII.
    pub fn parse(value: &[u8]) -> Result<EnvId, DsnError> {
        if value.len() > limits::DSN_ENVID {
            return Err(DsnError::TooLong);
        }
        decode(value).map(EnvId)
    }

    /// What it means, decoded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Printed as it is sent, in xtext.
impl fmt::Display for EnvId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        encode(&self.0, f)
    }
}

/// ORCPT (RFC 3461 s.4.2): the address that the sender meant at first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginalRecipient {
    kind: Box<str>,
    address: Box<str>,
}

impl OriginalRecipient {
    /// Parses `addr-type ";" xtext`, as sent.
    ///
    /// # Errors
    /// `TooLong` past 500 octets, `Syntax` if it is something else.
    pub fn parse(value: &[u8]) -> Result<OriginalRecipient, DsnError> {
        if value.len() > limits::DSN_ORCPT {
            return Err(DsnError::TooLong);
        }
        let semicolon = memchr::memchr(b';', value).ok_or(DsnError::Syntax)?;
        let (kind, address) = (&value[..semicolon], &value[semicolon + 1..]);
        if kind.is_empty() || !kind.iter().all(|&b| abnf::is_atext(b)) {
            return Err(DsnError::Syntax);
        }
        let kind = std::str::from_utf8(kind).map_err(|_| DsnError::Syntax)?.into();
        Ok(OriginalRecipient { kind, address: decode(address)? })
    }

    /// An address of the mail's own kind.
    #[must_use]
    pub fn rfc822(address: &crate::addr::Address) -> OriginalRecipient {
        OriginalRecipient { kind: "rfc822".into(), address: address.to_string().into() }
    }

    /// The kind of address: `rfc822` as a rule.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The address, decoded: printable ASCII, and no more is known of it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// Printed as it is sent: `rfc822;ann+2Bnews@example.org`.
impl fmt::Display for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};", self.kind)?;
        encode(&self.address, f)
    }
}

/// Decodes `xtext` (RFC 3461 s.4): not empty, and printable ASCII when decoded, for it goes into reports.
fn decode(mut value: &[u8]) -> Result<Box<str>, DsnError> {
    let mut text = String::with_capacity(value.len());
    while let Some((&first, rest)) = value.split_first() {
        let octet = match (first, rest) {
            (b'+', [high, low, after @ ..]) => {
                value = after;
                hex(*high)? << 4 | hex(*low)?
            }
            (b'+' | b'=', _) => return Err(DsnError::Syntax),
            (b'!'..=b'~', _) => {
                value = rest;
                first
            }
            _ => return Err(DsnError::Syntax),
        };
        if !(b' '..=b'~').contains(&octet) {
            return Err(DsnError::Syntax);
        }
        text.push(char::from(octet));
    }
    if text.is_empty() { Err(DsnError::Syntax) } else { Ok(text.into()) }
}

/// `hexchar` has capital letters; small ones are read, since senders write them.
fn hex(digit: u8) -> Result<u8, DsnError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(DsnError::Syntax),
    }
}

fn encode(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    text.bytes().try_for_each(|b| match b {
        b'+' | b'=' | b' ' => write!(f, "+{b:02X}"),
        _ => write!(f, "{}", char::from(b)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn notify() {
        for (text, result) in [
            ("NEVER", Ok("NEVER")),
            ("never", Ok("NEVER")),
            ("success", Ok("SUCCESS")),
            ("DELAY,Failure", Ok("FAILURE,DELAY")),
            ("SUCCESS,FAILURE,DELAY", Ok("SUCCESS,FAILURE,DELAY")),
            ("FAILURE,FAILURE", Ok("FAILURE")),
            ("", Err(DsnError::Syntax)),
            ("NEVER,DELAY", Err(DsnError::Syntax)),
            ("DELAY,", Err(DsnError::Syntax)),
            ("SOMETIMES", Err(DsnError::Syntax)),
            ("DELAY,DELAY,DELAY,DELAY,DELAY", Err(DsnError::TooLong)),
        ] {
            let got = Notify::parse(text.as_bytes()).map(|n| n.to_string());
            assert_eq!(got.as_deref(), result.as_ref().map(|s| *s), "{text:?}");
        }
        for bits in 0..8 {
            let notify = Notify::from_bits(bits);
            assert_eq!(Notify::parse(notify.to_string().as_bytes()), Ok(notify));
            assert_eq!(notify.bits(), bits);
        }
        assert!(
            Notify::SUCCESS.and(Notify::DELAY).wants(Notify::DELAY) && !Notify::NEVER.wants(Notify::FAILURE)
        );
    }

    #[test]
    fn identifiers_and_original_recipients() {
        let envid = |text: &str| EnvId::parse(text.as_bytes()).map(|e| e.as_str().to_owned());
        assert_eq!(envid("QQ314159"), Ok("QQ314159".to_owned()));
        assert_eq!(envid("a+2Bb+3dc+20d"), Ok("a+b=c d".to_owned()));
        let long = "x".repeat(101);
        for (text, error) in [
            ("", DsnError::Syntax),
            ("a+", DsnError::Syntax),
            ("a+2", DsnError::Syntax),
            ("a+2G", DsnError::Syntax),
            ("a+0D+0A", DsnError::Syntax),
            ("a+FC", DsnError::Syntax),
            ("a=b", DsnError::Syntax),
            ("a b", DsnError::Syntax),
            (&long, DsnError::TooLong),
        ] {
            assert_eq!(envid(text), Err(error), "{text:?}");
        }
        let orcpt = |text: &str| OriginalRecipient::parse(text.as_bytes());
        let good = orcpt("rfc822;Bob+2Bnews@Ivory.EDU").expect("well-formed");
        assert_eq!((good.kind(), good.address()), ("rfc822", "Bob+news@Ivory.EDU"));
        assert_eq!(good.to_string(), "rfc822;Bob+2Bnews@Ivory.EDU");
        for bad in ["", ";", "rfc822", "rfc822;", ";a@b", "rfc 822;a@b", "rfc822;a+0A@b"] {
            assert_eq!(orcpt(bad), Err(DsnError::Syntax), "{bad:?}");
        }
        assert_eq!(orcpt(&format!("rfc822;{}", "x".repeat(494))), Err(DsnError::TooLong));
    }

    proptest! {
        #[test]
        fn xtext_prints_and_parses_to_the_same(text in "[ -~]{1,33}") {
            let value = EnvId(text.clone().into()).to_string();
            prop_assert!(value.bytes().all(|b| (33..=126).contains(&b) && b != b'='));
            prop_assert_eq!(EnvId::parse(value.as_bytes()).map(|e| e.as_str().to_owned()), Ok(text));
        }
    }
}
