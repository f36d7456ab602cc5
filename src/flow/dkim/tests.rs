//! Which keys sign what, and what their signatures cover. Whether others find them right is seen in `tests/interop`.

use store::{Batch, Intent, Store};

use super::*;
use crate::small_store;

const NOW: i64 = 1_795_900_000;

/// A store with the domains b.test, that has keys, and bare.test, that has none.
struct Home {
    store: Store,
    keyring: Keyring,
    _dir: tempfile::TempDir,
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.store.close();
    }
}

impl Home {
    fn new() -> Home {
        let dir = tempfile::tempdir().unwrap();
        let store = small_store::open(dir.path());
        let home = Home { keyring: Keyring::new(store.clone()), store, _dir: dir };
        for name in ["b.test", "bare.test"] {
            home.commit([Intent::AddDomain { name: name.into() }]);
        }
        let pair = Key::pair("b.test", &[], State::Active, NOW).unwrap();
        home.commit(pair.iter().map(Key::write));
        home
    }

    fn commit(&self, intents: impl IntoIterator<Item = Intent>) {
        let mut batch = Batch::new();
        for intent in intents {
            batch.push(intent);
        }
        self.store.commit_here(batch).wait().unwrap();
    }

    /// The selectors that sign for an author.
    fn signers(&self, from: &str) -> Vec<String> {
        let header = format!("From: {from}\r\n");
        tags(&self.keyring.sign(header.as_bytes(), &BodyHash::default().finish(), NOW), "s")
    }
}

/// The values of a tag, one for each signature.
fn tags(fields: &str, tag: &str) -> Vec<String> {
    let unfolded = fields.replace("\r\n\t", "").replace(' ', "");
    let value = |field: &str| {
        let mut tags = field.trim_start_matches("DKIM-Signature:").split(';');
        tags.find_map(|t| t.strip_prefix(&format!("{tag}="))).map(str::to_owned)
    };
    unfolded.lines().filter_map(value).collect()
}

#[test]
fn the_authors_domain_signs_with_both_keys() {
    let home = Home::new();
    let both = ["20261128-rsa", "20261128-ed25519"];
    assert_eq!(home.signers("Ann <ann@B.test>"), both);
    assert_eq!(home.signers("postmaster@mail.b.test"), both, "a host within the domain");
    assert_eq!(home.signers("x@far.test, y@b.test"), both, "one of two authors");
    for other in ["x@bare.test", "x@far.test", "x@ab.test", "x@test", "nobody", "<x@b.test", "x@[192.0.2.1]"]
    {
        let unread = other == "<x@b.test";
        assert_eq!(home.signers(other).is_empty(), !unread, "{other}");
    }
}

#[test]
fn other_keys_sign_from_the_moment_that_they_are_told_of() {
    let home = Home::new();
    assert_eq!(home.signers("x@b.test").len(), 2);
    let old = home.keyring.keys("b.test").unwrap();
    let new = Key::pair("b.test", &old, State::Waiting, NOW).unwrap();
    home.commit(new.iter().map(Key::write));
    home.keyring.changed("b.test");
    assert_eq!(home.signers("x@b.test"), ["20261128-rsa", "20261128-ed25519"], "the new ones wait");
    home.commit(new.iter().map(|key| key.turned(State::Active, NOW).write()));
    home.commit(old.iter().map(|key| key.turned(State::Retiring, NOW).write()));
    home.keyring.changed("b.test");
    assert_eq!(home.signers("x@b.test"), ["20261128-2-rsa", "20261128-2-ed25519"]);
    assert_eq!(home.keyring.all().unwrap().len(), 4);
    home.commit(home.keyring.strike("b.test").unwrap());
    home.keyring.changed("b.test");
    assert_eq!(home.signers("x@b.test"), Vec::<String>::new());
    assert!(home.keyring.all().unwrap().is_empty());
}

#[test]
fn a_line_that_is_no_key_leaves_the_others_at_work() {
    let home = Home::new();
    home.commit([Intent::Write { book: Book::Keys, key: b"b.test\0odd".to_vec(), value: vec![9; 40] }]);
    assert_eq!(home.signers("x@b.test").len(), 2);
    assert_eq!(home.keyring.strike("b.test").unwrap().len(), 3, "it is struck with the others");
}

#[test]
fn what_every_program_shows_is_signed_once_more_than_it_is_there() {
    let keys = Signers::of(Key::pair("b.test", &[], State::Active, NOW).unwrap());
    let header =
        b"Received: x\r\nFrom: a@b.test\r\nto: c@d.test\r\nTo: e@f.test\r\nDate: now\r\nX-Mailer: y\r\n\
        List-Id: <l>\r\nReturn-Path: <>\r\n";
    let fields = keys.sign(header, &BodyHash::default().finish(), NOW);
    let signed = "from:from:to:to:to:cc:subject:reply-to:date:date:list-id";
    assert_eq!(tags(&fields, "h"), [signed, signed]);
    assert_eq!(tags(&fields, "a"), ["rsa-sha256", "ed25519-sha256"]);
    assert_eq!(tags(&fields, "d"), ["b.test", "b.test"]);
    assert_eq!(tags(&fields, "c"), ["relaxed/relaxed", "relaxed/relaxed"]);
    assert_eq!(tags(&fields, "t"), [NOW.to_string(), NOW.to_string()]);
    assert_eq!((tags(&fields, "l").len(), tags(&fields, "i").len()), (0, 0));
    // RFC 6376 s.3.7 has the hash of an empty body.
    assert_eq!(tags(&fields, "bh")[0], "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    assert!(fields.ends_with("\r\n") && fields.lines().all(|line| line.len() < 79), "{fields}");
}

#[test]
fn ever_so_many_fields_of_a_name_make_no_endless_signature() {
    let keys = Signers::of(Key::pair("b.test", &[], State::Active, NOW).unwrap());
    let header = "From: a@b.test\r\n".to_owned() + &"Cc: c@d.test\r\n".repeat(4_000);
    assert!(keys.sign(header.as_bytes(), &BodyHash::default().finish(), NOW).len() < 3_000);
}
