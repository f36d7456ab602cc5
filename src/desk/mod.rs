//! Desks answer what the protocol machines ask: one room a protocol, and they never see each other.
//!
//! A desk has no protocol text: it maps questions to `flow`, `login` and the store, and what comes back to typed
//! answers. Each method is a command's meaning.

pub mod imap;
pub mod pop3;
pub mod smtp;
