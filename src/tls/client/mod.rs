//! TLS as the client: which certificates of other mail servers will do.
//!
//! What is asked of a certificate is decided elsewhere (`flow::secure`); here it is checked. A connection has its own
//! [`ClientSide`], which remembers what the check found. No sessions are resumed: each is checked anew.
//!
//! RFC 7672 and RFC 6698 (DANE, see `dane`), RFC 8461 s.4.1 (names), RFC 9525 (names in certificates, as the library
//! reads them: subjectAltName only).

mod dane;
mod verify;

use std::path::Path;
use std::sync::Arc;
use std::{fmt, io};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use wire::addr::Domain;
use wire::machine::Certificate;

use super::{Error, crypto, read};
use crate::dns::Tlsa;

pub use dane::is_usable;
use verify::Verifier;

/// What a peer's certificate must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Anything. What is known of it is said in the facts.
    Any,
    /// Vouched for by a public authority, for one of these names.
    Names(Vec<Domain>),
    /// As one of these TLSA records says (those that cannot be used are passed over: RFC 7672 s.3.1). The names are
    /// looked at for records of usage 2 only.
    Dane {
        /// The records.
        records: Vec<Tlsa>,
        /// Names of which the certificate must have one: the TLSA base domain, and the recipients' domain.
        names: Vec<Domain>,
    },
}

/// Makes client sides. Cheap to clone.
#[derive(Clone)]
pub struct Clients {
    roots: Arc<RootCertStore>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("roots", &self.roots.len()).finish()
    }
}

impl Clients {
    /// With the authorities that Mozilla trusts, as they were when this was built.
    #[must_use]
    pub fn public() -> Clients {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        Clients { roots: Arc::new(roots) }
    }

    /// With the authorities in this file only, in PEM.
    ///
    /// # Errors
    /// When it cannot be read, or there is none in it.
    pub fn with_authorities_of(file: &Path) -> Result<Clients, Error> {
        let mut roots = RootCertStore::empty();
        let pem = read(file)?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let unusable = |why: String| Error::Unusable { path: file.to_owned(), why };
            let certificate = certificate.map_err(|error| unusable(format!("{error:?}")))?;
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(Error::NoCertificate(file.to_owned()));
        }
        Ok(Clients { roots: Arc::new(roots) })
    }

    /// The client's side of one connection to `host`, which is what it asks for (SNI).
    ///
    /// # Errors
    /// When the library refuses its parameters.
    pub fn side(&self, host: &Domain, trust: Trust) -> Result<Arc<ClientSide>, Error> {
        let name = server_name(host)
            .ok_or_else(|| rustls::Error::General(format!("{host} is no name for a certificate")))?;
        let verifier = Arc::new(Verifier::new(&self.roots, trust)?);
        let mut config = ClientConfig::builder_with_provider(crypto())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_no_client_auth();
        // A resumed session shows no certificate.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(ClientSide { name, config: Arc::new(config), verifier }))
    }

    /// For HTTPS: a public authority must vouch for the host that is asked for.
    ///
    /// # Errors
    /// When the library refuses its parameters.
    pub fn https(&self) -> Result<Arc<ClientConfig>, Error> {
        let mut config = ClientConfig::builder_with_provider(crypto())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// The client's side of one connection.
pub struct ClientSide {
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    verifier: Arc<Verifier>,
}

impl ClientSide {
    /// The name that is asked for.
    #[must_use]
    pub fn name(&self) -> ServerName<'static> {
        self.name.clone()
    }

    /// What the handshake goes by.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// What is known of the peer's certificate, once the handshake is done.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        self.verifier.found()
    }
}

/// Why a handshake failed, in words for people.
#[must_use]
pub fn why(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(inner) => verify::in_words(inner),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the other server closed the connection".to_owned()
        }
        None => error.to_string(),
    }
}

fn server_name(host: &Domain) -> Option<ServerName<'static>> {
    match host.literal() {
        Some(ip) => Some(ServerName::from(ip)),
        None => ServerName::try_from(host.name()?.to_owned()).ok(),
    }
}

#[cfg(test)]
mod tests;
