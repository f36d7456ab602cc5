//! The IMAP server machine.

mod ask;
mod rows;

pub use ask::{Answer, Ended, NewState, Question};
pub use rows::{Capabilities, Capability, Config};
