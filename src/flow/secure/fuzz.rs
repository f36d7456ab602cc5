//! The bodies of the fuzz targets of MTA-STS: any octets, as a record and as a policy, are read or refused, and what
//! is read stays the same when it is kept. `fuzz/` calls them, and `cargo test` with the corpora under `fuzz/corpus`.
//!
//! Not an interface: nothing but tests may use it.

use wire::limits;

use super::sts::{Id, Kept, Policy};

/// Reads records: one a line.
///
/// # Panics
/// When something is wrong.
pub fn record(octets: &[u8]) {
    let texts: Vec<&[u8]> = octets.split(|octet| *octet == b'\n').collect();
    let Some(id) = Id::of(&texts) else { return };
    assert!((1..=32).contains(&id.as_str().len()));
    assert!(id.as_str().bytes().all(|octet| octet.is_ascii_alphanumeric()));
    assert_eq!(Id::of(&[format!("v=STSv1; id={id}")]), Some(id));
}

/// Reads a policy, and what a cache may give.
///
/// # Panics
/// When something is wrong.
pub fn policy(octets: &[u8]) {
    if let Some(kept) = Kept::decode(octets) {
        assert_eq!(Kept::decode(&kept.encode()), Some(kept));
    }
    let Ok(policy) = Policy::parse(octets) else { return };
    assert!(policy.max_age <= limits::STS_MAX_AGE);
    let id = Id::of(&["v=STSv1; id=1"]).expect("that is one");
    let kept = Kept { policy, id, fetched: 1 };
    let encoded = kept.encode();
    // Our own words for it may be longer than the bound, where the domain's were just below it.
    if encoded.len() <= limits::STS_POLICY {
        assert_eq!(Kept::decode(&encoded), Some(kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    fn replay(target: &str, body: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut n = 0;
        for file in std::fs::read_dir(&corpus).unwrap() {
            let octets = std::fs::read(file.unwrap().path()).unwrap();
            for end in 0..=octets.len() {
                body(&octets[..end]);
            }
            n += 1;
        }
        assert!(n >= 8, "the corpus of {target} has {n} seeds");
    }

    #[test]
    fn corpora() {
        replay("sts_record", record);
        replay("sts_policy", policy);
    }

    proptest! {
        #[test]
        fn junk(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            record(&octets);
            policy(&octets);
        }

        #[test]
        fn nearly(parts in prop::collection::vec(prop::sample::select(vec![
            "v=STSv1", ";", " ", "id=", "1", "a=b", "\n", "\t", "=", "x-fetched: 1\n", "x-id: 1\n", "version: STSv1\n",
            "mode: enforce\n", "mode: none\r\n", "max_age: 9\n", "mx: a.test\n", "mx: *.b.test\n", ":", "\r", "\0",
        ]), 0..20)) {
            let text = parts.concat();
            record(text.as_bytes());
            policy(text.as_bytes());
        }
    }
}
