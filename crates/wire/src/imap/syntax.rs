//! The smaller productions of RFC 3501 s.9, over a command that is whole: framing (`frame`) came before.
//!
//! Literals stand in the octets where they were sent, `{n}` CRLF in front of them. Nothing here recurses.

use std::borrow::Cow;
use std::num::NonZeroU32;

use super::code::Code;
use super::date::Date;
use super::name::MailboxName;
use super::utf7;
use crate::flag::{FlagNames, Keyword, SystemFlag};
use crate::ids::{SeqEnd, SeqSet};
use crate::limits;

/// `ASTRING-CHAR`: what an unquoted string is made of.
#[must_use]
pub(super) const fn is_astring_char(b: u8) -> bool {
    is_atom_char(b) || b == b']'
}

/// `ATOM-CHAR`
#[must_use]
pub(super) const fn is_atom_char(b: u8) -> bool {
    matches!(b, 0x21..=0x7e) && !matches!(b, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// Why a command is not carried out before anybody was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not in the grammar.
    Bad(&'static str),
    /// It is, but can never be done.
    No(Code, &'static str),
}

pub(super) type Parsed<T> = Result<T, Refusal>;

pub(super) fn bad<T>(why: &'static str) -> Parsed<T> {
    Err(Refusal::Bad(why))
}

/// What is left of a command.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Takes `b` if it is next.
    pub(super) fn eat(&mut self, b: u8) -> bool {
        match self.0.split_first() {
            Some((&first, rest)) if first == b => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// Takes `word` if it is next, in any case.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        match self.0.split_at_checked(word.len()) {
            Some((start, rest)) if start.eq_ignore_ascii_case(word.as_bytes()) => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    pub(super) fn expect(&mut self, b: u8, why: &'static str) -> Parsed<()> {
        if self.eat(b) { Ok(()) } else { bad(why) }
    }

    /// `SP`
    pub(super) fn sp(&mut self) -> Parsed<()> {
        self.expect(b' ', "A space is missing")
    }

    /// The command's end. Trailing spaces, which some clients send, are passed over.
    pub(super) fn end(&self) -> Parsed<()> {
        if self.0.iter().all(|&b| b == b' ') { Ok(()) } else { bad("Too much at the end of the command") }
    }

    /// As many octets as `of` allows.
    pub(super) fn take_while(&mut self, of: impl Fn(u8) -> bool) -> &'a [u8] {
        let n = self.0.iter().position(|&b| !of(b)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(n);
        self.0 = rest;
        taken
    }

    /// `atom`
    pub(super) fn atom(&mut self) -> Parsed<&'a [u8]> {
        match self.take_while(is_atom_char) {
            [] => bad("A word is missing"),
            atom => Ok(atom),
        }
    }

    /// `number`
    pub(super) fn number(&mut self) -> Parsed<u32> {
        let digits = self.take_while(|b| b.is_ascii_digit());
        match crate::abnf::number(digits).and_then(|n| u32::try_from(n).ok()) {
            Some(n) => Ok(n),
            None => bad("A number is missing or too large"),
        }
    }

    /// `nz-number`
    pub(super) fn nz_number(&mut self) -> Parsed<NonZeroU32> {
        match NonZeroU32::new(self.number()?) {
            Some(n) => Ok(n),
            None => bad("Zero is no number here"),
        }
    }

    /// `quoted`, raw 8-bit octets in it allowed; the opening quote is next.
    fn quoted(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.expect(b'"', "A string is missing")?;
        let plain = self.take_while(|b| !matches!(b, b'"' | b'\\' | b'\r' | b'\n' | 0));
        if self.eat(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut octets = plain.to_vec();
        loop {
            if self.eat(b'"') {
                return Ok(Cow::Owned(octets));
            }
            if !self.eat(b'\\') {
                return bad("A quoted string does not end");
            }
            match self.0.split_first() {
                Some((&b @ (b'"' | b'\\'), rest)) => {
                    octets.push(b);
                    self.0 = rest;
                }
                _ => return bad("Only quote and backslash may be escaped"),
            }
            octets.extend_from_slice(self.take_while(|b| !matches!(b, b'"' | b'\\' | b'\r' | b'\n' | 0)));
        }
    }

    /// `literal` (RFC 7888: `{n+}` too); the opening brace is next.
    fn literal(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.expect(b'{', "A string is missing")?;
        let n = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        self.eat(b'+');
        self.expect(b'}', "A literal is malformed")?;
        self.eat(b'\r');
        self.expect(b'\n', "A literal is malformed")?;
        match self.0.split_at_checked(n) {
            Some((octets, _)) if octets.contains(&0) => bad("NUL is not allowed"),
            Some((octets, rest)) => {
                self.0 = rest;
                Ok(Cow::Borrowed(octets))
            }
            None => bad("A literal is cut short"),
        }
    }

    /// `string`
    pub(super) fn string(&mut self) -> Parsed<Cow<'a, [u8]>> {
        if self.peek() == Some(b'{') { self.literal() } else { self.quoted() }
    }

    /// `astring`
    pub(super) fn astring(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.string_or(is_astring_char)
    }

    /// `string`, or at least one octet of `of`.
    pub(super) fn string_or(&mut self, of: impl Fn(u8) -> bool) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => match self.take_while(of) {
                [] => bad("A string is missing"),
                octets => Ok(Cow::Borrowed(octets)),
            },
        }
    }

    /// `astring` that must be UTF-8. It may be a password: no copy is left behind where that can be helped.
    pub(super) fn text(&mut self) -> Parsed<String> {
        String::from_utf8(self.astring()?.into_owned()).or_else(|_| bad("A string is not UTF-8"))
    }

    /// `mailbox`
    pub(super) fn mailbox(&mut self) -> Parsed<MailboxName> {
        name(&self.astring()?)
    }

    /// `list-mailbox`, decoded.
    pub(super) fn pattern(&mut self) -> Parsed<String> {
        let octets = self.string_or(|b| is_astring_char(b) || matches!(b, b'*' | b'%'))?;
        pattern(&octets)
    }

    /// `mailbox` as LIST's reference: it may be empty.
    pub(super) fn reference(&mut self) -> Parsed<String> {
        pattern(&self.astring()?)
    }

    /// `sequence-set`
    pub(super) fn sequence_set(&mut self) -> Parsed<SeqSet> {
        let mut ranges = Vec::new();
        loop {
            let first = self.seq_number()?;
            let last = if self.eat(b':') { self.seq_number()? } else { first };
            ranges.push((first, last));
            if !self.eat(b',') {
                return Ok(SeqSet { ranges });
            }
        }
    }

    fn seq_number(&mut self) -> Parsed<SeqEnd> {
        if self.eat(b'*') { Ok(SeqEnd::Largest) } else { self.nz_number().map(SeqEnd::Number) }
    }

    /// `date`, with or without quotes.
    pub(super) fn date(&mut self) -> Parsed<Date> {
        let octets = self.string_or(is_atom_char)?;
        Date::parse(&octets).map_or_else(|| bad("There is no such date"), Ok)
    }

    /// `"(" item *(SP item) ")"`, possibly empty; the opening parenthesis is next.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.expect(b'(', "A list is missing")?;
        let mut items = Vec::new();
        if self.eat(b')') {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.eat(b')') {
                return Ok(items);
            }
            self.expect(b' ', "A list does not end")?;
        }
    }

    /// `flag-list`.
    pub(super) fn flag_list(&mut self) -> Parsed<Flags> {
        let mut flags = Flags::default();
        self.list(|c| flags.read(c))?;
        Ok(flags)
    }

    /// `flag *(SP flag)`.
    pub(super) fn bare_flags(&mut self) -> Parsed<Flags> {
        let mut flags = Flags::default();
        flags.read(self)?;
        while self.0.len() > 1 && self.eat(b' ') {
            flags.read(self)?;
        }
        Ok(flags)
    }
}

/// Flags as a client writes them: some may be none that are kept.
#[derive(Debug, Default)]
pub(super) struct Flags {
    pub(super) names: FlagNames,
    /// `\Recent`, or a system flag that does not exist.
    pub(super) others: bool,
}

impl Flags {
    fn read(&mut self, c: &mut Cursor<'_>) -> Parsed<()> {
        if c.eat(b'\\') {
            let name = c.atom()?;
            match SystemFlag::ALL.into_iter().find(|f| f.name().as_bytes()[1..].eq_ignore_ascii_case(name)) {
                Some(flag) => self.names.system = self.names.system.with(flag),
                None => self.others = true,
            }
            return Ok(());
        }
        let name = c.atom()?;
        match Keyword::parse(name) {
            Some(keyword) => self.names.add_keyword(keyword),
            None => return Err(Refusal::No(Code::Limit, "A keyword is too long")),
        }
        Ok(())
    }
}

/// A mailbox name from its octets.
pub(super) fn name(octets: &[u8]) -> Parsed<MailboxName> {
    MailboxName::decode(octets).map_err(|e| {
        use super::name::NameError;
        Refusal::No(
            Code::Cannot,
            match e {
                NameError::Encoding => "Mailbox names are written in modified UTF-7",
                NameError::EmptyLevel => "No part of a mailbox name may be empty",
                NameError::Control => "A mailbox name has a control character",
                NameError::TooLong => "The mailbox name is too long",
            },
        )
    })
}

/// A pattern that a mailbox's name can match.
pub(super) fn short_enough(pattern: String) -> Parsed<String> {
    if pattern.len() > limits::MAILBOX_NAME {
        return Err(Refusal::No(Code::Limit, "The mailbox name is too long"));
    }
    Ok(pattern)
}

/// A reference or a pattern. Its length is bounded by the command's; in modified UTF-7 it may well be longer than the
/// name that it means.
fn pattern(octets: &[u8]) -> Parsed<String> {
    match utf7::decode(octets) {
        Some(text) => short_enough(text),
        None => Err(Refusal::No(Code::Cannot, "Mailbox names are written in modified UTF-7")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        let rows: [(&[u8], Option<&[u8]>); 15] = [
            (b"abc rest", Some(b"abc")),
            (b"a]b", Some(b"a]b")),
            (b"\"a b\"", Some(b"a b")),
            (b"\"\"", Some(b"")),
            (br#""a\"b\\c""#, Some(br#"a"b\c"#)),
            (b"\"\xc3\xbc\"", Some("ü".as_bytes())),
            (b"{3}\r\na\"(", Some(b"a\"(")),
            (b"{3+}\r\nabc", Some(b"abc")),
            (b"{0}\r\n", Some(b"")),
            (b"{4}\r\nabc", None),
            (b"{3}\r\na\0c", None),
            (b"\"a\0\"", None),
            (br#""a\n""#, None),
            (b"\"abc", None),
            (b"(", None),
        ];
        for (text, want) in rows {
            assert_eq!(Cursor(text).astring().ok().as_deref(), want, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn sets() {
        for (text, want) in [
            ("1", Some(1)),
            ("1:*,4,*:2", Some(3)),
            ("4294967295", Some(1)),
            ("4294967296", None),
            ("0", None),
            ("1:", None),
            ("1,,2", None),
            ("", None),
        ] {
            let mut c = Cursor(text.as_bytes());
            assert_eq!(c.sequence_set().ok().map(|s| s.ranges.len()), want, "{text}");
        }
    }

    #[test]
    fn flags() {
        let mut c = Cursor(br"(\sEEN $Junk $junk \Recent \Deleted)");
        let flags = c.flag_list().expect("a flag list");
        assert_eq!(flags.names.keywords.len(), 1);
        assert_eq!(flags.names.system.iter().count(), 2);
        assert!(flags.others && c.0.is_empty());
        assert!(Cursor(br"(\Seen  \Deleted)").flag_list().is_err());
        assert!(Cursor(br"\Seen \Deleted ").bare_flags().is_ok());
    }
}
