//! Passwords made for people: letters and digits only, since signs broke set-ups of mail programs, and none that
//! look alike. Shown in groups for reading; the groups' spaces are no part of the password.

use super::{Error, Password};

/// Without 0/o, 1/i/l, u/v, which look alike when written down. 29 characters, 4.86 bits each.
const ALPHABET: &[u8; 29] = b"abcdefghjkmnpqrstwxyz23456789";
/// Characters of a generated password: 16 × 4.86 = 77 bits.
const LENGTH: usize = 16;
/// Characters of a group.
const GROUP: usize = 4;
/// Shortest password a person may choose. NIST SP 800-63B asks for 8.
const SHORTEST: usize = 8;
/// Longest: more would only cost time, and must fit into every protocol's line.
const LONGEST: usize = 256;

/// Makes a password from the randomness that `fill` gives.
///
/// # Errors
/// When the system has no randomness to give.
pub fn password<E>(mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Password, E> {
    // Octets from the last, incomplete run of the alphabet are thrown away, so that every character is as likely.
    let fair = u8::MAX - u8::MAX % 29;
    let mut text = String::with_capacity(LENGTH);
    while text.len() < LENGTH {
        let mut octets = zeroize::Zeroizing::new([0; 2 * LENGTH]);
        fill(&mut octets[..])?;
        for octet in octets.iter().filter(|&&o| o < fair).take(LENGTH - text.len()) {
            text.push(char::from(ALPHABET[usize::from(octet % 29)]));
        }
    }
    Ok(Password::new(text))
}

/// The password in groups, for reading it aloud or off a screen.
#[must_use]
pub fn in_groups(password: &Password) -> String {
    let characters: Vec<char> = password.reveal().chars().collect();
    let groups: Vec<String> = characters.chunks(GROUP).map(|group| group.iter().collect()).collect();
    groups.join(" ")
}

/// Whether a password that a person chose can be used by every mail program.
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

    fn random(out: &mut [u8]) -> Result<(), aws_lc_rs::error::Unspecified> {
        aws_lc_rs::rand::fill(out)
    }

    #[test]
    fn generated_passwords_can_be_typed_and_differ() {
        let (a, b) = (password(random).unwrap(), password(random).unwrap());
        assert_ne!(a, b);
        assert_eq!(a.reveal().len(), LENGTH);
        assert!(a.reveal().bytes().all(|c| ALPHABET.contains(&c)));
        assert!(check(&a).is_ok());
    }

    #[test]
    fn unfair_octets_are_thrown_away() {
        let mut calls = 0;
        let made = password(|out: &mut [u8]| {
            calls += 1;
            out.fill(if calls == 1 { 255 } else { 0 });
            Ok::<(), ()>(())
        });
        assert_eq!((made.unwrap().reveal(), calls), ("aaaaaaaaaaaaaaaa", 2));
    }

    #[test]
    fn groups_are_for_reading() {
        assert_eq!(in_groups(&Password::new("abcdefghijkl".into())), "abcd efgh ijkl");
        assert_eq!(in_groups(&Password::new("äbcde".into())), "äbcd e");
    }

    #[test]
    fn chosen_passwords_have_bounds() {
        for (text, fine) in
            [("short", false), ("long enough", true), ("tab\tinside it", false), ("pässwört", true)]
        {
            assert_eq!(check(&Password::new(text.into())).is_ok(), fine, "{text:?}");
        }
        assert!(check(&Password::new("x".repeat(257))).is_err());
    }
}
