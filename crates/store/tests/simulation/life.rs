//! One life of a store: work, faults, deaths and openings, all decided by a seed.

// Named in full, since an example has this file by its path.
#[path = "life/background.rs"]
mod background;
#[path = "life/backups.rs"]
mod backups;
#[path = "life/clients.rs"]
mod clients;
#[path = "life/rot.rs"]
mod rot;
#[path = "life/ruin.rs"]
mod ruin;

use crate::work::Work;
use crate::world::{Op, Sum, When, World};
use backups::BackupPlace;
use clients::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use store::index::IndexHost;
use store::index::guard::{Guard, Patience};
use store::index::model::{Fate, Fault, ModelHost};
use store::vfs::sim::{Rng, SimDisk};
use store::{
    AccountId, Batch, Clock, Commit, CommitError, Committed, Intent, MailboxId, Options, Sabotage,
    SpoolError, Spooled, Store, Tuning, UnixTime,
};

const DAY: u64 = 24 * 3_600;

/// New mail is refused below this.
const RESERVE: u64 = 64 << 10;

pub(crate) type Check<T> = Result<T, String>;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    PowerCut,
    Kill,
    /// A clean close, and the machine goes on.
    Close,
    /// A clean close, and then the power goes.
    CloseAndPowerCut,
}

/// A clock that goes on only when the life says so.
#[derive(Debug)]
struct LifeClock(AtomicU64);

impl LifeClock {
    fn seconds(&self) -> u64 {
        self.wall().secs.cast_unsigned()
    }
}

impl Clock for LifeClock {
    fn wall(&self) -> UnixTime {
        let now = self.0.load(Ordering::Relaxed);
        UnixTime {
            secs: 1_800_000_000 + (now / 1_000).cast_signed(),
            nanos: (now % 1_000) as u32 * 1_000_000,
        }
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// What may never come again.
#[derive(Debug, Default)]
struct Seen {
    newest_commit: u64,
    /// The same, when the store was last compared with the model.
    at_last_adoption: u64,
    validities: BTreeSet<u32>,
    mailboxes: BTreeSet<MailboxId>,
    accounts: BTreeSet<AccountId>,
    uid_next: BTreeMap<MailboxId, u32>,
}

/// Batches in the order in which they were asked for, a beginning of which may be there.
#[derive(Debug)]
struct Doubt {
    ops: Vec<Op>,
    /// They were answered by a close, which may have failed more than one group: the beginning of any.
    several: bool,
    /// Space was short: those with bodies may have been refused for that before their group failed.
    tight: bool,
}

impl Doubt {
    /// What may be there, each as a run of batches of which any beginning may be.
    fn runs(&self, world: &World) -> Vec<Vec<&Op>> {
        let mut lists: Vec<Vec<&Op>> = vec![self.ops.iter().collect()];
        if self.tight {
            lists.push(self.ops.iter().filter(|op| op.bodies.is_empty()).collect());
        }
        // From when the index failed on, what asks for a line was refused alone, and nothing else.
        if self.several {
            let asks = |op: &&Op| op.intents.iter().any(is_of_books);
            lists.extend((0..self.ops.len()).map(|n| {
                let (before, after) = self.ops.split_at(n);
                before.iter().chain(after.iter().filter(|op| !asks(op))).collect()
            }));
        }
        // What was to be brought back may have been given up just before.
        let kept = |op: &&Op| !op.intents.iter().any(|i| may_be_forgotten(i, world));
        let without: Vec<_> = lists.iter().map(|l| l.iter().copied().filter(kept).collect()).collect();
        lists.extend(without);
        let mut runs = Vec::new();
        for list in lists {
            let starts = if self.several { list.len().max(1) } else { 1 };
            runs.extend((0..starts).map(|from| list[from..].to_vec()));
        }
        runs
    }
}

fn is_of_books(intent: &Intent) -> bool {
    matches!(intent, Intent::Keep { .. } | Intent::Write { .. } | Intent::Strike { .. })
}

fn may_be_forgotten(intent: &Intent, world: &World) -> bool {
    matches!(intent, Intent::Undelete { from, .. } if world.may_be_forgotten(*from))
}

pub struct Life {
    pub(crate) rng: Rng,
    pub(crate) disk: SimDisk,
    model: Arc<ModelHost>,
    clock: Arc<LifeClock>,
    random: Arc<Mutex<Rng>>,
    pub(crate) tuning: Tuning,
    boot: u32,
    store: Option<Store>,
    condemned: Arc<Mutex<Option<String>>>,
    pub(crate) world: World,
    /// Batches that were asked for and not answered.
    in_flight: Vec<(Op, Pin<Box<Commit>>)>,
    /// Batches whose fate only the next opening tells, a list for each group that failed, the last one for those that
    /// were in flight: one of the lists is there from its beginning, or none.
    doubts: Vec<Doubt>,
    clients: Vec<Client>,
    seen: Seen,
    /// Whether the disk was made to fail since the last opening: only then may the store say that it cannot write.
    pub(crate) hurt: bool,
    /// Whether the index was.
    pub(crate) index_hurt: bool,
    /// Whether space was short since the last opening.
    tight: bool,
    closing: bool,
    /// Octets of the log have gone bad, and stay so.
    pub(crate) rotten: bool,
    /// Whether a snapshot was damaged since the last opening: only then may one be bad.
    pub(crate) snapshots_hurt: bool,
    /// The story, for whoever replays a failing seed.
    story: String,
    pub(crate) work: Work,
    backups: BackupPlace,
}

impl Life {
    pub fn new(seed: u64, sabotage: Sabotage) -> Life {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(rng.draw());
        let model = Arc::new(ModelHost::new(disk.vfs()));
        let random = Arc::new(Mutex::new(rng.fork()));
        let tuning = Tuning {
            segment: 32 << 10 << rng.below(3),
            side_above: 2 << 10 << rng.below(3),
            ahead: 4 << 10 << rng.below(3),
            memory_bodies: 24 << 10,
            group_commits: 1 + rng.index(6),
            group_octets: 12 << 10,
            overlay: 16 << 10,
            apply_octets: 4 << 10,
            resident_rows: rng.index(40),
            reserve: RESERVE,
            reserve_percent: 0,
            snapshot_commits: 2 + rng.below(30),
            snapshot_octets: 64 << 10 << rng.below(3),
            snapshot_at_close: rng.below(8),
            compact_octets: 4 << 10,
            compact_every: Duration::ZERO,
            lock_wait: Duration::ZERO,
            sabotage,
            ..Tuning::default()
        };
        let work = Work::new(rng.fork());
        let backups = BackupPlace::new(&mut rng);
        Life {
            rng,
            disk,
            model,
            clock: Arc::new(LifeClock(AtomicU64::new(0))),
            random,
            tuning,
            boot: 0,
            store: None,
            condemned: Arc::default(),
            world: World::default(),
            in_flight: Vec::new(),
            doubts: Vec::new(),
            clients: Vec::new(),
            seen: Seen::default(),
            hurt: false,
            index_hurt: false,
            tight: false,
            closing: false,
            rotten: false,
            snapshots_hurt: false,
            story: String::new(),
            work,
            backups,
        }
    }

    /// What happened so far, a line for each thing.
    pub fn story(&self) -> &str {
        &self.story
    }

    pub fn run(&mut self) -> Check<()> {
        let tell = std::env::var_os("PENFOLD_SEED").is_some();
        let lived = catch_unwind(AssertUnwindSafe(|| self.lives()));
        if tell && !matches!(lived, Ok(Ok(()))) {
            eprintln!("{}", self.story);
        }
        lived.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn lives(&mut self) -> Check<()> {
        for _ in 0..3 + self.rng.below(4) {
            if !self.open()? {
                continue;
            }
            if self.world.domains.is_empty() {
                self.found()?;
            }
            // Sometimes it dies again before anything was done: what was found must be found again.
            if self.rng.chance(85) {
                self.go_on()?;
            }
            self.die()?;
        }
        for _ in 0..20 {
            if self.open()? {
                self.check("at the end")?;
                self.die()?;
                return match self.rng.below(10) {
                    0..=3 => self.life_after_rot(),
                    4..=6 => self.life_after_restore(),
                    _ => Ok(()),
                };
            }
        }
        Err("it never opened again".into())
    }

    pub(crate) fn note(&mut self, what: impl AsRef<str>) {
        let _ = writeln!(self.story, "{:>6} {}", self.disk.operations(), what.as_ref());
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().expect("a life works on an open store")
    }

    pub(crate) fn is_condemned(&self) -> bool {
        self.condemned.lock().unwrap().is_some()
    }

    pub(crate) fn options(&self) -> Options {
        let vfs = self.disk.vfs();
        let condemned = Arc::clone(&self.condemned);
        let told = Arc::new(move |why: &str| *condemned.lock().unwrap() = Some(why.to_owned()));
        let model: Arc<dyn IndexHost> = Arc::clone(&self.model) as _;
        let random = Arc::clone(&self.random);
        Options {
            index: Arc::new(Guard::new(model, Arc::clone(&vfs), Patience::default(), told.clone())),
            vfs,
            derive: Arc::new(Sum),
            clock: self.clock.clone(),
            random: Arc::new(move |to: &mut [u8]| {
                let mut rng = random.lock().unwrap();
                to.iter_mut().for_each(|octet| *octet = rng.below(256) as u8);
            }),
            progress: Arc::new(|_| {}),
            condemned: told,
            boot_id: Some(format!("boot-{}", self.boot)),
            tuning: self.tuning.clone(),
            threads: false,
        }
    }

    /// Opens the store and holds it against the model; false if it died over that, or was made to fail.
    fn open(&mut self) -> Check<bool> {
        self.may_forget();
        self.tuning.undelete_days = [0, 1, 1, 2, 14][self.rng.index(5)];
        if self.rng.chance(20) {
            self.pass_days();
        }
        if self.rng.chance(25) {
            let after = self.rng.below(40);
            self.note(format!("the machine will go off while opening, after {after}"));
            self.disk.crash_in(after);
        } else if self.rng.chance(5) {
            self.hurt = true;
            self.note("a sync fails while opening");
            self.disk.fail_sync_in(self.rng.below(12));
        }
        match Store::open(self.options()) {
            Ok((store, opening)) => {
                self.note(format!("opened: {opening:?}"));
                self.store = Some(store);
                let damaged = !opening.rot.is_empty() || !opening.missing_bodies.is_empty();
                if (damaged && !self.rotten) || opening.renewed.is_some() {
                    return Err(format!("damage where there is none: {opening:?}"));
                }
                self.judge_snapshots(&opening)?;
                if !self.disk.is_off() {
                    // What was planned for the opening does not spill into the work.
                    self.disk.crash_in(u64::MAX >> 1);
                    self.recognise()?;
                    self.read_only()?;
                    if self.rng.chance(20) && !self.rotten {
                        self.look_at_backups()?;
                    }
                    return Ok(true);
                }
            }
            Err(e) if self.disk.is_off() || self.hurt => self.note(format!("did not open: {e}")),
            Err(e) => return Err(format!("does not open: {e}")),
        }
        self.die()?;
        Ok(false)
    }

    /// Finds out which of the batches in doubt are there: a beginning of one list, or nothing of any.
    fn recognise(&mut self) -> Check<()> {
        let is = match World::of(self.store()) {
            Err(_) if self.disk.is_off() => return Ok(()),
            is => is?,
        };
        let lists = std::mem::take(&mut self.doubts);
        let mut reasons = Vec::new();
        let mut found = None;
        let runs = lists.iter().flat_map(|doubt| doubt.runs(&self.world)).chain([Vec::new()]);
        'all: for (number, ops) in runs.enumerate() {
            let mut must = self.world.clone();
            for n in 0..=ops.len() {
                if n > 0 && must.apply(ops[n - 1], When::default()).is_err() {
                    continue;
                }
                match must.differs(&is) {
                    None => {
                        found = Some((number, n));
                        break 'all;
                    }
                    Some(why) => reasons.push(format!("run {number}, first {n}: {why}")),
                }
            }
        }
        let Some((number, n)) = found else {
            return Err(format!("what is there is none of what may be there:\n  {}", reasons.join("\n  ")));
        };
        if !lists.is_empty() {
            self.note(format!("of {} lists in doubt, the first {n} of run {number} are there", lists.len()));
        }
        self.adopt(is)?;
        self.sync_clients()
    }

    /// What is there is what must be there: from now on its numbers are known, and none may come again.
    fn adopt(&mut self, is: World) -> Check<()> {
        let newest = self.seen.newest_commit;
        let mut commits = newest;
        for (login, account) in &is.accounts {
            let id = account.id.expect("the store's");
            if self.world.accounts.get(login).is_none_or(|a| a.id.is_none()) && !self.seen.accounts.insert(id)
            {
                return Err(format!("account id {id} comes again"));
            }
        }
        let before: BTreeMap<MailboxId, _> =
            self.world.mailboxes().filter_map(|m| m.id.map(|id| (id, m))).collect();
        for mailbox in is.mailboxes() {
            let (id, validity) = (mailbox.id.expect("the store's"), mailbox.validity.expect("the store's"));
            let known = before.get(&id);
            if known.is_none() {
                if !self.seen.mailboxes.insert(id) {
                    return Err(format!("mailbox id {id} comes again"));
                }
                if !self.seen.validities.insert(validity) {
                    return Err(format!("UIDVALIDITY {validity} comes again"));
                }
            }
            let uid_next = self.seen.uid_next.entry(id).or_default();
            if mailbox.uid_next < *uid_next {
                return Err(format!(
                    "mailbox {id}: UIDNEXT went from {uid_next} back to {}",
                    mailbox.uid_next
                ));
            }
            *uid_next = mailbox.uid_next;
            for (uid, message) in &mailbox.rows {
                let modseq = message.modseq.expect("the store's");
                commits = commits.max(modseq);
                let must = known.and_then(|m| m.rows.get(uid)).and_then(|m| m.modseq);
                // Nobody was told of this change: it is newer than whatever somebody was told of.
                if must != Some(modseq) && modseq <= self.seen.at_last_adoption {
                    return Err(format!("mailbox {id}, message {uid}: mod-sequence {modseq} comes again"));
                }
            }
        }
        self.seen.newest_commit = commits;
        self.seen.at_last_adoption = commits;
        self.world = World { forgettable: self.world.forgettable, at_once: self.world.at_once, ..is };
        Ok(())
    }

    /// What was expunged before this is to be given up.
    fn over(&self) -> u64 {
        let now = self.clock.seconds();
        match u64::from(self.tuning.undelete_days) {
            0 => now + 1,
            days => now - (days + 1) * DAY,
        }
    }

    /// It may be given up from now on, if not by this opening with its days then by the one before.
    fn may_forget(&mut self) {
        self.world.forgettable = self.world.forgettable.max(self.over());
        self.world.at_once |= self.tuning.undelete_days == 0;
    }

    /// Everything is as the model has it.
    fn check(&mut self, when: &str) -> Check<()> {
        self.may_forget();
        let is = match World::of(self.store()) {
            // Digests are written while reading: that may be the moment.
            Err(_) if self.disk.is_off() => return Ok(()),
            is => is.map_err(|e| format!("{when}: {e}"))?,
        };
        if let Some(why) = self.world.differs(&is) {
            return Err(format!("{when}: {why}"));
        }
        self.adopt(is)?;
        self.sync_clients()
    }

    /// The first accounts.
    fn found(&mut self) -> Check<()> {
        let mut intents = vec![Intent::AddDomain { name: "demo.test".into() }];
        intents.extend(["alice", "bob"].map(|login| Intent::AddAccount {
            login: login.into(),
            password: format!("$argon2id${login}"),
            addresses: vec![format!("{login}@demo.test")],
        }));
        self.ask(Op { intents, ..Op::default() })?;
        self.commit()
    }

    /// Work, and what goes wrong meanwhile.
    fn go_on(&mut self) -> Check<()> {
        self.plan();
        for _ in 0..10 + self.rng.below(50) {
            if self.disk.is_off() || self.is_condemned() {
                break;
            }
            self.clock.0.fetch_add(self.rng.below(5_000), Ordering::Relaxed);
            match self.rng.below(20) {
                0..=11 => {
                    if let Some(op) = self.work.op(&self.world) {
                        self.ask(op)?;
                    }
                }
                12..=16 => self.commit()?,
                17 | 18 if self.rng.chance(15) => self.ask_for_a_snapshot()?,
                17 | 18 if self.rng.chance(15) && !self.rotten => self.back_up()?,
                17 | 18 if self.rng.chance(30) => self.compact(),
                18 if self.rng.chance(30) => self.pass_days(),
                18 if self.rng.chance(40) => self.forgets()?,
                17 | 18 => {
                    self.store().step_apply();
                }
                _ if self.in_flight.is_empty() && !self.index_hurt => self.check("meanwhile")?,
                _ if self.rng.chance(30) => {
                    self.note("room again");
                    self.disk.room(None);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn plan(&mut self) {
        for _ in 0..2 {
            match self.rng.below(14) {
                12 => self.garble_snapshots(),
                0..=3 => {
                    let after = self.rng.below(150);
                    self.note(format!("the machine will go off after {after}"));
                    self.disk.crash_in(after);
                }
                4 => {
                    self.note("a sync will fail");
                    self.hurt = true;
                    self.disk.fail_sync_in(self.rng.below(25));
                }
                5 => {
                    self.note("a write will fail");
                    self.hurt = true;
                    self.disk.fail_write_in(self.rng.below(30));
                }
                6 => self.disk.short_writes(50),
                7 => {
                    let room = self.rng.below(2 * RESERVE);
                    self.note(format!("room for {room}"));
                    self.hurt = true;
                    self.tight = true;
                    self.disk.room(Some(room));
                    if self.rng.chance(50) {
                        self.disk.report_free(Some(1 << 30));
                    }
                }
                8 => {
                    let fault = if self.rng.chance(50) { Fault::Error } else { Fault::Panic };
                    self.note(format!("the index will fail: {fault:?}"));
                    self.index_hurt = true;
                    self.model.fail_in(self.rng.below(60), fault);
                }
                _ => {}
            }
        }
    }

    /// Hands a batch to the store.
    fn ask(&mut self, op: Op) -> Check<()> {
        self.note(format!("ask {:?}", op.intents));
        let store = self.store.clone().expect("open");
        let mut batch = Batch::new();
        let mut refs = Vec::new();
        for body in &op.bodies {
            let body = if self.rng.chance(50) {
                match spooled(&store, body, &mut self.rng) {
                    Ok(spooled) => spooled,
                    Err(e) if self.hurt || self.disk.is_off() => {
                        self.note(format!("the body was not taken: {e}"));
                        return Ok(());
                    }
                    Err(e) => return Err(format!("a body was not taken: {e}")),
                }
            } else {
                Spooled::from(body.to_vec())
            };
            refs.push(batch.body(body));
        }
        if op.accepted {
            batch.accepted();
        }
        let mut placed = op.places.iter().map(|at| refs[*at]);
        for intent in &op.intents {
            batch.push(match intent {
                Intent::Append { mailbox, prefix, flags, date, .. } => Intent::Append {
                    mailbox: *mailbox,
                    body: placed.next().expect("one for each append"),
                    prefix: prefix.clone(),
                    flags: flags.clone(),
                    date: *date,
                },
                Intent::Keep { book, key, prefix, value, .. } => Intent::Keep {
                    book: *book,
                    key: key.clone(),
                    body: placed.next().expect("one for each that is kept"),
                    prefix: prefix.clone(),
                    value: value.clone(),
                },
                other => other.clone(),
            });
        }
        // Whoever is alone may write its own group.
        if self.in_flight.is_empty() && self.rng.chance(20) {
            let commit = Box::pin(store.commit_here(batch));
            self.in_flight.push((op, commit));
            return self.hear();
        }
        let mut commit = Box::pin(store.commit(batch));
        let mut context = Context::from_waker(Waker::noop());
        match commit.as_mut().poll(&mut context) {
            Poll::Pending => self.in_flight.push((op, commit)),
            // Its large body could not be put aside: it never came to the committer, so there is no doubt about it.
            Poll::Ready(Err(CommitError::Full | CommitError::Broken)) if self.hurt || self.disk.is_off() => {
                self.note("refused at the door");
            }
            Poll::Ready(other) => return Err(format!("{:?} was answered at once: {other:?}", op.intents)),
        }
        Ok(())
    }

    /// One step of the committer, and what it answers.
    fn commit(&mut self) -> Check<()> {
        self.store().step_commit();
        self.hear()
    }

    fn hear(&mut self) -> Check<()> {
        self.may_forget();
        let mut broken = Vec::new();
        let mut waiting = Vec::new();
        let mut news = false;
        for (op, mut commit) in std::mem::take(&mut self.in_flight) {
            let mut context = Context::from_waker(Waker::noop());
            match commit.as_mut().poll(&mut context) {
                Poll::Pending => waiting.push((op, commit)),
                Poll::Ready(Ok(_)) if !waiting.is_empty() => return Err("an answer overtook another".into()),
                Poll::Ready(Ok(committed)) => news |= self.committed(&op, &committed, &mut broken)?,
                Poll::Ready(Err(e)) => {
                    self.note(format!("answer: {e}"));
                    self.refused(op, &e, &mut broken)?;
                }
            }
        }
        self.in_flight = waiting;
        if !broken.is_empty() {
            // One that needed the index when it failed was refused alone.
            let several = self.closing || self.index_hurt;
            self.doubts.push(Doubt { ops: broken, several, tight: self.tight });
        }
        // A store that is closed does not say any more what it retains.
        let off = self.disk.is_off() || self.is_condemned() || self.index_hurt || self.closing;
        if news && !off { self.check("after a commit") } else { Ok(()) }
    }

    /// Says whether something is to be learned from the store: ids, dates.
    fn committed(&mut self, op: &Op, committed: &Committed, broken: &mut Vec<Op>) -> Check<bool> {
        let at = committed.at.0;
        self.note(format!("acknowledged at {at}: {:?}", committed.outcomes));
        let before = self.world.clone();
        let expected = self
            .world
            .apply(op, When { commit: Some(at), time: Some(self.clock.seconds()) })
            .map_err(|why| format!("the store did what it had to refuse ({why}): {:?}", op.intents))?;
        let said = &committed.outcomes;
        if expected.len() != said.len() || !expected.iter().zip(said).all(|(expect, said)| expect.is(said)) {
            return Err(format!("{:?}: the store said {said:?}, not {expected:?}", op.intents));
        }
        if (World { ops: self.world.ops, ..before }) != self.world {
            if at <= self.seen.newest_commit {
                return Err(format!("commit {at} after commit {}", self.seen.newest_commit));
            }
            // What failed before it was cut off durably, or this could not have been written.
            self.doubts.clear();
            broken.clear();
        }
        self.seen.newest_commit = self.seen.newest_commit.max(at);
        let learns = |intent: &Intent| {
            !matches!(
                intent,
                Intent::Append { date: Some(_), .. }
                    | Intent::Flags { .. }
                    | Intent::Expunge { .. }
                    | Intent::Copy { .. }
                    | Intent::Move { .. }
                    | Intent::Keep { .. }
                    | Intent::Write { .. }
                    | Intent::Strike { .. }
            )
        };
        Ok(op.intents.iter().any(learns) || self.rng.chance(10))
    }

    fn refused(&mut self, op: Op, e: &CommitError, broken: &mut Vec<Op>) -> Check<()> {
        let hurt = self.hurt || self.disk.is_off();
        match e {
            CommitError::Refused(store::Refused::NotRetained)
                if op.intents.iter().any(|i| may_be_forgotten(i, &self.world)) =>
            {
                Ok(())
            }
            CommitError::Refused(why) => match self.world.clone().apply(&op, When::default()) {
                Err(must) if must == *why => Ok(()),
                other => Err(format!("{:?} was refused: {why}; the model says {other:?}", op.intents)),
            },
            CommitError::Full if hurt => Ok(()),
            CommitError::Broken if hurt || self.index_hurt || self.is_condemned() => {
                broken.push(op);
                Ok(())
            }
            other => Err(format!("{:?} was answered with: {other}", op.intents)),
        }
    }

    /// The process ends in some way; the next one finds the disk and the index in some state.
    fn die(&mut self) -> Check<()> {
        let gone = self.disk.is_off() || self.store.is_none() || self.is_condemned() || self.index_hurt;
        let death = match self.rng.below(10) {
            0..=3 => Death::PowerCut,
            4 | 5 => Death::Kill,
            _ if gone => Death::Kill,
            6 | 7 => Death::CloseAndPowerCut,
            _ => Death::Close,
        };
        if matches!(death, Death::Close | Death::CloseAndPowerCut) {
            let closed = self.store().close();
            self.closing = true;
            self.note(format!("closed: {closed:?}"));
            self.hear()?;
            if !self.hurt && !self.disk.is_off() && (closed.is_err() || !self.in_flight.is_empty()) {
                return Err(format!("closing: {closed:?}, {} not answered", self.in_flight.len()));
            }
        }
        let lost: Vec<Op> = std::mem::take(&mut self.in_flight).into_iter().map(|(op, _)| op).collect();
        if !lost.is_empty() {
            self.doubts.push(Doubt { ops: lost, several: false, tight: false });
        }
        let power = matches!(death, Death::PowerCut | Death::CloseAndPowerCut);
        let fate = self.fate(death);
        self.note(format!("{death:?}, index {fate:?}"));
        self.disk.restart(power);
        self.backups.disk.restart(power);
        self.boot += u32::from(power);
        self.model = Arc::new(self.model.restart(self.disk.vfs(), fate));
        // Only now: whatever it still tries reaches neither the disk nor the index.
        self.store = None;
        *self.condemned.lock().unwrap() = None;
        self.hurt = false;
        self.index_hurt = false;
        self.tight = false;
        self.closing = false;
        self.maul_index();
        self.maul_snapshots();
        Ok(())
    }

    fn fate(&mut self, death: Death) -> Fate {
        let batches = self.model.batches();
        let any = self.rng.index(batches + 1);
        let few = self.rng.index(4);
        match (death, self.rng.below(10)) {
            // sled after a power cut is anything.
            (Death::PowerCut, 0) => Fate::Ruined,
            (Death::PowerCut, 1..=2) => Fate::Older(any),
            (Death::PowerCut | Death::CloseAndPowerCut, 3..=7) => Fate::Scrambled(self.rng.draw()),
            (Death::Kill, 0..=4) => Fate::LostSuffix(few),
            // Put back by somebody, or damaged.
            (_, 8) => Fate::Older(any),
            (_, 9) => Fate::Ruined,
            _ => Fate::Kept,
        }
    }
}

fn spooled(store: &Store, body: &[u8], rng: &mut Rng) -> Result<Spooled, SpoolError> {
    let mut spool = store.spool();
    for piece in body.chunks(1 + rng.index(5_000)) {
        spool.push(piece)?;
    }
    spool.finish()
}
