//! What an administrator does to the queue: looks at it, and changes what is to become of some of it. On a store that is
//! served, `Queue` knows what is being tried at the moment, which is left alone; without it, nothing is.

use store::{Batch, ReadError, Store};

use super::Queue;
use super::fate::{Action, Fate, is_address};
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
        id && self.from.as_ref().is_none_or(|from| is_meant(&queued.entry.from, from))
    }

    fn has_recipient(&self, recipient: &Recipient) -> bool {
        self.to.as_ref().is_none_or(|to| is_meant(&recipient.to, to))
            && self.domain.as_ref().is_none_or(|domain| recipient.domain().eq_ignore_ascii_case(domain))
            && (!self.held || recipient.held)
    }
}

/// A part of an address, or all of it, however it is written.
fn is_meant(address: &str, asked: &str) -> bool {
    address.to_lowercase().contains(&asked.to_lowercase()) || is_address(address, asked)
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
    // One at a time, so that the queue in memory ends as the last of them says.
    let _turn = match queue {
        Some(queue) => Some(queue.0.changing.lock().await),
        None => None,
    };
    let mut work = Work::new(store, queue, change);
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
        for waits in page {
            work.one(&waits)?;
            // A few hundred lines are one commit.
            if work.batch.len() >= LINES {
                work.commit().await?;
            }
        }
        work.commit().await?;
        if !full {
            break;
        }
    }
    if let Some(queue) = queue {
        queue.ring();
    }
    Ok(work.changed)
}

/// Holds everything, in a store that nobody serves yet. Says how many recipients were not held before.
///
/// # Errors
/// What was held before stays held.
pub fn hold_all(store: &Store) -> Result<u64, ChangeError> {
    let mut work = Work::new(store, None, Change::Hold);
    let mut after: Option<String> = None;
    loop {
        let page = line::messages(store, after.as_deref(), PAGE)?;
        let Some(last) = page.last() else { return Ok(work.changed.recipients) };
        after = Some(last.id.to_string());
        for queued in page {
            work.one(&Waits { recipients: line::recipients(store, &queued.id)?, queued })?;
            if work.batch.len() >= LINES {
                store.commit(std::mem::take(&mut work.batch)).wait()?;
            }
        }
        if !work.batch.is_empty() {
            store.commit(std::mem::take(&mut work.batch)).wait()?;
        }
        work.taken.clear();
    }
}

/// Changes that are being made. Whatever is changed waits without end meanwhile, so that nobody tries it: who did would
/// write what came of that, and one of the two would be forgotten. What is not committed when this is dropped waits as before.
pub(in crate::flow) struct Work<'a> {
    store: &'a Store,
    queue: Option<&'a Queue>,
    change: Change,
    changed: Changed,
    batch: Batch,
    taken: Vec<Taken>,
}

/// A recipient that nobody may try for the moment.
struct Taken {
    id: line::Id,
    number: u16,
    /// As it was.
    recipient: Recipient,
    /// When it will be tried; `None`: never.
    next: Option<i64>,
}

/// When a recipient is tried.
fn due(recipient: &Recipient) -> i64 {
    if recipient.held { i64::MAX } else { recipient.next }
}

impl<'a> Work<'a> {
    /// Nothing is changed yet.
    pub(in crate::flow) fn new(store: &'a Store, queue: Option<&'a Queue>, change: Change) -> Work<'a> {
        let (changed, batch, taken) = (Changed::default(), Batch::new(), Vec::new());
        Work { store, queue, change, changed, batch, taken }
    }

    /// Adds a message's recipients to what is changed with the next commit.
    ///
    /// # Errors
    /// The index failed.
    pub(in crate::flow) fn one(&mut self, waits: &Waits) -> Result<(), ReadError> {
        let (now, id) = (line::now(), &waits.queued.id);
        let mut done = 0;
        for (number, recipient) in &waits.recipients {
            let (held, next) = match self.change {
                Change::Hold if !recipient.held => (true, Some(i64::MAX)),
                Change::Release if recipient.held => (false, Some(now)),
                Change::Retry if !recipient.held => (false, Some(now)),
                Change::Drop => (recipient.held, None),
                _ => continue,
            };
            if let Some(queue) = self.queue
                && !queue.shift(id, *number, recipient, due(recipient), Some(i64::MAX))
            {
                self.changed.busy += 1;
                continue;
            }
            let taken = Taken { id: id.clone(), number: *number, recipient: recipient.clone(), next };
            self.taken.push(taken);
            // It may have been tried since it was looked up; from here on it is not.
            let Some(recipient) = disk::blocking(|| line::one(self.store, id, *number))? else { continue };
            if let Some(taken) = self.taken.last_mut() {
                taken.recipient = recipient.clone();
            }
            done += 1;
            if self.change == Change::Drop {
                line::strike(&mut self.batch, id, *number);
                gone(waits, &recipient, now).write(&mut self.batch, *number);
            } else {
                let next = if held { recipient.next } else { now };
                self.batch.push(Recipient { held, next, ..recipient }.write(id, *number));
            }
        }
        if self.change == Change::Drop
            && done > 0
            && done >= disk::blocking(|| line::recipients(self.store, id))?.len()
        {
            line::strike_message(&mut self.batch, id);
        }
        self.changed.recipients += done as u64;
        if done > 0 {
            tracing::info!(%id, change = ?self.change, "queue changed");
        }
        Ok(())
    }

    /// Makes it durable; from then on it is tried when it is to be.
    ///
    /// # Errors
    /// Nothing since the last commit is changed.
    pub(in crate::flow) async fn commit(&mut self) -> Result<(), store::CommitError> {
        if !self.batch.is_empty() {
            disk::commit(self.store, std::mem::take(&mut self.batch)).await?;
        }
        let taken = std::mem::take(&mut self.taken);
        let Some(queue) = self.queue else { return Ok(()) };
        let mut batch = Batch::new();
        for Taken { id, number, recipient, next } in taken {
            queue.shift(&id, number, &recipient, i64::MAX, next);
            // Others of its recipients may have been settled meanwhile, and nobody was the last.
            if next.is_none() && queue.left(&id) == 0 {
                line::strike_message(&mut batch, &id);
            }
        }
        if !batch.is_empty()
            && let Err(error) = disk::commit(self.store, batch).await
        {
            tracing::warn!(%error, "finished messages stay in the queue until the next start");
        }
        Ok(())
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        let Some(queue) = self.queue else { return };
        for Taken { id, number, recipient, .. } in self.taken.drain(..) {
            queue.shift(&id, number, &recipient, i64::MAX, Some(due(&recipient)));
        }
        queue.ring();
    }
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
    /// Moves a recipient in time, or takes it out. Says whether it was there: what is being tried is not. `hint` is when
    /// it waits for.
    fn shift(&self, id: &line::Id, number: u16, recipient: &Recipient, hint: i64, next: Option<i64>) -> bool {
        let to = self.destination(recipient.domain());
        let mut waiting = self.waiting();
        if next.is_some_and(|next| next <= line::now()) {
            waiting.unblock(&to);
        }
        waiting.shift(&to, id, number, hint, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_meant_however_they_are_written() {
        for (address, asked, is) in [
            ("<J\u{f6}rg@xn--bcher-kva.test>", "J\u{d6}RG", true),
            ("<J\u{f6}rg@xn--bcher-kva.test>", "jo\u{308}rg@b\u{fc}cher.test", true),
            ("bob@xn--bcher-kva.test", "bob@b\u{fc}cher.test", true),
            ("bob@xn--bcher-kva.test", "ob@b\u{fc}cher.test", false),
            ("jorg@b.test", "j\u{f6}rg@b.test", false),
        ] {
            assert_eq!(is_meant(address, asked), is, "{address} {asked}");
        }
    }
}
