//! Mail with addresses and headers outside ASCII (RFC 6531, RFC 6532): who gets it, in whose name it may travel, its trace,
//! and what it needs of the hosts to come.

use super::*;
use crate::flow::queue::Entry;

const JOERG: &str = "j\u{f6}rg@home.test";

impl Home {
    /// One where j\u{f6}rg is alice, too, and b\u{fc}cher.test is at home.
    async fn abroad() -> Home {
        let home = Home::new().await;
        home.commit(Intent::AddDomain { name: "xn--bcher-kva.test".into() }).await;
        for (address, to) in [
            (JOERG, "alice@home.test"),
            ("info@xn--bcher-kva.test", "alice@home.test"),
            ("out@home.test", "j\u{f6}rg@far.test"),
            ("h\u{f6}r@home.test", "bob@far.test"),
        ] {
            home.commit(Intent::AddAlias { address: address.into(), to: vec![to.into()] }).await;
        }
        home
    }

    /// Sends a message, with SMTPUTF8 or without.
    async fn send_as(
        &self,
        smtputf8: bool,
        account: Option<u32>,
        from: &str,
        to: &str,
        message: &str,
    ) -> Result<usize, Error> {
        let mut intake = Intake::new(&self.house, account.is_some(), smtputf8);
        for piece in message.replace('\n', "\r\n").as_bytes().chunks(7) {
            intake.push(piece);
        }
        let origin = Origin {
            peer: "2001:db8::1".parse().unwrap(),
            helo: "client.test".into(),
            extended: true,
            tls: None,
            account: account.map(|n| self.account(n)),
        };
        let path = |text: &str| format!("<{text}>").into_bytes();
        let to = to.split(' ').map(|to| ForwardPath::parse(&path(to)).unwrap()).collect();
        let from = ReversePath::parse(&path(from)).unwrap();
        let envelope = Envelope { smtputf8, ..Envelope::plain(from, to) };
        Ok(self.house.take(intake, origin, envelope).await?.copies)
    }

    /// The newest message that waits, and its octets.
    fn waits(&self) -> (Entry, String) {
        let queued = line::messages(&self.house.store, None, 100).unwrap().pop().unwrap();
        let octets = self.house.store.content(queued.content).unwrap().to_vec().unwrap();
        (queued.entry, String::from_utf8(octets).unwrap())
    }
}

#[tokio::test]
async fn letters_outside_ascii_lead_to_accounts_however_they_are_written() {
    let home = Home::abroad().await;
    for path in [
        "j\u{f6}rg@home.test",
        "J\u{d6}RG@Home.test",
        "jo\u{308}rg@home.test",
        "\"j\u{f6}rg\"@home.test",
        "j\u{f6}rg+lists@home.test",
        "info@b\u{fc}cher.test",
        "Info@xn--bcher-kva.test",
    ] {
        assert_eq!(home.route(path), Ok(vec![ALICE]), "{path}");
    }
    assert_eq!(home.route("jorg@home.test"), Err(Error::NoSuchUser));
    assert_eq!(home.route("j\u{f6}rg@far.test"), Err(Error::NotLocal));
}

#[tokio::test]
async fn an_alias_keeps_the_letters_of_an_address_elsewhere_until_that_is_here() {
    let home = Home::abroad().await;
    let to = vec!["\u{39d}\u{3af}\u{3ba}\u{3bf}\u{3c2}@greek.test".to_owned()];
    home.commit(Intent::AddAlias { address: "nick@home.test".into(), to }).await;
    let sent = home.send_as(true, None, "x@far.test", "nick@home.test", "From: x@far.test\n\nx\n").await;
    assert_eq!(sent, Ok(0));
    let id = line::messages(&home.house.store, None, 100).unwrap().pop().unwrap().id;
    let recipients = line::recipients(&home.house.store, &id).unwrap();
    assert_eq!(recipients[0].1.to, "\u{39d}\u{3af}\u{3ba}\u{3bf}\u{3c2}@greek.test");
    home.commit(Intent::AddDomain { name: "greek.test".into() }).await;
    let address = "\u{3bd}\u{3af}\u{3ba}\u{3bf}\u{3c3}@greek.test".into();
    home.commit(Intent::AddAlias { address, to: vec!["alice@home.test".into()] }).await;
    assert_eq!(home.route("nick@home.test"), Ok(vec![ALICE]));
}

#[tokio::test]
async fn nobody_submits_in_the_name_of_another_with_letters_outside_ascii() {
    let home = Home::abroad().await;
    let not_yours = |address: &str| Err(Error::NotYours(address.into()));
    for (account, author, outcome) in [
        (ALICE, JOERG, Ok(1)),
        (ALICE, "J\u{d6}RG <jo\u{308}rg+x@home.test>", Ok(1)),
        (ALICE, "\u{7528}\u{6237} <info@b\u{fc}cher.test>", Ok(1)),
        (ALICE, "=?utf-8?q?J=C3=B6rg?= <info@xn--bcher-kva.test>", Ok(1)),
        (BOB, JOERG, not_yours(JOERG)),
        (BOB, "bob@home.test, \"bob@home.test\" <jo\u{308}rg@home.test>", not_yours("jo\u{308}rg@home.test")),
        (BOB, "info@b\u{fc}cher.test", not_yours("info@b\u{fc}cher.test")),
        (BOB, "bob@home.test, j\u{f6}rg\u{200b}@home.test", not_yours("j\u{f6}rg\u{200b}@home.test")),
    ] {
        // Whether or not it says that there are such.
        for smtputf8 in [true, false] {
            let message = format!("From: {author}\n\nhello\n");
            let done =
                home.send_as(smtputf8, Some(account), "alice@home.test", "carol@home.test", &message).await;
            assert_eq!(done, outcome, "{author}");
        }
    }
    assert_eq!(home.count(CAROL), 8);
}

#[tokio::test]
async fn trace_of_what_came_with_smtputf8() {
    let home = Home::abroad().await;
    let message = "From: \u{e4}nn@far.test\nSubject: gr\u{fc}n\n\ngr\u{fc}n\n";
    assert_eq!(home.send_as(true, None, "\u{e4}nn@far.test", JOERG, message).await, Ok(1));
    assert_eq!(
        blanked(&home.newest(ALICE)),
        format!(
            "Return-Path: <\u{e4}nn@far.test>\nDelivered-To: {JOERG}\n\
             Received: from client.test ([IPv6:2001:db8::1])\n\tby mail.home.test (Penfold) with UTF8SMTP\n\tid ID\n\
             \tfor <{JOERG}>;\n\tDATE\n{message}"
        )
    );
    // Without it there is nothing of the kind, and the octets are as they came.
    assert_eq!(home.send_as(false, None, "ann@far.test", "alice@home.test", message).await, Ok(1));
    let got = home.newest(ALICE);
    assert!(got.contains(" with ESMTP\n") && got.ends_with(message), "{got}");
}

#[tokio::test]
async fn what_hosts_to_come_must_offer() {
    let home = Home::abroad().await;
    let ascii = "From: alice@home.test\nSubject: x\n\nhello\n";
    let body = "From: alice@home.test\nSubject: x\n\ngr\u{fc}n\n";
    let header = "From: alice@home.test\nSubject: gr\u{fc}n\n\nhello\n";
    let part = "From: alice@home.test\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\
                Content-Disposition: attachment; filename=gr\u{fc}n\n\nx\n--b--\n";
    let quoted = "From: alice@home.test\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nSubject: gr\u{fc}n\n--c\n\
                  Subject: gr\u{fc}n\n\n--b--\n";
    let inner = "From: alice@home.test\nContent-Type: message/rfc822\n\nSubject: gr\u{fc}n\n\nx\n";
    let global = "From: alice@home.test\nContent-Type: message/global\n\nSubject: gr\u{fc}n\n\nx\n";
    for (smtputf8, from, message, utf8, eight_bit) in [
        (false, "alice@home.test", ascii, false, false),
        // RFC 6531 s.3.6: it was said, and nothing needs it.
        (true, "alice@home.test", ascii, false, false),
        (true, "alice@home.test", body, false, true),
        (true, "alice@home.test", quoted, false, true),
        (true, "alice@home.test", header, true, true),
        (true, "alice@home.test", part, true, true),
        (true, "alice@home.test", inner, true, true),
        (true, "alice@home.test", global, true, true),
        (true, JOERG, ascii, true, false),
        // As clients do that know nothing of it: it goes as it came.
        (false, "alice@home.test", header, false, true),
        (false, "alice@home.test", part, false, true),
    ] {
        assert_eq!(home.send_as(smtputf8, Some(ALICE), from, "bob@far.test", message).await, Ok(0));
        let (entry, text) = home.waits();
        assert_eq!((entry.utf8, entry.eight_bit), (utf8, eight_bit), "{smtputf8} {from} {message}");
        assert_eq!(entry.from, format!("<{from}>"));
        let with = if smtputf8 { " with UTF8SMTPA\r\n" } else { " with ESMTPA\r\n" };
        assert!(text.contains(with), "{text}");
    }
}

#[tokio::test]
async fn a_message_that_needs_no_smtputf8_is_given_no_trace_that_does() {
    let home = Home::abroad().await;
    let message = "From: x@far.test\n\nhello\n";
    // Both ways through an alias: in by a name outside ASCII, and out to one.
    for (to, remote) in [("h\u{f6}r@home.test", "bob@far.test"), ("out@home.test", "j\u{f6}rg@far.test")] {
        assert_eq!(home.send_as(true, None, "x@far.test", to, message).await, Ok(0));
        let (entry, text) = home.waits();
        assert!(!entry.utf8 && !entry.eight_bit && text.is_ascii(), "{entry:?} {text}");
        assert_eq!(text.contains("\tfor <"), to.is_ascii(), "{text}");
        let id = line::messages(&home.house.store, None, 100).unwrap().pop().unwrap().id;
        assert_eq!(line::recipients(&home.house.store, &id).unwrap()[0].1.to, remote);
    }
    // What needs it anyhow has all of it.
    assert_eq!(home.send_as(true, None, "\u{e4}@far.test", "h\u{f6}r@home.test", message).await, Ok(0));
    let (entry, text) = home.waits();
    assert!(
        entry.utf8 && entry.eight_bit && text.contains("\tfor <h\u{f6}r@home.test>;\r\n"),
        "{entry:?} {text}"
    );
}

#[tokio::test]
async fn a_domain_outside_ascii_signs_as_what_dns_has() {
    let home = Home::abroad().await;
    for key in
        crate::flow::dkim::Key::pair("xn--bcher-kva.test", &[], crate::flow::dkim::State::Active, 0).unwrap()
    {
        home.commit(key.write()).await;
    }
    home.house.keyring.changed("xn--bcher-kva.test");
    let message = "From: =?utf-8?q?B=C3=BCcher?= <info@b\u{fc}cher.test>\nMessage-ID: <\u{fc}@b\u{fc}cher.test>\n\nhello\n";
    assert_eq!(
        home.send_as(true, Some(ALICE), "info@b\u{fc}cher.test", "bob@far.test", message).await,
        Ok(0)
    );
    let (entry, text) = home.waits();
    assert_eq!(entry.from, "<info@xn--bcher-kva.test>");
    assert_eq!(text.matches("\r\n\td=xn--bcher-kva.test; s=").count(), 2, "{text}");
    assert!(text.contains("Message-ID: <\u{fc}@b\u{fc}cher.test>\r\n"), "{text}");
}
