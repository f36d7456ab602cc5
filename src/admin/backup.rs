//! A backup as the server makes it, with what belongs into it besides the store; told over the socket while it goes on.

use std::io::{self, BufWriter, Write};
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::{BackupError, BackupProgress, BackupTo, Extra, RealVfs};

use super::{Admin, Error, Kind};
use crate::{clock, port};

/// Between two tellings.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// A program that does not read what it is told for so long is gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// Octets of a configuration file or certificate.
const EXTRA: u64 = 1 << 20;

/// A line of what is told of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackupTold {
    /// How far it is.
    Progress {
        /// Files copied.
        files: u64,
        /// Octets copied...
        done: u64,
        /// ...of so many.
        total: u64,
    },
    /// It is there: the last line.
    Done(BackupReport),
    /// It is not: the last line.
    Failed(Error),
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupReport {
    /// Where it is.
    pub directory: PathBuf,
    /// Its manifest's file.
    pub manifest: String,
    /// Files of this backup...
    pub files: u64,
    /// ...and their octets.
    pub octets: u64,
    /// Files that were copied, because no backup had them...
    pub new_files: u64,
    /// ...and their octets.
    pub new_octets: u64,
    /// Backups that went, because there were more than were to be kept.
    pub removed: Vec<String>,
    /// Octets that went with them.
    pub removed_octets: u64,
    /// What an operator should read.
    pub warnings: Vec<String>,
}

/// What is to be backed up where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupOrder {
    /// The backup directory.
    pub directory: PathBuf,
    /// So many backups are kept there.
    pub keep: u32,
    /// The configuration file, if there is one.
    pub config: Option<PathBuf>,
}

impl Admin {
    /// Makes a backup, and tells of it.
    pub(super) fn backup(&self, order: &BackupOrder, stream: &UnixStream) {
        let mut to = BufWriter::new(stream);
        let patient = stream.set_write_timeout(Some(PATIENCE));
        let mut next = Duration::ZERO;
        let mut watch = |progress: &BackupProgress| {
            let now = clock::monotonic();
            if now < next {
                return true;
            }
            next = now + TELL_EVERY;
            let BackupProgress { files, done, total } = *progress;
            // Nobody waits for it any more: what is copied is there for the next run.
            say(&mut to, &BackupTold::Progress { files, done, total }).is_ok()
        };
        tracing::info!(directory = %order.directory.display(), "backup begins");
        let made = self.make_backup(order, &mut watch);
        match (&made, patient) {
            (Ok(made), _) => {
                let (octets, new_octets) = (made.octets, made.new_octets);
                tracing::info!(manifest = made.manifest, octets, new_octets, "backup is done");
                for warning in &made.warnings {
                    tracing::warn!(warning, "backup");
                }
            }
            (Err(error), _) => tracing::warn!(%error, "there is no backup"),
        }
        let told = made.map_or_else(BackupTold::Failed, BackupTold::Done);
        if let Err(error) = say(&mut to, &told) {
            tracing::debug!(%error, "nobody heard how the backup went");
        }
    }

    fn make_backup(
        &self,
        order: &BackupOrder,
        watch: &mut dyn FnMut(&BackupProgress) -> bool,
    ) -> Result<BackupReport, Error> {
        let directory = &order.directory;
        apart(directory, &self.directory)?;
        let mut warnings = Vec::new();
        let extras = self.extras(order.config.as_deref(), &mut warnings);
        let mut to = BackupTo {
            vfs: Arc::new(RealVfs::new(directory)),
            sums: port::backup::sums(),
            keep: usize::try_from(order.keep).unwrap_or(usize::MAX),
            extras,
            watch,
        };
        let made = self.store.backup(&mut to).map_err(|error| refusal(&error, directory))?;
        warnings.extend(made.warnings);
        Ok(BackupReport {
            directory: directory.clone(),
            manifest: made.manifest,
            files: made.files,
            octets: made.octets,
            new_files: made.new_files,
            new_octets: made.new_octets,
            removed: made.removed,
            removed_octets: made.removed_octets,
            warnings,
        })
    }

    /// The configuration file and the certificates in the data directory.
    fn extras(&self, config: Option<&Path>, warnings: &mut Vec<String>) -> Vec<Extra> {
        let (mut extras, mut skipped) = (Vec::new(), Vec::new());
        let mut take = |path: String, file: &Path| match small(file) {
            Ok(octets) => extras.push(Extra { path, octets }),
            Err(why) => warnings.push(format!("{} is not in the backup: {why}", file.display())),
        };
        if let Some(file) = config {
            take("config.toml".into(), file);
        }
        let tls = self.directory.join("tls");
        let mut names: Vec<_> = std::fs::read_dir(&tls)
            .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.file_name()).collect())
            .unwrap_or_default();
        names.sort();
        for name in names {
            let file = tls.join(&name);
            let plain = |name: &&str| {
                !name.starts_with('.')
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
            };
            match name.to_str().filter(plain) {
                Some(name) if file.is_file() => take(format!("tls/{name}"), &file),
                _ => skipped.push(format!("{} is not in the backup: it is no plain file", file.display())),
            }
        }
        warnings.append(&mut skipped);
        extras
    }
}

fn say(to: &mut BufWriter<&UnixStream>, told: &BackupTold) -> io::Result<()> {
    serde_json::to_writer(&mut *to, told)?;
    to.write_all(b"\n")?;
    to.flush()
}

fn small(file: &Path) -> io::Result<Vec<u8>> {
    let octets = std::fs::metadata(file)?.len();
    if octets > EXTRA {
        return Err(io::Error::other("it is too large to be one of ours"));
    }
    std::fs::read(file)
}

/// A path with its links followed, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let mut rest = PathBuf::new();
    let mut there = path.to_owned();
    loop {
        if let Ok(real) = there.canonicalize() {
            return real.join(rest);
        }
        let Some(Component::Normal(name)) = there.components().next_back() else { return path.to_owned() };
        rest = if rest.as_os_str().is_empty() { name.into() } else { Path::new(name).join(rest) };
        there.pop();
    }
}

/// A backup and its data directory are not within each other.
fn apart(directory: &Path, data: &Path) -> Result<(), Error> {
    let (backup, data) = (real(directory), real(data));
    if backup.starts_with(&data) || data.starts_with(&backup) {
        return Err(Error::Backup {
            why: format!(
                "{} and the data directory {} lie within each other",
                backup.display(),
                data.display()
            ),
            kind: Kind::Usage,
            next: Some("name a directory elsewhere, best on another disk".into()),
        });
    }
    Ok(())
}

/// Why a backup directory refuses, and what helps.
fn refusal(error: &BackupError, directory: &Path) -> Error {
    let shown = directory.display();
    let why = format!("{shown}: {error}");
    let (kind, next) = match error {
        BackupError::Write { error, .. } | BackupError::Read { error, .. } => match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                let user = rustix::process::geteuid().as_raw();
                (
                    Kind::Failed,
                    Some(format!(
                        "the server's own user (uid {user}) writes there: give it the directory (`mkdir -p {shown}; \
                         chown penfold: {shown}`), and where systemd runs the server, `systemctl edit penfold` with\n    \
                         [Service]\n    ReadWritePaths={shown}\n  and `systemctl restart penfold`"
                    )),
                )
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
                Kind::Failed,
                Some("make room there, or keep fewer backups (--keep), and run it again: it goes on".into()),
            ),
            _ => (Kind::Failed, Some("earlier backups are as they were; run it again: it goes on".into())),
        },
        BackupError::NotABackup(_) => {
            (Kind::Usage, Some("name a directory that is empty or not there".into()))
        }
        BackupError::OfAnotherStore => (Kind::Usage, Some("name another directory for this store".into())),
        BackupError::Busy { .. } => (Kind::Unreachable, Some("wait until it is done".into())),
        BackupError::Stopped => (Kind::Failed, Some("run it again: it goes on".into())),
        _ => (Kind::Failed, None),
    };
    Error::Backup { why, kind, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_and_its_data_are_apart_whatever_links_say() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("data")).unwrap();
        std::os::unix::fs::symlink(at("data"), at("link")).unwrap();
        assert!(apart(&at("backup"), &at("data")).is_ok());
        assert!(apart(&at("data-2/x"), &at("data")).is_ok());
        for inside in ["data", "data/backup/deep", "link/backup", "link"] {
            assert!(apart(&at(inside), &at("data")).is_err(), "{inside}");
        }
        assert!(apart(dir.path(), &at("data")).is_err(), "around it");
    }

    #[test]
    fn who_may_not_write_is_told_how_to() {
        let error =
            || BackupError::Write { what: "x".into(), error: io::ErrorKind::ReadOnlyFilesystem.into() };
        let told = refusal(&error(), Path::new("/srv/backup")).advice().unwrap();
        for word in ["ReadWritePaths=/srv/backup", "chown penfold: /srv/backup", "systemctl edit penfold"] {
            assert!(told.contains(word), "{word}: {told}");
        }
    }
}
