//! Aliases: further addresses that lead to accounts, directly or over other aliases.

use store::{Batch, Directory, Intent, Target};

use super::{Admin, AliasRow, Answer, Error, accounts, address};

impl Admin {
    /// Lets an address lead to others. They must exist here: this version does not deliver to other hosts.
    pub(super) async fn alias_add(&self, given: &str, targets: &[String]) -> Result<Answer, Error> {
        let (address, domain) = address::address(given)?;
        let directory = self.store.directory();
        if !directory.has_domain(&domain) {
            return Err(Error::NoSuchDomain { name: domain });
        }
        accounts::free(&directory, &address)?;
        let mut to: Vec<String> = Vec::with_capacity(targets.len());
        for target in targets {
            let (target, domain) = address::address(target)?;
            if target == address {
                return Err(Error::AliasLoop { path: vec![address.clone(), target], address });
            }
            if !directory.has_domain(&domain) {
                return Err(Error::TargetOutside { target });
            }
            if directory.resolve(&target).is_none() {
                return Err(Error::TargetUnknown { target });
            }
            if let Some(path) = way_back(&directory, &target, &address) {
                return Err(Error::AliasLoop { address, path });
            }
            if !to.contains(&target) {
                to.push(target);
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

/// The way from `from` over aliases to `to`, if there is one, beginning and ending with `to`.
///
/// An alias can only be made to lead to what exists, so a loop needs an alias that was removed and made again
/// while others led to it; `alias_remove` refuses that, and this holds even so.
fn way_back(directory: &Directory, from: &str, to: &str) -> Option<Vec<String>> {
    let mut seen = std::collections::BTreeSet::new();
    let mut open = vec![vec![to.to_owned(), from.to_owned()]];
    while let Some(path) = open.pop() {
        let last = path.last()?;
        if last == to {
            return Some(path);
        }
        if !seen.insert(last.clone()) {
            continue;
        }
        if let Some(Target::Alias(next)) = directory.resolve(last) {
            open.extend(next.iter().map(|target| [path.as_slice(), std::slice::from_ref(target)].concat()));
        }
    }
    None
}
