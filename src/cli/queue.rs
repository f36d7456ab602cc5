//! `penfold queue ...` and `penfold trace`: what is asked of `admin`, and how its answer is told.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use wire::abnf::steers;

use super::args::{QueueChangeArgs, QueueCommand, QueueFilter, TraceArgs};
use super::ask::Asker;
use super::people::{strange, tell};
use super::print::{Failure, count, duration, octets};
use crate::admin::{
    Answer, FateRow, Kind, QueueChange, QueuePage, QueueRecipient, QueueRow, QueueWhich, Request,
};
use crate::clock;

/// `penfold queue ...`
pub(super) fn queue(ask: &Asker, command: QueueCommand) -> Result<ExitCode, Failure> {
    match command {
        QueueCommand::List { filter, held, most, after, output } => {
            let which = QueueWhich { held, ..meant(Vec::new(), filter) };
            let Answer::Queue(page) = ask.ask(&Request::QueueList { which, after, most })? else {
                return strange();
            };
            tell(output.json, &page, || listed(&page))
        }
        QueueCommand::Show { id, output } => {
            let Answer::QueueMessage { row, header } = ask.ask(&Request::QueueShow { id })? else {
                return strange();
            };
            tell(output.json, &serde_json::json!({"row": row, "header": header}), || {
                // Somebody else's words: they must not steer the terminal.
                let harmless = |c: char| if steers(c) && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c };
                let header: String = header.replace("\r\n", "\n").chars().map(harmless).collect();
                format!("{}\n{header}", entry(&row, now()))
            })
        }
        QueueCommand::Retry(args) => changed(ask, args, QueueChange::Retry, "is tried now", "are tried now"),
        QueueCommand::Flush(output) => {
            let args = QueueChangeArgs { ids: Vec::new(), filter: QueueFilter::default(), output };
            apply(ask, args, QueueChange::Retry, "is tried now", "are tried now")
        }
        QueueCommand::Hold(args) => changed(ask, args, QueueChange::Hold, "is held", "are held"),
        QueueCommand::Release(args) => {
            changed(ask, args, QueueChange::Release, "was released", "were released")
        }
        QueueCommand::Drop { which, yes } => {
            // What was named one by one is meant.
            if which.ids.is_empty() && !yes {
                confirm()?;
            }
            changed(ask, which, QueueChange::Drop, "was taken out", "were taken out")
        }
    }
}

/// `penfold trace`
pub(super) fn trace(ask: &Asker, args: TraceArgs) -> Result<ExitCode, Failure> {
    let what = args.what;
    let Answer::Traced { fates, more, waits } = ask.ask(&Request::Trace { what: what.clone() })? else {
        return strange();
    };
    if fates.is_empty() && waits.is_empty() && !args.output.json {
        return Err(Failure::new(
            Kind::NotFound,
            format!("nothing is known of {what}"),
            "mail to other hosts of the last 30 days is known, by Message-ID, by either address, and by the id in its \
             Received field",
        ));
    }
    tell(args.output.json, &serde_json::json!({"fates": fates, "more": more, "waits": waits}), || {
        let mut text = String::new();
        if more {
            text.push_str("There is more; the newest:\n");
        }
        fates.iter().for_each(|fate| text.push_str(&told(fate)));
        waits.iter().for_each(|row| text.push_str(&entry(row, now())));
        text
    })
}

fn now() -> i64 {
    clock::wall().seconds
}

fn meant(ids: Vec<String>, filter: QueueFilter) -> QueueWhich {
    let QueueFilter { from, to, domain } = filter;
    QueueWhich { ids, from, to, domain, held: false }
}

/// A change needs to be told of what.
fn changed(
    ask: &Asker,
    args: QueueChangeArgs,
    what: QueueChange,
    one: &str,
    many: &str,
) -> Result<ExitCode, Failure> {
    let QueueFilter { from, to, domain } = &args.filter;
    if args.ids.is_empty() && from.is_none() && to.is_none() && domain.is_none() {
        return Err(Failure::new(
            Kind::Usage,
            "nothing says which of the queue is meant",
            "name messages by the ids of `penfold queue list`, or say --from, --to or --domain; `penfold queue flush` tries \
             all of it",
        ));
    }
    apply(ask, args, what, one, many)
}

fn apply(
    ask: &Asker,
    args: QueueChangeArgs,
    change: QueueChange,
    one: &str,
    many: &str,
) -> Result<ExitCode, Failure> {
    let QueueChangeArgs { ids, filter, output } = args;
    let which = meant(ids, filter);
    let Answer::QueueChanged { recipients, busy } = ask.ask(&Request::QueueChange { which, change })? else {
        return strange();
    };
    tell(output.json, &serde_json::json!({"recipients": recipients, "busy": busy}), || {
        let mut text = match recipients {
            0 => "Nothing in the queue was changed.\n".to_owned(),
            n => format!("{} {}.\n", count(n, "recipient"), if n == 1 { one } else { many }),
        };
        if busy > 0 {
            text.push_str(&format!("{} left alone: being tried just now.\n", count(busy, "recipient")));
        }
        text
    })
}

fn confirm() -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Kind::Usage,
            "there is no terminal to ask whether you mean it",
            "add --yes if you do",
        ));
    }
    let meant = dialoguer::Confirm::new()
        .with_prompt("Take this out of the queue, and tell nobody?")
        .default(false)
        .interact();
    match meant {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::plain(Kind::Failed, "nothing was changed")),
        Err(error) => Err(Failure::plain(Kind::Failed, format!("nothing was typed: {error}"))),
    }
}

fn listed(page: &QueuePage) -> String {
    if page.rows.is_empty() {
        return "Nothing of this kind waits.\n".into();
    }
    let now = now();
    let mut text = String::new();
    page.rows.iter().for_each(|row| text.push_str(&entry(row, now)));
    if let Some(after) = &page.after {
        text.push_str(&format!("There is more: `penfold queue list --after {after}`\n"));
    }
    if let (Some(recipients), Some(trying)) = (page.recipients, page.trying) {
        let all = count(recipients as u64, "recipient");
        text.push_str(&format!("In all {all}, {trying} of them being tried just now.\n"));
    }
    text
}

fn entry(row: &QueueRow, now: i64) -> String {
    let age = u64::try_from(now - row.since).unwrap_or(0);
    let mut text =
        format!("{}  {}  since {}  from {}", row.id, octets(row.size.into()), duration(age), row.from);
    if !row.subject.is_empty() {
        text.push_str(&format!("  {:?}", row.subject.chars().take(60).collect::<String>()));
    }
    text.push('\n');
    row.recipients.iter().for_each(|recipient| text.push_str(&line(recipient, row.send_later, now)));
    text
}

fn line(recipient: &QueueRecipient, send_later: Option<i64>, now: i64) -> String {
    let in_time = |next: i64| duration(u64::try_from(next - now).unwrap_or(0));
    let state = match (recipient.held, recipient.next) {
        (true, _) => "held".to_owned(),
        (_, Some(next)) if next > now && recipient.tries == 0 && send_later.is_some() => {
            format!("to be sent in {}", in_time(next))
        }
        (_, Some(next)) if next > now => format!("next try in {}", in_time(next)),
        _ => "now".to_owned(),
    };
    let mut text = format!("    {}  {state}", recipient.to);
    if let Some(why) = &recipient.why {
        let host = recipient.host.as_deref().map_or_else(String::new, |host| format!("{host}: "));
        text.push_str(&format!("; {} so far: {host}{why}", tries(recipient.tries)));
    }
    text.push('\n');
    text
}

fn tries(n: u16) -> String {
    if n == 1 { "1 try".into() } else { format!("{n} tries") }
}

fn told(fate: &FateRow) -> String {
    let when = jiff::Timestamp::from_second(fate.at)
        .map(|at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default();
    let took = duration(u64::try_from(fate.at - fate.since).unwrap_or(0));
    let mut text = format!("{when}  {}  {} -> {}  {}", fate.id, fate.from, fate.to, fate.action);
    if !fate.host.is_empty() {
        let address = if fate.address.is_empty() { String::new() } else { format!(" [{}]", fate.address) };
        text.push_str(&format!(" by {}{address}", fate.host));
    }
    text.push_str(&format!(" after {took}, {}\n", tries(fate.tries)));
    if !fate.what.is_empty() {
        text.push_str(&format!("    {}\n", fate.what));
    }
    if fate.action == "delivered" {
        let way = match (fate.tls.as_str(), fate.plain.as_str()) {
            ("", "") => "not encrypted".to_owned(),
            ("", why) => format!("not encrypted: {why}"),
            (tls, _) => tls.to_owned(),
        };
        text.push_str(&format!("    {way}\n"));
    }
    text
}
