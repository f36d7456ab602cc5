//! SMTP replies as values: a code, an enhanced code, words. The only place where they become octets.
//!
//! RFC 5321 s.4.2 (codes, multiline form), s.4.5.3.1.5 (512 octets a line), RFC 3463 and RFC 2034 (enhanced codes:
//! on every 2, 4 and 5 reply but the greeting and those to HELO and EHLO). Whatever the words are, a reply never
//! holds a control character, so that no peer's text can end it early.

use std::borrow::Cow;

/// A three-digit reply code (RFC 5321 s.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(u16);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $n:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Code = Code($n);)*
            /// Every code that this server says.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];
        }
    };
}

codes! {
    /// 214: help.
    HELP = 214;
    /// 220: the greeting; go ahead with TLS.
    READY = 220;
    /// 221: goodbye.
    CLOSING = 221;
    /// 235: authenticated (RFC 4954).
    AUTHENTICATED = 235;
    /// 250: done.
    OK = 250;
    /// 252: cannot say, but will try.
    CANNOT_VRFY = 252;
    /// 334: a SASL challenge (RFC 4954).
    CHALLENGE = 334;
    /// 354: send the message.
    START_MAIL = 354;
    /// 421: going away.
    UNAVAILABLE = 421;
    /// 450: mailbox unavailable for now.
    MAILBOX_BUSY = 450;
    /// 451: trouble here; try again.
    LOCAL_ERROR = 451;
    /// 452: no room now, or too many recipients at once.
    NO_ROOM = 452;
    /// 454: TLS or authentication cannot be done now.
    TEMPORARY_AUTH = 454;
    /// 500: not a command.
    SYNTAX = 500;
    /// 501: a command with wrong arguments.
    ARGUMENTS = 501;
    /// 502: a command that is not implemented.
    NOT_IMPLEMENTED = 502;
    /// 503: a command out of order.
    SEQUENCE = 503;
    /// 504: a parameter that is not implemented.
    PARAMETER = 504;
    /// 530: authenticate, or start TLS, first (RFC 4954, RFC 3207).
    AUTH_REQUIRED = 530;
    /// 535: wrong user or password (RFC 4954).
    AUTH_FAILED = 535;
    /// 538: this mechanism needs TLS (RFC 4954).
    ENCRYPTION_REQUIRED = 538;
    /// 550: no such mailbox; refused.
    REFUSED = 550;
    /// 552: too large.
    TOO_LARGE = 552;
    /// 553: not an address we can take.
    BAD_ADDRESS = 553;
    /// 554: the transaction failed; nobody here.
    FAILED = 554;
    /// 555: a MAIL or RCPT parameter that is not known.
    BAD_PARAMETER = 555;
}

impl Code {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// An enhanced status code without its class, which is the reply code's first digit: subject and detail
/// (RFC 3463). `Enhanced(1, 1)` of a 550 is printed `5.1.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Enhanced(pub u8, pub u8);

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: Code,
    enhanced: Option<Enhanced>,
    text: Cow<'static, str>,
}

impl Reply {
    /// A reply with an enhanced code. Lines of `text` are parted by `\n`.
    #[must_use]
    pub fn new(code: Code, enhanced: Enhanced, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply { code, enhanced: Some(enhanced), text: text.into() }
    }

    /// A reply without one: the greeting, replies to HELO and EHLO, and 3yz replies (RFC 2034 s.3, s.4).
    #[must_use]
    pub fn bare(code: Code, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply { code, enhanced: None, text: text.into() }
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The enhanced code, class digit included.
    #[must_use]
    pub fn enhanced(&self) -> Option<(u16, u8, u8)> {
        self.enhanced.map(|e| (self.code.0 / 100, e.0, e.1))
    }

    /// Whether it says that all is well: 2yz or 3yz.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code.0 < 400
    }

    /// Appends the reply in its multiline form.
    pub fn write(&self, out: &mut Vec<u8>) {
        let prefix = match self.enhanced() {
            Some((class, subject, detail)) => format!("{class}.{subject}.{detail} "),
            None => String::new(),
        };
        let room = LINE - 6 - prefix.len();
        let mut lines = self.text.split('\n').flat_map(|line| Wrap { rest: line, room }).peekable();
        while let Some(line) = lines.next() {
            let separator = if lines.peek().is_some() { '-' } else { ' ' };
            out.extend_from_slice(format!("{}{separator}{prefix}", self.code.0).as_bytes());
            let printable = |c| u8::try_from(c).ok().filter(|b| (0x20..0x7f).contains(b));
            out.extend(line.chars().map(|c| printable(c).unwrap_or(b'?')));
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// RFC 5321 s.4.5.3.1.5: a reply line, code and CRLF included.
const LINE: usize = 512;

/// Cuts a line so that each piece has at most `room` characters, at a space if there is one.
struct Wrap<'a> {
    rest: &'a str,
    room: usize,
}

impl<'a> Iterator for Wrap<'a> {
    type Item = &'a str;
    fn next(&mut self) -> Option<&'a str> {
        if self.room == 0 {
            return None;
        }
        match self.rest.char_indices().nth(self.room) {
            None => {
                self.room = 0;
                Some(self.rest)
            }
            Some((end, _)) => {
                let cut = self.rest[..end].rfind(' ').filter(|&i| i > 0).unwrap_or(end);
                let (piece, rest) = self.rest.split_at(cut);
                self.rest = rest.trim_start_matches(' ');
                Some(piece)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(r: &Reply) -> String {
        let mut out = Vec::new();
        r.write(&mut out);
        String::from_utf8(out).expect("replies are ASCII")
    }

    #[test]
    fn replies() {
        for (reply, text) in [
            (Reply::new(Code::OK, Enhanced(1, 0), "sender ok"), "250 2.1.0 sender ok\r\n"),
            (
                Reply::new(Code::REFUSED, Enhanced(1, 1), "no such user here"),
                "550 5.1.1 no such user here\r\n",
            ),
            (Reply::new(Code::FAILED, Enhanced(7, 1), "no\nreally"), "554-5.7.1 no\r\n554 5.7.1 really\r\n"),
            (Reply::bare(Code::OK, "mx\nSIZE 1\nHELP"), "250-mx\r\n250-SIZE 1\r\n250 HELP\r\n"),
            (Reply::bare(Code::CHALLENGE, ""), "334 \r\n"),
            (
                Reply::new(Code::REFUSED, Enhanced(1, 1), "a\r\n250 ok\0\u{fc}"),
                "550-5.1.1 a?\r\n550 5.1.1 250 ok??\r\n",
            ),
        ] {
            assert_eq!(written(&reply), text);
        }
    }

    #[test]
    fn long_words_are_wrapped() {
        let text = written(&Reply::new(Code::REFUSED, Enhanced(7, 1), "word ".repeat(300)));
        assert!(text.lines().count() > 2);
        assert!(text.split_inclusive("\r\n").all(|line| line.len() <= LINE));
        assert_eq!(text.matches("word").count(), 300);
    }

    proptest! {
        #[test]
        fn any_words_make_one_reply(text in "[\\PC\r\n\0 ]{0,1200}", bare in any::<bool>()) {
            let reply = if bare { Reply::bare(Code::OK, text) } else { Reply::new(Code::OK, Enhanced(0, 0), text) };
            let written = written(&reply);
            let lines: Vec<&str> = written.split_inclusive("\r\n").collect();
            for (i, line) in lines.iter().enumerate() {
                prop_assert!(line.len() <= LINE && line.ends_with("\r\n"));
                let separator = if i + 1 == lines.len() { "250 " } else { "250-" };
                prop_assert!(line.starts_with(separator), "{line:?}");
                prop_assert!(line.trim_end().bytes().all(|b| (0x20..0x7f).contains(&b)));
            }
        }

        #[test]
        fn smtp_proto_reads_what_was_meant(lines in proptest::collection::vec("[a-z<>@.][ a-z<>@.]{0,60}[a-z]", 1..4), n in 0..Code::ALL.len()) {
            let (code, text) = (Code::ALL[n], lines.join("\n"));
            let written = written(&Reply::new(code, Enhanced(7, 1), text));
            let theirs = smtp_proto::response::parser::ResponseReceiver::default().parse(&mut written.as_bytes().iter());
            let theirs = theirs.map_err(|e| TestCaseError::fail(format!("{e:?}: {written:?}")))?;
            prop_assert_eq!(theirs.code, code.get());
            let class = u8::try_from(code.get() / 100).expect("a digit");
            if class != 3 {
                prop_assert_eq!(theirs.esc, [class, 7, 1]);
            }
            let words: Vec<_> = theirs.message.lines().map(str::trim).collect();
            let meant: Vec<_> = lines.iter().map(|l| l.trim()).collect();
            prop_assert_eq!(words, meant);
        }
    }
}
