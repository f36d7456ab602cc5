//! What an administrator does to the queue: looks at it, and changes what is to become of some of it. On a store that is
//! served, `Queue` knows what is being tried at the moment, which is left alone; without it, nothing is.

use store::{Batch, ReadError, Store};

use super::Queue;
use super::fate::{Action, Fate};
use super::line::{self, Queued, Recipient};
use crate::disk;

/// Which of the queue is meant: all that is said must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// These messages, by their names.
    pub ids: Vec<String>,
    /// The sender's address, or a part of it.
    pub from: Option<String>,
    /// The recipient's address, or a part of it.
    pub to: Option<String>,
    /// The recipient's domain.
    pub domain: Option<String>,
    /// What is held.
    pub held: bool,
}

impl Which {
    fn has_message(&self, queued: &Queued) -> bool {
        let id = self.ids.is_empty() || self.ids.iter().any(|id| **id == *queued.id);
        id && self.from.as_ref().is_none_or(|from| contains(&queued.entry.from, from))
    }

    fn has_recipient(&self, recipient: &Recipient) -> bool {
        self.to.as_ref().is_none_or(|to| contains(&recipient.to, to))
            && self.domain.as_ref().is_none_or(|domain| recipient.domain().eq_ignore_ascii_case(domain))
            && (!self.held || recipient.held)
    }
}

fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

/// A message with those of its recipients that are meant.
#[derive(Clone, Debug)]
pub struct Waits {
    /// The message.
    pub queued: Queued,
    /// The recipients, with their numbers.
    pub recipients: Vec<(u16, Recipient)>,
}

/// Messages read at a time.
const PAGE: usize = 200;
/// Lines of one commit, or a few more.
const LINES: usize = 500;

/// Goes through what is meant, the oldest first, from after a message on, as long as `each` wants more.
///
/// # Errors
/// The index failed.
pub fn each(
    store: &Store,
    which: &Which,
    after: Option<&str>,
    mut each: impl FnMut(Waits) -> bool,
) -> Result<(), ReadError> {
    let mut look = |queued: Queued| -> Result<bool, ReadError> {
        if !which.has_message(&queued) {
            return Ok(true);
        }
        let mut recipients = line::recipients(store, &queued.id)?;
        recipients.retain(|(_, recipient)| which.has_recipient(recipient));
        Ok(recipients.is_empty() || each(Waits { queued, recipients }))
    };
    if !which.ids.is_empty() {
        for id in &which.ids {
            if let Some(queued) = line::message(store, id)?
                && !look(queued)?
            {
                return Ok(());
            }
        }
        return Ok(());
    }
    let mut after = after.map(str::to_owned);
    loop {
        let page = line::messages(store, after.as_deref(), PAGE)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id.to_string());
        for queued in page {
            if !look(queued)? {
                return Ok(());
            }
        }
    }
}

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Try it now.
    Retry,
    /// Do not try it until it is released.
    Hold,
    /// Try what is held.
    Release,
    /// Take it out, and tell nobody.
    Drop,
}

/// How much was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Recipients.
    pub recipients: u64,
    /// Recipients that were left alone: they are being tried.
    pub busy: u64,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The queue cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It cannot be written down.
    #[error(transparent)]
    Commit(#[from] store::CommitError),
}

/// Changes what is meant.
///
/// # Errors
/// What was changed before stays changed.
pub async fn change(
    store: &Store,
    queue: Option<&Queue>,
    which: &Which,
    change: Change,
) -> Result<Changed, ChangeError> {
    let mut changed = Changed::default();
    let mut after: Option<String> = None;
    loop {
        let mut page = Vec::new();
        disk::blocking(|| {
            each(store, which, after.as_deref(), |waits| {
                page.push(waits);
                page.len() < PAGE
            })
        })?;
        let full = page.len() >= PAGE && which.ids.is_empty();
        after = page.last().map(|waits| waits.queued.id.to_string());
        let mut batch = Batch::new();
        for waits in page {
            one(store, queue, &waits, change, &mut changed, &mut batch)?;
            // A few hundred lines are one commit.
            if batch.len() >= LINES {
                disk::commit(store, std::mem::take(&mut batch)).await?;
            }
        }
        if !batch.is_empty() {
            disk::commit(store, batch).await?;
        }
        if !full {
            break;
        }
    }
    if let Some(queue) = queue {
        queue.ring();
    }
    Ok(changed)
}

fn one(
    store: &Store,
    queue: Option<&Queue>,
    waits: &Waits,
    change: Change,
    changed: &mut Changed,
    batch: &mut Batch,
) -> Result<(), ReadError> {
    let now = line::now();
    let id = &waits.queued.id;
    let before = batch.len();
    let mut dropped = 0;
    for (number, recipient) in &waits.recipients {
        let new = match change {
            Change::Hold if !recipient.held => Recipient { held: true, ..recipient.clone() },
            Change::Release if recipient.held => Recipient { held: false, next: now, ..recipient.clone() },
            Change::Retry if !recipient.held => Recipient { next: now, ..recipient.clone() },
            Change::Drop => recipient.clone(),
            _ => continue,
        };
        let next = match change {
            Change::Drop => None,
            Change::Hold => Some(i64::MAX),
            Change::Release | Change::Retry => Some(now),
        };
        if queue.is_some_and(|queue| !queue.shift(id, *number, recipient, next)) {
            changed.busy += 1;
            continue;
        }
        changed.recipients += 1;
        if change == Change::Drop {
            dropped += 1;
            line::strike(batch, id, *number);
            gone(waits, recipient, now).write(batch, *number);
        } else {
            batch.push(new.write(id, *number));
        }
    }
    if dropped > 0 && dropped >= disk::blocking(|| line::recipients(store, id))?.len() {
        line::strike_message(batch, id);
    }
    if batch.len() > before {
        tracing::info!(%id, ?change, "queue changed");
    }
    Ok(())
}

fn gone(waits: &Waits, recipient: &Recipient, now: i64) -> Fate {
    let entry = &waits.queued.entry;
    let last = recipient.last.clone().unwrap_or_default();
    Fate {
        at: now,
        id: waits.queued.id.to_string(),
        message_id: entry.message_id.clone(),
        from: entry.from.clone(),
        to: recipient.to.clone(),
        action: Action::Dropped,
        host: last.host,
        ip: String::new(),
        tls: String::new(),
        plain: String::new(),
        what: last.what,
        since: entry.at,
        tries: recipient.tries,
    }
}

impl Queue {
    /// Moves a recipient in time, or takes it out. Says whether it was there: what is being tried is not.
    fn shift(&self, id: &line::Id, number: u16, recipient: &Recipient, next: Option<i64>) -> bool {
        let to = self.destination(recipient.domain());
        let mut waiting = self.waiting();
        if next.is_some_and(|next| next <= line::now()) {
            waiting.unblock(&to);
        }
        let hint = if recipient.held { i64::MAX } else { recipient.next };
        waiting.shift(&to, id, number, hint, next)
    }
}
