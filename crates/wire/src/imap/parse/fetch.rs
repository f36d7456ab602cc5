//! FETCH and UID FETCH (RFC 3501 s.6.4.5, s.9 `fetch-att`).

use crate::imap::command::{Command, Request};
use crate::imap::fetch::{FetchItem, FieldName, Partial, Section, SectionItem, SectionName, SectionText};
use crate::imap::syntax::{Cursor, Parsed, bad};
use crate::limits;

/// Items of one FETCH. A client asks for a dozen; each costs a look at every message.
const ITEMS: usize = 100;

pub(in crate::imap) fn fetch(c: &mut Cursor<'_>, uid: bool) -> Parsed<Command> {
    let messages = super::messages(c, uid)?;
    c.sp()?;
    let mut items = if c.peek() == Some(b'(') {
        c.list(item)?
    } else {
        let word = c.clone().take_while(|b| b.is_ascii_alphabetic());
        match FetchItem::of_macro(word) {
            Some(items) if !matches!(c.0.get(word.len()), Some(b'.' | b'[')) => {
                c.0 = &c.0[word.len()..];
                items
            }
            _ => vec![item(c)?],
        }
    };
    c.end()?;
    if items.is_empty() {
        return bad("FETCH of nothing");
    }
    if items.len() > ITEMS {
        return bad("FETCH of too many items");
    }
    // RFC 3501 s.6.4.8: UID FETCH tells the UID, asked for or not.
    if uid && !items.contains(&FetchItem::Uid) {
        items.insert(0, FetchItem::Uid);
    }
    let mut once: Vec<FetchItem> = Vec::with_capacity(items.len());
    for item in items {
        if !once.contains(&item) {
            once.push(item);
        }
    }
    Ok(Command::Run(Request::Fetch { messages, items: once }))
}

fn item(c: &mut Cursor<'_>) -> Parsed<FetchItem> {
    let older = |section, name, peek| {
        let section = Section { part: Vec::new(), text: section };
        FetchItem::Section(SectionItem { section, peek, name, partial: None })
    };
    let name = c.take_while(|b| b.is_ascii_alphanumeric() || b == b'.').to_ascii_uppercase();
    Ok(match name.as_slice() {
        b"UID" => FetchItem::Uid,
        b"FLAGS" => FetchItem::Flags,
        b"INTERNALDATE" => FetchItem::InternalDate,
        b"RFC822.SIZE" => FetchItem::Size,
        b"ENVELOPE" => FetchItem::Envelope,
        b"BODYSTRUCTURE" => FetchItem::BodyStructure,
        b"RFC822" => older(SectionText::All, SectionName::Rfc822, false),
        b"RFC822.PEEK" => older(SectionText::All, SectionName::Rfc822, true),
        b"RFC822.HEADER" => older(SectionText::Header, SectionName::Rfc822Header, true),
        b"RFC822.TEXT" => older(SectionText::Text, SectionName::Rfc822Text, false),
        b"BODY" if c.peek() != Some(b'[') => FetchItem::Body,
        b"BODY" | b"BODY.PEEK" => {
            let section = section(c)?;
            let partial = partial(c)?;
            let peek = name.len() > 4;
            FetchItem::Section(SectionItem { section, peek, name: SectionName::Body, partial })
        }
        _ => return bad("There is no such item to FETCH"),
    })
}

fn partial(c: &mut Cursor<'_>) -> Parsed<Option<Partial>> {
    if !c.eat(b'<') {
        return Ok(None);
    }
    let first = c.number()?;
    c.expect(b'.', "A partial range needs two numbers")?;
    let count = c.nz_number()?;
    c.expect(b'>', "A partial range does not end")?;
    Ok(Some(Partial { first, count }))
}

fn section(c: &mut Cursor<'_>) -> Parsed<Section> {
    c.expect(b'[', "A section is missing")?;
    let mut section = Section::default();
    let mut dot = false;
    while c.peek().is_some_and(|b| b.is_ascii_digit()) {
        section.part.push(c.nz_number()?);
        if section.part.len() > limits::MIME_DEPTH {
            return bad("There are no parts that deep");
        }
        dot = c.eat(b'.');
        if !dot {
            break;
        }
    }
    if section.part.is_empty() || dot {
        // Behind a dot, something must come.
        let word = c.take_while(|b| b.is_ascii_alphabetic() || b == b'.').to_ascii_uppercase();
        section.text = match word.as_slice() {
            b"" if !dot => SectionText::All,
            b"HEADER" => SectionText::Header,
            b"TEXT" => SectionText::Text,
            b"MIME" if dot => SectionText::Mime,
            b"HEADER.FIELDS" => SectionText::HeaderFields(fields(c)?),
            b"HEADER.FIELDS.NOT" => SectionText::HeaderFieldsNot(fields(c)?),
            _ => return bad("There is no such section"),
        };
    }
    c.expect(b']', "A section does not end")?;
    Ok(section)
}

fn fields(c: &mut Cursor<'_>) -> Parsed<Vec<FieldName>> {
    c.sp()?;
    let fields = c.list(|c| {
        let name = c.astring()?;
        FieldName::parse(&name).map_or_else(|| bad("There is no such header field"), Ok)
    })?;
    if fields.is_empty() { bad("A list of header fields is empty") } else { Ok(fields) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Option<String> {
        let mut c = Cursor(text.as_bytes());
        match fetch(&mut c, false) {
            Ok(Command::Run(Request::Fetch { items, .. })) => {
                Some(items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            }
            _ => None,
        }
    }

    #[test]
    fn what_clients_ask_for() {
        for (text, want) in [
            (" 1 FLAGS", "FLAGS"),
            (" 1:* (FLAGS)", "FLAGS"),
            (" 1 all", "FLAGS INTERNALDATE RFC822.SIZE ENVELOPE"),
            (" 1 FAST", "FLAGS INTERNALDATE RFC822.SIZE"),
            (" 1 Full", "FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY"),
            (" 1 (UID FLAGS UID)", "UID FLAGS"),
            (" 1 RFC822.PEEK", "RFC822.PEEK"),
            (
                " 1 (RFC822.SIZE RFC822.HEADER rfc822.text RFC822)",
                "RFC822.SIZE RFC822.HEADER RFC822.TEXT RFC822",
            ),
            (" 1 BODY", "BODY"),
            (" 1 BODY[]", "BODY[]"),
            (" 1 body.peek[]<0.65536>", "BODY.PEEK[]<0.65536>"),
            (" 1 BODY[1.2.MIME]<0.65536>", "BODY[1.2.MIME]<0.65536>"),
            (" 1 BODY[1]", "BODY[1]"),
            (" 1 BODY[1.header]", "BODY[1.HEADER]"),
            (" 1 BODY[TEXT]<5.1>", "BODY[TEXT]<5.1>"),
            (
                " 1 (BODY.PEEK[HEADER.FIELDS (From To: \"Message-ID\")])",
                "BODY.PEEK[HEADER.FIELDS (From To Message-ID)]",
            ),
            (" 1 BODY.PEEK[2.HEADER.FIELDS.NOT (X)]", "BODY.PEEK[2.HEADER.FIELDS.NOT (X)]"),
        ] {
            assert_eq!(items(text).as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn refused() {
        let deep = format!(" 1 BODY[{}]", ["1"; 60].join("."));
        for text in [
            " 1",
            " 1 ",
            " 1 ()",
            " 1 (FLAGS",
            " 1 (FLAGS ALL)",
            " 1 FOO",
            " 1 BODY[",
            " 1 BODY[0]",
            " 1 BODY[1.]",
            " 1 BODY[MIME]",
            " 1 BODY[1.FOO]",
            " 1 BODY[HEADER.FIELDS]",
            " 1 BODY[HEADER.FIELDS ()]",
            " 1 BODY[HEADER.FIELDS (a:b)]",
            " 1 BODY[]<0>",
            " 1 BODY[]<0.0>",
            " 1 BODY[]<0.1",
            " 1 BODY.PEEK",
            " 0 FLAGS",
            " 1 FLAGS UID",
            &deep,
        ] {
            assert_eq!(items(text), None, "{text}");
        }
    }
}
