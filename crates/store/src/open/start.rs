//! Opening, step by step: the lock, the log, the index, the tail; then the store serves.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::found::{Found, Main, look};
use super::index::{Usable, build, mark_running, usable};
use super::replay::{How, Replay, Tail};
use super::{Came, OpenError, Opening, Rot, base, epoch, tail};
use crate::commit::writer::Writer;
use crate::digest;
use crate::group::BORDER;
use crate::index::Index;
use crate::index::state::Witness;
use crate::options::{Options, Progress};
use crate::segment::{self, DIR, Files, Header, Opened, TMP, main_path};
use crate::shared::{INDEX, Shared, at};
use crate::snapshot;
use crate::state::world::{Position, World};
use crate::trouble::Troubles;
use crate::vfs::{Lock, Open, Vfs, sync_name_of_root, write_full};

const LOCK: &str = "lock";
/// A pause of the machine beyond this is no pause: the clock is not believed.
const LONG: i64 = 30 * 24 * 3600;

/// Opens the store: what the threads share, the end of the log, and how it went.
pub(crate) fn open(options: &Options) -> Result<(Arc<Shared>, Writer, Opening), OpenError> {
    let vfs = &*options.vfs;
    let held = lock(options)?;
    for dir in [DIR, TMP, digest::DIR] {
        vfs.create_dir_all(dir).map_err(at(dir))?;
    }
    let mut found = look(vfs, Open::ReadWrite)?;
    let new = found.mains.is_empty();
    if new {
        begin(options, &found)?;
        found = look(vfs, Open::ReadWrite)?;
    }
    let Some(last) = found.mains.last() else {
        return Err(OpenError::Missing("the log that was just made".into()));
    };
    // What was made ahead of need gives room back first: on a full disk, opening needs some.
    tail::clear(vfs)?;
    let mut known = learn(options, &found, last)?;
    let store = last.header.store;
    if known.loss.is_some() && known.index.is_none() && vfs.exists(INDEX).map_err(at(INDEX))? {
        // The proof stays until a new epoch is durable.
        mark_running(options, INDEX, store, known.witness)?;
    }
    // From here on the log is changed on disk.
    let (torn, missing_bodies) = settle(options, &found, last, &mut known)?;
    let Known { world, index, came, end, position, groups, rot, orphans, loss, witness, snapshots, .. } =
        known;

    let troubles = Arc::new(Troubles::new(options.clock.clone()));
    let files = Files::new(options.vfs.clone(), options.tuning.sabotage, troubles);
    found.sides.iter().for_each(|&n| files.taken(n));
    for main in &found.mains {
        files.add_main(main.header.number, main.known(), None);
    }
    let (file, number) = (last.file.clone(), last.header.number);
    files.add_main(number, last.known(), Some(Opened::written(file.clone())));
    let capacity = file.len().map_err(at(main_path(number)))?;
    let begun = if loss.is_some() { epoch::secret(&options.random) } else { last.header.epoch };
    let shared = Arc::new(Shared::new(options, store, begun, files, world, held));
    let (newest, octets) = snapshots.last(&found, &position);
    shared.snapshots.begin(newest, octets, snapshots.bad.clone());
    shared.look_at_space();
    if position.seq > 0 && (options.clock.wall().secs - position.time.secs).abs() > LONG {
        shared.freeze();
    }
    let mut writer =
        Writer { shared: shared.clone(), file, segment: number, capacity, written: position.end, position };
    if loss.is_some() {
        shared.files.taken(witness.segment);
        epoch::beyond(&mut writer.position, &witness);
    }
    if loss.is_some() || matches!(end, Tail::Rotten { .. }) {
        // Nothing is ever written behind rot in the same file, and each epoch begins a file of its own.
        let now = shared.group_time(position.time);
        let rolled = writer.roll(0, now);
        rolled.map_err(|e| OpenError::Io { what: "a new segment".into(), error: e.into_inner() })?;
    }
    if loss.is_some() {
        epoch::begin(&mut writer, &witness)?;
    }
    if index.is_none() {
        let index = {
            let mut published = shared.world.write();
            published.position = writer.position;
            let index = build(options, store, &published)?;
            published.dirty = Default::default();
            published.books = crate::keys::tally(&*index)?;
            index
        };
        shared.world.set_index(index);
    }
    // Only now: they are witnesses of what was lost.
    snapshots.set_aside(vfs)?;
    let restored = epoch::is_restored(vfs)?;
    epoch::forget_restore(vfs)?;
    let opening = Opening {
        came: if new { Came::New } else { came },
        snapshot: snapshots.used,
        bad_snapshots: snapshots.bad,
        groups,
        rows: shared.world.read().mailboxes.values().map(|m| u64::from(m.head.exists)).sum(),
        torn,
        rot,
        renewed: loss,
        restored,
        orphans,
        missing_bodies,
    };
    Ok((shared, writer, opening))
}

/// What is known once the log has been read: nothing of the log is changed on disk until then.
struct Known {
    world: World,
    index: Option<Arc<dyn Index>>,
    came: Came,
    /// The index was as a clean close left it, and the log ends with it.
    clean: bool,
    end: Tail,
    position: Position,
    groups: u64,
    rot: Vec<Rot>,
    orphans: u64,
    /// What somebody was told is kept, and is not.
    loss: Option<String>,
    witness: Witness,
    snapshots: base::Snapshots,
}

/// Takes the index if it can be believed, or else a snapshot, and replays what of the log it does not hold.
fn learn(options: &Options, found: &Found, last: &Main) -> Result<Known, OpenError> {
    let world = World::default();
    let mut snapshots = base::look(&*options.vfs, found)?;
    let (index, clean, came, witness) = match usable(options, last.header.store, found) {
        Ok(Usable { index, published, clean, witness }) => {
            *world.write() = published;
            world.set_index(index.clone());
            (Some(index), clean, if clean { Came::Clean } else { Came::Resumed }, witness)
        }
        Err(no) => {
            *world.write() = snapshots.choose(&*options.vfs, found, options.tuning.sabotage)?;
            (None, false, Came::Rebuilt { why: no.why }, no.witness)
        }
    };
    let witness = witness.and(snapshots.witness());
    let from = world.read().position;
    let how = How { progress: &*options.progress, sabotage: options.tuning.sabotage };
    let mut replay = Replay::new(how, &world, found, from, witness.seq);
    let end = if clean { Tail::Clean } else { replay.run()? };
    let (position, groups, orphans) = (replay.position, replay.groups, replay.orphans);
    let rot = std::mem::take(&mut replay.rot);
    let mut loss = replay.loss.take().filter(|_| !options.tuning.sabotage.no_epoch());
    if epoch::is_restored(&*options.vfs)? {
        loss.get_or_insert_with(|| "the store was restored from a backup".to_owned());
    }
    Ok(Known { world, index, came, clean, end, position, groups, rot, orphans, loss, witness, snapshots })
}

/// Puts the log's end in order, makes it durable, and removes what no commit adopted. Says where a torn end lies now,
/// and which adopted bodies are missing.
fn settle(
    options: &Options,
    found: &Found,
    last: &Main,
    known: &mut Known,
) -> Result<(Option<String>, Vec<String>), OpenError> {
    let vfs = &*options.vfs;
    let torn = match &known.end {
        Tail::Torn { end } if options.tuning.sabotage.tail_not_cut() => {
            known.position.end = *end;
            None
        }
        Tail::Torn { end } => Some(tail::cut(vfs, last, &known.position, *end)?),
        _ => None,
    };
    if !known.clean {
        tail::make_durable(vfs, last, &known.position)?;
        digest::forget_from(vfs, last.header.number).map_err(at(digest::DIR))?;
    }
    if known.position.segment != last.header.number {
        // Only a last segment without any group leaves the position in the one before.
        known.position.segment = last.header.number;
        known.position.offset = BORDER;
        known.position.end = BORDER;
    }
    known.world.write().position = known.position;
    for path in &found.superseded {
        vfs.remove_file(path).map_err(at(path))?;
    }
    let published = known.world.read();
    let is_missing = |number: &&u32| found.sides.binary_search(number).is_err();
    let missing = published.sides.keys().filter(is_missing).map(|&n| segment::side_path(n)).collect();
    let unadopted = found.sides.iter().filter(|n| !published.sides.contains_key(n)).copied();
    // What was lost to rot may have adopted any of them: then they go aside, for a salvage.
    if known.rot.is_empty() {
        tail::tidy(vfs, unadopted)?
    } else {
        tail::set_aside(vfs, unadopted)?
    }
    Ok((torn, missing))
}

fn lock(options: &Options) -> Result<Box<dyn Lock>, OpenError> {
    let begun = options.clock.monotonic();
    let mut told = false;
    loop {
        match options.vfs.lock(LOCK) {
            Ok(held) => return Ok(held),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let holder = options.vfs.lock_holder(LOCK);
                if options.clock.monotonic().saturating_sub(begun) >= options.tuning.lock_wait {
                    return Err(OpenError::Locked { holder });
                }
                if !told {
                    told = true;
                    (options.progress)(Progress::Waiting { holder });
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(OpenError::Io { what: "taking the lock".into(), error }),
        }
    }
}

/// A new store, in a directory that never was one.
fn begin(options: &Options, found: &Found) -> Result<(), OpenError> {
    let vfs: &dyn Vfs = &*options.vfs;
    let index = vfs.exists(&format!("{INDEX}/STATE")).map_err(at(INDEX))?;
    let snapshots = snapshot::list(vfs).map_err(at(snapshot::DIR))?;
    if index || !found.sides.is_empty() || !snapshots.is_empty() {
        return Err(OpenError::NotAStore(
            "there is an index, a snapshot or mail, but the log is gone".into(),
        ));
    }
    let mut store = [0; 16];
    (options.random)(&mut store);
    let header = Header {
        store: u128::from_le_bytes(store),
        epoch: epoch::secret(&options.random),
        number: 1,
        previous: 0,
        previous_end: 0,
        seq: 1,
        chain: 0,
        time: options.clock.wall(),
    };
    let path = format!("{TMP}/first.seg");
    match vfs.remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at(&path)(e)),
        _ => {}
    }
    let make = || -> io::Result<()> {
        let file = vfs.open(&path, Open::CreateNew)?;
        file.preallocate(options.tuning.segment)?;
        write_full(&*file, &header.encode(), 0)?;
        file.sync_all()?;
        for dir in ["", TMP] {
            vfs.sync_dir(dir)?;
        }
        vfs.rename(&path, &main_path(1))?;
        vfs.sync_dir(DIR)
    };
    make().map_err(at("beginning a new log"))?;
    // The data directory's own name, too.
    vfs.real_path().map_or(Ok(()), sync_name_of_root).map_err(at("the data directory"))
}
