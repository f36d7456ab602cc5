//! SCRAM-SHA-256, client side (RFC 5802, RFC 7677).

use std::num::NonZeroU32;

/// The hashes that SCRAM-SHA-256 needs: wire has none of its own.
pub trait Hashes: Send {
    /// SHA-256.
    fn sha256(&self, octets: &[u8]) -> [u8; 32];
    /// HMAC (RFC 2104) with SHA-256.
    fn hmac_sha256(&self, key: &[u8], octets: &[u8]) -> [u8; 32];
    /// PBKDF2 (RFC 8018) with HMAC-SHA-256, 32 octets long: `Hi` of RFC 5802 s.2.2.
    fn pbkdf2_sha256(&self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> [u8; 32];
}
