//! What other servers reply, at each step of a transaction.

use std::collections::BTreeSet;

use crate::house::{House, Plan, Serving};
use crate::mx::Mx;

const BOB: &str = "bob@far.test";

fn plan() -> Plan {
    Plan::new().domain("far.test", 1)
}

/// A world with a domain for each script: `d0.test`, `d1.test`...
fn many(scripts: &[String]) -> (House, Vec<Mx>) {
    let numbers = 0..u8::try_from(scripts.len()).unwrap();
    let plan = numbers.clone().fold(Plan::new(), |plan, n| plan.domain(&format!("d{n}.test"), n + 1));
    let house = plan.make();
    let hosts = numbers.zip(scripts).map(|(n, script)| house.mx(n + 1, script)).collect();
    (house, hosts)
}

/// One message to each of them.
fn one_each(server: &Serving, hosts: &[Mx]) {
    let mut sender = server.submission();
    for n in 0..hosts.len() {
        sender.send(&format!("m{n}"), &[&format!("bob@d{n}.test")]);
    }
}

/// With all that servers offer, and with as little as there may be.
fn offering(steps: &[&str]) -> Vec<String> {
    let plain = steps.iter().map(|step| (*step).to_owned());
    let little = || steps.iter().filter(|step| !step.starts_with("EHLO"));
    let hello = little().map(|step| format!("EHLO 502 5.5.1 what?\n{step}"));
    plain.chain(little().map(|step| format!("EHLO 250 mx.test\n{step}"))).chain(hello).collect()
}

#[test]
fn what_is_sent_arrives_as_it_was_signed_and_once() {
    let house = plan().make();
    let mx = house.mx(1, "");
    let server = house.serve();
    server.submission().send("one", &[BOB]);
    let seen = server.wait(&mx, |seen| seen.lines.iter().any(|(_, line)| line == "QUIT"));
    let [mail] = &seen.mail[..] else { panic!("{seen:?}") };
    assert_eq!(
        (mail.from.split(' ').next(), mail.to[0].as_str()),
        (Some("<ann@home.test>"), "<bob@far.test>")
    );
    let text = String::from_utf8_lossy(&mail.octets);
    for needle in ["DKIM-Signature: ", "Received: ", "Subject: one\r\n", "\r\n\r\nIt rains.\r\n"] {
        assert!(text.contains(needle), "{needle} is missing: {text}");
    }
    drop(seen);
    server.stop();
    house.is_empty();
}

#[test]
fn what_is_put_off_at_any_step_is_tried_again_and_arrives_once() {
    let scripts = offering(&[
        "CONNECT 421 4.3.2 later / 220 ok",
        "CONNECT 450 4.3.2 later / 220 ok",
        "CONNECT 554 5.3.2 not now / 220 ok",
        "CONNECT nonsense / 220 ok",
        "CONNECT close / 220 ok",
        "CONNECT reset / 220 ok",
        "EHLO 421 4.3.2 later / 250 ok",
        "EHLO close / 250 ok",
        "EHLO 250-ok|251 ok / 250 ok",
        "MAIL 451 4.3.0 later / 250 ok",
        "MAIL 421 4.3.0 later / 250 ok",
        "MAIL close / 250 ok",
        "MAIL 99 bottles / 250 ok",
        "RCPT 450 4.2.1 grey / 250 ok",
        "RCPT 421 4.2.1 grey / 250 ok",
        "RCPT reset / 250 ok",
        "DATA 451 4.3.0 later / 354 ok",
        "DATA 421 4.3.0 later / 354 ok",
        "DATA close / 354 ok",
        "DOT 451 4.3.0 later / 250 ok",
        "DOT 421 4.3.0 later / 250 ok",
        "DOT 452 4.3.1 full / 451 4.3.0 later / 250 ok",
        "QUIT 500 stay",
        "QUIT close",
    ]);
    let (house, hosts) = many(&scripts);
    let server = house.serve();
    one_each(&server, &hosts);
    for mx in &hosts {
        drop(server.wait(mx, |seen| !seen.mail.is_empty()));
    }
    server.stop();
    for (mx, script) in hosts.iter().zip(&scripts) {
        let seen = mx.seen();
        assert!(seen.mail.len() == 1 && seen.mail[0].to.len() == 1, "{script}: {seen:?}");
    }
    house.is_empty();
}

#[test]
fn what_is_refused_at_any_step_comes_back_with_the_code_and_the_words() {
    let steps = [
        ("MAIL 550 5.7.1 we do not know you", "5.7.1"),
        ("MAIL 552 5.3.4 we do not know you", "5.3.4"),
        ("RCPT 550 5.1.1 we do not know you", "5.1.1"),
        ("RCPT 553 we do not know you", "5.1.3"),
        ("DATA 554 5.7.1 we do not know you", "5.7.1"),
        ("DOT 554 5.6.0 we do not know you", "5.6.0"),
        ("DOT 554-5.6.0 we do|554 5.6.0 not know you", "5.6.0"),
        ("RCPT 550-we do not know you|550 ", "5.0.0"),
    ];
    let scripts = offering(&steps.map(|(step, _)| step));
    let (house, hosts) = many(&scripts);
    let server = house.serve();
    one_each(&server, &hosts);
    for report in &server.reports(hosts.len()) {
        let to = report.only();
        let n: usize = to.trim_start_matches("bob@d").trim_end_matches(".test").parse().unwrap();
        let (step, status) = steps[n % steps.len()];
        report.says(&to, "failed", status, &["know you", &format!("m{n}")]);
        let said = report.field(&to, "diagnostic-code");
        assert!(said.starts_with("smtp; 55") && step.contains(&said[6..9]), "{step}: {}", report.text);
        assert_eq!(report.field(&to, "remote-mta"), format!("dns; mx.d{n}.test"));
    }
    server.stop();
    for (mx, script) in hosts.iter().zip(&scripts) {
        assert!(mx.seen().mail.is_empty(), "{script}: {:?}", mx.seen());
    }
    house.is_empty();
}

#[test]
fn some_recipients_are_refused_some_put_off_and_some_get_it_once() {
    let house = plan().make();
    let mx = house.mx(
        1,
        "RCPT bad@far.test 550 5.1.1 no bad here\nRCPT slow@far.test 450 4.2.1 slow / 451 4.2.1 slow / 250 ok",
    );
    let server = house.serve();
    server.submission().send("one", &["a@far.test", "bad@far.test", "slow@far.test", "b@far.test"]);
    let [report] = &server.reports(1)[..] else { panic!() };
    report.says("bad@far.test", "failed", "5.1.1", &["no bad here"]);
    assert_eq!(report.recipients.len(), 1);
    let seen = server.wait(&mx, |seen| seen.mail.len() > 1);
    let to: Vec<_> = seen.mail.iter().map(|mail| mail.to.join(" ")).collect();
    assert_eq!(to, ["<a@far.test> <b@far.test>", "<slow@far.test>"]);
    drop(seen);
    server.stop();
    assert_eq!(mx.seen().mail.len(), 2);
    house.is_empty();
}

#[test]
fn a_connection_that_is_lost_after_the_dot_means_once_more_and_no_more() {
    let scripts = offering(&["DOT reset / 250 ok", "DOT close / 250 ok", "DOT nonsense / 250 ok"]);
    let (house, hosts) = many(&scripts);
    let server = house.serve();
    one_each(&server, &hosts);
    for mx in &hosts {
        drop(server.wait(mx, |seen| seen.dots.len() == 2));
    }
    server.stop();
    for mx in &hosts {
        assert_eq!(mx.seen().dots.len(), 2, "{:?}", mx.seen());
    }
    house.is_empty();
}

#[test]
fn a_message_that_a_server_cannot_take_comes_back_unsent() {
    let scripts = ["EHLO 250-mx.test|250 SIZE 1000", "EHLO 250 mx.test", "EHLO 250-mx.test|250 SIZE 0"]
        .map(str::to_owned);
    let (house, hosts) = many(&scripts);
    let server = house.serve();
    let mut sender = server.submission();
    let large = "It rains and rains.\r\n".repeat(100);
    let odd = "Es regnet überall.\r\n";
    for (to, body) in [("bob@d0.test", large.as_str()), ("bob@d1.test", odd), ("bob@d2.test", large.as_str())]
    {
        let reply = sender.try_send("m", &[to], "", "", body).unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    }
    drop(server.wait(&hosts[2], |seen| seen.mail.len() == 1));
    for report in server.reports(2) {
        let to = report.only();
        report.says(&to, "failed", if to == "bob@d0.test" { "5.3.4" } else { "5.6.3" }, &[]);
    }
    server.stop();
    let began = |mx: &Mx| mx.seen().lines.iter().any(|(_, line)| line.starts_with("MAIL"));
    assert!(!began(&hosts[0]) && !began(&hosts[1]));
    house.is_empty();
}

#[test]
fn what_does_not_get_through_in_its_time_comes_back() {
    let plan = plan().outbound("retry = [\"1s\"]\nnotice = \"2s\"\ngive_up = \"5s\"");
    let house = plan.domain("gone.test", 2).make();
    let mx = house.mx(1, "RCPT 450 4.2.2 his mailbox is full");
    let server = house.serve();
    server.submission().send("one", &[BOB, "eve@gone.test"]);
    let reports = server.reports(4);
    let of = |to: &str, action: &str| {
        let is = |report: &&crate::house::Report| report.only() == to && report.field(to, "action") == action;
        reports.iter().filter(is).collect::<Vec<_>>()
    };
    for (to, status) in [(BOB, "4.2.2"), ("eve@gone.test", "4.4.1")] {
        let (delayed, failed) = (of(to, "delayed"), of(to, "failed"));
        assert_eq!((delayed.len(), failed.len()), (1, 1), "{reports:?}");
        delayed[0].says(to, "delayed", status, &[]);
        assert!(!delayed[0].field(to, "will-retry-until").is_empty(), "{}", delayed[0].text);
        failed[0].says(to, "failed", "5.4.7", &[]);
    }
    of(BOB, "failed")[0].says(BOB, "failed", "5.4.7", &["450 4.2.2 his mailbox is full"]);
    assert!(mx.seen().connections > 2);
    server.stop();
    house.is_empty();
}

#[test]
fn all_that_waits_goes_over_one_connection() {
    let house = plan().outbound("retry = [\"1s\"]\nconnections_per_host = 1").make();
    let mx = house.mx(1, "DOT wait 250 ok / 250 ok");
    let server = house.serve();
    let mut sender = server.submission();
    for n in 0..60 {
        sender.send(&format!("m{n}"), &[BOB]);
    }
    drop(server.wait(&mx, |seen| seen.held == 1));
    mx.release(1);
    let seen = server.wait(&mx, |seen| seen.mail.len() == 60);
    assert_eq!(seen.connections, 1);
    let subjects: BTreeSet<String> = seen.mail.iter().map(|mail| mail.subject()).collect();
    assert_eq!(subjects.len(), 60);
    drop(seen);
    server.stop();
    house.is_empty();
}

#[test]
fn a_thousand_recipients_go_in_tens_of_hundreds() {
    let house = plan().make();
    let mx = house.mx(1, "");
    let server = house.serve();
    let all: Vec<String> = (0..1_000).map(|n| format!("u{n}@far.test")).collect();
    server.submission().send("one", &all.iter().map(String::as_str).collect::<Vec<_>>());
    let seen = server.wait(&mx, |seen| seen.mail.iter().map(|mail| mail.to.len()).sum::<usize>() >= 1_000);
    let to: BTreeSet<&String> = seen.mail.iter().flat_map(|mail| &mail.to).collect();
    assert_eq!((to.len(), seen.mail.len()), (1_000, 10));
    drop(seen);
    server.stop();
    house.is_empty();
}

#[test]
fn nobody_waits_behind_the_many_messages_of_another() {
    let house = plan().outbound("retry = [\"1s\"]\nconnections_per_host = 1").make();
    house.account("ben@home.test");
    let mx = house.mx(1, "DOT wait 250 ok / 250 ok");
    let server = house.serve();
    let mut ann = server.submission();
    for n in 0..50 {
        ann.send(&format!("a{n}"), &[BOB]);
    }
    drop(server.wait(&mx, |seen| seen.held == 1));
    server.submission_as("ben@home.test").send("ben", &[BOB]);
    mx.release(1);
    let seen = server.wait(&mx, |seen| seen.mail.len() == 51);
    let place = seen.mail.iter().position(|mail| mail.subject() == "ben").unwrap();
    assert!(place <= 3, "it was number {place} of 51");
    drop(seen);
    server.stop();
    house.is_empty();
}

#[test]
fn what_is_to_wait_waits_and_then_goes() {
    let house = plan().make();
    let mx = house.mx(1, "");
    let server = house.serve();
    let mut sender = server.submission();
    let began = penfold::clock::wall().seconds;
    let reply = sender.try_send("later", &[BOB], " HOLDFOR=3", "", "It rains.\r\n").unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    sender.send("now", &[BOB]);
    let seen = server.wait(&mx, |seen| seen.mail.len() == 2);
    assert_eq!(seen.mail.iter().map(|mail| mail.subject()).collect::<Vec<_>>(), ["now", "later"]);
    assert!(penfold::clock::wall().seconds >= began + 3);
    drop(seen);
    server.stop();
    house.is_empty();
}

#[test]
fn a_reply_of_many_words_is_told_and_stops_nothing() {
    let (temporary, permanent) = ("not now ".repeat(230), "not ever \"here\" ".repeat(110));
    let script = format!(
        "RCPT late@far.test 450 4.2.0 {temporary}|450 4.2.0 {temporary} / 250 ok\nRCPT no@far.test 550 5.1.1 {permanent}|550 5.1.1 {permanent}"
    );
    let house = plan().make();
    let mx = house.mx(1, &script);
    let server = house.serve();
    let mut sender = server.submission();
    sender.send("late", &["late@far.test"]);
    sender.send("no", &["no@far.test"]);
    drop(server.wait(&mx, |seen| seen.mail.len() == 1));
    let reports = server.reports(1);
    reports[0].says("no@far.test", "failed", "5.1.1", &["not ever"]);
    server.stop();
    house.is_empty();
}
