//! Requests as they can come out of the parser.

use std::num::NonZeroU32;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::flag::{FlagNames, Keyword, SpecialUse, SystemFlag, SystemFlags};
use crate::ids::{SeqEnd, SeqSet};
use crate::imap::command::{Append, Messages, Request, StoreHow};
use crate::imap::date::{Date, DateTime};
use crate::imap::fetch::{FetchItem, FieldName, Partial, Section, SectionItem, SectionName, SectionText};
use crate::imap::list::{List, ListReturn, ListSelect, StatusItem};
use crate::imap::name::{MailboxName, with_inbox};
use crate::imap::search::SearchKey;

fn some<T: std::fmt::Debug>(strategy: impl Strategy<Value = Option<T>>) -> impl Strategy<Value = T> {
    strategy.prop_filter_map("not one", |x| x)
}

fn mailbox() -> impl Strategy<Value = MailboxName> {
    some(
        "(inbox|[a-cA-C&ü台😀 \"\\\\%*(){}~+-]{1,5})(/[a-c&é.]{1,4}){0,2}"
            .prop_map(|s| MailboxName::parse(&s).ok()),
    )
}

fn pattern() -> impl Strategy<Value = String> {
    "[a-c&ü%*/ \"\\\\]{0,8}|inbox/%".prop_map(|s| with_inbox(&s))
}

fn number() -> impl Strategy<Value = NonZeroU32> {
    some(prop_oneof![1u32..20, any::<u32>()].prop_map(NonZeroU32::new))
}

fn set() -> impl Strategy<Value = SeqSet> {
    let end = || prop_oneof![4 => number().prop_map(SeqEnd::Number), 1 => Just(SeqEnd::Largest)];
    let range = prop_oneof![(end(), end()), end().prop_map(|e| (e, e))];
    vec(range, 1..4).prop_map(|ranges| SeqSet { ranges })
}

fn messages() -> impl Strategy<Value = Messages> {
    (any::<bool>(), set()).prop_map(|(uid, s)| if uid { Messages::Uid(s) } else { Messages::Sequence(s) })
}

fn keyword() -> impl Strategy<Value = Keyword> {
    some("[$a-cA-C]{1,5}".prop_map(|s| Keyword::parse(s.as_bytes())))
}

fn flags() -> impl Strategy<Value = FlagNames> {
    (any::<u8>(), vec(keyword(), 0..3)).prop_map(|(bits, keywords)| {
        let mut names = FlagNames { system: SystemFlags::from_bits(bits), keywords: vec![] };
        keywords.into_iter().for_each(|k| names.add_keyword(k));
        names
    })
}

fn field() -> impl Strategy<Value = FieldName> {
    some("[A-Za-z(\"\\\\-]{1,8}".prop_map(|s| FieldName::parse(s.as_bytes())))
}

fn date() -> impl Strategy<Value = Date> {
    some((0u16..=9999, 1u8..13, 1u8..32).prop_map(|(y, m, d)| Date::new(y, m, d)))
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    "[a-z \"\\\\ü\r\n{}(*)]{0,6}".prop_map(String::into_bytes)
}

fn key() -> impl Strategy<Value = SearchKey> {
    let leaf = prop_oneof![
        Just(SearchKey::All),
        Just(SearchKey::Recent),
        set().prop_map(SearchKey::Sequence),
        set().prop_map(SearchKey::Uid),
        select(SystemFlag::ALL.to_vec()).prop_map(SearchKey::Flag),
        keyword().prop_map(SearchKey::Keyword),
        (field(), text()).prop_map(|(f, t)| SearchKey::Header(f, t)),
        text().prop_map(SearchKey::Body),
        text().prop_map(SearchKey::Text),
        date().prop_map(SearchKey::Before),
        date().prop_map(SearchKey::On),
        date().prop_map(SearchKey::Since),
        date().prop_map(SearchKey::SentBefore),
        date().prop_map(SearchKey::SentOn),
        date().prop_map(SearchKey::SentSince),
        any::<u32>().prop_map(SearchKey::Larger),
        any::<u32>().prop_map(SearchKey::Smaller),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(SearchKey::And),
            inner.clone().prop_map(|k| SearchKey::Not(Box::new(k))),
            (inner.clone(), inner).prop_map(|(a, b)| SearchKey::Or(Box::new(a), Box::new(b))),
        ]
    })
}

fn section() -> impl Strategy<Value = SectionItem> {
    let text = prop_oneof![
        Just(SectionText::All),
        Just(SectionText::Header),
        Just(SectionText::Text),
        Just(SectionText::Mime),
        vec(field(), 1..3).prop_map(SectionText::HeaderFields),
        vec(field(), 1..3).prop_map(SectionText::HeaderFieldsNot),
    ];
    let partial = option::of((any::<u32>(), number()).prop_map(|(first, count)| Partial { first, count }));
    (vec(number(), 0..4), text, any::<bool>(), partial).prop_map(|(part, text, peek, partial)| {
        let text = if part.is_empty() && text == SectionText::Mime { SectionText::All } else { text };
        SectionItem { section: Section { part, text }, peek, name: SectionName::Body, partial }
    })
}

fn item() -> impl Strategy<Value = FetchItem> {
    let older = |text, name, peek| {
        let section = Section { part: vec![], text };
        Just(FetchItem::Section(SectionItem { section, peek, name, partial: None }))
    };
    prop_oneof![
        Just(FetchItem::Uid),
        Just(FetchItem::Flags),
        Just(FetchItem::InternalDate),
        Just(FetchItem::Size),
        Just(FetchItem::Envelope),
        Just(FetchItem::Body),
        Just(FetchItem::BodyStructure),
        older(SectionText::All, SectionName::Rfc822, false),
        older(SectionText::All, SectionName::Rfc822, true),
        older(SectionText::Header, SectionName::Rfc822Header, true),
        older(SectionText::Text, SectionName::Rfc822Text, false),
        section().prop_map(FetchItem::Section),
        section().prop_map(FetchItem::Section),
    ]
}

fn fetch() -> impl Strategy<Value = Request> {
    (messages(), vec(item(), 1..5)).prop_map(|(messages, asked)| {
        let mut items = Vec::new();
        for item in asked {
            if !items.contains(&item) {
                items.push(item);
            }
        }
        if messages.by_uid() && !items.contains(&FetchItem::Uid) {
            items.insert(0, FetchItem::Uid);
        }
        Request::Fetch { messages, items }
    })
}

fn statuses(least: usize) -> impl Strategy<Value = Vec<StatusItem>> {
    subsequence(StatusItem::ALL.to_vec(), least..=5)
}

fn list() -> impl Strategy<Value = List> {
    let plain = pattern().prop_map(|p| List { patterns: vec![p], ..List::default() });
    let bools = vec(any::<bool>(), 7);
    let extended = (vec(pattern(), 1..3), bools, statuses(0)).prop_map(|(patterns, b, status)| List {
        reference: String::new(),
        patterns,
        select: ListSelect {
            subscribed: b[0],
            remote: b[1],
            recursive_match: b[2] && (b[0] || b[3]),
            special_use: b[3],
        },
        give: ListReturn { subscribed: b[0] || b[4], children: b[5], special_use: b[3] || b[6], status },
        extended: true,
    });
    prop_oneof![plain, extended]
}

/// APPEND.
pub(super) fn append() -> impl Strategy<Value = Append> {
    let date = option::of((0i64..200_000_000_000, -900i16..900))
        .prop_map(|d| d.map(|(unix, zone_minutes)| DateTime { unix, zone_minutes }));
    (mailbox(), flags(), date, 1u64..1_000_000).prop_map(|(mailbox, flags, date, size)| Append {
        mailbox,
        flags,
        date,
        size,
    })
}

/// All that a desk is asked.
pub(super) fn request() -> impl Strategy<Value = Request> {
    let how = select(vec![StoreHow::Replace, StoreHow::Add, StoreHow::Remove]);
    let charset = option::of(select(vec!["UTF-8".to_owned(), "US-ASCII".to_owned()]));
    prop_oneof![
        (mailbox(), any::<bool>()).prop_map(|(mailbox, read_only)| Request::Select { mailbox, read_only }),
        (mailbox(), option::of(select(SpecialUse::ALL.to_vec())))
            .prop_map(|(mailbox, special_use)| Request::Create { mailbox, special_use }),
        mailbox().prop_map(Request::Delete),
        (mailbox(), mailbox()).prop_map(|(from, to)| Request::Rename { from, to }),
        mailbox().prop_map(Request::Subscribe),
        mailbox().prop_map(Request::Unsubscribe),
        list().prop_map(Request::List),
        pattern().prop_map(|pattern| Request::Lsub { pattern }),
        (mailbox(), statuses(1)).prop_map(|(mailbox, items)| Request::Status { mailbox, items }),
        Just(Request::Close),
        Just(Request::Unselect),
        option::of(set()).prop_map(Request::Expunge),
        (any::<bool>(), charset, key()).prop_map(|(uid, charset, key)| Request::Search { uid, charset, key }),
        fetch(),
        (messages(), how, any::<bool>(), flags()).prop_map(|(messages, how, silent, flags)| Request::Store {
            messages,
            how,
            silent,
            flags
        }),
        (messages(), mailbox()).prop_map(|(messages, to)| Request::Copy { messages, to }),
        (messages(), mailbox()).prop_map(|(messages, to)| Request::Move { messages, to }),
    ]
}
