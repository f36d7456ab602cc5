//! APPEND (RFC 3501 s.6.3.11, RFC 4315 s.3): the message goes through the store's spool as it comes, so that a large
//! one is never in memory.

use store::{Batch, CommitError, Intent, InternalDate, MailboxId, Prefix, Refused, Spool, SpoolError};
use wire::flag::FlagNames;
use wire::imap::code::Code;
use wire::imap::command::Append;
use wire::imap::session::Ended;

use super::{ImapDesk, Outcome, error};
use crate::disk;

/// A message that is being appended.
pub(super) struct Appending {
    mailbox: MailboxId,
    flags: FlagNames,
    date: Option<InternalDate>,
    spool: Spool,
    failed: Option<SpoolError>,
}

impl Appending {
    /// Takes octets. After a failure the rest is dropped: the client has to be read to its end.
    pub(super) fn push(&mut self, octets: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        let spool = &mut self.spool;
        let pushed =
            if spool.is_large() { disk::blocking(|| spool.push(octets)) } else { spool.push(octets) };
        self.failed = pushed.err();
    }
}

fn spool_error(error: &SpoolError) -> Ended {
    match error {
        SpoolError::Full => Ended::no(Some(Code::Limit), "The server's disk is full"),
        SpoolError::TooLarge => Ended::no(Some(Code::TooBig), "The message is too large"),
        SpoolError::Io(_) => {
            tracing::error!(%error, "an appended message could not be stored");
            Ended::no(Some(Code::Unavailable), "The server cannot store anything now, try again later")
        }
    }
}

fn no_mailbox() -> Ended {
    Ended::no(Some(Code::TryCreate), "There is no such mailbox")
}

impl ImapDesk {
    pub(super) fn append_begin(&mut self, append: Append) -> Result<(), Ended> {
        let Append { mailbox, flags, date, size } = append;
        let mailbox = self.mailbox(&mailbox).map_err(|_| no_mailbox())?.id;
        if size > wire::limits::MESSAGE {
            return Err(spool_error(&SpoolError::TooLarge));
        }
        let date = date.map(|d| InternalDate { unix: d.unix, zone_minutes: d.zone_minutes });
        self.appending = Some(Appending { mailbox, flags, date, spool: self.store.spool(), failed: None });
        Ok(())
    }

    pub(super) async fn append_end(&mut self) -> Outcome {
        let lost = || Ended::no(Some(Code::ServerBug), "No message was being appended");
        let Appending { mailbox, flags, date, spool, failed } = self.appending.take().ok_or_else(lost)?;
        if let Some(error) = failed {
            return Err(spool_error(&error));
        }
        // A large one is synced here, by this connection's own thread.
        let finished = if spool.is_large() { disk::blocking(|| spool.finish()) } else { spool.finish() };
        let spooled = finished.map_err(|e| spool_error(&e))?;
        let octets = spooled.len();
        let mut batch = Batch::new();
        let body = batch.body(spooled);
        batch.push(Intent::Append { mailbox, body, prefix: Prefix::default(), flags, date });
        let committed = disk::commit(&self.store, batch).await.map_err(|e| match e {
            CommitError::Refused(Refused::NoSuchMailbox) => no_mailbox(),
            other => error::commit(&other),
        })?;
        let ended = Ended::ok("Appended");
        Ok(match committed.outcomes.first() {
            Some(store::Outcome::Placed { uid, uid_validity, .. }) => {
                tracing::info!(%mailbox, %uid, octets, "appended");
                ended.with_code(Code::AppendUid(*uid_validity, *uid))
            }
            _ => ended,
        })
    }
}
