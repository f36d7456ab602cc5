//! Bytes and meaning: the mail protocols as machines without sockets.
//!
//! This crate cannot do I/O. It has no runtime, no clock, no store and no TLS: a protocol machine is shown
//! octets and says what it wants next; time, randomness and TLS facts reach it as arguments.
//!
//! Floor 0 (`abnf, line, dot, secret, addr, dsn, ids, flag, limits, machine`) is shared; on it stand `sasl`, then
//! `smtp`, `pop3` and `imap`, which never see each other.

pub mod abnf;
pub mod addr;
pub mod dot;
pub mod dsn;
pub mod flag;
#[doc(hidden)]
pub mod fuzz;
pub mod ids;
pub mod imap;
pub mod limits;
pub mod line;
pub mod machine;
pub mod pop3;
pub mod sasl;
pub mod secret;
pub mod smtp;
