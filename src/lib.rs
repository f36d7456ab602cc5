//! The Penfold server: everything that touches the world. ARCHITECTURE.md is the map.

pub mod admin;
pub mod cli;
pub mod flow;
pub mod net;
