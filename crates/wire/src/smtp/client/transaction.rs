//! A transaction under way: what is still to be said, which replies are due, and what has become of each recipient.
//!
//! RFC 5321 s.3.3, RFC 2920 s.3.1: replies come in the order of the commands, whether or not those were pipelined.

use std::collections::VecDeque;

use super::write::{self, Mail, Rcpt};
use super::{Class, Envelope, Extensions, Failure, Fate, Outcome, Phase, Reply, Why};
use crate::limits;

/// A command whose reply is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Rset,
    Mail,
    Rcpt(usize),
    Data,
}

/// The transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    envelope: Envelope,
    /// By recipient. `None`: nothing is known yet, or it was accepted and the message is not.
    fates: Vec<Option<Fate>>,
    /// Recipients accepted.
    accepted: usize,
    /// Due replies.
    due: VecDeque<Said>,
    /// What is said next; `None`: nothing more.
    next: Option<Said>,
    /// Whether the server has begun a transaction that has not ended.
    pub(super) open: bool,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// A further reply is due.
    Wait,
    /// The server waits for the message.
    Body,
    /// It waits for a message, and has refused every recipient.
    Dot,
    /// All fates are known.
    Done,
    /// All fates are known but for those that share this one, and the connection is over.
    Over(Phase, Why),
}

impl Transaction {
    /// A transaction of which nothing was said yet. `reset`: an earlier one has not ended. Recipients that the server cannot
    /// be told of have their fate at once.
    pub(super) fn new(envelope: Envelope, reset: bool, offered: &Extensions) -> Transaction {
        let unsaid = |recipient| write::unsaid_to(recipient, offered).map(Fate::Unsaid);
        Transaction {
            fates: envelope.recipients.iter().map(unsaid).collect(),
            envelope,
            accepted: 0,
            due: VecDeque::new(),
            next: Some(if reset { Said::Rset } else { Said::Mail }),
            open: reset,
        }
    }

    /// Says what may be said before the next reply: one command, or with PIPELINING many.
    pub(super) fn say(&mut self, offered: &Extensions, out: &mut Vec<u8>) {
        let most = if offered.pipelining { limits::SMTP_PIPELINED } else { 1 };
        while self.due.len() < most
            && let Some(said) = self.next.take()
        {
            match said {
                Said::Rset => write::command("RSET", out),
                Said::Mail => write::command(Mail(&self.envelope, offered), out),
                Said::Rcpt(i) => {
                    if let Some(recipient) = self.envelope.recipients.get(i) {
                        write::command(Rcpt(recipient, &self.envelope, offered), out);
                    }
                }
                // Known already that nobody would get it.
                Said::Data if self.due.is_empty() && self.accepted == 0 => return,
                Said::Data => write::command("DATA", out),
            }
            self.due.push_back(said);
            self.next = match said {
                Said::Rset => Some(Said::Mail),
                Said::Mail => Some(self.rcpt(0)),
                Said::Rcpt(i) => Some(self.rcpt(i + 1)),
                Said::Data => None,
            };
        }
    }

    /// The first recipient from a number on that is to be told of.
    fn rcpt(&self, i: usize) -> Said {
        let untold = |(i, fate): (usize, &Option<Fate>)| fate.is_none().then_some(Said::Rcpt(i));
        self.fates.iter().enumerate().skip(i).find_map(untold).unwrap_or(Said::Data)
    }

    /// The reply to the command that was said first of those whose replies are due.
    pub(super) fn reply(&mut self, reply: Reply, offered: &Extensions, out: &mut Vec<u8>) -> Then {
        let Some(said) = self.due.pop_front() else { return Then::Done };
        let phase = phase(said);
        let bad = |reply: Reply| Then::Over(phase, Why::BadReply(reply.to_string()));
        if reply.is_closing() {
            self.rest(&Fate::Refused { phase, reply: reply.clone() });
            return Then::Over(phase, Why::Reply(reply));
        }
        match (said, reply.class()) {
            (Said::Data, Class::Intermediate) if self.accepted > 0 => return Then::Body,
            (Said::Data, Class::Intermediate) => return Then::Dot,
            (Said::Data, Class::Positive) | (_, Class::Intermediate) => return bad(reply),
            // Without it nothing that follows can be understood.
            (Said::Rset, Class::Temporary | Class::Permanent) => {
                return Then::Over(phase, Why::Reply(reply));
            }
            (Said::Rset, Class::Positive) => self.open = false,
            (Said::Mail, Class::Positive) => self.open = true,
            // To a RCPT behind a refused MAIL a server may say what it likes.
            (Said::Rcpt(i), Class::Positive) if self.fate(i).is_none() => self.accepted += 1,
            (Said::Rcpt(_), Class::Positive) => {}
            (Said::Rcpt(i), Class::Temporary | Class::Permanent) => {
                if let Some(fate @ None) = self.fates.get_mut(i) {
                    *fate = Some(Fate::Refused { phase, reply });
                }
            }
            (Said::Mail | Said::Data, Class::Temporary | Class::Permanent) => {
                self.rest(&Fate::Refused { phase, reply });
                self.next = None;
            }
        }
        if self.due.is_empty() {
            self.say(offered, out);
        }
        if self.due.is_empty() { Then::Done } else { Then::Wait }
    }

    fn fate(&self, i: usize) -> Option<&Fate> {
        self.fates.get(i).and_then(Option::as_ref)
    }

    /// All whose fate is not known have this one.
    pub(super) fn rest(&mut self, fate: &Fate) {
        self.fates.iter_mut().filter(|f| f.is_none()).for_each(|f| *f = Some(fate.clone()));
    }

    /// Whether there is nobody left whose fate is not known.
    pub(super) fn is_settled(&self) -> bool {
        self.fates.iter().all(Option::is_some)
    }

    /// What the reply is due to that comes next.
    pub(super) fn phase(&self) -> Phase {
        self.due.front().map_or(Phase::Data, |said| phase(*said))
    }

    /// The outcome.
    pub(super) fn outcome(self, over: bool) -> Outcome {
        // Each has one by now; should one not, the sender is to try again.
        let unknown = || Fate::Failed(Failure { phase: Phase::Data, why: Why::Lost });
        Outcome { fates: self.fates.into_iter().map(|f| f.unwrap_or_else(unknown)).collect(), over }
    }
}

fn phase(said: Said) -> Phase {
    match said {
        Said::Rset => Phase::Reset,
        Said::Mail => Phase::Mail,
        Said::Rcpt(_) => Phase::Rcpt,
        Said::Data => Phase::Data,
    }
}
