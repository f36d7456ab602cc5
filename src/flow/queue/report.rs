//! The reports that senders get (RFC 3461, RFC 3464): made here, on their way in the commit that settles what they tell of.

use std::fmt::Write as _;

use store::{AccountId, Batch, BodyRef, Intent, Prefix, ReadError, Spooled};
use wire::addr::{ForwardPath, ReversePath};
use wire::dsn::Ret;
use wire::flag::FlagNames;
use wire::smtp::client::Reply;

use super::line::{self, Entry, Id, Queued, Recipient};
use super::settle::Via;
use crate::clock::Date;
use crate::disk;
use crate::flow::dsn::{self, Action, Cause, Original, Report, Status};
use crate::flow::received::MessageRef;
use crate::flow::{self, Envelope, House, route};

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// It takes long.
    Delayed,
    /// It was given up.
    Expired,
    /// It was refused.
    Failed,
    /// It was handed on to a host that sends no reports.
    Relayed,
}

/// Of which recipient, and with whom it was.
#[derive(Clone, Debug)]
pub struct About {
    /// The recipient, as it is now.
    pub recipient: Recipient,
    /// The last host.
    pub via: Via,
    /// When it is given up, in seconds since 1970.
    pub until: i64,
}

/// A message that was added to the queue, to be told to it once the batch is on disk.
pub type Sent = (Id, Vec<Recipient>);

/// Octets of a report that are put into memory at once.
const PIECE: usize = 64 << 10;

/// Adds a report to a batch. Nobody is told of what came without a reverse-path (RFC 5321 s.6.1): it is one itself.
pub fn add(house: &House, batch: &mut Batch, queued: &Queued, event: Event, about: &[About]) -> Option<Sent> {
    let ReversePath::Path(sender) = queued.entry.reverse_path() else { return None };
    let path = ForwardPath::Path(sender.clone());
    // Whoever sends from here may be told wherever it is; and so may whoever's mail was forwarded.
    let route = match route(&house.store.directory(), house.postmaster.as_deref(), &path, true) {
        Ok(route) => route,
        Err(error) => {
            tracing::warn!(id = %queued.id, to = %sender, why = %error, "nobody can be told what became of a message");
            return None;
        }
    };
    let id = MessageRef::new().to_string();
    let away = !route.remote.is_empty();
    let made = disk::blocking(|| make(house, queued, event, about, &id, &sender.to_string(), away));
    let (body, eight_bit, utf8) = match made {
        Ok(made) => made,
        Err(error) => {
            tracing::error!(id = %queued.id, %error, "what became of a message cannot be told to its sender");
            return None;
        }
    };
    tracing::info!(id, about = %queued.id, to = %sender, ?event, "report");
    let body = batch.body(body);
    inboxes(house, batch, body, &route.accounts, &sender.to_string());
    if route.remote.is_empty() {
        return None;
    }
    let now = line::now();
    let recipients: Vec<Recipient> = route
        .remote
        .iter()
        // RFC 3461 s.6.1: nobody is told what becomes of it.
        .map(|to| Recipient { to: to.to_string(), notify: Some(0), next: now, ..Recipient::default() })
        .collect();
    let entry = Entry {
        from: ReversePath::Null.to_string(),
        at: now,
        message_id: format!("{id}@{}", house.hostname),
        subject: format!("(about {})", queued.id),
        eight_bit,
        utf8,
        ..Entry::default()
    };
    line::enqueue(batch, &id, body, Prefix::default(), &entry, &recipients);
    Some((Id::from(id.as_str()), recipients))
}

/// Adds the report that a message is in the mailboxes of those recipients whose sender asked for that (RFC 3461 s.4.1).
/// `header` is the message's as it is served.
pub fn delivered(
    house: &House,
    batch: &mut Batch,
    envelope: &Envelope,
    header: &[u8],
    size: u64,
    recipients: &[&flow::Recipient],
) {
    let ReversePath::Path(sender) = &envelope.reverse_path else { return };
    let path = ForwardPath::Path(sender.clone());
    // Only our own are offered it, so the sender is here.
    let Ok(route) = route(&house.store.directory(), house.postmaster.as_deref(), &path, false) else {
        return;
    };
    let (id, now) = (MessageRef::new().to_string(), Date::now());
    let told = |recipient: &&flow::Recipient| dsn::Recipient {
        address: match &recipient.path {
            ForwardPath::Postmaster => format!("postmaster@{}", house.hostname),
            ForwardPath::Path(address) => address.to_string(),
        },
        orcpt: recipient.orcpt.clone(),
        action: Action::Delivered,
        status: Status(2, 1, 5),
        remote: None,
        cause: None,
        tried: None,
    };
    let recipients: Vec<dsn::Recipient> = recipients.iter().map(told).collect();
    let composed = dsn::compose(&Report {
        hostname: &house.hostname,
        id: &format!("{id}@{}", house.hostname),
        now,
        to: &sender.to_string(),
        arrived: now,
        envid: envelope.envid.as_ref(),
        ret: envelope.ret,
        away: false,
        original: Original {
            header,
            size,
            eight_bit: !header.is_ascii(),
            smtputf8: envelope.smtputf8 && !header.is_ascii(),
        },
        recipients: &recipients,
    });
    let body = batch.body([composed.head, composed.tail].concat());
    inboxes(house, batch, body, &route.accounts, &sender.to_string());
}

/// Puts a report where its reader finds it.
fn inboxes(house: &House, batch: &mut Batch, body: BodyRef, accounts: &[AccountId], to: &str) {
    let directory = house.store.directory();
    for account in accounts {
        let Some(inbox) = directory.mailbox_at(*account, "INBOX") else { continue };
        let octets = format!("Return-Path: <>\r\nDelivered-To: {to}\r\n").into_bytes();
        let prefix = Prefix { octets, replaces: 0 };
        let (mailbox, flags) = (inbox.id, FlagNames::default());
        batch.push(Intent::Append { mailbox, body, prefix, flags, date: None });
    }
}

fn make(
    house: &House,
    queued: &Queued,
    event: Event,
    about: &[About],
    id: &str,
    to: &str,
    away: bool,
) -> Result<(Spooled, bool, bool), ReadError> {
    let store = &house.store;
    let Queued { entry, content, .. } = queued;
    let message = store.content(*content)?;
    let header = message.header()?;
    let header = header.strip_suffix(b"\r\n").unwrap_or(&header);
    let at = |unix: i64| Date { unix, zone_minutes: 0 };
    let envid = entry.envid();
    let recipients: Vec<dsn::Recipient> = about.iter().map(|about| told(event, about)).collect();
    let own = format!("{id}@{}", house.hostname);
    let report = Report {
        hostname: &house.hostname,
        id: &own,
        now: Date::now(),
        to,
        arrived: at(entry.at),
        envid: envid.as_ref(),
        // Where there is little room the header will do.
        ret: if house.is_full() { Some(Ret::Hdrs) } else { entry.ret() },
        away,
        original: Original {
            header,
            size: u64::from(content.size),
            eight_bit: entry.eight_bit,
            smtputf8: entry.utf8,
        },
        recipients: &recipients,
    };
    let composed = dsn::compose(&report);
    let failed = |error: store::SpoolError| ReadError::Io(std::io::Error::other(error));
    let mut spool = store.spool();
    spool.push(&composed.head).map_err(failed)?;
    if composed.with_original {
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while let Some(read) = Some(message.read_at(at, &mut piece)?).filter(|&n| n > 0) {
            spool.push(&piece[..read]).map_err(failed)?;
            at += read as u64;
        }
    }
    spool.push(&composed.tail).map_err(failed)?;
    Ok((spool.finish().map_err(failed)?, composed.eight_bit, composed.smtputf8))
}

/// A recipient as reports have it.
fn told(event: Event, about: &About) -> dsn::Recipient {
    let About { recipient, via, until } = about;
    let last = recipient.last.clone().unwrap_or_default();
    let reply = last.said.then(|| Reply::parse(last.what.as_bytes())).flatten();
    let (status, found) = coded(&last.what);
    let action = match event {
        Event::Failed => Action::Failed { expired: false },
        Event::Expired => Action::Failed { expired: true },
        Event::Delayed => Action::Delayed { until: Date { unix: *until, zone_minutes: 0 } },
        Event::Relayed => Action::Relayed,
    };
    // RFC 3463: what the host said, else what we found, else what the event is called.
    let (class, other) = match event {
        Event::Failed => (5, (0, 0)),
        Event::Expired => (5, (4, 7)),
        Event::Delayed => (4, (4, 1)),
        Event::Relayed => (2, (0, 0)),
    };
    let said = reply.as_ref().map(Status::of).map(|Status(_, subject, detail)| (subject, detail));
    let (subject, detail) = match event {
        Event::Expired => other,
        _ => said.or(status.map(|(_, subject, detail)| (subject, detail))).unwrap_or(other),
    };
    let host = if last.host.is_empty() { via.host.clone() } else { last.host };
    dsn::Recipient {
        address: recipient.to.clone(),
        orcpt: recipient.orcpt(),
        action,
        status: Status(class, subject, detail),
        remote: Some(host).filter(|host| !host.is_empty()),
        cause: match reply {
            Some(reply) => Some(Cause::Reply(reply)),
            None => Some(found.to_owned()).filter(|found| !found.is_empty()).map(Cause::Found),
        },
        tried: Some(Date { unix: last.at, zone_minutes: 0 }),
    }
}

/// Words of ours with the code before them, if there is one.
fn coded(what: &str) -> (Option<(u16, u16, u16)>, &str) {
    let (code, rest) = what.split_once(' ').unwrap_or((what, ""));
    let mut parts = code.split('.').map(|part| part.parse::<u16>().ok());
    match (parts.next().flatten(), parts.next().flatten(), parts.next().flatten(), parts.next()) {
        (Some(class @ 2..=5), Some(subject), Some(detail), None) => (Some((class, subject, detail)), rest),
        _ => (None, what),
    }
}

/// Words with their code, as `coded` reads them.
pub(super) fn with_code((class, subject, detail): (u8, u16, u16), what: impl std::fmt::Display) -> String {
    let mut text = String::new();
    let _ = write!(text, "{class}.{subject}.{detail} {what}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_from_words() {
        assert_eq!(coded("5.1.10 no mail here"), (Some((5, 1, 10)), "no mail here"));
        assert_eq!(coded(&with_code((5, 4, 6), "loops")), (Some((5, 4, 6)), "loops"));
        for words in
            ["connecting to 192.0.2.1:25: refused", "1.2.3 x", "5.1 x", "5.1.1.1 x", "", "550 5.1.1 no"]
        {
            assert_eq!(coded(words), (None, words), "{words}");
        }
    }
}
