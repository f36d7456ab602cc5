//! What an administrator is told by mail: an account has sent all that it may.

use super::text::{clean, field, paragraph, part};
use crate::clock::Date;

/// What an account may send a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// Messages.
    Messages,
    /// Recipients that it had not written to before.
    NewRecipients,
}

impl std::fmt::Display for Allowance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Allowance::Messages => "messages to other hosts",
            Allowance::NewRecipients => "new recipients at other hosts",
        })
    }
}

/// An account that has reached a limit.
#[derive(Clone, Debug)]
pub struct LimitReached<'a> {
    /// This host.
    pub hostname: &'a str,
    /// The message's own Message-ID, without its brackets.
    pub id: &'a str,
    /// Now.
    pub now: Date,
    /// The administrator.
    pub to: &'a str,
    /// The account.
    pub account: &'a str,
    /// What it has reached.
    pub allowance: Allowance,
    /// How much that is.
    pub limit: u64,
}

/// Writes the message: all of it, in 7-bit lines.
#[must_use]
pub fn limit_reached(notice: &LimitReached<'_>) -> Vec<u8> {
    let account = clean(notice.account);
    let done = match notice.allowance {
        Allowance::Messages => format!("wanted to send more than {} messages", notice.limit),
        Allowance::NewRecipients => {
            format!("wanted to write to more than {} people that it had not written to before", notice.limit)
        }
    };
    let mut out = String::new();
    field("Date", &notice.now.to_string(), &mut out);
    field("From", &format!("Mail server <postmaster@{}>", notice.hostname), &mut out);
    field("To", &format!("<{}>", clean(notice.to)), &mut out);
    field("Subject", &format!("An account has reached its sending limit: {account}"), &mut out);
    field("Message-ID", &format!("<{}>", notice.id), &mut out);
    // RFC 3834 s.5: no answer to a message, but from a machine.
    field("Auto-Submitted", "auto-generated", &mut out);
    field("MIME-Version", "1.0", &mut out);
    let mut text = String::new();
    for sentences in [
        format!("This is the mail server {}.", notice.hostname),
        format!(
            "{account} {done} within a day. That is its limit; what it sends above that is refused until \
             the day is over, and its user is told so."
        ),
        "If this is its user's own doing, nothing is wrong, and the limit can be raised.".to_owned(),
        format!(
            "If it is not, somebody else may have the password. Then give the account a new one at once: `penfold \
             account password {account}`; sessions with the old one end. `penfold queue list` shows what it has \
             sent that has not left yet."
        ),
    ] {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        paragraph("", &sentences, &mut text);
    }
    part(&text, &mut out);
    out.into_bytes()
}
