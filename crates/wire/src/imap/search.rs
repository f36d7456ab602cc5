//! SEARCH keys as a tree (RFC 3501 s.6.4.4). Types only; the parser is in `parse`, the printing in `print`.
//!
//! The tree is never deeper than `limits::NESTING`: the parser counts, so that nobody who walks it need fear for
//! the stack.

use super::date::Date;
use super::fetch::FieldName;
use crate::flag::{Keyword, SystemFlag};
use crate::ids::SeqSet;

/// A search key. Negative keys (`UNSEEN`) are `Not` of the positive one; `NEW` and `OLD` are written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchKey {
    /// `ALL`
    All,
    /// All of these: keys side by side, or in parentheses. Never empty.
    And(Vec<SearchKey>),
    /// Either.
    Or(Box<SearchKey>, Box<SearchKey>),
    /// Not this.
    Not(Box<SearchKey>),
    /// A sequence set of message sequence numbers.
    Sequence(SeqSet),
    /// `UID`
    Uid(SeqSet),
    /// A system flag is set: `SEEN`, `ANSWERED`, ...
    Flag(SystemFlag),
    /// `RECENT`
    Recent,
    /// `KEYWORD`
    Keyword(Keyword),
    /// `BCC`, `CC`, `FROM`, `SUBJECT`, `TO` and `HEADER`: the field holds the text; with an empty text, it exists.
    Header(FieldName, SearchText),
    /// `BODY`: the body holds the text.
    Body(SearchText),
    /// `TEXT`: header or body hold the text.
    Text(SearchText),
    /// INTERNALDATE is on a day before this.
    Before(Date),
    /// INTERNALDATE is on this day.
    On(Date),
    /// INTERNALDATE is on this day or later.
    Since(Date),
    /// The Date field is before this day.
    SentBefore(Date),
    /// The Date field is on this day.
    SentOn(Date),
    /// The Date field is on this day or later.
    SentSince(Date),
    /// RFC822.SIZE is larger.
    Larger(u32),
    /// RFC822.SIZE is smaller.
    Smaller(u32),
}

/// A text to look for: octets in the command's character set, US-ASCII or UTF-8 of which are always valid UTF-8.
pub type SearchText = Vec<u8>;

impl SearchKey {
    /// Whether `f` holds for this key or any below it.
    pub fn any(&self, f: &mut dyn FnMut(&SearchKey) -> bool) -> bool {
        f(self)
            || match self {
                SearchKey::And(keys) => keys.iter().any(|k| k.any(f)),
                SearchKey::Or(a, b) => a.any(f) || b.any(f),
                SearchKey::Not(k) => k.any(f),
                _ => false,
            }
    }
}
