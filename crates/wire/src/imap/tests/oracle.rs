//! imap-codec as an oracle: what it and we both read, we must read alike.
//!
//! Its reading is printed by its own encoder and read by us again: the same request must come out. So a
//! difference in what is understood shows, and one in mere spelling does not.

use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::encode::Encoder;
use proptest::prelude::*;

use std::num::NonZeroU32;

use super::{generate, request};
use crate::ids::{SeqEnd, SeqSet};
use crate::imap::command::{Messages, Request};
use crate::imap::search::SearchKey;

/// What imap-codec understands, as text again; `None` if it understands nothing.
fn codec(line: &str) -> Option<Vec<u8>> {
    let octets = format!("{line}\r\n");
    let (rest, command) = CommandCodec::default().decode(octets.as_bytes()).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let mut text = CommandCodec::default().encode(&command).dump();
    text.truncate(text.len() - 2);
    Some(text)
}

/// Both readings of a line, where both have one.
fn both(line: &str) -> Option<(Request, Option<Request>)> {
    Some((normal(request(line.as_bytes())?), request(&codec(line)?).map(normal)))
}

/// imap-codec sorts and merges sequence sets, as RFC 3501 s.9 allows: so is done here.
fn normal(mut request: Request) -> Request {
    match &mut request {
        Request::Fetch { messages, .. }
        | Request::Store { messages, .. }
        | Request::Copy { messages, .. }
        | Request::Move { messages, .. } => match messages {
            Messages::Sequence(set) | Messages::Uid(set) => merge(set),
        },
        Request::Expunge(Some(set)) => merge(set),
        Request::Search { key, .. } => merge_in(key),
        _ => {}
    }
    request
}

fn merge_in(key: &mut SearchKey) {
    match key {
        SearchKey::Sequence(set) | SearchKey::Uid(set) => merge(set),
        SearchKey::And(keys) => keys.iter_mut().for_each(merge_in),
        SearchKey::Not(key) => merge_in(key),
        SearchKey::Or(a, b) => {
            merge_in(a);
            merge_in(b);
        }
        _ => {}
    }
}

fn merge(set: &mut SeqSet) {
    let end =
        |n: u32| NonZeroU32::new(n).filter(|n| *n != NonZeroU32::MAX).map_or(SeqEnd::Largest, SeqEnd::Number);
    let runs = set.resolve(Some(NonZeroU32::MAX));
    set.ranges = runs.as_slice().iter().map(|&(a, b)| (end(a), end(b))).collect();
}

#[test]
fn lines_that_both_read() {
    for line in [
        "a SELECT INBOX",
        "a select \"inBox\"",
        "a EXAMINE blurdybloop",
        "a CREATE owatagusiam",
        "a DELETE foo",
        "a RENAME blurdybloop \"sarasoop x\"",
        "a SUBSCRIBE #news.comp.mail.mime",
        "a UNSUBSCRIBE {4+}\r\nlist",
        "a LIST \"\" \"\"",
        "a LIST ~/Mail/ %",
        "a LSUB #news. comp.mail.*",
        "a STATUS blurdybloop (UIDNEXT MESSAGES)",
        "a CLOSE",
        "a UNSELECT",
        "a EXPUNGE",
        "a SEARCH FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\"",
        "a SEARCH CHARSET UTF-8 TEXT {6+}\r\nMoscow",
        "a SEARCH TEXT \"string not in mailbox\"",
        "a SEARCH OR (SEEN DRAFT) (UNSEEN NOT (ON 1-Jan-2020 LARGER 5))",
        "a UID SEARCH NEW UNKEYWORD foo",
        "a SEARCH OLD 1:*,7 UID 4:6",
        "a SEARCH SENTBEFORE 1-Feb-1994 SENTON 2-Feb-1994 SENTSINCE 3-Feb-1994 BEFORE 4-Feb-1994",
        "a SEARCH BCC a CC b TO c SUBJECT d HEADER x y BODY z",
        "a SEARCH ANSWERED DELETED RECENT UNANSWERED UNDELETED UNDRAFT UNFLAGGED UNSEEN SMALLER 9",
        "a FETCH 2:4 (FLAGS BODY[HEADER.FIELDS (DATE FROM)])",
        "a FETCH 1 ALL",
        "a FETCH 1 FAST",
        "a FETCH 1:*,5 FULL",
        "a UID FETCH 443:557 (UID FLAGS INTERNALDATE ENVELOPE)",
        "a FETCH 1 (BODY[] BODY.PEEK[1.2.MIME]<0.65536> BODY[TEXT] BODY[3.HEADER.FIELDS.NOT (X)])",
        "a FETCH 1 (RFC822 RFC822.SIZE RFC822.HEADER RFC822.TEXT BODY BODYSTRUCTURE)",
        "a STORE 2:4 +FLAGS (\\Deleted)",
        "a UID STORE 2 -FLAGS.SILENT (\\Seen $Forwarded)",
        "a STORE 1 FLAGS ()",
        "a STORE 1 FLAGS \\Answered \\Flagged",
        "a COPY 2:4 MEETING",
        "a UID COPY 4827313:4828442 MEETING",
        "a MOVE 42:69 foo",
        "a UID MOVE 42:69 foo",
        "a UID EXPUNGE 3000:3002",
    ] {
        let (ours, theirs) = both(line).unwrap_or_else(|| panic!("not read by both: {line}"));
        assert_eq!(theirs, Some(ours), "{line}");
    }
}

#[test]
fn lines_that_neither_reads() {
    for line in [
        "a",
        " a NOOP",
        "a SELECT",
        "a SELECT ",
        "a SELECT a b",
        "a SELECT (a)",
        "a FETCH 0 FLAGS",
        "a FETCH 1 (FLAGS",
        "a FETCH 1 BODY[0]",
        "a FETCH 1 BODY[]<1.0>",
        "a FETCH 1 BODY[MIME]",
        "a SEARCH",
        "a SEARCH ()",
        "a SEARCH OR ALL",
        "a SEARCH ON 1-Foo-2020",
        "a STATUS x UIDNEXT",
        "a STORE 1 FOO ()",
        "a COPY 1: x",
        "a UID NOOP",
        "a CLOSE x",
    ] {
        assert!(request(line.as_bytes()).is_none(), "we read {line}");
        assert!(codec(line).is_none(), "imap-codec reads {line}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn generated_requests_are_read_alike(r in generate::request()) {
        if let Some((ours, theirs)) = both(&format!("a {r}")) {
            prop_assert_eq!(theirs, Some(ours), "{}", r);
        }
    }
}
