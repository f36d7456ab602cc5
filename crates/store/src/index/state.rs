//! `STATE` and `CONDEMNED` beside the index: whether what an earlier process left there may be believed.
//!
//! sled's `flush` hands octets to the operating system and does not wait for the disk. So after the process died the
//! index is sound (the page cache did not die), and after a power cut it may be anything. `STATE` tells the two apart by
//! the boot id of the machine it was opened under. A copied directory, another store's index and an older format are
//! told apart by what else it holds. Whoever is not told apart here is caught by the index's own position row, which
//! must be in the log.
//!
//! `STATE` is also a witness: it says how far the log had come at least, and which numbers had been given out. A log that
//! ends before it has lost what somebody was told is kept (docs/decisions/0003).

use crate::vfs::Vfs;
use std::fmt::Write as _;
use std::io;

const FIRST_LINE: &str = "penfold index state 2";

/// How the index was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// In use, on the boot with this id. `None` on a system that has no boot ids: then it counts as a power cut.
    Running {
        /// [`boot_id`] of then.
        boot: Option<String>,
    },
    /// Closed, synced by the caller, and holding exactly the log up to a group.
    Clean {
        /// Sequence number of that group.
        seq: u64,
        /// Its chain.
        chain: u128,
    },
}

/// How far the log had come, at least, and the largest numbers that had been given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    /// Sequence number of a group.
    pub seq: u64,
    /// A commit's number.
    pub commit: u64,
    /// The main segment that was written then.
    pub segment: u32,
    /// An account's id.
    pub account: u32,
    /// A mailbox's id.
    pub mailbox: u32,
    /// A UIDVALIDITY.
    pub uid_validity: u32,
}

impl Witness {
    /// What both know.
    #[must_use]
    pub fn and(self, other: Witness) -> Witness {
        Witness {
            seq: self.seq.max(other.seq),
            commit: self.commit.max(other.commit),
            segment: self.segment.max(other.segment),
            account: self.account.max(other.account),
            mailbox: self.mailbox.max(other.mailbox),
            uid_validity: self.uid_validity.max(other.uid_validity),
        }
    }

    fn numbers(&self) -> [u64; 6] {
        let of = u64::from;
        [self.seq, self.commit, of(self.segment), of(self.account), of(self.mailbox), of(self.uid_validity)]
    }

    fn parse(text: &str) -> Option<Witness> {
        let mut words = text.split(' ');
        let mut next = || words.next()?.parse::<u64>().ok();
        let (seq, commit) = (next()?, next()?);
        let mut next = || u32::try_from(next()?).ok();
        let witness = Witness {
            seq,
            commit,
            segment: next()?,
            account: next()?,
            mailbox: next()?,
            uid_validity: next()?,
        };
        words.next().is_none().then_some(witness)
    }
}

/// What `STATE` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The store this index was derived from.
    pub store: u128,
    /// The format of its keys and values.
    pub format: u32,
    /// How it was left.
    pub left: Left,
    /// What the log held, at least, when this was written.
    pub witness: Witness,
}

/// Why an index is not used but built anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// There is none, or only a part of one.
    #[error("there is no index")]
    Missing,
    /// `STATE` is not what was written, or cannot be read.
    #[error("index/STATE is damaged: {0}")]
    Damaged(String),
    /// An earlier process condemned it.
    #[error("the index was condemned: {0}")]
    Condemned(String),
    /// It belongs to another store.
    #[error("the index belongs to another store")]
    OtherStore,
    /// Its format is not this program's.
    #[error("the index has format {found}, this program uses {wanted}")]
    OtherFormat {
        /// In `STATE`.
        found: u32,
        /// This program's.
        wanted: u32,
    },
    /// It was in use when the machine went down.
    #[error("the machine went down while the index was in use")]
    PowerCut,
    /// It was in use, and this system cannot say whether the machine went down.
    #[error("the index was in use, and this system has no boot id")]
    NoBootId,
}

/// Reads `DIR/CONDEMNED` and `DIR/STATE` and says whether the index in `dir` may be opened: it was left clean, or in use
/// on this same boot, by this store and format. The position inside it is still to be checked by the caller.
pub fn trust(
    vfs: &dyn Vfs,
    dir: &str,
    store: u128,
    format: u32,
    boot: Option<&str>,
) -> Result<State, Distrust> {
    if let Some(why) = condemned(vfs, dir) {
        return Err(Distrust::Condemned(why));
    }
    let state = read(vfs, dir)?;
    if state.store != store {
        return Err(Distrust::OtherStore);
    }
    if state.format != format {
        return Err(Distrust::OtherFormat { found: state.format, wanted: format });
    }
    match (&state.left, boot) {
        (Left::Clean { .. }, _) => Ok(state),
        (Left::Running { boot: Some(then) }, Some(now)) if then == now => Ok(state),
        (Left::Running { boot: Some(_) }, Some(_)) => Err(Distrust::PowerCut),
        (Left::Running { .. }, _) => Err(Distrust::NoBootId),
    }
}

/// Writes `DIR/STATE`, durably and whole: after a crash it is the old one or this.
pub fn write(vfs: &dyn Vfs, dir: &str, state: &State) -> io::Result<()> {
    vfs.replace(&format!("{dir}/STATE"), encode(state).as_bytes())
}

/// Reads `DIR/STATE`.
pub fn read(vfs: &dyn Vfs, dir: &str) -> Result<State, Distrust> {
    let octets = match vfs.read(&format!("{dir}/STATE")) {
        Ok(octets) => octets,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Distrust::Missing),
        Err(e) => return Err(Distrust::Damaged(e.to_string())),
    };
    decode(&octets).ok_or_else(|| Distrust::Damaged("not as it was written".into()))
}

/// Writes `DIR/CONDEMNED`: the index is never opened again. Kept as durable as the disk allows; that it could not be
/// written is no reason to go on, so the error is for the log only.
pub fn condemn(vfs: &dyn Vfs, dir: &str, why: &str) -> io::Result<()> {
    vfs.replace(&format!("{dir}/CONDEMNED"), why.as_bytes())
}

/// Why the index in `dir` was condemned, if it was.
#[must_use]
pub fn condemned(vfs: &dyn Vfs, dir: &str) -> Option<String> {
    match vfs.read(&format!("{dir}/CONDEMNED")) {
        Ok(why) => Some(String::from_utf8_lossy(&why).into_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        // Something is there that cannot be read: an index one would rather not use.
        Err(e) => Some(e.to_string()),
    }
}

/// The id of this boot of the machine, where the system has one (Linux: `/proc/sys/kernel/random/boot_id`).
#[must_use]
pub fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = id.trim();
    (!id.is_empty() && id.len() <= 64 && id.bytes().all(|c| c.is_ascii_graphic())).then(|| id.to_owned())
}

fn encode(state: &State) -> String {
    let mut text = format!("{FIRST_LINE}\nstore {:032x}\nformat {}\n", state.store, state.format);
    // Writing to a String cannot fail.
    let _ = match &state.left {
        Left::Running { boot } => writeln!(text, "running {}", boot.as_deref().unwrap_or("-")),
        Left::Clean { seq, chain } => writeln!(text, "clean {seq} {chain:032x}"),
    };
    let [seq, commit, segment, account, mailbox, uid_validity] = state.witness.numbers();
    let _ = writeln!(text, "witness {seq} {commit} {segment} {account} {mailbox} {uid_validity}");
    let check = crc32c::crc32c(text.as_bytes());
    let _ = writeln!(text, "check {check:08x}");
    text
}

fn decode(octets: &[u8]) -> Option<State> {
    let text = std::str::from_utf8(octets).ok()?;
    let at = text.rfind("check ")?;
    let (body, check) = (text.get(..at)?, text.get(at..)?);
    if check != format!("check {:08x}\n", crc32c::crc32c(body.as_bytes())) {
        return None;
    }
    let mut lines = body.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let store = u128::from_str_radix(lines.next()?.strip_prefix("store ")?, 16).ok()?;
    let format = lines.next()?.strip_prefix("format ")?.parse().ok()?;
    let left = lines.next()?;
    let left = if let Some(boot) = left.strip_prefix("running ") {
        Left::Running { boot: (boot != "-").then(|| boot.to_owned()) }
    } else {
        let (seq, chain) = left.strip_prefix("clean ")?.split_once(' ')?;
        Left::Clean { seq: seq.parse().ok()?, chain: u128::from_str_radix(chain, 16).ok()? }
    };
    let witness = Witness::parse(lines.next()?.strip_prefix("witness ")?)?;
    lines.next().is_none().then_some(State { store, format, left, witness })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::{Open, RealVfs, write_full};

    fn vfs() -> (tempfile::TempDir, RealVfs) {
        let dir = tempfile::tempdir().unwrap();
        let vfs = RealVfs::new(dir.path());
        vfs.create_dir_all("index").unwrap();
        (dir, vfs)
    }

    fn running(boot: Option<&str>) -> State {
        State {
            store: 7,
            format: 2,
            left: Left::Running { boot: boot.map(str::to_owned) },
            witness: Witness {
                seq: 1,
                commit: u64::MAX,
                segment: 3,
                account: 4,
                mailbox: u32::MAX,
                uid_validity: 6,
            },
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let (_dir, vfs) = vfs();
        assert_eq!(read(&vfs, "index"), Err(Distrust::Missing));
        for left in [
            Left::Running { boot: None },
            Left::Running { boot: Some("b0-07".into()) },
            Left::Clean { seq: u64::MAX, chain: u128::MAX - 5 },
        ] {
            let state = State { store: u128::MAX / 3, format: 9, left, ..running(None) };
            write(&vfs, "index", &state).unwrap();
            assert_eq!(read(&vfs, "index"), Ok(state));
        }
        assert_eq!(vfs.list("index").unwrap(), ["STATE"]);
    }

    #[test]
    fn who_is_trusted() {
        let (_dir, vfs) = vfs();
        let ask = |store, format, boot| trust(&vfs, "index", store, format, boot).map(|_| ());
        assert_eq!(ask(7, 2, Some("a")), Err(Distrust::Missing));
        write(&vfs, "index", &running(Some("a"))).unwrap();
        assert_eq!(ask(7, 2, Some("a")), Ok(()));
        assert_eq!(ask(7, 2, Some("b")), Err(Distrust::PowerCut));
        assert_eq!(ask(7, 2, None), Err(Distrust::NoBootId));
        assert_eq!(ask(8, 2, Some("a")), Err(Distrust::OtherStore));
        assert_eq!(ask(7, 3, Some("a")), Err(Distrust::OtherFormat { found: 2, wanted: 3 }));
        write(&vfs, "index", &running(None)).unwrap();
        assert_eq!(ask(7, 2, None), Err(Distrust::NoBootId));
        assert_eq!(ask(7, 2, Some("a")), Err(Distrust::NoBootId));
        let clean = State { left: Left::Clean { seq: 3, chain: 4 }, ..running(None) };
        write(&vfs, "index", &clean).unwrap();
        assert_eq!(ask(7, 2, None), Ok(()));
        condemn(&vfs, "index", "it bit").unwrap();
        assert_eq!(ask(7, 2, None), Err(Distrust::Condemned("it bit".into())));
    }

    #[test]
    fn no_damaged_state_is_believed() {
        let (_dir, vfs) = vfs();
        let good = encode(&State { left: Left::Clean { seq: 5, chain: 6 }, ..running(None) }).into_bytes();
        assert!(decode(&good).is_some());
        for at in 0..good.len() {
            assert_eq!(decode(&good[..at]), None, "cut at {at}");
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert_eq!(decode(&bad), None, "bit {bit} of octet {at}");
            }
        }
        let file = vfs.open("index/STATE", Open::CreateNew).unwrap();
        write_full(&*file, b"penfold", 0).unwrap();
        assert!(matches!(read(&vfs, "index"), Err(Distrust::Damaged(_))));
    }

    #[test]
    fn linux_has_a_boot_id() {
        let id = boot_id();
        assert_eq!(id.is_some(), cfg!(target_os = "linux"));
        assert_eq!(id, boot_id());
    }
}
