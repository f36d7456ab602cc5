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

#[test]
fn a_pattern_is_as_long_as_the_name_that_it_means() {
    let most = crate::limits::MAILBOX_NAME;
    let list = |reference: &str, pattern: &str| {
        let mut text = b"a LIST \"".to_vec();
        super::utf7::encode(reference, &mut text);
        text.extend_from_slice(b"\" \"");
        super::utf7::encode(pattern, &mut text);
        text.push(b'"');
        request(&text)
    };
    let (cyrillic, longer) = ("я".repeat(most / 2), "я".repeat(most / 2 + 1));
    for (reference, pattern, good) in [
        ("", cyrillic.as_str(), true),
        ("", &"x/".repeat(most / 2), true),
        ("", &longer, false),
        (&cyrillic, "%", false),
        (&cyrillic[2..], "%", true),
    ] {
        let read = list(reference, pattern);
        assert_eq!(read.is_some(), good, "{reference:?} {pattern:?}");
        if let Some(read) = read {
            assert_eq!(request(format!("a {read}").as_bytes()), Some(read));
        }
    }
}
