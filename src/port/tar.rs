//! Reads tar archives: ustar, and the long names of GNU and pax. Everything else about a file (links, devices) is passed
//! over; nothing is ever written to a disk by a name from an archive.
//!
//! POSIX.1-2017 pax, s. "ustar Interchange Format" and "pax Interchange Format".

use std::io::{self, Read};

use wire::limits;

const BLOCK: usize = 512;

/// A file of the archive; its octets are to be read from [`Tar::content`] before the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
}

/// An archive that is being read.
pub(super) struct Tar<R> {
    input: R,
    /// Octets of the file at hand that are not read yet, and the padding behind it.
    left: u64,
    padding: u64,
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

/// A number field: octal digits, or with its first bit set base 256.
fn number(field: &[u8]) -> Option<u64> {
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        let start = u64::from(first & 0x7f);
        return rest.iter().try_fold(start, |n, b| n.checked_mul(256)?.checked_add(u64::from(*b)));
    }
    let text: Vec<u8> = field.iter().copied().filter(|b| !matches!(b, b' ' | 0)).collect();
    let digits = text.iter().all(|b| (b'0'..=b'7').contains(b));
    digits
        .then(|| text.iter().try_fold(0u64, |n, b| n.checked_mul(8)?.checked_add(u64::from(b - b'0'))))
        .flatten()
}

fn text(field: &[u8]) -> String {
    let end = memchr::memchr(0, field).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

impl<R: Read> Tar<R> {
    pub(super) fn new(input: R) -> Tar<R> {
        Tar { input, left: 0, padding: 0 }
    }

    /// Whether these are the first octets of a tar archive.
    pub(super) fn is_one(octets: &[u8]) -> bool {
        octets.get(257..262) == Some(b"ustar")
    }

    /// The next regular file.
    ///
    /// # Errors
    /// What reading gave; `InvalidData` when it is no tar archive from here on, `UnexpectedEof` when it is cut short.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        let (mut long_name, mut pax) = (None, Pax::default());
        loop {
            let skip = self.left + self.padding;
            (self.left, self.padding) = (0, 0);
            if io::copy(&mut (&mut self.input).take(skip), &mut io::sink())? < skip {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut header = [0; BLOCK];
            // An archive ends with empty blocks: one that just stops has been cut.
            self.input.read_exact(&mut header)?;
            if header.iter().all(|b| *b == 0) {
                return Ok(None);
            }
            let sum: u64 = header
                .iter()
                .enumerate()
                .map(|(n, b)| if (148..156).contains(&n) { 32 } else { u64::from(*b) })
                .sum();
            if number(&header[148..156]) != Some(sum) {
                return Err(wrong("a header's sum is wrong: the archive is damaged"));
            }
            let size = number(&header[124..136]).ok_or_else(|| wrong("a file's size is no number"))?;
            match header[156] {
                b'L' => long_name = Some(self.small(size)?),
                b'x' => pax = Pax::read(&self.small(size)?),
                b'g' | b'K' => drop(self.small(size)?),
                b'0' | 0 | b'7' => {
                    let size = pax.size.unwrap_or(size);
                    self.expect(size);
                    let prefix =
                        if &header[257..263] == b"ustar\0" { text(&header[345..500]) } else { String::new() };
                    let short = match (prefix.as_str(), text(&header[..100])) {
                        ("", name) => name,
                        (prefix, name) => format!("{prefix}/{name}"),
                    };
                    let name = pax.path.or_else(|| long_name.map(|n| text(&n))).unwrap_or(short);
                    let mtime =
                        pax.mtime.or_else(|| i64::try_from(number(&header[136..148])?).ok()).unwrap_or(0);
                    return Ok(Some(Entry { name, size, mtime }));
                }
                _ => {
                    // A link has a size in some archives and no octets; what is unknown has them.
                    self.expect(if matches!(header[156], b'1'..=b'6') { 0 } else { size });
                    (long_name, pax) = (None, Pax::default());
                }
            }
        }
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    /// Octets that say something about the next file.
    fn small(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > 16 * limits::ARCHIVE_NAME as u64 {
            return Err(wrong("a file's name is too long"));
        }
        self.expect(size);
        let mut octets = Vec::new();
        self.content().read_to_end(&mut octets)?;
        if octets.len() as u64 == size { Ok(octets) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The octets of the file at hand.
    pub(super) fn content(&mut self) -> Content<'_, R> {
        Content { tar: self }
    }
}

/// A file's octets.
pub(super) struct Content<'a, R> {
    tar: &'a mut Tar<R>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = buf.len().min(usize::try_from(self.tar.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let read = self.tar.input.read(&mut buf[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.tar.left -= read as u64;
        Ok(read)
    }
}

/// What a pax header says about the next file.
#[derive(Debug, Default)]
struct Pax {
    path: Option<String>,
    size: Option<u64>,
    mtime: Option<i64>,
}

impl Pax {
    /// Records of `LENGTH KEY=VALUE\n`.
    fn read(octets: &[u8]) -> Pax {
        let mut pax = Pax::default();
        let mut rest = octets;
        while let Some(space) = memchr::memchr(b' ', rest) {
            let length = std::str::from_utf8(&rest[..space]).ok().and_then(|n| n.parse::<usize>().ok());
            let Some(length) = length.filter(|n| *n > space && *n <= rest.len()) else { break };
            let (record, after) = rest.split_at(length);
            rest = after;
            let record = &record[space + 1..];
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            let Some(equals) = memchr::memchr(b'=', record) else { continue };
            let value = String::from_utf8_lossy(&record[equals + 1..]).into_owned();
            match &record[..equals] {
                b"path" => pax.path = Some(value),
                b"size" => pax.size = value.parse().ok(),
                b"mtime" => pax.mtime = value.split('.').next().and_then(|s| s.parse().ok()),
                _ => {}
            }
        }
        pax
    }
}
