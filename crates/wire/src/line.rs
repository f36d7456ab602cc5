//! Finds lines in the octets that a machine is shown, keeping its place, so that no octet is looked at twice
//! however the input is cut.
//!
//! A line ends with CRLF (RFC 5321 s.2.3.8). A bare LF ends one too, or else a peer that sends it would hang; what
//! the line is worth then is the policy's to say. A bare CR never ends a line. A line over the limit is thrown away
//! as it comes, without being held, and reported once its end has been seen.

use std::ops::Range;

/// What a line that ends with a bare LF is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareLf {
    /// As much as any other.
    Accept,
    /// It is reported as `Framed::Bare`.
    Refuse,
}

/// What was found at the front of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framed {
    /// No line end yet. `used` octets of a line that is too long already are of no further use.
    More {
        /// Octets to drop from the front.
        used: usize,
    },
    /// A whole line.
    Line {
        /// Where it stands in the input, without its line end.
        text: Range<usize>,
        /// Octets used, line end included.
        used: usize,
    },
    /// A line ended that was too long.
    TooLong {
        /// Octets used.
        used: usize,
    },
    /// A line ended with a bare LF, and the policy refuses that.
    Bare {
        /// Octets used.
        used: usize,
    },
}

/// A framer of lines. Between calls the caller drops exactly the octets that were reported as used.
#[derive(Debug)]
pub struct Framer {
    limit: usize,
    bare_lf: BareLf,
    /// Octets at the front of the input that are known to hold no LF.
    scanned: usize,
    /// Whether the line at hand is too long already.
    discarding: bool,
}

impl Framer {
    /// A framer for lines of at most `limit` octets, line end included.
    #[must_use]
    pub fn new(limit: usize, bare_lf: BareLf) -> Framer {
        Framer { limit, bare_lf, scanned: 0, discarding: false }
    }

    /// Forgets what it knows of the input: something else has taken octets from it.
    pub fn reset(&mut self) {
        self.scanned = 0;
        self.discarding = false;
    }

    /// Looks for a line at the front of `input`.
    pub fn next(&mut self, input: &[u8]) -> Framed {
        let from = self.scanned.min(input.len());
        let Some(at) = memchr::memchr(b'\n', &input[from..]) else {
            self.scanned = input.len();
            // One octet more may still be the LF that makes the line fit.
            if self.discarding || input.len() >= self.limit {
                self.discarding = true;
                self.scanned = 0;
                return Framed::More { used: input.len() };
            }
            return Framed::More { used: 0 };
        };
        let lf = from + at;
        let used = lf + 1;
        let was_discarding = self.discarding;
        self.reset();
        if was_discarding || used > self.limit {
            return Framed::TooLong { used };
        }
        match (input[..lf].last(), self.bare_lf) {
            (Some(b'\r'), _) => Framed::Line { text: 0..lf - 1, used },
            (_, BareLf::Accept) => Framed::Line { text: 0..lf, used },
            (_, BareLf::Refuse) => Framed::Bare { used },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `input` in pieces of the given sizes, and tells what was found, in words.
    fn found(
        input: &[u8],
        limit: usize,
        policy: BareLf,
        mut sizes: impl Iterator<Item = usize>,
    ) -> Vec<String> {
        let mut framer = Framer::new(limit, policy);
        let (mut begin, mut end) = (0, 0);
        let mut all = Vec::new();
        loop {
            let used = match framer.next(&input[begin..end]) {
                Framed::More { used } if end == input.len() => {
                    all.push(format!("{} left", end - begin - used));
                    return all;
                }
                Framed::More { used } => {
                    end = (end + sizes.next().unwrap_or(usize::MAX).max(1).min(input.len())).min(input.len());
                    used
                }
                Framed::Line { text, used } => {
                    all.push(String::from_utf8_lossy(&input[begin..][text]).into_owned());
                    used
                }
                Framed::TooLong { used } => {
                    all.push("too long".to_owned());
                    used
                }
                Framed::Bare { used } => {
                    all.push("bare".to_owned());
                    used
                }
            };
            begin += used;
        }
    }

    #[test]
    fn lines() {
        let whole = |input: &str, policy| found(input.as_bytes(), 8, policy, std::iter::empty()).join("|");
        for (input, accepting, refusing) in [
            ("", "0 left", "0 left"),
            ("NOOP\r\nQU", "NOOP|2 left", "NOOP|2 left"),
            ("a\nb\r\n", "a|b|0 left", "bare|b|0 left"),
            ("\n\r\n", "||0 left", "bare||0 left"),
            ("a\rb\r\n", "a\rb|0 left", "a\rb|0 left"),
            ("123456\r\n", "123456|0 left", "123456|0 left"),
            ("1234567\r\nx\r\n", "too long|x|0 left", "too long|x|0 left"),
            ("1234567", "7 left", "7 left"),
            ("12345678901", "0 left", "0 left"),
        ] {
            assert_eq!(whole(input, BareLf::Accept), accepting, "{input:?}");
            assert_eq!(whole(input, BareLf::Refuse), refusing, "{input:?}");
        }
    }

    #[test]
    fn an_endless_line_is_not_held() {
        let mut framer = Framer::new(100, BareLf::Accept);
        assert_eq!(framer.next(&[b'x'; 99]), Framed::More { used: 0 });
        assert_eq!(framer.next(&[b'x'; 5_000]), Framed::More { used: 5_000 });
        assert_eq!(framer.next(b"xx"), Framed::More { used: 2 });
        assert_eq!(framer.next(b"x\r\nNOOP\r\n"), Framed::TooLong { used: 3 });
        assert_eq!(framer.next(b"NOOP\r\n"), Framed::Line { text: 0..4, used: 6 });
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(input in "[ab\r\n]{0,60}", sizes in proptest::collection::vec(1usize..9, 0..60)) {
            for policy in [BareLf::Accept, BareLf::Refuse] {
                let whole = found(input.as_bytes(), 12, policy, std::iter::empty());
                let cut = found(input.as_bytes(), 12, policy, sizes.iter().copied());
                // What is left over is dropped earlier or later; only the lines count.
                prop_assert_eq!(&whole[..whole.len() - 1], &cut[..cut.len() - 1]);
            }
        }
    }
}
