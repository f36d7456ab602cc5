//! The end of some lives: octets of the log go bad. Nothing wrong is served as good, nothing is lost in silence, and
//! nothing that was lost can be taken for something else.

use super::{Check, Life};
use crate::world::World;
use store::vfs::sim::Rot;
use store::{Opening, Reader, Start, Store};
use wire::ids::Uid;

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

    /// The log's last group.
    fn reached(&self) -> Check<u64> {
        let reader = Reader::open(self.disk.vfs(), Start::Snapshot, &|_| {});
        Ok(reader.map_err(|e| format!("it cannot be read: {e}"))?.reached().seq)
    }

    /// Octets of the log go bad. Nothing wrong may be served as if it were right, and nothing may be lost in silence.
    fn rot(&mut self, unwitnessed: bool) -> Check<Option<Opening>> {
        let logs: Vec<_> =
            self.disk.files().into_iter().filter(|(path, _)| path.starts_with("log/")).collect();
        if logs.is_empty() {
            return Ok(None);
        }
        let whole = self.reached()?;
        let (path, len) = logs[self.rng.index(logs.len())].clone();
        let at = self.rng.below(len);
        // A whole small group at the end that reads as zeros, and nobody left who knew it: that nobody can notice.
        let how = if unwitnessed || self.rng.chance(60) {
            Rot::Flip(self.rng.below(8) as u8)
        } else {
            Rot::ZeroSector
        };
        self.disk.rot(&path, at, how);
        self.note(format!("{path} rots at {at} of {len}: {how:?}"));
        let (store, opening) = match Store::open(self.options()) {
            Ok(opened) => opened,
            // A refusal with a reason is an answer.
            Err(e) => {
                self.note(format!("refused: {e}"));
                return Ok(None);
            }
        };
        self.note(format!("opened: {opening:?}"));
        self.store = Some(store.clone());
        if opening.torn.is_some() {
            // A group that was never whole is the last one: with anything good behind it, it was.
            let now = self.reached()?;
            if now + 1 < whole {
                return Err(format!("rot in {path} at {at} was cut: {whole} groups are {now}; {opening:?}"));
            }
        }
        let mut told =
            !opening.rot.is_empty() || opening.torn.is_some() || !opening.missing_bodies.is_empty();
        let mut lost = Vec::new();
        for (id, must) in self.world.mailboxes().filter_map(|m| m.id.map(|id| (id, m))) {
            let view = match store.view(id) {
                Ok(view) => view,
                Err(e) => {
                    lost.push(format!("mailbox {id}: {e}"));
                    continue;
                }
            };
            for (uid, message) in &must.rows {
                let row = Uid::new(*uid).and_then(|uid| view.row(uid));
                let Some(row) = row.filter(|_| view.uid_validity().get() == must.validity.unwrap_or(0))
                else {
                    lost.push(format!("mailbox {id}: message {uid}"));
                    continue;
                };
                match store.message(&row).and_then(|m| m.to_vec()) {
                    Ok(octets) if octets == **message.octets => {}
                    Ok(_) => {
                        return Err(format!(
                            "mailbox {id}, message {uid}: other octets after rot, served as good"
                        ));
                    }
                    Err(e) => {
                        told = true;
                        self.story.push_str(&format!("       message {uid} of {id}: {e}\n"));
                    }
                }
            }
        }
        if !told && !lost.is_empty() {
            return Err(format!("lost in silence after rot in {path} at {at}: {lost:?}; {opening:?}"));
        }
        Ok(Some(opening))
    }
}
