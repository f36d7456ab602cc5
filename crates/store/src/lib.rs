//! Truth on disk.

pub mod index;
pub mod vfs;
