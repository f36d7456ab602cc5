//! What a command or a page does, one function each: used by the command line, the control socket and later the
//! web page, so that all three do and say the same.
//!
//! It knows the store and hashes passwords; it prints nothing, asks nobody and opens no network sockets.

pub mod control;
mod error;
pub mod generate;
mod request;

pub use error::{Error, Kind};
pub use request::*;
