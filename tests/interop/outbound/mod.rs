//! Mail to other hosts: the real binary sends, real servers take it.

mod house;
mod peer;
mod utf8;
mod zone;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::dkim;
use super::nameserver::{self, Zone};
use house::{ANN, House};
use peer::{Kind, LOGIN, NAME, NOBODY, Peer};
use zone::Knot;

/// Looks again and again, until there is something.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..3_000 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it does not come to this: {what}");
}

/// A signed root zone in which the peer is the host of far.test; served as long as the runtime lives.
fn world(dir: &Path) -> (Runtime, SocketAddr, std::path::PathBuf) {
    let mut root = Zone::new(".").mx("far.test", 10, NAME).ip(NAME, "127.0.0.2");
    let anchor = root.sign(dir);
    let runtime = Runtime::new().unwrap();
    let at = runtime.block_on(nameserver::serve(vec![root]));
    (runtime, at, anchor)
}

/// A message that is hard to carry unchanged. As it is sent, with dots doubled, and as it must arrive.
fn hard() -> (Vec<u8>, Vec<u8>) {
    let header = format!(
        "From: Ann <{ANN}>\r\nTo: Bob <bob@far.test>\r\nSubject: hello\r\n there,\r\n\tBob  \r\n\
         Date: Sat, 28 Nov 2026 20:00:00 +0000\r\nMessage-ID: <hard@home.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nX-Odd:a  b\r\n\r\n"
    );
    let long = "x".repeat(990);
    let body = format!(
        "\r\nHello.\r\n.\r\n..\r\n.a line with a dot\r\nFrom here on\r\nspaces at the end  \r\n\ttab\t\r\n\
         gr\u{fc}n, \u{20ac}, \u{1f600}\r\n{long}\r\n\r\nlast\r\n\r\n\r\n"
    );
    let arrives = format!("{header}{body}").into_bytes();
    (format!("{header}{}", body.replace("\r\n.", "\r\n..")).into_bytes(), arrives)
}

/// With the line ends of mail.
fn crlf(message: &[u8]) -> Vec<u8> {
    message.split(|&b| b == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..])
}

/// A peer takes the hard message: nothing of it has changed, and both signatures hold.
fn takes(root: &Path, kind: Kind, encrypted: bool) {
    let (peer, directory) = (Peer::start(root, kind), tempfile::tempdir().unwrap());
    let (_runtime, dns, anchor) = world(directory.path());
    let house = House::start(dns, &anchor, peer.at.port(), "");
    let (sent, arrives) = hard();
    house.send(&["bob@far.test"], &sent);
    let fate = house.fate("bob@far.test");
    assert_eq!(fate.json["action"], "delivered", "{}", fate.words);
    assert_eq!((&fate.json["host"], &fate.json["address"]), (&NAME.into(), &"127.0.0.2".into()));
    let word = if encrypted { "TLS1.3, " } else { "not encrypted" };
    assert!(fate.words.contains(word), "{}", fate.words);
    let told = house.log().contains("TLS does not work with it: tried without");
    assert_eq!(told, !encrypted);
    let arrived = crlf(&peer.mail(1)[0]);
    assert!(arrived.ends_with(&arrives), "{}", String::from_utf8_lossy(&arrived));
    let above = String::from_utf8_lossy(&arrived[..arrived.len() - arrives.len()]).into_owned();
    assert!(above.contains("by mail.home.test") && above.contains(NAME), "{above}");

    let file = directory.path().join("arrived.eml");
    std::fs::write(&file, &arrived).unwrap();
    let keys = house.keys();
    if let Some(lines) = dkim::dkimpy(&keys, std::slice::from_ref(&file)) {
        assert_eq!(lines, ["True True"], "{above}");
    }
    if let Some(passes) = dkim::opendkim(&keys, &[file], directory.path()) {
        assert_eq!(passes.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [2], "{passes:?} {above}");
    }
}

#[test]
fn postfix_takes_mail_unchanged_inside_tls_with_both_signatures() {
    if let Some(root) = peer::unpacked() {
        takes(&root, Kind::Postfix, true);
    }
}

#[test]
fn exim_takes_mail_unchanged_inside_tls_with_both_signatures() {
    if let Some(root) = peer::unpacked() {
        takes(&root, Kind::Exim, true);
    }
}

/// Debian's OpenSMTPD offers TLS and can do none: its way of keeping the key apart does not work with the OpenSSL it is built
/// with. Nothing promises TLS here, so mail goes without.
#[test]
fn opensmtpd_whose_tls_is_broken_takes_mail_unchanged_without() {
    if let Some(root) = peer::unpacked() {
        takes(&root, Kind::OpenSmtpd, false);
    }
}

#[test]
fn postfix_refuses_one_of_two_recipients_and_the_sender_is_told_in_its_words() {
    let Some(root) = peer::unpacked() else { return };
    let (peer, directory) = (Peer::start(&root, Kind::Postfix), tempfile::tempdir().unwrap());
    let (_runtime, dns, anchor) = world(directory.path());
    let house = House::start(dns, &anchor, peer.at.port(), "");
    house.send(&[NOBODY, "bob@far.test"], &hard().0);
    let (failed, delivered) = (house.fate(NOBODY), house.fate("bob@far.test"));
    assert_eq!((&failed.json["action"], &delivered.json["action"]), (&"failed".into(), &"delivered".into()));
    let words = "550 5.1.1 <nobody@far.test>: Recipient address rejected: nobody of this name";
    assert!(failed.words.contains(words), "{}", failed.words);
    assert!(crlf(&peer.mail(1)[0]).ends_with(&hard().1));
    // Without its folds.
    let report = house.inbox().replace("\n ", " ");
    assert!(
        report.contains(&format!("Final-Recipient: rfc822; {NOBODY}"))
            && report.contains("Status: 5.1.1")
            && report.contains(words)
            && report.matches("Final-Recipient: ").count() == 1,
        "{report}"
    );
}

/// The records of far.test, with a TLSA record for the peer.
fn promised(peer: &Peer, key: &[u8]) -> String {
    let hex: String = key.iter().map(|octet| format!("{octet:02x}")).collect();
    format!(
        "far.test. 300 IN MX 10 {NAME}.\n{NAME}. 300 IN A 127.0.0.2\n_{}._tcp.{NAME}. 300 IN TLSA 3 1 1 {hex}\n",
        peer.at.port()
    )
}

/// The hash of the key in a peer's certificate.
fn key_hash(peer: &Peer) -> Vec<u8> {
    let pem = std::fs::read(peer.certificate()).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
    let certificate = pem.parse_x509().unwrap();
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.public_key().raw).as_ref().to_vec()
}

/// Sends to a peer whose domain's DNS, signed by Knot, promises a key.
fn by_dane(root: &Path, kind: Kind, key: impl Fn(&Peer) -> Vec<u8>) -> (Peer, Knot, House) {
    let peer = Peer::start(root, kind);
    let knot = Knot::start(root, &promised(&peer, &key(&peer)));
    let house = House::start(knot.at, &knot.anchor, peer.at.port(), "");
    house.send(&["bob@far.test"], &hard().0);
    (peer, knot, house)
}

#[test]
fn postfix_has_the_key_that_its_zone_signed_by_knot_tells_of() {
    let Some(root) = peer::unpacked() else { return };
    let (peer, _knot, house) = by_dane(&root, Kind::Postfix, key_hash);
    let fate = house.fate("bob@far.test");
    assert!(fate.words.contains("certificate as its DNS says (DANE)"), "{}", fate.words);
    peer.mail(1);
}

#[test]
fn postfix_with_another_key_than_its_zone_tells_of_gets_nothing() {
    let Some(root) = peer::unpacked() else { return };
    let (peer, _knot, house) = by_dane(&root, Kind::Postfix, |_| vec![0; 32]);
    let (why, words) = house.put_off();
    assert!(
        why.contains("not the one that its TLSA records tell of")
            && words.contains(&format!("{NAME}: {why}"))
            && words.contains("next try in"),
        "{words}"
    );
    let log = house.log();
    assert!(log.contains(&format!("\"host\":\"{NAME}\",\"why\":\"{why}\"")), "the log says of whom: {log}");
    let said = peer.said();
    assert!(said.contains("connect from") && !said.contains("client="), "nothing was sent to it: {said}");
    assert_eq!(peer.delivered(), 0);
}

#[test]
fn opensmtpd_whose_tls_is_broken_gets_nothing_where_its_zone_promises_tls() {
    let Some(root) = peer::unpacked() else { return };
    let (peer, _knot, house) = by_dane(&root, Kind::OpenSmtpd, key_hash);
    let (why, words) = house.put_off();
    assert!(why.contains("TLS: ") && words.contains(&why), "{words}");
    assert_eq!(peer.delivered(), 0);
}

/// A server that sends everything by a relay, with a password.
fn by_relay(peer: &Peer, dns: SocketAddr, anchor: &Path, dir: &Path, password: &str) -> House {
    let file = dir.join("password");
    std::fs::write(&file, format!("{password}\n")).unwrap();
    let relay = format!(
        "outbound.authorities = \"{}\"\nrelay = {{ host = \"{NAME}\", port = {}, user = \"{}\", password_file = \"{}\" }}\n",
        peer.certificate().display(),
        peer.at.port(),
        LOGIN.0,
        file.display()
    );
    let house = House::start(dns, anchor, 9, &relay);
    house.send(&["bob@elsewhere.test"], &hard().0);
    house
}

#[test]
fn postfix_as_a_relay_takes_logins() {
    let Some(root) = peer::unpacked() else { return };
    for (offered, taken) in
        [("PLAIN", "PLAIN"), ("LOGIN", "LOGIN"), ("PLAIN LOGIN SCRAM-SHA-256", "SCRAM-SHA-256")]
    {
        let (peer, directory) =
            (Peer::start(&root, Kind::PostfixRelay(offered)), tempfile::tempdir().unwrap());
        let (_runtime, dns, anchor) = world(directory.path());
        let house = by_relay(&peer, dns, &anchor, directory.path(), LOGIN.1);
        let fate = house.fate("bob@elsewhere.test");
        assert!(fate.words.contains("certificate verified"), "{}", fate.words);
        let said = peer.said();
        assert!(
            said.contains(&format!("sasl_method={taken}, sasl_username={}", LOGIN.0)),
            "{offered}: {said}"
        );
        assert!(crlf(&peer.mail(1)[0]).ends_with(&hard().1), "{offered}");
    }
}

#[test]
fn a_relay_that_refuses_the_password_is_told_of_and_mail_waits() {
    let Some(root) = peer::unpacked() else { return };
    for offered in ["PLAIN", "SCRAM-SHA-256"] {
        let (peer, directory) =
            (Peer::start(&root, Kind::PostfixRelay(offered)), tempfile::tempdir().unwrap());
        let (_runtime, dns, anchor) = world(directory.path());
        let house = by_relay(&peer, dns, &anchor, directory.path(), "not it");
        let (why, words) = house.put_off();
        assert!(why.contains("password_file"), "{offered}: {words}");
        assert!(!words.contains("not it") && !house.log().contains("not it"), "{words}");
        assert_eq!(peer.delivered(), 0);
    }
}
