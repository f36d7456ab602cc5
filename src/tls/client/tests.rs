//! Real handshakes over loopback with servers that show every kind of certificate.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn domain(name: &str) -> Domain {
    name.parse().unwrap()
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, key()).unwrap()
}

/// What a server shows: the chain, its own first, and the key.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Shown {
    fn new(names: &[&str], by: Option<&Authority>, dates: std::ops::Range<i32>) -> Shown {
        let mut params =
            CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        let year = |year| OffsetDateTime::from_unix_timestamp(i64::from(year - 1970) * 31_557_600).unwrap();
        (params.not_before, params.not_after) = (year(dates.start), year(dates.end));
        let key = key();
        let mut chain = vec![
            match by {
                Some(authority) => params.signed_by(&key, authority),
                None => params.self_signed(&key),
            }
            .unwrap()
            .der()
            .clone(),
        ];
        chain.extend(by.map(|authority| authority.der().clone()));
        Shown { chain, key }
    }

    fn good(by: &Authority) -> Shown {
        Shown::new(&["mx.example.test"], Some(by), 1990..2090)
    }

    /// As a TLSA record would have it.
    fn tlsa(&self, usage: u8, selector: u8, matching: u8) -> Tlsa {
        // Usage 2 is for the authority, at the chain's end.
        let certificate = if usage == 2 { self.chain.last() } else { self.chain.first() }.unwrap();
        tlsa(certificate, usage, selector, matching)
    }
}

fn tlsa(certificate: &CertificateDer<'_>, usage: u8, selector: u8, matching: u8) -> Tlsa {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    let selected = if selector == 0 { certificate.as_ref() } else { parsed.public_key().raw };
    let digest = |kind| aws_lc_rs::digest::digest(kind, selected).as_ref().to_vec();
    let data = match matching {
        0 => selected.to_vec(),
        1 => digest(&aws_lc_rs::digest::SHA256),
        _ => digest(&aws_lc_rs::digest::SHA512),
    };
    Tlsa { usage, selector, matching, data }
}

/// Clients that take this authority for a public one.
fn clients(authority: &Authority) -> Clients {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("authority.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    Clients::with_authorities_of(&file).unwrap()
}

/// A handshake with a server that shows this; what the client knows of it then, or why it would not have it.
async fn shake(clients: &Clients, shown: &Shown, host: &str, trust: Trust) -> Result<Certificate, String> {
    let versions: [&'static rustls::SupportedProtocolVersion; 2] =
        [&rustls::version::TLS13, &rustls::version::TLS12];
    let mut results = Vec::new();
    for version in versions {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(shown.key.serialize_der()));
        let server = ServerConfig::builder_with_provider(crypto())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(shown.chain.clone(), key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = TlsAcceptor::from(Arc::new(server)).accept(stream).await.ok()?;
            stream.get_ref().1.server_name().map(str::to_owned)
        });
        let side = clients.side(&domain(host), trust.clone()).unwrap();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let shaken = TlsConnector::from(side.config()).connect(side.name(), stream).await;
        let result = shaken.as_ref().map(|_| side.certificate()).map_err(why);
        if let Ok(stream) = shaken {
            assert_eq!(serving.await.unwrap().as_deref(), Some(host), "the name that was asked for");
            drop(stream);
        }
        results.push(result);
    }
    assert_eq!(results[0], results[1], "TLS 1.3 and 1.2");
    results.remove(0)
}

#[tokio::test]
async fn any_certificate_will_do_and_what_is_known_of_it_is_said() {
    let (public, private) = (authority("public"), authority("private"));
    let clients = clients(&public);
    let untrusted = |words: &str| Ok(Certificate::Untrusted(words.to_owned()));
    let unknown = "no authority that we trust vouches for its certificate";
    for (shown, found) in [
        (Shown::good(&public), Ok(Certificate::Trusted("mx.example.test".to_owned()))),
        (
            Shown::new(&["*.example.test"], Some(&public), 1990..2090),
            Ok(Certificate::Trusted("mx.example.test".to_owned())),
        ),
        (Shown::good(&private), untrusted(unknown)),
        (Shown::new(&["mx.example.test"], None, 1990..2090), untrusted(unknown)),
        (
            Shown::new(&["other.example.test"], Some(&public), 1990..2090),
            untrusted("its certificate is for another name (other.example.test)"),
        ),
        (
            Shown::new(&["mx.example.test"], Some(&public), 1990..2000),
            untrusted("its certificate has expired"),
        ),
        (
            Shown::new(&["mx.example.test"], Some(&public), 2080..2090),
            untrusted("its certificate does not hold yet"),
        ),
    ] {
        assert_eq!(shake(&clients, &shown, "mx.example.test", Trust::Any).await, found);
    }
}

#[tokio::test]
async fn a_name_must_be_vouched_for() {
    let (public, private) = (authority("public"), authority("private"));
    let clients = clients(&public);
    let names = |names: &[&str]| Trust::Names(names.iter().map(|name| domain(name)).collect());
    let host = "mx.example.test";
    for trust in [names(&[host]), names(&["other.test", host])] {
        let found = shake(&clients, &Shown::good(&public), host, trust).await;
        assert_eq!(found, Ok(Certificate::Trusted(host.to_owned())));
    }
    for (shown, trust, says) in [
        (Shown::good(&public), names(&["other.test"]), "another name"),
        (Shown::good(&public), names(&[]), "another name"),
        (Shown::good(&private), names(&[host]), "no authority"),
        (Shown::new(&[host], None, 1990..2090), names(&[host]), "no authority"),
        (Shown::new(&[host], Some(&public), 1990..2000), names(&[host]), "expired"),
        (Shown::new(&[host], Some(&public), 2080..2090), names(&[host]), "not hold yet"),
        (Shown::new(&["*.test"], Some(&public), 1990..2090), names(&[host]), "another name"),
    ] {
        let why = shake(&clients, &shown, host, trust).await.unwrap_err();
        assert!(why.contains(says), "{why}");
    }
}

fn dane(records: Vec<Tlsa>, names: &[&str]) -> Trust {
    Trust::Dane { records, names: names.iter().map(|name| domain(name)).collect() }
}

#[tokio::test]
async fn the_certificate_of_a_record_is_enough() {
    let (public, private) = (authority("public"), authority("private"));
    let clients = clients(&public);
    let host = "mx.example.test";
    // Neither name nor date nor who issued it counts (RFC 7672 s.3.1.1).
    for shown in [
        Shown::new(&["other.test"], None, 1990..2000),
        Shown::new(&["other.test"], Some(&private), 2080..2090),
        Shown::good(&public),
    ] {
        for selector in [0, 1] {
            for matching in [0, 1, 2] {
                let record = shown.tlsa(3, selector, matching);
                let found = shake(&clients, &shown, host, dane(vec![record.clone()], &[])).await;
                assert_eq!(found, Ok(Certificate::Dane), "3 {selector} {matching}");
                let mut wrong = record;
                wrong.data[0] ^= 1;
                let why =
                    shake(&clients, &shown, host, dane(vec![wrong.clone()], &[host])).await.unwrap_err();
                assert!(why.contains("TLSA"), "3 {selector} {matching}: {why}");
                // One that matches is enough.
                let mut records = vec![wrong, shown.tlsa(3, 1 - selector, matching)];
                records.rotate_left(usize::from(matching % 2));
                assert_eq!(shake(&clients, &shown, host, dane(records, &[])).await, Ok(Certificate::Dane));
            }
        }
    }
}

#[tokio::test]
async fn a_chain_to_the_authority_of_a_record_for_one_of_the_names() {
    let (public, private) = (authority("public"), authority("private"));
    let clients = clients(&public);
    let host = "mx.example.test";
    for selector in [0, 1] {
        for matching in [0, 1, 2] {
            let shown = Shown::good(&private);
            let records = || vec![shown.tlsa(2, selector, matching)];
            let label = format!("2 {selector} {matching}");
            for names in [&[host][..], &["example.test", host]] {
                let found = shake(&clients, &shown, host, dane(records(), names)).await;
                assert_eq!(found, Ok(Certificate::Dane), "{label}");
            }
            for (shown, names, says) in [
                (&shown, &["example.test"][..], "another name"),
                (&shown, &[], "another name"),
                (&Shown::new(&[host], Some(&private), 1990..2000), &[host], "expired"),
                // Nobody's authority counts but the record's.
                (&Shown::good(&public), &[host], ""),
                (&Shown::new(&[host], None, 1990..2090), &[host], ""),
            ] {
                let why = shake(&clients, shown, host, dane(records(), names)).await.unwrap_err();
                assert!(why.contains(says), "{label}: {why}");
            }
            // An authority that has only the name of the other.
            let impostor = Shown::good(&authority("private"));
            shake(&clients, &impostor, host, dane(records(), &[host])).await.unwrap_err();

            // The authority's own certificate is not sent: it must stand in the record itself.
            let mut short = Shown::good(&private);
            let record = short.tlsa(2, selector, matching);
            short.chain.truncate(1);
            let found = shake(&clients, &short, host, dane(vec![record], &[host])).await;
            assert_eq!(found.is_ok(), matching == 0, "{label}: {found:?}");
        }
    }
    // The server's own certificate is no authority.
    let own = Shown::good(&private);
    let record = tlsa(&own.chain[0], 2, 0, 1);
    shake(&clients, &own, host, dane(vec![record], &[host])).await.unwrap_err();
}

#[tokio::test]
async fn records_that_cannot_be_used_match_nothing() {
    let public = authority("public");
    let clients = clients(&public);
    let shown = Shown::good(&public);
    let host = "mx.example.test";
    for [usage, selector, matching] in
        [[0, 0, 1], [1, 0, 1], [4, 0, 1], [255, 0, 1], [3, 2, 1], [3, 0, 3], [3, 255, 255]]
    {
        let record = Tlsa { usage, selector, matching, ..shown.tlsa(3, 0, 1) };
        assert!(!is_usable(&record), "{record:?}");
        shake(&clients, &shown, host, dane(vec![record.clone()], &[host])).await.unwrap_err();
        let records = vec![record, shown.tlsa(3, 1, 1)];
        assert_eq!(shake(&clients, &shown, host, dane(records, &[host])).await, Ok(Certificate::Dane));
    }
    for (matching, length) in [(0, 0), (1, 31), (1, 64), (2, 32), (2, 65)] {
        assert!(!is_usable(&Tlsa { usage: 3, selector: 1, matching, data: vec![0; length] }));
    }
}

#[tokio::test]
async fn of_digests_of_one_thing_only_the_strongest_counts() {
    // RFC 7671 s.9: a weak digest must not open what a strong one keeps shut.
    let public = authority("public");
    let clients = clients(&public);
    let shown = Shown::good(&public);
    let host = "mx.example.test";
    let strong = |data| Tlsa { usage: 3, selector: 1, matching: 2, data };
    let records = vec![shown.tlsa(3, 1, 1), strong(vec![0; 64])];
    shake(&clients, &shown, host, dane(records, &[])).await.unwrap_err();
    // One that is malformed is none.
    let records = vec![shown.tlsa(3, 1, 1), strong(vec![0; 63])];
    shake(&clients, &shown, host, dane(records, &[])).await.unwrap();
    // Another selector is another thing.
    let records = vec![shown.tlsa(3, 0, 1), strong(vec![0; 64])];
    shake(&clients, &shown, host, dane(records, &[])).await.unwrap();
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told_in_words() {
    use tokio::io::AsyncWriteExt as _;
    let clients = clients(&authority("public"));
    for (says, words) in [(&b""[..], "closed"), (b"500 what?\r\n500 what?\r\n", "")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(says).await.unwrap();
            stream.shutdown().await.unwrap();
            // The client has the last word, so that nothing is reset.
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        });
        let side = clients.side(&domain("mx.example.test"), Trust::Any).unwrap();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let connecting = TlsConnector::from(side.config()).connect(side.name(), stream);
        let error = tokio::time::timeout(Duration::from_secs(20), connecting).await.unwrap().unwrap_err();
        let why = why(&error);
        assert!(why.contains(words) && !why.contains('\n'), "{why}");
        assert_eq!(side.certificate(), Certificate::NotAsked);
    }
}

#[test]
fn files_of_authorities() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("authorities.pem");
    assert!(matches!(Clients::with_authorities_of(&file), Err(Error::File { .. })));
    std::fs::write(&file, "nothing").unwrap();
    assert!(matches!(Clients::with_authorities_of(&file), Err(Error::NoCertificate(_))));
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(matches!(Clients::with_authorities_of(&file), Err(Error::Unusable { .. })));
    assert!(Clients::public().roots.len() > 100);
}
