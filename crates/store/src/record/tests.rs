//! Records: known octets, and that whatever is written is read again.

use super::*;
use crate::state::block::tests::any_row;
use crate::state::book::{Book, name};
use proptest::prelude::*;

fn encoded(record: &Record) -> Vec<u8> {
    let mut octets = Vec::new();
    record.encode(&mut octets);
    octets
}

fn decoded(octets: &[u8]) -> Result<Option<Record>, Bad> {
    let header = Header::read(octets).ok_or(Bad::Damaged)?;
    Record::decode(&header, header.meta(octets).ok_or(Bad::Damaged)?)
}

fn delivery() -> Delivery {
    Delivery {
        body: Location { segment: 1, ordinal: 544 },
        replaces: 3,
        account: AccountId(2),
        mailbox: MailboxId(7),
        uid: Uid::new(9).unwrap(),
        flags: SystemFlags::from_bits(5),
        keywords: 1 << 127,
        size: 1234,
        date: InternalDate { unix: -5, zone_minutes: -330 },
        save_date: 1_800_000_000,
        thread: Some(ThreadId(11)),
        path: "INBOX".into(),
        prefix: b"Return-Path: <>\r\n".to_vec(),
    }
}

#[test]
fn records_have_the_octets_that_they_had_from_the_first_day() {
    let octets = encoded(&Record::Commit { number: ModSeq(0x0102) });
    assert_eq!(octets.len(), 32);
    assert_eq!(&octets[..16], b"PfRc\x01\0\x01\x01\x08\0\0\0\0\0\0\0");
    assert_eq!(&octets[24..], [2, 1, 0, 0, 0, 0, 0, 0]);
    let octets = encoded(&Record::Delivery(Box::new(delivery())));
    assert_eq!(format!("{:08x}", crc32c::crc32c(&octets)), KNOWN);
    assert_eq!(octets.len(), 24 + 104, "a meta of 98 octets, padded");
    let epoch = Record::Epoch {
        tag: 0x0a0b_0c0d,
        counters: Counters { account: 2, mailbox: 7, uid_validity: 9 },
        mailboxes: vec![(MailboxId(7), UidValidity::new(9).unwrap(), 3)],
    };
    let octets = encoded(&epoch);
    assert_eq!(&octets[..12], b"PfRc\x09\0\x01\x01\x1c\0\0\0");
    assert_eq!(octets[24..40], [13, 12, 11, 10, 2, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0]);
    assert_eq!(octets[40..52], [7, 0, 0, 0, 9, 0, 0, 0, 3, 0, 0, 0]);
    let mut body = Vec::new();
    encode_body(&mut body, 5, &piece_crcs(b"hello"));
    assert_eq!(&body[..16], b"PfRc\x02\0\x01\x01\x04\0\0\0\x05\0\0\0");
    assert_eq!(body[24..], [0x4c, 0xbb, 0x71, 0x9a, 0, 0, 0, 0]);
}
const KNOWN: &str = "c55a4659";

fn retained_id() -> RetainedId {
    RetainedId { time: 1_800_000_000, commit: ModSeq(0x0102), mailbox: MailboxId(7) }
}

#[test]
fn what_is_brought_back_and_given_up_and_quotas_have_the_octets_that_they_had_from_the_first_day() {
    let octets = encoded(&Record::Undeleted { from: retained_id(), uids: [3, 4, 9].into_iter().collect() });
    assert_eq!(&octets[..16], b"PfRc\x0a\0\x01\x01\x28\0\0\0\0\0\0\0");
    let mut meta = Vec::new();
    meta.u64(1_800_000_000);
    meta.u64(0x0102);
    [7, 2, 3, 4, 9, 9].iter().for_each(|&n| meta.u32(n));
    assert_eq!(octets[24..], meta);
    let quota = Quota { storage: Some(0x0102), messages: None };
    let octets = encoded(&Record::Quota { account: AccountId(2), quota });
    assert_eq!(&octets[..16], b"PfRc\x29\0\x01\x01\x15\0\0\0\0\0\0\0");
    assert_eq!(octets[24..45], [2, 0, 0, 0, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let octets = encoded(&Record::Forgotten { before: 0x0102_0304 });
    assert_eq!(&octets[..16], b"PfRc\x0b\0\x01\x01\x08\0\0\0\0\0\0\0");
    assert_eq!(octets[24..], [4, 3, 2, 1, 0, 0, 0, 0]);
}

#[test]
fn books_have_the_octets_that_they_had_from_the_first_day() {
    let content = Content { at: Location { segment: 1, ordinal: 544 }, size: 0x0102 };
    let line =
        Record::Line { name: name(Book::Recipients, b"id"), content: Some(content), value: b"v".to_vec() };
    let octets = encoded(&line);
    assert_eq!(&octets[..16], b"PfRc\x31\0\x01\x01\x18\0\0\0\0\0\0\0");
    assert_eq!(octets[24..], *b"\x03\0\0\0\x02id\x01\0\0\0\x20\x02\0\0\x02\x01\0\0\x01\0\0\0v");
    let octets = encoded(&Record::LineGone { name: name(Book::Allowances, b"") });
    assert_eq!(&octets[..16], b"PfRc\x32\0\x01\x01\x05\0\0\0\0\0\0\0");
    assert_eq!(octets[24..], [1, 0, 0, 0, 6, 0, 0, 0]);
    let kept = Kept {
        body: Location { segment: 1, ordinal: 544 },
        replaces: 3,
        size: 0x0102,
        time: 5,
        name: name(Book::Queue, b"id"),
        prefix: b"A: b".to_vec(),
    };
    let octets = encoded(&Record::Kept(Box::new(kept)));
    assert_eq!(&octets[..16], b"PfRc\x30\0\x01\x01\x27\0\0\0\0\0\0\0");
    assert_eq!(octets[24..48], [1, 0, 0, 0, 32, 2, 0, 0, 3, 0, 0, 0, 2, 1, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(octets[48..63], *b"\x03\0\0\0\x01id\x04\0\0\0A: b");
    let meta = Header::read(&octets).unwrap().meta(&octets).unwrap();
    let (body, replaces, prefix) = read_placement(kind::KEPT, meta).unwrap();
    assert_eq!((body.ordinal, replaces, prefix), (544, 3, &b"A: b"[..]));
    assert_eq!(read_placement(kind::LINE, meta), None);
}

#[test]
fn reading_a_message_takes_from_its_delivery_what_it_needs() {
    let octets = encoded(&Record::Delivery(Box::new(delivery())));
    let meta = Header::read(&octets).unwrap().meta(&octets).unwrap();
    let (body, replaces, prefix) = read_placement(kind::DELIVERY, meta).unwrap();
    assert_eq!((body, replaces, prefix), (delivery().body, 3, &delivery().prefix[..]));
    assert!(meta.ends_with(prefix));
}

#[test]
fn unknown_records_are_passed_over_unless_critical() {
    let mut octets = Vec::new();
    frame(&mut octets, kind::LINE_GONE + 1, false, 0, |to| to.u32(1));
    assert_eq!(decoded(&octets), Ok(None));
    octets.clear();
    frame(&mut octets, kind::LINE_GONE + 1, true, 0, |to| to.u32(1));
    assert_eq!(decoded(&octets), Err(Bad::Newer(kind::LINE_GONE + 1, 1)));
}

fn any_runs() -> impl Strategy<Value = Runs> {
    prop::collection::vec((1u32..1_000_000, 0u32..9), 0..20).prop_map(|list| {
        let mut runs = Runs::default();
        list.iter().for_each(|&(a, n)| runs.add(a, a + n));
        runs
    })
}

fn any_delivery() -> impl Strategy<Value = Record> {
    (any_row(), any::<[u32; 5]>(), any::<bool>(), ".{0,40}", prop::collection::vec(any::<u8>(), 0..300))
        .prop_map(|(row, n, threaded, path, prefix)| {
            Record::Delivery(Box::new(Delivery {
                body: Location { segment: n[0], ordinal: n[1] },
                replaces: n[2],
                account: AccountId(n[3]),
                mailbox: MailboxId(n[4]),
                uid: row.uid,
                flags: row.flags,
                keywords: row.keywords,
                size: row.size,
                date: row.date,
                save_date: row.save_date,
                thread: threaded.then_some(row.thread),
                path,
                prefix,
            }))
        })
}

fn any_placed() -> impl Strategy<Value = Record> {
    (any::<[u32; 2]>(), ".{0,40}", prop::collection::vec(any_row(), 0..100)).prop_map(
        |(n, path, mut rows)| {
            rows.sort_by_key(|r| r.uid);
            rows.dedup_by_key(|r| r.uid);
            Record::Placed { account: AccountId(n[0]), mailbox: MailboxId(n[1]), path, rows }
        },
    )
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(Book::ALL.to_vec()), prop::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(book, key)| name(book, &key))
}

fn any_record() -> impl Strategy<Value = Record> {
    let account = any::<u32>().prop_map(AccountId);
    let mailbox = any::<u32>().prop_map(MailboxId);
    let text = ".{0,60}";
    let use_of = prop::option::of(prop::sample::select(SpecialUse::ALL.to_vec()));
    prop_oneof![
        any::<u64>().prop_map(|n| Record::Commit { number: ModSeq(n) }),
        any_delivery(),
        any_placed(),
        (mailbox.clone(), prop::collection::vec((0u8..32, any::<u128>(), any_runs()), 0..5)).prop_map(
            |(mailbox, sets)| {
                let sets = sets.into_iter().map(|(f, k, r)| (SystemFlags::from_bits(f), k, r)).collect();
                Record::Flags { mailbox, sets }
            }
        ),
        (mailbox.clone(), any_runs()).prop_map(|(mailbox, uids)| Record::Expunged { mailbox, uids }),
        (mailbox.clone(), 0u8..128, "[a-zA-Z$]{1,20}").prop_map(|(mailbox, bit, k)| Record::Keyword {
            mailbox,
            bit,
            keyword: Keyword::parse(k.as_bytes()).unwrap()
        }),
        any::<(u32, u64)>().prop_map(|(number, octets)| Record::Side { number, octets }),
        any::<u32>().prop_map(|number| Record::SideGone { number }),
        (any::<[u32; 4]>(), prop::collection::vec((any::<u32>(), 1u32.., any::<u32>()), 0..50)).prop_map(
            |(n, list)| Record::Epoch {
                tag: n[0],
                counters: Counters { account: n[1], mailbox: n[2], uid_validity: n[3] },
                mailboxes: list
                    .into_iter()
                    .map(|(id, v, next)| (MailboxId(id), UidValidity::new(v).unwrap(), next))
                    .collect(),
            }
        ),
        (any::<(u64, u64)>(), mailbox.clone(), any_runs()).prop_map(|((time, commit), mailbox, uids)| {
            Record::Undeleted { from: RetainedId { time, commit: ModSeq(commit), mailbox }, uids }
        }),
        any::<u64>().prop_map(|before| Record::Forgotten { before }),
        (mailbox.clone(), account.clone(), text, 1u32.., use_of).prop_map(
            |(id, account, path, v, special_use)| {
                Record::Mailbox { id, account, path, uid_validity: UidValidity::new(v).unwrap(), special_use }
            }
        ),
        mailbox.clone().prop_map(|id| Record::MailboxGone { id }),
        (mailbox, text).prop_map(|(id, path)| Record::MailboxPath { id, path }),
        (account.clone(), text, any::<bool>()).prop_map(|(account, path, on)| Record::Subscribed {
            account,
            path,
            on
        }),
        text.prop_map(|name| Record::Domain { name }),
        text.prop_map(|name| Record::DomainGone { name }),
        (account.clone(), text, text, any::<i64>())
            .prop_map(|(id, login, password, created)| Record::Account { id, login, password, created }),
        account.clone().prop_map(|id| Record::AccountGone { id }),
        (account.clone(), text, any::<u64>()).prop_map(|(id, password, credentials)| Record::Password {
            id,
            password,
            credentials
        }),
        (account.clone(), text).prop_map(|(account, address)| Record::Address { account, address }),
        (account, text).prop_map(|(account, address)| Record::AddressGone { account, address }),
        (text, prop::collection::vec(text, 0..5)).prop_map(|(address, to)| Record::Alias { address, to }),
        text.prop_map(|address| Record::AliasGone { address }),
        (any::<[u32; 4]>(), any::<i64>(), any_name(), prop::collection::vec(any::<u8>(), 0..300)).prop_map(
            |(n, time, name, prefix)| {
                let body = Location { segment: n[0], ordinal: n[1] };
                Record::Kept(Box::new(Kept { body, replaces: n[2], size: n[3], time, name, prefix }))
            }
        ),
        (
            any_name(),
            prop::option::of((any::<[u32; 2]>(), 1u32..)),
            prop::collection::vec(any::<u8>(), 0..300)
        )
            .prop_map(|(name, content, value)| {
                let at = |n: [u32; 2]| Location { segment: n[0], ordinal: n[1] };
                let content = content.map(|(n, size)| Content { at: at(n), size });
                Record::Line { name, content, value }
            }),
        any_name().prop_map(|name| Record::LineGone { name }),
        any::<(u32, Option<u64>, Option<u64>)>().prop_map(|(n, storage, messages)| Record::Quota {
            account: AccountId(n),
            quota: Quota { storage, messages }
        }),
    ]
}

/// Two keywords are equal in any case; the octets tell them apart.
fn same(a: &Record, b: &Record) -> bool {
    a == b && encoded(a) == encoded(b)
}

proptest! {
    #[test]
    fn a_record_comes_back(records in prop::collection::vec(any_record(), 1..6)) {
        let mut octets = Vec::new();
        records.iter().for_each(|r| r.encode(&mut octets));
        prop_assert_eq!(octets.len() % 8, 0);
        let mut again = Vec::new();
        for (at, header, rest) in walk(&octets) {
            prop_assert_eq!(at % 8, 0);
            again.push(Record::decode(&header, header.meta(rest).unwrap()).unwrap().unwrap());
        }
        prop_assert_eq!(again.len(), records.len());
        prop_assert!(again.iter().zip(&records).all(|(a, b)| same(a, b)));
    }

    #[test]
    fn a_changed_octet_is_seen(record in any_record(), at: prop::sample::Index, bit in 0u8..8) {
        let mut octets = encoded(&record);
        let header = Header::read(&octets).unwrap();
        // The padding is nobody's.
        let at = at.index(HEADER + header.meta_len as usize);
        octets[at] ^= 1 << bit;
        prop_assert_eq!(decoded(&octets), Err(Bad::Damaged));
    }

    #[test]
    fn any_octets_can_be_read(junk in prop::collection::vec(any::<u8>(), 0..400), kind in 0u16..70) {
        crate::fuzz::store_record(&junk);
        // A meta that no version wrote, under a sound header.
        let mut octets = Vec::new();
        frame(&mut octets, kind, true, 0, |to| to.extend_from_slice(&junk));
        let _ = decoded(&octets);
        crate::fuzz::store_record(&octets);
    }
}
