//! What accounts may send in a day: counted with the message or not at all, and told to the administrator once.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use store::{Book, Store};

use super::*;
use crate::clock;
use crate::flow::allowances::{Custom, Spent, forget};
use crate::flow::dsn::Allowance;

const MESSAGE: &str = "From: bob@home.test\n\nhello\n";
const YEAR: i64 = 365 * 24 * 3_600;

fn spent(store: &Store, account: AccountId) -> Spent {
    Spent::of(store, account, clock::wall().seconds).unwrap()
}

fn queued(store: &Store) -> usize {
    line::messages(store, None, usize::MAX).unwrap().len()
}

impl Home {
    async fn with(messages: u64, new_recipients: u64) -> Home {
        let mut home = Home::new().await;
        home.house.allowances = Allowances::new(Daily { messages, new_recipients });
        home
    }

    fn spent(&self, n: u32) -> (u64, u64) {
        let spent = spent(&self.house.store, self.account(n));
        (spent.messages, spent.new_recipients)
    }

    /// Lines of an account.
    fn lines(&self, account: u32) -> usize {
        let (from, to) = (account.to_be_bytes(), (account + 1).to_be_bytes());
        self.house.store.lines(Book::Allowances, &from, Some(&to), usize::MAX).unwrap().len()
    }
}

fn reached(outcome: &Result<usize, Error>) -> Option<(Allowance, u64)> {
    match outcome {
        Err(Error::LimitReached { allowance, limit, again }) => {
            let wait = again - clock::wall().seconds;
            assert!((1..=24 * 3_600).contains(&wait), "{wait}");
            Some((*allowance, *limit))
        }
        _ => None,
    }
}

#[tokio::test]
async fn messages_and_new_recipients_elsewhere_count_up_to_their_limits() {
    let home = Home::with(3, 2).await;
    // Not what stays here.
    assert_eq!(home.send(Some(BOB), &["carol@home.test", "bob@home.test"], MESSAGE).await, Ok(2));
    assert_eq!((home.spent(BOB), home.lines(home.account(BOB).get())), ((0, 0), 0));
    // One message, however many recipients; one recipient, however it is written.
    let to = ["one@far.test", "One@FAR.test", "carol@home.test"];
    assert_eq!(home.send(Some(BOB), &to, MESSAGE).await, Ok(1));
    assert_eq!(home.spent(BOB), (1, 1));
    let third = home.send(Some(BOB), &["one@far.test", "two@far.test", "three@far.test"], MESSAGE).await;
    assert_eq!(reached(&third), Some((Allowance::NewRecipients, 2)), "{third:?}");
    assert_eq!((home.spent(BOB), queued(&home.house.store)), ((1, 1), 1), "nothing of it is kept");
    assert_eq!(home.count(ALICE), 1);
    let notice = home.newest(ALICE);
    assert!(
        notice.starts_with("Return-Path: <>\nDelivered-To: postmaster@mail.home.test\n")
            && notice.contains("\nSubject: An account has reached its sending limit: bob@home.test\n"),
        "{notice}"
    );
    // Who was written to may be written to.
    assert_eq!(home.send(Some(BOB), &["one@far.test", "two@far.test"], MESSAGE).await, Ok(0));
    assert_eq!(home.send(Some(BOB), &["two@far.test"], MESSAGE).await, Ok(0));
    assert_eq!(home.spent(BOB), (3, 2));
    for _ in 0..3 {
        let more = home.send(Some(BOB), &["two@far.test"], MESSAGE).await;
        assert_eq!(reached(&more), Some((Allowance::Messages, 3)), "{more:?}");
    }
    assert_eq!(home.count(ALICE), 1, "the administrator is told once a day");
    // Local mail goes on, and so does everybody else's.
    assert_eq!(home.send(Some(BOB), &["carol@home.test"], MESSAGE).await, Ok(1));
    let carols = "From: carol@home.test\n\nhello\n";
    assert_eq!(home.send(Some(CAROL), &["one@far.test"], carols).await, Ok(0));
    assert_eq!(home.spent(CAROL), (1, 1));
    // More is allowed to one.
    let bob = home.account(BOB);
    home.commit(Custom { messages: Some(4), new_recipients: None }.write(bob)).await;
    assert_eq!(home.send(Some(BOB), &["two@far.test"], MESSAGE).await, Ok(0));
    let more = home.send(Some(BOB), &["two@far.test"], MESSAGE).await;
    assert_eq!(reached(&more), Some((Allowance::Messages, 4)), "{more:?}");
    home.commit(Custom { messages: Some(0), new_recipients: None }.write(bob)).await;
    let none = home.send(Some(BOB), &["two@far.test"], MESSAGE).await.unwrap_err();
    assert!(matches!(none, Error::LimitReached { limit: 0, .. }) && !none.is_temporary());
}

#[tokio::test]
async fn rcpt_knows_what_the_end_of_the_data_will_say() {
    let home = Home::with(1, 2).await;
    let address = |text: &str| wire::addr::Address::parse(text.as_bytes()).unwrap();
    let bob = home.account(BOB);
    let mut new = std::collections::BTreeSet::new();
    for (to, is_taken) in
        [("a@far.test", true), ("A@far.test", true), ("b@far.test", true), ("c@far.test", false)]
    {
        let said = home.house.may_send(bob, &mut new, &[address(to)]).await;
        assert_eq!(said.is_ok(), is_taken, "{to} {said:?}");
    }
    assert_eq!((new.len(), home.spent(BOB), home.count(ALICE)), (2, (0, 0), 1));
    assert_eq!(home.send(Some(BOB), &["a@far.test"], MESSAGE).await, Ok(0));
    let said = home.house.may_send(bob, &mut Default::default(), &[address("a@far.test")]).await;
    assert_eq!(reached(&said.map(|()| 0)), Some((Allowance::Messages, 1)));
    assert_eq!(home.house.may_send(bob, &mut new, &[]).await, Ok(()));
}

#[tokio::test]
async fn many_sessions_at_once_do_not_pass_together() {
    let home = Home::with(3, 2).await;
    let send = || home.send(Some(BOB), &["one@far.test"], MESSAGE);
    let (a, b, c, d, e, f) = tokio::join!(send(), send(), send(), send(), send(), send());
    let taken = [a, b, c, d, e, f].iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!((taken, queued(&home.house.store), home.spent(BOB)), (3, 3, (3, 1)));
    assert_eq!(home.count(ALICE), 1);
}

/// Copies the log, which is all that is promised to be there after a power cut, without its last octets.
fn crashed(from: &Path, cut: u64) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let mut last = None;
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
        }
    }
    std::fs::create_dir(to.path().join("log")).unwrap();
    for entry in std::fs::read_dir(from.join("log")).unwrap().map(Result::unwrap) {
        let copy = to.path().join("log").join(entry.file_name());
        std::fs::copy(entry.path(), &copy).unwrap();
        if entry.file_name() == "00000001.seg" {
            last = Some(copy);
        }
    }
    let last = last.expect("the first segment");
    let octets = std::fs::read(&last).unwrap();
    let end = octets.iter().rposition(|&octet| octet != 0).unwrap() as u64 + 1;
    let file = File::options().write(true).open(&last).unwrap();
    file.write_all_at(&vec![0; usize::try_from(cut).unwrap()], end - cut).unwrap();
    to
}

#[tokio::test]
async fn a_crash_neither_forgets_nor_doubles_what_was_sent() {
    let home = Home::with(1_000, 200).await;
    let bob = home.account(BOB);
    for n in 0..6 {
        let to = [format!("{n}@far.test"), format!("{n}@further.test")];
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        assert_eq!(home.send(Some(BOB), &to, MESSAGE).await, Ok(0));
    }
    let mut seen = std::collections::BTreeSet::new();
    for cut in [0, 1, 200, 900, 2_000, 4_000, 6_000] {
        let copy = crashed(home._dir.path(), cut);
        let store = small_store::open(copy.path());
        let (spent, queued) = (spent(&store, bob), queued(&store) as u64);
        assert_eq!((spent.messages, spent.new_recipients), (queued, 2 * queued), "{cut} octets cut");
        let known = store.lines(Book::Allowances, &[], None, usize::MAX).unwrap().len() as u64;
        assert_eq!(known, 2 * queued + u64::from(queued > 0), "{cut} octets cut");
        seen.insert(queued);
        store.close().unwrap();
    }
    assert!(seen.contains(&6) && seen.contains(&5) && seen.len() > 2, "{seen:?}");
}

#[tokio::test]
async fn who_was_not_written_to_within_a_year_is_new_again_and_forgotten() {
    let home = Home::with(10, 10).await;
    let now = clock::wall().seconds;
    let bob = home.account(BOB);
    assert_eq!(home.send(Some(BOB), &["old@far.test", "new@far.test"], MESSAGE).await, Ok(0));
    let written = |address: &str, at: i64| {
        let key = [&bob.get().to_be_bytes()[..], &[2], address.as_bytes()].concat();
        Intent::Write { book: Book::Allowances, key, value: at.to_string().into_bytes() }
    };
    home.commit(written("old@far.test", now - YEAR - 60)).await;
    home.commit(written("new@far.test", now - YEAR + 3_600)).await;
    let gone = 4_711_u32;
    for n in 0..3_u8 {
        let key = [&gone.to_be_bytes()[..], &[n]].concat();
        home.commit(Intent::Write { book: Book::Allowances, key, value: b"{}".to_vec() }).await;
    }
    assert_eq!((home.lines(bob.get()), home.lines(gone)), (3, 3));
    home.house.tidy_allowances(now).await;
    assert_eq!((home.lines(bob.get()), home.lines(gone)), (2, 0));
    // Writing to somebody keeps him known.
    assert_eq!(home.send(Some(BOB), &["old@far.test", "new@far.test"], MESSAGE).await, Ok(0));
    assert_eq!(home.spent(BOB), (2, 3));
    home.house.tidy_allowances(now + 7_200).await;
    assert_eq!(home.lines(bob.get()), 3);
    forget(&home.house.store, bob.get()).await.unwrap();
    assert_eq!(home.lines(bob.get()), 0);
}

#[tokio::test]
async fn an_address_longer_than_a_key_is_known_too() {
    let home = Home::with(10, 10).await;
    // As long as a path may be, with its brackets.
    let to = format!("{}@{1}.{1}.{1}.test", "x".repeat(57), "d".repeat(63));
    assert_eq!(to.len(), 254);
    for _ in 0..2 {
        assert_eq!(home.send(Some(BOB), &[to.as_str()], MESSAGE).await, Ok(0));
    }
    assert_eq!(home.spent(BOB), (2, 1));
}
