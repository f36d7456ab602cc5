//! The queue, as an administrator sees and changes it; and what became of messages.

use wire::addr::Domain;

use super::{Admin, Answer, Error, FateRow, QueueChange, QueuePage, QueueRecipient, QueueRow, QueueWhich};
use crate::clock;
use crate::disk;
use crate::flow::queue::change::{self, Change, ChangeError, Waits, Which};
use crate::flow::queue::{fate, line};

/// Rows that are told at once.
const ROWS: usize = 1_000;
/// Octets of a header that are shown.
const HEADER: usize = 64 << 10;
/// Of a day's fates.
const DAY: i64 = 24 * 3_600;

impl Admin {
    /// What waits, the oldest first.
    pub(super) fn queue_list(
        &self,
        which: QueueWhich,
        after: Option<&str>,
        most: usize,
    ) -> Result<Answer, Error> {
        let most = most.clamp(1, ROWS);
        let mut page = QueuePage::default();
        let which = Which::from(which);
        disk::blocking(|| {
            change::each(&self.store, &which, after, |waits| {
                if page.rows.len() == most {
                    page.after = page.rows.last().map(|row: &QueueRow| row.id.clone());
                    return false;
                }
                page.rows.push(row(&waits));
                true
            })
        })
        .map_err(unreadable)?;
        if let Some(queue) = &self.queue {
            let (waiting, trying) = queue.count();
            page.recipients = Some(waiting + trying);
            page.trying = Some(trying);
        }
        Ok(Answer::Queue(page))
    }

    /// One message, with its header.
    pub(super) fn queue_show(&self, id: &str) -> Result<Answer, Error> {
        let which = Which { ids: vec![id.to_owned()], ..Which::default() };
        let mut found = None;
        disk::blocking(|| {
            change::each(&self.store, &which, None, |waits| {
                found = Some(waits);
                false
            })
        })
        .map_err(unreadable)?;
        let Some(waits) = found else { return Err(Error::NotQueued { id: id.to_owned() }) };
        let header = disk::blocking(|| self.store.content(waits.queued.content).and_then(|m| m.header()));
        let mut header = header.map_err(unreadable)?;
        header.truncate(HEADER);
        let header = String::from_utf8_lossy(&header).into_owned();
        Ok(Answer::QueueMessage { row: row(&waits), header })
    }

    /// Changes what is to become of some of it.
    pub(super) async fn queue_change(&self, which: QueueWhich, what: QueueChange) -> Result<Answer, Error> {
        let what = match what {
            QueueChange::Retry => Change::Retry,
            QueueChange::Hold => Change::Hold,
            QueueChange::Release => Change::Release,
            QueueChange::Drop => Change::Drop,
        };
        let which = Which::from(which);
        for id in &which.ids {
            let there = disk::blocking(|| line::message(&self.store, id)).map_err(unreadable)?;
            if there.is_none() {
                return Err(Error::NotQueued { id: id.clone() });
            }
        }
        match change::change(&self.store, self.queue.as_ref(), &which, what).await {
            Ok(changed) => Ok(Answer::QueueChanged { recipients: changed.recipients, busy: changed.busy }),
            Err(ChangeError::Read(error)) => Err(unreadable(error)),
            Err(ChangeError::Commit(error)) => Err(error.into()),
        }
    }

    /// What became of a message, or of those of an address, and what still waits of it.
    pub(super) fn trace(&self, asked: &str) -> Result<Answer, Error> {
        let mut fates = Vec::new();
        let mut more = false;
        disk::blocking(|| {
            fate::since(&self.store, 0, |fate| {
                if fate.is_meant(asked) {
                    fates.push(FateRow::from(fate));
                    if fates.len() > ROWS {
                        fates.remove(0);
                        more = true;
                    }
                }
                true
            })
        })
        .map_err(unreadable)?;
        let asked = asked.trim().trim_start_matches('<').trim_end_matches('>');
        let mut waits = Vec::new();
        disk::blocking(|| {
            change::each(&self.store, &Which::default(), None, |found| {
                let entry = &found.queued.entry;
                let message = *found.queued.id == *asked
                    || entry.message_id == asked
                    || fate::is_address(&entry.from, asked);
                let one = |r: &QueueRecipient| message || fate::is_address(&r.to, asked);
                let mut row = row(&found);
                row.recipients.retain(one);
                if !row.recipients.is_empty() {
                    waits.push(row);
                }
                waits.len() < ROWS
            })
        })
        .map_err(unreadable)?;
        Ok(Answer::Traced { fates, more, waits })
    }

    /// What went out within the last day, for the status.
    pub(super) fn sent(&self) -> Option<super::SentStatus> {
        let queue = self.queue.as_ref()?;
        let (waiting, trying) = queue.count();
        let mut sent = super::SentStatus {
            waiting: waiting as u64,
            trying: trying as u64,
            destinations: queue.destinations(5),
            port_25_closed: queue.is_blocked(),
            ..super::SentStatus::default()
        };
        let since = clock::wall().seconds - DAY;
        let counted = disk::blocking(|| {
            fate::since(&self.store, since, |fate| {
                match fate.action {
                    fate::Action::Delivered => sent.delivered += 1,
                    fate::Action::Failed | fate::Action::Expired => sent.failed += 1,
                    fate::Action::Dropped => sent.dropped += 1,
                }
                true
            })
        });
        counted.ok().map(|()| sent)
    }
}

fn unreadable(why: store::ReadError) -> Error {
    Error::Unreadable { why: why.to_string() }
}

impl From<QueueWhich> for Which {
    fn from(which: QueueWhich) -> Which {
        let QueueWhich { ids, from, to, domain, held } = which;
        // As it stands in addresses.
        let domain = domain.map(|domain| match Domain::parse(domain.as_bytes()) {
            Ok(parsed) => parsed.to_string(),
            Err(_) => domain,
        });
        Which { ids, from, to, domain, held }
    }
}

fn row(waits: &Waits) -> QueueRow {
    let Waits { queued, recipients } = waits;
    let recipients = recipients.iter().map(|(_, recipient)| {
        let last = recipient.last.clone();
        QueueRecipient {
            to: recipient.to.clone(),
            next: (!recipient.held).then_some(recipient.next),
            held: recipient.held,
            tries: recipient.tries,
            tried: last.as_ref().map(|last| last.at),
            host: last.as_ref().map(|last| last.host.clone()).filter(|host| !host.is_empty()),
            why: last.map(|last| last.what),
        }
    });
    QueueRow {
        id: queued.id.to_string(),
        from: queued.entry.from.clone(),
        message_id: queued.entry.message_id.clone(),
        subject: queued.entry.subject.clone(),
        size: queued.content.size,
        since: queued.entry.at,
        send_later: queued.entry.hold_until,
        recipients: recipients.collect(),
    }
}

impl From<fate::Fate> for FateRow {
    fn from(fate: fate::Fate) -> FateRow {
        FateRow {
            at: fate.at,
            id: fate.id,
            message_id: fate.message_id,
            from: fate.from,
            to: fate.to,
            action: match fate.action {
                fate::Action::Delivered => "delivered",
                fate::Action::Failed => "failed",
                fate::Action::Expired => "expired",
                fate::Action::Dropped => "dropped",
            }
            .to_owned(),
            host: fate.host,
            address: fate.ip,
            tls: fate.tls,
            plain: fate.plain,
            what: fate.what,
            since: fate.since,
            tries: fate.tries,
        }
    }
}
