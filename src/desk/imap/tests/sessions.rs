//! Several sessions on one mailbox (RFC 2180), IDLE, and the end of a session.

use store::FlagChange;
use wire::flag::{FlagNames, SystemFlag, SystemFlags};

use super::house::House;

async fn house_of(messages: usize) -> House {
    let house = House::new().await;
    let mut c = house.client().await;
    for i in 1..=messages {
        c.append("INBOX", &format!("Subject: {i}\r\n\r\nbody {i}\r\n")).await;
    }
    house
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_stay_until_expunge_is_told() {
    let house = house_of(4).await;
    let (mut a, mut b) = (house.in_inbox().await, house.in_inbox().await);
    a.hears("STORE 2:3 +FLAGS.SILENT (\\Deleted)", ". OK Stored").await;
    a.hears("EXPUNGE", "* 3 EXPUNGE\n* 2 EXPUNGE\n. OK Expunged").await;
    let answer = a.append("INBOX", "Subject: 5\r\n\r\n").await;
    assert!(answer.starts_with("* 3 EXISTS"), "{answer}");
    // RFC 2180 s.4.1: b has not been told, and still reads what is gone.
    b.hears("FETCH 2 BODY.PEEK[TEXT]", "* 2 FETCH (BODY[TEXT] {8}\nbody 2\n)\n. OK Fetched").await;
    b.hears("FETCH 4 UID", "* 4 FETCH (UID 4)\n. OK Fetched").await;
    b.hears("SEARCH SUBJECT 3", "* SEARCH 3\n. OK Searched").await;
    b.hears("STORE 1:3 +FLAGS (\\Seen)", "* 1 FETCH (FLAGS (\\Seen))\n. OK [EXPUNGEISSUED] Stored").await;
    b.hears("FETCH 5 UID", ". BAD ~").await;
    b.hears("COPY 2:4 Archive", "* 3 EXPUNGE\n* 2 EXPUNGE\n* 3 EXISTS\n* 0 RECENT\n. NO [EXPUNGEISSUED] ~")
        .await;
    b.hears("NOOP", ". OK ~").await;
    b.hears("FETCH 1:* (UID)", "* 1 FETCH (UID 1)\n* 2 FETCH (UID 4)\n* 3 FETCH (UID 5)\n. OK Fetched").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noop_tells_everything_in_order() {
    let house = house_of(3).await;
    let (mut a, mut b) = (house.in_inbox().await, house.in_inbox().await);
    a.hears("STORE 1 +FLAGS.SILENT (\\Deleted)", ". OK Stored").await;
    a.hears("STORE 3 +FLAGS.SILENT ($New)", "* FLAGS ~\n* OK [PERMANENTFLAGS ~\n. OK Stored").await;
    a.hears("EXPUNGE", "* 1 EXPUNGE\n. OK Expunged").await;
    a.append("INBOX", "Subject: 4\r\n\r\n").await;
    b.hears(
        "NOOP",
        r"* FLAGS (\Answered \Flagged \Deleted \Seen \Draft $New)
          * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft $New \*)] Flags
          * 1 EXPUNGE
          * 3 EXISTS
          * 0 RECENT
          * 2 FETCH (UID 3 FLAGS ($New))
          . OK Done",
    )
    .await;
    b.hears("NOOP", ". OK Done").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_hears_of_what_others_do() {
    let house = house_of(1).await;
    let (mut a, mut b) = (house.in_inbox().await, house.in_inbox().await);
    b.send(b"i IDLE\r\n").await;
    assert_eq!(b.line().await, "+ idling");
    a.append("INBOX", "Subject: 2\r\n\r\n").await;
    assert_eq!(b.line().await, "* 2 EXISTS");
    // Recent for whichever of the two was told first.
    assert!(b.line().await.ends_with(" RECENT"));
    let seen = FlagNames { system: SystemFlags::NONE.with(SystemFlag::Seen), keywords: Vec::new() };
    house.flag("INBOX", 1, FlagChange::Add(seen)).await;
    assert_eq!(b.line().await, "* 1 FETCH (UID 1 FLAGS (\\Seen))");
    a.run("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(b.line().await, "* 1 FETCH (UID 1 FLAGS (\\Deleted \\Seen))");
    a.run("EXPUNGE").await;
    assert_eq!(b.line().await, "* 1 EXPUNGE");
    b.send(b"DONE\r\n").await;
    assert!(b.line().await.starts_with("i OK"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_ends_the_sessions() {
    let house = house_of(1).await;
    let (mut idle, mut quiet) = (house.in_inbox().await, house.client().await);
    idle.send(b"i IDLE\r\n").await;
    assert_eq!(idle.line().await, "+ idling");
    house.change_password().await;
    for client in [&mut idle, &mut quiet] {
        assert!(client.line().await.starts_with("* BYE"));
        assert_eq!(client.line().await, "(closed)");
    }
    (&mut idle.server).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_deleted_elsewhere_ends_the_session() {
    let house = house_of(0).await;
    let (mut a, mut b) = (house.client().await, house.client().await);
    a.hears("CREATE Gone", ". OK ~").await;
    b.run("SELECT Gone").await;
    a.hears("DELETE Gone", ". OK ~").await;
    b.hears("NOOP", "* BYE The mailbox has been deleted\n(closed)").await;
    // One's own is merely left.
    a.run("CREATE Mine").await;
    a.run("SELECT Mine").await;
    a.hears("DELETE Mine", ". OK Deleted").await;
    a.hears("FETCH 1 UID", ". BAD ~").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_and_leaving() {
    let house = house_of(2).await;
    let mut a = house.in_inbox().await;
    let mut b = house.in_inbox().await;
    a.run("STORE 1 +FLAGS (\\Deleted)").await;
    a.hears("UNSELECT", ". OK ~").await;
    a.run("EXAMINE INBOX").await;
    a.hears("CLOSE", ". OK Closed").await;
    b.hears("UID FETCH 1 UID", "* 1 FETCH (UID 1)\n* 1 FETCH (UID 1 FLAGS (\\Deleted))\n. OK Fetched").await;
    a.run("SELECT INBOX").await;
    a.hears("CLOSE", ". OK Closed").await;
    a.hears("CLOSE", ". BAD ~").await;
    b.hears("NOOP", "* 1 EXPUNGE\n. OK Done").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uid_expunge_spares_the_rest() {
    let house = house_of(3).await;
    let mut a = house.in_inbox().await;
    a.run("STORE 1:3 +FLAGS.SILENT (\\Deleted)").await;
    a.hears("UID EXPUNGE 2:9", "* 3 EXPUNGE\n* 2 EXPUNGE\n. OK Expunged").await;
    a.hears("UID EXPUNGE 2:9", ". OK Expunged").await;
    a.hears("EXPUNGE", "* 1 EXPUNGE\n. OK Expunged").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_passwords() {
    let house = house_of(0).await;
    let mut c = house.connect().await;
    c.hears("LOGIN alice wrong", ". NO [AUTHENTICATIONFAILED] ~").await;
    c.hears("LOGIN nobody wrong", ". NO [AUTHENTICATIONFAILED] ~").await;
    c.hears("LOGIN ALICE@demo.test \"open sesame\"", ". OK ~").await;
}

#[test]
fn a_desk_is_small() {
    // Thousands sit in IDLE, each with one.
    assert!(size_of::<super::super::ImapDesk>() <= 1_024, "{}", size_of::<super::super::ImapDesk>());
}
