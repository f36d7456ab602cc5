//! Mail in files of every kind, by example; hostile archives; and that what is exported is imported as it was.

use std::fs::{self, File, FileTimes};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use wire::flag::{FlagNames, SpecialUse, SystemFlags};

use super::*;
use crate::port::notes::{Notes, tell};
use crate::port::{ExportFormat, Item, Place, Report, Sink, Writer};

const FROM: &str = "From a@b.test Fri Jul  8 12:08:34 2011\n";

struct Tree {
    directory: tempfile::TempDir,
}

impl Tree {
    fn of(files: &[(&str, &str)]) -> Tree {
        let tree = Tree { directory: tempfile::tempdir().unwrap() };
        for (name, text) in files {
            tree.add(name, text.as_bytes());
        }
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn add(&self, name: &str, octets: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, octets).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(1_310_126_914);
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_times(FileTimes::new().set_modified(time))
            .unwrap();
    }

    fn import(&self, name: &str) -> (Notes, Report) {
        let (notes, report, result) = import(&self.path(name), None, Format::Auto);
        result.unwrap();
        (notes, report)
    }

    /// The same files in a zip, a tar and a tar.gz, below a directory.
    fn pack(&self, below: &str) -> Tree {
        let packed = Tree::of(&[]);
        let holder = Holder::open(self.directory.path()).unwrap();
        let files = holder.list(&mut |_, _| {}).unwrap();
        let mut zip = zip::ZipWriter::new(File::create(packed.path("x.zip")).unwrap());
        let mut tar = Vec::new();
        for held in &files {
            let octets = fs::read(self.directory.path().join(&held.path)).unwrap();
            let name = format!("{below}{}", held.name());
            zip.start_file(&name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(&octets).unwrap();
            tar.extend(tar_file(&name, &octets));
        }
        zip.finish().unwrap();
        tar.extend([0; 1024]);
        packed.add("x.tar", &tar);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&tar).unwrap();
        packed.add("x.tgz", &gz.finish().unwrap());
        packed
    }
}

/// A file of a tar archive, its name in a pax header when it is long.
fn tar_file(name: &str, octets: &[u8]) -> Vec<u8> {
    let header = |name: &[u8], size: usize, kind: u8| {
        let mut block = vec![0u8; 512];
        block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[136..147].copy_from_slice(format!("{:011o}", 1_310_126_914).as_bytes());
        block[156] = kind;
        block[257..263].copy_from_slice(b"ustar\0");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block
    };
    let pad = |octets: &mut Vec<u8>| octets.resize(octets.len().next_multiple_of(512), 0);
    let mut out = Vec::new();
    if name.len() > 100 {
        let mut length = name.len() + 10;
        let record = loop {
            let record = format!("{length} path={name}\n");
            if record.len() == length {
                break record;
            }
            length = record.len();
        };
        out.extend(header(b"pax", record.len(), b'x'));
        out.extend(record.as_bytes());
        pad(&mut out);
    }
    out.extend(header(name.as_bytes(), octets.len(), b'0'));
    out.extend(octets);
    pad(&mut out);
    out
}

fn import(path: &Path, into: Option<&str>, format: Format) -> (Notes, Report, Result<(), Error>) {
    let mut notes = Notes::default();
    let mut watch = |_: &crate::port::Progress| {};
    let mut feed = Feed::new(&mut notes, into.map(str::to_owned), false, &mut watch);
    let ran = import_path(path, format, &mut feed);
    let (report, result) = feed.finish(ran);
    (notes, report, result)
}

/// Mailboxes and subjects: `INBOX:a`.
fn subjects(notes: &Notes) -> Vec<String> {
    let subject = |octets: &[u8]| {
        let value = crate::mime::header::find(octets, "subject").unwrap_or(b"-");
        String::from_utf8_lossy(value.trim_ascii()).into_owned()
    };
    let mut all: Vec<String> = notes
        .messages
        .iter()
        .map(|(to, _, octets)| format!("{}:{}", to.join(","), subject(octets)))
        .collect();
    all.sort();
    all
}

fn message(subject: &str) -> String {
    format!("Subject: {subject}\nDate: Mon, 1 Jan 2001 00:00:00 +0100\n\nx\n")
}

fn mbox(subjects: &[&str]) -> String {
    subjects.iter().map(|s| format!("{FROM}{}\n", message(s))).collect()
}

#[test]
fn a_maildir_with_folders_flags_keywords_and_dates() {
    let tree = Tree::of(&[
        ("Maildir/cur/1310000001.a.host:2,FS", &message("one")),
        ("Maildir/new/1310000002.a.host", &message("two")),
        ("Maildir/tmp/1310000003.a.host", &message("half")),
        ("Maildir/.Sent Items/cur/1:2,Sa", &message("three")),
        ("Maildir/.Sent Items/dovecot-keywords", "0 $Forwarded\n"),
        ("Maildir/.A.B&APw-/cur/1:2,T", &message("four")),
        ("Maildir/dovecot-uidlist", "3 V1\n"),
        ("Maildir/subscriptions", "Sent Items\n"),
        ("Maildir/.A.B&APw-/maildirfolder", ""),
    ]);
    let (notes, report) = tree.import("Maildir");
    assert_eq!(subjects(&notes), ["A/Bü:four", "INBOX:one", "INBOX:two", "Sent:three"]);
    assert!(report.is_whole(), "{report:?}");
    let told = notes.told();
    let octets = |subject: &str| message(subject).replace('\n', "\\r\\n");
    assert!(told.contains(&format!("INBOX|\\Flagged \\Seen|1310126914 0|{}", octets("one"))), "{told:?}");
    assert!(told.contains(&format!("Sent|\\Seen $Forwarded|1310126914 0|{}", octets("three"))), "{told:?}");
    let sent = notes.places.iter().find(|p| p.name == "Sent").unwrap();
    assert!(sent.by_use && sent.special_use == Some(SpecialUse::Sent));

    for name in ["x.zip", "x.tar", "x.tgz"] {
        let (packed, report) = tree.pack("backup/").import(name);
        assert_eq!(subjects(&packed), subjects(&notes), "{name}");
        assert!(report.is_whole(), "{name}: {report:?}");
    }
    let (below, ..) = import(&tree.path("Maildir"), Some("Old"), Format::Auto);
    assert_eq!(subjects(&below), ["Old/A/Bü:four", "Old/Sent Items:three", "Old:one", "Old:two"]);
    let (one, _) = tree.import("Maildir/.A.B&APw-");
    assert_eq!(subjects(&one), ["A/Bü:four"]);
}

#[test]
fn thunderbirds_folders_and_apples_and_a_mbox_alone() {
    let tree = Tree::of(&[
        ("Local Folders/Inbox", &mbox(&["one"])),
        ("Local Folders/Inbox.msf", "// <!-- <mdb:mork:z v=\"1.4\"/> -->"),
        ("Local Folders/Archives.sbd/2019", &mbox(&["two"])),
        ("Local Folders/Archives", ""),
        ("Local Folders/Trash", ""),
        ("Mailboxes/Work.mbox/mbox", &mbox(&["three"])),
        ("Sent Messages.mbox", &mbox(&["four", "five"])),
    ]);
    let (notes, report) = tree.import("Local Folders");
    assert_eq!(subjects(&notes), ["Archives/2019:two", "INBOX:one"]);
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(subjects(&tree.import("Mailboxes").0), ["Work:three"]);
    assert_eq!(subjects(&tree.import("Sent Messages.mbox").0), ["Sent:five", "Sent:four"]);
    let (below, ..) = import(&tree.path("Sent Messages.mbox"), Some("Old/2019"), Format::Auto);
    assert_eq!(subjects(&below), ["Old/2019:five", "Old/2019:four"]);
    let dated = &tree.import("Sent Messages.mbox").0.messages[0].1;
    assert_eq!(dated.date, Some(InternalDate { unix: 1_310_126_914, zone_minutes: 0 }));
}

#[test]
fn takeouts_labels_become_mailboxes() {
    let one = |labels: &str, subject: &str| {
        format!(
            "From 1@xxx Fri Jul 08 12:08:34 +0000 2011\nX-GM-THRID: 1\nX-Gmail-Labels: {labels}\n{}\n",
            message(subject)
        )
    };
    let file = [
        one("Inbox,Unread", "a"),
        one("Sent,Opened,Starred", "b"),
        one("Inbox,Work/Travel,Opened,Important", "c"),
        one("Archived", "d"),
    ]
    .concat();
    let tree = Tree::of(&[
        ("Takeout/Mail/All mail Including Spam and Trash.mbox", &file),
        ("Takeout/archive_browser.html", "<html>"),
    ]);
    let expected = ["Archive:d", "INBOX,Work/Travel:c", "INBOX:a", "Sent:b"];
    for packed in ["x.zip", "x.tgz"] {
        let (notes, report) = tree.pack("").import(packed);
        assert_eq!(subjects(&notes), expected, "{packed}");
        assert!(report.is_whole(), "{report:?}");
        assert!(notes.messages.iter().all(|(_, _, octets)| octets.starts_with(b"Subject: ")));
    }
    let mbox = tree.path("Takeout/Mail/All mail Including Spam and Trash.mbox");
    assert_eq!(subjects(&import(&mbox, None, Format::Takeout).0), expected);
    let (below, ..) = import(&mbox, Some("Gmail"), Format::Auto);
    assert_eq!(
        subjects(&below),
        ["Gmail/Archive:d", "Gmail/INBOX,Gmail/Work/Travel:c", "Gmail/INBOX:a", "Gmail/Sent:b"]
    );
    let (plain, ..) = import(&mbox, Some("All"), Format::Mbox);
    assert_eq!(subjects(&plain), ["All:a", "All:b", "All:c", "All:d"]);
}

#[test]
fn single_messages_and_what_is_none() {
    let tree = Tree::of(&[
        ("mail/a.eml", &message("a")),
        ("mail/Work/b.EML", &message("b")),
        ("mail/c.eml", "this is no mail\n"),
        ("mail/empty.eml", ""),
        ("mail/picture.jpg", "\u{1}\u{2}\u{3}"),
        ("mail/notes.txt", "Subject: not under this name\n\n"),
    ]);
    std::os::unix::fs::symlink("/etc/passwd", tree.path("mail/link.eml")).unwrap();
    let (notes, report) = tree.import("mail");
    assert_eq!(subjects(&notes), ["INBOX:a", "Work:b"]);
    let told: Vec<&str> = report.refusals.iter().map(|r| r.what.as_str()).collect();
    assert_eq!(
        (report.not_mail, told),
        (5, vec!["link.eml", "c.eml", "empty.eml", "notes.txt", "picture.jpg"])
    );
    assert!(!report.is_whole());
    assert_eq!(notes.messages[0].1.date, Some(InternalDate { unix: 978_303_600, zone_minutes: 60 }));
    let (all, report, _) = import(&tree.path("mail"), None, Format::Eml);
    assert!(subjects(&all).contains(&"INBOX:not under this name".to_owned()), "{report:?}");
    assert_eq!(subjects(&tree.import("mail/a.eml").0), ["INBOX:a"]);
    let (_, _, missing) = import(&tree.path("nowhere"), None, Format::Auto);
    assert!(matches!(missing, Err(Error::Read { .. })));
}

#[test]
fn damaged_and_hostile_archives_are_told_of_and_harm_nothing() {
    let tree = Tree::of(&[("a/Inbox.mbox", &mbox(&["one"])), ("b/Work.mbox", &mbox(&["two"]))]);
    let packed = tree.pack("../../../");
    for name in ["x.zip", "x.tar", "x.tgz"] {
        let (notes, _) = packed.import(name);
        assert_eq!(subjects(&notes), ["a/Inbox:one", "b/Work:two"], "{name}: `..` leads nowhere");
        // Cut anywhere, it is an error, or some of the messages with a word about the rest.
        let whole = fs::read(packed.path(name)).unwrap();
        // The two empty blocks at the end of a tar archive say nothing.
        let end = if name == "x.tar" { whole.len() - 1_024 } else { whole.len() };
        for cut in (1..end).step_by(97) {
            packed.add("cut", &whole[..cut]);
            let (notes, report, result) = import(&packed.path("cut"), None, Format::Auto);
            let missing = notes.messages.len() < 2;
            assert!(!missing || result.is_err() || !report.is_whole(), "{name} cut at {cut}: {report:?}");
        }
    }
    let mut zeros = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let head = format!("{FROM}{}", message("bomb"));
    zeros.write_all(head.as_bytes()).unwrap();
    for _ in 0..80 {
        zeros.write_all(&vec![0; 1 << 20]).unwrap();
    }
    packed.add("bomb.mbox.gz", &zeros.finish().unwrap());
    let (notes, report) = packed.import("bomb.mbox.gz");
    assert!(notes.messages.is_empty());
    assert!(report.refusals.iter().any(|r| r.why.contains("far more than mail")), "{report:?}");
}

#[test]
fn an_export_overwrites_nothing_and_keeps_mailboxes_without_messages() {
    let directory = tempfile::tempdir().unwrap();
    for (format, name) in [(ExportFormat::Mbox, "m"), (ExportFormat::Maildir, "d")] {
        let path = directory.path().join(name);
        let mut watch = |_, _| {};
        let mut writer = Writer::new(&path, format, "a@b.test", &mut watch).unwrap();
        for name in ["INBOX", "Empty/Below", "Sent Items"] {
            writer.mailbox(&Place { name: name.into(), ..Place::default() }).unwrap();
        }
        writer.finish().unwrap();
        let (notes, report, result) = import(&path, None, Format::Auto);
        result.unwrap();
        let names: Vec<&str> = notes.places.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["INBOX", "Empty/Below", "Sent Items"], "{format:?}");
        assert!(report.is_whole() && notes.places.iter().all(|p| !p.by_use), "{report:?}");
    }
}

fn any_name() -> impl Strategy<Value = String> {
    let odd = vec![
        "INBOX",
        "INBOX/a",
        "A/B",
        "A/B/C",
        "A.B",
        "a.mbox",
        ".x",
        "..",
        "Entwürfe",
        "日本/語",
        "a&b",
        "100%",
        "~",
        "Sent Items",
        "penfold-export.json",
        "cur",
        "new/x",
        "A:2,S",
        "x y",
        "dovecot-keywords",
    ];
    prop_oneof![
        4 => prop::sample::select(odd).prop_map(str::to_owned),
        1 => "[a-zé.&~%]{1,12}(/[a-z]{1,5}){0,3}".prop_map(|s: String| s),
        1 => Just(format!("{}/end", "ü".repeat(300))),
    ]
}

fn any_octets() -> impl Strategy<Value = Vec<u8>> {
    let lines = prop::collection::vec(
        prop::sample::select(vec![
            "From x\r\n",
            "A: b\r\n",
            "\r\n",
            ">From y\r\n",
            "bare\n",
            "Status: RO\r\n",
            "end",
            "\0\r\n",
        ]),
        0..8,
    );
    prop_oneof![3 => lines.prop_map(|l| l.concat().into_bytes()), 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn what_is_exported_is_imported_as_it_was(
        messages in prop::collection::vec(
            (any_name(), any_octets(), 0u8..32, prop::collection::btree_set(0usize..128, 0..4),
             prop_oneof![3 => 86_400i64..4_000_000_000, 1 => -4_000_000_000i64..0], -720i16..720), 0..12),
        maildir: bool,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let format = if maildir { ExportFormat::Maildir } else { ExportFormat::Mbox };
        let mut expected = Vec::new();
        let mut watch = |_, _| {};
        let mut writer = Writer::new(&path, format, "a@b.test", &mut watch).unwrap();
        for (name, octets, bits, words, unix, zone_minutes) in messages {
            // Before 1970 a mbox says nothing that is believed.
            let unix = if maildir { unix } else { unix.max(86_400) };
            let name = store::canonical(&name);
            let opened = writer.mailbox(&Place { name: name.clone(), ..Place::default() }).unwrap();
            let keywords = words.iter().filter_map(|n| Keyword::parse(format!("word{n}").as_bytes())).collect();
            let item = Item {
                to: vec![opened.spot],
                flags: FlagNames { system: SystemFlags::from_bits(bits), keywords },
                date: Some(InternalDate { unix, zone_minutes }),
                length: octets.len() as u64,
            };
            writer.put(&item, &mut octets.as_slice()).unwrap();
            expected.push(tell(&[name], &item, &octets));
        }
        writer.finish().unwrap();
        expected.sort();
        let (notes, report, result) = import(&path, None, Format::Auto);
        result.unwrap();
        prop_assert!(report.is_whole(), "{:?}", report);
        prop_assert_eq!(notes.told(), expected);
    }
}
