//! What nameservers answer, as types; and how the library's answers are read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record};
use wire::addr::Domain;

/// Why there is no answer that could be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The name does not exist (NXDOMAIN).
    #[error("there is no such domain")]
    NoSuchDomain {
        /// DNSSEC proves it.
        secure: bool,
    },
    /// The name exists, and has no records of this kind.
    #[error("the domain has no such records")]
    NoRecords {
        /// DNSSEC proves it.
        secure: bool,
    },
    /// The domain says that it takes no mail (RFC 7505).
    #[error("the domain says that it takes no mail")]
    NullMx,
    /// Nobody knows now; ask again later.
    #[error("{0}")]
    Temporary(Why),
}

/// Why nobody knows now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// No answer came in time.
    #[error("the nameservers gave no answer in time")]
    TimedOut,
    /// DNSSEC says that the answer is forged or broken.
    #[error("the DNSSEC proof of the answer fails")]
    Bogus,
    /// A nameserver says that it cannot or will not (SERVFAIL, REFUSED).
    #[error("a nameserver says: {0}")]
    Refused(String),
    /// Whatever else the library says.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// Whether asking again later may bring another answer.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Error::Temporary(_))
    }
}

/// Who takes mail for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mx {
    /// The hosts, in no order. What is no host's name is left out, so that there may be none.
    pub hosts: Vec<MxHost>,
    /// DNSSEC proves it, aliases on the way included.
    pub secure: bool,
}

/// One host of an MX record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MxHost {
    /// Lower ones are tried first.
    pub preference: u16,
    /// The host.
    pub name: Domain,
}

/// The addresses of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Its IPv6 addresses, in no order.
    pub v6: Vec<Ipv6Addr>,
    /// Its IPv4 addresses, in no order.
    pub v4: Vec<Ipv4Addr>,
    /// DNSSEC proves them, aliases on the way included.
    pub secure: bool,
    /// Set if the name is an alias.
    pub alias: Option<Alias>,
}

impl Addresses {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = IpAddr> {
        self.v6.iter().copied().map(IpAddr::V6).chain(self.v4.iter().copied().map(IpAddr::V4))
    }
}

/// Where a chain of CNAME records leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The name at its end.
    pub end: Domain,
    /// DNSSEC proves its first step (and so the name itself lies in a signed zone).
    pub first_secure: bool,
}

/// Texts of TXT records, each with its pieces joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// One for each record.
    pub texts: Vec<Vec<u8>>,
    /// DNSSEC proves them.
    pub secure: bool,
}

/// A TLSA record (RFC 6698 s.2.1), as it stands: whether it can be used is for the reader to say.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tlsa {
    /// Certificate usage: 2 DANE-TA, 3 DANE-EE (RFC 7218).
    pub usage: u8,
    /// Selector: 0 the whole certificate, 1 its public key (SubjectPublicKeyInfo).
    pub selector: u8,
    /// Matching type: 0 as it is, 1 SHA-256, 2 SHA-512.
    pub matching: u8,
    /// What must match.
    pub data: Vec<u8>,
}

/// What is known of a host's TLSA records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsaAnswer {
    /// There are none that DNSSEC proves; and that there are none is certain, or certainly not to be proved.
    None,
    /// These, proved. At least one.
    Records(Vec<Tlsa>),
}

/// The records that answer a question, and the aliases on the way to them.
pub(super) struct Answer {
    pub(super) records: Vec<Record>,
    pub(super) chain: Vec<Step>,
}

/// A CNAME record: where it leads, and whether DNSSEC proves it.
pub(super) struct Step {
    pub(super) to: Name,
    secure: bool,
}

impl Answer {
    /// The data of the records.
    pub(super) fn data(&self) -> impl Iterator<Item = &RData> {
        self.records.iter().map(|record| &record.data)
    }

    /// Whether DNSSEC proves all of it.
    pub(super) fn secure(&self) -> bool {
        self.chain.iter().all(|step| step.secure)
            && self.records.iter().all(|record| record.proof == Proof::Secure)
    }

    /// Where the chain of aliases leads, if there is one.
    pub(super) fn alias(&self) -> Option<Alias> {
        let (first, last) = (self.chain.first()?, self.chain.last()?);
        Some(Alias { end: domain_of(&last.to)?, first_secure: first.secure })
    }
}

/// The step from a name, if it is among the records.
pub(super) fn step(records: &[Record], from: &Name) -> Option<Step> {
    records.iter().filter(|record| record.name == *from).find_map(|record| match &record.data {
        RData::CNAME(to) => Some(Step { to: to.0.clone(), secure: record.proof == Proof::Secure }),
        _ => None,
    })
}

/// Whether it is certain that a name below `host`, which lies in a signed zone, has no such records: there is a proof,
/// or the zone that says so begins below the host and is unsigned. The library takes a denial for unsigned if all that
/// comes with it is, whatever zone that is of; so whoever can change answers could hide a host's TLSA records.
pub(super) fn is_denied(found: &NoRecords, host: &Name) -> bool {
    found.soa.as_ref().is_some_and(|soa| {
        soa.proof == Proof::Secure
            || soa.proof == Proof::Insecure && host.zone_of(&soa.name) && *host != soa.name
    })
}

/// A host's name, if it is one.
pub(super) fn domain_of(name: &Name) -> Option<Domain> {
    let text = name.to_ascii();
    let domain = Domain::parse(text.strip_suffix('.').unwrap_or(&text).as_bytes()).ok()?;
    domain.name().is_some().then_some(domain)
}

impl From<NetError> for Error {
    fn from(error: NetError) -> Error {
        let none = |code: ResponseCode, secure: bool| match code {
            ResponseCode::NXDomain => Error::NoSuchDomain { secure },
            ResponseCode::NoError => Error::NoRecords { secure },
            other => Error::Temporary(Why::Refused(other.to_string())),
        };
        match error {
            NetError::Timeout => Error::Temporary(Why::TimedOut),
            NetError::Dns(DnsError::NoRecordsFound(found)) => {
                // Where the zone is signed the library has checked the denial before it gave this.
                let secure = found.soa.is_some_and(|soa| soa.proof == Proof::Secure);
                none(found.response_code, secure)
            }
            // A denial in a zone that counts as unsigned (RFC 9276 s.3.2: too many rounds of hashing).
            NetError::Dns(DnsError::Nsec { response, proof: Proof::Insecure, .. }) => {
                none(response.response_code, false)
            }
            NetError::Dns(DnsError::Nsec { .. } | DnsError::DnssecBogus) => Error::Temporary(Why::Bogus),
            NetError::Dns(DnsError::ResponseCode(code)) => Error::Temporary(Why::Refused(code.to_string())),
            other => Error::Temporary(Why::Other(other.to_string())),
        }
    }
}
