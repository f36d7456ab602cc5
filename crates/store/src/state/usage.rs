//! What an account holds, and what it may hold. Both are derived or given, never guessed: what is held is the sum of the
//! heads of its mailboxes, at every moment and after every start.

use std::collections::HashMap;

use super::mailbox::Head;
use crate::id::AccountId;

/// What an account may hold; `None` is no limit (RFC 9208 s.5.1, s.5.2 STORAGE and MESSAGE).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Octets, as the sum of RFC822.SIZE.
    pub storage: Option<u64>,
    /// Messages.
    pub messages: Option<u64>,
}

/// What an account holds in all its mailboxes. A message in two mailboxes counts twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Octets, as the sum of RFC822.SIZE.
    pub storage: u64,
    /// Messages.
    pub messages: u64,
}

impl Quota {
    /// Whether there is no limit at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.storage.is_none() && self.messages.is_none()
    }

    /// Whether an account that holds `used` may take `more`.
    #[must_use]
    pub fn allows(&self, used: Usage, more: Usage) -> bool {
        let within = |limit: Option<u64>, used: u64, more: u64| {
            limit.is_none_or(|limit| used.checked_add(more).is_some_and(|sum| sum <= limit))
        };
        within(self.storage, used.storage, more.storage)
            && within(self.messages, used.messages, more.messages)
    }
}

impl Usage {
    /// Of some messages.
    pub(crate) fn of(sizes: impl Iterator<Item = u32>) -> Usage {
        sizes.fold(Usage::default(), |usage, size| Usage {
            storage: usage.storage.saturating_add(u64::from(size)),
            messages: usage.messages + 1,
        })
    }

    /// A mailbox has another head, or comes or goes.
    pub(crate) fn change(&mut self, before: Option<&Head>, after: Option<&Head>) {
        let of = |head: Option<&Head>| head.map_or((0, 0), |h| (h.octets, u64::from(h.exists)));
        let (before, after) = (of(before), of(after));
        self.storage = self.storage.saturating_sub(before.0).saturating_add(after.0);
        self.messages = self.messages.saturating_sub(before.1).saturating_add(after.1);
    }
}

/// What every account holds; those that hold nothing are not there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals(HashMap<AccountId, Usage>);

impl Totals {
    pub(crate) fn get(&self, account: AccountId) -> Usage {
        self.0.get(&account).copied().unwrap_or_default()
    }

    pub(crate) fn change(&mut self, account: AccountId, before: Option<&Head>, after: Option<&Head>) {
        let usage = self.0.entry(account).or_default();
        usage.change(before, after);
        if *usage == Usage::default() {
            self.0.remove(&account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_quota_allows() {
        let usage = |storage, messages| Usage { storage, messages };
        let quota = |storage, messages| Quota { storage, messages };
        for (quota, used, more, allowed) in [
            (quota(None, None), usage(u64::MAX, u64::MAX), usage(1, 1), true),
            (quota(Some(10), None), usage(9, 99), usage(1, 1), true),
            (quota(Some(10), None), usage(9, 99), usage(2, 1), false),
            (quota(None, Some(3)), usage(9, 2), usage(99, 1), true),
            (quota(None, Some(3)), usage(9, 2), usage(0, 2), false),
            (quota(Some(10), Some(3)), usage(9, 3), usage(1, 1), false),
            // Lowered below what is there.
            (quota(Some(10), None), usage(20, 1), usage(0, 0), false),
            (quota(Some(u64::MAX), None), usage(u64::MAX, 1), usage(1, 1), false),
        ] {
            assert_eq!(quota.allows(used, more), allowed, "{quota:?} {used:?} {more:?}");
        }
    }
}
