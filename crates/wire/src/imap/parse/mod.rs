//! From a whole command's octets to a `Command`: one function a command (RFC 3501 s.6 and the extensions).
//!
//! The cursor stands behind the command's name. Each function reads to the end of the command or says why not.

mod fetch;
mod list;
mod search;

pub(super) use fetch::fetch;
pub(super) use list::{list, lsub, status};
pub(super) use search::search;

use super::code::Code;
use super::command::{Command, Messages, Request, StoreHow};
use super::date::DateTime;
use super::name::MailboxName;
use super::syntax::{Cursor, Parsed, Refusal, bad, is_atom_char, name};
use crate::flag::{FlagNames, SpecialUse};
use crate::sasl::Credentials;
use crate::secret::Secret;

/// A command without arguments.
fn alone(c: &mut Cursor<'_>, command: Command) -> Parsed<Command> {
    c.end()?;
    Ok(command)
}

pub(super) fn capability(c: &mut Cursor<'_>) -> Parsed<Command> {
    alone(c, Command::Capability)
}

pub(super) fn poll(c: &mut Cursor<'_>) -> Parsed<Command> {
    alone(c, Command::Poll)
}

pub(super) fn logout(c: &mut Cursor<'_>) -> Parsed<Command> {
    alone(c, Command::Logout)
}

pub(super) fn starttls(c: &mut Cursor<'_>) -> Parsed<Command> {
    alone(c, Command::StartTls)
}

pub(super) fn namespace(c: &mut Cursor<'_>) -> Parsed<Command> {
    alone(c, Command::Namespace)
}

pub(super) fn idle(c: &mut Cursor<'_>) -> Parsed<Command> {
    alone(c, Command::Idle)
}

pub(super) fn close(c: &mut Cursor<'_>) -> Parsed<Command> {
    alone(c, Command::Run(Request::Close))
}

pub(super) fn unselect(c: &mut Cursor<'_>) -> Parsed<Command> {
    alone(c, Command::Run(Request::Unselect))
}

pub(super) fn expunge(c: &mut Cursor<'_>) -> Parsed<Command> {
    alone(c, Command::Run(Request::Expunge(None)))
}

/// RFC 4315 s.2.1.
pub(super) fn uid_expunge(c: &mut Cursor<'_>) -> Parsed<Command> {
    c.sp()?;
    let set = c.sequence_set()?;
    alone(c, Command::Run(Request::Expunge(Some(set))))
}

/// RFC 2971 s.4.
pub(super) fn id(c: &mut Cursor<'_>) -> Parsed<Command> {
    fn text(octets: &[u8]) -> String {
        String::from_utf8_lossy(octets).into_owned()
    }
    c.sp()?;
    let mut fields = Vec::new();
    if !c.eat_word("NIL") {
        fields = c.list(|c| {
            let field = text(&c.string()?);
            c.sp()?;
            let value = if c.eat_word("NIL") { None } else { Some(text(&c.string()?)) };
            Ok((field, value))
        })?;
    }
    alone(c, Command::Id(fields))
}

/// RFC 3501 s.6.2.2, RFC 4959 s.7.
pub(super) fn authenticate(c: &mut Cursor<'_>) -> Parsed<Command> {
    c.sp()?;
    let mechanism = String::from_utf8_lossy(c.atom()?).into_owned();
    let mut initial = None;
    if !c.0.is_empty() {
        c.sp()?;
        initial =
            Some(c.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=')).to_vec());
    }
    alone(c, Command::Authenticate { mechanism, initial })
}

/// RFC 3501 s.6.2.3.
pub(super) fn login(c: &mut Cursor<'_>) -> Parsed<Command> {
    c.sp()?;
    let user = c.text()?;
    c.sp()?;
    let password = Secret::from(c.text()?);
    alone(c, Command::Login(Credentials { authorization: None, user, password }))
}

/// RFC 5161 s.4.
pub(super) fn enable(c: &mut Cursor<'_>) -> Parsed<Command> {
    let mut names = Vec::new();
    while names.is_empty() || c.end().is_err() {
        c.sp()?;
        names.push(String::from_utf8_lossy(c.atom()?).into_owned());
    }
    alone(c, Command::Enable(names))
}

fn one_mailbox(c: &mut Cursor<'_>, request: impl FnOnce(MailboxName) -> Request) -> Parsed<Command> {
    c.sp()?;
    let mailbox = c.mailbox()?;
    alone(c, Command::Run(request(mailbox)))
}

pub(super) fn select(c: &mut Cursor<'_>) -> Parsed<Command> {
    one_mailbox(c, |mailbox| Request::Select { mailbox, read_only: false })
}

pub(super) fn examine(c: &mut Cursor<'_>) -> Parsed<Command> {
    one_mailbox(c, |mailbox| Request::Select { mailbox, read_only: true })
}

pub(super) fn delete(c: &mut Cursor<'_>) -> Parsed<Command> {
    one_mailbox(c, Request::Delete)
}

pub(super) fn subscribe(c: &mut Cursor<'_>) -> Parsed<Command> {
    one_mailbox(c, Request::Subscribe)
}

pub(super) fn unsubscribe(c: &mut Cursor<'_>) -> Parsed<Command> {
    one_mailbox(c, Request::Unsubscribe)
}

/// RFC 3501 s.6.3.3, RFC 6154 s.3.
pub(super) fn create(c: &mut Cursor<'_>) -> Parsed<Command> {
    c.sp()?;
    let octets = c.astring()?;
    // RFC 3501 s.6.3.3: a delimiter at the end announces children; the name is without it.
    let mailbox = name(octets.strip_suffix(b"/").unwrap_or(&octets))?;
    let mut special_use = None;
    if c.eat_word(" (") {
        if !c.eat_word("USE ") {
            return bad("Only USE may be said of a new mailbox");
        }
        let uses = c.list(|c| {
            c.expect(b'\\', "A special use is missing")?;
            Ok(SpecialUse::parse(&[b"\\", c.atom()?].concat()))
        })?;
        c.expect(b')', "A list does not end")?;
        special_use = match uses.as_slice() {
            [] => None,
            [Some(one)] => Some(*one),
            _ => return Err(Refusal::No(Code::UseAttr, "No mailbox with this use can be made")),
        };
    }
    alone(c, Command::Run(Request::Create { mailbox, special_use }))
}

pub(super) fn rename(c: &mut Cursor<'_>) -> Parsed<Command> {
    c.sp()?;
    let from = c.mailbox()?;
    c.sp()?;
    let to = c.mailbox()?;
    alone(c, Command::Run(Request::Rename { from, to }))
}

/// Which messages: the set behind the command's name.
fn messages(c: &mut Cursor<'_>, uid: bool) -> Parsed<Messages> {
    c.sp()?;
    let set = c.sequence_set()?;
    Ok(if uid { Messages::Uid(set) } else { Messages::Sequence(set) })
}

fn copy_or_move(
    c: &mut Cursor<'_>,
    uid: bool,
    request: impl FnOnce(Messages, MailboxName) -> Request,
) -> Parsed<Command> {
    let messages = messages(c, uid)?;
    c.sp()?;
    let to = c.mailbox()?;
    alone(c, Command::Run(request(messages, to)))
}

pub(super) fn copy(c: &mut Cursor<'_>, uid: bool) -> Parsed<Command> {
    copy_or_move(c, uid, |messages, to| Request::Copy { messages, to })
}

/// RFC 6851 s.3.
pub(super) fn r#move(c: &mut Cursor<'_>, uid: bool) -> Parsed<Command> {
    copy_or_move(c, uid, |messages, to| Request::Move { messages, to })
}

/// RFC 3501 s.6.4.6.
pub(super) fn store(c: &mut Cursor<'_>, uid: bool) -> Parsed<Command> {
    let messages = messages(c, uid)?;
    c.sp()?;
    let how = match c.peek() {
        Some(b'+') => StoreHow::Add,
        Some(b'-') => StoreHow::Remove,
        _ => StoreHow::Replace,
    };
    if how != StoreHow::Replace {
        c.0 = &c.0[1..];
    }
    if !c.eat_word("FLAGS") {
        return bad("Only FLAGS can be stored");
    }
    let silent = c.eat_word(".SILENT");
    c.sp()?;
    let flags = if c.peek() == Some(b'(') { c.flag_list()? } else { c.bare_flags()? };
    c.end()?;
    if flags.others {
        return Err(Refusal::No(Code::Cannot, "There is a system flag that no client may change"));
    }
    Ok(Command::Run(Request::Store { messages, how, silent, flags: flags.names }))
}

/// APPEND up to its literal, `size` left out (RFC 3501 s.6.3.11).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AppendHead {
    /// The literal that comes is the mailbox's name.
    MailboxComes,
    /// The literal that comes is the message.
    MessageComes { mailbox: MailboxName, flags: FlagNames, date: Option<DateTime> },
}

/// Reads what stands between `APPEND` and a literal's opening brace.
pub(super) fn append_head(c: &mut Cursor<'_>) -> Parsed<AppendHead> {
    c.sp()?;
    if c.0.is_empty() {
        return Ok(AppendHead::MailboxComes);
    }
    let mailbox = c.mailbox()?;
    c.sp()?;
    let mut flags = FlagNames::default();
    if c.peek() == Some(b'(') {
        // `\Recent` and system flags of other servers are no reason to lose a message.
        flags = c.flag_list()?.names;
        c.sp()?;
    }
    let mut date = None;
    if c.peek() == Some(b'"') {
        match DateTime::parse(&c.string()?) {
            Some(d) => date = Some(d),
            None => return bad("There is no such date"),
        }
        c.sp()?;
    }
    if c.0.is_empty() {
        Ok(AppendHead::MessageComes { mailbox, flags, date })
    } else {
        bad("A literal is missing")
    }
}

/// APPEND that came to its end without the message.
pub(super) fn append(_: &mut Cursor<'_>) -> Parsed<Command> {
    bad("APPEND needs a message as a literal")
}

/// A command's first words: the tag, its name in upper case (with `UID` the next word too), and what follows.
pub(super) fn words<'a>(text: &'a [u8]) -> Option<(super::command::Tag, String, Cursor<'a>)> {
    let mut c = Cursor(text);
    let tag = super::command::Tag::parse(c.take_while(|b| b != b' '))?;
    let mut name = String::new();
    if c.eat(b' ') {
        name = String::from_utf8_lossy(c.take_while(is_atom_char)).to_ascii_uppercase();
        if name == "UID" && c.peek() == Some(b' ') {
            let mut after = c.clone();
            after.eat(b' ');
            let word = after.take_while(is_atom_char);
            name = format!("UID {}", String::from_utf8_lossy(word).to_ascii_uppercase());
            c = after;
        }
    }
    Some((tag, name, c))
}
