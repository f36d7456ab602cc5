//! Where mail goes: DNS in every state, several hosts, ourselves among them.

use crate::house::Plan;

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
        let ends = |mx: &crate::mx::Mx| mx.seen().lines.iter().filter(|(_, line)| line == "QUIT").count();
        let now = |mx: &crate::mx::Mx| mx.seen().mail.len();
        while now(&a) + now(&b) < n || ends(&a) + ends(&b) < n {
            std::thread::yield_now();
        }
        if now(&a) > 0 && now(&b) > 0 {
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
    while server.log().matches("put off").count() < 10 {
        std::thread::yield_now();
    }
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
