//! The floors of ARCHITECTURE.md: a room may use rooms below it, never above, never beside it unless listed.

use std::collections::BTreeSet;

use super::source;

/// The rooms of the root package: (room, floor, rooms on its own floor that it may use).
const SERVER: &[(&str, u32, &[&str])] = &[
    ("clock", 30, &[]),
    ("config", 30, &[]),
    ("observe", 30, &["config"]),
    ("dns", 31, &[]),
    ("tls", 31, &["dns"]),
    ("rate", 31, &[]),
    ("password", 31, &[]),
    ("mime", 31, &[]),
    ("disk", 31, &[]),
    ("net", 31, &["tls"]),
    ("login", 40, &[]),
    ("flow", 40, &["login"]),
    ("salvage", 40, &["flow"]),
    ("port", 40, &[]),
    ("admin", 41, &[]),
    ("desk", 50, &[]),
    ("run", 60, &[]),
    ("cli", 61, &[]),
];

/// The rooms of wire, likewise.
const WIRE: &[(&str, u32, &[&str])] = &[
    ("abnf", 0, &["*"]),
    ("civil", 0, &["*"]),
    ("line", 0, &["*"]),
    ("dot", 0, &["*"]),
    ("dsn", 0, &["*"]),
    ("secret", 0, &["*"]),
    ("addr", 0, &["*"]),
    ("ids", 0, &["*"]),
    ("flag", 0, &["*"]),
    ("limits", 0, &["*"]),
    ("machine", 0, &["*"]),
    ("sasl", 1, &[]),
    ("smtp", 2, &[]),
    ("pop3", 2, &[]),
    ("imap", 2, &[]),
    // Plain functions that feed a parser or machine with anything: they see all.
    ("fuzz", 9, &[]),
];

/// The rooms of wire that the store may use.
const FLOOR_0: &[&str] =
    &["abnf", "civil", "line", "dot", "secret", "addr", "dsn", "ids", "flag", "limits", "machine"];

fn broken_floors(dir: &str, rooms: &[(&str, u32, &[&str])]) -> Vec<String> {
    let room_of = |name: &str| rooms.iter().find(|r| r.0 == name);
    let mut broken = Vec::new();
    for (file, text) in source::files(dir) {
        let module = source::module_of(&file);
        let Some(first) = module.first() else { continue }; // lib.rs, main.rs: the list of rooms
        let Some(&(room, floor, beside)) = room_of(first) else {
            broken.push(format!("{dir}/{}: `{first}` is not on the list of rooms", file.display()));
            continue;
        };
        for path in source::paths(&module, &text) {
            let inner = match path.first().map(String::as_str) {
                Some("crate" | "penfold") => path.get(1),
                _ => None,
            };
            let Some(&(other, other_floor, _)) = inner.and_then(|name| room_of(name)) else { continue };
            // Tests may use what feeds a machine with anything.
            if other == "fuzz" && file.ends_with("tests.rs") {
                continue;
            }
            let listed = beside.contains(&other) || beside == ["*"] && floor == other_floor;
            if other != room && other_floor >= floor && !listed {
                broken.push(format!("{dir}/{}: {room} uses {}", file.display(), path.join("::")));
            }
            // Desks stand on one floor and never see each other.
            if room == "desk"
                && other == "desk"
                && module.len() > 1
                && let Some(sub) = path.get(2)
                && *sub != module[1]
                && ["smtp", "pop3", "imap", "web"].contains(&sub.as_str())
            {
                broken.push(format!("{dir}/{}: a desk uses {}", file.display(), path.join("::")));
            }
        }
    }
    broken
}

#[test]
fn no_floor_of_the_server_is_broken() {
    let broken = broken_floors("src", SERVER);
    assert!(broken.is_empty(), "floors broken:\n{}", broken.join("\n"));
}

#[test]
fn no_floor_of_wire_is_broken() {
    let broken = broken_floors("crates/wire/src", WIRE);
    assert!(broken.is_empty(), "floors broken:\n{}", broken.join("\n"));
}

#[test]
fn the_walls_depend_on_what_they_may() {
    let may = [
        (
            "wire",
            &["data-encoding", "icu_normalizer", "idna", "memchr", "subtle", "thiserror", "zeroize"][..],
        ),
        ("store", &["crc32c", "rustix", "siphasher", "sled", "thiserror", "wire"][..]),
    ];
    for (wall, allowed) in may {
        let text = std::fs::read_to_string(source::root().join(format!("crates/{wall}/Cargo.toml"))).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let has: BTreeSet<&str> =
            table["dependencies"].as_table().unwrap().keys().map(String::as_str).collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        let extra: Vec<_> = has.difference(&allowed).collect();
        assert!(extra.is_empty(), "{wall} depends on {extra:?}, which its wall does not allow");
    }
}

#[test]
fn the_store_sees_only_floor_0_of_wire_and_sled_stays_in_the_index() {
    let mut broken = Vec::new();
    for (file, text) in source::files("crates/store/src") {
        let module = source::module_of(&file);
        for path in source::paths(&module, &text) {
            let name = path.join("::");
            match path.first().map(String::as_str) {
                Some("wire") if !path.get(1).is_some_and(|r| FLOOR_0.contains(&r.as_str())) => {
                    broken.push(format!("{}: {name}", file.display()));
                }
                Some("sled") if module.first().is_none_or(|r| r != "index") => {
                    broken.push(format!("{}: {name} outside the index", file.display()));
                }
                Some("tokio" | "rustls") => broken.push(format!("{}: {name}", file.display())),
                _ => {}
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn wire_cannot_reach_the_world() {
    let mut broken = Vec::new();
    for (file, text) in source::files("crates/wire/src") {
        // Tests may read: the fuzz bodies' own replay their corpora.
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for path in source::paths(&source::module_of(&file), code) {
            let name = path.join("::");
            let world =
                ["tokio", "sled", "rustls", "std::fs", "std::thread", "std::process", "std::env", "std::io"];
            let address_only = name.starts_with("std::net") && !name.contains("Addr");
            if address_only || world.iter().any(|w| name == *w || name.starts_with(&format!("{w}::"))) {
                broken.push(format!("{}: {name}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The checker itself must be able to fail.
#[test]
fn a_broken_floor_is_seen() {
    let module = ["net".to_owned()];
    let found = source::paths(&module, "fn f() { crate::desk::smtp::answer() }");
    assert_eq!(found, [["crate", "desk", "smtp", "answer"].map(str::to_owned).to_vec()]);
    let rank = |room: &str| SERVER.iter().find(|r| r.0 == room).map(|r| r.1).unwrap();
    assert!(rank("desk") > rank("net"), "which `broken_floors` refuses");
}
