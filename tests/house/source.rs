//! Reads the project's sources as tokens, so that rules look at code and not at comments or strings.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file below `dir` (relative to the root), as (path relative to `dir`, text), sorted.
pub fn files(dir: &str) -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, base: &Path, out: &mut Vec<(PathBuf, String)>) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, base, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                out.push((path.strip_prefix(base).unwrap().to_owned(), text));
            }
        }
    }
    let base = root().join(dir);
    let mut out = Vec::new();
    walk(&base, &base, &mut out);
    out.sort();
    out
}

/// Identifiers, `::` and single punctuation marks of `text`, without comments, strings, chars and lifetimes.
pub fn tokens(text: &str) -> Vec<&str> {
    let b = text.as_bytes();
    let mut out = Vec::new();
    let mut i = 0;
    while i < b.len() {
        let c = b[i];
        if c.is_ascii_whitespace() {
            i += 1;
        } else if b[i..].starts_with(b"//") {
            i += b[i..].iter().position(|&c| c == b'\n').unwrap_or(b.len() - i);
        } else if b[i..].starts_with(b"/*") {
            let mut depth = 0;
            while i < b.len() {
                if b[i..].starts_with(b"/*") {
                    depth += 1;
                    i += 2;
                } else if b[i..].starts_with(b"*/") {
                    depth -= 1;
                    i += 2;
                    if depth == 0 {
                        break;
                    }
                } else {
                    i += 1;
                }
            }
        } else if let Some(n) = raw_string(&b[i..]) {
            i += n;
        } else if c == b'"' || b[i..].starts_with(b"b\"") || b[i..].starts_with(b"c\"") {
            i += if c == b'"' { 1 } else { 2 };
            while i < b.len() && b[i] != b'"' {
                i += if b[i] == b'\\' { 2 } else { 1 };
            }
            i += 1;
        } else if c == b'\'' || b[i..].starts_with(b"b'") {
            i += if c == b'\'' { 1 } else { 2 };
            // A char ends with a quote within a few octets; a lifetime does not.
            if b.get(i) == Some(&b'\\') {
                i += 2;
                while i < b.len() && b[i] != b'\'' {
                    i += 1;
                }
                i += 1;
            } else {
                let len = text[i..].chars().next().map_or(1, char::len_utf8);
                if b.get(i + len) == Some(&b'\'') {
                    i += len + 1;
                } else {
                    while i < b.len() && (b[i].is_ascii_alphanumeric() || b[i] == b'_') {
                        i += 1;
                    }
                }
            }
        } else if c.is_ascii_alphabetic() || c == b'_' {
            let start = i;
            while i < b.len() && (b[i].is_ascii_alphanumeric() || b[i] == b'_') {
                i += 1;
            }
            out.push(&text[start..i]);
        } else if b[i..].starts_with(b"::") {
            out.push("::");
            i += 2;
        } else {
            let len = text[i..].chars().next().map_or(1, char::len_utf8);
            out.push(&text[i..i + len]);
            i += len;
        }
    }
    out
}

/// The length of a raw string literal at the start of `b`, if one stands there.
fn raw_string(b: &[u8]) -> Option<usize> {
    let prefix = [&b"br"[..], b"cr", b"r"].into_iter().find(|p| b.starts_with(p))?;
    let hashes = b[prefix.len()..].iter().take_while(|&&c| c == b'#').count();
    let start = prefix.len() + hashes;
    if b.get(start) != Some(&b'"') {
        return None;
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = start + 1;
    let n = b[body..].windows(end.len()).position(|w| w == end)?;
    Some(body + n + end.len())
}

/// The paths named in a file as absolute segments, two deep: `[crate, room, sub]`, `[wire, smtp]`.
///
/// `module` is where the file stands, e.g. `[desk, smtp]`. Resolves `crate`, `self`, `super` (through inline
/// modules too) and `use` groups.
pub fn paths(module: &[String], text: &str) -> Vec<Vec<String>> {
    let toks = tokens(text);
    let mut out = Vec::new();
    // Names of inline modules around us; None for any other brace.
    let mut braces: Vec<Option<String>> = Vec::new();
    let mut i = 0;
    while i < toks.len() {
        match toks[i] {
            "mod" if toks.get(i + 2) == Some(&"{") => {
                braces.push(Some(toks[i + 1].to_owned()));
                i += 3;
                continue;
            }
            "{" => braces.push(None),
            "}" => {
                braces.pop();
            }
            _ => {}
        }
        let starts = i == 0 || toks[i - 1] != "::" || i < 2 || !is_ident(toks[i - 2]);
        if is_ident(toks[i]) && toks.get(i + 1) == Some(&"::") && starts {
            let here: Vec<String> = module.iter().cloned().chain(braces.iter().flatten().cloned()).collect();
            expand(&toks, &mut i.clone(), Vec::new(), &here, &mut out);
        }
        i += 1;
    }
    out
}

fn is_ident(t: &str) -> bool {
    t.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Reads one path (or `use` tree) at `i`, pushing each leaf resolved.
fn expand(
    toks: &[&str],
    i: &mut usize,
    mut prefix: Vec<String>,
    here: &[String],
    out: &mut Vec<Vec<String>>,
) {
    loop {
        match toks.get(*i) {
            Some(&"{") => {
                *i += 1;
                while let Some(&t) = toks.get(*i) {
                    match t {
                        "}" => {
                            *i += 1;
                            return;
                        }
                        "," => *i += 1,
                        "as" => *i += 2,
                        _ => {
                            let before = *i;
                            expand(toks, i, prefix.clone(), here, out);
                            if *i == before {
                                *i += 1;
                            }
                        }
                    }
                }
                return;
            }
            Some(t) if is_ident(t) || *t == "*" => {
                match *t {
                    "crate" if prefix.is_empty() => prefix.push("crate".into()),
                    "self" if prefix.is_empty() => {
                        prefix.push("crate".into());
                        prefix.extend(here.iter().cloned());
                    }
                    "super" if prefix.is_empty() => {
                        prefix.push("crate".into());
                        prefix.extend(here[..here.len().saturating_sub(1)].iter().cloned());
                    }
                    "super" => {
                        prefix.pop();
                    }
                    "self" => {}
                    t => prefix.push(t.to_owned()),
                }
                *i += 1;
                if toks.get(*i) == Some(&"::") && toks.get(*i + 1) != Some(&"<") {
                    *i += 1;
                } else {
                    out.push(prefix);
                    return;
                }
            }
            _ => {
                out.push(prefix);
                return;
            }
        }
    }
}

/// Where a file stands: `desk/imap/fetch.rs` → `[desk, imap, fetch]`, `desk/mod.rs` → `[desk]`, `lib.rs` → `[]`.
pub fn module_of(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        path.with_extension("").components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|l| l == "mod" || ((l == "lib" || l == "main") && parts.len() == 1)) {
        parts.pop();
    }
    parts
}

#[test]
fn paths_are_seen_wherever_they_hide() {
    let here = ["desk".to_owned(), "imap".to_owned()];
    let text = r##"
        use crate::{flow, net::{Desk, Out as O}, store_of};
        // crate::comment::no
        const S: &str = "crate::string::no"; const R: &str = r#"crate::raw::no"#;
        fn f<'a>(x: &'a u8) -> crate::tls::Facts { super::smtp::peek(); 'c'; ::wire::smtp::x() }
        mod tests { use super::*; use super::super::pop3; fn g() { vec::<crate::rate::X>() } }
    "##;
    let got: Vec<String> = paths(&here, text).into_iter().map(|p| p.join("::")).collect();
    for want in [
        "crate::flow",
        "crate::net::Desk",
        "crate::net::Out",
        "crate::store_of",
        "crate::tls::Facts",
        "crate::desk::smtp::peek",
        "wire::smtp::x",
        "crate::desk::imap::*",
        "crate::desk::pop3",
        "crate::rate::X",
    ] {
        assert!(got.iter().any(|g| g == want), "{want} not among {got:#?}");
    }
    assert!(!got.iter().any(|g| g.contains("::no")), "{got:#?}");
}
