//! Where a command ends: lines and literals, before any grammar.
//!
//! RFC 3501 s.4.3, RFC 7888. So a command that makes no sense can be thrown away whole, and its literals are never
//! taken for commands. Keeps its place: each octet is looked at once, however the input is cut. A line may end in
//! LF alone: a person at a terminal, and a few scripts, send that.

use crate::limits;

/// The longest literal header looked for: `~{` 20 digits `+}` CR, and room.
const HEADER: usize = 32;

/// A literal, as its header announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    /// How long it is; `u64::MAX` for what no number holds.
    pub(super) octets: u64,
    /// The client waits for a go-ahead (`{n}`, not `{n+}`).
    pub(super) sync: bool,
    /// `~{n}`: BINARY (RFC 3516), which is not offered.
    pub(super) binary: bool,
}

/// A literal header at the end of a line, and where it begins.
fn announced(line: &[u8]) -> Option<(usize, Announced)> {
    let body = line.strip_suffix(b"}")?;
    let (body, sync) = match body.strip_suffix(b"+") {
        Some(body) => (body, false),
        None => (body, true),
    };
    let digits = body.iter().rev().take(21).take_while(|b| b.is_ascii_digit()).count();
    let (body, number) = body.split_at(body.len() - digits);
    let body = body.strip_suffix(b"{")?;
    if digits == 0 || digits > 20 {
        return None;
    }
    let octets = crate::abnf::number(number).unwrap_or(u64::MAX);
    Some((body.len(), Announced { octets, sync, binary: body.ends_with(b"~") }))
}

/// The command that is being received.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// Where the current line begins: behind the last literal.
    line: usize,
    /// Up to where there is no line end.
    scanned: usize,
}

/// What a command has come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framed {
    /// More is to come.
    More,
    /// A literal is announced: `input[..header]` is what stands before the header, `input[..end]` all up to the
    /// literal. To go on, [`Frame::accept`].
    Literal { header: usize, end: usize, literal: Announced },
    /// It is whole: `input[..text]`, and its line end up to `end`.
    Whole { text: usize, end: usize },
    /// It is over `limits::IMAP_COMMAND`; `line` is where the line that went over begins.
    TooLong { line: usize },
}

impl Frame {
    /// Looks at what came. `input` begins with the command.
    pub(super) fn look(&mut self, input: &[u8]) -> Framed {
        let too_long = Framed::TooLong { line: self.line };
        let unseen = input.get(self.scanned..).unwrap_or_default();
        let Some(at) = memchr::memchr(b'\n', unseen) else {
            self.scanned = self.scanned.max(input.len());
            return if input.len() > limits::IMAP_COMMAND { too_long } else { Framed::More };
        };
        let end = self.scanned + at + 1;
        if end > limits::IMAP_COMMAND {
            return too_long;
        }
        let line = input.get(self.line..end - 1).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match announced(line) {
            Some((header, literal)) => Framed::Literal { header: self.line + header, end, literal },
            None => Framed::Whole { text: self.line + line.len(), end },
        }
    }

    /// Takes the literal that begins at `end` into the command; the caller has looked at its length. False if the
    /// command would be too long with it.
    pub(super) fn accept(&mut self, end: usize, octets: u64) -> bool {
        let Ok(octets) = usize::try_from(octets) else { return false };
        let after = end.saturating_add(octets);
        if octets > limits::IMAP_COLLECTED_LITERAL || after > limits::IMAP_COMMAND {
            return false;
        }
        self.line = after;
        self.scanned = after;
        true
    }
}

/// Throws the rest of a command away.
#[derive(Debug)]
pub(super) struct Discard {
    /// Octets of a literal that is being thrown away.
    literal: u64,
    /// A literal above this is not waited for.
    max_literal: u64,
}

/// How far throwing away got.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Discarded {
    /// More is to come.
    More,
    /// The command has ended.
    All,
    /// The client announced more than anybody would read.
    TooMuch,
}

impl Discard {
    /// Begins in a literal of so many octets (0: in a line).
    pub(super) fn new(literal: u64, max_literal: u64) -> Discard {
        Discard { literal, max_literal }
    }

    /// Throws away what came; how many octets are used up, and how far it got.
    pub(super) fn look(&mut self, input: &[u8]) -> (usize, Discarded) {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            let literal = usize::try_from(self.literal).unwrap_or(usize::MAX).min(rest.len());
            at += literal;
            self.literal -= literal as u64;
            if self.literal > 0 {
                return (at, Discarded::More);
            }
            let rest = &input[at..];
            let Some(end) = memchr::memchr(b'\n', rest) else {
                // What is kept is enough to know a literal's header by.
                return (at + rest.len().saturating_sub(HEADER), Discarded::More);
            };
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            at += end + 1;
            match announced(line) {
                // RFC 7888 s.4: the client of a synchronizing literal waits, and learns that it need not send it.
                None | Some((_, Announced { sync: true, .. })) => return (at, Discarded::All),
                Some((_, a)) if a.octets > self.max_literal => return (at, Discarded::TooMuch),
                Some((_, a)) => self.literal = a.octets,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers() {
        let a = |octets, sync, binary| Some(Announced { octets, sync, binary });
        for (line, want) in [
            ("a LOGIN {3}", a(3, true, false)),
            ("{0+}", a(0, false, false)),
            ("x ~{5}", a(5, true, true)),
            ("x {4294967296}", a(4_294_967_296, true, false)),
            ("x {99999999999999999999}", a(u64::MAX, true, false)),
            ("x {000000000000000000001}", None),
            ("x {}", None),
            ("x {+}", None),
            ("x {1a}", None),
            ("x {1} ", None),
            ("x 1}", None),
            ("}", None),
        ] {
            assert_eq!(announced(line.as_bytes()).map(|(_, a)| a), want, "{line}");
        }
    }

    #[test]
    fn commands() {
        let mut f = Frame::default();
        assert_eq!(f.look(b"a NOOP"), Framed::More);
        assert_eq!(f.look(b"a NOOP\r"), Framed::More);
        assert_eq!(f.look(b"a NOOP\r\nb"), Framed::Whole { text: 6, end: 8 });
        assert_eq!(Frame::default().look(b"a NOOP\n"), Framed::Whole { text: 6, end: 7 });
        let text = b"a X {3}\r\nb\nc {1+}\r\nd\r\ne";
        let mut f = Frame::default();
        let literal = |octets, sync| Announced { octets, sync, binary: false };
        assert_eq!(f.look(text), Framed::Literal { header: 4, end: 9, literal: literal(3, true) });
        assert!(f.accept(9, 3));
        assert_eq!(f.look(text), Framed::Literal { header: 13, end: 19, literal: literal(1, false) });
        assert!(f.accept(19, 1));
        assert_eq!(f.look(text), Framed::Whole { text: 20, end: 22 });
        assert!(!Frame::default().accept(9, u64::MAX));
        assert!(!Frame::default().accept(1, limits::IMAP_COMMAND as u64));
    }

    #[test]
    fn too_long() {
        let long = vec![b'x'; limits::IMAP_COMMAND + 1];
        assert_eq!(Frame::default().look(&long), Framed::TooLong { line: 0 });
        let mut just = vec![b'x'; limits::IMAP_COMMAND - 1];
        just.push(b'\n');
        assert!(matches!(Frame::default().look(&just), Framed::Whole { .. }));
    }

    /// Throws away, shown pieces; returns all that was used.
    fn thrown(mut d: Discard, input: &[u8], pieces: usize) -> (usize, Discarded) {
        let mut used = 0;
        let mut shown = 0;
        loop {
            shown = (shown + pieces).min(input.len());
            let (n, how) = d.look(&input[used..shown]);
            used += n;
            if how != Discarded::More || shown == input.len() {
                return (used, how);
            }
        }
    }

    proptest! {
        #[test]
        fn throwing_away_does_not_depend_on_the_cuts(
            parts in proptest::collection::vec("(x{0,40}|\\{[0-9]{1,2}\\+\\}\r\n|\\{[0-9]{1,2}\\}|\r\n|\n)", 0..12),
            first in 0u64..20,
            pieces in 1usize..9,
        ) {
            let input = parts.concat();
            let whole = thrown(Discard::new(first, 50), input.as_bytes(), input.len().max(1));
            let cut = thrown(Discard::new(first, 50), input.as_bytes(), pieces);
            prop_assert_eq!(&whole.1, &cut.1);
            if whole.1 != Discarded::More {
                prop_assert_eq!(whole.0, cut.0);
            }
        }
    }
}
