//! The command line: what may be typed, who does it, and how the answer is shown.
//!
//! Errors are told here in words, with what to do next; nothing else in the program prints to a terminal.

mod args;
mod print;

pub use args::*;
