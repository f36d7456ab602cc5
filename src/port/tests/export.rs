//! Names of files.

use super::*;

#[test]
fn levels_become_names_of_files() {
    for (name, path) in [
        ("INBOX", "INBOX"),
        ("A/B", "A/B"),
        ("../x", "__/x"),
        (".hidden", "_hidden"),
        ("a.mbox/b", "a_mbox/b"),
        ("Entwürfe", "Entwürfe"),
    ] {
        assert_eq!(file_levels(name).join("/"), path, "{name}");
    }
    assert!(file_levels(&"ü".repeat(500))[0].len() <= NAME);
}

#[test]
fn mailboxes_never_share_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("out");
    let mut watch = |_, _| {};
    let mut writer = Writer::new(&target, Format::Mbox, "a@b.test", &mut watch).unwrap();
    let names = ["a", "A", ".a", "_a", "a.mbox", "a_mbox", "a.mbox/b", "a/b", "a/b.mbox/c"];
    for name in names {
        writer.mailbox(&Place { name: name.into(), ..Place::default() }).unwrap();
    }
    let paths: std::collections::HashSet<_> =
        writer.mailboxes.iter().map(|m| m.entry.path.to_lowercase()).collect();
    assert_eq!(paths.len(), names.len());
    writer.finish().unwrap();
    assert!(target.join(manifest::NAME).exists());
    assert!(matches!(
        Writer::new(&target, Format::Mbox, "a@b.test", &mut |_, _| {}),
        Err(Error::Wrong { .. })
    ));
}
