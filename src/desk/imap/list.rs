//! LIST and LSUB (RFC 3501 s.6.3.8, s.6.3.9; RFC 5258, RFC 5819, RFC 6154).
//!
//! The special use and whether there are children are told on plain LIST too: macOS looks for them there.

use std::collections::{BTreeMap, BTreeSet};

use store::MailboxInfo;
use wire::imap::list::{List, ListAttributes, matches};
use wire::imap::response;
use wire::imap::session::Ended;

use super::selected::write;
use super::{ImapDesk, Outcome};
use crate::net::Out;

/// A name that may be told, in the order of names.
struct Named<'a> {
    mailbox: Option<&'a MailboxInfo>,
    /// Whether it is in the hierarchy at all, with a mailbox or above one.
    exists: bool,
    has_children: bool,
    subscribed: bool,
}

impl ImapDesk {
    pub(super) async fn list(&self, list: &List, out: &Out) -> Outcome {
        if list.asks_delimiter() {
            out.with(response::list_delimiter);
            return Ok(Ended::ok("Listed"));
        }
        let account = self.account()?;
        let directory = self.store.directory();
        let nothing = BTreeSet::new();
        let subscriptions = directory.account(account).map_or(&nothing, |a| &a.subscriptions);
        let mut names: BTreeMap<&str, Named<'_>> = BTreeMap::new();
        for name in directory.names(account) {
            let (mailbox, has_children) = (name.mailbox, name.has_children);
            names.insert(name.path, Named { mailbox, exists: true, has_children, subscribed: false });
        }
        for path in subscriptions {
            let none = Named { mailbox: None, exists: false, has_children: false, subscribed: true };
            names.entry(path).or_insert(none).subscribed = true;
        }
        let select = &list.select;
        let meets = |name: &Named<'_>| {
            let special = name.mailbox.is_some_and(|m| m.special_use.is_some());
            (if select.subscribed { name.subscribed } else { name.exists })
                && (!select.special_use || special)
        };
        // RFC 5258 s.3.5: parents, that may be nothing themselves, of names that meet the criteria.
        let mut parents: BTreeSet<&str> = BTreeSet::new();
        if select.recursive_match {
            for (path, _) in names.iter().filter(|(_, name)| meets(name)) {
                let told = list.matches(path);
                // Redundant where the child itself is told.
                let above = path.match_indices('/').map(|(at, _)| path.get(..at).unwrap_or_default());
                parents.extend(above.filter(|parent| {
                    !told || names.get(parent).is_some_and(|p| meets(p) && list.matches(parent))
                }));
            }
        }
        for parent in &parents {
            let none = Named { mailbox: None, exists: false, has_children: true, subscribed: false };
            names.entry(parent).or_insert(none);
        }
        for (path, name) in &names {
            let child_info = parents.contains(path);
            if !(meets(name) || child_info) || !list.matches(path) {
                continue;
            }
            let told = attributes(name, list);
            write(out, |buf| response::list(&told, path, child_info, buf)).await;
            if let Some(mailbox) = name.mailbox.filter(|_| !list.give.status.is_empty()) {
                // RFC 5819 s.2: a mailbox that has just gone has no STATUS.
                let _ = self.tell_status(mailbox, &list.give.status, out);
            }
        }
        Ok(Ended::ok("Listed"))
    }

    /// RFC 3501 s.6.3.9: what is subscribed, existing or not; with `%`, also the parents of what lies deeper.
    pub(super) async fn lsub(&self, pattern: &str, out: &Out) -> Outcome {
        let account = self.account()?;
        let directory = self.store.directory();
        let mut told: BTreeMap<&str, ListAttributes> = BTreeMap::new();
        let subscriptions = directory.account(account).map(|a| &a.subscriptions);
        for path in subscriptions.into_iter().flatten() {
            if matches(pattern, path) {
                let mailbox = directory.mailbox_at(account, path);
                let plain = ListAttributes {
                    special_use: mailbox.and_then(|m| m.special_use),
                    ..ListAttributes::default()
                };
                told.insert(path, plain);
                continue;
            }
            for (at, _) in path.match_indices('/') {
                let parent = path.get(..at).unwrap_or_default();
                if matches(pattern, parent) {
                    let only = ListAttributes { no_select: true, ..ListAttributes::default() };
                    told.entry(parent).or_insert(only);
                }
            }
        }
        for (path, attributes) in &told {
            write(out, |buf| response::lsub(attributes, path, buf)).await;
        }
        Ok(Ended::ok("Listed"))
    }
}

fn attributes(name: &Named<'_>, list: &List) -> ListAttributes {
    let no_mailbox = name.mailbox.is_none();
    ListAttributes {
        // Only those who know RFC 5258 are told that there is nothing; others that it cannot be selected.
        non_existent: no_mailbox && list.extended,
        no_select: no_mailbox && !list.extended,
        no_inferiors: false,
        children: Some(name.has_children),
        subscribed: name.subscribed && (list.select.subscribed || list.give.subscribed),
        special_use: name.mailbox.and_then(|m| m.special_use),
    }
}
