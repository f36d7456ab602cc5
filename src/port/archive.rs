//! What holds files: a directory, a zip or tar archive (gzipped or not), or a file alone, read in the same way.
//!
//! Archives are never unpacked to a disk, and a name in one never becomes a path. What they unpack to is bounded
//! (`limits::ARCHIVE_RATIO`). Links in a directory are not followed.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use flate2::read::MultiGzDecoder;
use wire::limits;

use super::Error;
use super::tar::Tar;

/// Octets that every archive may unpack to, however small it is.
const ALWAYS: u64 = 64 << 20;
/// Octets read from a disk at once.
const STEP: usize = 256 * 1024;

/// A file that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Its path within, in levels; `.` and `..` are not among them.
    pub path: PathBuf,
    pub size: u64,
    /// Seconds since 1970; 0 if nobody knows.
    pub mtime: i64,
    /// Its place in the archive.
    number: usize,
}

impl Held {
    /// The levels of its path, as text.
    pub(super) fn levels(&self) -> Vec<String> {
        self.path.iter().map(|part| part.to_string_lossy().into_owned()).collect()
    }

    /// Its path as text.
    pub(super) fn name(&self) -> String {
        self.levels().join("/")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Gz,
    Zip,
    Tar,
    TarGz,
}

/// What is shown each file: its octets, or why they cannot be had.
pub(super) type See<'s> = &'s mut dyn FnMut(&Held, io::Result<&mut dyn Read>) -> Result<(), Error>;

/// What holds files.
#[derive(Debug)]
pub(super) struct Holder {
    path: PathBuf,
    kind: Kind,
    /// Octets of the source that were read, and not yet asked for.
    read: Rc<Cell<u64>>,
}

/// Counts what is read.
pub(super) struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.count.set(self.count.get() + n as u64);
        Ok(n)
    }
}

/// Ends with an error when more comes than any honest archive has.
struct Bounded<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        match self.left.get().checked_sub(n as u64) {
            Some(left) => self.left.set(left),
            None => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the archive unpacks to far more than mail does: it is not read on",
                ));
            }
        }
        Ok(n)
    }
}

/// The levels of a name in an archive. What would lead out of it does not.
fn inner_path(name: &str) -> PathBuf {
    let mut short = name;
    while short.len() > limits::ARCHIVE_NAME {
        short = short.split_at(short.floor_char_boundary(limits::ARCHIVE_NAME)).0;
    }
    short.split(['/', '\\']).filter(|level| !matches!(*level, "" | "." | "..")).collect()
}

impl Holder {
    /// Looks what a path is.
    pub(super) fn open(path: &Path) -> Result<Holder, Error> {
        let found = std::fs::metadata(path).map_err(|why| Error::read(path.display(), why))?;
        let kind = if found.is_dir() {
            Kind::Directory
        } else if !found.is_file() {
            return Err(Error::wrong(path.display(), "it is neither a file nor a directory"));
        } else {
            kind_of(path).map_err(|why| Error::read(path.display(), why))?
        };
        Ok(Holder { path: path.to_owned(), kind, read: Rc::default() })
    }

    /// Whether it is a file alone, packed or not.
    pub(super) fn is_one_file(&self) -> bool {
        matches!(self.kind, Kind::File | Kind::Gz)
    }

    /// Whether it is a directory, whose own name does not stand before those of its files.
    pub(super) fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// Octets of the source read since this was last asked.
    pub(super) fn take_read(&self) -> u64 {
        self.read.take()
    }

    /// Octets that will have been read at the end.
    pub(super) fn total(&self, files: &[Held]) -> u64 {
        match self.kind {
            Kind::Directory | Kind::Zip => files.iter().map(|f| f.size).sum(),
            _ => std::fs::metadata(&self.path).map_or(0, |found| found.len()),
        }
    }

    fn raw(&self, counted: bool) -> Result<BufReader<Counted<File>>, Error> {
        let file = File::open(&self.path).map_err(|why| Error::read(self.path.display(), why))?;
        let count = if counted { Rc::clone(&self.read) } else { Rc::default() };
        Ok(BufReader::with_capacity(STEP, Counted { inner: file, count }))
    }

    /// How much it may unpack to.
    fn bound(&self) -> Rc<Cell<u64>> {
        let octets = std::fs::metadata(&self.path).map_or(0, |found| found.len());
        Rc::new(Cell::new(octets.saturating_mul(limits::ARCHIVE_RATIO).max(ALWAYS)))
    }

    /// The unpacked octets of an archive or file.
    fn unpacked(&self, counted: bool) -> Result<Box<dyn Read>, Error> {
        let raw = self.raw(counted)?;
        Ok(match self.kind {
            Kind::Gz | Kind::TarGz => {
                let unpacked = MultiGzDecoder::new(raw);
                Box::new(BufReader::with_capacity(STEP, Bounded { inner: unpacked, left: self.bound() }))
            }
            _ => Box::new(raw),
        })
    }

    /// Every file, those of a directory in the order of their names. `problem` is told of what cannot be looked into.
    pub(super) fn list(&self, problem: &mut dyn FnMut(&str, &str)) -> Result<Vec<Held>, Error> {
        match self.kind {
            Kind::Directory => {
                let mut files = Vec::new();
                walk(&self.path, Path::new(""), 0, &mut files, problem)?;
                Ok(files)
            }
            Kind::Zip => self.list_zip(),
            Kind::Tar | Kind::TarGz => self.list_tar(problem),
            Kind::File | Kind::Gz => {
                let found =
                    std::fs::metadata(&self.path).map_err(|why| Error::read(self.path.display(), why))?;
                let name = PathBuf::from(self.path.file_name().unwrap_or_default());
                Ok(vec![Held { path: name, size: found.len(), mtime: mtime(&found), number: 0 }])
            }
        }
    }

    fn zip(&self) -> Result<zip::ZipArchive<BufReader<File>>, Error> {
        let file = File::open(&self.path).map_err(|why| Error::read(self.path.display(), why))?;
        let archive = zip::ZipArchive::new(BufReader::with_capacity(STEP, file));
        let archive = archive
            .map_err(|why| Error::wrong(self.path.display(), format!("a damaged zip archive: {why}")))?;
        if archive.len() > limits::ARCHIVE_FILES {
            return Err(self.too_many());
        }
        Ok(archive)
    }

    fn too_many(&self) -> Error {
        Error::wrong(self.path.display(), format!("it has more than {} files", limits::ARCHIVE_FILES))
    }

    fn list_zip(&self) -> Result<Vec<Held>, Error> {
        let mut archive = self.zip()?;
        let mut files = Vec::new();
        for number in 0..archive.len() {
            let Ok(file) = archive.by_index_raw(number) else { continue };
            if file.is_file() {
                let path =
                    inner_path(&file.name().unwrap_or_else(|_| String::from_utf8_lossy(file.name_raw())));
                files.push(Held { path, size: file.size(), mtime: zip_mtime(&file), number });
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    fn list_tar(&self, problem: &mut dyn FnMut(&str, &str)) -> Result<Vec<Held>, Error> {
        let mut tar = Tar::new(self.unpacked(false)?);
        let mut files = Vec::new();
        loop {
            match tar.next() {
                Ok(None) => return Ok(files),
                Ok(Some(_)) if files.len() >= limits::ARCHIVE_FILES => return Err(self.too_many()),
                Ok(Some(entry)) => {
                    let (path, number) = (inner_path(&entry.name), files.len());
                    files.push(Held { path, size: entry.size, mtime: entry.mtime, number });
                }
                Err(why) => {
                    let name = self.path.display().to_string();
                    problem(
                        &name,
                        &format!(
                            "the archive is damaged or cut short behind its file {}: {why}",
                            files.len()
                        ),
                    );
                    // The last one may lack its end: reading it will tell.
                    return Ok(files);
                }
            }
        }
    }

    /// Shows each of the files wanted, in this order or, of a tar archive, in that of the archive. What `see` returns as
    /// an error ends it; a file that cannot be opened is told of.
    pub(super) fn each(&self, wanted: &[&Held], see: See<'_>) -> Result<(), Error> {
        match self.kind {
            Kind::Directory => {
                for held in wanted {
                    match File::open(self.path.join(&held.path)) {
                        Ok(file) => {
                            see(held, Ok(&mut Counted { inner: file, count: Rc::clone(&self.read) }))?;
                        }
                        Err(why) => see(held, Err(why))?,
                    }
                }
                Ok(())
            }
            Kind::Zip => self.each_zip(wanted, see),
            Kind::Tar | Kind::TarGz => self.each_tar(wanted, see),
            Kind::File | Kind::Gz => match wanted.first() {
                Some(held) => see(held, Ok(&mut self.unpacked(true)?)),
                None => Ok(()),
            },
        }
    }

    fn each_zip(&self, wanted: &[&Held], see: See<'_>) -> Result<(), Error> {
        let mut archive = self.zip()?;
        let left = self.bound();
        for held in wanted {
            match archive.by_index(held.number) {
                Ok(file) => {
                    let bounded = Bounded { inner: file, left: Rc::clone(&left) };
                    see(held, Ok(&mut Counted { inner: bounded, count: Rc::clone(&self.read) }))?;
                }
                Err(why) => see(held, Err(io::Error::new(io::ErrorKind::InvalidData, why.to_string())))?,
            }
        }
        Ok(())
    }

    fn each_tar(&self, wanted: &[&Held], see: See<'_>) -> Result<(), Error> {
        let mut by_number: Vec<&Held> = wanted.to_vec();
        by_number.sort_by_key(|held| held.number);
        let mut by_number = by_number.into_iter().peekable();
        let mut tar = Tar::new(self.unpacked(true)?);
        let mut number = 0;
        while let Some(held) = by_number.peek() {
            match tar.next() {
                Ok(Some(_)) if number == held.number => {
                    see(held, Ok(&mut tar.content()))?;
                    by_number.next();
                }
                Ok(Some(_)) => {}
                // `list` has told of it.
                Ok(None) | Err(_) => return Ok(()),
            }
            number += 1;
        }
        Ok(())
    }
}

fn kind_of(path: &Path) -> io::Result<Kind> {
    let mut head = Vec::new();
    File::open(path)?.take(512).read_to_end(&mut head)?;
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(Kind::Zip);
    }
    if Tar::<File>::is_one(&head) {
        return Ok(Kind::Tar);
    }
    if !head.starts_with(&[0x1f, 0x8b]) {
        return Ok(Kind::File);
    }
    let mut inner = Vec::new();
    // What is damaged so early is told when it is read.
    let _ = MultiGzDecoder::new(File::open(path)?).take(512).read_to_end(&mut inner);
    Ok(if Tar::<File>::is_one(&inner) { Kind::TarGz } else { Kind::Gz })
}

fn mtime(found: &std::fs::Metadata) -> i64 {
    let Ok(time) = found.modified() else { return 0 };
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(0),
        Err(before) => {
            let before = before.duration();
            let whole = i64::try_from(before.as_secs()).unwrap_or(0);
            -whole - i64::from(before.subsec_nanos() > 0)
        }
    }
}

fn zip_mtime<R: Read>(file: &zip::read::ZipFile<'_, R>) -> i64 {
    for field in file.extra_data_fields() {
        if let zip::extra_fields::ExtraField::ExtendedTimestamp(times) = field
            && let Some(time) = times.mod_time()
        {
            return i64::from(time);
        }
    }
    // MS-DOS time has no zone; UTC is as good as any.
    let time = file.last_modified().and_then(|t| {
        let date = wire::imap::date::Date::new(t.year(), t.month(), t.day())?;
        Some(
            date.days() * 86_400
                + i64::from(t.hour()) * 3_600
                + i64::from(t.minute()) * 60
                + i64::from(t.second()),
        )
    });
    time.filter(|t| *t > 315_532_800).unwrap_or(0) // 1980-01-01 stands for no time at all.
}

fn walk(
    root: &Path,
    within: &Path,
    depth: usize,
    files: &mut Vec<Held>,
    problem: &mut dyn FnMut(&str, &str),
) -> Result<(), Error> {
    let directory = root.join(within);
    let shown = || within.display().to_string();
    if depth > limits::DIRECTORY_DEPTH {
        problem(&shown(), "directories are nested too deep: it is not looked into");
        return Ok(());
    }
    let listed = std::fs::read_dir(&directory).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let mut entries = match listed {
        Ok(entries) => entries,
        Err(why) if depth == 0 => return Err(Error::read(root.display(), why)),
        Err(why) => {
            problem(&shown(), &why.to_string());
            return Ok(());
        }
    };
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = within.join(entry.file_name());
        match entry.metadata() {
            Ok(found) if found.is_dir() => walk(root, &path, depth + 1, files, problem)?,
            Ok(found) if found.is_file() => {
                if files.len() >= limits::ARCHIVE_FILES {
                    let why = format!("it has more than {} files: import its parts", limits::ARCHIVE_FILES);
                    return Err(Error::wrong(root.display(), why));
                }
                files.push(Held { path, size: found.len(), mtime: mtime(&found), number: 0 });
            }
            Ok(found) if found.is_symlink() => {
                problem(&path.display().to_string(), "a symbolic link, which is not followed");
            }
            Ok(_) => problem(&path.display().to_string(), "neither a file nor a directory"),
            Err(why) => problem(&path.display().to_string(), &why.to_string()),
        }
    }
    Ok(())
}
