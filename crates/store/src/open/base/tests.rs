//! What a replay may start from, with snapshots and logs that are whole, cut off in front, or another's.

use std::sync::Arc;

use super::*;
use crate::open::found::Main;
use crate::segment::{self, Epoch};
use crate::snapshot::write::Writer;
use crate::state::world::Counters;
use crate::vfs::sim::SimDisk;
use crate::vfs::{Open, write_full};
use wire::ids::ModSeq;

const STORE: u128 = 7;

fn disk() -> Arc<dyn Vfs> {
    let vfs = SimDisk::new(1).vfs();
    vfs.create_dir_all(TMP).unwrap();
    vfs
}

/// A log of which the first segment is `number`, after `previous`, with groups from `seq` on.
fn log(vfs: &dyn Vfs, number: u32, previous: u32, seq: u64, chain: u128) -> Found {
    let file = vfs.open(&format!("{number}"), Open::CreateNew).unwrap();
    let epoch = Epoch { secret: [3; 16], tag: 5 };
    let header = segment::Header {
        store: STORE,
        epoch,
        number,
        previous,
        previous_end: 0,
        seq,
        chain,
        time: Default::default(),
    };
    let (mut offset, mut previous) = (BORDER, chain);
    for seq in seq..seq + 3 {
        let group = group::Header {
            secret: epoch.secret,
            segment: number,
            offset,
            seq,
            time: Default::default(),
            first_commit: seq,
            length: 0,
            previous,
        };
        let front = group.encode();
        previous = group::chain(&epoch.secret, &front, std::iter::empty());
        write_full(&*file, &front, offset).unwrap();
        write_full(&*file, &previous.to_le_bytes(), offset + HEADER as u64).unwrap();
        offset += BORDER;
    }
    write_full(&*file, &[0; 4096], offset).unwrap();
    let len = file.len().unwrap();
    Found { mains: vec![Main { header, file, len, compacted: None }], ..Found::default() }
}

fn position(found: &Found, seq: u64) -> Position {
    let main = &found.mains[0];
    let offset = BORDER + (seq - main.header.seq) * BORDER;
    let mut octets = vec![0; BORDER as usize];
    read_full(&*main.file, &mut octets, offset).unwrap();
    let header = group::Header::decode(&octets).unwrap();
    let (chain, _) = group::check(&header, &octets).unwrap();
    Position {
        seq,
        chain,
        segment: main.header.number,
        offset,
        end: offset + BORDER,
        commit: ModSeq(seq),
        time: Default::default(),
    }
}

fn snapshot(vfs: &dyn Vfs, position: Position) -> String {
    let counters = Counters::default();
    let first = First { store: STORE, tag: 5, position, counters, mailboxes: 0, rows: 0 };
    Writer::new(vfs, &first).unwrap().finish().unwrap();
    path_of(position.seq)
}

fn spoil(vfs: &dyn Vfs, path: &str, at: u64) {
    let file = vfs.open(path, Open::ReadWrite).unwrap();
    write_full(&*file, b"\xff\xff\xff", at).unwrap();
}

fn chosen(vfs: &dyn Vfs, found: &Found) -> (Result<u64, OpenError>, Snapshots) {
    let mut there = look(vfs, found).unwrap();
    let chosen = there.choose(vfs, found, Sabotage::None).map(|p| p.position.seq);
    (chosen, there)
}

#[test]
fn the_newest_good_one_is_chosen_then_the_older_then_the_beginning() {
    let vfs = disk();
    let found = log(&*vfs, 1, 0, 1, 0);
    let (begun, there) = chosen(&*vfs, &found);
    assert_eq!((begun.unwrap(), there.used, there.bad.len()), (0, None, 0));
    let older = snapshot(&*vfs, position(&found, 1));
    let newer = snapshot(&*vfs, position(&found, 2));
    let (begun, there) = chosen(&*vfs, &found);
    assert_eq!((begun.unwrap(), there.witness().seq, there.bad.len()), (2, 2, 0));
    assert_eq!(there.used.as_ref(), Some(&newer));
    spoil(&*vfs, &newer, 4100);
    let (begun, there) = chosen(&*vfs, &found);
    assert_eq!((begun.unwrap(), there.bad.len()), (1, 1));
    assert_eq!((there.used.as_ref(), &there.bad[0].file), (Some(&older), &newer));
    spoil(&*vfs, &older, 30);
    let (begun, there) = chosen(&*vfs, &found);
    assert_eq!((begun.unwrap(), there.used, there.bad.len()), (0, None, 2));
    assert_eq!(there.candidates.len(), 1, "one whose first page is spoilt knows nothing");
}

/// Nothing is dropped from a log today; when something is, this is what stands between it and half a store.
#[test]
fn a_log_that_has_lost_its_beginning_is_nothing_to_start_from() {
    for (number, previous, seq) in [(4, 3, 40), (4, 0, 40), (4, 3, 1)] {
        let vfs = disk();
        let found = log(&*vfs, number, previous, seq, 9);
        assert!(!found.is_whole());
        let refused = chosen(&*vfs, &found).0.unwrap_err();
        assert!(refused.to_string().contains("penfold salvage"), "{refused}");
        let snapshots = [snapshot(&*vfs, position(&found, seq)), snapshot(&*vfs, position(&found, seq + 1))];
        assert_eq!(chosen(&*vfs, &found).0.unwrap(), seq + 1);
        spoil(&*vfs, &snapshots[1], 4200);
        assert_eq!(chosen(&*vfs, &found).0.unwrap(), seq);
        spoil(&*vfs, &snapshots[0], 4200);
        let refused = chosen(&*vfs, &found).0.unwrap_err();
        let OpenError::NoBase(why) = &refused else { panic!("{refused}") };
        assert!(why.contains(&snapshots[0]) && why.contains(&snapshots[1]), "{why}");
    }
}

#[test]
fn a_snapshot_belongs_to_the_log_that_holds_its_group_or_goes_on_after_it() {
    let vfs = disk();
    let found = log(&*vfs, 1, 0, 1, 0);
    let begun = |p: Position| place(&found, &p).map(|p| (p.seq, p.segment, p.end));
    let middle = position(&found, 2);
    assert_eq!(begun(middle), Some((2, 1, middle.end)));
    assert_eq!(begun(position(&found, 3)), Some((3, 1, BORDER * 4)), "at the end of the log");
    assert_eq!(begun(Position { chain: 1, ..middle }), None);
    assert_eq!(begun(Position { seq: 9, ..middle }), None);
    assert_eq!(begun(Position { segment: 2, ..middle }), None);
    assert_eq!(begun(Position { end: u64::MAX, ..middle }), None);
    assert_eq!(begun(Position { offset: u64::MAX, ..position(&found, 3) }), None);
    // At the beginning of a segment, wherever the one before it ended.
    let start = Position { seq: 0, chain: 0, segment: 1, offset: 0, end: 0, ..middle };
    assert_eq!(begun(start), Some((0, 1, BORDER)));
    // Its own group rots: the next one names it.
    spoil(&*vfs, "1", middle.offset + 20);
    assert_eq!(begun(middle), Some((2, 1, middle.end)));
    // The last one rots: nobody vouches for it, but it is known that it was there.
    let last = Position { chain: 5, ..position(&found, 3) };
    snapshot(&*vfs, last);
    let there = look(&*vfs, &found).unwrap();
    assert_eq!((there.witness().seq, there.bad.len()), (3, 1));
    there.set_aside(&*vfs).unwrap();
    assert_eq!((snapshot::list(&*vfs).unwrap(), vfs.list(TMP).unwrap().len()), (vec![], 1));
}

#[test]
fn another_stores_snapshot_and_one_under_anothers_name_are_not_used() {
    let vfs = disk();
    let found = log(&*vfs, 1, 0, 1, 0);
    let path = snapshot(&*vfs, position(&found, 2));
    vfs.rename(&path, &path_of(1)).unwrap();
    let first = First {
        store: STORE + 1,
        tag: 5,
        position: position(&found, 3),
        counters: Counters::default(),
        mailboxes: 0,
        rows: 0,
    };
    Writer::new(&*vfs, &first).unwrap().finish().unwrap();
    let (begun, there) = chosen(&*vfs, &found);
    assert_eq!((begun.unwrap(), there.bad.len(), there.witness().seq), (0, 2, 0));
}

#[test]
fn what_a_newer_version_wrote_is_left_to_it() {
    let vfs = disk();
    let found = log(&*vfs, 1, 0, 1, 0);
    let path = snapshot(&*vfs, position(&found, 2));
    let file = vfs.open(&path, Open::ReadWrite).unwrap();
    let mut page = vfs.read(&path).unwrap()[..4096].to_vec();
    page[8] = 2;
    let crc = crc32c::crc32c(&page[..4092]).to_le_bytes();
    page[4092..].copy_from_slice(&crc);
    write_full(&*file, &page, 0).unwrap();
    assert!(matches!(look(&*vfs, &found), Err(OpenError::Newer(_))));
}
