//! What couriers need of the world: nameservers, certificates, who we are, a relay.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use wire::addr::Domain;
use wire::secret::Secret;
use wire::smtp::client::Timeouts;

use super::RELAY;
use crate::clock;
use crate::dns::Dns;
use crate::flow::House;
use crate::flow::route_out::{Families, Own};
use crate::flow::secure::Sts;
use crate::net::Stop;
use crate::tls::client::Clients;

/// What couriers need of the world.
pub struct Outward {
    /// The house that mail comes from.
    pub house: House,
    /// Nameservers.
    pub dns: Dns,
    /// Who may vouch for other hosts.
    pub clients: Clients,
    /// Policies.
    pub sts: Sts,
    /// Who we are.
    pub own: Own,
    /// Which addresses are used.
    pub families: Families,
    /// Our own addresses to come from.
    pub source: Vec<IpAddr>,
    /// The port of other mail servers.
    pub port: u16,
    /// How long replies may take.
    pub timeouts: Timeouts,
    /// A host that takes mail for others.
    pub relay: Option<Relay>,
    /// Nothing is sent: what would be lands in this account's INBOX (the demo).
    pub world: Option<store::AccountId>,
    /// Tells of the server's end.
    pub stop: Stop,
}

impl Outward {
    /// Our address to connect from to another, if one was chosen.
    #[must_use]
    pub fn source_for(&self, to: IpAddr) -> Option<IpAddr> {
        self.source.iter().copied().find(|ip| ip.is_ipv4() == to.is_ipv4())
    }
}

/// When mail goes by the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always; for these domains only, if there are any.
    Always,
    /// When a try without it has not worked so often, or port 25 seems to be closed.
    After(u16),
}

/// A host that takes mail for others (a smarthost).
#[derive(Debug)]
pub struct Relay {
    /// Its name, which its certificate must have.
    pub host: Domain,
    /// Its port.
    pub port: u16,
    /// TLS from the start, rather than by STARTTLS.
    pub implicit_tls: bool,
    /// TLS is not asked for: a relay on this host or this network.
    pub plain: bool,
    /// The login there, if it wants one.
    pub login: Option<(String, Secret<String>)>,
    /// When it is used.
    pub when: When,
    /// For which domains; empty: for all.
    pub domains: BTreeSet<String>,
}

impl Relay {
    /// Whether mail for a domain may go this way.
    #[must_use]
    pub fn is_for(&self, domain: &str) -> bool {
        domain == RELAY || is_among(&self.domains, domain)
    }
}

/// Whether a domain is one of these or below one; any is, where there are none.
#[must_use]
pub fn is_among(domains: &BTreeSet<String>, domain: &str) -> bool {
    let parents = domain.match_indices('.').map(|(at, _)| &domain[at + 1..]);
    domains.is_empty() || std::iter::once(domain).chain(parents).any(|d| domains.contains(d))
}

/// Whether port 25 is open from here: providers often close it.
#[derive(Debug, Default)]
pub struct Reach(Mutex<Reached>);

#[derive(Debug, Default)]
struct Reached {
    /// Hosts that have not answered since one did.
    silent: BTreeSet<IpAddr>,
    /// When one has.
    answered: Option<Duration>,
    told: bool,
}

/// So many hosts are not silent by chance.
const SILENT: usize = 3;
/// An answer counts for so long.
const FRESH: Duration = Duration::from_secs(6 * 3_600);

impl Reach {
    /// Somebody has answered.
    pub fn answered(&self) {
        let mut reached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *reached = Reached { answered: Some(clock::monotonic()), ..Reached::default() };
    }

    /// Nobody answered at an address.
    pub fn silent(&self, ip: IpAddr) {
        let tell = {
            let mut reached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if reached.silent.len() < 100 {
                reached.silent.insert(ip);
            }
            reached.is_blocked() && !std::mem::replace(&mut reached.told, true)
        };
        if tell {
            tracing::error!("{BLOCKED}");
        }
    }

    /// Whether port 25 seems to be closed.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_blocked()
    }
}

impl Reached {
    fn is_blocked(&self) -> bool {
        let fresh = self.answered.is_some_and(|at| clock::monotonic().saturating_sub(at) < FRESH);
        self.silent.len() >= SILENT && !fresh
    }
}

/// What to do when port 25 is closed.
pub const BLOCKED: &str = "no mail server answers on port 25: many providers close it. Ask yours to open it for this host \
                           (outgoing TCP port 25), or send by a relay: see [relay] in config.example.toml";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_port_is_known_by_several_silent_hosts_and_no_other() {
        let reach = Reach::default();
        let ip = |n: u8| IpAddr::from([192, 0, 2, n]);
        (0..9).for_each(|_| reach.silent(ip(1)));
        reach.silent(ip(2));
        assert!(!reach.is_blocked());
        reach.silent(ip(3));
        assert!(reach.is_blocked());
        reach.answered();
        assert!(!reach.is_blocked());
        (1..9).for_each(|n| reach.silent(ip(n)));
        assert!(!reach.is_blocked(), "one has answered lately");
    }

    #[test]
    fn a_relay_is_for_domains_and_what_is_below_them() {
        let mut relay = Relay {
            host: Domain::parse(b"relay.test").unwrap(),
            port: 587,
            implicit_tls: false,
            plain: false,
            login: None,
            when: When::Always,
            domains: BTreeSet::new(),
        };
        assert!(relay.is_for("example.org"));
        relay.domains.insert("example.org".into());
        assert!(relay.is_for("example.org") && relay.is_for("a.b.example.org"));
        assert!(!relay.is_for("anexample.org") && !relay.is_for("org"));
    }
}
