//! Truth on disk.
