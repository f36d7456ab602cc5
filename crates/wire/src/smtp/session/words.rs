//! What the SMTP machine says of its own accord: every reply that is not the desk's stands here, once.

use super::Aborted;
use crate::addr::AddrError;
use crate::machine::{Away, Over};
use crate::sasl::SaslError;
use crate::smtp::command::{CommandError, Row};
use crate::smtp::ext::{Extension, Facts};
use crate::smtp::params::ParamError;
use crate::smtp::reply::{Code, Enhanced, Reply};

/// X.0.0: nothing more to say.
const OTHER: Enhanced = Enhanced(0, 0);
/// X.5.1: a command out of place.
const INVALID: Enhanced = Enhanced(5, 1);
/// X.5.2: not a command.
const SYNTAX: Enhanced = Enhanced(5, 2);
/// X.5.4: arguments that do not fit.
const ARGUMENTS: Enhanced = Enhanced(5, 4);
/// X.7.0: for reasons of security.
const SECURITY: Enhanced = Enhanced(7, 0);

pub(super) fn greeting(hostname: &str) -> Reply {
    Reply::bare(Code::READY, format!("{hostname} ESMTP Penfold"))
}
pub(super) fn hello(text: String) -> Reply {
    Reply::bare(Code::OK, text)
}
pub(super) fn goodbye() -> Reply {
    Reply::new(Code::CLOSING, OTHER, "goodbye")
}
pub(super) fn ok() -> Reply {
    Reply::new(Code::OK, OTHER, "ok")
}
pub(super) fn sender_ok() -> Reply {
    Reply::new(Code::OK, Enhanced(1, 0), "sender ok")
}
pub(super) fn recipient_ok() -> Reply {
    Reply::new(Code::OK, Enhanced(1, 5), "recipient ok")
}
pub(super) fn send_message() -> Reply {
    Reply::bare(Code::START_MAIL, "send the message, end with a dot on a line of its own")
}
pub(super) fn chunk_taken(size: u64) -> Reply {
    Reply::new(Code::OK, OTHER, format!("{size} octets taken"))
}
pub(super) fn message_taken() -> Reply {
    Reply::new(Code::OK, OTHER, "message taken")
}
/// The commands that work now: what is not offered is not told, nor EXPN, which is known only to be refused.
pub(super) fn help(facts: Facts<'_>) -> Reply {
    let offered = |extension: Option<Extension>| extension.is_none_or(|e| e.is_offered(facts));
    let rows = crate::smtp::command::ROWS.iter().filter(|row| offered(row.extension) && row.verb != "EXPN");
    let usage: Vec<_> = rows.map(|row| row.usage).collect();
    Reply::new(Code::HELP, OTHER, usage.join("\n"))
}
pub(super) fn cannot_verify() -> Reply {
    Reply::new(Code::CANNOT_VRFY, OTHER, "send some mail and see")
}
pub(super) fn no_expn() -> Reply {
    Reply::new(Code::NOT_IMPLEMENTED, INVALID, "lists are not expanded here")
}
pub(super) fn start_tls() -> Reply {
    Reply::new(Code::READY, OTHER, "start TLS now")
}
pub(super) fn challenge(text: &str) -> Reply {
    Reply::bare(Code::CHALLENGE, text.to_owned())
}
pub(super) fn authenticated() -> Reply {
    Reply::new(Code::AUTHENTICATED, SECURITY, "welcome")
}
pub(super) fn denied() -> Reply {
    Reply::new(Code::AUTH_FAILED, Enhanced(7, 8), "wrong user or password")
}
/// To a `Denied` where nobody logs in: a desk's mistake, made harmless.
pub(super) fn refused() -> Reply {
    Reply::new(Code::REFUSED, Enhanced(7, 1), "refused")
}

/// Writes what a client hears in place of a greeting that is turned away.
pub fn turned_away(why: Away, out: &mut Vec<u8>) {
    let reply = match why {
        Away::TooMany => Reply::new(Code::UNAVAILABLE, SECURITY, "too many connections, try again later"),
        Away::Opening => {
            Reply::new(Code::UNAVAILABLE, Enhanced(3, 2), "the mail store is being opened, try again later")
        }
    };
    reply.write(out);
}

pub(super) fn idle() -> Reply {
    Reply::new(Code::UNAVAILABLE, Enhanced(4, 2), "waited too long, closing")
}
/// Why the session is over. The desk says it too, of a message that ends just then.
#[must_use]
pub fn over(why: Over) -> Reply {
    let (enhanced, text) = match why {
        Over::Shutdown => (Enhanced(3, 2), "the server is shutting down, try again soon"),
        Over::PasswordChanged => (SECURITY, "your password was changed, log in with the new one"),
        Over::AccountRemoved => (SECURITY, "your account was removed"),
    };
    Reply::new(Code::UNAVAILABLE, enhanced, text)
}
pub(super) fn too_slow() -> Reply {
    Reply::new(Code::UNAVAILABLE, Enhanced(4, 2), "the message comes too slowly, closing")
}
pub(super) fn too_many_errors() -> Reply {
    Reply::new(Code::UNAVAILABLE, SECURITY, "too many errors, closing")
}
pub(super) fn too_many_logins() -> Reply {
    Reply::new(Code::UNAVAILABLE, SECURITY, "too many failed logins, closing")
}

pub(super) fn line_too_long() -> Reply {
    Reply::new(Code::SYNTAX, SYNTAX, "line too long")
}
pub(super) fn response_too_long() -> Reply {
    // RFC 4954 s.4.
    Reply::new(Code::SYNTAX, Enhanced(5, 6), "authentication exchange line is too long")
}
pub(super) fn bare_lf() -> Reply {
    Reply::new(Code::SYNTAX, SYNTAX, "lines end with CR LF here, not with LF alone")
}
pub(super) fn hello_first() -> Reply {
    Reply::new(Code::SEQUENCE, INVALID, "say EHLO first")
}
pub(super) fn mail_first() -> Reply {
    Reply::new(Code::SEQUENCE, INVALID, "say MAIL first")
}
pub(super) fn in_transaction() -> Reply {
    Reply::new(Code::SEQUENCE, INVALID, "not within a mail transaction")
}
pub(super) fn in_chunks() -> Reply {
    Reply::new(Code::SEQUENCE, INVALID, "a message has begun with BDAT: only BDAT or RSET may follow")
}
pub(super) fn already_authenticated() -> Reply {
    Reply::new(Code::SEQUENCE, INVALID, "already authenticated")
}
pub(super) fn already_tls() -> Reply {
    Reply::new(Code::SEQUENCE, INVALID, "TLS is on already")
}
pub(super) fn no_recipients() -> Reply {
    Reply::new(Code::FAILED, INVALID, "no valid recipients")
}
pub(super) fn too_many_recipients() -> Reply {
    Reply::new(Code::NO_ROOM, Enhanced(5, 3), "too many recipients at once, send the rest later")
}
pub(super) fn not_offered() -> Reply {
    Reply::new(Code::NOT_IMPLEMENTED, INVALID, "not offered here")
}
pub(super) fn tls_first() -> Reply {
    Reply::new(
        Code::ENCRYPTION_REQUIRED,
        Enhanced(7, 11),
        "say STARTTLS first: passwords travel encrypted only",
    )
}
pub(super) fn auth_first() -> Reply {
    Reply::new(Code::AUTH_REQUIRED, SECURITY, "log in first")
}
pub(super) fn no_mechanism() -> Reply {
    Reply::new(Code::PARAMETER, ARGUMENTS, "that mechanism is not offered")
}
pub(super) fn too_large(limit: u64) -> Reply {
    Reply::new(Code::TOO_LARGE, Enhanced(3, 4), format!("message too large, {limit} octets are the most"))
}

/// RFC 4865 s.4: longer than was told.
pub(super) fn held_too_long(seconds: u32) -> Reply {
    Reply::new(Code::ARGUMENTS, ARGUMENTS, format!("a message is held {seconds} seconds at most"))
}

/// After a body that the machine itself refuses.
pub(super) fn aborted(why: Aborted, limit: u64) -> Reply {
    match why {
        Aborted::TooLarge => too_large(limit),
        Aborted::BareLineEnd => Reply::new(
            Code::REFUSED,
            Enhanced(6, 0),
            "the message has a CR or LF of its own; lines end with CR LF (RFC 5321 s.2.3.8)",
        ),
        Aborted::GivenUp => ok(),
    }
}

pub(super) fn for_command(error: CommandError, row: Option<&Row>) -> Reply {
    match error {
        CommandError::Unknown => Reply::new(Code::SYNTAX, SYNTAX, "no such command"),
        CommandError::Arguments | CommandError::ChunkSize => {
            let usage = row.map_or("HELP", |row| row.usage);
            Reply::new(Code::ARGUMENTS, ARGUMENTS, format!("this is written: {usage}"))
        }
        CommandError::Sender(e) => for_address(e, Code::REFUSED, Enhanced(1, 7)),
        CommandError::Recipient(e) => for_address(e, Code::BAD_ADDRESS, Enhanced(1, 3)),
        CommandError::Parameter(ParamError::Syntax) => {
            Reply::new(Code::ARGUMENTS, ARGUMENTS, "a parameter is not well-formed")
        }
        CommandError::Parameter(ParamError::Unknown | ParamError::Value) => {
            Reply::new(Code::BAD_PARAMETER, ARGUMENTS, "a parameter is not known here")
        }
    }
}

/// `code` is for what RFC 6531 s.3.5 tells apart: 550 to MAIL, 553 to RCPT.
fn for_address(error: AddrError, code: Code, enhanced: Enhanced) -> Reply {
    match error {
        AddrError::NonAscii => {
            Reply::new(code, Enhanced(6, 7), "an address outside ASCII needs SMTPUTF8 with MAIL")
        }
        _ => Reply::new(Code::ARGUMENTS, enhanced, error.to_string()),
    }
}

pub(super) fn for_sasl(error: SaslError) -> Reply {
    let code = match error {
        SaslError::Authorization => return Reply::new(Code::AUTH_FAILED, Enhanced(7, 8), error.to_string()),
        SaslError::Cancelled => SECURITY,
        SaslError::Encoding | SaslError::Malformed => SYNTAX,
    };
    Reply::new(Code::ARGUMENTS, code, error.to_string())
}
