//! What tests and benchmarks share: a started server that dies with its test, and small blocking clients.
//!
//! The clients are deliberately plain: they send what they are told and read lines. They are no mock of anything;
//! the server is the real binary.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses its own part, and stops at what it does not expect"
)]

pub mod client;
pub mod server;
