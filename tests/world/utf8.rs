//! Addresses and headers outside ASCII (RFC 6531): to servers that offer SMTPUTF8, to those that do not, and to people here.

use crate::house::{House, Plan, Serving};
use crate::mx::Mx;

const JOERG: &str = "j\u{f6}rg@home.test";
/// What a server offers that knows of it.
const OFFERS: &str = "EHLO 250-mx.test|250-PIPELINING|250-8BITMIME|250-DSN|250-SMTPUTF8|250 SIZE 50000000";

/// A world with two domains, of which `far.test` takes addresses outside ASCII and `old.test` none; j\u{f6}rg has an account.
fn world() -> (House, Mx, Mx) {
    let house = Plan::new().domain("far.test", 1).domain("old.test", 2).domain("other.test", 3).make();
    house.account(JOERG);
    let (far, old) = (house.mx(1, OFFERS), house.mx(2, ""));
    (house, far, old)
}

/// What was said to a server in its transactions.
fn said(mx: &Mx) -> Vec<String> {
    let seen = mx.seen();
    let of = |line: &&(usize, String)| line.1.starts_with("MAIL") || line.1.starts_with("RCPT");
    let without_size =
        |line: &str| line.split(' ').filter(|word| !word.starts_with("SIZE=")).collect::<Vec<_>>().join(" ");
    seen.lines.iter().filter(of).map(|(_, line)| without_size(line)).collect()
}

#[track_caller]
fn send(server: &Serving, from: &str, to: &[&str], subject: &str, mail: &str, body: &str) {
    let reply = server.submission_as(from).try_send(subject, to, mail, "", body).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn letters_outside_ascii_go_to_a_server_that_offers_smtputf8_as_they_are() {
    let (house, far, _old) = world();
    let server = house.serve();
    let to = ["b\u{e4}r@far.test", "\u{7528}\u{6237}@far.test", "bob@far.test"];
    send(&server, JOERG, &to, "gr\u{fc}n", " SMTPUTF8 BODY=8BITMIME", "Es regnet \u{fc}berall.\r\n");
    let seen = server.wait(&far, |seen| seen.mail.len() == 1);
    let text = String::from_utf8(seen.mail[0].octets.clone()).unwrap();
    assert_eq!(seen.mail[0].to.len(), 3);
    for part in [
        " with UTF8SMTPA\r\n",
        "\r\nFrom: <j\u{f6}rg@home.test>\r\n",
        "\r\nSubject: gr\u{fc}n\r\n",
        "\r\nMessage-ID: <gr\u{fc}n@home.test>\r\n",
        "\r\n\r\nEs regnet \u{fc}berall.\r\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.matches("DKIM-Signature: ").count(), 2, "{text}");
    drop(seen);
    assert_eq!(
        said(&far),
        [
            "MAIL FROM:<j\u{f6}rg@home.test> BODY=8BITMIME SMTPUTF8",
            "RCPT TO:<b\u{e4}r@far.test>",
            "RCPT TO:<\u{7528}\u{6237}@far.test>",
            "RCPT TO:<bob@far.test>"
        ]
    );
    server.stop();
    house.is_empty();
}

#[test]
fn what_needs_smtputf8_comes_back_from_a_server_without_it_and_all_else_goes() {
    let (house, _far, old) = world();
    let server = house.serve();
    // Only the recipient outside ASCII.
    send(&server, "ann@home.test", &["bob@old.test", "b\u{e4}r@old.test"], "m1", " SMTPUTF8", "x\r\n");
    // It was said, and nothing needs it (RFC 6531 s.3.6); nor does a header in octets that nobody said anything of.
    send(&server, "ann@home.test", &["eve@old.test"], "m2", " SMTPUTF8 BODY=8BITMIME", "gr\u{fc}n\r\n");
    send(&server, "ann@home.test", &["dan@old.test"], "gr\u{fc}n", "", "x\r\n");
    // The header does.
    send(&server, "ann@home.test", &["fay@old.test"], "gr\u{fc}n", " SMTPUTF8", "x\r\n");
    let reports = server.reports(2);
    let of = |to: &str| reports.iter().find(|report| report.text.contains(to)).unwrap();
    let address = of("b\\x{E4}r@old.test");
    address.says(
        "b\\x{E4}r@old.test",
        "failed",
        "5.6.7",
        &["does not know addresses with letters outside ASCII"],
    );
    assert_eq!(address.recipients.len(), 1);
    let header = of("fay@old.test");
    header.says("fay@old.test", "failed", "5.6.9", &["takes only plain letters in addresses, names and"]);
    assert!(header.text.contains("Content-Type: message/global-headers\r\n"), "{}", header.text);
    assert!(header.text.contains("\r\nSubject: gr\u{fc}n\r\n"), "{}", header.text);
    let seen = server.wait(&old, |seen| seen.mail.len() == 3);
    let to: Vec<_> = seen.mail.iter().map(|mail| mail.to.join(" ")).collect();
    for name in ["<bob@old.test>", "<eve@old.test>", "<dan@old.test>"] {
        assert!(to.contains(&name.to_owned()), "{to:?}");
    }
    drop(seen);
    server.stop();
    assert!(said(&old).iter().all(|line| line.is_ascii() && !line.contains("SMTPUTF8")), "{:?}", said(&old));
    house.is_empty();
}

#[test]
fn a_sender_outside_ascii_is_told_in_utf8() {
    let (house, far, _old) = world();
    let server = house.serve();
    let mut sender = server.submission_as(JOERG);
    let (mail, rcpt) = (" SMTPUTF8 RET=HDRS", " NOTIFY=FAILURE ORCPT=utf-8;\u{fc}\\x{2B}x@home.test");
    let reply = sender.try_send("m", &["b\u{e4}r@old.test"], mail, rcpt, "x\r\n").unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let [report] = &server.inbox(JOERG, 1)[..] else { panic!() };
    for part in [
        "Return-Path: <>\r\nDelivered-To: j\u{f6}rg@home.test\r\n",
        "\r\nTo: <j\u{f6}rg@home.test>\r\n",
        "\r\nContent-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n",
        "\r\nOriginal-Recipient: utf-8;\u{fc}+x@home.test\r\n",
        "\r\nFinal-Recipient: utf-8; b\u{e4}r@old.test\r\n",
        "\r\nStatus: 5.6.7\r\n",
        "\r\nContent-Type: message/global-headers\r\n",
        "\r\nFrom: <j\u{f6}rg@home.test>\r\n",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    // Where it goes on the original recipient goes with it, as it may stand there.
    for (to, mail) in [("bob@far.test", ""), ("b\u{e4}r@far.test", " SMTPUTF8")] {
        let rcpt = " ORCPT=utf-8;\\x{FC}@home.test";
        let reply = server.submission().try_send("m", &[to], mail, rcpt, "x\r\n").unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    }
    drop(server.wait(&far, |seen| seen.mail.len() == 2));
    let all = said(&far);
    assert!(all.contains(&"RCPT TO:<bob@far.test> ORCPT=utf-8;\\x{FC}@home.test".to_owned()), "{all:?}");
    assert!(all.contains(&"RCPT TO:<b\u{e4}r@far.test> ORCPT=utf-8;\u{fc}@home.test".to_owned()), "{all:?}");
    server.stop();
    house.is_empty();
}

#[test]
fn mail_from_other_servers_comes_to_people_with_letters_outside_ascii() {
    let (house, _far, _old) = world();
    let server = house.serve();
    let mut other = server.port_25();
    let refused = other.try_send("m", &["jo\u{308}rg@home.test"], "", "", "x\r\n").unwrap();
    assert_eq!(refused, "553 5.6.7 an address outside ASCII needs SMTPUTF8 with MAIL");
    // However it is written.
    let mut other = server.port_25();
    let reply = other.try_send("gr\u{fc}n", &["JO\u{308}RG@home.test"], " SMTPUTF8", "", "x\r\n").unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let [text] = &server.inbox(JOERG, 1)[..] else { panic!() };
    assert!(
        text.starts_with("Return-Path: <stranger@other.test>\r\nDelivered-To: JO\u{308}RG@home.test\r\n")
            && text.contains(" with UTF8SMTP\r\n")
            && text.contains("\r\nSubject: gr\u{fc}n\r\n"),
        "{text}"
    );
    server.stop();
    house.is_empty();
}

#[test]
fn who_is_told_at_another_host_is_told_in_ascii() {
    let (house, _far, _old) = world();
    house.command(&["alias", "add", "away@home.test", "b\u{e4}r@old.test"], "");
    // It knows neither SMTPUTF8 nor 8BITMIME.
    let other = house.mx(3, "EHLO 250 mx.test");
    let server = house.serve();
    let reply =
        server.port_25().try_send("gr\u{fc}n", &["away@home.test"], " SMTPUTF8", "", "x\r\n").unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let seen = server.wait(&other, |seen| seen.mail.len() == 1);
    let octets = &seen.mail[0].octets;
    assert!(octets.is_ascii());
    let report = mail_parser::MessageParser::new().parse(octets).unwrap();
    let kinds = ["global-delivery-status", "global-headers"];
    for (part, (kind, says)) in report.parts[2..].iter().zip(
        kinds.iter().zip(["Final-Recipient: utf-8; b\u{e4}r@old.test\r\n", "\r\nSubject: gr\u{fc}n\r\n"]),
    ) {
        assert_eq!(mail_parser::MimeHeaders::content_type(part).unwrap().subtype(), Some(*kind));
        let text = String::from_utf8_lossy(part.contents()).into_owned();
        assert!(text.contains(says), "{text}");
    }
    drop(seen);
    server.stop();
    house.is_empty();
}
