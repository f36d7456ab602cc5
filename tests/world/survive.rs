//! The end of our server, soft and hard, in the midst of it all.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use rustix::process::Signal;

use crate::house::{House, Plan, Serving};
use crate::mx::{Mx, Seen};

/// What was acknowledged with 250, by its subject, with its recipients.
#[derive(Default)]
struct Ledger {
    taken: BTreeMap<String, Vec<&'static str>>,
}

/// What the senders send to: three hosts, one of which refuses an address.
const TO: [&[&str]; 5] = [
    &["x@a.test"],
    &["y@b.test", "z@b.test"],
    &["x@a.test", "y@b.test", "w@c.test"],
    &["no@c.test"],
    &["w@c.test"],
];

/// Sends until the connection breaks.
fn load(server: &Serving, name: &str, ledger: &(Mutex<Ledger>, Condvar)) {
    let Ok(mut sender) = server.try_submission("ann@home.test") else { return };
    for n in 0.. {
        let to = TO[n % TO.len()];
        let subject = format!("{name}-{n}");
        match sender.try_send(&subject, to, "", "", "It rains.\r\n") {
            Ok(reply) if reply.starts_with("250") => {
                ledger.0.lock().unwrap().taken.insert(subject, to.to_vec());
                ledger.1.notify_all();
            }
            Ok(reply) => {
                assert!(reply.starts_with("421") || reply.starts_with("451"), "{reply}");
                return;
            }
            Err(_) => return,
        }
    }
}

/// One start, load, and an end after so many messages.
fn round(house: &House, name: &str, enough: usize, ledger: &(Mutex<Ledger>, Condvar), signal: Signal) {
    let server = house.serve();
    let enough = ledger.0.lock().unwrap().taken.len() + enough;
    let pid = server.pid();
    std::thread::scope(|scope| {
        for n in 0..3 {
            let server = &server;
            scope.spawn(move || load(server, &format!("{name}-{n}"), ledger));
        }
        let mut now = ledger.0.lock().unwrap();
        while now.taken.len() < enough {
            let (guard, late) = ledger.1.wait_timeout(now, Duration::from_secs(60)).unwrap();
            now = guard;
            assert!(!late.timed_out(), "no mail is taken: {}", server.log());
        }
        drop(now);
        crate::house::signal(pid, signal);
    });
    if signal == Signal::KILL { server.kill() } else { drop(server.ended()) }
}

fn plan() -> Plan {
    Plan::new().domain("a.test", 1).domain("b.test", 2).domain("c.test", 3)
}

fn hosts(house: &House) -> [Mx; 3] {
    [house.mx(1, ""), house.mx(2, ""), house.mx(3, "RCPT no@c.test 550 5.1.1 no")]
}

/// Everything that was acknowledged has arrived, or its sender knows. Says how many came more than once.
fn account(house: &House, hosts: &[Mx; 3], ledger: &(Mutex<Ledger>, Condvar)) -> usize {
    let server = house.serve();
    let taken = &ledger.0.lock().unwrap().taken;
    for (mx, domain) in hosts.iter().zip(["@a.test", "@b.test", "@c.test"]) {
        let arrived = |seen: &Seen| -> BTreeSet<(String, String)> {
            let one = |mail: &crate::mx::Mail| {
                let subject = mail.subject();
                mail.to
                    .iter()
                    .map(|to| (subject.clone(), to.trim_matches(['<', '>']).to_owned()))
                    .collect::<Vec<_>>()
            };
            seen.mail.iter().flat_map(one).collect()
        };
        let expected: BTreeSet<(String, String)> = taken
            .iter()
            .flat_map(|(subject, to)| to.iter().map(move |to| (subject.clone(), (*to).to_owned())))
            .filter(|(_, to)| to.ends_with(domain) && to != "no@c.test")
            .collect();
        if mx.wait(|seen| expected.is_subset(&arrived(seen))).is_none() {
            let missing: Vec<_> = expected.difference(&arrived(&mx.seen())).cloned().collect();
            panic!("LOST: {missing:?}\n{}", server.log());
        }
    }
    let refused = taken.values().filter(|to| to.contains(&"no@c.test")).count();
    let reports = server.inbox("ann@home.test", refused);
    server.stop();
    house.is_empty();

    // What was refused was told once: the report and the end of the message are one commit.
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for report in &reports {
        let subject =
            report.lines().filter_map(|line| line.strip_prefix("Subject: ")).next_back().unwrap_or_default();
        *told.entry(subject.trim().to_owned()).or_default() += 1;
    }
    for (subject, _) in taken.iter().filter(|(_, to)| to.contains(&"no@c.test")) {
        assert_eq!(told.get(subject), Some(&1), "{subject}");
    }
    hosts.iter().map(|mx| twice(&mx.seen())).sum()
}

/// How many copies there are beyond the first. Each of them must be of a message that was the last on its connection
/// before: nothing is sent before what went before it is settled.
fn twice(seen: &Seen) -> usize {
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    for (index, mail) in seen.mail.iter().enumerate() {
        last.insert(mail.connection, index);
    }
    let mut before: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut copies = BTreeSet::new();
    for (index, mail) in seen.mail.iter().enumerate() {
        for to in &mail.to {
            if let Some(first) = before.insert((mail.subject(), to.clone()), index) {
                let connection = seen.mail[first].connection;
                assert_eq!(last[&connection], first, "{} was settled, and was sent again", mail.subject());
                copies.insert(index);
            }
        }
    }
    copies.len()
}

#[test]
fn kill_9_fifty_times_under_load_loses_nothing() {
    let rounds = std::env::var("PENFOLD_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(50);
    let house = plan().make();
    let hosts = hosts(&house);
    let ledger = (Mutex::new(Ledger::default()), Condvar::new());
    for n in 0..rounds {
        // Another number each time, so that it falls at another moment.
        round(&house, &format!("r{n}"), 3 + (n * 7) % 23, &ledger, Signal::KILL);
    }
    let copies = account(&house, &hosts, &ledger);
    let connections: usize = hosts.iter().map(|mx| mx.seen().connections).sum();
    let taken = ledger.0.lock().unwrap().taken.len();
    let _ = writeln!(
        std::io::stderr(),
        "{rounds} kills: {taken} messages were acknowledged and none lost; {copies} came twice; {connections} connections"
    );
    assert!(copies <= rounds * 12, "at most one for each connection: {copies}");
}

#[test]
fn a_clean_stop_in_the_midst_sends_nothing_twice_and_loses_nothing() {
    let house = plan().make();
    let hosts = hosts(&house);
    let ledger = (Mutex::new(Ledger::default()), Condvar::new());
    for n in 0..10 {
        round(&house, &format!("r{n}"), 10 + n * 5, &ledger, Signal::TERM);
    }
    assert_eq!(account(&house, &hosts, &ledger), 0, "sent twice");
}

/// Stops it, and says whether that took no longer than a moment: far less than its grace.
#[track_caller]
fn stops_at_once(server: Serving) {
    let began = penfold::clock::monotonic();
    let log = server.stop();
    let took = penfold::clock::monotonic() - began;
    assert!(took < Duration::from_secs(10), "{took:?}: {log}");
}

/// A host that never answers: its queue of connections is full.
pub fn silent(at: SocketAddr) -> Vec<rustix::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with};
    let make = || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    let listener = make();
    bind(&listener, &at).unwrap();
    listen(&listener, 0).unwrap();
    let mut all = vec![listener];
    for _ in 0..8 {
        let one = make();
        let _ = connect(&one, &at);
        all.push(one);
    }
    all
}

#[test]
fn a_stop_while_nobody_answers_is_quick_and_loses_nothing() {
    let house =
        Plan::new().domain("silent-host.test", 1).domain("hangs.test", 2).domain("ehlo.test", 3).make();
    let full = silent(house.at(1));
    let hangs = [house.mx(2, "CONNECT hang"), house.mx(3, "EHLO hang")];
    let server = house.serve();
    server
        .submission()
        .send("one", &["bob@silent-host.test", "bob@hangs.test", "bob@ehlo.test", "bob@silent.test"]);
    drop(server.wait(&hangs[0], |seen| seen.connections == 1));
    drop(server.wait(&hangs[1], |seen| seen.lines.len() == 1));
    stops_at_once(server);
    assert_eq!(house.left().len(), 5, "a message and its four recipients: {:?}", house.left());
    drop((full, hangs));
}

#[test]
fn a_stop_waits_for_the_reply_to_what_was_sent() {
    let house = Plan::new().domain("far.test", 1).make();
    let mx = house.mx(1, "DOT wait 250 ok");
    let server = house.serve();
    server.submission().send("one", &["bob@far.test"]);
    drop(server.wait(&mx, |seen| seen.held == 1));
    let pid = server.pid();
    crate::house::signal(pid, Signal::TERM);
    server.logged(|log| log.contains("stopping: "));
    mx.release(1);
    server.ended();
    house.is_empty();
    assert_eq!(mx.seen().mail.len(), 1);
}
