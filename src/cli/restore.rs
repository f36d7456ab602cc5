//! `penfold restore`: a whole data directory out of a backup, or some mail of one account into a server.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use store::{BackupError, Backups, Manifest, Reader, RealVfs, Start, UnixTime, vfs::ReadOnly};

use super::args::{ImportInto, RestoreArgs};
use super::backup::{open, refused, taken};
use super::print::{self, Failure, count, duration, octets};
use super::progress::Teller;
use super::{asker, port, settings};
use crate::admin::{self, Kind};
use crate::config;
use crate::port::backup::{Wanted, restore_messages};

/// `penfold restore DIR`
pub(super) fn restore(config: Option<&Path>, args: &RestoreArgs) -> Result<ExitCode, Failure> {
    let backups = open(&args.dir)?;
    for (file, what) in backups.damaged() {
        print::err(&format!("penfold: {file} is no backup: {what}\n"));
    }
    let manifest = choose(&backups, &args.at)?;
    match &args.account {
        Some(account) => messages(config, args, account, &backups, manifest),
        None => whole(config, args, &backups, manifest),
    }
}

/// The backup that `--at` means.
fn choose<'b>(backups: &'b Backups, at: &str) -> Result<&'b Manifest, Failure> {
    let list = || backups.good().map(taken).collect::<Vec<_>>().join(", ");
    let found = match at {
        "latest" => backups.good().next(),
        name if name.starts_with("MANIFEST-") => backups.good().find(|manifest| manifest.name() == name),
        time => {
            let secs = moment(time).ok_or_else(|| {
                Failure::new(
                    Kind::Usage,
                    format!("{time:?} is no time"),
                    "write it as 2026-11-24 or 2026-11-24T10:15 (UTC), or `latest`",
                )
            })?;
            backups.at(UnixTime { secs, nanos: 0 })
        }
    };
    found.ok_or_else(|| match backups.good().next() {
        Some(_) => Failure::new(
            Kind::NotFound,
            format!("there is no backup for --at {at}"),
            format!("there are: {}", list()),
        ),
        None => Failure::plain(Kind::NotFound, "there is no whole backup in this directory"),
    })
}

/// The last second that a time names.
fn moment(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_second());
    }
    let utc = |time: jiff::civil::DateTime| {
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
    };
    if text.len() == 10 {
        return utc(text.parse::<jiff::civil::Date>().ok()?.at(23, 59, 59, 0));
    }
    utc(text.parse::<jiff::civil::DateTime>().ok()?)
}

/// Some mail of an account, beside what is there.
fn messages(
    config: Option<&Path>,
    args: &RestoreArgs,
    account: &str,
    backups: &Backups,
    manifest: &Manifest,
) -> Result<ExitCode, Failure> {
    let tree = Arc::new(ReadOnly(backups.tree(manifest)));
    let reader = Reader::open(tree, Start::Snapshot, &|_| {})
        .map_err(|error| refused(&args.dir, &BackupError::Log(error)))?;
    let whose = admin::find_account(reader.directory(), account).map_err(|error| {
        Failure::new(
            error.kind(),
            format!("in the backup of {}: {error}", taken(manifest)),
            "name another account, or --at",
        )
    })?;
    if !args.output.json {
        print::err(&format!("From the backup of {}.\n", taken(manifest)));
    }
    let wanted = Wanted { mailbox: args.mailbox.clone(), message: args.message.clone(), to: args.to.clone() };
    let into = ImportInto { into: None, dry_run: false, output: args.output };
    port::run(&asker(config)?, account, &into, |feed| restore_messages(&reader, whose.id, &wanted, feed))
}

/// Everything, into an empty data directory.
fn whole(
    config: Option<&Path>,
    args: &RestoreArgs,
    backups: &Backups,
    manifest: &Manifest,
) -> Result<ExitCode, Failure> {
    // A backup is for its owner alone, wherever it is.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let kept = backups.small(manifest, "config.toml");
    let place = config.unwrap_or(Path::new(config::DEFAULT_PATH)).to_owned();
    let kept = match (args.with_config, kept) {
        (true, kept) => kept.map_err(|error| refused(&args.dir, &error))?,
        // It is only compared.
        (false, kept) => kept.unwrap_or_default(),
    };
    let told = if args.with_config {
        put_config(&place, kept.as_deref())?
    } else {
        compare(&place, kept.as_deref())
    };
    let (settings, _) = settings(config)?;
    let data = &settings.data_dir;
    let owner = fs::metadata(data).ok().map(|found| (found.uid(), found.gid()));
    let mut teller = Teller::of("file", args.output.json);
    let restored = backups.restore(manifest, Arc::new(RealVfs::new(data)), &mut |progress| {
        teller.tell(progress.files, progress.done, progress.total);
        true
    });
    let restored = restored.map_err(|error| not_restored(&args.dir, data, &error))?;
    let took = teller.end();
    let owned = give_away(data, owner, args.with_config.then_some(place.as_path()))?;
    let accounts = accounts(backups, manifest);
    if args.output.json {
        print::json(&serde_json::json!({
            "data_dir": data,
            "backup": manifest.name(),
            "taken": taken(manifest),
            "files": restored.files,
            "octets": restored.octets,
            "seconds": took.as_secs_f64(),
            "accounts": accounts,
            "config": told,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    let mut page = format!(
        "{} is what it was at {}: {}, {}, in {}.\n{told}\n",
        data.display(),
        taken(manifest),
        count(restored.files, "file"),
        octets(restored.octets),
        duration(took.as_secs())
    );
    page.push_str(&owned);
    page.push_str(
        "\nWhat came after that time is gone. The first start gives every mailbox a new UIDVALIDITY, so mail programs \
         will fetch everything again.\n",
    );
    if !accounts.is_empty() {
        page.push_str(&format!(
            "\nPasswords are those of {}. Whoever has changed theirs since needs a new one (`penfold account password \
             ADDRESS`):\n",
            taken(manifest)
        ));
        accounts.iter().for_each(|login| page.push_str(&format!("  {login}\n")));
    }
    print::out(&page);
    Ok(ExitCode::SUCCESS)
}

fn not_restored(dir: &Path, data: &Path, error: &BackupError) -> Failure {
    let shown = data.display();
    match error {
        BackupError::NotEmpty(_) => Failure::new(
            Kind::AlreadyThere,
            format!("{shown}: {error}"),
            format!(
                "stop the server and move the old one aside: `mv {shown} {shown}.old`; to put mail beside what is there, \
                 name an --account"
            ),
        ),
        BackupError::Busy { .. } => Failure::new(
            Kind::Unreachable,
            format!("{shown}: {error}"),
            "stop the server, or wait until the other restore is done",
        ),
        BackupError::Write { what, error } => {
            let next = match error.kind() {
                io::ErrorKind::PermissionDenied => "run this as root (sudo)",
                _ => {
                    "make room, or mend what is wrong, then run the same command again: it goes on where it stopped"
                }
            };
            Failure::new(Kind::Failed, format!("{shown}: {what} cannot be written: {error}"), next)
        }
        other => refused(dir, other),
    }
}

/// Puts the backup's configuration in its place.
fn put_config(place: &Path, kept: Option<&[u8]>) -> Result<String, Failure> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |why: io::Error| {
            Failure::new(Kind::Failed, format!("{path} cannot be written: {why}"), "run this as root (sudo)")
        }
    };
    let Some(kept) = kept else { return Ok("The backup holds no config.toml.".into()) };
    let shown = place.display();
    let old = match fs::read(place) {
        Ok(there) if there == kept => return Ok(format!("{shown} is the backup's already.")),
        Ok(_) => Some(PathBuf::from(format!("{shown}.old"))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(failed(place)(e)),
    };
    let dir = place.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(failed(dir))?;
    let new = PathBuf::from(format!("{shown}.new"));
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&new);
    file.and_then(|mut file| {
        io::Write::write_all(&mut file, kept)?;
        file.sync_all()
    })
    .map_err(failed(&new))?;
    // There is a configuration at every moment, whatever happens meanwhile.
    if let Some(old) = &old {
        match fs::remove_file(old) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(old)(e)),
            _ => fs::hard_link(place, old).map_err(failed(old))?,
        }
    }
    fs::rename(&new, place).map_err(failed(place))?;
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))?;
    Ok(match old {
        Some(old) => format!("{shown} is the backup's; what was there is {}.", old.display()),
        None => format!("{shown} is the backup's."),
    })
}

/// What there is to say of a configuration that is left alone.
fn compare(place: &Path, kept: Option<&[u8]>) -> String {
    let shown = place.display();
    let Some(kept) = kept else { return "The backup holds no config.toml.".into() };
    match fs::read(place) {
        Ok(there) if there == kept => format!("{shown} is the same as in the backup."),
        Ok(_) => format!(
            "{shown} is not the same as in the backup, and was left alone (--with-config puts the backup's in its place)."
        ),
        Err(_) => format!(
            "There is no {shown}; the backup has one (run this with --with-config to put it there, on an empty data \
             directory)."
        ),
    }
}

/// Root gives what it wrote to whoever owns the data directory. Says what is left to do.
fn give_away(data: &Path, owner: Option<(u32, u32)>, config: Option<&Path>) -> Result<String, Failure> {
    if !rustix::process::geteuid().is_root() {
        return Ok(String::new());
    }
    let shown = data.display();
    let Some((uid, gid)) = owner.filter(|(uid, _)| *uid != 0) else {
        return Ok(format!(
            "It belongs to root. If the server runs as another user: `chown -R penfold: {shown}`.\n"
        ));
    };
    let failed = |why: io::Error| {
        Failure::new(
            Kind::Failed,
            format!("{shown} cannot be given to its owner: {why}"),
            format!("`chown -R {uid}:{gid} {shown}`"),
        )
    };
    let mut open = vec![data.to_owned()];
    while let Some(path) = open.pop() {
        lchown(&path, Some(uid), Some(gid)).map_err(failed)?;
        if fs::symlink_metadata(&path).map_err(failed)?.is_dir() {
            for entry in fs::read_dir(&path).map_err(failed)? {
                open.push(entry.map_err(failed)?.path());
            }
        }
    }
    if let Some(config) = config.filter(|config| config.exists()) {
        // The server reads it, and root alone changes it.
        let shared = fs::Permissions::from_mode(0o640);
        lchown(config, None, Some(gid)).and_then(|()| fs::set_permissions(config, shared)).map_err(failed)?;
    }
    Ok(String::new())
}

/// Whose passwords came back.
fn accounts(backups: &Backups, manifest: &Manifest) -> Vec<String> {
    let tree = Arc::new(ReadOnly(backups.tree(manifest)));
    let reader = Reader::open(tree, Start::Snapshot, &|_| {});
    reader.map_or_else(
        |_| Vec::new(),
        |r| r.directory().accounts().map(|account| account.login.clone()).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        for (text, secs) in [
            ("2026-11-24T10:15:00Z", 1_795_515_300),
            ("2026-11-24T10:15", 1_795_515_300),
            ("2026-11-24 10:15:07", 1_795_515_307),
            ("2026-11-24T11:15:00+01:00", 1_795_515_300),
            ("2026-11-24", 1_795_564_799),
        ] {
            assert_eq!(moment(text), Some(secs), "{text}");
        }
        for text in ["", "yesterday", "2026-13-01", "2026-11-24T25:00"] {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}
