//! How the server is: facts, no judgement.

use std::path::Path;

use super::{Admin, Answer, DiskErrorRow, SnapshotStatus, Status, StoreMode, StoreStatus};

impl Admin {
    /// What listens, who is connected, how the store and the certificate are.
    pub(super) fn status(&self) -> Answer {
        let directory = self.store.directory();
        let mut status = Status {
            server: self.server.as_ref().map(|facts| facts()),
            store: self.store_status(&self.directory),
            domains: 0,
            accounts: 0,
            aliases: 0,
        };
        status.domains = directory.domains().map(|_| 1).sum();
        status.aliases = directory.aliases().map(|_| 1).sum();
        for account in directory.accounts() {
            status.accounts += 1;
            let usage = self.store.usage(account.id);
            status.store.messages += usage.messages;
            status.store.octets += usage.storage;
        }
        Answer::Status(Box::new(status))
    }

    fn store_status(&self, directory: &Path) -> StoreStatus {
        let health = self.store.health();
        let trouble = in_trouble(&health);
        StoreStatus {
            directory: directory.display().to_string(),
            mode: match health.mode {
                store::Mode::Serving => StoreMode::Serving,
                store::Mode::LowSpace => StoreMode::LowSpace,
                store::Mode::ReadOnly => StoreMode::ReadOnly,
                store::Mode::Closed => StoreMode::Closed,
            },
            condemned: health.condemned,
            messages: 0,
            octets: 0,
            commits: health.commits,
            refused: health.refused,
            groups: health.groups,
            failed_groups: health.failed_groups,
            log_octets: health.log_octets,
            last_sync_ms: health.last_sync.as_secs_f64() * 1_000.0,
            snapshot: health.snapshot.map(|snapshot| SnapshotStatus {
                file: snapshot.file,
                time: jiff::Timestamp::from_second(snapshot.time.secs)
                    .map_or_else(|_| "unknown".into(), |time| time.to_string()),
                messages: snapshot.rows,
                octets: snapshot.octets,
            }),
            snapshot_problem: health.snapshot_failed,
            compacted_octets: health.compacted_octets,
            compaction_problem: health.compaction_failed,
            free: health.free,
            wanted_free: health.wanted,
            time_frozen: health.time_frozen,
            frozen_seconds: health.frozen_for.as_secs(),
            trouble,
            disk_errors: health.disk_errors.into_iter().map(row).collect(),
            bad_snapshots: health
                .bad_snapshots
                .into_iter()
                .map(|b| format!("{}: {}", b.file, b.what))
                .collect(),
        }
    }
}

/// Whether somebody should look at it.
fn in_trouble(health: &store::Health) -> bool {
    health.mode != store::Mode::Serving
        || health.condemned.is_some()
        || health.failed_groups > 0
        || !health.disk_errors.is_empty()
        || !health.bad_snapshots.is_empty()
}

fn row(error: store::DiskError) -> DiskErrorRow {
    let since = jiff::Timestamp::from_second(error.since.secs);
    DiskErrorRow {
        file: error.file,
        count: error.count,
        since: since.map_or_else(|_| "unknown".into(), |t| t.to_string()),
        what: error.what,
    }
}
