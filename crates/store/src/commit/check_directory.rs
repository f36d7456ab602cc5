//! Intents about names: mailboxes, subscriptions, domains, accounts, addresses, aliases.

use wire::flag::SpecialUse;
use wire::ids::UidValidity;

use super::check::{Check, Stop};
use crate::id::{AccountId, MailboxId};
use crate::intent::{Intent, Outcome, Refused};
use crate::record::Record;
use crate::state::directory::{Account, MailboxInfo, Target};
use crate::state::names;

const INBOX: &str = "INBOX";

impl Check<'_, '_> {
    pub(super) fn directory_intent(&mut self, intent: &Intent) -> Result<Outcome, Stop> {
        match intent {
            Intent::CreateMailbox { account, path, special_use, subscribe } => {
                self.create_mailbox(*account, path, *special_use, *subscribe).map(Outcome::Created)
            }
            Intent::DeleteMailbox { mailbox } => self.delete_mailbox(*mailbox),
            Intent::RenameMailbox { mailbox, to } => self.rename_mailbox(*mailbox, to),
            Intent::Subscribe { account, path, on } => self.subscribe(*account, path, *on),
            Intent::AddDomain { name } => {
                names::domain(name)?;
                if self.draft.directory().has_domain(name) {
                    return Err(Refused::AlreadyExists.into());
                }
                self.done(&Record::Domain { name: name.clone() })
            }
            Intent::RemoveDomain { name } => self.remove_domain(name),
            Intent::AddAccount { login, password, addresses } => self.add_account(login, password, addresses),
            Intent::SetPassword { account, password } => {
                let credentials = self.account(*account)?.credentials.saturating_add(1);
                self.done(&Record::Password { id: *account, password: password.clone(), credentials })
            }
            Intent::SetQuota { account, quota } => {
                if self.account(*account)?.quota == *quota {
                    return Ok(Outcome::Done);
                }
                self.done(&Record::Quota { account: *account, quota: *quota })
            }
            Intent::RemoveAccount { account } => {
                self.account(*account)?;
                self.done(&Record::AccountGone { id: *account })
            }
            Intent::AddAddress { account, address } => {
                self.account(*account)?;
                self.add_address(*account, address)?;
                Ok(Outcome::Done)
            }
            Intent::RemoveAddress { account, address } => {
                if self.draft.directory().resolve(address) != Some(&Target::Account(*account)) {
                    return Err(Refused::NoSuchAddress(address.clone()).into());
                }
                self.done(&Record::AddressGone { account: *account, address: address.clone() })
            }
            Intent::AddAlias { address, to } => self.add_alias(address, to),
            Intent::RemoveAlias { address } => {
                if !matches!(self.draft.directory().resolve(address), Some(Target::Alias(_))) {
                    return Err(Refused::NoSuchAddress(address.clone()).into());
                }
                self.done(&Record::AliasGone { address: address.clone() })
            }
            _ => Err(Refused::BadBatch.into()),
        }
    }

    fn done(&mut self, record: &Record) -> Result<Outcome, Stop> {
        self.emit(record)?;
        Ok(Outcome::Done)
    }

    pub(super) fn account(&self, id: AccountId) -> Result<&Account, Refused> {
        self.draft.directory().account(id).map(|a| &**a).ok_or(Refused::NoSuchAccount)
    }

    fn info(&self, id: MailboxId) -> Result<MailboxInfo, Refused> {
        self.draft.directory().mailbox(id).map(|m| (**m).clone()).ok_or(Refused::NoSuchMailbox)
    }

    /// A UIDVALIDITY that no mailbox ever had (RFC 3501 s.2.3.1.1): the counter goes on, and starts from the time, so
    /// that a store begun anew differs from the one before.
    fn next_uid_validity(&self) -> Result<UidValidity, Refused> {
        let counted =
            self.draft.counters().uid_validity.checked_add(1).ok_or(Refused::Limit("UIDVALIDITY"))?;
        let timed = u32::try_from(self.now.secs.max(1)).unwrap_or(1);
        UidValidity::new(counted.max(timed)).ok_or(Refused::Limit("UIDVALIDITY"))
    }

    fn make_mailbox(
        &mut self,
        account: AccountId,
        path: &str,
        special_use: Option<SpecialUse>,
        subscribe: bool,
    ) -> Result<MailboxId, Stop> {
        let id = self.draft.counters().mailbox.checked_add(1).ok_or(Refused::Limit("mailboxes"))?;
        let id = MailboxId(id);
        let uid_validity = self.next_uid_validity()?;
        self.emit(&Record::Mailbox { id, account, path: path.to_owned(), uid_validity, special_use })?;
        if subscribe {
            self.subscribe_name(account, path)?;
        }
        Ok(id)
    }

    fn subscribe_name(&mut self, account: AccountId, path: &str) -> Result<(), Stop> {
        if !self.account(account)?.subscriptions.contains(path) {
            self.emit(&Record::Subscribed { account, path: path.to_owned(), on: true })?;
        }
        Ok(())
    }

    /// Makes the names above `path` that are not there (RFC 3501 s.6.3.3). A name that lives on without a mailbox
    /// because of its children stays as it is: it is there for the client.
    fn make_parents(&mut self, account: AccountId, path: &str, subscribe: bool) -> Result<(), Stop> {
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            let directory = self.draft.directory();
            if directory.mailbox_at(account, parent).is_none() && !directory.has_children(account, parent) {
                self.make_mailbox(account, parent, None, subscribe)?;
            }
        }
        Ok(())
    }

    pub(super) fn create_mailbox(
        &mut self,
        account: AccountId,
        path: &str,
        special_use: Option<SpecialUse>,
        subscribe: bool,
    ) -> Result<MailboxId, Stop> {
        self.account(account)?;
        let path = names::mailbox(path)?;
        let directory = self.draft.directory();
        if directory.mailbox_at(account, &path).is_some() {
            return Err(Refused::AlreadyExists.into());
        }
        if special_use.is_some_and(|s| directory.special(account, s).is_some()) {
            return Err(Refused::SpecialUseTaken.into());
        }
        self.make_parents(account, &path, subscribe)?;
        self.make_mailbox(account, &path, special_use, subscribe)
    }

    fn delete_mailbox(&mut self, id: MailboxId) -> Result<Outcome, Stop> {
        if self.info(id)?.path == INBOX {
            return Err(Refused::InboxCannot.into());
        }
        self.done(&Record::MailboxGone { id })
    }

    fn rename_mailbox(&mut self, id: MailboxId, to: &str) -> Result<Outcome, Stop> {
        let info = self.info(id)?;
        let to = names::mailbox(to)?;
        let directory = self.draft.directory();
        if directory.mailbox_at(info.account, &to).is_some() {
            return Err(Refused::AlreadyExists.into());
        }
        if info.path == INBOX {
            return self.rename_inbox(&info, &to);
        }
        if to.strip_prefix(&info.path).is_some_and(|rest| rest.starts_with('/')) {
            return Err(Refused::IntoItself.into());
        }
        let below = format!("{}/", info.path);
        let mut moves = vec![(id, info.path.clone(), to.clone())];
        for child in directory.mailboxes_of(info.account).filter(|m| m.path.starts_with(&below)) {
            let new = format!("{to}/{}", &child.path[below.len()..]);
            // A name that lived on without a mailbox can have children that stand in the way.
            if directory.mailbox_at(info.account, &new).is_some() {
                return Err(Refused::AlreadyExists.into());
            }
            names::mailbox(&new)?;
            moves.push((child.id, child.path.clone(), new));
        }
        let was_subscribed = self.account(info.account)?.subscriptions.clone();
        self.make_parents(info.account, &to, was_subscribed.contains(&info.path))?;
        for (id, old, new) in moves {
            self.emit(&Record::MailboxPath { id, path: new.clone() })?;
            // RFC 3501 s.6.3.6: the old name stays subscribed. The new one joins it, or clients that show only what is
            // subscribed would lose the mailbox.
            if was_subscribed.contains(&old) {
                self.subscribe_name(info.account, &new)?;
            }
        }
        Ok(Outcome::Done)
    }

    /// RFC 3501 s.6.3.5: the messages go, an empty INBOX stays, its children too.
    fn rename_inbox(&mut self, info: &MailboxInfo, to: &str) -> Result<Outcome, Stop> {
        self.make_parents(info.account, to, true)?;
        self.emit(&Record::MailboxPath { id: info.id, path: to.to_owned() })?;
        self.subscribe_name(info.account, to)?;
        self.make_mailbox(info.account, INBOX, None, true)?;
        Ok(Outcome::Done)
    }

    fn subscribe(&mut self, account: AccountId, path: &str, on: bool) -> Result<Outcome, Stop> {
        let path = names::mailbox(path)?;
        if self.account(account)?.subscriptions.contains(&path) == on {
            return Ok(Outcome::Done);
        }
        self.done(&Record::Subscribed { account, path, on })
    }

    fn remove_domain(&mut self, name: &str) -> Result<Outcome, Stop> {
        let directory = self.draft.directory();
        if !directory.has_domain(name) {
            return Err(Refused::NoSuchDomain(name.to_owned()).into());
        }
        if directory.targets().any(|(address, _)| names::address(address) == Ok(name)) {
            return Err(Refused::DomainInUse(name.to_owned()).into());
        }
        self.done(&Record::DomainGone { name: name.to_owned() })
    }

    fn add_account(&mut self, login: &str, password: &str, addresses: &[String]) -> Result<Outcome, Stop> {
        names::login(login)?;
        if self.draft.directory().login(login).is_some() {
            return Err(Refused::LoginTaken(login.to_owned()).into());
        }
        let id = AccountId(self.draft.counters().account.checked_add(1).ok_or(Refused::Limit("accounts"))?);
        self.emit(&Record::Account {
            id,
            login: login.to_owned(),
            password: password.to_owned(),
            created: self.now.secs,
        })?;
        self.make_mailbox(id, INBOX, None, true)?;
        for special_use in SpecialUse::ALL {
            self.make_mailbox(id, special_use.default_name(), Some(special_use), true)?;
        }
        for address in addresses {
            self.add_address(id, address)?;
        }
        Ok(Outcome::Account(id))
    }

    /// An address that nobody has, in a domain that is ours.
    fn free_address(&self, address: &str) -> Result<(), Refused> {
        let domain = names::address(address)?;
        let directory = self.draft.directory();
        if !directory.has_domain(domain) {
            return Err(Refused::NoSuchDomain(domain.to_owned()));
        }
        if directory.resolve(address).is_some() {
            return Err(Refused::AddressTaken(address.to_owned()));
        }
        Ok(())
    }

    fn add_address(&mut self, account: AccountId, address: &str) -> Result<(), Stop> {
        self.free_address(address)?;
        self.emit(&Record::Address { account, address: address.to_owned() })?;
        Ok(())
    }

    fn add_alias(&mut self, address: &str, to: &[String]) -> Result<Outcome, Stop> {
        self.free_address(address)?;
        if to.is_empty() || to.iter().any(|t| t == address) {
            return Err(Refused::BadName("an alias stands for other addresses").into());
        }
        if to.len() > wire::limits::RECIPIENTS {
            return Err(Refused::Limit("an alias stands for too many addresses").into());
        }
        self.done(&Record::Alias { address: address.to_owned(), to: to.to_vec() })
    }
}
