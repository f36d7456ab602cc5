//! The POP3 server machine.

mod ask;

pub use ask::{Answer, Config, Failure, Question};
