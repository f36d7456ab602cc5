//! The check of a peer's certificate, as the TLS library calls it.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use wire::addr::Domain;
use wire::machine::Certificate;

use super::{Trust, dane, server_name};
use crate::tls::crypto;

/// Checks one peer's certificate, and remembers what it found.
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Trust,
    public: Arc<WebPkiServerVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
    found: Mutex<Certificate>,
}

impl Verifier {
    pub(super) fn new(roots: &Arc<RootCertStore>, trust: Trust) -> Result<Verifier, rustls::Error> {
        Ok(Verifier {
            trust,
            public: by(Arc::clone(roots))?,
            algorithms: crypto().signature_verification_algorithms,
            found: Mutex::new(Certificate::NotAsked),
        })
    }

    pub(super) fn found(&self) -> Certificate {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn find(&self, certificate: Certificate) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = certificate;
    }

    /// Where any certificate will do, one whose signature fails will do as well; it is only not trusted.
    fn signed(
        &self,
        checked: Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match checked {
            Err(error) if self.trust == Trust::Any => {
                self.find(Certificate::Untrusted(in_words(&error)));
                Ok(HandshakeSignatureValid::assertion())
            }
            checked => checked,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let public = |name: &ServerName<'_>| {
            self.public.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
        };
        match &self.trust {
            Trust::Any => self.find(match public(server_name) {
                Ok(_) => Certificate::Trusted(server_name.to_str().into_owned()),
                Err(error) => Certificate::Untrusted(in_words(&error)),
            }),
            Trust::Names(names) => {
                let name = one_of(names, public)?;
                self.find(Certificate::Trusted(name.to_string()));
            }
            Trust::Dane { records, names } => {
                dane::verify(records, names, end_entity, intermediates, now)?;
                self.find(Certificate::Dane);
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed(verify_tls12_signature(message, cert, dss, &self.algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed(verify_tls13_signature(message, cert, dss, &self.algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A check by these authorities.
pub(super) fn by(roots: Arc<RootCertStore>) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
    WebPkiServerVerifier::builder_with_provider(roots, crypto())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}

/// The first of the names for which the check succeeds; else what it says of the first name.
pub(super) fn one_of(
    names: &[Domain],
    check: impl Fn(&ServerName<'_>) -> Result<ServerCertVerified, rustls::Error>,
) -> Result<&Domain, rustls::Error> {
    let mut first = None;
    for name in names {
        let Some(server) = server_name(name) else { continue };
        match check(&server) {
            Ok(_) => return Ok(name),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or_else(|| CertificateError::NotValidForName.into()))
}

/// What is wrong, in words for the sender of a message.
pub(super) fn in_words(error: &rustls::Error) -> String {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate does not hold yet".to_owned()
            }
            CertificateError::UnknownIssuer => {
                "no authority that we trust vouches for its certificate".to_owned()
            }
            CertificateError::NotValidForName => "its certificate is for another name".to_owned(),
            CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
                // The library gives `DnsName("mx.example")`. The other side chose these names: few of them are told,
                // and nothing that could end a line.
                let plain = |name: &String| {
                    let name = name.split('"').nth(1).unwrap_or(name);
                    name.escape_default().take(80).collect::<String>()
                };
                let names: Vec<String> = presented.iter().take(3).map(plain).collect();
                format!("its certificate is for another name ({})", names.join(", "))
            }
            CertificateError::NotValidForNameContext { .. } => "its certificate is for no name".to_owned(),
            CertificateError::ApplicationVerificationFailure => {
                "its certificate is not the one that its TLSA records tell of".to_owned()
            }
            other => format!("its certificate will not do: {other}"),
        },
        Tls::AlertReceived(alert) => format!("the other server ended it: {alert:?}"),
        Tls::PeerIncompatible(_) => "the other server's TLS is too old".to_owned(),
        other => other.to_string(),
    }
}
