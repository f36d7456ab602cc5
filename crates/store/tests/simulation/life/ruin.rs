//! What happens to a store's files from outside: hands in the index's directory, and octets of the log that go bad.

use super::{Check, Life};
use store::vfs::sim::Rot;
use store::{Opening, RetainedFilter, Store};
use wire::ids::Uid;

impl Life {
    /// What people and accidents do to a directory that they are told they may delete.
    pub(super) fn maul_index(&mut self) {
        let vfs = self.disk.vfs();
        let done = match self.rng.below(20) {
            0 | 1 => vfs.remove_dir_all("index"),
            2 => vfs.remove_file("index/STATE"),
            3 => {
                self.disk.rot("index/STATE", 20, Rot::Flip(2));
                Ok(())
            }
            4 => vfs.replace("index/CONDEMNED", b"by hand"),
            _ => return,
        };
        self.note(format!("the index is mauled: {done:?}"));
    }

    /// Octets of the log go bad. Nothing wrong may be served as if it were right, and nothing may be lost in silence.
    pub(super) fn rot(&mut self, unwitnessed: bool) -> Check<Option<Opening>> {
        let logs: Vec<_> =
            self.disk.files().into_iter().filter(|(path, _)| path.starts_with("log/")).collect();
        if logs.is_empty() {
            return Ok(None);
        }
        let reached = self.reached()?;
        let (mut path, len) = logs[self.rng.index(logs.len())].clone();
        let mut at = self.rng.below(len);
        // Often near the end, where little lies behind it that tells of what was lost.
        let last = format!("log/{:08}.seg", reached.segment);
        if self.rng.chance(50) && reached.end > 0 && logs.iter().any(|(path, _)| *path == last) {
            path = last;
            at = reached.end - 1 - self.rng.below(reached.end.min(16 << 10));
        }
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
            let (whole, now) = (reached.seq, self.reached()?.seq);
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
        told |= self.rotten_kept(&store)?;
        told |= self.rotten_books(&store, &mut lost)?;
        if !told && !lost.is_empty() {
            return Err(format!("lost in silence after rot in {path} at {at}: {lost:?}; {opening:?}"));
        }
        Ok(Some(opening))
    }

    /// What was expunged is held to the same: other octets are never served as good. Says whether damage was told.
    fn rotten_kept(&mut self, store: &Store) -> Check<bool> {
        let mut told = false;
        let filter = RetainedFilter { all: true, ..RetainedFilter::default() };
        let listed = match store.retained(&filter) {
            Ok(listed) => listed,
            Err(_) => return Ok(true),
        };
        for message in listed {
            let Ok(message) = message else { return Ok(true) };
            let known = self.world.kept.iter().find(|kept| kept.id == Some(message.from.id));
            let Some(must) = known.and_then(|kept| kept.rows.get(&message.row.uid.get())) else { continue };
            match store.message(&message.row).and_then(|m| m.to_vec()) {
                Ok(octets) if octets == **must.octets => {}
                Ok(_) => return Err("a retained message has other octets after rot, served as good".into()),
                Err(e) => {
                    told = true;
                    self.story.push_str(&format!("       retained message {}: {e}\n", message.row.uid));
                }
            }
        }
        Ok(told)
    }

    /// Lines after rot: what they name is never other octets served as good. Says which are lost, and whether damage was
    /// told.
    fn rotten_books(&mut self, store: &Store, lost: &mut Vec<String>) -> Check<bool> {
        let mut told = false;
        for ((book, key), must) in &self.world.books {
            let name = format!("line {key:?} of {book:?}");
            let line = match store.line(*book, key) {
                Ok(Some(line)) => line,
                other => {
                    lost.push(format!("{name}: {other:?}"));
                    continue;
                }
            };
            if line.value != must.value || line.content.is_some() != must.octets.is_some() {
                lost.push(format!("{name} is another"));
                continue;
            }
            let (Some(content), Some(octets)) = (line.content, &must.octets) else { continue };
            match store.content(content).and_then(|message| message.to_vec()) {
                Ok(read) if read == **octets => {}
                Ok(_) if content.size as usize != octets.len() => lost.push(format!("{name} names another")),
                Ok(_) => return Err(format!("{name}: other octets after rot, served as good")),
                Err(e) => {
                    told = true;
                    self.note(format!("{name}: {e}"));
                    break;
                }
            }
        }
        Ok(told)
    }
}
