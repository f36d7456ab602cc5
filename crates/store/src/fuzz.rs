//! The body of the fuzz target for what the store reads from disk: a plain function, whose corpus `cargo test` replays.

use crate::backup::manifest::{self, Manifest};
use crate::group::{self, HEADER};
use crate::record;
use crate::segment;
use crate::snapshot::format::{First, Item};
use crate::state::block::Block;

/// Reads octets as everything that the log or a snapshot can hold. Never panics; what decodes encodes to something that decodes to the
/// same.
pub fn store_record(octets: &[u8]) {
    let _ = segment::Header::decode(octets);
    let _ = Block::from_octets(octets);
    if let Ok(first) = First::decode(octets) {
        debug_assert_eq!(First::decode(&first.encode()), Ok(first), "a first page comes back");
    }
    if let Some(header) = group::Header::decode(octets) {
        let again = group::Header::decode(&header.encode());
        debug_assert_eq!(again, Some(header), "a header comes back");
        if let Some((_, records)) = group::check(&header, octets) {
            records_of(records);
        }
    }
    records_of(octets);
    // Without the CRCs, which no fuzzer guesses.
    if let Some((&kind, meta)) = octets.split_first() {
        let header = record::Header {
            kind: u16::from(kind),
            version: 1,
            critical: true,
            meta_len: 0,
            data_len: 0,
            meta_crc: 0,
        };
        if let Ok(Some(item)) = Item::decode(&header, meta) {
            check(&item);
        }
    }
    if octets.len() >= HEADER {
        let _ = record::read_placement(record::kind::DELIVERY, &octets[HEADER..]);
        let _ = record::read_placement(record::kind::KEPT, &octets[HEADER..]);
    }
}

/// Reads octets as a backup's manifest, and as what an interrupted backup has noted. Never panics; nothing in it is outside
/// of the directory, and what decodes encodes to something that decodes to the same.
pub fn store_manifest(octets: &[u8]) {
    /// Always the same sum, which a fuzzer can guess.
    struct Zeros;
    impl crate::Summing for Zeros {
        fn update(&mut self, _octets: &[u8]) {}
        fn finish(self: Box<Self>) -> [u8; 32] {
            [0; 32]
        }
    }
    let sums: crate::Sums = std::sync::Arc::new(|| Box::new(Zeros));
    let mut entries = manifest::noted(octets);
    if let Ok(manifest) = Manifest::decode(octets, &sums) {
        debug_assert_eq!(
            Manifest::decode(&manifest.encode(&sums), &sums).as_ref(),
            Ok(&manifest),
            "it comes back"
        );
        let _ = (manifest.name(), manifest.octets());
        entries.extend(manifest.entries);
    }
    for entry in entries {
        for path in [&entry.path, &entry.name] {
            debug_assert!(!path.starts_with(['/', '.']) && !path.contains("/."), "within: {path}");
        }
    }
}

fn records_of(octets: &[u8]) {
    for (_, header, rest) in record::walk(octets) {
        let Some(meta) = header.meta(rest) else { continue };
        let _ = record::body_crcs(meta, u64::from(header.data_len));
        if let Ok(Some(item)) = Item::decode(&header, meta) {
            check(&item);
        }
    }
}

/// A record of the log, or one that only snapshots have.
fn check(item: &Item) {
    let mut octets = Vec::new();
    item.encode(&mut octets);
    let header = record::Header::read(&octets);
    let again = header.and_then(|h| h.meta(&octets).and_then(|meta| Item::decode(&h, meta).ok().flatten()));
    debug_assert_eq!(again.as_ref(), Some(item), "a record comes back");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_corpus_and_its_beginnings_can_be_read() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/store_record");
        let mut seeds = 0;
        for file in std::fs::read_dir(&corpus).expect("a corpus") {
            let octets = std::fs::read(file.expect("a seed").path()).expect("a seed");
            for end in 0..=octets.len() {
                super::store_record(&octets[..end]);
            }
            for at in 0..octets.len() {
                let mut changed = octets.clone();
                changed[at] ^= 0x81;
                super::store_record(&changed);
            }
            seeds += 1;
        }
        assert!(seeds >= 20, "{seeds} seeds");
    }

    /// As a fuzzer does it, without one: lines and words of the corpus cut, joined, changed and repeated.
    #[test]
    fn manifests_made_of_pieces_of_others_can_be_read() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/store_manifest");
        let files = std::fs::read_dir(&corpus).expect("a corpus");
        let mut paths: Vec<_> = files.map(|file| file.expect("a seed").path()).collect();
        paths.sort();
        let seeds: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).expect("a seed")).collect();
        let rounds = std::env::var("PENFOLD_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
        let mut rng = crate::vfs::sim::Rng::new(1);
        for _ in 0..rounds {
            let mut octets = seeds[rng.index(seeds.len())].clone();
            for _ in 0..1 + rng.below(6) {
                let at = rng.index(octets.len().max(1));
                match rng.below(6) {
                    0 => octets.truncate(at),
                    1 if at < octets.len() => octets[at] = rng.below(256) as u8,
                    2 if at < octets.len() => octets[at] = b" \n/.~-0123456789abcdef"[rng.index(22)],
                    3 => {
                        let other = &seeds[rng.index(seeds.len())];
                        octets.extend_from_slice(&other[rng.index(other.len())..]);
                    }
                    4 => {
                        let lines: Vec<&[u8]> = octets.split_inclusive(|&b| b == b'\n').collect();
                        let mut lines: Vec<Vec<u8>> = lines.into_iter().map(<[u8]>::to_vec).collect();
                        let (one, two) = (rng.index(lines.len()), rng.index(lines.len()));
                        if !lines.is_empty() {
                            lines.swap(one, two);
                            lines.insert(one, lines[two].clone());
                        }
                        octets = lines.concat();
                    }
                    _ => {
                        let part = octets.get(at..at + rng.index(40)).unwrap_or_default().to_vec();
                        octets.splice(at..at, part);
                    }
                }
            }
            super::store_manifest(&octets);
        }
    }

    #[test]
    fn manifests_and_what_is_near_them_can_be_read() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/store_manifest");
        for file in std::fs::read_dir(&corpus).expect("a corpus") {
            let octets = std::fs::read(file.expect("a seed").path()).expect("a seed");
            for end in 0..=octets.len() {
                super::store_manifest(&octets[..end]);
            }
            for at in 0..octets.len() {
                for flip in [1, 4, 0x1d] {
                    let mut changed = octets.clone();
                    changed[at] ^= flip;
                    super::store_manifest(&changed);
                }
            }
        }
    }
}
