//! The certificate: made, kept, swapped, refused.

use std::os::unix::fs::PermissionsExt as _;

use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
use rustls_pki_types::{ServerName, UnixTime};

use super::*;

const NOW: i64 = 1_795_486_769;
const DAY: i64 = 24 * 60 * 60;

fn own(dir: &Path, names: &[&str]) -> Source {
    Source::Own { dir: dir.join("tls"), names: names.iter().map(|n| (*n).to_owned()).collect() }
}

#[derive(Debug)]
struct Clock(i64);
impl rustls::time_provider::TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.try_into().ok()?)))
    }
}

/// A handshake in memory by a client that trusts the certificate in use; how many tickets it got.
fn handshake(
    certificates: &Certificates,
    config: Arc<ServerConfig>,
    name: &str,
    now: i64,
) -> Result<usize, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(certificates.current.load().key.cert[0].clone()).unwrap();
    let mut client = ClientConfig::builder_with_details(crypto(), Arc::new(Clock(now)))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from(name.to_owned()).unwrap())?;
    let mut server = ServerConnection::new(config)?;
    for _ in 0..6 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut from = &wire[..];
        while !from.is_empty() {
            server.read_tls(&mut from).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut from = &wire[..];
        while !from.is_empty() {
            client.read_tls(&mut from).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(client.tls13_tickets_received() as usize)
}

#[test]
fn our_own_certificate_is_made_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let certificates =
        Certificates::open(own(dir.path(), &["mail.example.org", "imap.example.org"]), NOW).unwrap();
    let facts = certificates.facts();
    assert_eq!(facts.names, ["mail.example.org", "imap.example.org", "localhost", "127.0.0.1", "::1"]);
    assert_eq!((facts.not_before, facts.not_after), (NOW - DAY, NOW + 819 * DAY));
    assert!(facts.self_signed);
    assert_eq!((facts.fingerprint.len(), facts.fingerprint.split(':').count()), (95, 32));
    for file in ["tls", "tls/self-signed.pem", "tls/self-signed.key"] {
        let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file} is for its owner only");
    }
    let again =
        Certificates::open(own(dir.path(), &["mail.example.org", "imap.example.org"]), NOW + DAY).unwrap();
    assert_eq!(again.facts(), facts);
    for name in ["mail.example.org", "localhost", "127.0.0.1", "::1"] {
        handshake(&certificates, certificates.for_clients().unwrap(), name, NOW).unwrap();
    }
    assert!(handshake(&certificates, certificates.for_clients().unwrap(), "other.example.org", NOW).is_err());
}

#[test]
fn other_servers_get_no_tickets() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::open(own(dir.path(), &["mail.example.org"]), NOW).unwrap();
    let name = "mail.example.org";
    assert_eq!(handshake(&certificates, certificates.for_servers().unwrap(), name, NOW), Ok(0));
    assert_eq!(handshake(&certificates, certificates.for_clients().unwrap(), name, NOW), Ok(1));
}

#[test]
fn our_own_is_renewed_before_its_end_and_for_new_names_with_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::open(own(dir.path(), &["mail.example.org"]), NOW).unwrap();
    let config = certificates.for_clients().unwrap();
    let first = certificates.facts();
    let key = fs::read(dir.path().join("tls/self-signed.key")).unwrap();
    assert_eq!(certificates.look(false, first.not_after - 31 * DAY).unwrap(), Looked::Same);
    let soon = first.not_after - 29 * DAY;
    assert_eq!(certificates.look(false, soon).unwrap(), Looked::New);
    let second = certificates.facts();
    assert_ne!(first.fingerprint, second.fingerprint);
    assert_eq!(second.not_after, soon + 819 * DAY);
    // The configuration that listeners hold shows the new one at once.
    handshake(&certificates, config, "mail.example.org", first.not_after + DAY).unwrap();
    assert_eq!(fs::read(dir.path().join("tls/self-signed.key")).unwrap(), key);

    let renamed = Certificates::open(own(dir.path(), &["mx.example.org"]), soon).unwrap();
    assert_eq!(renamed.facts().names[0], "mx.example.org");
    assert_eq!(fs::read(dir.path().join("tls/self-signed.key")).unwrap(), key);
}

#[test]
fn files_are_taken_when_they_change_and_only_as_a_pair() {
    let dir = tempfile::tempdir().unwrap();
    let pair = |name: &str| {
        Certificates::open(own(&dir.path().join(name), &[name]), NOW).unwrap();
        own::files(&dir.path().join(name).join("tls"))
    };
    let (a, b) = (pair("a.example.org"), pair("b.example.org"));
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    fs::copy(&a.0, &certificate).unwrap();
    fs::copy(&a.1, &key).unwrap();
    let source = Source::Files { certificate: certificate.clone(), key: key.clone() };
    let certificates = Certificates::open(source, NOW).unwrap();
    let first = certificates.facts();
    assert_eq!(first.names[0], "a.example.org");

    // Half a renewal: named, the old one stays, and it is complained about once.
    fs::rename(&b.0, &certificate).unwrap();
    let error = certificates.look(false, NOW).unwrap_err();
    assert!(matches!(error, Error::NoPair { .. }));
    assert!(error.to_string().contains("key.pem") && error.to_string().contains("cert.pem"), "{error}");
    assert_eq!(certificates.facts(), first);
    assert_eq!(certificates.look(false, NOW).unwrap(), Looked::Same);
    assert!(certificates.look(true, NOW).is_err(), "asked to, it looks again");
    // The other half.
    fs::rename(&b.1, &key).unwrap();
    assert_eq!(certificates.look(false, NOW).unwrap(), Looked::New);
    assert_eq!(certificates.facts().names[0], "b.example.org");

    for (file, text, says) in [
        (&certificate, "", "found no certificate"),
        (&key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a certificate and key"),
        (&key, "nothing", "found no private key"),
    ] {
        let before = fs::read(file).unwrap();
        fs::write(file, text).unwrap();
        let error = certificates.look(true, NOW).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        fs::write(file, before).unwrap();
    }
    fs::remove_file(&key).unwrap();
    assert!(matches!(certificates.look(true, NOW), Err(Error::File { path, .. }) if path == key));
    assert_eq!(certificates.facts().names[0], "b.example.org");
}
