//! Dot-stuffing, both ways, streaming.
//!
//! RFC 5321 s.4.5.2 and RFC 1939 s.3. `Stuffer` writes a body so that no line of it is the final dot; `Unstuffer`
//! (SMTP DATA) finds the end of a body and hands out what was meant, as ranges of the input. Neither keeps octets:
//! each has a few bits of state, and finds line ends with memchr.

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
