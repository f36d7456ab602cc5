//! LIST and LSUB: what is asked, and the attributes of an answer.
//!
//! RFC 3501 s.6.3.8, s.6.3.9; LIST-EXTENDED (RFC 5258), LIST-STATUS (RFC 5819), SPECIAL-USE (RFC 6154),
//! CHILDREN (RFC 3348). Which mailboxes there are is the desk's to say; how a name meets a pattern is said here.

use super::name::{DELIMITER, with_inbox};
use crate::flag::SpecialUse;

/// LIST in all its forms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// The reference name, decoded to UTF-8; the patterns are to be taken as below it. `patterns` have it already
    /// in front of them: it is kept for the special case of the empty pattern.
    pub reference: String,
    /// The patterns, reference included, decoded to UTF-8. One empty pattern without reference asks for the
    /// delimiter and the root only (RFC 3501 s.6.3.8).
    pub patterns: Vec<String>,
    /// What to select.
    pub select: ListSelect,
    /// What to tell.
    pub give: ListReturn,
    /// Whether selection or return options or several patterns were given: only then do the finer rules of
    /// RFC 5258 hold (`\NonExistent`, `\Subscribed`).
    pub extended: bool,
}

/// Selection options (RFC 5258 s.3.1, RFC 6154 s.5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListSelect {
    /// `SUBSCRIBED`: subscribed names, whether or not such a mailbox exists; implies the return option.
    pub subscribed: bool,
    /// `REMOTE`: this server has none; nothing to do.
    pub remote: bool,
    /// `RECURSIVEMATCH`: parents of selected names too, with CHILDINFO. Never alone.
    pub recursive_match: bool,
    /// `SPECIAL-USE`: only mailboxes with a special use; implies the return option.
    pub special_use: bool,
}

/// Return options (RFC 5258 s.3.2, RFC 5819, RFC 6154).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListReturn {
    /// `SUBSCRIBED`: tell `\Subscribed`.
    pub subscribed: bool,
    /// `CHILDREN`: tell `\HasChildren` or `\HasNoChildren`. This server always may (RFC 3348).
    pub children: bool,
    /// `SPECIAL-USE`: told on plain LIST as well, since macOS looks for it there.
    pub special_use: bool,
    /// `STATUS (..)`: a STATUS after each selectable one.
    pub status: Vec<StatusItem>,
}

impl List {
    /// Whether only delimiter and root are asked for (RFC 3501 s.6.3.8).
    #[must_use]
    pub fn asks_delimiter(&self) -> bool {
        !self.extended && matches!(self.patterns.as_slice(), [p] if p.is_empty())
    }

    /// Whether the name meets one of the patterns.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.patterns.iter().any(|p| matches(p, name))
    }
}

/// What STATUS can tell (RFC 3501 s.6.3.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatusItem {
    /// `MESSAGES`
    Messages,
    /// `RECENT`
    Recent,
    /// `UIDNEXT`
    UidNext,
    /// `UIDVALIDITY`
    UidValidity,
    /// `UNSEEN`
    Unseen,
}

impl StatusItem {
    /// All of them.
    pub const ALL: [StatusItem; 5] = [
        StatusItem::Messages,
        StatusItem::Recent,
        StatusItem::UidNext,
        StatusItem::UidValidity,
        StatusItem::Unseen,
    ];

    /// The item's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            StatusItem::Messages => "MESSAGES",
            StatusItem::Recent => "RECENT",
            StatusItem::UidNext => "UIDNEXT",
            StatusItem::UidValidity => "UIDVALIDITY",
            StatusItem::Unseen => "UNSEEN",
        }
    }

    /// By name, in any case.
    #[must_use]
    pub fn parse(s: &[u8]) -> Option<StatusItem> {
        StatusItem::ALL.into_iter().find(|i| s.eq_ignore_ascii_case(i.name().as_bytes()))
    }
}

/// Attributes of one name in a LIST or LSUB answer. All false: a plain mailbox of which nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListAttributes {
    /// `\NonExistent` (RFC 5258 s.3): implies `\Noselect`, which is told besides for older clients.
    pub non_existent: bool,
    /// `\Noselect`
    pub no_select: bool,
    /// `\Noinferiors`
    pub no_inferiors: bool,
    /// `Some(true)`: `\HasChildren`; `Some(false)`: `\HasNoChildren` (RFC 3348).
    pub children: Option<bool>,
    /// `\Subscribed` (RFC 5258 s.3).
    pub subscribed: bool,
    /// The special use (RFC 6154).
    pub special_use: Option<SpecialUse>,
}

/// Whether a name meets a pattern: `*` is anything, `%` anything within a level (RFC 3501 s.6.3.8).
///
/// Takes time in O(pattern × name) at worst, whatever the pattern: no recursion, no backtracking by guess.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern = with_inbox(pattern);
    // All positions of the pattern that can be reached with the name read so far.
    let pattern: Vec<char> = pattern.chars().collect();
    let mut reached = vec![false; pattern.len() + 1];
    reached[0] = true;
    let spread = |reached: &mut Vec<bool>| {
        for (i, c) in pattern.iter().enumerate() {
            if reached[i] && matches!(c, '*' | '%') {
                reached[i + 1] = true;
            }
        }
    };
    spread(&mut reached);
    for n in name.chars() {
        let mut next = vec![false; pattern.len() + 1];
        for (i, &c) in pattern.iter().enumerate().filter(|&(i, _)| reached[i]) {
            match c {
                '*' => next[i] = true,
                '%' if n != DELIMITER => next[i] = true,
                c if c == n => next[i + 1] = true,
                _ => {}
            }
        }
        spread(&mut next);
        if !next.contains(&true) {
            return false;
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, want) in [
            ("*", "INBOX", true),
            ("*", "a/b/c", true),
            ("%", "a", true),
            ("%", "a/b", false),
            ("%/%", "a/b", true),
            ("a/*", "a/b/c", true),
            ("a/*", "a", false),
            ("a*", "a", true),
            ("inbox", "INBOX", true),
            ("InBoX/%", "INBOX/x", true),
            ("INBOX*", "INBOX", true),
            ("Entw*e", "Entwürfe", true),
            ("a%c", "abbc", true),
            ("a%c", "ab/c", false),
            ("a*c", "ab/c", true),
            ("", "a", false),
            ("sent", "Sent", false),
            ("%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }
}
