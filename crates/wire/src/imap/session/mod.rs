//! The IMAP server machine: what a session is, and how a step goes.
//!
//! `receive` takes octets (commands, literals, the lines of AUTHENTICATE and IDLE), `obey` carries a command out or
//! asks the desk, `answers` takes what the desk answered. The desk's questions are in `ask`, the table of commands
//! in `rows`. RFC 3501 s.3 (states), s.5.4 (autologout), s.6.
//!
//! Invariants: one question at a time; nothing is written while one is out; a command's tagged line is written
//! once, after all that belongs to it; a literal begun and not finished ends the connection.

mod answers;
mod ask;
mod obey;
mod receive;
mod rows;

use std::borrow::Cow;

pub use ask::{Answer, Ended, NewState, Question};
pub use rows::{Capabilities, Capability, Config};

use super::code::{Code, Status};
use super::command::{Request, Tag};
use super::frame::{Discard, Frame};
use super::response;
use crate::limits;
use crate::machine::{Event, Machine, Over, Pace, Peer, Step, Tick, Want};
use crate::sasl::Exchange;

/// An IMAP session.
#[derive(Debug)]
pub struct Session {
    config: Config,
    /// Whether the connection is inside TLS now.
    tls: bool,
    state: State,
    doing: Doing,
    /// When the client was last heard, or last served: autologout counts from here.
    heard: Tick,
    /// Of what has begun to come and is not whole: a command, a literal, a message.
    pace: Option<Pace>,
    /// Capabilities switched off: for everybody, after login for the account too.
    without: Capabilities,
    /// Bad commands in a row; before login, in all.
    bad: u32,
    /// Failed logins.
    denied: u32,
    /// The peer will send no more.
    ended: bool,
    /// Goodbye after the current command.
    stopping: bool,
}

/// RFC 3501 s.3. Logout is `Doing::Closed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    NotAuthenticated,
    Authenticated,
    Selected,
}

/// What the machine is in the midst of.
#[derive(Debug)]
enum Doing {
    /// Receiving a command.
    Command(Frame),
    /// Throwing the rest of a command away; then, the verdict on it.
    Discard(Discard, Verdict),
    /// Receiving a line of AUTHENTICATE.
    Sasl { tag: Tag, exchange: Exchange, frame: Frame },
    /// Receiving a message: so many octets are still to come.
    Message { tag: Tag, left: u64 },
    /// The message has come; the command's end is to follow.
    MessageEnd { tag: Tag, frame: Frame },
    /// IDLE, until DONE; `told` is when the client last got something.
    Idle { tag: Tag, frame: Frame, told: Tick },
    /// A question is out.
    Asked { tag: Tag, asked: Asked },
    /// STARTTLS was answered; the handshake is to come.
    Upgrading,
    /// All is said.
    Closed,
}

impl Doing {
    /// Whether what comes is a message or a literal, be it thrown away.
    fn is_body(&self) -> bool {
        matches!(self, Doing::Message { .. } | Doing::MessageEnd { .. } | Doing::Discard(..))
    }
}

/// Which question is out.
#[derive(Debug)]
enum Asked {
    Login,
    Run,
    AppendBegin {
        octets: u64,
        sync: bool,
    },
    AppendEnd,
    /// The verdict follows; with it what else is to be thrown away.
    AppendAborted(Verdict, Option<Discard>),
    IdleBegin,
    IdleUpdate {
        frame: Frame,
    },
    /// With a verdict: something other than DONE ended it.
    IdleEnd(Option<Verdict>),
    /// The mailbox is left; then, the verdict on the SELECT that failed before the desk knew of it.
    Deselect(Verdict),
    Logout,
}

/// How a command ended, to be told in a tagged line, or an untagged one where there was no tag.
#[derive(Clone, Debug)]
struct Verdict {
    tag: Option<Tag>,
    status: Status,
    code: Option<Code>,
    text: Cow<'static, str>,
    /// The mailbox selected before is to be left first.
    deselects: bool,
}

/// What a handler leaves the step with: go on with what is left of the input, or stop here.
type Flow = Option<Want<Question>>;

impl Session {
    /// A session that is about to be opened.
    #[must_use]
    pub fn new(config: Config, peer: &Peer) -> Session {
        Session {
            tls: peer.tls.is_some(),
            without: config.without,
            config,
            state: State::NotAuthenticated,
            doing: Doing::Command(Frame::default()),
            heard: Tick::default(),
            pace: None,
            bad: 0,
            denied: 0,
            ended: false,
            stopping: false,
        }
    }

    fn capabilities(&self) -> String {
        let logged_in = self.state != State::NotAuthenticated;
        rows::capabilities(&self.config, self.tls, logged_in, self.without)
    }

    /// When to stop waiting.
    fn until(&self) -> Tick {
        if self.state == State::NotAuthenticated {
            return Tick(limits::LOGIN_WITHIN);
        }
        let mut until = self.heard.after(limits::IMAP_IDLE);
        if let Some(pace) = self.pace {
            until = until.min(pace.until());
        }
        match &self.doing {
            Doing::Idle { told, .. } => told.after(limits::IMAP_KEEPALIVE).min(until),
            _ => until,
        }
    }

    /// BYE, and the end.
    fn bye(&mut self, code: Option<&Code>, text: &str, out: &mut Vec<u8>) -> Flow {
        response::untagged(Status::Bye, code, text, out);
        self.close()
    }

    fn close(&mut self) -> Flow {
        self.doing = Doing::Closed;
        Some(Want::Close)
    }

    /// Tells how a command ended, and goes on to the next.
    fn finish(&mut self, verdict: &Verdict, out: &mut Vec<u8>) -> Flow {
        let Verdict { tag, status, code, text, deselects } = verdict;
        if let (true, State::Selected, Some(tag)) = (deselects, self.state, tag) {
            let question = Question::Run { request: Request::Unselect, expunge: true };
            return self.ask(tag.clone(), Asked::Deselect(verdict.clone()), question);
        }
        match tag {
            Some(tag) => response::tagged(tag.as_str(), *status, code.as_ref(), text, out),
            None => response::untagged(*status, code.as_ref(), text, out),
        }
        self.doing = Doing::Command(Frame::default());
        self.pace = None;
        match status {
            Status::Bad => self.bad += 1,
            // Before login, no good command makes up for bad ones: it costs nothing.
            _ if self.state != State::NotAuthenticated => self.bad = 0,
            _ => {}
        }
        if self.bad > limits::BAD_COMMANDS {
            return self.bye(None, "Too many bad commands", out);
        }
        if self.denied >= limits::LOGIN_FAILURES && self.state == State::NotAuthenticated {
            return self.bye(None, "Too many failed logins", out);
        }
        None
    }

    /// [`Session::finish`] in one line.
    fn done(&mut self, tag: Tag, status: Status, text: &'static str, out: &mut Vec<u8>) -> Flow {
        self.finish(&Verdict { tag: Some(tag), status, code: None, text: text.into(), deselects: false }, out)
    }

    fn ask(&mut self, tag: Tag, asked: Asked, question: Question) -> Flow {
        self.doing = Doing::Asked { tag, asked };
        self.pace = None;
        Some(Want::Ask(question))
    }

    fn elapsed(&mut self, now: Tick, out: &mut Vec<u8>) -> Flow {
        if self.until() > now {
            return None;
        }
        if self.state == State::NotAuthenticated {
            return self.bye(None, "Too slow to log in", out);
        }
        if self.heard.after(limits::IMAP_IDLE) <= now {
            return self.bye(None, "Nothing was heard for too long", out);
        }
        if self.pace.is_some_and(|pace| pace.until() <= now) {
            return self.bye(None, "What you send comes too slowly", out);
        }
        if let Doing::Idle { told, .. } = &mut self.doing {
            *told = now;
            response::untagged(Status::Ok, None, "Still here", out);
        }
        None
    }

    fn changed(&mut self) -> Flow {
        match std::mem::replace(&mut self.doing, Doing::Closed) {
            Doing::Idle { tag, frame, .. } => {
                self.ask(tag, Asked::IdleUpdate { frame }, Question::IdleUpdate)
            }
            doing => {
                self.doing = doing;
                None
            }
        }
    }

    fn stop(&mut self, over: Over, out: &mut Vec<u8>) -> Flow {
        match self.doing {
            // A message that is under way is let come, and stored; but not for an account whose sessions are over.
            Doing::Message { .. } | Doing::MessageEnd { .. } if over == Over::Shutdown => {
                self.stopping = true;
                None
            }
            Doing::Closed => self.close(),
            _ => self.bye(None, over_text(over), out),
        }
    }

    fn open(&mut self, out: &mut Vec<u8>) {
        let text = format!("{} ready", self.config.hostname);
        response::untagged(Status::Ok, Some(&Code::Capability(self.capabilities())), &text, out);
    }

    /// Takes what is left of the input until something is wanted. `at` is how much of it is used up.
    fn receive(&mut self, input: &[u8], at: &mut usize, now: Tick, out: &mut Vec<u8>) -> Want<Question> {
        loop {
            if self.stopping && matches!(self.doing, Doing::Command(_)) {
                self.bye(None, over_text(Over::Shutdown), out);
            }
            let rest = input.get(*at..).unwrap_or_default();
            let before = *at;
            let taking = self.take(rest, at, out);
            if let (Some(pace), true) = (&mut self.pace, self.doing.is_body()) {
                pace.came(at.saturating_sub(before));
            }
            match taking {
                Taking::Again => {}
                Taking::Want(want) => return want,
                Taking::Starved if self.ended => {
                    self.doing = Doing::Closed;
                    return Want::Close;
                }
                Taking::Starved => {
                    self.pace = match self.pace {
                        _ if *at == input.len() && !self.doing.is_body() => None,
                        pace => pace.or(Some(Pace::from(now))),
                    };
                    // An octet now and then shall not keep the place.
                    if let Some(bye) = self.elapsed(now, out) {
                        return bye;
                    }
                    let watch = matches!(self.doing, Doing::Idle { .. });
                    return Want::Input { until: self.until(), watch };
                }
            }
        }
    }
}

/// Why the session is over, in the words of its BYE.
fn over_text(why: Over) -> &'static str {
    match why {
        Over::Shutdown => "The server is shutting down",
        Over::PasswordChanged => "Your password was changed, log in with the new one",
        Over::AccountRemoved => "Your account was removed",
    }
}

/// What became of a look at the input.
enum Taking {
    /// Some was used; look again.
    Again,
    /// Something is wanted.
    Want(Want<Question>),
    /// There is not enough of it.
    Starved,
}

impl From<Flow> for Taking {
    fn from(flow: Flow) -> Taking {
        flow.map_or(Taking::Again, Taking::Want)
    }
}

impl Machine for Session {
    type Question = Question;
    type Answer = Answer;

    fn step(&mut self, event: Event<Answer>, input: &[u8], now: Tick, out: &mut Vec<u8>) -> Step<Question> {
        let flow = match event {
            Event::Opened => {
                self.open(out);
                None
            }
            Event::Input => {
                self.heard = now;
                None
            }
            Event::Ended => {
                self.ended = true;
                None
            }
            Event::Answer(answer) => {
                // The client waited for us, not we for it; except in IDLE.
                if !matches!(self.doing, Doing::Asked { asked: Asked::IdleUpdate { .. }, .. }) {
                    self.heard = now;
                }
                self.answered(answer, now, out)
            }
            Event::BodyTaken => None,
            Event::Changed => self.changed(),
            Event::Elapsed => self.elapsed(now, out),
            Event::Secured(_) => {
                self.tls = true;
                self.doing = Doing::Command(Frame::default());
                None
            }
            Event::Stopping(over) => self.stop(over, out),
        };
        let mut used = 0;
        let want = match flow {
            Some(want) => want,
            None => self.receive(input, &mut used, now, out),
        };
        Step { used, want }
    }
}

/// Reads a command that is whole, wherever the session stands: for tests and fuzzing.
pub(crate) fn read(text: &[u8]) -> Option<super::command::Command> {
    let (_, name, mut cursor) = super::parse::words(text)?;
    let row = rows::find(&name, Capabilities::NONE)?;
    (row.parse)(&mut cursor).ok()
}
