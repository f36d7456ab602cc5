//! The POP3 server machine.
//!
//! RFC 1939 and the extensions in `capa`. Invariants:
//! - It knows no messages: the desk holds the maildrop, and says what there is.
//! - Messages are removed after QUIT in the TRANSACTION state, and never otherwise: not on a lost connection, not on
//!   the autologout timer (RFC 1939 s.3), whose end is silent.
//! - After STLS nothing that the client said before counts (RFC 2595 s.4).
//! - A line that ends with a bare LF is obeyed: the protocol has no body on its way in that it could smuggle.

mod ask;

pub use ask::{Answer, Config, Failure, Question};

use super::capa::{self, Capability, Facts};
use super::command::{Command, CommandError, Row, When};
use super::reply;
use crate::limits;
use crate::line::{BareLf, Framed, Framer};
use crate::machine::{Event, Machine, Over, Peer, Step, Tick, TlsFacts, Want};
use crate::sasl::{Credentials, Exchange, Mechanism, Progress};
use crate::secret::Secret;

/// The machine.
#[derive(Debug)]
pub struct Session {
    config: Config,
    tls: Option<TlsFacts>,
    framer: Framer,
    state: State,
    phase: Phase,
    bad_commands: u32,
    failed_logins: u32,
    /// Why it is to end now.
    over: Option<Over>,
    /// When the wait began that is going on.
    since: Tick,
}

/// RFC 1939 s.3. The UPDATE state is the time between `Question::Quit` and the end.
#[derive(Debug)]
enum State {
    Authorization {
        /// What USER said.
        user: Option<String>,
    },
    Transaction,
}

/// What the next line, or the next answer, is.
#[derive(Debug)]
enum Phase {
    /// A command.
    Commands,
    /// An answer.
    Asked(Asked),
    /// A SASL response.
    Sasl(Exchange),
}

/// The question that is out, as far as the reply depends on it.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Connected,
    Login,
    /// About one message; the number is repeated in the reply.
    One(u32),
    Stat,
    Rset,
    Dele,
    /// The desk streams its reply.
    Streamed,
    Quit,
}

type Wants = Option<Want<Question>>;

impl Machine for Session {
    type Question = Question;
    type Answer = Answer;

    fn step(&mut self, event: Event<Answer>, input: &[u8], now: Tick, out: &mut Vec<u8>) -> Step<Question> {
        let want = match event {
            Event::Opened => Some(self.ask(Asked::Connected, Question::Connected)),
            Event::Answer(answer) => {
                self.since = now;
                self.answered(answer, out)
            }
            Event::Ended => Some(Want::Close),
            Event::Elapsed if self.until() <= now => Some(Want::Close),
            Event::Secured(facts) => {
                self.tls = Some(facts);
                self.state = State::Authorization { user: None };
                self.framer.reset();
                self.since = now;
                None
            }
            Event::Stopping(over) => {
                self.over = Some(over);
                None
            }
            Event::Input | Event::BodyTaken | Event::Changed | Event::Elapsed => None,
        };
        match want {
            Some(want) => Step { used: 0, want },
            None => Step::through(input, |rest| self.advance(rest, now, out)),
        }
    }
}

impl Session {
    /// A machine for a connection that has just been accepted.
    #[must_use]
    pub fn new(config: Config, peer: &Peer) -> Session {
        Session {
            config,
            tls: peer.tls.clone(),
            framer: Framer::new(limits::POP3_COMMAND, BareLf::Accept),
            state: State::Authorization { user: None },
            phase: Phase::Commands,
            bad_commands: 0,
            failed_logins: 0,
            over: None,
            since: Tick::default(),
        }
    }

    /// One move: what was used of `input`, and what is wanted, unless there is more to do at once.
    fn advance(&mut self, input: &[u8], now: Tick, out: &mut Vec<u8>) -> (usize, Wants) {
        let exchange = match std::mem::replace(&mut self.phase, Phase::Commands) {
            Phase::Asked(asked) => {
                // Not reached: the driver answers before it calls again. To wait is harmless.
                self.phase = Phase::Asked(asked);
                return (0, Some(self.wait()));
            }
            phase => match (self.over, phase) {
                (Some(over), _) => {
                    reply::over(over, out);
                    return (0, Some(Want::Close));
                }
                (None, Phase::Sasl(exchange)) => Some(exchange),
                (None, _) => None,
            },
        };
        match self.framer.next(input) {
            Framed::More { used } => {
                if let Some(exchange) = exchange {
                    self.phase = Phase::Sasl(exchange);
                }
                (used, Some(if self.until() <= now { Want::Close } else { self.wait() }))
            }
            Framed::Line { text, used } => {
                self.since = now;
                let want = match exchange {
                    Some(mut exchange) => {
                        let progress = exchange.respond(&input[text]);
                        self.progress(exchange, progress, out)
                    }
                    None => self.command(&input[text], out),
                };
                (used, want)
            }
            Framed::TooLong { used } | Framed::Bare { used } => (used, self.bad("line too long", out)),
        }
    }

    fn command(&mut self, line: &[u8], out: &mut Vec<u8>) -> Wants {
        let (row, command) = Command::parse(line);
        if let Some(words) = row.and_then(|row| self.not_now(row)) {
            return self.bad(words, out);
        }
        match (command, row) {
            (Ok(command), _) => self.obey(command, out),
            (Err(CommandError::Arguments), Some(row)) => {
                self.bad(&format!("this is written: {}", row.usage), out)
            }
            (Err(_), _) => self.bad("no such command", out),
        }
    }

    /// Why a command cannot be said now.
    fn not_now(&self, row: &Row) -> Option<&'static str> {
        match (row.when, &self.state) {
            (When::Authorization, State::Transaction) => return Some("already logged in"),
            (When::Transaction, State::Authorization { .. }) => return Some("log in first"),
            _ => {}
        }
        match row.capability {
            Some(capability) if capability.is_offered(self.facts()) => None,
            Some(Capability::User | Capability::Sasl) => {
                Some("say STLS first: passwords travel encrypted only")
            }
            Some(Capability::Stls) if self.tls.is_some() => Some("TLS is on already"),
            Some(_) => Some("not offered here"),
            None => None,
        }
    }

    fn obey(&mut self, command: Command, out: &mut Vec<u8>) -> Wants {
        let (asked, question) = match command {
            Command::User(name) => {
                self.state = State::Authorization { user: Some(name) };
                // Whether there is such a user is not told.
                reply::ok("now the password", out);
                return None;
            }
            Command::Pass(password) => return self.pass(password, out),
            Command::Auth { mechanism, initial } => {
                return self.auth(mechanism.as_deref(), initial.as_ref().map(|i| i.expose().as_slice()), out);
            }
            Command::Stls => {
                reply::ok("start TLS now", out);
                return Some(Want::Upgrade);
            }
            Command::Capa => {
                reply::ok("what can be had", out);
                capa::lines(self.facts()).for_each(|line| reply::row(&line, out));
                reply::end(out);
                return None;
            }
            Command::Noop => {
                reply::ok("", out);
                return None;
            }
            Command::Quit if matches!(self.state, State::Authorization { .. }) => {
                reply::ok("goodbye", out);
                return Some(Want::Close);
            }
            Command::Quit => (Asked::Quit, Question::Quit),
            Command::Stat => (Asked::Stat, Question::Stat),
            Command::List(None) => (Asked::Streamed, Question::List(None)),
            Command::List(Some(n)) => (Asked::One(n.get()), Question::List(Some(n))),
            Command::Uidl(None) => (Asked::Streamed, Question::Uidl(None)),
            Command::Uidl(Some(n)) => (Asked::One(n.get()), Question::Uidl(Some(n))),
            Command::Retr(n) => (Asked::Streamed, Question::Retr(n)),
            Command::Top { number, lines } => (Asked::Streamed, Question::Top { number, lines }),
            Command::Dele(n) => (Asked::Dele, Question::Dele(n)),
            Command::Rset => (Asked::Rset, Question::Rset),
        };
        Some(self.ask(asked, question))
    }

    fn pass(&mut self, password: Secret<String>, out: &mut Vec<u8>) -> Wants {
        match &mut self.state {
            State::Authorization { user } => match user.take() {
                Some(user) => {
                    let credentials = Credentials { authorization: None, user, password };
                    Some(self.ask(Asked::Login, Question::Login(credentials)))
                }
                None => self.bad("say USER first", out),
            },
            State::Transaction => self.bad("already logged in", out),
        }
    }

    fn auth(&mut self, mechanism: Option<&str>, initial: Option<&[u8]>, out: &mut Vec<u8>) -> Wants {
        let Some(name) = mechanism else {
            reply::ok("mechanisms", out);
            Mechanism::ALL.iter().for_each(|m| reply::row(m.name(), out));
            reply::end(out);
            return None;
        };
        let Some(mechanism) = Mechanism::parse(name.as_bytes()) else {
            return self.bad("that mechanism is not offered", out);
        };
        let (exchange, progress) = Exchange::begin(mechanism, initial);
        self.progress(exchange, progress, out)
    }

    fn progress(&mut self, exchange: Exchange, progress: Progress, out: &mut Vec<u8>) -> Wants {
        match progress {
            Progress::Challenge(text) => {
                self.phase = Phase::Sasl(exchange);
                reply::row(&format!("+ {text}"), out);
                None
            }
            Progress::Done(credentials) => Some(self.ask(Asked::Login, Question::Login(credentials))),
            Progress::Failed(error) => self.bad(&error.to_string(), out),
        }
    }

    fn answered(&mut self, answer: Answer, out: &mut Vec<u8>) -> Wants {
        let Phase::Asked(asked) = std::mem::replace(&mut self.phase, Phase::Commands) else { return None };
        match (asked, answer) {
            (_, Answer::Failed(failure)) => return self.failed(asked, failure, out),
            (Asked::Connected, _) => reply::ok(&format!("{} POP3 Penfold", self.config.hostname), out),
            (Asked::Login, answer) => {
                self.state = State::Transaction;
                match answer {
                    Answer::Stat { count, octets } => {
                        reply::ok(&format!("{count} messages ({octets} octets)"), out);
                    }
                    _ => reply::ok("welcome", out),
                }
            }
            // RFC 1939 s.5: a drop listing, nothing before it.
            (Asked::Stat, Answer::Stat { count, octets }) => reply::ok(&format!("{count} {octets}"), out),
            (_, Answer::Stat { count, octets }) => {
                reply::ok(&format!("{count} messages ({octets} octets)"), out);
            }
            (Asked::One(n), Answer::Listed(octets)) => reply::ok(&format!("{n} {octets}"), out),
            (Asked::One(n), Answer::Uid(uid)) => reply::ok(&format!("{n} {uid}"), out),
            (Asked::Streamed, _) => {}
            (Asked::Dele, _) => reply::ok("marked for removal", out),
            (Asked::Quit, _) => {
                reply::ok("goodbye", out);
                return Some(Want::Close);
            }
            // An answer that does not fit its question: a desk's mistake, made harmless.
            (Asked::One(_) | Asked::Stat | Asked::Rset, _) => reply::ok("", out),
        }
        None
    }

    fn failed(&mut self, asked: Asked, failure: Failure, out: &mut Vec<u8>) -> Wants {
        let (code, words) = match failure {
            Failure::NoSuchMessage => (None, "no such message"),
            Failure::Denied => (Some("AUTH"), "wrong user or password"),
            Failure::InUse => (Some("IN-USE"), "another session has this maildrop"),
            Failure::TooOften => {
                (Some("SYS/TEMP"), "too many failed logins from your address, try again in a few minutes")
            }
            Failure::Temporary if matches!(asked, Asked::Quit) => {
                (Some("SYS/TEMP"), "some messages were not removed")
            }
            Failure::Temporary => (Some("SYS/TEMP"), "trouble here, try again later"),
            Failure::Permanent => (Some("SYS/PERM"), "trouble here, somebody has to mend it"),
            Failure::Refused => (Some("SYS/TEMP"), "no service for you now"),
        };
        reply::err(code, words, out);
        if failure == Failure::Denied {
            self.failed_logins += 1;
        }
        let over = matches!(asked, Asked::Quit | Asked::Connected)
            || failure == Failure::Refused
            || self.failed_logins >= limits::LOGIN_FAILURES;
        over.then_some(Want::Close)
    }

    fn ask(&mut self, asked: Asked, question: Question) -> Want<Question> {
        self.phase = Phase::Asked(asked);
        Want::Ask(question)
    }

    /// Refuses something that a working client does not do.
    fn bad(&mut self, words: &str, out: &mut Vec<u8>) -> Wants {
        self.bad_commands += 1;
        if self.bad_commands >= limits::BAD_COMMANDS {
            reply::err(None, "too many errors, closing", out);
            return Some(Want::Close);
        }
        reply::err(None, words, out);
        None
    }

    fn until(&self) -> Tick {
        let idle = self.since.after(limits::POP3_IDLE);
        match self.state {
            State::Authorization { .. } => idle.min(Tick(limits::LOGIN_WITHIN)),
            State::Transaction => idle,
        }
    }

    fn wait(&self) -> Want<Question> {
        Want::Input { until: self.until(), watch: false }
    }

    fn facts(&self) -> Facts<'_> {
        Facts { config: &self.config, tls: self.tls.is_some() }
    }
}
