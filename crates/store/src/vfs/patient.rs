//! Reading from a disk that fails: smaller and smaller, and what cannot be read at all counts as zeros.
//!
//! For those who want whatever there is (a salvage), and for those who must know exactly where the disk failed (a replay,
//! `verify`). Everybody else takes an error as it comes.

use super::{File, Source, Tree, Vfs, read_full};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// What is tried when a whole read fails, and then each of its parts: a page, a sector.
const STEPS: [usize; 2] = [4096, 512];
const SECTOR: u64 = STEPS[STEPS.len() - 1] as u64;

/// Reads until `buf` is full or the file ends. Where the disk fails there are zeros, and `failed` is told of each such
/// stretch. An error only if not even the file's length can be told.
pub fn read_patiently(
    file: &dyn File,
    buf: &mut [u8],
    offset: u64,
    failed: &mut dyn FnMut(u64, io::Error),
) -> io::Result<usize> {
    if let Ok(read) = read_full(file, buf, offset) {
        return Ok(read);
    }
    let left = file.len()?.saturating_sub(offset);
    let length = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    in_parts(file, &mut buf[..length], offset, &STEPS, failed);
    Ok(length)
}

fn in_parts(
    file: &dyn File,
    mut buf: &mut [u8],
    mut offset: u64,
    steps: &[usize],
    failed: &mut dyn FnMut(u64, io::Error),
) {
    let Some((&step, smaller)) = steps.split_first() else { return };
    while !buf.is_empty() {
        let until_border = step - (offset % step as u64) as usize;
        let (part, rest) = buf.split_at_mut(until_border.min(buf.len()));
        match read_full(file, part, offset) {
            Ok(read) => part[read..].fill(0),
            Err(error) if smaller.is_empty() => {
                part.fill(0);
                failed(offset, error);
            }
            Err(_) => in_parts(file, part, offset, smaller, failed),
        }
        offset += part.len() as u64;
        buf = rest;
    }
}

/// Sectors that could not be read, by file.
pub type BadSectors = Arc<Mutex<BTreeMap<String, BTreeSet<u64>>>>;

/// A tree in which every file can be read to its end.
#[derive(Debug)]
pub struct Patient {
    disk: Arc<dyn Vfs>,
    bad: BadSectors,
}

impl Patient {
    /// Over a disk; `bad` is told what cannot be read.
    pub fn new(disk: Arc<dyn Vfs>, bad: BadSectors) -> Patient {
        Patient { disk, bad }
    }
}

impl Tree for Patient {
    fn open(&self, path: &str) -> io::Result<Arc<dyn Source>> {
        let file = Vfs::open(&*self.disk, path, super::Open::Read)?;
        Ok(Arc::new(PatientFile { file, path: path.to_owned(), bad: self.bad.clone() }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        Vfs::list(&*self.disk, dir)
    }
}

#[derive(Debug)]
struct PatientFile {
    file: Arc<dyn File>,
    path: String,
    bad: BadSectors,
}

impl Source for PatientFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        read_patiently(&*self.file, buf, offset, &mut |at, _| {
            let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
            bad.entry(self.path.clone()).or_default().insert(at / SECTOR);
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn data_after(&self, offset: u64) -> io::Result<Option<u64>> {
        self.file.data_after(offset).or_else(|_| Ok((offset < self.len()?).then_some(offset)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::ReadOnly;
    use std::io::IoSlice;

    /// A file of 20,000 octets of which some sectors fail.
    #[derive(Debug)]
    struct Failing(Vec<u64>);

    fn octet(at: u64) -> u8 {
        (at % 251) as u8 + 1
    }

    impl File for Failing {
        fn write_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<usize> {
            unreachable!("it is only read")
        }
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            let end = (offset + buf.len() as u64).min(20_000);
            if self.0.iter().any(|bad| bad * SECTOR < end && offset < (bad + 1) * SECTOR) {
                return Err(io::Error::from_raw_os_error(5));
            }
            let n = end.saturating_sub(offset) as usize;
            (0..n).for_each(|i| buf[i] = octet(offset + i as u64));
            Ok(n)
        }
        fn preallocate(&self, _: u64) -> io::Result<()> {
            unreachable!("it is only read")
        }
        fn sync_data(&self) -> io::Result<()> {
            unreachable!("it is only read")
        }
        fn sync_all(&self) -> io::Result<()> {
            unreachable!("it is only read")
        }
        fn len(&self) -> io::Result<u64> {
            Ok(20_000)
        }
        fn truncate(&self, _: u64) -> io::Result<()> {
            unreachable!("it is only read")
        }
    }

    #[test]
    fn only_what_cannot_be_read_is_zeros() {
        let file = Failing(vec![3, 17, 18, 39]);
        for (from, length) in [(0, 20_000), (100, 3_000), (1_700, 30_000), (19_990, 100), (25_000, 5)] {
            let mut buf = vec![9; length];
            let mut failed = Vec::new();
            let read = read_patiently(&file, &mut buf, from, &mut |at, _| failed.push(at / SECTOR)).unwrap();
            assert_eq!(read as u64, (from + length as u64).min(20_000).saturating_sub(from));
            for (i, &is) in buf[..read].iter().enumerate() {
                let at = from + i as u64;
                let must = if file.0.contains(&(at / SECTOR)) { 0 } else { octet(at) };
                assert_eq!(is, must, "octet {at}");
            }
            let within = |bad: &&u64| (*bad + 1) * SECTOR > from && **bad * SECTOR < from + read as u64;
            assert_eq!(failed, file.0.iter().filter(within).copied().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_tree_remembers_where_the_disk_failed() {
        let bad = BadSectors::default();
        let file = PatientFile { file: Arc::new(Failing(vec![2])), path: "log/x".into(), bad: bad.clone() };
        let mut buf = vec![0; 4096];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 4096);
        assert_eq!(bad.lock().unwrap()["log/x"], BTreeSet::from([2]));
        let disk: Arc<dyn Vfs> = Arc::new(crate::vfs::RealVfs::new("/nonexistent"));
        let tree = ReadOnly(Patient::new(disk, bad));
        assert!(tree.open("log/x", crate::vfs::Open::Read).is_err(), "what is not there is not zeros");
    }
}
