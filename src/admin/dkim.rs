//! DKIM keys: what of them is to be published, new ones instead of old ones, and none for domains that are gone.

use std::cmp::Reverse;

use store::{Batch, Intent};

use super::{Admin, Answer, DkimRow, DkimState, Error, address};
use crate::clock;
use crate::flow::dkim::{KEEP, Key, KeyError, State, pieces};

impl Admin {
    /// The keys of a domain, or of all, with what is to be published of them.
    pub(super) fn dkim_show(&self, given: Option<&str>) -> Result<Answer, Error> {
        let keys = match given {
            Some(given) => self.keys_of(&address::domain(given)?)?,
            None => self.keyring.all().map_err(unreadable)?,
        };
        Ok(Answer::Dkim(rows(&keys)?))
    }

    /// New keys for a domain that wait for being published; those that wait already, if there are some. With `activate`
    /// they sign from now on, and those that have signed so far retire.
    pub(super) async fn dkim_rotate(&self, given: &str, activate: bool) -> Result<Answer, Error> {
        let name = address::domain(given)?;
        let _alone = self.changing.lock().await;
        let keys = self.keys_of(&name)?;
        let now = clock::wall().seconds;
        let waits = keys.iter().any(|key| key.state == State::Waiting);
        let mut batch = Batch::new();
        if activate {
            if !waits {
                return Err(Error::NoKeysWait { name });
            }
            let turned = keys.iter().filter_map(|key| match key.state {
                State::Waiting => Some(key.turned(State::Active, now)),
                State::Active => Some(key.turned(State::Retiring, now)),
                State::Retiring => None,
            });
            add(&mut batch, turned.map(|key| key.write()));
        } else if !waits {
            let made = new_pair(&name, &keys, State::Waiting, now).await?;
            add(&mut batch, made.iter().map(Key::write));
        } else {
            return Ok(Answer::Dkim(rows(&keys)?));
        }
        self.commit(batch).await?;
        self.keyring.changed(&name);
        tracing::info!(domain = name, activate, "DKIM keys changed");
        Ok(Answer::Dkim(rows(&self.keys_of(&name)?)?))
    }

    fn keys_of(&self, name: &str) -> Result<Vec<Key>, Error> {
        if !self.store.directory().has_domain(name) {
            return Err(Error::NoSuchDomain { name: name.to_owned() });
        }
        self.keyring.keys(name).map_err(unreadable)
    }

    /// The lines of a new domain's keys. A domain whose name has no room for them is one without.
    pub(super) async fn first_keys(&self, name: &str) -> Result<Vec<Intent>, Error> {
        let taken = self.keyring.keys(name).map_err(unreadable)?;
        match new_pair(name, &taken, State::Active, clock::wall().seconds).await {
            Ok(made) => Ok(made.iter().map(Key::write).collect()),
            Err(Error::Keys { why }) if why == KeyError::DomainTooLong.to_string() => {
                tracing::warn!(domain = name, why, "this domain's mail will not be signed");
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// What takes the lines of a domain's keys away.
    pub(super) fn no_keys(&self, name: &str) -> Result<Vec<Intent>, Error> {
        self.keyring.strike(name).map_err(unreadable)
    }

    /// Sees to it that each domain has keys, and that none is kept that nobody looks up any more. To be called at the
    /// start and once a day; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// No key was made, or the store refuses.
    pub async fn tend_keys(&self, now: i64) -> Result<(), Error> {
        let _alone = self.changing.lock().await;
        let directory = self.store.directory();
        let overdue = now.saturating_sub(KEEP);
        let is_over = |key: &&Key| {
            key.state == State::Retiring && key.since <= overdue || !directory.has_domain(&key.domain)
        };
        let mut batch = Batch::new();
        let mut changed: Vec<String> = Vec::new();
        for key in self.keyring.all().map_err(unreadable)?.iter().filter(is_over) {
            tracing::info!(record = key.name(), "a DKIM key has retired: its record may go");
            batch.push(key.strike());
            changed.push(key.domain.clone());
        }
        for name in directory.domains() {
            // What is there and cannot be read counts: it may be of a newer version.
            if self.no_keys(name)?.is_empty() {
                let made = self.first_keys(name).await?;
                if !made.is_empty() {
                    tracing::info!(domain = name, "DKIM keys made; `penfold dkim show` has what to publish");
                    changed.push(name.to_owned());
                }
                add(&mut batch, made);
            }
        }
        if !changed.is_empty() {
            self.commit(batch).await?;
            changed.iter().for_each(|name| self.keyring.changed(name));
        }
        Ok(())
    }
}

/// Lines for one commit.
pub(super) fn add(batch: &mut Batch, lines: impl IntoIterator<Item = Intent>) {
    for line in lines {
        batch.push(line);
    }
}

/// Made where it may take its time.
async fn new_pair(name: &str, taken: &[Key], state: State, now: i64) -> Result<Vec<Key>, Error> {
    let (domain, taken) = (name.to_owned(), taken.to_vec());
    let made = tokio::task::spawn_blocking(move || Key::pair(&domain, &taken, state, now)).await;
    let made = made.map_err(|why| Error::Keys { why: why.to_string() })?;
    made.map_err(|why| Error::Keys { why: why.to_string() })
}

fn unreadable(why: store::index::IndexError) -> Error {
    Error::Unreadable { why: why.to_string() }
}

/// By domain, newest first, the kind that every server knows first.
fn rows(keys: &[Key]) -> Result<Vec<DkimRow>, Error> {
    let mut keys: Vec<&Key> = keys.iter().collect();
    keys.sort_by_key(|key| (&key.domain, Reverse(key.created), key.algorithm));
    keys.into_iter().map(row).collect()
}

fn row(key: &Key) -> Result<DkimRow, Error> {
    let record = key.record();
    let value = record.map_err(|why| Error::Unreadable { why: format!("the key {}: {why}", key.name()) })?;
    Ok(DkimRow {
        domain: key.domain.clone(),
        selector: key.selector.clone(),
        algorithm: key.algorithm.name().to_owned(),
        state: match key.state {
            State::Waiting => DkimState::Waiting,
            State::Active => DkimState::Active,
            State::Retiring => DkimState::Retiring,
        },
        since: key.since,
        until: (key.state == State::Retiring).then(|| key.since.saturating_add(KEEP)),
        name: key.name(),
        strings: pieces(&value),
        value,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::flow::dkim::Keyring;
    use crate::login::Door;
    use crate::password::Passwords;
    use crate::small_store;

    #[tokio::test]
    async fn each_domain_has_keys_and_what_has_retired_for_a_week_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = small_store::open(dir.path());
        let door = Door::new(store.clone(), Passwords::new().unwrap(), 10);
        let keyring = Keyring::new(store.clone());
        let admin = Admin::new(store.clone(), PathBuf::new(), door, keyring.clone(), None);
        let names = |domain: &str| -> Vec<String> {
            keyring.keys(domain).unwrap().into_iter().map(|key| key.selector).collect()
        };
        const NOW: i64 = 1_795_900_000;

        let mut batch = Batch::of(Intent::AddDomain { name: "b.test".into() });
        batch.push(Intent::AddDomain { name: "bare.test".into() });
        let old = Key::pair("b.test", &[], State::Retiring, NOW - KEEP).unwrap();
        let newer = Key::pair("b.test", &old, State::Retiring, NOW - KEEP + 1).unwrap();
        let orphans = Key::pair("gone.test", &[], State::Active, NOW).unwrap();
        add(&mut batch, [&old[..], &newer, &orphans].concat().iter().map(Key::write));
        admin.commit(batch).await.unwrap();
        assert_eq!(names("b.test").len(), 4);

        admin.tend_keys(NOW).await.unwrap();
        let mut left: Vec<String> = newer.into_iter().map(|key| key.selector).collect();
        left.sort();
        assert_eq!(names("b.test"), left);
        assert_eq!((names("bare.test").len(), names("gone.test").len()), (2, 0));
        assert!(keyring.keys("bare.test").unwrap().iter().all(|key| key.state == State::Active));
        let made = names("bare.test");
        admin.tend_keys(NOW).await.unwrap();
        assert_eq!((names("b.test"), names("bare.test")), (left, made), "nothing is made twice");
        store.close().unwrap();
    }
}
