//! A directory that is large enough for snapshots and compaction to be at work in it as soon as a server opens it.

use std::fs;
use std::path::Path;

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
