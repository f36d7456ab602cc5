//! SCRAM-SHA-256, client side (RFC 5802, RFC 7677), without channel binding.
//!
//! A password outside ASCII is used as it is: SASLprep (RFC 4013), which would fold its forms of the same letters into
//! one, is not done.

use std::fmt;
use std::num::NonZeroU32;

use data_encoding::BASE64;
use subtle::ConstantTimeEq as _;

use super::{Broken, Login};
use crate::limits;
use crate::secret::Secret;

/// The hashes that SCRAM-SHA-256 needs: wire has none of its own.
pub trait Hashes: Send {
    /// SHA-256.
    fn sha256(&self, octets: &[u8]) -> [u8; 32];
    /// HMAC (RFC 2104) with SHA-256.
    fn hmac_sha256(&self, key: &[u8], octets: &[u8]) -> [u8; 32];
    /// PBKDF2 (RFC 8018) with HMAC-SHA-256, 32 octets long: `Hi` of RFC 5802 s.2.2.
    fn pbkdf2_sha256(&self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> [u8; 32];
}

/// An exchange.
pub(super) struct Scram {
    hashes: Box<dyn Hashes>,
    password: Secret<String>,
    /// `client-first-message-bare`.
    first: String,
    /// Our part of the nonce.
    nonce: String,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The server's first message is to come.
    First,
    /// Its last one, with this signature.
    Last([u8; 32]),
    /// The signature was right.
    Proven,
    /// Or there was none.
    Unproven,
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scram")
    }
}

impl Scram {
    /// An exchange, and the client's first message.
    pub(super) fn begin(login: Login) -> (Scram, String) {
        let Login { user, password, nonce, hashes, .. } = login;
        Scram::with_nonce(&user, password, BASE64.encode(&nonce), hashes)
    }

    pub(super) fn with_nonce(
        user: &str,
        password: Secret<String>,
        nonce: String,
        hashes: Box<dyn Hashes>,
    ) -> (Scram, String) {
        // RFC 5802 s.5.1.
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={user},r={nonce}");
        let message = format!("n,,{first}");
        (Scram { hashes, password, first, nonce, stage: Stage::First }, message)
    }

    /// The response to the server's message.
    pub(super) fn respond(&mut self, message: &str) -> Result<String, Broken> {
        match std::mem::replace(&mut self.stage, Stage::Unproven) {
            Stage::First => self.prove(message),
            Stage::Last(signature) => {
                // An error is followed by the protocol's own no.
                if message.starts_with("e=") {
                    return Ok(String::new());
                }
                let given =
                    message.split(',').next().and_then(|v| v.strip_prefix("v=")).ok_or(Broken::Malformed)?;
                let given = BASE64.decode(given.as_bytes()).map_err(|_| Broken::Malformed)?;
                if !bool::from(given.ct_eq(&signature)) {
                    return Err(Broken::NotProven);
                }
                self.stage = Stage::Proven;
                Ok(String::new())
            }
            Stage::Proven | Stage::Unproven => Err(Broken::Malformed),
        }
    }

    pub(super) fn is_proven(&self) -> bool {
        matches!(self.stage, Stage::Proven)
    }

    /// `client-final-message` (RFC 5802 s.3).
    fn prove(&mut self, message: &str) -> Result<String, Broken> {
        let First { nonce, salt, iterations } = First::parse(message).ok_or(Broken::Malformed)?;
        // The server's part follows ours: a message of another exchange is none of this one.
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(Broken::Malformed);
        }
        let h = &self.hashes;
        let salted = Secret::new(h.pbkdf2_sha256(self.password.expose().as_bytes(), &salt, iterations));
        let client_key = Secret::new(h.hmac_sha256(salted.expose(), b"Client Key"));
        let stored_key = h.sha256(client_key.expose());
        // "biws" is "n,," in base64: no channel binding.
        let last = format!("c=biws,r={nonce}");
        let all = format!("{},{message},{last}", self.first);
        let mut proof = h.hmac_sha256(&stored_key, all.as_bytes());
        proof.iter_mut().zip(client_key.expose()).for_each(|(p, k)| *p ^= k);
        let server_key = h.hmac_sha256(salted.expose(), b"Server Key");
        self.stage = Stage::Last(h.hmac_sha256(&server_key, all.as_bytes()));
        Ok(format!("{last},p={}", BASE64.encode(&proof)))
    }
}

/// `server-first-message` (RFC 5802 s.7).
struct First<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl First<'_> {
    /// `None` as well for an extension that must be understood (`m=`), and for iterations that are too few to protect the
    /// password (RFC 7677 s.4) or so many that they would keep us busy.
    fn parse(message: &str) -> Option<First<'_>> {
        let mut fields = message.split(',');
        let nonce = fields.next()?.strip_prefix("r=")?;
        let salt = BASE64.decode(fields.next()?.strip_prefix("s=")?.as_bytes()).ok()?;
        let iterations = fields.next()?.strip_prefix("i=")?;
        let iterations = crate::abnf::number(iterations.as_bytes())?;
        let iterations = u32::try_from(iterations).ok().filter(|i| limits::SCRAM_ITERATIONS.contains(i))?;
        let printable = nonce.bytes().all(|b| b.is_ascii_graphic());
        (printable && !salt.is_empty()).then_some(First {
            nonce,
            salt,
            iterations: NonZeroU32::new(iterations)?,
        })
    }
}
