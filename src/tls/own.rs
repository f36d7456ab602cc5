//! The certificate that we make ourselves: ECDSA P-256, for the host's names and for loopback, in the data directory.
//!
//! Whoever uses it has told their mail program once that it is the right one. So it lives as long as clients allow,
//! and keeps its key when it is renewed.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::{Error, facts};

const DAY: i64 = 24 * 60 * 60;
/// Apple's systems take no certificate that holds for more than 825 days, whoever vouches for it.
const HOLDS: i64 = 820 * DAY;
/// How long before its end it is renewed.
const RENEW: i64 = 30 * DAY;
/// Names for use on the host itself.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The files of certificate and key.
pub(super) fn files(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("self-signed.pem"), dir.join("self-signed.key"))
}

/// Makes the certificate if there is none, if it is soon at its end, or if it is for other names.
pub(super) fn provide(dir: &Path, names: &[String], now: i64) -> Result<(), Error> {
    let (certificate, key) = files(dir);
    let wanted: BTreeSet<String> = names.iter().cloned().chain(LOOPBACK.map(str::to_owned)).collect();
    if let Ok(pem) = fs::read(&certificate)
        && key.exists()
        && let Ok(der) = CertificateDer::from_pem_slice(&pem)
        && let Ok(facts) = facts(&certificate, &der)
    {
        let holds = facts.not_before <= now && now < facts.not_after - RENEW;
        if holds && facts.names.iter().cloned().collect::<BTreeSet<_>>() == wanted {
            return Ok(());
        }
    }
    make(dir, names, now)
}

fn make(dir: &Path, names: &[String], now: i64) -> Result<(), Error> {
    let (certificate, key) = files(dir);
    let unusable =
        |error: rcgen::Error| Error::Unusable { path: certificate.clone(), why: error.to_string() };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| Error::File { path: dir.to_owned(), source })?;
    let pair = match fs::read_to_string(&key).map(zeroize::Zeroizing::new) {
        Ok(pem) => KeyPair::from_pem(&pem).map_err(|_| Error::NoKey(key.clone()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(unusable)?;
            write(&key, &zeroize::Zeroizing::new(pair.serialize_pem()))?;
            pair
        }
        Err(source) => return Err(Error::File { path: key, source }),
    };
    let mut all: Vec<String> = Vec::new();
    for name in names.iter().map(String::as_str).chain(LOOPBACK) {
        if !all.iter().any(|known| known == name) {
            all.push(name.to_owned());
        }
    }
    let mut params = CertificateParams::new(all).map_err(unusable)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    // X.520 allows 64 characters in a common name; what counts are the alternative names.
    let name: String = names.first().map(String::as_str).unwrap_or("localhost").chars().take(64).collect();
    params.distinguished_name.push(DnType::CommonName, name);
    let date = |unix: i64| {
        time::OffsetDateTime::from_unix_timestamp(unix).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
    };
    // A day back, for clients whose clock is behind.
    params.not_before = date(now - DAY);
    params.not_after = date(now - DAY + HOLDS);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let made = params.self_signed(&pair).map_err(unusable)?;
    write(&certificate, &made.pem())
}

/// Writes a file whole or not at all, readable for its owner only.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let new = path.with_extension("new");
    let write = || {
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(|source| Error::File { path: path.to_owned(), source })
}
