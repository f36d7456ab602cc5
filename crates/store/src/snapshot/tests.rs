//! Snapshots: known octets, that what is written is read again, and that nothing else is.

use std::io;
use std::sync::Arc;

use wire::flag::{Keyword, SystemFlags};
use wire::ids::{ModSeq, Runs, Uid, UidValidity};

use super::format::{End, First, Item, PAGE};
use super::read::Flaw;
use super::write::Writer;
use super::{list, load, parse_name, path_of};
use crate::id::{AccountId, InternalDate, Location, MailboxId, ThreadId, UnixTime};
use crate::options::Sabotage;
use crate::record::{self, Record};
use crate::segment::{Bad, TMP};
use crate::state::block::{Block, Row};
use crate::state::mailbox::{Head, Mailbox};
use crate::state::vanished::Vanished;
use crate::state::world::{Counters, Position};
use crate::vfs::sim::SimDisk;
use crate::vfs::{ReadOnly, Source, Tree, Vfs};

fn first() -> First {
    let time = UnixTime { secs: 1_800_000_000, nanos: 5 };
    let position =
        Position { seq: 77, chain: 0xfeed, segment: 3, offset: 8192, end: 12288, commit: ModSeq(99), time };
    let counters = Counters { account: 2, mailbox: 9, uid_validity: 11 };
    First { store: 7, tag: 0xabcd, position, counters, mailboxes: 2, rows: 40 }
}

fn row(uid: u32) -> Row {
    Row {
        uid: Uid::new(uid).unwrap(),
        modseq: ModSeq(90),
        flags: SystemFlags::from_bits(5),
        keywords: u128::from(uid % 3),
        size: 1000 + uid,
        date: InternalDate { unix: -5, zone_minutes: -330 },
        save_date: 1_800_000_000,
        thread: ThreadId(11),
        content: Location { segment: 2, ordinal: uid },
    }
}

const INBOX: MailboxId = MailboxId(4);
const WORK: MailboxId = MailboxId(9);

/// A mailbox with 40 messages and some that are gone, and its blocks.
fn inbox() -> (Mailbox, Vec<Arc<Block>>) {
    let mut mailbox = Mailbox::new(INBOX, UidValidity::new(10).unwrap(), ModSeq(1));
    let rows: Vec<Row> = (1..=45).map(row).collect();
    mailbox.append(&rows, ModSeq(91));
    mailbox.expunge(&[3u32, 4, 9, 20, 45].into_iter().collect::<Runs>(), ModSeq(95));
    let blocks = mailbox.rows.as_ref().unwrap().table.blocks().cloned().collect();
    (mailbox, blocks)
}

fn named(id: MailboxId, path: &str, uid_validity: u32) -> Item {
    Item::Said(Record::Mailbox {
        id,
        account: AccountId(2),
        path: path.into(),
        uid_validity: UidValidity::new(uid_validity).unwrap(),
        special_use: None,
    })
}

/// A small, complete state.
fn items() -> Vec<Item> {
    let (mailbox, blocks) = inbox();
    let keyword = |bit, word: &[u8]| {
        Item::Said(Record::Keyword { mailbox: INBOX, bit, keyword: Keyword::parse(word).unwrap() })
    };
    let said = [
        Record::Domain { name: "example.org".into() },
        Record::Account { id: AccountId(2), login: "alice".into(), password: "$h$".into(), created: 17 },
        Record::Password { id: AccountId(2), password: "$h$".into(), credentials: 3 },
        Record::Address { account: AccountId(2), address: "alice@example.org".into() },
        Record::Subscribed { account: AccountId(2), path: "gone".into(), on: true },
        Record::Alias { address: "post@example.org".into(), to: vec!["alice@example.org".into()] },
    ];
    let mut items: Vec<Item> = said.into_iter().map(Item::Said).collect();
    items.push(named(INBOX, "INBOX", 10));
    items.push(named(WORK, "Work", 11));
    items.push(Item::Head { mailbox: INBOX, head: mailbox.head });
    items.push(keyword(0, b"$Junk"));
    items.push(keyword(1, b"todo"));
    items.push(Item::Vanished { mailbox: INBOX, vanished: mailbox.rows.unwrap().vanished });
    items.extend(blocks.into_iter().map(|block| Item::Rows { mailbox: INBOX, blocks: vec![block] }));
    items.push(Item::Head { mailbox: WORK, head: Head::new(UidValidity::new(11).unwrap(), ModSeq(2)) });
    items.push(Item::Entry { key: b"a\0\0\0\x05".to_vec(), value: 70_000u64.to_le_bytes().to_vec() });
    items
}

fn disk() -> Arc<dyn Vfs> {
    let vfs = SimDisk::new(1).vfs();
    vfs.create_dir_all(TMP).unwrap();
    vfs
}

fn written(vfs: &dyn Vfs, first: &First, items: &[Item]) -> String {
    let mut writer = Writer::new(vfs, first).unwrap();
    items.iter().for_each(|item| assert!(!writer.push(item).unwrap()));
    let octets = writer.finish().unwrap();
    let path = path_of(first.position.seq);
    assert_eq!(vfs.len(&path).unwrap(), octets);
    path
}

#[test]
fn a_snapshot_has_the_octets_that_it_had_from_the_first_day() {
    let page = first().encode();
    assert_eq!((page.len(), &page[..20]), (PAGE, &b"PFSNAP01\x01\0\0\0\xcd\xab\0\0\x07\0\0\0"[..]));
    assert_eq!(page[32..48], [77, 0, 0, 0, 0, 0, 0, 0, 0xed, 0xfe, 0, 0, 0, 0, 0, 0]);
    assert_eq!(First::decode(&page), Ok(first()));
    let (mailbox, blocks) = inbox();
    let vanished = mailbox.rows.unwrap().vanished;
    let kinds = [
        (24, Item::Head { mailbox: INBOX, head: mailbox.head }, 48, 0x8b4f_8cee_u32),
        (25, Item::Rows { mailbox: INBOX, blocks }, 1868, 0xc802_4728),
        (26, Item::Vanished { mailbox: INBOX, vanished }, 84, 0x008f_8d41),
        (27, Item::Entry { key: b"a\0\0\0\x05".to_vec(), value: b"12345678".to_vec() }, 21, 0x6c4c_257c),
        (31, Item::End(End { items: 3, rows: 40, sum: 0xbeef }), 32, 0x0aa9_4e9d),
    ];
    for (kind, item, length, known) in kinds {
        let mut octets = Vec::new();
        item.encode(&mut octets);
        let meta = octets[8..12].try_into().map(u32::from_le_bytes).unwrap();
        assert_eq!(&octets[..8], &[b'P', b'f', b'R', b'c', kind, 0, 1, 1], "critical, version 1");
        assert_eq!((meta, crc32c::crc32c(&octets)), (length, known), "kind {kind}");
        let header = record::Header::read(&octets).unwrap();
        let meta = header.meta(&octets).unwrap();
        assert_eq!(Item::decode(&header, meta), Ok(Some(item)));
        assert_eq!(Record::decode(&header, meta), Err(record::Bad::Newer(kind.into(), 1)), "no log has it");
    }
}

#[test]
fn what_is_written_is_read_again() {
    let vfs = disk();
    let path = written(&*vfs, &first(), &items());
    assert_eq!((list(&*vfs).unwrap(), vfs.list(TMP).unwrap()), (vec![77], vec![]));
    assert_eq!(load::verify(&*vfs, &path).unwrap(), first());
    let (again, state) = load::load(&*vfs, &path, Sabotage::None).unwrap();
    assert_eq!((again, state.position, state.counters), (first(), first().position, first().counters));
    let (must, _) = inbox();
    let is = &state.mailboxes[&INBOX];
    let (rows, is_rows) = (must.rows.unwrap(), is.rows.clone().unwrap());
    assert_eq!(is.head, must.head);
    assert!(is_rows.table.rows().eq(rows.table.rows()) && is_rows.table.len() == 40);
    assert_eq!(is_rows.vanished, rows.vanished);
    assert_eq!(is_rows.keywords.iter().map(Keyword::as_str).collect::<Vec<_>>(), ["$Junk", "todo"]);
    assert_eq!(state.sides.into_iter().map(|(n, side)| (n, side.octets)).collect::<Vec<_>>(), [(5, 70_000)]);
    let account = state.directory.login("alice").unwrap();
    assert_eq!((account.credentials, account.created.secs, &account.mailboxes), (3, 17, &vec![INBOX, WORK]));
    assert!(account.subscriptions.contains("gone") && state.directory.has_domain("example.org"));
    assert!(state.directory.resolve("post@example.org").is_some());
    assert!(state.directory.mailbox_at(account.id, "inbox").is_some());
}

/// A tree of one file.
#[derive(Clone, Debug)]
struct One(Arc<Vec<u8>>);

impl Tree for One {
    fn open(&self, path: &str) -> io::Result<Arc<dyn Source>> {
        if path == "it" { Ok(Arc::new(self.clone())) } else { Err(io::ErrorKind::NotFound.into()) }
    }
    fn list(&self, _: &str) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

impl Source for One {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

#[test]
fn every_octet_that_is_changed_and_every_cut_is_noticed() {
    let vfs = disk();
    let path = written(&*vfs, &first(), &items());
    let whole = vfs.read(&path).unwrap();
    let is_good = |octets: Vec<u8>| load::verify(&ReadOnly(One(Arc::new(octets))), "it").is_ok();
    assert!(is_good(whole.clone()) && !is_good([&whole[..], &[0]].concat()));
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(!is_good(changed), "octet {at}");
        assert!(!is_good(whole[..at].to_vec()), "cut at {at}");
    }
    assert!(matches!(load::verify(&ReadOnly(One(Arc::default())), "other"), Err(Flaw::Io(_))));
}

/// Records that are sound by themselves, in a file that is, and do not make a state.
#[test]
fn what_does_not_fit_together_is_no_snapshot() {
    let find = |what: fn(&Item) -> bool| items().iter().position(what).unwrap();
    let rows = find(|i| matches!(i, Item::Rows { .. }));
    let head = find(|i| matches!(i, Item::Head { .. }));
    let keyword = find(|i| matches!(i, Item::Said(Record::Keyword { .. })));
    let entry = items().len() - 1;
    type Spoil = Box<dyn Fn(&mut Vec<Item>)>;
    let cases: Vec<(&str, Spoil)> = vec![
        ("rows are missing", Box::new(move |i| drop(i.remove(rows)))),
        ("rows come twice", Box::new(move |i| i.insert(rows, i[rows].clone()))),
        ("rows are out of order", Box::new(move |i| i.swap(rows, rows + 1))),
        ("rows of another", Box::new(move |i| i.swap(head, rows))),
        ("a head is missing", Box::new(move |i| drop(i.remove(entry - 1)))),
        ("a head comes twice", Box::new(move |i| i.insert(entry, i[entry - 1].clone()))),
        ("a name is missing", Box::new(move |i| drop(i.remove(head - 1)))),
        ("a keyword is missing", Box::new(move |i| drop(i.remove(keyword)))),
        (
            "an entry of nothing known",
            Box::new(move |i| i[entry] = Item::Entry { key: b"b".to_vec(), value: vec![] }),
        ),
        ("an entry comes twice", Box::new(move |i| i.push(i[entry].clone()))),
        ("a record of no snapshot", Box::new(|i| i.insert(0, Item::Said(Record::MailboxGone { id: INBOX })))),
        ("a name after a head", Box::new(|i| i.push(Item::Said(Record::Domain { name: "late.org".into() })))),
    ];
    let vfs = disk();
    for (what, spoil) in cases {
        let mut items = items();
        spoil(&mut items);
        let path = written(&*vfs, &first(), &items);
        assert!(matches!(load::verify(&*vfs, &path), Err(Flaw::Damaged { .. })), "{what}");
        assert!(load::load(&*vfs, &path, Sabotage::None).is_err(), "{what}");
    }
    for wrong in [First { rows: 41, ..first() }, First { mailboxes: 3, ..first() }] {
        let path = written(&*vfs, &wrong, &items());
        assert!(load::verify(&*vfs, &path).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let mut page = first().encode();
    page[8] = 2;
    assert_eq!(First::decode(&page), Err(Bad::Damaged));
    let crc = crc32c::crc32c(&page[..PAGE - 4]).to_le_bytes();
    page[PAGE - 4..].copy_from_slice(&crc);
    assert_eq!(First::decode(&page), Err(Bad::Newer(2)));
    let mut octets = Vec::new();
    record::frame(&mut octets, 28, true, 0, |to| to.push(1));
    let header = record::Header::read(&octets).unwrap();
    let item = Item::decode(&header, header.meta(&octets).unwrap());
    assert_eq!(item, Err(record::Bad::Newer(28, 1)));
}

#[test]
fn names_are_told_apart() {
    assert_eq!(parse_name("00000000000000fe.snap"), Some(254));
    for name in ["fe.snap", "00000000000000FE.snap", "00000000000000fe.snap.new", "000000000000+0fe.snap"] {
        assert_eq!(parse_name(name), None, "{name}");
    }
    assert_eq!(list(&*disk()).unwrap(), Vec::<u64>::new());
}

/// What vanished long ago is forgotten: the floor, and the numbers of chunks, come back too.
#[test]
fn a_long_list_of_what_vanished_comes_back() {
    let mut vanished = Vanished::default();
    (1..=20_000u32).for_each(|n| vanished.add(ModSeq(n.into()), &[n * 2].into_iter().collect()));
    let item = Item::Vanished { mailbox: INBOX, vanished };
    let mut octets = Vec::new();
    item.encode(&mut octets);
    let header = record::Header::read(&octets).unwrap();
    assert_eq!(Item::decode(&header, header.meta(&octets).unwrap()), Ok(Some(item)));
}
