//! POP3 replies, and the encoders with which a desk streams the long ones.
//!
//! RFC 1939 s.3 (single and multi-line), s.5 (what they look like). A desk calls `begin_*`, rows or
//! `dot::Stuffer`, then `end` (the stuffer writes its own end), and answers `Answer::Done`.

use std::num::NonZeroU32;

use crate::machine::{Away, Over};

/// Appends `+OK words`.
pub(super) fn ok(words: &str, out: &mut Vec<u8>) {
    line("+OK", None, words, out);
}

/// Appends `-ERR [code] words`. Response codes are RFC 2449 s.8, RFC 3206 s.4 and s.5.
pub(super) fn err(code: Option<&str>, words: &str, out: &mut Vec<u8>) {
    line("-ERR", code, words, out);
}

/// Writes what a client hears in place of a greeting that is turned away.
pub fn turned_away(why: Away, out: &mut Vec<u8>) {
    let words = match why {
        Away::TooMany => "too many connections, try again later",
        Away::Opening => "the mail store is being opened, try again later",
    };
    err(Some("SYS/TEMP"), words, out);
}

/// Appends why the session is over. `AUTH` (RFC 3206 s.5): it is the credentials that are the matter.
pub(super) fn over(why: Over, out: &mut Vec<u8>) {
    let (code, words) = match why {
        Over::Shutdown => ("SYS/TEMP", "the server is shutting down, try again soon"),
        Over::PasswordChanged => ("AUTH", "your password was changed, log in with the new one"),
        Over::AccountRemoved => ("AUTH", "your account was removed"),
    };
    err(Some(code), words, out);
}

fn line(status: &str, code: Option<&str>, words: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(status.as_bytes());
    if let Some(code) = code {
        out.extend_from_slice(format!(" [{code}]").as_bytes());
    }
    if !words.is_empty() {
        out.push(b' ');
        // Words come from the machine; a host's name or a unique id is the worst that is in them.
        out.extend(words.bytes().map(|b| if (0x20..0x7f).contains(&b) { b } else { b'?' }));
    }
    out.extend_from_slice(b"\r\n");
}

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

/// A line of a list that is not one of messages.
pub(super) fn row(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The end of a list.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b".\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let mut out = Vec::new();
        ok("2 320", &mut out);
        ok("", &mut out);
        err(Some("IN-USE"), "locked\r\n+OK", &mut out);
        begin_list(1, &mut out);
        list_row(NonZeroU32::MIN, 120, &mut out);
        uidl_row(NonZeroU32::MIN, "QhdPYR:00WBw1Ph7x7", &mut out);
        end(&mut out);
        let want = "+OK 2 320\r\n+OK\r\n-ERR [IN-USE] locked??+OK\r\n+OK 1 messages\r\n1 120\r\n1 QhdPYR:00WBw1Ph7x7\r\n.\r\n";
        assert_eq!(String::from_utf8_lossy(&out), want);
    }
}
