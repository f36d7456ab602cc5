//! What a life does with snapshots: asks for them, spoils them, and opens what is left without an index.

use crate::life::{Check, Life};
use crate::world::World;
use store::vfs::sim::Rot;
use store::{OpenError, Opening, Reader, Sabotage, SnapshotError, Start, Store};
use wire::ids::ModSeq;

impl Life {
    /// One more, now.
    pub(crate) fn ask_for_a_snapshot(&mut self) -> Check<()> {
        let made = self.store().snapshot();
        self.note(format!("a snapshot: {made:?}"));
        let off = self.disk.is_off() || self.is_condemned();
        match made {
            Ok(_) => Ok(()),
            Err(SnapshotError::Bad(_)) if self.snapshots_hurt => Ok(()),
            Err(SnapshotError::Full | SnapshotError::Io(_)) if self.hurt || off => Ok(()),
            Err(SnapshotError::Index(_) | SnapshotError::Closed) if self.index_hurt || off => Ok(()),
            Err(other) => Err(format!("no snapshot: {other}")),
        }
    }

    /// From now on they become something else on the way to the disk.
    pub(crate) fn garble_snapshots(&mut self) {
        self.note("snapshots will be garbled");
        self.snapshots_hurt = true;
        // Nothing else has so long a number.
        self.disk.garble("tmp/000000000");
    }

    /// What opening says of them.
    pub(crate) fn judge_snapshots(&mut self, opening: &Opening) -> Check<()> {
        let bad = std::mem::take(&mut self.snapshots_hurt);
        if !opening.bad_snapshots.is_empty() && !bad && !self.disk.is_off() {
            return Err(format!("a bad snapshot where nothing was done to any: {opening:?}"));
        }
        // One that is bad stays until two are good.
        self.snapshots_hurt = !opening.bad_snapshots.is_empty() || bad;
        Ok(())
    }

    /// Whoever only reads sees the same, from a snapshot or from the whole log.
    pub(crate) fn read_only(&mut self) -> Check<()> {
        // What is wrong with a log must be found by the store that wrote it.
        let of_snapshots = matches!(
            self.tuning.sabotage,
            Sabotage::None | Sabotage::SnapshotNotVerified | Sabotage::SnapshotWithoutVanished
        );
        if !self.rng.chance(30) || self.disk.is_off() || !of_snapshots || self.rotten {
            return Ok(());
        }
        let mut seen = Vec::new();
        // Where the log was compacted, only a snapshot tells how it begins.
        let starts =
            if self.is_compacted() { &[Start::Snapshot][..] } else { &[Start::Snapshot, Start::Beginning] };
        for &start in starts {
            let reader =
                Reader::open(self.disk.vfs(), start, &|_| {}).map_err(|e| format!("{start:?}: {e}"))?;
            let damage = reader.damage();
            if damage.is_loss() || damage.torn.is_some() {
                return Err(format!("{start:?}: damage where there is none: {damage:?}"));
            }
            let is = World::of(&reader).map_err(|e| format!("{start:?}: {e}"))?;
            if let Some(why) = self.world.differs(&is) {
                return Err(format!("a reader from {start:?} sees something else: {why:?}"));
            }
            // What nobody sees who comes anew: everything that ever vanished, and how far back that is known.
            let vanished = self.world.mailboxes().filter_map(|m| reader.changes_since(m.id?, ModSeq(0)));
            let vanished: Vec<_> = vanished.map(|c| (c.vanished, c.vanished_complete, c.upto)).collect();
            seen.push((vanished, reader.reached()));
        }
        if seen.iter().any(|other| *other != seen[0]) {
            return Err(format!("a snapshot and the log differ: {seen:?}"));
        }
        Ok(())
    }

    fn snapshots(&self) -> Vec<(String, u64)> {
        self.disk.files().into_iter().filter(|(path, _)| path.starts_with("snapshot/")).collect()
    }

    fn spoil(&mut self, path: &str, len: u64) {
        let at = self.rng.below(len);
        let how = if self.rng.chance(60) { Rot::Flip(self.rng.below(8) as u8) } else { Rot::ZeroSector };
        self.disk.rot(path, at, how);
        self.note(format!("{path} rots at {at} of {len}: {how:?}"));
    }

    /// Whether the log is not everything any more, so that snapshots are needed.
    pub(crate) fn is_compacted(&self) -> bool {
        self.disk.files().iter().any(|(path, _)| path.starts_with("log/") && path.contains(".g"))
    }

    /// A disk that lets them rot, and people who remove one. The log is whole, or the other one is good, so nothing may
    /// come of it.
    pub(crate) fn maul_snapshots(&mut self) {
        let there = self.snapshots();
        if there.is_empty() || !self.rng.chance(12) {
            return;
        }
        let (path, len) = there[self.rng.index(there.len())].clone();
        let needed = self.is_compacted();
        if needed && (there.len() < 2 || self.snapshots_hurt) {
            return;
        }
        match self.rng.below(6) {
            1 if needed => self.spoil(&path, len),
            0 => {
                let done = self.disk.vfs().remove_file(&path);
                self.note(format!("{path} is removed: {done:?}"));
            }
            1 => there.iter().for_each(|(path, len)| self.spoil(path, *len)),
            _ => self.spoil(&path, len),
        }
        self.snapshots_hurt = true;
        // So that they are wanted.
        if self.rng.chance(60) {
            let done = self.disk.vfs().remove_dir_all("index");
            self.note(format!("and the index is removed: {done:?}"));
        }
    }

    /// At the end of a life: one rots, or all, and there is no index. It is told, or it made no difference; and nothing at
    /// all is lost.
    pub(crate) fn rot_of_snapshots(&mut self) -> Check<()> {
        let there = self.snapshots();
        let Some((newest, len)) = there.last().cloned() else { return Ok(()) };
        let before = self.disk.vfs().read(&newest).ok();
        let one_is_good = there.len() > 1 && !self.snapshots_hurt;
        let all = self.rng.chance(30);
        if all {
            there.iter().for_each(|(path, len)| self.spoil(path, *len));
        } else {
            self.spoil(&newest, len);
        }
        // A sector of zeros that becomes one is none the worse, and one that was garbled may even be mended by it.
        let is_bad = self.disk.vfs().read(&newest).ok() != before && !self.snapshots_hurt;
        self.disk.vfs().remove_dir_all("index").map_err(|e| e.to_string())?;
        let (store, opening) = match Store::open(self.options()) {
            Ok(opened) => opened,
            // A refusal that names the way out, never an empty or half a store.
            Err(OpenError::NoBase(_)) if self.is_compacted() && (all || !one_is_good) => return Ok(()),
            Err(e) => return Err(format!("does not open: {e}")),
        };
        self.note(format!("opened: {opening:?}"));
        let is = World::of(&store).map_err(|e| format!("after rot in a snapshot: {e}"))?;
        if let Some(why) = self.world.differs(&is) {
            return Err(format!("after rot in a snapshot: {why}; {opening:?}"));
        }
        if is_bad && opening.snapshot.as_ref() == Some(&newest) {
            return Err(format!("{newest} rotted and was relied upon: {opening:?}"));
        }
        Ok(())
    }
}
