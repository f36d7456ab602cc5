//! What the model knows of messages that were expunged and can be brought back.

use crate::world::{Expect, Mailbox, Message, Shows, When, World, names};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{AccountId, BackTo, MailboxId, Refused, RetainedId};
use wire::flag::{FlagNames, SpecialUse};
use wire::ids::Runs;

/// What one commit took away from one mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Rises with the commits; only the order counts.
    pub order: u64,
    pub id: Option<RetainedId>,
    /// When, in seconds.
    pub time: Option<u64>,
    pub account: AccountId,
    pub mailbox: Option<MailboxId>,
    pub path: String,
    pub gone: bool,
    pub special: Option<SpecialUse>,
    /// By the UID that they had; without what a new row gets anew.
    pub rows: BTreeMap<u32, Message>,
}

fn without_numbers(message: &Message) -> Message {
    Message { modseq: None, unique: None, ..message.clone() }
}

/// Everything that a store says can be brought back, every octet of it read; oldest first.
pub fn kept_by(store: &impl Shows) -> Result<Vec<Kept>, String> {
    let mut kept: BTreeMap<RetainedId, Kept> = BTreeMap::new();
    for message in store.retained().map_err(|e| format!("what is retained: {e}"))? {
        let (from, row) = (message.from, message.row);
        let octets = store
            .message(&row)
            .and_then(|octets| octets.to_vec())
            .map_err(|e| format!("retained message {} of {}: {e}", row.uid, from.path))?;
        let flags = FlagNames { system: row.flags, keywords: from.keywords_of(&row).cloned().collect() };
        let (date, octets) = (Some(row.date), Arc::new(octets));
        let message = Message { modseq: None, flags: names(&flags), octets, date, unique: None };
        let entry = kept.entry(from.id).or_insert_with(|| Kept {
            order: from.id.commit().0,
            id: Some(from.id),
            time: Some(from.id.at().secs.cast_unsigned()),
            account: from.account,
            mailbox: Some(from.id.mailbox()),
            path: from.path.clone(),
            gone: from.mailbox_gone,
            special: from.special_use,
            rows: BTreeMap::new(),
        });
        if entry.rows.insert(row.uid.get(), message).is_some() {
            return Err(format!("message {} of {} is listed twice", row.uid, from.path));
        }
    }
    let mut kept: Vec<Kept> = kept.into_values().collect();
    sort(&mut kept);
    Ok(kept)
}

/// Ids of mailboxes may be unknown: within a commit, names tell entries apart.
fn sort(kept: &mut [Kept]) {
    kept.sort_by(|a, b| (a.order, a.account, &a.path).cmp(&(b.order, b.account, &b.path)));
}

impl Kept {
    fn differs(&self, is: &Kept) -> Option<String> {
        let known = |must: Option<String>, is: Option<String>| must.is_some() && must != is;
        let text = |entry: &Kept| {
            let head = (entry.account, &entry.path, entry.gone, entry.special);
            format!("{head:?} {:?}", entry.rows.keys().collect::<Vec<_>>())
        };
        if text(self) != text(is)
            || known(self.mailbox.map(|m| m.to_string()), is.mailbox.map(|m| m.to_string()))
            || known(self.time.map(|t| t.to_string()), is.time.map(|t| t.to_string()))
        {
            return Some(format!("{} at {:?}, not {} at {:?}", text(is), is.time, text(self), self.time));
        }
        self.rows.iter().find_map(|(uid, message)| {
            message.differs(&is.rows[uid]).map(|what| format!("{} {uid}: {what}", self.path))
        })
    }
}

impl World {
    /// A mailbox loses messages, by an expunge or with itself.
    pub fn keep(
        &mut self,
        (login, path): (&str, &str),
        rows: BTreeMap<u32, Message>,
        gone: bool,
        when: When,
    ) {
        if rows.is_empty() {
            return;
        }
        let account = &self.accounts[login];
        let Mailbox { id, special, .. } = account.mailboxes[path];
        let entry = Kept {
            order: self.ops,
            id: None,
            time: when.time,
            account: account.id.expect("whoever has messages is known"),
            mailbox: id,
            path: path.to_owned(),
            gone,
            special: special.filter(|_| gone),
            rows: rows.iter().map(|(uid, message)| (*uid, without_numbers(message))).collect(),
        };
        match self.kept.iter_mut().find(|k| k.order == entry.order && k.mailbox == id && id.is_some()) {
            Some(there) => there.rows.extend(entry.rows),
            None => self.kept.push(entry),
        }
        sort(&mut self.kept);
    }

    pub fn undelete(
        &mut self,
        from: RetainedId,
        uids: &Runs,
        to: &BackTo,
        when: When,
    ) -> Result<Expect, Refused> {
        let at = self.kept.iter().position(|k| k.id == Some(from)).ok_or(Refused::NotRetained)?;
        let entry = self.kept[at].clone();
        let old: Runs = entry.rows.keys().copied().filter(|uid| uids.contains(*uid)).collect();
        if old.is_empty() {
            return Err(Refused::NotRetained);
        }
        let sizes: Vec<usize> = old.iter().map(|uid| entry.rows[&uid].octets.len()).collect();
        let (login, path) = self.undelete_to(&entry, to)?;
        let account = self.accounts.get_mut(&login).expect("just found");
        account.within_quota(sizes.into_iter())?;
        let target = account.mailboxes.get_mut(&path).expect("just found");
        let mut new = Runs::default();
        for uid in old.iter() {
            let mut message = Message { modseq: when.commit, ..entry.rows[&uid].clone() };
            message.flags.remove("Deleted");
            new.insert(target.add(message));
        }
        self.kept[at].rows.retain(|uid, _| !old.contains(*uid));
        self.kept.retain(|k| !k.rows.is_empty());
        Ok(Expect::Undeleted(old, new))
    }

    /// Whose mailbox it is, and its name; it is there when this returns.
    fn undelete_to(&mut self, entry: &Kept, to: &BackTo) -> Result<(String, String), Refused> {
        let (account, path) = match to {
            BackTo::Mailbox(id) => return self.place_of(*id),
            BackTo::Home => {
                if let Some(id) = entry.mailbox.filter(|id| self.mailbox(*id).is_some()) {
                    return self.place_of(id);
                }
                (entry.account, &entry.path)
            }
            BackTo::Path { account, path } => (*account, path),
        };
        let there = self.accounts.iter_mut().find(|(_, a)| a.id == Some(account));
        let (login, account) = there.ok_or(Refused::NoSuchAccount)?;
        if !account.mailboxes.contains_key(path) {
            let taken = account.mailboxes.values().any(|m| m.special == entry.special);
            account.make(path, entry.special.filter(|_| !taken), true);
        }
        Ok((login.clone(), path.clone()))
    }

    /// Whether a store's refusal to bring messages back may be because they were given up meanwhile.
    pub fn may_be_forgotten(&self, id: RetainedId) -> bool {
        id.at().secs.cast_unsigned() < self.forgettable
    }

    /// The first difference of what is kept. The oldest may have been given up, if their time was over: all up to some
    /// time, none behind it.
    pub fn kept_differs(&self, is: &World) -> Option<String> {
        let Some(missing) = self.kept.len().checked_sub(is.kept.len()) else {
            return Some(format!("retained {:?}, of which some must not be", is.kept));
        };
        let (gone, there) = self.kept.split_at(missing);
        if let Some(early) = gone.iter().find(|k| k.time.is_none_or(|time| time >= self.forgettable)) {
            return Some(format!("not retained any more: {early:?}; forgettable: {}", self.forgettable));
        }
        let pairs = || there.iter().zip(&is.kept);
        if let Some(what) = pairs().find_map(|(must, is)| must.differs(is)) {
            return Some(format!("retained: {what}"));
        }
        let last = gone.last().and_then(|k| k.time);
        match pairs().next() {
            Some((_, next)) if last.is_some() && (last > next.time || last == next.time && !self.at_once) => {
                Some(format!("of what went at {last:?} some is given up, some is not"))
            }
            _ => None,
        }
    }
}
