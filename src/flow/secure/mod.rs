//! How safe the way to another mail server must be: what its domain promises (DANE, MTA-STS), what the message asks
//! for (REQUIRETLS), and the strictest of it.
//!
//! Pure decisions here and in `dane`; `sts` reads records and policies, `fetch` gets them. What a certificate is held
//! against is checked in `tls::client`. A promise that is not kept delays the message, with a plain reason; it is
//! never sent less safely for that (RFC 7672 s.2.2, RFC 8461 s.5).
//!
//! RFC 7672, RFC 8461, RFC 8689, RFC 3207.

mod dane;
mod fetch;
pub mod fuzz;
pub mod sts;

use wire::addr::Domain;

use crate::dns::{self, Tlsa};
use crate::tls::client::Trust;

pub use dane::{Dane, discover};
pub use fetch::{Cache, Sts, StsSettings};

/// What the way to one host must be. In the order of strictness, but for `Dane` and `Verified`, which differ in whom
/// they trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// TLS is not even tried: with this host it has failed, and nothing asks for it.
    None,
    /// TLS if the host offers it, with any certificate. If the handshake fails: without.
    Opportunistic,
    /// TLS, with any certificate.
    Encrypted,
    /// TLS, with a certificate that a public authority vouches for, for one of these names.
    Verified(Vec<Domain>),
    /// TLS, with a certificate that one of the host's TLSA records tells of.
    Dane {
        /// The TLSA base domain: the name to ask for (SNI).
        base: Domain,
        /// The records, those that cannot be used among them.
        records: Vec<Tlsa>,
        /// Names, one of which the certificate must have where a record of usage 2 counts.
        names: Vec<Domain>,
    },
}

impl Need {
    /// Whether mail may go to the host without TLS.
    #[must_use]
    pub fn allows_plain(&self) -> bool {
        matches!(self, Need::None | Need::Opportunistic)
    }

    /// What is asked of the certificate, and the name to ask for, of a host that is called `host`.
    #[must_use]
    pub fn trust(&self, host: &Domain) -> (Domain, Trust) {
        match self {
            Need::None | Need::Opportunistic | Need::Encrypted => (host.clone(), Trust::Any),
            Need::Verified(names) => (host.clone(), Trust::Names(names.clone())),
            Need::Dane { base, records, names } => {
                (base.clone(), Trust::Dane { records: records.clone(), names: names.clone() })
            }
        }
    }
}

/// What the message asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// Nothing: what the domain promises counts.
    #[default]
    Nothing,
    /// REQUIRETLS (RFC 8689 s.4.2): to nobody whose name is not certain, and only with a certificate that is.
    RequireTls,
    /// `TLS-Required: No` (RFC 8689 s.5): arriving matters more than what the domain promises.
    NotRequired,
}

/// What is known of a host, when it is to be tried.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The recipients' domain.
    pub domain: &'a Domain,
    /// The host.
    pub host: &'a Domain,
    /// DNSSEC proves that the host is the domain's.
    pub mx_secure: bool,
    /// What `discover` says of its TLSA records.
    pub dane: &'a Result<Dane, dns::Error>,
    /// The domain's MTA-STS policy, if it has one that holds.
    pub sts: Option<&'a sts::Policy>,
    /// What the message asks for.
    pub asked: Asked,
}

/// Why a host must not be tried. All of it is temporary for the message, but for `NotRequireTls`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// Whether there are TLSA records is not known.
    #[error("whether {host} has TLSA records could not be found out: {why}")]
    Tlsa {
        /// The host.
        host: Domain,
        /// Why not.
        why: dns::Error,
    },
    /// The domain's MTA-STS policy does not name the host.
    #[error("{host} is none of the hosts that the MTA-STS policy of {domain} names")]
    NotInPolicy {
        /// The host.
        host: Domain,
        /// The domain.
        domain: Domain,
    },
    /// The message wants certainty that the domain does not offer (RFC 8689 s.4.2.1).
    #[error(
        "the sender requires TLS all the way, and neither DNSSEC nor MTA-STS says that {host} is a host of {domain}"
    )]
    NotRequireTls {
        /// The host.
        host: Domain,
        /// The domain.
        domain: Domain,
    },
}

impl Unsafe {
    /// Whether trying later may help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        !matches!(self, Unsafe::NotRequireTls { .. })
    }
}

/// What the way to a host must be: the strictest of what is promised and asked for.
///
/// DANE comes before MTA-STS for the certificate, and MTA-STS never makes up for DANE that fails (RFC 8461 s.2). The
/// names of a policy count beside DANE as well. A policy in testing asks for nothing (RFC 8461 s.5).
///
/// # Errors
/// Why the host must not be tried.
pub fn decide(facts: Facts<'_>) -> Result<Need, Unsafe> {
    let Facts { domain, host, mx_secure, dane, sts, asked } = facts;
    if asked == Asked::NotRequired {
        return Ok(Need::Opportunistic);
    }
    let enforced = sts.filter(|policy| policy.mode == sts::Mode::Enforce);
    if let Some(policy) = enforced
        && !policy.names(host)
    {
        return Err(Unsafe::NotInPolicy { host: host.clone(), domain: domain.clone() });
    }
    let dane = dane.as_ref().map_err(|why| Unsafe::Tlsa { host: host.clone(), why: why.clone() })?;
    let verified = || Need::Verified(vec![host.clone()]);
    let need = match dane {
        Dane::None if enforced.is_some() => verified(),
        Dane::None => Need::Opportunistic,
        // RFC 7672 s.2.2: there are records, so there is TLS. What MTA-STS can still ask for, it does.
        Dane::Unusable if enforced.is_some() => verified(),
        Dane::Unusable => Need::Encrypted,
        Dane::Records { base, records } => {
            // RFC 7672 s.3.2.2: the domain is as good a name as the host's.
            let mut names = vec![base.clone()];
            names.extend((domain != base).then(|| domain.clone()));
            Need::Dane { base: base.clone(), records: records.clone(), names }
        }
    };
    if asked != Asked::RequireTls {
        return Ok(need);
    }
    // RFC 8689 s.4.2.1: the host's name is certain by DNSSEC or by MTA-STS, and its certificate is checked.
    if !mx_secure && enforced.is_none() {
        return Err(Unsafe::NotRequireTls { host: host.clone(), domain: domain.clone() });
    }
    Ok(match need {
        Need::Dane { .. } | Need::Verified(_) => need,
        _ => verified(),
    })
}

#[cfg(test)]
mod tests;
