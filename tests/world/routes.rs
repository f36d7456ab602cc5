//! Where mail goes: DNS in every state, several hosts, ourselves among them.

use crate::house::{House, Plan};
use crate::mx::{Mx, Seen};
use crate::survive::silent;

const BOB: &str = "bob@far.test";

#[test]
fn domains_without_mail_send_it_back_at_once() {
    let plan = Plan::new();
    let own = plan.ip(9);
    let house = plan
        .zone(|zone| {
            zone.mx("null.test", 0, ".")
                .txt("none.test", &["no addresses"])
                .mx("us.test", 10, "mail.home.test")
                .ip("mail.home.test", &own)
                .mx("we.test", 10, "other.home.test")
                .ip("other.home.test", "127.0.0.1")
        })
        .make();
    let server = house.serve();
    let cases = [
        ("null.test", "5.1.10"),
        ("nowhere.test", "5.1.2"),
        ("none.test", "5.4.4"),
        ("us.test", "5.4.6"),
        ("we.test", "5.4.6"),
        ("[127.0.0.1]", "5.4.6"),
    ];
    let mut sender = server.submission();
    for (domain, _) in cases {
        sender.send("one", &[&format!("bob@{domain}")]);
    }
    for report in server.reports(cases.len()) {
        let to = report.only();
        let (_, status) = cases.iter().find(|(domain, _)| to.ends_with(&format!("@{domain}"))).unwrap();
        report.says(&to, "failed", status, &[]);
    }
    server.stop();
    house.is_empty();
}

#[test]
fn hosts_are_tried_in_their_order_until_one_takes_it() {
    let plan =
        Plan::new().host("a.far.test", 1).host("b.far.test", 2).host("c.far.test", 3).host("d.far.test", 4);
    let house = plan
        .zone(|zone| {
            zone.mx("far.test", 30, "d.far.test")
                .mx("far.test", 10, "b.far.test")
                .mx("far.test", 5, "a.far.test")
                .mx("far.test", 20, "c.far.test")
        })
        .make();
    // Nobody is at the first; the second sends everybody away; the third takes it.
    let (b, c, d) = (house.mx(2, "CONNECT 421 4.3.2 not here"), house.mx(3, ""), house.mx(4, ""));
    let server = house.serve();
    server.submission().send("one", &[BOB]);
    drop(server.wait(&c, |seen| seen.mail.len() == 1));
    server.stop();
    assert_eq!((b.seen().connections, c.seen().mail.len(), d.seen().connections), (1, 1, 0));
    house.is_empty();
}

/// A world in which `far.test` has two hosts, a better and a worse one.
fn two_hosts(outbound: &str) -> House {
    let plan = Plan::new().host("a.far.test", 1).host("b.far.test", 2);
    let plan = plan.zone(|zone| zone.mx("far.test", 5, "a.far.test").mx("far.test", 10, "b.far.test"));
    plan.outbound(outbound).make()
}

fn connected(mx: &Mx) -> usize {
    mx.seen().connections
}

#[test]
fn what_one_host_puts_off_the_next_one_takes_in_the_same_round() {
    for step in [
        "MAIL 451 4.3.0 later",
        "MAIL 421 4.3.0 later",
        "RCPT 450 4.2.1 grey",
        "RCPT 421 4.2.1 grey",
        "DATA 451 4.3.0 later",
        "DATA 421 4.3.0 later",
        "DOT 451 4.3.0 later",
        "DOT 421 4.3.0 later",
    ] {
        let house = two_hosts("retry = [\"1h\"]");
        let (a, b) = (house.mx(1, step), house.mx(2, ""));
        let server = house.serve();
        server.submission().send("one", &[BOB]);
        drop(server.wait(&b, |seen| seen.mail.len() == 1));
        let log = server.stop();
        assert_eq!((connected(&a), a.seen().mail.len(), connected(&b)), (1, 0, 1), "{step}: {log}");
        house.is_empty();
        let told = house.command(&["trace", BOB], "");
        assert!(told.contains("by b.far.test") && told.contains("1 try"), "{step}: {told}");
    }
}

#[test]
fn a_few_hosts_are_tried_in_a_round_and_the_last_word_is_kept() {
    let names = ["a.far.test", "b.far.test", "c.far.test", "d.far.test"];
    let plan = names.iter().zip(1..).fold(Plan::new(), |plan, (name, n)| {
        plan.host(name, n).zone(|zone| zone.mx("far.test", u16::from(n), name))
    });
    let house = plan.outbound("retry = [\"1h\"]").make();
    let hosts: Vec<Mx> =
        (1..=4).map(|n| house.mx(n, &format!("RCPT 450 4.2.1 number {n} is not ready"))).collect();
    let server = house.serve();
    server.submission().send("one", &[BOB]);
    // It is logged before it is on disk, and a stop waits for that.
    server.logged(|log| log.contains("\"put off\""));
    server.stop();
    let waits = house.command(&["queue", "list"], "");
    assert!(waits.contains("1 try so far: c.far.test: 450 4.2.1 number 3 is not ready"), "{waits}");
    assert_eq!(hosts.iter().map(connected).collect::<Vec<_>>(), [1, 1, 1, 0]);
}

#[test]
fn each_recipient_has_its_own_fate_with_several_hosts() {
    let house = two_hosts("retry = [\"1s\"]");
    let a = house.mx(
        1,
        "RCPT x@far.test 550 5.1.1 a does not know x\nRCPT y@far.test 450 4.2.1 grey\n\
         RCPT w@far.test 450 4.2.1 grey\nRCPT v@far.test 450 4.2.1 grey / 250 ok",
    );
    let b =
        house.mx(2, "RCPT y@far.test 550 5.1.1 b does not know y\nRCPT v@far.test 451 4.2.1 grey as well");
    let server = house.serve();
    server.submission().send("one", &["x@far.test", "y@far.test", "z@far.test", "w@far.test", "v@far.test"]);
    let reports = server.reports(2);
    let of = |to: &str| reports.iter().find(|report| report.only() == to).unwrap();
    for (to, words, host) in
        [("x@far.test", "a does not know x", "a.far.test"), ("y@far.test", "b does not know y", "b.far.test")]
    {
        of(to).says(to, "failed", "5.1.1", &[words]);
        assert_eq!(of(to).field(to, "remote-mta"), format!("dns; {host}"));
    }
    drop(server.wait(&a, |seen| seen.mail.len() == 2));
    server.stop();
    let took = |mx: &Mx| mx.seen().mail.iter().map(|mail| mail.to.join(" ")).collect::<Vec<_>>();
    assert_eq!(took(&a), ["<z@far.test>", "<v@far.test>"]);
    assert_eq!(took(&b), ["<w@far.test>"]);
    let asked: Vec<String> = b.seen().lines.iter().map(|(_, line)| line.clone()).collect();
    assert!(!asked.iter().any(|line| line.contains("x@far") || line.contains("z@far")), "{asked:?}");
    assert_eq!(server_reports(&house), 2);
    house.is_empty();
}

/// How many reports ann has, once all is settled.
fn server_reports(house: &House) -> usize {
    let server = house.serve();
    let reports = server.reports(0).len();
    server.stop();
    reports
}

#[test]
fn what_may_have_been_taken_is_given_to_no_other_host() {
    let house = two_hosts("retry = [\"1s\"]");
    let (a, b) = (house.mx(1, "DOT reset / 250 ok"), house.mx(2, ""));
    let server = house.serve();
    server.submission().send("one", &[BOB]);
    drop(server.wait(&a, |seen| seen.dots.len() == 2));
    server.stop();
    assert_eq!(connected(&b), 0);
    house.is_empty();
}

#[test]
fn a_further_host_that_cannot_take_it_does_not_send_it_back() {
    let house = two_hosts("retry = [\"1s\"]");
    let a = house.mx(1, "RCPT 450 4.2.1 grey / 250 ok");
    // It takes no octets above 127, or is not there for long.
    let b = house.mx(2, "EHLO 250 mx.test");
    let server = house.serve();
    let reply = server.submission().try_send("one", &[BOB], "", "", "Es regnet überall.\r\n").unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    drop(server.wait(&a, |seen| seen.mail.len() == 1));
    server.stop();
    assert!(connected(&b) == 1 && !b.seen().lines.iter().any(|(_, line)| line.starts_with("MAIL")));
    assert_eq!(server_reports(&house), 0);
    house.is_empty();
}

#[test]
fn what_many_hosts_put_off_goes_over_few_connections() {
    let house = two_hosts("retry = [\"1s\"]\nconnections_per_host = 1");
    let grey: String = (0..30).map(|n| format!("RCPT u{n}@far.test 450 4.2.1 grey / 250 ok\n")).collect();
    let a = house.mx(1, &format!("{grey}CONNECT wait 220 ok / 220 ok"));
    let b = house.mx(2, &grey);
    let server = house.serve();
    let mut sender = server.submission();
    for n in 0..30 {
        sender.send(&format!("m{n}"), &[&format!("u{n}@far.test")]);
    }
    drop(server.wait(&a, |seen| seen.held == 1));
    a.release(1);
    drop(server.wait(&a, |seen| seen.mail.len() == 30));
    server.stop();
    // The time at which each is tried again counts in seconds: the second round may be two.
    assert!((2..=3).contains(&connected(&a)), "{}", connected(&a));
    assert_eq!((connected(&b), b.seen().mail.len(), a.seen().mail.len()), (1, 0, 30));
    house.is_empty();
}

#[test]
fn what_breaks_off_before_the_message_was_sent_goes_to_the_next_host_at_once() {
    let plan = Plan::new().host("a.far.test", 1).host("b.far.test", 2);
    let plan = plan.zone(|zone| zone.mx("far.test", 5, "a.far.test").mx("far.test", 10, "b.far.test"));
    let house = plan.outbound("retry = [\"1h\"]").make();
    let (a, b) = (house.mx(1, "RCPT reset"), house.mx(2, ""));
    let server = house.serve();
    server.submission().send("one", &[BOB]);
    drop(server.wait(&b, |seen| seen.mail.len() == 1));
    server.stop();
    assert_eq!(a.seen().mail.len(), 0);
    house.is_empty();
}

#[test]
fn hosts_of_the_same_preference_share_the_mail() {
    let plan = Plan::new().host("a.far.test", 1).host("b.far.test", 2);
    let plan = plan.zone(|zone| zone.mx("far.test", 5, "a.far.test").mx("far.test", 5, "b.far.test"));
    let house = plan.make();
    let (a, b) = (house.mx(1, ""), house.mx(2, ""));
    let server = house.serve();
    let mut sender = server.submission();
    // Each time on a connection of its own. That one gets none of forty happens once in 2^39.
    for n in 1..=40 {
        sender.send(&format!("m{n}"), &[BOB]);
        server.logged(|log| log.matches("\"sent\"").count() >= n);
        let is_over =
            |seen: &Seen| seen.lines.iter().filter(|(_, line)| line == "QUIT").count() == seen.connections;
        for mx in [&a, &b] {
            drop(server.wait(mx, is_over));
        }
        if [&a, &b].iter().all(|mx| !mx.seen().mail.is_empty()) {
            break;
        }
    }
    server.stop();
    assert!(!a.seen().mail.is_empty() && !b.seen().mail.is_empty());
    house.is_empty();
}

#[test]
fn a_domain_without_mx_records_is_its_own_host_and_aliases_lead_on() {
    let plan = Plan::new().host("far.test", 1);
    let house = plan.zone(|zone| zone.cname("alias.test", "far.test")).make();
    let mx = house.mx(1, "");
    let server = house.serve();
    server.submission().send("one", &[BOB, "eve@alias.test"]);
    drop(server.wait(&mx, |seen| seen.mail.iter().map(|mail| mail.to.len()).sum::<usize>() == 2));
    let literal = format!("bob@[{}]", house.at(1).ip());
    server.submission().send("two", &[&literal]);
    drop(server.wait(&mx, |seen| seen.mail.len() == 3));
    server.stop();
    house.is_empty();
}

#[test]
fn with_ourselves_in_the_list_only_better_hosts_are_tried() {
    let plan = Plan::new().host("a.far.test", 1).host("c.far.test", 3);
    let house = plan
        .zone(|zone| {
            zone.mx("far.test", 5, "a.far.test")
                .mx("far.test", 10, "mail.home.test")
                .mx("far.test", 20, "c.far.test")
                .ip("mail.home.test", "127.0.0.1")
        })
        .make();
    let (a, c) = (house.mx(1, "CONNECT 421 4.3.2 not now / 421 4.3.2 not now / 220 ok"), house.mx(3, ""));
    let server = house.serve();
    server.submission().send("one", &[BOB]);
    drop(server.wait(&a, |seen| seen.mail.len() == 1));
    server.stop();
    assert_eq!(c.seen().connections, 0, "it would have given the mail back to us");
    house.is_empty();
}

#[test]
fn a_connection_to_ourselves_is_a_loop_whatever_the_host_is_called() {
    // On all of IPv6 we listen beside the other servers, which have the same port of IPv4.
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return println!("skipped: there is no IPv6 here");
    }
    let plan = Plan::new().host("a.other.test", 1).host("c.other.test", 3);
    let listening = format!("[::]:{}", plan.port());
    let house = plan
        .listening(&listening)
        .zone(|zone| {
            zone.mx("far.test", 10, "us.far.test")
                .ip("us.far.test", "::1")
                .mx("other.test", 5, "a.other.test")
                .mx("other.test", 10, "us.far.test")
                .mx("other.test", 20, "c.other.test")
        })
        .make();
    let (a, c) = (house.mx(1, "CONNECT 421 4.3.2 not now / 421 4.3.2 not now / 220 ok"), house.mx(3, ""));
    let server = house.serve();
    let mut sender = server.submission();
    sender.send("loop", &[BOB]);
    sender.send("better", &["bob@other.test"]);
    let [report] = &server.reports(1)[..] else { panic!() };
    report.says(BOB, "failed", "5.4.6", &["loops back to this server"]);
    drop(server.wait(&a, |seen| seen.mail.len() == 1));
    server.stop();
    assert_eq!(connected(&c), 0, "it would have given the mail back to us");
    house.is_empty();
}

#[test]
fn several_hosts_that_do_not_answer_mean_that_the_port_is_closed_until_one_does() {
    let plan = (1..=3).fold(Plan::new(), |plan, n| plan.domain(&format!("d{n}.test"), n));
    let house = plan.domain("far.test", 4).outbound("retry = [\"1h\"]").make();
    let _silent = [1, 2, 3].map(|n| silent(house.at(n)));
    let server = house.serve();
    server.submission().send("one", &["bob@d1.test", "bob@d2.test", "bob@d3.test"]);
    // Each has half a minute to answer.
    server.logged(|log| log.matches("\"put off\"").count() == 3);
    let words = "no mail server answers on port 25";
    assert!(server.log().contains(words), "{}", server.log());
    let status = house.command(&["status"], "");
    assert!(status.contains("PORT 25 IS CLOSED"), "{status}");
    let mx = house.mx(4, "");
    server.submission().send("two", &[BOB]);
    drop(server.wait(&mx, |seen| seen.mail.len() == 1));
    let status = house.command(&["status"], "");
    assert!(!status.contains("PORT 25 IS CLOSED"), "{status}");
    server.stop();
}

#[test]
fn nameservers_in_trouble_mean_later() {
    let house = Plan::new().outbound("retry = [\"1s\"]\nnotice = \"1s\"\ngive_up = \"4s\"").make();
    let server = house.serve();
    server.submission().send("one", &["bob@servfail.test"]);
    for report in server.reports(2) {
        let to = report.only();
        match report.field(&to, "action") {
            "delayed" => report.says(&to, "delayed", "4.4.3", &["DNS"]),
            _ => report.says(&to, "failed", "5.4.7", &["DNS"]),
        }
    }
    server.stop();
    house.is_empty();
}

#[test]
fn what_waits_for_a_host_goes_at_once_when_it_answers_again() {
    let house = Plan::new().domain("far.test", 1).outbound("retry = [\"4s\", \"1h\"]").make();
    let server = house.serve();
    let mut sender = server.submission();
    // Each of these learns that nobody is there; then they wait for an hour, but for the last, which comes by itself.
    for n in 0..5 {
        sender.send(&format!("m{n}"), &[BOB]);
    }
    server.logged(|log| log.matches("put off").count() >= 10);
    let mx = house.mx(1, "");
    sender.send("last", &[BOB]);
    drop(server.wait(&mx, |seen| seen.mail.len() == 6));
    server.stop();
    house.is_empty();
}

#[test]
fn an_alias_that_leads_out_forwards_and_failures_go_to_who_wrote() {
    let house = Plan::new().domain("far.test", 1).domain("other.test", 2).make();
    house.command(&["alias", "add", "family@home.test", "ann@home.test", "bob@far.test"], "");
    house.command(&["alias", "add", "gone@home.test", "eve@far.test"], "");
    let mx = house.mx(1, "RCPT eve@far.test 550 5.1.1 no eve");
    let other = house.mx(2, "");
    let server = house.serve();
    let mut stranger = server.port_25();
    stranger.send("one", &["family@home.test"]);
    let seen = server.wait(&mx, |seen| seen.mail.len() == 1);
    assert!(seen.mail[0].from.starts_with("<stranger@other.test>"), "{:?}", seen.mail);
    drop(seen);
    assert_eq!(server.inbox("ann@home.test", 1).len(), 1);
    stranger.send("two", &["gone@home.test"]);
    let seen = server.wait(&other, |seen| seen.mail.len() == 1);
    let [report] = &seen.mail[..] else { panic!() };
    let text = String::from_utf8_lossy(&report.octets).into_owned();
    assert!(report.from.starts_with("<>") && report.to == ["<stranger@other.test>"], "{report:?}");
    assert!(text.contains("Status: 5.1.1") && text.contains("no eve"), "{text}");
    drop(seen);
    server.stop();
    house.is_empty();
}

#[test]
fn hosts_that_end_each_connection_are_not_run_down() {
    let house = Plan::new()
        .domain("far.test", 1)
        .outbound("retry = [\"2s\", \"1h\"]\nconnections_per_host = 1")
        .make();
    let start = penfold::clock::monotonic();
    let clock = move || u64::try_from((penfold::clock::monotonic() - start).as_millis()).unwrap();
    let mx =
        Mx::with_clock(house.at(1), "CONNECT wait 220 ok / 220 ok\nMAIL 421 4.3.2 later", Box::new(clock));
    let server = house.serve();
    let mut sender = server.submission();
    for n in 1..=2 {
        sender.send(&format!("m{n}"), &[&format!("u{n}@far.test")]);
    }
    drop(server.wait(&mx, |seen| seen.held == 1));
    mx.release(1);
    let is_mail = |line: &str| line.starts_with("MAIL");
    let seen = server.wait(&mx, |seen| seen.lines.iter().filter(|(_, line)| is_mail(line)).count() >= 2);
    let mails = seen.lines.iter().zip(&seen.heard).filter(|((_, line), _)| is_mail(line));
    let at: Vec<u64> = mails.map(|(_, at)| *at).collect();
    // Two seconds, which begin somewhere within one.
    assert!(at[1] - at[0] >= 950, "{at:?}");
    drop(seen);
    server.stop();
}

#[test]
fn a_message_that_a_host_cannot_bear_holds_up_no_other() {
    let house = Plan::new().domain("far.test", 1).outbound("retry = [\"1h\"]").make();
    let mx = house.mx(1, "CONNECT wait 220 ok / 220 ok\nRCPT poison@far.test reset");
    let server = house.serve();
    let mut sender = server.submission();
    for to in ["poison@far.test", BOB, "eve@far.test"] {
        sender.send("one", &[to]);
    }
    drop(server.wait(&mx, |seen| seen.held == 1));
    mx.release(1);
    server.logged(|log| log.contains("\"put off\""));
    // Whoever comes next need not wait.
    house.command(&["queue", "retry", "--to", BOB], "");
    drop(server.wait(&mx, |seen| seen.mail.len() == 2));
    let log = server.stop();
    assert_eq!(log.matches("\"put off\"").count(), 1, "{log}");
    let waits = house.command(&["queue", "list"], "");
    assert!(waits.contains("poison@far.test") && !waits.contains(BOB), "{waits}");
}
