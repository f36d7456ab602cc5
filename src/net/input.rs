//! What has been read and not yet used. Bounded; grows while much comes; no memory at all while nothing does.

/// Octets asked for in a read to begin with.
const START: usize = 16 * 1024;
/// The most that may lie unread. Above every limit a machine sets on what it must see whole
/// (`wire::limits::IMAP_COMMAND` is the largest), so a machine that keeps its limits never meets it.
const MOST: usize = 128 * 1024;

/// The unread octets of one connection.
#[derive(Default)]
pub(super) struct Input {
    buf: Vec<u8>,
    /// How many octets at the front are used up.
    start: usize,
    /// What the next read should have room for.
    want: usize,
}

impl Input {
    /// All unread octets.
    pub(super) fn unread(&self) -> &[u8] {
        self.buf.get(self.start..).unwrap_or_default()
    }

    /// Marks octets at the front as used up; false if there are fewer.
    pub(super) fn consume(&mut self, used: usize) -> bool {
        if used > self.unread().len() {
            return false;
        }
        self.start += used;
        if self.start == self.buf.len() {
            self.drop_unread();
        }
        true
    }

    /// Forgets what is unread.
    pub(super) fn drop_unread(&mut self) {
        self.buf.clear();
        self.start = 0;
    }

    /// The buffer with free room at its end for a read; `None` if the bound is reached.
    pub(super) fn room(&mut self) -> Option<&mut Vec<u8>> {
        let unread = self.unread().len();
        if unread >= MOST {
            return None;
        }
        let want = self.want.clamp(START, MOST - unread).max(1);
        if self.buf.capacity() - self.buf.len() < want {
            // Moves at most what is unread, and only when the room behind it has been used up by a read.
            self.buf.drain(..self.start);
            self.start = 0;
            self.buf.reserve_exact(want);
        }
        Some(&mut self.buf)
    }

    /// Tells how much the last read brought: full reads make the next one larger.
    pub(super) fn brought(&mut self, octets: usize) {
        let want = self.want.max(START);
        self.want = if octets >= want { (want * 2).min(MOST) } else { want };
    }

    /// The peer has sent nothing for now: keeps only what is unread.
    pub(super) fn release(&mut self) {
        self.want = START;
        if self.start > 0 {
            self.buf.drain(..self.start);
            self.start = 0;
        }
        self.buf.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_unread_and_nothing_else() {
        let mut input = Input::default();
        input.room().unwrap().extend_from_slice(b"abcdef");
        assert!(input.consume(2));
        assert_eq!(input.unread(), b"cdef");
        assert!(!input.consume(5), "more than there is");
        input.release();
        assert_eq!((input.unread(), input.buf.capacity()), (&b"cdef"[..], 4));
        input.room().unwrap().extend_from_slice(b"gh");
        assert_eq!(input.unread(), b"cdefgh");
        assert!(input.consume(6));
        input.release();
        assert_eq!(input.buf.capacity(), 0, "an idle connection holds no buffer");
    }

    #[test]
    fn grows_while_reads_are_full_and_is_bounded() {
        let mut input = Input::default();
        let mut read = 0;
        while let Some(buf) = input.room() {
            let free = buf.capacity() - buf.len();
            buf.resize(buf.len() + free, b'x');
            input.brought(free);
            read += 1;
        }
        assert!((MOST..2 * MOST).contains(&input.unread().len()));
        assert!(read < 6, "took {read} reads: reads do not grow");
    }
}
