//! What opening changes on disk: the torn end goes aside and is cut, the last group is made durable, leftovers go.

use super::OpenError;
use super::found::Main;
use crate::group;
use crate::segment::{DIR, TMP, main_path, side_path};
use crate::shared::at;
use crate::state::world::Position;
use crate::vfs::{Open, Vfs, read_full, write_full};

/// The most that is copied of a torn end.
const TORN: u64 = 64 << 20;

/// Copies a torn end to `tmp/torn-SEQ` and cuts it off.
pub(crate) fn cut(vfs: &dyn Vfs, main: &Main, position: &Position, end: u64) -> Result<String, OpenError> {
    let path = main_path(main.header.number);
    let aside = format!("{TMP}/torn-{}", position.seq + 1);
    let length = (end - position.end).min(TORN) as usize;
    let mut octets = vec![0; length];
    let read = read_full(&*main.file, &mut octets, position.end).map_err(at(&path))?;
    octets.truncate(read);
    vfs.replace(&aside, &octets).map_err(at(&aside))?;
    main.file.truncate(position.end).map_err(at(&path))?;
    // Without room the first group opens another segment.
    let _ = main.file.preallocate(main.len);
    main.file.sync_all().map_err(at(&path))?;
    Ok(aside)
}

/// Writes the last group again, the same octets, and syncs it: what a killed process left only in the page cache must
/// not vanish after it has been served.
pub(crate) fn make_durable(vfs: &dyn Vfs, main: &Main, position: &Position) -> Result<(), OpenError> {
    let path = main_path(main.header.number);
    // Right after a new segment was begun, the last group is in the one before, and was synced before that.
    let length = position.end.checked_sub(position.offset).filter(|_| position.segment == main.header.number);
    if let Some(length) = length.and_then(|n| usize::try_from(n).ok())
        && position.offset >= group::BORDER
        && position.seq > 0
    {
        let mut octets = vec![0; length];
        let read = read_full(&*main.file, &mut octets, position.offset).map_err(at(&path))?;
        octets.truncate(read);
        let whole = group::Header::decode(&octets).is_some_and(|h| group::check(&h, &octets).is_some());
        if whole {
            write_full(&*main.file, &octets, position.offset).map_err(at(&path))?;
        }
    }
    main.file.sync_data().map_err(at(&path))?;
    vfs.sync_dir(DIR).map_err(at(DIR))
}

/// Removes half-made files, and segments that were made ahead of need.
pub(crate) fn clear(vfs: &dyn Vfs) -> Result<(), OpenError> {
    for name in vfs.list(TMP).map_err(at(TMP))? {
        if !name.starts_with("torn-") && !name.starts_with("lost-") {
            vfs.remove_file(&format!("{TMP}/{name}")).map_err(at(TMP))?;
        }
    }
    Ok(())
}

/// Removes what nobody will ever ask for: side segments that no commit adopted.
pub(crate) fn tidy(vfs: &dyn Vfs, sides: impl Iterator<Item = u32>) -> Result<(), OpenError> {
    for number in sides {
        let path = side_path(number);
        vfs.remove_file(&path).map_err(at(&path))?;
    }
    Ok(())
}

/// Puts side segments that no commit is known to have adopted where a salvage finds them.
pub(crate) fn set_aside(vfs: &dyn Vfs, sides: impl Iterator<Item = u32>) -> Result<(), OpenError> {
    for number in sides {
        let path = side_path(number);
        vfs.rename(&path, &format!("{TMP}/lost-{number:08}.side")).map_err(at(&path))?;
    }
    vfs.sync_dir(TMP).and_then(|()| vfs.sync_dir(DIR)).map_err(at(TMP))
}

/// Syncs every file below a directory, and the names in it: after this it survives a power cut.
pub(crate) fn sync_tree(vfs: &dyn Vfs, dir: &str) -> std::io::Result<()> {
    for name in vfs.list(dir)? {
        let path = format!("{dir}/{name}");
        // A name that cannot be listed is a file.
        match vfs.list(&path) {
            Ok(_) => sync_tree(vfs, &path)?,
            Err(_) => vfs.open(&path, Open::ReadWrite)?.sync_all()?,
        }
    }
    vfs.sync_dir(dir)
}
