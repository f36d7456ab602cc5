//! Which TLSA records a host has, and whether they count (RFC 7672 s.2.2).

use wire::addr::Domain;

use crate::dns::{Addresses, Dns, Error, Tlsa, TlsaAnswer};
use crate::tls::client::is_usable;

/// What DANE says of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dane {
    /// Nothing: there are no records that DNSSEC proves.
    None,
    /// There are records, and none that mail servers can use: TLS, whatever the certificate (RFC 7672 s.2.2).
    Unusable,
    /// These count.
    Records {
        /// The TLSA base domain: the name that they were found at.
        base: Domain,
        /// The usable ones. At least one.
        records: Vec<Tlsa>,
    },
}

impl Dane {
    fn of(base: &Domain, records: Vec<Tlsa>) -> Dane {
        let records: Vec<Tlsa> = records.into_iter().filter(is_usable).collect();
        if records.is_empty() {
            return Dane::Unusable;
        }
        Dane::Records { base: base.clone(), records }
    }
}

/// The names at which a host's TLSA records may be, in their order (RFC 7672 s.2.2.3). None: the host is in no signed
/// zone, and must not be asked for any.
#[must_use]
pub fn bases(host: &Domain, addresses: &Addresses) -> Vec<Domain> {
    match &addresses.alias {
        None if addresses.secure => vec![host.clone()],
        None => Vec::new(),
        // The whole way is proved: where it ends, then where it began.
        Some(alias) if addresses.secure => vec![alias.end.clone(), host.clone()],
        // It leads out of the signed zone: only where it began.
        Some(alias) if alias.first_secure => vec![host.clone()],
        Some(_) => Vec::new(),
    }
}

/// Asks for a host's TLSA records.
///
/// # Errors
/// When it is not certain that there are none: the host must not be tried then (RFC 7672 s.2.1.2).
pub async fn discover(dns: &Dns, host: &Domain, addresses: &Addresses, port: u16) -> Result<Dane, Error> {
    for base in bases(host, addresses) {
        if let TlsaAnswer::Records(records) = dns.tlsa(&base, port).await? {
            return Ok(Dane::of(&base, records));
        }
    }
    Ok(Dane::None)
}
