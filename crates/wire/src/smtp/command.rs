//! SMTP commands: one row and one variant each. Parses a line; knows nothing of the state it comes in.
//!
//! RFC 5321 s.4.1.1, s.4.1.4; RFC 3030 (BDAT), RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 6531 (UTF-8 in MAIL, RCPT, VRFY and
//! EXPN). Verbs and keywords are read in any case, trailing blanks are dropped (RFC 5321 s.4.1.1), and a space behind `FROM:` or `TO:` is let through,
//! because Outlook sends one. A path must stand between angle brackets.

use std::fmt;

use super::ext::Extension;
use super::params::{MailParams, ParamError, RcptParams};
use crate::abnf;
use crate::addr::{AddrError, ForwardPath, ReversePath};
use crate::limits;
use crate::secret::Secret;

/// A command.
#[derive(Clone, Debug)]
pub enum Command {
    /// HELO or EHLO, and what the client calls itself.
    Hello {
        /// EHLO.
        extended: bool,
        /// Printable ASCII, one word.
        name: String,
    },
    /// MAIL.
    Mail(ReversePath, MailParams),
    /// RCPT.
    Rcpt {
        /// The path.
        path: ForwardPath,
        /// The parameters.
        params: RcptParams,
        /// All of it is ASCII: it may stand in a transaction without SMTPUTF8.
        ascii: bool,
    },
    /// DATA.
    Data,
    /// BDAT: so many octets follow the line.
    Bdat {
        /// How many.
        size: u64,
        /// Whether the message ends with them.
        last: bool,
    },
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
    /// STARTTLS.
    StartTls,
    /// AUTH: the mechanism's name as sent, and the initial response.
    Auth {
        /// As sent.
        mechanism: String,
        /// In base64; `=` for an empty one.
        initial: Option<Secret<Vec<u8>>>,
    },
    /// VRFY.
    Vrfy,
    /// EXPN.
    Expn,
    /// HELP.
    Help,
}

/// Why a line is not a command that can be obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No row has this verb.
    #[error("no such command")]
    Unknown,
    /// The arguments are not the command's.
    #[error("the arguments are not well-formed")]
    Arguments,
    /// The same, of BDAT: how many octets follow cannot be known.
    #[error("the size of the chunk cannot be read")]
    ChunkSize,
    /// The path of MAIL.
    #[error("the sender is not well-formed: {0}")]
    Sender(AddrError),
    /// The path of RCPT.
    #[error("the recipient is not well-formed: {0}")]
    Recipient(AddrError),
    /// A parameter.
    #[error("{0}")]
    Parameter(ParamError),
}

/// A command's row.
pub struct Row {
    /// The verb.
    pub verb: &'static str,
    /// The extension without which the command is not there.
    pub extension: Option<Extension>,
    /// How it is written, for HELP and for replies to wrong arguments.
    pub usage: &'static str,
    parse: fn(&[u8]) -> Result<Command, CommandError>,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb)
    }
}

const fn row(
    verb: &'static str,
    usage: &'static str,
    parse: fn(&[u8]) -> Result<Command, CommandError>,
) -> Row {
    Row { verb, extension: None, usage, parse }
}

/// The commands.
pub const ROWS: &[Row] = &[
    row("EHLO", "EHLO your.host.name", |rest| hello(true, rest)),
    row("HELO", "HELO your.host.name", |rest| hello(false, rest)),
    row("MAIL", "MAIL FROM:<user@example.org>", mail),
    row("RCPT", "RCPT TO:<user@example.org>", rcpt),
    row("DATA", "DATA", |rest| alone(rest, Command::Data)),
    Row { extension: Some(Extension::Chunking), ..row("BDAT", "BDAT size [LAST]", bdat) },
    row("RSET", "RSET", |rest| alone(rest, Command::Rset)),
    row("NOOP", "NOOP", |_| Ok(Command::Noop)),
    row("QUIT", "QUIT", |rest| alone(rest, Command::Quit)),
    Row {
        extension: Some(Extension::StartTls),
        ..row("STARTTLS", "STARTTLS", |rest| alone(rest, Command::StartTls))
    },
    Row { extension: Some(Extension::Auth), ..row("AUTH", "AUTH mechanism [initial-response]", auth) },
    row("VRFY", "VRFY user", |rest| text(rest, Command::Vrfy)),
    row("EXPN", "EXPN list", |rest| text(rest, Command::Expn)),
    Row { extension: Some(Extension::Help), ..row("HELP", "HELP", |_| Ok(Command::Help)) },
];

impl Command {
    /// Parses a line without its line end. Beside the outcome comes the row, where the verb has one.
    pub fn parse(line: &[u8]) -> (Option<&'static Row>, Result<Command, CommandError>) {
        let (verb, rest) = abnf::split_word(abnf::trim_blanks_end(line));
        match ROWS.iter().find(|row| verb.eq_ignore_ascii_case(row.verb.as_bytes())) {
            Some(row) => (Some(row), (row.parse)(rest)),
            None => (None, Err(CommandError::Unknown)),
        }
    }
}

fn alone(rest: &[u8], command: Command) -> Result<Command, CommandError> {
    if rest.is_empty() { Ok(command) } else { Err(CommandError::Arguments) }
}

/// RFC 6531 s.3.7.4.2: the text of VRFY and EXPN may be UTF-8; SMTPUTF8 behind it, which has no value, would allow UTF-8 in
/// the reply, where there is none.
fn text(rest: &[u8], command: Command) -> Result<Command, CommandError> {
    let valued = |word: &[u8]| word.get(..9).is_some_and(|w| w.eq_ignore_ascii_case(b"SMTPUTF8="));
    let last = rest.split(|&b| b == b' ').skip(1).last();
    if rest.is_empty() || std::str::from_utf8(rest).is_err() || last.is_some_and(valued) {
        return Err(CommandError::Arguments);
    }
    Ok(command)
}

/// The name is not held to the grammar of a domain: hosts say all sorts of things, and are not believed anyway.
fn hello(extended: bool, rest: &[u8]) -> Result<Command, CommandError> {
    let name = abnf::split_word(rest).0;
    if name.is_empty() || name.len() > limits::DOMAIN || !name.iter().all(u8::is_ascii_graphic) {
        return Err(CommandError::Arguments);
    }
    let name = String::from_utf8_lossy(name).into_owned();
    Ok(Command::Hello { extended, name })
}

fn mail(rest: &[u8]) -> Result<Command, CommandError> {
    let (path, rest) = path(rest, b"FROM:")?;
    let params = MailParams::parse(rest).map_err(CommandError::Parameter);
    // Whether SMTPUTF8 is offered at all is for whoever knows the state.
    if !path.is_ascii() && params.as_ref().is_ok_and(|params| !params.smtputf8) {
        return Err(CommandError::Sender(AddrError::NonAscii));
    }
    let path = ReversePath::parse(path).map_err(CommandError::Sender)?;
    Ok(Command::Mail(path, params?))
}

fn rcpt(rest: &[u8]) -> Result<Command, CommandError> {
    let ascii = rest.is_ascii();
    let (path, rest) = path(rest, b"TO:")?;
    let path = ForwardPath::parse(path).map_err(CommandError::Recipient)?;
    let params = RcptParams::parse(rest).map_err(CommandError::Parameter)?;
    Ok(Command::Rcpt { path, params, ascii })
}

/// The path behind `FROM:` or `TO:`, up to and with its closing bracket outside quotes, and what follows.
fn path<'a>(rest: &'a [u8], keyword: &[u8]) -> Result<(&'a [u8], &'a [u8]), CommandError> {
    let (head, rest) = rest.split_at_checked(keyword.len()).ok_or(CommandError::Arguments)?;
    if !head.eq_ignore_ascii_case(keyword) {
        return Err(CommandError::Arguments);
    }
    let rest = abnf::trim_spaces_start(rest);
    if rest.is_empty() {
        return Err(CommandError::Arguments);
    }
    let (mut quoted, mut escaped) = (false, false);
    let end = rest.iter().position(|&b| {
        let here = std::mem::take(&mut escaped);
        match b {
            _ if here => {}
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        !here && !quoted && (b == b'>' || b == b' ')
    });
    // An unquoted space before the bracket: the path ends there, and is refused as one without a bracket.
    let end = end.map_or(rest.len(), |i| if rest[i] == b'>' { i + 1 } else { i });
    let (path, after) = rest.split_at(end);
    match after.first() {
        None | Some(b' ') => Ok((path, after)),
        Some(_) => Err(CommandError::Arguments),
    }
}

fn bdat(rest: &[u8]) -> Result<Command, CommandError> {
    let (size, rest) = abnf::split_word(rest);
    // RFC 3030 s.2: 1*DIGIT.
    let size = abnf::number(size).ok_or(CommandError::ChunkSize)?;
    let last = rest.eq_ignore_ascii_case(b"LAST");
    if last || rest.is_empty() { Ok(Command::Bdat { size, last }) } else { Err(CommandError::ChunkSize) }
}

fn auth(rest: &[u8]) -> Result<Command, CommandError> {
    let (mechanism, initial) = abnf::split_word(rest);
    if mechanism.is_empty() || !mechanism.iter().all(u8::is_ascii_graphic) || initial.contains(&b' ') {
        return Err(CommandError::Arguments);
    }
    let mechanism = String::from_utf8_lossy(mechanism).into_owned();
    let initial = (!initial.is_empty()).then(|| Secret::new(initial.to_vec()));
    Ok(Command::Auth { mechanism, initial })
}

#[cfg(test)]
mod tests;
