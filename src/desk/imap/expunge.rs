//! EXPUNGE and UID EXPUNGE (RFC 3501 s.6.4.3, RFC 4315 s.2.1).

use store::{Batch, Intent};
use wire::ids::{Runs, SeqSet};
use wire::imap::command::Messages;
use wire::imap::session::Ended;

use super::{ImapDesk, Outcome, error};
use crate::disk;

impl ImapDesk {
    pub(super) async fn expunge(&mut self, uids: Option<&SeqSet>) -> Outcome {
        let gone = self.remove_deleted(uids).await?;
        if gone > 0 {
            tracing::info!(mailbox = %self.selected()?.id(), count = gone, "expunged");
        }
        Ok(Ended::ok("Expunged"))
    }

    /// Removes the messages with `\Deleted` that the client knows, or those of them that it names. How many.
    pub(super) async fn remove_deleted(&mut self, uids: Option<&SeqSet>) -> Result<u64, Ended> {
        let selected = self.writable()?;
        let mailbox = selected.id();
        if self.store.head(mailbox).is_some_and(|head| head.deleted == 0) {
            return Ok(0);
        }
        let uids = match uids {
            Some(set) => selected.uids(&Messages::Uid(set.clone()))?,
            None => selected.told().last_uid().map_or_else(Runs::default, |last| {
                let mut all = Runs::default();
                all.add(1, last.get());
                all
            }),
        };
        if uids.is_empty() {
            return Ok(0);
        }
        let intent = Intent::Expunge { mailbox, uids, only_deleted: true };
        let committed = disk::commit(&self.store, Batch::of(intent)).await.map_err(|e| error::commit(&e))?;
        Ok(match committed.outcomes.first() {
            Some(store::Outcome::Expunged(gone)) => gone.count(),
            _ => 0,
        })
    }
}
