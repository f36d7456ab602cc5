//! The disk, as the store sees it: the few calls whose order and failure decide what survives.
//!
//! Everything the store keeps goes through [`Vfs`], so that a test can put a disk under it that tears writes, drops
//! what was not synced, fills up, fails a sync and rots. `real` is the operating system's; `sim` is the test's. Only
//! the index is outside: sled opens its own files (`crate::index`).
//!
//! Paths are relative to the data directory, separated by `/`; the empty path is the data directory itself. Nothing
//! here retries a failed sync or hides one: after it the caller does not know what is on disk, and must act on that.

mod patient;
mod read_only;
mod real;
#[cfg(feature = "faults")]
pub mod sim;

pub use patient::{BadSectors, Patient, read_patiently};
pub use read_only::{ReadOnly, Source, Tree};
pub use real::{RealVfs, sync_name_of_root};

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// At most so many slices in one [`File::write_at`] (`IOV_MAX` of Linux).
pub const MAX_SLICES: usize = 1024;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It exists, and is only read.
    Read,
    /// It exists, and is read and written.
    ReadWrite,
    /// It does not exist: it is made, empty, then read and written. `AlreadyExists` otherwise.
    CreateNew,
}

/// What the file system has left, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Free to this process.
    pub free: u64,
    /// The size of the file system.
    pub total: u64,
}

/// A directory tree on a disk.
///
/// What is durable when: octets after [`File::sync_data`]; a name (made, removed, renamed) after
/// [`Vfs::sync_dir`] on its directory. Nothing else is, whatever order the calls were in.
pub trait Vfs: Debug + Send + Sync {
    /// Opens a file. `NotFound` if it should exist and does not.
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>>;

    /// The names in a directory (files and directories), sorted, without their path.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Whether there is a file or directory of this name.
    fn exists(&self, path: &str) -> io::Result<bool>;

    /// A file's length in octets.
    fn len(&self, path: &str) -> io::Result<u64>;

    /// Makes a directory and those above it; fine if it exists. Its name is not durable before
    /// [`Vfs::sync_dir`] on the directory above.
    fn create_dir_all(&self, dir: &str) -> io::Result<()>;

    /// Removes a file's name; whoever has it open keeps it.
    fn remove_file(&self, path: &str) -> io::Result<()>;

    /// Removes a directory with all that is in it; fine if it does not exist.
    fn remove_dir_all(&self, dir: &str) -> io::Result<()>;

    /// Renames a file over whatever file `to` was, or a directory to a name that is free.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// What the file system has left.
    fn free_space(&self) -> io::Result<Space>;

    /// Takes the lock of this name, without waiting: held until the value is dropped or the process ends.
    /// `WouldBlock` while another holds it; [`Vfs::lock_holder`] then says who.
    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>>;

    /// Takes a lock that is there together with others who take it so, without waiting: `WouldBlock` while one has it
    /// alone, `NotFound` if nobody ever had. Nothing is written for it.
    fn lock_shared(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The process that wrote its id into the lock last: the holder, while [`Vfs::lock`] says `WouldBlock`.
    fn lock_holder(&self, path: &str) -> Option<u32> {
        let octets = self.read(path).ok()?;
        std::str::from_utf8(&octets).ok()?.trim().parse().ok()
    }

    /// A whole small file.
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let file = self.open(path, Open::Read)?;
        let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut octets = vec![0; len];
        let read = read_full(&*file, &mut octets, 0)?;
        octets.truncate(read);
        Ok(octets)
    }

    /// Replaces a small file whole, durably: written beside itself as `PATH.new`, synced, renamed, its directory
    /// synced. After a crash it is the old one or the new one.
    fn replace(&self, path: &str, octets: &[u8]) -> io::Result<()> {
        let beside = format!("{path}.new");
        match self.remove_file(&beside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = self.open(&beside, Open::CreateNew)?;
        write_full(&*file, octets, 0)?;
        file.sync_all()?;
        self.rename(&beside, path)?;
        self.sync_dir(parent(path))
    }

    /// Where this tree is in the real file system, if it is: what sled needs.
    fn real_path(&self) -> Option<&Path> {
        None
    }
}

/// An open file. It stays readable when its name is removed or given to another.
pub trait File: Debug + Send + Sync {
    /// Writes slices (at most [`MAX_SLICES`]) one after another at an offset, beyond the end too. May write less than
    /// was given, never nothing of something: the caller goes on, or uses [`write_full`].
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Reads at an offset; fewer octets than asked for at the end of the file (or before it), 0 beyond it.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Gives the file room for `len` octets, and that length if it is shorter; what was not written reads as zeros.
    /// `StorageFull` leaves it as it was or partly grown.
    fn preallocate(&self, len: u64) -> io::Result<()>;

    /// Makes the octets durable, and the length as far as reading them needs it (`fdatasync`). After an error
    /// nobody knows which are: a later success says nothing about what was written before it.
    fn sync_data(&self) -> io::Result<()>;

    /// As [`File::sync_data`], with all that the file system knows about the file.
    fn sync_all(&self) -> io::Result<()>;

    /// The length in octets.
    fn len(&self) -> io::Result<u64>;

    /// Where, at or behind an offset, there may be anything but zeros; `None` if there is nothing but zeros to the end.
    /// A file system that knows its holes spares us reading them.
    fn data_after(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok((offset < self.len()?).then_some(offset))
    }

    /// Lets go of what is kept of the file in memory, where that can be asked for: the next read comes from the disk.
    fn uncache(&self) {}

    /// Whether it has no octets.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or lengthens it with zeros.
    fn truncate(&self, len: u64) -> io::Result<()>;
}

/// A lock that is held; dropping it gives it back.
pub trait Lock: Debug + Send + Sync {}

/// Writes all of `octets` at an offset, going on after short writes.
pub fn write_full(file: &dyn File, mut octets: &[u8], mut offset: u64) -> io::Result<()> {
    while !octets.is_empty() {
        let written = file.write_at(&[IoSlice::new(octets)], offset)?;
        if written == 0 || written > octets.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        octets = &octets[written..];
        offset += written as u64;
    }
    Ok(())
}

/// Reads until `buf` is full or the file ends; says how much was read.
pub fn read_full(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        let read = file.read_at(&mut buf[done..], offset + done as u64)?;
        if read == 0 {
            break;
        }
        done += read;
    }
    Ok(done)
}

/// The directory a path is in: `""` for a name in the data directory.
#[must_use]
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}
