//! POP3, server side: commands, replies, and the machine that speaks to a client.
//!
//! RFC 1939 and the extensions that `capa` lists. Sees floor 0 and `sasl`; never `smtp` or `imap`.

pub mod capa;
pub mod command;
pub mod reply;
pub mod session;
