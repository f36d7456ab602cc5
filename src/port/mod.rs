//! Import and export: mail comes in from files and from other servers, and goes out to files.
//!
//! What gives messages (a reader of mbox files, another IMAP server, our own store) gives them to a [`Sink`]: our
//! store, the control socket with our store behind it, or files. Messages pass one by one; nothing here is ever larger
//! than a message, so that 200,000 of them need no more memory than two.
//!
//! Mail is stored with CRLF: files with bare LF are mended on their way in, and their octets otherwise left alone. What
//! is no mail is told of, and never guessed. It prints nothing, and asks nobody.

mod archive;
pub mod backup;
pub mod export;
mod feed;
mod fields;
mod files;
pub mod frames;
pub mod imap;
mod labels;
mod lines;
mod maildir;
mod manifest;
mod mbox;
mod names;
#[cfg(test)]
#[path = "tests/notes.rs"]
mod notes;
mod seen;
mod store_sink;
mod tar;

use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use store::InternalDate;
use wire::flag::{FlagNames, SpecialUse};

pub use export::{Format as ExportFormat, Writer, read_account};
pub use feed::{Count, Feed, OverQuota, Progress, Refusal, Report};
pub use files::{Format, import_path};
pub use frames::{FrameSink, receive, receive_until};
pub use names::check_name;
pub use store_sink::StoreSink;

/// The bodies of the fuzz targets: plain functions of octets that panic when something is wrong.
pub mod fuzz;

/// A mailbox that messages are for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its name: UTF-8, levels parted by `/`.
    pub name: String,
    /// Its special use (`\Sent`), if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "uses")]
    pub special_use: Option<SpecialUse>,
    /// Whether the special use counts more than the name: what another server calls `Sent Items` goes into the mailbox
    /// that has `\Sent` here, whatever it is called.
    #[serde(default)]
    pub by_use: bool,
}

/// A special use as its attribute (RFC 6154 s.2).
mod uses {
    use serde::{Deserialize, Deserializer, Serializer};
    use wire::flag::SpecialUse;

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(value: &Option<SpecialUse>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(special_use) => to.serialize_str(special_use.attribute()),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SpecialUse>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        Ok(text.and_then(|text| SpecialUse::parse(text.as_bytes())))
    }
}

/// A mailbox of a sink, by the order in which they were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Spot(pub u32);

/// A mailbox that is ready for messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// What to call it in [`Item::to`].
    pub spot: Spot,
    /// What it is called there.
    pub path: String,
    /// Whether it was not there before.
    pub made: bool,
}

/// What is known of a message beside its octets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The mailboxes it goes into, with the same octets.
    pub to: Vec<Spot>,
    /// Flags and keywords.
    pub flags: FlagNames,
    /// INTERNALDATE, if it is known.
    pub date: Option<InternalDate>,
    /// How many octets it has.
    pub length: u64,
}

/// How a message looks from afar: enough to say that it is there already, without its octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// RFC822.SIZE.
    pub size: u64,
    /// INTERNALDATE, in seconds since 1970.
    pub unix: i64,
    /// [`message_id_hash`] of its Message-ID.
    pub id: u64,
}

/// What became of a message in one of its mailboxes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It is there, on disk.
    #[serde(rename = "p")]
    Placed,
    /// It is there, without so many of its keywords: the mailbox has no room for more names.
    #[serde(rename = "k")]
    PlacedWithout(u32),
    /// It was there already, octet for octet.
    #[serde(rename = "d")]
    Duplicate,
    /// It is not there; why.
    #[serde(rename = "r")]
    Refused(String),
}

/// Where messages go.
pub trait Sink {
    /// Sees to it that a mailbox is there, and subscribed.
    ///
    /// # Errors
    /// `NoMailbox` when that name cannot be; anything else ends the run.
    fn mailbox(&mut self, place: &Place) -> Result<Opened, Error>;

    /// Which of these messages are in the mailbox already. A sink that cannot tell says that none is.
    ///
    /// # Errors
    /// Whatever ends the run.
    fn known(&mut self, spot: Spot, looks: &[Look]) -> Result<Vec<bool>, Error> {
        let _ = spot;
        Ok(vec![false; looks.len()])
    }

    /// Takes a message. What became of it is told by [`Sink::fates`], sooner or later.
    ///
    /// # Errors
    /// Whatever ends the run; what is wrong with this message only is its fate.
    fn put(&mut self, item: &Item, octets: &mut dyn Read) -> Result<(), Error>;

    /// A message that should have come here and could not be read where it was.
    ///
    /// # Errors
    /// Whatever ends the run.
    fn lost(&mut self, what: &str, why: &str) -> Result<(), Error> {
        let _ = (what, why);
        Ok(())
    }

    /// What has become of messages since this was last asked, one list a message with a fate for each of its mailboxes,
    /// in the order of [`Sink::put`].
    fn fates(&mut self) -> Vec<Vec<Fate>>;

    /// Waits until the fate of every message is known.
    ///
    /// # Errors
    /// Whatever ends the run.
    fn settle(&mut self) -> Result<(), Error>;

    /// Nothing more comes. As [`Sink::settle`]; files are synced too.
    ///
    /// # Errors
    /// Whatever ends the run.
    fn finish(&mut self) -> Result<(), Error> {
        self.settle()
    }
}

/// Why an import or export ended before its end, or a mailbox could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What should be read cannot be.
    #[error("{what} cannot be read: {why}")]
    Read {
        /// The file, or the server.
        what: String,
        /// The system's reason.
        why: io::Error,
    },
    /// What should be written cannot be.
    #[error("{what} cannot be written: {why}")]
    Write {
        /// The file.
        what: String,
        /// The system's reason.
        why: io::Error,
    },
    /// It is not what it should be.
    #[error("{what}: {why}")]
    Wrong {
        /// The file, the server or the name.
        what: String,
        /// In words.
        why: String,
    },
    /// This mailbox cannot be had; others can.
    #[error("the mailbox {name:?} cannot be made: {why}")]
    NoMailbox {
        /// Its name.
        name: String,
        /// In words.
        why: String,
    },
    /// Another server does not let this user in.
    #[error("{what}: the login was refused: {why}")]
    Login {
        /// The server.
        what: String,
        /// In its words.
        why: String,
    },
    /// Another server's certificate is none that this host trusts.
    #[error("{what} has no certificate that this host trusts: {why}")]
    Untrusted {
        /// The server.
        what: String,
        /// What is wrong with it.
        why: io::Error,
    },
    /// Another server cannot be reached, or is gone in the middle.
    #[error("{what} does not answer: {why}")]
    Away {
        /// The server.
        what: String,
        /// The system's reason.
        why: io::Error,
    },
    /// The store has no room.
    #[error("the disk is nearly full, so the store takes nothing new")]
    Full,
    /// The store cannot write.
    #[error("the store could not write to its disk")]
    Broken,
    /// The server goes down.
    #[error("the server is being stopped, so this ended in the middle")]
    Stopping,
    /// Another import into the account runs.
    #[error("another import into this account is under way")]
    Busy,
    /// The two ends do not understand each other.
    #[error("the running server and this program do not understand each other: {0}")]
    Talk(String),
    /// The other end is gone.
    #[error("the server ended, or was ended, in the middle: {0}")]
    Lost(io::Error),
}

impl Error {
    /// Of a file or server that cannot be read.
    pub(crate) fn read(what: impl ToString, why: io::Error) -> Error {
        Error::Read { what: what.to_string(), why }
    }
    /// Of a file that cannot be written.
    pub(crate) fn write(what: impl ToString, why: io::Error) -> Error {
        Error::Write { what: what.to_string(), why }
    }
    /// Of something that is not what it should be.
    pub(crate) fn wrong(what: impl ToString, why: impl ToString) -> Error {
        Error::Wrong { what: what.to_string(), why: why.to_string() }
    }
}

/// A number that stands for a Message-ID, the same in every program and version: the value as it is in the header,
/// without folds and space around it. `None` when there is none.
#[must_use]
pub fn message_id_hash(header: &[u8]) -> Option<u64> {
    let value = crate::mime::header::unfold(crate::mime::header::find(header, "message-id")?);
    if value.is_empty() {
        return None;
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &value);
    digest.as_ref().first_chunk::<8>().map(|octets| u64::from_be_bytes(*octets))
}
