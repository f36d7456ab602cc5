//! Every room says what it is for, and no file grows past what a newcomer can hold.

use super::source;

const TREES: &[&str] = &[
    "src",
    "crates/wire/src",
    "crates/store/src",
    "tests",
    "benches",
    "crates/wire/tests",
    "crates/store/tests",
];

#[test]
fn every_file_opens_by_saying_what_it_is_for() {
    let mut silent = Vec::new();
    for tree in TREES {
        for (file, text) in source::files(tree) {
            if !text.starts_with("//!") {
                silent.push(format!("{tree}/{}", file.display()));
            }
        }
    }
    assert!(silent.is_empty(), "no `//!` on the first line of:\n{}", silent.join("\n"));
}

#[test]
fn no_file_is_past_800_lines_without_its_tests() {
    let mut long = Vec::new();
    for tree in TREES {
        for (file, text) in source::files(tree) {
            let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or("");
            let lines = code.lines().count();
            if lines > 800 {
                long.push(format!("{tree}/{}: {lines}", file.display()));
            }
        }
    }
    assert!(long.is_empty(), "split these:\n{}", long.join("\n"));
}
