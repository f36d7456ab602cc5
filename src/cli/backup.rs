//! `penfold backup` and `penfold backup verify`: the running server makes the backup, or a thread of this process when
//! none runs; what is in a directory is read by this process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use store::{BackupError, Backups, Checked, Manifest, Newest, RealVfs, Verified};

use super::args::{BackupArgs, BackupVerifyArgs};
use super::ask::Asker;
use super::print::{self, Failure, count, duration, number, octets};
use super::progress::Teller;
use crate::admin::{BackupOrder, BackupReport, BackupTold, Kind, Request};
use crate::port::backup::sums;

/// How long the server may say nothing: it may read a snapshot, or wait for the compactor.
const PATIENCE: Duration = Duration::from_secs(900);
/// Octets of a line of what it says.
const LINE: u64 = 1 << 20;
/// Problems shown to people; scripts get all.
const SHOWN: usize = 20;

/// `penfold backup DIR`. `config` is the configuration's file, if there is one.
pub(super) fn backup(ask: &Asker, args: &BackupArgs, config: Option<PathBuf>) -> Result<ExitCode, Failure> {
    let Some(dir) = &args.dir else { return Err(Failure::plain(Kind::Usage, "name a DIR")) };
    let directory = absolute(dir)?;
    let as_json = args.output.json;
    let order = BackupOrder { directory, keep: args.keep, config };
    let (stream, wait) = ask.transfer(&Request::Backup(order))?.begin();
    let lost = |why: std::io::Error| {
        Failure::new(
            Kind::Unreachable,
            format!("the connection to the server was lost: {why}"),
            "look whether it runs (`penfold status`), then run this again: it goes on where it stopped",
        )
    };
    stream.set_read_timeout(Some(PATIENCE)).map_err(lost)?;
    let mut read = BufReader::new(stream);
    let mut teller = Teller::of("file", as_json);
    let told = loop {
        let mut line = String::new();
        std::io::Read::take(&mut read, LINE).read_line(&mut line).map_err(lost)?;
        if line.is_empty() {
            break Err(lost(std::io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_str(&line) {
            Ok(BackupTold::Progress { files, done, total }) => teller.tell(files, done, total),
            Ok(BackupTold::Done(report)) => break Ok(report),
            Ok(BackupTold::Failed(error)) => break Err(error.into()),
            Err(why) => {
                break Err(Failure::new(
                    Kind::Unreachable,
                    format!("what the server says is not understood: {why}"),
                    "after an upgrade, restart the server: `systemctl restart penfold`",
                ));
            }
        }
    };
    let took = teller.end();
    drop(read);
    wait();
    let report = told?;
    if as_json {
        print::json(&serde_json::json!({ "seconds": took.as_secs_f64(), "backup": report }));
    } else {
        print::out(&page(&report, took));
    }
    Ok(ExitCode::SUCCESS)
}

fn page(report: &BackupReport, took: Duration) -> String {
    let mut page = format!(
        "{} in {}: {}, {}. New: {}, {}, in {}.\n",
        report.manifest,
        report.directory.display(),
        count(report.files, "file"),
        octets(report.octets),
        count(report.new_files, "file"),
        octets(report.new_octets),
        duration(took.as_secs())
    );
    if !report.removed.is_empty() {
        page.push_str(&format!(
            "Gone, because there are newer ones: {}, {}.\n",
            count(report.removed.len() as u64, "backup"),
            octets(report.removed_octets)
        ));
    }
    for warning in &report.warnings {
        page.push_str(&format!("Warning: {warning}\n"));
    }
    page
}

/// A path that means the same to the server.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|why| {
        Failure::plain(Kind::Usage, format!("the path {} cannot be made out: {why}", path.display()))
    })
}

/// The backups in a directory.
pub(super) fn open(dir: &Path) -> Result<Backups, Failure> {
    Backups::open(Arc::new(RealVfs::new(dir)), &sums()).map_err(|error| refused(dir, &error))
}

/// Why a backup directory cannot be read, or written back.
pub(super) fn refused(dir: &Path, error: &BackupError) -> Failure {
    let what = format!("{}: {error}", dir.display());
    let io = match error {
        BackupError::Read { error, .. } | BackupError::Write { error, .. } => Some(error.kind()),
        _ => None,
    };
    match (error, io) {
        (_, Some(std::io::ErrorKind::NotFound)) => Failure::plain(Kind::NotFound, what),
        (_, Some(std::io::ErrorKind::PermissionDenied)) => Failure::new(
            Kind::Failed,
            what,
            "a backup is for the server's own user and root: run this as root (sudo)",
        ),
        (BackupError::NotABackup(_), _) => Failure::plain(Kind::NotFound, what),
        (BackupError::Damaged { .. }, _) => Failure::new(
            Kind::Failed,
            what,
            format!(
                "`penfold backup verify {}` says which backups are whole; --at takes an older one; single accounts \
                 can be restored from a damaged one (--account)",
                dir.display()
            ),
        ),
        (BackupError::Busy { .. }, _) => {
            Failure::new(Kind::Unreachable, what, "wait until it is done, or stop it")
        }
        _ => Failure::plain(Kind::Failed, what),
    }
}

/// When a backup was taken, in UTC.
pub(super) fn taken(manifest: &Manifest) -> String {
    jiff::Timestamp::from_second(manifest.taken.secs).map_or_else(|_| "?".into(), |t| t.to_string())
}

/// `penfold backup verify DIR`
pub(super) fn verify(args: &BackupVerifyArgs) -> Result<ExitCode, Failure> {
    let backups = open(&args.dir)?;
    let mut teller = Teller::of("file", args.output.json);
    let verified = backups.verify(args.latest, &mut |progress| {
        teller.tell(progress.files, progress.done, progress.total);
        true
    });
    let verified = verified.map_err(|error| refused(&args.dir, &error))?;
    let took = teller.end();
    if args.output.json {
        print::json(&as_json(&verified, took));
    } else {
        print::out(&verdict(&args.dir, &verified, took));
    }
    Ok(if verified.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(verified: &Verified, took: Duration) -> serde_json::Value {
    let backup = |checked: &Checked| {
        serde_json::json!({
            "file": checked.file,
            "taken": checked.manifest.as_ref().map(taken),
            "files": checked.manifest.as_ref().map(Manifest::files),
            "octets": checked.manifest.as_ref().map(Manifest::octets),
            "problems": checked.problems,
        })
    };
    let newest = |newest: &Newest| {
        serde_json::json!({
            "file": newest.file,
            "messages": newest.messages,
            "damaged": newest.damaged,
            "which": newest.which,
            "log": log_problems(newest),
        })
    };
    serde_json::json!({
        "whole": verified.is_whole(),
        "seconds": took.as_secs_f64(),
        "files": verified.files,
        "octets": verified.octets,
        "backups": verified.backups.iter().map(backup).collect::<Vec<_>>(),
        "newest": verified.newest.as_ref().map(newest),
    })
}

/// What is wrong with the newest backup's log, in words.
fn log_problems(newest: &Newest) -> Vec<String> {
    let damage = &newest.damage;
    let rot = damage.rot.iter().chain(&damage.torn);
    let mut problems: Vec<String> = newest.refused.iter().cloned().collect();
    problems.extend(rot.map(|rot| format!("{} is damaged at {}: {}", rot.file, rot.offset, rot.what)));
    problems.extend(damage.bad_snapshots.iter().map(|bad| format!("{}: {}", bad.file, bad.what)));
    problems.extend(damage.missing_bodies.iter().map(|file| format!("{file} is missing")));
    if damage.orphans > 0 {
        problems.push(format!("{} mailboxes that are not there", count(damage.orphans, "record of")));
    }
    problems
}

fn verdict(dir: &Path, verified: &Verified, took: Duration) -> String {
    let mut page = format!(
        "{}: {}, {} read in {}.\n\n",
        dir.display(),
        count(verified.files, "file"),
        octets(verified.octets),
        duration(took.as_secs())
    );
    let rows = verified.backups.iter().map(|checked| {
        let state = if checked.problems.is_empty() { "whole" } else { "DAMAGED" };
        let (when, files, size) = match &checked.manifest {
            Some(manifest) => (taken(manifest), number(manifest.files()), octets(manifest.octets())),
            None => (checked.file.clone(), String::new(), String::new()),
        };
        vec![when, files, size, state.into()]
    });
    if verified.backups.is_empty() {
        page.push_str("There is no whole backup here.\n");
    } else {
        page.push_str(&print::table(&["taken", ">files", ">size", "state"], rows));
    }
    let problems: Vec<&String> = verified.backups.iter().flat_map(|checked| &checked.problems).collect();
    let mut told: Vec<String> = Vec::new();
    for problem in problems {
        if !told.contains(problem) {
            told.push(problem.clone());
        }
    }
    if let Some(newest) = &verified.newest {
        told.extend(log_problems(newest));
        let messages = count(newest.messages, "message");
        page.push_str(&match newest.damaged {
            0 => format!("\nThe newest one holds {messages}; each was read, and is whole.\n"),
            damaged => format!("\nThe newest one holds {messages}; {} CANNOT BE READ.\n", number(damaged)),
        });
        told.extend(newest.which.iter().cloned());
    }
    if !told.is_empty() {
        page.push_str("\nWRONG:\n");
        told.iter().take(SHOWN).for_each(|problem| page.push_str(&format!("  {problem}\n")));
        if told.len() > SHOWN {
            page.push_str(&format!(
                "  and {} more; --json lists them\n",
                number((told.len() - SHOWN) as u64)
            ));
        }
        page.push_str(&remedy(dir, verified));
    }
    page
}

/// What can still be restored, and what mends the rest.
fn remedy(dir: &Path, verified: &Verified) -> String {
    let whole = verified.backups.iter().find(|checked| checked.problems.is_empty());
    let dir = dir.display();
    let still = match (whole, &verified.newest) {
        (Some(Checked { manifest: Some(manifest), file, .. }), _) => format!(
            "The backup of {} can be restored whole: `penfold restore {dir} --at {file}`.",
            taken(manifest)
        ),
        (_, Some(newest)) if newest.refused.is_none() && newest.messages > newest.damaged => format!(
            "No backup can be restored whole. {} of the newest can be: `penfold restore {dir} --account ADDRESS`.",
            count(newest.messages - newest.damaged, "message")
        ),
        _ => "Nothing here can be restored.".into(),
    };
    format!(
        "\n{still}\nLook at the disk. As long as the server's data is well, a fresh directory for backups mends this.\n"
    )
}
