//! The SMTP client machine: one connection to a server, and any number of transactions over it.
//!
//! RFC 5321 s.3, s.4.5.3.2 (timeouts), RFC 2920 (PIPELINING), RFC 3207, RFC 4954, and of what else a server offers RFC 1870,
//! RFC 3461, RFC 6152, RFC 6531 and RFC 8689. What is to be sent, and whether the connection is safe enough for it, the desk
//! decides. Invariants:
//! - Each recipient of an envelope has exactly one fate in exactly one outcome, unless the desk gave the message up.
//! - Nothing is taken for accepted but by a 2yz reply to the whole message.
//! - After STARTTLS nothing that the server said before counts (RFC 3207 s.4.2).
//! - It says nothing itself that holds a password, so that its words can be logged.

mod ask;
mod extensions;
mod hear;
mod reply;
mod transaction;
mod write;

pub use crate::smtp::params::Recipient;
pub use ask::{
    Answer, AuthError, Config, Envelope, Failure, Fate, Outcome, Phase, Question, Ready, Refused, Unsaid, Why,
};
pub use extensions::Extensions;
pub use reply::{Class, Found, Replies, Reply};

use std::time::Duration;

use crate::limits;
use crate::machine::{Event, Machine, Peer, Step, Tick, TlsFacts, Want};
use crate::sasl::client::{Begun, Exchange, Login};
use crate::secret::Secret;
use transaction::Transaction;

/// How long replies may take (RFC 5321 s.4.5.3.2). `Default` is what the RFC asks for at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The greeting, and replies to all commands but those below.
    pub command: Duration,
    /// The reply to DATA.
    pub data: Duration,
    /// The reply to a whole message.
    pub message: Duration,
    /// The reply to QUIT, for which nobody has to wait.
    pub quit: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            command: limits::SMTP_REPLY_WITHIN,
            data: limits::SMTP_DATA_WITHIN,
            message: limits::SMTP_MESSAGE_WITHIN,
            quit: limits::SMTP_QUIT_WITHIN,
        }
    }
}

/// The machine.
#[derive(Debug)]
pub struct Client {
    config: Config,
    tls: Option<TlsFacts>,
    replies: Replies,
    greeting: Option<Reply>,
    offered: Extensions,
    authenticated: bool,
    state: State,
    /// When the wait began that is going on.
    since: Tick,
    /// The server will send no more.
    ended: bool,
    stopping: bool,
    /// The server has a transaction that has not ended.
    open: bool,
}

/// What the next octets, or the next answer, are.
#[derive(Debug)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Auth(Box<Exchange>),
    /// The exchange was called off for this reason.
    Cancelled(AuthError),
    Envelope(Box<Transaction>),
    /// The message was sent.
    Message(Box<Transaction>),
    /// A message of nothing was sent, for nobody.
    Dot(Box<Transaction>),
    Quit,
    Asked(Asked),
    Closed,
}

/// The question that is out.
#[derive(Debug)]
enum Asked {
    Ready,
    /// To write a line of an exchange, or the end of one.
    Say(Box<Exchange>),
    Next,
    Body(Box<Transaction>),
    Outcome {
        over: bool,
    },
    Over,
}

type Wants = Option<Want<Question>>;

impl Machine for Client {
    type Question = Question;
    type Answer = Answer;

    fn step(&mut self, event: Event<Answer>, input: &[u8], now: Tick, out: &mut Vec<u8>) -> Step<Question> {
        let want = match event {
            Event::Answer(answer) => {
                self.since = now;
                self.answered(answer, out)
            }
            Event::Ended => {
                self.ended = true;
                None
            }
            Event::Elapsed if self.until() <= now => Some(self.failed(Why::TimedOut, out)),
            Event::Secured(facts) => {
                self.since = now;
                self.secured(facts, out);
                None
            }
            Event::Stopping(_) => self.stop(out),
            Event::Opened | Event::Input | Event::BodyTaken | Event::Changed | Event::Elapsed => None,
        };
        match want {
            Some(want) => Step { used: 0, want },
            None => Step::through(input, |rest| self.advance(rest, now, out)),
        }
    }
}

impl Client {
    /// A machine for a connection that has just been made.
    #[must_use]
    pub fn new(config: Config, peer: &Peer) -> Client {
        Client {
            config,
            tls: peer.tls.clone(),
            replies: Replies::default(),
            greeting: None,
            offered: Extensions::default(),
            authenticated: false,
            state: State::Greeting,
            since: Tick::default(),
            ended: false,
            stopping: false,
            open: false,
        }
    }

    /// One move: what was used of `input`, and what is wanted, unless there is more to do at once.
    fn advance(&mut self, input: &[u8], now: Tick, out: &mut Vec<u8>) -> (usize, Wants) {
        if matches!(self.state, State::Closed) {
            return (0, Some(Want::Close));
        }
        match self.replies.next(input) {
            Found::Reply { reply, used } => {
                self.since = now;
                (used, self.reply(reply, out))
            }
            Found::Bad { text } => (input.len(), Some(self.failed(Why::BadReply(text), out))),
            Found::More { used } if self.ended => (used, Some(self.failed(Why::Lost, out))),
            Found::More { used } if self.until() <= now => (used, Some(self.failed(Why::TimedOut, out))),
            Found::More { used } => (used, Some(Want::Input { until: self.until(), watch: false })),
        }
    }

    fn answered(&mut self, answer: Answer, out: &mut Vec<u8>) -> Wants {
        let State::Asked(asked) = std::mem::replace(&mut self.state, State::Closed) else { return None };
        match (asked, answer) {
            (Asked::Ready, Answer::StartTls) if self.tls.is_none() => {
                write::command("STARTTLS", out);
                self.state = State::StartTls;
                None
            }
            (Asked::Ready, Answer::Authenticate(login)) if !self.authenticated => Some(self.log_in(login)),
            (Asked::Ready, Answer::Go) => Some(self.ask(Asked::Next, Question::Next)),
            (Asked::Say(exchange), Answer::Said) => {
                self.state = State::Auth(exchange);
                None
            }
            (Asked::Next, Answer::Send(envelope)) => self.begin(*envelope, out),
            (Asked::Body(transaction), Answer::Sent) => {
                self.state = State::Message(transaction);
                None
            }
            (Asked::Outcome { over: false }, Answer::Noted) if !self.stopping => {
                Some(self.ask(Asked::Next, Question::Next))
            }
            // In the midst of a message QUIT would be a part of it.
            (Asked::Body(_) | Asked::Over | Asked::Outcome { over: true }, _) => Some(Want::Close),
            _ if self.ended => Some(Want::Close),
            _ => {
                write::command("QUIT", out);
                self.state = State::Quit;
                None
            }
        }
    }

    fn log_in(&mut self, login: Login) -> Want<Question> {
        let Some(Begun { exchange, mechanism, initial }) = Exchange::begin(login, &self.offered.auth) else {
            return self.refused(Refused::Auth(AuthError::NoMechanism));
        };
        let mut line = Secret::new(format!("AUTH {mechanism}").into_bytes());
        if let Some(initial) = initial {
            line = Secret::new([line.expose(), &b" "[..], initial.expose()].concat());
        }
        self.say(Box::new(exchange), line.expose())
    }

    fn begin(&mut self, envelope: Envelope, out: &mut Vec<u8>) -> Wants {
        let unsaid = write::unsaid(&envelope, &self.offered, self.tls.is_some());
        let mut transaction = Transaction::new(envelope, self.open, &self.offered);
        if let Some(unsaid) = unsaid {
            transaction.rest(&Fate::Unsaid(unsaid));
        }
        if transaction.is_settled() {
            return Some(self.done(transaction, false));
        }
        transaction.say(&self.offered, out);
        self.state = State::Envelope(Box::new(transaction));
        None
    }

    fn hello(&mut self, out: &mut Vec<u8>) -> Wants {
        write::command(format_args!("EHLO {}", self.config.name), out);
        self.state = State::Ehlo;
        None
    }

    fn secured(&mut self, facts: TlsFacts, out: &mut Vec<u8>) {
        self.tls = Some(facts);
        self.authenticated = false;
        self.replies = Replies::default();
        self.offered = Extensions::default();
        self.hello(out);
    }

    /// The server shuts down: a message that was sent is waited for, so that it is not sent twice.
    fn stop(&mut self, out: &mut Vec<u8>) -> Wants {
        self.stopping = true;
        match self.state {
            State::Message(_) | State::Dot(_) | State::Quit => None,
            _ => Some(self.failed(Why::Stopping, out)),
        }
    }

    /// The connection is of no further use.
    fn failed(&mut self, why: Why, out: &mut Vec<u8>) -> Want<Question> {
        let state = std::mem::replace(&mut self.state, State::Closed);
        let answers = !matches!(why, Why::Lost) && !matches!(&why, Why::Reply(reply) if reply.is_closing());
        if answers && !matches!(state, State::Quit | State::Closed | State::Asked(_)) {
            // RFC 5321 s.4.1.1.10.
            write::command("QUIT", out);
        }
        let phase = match state {
            State::Greeting => Phase::Greeting,
            State::Ehlo | State::Helo => Phase::Hello,
            State::StartTls => Phase::StartTls,
            State::Auth(_) | State::Cancelled(_) => Phase::Auth,
            State::Envelope(transaction) => {
                let phase = transaction.phase();
                return self.lost(*transaction, phase, why);
            }
            State::Message(transaction) => return self.lost(*transaction, Phase::Message, why),
            State::Dot(transaction) => return self.done(*transaction, true),
            State::Quit | State::Closed | State::Asked(_) => return Want::Close,
        };
        self.ask(Asked::Over, Question::Over(Failure { phase, why }))
    }

    fn lost(&mut self, mut transaction: Transaction, phase: Phase, why: Why) -> Want<Question> {
        transaction.rest(&Fate::Failed(Failure { phase, why }));
        self.done(transaction, true)
    }

    fn done(&mut self, transaction: Transaction, over: bool) -> Want<Question> {
        self.ask(Asked::Outcome { over }, Question::Outcome(transaction.outcome(over)))
    }

    fn ready(&mut self) -> Want<Question> {
        let ready = Ready {
            extensions: self.offered.clone(),
            tls: self.tls.clone(),
            authenticated: self.authenticated,
            greeting: self.greeting.clone(),
        };
        self.ask(Asked::Ready, Question::Ready(ready))
    }

    fn refused(&mut self, refused: Refused) -> Want<Question> {
        self.ask(Asked::Ready, Question::Refused(refused))
    }

    fn say(&mut self, exchange: Box<Exchange>, line: &[u8]) -> Want<Question> {
        let line = Secret::new([line, b"\r\n"].concat());
        self.ask(Asked::Say(exchange), Question::Say(line))
    }

    fn ask(&mut self, asked: Asked, question: Question) -> Want<Question> {
        self.state = State::Asked(asked);
        Want::Ask(question)
    }

    /// When to give up waiting for a reply.
    fn until(&self) -> Tick {
        let timeouts = &self.config.timeouts;
        self.since.after(match &self.state {
            State::Envelope(transaction) if transaction.phase() == Phase::Data => timeouts.data,
            State::Message(_) | State::Dot(_) => timeouts.message,
            State::Quit => timeouts.quit,
            _ => timeouts.command,
        })
    }
}

#[cfg(test)]
mod tests;
