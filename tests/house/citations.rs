//! `docs/rfc.md` says what is built of which RFC; the code's citations are held against it, both ways.

use std::collections::{BTreeMap, BTreeSet};

use super::source;

/// Numbers in `RFC NNNN` anywhere in the text, comments included.
fn cited(text: &str) -> BTreeSet<u32> {
    text.split("RFC ")
        .skip(1)
        .filter_map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            (digits.len() >= 3).then(|| digits.parse().ok()).flatten()
        })
        .collect()
}

#[test]
fn every_rfc_cited_is_in_the_table_and_every_row_is_cited() {
    let table = std::fs::read_to_string(source::root().join("docs/rfc.md")).unwrap();
    let mut rows: BTreeMap<u32, &str> = BTreeMap::new();
    for line in table.lines().filter(|l| l.starts_with("| ")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let Some(number) = cells.get(1).and_then(|n| n.parse().ok()) {
            let status = cells.get(3).copied().unwrap_or("");
            assert!(["done", "part", "no", "guide"].contains(&status), "status of RFC {number}: {status:?}");
            assert!(rows.insert(number, status).is_none(), "RFC {number} stands twice");
        }
    }
    let mut in_code = BTreeSet::new();
    let mut unknown = Vec::new();
    for tree in ["src", "crates/wire/src", "crates/store/src"] {
        for (file, text) in source::files(tree) {
            for n in cited(&text) {
                if !rows.contains_key(&n) {
                    unknown.push(format!("{tree}/{}: RFC {n}", file.display()));
                }
                in_code.insert(n);
            }
        }
    }
    assert!(unknown.is_empty(), "cited, but not in docs/rfc.md:\n{}", unknown.join("\n"));
    let unseen: Vec<u32> = rows
        .iter()
        .filter(|(n, s)| matches!(**s, "done" | "part") && !in_code.contains(n))
        .map(|(n, _)| *n)
        .collect();
    assert!(unseen.is_empty(), "said to be built, cited nowhere in the code: {unseen:?}");
}
