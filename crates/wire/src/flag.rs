//! Message flags: the system flags of RFC 3501 s.2.3.2 and keywords.
//!
//! `\Recent` is not here: it is a fact of a session, not of a message.

use std::fmt;
use std::sync::Arc;

use crate::limits;

/// A system flag that is kept (RFC 3501 s.2.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SystemFlag {
    /// `\Seen`
    Seen = 1,
    /// `\Answered`
    Answered = 2,
    /// `\Flagged`
    Flagged = 4,
    /// `\Deleted`
    Deleted = 8,
    /// `\Draft`
    Draft = 16,
}

impl SystemFlag {
    /// All of them, in the order in which they are printed.
    pub const ALL: [SystemFlag; 5] =
        [SystemFlag::Answered, SystemFlag::Flagged, SystemFlag::Deleted, SystemFlag::Seen, SystemFlag::Draft];

    /// The name as printed, backslash included.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SystemFlag::Seen => "\\Seen",
            SystemFlag::Answered => "\\Answered",
            SystemFlag::Flagged => "\\Flagged",
            SystemFlag::Deleted => "\\Deleted",
            SystemFlag::Draft => "\\Draft",
        }
    }
}

/// A set of system flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SystemFlags(u8);

impl SystemFlags {
    /// No flag.
    pub const NONE: SystemFlags = SystemFlags(0);

    /// The flags of a stored octet; unknown bits are dropped.
    #[must_use]
    pub const fn from_bits(bits: u8) -> SystemFlags {
        SystemFlags(bits & 31)
    }
    /// The flags as one octet.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }
    /// Whether `f` is set.
    #[must_use]
    pub const fn has(self, f: SystemFlag) -> bool {
        self.0 & f as u8 != 0
    }
    /// With `f` set.
    #[must_use]
    pub const fn with(self, f: SystemFlag) -> SystemFlags {
        SystemFlags(self.0 | f as u8)
    }
    /// Those in either.
    #[must_use]
    pub const fn union(self, other: SystemFlags) -> SystemFlags {
        SystemFlags(self.0 | other.0)
    }
    /// Those in `self` and not in `other`.
    #[must_use]
    pub const fn without(self, other: SystemFlags) -> SystemFlags {
        SystemFlags(self.0 & !other.0)
    }
    /// Those set, in printing order.
    pub fn iter(self) -> impl Iterator<Item = SystemFlag> {
        SystemFlag::ALL.into_iter().filter(move |&f| self.has(f))
    }
}

/// A keyword (RFC 3501 s.9 `flag-keyword`): an atom, compared without regard to ASCII case, kept as first written.
#[derive(Clone, Debug)]
pub struct Keyword(Arc<str>);

impl Keyword {
    /// `None` unless it is an atom within `limits::KEYWORD`.
    #[must_use]
    pub fn parse(s: &[u8]) -> Option<Keyword> {
        let atom = |b: &u8| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(b);
        if s.is_empty() || s.len() > limits::KEYWORD || !s.iter().all(atom) {
            return None;
        }
        std::str::from_utf8(s).ok().map(|s| Keyword(s.into()))
    }
    /// The keyword as first written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl PartialEq for Keyword {
    fn eq(&self, other: &Keyword) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}
impl Eq for Keyword {}
impl std::hash::Hash for Keyword {
    fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
        for b in self.0.bytes() {
            h.write_u8(b.to_ascii_lowercase());
        }
    }
}
impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Flags by name: what a client says, before the keywords have a place in a mailbox's table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagNames {
    /// System flags.
    pub system: SystemFlags,
    /// Keywords, without doubles.
    pub keywords: Vec<Keyword>,
}

impl FlagNames {
    /// Adds a keyword unless it is there already.
    pub fn add_keyword(&mut self, k: Keyword) {
        if !self.keywords.contains(&k) {
            self.keywords.push(k);
        }
    }
}

/// The RFC 6154 special use of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SpecialUse {
    /// `\Drafts`
    Drafts = 1,
    /// `\Sent`
    Sent = 2,
    /// `\Junk`
    Junk = 3,
    /// `\Trash`
    Trash = 4,
    /// `\Archive`
    Archive = 5,
}

impl SpecialUse {
    /// All of them: what a new account gets.
    pub const ALL: [SpecialUse; 5] =
        [SpecialUse::Drafts, SpecialUse::Sent, SpecialUse::Junk, SpecialUse::Trash, SpecialUse::Archive];

    /// The attribute as printed, backslash included.
    #[must_use]
    pub const fn attribute(self) -> &'static str {
        match self {
            SpecialUse::Drafts => "\\Drafts",
            SpecialUse::Sent => "\\Sent",
            SpecialUse::Junk => "\\Junk",
            SpecialUse::Trash => "\\Trash",
            SpecialUse::Archive => "\\Archive",
        }
    }
    /// The mailbox that every new account gets for this use: the attribute without its backslash.
    #[must_use]
    pub fn default_name(self) -> &'static str {
        &self.attribute()[1..]
    }
    /// From the attribute's name (`\Sent`), in any case.
    #[must_use]
    pub fn parse(s: &[u8]) -> Option<SpecialUse> {
        SpecialUse::ALL.into_iter().find(|u| s.eq_ignore_ascii_case(u.attribute().as_bytes()))
    }
}
