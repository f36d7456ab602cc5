//! Commands as a client would write them: for logs, dialogues and the tests that parse what is printed.
//!
//! RFC 3501 s.9. Passwords are never printed: `Request` has none.

use std::fmt::{self, Display, Formatter, Write};

use super::command::{Append, Messages, Request, StoreHow};
use super::list::List;
use super::name::MailboxName;
use super::search::SearchKey;
use super::{syntax, utf7};
use crate::flag::{FlagNames, Keyword, SystemFlag};
use crate::ids::{SeqEnd, SeqSet};

/// Prints an `astring`: an atom where that will do, else a quoted string, else a literal.
pub(super) fn astring(f: &mut Formatter<'_>, octets: &[u8]) -> fmt::Result {
    if !octets.is_empty() && octets.iter().all(|&b| syntax::is_astring_char(b)) {
        return f.write_str(&String::from_utf8_lossy(octets));
    }
    let text = String::from_utf8_lossy(octets);
    if octets.iter().any(|b| matches!(b, b'\r' | b'\n')) {
        return write!(f, "{{{}+}}\r\n{text}", text.len());
    }
    f.write_char('"')?;
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    f.write_char('"')
}

struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        utf7::encode(self.0, &mut out);
        astring(f, &out)
    }
}

/// A pattern, always quoted: `*` and `%` may stand in it.
struct Pattern<'a>(&'a str);

impl Display for Pattern<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        utf7::encode(self.0, &mut out);
        let text = String::from_utf8_lossy(&out).replace('\\', "\\\\").replace('"', "\\\"");
        write!(f, "\"{text}\"")
    }
}

fn name(m: &MailboxName) -> Name<'_> {
    Name(m.as_str())
}

fn spaced<T: Display>(f: &mut Formatter<'_>, items: impl IntoIterator<Item = T>) -> fmt::Result {
    f.write_char('(')?;
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            f.write_char(' ')?;
        }
        item.fmt(f)?;
    }
    f.write_char(')')
}

struct Set<'a>(&'a SeqSet);

impl Display for Set<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let end = |f: &mut Formatter<'_>, e| match e {
            SeqEnd::Number(n) => Display::fmt(&n, f),
            SeqEnd::Largest => f.write_char('*'),
        };
        for (i, &(a, b)) in self.0.ranges.iter().enumerate() {
            if i > 0 {
                f.write_char(',')?;
            }
            end(f, a)?;
            if a != b {
                f.write_char(':')?;
                end(f, b)?;
            }
        }
        Ok(())
    }
}

struct Flags<'a>(&'a FlagNames);

impl Display for Flags<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut names: Vec<&str> = self.0.system.iter().map(SystemFlag::name).collect();
        names.extend(self.0.keywords.iter().map(Keyword::as_str));
        spaced(f, names)
    }
}

/// Prints `UID `, where UIDs are meant, the command's name and the set.
fn of(f: &mut Formatter<'_>, name: &str, messages: &Messages) -> fmt::Result {
    write!(f, "{}{name} {}", if messages.by_uid() { "UID " } else { "" }, Set(messages.set()))
}

impl Display for Append {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "APPEND {} {} ", name(&self.mailbox), Flags(&self.flags))?;
        if let Some(date) = self.date {
            let mut out = Vec::new();
            date.encode(&mut out);
            write!(f, "{} ", String::from_utf8_lossy(&out))?;
        }
        write!(f, "{{{}}}", self.size)
    }
}

impl Display for List {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("LIST ")?;
        if self.extended {
            let s = &self.select;
            let select = [
                (s.subscribed, "SUBSCRIBED"),
                (s.remote, "REMOTE"),
                (s.recursive_match, "RECURSIVEMATCH"),
                (s.special_use, "SPECIAL-USE"),
            ];
            spaced(f, select.iter().filter(|o| o.0).map(|o| o.1))?;
            f.write_char(' ')?;
        }
        // The reference stands in front of the patterns already.
        f.write_str("\"\" ")?;
        match self.patterns.as_slice() {
            [one] => Pattern(one).fmt(f)?,
            many => spaced(f, many.iter().map(|p| Pattern(p)))?,
        }
        if self.extended {
            let g = &self.give;
            let give =
                [(g.subscribed, "SUBSCRIBED"), (g.children, "CHILDREN"), (g.special_use, "SPECIAL-USE")];
            let mut words: Vec<String> = give.iter().filter(|o| o.0).map(|o| o.1.to_owned()).collect();
            if !g.status.is_empty() {
                let items: Vec<&str> = g.status.iter().map(|i| i.name()).collect();
                words.push(format!("STATUS ({})", items.join(" ")));
            }
            f.write_str(" RETURN ")?;
            spaced(f, words)?;
        }
        Ok(())
    }
}

impl Display for Request {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Request::Select { mailbox, read_only: false } => write!(f, "SELECT {}", name(mailbox)),
            Request::Select { mailbox, read_only: true } => write!(f, "EXAMINE {}", name(mailbox)),
            Request::Create { mailbox, special_use: None } => write!(f, "CREATE {}", name(mailbox)),
            Request::Create { mailbox, special_use: Some(u) } => {
                write!(f, "CREATE {} (USE ({}))", name(mailbox), u.attribute())
            }
            Request::Delete(mailbox) => write!(f, "DELETE {}", name(mailbox)),
            Request::Rename { from, to } => write!(f, "RENAME {} {}", name(from), name(to)),
            Request::Subscribe(mailbox) => write!(f, "SUBSCRIBE {}", name(mailbox)),
            Request::Unsubscribe(mailbox) => write!(f, "UNSUBSCRIBE {}", name(mailbox)),
            Request::List(list) => list.fmt(f),
            Request::Lsub { pattern } => write!(f, "LSUB \"\" {}", Pattern(pattern)),
            Request::Status { mailbox, items } => {
                write!(f, "STATUS {} ", name(mailbox))?;
                spaced(f, items.iter().map(|i| i.name()))
            }
            Request::Close => f.write_str("CLOSE"),
            Request::Unselect => f.write_str("UNSELECT"),
            Request::Expunge(None) => f.write_str("EXPUNGE"),
            Request::Expunge(Some(set)) => write!(f, "UID EXPUNGE {}", Set(set)),
            Request::Search { uid, charset, key } => {
                f.write_str(if *uid { "UID SEARCH " } else { "SEARCH " })?;
                if let Some(charset) = charset {
                    f.write_str("CHARSET ")?;
                    astring(f, charset.as_bytes())?;
                    f.write_char(' ')?;
                }
                // Keys side by side need no parentheses here.
                match key {
                    SearchKey::And(keys) => keys_in_a_row(f, keys),
                    key => key.fmt(f),
                }
            }
            Request::Fetch { messages, items } => {
                of(f, "FETCH", messages)?;
                f.write_char(' ')?;
                spaced(f, items)
            }
            Request::Store { messages, how, silent, flags } => {
                of(f, "STORE", messages)?;
                let sign = match how {
                    StoreHow::Replace => "",
                    StoreHow::Add => "+",
                    StoreHow::Remove => "-",
                };
                write!(f, " {sign}FLAGS{} {}", if *silent { ".SILENT" } else { "" }, Flags(flags))
            }
            Request::Copy { messages, to } => {
                of(f, "COPY", messages)?;
                write!(f, " {}", name(to))
            }
            Request::Move { messages, to } => {
                of(f, "MOVE", messages)?;
                write!(f, " {}", name(to))
            }
        }
    }
}

fn keys_in_a_row(f: &mut Formatter<'_>, keys: &[SearchKey]) -> fmt::Result {
    for (i, key) in keys.iter().enumerate() {
        if i > 0 {
            f.write_char(' ')?;
        }
        key.fmt(f)?;
    }
    Ok(())
}

impl Display for SearchKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text = |f: &mut Formatter<'_>, what: &str, text: &[u8]| {
            write!(f, "{what} ")?;
            astring(f, text)
        };
        match self {
            SearchKey::All => f.write_str("ALL"),
            SearchKey::And(keys) => {
                f.write_char('(')?;
                keys_in_a_row(f, keys)?;
                f.write_char(')')
            }
            SearchKey::Or(a, b) => write!(f, "OR {a} {b}"),
            SearchKey::Not(key) => write!(f, "NOT {key}"),
            SearchKey::Sequence(set) => Set(set).fmt(f),
            SearchKey::Uid(set) => write!(f, "UID {}", Set(set)),
            SearchKey::Flag(flag) => f.write_str(&flag.name()[1..].to_ascii_uppercase()),
            SearchKey::Recent => f.write_str("RECENT"),
            SearchKey::Keyword(k) => write!(f, "KEYWORD {k}"),
            SearchKey::Header(field, what) => {
                write!(f, "HEADER {field} ")?;
                astring(f, what)
            }
            SearchKey::Body(what) => text(f, "BODY", what),
            SearchKey::Text(what) => text(f, "TEXT", what),
            SearchKey::Before(d) => write!(f, "BEFORE {d}"),
            SearchKey::On(d) => write!(f, "ON {d}"),
            SearchKey::Since(d) => write!(f, "SINCE {d}"),
            SearchKey::SentBefore(d) => write!(f, "SENTBEFORE {d}"),
            SearchKey::SentOn(d) => write!(f, "SENTON {d}"),
            SearchKey::SentSince(d) => write!(f, "SENTSINCE {d}"),
            SearchKey::Larger(n) => write!(f, "LARGER {n}"),
            SearchKey::Smaller(n) => write!(f, "SMALLER {n}"),
        }
    }
}
