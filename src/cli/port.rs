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
use crate::admin::{Answer, Kind, Request, address};
use crate::port::imap::{self, Login, Security};
use crate::port::{self, Error, Feed, FrameSink, OverQuota, Report, Writer};

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
pub(super) fn run(
    ask: &Asker,
    account: &str,
    into: &ImportInto,
    read: impl FnOnce(&mut Feed<'_>) -> Result<(), Error>,
) -> Result<ExitCode, Failure> {
    if let Some(name) = &into.into {
        port::check_name(name).map_err(|why| {
            Failure::new(
                Kind::Usage,
                format!("--into {name:?}: {why}"),
                "name a mailbox, such as Old or Old/2019; it is made if it is not there",
            )
        })?;
    }
    let request = Request::Import { account: account.to_owned(), dry_run: into.dry_run };
    let (stream, wait) = ask.transfer(&request)?.begin();
    let mut teller = Teller::new(into.output.json);
    let mut watch = |p: &port::Progress| teller.tell(p.messages, p.read, p.total);
    let (mut report, result) = match FrameSink::new(stream) {
        Ok(mut sink) => {
            let mut feed = Feed::new(&mut sink, into.into.clone(), into.dry_run, &mut watch);
            let ran = read(&mut feed);
            feed.finish(ran)
        }
        Err(error) => (Report::default(), Err(error)),
    };
    let took = teller.end();
    wait();
    if into.dry_run && result.is_ok() {
        report.over_quota = over_quota(ask, account, &report)?;
    }
    tell(account, &report, took, into.output.json, || page(account, &report, took));
    result?;
    Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a dry run would bring and the account's quota has no room for.
fn over_quota(ask: &Asker, account: &str, report: &Report) -> Result<Option<OverQuota>, Failure> {
    let (address, _) = address::address(account)?;
    let Answer::Accounts(rows) = ask.ask(&Request::AccountList)? else {
        return Err(Failure::plain(Kind::Failed, "the server answered something that was not asked"));
    };
    let Some(row) = rows.iter().find(|row| row.addresses.contains(&address)) else { return Ok(None) };
    let over = |held: u64, more: u64, quota: Option<u64>| {
        quota.map_or(0, |most| held.saturating_add(more).saturating_sub(most).min(more))
    };
    let messages = over(row.messages, report.copies, row.messages_quota);
    let octets = over(row.octets, report.storage, row.octets_quota);
    Ok((messages > 0 || octets > 0).then_some(OverQuota { messages, octets }))
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
    tell(account, &report, took, args.output.json, || exported(account, directory, &report, took));
    Ok(report.is_whole())
}

fn tell(account: &str, report: &Report, took: Duration, as_json: bool, page: impl FnOnce() -> String) {
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
        print::out(&page());
    }
}

/// `anna@b.test: 1,200 messages came over, 5.0 MB, in 1 min.`
fn headline(account: &str, what: &str, report: &Report, took: Duration) -> String {
    format!(
        "{account}: {} {what}, {}, in {}.\n",
        count(report.messages, "message"),
        octets(report.octets),
        duration(took.as_secs())
    )
}

/// An export's page.
fn exported(account: &str, directory: &Path, report: &Report, took: Duration) -> String {
    let mut page = headline(account, &format!("were written into {}", directory.display()), report, took);
    if !report.mailboxes.is_empty() {
        page.push('\n');
        let rows = report.mailboxes.iter().map(|(name, c)| vec![print::short(name), number(c.placed)]);
        page.push_str(&print::table(&["mailbox", ">messages"], rows));
    }
    if !report.is_whole() {
        page.push_str(&format!("\nNOT WRITTEN: {}.\n", count(report.refused, "message")));
        page.push_str(&refusals(report, report.refused));
    }
    page
}

/// An import's page.
fn page(account: &str, report: &Report, took: Duration) -> String {
    let what = if report.dry_run { "would come over" } else { "came over" };
    let mut page = headline(account, what, report, took);
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
            vec![print::short(name), number(c.placed), number(c.duplicates), number(c.refused), made.into()]
        });
        page.push_str(&print::table(&["mailbox", ">messages", ">there already", ">refused", ""], rows));
    }
    for (from, to) in &report.renamed {
        let (from, to) = (print::short(from), print::short(to));
        page.push_str(&format!("\nThe name {from:?} cannot be: it is {to:?} here.\n"));
    }
    for (name, c) in report.mailboxes.iter().filter(|(_, c)| c.keywords_left_out > 0) {
        page.push_str(&format!(
            "\nKeywords were left out of {} in {}: a mailbox can have {} different ones.\n",
            count(c.keywords_left_out, "message"),
            print::short(name),
            wire::limits::KEYWORDS_PER_MAILBOX
        ));
    }
    if let Some(over) = report.over_quota {
        page.push_str(&format!(
            "\nNOT ALL OF IT WOULD FIT: the account's quota is too small by {} and {} (`penfold account quota`).\n",
            count(over.messages, "message"),
            octets(over.octets)
        ));
    }
    let missing = report.refused + report.not_mail;
    if missing > 0 || !report.refusals.is_empty() {
        page.push_str(&format!(
            "\nNOT TAKEN: {}, {}.\n",
            count(report.refused, "message"),
            files(report.not_mail)
        ));
        page.push_str(&refusals(report, missing));
    }
    page
}

/// What is missing, and why: the first of it.
fn refusals(report: &Report, missing: u64) -> String {
    let mut lines = String::new();
    for refusal in report.refusals.iter().take(SHOWN) {
        lines.push_str(&format!("  {}: {}\n", refusal.what, refusal.why));
    }
    let shown = u64::try_from(report.refusals.len().min(SHOWN)).unwrap_or(u64::MAX);
    if missing > shown {
        lines.push_str(&format!("  and {} more; --json lists the first thousand\n", number(missing - shown)));
    }
    lines
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
            Error::Login { .. } => (
                Kind::Failed,
                Some(
                    "look at the name and the password; many providers want an app password, made in their settings, \
                     and IMAP switched on there"
                        .into(),
                ),
            ),
            Error::Untrusted { .. } => (
                Kind::Failed,
                Some(
                    "name the server as its certificate does; if it signs its own, and you know that it is the right \
                     one, save its certificate as PEM and say --trust FILE"
                        .into(),
                ),
            ),
            Error::Away { .. } => (
                Kind::Unreachable,
                Some(format!("see that --host and --port are right and the server runs, {again}")),
            ),
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
    fn an_export_is_told_in_words_of_its_own() {
        let mut report = Report { messages: 3, octets: 5_000, ..Report::default() };
        report.mailboxes.insert("x".repeat(900), Count { placed: 3, ..Count::default() });
        let told = exported("a@b.test", Path::new("/out"), &report, Duration::ZERO);
        assert!(
            told.starts_with("a@b.test: 3 messages were written into /out, 5.0 kB, in 0 s.\n\nMAILBOX"),
            "{told}"
        );
        assert!(
            !told.contains("THERE ALREADY") && told.lines().all(|line| line.chars().count() < 70),
            "{told}"
        );
        report.refused = 1;
        report.refusals.push(Refusal { what: "Work, message 7".into(), why: "the log is damaged".into() });
        let told = exported("a@b.test", Path::new("/out"), &report, Duration::ZERO);
        assert!(told.contains("NOT WRITTEN: 1 message.\n  Work, message 7: the log is damaged\n"), "{told}");
    }

    #[test]
    fn what_an_account_has_no_room_for_is_told() {
        let mut report = Report { dry_run: true, messages: 3, ..Report::default() };
        report.over_quota = Some(OverQuota { messages: 2, octets: 5_000 });
        let c = Count { placed: 3, keywords_left_out: 1, ..Count::default() };
        report.mailboxes.insert("Work".into(), c);
        let told = page("a@b.test", &report, Duration::ZERO);
        assert!(told.contains("NOT ALL OF IT WOULD FIT") && told.contains("2 messages and 5.0 kB"), "{told}");
        assert!(
            told.contains("Keywords were left out of 1 message in Work: a mailbox can have 128"),
            "{told}"
        );
        assert!(!told.contains("NOT TAKEN") && !report.is_whole(), "{told}");
    }

    #[test]
    fn the_page_tells_what_came_and_what_did_not() {
        let mut report = Report { messages: 1_200, octets: 5_000_000, duplicates: 3, ..Report::default() };
        let count = |placed, refused, made| Count { placed, refused, made, ..Count::default() };
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

The name \"a\u{fffd}b\" cannot be: it is \"a_b\" here.

NOT TAKEN: 1 message, 0 files that are no mail.
  a.mbox, message 7: it is larger than 50 MB
";
        assert_eq!(page("a@b.test", &report, Duration::from_secs(70)), expected);
        report.dry_run = true;
        assert!(page("a@b.test", &report, Duration::ZERO).contains("1,200 messages would come over"));
    }
}
