//! Help that teaches, usage errors, configuration errors, exit codes: nothing here needs a store.

use super::{Host, run};

const LEAVES: &[&[&str]] = &[
    &["serve"],
    &["demo"],
    &["status"],
    &["version"],
    &["config", "check"],
    &["config", "example"],
    &["domain", "add"],
    &["domain", "list"],
    &["domain", "remove"],
    &["account", "add"],
    &["account", "list"],
    &["account", "password"],
    &["account", "quota"],
    &["account", "limit"],
    &["account", "remove"],
    &["alias", "add"],
    &["alias", "list"],
    &["alias", "remove"],
    &["dkim", "show"],
    &["dkim", "rotate"],
    &["undelete", "list"],
    &["undelete", "restore"],
    &["import"],
    &["import", "imap"],
    &["export"],
    &["backup"],
    &["backup", "verify"],
    &["restore"],
];

#[test]
fn the_front_page_names_every_command_and_every_page_opens() {
    let front = run(&["--help"]);
    assert_eq!((front.code, front.err.as_str()), (0, ""));
    for leaf in LEAVES {
        assert!(front.out.contains(&format!("\n  {} ", leaf[0])), "{leaf:?} is not on the front page");
        let page = run(&[leaf, &["--help"][..]].concat());
        assert_eq!(page.code, 0, "{leaf:?}: {}", page.err);
        assert!(
            page.out.contains("Usage: penfold ") && page.out.contains("--config"),
            "{leaf:?}: {}",
            page.out
        );
    }
    for taught in ["Exit codes:", "penfold domain add", "penfold account add"] {
        assert!(front.out.contains(taught), "{taught} is missing:\n{}", front.out);
    }
}

#[test]
fn every_command_that_takes_something_has_examples() {
    for leaf in LEAVES {
        let page = run(&[leaf, &["--help"][..]].concat()).out;
        let bare = ["list", "version"].contains(leaf.last().unwrap());
        assert!(bare || page.contains("Example"), "{leaf:?} has no example:\n{page}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for args in [
        &["frobnicate"][..],
        &[],
        &["account", "add"],
        &["account", "add", "a@b.test", "--password", "hunter22"],
        &["account", "add", "a@b.test", "--prompt", "--password-stdin"],
        &["demo", "--port-base", "65000"],
    ] {
        let done = run(args);
        assert_eq!(done.code, 2, "{args:?}: {} {}", done.out, done.err);
        assert!(
            done.err.contains("--help") || done.err.contains("Commands:") || done.err.contains("To try it:"),
            "{args:?}: {}",
            done.err
        );
    }
}

#[test]
fn version_says_it_both_ways() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(run(&["version"]).out, format!("penfold {version}\n"));
    assert_eq!(run(&["version", "--json"]).json()["version"], version);
    assert_eq!(run(&["--version"]).out, format!("penfold {version}\n"));
}

#[test]
fn a_wrong_key_stops_every_command_with_its_place() {
    let host = Host::new();
    host.configure("hostname = \"mail.b.test\"\n\n[listen]\nsmpt = [\"127.0.0.1:2525\"]\n");
    for args in [&["config", "check"][..], &["serve"], &["account", "list"], &["status"]] {
        let done = host.run(args);
        assert_eq!(done.code, 6, "{args:?}: {}", done.err);
        for needle in
            [host.config().display().to_string().as_str(), "line 4", "smpt", "expected", "What to do:"]
        {
            assert!(done.err.contains(needle), "{args:?}: {needle} is missing: {}", done.err);
        }
    }
    let as_json = host.run(&["config", "check", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&as_json.err).unwrap();
    assert_eq!((as_json.code, &error["kind"]), (6, &"configuration".into()));
}

#[test]
fn a_configuration_that_is_not_there_is_wrong_only_when_it_was_named() {
    let done = run(&["config", "check", "--config", "/nonexistent/penfold.toml"]);
    assert_eq!(done.code, 6);
    assert!(
        done.err.contains("/nonexistent/penfold.toml") && done.err.contains("config example"),
        "{}",
        done.err
    );
}

#[test]
fn config_check_tells_what_would_be_used() {
    let host = Host::new();
    let done = host.run(&["config", "check"]);
    assert_eq!(done.code, 0, "{}", done.err);
    for needle in ["is in order", "mail.b.test", "listen.imaps", "127.0.0.1:0", "run/c.sock"] {
        assert!(done.out.contains(needle), "{needle} is missing: {}", done.out);
    }
    assert_eq!(host.run(&["config", "check", "--json"]).json()["hostname"], "mail.b.test");
    assert!(!host.data().exists(), "looking makes nothing");
}

#[test]
fn config_check_reads_the_certificate() {
    let host = Host::new();
    let path = |name: &str| host.directory.path().join(name);
    for name in ["c.pem", "k.pem"] {
        std::fs::write(path(name), "not a certificate").unwrap();
    }
    host.configure("hostname = \"mail.b.test\"\n[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n");
    let done = host.run(&["config", "check"]);
    assert_eq!(done.code, 6, "{}", done.out);
    assert!(done.err.contains(".pem: found no ") && done.err.contains("-----BEGIN "), "{}", done.err);
}

#[test]
fn the_example_that_is_printed_is_in_order() {
    let host = Host::new();
    let example = run(&["config", "example"]).out;
    assert!(example.contains("[listen]") && example.contains("hostname"), "{example}");
    host.configure(&format!("hostname = \"mail.b.test\"\n{example}"));
    assert_eq!(host.run(&["config", "check"]).code, 0);
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    use std::process::Command;
    let installed = Command::new("systemd-analyze").arg("--version").output();
    if !installed.is_ok_and(|o| o.status.success()) {
        assert!(
            std::env::var_os("PENFOLD_NO_SKIP").is_none(),
            "systemd-analyze is missing: apt install systemd"
        );
        return println!("skipped: systemd-analyze is not installed (apt install systemd)");
    }
    let directory = tempfile::tempdir().unwrap();
    let unit = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/penfold.service");
    // It looks whether the program is there; here it is somewhere else.
    let text = std::fs::read_to_string(unit).unwrap();
    let here = text.replace("/usr/local/bin/penfold", env!("CARGO_BIN_EXE_penfold"));
    assert_ne!(text, here);
    let copy = directory.path().join("penfold.service");
    std::fs::write(&copy, here).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&copy).output().unwrap();
    let said = String::from_utf8_lossy(&[verified.stdout, verified.stderr].concat()).into_owned();
    let about_us: Vec<&str> = said.lines().filter(|line| line.contains("penfold")).collect();
    assert!(verified.status.success() && about_us.is_empty(), "{said}");
}
