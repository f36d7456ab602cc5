//! Which messages are `\Recent`: those that no session has been told of yet (RFC 3501 s.2.3.2).
//!
//! The memory is the process's: a message that arrived before the start is not recent. The first session that opens
//! a mailbox for changes claims what is recent; EXAMINE and STATUS only look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::{MailboxId, View};

use crate::clock;

/// The first UID of each mailbox that no session has claimed. Clones are the same memory.
#[derive(Clone, Debug)]
pub struct Recents {
    firsts: Arc<Mutex<HashMap<MailboxId, u32>>>,
    /// When the process began, in seconds since 1970.
    began: u64,
}

impl Default for Recents {
    fn default() -> Recents {
        Recents::new()
    }
}

impl Recents {
    /// Nothing claimed; what arrives from now on is recent.
    #[must_use]
    pub fn new() -> Recents {
        let began = u64::try_from(clock::wall().seconds).unwrap_or(0);
        Recents { firsts: Arc::default(), began }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MailboxId, u32>> {
        self.firsts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The recent UIDs of a mailbox, as an inclusive run; with `claim` they are recent for nobody else.
    pub(super) fn of(&self, view: &View, claim: bool) -> Option<(u32, u32)> {
        let next = view.uid_next().map_or(u32::MAX, |uid| uid.get());
        let mut firsts = self.lock();
        let first = *firsts.entry(view.id()).or_insert_with(|| self.first_since_start(view));
        if claim {
            firsts.insert(view.id(), next.max(first));
        }
        (first < next).then_some((first, next - 1))
    }

    /// The count of recent messages as far as it is known without looking into the mailbox.
    pub(super) fn is_none(&self, mailbox: MailboxId, uid_next: u32) -> bool {
        self.lock().get(&mailbox).is_some_and(|&first| first >= uid_next)
    }

    /// The first message that came after the process began: they lie in the order of their coming.
    fn first_since_start(&self, view: &View) -> u32 {
        let position = lower_bound(view, |row| u64::from(row.save_date) < self.began);
        view.at(position)
            .map_or_else(|| view.uid_next().map_or(u32::MAX, |uid| uid.get()), |row| row.uid.get())
    }
}

/// The first position whose message is not `before`; `exists` if there is none.
pub(super) fn lower_bound(view: &View, before: impl Fn(&store::Row) -> bool) -> u32 {
    let (mut low, mut high) = (0, view.exists());
    while low < high {
        let middle = low + (high - low) / 2;
        if view.at(middle).is_some_and(|row| before(&row)) { low = middle + 1 } else { high = middle }
    }
    low
}

/// How many messages have UIDs in an inclusive run.
pub(super) fn count(view: &View, (from, to): (u32, u32)) -> u32 {
    lower_bound(view, |row| row.uid.get() <= to) - lower_bound(view, |row| row.uid.get() < from)
}
