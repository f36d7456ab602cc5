//! SASL as a server sees it (RFC 4422; `client` is the other side): an exchange of base64 lines that ends in `Credentials` or an error.
//!
//! The mechanisms only parse: whether a password is right is the desk's to say, so nothing here knows an account.
//! The framing (`334 `, `+ `) is the protocol's own. Used by `smtp`, `pop3` and `imap`.

pub mod client;
pub mod login;
pub mod plain;

use std::borrow::Cow;

use data_encoding::BASE64;
use zeroize::Zeroize;

use crate::limits;
use crate::secret::Secret;

/// What a client claims to be, and its proof.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The identity to act as, where the client named one. A mechanism refuses any but `user`, so that a desk
    /// which ignores it is right.
    pub authorization: Option<String>,
    /// The identity whose password is given: a login name or an address, as typed.
    pub user: String,
    /// The password.
    pub password: Secret<String>,
}

/// A mechanism that this server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// PLAIN, RFC 4616.
    Plain,
    /// LOGIN: no RFC, but Outlook has nothing else.
    Login,
}

impl Mechanism {
    /// All of them, in the order in which they are offered.
    pub const ALL: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }

    /// By name, in any case.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|m| name.eq_ignore_ascii_case(m.name().as_bytes()))
    }
}

/// Why an exchange ended without credentials. None of them counts as a wrong password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The client sent `*`.
    #[error("the exchange was cancelled")]
    Cancelled,
    /// Not base64, or longer than `limits::SASL_RESPONSE`.
    #[error("the response is not base64")]
    Encoding,
    /// Not what the mechanism's grammar allows.
    #[error("the response is not what the mechanism expects")]
    Malformed,
    /// To act as somebody else was asked for.
    #[error("acting as another user is not offered")]
    Authorization,
}

/// How an exchange stands after a step.
#[derive(Debug)]
pub enum Progress {
    /// Send this (base64 already, possibly empty) and hand the next line to `respond`.
    Challenge(Cow<'static, str>),
    /// The client has said all it has to say.
    Done(Credentials),
    /// It is over.
    Failed(SaslError),
}

/// A running exchange.
#[derive(Debug)]
pub struct Exchange(State);

#[derive(Debug)]
enum State {
    Plain,
    Login(login::Login),
}

impl Exchange {
    /// Begins an exchange. `initial` is the initial response as sent: base64, or `=` for an empty one.
    #[must_use]
    pub fn begin(mechanism: Mechanism, initial: Option<&[u8]>) -> (Exchange, Progress) {
        let state = match mechanism {
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::Login(login::Login::default()),
        };
        let mut exchange = Exchange(state);
        let progress = match (initial, &exchange.0) {
            // RFC 4422 s.5.1: an initial response is an answer to an empty challenge.
            (Some(b"="), _) => exchange.accept(b""),
            (Some(text), _) => exchange.respond(text),
            (None, State::Plain) => Progress::Challenge(Cow::Borrowed("")),
            (None, State::Login(_)) => Progress::Challenge(Cow::Borrowed(login::USERNAME)),
        };
        (exchange, progress)
    }

    /// The client's next line, without its line end.
    pub fn respond(&mut self, line: &[u8]) -> Progress {
        if line == b"*" {
            return Progress::Failed(SaslError::Cancelled);
        }
        if line.len() > limits::SASL_RESPONSE {
            return Progress::Failed(SaslError::Encoding);
        }
        match BASE64.decode(line) {
            Ok(mut message) => {
                let progress = self.accept(&message);
                message.zeroize();
                progress
            }
            Err(_) => Progress::Failed(SaslError::Encoding),
        }
    }

    fn accept(&mut self, message: &[u8]) -> Progress {
        match &mut self.0 {
            State::Plain => match plain::parse(message) {
                Ok(credentials) => Progress::Done(credentials),
                Err(e) => Progress::Failed(e),
            },
            State::Login(login) => login.accept(message),
        }
    }
}

/// A field of a response: UTF-8, not empty, without NUL (RFC 4616 s.2 `1*SAFE`).
fn field(octets: &[u8]) -> Result<&str, SaslError> {
    match std::str::from_utf8(octets) {
        Ok(s) if !s.is_empty() && !s.contains('\0') => Ok(s),
        _ => Err(SaslError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(
        mechanism: Mechanism,
        initial: Option<&str>,
        lines: &[&str],
    ) -> (Vec<String>, Result<String, SaslError>) {
        let mut challenges = Vec::new();
        let (mut exchange, mut progress) = Exchange::begin(mechanism, initial.map(str::as_bytes));
        let mut lines = lines.iter();
        loop {
            match progress {
                Progress::Challenge(c) => {
                    challenges.push(c.into_owned());
                    progress = exchange.respond(lines.next().expect("a further line").as_bytes());
                }
                Progress::Done(c) => return (challenges, Ok(format!("{}:{}", c.user, c.password.expose()))),
                Progress::Failed(e) => return (challenges, Err(e)),
            }
        }
    }

    #[test]
    fn exchanges() {
        use Mechanism::{Login, Plain};
        let plain = BASE64.encode(b"\0tim\0tanstaaftanstaaf");
        let twice = BASE64.encode(b"tim\0tim\0secret");
        let other = BASE64.encode(b"ann\0tim\0secret");
        let long = "A".repeat(limits::SASL_RESPONSE + 4);
        let (user, pass) = (BASE64.encode(b"tim"), BASE64.encode(b"secret"));
        let (u, p) = (login::USERNAME, login::PASSWORD);
        type Row<'a> = (Mechanism, Option<&'a str>, Vec<&'a str>, Vec<&'a str>, Result<&'a str, SaslError>);
        let rows: Vec<Row<'_>> = vec![
            (Plain, Some(&plain), vec![], vec![], Ok("tim:tanstaaftanstaaf")),
            (Plain, None, vec![&plain], vec![""], Ok("tim:tanstaaftanstaaf")),
            (Plain, Some(&twice), vec![], vec![], Ok("tim:secret")),
            (Plain, Some(&other), vec![], vec![], Err(SaslError::Authorization)),
            (Plain, Some("="), vec![], vec![], Err(SaslError::Malformed)),
            (Plain, Some("AHRpbQ"), vec![], vec![], Err(SaslError::Encoding)),
            (Plain, Some(&long), vec![], vec![], Err(SaslError::Encoding)),
            (Plain, None, vec!["*"], vec![""], Err(SaslError::Cancelled)),
            (Login, None, vec![&user, &pass], vec![u, p], Ok("tim:secret")),
            (Login, Some(&user), vec![&pass], vec![p], Ok("tim:secret")),
            (Login, None, vec![&user, "*"], vec![u, p], Err(SaslError::Cancelled)),
            (Login, None, vec![""], vec![u], Err(SaslError::Malformed)),
            (Login, None, vec![&user, ""], vec![u, p], Err(SaslError::Malformed)),
            (Login, None, vec!["t!m"], vec![u], Err(SaslError::Encoding)),
        ];
        for (mechanism, initial, lines, challenges, result) in rows {
            let (seen, got) = run(mechanism, initial, &lines);
            assert_eq!(seen, challenges, "{mechanism:?} {initial:?} {lines:?}");
            assert_eq!(got.as_deref().map_err(|e| *e), result, "{mechanism:?} {initial:?} {lines:?}");
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(Mechanism::parse(b"pLaIn"), Some(Mechanism::Plain));
        assert_eq!(Mechanism::parse(b"CRAM-MD5"), None);
    }

    #[test]
    fn credentials_do_not_print_their_password() {
        let c = plain::parse(b"\0tim\0hunter2").expect("well-formed");
        assert!(!format!("{c:?}").contains("hunter2"));
    }
}
