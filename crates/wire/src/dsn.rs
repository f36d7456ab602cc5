//! What a sender asks about reports of delivery (RFC 3461), and xtext, in which it is written; for addresses outside ASCII
//! RFC 6533 s.3 instead. Parsed once into types that cannot be wrong; kept decoded, and of the sizes that RFC 3461 s.5.4 names.

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
    /// Parses `addr-type ";" xtext`, as sent; for the type `utf-8` what RFC 6533 s.3 has in place of xtext, and whatever else
    /// stands there as it is.
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
        let kind: Box<str> = std::str::from_utf8(kind).map_err(|_| DsnError::Syntax)?.into();
        if !kind.eq_ignore_ascii_case(UTF_8) {
            return Ok(OriginalRecipient { kind, address: decode(address)? });
        }
        let parsed = OriginalRecipient { kind, address: decode_unitext(address)? };
        // What stood there as it is may be longer when it is written as it should be.
        if parsed.to_string().len() > limits::DSN_ORCPT { Err(DsnError::TooLong) } else { Ok(parsed) }
    }

    /// An address of the mail's own kind, or of the one for letters outside ASCII.
    #[must_use]
    pub fn of(address: &str) -> OriginalRecipient {
        let kind = if address.is_ascii() { "rfc822" } else { UTF_8 };
        OriginalRecipient { kind: kind.into(), address: address.into() }
    }

    /// The kind of address: `rfc822` as a rule.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The address, decoded: printable, ASCII but for the kind `utf-8`, and no more is known of it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// As it is sent where UTF-8 may not stand (RFC 6533 s.3 `utf-8-addr-xtext`): `utf-8;j\x{F6}rg@example.org`.
    #[must_use]
    pub fn to_ascii(&self) -> String {
        let letter = |c: char| if c.is_ascii() { c.to_string() } else { embedded(c) };
        self.to_string().chars().map(letter).collect()
    }
}

/// Printed as it is sent: `rfc822;ann+2Bnews@example.org`, `utf-8;jörg@example.org` (RFC 6533 s.3 `utf-8-addr-unitext`).
impl fmt::Display for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};", self.kind)?;
        if !self.kind.eq_ignore_ascii_case(UTF_8) {
            return encode(&self.address, f);
        }
        self.address.chars().try_for_each(|c| match c {
            ' ' | '\\' | '+' | '=' => f.write_str(&embedded(c)),
            _ => write!(f, "{c}"),
        })
    }
}

/// The kind of addresses outside ASCII (RFC 6533 s.3).
const UTF_8: &str = "utf-8";

/// `EmbeddedUnicodeChar`.
fn embedded(c: char) -> String {
    format!("\\x{{{:02X}}}", u32::from(c))
}

/// Decodes `utf-8-enc-addr` (RFC 6533 s.3). What is no `EmbeddedUnicodeChar` stands as it is: such an address is not refused,
/// but told of in reports without alteration.
fn decode_unitext(value: &[u8]) -> Result<Box<str>, DsnError> {
    let mut rest = std::str::from_utf8(value).map_err(|_| DsnError::Syntax)?;
    if rest.is_empty() || rest.chars().any(|c| c.is_control() || c == ' ') {
        return Err(DsnError::Syntax);
    }
    let mut text = String::with_capacity(rest.len());
    while let Some((before, after)) = rest.split_once("\\x{") {
        text.push_str(before);
        match after.split_once('}').and_then(|(digits, behind)| Some((hexpoint(digits)?, behind))) {
            Some((c, behind)) => {
                text.push(c);
                rest = behind;
            }
            None => {
                text.push_str("\\x{");
                rest = after;
            }
        }
    }
    text.push_str(rest);
    Ok(text.into())
}

/// `HEXPOINT`, of what may stand in a report.
fn hexpoint(digits: &str) -> Option<char> {
    let good = (2..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let c = char::from_u32(u32::from_str_radix(digits, 16).ok().filter(|_| good)?)?;
    (!c.is_control()).then_some(c)
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

    #[test]
    fn original_recipients_outside_ascii() {
        let long = "x".repeat(494);
        for (sent, address, utf8, ascii) in [
            (
                "utf-8;j\u{f6}rg@b\u{fc}cher.test",
                "j\u{f6}rg@b\u{fc}cher.test",
                "utf-8;j\u{f6}rg@b\u{fc}cher.test",
                "utf-8;j\\x{F6}rg@b\\x{FC}cher.test",
            ),
            (
                "UTF-8;j\\x{f6}rg\\x{2B}x@b.test",
                "j\u{f6}rg+x@b.test",
                "UTF-8;j\u{f6}rg\\x{2B}x@b.test",
                "UTF-8;j\\x{F6}rg\\x{2B}x@b.test",
            ),
            (
                "utf-8;\"a\\x{20}\\x{5C}\"@b.test",
                "\"a \\\"@b.test",
                "utf-8;\"a\\x{20}\\x{5C}\"@b.test",
                "utf-8;\"a\\x{20}\\x{5C}\"@b.test",
            ),
            (
                "utf-8;\\x{1F4EC}@b.test",
                "\u{1f4ec}@b.test",
                "utf-8;\u{1f4ec}@b.test",
                "utf-8;\\x{1F4EC}@b.test",
            ),
            // Not what the RFC has, and told of all the same.
            ("utf-8;a+2Bb@x", "a+2Bb@x", "utf-8;a\\x{2B}2Bb@x", "utf-8;a\\x{2B}2Bb@x"),
            (
                "utf-8;a\\x{0A}\\x{110000}\\x{D800}\\x{\\x{41}\\",
                "a\\x{0A}\\x{110000}\\x{D800}\\x{A\\",
                "utf-8;a\\x{5C}x{0A}\\x{5C}x{110000}\\x{5C}x{D800}\\x{5C}x{A\\x{5C}",
                "utf-8;a\\x{5C}x{0A}\\x{5C}x{110000}\\x{5C}x{D800}\\x{5C}x{A\\x{5C}",
            ),
        ] {
            let orcpt = OriginalRecipient::parse(sent.as_bytes()).expect(sent);
            assert_eq!(
                (orcpt.address(), orcpt.to_string().as_str(), orcpt.to_ascii().as_str()),
                (address, utf8, ascii)
            );
            assert_eq!(OriginalRecipient::parse(utf8.as_bytes()).as_ref(), Ok(&orcpt));
            assert_eq!(OriginalRecipient::parse(ascii.as_bytes()).as_ref(), Ok(&orcpt));
        }
        for (bad, error) in [
            (&b"utf-8;"[..], DsnError::Syntax),
            (b"utf-8;j\xf6rg@x", DsnError::Syntax),
            (b"utf-8;a b@x", DsnError::Syntax),
            (b"utf-8;a\xc2\x9bb@x", DsnError::Syntax),
            (b"rfc822;j\xc3\xb6rg@x", DsnError::Syntax),
            (&["utf-8;+".as_bytes(), long.as_bytes()].concat(), DsnError::TooLong),
            (&[b"utf-8;".as_slice(), &[b'+'; 90]].concat(), DsnError::TooLong),
        ] {
            assert_eq!(OriginalRecipient::parse(bad), Err(error), "{}", String::from_utf8_lossy(bad));
        }
        assert_eq!(OriginalRecipient::of("a+b@x").to_string(), "rfc822;a+2Bb@x");
        assert_eq!(OriginalRecipient::of("j\u{f6}+@x").to_ascii(), "utf-8;j\\x{F6}\\x{2B}@x");
    }

    proptest! {
        #[test]
        fn unitext_prints_and_parses_to_the_same(text in "[ -~äß用\\\\+=x{}A-F0-9]{1,40}") {
            let orcpt = OriginalRecipient { kind: "utf-8".into(), address: text.into() };
            prop_assert!(orcpt.to_ascii().is_ascii());
            for sent in [orcpt.to_string(), orcpt.to_ascii()] {
                prop_assert!(!sent.contains(' '));
                prop_assert_eq!(OriginalRecipient::parse(sent.as_bytes()), Ok(orcpt.clone()));
            }
        }

        #[test]
        fn xtext_prints_and_parses_to_the_same(text in "[ -~]{1,33}") {
            let value = EnvId(text.clone().into()).to_string();
            prop_assert!(value.bytes().all(|b| (33..=126).contains(&b) && b != b'='));
            prop_assert_eq!(EnvId::parse(value.as_bytes()).map(|e| e.as_str().to_owned()), Ok(text));
        }
    }
}
