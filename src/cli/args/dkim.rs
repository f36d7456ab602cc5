//! `penfold dkim ...`: its definitions and help.

use clap::Subcommand;

use super::Output;

/// `penfold dkim ...`
#[derive(Clone, Debug, Subcommand)]
pub enum DkimCommand {
    /// Show the DNS records to publish, and which keys sign
    #[command(after_help = "\
With --json, one line: a list of {domain, selector, algorithm, state, since, until, name, value, \
strings}, where state is waiting, active or retiring.

Examples:
  penfold dkim show
  penfold dkim show example.org
  penfold dkim show example.org --json | jq -r '.[] | .name, .value'")]
    Show {
        /// The domain [default: all of them]
        domain: Option<String>,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Put new keys in the place of those that sign
    #[command(after_help = "\
First new keys are made, and their records shown for you to publish; the old ones go on signing. When the records are \
published, --activate (or your answer on the terminal) lets the new keys sign. The old records must stay for 7 more \
days, for mail that is under way; then the old keys are forgotten.

Examples:
  penfold dkim rotate example.org
  dig +short TXT 20261128-rsa._domainkey.example.org     (is it published?)
  penfold dkim rotate example.org --activate")]
    Rotate {
        /// The domain
        domain: String,
        /// The new records are published: sign with the new keys from now on
        #[arg(long)]
        activate: bool,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}

pub(super) const DKIM_AFTER: &str = "\
Each domain has two keys, since not every server knows both kinds: RSA with 2,048 bits, and Ed25519. Mail is signed with \
both from the start; it counts elsewhere once their records are published.

Examples:
  penfold dkim show example.org
  penfold dkim rotate example.org";
