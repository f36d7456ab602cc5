//! Keys that sign a domain's mail: making them, keeping them as lines of a book, and what is published of them.
//!
//! RSA with 2,048 bits, which every verifier knows (RFC 8301), and Ed25519 (RFC 8463). They come in pairs. A pair waits
//! until its records are published, then signs, then retires: its records stay for a while, for mail under way.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use data_encoding::BASE64;
use store::{Book, Intent};
use zeroize::Zeroizing;

use crate::clock;

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSA with SHA-256.
    Rsa,
    /// Ed25519 with SHA-256.
    Ed25519,
}

impl Algorithm {
    /// Both, in the order in which their signatures stand.
    pub const ALL: [Algorithm; 2] = [Algorithm::Rsa, Algorithm::Ed25519];

    /// Its name in a signature's `a=`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rsa => "rsa-sha256",
            Algorithm::Ed25519 => "ed25519-sha256",
        }
    }

    /// Its name in a record's `k=`.
    fn kind(self) -> &'static str {
        match self {
            Algorithm::Rsa => "rsa",
            Algorithm::Ed25519 => "ed25519",
        }
    }
}

/// What a key is good for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It signs as soon as an administrator says that its record is published.
    Waiting,
    /// It signs.
    Active,
    /// It signs no more; its record is still looked up for mail that is under way.
    Retiring,
}

/// A key of a domain.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Whose mail it signs.
    pub domain: String,
    /// Its name among the domain's keys: a label of the DNS.
    pub selector: String,
    /// How it signs.
    pub algorithm: Algorithm,
    /// When it was made (seconds since 1970).
    pub created: i64,
    /// What it is good for.
    pub state: State,
    /// Since when (seconds since 1970).
    pub since: i64,
    /// PKCS #8.
    private: Zeroizing<Vec<u8>>,
}

/// Never with the key itself.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {}, {:?})", self.name(), self.algorithm.name(), self.state)
    }
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The library gave none.
    #[error("the system made no key")]
    Unmade,
    /// A record's name must fit the DNS.
    #[error("the domain's name is too long for the names of DKIM records")]
    DomainTooLong,
    /// What is stored is of a newer version.
    #[error("it was written by a newer version of this program")]
    Newer,
    /// What is stored is no key.
    #[error("it is damaged")]
    Damaged,
}

/// Octets of a name in the DNS, as text.
const NAME: usize = 253;
/// The version of what is stored.
const VERSION: u8 = 1;
/// Version, algorithm, state, two times.
const FIXED: usize = 3 + 8 + 8;

impl Key {
    /// A pair of new keys, one for each algorithm, under selectors that are not among `taken`. RSA takes a while: call
    /// it where that is allowed.
    ///
    /// # Errors
    /// `Unmade`, `DomainTooLong`.
    pub fn pair(domain: &str, taken: &[Key], state: State, now: i64) -> Result<Vec<Key>, KeyError> {
        let selectors = selectors(taken, now);
        let key = |(algorithm, selector): (Algorithm, String)| {
            let private = Zeroizing::new(make(algorithm)?);
            let domain = domain.to_owned();
            let key = Key { domain, selector, algorithm, created: now, state, since: now, private };
            if key.name().len() > NAME { Err(KeyError::DomainTooLong) } else { Ok(key) }
        };
        Algorithm::ALL.into_iter().zip(selectors).map(key).collect()
    }

    /// The name of its record.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// Its record (RFC 6376 s.3.6.1; RFC 8463 s.4.2).
    ///
    /// # Errors
    /// `Damaged` if the key cannot be read.
    pub fn record(&self) -> Result<String, KeyError> {
        let public = match self.signer()? {
            Signer::Rsa(pair) => {
                let public: PublicKeyX509Der<'_> =
                    pair.public_key().as_der().map_err(|_| KeyError::Damaged)?;
                BASE64.encode(public.as_ref())
            }
            Signer::Ed25519(pair) => BASE64.encode(pair.public_key().as_ref()),
        };
        Ok(format!("v=DKIM1; k={}; p={public}", self.algorithm.kind()))
    }

    /// The key as something that signs. Reading an RSA key takes a tenth of a millisecond: keep it.
    pub(super) fn signer(&self) -> Result<Signer, KeyError> {
        match self.algorithm {
            Algorithm::Rsa => RsaKeyPair::from_pkcs8(&self.private).map(|pair| Signer::Rsa(Box::new(pair))),
            Algorithm::Ed25519 => Ed25519KeyPair::from_pkcs8(&self.private).map(Signer::Ed25519),
        }
        .map_err(|_| KeyError::Damaged)
    }

    /// The line that keeps it.
    #[must_use]
    pub fn write(&self) -> Intent {
        let mut value = Vec::with_capacity(FIXED + self.private.len());
        let algorithm = match self.algorithm {
            Algorithm::Rsa => 1,
            Algorithm::Ed25519 => 2,
        };
        let state = match self.state {
            State::Waiting => 1,
            State::Active => 2,
            State::Retiring => 3,
        };
        value.extend_from_slice(&[VERSION, algorithm, state]);
        value.extend_from_slice(&self.created.to_be_bytes());
        value.extend_from_slice(&self.since.to_be_bytes());
        value.extend_from_slice(&self.private);
        Intent::Write { book: Book::Keys, key: self.line(), value }
    }

    /// Takes its line away.
    #[must_use]
    pub fn strike(&self) -> Intent {
        Intent::Strike { book: Book::Keys, key: self.line() }
    }

    fn line(&self) -> Vec<u8> {
        [self.domain.as_bytes(), b"\0", self.selector.as_bytes()].concat()
    }

    /// Reads a line.
    ///
    /// # Errors
    /// `Newer`, `Damaged`.
    pub fn read(key: &[u8], value: &[u8]) -> Result<Key, KeyError> {
        let text = std::str::from_utf8(key).map_err(|_| KeyError::Damaged)?;
        let (domain, selector) = text.split_once('\0').ok_or(KeyError::Damaged)?;
        match value.first() {
            Some(&VERSION) => {}
            Some(&version) if version > VERSION => return Err(KeyError::Newer),
            _ => return Err(KeyError::Damaged),
        }
        let (fixed, private) = value.split_at_checked(FIXED).ok_or(KeyError::Damaged)?;
        let algorithm = match fixed.get(1) {
            Some(1) => Algorithm::Rsa,
            Some(2) => Algorithm::Ed25519,
            _ => return Err(KeyError::Damaged),
        };
        let state = match fixed.get(2) {
            Some(1) => State::Waiting,
            Some(2) => State::Active,
            Some(3) => State::Retiring,
            _ => return Err(KeyError::Damaged),
        };
        let time = |from: usize| {
            let octets = fixed.get(from..from + 8).and_then(|octets| octets.try_into().ok());
            octets.map(i64::from_be_bytes).ok_or(KeyError::Damaged)
        };
        Ok(Key {
            domain: domain.to_owned(),
            selector: selector.to_owned(),
            algorithm,
            created: time(3)?,
            state,
            since: time(11)?,
            private: Zeroizing::new(private.to_vec()),
        })
    }

    /// The same key, good for something else from now on.
    #[must_use]
    pub fn turned(&self, state: State, now: i64) -> Key {
        Key { state, since: now, ..self.clone() }
    }
}

/// Keys of a domain begin with this in the book, and no other's do.
pub(super) fn lines_of(domain: &str) -> (Vec<u8>, Vec<u8>) {
    ([domain.as_bytes(), b"\0"].concat(), [domain.as_bytes(), b"\x01"].concat())
}

/// A key that signs. Never printed.
pub(super) enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

fn make(algorithm: Algorithm) -> Result<Vec<u8>, KeyError> {
    let made = match algorithm {
        Algorithm::Rsa => RsaKeyPair::generate(KeySize::Rsa2048).and_then(|pair| {
            let der: Pkcs8V1Der<'_> = pair.as_der()?;
            Ok(der.as_ref().to_vec())
        }),
        Algorithm::Ed25519 => {
            Ed25519KeyPair::generate().and_then(|pair| Ok(pair.to_pkcs8v1()?.as_ref().to_vec()))
        }
    };
    made.map_err(|_| KeyError::Unmade)
}

/// A selector for each algorithm that tells the day: `20261128-rsa`, then `20261128-2-rsa`.
fn selectors(taken: &[Key], now: i64) -> [String; 2] {
    let day = clock::Date { unix: now, zone_minutes: 0 }.digits();
    let numbered = (2..).map(|n| format!("{day}-{n}"));
    let mut marks = std::iter::once(day.clone()).chain(numbered);
    loop {
        let mark = marks.next().unwrap_or_default();
        let selectors = Algorithm::ALL.map(|algorithm| format!("{mark}-{}", algorithm.kind()));
        if taken.iter().all(|key| !selectors.contains(&key.selector)) {
            return selectors;
        }
    }
}

/// A record's text in the pieces of at most 255 octets that a zone file needs (RFC 1035 s.3.3.14).
#[must_use]
pub fn pieces(text: &str) -> Vec<String> {
    let octets = text.as_bytes().chunks(255);
    octets.map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_900_000; // 2026-11-28

    fn value(intent: Intent) -> (Vec<u8>, Vec<u8>) {
        let Intent::Write { book: Book::Keys, key, value } = intent else { panic!("{intent:?}") };
        (key, value)
    }

    #[test]
    fn a_pair_is_kept_and_read_again() {
        let pair = Key::pair("example.org", &[], State::Active, NOW).unwrap();
        let names: Vec<String> = pair.iter().map(Key::name).collect();
        assert_eq!(names, ["20261128-rsa._domainkey.example.org", "20261128-ed25519._domainkey.example.org"]);
        for key in &pair {
            let (line, octets) = value(key.write());
            assert!(octets.len() < 1_300, "a line has room for 3,500: {}", octets.len());
            assert_eq!(Key::read(&line, &octets).as_ref(), Ok(key));
            let (from, to) = lines_of("example.org");
            assert!((from..to).contains(&line));
            let retired = key.turned(State::Retiring, NOW + 9);
            let (line, octets) = value(retired.write());
            let read = Key::read(&line, &octets).unwrap();
            assert_eq!((read.state, read.since, read.created), (State::Retiring, NOW + 9, NOW));
            assert_eq!(read.record(), key.record());
            assert!(!format!("{key:?}").contains("private"));
        }
        let (rsa, ed) = (pair[0].record().unwrap(), pair[1].record().unwrap());
        assert!(rsa.starts_with("v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"), "{rsa}");
        let pieces = pieces(&rsa);
        assert_eq!((pieces.len(), pieces.concat()), (2, rsa));
        assert!(pieces.iter().all(|piece| piece.len() <= 255));
        assert_eq!(ed.len(), "v=DKIM1; k=ed25519; p=".len() + 44);
    }

    #[test]
    fn selectors_differ_within_a_day() {
        let first = Key::pair("b.test", &[], State::Active, NOW).unwrap();
        let second = Key::pair("b.test", &first, State::Waiting, NOW + 60).unwrap();
        let third = Key::pair("b.test", &[first, second.clone()].concat(), State::Waiting, NOW).unwrap();
        assert_eq!(second[0].selector, "20261128-2-rsa");
        assert_eq!(third[1].selector, "20261128-3-ed25519");
    }

    #[test]
    fn a_domain_whose_records_have_no_room_gets_no_keys() {
        let domain = vec!["a".repeat(60); 4].join(".");
        assert_eq!(Key::pair(&domain, &[], State::Active, NOW), Err(KeyError::DomainTooLong));
    }

    #[test]
    fn what_is_no_line_of_a_key_is_told() {
        let key = &Key::pair("b.test", &[], State::Active, NOW).unwrap()[1];
        let (line, octets) = value(key.write());
        for cut in 0..FIXED {
            assert_eq!(Key::read(&line, &octets[..cut]), Err(KeyError::Damaged), "{cut}");
        }
        for (at, octet, error) in [
            (0, 0, KeyError::Damaged),
            (0, 2, KeyError::Newer),
            (1, 3, KeyError::Damaged),
            (2, 0, KeyError::Damaged),
        ] {
            let mut other = octets.clone();
            other[at] = octet;
            assert_eq!(Key::read(&line, &other), Err(error));
        }
        assert_eq!(Key::read(b"b.test", &octets), Err(KeyError::Damaged));
        let short = Key::read(&line, &octets[..octets.len() - 1]).unwrap();
        assert_eq!(short.record(), Err(KeyError::Damaged));
    }
}
