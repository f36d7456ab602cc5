//! The bodies of the fuzz targets of import: any octets, as a mbox and as an archive, give messages or words, and never
//! a panic or more than they hold. `fuzz/` calls them, and `cargo test` with the corpora under `fuzz/corpus`.
//!
//! Not an interface: nothing but tests may use it.

use std::io::Read;

use super::mbox::{self, Mbox};
use super::tar::Tar;

/// Gives octets a few at a time, as a slow disk would.
struct Drip<'a> {
    rest: &'a [u8],
    most: usize,
}

impl Read for Drip<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let most = self.most.min(buf.len());
        let n = self.rest.len().min(most);
        let (now, later) = self.rest.split_at(n);
        buf[..n].copy_from_slice(now);
        self.rest = later;
        Ok(n)
    }
}

/// Reads a mbox.
///
/// # Panics
/// When something is wrong.
pub fn mbox(octets: &[u8]) {
    let read = |most: usize| {
        let mut mbox = Mbox::new(Drip { rest: octets, most });
        let well = mbox.begins_well().expect("octets in memory can be read");
        let mut messages = Vec::new();
        let mut message = Vec::new();
        while let Some(entry) = mbox.next(&mut message).expect("octets in memory can be read") {
            assert_eq!(entry.length, message.len() as u64, "none of these is too large");
            messages.push((message.clone(), entry));
            assert!(messages.len() <= octets.len(), "each message has some octets of the file");
        }
        (well, messages)
    };
    let ((well, messages), dripped) = (read(usize::MAX), read(1));
    assert_eq!((well, &messages), (dripped.0, &dripped.1), "read octet by octet");
    // Written, and read again, they are the same.
    let mut written = Vec::new();
    for (message, entry) in &messages {
        mbox::write(message, &entry.said.flags, entry.date.unwrap_or_default(), &mut written);
    }
    let mut again = Mbox::new(written.as_slice());
    let mut message = Vec::new();
    for (before, entry) in &messages {
        let after =
            again.next(&mut message).expect("octets in memory can be read").expect("as many as before");
        assert_eq!((&message, &after.said.flags), (before, &entry.said.flags));
    }
    assert!(again.next(&mut message).expect("octets in memory can be read").is_none());
}

/// Reads a tar archive.
///
/// # Panics
/// When something is wrong.
pub fn tar(octets: &[u8]) {
    let mut tar = Tar::new(octets);
    let mut all = 0;
    while let Ok(Some(_)) = tar.next() {
        let mut content = Vec::new();
        let _ = tar.content().read_to_end(&mut content);
        all += content.len() + 512;
        assert!(all <= octets.len(), "it gives what it has");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    fn replay(target: &str, body: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut n = 0;
        for file in std::fs::read_dir(&corpus).unwrap() {
            let octets = std::fs::read(file.unwrap().path()).unwrap();
            body(&octets);
            for end in (0..octets.len()).step_by(7) {
                body(&octets[..end]);
            }
            n += 1;
        }
        assert!(n >= 8, "the corpus of {target} has {n} seeds");
    }

    #[test]
    fn corpora() {
        replay("port_mbox", mbox);
        replay("port_tar", tar);
    }

    proptest! {
        #[test]
        fn junk(octets in prop::collection::vec(any::<u8>(), 0..600)) {
            mbox(&octets);
            tar(&octets);
        }

        #[test]
        fn nearly_a_mbox(parts in prop::collection::vec(prop::sample::select(vec![
            "From a@b.test Thu Jan  1 00:00:00 1970\n", "From \n", "From x\n", ">From y\n", ">>From z\r\n", "\n", "\r\n",
            "A: b\n", "Status: RO\n", "X-Status: A\n", "X-Keywords: x\n", "X-Penfold-Octets: 9\n", "Content-Length: 7\n",
            "Content-Length: 12\n", "text\n", "text", "\r", "\0", "X-Mozilla-Status: 0001\n",
        ]), 0..30)) {
            mbox(parts.concat().as_bytes());
        }
    }
}
