//! The store's own numbers and times: accounts, mailboxes, places in the log, moments.
//!
//! They are results that the log holds: nothing here is recomputed, and nothing here reads a clock.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(crate) u32);

        impl $name {
            /// The number, for logs and for keys that the server derives.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// An account. Never reused.
    AccountId
}
id! {
    /// A mailbox, whatever its name is now. Never reused.
    MailboxId
}

/// Where a record is in the log, valid for ever: compaction moves octets, never locations.
///
/// The ordinal is the record's offset in its segment as first written, in units of 8 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The segment's number.
    pub segment: u32,
    /// The record within it.
    pub ordinal: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.segment, self.ordinal)
    }
}

/// A conversation (RFC 8474 s.5.2 `THREADID`). Kept from the first record; every message is its own for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(pub(crate) u64);

impl ThreadId {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A moment, in seconds and nanoseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime {
    /// Whole seconds.
    pub secs: i64,
    /// The rest; below 1,000,000,000.
    pub nanos: u32,
}

/// When a message arrived, with the zone it was said in (RFC 3501 s.2.3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InternalDate {
    /// Seconds since 1970 (UTC). What does not fit 40 bits is clamped when stored (years ±17,000).
    pub unix: i64,
    /// Minutes east of UTC.
    pub zone_minutes: i16,
}
