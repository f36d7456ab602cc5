//! Answers the SMTP machine: who may send what to whom, and the message's way into the store.
//!
//! RFC 5321, RFC 6409. The order of refusals: the sender at MAIL, each recipient at RCPT, the message at its end;
//! nothing that was taken bounces later.

use std::collections::BTreeSet;
use std::net::IpAddr;

use wire::addr::ReversePath;
use wire::machine::{Over, TlsFacts};
use wire::smtp::params::{Hold, Recipient};
use wire::smtp::reply::{Code, Enhanced, Reply};
use wire::smtp::session::{Answer, Mail, Question};

use crate::clock;
use crate::flow::dsn::Allowance;
use crate::flow::{self, Envelope, House, Intake, Origin};
use crate::login::{self, Door, Session};
use crate::net::{Desk, Later, Out, Taken};

/// The desk of one SMTP connection.
pub struct SmtpDesk {
    house: House,
    door: Door,
    peer: IpAddr,
    session: Option<Session>,
    transaction: Option<Transaction>,
}

struct Transaction {
    mail: Mail,
    recipients: Vec<flow::Recipient>,
    /// Addresses elsewhere that the account has not written to for long.
    new: BTreeSet<String>,
    intake: Option<Intake>,
}

impl SmtpDesk {
    /// The desk of a new connection.
    #[must_use]
    pub fn new(house: House, door: Door, peer: IpAddr) -> SmtpDesk {
        SmtpDesk { house, door, peer, session: None, transaction: None }
    }

    async fn ask(&mut self, question: Question) -> Answer {
        match question {
            Question::Connected => Answer::Accepted,
            Question::Login(credentials) => self.login(&credentials).await,
            Question::Mail(mail) => self.mail(mail),
            Question::Rcpt(recipient) => self.rcpt(recipient).await,
            Question::DataBegin => match &mut self.transaction {
                Some(t) => {
                    t.intake = Some(Intake::new(&self.house, self.session.is_some(), t.mail.smtputf8));
                    Answer::Accepted
                }
                None => out_of_order(),
            },
            Question::DataEnd { .. } => match self.transaction.take() {
                Some(t) => self.take(t).await,
                None => out_of_order(),
            },
            Question::DataAborted(why) => {
                if let Some(t) = self.transaction.take() {
                    tracing::info!(from = %t.mail.path, ?why, "refused");
                }
                Answer::Accepted
            }
            Question::Reset | Question::Quit => {
                self.transaction = None;
                Answer::Accepted
            }
        }
    }

    async fn login(&mut self, credentials: &wire::sasl::Credentials) -> Answer {
        match self.door.enter(self.peer, &credentials.user, &credentials.password).await {
            Ok(session) => {
                self.session = Some(session);
                Answer::Accepted
            }
            Err(login::Refused::Wrong) => Answer::Denied,
            Err(login::Refused::TooMany) => Answer::Reply(Reply::new(
                Code::UNAVAILABLE,
                Enhanced(7, 0),
                "too many failed logins from your address; try again in a few minutes",
            )),
            Err(login::Refused::Unavailable) => Answer::Reply(Reply::new(
                Code::TEMPORARY_AUTH,
                Enhanced(7, 0),
                "logins are not possible just now; try again in a few minutes",
            )),
        }
    }

    /// RFC 6409 s.6.1: whoever submits owns the reverse-path, or gives none.
    fn mail(&mut self, mail: Mail) -> Answer {
        if let (Some(session), ReversePath::Path(address)) = (&self.session, &mail.path)
            && flow::owner(&self.house.store.directory(), &address.canonical()) != Some(session.account())
        {
            return self.refuse_sender(&mail, &flow::Error::NotYours(address.to_string()));
        }
        if self.house.is_full() {
            return self.refuse_sender(&mail, &flow::Error::Full);
        }
        self.transaction =
            Some(Transaction { mail, recipients: Vec::new(), new: BTreeSet::new(), intake: None });
        Answer::Accepted
    }

    fn refuse_sender(&self, mail: &Mail, e: &flow::Error) -> Answer {
        tracing::info!(from = %mail.path, why = %e, "refused");
        Answer::Reply(reply_for(e))
    }

    async fn rcpt(&mut self, Recipient { path, notify, orcpt }: Recipient) -> Answer {
        let Some(transaction) = &mut self.transaction else { return out_of_order() };
        let directory = self.house.store.directory();
        let account = self.session.as_ref().map(Session::account);
        let routed = flow::route(&directory, self.house.postmaster.as_deref(), &path, account.is_some());
        let room = routed.and_then(|route| {
            self.house.has_room(&route.accounts, transaction.mail.size)?;
            Ok(route.remote)
        });
        let taken = match (room, account) {
            (Ok(remote), Some(account)) => self.house.may_send(account, &mut transaction.new, &remote).await,
            (room, _) => room.map(drop),
        };
        match taken {
            Ok(()) => {
                transaction.recipients.push(flow::Recipient { path, notify, orcpt });
                Answer::Accepted
            }
            Err(e) => {
                tracing::info!(from = %transaction.mail.path, to = %path, why = %e, "refused");
                Answer::Reply(reply_for(&e))
            }
        }
    }

    /// The message's way into the store. 250 is said when this says so: it is on disk then.
    async fn take(&mut self, transaction: Transaction) -> Answer {
        let Transaction { mail, recipients, intake, .. } = transaction;
        let Some(intake) = intake else { return out_of_order() };
        // The password was changed, or the account removed, while the message came.
        if let Some(over) = self.kicked() {
            tracing::info!(from = %mail.path, why = ?over, "refused");
            return Answer::Reply(wire::smtp::session::over(over));
        }
        let origin = Origin {
            peer: self.peer,
            helo: mail.hello.name,
            extended: mail.hello.extended,
            tls: mail.tls,
            account: self.session.as_ref().map(Session::account),
        };
        let from = mail.path.to_string();
        let hold_until = mail.hold.map(|hold| match hold {
            Hold::For(seconds) => clock::wall().seconds.saturating_add(i64::from(seconds)),
            Hold::Until(moment) => moment,
        });
        let envelope = Envelope {
            reverse_path: mail.path,
            recipients,
            ret: mail.ret,
            envid: mail.envid,
            hold_until,
            require_tls: mail.require_tls,
            smtputf8: mail.smtputf8,
        };
        match self.house.take(intake, origin, envelope).await {
            Ok(committed) => {
                let text = match (committed.copies, committed.remote) {
                    (0, _) => format!("queued as {}", committed.id),
                    (_, 1..) => format!("stored and queued as {}", committed.id),
                    (1, 0) => format!("stored as {}", committed.id),
                    (n, 0) => format!("stored as {} in {n} mailboxes", committed.id),
                };
                Answer::Reply(Reply::new(Code::OK, Enhanced(0, 0), text))
            }
            Err(e) => {
                tracing::info!(from, why = %e, "refused");
                Answer::Reply(reply_for(&e))
            }
        }
    }
}

/// The machine keeps the order; should it not, nothing is taken.
fn out_of_order() -> Answer {
    Answer::Reply(Reply::new(Code::SEQUENCE, Enhanced(5, 1), "no transaction is open"))
}

/// The one place where what went wrong becomes a reply.
fn reply_for(e: &flow::Error) -> Reply {
    use flow::Error;
    match e {
        Error::NotLocal => {
            Reply::new(Code::REFUSED, Enhanced(7, 1), "relaying denied: not one of our domains")
        }
        Error::NoSuchUser => Reply::new(Code::REFUSED, Enhanced(1, 1), "no such user here"),
        Error::Loop => {
            Reply::new(Code::FAILED, Enhanced(4, 6), "too many Received fields: the message goes in circles")
        }
        Error::HeaderTooLong => Reply::new(Code::TOO_LARGE, Enhanced(3, 4), "the header is too long"),
        Error::NoAuthor => {
            Reply::new(Code::REFUSED, Enhanced(6, 0), "the message has no From: field with an address")
        }
        Error::NotYours(address) => {
            Reply::new(Code::REFUSED, Enhanced(7, 1), format!("{address} is not an address of yours"))
        }
        Error::LimitReached { allowance, limit, again } => limit_reached(*allowance, *limit, *again),
        // Temporary: it may be tidied, or be given more room.
        Error::MailboxFull => {
            Reply::new(Code::NO_ROOM, Enhanced(2, 2), "the recipient's mailbox is full just now")
        }
        Error::Full => Reply::new(Code::NO_ROOM, Enhanced(3, 1), "no room for new mail just now"),
        Error::Unavailable => {
            Reply::new(Code::LOCAL_ERROR, Enhanced(3, 0), "the message could not be stored; try again")
        }
    }
}

/// In words that a person can be shown, since mail programs do show them.
fn limit_reached(allowance: Allowance, limit: u64, again: i64) -> Reply {
    if limit == 0 {
        let text = format!("your account is allowed no {allowance}; ask your administrator");
        return Reply::new(Code::REFUSED, Enhanced(7, 1), text);
    }
    // A minute that has begun is not over.
    let minute = again.saturating_add(59).div_euclid(60);
    let (hour, minute) = (minute.div_euclid(60).rem_euclid(24), minute.rem_euclid(60));
    let text = format!(
        "your limit is {limit} within 24 hours for {allowance}; more from {hour:02}:{minute:02} UTC on, or ask your \
         administrator"
    );
    Reply::new(Code::MAILBOX_BUSY, Enhanced(7, 1), text)
}

impl Desk for SmtpDesk {
    type Question = Question;
    type Answer = Answer;

    fn answer<'a>(&'a mut self, question: Question, _out: &'a Out) -> Later<'a, Answer> {
        Box::pin(self.ask(question))
    }

    fn body<'a>(&'a mut self, octets: &'a [u8]) -> Taken<'a> {
        if let Some(intake) = self.transaction.as_mut().and_then(|t| t.intake.as_mut()) {
            intake.push(octets);
        }
        Taken::Now
    }

    fn wake(&mut self, _watch: bool) -> Option<Later<'_, ()>> {
        self.session.as_mut().map(|s| -> Later<'_, ()> { Box::pin(s.ends()) })
    }

    fn kicked(&self) -> Option<Over> {
        self.session.as_ref().and_then(Session::over)
    }

    fn secured(&mut self, _facts: &TlsFacts) {
        // RFC 3207 s.4.2: what was learned before TLS is forgotten.
        self.session = None;
        self.transaction = None;
    }
}
