//! MTA-STS policies, fetched and remembered (RFC 8461 s.3.3, s.5.1).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wire::addr::Domain;
use wire::limits;

use super::sts::{Id, Kept, Mode, Policy, PolicyError};
use crate::dns::Dns;
use crate::flow::route_out::{Families, order};
use crate::net::Later;
use crate::net::https::{self, Get, HttpsError};
use crate::tls::client::Clients;

/// What remembers policies. They should outlive the process: a policy that is forgotten protects nobody whose DNS or
/// web server an attacker can silence.
pub trait Cache: Send + Sync {
    /// What was put for the domain last, if it is still there.
    fn get(&self, domain: &Domain) -> Option<Vec<u8>>;

    /// Remembers octets for a domain until a time (seconds since 1970), in the place of what was there. That it could
    /// not be done is for the cache to tell the log.
    fn put<'a>(&'a self, domain: &'a Domain, octets: Vec<u8>, until: i64) -> Later<'a, ()>;
}

/// How policies are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StsSettings {
    /// The port of HTTPS: 443, but in tests.
    pub port: u16,
    /// How long fetching one may take.
    pub within: Duration,
    /// Which addresses are used.
    pub families: Families,
}

impl Default for StsSettings {
    fn default() -> StsSettings {
        StsSettings { port: 443, within: limits::STS_FETCH, families: Families::V4First }
    }
}

/// Finds out the policies of domains.
pub struct Sts {
    dns: Dns,
    tls: Arc<rustls::ClientConfig>,
    cache: Arc<dyn Cache>,
    settings: StsSettings,
    /// Of each domain whose policy was to be fetched lately: when that failed last, in seconds since 1970. Held while
    /// it is fetched, so that messages for the same domain wait for one fetch.
    fetching: Mutex<HashMap<Domain, Slot>>,
}

type Slot = Arc<tokio::sync::Mutex<Option<i64>>>;

/// How many domains are remembered as fetched from lately, before old ones are forgotten.
const SLOTS: usize = 1_000;

/// Why a policy could not be fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Dns(#[from] crate::dns::Error),
    #[error("{0}")]
    Https(#[from] HttpsError),
    #[error("the web server answers {0}")]
    Status(u16),
    #[error("the web server says that it is {0}, not text/plain")]
    Type(String),
    #[error("{0}")]
    Policy(#[from] PolicyError),
    #[error("the domain's name is too long")]
    Name,
}

impl Sts {
    /// One that asks these nameservers and believes these authorities.
    ///
    /// # Errors
    /// When the TLS library refuses its parameters.
    pub fn new(
        dns: Dns,
        clients: &Clients,
        cache: Arc<dyn Cache>,
        settings: StsSettings,
    ) -> Result<Sts, crate::tls::Error> {
        Ok(Sts { dns, tls: clients.https()?, cache, settings, fetching: Mutex::default() })
    }

    /// The policy of a domain, if it has one that holds `now` (seconds since 1970). It is fetched if it is new; what is
    /// remembered counts for as long as it holds, whatever DNS and the web server say (RFC 8461 s.3.3). Policies that
    /// ask for nothing (mode none) are none.
    pub async fn policy(&self, domain: &Domain, now: i64) -> Option<Policy> {
        let record = name_under("_mta-sts", domain)?;
        let announced = match self.dns.txt(&record).await {
            Ok(texts) => Id::of(&texts.texts),
            Err(error) => {
                if error.is_temporary() {
                    tracing::info!(%domain, %error, "MTA-STS: no answer whether there is a policy");
                }
                None
            }
        };
        let kept = match announced {
            None => self.kept(domain, now),
            Some(id) => self.current(domain, id, now).await,
        };
        kept.map(|kept| kept.policy).filter(|policy| policy.mode != Mode::None)
    }

    fn kept(&self, domain: &Domain, now: i64) -> Option<Kept> {
        self.cache.get(domain).and_then(|octets| Kept::decode(&octets)).filter(|kept| kept.holds(now))
    }

    /// The policy that is announced by this id, or what is left of an older one.
    async fn current(&self, domain: &Domain, id: Id, now: i64) -> Option<Kept> {
        let is_current = |kept: &Kept| {
            // In the second half of its time it is fetched again, or a policy that never changes would end.
            kept.id == id && now - kept.fetched < i64::from(kept.policy.max_age / 2)
        };
        let kept = self.kept(domain, now);
        if kept.as_ref().is_some_and(is_current) {
            return kept;
        }
        let slot = self.slot(domain, now);
        let mut failed = slot.lock().await;
        // Somebody else may have fetched it while we waited.
        let kept = self.kept(domain, now);
        if kept.as_ref().is_some_and(is_current) || failed.is_some_and(|at| is_recent(at, now)) {
            return kept;
        }
        match self.fetch(domain).await {
            Ok(policy) => {
                let new = Kept { policy, id, fetched: now };
                self.cache.put(domain, new.encode(), new.expires()).await;
                *failed = None;
                Some(new)
            }
            Err(error) => {
                *failed = Some(now);
                let kept_is = if kept.is_some() { "the one remembered counts" } else { "none counts" };
                tracing::warn!(%domain, %error, "MTA-STS: the policy could not be fetched; {kept_is}");
                kept
            }
        }
    }

    fn slot(&self, domain: &Domain, now: i64) -> Slot {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if fetching.len() >= SLOTS {
            fetching.retain(|_, slot| match slot.try_lock() {
                Ok(failed) => failed.is_some_and(|at| is_recent(at, now)),
                Err(_) => true,
            });
        }
        Arc::clone(fetching.entry(domain.clone()).or_default())
    }

    async fn fetch(&self, domain: &Domain) -> Result<Policy, FetchError> {
        let host = name_under("mta-sts", domain).ok_or(FetchError::Name)?;
        let addresses = self.dns.addresses(&host).await?;
        let addresses: Vec<SocketAddr> = order(&addresses, self.settings.families, &mut |_| 0)
            .into_iter()
            .map(|ip| SocketAddr::new(ip, self.settings.port))
            .collect();
        let get = Get {
            host: host.name().ok_or(FetchError::Name)?,
            addresses: &addresses,
            path: "/.well-known/mta-sts.txt",
            limit: limits::STS_POLICY,
            within: self.settings.within,
        };
        let page = https::get(Arc::clone(&self.tls), get).await?;
        // RFC 8461 s.3.3: 200 only; a redirect is not followed.
        if page.status != 200 {
            return Err(FetchError::Status(page.status));
        }
        // RFC 8461 s.3.2: text/plain, so that nobody can upload a policy where only pictures may be.
        let kind = page.content_type.unwrap_or_default();
        let media = kind.split(';').next().unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case("text/plain") {
            return Err(FetchError::Type(media.escape_default().take(80).collect()));
        }
        Ok(Policy::parse(&page.content)?)
    }
}

fn is_recent(at: i64, now: i64) -> bool {
    // A clock that went back counts as time gone by.
    (at..at.saturating_add_unsigned(limits::STS_AGAIN.as_secs())).contains(&now)
}

/// `label.domain`, if the domain is a name that has room for it.
fn name_under(label: &str, domain: &Domain) -> Option<Domain> {
    Domain::parse(format!("{label}.{}", domain.name()?).as_bytes()).ok()
}
