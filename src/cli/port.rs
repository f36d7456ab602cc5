//! `penfold import` and `penfold export`: this process reads or writes the files; the running server, or a thread of this
//! process when none runs, has the store.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use wire::secret::Secret;

use super::args::{ExportArgs, ExportFormat, FileFormat, ImportArgs, ImportFrom, ImportImapArgs, ImportInto};
use super::ask::Asker;
use super::print::{self, Failure, count, duration, number, octets};
use super::progress::Teller;
use super::secret;
use crate::admin::{Answer, Kind, Request};
use crate::port::imap::{self, Login, Security};
use crate::port::{self, Error, Feed, FrameSink, Report, Writer};

/// Refusals shown to people; scripts get more.
const SHOWN: usize = 20;

/// `penfold import ...`
pub(super) fn import(ask: &Asker, args: ImportArgs) -> Result<ExitCode, Failure> {
    match args {
        ImportArgs { from: Some(ImportFrom::Imap(args)), .. } => import_imap(ask, &args),
        ImportArgs { path: Some(path), account: Some(account), format, into, .. } => {
            let format = match format {
                FileFormat::Auto => port::Format::Auto,
                FileFormat::Mbox => port::Format::Mbox,
                FileFormat::Maildir => port::Format::Maildir,
                FileFormat::Eml => port::Format::Eml,
                FileFormat::Takeout => port::Format::Takeout,
            };
            // Before anything is asked of the server: a path that is not there is the likeliest mistake.
            std::fs::metadata(&path).map_err(|why| Error::Read { what: path.display().to_string(), why })?;
            run(ask, &account, &into, |feed| port::import_path(&path, format, feed))
        }
        _ => Err(Failure::plain(Kind::Usage, "name a PATH and an --account")),
    }
}

fn import_imap(ask: &Asker, args: &ImportImapArgs) -> Result<ExitCode, Failure> {
    let security = match args.security {
        s if s.starttls => Security::StartTls,
        s if s.insecure_on_loopback => Security::PlainOnLoopback,
        _ => Security::Tls,
    };
    let password = secret::theirs(args.password, &format!("{} on {}", args.user, args.host))?;
    let login = Login {
        host: args.host.clone(),
        port: args.port.unwrap_or(security.port()),
        security,
        user: args.user.clone(),
        password: Secret::new(password.reveal().to_owned()),
        trust: args.trust.clone(),
    };
    run(ask, &args.account, &args.into, |feed| imap::import_imap(&login, args.connections.into(), feed))
}

/// An import, from its beginning to what is told of it.
fn run(
    ask: &Asker,
    account: &str,
    into: &ImportInto,
    read: impl FnOnce(&mut Feed<'_>) -> Result<(), Error>,
) -> Result<ExitCode, Failure> {
    let request = Request::Import { account: account.to_owned(), dry_run: into.dry_run };
    let (stream, wait) = ask.transfer(&request)?.begin();
    let mut teller = Teller::new(into.output.json);
    let mut watch = |p: &port::Progress| teller.tell(p.messages, p.read, p.total);
    let (report, result) = match FrameSink::new(stream) {
        Ok(mut sink) => {
            let mut feed = Feed::new(&mut sink, into.into.clone(), into.dry_run, &mut watch);
            let ran = read(&mut feed);
            feed.finish(ran)
        }
        Err(error) => (Report::default(), Err(error)),
    };
    let took = teller.end();
    wait();
    tell(account, "came over", &report, took, into.output.json);
    result?;
    Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `penfold export ...`
pub(super) fn export(ask: &Asker, args: &ExportArgs) -> Result<ExitCode, Failure> {
    // Mail is for its owner alone, whatever this shell usually makes.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let accounts = match &args.whose.account {
        Some(account) => vec![(account.clone(), args.dir.clone())],
        None => {
            empty(&args.dir)?;
            let Answer::Accounts(rows) = ask.ask(&Request::AccountList)? else {
                return Err(Failure::plain(Kind::Failed, "the server answered something that was not asked"));
            };
            let directory = |login: &str| args.dir.join(login.replace('/', "_").trim_start_matches('.'));
            rows.iter()
                .map(|row| (row.login.clone(), directory(&row.login)))
                .collect::<Vec<(String, PathBuf)>>()
        }
    };
    let mut whole = true;
    for (account, directory) in &accounts {
        whole &= export_one(ask, account, directory, args)?;
    }
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn empty(directory: &Path) -> Result<(), Failure> {
    match std::fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
        Ok(false) => Err(Error::Wrong {
            what: directory.display().to_string(),
            why: "it is not empty, and an export overwrites nothing".into(),
        }
        .into()),
        _ => Ok(()),
    }
}

fn export_one(ask: &Asker, account: &str, directory: &Path, args: &ExportArgs) -> Result<bool, Failure> {
    let format = match args.format {
        ExportFormat::Mbox => port::ExportFormat::Mbox,
        ExportFormat::Maildir => port::ExportFormat::Maildir,
    };
    empty(directory)?;
    let (stream, wait) = ask.transfer(&Request::Export { account: account.to_owned() })?.begin();
    let mut teller = Teller::new(args.output.json);
    let mut watch = |messages, octets| teller.tell(messages, octets, 0);
    let (report, result) = match Writer::new(directory, format, account, &mut watch) {
        Ok(mut writer) => {
            let result = port::receive(stream, &mut writer);
            (writer.report(), result)
        }
        Err(error) => {
            drop(stream);
            (Report::default(), Err(error))
        }
    };
    let took = teller.end();
    wait();
    result?;
    tell(account, &format!("were written into {}", directory.display()), &report, took, args.output.json);
    Ok(report.is_whole())
}

fn tell(account: &str, what: &str, report: &Report, took: Duration, as_json: bool) {
    #[derive(Serialize)]
    struct Told<'a> {
        account: &'a str,
        seconds: f64,
        #[serde(flatten)]
        report: &'a Report,
    }
    if as_json {
        print::json(&Told { account, seconds: took.as_secs_f64(), report });
    } else {
        print::out(&page(account, what, report, took));
    }
}

fn page(account: &str, what: &str, report: &Report, took: Duration) -> String {
    let what = if report.dry_run { "would come over" } else { what };
    let mut page = format!(
        "{account}: {} {what}, {}, in {}.\n",
        count(report.messages, "message"),
        octets(report.octets),
        duration(took.as_secs())
    );
    if report.duplicates > 0 {
        page.push_str(&format!(
            "There already, and not taken twice: {}.\n",
            count(report.duplicates, "message")
        ));
    }
    if report.deleted > 0 {
        page.push_str(&format!(
            "Left out, because they were deleted there and only not yet purged: {}.\n",
            count(report.deleted, "message")
        ));
    }
    if !report.mailboxes.is_empty() {
        page.push('\n');
        let rows = report.mailboxes.iter().map(|(name, c)| {
            let made = if c.made { "new mailbox" } else { "" };
            vec![name.clone(), number(c.placed), number(c.duplicates), number(c.refused), made.into()]
        });
        page.push_str(&print::table(&["mailbox", ">messages", ">there already", ">refused", ""], rows));
    }
    for (from, to) in &report.renamed {
        page.push_str(&format!("\nThe name {from:?} cannot be: it is {to:?} here.\n"));
    }
    let missing = report.refused + report.not_mail;
    if !report.is_whole() {
        page.push_str(&format!(
            "\nNOT TAKEN: {}, {}.\n",
            count(report.refused, "message"),
            files(report.not_mail)
        ));
        for refusal in report.refusals.iter().take(SHOWN) {
            page.push_str(&format!("  {}: {}\n", refusal.what, refusal.why));
        }
        let shown = u64::try_from(report.refusals.len().min(SHOWN)).unwrap_or(u64::MAX);
        if missing > shown {
            page.push_str(&format!(
                "  and {} more; --json lists the first thousand\n",
                number(missing - shown)
            ));
        }
    }
    page
}

fn files(n: u64) -> String {
    match n {
        1 => "1 file that is no mail".into(),
        n => format!("{} files that are no mail", number(n)),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let again = "then run the same command again: what is there already is not taken twice";
        let (kind, next) = match &error {
            Error::Read { why, .. } if why.kind() == std::io::ErrorKind::NotFound => (Kind::NotFound, None),
            Error::Read { why, .. } | Error::Write { why, .. }
                if why.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                (Kind::Failed, Some("run this as somebody who may, or as root (sudo)".into()))
            }
            Error::Read { .. } | Error::Write { .. } | Error::Wrong { .. } | Error::NoMailbox { .. } => {
                (Kind::Failed, None)
            }
            Error::Full => (Kind::Failed, Some(format!("make room on the disk, {again}"))),
            Error::Broken => {
                (Kind::Failed, Some("look at the log (`journalctl -u penfold`) and at the disk".into()))
            }
            Error::Stopping | Error::Lost(_) => {
                (Kind::Unreachable, Some(format!("see that the server runs (`penfold status`), {again}")))
            }
            Error::Busy => (Kind::Failed, Some("wait until it is done, or stop it".into())),
            Error::Talk(_) => {
                (Kind::Unreachable, Some("restart the server, so that both are of one version".into()))
            }
        };
        Failure { kind, what: error.to_string(), next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::{Count, Refusal};

    #[test]
    fn the_page_tells_what_came_and_what_did_not() {
        let mut report = Report { messages: 1_200, octets: 5_000_000, duplicates: 3, ..Report::default() };
        let count = |placed, refused, made| Count { placed, duplicates: 0, refused, made };
        report.mailboxes.insert("INBOX".into(), count(1_000, 0, false));
        report.mailboxes.insert("Work/A".into(), count(200, 1, true));
        assert!(report.is_whole());
        report.refused = 1;
        report
            .refusals
            .push(Refusal { what: "a.mbox, message 7".into(), why: "it is larger than 50 MB".into() });
        report.renamed.push(("a\u{7}b".into(), "a_b".into()));
        let expected = "\
a@b.test: 1,200 messages came over, 5.0 MB, in 1 min.
There already, and not taken twice: 3 messages.

MAILBOX  MESSAGES  THERE ALREADY  REFUSED
INBOX       1,000              0        0
Work/A        200              0        1  new mailbox

The name \"a\\u{7}b\" cannot be: it is \"a_b\" here.

NOT TAKEN: 1 message, 0 files that are no mail.
  a.mbox, message 7: it is larger than 50 MB
";
        assert_eq!(page("a@b.test", "came over", &report, Duration::from_secs(70)), expected);
        report.dry_run = true;
        assert!(
            page("a@b.test", "came over", &report, Duration::ZERO).contains("1,200 messages would come over")
        );
    }
}
