//! What a store shows, whether it is served or only read.

use std::sync::Arc;

use crate::books::lines_of;
use store::{
    AccountId, Book, Content, Directory, Head, MailboxId, ReadError, Reader, RetainedFilter, RetainedMessage,
    Row, Store, Usage, View,
};

/// A store, or a directory that is only read.
pub trait Shows {
    fn directory(&self) -> Arc<Directory>;
    fn head(&self, id: MailboxId) -> Option<Head>;
    fn view(&self, id: MailboxId) -> Result<View, ReadError>;
    fn message(&self, row: &Row) -> Result<store::Message, ReadError>;
    fn unique_id(&self, id: MailboxId, row: &Row) -> String;
    fn usage(&self, id: AccountId) -> Usage;
    /// Everything that can be brought back.
    fn retained(&self) -> Result<Vec<RetainedMessage>, ReadError>;
    /// Every line of every book.
    fn lines(&self) -> Result<Vec<(Book, Vec<u8>, store::Line)>, String>;
    fn content(&self, content: Content) -> Result<store::Message, ReadError>;
    /// `None`: it has none.
    fn digest(&self, row: &Row) -> Result<Option<Arc<[u8]>>, ReadError>;
}

impl Shows for Store {
    fn directory(&self) -> Arc<Directory> {
        Store::directory(self)
    }
    fn head(&self, id: MailboxId) -> Option<Head> {
        Store::head(self, id)
    }
    fn view(&self, id: MailboxId) -> Result<View, ReadError> {
        Store::view(self, id)
    }
    fn message(&self, row: &Row) -> Result<store::Message, ReadError> {
        Store::message(self, row)
    }
    fn unique_id(&self, id: MailboxId, row: &Row) -> String {
        Store::unique_id(self, id, row)
    }
    fn usage(&self, id: AccountId) -> Usage {
        Store::usage(self, id)
    }
    fn retained(&self) -> Result<Vec<RetainedMessage>, ReadError> {
        Store::retained(self, &RetainedFilter { all: true, ..RetainedFilter::default() })?.collect()
    }
    fn lines(&self) -> Result<Vec<(Book, Vec<u8>, store::Line)>, String> {
        lines_of(self)
    }
    fn content(&self, content: Content) -> Result<store::Message, ReadError> {
        Store::content(self, content)
    }
    fn digest(&self, row: &Row) -> Result<Option<Arc<[u8]>>, ReadError> {
        Store::digest(self, row).map(Some)
    }
}

impl Shows for Reader {
    fn directory(&self) -> Arc<Directory> {
        Reader::directory(self).clone()
    }
    fn head(&self, id: MailboxId) -> Option<Head> {
        Reader::head(self, id)
    }
    fn view(&self, id: MailboxId) -> Result<View, ReadError> {
        Reader::view(self, id).ok_or(ReadError::NoSuchMailbox)
    }
    fn usage(&self, id: AccountId) -> Usage {
        Reader::usage(self, id)
    }
    fn retained(&self) -> Result<Vec<RetainedMessage>, ReadError> {
        Ok(Reader::retained(self).collect())
    }
    fn message(&self, row: &Row) -> Result<store::Message, ReadError> {
        Reader::message(self, row)
    }
    fn unique_id(&self, id: MailboxId, row: &Row) -> String {
        Reader::unique_id(self, id, row)
    }
    fn lines(&self) -> Result<Vec<(Book, Vec<u8>, store::Line)>, String> {
        let split = |(name, line): (&[u8], &store::Line)| {
            let (number, key) = name.split_first()?;
            let book = Book::ALL.into_iter().find(|book| *book as u8 == *number)?;
            Some((book, key.to_vec(), line.clone()))
        };
        Reader::lines(self).map(|line| split(line).ok_or_else(|| format!("{line:?} is in no book"))).collect()
    }
    fn content(&self, content: Content) -> Result<store::Message, ReadError> {
        Reader::content(self, content)
    }
    fn digest(&self, _: &Row) -> Result<Option<Arc<[u8]>>, ReadError> {
        Ok(None)
    }
}
