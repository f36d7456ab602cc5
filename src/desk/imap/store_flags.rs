//! STORE and UID STORE (RFC 3501 s.6.4.6).

use store::{Batch, FlagChange, Intent};
use wire::flag::FlagNames;
use wire::imap::code::Code;
use wire::imap::command::{Messages, StoreHow};
use wire::imap::session::Ended;

use super::selected::{tell_flags, write};
use super::{ImapDesk, Outcome, error};
use crate::disk;
use crate::net::Out;

impl ImapDesk {
    pub(super) async fn store_flags(
        &mut self,
        messages: &Messages,
        how: StoreHow,
        silent: bool,
        flags: FlagNames,
        out: &Out,
    ) -> Outcome {
        let selected = self.writable()?;
        let uids = selected.uids(messages)?;
        let mailbox = selected.id();
        if uids.is_empty() {
            return Ok(Ended::ok("Nothing to store"));
        }
        let change = match how {
            StoreHow::Replace => FlagChange::Set(flags),
            StoreHow::Add => FlagChange::Add(flags),
            StoreHow::Remove => FlagChange::Remove(flags),
        };
        let intent = Intent::Flags { mailbox, uids: uids.clone(), change, unchanged_since: None };
        let committed = disk::commit(&self.store, Batch::of(intent)).await.map_err(|e| error::commit(&e))?;
        if let Some(selected) = &mut self.selected {
            selected.did(committed.at);
        }
        let now = if silent { self.now()? } else { self.now_to_tell(out)? };
        let selected = self.selected()?;
        // RFC 2180 s.4.2: those that are gone get no answer; the client hears that there is something to poll for.
        let gone = !messages.by_uid() && !selected.all_there(&uids, &now);
        if !silent {
            for told in selected.told().rows_in(&uids) {
                let (Some(row), Some(seq)) = (now.row(told.uid), selected.seq(&told)) else { continue };
                let recent = selected.is_recent(&row);
                write(out, |buf| tell_flags(seq, &row, recent, messages.by_uid(), now.keywords(), buf)).await;
            }
        }
        let ended = Ended::ok("Stored");
        Ok(if gone { ended.with_code(Code::ExpungeIssued) } else { ended })
    }
}
