//! The certificate that this host shows, and what TLS is agreed to; what is asked of other servers' is in `client`.
//!
//! It comes from files, or is one of our own making (see `own`). It is looked at again when the files change and on
//! demand; a new pair is taken only if it is whole, so that a half-written renewal leaves the old one in place.
//! Connections keep what they began with.
//!
//! TLS 1.2 and 1.3 only (RFC 8314 s.4.1). No session tickets for other mail servers: some of Microsoft's senders
//! could not cope with them.

pub mod client;
mod own;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use std::{fmt, fs, io};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why there is no (new) certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file has no certificate in it.
    #[error("{}: found no certificate in it, expected PEM with -----BEGIN CERTIFICATE-----", .0.display())]
    NoCertificate(PathBuf),
    /// The file has no private key in it.
    #[error("{}: found no private key in it, expected PEM with -----BEGIN PRIVATE KEY-----", .0.display())]
    NoKey(PathBuf),
    /// The two are not a pair.
    #[error("the key {} is not the one of the certificate {}: were both renewed?", key.display(), certificate.display())]
    NoPair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate or key is of a kind that TLS cannot use.
    #[error("{}: not a certificate and key that TLS can use: {why}", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// What the library says.
        why: String,
    },
    /// The library refuses its own parameters.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// These files, kept by somebody else.
    Files {
        /// The chain, in PEM.
        certificate: PathBuf,
        /// The private key, in PEM.
        key: PathBuf,
    },
    /// We make it ourselves.
    Own {
        /// Where it is kept: `tls/` of the data directory.
        dir: PathBuf,
        /// The names it is for; the host's first.
        names: Vec<String>,
    },
}

/// What people are told of the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The file that it stands in.
    pub file: PathBuf,
    /// SHA-256 of the certificate in hexadecimal with colons, as mail programs show it.
    pub fingerprint: String,
    /// The names and addresses it is for.
    pub names: Vec<String>,
    /// From when it holds, in seconds since 1970.
    pub not_before: i64,
    /// Until when it holds, in seconds since 1970.
    pub not_after: i64,
    /// Whether it vouches for itself.
    pub self_signed: bool,
}

/// The certificate in use.
pub struct Certificates {
    source: Source,
    current: ArcSwap<Current>,
    /// What the files looked like when they were last read, well or not.
    seen: Mutex<Option<Stamp>>,
}

struct Current {
    key: Arc<CertifiedKey>,
    facts: Arc<Facts>,
}

/// Size, time and number of both files: what changes when they do.
type Stamp = [(u64, Option<SystemTime>, u64); 2];

/// What a look at the files brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Nothing has changed.
    Same,
    /// A new certificate is in use.
    New,
}

impl Certificates {
    /// Reads the certificate, or makes one. `now` is seconds since 1970.
    pub fn open(source: Source, now: i64) -> Result<Arc<Certificates>, Error> {
        if let Source::Own { dir, names } = &source {
            own::provide(dir, names, now)?;
        }
        let stamp = stamp(&source);
        let current = load(&source)?;
        Ok(Arc::new(Certificates {
            source,
            current: ArcSwap::from_pointee(current),
            seen: Mutex::new(Some(stamp)),
        }))
    }

    /// Looks whether there is a new one: always reads the files if `must`, else if they look different. One of our
    /// own is renewed a month before its end. On an error the old one stays; the same files are not complained about
    /// twice.
    pub fn look(&self, must: bool, now: i64) -> Result<Looked, Error> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Source::Own { dir, names } = &self.source {
            own::provide(dir, names, now)?;
        }
        let stamp = stamp(&self.source);
        if !must && *seen == Some(stamp) {
            return Ok(Looked::Same);
        }
        *seen = Some(stamp);
        let new = load(&self.source)?;
        if new.facts.fingerprint == self.facts().fingerprint {
            return Ok(Looked::Same);
        }
        self.current.store(Arc::new(new));
        Ok(Looked::New)
    }

    /// Looks every ten seconds, for ever, and logs what it sees. `now` is asked for the time.
    pub async fn keep_looking(self: Arc<Self>, now: impl Fn() -> i64 + Send) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look_and_log(false, now());
        }
    }

    /// One look, told to the log: for SIGHUP, with `must`.
    pub fn look_and_log(&self, must: bool, now: i64) {
        match self.look(must, now) {
            Ok(Looked::Same) => {}
            Ok(Looked::New) => tracing::info!(certificate = %self.facts(), "a new certificate is in use"),
            Err(error) => tracing::error!(%error, "the new certificate is not used, the old one stays"),
        }
    }

    /// What is known of the certificate in use.
    #[must_use]
    pub fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.current.load().facts)
    }

    /// For listeners that mail programs use: they come back often, and session tickets save them a round trip.
    pub fn for_clients(self: &Arc<Self>) -> Result<Arc<ServerConfig>, Error> {
        let mut config = self.config()?;
        config.ticketer = provider::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }

    /// For port 25: no session tickets.
    pub fn for_servers(self: &Arc<Self>) -> Result<Arc<ServerConfig>, Error> {
        let mut config = self.config()?;
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    fn config(self: &Arc<Self>) -> Result<ServerConfig, Error> {
        let resolver = Arc::new(Resolver(Arc::clone(self)));
        Ok(ServerConfig::builder_with_provider(crypto())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(resolver))
    }
}

fn crypto() -> Arc<CryptoProvider> {
    Arc::new(provider::default_provider())
}

/// Shows the certificate in use, whatever name is asked for: senders ask for MX names that we need not know.
struct Resolver(Arc<Certificates>);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current.load().key))
    }
}

impl Source {
    fn files(&self) -> (PathBuf, PathBuf) {
        match self {
            Source::Files { certificate, key } => (certificate.clone(), key.clone()),
            Source::Own { dir, .. } => own::files(dir),
        }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} SHA-256 {}", self.file.display(), self.fingerprint)
    }
}

fn stamp(source: &Source) -> Stamp {
    let (certificate, key) = source.files();
    [certificate, key].map(|file| {
        use std::os::unix::fs::MetadataExt as _;
        let data = fs::metadata(file).ok();
        data.map_or((0, None, 0), |data| (data.len(), data.modified().ok(), data.ino()))
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn load(source: &Source) -> Result<Current, Error> {
    let (certificate, key) = source.files();
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&read(&certificate)?).collect::<Result<_, _>>().unwrap_or_default();
    let Some(facts) = chain.first().map(|first| facts(&certificate, first)) else {
        return Err(Error::NoCertificate(certificate));
    };
    let facts = facts?;
    let pem = zeroize::Zeroizing::new(read(&key)?);
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| Error::NoKey(key.clone()))?;
    let pair = CertifiedKey::from_der(chain, private, &crypto()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            Error::NoPair { certificate: certificate.clone(), key }
        }
        other => Error::Unusable { path: certificate.clone(), why: other.to_string() },
    })?;
    Ok(Current { key: Arc::new(pair), facts: Arc::new(facts) })
}

fn facts(file: &Path, der: &CertificateDer<'_>) -> Result<Facts, Error> {
    use x509_parser::extensions::GeneralName;
    let (_, parsed) = x509_parser::parse_x509_certificate(der)
        .map_err(|error| Error::Unusable { path: file.to_owned(), why: error.to_string() })?;
    let mut names = Vec::new();
    if let Ok(Some(alternative)) = parsed.subject_alternative_name() {
        for name in &alternative.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(octets) => {
                    if let Ok(v4) = <[u8; 4]>::try_from(*octets) {
                        names.push(std::net::Ipv4Addr::from(v4).to_string());
                    } else if let Ok(v6) = <[u8; 16]>::try_from(*octets) {
                        names.push(std::net::Ipv6Addr::from(v6).to_string());
                    }
                }
                _ => {}
            }
        }
    }
    let hash = digest::digest(&digest::SHA256, der);
    Ok(Facts {
        file: file.to_owned(),
        fingerprint: hash.as_ref().iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":"),
        names,
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
        self_signed: parsed.subject() == parsed.issuer(),
    })
}

#[cfg(test)]
mod tests;
