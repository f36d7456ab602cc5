//! What the model knows of books: lines by key, and the messages that they name.

use crate::life::{Check, Life};
use crate::world::{Expect, Op, Shows, World};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::vfs::sim::Rng;
use store::{Book, Intent, Prefix, Refused, Store};

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

/// Batches about books, mostly sensible.
pub struct BookWork {
    /// Messages that wait are few, so that keys come again.
    keys: u64,
}

impl BookWork {
    pub fn new() -> BookWork {
        BookWork { keys: 24 }
    }

    /// A key that no line has, or mostly so.
    fn new_key(&self, rng: &mut Rng, world: &World) -> Vec<u8> {
        let mut key = Vec::new();
        for _ in 0..4 {
            key = (rng.below(self.keys) as u16).to_be_bytes().to_vec();
            if !world.books.contains_key(&(Book::Queue, key.clone())) {
                break;
            }
        }
        key
    }

    /// What a message is kept by: the message, and a line for a recipient.
    pub fn keep(&self, rng: &mut Rng, world: &World, body: Vec<u8>) -> Op {
        let key = self.new_key(rng, world);
        let replaces = if rng.chance(20) { rng.below(body.len() as u64) as u32 } else { 0 };
        let prefix = Prefix { octets: b"Received: by demo.test\r\n".to_vec(), replaces };
        let mut op = Op { bodies: vec![Arc::new(body)], places: vec![0], ..Op::default() };
        let body = crate::work::some_body();
        // Another one may have gone by this key in the same commit.
        if rng.chance(10) {
            op.intents.push(Intent::Strike { book: Book::Queue, key: key.clone() });
        }
        op.intents.push(Intent::Keep {
            book: Book::Queue,
            key: key.clone(),
            body,
            prefix,
            value: value(rng),
        });
        if rng.chance(60) {
            op.intents.push(Intent::Write { book: Book::Recipients, key, value: value(rng) });
        }
        op
    }

    /// What becomes of lines.
    pub fn change(&self, rng: &mut Rng, world: &World) -> Op {
        let mut op = Op::default();
        for _ in 0..1 + rng.below(3) {
            let there = world.books.keys().nth(rng.index(world.books.len() + 1)).cloned();
            let any = || (Book::Policies, b"example.net".to_vec());
            let (book, key) = there.unwrap_or_else(any);
            match rng.below(10) {
                0..=3 => op.intents.push(Intent::Write { book, key, value: value(rng) }),
                4 => {
                    let book = Book::ALL[rng.index(Book::ALL.len())];
                    let key = vec![rng.below(4) as u8; rng.index(5)];
                    op.intents.push(Intent::Write { book, key, value: value(rng) });
                }
                _ => op.intents.push(Intent::Strike { book, key }),
            }
        }
        op
    }
}

fn value(rng: &mut Rng) -> Vec<u8> {
    let most = if rng.chance(5) { 3_500 } else { 60 };
    vec![rng.below(256) as u8; rng.index(most + 1)]
}

impl Life {
    /// Lines after rot: what they name is never other octets served as good. Says which are lost, and whether damage was
    /// told.
    pub(crate) fn rotten_books(&mut self, store: &Store, lost: &mut Vec<String>) -> Check<bool> {
        let mut told = false;
        for ((book, key), must) in &self.world.books {
            let name = format!("line {key:?} of {book:?}");
            let line = match store.line(*book, key) {
                Ok(Some(line)) => line,
                other => {
                    lost.push(format!("{name}: {other:?}"));
                    continue;
                }
            };
            if line.value != must.value || line.content.is_some() != must.octets.is_some() {
                lost.push(format!("{name} is another"));
                continue;
            }
            let (Some(content), Some(octets)) = (line.content, &must.octets) else { continue };
            match store.content(content).and_then(|message| message.to_vec()) {
                Ok(read) if read == **octets => {}
                Ok(_) if content.size as usize != octets.len() => lost.push(format!("{name} names another")),
                Ok(_) => return Err(format!("{name}: other octets after rot, served as good")),
                Err(e) => {
                    told = true;
                    self.note(format!("{name}: {e}"));
                    break;
                }
            }
        }
        Ok(told)
    }
}
