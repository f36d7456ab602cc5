//! What may be typed after `penfold domain`, `penfold account` and `penfold alias`.

use clap::{Args, Subcommand};

use super::{Output, Sure};

/// `penfold domain ...`
#[derive(Clone, Debug, Subcommand)]
pub enum DomainCommand {
    /// Take mail for a domain
    #[command(after_help = "Example:\n  penfold domain add example.org")]
    Add {
        /// The domain, as it stands behind the @
        name: String,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Show the domains
    List(Output),
    /// Stop taking mail for a domain (it must have no accounts and no aliases left)
    #[command(
        after_help = "Examples:\n  penfold domain remove example.org\n  penfold domain remove example.org --yes"
    )]
    Remove {
        /// The domain
        name: String,
        /// How sure.
        #[command(flatten)]
        sure: Sure,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}

pub(super) const DOMAIN_AFTER: &str = "\
Examples:
  penfold domain add example.org
  penfold domain list
  penfold domain remove example.org";

/// Where a password comes from. Never from the command line itself.
#[derive(Clone, Copy, Debug, Default, Args)]
#[group(multiple = false)]
pub struct PasswordFrom {
    /// Ask for the password, instead of making one and showing it once
    #[arg(long)]
    pub prompt: bool,
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub password_stdin: bool,
}

/// `penfold account ...`
#[derive(Clone, Debug, Subcommand)]
pub enum AccountCommand {
    /// Make an account, with its mailboxes; prints a generated password unless you give one
    #[command(after_help = "\
Examples:
  penfold account add anna@example.org
  penfold account add anna@example.org --prompt
  pass mail/anna | penfold account add anna@example.org --password-stdin")]
    Add {
        /// The address, which is also the login name
        address: String,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordFrom,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Show the accounts, with their mail
    List(Output),
    /// Give an account a new password; its open sessions end
    #[command(after_help = "\
Examples:
  penfold account password anna@example.org
  penfold account password anna@example.org --prompt")]
    Password {
        /// The account's address
        address: String,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordFrom,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Show or limit what an account may hold
    #[command(after_help = "\
Over its limit an account gets no new mail: other servers are told to try again later, and its own programs cannot \
store or copy messages. What it holds already stays. Sizes are in powers of 1,000 (k, M, G, T), or of 1,024 (Ki, Mi, \
Gi, Ti).

Examples:
  penfold account quota anna@example.org
  penfold account quota anna@example.org --storage 5G --messages 100000
  penfold account quota anna@example.org --none")]
    Quota {
        /// The account's address
        address: String,
        /// At most so many octets: 500M, 5G, 1.5G, 2Gi
        #[arg(long, value_name = "SIZE", value_parser = size)]
        storage: Option<u64>,
        /// At most so many messages
        #[arg(long, value_name = "N")]
        messages: Option<u64>,
        /// No limits at all
        #[arg(long, conflicts_with_all = ["storage", "messages"])]
        none: bool,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Show or limit what an account may send to other hosts in a day
    #[command(after_help = "\
Above its limit an account's messages to other hosts are refused until its day is over, and the postmaster gets a mail about \
it. A day begins with its first message to another host, and lasts 24 hours. A new recipient is an address elsewhere that \
the account has not written to within a year. 0 allows none.

Examples:
  penfold account limit anna@example.org
  penfold account limit anna@example.org --messages-a-day 5000 --new-recipients-a-day 2000
  penfold account limit anna@example.org --default")]
    Limit {
        /// The account's address
        address: String,
        /// At most so many messages
        #[arg(long, value_name = "N")]
        messages_a_day: Option<u64>,
        /// At most so many new recipients
        #[arg(long, value_name = "N")]
        new_recipients_a_day: Option<u64>,
        /// As the configuration has it for all accounts
        #[arg(long, conflicts_with_all = ["messages_a_day", "new_recipients_a_day"])]
        default: bool,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Remove an account and all its mail; its open sessions end
    #[command(after_help = "\
Examples:
  penfold account remove anna@example.org
  penfold account remove anna@example.org --yes")]
    Remove {
        /// The account's address
        address: String,
        /// How sure.
        #[command(flatten)]
        sure: Sure,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Give an account further addresses of its own, or take them away
    #[command(subcommand, after_help = ADDRESS_AFTER)]
    Address(AddressCommand),
}

/// `penfold account address ...`
#[derive(Clone, Debug, Subcommand)]
pub enum AddressCommand {
    /// Give an account one more address: it gets the mail for it, and may send and log in with it
    #[command(after_help = "Example:\n  penfold account address add anna@example.org a.smith@example.org")]
    Add {
        /// The account's address
        account: String,
        /// The new address, in a domain of this server
        address: String,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Take an address from an account; no mail is lost with it
    #[command(after_help = "Example:\n  penfold account address remove anna@example.org a.smith@example.org")]
    Remove {
        /// The account's address
        account: String,
        /// The address that goes; not the one that the account logs in with
        address: String,
        /// How sure.
        #[command(flatten)]
        sure: Sure,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}

const ADDRESS_AFTER: &str = "\
An address belongs to one account. To let an address lead to several, make an alias (`penfold alias add`).

Examples:
  penfold account address add anna@example.org a.smith@example.org
  penfold account address remove anna@example.org a.smith@example.org
  penfold account list                                                 (shows them)";

/// Octets as people write them.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("", 1),
        ("K", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("KI", 1 << 10),
        ("MI", 1 << 20),
        ("GI", 1 << 30),
        ("TI", 1 << 40),
    ];
    let read = || -> Option<u64> {
        let upper = text.trim().to_ascii_uppercase();
        let end = upper.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(upper.len());
        let (number, unit) = upper.split_at_checked(end)?;
        let unit = unit.trim().trim_end_matches('B');
        let (_, unit) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        // Thousandths are enough, and whole numbers do not round.
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let part: u64 = format!("{part:0<3}").get(..3)?.parse().ok()?;
        let whole: u64 = whole.parse().ok()?;
        whole.checked_mul(unit)?.checked_add(unit.checked_mul(part)? / 1_000)
    };
    read().ok_or_else(|| "write it as 500M, 5G or 2Gi".to_owned())
}

pub(super) const ACCOUNT_AFTER: &str = "\
Passwords are generated and shown once, or typed (--prompt), or read from standard input (--password-stdin).

Examples:
  penfold account add anna@example.org
  penfold account list
  penfold account password anna@example.org --prompt
  penfold account address add anna@example.org a.smith@example.org
  penfold account quota anna@example.org --storage 5G
  penfold account limit anna@example.org --messages-a-day 5000
  penfold account remove anna@example.org";

/// `penfold alias ...`
#[derive(Clone, Debug, Subcommand)]
pub enum AliasCommand {
    /// Let an address lead to one or more others, here or elsewhere
    #[command(after_help = "\
Who gets all mail of an alias may also send in its name; one that leads to several people is nobody's to send from.

Examples:
  penfold alias add info@example.org anna@example.org
  penfold alias add family@example.org anna@example.org ben@example.org")]
    Add {
        /// The new address
        address: String,
        /// Where its mail goes
        #[arg(required = true)]
        to: Vec<String>,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Show the aliases
    List(Output),
    /// Remove an alias; no mail is lost with it
    #[command(after_help = "Example:\n  penfold alias remove info@example.org")]
    Remove {
        /// The alias's address
        address: String,
        /// How sure.
        #[command(flatten)]
        sure: Sure,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}

pub(super) const ALIAS_AFTER: &str = "\
Examples:
  penfold alias add info@example.org anna@example.org
  penfold alias list
  penfold alias remove info@example.org";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, octets) in [
            ("0", 0),
            ("500", 500),
            ("5G", 5_000_000_000),
            ("1.5g", 1_500_000_000),
            ("1.2345k", 1_234),
            ("2 GiB", 2 << 30),
            ("10 MB", 10_000_000),
            ("20b", 20),
        ] {
            assert_eq!(size(text), Ok(octets), "{text}");
        }
        for bad in ["", "G", "-1", "5X", "1.2.3", "five", "99999999T", "1.ä"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
