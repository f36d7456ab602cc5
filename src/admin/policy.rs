//! Which passwords a person may choose: those that every mail program can send and nobody guesses at once.

use super::{Error, Password};

/// Shortest password a person may choose. NIST SP 800-63B asks for 8.
const SHORTEST: usize = 8;
/// Longest: more would only cost time, and must fit into every protocol's line.
const LONGEST: usize = 256;

/// Whether a password can be used.
///
/// # Errors
/// `Error::BadPassword` with the reason.
pub fn check(password: &Password) -> Result<(), Error> {
    let text = password.reveal();
    let bad = |why: String| Err(Error::BadPassword { why });
    match text.chars().count() {
        n if n < SHORTEST => bad(format!("it has {n} characters, at least {SHORTEST} are needed")),
        n if n > LONGEST => bad(format!("it has {n} characters, at most {LONGEST} are possible")),
        _ if text.chars().any(char::is_control) => bad("it has control characters".into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_passwords_have_bounds() {
        for (text, fine) in
            [("short", false), ("long enough", true), ("tab\tinside it", false), ("pässwört", true)]
        {
            assert_eq!(check(&Password::new(text.into())).is_ok(), fine, "{text:?}");
        }
        assert!(check(&Password::new("x".repeat(256))).is_ok());
        assert!(check(&Password::new("x".repeat(257))).is_err());
    }
}
