//! POP3 replies, and the encoders with which a desk streams the long ones.
//!
//! RFC 1939 s.3 (single and multi-line), s.5 (what they look like). A desk calls `begin_*`, rows or
//! `dot::Stuffer`, then `end` (the stuffer writes its own end), and answers `Answer::Done`.

use std::num::NonZeroU32;

/// The first line of RETR: how many octets the message has. What follows goes through `dot::Stuffer`.
pub fn begin_message(octets: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("+OK {octets} octets\r\n").as_bytes());
}

/// The first line of TOP. What follows goes through `dot::Stuffer`.
pub fn begin_top(out: &mut Vec<u8>) {
    out.extend_from_slice(b"+OK the top of it follows\r\n");
}

/// The first line of a LIST or UIDL of all messages. Rows follow, then `end`.
pub fn begin_list(count: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("+OK {count} messages\r\n").as_bytes());
}

/// A row of LIST.
pub fn list_row(number: NonZeroU32, octets: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{number} {octets}\r\n").as_bytes());
}

/// A row of UIDL.
pub fn uidl_row(number: NonZeroU32, uid: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{number} {uid}\r\n").as_bytes());
}

/// The end of a list.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b".\r\n");
}
