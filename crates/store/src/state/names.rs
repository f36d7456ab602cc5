//! Which names mailboxes, domains, logins and addresses can have.

use wire::limits;

use super::directory::canonical;
use crate::intent::Refused;

/// A mailbox's name as it is kept, or why it cannot be one.
pub(crate) fn mailbox(path: &str) -> Result<String, Refused> {
    let path = canonical(path);
    if path.len() > limits::MAILBOX_NAME {
        return Err(Refused::Limit("the mailbox's name is too long"));
    }
    if path.split('/').count() > limits::MAILBOX_DEPTH {
        return Err(Refused::Limit("the mailbox's name has too many levels"));
    }
    if path.split('/').any(str::is_empty) {
        return Err(Refused::BadName("a level of the mailbox's name is empty"));
    }
    if path.chars().any(|c| c.is_control() || c == '\u{fffd}') {
        return Err(Refused::BadName("the mailbox's name has control characters"));
    }
    Ok(path)
}

/// A domain: lower case, without blanks.
pub(crate) fn domain(name: &str) -> Result<(), Refused> {
    let sound = !name.is_empty()
        && name.len() <= limits::DOMAIN
        && !name.starts_with('.')
        && !name.ends_with('.')
        && name.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '@' && c != '/')
        && name.to_lowercase() == name;
    if sound { Ok(()) } else { Err(Refused::BadName("not a domain in lower case")) }
}

/// An address in lower case: its domain.
pub(crate) fn address(address: &str) -> Result<&str, Refused> {
    let (local, domain_name) =
        address.rsplit_once('@').ok_or(Refused::BadName("an address needs an @ and a domain"))?;
    domain(domain_name)?;
    let sound = !local.is_empty()
        && local.len() <= limits::LOCAL_PART
        && local.chars().all(|c| !c.is_control())
        && local.to_lowercase() == local;
    if sound { Ok(domain_name) } else { Err(Refused::BadName("not an address in lower case")) }
}

/// A login name: lower case, without blanks.
pub(crate) fn login(login: &str) -> Result<(), Refused> {
    let sound = !login.is_empty()
        && login.len() <= limits::PATH
        && login.chars().all(|c| !c.is_whitespace() && !c.is_control())
        && login.to_lowercase() == login;
    if sound { Ok(()) } else { Err(Refused::BadName("not a login name in lower case")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_and_cannot_be() {
        assert_eq!(mailbox("inbox/Ä").as_deref(), Ok("INBOX/Ä"));
        for bad in ["", "/a", "a/", "a//b", "a\u{7}b", &"x".repeat(1001), &"a/".repeat(40)] {
            assert!(mailbox(bad).is_err(), "{bad:?}");
        }
        assert_eq!(address("a.b@example.org"), Ok("example.org"));
        assert_eq!(address("\"a@b\"@example.org"), Ok("example.org"));
        for bad in ["", "a", "@b", "a@", "A@b.org", "a@B.org", "a@.org", "a@b c"] {
            assert!(address(bad).is_err(), "{bad:?}");
        }
        assert!(login("alice@example.org").is_ok() && login("alice").is_ok());
        assert!(login("Alice").is_err() && login("").is_err() && login("a b").is_err());
    }
}
