//! What may be typed: the commands, their options, and the help that teaches them.
//!
//! Only definitions stand here; what a command does is in the neighbours. No option takes a password: a command
//! line can be read by everyone on the host (`ps`) and stays in the shell's history.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod backup;
mod dkim;
mod queue;
mod undelete;

pub use backup::*;
use backup::{BACKUP_AFTER, BACKUP_LONG, RESTORE_AFTER, RESTORE_LONG};
use dkim::DKIM_AFTER;
pub use dkim::DkimCommand;
use queue::{QUEUE_AFTER, TRACE_AFTER};
pub use queue::{QueueChangeArgs, QueueCommand, QueueFilter, TraceArgs};
use undelete::UNDELETE_AFTER;
pub use undelete::{UndeleteCommand, Which};

const TEMPLATE: &str = "\
{before-help}{about-with-newline}
{usage-heading} {usage}

To try it:
  demo      A whole mail server on loopback with two accounts, gone when it ends

To run it:
  serve     Run the server
  status    What listens, who is connected, how the store and the certificate are
  config    Check the configuration file, or print one that explains itself

Who has mail here:
  domain    Domains whose mail this server takes
  account   People with a mailbox and a password
  alias     Further addresses that lead to accounts
  queue     Mail on its way to other hosts
  trace     What became of mail to other hosts, within the last 30 days
  dkim      Keys that sign your domains' mail: what to publish of them, and new ones
  undelete  Deleted mail: what there still is of it, and bringing it back

Moving mail:
  import    Bring in mail: from files, archives, Google Takeout, another IMAP server
  export    Write mail into files that other programs read

To keep it safe:
  backup    Copy everything into a directory while mail goes on, and say whether it is whole
  restore   Bring back what was copied: everything, or some mail of one account

When something is wrong:
  verify    Read everything in the data directory and say what is not as it was written
  salvage   Take what can be read out of a ruined data directory
  clock     Say that the clock is right although it jumped

About this program:
  version   What is installed
  help      This page, or the page of a command

Options:
{options}{after-help}
";

const AFTER: &str = "\
From nothing to a mailbox:
  penfold domain add example.org
  penfold account add anna@example.org     (prints a password, once)
  penfold serve

Commands that change something speak to the running server. When none runs they work on the data directory \
itself, so they may be used before the first start.

Exit codes:
  0  done            4  already there
  1  failed          5  server or data directory out of reach or in use
  2  wrong usage     6  the configuration is wrong
  3  not found      75  (serve) start again: the index is to be rebuilt

`penfold COMMAND --help` has examples for each.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "penfold",
    version,
    about = "Penfold, a personal mail server: it takes mail for your domains and gives it to your mail programs.",
    help_template = TEMPLATE,
    after_help = AFTER,
    arg_required_else_help = true,
    subcommand_required = true,
    max_term_width = 110
)]
pub struct Cli {
    /// The configuration file [default: /etc/penfold/config.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    #[command(long_about = SERVE_LONG, after_help = SERVE_AFTER)]
    Serve,
    /// A whole mail server on loopback with two accounts, gone when it ends
    #[command(long_about = DEMO_LONG, after_help = DEMO_AFTER)]
    Demo(DemoArgs),
    /// What listens, who is connected, how the store and the certificate are
    #[command(after_help = STATUS_AFTER)]
    Status(Output),
    /// Check the configuration file, or print one that explains itself
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Domains whose mail this server takes
    #[command(subcommand, after_help = DOMAIN_AFTER)]
    Domain(DomainCommand),
    /// People with a mailbox and a password
    #[command(subcommand, after_help = ACCOUNT_AFTER)]
    Account(AccountCommand),
    /// Further addresses that lead to accounts
    #[command(subcommand, after_help = ALIAS_AFTER)]
    Alias(AliasCommand),
    /// Read everything in the data directory and say what is not as it was written
    #[command(long_about = VERIFY_LONG, after_help = VERIFY_AFTER)]
    Verify(VerifyArgs),
    /// Take what can be read out of a ruined data directory
    #[command(long_about = SALVAGE_LONG, after_help = SALVAGE_AFTER)]
    Salvage(SalvageArgs),
    /// Say that the clock is right although it jumped
    #[command(subcommand, after_help = CLOCK_AFTER)]
    Clock(ClockCommand),
    /// Keys that sign your domains' mail: what to publish of them, and new ones
    #[command(subcommand, after_help = DKIM_AFTER)]
    Dkim(DkimCommand),
    /// Mail on its way to other hosts
    #[command(subcommand, after_help = QUEUE_AFTER)]
    Queue(QueueCommand),
    /// What became of mail to other hosts, within the last 30 days
    #[command(after_help = TRACE_AFTER)]
    Trace(TraceArgs),
    /// Deleted mail: what there still is of it, and bringing it back
    #[command(subcommand, after_help = UNDELETE_AFTER)]
    Undelete(UndeleteCommand),
    /// Bring in mail: from files, archives, Google Takeout, another IMAP server
    #[command(long_about = IMPORT_LONG, after_help = IMPORT_AFTER)]
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Import(ImportArgs),
    /// Write mail into files that other programs read
    #[command(long_about = EXPORT_LONG, after_help = EXPORT_AFTER)]
    Export(ExportArgs),
    /// Copy everything into a directory while mail goes on, and say whether it is whole
    #[command(long_about = BACKUP_LONG, after_help = BACKUP_AFTER)]
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Backup(BackupArgs),
    /// Bring back what was copied: everything, or some mail of one account
    #[command(long_about = RESTORE_LONG, after_help = RESTORE_AFTER)]
    Restore(RestoreArgs),
    /// What is installed
    Version(Output),
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Output {
    /// Print one line of JSON for scripts; errors too, on standard error
    #[arg(long)]
    pub json: bool,
}

/// How sure the caller is.
#[derive(Clone, Copy, Debug, Args)]
pub struct Sure {
    /// Do not ask for the name to be typed again
    #[arg(long)]
    pub yes: bool,
}

const SERVE_LONG: &str = "\
Run the server in the foreground until it is told to stop.

It listens for mail from the world (SMTP, port 25), from your own mail programs (submission, 465 and 587), and \
lets them read it (IMAP 993 and 143, POP3 995 and 110). On an empty machine it says step by step what is missing, \
and runs meanwhile.";

const SERVE_AFTER: &str = "\
Signals:
  SIGTERM, SIGINT  finish what is under way (up to 30 seconds), close the store,
                   end; a second one does not wait for connections
  SIGHUP           read the certificate again

Examples:
  penfold serve
  penfold serve --config ./config.toml
  systemctl enable --now penfold       (with systemd/penfold.service)";

/// Options of `demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Added to each standard port (25 becomes 1025); 0 lets the system choose free ports
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(0..=64_000))]
    pub port_base: u16,
    /// Keep the data in DIR [default: a fresh directory that goes at the end]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

const DEMO_LONG: &str = "\
Start a whole mail server that only this computer can reach, with the accounts alice@demo.test and bob@demo.test, \
a welcome message for each, and their passwords printed. Nothing is sent anywhere; when you stop it (Ctrl-C), its \
data goes unless you named a directory.

Unlike a real server it lets programs log in without TLS, because nothing leaves this computer.";

const DEMO_AFTER: &str = "\
With --json the settings come as one line once everything listens:
  {\"host\":\"127.0.0.1\",\"ports\":{\"smtp\":1025,...},
   \"accounts\":[{\"address\":...,\"password\":...},...],
   \"certificate\":FILE,\"data\":DIR,\"pid\":N}

Examples:
  penfold demo
  penfold demo --port-base 20000
  penfold demo --port-base 0 --json
  penfold demo --dir ./demo-data    (mail stays; new passwords at each start)";

const STATUS_AFTER: &str = "\
When no server runs, what the data directory holds is shown, and the exit code is 5. It is 1 when a server runs and \
something is wrong with its disk or its store.

Examples:
  penfold status
  penfold status --json | jq .server.certificate.expires";

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

const VERIFY_LONG: &str = "\
Read everything in the data directory: every checksum of the log, every message, the snapshots, and the index against \
the log. Says what is wrong, which messages it concerns, and what mends it.

Nothing is changed. It can be done while the server runs; then only the index is left out, which a stopped server's \
`verify` compares too.";

const VERIFY_AFTER: &str = "\
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
    /// Make a new store of it in OUT, with accounts and passwords, instead of files
    #[arg(long, conflicts_with = "format")]
    pub rebuild: bool,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

const SALVAGE_LONG: &str = "\
Take every message that can be read out of a data directory that does not open any more, whatever has happened to it: \
files missing, snapshots ruined, sectors that the disk does not give. DIR is not changed.

A restored backup is better, if there is one. Messages that were expunged, or of which nobody knows where they were, go \
to the folder Recovered; those of which some octets are damaged to Damaged. OUT/REPORT.txt says what was lost and why.";

const SALVAGE_AFTER: &str = "\
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

const CLOCK_AFTER: &str = "\
When the clock jumps by more than an hour (by 30 days while the server was stopped), nothing is given up for its age \
for a day, since it may be wrong. `penfold status` says so.

Example:
  penfold clock accept";

/// `penfold config ...`
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the configuration and say what is wrong with it, without starting anything
    #[command(
        after_help = "Examples:\n  penfold config check\n  penfold config check --config ./config.toml"
    )]
    Check(Output),
    /// Print a configuration file with every setting, its default and what it is for
    #[command(after_help = "Example:\n  penfold config example > /etc/penfold/config.toml")]
    Example,
}

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

const DOMAIN_AFTER: &str = "\
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

const ACCOUNT_AFTER: &str = "\
Passwords are generated and shown once, or typed (--prompt), or read from standard input (--password-stdin).

Examples:
  penfold account add anna@example.org
  penfold account list
  penfold account password anna@example.org --prompt
  penfold account address add anna@example.org a.smith@example.org
  penfold account quota anna@example.org --storage 5G
  penfold account remove anna@example.org";

/// `penfold alias ...`
#[derive(Clone, Debug, Subcommand)]
pub enum AliasCommand {
    /// Let an address lead to one or more addresses of this server
    #[command(after_help = "\
Who gets all mail of an alias may also send in its name; one that leads to several people is nobody's to send from.

Examples:
  penfold alias add info@example.org anna@example.org
  penfold alias add family@example.org anna@example.org ben@example.org")]
    Add {
        /// The new address
        address: String,
        /// Where its mail goes: addresses of this server
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

const ALIAS_AFTER: &str = "\
Examples:
  penfold alias add info@example.org anna@example.org
  penfold alias list
  penfold alias remove info@example.org";

const IMPORT_LONG: &str = "\
Bring in mail from files or from another server, into the mailboxes of one account.

PATH is a mbox file, a Maildir, a .eml file, a directory of these, or a zip or tar archive of them (.tar.gz too), as \
Google Takeout, Thunderbird, mutt, Dovecot and others leave them. `penfold import imap` copies from another server.

Flags, keywords and dates come along; folders become mailboxes, made and subscribed where they are missing. A message \
that its mailbox has already, octet for octet, is not taken twice: an import that was interrupted is simply started \
again. The server may run or not. This command reads the files, with your rights, not the server's.";

const IMPORT_AFTER: &str = "\
What cannot be taken (larger than any message may be, damaged, no mail at all) is told at the end with its reason; \
everything else comes over. The exit code is 0 only if everything did.

Examples:
  penfold import ~/Maildir --account anna@example.org
  penfold import takeout-20261124.zip --account anna@example.org
  penfold import ~/.thunderbird/x.default/Mail/'Local Folders' --account anna@example.org
  penfold import old.mbox --account anna@example.org --into Old/2019
  penfold import old.mbox --account anna@example.org --dry-run
  penfold import imap --host imap.example.net --user anna --prompt --account anna@example.org";

/// Options of `import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// From where, if not from files.
    #[command(subcommand)]
    pub from: Option<ImportFrom>,
    /// A file, a directory or an archive
    #[arg(required = true, value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// The account that gets the mail: one of its addresses
    #[arg(long, required = true, value_name = "ADDRESS")]
    pub account: Option<String>,
    /// What the files are
    #[arg(long, value_enum, default_value_t = FileFormat::Auto)]
    pub format: FileFormat,
    /// Where it goes, and how that is told.
    #[command(flatten)]
    pub into: ImportInto,
}

/// What all imports have.
#[derive(Clone, Debug, Args)]
pub struct ImportInto {
    /// Put everything into this mailbox, or below it
    #[arg(long, value_name = "MAILBOX")]
    pub into: Option<String>,
    /// Say what would happen, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// What files may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FileFormat {
    /// What they show themselves to be
    Auto,
    /// All messages of a mailbox in one file
    Mbox,
    /// A file a message, in directories `cur` and `new`
    Maildir,
    /// A file a message, whatever its name
    Eml,
    /// A mbox from Google Takeout, whose messages name their labels
    Takeout,
}

/// `penfold import ...`
#[derive(Clone, Debug, Subcommand)]
pub enum ImportFrom {
    /// Copy the mail of an account on another IMAP server
    #[command(long_about = IMPORT_IMAP_LONG, after_help = IMPORT_IMAP_AFTER)]
    Imap(ImportImapArgs),
}

const IMPORT_IMAP_LONG: &str = "\
Copy the mail of an account on another IMAP server: mailboxes, flags, keywords and dates.

Mailboxes with a special use (sent mail, drafts, junk, trash, archive) go into the ones that have it here, whatever \
they are called there. Nothing is changed on the other server. Run it again as often as you like: only what is new \
is fetched, so a first run may go on for days while mail still arrives there, and a last one finishes the move.";

const IMPORT_IMAP_AFTER: &str = "\
The connection is encrypted: --tls (port 993) unless you say --starttls (port 143). Gmail, iCloud, Yahoo and others \
want an app password made in their settings, not the one you log in with.

Examples:
  penfold import imap --host imap.example.net --user anna --prompt --account anna@example.org
  pass old/anna | penfold import imap --host mail.old.example --user anna --password-stdin \\
      --account anna@example.org --connections 2
  penfold import imap --host imap.gmail.com --user anna@gmail.com --prompt --account anna@example.org --into Gmail";

/// Options of `import imap`.
#[derive(Clone, Debug, Args)]
pub struct ImportImapArgs {
    /// The other server's name
    #[arg(long, value_name = "NAME")]
    pub host: String,
    /// Its port [default: 993, or 143 with --starttls]
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// Who logs in there
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// Where the password comes from.
    #[command(flatten)]
    pub password: TheirPassword,
    /// How the connection is kept private.
    #[command(flatten)]
    pub security: TheirSecurity,
    /// Trust the certificates in this file (PEM) beside those that this host trusts
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
    /// How many connections to open; some servers allow few
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub connections: u8,
    /// The account that gets the mail: one of its addresses
    #[arg(long, value_name = "ADDRESS")]
    pub account: String,
    /// Where it goes, and how that is told.
    #[command(flatten)]
    pub into: ImportInto,
}

/// Where the password of an account elsewhere comes from. Never from the command line itself.
#[derive(Clone, Copy, Debug, Default, Args)]
#[group(required = true, multiple = false)]
pub struct TheirPassword {
    /// Ask for the password
    #[arg(long)]
    pub prompt: bool,
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub password_stdin: bool,
}

/// How a connection to another server is kept private.
#[derive(Clone, Copy, Debug, Default, Args)]
#[group(multiple = false)]
pub struct TheirSecurity {
    /// TLS from the start: the default
    #[arg(long)]
    pub tls: bool,
    /// TLS after the greeting, for servers that have no port 993
    #[arg(long)]
    pub starttls: bool,
    /// No TLS, and only to a server on this very host
    #[arg(long)]
    pub insecure_on_loopback: bool,
}

const EXPORT_LONG: &str = "\
Write the mail of one account, or of all, into files of an empty directory.

mbox: a file a mailbox, in directories as the mailboxes are; flags in Status, X-Status and X-Keywords fields, dates in \
the From_ lines. maildir: Maildir++, a file a message; flags in the names, dates in the files' times, keywords in \
dovecot-keywords. Everything is synced before the command ends. `penfold import` reads it back as it was.

The files are written with your rights, and for your eyes only. The server may run or not.";

const EXPORT_AFTER: &str = "\
The file penfold-export.json is written last: where it is, the export is whole.

Examples:
  penfold export ./anna --account anna@example.org
  penfold export ./anna --account anna@example.org --format maildir
  penfold export /media/usb/mail --all";

/// Options of `export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// The directory to write into; made if it is not there
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Whose mail.
    #[command(flatten)]
    pub whose: Whose,
    /// What to write
    #[arg(long, value_enum, default_value_t = ExportFormat::Mbox)]
    pub format: ExportFormat,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Whose mail is exported.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// One account: one of its addresses
    #[arg(long, value_name = "ADDRESS")]
    pub account: Option<String>,
    /// Every account, each in a directory of its own
    #[arg(long)]
    pub all: bool,
}

/// What an export writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// A file a mailbox
    Mbox,
    /// A file a message (Maildir++)
    Maildir,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_front_page_names_every_command() {
        let mut command = Cli::command();
        command.build();
        let page = command.render_long_help().to_string();
        for sub in command.get_subcommands() {
            let line = format!("\n  {} ", sub.get_name());
            assert!(page.contains(&line), "{} is missing from the front page:\n{page}", sub.get_name());
        }
    }

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

    #[test]
    fn no_option_takes_a_password() {
        fn check(command: &clap::Command) {
            for arg in command.get_arguments() {
                if arg.get_id().as_str().contains("password") {
                    assert!(!arg.get_action().takes_values(), "{} of {}", arg.get_id(), command.get_name());
                }
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn every_leaf_command_explains_itself() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
