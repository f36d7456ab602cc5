//! DKIM: what leaves this host in the name of one of its domains is signed, twice: with RSA and with Ed25519 (RFC 6376,
//! RFC 8301, RFC 8463).
//!
//! Keys are lines of [`Book::Keys`]; administrators have them made, published and changed through `admin`. Here they are
//! kept ready in memory. Whether a message is ours to vouch for is decided by who asks: this room signs what it is given.

mod canon;
mod keys;
mod sign;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use store::index::IndexError;
use store::{Book, Intent, Store};

pub use canon::{BodyHash, Hash, Reading};
pub use keys::{Algorithm, Key, KeyError, State, pieces};

use crate::flow::header::Header;
use canon::Fields;
use sign::{Loaded, Signable};

/// For how long a key's record stays published after it has signed for the last time (seconds): mail is given up after
/// days, and whoever gets it may look later.
pub const KEEP: i64 = 7 * 24 * 3_600;

/// Keys of a domain: more than there can be of those that wait, sign and retire.
const MOST: usize = 1_000;

/// The domains' keys, ready to sign. Cloning shares it.
#[derive(Clone)]
pub struct Keyring {
    store: Store,
    ready: Arc<RwLock<HashMap<String, Signers>>>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").finish_non_exhaustive()
    }
}

impl Keyring {
    /// The keys of a store. Whoever changes them through it calls [`Keyring::changed`].
    #[must_use]
    pub fn new(store: Store) -> Keyring {
        Keyring { store, ready: Arc::default() }
    }

    /// All keys of a domain, in the order of their selectors. What cannot be read is left out, with a line in the log.
    ///
    /// # Errors
    /// The index failed.
    pub fn keys(&self, domain: &str) -> Result<Vec<Key>, IndexError> {
        let (from, to) = keys::lines_of(domain);
        self.read(&from, Some(&to))
    }

    /// All keys of all domains.
    ///
    /// # Errors
    /// The index failed.
    pub fn all(&self) -> Result<Vec<Key>, IndexError> {
        let (mut all, mut from) = (Vec::new(), Vec::new());
        loop {
            let lines = self.store.lines(Book::Keys, &from, None, MOST)?;
            let Some((last, _)) = lines.last() else { return Ok(all) };
            from = [last, &b"\0"[..]].concat();
            all.extend(lines.iter().filter_map(|(line, value)| readable(line, &value.value)));
        }
    }

    /// What takes all lines of a domain away, those too that cannot be read.
    ///
    /// # Errors
    /// The index failed.
    pub fn strike(&self, domain: &str) -> Result<Vec<Intent>, IndexError> {
        let (from, to) = keys::lines_of(domain);
        let lines = self.store.lines(Book::Keys, &from, Some(&to), MOST)?;
        Ok(lines.into_iter().map(|(key, _)| Intent::Strike { book: Book::Keys, key }).collect())
    }

    fn read(&self, from: &[u8], to: Option<&[u8]>) -> Result<Vec<Key>, IndexError> {
        let lines = self.store.lines(Book::Keys, from, to, MOST)?;
        Ok(lines.iter().filter_map(|(line, value)| readable(line, &value.value)).collect())
    }

    /// A domain's keys are others now: those in memory are dropped. Called once the commit is done.
    pub fn changed(&self, domain: &str) {
        self.ready.write().unwrap_or_else(PoisonError::into_inner).remove(domain);
    }

    /// The `DKIM-Signature` fields to put before a message: one for each key of its author's domain that signs. Empty,
    /// with a line in the log, if there is none: then the message goes as it is.
    ///
    /// `header` is what is sent, whole fields as they will stand there; `body` is the hash of what follows the empty
    /// line. Takes half a millisecond of a processor, nearly all of it for RSA.
    #[must_use]
    pub fn sign(&self, header: &[u8], body: &Hash, now: i64) -> String {
        let domains = authors(header);
        let keys = match domains.iter().find_map(|domain| self.responsible(domain).transpose()) {
            Some(Ok(keys)) => keys,
            Some(Err(error)) => {
                tracing::error!(%error, "DKIM keys cannot be read: a message goes without a signature");
                return String::new();
            }
            None => {
                let domain = domains.first().map_or("(no author)", String::as_str);
                tracing::warn!(
                    domain,
                    "no DKIM key signs for this domain: a message goes without a signature"
                );
                return String::new();
            }
        };
        keys.sign(header, body, now)
    }

    /// The keys that sign for a domain, or for the nearest one above it that has some: reports come from a host within a
    /// domain.
    fn responsible(&self, domain: &str) -> Result<Option<Signers>, IndexError> {
        let directory = self.store.directory();
        let above =
            std::iter::successors(Some(domain), |domain| domain.split_once('.').map(|(_, rest)| rest));
        for domain in above.filter(|domain| directory.has_domain(domain)) {
            let keys = self.ready(domain)?;
            if !keys.0.is_empty() {
                return Ok(Some(keys));
            }
        }
        Ok(None)
    }

    fn ready(&self, domain: &str) -> Result<Signers, IndexError> {
        if let Some(keys) = self.ready.read().unwrap_or_else(PoisonError::into_inner).get(domain) {
            return Ok(keys.clone());
        }
        // Held while reading, so that `changed` waits and then removes what may be old.
        let mut ready = self.ready.write().unwrap_or_else(PoisonError::into_inner);
        let keys = Signers::of(self.keys(domain)?);
        ready.insert(domain.to_owned(), keys.clone());
        Ok(keys)
    }
}

/// The keys of a domain that sign, ready in memory. Cloning shares them.
#[derive(Clone)]
pub struct Signers(Arc<[Loaded]>);

impl std::fmt::Debug for Signers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| (&key.domain, &key.selector))).finish()
    }
}

impl Signers {
    /// Those of the keys that are active. What cannot be used is left out, with a line in the log.
    #[must_use]
    pub fn of(keys: Vec<Key>) -> Signers {
        let mut keys: Vec<Loaded> = keys.into_iter().filter_map(loaded).collect();
        keys.sort_by_key(|key| key.algorithm);
        Signers(keys.into())
    }

    /// A `DKIM-Signature` field for each of them, as [`Keyring::sign`] has it.
    #[must_use]
    pub fn sign(&self, header: &[u8], body: &Hash, now: i64) -> String {
        let signable = Signable::of(&Fields::of(header), body);
        let field = |key: &Loaded| {
            let field = signable.field(key, now);
            if field.is_none() {
                tracing::error!(domain = key.domain, selector = key.selector, "a DKIM key does not sign");
            }
            field
        };
        self.0.iter().filter_map(field).collect()
    }
}

fn readable(line: &[u8], value: &[u8]) -> Option<Key> {
    let read = Key::read(line, value);
    if let Err(why) = &read {
        let key = String::from_utf8_lossy(line).replace('\0', " ");
        tracing::error!(key, %why, "a DKIM key cannot be read and is not used");
    }
    read.ok()
}

fn loaded(key: Key) -> Option<Loaded> {
    if key.state != State::Active {
        return None;
    }
    match key.signer() {
        Ok(signer) => {
            Some(Loaded { domain: key.domain, selector: key.selector, algorithm: key.algorithm, signer })
        }
        Err(why) => {
            tracing::error!(key = key.name(), %why, "a DKIM key cannot be read and is not used");
            None
        }
    }
}

/// The authors' domains, as the directory has them.
fn authors(header: &[u8]) -> Vec<String> {
    let header = Header::parse(header.to_vec(), true);
    let domain = |address: String| {
        let (_, domain) = address.rsplit_once('@')?;
        Some(wire::addr::Domain::parse(domain.as_bytes()).ok()?.name()?.to_ascii_lowercase())
    };
    header.addresses("From").into_iter().filter_map(domain).collect()
}
