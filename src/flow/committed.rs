//! The last stage: one durable commit holds the octets once and a delivery for each mailbox. Then 250.
//!
//! Trace headers: RFC 5321 s.4.4.

use store::{AccountId, Batch, Intent, InternalDate, Outcome, Prefix};
use wire::addr::Address;
use wire::dsn::{Notify, Ret};
use wire::flag::FlagNames;

use super::queue::{Entry, Id, Recipient, line, report};
use super::routed::{Delivery, Remote};
use super::{Error, House, Received, Routed};
use crate::{clock, disk};

/// A message that is on disk, in every mailbox it goes to.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Our own name for it, for the 250.
    pub id: String,
    /// Into how many mailboxes it went.
    pub copies: usize,
    /// To how many addresses elsewhere it is on its way.
    pub remote: usize,
}

impl Routed {
    /// Commits it, and waits until it is on disk.
    ///
    /// # Errors
    /// `Full`, `LimitReached`, `Unavailable`.
    pub async fn commit(self, house: &House) -> Result<Committed, Error> {
        let Routed { judged, deliveries, remote, tell } = self;
        let (received, header) = (judged.received, judged.header);
        let now = clock::Date::now();
        let id = received.id.to_string();
        let size = received.body.len();
        let replaces = if header.is_some() { received.header.len() } else { 0 };
        let replaces = u32::try_from(replaces).map_err(|_| Error::HeaderTooLong)?;
        // Trace alone needs an empty line when the message begins with its body; an edited header has it.
        let bare = header.is_none() && received.header.is_bare();
        let common = received_field(&received, &house.hostname, &now, true);
        let utf8 = needs_smtputf8(&received);

        let mut batch = Batch::new();
        let prefixes: Vec<Vec<u8>> = deliveries
            .iter()
            .map(|d| {
                let mut octets = format!(
                    "Return-Path: {}\r\nDelivered-To: {}\r\n{common}",
                    received.envelope.reverse_path, d.recipient
                )
                .into_bytes();
                octets.extend_from_slice(header.as_deref().unwrap_or_default());
                if bare {
                    octets.extend_from_slice(b"\r\n");
                }
                octets
            })
            .collect();
        let message_id = received.header.message_id().unwrap_or_else(|| match received.origin.account {
            Some(_) => super::judged::message_id(&received.id, &house.hostname),
            None => String::new(),
        });
        let sender = received.envelope.reverse_path.to_string();
        let abroad: Vec<Address> = remote.iter().map(|remote| remote.address.clone()).collect();
        let outgoing = (!remote.is_empty()).then(|| {
            // RFC 6531 s.3.7.3: what travels without SMTPUTF8 has trace in ASCII.
            let mut octets = received_field(&received, &house.hostname, &now, utf8).into_bytes();
            octets.extend_from_slice(header.as_deref().unwrap_or_default());
            if bare {
                octets.extend_from_slice(b"\r\n");
            }
            if let Some(hash) = received.body_hash.as_ref().filter(|_| received.header.is_separated()) {
                // What was taken is signed as it leaves: without Bcc, with Date and Message-ID.
                let fields = header.as_deref().unwrap_or_else(|| received.header.octets());
                let signatures = house.keyring.sign(fields, hash, now.unix);
                octets = [signatures.as_bytes(), &octets].concat();
            }
            let mut entry = entry(&received, &message_id, now.unix);
            entry.eight_bit |= !octets.is_ascii();
            (entry, recipients(&received, remote, now.unix), octets)
        });
        let body = batch.body(received.body);
        for (d, octets) in deliveries.iter().zip(prefixes) {
            batch.push(Intent::Append {
                mailbox: d.mailbox,
                body,
                prefix: Prefix { octets, replaces },
                flags: FlagNames::default(),
                date: Some(InternalDate { unix: now.unix, zone_minutes: now.zone_minutes }),
            });
        }
        if let Some((entry, recipients, octets)) = &outgoing {
            let prefix = Prefix { octets: octets.clone(), replaces };
            line::enqueue(&mut batch, &id, body, prefix, entry, recipients);
        }
        if !tell.is_empty() {
            let fields = header.as_deref().unwrap_or_else(|| received.header.octets());
            let tell: Vec<_> = tell.iter().collect();
            report::delivered(house, &mut batch, &received.envelope, fields, size, &tell);
        }
        let _turn = house.spend(&mut batch, received.origin.account, &abroad, now.unix).await?;
        // What RCPT let in is not refused for want of room any more.
        batch.accepted();
        let committed = disk::commit(&house.store, batch).await?;
        let remote = outgoing.as_ref().map_or(0, |(_, recipients, _)| recipients.len());
        tracing::info!(%id, from = %sender, message_id, size, to = deliveries.len(), remote, "accepted");
        log_deliveries(house, &id, &deliveries, &committed.outcomes);
        if let Some((_, recipients, _)) = &outgoing {
            house.queue.arrived(&Id::from(id.as_str()), recipients);
        }
        Ok(Committed { id, copies: deliveries.len(), remote })
    }
}

/// Whether hosts to come must offer SMTPUTF8, whoever of its recipients is there (RFC 6531 s.3.4). That it was said with the
/// message does not tell (s.3.6). Raw octets in the header of what came without it are nobody's promise: they go as they
/// came.
fn needs_smtputf8(received: &Received) -> bool {
    received.utf8_header || !received.envelope.reverse_path.is_ascii()
}

/// What the queue is told of a message.
fn entry(received: &Received, message_id: &str, now: i64) -> Entry {
    let envelope = &received.envelope;
    // RFC 8689 s.5: only in so many words.
    let no = |value: &[u8]| value.eq_ignore_ascii_case(b"No");
    Entry {
        from: envelope.reverse_path.to_string(),
        account: received.origin.account.map(AccountId::get),
        at: now,
        message_id: message_id.to_owned(),
        subject: received.header.subject().unwrap_or_default(),
        eight_bit: received.eight_bit,
        utf8: needs_smtputf8(received),
        require_tls: envelope.require_tls,
        // RFC 8689 s.4.2: REQUIRETLS counts where both are said.
        tls_optional: !envelope.require_tls && received.header.value("TLS-Required").is_some_and(no),
        full: envelope.ret.map(|ret| ret == Ret::Full),
        envid: envelope.envid.as_ref().map(ToString::to_string),
        hold_until: envelope.hold_until,
    }
}

/// The recipients elsewhere.
fn recipients(received: &Received, remote: Vec<Remote>, now: i64) -> Vec<Recipient> {
    let of = received.origin.account.map_or(0, AccountId::get);
    let next = received.envelope.hold_until.unwrap_or(0).max(now);
    remote
        .into_iter()
        .map(|Remote { address, recipient }| Recipient {
            to: address.to_string(),
            notify: recipient.notify.map(Notify::bits),
            orcpt: recipient.orcpt.as_ref().map(ToString::to_string),
            of,
            next,
            ..Recipient::default()
        })
        .collect()
}

fn log_deliveries(house: &House, id: &str, deliveries: &[Delivery], outcomes: &[Outcome]) {
    let directory = house.store.directory();
    for (d, outcome) in deliveries.iter().zip(outcomes) {
        if let Outcome::Placed { uid, .. } = outcome {
            let account = directory.account(d.account).map_or("(gone)", |a| a.login.as_str());
            tracing::info!(%id, account, mailbox = "INBOX", %uid, "delivered");
        }
    }
}

/// The `Received` field (RFC 5321 s.4.4, RFC 6531 s.3.7.3), folded so that no line is long. `utf8`: UTF-8 may stand in it.
fn received_field(received: &Received, hostname: &str, now: &clock::Date, utf8: bool) -> String {
    let origin = &received.origin;
    let peer = match origin.peer.to_canonical() {
        std::net::IpAddr::V4(ip) => format!("[{ip}]"),
        std::net::IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    };
    let tls = origin.tls.as_ref().map_or_else(String::new, |t| format!(" ({} {})", t.version, t.cipher));
    // RFC 5321 s.7.2: naming one recipient of several would tell the others.
    let only = match received.envelope.recipients.as_slice() {
        [only] if utf8 || only.path.is_ascii() => format!("\r\n\tfor {}", only.path),
        _ => String::new(),
    };
    format!(
        "Received: from {} ({peer})\r\n\tby {hostname} (Penfold) with {}{tls}\r\n\tid {}{only};\r\n\t{now}\r\n",
        clean(&origin.helo),
        origin.with(received.envelope.smtputf8),
        received.id,
    )
}

/// A peer's own name as a word that cannot break the field: letters, digits and what host names and literals need.
fn clean(helo: &str) -> String {
    let word: String =
        helo.chars().filter(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(*c)).take(255).collect();
    if word.is_empty() { "unknown".to_owned() } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_name_cannot_break_the_field() {
        assert_eq!(clean("mail.example.net"), "mail.example.net");
        assert_eq!(clean("[IPv6:::1]"), "[IPv6:::1]");
        assert_eq!(clean("x\r\nBcc: y (z)"), "xBcc:yz");
        assert_eq!(clean("\r\n"), "unknown");
        assert_eq!(clean(&"a".repeat(1000)).len(), 255);
    }
}
