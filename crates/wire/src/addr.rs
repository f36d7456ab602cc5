//! Mail addresses and the paths of an envelope, parsed once into types that cannot be wrong.
//!
//! RFC 5321 s.4.1.2 (grammar), s.4.1.3 (address literals), s.4.5.3.1 (sizes), appendix C (source routes: accepted,
//! dropped); RFC 6531 s.3.3 (local parts in UTF-8; whether SMTPUTF8 was said is for whoever asks to know); RFC 5890
//! for domains in other scripts, which are kept as lowercase A-labels. Header fields have their own grammar and are
//! not parsed here.
//!
//! A local part is kept as what it means: `"a b"@x` holds `a b`, `"tim"@x` equals `tim@x`. Addresses compare and
//! hash without regard to case, nor to how letters with marks are put together (RFC 6532 s.3.1), because this server
//! never tells two users apart by either; printing keeps what was given.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use icu_normalizer::ComposingNormalizerBorrowed;

use crate::abnf;
use crate::limits;

/// Why something is not an address or a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddrError {
    /// It does not stand between `<` and `>`.
    #[error("a path stands between angle brackets")]
    Brackets,
    /// No `@`, or something is missing beside it.
    #[error("an address is local-part@domain")]
    Shape,
    /// The local part is neither a dot-string nor a quoted string.
    #[error("the local part is not well-formed")]
    LocalPart,
    /// The domain is not a name or an address literal.
    #[error("the domain is not well-formed")]
    Domain,
    /// Longer than `limits::{LOCAL_PART, DOMAIN, PATH}` allow.
    #[error("the address is too long")]
    TooLong,
    /// Characters outside ASCII where SMTPUTF8 would be needed.
    #[error("the address has characters outside ASCII")]
    NonAscii,
    /// Octets above 127 that are not UTF-8.
    #[error("the address is neither ASCII nor UTF-8")]
    Encoding,
}

/// The part before the `@`, as what it means: quotes and backslashes are gone.
#[derive(Clone, Debug)]
pub struct LocalPart(Box<str>);

impl LocalPart {
    /// Parses `Dot-string / Quoted-string` (RFC 5321 s.4.1.2), with UTF-8 where RFC 6531 s.3.3 lets it stand. What
    /// steers a terminal or turns the direction of reading is nobody's name.
    ///
    /// # Errors
    /// `Encoding`, `TooLong` or `LocalPart`.
    pub fn parse(octets: &[u8]) -> Result<LocalPart, AddrError> {
        let meaning = match octets {
            [b'"', inner @ .., b'"'] => unquote(inner)?,
            _ if is_dot_string(octets) => octets.to_vec(),
            _ => return Err(AddrError::LocalPart),
        };
        if meaning.len() > limits::LOCAL_PART {
            return Err(AddrError::TooLong);
        }
        let meaning = String::from_utf8(meaning).map_err(|_| AddrError::Encoding)?;
        if !meaning.is_ascii() {
            if meaning.chars().any(abnf::steers) {
                return Err(AddrError::LocalPart);
            }
            // Put together otherwise it may be longer.
            if folded(&meaning).len() > limits::LOCAL_PART {
                return Err(AddrError::TooLong);
            }
        }
        Ok(LocalPart(meaning.into()))
    }

    /// Whether it can travel without SMTPUTF8.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.0.is_ascii()
    }

    /// What it means, without quoting. Not fit for an envelope: print it for that.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What compares: lower case, letters with marks put together (NFC). Letter by letter, so that it depends on no
/// neighbour: both small sigmas are one letter, as there is one capital.
fn folded(meaning: &str) -> String {
    let nfc = ComposingNormalizerBorrowed::new_nfc();
    let lower: String = nfc
        .normalize(meaning)
        .chars()
        .flat_map(char::to_lowercase)
        .map(|c| if c == '\u{3c2}' { '\u{3c3}' } else { c })
        .collect();
    nfc.normalize(&lower).into_owned()
}

fn is_dot_string(s: &[u8]) -> bool {
    let atext = |&b: &u8| abnf::is_atext(b) || !b.is_ascii();
    s.split(|&b| b == b'.').all(|atom| !atom.is_empty() && atom.iter().all(atext))
}

fn unquote(inner: &[u8]) -> Result<Vec<u8>, AddrError> {
    let mut meaning = Vec::with_capacity(inner.len());
    let mut octets = inner.iter().copied();
    while let Some(b) = octets.next() {
        match b {
            b'\\' => match octets.next() {
                Some(escaped @ 32..=126) => meaning.push(escaped),
                _ => return Err(AddrError::LocalPart),
            },
            _ if abnf::is_qtext_smtp(b) || !b.is_ascii() => meaning.push(b),
            _ => return Err(AddrError::LocalPart),
        }
    }
    Ok(meaning)
}

/// Printed in the shortest form that parses to the same: quoted only when it must be.
impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(self.0.as_bytes()) {
            return f.write_str(&self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

impl FromStr for LocalPart {
    type Err = AddrError;
    fn from_str(s: &str) -> Result<LocalPart, AddrError> {
        LocalPart::parse(s.as_bytes())
    }
}
impl PartialEq for LocalPart {
    fn eq(&self, other: &LocalPart) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
            || !(self.is_ascii() && other.is_ascii()) && folded(&self.0) == folded(&other.0)
    }
}
impl Eq for LocalPart {}
impl Hash for LocalPart {
    fn hash<H: Hasher>(&self, h: &mut H) {
        if self.is_ascii() {
            self.0.bytes().for_each(|b| h.write_u8(b.to_ascii_lowercase()));
        } else {
            folded(&self.0).bytes().for_each(|b| h.write_u8(b));
        }
        h.write_u8(0xff);
    }
}

/// A domain: a name as lowercase A-labels, or an address literal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(DomainKind);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum DomainKind {
    Name(Box<str>),
    Literal(IpAddr),
}

impl Domain {
    /// Parses a name or an address literal (RFC 5321 s.4.1.2, s.4.1.3). Names in other scripts become A-labels.
    /// An underscore is let through, since real hosts have them. `General-address-literal` is not accepted: no tag
    /// was ever registered.
    ///
    /// # Errors
    /// `TooLong` or `Domain`.
    pub fn parse(octets: &[u8]) -> Result<Domain, AddrError> {
        if let [b'[', inner @ .., b']'] = octets {
            return literal(inner).map(|ip| Domain(DomainKind::Literal(ip))).ok_or(AddrError::Domain);
        }
        let name = if octets.is_ascii() {
            String::from_utf8(octets.to_ascii_lowercase()).map_err(|_| AddrError::Domain)?
        } else {
            // Bound the work before the tables are asked: an A-label is never shorter than a third of its UTF-8.
            if octets.len() > limits::DOMAIN * 3 {
                return Err(AddrError::TooLong);
            }
            let name = std::str::from_utf8(octets).map_err(|_| AddrError::Domain)?;
            idna::domain_to_ascii(name).map_err(|_| AddrError::Domain)?
        };
        // RFC 1035 s.2.3.4: 255 octets in the wire's form, which counts two more than the text.
        if name.len() > limits::DOMAIN - 2 {
            return Err(AddrError::TooLong);
        }
        if !name.split('.').all(|label| is_label(label.as_bytes())) {
            return Err(AddrError::Domain);
        }
        Ok(Domain(DomainKind::Name(name.into())))
    }

    /// The name, or `None` for an address literal.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            DomainKind::Name(name) => Some(name),
            DomainKind::Literal(_) => None,
        }
    }

    /// The address of an address literal.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        match self.0 {
            DomainKind::Name(_) => None,
            DomainKind::Literal(ip) => Some(ip),
        }
    }
}

fn is_label(label: &[u8]) -> bool {
    let inside = |&b: &u8| abnf::is_let_dig(b) || b == b'-' || b == b'_';
    let hyphen_at_an_end = label.first() == Some(&b'-') || label.last() == Some(&b'-');
    (1..=63).contains(&label.len()) && label.iter().all(inside) && !hyphen_at_an_end
}

fn literal(inner: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(inner).ok()?;
    match text.split_at_checked(5) {
        Some((tag, v6)) if tag.eq_ignore_ascii_case("IPv6:") => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            DomainKind::Name(name) => f.write_str(name),
            DomainKind::Literal(IpAddr::V4(ip)) => write!(f, "[{ip}]"),
            DomainKind::Literal(IpAddr::V6(ip)) => write!(f, "[IPv6:{ip}]"),
        }
    }
}
impl FromStr for Domain {
    type Err = AddrError;
    fn from_str(s: &str) -> Result<Domain, AddrError> {
        Domain::parse(s.as_bytes())
    }
}

/// A `Mailbox` of RFC 5321 s.4.1.2: a local part at a domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Before the `@`.
    pub local: LocalPart,
    /// After it.
    pub domain: Domain,
}

impl Address {
    /// Parses `Local-part "@" ( Domain / address-literal )`.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn parse(octets: &[u8]) -> Result<Address, AddrError> {
        // The last `@` divides: a domain has none, a quoted local part may.
        let at = memchr::memrchr(b'@', octets).ok_or(AddrError::Shape)?;
        let (local, domain) = (&octets[..at], &octets[at + 1..]);
        if local.is_empty() || domain.is_empty() {
            return Err(AddrError::Shape);
        }
        Ok(Address { local: LocalPart::parse(local)?, domain: Domain::parse(domain)? })
    }

    /// The form to look addresses up by: printed, in lowercase, letters with marks put together. Equal addresses have
    /// the same canonical form, and it is an address.
    #[must_use]
    pub fn canonical(&self) -> String {
        if !self.is_ascii() {
            return format!("{}@{}", LocalPart(folded(&self.local.0).into()), self.domain);
        }
        let mut text = self.to_string();
        text.make_ascii_lowercase();
        text
    }

    /// Whether it can travel without SMTPUTF8; its domain always can.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}
impl FromStr for Address {
    type Err = AddrError;
    fn from_str(s: &str) -> Result<Address, AddrError> {
        Address::parse(s.as_bytes())
    }
}

/// Where a message says it comes from, and where reports go (RFC 5321 s.4.1.2 `Reverse-path`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: nobody; reports and other automatic mail (RFC 5321 s.4.5.5).
    Null,
    /// A mailbox.
    Path(Address),
}

impl ReversePath {
    /// Parses `<>` or `<...>`, brackets included.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn parse(octets: &[u8]) -> Result<ReversePath, AddrError> {
        match between_brackets(octets)? {
            b"" => Ok(ReversePath::Null),
            inner => Address::parse(without_route(inner)?).map(ReversePath::Path),
        }
    }

    /// Whether it can travel without SMTPUTF8.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.address().is_none_or(Address::is_ascii)
    }

    /// The mailbox, unless it is the null path.
    #[must_use]
    pub fn address(&self) -> Option<&Address> {
        match self {
            ReversePath::Null => None,
            ReversePath::Path(address) => Some(address),
        }
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => f.write_str("<>"),
            ReversePath::Path(address) => write!(f, "<{address}>"),
        }
    }
}
impl FromStr for ReversePath {
    type Err = AddrError;
    fn from_str(s: &str) -> Result<ReversePath, AddrError> {
        ReversePath::parse(s.as_bytes())
    }
}

/// Whom a message goes to (RFC 5321 s.4.1.2 `Forward-path`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    /// `<postmaster>` without a domain, in any case: this host's postmaster (RFC 5321 s.4.5.1).
    Postmaster,
    /// A mailbox.
    Path(Address),
}

impl ForwardPath {
    /// Parses `<...>`, brackets included.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn parse(octets: &[u8]) -> Result<ForwardPath, AddrError> {
        let inner = between_brackets(octets)?;
        if inner.eq_ignore_ascii_case(b"postmaster") {
            return Ok(ForwardPath::Postmaster);
        }
        Address::parse(without_route(inner)?).map(ForwardPath::Path)
    }

    /// Whether it can travel without SMTPUTF8.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        match self {
            ForwardPath::Postmaster => true,
            ForwardPath::Path(address) => address.is_ascii(),
        }
    }
}

impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardPath::Postmaster => f.write_str("<Postmaster>"),
            ForwardPath::Path(address) => write!(f, "<{address}>"),
        }
    }
}
impl FromStr for ForwardPath {
    type Err = AddrError;
    fn from_str(s: &str) -> Result<ForwardPath, AddrError> {
        ForwardPath::parse(s.as_bytes())
    }
}

fn between_brackets(octets: &[u8]) -> Result<&[u8], AddrError> {
    match octets {
        [b'<', inner @ .., b'>'] => Ok(inner),
        _ => Err(AddrError::Brackets),
    }
}

/// RFC 5321 s.4.1.2, appendix C: `@a,@b:user@c` is read as `user@c`. The size of a path counts without the route.
fn without_route(inner: &[u8]) -> Result<&[u8], AddrError> {
    let rest = match inner {
        [b'@', ..] => {
            let colon = route_end(inner).ok_or(AddrError::Shape)?;
            for hop in inner[..colon].split(|&b| b == b',') {
                match hop {
                    [b'@', domain @ ..] => Domain::parse(domain).map(drop)?,
                    _ => return Err(AddrError::Shape),
                }
            }
            &inner[colon + 1..]
        }
        _ => inner,
    };
    // RFC 5321 s.4.5.3.1.3 counts the brackets.
    if rest.len() > limits::PATH - 2 { Err(AddrError::TooLong) } else { Ok(rest) }
}

/// The colon that ends a source route: the first one outside an address literal, which may hold colons itself.
fn route_end(inner: &[u8]) -> Option<usize> {
    let mut in_literal = false;
    inner.iter().position(|&b| {
        match b {
            b'[' => in_literal = true,
            b']' => in_literal = false,
            _ => {}
        }
        b == b':' && !in_literal
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses() {
        use AddrError::{Domain, LocalPart, Shape, TooLong};
        let long_local = format!("{}@x.org", "a".repeat(65));
        let longest_local = format!("{}@x.org", "a".repeat(64));
        let long_label = format!("a@{}.org", "b".repeat(64));
        let long_domain = format!("a@{}org", "b.".repeat(126));
        let long_utf8 = format!("{}@x.org", "\u{fc}".repeat(33));
        let longest_utf8 = format!("{}@x.org", "\u{fc}".repeat(32));
        // Three octets, and six once put together as NFC has it.
        let longer_in_nfc = format!("{}@x.org", "\u{958}".repeat(11));
        for (text, result) in [
            ("tim@example.org", Ok("tim@example.org")),
            ("Tim.B@EXAMPLE.Org", Ok("Tim.B@example.org")),
            ("a+b=c!#$%&'*/?^_`{|}~-@x", Ok("a+b=c!#$%&'*/?^_`{|}~-@x")),
            ("\"tim\"@x.org", Ok("tim@x.org")),
            ("\"a b\"@x.org", Ok("\"a b\"@x.org")),
            ("\"a@b\"@x.org", Ok("\"a@b\"@x.org")),
            ("\"a\\\"b\\\\c\"@x.org", Ok("\"a\\\"b\\\\c\"@x.org")),
            ("\"\\a\"@x.org", Ok("a@x.org")),
            ("\"\"@x.org", Ok("\"\"@x.org")),
            ("\".a\"@x.org", Ok("\".a\"@x.org")),
            ("a@[192.0.2.1]", Ok("a@[192.0.2.1]")),
            ("a@[ipv6:2001:DB8::1]", Ok("a@[IPv6:2001:db8::1]")),
            ("a@my_host.example.org", Ok("a@my_host.example.org")),
            ("a@M\u{dc}nchen.example", Ok("a@xn--mnchen-3ya.example")),
            (&longest_local, Ok(&longest_local)),
            ("tim", Err(Shape)),
            ("@x.org", Err(Shape)),
            ("tim@", Err(Shape)),
            ("a..b@x.org", Err(LocalPart)),
            (".a@x.org", Err(LocalPart)),
            ("a.@x.org", Err(LocalPart)),
            ("a b@x.org", Err(LocalPart)),
            ("a\"b\"@x.org", Err(LocalPart)),
            ("\"a\"b\"@x.org", Err(LocalPart)),
            ("\"a\\\"@x.org", Err(LocalPart)),
            ("\"@x.org", Err(LocalPart)),
            ("a\0@x.org", Err(LocalPart)),
            ("\"a\r\n\"@x.org", Err(LocalPart)),
            ("J\u{f6}rg.M\u{fc}ller@x.org", Ok("J\u{f6}rg.M\u{fc}ller@x.org")),
            ("\u{7528}\u{6237}@\u{4f8b}\u{5b50}.test", Ok("\u{7528}\u{6237}@xn--fsqu00a.test")),
            ("\"j\u{f6}rg\"@x.org", Ok("j\u{f6}rg@x.org")),
            ("\"j\u{f6} rg\"@x.org", Ok("\"j\u{f6} rg\"@x.org")),
            ("\u{1f4ec}@x.org", Ok("\u{1f4ec}@x.org")),
            (&longest_utf8, Ok(&longest_utf8)),
            ("\"\\\u{fc}\"@x.org", Err(LocalPart)),
            ("a\u{9b}b@x.org", Err(LocalPart)),
            ("a\u{2028}b@x.org", Err(LocalPart)),
            ("a\u{202e}b@x.org", Err(LocalPart)),
            ("a\u{61c}b@x.org", Err(LocalPart)),
            ("a\u{85}b@x.org", Err(LocalPart)),
            (&long_utf8, Err(TooLong)),
            (&longer_in_nfc, Err(TooLong)),
            ("a@x.org.", Err(Domain)),
            ("a@.x.org", Err(Domain)),
            ("a@x..org", Err(Domain)),
            ("a@-x.org", Err(Domain)),
            ("a@x-.org", Err(Domain)),
            ("a@x y.org", Err(Domain)),
            ("a@[192.0.2]", Err(Domain)),
            ("a@[192.0.2.1", Err(Domain)),
            ("a@[2001:db8::1]", Err(Domain)),
            ("a@[tag:content]", Err(Domain)),
            ("a@[]", Err(Domain)),
            (&long_local, Err(TooLong)),
            (&long_label, Err(Domain)),
            (&long_domain, Err(TooLong)),
        ] {
            assert_eq!(
                text.parse::<Address>().map(|a| a.to_string()).as_deref(),
                result.as_ref().map(|s| *s),
                "{text:?}"
            );
        }
    }

    #[test]
    fn paths() {
        let null = ReversePath::parse(b"<>");
        assert_eq!(null, Ok(ReversePath::Null));
        assert_eq!(null.map(|p| p.to_string()).as_deref(), Ok("<>"));
        for (text, result) in [
            ("<a@x.org>", Ok("<a@x.org>")),
            ("<@hop.org:a@x.org>", Ok("<a@x.org>")),
            ("<@hop.org,@[192.0.2.1]:a@x.org>", Ok("<a@x.org>")),
            ("<@[IPv6:2001:db8::1]:a@x.org>", Ok("<a@x.org>")),
            ("<PostMaster>", Ok("<Postmaster>")),
            ("<postmaster@x.org>", Ok("<postmaster@x.org>")),
            ("a@x.org", Err(AddrError::Brackets)),
            ("<a@x.org", Err(AddrError::Brackets)),
            ("", Err(AddrError::Brackets)),
            ("<", Err(AddrError::Brackets)),
            ("<>", Err(AddrError::Shape)),
            ("<a>", Err(AddrError::Shape)),
            ("<@hop.org>", Err(AddrError::Shape)),
            ("<@hop.org,hop:a@x.org>", Err(AddrError::Shape)),
            ("<@:a@x.org>", Err(AddrError::Domain)),
            ("<<a@x.org>>", Err(AddrError::LocalPart)),
            ("<a@x.org><b@x.org>", Err(AddrError::LocalPart)),
        ] {
            assert_eq!(
                text.parse::<ForwardPath>().map(|p| p.to_string()).as_deref(),
                result.as_ref().map(|s| *s),
                "{text:?}"
            );
        }
        let long = format!("<{}@{}>", "a".repeat(60), vec!["b".repeat(60); 4].join("."));
        assert_eq!(long.parse::<ForwardPath>(), Err(AddrError::TooLong));
    }

    #[test]
    fn what_is_no_utf8_is_told_apart() {
        for (octets, error) in [
            (&b"j\xf6rg@x.org"[..], AddrError::Encoding),
            (b"\"j\xf6rg\"@x.org", AddrError::Encoding),
            (b"j\xc3@x.org", AddrError::Encoding),
            (b"\xed\xa0\x80@x.org", AddrError::Encoding),
            (b"a@b\xfccher.test", AddrError::Domain),
        ] {
            assert_eq!(Address::parse(octets), Err(error), "{octets:?}");
        }
    }

    #[test]
    fn what_compares_is_the_same_compared_again_for_every_letter() {
        // Nothing becomes what divides an address, its details or its quotes, unless it was that.
        let divides = |text: &str| text.chars().any(|c| "@+.\"\\<> ".contains(c));
        let looks = |c: char, mark: &str| {
            let once = folded(&format!("{c}{mark}"));
            assert_eq!(folded(&once), once, "{c:?}{mark:?}");
            assert!(c.is_ascii() || !divides(&once), "{c:?}{mark:?}");
        };
        // Beyond are no letters with case, nor marks that go with them.
        for c in '\0'..'\u{20000}' {
            looks(c, "");
        }
        for c in ('\0'..'\u{600}').chain('\u{1e00}'..'\u{2200}') {
            ["\u{301}", "\u{307}", "\u{323}", "\u{338}", "\u{345}"].iter().for_each(|mark| looks(c, mark));
        }
    }

    #[test]
    fn letters_that_look_alike_are_told_apart() {
        for (one, other) in [
            ("stra\u{df}e", "strasse"),
            ("\u{130}", "i"),
            ("\u{131}", "i"),
            ("\u{17f}am", "sam"),
            ("\u{ff41}nn", "ann"),
            ("\u{430}nn", "ann"),
            ("a\u{200d}nn", "ann"),
            ("\u{fb01}n", "fin"),
        ] {
            let [a, b] = [one, other].map(|local| format!("{local}@x.org").parse::<Address>().expect(local));
            assert!(a != b && a.canonical() != b.canonical(), "{one} {other}");
        }
    }

    #[test]
    fn letters_outside_ascii_look_up_alike() {
        for (forms, canonical) in [
            (&["J\u{f6}rg@x.org", "jo\u{308}rg@X.org", "\"J\u{d6}RG\"@x.org"][..], "j\u{f6}rg@x.org"),
            (
                &["\u{39d}\u{399}\u{39a}\u{39f}\u{3a3}@x.org", "\u{3bd}\u{3b9}\u{3ba}\u{3bf}\u{3c2}@x.org"],
                "\u{3bd}\u{3b9}\u{3ba}\u{3bf}\u{3c3}@x.org",
            ),
            // The Kelvin sign is a K, and a Greek question mark is a semicolon, which wants quotes.
            (&["\u{212a}im@x.org", "kim@x.org"], "kim@x.org"),
            (&["a\u{37e}@x.org", "\"a;\"@x.org"], "\"a;\"@x.org"),
            // A small letter with its mark is one character, the capital is two.
            (&["H\u{331}a@x.org", "\u{1e96}a@x.org", "h\u{331}A@x.org"], "\u{1e96}a@x.org"),
            (&["stra\u{df}e@x.org"], "stra\u{df}e@x.org"),
        ] {
            let set: std::collections::HashSet<Address> =
                forms.iter().map(|a| a.parse().expect("an address")).collect();
            assert_eq!(set.len(), 1, "{forms:?}");
            assert!(set.iter().all(|a| a.canonical() == canonical), "{forms:?}");
        }
        let [a, b] = ["jorg@x.org", "j\u{f6}rg@x.org"].map(|a| a.parse::<Address>().expect("an address"));
        assert_ne!(a, b);
        assert!(a.is_ascii() && !b.is_ascii());
    }

    #[test]
    fn equal_addresses_look_up_alike() {
        let set: std::collections::HashSet<Address> = ["Tim@X.org", "\"tim\"@x.ORG", "tim@x.org"]
            .iter()
            .map(|a| a.parse().expect("an address"))
            .collect();
        assert_eq!(set.len(), 1);
        assert!(set.iter().all(|a| a.canonical() == "tim@x.org"));
    }

    prop_compose! {
        fn any_address()(local in "([ -~]{1,40}|[ -~\u{a0}-\u{17f}\u{300}-\u{3ff}\u{958}\u{1e00}-\u{1fff}\u{2126}\u{212a}]{1,12})", domain in "([a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\\.){0,4}[a-z]{2,6}") -> Option<Address> {
            let quoted = local.replace('\\', "\\\\").replace('"', "\\\"");
            // Quoting makes any text a local part, unless it grows too long.
            let parsed = format!("\"{quoted}\"@{domain}").parse();
            assert!(parsed.is_ok() || parsed == Err(AddrError::TooLong) && !local.is_ascii(), "{local:?}");
            parsed.ok()
        }
    }

    proptest! {
        #[test]
        fn printing_parses_to_the_same(a in any_address().prop_filter_map("too long", |a| a)) {
            prop_assert_eq!(a.to_string().parse::<Address>(), Ok(a.clone()));
            let canonical: Address = a.canonical().parse().expect("canonical forms parse");
            prop_assert_eq!(&canonical, &a);
            prop_assert_eq!(canonical.canonical(), a.canonical());
            prop_assert_eq!(a.canonical().to_lowercase(), a.canonical());
            let path = ReversePath::Path(a);
            prop_assert_eq!(path.to_string().parse::<ReversePath>(), Ok(path));
        }

        #[test]
        fn whatever_parses_prints_and_parses_again(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(a) = Address::parse(&octets) {
                prop_assert_eq!(a.to_string().parse::<Address>(), Ok(a));
            }
        }

        #[test]
        fn nothing_printable_upsets_the_path_parser(text in "<[@a.\\[\\]:,\"\\\\ ü]{0,20}>") {
            if let Ok(p) = ForwardPath::parse(text.as_bytes()) {
                prop_assert_eq!(p.to_string().parse::<ForwardPath>(), Ok(p));
            }
        }
    }
}
