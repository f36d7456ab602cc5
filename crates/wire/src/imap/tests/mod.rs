//! What is said of all commands at once: what is printed is parsed again, and another parser agrees.

mod generate;
mod oracle;
mod printed;

use super::command::{Command, Request};
use super::session::read;

/// A request from a command's text, tag included.
fn request(text: &[u8]) -> Option<Request> {
    match read(text) {
        Some(Command::Run(request)) => Some(request),
        _ => None,
    }
}
