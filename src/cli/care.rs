//! `penfold verify`, `penfold salvage`, `penfold clock accept`: looking after what is on the disk.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use store::salvage::{Pace, Tally};
use store::verify::{Mend, Problem, Verified, Victim};

use super::args::{SalvageArgs, SalvageFormat, VerifyArgs};
use super::ask::Asker;
use super::print::{self, Failure, count, number, octets};
use super::{args, owner};
use crate::admin::{Answer, Kind, Request};
use crate::config::Config;
use crate::mime::words;
use crate::run;
use crate::salvage::Format;

/// Messages that are shown for one problem.
const SHOWN: usize = 20;

/// `penfold verify`
pub(super) fn verify(config: &Config, args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let directory = args.directory.as_deref().unwrap_or(&config.data_dir);
    reach(directory)?;
    let bar = Bar::new(args.output.json, "verifying");
    let progress = |done: u64, total: u64| bar.show(done, total);
    let look = || {
        let verified = run::verify(directory, &progress);
        bar.end();
        verified
    };
    let mut verified = look()?;
    let mut repaired = false;
    if args.repair {
        may_repair(&verified, directory)?;
        run::repair(directory)?;
        repaired = true;
        verified = look()?;
    }
    if args.output.json {
        print::json(&as_json(directory, &verified, repaired));
    } else {
        print::out(&page(directory, &verified, repaired));
    }
    let failed = ExitCode::from(print::exit_code(Kind::Failed));
    Ok(if verified.problems.is_empty() { ExitCode::SUCCESS } else { failed })
}

/// `--repair` makes nothing worse: not while a server runs, nor where opening the store would have to give something up.
fn may_repair(verified: &Verified, directory: &Path) -> Result<(), Failure> {
    if verified.running {
        return Err(Failure::new(
            Kind::Unreachable,
            format!("a server runs on {}", directory.display()),
            "stop it first (`systemctl stop penfold`); its next start makes the index anew by itself, too",
        ));
    }
    let not = verified.problems.iter().find(|p| !matches!(p.mend, Mend::Rebuild | Mend::Snapshot));
    match not {
        None => Ok(()),
        Some(problem) => Err(Failure::new(
            Kind::Failed,
            format!("{}: {}: that is nothing that --repair mends", problem.file, problem.what),
            advice(problem.mend),
        )),
    }
}

/// Sees to it that the directory is there, and becomes its owner.
fn reach(directory: &Path) -> Result<(), Failure> {
    let found = std::fs::metadata(directory).map_err(|e| owner::unreadable(directory, &e))?;
    owner::become_owner(directory, &found)
}

fn advice(mend: Mend) -> &'static str {
    match mend {
        Mend::Rebuild => {
            "made again from the log at the next start, or now by `penfold verify --repair` with the server stopped"
        }
        Mend::Snapshot => {
            "`penfold verify --repair` with the server stopped makes a new one; the server does so in time"
        }
        Mend::Restore => {
            "restore what it concerns from a backup; everything else is served as it was. Look at the disk"
        }
        Mend::Salvage => "restore a backup, or take what is left with `penfold salvage`. Look at the disk",
        Mend::Newer => "install the newer version again",
    }
}

fn name(victim: &Victim) -> String {
    let mut text = format!("{}, {}, UID {}", victim.account, victim.mailbox, victim.uid);
    if victim.expunged {
        text.push_str(" (expunged, could be brought back)");
    }
    if let Some(subject) = &victim.subject {
        let subject: String =
            words::header_text(subject).chars().take(60).filter(|c| !wire::abnf::steers(*c)).collect();
        let _ = write!(text, ": {subject}");
    }
    text
}

fn page(directory: &Path, verified: &Verified, repaired: bool) -> String {
    let f = &verified.figures;
    let mut page = String::new();
    if repaired {
        page.push_str("Made anew: the index, digests, and snapshots as far as they were bad.\n\n");
    }
    for problem in &verified.problems {
        let place = problem.place.map(|(at, n)| format!(", {n} octets at {at}")).unwrap_or_default();
        let _ = writeln!(page, "WRONG: {}{place}: {}", problem.file, problem.what);
        for victim in problem.messages.iter().take(SHOWN) {
            let _ = writeln!(page, "  cannot be read: {}", name(victim));
        }
        let more = problem.more + problem.messages.len().saturating_sub(SHOWN) as u64;
        if more > 0 {
            let _ = writeln!(page, "  and {} more", number(more));
        }
        let _ = writeln!(page, "  What mends it: {}", advice(problem.mend));
    }
    let verdict = match verified.problems.len() {
        0 => "Everything is as it was written".to_owned(),
        n => format!("\n{}", count(n as u64, "problem")),
    };
    let _ = writeln!(page, "{verdict}, in {}.", directory.display());
    let index = match &verified.index_skipped {
        None => "compared with the log".to_owned(),
        Some(why) => format!("not compared: {why}"),
    };
    let log = format!(
        "{} in {} ({} compacted), {}",
        count(f.groups, "group"),
        count(f.segments, "segment"),
        f.compacted,
        octets(f.octets)
    );
    let records = format!(
        "{}, {} messages' octets, {} of them in files of their own",
        count(f.records, "record"),
        number(f.bodies),
        number(f.sides)
    );
    let mail =
        format!("{}, and {} that can be brought back", count(f.messages, "message"), number(f.retained));
    let rows = [
        ["Log", &log],
        ["", &records],
        ["Mail", &mail],
        ["Snapshots", &number(f.snapshots)],
        ["Index", &index],
        ["Digests", &format!("{}, not read", count(f.digests, "file"))],
    ]
    .map(|row| row.map(|cell: &str| cell.to_owned()).to_vec());
    let _ = write!(page, "\n{}", print::table(&[], rows));
    for note in &verified.notes {
        let _ = writeln!(page, "Note: {note}");
    }
    page
}

fn as_json(directory: &Path, verified: &Verified, repaired: bool) -> serde_json::Value {
    let message = |v: &Victim| {
        json!({
            "account": v.account,
            "mailbox": v.mailbox,
            "uid": v.uid,
            "expunged": v.expunged,
            "subject": v.subject.as_deref().map(words::header_text),
        })
    };
    let problem = |p: &Problem| {
        json!({
            "file": p.file,
            "offset": p.place.map(|(at, _)| at),
            "octets": p.place.map(|(_, n)| n),
            "what": p.what,
            "mend": match p.mend {
                Mend::Rebuild => "rebuild",
                Mend::Snapshot => "snapshot",
                Mend::Restore => "restore",
                Mend::Salvage => "salvage",
                Mend::Newer => "newer",
            },
            "advice": advice(p.mend),
            "messages": p.messages.iter().map(message).collect::<Vec<_>>(),
            "more": p.more,
        })
    };
    let f = &verified.figures;
    json!({
        "directory": directory,
        "sound": verified.problems.is_empty(),
        "repaired": repaired,
        "running": verified.running,
        "problems": verified.problems.iter().map(problem).collect::<Vec<_>>(),
        "notes": verified.notes,
        "index": verified.index_skipped.as_ref().map_or("compared", |_| "skipped"),
        "index_skipped": verified.index_skipped,
        "segments": f.segments,
        "compacted": f.compacted,
        "groups": f.groups,
        "records": f.records,
        "bodies": f.bodies,
        "octets": f.octets,
        "large_bodies": f.sides,
        "snapshots": f.snapshots,
        "messages": f.messages,
        "retained": f.retained,
        "digests": f.digests,
    })
}

/// `penfold salvage`
pub(super) fn salvage(args: &SalvageArgs) -> Result<ExitCode, Failure> {
    let (from, to) = (&args.directory, &args.to);
    reach(from)?;
    let is_store = ["log", "snapshot"].iter().any(|part| from.join(part).is_dir());
    if !is_store {
        return Err(Failure::new(
            Kind::NotFound,
            format!("there is neither a log nor a snapshot in {}", from.display()),
            "name a data directory (`data_dir` in the configuration), or a copy of one",
        ));
    }
    empty(to)?;
    let within = std::path::absolute(to).ok().zip(std::path::absolute(from).ok());
    if within.is_some_and(|(to, from)| to.starts_with(from)) {
        return Err(Failure::new(
            Kind::Usage,
            "what is salvaged cannot be put into the directory that it comes from",
            "name another directory with --to, best on another disk",
        ));
    }
    let into = match (args.rebuild, args.format) {
        (true, _) => run::Into::Store,
        (false, SalvageFormat::Maildir) => run::Into::Files(Format::Maildir),
        (false, SalvageFormat::Mbox) => run::Into::Files(Format::Mbox),
    };
    let reading = Bar::new(args.output.json, "reading segments");
    let giving = Bar::new(args.output.json, "messages");
    let progress = |pace: Pace| match pace {
        Pace::Reading { done, total } => reading.show(done, total),
        Pace::Giving { messages } => giving.count(messages),
    };
    let done = run::salvage(from, to, into, &progress);
    reading.end();
    giving.end();
    let (tally, report) = done?;
    tell(args, &tally, &report);
    Ok(ExitCode::SUCCESS)
}

fn tell(args: &SalvageArgs, tally: &Tally, report: &Path) {
    if args.output.json {
        return print::json(&json!({
            "to": args.to,
            "report": report,
            "messages": tally.messages,
            "recovered": tally.recovered,
            "damaged": tally.damaged,
            "lost": tally.lost,
            "waiting": tally.waiting,
            "waiting_lost": tally.waiting_lost,
            "whole": tally.whole,
            "octets": tally.octets,
            "bad_sectors": tally.bad_sectors,
        }));
    }
    let mut text = format!(
        "{} in their mailboxes, {} recovered, {} damaged, {} lost; {} in all.\n\
         {} says what was lost and why.\n",
        count(tally.messages, "message"),
        number(tally.recovered),
        number(tally.damaged),
        number(tally.lost),
        octets(tally.octets),
        report.display()
    );
    if tally.waiting + tally.waiting_lost > 0 || !tally.whole {
        let most = if tally.whole { "" } else { "At most " };
        let lost = match tally.waiting_lost {
            0 => String::new(),
            n => format!(", and {} more that cannot be read", number(n)),
        };
        let _ = writeln!(text, "{most}{} that waited to be sent{lost}.", count(tally.waiting, "message"));
        if !tally.whole {
            let _ = writeln!(text, "The log is damaged: some of them may have been sent since.");
        }
        if args.rebuild && tally.waiting > 0 {
            let _ = writeln!(
                text,
                "They are held: look at them with `penfold queue list`, then `penfold queue release` or `drop` them."
            );
        }
    }
    if args.rebuild {
        let to = args.to.display();
        let _ = writeln!(
            text,
            "{to} is a new store: set `data_dir` in the configuration to it (or move it in the old one's place), then \
             `penfold serve`. Mail programs will fetch everything again."
        );
    }
    print::out(&text);
}

fn empty(to: &Path) -> Result<(), Failure> {
    let holds = match std::fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_some(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Err(Failure::plain(Kind::Failed, format!("{} cannot be read: {e}", to.display()))),
    };
    if holds {
        return Err(Failure::new(
            Kind::AlreadyThere,
            format!("{} is not empty", to.display()),
            "name a directory that is not there yet with --to",
        ));
    }
    Ok(())
}

/// `penfold clock ...`
pub(super) fn clock(ask: &Asker, command: args::ClockCommand) -> Result<ExitCode, Failure> {
    let args::ClockCommand::Accept(output) = command;
    let answer = ask.ask_running(&Request::ClockAccept)?;
    let Answer::ClockAccepted { was_frozen } = answer else {
        return Err(Failure::plain(Kind::Failed, "the server answered something that was not asked"));
    };
    if output.json {
        print::json(&json!({"was_frozen": was_frozen}));
    } else if was_frozen {
        print::out("The clock is taken to be right: what is old enough is given up again.\n");
    } else {
        print::out("Nothing was frozen: the clock has not jumped.\n");
    }
    Ok(ExitCode::SUCCESS)
}

/// How far something is: one line that is written over on a terminal, a line each tenth otherwise.
struct Bar {
    what: &'static str,
    quiet: bool,
    terminal: bool,
    last: AtomicU64,
}

impl Bar {
    fn new(quiet: bool, what: &'static str) -> Bar {
        Bar { what, quiet, terminal: io::stderr().is_terminal(), last: AtomicU64::new(0) }
    }

    fn show(&self, done: u64, total: u64) {
        let percent = done.saturating_mul(100) / total.max(1);
        let step = if self.terminal { percent } else { percent / 10 };
        if self.quiet || self.last.swap(step, Ordering::Relaxed) == step {
            return;
        }
        match self.terminal {
            true => print::err(&format!("\r{}: {percent} %", self.what)),
            false => print::err(&format!("{}: {percent} %\n", self.what)),
        }
    }

    fn count(&self, n: u64) {
        if !self.quiet {
            self.last.store(1, Ordering::Relaxed);
            match self.terminal {
                true => print::err(&format!("\r{}: {}", self.what, number(n))),
                false if n.is_multiple_of(10_000) => print::err(&format!("{}: {}\n", self.what, number(n))),
                false => {}
            }
        }
    }

    fn end(&self) {
        if self.terminal && !self.quiet && self.last.swap(0, Ordering::Relaxed) > 0 {
            print::err("\r\x1b[K");
        }
    }
}
