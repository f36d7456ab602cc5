//! A directory that is large enough for snapshots and compaction to be at work in it as soon as a server opens it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::load::{self, KEEPER};
use crate::model::{Seen, Truth};
use crate::support::client::message;
use crate::support::server::Demo;
use crate::{BINARY, log_in};

/// A directory as a server left it. The first segment of its log is full, and more than half dead.
pub struct Heavy {
    place: tempfile::TempDir,
    truth: Truth,
    seen: Seen,
}

impl Heavy {
    /// The one that is there already, or a new one: it takes some seconds to make, and serves several tests.
    pub fn get() -> Arc<Heavy> {
        static THE_ONE: Mutex<Weak<Heavy>> = Mutex::new(Weak::new());
        let mut the_one = THE_ONE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = the_one.upgrade() {
            return there;
        }
        let place = tempfile::tempdir().unwrap();
        let one = place.path().join("one snapshot");
        let (truth, seen) = fill(&one);
        let two = place.path().join("two snapshots");
        copy(&one, &two);
        let demo = Demo::start(BINARY, Some(&two), &[]);
        wait_for(|| names(&two, "snapshot", ".snap").len() == 2, &demo);
        demo.kill();
        let heavy = Arc::new(Heavy { place, truth, seen });
        *the_one = Arc::downgrade(&heavy);
        heavy
    }

    /// With one snapshot: a server that opens it makes another one, and compacts then.
    pub fn with_one_snapshot(&self) -> PathBuf {
        self.place.path().join("one snapshot")
    }

    /// With two: a server that opens it compacts the first segment.
    pub fn with_two_snapshots(&self) -> PathBuf {
        self.place.path().join("two snapshots")
    }

    /// What is in it.
    pub fn truth(&self) -> (Truth, Seen) {
        (self.truth.copy(), self.seen.clone())
    }
}

/// Waits until a server's directory shows that it has done something.
pub fn wait_for(done: impl Fn() -> bool, demo: &Demo) {
    // A minute, and the server looks for such work every few seconds.
    for _ in 0..60_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("nothing happens: {}", demo.log());
}

/// A copy of a directory's files; holes stay holes where the file system knows how.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            copy_file(&entry.path(), &to);
        }
    }
}

/// One of them.
pub fn copy_file(from: &Path, to: &Path) {
    use rustix::fs::{SeekFrom, seek};
    use std::io::{Read, Seek, Write};
    let (mut from, mut to) = (fs::File::open(from).unwrap(), fs::File::create(to).unwrap());
    let length = from.metadata().unwrap().len();
    to.set_len(length).unwrap();
    let mut at = 0;
    while let Ok(data) = seek(&from, SeekFrom::Data(at)) {
        let end = seek(&from, SeekFrom::Hole(data)).unwrap_or(length);
        from.seek(std::io::SeekFrom::Start(data)).unwrap();
        to.seek(std::io::SeekFrom::Start(data)).unwrap();
        let mut part = vec![0; 1 << 20];
        let mut left = end - data;
        while left > 0 {
            let want = left.min(part.len() as u64) as usize;
            let read = from.read(&mut part[..want]).unwrap();
            to.write_all(&part[..read]).unwrap();
            left -= read as u64;
        }
        at = end;
    }
}

/// The mailbox that is filled.
const BULK: &str = "Bulk";
/// Messages that fill a segment of 64 MiB, each a group of its own.
const MESSAGES: usize = 8_400;
/// A group takes whole pages: of two pages this fills less than the half.
const OCTETS: usize = 3_900;
/// One in so many is kept.
const KEPT: usize = 60;
/// The client to which they belong: it does nothing with what is not in its INBOX.
const OWNER: usize = KEEPER;

fn fill(data: &Path) -> (Truth, Seen) {
    let demo = Demo::start(BINARY, Some(data), &[]);
    let (mut truth, mut seen) = (Truth::default(), Seen::default());
    let mut s = log_in(&demo);
    load::make_mailboxes(&mut s);
    s.imap("c", &format!("CREATE {BULK}")).unwrap();
    for batch in 0..MESSAGES / 100 {
        let mut commands = Vec::new();
        for n in batch * 100..batch * 100 + 100 {
            let octets = message(&format!("bulk-{n}"), OCTETS);
            commands.extend_from_slice(format!("a APPEND {BULK} {{{}+}}\r\n", octets.len()).as_bytes());
            commands.extend_from_slice(&octets);
            commands.extend_from_slice(b"\r\n");
        }
        s.send(&commands).unwrap();
        for _ in 0..100 {
            let (_, done) = s.imap_until("a").unwrap();
            assert!(done.starts_with("a OK"), "{done}");
        }
    }
    s.imap("s", &format!("SELECT {BULK}")).unwrap();
    let mut gone = Vec::new();
    for first in (0..MESSAGES).step_by(KEPT) {
        truth.has(OWNER, (BULK.into(), format!("bulk-{first}")), OCTETS);
        gone.push(format!("{}:{}", first + 2, first + KEPT));
    }
    let (_, done) = s.imap("d", &format!("STORE {} +FLAGS.SILENT \\Deleted", gone.join(","))).unwrap();
    assert!(done.starts_with("d OK"), "{done}");
    let (_, done) = s.imap("e", "EXPUNGE").unwrap();
    assert!(done.starts_with("e OK"), "{done}");
    seen.look(&mut s, &mut truth);
    assert!(demo.stop().success());
    let mut snapshots = names(data, "snapshot", ".snap");
    snapshots.sort();
    snapshots.pop().expect("a clean stop makes a snapshot");
    // On a slow machine one is made meanwhile, too.
    snapshots.iter().for_each(|name| fs::remove_file(data.join("snapshot").join(name)).unwrap());
    (truth, seen)
}

/// Files of a directory below the data directory that end in some way.
pub fn names(data: &Path, directory: &str, end: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(data.join(directory)) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(end)).collect()
}
