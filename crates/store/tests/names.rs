//! Mailboxes, accounts and addresses: what is allowed, what is refused and why.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;

use common::*;
use store::{CommitError, Intent, Outcome, Refused, Target};
use wire::flag::SpecialUse;

fn refused(result: Result<Outcome, CommitError>) -> Refused {
    match result {
        Err(CommitError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_account_has_what_clients_expect() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let id = furnish(&store);
    let directory = store.directory();
    let names: Vec<&str> = directory.mailboxes_of(id).map(|m| m.path.as_str()).collect();
    assert_eq!(names, ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"]);
    for special_use in SpecialUse::ALL {
        assert_eq!(directory.special(id, special_use).unwrap().path, special_use.default_name());
    }
    assert_eq!(directory.account(id).unwrap().subscriptions.len(), 6);
    assert_eq!(directory.resolve("alice@example.org"), Some(&Target::Account(id)));
    let mut validities: Vec<u32> = directory.mailboxes_of(id).map(|m| m.uid_validity.get()).collect();
    validities.sort_unstable();
    validities.dedup();
    assert_eq!(validities.len(), 6, "no two mailboxes share a UIDVALIDITY");
    assert!(!format!("{directory:?}").contains("$hash$"));
}

#[test]
fn mailboxes_are_made_with_their_parents_and_live_on_as_names() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let create = |path: &str| {
        store.ask(Intent::CreateMailbox { account, path: path.into(), special_use: None, subscribe: true })
    };
    let at = |path: &str| store.directory().mailbox_at(account, path).map(|m| m.id);
    create("a/b/c").unwrap();
    assert!(at("a").is_some() && at("a/b").is_some());
    assert_eq!(refused(create("a/b")), Refused::AlreadyExists);
    assert_eq!(refused(create("Inbox")), Refused::AlreadyExists);
    assert!(matches!(refused(create("a//b")), Refused::BadName(_)));
    assert!(matches!(refused(create(&"x/".repeat(40))), Refused::Limit(_)));
    create("inbox/below").unwrap();
    assert!(at("INBOX/below").is_some() && at("iNboX/below").is_some());

    // RFC 3501 s.6.3.4: a name with children stays as a name.
    let (old, validity) = (at("a/b").unwrap(), store.head(at("a/b").unwrap()).unwrap().uid_validity);
    store.ask(Intent::DeleteMailbox { mailbox: old }).unwrap();
    assert_eq!(at("a/b"), None);
    let directory = store.directory();
    let name = directory.names(account).into_iter().find(|n| n.path == "a/b").unwrap();
    assert!(name.mailbox.is_none() && name.has_children);
    assert!(directory.account(account).unwrap().subscriptions.contains("a/b"), "RFC 3501 s.6.3.6");
    let Outcome::Created(new) = create("a/b").unwrap() else { panic!() };
    assert!(new != old && store.head(new).unwrap().uid_validity > validity);
    assert_eq!(refused(store.ask(Intent::DeleteMailbox { mailbox: old })), Refused::NoSuchMailbox);
    assert_eq!(
        refused(store.ask(Intent::DeleteMailbox { mailbox: at("INBOX").unwrap() })),
        Refused::InboxCannot
    );

    let special = |path: &str, special_use| {
        let path = path.into();
        store.ask(Intent::CreateMailbox { account, path, special_use: Some(special_use), subscribe: false })
    };
    assert_eq!(refused(special("x", SpecialUse::Sent)), Refused::SpecialUseTaken);
    store.ask(Intent::DeleteMailbox { mailbox: at("Sent").unwrap() }).unwrap();
    special("Gesendet", SpecialUse::Sent).unwrap();
    assert_eq!(store.directory().special(account, SpecialUse::Sent).unwrap().path, "Gesendet");
}

#[test]
fn renaming_takes_the_children_along_and_leaves_an_inbox() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let at = |path: &str| store.directory().mailbox_at(account, path).map(|m| m.id);
    let create = |path: &str| {
        store
            .ask(Intent::CreateMailbox { account, path: path.into(), special_use: None, subscribe: true })
            .unwrap()
    };
    let rename =
        |from: &str, to: &str| store.ask(Intent::RenameMailbox { mailbox: at(from).unwrap(), to: to.into() });
    create("a/b/c");
    create("ab");
    let ids = [at("a"), at("a/b"), at("a/b/c")];
    assert_eq!(refused(rename("a", "a/x")), Refused::IntoItself);
    assert_eq!(refused(rename("a", "ab")), Refused::AlreadyExists);
    assert_eq!(refused(rename("a", "inbox")), Refused::AlreadyExists);
    rename("a", "new/place").unwrap();
    assert_eq!([at("new/place"), at("new/place/b"), at("new/place/b/c")], ids);
    assert!(at("a").is_none() && at("a/b").is_none() && at("new").is_some() && at("ab").is_some());
    let directory = store.directory();
    let subscriptions = &directory.account(account).unwrap().subscriptions;
    assert!(subscriptions.contains("new/place/b") && subscriptions.contains("a/b"));

    create("INBOX/child");
    let inbox = at("INBOX").unwrap();
    append(&store, inbox, 1);
    rename("INBOX", "Old mail").unwrap();
    assert_eq!(at("Old mail"), Some(inbox));
    let new = at("INBOX").unwrap();
    assert!(new != inbox && store.head(new).unwrap().exists == 0 && store.head(inbox).unwrap().exists == 1);
    assert!(at("INBOX/child").is_some(), "RFC 3501 s.6.3.5: its children stay");
    assert_eq!(append(&store, new, 2).get(), 1);
    let before = picture(&store);
    drop(store);
    assert_eq!(picture(&open(dir.path()).0), before);
}

#[test]
fn addresses_belong_to_one_and_domains_are_ours() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let taken = |a: &str| Refused::AddressTaken(a.into());
    let add = |address: &str| store.ask(Intent::AddAddress { account, address: address.into() });
    let alias = |address: &str, to: &[&str]| {
        let to = to.iter().map(|&t| t.to_owned()).collect();
        store.ask(Intent::AddAlias { address: address.into(), to })
    };
    assert_eq!(refused(add("alice@example.org")), taken("alice@example.org"));
    assert_eq!(refused(add("a@elsewhere.org")), Refused::NoSuchDomain("elsewhere.org".into()));
    assert!(matches!(refused(add("Bob@example.org")), Refused::BadName(_)));
    alias("team@example.org", &["alice@example.org", "x@elsewhere.org"]).unwrap();
    assert_eq!(refused(alias("team@example.org", &["x@y.z"])), taken("team@example.org"));
    assert_eq!(refused(add("team@example.org")), taken("team@example.org"));
    assert!(matches!(refused(alias("self@example.org", &["self@example.org"])), Refused::BadName(_)));
    let gone = |name: &str| store.ask(Intent::RemoveDomain { name: name.into() });
    assert_eq!(refused(gone("example.org")), Refused::DomainInUse("example.org".into()));
    assert_eq!(refused(gone("other.org")), Refused::NoSuchDomain("other.org".into()));
    let remove_alias = |address: &str| store.ask(Intent::RemoveAlias { address: address.into() });
    assert!(matches!(refused(remove_alias("alice@example.org")), Refused::NoSuchAddress(_)));
    remove_alias("team@example.org").unwrap();
    let again = Intent::AddAccount { login: "alice".into(), password: "x".into(), addresses: vec![] };
    assert_eq!(refused(store.ask(again)), Refused::LoginTaken("alice".into()));
    let both = Intent::AddAccount {
        login: "bob".into(),
        password: "x".into(),
        addresses: vec!["bob@example.org".into(), "alice@example.org".into()],
    };
    assert_eq!(refused(store.ask(both)), taken("alice@example.org"));
    assert!(
        store.directory().login("bob").is_none() && store.directory().resolve("bob@example.org").is_none()
    );

    let mailbox = inbox(&store, account);
    append(&store, mailbox, 1);
    store.ask(Intent::RemoveAccount { account }).unwrap();
    let directory = store.directory();
    assert!(directory.login("alice").is_none() && directory.resolve("alice@example.org").is_none());
    assert!(directory.mailbox(mailbox).is_none() && store.head(mailbox).is_none());
    gone("example.org").unwrap();
    let before = picture(&store);
    drop(store);
    assert_eq!(picture(&open(dir.path()).0), before);
}
