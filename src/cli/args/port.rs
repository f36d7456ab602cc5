//! What may be typed after `penfold import` and `penfold export`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Output;

pub(super) const IMPORT_LONG: &str = "\
Bring in mail from files or from another server, into the mailboxes of one account.

PATH is a mbox file, a Maildir, a .eml file, a directory of these, or a zip or tar archive of them (.tar.gz too), as \
Google Takeout, Thunderbird, mutt, Dovecot and others leave them. `penfold import imap` copies from another server.

Flags, keywords and dates come along; folders become mailboxes, made and subscribed where they are missing. A message \
that its mailbox has already, octet for octet, is not taken twice: an import that was interrupted is simply started \
again. The server may run or not. This command reads the files, with your rights, not the server's.";

pub(super) const IMPORT_AFTER: &str = "\
What cannot be taken (larger than any message may be, damaged, no mail at all) is told at the end with its reason; \
everything else comes over. The exit code is 0 only if everything did.

The names of an archive's files are held in memory while it is read: 200,000 files took 90 MB from a zip, 60 MB from a \
tar; a million is the most.

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

pub(super) const EXPORT_LONG: &str = "\
Write the mail of one account, or of all, into files of an empty directory.

mbox: a file a mailbox, in directories as the mailboxes are; flags in Status, X-Status and X-Keywords fields, dates in \
the From_ lines. maildir: Maildir++, a file a message; flags in the names, dates in the files' times, keywords in \
dovecot-keywords. Everything is synced before the command ends. `penfold import` reads it back as it was.

The files are written with your rights, and for your eyes only. The server may run or not.";

pub(super) const EXPORT_AFTER: &str = "\
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
