//! The second stage: whether a message may travel on, and what a submitted one still lacks.
//!
//! From elsewhere: loops are cut (RFC 5321 s.6.3). From our own clients: the authors must be the sender (RFC 6409
//! s.6.1), Date and Message-ID are added where missing (s.8.2, s.8.3), Bcc is taken out.

use wire::addr::Address;
use wire::limits;

use super::received::MessageRef;
use super::{Error, House, Received};
use crate::clock;

/// A message that may travel on.
#[derive(Debug)]
pub struct Judged {
    /// The message.
    pub received: Received,
    /// The header to serve instead of its own, if that had to change.
    pub header: Option<Vec<u8>>,
}

/// Judges a message.
///
/// # Errors
/// `Loop`, `NoAuthor`, `NotYours`.
pub fn judge(received: Received, house: &House) -> Result<Judged, Error> {
    if received.header.count("Received") >= limits::RECEIVED_HEADERS {
        return Err(Error::Loop);
    }
    let Some(account) = received.origin.account else {
        return Ok(Judged { received, header: None });
    };
    let authors = received.header.addresses("From");
    if authors.is_empty() {
        return Err(Error::NoAuthor);
    }
    let directory = house.store.directory();
    let owned = |address: &str| {
        let canonical = Address::parse(address.as_bytes()).ok()?.canonical();
        super::routed::owner(&directory, &canonical).filter(|&owner| owner == account)
    };
    // Each of them: programs show the authors whatever stands in Sender (RFC 5322 s.3.6.2), so a Sender of one's own
    // lends nobody else's name.
    let senders = received.header.addresses("Sender");
    if let Some(foreign) = authors.iter().chain(&senders).find(|a| owned(a).is_none()) {
        return Err(Error::NotYours(foreign.clone()));
    }
    let mut added = String::new();
    if received.header.count("Date") == 0 {
        added.push_str(&format!("Date: {}\r\n", clock::Date::now()));
    }
    if received.header.count("Message-ID") == 0 {
        added.push_str(&format!("Message-ID: <{}>\r\n", message_id(&received.id, &house.hostname)));
    }
    let header = received.header.edited(&added);
    Ok(Judged { received, header })
}

/// The Message-ID of a submitted message that came without one, without its brackets.
pub(super) fn message_id(id: &MessageRef, hostname: &str) -> String {
    format!("{id}@{hostname}")
}
