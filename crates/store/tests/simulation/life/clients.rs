//! What clients see of a life: who asks what changed since the last time must come to what is there.

use super::{Check, Life};
use std::collections::BTreeMap;
use store::{MailboxId, ReadError};
use wire::ids::{ModSeq, Uid};

/// A client that synchronises now and then, by what changed since the last time only.
#[derive(Debug)]
pub(super) struct Client {
    mailbox: MailboxId,
    upto: ModSeq,
    knows: BTreeMap<u32, u64>,
}

impl Life {
    /// Clients that know an older state and ask what changed must come to the present one.
    pub(super) fn sync_clients(&mut self) -> Check<()> {
        let store = self.store.clone().expect("open");
        let mut stay = Vec::new();
        for mut client in std::mem::take(&mut self.clients) {
            let id = client.mailbox;
            let changes = match store.changes_since(id, client.upto) {
                Ok(changes) => changes,
                Err(ReadError::NoSuchMailbox) if self.world.mailbox(id).is_none() => continue,
                Err(_) if self.disk.is_off() => continue,
                Err(e) => return Err(format!("changes since {} of mailbox {id}: {e}", client.upto)),
            };
            let must =
                self.world.mailbox(id).ok_or_else(|| format!("changes of mailbox {id}, which is gone"))?;
            for row in &changes.rows {
                client.knows.insert(row.uid.get(), row.modseq.0);
            }
            client.knows.retain(|uid, _| !changes.vanished.contains(*uid));
            if !changes.vanished_complete {
                client
                    .knows
                    .retain(|uid, _| Uid::new(*uid).is_some_and(|uid| changes.view.row(uid).is_some()));
            }
            let is: BTreeMap<u32, u64> =
                must.rows.iter().map(|(uid, m)| (*uid, m.modseq.unwrap_or(0))).collect();
            if client.knows != is {
                return Err(format!(
                    "mailbox {id}: a client that knew it at {} comes to {:?}, not {is:?}",
                    client.upto, client.knows
                ));
            }
            if changes.upto < client.upto {
                return Err(format!(
                    "mailbox {id}: HIGHESTMODSEQ went from {} back to {}",
                    client.upto, changes.upto
                ));
            }
            client.upto = changes.upto;
            // Some stay behind, to ask about more the next time.
            stay.push(client);
        }
        self.clients = stay;
        while self.clients.len() < 3 {
            let all: Vec<MailboxId> = self.world.mailboxes().filter_map(|m| m.id).collect();
            if all.is_empty() {
                break;
            }
            let mailbox = all[self.rng.index(all.len())];
            self.clients.push(Client { mailbox, upto: ModSeq(0), knows: BTreeMap::new() });
        }
        Ok(())
    }
}
