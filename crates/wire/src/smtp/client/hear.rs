//! What comes of each reply: the new state, and what is said or asked next.

use super::Asked;
use super::transaction::{Then, Transaction};
use super::{
    AuthError, Class, Client, Extensions, Fate, Phase, Question, Refused, Reply, State, Wants, Why, write,
};
use crate::machine::Want;
use crate::sasl::client::{Broken, Exchange};

impl Client {
    /// A reply, to what was said last.
    pub(super) fn reply(&mut self, reply: Reply, out: &mut Vec<u8>) -> Wants {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Greeting if reply.is_positive() => {
                self.greeting = Some(reply);
                self.hello(out)
            }
            state @ (State::Greeting
            | State::Ehlo
            | State::Helo
            | State::StartTls
            | State::Auth(_)
            | State::Cancelled(_))
                if reply.is_closing() =>
            {
                self.state = state;
                Some(self.failed(Why::Reply(reply), out))
            }
            State::Ehlo if reply.is_positive() => {
                self.offered = Extensions::parse(reply.text());
                Some(self.ready())
            }
            // RFC 5321 s.3.2, s.4.1.1.1: a server that does not know EHLO.
            State::Ehlo if reply.class() == Class::Permanent => {
                write::command(format_args!("HELO {}", self.config.name), out);
                self.state = State::Helo;
                None
            }
            State::Helo if reply.is_positive() => Some(self.ready()),
            State::StartTls if reply.is_positive() => {
                self.state = State::StartTls;
                Some(Want::Upgrade)
            }
            State::StartTls if reply.class() != Class::Intermediate => {
                Some(self.refused(Refused::StartTls(reply)))
            }
            State::Auth(exchange) => self.auth(exchange, reply, out),
            State::Cancelled(error) => Some(self.refused(Refused::Auth(error))),
            State::Envelope(mut transaction) => {
                let then = transaction.reply(reply.clone(), &self.offered, out);
                self.then(transaction, then, &reply, out)
            }
            State::Message(mut transaction) => {
                let over = reply.is_closing();
                match reply.class() {
                    Class::Intermediate => {
                        self.state = State::Message(transaction);
                        return Some(self.failed(Why::BadReply(reply.to_string()), out));
                    }
                    Class::Positive => transaction.rest(&Fate::Taken(reply)),
                    _ => transaction.rest(&Fate::Refused { phase: Phase::Message, reply }),
                }
                self.open = false;
                Some(self.done(*transaction, over))
            }
            State::Dot(transaction) => {
                self.open = false;
                Some(self.done(*transaction, reply.is_closing()))
            }
            State::Quit | State::Closed => Some(Want::Close),
            // Not reached: nothing is read while a question is out.
            State::Asked(asked) => {
                self.state = State::Asked(asked);
                None
            }
            state @ (State::Greeting | State::Ehlo | State::Helo | State::StartTls) => {
                self.state = state;
                Some(self.failed(Why::Reply(reply), out))
            }
        }
    }

    /// Goes on with a transaction after a reply.
    fn then(&mut self, transaction: Box<Transaction>, then: Then, reply: &Reply, out: &mut Vec<u8>) -> Wants {
        match then {
            Then::Wait => {
                self.state = State::Envelope(transaction);
                None
            }
            Then::Body => Some(self.ask(Asked::Body(transaction), Question::Body)),
            Then::Dot => {
                // RFC 2920 s.3.1.
                write::command(".", out);
                self.state = State::Dot(transaction);
                None
            }
            Then::Done => {
                self.open = transaction.open;
                Some(self.done(*transaction, false))
            }
            Then::Over(phase, why) => {
                if !reply.is_closing() {
                    write::command("QUIT", out);
                }
                Some(self.lost(*transaction, phase, why))
            }
        }
    }

    fn auth(&mut self, mut exchange: Box<Exchange>, reply: Reply, out: &mut Vec<u8>) -> Wants {
        match reply.class() {
            Class::Intermediate => match exchange.respond(reply.text()) {
                Ok(response) => Some(self.say(exchange, response.expose())),
                Err(Broken::NotProven) => {
                    self.state = State::Auth(exchange);
                    Some(self.failed(Why::NotProven, out))
                }
                Err(Broken::Malformed) => {
                    // RFC 4954 s.4.
                    write::command("*", out);
                    self.state = State::Cancelled(AuthError::Malformed);
                    None
                }
            },
            Class::Positive if exchange.may_succeed() => {
                self.authenticated = true;
                Some(self.ready())
            }
            Class::Positive => {
                self.state = State::Auth(exchange);
                Some(self.failed(Why::NotProven, out))
            }
            Class::Temporary | Class::Permanent => Some(self.refused(Refused::Auth(AuthError::Reply(reply)))),
        }
    }
}
