//! The end of some lives: octets of the log go bad. Nothing wrong is served as good, nothing is lost in silence, and
//! nothing that was lost can be taken for something else.

use super::{Check, Life};
use crate::world::World;
use store::{Reached, Reader, Start};

impl Life {
    /// Octets of the log go bad, the store is opened, and goes on: from then on it holds what it showed.
    pub(super) fn life_after_rot(&mut self) -> Check<()> {
        if self.rng.chance(30) {
            return self.rot_of_snapshots();
        }
        // An index would still know what is lost, until it is lost too.
        let unwitnessed = self.rng.chance(60);
        if unwitnessed {
            let removed = self.disk.vfs().remove_dir_all("index");
            self.note(format!("the index is removed: {removed:?}"));
            // A snapshot would know, too, and what it holds is not missed.
            if !self.is_compacted() {
                let removed = self.disk.vfs().remove_dir_all("snapshot");
                self.note(format!("the snapshots are removed: {removed:?}"));
            }
        }
        let Some(opening) = self.rot(unwitnessed)? else { return Ok(()) };
        let store = self.store().clone();
        let is = match World::of(&store) {
            Ok(is) => is,
            // A message that cannot be read any more: the model has no word for it.
            Err(e) => {
                self.note(format!("no life after this: {e}"));
                return Ok(());
            }
        };
        if opening.torn.is_some() {
            // The last group, and nobody left who knows that it was once whole: it was taken for torn.
            return Ok(());
        }
        self.never_again(&is)?;
        if self.world.differs(&is).is_none() {
            // The index, or nothing that anybody sees: whoever opens it without the index finds more, or nothing.
            return Ok(());
        }
        drop(store);
        self.rotten = true;
        self.clients.clear();
        self.world = is;
        for _ in 0..2 {
            self.go_on()?;
            self.die()?;
            if !self.open()? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// After a loss a client is told that all is new, or nothing that it knew can come again.
    fn never_again(&mut self, is: &World) -> Check<()> {
        for mailbox in is.mailboxes() {
            let (id, validity) = (mailbox.id.expect("the store's"), mailbox.validity.expect("the store's"));
            let known = self.world.mailbox(id).and_then(|m| m.validity);
            if known != Some(validity) {
                if !self.seen.validities.insert(validity) {
                    return Err(format!("UIDVALIDITY {validity} comes again after rot"));
                }
            } else if self.seen.uid_next.get(&id).is_some_and(|seen| mailbox.uid_next < *seen) {
                return Err(format!("mailbox {id}: UIDs come again after rot, under UIDVALIDITY {validity}"));
            }
            self.seen.mailboxes.insert(id);
            self.seen.uid_next.insert(id, mailbox.uid_next);
        }
        self.seen.accounts.extend(is.accounts.values().filter_map(|a| a.id));
        Ok(())
    }

    /// Where the log ends.
    pub(super) fn reached(&self) -> Check<Reached> {
        let reader = Reader::open(self.disk.vfs(), Start::Snapshot, &|_| {});
        Ok(reader.map_err(|e| format!("it cannot be read: {e}"))?.reached())
    }
}
