//! Looking into the books of a store that is served.

use crate::id::{InternalDate, ThreadId};
use crate::index::IndexError;
use crate::keys;
use crate::read::{self, Message, ReadError};
use crate::segment::Files;
use crate::state::block::Row;
use crate::state::book::{self, Book, Content, Line};
use crate::store::Store;
use wire::flag::SystemFlags;
use wire::ids::{ModSeq, Uid};

/// A line with its key.
pub type Keyed = (Vec<u8>, Line);

impl Store {
    /// A line of a book.
    ///
    /// # Errors
    /// The index failed.
    pub fn line(&self, book: Book, key: &[u8]) -> Result<Option<Line>, IndexError> {
        Ok(self.shared().world.line(&book::name(book, key))?.map(|line| Line::clone(&line)))
    }

    /// Lines of a book with `from <= key`, and `key < to` if that is said, in the order of keys, at most `most`. Each is as it
    /// was at some moment of the call.
    ///
    /// # Errors
    /// The index failed.
    pub fn lines(
        &self,
        book: Book,
        from: &[u8],
        to: Option<&[u8]>,
        most: usize,
    ) -> Result<Vec<Keyed>, IndexError> {
        let from = book::name(book, from);
        let to = to.map_or_else(|| vec![book as u8 + 1], |to| book::name(book, to));
        let lines = self.shared().world.lines(&from, &to, most)?;
        Ok(lines.into_iter().map(|(mut name, line)| (name.split_off(1), line)).collect())
    }

    /// The octets of a message that a line names. Reads the disk, as [`Store::message`] does.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn content(&self, content: Content) -> Result<Message, ReadError> {
        of(&self.shared().files, content)
    }
}

pub(crate) fn of(files: &Files, content: Content) -> Result<Message, ReadError> {
    read::read(files, &row(content))
}

/// As a row: what reading needs is where it is and how long.
pub(crate) fn row(content: Content) -> Row {
    Row {
        uid: Uid::FIRST,
        modseq: ModSeq(0),
        flags: SystemFlags::NONE,
        keywords: 0,
        size: content.size,
        date: InternalDate::default(),
        save_date: 0,
        thread: ThreadId(0),
        content: content.at,
    }
}

/// The contents that a line of the index names.
pub(crate) fn content_of(key: &[u8], value: &[u8]) -> Option<Content> {
    keys::line(key, value).and_then(|(_, line)| line.content)
}
