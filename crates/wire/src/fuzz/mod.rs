//! The bodies of the fuzz targets: plain functions of octets that panic when something is wrong. `fuzz/` calls them
//! with what a fuzzer thinks up, and `cargo test` with the corpora under `fuzz/corpus`.
//!
//! Not an interface: nothing but tests may use it.

mod drive;
mod hashes;
mod imap;
mod pop3;
mod smtp;
mod smtp_client;

pub use drive::{Transcript, drive};
pub use hashes::PlainHashes;
pub use imap::{imap_command, imap_frame};
pub use pop3::pop3_command;
pub use smtp::smtp_command;
pub use smtp_client::{smtp_client, smtp_reply};

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Runs `body` on each file of a target's corpus, and on each of them cut short.
    fn replay(target: &str, body: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let mut n = 0;
        for file in std::fs::read_dir(&corpus).expect("a corpus") {
            let octets = std::fs::read(file.expect("a directory entry").path()).expect("a seed");
            body(&octets);
            for end in (0..octets.len()).step_by(5) {
                body(&octets[..end]);
            }
            n += 1;
        }
        assert!(n >= 10, "the corpus of {target} has {n} seeds");
    }

    #[test]
    fn smtp_corpus() {
        replay("smtp_command", smtp_command);
    }

    #[test]
    fn smtp_client_corpora() {
        replay("smtp_client", smtp_client);
        replay("smtp_reply", smtp_reply);
    }

    #[test]
    fn pop3_corpus() {
        replay("pop3_command", pop3_command);
    }

    #[test]
    fn imap_corpora() {
        replay("imap_frame", imap_frame);
        replay("imap_command", imap_command);
    }

    proptest::proptest! {
        #[test]
        fn junk(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            smtp_command(&octets);
            smtp_client(&octets);
            smtp_reply(&octets);
            pop3_command(&octets);
            imap_frame(&octets);
            imap_command(&octets);
        }
    }
}
