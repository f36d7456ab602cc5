//! Commands are carried out here where no mailbox is needed, and made questions for the desk where one is.

use super::rows::Row;
use super::{Asked, Doing, Flow, Question, Session, State, Verdict};
use crate::imap::code::{Code, Status};
use crate::imap::command::{Command, Tag};
use crate::imap::frame::Frame;
use crate::imap::response;
use crate::machine::Want;
use crate::sasl::{Credentials, Exchange, Mechanism, Progress, SaslError};

impl Session {
    /// Carries a command out.
    pub(super) fn obey(&mut self, tag: Tag, row: &'static Row, command: Command, out: &mut Vec<u8>) -> Flow {
        match command {
            Command::Capability => {
                response::capability(&self.capabilities(), out);
                self.done(tag, Status::Ok, "That is all", out)
            }
            Command::Id(_) => {
                response::id(out);
                self.done(tag, Status::Ok, "Pleased to meet you", out)
            }
            Command::Enable(_) => {
                response::enabled(out);
                self.done(tag, Status::Ok, "Enabled what there is", out)
            }
            Command::Namespace => {
                response::namespace(out);
                self.done(tag, Status::Ok, "That is all", out)
            }
            Command::Poll if self.state == State::Selected => self.ask(tag, Asked::Run, Question::Poll),
            Command::Poll => self.done(tag, Status::Ok, "Nothing new", out),
            Command::Logout => self.ask(tag, Asked::Logout, Question::Logout),
            Command::StartTls => self.starttls(tag, out),
            Command::Login(credentials) => self.login(tag, credentials, out),
            Command::Authenticate { mechanism, initial } => {
                self.authenticate(tag, &mechanism, initial.as_deref(), out)
            }
            Command::Idle => {
                out.extend_from_slice(b"+ idling\r\n");
                self.ask(tag, Asked::IdleBegin, Question::IdleBegin)
            }
            // APPEND is dealt with at its literal.
            Command::Append(_) => self.done(tag, Status::Bad, "APPEND needs a message as a literal", out),
            Command::Run(request) => {
                self.ask(tag, Asked::Run, Question::Run { request, expunge: row.expunge })
            }
        }
    }

    /// RFC 3501 s.6.2.1.
    fn starttls(&mut self, tag: Tag, out: &mut Vec<u8>) -> Flow {
        if self.tls {
            return self.done(tag, Status::Bad, "TLS is on already", out);
        }
        if !self.config.starttls {
            return self.done(tag, Status::Bad, "STARTTLS is not offered", out);
        }
        let flow = self.done(tag, Status::Ok, "Begin TLS now", out);
        if flow.is_none() {
            self.doing = Doing::Upgrading;
            return Some(Want::Upgrade);
        }
        flow
    }

    fn may_log_in(&self) -> bool {
        self.tls || self.config.auth_in_plain
    }

    /// RFC 3501 s.6.2.3, RFC 5530: the password has been sent in plain text by now; say why it is no use.
    fn in_plain(&mut self, tag: Tag, out: &mut Vec<u8>) -> Flow {
        self.finish(
            &Verdict::no(tag, Code::PrivacyRequired, "Not without TLS: use STARTTLS or port 993"),
            out,
        )
    }

    pub(super) fn login(&mut self, tag: Tag, credentials: Credentials, out: &mut Vec<u8>) -> Flow {
        if !self.may_log_in() {
            return self.in_plain(tag, out);
        }
        self.ask(tag, Asked::Login, Question::Login(credentials))
    }

    /// RFC 3501 s.6.2.2, RFC 4959.
    fn authenticate(&mut self, tag: Tag, name: &str, initial: Option<&[u8]>, out: &mut Vec<u8>) -> Flow {
        if !self.may_log_in() {
            return self.in_plain(tag, out);
        }
        let Some(mechanism) = Mechanism::parse(name.as_bytes()) else {
            let verdict = Verdict::no(tag, Code::Cannot, "This mechanism is not offered");
            return self.finish(&verdict, out);
        };
        let (exchange, progress) = Exchange::begin(mechanism, initial);
        self.sasl(tag, exchange, progress, out)
    }

    /// Goes on with an exchange.
    pub(super) fn sasl(
        &mut self,
        tag: Tag,
        exchange: Exchange,
        progress: Progress,
        out: &mut Vec<u8>,
    ) -> Flow {
        match progress {
            Progress::Challenge(text) => {
                out.extend_from_slice(b"+ ");
                out.extend_from_slice(text.as_bytes());
                out.extend_from_slice(b"\r\n");
                self.doing = Doing::Sasl { tag, exchange, frame: Frame::default() };
                None
            }
            Progress::Done(credentials) => self.login(tag, credentials, out),
            Progress::Failed(SaslError::Authorization) => {
                let text = "Acting as another user is not offered";
                self.finish(&Verdict::no(tag, Code::AuthorizationFailed, text), out)
            }
            Progress::Failed(SaslError::Cancelled) => self.done(tag, Status::Bad, "Cancelled", out),
            Progress::Failed(SaslError::Encoding | SaslError::Malformed) => {
                self.done(tag, Status::Bad, "This is not what the mechanism expects", out)
            }
        }
    }
}
