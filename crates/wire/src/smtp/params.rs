//! The parameters of MAIL (RFC 5321 s.4.1.2 `Mail-parameters`): a row each. RCPT has none: DSN (RFC 3461) is not
//! offered.

use std::fmt;

use super::ext::Extension;
use crate::abnf;

/// The BODY parameter (RFC 6152).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyKind {
    /// `7BIT`, and when nothing was said.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
}

/// What the parameters of a MAIL command said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailParams {
    /// SIZE (RFC 1870 s.4). A number too large for 64 bits is as large as can be.
    pub size: Option<u64>,
    /// BODY (RFC 6152 s.2).
    pub body: Option<BodyKind>,
    /// AUTH was there (RFC 4954 s.5). Its value is not believed, so not kept.
    pub auth: bool,
}

/// Why parameters were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// Not `keyword[=value]`, or said twice.
    #[error("a parameter is not well-formed")]
    Syntax,
    /// Not one of the rows.
    #[error("a parameter is not known")]
    Unknown,
    /// Known, with a value that it cannot have.
    #[error("a parameter has a value that is not offered")]
    Value,
}

/// A parameter's row.
#[derive(Debug)]
pub struct Row {
    /// The keyword.
    pub keyword: &'static str,
    /// The extension it belongs to.
    pub extension: Extension,
    apply: fn(&mut MailParams, &[u8]) -> Result<(), ParamError>,
}

/// The parameters of MAIL.
pub const ROWS: &[Row] = &[
    Row { keyword: "SIZE", extension: Extension::Size, apply: size },
    Row { keyword: "BODY", extension: Extension::EightBitMime, apply: body },
    Row { keyword: "AUTH", extension: Extension::Auth, apply: auth },
];

fn size(params: &mut MailParams, value: &[u8]) -> Result<(), ParamError> {
    // RFC 1870 s.4: 1*20DIGIT.
    if value.is_empty() || value.len() > 20 || !value.iter().all(u8::is_ascii_digit) {
        return Err(ParamError::Syntax);
    }
    once(params.size.replace(abnf::number(value).unwrap_or(u64::MAX)))
}

fn body(params: &mut MailParams, value: &[u8]) -> Result<(), ParamError> {
    let kind = if value.eq_ignore_ascii_case(b"7BIT") {
        BodyKind::SevenBit
    } else if value.eq_ignore_ascii_case(b"8BITMIME") {
        BodyKind::EightBitMime
    } else {
        // BINARYMIME (RFC 3030 s.3) among others.
        return Err(ParamError::Value);
    };
    once(params.body.replace(kind))
}

fn auth(params: &mut MailParams, value: &[u8]) -> Result<(), ParamError> {
    if value.is_empty() {
        return Err(ParamError::Syntax);
    }
    once(std::mem::replace(&mut params.auth, true).then_some(()))
}

fn once<T>(before: Option<T>) -> Result<(), ParamError> {
    if before.is_some() { Err(ParamError::Syntax) } else { Ok(()) }
}

impl MailParams {
    /// Parses what stands behind the path of MAIL.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &[u8]) -> Result<MailParams, ParamError> {
        let mut params = MailParams::default();
        for word in words(text) {
            let (keyword, value) = split(word)?;
            let row = ROWS.iter().find(|row| keyword.eq_ignore_ascii_case(row.keyword.as_bytes()));
            (row.ok_or(ParamError::Unknown)?.apply)(&mut params, value)?;
        }
        Ok(params)
    }
}

/// Parses what stands behind the path of RCPT: nothing is known there.
///
/// # Errors
/// `Unknown` for any parameter, `Syntax` for what is not one.
pub fn no_params(text: &[u8]) -> Result<(), ParamError> {
    match words(text).next() {
        Some(word) => split(word).and(Err(ParamError::Unknown)),
        None => Ok(()),
    }
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&b| b == b' ').filter(|word| !word.is_empty())
}

/// `esmtp-keyword ["=" esmtp-value]`; an absent value is empty.
fn split(word: &[u8]) -> Result<(&[u8], &[u8]), ParamError> {
    let (keyword, value) = match memchr::memchr(b'=', word) {
        Some(i) if i + 1 < word.len() => (&word[..i], &word[i + 1..]),
        Some(_) => return Err(ParamError::Syntax),
        None => (word, &[][..]),
    };
    let good_keyword = keyword.first().is_some_and(|&b| abnf::is_let_dig(b))
        && keyword.iter().all(|&b| abnf::is_esmtp_keyword(b));
    // An `=` inside a value is let through for AUTH=<>, where xtext escapes it anyway.
    if !good_keyword || !value.iter().all(|&b| abnf::is_esmtp_value(b) || b == b'=') {
        return Err(ParamError::Syntax);
    }
    Ok((keyword, value))
}

/// Printed as it is sent, a space before each.
impl fmt::Display for MailParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(size) = self.size {
            write!(f, " SIZE={size}")?;
        }
        match self.body {
            Some(BodyKind::SevenBit) => f.write_str(" BODY=7BIT")?,
            Some(BodyKind::EightBitMime) => f.write_str(" BODY=8BITMIME")?,
            None => {}
        }
        if self.auth { f.write_str(" AUTH=<>") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parameters() {
        use ParamError::{Syntax, Unknown, Value};
        for (text, result) in [
            ("", Ok("")),
            ("size=1000 body=8bitmime", Ok(" SIZE=1000 BODY=8BITMIME")),
            ("  BODY=7BIT   SIZE=0 ", Ok(" SIZE=0 BODY=7BIT")),
            ("AUTH=<>", Ok(" AUTH=<>")),
            ("AUTH=e+3Dmc2@example.com", Ok(" AUTH=<>")),
            ("SIZE=99999999999999999999", Ok(" SIZE=18446744073709551615")),
            ("SIZE=999999999999999999999", Err(Syntax)),
            ("SIZE", Err(Syntax)),
            ("SIZE=", Err(Syntax)),
            ("SIZE=-1", Err(Syntax)),
            ("SIZE=1 SIZE=2", Err(Syntax)),
            ("AUTH=<> AUTH=<>", Err(Syntax)),
            ("BODY=BINARYMIME", Err(Value)),
            ("BODY", Err(Value)),
            ("SMTPUTF8", Err(Unknown)),
            ("RET=HDRS", Err(Unknown)),
            ("=x", Err(Syntax)),
            ("X\0=1", Err(Syntax)),
            ("-X=1", Err(Syntax)),
            ("X=\u{fc}", Err(Syntax)),
        ] {
            let got = MailParams::parse(text.as_bytes()).map(|p| p.to_string());
            assert_eq!(got.as_deref(), result.as_ref().map(|s| *s), "{text:?}");
        }
        assert_eq!(no_params(b" "), Ok(()));
        assert_eq!(no_params(b"NOTIFY=NEVER"), Err(Unknown));
        assert_eq!(no_params(b"a@b"), Err(Syntax));
    }

    proptest! {
        #[test]
        fn printing_parses_to_the_same(size: Option<u64>, body in 0..3, auth: bool) {
            let body = [None, Some(BodyKind::SevenBit), Some(BodyKind::EightBitMime)][body as usize];
            let params = MailParams { size, body, auth };
            prop_assert_eq!(MailParams::parse(params.to_string().as_bytes()), Ok(params));
        }
    }
}
