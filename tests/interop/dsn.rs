//! Reports of delivery as Python's `email` reads them.

use std::process::Command;

use penfold::clock::Date;
use penfold::flow::dsn::{self, Action, Cause, Original, Recipient, Report, Status};
use wire::dsn::Ret;
use wire::smtp::client::Reply;

use super::{have, run};

#[test]
fn python_reads_each_part_of_a_report() {
    if !have("python3", &["--version"], "python3") {
        return;
    }
    let header = b"From: Ann <ann@b.test>\r\nSubject: gr\xc3\xbcn\r\nMessage-ID: <m1@b.test>\r\n";
    let original = [&header[..], b"\r\nHello. gr\xc3\xbcn\r\n"].concat();
    let reply =
        Reply::parse("550-5.1.1 no such user,\r\n550 5.1.1 n\u{f6} \u{202e}\u{7}".as_bytes()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    for ret in [Ret::Hdrs, Ret::Full] {
        for to in ["ann@b.test", "\u{e4}nn@b.test"] {
            let recipient = |address: &str, action, reply: &Reply| Recipient {
                address: address.into(),
                orcpt: None,
                action,
                status: Status::of(reply),
                remote: Some("mx.far.test".into()),
                cause: Some(Cause::Reply(reply.clone())),
                tried: Some(Date { unix: 1_795_900_000, zone_minutes: 0 }),
            };
            let late = Reply::parse(b"451 later").unwrap();
            let until = Date { unix: 1_796_000_000, zone_minutes: 0 };
            let recipients = [
                recipient("bob@far.test", Action::Failed { expired: false }, &reply),
                recipient("j\u{f6}rg@far.test", Action::Delayed { until }, &late),
            ];
            let composed = dsn::compose(&Report {
                hostname: "mail.b.test",
                id: "r1@mail.b.test",
                now: Date { unix: 1_795_900_060, zone_minutes: 0 },
                to,
                arrived: Date { unix: 1_795_800_000, zone_minutes: 0 },
                envid: None,
                ret: Some(ret),
                away: false,
                original: Original { header, size: original.len() as u64, eight_bit: true, smtputf8: false },
                recipients: &recipients,
            });
            assert_eq!(composed.with_original, ret == Ret::Full);
            let between = if composed.with_original { &original[..] } else { b"" };
            let file = directory.path().join("report.eml");
            std::fs::write(&file, [&composed.head, between, &composed.tail].concat()).unwrap();
            let kind = match (ret, to.is_ascii()) {
                (Ret::Full, true) => "message/rfc822",
                (Ret::Full, false) => "message/global",
                (Ret::Hdrs, true) => "text/rfc822-headers",
                (Ret::Hdrs, false) => "message/global-headers",
            };
            let mut command = Command::new("python3");
            command.args(["-I", "-c", include_str!("dsn.py")]).arg(&file).arg(kind);
            let done = run(&mut command);
            let said = [done.stdout, done.stderr].concat();
            assert!(done.status.success(), "{ret} to {to}: {}", String::from_utf8_lossy(&said));
        }
    }
}
