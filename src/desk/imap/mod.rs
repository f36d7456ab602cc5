//! Answers the IMAP machine: mailboxes and messages of one account, as one session sees them.
//!
//! One file a group of commands; `selected` is what a session has been told of its mailbox and how it is told what is
//! new. Everything shown comes from the store through `wire::imap::response`; nothing here is protocol text but the
//! human words behind OK and NO. Large answers stream: the store is read in steps of about 1 MiB, of which all
//! clients together hold no more than [`Ahead`] lets them; who comes late is served in small steps.
//!
//! RFC 3501, RFC 2177 (IDLE), RFC 2180 (several sessions on one mailbox), RFC 3691 (UNSELECT), RFC 4315 (UIDPLUS),
//! RFC 5258 (LIST-EXTENDED), RFC 5530 (response codes), RFC 5819 (LIST-STATUS), RFC 6154 (SPECIAL-USE), RFC 6851
//! (MOVE).

mod append;
mod copy_move;
mod error;
mod expunge;
mod fetch;
mod list;
mod mailboxes;
mod recents;
mod search;
mod section;
mod select;
mod selected;
mod store_flags;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use store::{AccountId, Store};
use wire::imap::code::Code;
use wire::imap::command::Request;
use wire::imap::session::{Answer, Capabilities, Ended, Question};
use wire::machine::Over;
use wire::sasl::Credentials;

use crate::disk::Ahead;
use crate::login::{self, Door, Session};
use crate::net::{Desk, Later, Out, Taken};

use append::Appending;
pub use recents::Recents;
use selected::Selected;

/// Octets of messages read from the store in one step.
const STEP: u64 = 1 << 20;
/// The same when others hold what may be read ahead: larger messages are then read as they are written.
const SMALL_STEP: u64 = 64 * 1024;
/// Octets put into the output before the client is waited for: what [`Out::room`] waits at, or nobody would wait.
const FULL: usize = crate::net::HIGH_WATER;

/// The desk of one IMAP connection.
pub struct ImapDesk {
    store: Store,
    door: Door,
    recents: Recents,
    ahead: Ahead,
    peer: IpAddr,
    session: Option<Session>,
    selected: Option<Selected>,
    appending: Option<Appending>,
    /// A literal was begun and cannot be ended: only the connection's end tells the client.
    broken_off: bool,
}

/// How a command ended, or why the session cannot go on.
type Outcome = Result<Ended, Ended>;

impl ImapDesk {
    /// The desk of a new connection.
    #[must_use]
    pub fn new(store: Store, door: Door, recents: Recents, ahead: Ahead, peer: IpAddr) -> ImapDesk {
        ImapDesk {
            store,
            door,
            recents,
            ahead,
            peer,
            session: None,
            selected: None,
            appending: None,
            broken_off: false,
        }
    }

    fn account(&self) -> Result<AccountId, Ended> {
        let none = || Ended::no(Some(Code::ServerBug), "Not logged in");
        self.session.as_ref().map(Session::account).ok_or_else(none)
    }

    async fn ask(&mut self, question: Question, out: &Out) -> Answer {
        match question {
            Question::Login(credentials) => self.login(&credentials).await,
            Question::Run { request, expunge } => {
                let ended = self.run(request, out).await.unwrap_or_else(|refused| refused);
                self.finish(ended, expunge, out).await
            }
            Question::AppendBegin(append) => match self.append_begin(append) {
                Ok(()) => Answer::Go,
                Err(refused) => refused.into(),
            },
            Question::AppendEnd => {
                let ended = self.append_end().await.unwrap_or_else(|refused| refused);
                self.finish(ended, true, out).await
            }
            Question::AppendAborted => {
                self.appending = None;
                Answer::Done
            }
            Question::Poll => self.finish(Ended::ok("Done"), true, out).await,
            Question::IdleBegin | Question::IdleUpdate => match self.tell_news(true, out).await {
                Ok(()) => Answer::Done,
                Err(bye) => bye,
            },
            Question::IdleEnd => self.finish(Ended::ok("Idle ended"), true, out).await,
            Question::Logout => {
                self.selected = None;
                Answer::Done
            }
        }
    }

    async fn run(&mut self, request: Request, out: &Out) -> Outcome {
        match request {
            Request::Select { mailbox, read_only } => self.select(&mailbox, read_only, out),
            Request::Create { mailbox, special_use } => self.create(&mailbox, special_use).await,
            Request::Delete(mailbox) => self.delete(&mailbox).await,
            Request::Rename { from, to } => self.rename(&from, &to).await,
            Request::Subscribe(mailbox) => self.subscribe(&mailbox, true).await,
            Request::Unsubscribe(mailbox) => self.subscribe(&mailbox, false).await,
            Request::List(list) => self.list(&list, out).await,
            Request::Lsub { pattern } => self.lsub(&pattern, out).await,
            Request::Status { mailbox, items } => self.status(&mailbox, &items, out),
            Request::Close => self.close().await,
            Request::Unselect => {
                self.selected = None;
                Ok(Ended::ok("Unselected").with_state(wire::imap::session::NewState::Authenticated))
            }
            Request::Expunge(uids) => self.expunge(uids.as_ref()).await,
            Request::Search { uid, charset, key } => self.search(uid, charset.as_deref(), &key, out).await,
            Request::Fetch { messages, items } => self.fetch(&messages, &items, out).await,
            Request::Store { messages, how, silent, flags } => {
                self.store_flags(&messages, how, silent, flags, out).await
            }
            Request::Copy { messages, to } => self.copy(&messages, &to).await,
            Request::Move { messages, to } => self.move_messages(&messages, &to, out).await,
        }
    }

    async fn login(&mut self, credentials: &Credentials) -> Answer {
        match self.door.enter(self.peer, &credentials.user, &credentials.password).await {
            Ok(session) => {
                self.session = Some(session);
                Answer::LoggedIn { without: Capabilities::NONE }
            }
            Err(login::Refused::Wrong) => Answer::Denied,
            Err(login::Refused::TooMany) => Ended::no(
                Some(Code::Unavailable),
                "Too many failed logins from your address, try again in a minute",
            )
            .into(),
            Err(login::Refused::Unavailable) => {
                Ended::no(Some(Code::Unavailable), "Logging in does not work now, try again later").into()
            }
        }
    }

    /// A command has ended: what is new in the selected mailbox is told before the tagged line.
    async fn finish(&mut self, ended: Ended, expunge: bool, out: &Out) -> Answer {
        if self.broken_off {
            return Answer::Bye { code: None, text: "A message could not be read to its end".into() };
        }
        match self.tell_news(expunge, out).await {
            Ok(()) => ended.into(),
            Err(bye) => bye,
        }
    }

    async fn tell_news(&mut self, expunge: bool, out: &Out) -> Result<(), Answer> {
        let Some(selected) = &mut self.selected else { return Ok(()) };
        selected.tell_news(&self.store, &self.recents, expunge, out).await.map_err(|e| {
            tracing::info!(mailbox = %selected.id(), error = %e, "the selected mailbox cannot be read");
            // RFC 2180 s.3.3: a mailbox that another session has deleted.
            Answer::Bye { code: None, text: error::bye(&e).into() }
        })
    }
}

impl Desk for ImapDesk {
    type Question = Question;
    type Answer = Answer;

    fn answer<'a>(&'a mut self, question: Question, out: &'a Out) -> Later<'a, Answer> {
        Box::pin(self.ask(question, out))
    }

    fn body<'a>(&'a mut self, octets: &'a [u8]) -> Taken<'a> {
        if let Some(appending) = &mut self.appending {
            appending.push(octets);
        }
        Taken::Now
    }

    fn wake(&mut self, watch: bool) -> Option<Later<'_, ()>> {
        let session = self.session.as_mut()?;
        match &mut self.selected {
            Some(selected) if watch => {
                if selected.has_news(&self.store) {
                    return Some(Box::pin(std::future::ready(())));
                }
                Some(Box::pin(async move {
                    tokio::select! {
                        () = session.ends() => {}
                        () = selected.news() => {}
                    }
                }))
            }
            _ => Some(Box::pin(session.ends())),
        }
    }

    fn kicked(&self) -> Option<Over> {
        self.session.as_ref().and_then(Session::over)
    }
}
