//! SASL as a client (RFC 4422): what to say to log in elsewhere. Of what the server offers the best is taken:
//! SCRAM-SHA-256, which never sends the password, then PLAIN (RFC 4616), then LOGIN.
//!
//! The framing is the protocol's own. All that is said here is secret, for it holds the password or can be used to
//! guess it.

mod scram;

pub use scram::Hashes;

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::field;
use crate::secret::Secret;
use scram::Scram;

/// What is needed to log in.
pub struct Login {
    /// The user's name there.
    pub user: String,
    /// The password.
    pub password: Secret<String>,
    /// Whether the password itself may be sent (PLAIN, LOGIN): not unless the connection is under TLS to the server
    /// that is meant. SCRAM never sends it.
    pub reveal: bool,
    /// Random octets, of which no other login has the same.
    pub nonce: [u8; 18],
    /// What SCRAM computes with.
    pub hashes: Box<dyn Hashes>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .field("reveal", &self.reveal)
            .finish_non_exhaustive()
    }
}

/// Why an exchange cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The challenge is not the mechanism's.
    #[error("the challenge is not the mechanism's")]
    Malformed,
    /// The server's proof is wrong.
    #[error("the server does not know the password")]
    NotProven,
}

/// A running exchange.
#[derive(Debug)]
pub struct Exchange(State);

#[derive(Debug)]
enum State {
    /// All has been said.
    Plain,
    Login {
        user: Option<String>,
        password: Option<Secret<String>>,
    },
    Scram(Box<Scram>),
}

/// How an exchange begins.
#[derive(Debug)]
pub struct Begun {
    /// The rest of it.
    pub exchange: Exchange,
    /// The mechanism's name.
    pub mechanism: &'static str,
    /// The initial response in base64, where the mechanism has one.
    pub initial: Option<Secret<Vec<u8>>>,
}

impl Exchange {
    /// Begins with the best of what is offered (names in capitals) and may be used. `None` if there is nothing, or the name or
    /// password is such that no mechanism can say it.
    #[must_use]
    pub fn begin(login: Login, offered: &[String]) -> Option<Begun> {
        let has = |name: &str| offered.iter().any(|o| o == name);
        field(login.user.as_bytes()).ok()?;
        field(login.password.expose().as_bytes()).ok()?;
        let (mechanism, state, initial) = match login {
            login if has("SCRAM-SHA-256") => {
                let (scram, first) = Scram::begin(login);
                ("SCRAM-SHA-256", State::Scram(Box::new(scram)), Some(encoded(first.as_bytes())))
            }
            login if has("PLAIN") && login.reveal => {
                let message = Zeroizing::new(format!("\0{}\0{}", login.user, login.password.expose()));
                ("PLAIN", State::Plain, Some(encoded(message.as_bytes())))
            }
            login if has("LOGIN") && login.reveal => {
                let state = State::Login { user: Some(login.user), password: Some(login.password) };
                ("LOGIN", state, None)
            }
            _ => return None,
        };
        Some(Begun { exchange: Exchange(state), mechanism, initial })
    }

    /// The response to a challenge; both in base64.
    ///
    /// # Errors
    /// What is wrong with the challenge; the exchange is over then.
    pub fn respond(&mut self, challenge: &str) -> Result<Secret<Vec<u8>>, Broken> {
        match &mut self.0 {
            State::Plain => Err(Broken::Malformed),
            // The words of LOGIN's challenges are anybody's; their order is not.
            State::Login { user, password } => match (user.take(), password.take_if(|_| true)) {
                (Some(name), secret) => {
                    *password = secret;
                    Ok(encoded(name.as_bytes()))
                }
                (None, Some(secret)) => Ok(encoded(secret.expose().as_bytes())),
                (None, None) => Err(Broken::Malformed),
            },
            State::Scram(scram) => {
                let challenge = BASE64.decode(challenge.as_bytes()).map_err(|_| Broken::Malformed)?;
                let challenge = std::str::from_utf8(&challenge).map_err(|_| Broken::Malformed)?;
                scram.respond(challenge).map(|response| encoded(response.as_bytes()))
            }
        }
    }

    /// Whether the server's yes can be believed: under SCRAM only after its proof.
    #[must_use]
    pub fn may_succeed(&self) -> bool {
        match &self.0 {
            State::Plain | State::Login { .. } => true,
            State::Scram(scram) => scram.is_proven(),
        }
    }
}

fn encoded(octets: &[u8]) -> Secret<Vec<u8>> {
    Secret::new(BASE64.encode(octets).into_bytes())
}

#[cfg(test)]
mod tests;
