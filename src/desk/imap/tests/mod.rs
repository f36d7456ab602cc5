//! The IMAP machine, its desk and a store on disk, over a stream in memory: what a client hears, word for word.

mod fetching;
mod house;
mod mailboxes;
mod searching;
mod sessions;
