//! POP3 commands: one row and one variant each. Parses a line; the row also says in which state it is allowed.
//!
//! RFC 1939 s.5 to s.7 (without APOP, which needs passwords in clear), RFC 2449 (CAPA), RFC 2595 (STLS), RFC 5034
//! (AUTH). A password is everything behind the first space (RFC 1939 s.7), spaces included.

use std::num::NonZeroU32;

use super::capa::Capability;
use crate::abnf;
use crate::secret::Secret;

/// A command.
#[derive(Clone, Debug)]
pub enum Command {
    /// USER.
    User(String),
    /// PASS.
    Pass(Secret<String>),
    /// AUTH: the mechanism's name as sent, and the initial response. Without a name the mechanisms are listed, as
    /// old clients expect.
    Auth {
        /// As sent.
        mechanism: Option<String>,
        /// In base64; `=` for an empty one.
        initial: Option<Secret<Vec<u8>>>,
    },
    /// STLS.
    Stls,
    /// CAPA.
    Capa,
    /// STAT.
    Stat,
    /// LIST.
    List(Option<NonZeroU32>),
    /// UIDL.
    Uidl(Option<NonZeroU32>),
    /// RETR.
    Retr(NonZeroU32),
    /// TOP.
    Top {
        /// Which message.
        number: NonZeroU32,
        /// Lines of its body.
        lines: u64,
    },
    /// DELE.
    Dele(NonZeroU32),
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
}

/// Why a line is not a command that can be obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No row has this keyword.
    #[error("no such command")]
    Unknown,
    /// The arguments are not the command's.
    #[error("the arguments are not well-formed")]
    Arguments,
}

/// When a command may be said (RFC 1939 s.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The AUTHORIZATION state.
    Authorization,
    /// The TRANSACTION state.
    Transaction,
    /// Both.
    Always,
}

/// A command's row.
#[derive(Debug)]
pub struct Row {
    /// The keyword.
    pub keyword: &'static str,
    /// When it may be said.
    pub when: When,
    /// The capability without which it is not there.
    pub capability: Option<Capability>,
    /// How it is written, for replies to wrong arguments.
    pub usage: &'static str,
    parse: fn(&[u8]) -> Option<Command>,
}

const fn row(
    keyword: &'static str,
    when: When,
    usage: &'static str,
    parse: fn(&[u8]) -> Option<Command>,
) -> Row {
    Row { keyword, when, capability: None, usage, parse }
}

/// The commands.
pub const ROWS: &[Row] = &[
    Row {
        capability: Some(Capability::User),
        ..row("USER", When::Authorization, "USER name", |rest| {
            text(rest).map(|t| Command::User(t.to_owned()))
        })
    },
    Row {
        capability: Some(Capability::User),
        ..row("PASS", When::Authorization, "PASS password", |rest| {
            text(rest).map(|t| Command::Pass(Secret::from(t)))
        })
    },
    Row {
        capability: Some(Capability::Sasl),
        ..row("AUTH", When::Authorization, "AUTH mechanism [initial-response]", auth)
    },
    Row {
        capability: Some(Capability::Stls),
        ..row("STLS", When::Authorization, "STLS", |rest| alone(rest, Command::Stls))
    },
    row("CAPA", When::Always, "CAPA", |rest| alone(rest, Command::Capa)),
    row("STAT", When::Transaction, "STAT", |rest| alone(rest, Command::Stat)),
    row("LIST", When::Transaction, "LIST [message]", |rest| optional(rest).map(Command::List)),
    Row {
        capability: Some(Capability::Uidl),
        ..row("UIDL", When::Transaction, "UIDL [message]", |rest| optional(rest).map(Command::Uidl))
    },
    row("RETR", When::Transaction, "RETR message", |rest| message(blank(rest)).map(Command::Retr)),
    Row { capability: Some(Capability::Top), ..row("TOP", When::Transaction, "TOP message lines", top) },
    row("DELE", When::Transaction, "DELE message", |rest| message(blank(rest)).map(Command::Dele)),
    row("RSET", When::Transaction, "RSET", |rest| alone(rest, Command::Rset)),
    row("NOOP", When::Transaction, "NOOP", |rest| alone(rest, Command::Noop)),
    row("QUIT", When::Always, "QUIT", |rest| alone(rest, Command::Quit)),
];

impl Command {
    /// Parses a line without its line end. Beside the outcome comes the row, where the keyword has one.
    pub fn parse(line: &[u8]) -> (Option<&'static Row>, Result<Command, CommandError>) {
        let (keyword, rest) = match memchr::memchr(b' ', line) {
            Some(i) => (&line[..i], &line[i + 1..]),
            None => (line, &[][..]),
        };
        match ROWS.iter().find(|row| keyword.eq_ignore_ascii_case(row.keyword.as_bytes())) {
            Some(row) => (Some(row), (row.parse)(rest).ok_or(CommandError::Arguments)),
            None => (None, Err(CommandError::Unknown)),
        }
    }
}

/// Without blanks around: what arguments that are not text may have.
fn blank(rest: &[u8]) -> &[u8] {
    abnf::trim_blanks_end(abnf::trim_spaces_start(rest))
}

fn alone(rest: &[u8], command: Command) -> Option<Command> {
    blank(rest).is_empty().then_some(command)
}

fn text(rest: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(rest).ok()?;
    (!text.is_empty() && !text.contains('\0')).then_some(text)
}

fn message(word: &[u8]) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(abnf::number(word)?).ok()?)
}

/// `Some(None)` when there is no argument.
fn optional(rest: &[u8]) -> Option<Option<NonZeroU32>> {
    let rest = blank(rest);
    if rest.is_empty() { Some(None) } else { message(rest).map(Some) }
}

fn top(rest: &[u8]) -> Option<Command> {
    let (number, lines) = abnf::split_word(blank(rest));
    Some(Command::Top { number: message(number)?, lines: abnf::number(lines)? })
}

fn auth(rest: &[u8]) -> Option<Command> {
    let (mechanism, initial) = abnf::split_word(blank(rest));
    if !mechanism.iter().all(u8::is_ascii_graphic) || initial.contains(&b' ') {
        return None;
    }
    let mechanism = String::from_utf8_lossy(mechanism).into_owned();
    let initial = (!initial.is_empty()).then(|| Secret::new(initial.to_vec()));
    Some(Command::Auth { mechanism: (!mechanism.is_empty()).then_some(mechanism), initial })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(line: &[u8]) -> Result<String, CommandError> {
        let or_none = |n: Option<NonZeroU32>| n.map(|n| format!(" {n}")).unwrap_or_default();
        Command::parse(line).1.map(|command| match command {
            Command::User(name) => format!("USER {name}"),
            Command::Pass(password) => format!("PASS {}", password.expose()),
            Command::Auth { mechanism, initial } => {
                let initial = initial.map(|i| format!(" {}", String::from_utf8_lossy(i.expose())));
                let mechanism = mechanism.map(|m| format!(" {m}")).unwrap_or_default();
                format!("AUTH{mechanism}{}", initial.unwrap_or_default())
            }
            Command::Stls => "STLS".to_owned(),
            Command::Capa => "CAPA".to_owned(),
            Command::Stat => "STAT".to_owned(),
            Command::List(n) => format!("LIST{}", or_none(n)),
            Command::Uidl(n) => format!("UIDL{}", or_none(n)),
            Command::Retr(n) => format!("RETR {n}"),
            Command::Top { number, lines } => format!("TOP {number} {lines}"),
            Command::Dele(n) => format!("DELE {n}"),
            Command::Rset => "RSET".to_owned(),
            Command::Noop => "NOOP".to_owned(),
            Command::Quit => "QUIT".to_owned(),
        })
    }

    #[test]
    fn lines() {
        use CommandError::{Arguments, Unknown};
        for (line, result) in [
            ("USER tim", Ok("USER tim")),
            ("user tim@demo.test", Ok("USER tim@demo.test")),
            ("PASS a b  c ", Ok("PASS a b  c ")),
            ("PASS  lead", Ok("PASS  lead")),
            ("PASS p\u{e4}ss", Ok("PASS p\u{e4}ss")),
            ("AUTH", Ok("AUTH")),
            ("AUTH PLAIN", Ok("AUTH PLAIN")),
            ("AUTH PLAIN =", Ok("AUTH PLAIN =")),
            ("STLS ", Ok("STLS")),
            ("capa", Ok("CAPA")),
            ("STAT", Ok("STAT")),
            ("LIST", Ok("LIST")),
            ("LIST ", Ok("LIST")),
            ("LIST 4294967295", Ok("LIST 4294967295")),
            ("UIDL 2", Ok("UIDL 2")),
            ("RETR  1 ", Ok("RETR 1")),
            ("TOP 1 0", Ok("TOP 1 0")),
            ("TOP 1 99999999999", Ok("TOP 1 99999999999")),
            ("DELE 3", Ok("DELE 3")),
            ("RSET", Ok("RSET")),
            ("NOOP", Ok("NOOP")),
            ("QUIT", Ok("QUIT")),
            ("", Err(Unknown)),
            ("APOP tim c4c9334bac560ecc979e58001b3e22fb", Err(Unknown)),
            ("UTF8", Err(Unknown)),
            ("NO\0OP", Err(Unknown)),
            ("USER", Err(Arguments)),
            ("USER ", Err(Arguments)),
            ("PASS", Err(Arguments)),
            ("PASS a\0b", Err(Arguments)),
            ("STAT 1", Err(Arguments)),
            ("LIST 0", Err(Arguments)),
            ("LIST 4294967296", Err(Arguments)),
            ("LIST -1", Err(Arguments)),
            ("LIST 1 2", Err(Arguments)),
            ("RETR", Err(Arguments)),
            ("RETR x", Err(Arguments)),
            ("TOP 1", Err(Arguments)),
            ("TOP 1 -1", Err(Arguments)),
            ("TOP 1 2 3", Err(Arguments)),
            ("AUTH PLAIN a b", Err(Arguments)),
            ("QUIT now", Err(Arguments)),
        ] {
            let got = shown(line.as_bytes());
            assert_eq!(got.as_deref(), result.as_ref().map(|s| *s), "{line:?}");
            if let Ok(printed) = got {
                assert_eq!(shown(printed.as_bytes()).as_deref(), Ok(printed.as_str()));
            }
        }
        assert_eq!(shown(b"USER \xff"), Err(Arguments));
    }

    proptest! {
        #[test]
        fn no_line_upsets_the_parser(line in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(printed) = shown(&line) {
                prop_assert_eq!(shown(printed.as_bytes()), Ok(printed));
            }
        }

        #[test]
        fn numbers_survive(number in 1u32.., lines: u64) {
            let line = format!("TOP {number} {lines}");
            prop_assert_eq!(shown(line.as_bytes()), Ok(line));
        }
    }
}
