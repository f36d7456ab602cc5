//! Letters outside ASCII (RFC 6531) from Python's smtplib, through us, to Postfix, which knows of them or is told not to.

use std::process::Command;

use super::super::{dkim, have, run};
use super::house::House;
use super::peer::{self, Kind, NAME, Peer};
use super::{crlf, world};

const JOERG: &str = "j\u{f6}rg@home.test";
const BAER: &str = "b\u{e4}r@far.test";

/// Python sends as j\u{f6}rg to b\u{e4}r. What it printed.
fn sent(house: &House, more: &[&str]) -> String {
    let password = house.account(JOERG);
    let ports = [house.submission(), house.imap()].map(|at| at.port().to_string());
    let mut command = Command::new("python3");
    command.args(["-I", "-c", include_str!("utf8.py")]).args(ports).args([JOERG, &password, BAER]).args(more);
    let done = run(&mut command);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn postfix_takes_letters_outside_ascii_as_python_sent_them() {
    let Some(root) = peer::unpacked() else { return };
    if !have("python3", &["--version"], "python3") {
        return;
    }
    let (peer, directory) = (Peer::start(&root, Kind::Postfix), tempfile::tempdir().unwrap());
    let (_runtime, dns, anchor) = world(directory.path());
    let house = House::start(dns, &anchor, peer.at.port(), "");
    sent(&house, &[]);
    let fate = house.fate(BAER);
    assert_eq!(fate.json["action"], "delivered", "{}", fate.words);
    let arrived = crlf(&peer.mail(1)[0]);
    let text = String::from_utf8(arrived.clone()).unwrap();
    for part in [
        "Return-Path: <j\u{f6}rg@home.test>\r\n",
        " with UTF8SMTPS id ",
        " with UTF8SMTPA\r\n",
        "\r\nFrom: J\u{f6}rg <j\u{f6}rg@home.test>\r\n",
        "\r\nTo: B\u{e4}r <b\u{e4}r@far.test>\r\n",
        "\r\nSubject: Gr\u{fc}\u{df}e\r\n",
        "\r\nMessage-ID: <gr\u{fc}\u{df}e@home.test>\r\n",
        "\r\n\r\nEs regnet \u{fc}berall.\r\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let said = peer.said();
    assert!(said.contains("to=<b\u{e4}r@far.test>") && said.contains("status=sent"), "{said}");
    let file = directory.path().join("arrived.eml");
    std::fs::write(&file, &arrived).unwrap();
    if let Some(lines) = dkim::dkimpy(&house.keys(), std::slice::from_ref(&file)) {
        assert_eq!(lines, ["True True"], "{text}");
    }
    if let Some(passes) = dkim::opendkim(&house.keys(), &[file], directory.path()) {
        assert_eq!(passes.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [2], "{passes:?} {text}");
    }
}

#[test]
fn postfix_without_smtputf8_is_sent_nothing_and_the_sender_is_told() {
    let Some(root) = peer::unpacked() else { return };
    if !have("python3", &["--version"], "python3") {
        return;
    }
    let (peer, directory) = (Peer::start(&root, Kind::PostfixAscii), tempfile::tempdir().unwrap());
    let (_runtime, dns, anchor) = world(directory.path());
    let house = House::start(dns, &anchor, peer.at.port(), "");
    let report = sent(&house, &["read"]);
    for part in [
        "Content-Type: message/global-delivery-status\r\n",
        "\r\nFinal-Recipient: utf-8; b\u{e4}r@far.test\r\n",
        "\r\nStatus: 5.6.7\r\n",
        "\r\nSubject: Gr\u{fc}\u{df}e\r\n",
        &format!("\r\nRemote-MTA: dns; {NAME}\r\n"),
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert_eq!(peer.delivered(), 0);
}
