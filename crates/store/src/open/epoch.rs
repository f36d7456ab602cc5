//! A new epoch: what is done when acknowledged groups were lost, or the store was restored, so that no client takes a
//! new message for one that is gone (docs/decisions/0003).
//!
//! A new segment carries the new secret; its first group holds one record with the results for every mailbox. The proof
//! of the loss stays where it is until that group is durable: in the log itself, or in `index/STATE`, which is written
//! before anything else, since the index that knew is about to be removed. A secret without its record is unfinished,
//! and never used again.

use std::io;

use wire::ids::{ModSeq, UidValidity};

use super::OpenError;
use crate::commit::builder::Builder;
use crate::commit::writer::Writer;
use crate::id::MailboxId;
use crate::index::state::Witness;
use crate::options::Random;
use crate::record::Record;
use crate::segment::Epoch;
use crate::shared::at;
use crate::state::draft::Draft;
use crate::state::world::{Counters, Position};
use crate::vfs::Vfs;

/// Lies in a data directory that a restore has filled, until its new epoch is durable.
pub(crate) const RESTORED: &str = "restored";

/// What becomes of it then, for a moment.
const FORGOTTEN: &str = "restored.old";

/// Lies in a data directory while a restore fills it: until then it is no store.
pub(crate) const RESTORING: &str = "restoring";

/// Commit numbers jump so far: beyond all that were given out and lost.
const COMMITS: u64 = 1 << 32;
/// So do ids and UIDVALIDITY beyond what is known of them: what was made after the witness last looked. UIDVALIDITY goes
/// beyond the time by as much, since mailboxes that were made a moment ago, all at once, have such that are ahead of it.
const IDS: u32 = 1 << 12;

/// A secret and a tag that nobody knows yet. The tag is public; 0 stands for "not known".
pub(crate) fn secret(random: &Random) -> Epoch {
    let (mut secret, mut tag) = ([0; 16], [0; 4]);
    random(&mut secret);
    random(&mut tag);
    Epoch { secret, tag: u32::from_le_bytes(tag).max(1) }
}

/// Whether a restore filled this directory and no new epoch was begun since.
pub(crate) fn is_restored(vfs: &dyn Vfs) -> Result<bool, OpenError> {
    vfs.exists(RESTORED).map_err(at(RESTORED))
}

/// The new epoch is durable. The marker goes in two steps: one that was merely removed when the process died would come
/// back with the next power cut, long after, and a store that was restored only once would begin another epoch.
pub(crate) fn forget_restore(vfs: &dyn Vfs) -> Result<(), OpenError> {
    let failed = at(RESTORED);
    match vfs.rename(RESTORED, FORGOTTEN) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        Err(_) if !vfs.exists(FORGOTTEN).map_err(at(FORGOTTEN))? => return Ok(()),
        _ => {}
    }
    vfs.sync_dir("").map_err(at("the data directory"))?;
    vfs.remove_file(FORGOTTEN).map_err(at(FORGOTTEN))
}

/// Where the log goes on, beyond everything that was lost.
pub(crate) fn beyond(position: &mut Position, witness: &Witness) {
    position.seq = position.seq.max(witness.seq);
    position.commit = ModSeq(position.commit.0.max(witness.commit).saturating_add(COMMITS));
}

/// Writes the epoch's first group into the segment that was just begun, and publishes what it says.
pub(crate) fn begin(writer: &mut Writer, witness: &Witness) -> Result<(), OpenError> {
    let shared = writer.shared.clone();
    let now = shared.group_time(writer.position.time);
    let commit = ModSeq(writer.position.commit.0 + 1);
    let record = {
        let published = shared.world.read();
        let known = published.counters;
        let timed = u32::try_from(now.secs.max(1)).unwrap_or(1);
        let mut counters = Counters {
            account: known.account.max(witness.account).saturating_add(IDS),
            mailbox: known.mailbox.max(witness.mailbox).saturating_add(IDS),
            uid_validity: known.uid_validity.max(witness.uid_validity).max(timed).saturating_add(IDS),
        };
        let mut ids: Vec<MailboxId> = published.mailboxes.keys().copied().collect();
        ids.sort_unstable();
        let mut mailboxes = Vec::with_capacity(ids.len());
        for id in ids {
            let head = published.mailboxes.get(&id).map(|m| m.head);
            counters.uid_validity = counters.uid_validity.saturating_add(1);
            if let (Some(head), Some(uid_validity)) = (head, UidValidity::new(counters.uid_validity)) {
                mailboxes.push((id, uid_validity, head.uid_next.map_or(0, wire::ids::Uid::get)));
            }
        }
        Record::Epoch { tag: shared.epoch.tag, counters, mailboxes }
    };
    let mut builder = Builder::new(writer.segment, writer.position.end, Vec::new());
    let mut draft = Draft::new(&shared.world, now);
    for record in [Record::Commit { number: commit }, record] {
        let place = builder.record(&record);
        draft.apply(&record, commit, place)?;
    }
    draft.accept();
    writer
        .write(&mut builder, now, commit.0, false, |_| &[])
        .map_err(at("the first group of a new epoch"))?;
    writer.position.commit = commit;
    shared.world.publish(draft.finish(), writer.position);
    Ok(())
}
