//! Domains and addresses as people type them, made into what the store keeps: lower case, A-labels, local part and
//! domain. RFC 5321 s.4.1.2; the grammar itself is wire's.

use wire::addr::{AddrError, Address, Domain};

use super::Error;

/// The name of a domain that mail can be taken for.
///
/// # Errors
/// `BadDomain`.
pub fn domain(given: &str) -> Result<String, Error> {
    let bad = |why: &str| Err(Error::BadDomain { given: given.to_owned(), why: why.to_owned() });
    let text = given.trim().trim_end_matches('.');
    if text.contains('@') {
        return bad("it is an address, and only what stands behind the @ is wanted");
    }
    match Domain::parse(text.as_bytes()) {
        Err(error) => bad(&error.to_string()),
        Ok(domain) => match domain.name() {
            None => bad("it is an IP address; mail is addressed to names"),
            Some(name) if !name.contains('.') => bad("it has no dot: a name on this network only"),
            Some(name) => Ok(name.to_owned()),
        },
    }
}

/// An address, with its domain: (canonical address, domain).
///
/// # Errors
/// `BadAddress`.
pub fn address(given: &str) -> Result<(String, String), Error> {
    let bad = |why: String| Err(Error::BadAddress { given: given.to_owned(), why });
    match Address::parse(given.trim().as_bytes()) {
        Err(error) => bad(error.to_string()),
        Ok(address) => match address.domain.name() {
            None => bad("its domain is an IP address; mail is addressed to names".into()),
            Some(name) => Ok((address.canonical(), name.to_owned())),
        },
    }
}

/// An address as it was given, for whoever is elsewhere.
///
/// # Errors
/// `BadAddress`.
pub fn as_given(given: &str) -> Result<String, Error> {
    let bad = |why: AddrError| Error::BadAddress { given: given.to_owned(), why: why.to_string() };
    Address::parse(given.trim().as_bytes()).map(|address| address.to_string()).map_err(bad)
}

/// Whether a kept address is this one, which is canonical.
#[must_use]
pub fn is(kept: &str, canonical: &str) -> bool {
    kept == canonical || Address::parse(kept.as_bytes()).is_ok_and(|kept| kept.canonical() == canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_as_people_type_them() {
        for (given, kept) in [
            ("example.org", "example.org"),
            (" Example.ORG. ", "example.org"),
            ("bücher.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(domain(given).unwrap(), kept);
        }
        for given in
            ["", ".", "localhost", "a@b.test", "[192.0.2.1]", "a..b", "-a.test", "a b.test", "a\nb.test"]
        {
            assert!(matches!(domain(given), Err(Error::BadDomain { .. })), "{given:?}");
        }
    }

    #[test]
    fn addresses_as_people_type_them() {
        for (given, kept, of) in [
            ("Anna@Example.org", "anna@example.org", "example.org"),
            (" a.b+c@b.test\t", "a.b+c@b.test", "b.test"),
            ("\"anna\"@b.test", "anna@b.test", "b.test"),
            ("J\u{d6}rg@B\u{fc}cher.test", "j\u{f6}rg@xn--bcher-kva.test", "xn--bcher-kva.test"),
            ("jo\u{308}rg@b.test", "j\u{f6}rg@b.test", "b.test"),
        ] {
            assert_eq!(address(given).unwrap(), (kept.to_owned(), of.to_owned()));
        }
        for given in
            ["", "anna", "@b.test", "anna@", "a b@b.test", "a\u{9b}@b.test", "a@[192.0.2.1]", "a@b@c.test"]
        {
            assert!(matches!(address(given), Err(Error::BadAddress { .. })), "{given:?}");
        }
    }
}
