//! What is asked and told of mail to other hosts.

use serde::{Deserialize, Serialize};

/// Which of the queue is meant: all that is said must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueWhich {
    /// These messages.
    pub ids: Vec<String>,
    /// A part of the sender's address.
    pub from: Option<String>,
    /// A part of the recipient's address.
    pub to: Option<String>,
    /// The recipient's domain.
    pub domain: Option<String>,
    /// What is held.
    pub held: bool,
}

/// What is done to some of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum QueueChange {
    Retry,
    Hold,
    Release,
    Drop,
}

/// Some of what waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePage {
    /// Messages.
    pub rows: Vec<QueueRow>,
    /// There are more, behind this one.
    pub after: Option<String>,
    /// Recipients in all, if a server runs.
    pub recipients: Option<usize>,
    /// Recipients that are being tried.
    pub trying: Option<usize>,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRow {
    /// Its name here.
    pub id: String,
    /// Its reverse-path.
    pub from: String,
    /// Its Message-ID, without brackets.
    pub message_id: String,
    /// The beginning of its subject.
    pub subject: String,
    /// Its octets.
    pub size: u32,
    /// When it was taken, in seconds since 1970.
    pub since: i64,
    /// Not before this (seconds since 1970).
    pub send_later: Option<i64>,
    /// Those of its recipients that are meant and left.
    pub recipients: Vec<QueueRecipient>,
}

/// A recipient that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRecipient {
    /// Its address.
    pub to: String,
    /// When it is tried next, in seconds since 1970.
    pub next: Option<i64>,
    /// It is held.
    pub held: bool,
    /// How often it was tried.
    pub tries: u16,
    /// When it was tried last.
    pub tried: Option<i64>,
    /// With which host.
    pub host: Option<String>,
    /// What came of that.
    pub why: Option<String>,
}

/// What became of a message, for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FateRow {
    /// When, in seconds since 1970.
    pub at: i64,
    /// The message's name here.
    pub id: String,
    /// Its Message-ID, without brackets.
    pub message_id: String,
    /// Its reverse-path.
    pub from: String,
    /// The recipient.
    pub to: String,
    /// `delivered`, `failed`, `expired` or `dropped`.
    pub action: String,
    /// The last host.
    pub host: String,
    /// Its address.
    pub address: String,
    /// How the connection was secured; empty: not at all.
    pub tls: String,
    /// Why not, where it was not and that is known.
    #[serde(default)]
    pub plain: String,
    /// What the host said, or what was the matter.
    pub what: String,
    /// When the message was taken, in seconds since 1970.
    pub since: i64,
    /// How often it was tried.
    pub tries: u16,
}

/// Mail to other hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentStatus {
    /// Recipients that wait.
    pub waiting: u64,
    /// Recipients that are being tried.
    pub trying: u64,
    /// Recipients within the last 24 hours: delivered...
    pub delivered: u64,
    /// ... refused or given up...
    pub failed: u64,
    /// ... and taken out.
    pub dropped: u64,
    /// Where most of what waits goes.
    pub destinations: Vec<(String, u64)>,
    /// Nobody is reached on port 25.
    pub port_25_closed: bool,
}
