//! What the IMAP machine asks its desk, and what a desk may answer. No protocol text.
//!
//! While a question is out, the desk writes untagged data itself (`response`), then answers with how the command
//! ended; the machine writes the tagged line. At the end of a command the desk also tells what is new in the
//! selected mailbox (EXISTS, FETCH FLAGS, and EXPUNGE where the question allows it).
//!
//! The life of an APPEND: `AppendBegin` → `Go` → body parts → `AppendEnd` (or `AppendAborted`). When the connection
//! goes away in between, nothing is asked: the desk is dropped, and takes what it began with it.

use std::borrow::Cow;

use super::rows::Capabilities;
use crate::imap::code::{Code, Status};
use crate::imap::command::{Append, Request};
use crate::sasl::Credentials;

/// What the machine asks.
#[derive(Debug)]
pub enum Question {
    /// Somebody wants to log in (LOGIN or AUTHENTICATE). Answer `LoggedIn`, `Denied`, or `Ended` with a NO when it
    /// cannot be found out now.
    Login(Credentials),
    /// A command. Answer `Ended`.
    Run {
        /// What is to be done.
        request: Request,
        /// Whether EXPUNGE may be told before it ends (RFC 3501 s.7.4.1).
        expunge: bool,
    },
    /// A message is to be appended. Answer `Go`, or `Ended` with a NO: then no octet of it will come.
    AppendBegin(Append),
    /// The message is whole: `Append::size` octets were given. Answer `Ended` with `Code::AppendUid`. A desk that
    /// could not take a part of it (no space) swallows the rest, and says so here.
    AppendEnd,
    /// The octets came, but what followed them was not the command's end; they are not to be kept. Answer `Done`.
    AppendAborted,
    /// NOOP or CHECK: tell what is new, EXPUNGE too. Answer `Ended`, as OK.
    Poll,
    /// IDLE begins: tell what is new. From now on the desk's watch may wake the machine. Answer `Done`.
    IdleBegin,
    /// The watch fired: tell what is new. Answer `Done`.
    IdleUpdate,
    /// IDLE ends: tell what is new. Answer `Ended`, as OK.
    IdleEnd,
    /// LOGOUT. Answer `Done`.
    Logout,
}

/// What a desk answers.
#[derive(Debug)]
pub enum Answer {
    /// To `Login`: it is the user. Capabilities that do not agree with the account's client are left out from now
    /// on; `Capabilities::NONE` leaves all in.
    LoggedIn {
        /// Switched off for this account.
        without: Capabilities,
    },
    /// To `Login`: wrong user or password. Counted.
    Denied,
    /// To `AppendBegin`: let the octets come.
    Go,
    /// There is nothing to say about how it ended.
    Done,
    /// How a command ended.
    Ended(Ended),
    /// To anything: the session cannot go on. Said as BYE, and the connection closes.
    Bye {
        /// The response code.
        code: Option<Code>,
        /// The text.
        text: Cow<'static, str>,
    },
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// `Ok`, `No` or `Bad`.
    pub status: Status,
    /// The response code.
    pub code: Option<Code>,
    /// Printable ASCII.
    pub text: Cow<'static, str>,
    /// Where the session stands now, if elsewhere than before.
    pub state: Option<NewState>,
}

/// Where a session stands after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewState {
    /// A mailbox is selected.
    Selected {
        /// Opened by EXAMINE, or not to be changed.
        read_only: bool,
    },
    /// No mailbox is selected: CLOSE, UNSELECT, or a SELECT that failed (RFC 3501 s.6.3.1).
    Authenticated,
}

impl Ended {
    /// OK.
    #[must_use]
    pub fn ok(text: impl Into<Cow<'static, str>>) -> Ended {
        Ended { status: Status::Ok, code: None, text: text.into(), state: None }
    }

    /// NO.
    #[must_use]
    pub fn no(code: Option<Code>, text: impl Into<Cow<'static, str>>) -> Ended {
        Ended { status: Status::No, code, text: text.into(), state: None }
    }

    /// BAD.
    #[must_use]
    pub fn bad(text: impl Into<Cow<'static, str>>) -> Ended {
        Ended { status: Status::Bad, code: None, text: text.into(), state: None }
    }

    /// With a response code.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Ended {
        self.code = Some(code);
        self
    }

    /// With a new state.
    #[must_use]
    pub fn with_state(mut self, state: NewState) -> Ended {
        self.state = Some(state);
        self
    }
}

impl From<Ended> for Answer {
    fn from(ended: Ended) -> Answer {
        Answer::Ended(ended)
    }
}
