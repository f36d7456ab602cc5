//! The command line: what may be typed, who does it, and how the answer is shown.
//!
//! Errors are told here in words, with what to do next and an exit code that means something; nothing else in the
//! program prints to a terminal.

mod args;
mod ask;
mod backup;
mod care;
mod demo;
mod dkim;
mod owner;
mod people;
mod port;
mod print;
mod progress;
mod queue;
mod restore;
mod secret;
mod serve;
mod status;
mod undelete;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

pub use args::*;

use crate::admin::Kind;
use crate::config::{self, Config};
use crate::{clock, run, tls};
use ask::Asker;
use print::Failure;

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let as_json = cli.command.wants_json();
    perform(cli).unwrap_or_else(|failure| print::failure(&failure, as_json))
}

fn perform(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Version(output) => Ok(version(output)),
        Command::Config(ConfigCommand::Example) => {
            print::out(&config::example());
            Ok(ExitCode::SUCCESS)
        }
        Command::Demo(args) => demo::demo(&args),
        Command::Config(ConfigCommand::Check(output)) => check(cli.config.as_deref(), output),
        Command::Serve => {
            let (config, from) = settings(cli.config.as_deref())?;
            serve::serve(config, &from)
        }
        Command::Status(output) => status::status(&asker(cli.config.as_deref())?, output.json),
        Command::Verify(args) => care::verify(&settings(cli.config.as_deref())?.0, &args),
        Command::Salvage(args) => care::salvage(&args),
        Command::Clock(command) => care::clock(&asker(cli.config.as_deref())?, command),
        Command::Domain(command) => people::domain(&asker(cli.config.as_deref())?, command),
        Command::Account(command) => people::account(&asker(cli.config.as_deref())?, command),
        Command::Alias(command) => people::alias(&asker(cli.config.as_deref())?, command),
        Command::Dkim(command) => dkim::dkim(&asker(cli.config.as_deref())?, command),
        Command::Queue(command) => queue::queue(&asker(cli.config.as_deref())?, command),
        Command::Trace(args) => queue::trace(&asker(cli.config.as_deref())?, args),
        Command::Undelete(command) => undelete::undelete(&asker(cli.config.as_deref())?, command),
        Command::Import(args) => port::import(&asker(cli.config.as_deref())?, args),
        Command::Backup(BackupArgs { command: Some(BackupCommand::Verify(args)), .. }) => {
            backup::verify(&args)
        }
        Command::Backup(args) => {
            let (config, from) = settings(cli.config.as_deref())?;
            let file = match from {
                Source::File(file) => Some(file.into()),
                Source::Defaults => None,
            };
            backup::backup(&Asker::new(config), &args, file)
        }
        Command::Restore(args) => restore::restore(cli.config.as_deref(), &args),
        Command::Export(args) => port::export(&asker(cli.config.as_deref())?, &args),
    }
}

fn asker(path: Option<&Path>) -> Result<Asker, Failure> {
    settings(path).map(|(config, _)| Asker::new(config))
}

/// Where the settings came from.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    /// This file.
    File(String),
    /// There is no file in the usual place: every setting has its default.
    Defaults,
}

/// Reads the configuration. Only the file in the usual place may be missing.
fn settings(path: Option<&Path>) -> Result<(Config, Source), Failure> {
    let usual = Path::new(config::DEFAULT_PATH);
    let path = match path {
        None if !usual.exists() => return Ok((Config::default(), Source::Defaults)),
        path => path.unwrap_or(usual),
    };
    // Relative paths within are taken from its directory, which must therefore be known.
    let path = std::path::absolute(path).map_err(|why| {
        Failure::plain(Kind::Configuration, format!("the path {} cannot be made out: {why}", path.display()))
    })?;
    let config = Config::load(&path).map_err(Failure::from)?;
    Ok((config, Source::File(path.display().to_string())))
}

fn check(path: Option<&Path>, output: Output) -> Result<ExitCode, Failure> {
    let (config, from) = settings(path)?;
    if let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) {
        let source = tls::Source::Files { certificate: certificate.clone(), key: key.clone() };
        tls::Certificates::open(source, clock::wall().seconds).map_err(|error| {
            Failure::new(
                Kind::Configuration,
                error.to_string(),
                "mend the file, or name another in the configuration",
            )
        })?;
    }
    let file = match from {
        Source::File(file) => Some(file),
        Source::Defaults => None,
    };
    if output.json {
        print::json(&serde_json::json!({
            "file": file,
            "hostname": config.hostname(),
            "data_dir": config.data_dir,
            "control": config.control,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    let what = match &file {
        Some(file) => format!("{file} is in order."),
        None => format!("There is no {}: every setting has its default.", config::DEFAULT_PATH),
    };
    let listen = run::Protocol::ALL.iter().map(|protocol| {
        let addresses: Vec<String> = protocol.addresses(&config).iter().map(ToString::to_string).collect();
        let addresses = if addresses.is_empty() { "(off)".into() } else { addresses.join(", ") };
        vec![format!("listen.{protocol}"), addresses]
    });
    let rows = [
        vec!["hostname".into(), config.hostname()],
        vec!["data_dir".into(), config.data_dir.display().to_string()],
        vec!["control".into(), config.control.display().to_string()],
    ];
    print::out(&format!("{what}\n\n{}", print::table(&[], rows.into_iter().chain(listen))));
    Ok(ExitCode::SUCCESS)
}

fn version(output: Output) -> ExitCode {
    let version = env!("CARGO_PKG_VERSION");
    if output.json {
        print::json(&serde_json::json!({"name": "penfold", "version": version}));
    } else {
        print::out(&format!("penfold {version}\n"));
    }
    ExitCode::SUCCESS
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Failure {
        let next = match &error {
            config::Error::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "`penfold config example > FILE` writes one that explains itself"
            }
            config::Error::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run this as root (sudo), or as the user that the server runs as"
            }
            config::Error::Read { source, .. } if source.kind() == io::ErrorKind::InvalidData => {
                "write it in UTF-8; `penfold config example > FILE` makes a new one"
            }
            config::Error::Read { .. } => "name a file with --config",
            config::Error::Wrong(_) => "mend it there; `penfold config example` explains every key",
        };
        Failure::new(Kind::Configuration, error.to_string(), next)
    }
}

impl From<run::Error> for Failure {
    fn from(error: run::Error) -> Failure {
        Failure { kind: error.kind(), what: error.to_string(), next: error.advice() }
    }
}

impl Command {
    /// Whether its answer, and so its error, goes to a script.
    fn wants_json(&self) -> bool {
        let output = match self {
            Command::Serve | Command::Config(ConfigCommand::Example) => return false,
            Command::Demo(args) => args.output,
            Command::Verify(args) => args.output,
            Command::Salvage(args) => args.output,
            Command::Clock(ClockCommand::Accept(output)) => *output,
            Command::Import(ImportArgs { from: Some(ImportFrom::Imap(args)), .. }) => args.into.output,
            Command::Import(args) => args.into.output,
            Command::Export(args) => args.output,
            Command::Backup(BackupArgs { command: Some(BackupCommand::Verify(args)), .. }) => args.output,
            Command::Backup(args) => args.output,
            Command::Restore(args) => args.output,
            Command::Status(output)
            | Command::Version(output)
            | Command::Config(ConfigCommand::Check(output))
            | Command::Domain(
                DomainCommand::Add { output, .. }
                | DomainCommand::List(output)
                | DomainCommand::Remove { output, .. },
            )
            | Command::Account(
                AccountCommand::Add { output, .. }
                | AccountCommand::List(output)
                | AccountCommand::Password { output, .. }
                | AccountCommand::Quota { output, .. }
                | AccountCommand::Limit { output, .. }
                | AccountCommand::Remove { output, .. }
                | AccountCommand::Address(
                    AddressCommand::Add { output, .. } | AddressCommand::Remove { output, .. },
                ),
            )
            | Command::Alias(
                AliasCommand::Add { output, .. }
                | AliasCommand::List(output)
                | AliasCommand::Remove { output, .. },
            )
            | Command::Dkim(DkimCommand::Show { output, .. } | DkimCommand::Rotate { output, .. })
            | Command::Queue(
                QueueCommand::List { output, .. }
                | QueueCommand::Show { output, .. }
                | QueueCommand::Flush(output)
                | QueueCommand::Retry(QueueChangeArgs { output, .. })
                | QueueCommand::Hold(QueueChangeArgs { output, .. })
                | QueueCommand::Release(QueueChangeArgs { output, .. })
                | QueueCommand::Drop { which: QueueChangeArgs { output, .. }, .. },
            )
            | Command::Trace(TraceArgs { output, .. })
            | Command::Undelete(
                UndeleteCommand::List { output, .. } | UndeleteCommand::Restore { output, .. },
            ) => *output,
        };
        output.json
    }
}
