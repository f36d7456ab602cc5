//! Dot-stuffing, both ways, streaming.
//!
//! RFC 5321 s.4.5.2 and RFC 1939 s.3. `Stuffer` writes a body so that no line of it is the final dot; `Cleaner`
//! (SMTP DATA and BDAT) finds the end of a body and hands out what was meant, as ranges of the input. Neither keeps octets:
//! each has a few bits of state, and finds line ends with memchr.

use std::ops::Range;

/// Streams a body out dot-stuffed: a dot is put before each line that begins with one, a CRLF is put behind a last
/// line that lacks it, and a final `.` line ends it. Line ends inside are left as they are stored.
#[derive(Debug, Default)]
pub struct Stuffer {
    at: At,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// At the beginning of a line, or of the body.
    #[default]
    LineStart,
    /// Inside a line.
    Inside,
    /// Inside a line, behind a CR.
    Cr,
}

impl Stuffer {
    /// A stuffer at the beginning of a body.
    #[must_use]
    pub fn new() -> Stuffer {
        Stuffer::default()
    }

    /// Appends a piece of the body to `out`. Pieces may be cut anywhere.
    pub fn push(&mut self, mut piece: &[u8], out: &mut Vec<u8>) {
        while let Some(&first) = piece.first() {
            // RFC 5321 s.4.5.2 counts lines by CRLF; a client that takes a bare LF for one must not see a lone dot.
            if self.at == At::LineStart && first == b'.' {
                out.push(b'.');
            }
            match memchr::memchr(b'\n', piece) {
                Some(i) => {
                    out.extend_from_slice(&piece[..=i]);
                    piece = &piece[i + 1..];
                    let crlf = if i > 0 { out.ends_with(b"\r\n") } else { self.at == At::Cr };
                    self.at = At::LineStart;
                    if !crlf {
                        // Stored with a bare LF (imported so): sent as CRLF, or the end would not be found.
                        out.pop();
                        out.extend_from_slice(b"\r\n");
                    }
                }
                None => {
                    out.extend_from_slice(piece);
                    self.at = if piece.ends_with(b"\r") { At::Cr } else { At::Inside };
                    return;
                }
            }
        }
    }

    /// Ends the body.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.at {
            At::LineStart => {}
            At::Inside => out.extend_from_slice(b"\r\n"),
            At::Cr => out.extend_from_slice(b"\n"),
        }
        out.extend_from_slice(b".\r\n");
    }
}

/// What becomes of a CR or LF that stands alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bare {
    /// It is reported, so that the message can be refused (port 25).
    Refuse,
    /// It becomes CRLF (submission).
    Mend,
}

/// A piece of a body, as `Cleaner::next` finds it. Ranges are of the input shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Nothing can be said before there is more input.
    More {
        /// Octets used.
        used: usize,
    },
    /// Octets of the body, as they stand in the input.
    Body {
        /// Where; never empty.
        range: Range<usize>,
        /// Octets used: at least the range's end.
        used: usize,
    },
    /// Octets of the body that the input does not hold in one piece.
    Own {
        /// The octets.
        octets: &'static [u8],
        /// Octets used.
        used: usize,
    },
    /// A bare CR or LF, under `Bare::Refuse`.
    Bare {
        /// Octets used.
        used: usize,
    },
    /// The final dot: the body is whole.
    End {
        /// Octets used.
        used: usize,
    },
}

/// Takes a body in, from DATA (`Cleaner::dotted`) or BDAT (`Cleaner::plain`), in runs as long as can be.
///
/// Only CRLF.CRLF ends a dotted body, and only CRLF makes a line: a mended LF does not, so that `\n.\n`, `\n.\r\n`,
/// `\r\n.\n` and `\r.\r` neither end a body nor lose their dot (SMTP smuggling).
#[derive(Debug)]
pub struct Cleaner {
    dotted: bool,
    bare: Bare,
    /// At the beginning of a line, where a dot means something.
    line_start: bool,
    /// A CR was used up and not yet passed on: what comes next decides.
    held_cr: bool,
}

impl Cleaner {
    /// For a body with stuffed dots and a final one.
    #[must_use]
    pub fn dotted(bare: Bare) -> Cleaner {
        Cleaner { dotted: true, bare, line_start: true, held_cr: false }
    }

    /// For a body whose length is known; the caller shows no more than belongs to it.
    #[must_use]
    pub fn plain(bare: Bare) -> Cleaner {
        Cleaner { dotted: false, bare, line_start: true, held_cr: false }
    }

    /// What stands at the front of `input`. Call again without the octets used.
    pub fn next(&mut self, input: &[u8]) -> Piece {
        let Some(&first) = input.first() else { return Piece::More { used: 0 } };
        if self.held_cr {
            self.held_cr = false;
            if first == b'\n' {
                self.line_start = true;
                return Piece::Own { octets: b"\r\n", used: 1 };
            }
            return self.bare(0);
        }
        let mut start = 0;
        if self.dotted && self.line_start && first == b'.' {
            match input {
                [_] | [_, b'\r'] => return Piece::More { used: 0 },
                [_, b'\r', b'\n', ..] => return Piece::End { used: 3 },
                _ => {}
            }
            // RFC 5321 s.4.5.2: the sender doubled a leading dot.
            self.line_start = false;
            start = 1;
        }
        self.run(input, start)
    }

    /// The longest run of clean octets from `start`.
    fn run(&mut self, input: &[u8], start: usize) -> Piece {
        let mut at = start;
        loop {
            let found = memchr::memchr2(b'\r', b'\n', &input[at..]).map(|i| at + i);
            let end = found.unwrap_or(input.len());
            if end > at {
                self.line_start = false;
            }
            match (found.map(|_| input[end]), input.get(end + 1)) {
                (None, _) => return Piece::Body { range: start..end, used: end },
                (Some(b'\r'), Some(b'\n')) => {
                    self.line_start = true;
                    at = end + 2;
                    let stop = match input.get(at) {
                        None => true,
                        Some(&b) => b == b'.' && self.dotted,
                    };
                    if stop {
                        return Piece::Body { range: start..at, used: at };
                    }
                }
                (Some(b'\r'), None) => {
                    self.held_cr = true;
                    return part(start..end, end + 1);
                }
                (Some(_), _) if end > start => return Piece::Body { range: start..end, used: end },
                (Some(_), _) => return self.bare(end + 1),
            }
        }
    }

    fn bare(&mut self, used: usize) -> Piece {
        self.line_start = false;
        match self.bare {
            Bare::Refuse => Piece::Bare { used },
            Bare::Mend => Piece::Own { octets: b"\r\n", used },
        }
    }

    /// The end of a plain body: the piece that is due for a CR that was its last octet.
    pub fn finish(&mut self) -> Option<Piece> {
        std::mem::take(&mut self.held_cr).then(|| self.bare(0))
    }
}

fn part(range: Range<usize>, used: usize) -> Piece {
    if range.is_empty() { Piece::More { used } } else { Piece::Body { range, used } }
}

/// Cuts a message for TOP (RFC 1939 s.7): header, the empty line, and so many lines of the body.
#[derive(Debug)]
pub struct Top {
    /// Lines of the body that are still wanted.
    lines: u64,
    in_body: bool,
    /// Octets of the line at hand seen so far, CR aside: an empty one ends the header.
    empty_line: bool,
}

impl Top {
    /// A cutter that lets through `lines` lines of the body.
    #[must_use]
    pub fn new(lines: u64) -> Top {
        Top { lines, in_body: false, empty_line: true }
    }

    /// How many octets of this piece are wanted, and whether anything may be wanted after them.
    pub fn push(&mut self, piece: &[u8]) -> (usize, bool) {
        if self.in_body && self.lines == 0 {
            return (0, false);
        }
        let mut at = 0;
        while let Some(i) = memchr::memchr(b'\n', &piece[at..]) {
            let line = &piece[at..at + i];
            let empty = self.empty_line && (line.is_empty() || line == b"\r");
            at += i + 1;
            self.empty_line = true;
            match self.in_body {
                true => self.lines -= 1,
                false => self.in_body = empty,
            }
            if self.in_body && self.lines == 0 {
                return (at, false);
            }
        }
        let rest = &piece[at..];
        if !rest.is_empty() && rest != b"\r" {
            self.empty_line = false;
        }
        (piece.len(), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuffed(body: &[u8], cut: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut stuffer = Stuffer::new();
        for piece in body.chunks(cut.max(1)) {
            stuffer.push(piece, &mut out);
        }
        stuffer.finish(&mut out);
        out
    }

    /// The body cleaned (`!` for a bare CR or LF that was refused), and what follows it; `None` without an end.
    fn cleaned(mut cleaner: Cleaner, input: &[u8], cut: usize) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut body = Vec::new();
        let (mut begin, mut end) = (0, 0);
        loop {
            let shown = &input[begin..end];
            let used = match cleaner.next(shown) {
                Piece::More { used } if end == input.len() => {
                    assert_eq!(cleaner.next(&shown[used..]), Piece::More { used: 0 });
                    match cleaner.finish() {
                        Some(Piece::Own { octets, .. }) => body.extend_from_slice(octets),
                        Some(_) => body.push(b'!'),
                        None => {}
                    }
                    return (body, None);
                }
                Piece::More { used } => {
                    end = (end + cut.max(1)).min(input.len());
                    used
                }
                Piece::Body { range, used } => {
                    assert!(!range.is_empty() && range.end <= used);
                    body.extend_from_slice(&shown[range]);
                    used
                }
                Piece::Own { octets, used } => {
                    body.extend_from_slice(octets);
                    used
                }
                Piece::Bare { used } => {
                    body.push(b'!');
                    used
                }
                Piece::End { used } => return (body, Some(input[begin + used..].to_vec())),
            };
            begin += used;
        }
    }

    #[test]
    fn bodies_from_data() {
        // Input, what becomes of it on port 25, on submission, and what follows the final dot.
        for (input, refused, mended, rest) in [
            (".\r\n", "", "", Some("")),
            ("a\r\n.\r\nQUIT\r\n", "a\r\n", "a\r\n", Some("QUIT\r\n")),
            ("..\r\n.a\r\n...\r\n.\r\n", ".\r\na\r\n..\r\n", ".\r\na\r\n..\r\n", Some("")),
            ("a.\r\n.\r\n", "a.\r\n", "a.\r\n", Some("")),
            ("\r\n\r\n.\r\n", "\r\n\r\n", "\r\n\r\n", Some("")),
            // SMTP smuggling: none of these ends the body.
            ("a\n.\nb\r\n.\r\n", "a!.!b\r\n", "a\r\n.\r\nb\r\n", Some("")),
            ("a\r\n.\nb\r\n.\r\n", "a\r\n!b\r\n", "a\r\n\r\nb\r\n", Some("")),
            ("a\n.\r\nb\r\n.\r\n", "a!.\r\nb\r\n", "a\r\n.\r\nb\r\n", Some("")),
            ("a\r.\rb\r\n.\r\n", "a!.!b\r\n", "a\r\n.\r\nb\r\n", Some("")),
            ("a\r\n.\rb\r\n.\r\n", "a\r\n!b\r\n", "a\r\n\r\nb\r\n", Some("")),
            ("a\r.\r\n.\r\n", "a!.\r\n", "a\r\n.\r\n", Some("")),
            ("a\r\r\n.\r\n", "a!\r\n", "a\r\n\r\n", Some("")),
            ("a\r\n\n.\r\nb\r\n.\r\n", "a\r\n!.\r\nb\r\n", "a\r\n\r\n.\r\nb\r\n", Some("")),
            ("a\0.\r\n\0.\r\n.\r\n", "a\0.\r\n\0.\r\n", "a\0.\r\n\0.\r\n", Some("")),
            ("a\r\n.", "a\r\n", "a\r\n", None),
            ("a\r\n.\r", "a\r\n", "a\r\n", None),
        ] {
            for cut in 1..=input.len() {
                for (bare, want) in [(Bare::Refuse, refused), (Bare::Mend, mended)] {
                    let (body, after) = cleaned(Cleaner::dotted(bare), input.as_bytes(), cut);
                    assert_eq!(body, want.as_bytes(), "{input:?} {bare:?} cut {cut}");
                    let shown = after.map(|a| String::from_utf8(a).expect("text"));
                    assert_eq!(shown.as_deref(), rest, "{input:?} {bare:?} cut {cut}");
                }
            }
        }
    }

    #[test]
    fn bodies_from_bdat() {
        for (input, refused, mended) in [
            ("", "", ""),
            (".\r\n..\r\n", ".\r\n..\r\n", ".\r\n..\r\n"),
            ("a\r\nb", "a\r\nb", "a\r\nb"),
            ("a\r\nb\r", "a\r\nb!", "a\r\nb\r\n"),
            ("a\nb\rc", "a!b!c", "a\r\nb\r\nc"),
            ("\r", "!", "\r\n"),
        ] {
            for cut in 1..=input.len().max(1) {
                assert_eq!(
                    cleaned(Cleaner::plain(Bare::Refuse), input.as_bytes(), cut).0,
                    refused.as_bytes(),
                    "{input:?}"
                );
                assert_eq!(
                    cleaned(Cleaner::plain(Bare::Mend), input.as_bytes(), cut).0,
                    mended.as_bytes(),
                    "{input:?}"
                );
            }
        }
    }

    #[test]
    fn clean_text_is_handed_out_in_one_piece() {
        let text = b"Subject: hello\r\n\r\nline after line\r\n".repeat(1_000);
        let piece = Cleaner::dotted(Bare::Refuse).next(&text);
        assert_eq!(piece, Piece::Body { range: 0..text.len(), used: text.len() });
    }

    #[test]
    fn stuffing() {
        for (body, out) in [
            ("", ".\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r", "a\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            (".\r\n.a\r\n", "..\r\n..a\r\n.\r\n"),
            ("a.\r\n", "a.\r\n.\r\n"),
            ("a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"),
            ("\r\n\r\n", "\r\n\r\n.\r\n"),
        ] {
            for cut in 1..=body.len().max(1) {
                assert_eq!(stuffed(body.as_bytes(), cut), out.as_bytes(), "{body:?} cut {cut}");
            }
        }
    }

    #[test]
    fn tops() {
        let message = "A: b\r\nC: d\r\n\r\none\r\ntwo\r\n\r\nfour";
        let header = "A: b\r\nC: d\r\n\r\n";
        for (lines, top) in [
            (0, String::new()),
            (1, "one\r\n".into()),
            (3, "one\r\ntwo\r\n\r\n".into()),
            (u64::MAX, "one\r\ntwo\r\n\r\nfour".into()),
        ] {
            for cut in 1..=message.len() {
                let mut cutter = Top::new(lines);
                let mut got = Vec::new();
                for piece in message.as_bytes().chunks(cut) {
                    let (wanted, more) = cutter.push(piece);
                    got.extend_from_slice(&piece[..wanted]);
                    if !more {
                        break;
                    }
                }
                assert_eq!(got, format!("{header}{top}").as_bytes(), "{lines} lines, cut {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn unstuffing_undoes_stuffing(lines in proptest::collection::vec("[.a\0]{0,4}", 0..12), c1 in 1usize..9, c2 in 1usize..9) {
            let body: String = lines.iter().map(|l| format!("{l}\r\n")).collect();
            let mut sent = stuffed(body.as_bytes(), c1);
            sent.extend_from_slice(b"NEXT");
            for bare in [Bare::Refuse, Bare::Mend] {
                let (got, rest) = cleaned(Cleaner::dotted(bare), &sent, c2);
                prop_assert_eq!(&got, body.as_bytes());
                prop_assert_eq!(rest.map(|r| b"NEXT".starts_with(&r)), Some(true));
            }
        }

        #[test]
        fn cuts_change_nothing(input in "[.a\r\n]{0,40}", cut in 1usize..9) {
            let input = input.as_bytes();
            for bare in [Bare::Refuse, Bare::Mend] {
                let whole = cleaned(Cleaner::dotted(bare), input, usize::MAX);
                prop_assert_eq!(&whole.0, &cleaned(Cleaner::dotted(bare), input, cut).0);
                let whole = cleaned(Cleaner::plain(bare), input, usize::MAX);
                prop_assert_eq!(&whole.0, &cleaned(Cleaner::plain(bare), input, cut).0);
                if bare == Bare::Mend {
                    let text = String::from_utf8(whole.0).expect("text").replace("\r\n", "");
                    prop_assert!(!text.contains(['\r', '\n']), "mended bodies have no bare CR or LF");
                }
            }
        }
    }
}
