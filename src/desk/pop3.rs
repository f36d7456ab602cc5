//! Answers the POP3 machine: INBOX as it was at login, for one session at a time.
//!
//! RFC 1939 s.3 (one session holds a maildrop), s.6 (deletions happen at QUIT only), s.7 (unique ids).

use std::collections::HashSet;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::{AccountId, Batch, CommitError, Intent, MailboxId, Message, ReadError, Row, Store};
use wire::dot::{Stuffer, Top};
use wire::ids::Runs;
use wire::machine::Over;
use wire::pop3::reply;
use wire::pop3::session::{Answer, Failure, Question};

use crate::disk;
use crate::login::{self, Door, Session};
use crate::net::{Desk, Later, Out, Taken};

/// Octets of a large message read at a time.
const PIECE: usize = 64 * 1024;

/// The maildrops that sessions hold now.
#[derive(Clone, Debug, Default)]
pub struct Maildrops(Arc<Mutex<HashSet<AccountId>>>);

impl Maildrops {
    fn lock(&self) -> MutexGuard<'_, HashSet<AccountId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a maildrop for as long as the guard lives; `None` when another session holds it.
    fn take(&self, account: AccountId) -> Option<Held> {
        self.lock().insert(account).then(|| Held { maildrops: self.clone(), account })
    }
}

/// A maildrop held.
#[derive(Debug)]
struct Held {
    maildrops: Maildrops,
    account: AccountId,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.maildrops.lock().remove(&self.account);
    }
}

/// An open maildrop: the messages of INBOX as they were at login.
struct Maildrop {
    mailbox: MailboxId,
    rows: Vec<Row>,
    /// By index, as `rows`.
    deleted: HashSet<usize>,
    _held: Held,
}

impl Maildrop {
    /// The messages that are not marked as deleted, with their numbers.
    fn left(&self) -> impl Iterator<Item = (NonZeroU32, &Row)> {
        self.rows.iter().enumerate().filter(|(i, _)| !self.deleted.contains(i)).filter_map(|(i, row)| {
            let number = u32::try_from(i).ok()?.checked_add(1)?;
            Some((NonZeroU32::new(number)?, row))
        })
    }

    fn index(&self, number: NonZeroU32) -> Option<usize> {
        let i = usize::try_from(number.get()).ok()? - 1;
        (i < self.rows.len() && !self.deleted.contains(&i)).then_some(i)
    }

    fn row(&self, number: NonZeroU32) -> Option<&Row> {
        self.rows.get(self.index(number)?)
    }

    fn stat(&self) -> Answer {
        let (count, octets) = self.left().fold((0, 0), |(n, o), (_, row)| (n + 1, o + u64::from(row.size)));
        Answer::Stat { count, octets }
    }
}

/// The desk of one POP3 connection.
pub struct Pop3Desk {
    store: Store,
    door: Door,
    maildrops: Maildrops,
    peer: IpAddr,
    session: Option<Session>,
    maildrop: Option<Maildrop>,
}

impl Pop3Desk {
    /// The desk of a new connection.
    #[must_use]
    pub fn new(store: Store, door: Door, maildrops: Maildrops, peer: IpAddr) -> Pop3Desk {
        Pop3Desk { store, door, maildrops, peer, session: None, maildrop: None }
    }

    async fn ask(&mut self, question: Question, out: &Out) -> Answer {
        match question {
            Question::Connected => return Answer::Done,
            Question::Login(credentials) => {
                return match self.login(&credentials).await {
                    Ok(answer) => answer,
                    Err(failure) => Answer::Failed(failure),
                };
            }
            Question::Quit => return self.quit().await,
            _ => {}
        }
        let Some(maildrop) = &mut self.maildrop else { return Answer::Failed(Failure::Permanent) };
        match question {
            Question::Stat => maildrop.stat(),
            Question::List(None) => {
                out.with(|buf| reply::begin_list(maildrop.left().count() as u64, buf));
                for (number, row) in maildrop.left() {
                    out.room().await;
                    out.with(|buf| reply::list_row(number, u64::from(row.size), buf));
                }
                out.with(reply::end);
                Answer::Done
            }
            Question::Uidl(None) => {
                out.with(|buf| reply::begin_list(maildrop.left().count() as u64, buf));
                for (number, row) in maildrop.left() {
                    out.room().await;
                    let uid = self.store.unique_id(maildrop.mailbox, row);
                    out.with(|buf| reply::uidl_row(number, &uid, buf));
                }
                out.with(reply::end);
                Answer::Done
            }
            Question::List(Some(number)) => match maildrop.row(number) {
                Some(row) => Answer::Listed(u64::from(row.size)),
                None => Answer::Failed(Failure::NoSuchMessage),
            },
            Question::Uidl(Some(number)) => match maildrop.row(number) {
                Some(row) => Answer::Uid(self.store.unique_id(maildrop.mailbox, row)),
                None => Answer::Failed(Failure::NoSuchMessage),
            },
            Question::Retr(number) => send(&self.store, maildrop.row(number), None, out).await,
            Question::Top { number, lines } => {
                send(&self.store, maildrop.row(number), Some(lines), out).await
            }
            Question::Dele(number) => match maildrop.index(number) {
                Some(i) => {
                    maildrop.deleted.insert(i);
                    Answer::Done
                }
                None => Answer::Failed(Failure::NoSuchMessage),
            },
            Question::Rset => {
                maildrop.deleted.clear();
                maildrop.stat()
            }
            Question::Connected | Question::Login(_) | Question::Quit => Answer::Failed(Failure::Permanent),
        }
    }

    async fn login(&mut self, credentials: &wire::sasl::Credentials) -> Result<Answer, Failure> {
        let session = self.door.enter(self.peer, &credentials.user, &credentials.password).await.map_err(
            |e| match e {
                login::Refused::Wrong => Failure::Denied,
                login::Refused::TooMany => Failure::TooOften,
                login::Refused::Unavailable => Failure::Temporary,
            },
        )?;
        let account = session.account();
        let held = self.maildrops.take(account).ok_or(Failure::InUse)?;
        let directory = self.store.directory();
        let mailbox = directory.mailbox_at(account, "INBOX").ok_or(Failure::Temporary)?.id;
        let view = self.store.view(mailbox).map_err(|e| {
            tracing::error!(%account, error = %e, "INBOX cannot be read");
            Failure::Temporary
        })?;
        let maildrop =
            Maildrop { mailbox, rows: view.rows().collect(), deleted: HashSet::new(), _held: held };
        let stat = maildrop.stat();
        self.session = Some(session);
        self.maildrop = Some(maildrop);
        Ok(stat)
    }

    /// RFC 1939 s.6: the UPDATE state. What another session has removed meanwhile is gone as well: fine.
    async fn quit(&mut self) -> Answer {
        let Some(maildrop) = self.maildrop.take() else { return Answer::Done };
        let uids: Runs = maildrop
            .rows
            .iter()
            .enumerate()
            .filter(|(i, _)| maildrop.deleted.contains(i))
            .map(|(_, row)| row.uid.get())
            .collect();
        if uids.is_empty() {
            return Answer::Done;
        }
        let count = uids.count();
        let expunge = Intent::Expunge { mailbox: maildrop.mailbox, uids, only_deleted: false };
        match disk::commit(&self.store, Batch::of(expunge)).await {
            Ok(_) => {
                tracing::info!(count, "deleted");
                Answer::Done
            }
            Err(CommitError::Refused(_)) => Answer::Done, // The mailbox itself is gone.
            Err(e) => {
                tracing::error!(error = %e, "deletions could not be stored");
                Answer::Failed(Failure::Temporary)
            }
        }
    }
}

/// RETR, or TOP with so many lines of the body (RFC 1939 s.7).
async fn send(store: &Store, row: Option<&Row>, lines: Option<u64>, out: &Out) -> Answer {
    let Some(row) = row else { return Answer::Failed(Failure::NoSuchMessage) };
    let message = match store.message(row) {
        Ok(message) => message,
        Err(e) => {
            tracing::error!(uid = %row.uid, error = %e, "a message cannot be read");
            return Answer::Failed(Failure::Temporary);
        }
    };
    out.room().await;
    out.with(|buf| match lines {
        None => reply::begin_message(message.len(), buf),
        Some(_) => reply::begin_top(buf),
    });
    let mut stuffer = Stuffer::new();
    let mut top = lines.map(Top::new);
    if let Err(e) = pieces(&message, &mut stuffer, &mut top, out).await {
        // The reply has begun and cannot be taken back: ended here it would pass for the whole message.
        tracing::error!(uid = %row.uid, error = %e, "a message cannot be read to its end");
        return Answer::Failed(Failure::Refused);
    }
    out.with(|buf| stuffer.finish(buf));
    Answer::Done
}

async fn pieces(
    message: &Message,
    stuffer: &mut Stuffer,
    top: &mut Option<Top>,
    out: &Out,
) -> Result<(), ReadError> {
    let mut push = |piece: &[u8]| {
        let (shown, more) = top.as_mut().map_or((piece.len(), true), |top| top.push(piece));
        out.with(|buf| stuffer.push(piece.get(..shown).unwrap_or_default(), buf));
        more
    };
    if let Some(whole) = message.whole() {
        for piece in whole.into_iter().flat_map(|part| part.chunks(PIECE)) {
            out.room().await;
            if !push(piece) {
                return Ok(());
            }
        }
        return Ok(());
    }
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < message.len() {
        out.room().await;
        let n = message.read_at(at, &mut piece)?;
        if n == 0 || !push(&piece[..n]) {
            break;
        }
        at += n as u64;
    }
    Ok(())
}

impl Desk for Pop3Desk {
    type Question = Question;
    type Answer = Answer;

    fn answer<'a>(&'a mut self, question: Question, out: &'a Out) -> Later<'a, Answer> {
        Box::pin(self.ask(question, out))
    }

    fn body<'a>(&'a mut self, _octets: &'a [u8]) -> Taken<'a> {
        Taken::Now // POP3 has no bodies from the client.
    }

    fn wake(&mut self, _watch: bool) -> Option<Later<'_, ()>> {
        self.session.as_mut().map(|s| -> Later<'_, ()> { Box::pin(s.ends()) })
    }

    fn kicked(&self) -> Option<Over> {
        self.session.as_ref().and_then(Session::over)
    }
}
