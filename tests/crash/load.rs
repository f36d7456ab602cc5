//! What the clients do: one command out at a time, noted before it is sent and when it is acknowledged.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Condvar, Mutex};

use crate::model::{Change, Key, Seen, Truth};
use crate::support::client::{Lines, message};
use crate::support::server::Demo;

/// All of them. First the senders.
pub const CLIENTS: usize = 8;
/// Those that deliver by SMTP.
pub const SENDERS: usize = 3;
/// The one that flags, moves and expunges what the senders delivered before.
pub const KEEPER: usize = 3;

/// Octets of most messages: several share a group.
const SMALL: usize = 6_000;
/// Octets of every sixteenth: a side segment.
const LARGE: usize = 300_000;

/// The mailboxes that the clients use besides INBOX.
pub fn make_mailboxes(s: &mut Lines) {
    for name in (KEEPER..CLIENTS).flat_map(|client| [home(client), kept(client)]) {
        if name != "INBOX" {
            let (_, done) = s.imap("c", &format!("CREATE \"{name}\"")).unwrap();
            assert!(done.starts_with("c OK"), "{done}");
        }
    }
}

/// Where a client's messages begin.
fn home(client: usize) -> String {
    if client < 6 { "INBOX".into() } else { format!("Box {client}") }
}

/// Where it copies and moves them.
fn kept(client: usize) -> String {
    format!("Kept/{client}")
}

fn flags(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// One client, for one round.
pub struct Client<'a> {
    number: usize,
    round: usize,
    truth: &'a (Mutex<Truth>, Condvar),
    sent: usize,
}

impl<'a> Client<'a> {
    /// A client that has not connected yet.
    pub fn new(number: usize, round: usize, truth: &'a (Mutex<Truth>, Condvar)) -> Client<'a> {
        Client { number, round, truth, sent: 0 }
    }

    /// Works until the connection breaks.
    pub fn work(mut self, demo: &Demo, seen: &Seen) {
        let ended = match self.number {
            0..SENDERS => self.deliver(demo),
            KEEPER => self.keep(demo, seen),
            _ => self.housekeep(demo, seen),
        };
        match ended {
            // The kill, or enough. Whatever else a server says of these commands is wrong.
            Err(e) if e.kind() != io::ErrorKind::Other => {}
            Err(e) => panic!("client {} was refused: {e}", self.number),
            Ok(()) => {}
        }
    }

    /// Does one command, and sees that it is acknowledged.
    fn one(&self, change: Change, command: impl FnOnce() -> io::Result<String>) -> io::Result<String> {
        let pace = self.truth.0.lock().unwrap().pace;
        if !pace.is_zero() {
            std::thread::sleep(pace);
        }
        {
            let mut truth = self.truth.0.lock().unwrap();
            if truth.enough {
                return Err(io::ErrorKind::Interrupted.into());
            }
            truth.begin(self.number, change);
        }
        let answer = command()?;
        if !answer.starts_with("250") && !answer.starts_with("a OK") {
            return Err(io::Error::other(answer));
        }
        self.truth.0.lock().unwrap().acknowledge(self.number, &answer);
        self.truth.1.notify_all();
        Ok(answer)
    }

    fn next_message(&mut self) -> (String, Vec<u8>) {
        let id = format!("r{}-c{}-{}", self.round, self.number, self.sent);
        let large = (self.sent + self.number) % 16 == 15;
        self.sent += 1;
        let octets = message(&id, if large { LARGE } else { SMALL });
        self.truth.0.lock().unwrap().sends(&id, octets.len());
        (id, octets)
    }

    fn deliver(&mut self, demo: &Demo) -> io::Result<()> {
        let mut s = Lines::plain(demo.addr("smtp"))?;
        s.smtp_reply()?;
        s.smtp("EHLO crash.example")?;
        loop {
            let (id, octets) = self.next_message();
            let change = Change::Add(("INBOX".into(), id), BTreeSet::new());
            self.one(change, || s.deliver("sender@example.net", "alice@demo.test", &octets))?;
        }
    }

    fn select(&self, demo: &Demo) -> io::Result<Lines> {
        let (user, password) = demo.account(0);
        let mut s = Lines::plain(demo.addr("imap"))?;
        s.line()?;
        for command in [format!("LOGIN {user} {password}"), format!("SELECT \"{}\"", home(self.number))] {
            let (_, done) = s.imap("a", &command)?;
            if !done.starts_with("a OK") {
                return Err(io::Error::other(done));
            }
        }
        Ok(s)
    }

    /// Messages of this client that were in its home at the start of the round, with their UIDs.
    fn at_home(&self, seen: &Seen) -> Vec<(Key, u32)> {
        let truth = self.truth.0.lock().unwrap();
        let home = home(self.number);
        let keys = truth.state(self.number).keys().filter(|key| key.0 == home);
        keys.map(|key| (key.clone(), seen.uid(key))).collect()
    }

    fn keep(&mut self, demo: &Demo, seen: &Seen) -> io::Result<()> {
        let mut s = self.select(demo)?;
        for (n, (key, uid)) in self.at_home(seen).into_iter().enumerate() {
            match n % 4 {
                0 => self.set_flags(&mut s, &key, uid, &["\\Seen", "\\Flagged"])?,
                1 => self.set_flags(&mut s, &key, uid, &["\\Answered", "$Forwarded"])?,
                2 => self.move_away(&mut s, &key, uid)?,
                _ => {
                    self.mark(&mut s, &key, uid, "\\Deleted")?;
                    let command = format!("UID EXPUNGE {uid}");
                    self.one(Change::Expunge(vec![key]), || Ok(s.imap("a", &command)?.1))?;
                }
            }
        }
        Ok(())
    }

    fn housekeep(&mut self, demo: &Demo, seen: &Seen) -> io::Result<()> {
        let mut s = self.select(demo)?;
        let mut mine = self.at_home(seen);
        for n in self.round.. {
            if mine.len() < 4 {
                mine.push(self.append(&mut s)?);
                continue;
            }
            match n % 7 {
                0 | 1 => mine.push(self.append(&mut s)?),
                2 => {
                    let (key, uid) = mine.last().cloned().unwrap();
                    self.set_flags(&mut s, &key, uid, &["\\Answered", "$Work"])?;
                }
                3 => {
                    let (key, uid) = mine[0].clone();
                    self.mark(&mut s, &key, uid, &format!("$Round{}", self.round % 50))?;
                }
                4 => {
                    if let Some((key, uid)) = mine.iter().find(|(key, _)| self.is_free(key)).cloned() {
                        let to = kept(self.number);
                        let command = format!("UID COPY {uid} \"{to}\"");
                        self.one(Change::Copy(key, to), || Ok(s.imap("a", &command)?.1))?;
                    }
                }
                5 => {
                    // One that is there already as a copy stays.
                    if let Some(at) = mine.iter().rposition(|(key, _)| self.is_free(key)) {
                        let (key, uid) = mine.remove(at);
                        self.move_away(&mut s, &key, uid)?;
                    }
                }
                _ => self.expunge(&mut s, &mut mine)?,
            }
        }
        Ok(())
    }

    /// Whether a message has no copy yet.
    fn is_free(&self, key: &Key) -> bool {
        let copy = (kept(self.number), key.1.clone());
        !self.truth.0.lock().unwrap().state(self.number).contains_key(&copy)
    }

    fn append(&mut self, s: &mut Lines) -> io::Result<(Key, u32)> {
        let (id, octets) = self.next_message();
        let key = (home(self.number), id);
        let given: &[&str] = if self.sent.is_multiple_of(2) { &["\\Seen", "$Given"] } else { &[] };
        let head = format!("\"{}\" ({})", key.0, given.join(" "));
        let answer = self.one(Change::Add(key.clone(), flags(given)), || s.append("a", &head, &octets))?;
        let uid = answer.split_once("[APPENDUID ").and_then(|(_, rest)| rest.split([' ', ']']).nth(1));
        Ok((key, uid.unwrap().parse().unwrap()))
    }

    fn set_flags(&self, s: &mut Lines, key: &Key, uid: u32, names: &[&str]) -> io::Result<()> {
        let command = format!("UID STORE {uid} FLAGS ({})", names.join(" "));
        self.one(Change::Flags(key.clone(), flags(names)), || Ok(s.imap("a", &command)?.1)).map(drop)
    }

    fn mark(&self, s: &mut Lines, key: &Key, uid: u32, flag: &str) -> io::Result<()> {
        let command = format!("UID STORE {uid} +FLAGS.SILENT ({flag})");
        self.one(Change::Mark(key.clone(), flag.into()), || Ok(s.imap("a", &command)?.1)).map(drop)
    }

    fn move_away(&self, s: &mut Lines, key: &Key, uid: u32) -> io::Result<()> {
        let to = kept(self.number);
        let command = format!("UID MOVE {uid} \"{to}\"");
        self.one(Change::Move(key.clone(), to), || Ok(s.imap("a", &command)?.1)).map(drop)
    }

    /// Marks two and expunges: in a mailbox of its own all that is marked, in INBOX only its own.
    fn expunge(&self, s: &mut Lines, mine: &mut Vec<(Key, u32)>) -> io::Result<()> {
        for (key, uid) in mine.iter().take(2) {
            self.mark(s, key, *uid, "\\Deleted")?;
        }
        let marked: Vec<Key> = {
            let truth = self.truth.0.lock().unwrap();
            let state = truth.state(self.number);
            let at_home = mine.iter().filter(|(key, _)| state[key].contains("\\Deleted"));
            at_home.map(|(key, _)| key.clone()).collect()
        };
        let uids: Vec<String> =
            mine.iter().filter(|(key, _)| marked.contains(key)).map(|(_, uid)| uid.to_string()).collect();
        let command = match home(self.number).as_str() {
            "INBOX" => format!("UID EXPUNGE {}", uids.join(",")),
            _ => "EXPUNGE".to_owned(),
        };
        mine.retain(|(key, _)| !marked.contains(key));
        self.one(Change::Expunge(marked), || Ok(s.imap("a", &command)?.1)).map(drop)
    }
}
