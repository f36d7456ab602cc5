//! Mail addresses and the paths of an envelope, parsed once into types that cannot be wrong.
//!
//! RFC 5321 s.4.1.2 (grammar), s.4.1.3 (address literals), s.4.5.3.1 (sizes), appendix C (source routes: accepted,
//! dropped); RFC 5890 for domains in other scripts, which are kept as lowercase A-labels. Without SMTPUTF8
//! (RFC 6531) a local part is ASCII. Header fields have their own grammar and are not parsed here.
//!
//! A local part is kept as what it means: `"a b"@x` holds `a b`, `"tim"@x` equals `tim@x`. Addresses compare and
//! hash without regard to ASCII case, because this server never tells two users apart by case; printing keeps the
//! case that was given.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

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
}

/// The part before the `@`, as what it means: quotes and backslashes are gone.
#[derive(Clone, Debug)]
pub struct LocalPart(Box<str>);

impl LocalPart {
    /// Parses `Dot-string / Quoted-string` (RFC 5321 s.4.1.2).
    ///
    /// # Errors
    /// `NonAscii`, `TooLong` or `LocalPart`.
    pub fn parse(octets: &[u8]) -> Result<LocalPart, AddrError> {
        if !octets.is_ascii() {
            return Err(AddrError::NonAscii);
        }
        let meaning = match octets {
            [b'"', inner @ .., b'"'] => unquote(inner)?,
            _ if is_dot_string(octets) => octets.to_vec(),
            _ => return Err(AddrError::LocalPart),
        };
        if meaning.len() > limits::LOCAL_PART {
            return Err(AddrError::TooLong);
        }
        let meaning = String::from_utf8(meaning).map_err(|_| AddrError::NonAscii)?;
        Ok(LocalPart(meaning.into()))
    }

    /// What it means, without quoting. Not fit for an envelope: print it for that.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_dot_string(s: &[u8]) -> bool {
    s.split(|&b| b == b'.').all(|atom| !atom.is_empty() && atom.iter().all(|&b| abnf::is_atext(b)))
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
            _ if abnf::is_qtext_smtp(b) => meaning.push(b),
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
    }
}
impl Eq for LocalPart {}
impl Hash for LocalPart {
    fn hash<H: Hasher>(&self, h: &mut H) {
        for b in self.0.bytes() {
            h.write_u8(b.to_ascii_lowercase());
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

    /// The form to look addresses up by: printed, in lowercase. Equal addresses have the same canonical form.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut text = self.to_string();
        text.make_ascii_lowercase();
        text
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
        use AddrError::{Domain, LocalPart, NonAscii, Shape, TooLong};
        let long_local = format!("{}@x.org", "a".repeat(65));
        let longest_local = format!("{}@x.org", "a".repeat(64));
        let long_label = format!("a@{}.org", "b".repeat(64));
        let long_domain = format!("a@{}org", "b.".repeat(126));
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
            ("\u{fc}@x.org", Err(NonAscii)),
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
    fn equal_addresses_look_up_alike() {
        let set: std::collections::HashSet<Address> = ["Tim@X.org", "\"tim\"@x.ORG", "tim@x.org"]
            .iter()
            .map(|a| a.parse().expect("an address"))
            .collect();
        assert_eq!(set.len(), 1);
        assert!(set.iter().all(|a| a.canonical() == "tim@x.org"));
    }

    prop_compose! {
        fn any_address()(local in "[ -~]{1,40}", domain in "([a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\\.){0,4}[a-z]{2,6}") -> Address {
            let quoted = local.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{quoted}\"@{domain}").parse().expect("quoting makes any text a local part")
        }
    }

    proptest! {
        #[test]
        fn printing_parses_to_the_same(a in any_address()) {
            prop_assert_eq!(a.to_string().parse::<Address>(), Ok(a.clone()));
            let canonical: Address = a.canonical().parse().expect("canonical forms parse");
            prop_assert_eq!(&canonical, &a);
            prop_assert_eq!(canonical.canonical(), a.canonical());
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
