//! The operating system's disk: Linux calls, unbuffered, with their errors as they come.
//!
//! Files are made 0600 and directories 0700: mail is nobody else's business.

use super::{File, Lock, Open, Space, Vfs};
use rustix::fs::{Advice, FallocateFlags, FlockOperation, SeekFrom};
use std::fs;
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A data directory in the real file system.
#[derive(Debug)]
pub struct RealVfs {
    root: PathBuf,
}

impl RealVfs {
    /// The tree under `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> RealVfs {
        RealVfs { root: root.into() }
    }

    fn at(&self, path: &str) -> PathBuf {
        // Without this, the root would end in a slash.
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

impl Vfs for RealVfs {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).mode(0o600);
        match how {
            Open::Read => {}
            Open::ReadWrite => {
                options.write(true);
            }
            Open::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Arc::new(RealFile(options.open(self.at(path))?)))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.at(dir))? {
            // The store makes ASCII names only: another one is not its own, and is shown mangled rather than hidden.
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.at(path).try_exists()
    }

    fn len(&self, path: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.at(path))?.len())
    }

    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(self.at(dir))
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.at(path))
    }

    fn remove_dir_all(&self, dir: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.at(dir)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        fs::File::open(self.at(dir))?.sync_all()
    }

    fn free_space(&self) -> io::Result<Space> {
        let found = rustix::fs::statvfs(&self.root)?;
        // Units of f_frsize, what an unprivileged process may use: the reserve of root is not ours.
        Ok(Space {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.at(path))?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive))?;
        // Only for people and messages: the lock is the kernel's, a stale number holds nothing.
        file.set_len(0)?;
        file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)?;
        Ok(Box::new(RealLock { _file: file }))
    }

    fn lock_shared(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        let file = fs::File::open(self.at(path))?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared))?;
        Ok(Box::new(RealLock { _file: file }))
    }

    fn real_path(&self) -> Option<&Path> {
        Some(&self.root)
    }
}

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| rustix::io::pwritev(&self.0, slices, offset))?)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match FileExt::read_at(&self.0, buf, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        let grown =
            rustix::io::retry_on_intr(|| rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len));
        match grown {
            // A file system without fallocate (some network and overlay ones): slower, not wrong.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                if self.0.metadata()?.len() < len {
                    self.0.set_len(len)?;
                }
                Ok(())
            }
            done => Ok(done?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn data_after(&self, offset: u64) -> io::Result<Option<u64>> {
        // Preallocated and never written counts as a hole, but not while pages of it are in memory: one reading of the
        // file's end, with what the system reads ahead, would have every later one read all of it again. So they go
        // first; what is not on disk yet stays.
        let _ = rustix::fs::fadvise(&self.0, offset, None, Advice::DontNeed);
        // The file's position moves, which nobody uses.
        match rustix::fs::seek(&self.0, SeekFrom::Data(offset)) {
            Ok(at) => Ok(Some(at.max(offset))),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            // A file system that does not know.
            Err(_) => Ok((offset < self.len()?).then_some(offset)),
        }
    }

    fn uncache(&self) {
        // A hint: only what has been synced goes, and where it is not understood the read is of less worth.
        let _ = rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed);
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

#[derive(Debug)]
struct RealLock {
    _file: fs::File,
}

impl Lock for RealLock {}

/// Makes the name of a directory durable, and the names of those above it, which may have been made with it: no
/// [`Vfs::sync_dir`] covers them. Another file system's were there before, and so were those in a directory that this process
/// may not read.
///
/// # Errors
/// What the system says: nothing may rely on the names.
pub fn sync_name_of_root(root: &Path) -> io::Result<()> {
    let root = root.canonicalize()?;
    let device = root.metadata()?.dev();
    for above in root.ancestors().skip(1) {
        if above.metadata()?.dev() != device {
            break;
        }
        match fs::File::open(above) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            opened => opened?.sync_all()?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::{read_full, write_full};

    #[test]
    fn files_and_names() {
        let dir = tempfile::tempdir().unwrap();
        let vfs = RealVfs::new(dir.path().join("data"));
        vfs.create_dir_all("log/deep").unwrap();
        assert_eq!(vfs.open("log/a", Open::ReadWrite).unwrap_err().kind(), io::ErrorKind::NotFound);
        let a = vfs.open("log/a", Open::CreateNew).unwrap();
        assert_eq!(vfs.open("log/a", Open::CreateNew).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        a.preallocate(10_000).unwrap();
        a.preallocate(100).unwrap();
        // Whatever the file system knows of holes, nothing that was written is passed over.
        write_full(&*a, b"x", 5_000).unwrap();
        assert!(a.data_after(0).unwrap().is_some_and(|at| at <= 5_000));
        assert_eq!(a.data_after(5_000).unwrap(), Some(5_000));
        assert_eq!(a.data_after(10_000).unwrap(), None);
        write_full(&*a, b"\0", 5_000).unwrap();
        assert_eq!(a.len().unwrap(), 10_000);
        let written =
            a.write_at(&[IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")], 5_000).unwrap();
        assert_eq!(written, 7);
        a.sync_data().unwrap();
        a.sync_all().unwrap();
        vfs.sync_dir("log").unwrap();
        vfs.sync_dir("").unwrap();
        let mut buf = [9; 9];
        assert_eq!(read_full(&*a, &mut buf, 4_999).unwrap(), 9);
        assert_eq!(&buf, b"\0one two\0");
        a.truncate(5_003).unwrap();
        assert_eq!(a.read_at(&mut buf, 5_000).unwrap(), 3);
        assert_eq!(a.read_at(&mut buf, 5_003).unwrap(), 0);
        assert!(vfs.open("log/a", Open::Read).unwrap().write_at(&[IoSlice::new(b"x")], 0).is_err());

        vfs.rename("log/a", "log/b").unwrap();
        assert_eq!(vfs.list("log").unwrap(), ["b", "deep"]);
        assert!(!vfs.exists("log/a").unwrap() && vfs.exists("log/b").unwrap());
        vfs.remove_file("log/b").unwrap();
        assert_eq!(a.len().unwrap(), 5_003, "an open file outlives its name");
        vfs.remove_dir_all("log").unwrap();
        vfs.remove_dir_all("log").unwrap();
        assert!(vfs.list("").unwrap().is_empty());
        let space = vfs.free_space().unwrap();
        assert!(space.free > 0 && space.free <= space.total);
    }

    #[test]
    fn a_hole_that_was_read_is_still_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealVfs::new(dir.path()).open("a", Open::CreateNew).unwrap();
        file.preallocate(8 << 20).unwrap();
        // Not every file system knows its holes; one that does is to remember them.
        let before = file.data_after(0).unwrap();
        let mut window = vec![0; 1 << 20];
        for at in 0..4 {
            read_full(&*file, &mut window, at << 20).unwrap();
        }
        assert_eq!(file.data_after(0).unwrap(), before);
        write_full(&*file, b"x", 6 << 20).unwrap();
        assert!(file.data_after(0).unwrap().is_some_and(|at| at <= 6 << 20));
    }

    #[test]
    fn replace_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let vfs = RealVfs::new(dir.path());
        vfs.replace("x", b"first").unwrap();
        let left_over = vfs.open("x.new", Open::CreateNew).unwrap();
        write_full(&*left_over, b"a crash left this, longer", 0).unwrap();
        vfs.replace("x", b"second").unwrap();
        assert_eq!(vfs.read("x").unwrap(), b"second");
        assert_eq!(vfs.list("").unwrap(), ["x"]);
    }

    #[test]
    fn one_holder_who_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let vfs = RealVfs::new(dir.path());
        assert_eq!(vfs.lock_holder("lock"), None);
        let held = vfs.lock("lock").unwrap();
        assert_eq!(vfs.lock("lock").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(vfs.lock_holder("lock"), Some(std::process::id()));
        drop(held);
        vfs.lock("lock").unwrap();
    }

    #[test]
    fn several_share_a_lock_or_one_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let vfs = RealVfs::new(dir.path());
        assert_eq!(vfs.lock_shared("readers").unwrap_err().kind(), io::ErrorKind::NotFound);
        drop(vfs.lock("readers").unwrap());
        let (one, two) = (vfs.lock_shared("readers").unwrap(), vfs.lock_shared("readers").unwrap());
        drop(one);
        assert_eq!(vfs.lock("readers").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(two);
        let _alone = vfs.lock("readers").unwrap();
        assert_eq!(vfs.lock_shared("readers").unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn others_may_not_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let vfs = RealVfs::new(dir.path());
        vfs.create_dir_all("log").unwrap();
        vfs.open("log/a", Open::CreateNew).unwrap();
        let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o077;
        assert_eq!((mode("log"), mode("log/a")), (0, 0));
    }
}
