//! What the model knows of books: lines by key, and the messages that they name.

use crate::world::{Expect, Shows, World};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Book, Refused, Store};

/// A line, with the octets of the message that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub value: Vec<u8>,
    pub octets: Option<Arc<Vec<u8>>>,
}

/// By book and key.
pub type Books = BTreeMap<(Book, Vec<u8>), Line>;

/// Every line that a store shows, every octet read.
pub fn books_of(store: &impl Shows) -> Result<Books, String> {
    let mut books = Books::new();
    for (book, key, line) in store.lines()? {
        let name = format!("line {key:?} of {book:?}");
        let octets = match line.content {
            None => None,
            Some(content) => {
                let read = store.content(content).and_then(|message| message.to_vec());
                let octets = read.map_err(|e| format!("{name}: {e}"))?;
                if octets.len() != content.size as usize {
                    return Err(format!("{name}: {} octets, not {}", octets.len(), content.size));
                }
                Some(Arc::new(octets))
            }
        };
        if books.insert((book, key), Line { value: line.value, octets }).is_some() {
            return Err(format!("{name} comes twice"));
        }
    }
    Ok(books)
}

/// The lines of a store that is served: in their order, and each found by its key, too.
pub fn lines_of(store: &Store) -> Result<Vec<(Book, Vec<u8>, store::Line)>, String> {
    let mut all = Vec::new();
    for book in Book::ALL {
        let lines = store.lines(book, &[], None, usize::MAX).map_err(|e| format!("{book:?}: {e}"))?;
        if !lines.is_sorted_by(|(one, _), (other, _)| one < other) {
            return Err(format!("{book:?} is out of order"));
        }
        for (key, line) in lines {
            let found = store.line(book, &key).map_err(|e| format!("{book:?}: {e}"))?;
            if found.as_ref() != Some(&line) {
                return Err(format!("{book:?}, {key:?}: {found:?} by its key, {line:?} in order"));
            }
            all.push((book, key, line));
        }
    }
    Ok(all)
}

impl World {
    pub fn keep_line(
        &mut self,
        name: (Book, Vec<u8>),
        octets: Vec<u8>,
        value: &[u8],
    ) -> Result<Expect, Refused> {
        if self.books.contains_key(&name) {
            return Err(Refused::AlreadyExists);
        }
        let expect = Expect::Kept(octets.len());
        self.books.insert(name, Line { value: value.to_vec(), octets: Some(Arc::new(octets)) });
        Ok(expect)
    }

    /// A message that the line names stays named.
    pub fn write_line(&mut self, name: (Book, Vec<u8>), value: &[u8]) {
        let line = self.books.entry(name).or_insert_with(|| Line { value: Vec::new(), octets: None });
        line.value = value.to_vec();
    }

    pub fn books_differ(&self, is: &World) -> Option<String> {
        let names = self.books.keys().chain(is.books.keys());
        names.into_iter().find_map(|name| {
            let (must, is) = (self.books.get(name), is.books.get(name));
            (must != is).then(|| {
                let told =
                    |line: Option<&Line>| line.map(|l| (l.value.len(), l.octets.as_ref().map(|o| o.len())));
                format!("line {name:?}: {:?}, not {:?} (octets of value and message)", told(is), told(must))
            })
        })
    }
}
