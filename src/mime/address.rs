//! Address lists as ENVELOPE wants them: raw, with groups, encoded words left alone.
//!
//! RFC 5322 s.3.4, s.4.4 (routes), RFC 3501 s.7.4.2. Junk gives odd addresses, never an error: each list is read in
//! one pass, and comments do not nest the stack.

use wire::imap::structure::Address;

/// Addresses of one field that are looked at: ENVELOPE of mail to more is cut here.
const MOST: usize = 5_000;

/// A piece of the value.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// Atoms, dots and whatever is not special. True: space stands before it.
    Text(Vec<u8>, bool),
    /// A quoted string, unquoted.
    Quoted(Vec<u8>, bool),
    Special(u8),
}

struct Lexer<'a> {
    rest: &'a [u8],
    /// The last comment since it was taken.
    comment: Option<Vec<u8>>,
}

impl Lexer<'_> {
    fn take(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// The rest of a comment whose "(" has been taken. Nested ones are part of it.
    fn take_comment(&mut self) {
        let mut depth = 1u32;
        let mut text = Vec::new();
        while let Some(b) = self.take() {
            match b {
                b'(' => depth += 1,
                b')' => depth -= 1,
                b'\\' => {
                    if let Some(next) = self.take() {
                        push(&mut text, next);
                    }
                    continue;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
            push(&mut text, b);
        }
        let text = text.trim_ascii();
        if !text.is_empty() {
            self.comment = Some(text.to_vec());
        }
    }

    fn take_quoted(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        while let Some(b) = self.take() {
            match b {
                b'"' => break,
                b'\\' => {
                    if let Some(next) = self.take() {
                        push(&mut text, next);
                    }
                }
                _ => push(&mut text, b),
            }
        }
        text
    }

    fn next(&mut self) -> Option<Token> {
        let mut spaced = false;
        loop {
            match self.take()? {
                b' ' | b'\t' | b'\r' | b'\n' | 0 => spaced = true,
                b'(' => {
                    self.take_comment();
                    spaced = true;
                }
                b'"' => return Some(Token::Quoted(self.take_quoted(), spaced)),
                special @ (b'<' | b'>' | b'@' | b',' | b':' | b';') => return Some(Token::Special(special)),
                b'[' => {
                    // A domain literal: colons and such belong to it.
                    let end = self.rest.iter().position(|b| matches!(b, b']' | b',' | b'>' | b'<'));
                    let len = match end {
                        Some(end) if self.rest.get(end) == Some(&b']') => end + 1,
                        Some(end) => end,
                        None => self.rest.len(),
                    };
                    let (literal, rest) = self.rest.split_at(len);
                    self.rest = rest;
                    let mut text = vec![b'['];
                    literal.iter().for_each(|&b| push(&mut text, b));
                    return Some(Token::Text(text, spaced));
                }
                first => {
                    let len = self.rest.iter().position(|b| b" \t\r\n\0(\"<>@,:;".contains(b));
                    let (more, rest) = self.rest.split_at(len.unwrap_or(self.rest.len()));
                    self.rest = rest;
                    let mut text = vec![first];
                    text.extend_from_slice(more);
                    return Some(Token::Text(text, spaced));
                }
            }
        }
    }
}

/// CR, LF and NUL are in no string that ENVELOPE gives.
fn push(text: &mut Vec<u8>, b: u8) {
    if !matches!(b, b'\r' | b'\n' | 0) {
        text.push(b);
    }
}

/// What has been read of one address.
#[derive(Default)]
struct Draft {
    /// The words before "<", or all of an address without brackets up to "@".
    words: Vec<u8>,
    any: bool,
    domain: Option<Vec<u8>>,
    /// The words were followed by "<".
    angle: bool,
    name: Option<Vec<u8>>,
    route: Option<Vec<u8>>,
}

impl Draft {
    fn word(&mut self, text: &[u8], spaced: bool) {
        let into = match &mut self.domain {
            Some(domain) => {
                // Space inside a domain is obsolete syntax: it means nothing.
                domain.extend_from_slice(text);
                return;
            }
            None => &mut self.words,
        };
        // A local part has no space in it (RFC 5322 s.4.4); a display name keeps one between words.
        if spaced && self.any && !self.angle {
            into.push(b' ');
        }
        into.extend_from_slice(text);
        self.any = true;
    }

    fn finish(self, comment: Option<Vec<u8>>) -> Option<Address> {
        if !self.any && self.domain.is_none() && self.name.is_none() && !self.angle {
            return None;
        }
        let Draft { words, domain, angle, name, route, .. } = self;
        let name = if angle { name } else { None }.or(comment);
        // Without a domain it is not an address; NIL would mean a group, so it is empty.
        Some(Address { name, route, mailbox: Some(words), host: Some(domain.unwrap_or_default()) })
    }
}

/// Reads a field's value (From, To...) as a list of addresses: names without quotes, or the comment where there is
/// no name; an address without a domain has an empty one, since none at all means a group.
#[must_use]
pub fn parse(value: &[u8]) -> Vec<Address> {
    let mut list = Vec::new();
    let mut lexer = Lexer { rest: value, comment: None };
    let mut draft = Draft::default();
    let mut in_group = false;
    while let Some(token) = lexer.next() {
        if list.len() >= MOST {
            break;
        }
        match token {
            Token::Text(text, spaced) => draft.word(&text, spaced),
            Token::Quoted(text, spaced) => draft.word(&text, spaced),
            Token::Special(b'<') if !draft.angle => {
                let name = std::mem::take(&mut draft.words);
                draft = Draft { angle: true, name: draft.any.then_some(name), ..Draft::default() };
                lexer.comment = None;
            }
            Token::Special(b'@') if draft.angle && !draft.any && draft.domain.is_none() => {
                draft.route = Some(take_route(&mut lexer));
            }
            Token::Special(b'@') => {
                // A second "@" makes all before it the local part: `a@b@c`.
                if let Some(domain) = draft.domain.replace(Vec::new()) {
                    draft.words.push(b'@');
                    draft.words.extend_from_slice(&domain);
                }
            }
            Token::Special(b':') if !draft.angle && draft.domain.is_none() && !in_group => {
                let name = std::mem::take(&mut draft).words;
                lexer.comment = None;
                list.push(Address { mailbox: Some(name), ..Address::default() });
                in_group = true;
            }
            Token::Special(separator @ (b',' | b';')) => {
                list.extend(std::mem::take(&mut draft).finish(lexer.comment.take()));
                if separator == b';' && in_group {
                    list.push(Address::default());
                    in_group = false;
                }
            }
            Token::Special(_) => {}
        }
    }
    list.extend(draft.finish(lexer.comment.take()));
    if in_group {
        list.push(Address::default());
    }
    list
}

/// `@a,@b:` within angle brackets; the first "@" has been taken (RFC 5322 s.4.4 `obs-route`).
fn take_route(lexer: &mut Lexer<'_>) -> Vec<u8> {
    let mut route = vec![b'@'];
    let mut ahead = Lexer { rest: lexer.rest, comment: None };
    while let Some(token) = ahead.next() {
        match token {
            Token::Text(text, _) | Token::Quoted(text, _) => route.extend_from_slice(&text),
            Token::Special(b':') => break,
            Token::Special(b'>') => {
                // No colon: it was no route but an address without a local part.
                break;
            }
            Token::Special(b) => route.push(b),
        }
    }
    lexer.rest = ahead.rest;
    route
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written as RFC 3501 prints it, `-` for NIL.
    fn show(value: &str) -> String {
        let text = |s: &Option<Vec<u8>>| match s {
            Some(s) => format!("{:?}", String::from_utf8_lossy(s)),
            None => "-".to_owned(),
        };
        let one = |m: &Address| {
            format!("({} {} {} {})", text(&m.name), text(&m.route), text(&m.mailbox), text(&m.host))
        };
        parse(value.as_bytes()).iter().map(one).collect()
    }

    #[test]
    fn addresses_and_groups() {
        let table = [
            ("", ""),
            (" \r\n ", ""),
            (",,,", ""),
            ("a@b", r#"(- - "a" "b")"#),
            ("<a@b>", r#"(- - "a" "b")"#),
            ("A B <a@b>, c@d", r#"("A B" - "a" "b")(- - "c" "d")"#),
            ("\"A, \\\"B\\\"\" <a@b>", r#"("A, \"B\"" - "a" "b")"#),
            ("\"quoted local\"@b", r#"(- - "quoted local" "b")"#),
            ("a@b (Al (the) B)", r#"("Al (the) B" - "a" "b")"#),
            ("=?utf-8?q?J=C3=BCrgen?= <j@x>", r#"("=?utf-8?q?J=C3=BCrgen?=" - "j" "x")"#),
            ("<@r1,@r2:a@b>", r#"(- "@r1,@r2" "a" "b")"#),
            ("friends: a@b, C <c@d>;", r#"(- - "friends" -)(- - "a" "b")("C" - "c" "d")(- - - -)"#),
            ("undisclosed-recipients:;", r#"(- - "undisclosed-recipients" -)(- - - -)"#),
            ("g: a@b", r#"(- - "g" -)(- - "a" "b")(- - - -)"#),
            ("root", r#"(- - "root" "")"#),
            ("Name <>", r#"("Name" - "" "")"#),
            ("a@b@c", r#"(- - "a@b" "c")"#),
            ("a.b . c@d . e", r#"(- - "a.b . c" "d.e")"#),
            ("x@[IPv6:::1]", r#"(- - "x" "[IPv6:::1]")"#),
            ("A\r\n B\r\n <a@b>", r#"("A B" - "a" "b")"#),
            ("a@b, <", r#"(- - "a" "b")(- - "" "")"#),
        ];
        for (value, expected) in table {
            assert_eq!(show(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_thousand_open_comments_do_no_harm() {
        assert_eq!(parse(&b"(".repeat(100_000)), []);
        let list = parse(&b"a@b,".repeat(50_000));
        assert_eq!(list.len(), MOST);
    }
}
