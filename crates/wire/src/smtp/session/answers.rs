//! What comes of each answer: the new state, and what is said.

use super::body::Body;
use super::{Answer, Asked, Phase, Session, Transaction, Wants, words};
use crate::limits;
use crate::machine::Want;
use crate::smtp::reply::{Code, Reply};

impl Session {
    pub(super) fn answered(&mut self, answer: Answer, out: &mut Vec<u8>) -> Wants {
        let Phase::Asked(asked) = std::mem::replace(&mut self.phase, Phase::Commands) else { return None };
        let (accepted, own) = match answer {
            Answer::Accepted => (true, None),
            Answer::Reply(reply) => (reply.is_positive(), Some(reply)),
            Answer::Denied if matches!(asked, Asked::Login) => return self.denied(out),
            Answer::Denied => (false, Some(words::refused())),
        };
        match asked {
            Asked::Connected => {
                let greeting = words::greeting(&self.config.hostname);
                let want = self.say(own.unwrap_or(greeting), out);
                if accepted { want } else { Some(Want::Close) }
            }
            Asked::Login => {
                self.authenticated |= accepted;
                self.say(own.unwrap_or_else(words::authenticated), out)
            }
            Asked::Mail { smtputf8 } => {
                if accepted {
                    self.transaction = Transaction::Open { recipients: 0, smtputf8 };
                }
                self.say(own.unwrap_or_else(words::sender_ok), out)
            }
            Asked::Rcpt => {
                if let (true, Transaction::Open { recipients, .. }) = (accepted, &mut self.transaction) {
                    *recipients += 1;
                }
                self.say(own.unwrap_or_else(words::recipient_ok), out)
            }
            Asked::Data | Asked::Chunk(_) if !accepted => {
                self.transaction = Transaction::None;
                self.body_refused(&asked, own.unwrap_or_else(words::refused), out)
            }
            Asked::Data => {
                self.expect(Phase::Data(Body::dotted(self.config.role, self.config.max_message)));
                self.say(words::send_message(), out)
            }
            Asked::Chunk(chunk) => {
                let body = Body::chunked(self.config.role, self.config.max_message);
                self.expect(Phase::Chunk { body, chunk, left: chunk.size });
                None
            }
            Asked::End => {
                self.transaction = Transaction::None;
                self.say(own.unwrap_or_else(words::message_taken), out)
            }
            Asked::Aborted(reply) => {
                self.transaction = Transaction::None;
                self.say(reply, out)
            }
            Asked::Hello(hello) => self.introduced(hello, out),
            Asked::Quit => self.say(words::goodbye(), out).or(Some(Want::Close)),
        }
    }

    /// The desk takes no body now. A chunk is on its way all the same.
    fn body_refused(&mut self, asked: &Asked, reply: Reply, out: &mut Vec<u8>) -> Wants {
        match asked {
            Asked::Chunk(chunk) if reply.code() != Code::UNAVAILABLE => {
                self.expect(Phase::Refused { left: chunk.size, reply });
                None
            }
            _ => self.say(reply, out),
        }
    }

    fn denied(&mut self, out: &mut Vec<u8>) -> Wants {
        self.failed_logins += 1;
        if self.failed_logins >= limits::LOGIN_FAILURES {
            return self.say(words::too_many_logins(), out);
        }
        self.say(words::denied(), out)
    }
}
