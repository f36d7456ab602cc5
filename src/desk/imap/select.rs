//! SELECT, EXAMINE, CLOSE (RFC 3501 s.6.3.1, s.6.3.2, s.6.4.2).

use store::{MailboxInfo, View};
use wire::flag::SystemFlag;
use wire::ids::SeqNum;
use wire::imap::code::{Code, Status};
use wire::imap::name::MailboxName;
use wire::imap::response;
use wire::imap::session::{Ended, NewState};

use super::selected::{Selected, flags};
use super::{ImapDesk, Outcome, error};
use crate::disk;
use crate::net::Out;

/// Messages looked at in search of the first one without `\Seen`. RFC 3501 s.7.1 lets UNSEEN be left out.
const UNSEEN: usize = 100_000;

impl ImapDesk {
    /// A mailbox of this account by its name.
    pub(super) fn mailbox(&self, name: &MailboxName) -> Result<MailboxInfo, Ended> {
        let directory = self.store.directory();
        let found = directory.mailbox_at(self.account()?, name.as_str());
        found
            .map(|info| MailboxInfo::clone(info))
            .ok_or_else(|| Ended::no(Some(Code::NonExistent), "There is no such mailbox"))
    }

    pub(super) fn select(&mut self, name: &MailboxName, read_only: bool, out: &Out) -> Outcome {
        // RFC 3501 s.6.3.1: the mailbox selected before is left, whatever comes of this.
        self.selected = None;
        let gone = |e: Ended| e.with_state(NewState::Authenticated);
        let id = self.mailbox(name).map_err(gone)?.id;
        // The watch is taken first, so that no change falls between.
        let watch = self.store.watch(id);
        let view = disk::blocking(|| self.store.view(id)).map_err(|e| gone(error::read(&e)))?;
        let selected = Selected::new(view, read_only, watch, &self.recents);
        let view = selected.told();
        let recent = selected.recent_count();
        out.with(|buf| {
            flags(view, read_only, buf);
            response::exists(view.exists(), buf);
            response::recent(recent, buf);
            if let Some(seq) = first_unseen(view) {
                response::untagged(Status::Ok, Some(&Code::Unseen(seq)), "First unseen", buf);
            }
            let validity = Code::UidValidity(view.uid_validity());
            response::untagged(Status::Ok, Some(&validity), "UIDs valid", buf);
            if let Some(uid) = view.uid_next() {
                response::untagged(Status::Ok, Some(&Code::UidNext(uid)), "Next UID", buf);
            }
        });
        self.selected = Some(selected);
        let code = if read_only { Code::ReadOnly } else { Code::ReadWrite };
        Ok(Ended::ok("Selected").with_code(code).with_state(NewState::Selected { read_only }))
    }

    /// CLOSE: what is marked `\Deleted` goes, and nothing is told of it.
    pub(super) async fn close(&mut self) -> Outcome {
        let removed = match self.writable() {
            Ok(_) => self.remove_deleted(None).await.map(drop),
            Err(_) => Ok(()),
        };
        self.selected = None;
        match removed {
            Ok(()) => Ok(Ended::ok("Closed").with_state(NewState::Authenticated)),
            Err(refused) => Err(refused.with_state(NewState::Authenticated)),
        }
    }
}

fn first_unseen(view: &View) -> Option<SeqNum> {
    if view.head().unseen == 0 {
        return None;
    }
    let at = view.rows().take(UNSEEN).position(|row| !row.flags.has(SystemFlag::Seen))?;
    SeqNum::new(u32::try_from(at).ok()?.checked_add(1)?)
}
