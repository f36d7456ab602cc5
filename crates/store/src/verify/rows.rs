//! Every row against its record: that the message can be read and is as long as the row says, and that rows add up to
//! their mailbox's head.

use std::collections::HashMap;

use super::{Mend, Problem, Verified, Victim};
use crate::books;
use crate::id::{AccountId, Location, MailboxId};
use crate::read::{Message, ReadError};
use crate::reader::Reader;
use crate::state::block::Row;
use crate::state::mailbox::Mailbox;
use crate::state::usage::Usage;

/// Octets of a subject that are shown.
const SUBJECT: usize = 200;

/// Where a row is: in a mailbox, or the n-th of what was expunged.
#[derive(Clone, Copy)]
enum At {
    Mailbox(MailboxId),
    Expunged(usize),
    /// The n-th line of a book that names a message.
    Book(usize),
}

/// What comes of reading a message: why it cannot be, and its subject if that can be all the same.
type Outcome = Result<(), (ReadError, Option<Vec<u8>>)>;

pub(super) fn check(reader: &Reader, out: &mut Verified) {
    let state = reader.state();
    let mut rows: Vec<(Location, At, u32)> = Vec::new();
    for mailbox in state.mailboxes.values() {
        if let Some(what) = contradiction(mailbox) {
            let name = reader.directory().mailbox(mailbox.id).map_or_else(String::new, |m| m.path.clone());
            let what = format!("mailbox {name} ({}): {what}", mailbox.id);
            out.problems.push(Problem::new("log", what, Mend::Restore));
        }
        let table = mailbox.rows.as_ref().map(|rows| &rows.table);
        out.figures.messages += u64::from(mailbox.head.exists);
        rows.extend(
            table
                .into_iter()
                .flat_map(|t| t.rows())
                .map(|row| (row.content, At::Mailbox(mailbox.id), row.uid.get())),
        );
    }
    for account in reader.directory().accounts() {
        let heads = || account.mailboxes.iter().filter_map(|id| reader.head(*id));
        let (storage, messages) =
            (heads().map(|h| h.octets).sum(), heads().map(|h| u64::from(h.exists)).sum());
        if reader.usage(account.id) != (Usage { storage, messages }) {
            let what = format!("what {} holds does not add up to its mailboxes", account.login);
            out.problems.push(Problem::new("log", what, Mend::Restore));
        }
    }
    let retained: Vec<_> =
        state.dirty.retained.entries.values().filter_map(|change| change.now().cloned()).collect();
    for (n, entry) in retained.iter().enumerate() {
        out.figures.retained += u64::from(entry.len());
        rows.extend(entry.rows().map(|row| (row.content, At::Expunged(n), row.uid.get())));
    }
    let kept: Vec<_> = reader.lines().filter_map(|(_, line)| line.content).collect();
    rows.extend(kept.iter().enumerate().map(|(n, content)| (content.at, At::Book(n), 0)));
    // In the order of the log, so that its files are read forward and each message once.
    rows.sort_unstable_by_key(|&(content, ..)| content);
    let find = |at: At, uid: u32| -> Option<(Row, Option<AccountId>, String)> {
        match at {
            At::Mailbox(id) => {
                let info = reader.directory().mailbox(id)?;
                let row = reader.view(id)?.row(wire::ids::Uid::new(uid)?)?;
                Some((row, Some(info.account), info.path.clone()))
            }
            At::Expunged(n) => {
                let entry = retained.get(n)?;
                Some((entry.rows.row(uid)?, Some(entry.account), entry.path.clone()))
            }
            At::Book(n) => Some((books::row(*kept.get(n)?), None, "the queue".to_owned())),
        }
    };
    let thorough = !out.problems.is_empty();
    let mut last: Option<(Location, Outcome)> = None;
    let mut new: HashMap<String, usize> = HashMap::new();
    for (content, at, uid) in rows {
        let Some((row, account, mailbox)) = find(at, uid) else { continue };
        if last.as_ref().is_none_or(|(known, _)| *known != content) {
            last = Some((content, read(reader, &row, thorough)));
        }
        let Some((_, Err((error, subject)))) = &last else { continue };
        let login = account.map_or_else(
            || "(on its way to other hosts)".to_owned(),
            |id| match reader.directory().account(id) {
                Some(account) => account.login.clone(),
                None => format!("(account {id}, which is gone)"),
            },
        );
        let victim = Victim {
            account: login,
            mailbox,
            uid,
            expunged: matches!(at, At::Expunged(_)),
            subject: subject.clone(),
        };
        let (file, place) = blamed(reader, error, &row);
        let known = out.problems.iter_mut().find(|p| {
            p.file == file
                && p.place.is_none_or(|(from, n)| place.is_none_or(|at| (from..from + n).contains(&at)))
        });
        match known {
            Some(problem) => problem.concerns(victim),
            None => {
                let n = *new.entry(file.clone()).or_insert_with(|| {
                    let what = format!("messages in it cannot be read: {error}");
                    out.problems.push(Problem::new(file, what, Mend::Restore));
                    out.problems.len() - 1
                });
                out.problems[n].concerns(victim);
            }
        }
    }
}

/// Whether a mailbox's rows are not what its head counts.
fn contradiction(mailbox: &Mailbox) -> Option<&'static str> {
    let rows = mailbox.rows.as_ref()?;
    if !mailbox.head.agrees(&rows.table) {
        return Some("its messages do not add up to its counts");
    }
    let newest = rows.table.rows().map(|row| row.modseq).max();
    (newest > Some(mailbox.head.highest_modseq)).then_some("a message is newer than its mailbox")
}

/// Reads a message; of one that cannot be read, its subject all the same if that can be.
fn read(reader: &Reader, row: &Row, thorough: bool) -> Outcome {
    let message = reader.message(row).map_err(|error| (error, None))?;
    if message.whole().is_some() || !thorough {
        return Ok(());
    }
    let mut piece = vec![0; 64 << 10];
    let mut at = 0;
    loop {
        match message.read_at(at, &mut piece) {
            Ok(0) => return Ok(()),
            Ok(n) => at += n as u64,
            Err(error) => return Err((error, subject(&message))),
        }
    }
}

fn subject(message: &Message) -> Option<Vec<u8>> {
    let mut front = vec![0; 16 << 10];
    let read = message.read_at(0, &mut front).ok()?;
    let mut lines = front.get(..read)?.split(|&b| b == b'\n');
    let begins = |line: &&[u8]| line.get(..8).is_some_and(|l| l.eq_ignore_ascii_case(b"Subject:"));
    let line = lines.find(begins)?.get(8..)?.trim_ascii();
    Some(line.get(..line.len().min(SUBJECT))?.to_vec())
}

/// The file that an error is about, and where in it.
fn blamed(reader: &Reader, error: &ReadError, row: &Row) -> (String, Option<u64>) {
    let at = match error {
        ReadError::Damaged(at) => *at,
        // The delivery's file can be read, or nobody knows whose body it is.
        _ => reader.body_location(row).unwrap_or(row.content),
    };
    let path = reader.path(at.segment);
    let place = path.ends_with(".seg").then_some(u64::from(at.ordinal) * 8);
    (path, place)
}
