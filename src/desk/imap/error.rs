//! What the store refuses, in IMAP's words. A client never sees an inner error's text; the log does.
//!
//! RFC 5530 for the response codes.

use store::{CommitError, ReadError, Refused};
use wire::imap::code::Code;
use wire::imap::session::Ended;

fn no(code: Code, text: &'static str) -> Ended {
    Ended::no(Some(code), text)
}

/// Why a change was not made.
pub(super) fn commit(error: &CommitError) -> Ended {
    let refused = match error {
        CommitError::Refused(refused) => refused,
        CommitError::Full => return no(Code::Limit, "The server's disk is full"),
        CommitError::Broken | CommitError::Closed => {
            tracing::error!(%error, "a change could not be stored");
            return no(Code::Unavailable, "The server cannot store anything now, try again later");
        }
    };
    match refused {
        Refused::NoSuchMailbox => no(Code::NonExistent, "There is no such mailbox"),
        Refused::AlreadyExists => no(Code::AlreadyExists, "There is such a mailbox already"),
        Refused::SpecialUseTaken => no(Code::UseAttr, "Another mailbox is used for this"),
        Refused::InboxCannot => no(Code::Cannot, "INBOX cannot be removed or replaced"),
        Refused::BadName(_) => no(Code::Cannot, "A mailbox cannot have this name"),
        Refused::IntoItself => no(Code::Cannot, "A mailbox cannot be moved below itself"),
        Refused::KeywordLimit => no(Code::Limit, "The mailbox has too many keywords"),
        Refused::Limit(_) => no(Code::Limit, "A limit is reached"),
        // RFC 9208 s.4.3.1
        Refused::OverQuota => no(Code::OverQuota, "The quota is used up"),
        other => {
            tracing::error!(error = %other, "the store refused what a session asked");
            no(Code::ServerBug, "The server did not understand itself")
        }
    }
}

/// Why something could not be read.
pub(super) fn read(error: &ReadError) -> Ended {
    match error {
        ReadError::NoSuchMailbox => no(Code::NonExistent, "There is no such mailbox"),
        ReadError::Damaged(place) => {
            tracing::error!(%place, "a message is damaged on disk");
            no(Code::Corruption, "A message is damaged on the server's disk")
        }
        other => {
            tracing::error!(error = %other, "reading failed");
            no(Code::Unavailable, "The server cannot read its disk now, try again later")
        }
    }
}

/// Why a session cannot keep its mailbox.
pub(super) fn bye(error: &ReadError) -> &'static str {
    match error {
        ReadError::NoSuchMailbox => "The mailbox has been deleted",
        _ => "The mailbox cannot be read now",
    }
}
