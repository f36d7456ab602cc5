//! The Penfold server: everything that touches the world. ARCHITECTURE.md is the map.

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod desk;
pub mod disk;
pub mod dns;
pub mod flow;
pub mod login;
pub mod mime;
pub mod net;
pub mod observe;
pub mod password;
pub mod port;
pub mod rate;
pub mod run;
pub mod salvage;
pub mod tls;

#[cfg(test)]
#[path = "../tests/support/small_store.rs"]
mod small_store;

/// Tests of several rooms ask the same real nameserver.
#[cfg(test)]
#[path = "../tests/support/nameserver.rs"]
mod nameserver;
