//! `penfold status`: what `admin` found, as a page to read or a line of JSON.

use std::fmt::Write;
use std::process::ExitCode;

use super::ask::Asker;
use super::print::{self, Failure, count, duration, number, octets};
use crate::admin::{Answer, Kind, Request, ServerStatus, Status, StoreMode, StoreStatus};

/// Shows how the server is. Without a running one, the exit code says so.
pub(super) fn status(ask: &Asker, as_json: bool) -> Result<ExitCode, Failure> {
    let Answer::Status(status) = ask.ask(&Request::Status)? else {
        return Err(Failure::plain(Kind::Failed, "the server answered something that was not asked"));
    };
    if as_json {
        print::json(&status);
    } else {
        print::out(&page(&status));
    }
    Ok(match status.server {
        Some(_) if status.store.trouble => ExitCode::from(print::exit_code(Kind::Failed)),
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(print::exit_code(Kind::Unreachable)),
    })
}

fn page(status: &Status) -> String {
    let mut page = match &status.server {
        Some(server) => server_part(server),
        None => "Penfold is not running. Its data directory:\n".into(),
    };
    let people = [
        count(status.domains, "domain"),
        count(status.accounts, "account"),
        if status.aliases == 1 { "1 alias".into() } else { format!("{} aliases", number(status.aliases)) },
    ];
    let rows = [vec!["People".into(), people.join(", ")]].into_iter().chain(store_rows(&status.store));
    page.push('\n');
    page.push_str(&print::table(&[], rows));
    page
}

fn server_part(server: &ServerStatus) -> String {
    let mut page = format!(
        "Penfold {} on {}: up {}, process {}\n\n",
        server.version,
        server.hostname,
        duration(server.uptime_seconds),
        server.pid
    );
    page.push_str(&print::table(
        &["protocol", "address", ">open", ">since start", ">refused"],
        server.listeners.iter().map(|l| {
            vec![l.protocol.clone(), l.address.clone(), number(l.open), number(l.total), number(l.refused)]
        }),
    ));
    let certificate = &server.certificate;
    let kind = if certificate.self_signed { "self-signed" } else { "signed by an authority" };
    let _ = writeln!(page);
    page.push_str(&print::table(
        &[],
        [
            vec!["Certificate".into(), format!("{kind}, for {}", certificate.names.join(", "))],
            vec![String::new(), format!("ends {}", certificate.expires)],
            vec![String::new(), format!("SHA-256 {}", certificate.fingerprint)],
            vec![String::new(), certificate.file.clone()],
        ],
    ));
    page
}

fn store_rows(store: &StoreStatus) -> Vec<Vec<String>> {
    let mode = match store.mode {
        StoreMode::Serving => "in order".to_owned(),
        StoreMode::LowSpace => {
            let wanted = octets(store.wanted_free);
            format!("NEARLY FULL: new mail is refused until {wanted} are free on its file system")
        }
        StoreMode::ReadOnly => {
            "READ-ONLY after a failed write: look at the log and the disk, then restart".to_owned()
        }
        StoreMode::Closed => "closed".to_owned(),
    };
    let mut rows = vec![
        vec!["Mail".into(), format!("{}, {}", count(store.messages, "message"), octets(store.octets))],
        vec!["Store".into(), format!("{mode}, in {}", store.directory)],
    ];
    let mut more = |text: String| rows.push(vec![String::new(), text]);
    if store.groups > 0 {
        more(format!(
            "{} in {}, {} written; last fdatasync {:.1} ms",
            count(store.commits, "commit"),
            count(store.groups, "group"),
            octets(store.log_octets),
            store.last_sync_ms
        ));
    }
    if let Some(snapshot) = &store.snapshot {
        more(format!("last snapshot of {}, {}", snapshot.time, count(snapshot.messages, "message")));
    }
    if store.compacted_octets > 0 {
        more(format!("{} of deleted mail given back to the file system", octets(store.compacted_octets)));
    }
    if let Some(free) = store.free {
        more(format!("{} free on its file system", octets(free)));
    }
    if store.failed_groups > 0 {
        more(format!("FAILED WRITES: {}. Look at the log and the disk", number(store.failed_groups)));
    }
    if let Some(why) = &store.snapshot_problem {
        more(format!("SNAPSHOTS: {why}. Nothing is lost by it; look at the disk"));
    }
    if let Some(why) = &store.compaction_problem {
        more(format!("SPACE of deleted mail is not given back: {why}"));
    }
    if let Some(why) = &store.condemned {
        more(format!("THE INDEX FAILED ({why}): it is rebuilt at the next start"));
    }
    for error in &store.disk_errors {
        more(format!(
            "DISK ERROR: {} ({}, first at {}): {}",
            error.file,
            if error.count == 1 { "once".into() } else { format!("{} times", number(error.count)) },
            error.since,
            error.what
        ));
    }
    if !store.disk_errors.is_empty() {
        more("`penfold verify` says which messages it concerns; look at the disk".into());
    }
    for bad in &store.bad_snapshots {
        more(format!("BAD SNAPSHOT: {bad}. Nothing is lost by it; `penfold verify` reads everything"));
    }
    if store.time_frozen {
        more(format!(
            "THE CLOCK JUMPED: expunged mail is kept, and nothing is given up for its age, for {} more",
            duration(store.frozen_seconds)
        ));
        more("`penfold clock accept` ends that, once the clock is right".into());
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{CertificateStatus, DiskErrorRow, ListenerStatus, SnapshotStatus};

    fn example() -> Status {
        Status {
            server: Some(ServerStatus {
                version: "0.1.0".into(),
                pid: 42,
                hostname: "mail.b.test".into(),
                uptime_seconds: 3_700,
                listeners: vec![ListenerStatus {
                    protocol: "imaps".into(),
                    address: "[::]:993".into(),
                    open: 3,
                    total: 1_204,
                    refused: 0,
                }],
                certificate: CertificateStatus {
                    names: vec!["mail.b.test".into()],
                    expires: "2027-11-24T00:00:00Z".into(),
                    fingerprint: "AB:CD".into(),
                    self_signed: true,
                    file: "/var/lib/penfold/tls/own.pem".into(),
                },
            }),
            store: StoreStatus {
                directory: "/var/lib/penfold".into(),
                mode: StoreMode::Serving,
                condemned: None,
                messages: 2_000,
                octets: 3_000_000,
                commits: 7,
                refused: 0,
                groups: 5,
                failed_groups: 0,
                log_octets: 12_000,
                last_sync_ms: 1.25,
                snapshot: Some(SnapshotStatus {
                    file: "snapshot/0000000000000007.snap".into(),
                    time: "2026-11-24T00:00:00Z".into(),
                    messages: 1_900,
                    octets: 90_000,
                }),
                snapshot_problem: None,
                compacted_octets: 0,
                compaction_problem: None,
                free: Some(9_000_000_000),
                wanted_free: 500_000_000,
                time_frozen: false,
                frozen_seconds: 0,
                disk_errors: Vec::new(),
                bad_snapshots: Vec::new(),
                trouble: false,
            },
            domains: 1,
            accounts: 2,
            aliases: 1,
        }
    }

    #[test]
    fn the_page_lines_up() {
        let expected = "\
Penfold 0.1.0 on mail.b.test: up 1 h 1 min, process 42

PROTOCOL  ADDRESS   OPEN  SINCE START  REFUSED
imaps     [::]:993     3        1,204        0

Certificate  self-signed, for mail.b.test
             ends 2027-11-24T00:00:00Z
             SHA-256 AB:CD
             /var/lib/penfold/tls/own.pem

People  1 domain, 2 accounts, 1 alias
Mail    2,000 messages, 3.0 MB
Store   in order, in /var/lib/penfold
        7 commits in 5 groups, 12.0 kB written; last fdatasync 1.2 ms
        last snapshot of 2026-11-24T00:00:00Z, 1,900 messages
        9.0 GB free on its file system
";
        assert_eq!(page(&example()), expected);
    }

    #[test]
    fn a_nearly_full_disk_is_told_with_what_is_wanted() {
        let mut status = example();
        status.store.mode = StoreMode::LowSpace;
        let page = page(&status);
        assert!(page.contains("NEARLY FULL: new mail is refused until 500.0 MB are free"), "{page}");
        assert!(page.contains("9.0 GB free"), "{page}");
    }

    #[test]
    fn what_is_wrong_is_shouted() {
        let mut status = example();
        status.server = None;
        status.store.mode = StoreMode::ReadOnly;
        status.store.failed_groups = 1;
        status.store.condemned = Some("a panic".into());
        status.store.disk_errors.push(DiskErrorRow {
            file: "log/00000007.seg".into(),
            count: 3,
            since: "2027-01-15T08:00:00Z".into(),
            what: "Input/output error (os error 5)".into(),
        });
        status.store.bad_snapshots.push("snapshot/x.snap: the sum is another one".into());
        status.store.time_frozen = true;
        status.store.frozen_seconds = 7_200;
        status.store.snapshot_problem = Some("it was bad".into());
        status.store.compaction_problem = Some("segment 3 is damaged".into());
        let page = page(&status);
        for cry in [
            "not running",
            "READ-ONLY",
            "FAILED WRITES: 1",
            "THE INDEX FAILED (a panic)",
            "DISK ERROR: log/00000007.seg (3 times, first at 2027-01-15T08:00:00Z): Input/output error",
            "BAD SNAPSHOT: snapshot/x.snap",
            "for 2 h 0 min more",
            "penfold clock accept",
            "SNAPSHOTS: it was bad",
            "SPACE of deleted mail is not given back: segment 3 is damaged",
        ] {
            assert!(page.contains(cry), "{cry} is missing:\n{page}");
        }
    }
}
