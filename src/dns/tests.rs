//! Answers of a real nameserver: signed, unsigned, forged, missing and late.

use super::*;
use crate::nameserver::{Zone, serve};

fn domain(name: &str) -> Domain {
    name.parse().unwrap()
}

fn asking(server: SocketAddr, trust_anchor: Option<PathBuf>) -> Dns {
    let each_within = Duration::from_secs(2);
    Dns::new(&Settings { servers: vec![server], trust_anchor, each_within, ..Settings::default() }).unwrap()
}

/// Everything in one signed zone, but for what is below `unsigned.test`.
async fn world() -> (Dns, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut root = Zone::new(".")
        .ip("ns.test", "127.0.0.1")
        .mx("example.test", 20, "mx2.example.test")
        .mx("example.test", 10, "MX1.example.test")
        .ip("mx1.example.test", "192.0.2.1")
        .ip("mx1.example.test", "192.0.2.2")
        .ip("mx1.example.test", "2001:db8::1")
        .ip("mx2.example.test", "192.0.2.3")
        .tlsa("_25._tcp.mx1.example.test", [3, 1, 1], &[7; 32])
        .tlsa("_25._tcp.mx1.example.test", [0, 9, 255], &[1, 2, 3])
        .txt("texts.test", &["one"])
        .txt("texts.test", &["t", "wo"])
        .mx("null.test", 0, ".")
        .mx("half-null.test", 0, ".")
        .mx("half-null.test", 5, "mx1.example.test")
        .mx("odd.test", 5, "*.test")
        .cname("alias.test", "example.test")
        .cname("host-alias.test", "mx1.example.test")
        .cname("leads-out.test", "mx.unsigned.test")
        .cname("ring1.test", "ring2.test")
        .cname("ring2.test", "ring1.test")
        .cname("to-nowhere.test", "nowhere.test")
        .ip("forged.test", "192.0.2.66")
        .delegate("unsigned.test")
        .delegate("_tcp.cut.test")
        .ip("cut.test", "192.0.2.5");
    let anchor = root.sign(dir.path());
    root.forge("forged.test", RecordType::A, Zone::ipv4("203.0.113.13"));
    let unsigned = Zone::new("unsigned.test")
        .mx("unsigned.test", 10, "mx.unsigned.test")
        .ip("mx.unsigned.test", "192.0.2.9")
        .tlsa("_25._tcp.mx.unsigned.test", [3, 1, 1], &[9; 32])
        .cname("leads-in.unsigned.test", "mx1.example.test");
    let below = Zone::new("_tcp.cut.test").txt("x._tcp.cut.test", &["x"]);
    (asking(serve(vec![root, unsigned, below]).await, Some(anchor)), dir)
}

#[tokio::test]
async fn mx_records() {
    let (dns, _dir) = world().await;
    let hosts = |mx: &Mx| {
        let mut hosts: Vec<_> =
            mx.hosts.iter().map(|host| (host.preference, host.name.to_string())).collect();
        hosts.sort();
        hosts
    };
    let of = |hosts: &[(u16, &str)]| hosts.iter().map(|(p, h)| (*p, (*h).to_owned())).collect::<Vec<_>>();
    for (name, secure, expected) in [
        ("example.test", true, of(&[(10, "mx1.example.test"), (20, "mx2.example.test")])),
        ("alias.test", true, of(&[(10, "mx1.example.test"), (20, "mx2.example.test")])),
        ("unsigned.test", false, of(&[(10, "mx.unsigned.test")])),
        ("half-null.test", true, of(&[(5, "mx1.example.test")])),
        ("odd.test", true, of(&[])),
    ] {
        // The second time from memory: the proof is remembered, too.
        for _ in 0..2 {
            let mx = dns.mx(&domain(name)).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            assert_eq!((hosts(&mx), mx.secure), (expected.clone(), secure), "{name}");
        }
    }
    assert_eq!(dns.mx(&domain("null.test")).await, Err(Error::NullMx));
    assert_eq!(dns.mx(&domain("mx1.example.test")).await, Err(Error::NoRecords { secure: true }));
    assert_eq!(dns.mx(&domain("nowhere.test")).await, Err(Error::NoSuchDomain { secure: true }));
    assert_eq!(dns.mx(&domain("mx.unsigned.test")).await, Err(Error::NoRecords { secure: false }));
    assert_eq!(dns.mx(&domain("nowhere.unsigned.test")).await, Err(Error::NoSuchDomain { secure: false }));
    assert!(matches!(dns.mx(&domain("to-nowhere.test")).await, Err(Error::NoSuchDomain { .. })));
}

#[tokio::test]
async fn addresses_with_their_aliases() {
    let (dns, _dir) = world().await;
    let alias = |end: &str, first_secure| Some(Alias { end: domain(end), first_secure });
    for (name, secure, expected) in [
        ("mx1.example.test", true, None),
        ("host-alias.test", true, alias("mx1.example.test", true)),
        ("leads-in.unsigned.test", false, alias("mx1.example.test", false)),
    ] {
        let found = dns.addresses(&domain(name)).await.unwrap();
        let mut ips: Vec<String> = found.all().map(|ip| ip.to_string()).collect();
        ips.sort();
        assert_eq!(ips, ["192.0.2.1", "192.0.2.2", "2001:db8::1"], "{name}");
        assert_eq!((found.secure, found.alias), (secure, expected), "{name}");
    }
    let found = dns.addresses(&domain("leads-out.test")).await.unwrap();
    assert_eq!(found.all().count(), 1);
    assert_eq!((found.secure, found.alias), (false, alias("mx.unsigned.test", true)));

    assert_eq!(dns.addresses(&domain("texts.test")).await, Err(Error::NoRecords { secure: true }));
    assert_eq!(dns.addresses(&domain("nowhere.test")).await, Err(Error::NoSuchDomain { secure: true }));
    let ring = dns.addresses(&domain("ring1.test")).await;
    assert!(ring.is_err(), "{ring:?}");
}

/// The library keeps the answer at an alias's end, and gave it without the alias's own, missing proof.
#[tokio::test]
async fn an_alias_without_proof_stays_so_when_its_end_is_remembered() {
    let (dns, _dir) = world().await;
    for _ in 0..2 {
        assert!(dns.addresses(&domain("mx1.example.test")).await.unwrap().secure);
        let found = dns.addresses(&domain("leads-in.unsigned.test")).await.unwrap();
        assert!(!found.secure && found.alias.is_some_and(|alias| !alias.first_secure));
    }
}

#[tokio::test]
async fn what_is_forged_is_no_answer() {
    let (dns, _dir) = world().await;
    assert_eq!(dns.addresses(&domain("forged.test")).await, Err(Error::Temporary(Why::Bogus)));
}

#[tokio::test]
async fn tlsa_records_count_only_with_their_proof() {
    let (dns, _dir) = world().await;
    let TlsaAnswer::Records(mut records) = dns.tlsa(&domain("mx1.example.test"), 25).await.unwrap() else {
        panic!("there are two");
    };
    records.sort();
    let odd = Tlsa { usage: 0, selector: 9, matching: 255, data: vec![1, 2, 3] };
    assert_eq!(records, [odd, Tlsa { usage: 3, selector: 1, matching: 1, data: vec![7; 32] }]);
    for name in ["mx2.example.test", "example.test"] {
        assert_eq!(dns.tlsa(&domain(name), 25).await, Ok(TlsaAnswer::None), "{name}");
    }
    assert_eq!(dns.tlsa(&domain("mx1.example.test"), 26).await, Ok(TlsaAnswer::None));
    // They are there, and nothing proves them.
    assert_eq!(dns.tlsa(&domain("mx.unsigned.test"), 25).await, Ok(TlsaAnswer::None));
    // The host's zone is signed, and ends just above them: nothing has to be proved.
    assert_eq!(dns.tlsa(&domain("cut.test"), 25).await, Ok(TlsaAnswer::None));
}

#[tokio::test]
async fn texts_are_joined() {
    let (dns, _dir) = world().await;
    let mut found = dns.txt(&domain("texts.test")).await.unwrap();
    found.texts.sort();
    assert_eq!(found, Texts { texts: vec![b"one".to_vec(), b"two".to_vec()], secure: true });
}

#[tokio::test]
async fn a_nameserver_in_trouble_is_temporary() {
    let server = serve(vec![Zone::new("test").ip("a.test", "192.0.2.1")]).await;
    let dns = Dns::new(&Settings {
        servers: vec![server],
        each_within: Duration::from_millis(200),
        ..Settings::default()
    })
    .unwrap();
    for name in ["servfail.test", "silent.test", "another-zone.example"] {
        let error = dns.mx(&domain(name)).await.unwrap_err();
        assert!(error.is_temporary(), "{name}: {error:?}");
        let error = dns.tlsa(&domain(name), 25).await.unwrap_err();
        assert!(error.is_temporary(), "{name}: {error:?}");
        let error = dns.addresses(&domain(name)).await.unwrap_err();
        assert!(error.is_temporary(), "{name}: {error:?}");
    }
    let silent = dns.mx(&domain("silent.test")).await.unwrap_err();
    assert_eq!(silent, Error::Temporary(Why::TimedOut));
    let all_within = Duration::from_millis(50);
    let hasty = Dns { all_within, ..dns };
    assert_eq!(hasty.mx(&domain("silent.test")).await, Err(Error::Temporary(Why::TimedOut)));
}

#[tokio::test]
async fn nobody_listens() {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = asking(free, None).mx(&domain("example.test")).await.unwrap_err();
    assert!(error.is_temporary(), "{error:?}");
}

#[test]
fn keys_that_are_of_no_use_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    std::fs::write(&file, "; nothing\n").unwrap();
    let settings = Settings {
        servers: vec!["127.0.0.1:53".parse().unwrap()],
        trust_anchor: Some(file.clone()),
        ..Settings::default()
    };
    for _ in 0..2 {
        let error = Dns::new(&settings).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("keys: ") && error.contains("DNSKEY"), "{error}");
        std::fs::write(&file, "# no zone file at all").unwrap();
    }
}
