//! DKIM keys: made with a domain, shown for the DNS, changed for new ones, gone with the domain.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Host;

/// (state, selector) of each key of b.test.
fn keys(host: &Host) -> Vec<(String, String)> {
    let shown = host.run(&["dkim", "show", "b.test", "--json"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = shown.json();
    rows.as_array().unwrap().iter().map(|row| (text(row, "state"), text(row, "selector"))).collect()
}

fn states(host: &Host) -> Vec<String> {
    keys(host).into_iter().map(|(state, _)| state).collect()
}

/// From a new domain to its second keys.
fn story(host: &Host) {
    assert_eq!(host.run(&["dkim", "show", "b.test"]).code, 3);
    let added = host.run(&["domain", "add", "b.test"]);
    assert!(added.code == 0 && added.out.contains("penfold dkim show b.test"), "{}{}", added.out, added.err);
    assert_eq!(states(host), ["active", "active"]);
    let shown = host.run(&["dkim", "show", "b.test"]).out;
    let rows = host.run(&["dkim", "show", "--json"]).json();
    for row in rows.as_array().unwrap() {
        let (name, value) = (row["name"].as_str().unwrap(), row["value"].as_str().unwrap());
        assert_eq!(name, format!("{}._domainkey.b.test", row["selector"].as_str().unwrap()));
        assert!(value.starts_with("v=DKIM1; k="), "{value}");
        assert!(shown.contains(&format!("\n    {value}\n")), "in one piece:\n{shown}");
        assert!(shown.contains(&format!("\n{name}. IN TXT ")), "for a zone file:\n{shown}");
        let strings: Vec<&str> =
            row["strings"].as_array().unwrap().iter().map(|piece| piece.as_str().unwrap()).collect();
        assert_eq!(strings.concat(), value);
        assert!(strings.iter().all(|piece| piece.len() <= 255));
    }
    let first = keys(host);

    let early = host.run(&["dkim", "rotate", "b.test", "--activate"]);
    assert_eq!(early.code, 3, "{}", early.out);
    assert!(early.err.contains("`penfold dkim rotate b.test`"), "{}", early.err);
    assert_eq!(host.run(&["dkim", "rotate", "elsewhere.test"]).code, 3);
    assert_eq!(host.run(&["dkim", "rotate", "not a domain"]).code, 2);
    let made = host.run(&["dkim", "rotate", "b.test"]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.out.contains("penfold dkim rotate b.test --activate"), "{}", made.out);
    let mut now = states(host);
    now.sort();
    assert_eq!(now, ["active", "active", "waiting", "waiting"]);
    assert!(first.iter().all(|(_, selector)| !made.out.contains(&format!("{selector}._"))), "{}", made.out);
    assert_eq!(host.run(&["dkim", "rotate", "b.test"]).out, made.out, "asked again: the same keys");

    let active = host.run(&["dkim", "rotate", "b.test", "--activate"]);
    assert_eq!(active.code, 0, "{}", active.err);
    assert_eq!(active.out.matches("signs now.").count(), 2, "{}", active.out);
    assert_eq!(active.out.matches("signs no more; keep its record until").count(), 2, "{}", active.out);
    for (state, selector) in keys(host) {
        let was = first.iter().any(|(_, first)| *first == selector);
        assert_eq!(state, if was { "retiring" } else { "active" });
    }
    let rows = host.run(&["dkim", "show", "b.test", "--json"]).json();
    for row in rows.as_array().unwrap() {
        let week = row["until"].as_i64().map(|until| until - row["since"].as_i64().unwrap());
        assert_eq!(week, (row["state"] == "retiring").then_some(7 * 86_400));
    }
    assert_eq!(host.run(&["domain", "remove", "b.test", "--yes"]).code, 0);
    assert_eq!(host.run(&["dkim", "show", "--json"]).json(), Value::Array(Vec::new()));
    assert_eq!(host.run(&["domain", "add", "b.test"]).code, 0);
    assert_eq!(states(host), ["active", "active"]);
}

#[test]
fn keys_are_shown_and_changed_without_a_server_and_with_one() {
    let host = Host::new();
    assert!(host.run(&["dkim", "show"]).out.contains("There are no keys"));
    story(&host);
    let before = keys(&host);
    let server = host.serve();
    assert_eq!(keys(&host), before, "what is there is not made anew");
    assert_eq!(host.run(&["domain", "remove", "b.test", "--yes"]).code, 0);
    story(&host);
    assert!(server.stop().success());
}

#[test]
fn a_domain_from_before_there_were_keys_gets_them_at_the_start() {
    let host = Host::new();
    std::fs::create_dir(host.data()).unwrap();
    let (store, _) = store::Store::open(store::Options {
        vfs: Arc::new(store::RealVfs::new(host.data())),
        index: Arc::new(store::index::sled::SledHost::new(host.data())),
        derive: Arc::new(store::NoDigest),
        clock: Arc::new(Clock),
        random: Arc::new(|octets| octets.fill(7)),
        progress: Arc::new(|_| {}),
        condemned: Arc::new(|why| panic!("{why}")),
        boot_id: None,
        tuning: store::Tuning::default(),
        threads: true,
    })
    .unwrap();
    let domain = store::Intent::AddDomain { name: "b.test".into() };
    store.commit(store::Batch::of(domain)).wait().unwrap();
    store.close().unwrap();
    assert!(keys(&host).is_empty());
    let server = host.serve();
    let began = penfold::clock::monotonic();
    // They are made beside the first connections: nobody waits for them but this.
    while keys(&host).is_empty() {
        assert!(penfold::clock::monotonic() - began < Duration::from_secs(60), "{}", server.log());
    }
    assert_eq!(states(&host), ["active", "active"]);
    assert!(server.stop().success());
    assert_eq!(states(&host), ["active", "active"]);
}

struct Clock;

impl store::Clock for Clock {
    fn wall(&self) -> store::UnixTime {
        store::UnixTime { secs: penfold::clock::wall().seconds, nanos: 0 }
    }
    fn monotonic(&self) -> Duration {
        penfold::clock::monotonic()
    }
}
