//! The Penfold server: everything that touches the world. ARCHITECTURE.md is the map.

pub mod flow;
pub mod net;
