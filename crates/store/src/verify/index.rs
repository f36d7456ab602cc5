//! The index against a replay: it must say what the log says.

use std::sync::Arc;

use super::{IndexAccess, Mend, Problem};
use crate::index::state::{self, State};
use crate::index::{Index, IndexError};
use crate::keys;
use crate::open::found::Found;
use crate::open::replay::{How, Replay};
use crate::options::Sabotage;
use crate::reader::Reader;
use crate::shared::INDEX;
use crate::state::directory::Directory;
use crate::state::mailbox::Mailbox;
use crate::state::world::World;
use crate::vfs::Vfs;

/// Compares. Says why it was not, if it was not.
pub(super) fn compare(
    disk: &Arc<dyn Vfs>,
    access: IndexAccess<'_>,
    found: &Found,
    reader: &Reader,
    problems: &mut Vec<Problem>,
) -> Option<String> {
    let store = found.mains.first().map(|main| main.header.store)?;
    let state = match state::trust(&**disk, INDEX, store, keys::FORMAT, access.boot_id) {
        Ok(state) => state,
        Err(state::Distrust::Damaged(what)) => {
            problems.push(Problem::new(format!("{INDEX}/STATE"), what, Mend::Rebuild));
            return None;
        }
        // Whoever opens the store would not use it either.
        Err(why) => return Some(format!("the next start builds it anew: {why}")),
    };
    match opened(disk, access, &state, found, reader) {
        Ok(wrong) => problems.extend(wrong.into_iter().map(|what| Problem::new(INDEX, what, Mend::Rebuild))),
        Err(error) => problems.push(Problem::new(INDEX, error.to_string(), Mend::Rebuild)),
    }
    None
}

/// Opens it, compares, and leaves it as it was.
fn opened(
    disk: &Arc<dyn Vfs>,
    access: IndexAccess<'_>,
    state: &State,
    found: &Found,
    reader: &Reader,
) -> Result<Vec<String>, IndexError> {
    let failed = |e: std::io::Error| IndexError::Condemned(e.to_string().into());
    // While it is open it is not clean: a power cut in the middle must not leave it so.
    let left = state::Left::Running { boot: access.boot_id.map(str::to_owned) };
    state::write(&**disk, INDEX, &State { left, ..state.clone() }).map_err(failed)?;
    let index = access.host.open(INDEX)?;
    let wrong = differences(&index, found, reader);
    index.flush().and_then(|()| index.close())?;
    crate::open::sync_tree(&**disk, INDEX).map_err(failed)?;
    state::write(&**disk, INDEX, state).map_err(failed)?;
    wrong
}

fn differences(index: &Arc<dyn Index>, found: &Found, reader: &Reader) -> Result<Vec<String>, IndexError> {
    let Some(published) = keys::load(&**index)? else { return Ok(vec!["it is empty".into()]) };
    let position = published.position;
    let reached = reader.reached();
    if position.seq > reached.seq {
        let what = format!("it knows group {}, and the log ends with group {}", position.seq, reached.seq);
        return Ok(vec![what]);
    }
    let world = World::default();
    *world.write() = published;
    world.set_index(index.clone());
    if position.seq < reached.seq {
        let how = How { progress: &|_| {}, sabotage: Sabotage::None };
        let replayed = Replay::new(how, &world, found, position, 0).run();
        replayed.map_err(|e| IndexError::Condemned(e.to_string().into()))?;
    }
    let (is, must) = (world.read(), reader.state());
    let mut wrong = Vec::new();
    if directory(&is.directory) != directory(&must.directory) {
        wrong.push("domains, accounts, aliases or mailboxes' names are others than the log's".to_owned());
    }
    if is.sides != must.sides {
        wrong.push("large bodies are others than the log's".to_owned());
    }
    for (id, mailbox) in &must.mailboxes {
        let same = match is.mailboxes.get(id) {
            Some(there) => same(&**index, there, mailbox)?,
            None => false,
        };
        if !same {
            let name = must.directory.mailbox(*id).map_or("", |m| m.path.as_str());
            wrong.push(format!("mailbox {name} ({id}) is another than the log's"));
        }
    }
    if is.mailboxes.len() != must.mailboxes.len() {
        wrong.push("it has mailboxes that the log has not".to_owned());
    }
    drop(is);
    let lines = world.lines(&[0], &[u8::MAX], usize::MAX)?;
    if !reader.lines().eq(lines.iter().map(|(name, line)| (name.as_slice(), line))) {
        wrong.push("what waits to be sent, or what became of it, is other than the log's".to_owned());
    }
    for entry in must.dirty.retained.entries.values().filter_map(|change| change.now()) {
        let there = world.retained(&entry.id)?;
        if there.is_none_or(|there| !there.rows().eq(entry.rows())) {
            wrong.push(format!("what was expunged by commit {} is other than the log's", entry.id.commit.0));
        }
    }
    Ok(wrong)
}

fn same(index: &dyn Index, there: &Mailbox, must: &Mailbox) -> Result<bool, IndexError> {
    let loaded;
    let rows = match &there.rows {
        Some(rows) => rows,
        None => {
            loaded = keys::load_rows(index, there.id)?;
            &loaded
        }
    };
    let Some(wanted) = &must.rows else { return Ok(false) };
    Ok(there.head == must.head
        && rows.table.rows().eq(wanted.table.rows())
        && rows.keywords == wanted.keywords
        && rows.vanished == wanted.vanished)
}

/// A directory as something that can be compared.
fn directory(directory: &Directory) -> String {
    let mut text = format!("{:?}", (&directory.domains, &directory.targets));
    for account in directory.accounts() {
        let mut mailboxes = account.mailboxes.clone();
        mailboxes.sort_unstable();
        text.push_str(&format!(
            "{account:?} {} {:?} {mailboxes:?} {:?} {:?}",
            account.password, account.quota, account.subscriptions, account.by_path
        ));
        mailboxes.iter().for_each(|id| text.push_str(&format!("{:?}", directory.mailbox(*id))));
    }
    text
}
