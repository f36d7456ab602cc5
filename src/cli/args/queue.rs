//! `penfold queue ...` and `penfold trace`: their definitions and help.

use clap::{Args, Subcommand};

use super::Output;

/// Which of the queue is meant.
#[derive(Clone, Debug, Default, Args)]
pub struct QueueFilter {
    /// From this address, or one with this in it
    #[arg(long)]
    pub from: Option<String>,
    /// To this address, or one with this in it
    #[arg(long)]
    pub to: Option<String>,
    /// To this domain
    #[arg(long)]
    pub domain: Option<String>,
}

/// `penfold queue ...`
#[derive(Clone, Debug, Subcommand)]
pub enum QueueCommand {
    /// Show what waits, the oldest first
    #[command(after_help = "\
With --json, one line: {rows, after, recipients, trying}; a row is {id, from, message_id, subject, size, since, \
send_later, recipients}, and a recipient {to, next, held, tries, tried, host, why}. Times are seconds since 1970.

Examples:
  penfold queue list
  penfold queue list --domain example.com
  penfold queue list --held --json")]
    List {
        /// Which
        #[command(flatten)]
        filter: QueueFilter,
        /// Only what is held
        #[arg(long)]
        held: bool,
        /// How many messages to show
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        most: u32,
        /// Go on behind this message
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Show one message: where it goes, what happened so far, its header
    Show {
        /// As `penfold queue list` names it
        id: String,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Try some of it now
    Retry(QueueChangeArgs),
    /// Try all of it now
    Flush(Output),
    /// Do not try some of it until you release it
    Hold(QueueChangeArgs),
    /// Try now what was held
    Release(QueueChangeArgs),
    /// Take some of it out; nobody is told
    #[command(after_help = "\
What is being tried at the moment stays. Its sender gets no report; what happened is in `penfold trace`.

Examples:
  penfold queue drop 6b0b33ffcc36e-eb68a08ee7
  penfold queue drop --domain example.com --yes")]
    Drop {
        /// Which
        #[command(flatten)]
        which: QueueChangeArgs,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// What a change is done to.
#[derive(Clone, Debug, Args)]
pub struct QueueChangeArgs {
    /// Messages, as `penfold queue list` names them
    pub ids: Vec<String>,
    /// Which
    #[command(flatten)]
    pub filter: QueueFilter,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `penfold trace`
#[derive(Clone, Debug, Args)]
pub struct TraceArgs {
    /// A Message-ID, an address, or the name that the message got here (in its Received field and the server's reply)
    #[arg(value_name = "MESSAGE-ID|ADDRESS")]
    pub what: String,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

pub(super) const QUEUE_AFTER: &str = "\
Mail to other hosts waits here until they have taken it. What cannot be delivered at once is tried again after 1, 5, 15, \
30 minutes, 1, 2, 4, 8 hours and then every 8 hours, for 3 days ([outbound] in the configuration); its sender is told \
after 4 hours, and when it is given up.

Examples:
  penfold queue list
  penfold queue retry --domain example.com
  penfold queue flush";

pub(super) const TRACE_AFTER: &str = "\
What became of mail to other hosts is kept for 30 days. With --json, one line: {fates, more, waits}; a fate is {at, id, \
message_id, from, to, action, host, address, tls, what, since, tries}, its action delivered, failed, expired or dropped.

Examples:
  penfold trace bob@example.com
  penfold trace '<20261128.1234@example.org>'";
