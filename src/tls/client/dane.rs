//! Certificates held against TLSA records (RFC 6698 s.2, RFC 7671, RFC 7672 s.3).

use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use wire::addr::Domain;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::verify::{by, one_of};
use crate::dns::Tlsa;

/// RFC 7218: a trust anchor that the domain asserts.
const DANE_TA: u8 = 2;
/// RFC 7218: the server's certificate, as the domain issued it.
const DANE_EE: u8 = 3;
const WHOLE: u8 = 0;
const PUBLIC_KEY: u8 = 1;
const FULL: u8 = 0;
const SHA_256: u8 = 1;
const SHA_512: u8 = 2;

/// Whether mail servers go by a record: usage, selector and matching type are known, and the data has its length.
/// Usages 0 and 1 are not for them (RFC 7672 s.3.1.3).
#[must_use]
pub fn is_usable(record: &Tlsa) -> bool {
    matches!(record.usage, DANE_TA | DANE_EE)
        && matches!(record.selector, WHOLE | PUBLIC_KEY)
        && match record.matching {
            FULL => !record.data.is_empty(),
            SHA_256 => record.data.len() == 32,
            SHA_512 => record.data.len() == 64,
            _ => false,
        }
}

/// Checks a chain. Success: one usable record is matched.
pub(super) fn verify(
    records: &[Tlsa],
    names: &[Domain],
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let records = strongest(records);
    // RFC 7672 s.3.1.1: neither its names nor its dates count.
    if records.iter().any(|record| record.usage == DANE_EE && matches(record, end_entity)) {
        return Ok(());
    }
    let mut anchors = RootCertStore::empty();
    for record in records.iter().filter(|record| record.usage == DANE_TA) {
        for certificate in intermediates.iter().filter(|certificate| matches(record, certificate)) {
            let _ = anchors.add(certificate.clone().into_owned());
        }
        if record.matching == FULL {
            anchors.roots.extend(of_record(record, end_entity, intermediates));
        }
    }
    if anchors.is_empty() {
        return Err(CertificateError::ApplicationVerificationFailure.into());
    }
    // RFC 7672 s.3.1.2: a chain up to that anchor, in its time, for one of the names.
    let check = by(Arc::new(anchors))?;
    one_of(names, |name| {
        rustls::client::danger::ServerCertVerifier::verify_server_cert(
            &*check,
            end_entity,
            intermediates,
            name,
            &[],
            now,
        )
    })
    .map(drop)
}

/// The usable records; of digests of the same thing the strongest kind only (RFC 7671 s.9).
fn strongest(records: &[Tlsa]) -> Vec<&Tlsa> {
    let usable = || records.iter().filter(|record| is_usable(record));
    usable()
        .filter(|record| {
            record.matching != SHA_256
                || !usable().any(|other| {
                    other.matching == SHA_512
                        && (other.usage, other.selector) == (record.usage, record.selector)
                })
        })
        .collect()
}

fn matches(record: &Tlsa, certificate: &CertificateDer<'_>) -> bool {
    let selected = match record.selector {
        WHOLE => Some(certificate.as_ref()),
        _ => X509Certificate::from_der(certificate)
            .ok()
            .map(|(_, parsed)| parsed.tbs_certificate.subject_pki.raw),
    };
    let Some(selected) = selected else { return false };
    match record.matching {
        FULL => selected == record.data,
        SHA_256 => digest::digest(&digest::SHA256, selected).as_ref() == record.data,
        SHA_512 => digest::digest(&digest::SHA512, selected).as_ref() == record.data,
        _ => false,
    }
}

/// The anchors that stand in a record itself, so that the server need not send them: a certificate, or a key, which
/// may then be of whoever has issued one of the chain.
fn of_record(
    record: &Tlsa,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Vec<TrustAnchor<'static>> {
    if record.selector == WHOLE {
        let mut anchor = RootCertStore::empty();
        let _ = anchor.add(CertificateDer::from(record.data.clone()));
        return anchor.roots;
    }
    // Anchors hold what is inside the outer SEQUENCE.
    let Some(key) = inside(&record.data) else { return Vec::new() };
    std::iter::once(end_entity)
        .chain(intermediates)
        .filter_map(|certificate| {
            let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
            Some(TrustAnchor {
                subject: inside(parsed.issuer().as_raw())?.to_vec().into(),
                subject_public_key_info: key.to_vec().into(),
                name_constraints: None,
            })
        })
        .collect()
}

/// The content of one DER SEQUENCE that fills the octets.
fn inside(der: &[u8]) -> Option<&[u8]> {
    let (rest, sequence) = x509_parser::der_parser::asn1_rs::Sequence::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let length = sequence.content.len();
    der.get(der.len().checked_sub(length)?..)
}
