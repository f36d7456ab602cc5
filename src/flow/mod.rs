//! The road a message travels: `Received → Judged → Routed → Committed`, one type a stage, one file each.
//!
//! A stage takes the one before it by value, so that none can be skipped. Nothing here speaks a protocol: desks
//! ask, and turn what is refused into replies.

pub mod header;
