//! Intents about lines of books, and messages that are in no mailbox.

use super::check::{Check, PREFIX, Stop};
use crate::intent::{BodyRef, Outcome, Prefix, Refused};
use crate::record::{Kept, Record};
use crate::state::book::{self, Book, Content, Line};

impl Check<'_, '_> {
    /// A message that a new line names.
    pub(super) fn keep(
        &mut self,
        book: Book,
        key: &[u8],
        body: BodyRef,
        prefix: &Prefix,
        value: &[u8],
    ) -> Result<Outcome, Stop> {
        let name = line_name(book, key, value)?;
        if self.draft.line(&name)?.is_some() {
            return Err(Refused::AlreadyExists.into());
        }
        if prefix.octets.len() > PREFIX {
            return Err(Refused::Limit("the prefix is too long").into());
        }
        let octets = self.bodies.get(body.0).ok_or(Refused::BadBatch)?.len();
        let served = octets.checked_sub(u64::from(prefix.replaces)).ok_or(Refused::BadBatch)?;
        let size = u32::try_from(served + prefix.octets.len() as u64).map_err(|_| Refused::Limit("size"))?;
        // A content of no octets is none: see `keys::encode_content`.
        if size == 0 {
            return Err(Refused::BadBatch.into());
        }
        let body = self.place_body(body)?;
        let kept = Kept {
            body,
            replaces: prefix.replaces,
            size,
            time: self.now.secs,
            name: name.clone(),
            prefix: prefix.octets.clone(),
        };
        let at = self.emit(&Record::Kept(Box::new(kept)))?;
        let content = Content { at, size };
        self.emit(&Record::Line { name, content: Some(content), value: value.to_vec() })?;
        Ok(Outcome::Kept(content))
    }

    /// A line, new or instead of what it was. One that names a message goes on naming it.
    pub(super) fn write(&mut self, book: Book, key: &[u8], value: &[u8]) -> Result<Outcome, Stop> {
        let name = line_name(book, key, value)?;
        let content = match self.draft.line(&name)? {
            Some(there) if there.value == value => return Ok(Outcome::Done),
            there => there.and_then(|line: Line| line.content),
        };
        self.emit(&Record::Line { name, content, value: value.to_vec() })?;
        Ok(Outcome::Done)
    }

    /// One line less; fine if it is not there.
    pub(super) fn strike(&mut self, book: Book, key: &[u8]) -> Result<Outcome, Stop> {
        let name = line_name(book, key, &[])?;
        if self.draft.line(&name)?.is_some() {
            self.emit(&Record::LineGone { name })?;
        }
        Ok(Outcome::Done)
    }
}

fn line_name(book: Book, key: &[u8], value: &[u8]) -> Result<Vec<u8>, Refused> {
    if key.len() > book::KEY || value.len() > book::VALUE {
        return Err(Refused::Limit("a line of a book is too long"));
    }
    Ok(book::name(book, key))
}
