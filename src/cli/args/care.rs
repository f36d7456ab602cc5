//! What may be typed after `penfold verify`, `penfold salvage` and `penfold clock`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Output;

/// Options of `verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// The data directory, or a copy of one [default: that of the configuration]
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Make anew what is made from the log: the index, digests, and a snapshot if one is bad; nothing else
    #[arg(long)]
    pub repair: bool,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

pub(super) const VERIFY_LONG: &str = "\
Read everything in the data directory: every checksum of the log, every message, the snapshots, and the index against \
the log. Says what is wrong, which messages it concerns, and what mends it.

Nothing is changed. It can be done while the server runs; then only the index is left out, which a stopped server's \
`verify` compares too.";

pub(super) const VERIFY_AFTER: &str = "\
Exit codes: 0 everything is sound, 1 something is wrong, 5 the directory is out of reach.

Examples:
  penfold verify
  penfold verify /mnt/copy-of-data
  penfold verify --repair              (with the server stopped)
  penfold verify --json | jq .problems";

/// How what is salvaged is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SalvageFormat {
    /// Maildir++: a file for each message, octet for octet
    #[default]
    Maildir,
    /// A file for each mailbox
    Mbox,
}

/// Options of `salvage`.
#[derive(Clone, Debug, Args)]
pub struct SalvageArgs {
    /// The ruined data directory, or a copy of it
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Where to put it: a directory that is not there yet, or empty; best on another disk
    #[arg(long, value_name = "OUT")]
    pub to: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: SalvageFormat,
    /// Make a new store of it in OUT, with accounts, passwords, DKIM keys and the queue, instead of files
    #[arg(long, conflicts_with = "format")]
    pub rebuild: bool,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

pub(super) const SALVAGE_LONG: &str = "\
Take every message that can be read out of a data directory that does not open any more, whatever has happened to it: \
files missing, snapshots ruined, sectors that the disk does not give. DIR is not changed.

A restored backup is better, if there is one. Messages that were expunged, or of which nobody knows where they were, go \
to the folder Recovered; those of which some octets are damaged to Damaged. What waited to be sent to other hosts is in \
`Waiting to be sent`, with a text that says from whom and to whom; with --rebuild it is in the new store's queue, held. \
OUT/REPORT.txt says what was lost and why.";

pub(super) const SALVAGE_AFTER: &str = "\
Examples:
  penfold salvage /var/lib/penfold --to /mnt/out
  penfold salvage /var/lib/penfold --to /mnt/out --format mbox
  penfold salvage /var/lib/penfold --to /var/lib/penfold.new --rebuild";

/// `penfold clock ...`
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ClockCommand {
    /// The clock is right: go on giving up what is old enough
    #[command(after_help = "Example:\n  penfold clock accept")]
    Accept(Output),
}

pub(super) const CLOCK_AFTER: &str = "\
When the clock jumps by more than an hour (by 30 days while the server was stopped), nothing is given up for its age \
for a day, since it may be wrong. `penfold status` says so.

Example:
  penfold clock accept";
