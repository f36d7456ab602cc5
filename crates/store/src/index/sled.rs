//! The index in production: sled 0.34.7, one tree.
//!
//! Small on purpose: `LowSpace`, an 8 MiB cache (its memory is several times that), no compression, its flusher every
//! 5 s. It may panic on damaged files, keep errors and hang: it is used through [`super::guard`] only.

use super::{Each, Index, IndexError, IndexHost, Pair, Writes, page_of};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

const CACHE: u64 = 8 << 20;
const FLUSH_EVERY_MS: u64 = 5_000;

/// How long an open waits for a lock on the same files that an earlier owner in this process is about to let go.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Opens sled in directories of the real file system.
#[derive(Debug)]
pub struct SledHost {
    root: PathBuf,
}

impl SledHost {
    /// For the data directory `root`.
    pub fn new(root: impl Into<PathBuf>) -> SledHost {
        SledHost { root: root.into() }
    }
}

impl IndexHost for SledHost {
    fn open(&self, dir: &str) -> Result<Arc<dyn Index>, IndexError> {
        let path = self.root.join(dir);
        remove_unfinished_snapshots(&path).map_err(|e| IndexError::Condemned(e.to_string().into()))?;
        let mut waited = Duration::ZERO;
        let db = loop {
            let opened = sled::Config::new()
                .path(&path)
                .mode(sled::Mode::LowSpace)
                .cache_capacity(CACHE)
                .flush_every_ms(Some(FLUSH_EVERY_MS))
                .use_compression(false)
                .open();
            match opened {
                // sled says no more about a lock that is held than this text.
                Err(sled::Error::Io(e)) if waited < LOCK_WAIT && e.to_string().contains("acquire lock") => {
                    thread::sleep(LOCK_POLL);
                    waited += LOCK_POLL;
                }
                done => break done?,
            }
        };
        Ok(Arc::new(Sled(RwLock::new(Some(db)))))
    }
}

/// A process killed while sled wrote a snapshot leaves a `snap.N.generating`, and then each later open fails on it.
fn remove_unfinished_snapshots(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Sled(RwLock<Option<sled::Db>>);

impl Sled {
    fn with<T>(&self, call: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, IndexError> {
        let db = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok(call(db.as_ref().ok_or(IndexError::Closed)?)?)
    }
}

impl Index for Sled {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.with(|db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    fn scan(&self, prefix: &[u8], each: Each<'_>) -> Result<(), IndexError> {
        self.with(|db| walk(db.scan_prefix(prefix), each))
    }

    fn range(&self, from: &[u8], to: &[u8], each: Each<'_>) -> Result<(), IndexError> {
        if from >= to {
            return Ok(());
        }
        self.with(|db| walk(db.range(from..to), each))
    }

    fn page(&self, from: &[u8], to: &[u8], octets: usize) -> Result<Vec<Pair>, IndexError> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.with(|db| {
            page_of(db.range(from..to).map(|row| row.map(|(k, v)| (k.to_vec(), v.to_vec()))), octets)
        })
    }

    fn apply(&self, writes: Writes) -> Result<(), IndexError> {
        let mut batch = sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.with(|db| db.apply_batch(batch))
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.with(|db| db.flush().map(|_| ()))
    }

    fn close(&self) -> Result<(), IndexError> {
        let db = self.0.write().unwrap_or_else(PoisonError::into_inner).take().ok_or(IndexError::Closed)?;
        db.flush()?;
        Ok(())
    }
}

fn walk(rows: sled::Iter, each: Each<'_>) -> sled::Result<()> {
    for row in rows {
        let (key, value) = row?;
        each(&key, &value);
    }
    Ok(())
}

impl From<sled::Error> for IndexError {
    fn from(e: sled::Error) -> IndexError {
        IndexError::Condemned(e.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::guard::{Guard, Patience};
    use crate::index::state;
    use crate::vfs::{RealVfs, Vfs};

    fn guarded(root: &Path) -> (Arc<dyn Vfs>, Guard) {
        let vfs: Arc<dyn Vfs> = Arc::new(RealVfs::new(root));
        let guard = Guard::new(
            Arc::new(SledHost::new(root)),
            Arc::clone(&vfs),
            Patience::default(),
            Arc::new(|why: &str| panic!("condemned: {why}")),
        );
        (vfs, guard)
    }

    /// Blocks as the store writes them: 32 rows of 44 octets, and now and then one of 4 KiB.
    fn batch(n: u32) -> Writes {
        let mut writes = Writes::new();
        for i in 0..200_u32 {
            let len = if i % 50 == 0 { 4096 } else { 32 * 44 };
            let mut value = vec![u8::try_from(n % 251).unwrap(); len];
            value[..4].copy_from_slice(&i.to_be_bytes());
            writes.put([b"b", &(i * 32 + n % 7).to_be_bytes()[..]].concat(), value);
        }
        writes.put(*b"position", n.to_be_bytes());
        writes
    }

    #[test]
    fn it_holds_what_it_was_given_and_makes_no_blobs() {
        let dir = tempfile::tempdir().unwrap();
        let (_, guard) = guarded(dir.path());
        let index = guard.open("index").unwrap();
        for n in 0..40 {
            index.apply(batch(n)).unwrap();
        }
        index.flush().unwrap();
        let check = |index: &dyn Index| {
            assert_eq!(index.get(b"position").unwrap().unwrap(), 39_u32.to_be_bytes());
            let mut rows = 0;
            index.scan(b"b", &mut |_, _| rows += 1).unwrap();
            assert_eq!(rows, 200 * 7);
            let mut some = Vec::new();
            let (from, to) =
                ([b"b", &64_u32.to_be_bytes()[..]].concat(), [b"b", &96_u32.to_be_bytes()[..]].concat());
            index.range(&from, &to, &mut |key, _| some.push(key[4])).unwrap();
            assert_eq!(some, [64, 65, 66, 67, 68, 69, 70]);
            index.range(&to, &from, &mut |_, _| panic!("nothing is between them")).unwrap();
            let page: Vec<u8> =
                index.page(&from, &to, 2 * 32 * 44).unwrap().iter().map(|(k, _)| k[4]).collect();
            assert_eq!(page, [64, 65]);
            assert_eq!(index.page(&from, &to, 1 << 20).unwrap().len(), 7);
            assert_eq!(index.page(&to, &from, 1), Ok(Vec::new()));
        };
        check(&*index);
        index.close().unwrap();
        // A page over 128 KiB would have become a file there, which sled never syncs.
        assert_eq!(fs::read_dir(dir.path().join("index/blobs")).unwrap().count(), 0);
        let index = guard.open("index").unwrap();
        check(&*index);
        let mut writes = Writes::new();
        writes.delete(*b"position");
        index.apply(writes).unwrap();
        assert_eq!(index.get(b"position").unwrap(), None);
    }

    #[test]
    fn a_snapshot_that_a_kill_left_half_made_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let (_, guard) = guarded(dir.path());
        let index = guard.open("index").unwrap();
        index.apply(batch(1)).unwrap();
        index.close().unwrap();
        let half = dir.path().join("index/snap.0000000000000007.generating");
        fs::write(&half, b"half").unwrap();
        let index = guard.open("index").unwrap();
        assert!(!half.exists());
        assert!(index.get(b"position").unwrap().is_some());
    }

    /// Whatever is done to its files, it opens or is condemned; it never takes the process along or waits for ever.
    #[test]
    fn ruined_files_end_in_an_answer() {
        let dir = tempfile::tempdir().unwrap();
        let (_, guard) = guarded(dir.path());
        let index = guard.open("index").unwrap();
        for n in 0..20 {
            index.apply(batch(n)).unwrap();
        }
        index.close().unwrap();
        let whole = fs::read(dir.path().join("index/db")).unwrap();
        // Whether sled notices the others depends on where its pages happened to be; it always notices this one.
        const LAST: usize = 16;
        for turn in 0..=LAST {
            let root = dir.path().join(format!("ruin{turn}"));
            copy(&dir.path().join("index"), &root.join("index"));
            let mut octets = whole.clone();
            match turn % 4 {
                _ if turn == LAST => fs::write(root.join("index/conf"), b"ruined, and not briefly").unwrap(),
                0 => octets.truncate(octets.len() * turn / 16),
                1 => octets[turn * whole.len() / 17] ^= 1 << (turn % 8),
                2 => octets[turn * whole.len() / 17..][..512].fill(0),
                _ => octets.iter_mut().skip(turn).step_by(3001).for_each(|octet| *octet ^= 1),
            }
            fs::write(root.join("index/db"), octets).unwrap();
            let (vfs, guard) = guarded_quietly(&root);
            let ended = guard.open("index").and_then(|index| {
                let walked = index.scan(b"", &mut |_, _| {});
                let closed = index.close();
                walked.and(closed)
            });
            if turn == LAST {
                assert!(ended.is_err(), "a config that cannot be read was taken");
            }
            if ended.is_err() {
                assert!(state::condemned(&*vfs, "index").is_some());
            }
        }
    }

    fn guarded_quietly(root: &Path) -> (Arc<dyn Vfs>, Guard) {
        let vfs: Arc<dyn Vfs> = Arc::new(RealVfs::new(root));
        let patience = Patience { open: Duration::from_secs(20), call: Duration::from_secs(20) };
        let guard =
            Guard::new(Arc::new(SledHost::new(root)), Arc::clone(&vfs), patience, Arc::new(|_: &str| {}));
        (vfs, guard)
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }
}
