//! Accounts: people with mailboxes and a password.

use std::sync::Arc;

use store::{Account, Batch, Directory, Intent, Outcome, Quota, Target, Usage};

use crate::clock;
use crate::flow::allowances::{self, Custom, Spent};

use super::{AccountRow, Admin, Answer, Error, Limit, Password, address};

impl Admin {
    /// Makes an account with its mailboxes. Its address is its login name.
    pub(super) async fn account_add(&self, given: &str, password: &Password) -> Result<Answer, Error> {
        let (address, domain) = address::address(given)?;
        let may_be = |directory: &Directory| match directory.has_domain(&domain) {
            true => free(directory, &address),
            false => Err(Error::NoSuchDomain { name: domain.clone() }),
        };
        // Looked at twice, so that no hash is made for nothing, and nobody waits for one.
        may_be(&self.store.directory())?;
        let hash = self.hash(password).await?;
        let _alone = self.changing.lock().await;
        may_be(&self.store.directory())?;
        let intent =
            Intent::AddAccount { login: address.clone(), password: hash, addresses: vec![address.clone()] };
        let done = self.commit(Batch::of(intent)).await?;
        let id = done.outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Account(id) => Some(id.get()),
            _ => None,
        });
        tracing::info!(account = address, id, "account added");
        Ok(Answer::AccountAdded { id: id.unwrap_or_default(), address })
    }

    /// All accounts by login name, with what they hold.
    pub(super) fn account_list(&self) -> Result<Answer, Error> {
        let directory = self.store.directory();
        let rows: Result<Vec<AccountRow>, Error> =
            directory.accounts().map(|account| self.row(account)).collect();
        let mut rows = rows?;
        rows.sort_by(|a, b| a.login.cmp(&b.login));
        Ok(Answer::Accounts(rows))
    }

    fn row(&self, account: &Account) -> Result<AccountRow, Error> {
        let custom = Custom::of(&self.store, account.id)?;
        let spent = Spent::of(&self.store, account.id, clock::wall().seconds)?;
        let Usage { messages, storage } = self.store.usage(account.id);
        Ok(AccountRow {
            id: account.id.get(),
            login: account.login.clone(),
            addresses: account.addresses.clone(),
            messages,
            octets: storage,
            messages_a_day: custom.messages,
            new_recipients_a_day: custom.new_recipients,
            messages_today: spent.messages,
            new_recipients_today: spent.new_recipients,
            messages_quota: account.quota.messages,
            octets_quota: account.quota.storage,
        })
    }

    /// Limits what an account may hold. What it holds already stays, however much it is.
    pub(super) async fn account_quota(
        &self,
        given: &str,
        storage: Limit,
        messages: Limit,
    ) -> Result<Answer, Error> {
        let _alone = self.changing.lock().await;
        let account = find(&self.store.directory(), given)?;
        let before = account.quota;
        let quota =
            Quota { storage: storage.after(before.storage), messages: messages.after(before.messages) };
        if quota != before {
            self.commit(Batch::of(Intent::SetQuota { account: account.id, quota })).await?;
            tracing::info!(account = account.login, ?quota, "quota set");
        }
        let directory = self.store.directory();
        let account =
            directory.account(account.id).ok_or(Error::NoSuchAccount { address: given.to_owned() })?;
        Ok(Answer::AccountQuota(self.row(account)?))
    }

    /// Limits what an account may send to other hosts. It counts from the next message on.
    pub(super) async fn account_limit(
        &self,
        given: &str,
        messages: Limit,
        new_recipients: Limit,
    ) -> Result<Answer, Error> {
        let _alone = self.changing.lock().await;
        let account = find(&self.store.directory(), given)?;
        let before = Custom::of(&self.store, account.id)?;
        let custom = Custom {
            messages: messages.after(before.messages),
            new_recipients: new_recipients.after(before.new_recipients),
        };
        if custom != before {
            self.commit(Batch::of(custom.write(account.id))).await?;
            tracing::info!(account = account.login, ?custom, "sending limits set");
        }
        Ok(Answer::AccountLimit(self.row(&account)?))
    }

    /// Gives an account another password. Whoever is logged in with the old one is put out.
    pub(super) async fn account_password(&self, given: &str, password: &Password) -> Result<Answer, Error> {
        let account = find(&self.store.directory(), given)?;
        let hash = self.hash(password).await?;
        self.commit(Batch::of(Intent::SetPassword { account: account.id, password: hash })).await?;
        self.door.passwords().forget(account.id.get());
        tracing::info!(account = account.login, "password changed");
        Ok(Answer::PasswordSet { address: account.login.clone() })
    }

    /// Removes an account and its mail. No alias may lead to it any more.
    pub(super) async fn account_remove(&self, given: &str) -> Result<Answer, Error> {
        let _alone = self.changing.lock().await;
        let directory = self.store.directory();
        let account = find(&directory, given)?;
        for address in &account.addresses {
            nothing_leads_to(&directory, address)?;
        }
        let Usage { messages, .. } = self.store.usage(account.id);
        self.commit(Batch::of(Intent::RemoveAccount { account: account.id })).await?;
        self.door.passwords().forget(account.id.get());
        if let Err(error) = allowances::forget(&self.store, account.id.get()).await {
            tracing::warn!(%error, account = account.login, "what it has sent is forgotten later");
        }
        tracing::info!(account = account.login, messages, "account removed");
        Ok(Answer::AccountRemoved { address: account.login.clone(), messages })
    }

    /// Gives an account one more address: mail for it is its own, and it may send in its name and log in with it.
    pub(super) async fn address_add(&self, account: &str, given: &str) -> Result<Answer, Error> {
        let (address, domain) = address::address(given)?;
        let _alone = self.changing.lock().await;
        let directory = self.store.directory();
        let account = find(&directory, account)?;
        if !directory.has_domain(&domain) {
            return Err(Error::NoSuchDomain { name: domain });
        }
        free(&directory, &address)?;
        self.commit(Batch::of(Intent::AddAddress { account: account.id, address: address.clone() })).await?;
        tracing::info!(account = account.login, address, "address added");
        Ok(Answer::AddressAdded { login: account.login.clone(), address })
    }

    /// Takes an address from an account; not the one that it logs in with.
    pub(super) async fn address_remove(&self, account: &str, given: &str) -> Result<Answer, Error> {
        let (address, _) = address::address(given)?;
        let _alone = self.changing.lock().await;
        let directory = self.store.directory();
        let account = find(&directory, account)?;
        let login = account.login.clone();
        if address == login {
            return Err(Error::IsLogin { address });
        }
        if directory.resolve(&address) != Some(&Target::Account(account.id)) {
            return Err(Error::NotItsAddress { address, login });
        }
        nothing_leads_to(&directory, &address)?;
        let gone = Intent::RemoveAddress { account: account.id, address: address.clone() };
        self.commit(Batch::of(gone)).await?;
        tracing::info!(account = login, address, "address removed");
        Ok(Answer::AddressRemoved { login, address })
    }
}

/// The account that has an address or logs in by that name.
pub fn find(directory: &Directory, given: &str) -> Result<Arc<Account>, Error> {
    let (address, _) = address::address(given)?;
    if let Some(account) = directory.login(&address) {
        return Ok(Arc::clone(account));
    }
    match directory.resolve(&address) {
        Some(Target::Account(id)) => {
            directory.account(*id).map(Arc::clone).ok_or(Error::NoSuchAccount { address })
        }
        Some(Target::Alias(to)) => Err(Error::IsAlias { address, to: to.clone() }),
        None => Err(Error::NoSuchAccount { address }),
    }
}

/// Nobody has the address yet.
pub(super) fn free(directory: &Directory, address: &str) -> Result<(), Error> {
    let by = match directory.resolve(address) {
        Some(Target::Alias(to)) => format!("it is an alias for {}", to.join(", ")),
        Some(Target::Account(id)) => match directory.account(*id) {
            Some(account) if account.login != address => format!("it is an address of {}", account.login),
            _ => "there is such an account".into(),
        },
        None if directory.login(address).is_some() => "somebody logs in by that name".into(),
        None => return Ok(()),
    };
    Err(Error::AddressTaken { address: address.to_owned(), by })
}

/// No alias would be left leading nowhere.
pub(super) fn nothing_leads_to(directory: &Directory, address: &str) -> Result<(), Error> {
    let aliases: Vec<String> = directory
        .aliases()
        .filter(|(_, to)| to.iter().any(|target| address::is(target, address)))
        .map(|(alias, _)| alias.to_owned())
        .collect();
    if aliases.is_empty() {
        Ok(())
    } else {
        Err(Error::AliasesLeadHere { address: address.to_owned(), aliases })
    }
}
