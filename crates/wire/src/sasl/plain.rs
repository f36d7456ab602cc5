//! PLAIN (RFC 4616): one message, `[authzid] NUL authcid NUL passwd`.

use super::{Credentials, SaslError, field};
use crate::secret::Secret;

/// Parses the decoded message.
///
/// # Errors
/// `Malformed` unless the grammar of RFC 4616 s.2 is met; `Authorization` for an authzid other than the authcid.
pub fn parse(message: &[u8]) -> Result<Credentials, SaslError> {
    let mut fields = message.split(|&b| b == 0);
    let (Some(authzid), Some(authcid), Some(password), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(SaslError::Malformed);
    };
    let user = field(authcid)?;
    let authorization = match authzid {
        b"" => None,
        // Outlook and some libraries repeat the user's name here.
        z if z == authcid => Some(user.to_owned()),
        _ => return Err(SaslError::Authorization),
    };
    Ok(Credentials { authorization, user: user.to_owned(), password: Secret::from(field(password)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_fields_will_do() {
        for bad in [
            &b""[..],
            b"\0",
            b"\0\0",
            b"\0u\0",
            b"\0\0p",
            b"u\0p",
            b"\0u\0p\0",
            b"\0u\0p\0x",
            b"\0\xff\0p",
            b"\0u\0\xff",
        ] {
            assert_eq!(parse(bad).map(|c| c.user), Err(SaslError::Malformed), "{bad:?}");
        }
        assert_eq!(parse("\0ü\0ß".as_bytes()).map(|c| c.user).as_deref(), Ok("ü"));
    }
}
