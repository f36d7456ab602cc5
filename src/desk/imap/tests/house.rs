//! A server without sockets, and clients that hold every line of an answer against what it should be.

use std::sync::Arc;
use std::time::Duration;

use store::index::sled::SledHost;
use store::{Batch, FlagChange, Intent, Options, RealVfs, Store, Tuning, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use wire::flag::FlagNames;
use wire::imap::session::{Capabilities, Config, Session};
use wire::machine::Peer;
use wire::secret::Secret;

use super::super::{ImapDesk, Recents};
use crate::clock;
use crate::disk::Ahead;
use crate::login::Door;
use crate::net::{Terms, drive};
use crate::password::Passwords;

pub(super) const PASSWORD: &str = "open sesame";

#[derive(Debug)]
struct Clock;

impl store::Clock for Clock {
    fn wall(&self) -> UnixTime {
        let now = clock::wall();
        UnixTime { secs: now.seconds, nanos: now.nanos }
    }
    fn monotonic(&self) -> Duration {
        clock::monotonic()
    }
}

/// A store with one account, `alice`, and the door to it.
pub(super) struct House {
    pub(super) store: Store,
    pub(super) account: store::AccountId,
    door: Door,
    recents: Recents,
    /// What may be read ahead of clients.
    pub(super) ahead: Ahead,
    _dir: tempfile::TempDir,
}

impl House {
    pub(super) async fn new() -> House {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            vfs: Arc::new(RealVfs::new(dir.path())),
            index: Arc::new(SledHost::new(dir.path())),
            derive: Arc::new(crate::mime::Deriver),
            clock: Arc::new(Clock),
            random: Arc::new(|octets: &mut [u8]| aws_lc_rs::rand::fill(octets).unwrap()),
            progress: Arc::new(|_| {}),
            condemned: Arc::new(|why: &str| panic!("the index failed: {why}")),
            boot_id: None,
            tuning: Tuning { ..Tuning::default() },
            threads: true,
        };
        let recents = Recents::new();
        let (store, _) = Store::open(options).unwrap();
        let passwords = Passwords::new().unwrap();
        let hash = passwords.hash(&Secret::new(PASSWORD.to_owned())).await.unwrap();
        let mut batch = Batch::new();
        batch.push(Intent::AddDomain { name: "demo.test".into() });
        let at = batch.push(Intent::AddAccount {
            login: "alice".into(),
            password: hash.expose().clone(),
            addresses: vec!["alice@demo.test".into()],
        });
        let committed = store.commit(batch).await.unwrap();
        let store::Outcome::Account(account) = committed.outcomes[at] else { panic!("no account") };
        let door = Door::new(store.clone(), passwords, 10);
        House { store, account, door, recents, ahead: Ahead::default(), _dir: dir }
    }

    pub(super) async fn change_password(&self) {
        let password = "$argon2id$other".to_owned();
        self.store.commit(Batch::of(Intent::SetPassword { account: self.account, password })).await.unwrap();
    }

    /// Puts so many small messages into INBOX.
    pub(super) async fn fill(&self, messages: usize) {
        let mailbox = self.store.directory().mailbox_at(self.account, "INBOX").unwrap().id;
        let mut left = messages;
        while left > 0 {
            let mut batch = Batch::new();
            for _ in 0..left.min(500) {
                let body = batch.body(format!("Subject: {left}\r\n\r\n").into_bytes());
                let (prefix, flags) = (store::Prefix::default(), FlagNames::default());
                batch.push(Intent::Append { mailbox, body, prefix, flags, date: None });
            }
            self.store.commit(batch).await.unwrap();
            left -= left.min(500);
        }
    }

    /// Marks a message behind the sessions' backs.
    pub(super) async fn flag(&self, path: &str, uid: u32, change: FlagChange) {
        let mailbox = self.store.directory().mailbox_at(self.account, path).unwrap().id;
        let uids = [uid].into_iter().collect();
        let intent = Intent::Flags { mailbox, uids, change, unchanged_since: None };
        self.store.commit(Batch::of(intent)).await.unwrap();
    }

    /// A connection that has seen the greeting.
    pub(super) async fn connect(&self) -> Client {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let config = Config {
            hostname: "mail.demo.test".into(),
            starttls: false,
            auth_in_plain: true,
            max_message: wire::limits::MESSAGE,
            without: Capabilities::NONE,
        };
        let ip = "127.0.0.1".parse().unwrap();
        let machine = Session::new(config, &Peer { ip, tls: None });
        let (door, recents) = (self.door.clone(), self.recents.clone());
        let desk = ImapDesk::new(self.store.clone(), door, recents, self.ahead.clone(), ip);
        let server = tokio::spawn(async move {
            drive(far, machine, desk, Arc::new(Terms::default())).await;
        });
        let mut client = Client { stream: near, unread: Vec::new(), tag: 0, server };
        let greeting = client.line().await;
        assert!(greeting.starts_with("* OK "), "{greeting}");
        client
    }

    /// A client of alice.
    pub(super) async fn client(&self) -> Client {
        let mut client = self.connect().await;
        let answer = client.run(&format!("LOGIN alice \"{PASSWORD}\"")).await;
        assert!(answer.contains("OK"), "{answer}");
        client
    }

    /// A client that has opened INBOX.
    pub(super) async fn in_inbox(&self) -> Client {
        let mut client = self.client().await;
        client.run("SELECT INBOX").await;
        client
    }
}

/// A client's end of a connection.
pub(super) struct Client {
    stream: DuplexStream,
    unread: Vec<u8>,
    tag: u32,
    pub(super) server: JoinHandle<()>,
}

impl Client {
    async fn more(&mut self) -> bool {
        let read = timeout(Duration::from_secs(20), self.stream.read_buf(&mut self.unread));
        read.await.expect("the server says nothing").unwrap() > 0
    }

    /// The next line without its end; `(closed)` at the end.
    pub(super) async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return String::from_utf8_lossy(&line[..end]).into_owned();
            }
            if !self.more().await {
                return "(closed)".into();
            }
        }
    }

    /// A response: a line with the literals in it.
    pub(super) async fn response(&mut self) -> String {
        let mut whole = String::new();
        loop {
            let line = self.line().await;
            whole.push_str(&line);
            let Some(octets) = line.strip_suffix('}').and_then(|l| l.rsplit_once('{')) else { return whole };
            let Ok(octets) = octets.1.parse::<usize>() else { return whole };
            while self.unread.len() < octets {
                assert!(self.more().await, "the connection ends in a literal");
            }
            let literal: Vec<u8> = self.unread.drain(..octets).collect();
            whole.push_str("\r\n");
            whole.push_str(&String::from_utf8_lossy(&literal));
        }
    }

    pub(super) async fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).await.unwrap();
    }

    /// Runs a command: its responses, one a line; the tag is a dot.
    pub(super) async fn run(&mut self, command: &str) -> String {
        self.tag += 1;
        let tag = format!("a{}", self.tag);
        self.send(format!("{tag} {command}\r\n").as_bytes()).await;
        self.until(&tag).await
    }

    async fn until(&mut self, tag: &str) -> String {
        let mut said = String::new();
        loop {
            let response = self.response().await;
            let ended = response.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' '));
            said.push_str(&match ended {
                Some(rest) => format!(". {rest}"),
                None => response.clone(),
            });
            if ended.is_some() || response == "(closed)" {
                return said;
            }
            said.push('\n');
        }
    }

    /// Runs a command and holds what is said against `expected`: lines without indentation, `#` for any number.
    #[track_caller]
    pub(super) fn hears(&mut self, command: &str, expected: &str) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            let said = self.run(command).await;
            same(&said, expected, &format!("{at}: {command}"));
        }
    }

    /// Appends a message to a mailbox; the tagged answer.
    pub(super) async fn append(&mut self, to: &str, message: &str) -> String {
        self.append_octets(to, message.as_bytes()).await
    }

    pub(super) async fn append_octets(&mut self, to: &str, message: &[u8]) -> String {
        self.tag += 1;
        let tag = format!("a{}", self.tag);
        self.send(format!("{tag} APPEND {to} {{{}+}}\r\n", message.len()).as_bytes()).await;
        // The server reads while we write: a large message does not fit into the stream.
        self.send(message).await;
        self.send(b"\r\n").await;
        self.until(&tag).await
    }
}

/// Compares, line by line.
#[track_caller]
pub(super) fn same(said: &str, expected: &str, what: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let heard: Vec<&str> = said.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let fits = expected.len() == heard.len() && expected.iter().zip(&heard).all(|(e, h)| fits(e, h));
    assert!(fits, "{what}\n--- heard\n{}\n--- expected\n{}\n", heard.join("\n"), expected.join("\n"));
}

/// `#` is any number, `~` at the end anything.
fn fits(expected: &str, heard: &str) -> bool {
    match expected.find(['#', '~']) {
        None => expected == heard,
        Some(at) => {
            let (same, rest) = expected.split_at(at);
            let Some(heard) = heard.strip_prefix(same) else { return false };
            if rest == "~" {
                return true;
            }
            let digits = heard.len() - heard.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            digits > 0 && fits(&rest[1..], &heard[digits..])
        }
    }
}
