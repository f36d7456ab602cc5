//! To which hosts mail for a domain goes, and in which order (RFC 5321 s.5.1). Pure, but for [`resolve`], which asks
//! for the hosts' addresses.
//!
//! RFC 7505 (null MX), RFC 5891 (names in other scripts: `wire::addr` has made A-labels of them), RFC 6724 and
//! RFC 8305 s.4 (addresses of both families take turns), RFC 3463 (what a failure is called).

use std::net::{IpAddr, SocketAddr};

use wire::addr::Domain;
use wire::limits;

use crate::dns::{Addresses, Dns, Error, Mx};

/// Who we are, so that mail does not come back to us.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// The names of this host.
    pub names: Vec<Domain>,
    /// Its addresses, as far as the configuration names them.
    pub addresses: Vec<IpAddr>,
    /// Where it takes mail from other servers: may be every address of it.
    pub listens: Vec<SocketAddr>,
}

impl Own {
    /// Whether a connection that has just been made is one to ourselves: it comes from the address that it goes to, at a
    /// port where we take mail. So our addresses need not be known where we listen on all of them.
    #[must_use]
    pub fn is_reached(&self, local: SocketAddr, peer: SocketAddr) -> bool {
        let is_at = |listens: &SocketAddr| {
            let all = listens.ip().is_unspecified() && listens.is_ipv4() == peer.is_ipv4();
            listens.port() == peer.port() && (all || listens.ip() == peer.ip())
        };
        local.ip() == peer.ip() && self.listens.iter().any(is_at)
    }
}

/// One host to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Its name; or an address literal, if the recipient's address has one.
    pub host: Domain,
    /// Its MX record's; 0 without one.
    pub preference: u16,
}

/// The hosts to try, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hops {
    /// At least one.
    pub hops: Vec<Hop>,
    /// DNSSEC proves that these are the domain's hosts. A domain without MX records is its own host: that, too, can be
    /// proved.
    pub secure: bool,
    /// There are no MX records: the domain is its own host.
    pub implicit: bool,
}

/// Why there is no host to try.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// RFC 7505.
    #[error("the domain {0} takes no mail: it says so in its DNS (null MX)")]
    NullMx(Domain),
    /// NXDOMAIN.
    #[error("there is no domain {0}")]
    NoSuchDomain(Domain),
    /// It is there, and no host takes its mail.
    #[error("no host takes mail for {0}: its DNS has neither MX records that name hosts nor addresses")]
    NoHosts(Domain),
    /// RFC 5321 s.5.1: the best host is this one, which does not take mail for it.
    #[error(
        "mail for {0} loops back to this server: its DNS says that this is its host, but it is none of its domains"
    )]
    LoopsBack(Domain),
    /// Nobody knows now.
    #[error("DNS for {domain}: {why}")]
    Temporary {
        /// The domain.
        domain: Domain,
        /// Why.
        why: Error,
    },
}

impl NoRoute {
    /// Whether trying later may help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, NoRoute::Temporary { .. })
    }

    /// The enhanced status code (RFC 3463, RFC 7505 s.4.2) for reports.
    #[must_use]
    pub fn status(&self) -> (u8, u16, u16) {
        match self {
            NoRoute::NullMx(_) => (5, 1, 10),
            NoRoute::NoSuchDomain(_) => (5, 1, 2),
            NoRoute::NoHosts(_) => (5, 4, 4),
            NoRoute::LoopsBack(_) => (5, 4, 6),
            NoRoute::Temporary { .. } => (4, 4, 3),
        }
    }
}

/// The hosts for a domain. `random(n)` gives a number below `n`: equal preferences are shuffled by it
/// (RFC 5321 s.5.1), so that all senders together share the load. `None` for `mx`: an address literal needs no answer.
///
/// # Errors
/// When there is none.
pub fn hops(
    domain: &Domain,
    mx: Result<Mx, Error>,
    own: &Own,
    random: &mut dyn FnMut(usize) -> usize,
) -> Result<Hops, NoRoute> {
    let itself = || vec![Hop { host: domain.clone(), preference: 0 }];
    if domain.literal().is_some() {
        return Hops { hops: itself(), secure: false, implicit: true }.without_names(own, domain);
    }
    let mx = match mx {
        Ok(mx) => mx,
        Err(Error::NullMx) => return Err(NoRoute::NullMx(domain.clone())),
        Err(Error::NoSuchDomain { .. }) => return Err(NoRoute::NoSuchDomain(domain.clone())),
        Err(Error::NoRecords { secure }) => {
            return Hops { hops: itself(), secure, implicit: true }.without_names(own, domain);
        }
        Err(why) => return Err(NoRoute::Temporary { domain: domain.clone(), why }),
    };
    let mut hops: Vec<Hop> =
        mx.hosts.into_iter().map(|host| Hop { host: host.name, preference: host.preference }).collect();
    hops.sort_by(|a, b| (a.preference, &a.host).cmp(&(b.preference, &b.host)));
    // A host that stands twice is tried once, at its best.
    let mut seen = std::collections::BTreeSet::new();
    hops.retain(|hop| seen.insert(hop.host.clone()));
    for equals in hops.chunk_by_mut(|a, b| a.preference == b.preference) {
        for end in (1..equals.len()).rev() {
            let other = random(end + 1).min(end);
            equals.swap(end, other);
        }
    }
    if hops.is_empty() {
        return Err(NoRoute::NoHosts(domain.clone()));
    }
    let mut hops = Hops { hops, secure: mx.secure, implicit: false }.without_names(own, domain)?;
    hops.hops.truncate(limits::MX_HOSTS);
    Ok(hops)
}

impl Hops {
    fn without_names(self, own: &Own, domain: &Domain) -> Result<Hops, NoRoute> {
        let is_us = |hop: &Hop| {
            own.names.contains(&hop.host)
                || hop.host.literal().is_some_and(|ip| own.addresses.contains(&ip.to_canonical()))
        };
        let ours = self.hops.iter().filter(|hop| is_us(hop)).map(|hop| hop.preference).min();
        self.better_than(ours, domain)
    }

    /// RFC 5321 s.5.1: what is not better than ourselves would only give the mail back to us.
    fn better_than(mut self, ours: Option<u16>, domain: &Domain) -> Result<Hops, NoRoute> {
        if let Some(ours) = ours {
            self.hops.retain(|hop| hop.preference < ours);
        }
        if self.hops.is_empty() { Err(NoRoute::LoopsBack(domain.clone())) } else { Ok(self) }
    }
}

/// A host with what DNS says of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The host.
    pub hop: Hop,
    /// Its addresses. Those of an address literal are never secure.
    pub addresses: Result<Addresses, Error>,
}

/// Asks for the addresses of all hosts at once.
pub async fn resolve(dns: &Dns, hops: &Hops) -> Vec<Resolved> {
    let mut asking = tokio::task::JoinSet::new();
    for (index, hop) in hops.hops.iter().cloned().enumerate() {
        let dns = dns.clone();
        asking.spawn(async move {
            let addresses = match hop.host.literal() {
                Some(ip) => Ok(literal(ip)),
                None => dns.addresses(&hop.host).await,
            };
            (index, Resolved { hop, addresses })
        });
    }
    let mut resolved = asking.join_all().await;
    resolved.sort_by_key(|(index, _)| *index);
    resolved.into_iter().map(|(_, resolved)| resolved).collect()
}

fn literal(ip: IpAddr) -> Addresses {
    let (v4, v6) = match ip {
        IpAddr::V4(ip) => (vec![ip], Vec::new()),
        IpAddr::V6(ip) => (Vec::new(), vec![ip]),
    };
    Addresses { v6, v4, secure: false, alias: None }
}

/// What is left when hosts with one of our addresses, and all that is not better, are left out; and why none is, when
/// none of them can be tried. A domain that is its own host and has no address has no host.
///
/// # Errors
/// When no host can be tried.
pub fn reachable(
    domain: &Domain,
    hops: &Hops,
    resolved: Vec<Resolved>,
    own: &Own,
) -> Result<Vec<Resolved>, NoRoute> {
    let is_us = |host: &Resolved| {
        host.addresses
            .as_ref()
            .is_ok_and(|found| found.all().any(|ip| own.addresses.contains(&ip.to_canonical())))
    };
    let ours = resolved.iter().filter(|host| is_us(host)).map(|host| host.hop.preference).min();
    let left: Vec<Resolved> =
        resolved.into_iter().filter(|host| ours.is_none_or(|ours| host.hop.preference < ours)).collect();
    if left.is_empty() {
        return Err(NoRoute::LoopsBack(domain.clone()));
    }
    if left.iter().any(|host| host.addresses.is_ok()) {
        return Ok(left);
    }
    let unknown = left.iter().find_map(|host| match &host.addresses {
        Err(why) if why.is_temporary() => Some(why.clone()),
        _ => None,
    });
    Err(match unknown {
        Some(why) => NoRoute::Temporary { domain: domain.clone(), why },
        None if hops.implicit && matches!(left[0].addresses, Err(Error::NoSuchDomain { .. })) => {
            NoRoute::NoSuchDomain(domain.clone())
        }
        None => NoRoute::NoHosts(domain.clone()),
    })
}

/// Which families of addresses are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// Both, IPv6 first: this host has a way to it.
    V6First,
    /// Both, IPv4 first: there is no way to IPv6 that we know of.
    V4First,
    /// IPv4 only.
    V4Only,
}

/// The addresses of a host in the order to try them: both families take turns, so that a broken one costs little.
/// Within a family they are shuffled (RFC 5321 s.5.1 leaves it open; DNS's own order is no better).
pub fn order(
    addresses: &Addresses,
    families: Families,
    random: &mut dyn FnMut(usize) -> usize,
) -> Vec<IpAddr> {
    let mut shuffled = |mut ips: Vec<IpAddr>| {
        for end in (1..ips.len()).rev() {
            let other = random(end + 1).min(end);
            ips.swap(end, other);
        }
        ips
    };
    let v6 = match families {
        Families::V4Only => Vec::new(),
        _ => shuffled(addresses.v6.iter().copied().map(IpAddr::V6).collect()),
    };
    let v4 = shuffled(addresses.v4.iter().copied().map(IpAddr::V4).collect());
    let (first, second) = if families == Families::V6First { (v6, v4) } else { (v4, v6) };
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::new();
    loop {
        let turn = [first.next(), second.next()];
        if turn == [None, None] {
            break;
        }
        order.extend(turn.into_iter().flatten());
    }
    order.truncate(limits::HOST_ADDRESSES);
    order
}

#[cfg(test)]
mod tests;
