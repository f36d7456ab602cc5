//! Domains whose mail we take.

use std::collections::BTreeSet;

use store::{Batch, Intent, Target};

use super::{Admin, Answer, DomainRow, Error, address, dkim};

impl Admin {
    /// Takes mail for a domain from now on.
    pub(super) async fn domain_add(&self, given: &str) -> Result<Answer, Error> {
        let name = address::domain(given)?;
        let _alone = self.changing.lock().await;
        if self.store.directory().has_domain(&name) {
            return Err(Error::DomainExists { name });
        }
        let keys = self.first_keys(&name).await?;
        let mut batch = Batch::of(Intent::AddDomain { name: name.clone() });
        dkim::add(&mut batch, keys);
        self.commit(batch).await?;
        self.keyring.changed(&name);
        tracing::info!(domain = name, "domain added");
        Ok(Answer::DomainAdded { name })
    }

    /// All domains by name, with how much is in them.
    pub(super) fn domain_list(&self) -> Answer {
        let directory = self.store.directory();
        let rows = directory.domains().map(|name| {
            // An account counts once, however many addresses it has.
            let (mut accounts, mut aliases) = (BTreeSet::new(), 0);
            for (_, target) in directory.targets().filter(|(address, _)| is_in(address, name)) {
                match target {
                    Target::Account(id) => drop(accounts.insert(id.get())),
                    Target::Alias(_) => aliases += 1,
                }
            }
            DomainRow { name: name.to_owned(), accounts: accounts.len() as u64, aliases }
        });
        Answer::Domains(rows.collect())
    }

    /// Takes no mail for a domain any more. Nobody may be left in it.
    pub(super) async fn domain_remove(&self, given: &str) -> Result<Answer, Error> {
        let name = address::domain(given)?;
        let _alone = self.changing.lock().await;
        let directory = self.store.directory();
        if !directory.has_domain(&name) {
            return Err(Error::NoSuchDomain { name });
        }
        let left: Vec<String> = directory
            .targets()
            .filter(|(address, _)| is_in(address, &name))
            .map(|(address, _)| address.to_owned())
            .collect();
        if !left.is_empty() {
            return Err(Error::DomainInUse { name, left });
        }
        let mut batch = Batch::of(Intent::RemoveDomain { name: name.clone() });
        dkim::add(&mut batch, self.no_keys(&name)?);
        self.commit(batch).await?;
        self.keyring.changed(&name);
        tracing::info!(domain = name, "domain removed");
        Ok(Answer::DomainRemoved { name })
    }
}

/// Whether a canonical address lies in a domain.
fn is_in(address: &str, domain: &str) -> bool {
    address.rsplit_once('@').is_some_and(|(_, of)| of == domain)
}
