//! The parameters of MAIL and RCPT (RFC 5321 s.4.1.2 `Mail-parameters`, `Rcpt-parameters`): a row each.

use std::fmt;

use super::ext::Extension;
use crate::abnf;
use crate::addr::ForwardPath;
use crate::civil;
use crate::dsn::{DsnError, EnvId, Notify, OriginalRecipient, Ret};

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParams {
    /// SIZE (RFC 1870 s.4). A number too large for 64 bits is as large as can be.
    pub size: Option<u64>,
    /// BODY (RFC 6152 s.2).
    pub body: Option<BodyKind>,
    /// AUTH was there (RFC 4954 s.5). Its value is not believed, so not kept.
    pub auth: bool,
    /// RET (RFC 3461 s.4.3).
    pub ret: Option<Ret>,
    /// ENVID (RFC 3461 s.4.4).
    pub envid: Option<EnvId>,
    /// HOLDFOR or HOLDUNTIL (RFC 4865 s.4).
    pub hold: Option<Hold>,
    /// REQUIRETLS (RFC 8689 s.2).
    pub require_tls: bool,
    /// SMTPUTF8 (RFC 6531 s.3.4).
    pub smtputf8: bool,
}

/// Until when a message is to be held (RFC 4865).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// HOLDFOR: so many seconds.
    For(u32),
    /// HOLDUNTIL: in seconds since 1970-01-01 UTC.
    Until(i64),
}

/// What the parameters of a RCPT command said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcptParams {
    /// NOTIFY (RFC 3461 s.4.1).
    pub notify: Option<Notify>,
    /// ORCPT (RFC 3461 s.4.2).
    pub orcpt: Option<OriginalRecipient>,
}

/// A recipient, and what was said with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The forward-path.
    pub path: ForwardPath,
    /// NOTIFY (RFC 3461): when its sender wants a report.
    pub notify: Option<Notify>,
    /// ORCPT (RFC 3461): the address that the sender meant at first.
    pub orcpt: Option<OriginalRecipient>,
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

/// A parameter's row, of a command with such parameters.
#[derive(Debug)]
pub struct Row<P> {
    /// The keyword.
    pub keyword: &'static str,
    /// The extension it belongs to.
    pub extension: Extension,
    apply: fn(&mut P, &[u8]) -> Result<(), ParamError>,
}

/// The parameters of MAIL.
pub const MAIL: &[Row<MailParams>] = &[
    Row { keyword: "SIZE", extension: Extension::Size, apply: size },
    Row { keyword: "BODY", extension: Extension::EightBitMime, apply: body },
    Row { keyword: "AUTH", extension: Extension::Auth, apply: auth },
    Row {
        keyword: "RET",
        extension: Extension::Dsn,
        apply: |params, value| once(params.ret.replace(Ret::parse(value)?)),
    },
    Row {
        keyword: "ENVID",
        extension: Extension::Dsn,
        apply: |params, value| once(params.envid.replace(EnvId::parse(value)?)),
    },
    Row { keyword: "HOLDFOR", extension: Extension::FutureRelease, apply: hold_for },
    Row { keyword: "HOLDUNTIL", extension: Extension::FutureRelease, apply: hold_until },
    Row {
        keyword: "REQUIRETLS",
        extension: Extension::RequireTls,
        apply: |params, value| flag(&mut params.require_tls, value),
    },
    Row {
        keyword: "SMTPUTF8",
        extension: Extension::SmtpUtf8,
        apply: |params, value| flag(&mut params.smtputf8, value),
    },
];

/// The parameters of RCPT.
pub const RCPT: &[Row<RcptParams>] = &[
    Row {
        keyword: "NOTIFY",
        extension: Extension::Dsn,
        apply: |params, value| once(params.notify.replace(Notify::parse(value)?)),
    },
    Row {
        keyword: "ORCPT",
        extension: Extension::Dsn,
        apply: |params, value| once(params.orcpt.replace(OriginalRecipient::parse(value)?)),
    },
];

impl From<DsnError> for ParamError {
    fn from(_: DsnError) -> ParamError {
        ParamError::Syntax
    }
}

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

fn hold_for(params: &mut MailParams, value: &[u8]) -> Result<(), ParamError> {
    // RFC 4865 s.4: at most nine digits.
    let seconds = abnf::number(value).filter(|_| value.len() <= 9).and_then(|n| u32::try_from(n).ok());
    once(params.hold.replace(Hold::For(seconds.ok_or(ParamError::Syntax)?)))
}

fn hold_until(params: &mut MailParams, value: &[u8]) -> Result<(), ParamError> {
    once(params.hold.replace(Hold::Until(civil::parse_moment(value).ok_or(ParamError::Syntax)?)))
}

fn flag(said: &mut bool, value: &[u8]) -> Result<(), ParamError> {
    if !value.is_empty() {
        return Err(ParamError::Syntax);
    }
    once(std::mem::replace(said, true).then_some(()))
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
        let params: MailParams = parse(MAIL, text)?;
        // RFC 6531 s.3.3: an `esmtp-value` in UTF-8 is of that extension.
        if text.is_ascii() || params.smtputf8 { Ok(params) } else { Err(ParamError::Syntax) }
    }

    /// Whether all that was said belongs to what is offered. SIZE and BODY always are, and AUTH says nothing.
    #[must_use]
    pub fn are_offered(&self, offered: impl Fn(Extension) -> bool) -> bool {
        let dsn = self.ret.is_some() || self.envid.is_some();
        (!dsn || offered(Extension::Dsn))
            && (self.hold.is_none() || offered(Extension::FutureRelease))
            && (!self.require_tls || offered(Extension::RequireTls))
            && (!self.smtputf8 || offered(Extension::SmtpUtf8))
    }
}

impl RcptParams {
    /// Parses what stands behind the path of RCPT.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &[u8]) -> Result<RcptParams, ParamError> {
        parse(RCPT, text)
    }

    /// Whether all that was said belongs to what is offered.
    #[must_use]
    pub fn are_offered(&self, offered: impl Fn(Extension) -> bool) -> bool {
        self.notify.is_none() && self.orcpt.is_none() || offered(Extension::Dsn)
    }
}

fn parse<P: Default>(rows: &[Row<P>], text: &[u8]) -> Result<P, ParamError> {
    let mut params = P::default();
    for word in words(text) {
        let (keyword, value) = split(word)?;
        let row = rows.iter().find(|row| keyword.eq_ignore_ascii_case(row.keyword.as_bytes()));
        (row.ok_or(ParamError::Unknown)?.apply)(&mut params, value)?;
    }
    Ok(params)
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
    // An `=` inside a value is let through for AUTH=<>, where xtext escapes it anyway. RFC 6531 s.3.3 adds UTF-8.
    let good = |&b: &u8| abnf::is_esmtp_value(b) || b == b'=' || !b.is_ascii();
    if !good_keyword || !value.iter().all(good) || std::str::from_utf8(value).is_err() {
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
        if self.auth {
            f.write_str(" AUTH=<>")?;
        }
        if let Some(ret) = self.ret {
            write!(f, " RET={ret}")?;
        }
        if let Some(envid) = &self.envid {
            write!(f, " ENVID={envid}")?;
        }
        match self.hold {
            Some(Hold::For(seconds)) => write!(f, " HOLDFOR={seconds}")?,
            Some(Hold::Until(moment)) => write!(f, " HOLDUNTIL={}", civil::print_moment(moment))?,
            None => {}
        }
        if self.require_tls {
            f.write_str(" REQUIRETLS")?;
        }
        if self.smtputf8 { f.write_str(" SMTPUTF8") } else { Ok(()) }
    }
}

/// Likewise.
impl fmt::Display for RcptParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(notify) = self.notify {
            write!(f, " NOTIFY={notify}")?;
        }
        match &self.orcpt {
            Some(orcpt) => write!(f, " ORCPT={orcpt}"),
            None => Ok(()),
        }
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
            ("BODY=8BITMIME smtputf8", Ok(" BODY=8BITMIME SMTPUTF8")),
            ("SMTPUTF8=yes", Err(Syntax)),
            ("SMTPUTF8 SMTPUTF8", Err(Syntax)),
            ("AUTH=j\u{f6}rg@x.org", Err(Syntax)),
            ("AUTH=j\u{f6}rg@x.org SMTPUTF8", Ok(" AUTH=<> SMTPUTF8")),
            ("ENVID=\u{fc} SMTPUTF8", Err(Syntax)),
            ("ret=hdrs envid=a+2Bb", Ok(" RET=HDRS ENVID=a+2Bb")),
            ("RET=SOME", Err(Syntax)),
            ("RET=FULL RET=FULL", Err(Syntax)),
            ("ENVID=", Err(Syntax)),
            ("ENVID", Err(Syntax)),
            ("ENVID=a+0Ab", Err(Syntax)),
            ("ENVID=a ENVID=a", Err(Syntax)),
            ("HOLDFOR=3600", Ok(" HOLDFOR=3600")),
            ("holduntil=2026-11-28t20:00:00+01:00", Ok(" HOLDUNTIL=2026-11-28T19:00:00Z")),
            ("HOLDFOR=1000000000", Err(Syntax)),
            ("HOLDFOR=-1", Err(Syntax)),
            ("HOLDFOR", Err(Syntax)),
            ("HOLDUNTIL=tomorrow", Err(Syntax)),
            ("HOLDFOR=1 HOLDUNTIL=2026-11-28T20:00:00Z", Err(Syntax)),
            ("REQUIRETLS", Ok(" REQUIRETLS")),
            ("REQUIRETLS=yes", Err(Syntax)),
            ("REQUIRETLS REQUIRETLS", Err(Syntax)),
            ("NOTIFY=NEVER", Err(Unknown)),
            ("=x", Err(Syntax)),
            ("X\0=1", Err(Syntax)),
            ("-X=1", Err(Syntax)),
            ("X=\u{fc}", Err(Unknown)),
            ("\u{fc}=X", Err(Syntax)),
        ] {
            let got = MailParams::parse(text.as_bytes()).map(|p| p.to_string());
            assert_eq!(got.as_deref(), result.as_ref().map(|s| *s), "{text:?}");
        }
        for (text, result) in [
            (" ", Ok("")),
            ("notify=delay,success", Ok(" NOTIFY=SUCCESS,DELAY")),
            ("ORCPT=rfc822;a+2Bb@x.org NOTIFY=never", Ok(" NOTIFY=NEVER ORCPT=rfc822;a+2Bb@x.org")),
            ("NOTIFY=NEVER,DELAY", Err(Syntax)),
            ("NOTIFY", Err(Syntax)),
            ("NOTIFY=NEVER NOTIFY=NEVER", Err(Syntax)),
            ("ORCPT=a@x.org", Err(Syntax)),
            ("ORCPT=utf-8;j\\x{F6}rg@x.org", Ok(" ORCPT=utf-8;j\u{f6}rg@x.org")),
            ("ORCPT=UTF-8;j\u{f6}rg@x.org", Ok(" ORCPT=UTF-8;j\u{f6}rg@x.org")),
            ("ORCPT=rfc822;j\u{f6}rg@x.org", Err(Syntax)),
            ("NOTIFY=\u{fc}", Err(Syntax)),
            ("RET=FULL", Err(Unknown)),
            ("a@b", Err(Syntax)),
        ] {
            let got = RcptParams::parse(text.as_bytes()).map(|p| p.to_string());
            assert_eq!(got.as_deref(), result.as_ref().map(|s| *s), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn printing_parses_to_the_same(size: Option<u64>, body in 0..3, auth: bool, smtputf8: bool) {
            let body = [None, Some(BodyKind::SevenBit), Some(BodyKind::EightBitMime)][body as usize];
            let params = MailParams { size, body, auth, smtputf8, ..MailParams::default() };
            prop_assert_eq!(MailParams::parse(params.to_string().as_bytes()), Ok(params));
        }
    }
}
