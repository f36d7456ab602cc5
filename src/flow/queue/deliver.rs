//! Answers the SMTP client machine: how safe the connection must be, which message comes next, its octets, and what became
//! of it.

use std::sync::Arc;

use wire::addr::ForwardPath;
use wire::dot::Stuffer;
use wire::limits;
use wire::machine::{Certificate, TlsFacts};
use wire::sasl::client::Login;
use wire::secret::Secret;
use wire::smtp::client::{
    Answer, Class, Envelope, Failure, Fate, Outcome, Question, Ready, Recipient, Refused, Unsaid, Why,
};
use wire::smtp::params::BodyKind;

use super::Queue;
use super::courier::asked;
use super::course::{Shared, Work, lock};
use super::lease::Lease;
use super::line::{Queued, Trouble};
use super::outward::{Outward, Relay};
use super::settle::{Came, Fared, Via, settle, settle_taken};
use super::waiting::Destination;
use crate::disk;
use crate::flow::secure::{Asked, Need};
use crate::net::{Desk, Later, Out, Taken};
use crate::password::Sha256;

/// Octets of a message that are read at a time.
const PIECE: usize = 64 << 10;
/// What is added to the words about a message that was sent and not replied to.
pub(super) const IN_DOUBT: &str = " (after the message was sent: it may arrive twice)";

/// The way to a host.
pub(super) struct Way<'a> {
    /// The host.
    pub(super) via: Via,
    /// How safe it must be.
    pub(super) need: &'a Need,
    /// It is the relay.
    pub(super) relay: Option<&'a Relay>,
    /// There are hosts, or addresses, behind this one.
    pub(super) more: bool,
}

/// The desk of one connection to another host.
pub(super) struct Deliver {
    outward: Arc<Outward>,
    queue: Queue,
    to: Destination,
    course: Shared,
    via: Via,
    need: Need,
    login: Option<(String, Secret<String>)>,
    asked: Asked,
    /// Whether the host sends reports itself.
    reports: bool,
    /// The recipients of the message under way, by their places in the envelope.
    numbers: Vec<u16>,
    /// Messages that other hosts have put off, and that this one has not seen yet. `None`: it is the first host.
    further: Option<usize>,
    /// What it puts off may go to the next host.
    may_go_on: bool,
    /// It has put off something that goes to the next host; so many messages ago.
    put_off: Option<usize>,
}

impl Deliver {
    pub(super) fn new(
        outward: &Arc<Outward>,
        queue: &Queue,
        to: &Destination,
        course: &Shared,
        way: Way<'_>,
        asked: Asked,
    ) -> Deliver {
        let Way { via, need, relay, more } = way;
        let login = relay.and_then(|relay| relay.login.as_ref());
        let (waiting, may_go_on) = {
            let course = lock(course);
            (course.put_off.len(), more && course.may_go_on())
        };
        Deliver {
            outward: outward.clone(),
            queue: queue.clone(),
            to: to.clone(),
            course: course.clone(),
            via,
            need: need.clone(),
            login: login.map(|(user, password)| (user.clone(), Secret::new(password.expose().clone()))),
            asked,
            reports: false,
            numbers: Vec::new(),
            further: (waiting > 0).then_some(waiting),
            may_go_on,
            put_off: None,
        }
    }

    async fn ask(&mut self, question: Question, out: &Out) -> Answer {
        match question {
            Question::Ready(ready) => self.ready(&ready),
            Question::Refused(refused) => self.refused(&refused),
            Question::Say(line) => {
                out.with(|octets| octets.extend_from_slice(line.expose()));
                Answer::Said
            }
            Question::Next => self.next().await,
            Question::Body => self.send(out).await,
            Question::Outcome(outcome) => {
                self.outcome(outcome).await;
                Answer::Noted
            }
            Question::Over(failure) => {
                if failure.why == Why::Stopping {
                    lock(&self.course).give_back();
                }
                self.trouble(self.in_words(&failure));
                Answer::Noted
            }
        }
    }

    fn trouble(&self, trouble: Trouble) {
        lock(&self.course).trouble = Some(trouble);
    }

    fn quit(&self, what: impl ToString) -> Answer {
        self.trouble(Trouble::new(&self.via.host, what));
        Answer::Quit
    }

    fn ready(&mut self, ready: &Ready) -> Answer {
        self.reports = ready.extensions.dsn;
        if let Some(facts) = &ready.tls {
            self.via.tls = secured(facts, &self.need);
            self.via.plain.clear();
        } else if self.need != Need::None && ready.extensions.starttls {
            return Answer::StartTls;
        } else if !self.need.allows_plain() {
            return self.quit(match &self.need {
                Need::Dane { .. } | Need::Encrypted => {
                    "its DNS (DANE) promises TLS, and it offers no STARTTLS: somebody may be in between"
                }
                _ => "it must offer TLS, and it offers no STARTTLS: somebody may be in between",
            });
        } else if self.need != Need::None {
            self.via.plain = "the server does not offer TLS".to_owned();
        }
        match self.login.take() {
            Some((user, password)) if !ready.authenticated => {
                let mut nonce = [0; 18];
                if aws_lc_rs::rand::fill(&mut nonce).is_err() {
                    return self.quit("no random numbers for the login");
                }
                let reveal = ready.tls.is_some() || self.need == Need::None;
                Answer::Authenticate(Login { user, password, reveal, nonce, hashes: Box::new(Sha256) })
            }
            _ => Answer::Go,
        }
    }

    fn refused(&mut self, refused: &Refused) -> Answer {
        match refused {
            Refused::StartTls(reply) if self.need.allows_plain() => match self.login.is_some() {
                true => self.quit("it refuses TLS, and without it no password is sent"),
                false => {
                    self.via.plain = format!("the server refuses TLS: {reply}");
                    Answer::Go
                }
            },
            Refused::StartTls(reply) => self.quit(format!("it must offer TLS, and refuses it: {reply}")),
            Refused::Auth(error) => {
                self.quit(format!("{error}: look at `user` and `password_file` under [relay]"))
            }
        }
    }

    /// The message that this connection was begun for, then whatever else waits. A further host gets only what others have
    /// put off: all else goes to the best one first.
    async fn next(&mut self) -> Answer {
        if self.queue.proved(&self.to) {
            tracing::info!(host = self.via.host, "it answers again: what waits for it goes now");
        }
        lock(&self.course).ready = true;
        let Some(work) = self.take() else { return Answer::Quit };
        if asked(&work.lease.queued.entry) != self.asked {
            // It wants another kind of connection.
            work.lease.give_back();
            return Answer::Quit;
        }
        match self.envelope(&work.lease) {
            Some(envelope) => {
                lock(&self.course).work = Some(work);
                Answer::Send(Box::new(envelope))
            }
            None => {
                drop(work);
                Answer::Quit
            }
        }
    }

    fn take(&mut self) -> Option<Work> {
        let mut course = lock(&self.course);
        if let Some(left) = &mut self.further {
            *left = left.checked_sub(1)?;
            return course.put_off.pop_front();
        }
        if let Some(sent) = &mut self.put_off {
            *sent += 1;
            if *sent > limits::BEFORE_THE_NEXT || course.is_full() {
                return None;
            }
        }
        let begun = course.work.take();
        drop(course);
        begun.or_else(|| self.queue.lease(&self.to).map(Work::new))
    }

    fn envelope(&mut self, lease: &Lease) -> Option<Envelope> {
        let Queued { entry, content, .. } = &lease.queued;
        self.numbers.clear();
        let mut recipients = Vec::with_capacity(lease.recipients.len());
        for (number, recipient) in &lease.recipients {
            let path: ForwardPath = recipient.path()?;
            self.numbers.push(*number);
            recipients.push(Recipient { path, notify: recipient.notify(), orcpt: recipient.orcpt() });
        }
        Some(Envelope {
            reverse_path: entry.reverse_path(),
            recipients,
            size: u64::from(content.size),
            body: if entry.eight_bit { BodyKind::EightBitMime } else { BodyKind::SevenBit },
            smtputf8: entry.utf8,
            require_tls: entry.require_tls,
            ret: entry.ret(),
            envid: entry.envid(),
        })
    }

    async fn send(&self, out: &Out) -> Answer {
        let content = lock(&self.course).work.as_ref().map(|work| work.lease.queued.content);
        let Some(content) = content else { return Answer::Aborted };
        match self.write(content, out).await {
            Ok(()) => {
                lock(&self.course).in_doubt = true;
                Answer::Sent
            }
            Err(error) => {
                self.trouble(Trouble::new("", format!("the message cannot be read: {error}")));
                Answer::Aborted
            }
        }
    }

    async fn write(&self, content: store::Content, out: &Out) -> Result<(), store::ReadError> {
        let message = disk::blocking(|| self.queue.store().content(content))?;
        let mut stuffer = Stuffer::new();
        if let Some(parts) = message.whole() {
            for piece in parts.into_iter().flat_map(|part| part.chunks(PIECE)) {
                out.room().await;
                out.with(|octets| stuffer.push(piece, octets));
            }
        } else {
            let mut piece = vec![0; PIECE];
            let mut at = 0;
            loop {
                out.room().await;
                let n = disk::blocking(|| message.read_at(at, &mut piece))?;
                let Some(read) = piece.get(..n).filter(|read| !read.is_empty()) else { break };
                out.with(|octets| stuffer.push(read, octets));
                at += n as u64;
            }
        }
        out.with(|octets| stuffer.finish(octets));
        Ok(())
    }

    async fn outcome(&mut self, outcome: Outcome) {
        let (work, served) = {
            let mut course = lock(&self.course);
            course.in_doubt = false;
            course.cut_off |= outcome.over;
            (course.work.take(), course.served)
        };
        let Some(mut work) = work else { return };
        // A connection that failed before the message was there says nothing about the message.
        let is_nothing = |fate: &Fate| matches!(fate, Fate::Failed(failure) if !failure.is_in_doubt());
        let nothing = !outcome.fates.is_empty() && outcome.fates.iter().all(is_nothing);
        let gone = outcome.over && outcome.fates.iter().all(is_stale);
        if outcome.fates.iter().all(is_stopped) || (served && gone && work.said.is_empty()) {
            // Not its fault: it goes with the next start. Or the server had enough of this connection: the message goes over
            // another one, at once.
            let mut course = lock(&self.course);
            course.work = Some(work);
            course.give_back();
            return;
        }
        if nothing && !served && work.said.is_empty() {
            // Another host may do better.
            let trouble = outcome.fates.iter().find_map(|fate| match fate {
                Fate::Failed(failure) => Some(self.in_words(failure)),
                _ => None,
            });
            let mut course = lock(&self.course);
            course.trouble = trouble;
            course.work = Some(work);
            return;
        }
        let (came, later) = self.sort(&work, outcome.fates);
        let Outward { house, stop, .. } = &*self.outward;
        let took = came.iter().any(|(_, came, _)| matches!(came, Came::Taken { .. }));
        let settled = match took {
            true => settle_taken(house, &mut work.lease, came, stop).await,
            false if came.is_empty() => Ok(()),
            false => settle(house, &mut work.lease, came).await,
        };
        let id = work.lease.queued.id.clone();
        let mut course = lock(&self.course);
        course.served = true;
        course.took |= took;
        match settled {
            Err(error) => tracing::error!(%id, %error, "what came of a try could not be written down"),
            Ok(()) if later.is_empty() => {}
            Ok(()) => {
                if self.put_off.is_none() && later.iter().any(|(_, _, via)| **via == self.via) {
                    self.put_off = Some(0);
                    course.refusals += 1;
                }
                if let Some((_, Came::Later(trouble) | Came::Never(trouble), via)) = later.first() {
                    let why = &trouble.what;
                    tracing::info!(%id, host = via.host, why, "put off by this host, the next one is tried");
                }
                work.said = later;
                course.put_off.push_back(work);
            }
        }
    }

    /// What is settled now, and what the next host may take (RFC 5321 s.5.1): only what was put off in so many words, and
    /// certainly not taken. That this host said nothing of a recipient does not undo what another said. Recipients that the
    /// server's own stop cut off stay with the message, as they were.
    fn sort(&self, work: &Work, fates: Vec<Fate>) -> (Vec<Fared>, Vec<Fared>) {
        let here = Arc::new(self.via.clone());
        let (mut came, mut later) = (Vec::with_capacity(fates.len()), Vec::new());
        for (number, fate) in self.numbers.iter().copied().zip(fates) {
            let said = work.said.iter().find(|(n, ..)| *n == number);
            if said.is_none() && is_stopped(&fate) {
                continue;
            }
            let in_doubt = matches!(&fate, Fate::Failed(failure) if failure.is_in_doubt());
            let is_mute = matches!(fate, Fate::Failed(_) | Fate::Unsaid(_)) && !in_doubt;
            // RFC 8689 s.4.2.1: another host may warrant it.
            let is_of_host = matches!(fate, Fate::Unsaid(Unsaid::RequireTls));
            let (_, fared, via) = match said.filter(|_| is_mute) {
                Some(said) => said.clone(),
                None => (number, self.came(fate), here.clone()),
            };
            let may_help = !in_doubt && (matches!(fared, Came::Later(_)) || is_of_host);
            let list = if self.may_go_on && may_help { &mut later } else { &mut came };
            list.push((number, fared, via));
        }
        (came, later)
    }

    fn came(&self, fate: Fate) -> Came {
        let host = &self.via.host;
        match fate {
            Fate::Taken(reply) => Came::Taken { said: reply.to_string(), reports: self.reports },
            Fate::Refused { reply, .. } if reply.class() == Class::Permanent => {
                Came::Never(Trouble::said(host, reply))
            }
            Fate::Refused { reply, .. } => Came::Later(Trouble::said(host, reply)),
            Fate::Unsaid(unsaid) => {
                let code = match unsaid {
                    Unsaid::TooLarge { .. } => "5.3.4",
                    Unsaid::EightBitMime => "5.6.3",
                    // RFC 6531 s.4.2.
                    Unsaid::Utf8Address => "5.6.7",
                    Unsaid::Utf8Header => "5.6.9",
                    Unsaid::RequireTls => "5.7.30",
                };
                Came::Never(Trouble::new(host, format!("{code} {unsaid}")))
            }
            Fate::Failed(failure) => {
                let mut trouble = self.in_words(&failure);
                if failure.is_in_doubt() {
                    trouble.what.push_str(IN_DOUBT);
                }
                Came::Later(trouble)
            }
        }
    }

    fn in_words(&self, failure: &Failure) -> Trouble {
        match &failure.why {
            Why::Reply(reply) => Trouble::said(&self.via.host, reply),
            why => Trouble::new(&self.via.host, why),
        }
    }
}

/// Whether this server stops, and the host has not got the message.
fn is_stopped(fate: &Fate) -> bool {
    matches!(fate, Fate::Failed(failure) if failure.why == Why::Stopping && !failure.is_in_doubt())
}

/// Whether a connection that worked before has ended, and this says nothing about the message.
fn is_stale(fate: &Fate) -> bool {
    match fate {
        Fate::Failed(failure) => !failure.is_in_doubt() && failure.why != Why::TimedOut,
        Fate::Refused { reply, .. } => reply.is_closing(),
        _ => false,
    }
}

/// How a connection is secured, for people.
fn secured(facts: &TlsFacts, need: &Need) -> String {
    let certificate = match (&facts.certificate, need) {
        (Certificate::Dane, _) => "certificate as its DNS says (DANE)",
        (Certificate::Trusted(_), Need::Verified(_)) => "certificate verified",
        (Certificate::Trusted(_), _) => "certificate good, though not asked for",
        (Certificate::Untrusted(_) | Certificate::NotAsked, _) => "certificate not verified",
    };
    format!("{}, {}, {certificate}", facts.version, facts.cipher)
}

impl Desk for Deliver {
    type Question = Question;
    type Answer = Answer;

    fn answer<'a>(&'a mut self, question: Question, out: &'a Out) -> Later<'a, Answer> {
        Box::pin(self.ask(question, out))
    }

    fn body<'a>(&'a mut self, _octets: &'a [u8]) -> Taken<'a> {
        Taken::Now
    }
}
