//! The SMTP server machine, for port 25 and for submission: one machine with a `Role`.

mod ask;

pub use ask::{Aborted, Answer, BodyKind, Config, Hello, Mail, Question, Role};
