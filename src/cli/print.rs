//! Putting answers in front of people and scripts: tables that line up, one line of JSON, sizes and times in words,
//! and errors that say what happened and what to do. No decisions here.

use std::io::{self, Write};
use std::process::ExitCode;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::admin::{self, Kind};

/// What the program ends with when it did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    /// For the exit code.
    pub kind: Kind,
    /// What happened and why: one sentence, or several lines (a configuration error with its place).
    pub what: String,
    /// What to do next.
    pub next: Option<String>,
}

impl Failure {
    /// A failure with advice.
    pub fn new(kind: Kind, what: impl Into<String>, next: impl Into<String>) -> Failure {
        Failure { kind, what: what.into(), next: Some(next.into()) }
    }

    /// A failure that nothing can be advised on.
    pub fn plain(kind: Kind, what: impl Into<String>) -> Failure {
        Failure { kind, what: what.into(), next: None }
    }
}

impl From<admin::Error> for Failure {
    fn from(error: admin::Error) -> Failure {
        Failure { kind: error.kind(), what: error.to_string(), next: error.advice() }
    }
}

/// The exit codes of the help page.
#[must_use]
pub fn exit_code(kind: Kind) -> u8 {
    match kind {
        Kind::Failed => 1,
        Kind::Usage => 2,
        Kind::NotFound => 3,
        Kind::AlreadyThere => 4,
        Kind::Unreachable => 5,
        Kind::Configuration => 6,
    }
}

/// Writes to standard output. A reader that has gone (`| head`) is no error.
pub fn out(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Writes a line of JSON to standard output.
pub fn json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => out(&(text + "\n")),
        Err(error) => err(&format!("penfold: the answer cannot be written as JSON: {error}\n")),
    }
}

/// Writes to standard error.
pub fn err(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Tells of a failure, and gives the exit code for it.
pub fn failure(failure: &Failure, as_json: bool) -> ExitCode {
    if as_json {
        let error = serde_json::json!({"error": failure.what, "kind": failure.kind, "advice": failure.next});
        err(&format!("{error}\n"));
    } else {
        err(&format!("penfold: {}\n", failure.what));
        if let Some(next) = &failure.next {
            err(&format!("  What to do: {next}\n"));
        }
    }
    ExitCode::from(exit_code(failure.kind))
}

/// A table without lines, as wide as its contents: what `cut` and `awk` and eyes can read. Columns whose head
/// begins with `>` are right-aligned.
#[must_use]
pub fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if !heads.is_empty() {
        table.set_header(heads.iter().map(|head| head.trim_start_matches('>').to_uppercase()));
    }
    for row in rows {
        table.add_row(row);
    }
    for (n, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if heads.get(n).is_some_and(|head| head.starts_with('>')) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text: String = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    if text.is_empty() {
        text.push('\n');
    }
    text
}

/// A name that may be of any length, for a table or a line: its beginning and its end.
#[must_use]
pub fn short(name: &str) -> String {
    const MOST: usize = 48;
    let plain = |c: char| if wire::abnf::steers(c) { '\u{fffd}' } else { c };
    let length = name.chars().count();
    if length <= MOST {
        return name.chars().map(plain).collect();
    }
    let begin = name.chars().take(MOST / 2 - 1);
    begin.chain(['…']).chain(name.chars().skip(length - MOST / 2)).map(plain).collect()
}

/// Octets in words: `0 B`, `12.3 kB`, `4.0 GB` (powers of 1,000).
#[must_use]
pub fn octets(n: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if n < 1_000 {
        return format!("{n} B");
    }
    // Tenths of the unit, in whole numbers: no rounding to "1000.0 kB".
    let (mut tenths, mut unit) = (n / 100, 0);
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1_000;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A number with its thousands apart: `1,234,567`.
#[must_use]
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds in words: `42 s`, `3 min`, `5 h 20 min`, `12 d 4 h`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, m) => format!("{m} min"),
        (0, h, m) => format!("{h} h {} min", m % 60),
        (d, h, _) => format!("{d} d {} h", h % 24),
    }
}

/// `1 message`, `2 messages`.
#[must_use]
pub fn count(n: u64, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {what}{s}", number(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["a@b.test".into(), "7".into(), "x".into()],
            vec!["longer@b.test".into(), "1,000".into(), "y".into()],
        ];
        assert_eq!(
            table(&["address", ">messages", "note"], rows),
            "ADDRESS        MESSAGES  NOTE\n\
             a@b.test              7  x\n\
             longer@b.test     1,000  y\n"
        );
    }

    #[test]
    fn a_name_of_any_length_does_not_widen_a_table() {
        assert_eq!(short("Work/2019"), "Work/2019");
        let long = short(&format!("Start/{}/End\n", "ä".repeat(900)));
        assert_eq!(long.chars().count(), 48);
        assert!(
            long.starts_with("Start/ä") && long.ends_with("ä/End\u{fffd}") && long.contains('…'),
            "{long}"
        );
    }

    #[test]
    fn amounts_in_words() {
        for (n, text) in
            [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (999_999, "999.9 kB"), (50_000_000, "50.0 MB")]
        {
            assert_eq!(octets(n), text);
        }
        assert_eq!(octets(u64::MAX), "18446.7 PB");
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(n), text);
        }
        for (s, text) in [(0, "0 s"), (61, "1 min"), (19_200, "5 h 20 min"), (1_051_200, "12 d 4 h")] {
            assert_eq!(duration(s), text);
        }
        assert_eq!(
            (count(1, "message"), count(2_000, "message")),
            ("1 message".into(), "2,000 messages".into())
        );
    }
}
