//! mbsync: two-way, 500 messages, flags and deletions both ways.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::support::client::{Lines, message};
use super::{demo, have, ok};

fn names(dir: &Path) -> BTreeSet<String> {
    ["cur", "new"]
        .iter()
        .flat_map(|d| std::fs::read_dir(dir.join(d)).into_iter().flatten())
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn mbsync_both_ways_with_500_messages() {
    if !have("mbsync", &["--version"], "isync") {
        return;
    }
    let (demo, dir) = (demo(), tempfile::tempdir().unwrap());
    let (alice, password) = demo.account(0);
    let mut s = Lines::plain(demo.addr("imap")).unwrap();
    s.imap_login(&alice, &password);
    s.imap("c", "CREATE \"Lists/Rust &- Entw&APw-rfe\"").unwrap();
    for i in 0..500 {
        let done =
            s.append("a", "\"Lists/Rust &- Entw&APw-rfe\"", &message(&format!("sync-{i}"), 1_500)).unwrap();
        assert!(done.starts_with("a OK"), "{done}");
    }
    let rc = dir.path().join("mbsyncrc");
    std::fs::write(
        &rc,
        format!(
            "IMAPAccount p\nHost localhost\nPort {}\nUser {alice}\nPass {password}\nSSLType IMAPS\nCertificateFile {}\n\n\
             IMAPStore far\nAccount p\n\nMaildirStore near\nPath {root}/mail/\nInbox {root}/mail/INBOX\n\
             SubFolders Verbatim\n\nChannel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSync All\n\
             SyncState {root}/state/\n",
            demo.addr("imaps").port(),
            demo.certificate().display(),
            root = dir.path().display()
        ),
    )
    .unwrap();
    std::fs::create_dir_all(dir.path().join("mail")).unwrap();
    std::fs::create_dir_all(dir.path().join("state")).unwrap();
    let sync = || ok(Command::new("mbsync").arg("-c").arg(&rc).arg("-a").env("HOME", dir.path()), &demo);
    sync();
    // This client keeps names as IMAP spells them.
    let folder = dir.path().join("mail/Lists/Rust &- Entw&APw-rfe");
    let found = names(&folder);
    assert_eq!(found.len(), 500, "in {}", folder.display());

    // Near: 100 seen, 50 flagged too, 20 gone, 10 new. Far: 30 answered, 5 gone, 5 new.
    for (i, name) in found.iter().enumerate() {
        let base = name.split(":2,").next().unwrap();
        let old = ["cur", "new"].iter().map(|d| folder.join(d).join(name)).find(|p| p.exists()).unwrap();
        match i {
            0..50 => std::fs::rename(old, folder.join("cur").join(format!("{base}:2,FS"))).unwrap(),
            50..100 => std::fs::rename(old, folder.join("cur").join(format!("{base}:2,S"))).unwrap(),
            100..120 => std::fs::remove_file(old).unwrap(),
            _ => {}
        }
    }
    for i in 0..10 {
        std::fs::write(
            folder.join("new").join(format!("1.near{i}.host")),
            message(&format!("near-{i}"), 900),
        )
        .unwrap();
    }
    s.imap("d", "SELECT \"Lists/Rust &- Entw&APw-rfe\"").unwrap();
    s.imap("e", "STORE 451:480 +FLAGS (\\Answered)").unwrap();
    s.imap("f", "STORE 491:495 +FLAGS (\\Deleted)").unwrap();
    s.imap("g", "EXPUNGE").unwrap();
    for i in 0..5 {
        s.append("h", "\"Lists/Rust &- Entw&APw-rfe\"", &message(&format!("far-{i}"), 900)).unwrap();
    }
    sync();
    sync();
    let total = 500 - 20 - 5 + 10 + 5;
    assert_eq!(names(&folder).len(), total);
    let count = |s: &mut Lines, key: &str| {
        let (lines, _) = s.imap("n", &format!("SEARCH {key}")).unwrap();
        lines
            .iter()
            .filter_map(|l| l.strip_prefix("* SEARCH"))
            .map(|l| l.split_whitespace().count())
            .sum::<usize>()
    };
    s.imap("i", "SELECT \"Lists/Rust &- Entw&APw-rfe\"").unwrap();
    assert_eq!(count(&mut s, "ALL"), total);
    assert_eq!(count(&mut s, "SEEN"), 100);
    assert_eq!(count(&mut s, "FLAGGED"), 50);
    assert_eq!(count(&mut s, "ANSWERED"), 30);
    let answered =
        names(&folder).iter().filter(|n| n.split(":2,").nth(1).is_some_and(|f| f.contains('R'))).count();
    assert_eq!(answered, 30);
    // The five special folders came along.
    for name in ["Drafts", "Sent", "Junk", "Trash", "Archive"] {
        assert!(dir.path().join("mail").join(name).is_dir(), "{name}");
    }
}
