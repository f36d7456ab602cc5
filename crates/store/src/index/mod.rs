//! The index: rows derived from the log, kept where they can be found by key. Never the truth.
//!
//! One ordered tree of keys and values behind [`Index`]. What the keys mean is the business of the rooms above; what is true
//! is the log's. So an index may be lost, be older than it was, fail or lie in wait, and the store still holds what it
//! acknowledged: it asks [`state`] whether the index can be trusted at all, and else builds a new one.
//!
//! Nothing is mended in a running process: the first error or panic condemns the index (`index/CONDEMNED`), everything
//! after it is refused, and the next start rebuilds. `sled` is named in this room only.

pub mod guard;
#[cfg(feature = "faults")]
pub mod model;
pub mod pages;
pub mod sled;
pub mod state;

use std::fmt::Debug;
use std::sync::Arc;

/// Why an index does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// It failed, panicked or hung, now or before; it is rebuilt at the next start.
    #[error("the index is condemned: {0}")]
    Condemned(Arc<str>),
    /// It was closed.
    #[error("the index is closed")]
    Closed,
}

/// What [`Index::scan`] and [`Index::range`] call for each key, in the order of keys.
pub type Each<'a> = &'a mut dyn FnMut(&[u8], &[u8]);

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Makes and opens indexes: sled's in production, the model in tests.
pub trait IndexHost: Debug + Send + Sync {
    /// Opens the index in a directory under the data directory (`index`, `index.new`), making it if it is not there.
    /// Whether what is in it deserves trust is for the caller to know ([`state`]).
    ///
    /// The caller removes and renames such a directory through [`crate::vfs::Vfs`], while the index is not open.
    fn open(&self, dir: &str) -> Result<Arc<dyn Index>, IndexError>;
}

/// One ordered tree of keys and values. Calls come from many threads.
pub trait Index: Debug + Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;

    /// Every key that begins with `prefix`.
    fn scan(&self, prefix: &[u8], each: Each<'_>) -> Result<(), IndexError>;

    /// Every key from `from` up to but not including `to`.
    fn range(&self, from: &[u8], to: &[u8], each: Each<'_>) -> Result<(), IndexError>;

    /// The first keys from `from` up to but not including `to`, with their values, in order: as many as make up `octets`,
    /// and at least one if there is any.
    fn page(&self, from: &[u8], to: &[u8], octets: usize) -> Result<Vec<Pair>, IndexError>;

    /// Does all of the writes or none, in order. Not durable: after a crash the index may be as it was some calls ago
    /// (as if they had not happened), or worthless.
    fn apply(&self, writes: Writes) -> Result<(), IndexError>;

    /// Hands everything to the operating system, so that it outlives this process (not a power cut).
    fn flush(&self) -> Result<(), IndexError>;

    /// Flushes and lets go of the files; behind the [`guard`], they are also durable when it returns. Whatever is called
    /// after it gets [`IndexError::Closed`].
    fn close(&self) -> Result<(), IndexError>;
}

/// Takes pairs until they make up so many octets.
fn page_of<E>(pairs: impl Iterator<Item = Result<Pair, E>>, octets: usize) -> Result<Vec<Pair>, E> {
    let mut page = Vec::new();
    let mut taken = 0;
    for pair in pairs {
        let (key, value) = pair?;
        taken += key.len() + value.len();
        page.push((key, value));
        if taken >= octets {
            break;
        }
    }
    Ok(page)
}

/// Puts and deletes that happen together; a later one of the same key wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    list: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    octets: usize,
}

impl Writes {
    /// None yet.
    #[must_use]
    pub fn new() -> Writes {
        Writes::default()
    }

    /// Sets a key's value.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        let (key, value) = (key.into(), value.into());
        self.octets += key.len() + value.len();
        self.list.push((key, Some(value)));
    }

    /// Removes a key; fine if it is not there.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        let key = key.into();
        self.octets += key.len();
        self.list.push((key, None));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Octets of all keys and values.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// In order: a key, and its value or `None` for a delete.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.list.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }
}

impl IntoIterator for Writes {
    type Item = (Vec<u8>, Option<Vec<u8>>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}
