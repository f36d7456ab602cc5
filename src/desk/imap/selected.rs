//! What a session has been told of its mailbox, and how it is told what is new.
//!
//! The store's [`View`] at the point where the client was last told is the session's map of sequence numbers: it is a
//! shared snapshot, so an idle session costs nothing of its own. Invariants: a sequence number means a position in
//! `told` and nothing else; `told` moves only together with what is written; a row that is in `told` and no longer in
//! the mailbox is served from `told` (RFC 2180 s.4.1) until EXPUNGE could be told.
//!
//! RFC 3501 s.5.2, s.7.3, s.7.4.1.

use std::num::NonZeroU32;

use store::{MailboxId, ReadError, Row, Store, View, Watch};
use wire::flag::{Keyword, SystemFlags};
use wire::ids::{ModSeq, Runs, SeqEnd, SeqNum, SeqSet};
use wire::imap::code::{Code, Status};
use wire::imap::command::Messages;
use wire::imap::response::{self, Fetch};
use wire::imap::session::Ended;

use super::recents::{self, Recents};
use super::{FULL, error};
use crate::net::Out;

/// A selected mailbox.
pub(super) struct Selected {
    /// The mailbox as the client knows it.
    told: View,
    pub(super) read_only: bool,
    /// UIDs that are `\Recent` in this session.
    recent: Runs,
    /// Flags of rows up to this commit have been told; beyond `told` only while an EXPUNGE waits.
    flags_told: ModSeq,
    /// Commits of the command at work, whose flags the client knows or does not want to hear (.SILENT).
    own: Vec<ModSeq>,
    /// How many keywords the client knows.
    keywords_told: usize,
    watch: Watch,
}

impl Selected {
    /// A mailbox just opened, of which the client is being told.
    pub(super) fn new(told: View, read_only: bool, watch: Watch, recents: &Recents) -> Selected {
        let mut recent = Runs::default();
        if let Some((from, to)) = recents.of(&told, !read_only) {
            recent.add(from, to);
        }
        let (flags_told, keywords_told) = (told.highest_modseq(), told.keywords().len());
        Selected { told, read_only, recent, flags_told, own: Vec::new(), keywords_told, watch }
    }

    pub(super) fn id(&self) -> MailboxId {
        self.told.id()
    }

    /// The mailbox as the client knows it.
    pub(super) fn told(&self) -> &View {
        &self.told
    }

    pub(super) fn is_recent(&self, row: &Row) -> bool {
        self.recent.contains(row.uid.get())
    }

    /// The number of RECENT.
    pub(super) fn recent_count(&self) -> u32 {
        self.recent.as_slice().iter().map(|&run| recents::count(&self.told, run)).sum()
    }

    /// The mailbox as it is now; as told when nothing has happened since.
    pub(super) fn now(&self, store: &Store) -> Result<View, ReadError> {
        if self.has_news(store) { store.view(self.id()) } else { Ok(self.told.clone()) }
    }

    /// Flags set by this commit are not told again.
    pub(super) fn did(&mut self, commit: ModSeq) {
        self.own.push(commit);
    }

    /// The UIDs that a client means, of those it knows. The runs may hold UIDs that do not exist.
    ///
    /// # Errors
    /// BAD for a sequence number that the client cannot know (RFC 3501 s.9 `seq-number`).
    pub(super) fn uids(&self, messages: &Messages) -> Result<Runs, Ended> {
        let exists = self.told.exists();
        let last = self.told.last_uid();
        match messages {
            Messages::Uid(set) => {
                let most = last.map_or(0, |uid| uid.get());
                let runs = set.resolve(last.and_then(|uid| NonZeroU32::new(uid.get())));
                // What came since is not known to the client yet.
                let known = runs.as_slice().iter().filter(|run| run.0 <= most);
                let mut uids = Runs::default();
                known.for_each(|&(from, to)| uids.add(from, to.min(most)));
                Ok(uids)
            }
            Messages::Sequence(set) => {
                let beyond = |end: SeqEnd| match end {
                    SeqEnd::Number(n) => n.get() > exists,
                    SeqEnd::Largest => exists == 0,
                };
                if set.ranges.iter().any(|&(a, b)| beyond(a) || beyond(b)) {
                    return Err(Ended::bad("There is no such message sequence number"));
                }
                Ok(self.uids_of_sequence(set))
            }
        }
    }

    /// As `uids`, numbers that do not exist passed over (SEARCH).
    pub(super) fn uids_of_sequence(&self, set: &SeqSet) -> Runs {
        let exists = self.told.exists();
        let mut uids = Runs::default();
        for &(from, to) in set.resolve(NonZeroU32::new(exists)).as_slice() {
            let (first, last) = (self.told.at(from - 1), self.told.at(to.min(exists).saturating_sub(1)));
            // Between two neighbours lie only UIDs that do not exist.
            if let (Some(first), Some(last)) = (first, last) {
                uids.add(first.uid.get(), last.uid.get());
            }
        }
        uids
    }

    /// The sequence number of a UID.
    pub(super) fn seq(&self, row: &Row) -> Option<SeqNum> {
        self.told.position(row.uid).and_then(|at| SeqNum::new(at + 1))
    }

    /// Whether all of the messages that a client means by sequence numbers are still there.
    pub(super) fn all_there(&self, uids: &Runs, now: &View) -> bool {
        now.highest_modseq() == self.told.highest_modseq()
            || self.told.rows_in(uids).all(|row| now.row(row.uid).is_some())
    }

    /// Whether the mailbox has changed since it was last told. Cheap.
    pub(super) fn has_news(&self, store: &Store) -> bool {
        store.head(self.id()).is_none_or(|head| head.highest_modseq != self.told.highest_modseq())
    }

    /// Completes when something has happened. May be dropped and called again: what was told is the mark, not what
    /// the watch has seen.
    pub(super) async fn news(&mut self) {
        self.watch.saw(self.told.highest_modseq());
        self.watch.changed().await;
    }

    /// Tells what is new: EXPUNGE where it may be told, EXISTS and RECENT, flags.
    ///
    /// While a message is gone and that may not be told (FETCH, STORE and SEARCH by sequence numbers, RFC 3501
    /// s.7.4.1), new messages wait as well: their numbers would be others by the time they can be used.
    pub(super) async fn tell_news(
        &mut self,
        store: &Store,
        recents: &Recents,
        expunge: bool,
        out: &Out,
    ) -> Result<(), ReadError> {
        if !self.has_news(store) {
            self.own.clear();
            return Ok(());
        }
        let changes = store.changes_since(self.id(), self.told.highest_modseq())?;
        let now = changes.view;
        let gone: Vec<u32> = if changes.vanished_complete {
            let known = self.told.rows_in(&changes.vanished);
            known.filter_map(|row| self.told.position(row.uid)).collect()
        } else {
            let lost = self.told.rows().enumerate().filter(|(_, row)| now.row(row.uid).is_none());
            lost.filter_map(|(at, _)| u32::try_from(at).ok()).collect()
        };
        self.tell_keywords(&now, out);
        let known_below = self.told.uid_next().map_or(u32::MAX, |uid| uid.get());
        let exists = self.told.exists() - u32::try_from(gone.len()).unwrap_or(0);
        let moves = gone.is_empty() || expunge;
        if moves {
            // From the last one on, so that numbers not yet told stay as they are.
            for &at in gone.iter().rev() {
                if let Some(seq) = SeqNum::new(at + 1) {
                    write(out, |buf| response::expunge(seq, buf)).await;
                }
            }
            self.told = now.clone();
            if let Some((from, to)) = recents.of(&now, !self.read_only) {
                self.recent.add(from, to);
            }
            if now.exists() != exists {
                let recent = self.recent_count();
                out.with(|buf| {
                    response::exists(now.exists(), buf);
                    response::recent(recent, buf);
                });
            }
        }
        for row in &changes.rows {
            let news = row.modseq > self.flags_told && !self.own.contains(&row.modseq);
            if row.uid.get() < known_below
                && news
                && let Some(seq) = self.seq(row)
            {
                let recent = self.is_recent(row);
                write(out, |buf| tell_flags(seq, row, recent, true, now.keywords(), buf)).await;
            }
        }
        self.flags_told = changes.upto.max(self.flags_told);
        self.own.clear();
        Ok(())
    }

    /// Tells that the mailbox has keywords that the client does not know (RFC 3501 s.7.2.6).
    pub(super) fn tell_keywords(&mut self, now: &View, out: &Out) {
        if now.keywords().len() > self.keywords_told {
            self.keywords_told = now.keywords().len();
            out.with(|buf| flags(now, self.read_only, buf));
        }
    }
}

/// Writes, then waits while there is much to be taken by the client.
pub(super) async fn write(out: &Out, write: impl FnOnce(&mut Vec<u8>)) {
    let full = out.with(|buf| {
        write(buf);
        buf.len() >= FULL
    });
    if full {
        out.room().await;
    }
}

/// FLAGS and PERMANENTFLAGS of a mailbox.
pub(super) fn flags(view: &View, read_only: bool, buf: &mut Vec<u8>) {
    response::flags(view.keywords().iter().map(Keyword::as_str), buf);
    let code = if read_only {
        Code::PermanentFlags { system: SystemFlags::NONE, keywords: Vec::new(), new: false }
    } else {
        let keywords = view.keywords().iter().map(|k| k.as_str().to_owned()).collect();
        let new = view.keywords().len() < wire::limits::KEYWORDS_PER_MAILBOX;
        Code::PermanentFlags { system: SystemFlags::from_bits(0xff), keywords, new }
    };
    response::untagged(Status::Ok, Some(&code), "Flags", buf);
}

/// The names of a row's keywords.
pub(super) fn keywords_of<'a>(row: &Row, names: &'a [Keyword]) -> impl Iterator<Item = &'a str> {
    let set = row.keywords;
    names.iter().enumerate().filter(move |&(bit, _)| set >> bit & 1 == 1).map(|(_, k)| k.as_str())
}

/// A FETCH response with the flags of a message.
pub(super) fn tell_flags(
    seq: SeqNum,
    row: &Row,
    recent: bool,
    uid: bool,
    names: &[Keyword],
    buf: &mut Vec<u8>,
) {
    let mut fetch = Fetch::begin(seq, buf);
    if uid {
        fetch.uid(row.uid, buf);
    }
    fetch.flags(row.flags, recent, keywords_of(row, names), buf);
    fetch.end(buf);
}

impl super::ImapDesk {
    /// The selected mailbox. The machine asks for none of this without one.
    pub(super) fn selected(&self) -> Result<&Selected, Ended> {
        self.selected.as_ref().ok_or_else(|| Ended::bad("No mailbox is selected"))
    }

    /// The selected mailbox, to be changed.
    pub(super) fn writable(&self) -> Result<&Selected, Ended> {
        let selected = self.selected()?;
        if selected.read_only {
            return Err(Ended::no(Some(Code::ReadOnly), "The mailbox was opened read-only"));
        }
        Ok(selected)
    }

    /// The selected mailbox as it is now.
    pub(super) fn now(&self) -> Result<View, Ended> {
        self.selected()?.now(&self.store).map_err(|e| error::read(&e))
    }

    /// The same, its flags about to be told.
    pub(super) fn now_to_tell(&mut self, out: &Out) -> Result<View, Ended> {
        let now = self.now()?;
        if let Some(selected) = &mut self.selected {
            selected.tell_keywords(&now, out);
        }
        Ok(now)
    }
}
