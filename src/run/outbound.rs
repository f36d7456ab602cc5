//! What is needed to send mail to other hosts, put together from the configuration.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use store::{Batch, Book, Intent, Store};
use wire::addr::Domain;
use wire::limits;
use wire::secret::Secret;
use wire::smtp::client::Timeouts;

use super::Error;
use crate::config::{Config, RelayTls, RelayWhen};
use crate::disk;
use crate::dns::{Dns, Settings};
use crate::flow::House;
use crate::flow::queue::change;
use crate::flow::queue::outward::{Outward, Relay, When};
use crate::flow::queue::{self, Limits, Queue, Schedule};
use crate::flow::route_out::{Families, Own};
use crate::flow::secure::{Cache, Sts, StsSettings};
use crate::net::{Later, Stop};
use crate::tls::client::Clients;

/// The queue with what waits in it.
pub(super) fn queue(config: &Config, store: &Store) -> Result<Queue, Error> {
    let outbound = &config.outbound;
    let settings = queue::Settings {
        schedule: Schedule {
            waits: outbound.retry.iter().map(|span| span.0).collect(),
            give_up: outbound.give_up.0,
            notice: outbound.notice.0,
        },
        limits: Limits {
            couriers: outbound.connections,
            each: outbound.connections_per_host,
            ..Limits::default()
        },
        relay: always(config),
    };
    Queue::open(store, settings)
        .map_err(|why| Error::Io { what: "the queue cannot be read".into(), why: std::io::Error::other(why) })
}

/// What waited when a backup was made may have been sent since: nothing of it goes out by itself.
pub(super) fn hold_what_was_restored(store: &Store) -> Result<(), Error> {
    let failed = |why| Error::Io { what: "the queue cannot be held".into(), why: std::io::Error::other(why) };
    let recipients = change::hold_all(store).map_err(failed)?;
    if recipients > 0 {
        tracing::warn!(
            recipients,
            "what waited to be sent when the backup was made is held, for it may have been sent since: look at it with \
             `penfold queue list`, then `penfold queue release` or `drop` it"
        );
    }
    Ok(())
}

/// The domains whose mail always goes by the relay, which makes them one destination.
fn always(config: &Config) -> Option<BTreeSet<String>> {
    let relay = &config.relay;
    (relay.host.is_some() && relay.when == RelayWhen::Always).then(|| domains(&relay.domains))
}

/// Everything that couriers need. `world`: the demo's account that gets what would be sent.
pub(super) fn outward(
    config: &Config,
    house: House,
    own: Own,
    stop: Stop,
    world: Option<store::AccountId>,
) -> Result<Outward, Error> {
    let clients = match &config.outbound.authorities {
        Some(file) => Clients::with_authorities_of(file)?,
        None => Clients::public(),
    };
    let settings = Settings {
        servers: config.dns.servers.iter().map(|server| server.0).collect(),
        trust_anchor: config.dns.trust_anchor.clone(),
        ..Settings::default()
    };
    let dns = Dns::new(&settings).or_else(|error| {
        if world.is_none() {
            tracing::error!(%error, "no nameserver is known: 127.0.0.1 is asked; see [dns] in config.example.toml");
        }
        Dns::new(&Settings { servers: vec![([127, 0, 0, 1], 53).into()], ..Settings::default() })
    });
    let dns = dns.map_err(|why| Error::Io {
        what: "nameservers cannot be asked".into(),
        why: std::io::Error::other(why),
    })?;
    let families = families(config.outbound.ipv6);
    let sts = StsSettings { port: config.outbound.https_port, within: limits::STS_FETCH, families };
    let cache = Arc::new(Policies(house.store.clone()));
    Ok(Outward {
        sts: Sts::new(dns.clone(), &clients, cache, sts)?,
        dns,
        clients,
        own,
        families,
        source: config.outbound.source.clone(),
        port: config.outbound.smtp_port,
        timeouts: Timeouts::default(),
        relay: relay(config)?,
        world,
        stop,
        house,
    })
}

/// Who we are: names, the addresses that the configuration names, and where mail from other servers is taken.
pub(super) fn own(config: &Config, listens: Vec<SocketAddr>) -> Own {
    let names = std::iter::once(config.hostname()).chain(config.tls.names.iter().cloned());
    let names = names.filter_map(|name| Domain::parse(name.as_bytes()).ok()).collect();
    let listen = config.listen.smtp.iter().map(|address| address.0.ip());
    let addresses = listen.chain(config.outbound.source.iter().copied());
    Own {
        names,
        addresses: addresses.filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_canonical()).collect(),
        listens,
    }
}

/// Whether there is a way to IPv6 from here; asking the system sends nothing.
fn families(ipv6: bool) -> Families {
    // An address for documentation, which is nobody's.
    let anybody = IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
    let has_way = || {
        UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok_and(|socket| socket.connect((anybody, 25)).is_ok())
    };
    match ipv6 {
        false => Families::V4Only,
        true if has_way() => Families::V6First,
        true => Families::V4First,
    }
}

fn relay(config: &Config) -> Result<Option<Relay>, Error> {
    let relay = &config.relay;
    let Some(host) = &relay.host else { return Ok(None) };
    let bad = |what: String, why: std::io::Error| Error::Io { what, why };
    let host = Domain::parse(host.as_bytes())
        .map_err(|why| bad(format!("relay.host {host}"), std::io::Error::other(why.to_string())))?;
    let login = match (&relay.user, &relay.password_file) {
        (Some(user), Some(file)) => {
            let password =
                std::fs::read_to_string(file).map_err(|why| bad(file.display().to_string(), why))?;
            Some((user.clone(), Secret::new(password.trim_end_matches(['\r', '\n']).to_owned())))
        }
        _ => None,
    };
    Ok(Some(Relay {
        host,
        port: relay.port,
        implicit_tls: relay.tls == RelayTls::Implicit,
        plain: relay.tls == RelayTls::None,
        login,
        when: match relay.when {
            RelayWhen::Always => When::Always,
            RelayWhen::Fallback => When::After(relay.after),
        },
        domains: domains(&relay.domains),
    }))
}

/// Domains as they stand in addresses: in lower case, A-labels.
fn domains(given: &[String]) -> BTreeSet<String> {
    let kept = |domain: &String| match Domain::parse(domain.as_bytes()) {
        Ok(domain) => domain.to_string(),
        Err(_) => domain.to_ascii_lowercase(),
    };
    given.iter().map(kept).collect()
}

/// Policies of other domains, kept in the store.
struct Policies(Store);

impl Cache for Policies {
    fn get(&self, domain: &Domain) -> Option<Vec<u8>> {
        let line = disk::blocking(|| self.0.line(Book::Policies, domain.to_string().as_bytes()));
        Some(line.ok()??.value)
    }

    fn put<'a>(&'a self, domain: &'a Domain, octets: Vec<u8>, _until: i64) -> Later<'a, ()> {
        Box::pin(async move {
            let key = domain.to_string().into_bytes();
            let batch = Batch::of(Intent::Write { book: Book::Policies, key, value: octets });
            if let Err(error) = disk::commit(&self.0, batch).await {
                tracing::warn!(%domain, %error, "the MTA-STS policy could not be kept");
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_of_the_relay_may_be_written_either_way() {
        let given = ["Example.com", "B\u{fc}cher.example"].map(str::to_owned);
        let kept: Vec<String> = domains(&given).into_iter().collect();
        assert_eq!(kept, ["example.com", "xn--bcher-kva.example"]);
    }
}
