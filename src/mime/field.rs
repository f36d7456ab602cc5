//! Values with parameters: Content-Type, Content-Disposition, and the lists of Content-Language.
//!
//! RFC 2045 s.5.1, RFC 2183 s.2, RFC 3282 s.2. Parameters stay as written: RFC 2231's `name*0*` goes to the client,
//! who knows what to do with it.

/// Parameters of one field that are kept; more is an attack.
const PARAMETERS: usize = 100;

/// A value with parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parametrised {
    /// What stands before the first semicolon: `text/plain`, `attachment`.
    pub value: Vec<u8>,
    /// Names as written and values without quotes.
    pub params: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Parametrised {
    /// The first parameter of this name.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&[u8]> {
        self.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v.as_slice())
    }
}

/// Reads octets with comments and quotes in them.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn skip_comment(&mut self) {
        let mut depth = 1u32;
        while let Some(b) = self.take() {
            match b {
                b'(' => depth += 1,
                b')' if depth == 1 => return,
                b')' => depth -= 1,
                b'\\' => drop(self.take()),
                _ => {}
            }
        }
    }

    /// Text up to one of `ends` (left unread), quotes and comments resolved, space around it dropped.
    fn text(&mut self, ends: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        // How much of the text may not be trimmed, since it was quoted.
        let mut firm = 0;
        while let Some(&b) = self.rest.first() {
            if ends.contains(&b) {
                break;
            }
            self.take();
            match b {
                b'"' => {
                    while let Some(b) = self.take() {
                        match b {
                            b'"' => break,
                            b'\\' => text.extend(self.take()),
                            b'\r' | b'\n' | 0 => {}
                            b => text.push(b),
                        }
                    }
                    firm = text.len();
                }
                b'(' => self.skip_comment(),
                b'\r' | b'\n' | 0 => {}
                b' ' | b'\t' if text.is_empty() => {}
                b => text.push(b),
            }
        }
        while text.len() > firm && text.last().is_some_and(u8::is_ascii_whitespace) {
            text.pop();
        }
        text.retain(|b| !matches!(b, b'\r' | b'\n' | 0));
        text
    }
}

/// Reads a value with parameters.
#[must_use]
pub(super) fn parametrised(value: &[u8]) -> Parametrised {
    let mut reader = Reader { rest: value };
    let mut read = Parametrised { value: reader.text(b";"), params: Vec::new() };
    while reader.take().is_some() && read.params.len() < PARAMETERS {
        let name = reader.text(b";=");
        if reader.rest.first() != Some(&b'=') {
            continue; // No value: `;;`, or a word alone.
        }
        reader.take();
        let value = reader.text(b";");
        if !name.is_empty() {
            read.params.push((name, value));
        }
    }
    read
}

/// `type/subtype` as its two halves; `None` unless both are tokens (RFC 2045 s.5.2 then asks for the default).
#[must_use]
pub(super) fn media_type(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = memchr::memchr(b'/', value)?;
    let (kind, sub) = (value.get(..slash)?.trim_ascii(), value.get(slash + 1..)?.trim_ascii());
    (token(kind) && token(sub)).then_some((kind, sub))
}

fn token(s: &[u8]) -> bool {
    !s.is_empty() && s.iter().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(b))
}

/// The languages of Content-Language.
#[must_use]
pub(super) fn languages(value: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = Reader { rest: value };
    let mut list = Vec::new();
    loop {
        let language = reader.text(b",");
        if !language.is_empty() {
            list.push(language);
        }
        if reader.take().is_none() || list.len() >= PARAMETERS {
            return list;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_parameters() {
        type Params = &'static [(&'static str, &'static str)];
        let table: &[(&str, &str, Params)] = &[
            ("text/plain", "text/plain", &[]),
            (" TEXT/plain ; charset = \"utf-8\" ;x=y\r\n", "TEXT/plain", &[("charset", "utf-8"), ("x", "y")]),
            (
                "multipart/mixed;\r\n boundary=\"a;b=\\\"c\\\"\"",
                "multipart/mixed",
                &[("boundary", "a;b=\"c\"")],
            ),
            (
                "text/plain (a comment; x=y); charset=(c) us-ascii (d)",
                "text/plain",
                &[("charset", "us-ascii")],
            ),
            ("a/b; boundary=\" spaced \"", "a/b", &[("boundary", " spaced ")]),
            ("a/b;;; novalue; =x; y=", "a/b", &[("y", "")]),
            ("a/b; name*0*=utf-8''a%20; name*1=b", "a/b", &[("name*0*", "utf-8''a%20"), ("name*1", "b")]),
            ("a/b; name=two words.pdf; q=1", "a/b", &[("name", "two words.pdf"), ("q", "1")]),
            ("a/b; name=\"never closed; x=y", "a/b", &[("name", "never closed; x=y")]),
            ("", "", &[]),
            (";charset=x", "", &[("charset", "x")]),
        ];
        for (value, expected, params) in table {
            let got = parametrised(value.as_bytes());
            assert_eq!(String::from_utf8_lossy(&got.value), *expected, "{value:?}");
            let text = |s: &[u8]| String::from_utf8_lossy(s).into_owned();
            let got: Vec<_> = got.params.iter().map(|(n, v)| (text(n), text(v))).collect();
            let params: Vec<_> = params.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
            assert_eq!(got, params, "{value:?}");
        }
    }

    #[test]
    fn media_types() {
        assert_eq!(media_type(b"text/html"), Some((&b"text"[..], &b"html"[..])));
        for bad in [&b"text"[..], b"/", b"text/", b"/html", b"te xt/html", b"text/html/x", b"", b"t\xfct/x"] {
            assert_eq!(media_type(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn language_lists() {
        assert_eq!(languages(b" de, en (why) ,,fr"), [b"de".to_vec(), b"en".to_vec(), b"fr".to_vec()]);
        assert_eq!(languages(b""), Vec::<Vec<u8>>::new());
    }
}
