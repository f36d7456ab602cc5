//! What may be typed for backups and their way back.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Output;

pub(super) const BACKUP_LONG: &str = "\
Copy everything that the server holds into a directory, as it is at one moment, while mail goes on.

The first backup copies all mail; each one after it only what is new. DIR holds several backups (--keep), which share \
the files that they have in common. Best is a directory on another disk. When an earlier run was interrupted, this one \
goes on where it stopped.

Where a server runs, the server makes the backup: its user must be able to write DIR. A backup is as secret as the \
mail in it: it holds everything, the keys in tls/ and the hashes of passwords too.";

pub(super) const BACKUP_AFTER: &str = "\
For a server under systemd, once:
  install -d -o penfold -g penfold -m 700 /srv/backup/penfold
  systemctl edit penfold        with   [Service]
                                       ReadWritePaths=/srv/backup/penfold
  systemctl restart penfold

Examples:
  penfold backup /srv/backup/penfold
  penfold backup /srv/backup/penfold --keep 30
  penfold backup verify /srv/backup/penfold
  penfold restore /srv/backup/penfold                  (into an empty data directory)
  penfold restore /srv/backup/penfold --account anna@example.org --mailbox Work";

/// Options of `backup`.
#[derive(Clone, Debug, Args)]
pub struct BackupArgs {
    /// Something else than making one.
    #[command(subcommand)]
    pub command: Option<BackupCommand>,
    /// The backup directory; made if it is not there
    #[arg(required = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// How many backups are kept: older ones go, with the files that only they need
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub keep: u32,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `penfold backup ...`
#[derive(Clone, Debug, Subcommand)]
pub enum BackupCommand {
    /// Read backups again, and say whether they are whole
    #[command(long_about = VERIFY_LONG, after_help = VERIFY_AFTER)]
    Verify(BackupVerifyArgs),
}

const VERIFY_LONG: &str = "\
Read every file of every backup in a directory, compare it with what was copied, then read every message of the newest.

Needs no server, no configuration and no data directory. The exit code is 0 only if nothing is wrong.";

const VERIFY_AFTER: &str = "\
Examples:
  penfold backup verify /srv/backup/penfold
  penfold backup verify /srv/backup/penfold --latest";

/// Options of `backup verify`.
#[derive(Clone, Debug, Args)]
pub struct BackupVerifyArgs {
    /// The backup directory
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Only the newest backup
    #[arg(long)]
    pub latest: bool,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

pub(super) const RESTORE_LONG: &str = "\
Bring back what `penfold backup` copied: everything, or some mail of one account.

Everything goes into an empty data directory, before the server is started: move an old one aside first. Each file is \
compared with its sum on the way. When it is interrupted, run it again. Mail programs will fetch all mail again \
afterwards, because what came after the backup is gone. Passwords are those of the backup's time.

With --account, mail goes back into that account's mailboxes, beside what is there; the server may run or not. A message \
that its mailbox has already, octet for octet, is not put there twice.";

pub(super) const RESTORE_AFTER: &str = "\
TIME is in UTC: 2026-11-24, 2026-11-24T10:15 or 2026-11-24T10:15:00Z; the newest backup of that time or before is taken. \
A manifest's name (MANIFEST-...) will do, too.

Examples:
  penfold restore /srv/backup/penfold
  penfold restore /srv/backup/penfold --with-config
  penfold restore /srv/backup/penfold --at 2026-11-24
  penfold restore /srv/backup/penfold --account anna@example.org
  penfold restore /srv/backup/penfold --account anna@example.org --mailbox Work --to Work/before
  penfold restore /srv/backup/penfold --account anna@example.org --message '<12@example.net>'";

/// Options of `restore`.
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    /// The backup directory
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Which backup: the newest, or the newest of a time
    #[arg(long, value_name = "TIME", default_value = "latest")]
    pub at: String,
    /// Put the backup's config.toml in its place, too; one that is there is kept as config.toml.old
    #[arg(long, conflicts_with = "account")]
    pub with_config: bool,
    /// Only mail of this account (one of its addresses), into the account of this address here
    #[arg(long, value_name = "ADDRESS")]
    pub account: Option<String>,
    /// Only this mailbox
    #[arg(long, value_name = "MAILBOX", requires = "account")]
    pub mailbox: Option<String>,
    /// Only the message with this Message-ID
    #[arg(long, value_name = "MESSAGE-ID", requires = "account")]
    pub message: Option<String>,
    /// Into this mailbox; a whole account goes below it [default: where it was]
    #[arg(long, value_name = "MAILBOX", requires = "account")]
    pub to: Option<String>,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}
