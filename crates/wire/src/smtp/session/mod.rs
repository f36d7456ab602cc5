//! The SMTP server machine, for port 25 and for submission: one machine with a `Role`.
//!
//! RFC 5321, RFC 6409 (submission), and the extensions in `ext`. It reads commands, keeps their order, asks the desk
//! about what they mean, and says what comes of it. Invariants:
//! - It keeps no octets: a line or a piece of a body stays in the driver's buffer until it is whole.
//! - A refused body is read to its end, or the connection is closed.
//! - After STARTTLS nothing that the client said before counts (RFC 3207 s.4.2).
//! - A command line that ends with a bare LF is obeyed on submission, where scripts and devices send it, and refused
//!   on port 25 (RFC 5321 s.2.3.8), where a lenient peer is what smuggling needs.

mod answers;
mod ask;
mod body;
mod obey;
mod words;

pub use crate::smtp::params::{BodyKind, Hold, Recipient};
pub use ask::{Aborted, Answer, Config, FutureRelease, Hello, Mail, Offers, Question, Role};
pub use words::{over, turned_away};

use crate::limits;
use crate::line::{BareLf, Framed, Framer};
use crate::machine::{Event, Machine, Over, Pace, Peer, Step, Tick, TlsFacts, Want};
use crate::sasl::Exchange;
use crate::smtp::ext::Facts;
use crate::smtp::reply::{Code, Reply};
use body::{Body, Taken};

/// The machine.
#[derive(Debug)]
pub struct Session {
    config: Config,
    tls: Option<TlsFacts>,
    framer: Framer,
    hello: Option<Hello>,
    authenticated: bool,
    transaction: Transaction,
    phase: Phase,
    bad_commands: u32,
    failed_logins: u32,
    stopping: bool,
    /// When the wait began that is going on.
    since: Tick,
    /// Of the body, or the chunk of one, that comes; or came last.
    pace: Pace,
}

/// A mail transaction (RFC 5321 s.3.3), as far as commands tell.
#[derive(Debug)]
enum Transaction {
    None,
    /// MAIL was accepted, with SMTPUTF8 or without, and so many recipients.
    Open {
        recipients: usize,
        smtputf8: bool,
    },
    /// The message has begun to come by BDAT.
    Chunks(Body),
}

/// What the next octets, or the next answer, are.
#[derive(Debug)]
enum Phase {
    /// A command.
    Commands,
    /// An answer.
    Asked(Asked),
    /// A SASL response.
    Sasl(Exchange),
    /// The message, up to the final dot.
    Data(Body),
    /// The message's next `left` octets.
    Chunk { body: Body, chunk: Chunk, left: u64 },
    /// A chunk that is thrown away, and what is said then.
    Refused { left: u64, reply: Reply },
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    size: u64,
    last: bool,
}

/// The question that is out, and what is needed once it is answered.
#[derive(Debug)]
enum Asked {
    Connected,
    Login,
    Mail {
        smtputf8: bool,
    },
    Rcpt,
    Data,
    Chunk(Chunk),
    End,
    /// The transaction is given up; then this is said.
    Aborted(Reply),
    /// The same, and the client introduces itself anew.
    Hello(Hello),
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
            Event::Elapsed if self.until() <= now => self.waited(now, out),
            Event::Input | Event::BodyTaken if self.in_body() => {
                self.since = now;
                None
            }
            Event::Secured(facts) => {
                self.secured(facts, now);
                None
            }
            Event::Stopping(Over::Shutdown) => {
                self.stopping = true;
                None
            }
            // In the midst of a message too: it would not be taken.
            Event::Stopping(over) => self.say(words::over(over), out),
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
        let bare_lf = match config.role {
            Role::Mx => BareLf::Refuse,
            Role::Submission => BareLf::Accept,
        };
        Session {
            config,
            tls: peer.tls.clone(),
            framer: Framer::new(limits::SMTP_COMMAND, bare_lf),
            hello: None,
            authenticated: false,
            transaction: Transaction::None,
            phase: Phase::Commands,
            bad_commands: 0,
            failed_logins: 0,
            stopping: false,
            since: Tick::default(),
            pace: Pace::from(Tick::default()),
        }
    }

    /// One move: what was used of `input`, and what is wanted, unless there is more to do at once.
    fn advance(&mut self, input: &[u8], now: Tick, out: &mut Vec<u8>) -> (usize, Wants) {
        match std::mem::replace(&mut self.phase, Phase::Commands) {
            Phase::Asked(asked) => {
                // Not reached: the driver answers before it calls again. To wait is harmless.
                self.phase = Phase::Asked(asked);
                (0, Some(Want::Input { until: self.until(), watch: false }))
            }
            phase @ (Phase::Commands | Phase::Sasl(_)) if self.stopping => {
                self.phase = phase;
                (0, self.say(words::over(Over::Shutdown), out))
            }
            Phase::Commands => self.line(None, input, now, out),
            Phase::Sasl(exchange) => self.line(Some(exchange), input, now, out),
            Phase::Refused { left: 0, reply } => (0, self.say(reply, out)),
            phase => {
                let (used, want) = self.body(phase, input, out);
                self.pace.came(used);
                match want {
                    // An octet now and then shall not keep the place.
                    Some(Want::Input { .. }) if self.until() <= now => (used, self.waited(now, out)),
                    Some(Want::Input { .. }) => (used, Some(self.wait())),
                    want => (used, want),
                }
            }
        }
    }

    fn body(&mut self, phase: Phase, input: &[u8], out: &mut Vec<u8>) -> (usize, Wants) {
        match phase {
            Phase::Data(body) => self.data(body, input),
            Phase::Chunk { body, chunk, left } => self.chunk(body, chunk, left, input, out),
            Phase::Refused { left, reply } => {
                let n = within(left, input);
                self.phase = Phase::Refused { left: left - n as u64, reply };
                (n, (n == 0).then(|| self.wait()))
            }
            // Not reached: nothing else is a body. To wait is harmless.
            phase => {
                self.phase = phase;
                (0, Some(self.wait()))
            }
        }
    }

    /// A body, or a chunk of one, is to come. The wait for it began just now.
    fn expect(&mut self, body: Phase) {
        self.pace = Pace::from(self.since);
        self.phase = body;
    }

    /// A command line, or a line of an exchange.
    fn line(
        &mut self,
        exchange: Option<Exchange>,
        input: &[u8],
        now: Tick,
        out: &mut Vec<u8>,
    ) -> (usize, Wants) {
        let in_exchange = exchange.is_some();
        match self.framer.next(input) {
            Framed::More { used } => {
                if let Some(exchange) = exchange {
                    self.phase = Phase::Sasl(exchange);
                }
                let over = self.until() <= now;
                (used, if over { self.say(words::idle(), out) } else { Some(self.wait()) })
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
            Framed::TooLong { used } if in_exchange => (used, self.bad(words::response_too_long(), out)),
            Framed::TooLong { used } => (used, self.bad(words::line_too_long(), out)),
            Framed::Bare { used } => (used, self.bad(words::bare_lf(), out)),
        }
    }

    fn data(&mut self, mut body: Body, input: &[u8]) -> (usize, Wants) {
        match body.take(input) {
            Taken::End(used) => (used, Some(self.body_ended(&body))),
            taken => {
                self.phase = Phase::Data(body);
                self.taken(taken)
            }
        }
    }

    fn chunk(
        &mut self,
        mut body: Body,
        chunk: Chunk,
        left: u64,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> (usize, Wants) {
        if left == 0 {
            return (0, self.chunk_ended(body, chunk, out));
        }
        let n = within(left, input);
        let taken = match body.fault {
            Some(_) if n > 0 => Taken::Nothing(n),
            _ => body.take(&input[..n]),
        };
        let (used, want) = match taken {
            // A CR at the end of what is there was used up: look again.
            Taken::More(used) if used > 0 => (used, None),
            taken => self.taken(taken),
        };
        self.phase = Phase::Chunk { body, chunk, left: left - used as u64 };
        (used, want)
    }

    fn taken(&self, taken: Taken) -> (usize, Wants) {
        match taken {
            Taken::More(used) => (used, Some(self.wait())),
            Taken::Part(part, used) => (used, Some(Want::Body(part))),
            Taken::Nothing(used) | Taken::End(used) => (used, None),
        }
    }

    fn chunk_ended(&mut self, mut body: Body, chunk: Chunk, out: &mut Vec<u8>) -> Wants {
        if chunk.last {
            if let Some(part) = body.finish() {
                self.phase = Phase::Chunk { body, chunk, left: 0 };
                return Some(Want::Body(part));
            }
            return Some(self.body_ended(&body));
        }
        if body.fault.is_some() {
            return Some(self.body_ended(&body));
        }
        self.transaction = Transaction::Chunks(body);
        self.say(words::chunk_taken(chunk.size), out)
    }

    fn body_ended(&mut self, body: &Body) -> Want<Question> {
        match body.fault {
            Some(why) => {
                let reply = words::aborted(why, self.config.max_message);
                self.ask(Asked::Aborted(reply), Question::DataAborted(why))
            }
            None => self.ask(Asked::End, Question::DataEnd { octets: body.octets }),
        }
    }

    fn ask(&mut self, asked: Asked, question: Question) -> Want<Question> {
        self.phase = Phase::Asked(asked);
        Want::Ask(question)
    }

    /// Says it; a 421 ends the connection.
    fn say(&mut self, reply: Reply, out: &mut Vec<u8>) -> Wants {
        reply.write(out);
        (reply.code() == Code::UNAVAILABLE).then_some(Want::Close)
    }

    /// The same, about something that a working client does not do.
    fn bad(&mut self, reply: Reply, out: &mut Vec<u8>) -> Wants {
        self.bad_commands += 1;
        if self.bad_commands >= limits::BAD_COMMANDS {
            return self.say(words::too_many_errors(), out);
        }
        self.say(reply, out)
    }

    /// What was waited for has not come in time.
    fn waited(&mut self, now: Tick, out: &mut Vec<u8>) -> Wants {
        let slow = self.in_body() && self.pace.until() <= now;
        self.say(if slow { words::too_slow() } else { words::idle() }, out)
    }

    fn in_body(&self) -> bool {
        matches!(self.phase, Phase::Data(_) | Phase::Chunk { .. } | Phase::Refused { .. })
    }

    /// When to give up. A command must be whole in time; of a body something must come in time, and all of it at a
    /// pace.
    fn until(&self) -> Tick {
        let idle = self.since.after(limits::SMTP_IDLE);
        match self.config.role {
            _ if self.in_body() => idle.min(self.pace.until()),
            Role::Submission if !self.authenticated => idle.min(Tick(limits::LOGIN_WITHIN)),
            _ => idle,
        }
    }

    fn wait(&self) -> Want<Question> {
        Want::Input { until: self.until(), watch: false }
    }

    fn facts(&self) -> Facts<'_> {
        Facts { config: &self.config, tls: self.tls.is_some() }
    }

    fn secured(&mut self, facts: TlsFacts, now: Tick) {
        self.tls = Some(facts);
        self.hello = None;
        self.framer.reset();
        self.since = now;
    }
}

/// How many octets at the front of `input` belong to a chunk of which `left` are still to come.
fn within(left: u64, input: &[u8]) -> usize {
    usize::try_from(left).map_or(input.len(), |left| left.min(input.len()))
}

#[cfg(test)]
mod tests;
