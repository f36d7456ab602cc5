//! `penfold undelete`: which deleted mail is meant, and what may be done with it.

use clap::{Args, Subcommand};

use super::Output;

/// Which deleted mail is meant: what fits everything that is said.
#[derive(Clone, Debug, Default, Args)]
pub struct Which {
    /// Only this account's mail (#3: of the removed account with this number)
    #[arg(long, value_name = "ADDRESS")]
    pub account: Option<String>,
    /// Only what was deleted from this mailbox, by the name that it had
    #[arg(long, value_name = "MAILBOX")]
    pub mailbox: Option<String>,
    /// Only what was deleted then or later: 2026-11-28, 2026-11-28T10:00, or so long ago: 3d, 2h
    #[arg(long, value_name = "T")]
    pub since: Option<String>,
    /// Only what was deleted before then
    #[arg(long, value_name = "T")]
    pub until: Option<String>,
    /// Only mail whose sender (name or address) has this in it
    #[arg(long, value_name = "TEXT")]
    pub from: Option<String>,
    /// Only mail whose subject has this in it
    #[arg(long, value_name = "TEXT")]
    pub subject: Option<String>,
    /// Only what was deleted with its whole mailbox
    #[arg(long)]
    pub whole: bool,
    /// Also what was moved or copied, and still exists elsewhere in the account
    #[arg(long)]
    pub all: bool,
}

/// `penfold undelete ...`
#[derive(Clone, Debug, Subcommand)]
pub enum UndeleteCommand {
    /// Show what can be brought back, what was deleted last first
    #[command(after_help = "\
Times are in this host's zone. A mailbox that was deleted with everything in it is one line, unless messages are \
looked for by sender or subject.

Examples:
  penfold undelete list --account anna@example.org --since 2h
  penfold undelete list --mailbox Lists --from newsletter --json")]
    List {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Bring deleted mail back to where it was, with its flags and its date
    #[command(after_help = "\
Mail comes back to its mailbox, whatever its name is now; a mailbox that is gone is made again. What is named by \
an id is brought back although it may exist elsewhere.

Examples:
  penfold undelete restore 4711.12.340 4711.12.341
  penfold undelete restore --account anna@example.org --mailbox Lists --whole
  penfold undelete restore --account anna@example.org --since 2h --to INBOX --yes
  penfold undelete restore --account '#3' --to-account anna@example.org")]
    Restore {
        /// What `undelete list` shows in its first column
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Put it into this mailbox instead
        #[arg(long, value_name = "MAILBOX")]
        to: Option<String>,
        /// Put it into this account instead, into mailboxes of the same names
        #[arg(long, value_name = "ADDRESS")]
        to_account: Option<String>,
        /// Do not ask whether it is meant
        #[arg(long)]
        yes: bool,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}

pub(super) const UNDELETE_AFTER: &str = "\
Deleted mail is kept for `undelete_days` days (14, unless the configuration says otherwise).

Examples:
  penfold undelete list --account anna@example.org --since 3d
  penfold undelete restore --account anna@example.org --mailbox Lists --whole";
