//! SMTP, server side: commands and parameters, replies, and the machine that speaks to a client.
//!
//! RFC 5321 and the extensions that `ext` lists. Sees floor 0 and `sasl`; never `pop3` or `imap`.

pub mod command;
pub mod ext;
pub mod params;
pub mod reply;
pub mod session;
