//! A message on its way in, by DATA or BDAT: what of it goes to the desk, and why it may be refused.
//!
//! A refused body is read to its end and thrown away. What the desk is given of one is the same however the input
//! was cut: everything before the first octet that was too much.

use std::ops::Range;

use super::{Aborted, Role};
use crate::dot::{Bare, Cleaner, Piece};
use crate::machine::BodyPart;

/// A message whose end has not been seen.
#[derive(Debug)]
pub(super) struct Body {
    cleaner: Cleaner,
    /// Octets given to the desk.
    pub(super) octets: u64,
    limit: u64,
    /// Why it will be refused.
    pub(super) fault: Option<Aborted>,
}

/// What became of the front of the input.
#[derive(Debug)]
pub(super) enum Taken {
    /// Nothing can be done before there is more input.
    More(usize),
    /// Octets were used up, and nothing comes of them.
    Nothing(usize),
    /// A part for the desk.
    Part(BodyPart, usize),
    /// The final dot.
    End(usize),
}

impl Body {
    /// A body that comes by DATA.
    pub(super) fn dotted(role: Role, limit: u64) -> Body {
        Body { cleaner: Cleaner::dotted(policy(role)), octets: 0, limit, fault: None }
    }

    /// A body that comes by BDAT.
    pub(super) fn chunked(role: Role, limit: u64) -> Body {
        Body { cleaner: Cleaner::plain(policy(role)), octets: 0, limit, fault: None }
    }

    /// Looks at the front of `input`.
    pub(super) fn take(&mut self, input: &[u8]) -> Taken {
        let piece = self.cleaner.next(input);
        self.account(piece)
    }

    /// The end of the last chunk: a part that is still due, if any.
    pub(super) fn finish(&mut self) -> Option<BodyPart> {
        let piece = self.cleaner.finish()?;
        match self.account(piece) {
            Taken::Part(part, _) => Some(part),
            _ => None,
        }
    }

    fn account(&mut self, piece: Piece) -> Taken {
        match piece {
            Piece::More { used } => Taken::More(used),
            Piece::End { used } => Taken::End(used),
            Piece::Bare { used } => {
                self.fault.get_or_insert(Aborted::BareLineEnd);
                Taken::Nothing(used)
            }
            Piece::Body { range, used } => match self.admit(range.len()) {
                0 => Taken::Nothing(used),
                n => Taken::Part(BodyPart::Input(Range { start: range.start, end: range.start + n }), used),
            },
            Piece::Own { octets, used } => match self.admit(octets.len()) {
                0 => Taken::Nothing(used),
                n => Taken::Part(BodyPart::Own(&octets[..n]), used),
            },
        }
    }

    /// How many of `n` further octets the desk is given.
    fn admit(&mut self, n: usize) -> usize {
        if self.fault.is_some() {
            return 0;
        }
        let room = usize::try_from(self.limit - self.octets).unwrap_or(usize::MAX);
        if n > room {
            self.fault = Some(Aborted::TooLarge);
        }
        let n = n.min(room);
        self.octets += n as u64;
        n
    }
}

/// On port 25 a bare CR or LF is what smuggling is made of; a user's client that sends one means a line end.
fn policy(role: Role) -> Bare {
    match role {
        Role::Mx => Bare::Refuse,
        Role::Submission => Bare::Mend,
    }
}
