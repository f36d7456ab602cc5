//! Backups in a life: made on another disk of the same machine while the store works, interrupted anywhere; each is read,
//! verified and restored, and held against what was there when it was made.

use super::{Check, Life};
use crate::world::World;
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use std::hash::Hasher as _;
use std::sync::Arc;
use store::index::model::{Fate, ModelHost};
use store::vfs::ReadOnly;
use store::vfs::sim::{Rng, SimDisk};
use store::{
    BackupError, BackupTo, Backups, Extra, Manifest, OpenError, Reader, Start, Store, Summing, Sums,
};

/// No SHA-256 (the store has none), but 32 octets that tell octets apart.
struct Sip(SipHasher24);

impl Summing for Sip {
    fn update(&mut self, octets: &[u8]) {
        self.0.write(octets);
    }
    fn finish(self: Box<Self>) -> [u8; 32] {
        let mut sum = [0; 32];
        sum[..16].copy_from_slice(&self.0.finish128().as_u128().to_le_bytes());
        sum
    }
}

fn sums() -> Sums {
    Arc::new(|| Box::new(Sip(SipHasher24::new())))
}

/// A backup that is there, and what it must hold.
#[derive(Debug)]
struct Made {
    manifest: String,
    world: World,
    /// Whoever made it was told so, or a later one: no power cut takes it away.
    sure: bool,
}

/// The other disk, and what is known of it.
#[derive(Debug)]
pub(super) struct BackupPlace {
    pub(super) disk: SimDisk,
    /// So many are kept.
    keep: usize,
    /// The oldest first.
    made: Vec<Made>,
    /// What a run that was interrupted would have made: its manifest may be there.
    doubt: Option<World>,
}

impl BackupPlace {
    pub(super) fn new(rng: &mut Rng) -> BackupPlace {
        BackupPlace { disk: SimDisk::new(rng.draw()), keep: 1 + rng.index(3), made: Vec::new(), doubt: None }
    }

    /// What is there now; `None` if no run has come so far as to mark the directory.
    fn open(&self) -> Check<Option<Backups>> {
        match Backups::open(self.disk.vfs(), &sums()) {
            Ok(there) => Ok(Some(there)),
            Err(BackupError::NotABackup(_)) if !self.made.iter().any(|made| made.sure) => Ok(None),
            Err(e) => Err(format!("the backups cannot be read: {e}")),
        }
    }

    /// Holds the manifests that are there against what is known: none comes from nowhere, none is gone but the oldest.
    fn recognise(&mut self) -> Check<Option<Backups>> {
        let Some(there) = self.open()? else { return Ok(None) };
        if let Some((file, what)) = there.damaged().next() {
            return Err(format!("{file} is no manifest: {what}"));
        }
        let mut names: Vec<String> = there.good().map(Manifest::name).collect();
        names.reverse();
        for name in &names {
            if !self.made.iter().any(|made| made.manifest == *name) {
                let world = self.doubt.take().ok_or_else(|| format!("{name}: nobody made this backup"))?;
                self.made.push(Made { manifest: name.clone(), world, sure: false });
            }
        }
        let newer = |made: &Made| names.iter().filter(|name| **name > made.manifest).count();
        let lost = self.made.iter().find(|m| m.sure && !names.contains(&m.manifest) && newer(m) < self.keep);
        if let Some(lost) = lost {
            return Err(format!("{} is gone; there are {names:?}", lost.manifest));
        }
        self.made.retain(|made| names.contains(&made.manifest));
        Ok(Some(there))
    }
}

impl Life {
    /// A backup, while which other things go on.
    pub(super) fn back_up(&mut self) -> Check<()> {
        // What a run that was interrupted has left is known before another one begins.
        self.backups.recognise()?;
        self.may_forget();
        let (before, planned) = (self.world.clone(), self.plan_a_fault());
        let stops = self.rng.chance(15).then(|| self.rng.below(12));
        let octets = format!("# {}\n", self.rng.below(3)).into_bytes();
        let extras = vec![Extra { path: "config.toml".into(), octets }];
        let (store, vfs, keep) = (self.store().clone(), self.backups.disk.vfs(), self.backups.keep);
        let (mut told, mut went) = (0, Ok(()));
        let mut watch = |_: &store::BackupProgress| {
            told += 1;
            went = self.meanwhile();
            went.is_ok() && stops.is_none_or(|after| told <= after)
        };
        let made = store.backup(&mut BackupTo { vfs, sums: sums(), keep, extras, watch: &mut watch });
        went?;
        self.note(format!("a backup: {made:?}"));
        // Both disks are in one machine.
        if self.backups.disk.is_off() || self.disk.is_off() {
            self.backups.disk.crash();
            self.disk.crash();
        }
        let hurt = planned || stops.is_some() || self.hurt || self.index_hurt || self.snapshots_hurt;
        match made {
            Ok(made) => {
                self.backups.made.iter_mut().for_each(|made| made.sure = true);
                let (manifest, world) = (made.manifest, before);
                self.backups.doubt = None;
                self.backups.made.push(Made { manifest, world, sure: true });
            }
            Err(_) if hurt || self.disk.is_off() || self.is_condemned() => self.backups.doubt = Some(before),
            Err(e) => return Err(format!("no backup: {e}")),
        }
        if self.disk.is_off() {
            return Ok(());
        }
        self.backups.disk.forget_faults();
        self.look_at_backups()
    }

    /// What goes wrong with the other disk; says whether anything does.
    fn plan_a_fault(&mut self) -> bool {
        let disk = self.backups.disk.clone();
        match self.rng.below(10) {
            0..=2 => disk.crash_in(self.rng.below(60)),
            3 => disk.fail_sync_in(self.rng.below(20)),
            4 => disk.fail_write_in(self.rng.below(20)),
            5 => disk.room(Some(self.rng.below(200_000))),
            _ => {
                disk.short_writes(if self.rng.chance(20) { 50 } else { 0 });
                return false;
            }
        }
        true
    }

    /// Between two files of a backup: what it copies must not change by it.
    fn meanwhile(&mut self) -> Check<()> {
        if self.disk.is_off() || self.is_condemned() {
            return Ok(());
        }
        match self.rng.below(12) {
            0 | 1 => match self.work.op(&self.world) {
                Some(op) => self.ask(op),
                None => Ok(()),
            },
            2 | 3 => self.commit(),
            4 => {
                self.store().step_apply();
                Ok(())
            }
            5 | 6 => self.ask_for_a_snapshot(),
            7..=9 => {
                self.compact();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// All that are there are whole; one of them, mostly the newest, is read as the store that it was.
    pub(super) fn look_at_backups(&mut self) -> Check<()> {
        let Some(there) = self.backups.recognise()? else { return Ok(()) };
        if self.backups.made.is_empty() {
            return Ok(());
        }
        let verified = there.verify(false, &mut |_| true).map_err(|e| format!("backups: {e}"))?;
        if !verified.is_whole() {
            return Err(format!("a backup is not whole: {verified:?}"));
        }
        let (made, manifest) = self.some_backup(&there);
        let tree = Arc::new(ReadOnly(there.tree(&manifest)));
        let reader =
            Reader::open(tree, Start::Snapshot, &|_| {}).map_err(|e| format!("{}: {e}", manifest.name()))?;
        let is = World::of(&reader).map_err(|e| format!("{}: {e}", manifest.name()))?;
        match self.backups.made[made].world.differs(&is) {
            Some(why) => Err(format!("{} does not hold what was there: {why}", manifest.name())),
            None => Ok(()),
        }
    }

    fn some_backup(&mut self, there: &Backups) -> (usize, Manifest) {
        let last = self.backups.made.len() - 1;
        let made = if self.rng.chance(70) { last } else { self.rng.index(last + 1) };
        let name = &self.backups.made[made].manifest;
        let manifest = there.good().find(|manifest| manifest.name() == *name);
        (made, manifest.expect("recognised just now").clone())
    }

    /// At the end of a life: its disk is lost. A backup is restored on a new one, interrupted or not, and the store goes
    /// on from there, in a new epoch.
    pub(super) fn life_after_restore(&mut self) -> Check<()> {
        let Some(there) = self.backups.recognise()?.filter(|_| !self.backups.made.is_empty()) else {
            return Ok(());
        };
        let (made, manifest) = self.some_backup(&there);
        let mut must = self.backups.made[made].world.clone();
        self.note(format!("the disk is lost; {} is restored", manifest.name()));
        self.lose_disk();
        drop(there);
        let Some(mut sure) = self.restore_all(&manifest)? else { return Ok(()) };
        must.renew();
        for _ in 0..20 {
            self.may_forget();
            if self.rng.chance(25) {
                self.disk.crash_in(self.rng.below(40));
            }
            match Store::open(self.options()) {
                Ok((store, opening)) if !self.disk.is_off() => {
                    self.note(format!("opened: {opening:?}"));
                    if !opening.rot.is_empty() || !opening.missing_bodies.is_empty() {
                        return Err(format!("damage in what was restored: {opening:?}"));
                    }
                    self.disk.forget_faults();
                    self.take_over(store, must)?;
                    self.go_on()?;
                    self.die()?;
                    return if self.open()? { self.check("after a restore") } else { Ok(()) };
                }
                // All was there but for a name that was not durable yet, and the power went.
                Err(OpenError::HalfRestored) if !sure && !self.disk.is_off() => {
                    self.note("the restore goes on");
                    let Some(now) = self.restore_all(&manifest)? else { return Ok(()) };
                    sure = now;
                    continue;
                }
                Err(e) if !self.disk.is_off() => {
                    return Err(format!("what was restored does not open: {e}"));
                }
                other => self.note(format!("interrupted: {:?}", other.map(|(_, opening)| opening))),
            }
            let power = self.rng.chance(50);
            self.restart(power);
        }
        Err("what was restored never opened".into())
    }

    /// Runs of a restore, until all is there. Says whether whoever ran the last one was told so; `None` if the backup is
    /// gone.
    fn restore_all(&mut self, manifest: &Manifest) -> Check<Option<bool>> {
        loop {
            let there = self.backups.open()?.ok_or("the backups are gone")?;
            if !there.good().any(|good| good == manifest) {
                // Nobody was told of it, and a power cut took it away.
                return Ok(None);
            }
            if let Some(sure) = self.restore(&there, manifest)? {
                return Ok(Some(sure));
            }
        }
    }

    /// One run of a restore. If it was the last, says whether whoever ran it was told so.
    fn restore(&mut self, there: &Backups, manifest: &Manifest) -> Check<Option<bool>> {
        let crashes = self.rng.chance(40);
        if crashes {
            self.disk.crash_in(self.rng.below(60));
        }
        let done = there.restore(manifest, self.disk.vfs(), &mut |_| true);
        self.note(format!("restored: {done:?}"));
        match done {
            Ok(_) if !self.disk.is_off() => {
                self.disk.forget_faults();
                // The power may go right behind it.
                if self.rng.chance(30) {
                    self.restart(true);
                }
                return Ok(Some(true));
            }
            Err(e) if !self.disk.is_off() => return Err(format!("a backup cannot be restored: {e}")),
            _ => {}
        }
        let power = self.rng.chance(50);
        self.restart(power);
        // Half of a store is none; where nothing came so far, and where all is there, it is one.
        let vfs = self.disk.vfs();
        let unfinished = vfs.exists("restoring").map_err(|e| e.to_string())?;
        if unfinished && self.rng.chance(50) {
            match Store::open(self.options()) {
                Ok(_) => return Err("half a restore was opened as a store".into()),
                Err(e) => self.note(format!("refused: {e}")),
            }
        }
        let there = vfs.exists("restored").map_err(|e| e.to_string())? && !unfinished;
        Ok(there.then_some(false))
    }

    /// What was restored is what was there, with UIDVALIDITIES that nobody has seen; from now on it is what must be there.
    fn take_over(&mut self, store: Store, mut must: World) -> Check<()> {
        self.store = Some(store);
        self.may_forget();
        let is = World::of(self.store()).map_err(|e| format!("after a restore: {e}"))?;
        must.forgettable = must.forgettable.max(self.world.forgettable);
        must.at_once |= self.world.at_once;
        if let Some(why) = must.differs(&is) {
            return Err(format!("after a restore: {why}"));
        }
        for mailbox in is.mailboxes() {
            let validity = mailbox.validity.expect("the store's");
            if !self.seen.validities.insert(validity) {
                return Err(format!("UIDVALIDITY {validity} comes again after a restore"));
            }
        }
        // Ids of what came after the backup may come again: nobody knows them.
        self.seen.mailboxes = is.mailboxes().filter_map(|m| m.id).collect();
        self.seen.accounts = is.accounts.values().filter_map(|a| a.id).collect();
        self.seen.uid_next = is.mailboxes().filter_map(|m| Some((m.id?, m.uid_next))).collect();
        self.world = World { forgettable: must.forgettable, at_once: must.at_once, ..is };
        Ok(())
    }

    /// Nothing of it is left.
    fn lose_disk(&mut self) {
        self.disk = SimDisk::new(self.rng.draw());
        self.model = Arc::new(ModelHost::new(self.disk.vfs()));
        self.boot += 1;
        self.snapshots_hurt = false;
        self.clients.clear();
        self.doubts.clear();
    }

    /// The process ends, or the power.
    fn restart(&mut self, power: bool) {
        self.disk.restart(power);
        self.backups.disk.restart(power);
        self.boot += u32::from(power);
        self.model = Arc::new(self.model.restart(self.disk.vfs(), Fate::Kept));
    }
}
