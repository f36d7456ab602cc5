//! SEARCH and UID SEARCH (RFC 3501 s.6.4.4, s.9 `search-key`).
//!
//! The one grammar here that nests: it counts how deep, and stops at `limits::NESTING`.

use crate::flag::{Keyword, SystemFlag};
use crate::imap::code::Code;
use crate::imap::command::{Command, Request};
use crate::imap::fetch::FieldName;
use crate::imap::search::SearchKey;
use crate::imap::syntax::{Cursor, Parsed, Refusal, bad, is_atom_char};
use crate::limits;

/// Texts of one SEARCH. A person's filter has a few; each costs a look at every octet of every message.
const TEXTS: usize = 100;

pub(in crate::imap) fn search(c: &mut Cursor<'_>, uid: bool) -> Parsed<Command> {
    c.sp()?;
    let mut charset = None;
    if c.eat_word("CHARSET ") {
        charset = Some(c.text()?.to_ascii_uppercase());
        c.sp()?;
    }
    let mut keys = vec![key(c, limits::NESTING)?];
    while c.end().is_err() {
        c.sp()?;
        keys.push(key(c, limits::NESTING)?);
    }
    let key = all_of(keys);
    if texts(&key) > TEXTS {
        return Err(Refusal::No(Code::Limit, "The search asks for too many texts"));
    }
    Ok(Command::Run(Request::Search { uid, charset, key }))
}

/// How many texts are looked for.
fn texts(key: &SearchKey) -> usize {
    match key {
        SearchKey::And(keys) => keys.iter().map(texts).sum(),
        SearchKey::Or(a, b) => texts(a) + texts(b),
        SearchKey::Not(key) => texts(key),
        SearchKey::Header(..) | SearchKey::Body(_) | SearchKey::Text(_) => 1,
        _ => 0,
    }
}

/// Keys side by side as one; there is one at least.
fn all_of(mut keys: Vec<SearchKey>) -> SearchKey {
    if keys.len() == 1 { keys.remove(0) } else { SearchKey::And(keys) }
}

fn not(key: SearchKey) -> SearchKey {
    SearchKey::Not(Box::new(key))
}

fn key(c: &mut Cursor<'_>, depth: usize) -> Parsed<SearchKey> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Refusal::No(Code::Limit, "The search is nested too deeply"));
    };
    match c.peek() {
        Some(b'(') => {
            let keys = c.list(|c| key(c, depth))?;
            return if keys.is_empty() { bad("A search key is missing") } else { Ok(all_of(keys)) };
        }
        Some(b'*' | b'0'..=b'9') => return c.sequence_set().map(SearchKey::Sequence),
        _ => {}
    }
    let word = c.take_while(is_atom_char).to_ascii_uppercase();
    if let Some(key) = alone(&word) {
        return Ok(key);
    }
    let text = |c: &mut Cursor<'_>| c.astring().map(std::borrow::Cow::into_owned);
    match word.as_slice() {
        b"" => return bad("A search key is missing"),
        b"NOT" | b"OR" | b"UID" | b"KEYWORD" | b"UNKEYWORD" | b"HEADER" | b"BCC" | b"CC" | b"FROM"
        | b"SUBJECT" | b"TO" | b"BODY" | b"TEXT" | b"BEFORE" | b"ON" | b"SINCE" | b"SENTBEFORE"
        | b"SENTON" | b"SENTSINCE" | b"LARGER" | b"SMALLER" => c.sp()?,
        _ => return bad("There is no such search key"),
    }
    Ok(match word.as_slice() {
        b"NOT" => not(key(c, depth)?),
        b"OR" => {
            let either = key(c, depth)?;
            c.sp()?;
            SearchKey::Or(Box::new(either), Box::new(key(c, depth)?))
        }
        b"UID" => SearchKey::Uid(c.sequence_set()?),
        b"KEYWORD" => SearchKey::Keyword(keyword(c)?),
        b"UNKEYWORD" => not(SearchKey::Keyword(keyword(c)?)),
        b"HEADER" => {
            let name = field(&c.astring()?)?;
            c.sp()?;
            SearchKey::Header(name, text(c)?)
        }
        b"BODY" => SearchKey::Body(text(c)?),
        b"TEXT" => SearchKey::Text(text(c)?),
        b"BEFORE" => SearchKey::Before(c.date()?),
        b"ON" => SearchKey::On(c.date()?),
        b"SINCE" => SearchKey::Since(c.date()?),
        b"SENTBEFORE" => SearchKey::SentBefore(c.date()?),
        b"SENTON" => SearchKey::SentOn(c.date()?),
        b"SENTSINCE" => SearchKey::SentSince(c.date()?),
        b"LARGER" => SearchKey::Larger(c.number()?),
        b"SMALLER" => SearchKey::Smaller(c.number()?),
        // BCC, CC, FROM, SUBJECT, TO: the field of that name.
        name => SearchKey::Header(field(name)?, text(c)?),
    })
}

/// Keys without arguments.
fn alone(word: &[u8]) -> Option<SearchKey> {
    let flag = |name: &[u8]| {
        let flag = SystemFlag::ALL.into_iter().find(|f| f.name().as_bytes()[1..].eq_ignore_ascii_case(name));
        flag.map(SearchKey::Flag)
    };
    match word {
        b"ALL" => Some(SearchKey::All),
        b"RECENT" => Some(SearchKey::Recent),
        b"OLD" => Some(not(SearchKey::Recent)),
        b"NEW" => Some(SearchKey::And(vec![SearchKey::Recent, not(SearchKey::Flag(SystemFlag::Seen))])),
        word => flag(word).or_else(|| word.strip_prefix(b"UN").and_then(flag).map(not)),
    }
}

fn keyword(c: &mut Cursor<'_>) -> Parsed<Keyword> {
    Keyword::parse(c.atom()?).map_or_else(|| Err(Refusal::No(Code::Limit, "A keyword is too long")), Ok)
}

fn field(name: &[u8]) -> Parsed<FieldName> {
    FieldName::parse(name).map_or_else(|| bad("There is no such header field"), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, Refusal> {
        match search(&mut Cursor(text.as_bytes()), false) {
            Ok(Command::Run(request)) => Ok(request.to_string()),
            Ok(other) => panic!("{other:?}"),
            Err(e) => Err(e),
        }
    }

    #[test]
    fn keys() {
        for (text, want) in [
            (" ALL", "SEARCH ALL"),
            (" unseen", "SEARCH NOT SEEN"),
            (" NEW", "SEARCH RECENT NOT SEEN"),
            (" OLD", "SEARCH NOT RECENT"),
            (
                " FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\"",
                "SEARCH FLAGGED SINCE 1-Feb-1994 NOT HEADER FROM Smith",
            ),
            (" CHARSET utf-8 TEXT {6+}\r\nMoscow", "SEARCH CHARSET UTF-8 TEXT Moscow"),
            (" 1:3,* UID 5:*", "SEARCH 1:3,* UID 5:*"),
            (" OR (DELETED DRAFT) ANSWERED", "SEARCH OR (DELETED DRAFT) ANSWERED"),
            (" ((ALL))", "SEARCH ALL"),
            (" HEADER Message-ID <a@b>", "SEARCH HEADER Message-ID <a@b>"),
            (" HEADER X \"\"", "SEARCH HEADER X \"\""),
            (" KEYWORD $Junk UNKEYWORD x", "SEARCH KEYWORD $Junk NOT KEYWORD x"),
            (" LARGER 1 SMALLER 4294967295", "SEARCH LARGER 1 SMALLER 4294967295"),
            (" ON \"1-Feb-1994\" SENTSINCE 10-Mar-2020", "SEARCH ON 1-Feb-1994 SENTSINCE 10-Mar-2020"),
            (" UNDELETED ", "SEARCH NOT DELETED"),
            (" SUBJECT \"ü\"", "SEARCH HEADER SUBJECT \"ü\""),
        ] {
            assert_eq!(read(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn refused() {
        for text in
            ["", " ", " FOO", " UNRECENT", " OR ALL", " NOT", " ()", " (ALL", " ON 30-Feb-2020", " UID x"]
        {
            assert!(matches!(read(text), Err(Refusal::Bad(_))), "{text}");
        }
    }

    #[test]
    fn what_is_nested_too_deeply_is_refused() {
        let deep = 10_000;
        for text in [
            format!(" {}ALL{}", "(".repeat(deep), ")".repeat(deep)),
            format!(" {}ALL", "NOT ".repeat(deep)),
            format!(" {}ALL", "OR ALL ".repeat(deep)),
        ] {
            assert!(matches!(read(&text), Err(Refusal::No(Code::Limit, _))));
        }
        let just = format!(" {}ALL", "NOT ".repeat(limits::NESTING - 1));
        assert!(read(&just).is_ok());
    }

    #[test]
    fn what_looks_for_too_many_texts_is_refused() {
        let many = |n: usize| format!(" ALL{}", " NOT OR BODY a (HEADER X b SEEN)".repeat(n));
        assert!(read(&many(TEXTS / 2)).is_ok());
        assert!(matches!(read(&many(TEXTS / 2 + 1)), Err(Refusal::No(Code::Limit, _))));
        assert!(read(&format!(" ALL{}", " NOT SEEN".repeat(5_000))).is_ok());
    }
}
