//! What the server says: typed untagged responses, written straight into the output.
//!
//! RFC 3501 s.7 and the extensions' own. The machine writes tagged lines and its own untagged ones; a desk writes
//! its data with the same functions while its question is out. Nothing here allocates or uses `format!` where
//! messages are counted in thousands.

use super::date::DateTime;
use super::fetch::SectionItem;
use super::list::{ListAttributes, StatusItem};
use super::structure::{BodyStructure, Envelope};
use super::utf7;
use crate::flag::SystemFlags;
use crate::ids::{Runs, SeqNum, Uid, UidValidity};
use crate::machine::Away;

pub use super::code::{Code, Status};

/// Appends a number in decimal.
pub fn number(mut n: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a `string`: quoted where it may be, else a literal. NUL, which has no place in either, is left out.
pub fn string(octets: &[u8], out: &mut Vec<u8>) {
    let quotable = |b: &u8| matches!(b, 1..=9 | 11 | 12 | 14..=127);
    if octets.len() <= 1_000 && octets.iter().all(quotable) {
        quoted(octets, out);
        return;
    }
    let nuls = memchr::memchr_iter(0, octets).count();
    out.push(b'{');
    number((octets.len() - nuls) as u64, out);
    out.extend_from_slice(b"}\r\n");
    if nuls == 0 {
        out.extend_from_slice(octets);
    } else {
        out.extend(octets.iter().filter(|&&b| b != 0));
    }
}

/// Appends a `nstring`.
pub fn nstring(octets: Option<&[u8]>, out: &mut Vec<u8>) {
    match octets {
        Some(octets) => string(octets, out),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Appends octets in quotes; the caller knows that they may be quoted.
fn quoted(octets: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &b in octets {
        if matches!(b, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(b);
    }
    out.push(b'"');
}

/// Appends a mailbox name, quoted, in modified UTF-7.
pub fn mailbox(name: &str, out: &mut Vec<u8>) {
    if name.bytes().all(|b| matches!(b, 0x20..=0x7e) && b != b'&') {
        quoted(name.as_bytes(), out);
        return;
    }
    let mut encoded = Vec::with_capacity(name.len() * 2);
    utf7::encode(name, &mut encoded);
    quoted(&encoded, out);
}

/// Appends `* n WHAT`.
fn counted(n: u32, what: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"* ");
    number(n.into(), out);
    out.extend_from_slice(what);
}

/// `* n EXISTS`
pub fn exists(n: u32, out: &mut Vec<u8>) {
    counted(n, b" EXISTS\r\n", out);
}

/// `* n RECENT`
pub fn recent(n: u32, out: &mut Vec<u8>) {
    counted(n, b" RECENT\r\n", out);
}

/// `* n EXPUNGE`
pub fn expunge(n: SeqNum, out: &mut Vec<u8>) {
    counted(n.get(), b" EXPUNGE\r\n", out);
}

/// `* FLAGS (..)`: the flags that the mailbox knows: all system flags and its keywords.
pub fn flags<'k>(keywords: impl IntoIterator<Item = &'k str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"* FLAGS (");
    flag_list(SystemFlags::from_bits(0xff), false, keywords, out);
    out.extend_from_slice(b")\r\n");
}

/// Flags with spaces between them, without parentheses.
pub(super) fn flag_list<'k>(
    system: SystemFlags,
    recent: bool,
    keywords: impl IntoIterator<Item = &'k str>,
    out: &mut Vec<u8>,
) {
    let from = out.len();
    for f in system.iter() {
        out.extend_from_slice(f.name().as_bytes());
        out.push(b' ');
    }
    if recent {
        out.extend_from_slice(b"\\Recent ");
    }
    for k in keywords {
        out.extend_from_slice(k.as_bytes());
        out.push(b' ');
    }
    if out.len() > from {
        out.pop();
    }
}

/// `* OK [code] text`, and with `NO`, `BAD`, `BYE`, `PREAUTH` likewise.
pub fn untagged(status: Status, code: Option<&Code>, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"* ");
    condition(status, code, text, out);
}

/// What a client hears in place of a greeting that is turned away.
pub fn turned_away(why: Away, out: &mut Vec<u8>) {
    let text = match why {
        Away::TooMany => "Too many connections, try again later",
        Away::Opening => "The mail store is being opened, try again later",
    };
    untagged(Status::Bye, Some(&Code::Unavailable), text, out);
}

/// `tag OK [code] text`: the machine's to write.
pub(super) fn tagged(tag: &str, status: Status, code: Option<&Code>, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(tag.as_bytes());
    out.push(b' ');
    condition(status, code, text, out);
}

fn condition(status: Status, code: Option<&Code>, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(status.name().as_bytes());
    out.push(b' ');
    if let Some(code) = code {
        out.push(b'[');
        code.encode(out);
        out.extend_from_slice(b"] ");
    }
    // `text` is one TEXT-CHAR at least, ASCII: what a caller let slip in must not end the line early.
    let clean = |b: u8| if matches!(b, 0x20..=0x7e) { b } else { b'?' };
    if text.is_empty() {
        out.push(b'.');
    }
    out.extend(text.bytes().map(clean));
    out.extend_from_slice(b"\r\n");
}

/// `* STATUS name (..)`
pub fn status(name: &str, items: impl IntoIterator<Item = (StatusItem, u32)>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"* STATUS ");
    mailbox(name, out);
    out.extend_from_slice(b" (");
    for (i, (item, n)) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(item.name().as_bytes());
        out.push(b' ');
        number(n.into(), out);
    }
    out.extend_from_slice(b")\r\n");
}

/// One LIST answer. `child_info`: the name stands here because of a subscribed child (`CHILDINFO ("SUBSCRIBED")`,
/// RFC 5258 s.3.5).
pub fn list(attributes: &ListAttributes, name: &str, child_info: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"* LIST (");
    list_attributes(attributes, out);
    out.extend_from_slice(b") \"/\" ");
    mailbox(name, out);
    if child_info {
        out.extend_from_slice(b" (\"CHILDINFO\" (\"SUBSCRIBED\"))");
    }
    out.extend_from_slice(b"\r\n");
}

/// The answer to `LIST "" ""`: the delimiter and the root (RFC 3501 s.6.3.8).
pub fn list_delimiter(out: &mut Vec<u8>) {
    out.extend_from_slice(b"* LIST (\\Noselect) \"/\" \"\"\r\n");
}

/// One LSUB answer.
pub fn lsub(attributes: &ListAttributes, name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"* LSUB (");
    list_attributes(attributes, out);
    out.extend_from_slice(b") \"/\" ");
    mailbox(name, out);
    out.extend_from_slice(b"\r\n");
}

fn list_attributes(a: &ListAttributes, out: &mut Vec<u8>) {
    let told = [
        (a.non_existent, "\\NonExistent"),
        (a.no_select || a.non_existent, "\\Noselect"),
        (a.no_inferiors, "\\Noinferiors"),
        (a.children == Some(true), "\\HasChildren"),
        (a.children == Some(false), "\\HasNoChildren"),
        (a.subscribed, "\\Subscribed"),
    ];
    let names = told.iter().filter(|(is, _)| *is).map(|(_, name)| *name);
    for (i, name) in names.chain(a.special_use.map(|u| u.attribute())).enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(name.as_bytes());
    }
}

/// A SEARCH answer, number by number; `end` must be called.
#[derive(Debug)]
#[must_use = "end() closes the line"]
pub struct Search(());

impl Search {
    /// `* SEARCH`
    pub fn begin(out: &mut Vec<u8>) -> Search {
        out.extend_from_slice(b"* SEARCH");
        Search(())
    }
    /// One more message: a sequence number or a UID.
    pub fn add(&mut self, n: u32, out: &mut Vec<u8>) {
        out.push(b' ');
        number(n.into(), out);
    }
    /// The line's end.
    pub fn end(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
    }
}

/// A FETCH answer, item by item; `end` must be called. The output may be given away between any two calls.
#[derive(Debug)]
#[must_use = "end() closes the line"]
pub struct Fetch {
    begun: bool,
}

impl Fetch {
    /// `* n FETCH (`
    pub fn begin(n: SeqNum, out: &mut Vec<u8>) -> Fetch {
        counted(n.get(), b" FETCH (", out);
        Fetch { begun: false }
    }

    fn item(&mut self, name: &[u8], out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            out.push(b' ');
        }
        out.extend_from_slice(name);
    }

    /// `UID n`
    pub fn uid(&mut self, uid: Uid, out: &mut Vec<u8>) {
        self.item(b"UID ", out);
        number(uid.get().into(), out);
    }

    /// `FLAGS (..)`
    pub fn flags<'k>(
        &mut self,
        system: SystemFlags,
        recent: bool,
        keywords: impl IntoIterator<Item = &'k str>,
        out: &mut Vec<u8>,
    ) {
        self.item(b"FLAGS (", out);
        flag_list(system, recent, keywords, out);
        out.push(b')');
    }

    /// `INTERNALDATE ".."`
    pub fn internal_date(&mut self, date: DateTime, out: &mut Vec<u8>) {
        self.item(b"INTERNALDATE ", out);
        date.encode(out);
    }

    /// `RFC822.SIZE n`
    pub fn size(&mut self, octets: u32, out: &mut Vec<u8>) {
        self.item(b"RFC822.SIZE ", out);
        number(octets.into(), out);
    }

    /// `ENVELOPE (..)`
    pub fn envelope(&mut self, envelope: &Envelope, out: &mut Vec<u8>) {
        self.item(b"ENVELOPE ", out);
        envelope.encode(out);
    }

    /// `BODY (..)`: without extension data.
    pub fn body(&mut self, structure: &BodyStructure, out: &mut Vec<u8>) {
        self.item(b"BODY ", out);
        structure.encode(false, out);
    }

    /// `BODYSTRUCTURE (..)`
    pub fn body_structure(&mut self, structure: &BodyStructure, out: &mut Vec<u8>) {
        self.item(b"BODYSTRUCTURE ", out);
        structure.encode(true, out);
    }

    /// `BODY[..] {n}`: exactly `octets` octets must follow, written by the caller in as many pieces as it likes.
    pub fn literal(&mut self, item: &SectionItem, octets: u64, out: &mut Vec<u8>) {
        self.section(item, out);
        out.push(b'{');
        number(octets, out);
        out.extend_from_slice(b"}\r\n");
    }

    /// `BODY[..] NIL`: the message has no such part.
    pub fn nil(&mut self, item: &SectionItem, out: &mut Vec<u8>) {
        self.section(item, out);
        out.extend_from_slice(b"NIL");
    }

    fn section(&mut self, item: &SectionItem, out: &mut Vec<u8>) {
        use super::fetch::{SectionName, SectionText};
        match item.name {
            // The commonest one without an allocation.
            SectionName::Body
                if item.partial.is_none()
                    && item.section.part.is_empty()
                    && item.section.text == SectionText::All =>
            {
                self.item(b"BODY[]", out);
            }
            _ => self.item(item.answered_as().as_bytes(), out),
        }
        out.push(b' ');
    }

    /// `)`
    pub fn end(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b")\r\n");
    }
}

/// `* CAPABILITY ..`
pub(super) fn capability(list: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"* CAPABILITY ");
    out.extend_from_slice(list.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `* NAMESPACE`: one personal namespace without prefix, nobody else's, nothing shared (RFC 2342).
pub(super) fn namespace(out: &mut Vec<u8>) {
    out.extend_from_slice(b"* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
}

/// `* ID ("name" "Penfold")` (RFC 2971). No version: who wants to know it is rarely a friend.
pub(super) fn id(out: &mut Vec<u8>) {
    out.extend_from_slice(b"* ID (\"name\" \"Penfold\")\r\n");
}

/// `* ENABLED`, with nothing behind it: none of what is offered needs enabling (RFC 5161 s.3.2).
pub(super) fn enabled(out: &mut Vec<u8>) {
    out.extend_from_slice(b"* ENABLED\r\n");
}

/// Appends a `uid-set` (RFC 4315 s.4).
pub(super) fn runs(set: &Runs, out: &mut Vec<u8>) {
    for (i, &(a, b)) in set.as_slice().iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        number(a.into(), out);
        if a != b {
            out.push(b':');
            number(b.into(), out);
        }
    }
}

/// Appends `APPENDUID validity uid` and the like.
pub(super) fn uid_validity(name: &[u8], validity: UidValidity, out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.push(b' ');
    number(validity.get().into(), out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::{SpecialUse, SystemFlag};
    use crate::imap::fetch::{Section, SectionName};

    fn said(f: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn numbers() {
        for n in [0, 9, 10, 4_294_967_295, u64::MAX] {
            assert_eq!(said(|o| number(n, o)), n.to_string());
        }
    }

    #[test]
    fn strings() {
        assert_eq!(said(|o| string(b"a\"b\\", o)), r#""a\"b\\""#);
        assert_eq!(said(|o| string(b"a\r\nb", o)), "{4}\r\na\r\nb");
        assert_eq!(said(|o| string("ü".as_bytes(), o)), "{2}\r\nü");
        assert_eq!(said(|o| string(b"a\0b", o)), "{2}\r\nab");
        assert_eq!(said(|o| nstring(None, o)), "NIL");
        assert_eq!(said(|o| mailbox("Entwürfe & \"mehr\"", o)), r#""Entw&APw-rfe &- \"mehr\"""#);
    }

    #[test]
    fn a_fetch_item_by_item() {
        let uid = Uid::new(7).expect("not zero");
        let seq = SeqNum::new(3).expect("not zero");
        let item =
            SectionItem { section: Section::default(), peek: true, name: SectionName::Body, partial: None };
        let text = said(|o| {
            let mut f = Fetch::begin(seq, o);
            f.uid(uid, o);
            f.flags(SystemFlags::NONE.with(SystemFlag::Seen), true, ["$Junk"], o);
            f.size(5, o);
            f.literal(&item, 5, o);
            o.extend_from_slice(b"he((o");
            f.internal_date(DateTime { unix: 0, zone_minutes: 0 }, o);
            f.end(o);
        });
        assert_eq!(
            text,
            "* 3 FETCH (UID 7 FLAGS (\\Seen \\Recent $Junk) RFC822.SIZE 5 BODY[] {5}\r\nhe((o \
             INTERNALDATE \" 1-Jan-1970 00:00:00 +0000\")\r\n"
        );
    }

    #[test]
    fn lists() {
        let a = ListAttributes {
            children: Some(false),
            special_use: Some(SpecialUse::Sent),
            ..ListAttributes::default()
        };
        assert_eq!(
            said(|o| list(&a, "Sent", false, o)),
            "* LIST (\\HasNoChildren \\Sent) \"/\" \"Sent\"\r\n"
        );
        let a = ListAttributes { non_existent: true, ..ListAttributes::default() };
        assert_eq!(
            said(|o| list(&a, "x", true, o)),
            "* LIST (\\NonExistent \\Noselect) \"/\" \"x\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n"
        );
        assert_eq!(said(|o| lsub(&ListAttributes::default(), "x", o)), "* LSUB () \"/\" \"x\"\r\n");
    }

    #[test]
    fn conditions_are_one_line() {
        assert_eq!(said(|o| untagged(Status::Ok, None, "a\r\nb", o)), "* OK a??b\r\n");
        assert_eq!(
            said(|o| tagged("t", Status::No, Some(&Code::TryCreate), "", o)),
            "t NO [TRYCREATE] .\r\n"
        );
    }

    #[test]
    fn statuses_and_searches() {
        assert_eq!(
            said(|o| status("a", [(StatusItem::Messages, 1), (StatusItem::UidNext, 2)], o)),
            "* STATUS \"a\" (MESSAGES 1 UIDNEXT 2)\r\n"
        );
        let text = said(|o| {
            let mut s = Search::begin(o);
            s.add(2, o);
            s.add(84, o);
            s.end(o);
        });
        assert_eq!(text, "* SEARCH 2 84\r\n");
        assert_eq!(said(|o| Search::begin(o).end(o)), "* SEARCH\r\n");
    }
}
