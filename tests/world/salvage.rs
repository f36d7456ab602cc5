//! What waits in a store that is ruined is delivered by a new one, once a person says so, and once.

use std::fs;
use std::os::unix::fs::FileExt as _;

use crate::house::{House, Plan};

/// The first pages of all segments, snapshots and the index are gone: it does not open any more.
fn ruin(house: &House) {
    for part in ["index", "snapshot"] {
        let _ = fs::remove_dir_all(house.data().join(part));
    }
    for entry in fs::read_dir(house.data().join("log")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "seg") {
            fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[0; 4096], 0).unwrap();
        }
    }
}

#[test]
fn what_waited_in_a_ruined_store_goes_out_of_a_new_one_once_it_is_released() {
    let house = Plan::new().domain("a.test", 1).domain("b.test", 2).make();
    let server = house.serve();
    let mut sender = server.submission();
    let large = "It rains.\r\n".repeat(60_000);
    for (subject, to, body) in [
        ("both", &["x@a.test", "y@b.test"][..], "It rains.\r\n"),
        ("large", &["x@a.test"], &large),
        ("one", &["z@b.test"], "It rains.\r\n"),
    ] {
        let reply = sender.try_send(subject, to, " HOLDFOR=3600", "", body).unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    }
    drop(sender);
    server.stop();
    ruin(&house);
    let (data, fresh) = (house.data(), house.data().with_file_name("fresh"));
    house.command(&["salvage", data.to_str().unwrap(), "--to", fresh.to_str().unwrap(), "--rebuild"], "");
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&fresh, &data).unwrap();

    let (a, b) = (house.mx(1, ""), house.mx(2, ""));
    let server = house.serve();
    let held = house.command(&["queue", "list", "--held"], "");
    assert_eq!(held.matches("held").count(), 4, "{held}");
    house.command(&["queue", "release", "--to", "x@a.test"], "");
    drop(server.wait(&a, |seen| seen.mail.len() == 2));
    house.command(&["queue", "release", "--from", "ann@home.test"], "");
    drop(server.wait(&b, |seen| seen.mail.len() == 2));
    server.stop();
    house.is_empty();
    let subjects = |mx: &crate::mx::Mx| {
        let seen = mx.seen();
        let mut all: Vec<(String, Vec<String>)> =
            seen.mail.iter().map(|mail| (mail.subject(), mail.to.clone())).collect();
        assert!(seen.mail.iter().all(|mail| mail.octets.starts_with(b"DKIM-Signature:")));
        all.sort();
        all
    };
    let mail = |subject: &str, to: &str| (subject.to_owned(), vec![format!("<{to}>")]);
    assert_eq!(subjects(&a), [mail("both", "x@a.test"), mail("large", "x@a.test")]);
    assert_eq!(subjects(&b), [mail("both", "y@b.test"), mail("one", "z@b.test")]);
}
