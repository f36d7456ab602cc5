//! LIST, LSUB and STATUS (RFC 3501 s.6.3.8 to s.6.3.10, RFC 5258 s.6, RFC 5819 s.4, RFC 6154 s.6).

use crate::imap::code::Code;
use crate::imap::command::{Command, Request};
use crate::imap::list::{List, StatusItem};
use crate::imap::name::with_inbox;
use crate::imap::syntax::{Cursor, Parsed, Refusal, bad, is_atom_char, short_enough};

/// Patterns of one LIST: each is held against each mailbox.
const PATTERNS: usize = 100;

pub(in crate::imap) fn list(c: &mut Cursor<'_>) -> Parsed<Command> {
    let mut list = List::default();
    c.sp()?;
    if c.peek() == Some(b'(') {
        list.extended = true;
        c.list(|c| select_option(c, &mut list))?;
        let s = &list.select;
        if s.recursive_match && !s.subscribed && !s.special_use {
            return bad("RECURSIVEMATCH needs another selection option");
        }
        c.sp()?;
    }
    list.reference = c.reference()?;
    c.sp()?;
    if c.peek() == Some(b'(') {
        list.extended = true;
        list.patterns = c.list(Cursor::pattern)?;
        if list.patterns.is_empty() {
            return bad("LIST without a pattern");
        }
    } else {
        list.patterns = vec![c.pattern()?];
    }
    if list.patterns.len() > PATTERNS {
        return Err(Refusal::No(Code::Limit, "Too many patterns"));
    }
    if c.end().is_err() {
        c.sp()?;
        if !c.eat_word("RETURN ") {
            return bad("Only RETURN may follow a pattern");
        }
        list.extended = true;
        c.list(|c| return_option(c, &mut list))?;
    }
    // RFC 5258 s.3.1, RFC 6154 s.5.2: what is selected by is told too.
    list.give.subscribed |= list.select.subscribed;
    list.give.special_use |= list.select.special_use;
    if !list.asks_delimiter() {
        for pattern in &mut list.patterns {
            *pattern = short_enough(with_inbox(&format!("{}{pattern}", list.reference)))?;
        }
        list.reference.clear();
    }
    c.end()?;
    Ok(Command::Run(Request::List(list)))
}

fn select_option(c: &mut Cursor<'_>, list: &mut List) -> Parsed<()> {
    let select = &mut list.select;
    match c.take_while(is_atom_char).to_ascii_uppercase().as_slice() {
        b"SUBSCRIBED" => select.subscribed = true,
        b"REMOTE" => select.remote = true,
        b"RECURSIVEMATCH" => select.recursive_match = true,
        b"SPECIAL-USE" => select.special_use = true,
        _ => return bad("There is no such selection option"),
    }
    Ok(())
}

fn return_option(c: &mut Cursor<'_>, list: &mut List) -> Parsed<()> {
    let give = &mut list.give;
    match c.take_while(is_atom_char).to_ascii_uppercase().as_slice() {
        b"SUBSCRIBED" => give.subscribed = true,
        b"CHILDREN" => give.children = true,
        b"SPECIAL-USE" => give.special_use = true,
        b"STATUS" => {
            c.sp()?;
            give.status = status_items(c)?;
        }
        _ => return bad("There is no such return option"),
    }
    Ok(())
}

/// RFC 3501 s.6.3.9.
pub(in crate::imap) fn lsub(c: &mut Cursor<'_>) -> Parsed<Command> {
    c.sp()?;
    let reference = c.reference()?;
    c.sp()?;
    let pattern = c.pattern()?;
    c.end()?;
    Ok(Command::Run(Request::Lsub { pattern: short_enough(with_inbox(&(reference + &pattern)))? }))
}

/// RFC 3501 s.6.3.10.
pub(in crate::imap) fn status(c: &mut Cursor<'_>) -> Parsed<Command> {
    c.sp()?;
    let mailbox = c.mailbox()?;
    c.sp()?;
    let items = status_items(c)?;
    c.end()?;
    Ok(Command::Run(Request::Status { mailbox, items }))
}

fn status_items(c: &mut Cursor<'_>) -> Parsed<Vec<StatusItem>> {
    let mut once = Vec::new();
    c.list(|c| match StatusItem::parse(c.take_while(is_atom_char)) {
        Some(item) => {
            if !once.contains(&item) {
                once.push(item);
            }
            Ok(())
        }
        None => bad("There is no such STATUS item"),
    })?;
    if once.is_empty() { bad("STATUS of nothing") } else { Ok(once) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        match list(&mut Cursor(text.as_bytes())) {
            Ok(Command::Run(request)) => Some(request.to_string()),
            _ => None,
        }
    }

    #[test]
    fn lists() {
        for (text, want) in [
            (r#" "" """#, r#"LIST "" """#),
            (r#" "" *"#, r#"LIST "" "*""#),
            (r#" "" "%/%""#, r#"LIST "" "%/%""#),
            (r#" inbox/ %"#, r#"LIST "" "INBOX/%""#),
            (r#" "" "Entw&APw-*""#, r#"LIST "" "Entw&APw-*""#),
            (
                r#" (subscribed) "" "*" return (special-use)"#,
                r#"LIST (SUBSCRIBED) "" "*" RETURN (SUBSCRIBED SPECIAL-USE)"#,
            ),
            (
                r#" "" "*" RETURN (CHILDREN STATUS (MESSAGES UNSEEN))"#,
                r#"LIST () "" "*" RETURN (CHILDREN STATUS (MESSAGES UNSEEN))"#,
            ),
            (r#" () "" ("INBOX" "a*")"#, r#"LIST () "" ("INBOX" "a*") RETURN ()"#),
            (
                r#" (SUBSCRIBED RECURSIVEMATCH REMOTE) "" %"#,
                r#"LIST (SUBSCRIBED REMOTE RECURSIVEMATCH) "" "%" RETURN (SUBSCRIBED)"#,
            ),
        ] {
            assert_eq!(read(text).as_deref(), Some(want), "{text}");
        }
        for text in [
            "",
            r#" """#,
            r#" (RECURSIVEMATCH) "" *"#,
            r#" (RECURSIVEMATCH REMOTE) "" *"#,
            r#" (FOO) "" *"#,
            r#" "" * RETURN (FOO)"#,
            r#" "" * RETURN (STATUS ())"#,
            r#" "" * FOO"#,
            r#" "" ()"#,
            r#" "" "a&b""#,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn the_delimiter_is_asked_for_by_an_empty_pattern() {
        let asks = |text: &str| match list(&mut Cursor(text.as_bytes())) {
            Ok(Command::Run(Request::List(l))) => l.asks_delimiter(),
            other => panic!("{other:?}"),
        };
        assert!(asks(r#" "" """#));
        assert!(asks(r#" "a/b" """#));
        assert!(!asks(r#" "" "" RETURN ()"#));
    }
}
