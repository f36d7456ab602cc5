//! Decisions by tables, records and policies by tables, and policies fetched from a real web server.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::sts::{Id, Kept, Mode, Policy, PolicyError};
use super::*;
use crate::dns::{Addresses, Alias, Dns, Settings, Why};
use crate::nameserver::{Zone, serve};
use crate::net::Later;
use crate::tls::client::Clients;

fn domain(name: &str) -> Domain {
    name.parse().unwrap()
}

fn policy(mode: &str, mx: &[&str]) -> Policy {
    let hosts: String = mx.iter().map(|host| format!("mx: {host}\n")).collect();
    Policy::parse(format!("version: STSv1\nmode: {mode}\n{hosts}max_age: 86400\n").as_bytes()).unwrap()
}

fn record() -> Tlsa {
    Tlsa { usage: 3, selector: 1, matching: 1, data: vec![7; 32] }
}

#[test]
fn the_strictest_promise_counts() {
    let (of, host) = (domain("example.test"), domain("mx.example.test"));
    let found = || Ok(Dane::Records { base: host.clone(), records: vec![record()] });
    let dane =
        Need::Dane { base: host.clone(), records: vec![record()], names: vec![host.clone(), of.clone()] };
    let verified = Need::Verified(vec![host.clone()]);
    let unknown = Err(dns::Error::Temporary(Why::Bogus));
    let tlsa = Unsafe::Tlsa { host: host.clone(), why: dns::Error::Temporary(Why::Bogus) };
    let not_in_policy = Unsafe::NotInPolicy { host: host.clone(), domain: of.clone() };
    let not_certain = Unsafe::NotRequireTls { host: host.clone(), domain: of.clone() };
    let (enforce, testing, other) = (
        Some(policy("enforce", &["*.example.test"])),
        Some(policy("testing", &["other.test"])),
        Some(policy("enforce", &["other.test"])),
    );
    use Asked::{NotRequired, Nothing, RequireTls};
    for (dane, sts, mx_secure, asked, need) in [
        (Ok(Dane::None), &None, true, Nothing, Ok(Need::Opportunistic)),
        (Ok(Dane::None), &testing, true, Nothing, Ok(Need::Opportunistic)),
        (Ok(Dane::None), &enforce, false, Nothing, Ok(verified.clone())),
        (Ok(Dane::None), &other, true, Nothing, Err(not_in_policy.clone())),
        (Ok(Dane::Unusable), &None, true, Nothing, Ok(Need::Encrypted)),
        (Ok(Dane::Unusable), &testing, true, Nothing, Ok(Need::Encrypted)),
        (Ok(Dane::Unusable), &enforce, true, Nothing, Ok(verified.clone())),
        (found(), &None, true, Nothing, Ok(dane.clone())),
        (found(), &None, false, Nothing, Ok(dane.clone())),
        (found(), &enforce, true, Nothing, Ok(dane.clone())),
        (found(), &other, true, Nothing, Err(not_in_policy)),
        // Not to know is not to have none.
        (unknown.clone(), &None, true, Nothing, Err(tlsa.clone())),
        (unknown.clone(), &enforce, true, Nothing, Err(tlsa.clone())),
        // REQUIRETLS.
        (Ok(Dane::None), &None, false, RequireTls, Err(not_certain.clone())),
        (Ok(Dane::None), &testing, false, RequireTls, Err(not_certain.clone())),
        (Ok(Dane::None), &None, true, RequireTls, Ok(verified.clone())),
        (Ok(Dane::None), &enforce, false, RequireTls, Ok(verified.clone())),
        (Ok(Dane::Unusable), &None, true, RequireTls, Ok(verified)),
        (found(), &None, true, RequireTls, Ok(dane.clone())),
        (found(), &enforce, false, RequireTls, Ok(dane)),
        (found(), &None, false, RequireTls, Err(not_certain)),
        (unknown.clone(), &None, true, RequireTls, Err(tlsa)),
        // TLS-Required: No.
        (found(), &enforce, true, NotRequired, Ok(Need::Opportunistic)),
        (unknown, &other, true, NotRequired, Ok(Need::Opportunistic)),
    ] {
        let facts = Facts { domain: &of, host: &host, mx_secure, dane: &dane, sts: sts.as_ref(), asked };
        let decided = decide(facts);
        assert_eq!(decided, need, "{dane:?} {sts:?} {mx_secure} {asked:?}");
        let plain = decided.is_ok_and(|need| need.allows_plain());
        assert_eq!(plain, need == Ok(Need::Opportunistic), "only then without TLS");
    }
}

#[test]
fn what_may_help_later() {
    let (host, domain) = (domain("mx.test"), domain("test"));
    let why = dns::Error::Temporary(Why::TimedOut);
    assert!(Unsafe::Tlsa { host: host.clone(), why }.is_temporary());
    assert!(Unsafe::NotInPolicy { host: host.clone(), domain: domain.clone() }.is_temporary());
    assert!(!Unsafe::NotRequireTls { host, domain }.is_temporary());
}

#[test]
fn where_tlsa_records_are_looked_for() {
    let host = domain("mx.test");
    let found = |secure, alias: Option<bool>| Addresses {
        v6: Vec::new(),
        v4: vec!["192.0.2.1".parse().unwrap()],
        secure,
        alias: alias.map(|first_secure| Alias { end: domain("end.test"), first_secure }),
    };
    for (secure, alias, expected) in [
        (true, None, &["mx.test"][..]),
        (false, None, &[]),
        (true, Some(true), &["end.test", "mx.test"]),
        (false, Some(true), &["mx.test"]),
        (false, Some(false), &[]),
    ] {
        let bases: Vec<String> =
            dane::bases(&host, &found(secure, alias)).iter().map(Domain::to_string).collect();
        assert_eq!(bases, expected, "{secure} {alias:?}");
    }
}

#[tokio::test]
async fn tlsa_records_of_a_real_nameserver() {
    let dir = tempfile::tempdir().unwrap();
    let mut root = Zone::new(".")
        .ip("mx.test", "192.0.2.1")
        .tlsa("_25._tcp.mx.test", [3, 1, 1], &[1; 32])
        .tlsa("_25._tcp.mx.test", [1, 1, 1], &[2; 32])
        .ip("odd.test", "192.0.2.1")
        .tlsa("_25._tcp.odd.test", [1, 1, 1], &[2; 32])
        .tlsa("_25._tcp.odd.test", [3, 1, 1], &[2; 3])
        .ip("none.test", "192.0.2.1")
        .cname("alias.test", "mx.test")
        .cname("alias2.test", "none.test")
        .tlsa("_25._tcp.alias2.test", [3, 0, 1], &[3; 32])
        .cname("out.test", "mx.unsigned.test")
        .tlsa("_25._tcp.out.test", [3, 0, 1], &[4; 32])
        .ip("dark.test", "192.0.2.1")
        .cname("_25._tcp.dark.test", "servfail.test")
        .delegate("unsigned.test");
    let anchor = root.sign(dir.path());
    let unsigned = Zone::new("unsigned.test")
        .ip("mx.unsigned.test", "192.0.2.1")
        .tlsa("_25._tcp.mx.unsigned.test", [3, 1, 1], &[9; 32])
        .ip("servfail.unsigned.test", "192.0.2.1");
    let servers = vec![serve(vec![root, unsigned]).await];
    let dns = Dns::new(&Settings { servers, trust_anchor: Some(anchor), ..Settings::default() }).unwrap();
    let found = |base: &str, selector, octet| Dane::Records {
        base: domain(base),
        records: vec![Tlsa { usage: 3, selector, matching: 1, data: vec![octet; 32] }],
    };
    for (host, expected) in [
        ("mx.test", found("mx.test", 1, 1)),
        ("odd.test", Dane::Unusable),
        ("none.test", Dane::None),
        ("alias.test", found("mx.test", 1, 1)),
        ("alias2.test", found("alias2.test", 0, 3)),
        ("out.test", found("out.test", 0, 4)),
        ("mx.unsigned.test", Dane::None),
    ] {
        let host = domain(host);
        let addresses = dns.addresses(&host).await.unwrap();
        assert_eq!(discover(&dns, &host, &addresses, 25).await, Ok(expected), "{host}");
    }
    let dark = domain("dark.test");
    let addresses = dns.addresses(&dark).await.unwrap();
    let error = discover(&dns, &dark, &addresses, 25).await.unwrap_err();
    assert!(error.is_temporary(), "{error:?}");
}

#[test]
fn records_of_policies() {
    for (texts, id) in [
        (&["v=STSv1; id=20160831085700Z;"][..], Some("20160831085700Z")),
        (&["v=STSv1; id=1"], Some("1")),
        (&["v=STSv1;id=1;"], Some("1")),
        (&["v=STSv1 ; id=1 ; "], None), // A version is followed by a semicolon, to be told from others.
        (&["v=STSv1;\tid=1 ;\ta=b"], Some("1")),
        (&["v=STSv1; a.b_c-d=x:y; id=1; id=2"], Some("1")),
        (&["v=spf1 -all", "v=STSv1; id=1"], Some("1")),
        (&["v=STSv1; id=1", "v=STSv1; id=1"], None),
        (&["v=STSv2; id=1"], None),
        (&["V=STSV1; id=1"], None),
        (&["v=STSv1"], None),
        (&["v=STSv1;"], None),
        (&["v=STSv1; id="], None),
        (&["v=STSv1; id=a-b"], None),
        (&["v=STSv1; id=123456789012345678901234567890123"], None),
        (&["v=STSv1; id=12345678901234567890123456789012"], Some("12345678901234567890123456789012")),
        (&["v=STSv1; id = 1"], None),
        (&["v=STSv1;; id=1"], None),
        (&["v=STSv1; id=1; a=b=c"], None),
        (&["v=STSv1; id=1; junk"], None),
        (&["v=STSv1; id=1; \u{fc}=b"], None),
        (&[" v=STSv1; id=1"], None),
        (&[], None),
    ] {
        assert_eq!(Id::of(texts).as_ref().map(Id::as_str), id, "{texts:?}");
    }
    assert_eq!(Id::of(&[b"v=STSv1; id=\xff".to_vec()]), None);
}

#[test]
fn policies() {
    use PolicyError::{Line, MaxAge, Mode as NoMode, Mx, TooLong, Version};
    let long = format!("version: STSv1\nmode: none\nmax_age: 1\nx: {}\n", "a".repeat(65_536));
    for (text, result) in [
        (
            "version: STSv1\r\nmode: enforce\r\nmx: a.test\r\nmx: *.b.test\r\nmax_age: 604800\r\n",
            Ok((Mode::Enforce, 2, 604_800)),
        ),
        ("version: STSv1\nmode: testing\nmx: a.test\nmax_age: 1", Ok((Mode::Testing, 1, 1))),
        ("mode:none\nversion:STSv1\nmax_age:0\n", Ok((Mode::None, 0, 0))),
        (
            "version: STSv1\nmode: enforce\nmode: none\nmx: a.test\nmax_age: 1\nmax_age: 2\n",
            Ok((Mode::Enforce, 1, 1)),
        ),
        (
            "version: STSv1\nx-y: what: \u{fc}\nmode: enforce\nmx: a.test \nmax_age: 1\n\n",
            Ok((Mode::Enforce, 1, 1)),
        ),
        (
            "version: STSv1\nmode: enforce\nmx: B\u{dc}cher.test\nmax_age: 9999999999\n",
            Ok((Mode::Enforce, 1, 31_557_600)),
        ),
        ("version: STSv1\nmode: enforce\nmax_age: 1\n", Err(Mx)),
        ("version: STSv1\nmode: enforce\nmx: a.*.test\nmax_age: 1\n", Err(Mx)),
        ("version: STSv1\nmode: enforce\nmx: *.*.test\nmax_age: 1\n", Err(Mx)),
        ("version: STSv1\nmode: enforce\nmx: [192.0.2.1]\nmax_age: 1\n", Err(Mx)),
        ("version: STSv1\nmode: enforce\nmx:\nmax_age: 1\n", Err(Mx)),
        ("version: STSv2\nmode: enforce\nmx: a.test\nmax_age: 1\n", Err(Version)),
        ("mode: enforce\nmx: a.test\nmax_age: 1\n", Err(Version)),
        ("version: STSv1\nmode: Enforce\nmx: a.test\nmax_age: 1\n", Err(NoMode)),
        ("version: STSv1\nmx: a.test\nmax_age: 1\n", Err(NoMode)),
        ("version: STSv1\nmode: enforce\nmx: a.test\n", Err(MaxAge)),
        ("version: STSv1\nmode: enforce\nmx: a.test\nmax_age: -1\n", Err(MaxAge)),
        ("version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 1.5\n", Err(MaxAge)),
        ("version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 99999999999\n", Err(MaxAge)),
        ("<html>\n<p>not found</p>\n", Err(Line)),
        ("version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 1\nx: \u{0}\n", Err(Line)),
        ("", Err(Version)),
        (&long, Err(TooLong)),
    ] {
        let parsed = Policy::parse(text.as_bytes()).map(|p| (p.mode, p.mx.len(), p.max_age));
        assert_eq!(parsed, result, "{}", text.get(..200).unwrap_or(text));
    }
    assert_eq!(Policy::parse(b"version: STSv1\nx: \xff\n"), Err(Line));
}

#[test]
fn a_star_is_one_label() {
    for (pattern, host, names) in [
        ("mx.example.test", "mx.example.test", true),
        ("MX.Example.Test.", "mx.example.test", true),
        ("mx.example.test", "a.mx.example.test", false),
        ("*.example.test", "mx.example.test", true),
        ("*.example.test", "a.mx.example.test", false),
        ("*.example.test", "example.test", false),
        ("*.b\u{fc}cher.test", "mx.xn--bcher-kva.test", true),
        ("*.example.test", "[192.0.2.1]", false),
    ] {
        assert_eq!(policy("enforce", &[pattern]).names(&domain(host)), names, "{pattern} {host}");
    }
}

proptest! {
    #[test]
    fn what_is_kept_is_read_again(
        fetched in 0_i64..9_000_000_000, id in "[a-zA-Z0-9]{1,32}", age in 0_u32..=31_557_600,
        hosts in prop::collection::vec("(\\*\\.)?[a-z]{1,9}\\.test", 1..9),
    ) {
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let policy = Policy { max_age: age, ..policy("enforce", &hosts) };
        let id = Id::of(&[format!("v=STSv1; id={id}")]).unwrap();
        let kept = Kept { policy, id, fetched };
        prop_assert_eq!(Kept::decode(&kept.encode()), Some(kept));
    }
}

#[test]
fn what_is_kept_holds_for_its_time() {
    let id = Id::of(&["v=STSv1; id=1"]).unwrap();
    let kept = Kept { policy: policy("enforce", &["a.test"]), id, fetched: 1_000_000 };
    for (now, holds) in [
        (1_000_000, true),
        (1_000_000 + 86_399, true),
        (1_000_000 + 86_400, false),
        (1_000_000 - 3_600, true),
        (1_000_000 - 86_401, false),
    ] {
        assert_eq!(kept.holds(now), holds, "{now}");
    }
    for octets in [&b""[..], b"version: STSv1\n", b"x-fetched: a\nx-id: 1\n", b"x-fetched: 1\nx-id: a-b\n"] {
        assert_eq!(Kept::decode(octets), None);
    }
}

/// Remembers in memory, at once.
#[derive(Default)]
struct Memory(Mutex<HashMap<Domain, (Vec<u8>, i64)>>);

impl Cache for Memory {
    fn get(&self, domain: &Domain) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(domain).map(|(octets, _)| octets.clone())
    }

    fn put<'a>(&'a self, domain: &'a Domain, octets: Vec<u8>, until: i64) -> Later<'a, ()> {
        self.0.lock().unwrap().insert(domain.clone(), (octets, until));
        Box::pin(async {})
    }
}

/// A web server: what it says to each request, and how often it was asked.
#[derive(Default)]
struct Web {
    says: Mutex<Vec<u8>>,
    /// Says nothing at all.
    silent: std::sync::atomic::AtomicBool,
    asked: AtomicUsize,
    requests: Mutex<String>,
}

impl Web {
    fn says(&self, status: &str, kind: &str, content: &str) {
        let length = content.len();
        let text =
            format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{content}");
        *self.says.lock().unwrap() = text.into_bytes();
    }

    fn says_octets(&self, octets: Vec<u8>) {
        *self.says.lock().unwrap() = octets;
    }

    async fn serve(self: Arc<Web>, listener: tokio::net::TcpListener, tls: Arc<rustls::ServerConfig>) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (web, tls) = (Arc::clone(&self), Arc::clone(&tls));
            tokio::spawn(async move {
                let mut stream = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await.ok()?;
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut request).await.ok().filter(|n| *n > 0)?;
                }
                web.asked.fetch_add(1, Ordering::SeqCst);
                *web.requests.lock().unwrap() = String::from_utf8(request).unwrap();
                if web.silent.load(Ordering::SeqCst) {
                    stream.read_u8().await.ok()?;
                }
                let says = web.says.lock().unwrap().clone();
                stream.write_all(&says).await.ok()?;
                stream.shutdown().await.ok()
            });
        }
    }
}

const GOOD: &str = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.test\r\nmax_age: 86400\r\n";
const NOW: i64 = 1_800_000_000;

/// Domains with records, a web server, and who asks it.
struct World {
    sts: Sts,
    web: Arc<Web>,
    memory: Arc<Memory>,
    dns: Dns,
    settings: StsSettings,
    _dir: tempfile::TempDir,
}

/// A web server for these names, and the domain `example.test` announcing a policy by this record.
async fn world_for(names: &[&str], record: &str, within: Duration) -> World {
    let _dir = tempfile::tempdir().unwrap();
    let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, key()).unwrap();
    let (own, names) = (key(), names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let certificate = CertificateParams::new(names).unwrap().signed_by(&own, &authority).unwrap();
    let tls =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der())),
            )
            .unwrap();
    let file = _dir.path().join("authority.pem");
    std::fs::write(&file, authority.pem()).unwrap();

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let web = Arc::new(Web::default());
    web.says("200 OK", "text/plain", GOOD);
    tokio::spawn(Arc::clone(&web).serve(listener, Arc::new(tls)));

    let mut root = Zone::new(".")
        .txt("_mta-sts.example.test", &[record])
        .cname("mta-sts.example.test", "web.test")
        .ip("web.test", "127.0.0.1")
        .txt("_mta-sts.dark.test", &["v=STSv1; id=1"]);
    let anchor = root.sign(_dir.path());
    let servers: Vec<SocketAddr> = vec![serve(vec![root]).await];
    let dns = Dns::new(&Settings { servers, trust_anchor: Some(anchor), ..Settings::default() }).unwrap();
    let memory = Arc::new(Memory::default());
    let clients = Clients::with_authorities_of(&file).unwrap();
    let settings = StsSettings { port, within, ..StsSettings::default() };
    let sts = Sts::new(dns.clone(), &clients, Arc::clone(&memory) as _, settings).unwrap();
    World { sts, web, memory, dns, settings, _dir }
}

async fn world() -> World {
    world_for(&["mta-sts.example.test"], "v=STSv1; id=1;", Duration::from_secs(60)).await
}

impl World {
    /// Puts a policy that was fetched then, under that id.
    fn keep(&self, id: &str, fetched: i64) -> Policy {
        let policy = policy("enforce", &["old.example.test"]);
        let id = Id::of(&[format!("v=STSv1; id={id}")]).unwrap();
        let kept = Kept { policy: policy.clone(), id, fetched };
        drop(self.memory.put(&domain("example.test"), kept.encode(), kept.expires()));
        policy
    }

    async fn policy(&self, now: i64) -> Option<Policy> {
        self.sts.policy(&domain("example.test"), now).await
    }

    fn asked(&self) -> usize {
        self.web.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_policy_is_fetched_once_and_remembered() {
    let world = world().await;
    let good = Policy::parse(GOOD.as_bytes()).unwrap();
    // Messages for the same domain at the same time share one fetch.
    let (a, b, c) = tokio::join!(world.policy(NOW), world.policy(NOW), world.policy(NOW));
    for found in [a, b, c] {
        assert_eq!(found.as_ref(), Some(&good));
    }
    assert_eq!(world.policy(NOW + 40_000).await, Some(good.clone()));
    assert_eq!(world.asked(), 1);
    let request = world.web.requests.lock().unwrap().clone();
    assert!(request.starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\n"), "{request}");
    assert!(request.to_ascii_lowercase().contains("host: mta-sts.example.test\r\n"), "{request}");
    let (octets, until) = world.memory.0.lock().unwrap()[&domain("example.test")].clone();
    assert_eq!(until, NOW + 86_400);
    assert_eq!(Kept::decode(&octets).unwrap().policy, good);
    // In the second half of its time it is fetched anew, though its id is the same.
    assert_eq!(world.policy(NOW + 50_000).await, Some(good));
    assert_eq!(world.asked(), 2);
    assert_eq!(world.memory.0.lock().unwrap()[&domain("example.test")].1, NOW + 50_000 + 86_400);
}

#[tokio::test]
async fn a_new_id_brings_the_new_policy() {
    let world = world().await;
    let old = world.keep("0", NOW - 1_000);
    let new = world.policy(NOW).await.unwrap();
    assert!(new != old && new.names(&domain("mx.example.test")));
    // The same id: the one remembered, and nobody is asked.
    let same = world_for(&["mta-sts.example.test"], "v=STSv1; id=7", Duration::from_secs(60)).await;
    let old = same.keep("7", NOW - 1_000);
    assert_eq!((same.policy(NOW).await, same.asked()), (Some(old), 0));
}

#[tokio::test]
async fn a_policy_that_cannot_be_fetched_leaves_the_one_remembered() {
    let page = |head: &str, content: &str| {
        let length = content.len();
        format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {length}\r\n\r\n{content}").into_bytes()
    };
    let large = format!("{GOOD}x: {}\r\n", "a".repeat(70_000));
    let endless =
        [b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n".to_vec(), vec![b'a'; 80_000]].concat();
    let headers = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'a'; 200_000]].concat();
    let redirect = b"HTTP/1.1 301 Moved\r\nLocation: https://web.test/\r\nContent-Length: 0\r\n\r\n".to_vec();
    for (what, says) in [
        ("another type", page("Content-Type: text/html\r\n", GOOD)),
        ("no type", page("", GOOD)),
        ("too large", page("Content-Type: text/plain\r\n", &large)),
        ("large without saying so", endless),
        ("a redirect", redirect),
        ("not found", page("Content-Type: text/plain\r\n", GOOD).replacing(b"200 OK", b"404 No")),
        ("created", page("Content-Type: text/plain\r\n", GOOD).replacing(b"200 OK", b"201 OK")),
        ("no policy", page("Content-Type: text/plain\r\n", "hello\r\n")),
        (
            "cut short",
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 99\r\n\r\nvers".to_vec(),
        ),
        ("endless headers", headers),
        ("no HTTP", b"220 mail.test ESMTP\r\n".to_vec()),
        ("nothing", Vec::new()),
    ] {
        for remembers in [false, true] {
            let world = world().await;
            world.web.says_octets(says.clone());
            let old = remembers.then(|| world.keep("0", NOW - 1_000));
            assert_eq!(world.policy(NOW).await, old, "{what}");
            // Not asked again at once, but after five minutes (RFC 8461 s.3.3).
            assert_eq!(world.policy(NOW + 299).await, old, "{what}");
            assert_eq!(world.asked(), 1, "{what}");
            world.web.says("200 OK", "Text/Plain; charset=utf-8", GOOD);
            assert!(world.policy(NOW + 300).await.unwrap().names(&domain("mx.example.test")), "{what}");
            assert_eq!(world.asked(), 2, "{what}");
        }
    }
}

/// Octets with the first of `old` replaced.
trait Replacing {
    fn replacing(self, old: &[u8], new: &[u8]) -> Vec<u8>;
}

impl Replacing for Vec<u8> {
    fn replacing(mut self, old: &[u8], new: &[u8]) -> Vec<u8> {
        let at = self.windows(old.len()).position(|window| window == old).unwrap();
        self.splice(at..at + old.len(), new.iter().copied());
        self
    }
}

#[tokio::test]
async fn a_slow_web_server_is_not_waited_for() {
    let world = world_for(&["mta-sts.example.test"], "v=STSv1; id=1", Duration::from_millis(300)).await;
    world.web.silent.store(true, Ordering::SeqCst);
    let old = world.keep("0", NOW - 1_000);
    assert_eq!(world.policy(NOW).await, Some(old));
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn the_web_servers_certificate_must_be_for_its_name() {
    for names in [&["example.test"][..], &["web.test"], &["*.test"]] {
        let world = world_for(names, "v=STSv1; id=1", Duration::from_secs(60)).await;
        assert_eq!((world.policy(NOW).await, world.asked()), (None, 0), "{names:?}");
    }
    // Not of an authority that counts.
    let world = world().await;
    let cache = Arc::clone(&world.memory) as _;
    let sts = Sts::new(world.dns.clone(), &Clients::public(), cache, world.settings).unwrap();
    assert_eq!((sts.policy(&domain("example.test"), NOW).await, world.asked()), (None, 0));
}

#[tokio::test]
async fn what_is_remembered_counts_without_its_record_for_as_long_as_it_holds() {
    // The record is gone, or is none: RFC 8461 s.5.1.
    for record in ["v=STSv1; id=a-b", "nothing"] {
        let world = world_for(&["mta-sts.example.test"], record, Duration::from_secs(60)).await;
        assert_eq!(world.policy(NOW).await, None);
        let old = world.keep("0", NOW);
        assert_eq!(world.policy(NOW + 86_399).await, Some(old));
        assert_eq!(world.policy(NOW + 86_400).await, None);
        assert_eq!(world.asked(), 0);
    }
}

#[tokio::test]
async fn a_policy_of_none_ends_the_old_one() {
    let world = world().await;
    world.web.says("200 OK", "text/plain", "version: STSv1\nmode: none\nmax_age: 86400\n");
    world.keep("0", NOW - 1_000);
    assert_eq!(world.policy(NOW).await, None);
    assert_eq!(world.policy(NOW + 1).await, None);
    assert_eq!(world.asked(), 1, "that there is none is remembered as well");
}

#[tokio::test]
async fn domains_without_a_web_server_or_a_name_have_no_policy() {
    let world = world().await;
    for name in ["dark.test", "nothing.test", "[192.0.2.1]", &format!("{}test", "a.".repeat(124))] {
        assert_eq!(world.sts.policy(&domain(name), NOW).await, None, "{name}");
    }
}
