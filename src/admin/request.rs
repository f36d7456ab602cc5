//! What can be asked of `admin`, and what it answers: one variant a function, as typed values that also travel
//! over the control socket. No sentences here, except those an answer carries as data.

mod queue;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

pub use queue::*;

/// A password on its way to being hashed. Prints as `***`, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// Takes over a password as typed or generated.
    #[must_use]
    pub fn new(text: String) -> Password {
        Password(text)
    }

    /// The password itself. Every caller is a place where it may leak.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A question: one variant for each function of `admin`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Take mail for a domain.
    DomainAdd {
        /// As given.
        name: String,
    },
    /// All domains.
    DomainList,
    /// Stop taking mail for a domain.
    DomainRemove {
        /// As given.
        name: String,
    },
    /// Make an account with its mailboxes.
    AccountAdd {
        /// Its first address, which is also its login name.
        address: String,
        /// Its password.
        password: Password,
    },
    /// All accounts.
    AccountList,
    /// Give an account a new password; its sessions end.
    AccountPassword {
        /// One of its addresses.
        address: String,
        /// The new password.
        password: Password,
    },
    /// What an account may hold; nothing changes where nothing is said.
    AccountQuota {
        /// One of its addresses.
        address: String,
        /// Octets.
        storage: Limit,
        /// Messages.
        messages: Limit,
    },
    /// What an account may send to other hosts in a day; nothing changes where nothing is said.
    AccountLimit {
        /// One of its addresses.
        address: String,
        /// Messages; `None` is as the configuration has it.
        messages: Limit,
        /// Addresses that it has not written to within a year; `None` is as the configuration has it.
        new_recipients: Limit,
    },
    /// Remove an account with its mail; its sessions end.
    AccountRemove {
        /// One of its addresses.
        address: String,
    },
    /// Give an account one more address.
    AddressAdd {
        /// One of the account's addresses.
        account: String,
        /// The new one.
        address: String,
    },
    /// Take an address from an account.
    AddressRemove {
        /// One of the account's addresses.
        account: String,
        /// The one that goes.
        address: String,
    },
    /// Let an address lead to others.
    AliasAdd {
        /// The new address.
        address: String,
        /// Where its mail goes.
        to: Vec<String>,
    },
    /// All aliases.
    AliasList,
    /// Remove an alias.
    AliasRemove {
        /// Its address.
        address: String,
    },
    /// The DKIM keys, with the records to publish.
    DkimShow {
        /// As given; all domains if nothing is.
        domain: Option<String>,
    },
    /// New DKIM keys for a domain.
    DkimRotate {
        /// As given.
        domain: String,
        /// Their records are published: they sign from now on.
        activate: bool,
    },
    /// What waits to be sent to other hosts.
    QueueList {
        /// Which of it.
        which: QueueWhich,
        /// From after this message on.
        after: Option<String>,
        /// How many messages at most.
        most: u32,
    },
    /// One message of it, with its header.
    QueueShow {
        /// Its id.
        id: String,
    },
    /// Change what is to become of some of it.
    QueueChange {
        /// Of which.
        which: QueueWhich,
        /// How.
        change: QueueChange,
    },
    /// What became of messages.
    Trace {
        /// A Message-ID, an id, or an address.
        what: String,
    },
    /// Deleted mail that can be brought back.
    DeletedList {
        /// Which of it.
        which: Deleted,
    },
    /// Bring deleted mail back.
    DeletedRestore {
        /// What is named; nothing if `which` alone says what is meant.
        ids: Vec<String>,
        /// Which of it.
        which: Deleted,
        /// Where it goes.
        to: RestoreTo,
    },
    /// How the server is.
    Status,
    /// The clock is right although it jumped.
    ClockAccept,
    /// Put messages into an account's mailboxes: behind the answer come the frames of `port::frames`.
    Import {
        /// One of its addresses.
        account: String,
        /// Look at everything, change nothing.
        dry_run: bool,
    },
    /// Give all messages of an account: behind the answer the server sends the frames of `port::frames`.
    Export {
        /// One of its addresses.
        account: String,
    },
    /// Make a backup: behind the answer the server sends lines of [`super::BackupTold`].
    Backup(super::BackupOrder),
}

impl Request {
    /// Whether what is asked for travels behind the answer, so that the connection is used for nothing else afterwards.
    #[must_use]
    pub fn is_transfer(&self) -> bool {
        matches!(self, Request::Import { .. } | Request::Export { .. } | Request::Backup(_))
    }
}

/// What becomes of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// As it is.
    #[default]
    Keep,
    /// There is none.
    None,
    /// This.
    Set(u64),
}

impl Limit {
    /// The limit now, when it was `before`.
    #[must_use]
    pub fn after(self, before: Option<u64>) -> Option<u64> {
        match self {
            Limit::Keep => before,
            Limit::None => None,
            Limit::Set(limit) => Some(limit),
        }
    }
}

/// Which deleted mail is meant: what fits everything that is said here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Deleted {
    /// One of the account's addresses; `#3` for an account that is gone.
    pub account: Option<String>,
    /// The mailbox's name when the mail went.
    pub mailbox: Option<String>,
    /// Deleted then or later (seconds since 1970).
    pub since: Option<i64>,
    /// Deleted before then (seconds since 1970).
    pub until: Option<i64>,
    /// Part of the sender, as From shows it.
    pub from: Option<String>,
    /// Part of the subject.
    pub subject: Option<String>,
    /// Only what went with its whole mailbox.
    pub whole: bool,
    /// Also what still exists elsewhere in the account.
    pub all: bool,
}

/// Where deleted mail goes; where it was, if nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RestoreTo {
    /// One of the addresses of another account.
    pub account: Option<String>,
    /// A mailbox that is there.
    pub mailbox: Option<String>,
}

/// An answer: the variant that belongs to the request's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The domain is there now, under this (normalised) name.
    DomainAdded {
        /// Its name.
        name: String,
    },
    /// All domains, by name.
    Domains(Vec<DomainRow>),
    /// The domain is gone.
    DomainRemoved {
        /// Its name.
        name: String,
    },
    /// The account is there now.
    AccountAdded {
        /// Its number.
        id: u32,
        /// Its first address and login name, normalised.
        address: String,
    },
    /// All accounts, by login name.
    Accounts(Vec<AccountRow>),
    /// The password counts from now on.
    PasswordSet {
        /// The account's login name.
        address: String,
    },
    /// The account, with the quota that counts from now on.
    AccountQuota(AccountRow),
    /// The account, with the sending limits that count from now on.
    AccountLimit(AccountRow),
    /// The account and its mail are gone.
    AccountRemoved {
        /// What its login name was.
        address: String,
        /// How many messages went with it.
        messages: u64,
    },
    /// The account has one more address.
    AddressAdded {
        /// Its login name.
        login: String,
        /// The new address.
        address: String,
    },
    /// The account has one address less.
    AddressRemoved {
        /// Its login name.
        login: String,
        /// The address that is gone.
        address: String,
    },
    /// The alias is there now.
    AliasAdded(AliasRow),
    /// All aliases, by address.
    Aliases(Vec<AliasRow>),
    /// The alias is gone.
    AliasRemoved {
        /// Its address.
        address: String,
    },
    /// DKIM keys, by domain, newest first.
    Dkim(Vec<DkimRow>),
    /// What waits, the oldest first.
    Queue(QueuePage),
    /// One message that waits.
    QueueMessage {
        /// It.
        row: QueueRow,
        /// Its header.
        header: String,
    },
    /// It was changed.
    QueueChanged {
        /// For so many recipients.
        recipients: u64,
        /// So many were left alone, as they are being tried.
        busy: u64,
    },
    /// What became of messages.
    Traced {
        /// The newest last.
        fates: Vec<FateRow>,
        /// There are more, older ones.
        more: bool,
        /// What still waits.
        waits: Vec<QueueRow>,
    },
    /// Deleted mail, newest first.
    Deleted {
        /// Of all that, the first rows.
        rows: Vec<DeletedRow>,
        /// How many messages it is in all.
        messages: u64,
        /// Whether there are more rows than are told.
        more: bool,
    },
    /// Where mail is back.
    Restored(Vec<RestoredRow>),
    /// How the server is.
    Status(Box<Status>),
    /// The clock counts as right.
    ClockAccepted {
        /// Whether anything was frozen.
        was_frozen: bool,
    },
    /// The transfer may begin.
    Ready {
        /// The account's login name.
        account: String,
    },
    /// It begins.
    Begun,
}

/// What a DKIM key is good for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DkimState {
    /// It signs once its record is said to be published.
    Waiting,
    /// It signs.
    Active,
    /// It signs no more; its record is still needed.
    Retiring,
}

/// A DKIM key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DkimRow {
    /// Whose mail it signs.
    pub domain: String,
    /// Its selector.
    pub selector: String,
    /// `rsa-sha256` or `ed25519-sha256`.
    pub algorithm: String,
    /// What it is good for.
    pub state: DkimState,
    /// Since when (seconds since 1970).
    pub since: i64,
    /// Until when the record of a retiring key should stay (seconds since 1970).
    pub until: Option<i64>,
    /// The name of its TXT record, without the dot at the end.
    pub name: String,
    /// The record's value.
    pub value: String,
    /// The same in strings of at most 255 octets.
    pub strings: Vec<String>,
}

/// A deleted message, or a deleted mailbox with everything in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedRow {
    /// What names it, for bringing it back.
    pub id: String,
    /// When it went (seconds since 1970).
    pub at: i64,
    /// The account's login name; `#3` if it is gone.
    pub account: String,
    /// The mailbox's name then.
    pub mailbox: String,
    /// Whether the whole mailbox went.
    pub whole: bool,
    /// How many messages this row stands for.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// The sender; nothing for a mailbox.
    pub from: Option<String>,
    /// The subject; nothing for a mailbox.
    pub subject: Option<String>,
}

/// A mailbox that messages came back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredRow {
    /// The account's login name.
    pub account: String,
    /// The mailbox's name.
    pub mailbox: String,
    /// How many.
    pub messages: u64,
}

/// A domain, for a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainRow {
    /// Its name.
    pub name: String,
    /// Accounts with an address in it.
    pub accounts: u64,
    /// Aliases in it.
    pub aliases: u64,
}

/// An account, for a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRow {
    /// Its number.
    pub id: u32,
    /// What it logs in with.
    pub login: String,
    /// Its addresses; the login name is among them.
    pub addresses: Vec<String>,
    /// Messages in all its mailboxes.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// Messages to other hosts that it may send in a day, if that is not as the configuration has it.
    #[serde(default)]
    pub messages_a_day: Option<u64>,
    /// ... and addresses there that it has not written to within a year.
    #[serde(default)]
    pub new_recipients_a_day: Option<u64>,
    /// Messages to other hosts that it has sent in its day.
    #[serde(default)]
    pub messages_today: u64,
    /// ... and addresses there that it had not written to within a year.
    #[serde(default)]
    pub new_recipients_today: u64,
    /// How many messages it may hold, if there is a limit.
    #[serde(default)]
    pub messages_quota: Option<u64>,
    /// How many octets it may hold, if there is a limit.
    #[serde(default)]
    pub octets_quota: Option<u64>,
}

/// An alias, for a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRow {
    /// Its address.
    pub address: String,
    /// Where its mail goes.
    pub to: Vec<String>,
}

/// How the server is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The running server; none when the data directory was looked at without one.
    pub server: Option<ServerStatus>,
    /// The store.
    pub store: StoreStatus,
    /// Mail to other hosts, if a server runs.
    pub sent: Option<SentStatus>,
    /// How many domains there are.
    pub domains: u64,
    /// How many accounts there are.
    pub accounts: u64,
    /// How many aliases there are.
    pub aliases: u64,
}

/// What only a running server knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The program's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The name it greets with.
    pub hostname: String,
    /// Seconds since it began to listen.
    pub uptime_seconds: u64,
    /// What listens.
    pub listeners: Vec<ListenerStatus>,
    /// The certificate it shows.
    pub certificate: CertificateStatus,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// What is spoken: `smtp`, `submission`, `submissions`, `imap`, `imaps`, `pop3`, `pop3s`.
    pub protocol: String,
    /// Address and port.
    pub address: String,
    /// Connections open now.
    pub open: u64,
    /// Connections since the start.
    pub total: u64,
    /// Clients since the start that were not let in, because there were too many.
    pub refused: u64,
}

/// The certificate that clients see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The names it is for.
    pub names: Vec<String>,
    /// When it ends, in UTC: `2027-11-24T00:00:00Z`.
    pub expires: String,
    /// SHA-256 of its DER octets: upper-case hex pairs between colons, as mail programs show it.
    pub fingerprint: String,
    /// True when we signed it ourselves, so that mail programs will ask about it once.
    pub self_signed: bool,
    /// The file it came from.
    pub file: String,
}

/// The store's health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// The data directory.
    pub directory: String,
    /// What it can do now.
    pub mode: StoreMode,
    /// Why the index is not used any more, if it failed; the server is about to start again.
    pub condemned: Option<String>,
    /// Messages in all mailboxes.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// Commits since the store was opened.
    pub commits: u64,
    /// Commits refused since then.
    pub refused: u64,
    /// Groups of commits written since then, each with one fdatasync.
    pub groups: u64,
    /// Groups whose write or fdatasync failed since then. Anything but 0 means: look at the disk.
    pub failed_groups: u64,
    /// Octets of the log written since then.
    pub log_octets: u64,
    /// How long the last fdatasync took, in milliseconds; 0 when there was none yet.
    pub last_sync_ms: f64,
    /// The last snapshot: a start that cannot use the index begins with it.
    pub snapshot: Option<SnapshotStatus>,
    /// Why the last try to make one failed.
    pub snapshot_problem: Option<String>,
    /// Octets that compaction gave back to the file system since the store was opened.
    pub compacted_octets: u64,
    /// Why the last try to give space back failed.
    pub compaction_problem: Option<String>,
    /// Octets free on its file system, if they can be told.
    pub free: Option<u64>,
    /// Octets that must be free there for new mail to be taken.
    #[serde(default)]
    pub wanted_free: u64,
    /// True while a jump of the clock keeps everything that destroys from happening.
    pub time_frozen: bool,
    /// For how many seconds more, unless `clock accept` ends it.
    #[serde(default)]
    pub frozen_seconds: u64,
    /// Files that the disk failed to read, write or sync since the store was opened.
    #[serde(default)]
    pub disk_errors: Vec<DiskErrorRow>,
    /// Snapshots that are of no use.
    #[serde(default)]
    pub bad_snapshots: Vec<String>,
    /// Whether somebody should look at it: anything above is wrong. The exit code of `status` says so too.
    #[serde(default)]
    pub trouble: bool,
}

/// A file that the disk failed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskErrorRow {
    /// The file, in the data directory.
    pub file: String,
    /// How often.
    pub count: u64,
    /// When it first happened, in UTC.
    pub since: String,
    /// What happened last.
    pub what: String,
}

/// A snapshot of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotStatus {
    /// Its file, in the data directory.
    pub file: String,
    /// The time of what it holds, in UTC: `2027-11-24T00:00:00Z`.
    pub time: String,
    /// Messages in it.
    pub messages: u64,
    /// Octets of its file.
    pub octets: u64,
}

/// What the store can do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreMode {
    /// Everything.
    Serving,
    /// New mail is refused for want of space.
    LowSpace,
    /// It can only be read, until the next start.
    ReadOnly,
    /// Closed.
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_prints() {
        let request =
            Request::AccountAdd { address: "a@b.test".into(), password: Password::new("hunter2".into()) };
        let shown = format!("{request:?}");
        assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn requests_keep_their_shape_on_the_socket() {
        let cases = [
            (Request::Status, r#""status""#),
            (Request::DomainAdd { name: "b.test".into() }, r#"{"domain-add":{"name":"b.test"}}"#),
            (
                Request::AccountPassword {
                    address: "a@b.test".into(),
                    password: Password::new("x y".into()),
                },
                r#"{"account-password":{"address":"a@b.test","password":"x y"}}"#,
            ),
        ];
        for (request, json) in cases {
            assert_eq!(serde_json::to_string(&request).unwrap(), json);
            assert_eq!(serde_json::from_str::<Request>(json).unwrap(), request);
        }
    }
}
