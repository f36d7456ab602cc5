//! SASL as a client (RFC 4422): what to say to log in elsewhere.

mod scram;

pub use scram::Hashes;

use crate::secret::Secret;

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
