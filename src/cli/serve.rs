//! `penfold serve`: starts the server, says where it listens, and what a new one still lacks.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Source;
use super::print::{self, Failure};
use crate::admin::control::{self, Asked};
use crate::admin::{AccountRow, Admin, Answer, DomainRow, Kind, Request, ServerStatus};
use crate::config::{self, Config};
use crate::{observe, run};

/// What the process ends with when the index failed: whoever supervises it starts it again.
const CONDEMNED: i32 = 75;

/// Runs the server until a signal ends it.
pub(super) fn serve(config: Config, from: &Source) -> Result<ExitCode, Failure> {
    observe::start(&config.log);
    nobody_there(&config)?;
    not_as_another(&config.data_dir)?;
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let server = match run::Server::open(
            config.clone(),
            run::Hangup::Reloads,
            condemned(true, config.data_dir.clone()),
        )
        .await
        {
            Err(run::Error::Interrupted) => return Ok(ExitCode::SUCCESS),
            server => server?,
        };
        let running = server.serve()?;
        let steps = missing(&config, from, &people(running.admin()).await);
        print::out(&page(running.listeners(), &steps));
        running.until_stopped().await;
        Ok(ExitCode::SUCCESS)
    });
    // What may still block (an opening that was given up) is not waited for.
    runtime.shutdown_background();
    ended
}

/// Root would leave files in the data directory that the server's own user cannot read at its next start.
fn not_as_another(directory: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt;
    let Ok(found) = std::fs::metadata(directory) else { return Ok(()) };
    if !rustix::process::geteuid().is_root() || found.uid() == 0 {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Failed,
        format!("{} belongs to another user (uid {}), not to root", directory.display(), found.uid()),
        "`systemctl start penfold`, or run it as that user: `runuser -u penfold -- penfold serve`",
    ))
}

/// The runtime that serves.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    crate::password::give_memory_back();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|why| {
        Failure::plain(Kind::Failed, format!("the system gives no threads to serve with: {why}"))
    })
}

/// Two servers on one data directory cannot be meant; the ports would only say it less well.
fn nobody_there(config: &Config) -> Result<(), Failure> {
    let Asked::Answered(answer) = control::ask(&config.control, &Request::Status) else { return Ok(()) };
    let who = match answer {
        Ok(Answer::Status(status)) => {
            status.server.map(|ServerStatus { pid, .. }| format!(" (process {pid})"))
        }
        _ => None,
    };
    Err(Failure::new(
        Kind::Unreachable,
        format!("Penfold runs already with this configuration{}", who.unwrap_or_default()),
        "`penfold status` shows it; `systemctl restart penfold` starts it anew",
    ))
}

/// Who has mail here.
#[derive(Debug, Default)]
struct People {
    domains: Vec<DomainRow>,
    accounts: Vec<AccountRow>,
}

async fn people(admin: &Admin) -> People {
    let mut people = People::default();
    if let Ok(Answer::Domains(rows)) = admin.answer(Request::DomainList).await {
        people.domains = rows;
    }
    if let Ok(Answer::Accounts(rows)) = admin.answer(Request::AccountList).await {
        people.accounts = rows;
    }
    people
}

/// Where it listens, and what to do next on a new machine.
fn page(listeners: &[run::Listener], steps: &[String]) -> String {
    let mut page = format!("Penfold {} listens:\n", env!("CARGO_PKG_VERSION"));
    let rows = listeners.iter().map(|l| vec![format!("  {}", l.protocol), l.address.to_string()]);
    page.push_str(&print::table(&[], rows));
    if listeners.is_empty() {
        page.push_str("  nowhere: every list in the section [listen] of the configuration is empty\n");
    }
    if !steps.is_empty() {
        page.push_str("\nStill missing:\n");
        for (number, step) in (1..).zip(steps) {
            page.push_str(&format!("  {number}. {step}\n"));
        }
    }
    page
}

/// What keeps a new server from being of use, in the order in which it is done.
fn missing(config: &Config, from: &Source, people: &People) -> Vec<String> {
    let mut steps = Vec::new();
    if *from == Source::Defaults {
        steps.push(format!(
            "There is no {path}, so this host is {host:?}, mail is kept in {data}, and the ports are the standard \
             ones.\n     `penfold config example > {path}` writes one to change; set `hostname` in it.",
            path = config::DEFAULT_PATH,
            host = config.hostname(),
            data = config.data_dir.display()
        ));
    } else if config.hostname.is_none() && !config.hostname().contains('.') {
        steps.push(format!(
            "This host calls itself {:?}: set `hostname` in the configuration.",
            config.hostname()
        ));
    }
    if people.domains.is_empty() {
        steps.push("No domain, so no mail is taken: `penfold domain add example.org`".into());
    }
    if people.accounts.is_empty() {
        let domain = people.domains.first().map_or("example.org", |domain| &domain.name);
        steps.push(format!("No account, so nobody can log in: `penfold account add you@{domain}`"));
    } else if let Some(wanted) = &config.postmaster {
        let wanted = wanted
            .parse::<wire::addr::Address>()
            .map_or_else(|_| wanted.to_ascii_lowercase(), |wanted| wanted.canonical());
        if !people.accounts.iter().any(|row| row.login == wanted || row.addresses.contains(&wanted)) {
            steps.push(format!(
                "`postmaster` in the configuration names {wanted:?}, which is no account: until it is one, the first \
                 account gets that mail."
            ));
        }
    }
    steps
}

/// What happens when the index fails: the process ends, and the next one rebuilds it from the log. Under systemd (and
/// in the demo) that is left to who started it; else the process becomes a new one, once a minute at most.
///
/// On a full disk the next one would fail likewise: until there is room, this one goes on as well as it can.
pub(super) fn condemned(may_restart: bool, directory: PathBuf) -> Arc<dyn Fn(&str) + Send + Sync> {
    let may_restart = may_restart && std::env::var_os("INVOCATION_ID").is_none();
    let waits = AtomicBool::new(false);
    Arc::new(move |why| {
        if run::has_room(&directory) {
            tracing::error!(
                why,
                "the index failed: starting again, to rebuild it from the log; no mail is lost"
            );
            if may_restart && !too_soon_now() {
                restart();
            }
            std::process::exit(CONDEMNED);
        }
        if waits.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::error!(
            why,
            "the disk is full, and the index failed by it: starting again when there is room"
        );
        let directory = directory.clone();
        std::thread::spawn(move || {
            run::wait_for_room(&directory);
            tracing::info!(
                "there is room again: starting again, to rebuild the index from the log; no mail is lost"
            );
            if may_restart {
                restart();
            }
            std::process::exit(CONDEMNED);
        });
    })
}

const LAST: &str = "PENFOLD_RESTARTED";

/// Whether becoming a new process now would be too often.
fn too_soon_now() -> bool {
    let soon = too_soon(std::env::var(LAST).ok().as_deref(), crate::clock::wall().seconds);
    if soon {
        tracing::error!("it did so less than a minute ago: not again");
    }
    soon
}

/// Becomes a new process. Returns when that fails.
fn restart() {
    use std::os::unix::process::CommandExt;
    let Ok(program) = std::env::current_exe() else { return };
    let error = std::process::Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(LAST, crate::clock::wall().seconds.to_string())
        .exec();
    tracing::error!(%error, "starting again failed");
}

/// Whether the last new start, in seconds since 1970 as the environment has it, was less than a minute ago.
fn too_soon(last: Option<&str>, now: i64) -> bool {
    let last = last.and_then(|at| at.parse::<i64>().ok());
    last.is_some_and(|at| (at..at.saturating_add(60)).contains(&now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_again_by_itself_once_a_minute_at_most() {
        for (last, now, soon) in [
            (None, 1_000, false),
            (Some("1000"), 1_000, true),
            (Some("1000"), 1_059, true),
            (Some("1000"), 1_060, false),
            (Some("2000"), 1_000, false), // The clock was set back: what stands there says nothing.
            (Some("yesterday"), 1_000, false),
        ] {
            assert_eq!(too_soon(last, now), soon, "{last:?} {now}");
        }
    }

    #[test]
    fn a_new_machine_is_told_what_is_missing_step_by_step() {
        let mut config = Config::default();
        let steps = missing(&config, &Source::Defaults, &People::default());
        assert_eq!(steps.len(), 3);
        for (step, word) in steps.iter().zip(["config example", "domain add", "account add"]) {
            assert!(step.contains(word), "{step}");
        }
        let domain = DomainRow { name: "b.test".into(), accounts: 1, aliases: 0 };
        let mut people = People { domains: vec![domain], accounts: Vec::new() };
        config.hostname = Some("mail.b.test".into());
        let file = Source::File("x".into());
        assert!(missing(&config, &file, &people)[0].contains("account add you@b.test"));
        let login = "anna@b.test".to_owned();
        people.accounts = vec![AccountRow {
            id: 1,
            addresses: vec![login.clone()],
            login,
            messages: 0,
            octets: 0,
            messages_a_day: None,
            new_recipients_a_day: None,
            messages_today: 0,
            new_recipients_today: 0,
            messages_quota: None,
            octets_quota: None,
        }];
        assert!(missing(&config, &file, &people).is_empty());
        config.postmaster = Some("Anna@b.test".into());
        assert!(missing(&config, &file, &people).is_empty());
        config.postmaster = Some("ann@b.test".into());
        assert!(missing(&config, &file, &people)[0].contains("no account"));
    }
}
