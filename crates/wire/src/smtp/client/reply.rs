//! Replies as a client receives them: whatever servers send is read as a reply, or known not to be one.
//!
//! RFC 5321 s.4.2 (codes, multiline form), RFC 3463 and RFC 2034 (enhanced codes). Lenient where real servers are at
//! fault: a line may end with LF, lack its text or the space before it, be too long (its beginning counts), and have
//! another code of the same class than the first, which counts. What a server says reaches logs and reports, so control
//! characters become spaces, and what is not UTF-8 question marks.

use std::fmt;

use crate::abnf;
use crate::limits;

/// What a reply's first digit says (RFC 5321 s.4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// 2yz: done.
    Positive,
    /// 3yz: go on.
    Intermediate,
    /// 4yz: not now.
    Temporary,
    /// 5yz: no.
    Permanent,
}

/// A reply received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    class: Class,
    code: u16,
    enhanced: Option<(u16, u16)>,
    text: String,
}

impl Reply {
    /// What it says in one word.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// Its three digits, from 200 to 599.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Its enhanced code, as `(5, 1, 1)`: the class is the reply's own.
    #[must_use]
    pub fn enhanced(&self) -> Option<(u16, u16, u16)> {
        self.enhanced.map(|(subject, detail)| (self.code / 100, subject, detail))
    }

    /// Its words without codes, lines parted by `\n`; at most `limits::SMTP_REPLY_TEXT` octets.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// 2yz.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.class == Class::Positive
    }

    /// The server closes the connection (RFC 5321 s.3.8).
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.code == 421
    }

    /// Parses a whole reply, the end of its last line included or not: for what was kept as text, and for tests.
    #[must_use]
    pub fn parse(octets: &[u8]) -> Option<Reply> {
        let mut octets = octets.to_vec();
        if octets.last() != Some(&b'\n') {
            octets.push(b'\n');
        }
        match Replies::default().next(&octets) {
            Found::Reply { reply, used } if used == octets.len() => Some(reply),
            _ => None,
        }
    }
}

/// On one line, as logs and reports of delivery have it: `550 5.1.1 no such user`.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some((class, subject, detail)) = self.enhanced() {
            write!(f, " {class}.{subject}.{detail}")?;
        }
        self.text.split('\n').filter(|line| !line.is_empty()).try_for_each(|line| write!(f, " {line}"))
    }
}

/// What stands at the front of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No reply is whole yet.
    More {
        /// Octets used.
        used: usize,
    },
    /// A reply.
    Reply {
        /// It.
        reply: Reply,
        /// Octets used.
        used: usize,
    },
    /// Something else: nothing that follows can be trusted.
    Bad {
        /// The beginning of it, printable.
        text: String,
    },
}

/// Finds replies. Between calls the caller drops exactly the octets that were reported as used.
#[derive(Debug, Default)]
pub struct Replies {
    /// The lines so far of a reply that has more.
    begun: Option<Reply>,
    lines: usize,
    /// A line was too long: its beginning was taken, and the rest is passed over. Whether it was the last.
    passing: Option<bool>,
}

impl Replies {
    /// Looks for a reply at the front of `input`.
    pub fn next(&mut self, input: &[u8]) -> Found {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            let last = match self.passing {
                Some(last) => match memchr::memchr(b'\n', rest) {
                    None => return Found::More { used: input.len() },
                    Some(lf) => {
                        used += lf + 1;
                        self.passing = None;
                        last
                    }
                },
                None => {
                    let head = &rest[..rest.len().min(limits::SMTP_REPLY_LINE)];
                    let (line, whole) = match memchr::memchr(b'\n', head) {
                        Some(lf) => (&head[..lf], true),
                        None if head.len() < limits::SMTP_REPLY_LINE => return Found::More { used },
                        None => (head, false),
                    };
                    used += line.len() + usize::from(whole);
                    let Some(last) = self.line(line) else { return Found::Bad { text: shown(line) } };
                    if !whole {
                        self.passing = Some(last);
                        continue;
                    }
                    last
                }
            };
            if last && let Some(reply) = self.begun.take() {
                self.lines = 0;
                return Found::Reply { reply, used };
            }
        }
    }

    /// One line, without its LF. Whether it is the last one; `None` if it is no line of a reply.
    fn line(&mut self, line: &[u8]) -> Option<bool> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (code, rest) = line.split_at_checked(3)?;
        let class = match code.first()? {
            b'2' => Class::Positive,
            b'3' => Class::Intermediate,
            b'4' => Class::Temporary,
            b'5' => Class::Permanent,
            _ => return None,
        };
        let code = std::str::from_utf8(code).ok().filter(|c| c.bytes().all(|b| b.is_ascii_digit()))?;
        let code = code.parse().ok()?;
        let (last, text) = match rest {
            [b'-', text @ ..] => (false, text),
            [b' ', text @ ..] => (true, text),
            [b'0'..=b'9', ..] => return None,
            text => (true, text),
        };
        self.lines += 1;
        match &mut self.begun {
            Some(reply) => {
                if reply.class != class || self.lines > limits::SMTP_REPLY_LINES {
                    return None;
                }
                // Many servers repeat the enhanced code on each line, as RFC 2034 s.4 has it, and some do not.
                let (enhanced, words) = enhanced(code, text);
                let text = if enhanced.is_some() && enhanced == reply.enhanced { words } else { text };
                if reply.text.len() < limits::SMTP_REPLY_TEXT {
                    reply.text.push('\n');
                }
                append(text, &mut reply.text);
            }
            None => {
                let (enhanced, text) = enhanced(code, text);
                let mut reply = Reply { class, code, enhanced, text: String::new() };
                append(text, &mut reply.text);
                self.begun = Some(reply);
            }
        }
        Some(last)
    }
}

/// `class "." subject "." detail` (RFC 3463 s.2), of the reply's own class, and what follows it.
fn enhanced(code: u16, text: &[u8]) -> (Option<(u16, u16)>, &[u8]) {
    let end = memchr::memchr(b' ', text).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let mut numbers = word.split(|&b| b == b'.').map(|digits| match digits.len() {
        1..=3 => crate::abnf::number(digits).and_then(|n| u16::try_from(n).ok()),
        _ => None,
    });
    match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
        (Some(Some(class @ (2 | 4 | 5))), Some(Some(subject)), Some(Some(detail)), None)
            if class == code / 100 =>
        {
            (Some((subject, detail)), rest.strip_prefix(b" ").unwrap_or(rest))
        }
        _ => (None, text),
    }
}

/// Appends what may be shown of `line`, as far as there is room.
fn append(line: &[u8], text: &mut String) {
    for c in String::from_utf8_lossy(line).chars() {
        let c = match c {
            c if abnf::steers(c) => ' ',
            char::REPLACEMENT_CHARACTER => '?',
            c => c,
        };
        if text.len() + c.len_utf8() > limits::SMTP_REPLY_TEXT {
            return;
        }
        text.push(c);
    }
}

/// The beginning of what is no reply.
fn shown(line: &[u8]) -> String {
    let mut text = String::new();
    append(line[..line.len().min(100)].trim_ascii_end(), &mut text);
    text
}
