//! Deleted mail, as long as the store keeps it: what there is of it, and bringing it back.
//!
//! A message is named by what took it away and the UID that it had; a mailbox that went with everything in it is one
//! row and comes back whole, unless messages are looked for by what they say.

use std::collections::BTreeMap;
use std::sync::Arc;

use store::{
    AccountId, BackTo, Batch, Directory, Intent, MailboxId, ReadError, Retained, RetainedFilter, RetainedId,
    Row, Store, UnixTime, canonical,
};
use wire::ids::Runs;

use super::{Admin, Answer, Deleted, DeletedRow, Error, RestoreTo, RestoredRow, accounts};
use crate::mime::{self, Digest, words};

/// Rows of a list; whoever wants to see more narrows it.
const LISTED: usize = 1_000;

/// What the words of a filter mean here and now.
struct Wanted {
    store: RetainedFilter,
    /// An account that is gone.
    gone: Option<u32>,
    /// Folded, as the digests are.
    from: String,
    subject: String,
    whole: bool,
    ids: Vec<Id>,
}

/// `COMMIT.MAILBOX` for all that a commit took from a mailbox, `COMMIT.MAILBOX.UID` for one message of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id {
    commit: u64,
    mailbox: u32,
    uid: Option<u32>,
}

impl Id {
    fn of(id: RetainedId, uid: Option<u32>) -> Id {
        Id { commit: id.commit().0, mailbox: id.mailbox().get(), uid }
    }

    fn parse(text: &str) -> Option<Id> {
        let mut parts = text.split('.');
        let (commit, mailbox) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let uid = match parts.next() {
            Some(uid) => Some(uid.parse().ok()?),
            None => None,
        };
        parts.next().is_none().then_some(Id { commit, mailbox, uid })
    }

    fn names(&self, id: RetainedId, row: &Row) -> bool {
        *self == Id::of(id, self.uid) && self.uid.is_none_or(|uid| uid == row.uid.get())
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.commit, self.mailbox)?;
        self.uid.map_or(Ok(()), |uid| write!(f, ".{uid}"))
    }
}

/// Messages that one commit took from one mailbox, as far as they are wanted.
struct Found {
    from: Arc<Retained>,
    rows: Vec<Row>,
}

impl Wanted {
    fn new(directory: &Directory, which: &Deleted, ids: &[String]) -> Result<Wanted, Error> {
        let moment = |seconds: i64| UnixTime { secs: seconds, nanos: 0 };
        let (account, gone) = match which.account.as_deref() {
            None => (None, None),
            Some(given) => match given.strip_prefix('#').and_then(|number| number.parse().ok()) {
                Some(number) => (None, Some(number)),
                None => (Some(accounts::find(directory, given)?.id), None),
            },
        };
        let ids = ids.iter().map(|id| Id::parse(id).ok_or_else(|| Error::BadDeletedId { given: id.clone() }));
        let ids: Vec<Id> = ids.collect::<Result<_, _>>()?;
        let store = RetainedFilter {
            account,
            path: which.mailbox.as_deref().map(canonical),
            since: which.since.map(moment),
            until: which.until.map(moment),
            // What is named is meant, wherever else it is.
            all: which.all || !ids.is_empty(),
        };
        let folded = |text: &Option<String>| text.as_deref().map(words::fold).unwrap_or_default();
        let (from, subject, whole) = (folded(&which.from), folded(&which.subject), which.whole);
        Ok(Wanted { store, gone, from, subject, whole, ids })
    }

    /// Whether messages are looked for by what they say.
    fn reads(&self) -> bool {
        !self.from.is_empty() || !self.subject.is_empty()
    }

    fn takes(&self, store: &Store, from: &Retained, row: &Row) -> bool {
        if self.gone.is_some_and(|number| number != from.account.get())
            || (self.whole && !from.mailbox_gone)
            || (!self.ids.is_empty() && !self.ids.iter().any(|id| id.names(from.id, row)))
        {
            return false;
        }
        if !self.reads() {
            return true;
        }
        digest(store, row).is_some_and(|octets| {
            let Some(search) = Digest::read(&octets).and_then(|digest| digest.search()) else { return false };
            search.from.contains(&self.from) && search.subject.contains(&self.subject)
        })
    }

    /// Everything that is wanted, newest first.
    fn find(&self, store: &Store) -> Result<Vec<Found>, Error> {
        let mut found: Vec<Found> = Vec::new();
        for message in store.retained(&self.store)? {
            let message = message?;
            if !self.takes(store, &message.from, &message.row) {
                continue;
            }
            match found.last_mut() {
                Some(last) if last.from.id == message.from.id => last.rows.push(message.row),
                _ => found.push(Found { from: message.from, rows: vec![message.row] }),
            }
        }
        Ok(found)
    }
}

impl Admin {
    /// What can be brought back, newest first.
    pub(super) async fn deleted_list(&self, which: Deleted) -> Result<Answer, Error> {
        self.aside(move |store| list(store, &which)).await
    }

    /// Brings everything back that is meant, in one commit: all of it, or nothing.
    pub(super) async fn deleted_restore(
        &self,
        ids: Vec<String>,
        which: Deleted,
        to: RestoreTo,
    ) -> Result<Answer, Error> {
        let _alone = self.changing.lock().await;
        let (batch, found) = self.aside(move |store| restoration(store, &ids, &which, &to)).await?;
        let done = self.commit(batch).await?;
        let directory = self.store.directory();
        let mut back: BTreeMap<(String, String), u64> = BTreeMap::new();
        for outcome in done.outcomes {
            let store::Outcome::Undeleted { mailbox, to, .. } = outcome else { continue };
            let Some(info) = directory.mailbox(mailbox) else { continue };
            *back.entry((login(&directory, info.account), info.path.clone())).or_default() += to.count();
        }
        tracing::info!(messages = found, "deleted mail brought back");
        let rows = back.into_iter();
        Ok(Answer::Restored(
            rows.map(|((account, mailbox), messages)| RestoredRow { account, mailbox, messages }).collect(),
        ))
    }

    /// Does what may wait for the disk where it holds nobody up.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.store.clone();
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(done) => done,
            // It panicked, or the runtime is going down.
            Err(_) => Err(Error::Stopping),
        }
    }
}

fn list(store: &Store, which: &Deleted) -> Result<Answer, Error> {
    let directory = store.directory();
    let wanted = Wanted::new(&directory, which, &[])?;
    let mut rows = Vec::new();
    let (mut messages, mut more) = (0, false);
    for Found { from, rows: found } in wanted.find(store)? {
        messages += found.len() as u64;
        let row = |rows: &[Row], one: Option<&Row>| {
            let (sender, subject) = one.map(|row| said(store, row)).unzip();
            DeletedRow {
                id: Id::of(from.id, one.map(|row| row.uid.get())).to_string(),
                at: from.id.at().secs,
                account: login(&directory, from.account),
                mailbox: from.path.clone(),
                whole: from.mailbox_gone,
                messages: rows.len() as u64,
                octets: rows.iter().map(|row| u64::from(row.size)).sum(),
                from: sender,
                subject,
            }
        };
        let together = from.mailbox_gone && !wanted.reads();
        for rows_of_one in found.chunks(if together { found.len() } else { 1 }) {
            if rows.len() == LISTED {
                more = true;
                break;
            }
            rows.push(row(rows_of_one, rows_of_one.first().filter(|_| !together)));
        }
    }
    Ok(Answer::Deleted { rows, messages, more })
}

/// The batch that brings everything back, and how many messages that is.
fn restoration(
    store: &Store,
    ids: &[String],
    which: &Deleted,
    to: &RestoreTo,
) -> Result<(Batch, u64), Error> {
    let directory = store.directory();
    let wanted = Wanted::new(&directory, which, ids)?;
    let mut found = wanted.find(store)?;
    if let Some(id) = wanted.ids.iter().find(|id| !found.iter().any(|f| id.names_any(f))) {
        return Err(Error::NothingDeleted { what: format!("the id {id}") });
    }
    if found.is_empty() {
        return Err(Error::NothingDeleted { what: "what you describe".into() });
    }
    // A mailbox that went whole comes first, so that it has its special use and its order again.
    found.sort_by_key(|f| !f.from.mailbox_gone);
    let target = to.account.as_deref().map(|given| accounts::find(&directory, given)).transpose()?;
    let mut batch = Batch::new();
    let mut messages = 0;
    for Found { from, rows } in &found {
        let account = target.as_ref().map_or(from.account, |account| account.id);
        if directory.account(account).is_none() {
            return Err(Error::AccountIsGone { account: login(&directory, account) });
        }
        let to = match &to.mailbox {
            Some(path) => BackTo::Mailbox(mailbox(&directory, account, path)?),
            None if account == from.account => BackTo::Home,
            None => BackTo::Path { account, path: from.path.clone() },
        };
        let uids: Runs = rows.iter().map(|row| row.uid.get()).collect();
        messages += uids.count();
        batch.push(Intent::Undelete { from: from.id, uids, to });
    }
    Ok((batch, messages))
}

impl Id {
    fn names_any(&self, found: &Found) -> bool {
        found.rows.iter().any(|row| self.names(found.from.id, row))
    }
}

/// What an account is called; one that is gone by its number.
fn login(directory: &Directory, id: AccountId) -> String {
    directory.account(id).map_or_else(|| format!("#{id}"), |account| account.login.clone())
}

fn mailbox(directory: &Directory, account: AccountId, path: &str) -> Result<MailboxId, Error> {
    let info = directory.mailbox_at(account, path).ok_or_else(|| Error::NoSuchMailbox {
        account: login(directory, account),
        mailbox: path.to_owned(),
    })?;
    Ok(info.id)
}

/// The digest of a message, kept or made now; `None` if its octets cannot be read.
fn digest(store: &Store, row: &Row) -> Option<Vec<u8>> {
    if let Some(kept) = store.digest(row).ok().filter(|octets| Digest::read(octets).is_some()) {
        return Some(kept.to_vec());
    }
    store.message(row).and_then(|mut message| mime::derive(&mut message)).ok()
}

/// Sender and subject as people read them.
fn said(store: &Store, row: &Row) -> (String, String) {
    let Some(octets) = digest(store, row) else {
        return ("(cannot be read)".into(), String::new());
    };
    let envelope = Digest::read(&octets).and_then(|digest| digest.root()?.envelope());
    let Some(envelope) = envelope else { return Default::default() };
    let text = |octets: &[u8]| words::header_text(octets);
    let sender =
        envelope.from.first().map(|address| match (&address.name, &address.mailbox, &address.host) {
            (Some(name), _, _) if !name.is_empty() => text(name),
            (_, Some(local), Some(host)) => format!("{}@{}", text(local), text(host)),
            (_, Some(local), None) => text(local),
            _ => String::new(),
        });
    (sender.unwrap_or_default(), envelope.subject.as_deref().map(text).unwrap_or_default())
}

/// The store cannot say what it keeps.
impl From<ReadError> for Error {
    fn from(error: ReadError) -> Error {
        Error::Unreadable { why: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back() {
        for text in ["31.7", "31.7.44"] {
            assert_eq!(Id::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "31", "31.", "31.7.", "31.7.4.4", "a.b", "-1.2", "31.7.4294967296"] {
            assert_eq!(Id::parse(bad), None, "{bad}");
        }
    }
}
