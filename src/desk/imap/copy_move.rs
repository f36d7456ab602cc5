//! COPY, MOVE and their UID forms (RFC 3501 s.6.4.7, RFC 6851, RFC 4315 s.3). Each is one commit: all or nothing.

use store::{Batch, CommitError, Intent, MailboxId, Outcome as Stored, Refused};
use wire::ids::Runs;
use wire::imap::code::{Code, Status};
use wire::imap::command::Messages;
use wire::imap::name::MailboxName;
use wire::imap::response;
use wire::imap::session::Ended;

use super::{ImapDesk, Outcome, error};
use crate::disk;
use crate::net::Out;

impl ImapDesk {
    pub(super) async fn copy(&mut self, messages: &Messages, to: &MailboxName) -> Outcome {
        let (from, uids, to) = self.carried(messages, to)?;
        if uids.is_empty() {
            return Ok(Ended::ok("Nothing to copy"));
        }
        let code = self.carry(Intent::Copy { from, uids, to }).await?;
        let ended = Ended::ok("Copied");
        Ok(match code {
            Some(code) => ended.with_code(code),
            None => ended,
        })
    }

    /// RFC 6851 s.3.3: of messages that are gone already there is nothing to say; OK is what phones need to hear.
    pub(super) async fn move_messages(
        &mut self,
        messages: &Messages,
        to: &MailboxName,
        out: &Out,
    ) -> Outcome {
        self.writable()?;
        let (from, uids, to) = self.carried(messages, to)?;
        if uids.is_empty() {
            return Ok(Ended::ok("Nothing to move"));
        }
        if let Some(code) = self.carry(Intent::Move { from, uids, to }).await? {
            // RFC 6851 s.4.3: before the EXPUNGEs, which come as news.
            out.with(|buf| response::untagged(Status::Ok, Some(&code), "Moved", buf));
        }
        Ok(Ended::ok("Moved"))
    }

    fn carried(&self, messages: &Messages, to: &MailboxName) -> Result<(MailboxId, Runs, MailboxId), Ended> {
        let selected = self.selected()?;
        let uids = selected.uids(messages)?;
        let to = self.mailbox(to).map_err(|e| Ended { code: Some(Code::TryCreate), ..e })?.id;
        // RFC 2180 s.4.4: a client that counts messages must learn first that its numbers are of old.
        if !messages.by_uid() && !selected.all_there(&uids, &self.now()?) {
            return Err(Ended::no(Some(Code::ExpungeIssued), "Some of the messages are gone"));
        }
        Ok((selected.id(), uids, to))
    }

    /// COPYUID of what was copied or moved; `None` if nothing was there any more.
    async fn carry(&self, intent: Intent) -> Result<Option<Code>, Ended> {
        let committed = disk::commit(&self.store, Batch::of(intent)).await.map_err(|e| match e {
            CommitError::Refused(Refused::NoSuchMailbox) => {
                Ended::no(Some(Code::TryCreate), "There is no such mailbox")
            }
            other => error::commit(&other),
        })?;
        Ok(match committed.outcomes.into_iter().next() {
            Some(Stored::Copied { uid_validity, from, to }) if !from.is_empty() => {
                Some(Code::CopyUid { validity: uid_validity, from, to })
            }
            _ => None,
        })
    }
}
