//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, STATUS (RFC 3501 s.6.3.3 to s.6.3.7, s.6.3.10; RFC 6154 s.3).

use store::{Batch, Head, Intent, MailboxInfo, View};
use wire::flag::SpecialUse;
use wire::imap::code::Code;
use wire::imap::list::StatusItem;
use wire::imap::name::MailboxName;
use wire::imap::response;
use wire::imap::session::{Ended, NewState};

use super::{ImapDesk, Outcome, error, recents};
use crate::disk;
use crate::net::Out;

impl ImapDesk {
    async fn change(&self, batch: Batch) -> Result<(), Ended> {
        disk::commit(&self.store, batch).await.map(drop).map_err(|e| error::commit(&e))
    }

    /// What a user makes is subscribed: half the clients show nothing else.
    pub(super) async fn create(&self, name: &MailboxName, special_use: Option<SpecialUse>) -> Outcome {
        let account = self.account()?;
        let path = name.as_str().to_owned();
        self.change(Batch::of(Intent::CreateMailbox { account, path, special_use, subscribe: true })).await?;
        tracing::info!(mailbox = name.as_str(), "created");
        Ok(Ended::ok("Created"))
    }

    pub(super) async fn delete(&mut self, name: &MailboxName) -> Outcome {
        let info = match self.mailbox(name) {
            Ok(info) => info,
            Err(_) if self.store.directory().has_children(self.account()?, name.as_str()) => {
                // RFC 3501 s.6.3.4: a name without a mailbox lives as long as it has children.
                return Err(Ended::no(Some(Code::Cannot), "Delete the mailboxes below it first"));
            }
            Err(none) => return Err(none),
        };
        if name.is_inbox() {
            return Err(Ended::no(Some(Code::Cannot), "INBOX cannot be removed"));
        }
        self.change(Batch::of(Intent::DeleteMailbox { mailbox: info.id })).await?;
        tracing::info!(mailbox = name.as_str(), "deleted");
        let ended = Ended::ok("Deleted");
        if self.selected.as_ref().is_some_and(|selected| selected.id() == info.id) {
            self.selected = None;
            return Ok(ended.with_state(NewState::Authenticated));
        }
        Ok(ended)
    }

    pub(super) async fn rename(&self, from: &MailboxName, to: &MailboxName) -> Outcome {
        let account = self.account()?;
        let directory = self.store.directory();
        let mut batch = Batch::new();
        if let Some(info) = directory.mailbox_at(account, from.as_str()) {
            batch.push(Intent::RenameMailbox { mailbox: info.id, to: to.as_str().to_owned() });
        } else {
            // A name without a mailbox: what lies below moves, the highest first, each with its own children.
            let below = format!("{}/", from.as_str());
            let mut moved: Option<String> = None;
            for info in directory.mailboxes_of(account) {
                let Some(rest) = info.path.strip_prefix(&below) else { continue };
                if moved.as_ref().is_some_and(|above| info.path.starts_with(above)) {
                    continue;
                }
                let to = format!("{}/{rest}", to.as_str());
                batch.push(Intent::RenameMailbox { mailbox: info.id, to });
                moved = Some(format!("{}/", info.path));
            }
        }
        if batch.is_empty() {
            return Err(Ended::no(Some(Code::NonExistent), "There is no such mailbox"));
        }
        self.change(batch).await?;
        tracing::info!(from = from.as_str(), to = to.as_str(), "renamed");
        Ok(Ended::ok("Renamed"))
    }

    pub(super) async fn subscribe(&self, name: &MailboxName, on: bool) -> Outcome {
        let account = self.account()?;
        let path = name.as_str().to_owned();
        let directory = self.store.directory();
        // RFC 3501 s.6.3.6 lets us look; a list of names that are nothing helps nobody.
        let exists = directory.mailbox_at(account, &path).is_some() || directory.has_children(account, &path);
        if on && !exists {
            return Err(Ended::no(Some(Code::NonExistent), "There is no such mailbox"));
        }
        let is = directory.account(account).is_some_and(|a| a.subscriptions.contains(&path));
        if is != on {
            self.change(Batch::of(Intent::Subscribe { account, path, on })).await?;
        }
        Ok(Ended::ok(if on { "Subscribed" } else { "Unsubscribed" }))
    }

    pub(super) fn status(&self, name: &MailboxName, items: &[StatusItem], out: &Out) -> Outcome {
        let info = self.mailbox(name)?;
        self.tell_status(&info, items, out)?;
        Ok(Ended::ok("Status told"))
    }

    /// A STATUS response. Nothing is read from disk for it, unless RECENT is asked for and not known.
    pub(super) fn tell_status(
        &self,
        info: &MailboxInfo,
        items: &[StatusItem],
        out: &Out,
    ) -> Result<(), Ended> {
        let none = || Ended::no(Some(Code::NonExistent), "There is no such mailbox");
        let head = self.store.head(info.id).ok_or_else(none)?;
        let mut told = Vec::with_capacity(items.len());
        for &item in items {
            let n = match item {
                StatusItem::Messages => head.exists,
                StatusItem::Recent => self.recent_in(info, &head)?,
                StatusItem::UidNext => head.uid_next.map_or(u32::MAX, |uid| uid.get()),
                StatusItem::UidValidity => head.uid_validity.get(),
                StatusItem::Unseen => head.unseen,
            };
            told.push((item, n));
        }
        out.with(|buf| response::status(&info.path, told, buf));
        Ok(())
    }

    fn recent_in(&self, info: &MailboxInfo, head: &Head) -> Result<u32, Ended> {
        if let Some(selected) = self.selected.as_ref().filter(|s| s.id() == info.id) {
            return Ok(selected.recent_count());
        }
        let next = head.uid_next.map_or(u32::MAX, |uid| uid.get());
        if head.exists == 0 || self.recents.is_none(info.id, next) {
            return Ok(0);
        }
        let view: View = disk::blocking(|| self.store.view(info.id)).map_err(|e| error::read(&e))?;
        Ok(self.recents.of(&view, false).map_or(0, |run| recents::count(&view, run)))
    }
}
