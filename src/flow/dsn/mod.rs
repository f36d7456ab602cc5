//! Reports of delivery: what became of a message, for who sent it (RFC 3464 in the frame of RFC 6522).
//!
//! Plain words come first, then the same for programs, then the message or its header as RET asks (RFC 3461 s.4.3). Pure:
//! whether a report is due, to whom and under which envelope (a null reverse-path, RFC 3461 s.6.1) is known by who asks.
//! The original is not copied: it goes between a report's head and its tail. What is told of addresses and headers outside
//! ASCII has types of its own (RFC 6533).

mod notice;
#[cfg(test)]
mod tests;
mod text;
mod words;

use wire::dsn::{EnvId, OriginalRecipient, Ret};
use wire::limits;
use wire::smtp::client::Reply;

pub use notice::{Allowance, LimitReached, limit_reached};
pub use words::{Status, Words, explain};

use crate::clock::Date;
use crate::flow::header::Header;
use text::{ascii, clean, field, paragraph};

/// What a report tells.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// This host.
    pub hostname: &'a str,
    /// The report's own Message-ID, without its brackets: no two are the same.
    pub id: &'a str,
    /// Now.
    pub now: Date,
    /// The sender, who gets it.
    pub to: &'a str,
    /// When the message came to us.
    pub arrived: Date,
    /// The sender's own mark of it.
    pub envid: Option<&'a EnvId>,
    /// What the sender wants back.
    pub ret: Option<Ret>,
    /// It goes to another host.
    pub away: bool,
    /// The message.
    pub original: Original<'a>,
    /// What became of it, for each recipient that there is something to say of. Not empty.
    pub recipients: &'a [Recipient],
}

/// The message that a report is about.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// Its header, without the empty line.
    pub header: &'a [u8],
    /// Octets of all of it.
    pub size: u64,
    /// Whether it has octets above 127 anywhere.
    pub eight_bit: bool,
    /// Whether it was sent with SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
}

/// A recipient, and what became of the message there.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// Whom it was sent to.
    pub address: String,
    /// Whom the sender meant at first, where that was said (RFC 3461 s.4.2).
    pub orcpt: Option<OriginalRecipient>,
    /// What became of it.
    pub action: Action,
    /// Its code.
    pub status: Status,
    /// The other server, by its name.
    pub remote: Option<String>,
    /// Why.
    pub cause: Option<Cause>,
    /// When it was last tried.
    pub tried: Option<Date>,
}

/// What became of a message (RFC 3464 s.2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It will not be delivered.
    Failed {
        /// It was tried until the time was over.
        expired: bool,
    },
    /// It has not been delivered yet.
    Delayed {
        /// Until when it is tried again.
        until: Date,
    },
    /// It was passed on to a server that sends no reports.
    Relayed,
    /// It is in the mailbox.
    Delivered,
}

/// Why it became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The other server's reply.
    Reply(Reply),
    /// What this host found, in words: "the connection was lost".
    Found(String),
}

/// A report, to be sent as head, then the original if it is wanted, then tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// What stands before the original.
    pub head: Vec<u8>,
    /// Whether the original, all of it, goes between.
    pub with_original: bool,
    /// What stands after it.
    pub tail: Vec<u8>,
    /// It has octets above 127: it must be sent with BODY=8BITMIME.
    pub eight_bit: bool,
    /// It has UTF-8 in header fields: it must be sent with SMTPUTF8.
    pub smtputf8: bool,
}

/// Writes a report.
#[must_use]
pub fn compose(report: &Report<'_>) -> Composed {
    let original = &report.original;
    let failed = report.recipients.iter().any(|r| matches!(r.action, Action::Failed { .. }));
    // RFC 6533 s.4: such a message is told of in UTF-8, or its sender could not be written.
    let global = original.smtputf8 || !report.to.is_ascii();
    // RFC 6533 s.4.5: whether the hosts on the way back to a sender in ASCII offer SMTPUTF8 is not known, and nobody is told
    // of a report that fails.
    let coded = global && report.away && report.to.is_ascii();
    // RFC 3461 s.4.3: only what failed comes back whole; the original is not encoded, so not where that is needed.
    let whole = failed && report.ret == Some(Ret::Full) && original.size <= limits::DSN_ORIGINAL && !coded;
    let eight_bit =
        !coded && (global || if whole { original.eight_bit } else { !original.header.is_ascii() });

    // No original can hold a line with it: it is made from an id that is younger than any.
    let boundary = format!("=_{}", report.id.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    let boundary = boundary.get(..boundary.len().min(70)).unwrap_or("=_report");
    let mut head = String::new();
    let smtputf8 = global && !coded;
    top(report, boundary, eight_bit, smtputf8, &mut head);
    head.push_str(&format!("\r\n--{boundary}\r\n"));
    let mut plain = String::new();
    people(report, whole, &mut plain);
    text::part(&plain, &mut head);
    let kind = if global { "message/global-delivery-status" } else { "message/delivery-status" };
    let encoding = |eight_bit| match (coded, eight_bit) {
        (true, _) => "Content-Transfer-Encoding: base64\r\n",
        (false, true) => "Content-Transfer-Encoding: 8bit\r\n",
        (false, false) => "",
    };
    head.push_str(&format!("\r\n--{boundary}\r\nContent-Type: {kind}\r\n{}\r\n", encoding(global)));
    let mut status = String::new();
    programs(report, global, &mut status);
    if coded {
        text::base64(status.as_bytes(), &mut head);
    } else {
        head.push_str(&status);
    }
    let kind = match (whole, global) {
        (true, false) => "message/rfc822",
        (true, true) => "message/global",
        (false, false) => "text/rfc822-headers",
        (false, true) => "message/global-headers",
    };
    head.push_str(&format!("\r\n--{boundary}\r\nContent-Type: {kind}\r\n{}\r\n", encoding(eight_bit)));
    if coded {
        text::base64(original.header, &mut head);
    }
    let mut head = head.into_bytes();
    if !whole && !coded {
        head.extend_from_slice(original.header);
        if !original.header.ends_with(b"\r\n") {
            head.extend_from_slice(b"\r\n");
        }
    }
    let tail = format!("\r\n--{boundary}--\r\n").into_bytes();
    Composed { head, with_original: whole, tail, eight_bit, smtputf8 }
}

/// The report's own header. `utf8`: it may hold UTF-8.
fn top(report: &Report<'_>, boundary: &str, eight_bit: bool, utf8: bool, out: &mut String) {
    field("Date", &report.now.to_string(), out);
    field("From", &format!("Mail Delivery System <postmaster@{}>", report.hostname), out);
    field("To", &format!("<{}>", clean(report.to)), out);
    field("Subject", &subject(report.recipients), out);
    field("Message-ID", &format!("<{}>", report.id), out);
    let header = Header::parse(report.original.header.to_vec(), true);
    if let Some(id) = header.message_id().filter(|id| !id.is_empty() && (utf8 || id.is_ascii())) {
        field("In-Reply-To", &format!("<{id}>"), out);
        field("References", &format!("<{id}>"), out);
    }
    // RFC 3834 s.5: so that no machine answers a machine.
    field("Auto-Submitted", "auto-replied", out);
    field("MIME-Version", "1.0", out);
    let kind = format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"");
    field("Content-Type", &kind, out);
    if eight_bit {
        field("Content-Transfer-Encoding", "8bit", out);
    }
}

/// What most of it is about: bad news first.
fn rank(action: Action) -> u8 {
    match action {
        Action::Failed { .. } => 0,
        Action::Delayed { .. } => 1,
        Action::Relayed => 2,
        Action::Delivered => 3,
    }
}

fn subject(recipients: &[Recipient]) -> String {
    let worst = recipients.iter().map(|r| rank(r.action)).min().unwrap_or(0);
    let what = match worst {
        0 => "Your message was not delivered",
        1 => "Your message is delayed, and is tried again",
        2 => "Your message was passed on",
        _ => "Your message was delivered",
    };
    match recipients {
        [only] if only.address.is_ascii() && only.address.len() < 60 => {
            format!("{what}: {}", clean(&only.address))
        }
        _ => what.to_owned(),
    }
}

/// The part for people.
fn people(report: &Report<'_>, whole: bool, out: &mut String) {
    paragraph("", &format!("This is the mail server {}.", report.hostname), out);
    out.push_str("\r\n");
    let about = match subject_of(report.original.header) {
        Some(subject) => format!("Your message \"{subject}\" of {}", report.arrived),
        None => format!("Your message of {}", report.arrived),
    };
    for (wanted, says) in [
        (0, "could not be delivered to:"),
        (1, "could not be delivered yet, and is tried again. You need not do anything. It waits for:"),
        (2, "was passed on to a server that tells nothing further, for:"),
        (3, "was delivered to:"),
    ] {
        let mut these = report.recipients.iter().filter(|r| rank(r.action) == wanted).peekable();
        if these.peek().is_some() {
            paragraph("", &format!("{about} {says}"), out);
        }
        for recipient in these {
            out.push_str("\r\n");
            person(recipient, report, out);
        }
        if report.recipients.iter().any(|r| rank(r.action) == wanted) {
            out.push_str("\r\n");
        }
    }
    let comes = if whole { "Your message itself comes" } else { "The header of your message comes" };
    paragraph(
        "",
        &format!("{comes} with this report, behind the same once more in the words of mail servers."),
        out,
    );
}

fn person(recipient: &Recipient, report: &Report<'_>, out: &mut String) {
    paragraph("  ", &clean(&recipient.address), out);
    if let Some(meant) = recipient.orcpt.as_ref().filter(|orcpt| orcpt.address() != recipient.address) {
        paragraph("    ", &format!("(written to {})", clean(meant.address())), out);
    }
    let (code, said) = match &recipient.cause {
        Some(Cause::Reply(reply)) => (Some(reply.code()), reply.text()),
        _ => (None, ""),
    };
    let words = explain(recipient.status, code, said);
    match recipient.action {
        Action::Failed { expired } => {
            paragraph("    ", words.what, out);
            if expired {
                let tried = lasted(report.now.unix.saturating_sub(report.arrived.unix));
                paragraph(
                    "    ",
                    &format!("It was tried again and again for {tried}; now it is given up."),
                    out,
                );
            }
            paragraph("    ", words.next, out);
        }
        Action::Delayed { until } => {
            paragraph("    ", words.what, out);
            paragraph("    ", &format!("It is tried again until {until}."), out);
        }
        Action::Relayed | Action::Delivered => {}
    }
    let server = recipient
        .remote
        .as_deref()
        .map_or_else(|| "The server".into(), |r| format!("The server {}", clean(r)));
    match &recipient.cause {
        Some(Cause::Reply(reply)) => {
            paragraph("    ", &format!("{server} said:"), out);
            paragraph("      ", &clean(&reply.to_string()), out);
        }
        Some(Cause::Found(found)) => paragraph("    ", &format!("What happened: {}", clean(found)), out),
        None => {}
    }
}

/// The part for programs (RFC 3464 s.2).
fn programs(report: &Report<'_>, global: bool, out: &mut String) {
    let own = |text: &str| if global { clean(text) } else { ascii(text) };
    if let Some(envid) = report.envid {
        field("Original-Envelope-Id", &own(envid.as_str()), out);
    }
    field("Reporting-MTA", &format!("dns; {}", report.hostname), out);
    field("Arrival-Date", &report.arrived.to_string(), out);
    for recipient in report.recipients {
        out.push_str("\r\n");
        if let Some(orcpt) = &recipient.orcpt {
            let kind = orcpt.kind();
            let meant = if kind.eq_ignore_ascii_case("utf-8") && !global {
                letters(orcpt.address())
            } else {
                own(orcpt.address())
            };
            field("Original-Recipient", &format!("{kind};{meant}"), out);
        }
        field("Final-Recipient", &address(&recipient.address, global), out);
        let action = match recipient.action {
            Action::Failed { .. } => "failed",
            Action::Delayed { .. } => "delayed",
            Action::Relayed => "relayed",
            Action::Delivered => "delivered",
        };
        field("Action", action, out);
        field("Status", &recipient.status.to_string(), out);
        if let Some(remote) = &recipient.remote {
            field("Remote-MTA", &format!("dns; {}", own(remote)), out);
        }
        match &recipient.cause {
            Some(Cause::Reply(reply)) => {
                field("Diagnostic-Code", &format!("smtp; {}", own(&reply.to_string())), out)
            }
            Some(Cause::Found(found)) => field("Diagnostic-Code", &format!("x-penfold; {}", own(found)), out),
            None => {}
        }
        if let Some(tried) = recipient.tried {
            field("Last-Attempt-Date", &tried.to_string(), out);
        }
        if let Action::Delayed { until } = recipient.action {
            field("Will-Retry-Until", &until.to_string(), out);
        }
    }
}

/// An address with its type. One outside ASCII is of the type `utf-8`; where only ASCII may stand its letters are written
/// as numbers (RFC 6533 s.3, `utf-8-addr-xtext`).
fn address(address: &str, global: bool) -> String {
    if address.is_ascii() {
        return format!("rfc822; {}", clean(address));
    }
    format!("utf-8; {}", if global { clean(address) } else { letters(address) })
}

/// An address of the type `utf-8` in ASCII.
fn letters(address: &str) -> String {
    let letter = |c: char| match c {
        '!'..='~' if !matches!(c, '\\' | '+' | '=') => c.to_string(),
        _ => format!("\\x{{{:02X}}}", u32::from(c)),
    };
    address.chars().map(letter).collect()
}

/// The original's subject for a sentence: decoded, harmless, not long.
fn subject_of(header: &[u8]) -> Option<String> {
    const LETTERS: usize = 100;
    let message = mail_parser::MessageParser::new().parse_headers(header)?;
    let subject = clean(message.subject()?);
    let subject = subject.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = subject.chars().take(LETTERS).collect();
    if short.len() < subject.len() {
        short.push_str("...");
    }
    (!short.is_empty()).then_some(short)
}

/// Seconds in words: `3 days`, `5 hours`, `20 minutes`.
fn lasted(seconds: i64) -> String {
    let (n, unit) = match seconds {
        172_800.. => (seconds / 86_400, "days"),
        7_200.. => (seconds / 3_600, "hours"),
        120.. => (seconds / 60, "minutes"),
        _ => return "a moment".into(),
    };
    format!("{n} {unit}")
}
