//! The power goes while mail goes out: to a host that takes everything, one that puts half of it off, one that refuses an
//! address, and one that does not answer, while somebody takes messages out of the queue, holds and releases them.
//!
//! On what a cut left the server must know each recipient of each acknowledged message as one that waits or one with a
//! fate, never both, and the fate must be one that the hosts have seen. Then the world answers: what waits arrives once, and
//! nothing that was settled. A message that a host had taken is sent again only if nothing was said on its connection
//! afterwards, since then nobody knew that it was settled.
//!
//! What the hosts see, and what the senders read, is known to the position in the trace.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::disk::Believe;
use super::tape::{Cut, Tape};
use super::trace::{Clock, Recorder};
use crate::BINARY;
use crate::house::{House, Plan, Serving};
use crate::mx::{Mail, Mx, Seen};

/// Whose mail is followed.
const ANN: &str = "ann@home.test";
/// Who may send only so many messages a day.
const EVE: &str = "eve@home.test";
const EVES: u64 = 8;
/// Who has an account here.
const BEN: &str = "ben@home.test";
/// The address that is refused.
const REFUSED: &str = "no@c.test";
/// What Ann sends to.
const TO: [&[&str]; 6] = [
    &["x@a.test"],
    &["y@b.test", "z@b.test"],
    &["x@a.test", "y@b.test", REFUSED, BEN],
    &[REFUSED],
    &["w@c.test", "v@a.test", BEN],
    &["x@a.test", "e@d.test"],
];
/// What somebody does to the queue then, and to which recipient: its host does not answer.
const DONE: [(&str, &str, &[&str]); 3] = [
    ("d1@d.test", "x@a.test", &["drop"]),
    ("d2@d.test", "v@a.test", &["hold"]),
    ("d3@d.test", "y@b.test", &["hold", "release"]),
];
/// What stands in every message but some...
const SHORT: &str = "It rains.\r\n";
/// ...which are so often as long that they have files of their own.
const REPEATED: usize = 30_000;
/// From one start to the next end of the server, the last of which is a kill, so many acknowledged messages are enough...
const ENOUGH: usize = 40;
/// ...and so many changes.
const CHANGES: usize = 4;
const PHASES: usize = 2;

/// A message that was sent.
#[derive(Debug)]
struct Message {
    subject: String,
    from: &'static str,
    to: Vec<&'static str>,
    begun: u64,
    answered: Option<u64>,
}

impl Message {
    /// Recipients elsewhere.
    fn remote(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.to.iter().copied().filter(|to| !to.ends_with("@home.test"))
    }
}

/// A change of the queue that took place.
#[derive(Debug)]
struct Change {
    what: &'static str,
    subject: String,
    to: &'static str,
    begun: u64,
    answered: u64,
}

/// What everybody knows in the end.
#[derive(Debug, Default)]
struct Ledger {
    messages: Vec<Message>,
    changes: Vec<Change>,
    acknowledged: usize,
}

fn plan() -> Plan {
    Plan::new().domain("a.test", 1).domain("b.test", 2).domain("c.test", 3).domain("d.test", 4)
}

/// What stands in a message.
fn body(subject: &str) -> String {
    SHORT.repeat(if subject.ends_with("-4") { REPEATED } else { 1 })
}

/// Senders and an administrator at work, while it is recorded.
struct Work<'a> {
    house: &'a House,
    server: &'a Serving,
    recorder: &'a Recorder,
    phase: usize,
    ledger: (Mutex<Ledger>, Condvar),
    enough: AtomicBool,
}

impl Work<'_> {
    /// All at once, until enough is acknowledged.
    fn until_enough(&self) {
        let phases = self.phase + 1;
        std::thread::scope(|s| {
            s.spawn(|| self.ann("one"));
            s.spawn(|| self.ann("two"));
            s.spawn(|| self.eve());
            s.spawn(|| self.administrator());
            let few = |ledger: &mut Ledger| {
                ledger.acknowledged < ENOUGH * phases || ledger.changes.len() < CHANGES * phases
            };
            let (ledger, patience) = (self.ledger.0.lock().unwrap(), Duration::from_secs(90));
            let late = self.ledger.1.wait_timeout_while(ledger, patience, few).unwrap().1.timed_out();
            self.enough.store(true, Ordering::Relaxed);
            assert!(!late, "no mail is taken: {}", self.server.log());
        });
    }

    /// Sends one message. Its name in the queue, if it was taken.
    fn send(
        &self,
        sender: &mut crate::house::Sender,
        clock: &Clock,
        from: &'static str,
        subject: &str,
        to: &[&'static str],
    ) -> Option<String> {
        let begun = clock.now();
        let reply = sender.try_send(subject, to, "", "", &body(subject)).unwrap();
        let taken = reply.starts_with("250");
        assert!(taken || reply.starts_with("450 4.7.1") && from == EVE, "{reply}");
        let answered = taken.then(|| clock.now());
        let mut ledger = self.ledger.0.lock().unwrap();
        ledger.messages.push(Message { subject: subject.into(), from, to: to.into(), begun, answered });
        ledger.acknowledged += usize::from(taken);
        self.ledger.1.notify_all();
        taken.then(|| reply.rsplit_once(" as ").unwrap().1.trim().to_owned())
    }

    fn ann(&self, name: &str) {
        let (mut sender, clock) = (self.server.submission_as(ANN), self.recorder.clock());
        for n in 0.. {
            if self.enough.load(Ordering::Relaxed) {
                return;
            }
            self.send(&mut sender, &clock, ANN, &format!("{name}-{}-{n}", self.phase), TO[n % TO.len()])
                .unwrap();
        }
    }

    fn eve(&self) {
        let (mut sender, clock) = (self.server.submission_as(EVE), self.recorder.clock());
        // As far as the limit goes.
        let mut n = 0;
        while self.send(&mut sender, &clock, EVE, &format!("eve-{}-{n}", self.phase), &["x@a.test"]).is_some()
        {
            n += 1;
        }
    }

    fn administrator(&self) {
        let (mut sender, clock) = (self.server.submission_as(ANN), self.recorder.clock());
        for n in 0.. {
            if self.enough.load(Ordering::Relaxed) {
                return;
            }
            let (to, another, what) = DONE[n % DONE.len()];
            let subject = format!("changed-{}-{n}", self.phase);
            let id = self.send(&mut sender, &clock, ANN, &subject, &[another, to]).unwrap();
            for what in what {
                // It may be on its way just now.
                loop {
                    let begun = clock.now();
                    let said = self.house.command(&["queue", what, &id, "--to", to, "--json"], "");
                    let answered = clock.now();
                    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
                    if said["recipients"] == 1 {
                        let change = Change { what, subject: subject.clone(), to, begun, answered };
                        self.ledger.0.lock().unwrap().changes.push(change);
                        break;
                    }
                    assert_eq!(said["busy"], 1, "{said}");
                }
            }
        }
    }
}

/// What happened, and who saw it when.
struct Sent {
    ledger: Ledger,
    /// The hosts of a.test, b.test and c.test.
    hosts: [Mx; 3],
    /// Recipients that a cut made wait although a host had taken them.
    again: AtomicUsize,
}

fn record() -> (Tape, Sent, u64) {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().canonicalize().unwrap().join("disk");
    std::fs::create_dir(&directory).unwrap();
    let house = plan().make_in(&directory);
    house.command(&["domain", "add", "home.test"], "");
    [ANN, EVE, BEN].iter().for_each(|who| house.account(who));
    house.command(&["account", "limit", EVE, "--messages-a-day", &EVES.to_string()], "");
    let mut tape = Tape::begin("mail to other hosts", place, &directory, "");
    let host = |n: u8, script: &str| {
        let clock = tape.recorder.clock();
        Mx::with_clock(house.at(n), script, Box::new(move || clock.now()))
    };
    let half = format!("DOT {}", ["451 4.3.0 later", "250 ok"].repeat(500).join(" / "));
    let hosts = [host(1, ""), host(2, &half), host(3, "RCPT no@c.test 550 5.1.1 no")];
    let mut ready = 0;
    let mut ledger = (Mutex::new(Ledger::default()), Condvar::new());
    for phase in 0..PHASES {
        let mut command = Command::new(BINARY);
        command.envs(tape.recorder.environment(&directory));
        let server = house.serve_by(command);
        if phase == 0 {
            ready = tape.recorder.clock().now();
        }
        let (house, recorder, enough) = (&house, &tape.recorder, AtomicBool::new(false));
        let work = Work { house, server: &server, recorder, phase, ledger, enough };
        work.until_enough();
        ledger = work.ledger;
        if phase + 1 < PHASES {
            server.stop();
        } else {
            // So that what was put off is among it, and most of it is settled before the end.
            drop(server.wait(&hosts[1], |seen| seen.mail.len() > 4));
            drop(server.wait(&hosts[2], |seen| seen.mail.len() > 1));
            server.kill();
        }
    }
    let ledger = ledger.0.into_inner().unwrap();
    tape.end();
    (tape, Sent { ledger, hosts, again: AtomicUsize::new(0) }, ready)
}

/// What a server knows of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Waits { held: bool },
    Fate(String),
}

/// A message's subject and a recipient.
type Key = (String, String);

/// What a server knows of what an account sent.
fn known(house: &House, who: &str) -> BTreeMap<Key, Known> {
    let said = house.command(&["trace", who, "--json"], "");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["more"], false);
    let mut known = BTreeMap::new();
    let subject = |row: &serde_json::Value| {
        let id = row["message_id"].as_str().unwrap();
        id.strip_suffix("@home.test").unwrap_or(id).to_owned()
    };
    let mut note = |subject: String, to: &serde_json::Value, new: Known| {
        let key = (subject, to.as_str().unwrap().to_owned());
        let old = known.insert(key.clone(), new.clone());
        assert!(old.is_none(), "{key:?} is known twice: {old:?}, {new:?}");
    };
    for fate in said["fates"].as_array().unwrap() {
        note(subject(fate), &fate["to"], Known::Fate(fate["action"].as_str().unwrap().to_owned()));
    }
    for row in said["waits"].as_array().unwrap() {
        for recipient in row["recipients"].as_array().unwrap() {
            let held = recipient["held"].as_bool().unwrap();
            note(subject(row), &recipient["to"], Known::Waits { held });
        }
    }
    known
}

/// What hosts have taken by a position: for each recipient, how often.
fn taken(seen: &Seen, by: u64) -> BTreeMap<Key, usize> {
    let mut taken = BTreeMap::new();
    for mail in seen.mail.iter().filter(|mail| mail.at <= by) {
        for to in &mail.to {
            let key = (mail.subject(), to.trim_matches(['<', '>']).to_owned());
            *taken.entry(key).or_default() += 1;
        }
    }
    taken
}

/// Subjects of messages: of what is reported, if they are reports.
fn subjects<'a>(messages: impl IntoIterator<Item = &'a String>) -> BTreeMap<String, usize> {
    let mut subjects = BTreeMap::new();
    for message in messages {
        let subject = message.lines().filter_map(|line| line.strip_prefix("Subject: ")).next_back();
        *subjects.entry(subject.unwrap_or_default().trim().to_owned()).or_default() += 1;
    }
    subjects
}

fn is_report(message: &str) -> bool {
    message.contains("report-type=")
}

impl Sent {
    /// The host of a recipient, if it answered.
    fn host(&self, to: &str) -> Option<&Mx> {
        let domains = ["@a.test", "@b.test", "@c.test"];
        domains.iter().position(|domain| to.ends_with(domain)).map(|n| &self.hosts[n])
    }

    /// Whether a host has taken a recipient before a cut, and said so, but nobody said anything to it afterwards: then nobody
    /// can know whether it was settled. `None`: it has not.
    fn is_in_doubt(&self, (subject, to): &Key, cut: u64) -> Option<bool> {
        let seen = self.host(to)?.seen();
        let is = |to: &str, of: &String| of.trim_matches(['<', '>']) == to;
        let mut mails = seen.mail.iter().filter(|mail| mail.at <= cut);
        let mail = mails.find(|mail| mail.subject() == *subject && mail.to.iter().any(|of| is(to, of)))?;
        let mut heard = seen.lines.iter().zip(&seen.heard);
        Some(
            !heard.any(|((connection, _), at)| *connection == mail.connection && *at > mail.at && *at <= cut),
        )
    }

    /// How often the host that refuses an address had been asked by a position.
    fn refused(&self, by: u64) -> usize {
        let seen = self.hosts[2].seen();
        let asked = seen.lines.iter().zip(&seen.heard).filter(|(_, at)| **at <= by);
        asked.filter(|((_, line), _)| line.contains(REFUSED)).count()
    }

    /// What a server knows of a recipient after a cut may be so.
    fn may_be(&self, key: &Key, known: &Known, cut: u64) {
        let change = |what: &str| {
            let is = |c: &&Change| c.what == what && c.subject == key.0 && c.to == key.1;
            self.ledger.changes.iter().find(is)
        };
        let begun = |what: &str| change(what).is_some_and(|change| change.begun <= cut);
        let done = |what: &str| change(what).is_some_and(|change| change.answered <= cut);
        match known {
            Known::Fate(fate) if fate == "delivered" => {
                assert!(self.is_in_doubt(key, cut).is_some(), "{key:?} was never taken");
            }
            Known::Fate(fate) if fate == "failed" => {
                assert_eq!(key.1, REFUSED, "{key:?}");
            }
            Known::Fate(fate) => assert!(fate == "dropped" && begun("drop"), "{key:?}: {fate}"),
            Known::Waits { held } => {
                assert!(!done("drop"), "{key:?} was taken out, and is there again");
                assert!(!held || begun("hold") && !done("release"), "{key:?} is held");
                assert!(*held || !done("hold") || begun("release"), "{key:?} was held, and is not");
                match self.is_in_doubt(key, cut) {
                    Some(false) => panic!("{key:?} was settled, and is to be sent again"),
                    Some(true) => drop(self.again.fetch_add(1, Ordering::Relaxed)),
                    None => {}
                }
            }
        }
    }

    /// Each message is there for all of its recipients, or for none. Those that are there.
    fn whole(
        &self,
        known: &BTreeMap<Key, Known>,
        local: &BTreeMap<String, usize>,
        cut: u64,
    ) -> Vec<&Message> {
        let mut there = Vec::new();
        for message in &self.ledger.messages {
            let subject = &message.subject;
            let keys = || message.remote().map(|to| (subject.clone(), to.to_owned()));
            let has = keys().filter(|key| known.contains_key(key)).count();
            assert!(has == 0 || has == keys().count(), "a part of {subject}");
            let here = local.get(subject).copied().unwrap_or_default();
            assert_eq!(here, usize::from(has > 0 && message.to.contains(&BEN)), "{subject} in Ben's INBOX");
            if message.answered.is_some_and(|at| at <= cut) {
                assert!(has > 0, "{subject} was acknowledged and is gone");
            }
            if has > 0 {
                assert!(message.begun <= cut, "{subject} comes from nowhere");
                there.push(message);
            }
        }
        let all: usize = there.iter().map(|message| message.remote().count()).sum();
        assert_eq!(all, known.len(), "nobody has sent some of these: {known:?}");
        there
    }

    /// What an account has sent is counted.
    fn counted(house: &House, who: &str, there: &[&Message]) {
        let said = house.command(&["account", "limit", who, "--json"], "");
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let of: Vec<_> = there.iter().filter(|message| message.from == who).collect();
        let to: BTreeSet<&str> = of.iter().flat_map(|message| message.remote()).collect();
        assert_eq!(said["messages_today"], of.len(), "{who}: {said}");
        assert_eq!(said["new_recipients_today"], to.len(), "{who}: {said}");
    }

    fn check(&self, cut: Cut, left: &Path) {
        let house = plan().make_in(left);
        // Nobody is spoken to until it is known what is there.
        let quiet = "CONNECT wait 220 mx.test ESMTP\n";
        let scripts = [quiet, quiet, "CONNECT wait 220 mx.test ESMTP\nRCPT no@c.test 550 5.1.1 no", quiet];
        let hosts = [1, 2, 3, 4].map(|n| house.mx(n, scripts[usize::from(n) - 1]));
        let server = house.serve();
        let (mut known, eves) = (known(&house, ANN), known(&house, EVE));
        known.extend(eves);
        let local = subjects(&server.inbox(BEN, 0));
        let there = self.whole(&known, &local, cut.position);
        known.iter().for_each(|(key, known)| self.may_be(key, known, cut.position));
        [ANN, EVE].iter().for_each(|who| Sent::counted(&house, who, &there));
        let (reports, others): (Vec<_>, Vec<_>) =
            server.inbox(ANN, 0).into_iter().partition(|message| is_report(message));
        let failed = |key: &&Key| known[*key] == Known::Fate("failed".into());
        let failed: BTreeMap<String, usize> =
            known.keys().filter(failed).map(|key| (key.0.clone(), 1)).collect();
        assert_eq!(subjects(&reports), failed, "reports, and what they are of");
        assert!(failed.len() <= self.refused(cut.position), "a host has refused fewer: {failed:?}");
        assert!(others.len() <= 1, "the administrator is told once of Eve's limit: {others:?}");

        hosts.iter().for_each(|host| host.release(usize::MAX));
        self.arrives(&house, &server, &hosts, &known, others.len());
        // Who has sent so much may send the rest and no more.
        let before = there.iter().filter(|message| message.from == EVE).count() as u64;
        let mut sender = server.submission_as(EVE);
        let mut more = 0;
        let reply = loop {
            let reply = sender.try_send(&format!("more-{more}"), &["x@a.test"], "", "", SHORT).unwrap();
            if !reply.starts_with("250") {
                break reply;
            }
            more += 1;
        };
        assert!(reply.starts_with("450 4.7.1") && before + more == EVES, "{before} and {more}: {reply}");
        let told = server.inbox(ANN, 0).into_iter().filter(|message| !is_report(message)).count();
        assert_eq!(told, 1, "the administrator is told once of Eve's limit");
        drop(server.wait(&hosts[0], |seen| {
            seen.mail.iter().filter(|mail| mail.subject().starts_with("more-")).count() as u64 == more
        }));
        drop(sender);
        let log = server.stop();
        assert!(!log.contains("\"ERROR\"") && !log.contains("ERROR "), "{log}");
        house.is_empty();
    }

    /// What waits arrives, what is held once it is released, and nothing else does; what is refused is reported.
    fn arrives(
        &self,
        house: &House,
        server: &Serving,
        hosts: &[Mx; 4],
        known: &BTreeMap<Key, Known>,
        others: usize,
    ) {
        let domains = ["@a.test", "@b.test", "@c.test", "@d.test"];
        let at = |domain: &str, with_held: bool| -> BTreeMap<Key, usize> {
            let waits = |known: &Known| matches!(known, Known::Waits { held } if !held || with_held);
            let is =
                |(key, known): &(&Key, &Known)| key.1.ends_with(domain) && key.1 != REFUSED && waits(known);
            known.iter().filter(is).map(|(key, _)| (key.clone(), 1)).collect()
        };
        let all_arrive = |with_held: bool| {
            for (host, domain) in hosts.iter().zip(domains) {
                let expected = at(domain, with_held);
                let there = |seen: &Seen| {
                    let taken = taken(seen, u64::MAX);
                    expected.keys().all(|key| taken.contains_key(key))
                };
                let seen = server.wait(host, there);
                assert_eq!(taken(&seen, u64::MAX), expected, "more came than was waiting");
                let whole = |mail: &Mail| mail.octets.ends_with(body(&mail.subject()).as_bytes());
                assert!(seen.mail.iter().all(whole), "a message came in part");
            }
        };
        all_arrive(false);
        let refused = known.keys().filter(|key| key.1 == REFUSED);
        let expected: BTreeMap<String, usize> = refused.map(|key| (key.0.clone(), 1)).collect();
        let reports = server.inbox(ANN, expected.len() + others);
        assert_eq!(subjects(reports.iter().filter(|message| is_report(message))), expected);
        if known.values().any(|known| *known == Known::Waits { held: true }) {
            house.command(&["queue", "release", "--domain", "d.test"], "");
        }
        all_arrive(true);
    }
}

#[test]
#[cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64")),
    ignore = "the recorder knows only Linux on x86-64"
)]
fn what_waits_for_other_hosts_survives_a_power_cut() {
    let (mut tape, sent, ready) = record();
    let taken: Vec<u64> = sent
        .hosts
        .iter()
        .flat_map(|host| host.seen().mail.iter().map(|mail| mail.at).collect::<Vec<_>>())
        .collect();
    let acknowledged = sent.ledger.acknowledged + sent.ledger.changes.len();
    let _ = writeln!(std::io::stderr(), "{}; {} arrived", tape.summary(acknowledged), taken.len());
    // Half of the cuts between a host's 250 and what comes of it.
    let near: Vec<usize> = taken.iter().map(|at| tape.step_at(*at)).collect();
    let again = |left: &Path| format!("{BINARY} queue list --config {}/config.toml", left.display());
    tape.survives(24, 5, &near, again, &|cut, left| sent.check(cut, left));
    let twice = sent.again.load(Ordering::Relaxed);
    let _ = writeln!(std::io::stderr(), "{}: {twice} recipients were sent to twice", tape.name);
    tape.shows_the_loss(Believe::NamesOnly, ready, &near, &|cut, left| sent.check(cut, left));
}
