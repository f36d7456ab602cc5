//! What comes of each command: the state it needs, and the question it asks.

use super::{
    Aborted, Asked, Chunk, Hello, Mail, Phase, Question, Recipient, Role, Session, Transaction, Wants, words,
};
use crate::addr::{AddrError, ForwardPath, ReversePath};
use crate::machine::Want;
use crate::sasl::{Exchange, Mechanism, Progress};
use crate::smtp::command::{Command, CommandError};
use crate::smtp::ext::{self, Extension};
use crate::smtp::params::{MailParams, ParamError, RcptParams};
use crate::smtp::reply::Reply;

impl Session {
    pub(super) fn command(&mut self, line: &[u8], out: &mut Vec<u8>) -> Wants {
        let (row, command) = Command::parse(line);
        if let Some(extension) = row.and_then(|row| row.extension)
            && !extension.is_offered(self.facts())
        {
            return self.bad(self.not_offered(extension), out);
        }
        match command {
            Ok(command) => self.obey(command, out),
            Err(error) => {
                let want = self.bad(words::for_command(error, row), out);
                // How many octets of a body follow is not known: none of them may be taken for commands.
                if error == CommandError::ChunkSize { Some(Want::Close) } else { want }
            }
        }
    }

    fn not_offered(&self, extension: Extension) -> Reply {
        match (extension, &self.tls) {
            (Extension::StartTls, Some(_)) => words::already_tls(),
            (Extension::Auth, None) if self.config.role == Role::Submission => words::tls_first(),
            _ => words::not_offered(),
        }
    }

    fn obey(&mut self, command: Command, out: &mut Vec<u8>) -> Wants {
        match command {
            Command::Hello { extended, name } => self.hello(Hello { name, extended }, out),
            Command::Mail(path, params) => self.mail(path, params, out),
            Command::Rcpt { path, params, ascii } => self.rcpt(path, params, ascii, out),
            Command::Data => match self.transaction {
                Transaction::None => self.bad(words::mail_first(), out),
                Transaction::Chunks(_) => self.bad(words::in_chunks(), out),
                Transaction::Open { recipients: 0, .. } => self.bad(words::no_recipients(), out),
                Transaction::Open { .. } => Some(self.ask(Asked::Data, Question::DataBegin)),
            },
            Command::Bdat { size, last } => self.bdat(Chunk { size, last }, out),
            Command::Rset => match self.give_up() {
                Some(question) => Some(self.ask(Asked::Aborted(words::ok()), question)),
                None => self.say(words::ok(), out),
            },
            Command::Noop => self.say(words::ok(), out),
            Command::Quit => Some(self.ask(Asked::Quit, Question::Quit)),
            Command::StartTls => self.start_tls(out),
            Command::Auth { mechanism, initial } => {
                self.auth(&mechanism, initial.as_ref().map(|i| i.expose().as_slice()), out)
            }
            Command::Vrfy => self.say(words::cannot_verify(), out),
            Command::Expn => self.bad(words::no_expn(), out),
            Command::Help => self.say(words::help(self.facts()), out),
        }
    }

    /// Ends the transaction; what the desk is told, if there was one.
    fn give_up(&mut self) -> Option<Question> {
        match std::mem::replace(&mut self.transaction, Transaction::None) {
            Transaction::None => None,
            Transaction::Open { .. } => Some(Question::Reset),
            Transaction::Chunks(_) => Some(Question::DataAborted(Aborted::GivenUp)),
        }
    }

    fn hello(&mut self, hello: Hello, out: &mut Vec<u8>) -> Wants {
        // RFC 5321 s.4.1.4: EHLO in a session works as RSET does.
        match self.give_up() {
            Some(question) => Some(self.ask(Asked::Hello(hello), question)),
            None => self.introduced(hello, out),
        }
    }

    pub(super) fn introduced(&mut self, hello: Hello, out: &mut Vec<u8>) -> Wants {
        let mut text = self.config.hostname.clone();
        if hello.extended {
            for line in ext::ehlo_lines(self.facts()) {
                text.push('\n');
                text.push_str(&line);
            }
        }
        self.hello = Some(hello);
        self.say(words::hello(text), out)
    }

    fn mail(&mut self, path: ReversePath, params: MailParams, out: &mut Vec<u8>) -> Wants {
        let Some(hello) = self.hello.clone() else { return self.bad(words::hello_first(), out) };
        if self.config.role == Role::Submission && !self.authenticated {
            return self.bad(words::auth_first(), out);
        }
        if !matches!(self.transaction, Transaction::None) {
            return self.bad(words::in_transaction(), out);
        }
        if !params.are_offered(|extension| extension.is_offered(self.facts())) {
            return self.bad(words::for_command(CommandError::Parameter(ParamError::Unknown), None), out);
        }
        // RFC 1870 s.6.1.
        if params.size.is_some_and(|size| size > self.config.max_message) {
            return self.say(words::too_large(self.config.max_message), out);
        }
        if let (Some(hold), Some(most)) = (params.hold, self.config.offers.future_release)
            && !most.allows(hold)
        {
            return self.say(words::held_too_long(most.max_interval), out);
        }
        let MailParams { size, body, ret, envid, hold, require_tls, smtputf8, auth: _ } = params;
        let body = body.unwrap_or_default();
        let tls = self.tls.clone();
        let mail = Mail { path, size, body, ret, envid, hold, require_tls, smtputf8, hello, tls };
        Some(self.ask(Asked::Mail { smtputf8 }, Question::Mail(mail)))
    }

    fn rcpt(&mut self, path: ForwardPath, params: RcptParams, ascii: bool, out: &mut Vec<u8>) -> Wants {
        match self.transaction {
            Transaction::None => self.bad(words::mail_first(), out),
            Transaction::Chunks(_) => self.bad(words::in_chunks(), out),
            Transaction::Open { .. }
                if !params.are_offered(|extension| extension.is_offered(self.facts())) =>
            {
                self.bad(words::for_command(CommandError::Parameter(ParamError::Unknown), None), out)
            }
            // RFC 6531 s.3.5.
            Transaction::Open { smtputf8: false, .. } if !ascii => {
                self.bad(words::for_command(CommandError::Recipient(AddrError::NonAscii), None), out)
            }
            Transaction::Open { recipients, .. } if recipients >= self.config.max_recipients => {
                self.say(words::too_many_recipients(), out)
            }
            Transaction::Open { .. } => {
                let RcptParams { notify, orcpt } = params;
                Some(self.ask(Asked::Rcpt, Question::Rcpt(Recipient { path, notify, orcpt })))
            }
        }
    }

    fn bdat(&mut self, chunk: Chunk, out: &mut Vec<u8>) -> Wants {
        // A client that read SIZE does not announce this; to read it to its end would serve nobody.
        if chunk.size > self.config.max_message.saturating_mul(2) {
            let _ = self.say(words::too_large(self.config.max_message), out);
            return Some(Want::Close);
        }
        // RFC 3030 s.2: the octets follow the line whatever comes of it.
        let refused = |reply| Phase::Refused { left: chunk.size, reply };
        match std::mem::replace(&mut self.transaction, Transaction::None) {
            Transaction::None => self.expect(refused(words::mail_first())),
            open @ Transaction::Open { recipients: 0, .. } => {
                self.transaction = open;
                self.expect(refused(words::no_recipients()));
            }
            open @ Transaction::Open { .. } => {
                self.transaction = open;
                return Some(self.ask(Asked::Chunk(chunk), Question::DataBegin));
            }
            Transaction::Chunks(body) => self.expect(Phase::Chunk { body, chunk, left: chunk.size }),
        }
        None
    }

    fn start_tls(&mut self, out: &mut Vec<u8>) -> Wants {
        // What the desk knows by then could not be forgotten.
        if self.authenticated {
            return self.bad(words::already_authenticated(), out);
        }
        if !matches!(self.transaction, Transaction::None) {
            return self.bad(words::in_transaction(), out);
        }
        self.say(words::start_tls(), out).or(Some(Want::Upgrade))
    }

    fn auth(&mut self, mechanism: &str, initial: Option<&[u8]>, out: &mut Vec<u8>) -> Wants {
        if self.hello.is_none() {
            return self.bad(words::hello_first(), out);
        }
        if self.authenticated {
            return self.bad(words::already_authenticated(), out);
        }
        // RFC 4954 s.4.
        if !matches!(self.transaction, Transaction::None) {
            return self.bad(words::in_transaction(), out);
        }
        let Some(mechanism) = Mechanism::parse(mechanism.as_bytes()) else {
            return self.bad(words::no_mechanism(), out);
        };
        let (exchange, progress) = Exchange::begin(mechanism, initial);
        self.progress(exchange, progress, out)
    }

    pub(super) fn progress(&mut self, exchange: Exchange, progress: Progress, out: &mut Vec<u8>) -> Wants {
        match progress {
            Progress::Challenge(text) => {
                self.phase = Phase::Sasl(exchange);
                self.say(words::challenge(&text), out)
            }
            Progress::Done(credentials) => Some(self.ask(Asked::Login, Question::Login(credentials))),
            Progress::Failed(error) => self.bad(words::for_sasl(error), out),
        }
    }
}
