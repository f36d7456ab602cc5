//! SMTP: commands and parameters, replies, the machine that speaks to a client, and the one that speaks to a server.
//!
//! RFC 5321 and the extensions that `ext` lists. Sees floor 0 and `sasl`; never `pop3` or `imap`.

pub mod client;
pub mod command;
pub mod ext;
pub mod params;
pub mod reply;
pub mod session;
