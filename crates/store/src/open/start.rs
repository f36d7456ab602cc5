//! Opening, step by step: the lock, the log, the index, the tail; then the store serves.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::found::{Found, Main, look};
use super::index::{Usable, build, usable};
use super::replay::{Replay, Tail};
use super::{Came, OpenError, Opening, Rot, tail};
use crate::commit::writer::Writer;
use crate::digest;
use crate::group::BORDER;
use crate::index::Index;
use crate::options::{Options, Progress};
use crate::segment::{self, DIR, Epoch, Files, Header, TMP, main_path};
use crate::shared::{INDEX, Shared, at};
use crate::state::world::{Position, World};
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
    let mut found = look(vfs)?;
    let new = found.mains.is_empty();
    if new {
        begin(options, &found)?;
        found = look(vfs)?;
    }
    let (Some(first), Some(last)) = (found.mains.first(), found.mains.last()) else {
        return Err(OpenError::Missing("the log that was just made".into()));
    };
    // What was made ahead of need gives room back first: on a full disk, opening needs some.
    tail::clear(vfs)?;
    let mut known = learn(options, &found, first, last)?;
    // From here on the log is changed on disk.
    let (torn, missing_bodies) = settle(options, &found, last, &mut known)?;
    let store = last.header.store;
    if known.index.is_none() {
        let index = build(options, store, &known.world.read())?;
        known.world.set_index(index);
        known.world.write().dirty = Default::default();
    }

    let files = Files::new(options.vfs.clone(), options.tuning.sabotage);
    found.sides.iter().for_each(|&n| files.taken(n));
    for main in &found.mains {
        files.add_main(main.header.number, main.header.epoch.tag, None);
    }
    let (file, number, position) = (last.file.clone(), last.header.number, known.position);
    files.add_main(number, last.header.epoch.tag, Some(file.clone()));
    let opening = Opening {
        came: if new { Came::New } else { known.came },
        groups: known.groups,
        rows: known.world.read().mailboxes.values().map(|m| u64::from(m.head.exists)).sum(),
        torn,
        rot: known.rot,
        orphans: known.orphans,
        missing_bodies,
    };
    let capacity = file.len().map_err(at(main_path(number)))?;
    let shared = Arc::new(Shared::new(options, store, last.header.epoch, files, known.world, held));
    shared.look_at_space();
    if position.seq > 0 && (options.clock.wall().secs - position.time.secs).abs() > LONG {
        shared.freeze();
    }
    let mut writer =
        Writer { shared: shared.clone(), file, segment: number, capacity, written: position.end, position };
    if matches!(known.end, Tail::Rotten { .. }) {
        // Nothing is ever written behind rot in the same file.
        let now = shared.group_time(position.time);
        let rolled = writer.roll(0, now);
        rolled.map_err(|e| OpenError::Io { what: "a new segment".into(), error: e.into_inner() })?;
    }
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
}

/// Takes the index if it can be believed, and replays what of the log it does not hold.
fn learn(options: &Options, found: &Found, first: &Main, last: &Main) -> Result<Known, OpenError> {
    let world = World::default();
    let (index, clean, came, named) = match usable(options, last.header.store, found) {
        Ok(Usable { index, published, clean }) => {
            let named = published.position.seq;
            *world.write() = published;
            world.set_index(index.clone());
            (Some(index), clean, if clean { Came::Clean } else { Came::Resumed }, named)
        }
        Err(no) => {
            world.write().position = Position {
                seq: first.header.seq - 1,
                chain: first.header.chain,
                segment: first.header.number,
                offset: BORDER,
                end: BORDER,
                time: first.header.time,
                ..Position::default()
            };
            (None, false, Came::Rebuilt { why: no.why }, no.named)
        }
    };
    let from = world.read().position;
    let mut replay = Replay::new(options, &world, found, from, named);
    let end = if clean { Tail::Clean } else { replay.run()? };
    let (position, groups, orphans) = (replay.position, replay.groups, replay.orphans);
    let rot = std::mem::take(&mut replay.rot);
    Ok(Known { world, index, came, clean, end, position, groups, rot, orphans })
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
    if index || !found.sides.is_empty() {
        return Err(OpenError::NotAStore("there is an index or mail, but the log is gone".into()));
    }
    let mut random = [0; 36];
    (options.random)(&mut random);
    let mut secret = [0; 16];
    secret.copy_from_slice(&random[..16]);
    let number = |octets: &[u8]| octets.iter().fold(0u128, |n, &b| n << 8 | u128::from(b));
    let header = Header {
        store: number(&random[16..32]),
        // The tag is public; 0 stands for "not known".
        epoch: Epoch { secret, tag: (number(&random[32..36]) as u32).max(1) },
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
