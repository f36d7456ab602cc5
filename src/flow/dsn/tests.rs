//! Reports as they are sent, read by a parser of messages. Python's is asked in `tests/interop`.

use mail_parser::{Message, MessageParser, MimeHeaders};

use super::*;

const HEADER: &[u8] =
    b"Received: x\r\nFrom: Ann <ann@b.test>\r\nTo: <bob@far.test>\r\nSubject: =?utf-8?q?Caf=C3=A9?=\r\n\
    Message-ID: <m1@b.test>\r\n";

fn at(unix: i64) -> Date {
    Date { unix, zone_minutes: 0 }
}

fn recipient(address: &str, action: Action, reply: &str) -> Recipient {
    let reply = Reply::parse(reply.as_bytes()).unwrap();
    Recipient {
        address: address.into(),
        orcpt: None,
        action,
        status: Status::of(&reply),
        remote: Some("mx.far.test".into()),
        cause: Some(Cause::Reply(reply)),
        tried: Some(at(1_795_900_000)),
    }
}

fn report<'a>(recipients: &'a [Recipient]) -> Report<'a> {
    Report {
        hostname: "mail.b.test",
        id: "r1.x@mail.b.test",
        now: at(1_795_900_060),
        to: "ann@b.test",
        arrived: at(1_795_640_000),
        envid: None,
        ret: None,
        away: false,
        original: Original { header: HEADER, size: 1_000, eight_bit: false, smtputf8: false },
        recipients,
    }
}

/// As it is sent.
fn sent(composed: &Composed, original: &[u8]) -> Vec<u8> {
    let between = if composed.with_original { original } else { b"" };
    [&composed.head, between, &composed.tail].concat()
}

fn text(composed: &Composed) -> String {
    String::from_utf8(composed.head.clone()).unwrap()
}

fn parsed(octets: &[u8]) -> Message<'_> {
    MessageParser::new().parse(octets).unwrap()
}

const FAILED: Action = Action::Failed { expired: false };

#[test]
fn a_failure_octet_for_octet() {
    let mut bob = recipient("bob@far.test", FAILED, "550 5.1.1 <bob@far.test>: no such user");
    bob.orcpt = Some(OriginalRecipient::parse(b"rfc822;robert@far.test").unwrap());
    let envid = EnvId::parse(b"QQ+2B1").unwrap();
    let recipients = [bob];
    let composed = compose(&Report { envid: Some(&envid), ..report(&recipients) });
    let expected = "\
Date: Sat, 28 Nov 2026 21:07:40 +0000
From: Mail Delivery System <postmaster@mail.b.test>
To: <ann@b.test>
Subject: Your message was not delivered: bob@far.test
Message-ID: <r1.x@mail.b.test>
In-Reply-To: <m1@b.test>
References: <m1@b.test>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
 boundary=\"=_r1_x_mail_b_test\"

--=_r1_x_mail_b_test
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

This is the mail server mail.b.test.

Your message \"Caf=C3=A9\" of Wed, 25 Nov 2026 20:53:20 +0000 could not be
delivered to:

  bob@far.test
    (written to robert@far.test)
    The mailbox does not exist.
    Check the address for typing mistakes. If it is right, ask the
    recipient for another one.
    The server mx.far.test said:
      550 5.1.1 <bob@far.test>: no such user

The header of your message comes with this report, behind the same once
more in the words of mail servers.

--=_r1_x_mail_b_test
Content-Type: message/delivery-status

Original-Envelope-Id: QQ+1
Reporting-MTA: dns; mail.b.test
Arrival-Date: Wed, 25 Nov 2026 20:53:20 +0000

Original-Recipient: rfc822;robert@far.test
Final-Recipient: rfc822; bob@far.test
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.far.test
Diagnostic-Code: smtp; 550 5.1.1 <bob@far.test>: no such user
Last-Attempt-Date: Sat, 28 Nov 2026 21:06:40 +0000

--=_r1_x_mail_b_test
Content-Type: text/rfc822-headers

";
    assert_eq!(
        text(&composed).replace("\r\n", "\n"),
        expected.to_owned() + &String::from_utf8_lossy(HEADER).replace("\r\n", "\n")
    );
    assert_eq!(composed.tail, b"\r\n--=_r1_x_mail_b_test--\r\n");
    assert!(!composed.with_original && !composed.eight_bit && !composed.smtputf8);
    assert!(text(&composed).is_ascii() && !text(&composed).replace("\r\n", "").contains(['\r', '\n']));
}

#[test]
fn each_action_has_its_words_and_fields() {
    let recipients = [
        recipient("a@far.test", Action::Failed { expired: true }, "450 4.2.1 not now"),
        recipient("b@far.test", Action::Delayed { until: at(1_796_000_000) }, "421 4.3.2 later"),
        recipient("c@far.test", Action::Relayed, "250 2.0.0 taken"),
        recipient("d@far.test", Action::Delivered, "250 2.1.5 there"),
    ];
    let composed = compose(&report(&recipients));
    let octets = sent(&composed, b"");
    let message = parsed(&octets);
    assert_eq!(message.subject(), Some("Your message was not delivered"));
    let people = message.body_text(0).unwrap();
    for words in [
        "The mailbox is switched off, or takes no mail now.",
        "It was tried again and again for 3 days; now it is given up.",
        "could not be delivered yet, and is tried again.",
        "Their server takes no mail at the moment.",
        "It is tried again until Mon, 30 Nov 2026 00:53:20 +0000.",
        "was passed on to a server that tells nothing further, for:",
        "was delivered to:",
    ] {
        let squeezed = people.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeezed.contains(words), "{words}: {squeezed}");
    }
    let all = text(&composed);
    for action in ["failed", "delayed", "relayed", "delivered"] {
        assert_eq!(all.matches(&format!("\r\nAction: {action}\r\n")).count(), 1);
    }
    assert_eq!(all.matches("\r\nWill-Retry-Until: Mon, 30 Nov 2026 00:53:20 +0000\r\n").count(), 1);
    for (only, subject) in [
        (1, "Your message is delayed, and is tried again: b@far.test"),
        (2, "Your message was passed on: c@far.test"),
        (3, "Your message was delivered: d@far.test"),
    ] {
        let octets = sent(&compose(&report(&recipients[only..=only])), b"");
        assert_eq!(parsed(&octets).subject(), Some(subject));
    }
}

#[test]
fn the_original_comes_whole_only_if_asked_for_and_only_after_a_failure() {
    let original = [HEADER, b"\r\nHello.\r\n--=_not\r\n"].concat();
    let failed = [recipient("bob@far.test", FAILED, "550 no")];
    let late = [recipient("bob@far.test", Action::Delayed { until: at(0) }, "450 no")];
    let full = |recipients, size| {
        let mut report = report(recipients);
        report.ret = Some(Ret::Full);
        report.original.size = size;
        compose(&report)
    };
    assert!(!full(&late, 1_000).with_original);
    assert!(!full(&failed, limits::DSN_ORIGINAL + 1).with_original);
    assert!(!compose(&Report { ret: Some(Ret::Hdrs), ..report(&failed) }).with_original);
    let composed = full(&failed, 1_000);
    assert!(composed.with_original);
    let octets = sent(&composed, &original);
    let message = parsed(&octets);
    assert_eq!(message.parts.first().unwrap().sub_parts().map(<[_]>::len), Some(3));
    let part = message.parts.last().unwrap();
    assert!(part.is_message() && part.content_type().unwrap().subtype() == Some("rfc822"));
    assert_eq!(part.message().unwrap().message_id(), Some("m1@b.test"));
    assert_eq!(part.message().unwrap().body_text(0).unwrap(), "Hello.\r\n--=_not\r\n");
}

#[test]
fn octets_above_127_are_told_of() {
    let recipients = [recipient("bob@far.test", FAILED, "550 no")];
    let mut report = report(&recipients);
    report.original.eight_bit = true;
    assert!(!compose(&report).eight_bit, "only the body has them, and only the header comes");
    report.ret = Some(Ret::Full);
    let composed = compose(&report);
    assert!(composed.eight_bit && !composed.smtputf8);
    assert_eq!(text(&composed).matches("Content-Transfer-Encoding: 8bit\r\n").count(), 2);
    report.ret = None;
    report.original.header = b"Subject: gr\xfcn\r\n";
    let composed = compose(&report);
    assert!(
        composed.eight_bit
            && composed.head.ends_with(b"Content-Transfer-Encoding: 8bit\r\n\r\nSubject: gr\xfcn\r\n")
    );
}

#[test]
fn addresses_outside_ascii_are_written_as_the_road_back_allows() {
    let recipients = [recipient("j\u{f6}rg+x@far.test", FAILED, "550 5.6.7 n\u{f6}")];
    let composed = compose(&report(&recipients));
    assert!(!composed.smtputf8 && !composed.eight_bit && composed.head.is_ascii());
    let all = text(&composed);
    assert!(all.contains("Final-Recipient: utf-8; j\\x{F6}rg\\x{2B}x@far.test\r\n"), "{all}");
    assert!(all.contains("Diagnostic-Code: smtp; 550 5.6.7 n?\r\n"), "{all}");
    let octets = sent(&composed, b"");
    assert!(parsed(&octets).body_text(0).unwrap().contains("j\u{f6}rg+x@far.test"));

    let composed = compose(&Report { to: "\u{e4}nn@b.test", ..report(&recipients) });
    assert!(composed.smtputf8 && composed.eight_bit);
    let all = text(&composed);
    for part in [
        "To: <\u{e4}nn@b.test>\r\n",
        "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n",
        "Final-Recipient: utf-8; j\u{f6}rg+x@far.test\r\n",
        "Diagnostic-Code: smtp; 550 5.6.7 n\u{f6}\r\n",
        "Content-Type: message/global-headers\r\n",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    let mut whole = report(&recipients);
    (whole.original.smtputf8, whole.ret) = (true, Some(Ret::Full));
    assert!(text(&compose(&whole)).contains("Content-Type: message/global\r\n"));
}

#[test]
fn an_original_recipient_outside_ascii_is_told_as_it_may_stand() {
    let mut bob = recipient("bob@far.test", FAILED, "550 5.1.1 no");
    bob.orcpt = Some(OriginalRecipient::parse("utf-8;j\u{f6}rg\\x{2B}x@far.test".as_bytes()).unwrap());
    let recipients = [bob];
    let all = text(&compose(&report(&recipients)));
    assert!(all.contains("Original-Recipient: utf-8;j\\x{F6}rg\\x{2B}x@far.test\r\n"), "{all}");
    let mut global = report(&recipients);
    global.original.smtputf8 = true;
    let all = text(&compose(&global));
    assert!(all.contains("Original-Recipient: utf-8;j\u{f6}rg+x@far.test\r\n"), "{all}");
}

#[test]
fn a_report_that_leaves_for_a_sender_in_ascii_is_ascii() {
    let recipients = [recipient("j\u{f6}rg@far.test", FAILED, "550 5.6.7 n\u{f6}")];
    let header = "From: ann@b.test\r\nTo: j\u{f6}rg@far.test\r\nMessage-ID: <\u{fc}@b.test>\r\n".as_bytes();
    let mut report = report(&recipients);
    report.original = Original { header, size: 1_000, eight_bit: true, smtputf8: true };
    let here = compose(&report);
    assert!(here.smtputf8 && here.eight_bit && here.head.ends_with(header));
    assert!(text(&here).contains("\r\nIn-Reply-To: <\u{fc}@b.test>\r\n"));
    report.away = true;
    let away = compose(&report);
    assert!(
        !away.smtputf8
            && !away.eight_bit
            && away.head.is_ascii()
            && away.head.split(|&b| b == b'\n').all(|line| line.len() <= 78)
    );
    let octets = sent(&away, b"");
    let message = parsed(&octets);
    let kinds: Vec<_> =
        message.parts.iter().skip(2).map(|part| part.content_type().unwrap().subtype()).collect();
    assert_eq!(kinds, [Some("global-delivery-status"), Some("global-headers")]);
    let [status, original] = &message.parts[2..] else { panic!("{message:?}") };
    let status = String::from_utf8_lossy(status.contents());
    assert!(status.contains("Final-Recipient: utf-8; j\u{f6}rg@far.test\r\n"), "{status}");
    assert_eq!(original.contents(), header);
    // Whatever it wants back.
    report.ret = Some(Ret::Full);
    assert_eq!(compose(&report), away);
    report.away = false;
    assert!(compose(&report).with_original);
    report.away = true;
    // A sender outside ASCII can only be told where SMTPUTF8 is.
    assert!(compose(&Report { to: "\u{e4}nn@b.test", ..report.clone() }).smtputf8);
}

#[test]
fn what_others_said_cannot_break_a_report() {
    let mut bob = recipient("bob@far.test", FAILED, "554 no");
    bob.remote = Some("mx\r\nBcc: x\u{1b}[2J.test".into());
    bob.cause = Some(Cause::Found("lost\r\n\r\n--=_r0--\r\n\u{202e}".into()));
    let recipients = [bob];
    let mut report = report(&recipients);
    report.original.header = b"Subject: =?utf-8?q?a=0D=0ABcc:_y=1B?=\r\nMessage-ID: <a b>\r\nno end";
    let composed = compose(&report);
    let all = text(&composed);
    assert!(!all.contains('\u{1b}') && !all.contains("\r\nBcc") && !all.contains("\r\n--=_r0"));
    assert!(all.ends_with("\r\n"));
    let octets = sent(&composed, b"");
    assert_eq!(parsed(&octets).parts.first().unwrap().sub_parts().map(<[_]>::len), Some(3));
    assert!(all.contains("Diagnostic-Code: x-penfold; lost --=_r0--\r\n"), "{all}");
}

#[test]
fn an_administrator_is_told_of_a_limit() {
    let mut notice = LimitReached {
        hostname: "mail.b.test",
        id: "n1@mail.b.test",
        now: at(1_795_900_060),
        to: "postmaster@b.test",
        account: "ann@b.test",
        allowance: Allowance::Messages,
        limit: 500,
    };
    let octets = limit_reached(&notice);
    let message = parsed(&octets);
    assert_eq!(message.subject(), Some("An account has reached its sending limit: ann@b.test"));
    assert_eq!(message.header("Auto-Submitted").and_then(|v| v.as_text()), Some("auto-generated"));
    let text = message.body_text(0).unwrap().replace("\r\n", " ");
    assert!(text.contains("ann@b.test wanted to send more than 500 messages within a day."), "{text}");
    assert!(text.contains("`penfold account password ann@b.test`"), "{text}");
    assert!(octets.is_ascii());
    notice.allowance = Allowance::NewRecipients;
    let octets = limit_reached(&notice);
    let text = parsed(&octets).body_text(0).unwrap().replace("\r\n", " ");
    assert!(
        text.contains("wanted to write to more than 500 people that it had not written to before"),
        "{text}"
    );
}
