//! What may be typed: the commands, their options, and the help that teaches them.
//!
//! Only definitions stand here; what a command does is in the neighbours. No option takes a password: a command
//! line can be read by everyone on the host (`ps`) and stays in the shell's history.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod backup;
mod care;
mod dkim;
mod people;
mod port;
mod undelete;

pub use backup::*;
use backup::{BACKUP_AFTER, BACKUP_LONG, RESTORE_AFTER, RESTORE_LONG};
pub use care::*;
use care::{CLOCK_AFTER, SALVAGE_AFTER, SALVAGE_LONG, VERIFY_AFTER, VERIFY_LONG};
use dkim::DKIM_AFTER;
pub use dkim::DkimCommand;
pub use people::*;
use people::{ACCOUNT_AFTER, ALIAS_AFTER, DOMAIN_AFTER};
pub use port::*;
use port::{EXPORT_AFTER, EXPORT_LONG, IMPORT_AFTER, IMPORT_LONG};
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
