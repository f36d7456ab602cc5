//! What is true now, as the log has made it: the directory, and each mailbox's head and table.
//!
//! Everything here is persistent in the sense of functional data structures: a change makes a new value that shares what stayed
//! the same, so that a reader keeps its snapshot without a lock. Nothing here touches the disk.

pub(crate) mod apply;
pub mod block;
pub mod book;
pub mod directory;
pub(crate) mod draft;
pub mod mailbox;
pub(crate) mod names;
pub mod retained;
pub mod table;
pub mod usage;
pub(crate) mod vanished;
pub mod view;
pub(crate) mod world;
