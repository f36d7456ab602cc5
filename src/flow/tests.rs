//! The road against a real store: who gets what, in whose name it may travel, what stands before the message.

mod allowances;
mod changes;
mod full;
mod settling;
mod utf8;

use std::sync::Arc;

use store::{AccountId, Batch, Intent};
use wire::addr::{ForwardPath, ReversePath};

use super::allowances::{Allowances, Daily};
use super::dkim::Keyring;
use super::queue::{Queue, Settings, line};
use super::{Envelope, Error, House, Intake, Origin, owner, route};
use crate::small_store;

/// A house with alice (two addresses), bob and carol at home.test, and aliases in every shape.
pub(super) struct Home {
    pub(super) house: House,
    _dir: tempfile::TempDir,
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.house.store.close();
    }
}

const ALICE: u32 = 0;
const BOB: u32 = 1;
const CAROL: u32 = 2;

impl Home {
    pub(super) async fn new() -> Home {
        let dir = tempfile::tempdir().unwrap();
        let store = small_store::open(dir.path());
        let house = House {
            hostname: Arc::from("mail.home.test"),
            postmaster: None,
            queue: Queue::open(&store, Settings::default()).unwrap(),
            keyring: Keyring::new(store.clone()),
            allowances: Allowances::new(Daily { messages: 1_000, new_recipients: 200 }),
            store,
        };
        let home = Home { house, _dir: dir };
        home.commit(Intent::AddDomain { name: "home.test".into() }).await;
        for addresses in
            [vec!["alice@home.test", "al@home.test"], vec!["bob@home.test"], vec!["carol@home.test"]]
        {
            let addresses: Vec<String> = addresses.into_iter().map(str::to_owned).collect();
            let login = addresses[0].clone();
            home.commit(Intent::AddAccount { login, password: "x".into(), addresses }).await;
        }
        home.alias("info", &["alice"]).await;
        home.alias("all", &["alice", "info", "bob", "al"]).await;
        home.alias("news+weekly", &["bob"]).await;
        home
    }

    async fn commit(&self, intent: Intent) {
        self.house.store.commit(Batch::of(intent)).await.unwrap();
    }

    async fn alias(&self, name: &str, to: &[&str]) {
        let full = |name: &str| format!("{name}@home.test");
        let to = to.iter().map(|name| full(name)).collect();
        self.commit(Intent::AddAlias { address: full(name), to }).await;
    }

    fn account(&self, n: u32) -> AccountId {
        self.house.store.directory().accounts().nth(n as usize).unwrap().id
    }

    fn route(&self, path: &str) -> Result<Vec<u32>, Error> {
        let path = ForwardPath::parse(format!("<{path}>").as_bytes()).unwrap();
        let route = route(&self.house.store.directory(), self.house.postmaster.as_deref(), &path, false)?;
        Ok(route.accounts.iter().map(|a| (0..3).find(|&n| self.account(n) == *a).unwrap()).collect())
    }

    fn owner(&self, address: &str) -> Option<u32> {
        let owner = owner(&self.house.store.directory(), address)?;
        (0..3).find(|&n| self.account(n) == owner)
    }

    /// Sends a message (lines ended by LF here), from elsewhere or from an account.
    async fn send(&self, from: Option<u32>, to: &[&str], message: &str) -> Result<usize, Error> {
        let mut intake = Intake::new(&self.house, from.is_some(), false);
        intake.push(message.replace('\n', "\r\n").as_bytes());
        let origin = Origin {
            peer: "2001:db8::1".parse().unwrap(),
            helo: "client.test".into(),
            extended: true,
            tls: None,
            account: from.map(|n| self.account(n)),
        };
        let to = to.iter().map(|t| ForwardPath::parse(format!("<{t}>").as_bytes()).unwrap()).collect();
        let from = ReversePath::parse(b"<sender@far.test>").unwrap();
        Ok(self.house.take(intake, origin, Envelope::plain(from, to)).await?.copies)
    }

    /// The newest message of an account, as served, lines ended by LF.
    fn newest(&self, n: u32) -> String {
        let store = &self.house.store;
        let inbox = store.directory().mailbox_at(self.account(n), "INBOX").unwrap().id;
        let row = store.view(inbox).unwrap().rows().last().unwrap();
        let message = store.message(&row).unwrap();
        let mut octets = vec![0; usize::try_from(message.len()).unwrap()];
        assert_eq!(message.read_at(0, &mut octets).unwrap(), octets.len());
        assert_eq!(octets.len(), row.size as usize, "RFC822.SIZE is what is served");
        String::from_utf8(octets).unwrap().replace("\r\n", "\n")
    }

    fn count(&self, n: u32) -> usize {
        let store = &self.house.store;
        let inbox = store.directory().mailbox_at(self.account(n), "INBOX").unwrap().id;
        store.view(inbox).unwrap().rows().count()
    }
}

#[tokio::test]
async fn recipients_lead_to_accounts() {
    let mut home = Home::new().await;
    for (path, to) in [
        ("alice@home.test", Ok(vec![ALICE])),
        ("ALICE@Home.Test", Ok(vec![ALICE])),
        ("\"alice\"@home.test", Ok(vec![ALICE])),
        ("al@home.test", Ok(vec![ALICE])),
        ("bob+lists@home.test", Ok(vec![BOB])),
        ("bob+a+b@home.test", Ok(vec![BOB])),
        ("bob+@home.test", Ok(vec![BOB])),
        ("+bob@home.test", Err(Error::NoSuchUser)),
        ("info@home.test", Ok(vec![ALICE])),
        ("info+x@home.test", Ok(vec![ALICE])),
        ("all@home.test", Ok(vec![ALICE, BOB])),
        // An address with a plus of its own goes before the subaddress.
        ("news+weekly@home.test", Ok(vec![BOB])),
        ("news@home.test", Err(Error::NoSuchUser)),
        ("nobody@home.test", Err(Error::NoSuchUser)),
        ("alice@far.test", Err(Error::NotLocal)),
        ("alice@sub.home.test", Err(Error::NotLocal)),
        ("alice@[192.0.2.1]", Err(Error::NotLocal)),
        // Nobody made them, and they are somebody all the same.
        ("postmaster", Ok(vec![ALICE])),
        ("PostMaster@HOME.test", Ok(vec![ALICE])),
        ("abuse@home.test", Ok(vec![ALICE])),
        ("abuse@far.test", Err(Error::NotLocal)),
    ] {
        assert_eq!(home.route(path), to, "{path}");
    }
    for (named, is) in
        [("bob@home.test", BOB), ("BOB@home.test", BOB), ("info@home.test", ALICE), ("gone@home.test", ALICE)]
    {
        home.house.postmaster = Some(Arc::from(named));
        assert_eq!(home.route("postmaster"), Ok(vec![is]), "{named}");
    }
    home.alias("abuse", &["carol"]).await;
    assert_eq!(home.route("abuse@home.test"), Ok(vec![CAROL]));
}

#[tokio::test]
async fn circles_end_however_wide() {
    let home = Home::new().await;
    // Each of twelve leads to all others: followed ten deep that would be 11^10 steps.
    let names: Vec<String> = (0..12).map(|n| format!("r{n}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    for name in &all {
        let others: Vec<&str> = all.iter().filter(|other| *other != name).copied().collect();
        home.alias(name, &others).await;
    }
    assert_eq!(home.route("r0@home.test"), Err(Error::NoSuchUser));
    home.alias("out", &["r0", "bob", "r1"]).await;
    assert_eq!(home.route("out@home.test"), Ok(vec![BOB]));
    // A long chain is no circle.
    home.alias("s0", &["carol"]).await;
    for n in 1..100 {
        home.alias(&format!("s{n}"), &[&format!("s{}", n - 1)]).await;
    }
    assert_eq!(home.route("s99@home.test"), Ok(vec![CAROL]));
}

#[tokio::test]
async fn an_address_is_somebodys_or_nobodys() {
    let home = Home::new().await;
    for (address, is) in [
        ("alice@home.test", Some(ALICE)),
        ("al@home.test", Some(ALICE)),
        ("alice+x@home.test", Some(ALICE)),
        ("info@home.test", Some(ALICE)),
        ("all@home.test", None),
        ("news+weekly@home.test", Some(BOB)),
        ("nobody@home.test", None),
        ("postmaster@home.test", None),
        ("alice@far.test", None),
    ] {
        assert_eq!(home.owner(address), is, "{address}");
    }
}

#[tokio::test]
async fn nobody_submits_in_anothers_name() {
    let home = Home::new().await;
    let not_yours = |address: &str| Err(Error::NotYours(address.into()));
    for (header, outcome) in [
        ("From: alice@home.test", Ok(1)),
        ("FROM:\n\tAlice\n <AL+x@Home.Test>", Ok(1)),
        ("From: \"bob@home.test\" <alice@home.test> (bob@home.test)", Ok(1)),
        ("From: Us: alice@home.test, <info@home.test>;", Ok(1)),
        ("From: alice@home.test\nSender: al@home.test", Ok(1)),
        ("Subject: none", Err(Error::NoAuthor)),
        ("From:", Err(Error::NoAuthor)),
        ("From: undisclosed:;", Err(Error::NoAuthor)),
        ("From: bob@home.test", not_yours("bob@home.test")),
        ("From : bob@home.test", not_yours("bob@home.test")),
        ("From: who@far.test", not_yours("who@far.test")),
        ("From: all@home.test", not_yours("all@home.test")),
        ("From: alice@home.test, bob@home.test", not_yours("bob@home.test")),
        ("From: alice@home.test\nFrom: bob@home.test", not_yours("bob@home.test")),
        ("From: g: bob@home.test;, alice@home.test", not_yours("bob@home.test")),
        // A Sender of one's own lends nobody else's name.
        ("From: bob@home.test, bob@home.test\nSender: alice@home.test", not_yours("bob@home.test")),
        ("From: alice@home.test\nSender: bob@home.test", not_yours("bob@home.test")),
    ] {
        let message = format!("{header}\n\nFrom: bob@home.test\n");
        assert_eq!(home.send(Some(ALICE), &["carol@home.test"], &message).await, outcome, "{header:?}");
    }
    assert_eq!(home.count(CAROL), 5);
    // From elsewhere anybody may say anything.
    assert_eq!(home.send(None, &["carol@home.test"], "From: bob@home.test\n\n").await, Ok(1));
}

#[tokio::test]
async fn what_follows_a_broken_header_line_is_body_for_everybody() {
    let home = Home::new().await;
    let message = "From: alice@home.test\nnot a field\nFrom: bob@home.test\n\nHello\n";
    assert_eq!(home.send(Some(ALICE), &["bob@home.test"], message).await, Ok(1));
    let got = home.newest(BOB);
    let (header, body) = got.split_once("\n\n").unwrap();
    assert!(
        header.contains("\nFrom: alice@home.test\nDate: ") && !header.contains("bob@home.test\nF"),
        "{got}"
    );
    assert_eq!(body, "not a field\nFrom: bob@home.test\n\nHello\n");
}

/// The message with the id and the date blanked, which no test can know.
fn blanked(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let line = match line {
            _ if line.starts_with("\tid ") => {
                let id = line[4..].trim_end_matches(';');
                let atom = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                assert!(atom, "RFC 5321 s.4.4: the id is an atom: {line}");
                line.replace(id, "ID")
            }
            _ if line.starts_with('\t') && line.ends_with(" +0000") => "\tDATE".into(),
            _ if line.starts_with("Date: ") => "Date: DATE".into(),
            _ if line.starts_with("Message-ID: <") && line.ends_with("@mail.home.test>") => {
                "Message-ID: ID".into()
            }
            _ => line.to_owned(),
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[tokio::test]
async fn each_mailbox_gets_one_copy_behind_its_own_trace() {
    let home = Home::new().await;
    let to = ["info@home.test", "Alice+x@Home.Test", "all@home.test", "postmaster", "bob@home.test"];
    assert_eq!(home.send(None, &to, "Subject: x\nBcc: kept@far.test\n\nbody\n").await, Ok(2));
    assert_eq!((home.count(ALICE), home.count(BOB), home.count(CAROL)), (1, 1, 0));
    let message = |to: &str, more: &str| {
        format!(
            "Return-Path: <sender@far.test>\nDelivered-To: {to}\n\
             Received: from client.test ([IPv6:2001:db8::1])\n\tby mail.home.test (Penfold) with {more}\tDATE\n"
        )
    };
    let rest = "Subject: x\nBcc: kept@far.test\n\nbody\n";
    assert_eq!(blanked(&home.newest(ALICE)), message("info@home.test", "ESMTP\n\tid ID;\n") + rest);
    assert_eq!(blanked(&home.newest(BOB)), message("all@home.test", "ESMTP\n\tid ID;\n") + rest);

    assert_eq!(home.send(None, &["carol@home.test"], "no header at all\n").await, Ok(1));
    let one = message("carol@home.test", "ESMTP\n\tid ID\n\tfor <carol@home.test>;\n");
    assert_eq!(blanked(&home.newest(CAROL)), format!("{one}\nno header at all\n"));
    assert_eq!(home.send(None, &["carol@home.test"], "\nan empty header\n").await, Ok(1));
    assert_eq!(blanked(&home.newest(CAROL)), format!("{one}\nan empty header\n"));
    assert_eq!(home.send(None, &["carol@home.test"], "").await, Ok(1));
    assert_eq!(blanked(&home.newest(CAROL)), format!("{one}\n"));

    let submitted = "From: bob@home.test\nbcc: a@far.test,\n b@far.test\nTo: carol\n\nBcc: in the body\n";
    assert_eq!(home.send(Some(BOB), &["carol@home.test"], submitted).await, Ok(1));
    let one = message("carol@home.test", "ESMTPA\n\tid ID\n\tfor <carol@home.test>;\n");
    assert_eq!(
        blanked(&home.newest(CAROL)),
        format!("{one}From: bob@home.test\nTo: carol\nDate: DATE\nMessage-ID: ID\n\nBcc: in the body\n")
    );
    let whole = "From: bob@home.test\nDate: theirs\nMessage-Id: <theirs@x>\n\nx\n";
    assert_eq!(home.send(Some(BOB), &["carol@home.test"], whole).await, Ok(1));
    assert!(home.newest(CAROL).ends_with(whole) && !home.newest(CAROL).contains("Message-ID"));
}

#[tokio::test]
async fn a_large_message_is_edited_in_the_same_way() {
    let home = Home::new().await;
    let body = "0123456789abcde\n".repeat(40_000);
    let message = format!("From: bob@home.test\nBcc: a@far.test\n\n{body}");
    assert_eq!(home.send(Some(BOB), &["carol@home.test"], &message).await, Ok(1));
    let got = home.newest(CAROL);
    assert!(got.ends_with(&format!("\n\n{body}")) && !got.contains("Bcc"));
}

#[tokio::test]
async fn a_loop_is_cut_at_a_hundred() {
    let home = Home::new().await;
    let message = |n: usize| format!("{}Subject: x\n\nReceived: y\n", "Received: x\n".repeat(n));
    assert_eq!(home.send(None, &["bob@home.test"], &message(99)).await, Ok(1));
    assert_eq!(home.send(None, &["bob@home.test"], &message(100)).await, Err(Error::Loop));
    let submitted = format!("From: bob@home.test\n{}", message(100));
    assert_eq!(home.send(Some(BOB), &["bob@home.test"], &submitted).await, Err(Error::Loop));
    assert_eq!(home.count(BOB), 1);
}

#[tokio::test]
async fn a_recipient_gone_since_rcpt_is_told_to_try_again() {
    let home = Home::new().await;
    let gone = home.send(None, &["bob@home.test", "gone@home.test"], "Subject: x\n\n").await;
    assert_eq!(gone, Err(Error::Unavailable));
    assert_eq!(home.count(BOB), 0, "all or nothing");
}

#[tokio::test]
async fn what_goes_elsewhere_waits_in_the_queue_signed_and_without_bcc() {
    let home = Home::new().await;
    let intents = home.house.keyring.keys("home.test").unwrap();
    assert!(intents.is_empty());
    for key in super::dkim::Key::pair("home.test", &[], super::dkim::State::Active, 0).unwrap() {
        home.commit(key.write()).await;
    }
    home.house.keyring.changed("home.test");
    let message = "From: alice@home.test\nTo: friend@far.test\nBcc: hidden@far.test\nSubject: =?utf-8?q?h=C3=A4?=\n\nbody\n";
    let to = ["bob@home.test", "friend@far.test", "hidden@FAR.test", "friend@far.test"];
    assert_eq!(home.send(Some(ALICE), &to, message).await, Ok(1));
    let queued = line::messages(&home.house.store, None, 9).unwrap();
    let [queued] = queued.as_slice() else { panic!("{queued:?}") };
    assert_eq!(
        (queued.entry.subject.as_str(), queued.entry.account),
        ("hä", Some(home.account(ALICE).get()))
    );
    let octets = home.house.store.content(queued.content).unwrap().to_vec().unwrap();
    let text = String::from_utf8(octets).unwrap();
    assert_eq!(text.matches("DKIM-Signature: v=1;").count(), 2, "{text}");
    assert!(
        !text.contains("hidden@") && !text.contains("Return-Path") && text.contains("\r\n\r\nbody\r\n"),
        "{text}"
    );
    let recipients = line::recipients(&home.house.store, &queued.id).unwrap();
    let to: Vec<_> = recipients.iter().map(|(n, r)| (*n, r.to.as_str())).collect();
    assert_eq!(to, [(0, "friend@far.test"), (1, "hidden@far.test")]);
    assert_eq!(home.house.queue.count(), (2, 0));
}

#[tokio::test]
async fn an_alias_leads_out_too_but_mail_from_elsewhere_goes_nowhere_else() {
    let home = Home::new().await;
    home.commit(Intent::AddAlias {
        address: "club@home.test".into(),
        to: vec!["bob@home.test".into(), "club@far.test".into(), "club@far.test".into()],
    })
    .await;
    assert_eq!(home.route("friend@far.test"), Err(Error::NotLocal));
    assert_eq!(home.route("club@home.test"), Ok(vec![BOB]));
    assert_eq!(home.owner("club@home.test"), None, "nobody may write in the name of many");
    assert_eq!(home.send(None, &["club@home.test"], "From: x@far.test\n\nhello\n").await, Ok(1));
    let queued = line::messages(&home.house.store, None, 9).unwrap();
    let [queued] = queued.as_slice() else { panic!("{queued:?}") };
    assert_eq!((queued.entry.from.as_str(), queued.entry.account), ("<sender@far.test>", None));
    let text = home.house.store.content(queued.content).unwrap().to_vec().unwrap();
    assert!(!String::from_utf8(text).unwrap().contains("DKIM-Signature"), "it is not ours to vouch for");
    let recipients = line::recipients(&home.house.store, &queued.id).unwrap();
    assert_eq!(recipients.iter().map(|(_, r)| r.to.as_str()).collect::<Vec<_>>(), ["club@far.test"]);
}
