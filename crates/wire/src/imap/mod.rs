//! IMAP4rev1 (RFC 3501) as a server speaks it, and what everyday clients need besides.
//!
//! `session` is the machine: it frames (`frame`), parses (`syntax`, `parse`) and answers what needs no mailbox. All
//! else it asks its desk, in the types of `command`; the desk writes its data with `response`. Nothing here knows a
//! store, a clock or a socket.

pub mod code;
pub mod command;
pub mod date;
pub mod fetch;
mod frame;
pub mod list;
pub mod name;
mod parse;
mod print;
pub mod response;
pub mod search;
pub mod session;
pub mod structure;
mod syntax;
#[cfg(test)]
mod tests;
pub mod utf7;
