//! `penfold dkim ...`: what to publish so that others know our mail by its signatures, and new keys for old ones.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use dialoguer::Input;

use super::args::DkimCommand;
use super::ask::Asker;
use super::people::{strange, tell};
use super::print::{self, Failure};
use crate::admin::{Answer, DkimRow, DkimState, Kind, Request};

/// `penfold dkim ...`
pub(super) fn dkim(ask: &Asker, command: DkimCommand) -> Result<ExitCode, Failure> {
    match command {
        DkimCommand::Show { domain, output } => {
            let Answer::Dkim(rows) = ask.ask(&Request::DkimShow { domain })? else { return strange() };
            tell(output.json, &rows, || shown(&rows))
        }
        DkimCommand::Rotate { domain, activate, output } => {
            let rotate = |activate| ask.ask(&Request::DkimRotate { domain: domain.clone(), activate });
            let Answer::Dkim(mut rows) = rotate(activate)? else { return strange() };
            if activate || output.json {
                return tell(output.json, &rows, || changed(&rows));
            }
            print::out(&to_publish(&rows));
            if io::stdin().is_terminal() && is_published(&rows)? {
                let Answer::Dkim(now) = rotate(true)? else { return strange() };
                rows = now;
                print::out(&changed(&rows));
            } else {
                print::out(&format!(
                    "When they are published: `penfold dkim rotate {} --activate`\n",
                    domain_of(&rows)
                ));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Asks whether the records are there, by the domain's name. Anything else means: not yet.
fn is_published(rows: &[DkimRow]) -> Result<bool, Failure> {
    let domain = domain_of(rows);
    let typed: String = Input::new()
        .with_prompt(format!(
            "Once they are published, type {domain} to sign with them from now on; Enter: later"
        ))
        .allow_empty(true)
        .interact_text()
        .map_err(|e| Failure::plain(Kind::Failed, format!("nothing was typed: {e}")))?;
    Ok(typed.trim().eq_ignore_ascii_case(domain))
}

fn domain_of(rows: &[DkimRow]) -> &str {
    rows.first().map_or("", |row| row.domain.as_str())
}

fn shown(rows: &[DkimRow]) -> String {
    if rows.is_empty() {
        return "There are no keys. A running server makes some for each domain (`penfold domain list`).\n"
            .into();
    }
    let mut text =
        "Publish these TXT records where the domain's DNS is kept, with the value in one piece:\n".to_owned();
    rows.iter().for_each(|row| text.push_str(&record(row)));
    text.push_str("\nThe same for a zone file, in strings of at most 255 octets:\n\n");
    rows.iter().for_each(|row| text.push_str(&zone_line(row)));
    text
}

fn to_publish(rows: &[DkimRow]) -> String {
    let new: Vec<DkimRow> = rows.iter().filter(|row| row.state == DkimState::Waiting).cloned().collect();
    format!(
        "{}\nThe records of the keys that sign now stay where they are for the time being.\n",
        shown(&new)
    )
}

/// After new keys have begun to sign.
fn changed(rows: &[DkimRow]) -> String {
    let mut text = String::new();
    for row in rows {
        match row.state {
            DkimState::Active => text.push_str(&format!("{} signs now.\n", row.name)),
            DkimState::Retiring => text.push_str(&format!(
                "{} signs no more; keep its record until {}.\n",
                row.name,
                day(row.until)
            )),
            DkimState::Waiting => {}
        }
    }
    text
}

fn record(row: &DkimRow) -> String {
    let state = match row.state {
        DkimState::Active => "signs".to_owned(),
        DkimState::Waiting => "waits until you have published it".to_owned(),
        DkimState::Retiring => format!("signs no more; keep its record until {}", day(row.until)),
    };
    format!("\n  {}  ({}, {state})\n    {}\n", row.name, row.algorithm, row.value)
}

fn zone_line(row: &DkimRow) -> String {
    let strings: Vec<String> = row.strings.iter().map(|piece| format!("\"{piece}\"")).collect();
    match strings.as_slice() {
        [one] => format!("{}. IN TXT {one}\n", row.name),
        several => format!("{}. IN TXT ( {} )\n", row.name, several.join("\n    ")),
    }
}

fn day(time: Option<i64>) -> String {
    let time = time.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "?".into(), |time| time.to_zoned(jiff::tz::TimeZone::UTC).date().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_split_for_zone_files_only() {
        let mut row = DkimRow {
            domain: "b.test".into(),
            selector: "s".into(),
            algorithm: "rsa-sha256".into(),
            state: DkimState::Retiring,
            since: 0,
            until: Some(1_795_900_000),
            name: "s._domainkey.b.test".into(),
            value: "v=DKIM1; p=AAAA".into(),
            strings: vec!["v=DKIM1; p".into(), "=AAAA".into()],
        };
        assert_eq!(zone_line(&row), "s._domainkey.b.test. IN TXT ( \"v=DKIM1; p\"\n    \"=AAAA\" )\n");
        assert!(record(&row).contains("keep its record until 2026-11-28)\n    v=DKIM1; p=AAAA\n"));
        row.strings = vec![row.value.clone()];
        assert_eq!(zone_line(&row), "s._domainkey.b.test. IN TXT \"v=DKIM1; p=AAAA\"\n");
    }
}
