//! What the recorder wrote down: the process's operations on its directory, in order.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file or directory, whatever its name is.
pub type Inode = u64;

/// What the process did.
#[derive(Clone, Debug)]
pub enum Action {
    /// A new file has this name.
    Create(String, Inode),
    /// A new directory has this name.
    MakeDir(String, Inode),
    /// Octets were written to a file.
    Write(Inode, Octets),
    /// A file was given a length.
    Truncate(Inode, u64),
    /// Room was made for a file, so that it is at least so long.
    Allocate(Inode, u64),
    /// A name became another.
    Rename(String, String, Inode),
    /// A name of a file or of an empty directory went.
    Unlink(String),
    /// The process asks for a sync; what was done before it is on the disk once it ends.
    SyncBegins(u64),
    /// That one ended, and well.
    SyncEnds(Inode, u64),
}

/// Octets that were written: where to, how many, and where the trace has them.
#[derive(Clone, Copy, Debug)]
pub struct Octets {
    pub at: u64,
    pub length: usize,
    pub place: u64,
}

/// An action and the position in the trace at which it is written down in full: whoever read a larger one knows that it
/// was done.
#[derive(Debug)]
pub struct Step {
    pub end: u64,
    pub action: Action,
}

/// A recorder that is being written, or was.
#[derive(Debug)]
pub struct Recorder {
    library: PathBuf,
    trace: PathBuf,
}

impl Recorder {
    /// Builds the library with the C compiler that the server itself needed. The trace will be in the same directory.
    pub fn build(directory: &Path) -> Recorder {
        let (library, trace) = (directory.join("recorder.so"), directory.join("trace"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crash/recorder.c");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let mut command = Command::new(compiler);
        command.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(source);
        assert!(command.status().unwrap().success());
        // So that whoever asks where it stands before the process began gets an answer.
        std::fs::write(&trace, 8_u64.to_le_bytes()).unwrap();
        Recorder { library, trace }
    }

    /// What the process is started with to be recorded in a directory.
    pub fn environment(&self, under: &Path) -> [(&'static str, PathBuf); 3] {
        [
            ("LD_PRELOAD", self.library.clone()),
            ("RECORD_TO", self.trace.clone()),
            ("RECORD_UNDER", under.to_owned()),
        ]
    }

    /// Tells how far the trace has come.
    pub fn clock(&self) -> Clock {
        Clock(File::open(&self.trace).unwrap())
    }

    /// All that was written down.
    pub fn steps(&self) -> Vec<Step> {
        read(&self.trace)
    }

    /// The octets of its writes.
    pub fn octets(&self) -> File {
        File::open(&self.trace).unwrap()
    }
}

/// Tells how far a trace has come.
#[derive(Debug)]
pub struct Clock(File);

impl Clock {
    /// What was done up to now stands before this position.
    pub fn now(&self) -> u64 {
        let mut octets = [0; 8];
        self.0.read_exact_at(&mut octets, 0).unwrap();
        u64::from_le_bytes(octets)
    }
}

fn read(path: &Path) -> Vec<Step> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).unwrap());
    let mut begin = [0; 8];
    file.read_exact(&mut begin).unwrap();
    let published = u64::from_le_bytes(begin);
    let mut steps = Vec::new();
    let mut position = 8;
    while position < published {
        let mut head = [0; 32];
        file.read_exact(&mut head).unwrap();
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap()) as usize;
        let wide = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
        let (kind, names, octets) = (number(0), number(4), number(8));
        let (inode, at) = (wide(16), wide(24));
        let mut text = vec![0; names];
        file.read_exact(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap().replace("/./", "/");
        let place = position + 32 + names as u64;
        let end = (place + octets as u64).next_multiple_of(8);
        file.seek_relative((end - place).cast_signed()).unwrap();
        position = end;
        let action = match kind {
            1 => Action::Create(text, inode),
            2 => Action::MakeDir(text, inode),
            3 => Action::Write(inode, Octets { at, length: octets, place }),
            4 => Action::Truncate(inode, at),
            5 => Action::Allocate(inode, at),
            6 => {
                let (from, to) = text.split_once('\0').unwrap();
                Action::Rename(from.into(), to.into(), inode)
            }
            7 => Action::Unlink(text),
            8 => Action::SyncBegins(at),
            9 => Action::SyncEnds(inode, at),
            _ => panic!("the process did something that the recorder has no word for: {text} ({kind})"),
        };
        steps.push(Step { end, action });
    }
    assert_eq!(file.stream_position().unwrap(), published);
    steps
}
