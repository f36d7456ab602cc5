//! A tree that cannot be changed: of a disk that is there, or of anything that can be listed and read.

use super::{File, Lock, Open, Space, Vfs};
use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// What a tree must be able to do to be read as a data directory: a backup need not be a directory of the file system.
/// Paths are as in [`Vfs`].
pub trait Tree: Debug + Send + Sync {
    /// Opens a file for reading; `NotFound` if there is none.
    fn open(&self, path: &str) -> io::Result<Arc<dyn Source>>;

    /// The names in a directory, sorted, without their path; `NotFound` if there is none.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
}

/// A file that is only read.
pub trait Source: Debug + Send + Sync {
    /// As [`File::read_at`].
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The length in octets.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no octets.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// As [`File::data_after`].
    fn data_after(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok((offset < self.len()?).then_some(offset))
    }
}

/// A tree as a disk on which every change fails.
#[derive(Debug)]
pub struct ReadOnly<T>(pub T);

impl Tree for Arc<dyn Vfs> {
    fn open(&self, path: &str) -> io::Result<Arc<dyn Source>> {
        Ok(Arc::new(OfDisk((**self).open(path, Open::Read)?)))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        (**self).list(dir)
    }
}

#[derive(Debug)]
struct OfDisk(Arc<dyn File>);

impl Source for OfDisk {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn data_after(&self, offset: u64) -> io::Result<Option<u64>> {
        self.0.data_after(offset)
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl<T: Tree> Vfs for ReadOnly<T> {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        match how {
            Open::Read => Ok(Arc::new(OfTree(self.0.open(path)?))),
            Open::ReadWrite | Open::CreateNew => refused(),
        }
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        match self.0.open(path).map(|_| ()).or_else(|_| self.0.list(path).map(|_| ())) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            found => Ok(found.is_ok()),
        }
    }

    fn len(&self, path: &str) -> io::Result<u64> {
        self.0.open(path)?.len()
    }

    fn create_dir_all(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn remove_file(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn remove_dir_all(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn free_space(&self) -> io::Result<Space> {
        Ok(Space { free: 0, total: 0 })
    }

    fn lock(&self, _: &str) -> io::Result<Box<dyn Lock>> {
        refused()
    }
}

#[derive(Debug)]
struct OfTree(Arc<dyn Source>);

impl File for OfTree {
    fn write_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<usize> {
        refused()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn preallocate(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn sync_data(&self) -> io::Result<()> {
        refused()
    }

    fn sync_all(&self) -> io::Result<()> {
        refused()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn data_after(&self, offset: u64) -> io::Result<Option<u64>> {
        self.0.data_after(offset)
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        refused()
    }
}
