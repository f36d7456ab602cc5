//! Aliases: further addresses that lead to accounts, directly or over other aliases.

use store::{Batch, Intent, Target};

use super::{Admin, AliasRow, Answer, Error, accounts, address};

impl Admin {
    /// Lets an address lead to others, here or elsewhere. Those here must exist; as what others lead to is never removed,
    /// no chain of aliases can come back to where it began.
    pub(super) async fn alias_add(&self, given: &str, targets: &[String]) -> Result<Answer, Error> {
        let (address, domain) = address::address(given)?;
        let _alone = self.changing.lock().await;
        let directory = self.store.directory();
        if !directory.has_domain(&domain) {
            return Err(Error::NoSuchDomain { name: domain });
        }
        accounts::free(&directory, &address)?;
        let mut to: Vec<String> = Vec::with_capacity(targets.len());
        for target in targets {
            let (canonical, domain) = address::address(target)?;
            if canonical == address {
                return Err(Error::AliasToItself { address });
            }
            if directory.has_domain(&domain) && directory.resolve(&canonical).is_none() {
                return Err(Error::TargetUnknown { target: canonical });
            }
            if to.iter().all(|other| !address::is(other, &canonical)) {
                // RFC 5321 s.2.4: what letters of an address elsewhere mean is known there only; to many hosts a final sigma
                // is not the other one.
                to.push(if directory.has_domain(&domain) { canonical } else { address::as_given(target)? });
            }
        }
        if to.is_empty() {
            return Err(Error::BadAddress { given: String::new(), why: "an alias leads somewhere".into() });
        }
        self.commit(Batch::of(Intent::AddAlias { address: address.clone(), to: to.clone() })).await?;
        tracing::info!(alias = address, to = to.join(", "), "alias added");
        Ok(Answer::AliasAdded(AliasRow { address, to }))
    }

    /// All aliases, by address.
    pub(super) fn alias_list(&self) -> Answer {
        let directory = self.store.directory();
        let rows = directory
            .aliases()
            .map(|(address, to)| AliasRow { address: address.to_owned(), to: to.to_vec() })
            .collect();
        Answer::Aliases(rows)
    }

    /// Removes an alias that no other leads to.
    pub(super) async fn alias_remove(&self, given: &str) -> Result<Answer, Error> {
        let (address, _) = address::address(given)?;
        let _alone = self.changing.lock().await;
        let directory = self.store.directory();
        match directory.resolve(&address) {
            None => return Err(Error::NoSuchAlias { address }),
            Some(Target::Account(id)) => {
                let login = directory.account(*id).map_or_else(|| address.clone(), |a| a.login.clone());
                return Err(Error::IsAccount { address, login });
            }
            Some(Target::Alias(_)) => accounts::nothing_leads_to(&directory, &address)?,
        }
        self.commit(Batch::of(Intent::RemoveAlias { address: address.clone() })).await?;
        tracing::info!(alias = address, "alias removed");
        Ok(Answer::AliasRemoved { address })
    }
}
