//! `penfold undelete`: what is asked of `admin` about deleted mail, and how its answer is told.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

use super::args::{UndeleteCommand, Which};
use super::ask::Asker;
use super::people::{strange, tell};
use super::print::{self, Failure, count, octets};
use crate::admin::{Answer, Deleted, DeletedRow, Kind, Request, RestoreTo, RestoredRow};
use crate::clock;

/// `penfold undelete ...`
pub(super) fn undelete(ask: &Asker, command: UndeleteCommand) -> Result<ExitCode, Failure> {
    match command {
        UndeleteCommand::List { which, output } => {
            let which = meant(which)?;
            let Answer::Deleted { rows, messages, more } = ask.ask(&Request::DeletedList { which })? else {
                return strange();
            };
            tell(output.json, &serde_json::json!({"rows": rows, "messages": messages, "more": more}), || {
                page(&rows, messages, more)
            })
        }
        UndeleteCommand::Restore { ids, which, to, to_account, yes, output } => {
            let which = meant(which)?;
            if ids.is_empty() && which == Deleted::default() {
                return Err(Failure::new(
                    Kind::Usage,
                    "nothing says which deleted mail is meant",
                    "name it by the ids of `penfold undelete list`, or by --account, --mailbox, --since and so on",
                ));
            }
            // What was named one by one is meant.
            if ids.is_empty() && !yes {
                confirm(ask, &which)?;
            }
            let to = RestoreTo { account: to_account, mailbox: to };
            let Answer::Restored(rows) = ask.ask(&Request::DeletedRestore { ids, which, to })? else {
                return strange();
            };
            tell(output.json, &rows, || restored(&rows))
        }
    }
}

/// What was typed, as `admin` takes it.
fn meant(which: Which) -> Result<Deleted, Failure> {
    let now = Timestamp::from_second(clock::wall().seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    let now = now.to_zoned(TimeZone::system());
    let moment = |text: Option<String>| text.map(|text| moment(&text, &now)).transpose();
    Ok(Deleted {
        account: which.account,
        mailbox: which.mailbox,
        since: moment(which.since)?,
        until: moment(which.until)?,
        from: which.from,
        subject: which.subject,
        whole: which.whole,
        all: which.all,
    })
}

/// Seconds since 1970 of a moment as people type it: a day, a day and a time (in the zone of `now`, or with its own), or how long ago.
fn moment(text: &str, now: &Zoned) -> Result<i64, Failure> {
    let text = text.trim();
    let given = || -> Option<Timestamp> {
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Some(moment);
        }
        if let Ok(civil) = text.parse::<DateTime>() {
            return Some(civil.to_zoned(now.time_zone().clone()).ok()?.timestamp());
        }
        let ago = text.parse::<Span>().ok().filter(|span| !span.is_negative())?;
        Some(now.checked_sub(ago).ok()?.timestamp())
    };
    given().map(Timestamp::as_second).ok_or_else(|| {
        Failure::new(
            Kind::Usage,
            format!("{text:?} is not a time"),
            "write a day (2026-11-28), a day and a time (2026-11-28T10:00), or how long ago (3d, 2h, 90m)",
        )
    })
}

/// Says what would come back, and asks.
fn confirm(ask: &Asker, which: &Deleted) -> Result<(), Failure> {
    let Answer::Deleted { messages, .. } = ask.ask(&Request::DeletedList { which: which.clone() })? else {
        return strange().map(|_| ());
    };
    let what = format!("{} would be brought back.", count(messages, "message"));
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Kind::Usage,
            format!("{what} There is no terminal to ask whether you mean it"),
            "add --yes if you do",
        ));
    }
    let meant = dialoguer::Confirm::new().with_prompt(format!("{what} Go on?")).default(false).interact();
    match meant {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::plain(Kind::Failed, "nothing was changed")),
        Err(error) => Err(Failure::plain(Kind::Failed, format!("nothing was typed: {error}"))),
    }
}

fn page(rows: &[DeletedRow], messages: u64, more: bool) -> String {
    if rows.is_empty() {
        return "There is no deleted mail of this kind.\n".into();
    }
    let table = print::table(
        &["id", "deleted", "account", "mailbox", ">size", "from", "subject"],
        rows.iter().map(|row| {
            let (from, subject) = match (&row.from, &row.subject) {
                (None, None) => (count(row.messages, "message"), "(the whole mailbox)".into()),
                (from, subject) => (short(from.as_deref(), 30), short(subject.as_deref(), 50)),
            };
            let (account, mailbox) = (row.account.clone(), print::short(&row.mailbox));
            vec![row.id.clone(), local(row.at), account, mailbox, octets(row.octets), from, subject]
        }),
    );
    let end = match more {
        false => String::new(),
        true => format!(
            "... and more, {} in all: narrow it with --account, --mailbox, --since and so on.\n",
            count(messages, "message")
        ),
    };
    format!("{table}{end}")
}

/// A moment in this host's zone: `2026-11-28 10:00`.
fn local(at: i64) -> String {
    let moment = Timestamp::from_second(at).unwrap_or(Timestamp::UNIX_EPOCH);
    moment.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// Text of somebody else in one line of a table: no longer than this, and nothing that moves a terminal's cursor.
fn short(text: Option<&str>, most: usize) -> String {
    let mut line: String = text
        .unwrap_or_default()
        .chars()
        .map(|c| if wire::abnf::steers(c) { ' ' } else { c })
        .take(most + 1)
        .collect();
    if line.chars().count() > most {
        line.pop();
        line.pop();
        line.push('\u{2026}');
    }
    line
}

fn restored(rows: &[RestoredRow]) -> String {
    rows.iter()
        .map(|row| {
            format!(
                "{} back in {} of {}.\n",
                count(row.messages, "message"),
                print::short(&row.mailbox),
                row.account
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_type_them() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let now = "2026-11-28T10:00:00Z".parse::<Timestamp>().unwrap().to_zoned(zone);
        for (text, means) in [
            ("2026-11-28", "2026-11-27T23:00:00Z"),
            ("2026-11-28T10:00", "2026-11-28T09:00:00Z"),
            ("2026-11-28 10:00:30", "2026-11-28T09:00:30Z"),
            ("2026-11-28T10:00Z", "2026-11-28T10:00:00Z"),
            ("3d", "2026-11-25T10:00:00Z"),
            ("2h", "2026-11-28T08:00:00Z"),
            (" 90m ", "2026-11-28T08:30:00Z"),
            ("1d12h", "2026-11-26T22:00:00Z"),
        ] {
            let means = means.parse::<Timestamp>().unwrap().as_second();
            assert_eq!(moment(text, &now).unwrap(), means, "{text}");
        }
        for bad in ["", "yesterday", "3", "-3d", "28.11.2026", "2026-13-01", "3 parsecs"] {
            assert_eq!(moment(bad, &now).unwrap_err().kind, Kind::Usage, "{bad}");
        }
    }

    #[test]
    fn what_others_wrote_stays_in_its_line() {
        assert_eq!(short(Some("a\u{1b}[2Jb\r\nc"), 50), "a [2Jb  c");
        assert_eq!(short(Some("äöüäöü"), 4), "äöü\u{2026}");
        assert_eq!(short(Some("äöüä"), 4), "äöüä");
        assert_eq!(short(None, 4), "");
    }
}
