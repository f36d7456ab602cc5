//! A body on its way in: small in memory, large straight into a segment of its own.
//!
//! What goes to a segment is in its final place; nothing is written twice, and nobody waits behind it: the connection's
//! own thread syncs it. Octets in memory are counted over the whole server.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wire::limits;

use crate::commit::writer::out_of_space;
use crate::record::piece_crcs;
use crate::shared::Shared;
use crate::side::{Side, Writer};

/// Why a body could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk has no room for new mail.
    #[error("no space left for new mail")]
    Full,
    /// Larger than any message may be.
    #[error("larger than any message may be")]
    TooLarge,
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(io::Error),
}

impl From<io::Error> for SpoolError {
    fn from(error: io::Error) -> SpoolError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SpoolError::Full,
            _ => SpoolError::Io(error),
        }
    }
}

/// Octets of bodies in memory, counted as long as this lives.
#[derive(Debug, Default)]
struct Counted {
    counter: Option<Arc<AtomicUsize>>,
    octets: usize,
}

impl Counted {
    fn add(&mut self, octets: usize) {
        if let Some(counter) = &self.counter {
            counter.fetch_add(octets, Ordering::Relaxed);
            self.octets += octets;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(counter) = &self.counter {
            counter.fetch_sub(self.octets, Ordering::Relaxed);
        }
    }
}

#[derive(Debug)]
enum Kept {
    Memory(Vec<u8>, Counted),
    Side(Box<Writer>),
}

/// Takes a body's octets as they come. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    kept: Kept,
    broken: bool,
}

impl Spool {
    pub(crate) fn new(shared: Arc<Shared>) -> Spool {
        let counted = Counted { counter: Some(shared.memory_bodies.clone()), octets: 0 };
        Spool { shared, kept: Kept::Memory(Vec::new(), counted), broken: false }
    }

    /// Adds octets. May block on the disk once the body is large. After an error nothing more can be done with it.
    pub fn push(&mut self, octets: &[u8]) -> Result<(), SpoolError> {
        if self.broken {
            return Err(SpoolError::Io(io::Error::other("the spool has failed before")));
        }
        let result = self.take(octets);
        self.blame(result.as_ref().err());
        self.broken = result.is_err();
        result
    }

    /// The disk failed under a body's own segment.
    fn blame(&self, error: Option<&SpoolError>) {
        if let Some(SpoolError::Io(error)) = error
            && !out_of_space(error)
        {
            self.shared.files.troubles.note("tmp", format!("a large message could not be written: {error}"));
        }
    }

    fn take(&mut self, octets: &[u8]) -> Result<(), SpoolError> {
        if self.len() + octets.len() as u64 > limits::STORED_MESSAGE {
            return Err(SpoolError::TooLarge);
        }
        if let Kept::Memory(memory, counted) = &mut self.kept {
            let tuning = &self.shared.tuning;
            let all = self.shared.memory_bodies.load(Ordering::Relaxed) + octets.len();
            if memory.len() + octets.len() <= tuning.side_above && all <= tuning.memory_bodies {
                memory.extend_from_slice(octets);
                counted.add(octets.len());
                return Ok(());
            }
            let mut writer = self.shared.side_writer()?;
            writer.push(memory)?;
            self.kept = Kept::Side(Box::new(writer));
        }
        if let Kept::Side(writer) = &mut self.kept {
            writer.push(octets)?;
        }
        Ok(())
    }

    /// Octets so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.kept {
            Kept::Memory(memory, _) => memory.len() as u64,
            Kept::Side(writer) => writer.octets(),
        }
    }
    /// Whether there are none so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether the body is on the disk already, so that `push` and `finish` may block.
    #[must_use]
    pub fn is_large(&self) -> bool {
        matches!(self.kept, Kept::Side(_))
    }
    /// The body is whole. Blocks on an fdatasync if it is large.
    pub fn finish(self) -> Result<Spooled, SpoolError> {
        if self.broken {
            return Err(SpoolError::Io(io::Error::other("the spool has failed before")));
        }
        Ok(Spooled {
            body: match self.kept {
                Kept::Memory(memory, counted) => Body::memory(memory, counted),
                Kept::Side(writer) => {
                    let side = writer.finish().map_err(SpoolError::from);
                    if let Err(SpoolError::Io(error)) = &side
                        && !out_of_space(error)
                    {
                        let what = format!("a large message could not be synced: {error}");
                        self.shared.files.troubles.note("log", what);
                    }
                    let side = side?;
                    self.shared.stats.side_octets.fetch_add(side.octets, Ordering::Relaxed);
                    Body::Side(side)
                }
            },
        })
    }
}

#[derive(Debug)]
pub(crate) enum Body {
    Memory { octets: Vec<u8>, crcs: Vec<u32>, _counted: CountedBody },
    Side(Side),
}

/// Keeps the count of octets in memory as long as the body lives.
#[derive(Debug)]
pub(crate) struct CountedBody(#[expect(dead_code, reason = "held for its drop")] Counted);

impl Body {
    fn memory(octets: Vec<u8>, counted: Counted) -> Body {
        let crcs = piece_crcs(&octets);
        Body::Memory { octets, crcs, _counted: CountedBody(counted) }
    }
}

/// A whole body, to be put into a [`crate::Batch`]. Dropped uncommitted, it leaves nothing.
#[derive(Debug)]
pub struct Spooled {
    pub(crate) body: Body,
}

impl Spooled {
    /// How many octets.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.body {
            Body::Memory { octets, .. } => octets.len() as u64,
            Body::Side(side) => side.octets,
        }
    }
    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The octets, if they are in memory.
    #[must_use]
    pub fn octets(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Memory { octets, .. } => Some(octets),
            Body::Side(_) => None,
        }
    }
    /// Reads at an offset, wherever it is; fewer octets than asked for only at the end.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        match &self.body {
            Body::Memory { octets, .. } => {
                let rest = usize::try_from(offset).ok().and_then(|at| octets.get(at..)).unwrap_or_default();
                let n = rest.len().min(buf.len());
                buf[..n].copy_from_slice(&rest[..n]);
                Ok(n)
            }
            Body::Side(side) => side.read_at(offset, buf),
        }
    }
}

impl From<Vec<u8>> for Spooled {
    fn from(octets: Vec<u8>) -> Spooled {
        Spooled { body: Body::memory(octets, Counted::default()) }
    }
}
