//! DNS: the one room that asks nameservers. Answers are typed, and each says whether DNSSEC proves it.
//!
//! It validates by itself, from the root's key down: what a nameserver claims to have checked is not believed. An
//! answer whose proof fails (bogus) is an error like an answer that does not come: temporary, and never "no records".
//! It decides nothing: what an answer means for a message is said in `flow`.
//!
//! RFC 1035, RFC 4035 (DNSSEC), RFC 5321 s.5.1 (MX), RFC 7505 (null MX), RFC 6698 (TLSA).

mod answer;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::TrustAnchors;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use wire::addr::Domain;
use wire::limits;

pub use answer::{Addresses, Alias, Error, Mx, MxHost, Texts, Tlsa, TlsaAnswer, Why};
use answer::{Answer, Step, domain_of, is_denied, step};

/// How nameservers are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The nameservers, recursive ones; none: those of the system (`/etc/resolv.conf`).
    pub servers: Vec<SocketAddr>,
    /// A file with the keys that DNSSEC begins with, as a zone file's DNSKEY records; else the root's own, built in.
    pub trust_anchor: Option<PathBuf>,
    /// How long one nameserver may take for one answer.
    pub each_within: Duration,
    /// How long a question may take, with all that its proof needs.
    pub all_within: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            servers: Vec::new(),
            trust_anchor: None,
            each_within: Duration::from_secs(5),
            all_within: Duration::from_secs(30),
        }
    }
}

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The system's configuration cannot be read, or names no nameserver.
    #[error("/etc/resolv.conf names no nameserver that can be asked: {0}")]
    System(String),
    /// The file of keys cannot be used.
    #[error("{}: found no DNSKEY records that can be used: {why}", path.display())]
    TrustAnchor {
        /// The file.
        path: PathBuf,
        /// What the library says.
        why: String,
    },
}

/// Asks nameservers, and remembers their answers for as long as they hold.
#[derive(Clone)]
pub struct Dns {
    resolver: TokioResolver,
    all_within: Duration,
}

impl Dns {
    /// One that asks as the settings say. It asks nothing yet.
    ///
    /// # Errors
    /// When there is nobody to ask, or the file of keys is of no use.
    pub fn new(settings: &Settings) -> Result<Dns, SetupError> {
        let (config, mut options) = if settings.servers.is_empty() {
            let (config, options) = hickory_resolver::system_conf::read_system_conf()
                .map_err(|error| SetupError::System(error.to_string()))?;
            if config.name_servers().is_empty() {
                return Err(SetupError::System("it is empty".to_owned()));
            }
            (config, options)
        } else {
            let servers = settings.servers.iter().map(|server| name_server(*server)).collect();
            (ResolverConfig::from_parts(None, Vec::new(), servers), ResolverOpts::default())
        };
        options.validate = true;
        options.edns0 = true;
        options.timeout = settings.each_within;
        options.attempts = 2;
        // A host that we deliver to is what the world says it is.
        options.use_hosts_file = ResolveHosts::Never;
        // The proofs of a chain of aliases are in its CNAME records.
        options.preserve_intermediates = true;
        options.cache_size = limits::DNS_CACHE;
        options.positive_max_ttl = Some(limits::DNS_TTL);
        options.negative_max_ttl = Some(limits::DNS_NEGATIVE_TTL);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
        if let Some(path) = &settings.trust_anchor {
            let failed = |why: String| SetupError::TrustAnchor { path: path.clone(), why };
            let anchors = TrustAnchors::from_file(path).map_err(|error| failed(error.to_string()))?;
            if anchors.is_empty() {
                return Err(failed("there is none of the root in it".to_owned()));
            }
            builder = builder.with_trust_anchor(Arc::new(anchors));
        }
        let resolver = builder.build().map_err(|error| SetupError::System(error.to_string()))?;
        Ok(Dns { resolver, all_within: settings.all_within })
    }

    /// Who takes mail for a domain, by its MX records. Without any the domain itself is asked for addresses
    /// (RFC 5321 s.5.1): that is the caller's to do.
    ///
    /// # Errors
    /// `NullMx` among others.
    pub async fn mx(&self, domain: &Domain) -> Result<Mx, Error> {
        let answer = self.ask(fqdn(domain)?, RecordType::MX).await?;
        let mut hosts = Vec::new();
        let mut null = false;
        for data in answer.data() {
            let RData::MX(mx) = data else { continue };
            // RFC 7505 s.3: `0 .`, alone. Beside others it says nothing, and names no host.
            null |= mx.exchange.is_root();
            if let Some(name) = domain_of(&mx.exchange)
                && hosts.len() < limits::MX_RECORDS
            {
                hosts.push(MxHost { preference: mx.preference, name });
            }
        }
        if hosts.is_empty() && null {
            return Err(Error::NullMx);
        }
        Ok(Mx { hosts, secure: answer.secure() })
    }

    /// The addresses of a host. What one family lacks, or nobody knows of it, does not matter while the other has some.
    ///
    /// # Errors
    /// When there is none at all.
    pub async fn addresses(&self, host: &Domain) -> Result<Addresses, Error> {
        let name = fqdn(host)?;
        let (v6, v4) = tokio::join!(self.ask(name.clone(), RecordType::AAAA), self.ask(name, RecordType::A));
        let mut found = Addresses { v6: Vec::new(), v4: Vec::new(), secure: true, alias: None };
        for answer in [&v6, &v4].into_iter().flatten() {
            found.secure &= answer.secure();
            found.alias = found.alias.or_else(|| answer.alias());
            for data in answer.data() {
                match data {
                    RData::AAAA(ip) if found.v6.len() < limits::ADDRESSES => found.v6.push(ip.0),
                    RData::A(ip) if found.v4.len() < limits::ADDRESSES => found.v4.push(ip.0),
                    _ => {}
                }
            }
        }
        match (v6, v4) {
            _ if !found.v6.is_empty() || !found.v4.is_empty() => Ok(found),
            (Err(error), _) | (_, Err(error)) if error.is_temporary() => Err(error),
            (Err(error), _) | (_, Err(error)) => Err(error),
            _ => Err(Error::NoRecords { secure: false }),
        }
    }

    /// The TLSA records for a service of a host that lies in a signed zone (RFC 6698 s.3). For others do not ask: many
    /// nameservers of unsigned zones do not answer such questions at all (RFC 7672 s.2.2.3).
    ///
    /// # Errors
    /// `Temporary` only: when it is not certain that there are none.
    pub async fn tlsa(&self, host: &Domain, port: u16) -> Result<TlsaAnswer, Error> {
        let name = Name::from_ascii(format!("_{port}._tcp.{host}."));
        let name = name.map_err(|_| Error::Temporary(Why::Other(format!("{host} is no name for DNS"))))?;
        let answer = match self.look_up(name.clone(), RecordType::TLSA).await? {
            Ok(lookup) => self.answer(name, RecordType::TLSA, &lookup).await?,
            Err(NetError::Dns(DnsError::NoRecordsFound(found))) if !is_denied(&found, &fqdn(host)?) => {
                return Err(Error::Temporary(Why::Bogus));
            }
            Err(error) => match Error::from(error) {
                Error::NoSuchDomain { .. } | Error::NoRecords { .. } => return Ok(TlsaAnswer::None),
                other => return Err(other),
            },
        };
        if !answer.secure() {
            return Ok(TlsaAnswer::None);
        }
        let records: Vec<Tlsa> = answer
            .data()
            .filter_map(|data| match data {
                RData::TLSA(tlsa) => Some(Tlsa {
                    usage: tlsa.cert_usage.into(),
                    selector: tlsa.selector.into(),
                    matching: tlsa.matching.into(),
                    data: tlsa.cert_data.clone(),
                }),
                _ => None,
            })
            .take(limits::TLSA_RECORDS)
            .collect();
        Ok(if records.is_empty() { TlsaAnswer::None } else { TlsaAnswer::Records(records) })
    }

    /// The texts at a name, such as `_mta-sts.example.org`.
    ///
    /// # Errors
    /// When there is none.
    pub async fn txt(&self, name: &Domain) -> Result<Texts, Error> {
        let answer = self.ask(fqdn(name)?, RecordType::TXT).await?;
        let texts = answer.data().filter_map(|data| match data {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        });
        Ok(Texts { texts: texts.collect(), secure: answer.secure() })
    }

    async fn look_up(&self, name: Name, kind: RecordType) -> Result<Result<Lookup, NetError>, Error> {
        let asking = tokio::time::timeout(self.all_within, self.resolver.lookup(name, kind));
        asking.await.map_err(|_| Error::Temporary(Why::TimedOut))
    }

    async fn ask(&self, name: Name, kind: RecordType) -> Result<Answer, Error> {
        let lookup = self.look_up(name.clone(), kind).await??;
        self.answer(name, kind, &lookup).await
    }

    /// The records of an answer, with the whole way to them. The library forgets aliases whose end it remembers, and
    /// with them that they were not proved; so steps that are missing are asked for.
    async fn answer(&self, name: Name, kind: RecordType, lookup: &Lookup) -> Result<Answer, Error> {
        let no_answer = || Error::Temporary(Why::Other("the answer does not answer the question".to_owned()));
        let of_kind = || lookup.answers().iter().filter(|record| record.record_type() == kind);
        let end = of_kind().next().ok_or_else(no_answer)?.name.clone();
        let mut chain: Vec<Step> = Vec::new();
        while *chain.last().map_or(&name, |step| &step.to) != end {
            let at = chain.last().map_or(&name, |step| &step.to).clone();
            if chain.len() >= limits::ALIASES {
                return Err(Error::Temporary(Why::Other(
                    "too many aliases (CNAME) follow each other".to_owned(),
                )));
            }
            let next = match step(lookup.answers(), &at) {
                Some(next) => next,
                None => {
                    let asked = self.look_up(at.clone(), RecordType::CNAME).await??;
                    step(asked.answers(), &at).ok_or_else(no_answer)?
                }
            };
            chain.push(next);
        }
        Ok(Answer { records: of_kind().filter(|record| record.name == end).cloned().collect(), chain })
    }
}

/// The name with its last dot, so that no search list of the system is asked.
fn fqdn(domain: &Domain) -> Result<Name, Error> {
    let no_name = || Error::Temporary(Why::Other(format!("{domain} is no name for DNS")));
    Name::from_ascii(format!("{}.", domain.name().ok_or_else(no_name)?)).map_err(|_| no_name())
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}

#[cfg(test)]
mod tests;
