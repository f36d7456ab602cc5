//! What can go wrong in `admin`: typed, so that the command line and a page say the same thing, and so that it
//! travels over the control socket. `Display` says what happened and why; `advice` says what to do next.

use serde::{Deserialize, Serialize};

/// What a caller does with an error; the command line's exit codes come from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It was tried and did not work.
    Failed,
    /// What was given cannot be meant.
    Usage,
    /// The thing named is not there.
    NotFound,
    /// The thing to be made is there already.
    AlreadyThere,
    /// Nobody answered, or another process holds what is needed.
    Unreachable,
    /// The configuration is wrong.
    Configuration,
}

/// Why a function of `admin` did nothing. Whatever is returned here, nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Error {
    /// Not the form of a domain.
    #[error("{given:?} is not a domain name: {why}")]
    BadDomain {
        /// As given.
        given: String,
        /// What is wrong with it.
        why: String,
    },
    /// Not the form of an address.
    #[error("{given:?} is not a mail address: {why}")]
    BadAddress {
        /// As given.
        given: String,
        /// What is wrong with it.
        why: String,
    },
    /// Too short, too long, or with characters that clients cannot send.
    #[error("this password cannot be used: {why}")]
    BadPassword {
        /// What is wrong with it.
        why: String,
    },
    /// The domain is not one of ours.
    #[error("{name} is not a domain of this server")]
    NoSuchDomain {
        /// Its name.
        name: String,
    },
    /// No account has this address.
    #[error("there is no account {address}")]
    NoSuchAccount {
        /// The address.
        address: String,
    },
    /// No alias has this address.
    #[error("there is no alias {address}")]
    NoSuchAlias {
        /// The address.
        address: String,
    },
    /// An address was given that is an alias, where an account was meant.
    #[error("{address} is an alias for {}, not an account", to.join(", "))]
    IsAlias {
        /// The address.
        address: String,
        /// Where its mail goes.
        to: Vec<String>,
    },
    /// An address was given that belongs to an account, where an alias was meant.
    #[error("{address} is an address of the account {login}, not an alias")]
    IsAccount {
        /// The address.
        address: String,
        /// The account's login name.
        login: String,
    },
    /// An address is to go that an account logs in with.
    #[error("{address} is what its account logs in with, and stays as long as the account")]
    IsLogin {
        /// The address.
        address: String,
    },
    /// An address is to go that the account named does not have.
    #[error("{address} is not an address of the account {login}")]
    NotItsAddress {
        /// The address.
        address: String,
        /// The account's login name.
        login: String,
    },
    /// The account has no such mailbox.
    #[error("{account} has no mailbox {mailbox}")]
    NoSuchMailbox {
        /// The account.
        account: String,
        /// The mailbox's name.
        mailbox: String,
    },
    /// Not the form of what names deleted mail.
    #[error("{given:?} does not name deleted mail")]
    BadDeletedId {
        /// As given.
        given: String,
    },
    /// Nothing that was deleted fits.
    #[error("there is nothing to bring back for {what}")]
    NothingDeleted {
        /// What was looked for.
        what: String,
    },
    /// Mail can only come back to an account that is there.
    #[error("the account {account} is gone")]
    AccountIsGone {
        /// Its number.
        account: String,
    },
    /// The store cannot read what is asked for.
    #[error("the store cannot read this: {why}")]
    Unreadable {
        /// In its words.
        why: String,
    },
    /// The domain is one of ours already.
    #[error("{name} is a domain of this server already")]
    DomainExists {
        /// Its name.
        name: String,
    },
    /// The address leads somewhere already.
    #[error("{address} is taken already: {by}")]
    AddressTaken {
        /// The address.
        address: String,
        /// What it is.
        by: String,
    },
    /// Accounts or aliases are left in a domain that should go.
    #[error("{name} still has {}", list(left))]
    DomainInUse {
        /// Its name.
        name: String,
        /// The addresses in it.
        left: Vec<String>,
    },
    /// Aliases lead to an account or alias that should go.
    #[error("{address} is where {} leads", list(aliases))]
    AliasesLeadHere {
        /// The address.
        address: String,
        /// The aliases.
        aliases: Vec<String>,
    },
    /// No such message waits.
    #[error("no message {id} waits")]
    NotQueued {
        /// The id.
        id: String,
    },
    /// An alias's target is in our domain, but nobody has it.
    #[error("nobody has the address {target}")]
    TargetUnknown {
        /// The target.
        target: String,
    },
    /// An alias would lead to itself.
    #[error("{address} cannot lead to itself")]
    AliasToItself {
        /// The alias.
        address: String,
    },
    /// The store has no room left.
    #[error("the disk is nearly full, so the store takes nothing new")]
    Full,
    /// The store failed to write.
    #[error("the store could not write to its disk")]
    Broken,
    /// The server is going down.
    #[error("the server is stopping")]
    Stopping,
    /// It would be more than an account may hold.
    #[error("it would be more than the account's quota allows")]
    OverQuota,
    /// The store refused for a reason of its own.
    #[error("the store refused: {why}")]
    Refused {
        /// In its words.
        why: String,
    },
    /// No new keys wait for being published.
    #[error("{name} has no new DKIM keys that could sign now")]
    NoKeysWait {
        /// The domain.
        name: String,
    },
    /// There are no DKIM keys.
    #[error("there are no DKIM keys to be had: {why}")]
    Keys {
        /// In words.
        why: String,
    },
    /// The password could not be hashed.
    #[error("the password could not be hashed: {why}")]
    Hash {
        /// In its words.
        why: String,
    },
    /// There is no backup.
    #[error("there is no backup: {why}")]
    Backup {
        /// In words.
        why: String,
        /// For the exit code.
        kind: Kind,
        /// What to do next.
        next: Option<String>,
    },
    /// The two ends of the control socket do not understand each other.
    #[error("the running server speaks another control language than this program: {why}")]
    Control {
        /// What was seen.
        why: String,
    },
}

impl Error {
    /// What a caller does with it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Error::BadDomain { .. }
            | Error::BadAddress { .. }
            | Error::BadPassword { .. }
            | Error::BadDeletedId { .. } => Kind::Usage,
            Error::NoSuchDomain { .. }
            | Error::NoSuchAccount { .. }
            | Error::NoSuchAlias { .. }
            | Error::NotQueued { .. }
            | Error::IsAlias { .. }
            | Error::IsAccount { .. }
            | Error::NotItsAddress { .. }
            | Error::NoSuchMailbox { .. }
            | Error::NothingDeleted { .. }
            | Error::AccountIsGone { .. }
            | Error::NoKeysWait { .. }
            | Error::TargetUnknown { .. } => Kind::NotFound,
            Error::DomainExists { .. } | Error::AddressTaken { .. } => Kind::AlreadyThere,
            Error::Stopping | Error::Control { .. } => Kind::Unreachable,
            Error::Backup { kind, .. } => *kind,
            Error::DomainInUse { .. }
            | Error::IsLogin { .. }
            | Error::AliasesLeadHere { .. }
            | Error::AliasToItself { .. }
            | Error::Full
            | Error::Broken
            | Error::OverQuota
            | Error::Unreadable { .. }
            | Error::Refused { .. }
            | Error::Keys { .. }
            | Error::Hash { .. } => Kind::Failed,
        }
    }

    /// What to do next, where there is something to do.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        Some(match self {
            Error::NoKeysWait { name } => {
                format!("`penfold dkim rotate {name}` makes some, and shows what to publish first")
            }
            Error::BadDomain { .. } => "write it as it stands behind the @: example.org".into(),
            Error::BadAddress { .. } => "write it as name@domain: anna@example.org".into(),
            Error::NoSuchDomain { name } => {
                format!("`penfold domain list` shows the domains; `penfold domain add {name}` adds it")
            }
            Error::IsLogin { address } => {
                format!("`penfold account remove {address}` removes the account with its mail")
            }
            Error::NoSuchAccount { .. } | Error::NotItsAddress { .. } => {
                "`penfold account list` shows the accounts".into()
            }
            Error::NotQueued { .. } => {
                "`penfold queue list` shows what waits, `penfold trace` what became of the rest".into()
            }
            Error::NoSuchAlias { .. } => "`penfold alias list` shows the aliases".into(),
            Error::NoSuchMailbox { .. } => "leave --to away to have it where it was".into(),
            Error::BadDeletedId { .. } | Error::NothingDeleted { .. } => {
                "`penfold undelete list` shows what there is, with --all what still exists elsewhere too"
                    .into()
            }
            Error::AccountIsGone { account } => {
                format!("make one, and add `--account {account} --to-account ADDRESS`")
            }
            Error::Unreadable { .. } => "look at the server's log; `penfold status` shows the store".into(),
            Error::IsAlias { address, .. } => format!("`penfold alias remove {address}` removes an alias"),
            Error::IsAccount { address, login } if address == login => {
                format!("`penfold account remove {login}` removes an account")
            }
            Error::IsAccount { address, login } => {
                format!("`penfold account address remove {login} {address}` takes an address from an account")
            }
            Error::AddressTaken { .. } => {
                "choose another, or remove what has it (`penfold account list`, `penfold alias list`)".into()
            }
            Error::DomainInUse { .. } => {
                "remove them first (`penfold account remove`, `penfold alias remove`)".into()
            }
            Error::AliasesLeadHere { aliases, .. } => {
                let first = aliases.first().map_or("ALIAS", String::as_str);
                format!("remove what leads there first: `penfold alias remove {first}`")
            }
            Error::TargetUnknown { target } => {
                format!("`penfold account add {target}` makes an account for it")
            }
            Error::Full => {
                "make room on the file system of the data directory; `penfold status` shows it".into()
            }
            Error::Broken => {
                "look at the server's log and the disk; restart the server when it is mended".into()
            }
            Error::OverQuota => "`penfold account quota ADDRESS` shows it and changes it".into(),
            Error::Stopping => "try again when it has stopped or started again".into(),
            Error::Backup { next, .. } => return next.clone(),
            Error::Control { .. } => {
                "after an upgrade, restart the server: `systemctl restart penfold`".into()
            }
            Error::BadPassword { .. }
            | Error::DomainExists { .. }
            | Error::AliasToItself { .. }
            | Error::Refused { .. }
            | Error::Keys { .. }
            | Error::Hash { .. } => return None,
        })
    }
}

/// Up to five names in a sentence.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (1..=7).map(|n| format!("u{n}@b.test")).collect();
        let error = Error::DomainInUse { name: "b.test".into(), left: names };
        assert_eq!(
            error.to_string(),
            "b.test still has u1@b.test, u2@b.test, u3@b.test, u4@b.test, u5@b.test and 2 more"
        );
    }

    #[test]
    fn errors_survive_the_socket() {
        let error = Error::IsAlias { address: "i@b.test".into(), to: vec!["a@b.test".into()] };
        let json = serde_json::to_string(&error).unwrap();
        assert_eq!(serde_json::from_str::<Error>(&json).unwrap(), error);
    }
}
