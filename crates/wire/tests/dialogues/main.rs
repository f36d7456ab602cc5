//! Dialogues: what a client says, what the machine answers and what it asks its desk, replayed whole and cut at
//! every octet. `runner.rs` says how they are written.

mod imap;
mod pop3;
mod runner;
mod smtp;
mod smtp_client;
